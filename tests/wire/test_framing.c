/* Requests as nobody should send them: each is answered or cut off, and memory stays bounded. */
#include "wire/world.h"

#include "wire/http/http_impl.h"

#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define TARGET "/v1/buses/orders/events"
#define TYPE "Content-Type: application/json\r\n"
#define EVENT "{\"eventType\":\"a\"}" /* 17 bytes */

static int open_with(void **state, struct http_settings settings)
{
    struct world *w = calloc(1, sizeof *w);
    *state = w;
    world_open(w);
    w->settings = settings;
    world_serve(w);
    return 0;
}

static int open_world(void **state)
{
    return open_with(state, (struct http_settings){0});
}

static int open_small(void **state)
{
    return open_with(state, (struct http_settings){.body_max = 10000, .bodies_max = 25000});
}

static int open_patient(void **state)
{
    return open_with(state, (struct http_settings){.idle_timeout_ms = 3600000});
}

static int open_fleeting(void **state)
{
    return open_with(state, (struct http_settings){.idle_timeout_ms = 50});
}

static int open_hasty(void **state)
{
    return open_with(state,
                     (struct http_settings){.request_timeout_ms = 50, .idle_timeout_ms = 1000});
}

static int close_world(void **state)
{
    world_close(*state);
    free(*state);
    return 0;
}

/* Sends the bytes and gives the status of the answer; 0: the connection ended without one. */
static int status_of(const struct world *w, const char *bytes)
{
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(w));
    send_bytes(in.fd, bytes, strlen(bytes));
    int status = read_reply(&in, false, &r) ? r.status : 0;
    reply_free(&r);
    in_close(&in);
    return status;
}

static void must_answer(const struct world *w, const char *bytes, int status)
{
    int got = status_of(w, bytes);
    if (got != status)
        fail_msg("%d, not %d, to %.200s", got, status, bytes);
}

static void chunked_bodies(void **state)
{
    must_answer(*state,
                "POST " TARGET " HTTP/1.1\r\nHost: localhost\r\n" TYPE
                "Transfer-Encoding: chunked\r\n\r\n"
                "5\r\n{\"eve\r\n00000c;name=value\r\nntType\":\"a\"}\r\n0\r\nTrailer: x\r\n\r\n",
                200);
    assert_int_equal(stored(*state, "orders"), 1);
}

static void malformed_framing_is_refused(void **state)
{
    static const struct {
        const char *headers, *body;
        int status;
    } refused[] = {
        {"Transfer-Encoding: chunked\r\n", "zz\r\nx\r\n0\r\n\r\n", 400},
        {"Transfer-Encoding: chunked\r\n", "-1\r\nx\r\n0\r\n\r\n", 400},
        {"Transfer-Encoding: chunked\r\n", "3\r\nabcd\r\n0\r\n\r\n", 400},
        {"Transfer-Encoding: chunked\r\n", "fffffffffffffffffffff\r\nx", 413},
        {"Transfer-Encoding: gzip, chunked\r\n", EVENT, 501},
        {"Transfer-Encoding: identity\r\n", EVENT, 501},
        {"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", 501},
        {"Content-Length: 17\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", 400},
        {"Content-Length: 17\r\nContent-Length: 18\r\n", EVENT, 400},
        {"Content-Length: 17\r\nContent-Length: 17\r\n", EVENT, 400},
        {"Content-Length: -1\r\n", EVENT, 400},
        {"Content-Length: 0x11\r\n", EVENT, 400},
        {"Content-Length: 99999999999999999999999\r\n", EVENT, 413},
        {"Content-Length: 17\r\nHost: y\r\n", EVENT, 400},
        {"Content-Length: 17\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n", EVENT,
         400},
        {"Content-Length: 17\r\nContent-Type: text/plain\r\n", EVENT, 400},
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        char bytes[1024];
        snprintf(bytes, sizeof bytes,
                 "POST " TARGET " HTTP/1.1\r\nHost: localhost\r\n" TYPE "%s\r\n%s",
                 refused[i].headers, refused[i].body);
        must_answer(*state, bytes, refused[i].status);
    }
    must_answer(*state, "GET /health/live HTTP/1.1\r\n\r\n", 400); /* no Host */
    assert_int_equal(stored(*state, "orders"), 0);
}

/* Where such a request ends is a matter of opinion: what stands behind it must not become the next. */
static void unclear_ends_end_the_connection(void **state)
{
    static const char *const unclear[] = {
        "Content-Length: 17\r\nContent-Length: 0\r\n\r\n" EVENT,
        "Content-Length: 0\r\nContent-Length: 17\r\n\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Content-Length : 17\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n",
        "Content-Length\t: 17\r\n\r\n",
        "Content-Length: 0\r\nX\x0b: y\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof unclear / sizeof unclear[0]; i++) {
        struct stream_in in;
        struct reply r;
        in_open(&in, dial(*state));
        send_text(in.fd,
                  "POST " TARGET " HTTP/1.1\r\nHost: localhost\r\n" TYPE "%s"
                  "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
                  unclear[i]);
        assert_true(read_reply(&in, false, &r));
        expect(r, 400);
        reply_free(&r);
        if (read_reply(&in, false, &r))
            fail_msg("%d to what stands behind %s", r.status, unclear[i]);
        in_close(&in);
    }
    assert_int_equal(stored(*state, "orders"), 0);
}

static void http_1_0(void **state)
{
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(*state));
    send_text(in.fd, "GET /health/live HTTP/1.0\r\n\r\n");
    assert_true(read_reply(&in, false, &r));
    expect(r, 200);
    assert_string_equal(r.body, "alive\n");
    assert_string_equal(reply_header(&r, "Connection"), "close");
    assert_false(in_more(&in));
    reply_free(&r);
    in_close(&in);
}

static void old_clients_that_ask_for_it_go_on(void **state)
{
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(*state));
    for (int i = 0; i < 3; i++) {
        send_text(in.fd, "GET /health/live HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        assert_true(read_reply(&in, false, &r));
        expect(r, 200);
        assert_string_equal(reply_header(&r, "Connection"), "keep-alive");
        reply_free(&r);
    }
    in_close(&in);
}

/* They know no chunks: the stream is as it is, and ends with the connection. */
static void old_clients_follow_without_chunks(void **state)
{
    struct stream_in in;
    char line[256];
    in_open(&in, dial(*state));
    send_text(in.fd, "GET " TARGET " HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n");
    assert_true(read_line(&in, line, sizeof line));
    assert_string_equal(line, "HTTP/1.1 200 OK");
    while (read_line(&in, line, sizeof line) && *line)
        assert_null(strstr(line, "chunked"));
    assert_true(read_line(&in, line, sizeof line));
    assert_string_equal(line, "retry: 2000");
    in_close(&in);
}

static void the_head_of_a_stream(void **state)
{
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(*state));
    send_text(in.fd, "HEAD " TARGET " HTTP/1.1\r\nHost: localhost\r\n"
                     "Accept: text/event-stream\r\n\r\n");
    assert_true(read_reply(&in, true, &r));
    expect(r, 200);
    assert_string_equal(reply_header(&r, "Transfer-Encoding"), "chunked");
    assert_string_equal(reply_header(&r, "Connection"), "close");
    reply_free(&r);
    assert_false(in_more(&in));
    in_close(&in);
}

static void an_empty_line_before_a_request(void **state)
{
    must_answer(*state, "\r\nGET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", 200);
    must_answer(*state, "\r\n\r\nGET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", 400);
}

/* Each byte by itself. */
static void requests_that_come_in_pieces(void **state)
{
    static const char request[] =
        "POST " TARGET " HTTP/1.1\r\nHost: localhost\r\n" TYPE "Transfer-Encoding: chunked\r\n\r\n"
        "5\r\n{\"eve\r\nC\r\nntType\":\"a\"}\r\n0\r\n\r\n";
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(*state));
    for (size_t i = 0; i < sizeof request - 1; i++)
        send_bytes(in.fd, request + i, 1);
    assert_true(read_reply(&in, false, &r));
    expect(r, 200);
    reply_free(&r);
    in_close(&in);
    assert_int_equal(stored(*state, "orders"), 1);
}

/* A client that reads nothing of many long answers holds up nobody, and gets all of them once it does. */
static void answers_that_are_not_read(void **state)
{
    enum { COUNT = 100 };
    const struct world *w = *state;
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(w));
    for (int i = 0; i < COUNT; i++)
        send_text(in.fd, "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n");
    must_answer(w, "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", 200);
    for (int i = 0; i < COUNT; i++) {
        assert_true(read_reply(&in, false, &r));
        expect(r, 200);
        assert_true(r.len > 10000);
        reply_free(&r);
    }
    in_close(&in);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    enum { COUNT = 200 };
    struct stream_in in;
    struct reply r;
    struct buf bytes;
    buf_init(&bytes, 1 << 20);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(buf_printf(&bytes,
                                    "POST " TARGET "?level=%s HTTP/1.1\r\nHost: localhost\r\n" TYPE
                                    "Content-Length: 17\r\n\r\n" EVENT,
                                    i % 3 ? "written" : "synced"),
                         BECK_OK);
    in_open(&in, dial(*state));
    send_bytes(in.fd, bytes.data, bytes.len);
    shutdown(in.fd, SHUT_WR);
    for (int i = 0; i < COUNT; i++) {
        char wanted[40];
        snprintf(wanted, sizeof wanted, "\"offset\":%d,", i);
        assert_true(read_reply(&in, false, &r));
        expect(r, 200);
        assert_non_null(strstr(r.body, wanted));
        reply_free(&r);
    }
    in_close(&in);
    buf_release(&bytes);
}

static void half_closed_requests(void **state)
{
    const struct world *w = *state;
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(w)); /* whole: answered */
    send_text(in.fd, "POST " TARGET "?level=synced HTTP/1.1\r\nHost: localhost\r\n" TYPE
                     "Content-Length: 17\r\n\r\n" EVENT);
    shutdown(in.fd, SHUT_WR);
    assert_true(read_reply(&in, false, &r));
    expect(r, 200);
    reply_free(&r);
    in_close(&in);
    /* Cut off: nothing of it counts. */
    in_open(&in, dial(w));
    send_text(in.fd, "POST " TARGET " HTTP/1.1\r\nHost: localhost\r\n" TYPE
                     "Content-Length: 18\r\n\r\n" EVENT);
    shutdown(in.fd, SHUT_WR);
    assert_false(in_more(&in));
    in_close(&in);
    assert_int_equal(stored(w, "orders"), 1);
}

static void waiting_for_leave_to_send(void **state)
{
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(*state));
    send_text(in.fd, "POST " TARGET " HTTP/1.1\r\nHost: localhost\r\n" TYPE
                     "Content-Length: 17\r\nExpect: 100-continue\r\n\r\n");
    assert_true(read_reply(&in, false, &r));
    expect(r, 100);
    reply_free(&r);
    send_text(in.fd, EVENT);
    assert_true(read_reply(&in, false, &r));
    expect(r, 200);
    reply_free(&r);
    /* What is refused anyway is refused before. */
    send_text(in.fd, "POST /nothing HTTP/1.1\r\nHost: localhost\r\n" TYPE
                     "Content-Length: 17\r\nExpect: 100-continue\r\n\r\n");
    assert_true(read_reply(&in, false, &r));
    expect(r, 404);
    reply_free(&r);
    in_close(&in);
}

static void endless_headers_are_cut_off(void **state)
{
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(*state));
    send_text(in.fd, "GET /health/live HTTP/1.1\r\nHost: localhost\r\n");
    for (int i = 0; i < 100000; i++)
        send_text(in.fd, "x-%d: %0100d\r\n", i, i); /* fails once the other end has closed */
    assert_true(!read_reply(&in, false, &r) || r.status == 431);
    reply_free(&r);
    in_close(&in);
    must_answer(*state, "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", 200);
}

static void large_bodies_are_refused(void **state)
{
    struct world *w = *state;
    struct stream_in in;
    struct reply r;
    must_answer(
        w, "POST " TARGET " HTTP/1.1\r\nHost: localhost\r\n" TYPE "Content-Length: 10001\r\n\r\n",
        413);
    /* Without a length: once it is too much. */
    in_open(&in, dial(w));
    send_text(in.fd, "POST " TARGET " HTTP/1.1\r\nHost: localhost\r\n" TYPE
                     "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 11; i++)
        send_text(in.fd, "3e8\r\n%01000d\r\n", i);
    send_text(in.fd, "0\r\n\r\n");
    assert_true(read_reply(&in, false, &r));
    expect(r, 413);
    reply_free(&r);
    in_close(&in);
    /* An endless one is cut off. */
    in_open(&in, dial(w));
    send_text(in.fd, "POST " TARGET " HTTP/1.1\r\nHost: localhost\r\n" TYPE
                     "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 1000; i++)
        send_text(in.fd, "3e8\r\n%01000d\r\n", i);
    assert_false(read_reply(&in, false, &r));
    in_close(&in);
    while (atomic_load(&w->h->bodies) > 0)
        sched_yield();
    assert_int_equal(stored(w, "orders"), 0);
}

/* A connection whose body is as long as it may be and does not end, once the server has it. */
static int dial_hanging(struct world *w, uint64_t held)
{
    int fd = dial(w);
    send_text(fd,
              "POST " TARGET " HTTP/1.1\r\nHost: localhost\r\n" TYPE
              "Content-Length: 10000\r\n\r\n%09999d",
              1);
    while (atomic_load(&w->h->bodies) < held)
        sched_yield();
    return fd;
}

static void all_bodies_together_are_bounded(void **state)
{
    struct world *w = *state;
    int first = dial_hanging(w, 10000), second = dial_hanging(w, 20000);
    char bytes[12000];
    snprintf(bytes, sizeof bytes,
             "POST " TARGET " HTTP/1.1\r\nHost: localhost\r\n" TYPE
             "Content-Length: 10000\r\n\r\n%010000d",
             1);
    must_answer(w, bytes, 503);
    close(first);
    close(second);
    while (atomic_load(&w->h->bodies) > 0)
        sched_yield();
    must_answer(w, bytes, 400); /* there is room again, and it is no event */
    while (atomic_load(&w->h->bodies) > 0)
        sched_yield();
}

/* Some bytes now and then keep nobody for ever. */
/* Nobody knows who sends to a hook before all of it is there. */
static void bodies_for_hooks_leave_room_for_others(void **state)
{
    struct world *w = *state;
    char bytes[12000];
    int hanging = dial(w);
    send_text(hanging,
              "POST /hooks/any HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\nx");
    while (atomic_load(&w->h->bodies) < 10000)
        sched_yield();
    snprintf(bytes, sizeof bytes,
             "POST /hooks/any HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n%010000d",
             1);
    must_answer(w, bytes, 503);
    snprintf(bytes, sizeof bytes,
             "POST " TARGET " HTTP/1.1\r\nHost: localhost\r\n" TYPE
             "Content-Length: 10000\r\n\r\n%010000d",
             1);
    must_answer(w, bytes, 400); /* there is room, and it is no event */
    close(hanging);
}

/* However steadily they send a byte now and then: each is told so and cut off, and others are served meanwhile. */
static void slow_senders_are_told_so_and_cut_off(void **state)
{
    const struct world *w = *state;
    static const char *const beginnings[] = {
        "GET /health/live HTTP/1.1\r\nHost: localhost\r\n",
        "POST " TARGET " HTTP/1.1\r\nHost: localhost\r\n" TYPE "Content-Length: 1000000\r\n\r\n",
        "POST " TARGET " HTTP/1.1\r\nHost: localhost\r\n" TYPE
        "Transfer-Encoding: chunked\r\n\r\nfffff\r\n",
        "G",
    };
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++) {
        struct stream_in in;
        struct reply r = ask(w, "GET /health/live");
        expect(r, 200);
        reply_free(&r);
        in_open(&in, dial(w));
        send_text(in.fd, "%s", beginnings[i]);
        struct pollfd answered = {.fd = in.fd, .events = POLLIN};
        while (poll(&answered, 1, 10) == 0)
            send_bytes(in.fd, "x", 1);
        assert_true(read_reply(&in, false, &r));
        expect(r, 408);
        assert_string_equal(reply_header(&r, "Connection"), "close");
        assert_non_null(strstr(r.body, "BECK_ETIMEDOUT"));
        reply_free(&r);
        assert_false(in_more(&in));
        in_close(&in);
    }
}

static void idle_connections_are_closed(void **state)
{
    const struct world *w = *state;
    struct stream_in in, silent;
    struct reply r;
    in_open(&silent, dial(w));
    for (;;) {
        in_open(&in, dial(w));
        send_text(in.fd, "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
        if (read_reply(&in, false, &r))
            break;
        in_close(&in); /* this thread stood still, and was idle for too long itself */
    }
    expect(r, 200);
    reply_free(&r);
    assert_false(in_more(&in));
    assert_false(in_more(&silent));
    in_close(&in);
    in_close(&silent);
}

static void clients_that_go_away(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 200; i++) {
        int fd = dial(w);
        struct linger reset = {1, 0};
        if (i % 2)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        send_text(fd, i % 4 < 2
                          ? "POST " TARGET "?level=synced HTTP/1.1\r\nHost: localhost\r\n" TYPE
                            "Content-Length: 17\r\n\r\n" EVENT
                          : "GET " TARGET "?wait=1h&from=now HTTP/1.1\r\nHost: localhost\r\n\r\n");
        close(fd);
    }
    while (http_connections(w->h) > 0)
        sched_yield();
    assert_int_equal(atomic_load(&w->h->running), 0);
}

static void connections_are_counted_and_limited(void **state)
{
    struct world *w = *state;
    enum { COUNT = 20 };
    int fds[COUNT];
    for (int i = 0; i < COUNT; i++)
        fds[i] = dial(w);
    while (http_connections(w->h) < 10)
        sched_yield();
    int ended = 0;
    for (int i = COUNT - 1; i >= COUNT - 10; i--) {
        char byte;
        ended += recv(fds[i], &byte, 1, 0) <= 0;
    }
    assert_int_equal(ended, 10);
    assert_int_equal(http_connections(w->h), 10);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
}

static int open_narrow(void **state)
{
    return open_with(state, (struct http_settings){.connections_max = 10});
}

static double rss_mib(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*d %ld", &pages), 1);
    fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1048576;
}

/* 10,000 connections, idle after a request: served all the same, at some KiB each. */
static int open_guarded(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    *state = w;
    world_open(w);
    access_close(w->access);
    struct access_settings costly = {.failures_max = 1000, .scrypt_log_n = 16};
    assert_int_equal(access_open(w->b, &costly, &w->access, NULL), BECK_OK);
    w->context.access = w->access;
    w->settings.pool_threads = 1;
    world_serve(w);
    return 0;
}

/* Hashing a password takes long, and anybody can send one: it must not take the threads of others. */
static void guessers_hold_up_nobody_else(void **state)
{
    enum { GUESSERS = 8 };
    const struct world *w = *state;
    const struct access_rule reads = {ACCESS_SERVER, NULL, ACCESS_READ};
    char token[ACCESS_TOKEN_SIZE], request[300];
    struct pollfd fds[GUESSERS];
    assert_int_equal(access_put_user(w->access, "ada", (beck_bytes){0}, &reads, 1, NULL), BECK_OK);
    assert_int_equal(access_make_token(w->access, "ada", "t", token, NULL), BECK_OK);
    for (int i = 0; i < GUESSERS; i++) {
        fds[i] = (struct pollfd){.fd = dial(w), .events = POLLIN};
        send_text(fds[i].fd, "GET /v1/buses HTTP/1.1\r\nHost: localhost\r\n"
                             "Authorization: Basic YWRhOmI=\r\n\r\n");
    }
    while (atomic_load(&w->h->running) < GUESSERS && poll(fds, GUESSERS, 0) == 0)
        sched_yield();
    snprintf(request, sizeof request,
             "GET /v1/buses HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n",
             token);
    must_answer(w, request, 200);
    assert_true(poll(fds, GUESSERS, 0) < GUESSERS);
    for (int i = 0; i < GUESSERS; i++) {
        struct stream_in in;
        struct reply r;
        in_open(&in, fds[i].fd);
        assert_true(read_reply(&in, false, &r));
        expect(r, 401);
        reply_free(&r);
        in_close(&in);
    }
}

static void add_text(void *ctx, const char *text, size_t len)
{
    buf_append(ctx, text, len);
}

/* One that comes when the server stops is dropped before anybody works on it: its memory goes with the
 * connection. */
static void nothing_begins_once_it_stops(void **state)
{
    struct world *w = *state;
    struct buf metrics;
    buf_init(&metrics, 16 << 20);
    atomic_store(&w->h->stopping, true);
    int status = status_of(w, "GET /v1/buses HTTP/1.1\r\nHost: localhost\r\n"
                              "Authorization: Basic YTpi\r\n\r\n");
    assert_int_equal(status, 0);
    http_stop(w->h);
    w->h = NULL;
    assert_int_equal(beck_metrics(w->b, add_text, &metrics, NULL), BECK_OK);
    assert_int_equal(buf_terminate(&metrics), BECK_OK);
    assert_non_null(strstr((char *)metrics.data, "beck_logins_total{result=\"wrong\"} 0\n"));
    buf_release(&metrics);
}

static void idle_connections_are_cheap(void **state)
{
    struct world *w = *state;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int count = files.rlim_cur > 21000 ? 10000 : (int)(files.rlim_cur - 200) / 2;
    int *fds = malloc((size_t)count * sizeof *fds);
    assert_non_null(fds);
    double before = rss_mib();
    for (int i = 0; i < count; i++)
        fds[i] = dial(w);
    while (http_connections(w->h) < (uint32_t)count)
        sched_yield();
    double opened = rss_mib();
    must_answer(w, "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", 200);
    for (int i = 0; i < count; i++) {
        struct stream_in in;
        struct reply r;
        in_open(&in, fds[i]);
        send_text(fds[i], "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_true(read_reply(&in, false, &r));
        expect(r, 200);
        reply_free(&r);
        free(in.data);
    }
    double used = rss_mib();
    print_message("%d idle connections: %.1f MiB, after a request each %.1f MiB\n", count,
                  opened - before, used - before);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they take more */
    assert_true(opened - before < count * 0.024 + 8);
    assert_true(used - before < count * 0.032 + 8);
#endif
    for (int i = 0; i < count; i++)
        close(fds[i]);
    free(fds);
}

#define with(test, open) cmocka_unit_test_setup_teardown(test, open, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with(chunked_bodies, open_world),
        with(malformed_framing_is_refused, open_world),
        with(unclear_ends_end_the_connection, open_world),
        with(http_1_0, open_world),
        with(old_clients_that_ask_for_it_go_on, open_world),
        with(old_clients_follow_without_chunks, open_world),
        with(the_head_of_a_stream, open_world),
        with(an_empty_line_before_a_request, open_world),
        with(requests_that_come_in_pieces, open_world),
        with(answers_that_are_not_read, open_world),
        with(pipelined_requests_are_answered_in_order, open_world),
        with(half_closed_requests, open_hasty),
        with(waiting_for_leave_to_send, open_world),
        with(endless_headers_are_cut_off, open_world),
        with(large_bodies_are_refused, open_small),
        with(all_bodies_together_are_bounded, open_small),
        with(bodies_for_hooks_leave_room_for_others, open_small),
        with(slow_senders_are_told_so_and_cut_off, open_hasty),
        with(idle_connections_are_closed, open_fleeting),
        with(clients_that_go_away, open_world),
        with(connections_are_counted_and_limited, open_narrow),
        with(guessers_hold_up_nobody_else, open_guarded),
        with(nothing_begins_once_it_stops, open_world),
        with(idle_connections_are_cheap, open_patient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
