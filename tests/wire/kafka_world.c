#include "kafka_world.h"

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

void kafka_world_open(struct kafka_world *w)
{
    beck_error err;
    struct net_listener listener;
    if (!w->dir[0]) {
        snprintf(w->dir, sizeof w->dir, "/tmp/beck-kafka-XXXXXX");
        assert_non_null(mkdtemp(w->dir));
    }
    w->access_settings.anonymous_loopback = true;
    w->access_settings.scrypt_log_n = 10;
    w->settings.node_id = 1;
    if (!w->settings.partitions)
        w->settings.partitions = 1;
    w->settings.acks_one = BECK_LEVEL_WRITTEN;
    w->settings.acks_all = BECK_LEVEL_SYNCED;
    assert_int_equal(beck_open(&w->b, &(beck_options){.data_dir = w->dir}, &err), BECK_OK);
    assert_int_equal(access_open(w->b, &w->access_settings, &w->access, &err), BECK_OK);
    assert_int_equal(kafka_open(w->b, &w->settings, &w->kafka, &err), BECK_OK);
    w->metrics = metrics_new();
    struct kafka_wire_context context = {
        .engine = w->b, .kafka = w->kafka, .access = w->access, .metrics = w->metrics};
    /* The machine may be slow. */
    struct kafka_wire_settings patient = {.handshake_timeout_ms = HOUR_MS,
                                          .receive_timeout_ms = HOUR_MS};
    assert_int_equal(kafka_wire_new(&patient, &context, &w->wire, &err), BECK_OK);
    int fd = listen_on(&w->port);
    struct kafka_endpoint advertised = {"", w->port};
    assert_int_equal(
        kafka_wire_listener(w->wire, fd, "127.0.0.1:9092", NULL, &advertised, &listener, &err),
        BECK_OK);
    assert_int_equal(
        net_start(&(struct net_settings){.metrics = w->metrics}, &listener, 1, &w->net, &err),
        BECK_OK);
}

void kafka_world_stop(struct kafka_world *w)
{
    net_stop(w->net);
    kafka_wire_free(w->wire);
    kafka_close(w->kafka);
    access_close(w->access);
    beck_close(w->b);
    metrics_free(w->metrics);
}

void kafka_world_close(struct kafka_world *w)
{
    char command[128];
    kafka_world_stop(w);
    snprintf(command, sizeof command, "rm -rf '%s'", w->dir);
    assert_int_equal(system(command), 0);
}

/* ---- a client ---- */

void kafka_dial(struct kafka_world *w, struct kafka_peer *c)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(w->port)};
    int on = 1;
    *c = (struct kafka_peer){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    kafka_arena_init(&c->arena, 64 << 20);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&at, sizeof at), 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void kafka_hang_up(struct kafka_peer *c)
{
    close(c->fd);
    free(c->frame);
    kafka_arena_release(&c->arena);
}

void kafka_say(struct kafka_peer *c, const struct kafka_table *t, int16_t version,
               const void *request)
{
    struct buf b;
    uint8_t head[14] = {0};
    buf_init(&b, 64 << 20);
    put_u16(head + 4, (uint16_t)t->id);
    put_u16(head + 6, (uint16_t)version);
    put_u32(head + 8, (uint32_t)++c->sent);
    put_u16(head + 12, 6);
    buf_append(&b, head, sizeof head);
    buf_append(&b, "tester", 6);
    if (version >= t->flexible)
        buf_append_byte(&b, 0);
    assert_int_equal(kafka_encode_bytes(t, version, request, &b), BECK_OK);
    put_u32(b.data, (uint32_t)(b.len - 4));
    for (size_t at = 0; at < b.len;) {
        ssize_t n = send(c->fd, b.data + at, b.len - at, MSG_NOSIGNAL);
        assert_true(n > 0);
        at += (size_t)n;
    }
    buf_release(&b);
}

static bool receive(struct kafka_peer *c, void *into, size_t len)
{
    for (uint8_t *at = into; len > 0;) {
        ssize_t n = recv(c->fd, at, len, 0);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

void kafka_hear(struct kafka_peer *c, const struct kafka_table *t, int16_t version, void *out)
{
    uint8_t size[4];
    size_t used, head = version >= t->flexible ? 5 : 4;
    beck_error err = {0};
    assert_true(receive(c, size, sizeof size));
    c->len = get_u32(size);
    c->frame = realloc(c->frame, c->len);
    assert_true(c->frame && receive(c, c->frame, c->len));
    assert_int_equal(get_u32(c->frame), ++c->heard);
    kafka_arena_release(&c->arena);
    if (kafka_decode(t, version, bytes_of(c->frame + head, c->len - head), &c->arena, out, &used,
                     &err))
        fail_msg("%s %d: %s", t->name, version, err.text);
    assert_int_equal(used, c->len - head);
}

bool kafka_hears_end(struct kafka_peer *c)
{
    uint8_t byte;
    return recv(c->fd, &byte, 1, 0) <= 0;
}

/* ---- batches ---- */

void kafka_make_batch(struct buf *out, const char *value, int32_t count,
                      const struct kafka_made *how)
{
    struct batch_builder b;
    struct codec codec;
    struct buf scratch;
    beck_bytes batch = {0};
    int64_t time_ms = how->timestamp_ms ? how->timestamp_ms : clock_wall_ms(clock_system());
    struct batch_header producer = {.producer_id = how->producer_id ? how->producer_id : -1,
                                    .producer_epoch = how->producer_id ? how->epoch : (int16_t)-1,
                                    .base_sequence = how->producer_id ? how->sequence : -1,
                                    .attributes = how->attributes};
    batch_builder_init(&b, 64 << 20);
    buf_init(&scratch, 64 << 20);
    codec_init(&codec);
    for (int32_t i = 0; i < count; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        beck_event e = {.type = beck_str("b"),
                        .subject = how->no_keys ? (beck_bytes){0} : beck_str(key),
                        .data = beck_str(value)};
        assert_int_equal(batch_builder_add(&b, &e, beck_str("b"), time_ms + i), BECK_OK);
    }
    assert_int_equal(
        batch_builder_finish(&b, &codec, how->codec, 0, &producer, &scratch, &batch, NULL),
        BECK_OK);
    buf_clear(out);
    assert_int_equal(buf_append(out, batch.data, batch.len), BECK_OK);
    batch_builder_release(&b);
    buf_release(&scratch);
    codec_release(&codec);
}
