"""What the behaviour cases share: connections that end with the case, names of its own, waiting, and frames by hand."""
import base64
import json
import os
import socket
import struct
import time
import urllib.error
import urllib.parse
import urllib.request

import pika
import pika.exceptions
import pika.spec

# A broker that does not answer fails the case instead of holding it.
PATIENCE_S = 300  # what takes longer hangs, however busy the machine


class Failed(Exception):
    pass


def equal(got, expected, what=""):
    if got != expected:
        raise Failed(f"{what}{': ' if what else ''}expected {expected!r}, got {got!r}")


def holds(condition, what):
    if not condition:
        raise Failed(what)


def contains(text, part):
    if part not in text:
        raise Failed(f"expected a text with {part!r}, got {text!r}")


class Message:
    def __init__(self, method, properties, body):
        self.method, self.properties, self.body = method, properties, body.decode("utf-8", "replace")
        self.data = body
        self.tag, self.redelivered, self.exchange, self.key = method.delivery_tag, method.redelivered, method.exchange, method.routing_key
        self.headers = properties.headers or {}


class Consumer:
    """Collects what is delivered. Everything happens on the thread that waits."""

    def __init__(self, channel, queue, auto_ack=False, ack=False, **options):
        self.messages, self.channel, self.ack = [], channel, ack
        self.cancelled = False
        channel.add_on_cancel_callback(self.cancel_notified)
        self.tag = channel.basic_consume(queue, self.take, auto_ack=auto_ack, **options)

    def take(self, channel, method, properties, body):
        self.messages.append(Message(method, properties, body))
        if self.ack:
            channel.basic_ack(method.delivery_tag)

    def cancel_notified(self, frame):
        if frame.method.consumer_tag == self.tag:
            self.cancelled = True

    @property
    def bodies(self):
        return [message.body for message in self.messages]


class World:
    """One case's view of the broker."""

    def __init__(self, broker, case):
        self.broker, self.case = broker, case
        self.token = os.urandom(3).hex()
        self.own, self.connections, self.queues, self.exchanges, self.removed = None, [], [], [], []

    # --- connections

    def connect(self, user="guest", password="guest", vhost="/", **more):
        parameters = pika.ConnectionParameters(
            "127.0.0.1", self.broker.port, vhost, pika.PlainCredentials(user, password), heartbeat=0, socket_timeout=PATIENCE_S,
            blocked_connection_timeout=PATIENCE_S, stack_timeout=PATIENCE_S, **more)
        connection = pika.BlockingConnection(parameters)
        self.connections.append(connection)
        return connection

    def channel(self, connection=None):
        """A channel: of the connection given, or of the case's own."""
        if connection is None:
            if self.own is None or self.own.is_closed:
                self.own = self.connect()
            connection = self.own
        channel = connection.channel()
        channel.world_connection = connection
        return channel

    def raw(self, **options):
        peer = Raw(self.broker.port, **options)
        self.connections.append(peer)
        return peer

    # --- names

    def name(self, suffix=""):
        return f"{self.case}.{self.token}{'.' if suffix else ''}{suffix}"

    def queue(self, channel, suffix="q", durable=True, arguments=None, **options):
        name = self.name(suffix)
        self.queues.append(name)
        channel.queue_declare(name, durable=durable, arguments=arguments, **options)
        return name

    def exchange(self, channel, kind, suffix="x", durable=True, arguments=None, **options):
        name = self.name(suffix)
        self.exchanges.append(name)
        channel.exchange_declare(name, kind, durable=durable, arguments=arguments, **options)
        return name

    def gone_later(self, undo):
        """Called at the end of the case, whatever became of it."""
        self.removed.append(undo)

    def clean(self):
        for connection in self.connections:
            try:
                if connection.is_open:
                    connection.close()
            except Exception:  # pylint: disable=broad-except
                pass
        try:
            self.delete_all()
        except Exception:  # pylint: disable=broad-except
            pass
        for undo in reversed(self.removed):
            undo()

    def delete_all(self):
        if not self.queues and not self.exchanges:
            return
        connection = self.connect()
        for kind, names in (("queue", self.queues), ("exchange", self.exchanges)):
            for name in names:
                channel = connection.channel()
                try:
                    getattr(channel, f"{kind}_delete")(name)
                    channel.close()
                except pika.exceptions.AMQPChannelError:
                    pass
        connection.close()

    # --- messages

    @staticmethod
    def publish(channel, exchange, key, body="", mandatory=False, **properties):
        body = body if isinstance(body, bytes) else str(body).encode()
        channel.basic_publish(exchange, key, body, pika.BasicProperties(**properties), mandatory)

    def get(self, channel, queue, auto_ack=True):
        """The message at the head; waits until there is one."""
        found = []

        def taken():
            method, properties, body = channel.basic_get(queue, auto_ack=auto_ack)
            if method is not None:
                found.append(Message(method, properties, body))
            return found

        self.until(taken, f"no message in {queue}")
        return found[0]

    @staticmethod
    def take(channel, queue, auto_ack=True):
        """The message at the head, or None."""
        method, properties, body = channel.basic_get(queue, auto_ack=auto_ack)
        return Message(method, properties, body) if method is not None else None

    def drain(self, channel, queue):
        """The bodies of everything that is there."""
        bodies = []
        while (message := self.take(channel, queue)) is not None:
            bodies.append(message.body)
        return bodies

    @staticmethod
    def counts(channel, queue):
        method = channel.queue_declare(queue, passive=True).method
        return method.message_count, method.consumer_count

    # --- waiting

    def until(self, condition, what="nothing came of it"):
        end = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > end:
                raise Failed(f"{what} in {PATIENCE_S} s")
            self.serve(0.01)

    def serve(self, seconds=0):
        """Lets all connections read what has come."""
        for connection in self.connections:
            if isinstance(connection, pika.BlockingConnection) and connection.is_open:
                connection.process_data_events(time_limit=seconds)

    def delivered(self, consumer, count):
        self.until(lambda: len(consumer.messages) >= count, f"{len(consumer.messages)} of {count} messages delivered")

    # --- errors

    @staticmethod
    def closes(channel, code, text, act, connection=False):
        """What is done closes the channel, or the connection, with a code and a text; the connection lives on in the first case."""
        kind = pika.exceptions.ConnectionClosedByBroker if connection else pika.exceptions.ChannelClosedByBroker
        try:
            act()
            channel.basic_qos(prefetch_count=0)  # what was sent without an answer is refused by now
            channel.world_connection.process_data_events(time_limit=1)
        except kind as closed:
            equal(closed.reply_code, code, closed.reply_text)
            contains(closed.reply_text, text)
            if not connection:
                channel.world_connection.channel().close()
            return closed.reply_text
        except (pika.exceptions.ChannelClosedByBroker, pika.exceptions.ConnectionClosedByBroker) as closed:
            raise Failed(f"{type(closed).__name__} {closed.reply_code} {closed.reply_text}, expected {kind.__name__} {code}") from closed
        raise Failed(f"nothing was refused, expected {code} with {text!r}")

    # --- management

    def api(self, method, path, body=None, expected=None, user="guest:guest"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.broker.management_port}/api/{path}", method=method,
                                         data=None if body is None else json.dumps(body).encode())
        request.add_header("content-type", "application/json")
        request.add_header("authorization", "Basic " + base64.b64encode(user.encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            status, text = refused.code, refused.read()
        if expected is None and status >= 300 or expected is not None and status != expected:
            raise Failed(f"{method} /api/{path}: {status} {text[:300]!r}")
        return json.loads(text) if text else None

    def vhost(self, suffix="v"):
        name = self.name(suffix)
        path = urllib.parse.quote(name, "")
        self.api("PUT", f"vhosts/{path}", {})
        self.gone_later(lambda: self.api("DELETE", f"vhosts/{path}"))
        self.api("PUT", f"permissions/{path}/guest", {"configure": ".*", "write": ".*", "read": ".*"})
        return name

    def user(self, configure, write, read, suffix="u", vhost="%2f", tags=""):
        name = self.name(suffix)
        self.api("PUT", f"users/{name}", {"password": "secret", "tags": tags})
        self.gone_later(lambda: self.api("DELETE", f"users/{name}"))
        self.api("PUT", f"permissions/{vhost}/{name}", {"configure": configure, "write": write, "read": read})
        return name

    def policy(self, name, pattern, definition, kind="policies", apply_to="all", vhost="%2f", priority=0):
        path = f"{kind}/{vhost}/{name}"
        self.api("PUT", path, {"pattern": pattern, "definition": definition, "priority": priority, "apply-to": apply_to})
        self.gone_later(lambda: self.api("DELETE", path))


# --- frames by hand


def shortstr(text):
    data = text if isinstance(text, bytes) else text.encode()
    return bytes([len(data)]) + data


def longstr(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack(">I", len(data)) + data


def table(*fields):
    """fields: (name, letter, encoded value)"""
    return longstr(b"".join(shortstr(name) + letter.encode() + value for name, letter, value in fields))


def method(class_id, method_id, *arguments):
    return struct.pack(">HH", class_id, method_id) + b"".join(arguments)


def frame(kind, channel, payload, end=b"\xce"):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
PLAIN = b"\0guest\0guest"
PROTOCOL = b"AMQP\0\0\x09\x01"


class Ended(Exception):
    """The peer closed the socket."""


class Frame:
    def __init__(self, kind, channel, payload):
        self.kind, self.channel, self.payload = kind, channel, payload
        self.id = struct.unpack(">HH", payload[:4]) if kind == METHOD else None

    def close(self):
        """Code and text of a close method."""
        code, size = struct.unpack(">HB", self.payload[4:7])
        return code, self.payload[7:7 + size].decode()

    def __repr__(self):
        return f"frame {self.kind} on {self.channel}: {self.id} {self.payload[:80]!r}"


class Raw:
    """A connection whose every byte is the case's own."""

    def __init__(self, port, login=True, open_vhost="/", frame_max=131072, channel_max=2047, properties=b"\0\0\0\0"):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.socket.settimeout(PATIENCE_S)
        self.buffer = b""
        self.properties = properties
        if login:
            self.start()
            self.login()
            self.expect(10, 30)
            self.send(METHOD, 0, method(10, 31, struct.pack(">HIH", channel_max, frame_max, 0)))
        if login and open_vhost is not None:
            self.open(open_vhost)
            self.expect(10, 41)

    def start(self):
        self.socket.sendall(PROTOCOL)
        return self.expect(10, 10)

    def login(self, mechanism="PLAIN", response=PLAIN):
        self.send(METHOD, 0, method(10, 11, self.properties, shortstr(mechanism), longstr(response), shortstr("en_US")))

    def open(self, vhost="/"):
        self.send(METHOD, 0, method(10, 40, shortstr(vhost), shortstr(""), b"\0"))

    def channel(self, number=1):
        self.send(METHOD, number, method(20, 10, shortstr("")))
        self.expect(20, 11)
        return self

    def send(self, kind, channel, payload, end=b"\xce"):
        self.socket.sendall(frame(kind, channel, payload, end))

    def bytes(self, count):
        while len(self.buffer) < count:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError as reset:
                raise Ended from reset
            if not more:
                raise Ended
            self.buffer += more
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def frame(self):
        kind, channel, size = struct.unpack(">BHI", self.bytes(7))
        payload = self.bytes(size)
        equal(self.bytes(1), b"\xce", "frame end")
        return Frame(kind, channel, payload)

    def expect(self, class_id, method_id):
        got = self.frame()
        while got.kind == HEARTBEAT:
            got = self.frame()
        equal((got.kind, got.id), (METHOD, (class_id, method_id)), repr(got))
        return got

    def connection_closes(self, code, text=""):
        """The broker closes the connection, and the socket once it was answered."""
        got = self.expect(10, 50)
        equal(got.close()[0], code, got.close()[1])
        contains(got.close()[1], text)
        self.send(METHOD, 0, method(10, 51))
        self.ends()
        return got.close()[1]

    def channel_closes(self, code, text=""):
        got = self.expect(20, 40)
        equal(got.close()[0], code, got.close()[1])
        contains(got.close()[1], text)
        self.send(METHOD, got.channel, method(20, 41))
        return got.close()[1]

    def ends(self):
        try:
            while True:
                self.bytes(1)
        except Ended:
            self.socket.close()

    @property
    def is_open(self):
        return self.socket.fileno() >= 0

    def close(self):
        self.socket.close()
