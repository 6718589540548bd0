/* Webhooks over HTTP: answers mean that the event is stored, repeats are no second events, and what
 * is refused is counted, limited and kept. */
#include "wire/world.h"

#include "api/handle.h"
#include "base/error.h"
#include "event/event.h"
#include "hook/mac.h"
#include "wire/http/hooks.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define SECRET "It's a Secret to Everybody"
#define PUSH "{\"ref\":\"refs/heads/main\",\"repository\":{\"full_name\":\"acme/shop\"}}"

static const char *const secret = SECRET;
static const char *const token = "t0ken";

struct place {
    struct world w;
    struct hooks *hooks;
};

static const struct hook_source sources[] = {
    {.name = "gh", .provider = HOOK_GITHUB, .secrets = &secret, .secret_count = 1, .bus = "hub"},
    {.name = "plain",
     .provider = HOOK_GITHUB,
     .secrets = &secret,
     .secret_count = 1,
     .bus = "orders"},
    {.name = "small",
     .provider = HOOK_NONE,
     .bus = "orders",
     .body_max = 100,
     .level = BECK_LEVEL_NONE,
     .id_from = "/id"},
    {.name = "ce",
     .provider = HOOK_CLOUDEVENTS,
     .secrets = &token,
     .secret_count = 1,
     .bus = "hub"},
    {.name = "pp", .provider = HOOK_PAYPAL, .webhook_id = "W", .bus = "hub"},
};

/* Stands for PayPal's address: nobody answers. */
static beck_status fetch_nothing(void *ctx, const char *url, size_t max, struct buf *pem,
                                 beck_error *err)
{
    (void)ctx;
    (void)max;
    (void)pem;
    return error_set(err, BECK_EIO, "nobody at \"%s\"", url);
}

static void make_hooks(struct place *p)
{
    static const struct certificates_options certificates = {.fetch = fetch_nothing};
    struct hooks_options options = {.refused_max = 5, .certificates = &certificates};
    beck_error err = {0};
    if (hooks_new(p->w.b, &options, &p->hooks, &err) ||
        hooks_set(p->hooks, sources, COUNT(sources), &err))
        fail_msg("%s", err.text);
    p->w.context.hooks = p->hooks;
}

static int open_place(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    *state = p;
    world_open(&p->w);
    make_hooks(p);
    world_serve(&p->w);
    return 0;
}

static int close_place(void **state)
{
    struct place *p = *state;
    http_stop(p->w.h);
    p->w.h = NULL;
    hooks_free(p->hooks);
    world_close(&p->w);
    free(p);
    return 0;
}

/* Headers of a push that is signed with the key. */
static const char *push_headers(const char *key, const char *id, const char *body)
{
    static char headers[1024];
    struct mac mac;
    uint8_t value[MAC_SIZE_MAX];
    char text[MAC_TEXT_MAX];
    beck_bytes content = beck_str(body);
    assert_int_equal(mac_init(&mac, HOOK_SHA256, beck_str(key), NULL), BECK_OK);
    mac_text(value, mac_run(&mac, &content, 1, value), HOOK_HEX, text);
    mac_release(&mac);
    snprintf(headers, sizeof headers,
             "Content-Type: application/json\r\nX-GitHub-Event: push\r\nX-GitHub-Delivery: %s\r\n"
             "X-Hub-Signature-256: sha256=%s\r\n",
             id, text);
    return headers;
}

static int push(const struct place *p, const char *hook, const char *key, const char *id)
{
    char target[64];
    snprintf(target, sizeof target, "/hooks/%s", hook);
    struct reply r = post(&p->w, target, push_headers(key, id, PUSH), PUSH);
    assert_int_equal(r.len, 0);
    reply_free(&r);
    return r.status;
}

static void a_webhook_is_stored(void **state)
{
    struct place *p = *state;
    assert_int_equal(push(p, "gh", SECRET, "d1"), 200);
    beck_bus *bus;
    beck_reader *reader;
    const beck_event *e;
    beck_read_options options = {.from.kind = BECK_FROM_EARLIEST};
    assert_int_equal(beck_bus_get(p->w.b, "hub", &bus, NULL), BECK_OK);
    assert_int_equal(beck_reader_open(bus, &options, &reader, NULL), BECK_OK);
    assert_int_equal(beck_reader_next(reader, 0, &e, NULL), BECK_OK);
    assert_true(bytes_equal_text(e->type, "com.github.push"));
    assert_true(bytes_equal_text(e->id, "d1"));
    assert_true(bytes_equal_text(e->subject, "acme/shop"));
    assert_true(bytes_equal_text(e->data, PUSH));
    assert_true(bytes_equal_text(event_extension(e, "hook"), "gh"));
    assert_int_equal(beck_reader_next(reader, 0, &e, NULL), BECK_END);
    beck_reader_close(reader);
    /* At level synced: it is on the device when the answer comes. */
    beck_partition_info info;
    assert_int_equal(beck_partition_info_get(bus, 0, &info, NULL), BECK_OK);
    assert_int_equal(info.synced_offset, 1);
}

static void wrong_ones_get_no_detail(void **state)
{
    struct place *p = *state;
    assert_int_equal(push(p, "gh", "another", "d1"), 401);
    struct reply r = post(&p->w, "/hooks/gh", NULL, PUSH);
    expect(r, 401);
    assert_int_equal(r.len, 0);
    reply_free(&r);
    r = post(&p->w, "/hooks/nobody", NULL, PUSH);
    expect(r, 404);
    assert_int_equal(r.len, 0);
    reply_free(&r);
    assert_int_equal(stored(&p->w, "hub"), 0);
}

/* The bus "hub" was made with a window, "orders" has none: there it is kept in memory. */
static void a_repeat_is_no_second_event(void **state)
{
    struct place *p = *state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(push(p, "gh", SECRET, "d1"), 200);
        assert_int_equal(push(p, "plain", SECRET, "d1"), 200);
    }
    assert_int_equal(push(p, "gh", SECRET, "d2"), 200);
    assert_int_equal(push(p, "plain", SECRET, "d2"), 200);
    assert_int_equal(stored(&p->w, "hub"), 2);
    assert_int_equal(stored(&p->w, "orders"), 2);
    /* New settings keep the window. */
    assert_int_equal(hooks_set(p->hooks, sources, COUNT(sources), NULL), BECK_OK);
    assert_int_equal(push(p, "plain", SECRET, "d1"), 200);
    assert_int_equal(stored(&p->w, "orders"), 2);
}

/* Killed after an answer that the provider never saw: it comes again. */
static void a_repeat_after_a_crash(void **state)
{
    struct place *p = *state;
    assert_int_equal(push(p, "gh", SECRET, "d1"), 200);
    p->w.context.hooks = NULL;
    world_reopen(&p->w);
    hooks_free(p->hooks);
    http_stop(p->w.h);
    close(p->w.listen_fd);
    close(p->w.unix_fd);
    make_hooks(p);
    world_serve(&p->w);
    assert_int_equal(push(p, "gh", SECRET, "d1"), 200);
    assert_int_equal(stored(&p->w, "hub"), 1);
}

/* What could not be stored is refused, and not taken for a repeat when it comes again. */
static void a_failed_delivery_may_come_again(void **state)
{
    struct place *p = *state;
    beck_queue_options options = {.length_max = 1, .overflow = BECK_OVERFLOW_REFUSE};
    beck_binding binding = {.bus = "orders"};
    assert_int_equal(beck_queue_create(p->w.b, "q", &options, NULL), BECK_OK);
    assert_int_equal(beck_queue_bind(p->w.b, "q", &binding, NULL), BECK_OK);
    assert_int_equal(push(p, "plain", SECRET, "d1"), 200);
    char target[] = "/hooks/plain";
    struct reply r = post(&p->w, target, push_headers(SECRET, "d2", PUSH), PUSH);
    expect(r, 503);
    assert_string_equal(reply_header(&r, "Retry-After"), "5");
    assert_int_equal(r.len, 0);
    reply_free(&r);
    assert_int_equal(stored(&p->w, "orders"), 1);
    r = ask(&p->w, "GET /v1/hooks");
    assert_non_null(strstr(r.body, "\"failed\":1"));
    assert_non_null(strstr(r.body, "\"failure\":\"BECK_ELIMIT: "));
    reply_free(&r);
    assert_int_equal(beck_queue_delete(p->w.b, "q", NULL), BECK_OK);
    assert_int_equal(push(p, "plain", SECRET, "d2"), 200);
    assert_int_equal(stored(&p->w, "orders"), 2);
}

static void a_bus_that_was_deleted_is_made_anew(void **state)
{
    struct place *p = *state;
    assert_int_equal(push(p, "gh", SECRET, "d1"), 200);
    assert_int_equal(beck_bus_delete(p->w.b, "hub", NULL), BECK_OK);
    beck_bus *bus;
    assert_int_equal(push(p, "gh", "another", "d2"), 401);
    assert_int_equal(beck_bus_get(p->w.b, "hub", &bus, NULL), BECK_ENOENT);
    assert_int_equal(push(p, "gh", SECRET, "d2"), 200);
    assert_int_equal(stored(&p->w, "hub"), 1);
    assert_int_equal(push(p, "gh", SECRET, "d3"), 200);
    assert_int_equal(stored(&p->w, "hub"), 2);
}

/* Chunks of a few bytes, a client that waits for leave, and a query that nobody asked for. */
static void bodies_as_they_come(void **state)
{
    struct place *p = *state;
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(&p->w));
    send_text(in.fd,
              "POST /hooks/gh?x=%%41&y HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: "
              "chunked\r\n%s\r\n",
              push_headers(SECRET, "d1", PUSH));
    for (const char *at = PUSH; *at; at++)
        send_text(in.fd, "1\r\n%c\r\n", *at);
    send_text(in.fd, "0\r\n\r\n");
    assert_true(read_reply(&in, false, &r));
    expect(r, 200);
    reply_free(&r);
    send_text(in.fd,
              "POST /hooks/gh HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n"
              "Expect: 100-continue\r\n%s\r\n",
              strlen(PUSH), push_headers(SECRET, "d2", PUSH));
    assert_true(read_reply(&in, false, &r));
    expect(r, 100);
    reply_free(&r);
    send_text(in.fd, "%s", PUSH);
    assert_true(read_reply(&in, false, &r));
    expect(r, 200);
    reply_free(&r);
    in_close(&in);
    assert_int_equal(stored(&p->w, "hub"), 2);
}

/* One that is large is hashed on the pool; one that no event of the bus can hold is refused. A bus
 * that was made for GitHub holds what GitHub sends. */
static void large_bodies(void **state)
{
    struct place *p = *state;
    static const struct {
        const char *target;
        size_t size;
        int status;
    } rows[] = {{"/hooks/gh", 300 * 1024, 200},
                {"/hooks/gh", 20 << 20, 200},
                {"/hooks/plain", 300 * 1024, 200},
                {"/hooks/plain", 3 << 20, 413}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *body = malloc(rows[i].size + 1), id[16];
        memset(body, ' ', rows[i].size);
        memcpy(body, "{}", 2);
        body[rows[i].size] = 0;
        snprintf(id, sizeof id, "large%zu", i);
        struct reply r = post(&p->w, rows[i].target, push_headers(SECRET, id, body), body);
        expect(r, rows[i].status);
        reply_free(&r);
        free(body);
    }
    char body[102] = {0};
    memset(body, 'x', 101);
    struct reply r = post(&p->w, "/hooks/small", NULL, body);
    expect(r, 413);
    reply_free(&r);
    body[100] = 0;
    r = post(&p->w, "/hooks/small", NULL, body);
    expect(r, 202); /* level none: accepted, no more */
    reply_free(&r);
}

static void handshakes(void **state)
{
    struct place *p = *state;
    struct reply r = ask(&p->w, "HEAD /hooks/gh");
    expect(r, 200);
    reply_free(&r);
    r = ask(&p->w, "GET /hooks/gh");
    expect(r, 405);
    assert_string_equal(reply_header(&r, "Allow"), "POST, HEAD");
    reply_free(&r);
    static const char *const origins[] = {"events.example.com"};
    static const char *const topics[] = {"https://example.org/feed"};
    const struct hook_source changed[] = {{.name = "ce",
                                           .provider = HOOK_CLOUDEVENTS,
                                           .secrets = &token,
                                           .secret_count = 1,
                                           .bus = "hub",
                                           .allow_origins = origins,
                                           .allow_origin_count = 1},
                                          {.name = "feed",
                                           .provider = HOOK_WEBSUB,
                                           .secrets = &secret,
                                           .secret_count = 1,
                                           .bus = "hub",
                                           .topics = topics,
                                           .topic_count = 1}};
    assert_int_equal(hooks_set(p->hooks, changed, 2, NULL), BECK_OK);
    r = ask(&p->w, "OPTIONS /hooks/ce HTTP/1.1\r\nWebHook-Request-Origin: events.example.com\r\n"
                   "WebHook-Request-Rate: 120\r\nX:");
    expect(r, 200);
    assert_string_equal(reply_header(&r, "WebHook-Allowed-Origin"), "events.example.com");
    assert_string_equal(reply_header(&r, "WebHook-Allowed-Rate"), "120");
    reply_free(&r);
    r = ask(&p->w,
            "GET /hooks/feed?hub.mode=subscribe&hub.topic=https%%3A%%2F%%2Fexample.org%%2Ffeed&"
            "hub.challenge=a%%20b&hub.lease_seconds=1");
    expect(r, 200);
    assert_string_equal(r.body, "a b");
    reply_free(&r);
    /* What is not configured any more is gone. */
    assert_int_equal(push(p, "gh", SECRET, "d1"), 404);
}

static void cloudevents_with_a_token(void **state)
{
    struct place *p = *state;
    static const char batch[] =
        "[{\"specversion\":\"1.0\",\"type\":\"a\",\"source\":\"/s\",\"id\":\"1\"},"
        "{\"specversion\":\"1.0\",\"type\":\"a\",\"source\":\"/s\",\"id\":\"2\"}]";
    static const char type[] = "Content-Type: application/cloudevents-batch+json\r\n";
    struct reply r = post(&p->w, "/hooks/ce?access_token=t0ken", type, batch);
    expect(r, 200);
    reply_free(&r);
    assert_int_equal(stored(&p->w, "hub"), 2);
    r = post(&p->w, "/hooks/ce?access_token=wrong", type, batch);
    expect(r, 401);
    reply_free(&r);
}

/* The certificate cannot be had: PayPal is asked to come again. */
static void paypal_waits_on_the_pool(void **state)
{
    struct place *p = *state;
    for (int i = 0; i < 2; i++) {
        struct reply r =
            post(&p->w, "/hooks/pp",
                 "PAYPAL-TRANSMISSION-ID: t\r\nPAYPAL-TRANSMISSION-TIME: now\r\n"
                 "PAYPAL-TRANSMISSION-SIG: AAAA\r\nPAYPAL-AUTH-ALGO: SHA256withRSA\r\n"
                 "PAYPAL-CERT-URL: https://api.paypal.com/v1/notifications/certs/CERT-1\r\n",
                 "{}");
        expect(r, 503);
        assert_string_equal(reply_header(&r, "Retry-After"), "5");
        reply_free(&r);
    }
}

/* ---- what operators see ---- */

static void refused_requests_are_kept_and_limited(void **state)
{
    struct place *p = *state;
    struct reply r = post(&p->w, "/hooks/ce?access_token=guessed-token",
                          "Authorization: Bearer guessed-token\r\nX-Trace: first\r\n", "{\"a\":1}");
    expect(r, 401);
    reply_free(&r);
    for (int i = 0; i < 4; i++)
        assert_int_equal(push(p, "gh", "another", "d1"), 401);
    /* Five of this address are enough; one that is right is none of them. */
    r = post(&p->w, "/hooks/gh", push_headers("another", "d1", PUSH), PUSH);
    expect(r, 429);
    assert_string_equal(reply_header(&r, "Retry-After"), "60");
    reply_free(&r);
    assert_int_equal(push(p, "gh", SECRET, "d1"), 200);
    assert_int_equal(stored(&p->w, "hub"), 1);

    r = ask(&p->w, "GET /v1/hooks");
    expect(r, 200);
    assert_null(strstr(r.body, SECRET));
    assert_null(strstr(r.body, token));
    assert_non_null(strstr(r.body, "\"name\":\"gh\",\"provider\":\"github\",\"bus\":\"hub\""));
    assert_non_null(strstr(r.body, "\"stored\":1,\"limited\":1,\"bad_signature\":5"));
    assert_non_null(strstr(r.body, "\"bad_token\":1"));
    reply_free(&r);

    r = ask(&p->w, "GET /v1/hooks/ce/refused");
    expect(r, 200);
    assert_non_null(strstr(r.body, "\"reason\":\"bad_token\""));
    assert_non_null(strstr(r.body, "\"address\":\"127.0.0.1\""));
    assert_non_null(strstr(r.body, "{\"name\":\"X-Trace\",\"value\":\"first\"}"));
    assert_non_null(strstr(r.body, "{\"name\":\"Authorization\",\"value\":\"(not kept)\"}"));
    assert_non_null(strstr(r.body, "\"body\":\"{\\\"a\\\":1}\",\"body_bytes\":7"));
    assert_null(strstr(r.body, "guessed-token"));
    reply_free(&r);

    r = ask(&p->w, "GET /v1/hooks/gh/refused?limit=2");
    expect(r, 200);
    size_t count = 0;
    for (const char *at = r.body; (at = strstr(at, "\"hook\":\"gh\"")) != NULL; at++)
        count++;
    assert_int_equal(count, 2);
    reply_free(&r);
    r = ask(&p->w, "GET /v1/hooks/nobody/refused");
    expect(r, 404);
    reply_free(&r);
    r = ask(&p->w, "GET /metrics");
    assert_non_null(strstr(r.body, "beck_hook_requests_total{hook=\"gh\",outcome=\"stored\"} 1"));
    assert_non_null(strstr(r.body, "{hook=\"gh\",outcome=\"bad_signature\"} 5"));
    reply_free(&r);
}

/* A body that is no text is shown as base64, and one that is long is cut. */
static void refused_bodies(void **state)
{
    struct place *p = *state;
    char body[5001];
    memset(body, '\xff', sizeof body - 1);
    body[sizeof body - 1] = 0;
    struct reply r = post(&p->w, "/hooks/gh", NULL, body);
    expect(r, 401);
    reply_free(&r);
    r = ask(&p->w, "GET /v1/hooks/gh/refused");
    assert_non_null(strstr(r.body, "\"body_base64\":\"/////"));
    assert_non_null(strstr(r.body, "\"body_bytes\":5000"));
    assert_in_range(r.len, 4096 / 3 * 4, 4096 / 3 * 4 + 600);
    reply_free(&r);
}

static void settings_that_are_refused_change_nothing(void **state)
{
    struct place *p = *state;
    struct hook_source twice[] = {sources[0], sources[1], sources[0]};
    beck_error err = {0};
    assert_int_equal(hooks_set(p->hooks, twice, 3, &err), BECK_EINVAL);
    assert_non_null(strstr(err.text, "two hooks have the name \"gh\""));
    twice[2].name = "a b";
    assert_int_equal(hooks_set(p->hooks, twice, 3, &err), BECK_EINVAL);
    twice[2] = sources[2];
    twice[2].bus = "__topology";
    assert_int_equal(hooks_set(p->hooks, twice, 3, &err), BECK_EINVAL);
    assert_int_equal(push(p, "gh", SECRET, "d1"), 200);
    struct reply r = post(&p->w, "/hooks/small", NULL, "{\"id\":\"1\"}");
    expect(r, 202);
    reply_free(&r);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_place, close_place)
    const struct CMUnitTest tests[] = {
        TEST(a_webhook_is_stored),
        TEST(wrong_ones_get_no_detail),
        TEST(a_repeat_is_no_second_event),
        TEST(a_repeat_after_a_crash),
        TEST(a_failed_delivery_may_come_again),
        TEST(a_bus_that_was_deleted_is_made_anew),
        TEST(bodies_as_they_come),
        TEST(large_bodies),
        TEST(handshakes),
        TEST(cloudevents_with_a_token),
        TEST(paypal_waits_on_the_pool),
        TEST(refused_requests_are_kept_and_limited),
        TEST(refused_bodies),
        TEST(settings_that_are_refused_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
