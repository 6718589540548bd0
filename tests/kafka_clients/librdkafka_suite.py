"""librdkafka's own test suite, unchanged: every test that wants a broker. Those against its mock broker are about librdkafka alone.

SOURCE: the folder in which tools/fetch_kafka_librdkafka.sh has built it. SUITE: `quick` runs it in its quick mode without the tests that
stand in LONG, `full` runs the whole, `noautocreate` those that want topics not to be made by themselves. LEFT_OUT: numbers of tests that are not run.
LOGIN_BROKER: a broker that demands a login. JARS: for the few tests that call Kafka's scripts.
"""
import os
import re
import subprocess
import sys
import tempfile

from cases import BROKER

TESTS = os.path.join(os.environ["SOURCE"], "tests")
VERSION = "3.4.0"  # of Kafka, as far as librdkafka 2.0.2 distinguishes them
AT_ONCE = 5
# They take more than 15 s each, because of the times that they wait for.
LONG = ["0026", "0033", "0038", "0052", "0055", "0061", "0068", "0069", "0076", "0077", "0081", "0084", "0086", "0088", "0091", "0093", "0094", "0102", "0103",
        "0113", "0114"]
# Each has a process to itself, after the others, and several tries. All but 0076 fail now and then with Apache Kafka 4.3 as well:
# 0055 measures how long requests take, which its authors leave out where the machine is busy; 0076 closes a socket that the library uses, whose number goes to one of another test, which is closed then as well; 0083
# wants its consumer to be woken once in a second; 0086 wants requests to be in flight still when it purges them; 0102 relies on a member not getting its assignment before the other one has joined again.
TRIES = 5
ALONE = ["0055", "0076", "0083", "0086", "0102"]
LATENCY = {"0102": "20"}  # ms on every request: as if the server were elsewhere
# They make rules of access, for which there must be users; or deny a topic to everybody, unless they have to log in; or log in with other names.
WITH_LOGIN = ["0081", "0109", "0135"]
LOGIN = "security.protocol=sasl_plaintext\nsasl.mechanisms=PLAIN\nsasl.username=adminplain\nsasl.password=admin-secret\n"
NOT_ASKED_FOR = re.compile("Filtered due to negative test fla|included in TESTS_SKIP|quick mode|scenario")
SCRIPTS = {"kafka-topics.sh": "org.apache.kafka.tools.TopicCommand", "kafka-acls.sh": "org.apache.kafka.tools.AclCommand",
           "kafka-configs.sh": "kafka.admin.ConfigCommand"}


def scripts(folder, jars):
    """What a distribution of Kafka has in bin/: the jars come without it."""
    os.mkdir(os.path.join(folder, "bin"))
    for name, tool in SCRIPTS.items():
        path = os.path.join(folder, "bin", name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\nexec java -XX:TieredStopAtLevel=1 -cp "{jars}/*" {tool} "$@"\n')
        os.chmod(path, 0o755)


def results(text):
    """name -> (result, why), from the table at the end."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    found = re.findall(r"^\| (\d{4}_\w+) *\| +(\w+) \| +([\d.]+)s \| *(.*?) *\|? *$", plain, re.MULTILINE)
    return {name: (result, float(took), why) for name, result, took, why in found}


def run_tests(folder, chosen, left_out, at_once):
    """Of one process, which is what they share. chosen: a test, or '' for all that are not left out. Its end, what it printed."""
    extent, conf = os.environ["SUITE"], os.path.join(folder, "test.conf")
    login = os.environ.get("LOGIN_BROKER") if chosen in WITH_LOGIN else None
    with open(conf, "w", encoding="utf-8") as file:
        file.write(f"bootstrap.servers={login or BROKER}\ntest.timeout.multiplier=3\n{LOGIN if login else ''}")
    environment = {**os.environ, "RDKAFKA_TEST_CONF": conf, "TEST_KAFKA_VERSION": VERSION, "TEST_LEVEL": "1",
                   "TESTS_SKIP": ",".join(left_out), "KAFKA_PATH": folder, "BROKERS": login or BROKER,
                   "LD_LIBRARY_PATH": "../src:../src-cpp", **({"TESTS": chosen} if chosen else {}),
                   **({"TEST_SOCKEM": f"delay={LATENCY[chosen]}"} if chosen in LATENCY else {})}
    more = {"quick": ["-Q"], "noautocreate": ["-s", "noautocreate"]}.get(extent, [])
    with open(os.path.join(folder, "log"), "w+", encoding="utf-8", errors="replace") as file:
        # By lines: when a test fails the program is aborted at its end, without what it has not written yet.
        code = subprocess.run(["stdbuf", "-oL", "./test-runner", "-L", f"-p{at_once}", *more], cwd=TESTS, env=environment, check=False,
                              stdin=subprocess.DEVNULL, stdout=file, stderr=file).returncode
        file.seek(0)
        return code, file.read()


def main():
    left_out, extent = os.environ.get("LEFT_OUT", "").splitlines(), os.environ["SUITE"]
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    by_themselves = ALONE + (WITH_LOGIN if "LOGIN_BROKER" in os.environ else [])
    alone = [] if word or extent == "noautocreate" else [test for test in by_themselves if test not in left_out]
    if extent == "quick" and not word:
        left_out, alone = left_out + LONG, [test for test in alone if test not in LONG]
    counts, failed = {"PASSED": 0, "FAILED": 0, "SKIPPED": 0}, False
    with tempfile.TemporaryDirectory(prefix="librdkafka-") as folder:
        scripts(folder, os.environ["JARS"])
        for chosen in [word, *alone]:
            for _ in range(TRIES if chosen in ALONE and not word else 1):
                code, text = run_tests(folder, chosen, left_out + ([] if chosen else alone), 1 if chosen else AT_ONCE)
                if not code:
                    break
                print(f"'{chosen}' ended with {code}", flush=True)
            found = results(text)
            for name, (result, took, why) in sorted(found.items()):
                if result == "SKIPPED" and NOT_ASKED_FOR.search(why):
                    continue
                counts[result if result in counts else "FAILED"] += 1
                print(f"{'ok' if result == 'PASSED' else result} {name}{': ' + why if why else ''} ({took:.0f} s)", flush=True)
            if code or not found:
                failed = True
                print(text[-6000:], flush=True)
    print(f"{counts['PASSED']} passed, {counts['FAILED']} failed, {counts['SKIPPED']} skipped")
    return 1 if failed or counts["FAILED"] or not counts["PASSED"] else 0


if __name__ == "__main__":
    sys.exit(main())
