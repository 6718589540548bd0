"""The management API as tools use it, against what happens over AMQP."""
import pika.exceptions

from world import Consumer, Failed, contains, equal, holds

CASES = []


def case(function):
    CASES.append(function)
    return function


@case
def overview_names_versions_and_listeners(w):
    overview = w.api("GET", "overview")
    for key in ("management_version", "rabbitmq_version", "cluster_name", "exchange_types", "object_totals", "queue_totals", "listeners", "node"):
        holds(key in overview, key)
    holds(any(l["protocol"] == "amqp" and l["port"] == w.broker.port for l in overview["listeners"]), str(overview["listeners"]))


@case
def whoami_and_aliveness(w):
    equal(w.api("GET", "whoami")["name"], "guest")
    equal(w.api("GET", "aliveness-test/%2f"), {"status": "ok"})
    for check in ("alarms", "local-alarms", "virtual-hosts", f"port-listener/{w.broker.port}", "protocol-listener/amqp",
                  "node-is-quorum-critical"):
        equal(w.api("GET", f"health/checks/{check}")["status"], "ok", check)
    w.api("GET", "whoami", expected=401, user="guest:wrong")


@case
def queue_is_made_and_deleted_over_http(w):
    name = w.name("q")
    w.queues.append(name)
    w.api("PUT", f"queues/%2f/{name}", {"durable": True, "auto_delete": False, "arguments": {"x-max-length": 5}}, 201)
    w.api("PUT", f"queues/%2f/{name}", {"durable": True, "auto_delete": False, "arguments": {"x-max-length": 5}}, 204)
    ch = w.channel()
    ch.queue_declare(name, durable=True, arguments={"x-max-length": 5})
    found = w.api("GET", f"queues/%2f/{name}")
    equal({k: found[k] for k in ("name", "vhost", "durable", "auto_delete", "exclusive", "arguments")},
          {"name": name, "vhost": "/", "durable": True, "auto_delete": False, "exclusive": False, "arguments": {"x-max-length": 5}})
    w.api("DELETE", f"queues/%2f/{name}", expected=204)
    w.api("GET", f"queues/%2f/{name}", expected=404)


@case
def queue_numbers_over_http(w):
    ch = w.channel()
    q = w.queue(ch)
    for i in range(5):
        w.publish(ch, "", q, i)
    c = w.channel()
    c.basic_qos(prefetch_count=2)
    w.delivered(Consumer(c, q), 2)

    def numbers():
        found = w.api("GET", f"queues/%2f/{q}")
        return [found.get(k) for k in ("messages", "messages_ready", "messages_unacknowledged", "consumers")] == [5, 3, 2, 1]

    w.until(numbers, "the numbers are not right")


@case
def statistics_of_a_queue_say_what_became_of_its_messages(w):
    ch = w.channel()
    q = w.queue(ch)
    for i in range(6):
        w.publish(ch, "", q, i)
    w.until(lambda: w.counts(ch, q)[0] == 6)
    for _ in range(2):
        ch.basic_nack(w.get(ch, q, auto_ack=False).tag, requeue=True)
    ch.basic_ack(w.get(ch, q, auto_ack=False).tag)
    w.get(ch, q)
    c = w.channel()
    w.delivered(Consumer(c, q, auto_ack=True), 4)
    holds(w.take(ch, q) is None, "it is empty")

    def numbers():
        stats = w.api("GET", f"queues/%2f/{q}").get("message_stats", {})
        return [stats.get(k) for k in ("get", "get_no_ack", "deliver_no_ack", "deliver_get", "redeliver", "ack", "get_empty")] == [3, 1, 4, 8, 2, 1, 1]

    w.until(numbers, "the statistics are not right")


@case
def who_alone_gets_messages_is_shown(w):
    ch = w.channel()
    q = w.queue(ch, arguments={"x-single-active-consumer": True})
    first, second = Consumer(ch, q), Consumer(ch, q)

    def chosen():
        found = w.api("GET", f"queues/%2f/{q}")
        states = {d["consumer_tag"]: d["activity_status"] for d in found.get("consumer_details", [])}
        return found.get("single_active_consumer_tag") == first.tag and states == {first.tag: "single_active", second.tag: "waiting"}

    w.until(chosen, "the active one is not shown")
    alone = w.queue(ch, "alone", exclusive=True)
    consumer = Consumer(ch, alone, exclusive=True)

    def owned():
        found = w.api("GET", f"queues/%2f/{alone}")
        return found.get("exclusive_consumer_tag") == consumer.tag and "name" in found.get("owner_pid_details", {})

    w.until(owned, "the exclusive one is not shown")


@case
def exchange_and_bindings_over_http(w):
    x, q = w.name("x"), w.name("q")
    w.exchanges.append(x)
    w.queues.append(q)
    w.api("PUT", f"exchanges/%2f/{x}", {"type": "topic", "durable": True}, 201)
    w.api("PUT", f"queues/%2f/{q}", {"durable": True}, 201)
    w.api("POST", f"bindings/%2f/e/{x}/q/{q}", {"routing_key": "order.*", "arguments": {}}, 201)
    ch = w.channel()
    w.publish(ch, x, "order.paid", "x")
    equal(w.get(ch, q).body, "x")
    bindings = w.api("GET", f"exchanges/%2f/{x}/bindings/source")
    equal([(b["destination"], b["destination_type"], b["routing_key"]) for b in bindings], [(q, "queue", "order.*")])
    w.api("DELETE", f"bindings/%2f/e/{x}/q/{q}/{bindings[0]['properties_key']}", expected=204)
    equal(w.api("GET", f"exchanges/%2f/{x}/bindings/source"), [])
    equal([(b["source"], b["routing_key"]) for b in w.api("GET", f"queues/%2f/{q}/bindings")], [("", q)])


@case
def publishing_and_getting_over_http(w):
    ch = w.channel()
    q = w.queue(ch)
    answer = w.api("POST", "exchanges/%2f/amq.default/publish",
                   {"properties": {"message_id": "m", "headers": {"a": 1}}, "routing_key": q, "payload": "hello", "payload_encoding": "string"})
    equal(answer, {"routed": True})
    got = w.get(ch, q)
    equal((got.body, got.properties.message_id, got.headers), ("hello", "m", {"a": 1}))
    w.publish(ch, "", q, "there", message_id="n")
    w.until(lambda: w.counts(ch, q)[0] == 1)
    found = w.api("POST", f"queues/%2f/{q}/get", {"count": 5, "ackmode": "ack_requeue_false", "encoding": "auto"})
    equal([(m["payload"], m["routing_key"], m["exchange"], m["properties"]["message_id"]) for m in found], [("there", q, "", "n")])
    equal(w.api("POST", "exchanges/%2f/amq.default/publish",
                {"properties": {}, "routing_key": w.name("nobody"), "payload": "x", "payload_encoding": "string"}), {"routed": False})


@case
def contents_are_purged_over_http(w):
    ch = w.channel()
    q = w.queue(ch)
    w.publish(ch, "", q, "x")
    w.until(lambda: w.counts(ch, q)[0] == 1)
    w.api("DELETE", f"queues/%2f/{q}/contents", expected=204)
    equal(w.counts(ch, q)[0], 0)


@case
def connections_are_listed_and_closed_over_http(w):
    own = w.connect(client_properties={"connection_name": w.name("mine")})
    ch = w.channel(own)

    def mine():
        return [c for c in w.api("GET", "connections") if c.get("user_provided_name") == w.name("mine")]

    w.until(mine, "not listed")
    connection = mine()[0]
    equal((connection["user"], connection["vhost"], connection["protocol"]), ("guest", "/", "AMQP 0-9-1"))
    w.api("DELETE", f"connections/{connection['name'].replace(' ', '%20').replace('>', '%3E').replace(':', '%3A')}", expected=204)
    text = w.closes(ch, 320, "CONNECTION_FORCED", lambda: w.until(lambda: own.process_data_events(time_limit=0.1)), connection=True)
    contains(text, "CONNECTION_FORCED - Closed via management plugin")
    w.until(lambda: not mine(), "still listed")


@case
def who_is_deleted_is_told_which(w):
    vhost, user = w.vhost(), w.user(".*", ".*", ".*")
    own, theirs = w.connect(vhost=vhost), w.connect(user, "secret")
    for connection, path, text in ((own, f"vhosts/{vhost}", f"vhost '{vhost}' is deleted"), (theirs, f"users/{user}", f"user '{user}' is deleted")):
        ch = w.channel(connection)
        w.api("DELETE", path, expected=204)
        w.closes(ch, 320, text, lambda c=connection: w.until(lambda: c.process_data_events(time_limit=0.1)), connection=True)
    w.api("PUT", f"vhosts/{vhost}", {})
    w.api("PUT", f"users/{user}", {"password": "secret", "tags": ""})


def refused_with(text, act):
    """Whatever of its exceptions pika makes of a connection that is closed."""
    try:
        act()
    except pika.exceptions.AMQPConnectionError as refused:
        contains(repr(refused), "530")
        contains(repr(refused).replace("\\", ""), text)
        return
    raise Failed(f"not refused, expected {text!r}")


@case
def connections_and_channels_are_limited(w):
    vhost, user = w.vhost(), w.user(".*", ".*", ".*")
    w.api("PUT", f"vhost-limits/{vhost}/max-connections", {"value": 0})
    refused_with(f"access to vhost '{vhost}' refused for user 'guest': connection limit (0) is reached", lambda: w.connect(vhost=vhost))
    w.api("PUT", f"user-limits/{user}/max-connections", {"value": 1})
    w.api("PUT", f"user-limits/{user}/max-channels", {"value": 1})
    first = w.connect(user, "secret")
    first.channel()
    refused_with(f"connection refused for user '{user}': user connection limit (1) is reached", lambda: w.connect(user, "secret"))
    refused_with(f"number of channels opened for user '{user}' has reached the maximum allowed user limit of (1)", first.channel)


@case
def definitions_come_and_go(w):
    vhost = w.vhost()
    ch = w.channel(w.connect(vhost=vhost))
    ch.queue_declare("q", durable=True, arguments={"x-message-ttl": 5})
    ch.exchange_declare("x", "topic", durable=True)
    ch.queue_bind("q", "x", "a.*")
    definitions = w.api("GET", f"definitions/{vhost}")
    equal([(q["name"], q["arguments"]) for q in definitions["queues"]], [("q", {"x-message-ttl": 5})])
    equal([(x["name"], x["type"]) for x in definitions["exchanges"]], [("x", "topic")])
    other = w.vhost("other")
    w.api("POST", f"definitions/{other}", definitions)
    there = w.channel(w.connect(vhost=other))
    there.queue_declare("q", durable=True, arguments={"x-message-ttl": 5})
    equal([(b["source"], b["routing_key"]) for b in w.api("GET", f"bindings/{other}") if b["source"]], [("x", "a.*")])
