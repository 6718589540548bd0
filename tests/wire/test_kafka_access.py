"""Logins and rules of access over Kafka's protocol, byte by byte: PLAIN, SCRAM with both hashes, tokens without headers, and what
is refused."""
import base64
import hashlib
import hmac
import os
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv.pop(1)
HASHES = {"SCRAM-SHA-256": (1, "sha256"), "SCRAM-SHA-512": (2, "sha512")}


def text(value):
    data = value.encode()
    return struct.pack(">h", len(data)) + data


def compact(data):
    data = data.encode() if isinstance(data, str) else data
    return bytes([len(data) + 1]) + data


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, form):
        return struct.unpack(">" + form, self.take(struct.calcsize(form)))[0]

    def short(self):
        n = self.number("h")
        return None if n < 0 else self.take(n).decode()

    def compact(self):
        n = self.take(1)[0]
        return None if n == 0 else self.take(n - 1).decode()


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.correlation = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def receive(self, n):
        data = b""
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            if not more:
                raise ConnectionError("the server has closed the connection")
            data += more
        return data

    def token(self, data):
        self.socket.sendall(struct.pack(">i", len(data)) + data)
        return self.receive(struct.unpack(">i", self.receive(4))[0])

    def call(self, key, version, body, flexible=False):
        self.correlation += 1
        head = struct.pack(">hhi", key, version, self.correlation) + text("test") + (b"\0" if flexible else b"")
        answer = Reader(self.token(head + body))
        assert answer.number("i") == self.correlation
        if flexible:
            answer.take(1)
        return answer

    def handshake(self, mechanism, version=1):
        answer = self.call(17, version, text(mechanism))
        return answer.number("h"), [answer.short() for _ in range(answer.number("i"))]

    def authenticate(self, data):
        """The error, its text, and what the server says."""
        answer = self.call(36, 1, struct.pack(">i", len(data)) + data)
        return answer.number("h"), answer.short(), answer.take(answer.number("i"))

    def plain(self, user, password):
        self.handshake("PLAIN")
        return self.authenticate(f"\0{user}\0{password}".encode())[:2]

    def scram(self, mechanism, user, password, version=1):
        """0 and the proof of the server, or the error."""
        _, name = HASHES[mechanism]
        self.handshake(mechanism, version)
        step = self.authenticate if version else lambda data: (0, None, self.token(data))
        first = f"n={user},r=nonce"
        code, why, server = step(b"n,," + first.encode())
        if code:
            return code, why
        fields = dict(part.split("=", 1) for part in server.decode().split(","))
        salted = hashlib.pbkdf2_hmac(name, password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
        final = f"c=biws,r={fields['r']}"
        message = f"{first},{server.decode()},{final}".encode()
        client = hmac.digest(salted, b"Client Key", name)
        signature = hmac.digest(hashlib.new(name, client).digest(), message, name)
        proof = bytes(a ^ b for a, b in zip(client, signature))
        code, why, server = step(final.encode() + b",p=" + base64.b64encode(proof))
        if code:
            return code, why
        expected = hmac.digest(hmac.digest(salted, b"Server Key", name), message, name)
        assert server == b"v=" + base64.b64encode(expected), server
        return 0, None

    def set_scram(self, mechanism, user, password, iterations=4096):
        number, name = HASHES[mechanism]
        salted = hashlib.pbkdf2_hmac(name, password.encode(), b"a salt of ours", iterations)
        body = b"\1\2" + compact(user) + struct.pack(">bi", number, iterations) + compact(b"a salt of ours") + compact(salted) + b"\0\0"
        answer = self.call(51, 0, body, flexible=True)
        answer.take(4)
        assert answer.take(1) == b"\2" and answer.compact() == user
        return answer.number("h")

    def rules(self, operation=1):
        answer = self.call(29, 1, struct.pack(">bhbhhbb", 1, -1, 1, -1, -1, operation, 1))
        answer.take(4)
        code = answer.number("h")
        answer.short()
        found = []
        for _ in range(answer.number("i")):
            kind, name, pattern = answer.number("b"), answer.short(), answer.number("b")
            for _ in range(answer.number("i")):
                user, _, operation, _ = answer.short(), answer.short(), answer.number("b"), answer.number("b")
                found.append((kind, name, pattern, user, operation))
        return code, found

    def make_rule(self, kind, name, pattern, user, operation, permission=3, host="*"):
        body = struct.pack(">ib", 1, kind) + text(name) + struct.pack(">b", pattern) + text(user) + text(host)
        answer = self.call(30, 1, body + struct.pack(">bb", operation, permission))
        answer.take(8)
        return answer.number("h")

    def delete_rules(self, user):
        answer = self.call(31, 1, struct.pack(">ibhb", 1, 1, -1, 1) + text(user) + struct.pack(">hbb", -1, 1, 1))
        answer.take(8)
        code = answer.number("h")
        answer.short()
        return code, answer.number("i")

    def make_topic(self, name):
        answer = self.call(19, 0, struct.pack(">i", 1) + text(name) + struct.pack(">ihiii", 1, 1, 0, 0, 10000))
        answer.take(4)
        assert answer.short() == name
        return answer.number("h")

    def topics_in_log_dirs(self):
        answer = self.call(35, 1, struct.pack(">i", -1))
        answer.take(4)
        assert answer.number("i") == 1 and answer.number("h") == 0
        answer.short()
        names = []
        for _ in range(answer.number("i")):
            names.append(answer.short())
            answer.take(21 * answer.number("i"))
        return sorted(names)

    def is_served(self):
        try:
            return self.call(60, 0, b"\0\0", flexible=True).number("i") == 0
        except ConnectionError:
            return False


class KafkaAccess(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.process = None
        self.start()
        self.addCleanup(self.stop)

    def start(self):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("BECK_", "LISTEN_", "NOTIFY_"))}
        command = [PROGRAM, "serve", "--data", os.path.join(self.directory.name, "data"), "--http.listen", "", "--amqp.listen", "",
                   "--management.listen", "", "--kafka.listen", "127.0.0.1:0", "--access.scrypt_log_n", "10"]
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        said = []
        for line in self.process.stderr:
            said.append(line)
            if "protocol=kafka" in line:
                self.port = int(line.split("address=127.0.0.1:")[1].split()[0])
            if " ready" in line:
                return
        self.fail("the server did not start:\n" + "".join(said))

    def stop(self):
        self.process.terminate()
        self.process.communicate()

    def user(self, name, *rules):
        subprocess.run([PROGRAM, "user", "add", name, "--data", os.path.join(self.directory.name, "data"), "--password-stdin", *rules],
                       input="secret\n", text=True, check=True, stdout=subprocess.DEVNULL)

    def password(self, name, password):
        subprocess.run([PROGRAM, "user", "password", name, "--data", os.path.join(self.directory.name, "data"), "--password-stdin"],
                       input=password + "\n", text=True, check=True, stdout=subprocess.DEVNULL)

    def client(self):
        return Client(self.port)

    def test_without_users_any_name_will_do(self):
        with self.client() as c:
            self.assertTrue(c.is_served())
            self.assertEqual(c.rules(), (54, []))
            self.assertEqual(c.plain("anybody", "anything"), (0, None))
            self.assertTrue(c.is_served())

    def test_plain_is_for_the_users_of_the_server(self):
        self.user("ann", "--allow", "server=admin")
        with self.client() as c:
            self.assertEqual(c.plain("ann", "secret"), (0, None))
            self.assertTrue(c.is_served())
            self.assertEqual(c.plain("ann", "secret"), (0, None))
        with self.client() as c:
            code, why = c.plain("ann", "wrong")
            self.assertEqual(code, 58)
            self.assertIn("Invalid username or password", why)
            self.assertFalse(c.is_served())
        with self.client() as c:
            self.assertFalse(c.is_served())
        with self.client() as c:
            self.assertEqual(c.handshake("GSSAPI"), (33, ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]))
            self.assertEqual(c.authenticate(b"x")[0], 34)

    def test_scram_proves_both_sides_and_survives_a_restart(self):
        self.user("ann", "--allow", "server=admin")
        with self.client() as c:
            self.assertEqual(c.plain("ann", "secret"), (0, None))
            for mechanism in HASHES:
                self.assertEqual(c.set_scram(mechanism, "ann", "other secret"), 0)
                self.assertEqual(c.set_scram(mechanism, "ann", "other secret", iterations=100), 93)
                self.assertEqual(c.set_scram(mechanism, "nobody", "other secret"), 93)
        self.stop()
        self.start()
        for mechanism in HASHES:
            with self.client() as c:
                self.assertEqual(c.scram(mechanism, "ann", "other secret"), (0, None))
                self.assertTrue(c.is_served())
            for name, password in (("ann", "wrong"), ("nobody", "other secret")):
                with self.client() as c:
                    self.assertEqual(c.scram(mechanism, name, password)[0], 58)
                    self.assertFalse(c.is_served())

    def test_a_password_of_the_server_is_good_for_scram(self):
        self.user("ann", "--allow", "server=admin")
        for mechanism in HASHES:
            with self.client() as c:
                self.assertEqual(c.scram(mechanism, "ann", "secret"), (0, None))
                self.assertTrue(c.is_served())
            with self.client() as c:
                self.assertEqual(c.scram(mechanism, "ann", "wrong")[0], 58)

    def test_a_new_password_is_good_for_scram_and_the_old_one_is_not(self):
        self.user("ann", "--allow", "server=admin")
        self.password("ann", "new secret")
        self.stop()
        self.start()
        for mechanism in HASHES:
            with self.client() as c:
                self.assertEqual(c.scram(mechanism, "ann", "new secret"), (0, None))
            with self.client() as c:
                self.assertEqual(c.scram(mechanism, "ann", "secret")[0], 58)

    def test_who_is_unknown_is_asked_like_somebody(self):
        self.user("ann", "--allow", "server=admin")
        for mechanism in HASHES:
            asked = []
            for name in ("ann", "nobody", "nobody"):
                with self.client() as c:
                    c.handshake(mechanism)
                    _, _, first = c.authenticate(f"n,,n={name},r=nonce".encode())
                    asked.append(dict(part.split("=", 1) for part in first.decode().split(",")))
            self.assertEqual({a["i"] for a in asked}, {"16384"})
            self.assertEqual({len(base64.b64decode(a["s"])) for a in asked}, {16})
            self.assertEqual(asked[1]["s"], asked[2]["s"])

    def test_tokens_without_headers_follow_an_old_handshake(self):
        self.user("ann", "--allow", "server=admin")
        with self.client() as c:
            c.handshake("PLAIN", version=0)
            self.assertEqual(c.token(b"\0ann\0secret"), b"")
            self.assertTrue(c.is_served())
            c.set_scram("SCRAM-SHA-256", "ann", "s")
        with self.client() as c:
            self.assertEqual(c.scram("SCRAM-SHA-256", "ann", "s", version=0), (0, None))
            self.assertTrue(c.is_served())
        with self.client() as c:
            c.handshake("PLAIN", version=0)
            with self.assertRaises(ConnectionError):
                c.token(b"\0ann\0wrong")

    def test_rules_of_users_are_rules_of_access(self):
        self.user("ann", "--allow", "server=admin")
        self.user("bob")
        with self.client() as c:
            c.plain("ann", "secret")
            self.assertEqual(c.rules(), (0, [(4, "kafka-cluster", 3, "User:ann", 2)]))
            self.assertEqual(c.make_rule(2, "orders", 3, "User:bob", 3), 0)
            self.assertEqual(c.make_rule(2, "bills.", 4, "User:bob", 4), 0)
            self.assertEqual(c.make_rule(3, "*", 3, "User:bob", 3), 0)
            self.assertEqual(c.make_rule(2, "orders", 3, "User:nobody", 3), 42)
            self.assertEqual(c.make_rule(2, "orders", 3, "User:bob", 3, permission=2), 42)
            self.assertEqual(c.make_rule(2, "orders", 3, "User:bob", 3, host="10.0.0.1"), 42)
            self.assertEqual(c.make_rule(2, "orders", 3, "User:*", 3), 42)
            bobs = [(2, "orders", 3, "User:bob", 3), (2, "bills.", 4, "User:bob", 4), (3, "*", 3, "User:bob", 3)]
            self.assertEqual([rule for rule in c.rules()[1] if rule[3] == "User:bob"], bobs)
            with self.client() as other:
                other.plain("bob", "secret")
                self.assertEqual(other.rules(), (31, []))
            self.assertEqual(c.delete_rules("User:bob"), (0, 3))
            self.assertEqual(c.rules(), (0, [(4, "kafka-cluster", 3, "User:ann", 2)]))

    def test_rules_to_make_and_to_describe_topics_are_kept_and_hold(self):
        self.user("ann", "--allow", "server=admin")
        self.user("bob")
        with self.client() as c:
            c.plain("ann", "secret")
            self.assertEqual([c.make_topic(name) for name in ("bills", "orders")], [0, 0])
            # What kafka-acls --producer asks for, and the same for all topics on the cluster.
            self.assertEqual([c.make_rule(2, "new.", 4, "User:bob", operation) for operation in (4, 8, 5)], [0, 0, 0])
            self.assertEqual([c.make_rule(4, "kafka-cluster", 3, "User:bob", operation) for operation in (8, 12)], [0, 0])
            self.assertEqual(c.make_rule(2, "orders", 3, "User:bob", 8), 0)
            self.assertEqual(c.make_rule(3, "group", 3, "User:bob", 8), 0)
            self.assertEqual(c.make_rule(4, "kafka-cluster", 3, "User:bob", 11), 42)
            kept = [(2, "new.", 4, "User:bob", op) for op in (4, 5, 8, 10)] + \
                   [(2, "orders", 3, "User:bob", op) for op in (8, 10)] + [(3, "group", 3, "User:bob", op) for op in (8, 10)]
            self.assertEqual([rule for rule in c.rules()[1] if rule[3] == "User:bob"], kept)
            with self.client() as bob:
                bob.plain("bob", "secret")
                self.assertEqual(bob.topics_in_log_dirs(), ["orders"])
                self.assertEqual([bob.make_topic(name) for name in ("new.one", "other")], [0, 29])
                self.assertEqual(c.make_rule(4, "kafka-cluster", 3, "User:bob", 5), 0)
                self.assertEqual(bob.make_topic("other"), 0)

    def test_of_directories_only_topics_that_may_be_seen_are_told(self):
        self.user("ann", "--allow", "server=admin")
        self.user("bob", "--allow", "bus:orders=read")
        with self.client() as c:
            c.plain("ann", "secret")
            self.assertEqual([c.make_topic(name) for name in ("bills", "orders")], [0, 0])
            self.assertLessEqual({"bills", "orders"}, set(c.topics_in_log_dirs()))
        with self.client() as c:
            c.plain("bob", "secret")
            self.assertEqual(c.topics_in_log_dirs(), ["orders"])

    def test_too_many_wrong_logins_have_to_wait(self):
        self.user("ann", "--allow", "server=admin")
        for _ in range(10):
            with self.client() as c:
                self.assertEqual(c.scram("SCRAM-SHA-256", "ann", "wrong")[0], 58)
        with self.client() as c:
            code, why = c.scram("SCRAM-SHA-256", "ann", "wrong")
            self.assertEqual(code, 58)
            self.assertIn("failures_max", why)


if __name__ == "__main__":
    unittest.main()
