/* Health checks: 200 with {"status":"ok"}, or 503 with why not. */
#include "wire/management/management_impl.h"
#include "wire/management/messages.h"

#include <stdlib.h>

#define PROBE "aliveness-test"

static void healthy(struct call *c)
{
    answer_json(c, 200, json_pack("{s:s}", "status", "ok"));
}

static json_t *failed(const char *reason)
{
    return json_pack("{s:s,s:s}", "status", "failed", "reason", reason);
}

static void check_alarms_of(struct call *c, const char *reason)
{
    static const char *const resources[] = {"memory", "disk"};
    uint32_t alarms = management_alarms(c);
    if (alarms == 0) {
        healthy(c);
        return;
    }
    json_t *o = failed(reason), *list = json_array();
    for (size_t i = 0; i < 2; i++)
        if (alarms & 1u << i)
            json_array_append_new(
                list, json_pack("{s:s,s:s}", "node", c->m->node, "resource", resources[i]));
    json_put(o, "alarms", list);
    answer_json(c, 503, o);
}

static void check_alarms(struct call *c)
{
    check_alarms_of(c, "There are alarms in effect in the cluster");
}

static void check_local_alarms(struct call *c)
{
    check_alarms_of(c, "There are alarms in effect on the node");
}

static void check_ready(struct call *c)
{
    const struct http_context *context = http_of(c->r);
    char why[256] = "stopping";
    if (!http_is_ending(c->r) &&
        (!context->ready || context->ready(context->ready_ctx, why, sizeof why)))
        healthy(c);
    else
        answer_json(c, 503, failed(why));
}

/* ---- listeners ---- */

static int port_of(const struct management_listener *l)
{
    const char *colon = strrchr(l->address, ':');
    return colon ? atoi(colon + 1) : 0;
}

static void check_port(struct call *c)
{
    const struct management_context *x = call_context(c);
    char *end;
    const char *text = http_path(c->r, 0);
    long port = strtol(text, &end, 10);
    json_t *ports = json_array();
    bool found = false;
    if (*end || end == text) {
        json_decref(ports);
        answer_error(c, 400, "bad_request", "Invalid port value: %.60s", text);
        return;
    }
    for (size_t i = 0; i < x->listener_count; i++) {
        found |= port_of(&x->listeners[i]) == port;
        json_array_append_new(ports, json_integer(port_of(&x->listeners[i])));
    }
    if (found) {
        json_decref(ports);
        answer_json(c, 200, json_pack("{s:s,s:I}", "status", "ok", "port", (json_int_t)port));
        return;
    }
    json_t *o = failed("No active listener");
    json_put_number(o, "missing", port);
    json_put(o, "ports", ports);
    answer_json(c, 503, o);
}

/* Names that stand for one another. */
static const char *protocol_name(const char *name)
{
    static const char *const same[][2] = {{"amqp091", "amqp"},      {"amqp0.9.1", "amqp"},
                                          {"amqps", "amqp/ssl"},    {"amqp-tls", "amqp/ssl"},
                                          {"amqp/tls", "amqp/ssl"}, {"http/tls", "https"}};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (strcmp(name, same[i][0]) == 0)
            return same[i][1];
    return name;
}

static bool listens(const struct call *c, const char *name)
{
    for (size_t i = 0; i < call_context(c)->listener_count; i++)
        if (strcmp(call_context(c)->listeners[i].protocol, protocol_name(name)) == 0)
            return true;
    return false;
}

/* One of several, with commas between them, is enough. */
static void check_protocol(struct call *c)
{
    const char *names = http_path(c->r, 0);
    for (const char *at = names; *at;) {
        char name[64];
        size_t len = strcspn(at, ",");
        if (len < sizeof name) {
            memcpy(name, at, len);
            name[len] = 0;
            if (listens(c, name)) {
                answer_json(c, 200, json_pack("{s:s,s:s}", "status", "ok", "protocol", name));
                return;
            }
        }
        at += len + (at[len] == ',');
    }
    json_t *o = failed("No active listener"), *protocols = json_array();
    for (size_t i = 0; i < call_context(c)->listener_count; i++)
        json_array_append_new(protocols, json_string(call_context(c)->listeners[i].protocol));
    json_put_word(o, "missing", names);
    json_put(o, "protocols", protocols);
    answer_json(c, 503, o);
}

/* ---- a message through a queue ---- */

/* 0 or a reply code. */
static int probe(struct call *c, struct session *s)
{
    struct queue_declaration d = {.name = beck_str(PROBE)};
    struct queue_declared made;
    struct handed got;
    bool any = false;
    uint32_t left, messages;
    int code = session_declare_queue(s, &d, &made, c->text);
    if (!code)
        code = message_put(c, s,
                           &(struct publication){.routing_key = beck_str(PROBE),
                                                 .properties = bytes_of("\0\0", 2),
                                                 .body = beck_str("test_message")},
                           NULL);
    if (!code)
        code = session_get(s, beck_str(PROBE), &got, &any, &left, c->text);
    if (!code && any)
        broker_settle(got.queue, &got.tag, &(struct subscriber *){NULL}, 1, SETTLE_ACK);
    if (!code)
        code = session_delete_queue(s, beck_str(PROBE), false, false, &messages, c->text);
    return code;
}

static void aliveness_test(struct call *c)
{
    struct session *s;
    beck_bytes vhost;
    if (!call_vhost(c, 0, true, &vhost) || !call_session(c, vhost, &s))
        return;
    int code = probe(c, s);
    session_close(s);
    if (code)
        answer_reply(c, code);
    else
        healthy(c);
}

const struct management_route management_routes_health[] = {
    {"GET", "/api/health/checks/alarms", LEVEL_ANY, false, check_alarms, "management.checkAlarms"},
    {"GET", "/api/health/checks/local-alarms", LEVEL_ANY, false, check_local_alarms,
     "management.checkLocalAlarms"},
    {"GET", "/api/health/checks/virtual-hosts", LEVEL_ANY, false, healthy,
     "management.checkVhosts"},
    {"GET", "/api/health/checks/node-is-mirror-sync-critical", LEVEL_ANY, false, healthy,
     "management.checkMirrors"},
    {"GET", "/api/health/checks/node-is-quorum-critical", LEVEL_ANY, false, healthy,
     "management.checkQuorum"},
    {"GET", "/api/health/checks/is-in-service", LEVEL_ANY, false, check_ready,
     "management.checkService"},
    {"GET", "/api/health/checks/ready-to-serve-clients", LEVEL_ANY, false, check_ready,
     "management.checkReady"},
    {"GET", "/api/health/checks/below-node-connection-limit", LEVEL_ANY, false, healthy,
     "management.checkConnections"},
    {"GET", "/api/health/checks/metadata-store/initialized", LEVEL_ANY, false, healthy,
     "management.checkStore"},
    {"GET", "/api/health/checks/certificate-expiration/{within}/{unit}", LEVEL_ANY, false, healthy,
     "management.checkCertificates"},
    {"GET", "/api/health/checks/port-listener/{port}", LEVEL_ANY, false, check_port,
     "management.checkPort"},
    {"GET", "/api/health/checks/protocol-listener/{protocol}", LEVEL_ANY, false, check_protocol,
     "management.checkProtocol"},
    {"GET", "/api/healthchecks/node", LEVEL_ANY, false, healthy, "management.healthcheck"},
    {"GET", "/api/healthchecks/node/{node}", LEVEL_ANY, false, healthy,
     "management.healthcheckNode"},
    {"GET", "/api/aliveness-test/{vhost}", LEVEL_ANY, false, aliveness_test,
     "management.aliveness"},
    {0}};
