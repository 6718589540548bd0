/* Exchanges that remember: see recent.h. */
#include "broker/recent.h"

#include "broker/delivery.h"
#include "broker/message.h"

#include <stdlib.h>

#define LENGTH_DEFAULT 20
#define BYTES_MAX (16u << 20) /* of one exchange; the oldest go first */

struct remembered {
    struct remembered *next;
    _Atomic(uint32_t) refs;
    size_t size;
    beck_bytes key, properties, body; /* behind it */
    uint8_t memory[];
};

struct recent {
    struct mutex lock; /* recent.lock, a leaf */
    struct remembered *first, **end;
    size_t count, bytes, length;
};

bool recent_is_type(beck_bytes type)
{
    return bytes_equal_text(type, "x-recent-history");
}

int recent_check(beck_bytes arguments, char *text)
{
    struct table_value v;
    if (!table_find(arguments, "x-recent-history-length", &v) ||
        (v.kind == TABLE_INTEGER && v.integer > 0))
        return 0;
    return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                         "Invalid argument, 'x-recent-history-length' must be a positive integer");
}

struct recent *recent_new(beck_bytes arguments)
{
    struct table_value v;
    struct recent *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    bool given = table_find(arguments, "x-recent-history-length", &v);
    r->length = given ? (size_t)v.integer : LENGTH_DEFAULT;
    r->end = &r->first;
    mutex_init(&r->lock);
    return r;
}

static void release(struct remembered *m)
{
    if (atomic_fetch_sub(&m->refs, 1) == 1)
        free(m);
}

/* With the lock, or alone. */
static void forget_first(struct recent *r)
{
    struct remembered *m = r->first;
    r->first = m->next;
    if (!r->first)
        r->end = &r->first;
    r->count--;
    r->bytes -= m->size;
    release(m);
}

void recent_free(struct recent *r)
{
    if (!r)
        return;
    while (r->first)
        forget_first(r);
    mutex_release(&r->lock);
    free(r);
}

/* ---- remembering ---- */

static bool is_not_stored(const struct properties *p)
{
    struct table_value v;
    return p->flags & PROPERTY_HEADERS && table_find(p->headers, "x-recent-history-no-store", &v) &&
           v.kind == TABLE_BOOL && v.integer;
}

void recent_add(struct recent *r, beck_bytes key, beck_bytes properties_raw,
                const struct properties *properties, beck_bytes body)
{
    size_t size = sizeof(struct remembered) + key.len + properties_raw.len + body.len;
    if (is_not_stored(properties) || size > BYTES_MAX)
        return;
    struct remembered *m = malloc(size);
    if (!m)
        return;
    uint8_t *at = m->memory;
    m->next = NULL;
    atomic_init(&m->refs, 1);
    m->size = size;
    m->key = bytes_put(&at, key);
    m->properties = bytes_put(&at, properties_raw);
    m->body = bytes_put(&at, body);
    mutex_lock(&r->lock);
    *r->end = m;
    r->end = &m->next;
    r->count++;
    r->bytes += size;
    while (r->count > r->length || r->bytes > BYTES_MAX)
        forget_first(r);
    mutex_unlock(&r->lock);
}

/* ---- giving ---- */

/* With references; to be freed with free(). NULL: no memory. */
static struct remembered **copy(struct recent *r, size_t *count)
{
    mutex_lock(&r->lock);
    struct remembered **list = calloc(r->count + 1, sizeof(struct remembered *));
    *count = 0;
    for (struct remembered *m = r->first; m && list; m = m->next) {
        atomic_fetch_add(&m->refs, 1);
        list[(*count)++] = m;
    }
    mutex_unlock(&r->lock);
    return list;
}

struct giving {
    struct delivery_home *home;
    beck_bus *bus; /* of the copies */
    struct exchange *source, *exchange;
    struct broker_queue *queue; /* the destination; NULL: the exchange is */
    struct targets scratch;
    struct buf content;
};

/* One message to those that a route leads to. */
static beck_status append(struct giving *g, const struct route *r, const struct remembered *m,
                          const struct properties *p, beck_error *err)
{
    beck_event e;
    char text[BROKER_TEXT];
    int64_t expires_ms = -1;
    beck_status status = BECK_OK;
    message_to_event(g->source->name, m->key, p, m->body, &e);
    e.type = r->type;
    if (!expiration_read(p, &expires_ms, text) && expires_ms >= 0)
        e.expires_at_ms = clock_wall_ms(g->home->broker->handle->env.clock) + expires_ms + 1;
    for (size_t i = 0; i < r->engine_count && !status; i++)
        status = queue_join(r->queues[i], g->bus, err);
    if (!status && r->engine_count > 0)
        status = route_append(g->home, r, g->bus, &e, buf_bytes(&g->content), err);
    if (!status || status == BECK_ELIMIT)
        status = route_append_streams(r, &e, buf_bytes(&g->content), err);
    return status == BECK_ENOENT ? BECK_OK : status; /* one was deleted meanwhile */
}

static beck_status give(struct giving *g, const struct remembered *m, beck_error *err)
{
    struct properties p = {0};
    if (m->properties.len > 0 && properties_read(m->properties, &p, NULL))
        return BECK_OK;
    buf_clear(&g->content);
    if (message_carry(&g->content, g->source->name, m->key, m->properties, 0))
        return error_set(err, BECK_ENOMEM, "no memory for a message");
    topology_read(g->home->broker);
    struct route *r = route_new(g->home, g->queue ? g->source : g->exchange, m->key, &p,
                                &g->scratch, g->queue ? targets_only : NULL, g->queue);
    topology_end_read(g->home->broker);
    if (!r)
        return error_set(err, BECK_ENOMEM, "no memory to route a message");
    beck_status status = append(g, r, m, &p, err);
    route_release(r);
    return status;
}

static int give_all(struct giving *g, char *text)
{
    size_t count;
    beck_error err;
    struct remembered **list = copy(g->source->recent, &count);
    beck_status status = list ? BECK_OK : error_set(&err, BECK_ENOMEM, "no memory for messages");
    if (!status && count > 0)
        status = past_bus(g->home, &g->bus, &err);
    buf_init(&g->content, 1u << 20);
    for (size_t i = 0; list && i < count; i++) {
        if (!status)
            status = give(g, list[i], &err);
        release(list[i]);
    }
    buf_release(&g->content);
    targets_release(&g->scratch);
    free(list);
    return status ? broker_refuse(text, REPLY_INTERNAL_ERROR, "recent messages cannot be had: %s",
                                  err.text)
                  : 0;
}

int recent_give(struct session *s, const struct binding_declaration *d, char *text)
{
    struct giving g = {.home = s->broker->delivery};
    int code = session_find_exchange(s, d->source, &g.source, text);
    if (!code && g.source->recent && d->to_exchange)
        code = session_find_exchange(s, d->destination, &g.exchange, text);
    else if (!code && g.source->recent)
        code = session_find_queue(s, d->destination, &g.queue, text);
    if (!code && g.source->recent)
        code = give_all(&g, text);
    if (g.source)
        exchange_release(g.source);
    if (g.exchange)
        exchange_release(g.exchange);
    if (g.queue)
        broker_queue_release(g.queue);
    return code;
}
