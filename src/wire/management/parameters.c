/*
 * Parameters of virtual hosts and of the whole, and limits of virtual hosts and users. Two components are other
 * things under the name of a parameter, as definitions have them: operator_policy and vhost-limits.
 */
#include "wire/management/list.h"
#include "wire/management/puts.h"

#include "base/error.h"

#define VALUE_MAX (1 << 20)

/* ---- parameters ---- */

static json_t *of_parameter(const struct parameter_view *p, bool global)
{
    json_t *o = json_object();
    json_put_text(o, "name", p->name);
    if (!global) {
        json_put_text(o, "vhost", p->vhost);
        json_put_text(o, "component", p->component);
    }
    json_put(o, "value", json_of_document(p->value));
    return o;
}

/* Policies are parameters too, to those who look for them by the name of their component. */
#define POLICY "policy"

static json_t *of_policy(const struct policy_view *p)
{
    json_t *o = json_object(), *value = json_object();
    json_put_text(value, "pattern", p->pattern);
    json_put(value, "definition", json_of_document(p->definition));
    json_put_number(value, "priority", p->priority);
    json_put_text(value, "apply-to", p->apply_to.len ? p->apply_to : beck_str("all"));
    json_put_text(o, "name", p->name);
    json_put_text(o, "vhost", p->vhost);
    json_put_word(o, "component", POLICY);
    json_put(o, "value", value);
    return o;
}

static int list_policy(void *ctx, const struct policy_view *p)
{
    struct list *l = ctx;
    return call_sees_vhost(l->c, p->vhost) ? list_add(l, of_policy(p)) : 0;
}

static int find_policy(void *ctx, const struct policy_view *p)
{
    *(json_t **)ctx = of_policy(p);
    return 1;
}

static int list_parameter(void *ctx, const struct parameter_view *p)
{
    struct list *l = ctx;
    return call_sees_vhost(l->c, p->vhost) ? list_add(l, of_parameter(p, false)) : 0;
}

static int list_global(void *ctx, const struct parameter_view *p)
{
    return list_add(ctx, of_parameter(p, true));
}

static void list_parameters_of(struct call *c, beck_bytes component, beck_bytes vhost)
{
    struct list l;
    if (!list_begin(&l, c))
        return;
    if (bytes_equal_text(component, POLICY))
        broker_each_policy(c->b, true, vhost, (beck_bytes){0}, list_policy, &l);
    else
        broker_each_parameter(c->b, false, component, vhost, (beck_bytes){0}, list_parameter, &l);
    list_answer(&l);
}

static void list_parameters(struct call *c)
{
    list_parameters_of(c, (beck_bytes){0}, (beck_bytes){0});
}

static void list_parameters_of_component(struct call *c)
{
    list_parameters_of(c, call_name(c, 0), (beck_bytes){0});
}

static void list_parameters_of_vhost(struct call *c)
{
    beck_bytes vhost;
    if (call_vhost(c, 1, false, &vhost))
        list_parameters_of(c, call_name(c, 0), vhost);
}

static void list_global_parameters(struct call *c)
{
    struct list l;
    if (!list_begin(&l, c))
        return;
    broker_each_parameter(c->b, true, (beck_bytes){0}, (beck_bytes){0}, (beck_bytes){0},
                          list_global, &l);
    list_answer(&l);
}

static int find_parameter(void *ctx, const struct parameter_view *p)
{
    *(json_t **)ctx = of_parameter(p, false);
    return 1;
}

static int find_global(void *ctx, const struct parameter_view *p)
{
    *(json_t **)ctx = of_parameter(p, true);
    return 1;
}

static json_t *find(struct call *c, beck_bytes vhost)
{
    json_t *o = NULL;
    if (bytes_equal_text(call_name(c, 0), POLICY))
        broker_each_policy(c->b, true, vhost, call_name(c, 2), find_policy, &o);
    else
        broker_each_parameter(c->b, false, call_name(c, 0), vhost, call_name(c, 2), find_parameter,
                              &o);
    return o;
}

static json_t *find_global_named(struct call *c)
{
    json_t *o = NULL;
    broker_each_parameter(c->b, true, (beck_bytes){0}, (beck_bytes){0}, call_name(c, 0),
                          find_global, &o);
    return o;
}

static void answer_found(struct call *c, json_t *o)
{
    if (o)
        answer_json(c, 200, o);
    else
        answer_not_found(c);
}

static void show_parameter(struct call *c)
{
    beck_bytes vhost;
    if (call_vhost(c, 1, false, &vhost))
        answer_found(c, find(c, vhost));
}

static void show_global_parameter(struct call *c)
{
    answer_found(c, find_global_named(c));
}

/* ---- putting them ---- */

bool limits_put(struct call *c, bool user, beck_bytes of, const json_t *limits)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)limits, name, value)
    {
        struct limit_view l = {.of = of, .name = beck_str(name)};
        if (!body_number(c, limits, name, -1, &l.value))
            return false;
        beck_status status = user ? broker_put_user_limit(c->b, &l, &c->err)
                                  : broker_put_vhost_limit(c->b, &l, &c->err);
        if (status) {
            answer_status(c, status);
            return false;
        }
    }
    return true;
}

bool parameter_put(struct call *c, beck_bytes component, beck_bytes vhost, beck_bytes name,
                   const json_t *from)
{
    const json_t *given = json_object_get(from, "value");
    struct buf value;
    if (!given) {
        answer_error(c, 400, "bad_request", "key_missing: value");
        return false;
    }
    if (bytes_equal_text(component, "operator_policy"))
        return policy_put(c, false, vhost, name, given);
    if (bytes_equal_text(component, "vhost-limits"))
        return limits_put(c, false, vhost, given);
    buf_init(&value, VALUE_MAX);
    beck_status status = json_write(given, &value);
    if (status)
        status = error_set(&c->err, BECK_EINVAL, "a value has at most %d bytes", VALUE_MAX);
    struct parameter_view p = {component, vhost, name, buf_bytes(&value)};
    if (!status)
        status = broker_put_parameter(c->b, &p, &c->err);
    buf_release(&value);
    if (status)
        answer_status(c, status);
    return !status;
}

static void put_parameter(struct call *c)
{
    beck_bytes vhost, component = call_name(c, 0);
    if (!call_vhost(c, 1, true, &vhost))
        return;
    if (bytes_equal_text(component, POLICY)) {
        answer_error(c, 400, "bad_request", "policies may not be set using this method");
        return;
    }
    if (!c->admin && (bytes_equal_text(component, "operator_policy") ||
                      bytes_equal_text(component, "vhost-limits"))) {
        answer_error(c, 401, "not_authorised", "Not administrator user");
        return;
    }
    json_t *before = find(c, vhost);
    if (parameter_put(c, component, vhost, call_name(c, 2), c->body))
        answer_put(c, BECK_OK, !before);
    json_decref(before);
}

static void put_global_parameter(struct call *c)
{
    json_t *before = find_global_named(c);
    if (parameter_put(c, bytes_of("", 0), bytes_of("", 0), call_name(c, 0), c->body))
        answer_put(c, BECK_OK, !before);
    json_decref(before);
}

static void delete_parameter(struct call *c)
{
    beck_bytes vhost;
    if (!call_vhost(c, 1, true, &vhost))
        return;
    if (bytes_equal_text(call_name(c, 0), POLICY))
        answer_error(c, 400, "bad_request", "policies may not be cleared using this method");
    else
        answer_done(
            c, broker_delete_parameter(c->b, call_name(c, 0), vhost, call_name(c, 2), &c->err));
}

static void delete_global_parameter(struct call *c)
{
    answer_done(c, broker_delete_parameter(c->b, bytes_of("", 0), bytes_of("", 0), call_name(c, 0),
                                           &c->err));
}

/* ---- limits ---- */

static int add_limit(void *ctx, const struct limit_view *v)
{
    json_t *o = ctx;
    json_t *name = json_of(v->name);
    if (name)
        json_put_number(o, json_string_value(name), v->value);
    json_decref(name);
    return 0;
}

json_t *json_of_limits(struct call *c, bool user, beck_bytes of)
{
    json_t *o = json_object();
    if (user)
        broker_each_user_limit(c->b, of, add_limit, o);
    else
        broker_each_vhost_limit(c->b, of, add_limit, o);
    return o;
}

/* One item for each that has limits: they come in order of name. */
struct limits {
    struct list list;
    const char *kind; /* "vhost", "user" */
    json_t *item;
};

static int gather_limit(void *ctx, const struct limit_view *v)
{
    struct limits *l = ctx;
    if (bytes_equal_text(beck_str(l->kind), "vhost") && !call_sees_vhost(l->list.c, v->of))
        return 0;
    if (l->item && !bytes_equal(json_slice(json_object_get(l->item, l->kind)), v->of)) {
        if (list_add(&l->list, l->item)) {
            l->item = NULL;
            return 1;
        }
        l->item = NULL;
    }
    if (!l->item) {
        l->item = json_object();
        json_put_text(l->item, l->kind, v->of);
        json_put(l->item, "value", json_object());
    }
    return add_limit(json_object_get(l->item, "value"), v);
}

static void list_limits(struct call *c, bool user, beck_bytes of)
{
    struct limits l = {.kind = user ? "user" : "vhost"};
    if (!list_begin(&l.list, c))
        return;
    if (user)
        broker_each_user_limit(c->b, of, gather_limit, &l);
    else
        broker_each_vhost_limit(c->b, of, gather_limit, &l);
    if (l.item)
        list_add(&l.list, l.item);
    list_answer(&l.list);
}

static void list_vhost_limits(struct call *c)
{
    list_limits(c, false, (beck_bytes){0});
}

static void list_limits_of_vhost(struct call *c)
{
    beck_bytes vhost;
    if (call_vhost(c, 0, false, &vhost))
        list_limits(c, false, vhost);
}

static void list_user_limits(struct call *c)
{
    list_limits(c, true, (beck_bytes){0});
}

static void list_limits_of_user(struct call *c)
{
    struct access *access = call_context(c)->access;
    struct identity *user = access_named(access, call_name(c, 0));
    if (user || access_user_count(access) == 0)
        list_limits(c, true, call_name(c, 0));
    else
        answer_not_found(c);
    identity_release(user);
}

static void put_limit(struct call *c, bool user)
{
    struct limit_view l = {.of = call_name(c, 0), .name = call_name(c, 1)};
    if (!json_object_get(c->body, "value")) {
        answer_error(c, 400, "bad_request", "key_missing: value");
        return;
    }
    if (body_number(c, c->body, "value", -1, &l.value))
        answer_done(c, user ? broker_put_user_limit(c->b, &l, &c->err)
                            : broker_put_vhost_limit(c->b, &l, &c->err));
}

static void put_vhost_limit(struct call *c)
{
    beck_bytes vhost;
    if (call_vhost(c, 0, true, &vhost))
        put_limit(c, false);
}

static void put_user_limit(struct call *c)
{
    put_limit(c, true);
}

static void delete_vhost_limit(struct call *c)
{
    beck_bytes vhost;
    if (call_vhost(c, 0, true, &vhost))
        answer_done(c, broker_delete_vhost_limit(c->b, vhost, call_name(c, 1), &c->err));
}

static void delete_user_limit(struct call *c)
{
    answer_done(c, broker_delete_user_limit(c->b, call_name(c, 0), call_name(c, 1), &c->err));
}

/* Shovels and links of federations: there are none, whatever parameters say. */
static void list_none(struct call *c)
{
    answer_json(c, 200, json_array());
}

const struct management_route management_routes_parameters[] = {
    {"GET", "/api/shovels", LEVEL_MONITORING, false, list_none, "management.shovels"},
    {"GET", "/api/shovels/{vhost}", LEVEL_MONITORING, false, list_none, "management.vhostShovels"},
    {"GET", "/api/federation-links", LEVEL_MONITORING, false, list_none,
     "management.federationLinks"},
    {"GET", "/api/federation-links/{vhost}", LEVEL_MONITORING, false, list_none,
     "management.vhostFederationLinks"},
    {"GET", "/api/parameters", LEVEL_POLICIES, false, list_parameters, "management.parameters"},
    {"GET", "/api/parameters/{component}", LEVEL_POLICIES, false, list_parameters_of_component,
     "management.componentParameters"},
    {"GET", "/api/parameters/{component}/{vhost}", LEVEL_POLICIES, false, list_parameters_of_vhost,
     "management.vhostParameters"},
    {"GET", "/api/parameters/{component}/{vhost}/{name}", LEVEL_POLICIES, false, show_parameter,
     "management.parameter"},
    {"PUT", "/api/parameters/{component}/{vhost}/{name}", LEVEL_POLICIES, true, put_parameter,
     "management.putParameter"},
    {"DELETE", "/api/parameters/{component}/{vhost}/{name}", LEVEL_POLICIES, false,
     delete_parameter, "management.deleteParameter"},
    {"GET", "/api/global-parameters", LEVEL_POLICIES, false, list_global_parameters,
     "management.globalParameters"},
    {"GET", "/api/global-parameters/{name}", LEVEL_POLICIES, false, show_global_parameter,
     "management.globalParameter"},
    {"PUT", "/api/global-parameters/{name}", LEVEL_POLICIES, true, put_global_parameter,
     "management.putGlobalParameter"},
    {"DELETE", "/api/global-parameters/{name}", LEVEL_POLICIES, false, delete_global_parameter,
     "management.deleteGlobalParameter"},
    {"GET", "/api/vhost-limits", LEVEL_ANY, false, list_vhost_limits, "management.vhostLimits"},
    {"GET", "/api/vhost-limits/{vhost}", LEVEL_ANY, false, list_limits_of_vhost,
     "management.limitsOfVhost"},
    {"PUT", "/api/vhost-limits/{vhost}/{name}", LEVEL_ADMIN, true, put_vhost_limit,
     "management.putVhostLimit"},
    {"DELETE", "/api/vhost-limits/{vhost}/{name}", LEVEL_ADMIN, false, delete_vhost_limit,
     "management.deleteVhostLimit"},
    {"GET", "/api/user-limits", LEVEL_ANY, false, list_user_limits, "management.userLimits"},
    {"GET", "/api/user-limits/{user}", LEVEL_ANY, false, list_limits_of_user,
     "management.limitsOfUser"},
    {"PUT", "/api/user-limits/{user}/{name}", LEVEL_ADMIN, true, put_user_limit,
     "management.putUserLimit"},
    {"DELETE", "/api/user-limits/{user}/{name}", LEVEL_ADMIN, false, delete_user_limit,
     "management.deleteUserLimit"},
    {0}};
