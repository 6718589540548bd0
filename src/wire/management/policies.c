/* Policies of users and of operators. */
#include "wire/management/list.h"
#include "wire/management/puts.h"

#include "base/error.h"

#define DEFINITION_MAX 65536

static json_t *of_policy(const struct policy_view *p)
{
    json_t *o = json_object();
    json_put_text(o, "vhost", p->vhost);
    json_put_text(o, "name", p->name);
    json_put_text(o, "pattern", p->pattern);
    json_put_text(o, "apply-to", p->apply_to.len ? p->apply_to : beck_str("all"));
    json_put(o, "definition", json_of_document(p->definition));
    json_put_number(o, "priority", p->priority);
    return o;
}

static int list_policy(void *ctx, const struct policy_view *p)
{
    struct list *l = ctx;
    return call_sees_vhost(l->c, p->vhost) ? list_add(l, of_policy(p)) : 0;
}

static void list_policies_of(struct call *c, bool user, beck_bytes vhost)
{
    struct list l;
    if (!list_begin(&l, c))
        return;
    broker_each_policy(c->b, user, vhost, (beck_bytes){0}, list_policy, &l);
    list_answer(&l);
}

static void list_policies(struct call *c)
{
    list_policies_of(c, true, (beck_bytes){0});
}

static void list_operator_policies(struct call *c)
{
    list_policies_of(c, false, (beck_bytes){0});
}

static void list_policies_in(struct call *c, bool user)
{
    beck_bytes vhost;
    if (call_vhost(c, 0, false, &vhost))
        list_policies_of(c, user, vhost);
}

static void list_policies_of_vhost(struct call *c)
{
    list_policies_in(c, true);
}

static void list_operator_policies_of_vhost(struct call *c)
{
    list_policies_in(c, false);
}

static int find_policy(void *ctx, const struct policy_view *p)
{
    *(json_t **)ctx = of_policy(p);
    return 1;
}

static json_t *find(struct call *c, bool user, beck_bytes vhost, beck_bytes name)
{
    json_t *o = NULL;
    broker_each_policy(c->b, user, vhost, name, find_policy, &o);
    return o;
}

static void show(struct call *c, bool user)
{
    beck_bytes vhost;
    if (!call_vhost(c, 0, false, &vhost))
        return;
    json_t *o = find(c, user, vhost, call_name(c, 1));
    if (o)
        answer_json(c, 200, list_columns(c, o));
    else
        answer_not_found(c);
}

static void show_policy(struct call *c)
{
    show(c, true);
}

static void show_operator_policy(struct call *c)
{
    show(c, false);
}

bool policy_put(struct call *c, bool user, beck_bytes vhost, beck_bytes name, const json_t *from)
{
    struct policy_view p = {.vhost = vhost, .name = name};
    struct buf definition;
    const json_t *given = json_object_get(from, "definition");
    if (!body_text(c, from, "pattern", NULL, &p.pattern) ||
        !body_text(c, from, "apply-to", "all", &p.apply_to) ||
        !body_number(c, from, "priority", 0, &p.priority))
        return false;
    if (!json_is_object(given)) {
        answer_error(c, 400, "bad_request",
                     given ? "definition is no object" : "key_missing: definition");
        return false;
    }
    buf_init(&definition, DEFINITION_MAX);
    beck_status status = json_write(given, &definition);
    if (status)
        status =
            error_set(&c->err, BECK_EINVAL, "a definition has at most %d bytes", DEFINITION_MAX);
    p.definition = buf_bytes(&definition);
    if (!status)
        status = broker_put_policy(c->b, user, &p, &c->err);
    buf_release(&definition);
    if (status)
        answer_status(c, status);
    return !status;
}

static void put(struct call *c, bool user)
{
    beck_bytes vhost;
    if (!call_vhost(c, 0, true, &vhost))
        return;
    json_t *before = find(c, user, vhost, call_name(c, 1));
    if (policy_put(c, user, vhost, call_name(c, 1), c->body))
        answer_put(c, BECK_OK, !before);
    json_decref(before);
}

static void put_policy(struct call *c)
{
    put(c, true);
}

static void put_operator_policy(struct call *c)
{
    put(c, false);
}

static void delete_one(struct call *c, bool user)
{
    beck_bytes vhost;
    if (call_vhost(c, 0, true, &vhost))
        answer_done(c, broker_delete_policy(c->b, user, vhost, call_name(c, 1), &c->err));
}

static void delete_policy(struct call *c)
{
    delete_one(c, true);
}

static void delete_operator_policy(struct call *c)
{
    delete_one(c, false);
}

const struct management_route management_routes_policies[] = {
    {"GET", "/api/policies", LEVEL_ANY, false, list_policies, "management.policies"},
    {"GET", "/api/policies/{vhost}", LEVEL_ANY, false, list_policies_of_vhost,
     "management.vhostPolicies"},
    {"GET", "/api/policies/{vhost}/{policy}", LEVEL_ANY, false, show_policy, "management.policy"},
    {"PUT", "/api/policies/{vhost}/{policy}", LEVEL_POLICIES, true, put_policy,
     "management.putPolicy"},
    {"DELETE", "/api/policies/{vhost}/{policy}", LEVEL_POLICIES, false, delete_policy,
     "management.deletePolicy"},
    {"GET", "/api/operator-policies", LEVEL_ANY, false, list_operator_policies,
     "management.operatorPolicies"},
    {"GET", "/api/operator-policies/{vhost}", LEVEL_ANY, false, list_operator_policies_of_vhost,
     "management.vhostOperatorPolicies"},
    {"GET", "/api/operator-policies/{vhost}/{policy}", LEVEL_ANY, false, show_operator_policy,
     "management.operatorPolicy"},
    {"PUT", "/api/operator-policies/{vhost}/{policy}", LEVEL_ADMIN, true, put_operator_policy,
     "management.putOperatorPolicy"},
    {"DELETE", "/api/operator-policies/{vhost}/{policy}", LEVEL_ADMIN, false,
     delete_operator_policy, "management.deleteOperatorPolicy"},
    {0}};
