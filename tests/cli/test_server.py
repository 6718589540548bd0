"""The command line beside a server: what is only so when one owns the data directory."""
import json
import os
import signal

from beck import BUSY, BeckTest, DISK, DONE, interrupt, main


class Beside(BeckTest):
    def setUp(self):
        super().setUp()
        self.server = self.serve()

    def tearDown(self):
        if self.server:
            self.stop_server()
        os.remove(self.dir + ".log")
        super().tearDown()

    def end(self, process, code):
        out, err = process.communicate(timeout=600)
        self.assertEqual(process.returncode, code, out + err)
        return out, err

    def test_several_commands_work_at_once(self):
        self.emit(1)
        process = self.start("on", "#", "--queue", "q", "--", "cat")
        self.assertEqual(json.loads(process.stdout.readline())["data"], 0)
        self.emit(2)
        self.assertEqual([json.loads(process.stdout.readline())["data"] for _ in range(2)], [0, 1])
        self.assertEqual(self.queue("q")["consumers"], 1)
        interrupt(process)
        self.end(process, DONE)
        self.assertEqual(self.queue("q")["consumers"], 0)

    def test_what_a_killed_worker_held_comes_again(self):
        self.emit(2)
        process = self.start("on", "#", "--queue", "q", "--", "sh", "-c",
                             "echo $$ > pid; cat; exec sleep 100 > /dev/null 2>&1")
        process.stdout.readline()
        child = self.queue("q")
        self.assertEqual((child["ready"], child["in_flight"]), (1, 1))
        held, = self.beck("queue", "in-flight", "q", "--json").json
        self.assertEqual((held["attempt"], held["event"]["data"], held["origin"]["offset"]), (1, 0, 0))
        self.assertLess(held["since"], held["due"])
        self.assertIn("events/0/0", self.beck("queue", "in-flight", "q").out)
        process.kill()
        process.communicate()
        os.kill(int(self.read("pid")[0]), signal.SIGKILL)
        while self.queue("q")["in_flight"] > 0:
            pass
        again = self.beck("on", "--queue", "q", "--exit-when-idle", "--", "sh", "-c", "echo $BECK_ATTEMPT").lines
        self.assertEqual(again, ["2", "1"])

    def test_temporary_queues_of_others_are_left_alone_until_they_are_old(self):
        old, new = "on-00000001deadbeef", "on-ffffffffdeadbeef"
        self.emit(1)
        for name in (old, new):
            self.beck("queue", "create", name, "#")
        self.beck("on", "#", "--exit-when-idle", "--", "true")
        self.assertEqual([q["name"] for q in self.beck("queue", "list", "--json").json], [new])

    def test_a_server_that_stops_ends_whoever_works_through_it(self):
        self.emit(1)
        follow = self.start("log", "--follow")
        worker = self.start("on", "#", "--queue", "q", "--", "cat")
        follow.stdout.readline()
        worker.stdout.readline()
        self.stop_server()
        for process in (follow, worker):
            _, err = self.end(process, DISK)
            self.assertIn("beck: ", err)
            self.assertIn("server", err)

    def test_without_its_server_the_directory_is_opened_again(self):
        self.emit(3)
        os.kill(self.server.pid, signal.SIGKILL)
        self.server.wait()
        self.assertTrue(os.path.exists(os.path.join(self.data, "beck.sock")))
        self.emit(1)
        self.assertEqual(len(self.beck("log").lines), 4)
        self.server = self.serve()

    def test_only_a_directory_that_nobody_has_open_is_verified(self):
        self.emit(1)
        self.refused(BUSY, "verify", says="a server is running")
        self.stop_server()
        self.beck("verify")

    def test_data_keeps_every_byte(self):
        given = [' {"a":  1}\n', "[1,\n 2]", '"x"', "{}"]
        for text in given:
            self.beck("emit", "a.b", "-", stdin=text)
        self.stop_server()
        with open(self.segment(), "rb") as file:
            stored = file.read()
        for text in given:
            self.assertIn(text.encode(), stored)

    def segment(self):
        folder = os.path.join(self.data, "events-0")
        return os.path.join(folder, next(name for name in os.listdir(folder) if name.endswith(".log")))


if __name__ == "__main__":
    main()
