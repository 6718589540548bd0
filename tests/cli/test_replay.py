"""beck replay, verify and metrics."""
import fcntl
import glob
import json
import os
import subprocess
import time

from beck import BeckTest, BUSY, CORRUPT, DONE, FAILED, INTERRUPTED, NOT_FOUND, PROGRAM, SERVED, USAGE, alone, interrupt, main


class Replay(BeckTest):
    def test_through_a_program_in_order(self):
        self.emit(10, "order.created")
        self.emit(3, "user.login")
        result = self.beck("replay", "--type", "order.*", "--", "cat")
        self.assertEqual([e["data"] for e in result.json], list(range(10)))
        self.assertIn("replayed 10, failed 0", result.err)

    def test_failures_are_reported_and_counted(self):
        self.emit(4)
        fails = "grep -q '\"data\":2' && { echo cannot >&2; exit 1; }; echo ok"
        result = self.try_beck("replay", "--", "sh", "-c", fails)
        self.assertEqual(result.code, FAILED)
        self.assertIn("events/0/2 failed: exit 1: cannot", result.err)
        self.assertIn("replayed 3, failed 1", result.err)
        result = self.try_beck("replay", "--stop-on-failure", "--json", "--", "sh", "-c", fails)
        self.assertEqual(result.code, FAILED)
        self.assertIn('{"replayed":2,"failed":1}', result.err)

    def test_through_a_persistent_program(self):
        program = self.python("count.py", """
            import sys
            n = 0
            for line in sys.stdin:
                n += 1
                print("ok", flush=True)
            open("count", "w").write(f"{n}\\n")
        """)
        self.emit(500)
        self.beck("replay", "--persistent", "--", program)
        self.assertEqual(self.read("count"), ["500"])

    def test_into_another_bus_as_it_was(self):
        self.emit(600)
        result = self.beck("replay", "--to-bus", "copy", "--json")
        self.assertEqual(result.json, [{"replayed": 600, "failed": 0}])
        self.assertEqual(self.beck("log", "copy").out, self.beck("log").out)

    def test_derived_attributes_are_kept_in_a_copy(self):
        self.beck("emit", "a.b")
        self.beck("replay", "--to-bus", "copy")
        copy = self.beck("log", "copy").json[0]
        self.assertEqual((copy["id"], copy["source"]), ("events/0/0", "/events"))

    def test_into_a_queue_beside_what_it_holds(self):
        self.emit(5)
        self.beck("queue", "create", "q", "other.*")
        self.beck("emit", "other.one", '"first"')
        self.beck("replay", "--from", "2", "--until", "+1h", "--type", "order.*", "--subject", "s0", "--into-queue", "q")
        handled = self.beck("on", "--queue", "q", "--exit-when-idle", "--", "cat").json
        self.assertEqual(sorted(str(e["data"]) for e in handled), ["3", "first"])
        self.beck("replay", "--from", "4", "--type", "order.*", "--into-queue", "q")
        self.assertEqual(self.queue("q")["ready"], 1)

    def test_copies_are_not_given_again_by_a_rewind(self):
        self.emit(3)
        self.beck("queue", "create", "q", "#", "--from", "earliest")
        self.beck("replay", "--into-queue", "q")
        self.assertEqual(self.queue("q")["ready"], 6)
        self.beck("queue", "rewind", "q", "earliest")
        self.assertEqual(self.queue("q")["ready"], 3)
        self.beck("replay", "--into-queue", "q")
        self.assertEqual(self.queue("q")["ready"], 6)

    def test_speed(self):
        now = time.time()
        for i in range(3):
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now - 100 + i * 2)) + "Z"
            self.beck("emit", "a.b", str(i), "--time", stamp)
        begin = time.monotonic()
        self.assertEqual(len(self.beck("replay", "--speed", "8x", "--", "cat").lines), 3)
        self.assertGreaterEqual(time.monotonic() - begin, 0.5)
        self.beck("replay", "--speed", "max", "--to-bus", "copy")
        self.refused(USAGE, "replay", "--speed", "fast", "--", "cat", says="original, max")

    def test_a_signal_ends_a_slow_replay(self):
        self.beck("emit", "a.b", "1", "--time", "2026-01-01T00:00:00Z")
        self.beck("emit", "a.b", "2", "--time", "2026-01-02T00:00:00Z")
        process = self.start("replay", "--speed", "original", "--", "cat")
        self.assertEqual(json.loads(process.stdout.readline())["data"], 1)
        interrupt(process)
        _, err = process.communicate(timeout=600)
        self.assertEqual(process.returncode, INTERRUPTED)
        self.assertIn("replayed 1, failed 0", err)

    def test_targets(self):
        self.emit(1)
        self.refused(USAGE, "replay", says="no target")
        self.refused(USAGE, "replay", "--to-bus", "a", "--into-queue", "b", says="more than one target")
        self.refused(USAGE, "replay", "--to-bus", "events", says="is the bus that is read")
        self.refused(NOT_FOUND, "replay", "--into-queue", "q", says="no queue 'q'")
        self.refused(NOT_FOUND, "replay", "--", "no-such-program", says="no-such-program")
        self.refused(NOT_FOUND, "replay", "evnts", "--", "cat", says="no bus 'evnts'")


class Verify(BeckTest):
    def segment(self):
        return glob.glob(os.path.join(self.data, "**", "events-0", "*.log"), recursive=True)[0]

    @alone("only a directory that nobody has open is verified")
    def test_a_clean_directory(self):
        self.beck("queue", "create", "q", "#")
        self.emit(100)
        summary = self.beck("verify", "--json").json[-1]
        self.assertEqual(summary["faults"], 0)
        self.assertGreaterEqual(summary["records"], 100)
        self.assertEqual(self.beck("verify").lines[-1], "clean")

    @alone("only a directory that nobody has open is verified")
    def test_a_directory_on_a_disk_for_reading_only(self):
        self.emit(10)
        mount = f"mount --bind '{self.data}' '{self.data}' && mount -o remount,ro,bind '{self.data}'"
        if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True, check=False).returncode:
            self.skipTest("nothing can be mounted here")
        run = lambda *args: subprocess.run(["unshare", "-m", "sh", "-c", f"{mount} && exec \"$@\"", "sh", PROGRAM, *args],
                                           capture_output=True, text=True, check=False, env=self.environment())
        lock = os.path.join(self.data, ".lock")
        with open(lock, "rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            self.assertEqual(run("verify").returncode, BUSY)
        for _ in range(2):
            result = run("verify")
            self.assertEqual(result.returncode, DONE, result.stderr)
            self.assertEqual(result.stdout.splitlines()[-1], "clean")
            if os.path.exists(lock):
                os.remove(lock)  # a copy may lack it

    @alone("only a directory that nobody has open is verified")
    def test_a_flipped_bit_is_found_and_explained(self):
        self.emit(100)
        with open(self.segment(), "r+b") as file:
            file.seek(200)
            byte = file.read(1)[0]
            file.seek(200)
            file.write(bytes([byte ^ 1]))
        result = self.try_beck("verify")
        self.assertEqual(result.code, CORRUPT)
        self.assertIn("events-0", result.out)
        self.assertEqual(result.lines[-1], "damaged")
        result = self.try_beck("verify", "--json")
        self.assertEqual(result.code, CORRUPT)
        self.assertEqual(result.json[0]["fault"], "BECK_ECORRUPT")
        self.assertGreaterEqual(result.json[-1]["faults"], 1)

    @alone("it starts one itself")
    def test_damage_of_one_bus_leaves_the_others_usable(self):
        for i in range(5):
            self.beck("emit", "a.b", str(i), "--bus", "orders")
            self.beck("emit", "a.b", str(i), "--bus", "other")
        self.beck("queue", "create", "q", "#", "--bus", "orders", "--from", "earliest")
        log = os.path.join(self.data, "orders-0", "00000000000000000000.log")
        os.truncate(log, os.path.getsize(log) - 20)
        for served in (False, True):
            if served:
                self.server = self.serve()
            for use in (["emit", "a.b", "5", "--bus", "orders"], ["log", "orders"], ["queue", "rewind", "q", "earliest"]):
                result = self.refused(CORRUPT, *use, says=log)
                self.assertIn("is damaged at byte ", result.err)
                self.assertIn("beck verify --repair", result.err)
            self.beck("emit", "a.b", "5", "--bus", "other")
            self.assertEqual(len(self.beck("log", "other").lines), 6 + served)
            self.assertIn("damaged", next(line for line in self.beck("bus", "list").lines if line.startswith("orders ")))
            self.assertTrue(self.beck("bus", "show", "orders", "--json").json[0]["partitions"][0]["damaged"])
            self.assertIn('beck_log_damaged_partitions{bus="orders"} 1', self.beck("metrics").out)
            self.assertNotIn("damaged", self.beck("bus", "show", "other").out)
        with open(self.dir + ".log", encoding="utf-8") as file:
            self.assertRegex(file.read(), r" error engine code=BECK_ECORRUPT .*orders-0.*beck verify --repair")
        self.stop_server()
        os.remove(self.dir + ".log")
        self.beck("verify", "--repair")
        self.assertEqual(self.beck("emit", "a.b", "5", "--bus", "orders").out, "orders/0/5\n")
        self.assertEqual([e["data"] for e in self.beck("log", "orders").json], [0, 1, 2, 3, 5])
        self.assertEqual([e["data"] for e in self.beck("on", "--queue", "q", "--exit-when-idle", "--", "cat").json],
                         [0, 1, 2, 3, 5])

    def test_a_directory_in_use(self):
        self.emit(1)
        process = self.start("on", "#", "--queue", "q", "--", "cat")
        try:
            process.stdout.readline()
            self.refused(BUSY, "verify", says="a server is running" if SERVED else "in use by process")
        finally:
            interrupt(process)
            process.communicate(timeout=600)


class Metrics(BeckTest):
    def test_prometheus_text(self):
        self.emit(3)
        lines = self.beck("metrics").lines
        self.assertTrue(any(line.startswith("# TYPE beck_") for line in lines), lines)
        for line in lines:
            self.assertRegex(line, r"^(# (HELP|TYPE) \w+ .*|\w+(\{.*\})? \S+)$")


if __name__ == "__main__":
    main()
