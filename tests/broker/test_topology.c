/* Exchanges, queues and bindings: declared, found, deleted, and there again after a restart. */
#include "broker/missed.h"
#include "broker/place.h"
#include "broker/tables.h"
#include "support/effort.h"

static void start(struct place *p)
{
    place_start(p, 1);
}

/* ---- declaring ---- */

static void predeclared_exchanges_are_there_and_stay(void **state)
{
    static const char *const names[] = {"amq.direct",  "amq.fanout", "amq.topic",
                                        "amq.headers", "amq.match",  "amq.rabbitmq.trace"};
    struct place p;
    (void)state;
    start(&p);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        accepted(exchange(p.s, names[i], "", "p", NULL, text));
        refused(403, "ACCESS_REFUSED - deletion of system exchange",
                session_delete_exchange(p.s, beck_str(names[i]), false, text));
    }
    accepted(exchange(p.s, "amq.topic", "topic", "d", NULL, text));
    refused(406, "inequivalent arg 'type'", exchange(p.s, "amq.topic", "fanout", "d", NULL, text));
    refused(403, "operation not permitted on the default exchange",
            exchange(p.s, "", "direct", "d", NULL, text));
    refused(403, "operation not permitted on the default exchange",
            session_delete_exchange(p.s, beck_str(""), false, text));
    refused(403, "exchange name 'amq.mine' contains reserved prefix 'amq.*'",
            exchange(p.s, "amq.mine", "direct", "d", NULL, text));
    place_end(&p);
}

static void an_exchange_is_declared_again_only_as_it_is(void **state)
{
    struct place p;
    (void)state;
    start(&p);
    refused(404, "NOT_FOUND - no exchange 'x' in vhost '/'",
            exchange(p.s, "x", "", "p", NULL, text));
    accepted(exchange(p.s, "x", "direct", "d", NULL, text));
    accepted(exchange(p.s, "x", "direct", "d", NULL, text));
    accepted(exchange(p.s, "x\r\n", "", "p", NULL, text));
    refused(406,
            "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'x' in vhost '/': received "
            "'fanout' but current is 'direct'",
            exchange(p.s, "x", "fanout", "d", NULL, text));
    refused(
        406,
        "inequivalent arg 'durable' for exchange 'x' in vhost '/': received 'false' but current "
        "is 'true'",
        exchange(p.s, "x", "direct", "", NULL, text));
    refused(406, "inequivalent arg 'auto_delete'", exchange(p.s, "x", "direct", "da", NULL, text));
    refused(406, "inequivalent arg 'internal'", exchange(p.s, "x", "direct", "di", NULL, text));
    refused(406, "exchange type 'odd'", exchange(p.s, "y", "odd", "d", NULL, text));
    place_end(&p);
}

static void a_queue_is_declared_again_only_as_it_is(void **state)
{
    struct place p;
    struct buf arguments;
    (void)state;
    start(&p);
    buf_init(&arguments, 1000);
    refused(404, "NOT_FOUND - no queue 'q' in vhost '/'", queue(p.s, "q", "p", text));
    accepted(queue(p.s, "q", "d", text));
    accepted(queue(p.s, "q", "d", text));
    accepted(queue(p.s, "q", "p", text));
    refused(406,
            "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received "
            "'false' but current is 'true'",
            queue(p.s, "q", "", text));
    refused(406, "inequivalent arg 'auto_delete'", queue(p.s, "q", "da", text));
    refused(405,
            "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'",
            queue(p.s, "q", "x", text));
    table_put_int(&arguments, "x-message-ttl", 1000);
    refused(406, "inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/'",
            queue_as(p.s, "q", "d", &arguments, NULL, text));
    accepted(queue_as(p.s, "r", "d", &arguments, NULL, text));
    buf_clear(&arguments);
    table_put_long(&arguments, "x-message-ttl", 1000);
    accepted(queue_as(p.s, "r", "d", &arguments, NULL, text));
    buf_clear(&arguments);
    table_put_int(&arguments, "x-message-ttl", -1);
    refused(406, "x-message-ttl", queue_as(p.s, "s", "d", &arguments, NULL, text));
    refused(403, "queue name 'amq.q' contains reserved prefix 'amq.*'",
            queue(p.s, "amq.q", "d", text));
    buf_release(&arguments);
    place_end(&p);
}

static void the_broker_names_queues_that_have_no_name(void **state)
{
    struct place p;
    struct queue_declared one, two;
    (void)state;
    start(&p);
    accepted(queue_as(p.s, "", "x", NULL, &one, text));
    accepted(queue_as(p.s, "", "x", NULL, &two, text));
    assert_int_equal(strlen(one.name), strlen("amq.gen-") + 22);
    assert_memory_equal(one.name, "amq.gen-", 8);
    assert_string_not_equal(one.name, two.name);
    accepted(queue(p.s, one.name, "p", text));
    assert_string_equal(route(&p, "", one.name), one.name);
    place_end(&p);
}

static void names_may_be_any_bytes(void **state)
{
    static const char *const names[] = {
        "a/b", "..", "__x", "white space", "\xc3\xa4", "a--0123456789abcdef0123456789abcdef"};
    struct place p;
    (void)state;
    start(&p);
    for (size_t i = 0; i < 6; i++) {
        accepted(queue(p.s, names[i], "d", text));
        accepted(exchange(p.s, names[i], "fanout", "d", NULL, text));
        accepted(bind_to(p.s, names[i], names[i], names[i], text));
    }
    place_reopen(&p);
    for (size_t i = 0; i < 6; i++) {
        accepted(queue(p.s, names[i], "p", text));
        assert_string_equal(route(&p, names[i], "k"), names[i]);
        assert_string_equal(route(&p, "", names[i]), names[i]);
    }
    place_end(&p);
}

/* ---- bindings ---- */

static void a_message_gets_to_a_queue_once(void **state)
{
    struct place p;
    (void)state;
    start(&p);
    accepted(exchange(p.s, "t", "topic", "d", NULL, text));
    accepted(queue(p.s, "a", "d", text));
    accepted(queue(p.s, "b", "", text));
    refused(404, "no queue 'c' in vhost '/'", bind_to(p.s, "t", "c", "k", text));
    refused(404, "no exchange 'u' in vhost '/'", bind_to(p.s, "u", "a", "k", text));
    refused(403, "operation not permitted on the default exchange",
            bind_to(p.s, "", "a", "k", text));
    accepted(bind_to(p.s, "t", "a", "x.*", text));
    accepted(bind_to(p.s, "t", "a", "#", text));
    accepted(bind_to(p.s, "t", "a", "#", text));
    accepted(bind_to(p.s, "t", "b", "*.y", text));
    assert_string_equal(route(&p, "t", "x.y"), "a b");
    assert_string_equal(route(&p, "t", "z"), "a");
    accepted(unbind_from(p.s, "t", "a", "#", text));
    assert_string_equal(route(&p, "t", "z"), "");
    accepted(unbind_from(p.s, "t", "a", "nothing", text));
    accepted(unbind_from(p.s, "none", "a", "#", text));
    accepted(delete_queue(p.s, "a", text));
    assert_string_equal(route(&p, "t", "x.y"), "b");
    accepted(session_delete_exchange(p.s, beck_str("t"), false, text));
    accepted(session_delete_exchange(p.s, beck_str("t"), false, text));
    assert_string_equal(route(&p, "t", "x.y"), "?");
    place_end(&p);
}

static void many_queues_get_one_message(void **state)
{
    enum { MANY = 300 };
    struct place p;
    struct targets t = {0};
    (void)state;
    start(&p);
    accepted(exchange(p.s, "one", "fanout", "", NULL, text));
    accepted(exchange(p.s, "two", "fanout", "", NULL, text));
    for (int i = 0; i < MANY; i++) {
        char name[20];
        snprintf(name, sizeof name, "q%d", i);
        accepted(queue(p.s, name, "", text));
        accepted(bind_to(p.s, "one", name, "", text));
        accepted(bind_to(p.s, "one", name, "again", text));
        accepted(bind_to(p.s, "two", name, "", text));
    }
    accepted(bind_to(p.s, "one", "@two", "", text));
    topology_read(p.broker);
    struct exchange *one = topology_exchange(p.s->vhost, beck_str("one"));
    for (int round = 0; round < 3; round++) {
        assert_int_equal(topology_route(one, beck_str(""), NULL, &t), BECK_OK);
        assert_int_equal(t.count, MANY);
        assert_int_equal(t.transient_count, MANY);
    }
    topology_end_read(p.broker);
    targets_release(&t);
    place_end(&p);
}

static void exchanges_that_are_bound_in_a_circle_end(void **state)
{
    struct place p;
    (void)state;
    start(&p);
    accepted(exchange(p.s, "a", "fanout", "d", NULL, text));
    accepted(exchange(p.s, "b", "fanout", "d", NULL, text));
    accepted(exchange(p.s, "c", "direct", "d", NULL, text));
    accepted(queue(p.s, "q", "d", text));
    accepted(queue(p.s, "r", "d", text));
    accepted(bind_to(p.s, "a", "@b", "", text));
    accepted(bind_to(p.s, "b", "@a", "", text));
    accepted(bind_to(p.s, "b", "@c", "", text));
    accepted(bind_to(p.s, "c", "@c", "k", text));
    accepted(bind_to(p.s, "a", "q", "", text));
    accepted(bind_to(p.s, "c", "r", "k", text));
    assert_string_equal(route(&p, "a", "k"), "q r");
    assert_string_equal(route(&p, "b", "other"), "q");
    assert_string_equal(route(&p, "c", "k"), "r");
    place_reopen(&p);
    assert_string_equal(route(&p, "a", "k"), "q r");
    accepted(session_delete_exchange(p.s, beck_str("b"), false, text));
    assert_string_equal(route(&p, "a", "k"), "q");
    place_end(&p);
}

static void what_matches_nothing_goes_to_the_alternate_exchange(void **state)
{
    struct place p;
    struct buf arguments;
    (void)state;
    start(&p);
    buf_init(&arguments, 1000);
    table_put_text(&arguments, "alternate-exchange", beck_str("rest"));
    accepted(exchange(p.s, "x", "direct", "d", &arguments, text));
    accepted(queue(p.s, "q", "d", text));
    accepted(queue(p.s, "other", "d", text));
    accepted(bind_to(p.s, "x", "q", "k", text));
    assert_string_equal(route(&p, "x", "none"), "");
    buf_clear(&arguments);
    table_put_text(&arguments, "alternate-exchange", beck_str("x"));
    accepted(exchange(p.s, "rest", "topic", "d", &arguments, text));
    accepted(bind_to(p.s, "rest", "other", "a.#", text));
    assert_string_equal(route(&p, "x", "k"), "q");
    assert_string_equal(route(&p, "x", "a.b"), "other");
    assert_string_equal(route(&p, "x", "b"), "");
    assert_string_equal(route(&p, "rest", "k"), "q");
    refused(406, "inequivalent arg 'alternate-exchange'",
            exchange(p.s, "x", "direct", "d", NULL, text));
    buf_release(&arguments);
    place_end(&p);
}

static void cc_and_bcc_are_more_keys(void **state)
{
    struct place p;
    struct buf headers;
    struct table_value v = {.kind = TABLE_TEXT, .letter = 'S'};
    struct properties properties = {.flags = PROPERTY_HEADERS};
    (void)state;
    start(&p);
    for (const char *name = "abcd"; *name; name++) {
        char text[2] = {*name, 0};
        char why[BROKER_TEXT];
        assert_int_equal(queue(p.s, text, "", why), 0);
    }
    accepted(exchange(p.s, "x", "direct", "d", NULL, text));
    accepted(bind_to(p.s, "x", "d", "key", text));
    buf_init(&headers, 1000);
    size_t cc = table_begin(&headers, "CC", 'A');
    v.bytes = beck_str("b");
    array_put(&headers, &v);
    array_put(&headers, &v);
    table_end(&headers, cc);
    size_t bcc = table_begin(&headers, "BCC", 'A');
    v.bytes = beck_str("c");
    array_put(&headers, &v);
    v.bytes = beck_str("key");
    array_put(&headers, &v);
    table_end(&headers, bcc);
    properties.headers = buf_bytes(&headers);
    assert_string_equal(route_with(&p, p.s, "", "a", &properties), "a b c");
    assert_string_equal(route_with(&p, p.s, "x", "a", &properties), "d");
    buf_release(&headers);
    place_end(&p);
}

/* ---- what goes by itself ---- */

static void an_auto_delete_exchange_goes_with_its_last_binding(void **state)
{
    struct place p;
    (void)state;
    start(&p);
    accepted(exchange(p.s, "a", "fanout", "da", NULL, text));
    accepted(exchange(p.s, "b", "fanout", "da", NULL, text));
    accepted(queue(p.s, "q", "d", text));
    accepted(queue(p.s, "r", "d", text));
    accepted(bind_to(p.s, "a", "@b", "", text));
    accepted(bind_to(p.s, "b", "q", "", text));
    accepted(bind_to(p.s, "b", "r", "", text));
    accepted(unbind_from(p.s, "b", "q", "", text));
    accepted(exchange(p.s, "b", "", "p", NULL, text));
    accepted(delete_queue(p.s, "r", text));
    assert_string_equal(route(&p, "b", ""), "?");
    assert_string_equal(route(&p, "a", ""), "?");
    place_reopen(&p);
    assert_string_equal(route(&p, "a", ""), "?");
    place_end(&p);
}

static void an_exchange_in_use_stays_if_asked_for(void **state)
{
    struct place p;
    (void)state;
    start(&p);
    accepted(exchange(p.s, "x", "fanout", "d", NULL, text));
    accepted(exchange(p.s, "y", "fanout", "d", NULL, text));
    accepted(bind_to(p.s, "x", "@y", "", text));
    refused(406, "PRECONDITION_FAILED - exchange 'x' in vhost '/' in use",
            session_delete_exchange(p.s, beck_str("x"), true, text));
    accepted(session_delete_exchange(p.s, beck_str("y"), true, text));
    accepted(session_delete_exchange(p.s, beck_str("x"), true, text));
    place_end(&p);
}

static void exclusive_queues_are_their_connections_and_go_with_it(void **state)
{
    struct place p;
    uint32_t messages;
    (void)state;
    start(&p);
    struct session *other = place_session(&p, "/", NULL, 2);
    accepted(queue(other, "mine", "dx", text));
    accepted(queue(other, "mine", "x", text));
    refused(405, "RESOURCE_LOCKED - cannot obtain exclusive access",
            queue(other, "mine", "", text));
    refused(405, "cannot obtain exclusive access to locked queue 'mine' in vhost '/'",
            queue(p.s, "mine", "p", text));
    refused(405, "cannot obtain", bind_to(p.s, "amq.topic", "mine", "k", text));
    refused(405, "cannot obtain", delete_queue(p.s, "mine", text));
    refused(405, "cannot obtain", session_purge_queue(p.s, beck_str("mine"), &messages, text));
    accepted(bind_to(other, "amq.topic", "mine", "k", text));
    assert_string_equal(route(&p, "amq.topic", "k"), "mine");
    session_close(other);
    assert_string_equal(route(&p, "amq.topic", "k"), "");
    refused(404, "no queue 'mine'", queue(p.s, "mine", "p", text));
    place_end(&p);
}

static void an_unused_queue_expires(void **state)
{
    struct place p;
    struct buf arguments;
    (void)state;
    start(&p);
    buf_init(&arguments, 1000);
    table_put_int(&arguments, "x-expires", 5000);
    accepted(queue_as(p.s, "q", "d", &arguments, NULL, text));
    accepted(queue_as(p.s, "r", "", &arguments, NULL, text));
    accepted(queue(p.s, "s", "d", text));
    world_advance(&p.w, 4000);
    accepted(queue(p.s, "r", "p", text));
    queues_expire(p.broker);
    accepted(queue(p.s, "q", "p", text));
    world_advance(&p.w, 4500);
    queues_expire(p.broker);
    accepted(queue(p.s, "q", "p", text));
    world_advance(&p.w, 501);
    queues_expire(p.broker);
    assert_string_equal(route(&p, "", "q"), "q");
    world_advance(&p.w, 5000);
    queues_expire(p.broker);
    assert_string_equal(route(&p, "", "q"), "");
    assert_string_equal(route(&p, "", "r"), "");
    assert_string_equal(route(&p, "", "s"), "s");
    buf_release(&arguments);
    place_end(&p);
}

/* ---- restart ---- */

static void what_is_durable_is_there_after_the_power_went(void **state)
{
    struct place p;
    struct buf arguments;
    struct binding_declaration d = binding("h", "q", "");
    (void)state;
    start(&p);
    buf_init(&arguments, 1000);
    table_put_text(&arguments, "x-match", beck_str("any"));
    table_put_int(&arguments, "n", 7);
    d.arguments = buf_bytes(&arguments);
    accepted(exchange(p.s, "h", "headers", "d", NULL, text));
    accepted(exchange(p.s, "t", "topic", "", NULL, text));
    accepted(queue(p.s, "q", "d", text));
    accepted(queue(p.s, "m", "", text));
    accepted(session_bind(p.s, &d, text));
    accepted(bind_to(p.s, "amq.direct", "q", "k", text));
    accepted(bind_to(p.s, "amq.direct", "m", "k", text));
    accepted(bind_to(p.s, "t", "q", "k", text));
    accepted(delete_queue(p.s, "none", text));
    place_crash(&p);
    struct properties properties = {.flags = PROPERTY_HEADERS};
    struct buf headers;
    buf_init(&headers, 1000);
    table_put_long(&headers, "n", 7);
    properties.headers = buf_bytes(&headers);
    assert_string_equal(route_with(&p, p.s, "h", "", &properties), "q");
    assert_string_equal(route(&p, "h", ""), "");
    assert_string_equal(route(&p, "amq.direct", "k"), "q");
    assert_string_equal(route(&p, "t", "k"), "?");
    refused(404, "no queue 'm'", queue(p.s, "m", "p", text));
    accepted(session_unbind(p.s, &d, text));
    assert_string_equal(route_with(&p, p.s, "h", "", &properties), "");
    place_crash(&p);
    assert_string_equal(route_with(&p, p.s, "h", "", &properties), "");
    accepted(delete_queue(p.s, "q", text));
    place_crash(&p);
    refused(404, "no queue 'q'", queue(p.s, "q", "p", text));
    buf_release(&arguments);
    buf_release(&headers);
    place_end(&p);
}

static void declarations_share_the_waiting_for_the_disk(void **state)
{
    struct place p;
    char name[16];
    (void)state;
    start(&p);
    accepted(queue(p.s, "before", "d", text));
    for (int round = 0; round < 2; round++) {
        uint64_t before = vfs_sim_calls(p.w.vfs, VFS_OP_SYNC | VFS_OP_SYNC_DIR);
        for (int i = 0; i < 50; i++) {
            struct queue_declared out;
            snprintf(name, sizeof name, "%d.%d", round, i);
            struct binding_declaration b = binding("amq.topic", name, "#");
            struct queue_declaration d = {.name = beck_str(name), .durable = true, .later = true};
            accepted(session_declare_queue(p.s, &d, &out, text));
            b.later = true;
            accepted(session_bind(p.s, &b, text));
        }
        accepted(session_sync(p.s, text));
        assert_in_range(vfs_sim_calls(p.w.vfs, VFS_OP_SYNC | VFS_OP_SYNC_DIR) - before, 1, 4);
        place_crash(&p);
        for (int i = 0; i <= round * 50 + 49; i++) {
            snprintf(name, sizeof name, "%d.%d", i / 50, i % 50);
            accepted(queue(p.s, name, "p", text));
            assert_non_null(strstr(route(&p, "amq.topic", "k"), name));
        }
    }
    place_end(&p);
}

static void a_queue_that_was_made_otherwise_is_a_queue_of_the_root(void **state)
{
    struct place p;
    uint32_t messages;
    beck_event e = {.type = beck_str("order.created"), .data = beck_str("1")};
    (void)state;
    start(&p);
    world_bus(&p.w, "orders", NULL);
    world_queue(&p.w, "billing", NULL);
    accepted(queue(p.s, "billing", "p", text));
    accepted(queue(p.s, "billing", "d", text));
    accepted(exchange(p.s, "orders", "topic", "d", NULL, text));
    refused(406, "inequivalent arg 'type'", exchange(p.s, "orders", "direct", "d", NULL, text));
    accepted(queue(p.s, "mine", "d", text));
    accepted(bind_to(p.s, "orders", "mine", "order.*", text));
    place_reopen(&p);
    assert_string_equal(route(&p, "orders", "order.created"), "mine");
    assert_string_equal(route(&p, "", "billing"), "billing");
    beck_bus *bus = NULL;
    check_ok(beck_bus_get(p.w.b, "orders", &bus, err));
    check_ok(beck_publish(bus, &e, err));
    accepted(session_purge_queue(p.s, beck_str("mine"), &messages, text));
    assert_int_equal(messages, 1);
    check_ok(beck_queue_delete(p.w.b, "billing", err));
    refused(404, "no queue 'billing'", queue(p.s, "billing", "p", text));
    place_end(&p);
}

static void a_bus_that_others_make_follows_the_alternate_exchange_of_a_policy(void **state)
{
    struct place p;
    uint32_t messages;
    struct policy_view v = {.vhost = beck_str("/"),
                            .name = beck_str("ae"),
                            .pattern = beck_str("^orders$"),
                            .apply_to = beck_str("exchanges"),
                            .definition = beck_str("{\"alternate-exchange\":\"rest\"}")};
    (void)state;
    start(&p);
    accepted(exchange(p.s, "rest", "fanout", "d", NULL, text));
    accepted(queue(p.s, "mine", "d", text));
    accepted(bind_to(p.s, "rest", "mine", "", text));
    check_ok(broker_put_policy(p.broker, true, &v, err));
    world_bus(&p.w, "orders", NULL);
    accepted(exchange(p.s, "orders", "topic", "p", NULL, text));
    beck_bus *bus = NULL;
    beck_event e = {.type = beck_str("order.created"), .data = beck_str("1")};
    check_ok(beck_bus_get(p.w.b, "orders", &bus, err));
    check_ok(beck_publish(bus, &e, err));
    accepted(session_purge_queue(p.s, beck_str("mine"), &messages, text));
    assert_int_equal(messages, 1);
    place_end(&p);
}

/* As a program or the command line does that opens the directory while there is no server. */
static void publish_without_broker(struct place *p, const char *type, const char *text)
{
    beck_bus *bus = NULL;
    beck_event e = {.type = beck_str(type), .data = beck_str(text)};
    check_ok(beck_bus_get(p->w.b, "orders", &bus, err));
    check_ok(beck_publish(bus, &e, err));
}

static void what_is_published_without_a_broker_is_routed_when_it_opens(void **state)
{
    struct place p;
    struct buf arguments;
    struct queue_declared out;
    uint32_t messages;
    (void)state;
    start(&p);
    buf_init(&arguments, 1000);
    table_put_text(&arguments, "x-queue-type", beck_str("stream"));
    world_bus(&p.w, "orders", NULL);
    accepted(exchange(p.s, "orders", "topic", "d", NULL, text));
    accepted(queue(p.s, "mine", "d", text));
    accepted(queue_as(p.s, "log", "d", &arguments, NULL, text));
    accepted(bind_to(p.s, "orders", "mine", "order.*", text));
    accepted(bind_to(p.s, "orders", "log", "#", text));
    publish_without_broker(&p, "order.created", "0"); /* the broker is there */
    for (int round = 0; round < 2; round++) {
        place_finish(&p);
        world_reopen(&p.w);
        publish_without_broker(&p, "order.created", "1");
        publish_without_broker(&p, "other", "2");
        world_reopen(&p.w);
        publish_without_broker(&p, "order.paid", "3");
        place_begin(&p);
        accepted(session_purge_queue(p.s, beck_str("mine"), &messages, text));
        assert_int_equal(messages, round == 0 ? 3 : 2);
        accepted(queue_as(p.s, "log", "p", NULL, &out, text));
        assert_int_equal(out.messages, 1 + 3 * (round + 1));
        place_reopen(&p);
        accepted(session_purge_queue(p.s, beck_str("mine"), &messages, text));
        assert_int_equal(messages, 0); /* once */
    }
    /* Nor does what was routed come again after a crash. */
    publish_without_broker(&p, "order.created", "4");
    place_crash(&p);
    accepted(session_purge_queue(p.s, beck_str("mine"), &messages, text));
    assert_int_equal(messages, 1);
    buf_release(&arguments);
    place_end(&p);
}

static void what_an_older_broker_left_behind_is_routed(void **state)
{
    struct place p;
    struct record older, now;
    beck_bytes names[] = {beck_str("/"), beck_str("orders")};
    uint32_t messages;
    uint8_t end[8];
    (void)state;
    start(&p);
    world_bus(&p.w, "orders", NULL);
    accepted(exchange(p.s, "orders", "topic", "d", NULL, text));
    accepted(queue(p.s, "mine", "d", text));
    accepted(bind_to(p.s, "orders", "mine", "order.*", text));
    publish_without_broker(&p, "order.created", "0");
    accepted(session_purge_queue(p.s, beck_str("mine"), &messages, text));
    assert_int_equal(messages, 1);
    /* It wrote one record of the bus. */
    put_u64(end, 1);
    record_init(&older, RECORD_SEEN, &names[1], 1);
    record_bytes(&older, "ends", bytes_of(end, sizeof end));
    record_init(&now, RECORD_SEEN, names, 2);
    now.gone = true;
    broker_begin_change(p.broker);
    check_ok(broker_keep(p.broker, &older, err));
    check_ok(broker_keep(p.broker, &now, err));
    broker_end_change(p.broker);
    place_lose(&p, true);
    publish_without_broker(&p, "order.created", "1");
    publish_without_broker(&p, "other", "2");
    publish_without_broker(&p, "order.paid", "3");
    place_begin(&p);
    for (int expected = 2; expected >= 0; expected -= 2) {
        accepted(session_purge_queue(p.s, beck_str("mine"), &messages, text));
        assert_int_equal(messages, expected);
        place_reopen(&p);
    }
    record_release(&older);
    record_release(&now);
    place_end(&p);
}

static void what_was_routed_while_the_broker_closed_is_not_given_again(void **state)
{
    struct place p;
    uint32_t messages;
    (void)state;
    start(&p);
    world_bus(&p.w, "orders", NULL);
    accepted(exchange(p.s, "orders", "topic", "d", NULL, text));
    accepted(queue(p.s, "mine", "d", text));
    accepted(bind_to(p.s, "orders", "mine", "order.*", text));
    broker_begin_change(p.broker);
    missed_note(p.broker);
    broker_end_change(p.broker);
    publish_without_broker(&p, "order.created", "0");
    place_crash(&p);
    accepted(session_purge_queue(p.s, beck_str("mine"), &messages, text));
    assert_int_equal(messages, 1);
    place_end(&p);
}

/* Orders go to the queue `mine`, and whatever it is to the stream `log`. */
static void start_with_orders(struct place *p)
{
    struct buf arguments;
    start(p);
    buf_init(&arguments, 1000);
    table_put_text(&arguments, "x-queue-type", beck_str("stream"));
    accepted(exchange(p->s, "orders", "topic", "d", NULL, text));
    accepted(queue(p->s, "mine", "d", text));
    accepted(queue_as(p->s, "log", "d", &arguments, NULL, text));
    accepted(bind_to(p->s, "orders", "mine", "order.*", text));
    accepted(bind_to(p->s, "orders", "log", "#", text));
    buf_release(&arguments);
}

static void expect_orders(struct place *p, uint32_t in_queue, uint32_t in_stream)
{
    struct queue_declared out;
    accepted(queue_as(p->s, "mine", "p", NULL, &out, text));
    assert_int_equal(out.messages, in_queue);
    accepted(queue_as(p->s, "log", "p", NULL, &out, text));
    assert_int_equal(out.messages, in_stream);
}

static void what_is_published_after_the_broker_was_killed_is_routed_once(void **state)
{
    struct place p;
    (void)state;
    for (int killed = 0; killed < 2; killed++) {
        start_with_orders(&p);
        world_bus(&p.w, "orders", NULL); /* the exchange has none before somebody publishes to it */
        publish_without_broker(&p, "order.created", "0");
        publish_without_broker(&p, "other", "1"); /* to the stream alone */
        check_ok(beck_sync(p.w.b, err));
        place_lose(&p, killed);
        publish_without_broker(&p, "order.created", "2");
        publish_without_broker(&p, "other", "3");
        place_begin(&p);
        expect_orders(&p, 2, 4);
        publish_without_broker(&p, "order.created", "4");
        publish_without_broker(&p, "other", "5");
        check_ok(beck_sync(p.w.b, err));
        place_lose(&p, killed);
        world_reopen(&p.w);
        publish_without_broker(&p, "order.created", "6");
        place_begin(&p);
        expect_orders(&p, 4, 7);
        place_reopen(&p);
        expect_orders(&p, 4, 7);
        place_end(&p);
    }
}

static void the_bus_that_a_bound_exchange_gets_without_a_broker_is_routed_whole(void **state)
{
    struct place p;
    (void)state;
    start_with_orders(&p);
    place_lose(&p, true);
    world_bus(&p.w, "orders", NULL);
    publish_without_broker(&p, "order.created", "0");
    place_begin(&p);
    expect_orders(&p, 1, 1);
    place_end(&p);
}

static void what_was_published_before_the_first_binding_is_not_routed(void **state)
{
    struct place p;
    beck_bus *bus = NULL;
    struct queue_declared out;
    (void)state;
    start(&p);
    world_bus(&p.w, "orders", NULL);
    publish_without_broker(&p, "order.created", "0");
    accepted(queue(p.s, "mine", "d", text));
    accepted(bind_to(p.s, "orders", "mine", "order.*", text));
    place_lose(&p, true);
    publish_without_broker(&p, "order.created", "1");
    place_begin(&p);
    accepted(queue_as(p.s, "mine", "p", NULL, &out, text));
    assert_int_equal(out.messages, 1);
    /* Nor what is published while it leads nowhere. */
    accepted(unbind_from(p.s, "orders", "mine", "order.*", text));
    place_reopen(&p);
    check_ok(beck_bus_get(p.w.b, "orders", &bus, err));
    assert_null(atomic_load(&bus->router)); /* so its batches are not opened */
    publish_without_broker(&p, "order.created", "2");
    place_lose(&p, true);
    publish_without_broker(&p, "order.created", "3");
    place_begin(&p);
    accepted(bind_to(p.s, "orders", "mine", "order.*", text));
    place_reopen(&p);
    accepted(queue_as(p.s, "mine", "p", NULL, &out, text));
    assert_int_equal(out.messages, 1);
    place_end(&p);
}

/* True: it came to its end before. */
static bool open_until(struct place *p, uint64_t nth, bool killed)
{
    vfs_sim_stop_at(p->w.vfs, nth);
    if (broker_open(p->w.b, &p->settings, &p->broker, NULL))
        p->broker = NULL;
    bool done = p->broker && p->broker->complete;
    vfs_sim_stop_at(p->w.vfs, 0);
    place_lose(p, killed);
    return done;
}

static void what_was_published_without_a_broker_comes_once_wherever_opening_it_stops(void **state)
{
    (void)state;
    for (int killed = 0; killed < 2; killed++) {
        bool done = false;
        for (uint64_t nth = 1; !done; nth++) {
            struct place p;
            start_with_orders(&p);
            place_lose(&p, true);
            world_bus(&p.w, "orders", NULL);
            for (int i = 0; i < 3; i++) {
                publish_without_broker(&p, "order.created", "x");
                publish_without_broker(&p, "other", "x");
            }
            check_ok(beck_sync(p.w.b, err));
            done = open_until(&p, nth, killed);
            publish_without_broker(&p, "order.created", "x");
            check_ok(beck_sync(p.w.b, err));
            open_until(&p, nth, killed);
            place_begin(&p);
            expect_orders(&p, 4, 7);
            place_end(&p);
        }
    }
}

static void the_bus_of_an_exchange_goes_when_nobody_needs_it(void **state)
{
    struct place p;
    struct exchange *x;
    struct broker_queue *q;
    beck_bus *bus;
    char why[BROKER_TEXT];
    beck_event e = {.type = beck_str("k"), .data = beck_str("1")};
    (void)state;
    start(&p);
    assert_int_equal(exchange(p.s, "x", "direct", "d", NULL, why), 0);
    assert_int_equal(queue(p.s, "q", "d", why), 0);
    assert_int_equal(bind_to(p.s, "x", "q", "k", why), 0);
    assert_int_equal(session_find_exchange(p.s, beck_str("x"), &x, why), 0);
    assert_int_equal(session_find_queue(p.s, beck_str("q"), &q, why), 0);
    bus = exchange_bus(x, why);
    assert_non_null(bus);
    assert_string_equal(beck_bus_name(bus), "x");
    check_ok(queue_join(q, bus, err));
    check_ok(beck_publish(bus, &e, err));
    assert_int_equal(queue_length(q), 1);
    exchange_release(x);
    broker_queue_release(q);
    place_reopen(&p);
    accepted(exchange(p.s, "x", "direct", "d", NULL, text));
    accepted(session_delete_exchange(p.s, beck_str("x"), false, text));
    refused(404, "no exchange 'x'", exchange(p.s, "x", "", "p", NULL, text));
    check_ok(beck_bus_get(p.w.b, "x", &bus, err));
    place_reopen(&p);
    refused(404, "no exchange 'x'", exchange(p.s, "x", "", "p", NULL, text));
    uint32_t messages;
    accepted(session_purge_queue(p.s, beck_str("q"), &messages, text));
    assert_int_equal(messages, 1);
    broker_begin_change(p.broker);
    assert_false(engine_sweep_buses(p.broker));
    broker_end_change(p.broker);
    assert_int_equal(beck_bus_get(p.w.b, "x", &bus, NULL), BECK_ENOENT);
    place_end(&p);
}

static void what_others_publish_gets_to_queues_and_streams(void **state)
{
    struct place p;
    struct buf arguments;
    struct exchange *x = NULL;
    char why[BROKER_TEXT];
    beck_event e = {.type = beck_str("order.created"), .data = beck_str("1")};
    (void)state;
    start(&p);
    buf_init(&arguments, 1000);
    table_put_text(&arguments, "x-queue-type", beck_str("stream"));
    accepted(queue_as(p.s, "stream", "d", &arguments, NULL, text));
    accepted(queue(p.s, "disk", "d", text));
    accepted(queue(p.s, "memory", "x", text));
    accepted(exchange(p.s, "orders", "topic", "d", NULL, text));
    accepted(exchange(p.s, "all", "fanout", "", NULL, text));
    accepted(bind_to(p.s, "orders", "@all", "order.#", text));
    accepted(bind_to(p.s, "all", "stream", "", text));
    accepted(bind_to(p.s, "all", "disk", "", text));
    accepted(bind_to(p.s, "orders", "memory", "*.created", text));
    assert_int_equal(session_find_exchange(p.s, beck_str("orders"), &x, why), 0);
    beck_bus *bus = exchange_bus(x, why);
    exchange_release(x);
    for (int i = 0; i < 3; i++)
        check_ok(beck_publish(bus, &e, err));
    e.type = beck_str("bill.created");
    check_ok(beck_publish(bus, &e, err));
    struct queue_declared told;
    accepted(queue_as(p.s, "stream", "p", NULL, &told, text));
    assert_int_equal(told.messages, 3);
    accepted(queue_as(p.s, "disk", "p", NULL, &told, text));
    assert_int_equal(told.messages, 3);
    accepted(queue_as(p.s, "memory", "p", NULL, &told, text));
    assert_int_equal(told.messages, 4);
    place_reopen(&p);
    accepted(queue_as(p.s, "stream", "p", NULL, &told, text));
    assert_int_equal(told.messages, 3);
    accepted(delete_queue(p.s, "stream", text));
    accepted(queue_as(p.s, "stream", "d", &arguments, &told, text));
    assert_int_equal(told.messages, 0);
    buf_release(&arguments);
    place_end(&p);
}

/* ---- consumers ---- */

static void ignore(void *ctx)
{
    (void)ctx;
}

static void note(void *ctx)
{
    *(bool *)ctx = true;
}

static struct subscriber *consume(struct session *s, const char *name, bool *cancelled)
{
    struct subscriber *c = NULL;
    struct subscriber_options o = {.queue = beck_str(name),
                                   .tag = beck_str("tag"),
                                   .wake = ignore,
                                   .cancelled = note,
                                   .ctx = cancelled};
    accepted(session_consume(s, &o, &c, text));
    return c;
}

static void an_auto_delete_queue_goes_with_its_last_consumer(void **state)
{
    struct place p;
    bool cancelled = false;
    (void)state;
    start(&p);
    accepted(queue(p.s, "q", "a", text));
    accepted(queue(p.s, "never", "da", text));
    accepted(bind_to(p.s, "amq.fanout", "q", "", text));
    struct subscriber *one = consume(p.s, "q", &cancelled);
    struct subscriber *two = consume(p.s, "q", &cancelled);
    subscriber_close(one);
    assert_string_equal(route(&p, "amq.fanout", ""), "q");
    subscriber_close(two);
    assert_string_equal(route(&p, "amq.fanout", ""), "");
    refused(404, "no queue 'q'", queue(p.s, "q", "p", text));
    accepted(queue(p.s, "never", "p", text));
    assert_false(cancelled);
    place_end(&p);
}

static void consumers_are_cancelled_when_their_queue_goes(void **state)
{
    struct place p;
    bool cancelled = false, other_cancelled = false;
    uint32_t messages;
    struct queue_declared told;
    (void)state;
    start(&p);
    struct session *other = place_session(&p, "/", NULL, 2);
    accepted(queue(p.s, "q", "d", text));
    accepted(queue(other, "mine", "x", text));
    struct subscriber *c = consume(p.s, "q", &cancelled);
    struct subscriber *m = consume(other, "mine", &other_cancelled);
    accepted(queue_as(p.s, "q", "d", NULL, &told, text));
    assert_int_equal(told.consumers, 1);
    refused(406, "PRECONDITION_FAILED - queue 'q' in vhost '/' in use",
            session_delete_queue(p.s, beck_str("q"), true, false, &messages, text));
    accepted(session_delete_queue(p.s, beck_str("q"), false, true, &messages, text));
    assert_true(cancelled);
    subscriber_close(c);
    subscriber_close(m);
    session_close(other);
    assert_false(other_cancelled);
    place_end(&p);
}

static void a_queue_with_a_consumer_does_not_expire(void **state)
{
    struct place p;
    struct buf arguments;
    bool cancelled = false;
    (void)state;
    start(&p);
    buf_init(&arguments, 1000);
    table_put_int(&arguments, "x-expires", 1000);
    accepted(queue_as(p.s, "q", "", &arguments, NULL, text));
    struct subscriber *c = consume(p.s, "q", &cancelled);
    world_advance(&p.w, 5000);
    queues_expire(p.broker);
    assert_string_equal(route(&p, "", "q"), "q");
    subscriber_close(c);
    world_advance(&p.w, 900);
    queues_expire(p.broker);
    assert_string_equal(route(&p, "", "q"), "q");
    world_advance(&p.w, 101);
    queues_expire(p.broker);
    assert_string_equal(route(&p, "", "q"), "");
    buf_release(&arguments);
    place_end(&p);
}

/* ---- many at once ---- */

struct crowd {
    struct place p;
    _Atomic(bool) stop;
    _Atomic(int) refusals;
    int turns;
};

static void *declare_and_delete(void *ctx)
{
    static _Atomic(uint64_t) made;
    struct crowd *c = ctx;
    uint64_t me = 10 + atomic_fetch_add(&made, 1) % 3;
    struct session *s = place_session(&c->p, "/", NULL, me);
    char why[BROKER_TEXT], queue_name[20], exchange_name[20];
    snprintf(queue_name, sizeof queue_name, "q%d", (int)me);
    snprintf(exchange_name, sizeof exchange_name, "@x%d", (int)me);
    for (int i = 0; i < c->turns; i++) {
        int code = queue(s, queue_name, i % 2 ? "d" : "x", why);
        code |= exchange(s, exchange_name + 1, "topic", i % 3 ? "da" : "d", NULL, why);
        code |= bind_to(s, "amq.topic", exchange_name, "#", why);
        code |= bind_to(s, exchange_name + 1, queue_name, "k", why);
        code |= bind_to(s, "amq.topic", "stays", "k", why);
        code |= delete_queue(s, queue_name, why);
        code |= session_delete_exchange(s, beck_str(exchange_name + 1), false, why);
        if (code)
            atomic_fetch_add(&c->refusals, 1);
    }
    session_close(s);
    return NULL;
}

static int ignore_binding(void *ctx, const struct binding_view *v)
{
    *(size_t *)ctx += v->routing_key.len;
    return 0;
}

static int ignore_queue(void *ctx, const struct queue_view *v)
{
    *(size_t *)ctx += v->name.len;
    return 0;
}

static void *route_and_list(void *ctx)
{
    struct crowd *c = ctx;
    struct targets t = {0};
    struct binding_filter all = {0};
    size_t shown = 0;
    while (!atomic_load(&c->stop)) {
        topology_read(c->p.broker);
        struct exchange *x = topology_exchange(c->p.s->vhost, beck_str("amq.topic"));
        if (topology_route(x, beck_str("k"), NULL, &t))
            atomic_fetch_add(&c->refusals, 1);
        topology_end_read(c->p.broker);
        broker_each_binding(c->p.broker, &all, ignore_binding, &shown);
        broker_each_queue(c->p.broker, (beck_bytes){0}, (beck_bytes){0}, ignore_queue, &shown);
    }
    targets_release(&t);
    return NULL;
}

static void *publish_and_put(void *ctx)
{
    struct crowd *c = ctx;
    struct policy_view v = {beck_str("/"),
                            beck_str("p"),
                            beck_str("^q"),
                            beck_str("all"),
                            0,
                            beck_str("{\"message-ttl\":1000}")};
    beck_event e = {.type = beck_str("k"), .data = beck_str("1")};
    char why[BROKER_TEXT];
    struct exchange *x = NULL;
    if (session_find_exchange(c->p.s, beck_str("amq.topic"), &x, why))
        return NULL;
    while (!atomic_load(&c->stop)) {
        beck_bus *bus = exchange_bus(x, why);
        if (!bus || beck_publish(bus, &e, NULL) || broker_put_policy(c->p.broker, true, &v, NULL) ||
            broker_delete_policy(c->p.broker, true, v.vhost, v.name, NULL))
            atomic_fetch_add(&c->refusals, 1);
    }
    exchange_release(x);
    return NULL;
}

static void threads_declare_route_and_list_at_once(void **state)
{
    struct crowd c = {.turns = (int)effort(200, 40)};
    pthread_t declaring[3], others[2];
    (void)state;
    start(&c.p);
    accepted(queue(c.p.s, "stays", "d", text));
    for (int i = 0; i < 3; i++)
        pthread_create(&declaring[i], NULL, declare_and_delete, &c);
    pthread_create(&others[0], NULL, route_and_list, &c);
    pthread_create(&others[1], NULL, publish_and_put, &c);
    for (int i = 0; i < 3; i++)
        pthread_join(declaring[i], NULL);
    atomic_store(&c.stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(others[i], NULL);
    assert_int_equal(c.refusals, 0);
    assert_string_equal(route(&c.p, "amq.topic", "k"), "stays");
    place_reopen(&c.p);
    assert_string_equal(route(&c.p, "amq.topic", "k"), "stays");
    place_end(&c.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(predeclared_exchanges_are_there_and_stay),
        cmocka_unit_test(an_exchange_is_declared_again_only_as_it_is),
        cmocka_unit_test(a_queue_is_declared_again_only_as_it_is),
        cmocka_unit_test(the_broker_names_queues_that_have_no_name),
        cmocka_unit_test(names_may_be_any_bytes),
        cmocka_unit_test(a_message_gets_to_a_queue_once),
        cmocka_unit_test(many_queues_get_one_message),
        cmocka_unit_test(exchanges_that_are_bound_in_a_circle_end),
        cmocka_unit_test(what_matches_nothing_goes_to_the_alternate_exchange),
        cmocka_unit_test(cc_and_bcc_are_more_keys),
        cmocka_unit_test(an_auto_delete_exchange_goes_with_its_last_binding),
        cmocka_unit_test(an_exchange_in_use_stays_if_asked_for),
        cmocka_unit_test(exclusive_queues_are_their_connections_and_go_with_it),
        cmocka_unit_test(an_unused_queue_expires),
        cmocka_unit_test(what_is_durable_is_there_after_the_power_went),
        cmocka_unit_test(declarations_share_the_waiting_for_the_disk),
        cmocka_unit_test(a_queue_that_was_made_otherwise_is_a_queue_of_the_root),
        cmocka_unit_test(a_bus_that_others_make_follows_the_alternate_exchange_of_a_policy),
        cmocka_unit_test(what_is_published_without_a_broker_is_routed_when_it_opens),
        cmocka_unit_test(what_is_published_after_the_broker_was_killed_is_routed_once),
        cmocka_unit_test(the_bus_that_a_bound_exchange_gets_without_a_broker_is_routed_whole),
        cmocka_unit_test(what_was_published_before_the_first_binding_is_not_routed),
        cmocka_unit_test(what_was_published_without_a_broker_comes_once_wherever_opening_it_stops),
        cmocka_unit_test(what_an_older_broker_left_behind_is_routed),
        cmocka_unit_test(what_was_routed_while_the_broker_closed_is_not_given_again),
        cmocka_unit_test(the_bus_of_an_exchange_goes_when_nobody_needs_it),
        cmocka_unit_test(what_others_publish_gets_to_queues_and_streams),
        cmocka_unit_test(an_auto_delete_queue_goes_with_its_last_consumer),
        cmocka_unit_test(consumers_are_cancelled_when_their_queue_goes),
        cmocka_unit_test(a_queue_with_a_consumer_does_not_expire),
        cmocka_unit_test(threads_declare_route_and_list_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
