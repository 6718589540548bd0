"""Queues that the server works with programs: queues.NAME.run."""
import json
import os
import select
import signal
import subprocess

from server import DONE, PROGRAM, USAGE, ServerTest, main

CONFIG = """
buses: {{events: {{}}}}
queues:
  work:
    bindings: [{{bus: events}}]
    backoff: none
    deadline: 0
    attempts: 2
    run: [sh, -c, {script}]
    run_workers: {workers}
"""


class Programs(ServerTest):
    def configure(self, script, workers=1, more=""):
        return self.write("beck.yaml", CONFIG.format(script=json.dumps(script), workers=workers) + more)

    def begin(self, script, **more):
        server = self.start("--config", self.configure(script, **more))
        return server, server.address(protocol="http")

    def queue(self, address, name="work"):
        return json.loads(self.get(address, f"/v1/queues/{name}")[1])

    def test_events_are_handled_and_what_the_program_says_is_in_the_log(self):
        server, address = self.begin("read event; echo handled $CE_TYPE")
        self.publish(address, {"n": 1})
        server.wait_for("output", queue="work", text="handled a.b")
        self.assertEqual(server.end(), DONE)

    def test_failures_are_in_the_log_and_end_as_dead_letters(self):
        server, address = self.begin("echo away >&2; exit 3")
        self.publish(address, {"n": 1})
        line = server.wait_for("delivery failed", text="events/0/0 a.b attempt 2 failed and was the last: exit 3: away")
        self.assertEqual(line["level"], "warn")
        self.assertEqual(server.end(), DONE)
        dead = subprocess.run([PROGRAM, "dead", "list", "work", "--json", "--data", self.data], env=self.environment(),
                              capture_output=True, text=True, check=True)
        self.assertEqual(json.loads(dead.stdout)["reason"], "attempts")

    def test_a_drain_lets_a_program_finish(self):
        server, address = self.begin("echo began; while [ ! -e go ]; do sleep 0.01; done; echo ended")
        self.publish(address, {"n": 1})
        server.wait_for("output", text="began")
        server.kill(signal.SIGTERM)
        server.wait_for("stopping")
        self.write("go", "")
        self.assertEqual(server.end(None), DONE)
        self.assertIn("ended", [line.get("text") for line in server.lines])

    def test_a_second_signal_kills_it_and_the_event_is_delivered_again(self):
        server, address = self.begin("echo began; read line; sleep 1000")
        self.publish(address, {"n": 1})
        server.wait_for("output", text="began")
        server.kill(signal.SIGTERM)
        server.wait_for("stopping")
        self.assertEqual(server.end(), DONE)
        server = self.start("--config", self.configure("echo again $BECK_ATTEMPT"))
        server.wait_for("output", text="again 1")  # which may come before it listens
        self.assertEqual(server.end(), DONE)

    def test_programs_end_with_a_server_that_is_killed(self):
        users = [""] if os.geteuid() else ["", "    run_user: nobody\n    run_directory: /\n"]
        for more in users:
            server, address = self.begin("echo $$; exec sleep 1000", more=more)
            self.publish(address, {"n": 1})
            pid = int(server.wait_for("output")["text"])
            program = os.pidfd_open(pid)
            server.kill(signal.SIGKILL)
            server.process.wait()
            self.assertTrue(select.select([program], [], [])[0])
            os.close(program)

    def test_a_reload_starts_changes_and_ends_programs(self):
        server, address = self.begin("echo first")
        self.publish(address, {"n": 1})
        server.wait_for("output", text="first")
        self.configure("echo second", more="""
  other:
    bindings: [{bus: events, from: earliest}]
    run: [sh, -c, 'echo other']
""")
        self.assertEqual(self.get(address, "/v1/server/reload", "POST")[0], 204)  # from here on the first takes nothing more
        server.wait_for("output", queue="other", text="other")
        self.publish(address, {"n": 2})
        texts = {server.wait_for("output")["text"], server.wait_for("output")["text"]}
        self.assertEqual(texts, {"second", "other"})
        self.write("beck.yaml", "buses: {events: {}}\n")
        self.assertEqual(self.get(address, "/v1/server/reload", "POST")[0], 204)
        server.wait_for("no longer running a program", queue="other")
        self.publish(address, {"n": 3})
        self.assertEqual(self.queue(address)["ready"], 1)
        self.assertEqual(server.end(), DONE)

    def test_a_reload_waits_for_no_program(self):
        server, address = self.begin("echo first; while [ ! -e go ]; do sleep 0.01; done; echo ended")
        self.publish(address, {"n": 1})
        server.wait_for("output", text="first")
        for n in range(6):  # more than there are threads that could wait
            self.configure(f"echo next {n}; while [ ! -e go ]; do sleep 0.01; done")
            self.assertEqual(self.get(address, "/v1/server/reload", "POST")[0], 204)
            self.publish(address, {"n": 2})
            server.wait_for("output", text=f"next {n}")
        self.configure("echo last")
        server.kill(signal.SIGHUP)
        server.wait_for("reloaded")
        self.assertEqual(self.get(address, "/health/live")[0], 200)
        self.write("go", "")
        for _ in range(7):  # in any order
            server.wait_for("no longer running a program")
        self.assertIn("ended", [line.get("text") for line in server.lines])
        self.assertEqual(self.queue(address)["settled"], 7)
        self.assertEqual(server.end(), DONE)

    def test_a_signal_ends_it_while_a_program_of_before_a_reload_runs(self):
        server, address = self.begin("echo first; read line; sleep 1000")
        self.publish(address, {"n": 1})
        server.wait_for("output", text="first")
        self.configure("echo second", more="server: {drain_timeout: 50ms}\n")
        server.kill(signal.SIGHUP)
        server.kill(signal.SIGTERM)
        server.wait_for("what was still being handled was cut off", cause="server.drain_timeout")
        self.assertEqual(server.end(None), DONE)

    def test_reloads_that_are_under_way_are_not_waited_for(self):
        os.mkfifo(os.path.join(self.dir, "beck.yaml"))
        server = self.start("--config", "beck.yaml")
        self.write("beck.yaml", "")
        address = server.address(protocol="http")
        server.wait_for("ready")
        server.kill(signal.SIGHUP)
        with open(os.path.join(self.dir, "beck.yaml"), "w", encoding="utf-8"):  # it reads until this is closed
            for _ in range(6):
                status, body = self.get(address, "/v1/server/reload", "POST")
                self.assertEqual((status, json.loads(body)["detail"][:26]), (409, "a reload is under way: ask"))
        server.wait_for("reloaded")
        self.assertEqual(server.end(), DONE)

    def test_a_program_that_cannot_be_started_takes_the_place_of_none(self):
        server, address = self.begin("echo first")
        self.write("beck.yaml", "buses: {events: {}}\nqueues: {work: {bindings: [{bus: events}], run: [/no/such/program]}}\n")
        server.kill(signal.SIGHUP)
        server.wait_for("not reloaded: everything stays as it was")
        self.publish(address, {"n": 1})
        server.wait_for("output", text="first")
        self.assertEqual(server.end(), DONE)

    def test_a_queue_that_is_made_anew_is_worked(self):
        server, address = self.begin("echo $CE_ID; [ $CE_ID = quick ] || read line; while [ $CE_ID = slow ] && [ ! -e go ]; do sleep 0.01; done")
        for how in ("quick", "slow"):  # idle, or at work, when its queue is deleted
            status, _ = self.get(address, "/v1/buses/events/events", "POST", "{}", {
                "ce-type": "a.b", "ce-id": how, "Content-Type": "application/json", "ce-specversion": "1.0"})
            self.assertEqual(status, 200)
            server.wait_for("output", text=how)
            self.assertIn(self.get(address, "/v1/queues/work", "DELETE")[0], (200, 204))
            server.kill(signal.SIGHUP)
            server.wait_for("queue made")
            server.wait_for("reloaded")
            status, _ = self.get(address, "/v1/buses/events/events", "POST", "{}", {
                "ce-type": "a.b", "ce-id": "again", "Content-Type": "application/json", "ce-specversion": "1.0"})
            server.wait_for("output", text="again")
        self.write("go", "")
        self.assertEqual(server.end(), DONE)

    def test_what_did_not_change_goes_on_over_a_reload(self):
        server, address = self.begin("echo $$ >> pids; read line; echo ok", more="    run_persistent: true\n")
        self.publish(address, {"n": 1})
        server.kill(signal.SIGHUP)
        server.wait_for("reloaded")
        self.assertEqual([line for line in server.lines if "no longer" in line["message"]], [])
        self.assertEqual(server.end(), DONE)

    def test_a_program_that_is_missing_is_a_fault_of_the_configuration(self):
        path = self.write("beck.yaml", "queues: {work: {run: [no-such-program]}}\n")
        for check in ([], ["--check"]):
            told = self.refused(USAGE, "--config", path, *check, says="the configuration has 1 mistake")
            self.assertIn("no program 'no-such-program' in PATH", told[0])

    def test_limits_and_another_user(self):
        if os.geteuid() != 0:
            self.skipTest("only root can run a program as another user")
        server, address = self.begin("echo $(id -un) $(ulimit -n)", more="    run_user: nobody\n    run_files_max: 40\n    run_directory: /\n")
        self.publish(address, {"n": 1})
        server.wait_for("output", text="nobody 40")
        self.assertEqual(server.end(), DONE)


if __name__ == "__main__":
    main()
