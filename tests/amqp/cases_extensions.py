"""RabbitMQ's extensions: time to live, dead letters, limits, priorities, replies, quorum queues, streams, hashes, policies."""
import struct
import time
from decimal import Decimal

from pika.compat import long

from world import METHOD, Consumer, contains, equal, holds, method, shortstr, table

CASES = []


def case(function):
    CASES.append(function)
    return function


# --- time to live


@case
def queue_ttl_expires_messages(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-message-ttl": 100})
    w.publish(ch, "", q, "x")
    time.sleep(0.2)
    w.until(lambda: w.counts(ch, q)[0] == 0, "not expired")
    equal(w.drain(ch, q), [])


@case
def message_ttl_expires_messages(w):
    ch = w.channel()
    q = w.queue(ch)
    w.publish(ch, "", q, "soon", expiration="100")
    w.publish(ch, "", q, "later", expiration="600000")
    w.until(lambda: w.counts(ch, q)[0] == 1, "not expired")
    got = w.get(ch, q)
    equal((got.body, got.properties.expiration), ("later", "600000"))


@case
def smaller_ttl_wins(w):
    ch = w.channel()
    short, long = w.queue(ch, "short", arguments={"x-message-ttl": 100}), w.queue(ch, "long", arguments={"x-message-ttl": 600000})
    w.publish(ch, "", short, "x", expiration="600000")
    w.publish(ch, "", long, "x", expiration="100")
    w.until(lambda: w.counts(ch, short)[0] + w.counts(ch, long)[0] == 0, "not expired")


@case
def ttl_of_zero_is_for_a_waiting_consumer(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-message-ttl": 0})
    w.publish(ch, "", q, "nobody waits")
    equal(w.drain(ch, q), [])
    consumer = Consumer(w.channel(), q, auto_ack=True)
    w.publish(ch, "", q, "now")
    w.delivered(consumer, 1)
    equal(consumer.bodies, ["now"])


@case
def expired_messages_leave_at_the_head_only(w):
    ch = w.channel()
    dead = w.queue(ch, "dead")
    q = w.queue(ch, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    w.publish(ch, "", q, "stays")
    w.publish(ch, "", q, "behind", expiration="1")
    time.sleep(0.2)
    equal(w.counts(ch, q)[0], 2)
    equal(w.counts(ch, dead)[0], 0)
    equal(w.get(ch, q).body, "stays")
    equal(w.get(ch, dead).body, "behind")
    equal(w.counts(ch, q)[0], 0)


def hold(w, ch, q):
    """A message that is held before it expires: others may expire before they are asked for."""
    held = None
    while held is None:
        w.publish(ch, "", q, "x")
        held = w.take(ch, q, auto_ack=False)
    return held


@case
def requeue_keeps_the_expiry(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-message-ttl": 200})
    held = hold(w, ch, q)
    time.sleep(0.3)
    ch.basic_nack(held.tag)
    equal(w.drain(ch, q), [])


@case
def held_messages_do_not_expire(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-message-ttl": 50})
    held = hold(w, ch, q)
    time.sleep(0.15)
    ch.basic_ack(held.tag)


@case
def ttl_must_be_a_number_that_is_not_negative(w):
    for value in (-1, "60000", True):
        ch = w.channel()
        w.closes(ch, 406, "invalid arg 'x-message-ttl' for queue", lambda ch=ch, value=value: w.queue(ch, arguments={"x-message-ttl": value}))


# --- dead letters


def with_dead(w, ch, arguments=None, own_key=True):
    """A queue whose dead letters come to another, and that."""
    dead = w.queue(ch, "dead")
    x = w.exchange(ch, "direct", "dlx")
    ch.queue_bind(dead, x, "dead")
    more = {"x-dead-letter-routing-key": "dead"} if own_key else {}
    return w.queue(ch, arguments={"x-dead-letter-exchange": x, **more, **(arguments or {})}), dead, x


@case
def rejected_message_is_dead_lettered(w):
    ch = w.channel()
    q, dead, x = with_dead(w, ch)
    for act in (lambda tag: ch.basic_reject(tag, requeue=False), lambda tag: ch.basic_nack(tag, requeue=False)):
        w.publish(ch, "", q, "bad", message_id="m1", headers={"a": 1})
        act(w.get(ch, q, auto_ack=False).tag)
        got = w.get(ch, dead)
        equal((got.body, got.exchange, got.key, got.properties.message_id, got.redelivered), ("bad", x, "dead", "m1", False))
        death = got.headers["x-death"]
        equal(len(death), 1)
        equal({k: v for k, v in death[0].items() if k != "time"},
              {"count": 1, "reason": "rejected", "queue": q, "exchange": "", "routing-keys": [q]})
        holds(abs(death[0]["time"].timestamp() - time.time()) < 86400, str(death[0]["time"]))
        equal({k: v for k, v in got.headers.items() if k not in ("x-death",) and not k.startswith("x-last-death")},
              {"a": 1, "x-first-death-exchange": "", "x-first-death-queue": q, "x-first-death-reason": "rejected"})


@case
def last_death_is_told(w):
    ch = w.channel()
    q, dead, _ = with_dead(w, ch)
    w.publish(ch, "", q, "bad")
    ch.basic_reject(w.get(ch, q, auto_ack=False).tag, requeue=False)
    headers = w.get(ch, dead).headers
    equal({k: headers.get(k) for k in headers if k.startswith("x-last-death")},
          {"x-last-death-exchange": "", "x-last-death-queue": q, "x-last-death-reason": "rejected"})


@case
def expired_message_is_dead_lettered(w):
    ch = w.channel()
    q, dead, _ = with_dead(w, ch, {"x-message-ttl": 60000})
    w.publish(ch, "", q, "old", expiration="50")
    got = w.get(ch, dead)
    death = got.headers["x-death"][0]
    equal((death["reason"], death["count"], death["original-expiration"]), ("expired", 1, "50"))
    equal(got.properties.expiration, None)
    q2, dead2, _ = with_dead_again(w, ch, {"x-message-ttl": 50})
    w.publish(ch, "", q2, "old")
    death = w.get(ch, dead2).headers["x-death"][0]
    equal(("original-expiration" in death, death["reason"]), (False, "expired"))


def with_dead_again(w, ch, arguments):
    dead = w.queue(ch, "dead2")
    x = w.exchange(ch, "fanout", "dlx2")
    ch.queue_bind(dead, x)
    return w.queue(ch, "q2", arguments={"x-dead-letter-exchange": x, **arguments}), dead, x


@case
def order_of_a_death_and_its_types(w):
    """The very bytes of x-death, as other programs read them."""
    ch = w.channel()
    q, dead, _ = with_dead(w, ch)
    w.publish(ch, "", q, "old", expiration="1")
    w.until(lambda: w.counts(ch, dead)[0] == 1)
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(60, 70, b"\0\0", shortstr(dead), b"\1"))
    peer.expect(60, 71)
    header = peer.frame().payload
    at = header.index(b"\x07x-death") + 8
    equal(header[at:at + 1], b"A")
    at += 5
    equal(header[at:at + 1], b"F")
    size = struct.unpack(">I", header[at + 1:at + 5])[0]
    death = header[at + 5:at + 5 + size]
    letters = {}
    for name in ("count", "reason", "queue", "time", "exchange", "routing-keys", "original-expiration"):
        place = death.index(shortstr(name))
        letters[name] = death[place + 1 + len(name):place + 2 + len(name)]
    equal(letters, {"count": b"l", "reason": b"S", "queue": b"S", "time": b"T", "exchange": b"S", "routing-keys": b"A",
                    "original-expiration": b"S"})


@case
def dead_letters_keep_their_keys_without_one_of_the_queue(w):
    ch = w.channel()
    dead, cc = w.queue(ch, "dead"), w.queue(ch, "cc")
    x = w.exchange(ch, "direct", "dlx")
    q = w.queue(ch, arguments={"x-dead-letter-exchange": x})
    ch.queue_bind(dead, x, q)
    ch.queue_bind(cc, x, "copy")
    w.publish(ch, "", q, "bad", headers={"CC": ["copy"], "BCC": ["secret"]})
    ch.basic_reject(w.get(ch, q, auto_ack=False).tag, requeue=False)
    for name in (dead, cc):
        got = w.get(ch, name)
        equal((got.body, got.key, got.headers["x-death"][0]["routing-keys"]), ("bad", q, [q, "copy"]))


@case
def dead_lettering_through_a_topic_exchange(w):
    ch = w.channel()
    x, dlx = w.exchange(ch, "topic"), w.exchange(ch, "topic", "dlx")
    q, dead = w.queue(ch, arguments={"x-dead-letter-exchange": dlx}), w.queue(ch, "dead")
    ch.queue_bind(q, x, "order.#")
    ch.queue_bind(dead, dlx, "order.paid")
    w.publish(ch, x, "order.paid", "bad")
    ch.basic_reject(w.get(ch, q, auto_ack=False).tag, requeue=False)
    got = w.get(ch, dead)
    equal((got.key, got.exchange, got.headers["x-death"][0]["exchange"], got.headers["x-first-death-exchange"]), ("order.paid", dlx, x, x))


@case
def dead_letters_without_a_target_are_dropped(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-dead-letter-exchange": w.name("nowhere")})
    w.publish(ch, "", q, "bad")
    ch.basic_reject(w.get(ch, q, auto_ack=False).tag, requeue=False)
    equal(w.counts(ch, q)[0], 0)


@case
def retry_ladder_counts_its_deaths(w):
    ch = w.channel()
    work, wait = w.name("work"), w.name("wait")
    w.queue(ch, "wait", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": work, "x-message-ttl": 30})
    w.queue(ch, "work", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": wait})
    w.publish(ch, "", work, "try")
    for round in range(4):
        got = w.get(ch, work, auto_ack=False)
        death = [(d["queue"], d["reason"], d["count"]) for d in got.headers.get("x-death", [])]
        equal(death, [(wait, "expired", round), (work, "rejected", round)] if round else [])
        if round:
            equal((got.headers["x-first-death-queue"], got.headers["x-first-death-reason"]), (work, "rejected"))
        ch.basic_reject(got.tag, requeue=False)


@case
def circle_without_a_rejection_is_dropped(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-dead-letter-exchange": "", "x-message-ttl": 30})
    w.publish(ch, "", q, "round")
    w.until(lambda: w.counts(ch, q)[0] == 0, "still there")
    time.sleep(0.15)
    equal(w.counts(ch, q)[0], 0)


@case
def longer_circle_without_a_rejection_is_dropped(w):
    ch = w.channel()
    a, b = w.name("a"), w.name("b")
    w.queue(ch, "b", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": a, "x-message-ttl": 30})
    w.queue(ch, "a", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": b, "x-message-ttl": 30})
    w.publish(ch, "", a, "round")
    w.until(lambda: w.counts(ch, a)[0] + w.counts(ch, b)[0] == 0, "still there")
    time.sleep(0.2)
    equal(w.counts(ch, a)[0] + w.counts(ch, b)[0], 0)


@case
def dead_letter_key_needs_an_exchange(w):
    ch = w.channel()
    w.closes(ch, 406, "routing_key_but_no_dlx_defined", lambda: w.queue(ch, arguments={"x-dead-letter-routing-key": "k"}))


@case
def purged_and_deleted_messages_are_not_dead_lettered(w):
    ch = w.channel()
    q, dead, _ = with_dead(w, ch)
    w.publish(ch, "", q, "x")
    ch.queue_purge(q)
    w.publish(ch, "", q, "x")
    ch.queue_delete(q)
    equal(w.counts(ch, dead)[0], 0)


@case
def dead_letters_of_many_at_once_keep_their_order(w):
    ch = w.channel()
    q, dead, _ = with_dead(w, ch)
    for i in range(200):
        w.publish(ch, "", q, i)
    consumer = Consumer(w.channel(), q)
    w.delivered(consumer, 200)
    consumer.channel.basic_nack(0, multiple=True, requeue=False)
    w.until(lambda: w.counts(ch, dead)[0] == 200)
    equal(w.drain(ch, dead), [str(i) for i in range(200)])


# --- limits of length


@case
def full_queue_drops_its_head(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-max-length": 3})
    for i in range(10):
        w.publish(ch, "", q, i)
    w.until(lambda: w.counts(ch, q)[0] == 3)
    equal(w.drain(ch, q), ["7", "8", "9"])


@case
def dropped_head_is_dead_lettered(w):
    ch = w.channel()
    q, dead, _ = with_dead(w, ch, {"x-max-length": 1})
    w.publish(ch, "", q, "old")
    w.publish(ch, "", q, "new")
    got = w.get(ch, dead)
    equal((got.body, got.headers["x-death"][0]["reason"]), ("old", "maxlen"))
    equal(w.drain(ch, q), ["new"])


@case
def rejected_publish_is_dead_lettered_if_asked(w):
    ch = w.channel()
    q, dead, _ = with_dead(w, ch, {"x-max-length": 1, "x-overflow": "reject-publish-dlx"})
    for i in range(5):
        w.publish(ch, "", q, i)
    w.until(lambda: w.counts(ch, q)[0] + w.counts(ch, dead)[0] == 5)
    bodies = w.drain(ch, dead)
    equal(bodies, [str(i) for i in range(5 - len(bodies), 5)])
    equal(w.drain(ch, q)[0], "0")


@case
def length_in_bytes_counts_bodies(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-max-length-bytes": 100})
    for i in range(10):
        w.publish(ch, "", q, str(i) * 30, headers={"long": "x" * 500})
    w.until(lambda: w.counts(ch, q)[0] == 3)
    equal([b[0] for b in w.drain(ch, q)], ["7", "8", "9"])


@case
def held_messages_do_not_count_for_the_length(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-max-length": 2})
    for i in range(2):
        w.publish(ch, "", q, i)
    held = [w.get(ch, q, auto_ack=False) for _ in range(2)]
    for i in range(2, 4):
        w.publish(ch, "", q, i)
    equal(w.counts(ch, q)[0], 2)
    ch.basic_ack(held[0].tag)
    ch.basic_ack(held[1].tag)
    equal(w.drain(ch, q), ["2", "3"])


@case
def length_of_zero_passes_to_waiting_consumers_only(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-max-length": 0})
    w.publish(ch, "", q, "dropped")
    equal(w.counts(ch, q)[0], 0)
    equal(w.drain(ch, q), [])


@case
def limits_must_be_right(w):
    for name, value in (("x-max-length", -1), ("x-max-length", "5"), ("x-max-length-bytes", -1), ("x-overflow", "explode"), ("x-overflow", 1),
                        ("x-max-priority", -1), ("x-max-priority", 256), ("x-single-active-consumer", "yes"),
                        ("x-queue-type", "strange"), ("x-expires", "soon")):
        ch = w.channel()
        w.closes(ch, 406, f"invalid arg '{name}' for queue", lambda ch=ch, name=name, value=value: w.queue(ch, arguments={name: value}))


# --- priorities


@case
def higher_priority_goes_first(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-max-priority": 5})
    for body, priority in (("none", None), ("1", 1), ("5", 5), ("9", 9), ("0", 0), ("3", 3), ("1 again", 1)):
        w.publish(ch, "", q, body, priority=priority)
    equal(w.drain(ch, q), ["5", "9", "3", "1", "1 again", "none", "0"])


@case
def priorities_are_kept_when_they_come_back(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-max-priority": 5})
    for body, priority in (("a1", 1), ("a3", 3), ("b1", 1), ("b3", 3)):
        w.publish(ch, "", q, body, priority=priority)
    held = [w.get(ch, q, auto_ack=False) for _ in range(4)]
    equal([m.body for m in held], ["a3", "b3", "a1", "b1"])
    for i in (2, 1, 0, 3):
        ch.basic_nack(held[i].tag)
    equal(w.drain(ch, q), ["a3", "b3", "a1", "b1"])
    w.publish(ch, "", q, "x", priority=200)
    equal(w.get(ch, q).properties.priority, 200)


@case
def without_the_argument_priority_does_not_matter(w):
    ch = w.channel()
    q = w.queue(ch)
    for i in range(5):
        w.publish(ch, "", q, i, priority=i)
    equal(w.drain(ch, q), ["0", "1", "2", "3", "4"])


# --- direct replies


REPLY_TO = "amq.rabbitmq.reply-to"


@case
def direct_reply_to_carries_an_answer(w):
    asker, answerer = w.channel(), w.channel(w.connect())
    q = w.queue(answerer)
    replies = Consumer(asker, REPLY_TO, auto_ack=True)
    w.publish(asker, "", q, "question", reply_to=REPLY_TO, correlation_id="7")
    asked = w.get(answerer, q)
    holds(asked.properties.reply_to.startswith(REPLY_TO + "."), asked.properties.reply_to)
    w.publish(answerer, "", asked.properties.reply_to, "answer", correlation_id=asked.properties.correlation_id)
    w.delivered(replies, 1)
    got = replies.messages[0]
    equal((got.body, got.properties.correlation_id, got.exchange, got.key, got.redelivered),
          ("answer", "7", "", asked.properties.reply_to, False))


@case
def direct_reply_to_an_asker_that_left_is_lost(w):
    own = w.connect()
    asker, answerer = w.channel(own), w.channel(w.connect())
    q = w.queue(answerer)
    Consumer(asker, REPLY_TO, auto_ack=True)
    w.publish(asker, "", q, "question", reply_to=REPLY_TO)
    asked = w.get(answerer, q)
    equal(answerer.queue_declare(asked.properties.reply_to, passive=True).method.consumer_count, 1)
    own.close()
    w.publish(answerer, "", asked.properties.reply_to, "answer")
    w.closes(answerer, 404, "no queue 'amq.rabbitmq.reply-to.", lambda: answerer.queue_declare(asked.properties.reply_to, passive=True))


@case
def direct_reply_to_needs_a_consumer_first(w):
    ch = w.channel()
    q = w.queue(ch)
    w.closes(ch, 406, "fast reply consumer does not exist", lambda: w.publish(ch, "", q, "x", reply_to=REPLY_TO))


@case
def direct_reply_to_consumes_without_ack(w):
    ch = w.channel()
    w.closes(ch, 406, "reply consumer cannot acknowledge", lambda: ch.basic_consume(REPLY_TO, lambda *_: None))


@case
def direct_reply_to_has_one_consumer_a_channel(w):
    ch = w.channel()
    Consumer(ch, REPLY_TO, auto_ack=True)
    w.closes(ch, 406, "reply consumer already set", lambda: ch.basic_consume(REPLY_TO, lambda *_: None, auto_ack=True))


@case
def direct_reply_to_may_be_cancelled_and_begun_again(w):
    ch = w.channel()
    q = w.queue(ch)
    first = Consumer(ch, REPLY_TO, auto_ack=True)
    ch.basic_cancel(first.tag)
    replies = Consumer(ch, REPLY_TO, auto_ack=True)
    w.publish(ch, "", q, "question", reply_to=REPLY_TO)
    w.publish(ch, "", w.get(ch, q).properties.reply_to, "answer")
    w.delivered(replies, 1)


# --- quorum queues


QUORUM = {"x-queue-type": "quorum"}


@case
def quorum_queue_takes_and_gives(w):
    ch = w.channel()
    q = w.queue(ch, arguments=QUORUM)
    ch.confirm_delivery()
    for i in range(10):
        w.publish(ch, "", q, i)
    consumer = Consumer(w.channel(), q, ack=True)
    w.delivered(consumer, 10)
    equal(consumer.bodies, [str(i) for i in range(10)])


@case
def quorum_queue_must_be_durable_and_shared(w):
    for options in ({"durable": False}, {"exclusive": True}):
        ch = w.channel()
        w.closes(ch, 406, "invalid property", lambda ch=ch, options=options: w.queue(ch, arguments=QUORUM, **options))


@case
def quorum_queue_counts_deliveries(w):
    ch = w.channel()
    q = w.queue(ch, arguments=QUORUM)
    ch.confirm_delivery()
    w.publish(ch, "", q, "x")
    counts = []
    for _ in range(4):
        got = w.get(ch, q, auto_ack=False)
        counts.append(got.headers.get("x-delivery-count"))
        ch.basic_reject(got.tag, requeue=True)
    equal(counts[1:], [1, 2, 3])
    holds(not counts[0], str(counts[0]))


@case
def quorum_queue_limits_deliveries(w):
    ch = w.channel()
    dead = w.queue(ch, "dead")
    q = w.queue(ch, arguments={**QUORUM, "x-delivery-limit": 2, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    ch.confirm_delivery()
    w.publish(ch, "", q, "poison")
    for _ in range(3):
        ch.basic_reject(w.get(ch, q, auto_ack=False).tag, requeue=True)
    got = w.get(ch, dead)
    equal((got.body, got.headers["x-death"][0]["reason"]), ("poison", "delivery_limit"))


@case
def quorum_queue_of_another_type_is_not_the_same(w):
    ch = w.channel()
    q = w.queue(ch)
    w.closes(ch, 406, f"inequivalent arg 'x-queue-type' for queue '{q}'", lambda: ch.queue_declare(q, durable=True, arguments=QUORUM))
    w.channel().queue_declare(q, durable=True, arguments={"x-queue-type": "classic"})


# --- streams


STREAM = {"x-queue-type": "stream"}


def stream(w, ch, count, suffix="s"):
    s = w.queue(ch, suffix, arguments=STREAM)
    ch.confirm_delivery()
    for i in range(count):
        w.publish(ch, "", s, i)
    return s


def read(w, s, count, offset=None, **more):
    ch = w.channel()
    ch.basic_qos(prefetch_count=100)
    arguments = {"x-stream-offset": offset} if offset is not None else {}
    consumer = Consumer(ch, s, ack=True, arguments={**arguments, **more})
    w.delivered(consumer, count)
    return consumer


@case
def stream_is_read_from_its_first(w):
    s = stream(w, w.channel(), 20)
    for _ in range(2):  # reading takes nothing away
        consumer = read(w, s, 20, "first")
        equal(consumer.bodies, [str(i) for i in range(20)])
        equal([m.headers["x-stream-offset"] for m in consumer.messages], list(range(20)))


@case
def stream_is_read_from_an_offset(w):
    s = stream(w, w.channel(), 20)
    equal(read(w, s, 5, 15).bodies, ["15", "16", "17", "18", "19"])


@case
def stream_is_read_from_now_on(w):
    ch = w.channel()
    s = stream(w, ch, 5)
    for offset in ("next", None):
        consumer = read(w, s, 0, offset)
        w.publish(ch, "", s, f"new {offset}")
        w.delivered(consumer, 1)
        equal(consumer.bodies, [f"new {offset}"])


@case
def stream_needs_a_prefetch(w):
    s = stream(w, w.channel(), 1)
    ch = w.channel()
    w.closes(ch, 406, "consumer prefetch count is not set for", lambda: ch.basic_consume(s, lambda *_: None))


@case
def stream_refuses_what_it_cannot(w):
    s = stream(w, w.channel(), 1)
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(60, 70, b"\0\0", shortstr(s), b"\0"))
    peer.connection_closes(540, "get")
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(50, 30, b"\0\0", shortstr(s), b"\0"))
    peer.connection_closes(540, "purge")
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(60, 10, struct.pack(">IHB", 0, 10, 0)))
    peer.expect(60, 11)
    peer.send(METHOD, 1, method(60, 20, b"\0\0", shortstr(s), shortstr(""), b"\2", table()))
    peer.connection_closes(540, "")


@case
def stream_credit_comes_with_acks(w):
    s = stream(w, w.channel(), 30)
    ch = w.channel()
    ch.basic_qos(prefetch_count=10)
    consumer = Consumer(ch, s, arguments={"x-stream-offset": "first"})
    w.delivered(consumer, 10)
    ch.basic_ack(consumer.messages[9].tag, multiple=True)
    w.delivered(consumer, 20)
    holds(len(consumer.messages) <= 20, f"{len(consumer.messages)} without credit")


@case
def stream_is_bound_like_a_queue(w):
    ch = w.channel()
    s = w.queue(ch, "s", arguments=STREAM)
    x = w.exchange(ch, "topic")
    ch.queue_bind(s, x, "order.#")
    ch.confirm_delivery()
    w.publish(ch, x, "order.paid", "x", headers={"a": "b"}, message_id="m")
    got = read(w, s, 1, "first").messages[0]
    equal((got.body, got.exchange, got.key, got.headers["a"], got.properties.message_id), ("x", x, "order.paid", "b", "m"))


@case
def stream_offset_must_be_right(w):
    s = stream(w, w.channel(), 1)
    ch = w.channel()
    ch.basic_qos(prefetch_count=1)
    w.closes(ch, 406, "", lambda: ch.basic_consume(s, lambda *_: None, arguments={"x-stream-offset": "yesterday"}))


@case
def stream_filters_by_value(w):
    ch = w.channel()
    s = w.queue(ch, "s", arguments={**STREAM, "x-stream-filter-size-bytes": 32})
    ch.confirm_delivery()
    for i in range(20):
        w.publish(ch, "", s, i, headers={"x-stream-filter-value": "even" if i % 2 == 0 else "odd"} if i < 18 else None)
    c = w.channel()
    c.basic_qos(prefetch_count=100)
    consumer = Consumer(c, s, ack=True, arguments={"x-stream-offset": "first", "x-stream-filter": "even", "x-stream-match-unfiltered": True})
    w.until(lambda: "19" in consumer.bodies)
    holds({str(i) for i in range(0, 18, 2)} <= set(consumer.bodies), str(consumer.bodies))


# --- exchanges of plugins


@case
def consistent_hash_spreads_and_is_steady(w):
    ch = w.channel()
    x = w.exchange(ch, "x-consistent-hash")
    queues = [w.queue(ch, str(i)) for i in range(4)]
    for q in queues:
        ch.queue_bind(q, x, "10")
    for i in range(400):
        w.publish(ch, x, f"key{i % 100}", i % 100)
    bodies = [w.drain(ch, q) for q in queues]
    equal(sum(len(b) for b in bodies), 400)
    holds(all(len(b) > 20 for b in bodies), str([len(b) for b in bodies]))
    homes = [set(b) for b in bodies]
    equal(sum(len(h) for h in homes), 100, "a key in two queues")


@case
def consistent_hash_of_a_header(w):
    ch = w.channel()
    x = w.exchange(ch, "x-consistent-hash", arguments={"hash-header": "who"})
    queues = [w.queue(ch, str(i)) for i in range(3)]
    for q in queues:
        ch.queue_bind(q, x, "1")
    for i in range(60):
        w.publish(ch, x, str(i), "x", headers={"who": "always me"})
    equal(sorted(len(w.drain(ch, q)) for q in queues), [0, 0, 60])


def delayed_at_once(w, ch, x, q, messages, count):
    """When it began, and the bodies that come, in order. Where publishing took so long that a delay was over before the next
    began, all is done again."""
    ch.confirm_delivery()
    while True:
        began = time.monotonic()
        for body, delay in messages:
            w.publish(ch, x, "k", body, headers={} if delay is None else {"x-delay": delay})
        published = time.monotonic()
        bodies = [w.get(ch, q).body for _ in range(count)]
        if published - began < 0.09:
            return began, bodies


@case
def delayed_message_exchange_waits(w):
    ch = w.channel()
    x = w.exchange(ch, "x-delayed-message", arguments={"x-delayed-type": "direct"})
    q = w.queue(ch)
    ch.queue_bind(q, x, "k")
    began, bodies = delayed_at_once(w, ch, x, q, (("later", 400), ("sooner", 200), ("now", None)), 3)
    equal(bodies, ["now", "sooner", "later"])
    holds(time.monotonic() - began >= 0.39, "too early")


@case
def what_is_too_much_leaves_from_the_head(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-max-priority": 5, "x-max-length": 3})
    ch.confirm_delivery()
    for priority in (1, 5, 3, 2, 4):
        w.publish(ch, "", q, priority, priority=priority)
    equal(w.drain(ch, q), ["3", "2", "1"])


@case
def delays_are_numbers_of_any_kind(w):
    ch = w.channel()
    x = w.exchange(ch, "x-delayed-message", arguments={"x-delayed-type": "direct"})
    q = w.queue(ch)
    ch.queue_bind(q, x, "k")
    delays = ("300", Decimal("100.9"), Decimal(200), 2**40, "never", True, -5)
    _, bodies = delayed_at_once(w, ch, x, q, [(delay, delay) for delay in delays], 6)
    equal((sorted(bodies[:3]), bodies[3:]), (["-5", "True", "never"], ["100.9", "200", "300"]))


@case
def delayed_message_exchange_needs_its_type(w):
    ch = w.channel()
    w.closes(ch, 406, "x-delayed-type", lambda: w.exchange(ch, "x-delayed-message"))


# --- policies


@case
def policy_limits_and_the_smaller_number_wins(w):
    ch = w.channel()
    free, tight = w.queue(ch, "free"), w.queue(ch, "tight", arguments={"x-max-length": 2})
    w.policy(w.name("p"), "^" + w.name().replace(".", "\\."), {"max-length": 4})
    for q in (free, tight):
        for i in range(8):
            w.publish(ch, "", q, i)
    w.until(lambda: (w.counts(ch, free)[0], w.counts(ch, tight)[0]) == (4, 2), "not limited")


@case
def policy_dead_letters_and_alternates(w):
    ch = w.channel()
    x, q, dead, rest = w.exchange(ch, "direct"), w.queue(ch), w.queue(ch, "dead"), w.queue(ch, "rest")
    spare, dlx = w.exchange(ch, "fanout", "spare"), w.exchange(ch, "fanout", "dlx")
    ch.queue_bind(dead, dlx)
    ch.queue_bind(rest, spare)
    w.policy(w.name("q"), "^" + q.replace(".", "\\.") + "$", {"dead-letter-exchange": dlx}, apply_to="queues")
    w.policy(w.name("x"), "^" + x.replace(".", "\\.") + "$", {"alternate-exchange": spare}, apply_to="exchanges")

    def dead_lettered():
        w.publish(ch, "", q, "bad")
        ch.basic_reject(w.get(ch, q, auto_ack=False).tag, requeue=False)
        return w.counts(ch, dead)[0] > 0

    def unroutable_kept():
        w.publish(ch, x, "nobody", "x")
        return w.counts(ch, rest)[0] > 0

    w.until(dead_lettered)
    w.until(unroutable_kept)


@case
def policy_of_higher_priority_applies(w):
    ch = w.channel()
    q = w.queue(ch)
    pattern = "^" + q.replace(".", "\\.") + "$"
    w.policy(w.name("low"), pattern, {"max-length": 1}, priority=1)
    w.policy(w.name("high"), pattern, {"max-length": 3}, priority=2)

    def limited():
        ch.queue_purge(q)
        for i in range(8):
            w.publish(ch, "", q, i)
        return w.counts(ch, q)[0] == 3

    w.until(limited)
    w.until(lambda: w.api("GET", f"queues/%2f/{q}").get("policy") == w.name("high"), "the policy is not told")


@case
def operator_policy_adds_its_limit(w):
    ch = w.channel()
    q = w.queue(ch)
    pattern = "^" + q.replace(".", "\\.") + "$"
    w.policy(w.name("user"), pattern, {"max-length": 5})
    w.policy(w.name("operator"), pattern, {"max-length": 2}, kind="operator-policies", apply_to="queues")

    def limited():
        ch.queue_purge(q)
        for i in range(8):
            w.publish(ch, "", q, i)
        return w.counts(ch, q)[0] == 2

    w.until(limited)


@case
def text_of_a_refusal_is_cut_to_255_bytes(w):
    ch = w.channel()
    missing = w.name("m" * 200)
    text = w.closes(ch, 404, "no queue '", lambda: ch.queue_declare(missing, passive=True))
    holds(len(text) <= 255, str(len(text)))
    contains(text, "NOT_FOUND - ")


@case
def recent_history_exchange_gives_the_last_to_who_comes(w):
    ch = w.channel()
    exchange = w.exchange(ch, "x-recent-history", arguments={"x-recent-history-length": 2})
    for body in ("a", "b", "c"):
        w.publish(ch, exchange, "k", body)
    w.publish(ch, exchange, "k", "not kept", headers={"x-recent-history-no-store": True})
    queue = w.queue(ch)
    ch.queue_bind(queue, exchange)
    equal([w.get(ch, queue).body, w.get(ch, queue).body], ["b", "c"])
    w.publish(ch, exchange, "k", "d")
    equal(w.get(ch, queue).body, "d")
    other, last = w.exchange(ch, "fanout", "other"), w.queue(ch, "last")
    ch.queue_bind(last, other)
    ch.exchange_bind(other, exchange)
    equal([w.get(ch, last).body, w.get(ch, last).body], ["c", "d"])
    bad = w.channel()
    w.closes(bad, 406, "Invalid argument, 'x-recent-history-length' must be a positive integer",
             lambda: bad.exchange_declare(w.name("bad"), "x-recent-history", arguments={"x-recent-history-length": 0}))


@case
def a_link_of_federation_gets_what_is_published_upstream(w):
    ch = w.channel()
    upstream = w.exchange(ch, "topic", "upstream")
    link = w.exchange(ch, "x-federation-upstream", "link", internal=True, auto_delete=True,
                      arguments={"x-max-hops": long(1), "x-internal-purpose": "federation"})
    queue = w.queue(ch)
    ch.queue_bind(queue, link)
    origin = {"x-bound-from": [{"cluster-name": "downstream", "hops": 1}]}
    ch.exchange_bind(link, upstream, "order.*", arguments=origin)
    for key in ("order.created", "other", "order.paid"):
        w.publish(ch, upstream, key, key)
    equal([w.get(ch, queue).body, w.get(ch, queue).body], ["order.created", "order.paid"])
    ch.exchange_unbind(link, upstream, "order.*", arguments=origin)
    ch.queue_unbind(queue, link)
    w.closes(ch, 404, "no exchange", lambda: ch.exchange_declare(link, passive=True))
