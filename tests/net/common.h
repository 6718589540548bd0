/* A server with a protocol of lines, and clients with blocking sockets. */
#ifndef TESTS_NET_COMMON_H
#define TESTS_NET_COMMON_H

#include "base/clock.h"
#include "base/thread.h"
#include "net/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

/* Fails with the text of the error. */
#define must(call)                                                                                 \
    do {                                                                                           \
        beck_error err = {0};                                                                      \
        beck_status must_status = (call);                                                          \
        if (must_status)                                                                           \
            fail_msg("%s: %s: %s", #call, beck_status_name(must_status), err.text);                \
    } while (0)

#define refused(call, code_, words)                                                                \
    do {                                                                                           \
        beck_error err = {0};                                                                      \
        beck_status refused_status = (call);                                                       \
        if (refused_status != (code_) || err.code != (code_) || !strstr(err.text, words))          \
            fail_msg("%s: %s: %s", #call, beck_status_name(refused_status), err.text);             \
    } while (0)

/*
 * The protocol: a line is a command and a number, the answer to it is at once in the output.
 *
 *   echo <text>    the same line
 *   zeros <n>      n zeros and a newline, in pieces of 1000, and as there is room
 *   block <n>      the same from a block; file <n>: from a file; memory <n>: from memory
 *   name           the name in the peer's certificate, or -
 *   hello          the handshake is done
 *   pause          reads no more until the test resumes it
 *   tick <ms>      "tick" after that time
 *   frame <n>      what follows are n bytes, answered by "frame" once all are there
 *   quit           "bye", and the end; abort: the end at once
 */
struct server {
    struct net *net;
    struct metrics *metrics;
    struct net_settings settings;
    struct net_listener listener;
    uint16_t port;
    struct mutex lock;
    struct cond changed;
    /* With lock. */
    int opened, closed, failed, released, paused;
    char why[160]; /* of the last one that failed */
    size_t output_max;
    struct connection *last; /* the one paused last, with a reference; NULL: none */
    _Atomic(bool) refuses;   /* `opened` gives no state */
    int file;                /* of zeros */
};

struct line_state {
    struct server *s;
    size_t zeros; /* still to be sent */
    size_t frame; /* bytes that the frame has, 0: none */
};

#define FILE_SIZE (3 << 20)
static const uint8_t zeros[FILE_SIZE] = {0};

/* `condition` uses s. */
#define wait_until(s, condition)                                                                   \
    do {                                                                                           \
        mutex_lock(&(s)->lock);                                                                    \
        while (!(condition))                                                                       \
            cond_wait(&(s)->changed, &(s)->lock);                                                  \
        mutex_unlock(&(s)->lock);                                                                  \
    } while (0)

/* Of the last connection that failed; others may be failing meanwhile. */
#define assert_why(s, expected)                                                                    \
    do {                                                                                           \
        mutex_lock(&(s)->lock);                                                                    \
        assert_string_equal((s)->why, expected);                                                   \
        mutex_unlock(&(s)->lock);                                                                  \
    } while (0)

#define note(s, change)                                                                            \
    do {                                                                                           \
        mutex_lock(&(s)->lock);                                                                    \
        change;                                                                                    \
        mutex_unlock(&(s)->lock);                                                                  \
        cond_broadcast(&(s)->changed);                                                             \
    } while (0)

static void *line_opened(struct connection *c, void *ctx)
{
    struct server *s = ctx;
    (void)c;
    if (atomic_load(&s->refuses))
        return NULL;
    struct line_state *l = calloc(1, sizeof *l);
    l->s = s;
    note(s, s->opened++);
    return l;
}

static void line_closed(struct connection *c, const char *why)
{
    struct line_state *l = connection_state(c);
    struct server *s = l->s;
    assert_true(connection_is_closed(c));
    connection_write(c, "nobody reads this", 17);
    mutex_lock(&s->lock);
    s->closed++;
    s->failed += why != NULL;
    if (why)
        snprintf(s->why, sizeof s->why, "%s", why);
    mutex_unlock(&s->lock);
    cond_broadcast(&s->changed);
    free(l);
}

static void put_zeros(struct connection *c)
{
    struct line_state *l = connection_state(c);
    while (l->zeros > 0 && !connection_is_full(c)) {
        size_t n = l->zeros < 1000 ? l->zeros : 1000;
        connection_write(c, zeros, n);
        l->zeros -= n;
        if (l->zeros == 0)
            connection_write(c, "\n", 1);
    }
}

static void note_release(void *ctx)
{
    struct server *s = ctx;
    note(s, s->released++);
}

static void put_block(struct connection *c, size_t n)
{
    struct block *b = block_new(n);
    memset(b->data, 0, n);
    connection_write_block(c, b, bytes_of(b->data, n));
    block_release(b);
}

/* False: it is stopped. */
static bool run_line(struct connection *c, beck_bytes line)
{
    struct line_state *l = connection_state(c);
    struct server *s = l->s;
    char word[16] = "";
    size_t n = 0;
    char text[64];
    snprintf(text, sizeof text, "%.*s", (int)line.len, (const char *)line.data);
    sscanf(text, "%15s %zu", word, &n);
    if (strcmp(word, "echo") == 0) {
        connection_write(c, line.data, line.len);
        uint8_t *end = connection_reserve(c, 100);
        if (end) {
            *end = '\n';
            connection_commit(c, 1);
        }
    } else if (strcmp(word, "zeros") == 0) {
        l->zeros = n;
        put_zeros(c);
    } else if (strcmp(word, "block") == 0) {
        put_block(c, n);
        connection_write(c, "\n", 1);
    } else if (strcmp(word, "memory") == 0) {
        connection_write_memory(c, bytes_of(zeros, n), note_release, s);
        connection_write(c, "\n", 1);
    } else if (strcmp(word, "file") == 0) {
        connection_write_file(c, s->file, FILE_SIZE / 2 - (int64_t)n / 2, n, note_release, s);
        connection_write(c, "\n", 1);
    } else if (strcmp(word, "name") == 0) {
        char name[64];
        if (!connection_peer_name(c, name, sizeof name))
            strcpy(name, "-");
        connection_write(c, name, strlen(name));
        connection_write(c, "\n", 1);
    } else if (strcmp(word, "hello") == 0) {
        connection_established(c);
        connection_write(c, "hello\n", 6);
    } else if (strcmp(word, "pause") == 0) {
        connection_pause(c);
        note(s, (s->paused++, s->last = connection_retain(c)));
    } else if (strcmp(word, "tick") == 0) {
        connection_tick_at(c, connection_now_ns(c) + (int64_t)n * 1000000);
    } else if (strcmp(word, "frame") == 0) {
        l->frame = n;
    } else if (strcmp(word, "quit") == 0) {
        connection_write(c, "bye\n", 4);
        connection_finish(c);
        connection_write(c, "not this\n", 9);
    } else {
        connection_abort(c, "an unknown command");
    }
    note(s, if (connection_output(c) > s->output_max) s->output_max = connection_output(c));
    return l->zeros == 0 && !connection_is_full(c) && strcmp(word, "pause") != 0 &&
           strcmp(word, "quit") != 0 && strcmp(word, "abort") != 0;
}

/* Bytes of one frame or line; 0: it is not whole. */
static size_t one_message(struct connection *c, beck_bytes input, bool *goes_on)
{
    struct line_state *l = connection_state(c);
    if (l->frame > 0) {
        size_t n = l->frame;
        if (input.len < n && connection_expect(c, n, NULL))
            connection_abort(c, "the frame is too long");
        if (input.len < n)
            return 0;
        connection_write(c, "frame\n", 6);
        l->frame = 0;
        return n;
    }
    const uint8_t *end = memchr(input.data, '\n', input.len);
    if (!end)
        return 0;
    size_t len = (size_t)(end - (const uint8_t *)input.data);
    *goes_on = run_line(c, bytes_of(input.data, len));
    return len + 1;
}

static size_t line_bytes(struct connection *c, beck_bytes input)
{
    struct line_state *l = connection_state(c);
    size_t at = 0;
    bool goes_on = l->zeros == 0;
    while (goes_on && at < input.len) {
        beck_bytes rest = bytes_of((const uint8_t *)input.data + at, input.len - at);
        size_t n = one_message(c, rest, &goes_on);
        if (n == 0)
            break;
        at += n;
    }
    return at;
}

static void line_tick(struct connection *c)
{
    connection_write(c, "tick\n", 5);
}

static void line_drain(struct connection *c)
{
    connection_write(c, "stops\n", 6);
    connection_finish(c);
}

static const struct net_protocol lines = {.name = "lines",
                                          .opened = line_opened,
                                          .bytes = line_bytes,
                                          .writable = put_zeros,
                                          .tick = line_tick,
                                          .drain = line_drain,
                                          .closed = line_closed};

/* ---- the server ---- */

static inline int listen_on(uint16_t *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 4096), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

static inline int file_of_zeros(void)
{
    char path[] = "/tmp/beck-test-net-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(ftruncate(fd, FILE_SIZE), 0);
    return fd;
}

/* Settings are in s, and zero otherwise. */
static inline void server_start(struct server *s)
{
    mutex_init(&s->lock);
    cond_init(&s->changed);
    s->metrics = metrics_new();
    s->settings.metrics = s->metrics;
    s->listener.fd = listen_on(&s->port);
    if (!s->listener.protocol)
        s->listener.protocol = &lines;
    s->listener.ctx = s;
    if (!s->listener.handshake_timeout_ms)
        s->listener.handshake_timeout_ms = 3600000; /* the machine may be slow */
    s->file = file_of_zeros();
    must(net_start(&s->settings, &s->listener, 1, &s->net, &err));
}

/* That are open, as the metrics say. */
static inline unsigned long connections_of(struct server *s)
{
    static const char name[] = "\nbeck_connections{protocol=\"lines\"} ";
    struct buf text;
    buf_init(&text, 1 << 20);
    must(metrics_write(s->metrics, &text));
    must(buf_terminate(&text));
    const char *line = strstr((char *)text.data, name);
    assert_non_null(line);
    unsigned long count = strtoul(line + sizeof name - 1, NULL, 10);
    buf_release(&text);
    return count;
}

static inline void server_stop(struct server *s)
{
    net_stop(s->net);
    assert_int_equal(s->opened, s->closed);
    cond_release(&s->changed);
    mutex_release(&s->lock);
    metrics_free(s->metrics);
    close(s->file);
}

static inline size_t output_seen(struct server *s)
{
    mutex_lock(&s->lock);
    size_t max = s->output_max;
    mutex_unlock(&s->lock);
    return max;
}

/* ---- clients ---- */

static inline int connect_to(const struct server *s)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(s->port)};
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static inline void say_bytes(int fd, const void *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        assert_true(n > 0);
        data = (const char *)data + n;
        len -= (size_t)n;
    }
}

static inline void say(int fd, const char *text)
{
    say_bytes(fd, text, strlen(text));
}

/* Exactly these bytes come next. */
static inline void hear_bytes(int fd, const void *expected, size_t len)
{
    uint8_t buffer[65536];
    const uint8_t *at = expected;
    while (len > 0) {
        ssize_t n = recv(fd, buffer, len < sizeof buffer ? len : sizeof buffer, 0);
        assert_true(n > 0);
        assert_memory_equal(buffer, at, (size_t)n);
        at += n;
        len -= (size_t)n;
    }
}

static inline void hear(int fd, const char *text)
{
    hear_bytes(fd, text, strlen(text));
}

static inline void hear_zeros(int fd, size_t n)
{
    while (n > 0) {
        size_t part = n < sizeof zeros ? n : sizeof zeros;
        hear_bytes(fd, zeros, part);
        n -= part;
    }
    hear(fd, "\n");
}

/* Nothing but the end, whether in order or not. */
static inline void hear_end(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);
    assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
    close(fd);
}

static inline void reset(int fd)
{
    struct linger now = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

static inline void allow_many_descriptors(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

#endif
