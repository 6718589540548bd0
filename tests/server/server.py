"""What the tests of the server share: running it, reading its log, talking to it."""
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

PROGRAM = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else "beck"

DONE, FAILED, USAGE, NOT_FOUND, BUSY, CORRUPT, REFUSED, EXISTS = range(8)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        directory = os.open(os.path.dirname(self.path), os.O_PATH | os.O_DIRECTORY)
        try:  # the path may be longer than an address can be
            self.sock.connect(f"/proc/self/fd/{directory}/{os.path.basename(self.path)}")
        finally:
            os.close(directory)


class Server:
    """A running server. Its log is read line by line: nothing waits for anything but a line of it."""

    def __init__(self, process):
        self.process = process
        self.lines = []

    def read(self):
        """The lines of the log from here on. The last one of a server that was killed may be cut off."""
        for text in self.process.stderr:
            try:
                line = json.loads(text)
            except ValueError:
                line = {"message": text}
            self.lines.append(line)
            yield line

    def wait_for(self, message, **fields):
        """The next line of the log with that message and these fields."""
        for line in self.read():
            if line.get("message") == message and all(line.get(k) == v for k, v in fields.items()):
                return line
        raise AssertionError(f"the server ended without '{message}' {fields}: {self.lines}")

    def address(self, **fields):
        """(host, port) of what it listens on, once it does."""
        host, port = self.wait_for("listening", **fields)["address"].rsplit(":", 1)
        return host.strip("[]"), int(port)

    def kill(self, number):
        self.process.send_signal(number)

    def end(self, number=signal.SIGTERM):
        """Asks it to end; returns its exit code."""
        if number:
            self.process.send_signal(number)
        for _ in self.read():
            pass
        return self.process.wait()


class ServerTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="beck-server-")
        self.data = os.path.join(self.dir, "data")
        self.running = []

    def tearDown(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stderr.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def environment(self, **more):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("BECK_", "LISTEN_", "NOTIFY_"))}
        return {**env, "TZ": "UTC", "BECK_DATA": self.data, "BECK_LOG_FORMAT": "json",
                "BECK_HTTP_LISTEN": "127.0.0.1:0", "BECK_AMQP_LISTEN": "127.0.0.1:0", "BECK_KAFKA_LISTEN": "127.0.0.1:0",
                "BECK_MANAGEMENT_LISTEN": "127.0.0.1:0", **more}

    def launch(self, command, environment, **options):
        process = subprocess.Popen(command, cwd=self.dir, env=self.environment(**environment), stdin=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True, **options)
        self.running.append(process)
        return Server(process)

    def start(self, *args, **environment):
        return self.launch([PROGRAM, "serve", *args], environment)

    def refused(self, code, *args, says="", **environment):
        """The server must end with `code` and a last line that holds `says`; returns the lines before it."""
        done = subprocess.run([PROGRAM, "serve", *args], cwd=self.dir, env=self.environment(**environment),
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        lines = done.stderr.splitlines()
        self.assertIn(says, lines[-1])
        return lines[:-1]

    def write(self, name, text):
        with open(os.path.join(self.dir, name), "w", encoding="utf-8") as file:
            file.write(text)
        return name

    def get(self, address, path, method="GET", body=None, headers=None):
        """(status, body) of one request."""
        connection = UnixConnection(address) if isinstance(address, str) else http.client.HTTPConnection(*address)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def publish(self, address, data, bus="events"):
        status, body = self.get(address, f"/v1/buses/{bus}/events?create=true", "POST", json.dumps(data),
                                {"ce-type": "a.b", "Content-Type": "application/json", "ce-specversion": "1.0"})
        self.assertEqual(status, 200, body)
        return json.loads(body)


main = unittest.main
