#include "amqp_world.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOUR_MS 3600000

/* ---- the server ---- */

static int listen_on(uint16_t *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 4096), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

void amqp_world_open(struct amqp_world *w)
{
    beck_error err;
    struct net_listener listener;
    w->access_settings.anonymous_loopback = true;
    w->access_settings.scrypt_log_n = 10;
    assert_int_equal(beck_open(&w->b, &(beck_options){0}, &err), BECK_OK);
    assert_int_equal(access_open(w->b, &w->access_settings, &w->access, &err), BECK_OK);
    w->broker = stub_new();
    w->metrics = metrics_new();
    if (!w->settings.handshake_timeout_ms)
        w->settings.handshake_timeout_ms = HOUR_MS;
    struct amqp_context context = {.broker = w->broker, .access = w->access, .metrics = w->metrics};
    assert_int_equal(amqp_new(&w->settings, &context, &w->amqp, &err), BECK_OK);
    int fd = listen_on(&w->port);
    assert_int_equal(amqp_listener(w->amqp, fd, "127.0.0.1:5672", NULL, &listener, &err), BECK_OK);
    listener.output_max = w->output_max;
    w->net_settings.metrics = w->metrics;
    assert_int_equal(net_start(&w->net_settings, &listener, 1, &w->net, &err), BECK_OK);
}

void amqp_world_close(struct amqp_world *w)
{
    net_stop(w->net);
    amqp_free(w->amqp);
    assert_int_equal(w->broker->sessions, 0);
    assert_int_equal(w->broker->subscribers, 0);
    assert_int_equal(w->broker->publishers, 0);
    stub_free(w->broker);
    access_close(w->access);
    beck_close(w->b);
    metrics_free(w->metrics);
}

/* ---- clients: writing ---- */

void peer_dial(struct amqp_world *w, struct peer *c)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(w->port)};
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&at, sizeof at), 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void peer_close(struct peer *c)
{
    close(c->fd);
    free(c->data);
    c->data = NULL;
    c->len = c->cap = c->used = 0;
}

void peer_send_bytes(struct peer *c, const void *data, size_t len)
{
    const uint8_t *at = data;
    while (len > 0) {
        ssize_t n = send(c->fd, at, len, MSG_NOSIGNAL);
        assert_true(n > 0);
        at += n;
        len -= (size_t)n;
    }
}

void frame_put(struct buf *b, uint8_t type, uint16_t channel, const void *payload, size_t len)
{
    uint8_t head[FRAME_HEAD], end = FRAME_END;
    frame_begin(head, (enum frame_type)type, channel, len);
    buf_append(b, head, sizeof head);
    buf_append(b, payload, len);
    buf_append(b, &end, 1);
}

void method_put(struct buf *b, uint16_t channel, const struct method *m)
{
    uint8_t *payload = malloc(method_length(m));
    uint8_t *end = method_write(m, payload);
    frame_put(b, FRAME_METHOD, channel, payload, (size_t)(end - payload));
    free(payload);
}

static void header_put(struct buf *b, uint16_t channel, size_t size)
{
    uint8_t header[] = {0, 60, 0,   0,   0,   0,   0,   0,   0,   0,   0,   0,  0x80,
                        0, 10, 't', 'e', 'x', 't', '/', 'p', 'l', 'a', 'i', 'n'};
    put_u64(header + 4, size);
    frame_put(b, FRAME_HEADER, channel, header, sizeof header);
}

void message_put(struct buf *b, uint16_t channel, const char *exchange, const char *key,
                 const char *body)
{
    struct method m = {.id = METHOD_basic_publish};
    m.basic_publish.exchange = beck_str(exchange);
    m.basic_publish.routing_key = beck_str(key);
    method_put(b, channel, &m);
    header_put(b, channel, strlen(body));
    if (*body)
        frame_put(b, FRAME_BODY, channel, body, strlen(body));
}

static void send_buf(struct peer *c, struct buf *b)
{
    peer_send_bytes(c, b->data, b->len);
    buf_release(b);
}

void peer_send(struct peer *c, uint16_t channel, const struct method *m)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    method_put(&b, channel, m);
    send_buf(c, &b);
}

void peer_send_frame(struct peer *c, uint8_t type, uint16_t channel, const void *payload,
                     size_t len)
{
    struct buf b;
    buf_init(&b, len + FRAME_EXTRA);
    frame_put(&b, type, channel, payload, len);
    send_buf(c, &b);
}

/* ---- reading ---- */

static bool more(struct peer *c)
{
    if (c->len == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 65536;
        c->data = realloc(c->data, c->cap);
    }
    ssize_t n = recv(c->fd, c->data + c->len, c->cap - c->len, 0);
    if (n > 0)
        c->len += (size_t)n;
    return n > 0;
}

static bool any_frame(struct peer *c)
{
    size_t size;
    if (c->used > 0)
        memmove(c->data, c->data + c->used, c->len - c->used);
    c->len -= c->used;
    c->used = 0;
    for (;;) {
        enum frame_read how = frame_read(bytes_of(c->data, c->len), 1 << 24, &c->frame, &size);
        if (how == FRAME_WHOLE)
            break;
        assert_int_equal(how, FRAME_PART);
        if (!more(c))
            return false;
    }
    c->used = size;
    if (c->frame.type == FRAME_METHOD)
        assert_int_equal(method_read(c->frame.payload, &c->m), METHOD_READ);
    return true;
}

bool peer_read(struct peer *c)
{
    do
        if (!any_frame(c))
            return false;
    while (c->frame.type == FRAME_HEARTBEAT);
    return true;
}

void peer_hear(struct peer *c, uint16_t channel, enum method_id id)
{
    if (!peer_read(c))
        fail_msg("the end instead of %s", method_find((uint32_t)id)->name);
    if (c->frame.type != FRAME_METHOD)
        fail_msg("a frame of type %u instead of %s", c->frame.type,
                 method_find((uint32_t)id)->name);
    if (c->m.id == METHOD_connection_close && id != METHOD_connection_close)
        fail_msg("%.*s", (int)c->m.connection_close.reply_text.len,
                 (const char *)c->m.connection_close.reply_text.data);
    assert_string_equal(method_find((uint32_t)c->m.id)->name, method_find((uint32_t)id)->name);
    assert_int_equal(c->frame.channel, channel);
}

void peer_hear_content(struct peer *c, uint16_t channel, const char *body)
{
    size_t len = strlen(body), got = 0;
    assert_true(peer_read(c));
    assert_int_equal(c->frame.type, FRAME_HEADER);
    assert_int_equal(c->frame.channel, channel);
    assert_int_equal(get_u64((const uint8_t *)c->frame.payload.data + 4), len);
    while (got < len) {
        assert_true(peer_read(c));
        assert_int_equal(c->frame.type, FRAME_BODY);
        assert_true(c->frame.payload.len <= len - got);
        assert_memory_equal(c->frame.payload.data, body + got, c->frame.payload.len);
        got += c->frame.payload.len;
    }
}

void peer_hear_end(struct peer *c)
{
    assert_false(peer_read(c));
    peer_close(c);
}

void peer_hear_close(struct peer *c, uint16_t channel, int code, const char *text)
{
    peer_hear(c, channel, channel ? METHOD_channel_close : METHOD_connection_close);
    beck_bytes got = c->m.connection_close.reply_text; /* both have the same fields */
    char said[256];
    snprintf(said, sizeof said, "%.*s", (int)got.len, (const char *)got.data);
    assert_string_equal(said, text);
    assert_int_equal(c->m.connection_close.reply_code, code);
}

/* ---- what clients do ---- */

void peer_greet(struct amqp_world *w, struct peer *c)
{
    peer_dial(w, c);
    peer_send_bytes(c, "AMQP\0\0\11\1", 8);
    peer_hear(c, 0, METHOD_connection_start);
}

void peer_login(struct peer *c, const char *user, const char *password)
{
    static const uint8_t refusal[] = "\14capabilitiesF\0\0\0\37\34authentication_failure_closet\1";
    static const uint8_t cancel[] = "\14capabilitiesF\0\0\0\31\26consumer_cancel_notifyt\1";
    static const uint8_t blocked[] = "\14capabilitiesF\0\0\0\25\22connection.blockedt\1";
    struct method m = {.id = METHOD_connection_start_ok};
    char response[256];
    int len = snprintf(response, sizeof response, "%c%s%c%s", 0, user, 0, password);
    m.connection_start_ok.client_properties = bytes_of("", 0);
    if (c->announces_refusal)
        m.connection_start_ok.client_properties = bytes_of(refusal, sizeof refusal - 1);
    if (c->announces_cancel)
        m.connection_start_ok.client_properties = bytes_of(cancel, sizeof cancel - 1);
    if (c->announces_blocked)
        m.connection_start_ok.client_properties = bytes_of(blocked, sizeof blocked - 1);
    m.connection_start_ok.mechanism = beck_str("PLAIN");
    m.connection_start_ok.response = bytes_of(response, (size_t)len);
    m.connection_start_ok.locale = beck_str("en_US");
    peer_send(c, 0, &m);
}

static void tune_and_open(struct peer *c)
{
    struct method ok = {.id = METHOD_connection_tune_ok}, open = {.id = METHOD_connection_open};
    peer_hear(c, 0, METHOD_connection_tune);
    ok.connection_tune_ok.channel_max = c->m.connection_tune.channel_max;
    ok.connection_tune_ok.frame_max = c->frame_max ? c->frame_max : c->m.connection_tune.frame_max;
    ok.connection_tune_ok.heartbeat = c->heartbeat;
    peer_send(c, 0, &ok);
    open.connection_open.virtual_host = beck_str("/");
    open.connection_open.capabilities = beck_str("");
    peer_send(c, 0, &open);
}

void peer_open(struct amqp_world *w, struct peer *c)
{
    peer_greet(w, c);
    peer_login(c, "guest", "guest");
    tune_and_open(c);
    peer_hear(c, 0, METHOD_connection_open_ok);
}

void peer_open_channel(struct peer *c, uint16_t number)
{
    struct method m = {.id = METHOD_channel_open};
    m.channel_open.out_of_band = beck_str("");
    peer_send(c, number, &m);
    peer_hear(c, number, METHOD_channel_open_ok);
}

void peer_start(struct amqp_world *w, struct peer *c)
{
    peer_open(w, c);
    peer_open_channel(c, 1);
}

void peer_declare(struct peer *c, uint16_t channel, const char *queue)
{
    struct method m = {.id = METHOD_queue_declare};
    m.queue_declare.queue = beck_str(queue);
    m.queue_declare.arguments = bytes_of("", 0);
    peer_send(c, channel, &m);
    peer_hear(c, channel, METHOD_queue_declare_ok);
}

void peer_publish(struct peer *c, uint16_t channel, const char *exchange, const char *key,
                  const char *body)
{
    struct buf b;
    buf_init(&b, 64 << 20);
    message_put(&b, channel, exchange, key, body);
    send_buf(c, &b);
}

void peer_consume(struct peer *c, uint16_t channel, const char *queue, const char *tag, bool no_ack)
{
    struct method m = {.id = METHOD_basic_consume};
    m.basic_consume.queue = beck_str(queue);
    m.basic_consume.consumer_tag = beck_str(tag);
    m.basic_consume.no_ack = no_ack;
    m.basic_consume.arguments = bytes_of("", 0);
    peer_send(c, channel, &m);
}

void peer_ack(struct peer *c, uint16_t channel, uint64_t tag, bool multiple)
{
    struct method m = {.id = METHOD_basic_ack};
    m.basic_ack.delivery_tag = tag;
    m.basic_ack.multiple = multiple;
    peer_send(c, channel, &m);
}

void peer_sync(struct peer *c, uint16_t channel)
{
    struct method m = {.id = METHOD_channel_flow};
    m.channel_flow.active = 1;
    peer_send(c, channel, &m);
    peer_hear(c, channel, METHOD_channel_flow_ok);
}
