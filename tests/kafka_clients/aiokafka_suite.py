"""aiokafka: producers, consumers, groups, transactions."""
import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import ProducerFenced
from aiokafka.structs import OffsetAndMetadata

from cases import BROKER, equal, holds, run, unique

WAIT_S = 240


def case(work):
    """A case is a coroutine; its name is that of the function."""
    def wrapped():
        asyncio.run(work())
    wrapped.__name__ = work.__name__
    CASES.append(wrapped)
    return wrapped


CASES = []


class Started:
    """async with: what has start() and stop()."""

    def __init__(self, client):
        self.client = client

    async def __aenter__(self):
        await self.client.start()
        return self.client

    async def __aexit__(self, *_):
        await self.client.stop()


def admin():
    client = AIOKafkaAdminClient(bootstrap_servers=BROKER)
    client.stop = client.close
    return Started(client)


def producer(**settings):
    return Started(AIOKafkaProducer(bootstrap_servers=BROKER, **settings))


def consumer(*topics, **settings):
    usual = {"auto_offset_reset": "earliest", "enable_auto_commit": False, "heartbeat_interval_ms": 300, "session_timeout_ms": 10000}
    return Started(AIOKafkaConsumer(*topics, bootstrap_servers=BROKER, **{**usual, **settings}))


async def make_topic(partitions=1):
    topic = unique("topic")
    async with admin() as a:
        await a.create_topics([NewTopic(topic, partitions, 1)])
    return topic


async def take(c, count):
    return [await asyncio.wait_for(c.getone(), WAIT_S) for _ in range(count)]


async def until(condition, what):
    for _ in range(WAIT_S * 20):
        got = condition()
        if got:
            return
        await asyncio.sleep(0.05)
    holds(False, f"not within {WAIT_S} s: {what}")


@case
async def what_is_produced_is_read():
    topic = await make_topic()
    for settings in ({}, {"compression_type": "gzip"}, {"acks": "all"}, {"acks": 0}, {"enable_idempotence": True}):
        async with producer(**settings) as p:
            for i in range(200):
                await p.send(topic, b"%d" % i, key=b"k", headers=[("h", b"1")], partition=0)
    async with consumer(topic) as c:
        got = await take(c, 1000)
    equal([int(m.value) for m in got], list(range(200)) * 5)
    equal((got[0].key, got[0].headers, got[-1].offset), (b"k", (("h", b"1"),), 999))


@case
async def a_group_shares_partitions():
    topic, group = await make_topic(4), unique("group")
    async with consumer(topic, group_id=group) as one:
        equal(len(one.assignment()), 4)
        async with consumer(topic, group_id=group) as two:
            await until(lambda: len(one.assignment()) == 2 and len(two.assignment()) == 2, "two for each")
        await until(lambda: len(one.assignment()) == 4, "all again")


@case
async def a_sticky_group():
    topic, group = await make_topic(4), unique("group")
    settings = {"group_id": group, "partition_assignment_strategy": (StickyPartitionAssignor,)}
    async with consumer(topic, **settings) as one, consumer(topic, **settings) as two:
        await until(lambda: len(one.assignment()) == 2 and len(two.assignment()) == 2, "two for each")


@case
async def offsets_are_committed_with_metadata():
    topic, group = await make_topic(), unique("group")
    async with producer() as p:
        for _ in range(10):
            await p.send_and_wait(topic, b"x")
    place = TopicPartition(topic, 0)
    async with consumer(topic, group_id=group) as c:
        await take(c, 4)
        await c.commit({place: OffsetAndMetadata(4, "four")})
    async with consumer(topic, group_id=group) as c:
        equal((await take(c, 1))[0].offset, 4)
        equal(await c.committed(place), 4)
    async with admin() as a:
        equal(await a.list_consumer_group_offsets(group), {place: OffsetAndMetadata(4, "four")})


@case
async def offsets_and_times():
    topic = await make_topic()
    async with producer() as p:
        for stamp in (1000, 2000, 3000):
            await p.send_and_wait(topic, b"x", timestamp_ms=stamp, partition=0)
    place = TopicPartition(topic, 0)
    async with consumer(topic) as c:
        equal((await c.beginning_offsets([place]), await c.end_offsets([place])), ({place: 0}, {place: 3}))
        equal((await c.offsets_for_times({place: 1500}))[place].offset, 1)
        c.seek(place, 2)
        equal((await take(c, 1))[0].offset, 2)


@case
async def transactions_are_all_or_nothing():
    source, target, group = await make_topic(), await make_topic(), unique("group")
    place = TopicPartition(source, 0)
    async with producer(transactional_id=unique("transaction")) as p:
        async with p.transaction():
            for i in range(5):
                await p.send(target, b"%d" % i)
            await p.send_offsets_to_transaction({place: 7}, group)
        try:
            async with p.transaction():
                await p.send_and_wait(target, b"no")
                raise ValueError
        except ValueError:
            pass
    async with producer() as p:
        await p.send_and_wait(target, b"end")
    async with consumer(target, isolation_level="read_committed") as c:
        equal([m.value for m in await take(c, 6)], [b"0", b"1", b"2", b"3", b"4", b"end"])
    async with consumer(target) as c:
        equal(len(await take(c, 7)), 7)
    async with consumer(source, group_id=group) as c:
        equal(await c.committed(place), 7)


@case
async def a_second_producer_fences_the_first():
    topic, id = await make_topic(), unique("transaction")
    first = AIOKafkaProducer(bootstrap_servers=BROKER, transactional_id=id)
    await first.start()
    await first.begin_transaction()
    await first.send_and_wait(topic, b"lost")
    async with producer(transactional_id=id) as second:
        async with second.transaction():
            await second.send_and_wait(topic, b"kept")
    try:
        await first.commit_transaction()
        holds(False, "the first was not fenced")
    except ProducerFenced:
        pass
    async with consumer(topic, isolation_level="read_committed") as c:
        equal((await take(c, 1))[0].value, b"kept")


@case
async def topics_are_administered():
    topic = await make_topic(2)
    async with admin() as a:
        await a.create_partitions({topic: NewPartitions(3)})
        equal(len((await a.describe_topics([topic]))[0]["partitions"]), 3)
        holds(topic in await a.list_topics(), "not listed")
        await a.delete_topics([topic])
        holds(topic not in await a.list_topics(), "still listed")


if __name__ == "__main__":
    run(CASES)
