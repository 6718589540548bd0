/* From the first byte to open-ok, and the end of a connection. */
#include "amqp_world.h"

#include "broker/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_world(void **state)
{
    struct amqp_world *w = calloc(1, sizeof *w);
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

/* The same with other settings. */
static void world_again(struct amqp_world *w, struct amqp_settings settings)
{
    amqp_world_close(w);
    memset(w, 0, sizeof *w);
    w->settings = settings;
    amqp_world_open(w);
}

static void hear_bytes(struct peer *c, const void *expected, size_t len)
{
    uint8_t got[64];
    for (size_t at = 0; at < len;) {
        ssize_t n = recv(c->fd, got + at, len - at, 0);
        assert_true(n > 0);
        at += (size_t)n;
    }
    assert_memory_equal(got, expected, len);
}

static void test_another_protocol_is_told_which_one_is_spoken(void **state)
{
    static const char *const strangers[] = {"GET / HTTP/1.1\r\n\r\n", "AMQP\3\1\1\1", "AMQPxxxx",
                                            "\x16\3\1\1\1\1\1\1", "nonsense"};
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++) {
        struct peer c = {0};
        peer_dial(*state, &c);
        peer_send_bytes(&c, strangers[i], strlen(strangers[i]));
        hear_bytes(&c, "AMQP\0\0\11\1", 8);
        peer_hear_end(&c);
    }
}

static void test_the_header_of_0_9_is_taken_as_well(void **state)
{
    struct peer c = {0};
    peer_dial(*state, &c);
    peer_send_bytes(&c, "AMQP\1\1\0\11", 8);
    peer_hear(&c, 0, METHOD_connection_start);
    peer_close(&c);
}

static void text_is(beck_bytes table, const char *name, const char *expected)
{
    struct table_value v;
    assert_true(table_find(table, name, &v));
    assert_int_equal(v.kind, TABLE_TEXT);
    assert_true(bytes_equal_text(v.bytes, expected));
}

static void test_the_server_says_what_it_can(void **state)
{
    static const char *const names[] = {
        "publisher_confirms",           "exchange_exchange_bindings", "basic.nack",
        "consumer_cancel_notify",       "connection.blocked",         "consumer_priorities",
        "authentication_failure_close", "per_consumer_qos",           "direct_reply_to"};
    struct peer c = {0};
    struct table_value v, capability;
    peer_greet(*state, &c);
    beck_bytes properties = c.m.connection_start.server_properties;
    assert_int_equal(c.m.connection_start.version_minor, 9);
    assert_true(bytes_equal_text(c.m.connection_start.mechanisms, "PLAIN AMQPLAIN ANONYMOUS"));
    assert_true(bytes_equal_text(c.m.connection_start.locales, "en_US"));
    text_is(properties, "product", "RabbitMQ");
    text_is(properties, "version", "4.1.0");
    text_is(properties, "platform", "beck");
    assert_true(table_find(properties, "capabilities", &v));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_true(table_find(v.bytes, names[i], &capability));
        assert_true(capability.integer);
    }
    peer_close(&c);
}

static void start_ok(struct peer *c, const char *mechanism, const void *response, size_t len)
{
    struct method m = {.id = METHOD_connection_start_ok};
    m.connection_start_ok.client_properties = bytes_of("", 0);
    m.connection_start_ok.mechanism = beck_str(mechanism);
    m.connection_start_ok.response = bytes_of(response, len);
    m.connection_start_ok.locale = beck_str("en_US");
    peer_send(c, 0, &m);
}

static void test_who_may_log_in(void **state)
{
    static const char amqplain[] = "\5LOGINS\0\0\0\5guest\10PASSWORDS\0\0\0\5guest";
    struct peer c = {0};
    peer_greet(*state, &c);
    start_ok(&c, "PLAIN", "\0guest\0guest", 12);
    peer_hear(&c, 0, METHOD_connection_tune);
    assert_int_equal(c.m.connection_tune.channel_max, 2047);
    assert_int_equal(c.m.connection_tune.frame_max, 131072);
    assert_int_equal(c.m.connection_tune.heartbeat, 60);
    peer_close(&c);
    peer_greet(*state, &c);
    start_ok(&c, "AMQPLAIN", amqplain, sizeof amqplain - 1);
    peer_hear(&c, 0, METHOD_connection_tune);
    peer_close(&c);
    peer_greet(*state, &c);
    start_ok(&c, "ANONYMOUS", "", 0);
    peer_hear(&c, 0, METHOD_connection_tune);
    peer_close(&c);
}

static void test_users_log_in_with_their_passwords(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    struct access_rule everything = {.kind = ACCESS_SERVER, .rights = ACCESS_ADMIN};
    assert_int_equal(access_put_user(w->access, "ann", beck_str("secret"), &everything, 1, NULL),
                     BECK_OK);
    for (int i = 0; i < 2; i++) { /* the second time the password is known */
        peer_greet(w, &c);
        assert_true(bytes_equal_text(c.m.connection_start.mechanisms, "PLAIN AMQPLAIN"));
        peer_login(&c, "ann", "secret");
        peer_hear(&c, 0, METHOD_connection_tune);
        peer_close(&c);
    }
    peer_greet(w, &c);
    peer_login(&c, "guest", "guest"); /* there are users now */
    peer_hear_end(&c);
    assert_int_equal(access_put_user(w->access, "guest", beck_str("guest"), &everything, 1, NULL),
                     BECK_OK);
    peer_open(w, &c);
    peer_close(&c);
}

static void test_a_user_who_is_deleted_is_told_to_go(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    /* Connections are looked at more often. Without heartbeats, for which a slow machine may be too slow. */
    world_again(w, (struct amqp_settings){.consumer_timeout_ms = 60});
    peer_open(w, &c); /* without a name, as there are no users */
    struct access_rule everything = {.kind = ACCESS_SERVER, .rights = ACCESS_ADMIN};
    assert_int_equal(access_put_user(w->access, "ann", beck_str("secret"), &everything, 1, NULL),
                     BECK_OK);
    peer_hear_close(&c, 0, REPLY_CONNECTION_FORCED, "CONNECTION_FORCED - user 'guest' is deleted");
    peer_close(&c);
}

static void test_a_refused_login_is_told_to_who_asked_for_it(void **state)
{
    struct peer c = {.announces_refusal = true}, silent = {0};
    peer_greet(*state, &c);
    peer_login(&c, "nobody", "x");
    peer_hear_close(&c, 0, REPLY_ACCESS_REFUSED,
                    "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For "
                    "details see the broker logfile.");
    peer_send(&c, 0, &(struct method){.id = METHOD_connection_close_ok});
    peer_hear_end(&c);
    peer_greet(*state, &silent);
    peer_login(&silent, "nobody", "x");
    peer_hear_end(&silent);
}

static void test_a_login_that_is_none_ends_the_connection(void **state)
{
    static const struct {
        const char *mechanism, *response;
        size_t len;
    } cases[] = {{"PLAIN", "", 0},
                 {"PLAIN", "guest", 5},
                 {"PLAIN", "\0guest", 6},
                 {"AMQPLAIN", "\0guest\0guest", 12},
                 {"AMQPLAIN", "\5LOGINt\1", 8},
                 {"EXTERNAL", "", 0},
                 {"SCRAM", "x", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer c = {0};
        peer_greet(*state, &c);
        start_ok(&c, cases[i].mechanism, cases[i].response, cases[i].len);
        peer_hear_end(&c);
    }
}

static void tune(struct peer *c, uint32_t channels, uint32_t frame)
{
    struct method m = {.id = METHOD_connection_tune_ok};
    peer_login(c, "guest", "guest");
    peer_hear(c, 0, METHOD_connection_tune);
    m.connection_tune_ok.channel_max = channels;
    m.connection_tune_ok.frame_max = frame;
    peer_send(c, 0, &m);
}

static void test_what_is_agreed_lies_within_the_offer(void **state)
{
    static const struct {
        uint32_t channels, frame;
        const char *text;
    } cases[] = {
        {2047, 131073,
         "NOT_ALLOWED - negotiated frame_max = 131073 is higher than the maximum allowed value "
         "(131072)"},
        {2047, 4095,
         "NOT_ALLOWED - negotiated frame_max = 4095 is lower than the minimum allowed value "
         "(4096)"},
        {2047, 0,
         "NOT_ALLOWED - negotiated frame_max = 0 is higher than the maximum allowed value "
         "(131072)"},
        {0, 131072,
         "NOT_ALLOWED - negotiated channel_max = 0 (no limit) is higher than the maximum allowed "
         "value (2047)"},
        {2048, 131072,
         "NOT_ALLOWED - negotiated channel_max = 2048 is higher than the maximum allowed value "
         "(2047)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer c = {0};
        peer_greet(*state, &c);
        tune(&c, cases[i].channels, cases[i].frame);
        peer_hear_close(&c, 0, REPLY_NOT_ALLOWED, cases[i].text);
        peer_close(&c);
    }
}

static void test_a_virtual_host_that_there_is_not(void **state)
{
    struct peer c = {0};
    struct method m = {.id = METHOD_connection_open};
    peer_greet(*state, &c);
    tune(&c, 10, 4096);
    m.connection_open.virtual_host = beck_str("nowhere");
    m.connection_open.capabilities = beck_str("");
    peer_send(&c, 0, &m);
    peer_hear_close(&c, 0, REPLY_NOT_ALLOWED, "NOT_ALLOWED - vhost nowhere not found");
    assert_int_equal(c.m.connection_close.class_id, 10);
    assert_int_equal(c.m.connection_close.method_id, 40);
    peer_close(&c);
}

static void test_methods_out_of_order_end_the_handshake(void **state)
{
    struct peer c = {0};
    peer_greet(*state, &c);
    peer_send(&c, 0, &(struct method){.id = METHOD_connection_tune_ok});
    peer_hear_close(&c, 0, REPLY_CHANNEL_ERROR,
                    "CHANNEL_ERROR - unexpected method in connection state starting");
    peer_close(&c);
    peer_greet(*state, &c);
    struct method open = {.id = METHOD_channel_open};
    open.channel_open.out_of_band = beck_str("");
    peer_send(&c, 1, &open);
    peer_hear_close(&c, 0, REPLY_UNEXPECTED_FRAME,
                    "UNEXPECTED_FRAME - type 1 on channel 1 before connection.open");
    peer_close(&c);
}

static void test_frames_are_small_before_the_login(void **state)
{
    struct peer c = {0};
    uint8_t head[FRAME_HEAD];
    peer_greet(*state, &c);
    frame_begin(head, FRAME_METHOD, 0, 100000);
    peer_send_bytes(&c, head, sizeof head);
    peer_hear_close(&c, 0, REPLY_FRAME_ERROR,
                    "FRAME_ERROR - type 1, channel 0: {frame_too_large,100000,8184}");
    peer_close(&c);
}

static void test_a_handshake_takes_no_longer_than_it_may(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    world_again(w, (struct amqp_settings){.handshake_timeout_ms = 50});
    peer_dial(w, &c);
    /* On a slow machine the end comes before this is said, or answered. */
    (void)!send(c.fd, "AMQP\0\0\11\1", 8, MSG_NOSIGNAL);
    while (peer_read(&c))
        assert_int_equal(c.m.id, METHOD_connection_start);
    peer_close(&c);
}

static void test_everything_comes_byte_by_byte(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    struct buf b;
    struct method ok = {.id = METHOD_connection_start_ok},
                  tuned = {.id = METHOD_connection_tune_ok}, open = {.id = METHOD_connection_open},
                  channel = {.id = METHOD_channel_open}, declare = {.id = METHOD_queue_declare};
    buf_init(&b, 1 << 20);
    buf_append(&b, "AMQP\0\0\11\1", 8);
    ok.connection_start_ok.client_properties = bytes_of("", 0);
    ok.connection_start_ok.mechanism = beck_str("PLAIN");
    ok.connection_start_ok.response = bytes_of("\0guest\0guest", 12);
    ok.connection_start_ok.locale = beck_str("en_US");
    method_put(&b, 0, &ok);
    tuned.connection_tune_ok.channel_max = 5;
    tuned.connection_tune_ok.frame_max = 4096;
    method_put(&b, 0, &tuned);
    open.connection_open.virtual_host = beck_str("/");
    open.connection_open.capabilities = beck_str("");
    method_put(&b, 0, &open);
    channel.channel_open.out_of_band = beck_str("");
    method_put(&b, 5, &channel);
    declare.queue_declare.queue = beck_str("q");
    declare.queue_declare.arguments = bytes_of("", 0);
    method_put(&b, 5, &declare);
    message_put(&b, 5, "", "q", "hello");
    message_put(&b, 5, "", "q", "");
    peer_dial(w, &c);
    for (size_t i = 0; i < b.len; i++)
        peer_send_bytes(&c, b.data + i, 1);
    buf_release(&b);
    peer_hear(&c, 0, METHOD_connection_start);
    peer_hear(&c, 0, METHOD_connection_tune);
    peer_hear(&c, 0, METHOD_connection_open_ok);
    peer_hear(&c, 5, METHOD_channel_open_ok);
    peer_hear(&c, 5, METHOD_queue_declare_ok);
    peer_consume(&c, 5, "q", "t", true);
    peer_hear(&c, 5, METHOD_basic_consume_ok);
    peer_hear(&c, 5, METHOD_basic_deliver);
    peer_hear_content(&c, 5, "hello");
    peer_hear(&c, 5, METHOD_basic_deliver);
    peer_hear_content(&c, 5, "");
    peer_close(&c);
}

/* ---- the end ---- */

static void test_closing_takes_exclusive_queues_with_it_before_it_is_answered(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    struct method m = {.id = METHOD_queue_declare}, close = {.id = METHOD_connection_close};
    peer_start(w, &c);
    m.queue_declare.queue = beck_str("mine");
    m.queue_declare.exclusive = 1;
    m.queue_declare.arguments = bytes_of("", 0);
    peer_send(&c, 1, &m);
    peer_hear(&c, 1, METHOD_queue_declare_ok);
    close.connection_close.reply_code = 200;
    close.connection_close.reply_text = beck_str("Cheers, thanks");
    peer_send(&c, 0, &close);
    peer_hear(&c, 0, METHOD_connection_close_ok);
    assert_int_equal(w->broker->sessions, 0);
    assert_null(w->broker->queues);
    peer_send(&c, 0, &close); /* another thread of the client */
    peer_hear(&c, 0, METHOD_connection_close_ok);
    peer_hear_end(&c);
}

static void test_heartbeats_come_when_nothing_else_does(void **state)
{
    struct peer c = {.heartbeat = 1};
    size_t size;
    peer_open(*state, &c);
    c.len = c.used = 0;
    for (int heard = 0; heard < 2;) {
        ssize_t n = recv(c.fd, c.data, 64, 0);
        assert_true(n > 0);
        assert_int_equal(frame_read(bytes_of(c.data, (size_t)n), 4096, &c.frame, &size),
                         FRAME_WHOLE);
        assert_int_equal(c.frame.type, FRAME_HEARTBEAT);
        assert_int_equal(c.frame.channel, 0);
        heard += (int)(n / FRAME_EXTRA);
    }
    /* We have sent none. */
    peer_hear_end(&c);
}

static void test_a_heartbeat_is_for_channel_0(void **state)
{
    struct peer c = {0};
    peer_open(*state, &c);
    peer_send_frame(&c, FRAME_HEARTBEAT, 0, "", 0);
    peer_open_channel(&c, 1);
    peer_send_frame(&c, FRAME_HEARTBEAT, 1, "", 0);
    peer_hear_close(&c, 0, REPLY_UNEXPECTED_FRAME, "UNEXPECTED_FRAME - heartbeat on channel 1");
    peer_close(&c);
}

static void test_a_new_secret_is_taken(void **state)
{
    struct peer c = {0};
    struct method m = {.id = METHOD_connection_update_secret};
    peer_open(*state, &c);
    m.connection_update_secret.new_secret = beck_str("s");
    m.connection_update_secret.reason = beck_str("");
    peer_send(&c, 0, &m);
    peer_hear(&c, 0, METHOD_connection_update_secret_ok);
    peer_close(&c);
}

static void test_consumers_that_may_read_no_more_are_cancelled_with_a_new_secret(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {.announces_cancel = true};
    struct method m = {.id = METHOD_connection_update_secret};
    peer_start(w, &c);
    peer_declare(&c, 1, "q");
    peer_consume(&c, 1, "q", "a", true);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    peer_consume(&c, 1, "q", "b", true);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    m.connection_update_secret.new_secret = beck_str("s");
    m.connection_update_secret.reason = beck_str("");
    peer_send(&c, 0, &m);
    peer_hear(&c, 0, METHOD_connection_update_secret_ok);
    peer_sync(&c, 1);
    w->broker->denied = true;
    peer_send(&c, 0, &m);
    peer_hear(&c, 0, METHOD_connection_update_secret_ok);
    peer_hear(&c, 1, METHOD_basic_cancel);
    peer_hear(&c, 1, METHOD_basic_cancel);
    peer_sync(&c, 1);
    peer_close(&c);
}

static bool note(void *ctx, const struct amqp_connection_info *i)
{
    struct amqp_connection_info *out = ctx;
    *out = *i;
    assert_string_equal(i->user, "guest");
    assert_string_equal(i->vhost, "/");
    assert_string_equal(i->mechanism, "PLAIN");
    assert_string_equal(i->state, "running");
    assert_int_equal(i->frame_max, 131072);
    assert_int_equal(i->channel_count, 1);
    assert_int_equal(i->channels[0].number, 1);
    assert_int_equal(i->channels[0].consumer_count, 1);
    assert_true(bytes_equal_text(i->channels[0].consumers[0].tag, "t"));
    assert_true(bytes_equal_text(i->channels[0].consumers[0].queue, "q"));
    return true;
}

static void test_management_sees_connections_and_closes_them(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    struct amqp_connection_info i = {0};
    char name[128];
    peer_start(w, &c);
    peer_declare(&c, 1, "q");
    peer_consume(&c, 1, "q", "t", false);
    peer_hear(&c, 1, METHOD_basic_consume_ok);
    amqp_each_connection(w->amqp, note, &i);
    snprintf(name, sizeof name, "%s", i.name);
    assert_non_null(strstr(name, " -> 127.0.0.1:5672"));
    assert_false(amqp_close_connection(w->amqp, "nobody", "x"));
    assert_true(amqp_close_connection(w->amqp, name, "Closed via management plugin"));
    peer_hear_close(&c, 0, REPLY_CONNECTION_FORCED,
                    "CONNECTION_FORCED - Closed via management plugin");
    peer_send(&c, 0, &(struct method){.id = METHOD_connection_close_ok});
    peer_hear_end(&c);
    assert_int_equal(amqp_close_connections(w->amqp, "nobody", NULL, "x"), 0);
}

static void test_a_server_that_stops_says_so(void **state)
{
    struct amqp_world *w = *state;
    struct peer c = {0};
    peer_start(w, &c);
    assert_false(net_drain(w->net, 0));
    peer_hear_close(&c, 0, REPLY_CONNECTION_FORCED,
                    "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'");
    peer_send(&c, 0, &(struct method){.id = METHOD_connection_close_ok});
    peer_hear_end(&c);
    assert_true(net_drain(w->net, INT64_MAX));
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(another_protocol_is_told_which_one_is_spoken),
        TEST(the_header_of_0_9_is_taken_as_well),
        TEST(the_server_says_what_it_can),
        TEST(who_may_log_in),
        TEST(users_log_in_with_their_passwords),
        TEST(a_user_who_is_deleted_is_told_to_go),
        TEST(a_refused_login_is_told_to_who_asked_for_it),
        TEST(a_login_that_is_none_ends_the_connection),
        TEST(what_is_agreed_lies_within_the_offer),
        TEST(a_virtual_host_that_there_is_not),
        TEST(methods_out_of_order_end_the_handshake),
        TEST(frames_are_small_before_the_login),
        TEST(a_handshake_takes_no_longer_than_it_may),
        TEST(everything_comes_byte_by_byte),
        TEST(closing_takes_exclusive_queues_with_it_before_it_is_answered),
        TEST(heartbeats_come_when_nothing_else_does),
        TEST(a_heartbeat_is_for_channel_0),
        TEST(a_new_secret_is_taken),
        TEST(consumers_that_may_read_no_more_are_cancelled_with_a_new_secret),
        TEST(management_sees_connections_and_closes_them),
        TEST(a_server_that_stops_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
