"""The tools of Apache Kafka 4.x, as they come: console producers and consumers, groups, topics, configs, transactions, offsets, share groups.

JARS: the folder of tools/fetch_kafka.sh. JAVA: the program.
"""
import json
import os
import re
import subprocess
import tempfile

from cases import BROKER, equal, holds, run, unique, until

TOOLS = "org.apache.kafka.tools."
# A tool lives for a second: classes that are loaded from an archive and compiled only a little halve that.
JAVA = [os.environ["JAVA"], "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", os.path.join(os.environ["JARS"], "*")]
ARCHIVE = os.environ.get("CLASSES")
NOISE = re.compile(r"^SLF4J:|^\s*$|^WARNING: |^OpenJDK |^The consumer rebalance protocol \(KIP-848\) is|^Option --property is deprecated")


def start(name, *arguments, given=None):
    archive = [f"-XX:SharedArchiveFile={ARCHIVE}"] if ARCHIVE else []
    return subprocess.Popen([*JAVA, *archive, name if name.startswith("kafka.") else TOOLS + name, *arguments], stdin=given or subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def tool(name, *arguments, given=None, code=0):
    """What the tool printed, a list of lines."""
    return started(name, "--bootstrap-server", BROKER, *arguments, given=given, code=code)


def started(name, *arguments, given=None, code=0):
    with tempfile.TemporaryFile("w+") as file:
        file.write("".join(f"{line}\n" for line in given or []))
        file.seek(0)
        process = start(name, *arguments, given=file)
        printed = process.communicate()[0]
    lines = [line for line in printed.splitlines() if not NOISE.match(line)]
    if code is not None:
        holds(process.returncode == code, f"{name} {' '.join(arguments)} ended with {process.returncode}: {lines[-12:]}")
    return lines


def made(partitions=1, *config):
    topic = unique("topic")
    tool("TopicCommand", "--create", "--topic", topic, "--partitions", str(partitions), *(part for c in config for part in ("--config", c)))
    return topic


def produce(topic, values, *arguments):
    tool("ConsoleProducer", "--topic", topic, *arguments, given=values)


def consume(topic, count, *arguments):
    lines = tool("consumer.ConsoleConsumer", "--topic", topic, "--from-beginning", "--max-messages", str(count), "--timeout-ms", "240000", *arguments)
    return [line for line in lines if not line.startswith("Processed a total of")]


def text(lines):
    return "\n".join(lines)


def columns(lines, first):
    """Rows of a table whose head starts with `first`, as dictionaries."""
    heads = [i for i, line in enumerate(lines) if line.split()[:1] == [first]]
    holds(heads, f"no table: {lines}")
    names = lines[heads[0]].split()
    return [dict(zip(names, line.split())) for line in lines[heads[0] + 1:] if len(line.split()) >= len(names) - 2]


# --- topics, records


def topics_are_made_described_altered_and_deleted():
    topic = made(3, "retention.ms=1000000")
    holds(topic in tool("TopicCommand", "--list"), "not listed")
    described = text(tool("TopicCommand", "--describe", "--topic", topic))
    holds("PartitionCount: 3" in described and "retention.ms=1000000" in described, described)
    holds(re.search(r"TopicId: [A-Za-z0-9_-]{22}", described), f"no topic id: {described}")
    tool("TopicCommand", "--alter", "--topic", topic, "--partitions", "5")
    holds("PartitionCount: 5" in text(tool("TopicCommand", "--describe", "--topic", topic)), "it did not grow")
    holds("already exists" in text(tool("TopicCommand", "--create", "--topic", topic, code=1)), "made twice")
    tool("TopicCommand", "--delete", "--topic", topic)
    until(lambda: topic not in tool("TopicCommand", "--list"), "it is gone")


def the_console_produces_and_consumes():
    topic, values = made(), [f"line {i}" for i in range(100)]
    produce(topic, values[:50])
    for codec, start_at in (("gzip", 50), ("snappy", 60), ("lz4", 70), ("zstd", 80)):
        produce(topic, values[start_at:start_at + 10], "--compression-codec", codec)
    produce(topic, values[90:], "--sync", "--request-required-acks", "all")
    equal(consume(topic, 100), values)


def keys_and_headers():
    topic = made()
    produce(topic, ["a:1\tk1:v1", "b:2\tk2:NULL"], "--property", "parse.key=true", "--property", "parse.headers=true", "--property", "key.separator=:",
            "--property", "null.marker=NULL")
    got = consume(topic, 2, "--property", "print.key=true", "--property", "print.headers=true", "--property", "print.offset=true",
                  "--property", "print.partition=true", "--property", "null.literal=none")
    equal(got, ["Partition:0\tOffset:0\ta:1\tk1\tv1", "Partition:0\tOffset:1\tb:2\tk2\tnone"])


def offsets_of_topics():
    topic = made(2)
    produce(topic, ["k:v"] * 20, "--property", "parse.key=true", "--property", "key.separator=:")
    got = tool("GetOffsetShell", "--topic", topic)
    equal(sum(int(line.split(":")[2]) for line in got), 20)
    for when in ("earliest", "-2", "-4"):
        equal(tool("GetOffsetShell", "--topic", topic, "--time", when), [f"{topic}:0:0", f"{topic}:1:0"], when)
    equal(max(int(line.split(":")[2]) for line in tool("GetOffsetShell", "--topic", topic, "--time", "max-timestamp") if line.split(":")[2]) < 20, True)


def records_are_deleted():
    topic = made()
    produce(topic, [str(i) for i in range(10)])
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 7}]}, file)
        file.flush()
        holds("low_watermark: 7" in text(tool("DeleteRecordsCommand", "--offset-json-file", file.name)), "not deleted")
    equal(consume(topic, 3), ["7", "8", "9"])


def configs():
    topic = made()
    name = ("--entity-type", "topics", "--entity-name", topic)
    tool("kafka.admin.ConfigCommand", "--alter", *name, "--add-config", "retention.ms=2000000,cleanup.policy=[compact,delete]")
    got = text(tool("kafka.admin.ConfigCommand", "--describe", *name))
    holds("retention.ms=2000000" in got and "cleanup.policy=compact,delete" in got, got)
    tool("kafka.admin.ConfigCommand", "--alter", *name, "--delete-config", "retention.ms")
    holds("retention.ms" not in text(tool("kafka.admin.ConfigCommand", "--describe", *name)), "it is still set")
    holds("segment.bytes=" in text(tool("kafka.admin.ConfigCommand", "--describe", "--all", *name)), "--all does not show all")
    tool("kafka.admin.ConfigCommand", "--alter", *name, "--add-config", "retention.ms=never", code=1)
    tool("kafka.admin.ConfigCommand", "--describe", "--all", "--entity-type", "brokers", "--entity-name", "1")


# --- groups


def describe_group(group):
    return columns(tool("consumer.group.ConsumerGroupCommand", "--describe", "--group", group, "--offsets"), "GROUP")


def groups_are_described_reset_and_deleted():
    topic, group = made(2), unique("group")
    for protocol in ("classic", "consumer"):
        produce(topic, [f"{i}:x" for i in range(20)], "--property", "parse.key=true", "--property", "key.separator=:")
        consume(topic, 20, "--group", group, "--consumer-property", f"group.protocol={protocol}")
        rows = describe_group(group)
        equal((len(rows), {row["LAG"] for row in rows}), (2, {"0"}), protocol)
    holds(group in tool("consumer.group.ConsumerGroupCommand", "--list"), "not listed")
    states = text(tool("consumer.group.ConsumerGroupCommand", "--describe", "--group", group, "--state"))
    holds("Empty" in states, states)
    tool("consumer.group.ConsumerGroupCommand", "--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute")
    equal(sum(int(row["LAG"]) for row in describe_group(group)), 40)
    tool("consumer.group.ConsumerGroupCommand", "--reset-offsets", "--group", group, "--topic", f"{topic}:0", "--to-offset", "3", "--execute")
    equal([row["CURRENT-OFFSET"] for row in describe_group(group) if row["PARTITION"] == "0"], ["3"])
    tool("consumer.group.ConsumerGroupCommand", "--reset-offsets", "--group", group, "--all-topics", "--to-datetime", "2020-01-01T00:00:00.000", "--execute")
    equal({row["CURRENT-OFFSET"] for row in describe_group(group)}, {"0"})
    tool("consumer.group.ConsumerGroupCommand", "--delete-offsets", "--group", group, "--topic", topic)
    tool("consumer.group.ConsumerGroupCommand", "--delete", "--group", group)
    holds(group not in tool("consumer.group.ConsumerGroupCommand", "--list"), "still listed")


def members_of_a_group_are_shown():
    topic = made(2)
    for protocol in ("classic", "consumer"):
        group = unique("group")
        consumer = start("VerifiableConsumer", "--bootstrap-server", BROKER, "--topic", topic, "--group-id", group, "--group-protocol", protocol)
        try:
            for line in consumer.stdout:
                if "partitions_assigned" in line and len(json.loads(line)["partitions"]) == 2:
                    break
            rows = columns(tool("consumer.group.ConsumerGroupCommand", "--describe", "--group", group, "--members"), "GROUP")
            equal((len(rows), rows[0]["#PARTITIONS"]), (1, "2"), protocol)
            tool("consumer.group.ConsumerGroupCommand", "--delete", "--group", group, code=None)
            got = text(tool("GroupsCommand", "--list", code=0))
            holds(group in got, "not listed")
        finally:
            consumer.terminate()
            consumer.communicate()


def verifiable_producers_and_consumers():
    topic, group = made(2), unique("group")
    lines = tool("VerifiableProducer", "--topic", topic, "--max-messages", "1000", "--acks", "-1")
    equal(len([line for line in lines if "producer_send_success" in line]), 1000)
    lines = tool("VerifiableConsumer", "--topic", topic, "--group-id", group, "--max-messages", "1000", "--reset-policy", "earliest", "--verbose")
    values = [json.loads(line)["value"] for line in lines if '"record_data"' in line]
    equal(sorted(int(v) for v in values), list(range(1000)))


def performance_tools():
    topic = made()
    got = tool("ProducerPerformance", "--topic", topic, "--num-records", "20000", "--record-size", "100", "--throughput", "-1")
    holds("20000 records sent" in text(got), got)
    got = tool("ConsumerPerformance", "--topic", topic, "--num-records", "20000", "--timeout", "240000")
    holds(len(got) >= 2, got)


# --- transactions


def transactional_copies():
    source, target, group = made(), made(), unique("group")
    produce(source, [str(i) for i in range(500)])
    copier = start("TransactionalMessageCopier", "--broker-list", BROKER, "--transactional-id", unique("transaction"), "--consumer-group", group,
                   "--input-topic", source, "--input-partition", "0", "--output-topic", target, "--max-messages", "500", "--transaction-size", "50",
                   "--enable-random-aborts")
    out = copier.communicate()[0]
    equal(copier.returncode, 0, out[-800:])
    got = consume(target, 500, "--isolation-level", "read_committed")
    equal(got, [str(i) for i in range(500)])


def transactions_are_listed_and_described():
    topic, id = made(), unique("transaction")
    tool("ProducerPerformance", "--topic", topic, "--num-records", "100", "--record-size", "10", "--throughput", "-1", "--transactional-id", id,
         "--transaction-duration-ms", "50")
    rows = columns(tool("TransactionsCommand", "list"), "TransactionalId")
    equal([row["TransactionState"] for row in rows if row["TransactionalId"] == id], ["CompleteCommit"])
    rows = columns(tool("TransactionsCommand", "describe", "--transactional-id", id), "CoordinatorId")
    equal((rows[0]["TransactionalId"], rows[0]["TransactionState"]), (id, "CompleteCommit"))
    rows = columns(tool("TransactionsCommand", "describe-producers", "--topic", topic, "--partition", "0"), "ProducerId")
    equal((len(rows), rows[0]["CurrentTransactionStartOffset"]), (1, "None"))
    tool("TransactionsCommand", "find-hanging", "--broker-id", "1")


# --- share groups


def a_share_consumer():
    topic, group = made(), unique("share")
    tool("kafka.admin.ConfigCommand", "--alter", "--entity-type", "groups", "--entity-name", group, "--add-config", "share.auto.offset.reset=earliest")
    produce(topic, [str(i) for i in range(50)])
    got = tool("consumer.ConsoleShareConsumer", "--topic", topic, "--group", group, "--max-messages", "50", "--timeout-ms", "240000", "--release")
    equal(sorted(int(v) for v in got if v.isdigit()), list(range(50)), "released")
    got = tool("consumer.ConsoleShareConsumer", "--topic", topic, "--group", group, "--max-messages", "50", "--timeout-ms", "240000")
    equal(sorted(int(v) for v in got if v.isdigit()), list(range(50)), "again")
    holds(group in tool("consumer.group.ShareGroupCommand", "--list"), "not listed")
    rows = columns(tool("consumer.group.ShareGroupCommand", "--describe", "--group", group, "--offsets"), "GROUP")
    equal(rows[0]["TOPIC"], topic)
    tool("consumer.group.ShareGroupCommand", "--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute")
    got = tool("consumer.ConsoleShareConsumer", "--topic", topic, "--group", group, "--max-messages", "50", "--timeout-ms", "240000")
    equal(sorted(int(v) for v in got if v.isdigit()), list(range(50)), "after the reset")
    tool("consumer.group.ShareGroupCommand", "--delete", "--group", group)


def dead_letters_of_a_share_group():
    topic, group = made(2), unique("share")
    dead = f"dlq.{group}"
    tool("TopicCommand", "--create", "--topic", dead, "--partitions", "1")
    tool("kafka.admin.ConfigCommand", "--alter", "--entity-type", "topics", "--entity-name", dead, "--add-config",
         "errors.deadletterqueue.group.enable=true")
    tool("kafka.admin.ConfigCommand", "--alter", "--entity-type", "groups", "--entity-name", group, "--add-config",
         f"share.auto.offset.reset=earliest,errors.deadletterqueue.topic.name={dead},errors.deadletterqueue.copy.record.enable=true")
    produce(topic, [f"{i}" for i in range(20)])
    tool("consumer.ConsoleShareConsumer", "--topic", topic, "--group", group, "--max-messages", "20", "--timeout-ms", "240000", "--reject")
    letters = consume(dead, 20, "--formatter-property", "print.headers=true")
    equal(sorted(int(letter.rsplit("\t", 1)[1]) for letter in letters), list(range(20)))
    for letter in letters:
        for header in (f"__dlq.errors.topic:{topic}", f"__dlq.errors.group:{group}", "__dlq.errors.delivery.count:1",
                       "__dlq.errors.message:Offset rejected by client."):
            holds(header in letter, f"{header}: {letter}")


def verifiable_share_consumers():
    topic, group = made(), unique("share")
    consumer = start("VerifiableShareConsumer", "--bootstrap-server", BROKER, "--topic", topic, "--group-id", group, "--offset-reset-strategy",
                     "earliest", "--max-messages", "500", "--acknowledgement-mode", "sync")
    try:
        tool("VerifiableProducer", "--topic", topic, "--max-messages", "500")
        out = consumer.communicate()[0]
    finally:
        consumer.kill()
    counts = [json.loads(line)["count"] for line in out.splitlines() if '"records_consumed"' in line]
    equal(sum(counts), 500, out[-500:])


# --- the broker


def what_the_broker_can():
    got = text(tool("BrokerApiVersionsCommand"))
    for wanted in ("Produce(0): 0 to 13", "Fetch(1): 4 to 18", "ConsumerGroupHeartbeat(68): 0 to 1", "ShareFetch(78): 1 to 2"):
        holds(wanted in got, f"'{wanted}' is missing: {got}")
    holds(text(started("ClusterTool", "cluster-id", "--bootstrap-server", BROKER)).startswith("Cluster ID: "), "no cluster id")
    got = text(tool("FeatureCommand", "describe"))
    holds(re.search(r"Feature: transaction.version.*FinalizedVersionLevel: 2", got), got)


def directories_of_logs():
    topic = made()
    produce(topic, ["x"] * 100)
    found = json.loads(next(line for line in tool("LogDirsCommand", "--describe", "--topic-list", topic) if line.startswith("{")))
    partitions = [p for d in found["brokers"][0]["logDirs"] for p in d["partitions"]]
    equal([p["partition"] for p in partitions], [f"{topic}-0"])
    holds(partitions[0]["size"] > 0, "no size")


CASES = [
    topics_are_made_described_altered_and_deleted, the_console_produces_and_consumes, keys_and_headers, offsets_of_topics, records_are_deleted,
    configs, groups_are_described_reset_and_deleted, members_of_a_group_are_shown, verifiable_producers_and_consumers, performance_tools,
    transactional_copies, transactions_are_listed_and_described, a_share_consumer, dead_letters_of_a_share_group, verifiable_share_consumers,
    what_the_broker_can, directories_of_logs,
]

if __name__ == "__main__":
    if ARCHIVE and not os.path.exists(ARCHIVE):
        subprocess.run([*JAVA, f"-XX:ArchiveClassesAtExit={ARCHIVE}", TOOLS + "TopicCommand", "--bootstrap-server", BROKER, "--list"], check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run(CASES)
