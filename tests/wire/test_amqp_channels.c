/* Channels: codes and scopes of errors, and what follows them. */
#include "amqp_world.h"

#include <stdio.h>
#include <stdlib.h>

static int open_world(void **state)
{
    struct amqp_world *w = calloc(1, sizeof *w);
    w->settings.channel_max = 100;
    w->settings.message_max = 1 << 20;
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

static void send_channel_open(struct peer *c, uint16_t number)
{
    struct method m = {.id = METHOD_channel_open};
    m.channel_open.out_of_band = beck_str("");
    peer_send(c, number, &m);
}

/* ---- what closes the connection ---- */

static void test_a_channel_must_be_opened_and_only_once(void **state)
{
    struct peer c = {0};
    struct method m = {.id = METHOD_basic_qos};
    peer_open(*state, &c);
    peer_send(&c, 7, &m);
    peer_hear_close(&c, 0, REPLY_CHANNEL_ERROR, "CHANNEL_ERROR - expected 'channel.open'");
    assert_int_equal(c.m.connection_close.class_id, 60);
    assert_int_equal(c.m.connection_close.method_id, 10);
    peer_close(&c);
    peer_start(*state, &c);
    send_channel_open(&c, 1);
    peer_hear_close(&c, 0, REPLY_CHANNEL_ERROR, "CHANNEL_ERROR - second 'channel.open' seen");
    peer_close(&c);
}

static void test_channels_are_counted_whatever_their_numbers(void **state)
{
    struct peer c = {0};
    peer_open(*state, &c);
    for (uint16_t i = 0; i < 100; i++)
        peer_open_channel(&c, (uint16_t)(65535 - 7 * i));
    send_channel_open(&c, 3);
    peer_hear_close(&c, 0, REPLY_NOT_ALLOWED,
                    "NOT_ALLOWED - number of channels opened (100) has reached the negotiated "
                    "channel_max (100)");
    peer_close(&c);
}

static void test_a_user_has_so_many_channels_over_all_connections(void **state)
{
    struct amqp_world *w = *state;
    struct peer a = {0}, b = {0};
    w->broker->channels_max = 3;
    peer_open(w, &a);
    peer_open(w, &b);
    peer_open_channel(&a, 1);
    peer_open_channel(&a, 2);
    peer_open_channel(&b, 1);
    send_channel_open(&b, 2);
    peer_hear_close(&b, 0, REPLY_NOT_ALLOWED,
                    "NOT_ALLOWED - number of channels opened for user 'guest' has reached the "
                    "maximum allowed user limit of (3)");
    peer_close(&b);
    stub_wait_sessions(w->broker, 1);
    peer_open_channel(&a, 3);
    peer_close(&a);
    w->broker->channels_max = 0;
}

static void test_frames_that_are_broken_end_the_connection(void **state)
{
    static const uint8_t no_end[] = {1, 0, 1, 0, 0, 0, 4, 0, 20, 0, 41, 0xcd};
    uint8_t head[FRAME_HEAD];
    struct peer c = {0};
    peer_start(*state, &c);
    peer_send_bytes(&c, no_end, sizeof no_end);
    peer_hear_close(&c, 0, REPLY_FRAME_ERROR,
                    "FRAME_ERROR - type 1, channel 1: {invalid_frame_end_marker,205}");
    peer_close(&c);
    peer_start(*state, &c);
    frame_begin(head, FRAME_HEADER, 1, 131073);
    peer_send_bytes(&c, head, sizeof head);
    peer_hear_close(&c, 0, REPLY_FRAME_ERROR,
                    "FRAME_ERROR - type 2, channel 1: {frame_too_large,131073,131064}");
    peer_close(&c);
    peer_start(*state, &c);
    peer_send_frame(&c, 5, 1, "x", 1);
    peer_hear_close(&c, 0, REPLY_FRAME_ERROR, "FRAME_ERROR - type 5, channel 1: unknown_frame");
    peer_close(&c);
    peer_start(*state, &c);
    peer_send_frame(&c, FRAME_METHOD, 1, "\0\74\0\36\5a", 6);
    peer_hear_close(&c, 0, REPLY_FRAME_ERROR, "FRAME_ERROR - type 1, channel 1: malformed method");
    assert_int_equal(c.m.connection_close.method_id, 30);
    peer_close(&c);
}

static void test_methods_that_are_none_for_the_server(void **state)
{
    struct peer c = {0};
    struct method deliver = {.id = METHOD_basic_deliver}, tune = {.id = METHOD_connection_open};
    peer_start(*state, &c);
    peer_send_frame(&c, FRAME_METHOD, 1, "\0\74\0\51", 4);
    peer_hear_close(&c, 0, REPLY_COMMAND_INVALID, "COMMAND_INVALID - unimplemented method");
    peer_close(&c);
    peer_start(*state, &c);
    peer_send(&c, 1, &deliver);
    peer_hear_close(&c, 0, REPLY_COMMAND_INVALID, "COMMAND_INVALID - unimplemented method");
    peer_close(&c);
    peer_start(*state, &c);
    peer_send(&c, 0, &tune);
    peer_hear_close(&c, 0, REPLY_CHANNEL_ERROR,
                    "CHANNEL_ERROR - unexpected method in connection state running");
    peer_close(&c);
}

static void send_publish(struct peer *c, uint16_t channel, const char *exchange, bool immediate)
{
    struct method m = {.id = METHOD_basic_publish};
    m.basic_publish.exchange = beck_str(exchange);
    m.basic_publish.routing_key = beck_str("k");
    m.basic_publish.immediate = immediate;
    peer_send(c, channel, &m);
}

static void send_header(struct peer *c, uint16_t channel, uint16_t class, uint64_t size)
{
    uint8_t header[14] = {0};
    put_u16(header, class);
    put_u64(header + 4, size);
    peer_send_frame(c, FRAME_HEADER, channel, header, sizeof header);
}

static void test_content_that_is_not_due(void **state)
{
    struct peer c = {0};
    peer_start(*state, &c);
    send_header(&c, 1, 60, 1);
    peer_hear_close(&c, 0, REPLY_UNEXPECTED_FRAME,
                    "UNEXPECTED_FRAME - expected method frame, got non method frame instead");
    peer_close(&c);
    peer_start(*state, &c);
    peer_send_frame(&c, FRAME_BODY, 1, "x", 1);
    peer_hear_close(&c, 0, REPLY_UNEXPECTED_FRAME,
                    "UNEXPECTED_FRAME - expected method frame, got non method frame instead");
    peer_close(&c);
    peer_start(*state, &c);
    send_publish(&c, 1, "", false);
    peer_send_frame(&c, FRAME_BODY, 1, "x", 1);
    peer_hear_close(&c, 0, REPLY_UNEXPECTED_FRAME,
                    "UNEXPECTED_FRAME - expected content header for class 60, got non content "
                    "header frame instead");
    peer_close(&c);
    peer_start(*state, &c);
    send_publish(&c, 1, "", false);
    send_header(&c, 1, 50, 1);
    peer_hear_close(&c, 0, REPLY_UNEXPECTED_FRAME,
                    "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 "
                    "instead");
    peer_close(&c);
    peer_start(*state, &c);
    send_publish(&c, 1, "", false);
    send_header(&c, 1, 60, 2);
    send_publish(&c, 1, "", false);
    peer_hear_close(&c, 0, REPLY_UNEXPECTED_FRAME,
                    "UNEXPECTED_FRAME - expected content body, got non content body frame instead");
    peer_close(&c);
}

static void test_a_body_that_is_longer_than_announced(void **state)
{
    struct peer c = {0};
    peer_start(*state, &c);
    send_publish(&c, 1, "", false);
    send_header(&c, 1, 60, 3);
    peer_send_frame(&c, FRAME_BODY, 1, "ab", 2);
    peer_send_frame(&c, FRAME_BODY, 1, "cd", 2);
    peer_hear_close(&c, 0, REPLY_FRAME_ERROR,
                    "FRAME_ERROR - content body is longer than the 3 bytes that its header "
                    "announced");
    peer_close(&c);
}

static void test_what_is_not_implemented(void **state)
{
    struct peer c = {0};
    struct method qos = {.id = METHOD_basic_qos}, flow = {.id = METHOD_channel_flow},
                  recover = {.id = METHOD_basic_recover};
    peer_start(*state, &c);
    qos.basic_qos.prefetch_size = 10;
    peer_send(&c, 1, &qos);
    peer_hear_close(&c, 0, REPLY_NOT_IMPLEMENTED, "NOT_IMPLEMENTED - prefetch_size!=0 (10)");
    peer_close(&c);
    peer_start(*state, &c);
    peer_send(&c, 1, &flow);
    peer_hear_close(&c, 0, REPLY_NOT_IMPLEMENTED, "NOT_IMPLEMENTED - active=false");
    peer_close(&c);
    peer_start(*state, &c);
    peer_send(&c, 1, &recover);
    peer_hear_close(&c, 0, REPLY_NOT_IMPLEMENTED, "NOT_IMPLEMENTED - requeue=false");
    peer_close(&c);
    peer_start(*state, &c);
    send_publish(&c, 1, "", true);
    peer_hear_close(&c, 0, REPLY_NOT_IMPLEMENTED, "NOT_IMPLEMENTED - immediate=true");
    peer_close(&c);
}

static void test_a_consumer_tag_is_used_once(void **state)
{
    struct peer c = {0};
    peer_start(*state, &c);
    peer_declare(&c, 1, "q");
    peer_consume(&c, 1, "q", "t", true);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    peer_consume(&c, 1, "q", "t", true);
    peer_hear_close(&c, 0, REPLY_NOT_ALLOWED, "NOT_ALLOWED - attempt to reuse consumer tag 't'");
    peer_close(&c);
}

/* ---- what closes the channel ---- */

/* The channel is closed with that, everything else on it is dropped, and its number can be used again. */
static void hear_channel_close(struct peer *c, int code, const char *text, enum method_id method)
{
    peer_hear_close(c, 1, code, text);
    assert_int_equal(c->m.channel_close.class_id, method_class(method));
    assert_int_equal(c->m.channel_close.method_id, method_number(method));
    peer_publish(c, 1, "", "q", "dropped");
    peer_send(c, 1, &(struct method){.id = METHOD_basic_recover});
    peer_send(c, 1, &(struct method){.id = METHOD_channel_close_ok});
    peer_open_channel(c, 1);
}

static void test_soft_errors_close_the_channel_alone(void **state)
{
    struct peer c = {0};
    struct method m = {.id = METHOD_queue_purge};
    peer_start(*state, &c);
    peer_open_channel(&c, 2);
    m.queue_purge.queue = beck_str("none");
    peer_send(&c, 1, &m);
    hear_channel_close(&c, REPLY_NOT_FOUND, "NOT_FOUND - no queue 'none' in vhost '/'", m.id);
    m.queue_purge.queue = beck_str("");
    peer_send(&c, 1, &m);
    hear_channel_close(&c, REPLY_NOT_FOUND, "NOT_FOUND - no previously declared queue", m.id);
    peer_ack(&c, 1, 9, false);
    hear_channel_close(&c, REPLY_PRECONDITION_FAILED,
                       "PRECONDITION_FAILED - unknown delivery tag 9", METHOD_basic_ack);
    peer_ack(&c, 1, 9, true);
    hear_channel_close(&c, REPLY_PRECONDITION_FAILED,
                       "PRECONDITION_FAILED - unknown delivery tag 9", METHOD_basic_ack);
    peer_ack(&c, 1, 0, true); /* all of none */
    peer_publish(&c, 1, "missing", "k", "x");
    hear_channel_close(&c, REPLY_NOT_FOUND, "NOT_FOUND - no exchange 'missing' in vhost '/'",
                       METHOD_basic_publish);
    send_publish(&c, 1, "", false);
    send_header(&c, 1, 60, 2 << 20);
    hear_channel_close(&c, REPLY_PRECONDITION_FAILED,
                       "PRECONDITION_FAILED - message size 2097152 is larger than configured max "
                       "size 1048576",
                       METHOD_basic_publish);
    peer_sync(&c, 2);
    peer_close(&c);
}

static void test_tx_and_confirms_exclude_each_other(void **state)
{
    struct peer c = {0};
    struct method tx = {.id = METHOD_tx_select}, confirm = {.id = METHOD_confirm_select},
                  commit = {.id = METHOD_tx_commit};
    peer_start(*state, &c);
    peer_send(&c, 1, &commit);
    hear_channel_close(&c, REPLY_PRECONDITION_FAILED,
                       "PRECONDITION_FAILED - channel is not transactional", commit.id);
    peer_send(&c, 1, &tx);
    peer_hear(&c, 1, METHOD_tx_select_ok);
    peer_send(&c, 1, &confirm);
    hear_channel_close(&c, REPLY_PRECONDITION_FAILED,
                       "PRECONDITION_FAILED - cannot switch from tx to confirm mode", confirm.id);
    peer_send(&c, 1, &confirm);
    peer_hear(&c, 1, METHOD_confirm_select_ok);
    peer_send(&c, 1, &tx);
    hear_channel_close(&c, REPLY_PRECONDITION_FAILED,
                       "PRECONDITION_FAILED - cannot switch from confirm to tx mode", tx.id);
    peer_close(&c);
}

static void test_what_was_unacked_is_back_before_the_channel_is_closed(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    struct method close = {.id = METHOD_channel_close};
    peer_start(w, &c);
    peer_declare(&c, 1, "q");
    for (int i = 0; i < 5; i++)
        peer_publish(&c, 1, "", "q", "m");
    peer_consume(&c, 1, "q", "t", false);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    for (int i = 0; i < 5; i++) {
        peer_hear(&c, 1, METHOD_basic_deliver);
        peer_hear_content(&c, 1, "m");
    }
    peer_ack(&c, 1, 3, false);
    close.channel_close.reply_text = beck_str("");
    peer_send(&c, 1, &close);
    peer_hear(&c, 1, METHOD_channel_close_ok);
    assert_int_equal(stub_ready(w->broker, "q"), 4);
    peer_open_channel(&c, 1);
    struct method get = {.id = METHOD_basic_get};
    get.basic_get.queue = beck_str("q");
    peer_send(&c, 1, &get);
    peer_hear(&c, 1, METHOD_basic_get_ok);
    assert_true(c.m.basic_get_ok.redelivered);
    assert_int_equal(c.m.basic_get_ok.delivery_tag, 1);
    peer_hear_content(&c, 1, "m");
    peer_close(&c);
    stub_wait_sessions(w->broker, 0);
    assert_int_equal(stub_ready(w->broker, "q"), 4);
}

static void test_both_may_close_a_channel_at_once(void **state)
{
    struct peer c = {0};
    struct method close = {.id = METHOD_channel_close};
    struct buf b;
    peer_start(*state, &c);
    buf_init(&b, 4096);
    struct method purge = {.id = METHOD_queue_purge};
    purge.queue_purge.queue = beck_str("none");
    method_put(&b, 1, &purge);
    close.channel_close.reply_text = beck_str("");
    method_put(&b, 1, &close);
    peer_send_bytes(&c, b.data, b.len);
    buf_release(&b);
    peer_hear(&c, 1, METHOD_channel_close);
    peer_hear(&c, 1, METHOD_channel_close_ok);
    peer_send(&c, 1, &(struct method){.id = METHOD_channel_close_ok});
    peer_open_channel(&c, 1);
    peer_close(&c);
}

/* ---- classes ---- */

static void send_named(struct peer *c, enum method_id id, const char *name, bool nowait)
{
    struct method m = {.id = id};
    switch (id) {
    case METHOD_exchange_declare:
        m.exchange_declare.exchange = beck_str(name);
        m.exchange_declare.type = beck_str("topic");
        m.exchange_declare.nowait = nowait;
        break;
    case METHOD_exchange_delete:
        m.exchange_delete.exchange = beck_str(name);
        m.exchange_delete.nowait = nowait;
        break;
    case METHOD_exchange_bind:
        m.exchange_bind.destination = m.exchange_bind.source = beck_str(name);
        m.exchange_bind.nowait = nowait;
        break;
    case METHOD_exchange_unbind:
        m.exchange_unbind.destination = m.exchange_unbind.source = beck_str(name);
        m.exchange_unbind.nowait = nowait;
        break;
    case METHOD_queue_bind:
        m.queue_bind.queue = beck_str(name);
        m.queue_bind.nowait = nowait;
        break;
    case METHOD_queue_unbind:
        m.queue_unbind.queue = beck_str(name);
        break;
    case METHOD_queue_purge:
        m.queue_purge.queue = beck_str(name);
        m.queue_purge.nowait = nowait;
        break;
    default:
        m.queue_delete.queue = beck_str(name);
        m.queue_delete.nowait = nowait;
    }
    peer_send(c, 1, &m);
}

static void test_every_method_has_its_answer_unless_it_wants_none(void **state)
{
    static const struct {
        enum method_id sent, answer;
    } cases[] = {{METHOD_exchange_declare, METHOD_exchange_declare_ok},
                 {METHOD_exchange_bind, METHOD_exchange_bind_ok},
                 {METHOD_exchange_unbind, METHOD_exchange_unbind_ok},
                 {METHOD_exchange_delete, METHOD_exchange_delete_ok},
                 {METHOD_queue_bind, METHOD_queue_bind_ok},
                 {METHOD_queue_purge, METHOD_queue_purge_ok},
                 {METHOD_queue_delete, METHOD_queue_delete_ok}};
    struct peer c = {0};
    struct method access = {.id = METHOD_access_request};
    peer_start(*state, &c);
    access.access_request.realm = beck_str("/");
    peer_send(&c, 1, &access);
    peer_hear(&c, 1, METHOD_access_request_ok);
    assert_int_equal(c.m.access_request_ok.ticket, 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        peer_declare(&c, 1, "q");
        send_named(&c, cases[i].sent, "q", true);
        peer_declare(&c, 1, "q");
        send_named(&c, cases[i].sent, "q", false);
        peer_hear(&c, 1, cases[i].answer);
    }
    peer_declare(&c, 1, "q");
    send_named(&c, METHOD_queue_unbind, "", false);
    peer_hear(&c, 1, METHOD_queue_unbind_ok);
    peer_close(&c);
}

static void test_pipelined_methods_are_answered_in_order(void **state)
{
    struct peer c = {0};
    struct buf b;
    peer_open(*state, &c);
    buf_init(&b, 1 << 20);
    for (uint16_t ch = 1; ch <= 20; ch++) {
        struct method open = {.id = METHOD_channel_open}, declare = {.id = METHOD_queue_declare},
                      qos = {.id = METHOD_basic_qos}, get = {.id = METHOD_basic_get};
        open.channel_open.out_of_band = beck_str("");
        declare.queue_declare.queue = beck_str("q");
        declare.queue_declare.arguments = bytes_of("", 0);
        get.basic_get.queue = beck_str("");
        method_put(&b, ch, &open);
        method_put(&b, ch, &declare);
        method_put(&b, ch, &qos);
        message_put(&b, ch, "", "q", "x");
        method_put(&b, ch, &get);
    }
    peer_send_bytes(&c, b.data, b.len);
    buf_release(&b);
    for (uint16_t ch = 1; ch <= 20; ch++) {
        peer_hear(&c, ch, METHOD_channel_open_ok);
        peer_hear(&c, ch, METHOD_queue_declare_ok);
        peer_hear(&c, ch, METHOD_basic_qos_ok);
        peer_hear(&c, ch, METHOD_basic_get_ok);
        peer_hear_content(&c, ch, "x");
    }
    peer_close(&c);
}

static void put_declare(struct buf *b, uint16_t channel, const char *name, bool passive)
{
    struct method m = {.id = METHOD_queue_declare};
    m.queue_declare.queue = beck_str(name);
    m.queue_declare.arguments = bytes_of("", 0);
    m.queue_declare.passive = passive;
    method_put(b, channel, &m);
}

static void put_bind(struct buf *b, uint16_t channel, const char *name)
{
    struct method m = {.id = METHOD_queue_bind};
    m.queue_bind.queue = beck_str(name);
    m.queue_bind.arguments = bytes_of("", 0);
    method_put(b, channel, &m);
}

static void hear_declared(struct peer *c, uint16_t channel, const char *name)
{
    peer_hear(c, channel, METHOD_queue_declare_ok);
    assert_true(bytes_equal_text(c->m.queue_declare_ok.queue, name));
}

static void test_what_follows_a_refused_declaration_is_not_done(void **state)
{
    struct peer c = {0};
    struct buf b;
    peer_open(*state, &c);
    for (uint16_t ch = 1; ch <= 3; ch++)
        peer_open_channel(&c, ch);
    buf_init(&b, 1 << 20);
    put_declare(&b, 1, "one", false);
    put_declare(&b, 2, "two", false);
    put_bind(&b, 1, "none");
    put_declare(&b, 1, "three", false);
    put_declare(&b, 2, "four", false);
    put_bind(&b, 2, "");
    put_declare(&b, 3, "three", true);
    peer_send_bytes(&c, b.data, b.len);
    hear_declared(&c, 1, "one");
    hear_declared(&c, 2, "two");
    peer_hear_close(&c, 1, 404, "NOT_FOUND - no queue 'none' in vhost '/'");
    hear_declared(&c, 2, "four");
    peer_hear(&c, 2, METHOD_queue_bind_ok);
    peer_hear_close(&c, 3, 404, "NOT_FOUND - no queue 'three' in vhost '/'");
    peer_close(&c);

    /* What ends the connection ends it behind what came before. */
    peer_open(*state, &c);
    peer_open_channel(&c, 1);
    buf_clear(&b);
    for (int i = 0; i < 300; i++)
        put_declare(&b, 1, "one", false);
    put_declare(&b, 9, "one", false);
    put_declare(&b, 1, "one", false);
    peer_send_bytes(&c, b.data, b.len);
    for (int i = 0; i < 300; i++)
        hear_declared(&c, 1, "one");
    peer_hear_close(&c, 0, 504, "CHANNEL_ERROR - expected 'channel.open'");
    peer_close(&c);
    buf_release(&b);
}

/* With properties of 100,000 bytes and more: a header named "a". */
static void send_long_header(struct peer *c, uint16_t channel, char part[120000])
{
    uint8_t *at = (uint8_t *)part;
    put_u32(at, 60u << 16);
    put_u64(at + 4, 1);
    put_u16(at + 12, 0x2000);
    put_u32(at + 14, 7 + 100000);
    memcpy(at + 18, "\1aS", 3);
    put_u32(at + 21, 100000);
    peer_send_frame(c, FRAME_HEADER, channel, part, 25 + 100000);
}

static void test_messages_that_are_not_whole_take_no_more_memory_than_they_may(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    char *part = calloc(1, 120000);
    amqp_world_close(w);
    memset(w, 0, sizeof *w);
    w->settings.bodies_max = 1 << 20;
    amqp_world_open(w);
    peer_start(w, &c);
    for (uint16_t ch = 2; ch <= 12; ch++) {
        peer_open_channel(&c, ch);
        send_publish(&c, ch, "", false);
        send_header(&c, ch, 60, 16 << 20);
    }
    for (uint16_t ch = 2; ch <= 12; ch++)
        peer_send_frame(&c, FRAME_BODY, ch, part, 120000);
    peer_hear_close(&c, 0, REPLY_RESOURCE_ERROR,
                    "RESOURCE_ERROR - messages that are being received take too much memory");
    peer_close(&c);
    stub_wait_sessions(w->broker, 0);
    peer_start(w, &c); /* what they took is free again */
    for (uint16_t ch = 2; ch <= 12; ch++)
        peer_open_channel(&c, ch);
    for (uint16_t ch = 2; ch <= 12; ch++) {
        send_publish(&c, ch, "", false);
        send_long_header(&c, ch, part);
    }
    peer_hear_close(&c, 0, REPLY_RESOURCE_ERROR,
                    "RESOURCE_ERROR - messages that are being received take too much memory");
    peer_close(&c);
    free(part);
    stub_wait_sessions(w->broker, 0);
    peer_start(w, &c);
    peer_publish(&c, 1, "", "q", "x");
    peer_sync(&c, 1);
    peer_close(&c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_channel_must_be_opened_and_only_once),
        TEST(channels_are_counted_whatever_their_numbers),
        TEST(a_user_has_so_many_channels_over_all_connections),
        TEST(frames_that_are_broken_end_the_connection),
        TEST(methods_that_are_none_for_the_server),
        TEST(content_that_is_not_due),
        TEST(a_body_that_is_longer_than_announced),
        TEST(what_is_not_implemented),
        TEST(a_consumer_tag_is_used_once),
        TEST(soft_errors_close_the_channel_alone),
        TEST(tx_and_confirms_exclude_each_other),
        TEST(what_was_unacked_is_back_before_the_channel_is_closed),
        TEST(both_may_close_a_channel_at_once),
        TEST(every_method_has_its_answer_unless_it_wants_none),
        TEST(pipelined_methods_are_answered_in_order),
        TEST(what_follows_a_refused_declaration_is_not_done),
        TEST(messages_that_are_not_whole_take_no_more_memory_than_they_may),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
