/* Server-sent events: what followers get, and that they resume exactly. */
#include "wire/world.h"

#include "api/handle.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_world(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    *state = w;
    world_open(w);
    world_serve(w);
    return 0;
}

static pthread_mutex_t logging = PTHREAD_MUTEX_INITIALIZER; /* the loops log side by side */
static char logged[4096];

static void log_target(void *ctx, const struct http_request *r, int status, size_t bytes,
                       int64_t ns)
{
    (void)ctx;
    (void)status;
    (void)bytes;
    (void)ns;
    pthread_mutex_lock(&logging);
    size_t len = strlen(logged);
    snprintf(logged + len, sizeof logged - len, "%s\n", http_target(r));
    pthread_mutex_unlock(&logging);
}

static int open_logged(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    *state = w;
    world_open(w);
    logged[0] = 0;
    w->context.log = log_target;
    world_serve(w);
    return 0;
}

static int open_lively(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    *state = w;
    world_open(w);
    w->settings.heartbeat_ms = 20;
    world_serve(w);
    return 0;
}

static int close_world(void **state)
{
    world_close(*state);
    free(*state);
    return 0;
}

static void publish(const struct world *w, const char *bus_name, const char *type, int number)
{
    beck_bus *bus;
    char data[32], subject[32];
    snprintf(data, sizeof data, "%d", number);
    snprintf(subject, sizeof subject, "s%d", number % 17);
    beck_event e = {.type = beck_str(type), .subject = beck_str(subject), .data = beck_str(data)};
    assert_int_equal(beck_bus_get(w->b, bus_name, &bus, NULL), BECK_OK);
    assert_int_equal(beck_publish(bus, &e, NULL), BECK_OK);
}

/* ---- a follower ---- */

struct follower {
    struct stream_in in;
    struct buf text; /* what came and was not looked at yet */
    size_t at;
    char id[512]; /* the last one */
};

static void follow(struct follower *f, const struct world *w, const char *target, const char *last)
{
    struct reply r = {0};
    char line[1024];
    *f = (struct follower){0};
    buf_init(&f->text, 64 << 20);
    in_open(&f->in, dial(w));
    send_text(f->in.fd,
              "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n%s%s%s\r\n",
              target, last ? "Last-Event-ID: " : "", last ? last : "", last ? "\r\n" : "");
    assert_true(read_line(&f->in, line, sizeof line));
    assert_string_equal(line, "HTTP/1.1 200 OK");
    size_t len = 0;
    while (read_line(&f->in, line, sizeof line) && *line)
        len += (size_t)snprintf(r.head + len, sizeof r.head - len, "%s\n", line);
    assert_string_equal(reply_header(&r, "Content-Type"), "text/event-stream; charset=utf-8");
    assert_string_equal(reply_header(&r, "Cache-Control"), "no-store");
}

static void unfollow(struct follower *f)
{
    in_close(&f->in);
    buf_release(&f->text);
}

/* The next line of the stream; false: it ended. */
static bool next_line(struct follower *f, char *out, size_t size)
{
    for (;;) {
        char *start = (char *)f->text.data + f->at;
        char *end = f->text.len > f->at ? memchr(start, '\n', f->text.len - f->at) : NULL;
        if (end) {
            assert_true((size_t)(end - start) < size);
            memcpy(out, start, (size_t)(end - start));
            out[end - start] = 0;
            f->at += (size_t)(end - start) + 1;
            return true;
        }
        if (!read_chunk(&f->in, &f->text))
            return false;
    }
}

/* The number that the next event holds; -1: the stream ended. */
static int next_number(struct follower *f, char *type)
{
    static char line[65536];
    int number = -1;
    while (next_line(f, line, sizeof line)) {
        if (strncmp(line, "id: ", 4) == 0)
            snprintf(f->id, sizeof f->id, "%.511s", line + 4);
        else if (strncmp(line, "event: ", 7) == 0 && type)
            snprintf(type, 64, "%.63s", line + 7);
        else if (strncmp(line, "data: ", 6) == 0)
            number = atoi(strstr(line, "\"data\":") + 7);
        else if (!*line && number >= 0)
            return number;
    }
    return -1;
}

static void must_get(struct follower *f, int number)
{
    int got = next_number(f, NULL);
    if (got != number)
        fail_msg("got %d, not %d", got, number);
}

/* The id of the stream's beginning. */
static void must_begin(struct follower *f, const char *id)
{
    char line[1024];
    assert_true(next_line(f, line, sizeof line));
    assert_string_equal(line, "retry: 2000");
    assert_true(next_line(f, line, sizeof line));
    assert_memory_equal(line, "id: ", 4);
    if (id)
        assert_string_equal(line + 4, id);
    snprintf(f->id, sizeof f->id, "%.511s", line + 4);
    assert_true(next_line(f, line, sizeof line));
    assert_string_equal(line, "");
}

/* ---- tests ---- */

static void from_now_on(void **state)
{
    const struct world *w = *state;
    struct follower f;
    publish(w, "orders", "order.created", 1);
    follow(&f, w, "/v1/buses/orders/events", NULL);
    must_begin(&f, "0-1");
    publish(w, "orders", "order.created", 2);
    char type[64];
    assert_int_equal(next_number(&f, type), 2);
    assert_string_equal(type, "order.created");
    assert_string_equal(f.id, "0-2");
    publish(w, "orders", "order.created", 3);
    must_get(&f, 3);
    unfollow(&f);
}

static void from_the_beginning_and_on(void **state)
{
    const struct world *w = *state;
    struct follower f;
    for (int i = 0; i < 2000; i++)
        publish(w, "orders", i % 2 ? "a.b" : "a.c", i);
    follow(&f, w, "/v1/buses/orders/events?from=earliest&type=a.b", NULL);
    for (int i = 1; i < 2000; i += 2)
        must_get(&f, i);
    publish(w, "orders", "a.c", 2000);
    publish(w, "orders", "a.b", 2001);
    must_get(&f, 2001);
    assert_string_equal(f.id, "0-2002");
    unfollow(&f);
}

static void resumes_where_it_was_cut_off(void **state)
{
    const struct world *w = *state;
    struct follower f;
    char id[512];
    for (int i = 0; i < 10; i++)
        publish(w, "orders", "t", i);
    follow(&f, w, "/v1/buses/orders/events?cursor=0-0", NULL);
    for (int i = 0; i < 4; i++)
        must_get(&f, i);
    snprintf(id, sizeof id, "%s", f.id);
    unfollow(&f);
    follow(&f, w, "/v1/buses/orders/events?from=now", id);
    must_get(&f, 4);
    unfollow(&f);
}

static void a_stream_says_what_was_removed_before_it_could_be_read(void **state)
{
    const struct world *w = *state;
    struct follower f;
    beck_bus *bus;
    char line[1024];
    for (int i = 0; i < 10; i++)
        publish(w, "orders", "t", i);
    assert_int_equal(beck_bus_get(w->b, "orders", &bus, NULL), BECK_OK);
    assert_int_equal(partition_truncate_before(bus_partition(bus, 0), 6, NULL), BECK_OK);
    follow(&f, w, "/v1/buses/orders/events", "0-4");
    must_begin(&f, "0-4");
    static const char *const said[] = {"id: 0-6", "event: beck.gone",
                                       "data: {\"partition\":0,\"from\":4,\"to\":5}", ""};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        assert_true(next_line(&f, line, sizeof line));
        assert_string_equal(line, said[i]);
    }
    for (int i = 6; i < 10; i++)
        must_get(&f, i);
    unfollow(&f);
    assert_int_equal(beck_bus_purge(bus, NULL), BECK_OK);
    follow(&f, w, "/v1/buses/orders/events", "0-6");
    must_begin(&f, "0-6");
    assert_true(next_line(&f, line, sizeof line));
    assert_string_equal(line, "id: 0-10");
    for (int i = 1; i < 4; i++)
        assert_true(next_line(&f, line, sizeof line));
    publish(w, "orders", "t", 10);
    must_get(&f, 10);
    unfollow(&f);
}

static void a_cursor_behind_the_end_is_refused(void **state)
{
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(*state));
    send_text(in.fd, "GET /v1/buses/orders/events?cursor=0-7 HTTP/1.1\r\nHost: localhost\r\n"
                     "Accept: text/event-stream\r\n\r\n");
    assert_true(read_reply(&in, false, &r));
    expect(r, 416);
    reply_free(&r);
    in_close(&in);
}

struct publisher {
    const struct world *w;
    int count;
};

static void *publish_all(void *arg)
{
    const struct publisher *p = arg;
    for (int i = 0; i < p->count; i++)
        publish(p->w, "wide", "t", i);
    return NULL;
}

/* Cut off again and again, at any event, while others publish: each event comes once. */
static void every_event_comes_once_however_often_it_resumes(void **state)
{
    const struct world *w = *state;
    enum { COUNT = 5000 };
    beck_bus *bus;
    beck_bus_options options = {.partitions = 7, .level = BECK_LEVEL_NONE};
    assert_int_equal(beck_bus_create(w->b, "wide", &options, &bus, NULL), BECK_OK);
    static bool seen[COUNT];
    memset(seen, 0, sizeof seen);
    struct publisher p = {w, COUNT};
    pthread_t thread;
    struct follower f, steady;
    char id[512];
    follow(&steady, w, "/v1/buses/wide/events", NULL);
    must_begin(&steady, NULL);
    follow(&f, w, "/v1/buses/wide/events?from=earliest", NULL);
    must_begin(&f, NULL);
    assert_int_equal(pthread_create(&thread, NULL, publish_all, &p), 0);
    srand(7);
    for (int got = 0; got < COUNT;) {
        for (int n = rand() % 400 + 1; n > 0 && got < COUNT; n--, got++) {
            int number = next_number(&f, NULL);
            assert_in_range(number, 0, COUNT - 1);
            assert_false(seen[number]);
            seen[number] = true;
        }
        snprintf(id, sizeof id, "%s", f.id);
        unfollow(&f);
        follow(&f, w, "/v1/buses/wide/events", id);
        must_begin(&f, id);
    }
    pthread_join(thread, NULL);
    for (int i = 0; i < COUNT; i++)
        assert_true(next_number(&steady, NULL) >= 0);
    unfollow(&steady);
    unfollow(&f);
}

/* One does not read; the other gets everything all the same, and memory stays bounded. */
static void who_stalls_lags_and_costs_nobody_anything(void **state)
{
    struct world *w = *state;
    enum { COUNT = 1000 };
    beck_bus *bus;
    struct follower stalled, f;
    static char filler[12000];
    memset(filler, 'x', sizeof filler - 1);
    assert_int_equal(beck_bus_get(w->b, "orders", &bus, NULL), BECK_OK);
    follow(&stalled, w, "/v1/buses/orders/events", NULL);
    must_begin(&stalled, "0-0");
    follow(&f, w, "/v1/buses/orders/events", NULL);
    must_begin(&f, "0-0");
    for (int i = 0; i < COUNT; i++) {
        char data[16];
        snprintf(data, sizeof data, "%d", i);
        beck_attribute x = {beck_str("filler"), beck_str(filler)};
        beck_event e = {
            .type = beck_str("t"), .data = beck_str(data), .extensions = &x, .extension_count = 1};
        assert_int_equal(beck_publish(bus, &e, NULL), BECK_OK);
        must_get(&f, i);
    }
    for (int i = 0; i < COUNT; i++)
        must_get(&stalled, i);
    publish(w, "orders", "t", COUNT);
    must_get(&f, COUNT);
    must_get(&stalled, COUNT);
    unfollow(&stalled);
    unfollow(&f);
}

static void many_followers_of_one_bus(void **state)
{
    const struct world *w = *state;
    enum { FOLLOWERS = 100, EVENTS = 50 };
    static struct follower all[FOLLOWERS];
    for (int i = 0; i < FOLLOWERS; i++) {
        follow(&all[i], w,
               i % 2 ? "/v1/buses/orders/events" : "/v1/buses/orders/events?positions=true", NULL);
        must_begin(&all[i], "0-0");
    }
    for (int n = 0; n < EVENTS; n++)
        publish(w, "orders", "t", n);
    for (int i = 0; i < FOLLOWERS; i++)
        for (int n = 0; n < EVENTS; n++)
            must_get(&all[i], n);
    for (int i = 0; i < FOLLOWERS; i++)
        unfollow(&all[i]);
}

static void ends_with_its_bus(void **state)
{
    const struct world *w = *state;
    struct follower f;
    follow(&f, w, "/v1/buses/orders/events", NULL);
    must_begin(&f, "0-0");
    assert_int_equal(beck_bus_delete(w->b, "orders", NULL), BECK_OK);
    assert_int_equal(next_number(&f, NULL), -1);
    unfollow(&f);
}

/* The stream ends, and who comes again gets what went to the new partitions from their beginning. */
static void goes_on_with_partitions_that_were_added(void **state)
{
    const struct world *w = *state;
    struct follower f;
    beck_bus *bus;
    beck_bus_info info;
    bool seen[100] = {false};
    char id[512];
    publish(w, "orders", "t", 0);
    follow(&f, w, "/v1/buses/orders/events", NULL);
    must_begin(&f, "0-1");
    assert_int_equal(beck_bus_get(w->b, "orders", &bus, NULL), BECK_OK);
    assert_int_equal(beck_bus_info_get(bus, &info, NULL), BECK_OK);
    info.options.partitions = 4;
    assert_int_equal(beck_bus_alter(bus, &info.options, NULL), BECK_OK);
    assert_int_equal(next_number(&f, NULL), -1);
    snprintf(id, sizeof id, "%s", f.id);
    unfollow(&f);
    for (int i = 1; i < 50; i++)
        publish(w, "orders", "t", i);
    follow(&f, w, "/v1/buses/orders/events?from=now", id);
    for (int i = 50; i < 100; i++)
        publish(w, "orders", "t", i);
    for (int i = 1; i < 100; i++) {
        int number = next_number(&f, NULL);
        assert_true(number > 0 && number < 100 && !seen[number]);
        seen[number] = true;
    }
    assert_non_null(strstr(f.id, ".3-"));
    unfollow(&f);
}

static void *add_partitions(void *bus)
{
    beck_bus_info info;
    for (uint32_t count = 2; count <= 60; count++) {
        assert_int_equal(beck_bus_info_get(bus, &info, NULL), BECK_OK);
        info.options.partitions = count;
        assert_int_equal(beck_bus_alter(bus, &info.options, NULL), BECK_OK);
    }
    return NULL;
}

static void many_come_while_partitions_are_added(void **state)
{
    const struct world *w = *state;
    beck_bus *bus;
    beck_bus_info info;
    pthread_t thread;
    for (int i = 0; i < 100; i++)
        publish(w, "orders", "t", i);
    assert_int_equal(beck_bus_get(w->b, "orders", &bus, NULL), BECK_OK);
    assert_int_equal(pthread_create(&thread, NULL, add_partitions, bus), 0);
    do {
        struct follower f;
        follow(&f, w, "/v1/buses/orders/events?from=earliest", NULL);
        int number = next_number(&f, NULL);
        assert_true(number == 0 || number == -1); /* the stream may end at once */
        unfollow(&f);
        assert_int_equal(beck_bus_info_get(bus, &info, NULL), BECK_OK);
    } while (info.options.partitions < 60);
    pthread_join(thread, NULL);
}

/* With the first user nobody may read without a name: also who reads already, however busy. */
static void ends_when_its_caller_may_no_longer_read(void **state)
{
    const struct world *w = *state;
    struct follower f;
    follow(&f, w, "/v1/buses/orders/events", NULL);
    must_begin(&f, "0-0");
    publish(w, "orders", "order.created", 1);
    must_get(&f, 1);
    beck_error err;
    assert_int_equal(access_put_user(w->access, "ada", beck_str("a long password"), NULL, 0, &err),
                     BECK_OK);
    publish(w, "orders", "order.created", 2);
    assert_int_equal(next_number(&f, NULL), -1);
    unfollow(&f);
}

static void must_answer(const struct world *w, const char *headers, const char *target, int status)
{
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(w));
    send_text(in.fd, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", target, headers);
    assert_true(read_reply(&in, false, &r));
    expect(r, status);
    reply_free(&r);
    in_close(&in);
}

/* As EventSource in a browser, which sends no header of the page's choice. */
static void a_token_may_come_in_the_query_of_a_stream(void **state)
{
    const struct world *w = *state;
    const struct access_rule rule = {ACCESS_BUS, "orders", ACCESS_READ};
    static const char sse[] = "Accept: text/event-stream\r\n";
    char token[ACCESS_TOKEN_SIZE], target[256], both[256];
    struct follower f;
    assert_int_equal(access_put_user(w->access, "page", (beck_bytes){0}, &rule, 1, NULL), BECK_OK);
    assert_int_equal(access_make_token(w->access, "page", "tab", token, NULL), BECK_OK);
    snprintf(target, sizeof target, "/v1/buses/orders/events?access_token=%s&type=t", token);
    follow(&f, w, target, NULL);
    must_begin(&f, "0-0");
    publish(w, "orders", "t", 1);
    must_get(&f, 1);
    unfollow(&f);
    must_answer(w, sse, "/v1/buses/orders/events?access_token=beck_wrong", 401);
    must_answer(w, sse, "/v1/buses/orders/events?access_token=", 401);
    must_answer(w, "", target, 400);
    snprintf(both, sizeof both, "%sAuthorization: Bearer %s\r\n", sse, token);
    must_answer(w, both, target, 400);
    snprintf(target, sizeof target, "/v1/buses?access_token=%s", token);
    must_answer(w, "", target, 400);
    snprintf(target, sizeof target, "/v1/nothing?a=%%&%%41ccess_token=%s", token);
    must_answer(w, "Transfer-Encoding: gzip\r\n", target, 501);
    http_drain(w->h, INT64_MAX);
    pthread_mutex_lock(&logging);
    assert_non_null(strstr(logged, "access_token=**"));
    assert_non_null(strstr(logged, "*&type=t"));
    assert_non_null(strstr(logged, "%41ccess_token=**"));
    assert_null(strstr(logged, token));
    pthread_mutex_unlock(&logging);
}

static void a_quiet_stream_has_heartbeats(void **state)
{
    const struct world *w = *state;
    struct follower f;
    char line[64];
    follow(&f, w, "/v1/buses/orders/events", NULL);
    must_begin(&f, "0-0");
    for (int i = 0; i < 2; i++) {
        assert_true(next_line(&f, line, sizeof line));
        assert_string_equal(line, ":");
        assert_true(next_line(&f, line, sizeof line));
        assert_string_equal(line, "");
    }
    publish(w, "orders", "t", 1);
    must_get(&f, 1);
    unfollow(&f);
}

static void ends_when_the_server_drains(void **state)
{
    const struct world *w = *state;
    struct follower f, behind;
    follow(&f, w, "/v1/buses/orders/events", NULL);
    must_begin(&f, "0-0");
    follow(&behind, w, "/v1/buses/orders/events?from=earliest", NULL);
    assert_true(http_drain(w->h, INT64_MAX));
    assert_int_equal(next_number(&f, NULL), -1);
    unfollow(&f);
    unfollow(&behind);
}

static void stopping_cuts_off_who_stalls(void **state)
{
    struct world *w = *state;
    struct follower f;
    static char filler[60000];
    beck_bus *bus;
    memset(filler, 'x', sizeof filler - 1);
    assert_int_equal(beck_bus_get(w->b, "orders", &bus, NULL), BECK_OK);
    beck_event e = {
        .type = beck_str("t"), .data = beck_str(filler), .datacontenttype = beck_str("text/plain")};
    for (int i = 0; i < 300; i++)
        assert_int_equal(beck_publish(bus, &e, NULL), BECK_OK);
    follow(&f, w, "/v1/buses/orders/events?from=earliest", NULL);
    must_begin(&f, "0-0");
    http_drain(w->h, 0);
    unfollow(&f);
}

static void pages_have_what_streams_have_not(void **state)
{
    static const char *const refused[] = {"limit=1", "wait=1s", "until=now"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct stream_in in;
        struct reply r;
        in_open(&in, dial(*state));
        send_text(in.fd,
                  "GET /v1/buses/orders/events?%s HTTP/1.1\r\nHost: localhost\r\n"
                  "Accept: text/event-stream\r\n\r\n",
                  refused[i]);
        assert_true(read_reply(&in, false, &r));
        expect(r, 400);
        reply_free(&r);
        in_close(&in);
    }
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(*state));
    send_text(in.fd, "HEAD /v1/buses/orders/events HTTP/1.1\r\nHost: localhost\r\n"
                     "Accept: text/event-stream\r\n\r\n");
    assert_true(read_reply(&in, true, &r));
    expect(r, 200);
    reply_free(&r);
    assert_false(in_more(&in)); /* nothing behind the head */
    assert_int_equal(in.len, 0);
    in_close(&in);
}

#define one(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        one(from_now_on),
        one(from_the_beginning_and_on),
        one(resumes_where_it_was_cut_off),
        one(a_stream_says_what_was_removed_before_it_could_be_read),
        one(a_cursor_behind_the_end_is_refused),
        one(every_event_comes_once_however_often_it_resumes),
        one(who_stalls_lags_and_costs_nobody_anything),
        one(many_followers_of_one_bus),
        one(ends_with_its_bus),
        one(goes_on_with_partitions_that_were_added),
        one(many_come_while_partitions_are_added),
        one(ends_when_its_caller_may_no_longer_read),
        cmocka_unit_test_setup_teardown(a_token_may_come_in_the_query_of_a_stream, open_logged,
                                        close_world),
        cmocka_unit_test_setup_teardown(a_quiet_stream_has_heartbeats, open_lively, close_world),
        one(ends_when_the_server_drains),
        one(stopping_cuts_off_who_stalls),
        one(pages_have_what_streams_have_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
