"""The server is killed again and again while producers write; then a consumer that knows every record counts them.

usage: kill_suite.py PROGRAM SECONDS [SEED]    run by run_suite.py. PROGRAM: beck, or `kafka`, with its jars in JARS

What is checked, as Jepsen's tests of Kafka do: what was acknowledged is there, at the offset that was told, and once; an idempotent producer
leaves no record twice and none out of order; of a transaction all records are there or none, as its producer was told; a copier that
consumes, transforms and produces in transactions copies every record once; and a consumer that reads meanwhile sees what is read in the end.
When something is wrong the server's folder is kept, with the file `history`: when each transaction began and ended, and each life of the server.
The last line is `N passed, N failed, 0 skipped`.
"""
import collections
import faulthandler
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
import kafka_broker
import suite
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

BROKER = "localhost:9092"
PARTITIONS = 2
WAIT_S = 60
TRY_S = 3  # of a call of librdkafka: a request that was under way when the server was killed is waited for that long
PER_TRANSACTION = 5
TO_COPY = 600
IDEMPOTENT, PLAIN, TRANSACTIONS, SOURCE, COPY = "idempotent", "plain", "transactions", "source", "copy"


class Failures:
    def __init__(self):
        self.passed, self.failed = 0, 0

    def check(self, what, wrong):
        """wrong: a list of examples."""
        if wrong:
            self.failed += 1
            print(f"FAILED {what}: {len(wrong)} times: {wrong[:5]}", flush=True)
        else:
            self.passed += 1
            print(f"ok {what}", flush=True)


class World:
    def __init__(self, seed, history):
        self.history = history
        self.random, self.stop, self.copied = random.Random(seed), threading.Event(), threading.Event()
        self.lock = threading.Lock()
        self.acknowledged = []  # (topic, partition, offset, value)
        self.told = {}  # transaction -> committed, aborted or unknown
        self.seen = collections.defaultdict(dict)  # (topic, partition) -> offset -> value, of who reads meanwhile
        self.errors = []

    def note(self, *what):
        print(f"{time.time():.3f}", *what, file=self.history, flush=True)

    def tell(self, transaction, end):
        self.told[transaction] = end
        self.note(transaction, end)


def settings(**more):
    return {"bootstrap.servers": BROKER, "socket.timeout.ms": 5000, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100,
            "retry.backoff.ms": 20, **{k.replace("_", "."): v for k, v in more.items()}}


def guarded(world, work, *arguments):
    def run():
        try:
            work(world, *arguments)
        except Exception as error:  # pylint: disable=broad-except
            world.errors.append(f"{work.__name__}{arguments}: {type(error).__name__}: {error}")
            world.stop.set()
    thread = threading.Thread(target=run)
    thread.start()
    return thread


def produce(world, topic, name, more):
    """Numbered records, until the end; all are waited for."""
    p, number, waiting = Producer(settings(linger_ms=1, message_timeout_ms=120000, **more)), 0, threading.Semaphore(500)

    def delivered(error, message):
        waiting.release()
        if error:
            world.errors.append(f"{name}: {error}")
        else:
            with world.lock:
                world.acknowledged.append((topic, message.partition(), message.offset(), message.value()))

    while not world.stop.is_set():
        if not waiting.acquire(timeout=0.05):
            p.poll(0)
            continue
        p.produce(topic, f"{name} {number}".encode(), partition=number % PARTITIONS, on_delivery=delivered)
        number += 1
        p.poll(0)
        if number % 20 == 0:
            time.sleep(0.002)
    if p.flush(120):
        world.errors.append(f"{name}: messages are left")


def transact(world, name):
    """Transactions over all partitions; every fifth is aborted."""
    p, number, chance = None, 0, random.Random(name)
    while not world.stop.is_set():
        transaction = f"{name} {number}"
        number += 1
        end = "aborted" if chance.random() < 0.2 else "committed"
        try:
            if not p:
                p = Producer(settings(linger_ms=0, transactional_id=name, transaction_timeout_ms=20000))
                again(lambda: p.init_transactions(TRY_S))
            p.begin_transaction()
            world.tell(transaction, "unknown")
            for i in range(PER_TRANSACTION):
                p.produce(TRANSACTIONS, f"{transaction} {i}".encode(), partition=i % PARTITIONS)
            again(lambda: p.commit_transaction(TRY_S) if end == "committed" else p.abort_transaction(TRY_S))
            world.tell(transaction, end)
        except KafkaException as error:
            world.note(transaction, error)
            if aborted(p, error):
                world.tell(transaction, "aborted")
            else:
                p = None  # fenced or fatal: what became of it is not known


def aborted(p, error):
    """Whether a transaction that failed could be aborted. Where that took longer than its time, the server did it, and the producer is fenced."""
    if error.args[0].txn_requires_abort():
        try:
            again(lambda: p.abort_transaction(TRY_S))
            return True
        except KafkaException as last:
            print(f"not aborted: {last}", flush=True)
    return False


def again(call):
    """As the documentation wants it: an error that is retriable is tried again."""
    end = time.monotonic() + WAIT_S
    while True:
        try:
            return call()
        except KafkaException as error:
            if not error.args[0].retriable() or time.monotonic() > end:
                raise
            time.sleep(0.1)


def fill(count):
    p = Producer(settings(acks="all"))
    for number in range(count):
        p.produce(SOURCE, str(number).encode(), partition=number % PARTITIONS)
    if p.flush(WAIT_S):
        raise RuntimeError("the source could not be filled")


def copy_once(p, c, count):
    """A transaction. The number of records copied."""
    got = [m for m in c.consume(count, 0.5) if not m.error()]
    if not got:
        return 0
    p.begin_transaction()
    for message in got:
        p.produce(COPY, message.value(), partition=message.partition())
    again(lambda: p.send_offsets_to_transaction(c.position(c.assignment()), c.consumer_group_metadata(), TRY_S))
    again(lambda: p.commit_transaction(TRY_S))
    return len(got)


def copy(world, name):
    """Consume, transform, produce; after an error with all new clients, from what is committed."""
    while not world.copied.is_set():
        # Else librdkafka may wait for ever for a broker that it has given up (its issue 5511); with Kafka as well.
        p = Producer(settings(linger_ms=0, transactional_id=name, transaction_timeout_ms=20000, metadata_recovery_strategy="none"))
        c = Consumer(settings(group_id="copiers", auto_offset_reset="earliest", enable_auto_commit=False, isolation_level="read_committed",
                              session_timeout_ms=6000, heartbeat_interval_ms=500))
        c.subscribe([SOURCE])
        try:
            again(lambda p=p: p.init_transactions(TRY_S))
            while not world.copied.is_set():
                copy_once(p, c, 20)
                time.sleep(0.05)
        except KafkaException as error:
            print(f"{name}: {error}", flush=True)
            aborted(p, error)
        c.close()


def watch(world):
    """Reads meanwhile, read_committed."""
    c = Consumer(settings(group_id="watcher", auto_offset_reset="error", enable_auto_commit=False, isolation_level="read_committed"))
    c.assign([TopicPartition(topic, i, OFFSET_BEGINNING) for topic in (IDEMPOTENT, TRANSACTIONS, COPY) for i in range(PARTITIONS)])
    while not world.stop.is_set():
        for message in c.consume(500, 0.2):
            if message.error():
                if message.error().fatal() or message.error().code() == -140:  # its offset is not there any more
                    world.errors.append(f"watcher: {message.error()}")
                continue
            place = world.seen[(message.topic(), message.partition())]
            if place.setdefault(message.offset(), message.value()) != message.value():
                world.errors.append(f"watcher: offset {message.offset()} changed")
    c.close()


def read_all(topic, isolation):
    """(partition, offset, value) of all records."""
    c = Consumer(settings(group_id="reader", auto_offset_reset="earliest", enable_auto_commit=False, isolation_level=isolation, enable_partition_eof=True))
    c.assign([TopicPartition(topic, i, OFFSET_BEGINNING) for i in range(PARTITIONS)])
    got, ended, end = [], set(), time.monotonic() + WAIT_S
    while len(ended) < PARTITIONS:
        for message in c.consume(1000, 0.5):
            if message.error():
                ended.add(message.partition())
            else:
                got.append((message.partition(), message.offset(), message.value()))
        if time.monotonic() > end:
            raise RuntimeError(f"'{topic}' cannot be read to its end ({isolation}): {len(got)} records")
    c.close()
    return got


def finish_copying(world, copiers):
    """Without kills: until all is copied."""
    end = time.monotonic() + 2 * WAIT_S
    while (done := len(read_all(COPY, "read_committed"))) < TO_COPY and time.monotonic() < end:
        print(f"copied {done} of {TO_COPY}", flush=True)
        time.sleep(2)
    world.copied.set()
    for copier in copiers:
        copier.join()


def twice(values):
    return [value for value, count in collections.Counter(values).items() if count > 1]


def out_of_order(records):
    """Records of one producer whose numbers do not rise in a partition."""
    last, wrong = {}, []
    for partition, _, value in sorted(records):
        name, number = value.rsplit(b" ", 1)
        if last.get((name, partition), -1) >= int(number):
            wrong.append(value)
        last[(name, partition)] = int(number)
    return wrong


def check_producers(world, failures):
    for topic in (IDEMPOTENT, PLAIN):
        records = read_all(topic, "read_uncommitted")
        there = {(partition, offset): value for partition, offset, value in records}
        told = [a for a in world.acknowledged if a[0] == topic]
        failures.check(f"{topic}: {len(told)} records that were acknowledged are there", [a for a in told if there.get(a[1:3]) != a[3]])
        if topic == IDEMPOTENT:
            failures.check(f"{topic}: nothing is there twice", twice([value for _, _, value in records]))
            failures.check(f"{topic}: nothing is out of order", out_of_order(records))


def check_transactions(world, failures):
    records = read_all(TRANSACTIONS, "read_committed")
    failures.check("transactions: nothing is there twice", twice([value for _, _, value in records]))
    parts = collections.Counter(value.rsplit(b" ", 1)[0].decode() for _, _, value in records)
    wanted = {"committed": {PER_TRANSACTION}, "aborted": {0}, "unknown": {0, PER_TRANSACTION}}
    counts = collections.Counter(world.told.values())
    for what in ("committed", "aborted", "unknown"):
        wrong = [f"{name}: {parts[name]} records" for name, told in world.told.items() if told == what and parts[name] not in wanted[what]]
        failures.check(f"transactions: {counts[what]} {what} ones are whole", wrong)


def check_copies(failures):
    values = [value for _, _, value in read_all(COPY, "read_committed")]
    failures.check("copies: nothing is there twice", twice(values))
    failures.check(f"copies: {TO_COPY} records are there", sorted({str(i).encode() for i in range(TO_COPY)} - set(values)))


def check_seen(world, failures):
    for topic in (IDEMPOTENT, TRANSACTIONS, COPY):
        there = {(partition, offset): value for partition, offset, value in read_all(topic, "read_committed")}
        seen = {(p, offset): value for (t, p), values in world.seen.items() if t == topic for offset, value in values.items()}
        failures.check(f"{topic}: {len(seen)} records that were seen meanwhile are there", [s for s, value in seen.items() if there.get(s) != value])
        # Of each partition everything up to the last that was seen.
        last = {p: max((o for q, o in seen if q == p), default=-1) for p in range(PARTITIONS)}
        failures.check(f"{topic}: none was passed over", [place for place in there if place[1] <= last[place[0]] and place not in seen])


def make_topics():
    admin = AdminClient(settings())
    for future in admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in (IDEMPOTENT, PLAIN, TRANSACTIONS, SOURCE, COPY)]).values():
        future.result(WAIT_S)
    time.sleep(0.5)


def server_of(program, scratch):
    if program == "kafka":
        return kafka_broker.Kafka(os.environ["JARS"], scratch, 9092)
    # Often, so that the server is killed before as well as after what clients send again stands in a snapshot.
    return suite.Server(program, scratch, "--checkpoint", "300ms")


def run(world, server, seconds):
    """Gives how often the server was killed."""
    fill(TO_COPY)
    copiers = []
    threads = [guarded(world, produce, PLAIN, "plain", {"acks": 1}), guarded(world, watch)]
    for i in range(2):
        # The second comes back late: by then what it sends again is known from a snapshot only, or from before another kill.
        late = {"reconnect_backoff_ms": 1500, "reconnect_backoff_max_ms": 2500, "batch_num_messages": 5} if i else {}
        threads.append(guarded(world, produce, IDEMPOTENT, f"idempotent-{i}", {"enable_idempotence": True, **late}))
        threads.append(guarded(world, transact, f"transact-{i}"))
        copiers.append(guarded(world, copy, f"copier {i}"))
    kills, end = 0, time.monotonic() + seconds
    while time.monotonic() < end and not world.stop.is_set():
        # Often at once again, while clients send what was not answered: what the restart found is all that is known of it.
        time.sleep(world.random.uniform(0, 0.25) if kills and world.random.random() < 0.4 else world.random.uniform(0.1, 2.5))
        server.kill()
        world.note("killed")
        kills += 1
        server.start()
        world.note("started")
    world.stop.set()
    for thread in threads:
        thread.join()
    finish_copying(world, copiers)
    return kills


def main():
    faulthandler.register(signal.SIGUSR1)  # where it is when it does not go on
    program, seconds = sys.argv[1], float(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 30)
    print(f"seed {seed}", flush=True)
    failures, scratch = Failures(), tempfile.mkdtemp(prefix="kafka-kill-")
    with open(os.path.join(scratch, "history"), "w", encoding="utf-8") as history:
        world, server = World(seed, history), server_of(program, scratch)
        server.start()
        try:
            make_topics()
            kills = run(world, server, seconds)
            print(f"killed {kills} times", flush=True)
            check_producers(world, failures)
            check_transactions(world, failures)
            check_copies(failures)
            check_seen(world, failures)
            failures.check("no client failed", world.errors)
        finally:
            server.stop()
    wrong = failures.failed or getattr(server, "fault", False)
    if wrong:
        print(f"kept: {scratch}")
    else:
        shutil.rmtree(scratch)
    print(f"{failures.passed} passed, {failures.failed} failed, 0 skipped", flush=True)
    os._exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
