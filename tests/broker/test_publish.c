/* Publishing and what comes of it: routes, storage, confirms, refusals, restarts, direct reply-to. */
#include "broker/channel.h"
#include "broker/tables.h"

static void a_message_arrives_as_it_was_published(void **state)
{
    struct place p;
    struct channel c;
    struct buf headers;
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    accepted(queue(p.s, "q", "d", text));
    accepted(exchange(p.s, "e", "topic", "d", NULL, text));
    accepted(bind_to(p.s, "e", "q", "order.*", text));
    consume(&c, "q");
    buf_init(&headers, 4096);
    table_put_text(&headers, "a", beck_str("b"));
    struct properties sent = with_headers(mode(2), &headers);
    sent.flags |= PROPERTY_CONTENT_TYPE | PROPERTY_TYPE;
    sent.content_type = beck_str("text/plain");
    sent.type = beck_str("x");
    send(&c, "e", "order.created", "one", sent);
    send(&c, "e", "other", "lost", sent);
    check_texts(&c, "one");
    assert_string_equal(c.exchange, "e");
    assert_string_equal(c.key, "order.created");
    struct buf raw;
    buf_init(&raw, 4096);
    properties_write(&raw, &sent);
    assert_true(bytes_equal(buf_bytes(&raw), buf_bytes(&c.properties)));
    settle_all(&c, SETTLE_ACK);
    /* What is not durable comes by memory. */
    send(&c, "", "q", "two", mode(1));
    check_texts(&c, "two");
    assert_string_equal(c.exchange, "");
    settle_all(&c, SETTLE_REQUEUE);
    check_texts(&c, "!two");
    buf_release(&raw);
    buf_release(&headers);
    channel_end(&c);
    place_end(&p);
}

static int send_with(struct channel *c, const char *exchange_name, struct properties props,
                     char *text)
{
    return add(c, &(struct message){exchange_name, "k", "body", props, false}, NULL, text);
}

static struct properties from_user(const char *user)
{
    return (struct properties){.flags = PROPERTY_USER_ID, .user_id = beck_str(user)};
}

static void what_cannot_be_published_is_refused_in_rabbitmqs_words(void **state)
{
    struct place p;
    struct channel c;
    struct properties none = {0};
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    accepted(exchange(p.s, "inside", "fanout", "di", NULL, text));
    refused(404, "NOT_FOUND - no exchange 'none' in vhost '/'", send_with(&c, "none", none, text));
    refused(403, "ACCESS_REFUSED - cannot publish to internal exchange 'inside' in vhost '/'",
            send_with(&c, "inside", none, text));
    refused(406, "PRECONDITION_FAILED - invalid expiration 'x': no_integer",
            send_with(&c, "", expiring(none, "x"), text));
    refused(406, "invalid expiration '5a': {leftover_string,\"a\"}",
            send_with(&c, "", expiring(none, "5a"), text));
    refused(406, "invalid expiration '-1': {value_negative,-1}",
            send_with(&c, "", expiring(none, "-1"), text));
    accepted(send_with(&c, "", expiring(none, "4294967296"), text));
    accepted(send_with(&c, "", expiring(none, "315360000000"), text));
    refused(406, "invalid expiration '315360000001': {value_too_large,315360000001}",
            send_with(&c, "", expiring(none, "315360000001"), text));
    refused(406, "user_id property set to 'eve' but authenticated user was 'root'",
            send_with(&c, "", from_user("eve"), text));
    accepted(send_with(&c, "", from_user("root"), text));
    channel_end(&c);
    place_end(&p);
}

static void what_has_no_time_reaches_who_is_ready(void **state)
{
    struct place p;
    struct channel c;
    struct buf arguments;
    (void)state;
    buf_init(&arguments, 100);
    assert_int_equal(table_put_int(&arguments, "x-message-ttl", 0), BECK_OK);
    place_start(&p, 1);
    accepted(queue_as(p.s, "brief", "", &arguments, NULL, text));
    buf_release(&arguments);
    channel_begin(&c, p.s);
    send(&c, "", "brief", "nobody is there", mode(1));
    consume(&c, "brief");
    /* The first wakes the consumer, which has not looked when the others come. */
    send(&c, "", "brief", "a", mode(1));
    send(&c, "", "brief", "b", mode(1));
    send(&c, "", "brief", "c", mode(1));
    await(&c, 1);
    check_texts(&c, "a b c");
    channel_end(&c);
    place_end(&p);
}

static void nobody_is_told_and_confirmed(void **state)
{
    struct place p;
    struct channel c;
    enum published how;
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    accepted(queue(p.s, "q", "d", text));
    struct message l = {"", "nobody", "x", mode(2), true};
    accepted(add(&c, &l, &how, text));
    assert_int_equal(how, PUBLISHED_NOWHERE);
    l.key = "q";
    accepted(add(&c, &l, &how, text));
    assert_int_equal(how, PUBLISHED_QUEUED);
    l.exchange = "amq.fanout"; /* kept, for those who come later */
    accepted(add(&c, &l, &how, text));
    assert_int_equal(how, PUBLISHED_NOWHERE);
    wait_for_confirms(&c, 3);
    assert_int_equal(c.acked, 3);
    channel_end(&c);
    place_end(&p);
}

static void order_holds_whether_kept_or_not(void **state)
{
    struct place p;
    struct channel c;
    char body[16], expected[4096] = "";
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    accepted(queue(p.s, "q", "d", text));
    for (int i = 0; i < 200; i++) {
        snprintf(body, sizeof body, "%d", i);
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "%s%d",
                 i ? " " : "", i);
        send_confirmed(&c, "", "q", body, mode(i % 3 == 0 ? 2 : 1));
    }
    wait_for_confirms(&c, 200);
    consume(&c, "q");
    check_texts(&c, expected);
    channel_end(&c);
    place_end(&p);
}

static void what_was_confirmed_survives_a_loss_of_power(void **state)
{
    struct place p;
    struct channel c;
    (void)state;
    place_start(&p, 3);
    channel_begin(&c, p.s);
    accepted(queue(p.s, "q", "d", text));
    accepted(queue(p.s, "other", "d", text));
    accepted(bind_to(p.s, "amq.fanout", "q", "", text));
    accepted(bind_to(p.s, "amq.fanout", "other", "", text));
    send_confirmed(&c, "amq.fanout", "k", "one", mode(2));
    send_confirmed(&c, "", "q", "two", mode(2));
    wait_for_confirms(&c, 2);
    channel_end(&c);
    place_crash(&p);
    channel_begin(&c, p.s);
    consume(&c, "q");
    check_texts(&c, "!one !two"); /* nobody knows whether they were delivered */
    channel_end(&c);
    channel_begin(&c, p.s);
    consume(&c, "other");
    check_texts(&c, "!one");
    channel_end(&c);
    place_end(&p);
}

static void what_was_delivered_and_not_acknowledged_comes_again_after_a_restart(void **state)
{
    struct place p;
    struct channel c;
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    accepted(queue(p.s, "q", "d", text));
    accepted(queue(p.s, "t", "", text));
    consume(&c, "q");
    for (int i = 0; i < 3; i++)
        send(&c, "", "q", i == 0 ? "a" : i == 1 ? "b" : "c", mode(2));
    send(&c, "", "t", "gone", mode(2));
    pump(&c);
    broker_settle(c.queue, &c.tags[1], &c.consumer, 1, SETTLE_ACK);
    c.texts[0] = '\0';
    channel_end(&c);
    place_reopen(&p);
    refused(404, "no queue 't'", queue_as(p.s, "t", "p", NULL, NULL, text));
    channel_begin(&c, p.s);
    consume(&c, "q");
    check_texts(&c, "!a !c");
    channel_end(&c);
    place_end(&p);
}

static void a_queue_that_is_full_refuses_only_what_is_too_much(void **state)
{
    struct place p;
    struct channel c;
    struct buf arguments;
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    buf_init(&arguments, 4096);
    table_put_int(&arguments, "x-max-length", 2);
    table_put_text(&arguments, "x-overflow", beck_str("reject-publish"));
    accepted(queue_as(p.s, "small", "d", &arguments, NULL, text));
    accepted(queue(p.s, "large", "d", text));
    accepted(bind_to(p.s, "amq.fanout", "small", "", text));
    accepted(bind_to(p.s, "amq.fanout", "large", "", text));
    for (int i = 0; i < 4; i++)
        send_confirmed(&c, "amq.fanout", "", i < 2 ? "a" : "b", mode(1));
    wait_for_confirms(&c, 4);
    assert_string_equal(c.order, "1 2 -3 -4");
    consume(&c, "small");
    check_texts(&c, "a a");
    settle_all(&c, SETTLE_ACK);
    subscriber_close(c.consumer);
    broker_queue_release(c.queue);
    c.queue = NULL;
    consume(&c, "large"); /* has those that the other refused */
    check_texts(&c, "a a b b");
    buf_release(&arguments);
    channel_end(&c);
    place_end(&p);
}

static void further_keys_are_in_headers_and_blind_ones_are_not_shown(void **state)
{
    struct place p;
    struct channel c;
    struct buf headers;
    char shown[256];
    struct table_value key = {.kind = TABLE_TEXT, .letter = 'S'};
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    for (int i = 0; i < 3; i++)
        accepted(queue(p.s, i == 0 ? "a" : i == 1 ? "b" : "c", "", text));
    buf_init(&headers, 4096);
    size_t at = table_begin(&headers, "CC", 'A');
    key.bytes = beck_str("b");
    array_put(&headers, &key);
    table_end(&headers, at);
    at = table_begin(&headers, "BCC", 'A');
    key.bytes = beck_str("c");
    array_put(&headers, &key);
    table_end(&headers, at);
    table_put_text(&headers, "kept", beck_str("yes"));
    send(&c, "", "a", "x", with_headers(mode(1), &headers));
    send(&c, "", "a", "y", mode(1));
    consume(&c, "c");
    check_texts(&c, "x");
    assert_string_equal(header_of(&c, "BCC", shown), "");
    assert_string_equal(header_of(&c, "CC", shown), "A");
    assert_string_equal(header_of(&c, "kept", shown), "yes");
    buf_release(&headers);
    channel_end(&c);
    channel_begin(&c, p.s);
    consume(&c, "a");
    check_texts(&c, "x y");
    channel_end(&c);
    place_end(&p);
}

static void what_others_publish_reaches_consumers_and_the_reverse(void **state)
{
    struct place p;
    struct channel c;
    beck_bus *bus;
    char shown[256];
    (void)state;
    place_start(&p, 1);
    bus = world_bus(&p.w, "orders", NULL);
    world_queue(&p.w, "theirs", NULL);
    world_bind(&p.w, "theirs", "orders", "#", BECK_FROM_NOW);
    channel_begin(&c, p.s);
    accepted(queue(p.s, "q", "d", text));
    accepted(bind_to(p.s, "orders", "q", "order.#", text));
    consume(&c, "q");
    beck_event e = {
        .type = beck_str("order.created"), .subject = beck_str("ORD-1"), .data = beck_str("{}")};
    check_ok(beck_publish(bus, &e, err));
    check_texts(&c, "{}");
    assert_string_equal(c.exchange, "orders");
    assert_string_equal(c.key, "order.created");
    assert_string_equal(header_of(&c, "ce_subject", shown), "ORD-1");
    assert_int_equal(properties_of(&c).delivery_mode, 2);
    send(&c, "orders", "order.paid", "paid", mode(1));
    check_texts(&c, "paid");
    beck_consumer *theirs = world_consumer(&p.w, "theirs", 0);
    take(theirs, "{}");
    beck_delivery d = take(theirs, "paid");
    assert_true(text_is(d.event->type, "order.paid"));
    beck_consumer_close(theirs);
    channel_end(&c);
    place_end(&p);
}

static struct properties with_text_header(struct buf *headers, const char *name, const char *value)
{
    buf_init(headers, 4096);
    table_put_text(headers, name, beck_str(value));
    return with_headers(mode(2), headers);
}

static void what_is_refused_reaches_a_headers_exchange_from_the_first_on(void **state)
{
    struct place p;
    struct channel c;
    struct buf arguments, headers, wanted;
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    accepted(exchange(p.s, "dead", "headers", "d", NULL, text));
    accepted(exchange(p.s, "further", "headers", "d", NULL, text));
    accepted(queue(p.s, "a", "d", text));
    accepted(queue(p.s, "b", "", text));
    struct properties sent = with_text_header(&headers, "to", "b");
    struct binding_declaration d = binding("further", "b", "");
    with_text_header(&wanted, "to", "b");
    d.arguments = buf_bytes(&wanted);
    accepted(bind_to(p.s, "dead", "@further", "", text));
    accepted(session_bind(p.s, &d, text));
    d = binding("dead", "a", "");
    d.arguments = buf_bytes(&wanted);
    accepted(session_bind(p.s, &d, text));
    buf_init(&arguments, 4096);
    table_put_int(&arguments, "x-max-length", 1);
    table_put_text(&arguments, "x-overflow", beck_str("reject-publish-dlx"));
    table_put_text(&arguments, "x-dead-letter-exchange", beck_str("dead"));
    accepted(queue_as(p.s, "small", "d", &arguments, NULL, text));
    send(&c, "", "small", "fits", sent);
    send(&c, "", "small", "refused", sent);
    consume(&c, "a");
    check_texts(&c, "refused");
    settle_all(&c, SETTLE_ACK);
    subscriber_close(c.consumer);
    broker_queue_release(c.queue);
    c.queue = NULL;
    consume(&c, "b");
    check_texts(&c, "refused");
    buf_release(&arguments);
    buf_release(&headers);
    buf_release(&wanted);
    channel_end(&c);
    place_end(&p);
}

static void a_queue_of_no_length_keeps_nothing(void **state)
{
    static const char *const limits[] = {"x-max-length", "x-max-length-bytes"};
    static const char *const overflows[] = {"drop-head", "reject-publish"};
    struct place p;
    (void)state;
    place_start(&p, 1);
    for (int i = 0; i < 4; i++) {
        struct channel c;
        struct buf arguments;
        char name[2] = {(char)('a' + i)};
        channel_begin(&c, p.s);
        buf_init(&arguments, 4096);
        table_put_int(&arguments, limits[i % 2], 0);
        table_put_text(&arguments, "x-overflow", beck_str(overflows[i / 2]));
        accepted(queue_as(p.s, name, "d", &arguments, NULL, text));
        for (int j = 0; j < 3; j++)
            send_confirmed(&c, "", name, "x", mode(2));
        wait_for_confirms(&c, 3);
        assert_int_equal(c.acked, i < 2 ? 3 : 0);
        check_counts(&p.w, name, 0, 0, 0, 0);
        buf_release(&arguments);
        channel_end(&c);
    }
    place_end(&p);
}

static void replies_go_straight_to_who_asked(void **state)
{
    struct place p;
    struct channel asking, answering;
    struct properties ask = {.flags = PROPERTY_REPLY_TO,
                             .reply_to = beck_str("amq.rabbitmq.reply-to")};
    char name[256];
    struct subscriber *second;
    struct subscriber_options o = {.queue = ask.reply_to, .wake = woken, .ctx = &asking};
    (void)state;
    place_start(&p, 1);
    channel_begin(&asking, p.s);
    channel_begin(&answering, p.s);
    accepted(queue(p.s, "requests", "", text));
    refused(406, "PRECONDITION_FAILED - fast reply consumer does not exist",
            add(&asking, &(struct message){"", "requests", "?", ask, false}, NULL, text));
    refused(406, "reply consumer cannot acknowledge", session_consume(p.s, &o, &second, text));
    consume_with(&asking, "amq.rabbitmq.reply-to", (struct subscriber_options){.no_ack = true});
    o.no_ack = true;
    o.channel = &asking;
    refused(406, "reply consumer already set", session_consume(p.s, &o, &second, text));
    send(&asking, "", "requests", "?", ask);
    consume(&answering, "requests");
    check_texts(&answering, "?");
    struct properties seen = properties_of(&answering);
    snprintf(name, sizeof name, "%.*s", (int)seen.reply_to.len, (const char *)seen.reply_to.data);
    assert_memory_equal(name, "amq.rabbitmq.reply-to.", 22);
    enum published how;
    accepted(add(&answering, &(struct message){"", name, "!", mode(1), false}, &how, text));
    assert_int_equal(how, PUBLISHED_QUEUED);
    assert_true(asking.woken);
    check_texts(&asking, "!");
    assert_string_equal(asking.key, name);
    channel_end(&asking);
    accepted(add(&answering, &(struct message){"", name, "!", mode(1), false}, &how, text));
    assert_int_equal(how, PUBLISHED_NOWHERE);
    channel_end(&answering);
    place_end(&p);
}

/* 1 MiB a reply, of which 64 wait at most. */
static void replies_that_wait_are_bounded_for_all_consumers_together(void **state)
{
    enum { ASKING = 5, REPLIES = 16, SIZE = 1 << 20, ROOM = 64 };
    struct place p;
    struct channel asking[ASKING], answering;
    struct properties ask = {.flags = PROPERTY_REPLY_TO,
                             .reply_to = beck_str("amq.rabbitmq.reply-to")};
    char *body = malloc(SIZE + 1), name[256];
    size_t waiting = 0;
    (void)state;
    memset(body, 'x', SIZE);
    body[SIZE] = '\0';
    place_start(&p, 1);
    channel_begin(&answering, p.s);
    accepted(queue(p.s, "requests", "", text));
    consume(&answering, "requests");
    for (int i = 0; i < ASKING; i++) {
        channel_begin(&asking[i], p.s);
        consume_with(&asking[i], "amq.rabbitmq.reply-to",
                     (struct subscriber_options){.no_ack = true});
        send(&asking[i], "", "requests", "?", ask);
        check_texts(&answering, "?");
        struct properties seen = properties_of(&answering);
        snprintf(name, sizeof name, "%.*s", (int)seen.reply_to.len,
                 (const char *)seen.reply_to.data);
        for (int j = 0; j < REPLIES; j++)
            send(&answering, "", name, body, mode(1));
    }
    for (int i = 0; i < ASKING; i++) {
        pump(&asking[i]);
        waiting += asking[i].count;
    }
    assert_true(waiting >= ROOM && waiting <= ROOM + 1);
    send(&answering, "", name, "there is room again", mode(1));
    pump(&asking[ASKING - 1]);
    assert_int_equal(asking[0].count + asking[1].count + asking[2].count + asking[3].count +
                         asking[4].count,
                     waiting + 1);
    for (int i = 0; i < ASKING; i++)
        channel_end(&asking[i]);
    channel_end(&answering);
    free(body);
    place_end(&p);
}

static void one_message_is_got_with_what_is_left(void **state)
{
    struct place p;
    struct channel c;
    struct handed m;
    bool got;
    uint32_t left;
    struct subscriber *nobody = NULL;
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    accepted(queue(p.s, "q", "d", text));
    accepted(session_get(p.s, beck_str("q"), &m, &got, &left, text));
    assert_false(got);
    send(&c, "", "q", "one", mode(1));
    send(&c, "", "q", "two", mode(1));
    accepted(session_get(p.s, beck_str("q"), &m, &got, &left, text));
    assert_true(got && text_is(m.body, "one"));
    assert_int_equal(left, 1);
    broker_settle(m.queue, &m.tag, &nobody, 1, SETTLE_ACK);
    accepted(session_get(p.s, beck_str("q"), &m, &got, &left, text));
    assert_true(got && text_is(m.body, "two"));
    broker_forget(m.queue, m.tag);
    broker_settle(m.queue, &m.tag, &nobody, 1, SETTLE_REQUEUE);
    accepted(session_get(p.s, beck_str("q"), &m, &got, &left, text));
    assert_true(got && m.redelivered && text_is(m.body, "two"));
    broker_forget(m.queue, m.tag);
    broker_forget(m.queue, m.tag);
    broker_settle(m.queue, &m.tag, &nobody, 1, SETTLE_ACK);
    broker_forget(m.queue, m.tag);
    refused(404, "no queue 'none' in vhost '/'",
            session_get(p.s, beck_str("none"), &m, &got, &left, text));
    channel_end(&c);
    place_end(&p);
}

static void transient_messages_are_gone_when_it_opens_again(void **state)
{
    struct place p;
    struct channel c;
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    accepted(exchange(p.s, "x", "topic", "d", NULL, text));
    accepted(queue(p.s, "q", "d", text));
    accepted(queue(p.s, "other", "d", text));
    accepted(bind_to(p.s, "x", "q", "#", text));
    send(&c, "", "q", "gone", mode(1));
    send(&c, "", "q", "gone", mode(1));
    send(&c, "", "other", "gone", mode(1));
    send_confirmed(&c, "x", "k", "one", mode(2));
    wait_for_confirms(&c, 1);
    send(&c, "x", "k", "gone", mode(1));
    send_confirmed(&c, "x", "k", "two", mode(2));
    wait_for_confirms(&c, 2);
    check_counts(&p.w, "q", 5, 0, 0, 0);
    channel_end(&c);
    place_reopen(&p);
    check_counts(&p.w, "q", 2, 0, 0, 0);
    check_counts(&p.w, "other", 0, 0, 0, 0);
    channel_begin(&c, p.s);
    send(&c, "", "other", "new", mode(1));
    consume(&c, "q");
    check_texts(&c, "one two");
    channel_end(&c);
    place_crash(&p);
    check_counts(&p.w, "q", 2, 0, 0, 0);
    check_counts(&p.w, "other", 0, 0, 0, 0);
    place_end(&p);
}

static void a_disk_that_is_full_is_noticed(void **state)
{
    static const beck_status failures[] = {BECK_EIO, BECK_EFULL};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct place p;
        struct channel c;
        place_start(&p, 1);
        channel_begin(&c, p.s);
        accepted(queue(p.s, "q", "d", text));
        send_confirmed(&c, "", "q", "one", mode(2));
        wait_for_confirms(&c, 1);
        assert_true(broker_full_ns(p.broker) == INT64_MIN);
        vfs_sim_fail(p.w.vfs, VFS_OP_WRITE, 1, true, failures[i]);
        send_confirmed(&c, "", "q", "two", mode(2));
        wait_for_confirms(&c, 2);
        vfs_sim_fail(p.w.vfs, 0, 0, false, BECK_OK);
        assert_int_equal(c.refused, 1);
        if (failures[i] == BECK_EFULL)
            assert_true(broker_full_ns(p.broker) == clock_mono_ns(p.w.clock));
        else
            assert_true(broker_full_ns(p.broker) == INT64_MIN);
        channel_end(&c);
        place_end(&p);
    }
}

static void all_of_it_works_in_memory_only(void **state)
{
    struct place p = {0};
    struct channel c;
    (void)state;
    world_start_in_memory(&p.w);
    place_begin(&p);
    channel_begin(&c, p.s);
    accepted(queue(p.s, "q", "d", text));
    accepted(exchange(p.s, "e", "topic", "d", NULL, text));
    accepted(bind_to(p.s, "e", "q", "#", text));
    send_confirmed(&c, "e", "k", "one", mode(2));
    send_confirmed(&c, "", "q", "two", mode(1));
    wait_for_confirms(&c, 2);
    consume(&c, "q");
    check_texts(&c, "one two");
    settle_all(&c, SETTLE_REJECT);
    check_counts(&p.w, "q", 0, 0, 0, 0);
    channel_end(&c);
    place_end(&p);
}

static int get_one(struct session *s, const char *name, bool *got, char *text)
{
    struct handed m;
    uint32_t left;
    return session_get(s, beck_str(name), &m, got, &left, text);
}

static void a_queue_that_others_deleted_is_found_to_be_gone(void **state)
{
    struct place p;
    struct channel c;
    enum published how;
    bool got;
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    accepted(queue(p.s, "q", "d", text));
    accepted(queue(p.s, "other", "d", text));
    check_ok(beck_queue_delete(p.w.b, "q", err));
    accepted(add(&c, &(struct message){"", "q", "one", mode(2), true}, &how, text));
    wait_for_confirms(&c, 1);
    assert_int_equal(how, PUBLISHED_NOWHERE);
    assert_string_equal(route(&p, "", "q"), "");
    check_ok(beck_queue_delete(p.w.b, "other", err));
    refused(404, "no queue 'other' in vhost '/'", get_one(p.s, "other", &got, text));
    assert_string_equal(route(&p, "", "other"), "");
    channel_end(&c);
    place_end(&p);
}

static void permit_ann(struct place *p, const char *write, const char *read)
{
    struct permission_view v = {beck_str("/"), beck_str("ann"), beck_str(".*"), beck_str(write),
                                beck_str(read)};
    check_ok(broker_put_permission(p->broker, &v, err));
}

static void permissions_that_were_taken_away_count_for_what_comes_next(void **state)
{
    struct place p;
    struct channel c;
    struct subscriber_options o = {.queue = beck_str("q"), .wake = woken, .cancelled = cancelled};
    bool got;
    (void)state;
    place_start(&p, 1);
    permit_ann(&p, ".*", ".*");
    struct session *s = place_session(&p, "/", "ann", 2);
    channel_begin(&c, s);
    accepted(queue(s, "q", "d", text));
    send(&c, "", "q", "one", mode(1));
    permit_ann(&p, "", ".*");
    refused(403, "access to exchange 'amq.default' in vhost '/' refused for user 'ann'",
            add(&c, &(struct message){"", "q", "two", mode(1), false}, NULL, text));
    accepted(get_one(s, "q", &got, text));
    assert_true(got);
    permit_ann(&p, "", "");
    refused(403, "access to queue 'q' in vhost '/' refused for user 'ann'",
            get_one(s, "q", &got, text));
    permit_ann(&p, "", ".*");
    permit_ann(&p, "", "");
    o.ctx = &c;
    refused(403, "access to queue 'q' in vhost '/' refused for user 'ann'",
            session_consume(s, &o, &c.consumer, text));
    channel_end(&c);
    session_close(s);
    place_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_arrives_as_it_was_published),
        cmocka_unit_test(what_cannot_be_published_is_refused_in_rabbitmqs_words),
        cmocka_unit_test(what_has_no_time_reaches_who_is_ready),
        cmocka_unit_test(nobody_is_told_and_confirmed),
        cmocka_unit_test(order_holds_whether_kept_or_not),
        cmocka_unit_test(what_was_confirmed_survives_a_loss_of_power),
        cmocka_unit_test(what_was_delivered_and_not_acknowledged_comes_again_after_a_restart),
        cmocka_unit_test(a_queue_that_is_full_refuses_only_what_is_too_much),
        cmocka_unit_test(further_keys_are_in_headers_and_blind_ones_are_not_shown),
        cmocka_unit_test(what_others_publish_reaches_consumers_and_the_reverse),
        cmocka_unit_test(what_is_refused_reaches_a_headers_exchange_from_the_first_on),
        cmocka_unit_test(a_queue_of_no_length_keeps_nothing),
        cmocka_unit_test(replies_go_straight_to_who_asked),
        cmocka_unit_test(replies_that_wait_are_bounded_for_all_consumers_together),
        cmocka_unit_test(one_message_is_got_with_what_is_left),
        cmocka_unit_test(transient_messages_are_gone_when_it_opens_again),
        cmocka_unit_test(a_disk_that_is_full_is_noticed),
        cmocka_unit_test(all_of_it_works_in_memory_only),
        cmocka_unit_test(a_queue_that_others_deleted_is_found_to_be_gone),
        cmocka_unit_test(permissions_that_were_taken_away_count_for_what_comes_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
