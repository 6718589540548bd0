/* Exchanges, declared and deleted by sessions. */
#include "broker/topology.h"

#include "broker/policy.h"

#define DEFAULT_REFUSED "operation not permitted on the default exchange"

static bool is_reserved(beck_bytes name)
{
    return name.len >= 4 && memcmp(name.data, "amq.", 4) == 0;
}

static int check_passive(struct session *s, beck_bytes name, char *text)
{
    struct exchange *x;
    int code = session_may_any(s, "exchange", name, text);
    if (!code)
        code = session_find_exchange(s, name, &x, text);
    if (!code)
        exchange_release(x);
    return code;
}

static int check_equivalent(const struct exchange *x, const struct exchange_declaration *d,
                            char *text)
{
    struct exchange_traits now = {x->type, x->durable, x->auto_delete, x->internal, x->arguments};
    struct exchange_traits received = {d->type, d->durable, d->auto_delete, d->internal,
                                       d->arguments};
    return exchange_check_equivalent(x->vhost->name, x->name, &now, &received, text);
}

/* The alternate exchange is one that the user may write to. */
static int check_rights(struct session *s, const struct exchange_declaration *d, char *text)
{
    struct table_value v;
    int code = session_may(s, RIGHT_CONFIGURE, "exchange", d->name, text);
    if (code || !table_find(d->arguments, "alternate-exchange", &v) || v.kind != TABLE_TEXT)
        return code;
    code = session_may(s, RIGHT_READ, "exchange", d->name, text);
    return code ? code : session_may(s, RIGHT_WRITE, "exchange", v.bytes, text);
}

static int write_down(struct broker *b, const struct exchange *x, bool gone, char *text)
{
    struct record r;
    beck_error err;
    if (!x->durable)
        return 0;
    exchange_record(&r, x);
    r.gone = gone;
    beck_status status = broker_write_later(b, &r, &err);
    record_release(&r);
    return status ? broker_refuse(text, REPLY_INTERNAL_ERROR, "cannot declare: %s", err.text) : 0;
}

static int make_exchange(struct vhost *v, const struct exchange_declaration *d, char *text)
{
    struct broker *b = v->broker;
    struct exchange *x;
    if (is_reserved(d->name))
        return broker_refuse(text, REPLY_ACCESS_REFUSED,
                             "exchange name '%.*s' contains reserved prefix 'amq.*'",
                             TEXT(d->name));
    if (b->exchange_count >= b->settings.exchanges_max)
        return broker_refuse(
            text, REPLY_PRECONDITION_FAILED,
            "cannot declare exchange '%.*s' in vhost '%.*s': exchange limit of %u is reached",
            TEXT(d->name), TEXT(v->name), b->settings.exchanges_max);
    int code = exchange_new(v, d, &x, text);
    if (code)
        return code;
    beck_error err;
    if (x->alternate.len > 0 && engine_lead(x, &err))
        code = broker_refuse(text, REPLY_INTERNAL_ERROR, "cannot declare: %s", err.text);
    if (!code)
        code = write_down(b, x, false, text);
    if (!code) {
        topology_write(b);
        beck_status status = exchange_link(x);
        topology_end_write(b);
        if (status) {
            write_down(b, x, true, text);
            code = broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory for an exchange");
        }
    }
    exchange_release(x);
    return code;
}

int session_declare_exchange(struct session *s, const struct exchange_declaration *declaration,
                             char *text)
{
    struct exchange_declaration d = *declaration;
    struct stripped memory;
    int code = session_renew(s, text);
    if (!code)
        code = name_strip(&d.name, &memory, text);
    if (code)
        return code;
    if (d.name.len == 0)
        return broker_refuse(text, REPLY_ACCESS_REFUSED, DEFAULT_REFUSED);
    if (d.passive)
        return check_passive(s, d.name, text);
    code = check_rights(s, &d, text);
    if (code)
        return code;
    broker_begin_change(s->broker);
    const struct exchange *x = engine_adopt_exchange(s->vhost, d.name);
    if (atomic_load(&s->vhost->gone))
        code = broker_refuse(text, REPLY_NOT_ALLOWED, "vhost %.*s not found", TEXT(s->vhost->name));
    else
        code = x ? check_equivalent(x, &d, text) : make_exchange(s->vhost, &d, text);
    s->owes_records |= d.durable;
    broker_end_change(s->broker);
    return code || d.later ? code : session_sync(s, text);
}

/* A bus that others made goes with its exchange, unless they use it. */
static int delete_exchange(struct exchange *x, char *text)
{
    beck_error err;
    beck_status status = BECK_OK;
    if (x->foreign)
        status = beck_bus_delete(x->vhost->broker->handle, x->name.data, &err);
    if (status && status != BECK_ENOENT)
        return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                             "exchange '%.*s' in vhost '%.*s' in use", TEXT(x->name),
                             TEXT(x->vhost->name));
    if (exchange_delete(x, &err))
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "cannot delete: %s", err.text);
    return 0;
}

int session_delete_exchange(struct session *s, beck_bytes name, bool if_unused, char *text)
{
    struct stripped memory;
    int code = session_renew(s, text);
    if (!code)
        code = name_strip(&name, &memory, text);
    if (code)
        return code;
    if (name.len == 0)
        return broker_refuse(text, REPLY_ACCESS_REFUSED, DEFAULT_REFUSED);
    if (is_reserved(name))
        return broker_refuse(text, REPLY_ACCESS_REFUSED,
                             "deletion of system exchange '%.*s' in vhost '%.*s' not allowed",
                             TEXT(name), TEXT(s->vhost->name));
    code = session_may(s, RIGHT_CONFIGURE, "exchange", name, text);
    if (code)
        return code;
    broker_begin_change(s->broker);
    struct exchange *x = engine_adopt_exchange(s->vhost, name);
    if (x && if_unused && x->bindings)
        code =
            broker_refuse(text, REPLY_PRECONDITION_FAILED, "exchange '%.*s' in vhost '%.*s' in use",
                          TEXT(name), TEXT(s->vhost->name));
    else if (x)
        code = delete_exchange(x, text);
    broker_end_change(s->broker);
    return code;
}
