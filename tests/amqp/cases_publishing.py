"""What becomes of a published message: properties, returns, confirms, transactions, copies."""
import struct

from world import BODY, HEADER, METHOD, Consumer, equal, holds, longstr, method, shortstr, table

CASES = []


def case(function):
    CASES.append(function)
    return function


def content(peer, channel, exchange, key, properties, body, frame_max=131072, bits=0):
    """Publishes with properties as they are given: flags and list."""
    peer.send(METHOD, channel, method(60, 40, b"\0\0", shortstr(exchange), shortstr(key), bytes([bits])))
    peer.send(HEADER, channel, struct.pack(">HHQ", 60, 0, len(body)) + properties)
    for at in range(0, len(body), frame_max - 8):
        peer.send(BODY, channel, body[at:at + frame_max - 8])


def fetch(peer, channel, queue):
    """get-ok's header payload after the body size, and the body."""
    peer.send(METHOD, channel, method(60, 70, b"\0\0", shortstr(queue), b"\1"))
    peer.expect(60, 71)
    header = peer.frame()
    equal(header.kind, HEADER)
    size, body = struct.unpack(">Q", header.payload[4:12])[0], b""
    while len(body) < size:
        part = peer.frame()
        equal(part.kind, BODY)
        body += part.payload
    return header.payload[12:], body


EVERY_TYPE = table(
    ("t", "t", b"\1"), ("b", "b", b"\xff"), ("B", "B", b"\xff"), ("s", "s", b"\xff\xfe"), ("u", "u", b"\xff\xfe"),
    ("I", "I", b"\xff\xff\xff\xfd"), ("i", "i", b"\xff\xff\xff\xfd"), ("l", "l", b"\xff" * 8), ("L", "L", b"\x80" + b"\0" * 7),
    ("f", "f", struct.pack(">f", 1.5)), ("d", "d", struct.pack(">d", -0.1)), ("D", "D", b"\2" + struct.pack(">I", 314)),
    ("S", "S", longstr(b"not \xff utf-8")), ("x", "x", longstr(b"\0\1\2")), ("T", "T", struct.pack(">Q", 1700000000)), ("V", "V", b""),
    ("A", "A", longstr(b"t\1" + b"S" + longstr("in a list") + b"F" + table(("deep", "I", b"\0\0\0\1")))),
    ("F", "F", table(("S", "S", longstr("in a table")))), ("a key with spaces and ü", "t", b"\0"))


@case
def properties_come_back_byte_for_byte(w):
    q = w.queue(w.channel())
    peer = w.raw().channel()
    properties = struct.pack(">H", 0xFFFC) + b"".join((
        shortstr("text/plain"), shortstr("gzip"), EVERY_TYPE, b"\1", b"\7", shortstr("correlation"), shortstr("reply"),
        shortstr("60000"), shortstr("message-1"), struct.pack(">Q", 1700000000), shortstr("kind"), shortstr("guest"), shortstr("app"),
        shortstr("cluster")))
    content(peer, 1, "", q, properties, b"body")
    got, body = fetch(peer, 1, q)
    equal(got, properties)
    equal(body, b"body")


@case
def each_property_alone(w):
    q = w.queue(w.channel())
    peer = w.raw().channel()
    values = [shortstr("text/plain"), shortstr("gzip"), table(), b"\2", b"\0", shortstr("c"), shortstr("r"), shortstr("1000000"), shortstr("m"),
              struct.pack(">Q", 0), shortstr("t"), shortstr("guest"), shortstr("a"), shortstr("cl")]
    for i, value in enumerate(values):
        properties = struct.pack(">H", 1 << (15 - i)) + value
        content(peer, 1, "", q, properties, bytes([i]))
        equal(fetch(peer, 1, q), (properties, bytes([i])))
    content(peer, 1, "", q, b"\0\0", b"none")
    equal(fetch(peer, 1, q), (b"\0\0", b"none"))


@case
def empty_bodies_have_no_body_frame(w):
    q = w.queue(w.channel())
    peer = w.raw().channel()
    for _ in range(3):
        content(peer, 1, "", q, b"\0\0", b"")
    for _ in range(3):
        equal(fetch(peer, 1, q), (b"\0\0", b""))


@case
def bodies_of_any_size_are_split_to_the_frame_size(w):
    q = w.queue(w.channel())
    peer = w.raw(frame_max=8192).channel()
    for size in (8183, 8184, 8185, 16368, 1_000_003):
        body = bytes(i * 7 % 251 for i in range(size))
        content(peer, 1, "", q, b"\0\0", body, 8192)
        equal(fetch(peer, 1, q)[1] == body, True, str(size))


@case
def body_may_come_in_frames_of_any_size(w):
    q = w.queue(w.channel())
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(60, 40, b"\0\0", shortstr(""), shortstr(q), b"\0"))
    peer.send(HEADER, 1, struct.pack(">HHQ", 60, 0, 10) + b"\0\0")
    for part in (b"0", b"12", b"", b"3456", b"789"):
        peer.send(BODY, 1, part)
    equal(fetch(peer, 1, q)[1], b"0123456789")


@case
def contents_of_several_channels_interleave(w):
    q = w.queue(w.channel())
    peer = w.raw().channel(1).channel(2)
    for channel in (1, 2):
        peer.send(METHOD, channel, method(60, 40, b"\0\0", shortstr(""), shortstr(q), b"\0"))
    for channel in (2, 1):
        peer.send(HEADER, channel, struct.pack(">HHQ", 60, 0, 4) + b"\0\0")
    for part in (b"ab", b"cd"):
        for channel in (1, 2):
            peer.send(BODY, channel, part.upper() if channel == 2 else part)
    got = {fetch(peer, 1, q)[1]}
    got.add(fetch(peer, 2, q)[1])
    equal(got, {b"abcd", b"ABCD"})


# --- returns


@case
def mandatory_is_returned_whole(w):
    ch = w.channel()
    x = w.exchange(ch, "direct")
    returned = []
    ch.add_on_return_callback(lambda _ch, m, p, body: returned.append((m.reply_code, m.reply_text, m.exchange, m.routing_key, p.headers,
                                                                        p.message_id, body)))
    w.publish(ch, x, "nobody", "back to me", mandatory=True, headers={"a": 1}, message_id="m1")
    w.until(lambda: returned, "no return")
    equal(returned, [(312, "NO_ROUTE", x, "nobody", {"a": 1}, "m1", b"back to me")])
    w.publish(ch, x, "nobody", "blind", mandatory=True, headers={"BCC": ["b"], "CC": ["c"], "k": 1}, message_id="m2")
    w.until(lambda: len(returned) == 2, "no return")
    equal(returned[1], (312, "NO_ROUTE", x, "nobody", {"CC": ["c"], "k": 1}, "m2", b"blind"))


@case
def unroutable_without_mandatory_is_dropped(w):
    ch = w.channel()
    x = w.exchange(ch, "direct")
    returned = []
    ch.add_on_return_callback(lambda *what: returned.append(what))
    w.publish(ch, x, "nobody", "lost")
    ch.exchange_declare(x, passive=True)
    w.serve()
    equal(returned, [])


@case
def return_precedes_the_confirm(w):
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(85, 10, b"\0"))
    peer.expect(85, 11)
    content(peer, 1, "", w.name("nobody"), b"\0\0", b"x", bits=1)
    peer.expect(60, 50)
    equal(peer.frame().kind, HEADER)
    equal(peer.frame().payload, b"x")
    equal(peer.expect(60, 80).payload[4:], struct.pack(">QB", 1, 0))


# --- confirms


def confirmed(peer, count):
    """Reads acks until `count` publishes are confirmed; which ones were acked and nacked, in order of what they confirm."""
    open_tags, result = set(range(1, count + 1)), {}
    while open_tags:
        got = peer.frame()
        while got.id not in ((60, 80), (60, 120)):
            got = peer.frame()
        tag, bits = struct.unpack(">QB", got.payload[4:13])
        tags = {t for t in open_tags if t <= tag} if bits & 1 else {tag}
        holds(tags <= open_tags and tags, f"confirmed twice: {tag}")
        for each in tags:
            result[each] = got.id == (60, 80)
        open_tags -= tags
    return [result[t] for t in sorted(result)]


@case
def every_publish_is_confirmed_once(w):
    q = w.queue(w.channel())
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(85, 10, b"\0"))
    peer.expect(85, 11)
    for i in range(500):
        content(peer, 1, "", q if i % 3 else w.name("nobody"), struct.pack(">HB", 0x1000, 1 + i % 2), b"x" * (i % 100))
    equal(confirmed(peer, 500), [True] * 500)
    equal(w.counts(w.channel(), q)[0], 333)


@case
def confirms_count_from_the_first_select(w):
    q = w.queue(w.channel())
    peer = w.raw().channel()
    content(peer, 1, "", q, b"\0\0", b"before")
    for _ in range(2):
        peer.send(METHOD, 1, method(85, 10, b"\0"))
        peer.expect(85, 11)
    content(peer, 1, "", q, b"\0\0", b"after")
    equal(struct.unpack(">QB", peer.expect(60, 80).payload[4:])[0], 1)
    peer.send(METHOD, 1, method(85, 10, b"\0"))
    peer.expect(85, 11)
    content(peer, 1, "", q, b"\0\0", b"after")
    equal(struct.unpack(">QB", peer.expect(60, 80).payload[4:])[0], 2)


@case
def full_queue_that_rejects_nacks(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(85, 10, b"\0"))
    peer.expect(85, 11)
    acks = []
    for i in range(6):
        content(peer, 1, "", q, b"\0\0", str(i).encode())
        got = peer.frame()
        acks.append(got.id == (60, 80))
    equal(acks[:2], [True, True])
    equal(acks[3:], [False] * 3)
    equal(w.drain(ch, q)[:2], ["0", "1"])


@case
def nack_when_one_of_the_queues_rejects(w):
    ch = w.channel()
    x = w.exchange(ch, "fanout")
    full = w.queue(ch, "full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    free = w.queue(ch, "free")
    for q in (full, free):
        ch.queue_bind(q, x)
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(85, 10, b"\0"))
    peer.expect(85, 11)
    acks = []
    for i in range(4):
        content(peer, 1, x, "", b"\0\0", str(i).encode())
        acks.append(peer.frame().id == (60, 80))
    equal((acks[0], acks[-1]), (True, False))
    equal(w.drain(ch, free), ["0", "1", "2", "3"])


# --- refused publishes


@case
def publishing_to_a_missing_exchange(w):
    ch = w.channel()
    missing = w.name("missing")
    w.closes(ch, 404, f"no exchange '{missing}' in vhost '/'", lambda: w.publish(ch, missing, "k", "x"))


@case
def what_follows_a_refused_publish_on_the_channel_is_dropped(w):
    ch = w.channel()
    q = w.queue(ch)
    peer = w.raw().channel()
    content(peer, 1, w.name("missing"), "k", b"\0\0", b"x")
    content(peer, 1, "", q, b"\0\0", b"dropped")
    peer.channel_closes(404, "no exchange")
    peer.send(METHOD, 1, method(20, 10, shortstr("")))
    peer.expect(20, 11)
    content(peer, 1, "", q, b"\0\0", b"taken")
    equal(w.get(ch, q).body, "taken")


@case
def immediate_is_not_implemented(w):
    peer = w.raw().channel()
    content(peer, 1, "", "q", b"\0\0", b"x", bits=2)
    peer.connection_closes(540, "immediate=true")


@case
def expiration_may_be_ten_years(w):
    ch = w.channel()
    q = w.queue(ch)
    for value in ("4294967296", "315360000000"):
        w.publish(ch, "", q, "x", expiration=value)
        equal(w.get(ch, q).properties.expiration, value)
    w.closes(ch, 406, "value_too_large", lambda: w.publish(ch, "", q, "x", expiration="315360000001"))


@case
def expiration_must_be_a_number(w):
    for value in ("soon", "-1", "1.5", "", "10ms"):
        ch = w.channel()
        w.closes(ch, 406, "invalid expiration", lambda ch=ch, value=value: w.publish(ch, "", "q", "x", expiration=value))


@case
def user_id_must_be_the_own(w):
    ch = w.channel()
    q = w.queue(ch)
    w.publish(ch, "", q, "mine", user_id="guest")
    equal(w.get(ch, q).properties.user_id, "guest")
    w.closes(ch, 406, "user_id property set to 'other' but authenticated user was 'guest'",
             lambda: w.publish(ch, "", q, "x", user_id="other"))


# --- copies


@case
def cc_header_routes_to_further_keys(w):
    ch = w.channel()
    a, b, c = (w.queue(ch, s) for s in "abc")
    w.publish(ch, "", a, "x", headers={"CC": [b, c, a], "other": 1})
    for q in (a, b, c):
        got = w.get(ch, q)
        equal((got.key, got.headers), (a, {"CC": [b, c, a], "other": 1}))
        equal(w.drain(ch, q), [])


@case
def bcc_header_is_taken_away(w):
    ch = w.channel()
    a, b, c = (w.queue(ch, s) for s in "abc")
    w.publish(ch, "", a, "x", headers={"BCC": [b], "CC": [c]})
    for q in (a, b, c):
        equal(w.get(ch, q).headers, {"CC": [c]})


@case
def cc_works_with_any_exchange(w):
    ch = w.channel()
    x = w.exchange(ch, "topic")
    a, b = w.queue(ch, "a"), w.queue(ch, "b")
    ch.queue_bind(a, x, "order.*")
    ch.queue_bind(b, x, "audit.#")
    w.publish(ch, x, "order.paid", "x", headers={"CC": ["audit.order", "nobody"]})
    equal((w.drain(ch, a), w.drain(ch, b)), (["x"], ["x"]))


@case
def cc_that_is_no_list_is_refused(w):
    ch = w.channel()
    w.closes(ch, 406, "", lambda: w.publish(ch, "", "q", "x", headers={"CC": "alone"}))


# --- transactions


@case
def transaction_holds_publishes_until_commit(w):
    ch, other = w.channel(), w.channel()
    q = w.queue(other)
    ch.tx_select()
    w.publish(ch, "", q, "1")
    w.publish(ch, "", q, "2")
    ch.queue_declare(q, passive=True)
    equal(w.drain(other, q), [])
    ch.tx_commit()
    equal(w.drain(other, q), ["1", "2"])


@case
def rollback_drops_publishes_and_restores_acks(w):
    ch, other = w.channel(), w.channel()
    q = w.queue(other)
    w.publish(other, "", q, "held")
    held = w.get(ch, q, auto_ack=False)
    ch.tx_select()
    w.publish(ch, "", q, "dropped")
    ch.basic_ack(held.tag)
    ch.tx_rollback()
    equal(w.drain(other, q), [])
    ch.basic_ack(held.tag)  # still outstanding
    ch.tx_commit()
    ch.close()
    equal(w.drain(other, q), [])


@case
def acks_of_a_transaction_count_at_commit(w):
    ch, other = w.channel(), w.channel()
    q = w.queue(other)
    for i in range(3):
        w.publish(other, "", q, i)
    tags = [w.get(ch, q, auto_ack=False).tag for _ in range(3)]
    ch.tx_select()
    ch.basic_ack(tags[0])
    ch.basic_nack(tags[1])
    ch.basic_reject(tags[2], requeue=False)
    equal(w.drain(other, q), [])
    ch.tx_commit()
    equal(w.drain(other, q), ["1"])


@case
def uncommitted_transaction_ends_with_its_channel(w):
    ch, other = w.channel(), w.channel()
    q = w.queue(other)
    ch.tx_select()
    w.publish(ch, "", q, "lost")
    ch.close()
    equal(w.drain(other, q), [])


@case
def commit_needs_a_transaction(w):
    ch = w.channel()
    w.closes(ch, 406, "channel is not transactional", ch.tx_commit)
    ch = w.channel()
    w.closes(ch, 406, "channel is not transactional", ch.tx_rollback)


@case
def transactions_and_confirms_exclude_each_other(w):
    ch = w.channel()
    ch.tx_select()
    w.closes(ch, 406, "cannot switch from tx to confirm mode", ch.confirm_delivery)
    ch = w.channel()
    ch.confirm_delivery()
    w.closes(ch, 406, "cannot switch from confirm to tx mode", ch.tx_select)


@case
def mandatory_in_a_transaction_is_returned_at_commit(w):
    ch = w.channel()
    returned = []
    ch.add_on_return_callback(lambda *what: returned.append(what[1].reply_code))
    ch.tx_select()
    w.publish(ch, "", w.name("nobody"), "x", mandatory=True)
    w.serve()
    equal(returned, [])
    ch.tx_commit()
    w.until(lambda: returned, "no return")


# --- order


@case
def one_channel_to_one_consumer_keeps_order(w):
    ch = w.channel()
    q = w.queue(ch)
    consumer = Consumer(w.channel(), q, auto_ack=True)
    for i in range(2000):
        w.publish(ch, "", q, i, delivery_mode=1 + i % 2)
    w.delivered(consumer, 2000)
    equal(consumer.bodies, [str(i) for i in range(2000)])


@case
def persistent_and_transient_messages_keep_their_mode(w):
    ch = w.channel()
    q = w.queue(ch)
    for mode in (1, 2, None):
        w.publish(ch, "", q, "x", delivery_mode=mode)
        equal(w.get(ch, q).properties.delivery_mode, mode)


@case
def login_with_amqplain(w):
    peer = w.raw(login=False)
    peer.start()
    peer.login("AMQPLAIN", table(("LOGIN", "S", longstr("guest")), ("PASSWORD", "S", longstr("guest")))[4:])
    peer.expect(10, 30)
