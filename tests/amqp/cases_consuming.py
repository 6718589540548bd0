"""Consumers, credit, acknowledgements, and the order in which messages come again."""
import struct

from world import METHOD, Consumer, equal, holds, method, shortstr, table

CASES = []


def case(function):
    CASES.append(function)
    return function


def filled(w, ch, count, suffix="q", **options):
    q = w.queue(ch, suffix, **options)
    for i in range(count):
        w.publish(ch, "", q, i)
    return q


# --- consuming


@case
def consumer_tags_are_given_or_made(w):
    ch = w.channel()
    q = w.queue(ch)
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(60, 20, b"\0\0", shortstr(q), shortstr(""), b"\0", table()))
    tag = peer.expect(60, 21).payload[5:].decode()
    holds(tag.startswith("amq.ctag-") and len(tag) == len("amq.ctag-") + 22, tag)
    equal(Consumer(ch, q, consumer_tag="mine").tag, "mine")


@case
def consumer_tag_used_twice_on_a_channel(w):
    q = w.queue(w.channel())
    peer = w.raw().channel()
    for _ in range(2):
        peer.send(METHOD, 1, method(60, 20, b"\0\0", shortstr(q), shortstr("mine"), b"\0", table()))
    peer.expect(60, 21)
    peer.connection_closes(530, "attempt to reuse consumer tag 'mine'")


@case
def consumer_tag_may_be_used_on_another_channel(w):
    ch = w.channel()
    q = w.queue(ch)
    Consumer(ch, q, consumer_tag="mine")
    Consumer(w.channel(), q, consumer_tag="mine")
    equal(w.counts(ch, q)[1], 2)


@case
def consuming_and_getting_from_a_missing_queue(w):
    missing = w.name("missing")
    for act in (lambda c: c.basic_consume(missing, lambda *_: None), lambda c: c.basic_get(missing), lambda c: c.queue_purge(missing),
                lambda c: c.queue_bind(missing, "amq.topic", "k")):
        ch = w.channel()
        w.closes(ch, 404, f"no queue '{missing}' in vhost '/'", lambda ch=ch, act=act: act(ch))


@case
def get_from_an_empty_queue(w):
    ch = w.channel()
    equal(w.take(ch, w.queue(ch)), None)


@case
def get_tells_how_many_remain(w):
    ch = w.channel()
    q = filled(w, ch, 3)
    equal([ch.basic_get(q, auto_ack=True)[0].message_count for _ in range(3)], [2, 1, 0])


@case
def delivery_tags_count_per_channel(w):
    ch, other = w.channel(), w.channel()
    q = filled(w, ch, 4)
    equal([w.get(ch, q, auto_ack=False).tag for _ in range(2)], [1, 2])
    equal(w.get(other, q, auto_ack=True).tag, 1)
    consumer = Consumer(ch, q)
    w.delivered(consumer, 1)
    equal(consumer.messages[0].tag, 3)


@case
def cancelling_leaves_what_is_held(w):
    ch = w.channel()
    q = filled(w, ch, 2)
    consumer = Consumer(ch, q)
    w.delivered(consumer, 2)
    ch.basic_cancel(consumer.tag)
    equal(w.counts(ch, q), (0, 0))
    ch.basic_nack(consumer.messages[0].tag)
    ch.basic_ack(consumer.messages[1].tag)
    equal(w.get(ch, q).body, "0")
    equal(w.drain(ch, q), [])


@case
def cancelling_an_unknown_tag_succeeds(w):
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(60, 30, shortstr("never"), b"\0"))
    equal(peer.expect(60, 31).payload[4:], shortstr("never"))


@case
def consumer_is_told_when_its_queue_goes(w):
    ch = w.channel()
    q = w.queue(ch)
    consumer = Consumer(w.channel(), q)
    ch.queue_delete(q)
    w.until(lambda: consumer.cancelled, "not told")


@case
def without_the_capability_nothing_is_told(w):
    ch = w.channel()
    q = w.queue(ch)
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(60, 20, b"\0\0", shortstr(q), shortstr("c"), b"\0", table()))
    peer.expect(60, 21)
    ch.queue_delete(q)
    peer.send(METHOD, 1, method(60, 30, shortstr("c"), b"\0"))
    peer.expect(60, 31)


@case
def exclusive_consumer_is_alone(w):
    ch = w.channel()
    q = w.queue(ch)
    Consumer(ch, q, exclusive=True)
    c = w.channel()
    w.closes(c, 403, f"queue '{q}' in vhost '/' in exclusive use", lambda: c.basic_consume(q, lambda *_: None))
    other = w.queue(ch, "other")
    Consumer(ch, other)
    c = w.channel()
    w.closes(c, 403, f"queue '{other}' in vhost '/' in exclusive use", lambda: c.basic_consume(other, lambda *_: None, exclusive=True))


@case
def exclusive_use_ends_with_the_consumer(w):
    ch = w.channel()
    q = w.queue(ch)
    consumer = Consumer(ch, q, exclusive=True)
    ch.basic_cancel(consumer.tag)
    Consumer(w.channel(), q)


@case
def auto_ack_counts_as_settled(w):
    ch, other = w.channel(), w.channel()
    q = filled(w, ch, 3)
    consumer = Consumer(other, q, auto_ack=True)
    w.delivered(consumer, 3)
    other.close()
    equal(w.counts(ch, q), (0, 0))


# --- credit


@case
def prefetch_is_per_consumer(w):
    ch = w.channel()
    q = filled(w, ch, 10)
    c = w.channel()
    c.basic_qos(prefetch_count=2)
    first, second = Consumer(c, q), Consumer(c, q)
    w.delivered(first, 2)
    w.delivered(second, 2)
    equal(w.counts(ch, q)[0], 6)
    c.basic_ack(first.messages[0].tag)
    w.delivered(first, 3)
    equal((len(first.messages), len(second.messages), w.counts(ch, q)[0]), (3, 2, 5))


@case
def prefetch_counts_for_consumers_that_start_later(w):
    ch = w.channel()
    q = w.queue(ch)
    c = w.channel()
    unlimited = Consumer(c, q)
    c.basic_qos(prefetch_count=1)
    for i in range(5):
        w.publish(ch, "", q, i)
    w.delivered(unlimited, 5)


@case
def global_prefetch_is_one_limit_for_the_channel(w):
    ch = w.channel()
    q = filled(w, ch, 10)
    c = w.channel()
    c.basic_qos(prefetch_count=3, global_qos=True)
    first, second = Consumer(c, q), Consumer(c, q)
    w.until(lambda: len(first.messages) + len(second.messages) == 3)
    equal(w.counts(ch, q)[0], 7)
    held = (first.messages + second.messages)[0]
    c.basic_ack(held.tag)
    w.until(lambda: len(first.messages) + len(second.messages) == 4)
    equal(w.counts(ch, q)[0], 6)


@case
def both_prefetches_count(w):
    ch = w.channel()
    q = filled(w, ch, 10)
    c = w.channel()
    c.basic_qos(prefetch_count=2)
    c.basic_qos(prefetch_count=3, global_qos=True)
    first, second = Consumer(c, q), Consumer(c, q)
    w.until(lambda: len(first.messages) + len(second.messages) == 3)
    equal(w.counts(ch, q)[0], 7)
    holds(max(len(first.messages), len(second.messages)) == 2, "more than the consumer's own limit")


@case
def prefetch_of_zero_is_no_limit(w):
    ch = w.channel()
    q = filled(w, ch, 300)
    c = w.channel()
    c.basic_qos(prefetch_count=1)
    c.basic_qos(prefetch_count=0)
    w.delivered(Consumer(c, q), 300)


@case
def quorum_queues_have_a_limit_where_none_was_set(w):
    ch = w.channel()
    q = filled(w, ch, 2100, arguments={"x-queue-type": "quorum"})
    c = w.channel()
    w.delivered(Consumer(c, q), 2000)
    w.until(lambda: w.counts(ch, q)[0] == 100, "not 2,000")
    c.close()
    c = w.channel()
    c.basic_qos(prefetch_count=5000)
    w.delivered(Consumer(c, q), 2100)


@case
def prefetch_does_not_limit_get(w):
    ch = w.channel()
    q = filled(w, ch, 3)
    ch.basic_qos(prefetch_count=1, global_qos=True)
    equal([w.get(ch, q, auto_ack=False).body for _ in range(3)], ["0", "1", "2"])


@case
def global_prefetch_raised_lets_more_come(w):
    ch = w.channel()
    q = filled(w, ch, 6)
    c = w.channel()
    c.basic_qos(prefetch_count=1, global_qos=True)
    consumer = Consumer(c, q)
    w.delivered(consumer, 1)
    equal(w.counts(ch, q)[0], 5)
    c.basic_qos(prefetch_count=4, global_qos=True)
    w.delivered(consumer, 4)
    equal(w.counts(ch, q)[0], 2)


@case
def prefetch_size_is_not_implemented(w):
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(60, 10, struct.pack(">IHB", 1024, 1, 0)))
    peer.connection_closes(540, "prefetch_size!=0 (1024)")


@case
def messages_go_round_among_ready_consumers(w):
    ch = w.channel()
    q = w.queue(ch)
    consumers = [Consumer(w.channel(), q, auto_ack=True) for _ in range(3)]
    for i in range(30):
        w.publish(ch, "", q, i)
    w.until(lambda: sum(len(c.messages) for c in consumers) == 30)
    equal([len(c.messages) for c in consumers], [10, 10, 10])
    for consumer in consumers:
        numbers = [int(b) for b in consumer.bodies]
        equal(numbers, list(range(numbers[0], 30, 3)))


@case
def fair_among_consumers_with_credit(w):
    ch = w.channel()
    q = w.queue(ch)
    slow = w.channel()
    slow.basic_qos(prefetch_count=1)
    stuck = Consumer(slow, q)
    quick = w.channel()
    quick.basic_qos(prefetch_count=1)
    working = Consumer(quick, q, ack=True)
    for i in range(20):
        w.publish(ch, "", q, i)
    w.until(lambda: len(stuck.messages) + len(working.messages) == 20)
    equal(len(stuck.messages), 1)


@case
def consumer_priority_goes_first(w):
    ch = w.channel()
    q = w.queue(ch)
    low = Consumer(w.channel(), q, auto_ack=True)
    high_channel = w.channel()
    high_channel.basic_qos(prefetch_count=3)
    high = Consumer(high_channel, q, arguments={"x-priority": 10})
    for i in range(5):
        w.publish(ch, "", q, i)
    w.delivered(high, 3)
    w.delivered(low, 2)
    equal((high.bodies, low.bodies), (["0", "1", "2"], ["3", "4"]))


@case
def consumer_priority_must_be_a_number(w):
    ch = w.channel()
    q = w.queue(ch)
    w.closes(ch, 406, "x-priority", lambda: ch.basic_consume(q, lambda *_: None, arguments={"x-priority": "high"}))


# --- acknowledging


@case
def ack_of_an_unknown_tag(w):
    for tag in (1, 17):
        ch = w.channel()
        w.closes(ch, 406, f"unknown delivery tag {tag}", lambda ch=ch, tag=tag: ch.basic_ack(tag))
    ch = w.channel()
    w.closes(ch, 406, "unknown delivery tag 5", lambda: ch.basic_nack(5))
    ch = w.channel()
    w.closes(ch, 406, "unknown delivery tag 5", lambda: ch.basic_reject(5))


@case
def ack_twice(w):
    ch = w.channel()
    q = filled(w, ch, 1)
    held = w.get(ch, q, auto_ack=False)
    ch.basic_ack(held.tag)
    w.closes(ch, 406, f"unknown delivery tag {held.tag}", lambda: ch.basic_ack(held.tag))


@case
def ack_of_what_was_auto_acked(w):
    ch = w.channel()
    q = filled(w, ch, 1)
    got = w.get(ch, q, auto_ack=True)
    w.closes(ch, 406, "unknown delivery tag 1", lambda: ch.basic_ack(got.tag))


@case
def ack_multiple_settles_up_to_the_tag(w):
    ch = w.channel()
    q = filled(w, ch, 5)
    tags = [w.get(ch, q, auto_ack=False).tag for _ in range(5)]
    ch.basic_ack(tags[1])
    ch.basic_ack(tags[3], multiple=True)
    ch.close()
    equal(w.drain(w.channel(), q), ["4"])


@case
def ack_zero_multiple_settles_everything(w):
    ch = w.channel()
    q = filled(w, ch, 3)
    for _ in range(3):
        w.get(ch, q, auto_ack=False)
    ch.basic_ack(0, multiple=True)
    ch.basic_ack(0, multiple=True)  # nothing is outstanding: no error
    ch.close()
    equal(w.drain(w.channel(), q), [])


@case
def nack_multiple_requeues_in_order(w):
    ch = w.channel()
    q = filled(w, ch, 5)
    tags = [w.get(ch, q, auto_ack=False).tag for _ in range(4)]
    ch.basic_nack(tags[2], multiple=True, requeue=True)
    equal(w.drain(ch, q), ["0", "1", "2", "4"])
    ch.basic_nack(0, multiple=True, requeue=True)
    equal(w.drain(ch, q), ["3"])


@case
def reject_without_requeue_drops(w):
    ch = w.channel()
    q = filled(w, ch, 2)
    ch.basic_reject(w.get(ch, q, auto_ack=False).tag, requeue=False)
    equal(w.drain(ch, q), ["1"])


@case
def requeued_message_is_at_its_old_place(w):
    ch = w.channel()
    q = filled(w, ch, 6)
    tags = [w.get(ch, q, auto_ack=False).tag for _ in range(4)]
    ch.basic_ack(tags[1])
    for tag in (tags[2], tags[0], tags[3]):  # in any order
        ch.basic_nack(tag)
    equal(w.drain(ch, q), ["0", "2", "3", "4", "5"])


@case
def redelivered_is_set_whatever_the_cause(w):
    ch = w.channel()
    q = filled(w, ch, 1)
    got = w.get(ch, q, auto_ack=False)
    equal(got.redelivered, False)
    ch.basic_nack(got.tag)
    got = w.get(ch, q, auto_ack=False)
    equal(got.redelivered, True)
    ch.basic_reject(got.tag, requeue=True)
    got = w.get(ch, q, auto_ack=False)
    equal(got.redelivered, True)
    ch.close()
    ch = w.channel()
    got = w.get(ch, q, auto_ack=False)
    equal(got.redelivered, True)
    ch.basic_recover(requeue=True)
    got = w.get(ch, q, auto_ack=False)
    equal(got.redelivered, True)
    ch.basic_ack(got.tag)


@case
def message_that_was_only_delivered_is_redelivered(w):
    own = w.connect()
    c = w.channel(own)
    q = filled(w, w.channel(), 3)
    c.basic_qos(prefetch_count=2)
    w.delivered(Consumer(c, q), 2)
    own.close()
    ch = w.channel()
    equal([(m.body, m.redelivered) for m in (w.get(ch, q) for _ in range(3))], [("0", True), ("1", True), ("2", False)])


@case
def closing_the_channel_requeues(w):
    ch = w.channel()
    q = filled(w, ch, 3)
    c = w.channel()
    consumer = Consumer(c, q)
    w.delivered(consumer, 3)
    c.basic_ack(consumer.messages[1].tag)
    c.close()
    equal(w.drain(ch, q), ["0", "2"])


@case
def lost_connection_requeues(w):
    ch = w.channel()
    q = filled(w, ch, 3)
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(60, 20, b"\0\0", shortstr(q), shortstr("c"), b"\0", table()))
    peer.expect(60, 21)
    for _ in range(3):
        peer.expect(60, 60)
        peer.frame()
        peer.frame()
    equal(w.counts(ch, q), (0, 1))
    peer.close()
    w.until(lambda: w.counts(ch, q) == (3, 0), "not requeued")
    equal(w.drain(ch, q), ["0", "1", "2"])


@case
def recover_requeues_everything_held(w):
    ch = w.channel()
    q = filled(w, ch, 3)
    for _ in range(2):
        w.get(ch, q, auto_ack=False)
    ch.basic_recover(requeue=True)
    equal(w.drain(ch, q), ["0", "1", "2"])


@case
def recover_async_is_not_answered(w):
    ch = w.channel()
    q = filled(w, ch, 2)
    peer = w.raw().channel()
    for _ in range(2):
        peer.send(METHOD, 1, method(60, 70, b"\0\0", shortstr(q), b"\0"))
        peer.expect(60, 71)
        peer.frame()
        peer.frame()
    peer.send(METHOD, 1, method(60, 100, b"\1"))
    peer.send(METHOD, 1, method(50, 10, b"\0\0", shortstr(q), b"\1", table()))
    peer.expect(50, 11)
    w.until(lambda: w.counts(ch, q)[0] == 2)


@case
def recover_without_requeue_is_not_implemented(w):
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(60, 110, b"\0"))
    peer.connection_closes(540, "requeue=false")


@case
def acks_belong_to_their_channel(w):
    ch, other = w.channel(), w.channel()
    q = filled(w, ch, 1)
    held = w.get(ch, q, auto_ack=False)
    w.closes(other, 406, "unknown delivery tag", lambda: other.basic_ack(held.tag))
    ch.basic_ack(held.tag)


@case
def flow_is_answered(w):
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(20, 20, b"\1"))
    equal(peer.expect(20, 21).payload[4:], b"\1")


@case
def flow_off_is_not_implemented(w):
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(20, 20, b"\0"))
    peer.connection_closes(540, "active=false")


@case
def access_request_gives_a_ticket(w):
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(30, 10, shortstr("/data"), b"\x1f"))
    equal(peer.expect(30, 11).payload[4:], b"\0\1")


# --- one consumer at a time


@case
def single_active_consumer_gets_everything(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-single-active-consumer": True})
    first, second = Consumer(w.channel(), q, ack=True), Consumer(w.channel(), q, ack=True)
    for i in range(10):
        w.publish(ch, "", q, i)
    w.delivered(first, 10)
    equal(second.messages, [])
    first.channel.close()
    for i in range(10, 15):
        w.publish(ch, "", q, i)
    w.delivered(second, 5)
    equal(second.bodies, [str(i) for i in range(10, 15)])


@case
def next_single_active_consumer_gets_what_was_held(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-single-active-consumer": True})
    first, second = Consumer(w.channel(), q), Consumer(w.channel(), q)
    for i in range(3):
        w.publish(ch, "", q, i)
    w.delivered(first, 3)
    first.channel.close()
    w.delivered(second, 3)
    equal([(m.body, m.redelivered) for m in second.messages], [("0", True), ("1", True), ("2", True)])


@case
def single_active_consumer_and_exclusive_exclude_each_other(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-single-active-consumer": True})
    w.closes(ch, 403, f"queue '{q}' in vhost '/' in exclusive use", lambda: ch.basic_consume(q, lambda *_: None, exclusive=True))


@case
def get_from_a_single_active_consumer_queue_is_locked(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-single-active-consumer": True, "x-queue-type": "quorum"})
    w.closes(ch, 405, f"cannot obtain access to locked queue '{q}' in vhost '/'", lambda: ch.basic_get(q))


@case
def consumers_of_many_queues_on_one_channel(w):
    ch = w.channel()
    queues = [w.queue(ch, str(i)) for i in range(20)]
    c = w.channel()
    consumers = [Consumer(c, q) for q in queues]
    for q in queues * 3:
        w.publish(ch, "", q, q)
    for q, consumer in zip(queues, consumers):
        w.delivered(consumer, 3)
        equal(consumer.bodies, [q] * 3)
    c.basic_ack(0, multiple=True)
    c.close()
    for q in queues:
        equal(w.counts(ch, q), (0, 0))


@case
def unacked_without_limit_and_acked_at_once(w):
    ch = w.channel()
    q = filled(w, ch, 3000)
    c = w.channel()
    consumer = Consumer(c, q)
    w.delivered(consumer, 3000)
    equal(w.counts(ch, q), (0, 1))
    c.basic_ack(consumer.messages[-1].tag, multiple=True)
    c.close()
    equal(w.counts(ch, q), (0, 0))


@case
def consumers_that_may_read_no_more_are_cancelled_with_a_new_secret(w):
    user = w.user(".*", ".*", ".*")
    owner = w.channel()
    queue = w.queue(owner)
    connection = w.connect(user, "secret")
    ch = w.channel(connection)
    consumer = Consumer(ch, queue)
    w.api("PUT", f"permissions/%2f/{user}", {"configure": ".*", "write": ".*", "read": "^none$"})
    connection.update_secret("secret", "renewed")
    w.until(lambda: consumer.cancelled, "not cancelled")
    equal(w.counts(owner, queue), (0, 0))
