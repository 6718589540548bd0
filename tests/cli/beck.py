"""What the tests of the program share: running it in a directory of its own."""
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

# With BECK_TEST_SERVED every test has a server on its data directory: the same commands must do the same.
SERVED = bool(os.environ.get("BECK_TEST_SERVED"))
PROGRAM = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else "beck"

with open(PROGRAM, "rb") as binary:
    # Then each step is slow: what is for the sake of rare moments is done in full in plain runs only.
    SANITIZED = b"__asan_init" in binary.read()

DONE, FAILED, USAGE, NOT_FOUND, BUSY, CORRUPT, REFUSED, EXISTS, UNSUPPORTED, DISK = range(10)
INTERRUPTED = 130


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def json(self):
        """Standard output as one JSON object a line."""
        return [json.loads(line) for line in self.lines]


def alone(why):
    """For tests of what is only so without a server, and why."""
    return unittest.skipIf(SERVED, why)


class BeckTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="beck-cli-")
        self.data = os.path.join(self.dir, "data")
        self.server = self.serve() if SERVED else None

    def tearDown(self):
        if SERVED:
            self.stop_server()
            os.remove(self.dir + ".log")
        shutil.rmtree(self.dir, ignore_errors=True)

    def serve(self, *args):
        """Starts a server on the data directory, and waits until it is ready."""
        log = open(self.dir + ".log", "a+", encoding="utf-8")
        server = subprocess.Popen([PROGRAM, "serve", "--http.listen", "", "--amqp.listen", "", "--kafka.listen", "", "--management.listen", "", *args], cwd=self.dir, stdin=subprocess.DEVNULL,
                                  stdout=log, stderr=log, env=self.environment())
        ready = False
        while not ready:
            time.sleep(0.002)
            with open(log.name, encoding="utf-8") as file:
                text = file.read()
            ready = " info ready " in text.split("---\n")[-1]
            self.assertIsNone(server.poll(), text)
        log.write("---\n")
        log.close()
        return server

    def stop_server(self):
        self.server.send_signal(signal.SIGTERM)
        self.assertEqual(self.server.wait(), DONE)
        self.server = None

    def environment(self, **more):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("BECK_", "CE_"))}
        return {**env, "TZ": "UTC", "BECK_DATA": self.data, **more}

    def start(self, *args, **options):
        return subprocess.Popen([PROGRAM, *args], cwd=self.dir, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env=self.environment(**options))

    def try_beck(self, *args, stdin="", **options):
        done = subprocess.run([PROGRAM, *args], cwd=self.dir, input=stdin, capture_output=True, text=True,
                              check=False, env=self.environment(**options), timeout=600)
        return Result(done.returncode, done.stdout, done.stderr)

    def beck(self, *args, stdin="", **options):
        """Runs the program; anything but success fails the test."""
        result = self.try_beck(*args, stdin=stdin, **options)
        self.assertEqual(result.code, DONE, f"beck {' '.join(args)}\n{result.out}{result.err}")
        return result

    def refused(self, code, *args, says="", stdin=""):
        """Runs the program, which must end with `code` and a message that holds `says`."""
        result = self.try_beck(*args, stdin=stdin)
        self.assertEqual(result.code, code, f"beck {' '.join(args)}\n{result.out}{result.err}")
        self.assertIn(says, result.err)
        self.assertTrue(result.err.startswith("beck: "), result.err)
        return result

    def script(self, name, text):
        """An executable program in the test's directory; returns its path."""
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(textwrap.dedent(text).lstrip())
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        return path

    def python(self, name, text):
        return self.script(name, f"#!{sys.executable}\n" + textwrap.dedent(text).lstrip())

    def read(self, name):
        """The lines of a file in the test's directory; none when it is missing."""
        path = os.path.join(self.dir, name)
        if not os.path.exists(path):
            return []
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()

    def emit(self, count, kind="order.created", **options):
        """Emits events whose data is their number."""
        lines = "".join(json.dumps({"specversion": "1.0", "type": kind, "source": "/test", "id": str(i),
                                    "subject": f"s{i % 3}", "data": i, **options}) + "\n" for i in range(count))
        self.beck("emit", "--json-lines", "-q", stdin=lines)

    def assert_untouched(self):
        """Nothing was made: no data directory, or with a server no bus and no queue in it."""
        if SERVED:
            self.assertEqual(self.beck("bus", "list", "--json").out + self.beck("queue", "list", "--json").out, "")
        else:
            self.assertFalse(os.path.exists(self.data))

    def queue(self, name):
        return self.beck("queue", "show", name, "--json").json[0]


def interrupt(process):
    process.send_signal(signal.SIGTERM)


main = unittest.main
