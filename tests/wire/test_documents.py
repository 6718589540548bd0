#!/usr/bin/env python3
"""The descriptions of the API are right: both are valid documents of their kind, and every answer of the server is as they say.

usage: test_documents.py <beck program> <directory of tools/fetch_api_validators.sh>

Without that directory the test is skipped, but fails when the environment has CI set.
"""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

SKIP = 77
PROGRAM = os.path.abspath(sys.argv[1])
VALIDATORS = sys.argv[2]
SCHEMAS = [name for name in (os.listdir(VALIDATORS) if os.path.isdir(VALIDATORS) else []) if name.startswith("asyncapi-")]

if not SCHEMAS:
    print(f"nothing to check with in '{VALIDATORS}'; run tools/fetch_api_validators.sh <directory>")
    sys.exit(1 if os.environ.get("CI") else SKIP)
sys.path.insert(0, os.path.join(VALIDATORS, "python"))

import jsonschema  # noqa: E402
import openapi_spec_validator  # noqa: E402
from referencing import Registry, Resource  # noqa: E402
from referencing.jsonschema import DRAFT202012  # noqa: E402

# What this test does not ask for: it would end the server, or is only there with webhooks configured.
NOT_ASKED = {"stopServer", "reloadServer", "receiveWebhook", "confirmWebhook", "probeWebhook", "consentToWebhook", "listRefused"}

EVENT = {"specversion": "1.0", "type": "order.created", "source": "/test", "id": "1", "subject": "customer/1", "data": {"total": 7}}


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Server:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="beck-documents-")
        self.data = os.path.join(self.dir, "data")
        self.process = subprocess.Popen([PROGRAM, "serve", "--data", self.data, "--http.listen", "", "--amqp.listen", "", "--kafka.listen", "", "--management.listen", ""], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "listening" in line:
                break
        else:
            raise AssertionError("the server did not start")

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        with self.process.stderr:
            self.process.stderr.read()
        code = self.process.wait()
        shutil.rmtree(self.dir)
        return code

    def ask(self, method, target, body=None, headers=None):
        """(status, content type, body)"""
        connection = UnixConnection(os.path.join(self.data, "beck.sock"))
        text = None if body is None else json.dumps(body)
        connection.request(method, target, text, {"Content-Type": "application/json", **(headers or {})} if text else headers or {})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, (answer.getheader("Content-Type") or "").split(";")[0], data


class Description:
    """What an OpenAPI document says about answers."""

    def __init__(self, document):
        self.document = document
        self.asked = set()
        resource = Resource.from_contents(document, default_specification=DRAFT202012)
        self.registry = Registry().with_resource("urn:api", resource)
        self.operations = {}
        for path, operations in document["paths"].items():
            # Segments without a name go before those with one.
            pattern = re.compile(re.sub(r"\\\{[^/]*\\\}", "[^/]+", re.escape(path)) + "$")
            for method, operation in operations.items():
                self.operations.setdefault(method.upper(), []).append((pattern, operation))

    def operation(self, method, path):
        found = [operation for pattern, operation in self.operations[method] if pattern.match(path)]
        assert len(found) == 1, f"{method} {path}: {[o['operationId'] for o in found]}"
        return found[0]

    def check(self, schema, value):
        absolute = json.loads(json.dumps(schema).replace('"#/', '"urn:api#/'))
        jsonschema.Draft202012Validator(absolute, registry=self.registry,
                                        format_checker=jsonschema.FormatChecker()).validate(value)

    def check_answer(self, method, target, status, kind, data):
        operation = self.operation(method, target.split("?")[0])
        self.asked.add(operation["operationId"])
        responses = operation["responses"]
        if 200 <= status < 300:
            content = responses["2XX"].get("content", {})
        else:
            content = self.document["components"]["responses"]["Problem"]["content"]
        if not data:
            assert status in (201, 202, 204), f"{method} {target}: {status} without content"
            return
        assert kind in content, f"{method} {target} gives {kind}, described are {list(content)}"
        self.check(content[kind]["schema"], json.loads(data) if kind.endswith("json") and kind != "application/x-ndjson" else data.decode())

    def check_body(self, method, target, body):
        content = self.operation(method, target.split("?")[0])["requestBody"]["content"]
        schema = content.get("application/json", content.get("application/cloudevents+json"))["schema"]
        self.check(schema, body)


class DocumentsTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.server = Server()

    def tearDown(self):
        self.assertEqual(self.server.end(), 0)

    def get(self, target):
        status, kind, data = self.server.ask("GET", target)
        self.assertEqual((status, kind), (200, "application/json"))
        return json.loads(data)

    def test_the_openapi_document_is_valid(self):
        openapi_spec_validator.validate(self.get("/openapi.json"))

    def test_the_asyncapi_document_is_valid(self):
        with open(os.path.join(VALIDATORS, SCHEMAS[0]), encoding="utf-8") as file:
            validator = jsonschema.Draft7Validator(json.load(file))
        validator.validate(self.get("/asyncapi.json"))  # nothing is there yet
        for bus in ("orders", "a.b-c_d", "silent"):
            self.server.ask("PUT", f"/v1/buses/{bus}", {})
        for kind in ("order.created", "order.paid", "\u00e9t\u00e9", "a/b~c", 'quote"d'):
            status, _, data = self.server.ask("POST", "/v1/buses/orders/events", {**EVENT, "type": kind})
            self.assertEqual(status, 200, data)
        document = self.get("/asyncapi.json")
        validator.validate(document)
        self.assertEqual(sorted(document["channels"]), ["a.b-c_d", "orders", "silent"])
        names = [message["name"] for message in document["channels"]["orders"]["messages"].values()]
        self.assertEqual(sorted(names), ["a/b~c", "order.created", "order.paid", 'quote"d', "\u00e9t\u00e9"])
        self.assertEqual(document["operations"]["publish.orders"]["action"], "receive")

    def test_answers_are_as_described(self):
        description = Description(self.get("/openapi.json"))

        def ask(method, target, body=None, status=200, good=True, headers=None):
            if good and body is not None:
                description.check_body(method, target, body)
            got, kind, data = self.server.ask(method, target, body, headers)
            self.assertEqual(got, status, f"{method} {target}: {data}")
            description.check_answer(method, target, got, kind, data)
            return json.loads(data) if kind.endswith("json") and kind != "application/x-ndjson" and data else None

        def take(count=1):
            deliveries = ask("POST", f"/v1/queues/billing/take?max={count}")["deliveries"]
            return [delivery["tag"] for delivery in deliveries]

        # Buses.
        options = {"partitions": 2, "level": "written", "codec": "zstd", "retention_ms": 86400000, "dedup_window_ms": 0}
        ask("PUT", "/v1/buses/orders", options, 201)
        ask("PUT", "/v1/buses/orders", options)
        ask("PUT", "/v1/buses/orders", {"partitions": 3}, 409)
        ask("PUT", "/v1/buses/orders", {"partitons": 3}, 400, good=False)
        ask("PUT", "/v1/buses/trial", {}, 201)
        ask("PUT", "/v1/buses/trial/options", {"partitions": 2, "retention_ms": 86400000})
        ask("PUT", "/v1/buses/trial/options", {"partitions": 1}, 400)
        ask("GET", "/v1/buses")
        ask("GET", "/v1/buses/orders")
        ask("GET", "/v1/buses/none", status=404)
        ask("GET", "/v1/buses/orders/partitions")

        # Queues.
        queue = {"attempts_max": 2, "backoff": {"kind": "list", "list_ms": [0, 10]}, "deadline_ms": -1, "overflow": "refuse",
                 "bindings": [{"bus": "orders", "pattern": "order.#", "from": "earliest"}]}
        ask("PUT", "/v1/queues/billing", queue, 201)
        ask("PUT", "/v1/queues/billing", queue)
        ask("PUT", "/v1/queues/other", {}, 201)
        ask("POST", "/v1/queues/other/bindings", {"bus": "orders", "from": 0}, 204)
        ask("GET", "/v1/queues/other/bindings")
        ask("DELETE", "/v1/queues/other/bindings?bus=orders", status=204)
        ask("PUT", "/v1/queues/other/options", {"attempts_max": 4, "no_dead_letters": True})
        ask("PUT", "/v1/queues/other/options", {"priority_max": 4}, 400)
        ask("PUT", "/v1/queues/none/options", {}, 404)
        ask("GET", "/v1/queues")
        ask("GET", "/v1/queues/billing")
        ask("POST", "/v1/queues/billing/take", status=204)

        # Events.
        for number in range(6):
            ask("POST", "/v1/buses/orders/events", {**EVENT, "id": str(number), "priority": number, "extra": "yes",
                                                    "time": "2026-11-20T10:00:00.5Z"})
        ask("POST", "/v1/buses/orders/events", {"specversion": "1.0"}, 400, good=False)
        several = {"publishes": [{"events": [{**EVENT, "id": "7"}, {**EVENT, "id": "8"}]}, {"events": []}, {"events": [EVENT]}]}
        said = ask("POST", "/v1/buses/orders/publishes?level=synced", several)["publishes"]
        self.assertEqual([one["count"] for one in said], [2, 0, 1])
        said = ask("POST", "/v1/buses/orders/publishes", {"publishes": []})["publishes"]
        self.assertEqual(said, [])
        ask("POST", "/v1/buses/orders/publishes", {"publishes": [{"events": [{"specversion": "1.0"}]}]}, 400, good=False)
        ask("POST", "/v1/buses/none/publishes", several, 404)
        ask("GET", "/v1/buses/orders/events?from=earliest")
        ask("GET", "/v1/buses/orders/events?from=earliest&positions=true&limit=2")
        ask("GET", "/v1/buses/orders/events?from=earliest", headers={"Accept": "application/x-ndjson"})
        ask("GET", "/v1/queues/billing/events?limit=3")
        ask("GET", "/v1/queues/billing/events", headers={"Accept": "application/x-ndjson"})
        ask("POST", "/v1/buses/orders/events", {**EVENT, "id": "later", "deliverytime": "2100-01-01T00:00:00Z"})
        self.assertEqual(len(ask("GET", "/v1/queues/billing/delayed")["waiting"]), 1)

        # Deliveries.
        settled, rejected, retried, returned = take(4)
        page = ask("GET", "/v1/queues/billing/in_flight?limit=3")
        self.assertEqual((len(page["waiting"]), page["next_from"]), (3, 3))
        self.assertEqual(ask("POST", "/v1/queues/billing/settle", {"tags": [settled, "1"]}), {"settled": 1, "stale": ["1"]})
        ask("POST", "/v1/queues/billing/reject", {"tags": [rejected], "why": "no such customer"})
        ask("POST", "/v1/queues/billing/extend", {"tags": [retried]})
        ask("POST", "/v1/queues/billing/retry", {"tags": [retried], "delay_ms": 0, "why": "busy"})
        ask("POST", "/v1/queues/billing/return", {"tags": [returned]})
        ask("POST", "/v1/queues/billing/settle", {"tags": [17]}, 400, good=False)
        ask("POST", "/v1/queues/billing/retry", {"tags": take(), "delay_ms": 0})
        ask("GET", "/v1/queues/billing")

        # Dead letters.
        dead = ask("GET", "/v1/queues/billing/dead?limit=1")["dead"]
        self.assertEqual(dead[0]["history"][0]["why"], "no such customer")
        ask("POST", f"/v1/queues/billing/dead/redrive?offset={dead[0]['offset']}")
        ask("POST", "/v1/queues/billing/reject", {"tags": take(9)})
        ask("GET", "/v1/queues/billing/dead")
        ask("GET", "/v1/trace/0")
        ask("GET", "/v1/trace/unknown", status=404)
        ask("DELETE", "/v1/queues/billing/dead")

        # Steering and the end.
        for verb in ("pause", "resume"):
            ask("POST", f"/v1/queues/billing/{verb}", status=204)
        ask("POST", "/v1/queues/billing/rewind", {"from": "2026-11-20T00:00:00Z"}, 204)
        ask("POST", "/v1/queues/billing/purge")
        ask("POST", "/v1/sync", status=204)
        ask("POST", "/v1/buses/orders/purge", status=204)
        ask("DELETE", "/v1/queues/billing", status=204)
        ask("DELETE", "/v1/buses/trial", status=204)

        # Users.
        rules = [{"bus": "orders.*", "rights": ["publish", "read"]}, {"queue": "*", "rights": ["work"]}, {"server": True, "rights": ["describe"]}]
        ask("PUT", "/v1/users/ann", {"password": "correct horse", "rules": rules}, 201)
        ask("PUT", "/v1/users/ann", {"rules": rules[:1]})
        ask("POST", "/v1/users/ann/tokens", {"name": "laptop"}, 201)
        ask("GET", "/v1/users")
        ask("GET", "/v1/users/ann")
        ask("DELETE", "/v1/users/ann/tokens/laptop", status=204)
        ask("DELETE", "/v1/users/ann", status=204)
        ask("GET", "/v1/whoami")

        # The server.
        for target in ("/health/live", "/health/ready", "/metrics", "/v1/server", "/v1/hooks", "/openapi.json", "/asyncapi.json"):
            ask("GET", target)

        everything = {operation["operationId"] for list_ in description.operations.values() for _, operation in list_}
        self.assertEqual(everything - description.asked, NOT_ASKED)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
