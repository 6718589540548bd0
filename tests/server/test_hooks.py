"""Webhooks through the program: from the configuration to events, over kills and reloads."""
import hashlib
import hmac
import json
import os
import signal
import subprocess

from server import DONE, PROGRAM, ServerTest, main

BODY = '{"action":"opened","repository":{"full_name":"a/b","html_url":"https://github.com/a/b"}}'
CONFIG = """
http: {access_log: true}
hooks:
  gh: {provider: github, bus: hub, secrets: [%s]}
  ce: {provider: cloudevents, bus: hub, secrets: [t0ken-t0ken]}
"""
# Made with the key of a certificate that is in the data of the tests.
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "webhooks")


def signed(secret, delivery):
    return {"X-GitHub-Event": "issues", "X-GitHub-Delivery": delivery, "Content-Type": "application/json",
            "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), BODY.encode(), hashlib.sha256).hexdigest()}


class Hooks(ServerTest):
    def events(self, bus):
        log = subprocess.run([PROGRAM, "log", bus, "--data", self.data], env=self.environment(), capture_output=True, text=True,
                             check=True)
        return [json.loads(line) for line in log.stdout.splitlines()]

    def test_a_delivery_is_stored_once_over_a_kill(self):
        self.write("beck.yaml", CONFIG % "secret")
        for _ in range(3):
            server = self.start("-c", "beck.yaml")
            self.assertEqual(self.get(server.address(), "/hooks/gh", "POST", BODY, signed("secret", "d1")), (200, ""))
            server.end(signal.SIGKILL)
        (event,) = self.events("hub")
        self.assertEqual((event["type"], event["id"], event["source"], event["subject"], event["hook"]),
                         ("com.github.issues.opened", "d1", "https://github.com/a/b", "a/b", "gh"))
        self.assertEqual(event["data"], json.loads(BODY))

    def test_secrets_change_with_a_reload(self):
        self.write("beck.yaml", CONFIG % "old")
        server = self.start("-c", "beck.yaml")
        address = server.address()
        for secrets, statuses in (("old", (200, 401)), ("new, old", (200, 200)), ("new", (401, 200))):
            self.write("beck.yaml", CONFIG % secrets)
            server.kill(signal.SIGHUP)
            server.wait_for("reloaded")
            self.assertEqual(tuple(self.get(address, "/hooks/gh", "POST", BODY, signed(secret, "d1"))[0] for secret in ("old", "new")),
                             statuses)
        self.assertEqual(server.end(), DONE)
        self.assertEqual(len(self.events("hub")), 1)

    def test_a_token_is_nowhere_but_in_the_configuration(self):
        self.write("beck.yaml", CONFIG % "secret")
        server = self.start("-c", "beck.yaml")
        address = server.address()
        event = '{"specversion":"1.0","id":"1","source":"/s","type":"t"}'
        kind = {"Content-Type": "application/cloudevents+json"}
        self.assertEqual(self.get(address, "/hooks/ce?access_token=t0ken-t0ken", "POST", event, kind)[0], 200)
        self.assertEqual(self.get(address, "/hooks/ce?access_token=t0ken-t0ken&x", "PUT", event, kind)[0], 405)
        for target in ("http://localhost/hooks/ce", "/%68ooks/ce", "//hooks/ce"):
            self.get(address, target + "?access_token=t0ken-t0ken", "POST", event, kind)
        wrong = {**kind, "Authorization": "Bearer t0ken-t0ken-"}
        self.assertEqual(self.get(address, "/hooks/ce", "POST", event, wrong)[0], 401)
        server.wait_for("request", target="/hooks/ce", status=401)
        self.assertNotIn("t0ken-t0ken", self.get(address, "/v1/hooks")[1] + self.get(address, "/v1/hooks/ce/refused")[1])
        self.assertEqual(server.end(), DONE)
        self.assertNotIn("t0ken-t0ken", json.dumps(server.lines))
        for name in os.listdir(self.data):
            path = os.path.join(self.data, name)
            for file in os.listdir(path) if os.path.isdir(path) else []:
                with open(os.path.join(path, file), "rb") as stored:
                    self.assertNotIn(b"t0ken-t0ken", stored.read())

    def test_paypal_with_a_certificate_of_its_own(self):
        with open(os.path.join(DATA, "paypal.jsonl"), encoding="utf-8") as file:
            vector = json.loads(next(file))
        self.write("beck.yaml", f"hooks: {{pp: {{provider: paypal, bus: hub, webhook_id: {vector['webhook_id']}, "
                                f"certificate: {DATA}/paypal-test-cert.pem}}}}\n")
        server = self.start("-c", "beck.yaml")
        address = server.address()
        body = vector["body"].encode()
        self.assertEqual(self.get(address, "/hooks/pp", "POST", body + b" ", vector["headers"])[0], 401)
        self.assertEqual(self.get(address, "/hooks/pp", "POST", body, vector["headers"])[0], 200)
        self.assertEqual(server.end(), DONE)
        (event,) = self.events("hub")
        self.assertEqual((event["type"], event["id"]), ("com.paypal.payment.capture.completed", json.loads(vector["body"])["id"]))


if __name__ == "__main__":
    main()
