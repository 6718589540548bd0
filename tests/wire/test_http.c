/* The core: routes, framing of requests, refusals, and what holds for every answer. */
#include "wire/world.h"

#include "api/handle.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENT "{\"specversion\":\"1.0\",\"type\":\"order.created\",\"data\":{\"n\":1}}"
#define STRUCTURED "Content-Type: application/cloudevents+json\r\n"

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

static void health(void **state)
{
    struct reply r = ask(*state, "GET /health/live");
    expect(r, 200);
    assert_string_equal(r.body, "alive\n");
    assert_string_equal(reply_header(&r, "Content-Type"), "text/plain; charset=utf-8");
    assert_true(*reply_header(&r, "Date"));
    reply_free(&r);
    r = ask(*state, "HEAD /health/live");
    expect(r, 200);
    assert_string_equal(reply_header(&r, "Content-Length"), "6");
    reply_free(&r);
    r = ask(*state, "GET /health/ready");
    expect(r, 200);
    reply_free(&r);
}

static void unknown_things_are_refused(void **state)
{
    struct reply r = ask(*state, "GET /nothing");
    expect(r, 404);
    assert_string_equal(reply_header(&r, "Content-Type"), "application/problem+json");
    assert_non_null(strstr(r.body, "\"code\":\"BECK_ENOENT\""));
    reply_free(&r);
    r = ask(*state, "DELETE /health/live");
    expect(r, 405);
    assert_string_equal(reply_header(&r, "Allow"), "GET, HEAD, OPTIONS");
    reply_free(&r);
    r = ask(*state, "OPTIONS /health/live");
    expect(r, 204);
    assert_string_equal(reply_header(&r, "Allow"), "GET, HEAD, OPTIONS");
    reply_free(&r);
    r = post(*state, "/v1/buses/orders/events?leval=none", STRUCTURED, EVENT);
    expect(r, 400);
    assert_non_null(strstr(r.body, "did you mean \\\"level\\\"?"));
    reply_free(&r);
    r = post(*state, "/v1/buses/orders/events?level=%zz", STRUCTURED, EVENT);
    expect(r, 400);
    reply_free(&r);
    r = post(*state, "/v1/buses/nothing/events", STRUCTURED, EVENT);
    expect(r, 404);
    assert_non_null(strstr(r.body, "there is no bus \\\"nothing\\\""));
    reply_free(&r);
}

static void paths_are_decoded_once(void **state)
{
    struct reply r = post(*state, "/v1/buses/%6Frders/events", STRUCTURED, EVENT);
    expect(r, 200);
    reply_free(&r);
    r = post(*state, "/v1/buses/a%2Fb/events", STRUCTURED, EVENT);
    expect(r, 404);
    assert_non_null(strstr(r.body, "\\\"a/b\\\""));
    reply_free(&r);
    r = post(*state, "/v1/buses/a%2500/events", STRUCTURED, EVENT);
    expect(r, 404);
    assert_non_null(strstr(r.body, "\\\"a%00\\\""));
    reply_free(&r);
    r = post(*state, "/v1/buses/a%00/events", STRUCTURED, EVENT);
    expect(r, 404);
    reply_free(&r);
}

static void a_publish_at_each_level(void **state)
{
    static const char *const levels[] = {"written", "synced", "none"};
    for (int i = 0; i < 3; i++) {
        char target[80], wanted[120];
        snprintf(target, sizeof target, "/v1/buses/orders/events?level=%s", levels[i]);
        struct reply r = post(*state, target, STRUCTURED, EVENT);
        expect(r, i == 2 ? 202 : 200);
        snprintf(wanted, sizeof wanted,
                 "{\"partition\":0,\"offset\":%d,\"count\":1,\"duplicates\":0,"
                 "\"listeners_failed\":0}\n",
                 i);
        assert_string_equal(r.body, wanted);
        reply_free(&r);
    }
}

static void expect_with_head(const struct world *w, const char *head, int status)
{
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(w));
    send_text(in.fd, "GET /v1/buses HTTP/1.1\r\n%s\r\n", head);
    assert_true(read_reply(&in, false, &r));
    if (r.status != status)
        fail_msg("%s: %d, not %d", head, r.status, status);
    reply_free(&r);
    in_close(&in);
}

/* What a browser sends for a page of elsewhere, also for a name that was made to mean this machine; and what a proxy
 * hands on. */
static void requests_of_pages_of_elsewhere_need_a_name(void **state)
{
    static const struct {
        const char *head;
        int status;
    } cases[] = {{"Host: localhost:2325\r\n", 200},
                 {"Host: 127.0.0.1:2325\r\n", 200},
                 {"Host: [::1]:2325\r\n", 200},
                 {"Host: localhost:2325\r\nOrigin: http://localhost:2325\r\n", 200},
                 {"Host: localhost:2325\r\nOrigin: http://evil.example\r\n", 403},
                 {"Host: localhost:2325\r\nOrigin: http://localhost:9999\r\n", 403},
                 {"Host: localhost:2325\r\nOrigin: null\r\n", 403},
                 {"Host: evil.example\r\n", 403},
                 {"Host: evil.example\r\nOrigin: http://evil.example\r\n", 403},
                 {"Host: 127.0.0.1.evil.example\r\n", 403},
                 {"Host: 127.0.0.1:2325\r\nX-Forwarded-For: 192.0.2.1\r\n", 403},
                 {"Host: 127.0.0.1:2325\r\nForwarded: for=192.0.2.1\r\n", 403},
                 {"Host: 127.0.0.1:2325\r\nVia: 1.1 proxy\r\n", 403}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_with_head(*state, cases[i].head, cases[i].status);
}

/* Everybody may come without a name then, so that those whom a proxy hands on may as well. */
static void where_nobody_needs_a_name_a_proxy_changes_nothing(void **state)
{
    (void)state;
    static const char proxied[] = "Host: beck.example\r\nX-Forwarded-For: 192.0.2.1\r\n";
    static const char own[] = "Host: localhost\r\n";
    beck_error err;
    for (int remote = 0; remote < 2; remote++) {
        struct world w;
        struct access_settings access = {
            .anonymous_loopback = !remote, .anonymous_remote = remote, .scrypt_log_n = 10};
        world_open(&w);
        access_close(w.access);
        assert_int_equal(access_open(w.b, &access, &w.access, &err), BECK_OK);
        w.context.access = w.access;
        world_serve(&w);
        expect_with_head(&w, proxied, remote ? 200 : 403);
        expect_with_head(&w, own, remote ? 401 : 200);
        expect_with_head(&w, "Host: beck.example\r\nVia: 1.1 x\r\nOrigin: http://evil.example\r\n",
                         403);
        if (remote) {
            struct access_change ada = {.name = "ada", .password = beck_str("pw")};
            assert_int_equal(access_change_user(w.access, &ada, &err), BECK_OK);
            expect_with_head(&w, proxied, 401);
        }
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(health),
        cmocka_unit_test(unknown_things_are_refused),
        cmocka_unit_test_setup_teardown(requests_of_pages_of_elsewhere_need_a_name, open_world,
                                        close_world),
        cmocka_unit_test(where_nobody_needs_a_name_a_proxy_changes_nothing),
        cmocka_unit_test_setup_teardown(paths_are_decoded_once, open_world, close_world),
        cmocka_unit_test_setup_teardown(a_publish_at_each_level, open_world, close_world),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}
