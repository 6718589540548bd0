/*
 * Definitions: everything that is declared, of all or of one virtual host, as one document, and back. What is put
 * twice stays; what an import refuses ends it, with what came before in force, as with RabbitMQ.
 */
#include "wire/management/management_impl.h"
#include "wire/management/puts.h"

#include <stdio.h>

/* ---- export ---- */

struct exporting {
    struct call *c;
    bool one_vhost; /* then the vhost is not said */
    json_t *to;
};

static void put_vhost_name(const struct exporting *e, json_t *o, beck_bytes vhost)
{
    if (!e->one_vhost)
        json_put_text(o, "vhost", vhost);
}

static int export_vhost(void *ctx, const struct vhost_view *v)
{
    struct exporting *e = ctx;
    json_t *o = json_of_document(v->metadata);
    json_t *metadata = json_deep_copy(o);
    json_put_text(o, "name", v->name);
    json_put(o, "metadata", metadata);
    json_array_append_new(e->to, o);
    return 0;
}

static int export_permission(void *ctx, const struct permission_view *p)
{
    struct exporting *e = ctx;
    return json_array_append_new(e->to, json_of_permission(p));
}

static int export_topic_permission(void *ctx, const struct topic_permission_view *p)
{
    struct exporting *e = ctx;
    return json_array_append_new(e->to, json_of_topic_permission(p));
}

static json_t *parameter(const struct exporting *e, const char *component, beck_bytes vhost,
                         beck_bytes name, json_t *value)
{
    json_t *o = json_object();
    json_put_word(o, "component", component);
    put_vhost_name(e, o, vhost);
    json_put_text(o, "name", name);
    json_put(o, "value", value);
    return o;
}

static int export_parameter(void *ctx, const struct parameter_view *p)
{
    struct exporting *e = ctx;
    json_t *o = parameter(e, "", p->vhost, p->name, json_of_document(p->value));
    json_put_text(o, "component", p->component);
    json_array_append_new(e->to, o);
    return 0;
}

static int export_global(void *ctx, const struct parameter_view *p)
{
    struct exporting *e = ctx;
    json_t *o = json_object();
    json_put_text(o, "name", p->name);
    json_put(o, "value", json_of_document(p->value));
    json_array_append_new(e->to, o);
    return 0;
}

static json_t *policy(const struct policy_view *p)
{
    json_t *o = json_object();
    json_put_text(o, "pattern", p->pattern);
    json_put_text(o, "apply-to", p->apply_to.len ? p->apply_to : beck_str("all"));
    json_put(o, "definition", json_of_document(p->definition));
    json_put_number(o, "priority", p->priority);
    return o;
}

static int export_policy(void *ctx, const struct policy_view *p)
{
    struct exporting *e = ctx;
    json_t *o = policy(p);
    put_vhost_name(e, o, p->vhost);
    json_put_text(o, "name", p->name);
    json_array_append_new(e->to, o);
    return 0;
}

static int export_operator_policy(void *ctx, const struct policy_view *p)
{
    struct exporting *e = ctx;
    json_array_append_new(e->to, parameter(e, "operator_policy", p->vhost, p->name, policy(p)));
    return 0;
}

static int export_limits(void *ctx, const struct vhost_view *v)
{
    struct exporting *e = ctx;
    json_t *limits = json_of_limits(e->c, false, v->name);
    if (json_object_size(limits) > 0)
        json_array_append_new(e->to,
                              parameter(e, "vhost-limits", v->name, beck_str("limits"), limits));
    else
        json_decref(limits);
    return 0;
}

static int export_exchange(void *ctx, const struct exchange_view *x)
{
    struct exporting *e = ctx;
    if (x->name.len == 0 || (x->name.len >= 4 && memcmp(x->name.data, "amq.", 4) == 0))
        return 0;
    json_t *o = json_object();
    json_put_text(o, "name", x->name);
    put_vhost_name(e, o, x->vhost);
    json_put_text(o, "type", x->type);
    json_put_flag(o, "durable", x->durable);
    json_put_flag(o, "auto_delete", x->auto_delete);
    json_put_flag(o, "internal", x->internal);
    json_put(o, "arguments", json_of_table(x->arguments));
    json_array_append_new(e->to, o);
    return 0;
}

static int export_queue(void *ctx, const struct queue_view *q)
{
    struct exporting *e = ctx;
    if (q->exclusive)
        return 0;
    json_t *o = json_object();
    json_put_text(o, "name", q->name);
    put_vhost_name(e, o, q->vhost);
    json_put_word(o, "type", q->type);
    json_put_flag(o, "durable", q->durable);
    json_put_flag(o, "auto_delete", q->auto_delete);
    json_put(o, "arguments", json_of_table(q->arguments));
    json_array_append_new(e->to, o);
    return 0;
}

static int note_exclusive(void *ctx, const struct queue_view *q)
{
    *(bool *)ctx = q->exclusive;
    return 1;
}

static int export_binding(void *ctx, const struct binding_view *b)
{
    struct exporting *e = ctx;
    bool exclusive = false;
    if (b->source.len == 0)
        return 0;
    if (!b->to_exchange)
        broker_each_queue(e->c->b, b->vhost, b->destination, note_exclusive, &exclusive);
    if (exclusive)
        return 0;
    json_t *o = json_object();
    json_put_text(o, "source", b->source);
    put_vhost_name(e, o, b->vhost);
    json_put_text(o, "destination", b->destination);
    json_put_word(o, "destination_type", b->to_exchange ? "exchange" : "queue");
    json_put_text(o, "routing_key", b->routing_key);
    json_put(o, "arguments", json_of_table(b->arguments));
    json_array_append_new(e->to, o);
    return 0;
}

static json_t *begin_list(struct exporting *e, json_t *document, const char *name)
{
    e->to = json_array();
    json_put(document, name, e->to);
    return e->to;
}

static void export_vhosts(struct exporting *e, json_t *o, beck_bytes vhost)
{
    struct broker *b = e->c->b;
    const beck_bytes any = {0};
    const struct binding_filter bindings = {.vhost = vhost};
    begin_list(e, o, "parameters");
    broker_each_parameter(b, false, any, vhost, any, export_parameter, e);
    broker_each_policy(b, false, vhost, any, export_operator_policy, e);
    broker_each_vhost(b, vhost, export_limits, e);
    begin_list(e, o, "policies");
    broker_each_policy(b, true, vhost, any, export_policy, e);
    begin_list(e, o, "queues");
    broker_each_queue(b, vhost, any, export_queue, e);
    begin_list(e, o, "exchanges");
    broker_each_exchange(b, vhost, any, export_exchange, e);
    begin_list(e, o, "bindings");
    broker_each_binding(b, &bindings, export_binding, e);
}

static json_t *begin_document(struct call *c, const char *format)
{
    const struct management_context *x = call_context(c);
    json_t *o = json_object();
    const char *download = http_query(c->r, "download");
    json_put_word(o, "rabbit_version", x->rabbitmq_version);
    json_put_word(o, "rabbitmq_version", x->rabbitmq_version);
    json_put_word(o, "product_name", "beck");
    json_put_word(o, "product_version", x->product_version);
    json_put_word(o, "rabbitmq_definition_format", format);
    if (download && strspn(download, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789._-") == strlen(download)) {
        char header[256];
        if ((size_t)snprintf(header, sizeof header, "attachment; filename=%s", download) <
            sizeof header)
            http_set_header(c->r, "Content-Disposition", header);
    }
    return o;
}

static void export_all(struct call *c)
{
    struct exporting e = {.c = c};
    const beck_bytes any = {0};
    json_t *o = begin_document(c, "cluster");
    users_export(c, begin_list(&e, o, "users"));
    begin_list(&e, o, "vhosts");
    broker_each_vhost(c->b, any, export_vhost, &e);
    begin_list(&e, o, "permissions");
    broker_each_permission(c->b, any, any, export_permission, &e);
    begin_list(&e, o, "topic_permissions");
    broker_each_topic_permission(c->b, any, any, export_topic_permission, &e);
    begin_list(&e, o, "global_parameters");
    broker_each_parameter(c->b, true, any, any, any, export_global, &e);
    export_vhosts(&e, o, any);
    answer_json(c, 200, o);
}

static void export_one(struct call *c)
{
    struct exporting e = {.c = c, .one_vhost = true};
    beck_bytes vhost;
    if (!call_vhost(c, 0, false, &vhost))
        return;
    json_t *o = begin_document(c, "single_virtual_host");
    json_put_text(o, "original_vhost_name", vhost);
    export_vhosts(&e, o, vhost);
    answer_json(c, 200, o);
}

/* ---- import ---- */

struct importing {
    struct call *c;
    beck_bytes vhost; /* of all; absent: each says its own */
    struct session *session;
    beck_bytes session_vhost; /* borrowed from the document */
};

static bool read_name(struct importing *i, const json_t *from, const char *what, beck_bytes *out)
{
    return body_text(i->c, from, what, NULL, out);
}

static bool read_vhost(struct importing *i, const json_t *from, beck_bytes *out)
{
    *out = i->vhost;
    return i->vhost.data || body_text(i->c, from, "vhost", NULL, out);
}

/* One session at a time is kept: things of a vhost stand together. */
static bool enter(struct importing *i, const json_t *from)
{
    beck_bytes vhost;
    if (!read_vhost(i, from, &vhost))
        return false;
    if (i->session && bytes_equal(i->session_vhost, vhost))
        return true;
    if (i->session)
        session_close(i->session);
    i->session = NULL;
    i->session_vhost = vhost;
    return call_session(i->c, vhost, &i->session);
}

static bool import_user(struct importing *i, const json_t *from)
{
    beck_bytes name;
    const json_t *limits = json_object_get(from, "limits");
    return read_name(i, from, "name", &name) && user_put(i->c, name, from) &&
           (!json_is_object(limits) || limits_put(i->c, true, name, limits));
}

static bool import_vhost(struct importing *i, const json_t *from)
{
    beck_bytes name;
    return read_name(i, from, "name", &name) && vhost_put(i->c, name, from);
}

static bool import_permission(struct importing *i, const json_t *from)
{
    beck_bytes user, vhost;
    return read_name(i, from, "user", &user) && read_vhost(i, from, &vhost) &&
           permission_put(i->c, vhost, user, from);
}

static bool import_topic_permission(struct importing *i, const json_t *from)
{
    beck_bytes user, vhost;
    return read_name(i, from, "user", &user) && read_vhost(i, from, &vhost) &&
           topic_permission_put(i->c, vhost, user, from);
}

static bool import_parameter(struct importing *i, const json_t *from)
{
    beck_bytes component, vhost, name;
    return read_name(i, from, "component", &component) && read_name(i, from, "name", &name) &&
           read_vhost(i, from, &vhost) && parameter_put(i->c, component, vhost, name, from);
}

static bool import_global(struct importing *i, const json_t *from)
{
    beck_bytes name, none = bytes_of("", 0);
    return read_name(i, from, "name", &name) && parameter_put(i->c, none, none, name, from);
}

static bool import_policy(struct importing *i, const json_t *from)
{
    beck_bytes vhost, name;
    return read_name(i, from, "name", &name) && read_vhost(i, from, &vhost) &&
           policy_put(i->c, true, vhost, name, from);
}

/* The type that stands beside the arguments is one of them. */
static bool import_queue(struct importing *i, const json_t *from)
{
    beck_bytes name, type;
    if (!read_name(i, from, "name", &name) || !body_text(i->c, from, "type", "", &type) ||
        !enter(i, from))
        return false;
    json_t *copy = json_copy((json_t *)(uintptr_t)from);
    json_t *arguments = json_copy(json_object_get(from, "arguments"));
    if (!json_is_object(arguments)) {
        json_decref(arguments);
        arguments = json_object();
    }
    if (type.len && !bytes_equal_text(type, "classic") &&
        !json_object_get(arguments, "x-queue-type"))
        json_put_text(arguments, "x-queue-type", type);
    json_put(copy, "arguments", arguments);
    bool ok = queue_put(i->c, i->session, name, copy);
    json_decref(copy);
    return ok;
}

static bool import_exchange(struct importing *i, const json_t *from)
{
    beck_bytes name;
    return read_name(i, from, "name", &name) && enter(i, from) &&
           exchange_put(i->c, i->session, name, from);
}

static bool import_binding(struct importing *i, const json_t *from)
{
    struct binding_declaration d = {0};
    beck_bytes kind;
    if (!read_name(i, from, "source", &d.source) ||
        !read_name(i, from, "destination", &d.destination) ||
        !read_name(i, from, "destination_type", &kind) || !enter(i, from))
        return false;
    d.to_exchange = bytes_equal_text(kind, "exchange");
    return binding_put(i->c, i->session, &d, from, NULL);
}

struct import_step {
    const char *name;
    bool (*run)(struct importing *i, const json_t *from);
    bool whole; /* only of definitions of everything */
};

/* In this order: each may need those before it. */
static const struct import_step steps[] = {
    {"users", import_user, true},
    {"vhosts", import_vhost, true},
    {"permissions", import_permission, true},
    {"topic_permissions", import_topic_permission, true},
    {"parameters", import_parameter, false},
    {"global_parameters", import_global, true},
    {"policies", import_policy, false},
    {"queues", import_queue, false},
    {"exchanges", import_exchange, false},
    {"bindings", import_binding, false},
};

/* False, after answering. */
static bool run_step(struct importing *i, const struct import_step *step)
{
    const json_t *list = json_object_get(i->c->body, step->name);
    if (!list || (step->whole && i->vhost.data))
        return true;
    for (size_t n = 0; n < json_array_size(list); n++)
        if (!step->run(i, json_array_get(list, n)))
            return false;
    return true;
}

static void import(struct call *c, beck_bytes vhost)
{
    struct importing i = {.c = c, .vhost = vhost};
    bool ok = true;
    for (size_t n = 0; n < sizeof steps / sizeof *steps && ok; n++)
        ok = run_step(&i, &steps[n]);
    if (i.session)
        session_close(i.session);
    if (ok)
        answer_nothing(c, 204);
}

static void import_all(struct call *c)
{
    import(c, (beck_bytes){0});
}

static void import_one(struct call *c)
{
    beck_bytes vhost;
    if (call_vhost(c, 0, true, &vhost))
        import(c, vhost);
}

const struct management_route management_routes_definitions[] = {
    {"GET", "/api/definitions", LEVEL_ADMIN, false, export_all, "management.definitions"},
    {"POST", "/api/definitions", LEVEL_ADMIN, true, import_all, "management.importDefinitions"},
    {"GET", "/api/definitions/{vhost}", LEVEL_ADMIN, false, export_one,
     "management.vhostDefinitions"},
    {"POST", "/api/definitions/{vhost}", LEVEL_ADMIN, true, import_one,
     "management.importVhostDefinitions"},
    {"GET", "/api/all-configuration", LEVEL_ADMIN, false, export_all, "management.configuration"},
    {0}};
