/* Exchanges. The one without a name is "amq.default" in paths. */
#include "wire/management/list.h"
#include "wire/management/puts.h"
#include "wire/management/stats.h"

static json_t *of_exchange(struct call *c, const struct exchange_view *x)
{
    json_t *o = json_object();
    json_put_text(o, "name", x->name);
    json_put_text(o, "vhost", x->vhost);
    json_put_text(o, "type", x->type);
    json_put_flag(o, "durable", x->durable);
    json_put_flag(o, "auto_delete", x->auto_delete);
    json_put_flag(o, "internal", x->internal);
    json_put(o, "arguments", json_of_table(x->arguments));
    if (x->policy.len)
        json_put_text(o, "policy", x->policy);
    if (x->operator_policy.len)
        json_put_text(o, "operator_policy", x->operator_policy);
    json_put_word(o, "user_who_performed_action", "");
    json_put(o, "message_stats", stats_of_exchange(c, x));
    return o;
}

static int list_exchange(void *ctx, const struct exchange_view *x)
{
    struct list *l = ctx;
    return call_sees_vhost(l->c, x->vhost) ? list_add(l, of_exchange(l->c, x)) : 0;
}

static void list_exchanges_of(struct call *c, beck_bytes vhost)
{
    struct list l;
    if (!list_begin(&l, c))
        return;
    broker_each_exchange(c->b, vhost, (beck_bytes){0}, list_exchange, &l);
    list_answer(&l);
}

static void list_exchanges(struct call *c)
{
    list_exchanges_of(c, (beck_bytes){0});
}

static void list_exchanges_of_vhost(struct call *c)
{
    beck_bytes vhost;
    if (call_vhost(c, 0, false, &vhost))
        list_exchanges_of(c, vhost);
}

static beck_bytes exchange_name(const struct call *c)
{
    beck_bytes name = call_name(c, 1);
    return bytes_equal_text(name, "amq.default") ? bytes_of("", 0) : name;
}

struct found {
    struct call *c;
    json_t *object;
};

static int find_exchange(void *ctx, const struct exchange_view *x)
{
    struct found *f = ctx;
    f->object = of_exchange(f->c, x);
    return 1;
}

static json_t *find(struct call *c, beck_bytes vhost, beck_bytes name)
{
    struct found f = {.c = c};
    broker_each_exchange(c->b, vhost, name, find_exchange, &f);
    return f.object;
}

static void show_exchange(struct call *c)
{
    beck_bytes vhost;
    if (!call_vhost(c, 0, false, &vhost))
        return;
    json_t *o = find(c, vhost, exchange_name(c));
    if (!o) {
        answer_not_found(c);
        return;
    }
    json_put(o, "incoming", json_array());
    json_put(o, "outgoing", json_array());
    answer_json(c, 200, list_columns(c, o));
}

bool exchange_put(struct call *c, struct session *s, beck_bytes name, const json_t *from)
{
    struct exchange_declaration d = {.name = name};
    struct buf arguments = {0};
    if (!body_text(c, from, "type", "direct", &d.type) ||
        !body_bool(c, from, "durable", &d.durable) ||
        !body_bool(c, from, "auto_delete", &d.auto_delete) ||
        !body_bool(c, from, "internal", &d.internal))
        return false;
    if (!table_of_json(c, json_object_get(from, "arguments"), &arguments)) {
        answer_status(c, BECK_EINVAL);
        return false;
    }
    d.arguments = buf_bytes(&arguments);
    int code = session_declare_exchange(s, &d, c->text);
    buf_release(&arguments);
    if (code)
        answer_reply(c, code);
    return code == 0;
}

static void put_exchange(struct call *c)
{
    struct session *s;
    beck_bytes vhost;
    if (!call_vhost(c, 0, true, &vhost) || !call_session(c, vhost, &s))
        return;
    json_t *before = find(c, vhost, exchange_name(c));
    if (exchange_put(c, s, exchange_name(c), c->body))
        answer_put(c, BECK_OK, !before);
    json_decref(before);
    session_close(s);
}

static void delete_exchange(struct call *c)
{
    struct session *s;
    beck_bytes vhost;
    if (!call_vhost(c, 0, true, &vhost))
        return;
    json_t *before = find(c, vhost, exchange_name(c));
    if (!before) {
        answer_not_found(c);
        return;
    }
    json_decref(before);
    if (!call_session(c, vhost, &s))
        return;
    int code = session_delete_exchange(s, exchange_name(c), call_flag(c, "if-unused"), c->text);
    session_close(s);
    if (code)
        answer_reply(c, code);
    else
        answer_nothing(c, 204);
}

const struct management_route management_routes_exchanges[] = {
    {"GET", "/api/exchanges", LEVEL_ANY, false, list_exchanges, "management.exchanges"},
    {"GET", "/api/exchanges/{vhost}", LEVEL_ANY, false, list_exchanges_of_vhost,
     "management.vhostExchanges"},
    {"GET", "/api/exchanges/{vhost}/{exchange}", LEVEL_ANY, false, show_exchange,
     "management.exchange"},
    {"PUT", "/api/exchanges/{vhost}/{exchange}", LEVEL_ANY, true, put_exchange,
     "management.putExchange"},
    {"DELETE", "/api/exchanges/{vhost}/{exchange}", LEVEL_ANY, false, delete_exchange,
     "management.deleteExchange"},
    {0}};
