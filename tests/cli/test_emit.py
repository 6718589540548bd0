"""beck emit: single events and lines of them."""
import json
import os
import select
import subprocess

from beck import BeckTest, DISK, DONE, FAILED, NOT_FOUND, PROGRAM, USAGE, alone, main


class Single(BeckTest):
    def log(self, *args):
        return self.beck("log", *args, "--format", "ndjson").json

    def test_prints_the_position_and_counts_up(self):
        self.assertEqual(self.beck("emit", "order.created").out, "events/0/0\n")
        self.assertEqual(self.beck("emit", "order.created").out, "events/0/1\n")
        self.assertEqual(self.beck("emit", "order.created", "--bus", "other").out, "other/0/0\n")

    def test_json_names_id_and_position(self):
        self.assertEqual(self.beck("emit", "a.b", "--json").json,
                         [{"id": "events/0/0", "bus": "events", "partition": 0, "offset": 0, "duplicate": False}])
        self.assertEqual(self.beck("emit", "a.b", "--json", "--id", "x").json[0]["id"], "x")

    def test_every_attribute_is_kept(self):
        self.beck("emit", "order.created", '{"id": 1}', "--subject", "ORD-1", "--source", "/shop", "--id", "e1",
                  "--time", "2026-01-31T14:30:00.5Z", "--schema", "https://x/y", "--extension", "region=eu",
                  "-e", "empty=", "--correlation-id", "c1", "--causation-id", "c0", "--priority", "7",
                  "--content-type", "application/json")
        event = self.log()[0]
        want = {"specversion": "1.0", "type": "order.created", "subject": "ORD-1", "source": "/shop", "id": "e1",
                "time": "2026-01-31T14:30:00.500Z", "dataschema": "https://x/y", "region": "eu", "correlationid": "c1",
                "causationid": "c0", "data": {"id": 1}}
        self.assertEqual({k: event.get(k) for k in want}, want)
        self.assertEqual(str(event["priority"]), "7")

    def test_data_comes_from_the_argument_a_file_or_standard_input(self):
        path = self.script("data.json", '{"from": "file"}')
        self.beck("emit", "a.b", '"text"')
        self.beck("emit", "a.b", "@" + path)
        self.beck("emit", "a.b", "-", stdin="[1,2]")
        self.assertEqual([e.get("data") for e in self.log()], ["text", {"from": "file"}, [1, 2]])

    def test_data_that_is_no_json_needs_a_content_type(self):
        self.refused(USAGE, "emit", "a.b", "hello", says="--content-type")
        self.beck("emit", "a.b", "hello", "--content-type", "text/plain")
        self.assertEqual(self.log()[0]["data"], "hello")

    def test_half_of_a_surrogate_pair_is_no_json(self):
        self.refused(USAGE, "emit", "a.b", '{"a": "\\ud800"}', says="at byte 7 (line 1, column 8): expected both halves")
        self.beck("emit", "a.b", "\\ud800", "--content-type", "text/plain")
        self.assertEqual(self.log()[0]["data"], "\\ud800")

    def test_wrong_events_are_refused_before_anything_is_made(self):
        self.refused(USAGE, "emit", "a..b", says="type")
        self.refused(USAGE, "emit", "order.*", says="type")
        self.refused(USAGE, "emit", "a.b", "--id", "", says="--id is empty")
        self.refused(USAGE, "emit", "a.b", "--extension", "Region=eu", says="Region")
        self.refused(USAGE, "emit", "a.b", "--extension", "region", says="NAME=VALUE")
        self.refused(USAGE, "emit", "a.b", "--delay", "1s", "--at", "now", says="give one")
        self.refused(NOT_FOUND, "emit", "a.b", "@missing.json", says="missing.json")
        self.assert_untouched()

    def test_a_bus_name_that_is_wrong(self):
        self.refused(USAGE, "emit", "a.b", "--bus", "a/b", says="a/b")

    def test_delay_and_expiry_become_attributes(self):
        self.beck("emit", "a.b", "--delay", "1h", "--expires", "+2h")
        event = self.log()[0]
        self.assertLess(event["time"], event["deliverytime"])
        self.assertLess(event["deliverytime"], event["expirytime"])

    def test_a_duplicate_is_told(self):
        self.beck("bus", "create", "events", "--dedup", "1h")
        self.assertFalse(self.beck("emit", "a.b", "--id", "x", "--source", "/s", "--json").json[0]["duplicate"])
        again = self.beck("emit", "a.b", "--id", "x", "--source", "/s", "--json").json[0]
        self.assertTrue(again["duplicate"])
        self.assertEqual(again["offset"], 0)
        self.assertEqual(len(self.log()), 1)

    def test_levels(self):
        for level in ("none", "written", "synced"):
            self.beck("emit", "a.b", "--level", level)
        self.assertEqual(len(self.log()), 3)


def event(i, **more):
    return {"specversion": "1.0", "type": "a.b", "source": "/t", "id": str(i), **more}


class Lines(BeckTest):
    def ids(self):
        return [e["id"] for e in self.beck("log").json]

    def emit_text(self, text):
        result = self.try_beck("emit", "--json-lines", "--json", stdin=text)
        return result, (result.json[0] if result.out else None)

    def test_one_event_a_line(self):
        result, report = self.emit_text("".join(json.dumps(event(i)) + "\n" for i in range(2500)))
        self.assertEqual(result.code, DONE)
        self.assertEqual(report, {"bus": "events", "published": 2500, "duplicates": 0, "malformed": 0})
        self.assertEqual(self.ids(), [str(i) for i in range(2500)])

    def test_from_a_file_and_without_a_last_newline(self):
        path = self.script("in.ndjson", json.dumps(event(1)) + "\r\n\n" + json.dumps(event(2)))
        self.beck("emit", "--json-lines", path)
        self.assertEqual(self.ids(), ["1", "2"])
        self.refused(NOT_FOUND, "emit", "--json-lines", "nowhere", says="nowhere")

    def test_what_http_fills_in_may_be_missing(self):
        self.emit_text('{"specversion":"1.0","type":"order.created","subject":"customer/7","data":{"total":42}}\n')
        read = self.beck("log").json[0]
        self.assertEqual((read["id"], read["source"], read["data"]), ("events/0/0", "/events", {"total": 42}))

    def test_envelopes_are_read_too(self):
        self.emit_text(json.dumps({"eventId": "7", "eventType": "order.paid", "version": 2,
                                   "timestamp": "2026-01-31T14:30:00Z", "source": "shop", "data": {"x": 1},
                                   "metadata": {"correlationId": "c"}}) + "\n")
        read = self.beck("log").json[0]
        self.assertEqual((read["id"], read["type"], read["correlationid"]), ("7", "order.paid", "c"))
        self.assertEqual(self.beck("log", "--format", "envelope").json[0]["eventType"], "order.paid")

    def test_an_array_on_one_line_or_over_many(self):
        self.emit_text(json.dumps([event(1), event(2)]) + "\n" + json.dumps([event(3)]) + "\n")
        self.emit_text(json.dumps([event(4), event(5)], indent=2))
        self.assertEqual(self.ids(), ["1", "2", "3", "4", "5"])

    def test_malformed_lines_are_reported_with_their_number_and_left_out(self):
        lines = [json.dumps(event(1)), "{not json", json.dumps(event(2)), json.dumps({"type": "a.b"}), "",
                 json.dumps(event(3, type="a..b")), json.dumps(event(4))]
        result, report = self.emit_text("\n".join(lines) + "\n")
        self.assertEqual(result.code, FAILED)
        self.assertEqual(report["published"], 3)
        self.assertEqual(report["malformed"], 3)
        for number in (2, 4, 6):
            self.assertIn(f"line {number}: ", result.err)
        self.assertEqual(self.ids(), ["1", "2", "4"])

    def test_an_event_that_is_too_large_leaves_the_others(self):
        self.beck("bus", "create", "events", "--event-size-max", "4k")
        lines = [event(1), event(2, data="x" * 10000), event(3)]
        result, report = self.emit_text("".join(json.dumps(e) + "\n" for e in lines))
        self.assertEqual(result.code, FAILED)
        self.assertIn("line 2: ", result.err)
        self.assertEqual(report["published"], 2)
        self.assertEqual(self.ids(), ["1", "3"])

    @alone("the limit is that of the process that writes")
    def test_a_file_that_may_not_grow_is_an_error_that_says_where_it_stopped(self):
        path = self.script("in.ndjson", "".join(json.dumps(event(i)) + "\n" for i in range(20000)))
        done = subprocess.run(["sh", "-c", f"ulimit -f 100; '{PROGRAM}' emit --json-lines '{path}' --json"], cwd=self.dir,
                              capture_output=True, text=True, check=False, env=self.environment())
        self.assertEqual(done.returncode, DISK, done.stderr)
        published = json.loads(done.stdout)["published"]
        self.assertIn(f"stopped at line {published + 1}:", done.stderr)
        self.assertEqual(self.ids(), [str(i) for i in range(published)])
        self.beck("emit", "a.b")

    def test_nothing_is_nothing(self):
        result, report = self.emit_text("")
        self.assertEqual((result.code, report["published"]), (DONE, 0))

    def test_a_slow_pipe_is_published_as_it_comes(self):
        process = self.start("emit", "--json-lines")
        try:
            process.stdin.write(json.dumps(event(1)) + "\n")
            process.stdin.flush()
            while not os.path.isdir(self.data):
                select.select([], [], [], 0.01)
            while self.try_beck("log").out == "":
                self.assertIsNone(process.poll())
            self.assertEqual(self.ids(), ["1"])
        finally:
            process.communicate(timeout=600)
        self.assertEqual(process.returncode, DONE)


if __name__ == "__main__":
    main()
