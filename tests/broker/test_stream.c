/* Streams: read from where a consumer asks, again and again; and queues that are given their past again. */
#include "broker/channel.h"

static void declare_stream(struct place *p, const char *name)
{
    struct buf arguments;
    buf_init(&arguments, 4096);
    table_put_text(&arguments, "x-queue-type", beck_str("stream"));
    accepted(queue_as(p->s, name, "d", &arguments, NULL, text));
    buf_release(&arguments);
}

static int consume_from(struct channel *c, const char *name, const char *argument,
                        const struct table_value *value, uint32_t prefetch, char *text)
{
    struct buf arguments;
    buf_init(&arguments, 4096);
    if (value)
        table_put(&arguments, beck_str(argument), value);
    struct subscriber_options o = {.queue = beck_str(name),
                                   .prefetch = prefetch,
                                   .arguments = buf_bytes(&arguments),
                                   .wake = woken,
                                   .cancelled = cancelled,
                                   .ctx = c};
    int code = session_consume(c->s, &o, &c->consumer, text);
    buf_release(&arguments);
    return code;
}

static struct table_value a_text(const char *text)
{
    return (struct table_value){.kind = TABLE_TEXT, .letter = 'S', .bytes = beck_str(text)};
}

static struct table_value a_number(char letter, int64_t n)
{
    return (struct table_value){
        .kind = letter == 'T' ? TABLE_TIME : TABLE_INTEGER, .letter = letter, .integer = n};
}

static void close_consumer(struct channel *c)
{
    subscriber_close(c->consumer);
    c->consumer = NULL;
    c->count = 0;
    c->texts[0] = '\0';
}

static void a_stream_is_read_from_any_place(void **state)
{
    struct place p;
    struct channel c;
    char shown[256];
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    declare_stream(&p, "s");
    struct table_value first = a_text("first"), last = a_text("last"), next = a_text("next"),
                       second = a_number('l', 2);
    for (int i = 0; i < 4; i++) {
        char body[8];
        snprintf(body, sizeof body, "%d", i);
        send_confirmed(&c, "", "s", body, mode(2));
        world_advance(&p.w, 10 * SECOND);
    }
    wait_for_confirms(&c, 4);
    struct table_value since = a_number('T', (world_now_ms(&p.w) - 25 * SECOND) / 1000);
    struct table_value back = a_text("15s");
    const struct {
        const struct table_value *from;
        const char *texts;
    } cases[] = {{&first, "0 1 2 3"}, {&last, "3"},    {&next, ""}, {NULL, ""},
                 {&second, "2 3"},    {&since, "2 3"}, {&back, "3"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        accepted(consume_from(&c, "s", "x-stream-offset", cases[i].from, 10, text));
        check_texts(&c, cases[i].texts);
        if (*cases[i].texts)
            assert_string_equal(header_of(&c, "x-stream-offset", shown), "3");
        close_consumer(&c);
    }
    channel_end(&c);
    place_end(&p);
}

static void acknowledging_gives_credit_and_takes_nothing_away(void **state)
{
    struct place p;
    struct channel c;
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    declare_stream(&p, "s");
    struct table_value first = a_text("first");
    accepted(consume_from(&c, "s", "x-stream-offset", &first, 2, text));
    for (int i = 0; i < 3; i++)
        send(&c, "", "s", i == 0 ? "a" : i == 1 ? "b" : "c", mode(2));
    check_texts(&c, "a b");
    settle_all(&c, SETTLE_ACK);
    check_texts(&c, "c");
    close_consumer(&c);
    broker_queue_release(c.queue);
    c.queue = NULL;
    accepted(consume_from(&c, "s", "x-stream-offset", &first, 5, text));
    check_texts(&c, "a b c");
    refused(406, "consumer prefetch count is not set", consume_from(&c, "s", "", NULL, 0, text));
    channel_end(&c);
    place_end(&p);
}

static void a_filter_passes_over_the_others(void **state)
{
    struct place p;
    struct channel c;
    struct buf headers;
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    declare_stream(&p, "s");
    for (int i = 0; i < 3; i++) {
        buf_init(&headers, 4096);
        table_put_text(&headers, "x-stream-filter-value", beck_str(i == 1 ? "ok" : "no"));
        send(&c, "", "s", i == 0 ? "a" : i == 1 ? "b" : "c", with_headers(mode(2), &headers));
        buf_release(&headers);
    }
    struct buf arguments;
    buf_init(&arguments, 4096);
    table_put_text(&arguments, "x-stream-offset", beck_str("first"));
    table_put_text(&arguments, "x-stream-filter", beck_str("ok"));
    consume_with(&c, "s",
                 (struct subscriber_options){.prefetch = 9, .arguments = buf_bytes(&arguments)});
    buf_release(&arguments);
    check_texts(&c, "b");
    channel_end(&c);
    place_end(&p);
}

static void a_queue_is_given_its_past_again(void **state)
{
    struct place p;
    struct channel c;
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    accepted(queue(p.s, "q", "d", text));
    accepted(exchange(p.s, "e", "topic", "d", NULL, text));
    accepted(bind_to(p.s, "e", "q", "a.*", text));
    consume(&c, "q");
    send(&c, "e", "a.b", "one", mode(2));
    send(&c, "e", "b.b", "other", mode(2));
    send(&c, "e", "a.c", "two", mode(2));
    check_texts(&c, "one two");
    settle_all(&c, SETTLE_ACK);
    close_consumer(&c);
    struct table_value first = a_text("first"), bad = a_text("yesterday");
    refused(406, "invalid arg 'x-beck-from'", consume_from(&c, "q", "x-beck-from", &bad, 0, text));
    accepted(consume_from(&c, "q", "x-beck-from", &first, 0, text));
    check_texts(&c, "one two");
    channel_end(&c);
    place_end(&p);
}

static void a_queue_may_be_bound_from_a_past_position(void **state)
{
    struct place p;
    struct channel c;
    struct buf arguments;
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    accepted(exchange(p.s, "e", "topic", "d", NULL, text));
    send(&c, "e", "a.b", "one", mode(2)); /* nobody gets it, and it is kept */
    send(&c, "e", "b.b", "other", mode(2));
    send(&c, "e", "a.c", "two", mode(2));
    accepted(queue(p.s, "q", "d", text));
    buf_init(&arguments, 4096);
    table_put_text(&arguments, "x-beck-from", beck_str("first"));
    struct binding_declaration d = binding("e", "q", "a.*");
    d.arguments = buf_bytes(&arguments);
    accepted(session_bind(p.s, &d, text));
    accepted(session_bind(p.s, &d, text)); /* there already: nothing again */
    send(&c, "e", "a.d", "three", mode(2));
    consume(&c, "q");
    check_texts(&c, "one two three");
    assert_string_equal(c.exchange, "e");
    buf_clear(&arguments);
    table_put_text(&arguments, "x-beck-from", beck_str("soon"));
    d.arguments = buf_bytes(&arguments);
    refused(406, "invalid arg 'x-beck-from'", session_bind(p.s, &d, text));
    buf_release(&arguments);
    channel_end(&c);
    place_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_is_read_from_any_place),
        cmocka_unit_test(acknowledging_gives_credit_and_takes_nothing_away),
        cmocka_unit_test(a_filter_passes_over_the_others),
        cmocka_unit_test(a_queue_is_given_its_past_again),
        cmocka_unit_test(a_queue_may_be_bound_from_a_past_position),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
