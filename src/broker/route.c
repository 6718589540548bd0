/* Where messages go: see delivery.h. */
#include "broker/delivery.h"

#include "event/event.h"

#include <stdlib.h>

/* ---- routes ---- */

void route_release(struct route *r)
{
    if (!r || --r->refs > 0)
        return;
    for (size_t i = 0; i < r->count && !r->delays; i++)
        broker_queue_release(r->queues[i]);
    if (r->exchange)
        exchange_release(r->exchange);
    free(r);
}

/* Whether the message alone decides where it goes: then its route can be kept. */
static bool is_fixed(const struct targets *t)
{
    for (size_t i = 0; i < t->visited_count; i++) {
        const struct exchange *x = t->visited[i];
        if (!x->nameless && !bytes_equal_text(x->type, "direct") &&
            !bytes_equal_text(x->type, "fanout") && !bytes_equal_text(x->type, "topic"))
            return false;
    }
    return true;
}

static beck_bytes type_of(const struct exchange *x, beck_bytes key)
{
    if (event_check_type_text(key, NULL) == BECK_OK)
        return key;
    if (event_check_type_text(x->name, NULL) == BECK_OK)
        return x->name;
    return beck_str("amq.default");
}

static bool all_joined(const struct route *r, const beck_bus *bus)
{
    for (size_t i = 0; i < r->engine_count && bus; i++)
        if (!queue_is_joined(r->queues[i], bus))
            return false;
    return bus != NULL;
}

void targets_only(void *queue, struct targets *t)
{
    size_t found = 0, durable = t->durable_count, engines = durable + t->transient_count;
    while (found < t->count && t->queues[found] != queue)
        found++;
    bool any = found < t->count;
    if (any)
        t->queues[0] = t->queues[found];
    t->count = any;
    t->durable_count = any && found < durable;
    t->transient_count = any && found >= durable && found < engines;
    t->stream_count = any && found >= engines;
}

struct route *route_new(struct delivery_home *h, struct exchange *x, beck_bytes key,
                        const struct properties *p, struct targets *scratch,
                        void (*choose)(void *ctx, struct targets *t), void *ctx)
{
    if (topology_route(x, key, p, scratch))
        return NULL;
    if (choose)
        choose(ctx, scratch);
    size_t n = scratch->count;
    struct route *r = calloc(
        1, sizeof *r + n * (sizeof(struct broker_queue *) + sizeof(struct queue *)) + key.len + 1);
    if (!r)
        return NULL;
    r->refs = 1;
    r->queues = (struct broker_queue **)(r + 1);
    r->engines = (struct queue **)(r->queues + n);
    uint8_t *text = (uint8_t *)(r->engines + n);
    if (key.len > 0)
        memcpy(text, key.data, key.len);
    r->key = bytes_of(text, key.len);
    r->exchange = exchange_retain(x);
    r->type = type_of(x, r->key);
    r->count = n;
    r->durable_count = scratch->durable_count;
    r->engine_count = scratch->durable_count + scratch->transient_count;
    for (size_t i = 0; i < n; i++) {
        r->queues[i] = broker_queue_retain(scratch->queues[i]);
        r->engines[i] = r->queues[i]->engine;
    }
    r->fixed = is_fixed(scratch);
    for (int storage = STORE_KEPT; storage <= STORE_MEMORY; storage++)
        r->joined[storage] = all_joined(r, route_bus(h, r, (enum storage)storage));
    return r;
}

/* ---- storage ---- */

/* Others bound queues of the engine to the bus, or listen to it. */
static bool is_watched(const beck_bus *bus)
{
    return bus && (atomic_load_explicit(&bus->route_count, memory_order_acquire) > 0 ||
                   subscribers_have_listeners(bus->subscribers));
}

enum storage route_storage(const struct delivery_home *h, const struct route *r, bool persistent)
{
    const struct exchange *x = r->exchange;
    const beck_bus *bus = atomic_load_explicit(&x->bus, memory_order_acquire);
    if (x->durable && (x->foreign || is_watched(bus)))
        return STORE_KEPT;
    if (persistent && r->durable_count > 0)
        return STORE_KEPT;
    if (persistent && r->count == 0 && x->durable && !x->nameless)
        return STORE_KEPT;
    if (r->durable_count > 0)
        return h->transient == h->memory ? STORE_MEMORY : STORE_TRANSIENT;
    return r->engine_count > 0 ? STORE_MEMORY : STORE_NOWHERE;
}

beck_bus *route_bus(const struct delivery_home *h, const struct route *r, enum storage storage)
{
    switch (storage) {
    case STORE_KEPT:
        return atomic_load_explicit(&r->exchange->bus, memory_order_acquire);
    case STORE_TRANSIENT:
        return h->transient;
    case STORE_MEMORY:
        return h->memory;
    case STORE_DELAYED:
        return delay_bus(h);
    default:
        return NULL;
    }
}

beck_status route_prepare(struct delivery_home *h, const struct route *r, enum storage storage,
                          char *text)
{
    beck_error err;
    if (storage == STORE_DELAYED) {
        beck_status status = delay_prepare(h, &err);
        if (status)
            broker_refuse(text, REPLY_INTERNAL_ERROR, "messages cannot be delayed: %s", err.text);
        return status;
    }
    beck_bus *bus =
        storage == STORE_KEPT ? exchange_bus(r->exchange, text) : route_bus(h, r, storage);
    if (!bus)
        return BECK_EIO;
    for (size_t i = 0; i < r->engine_count; i++) {
        beck_status status = queue_join(r->queues[i], bus, &err);
        if (!status && storage == STORE_MEMORY && h->transient != bus)
            status = queue_join(r->queues[i], h->transient, &err);
        if (status == BECK_ENOENT) /* whoever was deleted gets nothing */
            queue_vanished(r->queues[i]->vhost, r->queues[i]->name);
        if (status == BECK_OK || status == BECK_ENOENT)
            continue;
        broker_refuse(text, REPLY_INTERNAL_ERROR, "queue '%.*s' cannot be fed: %s",
                      TEXT_OF(r->queues[i]->name), err.text);
        return status;
    }
    return BECK_OK;
}
