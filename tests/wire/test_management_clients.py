#!/usr/bin/env python3
"""The tests of the Go client rabbit-hole, unchanged, against a server at the usual ports of a network of its own.

usage: test_management_clients.py <beck program> <directory of tools/fetch_rabbit_hole.sh>

Without that directory the test is skipped, but fails when the environment has CI set. What is left out stands in rabbit_hole_exclusions.txt.
"""
import base64
import json
import os
import re
import subprocess
import sys
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))

import suite  # noqa: E402

PROGRAM = os.path.abspath(sys.argv[1])
SUITE = os.path.join(os.path.abspath(sys.argv[2]), "rabbit-hole.test")
SKIP = 77

ALL = {"configure": ".*", "write": ".*", "read": ".*"}
# What its own script prepares with rabbitmqctl.
PREPARED = [("users/policymaker", {"password": "policymaker", "tags": "policymaker"}), ("permissions/%2F/policymaker", ALL),
            ("permissions/%2F/guest", ALL), ("vhosts/rabbit%2Fhole", {}), ("permissions/rabbit%2Fhole/guest", ALL),
            ("cluster-name", {"name": "rabbitmq@localhost"})]


def put(path, body):
    request = urllib.request.Request(f"http://127.0.0.1:15672/api/{path}", method="PUT", data=json.dumps(body).encode())
    request.add_header("Authorization", "Basic " + base64.b64encode(b"guest:guest").decode())
    with urllib.request.urlopen(request):
        pass


def exclusions():
    with open(os.path.join(HERE, "rabbit_hole_exclusions.txt"), encoding="utf-8") as file:
        names = [line.split(" # ")[0].strip() for line in file if line.strip() and not line.startswith("#")]
    for name in names:
        print(f"left out: {name}")
    return "|".join(re.escape(name) for name in names)


def main():
    if not os.path.exists(SUITE):
        print(f"there is no '{SUITE}'; run tools/fetch_rabbit_hole.sh <directory>")
        return 1 if os.environ.get("CI") else SKIP
    if not suite.own_network():
        print("a network of its own cannot be had")
        return 1 if os.environ.get("CI") else SKIP
    with suite.beck(PROGRAM) as server:
        for path, body in PREPARED:
            put(path, body)
        done = subprocess.run([SUITE, "-ginkgo.no-color", f"-ginkgo.skip={exclusions()}"],
                              env={**os.environ, "GOMEGA_DEFAULT_EVENTUALLY_TIMEOUT": "5s"}, cwd=os.path.dirname(SUITE), check=False)
    return 1 if done.returncode or server.fault else 0


sys.exit(main())
