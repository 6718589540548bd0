#!/usr/bin/env python3
"""rabbitmqadmin, unmodified, against a server: everything that it can declare, show, move and delete.

usage: test_management_tools.py <beck program> <directory of tools/fetch_rabbitmqadmin.sh>

Without that directory the test is skipped, but fails when the environment has CI set.
"""
import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.request

SKIP = 77
PROGRAM = os.path.abspath(sys.argv[1])
ADMIN = os.path.join(os.path.abspath(sys.argv[2]), "rabbitmqadmin")

if not os.path.exists(ADMIN):
    print(f"there is no '{ADMIN}'; run tools/fetch_rabbitmqadmin.sh <directory>")
    sys.exit(1 if os.environ.get("CI") else SKIP)


class Server:
    def __init__(self, directory):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BECK_")}
        self.process = subprocess.Popen(
            [PROGRAM, "serve", "--data", os.path.join(directory, "data"), "--log.format", "json", "--http.listen", "", "--amqp.listen", "127.0.0.1:0", "--kafka.listen", "",
             "--management.listen", "127.0.0.1:0"], env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.ports, self.lines = {}, []
        for text in self.process.stderr:
            self.lines.append(text)
            line = json.loads(text) if text.startswith("{") else {}
            if line.get("message") == "listening":
                self.ports[line["protocol"]] = line.get("address", ":0").rsplit(":", 1)[1]
            if line.get("message") == "ready":
                return
        raise AssertionError(f"the server ended: {self.lines}")

    def end(self):
        self.process.terminate()
        self.process.stderr.read()
        code = self.process.wait()
        self.process.stderr.close()
        return code


class Tools(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="beck-management-")
        self.server = Server(self.dir)
        self.port = self.server.ports["management"]

    def tearDown(self):
        code = self.server.end()
        shutil.rmtree(self.dir, ignore_errors=True)
        self.assertEqual(code, 0)

    def admin(self, *args, says=None, fails=False, vhost=None, user="guest", password="guest"):
        place = ["-V", vhost] if vhost else []
        done = subprocess.run([sys.executable, ADMIN, "-H", "127.0.0.1", "-P", self.port, "-u", user, "-p", password, *place, *args],
                              capture_output=True, text=True, check=False, cwd=self.dir, env={**os.environ, "HOME": self.dir})
        output = done.stdout + done.stderr
        self.assertEqual(done.returncode != 0, fails, output)
        if says:
            self.assertIn(says, output)
        return done.stdout

    def listed(self, *what, **options):
        return json.loads(self.admin("-f", "raw_json", "list", *what, **options))

    def api(self, method, path, body=None, user="guest:guest"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/{path}", method=method,
                                         data=None if body is None else json.dumps(body).encode())
        request.add_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    def test_everything_can_be_listed(self):
        self.assertIn("rabbitmq_version", self.admin("show", "overview"))
        for kind in ("connections", "channels", "consumers", "exchanges", "queues", "bindings", "users", "vhosts", "permissions", "nodes",
                     "parameters", "policies", "operator_policies", "vhost_limits"):
            self.admin("list", kind)
            self.admin("-f", "tsv", "list", kind)
        self.assertEqual([v["name"] for v in self.listed("vhosts")], ["/"])
        self.assertIn("amq.topic", [x["name"] for x in self.listed("exchanges", "name")])

    def test_queues_exchanges_and_bindings(self):
        self.admin("declare", "exchange", "name=x", "type=topic", says="exchange declared")
        self.admin("declare", "queue", "name=q", 'arguments={"x-max-length":3}', says="queue declared")
        self.admin("declare", "queue", "name=five", "queue_type=quorum")
        self.admin("declare", "binding", "source=x", "destination=q", "routing_key=order.*", says="binding declared")
        self.admin("declare", "queue", "name=q", "durable=false", fails=True, says="inequivalent arg 'durable'")
        queues = {q["name"]: q for q in self.listed("queues")}
        self.assertEqual(queues["q"]["arguments"], {"x-max-length": 3})
        self.assertEqual(queues["five"]["type"], "quorum")
        bindings = [b for b in self.listed("bindings") if b["source"]]
        self.assertEqual([(b["source"], b["destination"], b["routing_key"]) for b in bindings], [("x", "q", "order.*")])
        self.admin("delete", "binding", "source=x", "destination_type=queue", "destination=q", f"properties_key={bindings[0]['properties_key']}")
        self.assertEqual([b for b in self.listed("bindings") if b["source"]], [])
        self.admin("delete", "exchange", "name=x", says="exchange deleted")
        self.admin("delete", "queue", "name=q", says="queue deleted")
        self.admin("delete", "queue", "name=q", fails=True, says="Not found")

    def test_messages(self):
        self.admin("declare", "queue", "name=q")
        for text in ("one", "two"):
            self.admin("publish", "routing_key=q", f"payload={text}", 'properties={"delivery_mode":2}', says="Message published")
        self.admin("publish", "routing_key=nobody", "payload=x", says="Message published but NOT routed")
        self.assertEqual([q["messages"] for q in self.listed("queues")], [2])
        got = json.loads(self.admin("-f", "raw_json", "get", "queue=q", "count=5"))
        self.assertEqual([(m["payload"], m["redelivered"]) for m in got], [("one", False), ("two", False)])
        got = json.loads(self.admin("-f", "raw_json", "get", "queue=q", "count=1", "ackmode=ack_requeue_false"))
        self.assertEqual([(m["payload"], m["redelivered"], m["properties"]["delivery_mode"]) for m in got], [("one", True, 2)])
        self.admin("get", "queue=q", "ackmode=ack_requeue_false", "payload_file=out")
        with open(os.path.join(self.dir, "out"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "two")
        self.admin("publish", "routing_key=q", "payload=three")
        self.admin("purge", "queue", "name=q", says="queue purged")
        self.assertEqual([q["messages"] for q in self.listed("queues")], [0])

    def test_users_vhosts_and_permissions(self):
        self.admin("declare", "vhost", "name=v", says="vhost declared")
        self.admin("declare", "user", "name=ada", "password=secret", "tags=administrator")
        self.admin("declare", "permission", "vhost=v", "user=ada", "configure=.*", "write=.*", "read=.*")
        self.assertEqual(sorted(u["name"] for u in self.listed("users")), ["ada", "guest"])
        self.admin("declare", "queue", "name=q", vhost="v", user="ada", password="secret")
        self.assertEqual([q["vhost"] for q in self.listed("queues", vhost="v")], ["v"])
        salt = b"\1\2\3\4"
        hashed = base64.b64encode(salt + hashlib.sha256(salt + b"word").digest()).decode()
        self.admin("declare", "user", "name=eve", f"password_hash={hashed}", "tags=management")
        self.assertEqual(self.api("GET", "whoami", user="eve:word")["tags"], ["management"])
        self.admin("list", "users", user="eve", password="word", fails=True, says="Access refused")
        self.admin("declare", "vhost_limit", "vhost=v", "name=max-queues", "value=1")
        self.admin("declare", "queue", "name=second", fails=True, vhost="v")
        self.admin("delete", "vhost_limit", "vhost=v", "name=max-queues")
        self.admin("delete", "permission", "vhost=v", "user=ada")
        self.admin("delete", "vhost", "name=v")
        self.admin("delete", "user", "name=eve")
        self.admin("delete", "user", "name=guest", user="ada", password="secret")
        self.admin("list", "users", fails=True, says="Access refused")
        self.admin("list", "users", user="ada", password="secret")

    def test_policies(self):
        self.admin("declare", "queue", "name=q.1")
        self.admin("declare", "policy", "name=p", "pattern=^q", 'definition={"max-length":2}', "apply-to=queues", "priority=1")
        self.admin("declare", "operator_policy", "name=op", "pattern=^q", 'definition={"message-ttl":60000}', "apply-to=queues")
        found = self.api("GET", "queues/%2F/q.1")
        self.assertEqual((found["policy"], found["operator_policy"]), ("p", "op"))
        self.admin("delete", "policy", "name=p")
        self.admin("delete", "operator_policy", "name=op")
        self.assertIsNone(self.api("GET", "queues/%2F/q.1")["policy"])

    def test_definitions(self):
        self.admin("declare", "exchange", "name=x", "type=headers")
        self.admin("declare", "queue", "name=q")
        self.admin("declare", "binding", "source=x", "destination=q", 'arguments={"x-match":"any","n":1}')
        self.admin("declare", "policy", "name=p", "pattern=^z", 'definition={"max-length":2}')
        self.admin("export", "all.json", says="Exported definitions")
        self.admin("delete", "queue", "name=q")
        self.admin("delete", "exchange", "name=x")
        self.admin("import", "all.json", says="Uploaded definitions")
        bindings = [b for b in self.listed("bindings") if b["source"]]
        self.assertEqual([(b["source"], b["destination"], b["arguments"]) for b in bindings], [("x", "q", {"x-match": "any", "n": 1})])

    def test_a_wrong_password_is_refused(self):
        self.admin("list", "queues", password="wrong", fails=True, says="Access refused")
        with self.assertRaises(urllib.error.HTTPError) as refused:
            self.api("GET", "overview", user="nobody:x")
        self.assertEqual(refused.exception.code, 401)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]], verbosity=1)
