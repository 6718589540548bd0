"""The connection: negotiation, frames, and which mistake costs a channel, which the connection."""
import struct

import pika.exceptions

from world import (BODY, HEADER, HEARTBEAT, METHOD, PROTOCOL, Ended, Failed, contains, equal, frame, holds, longstr, method, shortstr,
                   table)

CASES = []


def case(function):
    CASES.append(function)
    return function


def works(peer, channel=1):
    """The channel answers."""
    peer.send(METHOD, channel, method(60, 10, struct.pack(">IHB", 0, 0, 0)))
    peer.expect(60, 11)


# --- negotiation


@case
def start_tells_what_the_server_can(w):
    peer = w.raw(login=False)
    payload = peer.start().payload
    equal(payload[4:6], b"\0\x09")
    for word in (b"capabilities", b"publisher_confirms", b"exchange_exchange_bindings", b"basic.nack", b"consumer_cancel_notify",
                 b"connection.blocked", b"consumer_priorities", b"authentication_failure_close", b"per_consumer_qos", b"direct_reply_to",
                 b"product", b"version", b"platform", b"cluster_name", b"information"):
        holds(word in payload, word.decode())
    holds(b"PLAIN" in payload[payload.rindex(b"en_US") - 40:], "no PLAIN")
    equal(payload[-9:], longstr("en_US"))


@case
def product_is_named_so_that_clients_know_it(w):
    payload = w.raw(login=False).start().payload
    contains(payload.decode("latin-1"), "\x07productS\0\0\0\x08RabbitMQ")


@case
def tune_offers_the_usual(w):
    peer = w.raw(login=False)
    peer.start()
    peer.login()
    equal(struct.unpack(">HIH", peer.expect(10, 30).payload[4:]), (2047, 131072, 60))


@case
def tune_ok_and_open_may_come_together(w):
    peer = w.raw(login=False)
    peer.start()
    peer.login()
    peer.expect(10, 30)
    peer.socket.sendall(frame(METHOD, 0, method(10, 31, struct.pack(">HIH", 2047, 131072, 60)))
                        + frame(METHOD, 0, method(10, 40, shortstr("/"), shortstr(""), b"\0"))
                        + frame(METHOD, 1, method(20, 10, shortstr(""))))
    peer.expect(10, 41)
    equal(peer.expect(20, 11).payload[4:], longstr(""))


@case
def small_frames_are_accepted(w):
    peer = w.raw(frame_max=4096).channel()
    ch = w.channel()
    q = w.queue(ch)
    w.publish(ch, "", q, "x" * 10000)
    w.until(lambda: w.counts(ch, q)[0] == 1)
    peer.send(METHOD, 1, method(60, 70, b"\0\0", shortstr(q), b"\1"))
    peer.expect(60, 71)
    peer.frame()
    size = 0
    while size < 10000:
        part = peer.frame()
        holds(len(part.payload) <= 4088, str(len(part.payload)))
        size += len(part.payload)


@case
def another_protocol_is_answered_with_ours(w):
    for header in (b"AMQP\x01\x01\0\x0a", b"AMQP\0\0\x08\x00", b"HELO\r\n\r\n"):
        peer = w.raw(login=False)
        peer.socket.sendall(header)
        answer = peer.bytes(8)
        equal(answer[:4], b"AMQP")
        peer.ends()


@case
def header_of_0_9_is_accepted(w):
    peer = w.raw(login=False)
    peer.socket.sendall(b"AMQP\x01\x01\x00\x09")
    peer.expect(10, 10)


@case
def header_may_come_in_pieces(w):
    peer = w.raw(login=False)
    for at in range(8):
        peer.socket.sendall(PROTOCOL[at:at + 1])
    peer.expect(10, 10)


@case
def wrong_password_is_told_to_who_can_hear_it(w):
    peer = w.raw(login=False, properties=table(("capabilities", "F", table(("authentication_failure_close", "t", b"\1")))))
    peer.start()
    peer.login(response=b"\0guest\0wrong")
    peer.connection_closes(403, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.")


@case
def wrong_password_ends_the_connection(w):
    peer = w.raw(login=False)
    peer.start()
    peer.login(response=b"\0guest\0wrong")
    peer.ends()


@case
def unknown_mechanism_ends_the_connection(w):
    peer = w.raw(login=False)
    peer.start()
    peer.login("STRANGE", b"")
    try:
        peer.expect(10, 50)
    except Ended:
        pass


@case
def missing_vhost(w):
    peer = w.raw(open_vhost=None)
    peer.open("nowhere")
    peer.connection_closes(530, "vhost nowhere not found")


@case
def vhost_without_permission(w):
    name = w.name("u")
    w.api("PUT", f"users/{name}", {"password": "secret", "tags": ""})
    w.gone_later(lambda: w.api("DELETE", f"users/{name}"))
    peer = w.raw(login=False)
    peer.start()
    peer.login(response=f"\0{name}\0secret".encode())
    peer.expect(10, 30)
    peer.send(METHOD, 0, method(10, 31, struct.pack(">HIH", 2047, 131072, 0)))
    peer.open("/")
    peer.connection_closes(530, f"access to vhost '/' refused for user '{name}'")


@case
def tune_outside_the_offer(w):
    """With a frame, or without one as in the whole handshake."""
    for channels, frames in ((2048, 131072), (2047, 131073)):
        peer = w.raw(login=False)
        peer.start()
        peer.login()
        peer.expect(10, 30)
        peer.send(METHOD, 0, method(10, 31, struct.pack(">HIH", channels, frames, 0)))
        try:
            peer.connection_closes(530, "negotiated")
        except Ended:
            pass


@case
def more_channels_than_agreed(w):
    peer = w.raw(channel_max=3)
    for number in (1, 2, 3):
        peer.channel(number)
    peer.send(METHOD, 4, method(20, 10, shortstr("")))
    peer.connection_closes(530, "number of channels opened (3) has reached the negotiated channel_max (3)")


@case
def heartbeats_are_sent_when_nothing_else_is(w):
    peer = w.raw(login=False)
    peer.start()
    peer.login()
    peer.expect(10, 30)
    peer.send(METHOD, 0, method(10, 31, struct.pack(">HIH", 2047, 131072, 1)))
    peer.open()
    peer.expect(10, 41)
    got = peer.frame()
    equal((got.kind, got.channel, got.payload), (HEARTBEAT, 0, b""))


@case
def silent_client_is_let_go(w):
    peer = w.raw(login=False)
    peer.start()
    peer.login()
    peer.expect(10, 30)
    peer.send(METHOD, 0, method(10, 31, struct.pack(">HIH", 2047, 131072, 1)))
    peer.open()
    peer.expect(10, 41)
    peer.ends()


# --- closing


@case
def connection_is_closed_politely(w):
    peer = w.raw().channel()
    peer.send(METHOD, 0, method(10, 50, struct.pack(">H", 200), shortstr("Cheers, thanks"), struct.pack(">HH", 0, 0)))
    peer.expect(10, 51)


@case
def channel_is_closed_and_opened_again(w):
    peer = w.raw().channel()
    for _ in range(3):
        peer.send(METHOD, 1, method(20, 40, struct.pack(">H", 200), shortstr("bye"), struct.pack(">HH", 0, 0)))
        peer.expect(20, 41)
        peer.channel()
    works(peer)


@case
def other_channels_outlive_a_closed_one(w):
    peer = w.raw().channel(1).channel(2)
    peer.send(METHOD, 1, method(60, 80, struct.pack(">QB", 7, 0)))
    peer.channel_closes(406, "unknown delivery tag 7")
    works(peer, 2)


@case
def close_names_the_method_that_was_wrong(w):
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(60, 80, struct.pack(">QB", 7, 0)))
    equal(peer.expect(20, 40).payload[-4:], struct.pack(">HH", 60, 80))


# --- frames


@case
def wrong_frame_end(w):
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(60, 10, struct.pack(">IHB", 0, 0, 0)), end=b"\xcd")
    peer.connection_closes(501, "FRAME_ERROR")


@case
def frame_over_the_agreed_size(w):
    peer = w.raw(frame_max=8192).channel()
    peer.socket.sendall(struct.pack(">BHI", BODY, 1, 20000))
    peer.connection_closes(501, "FRAME_ERROR")


@case
def unknown_frame_type(w):
    peer = w.raw().channel()
    peer.send(4, 1, b"")
    peer.expect(10, 50)


@case
def body_longer_than_announced(w):
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(60, 40, b"\0\0", shortstr(""), shortstr("q"), b"\0"))
    peer.send(HEADER, 1, struct.pack(">HHQ", 60, 0, 3) + b"\0\0")
    peer.send(BODY, 1, b"four")
    peer.connection_closes(501, "FRAME_ERROR")


@case
def header_where_a_method_is_due(w):
    peer = w.raw().channel()
    peer.send(HEADER, 1, struct.pack(">HHQ", 60, 0, 3) + b"\0\0")
    peer.connection_closes(505, "expected method frame, got non method frame instead")


@case
def body_where_a_method_is_due(w):
    peer = w.raw().channel()
    peer.send(BODY, 1, b"x")
    peer.connection_closes(505, "expected method frame, got non method frame instead")


@case
def method_where_a_header_is_due(w):
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(60, 40, b"\0\0", shortstr(""), shortstr("q"), b"\0"))
    peer.send(METHOD, 1, method(60, 10, struct.pack(">IHB", 0, 0, 0)))
    peer.connection_closes(505, "expected content header for class 60, got non content header frame instead")


@case
def method_where_a_body_is_due(w):
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(60, 40, b"\0\0", shortstr(""), shortstr("q"), b"\0"))
    peer.send(HEADER, 1, struct.pack(">HHQ", 60, 0, 3) + b"\0\0")
    peer.send(METHOD, 1, method(60, 10, struct.pack(">IHB", 0, 0, 0)))
    peer.connection_closes(505, "expected content body, got non content body frame instead")


@case
def header_of_another_class(w):
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(60, 40, b"\0\0", shortstr(""), shortstr("q"), b"\0"))
    peer.send(HEADER, 1, struct.pack(">HHQ", 50, 0, 3) + b"\0\0")
    peer.connection_closes(505, "expected content header for class 60, got one for class 50 instead")


@case
def heartbeat_on_a_channel(w):
    peer = w.raw().channel()
    peer.send(HEARTBEAT, 1, b"")
    got = peer.expect(10, 50)
    holds(got.close()[0] in (501, 503, 505), str(got.close()))


@case
def method_on_a_channel_that_is_not_open(w):
    peer = w.raw()
    peer.send(METHOD, 3, method(60, 10, struct.pack(">IHB", 0, 0, 0)))
    peer.connection_closes(504, "CHANNEL_ERROR - expected 'channel.open'")


@case
def channel_opened_twice(w):
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(20, 10, shortstr("")))
    peer.connection_closes(504, "second 'channel.open' seen")


@case
def unknown_method(w):
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(60, 999))
    try:
        peer.connection_closes(503, "COMMAND_INVALID")
    except Ended:
        raise Failed("the socket was closed without a frame") from None


@case
def truncated_method(w):
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(60, 80, b"\0\0"))
    try:
        got = peer.expect(10, 50)
        holds(got.close()[0] in (501, 502), str(got.close()))
    except Ended:
        raise Failed("the socket was closed without a frame") from None


@case
def client_methods_only(w):
    peer = w.raw().channel()
    peer.send(METHOD, 1, method(50, 11, shortstr("q"), struct.pack(">II", 0, 0)))
    got = peer.expect(10, 50)
    holds(500 <= got.close()[0] < 560, str(got.close()))


@case
def exchange_of_an_unknown_type(w):
    ch = w.channel()
    w.closes(ch, 406, "unknown exchange type 'strange'", lambda: w.exchange(ch, "strange"))


@case
def empty_queue_name_without_a_declared_one(w):
    for class_id, method_id, arguments in ((60, 70, b"\0"), (60, 20, shortstr("") + b"\0" + table()), (50, 30, b"\0")):
        peer = w.raw().channel()
        peer.send(METHOD, 1, method(class_id, method_id, b"\0\0", shortstr(""), arguments))
        peer.channel_closes(404, "no previously declared queue")


@case
def passive_declare_of_a_missing_exchange(w):
    ch = w.channel()
    missing = w.name("missing")
    w.closes(ch, 404, f"no exchange '{missing}' in vhost '/'", lambda: ch.exchange_declare(missing, passive=True))


@case
def exchange_bindings_need_both_ends(w):
    ch = w.channel()
    x = w.exchange(ch, "fanout")
    missing = w.name("missing")
    w.closes(ch, 404, f"no exchange '{missing}' in vhost '/'", lambda: ch.exchange_bind(x, missing))
    ch = w.channel()
    w.closes(ch, 404, f"no exchange '{missing}' in vhost '/'", lambda: ch.exchange_bind(missing, x))


# --- permissions


def refused(w, user, act, text):
    connection = w.connect(user, "secret")
    ch = w.channel(connection)
    w.closes(ch, 403, text, lambda: act(ch))
    connection.close()


@case
def permissions_of_configure_write_and_read(w):
    ch = w.channel()
    q, x = w.queue(ch), w.exchange(ch, "fanout")
    nobody = w.user("^$", "^$", "^$", "nobody")
    for act, kind, name in ((lambda c: c.queue_declare(w.name("other")), "queue", w.name("other")), (lambda c: c.queue_delete(q), "queue", q),
                            (lambda c: c.exchange_delete(x), "exchange", x), (lambda c: c.queue_purge(q), "queue", q),
                            (lambda c: c.basic_get(q), "queue", q), (lambda c: c.basic_consume(q, lambda *_: None), "queue", q),
                            (lambda c: w.publish(c, x, "", "x"), "exchange", x)):
        refused(w, nobody, act, f"to {kind} '{name}' in vhost '/' refused for user '{nobody}'")


@case
def default_exchange_is_checked_by_its_name(w):
    ch = w.channel()
    q = w.queue(ch)
    user = w.user("^$", "^$", ".*", "reader")
    refused(w, user, lambda c: w.publish(c, "", q, "x"), f"to exchange 'amq.default' in vhost '/' refused for user '{user}'")


@case
def binding_needs_write_and_read(w):
    ch = w.channel()
    q, x = w.queue(ch), w.exchange(ch, "fanout")
    no_write = w.user(".*", "^$", ".*", "nowrite")
    no_read = w.user(".*", ".*", "^$", "noread")
    refused(w, no_write, lambda c: c.queue_bind(q, x), f"to queue '{q}' in vhost '/' refused for user '{no_write}'")
    refused(w, no_read, lambda c: c.queue_bind(q, x), f"to exchange '{x}' in vhost '/' refused for user '{no_read}'")


@case
def topic_permissions_look_at_the_key(w):
    name = w.user(".*", ".*", ".*")
    w.api("PUT", f"topic-permissions/%2f/{name}", {"exchange": "amq.topic", "write": "^order\\.", "read": ".*"})
    connection = w.connect(name, "secret")
    ch = w.channel(connection)
    w.publish(ch, "amq.topic", "order.paid", "x")
    w.closes(ch, 403, "to topic 'secret.paid' in exchange 'amq.topic' in vhost '/' refused for user", lambda: w.publish(ch, "amq.topic", "secret.paid", "x"))


@case
def secret_can_be_updated(w):
    peer = w.raw()
    peer.send(METHOD, 0, method(10, 70, longstr("guest"), shortstr("because")))
    peer.expect(10, 71)
    works(peer.channel())


@case
def wrong_user_of_a_client_library(w):
    try:
        w.connect("nobody", "nothing")
    except pika.exceptions.ProbableAuthenticationError as refused_login:
        contains(str(refused_login), "ACCESS_REFUSED")
        return
    raise Failed("let in")


@case
def thousand_channels_on_a_connection(w):
    peer = w.raw()
    peer.socket.sendall(b"".join(frame(METHOD, n, method(20, 10, shortstr(""))) for n in range(1, 1001)))
    equal({peer.expect(20, 11).channel for _ in range(1000)}, set(range(1, 1001)))
    works(peer, 1000)
