"""beck log: which events are shown, and how."""
import json
import os
import pty
import subprocess

from beck import BeckTest, DONE, NOT_FOUND, PROGRAM, USAGE, interrupt, main


class Choice(BeckTest):
    def setUp(self):
        super().setUp()
        lines = []
        for i in range(60):
            lines.append({"specversion": "1.0", "type": ["order.created", "order.paid", "user.login"][i % 3],
                          "source": "/t", "id": str(i), "subject": f"S{i % 2}", "time": f"2026-01-31T14:{i:02d}:00Z",
                          "data": i})
        self.beck("emit", "--json-lines", stdin="\n".join(map(json.dumps, lines)))

    def ids(self, *args):
        return [int(e["id"]) for e in self.beck("log", *args).json]

    def test_everything_in_order(self):
        self.assertEqual(self.ids(), list(range(60)))

    def test_what_happened_between_two_times(self):
        self.assertEqual(self.ids("--since", "2026-01-31T14:30:00Z", "--until", "2026-01-31T14:40:00Z"),
                         list(range(30, 40)))
        self.assertEqual(self.ids("--since", "2026-01-31 14:58"), [58, 59])
        self.assertEqual(self.ids("--until", "2026-01-31T14:01:30+00:00"), [0, 1])

    def test_an_event_before_a_time_is_not_shown_for_standing_behind_later_ones(self):
        self.beck("bus", "create", "mixed")
        for minute in (10, 40, 20, 50, 30):
            self.beck("emit", "x.y", str(minute), "--bus", "mixed", "--time", f"2026-01-31T14:{minute}:00Z")
        data = lambda *args: [e["data"] for e in self.beck("log", "mixed", *args).json]
        self.assertEqual(data("--since", "2026-01-31T14:25:00Z"), [40, 50, 30])
        self.assertEqual(data("--since", "2026-01-31T14:25:00Z", "--limit", "2"), [40, 50])
        self.assertEqual(data("--since", "2026-01-31T14:25:00Z", "--until", "2026-01-31T14:45:00Z"), [40, 30])
        self.beck("replay", "mixed", "--since", "2026-01-31T14:25:00Z", "--to-bus", "late")
        self.assertEqual([e["data"] for e in self.beck("log", "late").json], [40, 50, 30])

    def test_by_type_and_subject(self):
        self.assertEqual(self.ids("--type", "order.*"), [i for i in range(60) if i % 3 < 2])
        self.assertEqual(self.ids("--type", "user.#", "--subject", "S0"), [i for i in range(60) if i % 6 == 2])
        self.assertEqual(self.ids("--type", "none.*"), [])

    def test_from_an_offset_with_a_limit(self):
        self.assertEqual(self.ids("--from", "10", "-n", "3"), [10, 11, 12])
        self.assertEqual(self.ids("--from", "earliest", "--limit", "1"), [0])
        self.assertEqual(self.ids("--from", "now"), [])

    def test_the_newest(self):
        self.assertEqual(self.ids("--tail", "3"), [57, 58, 59])
        self.assertEqual(self.ids("--tail", "100"), list(range(60)))
        self.assertEqual(self.ids("--tail", "2", "--type", "user.login"), [56, 59])
        self.assertEqual(self.ids("--tail", "2", "--until", "2026-01-31T14:10:00Z"), [8, 9])
        self.assertEqual(self.ids("--tail", "2", "--type", "none"), [])
        self.beck("bus", "create", "wide", "--partitions", "4")
        self.assertEqual(self.ids("wide", "--tail", "2"), [])
        self.beck("replay", "--to-bus", "wide")
        self.assertEqual(self.ids("wide", "--tail", "7"), list(range(53, 60)))
        alone = [i for i in self.ids("wide", "--partition", "1")]
        self.assertEqual(self.ids("wide", "--tail", "3", "--partition", "1"), alone[-3:])
        self.refused(USAGE, "log", "--tail", "3", "--from", "2", says="--tail")

    def test_what_does_not_fit_together_is_refused(self):
        self.refused(USAGE, "log", "--from", "5", "--since", "-1h", says="give one")
        self.refused(USAGE, "log", "--since", "-1h", "--until", "-2h", says="--until")
        self.refused(USAGE, "log", "--type", "ord*", says="ord*")
        self.refused(USAGE, "log", "--subject", "", says="--subject is empty")
        self.refused(USAGE, "replay", "--subject", "", "--to-bus", "all", says="--subject is empty")
        self.refused(NOT_FOUND, "log", "evnts", says="no bus 'evnts'")
        self.refused(NOT_FOUND, "log", "--from", "1000", says="1000")

    def test_partitions_are_merged_by_time_or_read_alone(self):
        self.beck("bus", "create", "wide", "--partitions", "4")
        self.beck("replay", "--to-bus", "wide")
        self.assertEqual(self.ids("wide"), list(range(60)))
        alone = [self.ids("wide", "--partition", str(p)) for p in range(4)]
        self.assertEqual(sorted(sum(alone, [])), list(range(60)))
        for ids in alone:
            self.assertEqual(ids, sorted(ids))

    def test_a_position_begins_in_its_partition(self):
        self.beck("bus", "create", "wide", "--partitions", "4")
        self.beck("replay", "--to-bus", "wide")
        partitions = [self.ids("wide", "--partition", str(p)) for p in range(4)]
        long = max(range(4), key=lambda p: len(partitions[p]))
        for text in (f"{long}/5", f"wide/{long}/5"):
            self.assertEqual(self.ids("wide", "--from", text), partitions[long][5:])
        self.assertEqual(len(self.beck("replay", "wide", "--from", f"{long}/5", "--", "cat").lines), len(partitions[long]) - 5)
        self.refused(USAGE, "log", "wide", "--from", "events/0/5", says="0/1200")
        self.refused(USAGE, "log", "wide", "--from", "1/5", "--partition", "2", says="two partitions")
        # A plain offset is that of every partition; those that end before begin at their end.
        self.assertEqual(self.ids("wide", "--from", "5"), sorted(sum((p[5:] for p in partitions), [])))
        self.beck("queue", "create", "q", "#", "--bus", "wide", "--from", "5")
        self.assertEqual(self.queue("q")["ready"], sum(len(p[5:]) for p in partitions))
        self.refused(NOT_FOUND, "log", "wide", "--from", "61", says="61")


class Forms(BeckTest):
    def test_a_pipe_gets_cloudevents_lines(self):
        self.beck("emit", "a.b", '{"x": 1}')
        event = self.beck("log").json[0]
        self.assertEqual((event["specversion"], event["type"], event["source"], event["id"], event["data"]),
                         ("1.0", "a.b", "/events", "events/0/0", {"x": 1}))

    def test_people_get_aligned_columns(self):
        self.beck("emit", "order.created", '{"x": 1}', "--subject", "ORD-1")
        self.beck("emit", "a.b")
        first, second = self.beck("log", "--format", "human").lines
        for part in ("order.created", "ORD-1", "events/0/0", '{"x": 1}'):
            self.assertIn(part, first)
        self.assertEqual(first.index("events/0/0"), second.index("events/0/1"))

    def test_a_terminal_gets_the_human_form_with_colours(self):
        self.beck("emit", "order.created", '{"x": 1}')
        master, slave = pty.openpty()
        subprocess.run([PROGRAM, "log"], cwd=self.dir, stdout=slave, env=self.environment(TERM="xterm"), check=True)
        os.close(slave)
        shown = os.read(master, 65536).decode()
        os.close(master)
        self.assertIn("\033[", shown)
        self.assertNotIn("specversion", shown)

    def test_a_terminal_is_not_controlled_by_events(self):
        self.beck("emit", "a.b", "\033]0;title\007 \033[2J\u202e", "--content-type", "text/plain", "--subject", "a\u202eb")
        shown = self.beck("log", "--format", "human").out
        for bad in ("\033", "\007", "\u202e"):
            self.assertNotIn(bad, shown)

    def test_binary_data_is_shown_as_its_size(self):
        path = os.path.join(self.dir, "binary")
        with open(path, "wb") as file:
            file.write(bytes(range(256)))
        self.beck("emit", "a.b", "@" + path, "--content-type", "application/octet-stream")
        self.assertIn("(256 bytes)", self.beck("log", "--format", "human").out)
        self.assertIn("data_base64", self.beck("log").json[0])


class Follow(BeckTest):
    def test_new_events_are_shown_as_they_come_and_a_signal_ends_it(self):
        self.beck("emit", "first.one")
        process = self.start("log", "--follow")
        try:
            self.assertEqual(json.loads(process.stdout.readline())["type"], "first.one")
            for i in range(3):
                self.beck("emit", "next.one", str(i))
                self.assertEqual(json.loads(process.stdout.readline())["data"], i)
        finally:
            interrupt(process)
            out, _ = process.communicate(timeout=600)
        self.assertEqual((process.returncode, out), (DONE, ""))

    def test_following_from_the_newest_on(self):
        self.beck("bus", "create", "wide", "--partitions", "3")
        for i in range(6):
            self.beck("emit", "a.b", str(i), "--bus", "wide", "--subject", f"S{i}")
        process = self.start("log", "wide", "--tail", "2", "--follow")
        try:
            seen = [json.loads(process.stdout.readline())["data"] for _ in range(2)]
            for i in range(6, 12):
                self.beck("emit", "a.b", str(i), "--bus", "wide", "--subject", f"S{i}")
                seen.append(json.loads(process.stdout.readline())["data"])
            self.assertEqual(seen, list(range(4, 12)))
        finally:
            interrupt(process)
            process.communicate(timeout=600)

    def test_following_several_partitions(self):
        self.beck("bus", "create", "wide", "--partitions", "3")
        process = self.start("log", "wide", "--follow")
        try:
            seen = []
            for i in range(6):
                self.beck("emit", "a.b", str(i), "--bus", "wide", "--subject", f"S{i}")
                seen.append(json.loads(process.stdout.readline())["data"])
            self.assertEqual(seen, list(range(6)))
        finally:
            interrupt(process)
            process.communicate(timeout=600)

    def test_following_goes_on_in_partitions_that_are_added(self):
        self.beck("emit", "a.b", "0")
        process = self.start("log", "--follow")
        try:
            seen = [json.loads(process.stdout.readline())["data"]]
            self.beck("bus", "alter", "events", "--partitions", "5")
            for i in range(1, 6):
                self.beck("emit", "a.b", str(i), "--subject", f"S{i}")
                seen.append(json.loads(process.stdout.readline())["data"])
            self.assertEqual(seen, list(range(6)))
            self.assertGreater(self.beck("log", "--partition", "4").json + self.beck("log", "--partition", "3").json, [])
        finally:
            interrupt(process)
            process.communicate(timeout=600)

    def test_following_ends_when_nobody_reads_any_more(self):
        self.beck("emit", "a.b")
        process = self.start("log", "--follow")
        process.stdout.readline()
        process.stdout.close()
        self.assertEqual(process.wait(timeout=600), DONE)
        process.stdin.close()
        process.stderr.close()

    def test_following_ends_when_the_bus_is_deleted(self):
        self.beck("emit", "a.b")
        process = self.start("log", "--follow")
        process.stdout.readline()
        self.beck("bus", "delete", "events")
        _, err = process.communicate(timeout=600)
        self.assertEqual(process.returncode, NOT_FOUND)
        self.assertIn("bus 'events' was deleted", err)

    def test_following_with_a_limit_ends_by_itself(self):
        self.beck("emit", "a.b")
        process = self.start("log", "--follow", "--from", "now", "--limit", "1", "--type", "c.*")
        self.assertIsNone(process.poll())
        while process.poll() is None:
            self.beck("emit", "c.d", "--wait", "10s")
        self.assertEqual(len(process.communicate()[0].splitlines()), 1)


if __name__ == "__main__":
    main()
