"""beck serve on the command line: its options, and configurations that are checked and printed. What a running server does is in
tests/server."""
import os
import re
import shlex
import shutil
import subprocess
import textwrap
import unittest

from beck import BeckTest, DONE, NOT_FOUND, PROGRAM, USAGE, interrupt, main

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
EXAMPLE = os.path.join(ROOT, "examples", "beck.yaml")


class Options(BeckTest):
    def test_every_setting_is_an_option_with_its_default(self):
        shown = self.beck("serve", "--help").out
        for line in ("--http.listen ADDRESS:PORT", "(default 127.0.0.1:2325,[::1]:2325)", "--http.idle_timeout DURATION",
                     "--log.level debug|info|warn|error", "--server.drain_timeout DURATION", "-c, --config FILE"):
            self.assertIn(line, shown)
        self.assertNotIn("(default )", shown)

    def test_values_are_checked(self):
        self.refused(USAGE, "serve", "--http.threads", "0", says="--http.threads '0' is out of range: give 1 to 256")
        self.refused(USAGE, "serve", "--http.idle_timeout", "5", says="a duration such as")
        self.refused(USAGE, "serve", "--log.level", "loud", says="one of debug, info, warn, error")
        self.refused(USAGE, "serve", "--http.socket", "maybe", says="one of true, false")
        self.refused(USAGE, "serve", "--http.listen", "nowhere", "--check", says="'nowhere' is no address")
        self.refused(USAGE, "serve", "--http.liten", "x", says="did you mean '--http.listen'?")

    def test_a_configuration_that_is_not_there(self):
        self.refused(NOT_FOUND, "serve", "--config", "nowhere.yaml", says="'nowhere.yaml' cannot be opened")
        self.assertEqual(self.try_beck("serve", "--check", BECK_CONFIG="nowhere.yaml").code, NOT_FOUND)
        self.beck("serve", "--check", BECK_CONFIG="")


class Check(BeckTest):
    def configuration(self, text):
        path = os.path.join(self.dir, "beck.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def test_where_there_is_no_data_yet_it_is_known_what_is_missing(self):
        path = self.configuration("queues: {q: {bindings: [{bus: b}]}}\nhttp: {listen: ['0.0.0.0:0']}\n")
        result = self.try_beck("serve", "--config", path, "--check")
        self.assertEqual(result.code, USAGE)
        self.assertIn("beck.yaml:1:25: queues.q.bindings[0]: there is no bus 'b': declare it under buses", result.err)
        self.assertIn("beck.yaml:2:16: http.listen: '0.0.0.0:0' can be reached from other machines, and there is no user", result.err)
        split = self.configuration("buses: {m: {storage: memory}}\nqueues: {q: {bindings: [{bus: m}]}}\n")
        self.assertIn("queues.q.bindings[0]: the queue is on disk and bus 'm' in memory",
                      self.try_beck("serve", "--config", split, "--check").err)
        path = self.configuration("queues: {q: {bindings: [{bus: b}]}}\nhttp: {listen: ['0.0.0.0:0']}\n")
        self.beck("bus", "create", "b")
        self.beck("serve", "--config", path, "--check", "--http.listen", "127.0.0.1:0")

    def test_the_example_is_right_and_does_what_it_says(self):
        result = self.beck("serve", "--config", EXAMPLE, "--check")
        self.assertEqual(result.err, "beck: the configuration is right\n")
        self.assertFalse(os.path.exists(self.data))
        printed = self.beck("serve", "--config", EXAMPLE, "--print-config").out
        for line in ("  orders:", "    partitions: 4", "    backoff: list:1m,10m,1h", '    secrets: ["***"]'):
            self.assertIn(line, printed.splitlines())

    def test_every_mistake_is_told_and_the_exit_code_says_so(self):
        self.configuration("htpp: 1\nbuses: {a: {partitions: 0}}\n")
        result = self.try_beck("serve", "--config", "beck.yaml", "--check", BECK_LOG_LEVEL="loud")
        self.assertEqual(result.code, USAGE)
        self.assertEqual(result.err.splitlines(), [
            "beck: beck.yaml:1:1: there is no setting 'htpp': did you mean 'http'?",
            "beck: beck.yaml:2:25: buses.a.partitions '0' is out of range: give 1 to 10000",
            "beck: BECK_LOG_LEVEL 'loud' is none of its values: give debug, info, warn or error",
            "beck: the configuration has 3 mistakes: nothing was done"])

    def test_a_mistyped_variable_is_warned_of(self):
        result = self.beck("serve", "--check", BECK_HTTP_LISTN="x")
        self.assertIn("BECK_HTTP_LISTN is no setting: did you mean BECK_HTTP_LISTEN?", result.err)

    def test_what_is_printed_says_where_it_came_from_and_can_be_read(self):
        self.configuration("http: {threads: 3}\nlog: {level: warn}\nhooks: {h: {provider: none, bus: b}}\n")
        printed = self.beck("serve", "--config", "beck.yaml", "--print-config", "--http.threads", "4",
                            "--data", "given", BECK_HTTP_BODY_MAX="1m").out
        for line in ("data: given # flag --data", "  threads: 4 # flag --http.threads", "  body_max: 1m # environment BECK_HTTP_BODY_MAX",
                     "  level: warn # file beck.yaml:2:14", "  pool_threads: 4"):
            self.assertIn(line, printed.splitlines())
        self.configuration(printed)
        again = self.beck("serve", "--config", "beck.yaml", "--print-config", BECK_DATA="").out
        self.assertEqual([line.split(" #")[0] for line in again.splitlines()], [line.split(" #")[0] for line in printed.splitlines()])

    def test_secrets_come_from_files_and_are_not_shown(self):
        with open(os.path.join(self.dir, "secret"), "w", encoding="utf-8") as file:
            file.write("tell-nobody\n")
        self.configuration("hooks: {h: {provider: github, bus: b, secrets: ['file:secret', other-secret]}}\n")
        printed = self.beck("serve", "--config", "beck.yaml", "--print-config").out
        self.assertIn('    secrets: ["***", "***"]', printed.splitlines())
        self.assertNotIn("tell-nobody", printed)
        self.assertNotIn("other-secret", printed)
        self.configuration("hooks: {h: {provider: github, bus: b, secrets: ['file:nowhere']}}\n")
        self.assertIn("the file 'nowhere' of the secret cannot be read", self.try_beck("serve", "--config", "beck.yaml", "--check").err)


class Documents(BeckTest):
    @unittest.skipUnless(shutil.which("curl") and shutil.which("openssl"), "the commands shown need curl and openssl")
    def test_the_webhooks_that_are_shown_work(self):
        with open(os.path.join(ROOT, "docs", "webhooks.md"), encoding="utf-8") as file:
            blocks = [textwrap.dedent(b) for b in re.findall(r"(?m)(?:^    .*\n)+", file.read())]
        with open(os.path.join(self.dir, "beck.yaml"), "w", encoding="utf-8") as file:
            file.write(next(b for b in blocks if b.startswith("hooks:\n  github:")))
        serve, on = [shlex.split(line) for line in next(b for b in blocks if b.startswith("beck serve")).splitlines()]
        attempt = next(b for b in blocks if "curl" in b)
        self.assertEqual((serve[0], serve[-1], on[0]), ("beck", "&", "beck"))
        self.script("deploy", '#!/bin/sh\necho "$CE_TYPE" > deployed\n')
        server = subprocess.Popen([PROGRAM, *serve[1:-1], "--http.listen", "127.0.0.1:0", "--amqp.listen", "",
                                   "--kafka.listen", "", "--management.listen", ""], cwd=self.dir, env=self.environment(),
                                  stderr=subprocess.PIPE, text=True)
        address = None
        for line in server.stderr:
            address = address or re.search(r"address=(127\S+)", line)
            if " info ready " in line:
                break
        try:
            request = attempt.replace("localhost:2325", address.group(1)).replace("X-GitHub-Event: ping", "X-GitHub-Event: push")
            answer = subprocess.run(["sh", "-c", request], capture_output=True, text=True, check=True)
            self.assertTrue(answer.stdout.startswith("HTTP/1.1 200 "), answer.stdout)
            handled = self.try_beck(*on[1:on.index("--")], "--exit-when-idle", *on[on.index("--"):])
            self.assertEqual(handled.code, DONE, handled.err)
        finally:
            interrupt(server)
            server.communicate()
        self.assertEqual(self.read("deployed"), ["com.github.push"])


if __name__ == "__main__":
    main()
