"""A bus moves to a real Kafka broker by the steps of docs/kafka.md, goes on there, and moves back: no event is lost, and every offset stays.

usage: ways_out.py BECK JARS
"""
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

from kafka_broker import Kafka, NotInstalled

TOPIC, PARTITIONS, EVENTS = "shop.orders", 3, 600
REBUILT = ("*.index", "*.timeindex", "*.txnindex", "*.snapshot", "leader-epoch-checkpoint")


def beck(program, data, *arguments, given=None):
    done = subprocess.run([program, *arguments, "--data", data], input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"beck {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def tool(kafka, name, *arguments, given=None):
    done = subprocess.run([kafka.java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", kafka.classpath, f"org.apache.kafka.tools.{name}",
                           "--bootstrap-server", f"127.0.0.1:{kafka.port}", *arguments], input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout.splitlines()


def events(program, data):
    """(partition, offset) -> data; offsets begin at 0, without gaps"""
    found = {}
    for partition in range(PARTITIONS):
        lines = beck(program, data, "log", TOPIC, "--partition", str(partition), "--format", "ndjson").splitlines()
        found.update({(partition, offset): json.loads(line)["data"] for offset, line in enumerate(lines)})
    return found


def consumed(kafka):
    lines = tool(kafka, "consumer.ConsoleConsumer", "--topic", TOPIC, "--from-beginning", "--timeout-ms", "5000", "--formatter-property",
                 "print.partition=true", "--formatter-property", "print.offset=true")
    found = {}
    for line in lines:
        if line.startswith("Partition:"):
            partition, offset, value = line.split("\t", 2)
            found[int(partition.split(":")[1]), int(offset.split(":")[1])] = json.loads(value)
    return found


def hand_over(exported, kafka):
    """The steps of docs/kafka.md; the broker is down."""
    for number in range(PARTITIONS):
        target = os.path.join(kafka.data, f"{TOPIC}-{number}")
        for pattern in (*REBUILT, "*.log"):
            for path in glob.glob(os.path.join(target, pattern)):
                os.remove(path)
        for path in glob.glob(os.path.join(exported, f"{TOPIC}-{number}", "*.log")):
            shutil.copy(path, target)
    for name in (".kafka_cleanshutdown", "recovery-point-offset-checkpoint", "log-start-offset-checkpoint", "replication-offset-checkpoint"):
        path = os.path.join(kafka.data, name)
        if os.path.exists(path):
            os.remove(path)


def same(what, got, expected):
    if got != expected:
        lost = sorted(set(expected) - set(got))[:5]
        more = sorted(set(got) - set(expected))[:5]
        raise SystemExit(f"{what}: {len(got)} of {len(expected)}; missing {lost}, not expected {more}")
    print(f"ok: {what}: {len(got)} events")


def moves(program, jars, directory):
    data, exported = os.path.join(directory, "beck"), os.path.join(directory, "exported")
    beck(program, data, "bus", "create", TOPIC, "--partitions", str(PARTITIONS), "--codec", "zstd", "--segment-size", "16k")
    lines = "".join(json.dumps({"number": i, "order": f"ORD-{i % 50}", "note": "x" * 100}) + "\n"
                    for i in range(EVENTS))
    beck(program, data, "ingest", "-", "--format", "ndjson", "--bus", TOPIC, "--type", "order.created", "--subject-from", "order", given=lines)
    before = events(program, data)
    beck(program, data, "export", "kafka", exported, TOPIC)
    kafka = Kafka(jars, tempfile.mkdtemp(dir=directory))
    try:
        kafka.start()
        tool(kafka, "TopicCommand", "--create", "--topic", TOPIC, "--partitions", str(PARTITIONS))
        kafka.stop()
        hand_over(exported, kafka)
        kafka.start()
        same("a Kafka broker serves what was exported", consumed(kafka), before)
        tool(kafka, "ConsoleProducer", "--topic", TOPIC, given="".join(f'{{"after": {i}}}\n' for i in range(20)))
        after = consumed(kafka)
        kafka.stop()
    finally:
        kafka.stop()
    home = os.path.join(directory, "home")
    beck(program, home, "import", "kafka", kafka.data, TOPIC)
    same("beck serves what the broker had", events(program, home), after)
    if len(after) != EVENTS + 20:
        raise SystemExit(f"{len(after)} events, {EVENTS + 20} expected")


def main():
    program, jars = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="beck-kafka-") as directory:
        try:
            moves(os.path.abspath(program), os.path.abspath(jars), directory)
        except NotInstalled as why:
            print(why)
            return 77
    return 0


if __name__ == "__main__":
    sys.exit(main())
