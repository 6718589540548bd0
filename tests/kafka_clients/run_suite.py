#!/usr/bin/env python3
"""Runs one suite of Kafka clients, as it comes, against `beck serve` on an empty directory, at the usual port of a network of its own.

usage: run_suite.py SUITE PROGRAM FETCHED [WORD]
SUITE: see SUITES below. PROGRAM: beck, or `kafka` for the oracle, a real Apache Kafka. WORD: only cases whose names contain it.
FETCHED: the folder in which tools/fetch_kafka*.sh have put kafka, kafka-debian, kafka-python, kafka-node, kafka-go, kafka-go-tests,
kafka-librdkafka and kafka-rdkafka-node.
What is left out of a suite stands in exclusions/SUITE.txt, as `test: reason`. Exits with 77 when what the suite needs is missing.

After a suite Kafka's DumpLogSegments looks at every file that it left, when it is there.
"""
import contextlib
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "support"))
import dump  # pylint: disable=wrong-import-position
import kafka_broker  # pylint: disable=wrong-import-position
import suite as suites  # pylint: disable=wrong-import-position

PORT, LOGIN_PORT = 9092, 9093


@contextlib.contextmanager
def broker(suite, program, scratch, jars):
    if program != "kafka":
        with suites.beck(program, *ARGUMENTS.get(suite, []), scratch=scratch) as server:
            yield server
        return
    try:
        with kafka_broker.kafka(jars, PORT) as server:
            yield server
    except kafka_broker.NotInstalled as why:
        suites.missing(why)


@contextlib.contextmanager
def login_broker(suite, program):
    """For the suites that want one: a second server, which has users and demands a login."""
    if program == "kafka" or suite not in LOGIN:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="beck-kafka-login-") as scratch:
        config = os.path.join(scratch, "beck.yaml")
        with open(config, "w", encoding="utf-8") as file:
            json.dump(USERS, file)
        elsewhere = [part for protocol in ("http", "amqp", "management") for part in (f"--{protocol}.listen", "")]
        with suites.beck(program, *BROKER, "--config", config, "--kafka.listen", f"127.0.0.1:{LOGIN_PORT}",
                         "--kafka.advertised", f"localhost:{LOGIN_PORT}", *elsewhere, scratch=scratch) as server:
            yield server


# --- the suites: each gives the command, its folder and what is added to the environment


def left_out(suite, oracle):
    return "" if oracle else "\n".join(suites.exclusions(HERE, suite))


def words(word):
    return [word] if word else []


def debian(fetched):
    root = suites.need(fetched, "kafka-debian", "root")
    libraries = glob.glob(f"{root}/usr/lib/*-linux-gnu")
    return root, {"PATH": f"{root}/usr/bin:{os.environ['PATH']}", "LD_LIBRARY_PATH": ":".join(libraries),
                  "C_INCLUDE_PATH": f"{root}/usr/include", "LIBRARY_PATH": ":".join(libraries)}


def python(name, folder, fetched, oracle, word, world=None):
    return [sys.executable, "-B", os.path.join(HERE, f"{name}_suite.py"), *words(word)], HERE, {
        **(world or {}), "PYTHONPATH": folder, "LEFT_OUT": left_out(name, oracle)}


def confluent(fetched, oracle, word):
    return python("confluent", suites.need(fetched, "kafka-python", "python"), fetched, oracle, word)


def confluent_debian(fetched, oracle, word):
    """The same cases with librdkafka 2.0.2 and its binding, as Debian has them. What they do not know is not run."""
    root, world = debian(fetched)
    return python("confluent", f"{root}/usr/lib/python3/dist-packages", fetched, oracle, word, world)


def aiokafka(fetched, oracle, word):
    return python("aiokafka", suites.need(fetched, "kafka-python", "python"), fetched, oracle, word)


def kafka_python(fetched, oracle, word):
    return python("kafka_python", suites.need(fetched, "kafka-python", "python"), fetched, oracle, word)


def node(name, fetched, oracle, word, packages="kafka-node"):
    return [suites.command_of("node"), os.path.join(HERE, f"{name}_suite.js"), *words(word)], HERE, {
        "NODE_PATH": suites.need(fetched, packages, "node_modules"), "LEFT_OUT": left_out(name, oracle), "KAFKAJS_NO_PARTITIONER_WARNING": "1"}


def kafkajs(fetched, oracle, word):
    return node("kafkajs", fetched, oracle, word)


def platformatic(fetched, oracle, word):
    return node("platformatic", fetched, oracle, word)


def node_rdkafka(fetched, oracle, word):
    suites.need(fetched, "kafka-rdkafka-node", "complete")
    command, folder, world = node("node_rdkafka", fetched, oracle, word, "kafka-rdkafka-node")
    return command, folder, {**world, "MALLOC_PERTURB_": "0"}  # it reads memory that it has freed; node_rdkafka_suite.js says when


def kcat(fetched, _oracle, _word):
    _, world = debian(fetched)
    return ["sh", os.path.join(HERE, "kcat_suite.sh")], HERE, world


def go(name, fetched, oracle, word):
    return [suites.need(fetched, "kafka-go", "go_suite"), name, *words(word)], HERE, {} if oracle else {"PROGRAM": os.path.abspath(sys.argv[2])}


def franz_go(fetched, oracle, word):
    return go("franz-go", fetched, oracle, word)


def sarama(fetched, oracle, word):
    return go("sarama", fetched, oracle, word)


def kafka_go(fetched, oracle, word):
    return go("kafka-go", fetched, oracle, word)


def go_tests(name, folder, fetched, word, world):
    """The client's own tests, unchanged. What is left out fails with Apache Kafka as well, or is about what is not here."""
    skip = suites.exclusions(HERE, f"{name}-tests")
    program = suites.need(fetched, "kafka-go-tests", f"{name}.test")
    return [program, "-test.v", "-test.timeout", "25m", *(["-test.run", word] if word else []), *(["-test.skip", "|".join(skip)] if skip else [])], os.path.join(
        fetched, "kafka-go-tests", "sources", folder), world


def franz_go_tests(fetched, _oracle, word):
    return go_tests("franz-go", "franz-go/pkg/kgo", fetched, word, {
        "KGO_SEEDS": f"localhost:{PORT}", "KGO_TEST_RF": "1", "KGO_TEST_RECORDS": "50000", "KGO_LOG_LEVEL": "none"})


def sarama_tests(fetched, oracle, word):
    if oracle:
        suites.missing("they want five brokers")
    command, folder, world = go_tests("sarama", "sarama", fetched, word or "Func|^TestVersionMatrix|^TestConsumer|^TestInterceptors|^TestAsyncProducerRemote", {})
    return [sys.executable, "-B", os.path.join(HERE, "sarama_tests.py"), suites.need(fetched, "kafka-go-tests", "toxiproxy"), *command], folder, world


def kafka_go_tests(fetched, _oracle, word):
    return go_tests("kafka-go", "kafka-go", fetched, word, {"KAFKA_VERSION": "3.7.0", "KAFKA_SKIP_NETTEST": "1"})


def java(fetched, oracle, word):
    return [sys.executable, "-B", os.path.join(HERE, "java_suite.py"), *words(word)], HERE, {
        "JARS": suites.need(fetched, "kafka"), "JAVA": suites.command_of("java"), "CLASSES": os.path.join(tempfile.gettempdir(), f"beck-kafka-{os.getpid()}.jsa"), "LEFT_OUT": left_out("java", oracle)}


def orders(fetched, _oracle, _word):
    """The example."""
    suites.command_of("cc")
    _, world = debian(fetched)
    return [os.path.join(ROOT, "examples", "orders-kafka", "run")], HERE, {
        **world, "PYTHONPATH": suites.need(fetched, "kafka-python", "python"), "PYTHON": sys.executable, "KAFKAJS_NO_PARTITIONER_WARNING": "1",
        "NODE_PATH": suites.need(fetched, "kafka-node", "node_modules")}


def kill(fetched, _oracle, word, seconds=15):
    return [sys.executable, "-B", os.path.join(HERE, "kill_suite.py"), sys.argv[2], str(seconds), *words(word)], None, {
        "PYTHONPATH": suites.need(fetched, "kafka-python", "python"), "JARS": os.path.join(fetched, "kafka")}


def kill_long(fetched, oracle, word):
    return kill(fetched, oracle, word, 300)


def librdkafka(fetched, oracle, word, extent="quick"):
    return [sys.executable, "-B", os.path.join(HERE, "librdkafka_suite.py"), *words(word)], HERE, {
        "SOURCE": suites.need(fetched, "kafka-librdkafka", "source"), "JARS": suites.need(fetched, "kafka"), "SUITE": extent,
        "LEFT_OUT": "\n".join(left_out(name, oracle) for name in ("librdkafka", f"librdkafka_{extent}"))}


def librdkafka_full(fetched, oracle, word):
    return librdkafka(fetched, oracle, word, "full")


def librdkafka_noautocreate(fetched, oracle, word):
    """The tests that want topics not to be made by themselves."""
    return librdkafka(fetched, oracle, word, "noautocreate")


SUITES = {"kcat": kcat, "confluent": confluent, "confluent-debian": confluent_debian, "aiokafka": aiokafka, "kafka-python": kafka_python,
          "kafkajs": kafkajs, "platformatic": platformatic, "node-rdkafka": node_rdkafka, "java": java, "orders": orders,
          "franz-go": franz_go, "sarama": sarama, "kafka-go": kafka_go,
          "franz-go-tests": franz_go_tests, "sarama-tests": sarama_tests, "kafka-go-tests": kafka_go_tests,
          "librdkafka": librdkafka, "librdkafka-full": librdkafka_full,
          "librdkafka-noautocreate": librdkafka_noautocreate,
          "kill": kill, "kill-long": kill_long}
# How librdkafka's own scripts set up the brokers for its tests.
BROKER = ["--kafka.partitions", "4",
          "--kafka.group_initial_rebalance_delay", "100ms"]  # 0118 does not end when its second consumer joins before the first
ARGUMENTS = {"librdkafka": BROKER, "librdkafka-full": BROKER, "librdkafka-noautocreate": [*BROKER, "--kafka.auto_create_topics", "false"],
             "sarama-tests": ["--kafka.listen", f"127.0.0.1:{PORT}", "--kafka.advertised", "localhost:29091", "--kafka.auto_create_topics", "false"],
             "kafka-go-tests": ["--kafka.listen", f"127.0.0.1:{PORT}", "--kafka.advertised", f"localhost:{PORT}"]}
LOGIN = {"librdkafka", "librdkafka-full", "kafka-go-tests"}
# The name that their tests log in with, and those that their rules of access are for. What they find is to be these rules alone, so those of the first
# are none that Kafka has: of everything whose name has a _ in it.
ADMIN = [{"server": True, "rights": ["admin", "create"]}, {"bus": "*_*", "rights": ["publish", "read"]}, {"queue": "*_*", "rights": ["work", "read"]}]
USERS = {"users": {"adminplain": {"password": "admin-secret", "rules": ADMIN}, "test1": {"password": "test1"}, "test2": {"password": "test2"}}}
OWN_SERVERS = {"kill", "kill-long"}  # suites that start and end their servers themselves


def main():
    if len(sys.argv) not in (4, 5) or sys.argv[1] not in SUITES:
        sys.exit(__doc__)
    suite, program, fetched = sys.argv[1:4]
    word = sys.argv[4] if len(sys.argv) > 4 else None
    os.environ.pop("http_proxy", None)
    command, folder, world = SUITES[suite](os.path.abspath(fetched), program == "kafka", word)
    jars = os.path.join(os.path.abspath(fetched), "kafka")
    kept = None if suites.own_network() else suites.usual_ports("kafka", (PORT, LOGIN_PORT))
    sys.stdout.flush()
    scratch = tempfile.mkdtemp(prefix="beck-kafka-")
    try:
        with contextlib.nullcontext() if suite in OWN_SERVERS else broker(suite, program, scratch, jars) as server, \
                login_broker(suite, program) as second:
            environment = {**os.environ, **world, **({"LOGIN_BROKER": f"localhost:{LOGIN_PORT}"} if second else {})}
            code = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
        faults = [] if program == "kafka" or suite in OWN_SERVERS else dump.faults(jars, os.path.join(scratch, "data"))
        print("".join(f"DumpLogSegments: {fault}\n" for fault in faults), end="")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if kept:
            kept.close()
    sys.exit(1 if faults or any(getattr(one, "fault", False) for one in (server, second)) else code)


if __name__ == "__main__":
    main()
