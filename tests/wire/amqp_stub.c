#include "amqp_stub.h"

#include "broker/listing.h"

#include <stdio.h>
#include <stdlib.h>

struct stub_message {
    struct stub_message *next;
    uint64_t tag;
    bool redelivered;
    beck_bytes exchange, routing_key, properties, body;
    uint8_t bytes[];
};

struct stub_binding {
    struct stub_binding *next;
    char exchange[256], key[256];
    struct broker_queue *queue;
};

struct broker_queue {
    struct broker *b;
    struct broker_queue *next;
    uint32_t refs;
    bool gone;
    uint64_t owner;
    char name[256];
    struct stub_message *ready, *unacked;
    struct subscriber *subscribers;
};

struct subscriber {
    struct broker *b;
    struct subscriber *next;
    struct broker_queue *queue;
    struct subscriber_options o;
    uint32_t used;
    bool woken, stalled;
};

struct session {
    struct broker *b;
    uint64_t id;
};

struct publisher {
    struct publisher *next;
    struct session *s;
    struct publisher_events events;
    bool prepared;
    uint64_t tokens[4096];
    size_t count;
};

struct broker *stub_new(void)
{
    struct broker *b = calloc(1, sizeof *b);
    mutex_init(&b->lock);
    cond_init(&b->changed);
    return b;
}

static void drop_messages(struct stub_message **list)
{
    while (*list) {
        struct stub_message *m = *list;
        *list = m->next;
        free(m);
    }
}

static void release(struct broker_queue *q)
{
    if (--q->refs > 0)
        return;
    q->b->queue_refs--;
    drop_messages(&q->ready);
    drop_messages(&q->unacked);
    free(q);
}

struct broker_queue *broker_queue_retain(struct broker_queue *q)
{
    mutex_lock(&q->b->lock);
    q->refs++;
    mutex_unlock(&q->b->lock);
    return q;
}

void broker_queue_release(struct broker_queue *q)
{
    struct broker *b = q->b;
    mutex_lock(&b->lock);
    release(q);
    mutex_unlock(&b->lock);
}

static struct broker_queue *find(struct broker *b, beck_bytes name)
{
    struct broker_queue *q = b->queues;
    while (q && !bytes_equal_text(name, q->name))
        q = q->next;
    return q;
}

static void wake(struct broker_queue *q)
{
    for (struct subscriber *s = q->subscribers; s; s = s->next)
        if (!s->woken && !s->stalled) {
            s->woken = true;
            s->o.wake(s->o.ctx);
        }
}

static void remove_queue(struct broker_queue *q)
{
    struct broker *b = q->b;
    struct broker_queue **at = &b->queues;
    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    for (struct stub_binding **p = &b->bindings; *p;) {
        struct stub_binding *gone = *p;
        if (gone->queue == q) {
            *p = gone->next;
            free(gone);
        } else {
            p = &gone->next;
        }
    }
    q->gone = true;
    for (struct subscriber *s = q->subscribers; s; s = s->next)
        s->o.cancelled(s->o.ctx);
    release(q);
}

void stub_free(struct broker *b)
{
    while (b->queues)
        remove_queue(b->queues);
    cond_release(&b->changed);
    mutex_release(&b->lock);
    free(b);
}

void stub_delete(struct broker *b, const char *queue)
{
    mutex_lock(&b->lock);
    remove_queue(find(b, beck_str(queue)));
    mutex_unlock(&b->lock);
}

size_t stub_ready(struct broker *b, const char *queue)
{
    size_t count = 0;
    mutex_lock(&b->lock);
    struct broker_queue *q = find(b, beck_str(queue));
    for (struct stub_message *m = q ? q->ready : NULL; m; m = m->next)
        count++;
    mutex_unlock(&b->lock);
    return count;
}

void stub_set_waiting(struct broker *b, size_t bytes)
{
    mutex_lock(&b->lock);
    b->waiting = bytes;
    mutex_unlock(&b->lock);
}

void stub_wait_sessions(struct broker *b, int count)
{
    mutex_lock(&b->lock);
    while (b->sessions != count)
        cond_wait(&b->changed, &b->lock);
    mutex_unlock(&b->lock);
}

void stub_wait_held(struct broker *b, size_t confirms)
{
    mutex_lock(&b->lock);
    while (!b->first_publisher || b->first_publisher->count < confirms)
        cond_wait(&b->changed, &b->lock);
    mutex_unlock(&b->lock);
}

/* ---- sessions ---- */

int64_t broker_user_limit(struct broker *b, beck_bytes user, const char *name)
{
    (void)user;
    return strcmp(name, "max-channels") == 0 && b->channels_max ? b->channels_max : -1;
}

int session_open(struct broker *b, const struct session_options *o, struct session **out,
                 char *text)
{
    if (!bytes_equal_text(o->vhost, "/"))
        return broker_refuse(text, REPLY_NOT_ALLOWED, "vhost %.*s not found", (int)o->vhost.len,
                             (const char *)o->vhost.data);
    struct session *s = calloc(1, sizeof *s);
    s->b = b;
    s->id = o->connection;
    mutex_lock(&b->lock);
    b->sessions++;
    mutex_unlock(&b->lock);
    *out = s;
    return 0;
}

void session_close(struct session *s)
{
    struct broker *b = s->b;
    mutex_lock(&b->lock);
    for (struct broker_queue *q = b->queues, *next; q; q = next) {
        next = q->next;
        if (q->owner == s->id)
            remove_queue(q);
    }
    b->sessions--;
    cond_broadcast(&b->changed);
    mutex_unlock(&b->lock);
    free(s);
}

int session_refresh(struct session *s, char *text)
{
    (void)s;
    (void)text;
    return 0;
}

int session_sync(struct session *s, char *text)
{
    (void)s;
    (void)text;
    return 0;
}

int session_declare_exchange(struct session *s, const struct exchange_declaration *d, char *text)
{
    (void)s;
    if (bytes_equal_text(d->type, "nonsense"))
        return broker_refuse(text, REPLY_PRECONDITION_FAILED, "unknown exchange type 'nonsense'");
    return 0;
}

int session_delete_exchange(struct session *s, beck_bytes name, bool if_unused, char *text)
{
    (void)s;
    (void)name;
    (void)if_unused;
    (void)text;
    return 0;
}

static int no_queue(beck_bytes name, char *text)
{
    return broker_refuse(text, REPLY_NOT_FOUND, "no queue '%.*s' in vhost '/'", (int)name.len,
                         (const char *)name.data);
}

static uint32_t length(const struct broker_queue *q)
{
    uint32_t count = 0;
    for (const struct stub_message *m = q->ready; m; m = m->next)
        count++;
    return count;
}

int session_declare_queue(struct session *s, const struct queue_declaration *d,
                          struct queue_declared *out, char *text)
{
    struct broker *b = s->b;
    int code = 0;
    mutex_lock(&b->lock);
    struct broker_queue *q = find(b, d->name);
    if (!q && d->passive) {
        code = no_queue(d->name, text);
    } else if (q && q->owner && q->owner != s->id) {
        code = broker_refuse(text, REPLY_RESOURCE_LOCKED,
                             "cannot obtain exclusive access to locked queue '%s' in vhost '/'",
                             q->name);
    } else if (!q) {
        q = calloc(1, sizeof *q);
        q->b = b;
        q->refs = 1;
        b->queue_refs++;
        q->owner = d->exclusive ? s->id : 0;
        if (d->name.len)
            memcpy(q->name, d->name.data, d->name.len);
        else
            snprintf(q->name, sizeof q->name, "amq.gen-%022d", ++b->made_queues);
        q->next = b->queues;
        b->queues = q;
    }
    if (code == 0) {
        strcpy(out->name, q->name);
        out->messages = length(q);
        out->consumers = 0;
        for (struct subscriber *u = q->subscribers; u; u = u->next)
            out->consumers++;
    }
    mutex_unlock(&b->lock);
    return code;
}

int session_delete_queue(struct session *s, beck_bytes name, bool if_unused, bool if_empty,
                         uint32_t *messages, char *text)
{
    (void)if_unused;
    (void)if_empty;
    (void)text;
    mutex_lock(&s->b->lock);
    struct broker_queue *q = find(s->b, name);
    *messages = q ? length(q) : 0;
    if (q)
        remove_queue(q);
    mutex_unlock(&s->b->lock);
    return 0;
}

int session_purge_queue(struct session *s, beck_bytes name, uint32_t *messages, char *text)
{
    mutex_lock(&s->b->lock);
    struct broker_queue *q = find(s->b, name);
    if (q) {
        *messages = length(q);
        drop_messages(&q->ready);
    }
    mutex_unlock(&s->b->lock);
    return q ? 0 : no_queue(name, text);
}

int session_bind(struct session *s, const struct binding_declaration *d, char *text)
{
    struct broker *b = s->b;
    if (d->to_exchange)
        return 0;
    mutex_lock(&b->lock);
    struct broker_queue *q = find(b, d->destination);
    if (q) {
        struct stub_binding *x = calloc(1, sizeof *x);
        memcpy(x->exchange, d->source.data, d->source.len);
        memcpy(x->key, d->routing_key.data, d->routing_key.len);
        x->queue = q;
        x->next = b->bindings;
        b->bindings = x;
    }
    mutex_unlock(&b->lock);
    return q ? 0 : no_queue(d->destination, text);
}

int session_unbind(struct session *s, const struct binding_declaration *d, char *text)
{
    (void)s;
    (void)d;
    (void)text;
    return 0;
}

/* ---- publishing ---- */

int publisher_new(struct session *s, const struct publisher_events *events, struct publisher **out,
                  char *text)
{
    (void)text;
    struct publisher *p = calloc(1, sizeof *p);
    p->s = s;
    p->events = *events;
    mutex_lock(&s->b->lock);
    p->next = s->b->first_publisher;
    s->b->first_publisher = p;
    s->b->publishers++;
    mutex_unlock(&s->b->lock);
    *out = p;
    return 0;
}

void publisher_free(struct publisher *p)
{
    if (!p)
        return;
    struct broker *b = p->s->b;
    mutex_lock(&b->lock);
    struct publisher **at = &b->first_publisher;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    b->publishers--;
    mutex_unlock(&b->lock);
    free(p);
}

static beck_bytes copy_to(uint8_t **at, beck_bytes from)
{
    beck_bytes copy = bytes_of(*at, from.len);
    if (from.len)
        memcpy(*at, from.data, from.len);
    *at += from.len;
    return copy;
}

static void append(struct stub_message **list, struct stub_message *m)
{
    while (*list)
        list = &(*list)->next;
    m->next = NULL;
    *list = m;
}

static void put(struct broker_queue *q, const struct publication *p)
{
    struct stub_message *m = calloc(1, sizeof *m + p->exchange.len + p->routing_key.len +
                                           p->properties.len + p->body.len);
    uint8_t *at = m->bytes;
    m->tag = ++q->b->next_tag;
    m->exchange = copy_to(&at, p->exchange);
    m->routing_key = copy_to(&at, p->routing_key);
    m->properties = copy_to(&at, p->properties);
    m->body = copy_to(&at, p->body);
    append(&q->ready, m);
    wake(q);
}

static size_t route(struct broker *b, const struct publication *m)
{
    size_t count = 0;
    struct broker_queue *direct = m->exchange.len == 0 ? find(b, m->routing_key) : NULL;
    if (direct) {
        put(direct, m);
        count++;
    }
    for (struct stub_binding *x = b->bindings; x; x = x->next)
        if (bytes_equal_text(m->exchange, x->exchange) &&
            bytes_equal_text(m->routing_key, x->key)) {
            put(x->queue, m);
            count++;
        }
    return count;
}

int publisher_add(struct publisher *p, const struct publication *m, uint64_t token,
                  enum published *how, char *text)
{
    struct broker *b = p->s->b;
    int code = 0;
    if (bytes_equal_text(m->exchange, "missing"))
        return broker_refuse(text, REPLY_NOT_FOUND, "no exchange 'missing' in vhost '/'");
    mutex_lock(&b->lock);
    if ((b->later && !p->prepared) || bytes_equal_text(m->exchange, "unknown")) {
        code = BROKER_LATER;
    } else {
        *how = route(b, m) > 0 ? PUBLISHED_QUEUED : PUBLISHED_NOWHERE;
        if (m->confirm && p->count < sizeof p->tokens / sizeof *p->tokens)
            p->tokens[p->count++] = token;
        cond_broadcast(&b->changed);
    }
    mutex_unlock(&b->lock);
    return code;
}

int publisher_prepare(struct publisher *p, beck_bytes exchange, char *text)
{
    if (bytes_equal_text(exchange, "unknown"))
        return broker_refuse(text, REPLY_NOT_FOUND, "no exchange 'unknown' in vhost '/'");
    p->prepared = true;
    return 0;
}

void publisher_flush(struct publisher *p)
{
    mutex_lock(&p->s->b->lock);
    if (!p->s->b->holds && p->count > 0) {
        p->events.confirmed(p->events.ctx, p->tokens, p->count, true);
        p->count = 0;
    }
    mutex_unlock(&p->s->b->lock);
}

size_t publisher_waiting(const struct publisher *p)
{
    mutex_lock(&p->s->b->lock);
    size_t waiting = p->s->b->waiting;
    mutex_unlock(&p->s->b->lock);
    return waiting;
}

void stub_confirm(struct broker *b, bool backwards, bool ack)
{
    mutex_lock(&b->lock);
    for (struct publisher *p = b->first_publisher; p; p = p->next) {
        for (size_t i = 0; i < p->count; i++)
            p->events.confirmed(p->events.ctx, &p->tokens[backwards ? p->count - 1 - i : i], 1,
                                ack);
        p->count = 0;
    }
    mutex_unlock(&b->lock);
}

/* ---- consuming ---- */

void credit_init(struct credit *c, uint32_t limit)
{
    atomic_init(&c->limit, limit);
    mutex_init(&c->lock);
}

void credit_release(struct credit *c)
{
    mutex_release(&c->lock);
}

/* Of the one broker of a test: whoever may go on finds out by itself. */
void credit_set_limit(struct credit *c, uint32_t limit)
{
    atomic_store(&c->limit, limit);
    struct subscriber *s = (struct subscriber *)(void *)c->first;
    if (s) {
        mutex_lock(&s->b->lock);
        wake(s->queue);
        mutex_unlock(&s->b->lock);
    }
}

int session_consume(struct session *s, const struct subscriber_options *o, struct subscriber **out,
                    char *text)
{
    struct broker *b = s->b;
    mutex_lock(&b->lock);
    struct broker_queue *q = find(b, o->queue);
    if (q) {
        struct subscriber *c = calloc(1, sizeof *c);
        c->b = b;
        c->o = *o;
        c->queue = q;
        q->refs++;
        c->next = q->subscribers;
        q->subscribers = c;
        b->subscribers++;
        if (o->shared)
            o->shared->first = (struct waiting_subscriber *)(void *)c;
        if (q->ready)
            wake(q);
        *out = c;
    }
    mutex_unlock(&b->lock);
    return q ? 0 : no_queue(o->queue, text);
}

bool session_may_consume(struct session *s, const struct subscriber *c)
{
    (void)c;
    return !s->b->denied;
}

int64_t broker_consumer_timeout(struct broker_queue *q)
{
    return strcmp(q->name, "hasty") == 0 ? 100 : -1;
}

void subscriber_close(struct subscriber *c)
{
    struct broker *b = c->b;
    mutex_lock(&b->lock);
    struct subscriber **at = &c->queue->subscribers;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    b->subscribers--;
    release(c->queue);
    mutex_unlock(&b->lock);
    free(c);
}

static bool has_credit(const struct subscriber *c)
{
    uint32_t shared = c->o.shared ? atomic_load(&c->o.shared->limit) : 0;
    return (c->o.prefetch == 0 || c->used < c->o.prefetch) &&
           (shared == 0 || atomic_load(&c->o.shared->used) < shared);
}

static void show(struct broker_queue *q, struct stub_message *m, struct handed *h)
{
    *h = (struct handed){.queue = q,
                         .tag = m->tag,
                         .redelivered = m->redelivered,
                         .exchange = m->exchange,
                         .routing_key = m->routing_key,
                         .properties = m->properties,
                         .body = m->body};
}

size_t subscriber_pump(struct subscriber *c, size_t max,
                       bool (*deliver)(void *ctx, const struct handed *m), void *ctx)
{
    struct broker *b = c->b;
    struct broker_queue *q = c->queue;
    size_t count = 0;
    bool more = true;
    mutex_lock(&b->lock);
    c->woken = false;
    while (more && count < max && q->ready && !q->gone && (c->o.no_ack || has_credit(c))) {
        struct stub_message *m = q->ready;
        struct handed h;
        q->ready = m->next;
        show(q, m, &h);
        h.subscriber = c;
        m->next = NULL;
        if (!c->o.no_ack) {
            append(&q->unacked, m);
            c->used++;
            if (c->o.shared)
                atomic_fetch_add(&c->o.shared->used, 1);
        }
        mutex_unlock(&b->lock);
        more = deliver(ctx, &h);
        mutex_lock(&b->lock);
        if (c->o.no_ack)
            free(m);
        count++;
    }
    mutex_unlock(&b->lock);
    return count;
}

void subscriber_ready(struct subscriber *c, bool ready)
{
    mutex_lock(&c->b->lock);
    c->stalled = !ready;
    if (ready && c->queue->ready)
        wake(c->queue);
    mutex_unlock(&c->b->lock);
}

int session_get(struct session *s, beck_bytes queue, struct handed *out, bool *got, uint32_t *left,
                char *text)
{
    struct broker *b = s->b;
    mutex_lock(&b->lock);
    struct broker_queue *q = find(b, queue);
    struct stub_message *m = q ? q->ready : NULL;
    *got = m != NULL;
    if (m) {
        q->ready = m->next;
        append(&q->unacked, m); /* without acknowledgement as well: it must stay for the caller */
        show(q, m, out);
        *left = length(q);
    }
    mutex_unlock(&b->lock);
    return q ? 0 : no_queue(queue, text);
}

/* ---- settling ---- */

static struct stub_message *take(struct stub_message **list, uint64_t tag)
{
    while (*list && (*list)->tag != tag)
        list = &(*list)->next;
    struct stub_message *m = *list;
    if (m)
        *list = m->next;
    return m;
}

static void put_back(struct broker_queue *q, struct stub_message *m)
{
    struct stub_message **at = &q->ready;
    while (*at && (*at)->tag < m->tag)
        at = &(*at)->next;
    m->redelivered = true;
    m->next = *at;
    *at = m;
}

void broker_forget(struct broker_queue *q, uint64_t tag)
{
    mutex_lock(&q->b->lock);
    q->b->forgotten++;
    (void)tag;
    mutex_unlock(&q->b->lock);
}

void broker_count(struct broker_queue *q, enum queue_count what, uint64_t count)
{
    (void)q;
    (void)what;
    (void)count;
}

void broker_settle(struct broker_queue *q, const uint64_t *tags,
                   struct subscriber *const *subscribers, size_t count, enum settlement how)
{
    mutex_lock(&q->b->lock);
    for (size_t i = 0; i < count; i++) {
        struct stub_message *m = take(&q->unacked, tags[i]);
        if (!m)
            abort(); /* each tag once */
        struct subscriber *c = subscribers[i];
        if (c) {
            c->used--;
            if (c->o.shared)
                atomic_fetch_sub(&c->o.shared->used, 1);
        }
        if (how == SETTLE_REQUEUE || how == SETTLE_FAIL)
            put_back(q, m);
        else
            free(m);
    }
    if (q->ready && !q->gone)
        wake(q);
    mutex_unlock(&q->b->lock);
}

void broker_return_lost(struct broker_queue *q, const uint64_t *tags, size_t count)
{
    struct subscriber *nobody[256] = {0};
    for (size_t i = 0; i < count; i += 256)
        broker_settle(q, tags + i, nobody, count - i < 256 ? count - i : 256, SETTLE_REQUEUE);
}
