/* Buses, queues, dead letters and users over HTTP: every endpoint, good input and bad. */
#include "wire/call.h"

#include "api/handle.h"

#include <stdlib.h>

#define EVENTS "/v1/buses/orders/events"

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

static void buses_are_made_shown_and_deleted(void **state)
{
    const struct world *w = *state;
    check(w, "PUT", "/v1/buses/shop",
          "{\"partitions\":3,\"level\":\"written\",\"codec\":\"lz4\",\"retention_ms\":60000}", 201,
          "{\"name\":\"shop\",\"options\":{\"storage\":\"disk\",\"partitions\":3,\"level\":"
          "\"written\",\"read_synced\":false,\"codec\":\"lz4\",\"retention_ms\":60000,");
    check(w, "PUT", "/v1/buses/shop",
          "{\"partitions\":3,\"level\":\"written\",\"codec\":\"lz4\",\"retention_ms\":60000}", 200,
          "\"events\":0,");
    check(w, "PUT", "/v1/buses/shop", "{\"partitions\":4}", 409, "exists with other options");
    check(w, "PUT", "/v1/buses/plain", NULL, 201, "\"internal\":false}");
    check(w, "GET", "/v1/buses/shop", NULL, 200, "\"partitions\":3");
    check(w, "GET", "/v1/buses", NULL, 200, "{\"buses\":[{\"name\":\"orders\",");
    check(w, "GET", "/v1/buses", NULL, 200, "\"name\":\"__topology\"");
    check(w, "GET", "/v1/buses/shop/partitions", NULL, 200,
          "{\"partition\":2,\"first_offset\":0,\"next_offset\":0,\"written_offset\":0,\"synced_"
          "offset\":0,\"bytes\":");
    check(w, "DELETE", "/v1/buses/shop", NULL, 204, NULL);
    check(w, "DELETE", "/v1/buses/shop", NULL, 404, "there is no bus");
    check(w, "GET", "/v1/buses/shop", NULL, 404, "BECK_ENOENT");
    check(w, "GET", "/v1/buses/shop/partitions", NULL, 404, "BECK_ENOENT");
    check(w, "POST", "/v1/buses/shop/purge", NULL, 404, "BECK_ENOENT");
}

static void options_of_a_bus_are_changed(void **state)
{
    const struct world *w = *state;
    check(w, "PUT", "/v1/buses/shop", NULL, 201, "\"partitions\":1,");
    check(w, "PUT", "/v1/buses/shop/options", "{\"partitions\":3,\"codec\":\"zstd\"}", 200,
          "\"codec\":\"zstd\"");
    check(w, "GET", "/v1/buses/shop", NULL, 200, "\"partitions\":3");
    check(w, "GET", "/v1/buses/shop/partitions", NULL, 200, "{\"partition\":2,");
    check(w, "PUT", "/v1/buses/shop/options", "{\"partitions\":2}", 400, "has 3 partitions");
    check(w, "PUT", "/v1/buses/shop/options", "{\"partitions\":3,\"read_synced\":true}", 400,
          "stays as it was made");
    check(w, "PUT", "/v1/buses/__topology/options", NULL, 400, "belongs to beck itself");
    check(w, "PUT", "/v1/buses/none/options", NULL, 404, "BECK_ENOENT");
    check(w, "DELETE", "/v1/buses/shop", NULL, 204, NULL);
}

static void a_bus_is_purged_and_synced(void **state)
{
    const struct world *w = *state;
    check(w, "POST", EVENTS, "{\"specversion\":\"1.0\",\"type\":\"t\"}", 200, "\"offset\":0");
    assert_int_equal(stored(w, "orders"), 1);
    check(w, "POST", "/v1/sync", NULL, 204, NULL);
    check(w, "GET", "/v1/buses/orders/partitions", NULL, 200, "\"synced_offset\":1");
    check(w, "POST", "/v1/buses/orders/purge", NULL, 204, NULL);
    assert_int_equal(stored(w, "orders"), 0);
}

static void bad_buses_are_refused(void **state)
{
    const struct world *w = *state;
    check(w, "PUT", "/v1/buses/a%20b", NULL, 400, "is no name for a bus");
    check(w, "PUT", "/v1/buses/__users", NULL, 400, "kept for beck itself");
    check(w, "PUT", "/v1/buses/a", "{\"partitons\":1}", 400, "did you mean \\\"partitions\\\"?");
    check(w, "PUT", "/v1/buses/a", "{\"partitions\":0.5}", 400, "a whole number from 0 to 10000");
    check(w, "PUT", "/v1/buses/a", "{\"segment_bytes\":1}", 400, "segment_bytes");
    check(w, "PUT", "/v1/buses/a", "{\"partitions\":1} x", 400, "BECK_EINVAL");
    check(w, "PUT", "/v1/buses/a", "[]", 400, "no JSON object");
    struct reply r = post(w, "/v1/queues/a/rewind", "Content-Type: text/plain\r\n", "{}");
    expect(r, 415);
    reply_free(&r);
    check(w, "GET", "/v1/buses/a", NULL, 404, NULL);
    check(w, "DELETE", "/v1/buses/__topology", NULL, 400, "kept for beck itself");
    check(w, "POST", "/v1/buses/__topology/purge", NULL, 400, "can only be read");
}

static void queues_are_made_bound_and_deleted(void **state)
{
    const struct world *w = *state;
    check(w, "PUT", "/v1/queues/billing",
          "{\"attempts_max\":3,\"deadline_ms\":-1,\"backoff\":{\"kind\":\"fixed\",\"first_ms\":5},"
          "\"overflow\":\"refuse\",\"bindings\":[{\"bus\":\"orders\",\"pattern\":\"order.*\"}]}",
          201,
          "{\"name\":\"billing\",\"options\":{\"storage\":\"disk\",\"attempts_max\":3,\"backoff\":{"
          "\"kind\":\"fixed\",\"first_ms\":5,\"max_ms\":3600000,\"jitter_percent\":101,\"list_ms\":"
          "[]},\"deadline_ms\":-1,\"ttl_ms\":0,\"length_max\":0,\"overflow\":\"refuse\",\"priority_"
          "max\":0,\"no_dead_letters\":false},\"ready\":0,");
    check(w, "PUT", "/v1/queues/billing",
          "{\"attempts_max\":3,\"deadline_ms\":-1,\"backoff\":{\"kind\":\"fixed\",\"first_ms\":5},"
          "\"overflow\":\"refuse\"}",
          200, "\"bindings\":1,");
    check(w, "PUT", "/v1/queues/billing", "{}", 409, "exists with other options");
    check(w, "GET", "/v1/queues", NULL, 200, "{\"queues\":[{\"name\":\"billing\",");
    check(w, "GET", "/v1/queues/billing", NULL, 200, "\"oldest_ms\":-1");
    check(w, "GET", "/v1/queues/billing/bindings", NULL, 200,
          "{\"bindings\":[{\"bus\":\"orders\",\"pattern\":\"order.*\",\"from\":\"now\"}]}");
    check(w, "POST", "/v1/queues/billing/bindings", "{\"bus\":\"orders\",\"from\":\"earliest\"}",
          204, NULL);
    check(w, "GET", "/v1/queues/billing", NULL, 200, "\"bindings\":2,");
    check(w, "DELETE", "/v1/buses/orders", NULL, 409, "is bound to bus");
    check(w, "DELETE", "/v1/queues/billing/bindings?bus=orders&pattern=order.*", NULL, 204, NULL);
    check(w, "DELETE", "/v1/queues/billing/bindings?bus=orders", NULL, 204, NULL);
    check(w, "GET", "/v1/queues/billing/bindings", NULL, 200, "{\"bindings\":[]}");
    check(w, "DELETE", "/v1/queues/billing", NULL, 204, NULL);
    check(w, "GET", "/v1/queues", NULL, 200, "{\"queues\":[]}");
}

/* Both come to the lock before either has made it; whoever is second must leave it alone. */
static void a_queue_stays_when_another_with_other_options_is_refused(void **state)
{
    const struct world *w = *state;
    struct mutex *lock = &w->b->upkeep_lock;
    for (int i = 0; i < 5; i++) {
        char target[32];
        struct stream_in in[2];
        int made = 0, refused = 0;
        snprintf(target, sizeof target, "/v1/queues/q%d", i);
        mutex_lock(lock);
        for (int k = 0; k < 2; k++) {
            in_open(&in[k], dial(w));
            send_call(in[k].fd, "PUT", target, "",
                      k ? "{\"attempts_max\":2}" : "{\"attempts_max\":1}");
        }
        check(w, "GET", "/v1/queues/none", NULL, 404, NULL);
        mutex_unlock(lock);
        for (int k = 0; k < 2; k++) {
            struct reply r;
            assert_true(read_reply(&in[k], false, &r));
            made += r.status == 201;
            refused += r.status == 409;
            reply_free(&r);
            in_close(&in[k]);
        }
        assert_true(made == 1 && refused == 1);
        check(w, "GET", target, NULL, 200, NULL);
    }
}

static void bad_queues_are_refused(void **state)
{
    const struct world *w = *state;
    static const struct {
        const char *method, *path, *body;
    } none[] = {{"GET", "", NULL},
                {"DELETE", "", NULL},
                {"GET", "/bindings", NULL},
                {"POST", "/bindings", "{\"bus\":\"orders\"}"},
                {"DELETE", "/bindings?bus=orders", NULL},
                {"POST", "/pause", NULL},
                {"POST", "/resume", NULL},
                {"POST", "/purge", NULL},
                {"POST", "/rewind", "{\"from\":0}"},
                {"GET", "/events", NULL},
                {"GET", "/dead", NULL},
                {"POST", "/dead/redrive", NULL},
                {"DELETE", "/dead", NULL},
                {"POST", "/take", NULL},
                {"POST", "/settle", "{\"tags\":[]}"}};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        char target[128];
        snprintf(target, sizeof target, "/v1/queues/none%s", none[i].path);
        check(w, none[i].method, target, none[i].body, 404, "there is no queue \\\"none\\\"");
    }
    check(w, "PUT", "/v1/queues/q", "{\"bindings\":[{\"bus\":\"none\"}]}", 404,
          "there is no bus \\\"none\\\"");
    check(w, "PUT", "/v1/queues/q", "{\"bindings\":[{\"bus\":\"orders\",\"pattern\":\"a..b\"}]}",
          400, "BECK_EINVAL");
    check(w, "PUT", "/v1/queues/q", "{\"bindings\":[{\"pattern\":\"#\"}]}", 400,
          "member \\\"bindings.bus\\\" is missing");
    check(w, "PUT", "/v1/queues/q", "{\"backoff\":{\"kind\":\"list\"}}", 400, "list without");
    check(w, "GET", "/v1/queues/q", NULL, 404, NULL); /* nothing was left of it */
    check(w, "PUT", "/v1/queues/q", "{}", 201, NULL);
    check(w, "DELETE", "/v1/queues/q/bindings", NULL, 400, "\\\"bus\\\" is missing");
    check(w, "POST", "/v1/queues/q/rewind", "{}", 400, "\\\"from\\\" is missing");
    check(w, "POST", "/v1/queues/q/rewind", "{\"from\":\"soon\"}", 400, "RFC 3339");
    check(w, "GET", "/v1/queues/q/events?limit=0", NULL, 400, "limit");
    check(w, "GET", "/v1/queues/q/events?limt=1", NULL, 400, "did you mean \\\"limit\\\"?");
    check(w, "GET", "/v1/queues/q/dead?limit=x", NULL, 400, "limit");
    check(w, "POST", "/v1/queues/q/dead/redrive?offset=-2", NULL, 400, "offset");
    check(w, "POST", "/v1/queues/q/dead/redrive?offset=7", NULL, 404, NULL);
    check(w, "DELETE", "/v1/queues/q/dead?offset=7", NULL, 404, NULL);
}

static void a_queue_is_steered(void **state)
{
    const struct world *w = *state;
    check(w, "PUT", "/v1/queues/q", "{\"bindings\":[{\"bus\":\"orders\"}]}", 201, NULL);
    check(w, "POST", EVENTS, "{\"specversion\":\"1.0\",\"type\":\"a\",\"beckoffset\":7}", 200,
          NULL);
    check(w, "POST", EVENTS, "{\"specversion\":\"1.0\",\"type\":\"b\"}", 200, NULL);
    check(w, "POST", "/v1/queues/q/pause", NULL, 204, NULL);
    check(w, "GET", "/v1/queues/q", NULL, 200, "\"paused\":true");
    check(w, "POST", "/v1/queues/q/take", NULL, 204, NULL);
    check(w, "POST", "/v1/queues/q/resume", NULL, 204, NULL);
    check(w, "GET", "/v1/queues/q", NULL, 200, "\"paused\":false");
    check(w, "GET", "/v1/queues/q/events", NULL, 200,
          "\"beckbus\":\"orders\",\"beckpartition\":0,\"beckoffset\":\"0\"}");
    check(w, "GET", "/v1/queues/q/events?limit=1", NULL, 200, "\"type\":\"a\"");
    struct reply r =
        call_with(w, "Accept: application/x-ndjson\r\n", "GET", "/v1/queues/q/events", NULL);
    expect(r, 200);
    assert_string_equal(reply_header(&r, "Content-Type"), "application/x-ndjson");
    char *second = strchr(r.body, '\n');
    assert_non_null(second);
    assert_non_null(strstr(second, "\"type\":\"b\""));
    reply_free(&r);
    check(w, "POST", "/v1/queues/q/purge", NULL, 200, "{\"purged\":2}");
    check(w, "GET", "/v1/queues/q/events", NULL, 200, "[]");
    check(w, "POST", "/v1/queues/q/rewind", "{\"from\":\"earliest\"}", 204, NULL);
    check(w, "GET", "/v1/queues/q", NULL, 200, "\"ready\":2,");
    check(w, "POST", "/v1/queues/q/rewind", "{\"from\":1}", 204, NULL);
    check(w, "GET", "/v1/queues/q", NULL, 200, "\"ready\":1,");
    check(w, "POST", "/v1/queues/q/rewind", "{\"from\":3}", 416, "BECK_ERANGE");
    check(w, "PUT", "/v1/queues/half", "{\"bindings\":[{\"bus\":\"orders\",\"from\":3}]}", 416,
          "BECK_ERANGE");
    check(w, "GET", "/v1/queues/half", NULL, 404, NULL);
    check(w, "PUT", "/v1/queues/q",
          "{\"bindings\":[{\"bus\":\"orders\",\"from\":3,\"pattern\":\"x\"}]}", 416, "BECK_ERANGE");
    check(w, "GET", "/v1/queues/q", NULL, 200, "\"ready\":1,");
}

static void dead_letters_are_listed_in_pages_put_back_and_removed(void **state)
{
    const struct world *w = *state;
    beck_consumer *c;
    beck_delivery d[3];
    size_t count;
    check(w, "PUT", "/v1/queues/q", "{\"bindings\":[{\"bus\":\"orders\"}]}", 201, NULL);
    for (int i = 0; i < 3; i++)
        check(w, "POST", EVENTS,
              "{\"specversion\":\"1.0\",\"type\":\"t\",\"id\":\"1\",\"source\":\"/s\"}", 200, NULL);
    check(w, "GET", "/v1/queues/q/dead", NULL, 200, "{\"dead\":[],\"next_offset\":-1}");
    assert_int_equal(beck_consumer_open(w->b, "q", 0, &c, NULL), BECK_OK);
    assert_int_equal(beck_take(c, d, 3, 0, &count, NULL), BECK_OK);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(beck_reject(c, d[i].tag, "no \"good\"", NULL), BECK_OK);
    beck_consumer_close(c);
    check(w, "GET", "/v1/queues/q/dead", NULL, 200,
          "{\"dead\":[{\"offset\":0,\"reason\":\"rejected\",\"attempts\":1,\"died_ms\":");
    check(w, "GET", "/v1/queues/q/dead?limit=1", NULL, 200,
          "\"origin\":{\"bus\":\"orders\",\"partition\":0,\"offset\":0},\"history\":[{\"attempt\":"
          "1,");
    check(w, "GET", "/v1/queues/q/dead?limit=1", NULL, 200, "\"why\":\"no \\\"good\\\"\"}]");
    check(w, "GET", "/v1/queues/q/dead?limit=1", NULL, 200, "],\"next_offset\":1}");
    check(w, "GET", "/v1/queues/q/dead?from=2", NULL, 200,
          "\"beckoffset\":\"2\"}}],\"next_offset\":-1}");
    check(w, "POST", "/v1/queues/q/dead/redrive?offset=1", NULL, 200, "{\"redriven\":1}");
    check(w, "GET", "/v1/queues/q", NULL, 200,
          "\"ready\":1,\"in_flight\":0,\"delayed\":0,\"dead\":2");
    check(w, "DELETE", "/v1/queues/q/dead?offset=0", NULL, 200, "{\"purged\":1}");
    check(w, "POST", "/v1/queues/q/dead/redrive", NULL, 200, "{\"redriven\":1}");
    check(w, "DELETE", "/v1/queues/q/dead", NULL, 200, "{\"purged\":0}");
}

/* ---- users ---- */

static void users_are_made_shown_and_deleted(void **state)
{
    const struct world *w = *state;
    check(w, "GET", "/v1/users", NULL, 200, "{\"users\":[]}");
    check(w, "GET", "/v1/whoami", NULL, 200, "{\"user\":\"\",\"admin\":true}");
    check(w, "GET", "/v1/users/root", NULL, 404, "there is no user \\\"root\\\"");
    check(w, "PUT", "/v1/users/root", "{\"rules\":[{\"rights\":[\"admin\"]}]}", 400,
          "a rule has one");
    check(w, "PUT", "/v1/users/root",
          "{\"rules\":[{\"bus\":\"a\",\"queue\":\"b\",\"rights\":[\"admin\"]}]}", 400,
          "a rule has one");
    check(w, "PUT", "/v1/users/root", "{\"rules\":[{\"server\":true,\"rights\":[\"adm\"]}]}", 400,
          "it takes one of");
    check(w, "PUT", "/v1/users/a%20b", "{}", 400, NULL);
    check(w, "PUT", "/v1/users/root",
          "{\"password\":\"correct horse\",\"rules\":[{\"server\":true,\"rights\":[\"admin\"]}]}",
          201,
          "{\"name\":\"root\",\"has_password\":true,\"rules\":[{\"server\":true,\"rights\":["
          "\"admin\"]}],\"tokens\":[]}");
    /* From now on a name is needed. */
    check(w, "GET", "/v1/users", NULL, 401, "BECK_EDENIED");
    const char *root = "Authorization: Basic cm9vdDpjb3JyZWN0IGhvcnNl\r\n";
    struct reply r = call_with(w, root, "PUT", "/v1/users/clerk",
                               "{\"rules\":[{\"bus\":\"orders\",\"rights\":[\"publish\"]},"
                               "{\"queue\":\"bill*\",\"rights\":[\"read\",\"work\"]}]}");
    expect(r, 201);
    assert_non_null(strstr(r.body, "{\"queue\":\"bill*\",\"server\":false,\"rights\":[\"read\","
                                   "\"work\"]}"));
    reply_free(&r);
    r = call_with(w, root, "PUT", "/v1/users/clerk", "{}");
    expect(r, 200);
    assert_non_null(strstr(r.body, "bill*")); /* as they were */
    reply_free(&r);
    r = call_with(w, root, "POST", "/v1/users/clerk/tokens", "{\"name\":\"till\"}");
    expect(r, 201);
    assert_string_equal(reply_header(&r, "Cache-Control"), "no-store");
    char token[128];
    assert_int_equal(sscanf(r.body, "{\"token\":\"%100[^\"]\"}", token), 1);
    reply_free(&r);
    r = call_with(w, root, "POST", "/v1/users/clerk/tokens", "{\"name\":\"till\"}");
    expect(r, 409);
    reply_free(&r);
    r = call_with(w, root, "POST", "/v1/users/nobody/tokens", "{\"name\":\"till\"}");
    expect(r, 404);
    reply_free(&r);
    r = call_with(w, root, "GET", "/v1/users/clerk", "");
    expect(r, 200);
    assert_non_null(strstr(r.body, "\"tokens\":[\"till\"]"));
    assert_null(strstr(r.body, token));
    reply_free(&r);

    /* What the clerk may see and do. */
    char bearer[160];
    snprintf(bearer, sizeof bearer, "Authorization: Bearer %s\r\n", token);
    static const struct {
        const char *method, *target, *body;
        int status;
        const char *contains;
    } cases[] = {
        {"GET", "/v1/whoami", "", 200, "{\"user\":\"clerk\",\"admin\":false}"},
        {"GET", "/v1/buses", "", 200, "{\"buses\":[{\"name\":\"orders\","},
        {"GET", "/v1/buses/orders", "", 200, "{\"name\":\"orders\","},
        {"GET", "/v1/buses/orders/partitions", "", 200, NULL},
        {"GET", "/v1/buses/orders/events", "", 403, "has not the right \\\"read\\\""},
        {"GET", "/v1/buses/other", "", 403, "has not the right \\\"describe\\\""},
        {"GET", "/metrics", "", 403, "has not the right \\\"describe\\\" on the server"},
        {"PUT", "/v1/buses/orders", "", 403, NULL},
        {"GET", "/v1/queues", "", 200, "{\"queues\":[]}"},
        {"GET", "/v1/queues/billing", "", 404, NULL},
        {"PUT", "/v1/queues/billing", "", 403, NULL},
        {"GET", "/v1/queues/other", "", 403, NULL},
        {"POST", "/v1/queues/other/take", "", 403, NULL},
        {"POST", "/v1/sync", "", 403, NULL},
        {"GET", "/v1/users", "", 403, NULL},
        {"GET", "/asyncapi.json", "", 200, "\"publish.orders\""},
        {"GET", "/openapi.json", "", 200, "\"openapi\":\"3.1.0\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        r = call_with(w, bearer, cases[i].method, cases[i].target, cases[i].body);
        expect(r, cases[i].status);
        if (cases[i].contains && !strstr(r.body, cases[i].contains))
            fail_msg("%s: %s", cases[i].target, r.body);
        assert_null(strstr(r.body, "__"));
        reply_free(&r);
    }

    r = call_with(w, root, "DELETE", "/v1/users/clerk/tokens/till", "");
    expect(r, 204);
    reply_free(&r);
    r = call_with(w, root, "DELETE", "/v1/users/clerk/tokens/till", "");
    expect(r, 404);
    reply_free(&r);
    r = call_with(w, bearer, "GET", "/v1/whoami", "");
    expect(r, 401);
    reply_free(&r);
    r = call_with(w, root, "DELETE", "/v1/users/clerk", "");
    expect(r, 204);
    reply_free(&r);
    r = call_with(w, root, "DELETE", "/v1/users/clerk", "");
    expect(r, 404);
    reply_free(&r);
}

static void must_call(const struct world *w, const char *headers, const char *method,
                      const char *target, const char *body, int status, const char *contains)
{
    struct reply r = call_with(w, headers, method, target, body);
    expect(r, status);
    if (contains && !strstr(r.body, contains))
        fail_msg("%s: %s", target, r.body);
    reply_free(&r);
}

static void the_last_administrator_stays(void **state)
{
    static const char rule[] = "{\"rules\":[{\"server\":true,\"rights\":[\"admin\"]}]}";
    const struct world *w = *state;
    const char *root = "Authorization: Basic cm9vdDpjb3JyZWN0IGhvcnNl\r\n";
    check(w, "PUT", "/v1/users/root",
          "{\"password\":\"correct horse\",\"rules\":[{\"server\":true,\"rights\":[\"admin\"]}]}",
          201, NULL);
    must_call(w, root, "DELETE", "/v1/users/root", "", 409, "make another administrator first");
    must_call(w, root, "PUT", "/v1/users/root", "{\"rules\":[]}", 409, "last one");
    must_call(w, root, "PUT", "/v1/users/second", rule, 201, NULL);
    must_call(w, root, "DELETE", "/v1/users/root", "", 409, "password or token");
    must_call(w, root, "POST", "/v1/users/second/tokens", "{\"name\":\"t\"}", 201, NULL);
    must_call(w, root, "PUT", "/v1/users/root", "{\"rules\":[]}", 200, NULL);
    must_call(w, root, "GET", "/v1/users", "", 403, NULL);
    assert_int_equal(access_revoke_token(w->access, "second", "t", NULL), BECK_EBUSY);
    assert_int_equal(access_delete_user(w->access, "second", NULL), BECK_EBUSY);
}

static void metrics_are_for_those_who_describe_the_server_or_have_the_tag(void **state)
{
    const struct world *w = *state;
    const struct access_rule bus = {ACCESS_BUS, "*", ACCESS_READ},
                             server = {ACCESS_SERVER, NULL, ACCESS_DESCRIBE};
    const char *eve = "Authorization: Basic ZXZlOmNvcnJlY3QgaG9yc2U=\r\n";
    struct access_change c = {
        .name = "eve", .password = beck_str("correct horse"), .rules = &bus, .rule_count = 1};
    assert_int_equal(access_change_user(w->access, &c, NULL), BECK_OK);
    must_call(w, eve, "GET", "/metrics", "", 403, NULL);
    c = (struct access_change){.name = "eve", .tags = "management,monitoring"};
    assert_int_equal(access_change_user(w->access, &c, NULL), BECK_OK);
    must_call(w, eve, "GET", "/metrics", "", 200, "beck_http_connections");
    must_call(w, eve, "GET", "/v1/users", "", 403, NULL);
    c = (struct access_change){.name = "eve", .tags = "", .rules = &server, .rule_count = 1};
    assert_int_equal(access_change_user(w->access, &c, NULL), BECK_OK);
    must_call(w, eve, "GET", "/metrics", "", 200, "beck_http_connections");
    must_call(w, eve, "GET", "/v1/buses/orders", "", 200, NULL);
    must_call(w, eve, "GET", "/v1/buses/orders/events", "", 403, NULL);
}

/* Whoever feeds a queue from a bus reads that bus. */
static void binding_a_queue_needs_the_right_to_read_the_bus(void **state)
{
    const struct world *w = *state;
    check(w, "PUT", "/v1/users/eve",
          "{\"password\":\"correct horse\",\"rules\":[{\"queue\":\"*\",\"rights\":[\"admin\"]}]}",
          201, NULL);
    const char *eve = "Authorization: Basic ZXZlOmNvcnJlY3QgaG9yc2U=\r\n";
    struct reply r =
        call_with(w, eve, "PUT", "/v1/queues/q", "{\"bindings\":[{\"bus\":\"orders\"}]}");
    expect(r, 403);
    reply_free(&r);
    r = call_with(w, eve, "PUT", "/v1/queues/q", "{}");
    expect(r, 201);
    reply_free(&r);
    r = call_with(w, eve, "POST", "/v1/queues/q/bindings", "{\"bus\":\"orders\"}");
    expect(r, 403);
    reply_free(&r);
}

/* ---- descriptions ---- */

static void asyncapi_names_the_types_of_stored_events(void **state)
{
    const struct world *w = *state;
    check(w, "POST", EVENTS, "{\"specversion\":\"1.0\",\"type\":\"order.created\"}", 200, NULL);
    check(w, "POST", EVENTS, "{\"specversion\":\"1.0\",\"type\":\"order.paid\"}", 200, NULL);
    check(w, "POST", EVENTS, "{\"specversion\":\"1.0\",\"type\":\"\xc3\xa9t\xc3\xa9\"}", 200, NULL);
    check(w, "POST", EVENTS, "{\"specversion\":\"1.0\",\"type\":\"order.paid\"}", 200, NULL);
    check(w, "GET", "/asyncapi.json", NULL, 200,
          "\"channels\":{\"orders\":{\"address\":\"/v1/buses/orders/events\",\"messages\":{"
          "\"order.created\":{");
    check(w, "GET", "/asyncapi.json", NULL, 200, "\"order.paid\":{\"name\":\"order.paid\"");
    check(w, "GET", "/asyncapi.json", NULL, 200, "\"type 2\":{\"name\":\"\xc3\xa9t\xc3\xa9\"");
}

int main(void)
{
#define with_world(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        with_world(buses_are_made_shown_and_deleted),
        with_world(options_of_a_bus_are_changed),
        with_world(a_bus_is_purged_and_synced),
        with_world(bad_buses_are_refused),
        with_world(queues_are_made_bound_and_deleted),
        with_world(a_queue_stays_when_another_with_other_options_is_refused),
        with_world(bad_queues_are_refused),
        with_world(a_queue_is_steered),
        with_world(dead_letters_are_listed_in_pages_put_back_and_removed),
        with_world(users_are_made_shown_and_deleted),
        with_world(the_last_administrator_stays),
        with_world(metrics_are_for_those_who_describe_the_server_or_have_the_tag),
        with_world(binding_a_queue_needs_the_right_to_read_the_bus),
        with_world(asyncapi_names_the_types_of_stored_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
