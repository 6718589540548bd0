/* Publishing, delivering, answers, confirms, transactions. */
#include "amqp_world.h"
#include "broker/tables.h"

#include <stdio.h>
#include <stdlib.h>

static int open_world(void **state)
{
    struct amqp_world *w = calloc(1, sizeof *w);
    amqp_world_open(w);
    *state = w;
    return 0;
}

static int open_narrow_world(void **state)
{
    struct amqp_world *w = calloc(1, sizeof *w);
    w->settings.unacked_max = 2;
    w->settings.bodies_max = 1000;
    amqp_world_open(w);
    *state = w;
    return 0;
}

static int close_world(void **state)
{
    amqp_world_close(*state);
    free(*state);
    return 0;
}

static void hear_message(struct peer *c, uint64_t tag, bool redelivered, const char *body)
{
    peer_hear(c, 1, METHOD_basic_deliver);
    assert_int_equal(c->m.basic_deliver.delivery_tag, tag);
    assert_int_equal(c->m.basic_deliver.redelivered, redelivered);
    peer_hear_content(c, 1, body);
}

static void send_empty(struct peer *c, enum method_id id, enum method_id answer)
{
    peer_send(c, 1, &(struct method){.id = id});
    peer_hear(c, 1, answer);
}

static char *long_text(size_t len)
{
    char *text = malloc(len + 1);
    for (size_t i = 0; i < len; i++)
        text[i] = (char)('a' + i % 26);
    text[len] = 0;
    return text;
}

/* ---- publishing ---- */

static void test_bodies_of_every_size_come_as_they_went(void **state)
{
    static const size_t sizes[] = {0,    1,    100,    4087,   4088,   4089,
                                   8192, 8193, 131064, 131065, 3000000};
    struct peer c = {0}, small = {.frame_max = 4096};
    peer_start(*state, &c);
    peer_declare(&c, 1, "q");
    peer_consume(&c, 1, "q", "t", true);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    peer_start(*state, &small);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *text = long_text(sizes[i]);
        struct method m = {.id = METHOD_basic_publish};
        uint8_t header[14] = {0, 60};
        m.basic_publish.exchange = beck_str("");
        m.basic_publish.routing_key = beck_str("q");
        peer_send(&small, 1, &m);
        put_u64(header + 4, sizes[i]);
        peer_send_frame(&small, FRAME_HEADER, 1, header, sizeof header);
        for (size_t at = 0; at < sizes[i]; at += 4088)
            peer_send_frame(&small, FRAME_BODY, 1, text + at,
                            sizes[i] - at < 4088 ? sizes[i] - at : 4088);
        hear_message(&c, i + 1, false, text);
        free(text);
    }
    peer_close(&small);
    peer_close(&c);
}

static void test_frames_of_several_channels_may_be_mixed(void **state)
{
    struct peer c = {0};
    struct buf part[2];
    peer_start(*state, &c);
    peer_open_channel(&c, 2);
    peer_declare(&c, 1, "q");
    for (uint16_t i = 0; i < 2; i++) {
        uint8_t header[14] = {0, 60};
        struct method m = {.id = METHOD_basic_publish};
        m.basic_publish.exchange = beck_str("");
        m.basic_publish.routing_key = beck_str("q");
        put_u64(header + 4, 2);
        buf_init(&part[i], 4096);
        method_put(&part[i], (uint16_t)(i + 1), &m);
        frame_put(&part[i], FRAME_HEADER, (uint16_t)(i + 1), header, sizeof header);
        frame_put(&part[i], FRAME_BODY, (uint16_t)(i + 1), i ? "B" : "A", 1);
        frame_put(&part[i], FRAME_BODY, (uint16_t)(i + 1), i ? "b" : "a", 1);
    }
    /* A frame of one, then of the other. */
    size_t at[2] = {0, 0};
    while (at[0] < part[0].len || at[1] < part[1].len)
        for (int i = 0; i < 2; i++) {
            size_t size = get_u32(part[i].data + at[i] + 3) + FRAME_EXTRA;
            peer_send_bytes(&c, part[i].data + at[i], size);
            at[i] += size;
        }
    peer_consume(&c, 1, "q", "t", true);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    hear_message(&c, 1, false, "Aa");
    hear_message(&c, 2, false, "Bb");
    buf_release(&part[0]);
    buf_release(&part[1]);
    peer_close(&c);
}

static void test_what_has_to_be_prepared_is_published_behind_it_in_order(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    char *text = long_text(200000);
    struct buf b;
    w->broker->later = true;
    peer_start(w, &c);
    peer_declare(&c, 1, "q");
    peer_open_channel(&c, 2);
    buf_init(&b, 4 << 20);
    message_put(&b, 1, "", "q", "first");
    message_put(&b, 1, "", "q", "second");
    /* The same with a message in parts, on a channel of its own. */
    uint8_t header[14] = {0, 60};
    struct method m = {.id = METHOD_basic_publish};
    m.basic_publish.exchange = beck_str("");
    m.basic_publish.routing_key = beck_str("q");
    put_u64(header + 4, 200000);
    method_put(&b, 2, &m);
    frame_put(&b, FRAME_HEADER, 2, header, sizeof header);
    frame_put(&b, FRAME_BODY, 2, text, 100000);
    frame_put(&b, FRAME_BODY, 2, text + 100000, 100000);
    message_put(&b, 2, "", "q", "last");
    peer_send_bytes(&c, b.data, b.len);
    buf_release(&b);
    peer_sync(&c, 1);
    peer_consume(&c, 1, "q", "t", true);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    hear_message(&c, 1, false, "first");
    hear_message(&c, 2, false, "second");
    hear_message(&c, 3, false, text);
    hear_message(&c, 4, false, "last");
    free(text);
    peer_close(&c);
}

static void send_mandatory(struct peer *c, const char *key, const char *body)
{
    struct buf b;
    buf_init(&b, 65536);
    message_put(&b, 1, "", key, body);
    /* The bits stand at the end of the first frame. */
    size_t size = get_u32(b.data + 3) + FRAME_EXTRA;
    b.data[size - 2] = 1;
    peer_send_bytes(c, b.data, b.len);
    buf_release(&b);
}

static void test_what_goes_nowhere_is_returned_before_it_is_confirmed(void **state)
{
    struct peer c = {0};
    peer_start(*state, &c);
    send_empty(&c, METHOD_confirm_select, METHOD_confirm_select_ok);
    send_mandatory(&c, "nobody", "back");
    peer_hear(&c, 1, METHOD_basic_return);
    assert_int_equal(c.m.basic_return.reply_code, 312);
    assert_true(bytes_equal_text(c.m.basic_return.reply_text, "NO_ROUTE"));
    assert_true(bytes_equal_text(c.m.basic_return.routing_key, "nobody"));
    peer_hear_content(&c, 1, "back");
    peer_hear(&c, 1, METHOD_basic_ack);
    assert_int_equal(c.m.basic_ack.delivery_tag, 1);
    peer_publish(&c, 1, "", "nobody", "dropped");
    peer_hear(&c, 1, METHOD_basic_ack);
    assert_int_equal(c.m.basic_ack.delivery_tag, 2);
    peer_close(&c);
}

/* ---- confirms ---- */

static void test_confirms_are_told_together_up_to_the_first_that_is_open(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    struct buf b;
    w->broker->holds = true;
    peer_start(w, &c);
    send_empty(&c, METHOD_confirm_select, METHOD_confirm_select_ok);
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 200; i++)
        message_put(&b, 1, "", "q", "x");
    peer_send_bytes(&c, b.data, b.len);
    buf_release(&b);
    stub_wait_held(w->broker, 200);
    stub_confirm(w->broker, false, true);
    uint64_t told = 0;
    while (told < 200) {
        peer_hear(&c, 1, METHOD_basic_ack);
        assert_true(c.m.basic_ack.delivery_tag > told);
        assert_int_equal(c.m.basic_ack.multiple, c.m.basic_ack.delivery_tag > told + 1);
        told = c.m.basic_ack.delivery_tag;
    }
    peer_close(&c);
}

static void test_confirms_ahead_of_an_open_one_do_not_wait_for_it(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    bool told[101] = {false};
    w->broker->holds = true;
    peer_start(w, &c);
    send_empty(&c, METHOD_confirm_select, METHOD_confirm_select_ok);
    for (int i = 0; i < 100; i++)
        peer_publish(&c, 1, "", "q", "x");
    stub_wait_held(w->broker, 100);
    stub_confirm(w->broker, true, true);
    for (int count = 0; count < 100;) {
        peer_hear(&c, 1, METHOD_basic_ack);
        uint64_t tag = c.m.basic_ack.delivery_tag;
        for (uint64_t n = c.m.basic_ack.multiple ? 1 : tag; n <= tag; n++) {
            count += !told[n];
            told[n] = true;
        }
    }
    peer_close(&c);
}

/* Clients that publish each message on a channel of its own, to know its confirm, find them in that order. */
static void test_what_came_first_is_stored_first_whatever_its_channel(void **state)
{
    struct peer c = {0};
    struct buf b;
    uint8_t header[14] = {0, 60};
    struct method m = {.id = METHOD_basic_publish};
    peer_start(*state, &c);
    for (uint16_t i = 1; i <= 4; i++) {
        if (i > 1)
            peer_open_channel(&c, i);
        peer_send(&c, i, &(struct method){.id = METHOD_confirm_select});
        peer_hear(&c, i, METHOD_confirm_select_ok);
    }
    m.basic_publish.exchange = beck_str("");
    m.basic_publish.routing_key = beck_str("q");
    put_u64(header + 4, 2);
    buf_init(&b, 4096);
    message_put(&b, 1, "", "q", "first");
    message_put(&b, 2, "", "q", "second");
    method_put(&b, 3, &m);
    frame_put(&b, FRAME_HEADER, 3, header, sizeof header);
    frame_put(&b, FRAME_BODY, 3, "i", 1);
    frame_put(&b, FRAME_BODY, 3, "n", 1);
    message_put(&b, 4, "", "q", "last");
    peer_send_bytes(&c, b.data, b.len);
    buf_release(&b);
    for (uint16_t i = 1; i <= 4; i++)
        peer_hear(&c, i, METHOD_basic_ack);
    peer_close(&c);
}

static void test_what_could_not_be_stored_is_nacked(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    w->broker->holds = true;
    peer_start(w, &c);
    send_empty(&c, METHOD_confirm_select, METHOD_confirm_select_ok);
    peer_publish(&c, 1, "", "q", "x");
    stub_wait_held(w->broker, 1);
    stub_confirm(w->broker, false, false);
    peer_hear(&c, 1, METHOD_basic_nack);
    assert_int_equal(c.m.basic_nack.delivery_tag, 1);
    assert_int_equal(c.m.basic_nack.requeue, 0);
    peer_publish(&c, 1, "", "q", "x");
    stub_wait_held(w->broker, 1);
    stub_confirm(w->broker, false, true);
    peer_hear(&c, 1, METHOD_basic_ack);
    assert_int_equal(c.m.basic_ack.delivery_tag, 2);
    peer_close(&c);
}

static void test_a_client_that_publishes_more_than_is_stored_is_not_read(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    peer_start(w, &c);
    peer_declare(&c, 1, "q");
    send_empty(&c, METHOD_confirm_select, METHOD_confirm_select_ok);
    stub_set_waiting(w->broker, 9 << 20);
    peer_publish(&c, 1, "", "q", "first");
    peer_hear(&c, 1, METHOD_basic_ack);
    peer_publish(&c, 1, "", "q", "second");
    assert_int_equal(stub_ready(w->broker, "q"), 1);
    stub_set_waiting(w->broker, 0);
    peer_hear(&c, 1, METHOD_basic_ack);
    assert_int_equal(stub_ready(w->broker, "q"), 2);
    peer_close(&c);
}

/* ---- delivering ---- */

static void test_who_publishes_waits_while_there_is_an_alarm(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {.announces_blocked = true}, deaf = {0}, consumer = {.announces_blocked = true};
    struct method declare = {.id = METHOD_queue_declare};
    peer_start(w, &c);
    peer_start(w, &deaf);
    peer_start(w, &consumer);
    peer_declare(&c, 1, "q");
    amqp_set_alarms(w->amqp, AMQP_ALARM_DISK);
    peer_sync(&c, 1); /* as long as it does not publish */
    peer_publish(&c, 1, "", "q", "a");
    peer_hear(&c, 0, METHOD_connection_blocked);
    assert_true(bytes_equal_text(c.m.connection_blocked.reason, "low on disk"));
    peer_publish(&c, 1, "", "q", "b");
    peer_publish(&deaf, 1, "", "q", "c");
    peer_publish(&deaf, 1, "", "q", "d");
    /* Whoever consumes goes on. */
    peer_consume(&consumer, 1, "q", "t", true);
    peer_hear(&consumer, 1, METHOD_basic_consume_ok);
    hear_message(&consumer, 1, false, "a");
    hear_message(&consumer, 2, false, "c");
    peer_sync(&consumer, 1);
    assert_int_equal(stub_ready(w->broker, "q"), 0);
    amqp_set_alarms(w->amqp, AMQP_ALARM_MEMORY | AMQP_ALARM_DISK);
    amqp_set_alarms(w->amqp, AMQP_ALARM_MEMORY);
    amqp_set_alarms(w->amqp, 0);
    peer_hear(&c, 0, METHOD_connection_unblocked);
    peer_sync(&c, 1);
    declare.queue_declare.queue = beck_str("other");
    peer_send(&deaf, 1, &declare); /* the next thing that it hears */
    peer_hear(&deaf, 1, METHOD_queue_declare_ok);
    for (uint64_t tag = 3; tag <= 4; tag++) {
        peer_hear(&consumer, 1, METHOD_basic_deliver);
        assert_int_equal(consumer.m.basic_deliver.delivery_tag, tag);
        assert_true(peer_read(&consumer) && peer_read(&consumer));
    }
    amqp_set_alarms(w->amqp, AMQP_ALARM_MEMORY | AMQP_ALARM_DISK);
    peer_publish(&c, 1, "", "q", "e");
    peer_hear(&c, 0, METHOD_connection_blocked);
    assert_true(bytes_equal_text(c.m.connection_blocked.reason, "low on memory & disk"));
    peer_close(&c);
    peer_close(&deaf);
    peer_close(&consumer);
}

static void test_what_is_published_later_is_delivered(void **state)
{
    struct peer c = {0}, publisher = {0};
    peer_start(*state, &c);
    peer_declare(&c, 1, "q");
    peer_consume(&c, 1, "", "", true);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    assert_int_equal(c.m.basic_consume_ok.consumer_tag.len, 31);
    assert_memory_equal(c.m.basic_consume_ok.consumer_tag.data, "amq.ctag-", 9);
    peer_start(*state, &publisher);
    for (uint64_t i = 1; i <= 100; i++) {
        peer_publish(&publisher, 1, "", "q", "later");
        hear_message(&c, i, false, "later");
    }
    peer_close(&publisher);
    peer_close(&c);
}

static void qos(struct peer *c, uint32_t count, bool global)
{
    struct method m = {.id = METHOD_basic_qos};
    m.basic_qos.prefetch_count = count;
    m.basic_qos.global = global;
    peer_send(c, 1, &m);
    peer_hear(c, 1, METHOD_basic_qos_ok);
}

static void test_no_more_is_delivered_than_may_be_unacked(void **state)
{
    struct peer c = {0};
    peer_start(*state, &c);
    peer_declare(&c, 1, "q");
    for (int i = 0; i < 10; i++)
        peer_publish(&c, 1, "", "q", "m");
    qos(&c, 2, false);
    peer_consume(&c, 1, "q", "a", false);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    hear_message(&c, 1, false, "m");
    hear_message(&c, 2, false, "m");
    peer_sync(&c, 1);
    peer_ack(&c, 1, 1, false);
    hear_message(&c, 3, false, "m");
    peer_sync(&c, 1);
    peer_ack(&c, 1, 3, true);
    hear_message(&c, 4, false, "m");
    hear_message(&c, 5, false, "m");
    peer_sync(&c, 1);
    peer_close(&c);
}

static void test_a_limit_of_the_channel_is_for_all_its_consumers(void **state)
{
    struct peer c = {0};
    peer_start(*state, &c);
    peer_declare(&c, 1, "q");
    qos(&c, 3, true);
    peer_consume(&c, 1, "q", "a", false);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    peer_consume(&c, 1, "q", "b", false);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    for (int i = 0; i < 10; i++)
        peer_publish(&c, 1, "", "q", "m");
    for (uint64_t i = 1; i <= 3; i++)
        hear_message(&c, i, false, "m");
    peer_sync(&c, 1);
    peer_ack(&c, 1, 2, false);
    hear_message(&c, 4, false, "m");
    peer_sync(&c, 1);
    qos(&c, 5, true);
    hear_message(&c, 5, false, "m");
    hear_message(&c, 6, false, "m");
    peer_sync(&c, 1);
    peer_close(&c);
}

static void test_a_cancelled_consumer_keeps_what_it_has(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    struct method cancel = {.id = METHOD_basic_cancel};
    peer_start(w, &c);
    peer_declare(&c, 1, "q");
    peer_publish(&c, 1, "", "q", "m");
    peer_consume(&c, 1, "q", "t", false);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    hear_message(&c, 1, false, "m");
    cancel.basic_cancel.consumer_tag = beck_str("t");
    peer_send(&c, 1, &cancel);
    peer_hear(&c, 1, METHOD_basic_cancel_ok);
    peer_send(&c, 1, &cancel); /* there is none any more: that is fine */
    peer_hear(&c, 1, METHOD_basic_cancel_ok);
    peer_publish(&c, 1, "", "q", "n");
    peer_sync(&c, 1);
    assert_int_equal(stub_ready(w->broker, "q"), 1);
    peer_ack(&c, 1, 1, false);
    peer_sync(&c, 1);
    assert_int_equal(stub_ready(w->broker, "q"), 1);
    peer_close(&c);
}

static void test_a_consumer_whose_queue_goes_is_told_if_it_listens(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {.announces_cancel = true}, deaf = {0};
    peer_start(w, &c);
    peer_start(w, &deaf);
    peer_declare(&c, 1, "q");
    peer_consume(&c, 1, "q", "t", false);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    peer_consume(&deaf, 1, "q", "t", false);
    peer_hear(&deaf, 1, METHOD_basic_consume_ok);
    stub_delete(w->broker, "q");
    peer_hear(&c, 1, METHOD_basic_cancel);
    assert_true(bytes_equal_text(c.m.basic_cancel.consumer_tag, "t"));
    assert_true(c.m.basic_cancel.nowait);
    peer_declare(&deaf, 1, "q");
    peer_declare(&c, 1, "q");
    peer_consume(&c, 1, "q", "t", false); /* the tag is free again */
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    peer_close(&deaf);
    peer_close(&c);
}

static void test_whoever_does_not_read_is_delivered_no_more_than_fits(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0}, publisher = {0};
    char *text = long_text(50000);
    peer_start(w, &c);
    peer_declare(&c, 1, "q");
    peer_consume(&c, 1, "q", "t", true);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    peer_start(w, &publisher);
    for (int i = 0; i < 400; i++)
        peer_publish(&publisher, 1, "", "q", text);
    peer_sync(&publisher, 1);
    assert_true(stub_ready(w->broker, "q") > 100);
    for (uint64_t i = 1; i <= 400; i++)
        hear_message(&c, i, false, text);
    free(text);
    peer_close(&publisher);
    peer_close(&c);
}

/* ---- answers ---- */

static void send_nack(struct peer *c, uint64_t tag, bool multiple, bool requeue)
{
    struct method m = {.id = METHOD_basic_nack};
    m.basic_nack.delivery_tag = tag;
    m.basic_nack.multiple = multiple;
    m.basic_nack.requeue = requeue;
    peer_send(c, 1, &m);
}

static void test_what_is_requeued_comes_again_and_says_so(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    struct method reject = {.id = METHOD_basic_reject}, recover = {.id = METHOD_basic_recover};
    peer_start(w, &c);
    peer_declare(&c, 1, "q");
    peer_publish(&c, 1, "", "q", "a");
    peer_publish(&c, 1, "", "q", "b");
    peer_consume(&c, 1, "q", "t", false);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    hear_message(&c, 1, false, "a");
    hear_message(&c, 2, false, "b");
    send_nack(&c, 2, true, true);
    hear_message(&c, 3, true, "a");
    hear_message(&c, 4, true, "b");
    reject.basic_reject.delivery_tag = 3;
    reject.basic_reject.requeue = 1;
    peer_send(&c, 1, &reject);
    hear_message(&c, 5, true, "a");
    recover.basic_recover.requeue = 1;
    peer_send(&c, 1, &recover);
    peer_hear(&c, 1, METHOD_basic_recover_ok);
    hear_message(&c, 6, true, "a");
    hear_message(&c, 7, true, "b");
    send_nack(&c, 0, true, false);
    peer_sync(&c, 1);
    assert_int_equal(stub_ready(w->broker, "q"), 0);
    peer_close(&c);
}

static void test_an_answer_counts_once(void **state)
{
    struct peer c = {0};
    peer_start(*state, &c);
    peer_declare(&c, 1, "q");
    peer_publish(&c, 1, "", "q", "a");
    peer_consume(&c, 1, "q", "t", false);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    hear_message(&c, 1, false, "a");
    peer_ack(&c, 1, 1, false);
    peer_ack(&c, 1, 1, false);
    peer_hear_close(&c, 1, REPLY_PRECONDITION_FAILED,
                    "PRECONDITION_FAILED - unknown delivery tag 1");
    peer_close(&c);
}

static void test_many_answers_in_any_order(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    struct buf b;
    peer_start(w, &c);
    peer_declare(&c, 1, "q");
    buf_init(&b, 16 << 20);
    for (int i = 0; i < 3000; i++)
        message_put(&b, 1, "", "q", "m");
    peer_send_bytes(&c, b.data, b.len);
    peer_consume(&c, 1, "q", "t", false);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    for (uint64_t i = 1; i <= 3000; i++)
        hear_message(&c, i, false, "m");
    buf_clear(&b);
    for (uint64_t i = 2; i <= 3000; i += 2) { /* from the back, every second */
        struct method m = {.id = METHOD_basic_ack};
        m.basic_ack.delivery_tag = 3002 - i;
        method_put(&b, 1, &m);
    }
    struct method all = {.id = METHOD_basic_ack};
    all.basic_ack.delivery_tag = 1501;
    all.basic_ack.multiple = 1;
    method_put(&b, 1, &all);
    peer_send_bytes(&c, b.data, b.len);
    buf_release(&b);
    peer_sync(&c, 1);
    peer_close(&c);
    stub_wait_sessions(w->broker, 0);
    assert_int_equal(stub_ready(w->broker, "q"), 749);
}

static void get(struct peer *c, bool no_ack, const char *body, uint64_t tag, uint32_t left)
{
    struct method m = {.id = METHOD_basic_get};
    m.basic_get.queue = beck_str("q");
    m.basic_get.no_ack = no_ack;
    peer_send(c, 1, &m);
    peer_hear(c, 1, METHOD_basic_get_ok);
    assert_int_equal(c->m.basic_get_ok.delivery_tag, tag);
    assert_int_equal(c->m.basic_get_ok.message_count, left);
    peer_hear_content(c, 1, body);
}

static void test_messages_are_got_one_by_one(void **state)
{
    struct peer c = {0};
    struct method m = {.id = METHOD_basic_get};
    peer_start(*state, &c);
    peer_declare(&c, 1, "q");
    for (int i = 0; i < 3; i++)
        peer_publish(&c, 1, "", "q", "m");
    get(&c, false, "m", 1, 2);
    get(&c, true, "m", 2, 1);
    get(&c, false, "m", 3, 0);
    m.basic_get.queue = beck_str("q");
    peer_send(&c, 1, &m);
    peer_hear(&c, 1, METHOD_basic_get_empty);
    peer_ack(&c, 1, 3, true);
    peer_ack(&c, 1, 2, false);
    peer_hear_close(&c, 1, REPLY_PRECONDITION_FAILED,
                    "PRECONDITION_FAILED - unknown delivery tag 2");
    assert_int_equal(((struct amqp_world *)*state)->broker->forgotten, 2);
    peer_close(&c);
}

static void test_no_more_is_got_than_may_be_unacked(void **state)
{
    struct peer c = {0};
    struct method m = {.id = METHOD_basic_get};
    peer_start(*state, &c);
    peer_declare(&c, 1, "q");
    for (int i = 0; i < 4; i++)
        peer_publish(&c, 1, "", "q", "m");
    get(&c, false, "m", 1, 3);
    get(&c, false, "m", 2, 2);
    get(&c, true, "m", 3, 1); /* it needs no answer */
    m.basic_get.queue = beck_str("q");
    peer_send(&c, 1, &m);
    peer_hear_close(&c, 0, REPLY_RESOURCE_ERROR,
                    "RESOURCE_ERROR - 2 deliveries of this connection are not acknowledged");
    peer_close(&c);
}

static int open_hasty_world(void **state)
{
    struct amqp_world *w = calloc(1, sizeof *w);
    w->settings.consumer_timeout_ms = 60;
    amqp_world_open(w);
    *state = w;
    return 0;
}

static void hear_timeout(struct peer *c, const char *ms)
{
    char text[200];
    snprintf(text, sizeof text,
             "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value "
             "used: %s ms. This timeout value can be configured, see consumers doc guide to learn "
             "more",
             ms);
    peer_hear_close(c, 1, REPLY_PRECONDITION_FAILED, text);
}

static void test_a_channel_that_does_not_answer_is_closed(void **state)
{
    static const char *const queues[] = {"q", "hasty"}, *const limits[] = {"60", "100"};
    struct amqp_world *w = *state;
    for (int i = 0; i < 2; i++) {
        struct peer c = {0}, other = {0};
        peer_start(w, &c);
        peer_declare(&c, 1, queues[i]);
        peer_publish(&c, 1, "", queues[i], "m");
        peer_consume(&c, 1, queues[i], "t", false);
        peer_hear(&c, 1, METHOD_basic_consume_ok);
        hear_message(&c, 1, false, "m");
        hear_timeout(&c, limits[i]);
        peer_start(w, &other); /* what it held is back */
        peer_consume(&other, 1, queues[i], "t", true);
        peer_hear(&other, 1, METHOD_basic_consume_ok);
        hear_message(&other, 1, true, "m");
        peer_close(&c);
        peer_close(&other);
    }
}

static void test_a_consumer_may_have_its_own_time_to_answer(void **state)
{
    struct amqp_world *w = *state;
    struct peer patient = {0}, c = {0};
    struct method m = {.id = METHOD_basic_consume};
    struct buf table;
    buf_init(&table, 1000);
    table_put_int(&table, "x-consumer-timeout", 3600000);
    m.basic_consume.queue = beck_str("q");
    m.basic_consume.consumer_tag = beck_str("t");
    m.basic_consume.arguments = buf_bytes(&table);
    peer_start(w, &patient);
    peer_declare(&patient, 1, "q");
    peer_publish(&patient, 1, "", "q", "m");
    peer_send(&patient, 1, &m);
    peer_hear(&patient, 1, METHOD_basic_consume_ok);
    hear_message(&patient, 1, false, "m");
    peer_start(w, &c); /* its time is over long after the other's would be */
    peer_declare(&c, 1, "hasty");
    peer_publish(&c, 1, "", "hasty", "m");
    peer_consume(&c, 1, "hasty", "t", false);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    hear_message(&c, 1, false, "m");
    hear_timeout(&c, "100");
    peer_ack(&patient, 1, 1, false);
    peer_sync(&patient, 1);
    buf_release(&table);
    peer_close(&patient);
    peer_close(&c);
}

static void consume_with_arguments(struct peer *c, const char *tag, size_t size)
{
    struct method m = {.id = METHOD_basic_consume};
    struct buf table;
    char text[1000] = "";
    memset(text, 'x', size);
    buf_init(&table, 2000);
    table_put_text(&table, "x", bytes_of(text, size));
    m.basic_consume.queue = beck_str("q");
    m.basic_consume.consumer_tag = beck_str(tag);
    m.basic_consume.arguments = buf_bytes(&table);
    peer_send(c, 1, &m);
    buf_release(&table);
}

static void test_arguments_of_consumers_take_no_more_memory_than_they_may(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    for (int i = 0; i < 3; i++) { /* what they took is free again */
        peer_start(w, &c);
        peer_declare(&c, 1, "q");
        consume_with_arguments(&c, "a", 600);
        peer_hear(&c, 1, METHOD_basic_consume_ok);
        consume_with_arguments(&c, "b", 600);
        peer_hear_close(&c, 0, REPLY_RESOURCE_ERROR,
                        "RESOURCE_ERROR - arguments of consumers take too much memory");
        peer_close(&c);
        stub_wait_sessions(w->broker, 0);
    }
}

/* ---- transactions ---- */

static void test_a_transaction_counts_when_it_is_committed(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    peer_start(w, &c);
    peer_declare(&c, 1, "q");
    send_empty(&c, METHOD_tx_select, METHOD_tx_select_ok);
    peer_publish(&c, 1, "", "q", "a");
    peer_publish(&c, 1, "", "q", "b");
    peer_sync(&c, 1);
    assert_int_equal(stub_ready(w->broker, "q"), 0);
    send_empty(&c, METHOD_tx_commit, METHOD_tx_commit_ok);
    assert_int_equal(stub_ready(w->broker, "q"), 2);
    peer_publish(&c, 1, "", "q", "c");
    send_empty(&c, METHOD_tx_rollback, METHOD_tx_rollback_ok);
    send_empty(&c, METHOD_tx_commit, METHOD_tx_commit_ok);
    assert_int_equal(stub_ready(w->broker, "q"), 2);
    peer_close(&c);
}

static void publish_mandatory(struct peer *c, const char *body)
{
    struct buf b;
    struct method m = {.id = METHOD_basic_publish};
    uint8_t header[14] = {0, 60};
    buf_init(&b, 1 << 20);
    m.basic_publish.exchange = beck_str("nowhere");
    m.basic_publish.routing_key = beck_str("k");
    m.basic_publish.mandatory = 1;
    method_put(&b, 1, &m);
    put_u64(header + 4, strlen(body));
    frame_put(&b, FRAME_HEADER, 1, header, sizeof header);
    frame_put(&b, FRAME_BODY, 1, body, strlen(body));
    peer_send_bytes(c, b.data, b.len);
    buf_release(&b);
}

static void test_a_commit_returns_no_more_at_once_than_is_read(void **state)
{
    enum { MESSAGES = 400 };
    struct amqp_world *w = *state;
    struct peer c = {0};
    char *text = long_text(50000);
    peer_start(w, &c);
    peer_declare(&c, 1, "q");
    send_empty(&c, METHOD_tx_select, METHOD_tx_select_ok);
    for (int i = 0; i < MESSAGES; i++) {
        publish_mandatory(&c, text);
        peer_publish(&c, 1, "", "q", "x");
    }
    peer_send(&c, 1, &(struct method){.id = METHOD_tx_commit});
    for (int i = 0; i < MESSAGES; i++) {
        peer_hear(&c, 1, METHOD_basic_return);
        assert_true(i > 0 || stub_ready(w->broker, "q") < MESSAGES);
        peer_hear_content(&c, 1, text);
    }
    peer_hear(&c, 1, METHOD_tx_commit_ok);
    assert_int_equal(stub_ready(w->broker, "q"), MESSAGES);
    free(text);
    peer_close(&c);
}

static void test_a_commit_that_waits_for_its_reader_can_be_ended(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    char *text = long_text(50000);
    peer_start(w, &c);
    send_empty(&c, METHOD_tx_select, METHOD_tx_select_ok);
    for (int i = 0; i < 400; i++)
        publish_mandatory(&c, text);
    peer_send(&c, 1, &(struct method){.id = METHOD_tx_commit});
    peer_hear(&c, 1, METHOD_basic_return);
    assert_int_equal(amqp_close_connections(w->amqp, "guest", "/", "enough"), 1);
    while (c.m.id != METHOD_connection_close)
        assert_true(peer_read(&c));
    peer_close(&c);
    free(text);
    stub_wait_sessions(w->broker, 0);
}

static void test_answers_are_part_of_transactions(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    peer_start(w, &c);
    peer_declare(&c, 1, "q");
    for (int i = 0; i < 4; i++)
        peer_publish(&c, 1, "", "q", "m");
    send_empty(&c, METHOD_tx_select, METHOD_tx_select_ok);
    peer_consume(&c, 1, "q", "t", false);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    for (uint64_t i = 1; i <= 4; i++)
        hear_message(&c, i, false, "m");
    peer_ack(&c, 1, 3, false);
    peer_ack(&c, 1, 1, false);
    send_empty(&c, METHOD_tx_rollback, METHOD_tx_rollback_ok);
    peer_ack(&c, 1, 2, true); /* as if nothing had happened */
    send_empty(&c, METHOD_tx_commit, METHOD_tx_commit_ok);
    peer_ack(&c, 1, 3, false); /* not committed */
    peer_sync(&c, 1);
    peer_close(&c);
    stub_wait_sessions(w->broker, 0);
    assert_int_equal(stub_ready(w->broker, "q"), 2);
}

static void test_commit_is_answered_when_all_is_stored(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    w->broker->holds = true;
    w->broker->later = true;
    peer_start(w, &c);
    send_empty(&c, METHOD_tx_select, METHOD_tx_select_ok);
    for (int i = 0; i < 3; i++)
        peer_publish(&c, 1, "", "q", "m");
    peer_send(&c, 1, &(struct method){.id = METHOD_tx_commit});
    peer_send(&c, 1, &(struct method){.id = METHOD_basic_qos});
    stub_wait_held(w->broker, 3);
    stub_confirm(w->broker, false, true);
    peer_hear(&c, 1, METHOD_tx_commit_ok);
    peer_hear(&c, 1, METHOD_basic_qos_ok);
    peer_publish(&c, 1, "", "q", "m");
    peer_send(&c, 1, &(struct method){.id = METHOD_tx_commit});
    stub_wait_held(w->broker, 1);
    stub_confirm(w->broker, false, false);
    peer_hear_close(&c, 1, REPLY_PRECONDITION_FAILED,
                    "PRECONDITION_FAILED - partial tx completion");
    peer_close(&c);
}

static void test_a_commit_that_is_refused_ends_its_channel_only(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    peer_start(w, &c);
    send_empty(&c, METHOD_tx_select, METHOD_tx_select_ok);
    peer_publish(&c, 1, "unknown", "q", "m");
    peer_send(&c, 1, &(struct method){.id = METHOD_tx_commit});
    peer_hear_close(&c, 1, REPLY_NOT_FOUND, "NOT_FOUND - no exchange 'unknown' in vhost '/'");
    peer_send(&c, 1, &(struct method){.id = METHOD_channel_close_ok});
    peer_open_channel(&c, 2);
    peer_sync(&c, 2);
    peer_close(&c);
}

static void test_a_connection_that_waits_for_its_commit_can_be_closed(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    w->broker->holds = true;
    peer_start(w, &c);
    send_empty(&c, METHOD_tx_select, METHOD_tx_select_ok);
    peer_publish(&c, 1, "", "q", "m");
    peer_send(&c, 1, &(struct method){.id = METHOD_tx_commit});
    stub_wait_held(w->broker, 1);
    assert_int_equal(amqp_close_connections(w->amqp, NULL, NULL, "enough"), 1);
    stub_confirm(w->broker, false, true);
    peer_hear(&c, 1, METHOD_tx_commit_ok);
    peer_hear_close(&c, 0, REPLY_CONNECTION_FORCED, "CONNECTION_FORCED - enough");
    peer_close(&c);
}

static void test_clients_may_go_at_any_time(void **state)
{
    struct amqp_world *w = *state;
    for (int i = 0; i < 12; i++) {
        struct peer c = {0};
        w->broker->holds = i % 2;
        w->broker->later = i % 3 == 0;
        peer_start(w, &c);
        peer_declare(&c, 1, "q");
        send_empty(&c, i % 2 ? METHOD_tx_select : METHOD_confirm_select,
                   i % 2 ? METHOD_tx_select_ok : METHOD_confirm_select_ok);
        peer_consume(&c, 1, "q", "t", i % 4 == 0);
        for (int j = 0; j < 50; j++)
            peer_publish(&c, 1, "", "q", "m");
        if (i % 2)
            peer_send(&c, 1, &(struct method){.id = METHOD_tx_commit});
        if (i % 3 == 1)
            peer_hear(&c, 1, METHOD_basic_consume_ok);
        peer_close(&c);
    }
    w->broker->holds = false;
    stub_wait_sessions(w->broker, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bodies_of_every_size_come_as_they_went),
        TEST(frames_of_several_channels_may_be_mixed),
        TEST(what_has_to_be_prepared_is_published_behind_it_in_order),
        TEST(what_goes_nowhere_is_returned_before_it_is_confirmed),
        TEST(confirms_are_told_together_up_to_the_first_that_is_open),
        TEST(confirms_ahead_of_an_open_one_do_not_wait_for_it),
        TEST(what_came_first_is_stored_first_whatever_its_channel),
        TEST(what_could_not_be_stored_is_nacked),
        TEST(a_client_that_publishes_more_than_is_stored_is_not_read),
        TEST(who_publishes_waits_while_there_is_an_alarm),
        TEST(what_is_published_later_is_delivered),
        TEST(no_more_is_delivered_than_may_be_unacked),
        TEST(a_limit_of_the_channel_is_for_all_its_consumers),
        TEST(a_cancelled_consumer_keeps_what_it_has),
        TEST(a_consumer_whose_queue_goes_is_told_if_it_listens),
        TEST(whoever_does_not_read_is_delivered_no_more_than_fits),
        TEST(what_is_requeued_comes_again_and_says_so),
        TEST(an_answer_counts_once),
        TEST(many_answers_in_any_order),
        TEST(messages_are_got_one_by_one),
        cmocka_unit_test_setup_teardown(test_no_more_is_got_than_may_be_unacked, open_narrow_world,
                                        close_world),
        cmocka_unit_test_setup_teardown(
            test_arguments_of_consumers_take_no_more_memory_than_they_may, open_narrow_world,
            close_world),
        cmocka_unit_test_setup_teardown(test_a_channel_that_does_not_answer_is_closed,
                                        open_hasty_world, close_world),
        cmocka_unit_test_setup_teardown(test_a_consumer_may_have_its_own_time_to_answer,
                                        open_hasty_world, close_world),
        TEST(a_transaction_counts_when_it_is_committed),
        TEST(a_commit_returns_no_more_at_once_than_is_read),
        TEST(a_commit_that_waits_for_its_reader_can_be_ended),
        TEST(answers_are_part_of_transactions),
        TEST(commit_is_answered_when_all_is_stored),
        TEST(a_commit_that_is_refused_ends_its_channel_only),
        TEST(a_connection_that_waits_for_its_commit_can_be_closed),
        TEST(clients_may_go_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
