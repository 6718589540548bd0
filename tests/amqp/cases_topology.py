"""Exchanges, queues, bindings: who gets what, when they go, and when a second declaration is the same."""
import contextlib
import struct

import pika.exceptions

from world import METHOD, Consumer, equal, holds, method, shortstr, table

CASES = []


def case(function):
    CASES.append(function)
    return function


# --- routing


@case
def default_exchange_routes_by_queue_name(w):
    ch = w.channel()
    q = w.queue(ch)
    w.publish(ch, "", q, "to you")
    got = w.get(ch, q)
    equal((got.body, got.exchange, got.key, got.redelivered), ("to you", "", q, False))


def routed(w, ch, exchange, queues, key, **properties):
    """The suffixes of the queues that got a message."""
    w.publish(ch, exchange, key, "x", **properties)
    return "".join(sorted(suffix for suffix, name in queues.items() for _ in w.drain(ch, name)))


def bound(w, ch, exchange, patterns, arguments=None):
    queues = {}
    for suffix, pattern in patterns.items():
        queues[suffix] = w.queue(ch, suffix)
        ch.queue_bind(queues[suffix], exchange, pattern, arguments=(arguments or {}).get(suffix))
    return queues


@case
def direct_exchange_routes_by_equal_key(w):
    ch = w.channel()
    x = w.exchange(ch, "direct")
    queues = bound(w, ch, x, {"a": "red", "b": "red", "c": "re", "d": ""})
    equal(routed(w, ch, x, queues, "red"), "ab")
    equal(routed(w, ch, x, queues, ""), "d")
    equal(routed(w, ch, x, queues, "blue"), "")


@case
def fanout_exchange_routes_to_all(w):
    ch = w.channel()
    x = w.exchange(ch, "fanout")
    queues = bound(w, ch, x, {"a": "red", "b": "", "c": "#"})
    equal(routed(w, ch, x, queues, "whatever"), "abc")


@case
def topic_exchange_matches_words(w):
    ch = w.channel()
    x = w.exchange(ch, "topic")
    queues = bound(w, ch, x, {"a": "order.created", "b": "order.*", "c": "order.#", "d": "#", "e": "*.created", "f": "#.created", "g": "*",
                              "h": "order.#.paid", "i": "", "j": "order.*.*"})
    equal(routed(w, ch, x, queues, "order.created"), "abcdef")
    equal(routed(w, ch, x, queues, "order"), "cdg")
    equal(routed(w, ch, x, queues, "order.it.was.paid"), "cdh")
    equal(routed(w, ch, x, queues, "order.paid"), "bcdh")
    equal(routed(w, ch, x, queues, ""), "di")
    equal(routed(w, ch, x, queues, "created"), "dfg")
    equal(routed(w, ch, x, queues, "order..created"), "cdfj")
    equal(routed(w, ch, x, queues, "Order.created"), "def")


@case
def headers_exchange_all_and_any(w):
    ch = w.channel()
    x = w.exchange(ch, "headers")
    queues = bound(w, ch, x, dict.fromkeys("abcd", ""), {
        "a": {"x-match": "all", "kind": "pdf", "pages": 3}, "b": {"x-match": "any", "kind": "pdf", "pages": 3},
        "c": {"kind": "pdf"}, "d": {"x-match": "all"}})
    equal(routed(w, ch, x, queues, "", headers={"kind": "pdf", "pages": 3}), "abcd")
    equal(routed(w, ch, x, queues, "", headers={"kind": "pdf", "pages": 4}), "bcd")
    equal(routed(w, ch, x, queues, "", headers={"pages": 3}), "bd")
    equal(routed(w, ch, x, queues, "", headers={"pages": "3"}), "d")
    equal(routed(w, ch, x, queues, ""), "d")


@case
def headers_exchange_skips_x_headers_unless_asked(w):
    ch = w.channel()
    x = w.exchange(ch, "headers")
    queues = bound(w, ch, x, dict.fromkeys("abcd", ""), {
        "a": {"x-match": "all", "x-kind": "pdf", "pages": 3}, "b": {"x-match": "any", "x-kind": "pdf", "pages": 3},
        "c": {"x-match": "all-with-x", "x-kind": "pdf", "pages": 3}, "d": {"x-match": "any-with-x", "x-kind": "pdf", "pages": 3}})
    equal(routed(w, ch, x, queues, "", headers={"pages": 3}), "abd")
    equal(routed(w, ch, x, queues, "", headers={"x-kind": "pdf"}), "d")
    equal(routed(w, ch, x, queues, "", headers={"x-kind": "pdf", "pages": 3}), "abcd")


@case
def headers_exchange_void_means_present(w):
    ch = w.channel()
    x = w.exchange(ch, "headers")
    queues = bound(w, ch, x, {"a": ""}, {"a": {"x-match": "all", "kind": None}})
    equal(routed(w, ch, x, queues, "", headers={"kind": 17}), "a")
    equal(routed(w, ch, x, queues, "", headers={"other": 17}), "")


@case
def message_over_several_bindings_is_stored_once(w):
    ch = w.channel()
    x = w.exchange(ch, "topic")
    q = w.queue(ch)
    for pattern in ("order.*", "order.#", "order.created", "#"):
        ch.queue_bind(q, x, pattern)
    w.publish(ch, x, "order.created", "once")
    equal(w.drain(ch, q), ["once"])


@case
def binding_twice_is_one_binding(w):
    ch = w.channel()
    x = w.exchange(ch, "direct")
    q = w.queue(ch)
    ch.queue_bind(q, x, "k")
    ch.queue_bind(q, x, "k")
    ch.queue_unbind(q, x, "k")
    w.publish(ch, x, "k", "nobody")
    equal(w.drain(ch, q), [])


@case
def bindings_differ_by_arguments(w):
    ch = w.channel()
    x = w.exchange(ch, "direct")
    q = w.queue(ch)
    ch.queue_bind(q, x, "k", {"n": 1})
    ch.queue_bind(q, x, "k", {"n": 2})
    ch.queue_unbind(q, x, "k", {"n": 1})
    w.publish(ch, x, "k", "still")
    equal(w.drain(ch, q), ["still"])


@case
def unbinding_what_is_not_bound_succeeds(w):
    ch = w.channel()
    x = w.exchange(ch, "direct")
    q = w.queue(ch)
    ch.queue_unbind(q, x, "never")
    w.closes(ch, 404, "no exchange 'nowhere' in vhost '/'", lambda: ch.queue_bind(q, "nowhere", "k"))


@case
def bind_with_empty_names_means_the_queue_declared_last(w):
    ch = w.channel()
    x = w.exchange(ch, "direct")
    q = w.queue(ch)
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(50, 10, b"\0\0", shortstr(q), b"\2", table()))
    peer.expect(50, 11)
    peer.send(METHOD, 1, method(50, 20, b"\0\0", shortstr(""), shortstr(x), shortstr(""), b"\0", table()))
    peer.expect(50, 21)
    w.publish(ch, x, q, "by its name")
    equal(w.get(ch, q).body, "by its name")


# --- exchanges to exchanges, alternates


@case
def exchange_to_exchange_bindings_route_on(w):
    ch = w.channel()
    first, second = w.exchange(ch, "topic", "first"), w.exchange(ch, "direct", "second")
    q = w.queue(ch)
    ch.exchange_bind(second, first, "order.*")
    ch.queue_bind(q, second, "order.created")
    w.publish(ch, first, "order.created", "through both")
    w.publish(ch, first, "order.paid", "stops at the second")
    got = w.get(ch, q)
    equal((got.body, got.exchange, got.key), ("through both", first, "order.created"))
    equal(w.drain(ch, q), [])
    ch.exchange_unbind(second, first, "order.*")
    w.publish(ch, first, "order.created", "no more")
    equal(w.drain(ch, q), [])


@case
def circles_of_exchanges_end(w):
    ch = w.channel()
    first, second = w.exchange(ch, "fanout", "first"), w.exchange(ch, "fanout", "second")
    ch.exchange_bind(second, first)
    ch.exchange_bind(first, second)
    a, b = w.queue(ch, "a"), w.queue(ch, "b")
    ch.queue_bind(a, first)
    ch.queue_bind(b, second)
    w.publish(ch, first, "", "round")
    equal((w.drain(ch, a), w.drain(ch, b)), (["round"], ["round"]))


@case
def alternate_exchange_gets_what_is_unroutable(w):
    ch = w.channel()
    spare = w.exchange(ch, "fanout", "spare")
    x = w.exchange(ch, "direct", arguments={"alternate-exchange": spare})
    mine, rest = w.queue(ch, "mine"), w.queue(ch, "rest")
    ch.queue_bind(mine, x, "k")
    ch.queue_bind(rest, spare)
    w.publish(ch, x, "k", "routed")
    w.publish(ch, x, "other", "unroutable")
    equal(w.drain(ch, mine), ["routed"])
    got = w.get(ch, rest)
    equal((got.body, got.exchange, got.key), ("unroutable", x, "other"))
    equal(w.drain(ch, rest), [])


@case
def routed_by_the_alternate_counts_as_routed(w):
    ch = w.channel()
    spare = w.exchange(ch, "fanout", "spare")
    x = w.exchange(ch, "direct", arguments={"alternate-exchange": spare})
    rest = w.queue(ch, "rest")
    ch.queue_bind(rest, spare)
    returned = []
    ch.add_on_return_callback(lambda *what: returned.append(what[1].reply_code))
    w.publish(ch, x, "k", "x", mandatory=True)
    equal(w.drain(ch, rest), ["x"])
    ch.queue_unbind(rest, spare)
    w.publish(ch, x, "k", "x", mandatory=True)
    w.until(lambda: returned, "no return")
    equal(returned, [312])


@case
def alternates_in_a_circle_end(w):
    ch = w.channel()
    second = w.name("second")
    first = w.exchange(ch, "direct", "first", arguments={"alternate-exchange": second})
    w.exchange(ch, "direct", "second", arguments={"alternate-exchange": first})
    w.publish(ch, first, "k", "lost")
    ch.exchange_declare(first, passive=True)


@case
def alternate_exchange_that_is_missing_is_no_error(w):
    ch = w.channel()
    x = w.exchange(ch, "direct", arguments={"alternate-exchange": w.name("nowhere")})
    w.publish(ch, x, "k", "lost")
    ch.exchange_declare(x, passive=True)


# --- exchanges as things


@case
def predeclared_exchanges_are_there(w):
    ch = w.channel()
    for name in ("amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match", "amq.rabbitmq.trace"):
        ch.exchange_declare(name, passive=True)
    ch.exchange_declare("amq.topic", "topic", durable=True)


@case
def predeclared_exchanges_cannot_be_deleted(w):
    for name in ("amq.direct", "amq.topic"):
        ch = w.channel()
        w.closes(ch, 403, f"deletion of system exchange '{name}' in vhost '/' not allowed", lambda ch=ch, name=name: ch.exchange_delete(name))


@case
def default_exchange_cannot_be_changed(w):
    text = "operation not permitted on the default exchange"
    q = w.queue(w.channel())
    ch = w.channel()
    w.closes(ch, 403, text, lambda: ch.queue_bind(q, "", "k"))
    ch2 = w.channel()
    w.closes(ch2, 403, text, lambda: ch2.queue_unbind(q, "", q))
    ch3 = w.channel()
    w.closes(ch3, 403, text, lambda: ch3.exchange_delete(""))
    ch4 = w.channel()
    w.closes(ch4, 403, text, lambda: ch4.exchange_bind("amq.topic", "", "k"))


@case
def names_that_start_with_amq_are_reserved(w):
    ch = w.channel()
    w.closes(ch, 403, "exchange name 'amq.mine' contains reserved prefix 'amq.*'", lambda: ch.exchange_declare("amq.mine"))
    ch2 = w.channel()
    w.closes(ch2, 403, "queue name 'amq.mine' contains reserved prefix 'amq.*'", lambda: ch2.queue_declare("amq.mine"))


@case
def internal_exchange_cannot_be_published_to(w):
    ch = w.channel()
    outer = w.exchange(ch, "fanout", "outer")
    inner = w.exchange(ch, "fanout", "inner", internal=True)
    q = w.queue(ch)
    ch.exchange_bind(inner, outer)
    ch.queue_bind(q, inner)
    w.publish(ch, outer, "", "from outside")
    equal(w.get(ch, q).body, "from outside")
    w.closes(ch, 403, f"cannot publish to internal exchange '{inner}' in vhost '/'", lambda: w.publish(ch, inner, "", "x"))


@case
def auto_delete_exchange_goes_with_its_last_binding(w):
    ch = w.channel()
    x = w.exchange(ch, "fanout", auto_delete=True)
    a, b = w.queue(ch, "a"), w.queue(ch, "b")
    ch.queue_bind(a, x)
    ch.queue_bind(b, x)
    ch.queue_unbind(a, x)
    ch.exchange_declare(x, passive=True)
    ch.queue_delete(b)
    w.closes(ch, 404, f"no exchange '{x}' in vhost '/'", lambda: ch.exchange_declare(x, passive=True))


@case
def auto_delete_goes_on_through_exchanges(w):
    ch = w.channel()
    outer = w.exchange(ch, "fanout", "outer", auto_delete=True)
    inner = w.exchange(ch, "fanout", "inner", auto_delete=True)
    q = w.queue(ch)
    ch.exchange_bind(inner, outer)
    ch.queue_bind(q, inner)
    ch.queue_delete(q)
    w.closes(ch, 404, f"no exchange '{outer}'", lambda: ch.exchange_declare(outer, passive=True))


@case
def deleting_a_missing_exchange_succeeds(w):
    ch = w.channel()
    ch.exchange_delete(w.name("never"))


@case
def exchange_in_use_is_not_deleted_if_unused(w):
    ch = w.channel()
    x = w.exchange(ch, "fanout")
    q = w.queue(ch)
    ch.queue_bind(q, x)
    w.closes(ch, 406, f"exchange '{x}' in vhost '/' in use", lambda: ch.exchange_delete(x, if_unused=True))
    ch = w.channel()
    ch.queue_unbind(q, x)
    ch.exchange_delete(x, if_unused=True)


@case
def exchange_declared_otherwise_is_refused(w):
    x = w.exchange(w.channel(), "direct")
    for text, kind, options in (
            (f"inequivalent arg 'type' for exchange '{x}' in vhost '/': received 'fanout' but current is 'direct'", "fanout", {"durable": True}),
            (f"inequivalent arg 'durable' for exchange '{x}' in vhost '/': received 'false' but current is 'true'", "direct", {}),
            (f"inequivalent arg 'auto_delete' for exchange '{x}' in vhost '/': received 'true' but current is 'false'", "direct",
             {"durable": True, "auto_delete": True}),
            (f"inequivalent arg 'internal' for exchange '{x}' in vhost '/': received 'true' but current is 'false'", "direct",
             {"durable": True, "internal": True}),
            (f"inequivalent arg 'alternate-exchange' for exchange '{x}' in vhost '/': received the value 'spare' of type 'longstr' "
             "but current is none", "direct", {"durable": True, "arguments": {"alternate-exchange": "spare"}})):
        ch = w.channel()
        w.closes(ch, 406, text, lambda ch=ch, kind=kind, options=options: ch.exchange_declare(x, kind, **options))


@case
def exchange_arguments_that_are_unknown_do_not_matter(w):
    ch = w.channel()
    x = w.exchange(ch, "direct", arguments={"note": "a"})
    ch.exchange_declare(x, "direct", durable=True, arguments={"note": "b"})
    ch.exchange_declare(x, "direct", durable=True)


# --- queues as things


@case
def declaring_counts_messages_and_consumers(w):
    ch = w.channel()
    q = w.queue(ch)
    for i in range(5):
        w.publish(ch, "", q, i)
    held = w.get(ch, q, auto_ack=False)
    equal(w.counts(ch, q), (4, 0))
    ch2 = w.channel()
    ch2.basic_qos(prefetch_count=1)
    consumer = Consumer(ch2, q)
    w.delivered(consumer, 1)
    equal(w.counts(ch, q), (3, 1))
    ch.basic_ack(held.tag)
    ch2.basic_cancel(consumer.tag)
    equal(w.counts(ch, q)[1], 0)


@case
def server_named_queues(w):
    ch = w.channel()
    name = ch.queue_declare("", exclusive=True).method.queue
    holds(name.startswith("amq.gen-") and len(name) == len("amq.gen-") + 22, name)
    other = ch.queue_declare("", exclusive=True).method.queue
    holds(other != name, "the same name twice")
    equal(ch.queue_declare(name, passive=True).method.queue, name)
    w.publish(ch, "", name, "x")
    equal(w.get(ch, name).body, "x")


@case
def passive_declare_of_a_missing_queue(w):
    ch = w.channel()
    missing = w.name("missing")
    w.closes(ch, 404, f"no queue '{missing}' in vhost '/'", lambda: ch.queue_declare(missing, passive=True))


@case
def passive_declare_does_not_compare(w):
    ch = w.channel()
    q = w.queue(ch)
    equal(ch.queue_declare(q, passive=True, durable=False, auto_delete=True).method.queue, q)


@case
def deleting_a_missing_queue_succeeds(w):
    ch = w.channel()
    equal(ch.queue_delete(w.name("never")).method.message_count, 0)


@case
def deleting_counts_messages(w):
    ch = w.channel()
    q = w.queue(ch)
    for i in range(3):
        w.publish(ch, "", q, i)
    equal(ch.queue_delete(q).method.message_count, 3)
    w.closes(ch, 404, f"no queue '{q}'", lambda: ch.queue_declare(q, passive=True))


@case
def queue_is_not_deleted_while_it_is_used_or_not_empty(w):
    ch = w.channel()
    q = w.queue(ch)
    w.publish(ch, "", q, "x")
    w.closes(ch, 406, f"queue '{q}' in vhost '/' not empty", lambda: ch.queue_delete(q, if_empty=True))
    ch = w.channel()
    Consumer(w.channel(), q)
    w.closes(ch, 406, f"queue '{q}' in vhost '/' in use", lambda: ch.queue_delete(q, if_unused=True))


@case
def purging_counts_and_leaves_what_is_held(w):
    ch = w.channel()
    q = w.queue(ch)
    for i in range(5):
        w.publish(ch, "", q, i)
    held = w.get(ch, q, auto_ack=False)
    equal(ch.queue_purge(q).method.message_count, 4)
    equal(ch.queue_purge(q).method.message_count, 0)
    ch.basic_nack(held.tag)
    equal(w.get(ch, q).body, "0")


@case
def queue_declared_otherwise_is_refused(w):
    q = w.queue(w.channel(), arguments={"x-message-ttl": 60000})
    same = {"durable": True, "arguments": {"x-message-ttl": 60000}}
    w.channel().queue_declare(q, **same)
    for text, options in (
            (f"inequivalent arg 'durable' for queue '{q}' in vhost '/': received 'false' but current is 'true'", {"durable": False}),
            (f"inequivalent arg 'auto_delete' for queue '{q}' in vhost '/': received 'true' but current is 'false'", {"auto_delete": True}),
            (f"inequivalent arg 'x-message-ttl' for queue '{q}' in vhost '/': received '1000' but current is '60000'",
             {"arguments": {"x-message-ttl": 1000}}),
            (f"inequivalent arg 'x-message-ttl' for queue '{q}' in vhost '/': received none but current is the value '60000' of type 'signedint'",
             {"arguments": None}),
            (f"inequivalent arg 'x-max-length' for queue '{q}' in vhost '/': received the value '5' of type 'signedint' but current is none",
             {"arguments": {"x-message-ttl": 60000, "x-max-length": 5}})):
        ch = w.channel()
        w.closes(ch, 406, text, lambda ch=ch, options=options: ch.queue_declare(q, **{**same, **options}))


@case
def queue_declared_exclusive_afterwards_is_locked(w):
    ch = w.channel()
    q = w.queue(ch)
    w.closes(ch, 405, f"cannot obtain exclusive access to locked queue '{q}' in vhost '/'",
             lambda: ch.queue_declare(q, durable=True, exclusive=True))


@case
def integers_of_any_width_are_equal(w):
    q = w.name("q")
    w.queues.append(q)
    peer = w.raw().channel()
    for letter, value in (("b", b"\x64"), ("B", b"\x64"), ("s", b"\0\x64"), ("u", b"\0\x64"), ("I", b"\0\0\0\x64"), ("i", b"\0\0\0\x64"),
                          ("l", struct.pack(">q", 100)), ("L", struct.pack(">q", 100))):
        peer.send(METHOD, 1, method(50, 10, b"\0\0", shortstr(q), b"\2", table(("x-max-length", letter, value))))
        peer.expect(50, 11)


@case
def queue_arguments_that_are_unknown_do_not_matter(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"note": "a", "x-other": 1})
    ch.queue_declare(q, durable=True, arguments={"note": "b"})
    ch.queue_declare(q, durable=True)


@case
def line_ends_in_names_are_stripped(w):
    ch = w.channel()
    q, x = w.name("q"), w.name("x")
    w.queues.append(q)
    w.exchanges.append(x)
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(50, 10, b"\0\0", shortstr(q + "\r\n"), b"\2", table()))
    equal(peer.expect(50, 11).payload[4:], shortstr(q) + b"\0" * 8)
    peer.send(METHOD, 1, method(40, 10, b"\0\0", shortstr(x + "\n"), shortstr("fanout"), b"\2", table()))
    peer.expect(40, 11)
    ch.exchange_declare(x, passive=True)


@case
def names_have_up_to_255_bytes(w):
    ch = w.channel()
    q = w.name("q" * (255 - len(w.name("q")) + 1))
    w.queues.append(q)
    equal(len(q), 255)
    equal(ch.queue_declare(q, durable=True).method.queue, q)
    w.publish(ch, "", q, "x")
    equal(w.get(ch, q).key, q)


@case
def names_are_any_utf8(w):
    ch = w.channel()
    q = w.queue(ch, "Bücher 本 €/?#")
    x = w.exchange(ch, "topic", "Büro")
    ch.queue_bind(q, x, "grün.*")
    w.publish(ch, x, "grün.öl", "x")
    got = w.get(ch, q)
    equal((got.exchange, got.key), (x, "grün.öl"))


@case
def exclusive_queue_belongs_to_its_connection(w):
    ch = w.channel()
    q = w.queue(ch, durable=False, exclusive=True)
    w.channel().queue_declare(q, exclusive=True)
    other = w.connect()
    text = f"cannot obtain exclusive access to locked queue '{q}' in vhost '/'"
    for act in (lambda c: c.queue_declare(q, passive=True), lambda c: c.queue_declare(q, exclusive=True), lambda c: c.queue_delete(q),
                lambda c: c.queue_purge(q), lambda c: c.basic_get(q), lambda c: c.queue_bind(q, "amq.topic", "k"),
                lambda c: c.basic_consume(q, lambda *_: None)):
        c = w.channel(other)
        w.closes(c, 405, text, lambda c=c, act=act: act(c))
    w.publish(w.channel(other), "", q, "may be published to")
    equal(w.get(ch, q).body, "may be published to")


@case
def exclusive_queue_goes_with_its_connection(w):
    ch = w.channel()
    own = w.connect()
    q = w.queue(w.channel(own), durable=True, exclusive=True)
    own.close()
    c = w.channel()
    w.closes(c, 404, f"no queue '{q}'", lambda: c.queue_declare(q, passive=True))
    w.queue(ch, exclusive=False)


@case
def auto_delete_queue_goes_with_its_last_consumer(w):
    ch = w.channel()
    q = w.queue(ch, auto_delete=True)
    first, second = Consumer(w.channel(), q), Consumer(w.channel(), q)
    first.channel.basic_cancel(first.tag)
    equal(w.counts(ch, q), (0, 1))
    second.channel.close()

    def gone():
        try:
            probe = w.channel()
            probe.queue_declare(q, passive=True)
            return False
        except Exception:  # pylint: disable=broad-except
            return True

    w.until(gone, "the queue is still there")


@case
def auto_delete_queue_stays_without_a_consumer(w):
    own = w.connect()
    q = w.queue(w.channel(own), auto_delete=True)
    w.publish(w.channel(own), "", q, "x")
    w.until(lambda: w.take(w.channel(own), q) is not None)
    own.close()
    equal(w.counts(w.channel(), q), (0, 0))


@case
def unused_queue_expires(w):
    ch = w.channel()
    q = w.queue(ch, "q", arguments={"x-expires": 300})
    used, consumer = None, None
    while consumer is None:
        used = w.queue(ch, "used", arguments={"x-expires": 300})
        with contextlib.suppress(pika.exceptions.ChannelClosedByBroker):  # it may expire before it is consumed from
            consumer = Consumer(w.channel(), used)

    def gone():
        names = [e["name"] for e in w.api("GET", "queues/%2f")]
        return q not in names

    w.until(gone, "the queue is still there")
    equal(w.counts(ch, used), (0, 1))


@case
def expiry_of_a_queue_must_be_positive(w):
    ch = w.channel()
    w.closes(ch, 406, "invalid arg 'x-expires' for queue", lambda: w.queue(ch, arguments={"x-expires": 0}))


@case
def transient_and_exclusive_in_all_forms(w):
    ch = w.channel()
    for durable in (False, True):
        for auto_delete in (False, True):
            for exclusive in (False, True):
                q = w.queue(ch, f"{durable}{auto_delete}{exclusive}", durable=durable, auto_delete=auto_delete, exclusive=exclusive)
                w.publish(ch, "", q, "x", delivery_mode=2)
                equal(w.get(ch, q).body, "x")


@case
def nowait_is_not_answered(w):
    q = w.name("q")
    w.queues.append(q)
    x = w.name("x")
    w.exchanges.append(x)
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(40, 10, b"\0\0", shortstr(x), shortstr("direct"), b"\x12", table()))
    peer.send(METHOD, 1, method(50, 10, b"\0\0", shortstr(q), b"\x12", table()))
    peer.send(METHOD, 1, method(50, 20, b"\0\0", shortstr(q), shortstr(x), shortstr("k"), b"\1", table()))
    peer.send(METHOD, 1, method(50, 30, b"\0\0", shortstr(q), b"\1"))
    peer.send(METHOD, 1, method(50, 10, b"\0\0", shortstr(q), b"\1", table()))
    peer.expect(50, 11)
    ch = w.channel()
    w.publish(ch, x, "k", "bound")
    equal(w.get(ch, q).body, "bound")


@case
def vhosts_are_worlds_of_their_own(w):
    vhost = w.vhost()
    ch = w.channel()
    q = w.queue(ch)
    there = w.channel(w.connect(vhost=vhost))
    w.closes(there, 404, f"no queue '{q}' in vhost '{vhost}'", lambda: there.queue_declare(q, passive=True))
    there = w.channel(w.connections[-1])
    there.queue_declare(q, durable=True)
    w.publish(there, "", q, "there")
    w.publish(ch, "", q, "here")
    equal(w.drain(ch, q), ["here"])
    equal(w.drain(there, q), ["there"])


@case
def answers_come_in_order_when_methods_are_pipelined(w):
    peer = w.raw().channel()
    names = [w.name(str(i)) for i in range(20)]
    w.queues += names
    peer.socket.sendall(b"".join(
        bytes([1]) + struct.pack(">HI", 1, len(p)) + p + b"\xce"
        for p in (method(50, 10, b"\0\0", shortstr(n), b"\2", table()) for n in names)))
    for n in names:
        equal(peer.expect(50, 11).payload[4:], shortstr(n) + struct.pack(">II", 0, 0))
