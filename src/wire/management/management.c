/*
 * The site, and what happens to each request of it: who calls, whether that is enough, the body, then the handler
 * of its route.
 */
#include "wire/management/management_impl.h"

#include "base/clock.h"
#include "base/error.h"
#include "wire/management/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct management_route *const tables[] = {
    management_routes_overview,    management_routes_health,      management_routes_vhosts,
    management_routes_users,       management_routes_permissions, management_routes_exchanges,
    management_routes_queues,      management_routes_bindings,    management_routes_messages,
    management_routes_connections, management_routes_policies,    management_routes_parameters,
    management_routes_definitions,
};

/* Tools add parameters of their own, such as one against caches. */
static const struct http_param any_params[] = {{"*", "string", ""}, {0}};

/* ---- one request ---- */

/* False, after answering. Tags are as RabbitMQ has them: each holds those below it. */
static bool admit(struct call *c, enum caller_level level)
{
    const struct identity *i = http_identity(c->r);
    if (level == LEVEL_NOBODY)
        return true;
    c->user = *identity_name(i) ? identity_name(i) : GUEST;
    c->admin =
        identity_may(i, ACCESS_ADMIN, ACCESS_SERVER, NULL) || identity_has_tag(i, "administrator");
    c->monitoring = c->admin || identity_has_tag(i, "monitoring");
    bool policies = c->admin || identity_has_tag(i, "policymaker");
    bool any = policies || c->monitoring || identity_has_tag(i, "management");
    static const char *const reasons[] = {[LEVEL_ANY] = "Not management user",
                                          [LEVEL_POLICIES] =
                                              "User not authorised to access virtual host",
                                          [LEVEL_MONITORING] = "Not monitor user",
                                          [LEVEL_ADMIN] = "Not administrator user"};
    bool enough[] = {[LEVEL_ANY] = any,
                     [LEVEL_POLICIES] = policies,
                     [LEVEL_MONITORING] = c->monitoring,
                     [LEVEL_ADMIN] = c->admin};
    if (any && enough[level])
        return true;
    answer_error(c, 401, "not_authorised", "%s", any ? reasons[level] : reasons[LEVEL_ANY]);
    return false;
}

/* False, after answering. */
static bool read_body(struct call *c)
{
    beck_bytes text = http_body(c->r);
    static const uint8_t mark[] = {0xef, 0xbb, 0xbf};
    if (text.len >= sizeof mark && memcmp(text.data, mark, sizeof mark) == 0)
        text = bytes_of((const uint8_t *)text.data + sizeof mark, text.len - sizeof mark);
    c->body = text.len == 0 ? json_object() : NULL;
    /* Checked first: the depth of what jansson reads is bounded then. */
    if (!c->body && text_is_json(text))
        c->body = json_loadb(text.data, text.len, JSON_ALLOW_NUL, NULL);
    if (json_is_object(c->body))
        return true;
    answer_error(c, 400, "bad_request", "not_json");
    return false;
}

#define RANGE_MAX_S 31536000

static int64_t asked_seconds(const struct http_request *r, const char *name)
{
    const char *text = http_query(r, name);
    uint64_t n = 0;
    return text && bytes_to_u64(beck_str(text), &n) && n <= RANGE_MAX_S ? (int64_t)n : 0;
}

/* What makes no sense is as if it was not there. */
static struct rates_range asked_range(struct call *c, const char *age, const char *incr)
{
    struct rates_range range = {asked_seconds(c->r, age), asked_seconds(c->r, incr),
                                &c->samples_left};
    return range.age_s >= range.incr_s && range.incr_s > 0 ? range : (struct rates_range){0};
}

static void dispatch(struct http_request *r)
{
    struct management *m = http_site_ctx(r);
    const struct management_route *route = m->route_details[http_route_of(r) - m->routes];
    struct call c = {.r = r, .m = m, .b = m->context.broker, .samples_left = RATE_ANSWER_SAMPLES};
    c.lengths = asked_range(&c, "lengths_age", "lengths_incr");
    c.msg_rates = asked_range(&c, "msg_rates_age", "msg_rates_incr");
    c.data_rates = asked_range(&c, "data_rates_age", "data_rates_incr");
    c.node_stats = asked_range(&c, "node_stats_age", "node_stats_incr");
    if (admit(&c, route->level) && (!route->body || read_body(&c)))
        route->run(&c);
    json_decref(c.body);
}

const struct management_context *call_context(const struct call *c)
{
    return &c->m->context;
}

/* ---- errors of the HTTP server itself ---- */

static const char *error_of(int status)
{
    switch (status) {
    case 401:
    case 403:
        return "not_authorised";
    case 404:
        return "Object Not Found";
    case 405:
        return "method_not_allowed";
    case 429:
        return "too_many_requests";
    default:
        return status < 500 ? "bad_request" : "internal_server_error";
    }
}

static beck_status write_problem(int status, const char *detail, struct buf *out)
{
    beck_status failed = buf_printf(out, "{\"error\":\"%s\",\"reason\":", error_of(status));
    failed |= text_quote(out, beck_str(status == 404 ? "Not Found" : detail));
    return failed | buf_append_text(out, "}");
}

/* ---- life ---- */

static bool make_routes(struct management *m)
{
    size_t count = 0;
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (const struct management_route *at = tables[t]; at->method; at++)
            count++;
    m->routes = calloc(count + 1, sizeof *m->routes);
    m->route_details = calloc(count + 1, sizeof(*m->route_details));
    if (!m->routes || !m->route_details)
        return false;
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (const struct management_route *at = tables[t]; at->method; at++) {
            m->route_details[m->route_count] = at;
            m->routes[m->route_count++] =
                (struct http_route){.method = at->method,
                                    .path = at->path,
                                    .run = HTTP_POOL,
                                    .right = at->level == LEVEL_NOBODY ? 0 : HTTP_NAMED,
                                    .kind = ACCESS_SERVER,
                                    .handle = dispatch,
                                    .operation = at->operation,
                                    .summary = "",
                                    .params = any_params};
        }
    m->tables[0] = m->routes;
    return true;
}

static void name_node(struct management *m)
{
    char host[100] = "localhost";
    gethostname(host, sizeof host - 1);
    host[strcspn(host, ".")] = 0;
    snprintf(m->node, sizeof m->node, "rabbit@%s", host);
}

beck_status management_new(const struct management_context *context, struct management **out,
                           beck_error *err)
{
    struct management *m = calloc(1, sizeof *m);
    if (!m)
        return error_set(err, BECK_ENOMEM, "no memory for the management API");
    m->context = *context;
    m->listeners = calloc(context->listener_count + 1, sizeof *m->listeners);
    m->rates = rates_new(clock_system());
    if (!m->listeners || !m->rates || !make_routes(m)) {
        management_free(m);
        return error_set(err, BECK_ENOMEM, "no memory for the management API");
    }
    if (context->listener_count > 0)
        memcpy(m->listeners, context->listeners, context->listener_count * sizeof *m->listeners);
    m->context.listeners = m->listeners;
    m->site = (struct http_site){.routes = m->tables,
                                 .ctx = m,
                                 .realm = "RabbitMQ Management",
                                 .named = true,
                                 .problem = write_problem};
    m->started_ms = clock_wall_ms(clock_system());
    name_node(m);
    *out = m;
    return BECK_OK;
}

void management_free(struct management *m)
{
    if (!m)
        return;
    rates_free(m->rates);
    free(m->listeners);
    free(m->routes);
    free(m->route_details);
    free(m);
}

const struct http_site *management_site(const struct management *m)
{
    return &m->site;
}
