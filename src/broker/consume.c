/* Consuming as sessions ask for it: which queue, may they, which kind of subscriber; and what they answer. */
#include "broker/delivery.h"
#include "broker/dispatch.h"
#include "broker/policy.h"
#include "broker/topology.h"

#include <assert.h>
#include <stdlib.h>

#define QUORUM_PREFETCH_DEFAULT 2000

/* ---- of a session ---- */

static void join_session(struct session *s, struct delivery *d, struct broker_queue *q,
                         struct subscriber *c)
{
    struct delivery_home *h = s->broker->delivery;
    c->home = h;
    c->queue = q;
    mutex_lock(&h->lock);
    c->next = d->subscribers;
    c->at = &d->subscribers;
    if (c->next)
        c->next->at = &c->next;
    d->subscribers = c;
    mutex_unlock(&h->lock);
}

static void leave_session(struct subscriber *c)
{
    mutex_lock(&c->home->lock);
    *c->at = c->next;
    if (c->next)
        c->next->at = c->at;
    mutex_unlock(&c->home->lock);
}

void delivery_session_close(struct session *s)
{
    struct delivery *d = s->delivery;
    if (!d)
        return;
    while (d->subscribers)
        subscriber_close(d->subscribers);
    while (d->publishers)
        publisher_free(d->publishers);
    if (d->got_of)
        broker_queue_release(d->got_of);
    buf_release(&d->got);
    free(d);
    s->delivery = NULL;
}

/* Of what is known: without waiting for a change of the topology. */
static struct broker_queue *find_known(struct session *s, beck_bytes name)
{
    topology_read(s->broker);
    struct broker_queue *q = topology_queue(s->vhost, name);
    if (q)
        broker_queue_retain(q);
    topology_end_read(s->broker);
    return q;
}

static int find_readable(struct session *s, beck_bytes name, struct broker_queue **out, char *text)
{
    int code = session_may(s, RIGHT_READ, "queue", name, text);
    if (code)
        return code;
    *out = find_known(s, name);
    if (!*out)
        return session_find_queue(s, name, out, text);
    code = session_check_owner(s, *out, text);
    if (code) {
        broker_queue_release(*out);
        *out = NULL;
    }
    return code;
}

/* ---- consuming ---- */

static int32_t priority_of(beck_bytes arguments)
{
    struct table_value v;
    if (arguments.len == 0 || !table_find(arguments, "x-priority", &v) || v.kind != TABLE_INTEGER)
        return 0;
    return v.integer > INT32_MAX   ? INT32_MAX
           : v.integer < INT32_MIN ? INT32_MIN
                                   : (int32_t)v.integer;
}

static bool is_single_active(struct broker_queue *q)
{
    topology_read(q->vhost->broker);
    bool single = q->effective->single_active;
    topology_end_read(q->vhost->broker);
    return single;
}

static int refuse_exclusive(const struct broker_queue *q, char *text)
{
    return broker_refuse(text, REPLY_ACCESS_REFUSED,
                         "queue '%.*s' in vhost '%.*s' in exclusive use", TEXT_OF(q->name),
                         TEXT_OF(q->vhost->name));
}

static int refuse_gone(struct broker_queue *q, char *text)
{
    queue_vanished(q->vhost, q->name);
    return broker_refuse(text, REPLY_NOT_FOUND, "no queue '%.*s' in vhost '%.*s'", TEXT_OF(q->name),
                         TEXT_OF(q->vhost->name));
}

static int subscribe(struct broker_queue *q, const struct subscriber_options *o,
                     struct subscriber **out, char *text)
{
    struct subscriber_options mine = *o;
    if (q->kind == QUEUE_QUORUM && mine.prefetch == 0)
        mine.prefetch = QUORUM_PREFETCH_DEFAULT;
    if (o->exclusive && is_single_active(q))
        return refuse_exclusive(q, text);
    switch (dispatcher_subscribe(q->dispatcher, &mine, priority_of(o->arguments), out)) {
    case DISPATCH_EXCLUSIVE:
        return refuse_exclusive(q, text);
    case DISPATCH_GONE:
        return refuse_gone(q, text);
    case DISPATCH_NO_MEMORY:
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory for a consumer");
    default:
        return 0;
    }
}

static int subscribe_to(struct session *s, struct broker_queue *q,
                        const struct subscriber_options *o, struct subscriber **out, char *text)
{
    int code = arguments_check_consumer(s->vhost->name, q->name, q->kind, o->arguments, text);
    if (code)
        return code;
    if (q->kind == QUEUE_STREAM)
        return stream_subscribe(q, o, out, text);
    code = past_rewind(s, q, o->arguments, text);
    return code ? code : subscribe(q, o, out, text);
}

int session_consume(struct session *s, const struct subscriber_options *o, struct subscriber **out,
                    char *text)
{
    struct delivery *d = session_delivery(s);
    struct broker_queue *q = NULL;
    if (!d)
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory for a consumer");
    int code = session_renew(s, text);
    if (code)
        return code;
    if (bytes_equal_text(o->queue, REPLY_TO)) {
        code = reply_subscribe(s->broker->delivery, o, out, text);
    } else {
        code = find_readable(s, o->queue, &q, text);
        if (!code)
            code = subscribe_to(s, q, o, out, text);
    }
    if (code) {
        if (q)
            broker_queue_release(q);
        return code;
    }
    join_session(s, d, q, *out);
    if (q) {
        atomic_store(&q->consumed, true);
        queue_used(q);
    }
    return 0;
}

void subscriber_close(struct subscriber *c)
{
    if (!c)
        return;
    struct broker_queue *q = c->queue;
    leave_session(c);
    c->kind->close(c);
    if (!q)
        return;
    queue_used(q);
    if (delivery_consumers(q) == 0)
        queue_consumers_gone(q);
    broker_queue_release(q);
}

bool session_may_consume(struct session *s, const struct subscriber *c)
{
    char text[BROKER_TEXT];
    return !c->queue || session_may(s, RIGHT_READ, "queue", c->queue->name, text) == 0;
}

int64_t broker_consumer_timeout(struct broker_queue *q)
{
    topology_read(q->vhost->broker);
    int64_t timeout_ms = q->effective->consumer_timeout_ms;
    topology_end_read(q->vhost->broker);
    return timeout_ms;
}

size_t subscriber_pump(struct subscriber *c, size_t max,
                       bool (*deliver)(void *ctx, const struct handed *m), void *ctx)
{
    return c->kind->pump(c, max, deliver, ctx);
}

void subscriber_ready(struct subscriber *c, bool ready)
{
    c->kind->ready(c, ready);
}

/* ---- getting ---- */

static int check_get(struct broker_queue *q, char *text)
{
    if (q->kind == QUEUE_STREAM)
        return broker_refuse(text, REPLY_NOT_IMPLEMENTED,
                             "basic.get not supported by stream queues queue '%.*s' in vhost "
                             "'%.*s'",
                             TEXT_OF(q->name), TEXT_OF(q->vhost->name));
    if (is_single_active(q))
        return broker_refuse(text, REPLY_RESOURCE_LOCKED,
                             "cannot obtain access to locked queue '%.*s' in vhost '%.*s'. "
                             "basic.get operations are not supported by %squeues with single "
                             "active consumer",
                             TEXT_OF(q->name), TEXT_OF(q->vhost->name),
                             q->kind == QUEUE_QUORUM ? "quorum " : "");
    return 0;
}

void broker_count(struct broker_queue *q, enum queue_count what, uint64_t count)
{
    if (count > 0)
        atomic_fetch_add_explicit(&q->counts[what], count, memory_order_relaxed);
}

int session_get(struct session *s, beck_bytes queue, struct handed *out, bool *got, uint32_t *left,
                char *text)
{
    struct delivery *d = session_delivery(s);
    struct broker_queue *q = NULL;
    beck_error err;
    *got = false;
    *left = 0;
    if (!d)
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory to get a message");
    int code = session_renew(s, text);
    if (!code)
        code = find_readable(s, queue, &q, text);
    if (code)
        return code;
    code = check_get(q, text);
    if (!code && dispatcher_get(q->dispatcher, out, got, &d->got, &err))
        code = refuse_gone(q, text);
    if (!code && *got)
        *left = (uint32_t)queue_ready_count(q->engine);
    else if (!code)
        broker_count(q, COUNT_GET_EMPTY, 1);
    queue_used(q);
    if (d->got_of)
        broker_queue_release(d->got_of);
    d->got_of = q;
    return code;
}

/* ---- answers ---- */

void broker_settle(struct broker_queue *q, const uint64_t *tags,
                   struct subscriber *const *subscribers, size_t count, enum settlement how)
{
    if (q->kind == QUEUE_STREAM)
        stream_settle(subscribers, count);
    else
        dispatcher_settle(q->dispatcher, tags, subscribers, count, how);
}

void broker_forget(struct broker_queue *q, uint64_t tag)
{
    if (q->kind != QUEUE_STREAM)
        dispatcher_forget(q->dispatcher, tag);
}

void broker_return_lost(struct broker_queue *q, const uint64_t *tags, size_t count)
{
    if (q->kind != QUEUE_STREAM)
        dispatcher_return_lost(q->dispatcher, tags, count);
}
