"""beck bus, queue and dead: what is made, shown and removed."""
import os
import re

from beck import BUSY, BeckTest, DONE, EXISTS, NOT_FOUND, REFUSED, USAGE, main


class Bus(BeckTest):
    def test_list_and_show(self):
        self.beck("bus", "create", "orders", "--partitions", "3", "--retention", "7d", "--codec", "zstd")
        self.emit(4)
        listed = {b["name"]: b for b in self.beck("bus", "list", "--json").json}
        self.assertEqual(set(listed), {"orders", "events"})
        self.assertEqual((listed["orders"]["partitions"], listed["events"]["events"]), (3, 4))
        self.assertEqual(listed["events"]["storage"], "disk")
        shown = self.beck("bus", "show", "orders", "--json").json[0]
        self.assertEqual(len(shown["partitions"]), 3)
        self.assertEqual((shown["options"]["retention_ms"], shown["options"]["codec"]), (7 * 86400000, "zstd"))
        partition = self.beck("bus", "show", "events", "--json").json[0]["partitions"][0]
        self.assertEqual((partition["first_offset"], partition["next_offset"]), (0, 4))
        self.assertIn("newest", partition)

    def test_for_people(self):
        self.emit(1500)
        table = self.beck("bus", "list").lines
        self.assertRegex(table[0], r"^BUS +PARTITIONS +EVENTS +SIZE$")
        self.assertRegex(table[1], r"^events +1 +1,500 +[\d.]+ KiB$")
        shown = self.beck("bus", "show", "events").out
        self.assertRegex(shown, r"(?m)^retention +no limit$")
        self.assertRegex(shown, r"(?m)^level +synced$")

    def test_create_twice(self):
        self.beck("bus", "create", "b", "--partitions", "2")
        self.beck("bus", "create", "b", "--partitions", "2")
        self.refused(EXISTS, "bus", "create", "b", "--partitions", "3", says="(partitions is not the same)")

    def test_names_that_are_wrong(self):
        for name in ("a b", "", ".", "..", "__users", "x" * 250, "../x"):
            self.refused(USAGE, "bus", "create", name)
        self.assertEqual(os.listdir(self.dir), ["data"])

    def test_delete_and_purge(self):
        self.emit(5)
        self.assertEqual(self.beck("bus", "purge", "events", "--json").json, [{"bus": "events", "purged": 5}])
        self.assertEqual(self.beck("log").out, "")
        self.assertEqual(self.beck("emit", "a.b").out, "events/0/5\n")
        self.beck("bus", "delete", "events")
        self.refused(NOT_FOUND, "log", says="no bus 'events'")
        self.refused(NOT_FOUND, "bus", "delete", "events", says="no bus 'events'")
        self.refused(NOT_FOUND, "bus", "purge", "events", says="no bus 'events'")
        self.refused(NOT_FOUND, "bus", "show", "events", says="no bus 'events'")

    def test_options_of_a_bus_are_changed(self):
        self.beck("bus", "create", "orders", "--codec", "lz4")
        self.beck("bus", "alter", "orders", "--partitions", "3", "--retention", "1d", "--compact", "yes",
                  "--delete-retention", "2h")
        shown = self.beck("bus", "show", "orders", "--json").json[0]
        self.assertEqual([shown["options"][name] for name in ("partitions", "retention_ms", "compact", "codec")], [3, 86400000, True, "lz4"])
        self.assertEqual(shown["options"]["delete_retention_ms"], 7200000)
        self.assertEqual(len(shown["partitions"]), 3)
        changed = self.beck("bus", "alter", "orders", "--compact", "no", "--json").json[0]
        self.assertEqual([changed["options"][name] for name in ("partitions", "compact")], [3, False])
        self.refused(USAGE, "bus", "alter", "orders", "--partitions", "2", says="has 3 partitions")
        self.refused(NOT_FOUND, "bus", "alter", "none", "--partitions", "2", says="no bus 'none'")

    def test_a_bus_that_feeds_a_queue_is_not_deleted(self):
        self.beck("queue", "create", "q", "#")
        self.refused(BUSY, "bus", "delete", "events", says="q")
        self.beck("queue", "unbind", "q", "#")
        self.beck("bus", "delete", "events")


class Queue(BeckTest):
    def test_create_show_and_list(self):
        self.beck("queue", "create", "q", "order.*", "user.#", "--attempts", "4", "--backoff", "list:1s,1m",
                  "--deadline", "0", "--ttl", "1h", "--length-max", "100", "--overflow", "refuse", "--priorities", "3")
        shown = self.queue("q")
        self.assertEqual(shown["options"], {
            "storage": "disk", "attempts_max": 4, "backoff": "list:1s,1m", "deadline_ms": -1, "ttl_ms": 3600000,
            "length_max": 100, "overflow": "refuse", "priority_max": 3, "no_dead_letters": False})
        self.assertEqual(sorted(b["pattern"] for b in shown["bindings"]), ["order.*", "user.#"])
        self.emit(2)
        listed = self.beck("queue", "list", "--json").json
        self.assertEqual(listed, [{"name": "q", "ready": 2, "in_flight": 0, "delayed": 0, "dead": 0, "paused": False,
                                   "bindings": 2}])

    def test_for_people(self):
        self.beck("queue", "create", "q", "order.*")
        self.emit(2)
        table = self.beck("queue", "list").lines
        self.assertRegex(table[0], r"^QUEUE +READY +IN FLIGHT +DELAYED +DEAD +STATE$")
        self.assertRegex(table[1], r"^q +2 +0 +0 +0 +open$")
        shown = self.beck("queue", "show", "q").out
        self.assertRegex(shown, r"(?m)^bound to +order\.\* of bus events$")
        self.assertRegex(shown, r"(?m)^deadline +30s$")

    def test_create_twice(self):
        self.beck("queue", "create", "q", "--attempts", "3")
        self.beck("queue", "create", "q", "--attempts", "3")
        self.refused(EXISTS, "queue", "create", "q", "--attempts", "4", says="(attempts_max is not the same)")

    def test_options_of_a_queue_are_changed(self):
        self.beck("queue", "create", "q", "#", "--attempts", "3", "--ttl", "1h")
        self.emit(4)
        self.beck("queue", "alter", "q", "--attempts", "5", "--backoff", "none", "--deadline", "0", "--length-max", "3")
        shown = self.queue("q")
        self.assertEqual([shown["options"][name] for name in ("attempts_max", "backoff", "deadline_ms", "ttl_ms", "length_max")],
                         [5, "none", -1, 3600000, 3])
        self.assertEqual((shown["ready"], shown["dead"]), (3, 1))
        changed = self.beck("queue", "alter", "q", "--ttl", "0", "--no-dead-letters", "yes", "--json").json[0]
        self.assertEqual([changed["options"][name] for name in ("attempts_max", "ttl_ms", "no_dead_letters")], [5, 0, True])
        self.refused(USAGE, "queue", "alter", "q", "--priorities", "2")
        self.refused(NOT_FOUND, "queue", "alter", "none", "--attempts", "2", says="no queue 'none'")
        self.refused(EXISTS, "on", "--queue", "q", "--attempts", "2", "--", "true", says="beck queue alter")

    def test_overflow_needs_a_length(self):
        self.refused(USAGE, "queue", "create", "q", "--overflow", "refuse", says="--length-max")
        self.assert_untouched()
        self.beck("queue", "create", "q")
        self.refused(USAGE, "queue", "alter", "q", "--overflow", "refuse", says="--length-max")
        self.beck("queue", "alter", "q", "--length-max", "2", "--overflow", "refuse")

    def test_what_is_refused_leaves_nothing_behind(self):
        self.emit(3)
        self.refused(NOT_FOUND, "queue", "create", "q", "a.*", "b.*", "--from", "9", says="offset 9")
        self.refused(NOT_FOUND, "queue", "create", "q", "#", "--bus", "new", "--from", "1", says="no bus 'new'")
        self.refused(NOT_FOUND, "on", "#", "--queue", "q", "--from", "9", "--", "true", says="offset 9")
        self.refused(NOT_FOUND, "on", "#", "--from", "9", "--", "true", says="offset 9")
        self.assertEqual(self.beck("queue", "list", "--json").out, "")
        self.assertEqual([b["name"] for b in self.beck("bus", "list", "--json").json], ["events"])
        self.beck("queue", "create", "q")
        self.refused(NOT_FOUND, "queue", "create", "q", "a.*", "--from", "9", says="offset 9")
        self.assertEqual(self.queue("q")["bindings"], [])
        self.refused(USAGE, "queue", "rewind", "q", "earliest", says="bound to nothing")

    def test_a_bus_without_a_pattern_gives_all(self):
        self.emit(3)
        self.beck("queue", "create", "q", "--bus", "events")
        self.beck("queue", "create", "r", "--from", "earliest")
        self.beck("queue", "create", "s")
        self.assertEqual(self.queue("q")["bindings"], [{"bus": "events", "pattern": "#"}])
        self.assertEqual(self.queue("r")["ready"], 3)
        self.assertEqual(self.queue("s")["bindings"], [])

    def test_bind_from_history_and_unbind(self):
        self.emit(3)
        self.beck("queue", "create", "q")
        self.beck("queue", "bind", "q", "order.*", "--from", "1")
        self.assertEqual(self.queue("q")["ready"], 2)
        again = self.beck("queue", "bind", "q", "order.*", "--from", "earliest")
        self.assertIn("--from changes nothing", again.err)
        self.assertNotIn("--from", self.beck("queue", "bind", "q", "order.*").err)
        self.assertEqual(self.queue("q")["ready"], 2)
        self.beck("queue", "unbind", "q", "order.*")
        self.emit(3)
        self.assertEqual(self.queue("q")["ready"], 2)
        self.refused(NOT_FOUND, "queue", "unbind", "q", "none.*")

    def test_when_the_next_delayed_event_is_due(self):
        self.beck("queue", "create", "q", "#")
        self.emit(1)
        self.assertNotIn("next_due", self.queue("q"))
        self.assertNotIn("next due", self.beck("queue", "show", "q").out)
        for at in ("2126-02-01", "2126-01-31T14:30:00Z"):
            self.beck("emit", "a.b", "--at", at)
        self.assertEqual(self.queue("q")["next_due"], "2126-01-31T14:30:00Z")
        self.assertRegex(self.beck("queue", "show", "q").out, r"(?m)^next due +2126-01-31 14:30:00$")

    def test_what_is_delayed_in_order_of_its_time(self):
        self.beck("queue", "create", "q", "#")
        self.assertIn("nothing waits", self.beck("queue", "delayed", "q").err)
        self.assertIn("nothing of queue 'q' is in flight", self.beck("queue", "in-flight", "q").err)
        for at in ("2126-02-01", "2126-01-31T14:30:00Z", "2126-03-01"):
            self.beck("emit", "a.b", "--at", at, "--subject", at[:7])
        rows = self.beck("queue", "delayed", "q").lines
        self.assertRegex(rows[1], r"^2126-01-31 14:30:00 +1 +a\.b +2126-01 +events/0/1$")
        self.assertEqual([row.split()[-1] for row in rows[1:]], ["events/0/1", "events/0/0", "events/0/2"])
        page = self.beck("queue", "delayed", "q", "--skip", "1", "-n", "1", "--json").json
        self.assertEqual([(w["due"], w["attempt"], w["origin"], w["event"]["subject"], "since" in w) for w in page],
                         [("2126-02-01T00:00:00Z", 1, {"bus": "events", "partition": 0, "offset": 0}, "2126-02", False)])
        self.refused(NOT_FOUND, "queue", "delayed", "none", says="none")
        self.refused(USAGE, "queue", "delayed", "q", "-n", "10000", "--skip", "1", says="10000")

    def test_peek_takes_nothing(self):
        self.beck("queue", "create", "q", "#")
        self.emit(5)
        for _ in range(2):
            self.assertEqual([e["data"] for e in self.beck("queue", "peek", "q", "-n", "3").json], [0, 1, 2])
        self.assertEqual(self.queue("q")["ready"], 5)
        self.assertIn("events/0/0", self.beck("queue", "peek", "q", "--format", "human").out)

    def test_pause_resume_purge_delete(self):
        self.beck("queue", "create", "q", "#")
        self.emit(5)
        self.beck("queue", "pause", "q")
        self.assertTrue(self.queue("q")["paused"])
        self.beck("queue", "resume", "q")
        self.assertFalse(self.queue("q")["paused"])
        self.assertEqual(self.beck("queue", "purge", "q", "--json").json, [{"queue": "q", "purged": 5}])
        self.assertEqual(self.queue("q")["ready"], 0)
        self.beck("queue", "delete", "q")
        self.assertEqual(self.beck("queue", "list", "--json").out, "")

    def test_what_changes_a_queue_answers_in_json(self):
        self.emit(2)
        self.beck("bus", "create", "b")
        for command, answer in (
                (("queue", "create", "q"), "name"),
                (("queue", "bind", "q", "a.*", "b.*"), {"queue": "q", "bus": "events", "bound": ["a.*", "b.*"]}),
                (("queue", "unbind", "q", "a.*"), {"queue": "q", "bus": "events", "unbound": ["a.*"]}),
                (("queue", "pause", "q"), {"queue": "q", "paused": True}),
                (("queue", "resume", "q"), {"queue": "q", "paused": False}),
                (("queue", "rewind", "q", "now"), "name"),
                (("queue", "delete", "q"), {"queue": "q", "deleted": True}),
                (("bus", "delete", "b"), {"bus": "b", "deleted": True})):
            said = self.beck(*command, "--json").json
            self.assertEqual(len(said), 1, command)
            if answer == "name":
                self.assertEqual(said[0]["name"], "q")
            else:
                self.assertEqual(said[0], answer)

    def test_rewind(self):
        self.beck("queue", "create", "q", "#")
        self.emit(5)
        self.beck("on", "--queue", "q", "--exit-when-idle", "--", "true")
        for position, ready in (("earliest", 5), ("3", 2), ("now", 0), ("-1h", 5)):
            self.beck("queue", "rewind", "q", position)
            self.assertEqual(self.queue("q")["ready"], ready, position)
        self.refused(USAGE, "queue", "rewind", "q", "sometime", says="earliest")

    def test_a_full_queue_refuses_or_drops(self):
        self.beck("queue", "create", "full", "a.#", "--length-max", "2", "--overflow", "refuse")
        self.beck("queue", "create", "drop", "b.#", "--length-max", "2")
        for _ in range(2):
            self.beck("emit", "a.x")
        self.refused(REFUSED, "emit", "a.x", says="full")
        for i in range(3):
            self.beck("emit", "b.x", str(i))
        self.assertEqual([e["data"] for e in self.beck("queue", "peek", "drop").json], [1, 2])
        self.assertEqual([d["reason"] for d in self.beck("dead", "list", "drop", "--json").json], ["maxlen"])

    def test_a_queue_that_is_not_there(self):
        self.emit(1)
        for command in ("show", "delete", "purge", "pause", "resume", "peek"):
            self.refused(NOT_FOUND, "queue", command, "q", says="no queue 'q'")
        self.refused(NOT_FOUND, "queue", "rewind", "q", "now", says="no queue 'q'")
        for command in ("bind", "unbind"):
            self.refused(NOT_FOUND, "queue", command, "q", "#", says="no queue 'q'")
        for command in ("list", "redrive", "purge"):
            self.refused(NOT_FOUND, "dead", command, "q", says="no queue 'q'")
        for command in ("show", "redrive", "purge"):
            self.refused(NOT_FOUND, "dead", command, "q", "1", says="no queue 'q'")

    def test_a_bus_that_is_not_there_is_not_taken_for_the_queue(self):
        self.beck("queue", "create", "q", "#")
        self.refused(NOT_FOUND, "queue", "unbind", "q", "#", "--bus", "none", says='no bus "none"')


class Dead(BeckTest):
    def setUp(self):
        super().setUp()
        self.beck("queue", "create", "q", "#", "--attempts", "2", "--backoff", "none")
        self.emit(3)
        self.try_beck("on", "--queue", "q", "--exit-when-idle", "--", "sh", "-c", "echo too bad >&2; exit 1")

    def letters(self):
        return self.beck("dead", "list", "q", "--json").json

    def test_list_and_show(self):
        letters = self.letters()
        self.assertEqual([d["event"]["data"] for d in letters], [0, 1, 2])
        self.assertEqual(letters[1]["origin"], {"bus": "events", "partition": 0, "offset": 1})
        self.assertEqual(len(self.beck("dead", "list", "q", "-n", "2", "--json").lines), 2)
        table = self.beck("dead", "list").lines
        self.assertRegex(table[0], r"^QUEUE +OFFSET +DIED +REASON +ATTEMPTS +TYPE +SUBJECT +WHY$")
        self.assertRegex(table[1], r"^q +\d+ +\S+ +attempts +2 +order.created +s0 +exit 1: too bad$")
        name = str(letters[1]["offset"])
        self.assertEqual(self.beck("dead", "show", "q", name, "--json").json, [letters[1]])
        shown = self.beck("dead", "show", "q", name).out
        self.assertRegex(shown, r"(?m)^stored at +events/0/1$")
        self.assertIn("attempt 2: exit 1: too bad", shown)
        shown = self.beck("dead", "show", "q", name, TZ="EST5").out
        time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"
        self.assertEqual(len(re.findall(rf"(?m)^(failed|died) +{time}( |$)", shown)), 3, shown)
        self.assertIn(letters[1]["died"], shown)

    def test_redrive_one_and_all(self):
        letters = self.letters()
        name = str(letters[1]["offset"])
        self.assertEqual(self.beck("dead", "redrive", "q", name, "--json").json, [{"queue": "q", "redriven": 1}])
        self.assertEqual(self.queue("q")["ready"], 1)
        self.assertEqual([d["event"]["data"] for d in self.letters()], [0, 2])
        self.assertEqual([e["data"] for e in self.beck("on", "--queue", "q", "--exit-when-idle", "--", "cat").json], [1])
        self.beck("dead", "redrive", "q")
        self.assertEqual(self.letters(), [])
        handled = self.beck("on", "--queue", "q", "--exit-when-idle", "--", "cat").json
        self.assertEqual([e["data"] for e in handled], [0, 2])

    def test_attempts_count_anew_and_history_is_kept(self):
        self.beck("dead", "redrive", "q")
        self.try_beck("on", "--queue", "q", "--exit-when-idle", "--", "sh", "-c", "echo again $BECK_ATTEMPT >&2; exit 1")
        letter = self.letters()[0]
        self.assertEqual(letter["attempts"], 2)
        self.assertEqual([h["why"] for h in letter["history"]],
                         ["exit 1: too bad", "exit 1: too bad", "exit 1: again 1", "exit 1: again 2"])

    def test_purge_one_and_all(self):
        name = str(self.letters()[0]["offset"])
        self.assertEqual(self.beck("dead", "purge", "q", name, "--json").json, [{"queue": "q", "purged": 1}])
        self.assertEqual(self.beck("dead", "purge", "q", "--json").json, [{"queue": "q", "purged": 2}])
        self.assertEqual(self.letters(), [])
        self.assertIn("no dead letters", self.beck("dead", "list").err)

    def test_letters_that_are_not_there(self):
        for command in ("show", "redrive", "purge"):
            self.refused(NOT_FOUND, "dead", command, "q", "9999")
            self.refused(USAGE, "dead", command, "q", "first", says="no offset")

    def test_rewind_keeps_dead_letters(self):
        self.beck("queue", "rewind", "q", "earliest")
        self.assertEqual(len(self.letters()), 3)
        self.assertEqual(self.queue("q")["ready"], 3)


if __name__ == "__main__":
    main()
