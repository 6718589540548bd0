/* RabbitMQ's management API: what tools put, look at and delete, and what they are told when it is wrong. */
#include "wire/call.h"

#include "wire/management/management.h"

#include <stdlib.h>

#define AS_GUEST "Authorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n"
#define AS_BOB "Authorization: Basic Ym9iOnNlY3JldA==\r\n" /* bob:secret */
#define AS_EVE "Authorization: Basic ZXZlOnNlY3JldA==\r\n" /* eve:secret */

#define HASH "AQIDBDB9kM21iEUzN1lZ+6VReCsdNqS0sERdAQTcY6Xs3PMz" /* of "secret" */

struct site {
    struct world w;
    struct broker *broker;
    struct management *management;
};

static void serve(struct site *s)
{
    static const struct management_listener listeners[] = {{"amqp", "127.0.0.1:5672"},
                                                           {"http", "127.0.0.1:15672"}};
    struct broker_settings settings = {0};
    beck_error err;
    if (broker_open(s->w.b, &settings, &s->broker, &err))
        fail_msg("%s", err.text);
    struct management_context context = {.b = s->w.b,
                                         .broker = s->broker,
                                         .access = s->w.access,
                                         .listeners = listeners,
                                         .listener_count = 2,
                                         .rabbitmq_version = "4.1.0",
                                         .product_version = "0.1.0"};
    if (management_new(&context, &s->management, &err))
        fail_msg("%s", err.text);
    s->w.site = management_site(s->management);
    world_serve(&s->w);
}

static int open_site(void **state)
{
    struct site *s = calloc(1, sizeof *s);
    *state = s;
    world_open(&s->w);
    serve(s);
    return 0;
}

static int close_site(void **state)
{
    struct site *s = *state;
    http_stop(s->w.h);
    s->w.h = NULL;
    management_free(s->management);
    broker_close(s->broker);
    world_close(&s->w);
    free(s);
    return 0;
}

#define guest(method, target, body, status, contains)                                              \
    check_at(w, AS_GUEST, method, target, body, status, contains, __LINE__)

/* ---- who calls ---- */

static void a_name_is_needed(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    struct reply r = call_with(w, "", "GET", "/api/overview", NULL);
    expect(r, 401);
    assert_string_equal(reply_header(&r, "WWW-Authenticate"),
                        "Basic realm=\"RabbitMQ Management\", charset=\"UTF-8\"");
    assert_non_null(strstr(r.body, "{\"error\":\"not_authorised\",\"reason\":"));
    reply_free(&r);
    check_as(w, AS_BOB, "GET", "/api/overview", NULL, 401, "not_authorised");
    check_as(w, "", "GET", "/api/auth", NULL, 200, "{\"oauth_enabled\":false}");
}

static void guest_is_who_needs_no_name_and_administers(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    guest("GET", "/api/whoami/", NULL, 200,
          "{\"name\":\"guest\",\"tags\":[\"administrator\"],\"is_internal_user\":true}");
    guest("GET", "/api/users", NULL, 200, "[{\"name\":\"guest\"");
    check_as(w, AS_GUEST "Origin: http://example.com\r\n", "GET", "/api/whoami", NULL, 401, NULL);
}

static void the_first_user_leaves_guest_as_one(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    guest("PUT", "/api/users/bob", "{\"password\":\"secret\",\"tags\":\"monitoring\"}", 201, NULL);
    guest("GET", "/api/users", NULL, 200, "\"name\":\"bob\"");
    guest("GET", "/api/users/guest", NULL, 200, "\"tags\":[\"administrator\"]");
    check_as(w, AS_BOB, "GET", "/api/whoami", NULL, 200, "\"tags\":[\"monitoring\"]");
    guest("PUT", "/api/users/bob", "{\"password\":\"secret\",\"tags\":\"administrator\"}", 204,
          NULL);
    check_as(w, AS_BOB, "DELETE", "/api/users/guest", NULL, 204, NULL);
    guest("GET", "/api/users", NULL, 401, NULL);
}

static void the_last_administrator_stays(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    guest("PUT", "/api/users/bob", "{\"password\":\"secret\",\"tags\":\"management\"}", 201, NULL);
    guest("DELETE", "/api/users/guest", NULL, 409, "last one");
    guest("POST", "/api/users/bulk-delete", "{\"users\":[\"guest\"]}", 409, "last one");
    guest("PUT", "/api/users/guest", "{\"password\":\"guest\",\"tags\":\"monitoring\"}", 409,
          "another administrator first");
    guest("GET", "/api/whoami", NULL, 200, "\"tags\":[\"administrator\"]");
    guest("PUT", "/api/users/bob", "{\"password\":\"secret\",\"tags\":\"administrator\"}", 204,
          NULL);
    guest("PUT", "/api/users/guest", "{\"password\":\"guest\",\"tags\":\"monitoring\"}", 204, NULL);
    check_as(w, AS_BOB, "DELETE", "/api/users/bob", NULL, 409, "last one");
}

static void tags_say_what_may_be_seen(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    guest("PUT", "/api/users/bob", "{\"password\":\"secret\",\"tags\":[]}", 201, NULL);
    check_as(w, AS_BOB, "GET", "/api/overview", NULL, 401, "Not management user");
    guest("PUT", "/api/users/bob", "{\"password\":\"secret\",\"tags\":[\"management\"]}", 204,
          NULL);
    check_as(w, AS_BOB, "GET", "/api/overview", NULL, 200, "\"queue_totals\"");
    check_as(w, AS_BOB, "GET", "/api/nodes", NULL, 401, "Not monitor user");
    check_as(w, AS_BOB, "GET", "/api/users", NULL, 401, "Not administrator user");
    check_as(w, AS_BOB, "GET", "/api/vhosts", NULL, 200, "[]");
    check_as(w, AS_BOB, "GET", "/api/queues/%2F", NULL, 401, "not authorised to access");
    check_as(w, AS_BOB, "PUT", "/api/queues/%2F/q", "{}", 401, NULL);
    guest("PUT", "/api/permissions/%2F/bob",
          "{\"configure\":\"^own\",\"write\":\".*\",\"read\":\".*\"}", 201, NULL);
    check_as(w, AS_BOB, "GET", "/api/vhosts", NULL, 200, "\"name\":\"/\"");
    check_as(w, AS_BOB, "PUT", "/api/queues/%2F/own.1", "{\"durable\":true}", 201, NULL);
    check_as(w, AS_BOB, "PUT", "/api/queues/%2F/other", "{\"durable\":true}", 401,
             "not_authorised");
    check_as(w, AS_BOB, "PUT", "/api/policies/%2F/p", "{\"pattern\":\".\",\"definition\":{}}", 401,
             NULL);
    guest("PUT", "/api/users/bob", "{\"password\":\"secret\",\"tags\":[\"policymaker\"]}", 204,
          NULL);
    check_as(w, AS_BOB, "PUT", "/api/policies/%2F/p",
             "{\"pattern\":\".\",\"definition\":{\"max-length\":1}}", 201, NULL);
    check_as(w, AS_BOB, "PUT", "/api/operator-policies/%2F/p",
             "{\"pattern\":\".\",\"definition\":{\"max-length\":1}}", 401, NULL);
    check_as(w, AS_BOB, "PUT", "/api/parameters/operator_policy/%2F/p",
             "{\"value\":{\"pattern\":\".\",\"definition\":{\"max-length\":1}}}", 401, NULL);
    check_as(w, AS_BOB, "GET", "/api/definitions", NULL, 401, NULL);
}

static void a_user_may_come_with_a_hash(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    guest("PUT", "/api/users/bob", "{\"password_hash\":\"" HASH "\",\"tags\":\"management\"}", 201,
          NULL);
    check_as(w, AS_BOB, "GET", "/api/whoami", NULL, 200, "\"name\":\"bob\"");
    guest("GET", "/api/users/bob", NULL, 200,
          "\"password_hash\":\"" HASH
          "\",\"hashing_algorithm\":\"rabbit_password_hashing_sha256\"");
    guest("PUT", "/api/users/bob",
          "{\"password_hash\":\"" HASH
          "\",\"hashing_algorithm\":\"rabbit_password_hashing_md5\",\"tags\":\"\"}",
          400, "rabbit_password_hashing_md5 is not known");
    guest("PUT", "/api/users/bob", "{\"password_hash\":\"AAAA\",\"tags\":\"\"}", 400, "hash");
    guest("PUT", "/api/users/b%20b", "{\"password\":\"x\",\"tags\":\"\"}", 400, "is no name");
    guest("PUT", "/api/users/bob", "{\"password\":\"x\"}", 400, "key_missing: tags");
}

static struct reply ask_unix(const struct world *w, const char *target)
{
    struct stream_in in;
    struct reply r;
    in_open(&in, dial_unix(w));
    send_call(in.fd, "GET", target, "", NULL);
    if (!read_reply(&in, false, &r))
        fail_msg("no answer");
    in_close(&in);
    return r;
}

static void other_listeners_serve_what_they_did(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    struct reply r = ask_unix(w, "/v1/whoami");
    expect(r, 200);
    reply_free(&r);
    r = ask_unix(w, "/api/whoami");
    expect(r, 404);
    assert_string_equal(reply_header(&r, "Content-Type"), "application/problem+json");
    reply_free(&r);
    guest("GET", "/v1/whoami", NULL, 404, "Object Not Found");
}

static void what_a_user_has_no_permission_for_is_refused(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    guest("PUT", "/api/queues/%2F/q", "{\"durable\":true}", 201, NULL);
    guest("PUT", "/api/users/bob", "{\"password\":\"secret\",\"tags\":\"management\"}", 201, NULL);
    guest("PUT", "/api/permissions/%2F/bob",
          "{\"configure\":\"^$\",\"write\":\"^$\",\"read\":\"^$\"}", 201, NULL);
    check_as(w, AS_BOB, "POST", "/api/exchanges/%2F/amq.default/publish",
             "{\"routing_key\":\"q\",\"payload\":\"\",\"payload_encoding\":\"string\","
             "\"properties\":{}}",
             401, "not_authorised");
    check_as(w, AS_BOB, "POST", "/api/queues/%2F/q/get",
             "{\"count\":1,\"ackmode\":\"ack_requeue_true\",\"encoding\":\"auto\"}", 401,
             "not_authorised");
    check_as(w, AS_BOB, "DELETE", "/api/queues/%2F/q/contents", NULL, 401, NULL);
    check_as(w, AS_BOB, "DELETE", "/api/queues/%2F/q", NULL, 401, NULL);
    check_as(w, AS_BOB, "POST", "/api/bindings/%2F/e/amq.topic/q/q", "{}", 401, NULL);
    check_as(w, AS_BOB, "PUT", "/api/exchanges/%2F/x", "{\"durable\":true}", 401, NULL);
}

/* ---- the whole ---- */

static void the_overview_has_what_tools_read(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    static const char *const members[] = {
        "\"rabbitmq_version\":\"4.1.0\"",
        "\"cluster_name\":", "\"object_totals\":{\"connections\":0",
        "\"messages_ready_details\":{\"rate\":0.0}", "\"listeners\":[{\"node\":\"rabbit@"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        guest("GET", "/api/overview", NULL, 200, members[i]);
    guest("GET", "/api/nodes", NULL, 200, "\"running\":true");
    guest("GET", "/api/nodes?columns=name,running", NULL, 200, "\",\"running\":true}]");
    guest("GET", "/api/extensions", NULL, 200, "[]");
    guest("GET", "/api/cluster-name", NULL, 200, "{\"name\":\"rabbit@");
    guest("PUT", "/api/cluster-name", "{\"name\":\"mine\"}", 204, NULL);
    guest("GET", "/api/cluster-name", NULL, 200, "{\"name\":\"mine\"}");
}

static void health_is_told(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    static const char *const good[] = {"alarms",
                                       "local-alarms",
                                       "virtual-hosts",
                                       "node-is-quorum-critical",
                                       "ready-to-serve-clients",
                                       "is-in-service",
                                       "port-listener/5672",
                                       "protocol-listener/amqp",
                                       "protocol-listener/amqps,amqp091"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char target[128];
        snprintf(target, sizeof target, "/api/health/checks/%s", good[i]);
        guest("GET", target, NULL, 200, "\"status\":\"ok\"");
    }
    guest("GET", "/api/health/checks/port-listener/1", NULL, 503, "\"missing\":1");
    guest("GET", "/api/health/checks/port-listener/x", NULL, 400, "bad_request");
    guest("GET", "/api/health/checks/protocol-listener/mqtt", NULL, 503, "\"status\":\"failed\"");
    guest("GET", "/api/aliveness-test/%2F", NULL, 200, "{\"status\":\"ok\"}");
    guest("GET", "/api/aliveness-test/none", NULL, 404, NULL);
}

static void what_is_not_there_is_told_as_rabbitmq_does(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    static const char *const missing[] = {"/api/nowhere",
                                          "/api/vhosts/none",
                                          "/api/queues/none",
                                          "/api/queues/%2F/none",
                                          "/api/exchanges/%2F/no",
                                          "/api/users/none",
                                          "/",
                                          "/v1/buses",
                                          "/api/connections/none",
                                          "/api/policies/%2F/no",
                                          "/api/channels/no",
                                          "/api/nodes/none"};
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
        guest("GET", missing[i], NULL, 404,
              "{\"error\":\"Object Not Found\",\"reason\":\"Not Found\"}");
    guest("DELETE", "/api/queues/%2F/none", NULL, 404, NULL);
    guest("PUT", "/api/overview", "{}", 405, "method_not_allowed");
    guest("PUT", "/api/queues/%2F/q", "[", 400,
          "{\"error\":\"bad_request\",\"reason\":\"not_json\"}");
    guest("PUT", "/api/queues/%2F/q", "[]", 400, "not_json");
}

/* ---- what is declared ---- */

static void vhosts_come_and_go(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    guest("PUT", "/api/vhosts/a%2Fb", "{\"description\":\"two\",\"tags\":\"x,y\"}", 201, NULL);
    guest("PUT", "/api/vhosts/a%2Fb", NULL, 204, NULL);
    guest("GET", "/api/vhosts/a%2Fb", NULL, 200, "\"description\":\"two\",\"tags\":[\"x\",\"y\"]");
    guest("GET", "/api/vhosts", NULL, 200, "\"name\":\"a/b\"");
    guest("PUT", "/api/queues/a%2Fb/q", "{\"durable\":true}", 201, NULL);
    guest("DELETE", "/api/vhosts/a%2Fb", NULL, 204, NULL);
    guest("DELETE", "/api/vhosts/a%2Fb", NULL, 404, NULL);
    guest("GET", "/api/queues", NULL, 200, "[]");
}

static void exchanges_come_and_go(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    guest("GET", "/api/exchanges/%2F", NULL, 200, "\"name\":\"amq.topic\"");
    guest("GET", "/api/exchanges/%2F/amq.default", NULL, 200, "\"name\":\"\"");
    guest("PUT", "/api/exchanges/%2F/x",
          "{\"type\":\"topic\",\"durable\":true,\"arguments\":{\"alternate-exchange\":\"y\"}}", 201,
          NULL);
    guest("PUT", "/api/exchanges/%2F/x",
          "{\"type\":\"topic\",\"durable\":\"true\","
          "\"arguments\":{\"alternate-exchange\":\"y\"}}",
          204, NULL);
    guest("GET", "/api/exchanges/%2F/x", NULL, 200,
          "\"type\":\"topic\",\"durable\":true,\"auto_delete\":false,\"internal\":false,"
          "\"arguments\":{\"alternate-exchange\":\"y\"}");
    guest("PUT", "/api/exchanges/%2F/x", "{\"type\":\"fanout\",\"durable\":true}", 400,
          "inequivalent arg 'type' for exchange 'x' in vhost '/'");
    guest("PUT", "/api/exchanges/%2F/y", "{\"type\":\"strange\"}", 400, "bad_request");
    guest("PUT", "/api/exchanges/%2F/y", "{\"durable\":\"maybe\"}", 400, "durable is neither");
    guest("DELETE", "/api/exchanges/%2F/x", NULL, 204, NULL);
    guest("DELETE", "/api/exchanges/%2F/x", NULL, 404, NULL);
}

static void queues_come_and_go(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    guest("PUT", "/api/queues/%2F/q",
          "{\"durable\":true,\"arguments\":{\"x-max-length\":10,\"x-queue-type\":\"classic\"}}",
          201, NULL);
    guest("PUT", "/api/queues/%2F/q", "{\"durable\":\"true\",\"arguments\":{\"x-max-length\":10}}",
          204, NULL);
    guest("GET", "/api/queues/%2F/q", NULL, 200,
          "{\"name\":\"q\",\"vhost\":\"/\",\"type\":\"classic\",\"durable\":true,"
          "\"auto_delete\":false,\"exclusive\":false,\"arguments\":{\"x-max-length\":10");
    guest("GET", "/api/queues", NULL, 200, "\"messages\":0,\"messages_details\":{\"rate\":0.0}");
    guest("PUT", "/api/queues/%2F/q", "{\"durable\":false}", 400,
          "inequivalent arg 'durable' for queue 'q' in vhost '/'");
    guest("PUT", "/api/queues/%2F/bad", "{\"durable\":true,\"arguments\":{\"x-max-length\":-1}}",
          400, "bad_request");
    guest("PUT", "/api/queues/%2F/bad", "{\"durable\":true,\"arguments\":[1]}", 400, "arguments");
    guest("POST", "/api/queues/%2F/q/actions", "{\"action\":\"sync\"}", 204, NULL);
    guest("POST", "/api/queues/%2F/q/actions", "{\"action\":\"fly\"}", 400, "unknown action");
    guest("DELETE", "/api/queues/%2F/q?if-empty=true&if-unused=true", NULL, 204, NULL);
    guest("GET", "/api/queues/%2F/q", NULL, 404, NULL);
}

static void bindings_have_a_key_that_names_them(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    guest("PUT", "/api/queues/%2F/q", "{\"durable\":true}", 201, NULL);
    struct reply r = call_with(w, AS_GUEST, "POST", "/api/bindings/%2F/e/amq.topic/q/q",
                               "{\"routing_key\":\"a.#\"}");
    expect(r, 201);
    char location[512];
    snprintf(location, sizeof location, "/api/bindings/%%2F/e/amq.topic/q/%s",
             reply_header(&r, "Location"));
    reply_free(&r);
    guest("GET", location, NULL, 200, "\"routing_key\":\"a.#\"");
    guest("POST", "/api/bindings/%2F/e/amq.headers/q/q",
          "{\"arguments\":{\"x-match\":\"any\",\"n\":1}}", 201, NULL);
    guest("GET", "/api/bindings/%2F/e/amq.headers/q/q", NULL, 200, "\"x-match\":\"any\"");
    guest("GET", "/api/queues/%2F/q/bindings", NULL, 200,
          "\"source\":\"\",\"vhost\":\"/\",\"destination\":\"q\"");
    guest("GET", "/api/exchanges/%2F/amq.topic/bindings/source", NULL, 200,
          "\"routing_key\":\"a.#\"");
    guest("POST", "/api/bindings/%2F/e/amq.topic/e/amq.fanout", "{\"routing_key\":\"k\"}", 201,
          NULL);
    guest("GET", "/api/exchanges/%2F/amq.fanout/bindings/destination", NULL, 200,
          "\"destination_type\":\"exchange\"");
    guest("GET", "/api/bindings/%2F/e/amq.topic/e/amq.fanout/k", NULL, 200,
          "\"routing_key\":\"k\"");
    guest("DELETE", "/api/bindings/%2F/e/amq.topic/e/amq.fanout/k", NULL, 204, NULL);
    guest("DELETE", "/api/bindings/%2F/e/amq.topic/e/amq.fanout/k", NULL, 404, NULL);
    guest("GET", "/api/bindings/%2F/e/amq.topic/q/q/a.%23", NULL, 200, "\"routing_key\":\"a.#\"");
    guest("DELETE", location, NULL, 204, NULL);
    guest("GET", "/api/bindings/%2F/e/amq.topic/q/q", NULL, 200, "[]");
    guest("POST", "/api/bindings/%2F/e/none/q/q", "{}", 404, NULL);
}

static void permissions_and_limits_are_kept(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    guest("PUT", "/api/users/eve", "{\"password\":\"secret\",\"tags\":\"\"}", 201, NULL);
    guest("GET", "/api/users/without-permissions", NULL, 200, "\"name\":\"eve\"");
    guest("PUT", "/api/permissions/%2F/eve",
          "{\"configure\":\"\",\"write\":\"^w\",\"read\":\"^r\"}", 201, NULL);
    guest("GET", "/api/permissions/%2F/eve", NULL, 200,
          "{\"user\":\"eve\",\"vhost\":\"/\",\"configure\":\"\",\"write\":\"^w\",\"read\":\"^r\"}");
    guest("GET", "/api/users/eve/permissions", NULL, 200, "\"write\":\"^w\"");
    guest("GET", "/api/vhosts/%2F/permissions", NULL, 200, "\"user\":\"eve\"");
    guest("PUT", "/api/permissions/%2F/eve", "{\"configure\":\"(\",\"write\":\"\",\"read\":\"\"}",
          400, "bad_request");
    guest("PUT", "/api/permissions/%2F/none", "{\"configure\":\"\",\"write\":\"\",\"read\":\"\"}",
          400, "no_such_user");
    guest("PUT", "/api/topic-permissions/%2F/eve",
          "{\"exchange\":\"amq.topic\",\"write\":\"^a\",\"read\":\"^b\"}", 201, NULL);
    guest("GET", "/api/topic-permissions", NULL, 200, "\"exchange\":\"amq.topic\"");
    guest("DELETE", "/api/topic-permissions/%2F/eve", NULL, 204, NULL);
    guest("PUT", "/api/vhost-limits/%2F/max-queues", "{\"value\":1}", 204, NULL);
    guest("GET", "/api/vhost-limits", NULL, 200,
          "[{\"vhost\":\"/\",\"value\":{\"max-queues\":1}}]");
    guest("PUT", "/api/queues/%2F/a", "{\"durable\":true}", 201, NULL);
    guest("PUT", "/api/queues/%2F/b", "{\"durable\":true}", 400, "bad_request");
    guest("DELETE", "/api/vhost-limits/%2F/max-queues", NULL, 204, NULL);
    guest("PUT", "/api/user-limits/eve/max-connections", "{\"value\":5}", 204, NULL);
    guest("GET", "/api/user-limits/eve", NULL, 200,
          "[{\"user\":\"eve\",\"value\":{\"max-connections\":5}}]");
    guest("PUT", "/api/users/bob", "{\"password\":\"secret\",\"tags\":\"monitoring\"}", 201, NULL);
    check_as(w, AS_BOB, "GET", "/api/user-limits", NULL, 200, "\"user\":\"eve\"");
    check_as(w, AS_BOB, "GET", "/api/user-limits/eve", NULL, 200, "\"max-connections\":5");
    check_as(w, AS_BOB, "GET", "/api/user-limits/nobody", NULL, 404, NULL);
    check_as(w, AS_BOB, "PUT", "/api/user-limits/eve/max-connections", "{\"value\":6}", 401, NULL);
    guest("DELETE", "/api/users/bob", NULL, 204, NULL);
    guest("DELETE", "/api/users/eve", NULL, 204, NULL);
    guest("GET", "/api/permissions/%2F/eve", NULL, 404, NULL);
}

static void policies_are_put_in_force(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    guest("PUT", "/api/queues/%2F/q.1", "{\"durable\":true}", 201, NULL);
    guest("PUT", "/api/policies/%2F/ttl",
          "{\"pattern\":\"^q\",\"definition\":{\"message-ttl\":1000},\"priority\":\"3\","
          "\"apply-to\":\"queues\"}",
          201, NULL);
    guest("GET", "/api/policies", NULL, 200,
          "[{\"vhost\":\"/\",\"name\":\"ttl\",\"pattern\":\"^q\",\"apply-to\":\"queues\","
          "\"definition\":{\"message-ttl\":1000},\"priority\":3}]");
    guest("GET", "/api/queues/%2F/q.1", NULL, 200, "\"policy\":\"ttl\"");
    static const char parameter[] =
        "{\"name\":\"ttl\",\"vhost\":\"/\",\"component\":\"policy\",\"value\":{\"pattern\":\"^q\","
        "\"definition\":{\"message-ttl\":1000},\"priority\":3,\"apply-to\":\"queues\"}}";
    guest("GET", "/api/parameters", NULL, 200, "[]");
    guest("GET", "/api/parameters/policy", NULL, 200, parameter);
    guest("GET", "/api/parameters/policy/%2F", NULL, 200, parameter);
    guest("GET", "/api/parameters/policy/%2F/ttl", NULL, 200, parameter);
    guest("PUT", "/api/parameters/policy/%2F/ttl", "{\"value\":{}}", 400, "may not be set");
    guest("DELETE", "/api/parameters/policy/%2F/ttl", NULL, 400, "may not be cleared");
    guest("GET", "/api/queues/%2F/q.1", NULL, 200,
          "\"effective_policy_definition\":{\"message-ttl\":1000}");
    guest("PUT", "/api/operator-policies/%2F/op",
          "{\"pattern\":\".*\",\"definition\":{\"max-length\":5},\"apply-to\":\"queues\"}", 201,
          NULL);
    guest("GET", "/api/queues/%2F/q.1", NULL, 200, "\"operator_policy\":\"op\"");
    guest("PUT", "/api/policies/%2F/bad", "{\"pattern\":\"(\",\"definition\":{\"message-ttl\":1}}",
          400, "bad_request");
    guest("PUT", "/api/policies/%2F/bad", "{\"pattern\":\"a\"}", 400, "key_missing: definition");
    guest("DELETE", "/api/policies/%2F/ttl", NULL, 204, NULL);
    guest("DELETE", "/api/operator-policies/%2F/op", NULL, 204, NULL);
    guest("GET", "/api/queues/%2F/q.1", NULL, 200, "\"policy\":null");
}

static void parameters_are_kept(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    guest("PUT", "/api/global-parameters/a", "{\"value\":{\"b\":[1,\"x\"]}}", 201, NULL);
    guest("GET", "/api/global-parameters/a", NULL, 200,
          "{\"name\":\"a\",\"value\":{\"b\":[1,\"x\"]}}");
    guest("GET", "/api/global-parameters", NULL, 200, "\"name\":\"a\"");
    guest("DELETE", "/api/global-parameters/a", NULL, 204, NULL);
    guest("DELETE", "/api/global-parameters/a", NULL, 404, NULL);
    guest("PUT", "/api/global-parameters/a", "{}", 400, "key_missing: value");
    guest("PUT", "/api/users/bob", "{\"password\":\"secret\",\"tags\":\"policymaker\"}", 201, NULL);
    check_as(w, AS_BOB, "PUT", "/api/global-parameters/a", "{\"value\":1}", 201, NULL);
    check_as(w, AS_BOB, "DELETE", "/api/global-parameters/a", NULL, 204, NULL);
    guest("PUT", "/api/users/bob", "{\"password\":\"secret\",\"tags\":\"monitoring\"}", 204, NULL);
    check_as(w, AS_BOB, "GET", "/api/global-parameters", NULL, 401, NULL);
}

static void definitions_are_taken_in_again(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    guest("PUT", "/api/vhosts/v", NULL, 201, NULL);
    guest("PUT", "/api/users/bob", "{\"password\":\"secret\",\"tags\":\"management\"}", 201, NULL);
    guest("PUT", "/api/permissions/v/bob",
          "{\"configure\":\".*\",\"write\":\".*\",\"read\":\".*\"}", 201, NULL);
    guest("PUT", "/api/queues/v/q", "{\"durable\":true,\"arguments\":{\"x-max-length\":7}}", 201,
          NULL);
    guest("PUT", "/api/exchanges/v/x", "{\"type\":\"fanout\",\"durable\":true}", 201, NULL);
    guest("POST", "/api/bindings/v/e/x/q/q", "{\"routing_key\":\"k\"}", 201, NULL);
    guest("PUT", "/api/policies/v/p", "{\"pattern\":\"^z\",\"definition\":{\"max-length\":1}}", 201,
          NULL);
    guest("PUT", "/api/operator-policies/v/op",
          "{\"pattern\":\"^z\",\"definition\":{\"max-length\":1}}", 201, NULL);
    guest("PUT", "/api/vhost-limits/v/max-connections", "{\"value\":9}", 204, NULL);
    struct reply all = call_with(w, AS_GUEST, "GET", "/api/definitions", NULL);
    struct reply one = call_with(w, AS_GUEST, "GET", "/api/definitions/v", NULL);
    expect(all, 200);
    expect(one, 200);
    assert_null(strstr(one.body, "\"vhost\""));
    guest("DELETE", "/api/vhosts/v", NULL, 204, NULL);
    guest("DELETE", "/api/users/bob", NULL, 204, NULL);
    guest("POST", "/api/definitions", all.body, 204, NULL);
    check_as(w, AS_BOB, "GET", "/api/queues/v/q", NULL, 200, "\"x-max-length\":7");
    guest("GET", "/api/bindings/v/e/x/q/q", NULL, 200, "\"routing_key\":\"k\"");
    guest("GET", "/api/policies/v/p", NULL, 200, "\"pattern\":\"^z\"");
    guest("GET", "/api/operator-policies/v/op", NULL, 200, "\"pattern\":\"^z\"");
    guest("GET", "/api/vhost-limits/v", NULL, 200, "\"max-connections\":9");
    guest("PUT", "/api/vhosts/other", NULL, 201, NULL);
    guest("POST", "/api/definitions/other", one.body, 204, NULL);
    guest("GET", "/api/queues/other/q", NULL, 200, "\"x-max-length\":7");
    guest("POST", "/api/definitions", "{\"queues\":[{\"name\":\"q\",\"vhost\":\"none\"}]}", 401,
          NULL);
    guest("POST", "/api/definitions", "{\"queues\":[{\"vhost\":\"/\"}]}", 400, "key_missing: name");
    reply_free(&all);
    reply_free(&one);
}

/* ---- lists ---- */

static void lists_come_in_pages_sorted_and_in_columns(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    for (int i = 0; i < 5; i++) {
        char target[64];
        snprintf(target, sizeof target, "/api/queues/%%2F/q%d", i);
        guest("PUT", target,
              i % 2 ? "{\"durable\":true,\"auto_delete\":true}" : "{\"durable\":true}", 201, NULL);
    }
    guest("GET", "/api/queues?columns=name", NULL, 200, "[{\"name\":\"q0\"},{\"name\":\"q1\"}");
    guest("GET", "/api/queues?columns=name,messages_details.rate&sort=name&sort_reverse=true", NULL,
          200, "[{\"name\":\"q4\",\"messages_details\":{\"rate\":0.0}},{\"name\":\"q3\"");
    guest("GET", "/api/queues/%2F/q1?columns=messages_details&lengths_age=60&lengths_incr=5", NULL,
          200, "{\"messages_details\":{\"rate\":0.0,\"samples\":[");
    guest("GET", "/api/queues/%2F/q1?columns=messages_details&lengths_age=x&lengths_incr=0", NULL,
          200, "{\"messages_details\":{\"rate\":0.0}}");
    guest("GET", "/api/queues/%2F?page=2&page_size=2&columns=name", NULL, 200,
          "{\"total_count\":5,\"item_count\":2,\"filtered_count\":5,\"page\":2,\"page_size\":2,"
          "\"page_count\":3,\"items\":[{\"name\":\"q2\"},{\"name\":\"q3\"}]}");
    guest("GET", "/api/queues?page=1&name=Q4&columns=name", NULL, 200,
          "\"filtered_count\":1,\"page\":1,\"page_size\":100,\"page_count\":1,\"items\":[{\"name\":"
          "\"q4\"}]}");
    guest("GET", "/api/queues?page=1&name=%5Eq%5B01%5D&use_regex=true&columns=name", NULL, 200,
          "\"items\":[{\"name\":\"q0\"},{\"name\":\"q1\"}]");
    guest("GET", "/api/queues?page=1&name=(&use_regex=true", NULL, 400,
          "invalid_pagination_parameters");
    guest("GET", "/api/queues?page=9", NULL, 400, "page_out_of_range");
    guest("GET", "/api/queues?page=0", NULL, 400, "invalid_pagination_parameters");
    guest("GET", "/api/queues?page=1&page_size=501", NULL, 400, "invalid_pagination_parameters");
    guest("GET", "/api/queues?page=1&sort=auto_delete&columns=name", NULL, 200,
          "\"items\":[{\"name\"");
}

/* ---- messages ---- */

#define PUBLISH "/api/exchanges/%2F/amq.default/publish"
#define GET "/api/queues/%2F/q/get"

static void messages_are_put_and_got(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    guest("PUT", "/api/queues/%2F/q", "{\"durable\":true}", 201, NULL);
    guest("POST", PUBLISH,
          "{\"routing_key\":\"q\",\"payload\":\"one\",\"payload_encoding\":\"string\","
          "\"properties\":{"
          "\"delivery_mode\":2,\"headers\":{\"n\":1,\"deep\":{\"l\":[true,null]}},\"type\":\"t\"}}",
          200, "{\"routed\":true}");
    guest("POST", PUBLISH,
          "{\"routing_key\":\"q\",\"payload\":\"/"
          "wA=\",\"payload_encoding\":\"base64\",\"properties\":{}}",
          200, "{\"routed\":true}");
    guest("POST", PUBLISH,
          "{\"routing_key\":\"none\",\"payload\":\"\",\"payload_encoding\":\"string\","
          "\"properties\":{}}",
          200, "{\"routed\":false}");
    guest("GET", "/api/queues/%2F/q", NULL, 200, "\"messages\":2");
    guest("POST", GET, "{\"count\":1,\"ackmode\":\"ack_requeue_true\",\"encoding\":\"auto\"}", 200,
          "[{\"payload_bytes\":3,\"redelivered\":false,\"exchange\":\"\",\"routing_key\":\"q\","
          "\"message_count\":1,\"properties\":{\"type\":\"t\",\"delivery_mode\":2,\"headers\":{"
          "\"n\":1,"
          "\"deep\":{\"l\":[true,null]}}},\"payload\":\"one\",\"payload_encoding\":\"string\"}]");
    guest("POST", GET, "{\"count\":\"5\",\"ackmode\":\"ack_requeue_false\",\"encoding\":\"auto\"}",
          200, "\"payload\":\"/wA=\",\"payload_encoding\":\"base64\"}]");
    guest("POST", GET, "{\"count\":5,\"ackmode\":\"ack_requeue_false\",\"encoding\":\"auto\"}", 200,
          "[]");
    guest("POST", GET, "{\"count\":5,\"ackmode\":\"keep\",\"encoding\":\"auto\"}", 400,
          "Invalid ackmode value: keep");
    guest("POST", GET, "{\"count\":5,\"ackmode\":\"ack_requeue_true\"}", 400,
          "key_missing: encoding");
    guest("POST", "/api/queues/%2F/none/get",
          "{\"count\":5,\"ackmode\":\"ack_requeue_true\",\"encoding\":\"auto\"}", 404,
          "no queue 'none'");
    guest("POST", "/api/exchanges/%2F/none/publish",
          "{\"routing_key\":\"q\",\"payload\":\"\",\"payload_encoding\":\"string\",\"properties\":{"
          "}}",
          404, "\"error\":\"not_found\",\"reason\":\"no exchange 'none' in vhost '/'\"");
    guest("POST", PUBLISH, /* as PHP writes an empty object */
          "{\"routing_key\":\"none\",\"payload\":\"\",\"payload_encoding\":\"string\","
          "\"properties\":[]}",
          200, "false");
    guest("PUT", "/api/queues/%2F/php", "{\"durable\":true,\"arguments\":[]}", 201, NULL);
    guest("POST", PUBLISH,
          "{\"routing_key\":\"q\",\"payload\":\"?\",\"payload_encoding\":\"base64\",\"properties\":"
          "{}}",
          400, "no base64");
}

static void a_queue_is_emptied(void **state)
{
    const struct world *w = &((struct site *)*state)->w;
    guest("PUT", "/api/queues/%2F/q", "{\"durable\":true}", 201, NULL);
    for (int i = 0; i < 3; i++)
        guest("POST", PUBLISH,
              "{\"routing_key\":\"q\",\"payload\":\"x\",\"payload_encoding\":\"string\","
              "\"properties\":{\"delivery_mode\":2}}",
              200, NULL);
    guest("DELETE", "/api/queues/%2F/q?if-empty=true", NULL, 400, "bad_request");
    guest("DELETE", "/api/queues/%2F/q/contents", NULL, 204, NULL);
    guest("GET", "/api/queues/%2F/q", NULL, 200, "\"messages\":0");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_site, close_site)
        TEST(a_name_is_needed),
        TEST(guest_is_who_needs_no_name_and_administers),
        TEST(the_first_user_leaves_guest_as_one),
        TEST(the_last_administrator_stays),
        TEST(tags_say_what_may_be_seen),
        TEST(a_user_may_come_with_a_hash),
        TEST(other_listeners_serve_what_they_did),
        TEST(what_a_user_has_no_permission_for_is_refused),
        TEST(the_overview_has_what_tools_read),
        TEST(health_is_told),
        TEST(what_is_not_there_is_told_as_rabbitmq_does),
        TEST(vhosts_come_and_go),
        TEST(exchanges_come_and_go),
        TEST(queues_come_and_go),
        TEST(bindings_have_a_key_that_names_them),
        TEST(permissions_and_limits_are_kept),
        TEST(policies_are_put_in_force),
        TEST(parameters_are_kept),
        TEST(definitions_are_taken_in_again),
        TEST(lists_come_in_pages_sorted_and_in_columns),
        TEST(messages_are_put_and_got),
        TEST(a_queue_is_emptied),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
