"""beck ingest: records of files as events."""
import json
import os
import random
import re
import shlex
import signal
import subprocess
import time
import unittest
from xml.etree import ElementTree

from beck import BeckTest, DONE, EXISTS, FAILED, INTERRUPTED, NOT_FOUND, PROGRAM, SANITIZED, USAGE, interrupt, main


class IngestTest(BeckTest):
    def file(self, name, content):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return path

    def ingest(self, name, *args, code=DONE, **options):
        result = self.try_beck("ingest", name, *args, **options)
        self.assertEqual(result.code, code, result.err)
        return result

    def peak_memory(self, name):
        """Of an ingest, in bytes."""
        script = ("import resource, subprocess, sys\n"
                  "code = subprocess.run(sys.argv[1:], check=False).returncode\n"
                  "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
                  "sys.exit(code)\n")
        done = subprocess.run(["python3", "-c", script, PROGRAM, "ingest", name, "--type", "x.y", "-q"], cwd=self.dir,
                              env=self.environment(), capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, DONE, done.stderr)
        return int(done.stdout) << 10

    def events(self, *args):
        return self.beck("log", *args).json

    def payloads(self, *args):
        return [e["data"] for e in self.events(*args)]

    def rejects(self, name):
        return [json.loads(line) for line in self.read(name)]


class Ndjson(IngestTest):
    def test_lines_are_data_and_attributes_come_from_fields(self):
        self.file("a.ndjson", '{"id":"A","kind":"order.placed","who":{"name":"S1"},"at":"2026-01-31T14:30:00Z"}\n'
                  '\n{"id":2,"who":{"name":"S2"},"at":null}\r\n')
        self.ingest("a.ndjson", "--type", "order.other", "--type-from", "kind", "--subject-from", "/who/name",
                    "--id-from", "id", "--time-from", "at", "--source", "/shop")
        first, second = self.events()
        self.assertEqual((first["type"], first["subject"], first["id"], first["time"], first["source"]),
                         ("order.placed", "S1", "A", "2026-01-31T14:30:00Z", "/shop"))
        self.assertEqual((second["type"], second["subject"], second["id"]), ("order.other", "S2", "2"))
        self.assertEqual(second["data"], {"id": 2, "who": {"name": "S2"}, "at": None})

    def test_ids_are_those_of_the_content_and_the_line(self):
        self.file("a.ndjson", '{"a":1}\n{"a":2}\n')
        self.ingest("a.ndjson", "--type", "a.b")
        self.ingest("a.ndjson", "--type", "a.b", "--bus", "again")
        ids = [e["id"] for e in self.events()]
        self.assertEqual(ids, [e["id"] for e in self.events("again")])
        self.assertRegex(ids[0], "^[0-9a-f]{16}:1$")
        self.assertRegex(ids[1], "^[0-9a-f]{16}:2$")
        self.assertEqual(self.events()[0]["source"], "file://" + os.path.realpath(self.dir) + "/a.ndjson")

    def test_unix_times(self):
        self.file("a.ndjson", '{"t":1769869800.5}\n{"t":"1769869801"}\n')
        self.ingest("a.ndjson", "--type", "a.b", "--time-from", "t", "--time-format", "unix")
        self.ingest("a.ndjson", "--type", "a.b", "--time-from", "t", "--time-format", "unixms", "--bus", "ms")
        self.assertEqual([e["time"] for e in self.events()], ["2026-01-31T14:30:00.500Z", "2026-01-31T14:30:01Z"])
        self.assertTrue(self.events("ms")[0]["time"].startswith("1970-01-21T"))

    def test_times_in_the_usual_forms(self):
        same = ["2026-01-31T14:30:00Z", "2026-01-31 14:30:00", "2026-01-31T14:30", "2026-01-31t14:30:00.000",
                "2026-01-31 14:30:00 UTC", "2026-01-31 16:30:00+0200", "2026-01-31 09:30 -05:00", "2026-01-31 15:30:00+01",
                "1769869800", 1769869800, 1769869800000, "1769869800000.0", "1769869800.0"]
        self.file("a.ndjson", "".join(json.dumps({"t": t}) + "\n" for t in [*same, "2026-01-31", "2026-01-31 14:30:00.25"]))
        self.ingest("a.ndjson", "--type", "a.b", "--time-from", "t")
        self.assertEqual([e["time"] for e in self.events()], ["2026-01-31T14:30:00Z"] * len(same) +
                         ["2026-01-31T00:00:00Z", "2026-01-31T14:30:00.250Z"])
        bad = ["20260131", "2026-02-30", "2026-01-31 25:00", "31.01.2026", "2026-01-31 14", "2026-01-31T14:30:00 Mars", "",
               "2026-01-31 14:30:00.1234567890", "2026-01-31T14:30:00+2", "1769869800000000"]
        self.file("b.ndjson", "".join(json.dumps({"t": t}) + "\n" for t in bad))
        result = self.ingest("b.ndjson", "--type", "a.b", "--time-from", "t", "--bus", "bad", code=FAILED)
        self.assertEqual(self.payloads("bad"), [])
        self.assertIn("expected 2026-01-31, ", result.err)

    def test_the_zone_of_times_that_name_none(self):
        self.file("a.ndjson", '{"t":"2026-01-31 14:30"}\n{"t":"2026-07-31"}\n{"t":"2026-07-31T14:30:00Z"}\n')
        for i, (zone, times) in enumerate((("+02:00", ["2026-01-31T12:30:00Z", "2026-07-30T22:00:00Z"]),
                                           ("local", ["2026-01-31T12:30:00Z", "2026-07-30T21:00:00Z"]),
                                           ("utc", ["2026-01-31T14:30:00Z", "2026-07-31T00:00:00Z"]))):
            self.ingest("a.ndjson", "--type", "a.b", "--time-from", "t", "--time-zone", zone, "--bus", f"bus{i}",
                        TZ="EET-2EEST,M3.5.0/3,M10.5.0/4")
            self.assertEqual([e["time"] for e in self.events(f"bus{i}")], [*times, "2026-07-31T14:30:00Z"], zone)
        self.assertIn("+02:00", self.ingest("a.ndjson", "--type", "a.b", "--time-zone", "Kyiv", code=USAGE).err)

    def test_a_field_that_no_record_has_is_named(self):
        self.file("a.ndjson", '{"a":1}\n{"a":2}\n')
        result = self.ingest("a.ndjson", "--type", "a.b", "--subject-from", "nope", "--time-from", "/n/o")
        self.assertIn('no record has the field "nope" of --subject-from', result.err)
        self.assertIn('no record has the field "/n/o" of --time-from', result.err)
        self.file("a.ndjson", '{"a":1}\n{"a":2,"nope":3}\n')
        self.assertNotIn("nope", self.ingest("a.ndjson", "--type", "a.b", "--subject-from", "nope").err)

    def test_events_are_published_as_what_they_are(self):
        self.file("a.ndjson", '{"specversion":"1.0","type":"x.y","source":"/s","id":"7","data":5,"region":"eu"}\n'
                  '{"eventId":"e1","eventType":"order.paid","version":"1","timestamp":"2026-01-31T14:30:00Z",'
                  '"source":"billing","data":{"n":1},"metadata":{"correlationId":"c"}}\n{"just":"data"}\n')
        self.ingest("a.ndjson", "--type", "plain.one")
        cloud, envelope, plain = self.events()
        self.assertEqual((cloud["type"], cloud["id"], cloud["source"], cloud["region"], cloud["data"]),
                         ("x.y", "7", "/s", "eu", 5))
        self.assertEqual((envelope["type"], envelope["id"], envelope["correlationid"]), ("order.paid", "e1", "c"))
        self.assertEqual((plain["type"], plain["data"]), ("plain.one", {"just": "data"}))
        self.ingest("a.ndjson", "--type", "plain.one", "--plain", "--bus", "plain")
        self.assertEqual([e["type"] for e in self.events("plain")], ["plain.one"] * 3)

    def test_malformed_lines_are_put_aside_with_their_number(self):
        self.file("a.ndjson", b'{"a":1}\n{"a":\n[1]\n{"a":"\xff"}\n{"a":{}}\n{"a":2}\n' + b'{"a":"' + b"x" * 5000 + b'"}\n')
        result = self.ingest("a.ndjson", "--type", "t.x", "--type-from", "a", "--record-max", "4k", code=FAILED)
        self.assertEqual(self.payloads(), [{"a": 1}, {"a": 2}])
        self.assertIn("a.ndjson, line 2: ", result.err)
        self.assertIn("5 malformed, put aside in a.ndjson.rejects", result.err)
        rejects = self.rejects("a.ndjson.rejects")
        self.assertEqual([(r["record"], r["line"], r["byte"]) for r in rejects],
                         [(2, 2, 8), (3, 3, 14), (4, 4, 18), (5, 5, 28), (7, 7, 45)])
        self.assertEqual(rejects[0]["raw"], '{"a":')
        self.assertEqual(rejects[2]["raw_base64"], "eyJhIjoi/yJ9")
        self.assertIn("--record-max", rejects[4]["error"])

    def test_a_line_that_is_no_event_needs_a_type(self):
        self.file("a.ndjson", '{"a":1}\n{"specversion":"1.0","type":"x.y","source":"/s","id":"7"}\n')
        result = self.ingest("a.ndjson", code=FAILED)
        self.assertIn("give --type", result.err)
        self.assertEqual([e["type"] for e in self.events()], ["x.y"])

    def test_standard_input_is_published_when_it_pauses(self):
        process = self.start("ingest", "-", "--format", "ndjson", "--type", "a.b")
        try:
            process.stdin.write('{"n":1}\n')
            process.stdin.flush()
            # Another process may look while this one runs.
            while not self.try_beck("log").out:
                time.sleep(0.05)
            self.assertEqual(self.payloads(), [{"n": 1}])
        finally:
            interrupt(process)
            _, err = process.communicate(timeout=600)
        self.assertEqual(process.returncode, INTERRUPTED, err)
        self.assertIn("--resume", err)


class Json(IngestTest):
    """Arrays, and objects over several lines."""
    def texts(self, objects):
        compact = [json.dumps(o, separators=(",", ":")) for o in objects]
        pretty = [json.dumps(o, indent=2) for o in objects]
        return {"pretty array": json.dumps(objects, indent=2), "array of lines": "[\n " + ",\n ".join(compact) + "\n]\n",
                "compact array": "[" + ",".join(compact) + "]", "pretty objects": "\n".join(pretty) + "\n",
                "arrays": f"[{compact[0]}]\n[{','.join(compact[1:])}]", "objects in a line": "".join(compact),
                "objects with commas": ",\n".join(compact), "lines": "\n".join(compact) + "\n",
                "windows": "\ufeff\r\n" + json.dumps(objects, indent="\t").replace("\n", "\r\n")}

    def test_every_form_gives_the_objects(self):
        objects = [{"n": i, "text": 'a "[{\\ b]', "list": [[{}], []], "who": {"id": f"u{i}"}} for i in range(30)]
        for i, (form, text) in enumerate(self.texts(objects).items()):
            self.file("a.json", text)
            self.ingest("a.json", "--type", "x.y", "--subject-from", "/who/id", "--bus", f"bus{i}")
            self.assertEqual(self.payloads(f"bus{i}"), objects, form)
            self.assertEqual(self.events(f"bus{i}")[7]["subject"], "u7", form)
            self.assertRegex(self.events(f"bus{i}")[7]["id"], ":8$", form)

    def test_each_is_in_one_line_of_the_log(self):
        self.file("a.json", '[\n {\n  "a b": "c  d\\n\\"",\n  "e": [1, 2]\n }\n]')
        self.ingest("a.json", "--type", "x.y")
        self.assertIn('{"a b":"c  d\\n\\"","e":[1,2]}', self.beck("log").lines[0])

    def test_ndjson_says_so_when_it_is_none(self):
        for i, text in enumerate(('[\n{"a":1}]', '\n [{"a":1},\n{"a":2}]', '{\n  "a": 1\n}\n')):
            self.file("a.ndjson", text)
            result = self.ingest("a.ndjson", "--type", "x.y", code=FAILED)
            self.assertIn("give --format json", result.err)
            self.assertEqual(self.payloads(), [])
            self.ingest("a.ndjson", "--type", "x.y", "--format", "json", "--bus", f"bus{i}")
            self.assertEqual(self.payloads(f"bus{i}")[0], {"a": 1})

    def test_malformed_records_are_put_aside_and_the_next_are_read(self):
        good = '  {\n    "n": %d,\n    "in": {\n      "a": [1]\n    }\n  }'
        broken = ['  {\n    "n": [1}\n  }', '  {\n    "n": "never closed,\n    "m": 1\n  }', '  {\n    "n": {\n  }',
                  '  17', '  "text"', '  [1, {"a": 2}]', '  {\n    "n": 1,\n    "m" 2\n  }', '  }',
                  '  {\n    "n": "' + "x" * 5000 + '"\n  }']
        items = []
        for i, bad in enumerate(broken):
            items += [good % i, bad]
        text = "[\n" + ",\n".join([*items, good % len(broken)]) + "\n]\n"
        self.file("a.json", text)
        result = self.ingest("a.json", "--type", "x.y", "--record-max", "4k", code=FAILED)
        self.assertEqual([d["n"] for d in self.payloads()], list(range(len(broken) + 1)))
        rejects = self.rejects("a.json.rejects")
        self.assertEqual([r["record"] for r in rejects], [2 * i + 2 for i in range(len(broken))])
        for reject, bad in zip(rejects, broken):
            self.assertTrue(text[reject["byte"]:].startswith(bad.strip()[:4000]), reject)
            self.assertEqual(text[:reject["byte"]].count("\n") + 1, reject["line"])
            self.assertTrue(reject["raw"].startswith(bad.strip()[:4000]), reject)
        self.assertIn("a.json, line 8: ", result.err)

    def test_where_reading_cannot_go_on_it_says_so(self):
        self.file("a.json", '[{"n":0},{"n":[1},{"n":2}]')
        result = self.ingest("a.json", "--type", "x.y", code=FAILED)
        self.assertIn("--resume", result.err)
        self.file("a.json", '[{"n":0},{"n":[1]},{"n":2}]')
        self.ingest("a.json", "--type", "x.y", "--resume")
        self.assertEqual([d["n"] for d in self.payloads()], [0, [1], 2])

    def test_an_input_that_is_cut_off_gives_what_it_has_and_goes_on_after_repair(self):
        objects = [{"n": i, "s": "x" * 20} for i in range(100)]
        for i, (form, text) in enumerate(self.texts(objects).items()):
            bus = f"bus{i}"
            for length in (len(text) // 2, len(text) // 2 + 40, len(text)):
                self.file("a.json", text[:length])
                self.try_beck("ingest", "a.json", "--type", "x.y", "--resume", "--bus", bus)
            self.assertEqual(self.payloads(bus), objects, form)

    @unittest.skipIf(SANITIZED, "sanitizers take more memory than would be missed")
    def test_memory_does_not_depend_on_the_length(self):
        name = os.path.join(self.dir, "big.json")
        with open(name, "w", encoding="utf-8") as file:
            file.write("[")
            for i in range(80000):
                file.write(("," if i else "") + json.dumps({"n": i, "words": ["some words that describe it"] * 25}))
            file.write("]")
        self.assertGreater(os.path.getsize(name), 50 << 20)
        self.assertLess(self.peak_memory(name), 64 << 20)
        self.assertEqual(self.beck("bus", "show", "events", "--json").json[0]["events"], 80000)

    def test_standard_input_is_published_when_it_pauses(self):
        process = self.start("ingest", "-", "--format", "json", "--type", "a.b")
        try:
            process.stdin.write('[\n{"n":\n1},')
            process.stdin.flush()
            while not self.try_beck("log").out:
                time.sleep(0.05)
            self.assertEqual(self.payloads(), [{"n": 1}])
        finally:
            out, err = process.communicate('{"n":2}]', timeout=600)
        self.assertEqual(process.returncode, DONE, err)
        self.assertEqual(self.payloads(), [{"n": 1}, {"n": 2}])


class Csv(IngestTest):
    def test_quotes_line_ends_and_a_byte_order_mark(self):
        self.file("a.csv", b'\xef\xbb\xbfid,name,\r\n1,"x ""q"" y",3\r\n"multi\r\nline",,"a,b"\n\n4,\xc3\xa9,')
        self.ingest("a.csv", "--type", "row.read")
        self.assertEqual(self.payloads(), [{"id": "1", "name": 'x "q" y', "3": "3"},
                                           {"id": "multi\r\nline", "name": "", "3": "a,b"},
                                           {"id": "4", "name": "é", "3": ""}])

    def test_delimiter_quote_and_no_header(self):
        self.file("a.txt", "1;'x;y'\n2;\"z\"\n")
        self.ingest("a.txt", "--format", "csv", "--type", "row.read", "--delimiter", ";", "--quote", "'", "--no-header")
        self.assertEqual(self.payloads(), [{"1": "1", "2": "x;y"}, {"1": "2", "2": '"z"'}])
        self.file("a.tsv", "a\tb\n1\t5\" pipe\n")
        self.ingest("a.tsv", "--type", "row.read", "--quote", "none", "--bus", "tsv")
        self.assertEqual(self.payloads("tsv"), [{"a": "1", "b": '5" pipe'}])

    def test_a_column_that_is_not_there_is_an_error_that_names_those_that_are(self):
        self.file("a.csv", "id,the name\n1,x\n2,\n")
        for option in ("--subject-from", "--type-from", "--id-from", "--time-from"):
            for path in ("nope", "/nope", "/id/nope"):
                result = self.ingest("a.csv", "--type", "x.y", option, path, "--batch", "1", code=NOT_FOUND)
                self.assertIn(f'no column "{path}": the columns are id, the name\n', result.err)
        result = self.ingest("a.csv", "--type", "x.y", "--no-header", "--subject-from", "3", code=NOT_FOUND)
        self.assertIn("the columns are 1, 2\n", result.err)
        self.assertEqual(self.payloads(), [])
        self.ingest("a.csv", "--type", "x.y", "--subject-from", "the name")
        self.assertEqual([e.get("subject") for e in self.events()], ["x", None])

    def test_the_example_of_the_help_works(self):
        self.file("prices.csv", "date;price\n2026-01-31;5\n")
        command = next(line for line in self.beck("help", "ingest").lines if "prices.csv" in line)
        self.beck(*shlex.split(command)[1:])
        self.assertEqual(self.events()[0]["time"], "2026-01-31T00:00:00Z")

    def test_a_stray_quote_costs_one_line(self):
        self.file("a.csv", 'a,b,c\n1,2,3\n4,"5,6\n7,8,9\n"10",11,12\n1,2\n13,1"4,15\n16,"17"x,18\n19,20,\xff\n21,22,23\n'
                  .encode("latin1"))
        self.ingest("a.csv", "--type", "row.read", code=FAILED)
        self.assertEqual([d["a"] for d in self.payloads()], ["1", "7", "10", "21"])
        self.assertEqual([(r["record"], r["line"]) for r in self.rejects("a.csv.rejects")],
                         [(2, 3), (5, 6), (6, 7), (7, 8), (8, 9)])

    def test_a_header_that_cannot_name_columns_is_refused(self):
        self.file("a.csv", "a,b,a\n1,2,3\n")
        self.assertIn('columns 1 and 3 have the same name "a"', self.ingest("a.csv", "--type", "x.y", code=FAILED).err)
        self.file("b.csv", 'a,"b\n1,2\n')
        self.assertIn("header", self.ingest("b.csv", "--type", "x.y", code=FAILED).err)

    def test_utf16_is_explained(self):
        self.file("a.csv", "a,b\n1,2\n".encode("utf-16"))
        self.assertIn("iconv", self.ingest("a.csv", "--type", "x.y", code=FAILED).err)


XML = """<?xml version="1.0"?>
<!-- a comment with <item> in it -->
<catalog date="today">
 <item id="5" x="&lt;"><name>Tea &amp; co</name><tag>a</tag><box/><tag>b</tag><t><a/><a>2</a></t> hi <i>w</i> all </item>
 <group><item id="g">nested</item></group>
 <item/>
 <item>just <![CDATA[<text>]]></item>
 <item id="1"> padded </item>
</catalog>
"""


class Xml(IngestTest):
    def test_elements_become_objects(self):
        self.file("a.xml", XML)
        self.ingest("a.xml", "--type", "item.listed", "--record", "/catalog/item")
        self.assertEqual(self.payloads(), [
            {"@id": "5", "@x": "<", "name": "Tea & co", "tag": ["a", "b"], "box": "", "t": {"a": ["", "2"]}, "i": "w",
             "#text": "hi  all"}, {}, {"#text": "just <text>"}, {"@id": "1", "#text": " padded "}])

    def test_random_elements_are_what_a_second_implementation_makes_of_them(self):
        seed = int(os.environ.get("BECK_TEST_SEED", "1"))
        rng = random.Random(seed)

        def element(depth):
            e = ElementTree.Element(f"e{rng.randrange(30)}", {f"a{i}": rng.choice(["", "x", "<&\"'>"])
                                                             for i in range(rng.choice([0, 0, 0, 1, 3]))})
            texts = ["", "", "  ", "\n ", "word", " two words ", "é&<"]
            e.text = rng.choice(texts)
            for _ in range(rng.choice([0, 0, 1, 2, 5, 20, 60]) if depth < 4 else 0):
                child = element(depth + 1 + rng.randrange(3))
                child.tail = rng.choice(texts)
                e.append(child)
            return e

        def expected(e, top=False):
            text = (e.text or "") + "".join(child.tail or "" for child in e)
            if not top and not e.attrib and not len(e):
                return text
            members = {f"@{name}": value for name, value in e.attrib.items()}
            for child in e:
                members.setdefault(child.tag, []).append(expected(child))
            members = {name: value[0] if isinstance(value, list) and len(value) == 1 else value
                       for name, value in members.items()}
            if text.strip(" \n"):
                members["#text"] = text.strip(" \n") if len(e) else text
            return members

        root = ElementTree.Element("root")
        root.extend(element(0) for _ in range(60))
        self.file("a.xml", ElementTree.tostring(root))
        self.ingest("a.xml", "--type", "x.y")
        for i, (made, e) in enumerate(zip(self.payloads(), root, strict=True)):
            self.assertEqual(made, expected(e, top=True), f"record {i + 1}, seed {seed}")

    def test_the_path_chooses_the_records(self):
        self.file("a.xml", XML)
        for path, count in (("//item", 5), ("/catalog/item", 4), ("/*/*", 5), ("//group/item", 1), ("/catalog", 1),
                            ("/catalog/*/item", 1)):
            bus = f"bus{path.replace('/', '.').replace('*', 'any')}"
            self.ingest("a.xml", "--type", "x.y", "--record", path, "--bus", bus)
            self.assertEqual(len(self.events(bus)), count, path)

    def test_a_path_without_records_is_reported_with_what_there_is(self):
        self.file("a.xml", XML)
        for path in ("/nothing/here", "/item", "/catalog/items", "/catalog/nothing/here", "//nothing"):
            result = self.ingest("a.xml", "--type", "x.y", "--record", path, code=FAILED)
            self.assertRegex(result.err, f"nothing is at --record {path}: the first element .* is /catalog/item\n")
        self.file("a.xml", "<catalog/>")
        self.assertIn("is /catalog\n", self.ingest("a.xml", "--type", "x.y", "--record", "/item", code=FAILED).err)
        self.file("a.xml", "<catalog><items> </items></catalog>")  # nothing to read, but in the right place
        self.ingest("a.xml", "--type", "x.y", "--record", "/catalog/items/item")

    def test_attributes_of_events_come_from_attributes_of_elements(self):
        self.file("a.xml", "<c><o n='7' at='1769869800'><kind>order.new</kind><by><id>S1</id></by></o></c>")
        self.ingest("a.xml", "--type-from", "kind", "--id-from", "@n", "--subject-from", "/by/id", "--time-from", "@at",
                    "--time-format", "unix")
        event = self.events()[0]
        self.assertEqual((event["type"], event["id"], event["subject"], event["time"]),
                         ("order.new", "7", "S1", "2026-01-31T14:30:00Z"))

    def test_encodings(self):
        for encoding in ("utf-8", "utf-16", "iso-8859-1"):
            self.file("a.xml", f'<?xml version="1.0" encoding="{encoding}"?><c><i>é</i></c>'.encode(encoding))
            self.ingest("a.xml", "--type", "x.y", "--bus", encoding)
            self.assertEqual(self.payloads(encoding), [{"#text": "é"}])

    def test_encodings_of_one_byte_a_character(self):
        for encoding, text in (("windows-1251", "Київ ґ"), ("KOI8-R", "Привет"), ("ISO-8859-7", "Ωμέγα"),
                               ("windows-1252", "€ „x“"), ("iso-8859-15", "€ é")):
            words = f'<?xml version="1.0" encoding="{encoding}"?><c><i>{text}</i>\n<i><bad></i>\n<i n="{text}"/></c>'
            self.file("a.xml", words.encode(encoding))
            self.ingest("a.xml", "--type", "x.y", "--bus", encoding, code=FAILED)
            self.assertEqual(self.payloads(encoding), [{"#text": text}, {"@n": text}], encoding)

    def test_other_encodings_are_refused_with_a_command_that_works(self):
        for encoding, text in (("Shift_JIS", "日本"), ("GBK", "北京"), ("EUC-JP", "日本"), ("Big5", "北京")):
            name = self.file(f"{encoding}.xml", f'<?xml version="1.0" encoding="{encoding}"?><c><i>{text}</i></c>'.encode(encoding))
            result = self.ingest(name, "--type", "x.y", code=FAILED)
            command = re.search("as with (iconv .*)$", result.err, re.MULTILINE).group(1)
            command = command.replace("FILE", name).replace("| beck", f"| {PROGRAM}") + f" --type x.y --bus {encoding}"
            subprocess.run(command, shell=True, check=True, cwd=self.dir, env=self.environment(), capture_output=True)
            self.assertEqual(self.payloads(encoding), [{"#text": text}])
        self.file("a.xml", '<?xml version="1.0" encoding="martian"?><c/>')
        self.assertIn("the encoding 'martian'", self.ingest("a.xml", "--type", "x.y", code=FAILED).err)

    def test_a_message_says_where_and_what_to_do(self):
        self.file("a.xml", "<c>\n<i>" + "x" * 5000 + "</i>\n<i><a></i></c>")
        result = self.ingest("a.xml", "--type", "x.y", "--record-max", "1k", code=FAILED)
        self.assertRegex(result.err, r"raise --record-max \(at line 2, byte \d+\)\n")
        self.assertRegex(result.err, r"a.xml, line 3: malformed XML: mismatched tag \(at line 3, byte \d+\)\n")

    def test_reading_goes_on_behind_a_broken_record(self):
        good = "<item id='%d'><name>fine</name></item>\n"
        broken = ["<item><name>broken</item>", "<item id='8><name>x</name></item>", "</bad>", "<item>&undefined;</item>",
                  "<item><name>never closed</name>", "<item>" + "<a>" * 70 + "</a>" * 70 + "</item>",
                  "<item>" + "x" * 5000 + "</item>", "<item a='1' a='2'/>", "<item>\x01</item>", "< item/>"]
        text = "<catalog>\n"
        for i, bad in enumerate(broken):
            text += good % i + bad + "\n"
        self.file("a.xml", text + good % len(broken) + "</catalog>\n")
        self.ingest("a.xml", "--type", "x.y", "--record", "/catalog/item", "--record-max", "4k", code=FAILED)
        self.assertEqual([d["@id"] for d in self.payloads()], [str(i) for i in range(len(broken) + 1)])
        rejects = self.rejects("a.xml.rejects")
        self.assertEqual([r["line"] for r in rejects], [3 + 2 * i for i in range(len(broken))])
        for reject, bad in zip(rejects, broken):
            self.assertTrue(reject["raw"].startswith(bad[:4000]) or bad.startswith("<item><name>never"), reject)

    def test_a_document_that_is_cut_off_gives_what_it_has_and_goes_on_after_repair(self):
        whole = "<c>" + "".join(f"<i n='{i}'/>" for i in range(100)) + "</c>"
        self.file("a.xml", whole[:500])
        self.ingest("a.xml", "--type", "x.y", code=FAILED)
        self.assertLess(len(self.payloads()), 100)
        self.file("a.xml", whole)
        self.ingest("a.xml", "--type", "x.y", "--resume")
        self.assertEqual([int(d["@n"]) for d in self.payloads()], list(range(100)))

    def test_where_reading_cannot_go_on_it_says_so(self):
        self.file("a.xml", '<!DOCTYPE c [<!ENTITY e "expanded">]><c><i>&e;</i><i>&f;</i><i/></c>')
        result = self.ingest("a.xml", "--type", "x.y", code=FAILED)
        self.assertIn("line 1, byte ", result.err)
        self.assertIn("--resume", result.err)
        self.assertEqual(self.payloads(), [{"#text": "expanded"}])

    def test_an_empty_file_is_no_document(self):
        self.file("a.xml", "")
        self.assertIn("no element found", self.ingest("a.xml", "--type", "x.y", code=FAILED).err)
        self.file("a.xml", "<c/>")
        self.ingest("a.xml", "--type", "x.y")

    def test_entities_that_multiply_are_refused(self):
        entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))
        self.file("a.xml", f'<!DOCTYPE c [<!ENTITY e0 "lol">{entities}]><c><i>&e9;</i></c>')
        self.ingest("a.xml", "--type", "x.y", code=FAILED)

    @unittest.skipIf(SANITIZED, "sanitizers take more memory than would be missed")
    def test_memory_does_not_depend_on_the_length(self):
        name = os.path.join(self.dir, "big.xml")
        item = "<item id='%d'><name>Product</name>" + "<word>some words that describe it</word>" * 20 + "</item>\n"
        with open(name, "w", encoding="utf-8") as file:
            file.write("<catalog>\n")
            for i in range(80000):
                file.write(item % i)
            file.write("<item><name>" + "x" * (3 << 20) + "</name></item></catalog>\n")
        self.assertGreater(os.path.getsize(name), 64 << 20)
        self.beck("bus", "create", "events", "--event-size-max", "4m")
        self.assertLess(self.peak_memory(name), 64 << 20)
        self.assertEqual(self.beck("bus", "show", "events", "--json").json[0]["events"], 80001)


class Options(IngestTest):
    def test_what_is_ingested_again_as_new_is_told(self):
        self.file("a.json", '[{"n":0},{"n":1}]')
        self.assertNotIn("already", self.ingest("a.json", "--type", "x.y").err)
        self.assertIn("'a.json' is in bus 'events' already", self.ingest("a.json", "--type", "x.y").err)
        for quiet in ("--quiet", "--json", "--resume"):
            self.assertNotIn("is in bus 'events' already", self.ingest("a.json", "--type", "x.y", quiet).err)
        self.file("b.json", '[{"n":0},{"n":2}]')
        self.assertNotIn("already", self.ingest("b.json", "--type", "x.y").err)

    def test_mistakes_are_found_before_anything_is_done(self):
        self.file("a.csv", "a\n1\n")
        self.file("a.dat", "a\n1\n")
        for args, says in ((["a.csv"], "--type"), (["a.dat", "--type", "x.y"], "--format"),
                           (["a.csv", "--type", "x..y"], "type"), (["a.csv", "--type", "x.y", "--record", "/a"], "for xml"),
                           (["a.csv", "--type", "x.y", "--delimiter", "ab"], "delimiter"),
                           (["a.csv", "--type", "x.y", "--format", "xml", "--record", "a"], "slash"),
                           (["-", "--format", "csv", "--type", "x.y", "--resume"], "--source"),
                           (["a.gz", "--type", "x.y"], "zcat"), ([".", "--format", "csv", "--type", "x.y"], "directory")):
            self.refused(USAGE, "ingest", *args, says=says)
        self.refused(NOT_FOUND, "ingest", "none.csv", "--type", "x.y", says="none.csv")
        self.assert_untouched()

    def test_a_dry_run_shows_events_and_publishes_nothing(self):
        self.file("a.csv", "a\n1\n2\n3\n4\n\"x\n")
        result = self.ingest("a.csv", "--type", "x.y", "--dry-run", code=FAILED)
        self.assertEqual([e["data"] for e in result.json], [{"a": "1"}, {"a": "2"}, {"a": "3"}])
        self.assertIn("4 records would be published", result.err)
        self.assert_untouched()
        self.assertEqual(self.read("a.csv.rejects"), [])

    def test_limit_and_summary(self):
        self.file("a.csv", "a\n1\n2\n3\n4\n")
        summary = self.ingest("a.csv", "--type", "x.y", "--limit", "3", "--json").json[0]
        self.assertEqual((summary["published"], summary["rejected"], summary["last_record"]), (3, 0, 3))
        summary = self.ingest("a.csv", "--type", "x.y", "--resume", "--json").json[0]
        self.assertEqual((summary["published"], summary["skipped"]), (1, 3))

    def test_too_many_malformed_records_end_it(self):
        self.file("a.csv", "a,b\n" + "1\n" * 100)
        result = self.ingest("a.csv", "--type", "x.y", "--max-rejects", "20", code=FAILED)
        self.assertIn("more than 20", result.err)
        self.assertEqual(len(self.rejects("a.csv.rejects")), 21)
        self.assertEqual(result.err.count("a.csv, line"), 10)

    def test_malformed_records_of_standard_input_are_put_aside(self):
        for text in ('{"a":1}\n{"a":\n', '{"a":2}\nnone\n'):
            result = self.ingest("-", "--format", "ndjson", "--type", "x.y", code=FAILED, stdin=text)
            name = re.search(r"1 malformed, put aside in (stdin-[0-9a-f]{16}\.rejects)\n", result.err).group(1)
            self.assertEqual([r["raw"] for r in self.rejects(name)], [text.splitlines()[1]])
        self.assertEqual(len([name for name in os.listdir(self.dir) if name.endswith(".rejects")]), 2)
        os.mkfifo(os.path.join(self.dir, "fifo"))
        process = self.start("ingest", "fifo", "--format", "csv", "--type", "x.y")
        with open(os.path.join(self.dir, "fifo"), "w", encoding="utf-8") as pipe:
            pipe.write("a,b\n1\n")
        _, err = process.communicate(timeout=600)
        self.assertRegex(err, r"put aside in stdin-[0-9a-f]{16}\.rejects")

    def test_rejects_of_an_earlier_run_are_replaced_and_other_files_are_not(self):
        self.file("a.csv", "a,b\n1\n")
        for _ in range(2):
            self.ingest("a.csv", "--type", "x.y", "--rejects", "r", code=FAILED)
            self.assertEqual(len(self.rejects("r")), 1)
        self.ingest("a.csv", "--type", "x.y", "--rejects", "r", "--resume", code=FAILED)
        self.assertEqual(len(self.rejects("r")), 1)
        self.file("precious", "mine")
        self.refused(EXISTS, "ingest", "a.csv", "--type", "x.y", "--rejects", "precious", says="precious")
        self.assertEqual(self.read("precious"), ["mine"])


class Resume(IngestTest):
    def numbers(self, *args):
        return [int(d["n"]) for d in self.payloads(*args)]

    def test_nothing_is_left_after_a_whole_run(self):
        self.file("a.ndjson", "".join(f'{{"n":{i}}}\n' for i in range(1000)))
        self.ingest("a.ndjson", "--type", "x.y")
        self.ingest("a.ndjson", "--type", "x.y", "--resume")
        self.assertEqual(self.numbers(), list(range(1000)))

    def test_what_it_steps_over_is_not_all_called_published(self):
        self.file("a.ndjson", '{"n":1}\n{"n":2}\n{"n":\n{"n":4}\n{"n":5}\n')
        self.ingest("a.ndjson", "--type", "x.y", code=FAILED)
        result = self.ingest("a.ndjson", "--type", "x.y", "--resume")
        self.assertIn("5 stepped over: published, or found malformed, by an earlier run", result.err)

    def test_events_of_others_in_between_do_not_matter(self):
        self.file("a.ndjson", "".join(f'{{"n":{i}}}\n' for i in range(100)))
        self.ingest("a.ndjson", "--type", "x.y", "--limit", "50")
        self.emit(2000)
        self.ingest("a.ndjson", "--type", "x.y", "--resume")
        self.assertEqual(self.numbers("--type", "x.y"), list(range(100)))

    def test_a_file_that_grew_gives_its_new_records(self):
        for count in (10, 20, 35):
            self.file("a.ndjson", "".join(f'{{"n":{i}}}\n' for i in range(count)))
            self.ingest("a.ndjson", "--type", "x.y", "--resume")
            self.assertEqual(self.numbers(), list(range(count)))

    def test_another_file_of_the_same_name_is_noticed(self):
        self.file("a.ndjson", "".join(f'{{"n":{i}}}\n' for i in range(10)))
        self.ingest("a.ndjson", "--type", "x.y")
        self.file("a.ndjson", "".join(f'{{"n":{i + 5}}}\n' for i in range(20)))
        self.assertIn("is not the one", self.ingest("a.ndjson", "--type", "x.y", "--resume", code=FAILED).err)
        self.file("a.ndjson", '{"n":0}\n')
        self.assertIn("is not the input", self.ingest("a.ndjson", "--type", "x.y", "--resume", code=FAILED).err)
        self.assertEqual(self.numbers(), list(range(10)))

    def test_events_with_ids_and_sources_of_their_own(self):
        self.file("a.ndjson", "".join(
            json.dumps({"specversion": "1.0", "type": "x.y", "source": f"/s{i % 3}", "id": f"i{i}", "data": {"n": i}}) +
            f'\n{{"n":{i},"id":"own{i}"}}\n' for i in range(50)))
        for _ in range(8):
            self.ingest("a.ndjson", "--type", "x.y", "--id-from", "id", "--resume", "--limit", "13")
        self.assertEqual(self.numbers(), [i // 2 for i in range(100)])
        self.assertEqual(self.events()[0]["ingestsource"][:7], "file://")

    def make_input(self, kind, count):
        """A file with malformed records here and there; returns its name, options, and the numbers of good records."""
        good = [i for i in range(count) if i % 97 != 50]
        if kind == "ndjson":
            text = "".join(f'{{"n":{i},"s":"s{i % 10}"}}\n' if i % 97 != 50 else "{broken\n" for i in range(count))
        elif kind == "csv":
            text = "n,s\n" + "".join(f'{i},"s{i % 10}"\n' if i % 97 != 50 else f'{i},"a"b\n' for i in range(count))
        elif kind == "json":
            text = "[\n" + ",\n".join(f' {{"n":{i},\n  "s":"s{i % 10}"}}' if i % 97 != 50 else ' {"n":[1}' for i in range(count)) + "]"
        else:
            text = "<c>" + "".join(f"<i><n>{i}</n><s>s{i % 10}</s></i>\n" if i % 97 != 50 else "<i><n></i>\n"
                                   for i in range(count)) + "</c>"
        self.file(f"a.{kind}", text)
        return f"a.{kind}", good

    def kill_and_resume(self, kind, partitions, seed, count=10000 if SANITIZED else 30000):
        rng = random.Random(seed)
        name, good = self.make_input(kind, count)
        bus = f"{kind}{partitions}"
        self.beck("bus", "create", bus, "--partitions", str(partitions))
        args = ["ingest", name, "--type", "x.y", "--bus", bus, "--resume", "-q", "--batch", "100",
                "--subject-from", "s"][:None if rng.random() < 0.5 else -2]
        kills = 0
        for _ in range(40):
            process = subprocess.Popen([PROGRAM, *args], cwd=self.dir, env=self.environment(), stderr=subprocess.PIPE)
            try:
                _, err = process.communicate(timeout=rng.uniform(0.005, 0.08))
                self.assertIn(process.returncode, (DONE, FAILED), err)  # malformed ones may be of an earlier run
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
        else:
            self.assertIn(self.try_beck(*args).code, (DONE, FAILED))
        numbers = self.numbers(bus)
        message = f"seed {seed}, {kills} kills"
        self.assertEqual(len(numbers), len(good), message)
        self.assertEqual(sorted(numbers), good, message)
        if partitions == 1:
            self.assertEqual(numbers, good, message)
        rejects = self.rejects(f"{name}.rejects")
        self.assertEqual([r["line"] for r in rejects], sorted(set(r["line"] for r in rejects)), message)
        self.assertEqual(len(rejects), count - len(good), message)

    def test_what_a_batch_over_several_partitions_left_out_is_filled_in(self):
        seed = int(os.environ.get("BECK_TEST_SEED", "1"))
        rng = random.Random(seed)
        self.file("a.ndjson", "".join(f'{{"n":{i},"s":"s{i % 10}"}}\n' for i in range(5000)))
        args = ["a.ndjson", "--type", "x.y", "--subject-from", "s"]
        self.ingest(*args, "--bus", "whole")
        lines = self.beck("log", "whole").lines[:3000]
        for partitions in (2, 7):
            bus = f"torn{partitions}"
            self.beck("bus", "create", bus, "--partitions", str(partitions))
            there = lines[:2000] + [line for line in lines[2000:] if rng.random() < 0.5]
            self.beck("emit", "--json-lines", "--bus", bus, stdin="\n".join(there))
            self.ingest(*args, "--bus", bus, "--resume", "--limit", "700")
            self.ingest(*args, "--bus", bus, "--resume")
            self.assertEqual(sorted(self.numbers(bus)), list(range(5000)), f"seed {seed}")

    def test_each_record_is_there_once_after_kills(self):
        for seed, (kind, partitions) in enumerate((k, p) for k in ("ndjson", "csv", "xml", "json") for p in (1, 4)):
            with self.subTest(kind=kind, partitions=partitions):
                self.kill_and_resume(kind, partitions, int(os.environ.get("BECK_TEST_SEED", "1")) * 100 + seed)

    def test_a_signal_ends_it_in_order(self):
        fifo = os.path.join(self.dir, "fifo")
        os.mkfifo(fifo)
        process = self.start("ingest", "fifo", "--format", "ndjson", "--type", "x.y")
        with open(fifo, "w", encoding="utf-8") as pipe:
            for i in range(20000):
                pipe.write(f'{{"n":{i}}}\n')
            pipe.flush()
            interrupt(process)
            _, err = process.communicate(timeout=600)
        self.assertEqual(process.returncode, INTERRUPTED, err)
        numbers = self.numbers()
        self.assertEqual(numbers, list(range(len(numbers))))


if __name__ == "__main__":
    main()
