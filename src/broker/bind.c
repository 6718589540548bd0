/*
 * Bindings made and deleted, and what goes with whom: bindings with either of their ends, auto-delete exchanges
 * with their last outgoing binding.
 *
 * Deleting is planned first, without recursion: everything that goes is collected and marked. Then the records
 * are written, in few synced appends of which the first says that the exchange or queue itself is gone (a
 * binding of which an end is missing is passed over when it is read). Only then the view changes.
 */
#include "broker/topology.h"

#include "broker/delivery.h"
#include "broker/match.h"
#include "broker/recent.h"

#include <stdlib.h>

#define RECORDS_MAX 1000 /* in one append */

/* ---- what is written down ---- */

static void record_binding(struct record *r, const struct binding *binding)
{
    beck_bytes destination = binding->queue ? binding->queue->name : binding->exchange->name;
    beck_bytes parts[] = {binding->source->vhost->name,
                          binding->source->name,
                          beck_str(binding->queue ? "q" : "e"),
                          destination,
                          binding->routing_key,
                          binding->arguments};
    record_init(r, RECORD_BINDING, parts, sizeof parts / sizeof *parts);
    record_text(r, "vhost", parts[0]);
    record_text(r, "source", parts[1]);
    record_flag(r, "to_exchange", !binding->queue);
    record_text(r, "destination", destination);
    record_text(r, "key", binding->routing_key);
    record_bytes(r, "arguments", binding->arguments);
}

void exchange_record(struct record *r, const struct exchange *x)
{
    beck_bytes parts[] = {x->vhost->name, x->name};
    record_init(r, RECORD_EXCHANGE, parts, 2);
    record_text(r, "vhost", x->vhost->name);
    record_text(r, "name", x->name);
    record_text(r, "type", x->type);
    record_flag(r, "durable", x->durable);
    record_flag(r, "auto_delete", x->auto_delete);
    record_flag(r, "internal", x->internal);
    record_bytes(r, "arguments", x->arguments);
}

void queue_record(struct record *r, const struct broker_queue *q)
{
    beck_bytes parts[] = {q->vhost->name, q->name};
    record_init(r, RECORD_QUEUE, parts, 2);
    record_text(r, "vhost", q->vhost->name);
    record_text(r, "name", q->name);
    record_flag(r, "auto_delete", q->auto_delete);
    record_bytes(r, "arguments", q->arguments);
}

void vhost_record(struct record *r, const struct vhost *v)
{
    record_init(r, RECORD_VHOST, &v->name, 1);
    record_text(r, "vhost", v->name);
    record_bytes(r, "metadata", v->metadata);
}

/* ---- what goes ---- */

struct list {
    void **items;
    size_t count, cap;
};

struct removal {
    struct list bindings, exchanges;
    struct broker_queue *queue;
};

static beck_status push(struct list *l, void *item)
{
    if (l->count == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 16;
        void **grown = realloc(l->items, cap * sizeof *grown);
        if (!grown)
            return BECK_ENOMEM;
        l->items = grown;
        l->cap = cap;
    }
    l->items[l->count++] = item;
    return BECK_OK;
}

static beck_status plan_exchange(struct removal *r, struct exchange *x)
{
    beck_status status = x->going ? BECK_OK : push(&r->exchanges, x);
    x->going |= !status;
    return status;
}

static beck_status plan_binding(struct removal *r, struct binding *binding)
{
    struct exchange *x = binding->source;
    if (binding->going)
        return BECK_OK;
    if (push(&r->bindings, binding))
        return BECK_ENOMEM;
    binding->going = true;
    x->bindings_going++;
    bool last = x->bindings_going == x->binding_count;
    return last && x->auto_delete ? plan_exchange(r, x) : BECK_OK;
}

static beck_status plan_rest(struct removal *r)
{
    beck_status status = BECK_OK;
    for (struct binding *n = r->queue ? r->queue->bound : NULL; n && !status;
         n = n->destination_next)
        status = plan_binding(r, n);
    for (size_t i = 0; i < r->exchanges.count && !status; i++) {
        const struct exchange *x = r->exchanges.items[i];
        for (struct binding *n = x->bindings; n && !status; n = n->source_next)
            status = plan_binding(r, n);
        for (struct binding *n = x->bound; n && !status; n = n->destination_next)
            status = plan_binding(r, n);
    }
    return status;
}

/* ---- its records ---- */

struct writer {
    beck_bus *bus;
    struct record *records;
    struct record **list;
    size_t count;
};

static beck_status flush(struct writer *w, beck_error *err)
{
    beck_status status = records_put(w->bus, w->list, w->count, BECK_LEVEL_SYNCED, err);
    for (size_t i = 0; i < w->count; i++)
        record_release(&w->records[i]);
    w->count = 0;
    return status;
}

static beck_status note_gone(struct writer *w, beck_error *err)
{
    w->records[w->count].gone = true;
    w->list[w->count] = &w->records[w->count];
    w->count++;
    return w->count == RECORDS_MAX ? flush(w, err) : BECK_OK;
}

static void note_deleted(struct writer *w, const struct broker_queue *q)
{
    queue_record(&w->records[w->count], q);
    record_flag(&w->records[w->count], "deleted", true);
    w->list[w->count] = &w->records[w->count];
    w->count++;
}

static beck_status write_removal(struct writer *w, const struct removal *r, beck_error *err)
{
    beck_status status = BECK_OK;
    if (r->queue && r->queue->durable && !r->queue->foreign)
        note_deleted(w, r->queue);
    for (size_t i = 0; i < r->exchanges.count && !status; i++) {
        const struct exchange *x = r->exchanges.items[i];
        if (!x->durable || x->foreign)
            continue;
        exchange_record(&w->records[w->count], x);
        status = note_gone(w, err);
    }
    for (size_t i = 0; i < r->bindings.count && !status; i++) {
        const struct binding *binding = r->bindings.items[i];
        if (!binding->durable)
            continue;
        record_binding(&w->records[w->count], binding);
        status = note_gone(w, err);
    }
    return status ? status : flush(w, err);
}

static beck_status write_down(struct broker *b, const struct removal *r, beck_error *err)
{
    size_t most = 1 + r->exchanges.count + r->bindings.count;
    if (most > RECORDS_MAX)
        most = RECORDS_MAX;
    struct writer w = {.bus = b->records,
                       .records = calloc(most, sizeof *w.records),
                       .list = calloc(most, sizeof(struct record *))};
    beck_status status = BECK_OK;
    if (!b->records)
        status = BECK_OK;
    else if (!w.records || !w.list)
        status = error_set(err, BECK_ENOMEM, "no memory to delete a binding");
    else
        status = write_removal(&w, r, err);
    for (size_t i = 0; i < w.count; i++)
        record_release(&w.records[i]);
    free(w.records);
    free(w.list);
    return status;
}

/* ---- and goes ---- */

static void unlink_all(struct broker *b, const struct removal *r)
{
    topology_write(b);
    for (size_t i = 0; i < r->bindings.count; i++)
        binding_unlink(r->bindings.items[i]);
    for (size_t i = 0; i < r->exchanges.count; i++)
        exchange_unlink(exchange_retain(r->exchanges.items[i]));
    if (r->queue)
        queue_unlink(broker_queue_retain(r->queue));
    topology_end_write(b);
}

static void forget_owner(struct broker_queue *q)
{
    if (!q->owned_at)
        return;
    *q->owned_at = q->owned_next;
    if (q->owned_next)
        q->owned_next->owned_at = q->owned_at;
    q->owned_at = NULL;
    q->owner_session = NULL;
}

/* The record of a durable one says that it is deleted, and goes now; or is kept for another try. */
static void finish_record(struct broker *b, const struct broker_queue *q, bool gone)
{
    struct record r;
    queue_record(&r, q);
    record_flag(&r, "deleted", true);
    r.gone = gone;
    if (q->durable && !q->foreign && (!gone || broker_keep(b, &r, NULL)))
        broker_note(b, &r, NULL);
    record_release(&r);
}

static void end_queue(struct broker *b, struct broker_queue *q)
{
    beck_error why;
    delivery_queue_gone(q);
    forget_owner(q);
    beck_status status = engine_delete_queue(q, &why);
    if (status)
        env_report(&b->handle->env, status, "what is left of queue \"%.*s\" goes later: %s",
                   TEXT(q->name), why.text);
    finish_record(b, q, !status);
    broker_queue_release(q);
}

static void end_all(struct broker *b, struct removal *r)
{
    for (size_t i = 0; i < r->bindings.count; i++)
        binding_free(r->bindings.items[i]);
    for (size_t i = 0; i < r->exchanges.count; i++) {
        struct exchange *x = r->exchanges.items[i];
        engine_leave_bus(x);
        exchange_release(x);
    }
    if (r->queue)
        end_queue(b, r->queue);
}

static void give_up(struct removal *r)
{
    for (size_t i = 0; i < r->bindings.count; i++) {
        struct binding *binding = r->bindings.items[i];
        binding->going = false;
        binding->source->bindings_going--;
    }
    for (size_t i = 0; i < r->exchanges.count; i++)
        ((struct exchange *)r->exchanges.items[i])->going = false;
}

/* What is planned in `r` and all that goes with it. */
static beck_status carry_out(struct broker *b, struct removal *r, beck_status status,
                             beck_error *err)
{
    if (!status)
        status = plan_rest(r);
    if (status)
        error_set(err, status, "no memory to delete a binding");
    else
        status = write_down(b, r, err);
    if (status) {
        give_up(r);
    } else {
        /* Those of sources that stay. */
        for (size_t i = 0; i < r->bindings.count; i++)
            ((struct binding *)r->bindings.items[i])->source->bindings_going = 0;
        unlink_all(b, r);
        end_all(b, r);
    }
    free(r->bindings.items);
    free(r->exchanges.items);
    return status;
}

beck_status exchange_delete(struct exchange *x, beck_error *err)
{
    struct removal r = {0};
    return carry_out(x->vhost->broker, &r, plan_exchange(&r, x), err);
}

beck_status queue_delete_all(struct broker_queue *q, beck_error *err)
{
    struct removal r = {.queue = q};
    return carry_out(q->vhost->broker, &r, BECK_OK, err);
}

beck_status binding_delete(struct binding *binding, beck_error *err)
{
    struct removal r = {0};
    return carry_out(binding->source->vhost->broker, &r, plan_binding(&r, binding), err);
}

/* ---- declared by sessions ---- */

/* Both ends, with change_lock. `missing`: which one is. */
struct ends {
    struct exchange *source, *exchange;
    struct broker_queue *queue;
};

static int find_ends(struct session *s, const struct binding_declaration *d, struct ends *out,
                     char *text)
{
    struct vhost *v = s->vhost;
    *out = (struct ends){.source = topology_exchange(v, d->source)};
    if (!out->source)
        out->source = engine_adopt_exchange(v, d->source);
    if (!out->source)
        return broker_refuse(text, REPLY_NOT_FOUND, "no exchange '%.*s' in vhost '%.*s'",
                             TEXT(d->source), TEXT(v->name));
    if (d->to_exchange)
        out->exchange = engine_adopt_exchange(v, d->destination);
    else if ((out->queue = topology_queue(v, d->destination)) == NULL)
        out->queue = engine_adopt_queue(v, d->destination);
    if (!out->exchange && !out->queue)
        return broker_refuse(text, REPLY_NOT_FOUND, "no %s '%.*s' in vhost '%.*s'",
                             d->to_exchange ? "exchange" : "queue", TEXT(d->destination),
                             TEXT(v->name));
    return out->queue ? session_check_owner(s, out->queue, text) : 0;
}

static int refuse_internal(char *text, const char *what, const beck_error *err)
{
    return broker_refuse(text, REPLY_INTERNAL_ERROR, "%s: %s", what, err->text);
}

static int make_binding(struct broker *b, const struct ends *e, const struct binding_declaration *d,
                        char *text)
{
    struct binding *binding;
    struct record r;
    beck_error err;
    if (binding_new(e->source, e->exchange, e->queue, d->routing_key, d->arguments, &binding))
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory for a binding");
    record_binding(&r, binding);
    beck_status status = engine_lead(e->source, &err);
    if (!status && binding->durable)
        status = broker_write_later(b, &r, &err);
    if (!status) {
        topology_write(b);
        status = binding_link(binding);
        topology_end_write(b);
        if (status)
            error_set(&err, status, "no memory");
        r.gone = true;
        if (status && binding->durable)
            broker_write_later(b, &r, NULL);
    }
    record_release(&r);
    if (!status)
        return 0;
    binding_free(binding);
    return refuse_internal(text, "cannot bind", &err);
}

static int check_match(const struct exchange *x, const struct binding_declaration *d, char *text)
{
    enum match_type type;
    struct table_value v;
    beck_bytes name = x->type;
    if (x->delayed && table_find(x->arguments, "x-delayed-type", &v))
        name = v.bytes;
    return match_type_of(name, &type)
               ? match_check_binding(type, d->routing_key, d->arguments, text)
               : 0;
}

/* The declaration with its names stripped, and what is asked of the user. */
static int check_binding(struct session *s, const struct binding_declaration *d, char *text)
{
    const char *kind = d->to_exchange ? "exchange" : "queue";
    if (d->source.len == 0 || (d->to_exchange && d->destination.len == 0))
        return broker_refuse(text, REPLY_ACCESS_REFUSED,
                             "operation not permitted on the default exchange");
    int code = session_may(s, RIGHT_WRITE, kind, d->destination, text);
    return code ? code : session_may(s, RIGHT_READ, "exchange", d->source, text);
}

static int strip_ends(struct binding_declaration *d, struct stripped *source,
                      struct stripped *destination, char *text)
{
    int code = name_strip(&d->source, source, text);
    return code ? code : name_strip(&d->destination, destination, text);
}

int session_bind(struct session *s, const struct binding_declaration *declaration, char *text)
{
    struct binding_declaration d = *declaration;
    struct stripped source, destination;
    struct ends e;
    int code = session_renew(s, text);
    if (!code)
        code = strip_ends(&d, &source, &destination, text);
    if (!code)
        code = check_binding(s, &d, text);
    if (code)
        return code;
    broker_begin_change(s->broker);
    code = find_ends(s, &d, &e, text);
    if (!code)
        code = session_may_topic(s, RIGHT_READ, e.source, d.routing_key, text);
    if (!code)
        code = check_match(e.source, &d, text);
    if (!code && e.queue)
        code = past_check(s, d.destination, d.arguments, text);
    const void *to = e.queue ? (const void *)e.queue : e.exchange;
    bool fresh =
        !code && !topology_find_binding(s->broker, e.source, to, d.routing_key, d.arguments);
    if (fresh)
        code = make_binding(s->broker, &e, &d, text);
    s->owes_records = true;
    broker_end_change(s->broker);
    if (!code && !d.later)
        code = session_sync(s, text);
    if (fresh && !code)
        code = recent_give(s, &d, text);
    return fresh && !code ? past_give(s, &d, text) : code;
}

/* What there is not is unbound already. */
int session_unbind(struct session *s, const struct binding_declaration *declaration, char *text)
{
    struct binding_declaration d = *declaration;
    struct stripped source, destination;
    struct ends e;
    beck_error err;
    struct binding *binding = NULL;
    int code = session_renew(s, text);
    if (!code)
        code = strip_ends(&d, &source, &destination, text);
    if (!code)
        code = check_binding(s, &d, text);
    if (code)
        return code;
    broker_begin_change(s->broker);
    code = find_ends(s, &d, &e, text);
    if (code == REPLY_NOT_FOUND) {
        code = 0;
    } else if (!code) {
        code = session_may_topic(s, RIGHT_READ, e.source, d.routing_key, text);
        const void *to = e.queue ? (const void *)e.queue : e.exchange;
        binding = topology_find_binding(s->broker, e.source, to, d.routing_key, d.arguments);
    }
    if (!code && binding && binding_delete(binding, &err))
        code = refuse_internal(text, "cannot unbind", &err);
    broker_end_change(s->broker);
    return code;
}
