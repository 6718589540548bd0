"""A server that has met everything that it counts, for the tests of its metrics."""
import hashlib
import hmac
import json
import socket

from server import ServerTest

CONFIG = """
buses:
  orders: {partitions: 2}
  memory: {storage: memory}
queues:
  billing: {attempts: 2, backoff: none, bindings: [{bus: orders, pattern: "order.#"}]}
hooks:
  gh: {provider: github, bus: hub, secrets: [secret]}
"""


class TrafficTest(ServerTest):
    def post(self, address, path, body=None, headers=None, wanted=200):
        status, text = self.get(address, path, "POST", body if isinstance(body, (str, type(None))) else json.dumps(body), headers)
        self.assertEqual(status, wanted, text)
        return json.loads(text) if text.startswith("{") else None

    def metrics(self, address):
        status, text = self.get(address, "/metrics")
        self.assertEqual(status, 200)
        return text

    def wait_for_metric(self, address, text):
        """A request is counted once its answer has been sent, which may be after it was read."""
        while text not in self.metrics(address):
            pass

    def ask_versions(self, address):
        """ApiVersions over Kafka's protocol."""
        with socket.create_connection(address) as client:
            client.sendall(bytes.fromhex("0000000a" "0012" "0000" "00000001" "ffff"))
            self.assertEqual(len(client.recv(4)), 4)

    def serve_traffic(self):
        """The address of a server with events, deliveries, failures, dead letters, webhooks and logins behind it."""
        self.write("beck.yaml", CONFIG)
        server = self.start("-c", "beck.yaml", "--kafka.listen", "127.0.0.1:0")
        address = server.address(protocol="http")
        self.ask_versions(server.address(protocol="kafka"))
        plain = {"Content-Type": "application/json"}
        for kind in ("order.created", "order.paid", "order.odd\u00e9"):
            event = {"specversion": "1.0", "id": kind, "source": "/test", "type": kind, "data": {}}
            for bus in ("orders", "memory"):
                self.post(address, f"/v1/buses/{bus}/events", event, plain)
        tags = [delivery["tag"] for delivery in self.post(address, "/v1/queues/billing/take?max=3")["deliveries"]]
        self.assertEqual(len(tags), 3)
        for verb, tag in zip(("settle", "retry", "reject"), tags):
            self.post(address, f"/v1/queues/billing/{verb}", {"tags": [tag]}, plain)
        body = '{"action":"opened"}'
        good = {"X-GitHub-Event": "issues", "X-GitHub-Delivery": "1", **plain,
                "X-Hub-Signature-256": "sha256=" + hmac.new(b"secret", body.encode(), hashlib.sha256).hexdigest()}
        self.post(address, "/hooks/gh", body, good)
        self.post(address, "/hooks/gh", body + " ", good, 401)
        self.assertEqual(self.get(address, "/v1/whoami", headers={"Authorization": "Bearer none"})[0], 401)
        self.assertEqual(self.get(address, "/none")[0], 404)
        self.wait_for_metric(address, 'beck_http_requests_total{route="none",code="4xx"} 1')
        return address
