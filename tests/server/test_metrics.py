"""Metrics are as Prometheus wants them, and are what the documentation, the dashboard and the alerts say.

usage: test_metrics.py <beck program> [directory of tools/fetch_promtool.sh]

With a directory Prometheus' own checker looks at the metrics and at the alerts, instead of the rest. Without promtool in it (or in the path)
that is skipped, but fails when the environment has CI set.
"""
import json
import os
import re
import shutil
import subprocess
import sys

PROMTOOL = None
if len(sys.argv) > 2:
    directory = sys.argv.pop(2)
    PROMTOOL = shutil.which("promtool", path=directory) or shutil.which("promtool")
    if not PROMTOOL:
        print(f"no promtool in '{directory}'; run tools/fetch_promtool.sh <directory>")
        sys.exit(1 if os.environ.get("CI") else 77)
    PROMTOOL = os.path.abspath(PROMTOOL)

from server import main  # noqa: E402
from traffic import TrafficTest  # noqa: E402

DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs")
SUFFIXES = ("_bucket", "_sum", "_count")
# Labels that Prometheus adds, and a series that it makes of each target.
SCRAPED_LABELS, SCRAPED = {"job", "instance"}, "up"

SERIES = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\n"])*",?)*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


class Family:
    def __init__(self, name, text):
        self.name, self.help, self.kind = name, text, None
        self.series = {}  # labels -> value
        self.labels = None


def parse(text):
    """name -> Family. What is against the rules of the text format is an error."""
    families, family = {}, None
    assert text.endswith("\n")
    for line in text.splitlines():
        if match := re.match(r"# HELP (\S+) (.+)$", line):
            assert match[1] not in families, f"{match[1]} stands in two places"
            family = families[match[1]] = Family(match[1], match[2])
        elif match := re.match(r"# TYPE (\S+) (counter|gauge|histogram)$", line):
            assert family and match[1] == family.name and not family.kind and not family.series, line
            family.kind = match[2]
        else:
            match = SERIES.match(line)
            assert match and family and family.kind, line
            name, labels = match[1], LABEL.findall(match[2] or "")
            expected = [family.name + s for s in SUFFIXES] if family.kind == "histogram" else [family.name]
            assert name in expected, f"{line} is in the family {family.name}"
            keys = [key for key, _ in labels]
            assert len(set(keys)) == len(keys) and (name, *labels) not in family.series, line
            family.series[name, *labels] = float(match[3])
            own = [key for key in keys if key != "le"]
            assert family.labels in (None, own), line
            family.labels = own
    return families


def check_names(family):
    """The rules of https://prometheus.io/docs/practices/naming that a program can check."""
    name = family.name
    assert re.fullmatch(r"(beck|process)(_[a-z]+)+", name), name
    assert name.endswith("_total") == (family.kind == "counter"), name
    assert not name.endswith(SUFFIXES), name
    assert not set(name.split("_")) & {"counter", "gauge", "histogram", "ms", "us", "ns", "milliseconds", "kilobytes", "mib", "percent"}, name
    assert len(family.help) > 5, name
    for label in family.labels or []:
        assert label not in {"le", "quantile", "job", "instance"}, name


def check_histogram(family):
    """Buckets are cumulative, in order, and end with +Inf, which is the count."""
    groups = {}
    for (name, *labels), value in family.series.items():
        own = tuple(pair for pair in labels if pair[0] != "le")
        group = groups.setdefault(own, {"buckets": []})
        if name.endswith("_bucket"):
            group["buckets"].append((float(dict(labels)["le"]), value))
        else:
            group[name[len(family.name):]] = value
    for own, group in groups.items():
        buckets = group["buckets"]
        assert buckets == sorted(buckets) and [v for _, v in buckets] == sorted(v for _, v in buckets), own
        assert buckets[-1] == (float("inf"), group["_count"]) and "_sum" in group, own


def read(name):
    with open(os.path.join(DOCS, name), encoding="utf-8") as file:
        return file.read()


def documented():
    """name -> (kind, labels)"""
    rows = re.findall(r"^\| `(\w+)` \| (counter|gauge|histogram) \| ([\w, ]*) \| .+ \|$", read("monitoring.md"), re.M)
    names = [name for name, _, _ in rows]
    assert len(names) == len(set(names)), names
    return {name: (kind, re.findall(r"\w+", labels)) for name, kind, labels in rows}


def expressions():
    """(where, PromQL) of the dashboard and the alerts."""
    dashboard = json.loads(read("grafana-dashboard.json"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield "panel " + panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield "variable " + variable["name"], re.fullmatch(r"label_values\((.*), \w+\)", variable["query"]["query"])[1]
    for alert in re.split(r"^ +- alert: ", read("alerts.yaml"), flags=re.M)[1:]:
        name, rest = alert.split("\n", 1)
        yield "alert " + name, re.search(r"expr: \|?((?:.*\n)+?) +(?:for|labels):", rest)[1]


def used(expression):
    """(name, labels) of each metric in an expression."""
    selector = r"\b(beck_\w+|process_\w+|up)\b(?:\{([^}]*)\})?"
    for name, labels in re.findall(selector, expression):
        yield name, re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', "", labels))


class MetricsTest(TrafficTest):
    def test_the_text_is_as_prometheus_wants_it(self):
        families = parse(self.metrics(self.serve_traffic()))
        self.assertGreater(len(families), 30)
        for family in families.values():
            check_names(family)
            if family.kind == "histogram":
                check_histogram(family)
        failed = families["beck_queue_failed_total"].series
        self.assertEqual(sorted(dict(labels)["type"] for _, *labels in failed), ["order.odd\u00e9", "order.paid"])

    def test_nothing_is_shown_of_what_nobody_asked_for(self):
        address = self.start().address()
        text = self.metrics(address)
        self.assertLess(len(text.splitlines()), 200)
        self.assertNotIn("beck_http_requests_total{", text)
        self.wait_for_metric(address, 'beck_http_requests_total{route="metrics",code="2xx"} ')

    def test_all_metrics_are_documented(self):
        families = parse(self.metrics(self.serve_traffic()))
        shown = {family.name: (family.kind, family.labels or []) for family in families.values()}
        self.assertEqual(documented(), shown)

    def test_dashboard_and_alerts_use_what_there_is(self):
        known = documented()
        seen = set()
        for where, expression in expressions():
            metrics = list(used(expression))
            self.assertTrue(metrics, where)
            for name, labels in metrics:
                if name == SCRAPED:
                    continue
                family = re.sub("(_bucket|_sum|_count)$", "", name)
                family = family if known.get(family, ("",))[0] == "histogram" else name
                self.assertIn(family, known, where)
                self.assertLessEqual(set(labels), set(known[family][1]) | SCRAPED_LABELS, where)
                seen.add(family)
        self.assertEqual(set(known) - seen, set())

    def test_the_dashboard_can_be_imported(self):
        dashboard = json.loads(read("grafana-dashboard.json"))
        panels = dashboard["panels"]
        ids = [panel["id"] for panel in panels]
        self.assertEqual(len(set(ids)), len(ids))
        cells = set()
        for panel in panels:
            place = panel["gridPos"]
            own = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            self.assertFalse(own & cells, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            cells |= own
        self.assertLessEqual({"datasource", "instance", "bus", "queue"}, {v["name"] for v in dashboard["templating"]["list"]})
        rows = [panel["title"] for panel in panels if panel["type"] == "row"]
        self.assertEqual(rows, ["Now", "Buses", "Queues", "Deliveries and failures", "Disk and sync", "HTTP", "AMQP", "Kafka", "Webhooks", "Process"])


class PromtoolTest(TrafficTest):
    def promtool(self, *args, text=None):
        done = subprocess.run([PROMTOOL, *args], input=text, capture_output=True, encoding="utf-8", check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)

    def test_metrics(self):
        self.promtool("check", "metrics", text=self.metrics(self.serve_traffic()))

    def test_alerts(self):
        self.promtool("check", "rules", os.path.join(DOCS, "alerts.yaml"))

    def test_alerts_come_when_they_should(self):
        self.promtool("test", "rules", os.path.join(os.path.dirname(os.path.abspath(__file__)), "alerts_test.yaml"))


# Of the two only one is run.
if PROMTOOL:
    del MetricsTest
else:
    del PromtoolTest
del TrafficTest

main()
