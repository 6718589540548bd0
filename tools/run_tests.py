#!/usr/bin/env python3
"""Runs all tests: as built for use, with the address and undefined behaviour sanitizers, and with the thread sanitizer those
suites that share state between threads. Ends with `N passed, N failed, N skipped`, summed over the runs.

usage: run_tests.py [plain|address|thread|kafka ...]    default: the first three. kafka: all judges of Kafka, also those that take long
"""
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Warnings depend on the compiler and on what is instrumented: they are errors in `make check`, and not here.
COMMON = ["-Ddebug=true", "-Dwerror=false"]

# What a sanitizer finds does not depend on the optimizer; -O1 with line numbers alone is built in half the time.
SANITIZED = ["--buildtype=debugoptimized", "-Doptimization=1", "-Dc_args=-g1", "-Dcpp_args=-g1"]

# How long a test may take is there to end what hangs: on a machine that others use as well, one that computes for nine seconds took 300.
PATIENT = ["--timeout-multiplier", "4"]

# name -> build folder, options of meson setup, options of meson test
RUNS = {
    "plain": ("build", ["--buildtype=release"], ["--no-suite", "kafka-check", *PATIENT]),
    # Kafka's tool reads the same files again; the tree, the API's descriptions, webhooks' signers and what Prometheus is given
    # are checked once.
    "address": ("build-address", [*SANITIZED, "-Db_sanitize=address,undefined"],
                ["--no-suite", "kafka-tools", "--no-suite", "kafka-clients", "--no-suite", "kafka-check", "--no-suite", "tree", "--no-suite", "api-documents", "--no-suite", "signers",
                 "--no-suite", "promtool", "--no-suite", "amqp-clients", "--no-suite", "management", *PATIENT]),
    "thread": ("build-thread", [*SANITIZED, "-Db_sanitize=thread"],
               ["--suite", "base", "--suite", "log", "--suite", "bus", "--suite", "queue", "--suite", "link", "--suite", "api", "--suite", "access", "--suite", "net",
                "--suite", "process", "--suite", "hook", "--suite", "remote", "--suite", "wire", "--suite", "server", "--suite", "examples",
                "--suite", "broker", "--suite", "amqp", "--suite", "kafka",
                "--no-suite", "alone", "--no-suite", "signers", "--no-suite", "api-documents", *PATIENT]),
    "kafka": ("build", ["--buildtype=release"], ["--suite", "kafka-clients", "--suite", "kafka-check"]),
}
DEFAULT = ["plain", "address", "thread"]


# Undefined behaviour ends the program, so that the test fails.
SANITIZERS = {"UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1", "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1"}

LAST_LINES = 12  # shown of a failed test


def configure(folder, options):
    if (folder / "build.ninja").exists():
        return True
    return subprocess.run(["meson", "setup", *options, *COMMON, str(folder)], cwd=ROOT, check=False,
                          stdout=subprocess.DEVNULL).returncode == 0


# script, folder, what it fetches, suite that is skipped without it
FETCHED = [
    ("fetch_kafka.sh", "kafka", "Kafka's tools", "kafka-tools"),
    ("fetch_kafka_debian.sh", "kafka-debian", "Clients of Kafka that Debian has", "kafka-clients"),
    ("fetch_kafka_python.sh", "kafka-python", "Clients of Kafka for Python", "kafka-clients"),
    ("fetch_kafka_node.sh", "kafka-node", "Clients of Kafka for Node.js", "kafka-clients"),
    ("fetch_kafka_go.sh", "kafka-go", "Clients of Kafka for Go", "kafka-clients"),
    ("fetch_kafka_go_tests.sh", "kafka-go-tests", "The tests of Kafka's clients for Go", "kafka-check"),
    ("fetch_kafka_librdkafka.sh", "kafka-librdkafka", "librdkafka and its tests", "kafka-check"),
    ("fetch_kafka_rdkafka_node.sh", "kafka-rdkafka-node", "node-rdkafka and its tests", "kafka-check"),
    ("fetch_api_validators.sh", "api-validators", "What checks the API's descriptions", "api-documents"),
    ("fetch_signers.sh", "signers", "The libraries of webhook providers", "signers"),
    ("fetch_promtool.sh", "promtool", "Prometheus' promtool", "promtool"),
    ("fetch_amqp_python.sh", "amqp-python", "pika and Celery", "amqp"),
    ("fetch_amqp_node.sh", "amqp-node", "amqplib and its tests", "amqp-clients"),
    ("fetch_amqp_go.sh", "amqp-go", "amqp091-go and its tests", "amqp-clients"),
    ("fetch_amqp_debian.sh", "amqp-debian", "Clients of AMQP that Debian has", "amqp-clients"),
    ("fetch_rabbitmqadmin.sh", "rabbitmqadmin", "rabbitmqadmin", "management"),
    ("fetch_rabbit_hole.sh", "rabbit-hole", "rabbit-hole and its tests", "management"),
]


def fetch(folder, options):
    """Tests are skipped without what they need from outside; so that does not go unseen, this says so."""
    left_out = [suite for option, suite in zip(options, options[1:]) if option == "--no-suite"]
    for script, name, what, suite in FETCHED:
        wanted = suite.startswith("kafka") if "--suite" in options else suite not in left_out
        if wanted and subprocess.run([f"tools/{script}", str(folder / name)], cwd=ROOT, check=False).returncode:
            print(f"{what} could not be fetched: the tests of suite {suite} are skipped", flush=True)


def borrow(folder):
    """What was fetched for the first run serves the others."""
    for _, name, _, _ in FETCHED:
        fetched = ROOT / RUNS["plain"][0] / name
        if fetched.exists() and not (folder / name).exists():
            (folder / name).symlink_to(fetched)


def count(run_name, log):
    passed = skipped = 0
    failures = []
    with open(log, encoding="utf-8") as file:
        for line in file:
            test = json.loads(line)
            if test["result"] in ("OK", "EXPECTEDFAIL"):
                passed += 1
            elif test["result"] == "SKIP":
                skipped += 1
            else:
                said = (test.get("stdout") or "") + (test.get("stderr") or "")
                failures.append((f"{run_name}: {test['name']}: {test['result']}", said.splitlines()))
    return passed, failures, skipped


def run(name):
    folder, setup, options = RUNS[name]
    folder = ROOT / folder
    print(f"\n== {name}: building in {folder.name}/", flush=True)
    began = time.monotonic()
    if not configure(folder, setup):
        print(f"{folder.name}/ cannot be configured", flush=True)
        return 0, [(f"{name}: meson setup", [])], 0
    if name in ("plain", "kafka"):
        fetch(folder, options)
    else:
        borrow(folder)
    log = folder / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    status = subprocess.run(["meson", "test", "-C", str(folder), "--num-processes", "2", "--print-errorlogs", *options],
                            cwd=ROOT, check=False, env={**os.environ, **SANITIZERS}).returncode
    if not log.exists():
        print(f"{folder.name}/ cannot be built", flush=True)
        return 0, [(f"{name}: ninja", [])], 0
    passed, failures, skipped = count(name, log)
    print(f"== {name}: {passed} passed, {len(failures)} failed, {skipped} skipped in {time.monotonic() - began:.0f} s", flush=True)
    if status and not failures:
        failures = [(f"{name}: meson test: exit status {status}", [])]
    return passed, failures, skipped


def main():
    names = sys.argv[1:] or DEFAULT
    for name in names:
        if name not in RUNS:
            sys.exit(f"run_tests.py: no run '{name}': there are {', '.join(RUNS)}")
    passed, failures, skipped = 0, [], 0
    for name in names:
        more_passed, more_failures, more_skipped = run(name)
        passed += more_passed
        failures += more_failures
        skipped += more_skipped
    # Once more at the end, where a log that was cut still has it.
    for title, said in failures:
        print(f"\n-- {title}", *said[-LAST_LINES:], sep="\n")
    print(f"\n{passed} passed, {len(failures)} failed, {skipped} skipped")
    return 1 if failures or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
