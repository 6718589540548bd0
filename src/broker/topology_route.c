/*
 * Who gets a message: the exchange's bindings, then those of exchanges that are bound to it, and alternate
 * exchanges where nothing matched. Each exchange is asked once, so loops end; each queue is taken once.
 */
#include "broker/topology.h"

#include "broker/match.h"

#include <stdlib.h>

#define SCAN_MAX 16 /* so many are compared one by one, more are found by hash */

void targets_release(struct targets *t)
{
    free(t->queues);
    free(t->unsorted);
    free(t->visited);
    free(t->seen);
    if (t->found)
        match_found_release(t->found);
    free(t->found);
    *t = (struct targets){0};
}

/* ---- sets ---- */

static size_t slot_of(const struct targets *t, const void *p)
{
    uint64_t mixed = (uint64_t)(uintptr_t)p * 0x9e3779b97f4a7c15ull;
    size_t i = (size_t)(mixed >> 32) & (t->seen_cap - 1);
    while (t->seen[i] && t->seen[i] != p)
        i = (i + 1) & (t->seen_cap - 1);
    return i;
}

/* A table of all that were taken, at most half full. */
static beck_status rehash(struct targets *t, size_t count)
{
    size_t cap = t->seen_cap ? t->seen_cap : 8 * (size_t)SCAN_MAX;
    while (cap < 2 * count)
        cap *= 2;
    if (cap > t->seen_cap) {
        void **seen = realloc(t->seen, cap * sizeof *seen);
        if (!seen)
            return BECK_ENOMEM;
        t->seen = seen;
        t->seen_cap = cap;
    }
    memset(t->seen, 0, t->seen_cap * sizeof *t->seen);
    for (size_t i = 0; i < t->count; i++)
        t->seen[slot_of(t, t->unsorted[i])] = t->unsorted[i];
    return BECK_OK;
}

static beck_status grow(struct targets *t)
{
    size_t cap = t->cap ? 2 * t->cap : SCAN_MAX;
    struct broker_queue **unsorted = realloc(t->unsorted, cap * sizeof(struct broker_queue *));
    if (!unsorted)
        return BECK_ENOMEM;
    t->unsorted = unsorted;
    struct broker_queue **queues = realloc(t->queues, cap * sizeof(struct broker_queue *));
    if (!queues)
        return BECK_ENOMEM;
    t->queues = queues;
    t->cap = cap;
    return BECK_OK;
}

static bool scan(struct broker_queue *const *list, size_t count, const struct broker_queue *q)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == q)
            return true;
    return false;
}

static beck_status take_queue(struct targets *t, struct broker_queue *q)
{
    beck_status status = BECK_OK;
    if (t->count < SCAN_MAX) {
        if (scan(t->unsorted, t->count, q))
            return BECK_OK;
    } else {
        if (t->count == SCAN_MAX || 2 * t->count >= t->seen_cap)
            status = rehash(t, t->count + 1);
        if (status)
            return status;
        size_t slot = slot_of(t, q);
        if (t->seen[slot])
            return BECK_OK;
        t->seen[slot] = q;
    }
    if (t->count == t->cap && grow(t))
        return BECK_ENOMEM;
    t->unsorted[t->count++] = q;
    return BECK_OK;
}

static beck_status visit(struct targets *t, struct exchange *x)
{
    for (size_t i = 0; i < t->visited_count; i++)
        if (t->visited[i] == x)
            return BECK_OK;
    if (t->visited_count == t->visited_cap) {
        size_t cap = t->visited_cap ? 2 * t->visited_cap : 4;
        struct exchange **grown = realloc(t->visited, cap * sizeof(struct exchange *));
        if (!grown)
            return BECK_ENOMEM;
        t->visited = grown;
        t->visited_cap = cap;
    }
    t->visited[t->visited_count++] = x;
    return BECK_OK;
}

/* ---- keys ---- */

/* The routing key, then the texts of the arrays CC and BCC. */
struct keys {
    beck_bytes first;
    beck_bytes extra[2]; /* content of the arrays */
    size_t at;
    int stage;
};

static void keys_init(struct keys *k, beck_bytes first, const struct properties *properties)
{
    static const char *const names[] = {"CC", "BCC"};
    struct table_value v;
    *k = (struct keys){.first = first};
    if (!properties || !(properties->flags & PROPERTY_HEADERS))
        return;
    for (int i = 0; i < 2; i++)
        if (table_find(properties->headers, names[i], &v) && v.kind == TABLE_ARRAY)
            k->extra[i] = v.bytes;
}

static bool keys_next(struct keys *k, beck_bytes *out)
{
    struct table_value v;
    if (k->stage == 0) {
        k->stage = 1;
        *out = k->first;
        return true;
    }
    while (k->stage < 3) {
        while (array_next(k->extra[k->stage - 1], &k->at, &v)) {
            if (v.kind == TABLE_TEXT) {
                *out = v.bytes;
                return true;
            }
        }
        k->stage++;
        k->at = 0;
    }
    return false;
}

/* ---- routing ---- */

static beck_status ask_nameless(struct targets *t, const struct exchange *x, struct keys keys,
                                bool *matched)
{
    beck_bytes key;
    while (keys_next(&keys, &key)) {
        struct broker_queue *q = topology_queue(x->vhost, key);
        if (!q)
            continue;
        *matched = true;
        if (take_queue(t, q))
            return BECK_ENOMEM;
    }
    return BECK_OK;
}

static beck_status take(struct targets *t, const struct binding *binding)
{
    return binding->queue ? take_queue(t, binding->queue) : visit(t, binding->exchange);
}

static beck_status take_all(struct targets *t, const struct exchange *x)
{
    beck_status status = BECK_OK;
    for (const struct binding *n = x->bindings; n && !status; n = n->source_next)
        status = take(t, n);
    return status;
}

static beck_status ask(struct targets *t, const struct exchange *x, struct keys keys,
                       const struct properties *properties, bool *matched)
{
    beck_status status = BECK_OK;
    beck_bytes key;
    t->found->count = 0;
    if (!x->bindings)
        return BECK_OK;
    while (!status && keys_next(&keys, &key))
        status = matcher_match(x->matcher, key, properties, t->found);
    *matched = t->found->count > 0;
    for (size_t i = 0; i < t->found->count && !status; i++)
        status = take(t, t->found->values[i]);
    return status;
}

static beck_status ask_alternate(struct targets *t, const struct exchange *x)
{
    struct exchange *alternate =
        x->alternate.len > 0 ? topology_exchange(x->vhost, x->alternate) : NULL;
    return alternate ? visit(t, alternate) : BECK_OK;
}

static int kind_of(const struct broker_queue *q)
{
    return q->kind == QUEUE_STREAM ? 2 : q->durable ? 0 : 1;
}

/* Durable ones, those that are not, streams. */
static void sort(struct targets *t)
{
    size_t counts[3] = {0};
    for (size_t i = 0; i < t->count; i++)
        counts[kind_of(t->unsorted[i])]++;
    t->durable_count = counts[0];
    t->transient_count = counts[1];
    t->stream_count = counts[2];
    size_t at[3] = {0, counts[0], counts[0] + counts[1]};
    for (size_t i = 0; i < t->count; i++)
        t->queues[at[kind_of(t->unsorted[i])]++] = t->unsorted[i];
}

beck_status topology_route(struct exchange *x, beck_bytes routing_key,
                           const struct properties *properties, struct targets *out)
{
    struct keys keys;
    out->count = out->visited_count = 0;
    out->durable_count = out->transient_count = out->stream_count = 0;
    if (!out->found && !(out->found = calloc(1, sizeof *out->found)))
        return BECK_ENOMEM;
    keys_init(&keys, routing_key, properties);
    beck_status status = visit(out, x);
    for (size_t i = 0; i < out->visited_count && !status; i++) {
        const struct exchange *now = out->visited[i];
        bool matched = false;
        if (now->nameless)
            status = ask_nameless(out, now, keys, &matched);
        else if (out->any_message)
            status = take_all(out, now);
        else
            status = ask(out, now, keys, properties, &matched);
        if (!status && !matched)
            status = ask_alternate(out, now);
    }
    if (!status)
        sort(out);
    return status;
}
