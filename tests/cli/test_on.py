"""beck on: programs that handle events, however they behave."""
import contextlib
import json
import os
import re
import signal
import subprocess
import time

from beck import BeckTest, BUSY, DONE, EXISTS, FAILED, INTERRUPTED, NOT_FOUND, REFUSED, USAGE, alone, interrupt, main

IDLE = "--exit-when-idle"


def counts(result):
    found = re.search(r"handled (\d+), retried (\d+), rejected (\d+), dead (\d+)", result.err)
    assert found, result.err
    return tuple(int(n) for n in found.groups())


class OnTest(BeckTest):
    def on(self, *args):
        """Runs until idle; the result whatever the code."""
        return self.try_beck("on", *args)

    def dead(self, queue):
        return self.beck("dead", "list", queue, "--json").json


class OneShot(OnTest):
    def test_the_program_gets_the_event_and_its_attributes(self):
        program = self.python("show.py", """
            import json, os, sys
            event = json.loads(sys.stdin.readline())
            names = ["CE_TYPE", "CE_ID", "CE_SUBJECT", "CE_SOURCE", "CE_TIME", "CE_BUS", "CE_REGION", "BECK_QUEUE",
                     "BECK_ATTEMPT", "BECK_POSITION"]
            print(json.dumps({"event": event, "rest": sys.stdin.read(), "env": {n: os.environ.get(n) for n in names}}))
        """)
        self.beck("emit", "order.created", '{"id": 1}', "--subject", "ORD-1", "--source", "/shop", "--time",
                  "2026-01-31T14:30:00Z", "-e", "region=eu")
        result = self.on("#", "--queue", "q", IDLE, "--", program)
        self.assertEqual(result.code, DONE, result.err)
        shown = result.json[0]
        self.assertEqual(shown["event"]["data"], {"id": 1})
        self.assertEqual(shown["rest"], "")
        self.assertEqual(shown["env"], {
            "CE_TYPE": "order.created", "CE_ID": "events/0/0", "CE_SUBJECT": "ORD-1", "CE_SOURCE": "/shop",
            "CE_TIME": "2026-01-31T14:30:00Z", "CE_BUS": "events", "CE_REGION": "eu", "BECK_QUEUE": "q",
            "BECK_ATTEMPT": "1", "BECK_POSITION": "events/0/0"})
        self.assertEqual(counts(result), (1, 0, 0, 0))

    def test_an_extension_does_not_pass_for_what_the_bus_says(self):
        self.beck("emit", "a.b", "1", "-e", "bus=accounts", "-e", "buses=2")
        result = self.on("#", "--queue", "q", IDLE, "--", "sh", "-c", "cat; env | grep ^CE_BUS | sort")
        self.assertEqual(result.lines[1:], ["CE_BUS=events", "CE_BUSES=2"])
        self.assertEqual(json.loads(result.lines[0])["bus"], "accounts")

    def test_only_matching_events_in_order_and_each_once(self):
        self.emit(20, "order.created")
        self.emit(5, "user.login")
        result = self.on("order.*", "--queue", "q", IDLE, "--", "cat")
        self.assertEqual([e["data"] for e in result.json], list(range(20)))
        self.assertEqual(self.on("order.*", "--queue", "q", IDLE, "--", "cat").out, "")

    def test_several_workers_share_the_queue(self):
        self.emit(40)
        result = self.on("#", "--queue", "q", "--workers", "4", IDLE, "--", "cat")
        self.assertEqual(sorted(e["data"] for e in result.json), list(range(40)))
        self.assertEqual(counts(result), (40, 0, 0, 0))

    def test_a_temporary_queue_sees_history_and_leaves_nothing(self):
        self.emit(3)
        for _ in range(2):
            self.assertEqual(len(self.on("#", IDLE, "--", "cat").lines), 3)
        self.assertEqual(self.beck("queue", "list", "--json").out, "")

    def test_from_now_on_and_a_later_run(self):
        self.emit(3)
        self.assertEqual(self.on("#", "--queue", "q", "--from", "now", IDLE, "--", "cat").out, "")
        self.emit(2)
        self.assertEqual(len(self.on("#", "--queue", "q", IDLE, "--", "cat").lines), 2)
        self.assertEqual(len(self.on("#", "--from", "4", IDLE, "--", "cat").lines), 1)

    def test_max_ends_after_so_many(self):
        self.emit(10)
        self.assertEqual(len(self.on("#", "--queue", "q", "--max", "3", "--workers", "2", "--", "cat").lines), 3)
        self.assertEqual(self.queue("q")["ready"], 7)

    def test_a_program_that_does_not_read_its_input(self):
        self.beck("emit", "a.b", "-", stdin=json.dumps("x" * 1000000))
        self.assertEqual(counts(self.on("#", IDLE, "--", "true")), (1, 0, 0, 0))

    def test_a_program_that_writes_much_before_it_reads(self):
        program = self.python("chatty.py", """
            import sys
            sys.stderr.write("e" * 1000000 + "\\n")
            sys.stdout.write("o" * 1000000 + "\\n")
            sys.stdout.flush()
            print(len(sys.stdin.read()) > 1000000)
        """)
        self.beck("emit", "a.b", "-", stdin=json.dumps("x" * 1000000))
        result = self.on("#", IDLE, "--", program)
        self.assertEqual(counts(result), (1, 0, 0, 0))
        self.assertTrue(result.out.endswith("True\n"))
        self.assertIn("e" * 1000, result.err)

    def test_a_program_that_leaves_a_child_behind_does_not_hold_up_the_next(self):
        program = self.script("fork.sh", """
            #!/bin/sh
            sleep 100 > /dev/null &
            echo $! >> pids
        """)
        self.emit(2)
        result = self.on("#", IDLE, "--", program)
        for pid in self.read("pids"):
            os.kill(int(pid), signal.SIGKILL)
        self.assertEqual(counts(result), (2, 0, 0, 0))


class Failing(OnTest):
    def test_exit_75_is_tried_again_until_it_works(self):
        program = self.script("third.sh", """
            #!/bin/sh
            echo "$BECK_ATTEMPT" >> attempts
            [ "$BECK_ATTEMPT" -ge 3 ] || { echo "not yet" >&2; exit 75; }
        """)
        self.emit(1)
        result = self.on("#", "--queue", "q", "--backoff", "fixed:10ms", "--on-failure", "reject", IDLE, "--", program)
        self.assertEqual(result.code, DONE)
        self.assertEqual(counts(result), (1, 2, 0, 0))
        self.assertEqual(self.read("attempts"), ["1", "2", "3"])
        self.assertIn("not yet", result.err)

    def test_always_failing_ends_as_a_dead_letter_with_its_history(self):
        program = self.script("never.sh", """
            #!/bin/sh
            echo "first line" >&2
            echo "no luck $BECK_ATTEMPT" >&2
            exit 3
        """)
        self.emit(2)
        result = self.on("#", "--queue", "q", "--attempts", "3", "--backoff", "none", IDLE, "--", program)
        self.assertEqual(result.code, FAILED)
        self.assertEqual(counts(result), (0, 4, 0, 2))
        self.assertIn("beck dead list q", result.err)
        letters = self.dead("q")
        self.assertEqual([d["event"]["data"] for d in letters], [0, 1])
        for letter in letters:
            self.assertEqual((letter["reason"], letter["attempts"]), ("attempts", 3))
            self.assertEqual([h["attempt"] for h in letter["history"]], [1, 2, 3])
            self.assertIn("exit 3", letter["history"][2]["why"])
            self.assertIn("no luck 3", letter["history"][2]["why"])

    def test_rejecting_what_fails(self):
        self.emit(2)
        result = self.on("#", "--queue", "q", "--on-failure", "reject", IDLE, "--", "sh", "-c", "echo bad >&2; exit 1")
        self.assertEqual(counts(result), (0, 0, 2, 0))
        self.assertEqual([d["reason"] for d in self.dead("q")], ["rejected", "rejected"])
        self.assertIn("exit 1: bad", self.dead("q")[0]["history"][0]["why"])

    def test_another_retry_status(self):
        self.emit(1)
        result = self.on("#", "--queue", "q", "--on-failure", "reject", "--retry-exit", "9", "--attempts", "2",
                         "--backoff", "none", IDLE, "--", "sh", "-c", "exit 9")
        self.assertEqual(counts(result), (0, 1, 0, 1))

    def test_killed_by_a_signal_counts_as_failed(self):
        self.emit(1)
        result = self.on("#", "--queue", "q", "--attempts", "1", IDLE, "--", "sh", "-c", "kill -SEGV $$")
        self.assertEqual(counts(result), (0, 0, 0, 1))
        self.assertIn("signal 11", self.dead("q")[0]["history"][0]["why"])

    def test_why_is_bounded_and_has_no_control_characters(self):
        self.emit(1)
        self.on("#", "--queue", "q", "--attempts", "1", IDLE, "--", "sh", "-c",
                "i=0; while [ $i -lt 3000 ]; do echo \"line $i\" >&2; i=$((i+1)); done; printf '\\033[31mred\\n' >&2; exit 1")
        why = self.dead("q")[0]["history"][0]["why"]
        self.assertLess(len(why.encode()), 256)
        self.assertIn("line 2999", why)
        self.assertNotIn("\033", why)

    def test_one_failing_does_not_hold_up_the_others(self):
        program = self.python("some.py", """
            import json, sys
            sys.exit(1 if json.load(sys.stdin)["data"] == 3 else 0)
        """)
        self.emit(10)
        result = self.on("#", "--queue", "q", "--attempts", "2", "--backoff", "fixed:10ms", IDLE, "--", program)
        self.assertEqual(counts(result), (9, 1, 0, 1))

    def test_late_programs_are_killed_with_their_children_and_the_event_is_tried_again(self):
        program = self.script("late.sh", """
            #!/bin/sh
            [ ! -e grandchild ] || exit 0
            echo "still waiting" >&2
            trap '' TERM
            sleep 1000 &
            echo $! > grandchild
            wait
            sleep 1000
        """)
        self.emit(1)
        result = self.on("#", "--queue", "q", "--deadline", "1s", "--backoff", "none", "--attempts", "1000", IDLE, "--", program)
        handled, retried, rejected, dead = counts(result)
        self.assertEqual((handled, rejected, dead), (1, 0, 0))
        self.assertGreaterEqual(retried, 1)  # more often where a second is too short to start a program
        self.assertIn("deadline of 1s passed: still waiting", result.err)
        self.wait_gone(int(self.read("grandchild")[0]))

    def wait_gone(self, pid):
        """Until the process is there no more, or is dead and nobody asked for its status."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state = ""
            while state != "Z":
                with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                    state = file.read().rpartition(") ")[2][:1]

    def test_a_program_may_use_its_whole_deadline(self):
        self.emit(1)
        result = self.on("#", "--deadline", "5s", IDLE, "--", "sleep", "0.5")
        self.assertEqual(counts(result), (1, 0, 0, 0))

    def test_programs_that_are_not_there_or_cannot_run(self):
        self.emit(1)
        plain = os.path.join(self.dir, "plain")
        with open(plain, "w", encoding="utf-8") as file:
            file.write("x")
        self.refused(NOT_FOUND, "on", "#", "--", "no-such-program", says="no-such-program")
        self.refused(NOT_FOUND, "on", "#", "--", "./missing.sh", says="./missing.sh")
        self.refused(USAGE, "on", "#", "--", plain, says="make it executable")
        self.refused(USAGE, "on", "#", says="behind --")
        self.assertEqual(self.beck("queue", "list", "--json").out, "")


PERSISTENT = """
    import json, os, sys
    open("started", "a").write("x\\n")
    for line in sys.stdin:
        event = json.loads(line)
        n = event["data"]
        {body}
"""


class Persistent(OnTest):
    def program(self, body):
        return self.python("persistent.py", PERSISTENT.replace("{body}", body))

    def test_one_process_handles_all(self):
        program = self.program("open('seen', 'a').write(f'{n}\\n'); print('ok', flush=True)")
        self.emit(50)
        result = self.on("#", "--queue", "q", "--persistent", IDLE, "--", program)
        self.assertEqual(counts(result), (50, 0, 0, 0))
        self.assertEqual(self.read("seen"), [str(i) for i in range(50)])
        self.assertEqual(len(self.read("started")), 1)

    def test_one_process_per_worker(self):
        program = self.program("print('ok', flush=True)")
        self.emit(100)
        result = self.on("#", "--persistent", "--workers", "3", IDLE, "--", program)
        self.assertEqual(counts(result)[0], 100)
        self.assertLessEqual(len(self.read("started")), 3)

    def test_verdicts_as_words_and_as_json(self):
        program = self.program(
            "print(['ok', 'retry the database is away', 'reject: no such customer', '{\"verdict\":\"settle\"}', "
            "'{\"verdict\":\"retry\",\"why\":\"ja\\\\u00e4\"}', '{\"why\":\"x\",\"verdict\":\"reject\"}'][n], flush=True)")
        self.emit(6)
        result = self.on("#", "--queue", "q", "--persistent", "--attempts", "1", IDLE, "--", program)
        self.assertEqual(counts(result), (2, 0, 2, 2))
        why = {d["event"]["data"]: (d["reason"], d["history"][0]["why"]) for d in self.dead("q")}
        self.assertEqual(why, {1: ("attempts", "the database is away"), 2: ("rejected", "no such customer"),
                               4: ("attempts", "jaä"), 5: ("rejected", "x")})
        self.assertEqual(len(self.read("started")), 1)

    def test_a_process_that_dies_is_started_again_and_its_event_counts_as_failed(self):
        program = self.program(
            "\n        if n == 2 and not os.path.exists('died'):\n"
            "            open('died', 'w'); sys.stderr.write('out of luck\\n'); sys.exit(4)\n"
            "        print('ok', flush=True)")
        self.emit(5)
        result = self.on("#", "--queue", "q", "--persistent", "--backoff", "none", IDLE, "--", program)
        self.assertEqual(counts(result), (5, 1, 0, 0))
        self.assertIn("exit 4: out of luck", result.err)
        self.assertEqual(len(self.read("started")), 2)

    def test_a_process_that_always_dies(self):
        self.emit(1)
        result = self.on("#", "--queue", "q", "--persistent", "--backoff", "none", "--attempts", "3", IDLE, "--", "false")
        self.assertEqual(counts(result), (0, 2, 0, 1))

    def test_wrong_answers_count_as_failed(self):
        program = self.program("print('done' if n == 1 else 'ok', flush=True)")
        self.emit(3)
        result = self.on("#", "--queue", "q", "--persistent", "--attempts", "1", IDLE, "--", program)
        self.assertEqual(counts(result), (2, 0, 0, 1))
        self.assertIn("answered 'done'", self.dead("q")[0]["history"][0]["why"])

    def test_an_answer_that_was_not_asked_for_is_not_taken_for_the_next_event(self):
        program = self.program("print('ok\\nok' if n == 0 else 'reject', flush=True)")
        self.emit(3)
        result = self.on("#", "--queue", "q", "--persistent", IDLE, "--", program)
        self.assertEqual(counts(result), (1, 0, 2, 0))

    def test_an_answer_too_many_that_comes_late_is_not_taken_for_the_next_event(self):
        program = self.program(
            "\n        if n == 0:\n"
            "            import select, time\n"
            "            print('ok', flush=True)\n"
            "            select.select([0], [], [])  # the next event is here, and unread\n"
            "            print('ok', flush=True)\n"
            "            time.sleep(1000)\n"
            "        print('reject', flush=True)")
        self.emit(3)
        result = self.on("#", "--queue", "q", "--persistent", IDLE, "--", program)
        self.assertEqual(counts(result), (1, 0, 2, 0))
        self.assertEqual(len(self.read("started")), 2)

    def test_an_answer_that_names_another_event_is_refused(self):
        for form in ("f'ok {id}'", "json.dumps({'event_id': id, 'id': 'own', 'verdict': 'settle'})", "f'ok {id}' + ' '"):
            program = self.program(
                "\n        id = event['id'] if n != 1 or os.path.exists('died') else 'e0'\n"
                "        if n == 1: open('died', 'w')\n"
                f"        print({form}, flush=True)")
            self.emit(3)
            result = self.on("#", "--queue", "q", "--persistent", "--attempts", "1", IDLE, "--", program)
            self.assertEqual(counts(result), (3, 0, 0, 0))
            self.assertEqual(len(self.read("started")), 2)
            os.remove(os.path.join(self.dir, "started"))
            os.remove(os.path.join(self.dir, "died"))

    def test_a_program_that_always_answers_for_another_event(self):
        program = self.program("print('ok' if n == 0 else 'ok e0', flush=True)")
        self.emit(2)
        result = self.on("#", "--queue", "q", "--persistent", "--attempts", "1", IDLE, "--", program)
        self.assertEqual(counts(result), (1, 0, 0, 1))
        self.assertIn("answered 'ok e0' for another event", self.dead("q")[0]["history"][0]["why"])

    def test_a_process_that_never_ends_its_line(self):
        program = self.program("sys.stdout.write('o' * 200000); sys.stdout.flush()")
        self.emit(1)
        result = self.on("#", "--queue", "q", "--persistent", "--attempts", "1", IDLE, "--", program)
        self.assertEqual(counts(result), (0, 0, 0, 1))

    def test_a_late_answer(self):
        program = self.program(
            "\n        if n == 1:\n            import time; time.sleep(1000)\n        print('ok', flush=True)")
        self.emit(3)
        for seconds in (1, 10, 100):  # as long as this machine needs to start the program
            queue = f"q{seconds}"
            result = self.on("#", "--queue", queue, "--persistent", "--attempts", "1", "--deadline", f"{seconds}s", IDLE, "--", program)
            letters = self.dead(queue)
            self.assertIn(1, [letter["event"]["data"] for letter in letters])
            for letter in letters:
                self.assertIn("deadline", letter["history"][0]["why"])
            self.assertEqual(counts(result), (3 - len(letters), 0, 0, len(letters)))
            if len(letters) == 1:
                break
        self.assertEqual(len(letters), 1)

    def test_its_standard_input_is_closed_at_the_end(self):
        program = self.python("end.py", """
            import sys
            for line in sys.stdin:
                print("ok", flush=True)
            open("ended", "w").write("by itself\\n")
        """)
        self.emit(1)
        self.on("#", "--persistent", IDLE, "--", program)
        self.assertEqual(self.read("ended"), ["by itself"])


class Queues(OnTest):
    def test_a_queue_keeps_what_was_not_handled(self):
        self.beck("emit", "a.b", "1")
        self.beck("queue", "create", "q", "a.*", "--from", "earliest")
        self.beck("emit", "a.b", "2")
        self.assertEqual([e["data"] for e in self.on("--queue", "q", IDLE, "--", "cat").json], [1, 2])

    def test_a_queue_that_is_not_there_needs_a_pattern(self):
        self.emit(1)
        self.refused(NOT_FOUND, "on", "--queue", "q", "--", "true", says="give a PATTERN")
        self.refused(USAGE, "on", "--", "true", says="give PATTERN")
        self.refused(NOT_FOUND, "on", "#", "--bus", "evnts", "--", "true", says="no bus 'evnts'")
        self.refused(USAGE, "on", "ord*", "--", "true", says="ord*")

    def test_options_must_be_those_of_the_queue(self):
        self.emit(1)
        self.beck("queue", "create", "q", "--attempts", "4")
        self.refused(EXISTS, "on", "#", "--queue", "q", "--attempts", "5", IDLE, "--", "true", says="q")
        self.assertEqual(self.on("#", "--queue", "q", "--attempts", "4", IDLE, "--", "true").code, DONE)
        self.assertEqual(self.on("#", "--queue", "q", IDLE, "--", "true").code, DONE)

    def test_from_is_of_no_use_once_bound(self):
        self.emit(1)
        self.on("#", "--queue", "q", IDLE, "--", "true")
        self.assertIn("bound to '#' already", self.on("#", "--queue", "q", "--from", "earliest", IDLE, "--", "true").err)

    def test_a_paused_queue_is_refused(self):
        self.emit(1)
        self.beck("queue", "create", "q", "#", "--from", "earliest")
        self.beck("queue", "pause", "q")
        self.refused(REFUSED, "on", "--queue", "q", IDLE, "--", "true", says="queue resume q")

    def test_priorities_come_first(self):
        self.beck("queue", "create", "q", "#", "--priorities", "9")
        for priority in ("1", "9", "5"):
            self.beck("emit", "a.b", priority, "--priority", priority)
        self.assertEqual([e["data"] for e in self.on("--queue", "q", IDLE, "--", "cat").json], [9, 5, 1])

    def test_delayed_events_wait_and_idle_waits_for_them(self):
        for seconds in (1, 10, 100):  # as long as this machine needs until the queue is worked
            queue = f"q{seconds}"
            self.beck("queue", "create", queue, "#")
            self.beck("emit", "later.one", "--delay", f"{seconds}s")
            self.beck("emit", "now.one")
            types = [e["type"] for e in self.on("--queue", queue, IDLE, "--", "cat").json]
            self.assertEqual(sorted(types), ["later.one", "now.one"])
            if types[0] == "now.one":
                break
        self.assertEqual(types, ["now.one", "later.one"])

    def test_expired_events_are_dead_letters(self):
        self.beck("queue", "create", "q", "#")
        self.beck("emit", "a.b", "--expires", "-1m")
        result = self.on("--queue", "q", IDLE, "--", "cat")
        self.assertEqual(result.out, "")
        self.assertEqual([d["reason"] for d in self.dead("q")], ["expired"])


class Signals(OnTest):
    def waiting(self, *args):
        """Starts beck on with a program that tells when it runs, and waits until it does."""
        program = self.script("wait.sh", """
            #!/bin/sh
            echo $$ >> running
            while [ ! -e go ]; do sleep 0.02; done
        """)
        process = self.start("on", "#", "--queue", "q", *args, "--", program)
        while not self.read("running"):
            self.assertIsNone(process.poll())
            time.sleep(0.01)
        return process

    def test_the_running_program_is_finished_first(self):
        self.emit(3)
        process = self.waiting()
        interrupt(process)
        self.assertIn("ending", process.stderr.readline())
        open(os.path.join(self.dir, "go"), "w", encoding="utf-8").close()
        _, err = process.communicate(timeout=600)
        self.assertEqual(process.returncode, DONE)
        self.assertIn("handled 1, retried 0", err)
        self.assertEqual(self.queue("q")["ready"], 2)

    def test_a_second_signal_kills_and_gives_the_event_back(self):
        self.emit(2)
        process = self.waiting(IDLE)
        interrupt(process)
        self.assertIn("ending", process.stderr.readline())
        interrupt(process)
        _, err = process.communicate(timeout=600)
        self.assertEqual(process.returncode, INTERRUPTED)
        self.assertIn("handled 0, retried 0, rejected 0, dead 0", err)
        self.assertEqual(self.queue("q")["ready"], 2)

    def test_it_waits_for_events_without_exit_when_idle(self):
        self.emit(1)
        process = self.start("on", "#", "--queue", "q", "--", "cat")
        self.assertEqual(json.loads(process.stdout.readline())["data"], 0)
        interrupt(process)
        process.communicate(timeout=600)
        self.assertEqual(process.returncode, DONE)
        self.assertEqual(self.queue("q")["ready"], 0)

    def test_what_a_temporary_queue_was_to_try_again_has_failed(self):
        self.emit(3)
        never = ("-n", "3", "--backoff", "fixed:10m", "--", "false")
        result = self.on("#", *never)
        self.assertEqual((result.code, counts(result)), (FAILED, (0, 3, 0, 0)))
        self.assertIn("gone with the temporary queue", result.err)
        # One that got another try in the same run has not.
        result = self.on("#", IDLE, "--backoff", "none", "--", "sh", "-c", "test $BECK_ATTEMPT = 3")
        self.assertEqual((result.code, counts(result)), (DONE, (3, 6, 0, 0)))
        # A lasting queue still has them.
        self.assertEqual(self.on("#", "--queue", "q", *never).code, DONE)
        self.assertEqual(self.queue("q")["delayed"], 3)

    @alone("others may be using theirs: only old ones are deleted")
    def test_a_temporary_queue_left_by_a_kill_is_deleted_by_the_next_run(self):
        self.emit(2)
        process = self.start("on", "#", "--", "cat")
        process.stdout.readline()
        process.kill()
        process.communicate(timeout=600)
        self.assertRegex(self.beck("queue", "list", "--json").json[0]["name"], "^on-[0-9a-f]{16}$")
        self.assertEqual(len(self.on("#", IDLE, "--", "cat").lines), 2)
        self.assertEqual(self.beck("queue", "list", "--json").out, "")

    @alone("several work through the server")
    def test_one_process_holds_the_data_directory(self):
        self.emit(1)
        process = self.waiting()
        try:
            refused = self.refused(BUSY, "emit", "a.b", says="data")
            self.assertRegex(refused.err, f"process {process.pid} \\(\\S*beck on .*; stop that one first")
            self.assertRegex(refused.err, "--wait.*beck serve")
            self.assertEqual(len(self.beck("log").lines), 1)
            waiter = self.start("emit", "a.b", "--wait", "60s")
        finally:
            open(os.path.join(self.dir, "go"), "w", encoding="utf-8").close()
            interrupt(process)
            process.communicate(timeout=600)
        waiter.communicate(timeout=600)
        self.assertEqual(waiter.returncode, DONE)


if __name__ == "__main__":
    main()
