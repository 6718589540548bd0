#!/usr/bin/env python3
"""What beck keeps when it ends or is killed, and what AMQP and HTTP have to do with each other.

usage: lasting_suite.py PROGRAM    run by run_suite.py. The last line is `N passed, N failed, 0 skipped`.
"""
import base64
import datetime
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import types
import urllib.request

import pika
import pika.credentials
import pika.exceptions

from behaviour import CASE_S, run
from world import PATIENCE_S, Consumer, Failed, contains, equal, holds

PORT, MANAGEMENT_PORT, HTTP_PORT = 5672, 15672, 2325
TLS_PORT, TLS_MANAGEMENT_PORT = 5671, 15671
CASES = []


def case(function):
    CASES.append(function)
    return function


class Server:
    """A server on a directory that outlives it."""

    def __init__(self, program):
        self.program, self.directory = os.path.abspath(program), tempfile.mkdtemp(prefix="beck-lasting-")
        self.process = None

    def start(self, *flags):
        path = os.path.join(self.directory, "notify")
        if os.path.exists(path):
            os.remove(path)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("BECK_", "LISTEN_"))}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, open(os.path.join(self.directory, "log"), "a", encoding="utf-8") as log:
            told.bind(path)
            self.process = subprocess.Popen([self.program, "serve", "--data", os.path.join(self.directory, "data"), *flags], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env={**environment, "NOTIFY_SOCKET": path})
            told.settimeout(PATIENCE_S)
            while not told.recv(4096).startswith(b"READY=1"):
                pass

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        if number == signal.SIGTERM and code != 0:
            raise Failed(f"the server ended with {code}: {self.log()}")

    def again(self, number):
        self.end(number)
        self.start()

    def log(self):
        with open(os.path.join(self.directory, "log"), encoding="utf-8") as file:
            return file.read()[-3000:]

    def gone(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


SERVER = None
BOTH = (signal.SIGTERM, signal.SIGKILL)


def next_life(w, number):
    """Ends the server, starts it again and gives a channel."""
    SERVER.again(number)
    w.connections.clear()
    w.own = None
    return w.channel()


def again(w, number):
    """The same in a case, which has as long for each of its lives."""
    signal.alarm(CASE_S)
    return next_life(w, number)


def http_call(method, path, body=None, headers=None):
    """As whoever needs no name while there are no users, else as guest."""
    login = "Basic " + base64.b64encode(b"guest:guest").decode()
    for own in ({}, {"authorization": login}):
        connection = http.client.HTTPConnection("127.0.0.1", HTTP_PORT, timeout=PATIENCE_S)
        connection.request(method, path, body, {**own, **(headers or {})})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if answer.status != 401:
            break
    if answer.status >= 300:
        raise Failed(f"{method} {path}: {answer.status} {text}")
    return text


# --- after an end


@case
def durable_topology_is_there_again(w):
    ch = w.channel()
    x, other = w.exchange(ch, "topic"), w.exchange(ch, "headers", "other", arguments={"alternate-exchange": "amq.fanout"})
    q = w.queue(ch, arguments={"x-max-length": 7, "x-dead-letter-exchange": x})
    ch.queue_bind(q, x, "order.*")
    ch.queue_bind(q, other, "", {"x-match": "any", "kind": "pdf"})
    ch.exchange_bind(x, other, "", {"x-match": "all", "kind": "text"})
    w.queue(ch, "transient", durable=False)
    w.exchange(ch, "direct", "transient", durable=False)
    for number in BOTH:
        ch = again(w, number)
        ch.exchange_declare(x, "topic", durable=True)
        ch.exchange_declare(other, "headers", durable=True, arguments={"alternate-exchange": "amq.fanout"})
        ch.queue_declare(q, durable=True, arguments={"x-max-length": 7, "x-dead-letter-exchange": x})
        ch.queue_purge(q)  # after a kill what was settled last may be there again
        w.publish(ch, x, "order.paid", "by key")
        w.publish(ch, other, "", "by header", headers={"kind": "pdf"})
        w.publish(ch, other, "order.paid", "through both", headers={"kind": "text"})
        equal(w.drain(ch, q), ["by key", "by header", "through both"])
        for passive in (lambda c: c.queue_declare(w.name("transient"), passive=True), lambda c: c.exchange_declare(w.name("transient"), passive=True)):
            c = w.channel()
            w.closes(c, 404, "NOT_FOUND", lambda c=c, passive=passive: passive(c))


@case
def what_was_unbound_and_deleted_stays_so(w):
    ch = w.channel()
    x = w.exchange(ch, "direct")
    q, deleted = w.queue(ch), w.queue(ch, "deleted")
    for key in ("a", "b"):
        ch.queue_bind(q, x, key)
    w.publish(ch, "", deleted, "x", delivery_mode=2)
    ch.queue_unbind(q, x, "a")
    ch.queue_delete(deleted)
    for number in BOTH:
        ch = again(w, number)
        ch.queue_purge(q)
        w.publish(ch, x, "a", "a")
        w.publish(ch, x, "b", "b")
        equal(w.drain(ch, q), ["b"])
        c = w.channel()
        w.closes(c, 404, "no queue", lambda c=c: c.queue_declare(deleted, passive=True))
    w.queue(w.channel(), "deleted")
    equal(w.counts(w.channel(), deleted), (0, 0), "a new queue of the old name")


@case
def confirmed_messages_outlive_a_kill(w):
    ch = w.channel()
    q = w.queue(ch)
    x = w.exchange(ch, "fanout")
    ch.queue_bind(q, x)
    ch.confirm_delivery()
    for i in range(200):
        w.publish(ch, x, "", i, delivery_mode=2, headers={"n": i}, message_id=f"m{i}", expiration="6000000", priority=3)
    ch = again(w, signal.SIGKILL)
    equal(w.counts(ch, q)[0], 200)
    for i in range(200):
        got = w.take(ch, q)
        equal((got.body, got.headers, got.properties.message_id, got.properties.expiration, got.properties.priority, got.exchange),
              (str(i), {"n": i}, f"m{i}", "6000000", 3, x))


@case
def transient_messages_do_not_outlive_an_end(w):
    for number in BOTH:
        ch = w.channel()
        queue = w.queue(ch, number.name)
        ch.confirm_delivery()
        w.publish(ch, "", queue, "transient")
        w.publish(ch, "", queue, "persistent", delivery_mode=2)
        ch = again(w, number)
        equal(w.counts(ch, queue), (1, 0))
        equal(w.drain(ch, queue), ["persistent"])


@case
def acknowledged_messages_do_not_come_back(w):
    ch = w.channel()
    q = w.queue(ch)
    ch.confirm_delivery()
    for i in range(50):
        w.publish(ch, "", q, i, delivery_mode=2)
    held = [w.get(ch, q, auto_ack=False) for _ in range(30)]
    for message in held[::2]:
        ch.basic_ack(message.tag)
    w.counts(ch, q)
    expected = [str(i) for i in range(30) if i % 2] + [str(i) for i in range(30, 50)]
    ch = again(w, signal.SIGTERM)
    equal(w.counts(ch, q)[0], 35)
    messages = [w.take(ch, q, auto_ack=False) for _ in range(35)]
    equal([m.body for m in messages], expected)
    equal([m.redelivered for m in messages], [True] * 15 + [False] * 20)
    ch = again(w, signal.SIGTERM)
    equal(w.drain(ch, q), expected)


@case
def purged_messages_do_not_come_back(w):
    ch = w.channel()
    q = w.queue(ch)
    ch.confirm_delivery()
    for i in range(20):
        w.publish(ch, "", q, i, delivery_mode=2)
    equal(ch.queue_purge(q).method.message_count, 20)
    w.publish(ch, "", q, "after", delivery_mode=2)
    ch = again(w, signal.SIGKILL)
    equal(w.drain(ch, q), ["after"])


@case
def dead_letters_and_their_history_outlive_an_end(w):
    ch = w.channel()
    dead = w.queue(ch, "dead")
    q = w.queue(ch, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    for i in range(5):
        w.publish(ch, "", q, i, delivery_mode=2)
        ch.basic_reject(w.get(ch, q, auto_ack=False).tag, requeue=False)
    w.until(lambda: w.counts(ch, dead)[0] == 5)
    for number in (signal.SIGTERM,):
        ch = again(w, number)
        equal((w.counts(ch, q)[0], w.counts(ch, dead)[0]), (0, 5))
    got = w.get(ch, dead)
    equal((got.body, got.headers["x-death"][0]["queue"], got.headers["x-death"][0]["reason"]), ("0", q, "rejected"))


@case
def ttl_goes_on_over_an_end(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-message-ttl": 1500})
    ch.confirm_delivery()
    w.publish(ch, "", q, "x", delivery_mode=2)
    ch = again(w, signal.SIGTERM)
    w.until(lambda: w.counts(ch, q)[0] == 0, "not expired")


@case
def delayed_messages_outlive_an_end(w):
    ch = w.channel()
    x = w.exchange(ch, "x-delayed-message", arguments={"x-delayed-type": "direct"})
    q = w.queue(ch)
    ch.queue_bind(q, x, "k")
    ch.confirm_delivery()
    w.publish(ch, x, "k", "later", headers={"x-delay": 1500}, delivery_mode=2)
    w.publish(ch, x, "k", "much later", headers={"x-delay": 86400000}, delivery_mode=2)
    ch = again(w, signal.SIGTERM)
    equal(w.get(ch, q).body, "later")
    equal(w.counts(ch, q)[0], 0)


@case
def priorities_outlive_an_end(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-max-priority": 9})
    ch.confirm_delivery()
    for i in (1, 5, 3, 9, 0):
        w.publish(ch, "", q, i, priority=i, delivery_mode=2)
    ch = again(w, signal.SIGKILL)
    equal(w.drain(ch, q), ["9", "5", "3", "1", "0"])


@case
def streams_are_read_again_after_an_end(w):
    ch = w.channel()
    s = w.queue(ch, "s", arguments={"x-queue-type": "stream"})
    ch.confirm_delivery()
    for i in range(10):
        w.publish(ch, "", s, i)
    ch = again(w, signal.SIGTERM)
    ch.basic_qos(prefetch_count=100)
    consumer = Consumer(ch, s, ack=True, arguments={"x-stream-offset": 4})
    w.delivered(consumer, 6)
    equal(consumer.bodies, [str(i) for i in range(4, 10)])
    equal([m.headers["x-stream-offset"] for m in consumer.messages], list(range(4, 10)))


@case
def users_permissions_and_policies_outlive_an_end(w):
    vhost = w.vhost()
    user = w.user("^a", ".*", ".*", vhost=vhost)
    q = w.queue(w.channel())
    w.policy(w.name("p"), "^" + q.replace(".", "\\.") + "$", {"max-length": 2})
    for number in BOTH:
        ch = again(w, number)
        for i in range(5):
            w.publish(ch, "", q, i)
        equal(w.drain(ch, q), ["3", "4"])
        c = w.channel(w.connect(user, "secret", vhost))
        c.queue_declare("a1", durable=True)
        w.closes(c, 403, "access to queue 'b1' in vhost", lambda c=c: c.queue_declare("b1", durable=True))


@case
def clients_are_told_when_the_server_ends(w):
    connection = w.connect()
    ch = w.channel(connection)
    SERVER.process.send_signal(signal.SIGTERM)
    try:
        text = w.closes(ch, 320, "CONNECTION_FORCED", lambda: w.until(lambda: connection.process_data_events(time_limit=0.1)), connection=True)
        contains(text, "shut")
    finally:
        SERVER.process.wait(PATIENCE_S)
        SERVER.start()


@case
def killed_again_and_again_nothing_confirmed_is_lost(w):
    q = w.queue(w.channel())
    confirmed, doubtful = [], set()
    for round in range(5):
        ch = w.channel()
        ch.confirm_delivery()
        killed_after = 20 + 37 * round
        for i in range(10000):
            body = f"{round}.{i}"
            if i == killed_after:
                SERVER.process.send_signal(signal.SIGKILL)
            try:
                w.publish(ch, "", q, body, delivery_mode=2)
                confirmed.append(body)
            except pika.exceptions.AMQPError:
                doubtful.add(body)
                break
        again(w, signal.SIGKILL)
    bodies = w.drain(w.channel(), q)
    equal([b for b in bodies if b not in doubtful], confirmed)
    holds(len(set(bodies)) == len(bodies), "something is there twice")


# --- with HTTP


@case
def event_over_http_reaches_amqp(w):
    ch = w.channel()
    x = w.exchange(ch, "topic")
    q = w.queue(ch)
    ch.queue_bind(q, x, "order.*")
    event = {"specversion": "1.0", "id": "e1", "source": "/shop", "type": "order.created", "subject": "s1", "datacontenttype": "application/json",
             "time": "2026-01-31T14:30:00Z", "correlationid": "c1", "data": {"n": 1}}
    http_call("POST", f"/v1/buses/{x}/events?create=true", json.dumps(event), {"content-type": "application/cloudevents+json"})
    got = w.get(ch, q)
    properties = got.properties
    equal((got.exchange, got.key, json.loads(got.body)), (x, "order.created", {"n": 1}))
    equal((properties.message_id, properties.app_id, properties.content_type, properties.correlation_id, properties.timestamp,
           properties.delivery_mode), ("e1", "/shop", "application/json", "c1", 1769869800, 2))
    equal(got.headers.get("ce_subject"), "s1")
    ch = again(w, signal.SIGTERM)
    http_call("POST", f"/v1/buses/{x}/events", json.dumps({**event, "id": "e2"}), {"content-type": "application/cloudevents+json"})
    equal(w.get(ch, q).properties.message_id, "e2")


@case
def message_over_amqp_is_an_event_over_http(w):
    ch = w.channel()
    x = w.exchange(ch, "topic")
    q = w.queue(ch)
    ch.queue_bind(q, x, "#")
    ch.confirm_delivery()
    w.publish(ch, x, "order.paid", '{"n":2}', delivery_mode=2, message_id="m1", app_id="/till", content_type="application/json", correlation_id="c2",
              timestamp=1769869800, headers={"ce_subject": "s2", "other": 1})
    lines = [json.loads(line) for line in http_call("GET", f"/v1/buses/{x}/events?from=earliest", headers={
        "accept": "application/x-ndjson"}).splitlines() if line.strip()]
    events = lines[0] if len(lines) == 1 and isinstance(lines[0], list) else lines
    equal(len(events), 1)
    event = {k: events[0].get(k) for k in ("id", "source", "type", "subject", "time", "correlationid", "data")}
    equal(event.pop("time")[:19], "2026-01-31T14:30:00")
    equal(event, {"id": "m1", "source": "/till", "type": "order.paid", "subject": "s2", "correlationid": "c2", "data": {"n": 2}})


@case
def queue_may_begin_in_the_past(w):
    """What no other broker has: a queue that is bound to what was published before it."""
    ch = w.channel()
    x = w.exchange(ch, "topic")
    keeps = w.queue(ch, "keeps")
    ch.queue_bind(keeps, x, "#")
    ch.confirm_delivery()
    for i in range(10):
        w.publish(ch, x, f"order.{'even' if i % 2 == 0 else 'odd'}", i, delivery_mode=2)
    late = w.queue(ch, "late")
    ch.queue_bind(late, x, "order.even", {"x-beck-from": "first"})
    w.publish(ch, x, "order.even", "new", delivery_mode=2)
    w.until(lambda: w.counts(ch, late)[0] == 6, "not all there")
    equal(w.drain(ch, late), ["0", "2", "4", "6", "8", "new"])
    all_odd = ["1", "3", "5", "7", "9"]
    forms = (7, ["7", "9"]), ("earliest", all_odd), (datetime.datetime(2026, 1, 1), all_odd), ("2026-01-01T00:00:00Z", all_odd), (
        "2100-01-01T00:00:00Z", [])
    for i, (position, expected) in enumerate(forms):
        other = w.queue(ch, f"from{i}")
        ch.queue_bind(other, x, "order.odd", {"x-beck-from": position})
        equal(w.drain(ch, other), expected)
    c = w.channel()
    w.closes(c, 406, "invalid arg 'x-beck-from'", lambda: c.queue_bind(late, x, "order.odd", {"x-beck-from": "soon"}))


@case
def queue_may_be_consumed_from_the_past_again(w):
    ch = w.channel()
    q = w.queue(ch)
    ch.confirm_delivery()
    for i in range(5):
        w.publish(ch, "", q, i, delivery_mode=2)
    equal(w.drain(ch, q), ["0", "1", "2", "3", "4"])
    consumer = Consumer(ch, q, ack=True, arguments={"x-beck-from": "first"})
    w.delivered(consumer, 5)
    equal(consumer.bodies, ["0", "1", "2", "3", "4"])


@case
def queue_of_amqp_can_be_rewound_by_hand(w):
    ch = w.channel()
    exchange, queue = w.exchange(ch, "topic"), w.queue(ch)
    ch.queue_bind(queue, exchange, "#")
    ch.confirm_delivery()
    for body in ("a", "b", "c"):
        w.publish(ch, exchange, "k", body, delivery_mode=2)
    w.publish(ch, "", queue, "direct", delivery_mode=2)
    consumer = Consumer(ch, queue, ack=True)
    w.delivered(consumer, 4)
    subprocess.run([SERVER.program, "queue", "rewind", queue, "earliest", "--data", os.path.join(SERVER.directory, "data")],
                   check=True, capture_output=True)
    w.delivered(consumer, 8)
    equal(sorted(consumer.bodies[4:]), ["a", "b", "c", "direct"])
    equal([b for b in consumer.bodies[4:] if b != "direct"], ["a", "b", "c"])


def has_alarm(w):
    return w.api("GET", "nodes")[0]["disk_free_alarm"]


@case
def publishers_wait_while_the_disk_is_low(w):
    SERVER.end()
    SERVER.start("--amqp.disk_free_limit", "1000000g")
    w.connections.clear()
    told = []
    w.until(lambda: has_alarm(w), "no alarm")
    connection = w.connect()
    connection.add_on_connection_blocked_callback(lambda _, frame: told.append(frame.method.reason))
    ch = w.channel(connection)
    ch.queue_declare("low", durable=True)
    w.publish(ch, "", "low", "x", delivery_mode=2)
    w.until(lambda: told, "not told")
    equal(told, ["low on disk"])
    failed = w.api("GET", "health/checks/alarms", expected=503)
    equal([alarm["resource"] for alarm in failed["alarms"]], ["disk"])
    equal([c["state"] for c in w.api("GET", "connections")], ["blocked"])
    ch = again(w, signal.SIGTERM)
    equal(w.api("GET", "health/checks/alarms")["status"], "ok")
    equal(w.get(ch, "low").body, "x")
    ch.queue_delete("low")


def certify(folder, name, authority=None):
    """A key and a certificate of that name, signed by the authority or by itself."""
    def path(kind, of=name):
        return os.path.join(folder, f"{of}.{kind}")
    by = ["-CA", path("pem", authority), "-CAkey", path("key", authority)] if authority else []
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    f"/O=beck/CN={name}", "-addext", "subjectAltName=DNS:localhost", "-keyout", path("key"), "-out", path("pem"), *by],
                   check=True, capture_output=True)
    return path("pem"), path("key")


def tls_parameters(folder, name, credentials):
    context = ssl.create_default_context(cafile=os.path.join(folder, "authority.pem"))
    if name:
        context.load_cert_chain(os.path.join(folder, f"{name}.pem"), os.path.join(folder, f"{name}.key"))
    return pika.ConnectionParameters("127.0.0.1", TLS_PORT, credentials=credentials, ssl_options=pika.SSLOptions(context, "localhost"))


@case
def clients_log_in_over_tls_and_by_their_certificates(w):
    folder = SERVER.directory
    certify(folder, "authority")
    certificate, key = certify(folder, "server", "authority")
    for name in ("ann", "nobody"):
        certify(folder, name, "authority")
    w.api("PUT", "users/ann", {"password": "secret", "tags": ""})
    w.gone_later(lambda: w.api("DELETE", "users/ann"))
    w.api("PUT", "permissions/%2f/ann", {"configure": ".*", "write": ".*", "read": ".*"})
    SERVER.end()
    SERVER.start("--amqp.tls_listen", f"127.0.0.1:{TLS_PORT}", "--amqp.tls_certificate", certificate, "--amqp.tls_key", key, "--amqp.tls_ca",
                 os.path.join(folder, "authority.pem"), "--management.tls_listen", f"127.0.0.1:{TLS_MANAGEMENT_PORT}", "--http.tls_certificate",
                 certificate, "--http.tls_key", key)
    w.connections.clear()
    external = pika.credentials.ExternalCredentials()
    for name, credentials in ((None, pika.PlainCredentials("ann", "secret")), ("nobody", pika.PlainCredentials("ann", "secret")), ("ann", external)):
        connection = pika.BlockingConnection(tls_parameters(folder, name, credentials))
        ch = connection.channel()
        queue = ch.queue_declare("", exclusive=True).method.queue
        ch.basic_publish("", queue, b"x" * 300000)
        w.until(lambda: ch.basic_get(queue)[2] == b"x" * 300000, "not got")
        shown = [c for c in w.api("GET", "connections") if c["user"] == "ann"]
        equal([(c["ssl"], c["auth_mechanism"]) for c in shown], [(True, "EXTERNAL" if credentials is external else "PLAIN")])
        connection.close()
    for name in (None, "nobody"):
        try:
            pika.BlockingConnection(tls_parameters(folder, name, external))
        except pika.exceptions.AMQPConnectionError:
            continue
        raise Failed(f"{name} logged in by a certificate")
    context = ssl.create_default_context(cafile=os.path.join(folder, "authority.pem"))
    request = urllib.request.Request(f"https://localhost:{TLS_MANAGEMENT_PORT}/api/whoami", headers={
        "authorization": "Basic " + base64.b64encode(b"guest:guest").decode()})
    with urllib.request.urlopen(request, context=context, timeout=PATIENCE_S) as answer:
        equal(json.loads(answer.read())["name"], "guest")
    SERVER.again(signal.SIGTERM)
    w.connections.clear()


def main():
    global SERVER  # pylint: disable=global-statement
    SERVER = Server(sys.argv[1])
    words = sys.argv[2:]
    broker = types.SimpleNamespace(port=PORT, management_port=MANAGEMENT_PORT)
    failed = passed = 0
    SERVER.start()
    for each in CASES:
        if words and not any(word in each.__name__ for word in words):
            continue
        began = time.monotonic()
        wrong = run(each, broker)
        if SERVER.process.poll() is not None:
            wrong = f"{wrong or ''}; the server ended with {SERVER.process.poll()}: {SERVER.log()}"
            SERVER.start()
        failed, passed = failed + bool(wrong), passed + (not wrong)
        print(f"{'FAILED' if wrong else 'ok'} {each.__name__}{': ' + wrong if wrong else ''} ({time.monotonic() - began:.1f} s)", flush=True)
    SERVER.gone()
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
