"""kafka-python, which guesses from the versions of requests which release of Kafka it talks to."""
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic

from cases import BROKER, equal, holds, run, unique, until


def make_topic(partitions=1):
    topic = unique("topic")
    a = KafkaAdminClient(bootstrap_servers=BROKER)
    a.create_topics([NewTopic(topic, partitions, 1)])
    a.close()
    return topic


def consumer(*topics, **settings):
    return KafkaConsumer(*topics, bootstrap_servers=BROKER, auto_offset_reset="earliest", consumer_timeout_ms=20000, **settings)


def take(c, count):
    got = []
    for message in c:
        got.append(message)
        if len(got) == count:
            return got
    return got


def what_is_produced_is_read():
    topic = make_topic()
    for settings in ({}, {"compression_type": "gzip"}, {"acks": "all"}, {"enable_idempotence": True}):
        p = KafkaProducer(bootstrap_servers=BROKER, **settings)
        for i in range(100):
            p.send(topic, b"%d" % i, key=b"k", headers=[("h", b"1")])
        p.close()
    got = take(consumer(topic), 400)
    equal([int(m.value) for m in got], list(range(100)) * 4)


def a_group_continues_where_it_committed():
    topic, group = make_topic(), unique("group")
    p = KafkaProducer(bootstrap_servers=BROKER)
    for i in range(10):
        p.send(topic, b"%d" % i)
    p.close()
    c = consumer(topic, group_id=group, enable_auto_commit=False, max_poll_records=1)
    take(c, 6)
    c.commit()
    c.close()
    equal(take(consumer(topic, group_id=group), 1)[0].offset, 6)


def a_transaction():
    topic = make_topic()
    p = KafkaProducer(bootstrap_servers=BROKER, transactional_id=unique("transaction"))
    p.init_transactions()
    for i in range(4):
        p.begin_transaction()
        p.send(topic, b"%d" % i)
        if i % 2:
            p.flush()
            p.abort_transaction()
        else:
            p.commit_transaction()
    p.close()
    equal([m.value for m in take(consumer(topic, isolation_level="read_committed"), 2)], [b"0", b"2"])


def administration():
    topic = make_topic(2)
    a = KafkaAdminClient(bootstrap_servers=BROKER)
    a.create_partitions({topic: NewPartitions(total_count=4)})
    until(lambda: len(a.describe_topics([topic])[0]["partitions"]) == 4, "4 partitions")
    holds(topic in a.list_topics(), "not listed")
    a.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "123456"})])
    holds("123456" in str(a.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])), "the config is not what was set")
    a.delete_topics([topic])
    until(lambda: topic not in a.list_topics(), "it is gone")
    a.close()


def offsets():
    topic = make_topic()
    p = KafkaProducer(bootstrap_servers=BROKER)
    for stamp in (1000, 2000, 3000):
        p.send(topic, b"x", timestamp_ms=stamp)
    p.close()
    place, c = TopicPartition(topic, 0), consumer()
    equal((c.beginning_offsets([place]), c.end_offsets([place])), ({place: 0}, {place: 3}))
    equal(c.offsets_for_times({place: 2500})[place].offset, 2)


if __name__ == "__main__":
    run([what_is_produced_is_read, a_group_continues_where_it_committed, a_transaction, administration, offsets])
