"""Requests signed by the providers' own libraries, against a running server. The second argument is the directory of
tools/fetch_signers.sh; without it, or without node, the test is skipped, but fails when the environment has CI set."""
import json
import os
import shutil
import subprocess
import sys
import unittest

LIBRARIES = os.path.abspath(sys.argv.pop(2))

from server import DONE, ServerTest, PROGRAM  # takes the program from the arguments

SKIP = 77
CONFIG = """
hooks:
  github: {provider: github, bus: hub, secrets: ["It's a Secret"]}
  stripe: {provider: stripe, bus: hub, secrets: [whsec_secret]}
  standard: {provider: standard, bus: hub, secrets: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw]}
  cloudevents: {provider: cloudevents, bus: hub, secrets: [t0ken]}
"""


class Signers(ServerTest):
    def test_every_request_is_verified_and_stored(self):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hook_signers.mjs")
        made = subprocess.run(["node", script, LIBRARIES], capture_output=True, text=True, check=True, encoding="utf-8")
        requests = [json.loads(line) for line in made.stdout.splitlines()]
        self.assertEqual(len(requests), 14)
        self.write("beck.yaml", CONFIG)
        server = self.start("-c", "beck.yaml")
        address = server.address()
        for request in requests:
            body = request["body"].encode()
            changed = body[:-1] + bytes([body[-1] ^ 1])
            if request["hook"] != "cloudevents":
                self.assertEqual(self.get(address, "/hooks/" + request["hook"], "POST", changed, request["headers"]), (401, ""))
            self.assertEqual(self.get(address, "/hooks/" + request["hook"], "POST", body, request["headers"]), (200, ""), request)
        self.assertEqual(server.end(), DONE)
        log = subprocess.run([PROGRAM, "log", "hub", "--data", self.data], env=self.environment(), capture_output=True, text=True,
                             check=True, encoding="utf-8")
        events = {event["id"]: event for event in map(json.loads, log.stdout.splitlines())}
        self.assertEqual(len(log.stdout.splitlines()), len(requests))
        self.assertEqual(events["c1"], {**events["c2"], "id": "c1"})
        self.assertEqual((events["c1"]["source"], events["c1"]["region"]), ("/orders", "eu"))


if __name__ == "__main__":
    if not shutil.which("node") or not os.path.exists(os.path.join(LIBRARIES, "complete")):
        print("no node, or no libraries: run tools/fetch_signers.sh <directory>")
        sys.exit(1 if os.environ.get("CI") else SKIP)
    unittest.main()
