"""Where Kafka's protocol is listened on, and what clients are told to connect to: TLS, with kcat too where it was fetched, and
kafka.advertised."""
import glob
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import unittest

PROGRAM, FETCHED = sys.argv.pop(1), sys.argv.pop(1)
METADATA, VERSION = 3, 1
ANY = "127.0.0.1:0"


def receive(connection, n):
    data = b""
    while len(data) < n:
        more = connection.recv(n - len(data))
        if not more:
            raise ConnectionError("the server has closed the connection")
        data += more
    return data


def broker(connection):
    """Host and port of the only broker, as the server tells them on that connection."""
    request = struct.pack(">hhih4si", METADATA, VERSION, 1, 4, b"test", 0)
    connection.sendall(struct.pack(">i", len(request)) + request)
    answer = receive(connection, struct.unpack(">i", receive(connection, 4))[0])
    count, _, length = struct.unpack(">iih", answer[4:14])
    assert count == 1
    return answer[14:14 + length].decode(), struct.unpack(">i", answer[14 + length:18 + length])[0]


class Listeners(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = folder.name
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
                       cwd=self.dir, check=True, capture_output=True)
        self.context = ssl.create_default_context(cafile=os.path.join(self.dir, "cert.pem"))

    def serve(self, *arguments):
        """The ports, in the order of the settings."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("BECK_", "LISTEN_", "NOTIFY_"))}
        server = subprocess.Popen([PROGRAM, "serve", "--data", os.path.join(self.dir, "data"), "--http.listen", "", "--amqp.listen", "",
                                   "--management.listen", "", "--kafka.tls_certificate", os.path.join(self.dir, "cert.pem"),
                                   "--kafka.tls_key", os.path.join(self.dir, "key.pem"), *arguments], env=environment, stdin=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True)

        def stop():
            server.terminate()
            server.communicate()

        self.addCleanup(stop)
        ports = []
        for line in server.stderr:
            if re.search('protocol="?kafka', line):
                ports.append(int(line.split("address=127.0.0.1:")[1].split()[0]))
            if " ready" in line:
                return ports
        return self.fail("the server does not start")

    def told(self, port, tls=False):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            if not tls:
                return broker(connection)
            with self.context.wrap_socket(connection, server_hostname="localhost") as secure:
                return broker(secure)

    def test_clients_are_told_how_they_came(self):
        plain, tls = self.serve("--kafka.listen", ANY, "--kafka.tls_listen", ANY)
        self.assertEqual(self.told(plain), ("127.0.0.1", plain))
        self.assertEqual(self.told(tls, True), ("127.0.0.1", tls))

    def test_clients_of_each_listener_are_told_what_is_set_for_it(self):
        ports = self.serve("--kafka.listen", f"{ANY},{ANY}", "--kafka.tls_listen", ANY,
                           "--kafka.advertised", "inside.example:1111,outside.example:2222,[2001:db8::1]:3333")
        self.assertEqual([self.told(ports[0]), self.told(ports[1]), self.told(ports[2], True)],
                         [("inside.example", 1111), ("outside.example", 2222), ("2001:db8::1", 3333)])

    def test_what_is_not_set_is_as_clients_came(self):
        ports = self.serve("--kafka.listen", f"{ANY},{ANY}", "--kafka.advertised", "inside.example:1111")
        self.assertEqual([self.told(ports[0]), self.told(ports[1])], [("inside.example", 1111), ("127.0.0.1", ports[1])])

    def test_tls_is_for_those_who_speak_it(self):
        plain, tls = self.serve("--kafka.listen", ANY, "--kafka.tls_listen", ANY)
        with self.assertRaises((ConnectionError, OSError)):
            self.told(tls)
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            self.told(plain, True)
        with self.assertRaises(ssl.SSLCertVerificationError), socket.create_connection(("127.0.0.1", tls)) as connection:
            ssl.create_default_context().wrap_socket(connection, server_hostname="localhost")
        self.assertEqual(self.told(tls, True), ("127.0.0.1", tls))

    def test_kcat_produces_and_consumes_over_tls(self):
        root = os.path.join(FETCHED, "kafka-debian", "root")
        libraries = glob.glob(f"{root}/usr/lib/*-linux-gnu")
        if not libraries:
            self.skipTest("kcat was not fetched")
        [port] = self.serve("--kafka.listen", "", "--kafka.tls_listen", ANY)
        kcat = [f"{root}/usr/bin/kcat", "-b", f"127.0.0.1:{port}", "-X", "security.protocol=ssl", "-X", f"ssl.ca.location={self.dir}/cert.pem",
                "-t", "orders", "-p", "0"]
        world = {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}
        records = "".join(f"record {i} {'x' * 500}\n" for i in range(20000))  # more than the memory of a partition holds
        subprocess.run([*kcat, "-P", "-z", "lz4"], input=records, text=True, check=True, env=world)
        subprocess.run([*kcat, "-P"], input=records, text=True, check=True, env=world)
        got = subprocess.run([*kcat, "-C", "-e", "-q"], stdout=subprocess.PIPE, text=True, check=True, env=world).stdout
        self.assertTrue(got == records + records)


if __name__ == "__main__":
    unittest.main()
