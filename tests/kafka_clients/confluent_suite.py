"""librdkafka by way of confluent-kafka: that of Debian (librdkafka 2.0.2) and the newest, which knows the new groups and share groups."""
import threading
import time

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

from cases import BROKER, equal, holds, run, unique, until

NEW = confluent_kafka.libversion()[1] >= 0x020F0000
WAIT_S = 240
ADMIN = AdminClient({"bootstrap.servers": BROKER})


def producer(**settings):
    return Producer({"bootstrap.servers": BROKER, "linger.ms": 1, **{k.replace("_", "."): v for k, v in settings.items()}})


def consumer(group=None, **settings):
    usual = {"bootstrap.servers": BROKER, "group.id": group or unique("group"), "auto.offset.reset": "earliest", "enable.auto.commit": False}
    if settings.get("group_protocol") != "consumer":  # there it is the broker's
        usual["heartbeat.interval.ms"] = 300
    return Consumer({**usual, **{k.replace("_", "."): v for k, v in settings.items()}})


def admin():
    return ADMIN


def make_topic(partitions=1, **config):
    name = unique("topic")
    new = NewTopic(name, num_partitions=partitions, replication_factor=1, config={k.replace("_", "."): v for k, v in config.items()})
    wait(admin().create_topics([new]))
    until(lambda: len(admin().list_topics(timeout=WAIT_S).topics[name].partitions) == partitions, "the topic is in the metadata")
    return name


def wait(futures):
    return {name: future.result(WAIT_S) for name, future in futures.items()}


def send(topic, values, partition=0, **settings):
    """Produces and gives the offsets of what was acknowledged."""
    offsets, errors = [], []

    def delivered(error, message):
        errors.append(error) if error else offsets.append(message.offset())  # pylint: disable=expression-not-assigned

    p = producer(**settings)
    for value in values:
        p.produce(topic, value, partition=partition, on_delivery=delivered)
    equal(p.flush(WAIT_S), 0, "messages left in the producer")
    holds(not errors, f"delivery failed: {errors[:1]}")
    return offsets


def messages(c, count, seconds=WAIT_S):
    """The next messages of a consumer; fewer when nothing comes any more."""
    got, end = [], time.monotonic() + seconds
    while len(got) < count and time.monotonic() < end:
        for message in c.consume(count - len(got), 0.2):
            if message.error():
                raise KafkaException(message.error())
            got.append(message)
    return got


def read(topic, count, partition=0, offset=OFFSET_BEGINNING, **settings):
    c = consumer(**settings)
    c.assign([TopicPartition(topic, partition, offset)])
    got = messages(c, count)
    c.close()
    return got


def nothing_comes(c, seconds=1.0):
    holds(not messages(c, 1, seconds), "a message came that should not")


def fails_with(code, call):
    try:
        call()
    except KafkaException as error:
        equal(error.args[0].code(), code, "error")
        return error.args[0]
    raise AssertionError(f"no error, wanted {code}")


# --- producing and reading


def what_is_produced_is_read():
    topic = make_topic()
    values = [b"value %d" % i for i in range(1000)]
    equal(send(topic, values), list(range(1000)), "offsets")
    equal([m.value() for m in read(topic, 1000)], values)


def every_codec():
    topic = make_topic()
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        send(topic, [f"{codec} {i}".encode() * 20 for i in range(100)], compression_type=codec)
    got = read(topic, 500)
    equal([m.value().split()[0] for m in got[::100]], [b"none", b"gzip", b"snappy", b"lz4", b"zstd"])
    equal([m.offset() for m in got], list(range(500)))


def keys_headers_timestamps_and_nulls():
    topic = make_topic()
    p = producer()
    headers = [("a", b"1"), ("a", b"2"), ("null", None), ("empty", b""), ("bytes", b"\x00\xff")]
    p.produce(topic, b"v", b"k", timestamp=1234567890123, headers=headers)
    p.produce(topic, None, b"k")
    p.produce(topic, b"", None)
    equal(p.flush(WAIT_S), 0)
    first, second, third = read(topic, 3)
    equal((first.key(), first.value(), first.timestamp(), first.headers()), (b"k", b"v", (1, 1234567890123), headers))
    equal((second.key(), second.value(), second.headers()), (b"k", None, None))
    equal((third.key(), third.value()), (None, b""))


def every_level_of_acks():
    topic = make_topic()
    for acks in ("0", "1", "all"):
        send(topic, [acks.encode()] * 10, acks=acks)
    until(lambda: consumer().get_watermark_offsets(TopicPartition(topic, 0), WAIT_S) == (0, 30), "30 records")
    equal(len(read(topic, 30)), 30)


def an_idempotent_producer():
    topic = make_topic()
    equal(send(topic, [b"%d" % i for i in range(5000)], enable_idempotence=True, linger_ms=0), list(range(5000)))
    equal([int(m.value()) for m in read(topic, 5000)], list(range(5000)))


def keys_decide_the_partition_as_in_java():
    topic = make_topic(4)
    p = producer(partitioner="murmur2_random")
    for i in range(100):
        p.produce(topic, b"v", b"key %d" % (i % 10))
    p.flush(WAIT_S)
    c, places = consumer(), {}
    c.assign([TopicPartition(topic, i, OFFSET_BEGINNING) for i in range(4)])
    for message in messages(c, 100):
        places.setdefault(message.key(), set()).add(message.partition())
    equal(len(places), 10)
    holds(all(len(where) == 1 for where in places.values()), f"a key in several partitions: {places}")


def a_topic_is_made_when_it_is_written_to():
    topic = unique("auto")
    send(topic, [b"x"], partition=-1)
    holds(len(admin().list_topics(timeout=WAIT_S).topics[topic].partitions) >= 1, "no partitions")


def a_missing_topic_is_not_made_when_that_is_not_wanted():
    errors = []
    p = producer(allow_auto_create_topics=False, topic_metadata_propagation_max_ms=500)
    p.produce(unique("missing"), b"x", on_delivery=lambda error, _: errors.append(error.code()))
    p.flush(WAIT_S)
    holds(errors[0] in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC), f"error {errors[0]}")  # pylint: disable=protected-access


def large_messages_and_too_large_ones():
    topic = make_topic()
    large = b"x" * 900000
    send(topic, [large] * 5)
    equal([len(m.value()) for m in read(topic, 5)], [900000] * 5)
    errors = []
    p = producer(message_max_bytes=5000000)
    p.produce(topic, b"x" * 2000000, on_delivery=lambda error, _: errors.append(error.code()))
    p.flush(WAIT_S)
    equal(errors, [KafkaError.MSG_SIZE_TOO_LARGE])


def small_fetches_and_offsets_in_the_middle_of_a_batch():
    topic = make_topic()
    send(topic, [b"%04d" % i * 100 for i in range(1000)], linger_ms=100)
    for offset in (1, 499, 998):
        equal(read(topic, 1, offset=offset)[0].offset(), offset)
    equal(len(read(topic, 1000, fetch_message_max_bytes=1000)), 1000)


def a_waiting_fetch_is_answered_when_something_comes():
    topic = make_topic()
    c = consumer(fetch_wait_max_ms=300000)
    c.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    nothing_comes(c)
    send(topic, [b"now"])
    equal(len(messages(c, 1, 120)), 1)
    c.close()


def an_offset_out_of_range():
    topic = make_topic()
    send(topic, [b"x"] * 10)
    equal(read(topic, 1, offset=1000)[0].offset(), 0, "earliest")
    c = consumer(auto_offset_reset="error")
    c.assign([TopicPartition(topic, 0, 1000)])
    error = until(lambda: (c.consume(1, 0.2) or [None])[0], "an error").error()
    holds(error is not None, "no error")
    c.close()


def the_end_of_a_partition():
    topic = make_topic()
    send(topic, [b"x"])
    c = consumer(enable_partition_eof=True)
    c.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    got = [until(lambda: c.poll(1), "something") for _ in range(2)]
    equal((got[0].value(), got[1].error().code()), (b"x", KafkaError._PARTITION_EOF))  # pylint: disable=protected-access
    c.close()


def offsets_by_time():
    topic = make_topic()
    p = producer()
    for i in range(100):
        p.produce(topic, b"%d" % i, timestamp=1700000000000 + i * 1000)
    p.flush(WAIT_S)
    c = consumer()
    for time_ms, offset in ((0, 0), (1700000000000, 0), (1700000000001, 1), (1700000050000, 50), (1700000099000, 99)):
        equal(c.offsets_for_times([TopicPartition(topic, 0, time_ms)], WAIT_S)[0].offset, offset, f"at {time_ms}")
    equal(c.offsets_for_times([TopicPartition(topic, 0, 1700000099001)], WAIT_S)[0].offset, -1, "after all")
    equal(c.get_watermark_offsets(TopicPartition(topic, 0), WAIT_S), (0, 100))


def pausing_and_seeking():
    topic = make_topic()
    send(topic, [b"%d" % i for i in range(100)])
    c = consumer()
    place = TopicPartition(topic, 0, OFFSET_BEGINNING)
    c.assign([place])
    equal(messages(c, 10)[-1].offset(), 9)
    c.pause([place])
    nothing_comes(c)
    c.resume([place])
    equal(messages(c, 1)[0].offset(), 10)
    c.seek(TopicPartition(topic, 0, 50))
    equal(messages(c, 1)[0].offset(), 50)
    equal(c.position([TopicPartition(topic, 0)])[0].offset, 51)
    c.close()


# --- groups


def assigned(c):
    c.poll(0.1)
    return c.assignment()


def share(*consumers):
    """How many partitions each has. All poll: who does not leaves the group after a while."""
    return [len(assigned(c)) for c in consumers]


def a_group_continues_where_it_committed():
    topic, group = make_topic(), unique("group")
    send(topic, [b"%d" % i for i in range(100)])
    c = consumer(group)
    c.subscribe([topic])
    equal(len(messages(c, 40)), 40)
    c.commit(asynchronous=False)
    c.close()
    c = consumer(group)
    c.subscribe([topic])
    equal(messages(c, 1)[0].offset(), 40)
    equal(c.committed([TopicPartition(topic, 0)], WAIT_S)[0].offset, 40)
    c.close()


def two_members_share_partitions(**settings):
    topic, group = make_topic(4), unique("group")
    c1, c2 = consumer(group, **settings), consumer(group, **settings)
    c1.subscribe([topic])
    until(lambda: len(assigned(c1)) == 4, "all for one")
    c2.subscribe([topic])
    until(lambda: share(c1, c2) == [2, 2], "two for each")
    for i in range(4):
        send(topic, [b"x"] * 10, partition=i)
    equal((len(messages(c1, 20)), len(messages(c2, 20))), (20, 20))
    c2.close()
    until(lambda: len(assigned(c1)) == 4, "all for one again")
    c1.close()


def every_assignor():
    for strategy in ("range", "roundrobin", "cooperative-sticky"):
        two_members_share_partitions(partition_assignment_strategy=strategy)


def the_new_protocol_of_groups():
    two_members_share_partitions(group_protocol="consumer")


def the_new_protocol_commits():
    topic, group = make_topic(2), unique("group")
    for i in range(2):
        send(topic, [b"x"] * 10, partition=i)
    c = consumer(group, group_protocol="consumer")
    c.subscribe([topic])
    equal(len(messages(c, 20)), 20)
    c.commit(asynchronous=False)
    c.close()
    c = consumer(group, group_protocol="consumer")
    c.subscribe([topic])
    nothing_comes(c, 2)
    equal([p.offset for p in c.committed([TopicPartition(topic, i) for i in range(2)], WAIT_S)], [10, 10])
    c.close()


def the_new_protocol_takes_patterns():
    prefix, group = unique("pattern"), unique("group")
    wait(admin().create_topics([NewTopic(f"{prefix}-{i}", num_partitions=1, replication_factor=1) for i in range(2)]))
    c = consumer(group, group_protocol="consumer")
    c.subscribe([f"^{prefix}-.*"])
    until(lambda: len(assigned(c)) == 2, "both topics")
    c.close()


class Worker(threading.Thread):
    """A member that commits what it has read before it gives a partition away. log: (partition, offset, member); lost: how often it could not"""

    def __init__(self, topic, group, log, **settings):
        super().__init__()
        self.consumer, self.log, self.stop, self.lost = consumer(group, **settings), log, threading.Event(), 0
        self.read = {}
        self.consumer.subscribe([topic], on_revoke=self.give_up, on_lost=self.lose)
        self.start()

    def give_up(self, _consumer, partitions):
        read = [TopicPartition(p.topic, p.partition, self.read.pop(p.partition)) for p in partitions if p.partition in self.read]
        try:
            if read:
                self.consumer.commit(offsets=read, asynchronous=False)
        except KafkaException:  # a rebalance was faster
            self.lost += 1

    def lose(self, _consumer, partitions):
        self.lost += 1
        for p in partitions:
            self.read.pop(p.partition, None)

    def run(self):
        while not self.stop.is_set():
            m = self.consumer.poll(0.1)
            if m and not m.error():
                self.log.append((m.partition(), m.offset(), self))
                self.read[m.partition()] = m.offset() + 1
        self.consumer.close()

    def end(self):
        self.stop.set()
        self.join()


def check_rolled(log, sent, rolls):
    """Nothing is missing; a partition goes from member to member, and only where it went may something come again."""
    again = 0
    for partition in {p for p, _, _ in log}:
        mine = [(offset, member) for p, offset, member in log if p == partition]
        again += len(mine) - len({offset for offset, _ in mine})
        moves = sum(a[1] is not b[1] for a, b in zip(mine, mine[1:]))
        holds(moves <= 4 * rolls, f"partition {partition} moved {moves} times")
        for a, b in zip(mine, mine[1:]):
            holds(b[0] == a[0] + 1 or (b[1] is not a[1] and b[0] <= a[0]), f"partition {partition}: {b[0]} behind {a[0]}")
    equal(len({(p, o) for p, o, _ in log}), sent, "records that were read")
    return again


def members_change_their_protocol_one_by_one(**classic):
    topic, group, log, stop, sent = make_topic(6), unique("group"), [], threading.Event(), []

    def produce():
        p = producer()
        while not stop.is_set():
            p.produce(topic, b"x", partition=len(sent) % 6)
            sent.append(1)
            p.poll(0.005)
        equal(p.flush(WAIT_S), 0)

    def everything_is_read():
        """What was sent until now, and everybody reads."""
        until(lambda: all(any(m is member for _, _, m in reversed(log[-5000:])) for member in members), "all read")
        count = len(sent)
        until(lambda: len({(p, o) for p, o, _ in log}) >= count, "what was sent is read")

    sender = threading.Thread(target=produce)
    members = [Worker(topic, group, log, **classic) for _ in range(3)]
    gone = []
    sender.start()
    try:
        for settings in ({"group_protocol": "consumer"}, classic):
            for i in range(3):
                everything_is_read()
                members[i].end()
                gone.append(members[i])
                members[i] = Worker(topic, group, log, **settings)
        everything_is_read()
    finally:
        stop.set()
        sender.join()
        until(lambda: len({(p, o) for p, o, _ in log}) >= len(sent), "all is read")
        for member in members:
            member.end()
    again = check_rolled(log, len(sent), 6)
    lost = sum(m.lost for m in gone + members)
    holds(again == 0 or lost, f"{again} records came twice, and nobody lost a partition")
    print(f"{len(sent)} records, {again} came twice, partitions were lost {lost} times")


def classic_members_change_to_the_new_protocol_and_back():
    members_change_their_protocol_one_by_one()


def cooperative_members_change_to_the_new_protocol_and_back():
    members_change_their_protocol_one_by_one(partition_assignment_strategy="cooperative-sticky")


def a_static_member_comes_back_unnoticed():
    topic, group = make_topic(2), unique("group")
    c1, c2 = consumer(group, group_instance_id="one"), consumer(group, group_instance_id="two")
    for c in (c1, c2):
        c.subscribe([topic])
    until(lambda: share(c1, c2) == [1, 1], "one for each")
    mine, revoked = c2.assignment(), []
    c2.close()
    c2 = consumer(group, group_instance_id="two")
    c2.subscribe([topic], on_revoke=lambda *_: revoked.append(1))
    until(lambda: assigned(c2) == mine, "the same partition")
    equal(len(assigned(c1)), 1)
    holds(not revoked, "a rebalance")
    c1.close()
    c2.close()


def a_second_process_with_the_same_instance_fences_the_first():
    topic, group = make_topic(), unique("group")
    c1 = consumer(group, group_instance_id="one")
    c1.subscribe([topic])
    until(lambda: len(assigned(c1)) == 1, "assigned")
    c2 = consumer(group, group_instance_id="one")
    c2.subscribe([topic])
    until(lambda: len(assigned(c2)) == 1, "assigned")

    def fenced():
        message = c1.poll(0.2)
        return message and message.error() and message.error().code() == KafkaError._FATAL  # pylint: disable=protected-access
    until(fenced, "the first is fenced")
    c2.close()


def offsets_are_committed_without_members():
    topic, group = make_topic(), unique("group")
    c = consumer(group)
    c.commit(offsets=[TopicPartition(topic, 0, 17)], asynchronous=False)
    equal(c.committed([TopicPartition(topic, 0)], WAIT_S)[0].offset, 17)
    c.close()


def metadata_of_offsets_is_kept():
    topic, group = make_topic(), unique("group")
    c = consumer(group)
    c.commit(offsets=[TopicPartition(topic, 0, 5, "what ❤ I wanted to say")], asynchronous=False)
    equal(c.committed([TopicPartition(topic, 0)], WAIT_S)[0].metadata, "what ❤ I wanted to say")
    c.close()


def a_member_that_dies_is_missed():
    topic, group = make_topic(2), unique("group")
    settings = {"session_timeout_ms": 6000, "heartbeat_interval_ms": 500, "max_poll_interval_ms": 6000}
    c1, c2 = consumer(group, **settings), consumer(group, **settings)
    for c in (c1, c2):
        c.subscribe([topic])
    until(lambda: share(c1, c2) == [1, 1], "one for each")
    until(lambda: len(assigned(c1)) == 2, "c2 does not poll any more, and c1 has all")
    c1.close()


# --- transactions


def transactional(id=None, **settings):
    return producer(transactional_id=id or unique("transaction"), **settings)


def committed_transactions_are_seen_and_aborted_ones_not():
    topic = make_topic()
    p = transactional()
    p.init_transactions(WAIT_S)
    for i in range(6):
        p.begin_transaction()
        for _ in range(10):
            p.produce(topic, b"%d" % i)
        p.flush(WAIT_S)
        if i % 2:
            p.abort_transaction(WAIT_S)
        else:
            p.commit_transaction(WAIT_S)
    send(topic, [b"end"])
    equal([m.value() for m in read(topic, 31, isolation_level="read_committed")], [b"0"] * 10 + [b"2"] * 10 + [b"4"] * 10 + [b"end"])
    equal(len(read(topic, 61, isolation_level="read_uncommitted")), 61)


def an_open_transaction_holds_back_what_follows():
    topic = make_topic()
    p = transactional()
    p.init_transactions(WAIT_S)
    p.begin_transaction()
    p.produce(topic, b"open")
    p.flush(WAIT_S)
    send(topic, [b"after"])
    c = consumer(isolation_level="read_committed")
    c.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    nothing_comes(c)
    u = consumer(isolation_level="read_uncommitted")
    u.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    equal(len(messages(u, 2)), 2)
    equal(c.get_watermark_offsets(TopicPartition(topic, 0), WAIT_S)[0], 0)
    p.commit_transaction(WAIT_S)
    equal([m.value() for m in messages(c, 2)], [b"open", b"after"])
    c.close()
    u.close()


def consume_transform_produce():
    source, target, group = make_topic(2), make_topic(), unique("group")
    for i in range(2):
        send(source, [b"%d" % (2 * n + i) for n in range(50)], partition=i)
    p = transactional()
    p.init_transactions(WAIT_S)
    done = 0
    while done < 100:  # a new consumer for each transaction: it must go on where the last one ended
        c = consumer(group, isolation_level="read_committed")
        c.subscribe([source])
        got = messages(c, 25)
        p.begin_transaction()
        for message in got:
            p.produce(target, message.value())
        p.send_offsets_to_transaction(c.position(c.assignment()), c.consumer_group_metadata(), WAIT_S)
        if done == 50 and len(got) == 25 and not getattr(consume_transform_produce, "aborted", False):
            consume_transform_produce.aborted = True
            p.abort_transaction(WAIT_S)
        else:
            p.commit_transaction(WAIT_S)
            done += len(got)
        c.close()
    equal(sorted(int(m.value()) for m in read(target, 100, isolation_level="read_committed")), list(range(100)))


def a_second_producer_of_an_id_fences_the_first():
    topic, id = make_topic(), unique("transaction")
    first = transactional(id)
    first.init_transactions(WAIT_S)
    first.begin_transaction()
    first.produce(topic, b"lost")
    first.flush(WAIT_S)
    second = transactional(id)
    second.init_transactions(WAIT_S)
    second.begin_transaction()
    second.produce(topic, b"kept")
    second.commit_transaction(WAIT_S)
    try:
        first.produce(topic, b"zombie")
        first.commit_transaction(WAIT_S)
    except KafkaException as error:
        holds(error.args[0].fatal() or error.args[0].code() in (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH),  # pylint: disable=protected-access
              f"not fenced: {error}")
    else:
        raise AssertionError("the first producer was not fenced")
    equal([m.value() for m in read(topic, 1, isolation_level="read_committed")], [b"kept"])


def a_transaction_that_takes_too_long_is_aborted():
    topic = make_topic()
    p = transactional(transaction_timeout_ms=2000)
    p.init_transactions(WAIT_S)
    p.begin_transaction()
    p.produce(topic, b"late")
    p.flush(WAIT_S)
    c = consumer(isolation_level="read_committed")
    c.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    send(topic, [b"after"])
    equal([m.value() for m in messages(c, 1, 60)], [b"after"])
    c.close()
    try:
        p.commit_transaction(WAIT_S)
    except KafkaException:
        return
    raise AssertionError("committed after its time")


def a_timeout_of_transactions_beyond_the_maximum():
    p = transactional(transaction_timeout_ms=20 * 60 * 1000)
    error = fails_with(KafkaError.INVALID_TRANSACTION_TIMEOUT, lambda: p.init_transactions(WAIT_S))
    holds(error.fatal(), "it is fatal")


# --- administration


def topics_are_made_described_grown_and_deleted():
    a, name = admin(), unique("topic")
    wait(a.create_topics([NewTopic(name, num_partitions=3, replication_factor=1)]))
    until(lambda: name in a.list_topics(timeout=WAIT_S).topics, "it is there")
    equal(len(a.list_topics(name, WAIT_S).topics[name].partitions), 3)
    fails_with(KafkaError.TOPIC_ALREADY_EXISTS, lambda: wait(a.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])))
    fails_with(KafkaError.TOPIC_EXCEPTION, lambda: wait(a.create_topics([NewTopic("not/a topic", num_partitions=1, replication_factor=1)])))
    fails_with(KafkaError.INVALID_PARTITIONS, lambda: wait(a.create_partitions([NewPartitions(name, 2)])))
    wait(a.create_partitions([NewPartitions(name, 5)]))
    until(lambda: len(a.list_topics(name, WAIT_S).topics[name].partitions) == 5, "it grew")
    send(name, [b"x"], partition=4)
    wait(a.delete_topics([name]))
    until(lambda: name not in a.list_topics(timeout=WAIT_S).topics, "it is gone")
    fails_with(KafkaError.UNKNOWN_TOPIC_OR_PART, lambda: wait(a.delete_topics([name])))


def making_topics_can_be_tried():
    a, name = admin(), unique("topic")
    wait(a.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)], validate_only=True))
    holds(name not in a.list_topics(timeout=WAIT_S).topics, "it was made")


def a_topic_made_again_is_empty():
    name = make_topic()
    send(name, [b"old"] * 10)
    wait(admin().delete_topics([name]))
    until(lambda: name not in admin().list_topics(timeout=WAIT_S).topics, "it is gone")
    wait(admin().create_topics([NewTopic(name, num_partitions=1, replication_factor=1)]))
    until(lambda: name in admin().list_topics(timeout=WAIT_S).topics, "it is there")
    equal(send(name, [b"new"]), [0])
    equal([m.value() for m in read(name, 1)], [b"new"])


def configs_of_topics_are_described_and_altered():
    name, a = make_topic(retention_ms="1000000", cleanup_policy="delete"), admin()
    resource = ConfigResource("topic", name)
    config = wait(a.describe_configs([resource]))[resource]
    equal((config["retention.ms"].value, config["cleanup.policy"].value), ("1000000", "delete"))
    holds("segment.bytes" in config and "max.message.bytes" in config, "usual configs are missing")
    resource.set_config("retention.ms", "2000000")
    wait(a.alter_configs([resource]))
    config = wait(a.describe_configs([ConfigResource("topic", name)]))[resource]
    equal((config["retention.ms"].value, config["retention.ms"].is_default), ("2000000", False))


def configs_of_the_broker_are_described():
    a = admin()
    broker = str(list(a.list_topics(timeout=WAIT_S).brokers)[0])
    resource = ConfigResource("broker", broker)
    config = wait(a.describe_configs([resource]))[resource]
    holds("message.max.bytes" in config and "log.retention.ms" in config or "num.partitions" in config, f"configs are missing: {sorted(config)[:20]}")


def compaction_wants_keys():
    topic, errors = make_topic(cleanup_policy="compact"), []
    p = producer()
    p.produce(topic, b"x", on_delivery=lambda error, _: errors.append(error.code()))
    p.flush(WAIT_S)
    equal(errors, [KafkaError.INVALID_RECORD])


def append_time_is_the_servers():
    topic = make_topic(message_timestamp_type="LogAppendTime")
    p, before = producer(compression_type="lz4"), time.time() * 1000
    p.produce(topic, b"x", timestamp=1)
    p.flush(WAIT_S)
    kind, stamp = read(topic, 1)[0].timestamp()
    equal(kind, 2)
    holds(before - 1000 < stamp < time.time() * 1000 + 1000, f"time {stamp}")


def groups_are_listed():
    topic, group = make_topic(), unique("group")
    c = consumer(group)
    c.subscribe([topic])
    until(lambda: assigned(c), "assigned")
    info = [g for g in admin().list_groups(timeout=WAIT_S) if g.id == group]
    equal((len(info), info[0].state, info[0].protocol_type, len(info[0].members)), (1, "Stable", "consumer", 1))
    c.close()


# --- what only the newest knows


def groups_are_described_altered_and_deleted():
    from confluent_kafka import ConsumerGroupTopicPartitions  # pylint: disable=import-outside-toplevel
    a, topic = admin(), make_topic(2)
    for protocol in ("classic", "consumer"):
        group = unique("group")
        c = consumer(group, group_protocol=protocol)
        c.subscribe([topic])
        until(lambda c=c: len(assigned(c)) == 2, "assigned")
        found = wait(a.describe_consumer_groups([group]))[group]
        equal((found.state.name, len(found.members), found.type.name.lower()), ("STABLE", 1, protocol))
        equal(len(found.members[0].assignment.topic_partitions), 2)
        listed = a.list_consumer_groups().result(WAIT_S)
        holds(group in [g.group_id for g in listed.valid], "it is not listed")
        fails_with(KafkaError.NON_EMPTY_GROUP, lambda group=group: wait(a.delete_consumer_groups([group])))
        c.close()
        places = [TopicPartition(topic, 0, 3), TopicPartition(topic, 1, 4)]
        wait(a.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)]))
        got = wait(a.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))[group].topic_partitions
        equal(sorted((p.partition, p.offset) for p in got), [(0, 3), (1, 4)])
        wait(a.delete_consumer_groups([group]))
        fails_with(KafkaError.GROUP_ID_NOT_FOUND, lambda group=group: wait(a.delete_consumer_groups([group])))


def records_are_deleted():
    topic = make_topic()
    send(topic, [b"%d" % i for i in range(100)])
    done = wait(admin().delete_records([TopicPartition(topic, 0, 60)]))
    equal(list(done.values())[0].low_watermark, 60)
    equal(read(topic, 1)[0].offset(), 60)
    fails_with(KafkaError.OFFSET_OUT_OF_RANGE, lambda: wait(admin().delete_records([TopicPartition(topic, 0, 1000)])))
    wait(admin().delete_records([TopicPartition(topic, 0, -1)]))
    equal(consumer().get_watermark_offsets(TopicPartition(topic, 0), WAIT_S), (100, 100))


def offsets_are_listed():
    from confluent_kafka.admin import OffsetSpec  # pylint: disable=import-outside-toplevel
    topic = make_topic()
    p = producer()
    for stamp in (5000, 9000, 7000):
        p.produce(topic, b"x", timestamp=1700000000000 + stamp)
    p.flush(WAIT_S)
    place = TopicPartition(topic, 0)
    for spec, offset in ((OffsetSpec.earliest(), 0), (OffsetSpec.latest(), 3), (OffsetSpec.max_timestamp(), 1),
                         (OffsetSpec.for_timestamp(1700000006000), 1)):
        equal(list(wait(admin().list_offsets({place: spec})).values())[0].offset, offset)


def the_cluster_and_topics_are_described():
    from confluent_kafka import TopicCollection  # pylint: disable=import-outside-toplevel
    topic, a = make_topic(2), admin()
    cluster = a.describe_cluster(include_authorized_operations=True).result(WAIT_S)
    equal(len(cluster.nodes), 1)
    holds(cluster.cluster_id and cluster.controller, "no cluster id or controller")
    found = list(wait(a.describe_topics(TopicCollection([topic]))).values())[0]
    equal((found.name, len(found.partitions), found.is_internal), (topic, 2, False))
    holds(str(found.topic_id) and found.partitions[0].leader.id == cluster.nodes[0].id, "no id or another leader")


def configs_are_altered_one_by_one():
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry  # pylint: disable=import-outside-toplevel
    name, a = make_topic(retention_ms="1000000", segment_bytes="2000000"), admin()

    def alter(kind, key, value):
        entry = ConfigEntry(key, value, incremental_operation=kind)
        wait(a.incremental_alter_configs([ConfigResource("topic", name, incremental_configs=[entry])]))

    def value(key):
        return list(wait(a.describe_configs([ConfigResource("topic", name)])).values())[0][key].value

    alter(AlterConfigOpType.SET, "retention.ms", "3000000")
    equal((value("retention.ms"), value("segment.bytes")), ("3000000", "2000000"))
    alter(AlterConfigOpType.APPEND, "cleanup.policy", "compact")
    equal(sorted(value("cleanup.policy").split(",")), ["compact", "delete"])
    alter(AlterConfigOpType.SUBTRACT, "cleanup.policy", "delete")
    equal(value("cleanup.policy"), "compact")
    alter(AlterConfigOpType.DELETE, "retention.ms", None)
    equal(value("retention.ms"), "604800000")
    fails_with(KafkaError.INVALID_CONFIG, lambda: alter(AlterConfigOpType.SET, "retention.ms", "soon"))


def groups_elect_no_leader_over_again():
    from confluent_kafka import ElectionType  # pylint: disable=import-outside-toplevel
    topic = make_topic()
    got = admin().elect_leaders(ElectionType.PREFERRED, [TopicPartition(topic, 0)]).result(WAIT_S)
    equal([e.code() for e in got.values()], [KafkaError.ELECTION_NOT_NEEDED])


def share_consumer(group, **settings):
    return confluent_kafka.ShareConsumer({"bootstrap.servers": BROKER, "group.id": group, **{k.replace("_", "."): v for k, v in settings.items()}})


def shared(c, count, seconds=WAIT_S):
    got, end = [], time.monotonic() + seconds
    while len(got) < count and time.monotonic() < end:
        got += [m for m in c.poll(0.5) if not m.error()]
    return got


def from_the_earliest(group):
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry  # pylint: disable=import-outside-toplevel
    entry = ConfigEntry("share.auto.offset.reset", "earliest", incremental_operation=AlterConfigOpType.SET)
    wait(admin().incremental_alter_configs([ConfigResource(ConfigResource.Type.GROUP, group, incremental_configs=[entry])]))


def a_share_group_gets_every_record_once():
    topic, group = make_topic(), unique("share")
    from_the_earliest(group)
    send(topic, [b"%d" % i for i in range(200)])
    stop, got = threading.Event(), []

    def work():
        c = share_consumer(group)
        c.subscribe([topic])
        while not stop.is_set():
            got.extend(m.value() for m in c.poll(0.2) if not m.error())
        c.close()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        until(lambda: len(got) >= 200, "all records")
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    equal(sorted(int(v) for v in got), list(range(200)))


OLD_CASES = [
    what_is_produced_is_read, every_codec, keys_headers_timestamps_and_nulls, every_level_of_acks, an_idempotent_producer,
    keys_decide_the_partition_as_in_java, a_topic_is_made_when_it_is_written_to, a_missing_topic_is_not_made_when_that_is_not_wanted,
    large_messages_and_too_large_ones, small_fetches_and_offsets_in_the_middle_of_a_batch, a_waiting_fetch_is_answered_when_something_comes,
    an_offset_out_of_range, the_end_of_a_partition, offsets_by_time, pausing_and_seeking,
    a_group_continues_where_it_committed, every_assignor, a_static_member_comes_back_unnoticed,
    a_second_process_with_the_same_instance_fences_the_first, offsets_are_committed_without_members, a_member_that_dies_is_missed,
    committed_transactions_are_seen_and_aborted_ones_not, an_open_transaction_holds_back_what_follows, consume_transform_produce,
    a_second_producer_of_an_id_fences_the_first, a_transaction_that_takes_too_long_is_aborted, a_timeout_of_transactions_beyond_the_maximum,
    topics_are_made_described_grown_and_deleted, making_topics_can_be_tried, a_topic_made_again_is_empty,
    configs_of_topics_are_described_and_altered, configs_of_the_broker_are_described, compaction_wants_keys, append_time_is_the_servers,
    groups_are_listed,
]
NEW_CASES = [
    metadata_of_offsets_is_kept, the_new_protocol_of_groups, the_new_protocol_commits, the_new_protocol_takes_patterns,
    classic_members_change_to_the_new_protocol_and_back, cooperative_members_change_to_the_new_protocol_and_back,
    groups_are_described_altered_and_deleted, records_are_deleted, offsets_are_listed, the_cluster_and_topics_are_described,
    configs_are_altered_one_by_one, groups_elect_no_leader_over_again, a_share_group_gets_every_record_once,
]

if __name__ == "__main__":
    run(OLD_CASES + (NEW_CASES if NEW else []))
