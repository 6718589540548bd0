/*
 * What was delivered and not answered yet: an array in order of the delivery tags, from which answers take
 * out entries. Usually its tags follow each other, so that the place of one is known at once.
 */
#include "wire/amqp/amqp_impl.h"

#include <assert.h>
#include <stdlib.h>

#define FIRST_CAP 16
#define SHRUNK_CAP 4096 /* an empty array larger than this is given back */

void source_release(struct source *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) > 1)
        return;
    if (s->queue)
        broker_queue_release(s->queue);
    free(s);
}

/* Without the holes. */
static void compact(struct unacked *u)
{
    size_t to = 0;
    for (size_t i = u->first; i < u->end; i++)
        if (u->at[i].source)
            u->at[to++] = u->at[i];
    u->first = 0;
    u->end = to;
    assert(to == u->count);
}

bool unacked_reserve(struct unacked *u, size_t more)
{
    if (u->end + more <= u->cap)
        return true;
    if (u->count + more <= u->cap / 2) {
        compact(u);
        return true;
    }
    size_t cap = u->cap ? u->cap : FIRST_CAP;
    while (cap < 2 * (u->count + more))
        cap *= 2;
    compact(u);
    struct outstanding *at = realloc(u->at, cap * sizeof *at);
    if (!at)
        return u->end + more <= u->cap;
    u->at = at;
    u->cap = cap;
    return true;
}

void unacked_add(struct unacked *u, struct outstanding o)
{
    assert(u->end < u->cap);
    u->at[u->end++] = o;
    u->count++;
}

struct outstanding *unacked_first(struct unacked *u)
{
    return u->count ? &u->at[u->first] : NULL;
}

struct outstanding *unacked_find(struct unacked *u, uint64_t delivery)
{
    if (u->count == 0 || delivery < u->at[u->first].delivery)
        return NULL;
    size_t low = u->first, high = u->end;
    uint64_t ahead = delivery - u->at[low].delivery;
    if (ahead < high - low && u->at[low + ahead].delivery == delivery)
        low += (size_t)ahead;
    else
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if (u->at[middle].delivery < delivery)
                low = middle + 1;
            else
                high = middle;
        }
    bool found = low < u->end && u->at[low].delivery == delivery && u->at[low].source;
    return found ? &u->at[low] : NULL;
}

void unacked_remove(struct unacked *u, struct outstanding *o)
{
    o->source = NULL;
    u->count--;
    while (u->first < u->end && !u->at[u->first].source)
        u->first++;
    if (u->count > 0)
        return;
    u->first = u->end = 0;
    if (u->cap > SHRUNK_CAP)
        unacked_release(u);
}

static int by_delivery(const void *a, const void *b)
{
    uint64_t x = ((const struct outstanding *)a)->delivery;
    uint64_t y = ((const struct outstanding *)b)->delivery;
    return (x > y) - (x < y);
}

void unacked_sort(struct unacked *u)
{
    compact(u);
    qsort(u->at, u->end, sizeof *u->at, by_delivery);
}

void unacked_release(struct unacked *u)
{
    free(u->at);
    *u = (struct unacked){0};
}

/* ---- answers ---- */

void batch_flush(struct batch *b)
{
    struct subscriber *subscribers[SETTLE_MAX];
    if (b->count == 0)
        return;
    for (size_t i = 0; i < b->count; i++)
        subscribers[i] = b->sources[i]->subscriber;
    if (b->how == SETTLE_ACK)
        broker_count(b->queue, COUNT_ACK, b->count);
    broker_settle(b->queue, b->tags, subscribers, b->count, b->how);
    for (size_t i = 0; i < b->count; i++)
        source_release(b->sources[i]);
    b->count = 0;
}

void batch_add(struct batch *b, struct source *s, uint64_t tag, enum settlement how)
{
    if (b->count > 0 && (b->queue != s->queue || b->how != how || b->count == SETTLE_MAX))
        batch_flush(b);
    b->queue = s->queue;
    b->how = how;
    b->tags[b->count] = tag;
    b->sources[b->count++] = s;
}
