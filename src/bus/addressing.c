/* Whom events are addressed to: see addressing.h. */
#include "bus/addressing.h"

#include "base/bytes.h"

#include <stdlib.h>

beck_status bus_router_add(struct bus_router_out *out, struct queue *q)
{
    if (out->count == out->cap) {
        size_t cap = out->cap ? out->cap * 2 : 16;
        struct queue **grown = realloc(out->queues, cap * sizeof(struct queue *));
        if (!grown)
            return BECK_ENOMEM;
        out->queues = grown;
        out->cap = cap;
    }
    out->queues[out->count++] = q;
    return BECK_OK;
}

/* Inside of a section, which keeps the router. */
static beck_status ask(struct addressing *a, beck_bus *b, const struct bus_router *router,
                       const beck_event *events, size_t count, beck_error *err)
{
    a->found = calloc(count, sizeof *a->found);
    if (!a->found)
        return error_set(err, BECK_ENOMEM, "no memory to route %zu events", count);
    for (size_t i = 0; i < count; i++) {
        size_t before = a->out.count;
        beck_status status = router->fn(router->ctx, b, &events[i], &a->out, err);
        if (status)
            return status;
        a->found[i].queue_count = a->out.count - before;
        a->found[i].routed = true;
    }
    /* The array does not move any more. */
    size_t at = 0;
    for (size_t i = 0; i < count; at += a->found[i++].queue_count)
        a->found[i].queues = a->out.queues + at;
    a->to = a->found;
    return BECK_OK;
}

static beck_status check(const struct bus_addressed *to, bool disk, beck_error *err)
{
    if (disk && to->queue_count > CARRIED_QUEUES_MAX)
        return error_set(err, BECK_ELIMIT, "%zu queues get the event; at most %d", to->queue_count,
                         CARRIED_QUEUES_MAX);
    if (to->content.len > CARRIED_CONTENT_MAX)
        return error_set(err, BECK_ELIMIT, "%zu bytes beside the event; at most %u",
                         to->content.len, CARRIED_CONTENT_MAX);
    return BECK_OK;
}

/* Neighbours that go to the same queues share one list of numbers. */
static void fill(struct addressing *a, const beck_bus *b, size_t count, bool disk)
{
    uint8_t *numbers = (uint8_t *)(a->memory + count);
    for (size_t i = 0; i < count; i++) {
        const struct bus_addressed *to = &a->to[i];
        a->memory[i] = (struct carried){.content = to->content};
        if (!disk || (to->queue_count == 0 && !to->routed))
            continue;
        if (i > 0 && addressing_same(to, to - 1)) {
            a->memory[i].queues = a->memory[i - 1].queues;
            continue;
        }
        for (size_t q = 0; q < to->queue_count; q++)
            put_u64(numbers + 8 * q, b->routing.number(to->queues[q]));
        a->memory[i].queues = bytes_of(numbers, 8 * to->queue_count);
        numbers += 8 * to->queue_count;
    }
    a->carried = a->memory;
}

beck_status addressing_init(struct addressing *a, beck_bus *b, struct caller *self,
                            const beck_event *events, const struct bus_addressed *to, size_t count,
                            beck_error *err)
{
    *a = (struct addressing){.to = to, .count = count};
    beck_status status = BECK_OK;
    if (!to && atomic_load_explicit(&b->router, memory_order_relaxed)) {
        caller_enter(self);
        const struct bus_router *router = atomic_load_explicit(&b->router, memory_order_acquire);
        if (router)
            status = ask(a, b, router, events, count, err);
        caller_leave(self);
    }
    bool disk = b->options.storage == BECK_STORAGE_DISK, carries = false;
    size_t numbers = 0;
    for (size_t i = 0; i < count && a->to && !status; i++) {
        status = check(&a->to[i], disk, err);
        carries |= a->to[i].content.len > 0 || (disk && a->to[i].routed);
        if (disk && (i == 0 || !addressing_same(&a->to[i], &a->to[i - 1])))
            numbers += a->to[i].queue_count;
    }
    if (status || (!carries && numbers == 0))
        return status;
    a->memory = malloc(count * sizeof *a->memory + 8 * numbers);
    if (!a->memory)
        return error_set(err, BECK_ENOMEM, "no memory to publish %zu events", count);
    fill(a, b, count, disk);
    return BECK_OK;
}

void addressing_release(struct addressing *a, const beck_bus *b)
{
    for (size_t i = 0; i < a->out.count; i++)
        b->routing.release(a->out.queues[i]);
    free(a->out.queues);
    free(a->found);
    free(a->memory);
    free(a->part_to);
    free(a->part_carried);
    free(a->merged);
}

beck_status addressing_part(struct addressing *a, const size_t *index, size_t n,
                            const struct bus_addressed **to, const struct carried **carried,
                            beck_error *err)
{
    *to = a->to;
    *carried = a->carried;
    if (!index || !a->to)
        return BECK_OK;
    if (!a->part_to)
        a->part_to = malloc(a->count * sizeof *a->part_to);
    if (!a->part_carried)
        a->part_carried = malloc(a->count * sizeof *a->part_carried);
    if (!a->part_to || !a->part_carried)
        return error_set(err, BECK_ENOMEM, "no memory to publish %zu events", a->count);
    for (size_t i = 0; i < n; i++) {
        a->part_to[i] = a->to[index[i]];
        if (a->carried)
            a->part_carried[i] = a->carried[index[i]];
    }
    *to = a->part_to;
    *carried = a->carried ? a->part_carried : NULL;
    return BECK_OK;
}

static bool among(const struct match *m, const void *route)
{
    for (size_t i = 0; i < m->route_count; i++)
        if (m->routes[i] == route)
            return true;
    return false;
}

beck_status addressing_routes(struct addressing *a, const struct match *m,
                              const struct bus_addressed *to, void *const **out, size_t *count)
{
    size_t matched = m ? m->route_count : 0;
    if (!to || to->queue_count == 0) {
        *out = m ? m->routes : NULL;
        *count = matched;
        return BECK_OK;
    }
    size_t room = matched + to->queue_count, n = matched;
    if (room > a->merged_cap) {
        void **grown = realloc(a->merged, room * 2 * sizeof(void *));
        if (!grown)
            return BECK_ENOMEM;
        a->merged = grown;
        a->merged_cap = room * 2;
    }
    if (matched)
        memcpy(a->merged, m->routes, matched * sizeof(void *));
    for (size_t i = 0; i < to->queue_count; i++)
        if (!matched || !among(m, to->queues[i]))
            a->merged[n++] = to->queues[i];
    *out = a->merged;
    *count = n;
    return BECK_OK;
}
