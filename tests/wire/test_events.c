/* Publishing in every form, and pages of events. */
#include "wire/world.h"

#include "api/handle.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define JSON "Content-Type: application/json\r\n"
#define STRUCTURED "Content-Type: application/cloudevents+json\r\n"
#define BATCH "Content-Type: application/cloudevents-batch+json; charset=utf-8\r\n"
#define LINES "Content-Type: application/x-ndjson\r\n"

static int open_world(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    *state = w;
    world_open(w);
    world_serve(w);
    return 0;
}

static int close_world(void **state)
{
    world_close(*state);
    free(*state);
    return 0;
}

static void must_publish(const struct world *w, const char *headers, const char *body)
{
    struct reply r = post(w, NULL, headers, body);
    expect(r, 200);
    reply_free(&r);
}

static void must_refuse(const struct world *w, const char *headers, const char *body, int status,
                        const char *why)
{
    struct reply r = post(w, NULL, headers, body);
    expect(r, status);
    if (!strstr(r.body, why))
        fail_msg("\"%s\" is not in %s", why, r.body);
    reply_free(&r);
}

static void must_read(const struct world *w, const char *query, const char *wanted)
{
    struct reply r = ask(w, "GET /v1/buses/orders/events%s", query);
    expect(r, 200);
    assert_string_equal(r.body, wanted);
    reply_free(&r);
}

/* One event published so must come back so. */
static void round_trip(const struct world *w, const char *headers, const char *body,
                       const char *wanted)
{
    char query[64];
    snprintf(query, sizeof query, "?from=%lld", (long long)stored(w, "orders"));
    must_publish(w, headers, body);
    must_read(w, query, wanted);
}

static void binary_mode(void **state)
{
    round_trip(
        *state,
        "ce-specversion: 1.0\r\nCE-Type: order.created\r\nce-source: /shop\r\nce-id: 1\r\n"
        "ce-time: 2026-01-31T12:00:00Z\r\nce-subject: %E2%82%AC%20100%25\r\n"
        "ce-color: a%22b\r\nce-quoted: \"q\\\"x%20y\"\r\nce-priority: 7\r\n"
        "Content-Type: text/plain\r\n",
        "hello",
        "[{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/shop\",\"type\":\"order.created\","
        "\"subject\":\"\xe2\x82\xac 100%\",\"time\":\"2026-01-31T12:00:00Z\","
        "\"datacontenttype\":\"text/plain\",\"priority\":7,\"color\":\"a\\\"b\","
        "\"quoted\":\"q\\\"x y\",\"data\":\"hello\"}]\n");
    round_trip(*state,
               "ce-specversion: 1.0\r\nce-type: order.created\r\nce-time: 2026-01-31T12:00:00Z\r\n"
               "Content-Type: application/octet-stream\r\n",
               "\x01\xff",
               "[{\"specversion\":\"1.0\",\"id\":\"orders/0/1\",\"source\":\"/orders\","
               "\"type\":\"order.created\",\"time\":\"2026-01-31T12:00:00Z\","
               "\"datacontenttype\":\"application/octet-stream\",\"data_base64\":\"Af8=\"}]\n");
}

/* An event with a type is one, whether or not its version is said; so JSON is its data. */
static void binary_mode_without_a_version(void **state)
{
    round_trip(*state,
               "ce-type: order.paid\r\nce-time: 2026-01-31T12:00:00Z\r\n"
               "Content-Type: application/json\r\n",
               "{\"type\":\"x\",\"id\":1}",
               "[{\"specversion\":\"1.0\",\"id\":\"orders/0/0\",\"source\":\"/orders\","
               "\"type\":\"order.paid\",\"time\":\"2026-01-31T12:00:00Z\","
               "\"datacontenttype\":\"application/json\",\"data\":{\"type\":\"x\",\"id\":1}}]\n");
    /* The type of the content says that it is an event. */
    round_trip(*state, "ce-type: ignored\r\nContent-Type: application/cloudevents+json\r\n",
               "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"order.paid\","
               "\"time\":\"2026-01-31T12:00:00Z\"}",
               "[{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\","
               "\"type\":\"order.paid\",\"time\":\"2026-01-31T12:00:00Z\"}]\n");
}

static void binary_mode_refused(void **state)
{
    must_refuse(*state, "ce-specversion: 1.0\r\n", "", 400, "ce-type is missing");
    must_refuse(*state, "ce-source: /a\r\n", "", 415, "ce-type among them");
    must_refuse(*state, "ce-specversion: 0.3\r\nce-type: a\r\n", "", 400, "the only version known");
    must_refuse(*state, "ce-specversion: 1.0\r\nce-type: a\r\nce-id: 1\r\nce-id: 2\r\n", "", 400,
                "more than once");
    must_refuse(*state, "ce-specversion: 1.0\r\nce-type: a\r\nce-x: 1\r\nCE-X: 2\r\n", "", 400,
                "more than once");
    must_refuse(*state, "ce-specversion: 1.0\r\nce-type: a\r\nce-subject: %ff\r\n", "", 400,
                "UTF-8");
    must_refuse(*state, "ce-specversion: 1.0\r\nce-type: a\r\nce-subject: %07\r\n", "", 400,
                "control character");
    must_refuse(*state, "ce-specversion: 1.0\r\nce-type: a\r\nce-time: today\r\n", "", 400,
                "ce-time");
    must_refuse(*state,
                "ce-type: a\r\nce-time: 2026-01-31T12:00:00Z\r\nce-time: 2026-01-31T12:00:01Z\r\n",
                "", 400, "more than once");
    must_refuse(*state, "ce-specversion: 1.0\r\nce-type: a\r\nce-a-b: 1\r\n", "", 400,
                "letters and digits");
    must_refuse(*state, "ce-specversion: 1.0\r\nce-type: a..b\r\n", "", 400, "type");
    must_refuse(*state, "ce-specversion: 1.0\r\nce-type: a\r\nce-datacontenttype: x/y\r\n", "", 400,
                "Content-Type");
    assert_int_equal(stored(*state, "orders"), 0);
}

static void json_forms(void **state)
{
    static const char first[] =
        "[{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\","
        "\"type\":\"a.b\",\"time\":\"2026-01-31T12:00:00Z\",\"data\":[1,2]}]\n";
    static const char event[] =
        "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"a.b\","
        "\"time\":\"2026-01-31T12:00:00Z\",\"data\":[1,2]}";
    char array[512], lines[512];
    snprintf(array, sizeof array, "[%s]", event);
    snprintf(lines, sizeof lines, "\r\n%s\n\n", event);
    round_trip(*state, STRUCTURED, event, first);
    round_trip(*state, BATCH, array, first);
    round_trip(*state, LINES, lines, first);
    round_trip(*state, JSON, event, first);
    round_trip(*state, JSON, array, first);
    round_trip(*state, JSON,
               "{\"eventId\":\"1\",\"eventType\":\"a.b\",\"source\":\"s\","
               "\"timestamp\":\"2026-01-31T12:00:00Z\",\"data\":[1,2]}",
               first);
}

static void json_refused(void **state)
{
    must_refuse(*state, STRUCTURED, "", 400, "the body is empty");
    must_refuse(*state, STRUCTURED, " [] ", 400, "is an array");
    must_refuse(*state, BATCH, "{}", 400, "is an object");
    must_refuse(*state, BATCH, "[{]", 400, "byte");
    must_refuse(*state, LINES, "{\"eventType\":\"a\"}\n{\"eventType\":1}\n", 400, "line 2");
    must_refuse(*state, LINES, "{\"eventType\":\"a\"}\n[]\n", 400, "one event a line");
    must_refuse(*state, "Content-Type: text/html\r\n", "x", 415, "text/html");
    must_refuse(*state, "Content-Type: application/cloudevents+avro\r\n", "x", 415, "avro");
    must_refuse(*state, NULL, "{}", 415, "Content-Type is");
    must_refuse(*state, JSON "Content-Encoding: gzip\r\n", "{}", 415, "Content-Encoding");
    assert_int_equal(stored(*state, "orders"), 0);
}

static void a_batch_is_stored_whole_or_not_at_all(void **state)
{
    struct reply r = post(*state, NULL, JSON, "[{\"eventType\":\"a\"},{\"eventType\":\"b\"}]");
    expect(r, 200);
    assert_non_null(strstr(r.body, "\"offset\":0,\"count\":2"));
    reply_free(&r);
    must_refuse(*state, JSON, "[{\"eventType\":\"a\"},{\"eventType\":\"b.*\"}]", 400, "type");
    assert_int_equal(stored(*state, "orders"), 2);
    r = post(*state, NULL, BATCH, "[]");
    expect(r, 200);
    assert_non_null(strstr(r.body, "\"count\":0"));
    reply_free(&r);
}

static void options_of_a_publish(void **state)
{
    struct reply r =
        post(*state, "/v1/buses/orders/events?partition=1", JSON, "{\"eventType\":\"a\"}");
    expect(r, 400);
    assert_non_null(strstr(r.body, "has no partition 1"));
    reply_free(&r);
    r = post(*state, "/v1/buses/orders/events?level=sync", JSON, "{\"eventType\":\"a\"}");
    expect(r, 400);
    reply_free(&r);
    r = post(*state, "/v1/buses/new/events?create=true", JSON, "{\"eventType\":\"a\"}");
    expect(r, 200);
    reply_free(&r);
    assert_int_equal(stored(*state, "new"), 1);
}

static void expect_refusal(struct reply r, int status, const char *text)
{
    expect(r, status);
    assert_non_null(strstr(r.body, text));
    reply_free(&r);
}

/* No trying again helps. */
static void what_never_fits_is_no_matter_of_too_many(void **state)
{
    const struct world *w = *state;
    beck_bus_options options = {.event_bytes_max = 1000};
    beck_bus *bus;
    char body[2000];
    snprintf(body, sizeof body, "{\"eventType\":\"a\",\"data\":\"%01500d\"}", 0);
    assert_int_equal(beck_bus_create(w->b, "small", &options, &bus, NULL), BECK_OK);
    expect_refusal(post(w, "/v1/buses/small/events", JSON, body), 413, "event_bytes_max");
    assert_int_equal(stored(w, "small"), 0);
}

static void a_bus_in_memory_promises_nothing_that_lasts(void **state)
{
    const struct world *w = *state;
    beck_bus_options options = {.storage = BECK_STORAGE_MEMORY};
    beck_bus *bus;
    assert_int_equal(beck_bus_create(w->b, "mem", &options, &bus, NULL), BECK_OK);
    expect_refusal(post(w, "/v1/buses/mem/events?level=synced", JSON, "{\"eventType\":\"a\"}"), 400,
                   "in memory");
    struct reply r = post(w, "/v1/buses/mem/events", JSON, "{\"eventType\":\"a\"}");
    expect(r, 200);
    reply_free(&r);
}

static void a_parameter_comes_once(void **state)
{
    expect_refusal(ask(*state, "GET /v1/buses/orders/events?type=a&type=b"), 400, "more than once");
}

/* A bus that was deleted is not found again by its name; one made anew is. */
static void a_bus_is_deleted_and_made_anew(void **state)
{
    const struct world *w = *state;
    beck_bus *bus;
    must_publish(w, JSON, "{\"eventType\":\"a\"}");
    assert_int_equal(beck_bus_delete(w->b, "orders", NULL), BECK_OK);
    must_refuse(w, JSON, "{\"eventType\":\"a\"}", 404, "there is no bus");
    assert_int_equal(beck_bus_create(w->b, "orders", NULL, &bus, NULL), BECK_OK);
    must_publish(w, JSON, "{\"eventType\":\"b\"}");
    assert_int_equal(stored(w, "orders"), 1);
}

static void large_bodies_go_through_the_pool(void **state)
{
    struct buf body;
    buf_init(&body, 1 << 20);
    assert_int_equal(buf_append_byte(&body, '['), BECK_OK);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(buf_printf(&body, "%s{\"eventType\":\"a\",\"data\":%d}", i ? "," : "", i),
                         BECK_OK);
    assert_int_equal(buf_append_byte(&body, ']') | buf_terminate(&body), BECK_OK);
    must_publish(*state, JSON, (const char *)body.data);
    buf_release(&body);
    assert_int_equal(stored(*state, "orders"), 5000);
    struct reply r = ask(*state, "GET /v1/buses/orders/events");
    expect(r, 200);
    assert_string_equal(reply_header(&r, "Beck-Cursor"), "0-1000");
    reply_free(&r);
}

/* ---- pages ---- */

static void publish_numbered(const struct world *w, int count)
{
    for (int i = 0; i < count; i++) {
        char body[200];
        snprintf(
            body, sizeof body,
            "{\"eventType\":\"%s\",\"timestamp\":\"2026-01-31T12:00:%02dZ\",\"subject\":\"%d\","
            "\"data\":%d}",
            i % 3 ? "order.created" : "order.paid", i, i % 2, i);
        must_publish(w, JSON, body);
    }
}

/* The data of the events of a page, which are numbers: "0 3 6". */
static const char *numbers(const struct reply *r)
{
    static char out[4096];
    size_t len = 0;
    out[0] = 0;
    for (const char *at = r->body; (at = strstr(at, "\"data\":")); at += 7)
        len += (size_t)snprintf(out + len, sizeof out - len, "%s%d", len ? " " : "", atoi(at + 7));
    return out;
}

static void must_give(const struct world *w, const char *query, const char *wanted,
                      const char *cursor)
{
    struct reply r = ask(w, "GET /v1/buses/orders/events%s", query);
    expect(r, 200);
    assert_string_equal(numbers(&r), wanted);
    assert_string_equal(reply_header(&r, "Beck-Cursor"), cursor);
    reply_free(&r);
}

static void filters(void **state)
{
    const struct world *w = *state;
    publish_numbered(w, 10);
    must_give(w, "", "0 1 2 3 4 5 6 7 8 9", "0-10");
    must_give(w, "?from=earliest&limit=3", "0 1 2", "0-3");
    must_give(w, "?cursor=0-3&limit=3", "3 4 5", "0-6");
    must_give(w, "?from=8", "8 9", "0-10");
    must_give(w, "?from=now", "", "0-10");
    must_give(w, "?type=order.paid", "0 3 6 9", "0-10");
    must_give(w, "?type=order.paid&limit=2", "0 3", "0-4");
    must_give(w, "?type=*.paid&subject=1", "3 9", "0-10");
    must_give(w, "?from=2026-01-31T12:00:04Z&until=2026-01-31T12:00:06Z", "4 5", "0-10");
    must_give(w, "?partition=0&from=9&positions=true", "9", "0-10");
    struct reply r = ask(w, "GET /v1/buses/orders/events?type=order.paid&limit=1&from=2");
    assert_string_equal(
        reply_header(&r, "Link"),
        "</v1/buses/orders/events?cursor=0-4&type=order.paid&limit=1>; rel=\"next\"");
    reply_free(&r);
    r = ask(w, "GET /v1/buses/orders/events?from=9&positions=1");
    assert_non_null(
        strstr(r.body, "\"beckbus\":\"orders\",\"beckpartition\":0,\"beckoffset\":\"9\""));
    reply_free(&r);
}

static void pages_refused(void **state)
{
    static const struct {
        const char *query;
        int status;
    } refused[] = {{"?limit=0", 400},        {"?limit=100001", 400}, {"?type=a..b", 400},
                   {"?cursor=0-99", 416},    {"?cursor=", 400},      {"?cursor=1-0", 400},
                   {"?cursor=0-0.0-0", 400}, {"?cursor=0-0.", 400},  {"?cursor=00-0", 400},
                   {"?cursor=0-x", 400},     {"?from=99", 416},      {"?from=x", 400},
                   {"?partition=1", 404},    {"?until=x", 400},      {"?wait=x", 400},
                   {"?positions=2", 400},    {"?lmit=1", 400}};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct reply r = ask(*state, "GET /v1/buses/orders/events%s", refused[i].query);
        if (r.status != refused[i].status)
            fail_msg("%s: %d %s", refused[i].query, r.status, r.body);
        reply_free(&r);
    }
}

static void as_lines(void **state)
{
    publish_numbered(*state, 2);
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(*state));
    send_text(in.fd, "GET /v1/buses/orders/events HTTP/1.1\r\nHost: localhost\r\n"
                     "Accept: application/x-ndjson\r\n\r\n");
    assert_true(read_reply(&in, false, &r));
    assert_string_equal(reply_header(&r, "Content-Type"), "application/x-ndjson");
    assert_string_equal(numbers(&r), "0 1");
    assert_int_equal(r.body[0], '{');
    assert_int_equal(r.body[r.len - 1], '\n');
    reply_free(&r);
    in_close(&in);
}

static void remove_before(const struct world *w, const char *name, uint32_t partition,
                          int64_t offset)
{
    beck_bus *bus;
    assert_int_equal(beck_bus_get(w->b, name, &bus, NULL), BECK_OK);
    assert_int_equal(partition_truncate_before(bus_partition(bus, partition), offset, NULL),
                     BECK_OK);
}

static void must_say_gone(const struct world *w, const char *query, const char *gone,
                          const char *wanted, const char *cursor)
{
    struct reply r = ask(w, "GET /v1/buses/orders/events%s", query);
    expect(r, 200);
    assert_string_equal(reply_header(&r, "Beck-Gone"), gone);
    assert_string_equal(numbers(&r), wanted);
    assert_string_equal(reply_header(&r, "Beck-Cursor"), cursor);
    reply_free(&r);
}

static void a_page_says_what_was_removed_before_it_could_be_read(void **state)
{
    const struct world *w = *state;
    publish_numbered(w, 10);
    remove_before(w, "orders", 0, 6);
    must_say_gone(w, "", "", "6 7 8 9", "0-10");
    must_say_gone(w, "?from=earliest&limit=1", "", "6", "0-7");
    must_say_gone(w, "?from=2026-01-31T12:00:01Z&limit=1", "", "6", "0-7");
    must_say_gone(w, "?cursor=0-6&limit=1", "", "6", "0-7");
    must_say_gone(w, "?cursor=0-5&limit=1", "0/5-5", "6", "0-7");
    must_say_gone(w, "?from=2", "0/2-5", "6 7 8 9", "0-10");
    must_say_gone(w, "?cursor=0-0&type=order.paid", "0/0-5", "6 9", "0-10");
    remove_before(w, "orders", 0, 10);
    must_say_gone(w, "?cursor=0-7", "0/7-9", "", "0-10");
    must_say_gone(w, "?cursor=0-7&wait=10ms", "0/7-9", "", "0-10");
    must_say_gone(w, "?cursor=0-10", "", "", "0-10");
}

/* More than a header should hold is said by several pages. */
static void much_that_is_gone_is_said_page_by_page(void **state)
{
    enum { PARTITIONS = 600 };
    const struct world *w = *state;
    beck_bus *bus;
    beck_bus_options options = {.partitions = PARTITIONS, .level = BECK_LEVEL_NONE};
    assert_int_equal(beck_bus_create(w->b, "wide", &options, &bus, NULL), BECK_OK);
    for (int i = 0; i < PARTITIONS; i++) {
        beck_event e = {.type = beck_str("t")};
        beck_publish_options o = {.level = BECK_LEVEL_WRITTEN, .partition_plus_1 = i + 1};
        for (int n = 0; n < 2; n++)
            assert_int_equal(beck_publish_many(bus, &e, 1, &o, NULL, NULL), BECK_OK);
        remove_before(w, "wide", (uint32_t)i, 1);
    }
    char cursor[8192] = "0-0";
    int said = 0, events = 0, pages = 0;
    for (; events < PARTITIONS && pages < 5; pages++) {
        struct reply r = ask(w, "GET /v1/buses/wide/events?cursor=%s", cursor);
        expect(r, 200);
        const char *gone = reply_header(&r, "Beck-Gone");
        assert_true(strlen(gone) <= 4096);
        for (; *gone; said++) {
            char wanted[32];
            int len = snprintf(wanted, sizeof wanted, "%d/0-0", said);
            assert_memory_equal(gone, wanted, (size_t)len);
            gone += len;
            gone += *gone ? 2 : 0;
        }
        for (const char *p = r.body; (p = strstr(p, "\"type\"")); p++)
            events++;
        snprintf(cursor, sizeof cursor, "%s", reply_header(&r, "Beck-Cursor"));
        reply_free(&r);
    }
    assert_int_equal(said, PARTITIONS);
    assert_int_equal(events, PARTITIONS);
    assert_int_equal(pages, 2);
}

static void pages_over_partitions_give_every_event_once(void **state)
{
    const struct world *w = *state;
    beck_bus *bus;
    beck_bus_options options = {.partitions = 5, .level = BECK_LEVEL_WRITTEN};
    assert_int_equal(beck_bus_create(w->b, "wide", &options, &bus, NULL), BECK_OK);
    bool seen[100] = {false};
    for (int i = 0; i < 100; i++) {
        char subject[16], data[16];
        snprintf(subject, sizeof subject, "s%d", i);
        snprintf(data, sizeof data, "%d", i);
        beck_event e = {
            .type = beck_str("t"), .subject = beck_str(subject), .data = beck_str(data)};
        assert_int_equal(beck_publish(bus, &e, NULL), BECK_OK);
    }
    char cursor[256] = "";
    for (int pages = 0; pages < 15; pages++) {
        struct reply r =
            ask(w, "GET /v1/buses/wide/events?limit=7%s%s", *cursor ? "&cursor=" : "", cursor);
        expect(r, 200);
        for (const char *at = r.body; (at = strstr(at, "\"data\":")); at += 7) {
            assert_false(seen[atoi(at + 7)]);
            seen[atoi(at + 7)] = true;
        }
        snprintf(cursor, sizeof cursor, "%s", reply_header(&r, "Beck-Cursor"));
        reply_free(&r);
    }
    for (int i = 0; i < 100; i++)
        assert_true(seen[i]);
}

/* ---- waiting ---- */

static int open_narrow(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    *state = w;
    world_open(w);
    w->settings.header_max = 4096;
    world_serve(w);
    return 0;
}

/* The cursor of a bus with many partitions is long, and stands in the answer and in the next request:
 * as long as it fits every page comes, else that is said at once. */
static void long_cursors(void **state)
{
    enum { EVENTS = 9 };
    const struct world *w = *state;
    char target[4096] = "/v1/buses/wide/events?limit=2";
    beck_bus *bus;
    int count = 0;
    beck_bus_options options = {.partitions = 250, .level = BECK_LEVEL_WRITTEN};
    assert_int_equal(beck_bus_create(w->b, "wide", &options, &bus, NULL), BECK_OK);
    options.partitions = 400;
    assert_int_equal(beck_bus_create(w->b, "wider", &options, &bus, NULL), BECK_OK);
    for (int i = 0; i < EVENTS; i++) {
        char event[64];
        snprintf(event, sizeof event, "{\"eventType\":\"a\",\"subject\":\"%d\"}", i);
        struct reply r = post(w, "/v1/buses/wide/events", JSON, event);
        expect(r, 200);
        reply_free(&r);
    }
    for (int page = 0; page < 6; page++) {
        struct reply r = ask(w, "GET %s", target);
        expect(r, 200);
        for (const char *p = r.body; (p = strstr(p, "\"subject\"")); p++)
            count++;
        snprintf(target, sizeof target, "/v1/buses/wide/events?limit=2&cursor=%s",
                 reply_header(&r, "Beck-Cursor"));
        reply_free(&r);
    }
    assert_int_equal(count, EVENTS);
    struct reply r = ask(w, "GET /v1/buses/wider/events");
    expect(r, 501);
    assert_non_null(strstr(r.body, "partition=0"));
    reply_free(&r);
    r = ask(w, "GET /v1/buses/wider/events?partition=0");
    expect(r, 200);
    reply_free(&r);
}

static void a_page_waits_for_its_first_event(void **state)
{
    const struct world *w = *state;
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(w));
    send_text(
        in.fd,
        "GET /v1/buses/orders/events?type=order.paid&wait=1m HTTP/1.1\r\nHost: localhost\r\n\r\n");
    must_publish(w, JSON, "{\"eventType\":\"order.created\",\"data\":1}");
    must_publish(w, JSON, "{\"eventType\":\"order.paid\",\"data\":2}");
    assert_true(read_reply(&in, false, &r));
    expect(r, 200);
    assert_string_equal(numbers(&r), "2");
    assert_string_equal(reply_header(&r, "Beck-Cursor"), "0-2");
    reply_free(&r);
    in_close(&in);
}

static void a_wait_ends_with_its_time(void **state)
{
    must_give(*state, "?wait=20ms", "", "0-0");
    must_give(*state, "?wait=20", "", "0-0");
}

/* Who sends nothing more may be gone, and gets the answer at once. */
static void a_wait_ends_with_its_client(void **state)
{
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(*state));
    send_text(in.fd, "GET /v1/buses/orders/events?wait=1h HTTP/1.1\r\nHost: localhost\r\n\r\n");
    shutdown(in.fd, SHUT_WR);
    assert_true(read_reply(&in, false, &r));
    expect(r, 200);
    reply_free(&r);
    in_close(&in);
}

static void a_wait_ends_with_its_bus(void **state)
{
    const struct world *w = *state;
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(w));
    send_text(in.fd, "GET /v1/buses/orders/events?wait=1h HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_int_equal(beck_bus_delete(w->b, "orders", NULL), BECK_OK);
    assert_true(read_reply(&in, false, &r));
    assert_true(r.status == 410 || r.status == 404);
    reply_free(&r);
    in_close(&in);
}

static void a_wait_ends_when_the_server_drains(void **state)
{
    const struct world *w = *state;
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(w));
    send_text(in.fd, "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
                     "GET /v1/buses/orders/events?wait=1h HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_true(read_reply(&in, false, &r));
    reply_free(&r);
    assert_true(http_drain(w->h, INT64_MAX));
    assert_true(read_reply(&in, false, &r));
    expect(r, 200);
    assert_string_equal(reply_header(&r, "Connection"), "close");
    reply_free(&r);
    in_close(&in);
}

/* Those of a turn may share an append: each is told its own offset all the same, and what is refused
 * spoils nobody else's. */
static void publishers_at_once_get_an_offset_each(void **state)
{
    enum { CLIENTS = 32, ROUNDS = 60, BAD = 7 };
    static int at[CLIENTS * ROUNDS];
    const struct world *w = *state;
    struct stream_in in[CLIENTS];
    struct reply r;
    char body[64];
    int count = 0;
    for (int i = 0; i < CLIENTS; i++)
        in_open(&in[i], dial(w));
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < CLIENTS; i++) {
            snprintf(body, sizeof body, "{\"eventType\":\"%s\",\"data\":%d}",
                     i == BAD ? "a..b" : "a.b", round * CLIENTS + i);
            send_text(in[i].fd,
                      "POST /v1/buses/orders/events HTTP/1.1\r\nHost: localhost\r\n" JSON
                      "Content-Length: %zu\r\n\r\n%s",
                      strlen(body), body);
        }
        for (int i = 0; i < CLIENTS; i++) {
            assert_true(read_reply(&in[i], false, &r));
            expect(r, i == BAD ? 400 : 200);
            if (i != BAD) {
                int offset = atoi(strstr(r.body, "\"offset\":") + 9);
                assert_in_range(offset, 0, CLIENTS * ROUNDS - 1);
                at[offset] = round * CLIENTS + i;
                count++;
            }
            reply_free(&r);
        }
    }
    for (int i = 0; i < CLIENTS; i++)
        in_close(&in[i]);
    r = ask(w, "GET /v1/buses/orders/events?limit=100000");
    const char *next = r.body;
    for (int i = 0; i < count; i++) {
        next = strstr(next, "\"data\":");
        assert_non_null(next);
        next += 7;
        assert_int_equal(atoi(next), at[i]);
    }
    assert_null(strstr(next, "\"data\":"));
    reply_free(&r);
}

#define one(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        one(binary_mode),
        one(binary_mode_without_a_version),
        one(binary_mode_refused),
        one(json_forms),
        one(json_refused),
        one(a_batch_is_stored_whole_or_not_at_all),
        one(options_of_a_publish),
        one(what_never_fits_is_no_matter_of_too_many),
        one(a_bus_in_memory_promises_nothing_that_lasts),
        one(a_parameter_comes_once),
        one(publishers_at_once_get_an_offset_each),
        one(a_bus_is_deleted_and_made_anew),
        one(large_bodies_go_through_the_pool),
        one(filters),
        one(pages_refused),
        one(as_lines),
        one(a_page_says_what_was_removed_before_it_could_be_read),
        one(much_that_is_gone_is_said_page_by_page),
        one(pages_over_partitions_give_every_event_once),
        cmocka_unit_test_setup_teardown(long_cursors, open_narrow, close_world),
        one(a_page_waits_for_its_first_event),
        one(a_wait_ends_with_its_time),
        one(a_wait_ends_with_its_client),
        one(a_wait_ends_with_its_bus),
        one(a_wait_ends_when_the_server_drains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
