/* Queues, declared, purged and deleted by sessions, and those that go by themselves. */
#include "broker/topology.h"

#include "broker/delivery.h"
#include "broker/names.h"
#include "broker/policy.h"

#include <assert.h>
#include <stdio.h>

#define NS_PER_MS 1000000

static int64_t mono_ns(const struct broker *b)
{
    return clock_mono_ns(b->handle->env.clock);
}

void queue_used(struct broker_queue *q)
{
    atomic_store_explicit(&q->used_ns, mono_ns(q->vhost->broker), memory_order_relaxed);
}

/* The keeper looks when it will have been unused for too long. */
static void wake_to_expire(struct broker_queue *q)
{
    struct broker *b = q->vhost->broker;
    topology_read(b);
    int64_t ms = q->effective->expires_ms;
    topology_end_read(b);
    if (ms >= 0)
        broker_wake(b, mono_ns(b) + ms * NS_PER_MS);
}

/* ---- counts ---- */

static int64_t stream_length(const beck_bus *bus)
{
    int64_t length = 0;
    beck_partition_info info;
    for (uint32_t i = 0; i < bus->partition_count; i++)
        if (!beck_partition_info_get((beck_bus *)(uintptr_t)bus, i, &info, NULL))
            length += info.next_offset - info.first_offset;
    return length;
}

int64_t queue_length(const struct broker_queue *q)
{
    return q->engine ? queue_ready_count(q->engine) : stream_length(q->bus);
}

static uint32_t as_count(int64_t n)
{
    return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static void tell(struct broker_queue *q, struct queue_declared *out)
{
    memcpy(out->name, q->name.data, q->name.len);
    out->name[q->name.len] = 0;
    out->messages = as_count(queue_length(q));
    out->consumers = delivery_consumers(q);
}

/* ---- making ---- */

static int refuse_engine(char *text, const char *what, const beck_error *err)
{
    return broker_refuse(text, REPLY_INTERNAL_ERROR, "%s: %s", what, err->text);
}

static int check_limits(const struct vhost *v, beck_bytes name, char *text)
{
    const struct broker *b = v->broker;
    if (v->queues_max >= 0 && (int64_t)v->queues.count >= v->queues_max)
        return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                             "cannot declare queue '%.*s' in vhost '%.*s': queue limit in vhost "
                             "'%.*s' (%lld) is reached",
                             TEXT(name), TEXT(v->name), TEXT(v->name), (long long)v->queues_max);
    if (b->queue_count >= b->settings.queues_max)
        return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                             "cannot declare queue '%.*s' in vhost '%.*s': queue limit of %u is "
                             "reached",
                             TEXT(name), TEXT(v->name), b->settings.queues_max);
    return 0;
}

static beck_status write_down(const struct broker_queue *q, bool gone, beck_error *err)
{
    struct record r;
    if (!q->durable)
        return BECK_OK;
    queue_record(&r, q);
    r.gone = gone;
    beck_status status = broker_write_later(q->vhost->broker, &r, err);
    record_release(&r);
    return status;
}

beck_status queue_begin(struct broker_queue *q, bool later, beck_error *err)
{
    beck_status status = engine_open_queue(q, later, err);
    if (status)
        return status;
    status = policy_set_rules(q, err);
    if (!status)
        status = delivery_queue_open(q, err);
    if (!status) {
        topology_write(q->vhost->broker);
        status = queue_link(q);
        topology_end_write(q->vhost->broker);
        if (status) {
            error_set(err, status, "no memory for a queue");
            delivery_queue_gone(q);
        }
    }
    return status;
}

static void own(struct session *s, struct broker_queue *q)
{
    q->owner_session = s;
    q->owned_next = s->owned;
    q->owned_at = &s->owned;
    if (s->owned)
        s->owned->owned_at = &q->owned_next;
    s->owned = q;
}

/* The record first: a queue of the engine without one would be somebody else's. */
static int begin_with_record(struct broker_queue *q, char *text)
{
    beck_error err;
    beck_status status = write_down(q, false, &err);
    if (status)
        return refuse_engine(text, "cannot declare", &err);
    status = queue_begin(q, true, &err);
    if (!status)
        return 0;
    engine_delete_queue(q, NULL);
    write_down(q, true, NULL);
    return refuse_engine(text, "cannot declare", &err);
}

static int check_arguments(const struct vhost *v, const struct queue_declaration *d,
                           enum queue_kind kind, char *text)
{
    int code = arguments_check_flags(v->name, d->name, kind, d->durable, d->exclusive,
                                     d->auto_delete, text);
    return code ? code : arguments_check_queue(v->name, d->name, kind, d->arguments, text);
}

static int make_queue(struct session *s, const struct queue_declaration *d, enum queue_kind kind,
                      struct broker_queue **out, char *text)
{
    struct broker_queue *q;
    beck_error err;
    int code = check_arguments(s->vhost, d, kind, text);
    if (!code)
        code = check_limits(s->vhost, d->name, text);
    if (code)
        return code;
    if (engine_finish_deletion(s->vhost, d->name, &err))
        return refuse_engine(text, "an earlier queue of that name is not gone yet", &err);
    if (queue_new_view(s->vhost, d->name, d->arguments, &q))
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory for a queue");
    q->kind = kind;
    q->durable = d->durable && !d->exclusive;
    q->exclusive = d->exclusive;
    q->auto_delete = d->auto_delete;
    q->owner = d->exclusive ? s->connection : 0;
    queue_used(q);
    code = policy_apply_queue(q)
               ? broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory for a queue")
               : begin_with_record(q, text);
    if (!code && q->exclusive)
        own(s, q);
    broker_queue_release(q);
    *out = q;
    return code;
}

/* ---- declaring ---- */

/* As strict as RabbitMQ: an exclusive queue is declared again as one, others are not. */
static int check_equivalent(const struct session *s, const struct broker_queue *q,
                            const struct queue_declaration *d, enum queue_kind kind, char *text)
{
    struct queue_traits now = {q->durable, q->auto_delete, q->kind, q->arguments};
    struct queue_traits received = {d->durable && !d->exclusive, d->auto_delete, kind,
                                    d->arguments};
    if (q->exclusive != d->exclusive || (q->exclusive && q->owner != s->connection))
        return queue_refuse_locked(q, text);
    return queue_check_equivalent(q->vhost->name, q->name, &now, &received, text);
}

/* The queue has a dead letter exchange that the user may write to. */
static int check_rights(struct session *s, const struct queue_declaration *d, char *text)
{
    struct table_value v;
    int code = session_may(s, RIGHT_CONFIGURE, "queue", d->name, text);
    if (code || !table_find(d->arguments, "x-dead-letter-exchange", &v) || v.kind != TABLE_TEXT)
        return code;
    code = session_may(s, RIGHT_READ, "queue", d->name, text);
    beck_bytes name = v.bytes.len > 0 ? v.bytes : beck_str("amq.default");
    return code ? code : session_may(s, RIGHT_WRITE, "exchange", name, text);
}

/* The name of who waits for answers; nobody makes such a queue. */
static int declare_reply_to(struct session *s, beck_bytes name, struct queue_declared *out,
                            char *text)
{
    if (!bytes_equal_text(name, REPLY_TO) && !reply_exists(s->broker->delivery, name))
        return broker_refuse(text, REPLY_NOT_FOUND, "no queue '%.*s' in vhost '%.*s'", TEXT(name),
                             TEXT(s->vhost->name));
    memcpy(out->name, name.data, name.len);
    out->name[name.len] = 0;
    out->messages = 0;
    out->consumers = 1;
    return 0;
}

static bool is_reply_to(beck_bytes name)
{
    return name.len >= sizeof REPLY_TO - 1 && memcmp(name.data, REPLY_TO, sizeof REPLY_TO - 1) == 0;
}

static int declare_passive(struct session *s, beck_bytes name, struct queue_declared *out,
                           char *text)
{
    struct broker_queue *q;
    int code = session_may_any(s, "queue", name, text);
    if (!code)
        queue_vanished(s->vhost, name);
    if (!code)
        code = session_find_queue(s, name, &q, text);
    if (code)
        return code;
    queue_used(q);
    tell(q, out);
    broker_queue_release(q);
    return 0;
}

/* The type that the virtual host gives to queues that do not say, where it can be theirs: as an argument in
 * `memory`. One that was declared with none stays what it is. */
static int add_default_kind(const struct vhost *v, struct queue_declaration *d, struct buf *memory,
                            char *text)
{
    struct table_value type;
    const struct broker_queue *q = topology_queue(v, d->name);
    bool can = d->durable && !d->exclusive && !d->auto_delete &&
               !(d->name.len >= 4 && memcmp(d->name.data, "amq.", 4) == 0);
    if (v->default_kind == QUEUE_CLASSIC || !can ||
        table_find(d->arguments, "x-queue-type", &type) ||
        (q && !table_find(q->arguments, "x-queue-type", &type)))
        return 0;
    if (buf_append(memory, d->arguments.data, d->arguments.len) ||
        table_put_text(memory, "x-queue-type",
                       beck_str(queue_kind_name(q ? q->kind : v->default_kind))))
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory for a queue");
    d->arguments = buf_bytes(memory);
    return 0;
}

static int declare(struct session *s, const struct queue_declaration *d, struct queue_declared *out,
                   char *text)
{
    enum queue_kind kind;
    struct vhost *v = s->vhost;
    if (atomic_load(&v->gone))
        return broker_refuse(text, REPLY_NOT_ALLOWED, "vhost %.*s not found", TEXT(v->name));
    int code = arguments_queue_kind(v->name, d->name, d->arguments, &kind, text);
    if (code)
        return code;
    struct broker_queue *q = engine_adopt_queue(v, d->name);
    code = q ? check_equivalent(s, q, d, kind, text) : make_queue(s, d, kind, &q, text);
    if (code)
        return code;
    assert(q);
    if (session_owes(s, q))
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory for a queue");
    queue_used(q);
    tell(q, out);
    wake_to_expire(q);
    return 0;
}

/* The name that it gets, or the one it has. */
static int name_queue(struct queue_declaration *d, char made[GENERATED_NAME], char *text)
{
    enum queue_kind kind;
    if (d->name.len == 0) {
        if (generated_name("amq.gen-", made, NULL))
            return broker_refuse(text, REPLY_INTERNAL_ERROR, "no random numbers");
        d->name = beck_str(made);
        if (!arguments_queue_kind((beck_bytes){0}, d->name, d->arguments, &kind, text) &&
            kind != QUEUE_CLASSIC)
            return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                                 "Cannot declare a server-named queue for type %s",
                                 queue_kind_name(kind));
        return 0;
    }
    if (d->name.len >= 4 && memcmp(d->name.data, "amq.", 4) == 0)
        return broker_refuse(text, REPLY_ACCESS_REFUSED,
                             "queue name '%.*s' contains reserved prefix 'amq.*'", TEXT(d->name));
    return 0;
}

int session_declare_queue(struct session *s, const struct queue_declaration *declaration,
                          struct queue_declared *out, char *text)
{
    struct queue_declaration d = *declaration;
    char made[GENERATED_NAME];
    struct stripped memory;
    int code = session_renew(s, text);
    if (!code)
        code = name_strip(&d.name, &memory, text);
    if (code)
        return code;
    if (is_reply_to(d.name))
        return declare_reply_to(s, d.name, out, text);
    if (d.passive)
        return declare_passive(s, d.name, out, text);
    code = name_queue(&d, made, text);
    if (!code)
        code = check_rights(s, &d, text);
    if (code)
        return code;
    struct buf arguments;
    buf_init(&arguments, RECORD_DATA_MAX);
    broker_begin_change(s->broker);
    code = add_default_kind(s->vhost, &d, &arguments, text);
    if (!code)
        code = declare(s, &d, out, text);
    broker_end_change(s->broker);
    buf_release(&arguments);
    return code || d.later ? code : session_sync(s, text);
}

/* ---- deleting and purging ---- */

static int check_conditions(struct broker_queue *q, bool if_unused, bool if_empty, char *text)
{
    const char *flag = if_unused ? "if-unused" : "if-empty";
    if ((if_unused || if_empty) && q->kind != QUEUE_CLASSIC)
        return broker_refuse(text, REPLY_NOT_IMPLEMENTED,
                             "cannot delete queue '%.*s' in vhost '%.*s'. queue.delete operations "
                             "with %s flag set are not supported by %s queues",
                             TEXT(q->name), TEXT(q->vhost->name), flag, queue_kind_name(q->kind));
    if (if_unused && delivery_consumers(q) > 0)
        return broker_refuse(text, REPLY_PRECONDITION_FAILED, "queue '%.*s' in vhost '%.*s' in use",
                             TEXT(q->name), TEXT(q->vhost->name));
    if (if_empty && queue_length(q) > 0)
        return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                             "queue '%.*s' in vhost '%.*s' not empty", TEXT(q->name),
                             TEXT(q->vhost->name));
    return 0;
}

int session_delete_queue(struct session *s, beck_bytes name, bool if_unused, bool if_empty,
                         uint32_t *messages, char *text)
{
    struct stripped memory;
    beck_error err;
    int64_t length = 0;
    int code = session_renew(s, text);
    if (!code)
        code = name_strip(&name, &memory, text);
    if (!code)
        code = session_may(s, RIGHT_CONFIGURE, "queue", name, text);
    if (code)
        return code;
    broker_begin_change(s->broker);
    struct broker_queue *q = engine_adopt_queue(s->vhost, name);
    if (q)
        code = session_check_owner(s, q, text);
    if (q && !code)
        code = check_conditions(q, if_unused, if_empty, text);
    if (q && !code) {
        length = queue_length(q);
        if (queue_delete_all(q, &err))
            code = refuse_engine(text, "cannot delete", &err);
    }
    broker_end_change(s->broker);
    if (messages)
        *messages = as_count(length);
    return code;
}

int session_purge_queue(struct session *s, beck_bytes name, uint32_t *messages, char *text)
{
    struct broker_queue *q;
    beck_error err;
    int64_t purged = 0;
    struct stripped memory;
    int code = session_renew(s, text);
    if (!code)
        code = name_strip(&name, &memory, text);
    if (!code)
        code = session_may(s, RIGHT_READ, "queue", name, text);
    if (!code)
        code = session_find_queue(s, name, &q, text);
    if (code)
        return code;
    if (q->kind == QUEUE_STREAM)
        code =
            broker_refuse(text, REPLY_NOT_IMPLEMENTED, "purge not supported by queue type stream");
    else if (beck_queue_purge(s->broker->handle, queue_name(q->engine), &purged, &err))
        code = refuse_engine(text, "cannot purge", &err);
    if (messages)
        *messages = as_count(purged);
    broker_queue_release(q);
    return code;
}

/* ---- those that go by themselves ---- */

void queue_consumers_gone(struct broker_queue *q)
{
    struct broker *b = q->vhost->broker;
    queue_used(q);
    if (!q->auto_delete) {
        wake_to_expire(q);
        return;
    }
    broker_begin_change(b);
    if (!atomic_load(&q->gone) && atomic_load(&q->consumed) && delivery_consumers(q) == 0)
        queue_delete_all(q, NULL);
    broker_end_change(b);
}

/* INT64_MAX: it does not expire, or not while it is used. */
static int64_t expires_at(struct broker_queue *q)
{
    int64_t ms = q->effective->expires_ms;
    if (ms < 0 || delivery_consumers(q) > 0)
        return INT64_MAX;
    return atomic_load_explicit(&q->used_ns, memory_order_relaxed) + ms * NS_PER_MS;
}

static struct broker_queue *find_expired(struct vhost *v, int64_t now, int64_t *next)
{
    for (struct lookup_node *n = lookup_walk(&v->queues, NULL); n; n = lookup_walk(&v->queues, n)) {
        struct broker_queue *q = lookup_of(n, struct broker_queue, node);
        int64_t at = expires_at(q);
        if (at <= now)
            return q;
        if (at < *next)
            *next = at;
    }
    return NULL;
}

int64_t queues_expire(struct broker *b)
{
    int64_t now = mono_ns(b), next = INT64_MAX;
    broker_begin_change(b);
    for (struct lookup_node *v = lookup_walk(&b->vhosts, NULL); v; v = lookup_walk(&b->vhosts, v)) {
        struct vhost *vhost = lookup_of(v, struct vhost, node);
        struct broker_queue *q;
        while ((q = find_expired(vhost, now, &next)) != NULL)
            if (queue_delete_all(q, NULL))
                break;
    }
    broker_end_change(b);
    return next;
}
