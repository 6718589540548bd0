/*
 * Storing what publishers gathered: neighbours that go into the same bus in the same way are one append.
 *
 * Order. An append that is synced before it is confirmed returns before it is written, so what follows it into
 * another bus could overtake it. While one is under way, messages of that exchange all go into its bus.
 *
 * A queue that refuses (reject-publish) refuses the append. Then messages are stored one by one, and one of
 * which a queue still refuses its part goes to each of its queues by itself, and is refused to the publisher.
 */
#include "broker/publish_impl.h"

#include <stdlib.h>

static const beck_publish_options written = {.level = BECK_LEVEL_WRITTEN, .no_context = true};

void publisher_clear(struct publisher *p)
{
    for (size_t i = 0; i < p->count; i++)
        route_release(p->items[i].route);
    p->count = 0;
    p->bytes = 0;
    buf_clear(&p->content);
}

void publisher_unref(struct publisher *p)
{
    if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) > 1)
        return;
    mutex_release(&p->lock);
    free(p);
}

void publisher_tell(struct publisher *p, const uint64_t *tokens, size_t count, bool ack)
{
    if (count == 0)
        return;
    mutex_lock(&p->lock);
    if (!p->closed)
        p->events.confirmed(p->events.ctx, tokens, count, ack);
    mutex_unlock(&p->lock);
}

static void note_full(struct publisher *p, beck_status status)
{
    struct broker *b = p->session->broker;
    if (status == BECK_EFULL)
        atomic_store(&b->full_ns, clock_mono_ns(b->handle->env.clock));
}

int64_t broker_full_ns(const struct broker *b)
{
    return atomic_load(&b->full_ns);
}

/* Neighbours that are one append. */
struct run {
    struct publisher *p;
    size_t first, count;
    bool synced;
    beck_bus *bus; /* NULL: they are not stored */
};

static void confirm(const struct run *run, bool ack)
{
    uint64_t tokens[BATCH_MAX];
    size_t n = 0;
    for (size_t i = run->first; i < run->first + run->count; i++)
        if (run->p->items[i].confirm)
            tokens[n++] = run->p->items[i].token;
    publisher_tell(run->p, tokens, n, ack);
}

static void report(struct publisher *p, const beck_error *err)
{
    note_full(p, err->code);
    if (!p->reported)
        env_report(&p->session->broker->handle->env, err->code,
                   "messages of AMQP cannot be stored: %s", err->text);
    p->reported = true;
}

/* ---- synced before it is confirmed ---- */

struct synced_run {
    struct publisher *p;
    size_t bytes, count;
    uint64_t tokens[];
};

static void run_synced(void *ctx, beck_status status, const beck_published *published)
{
    struct synced_run *done = ctx;
    struct publisher *p = done->p;
    (void)published;
    atomic_fetch_sub(&p->unsynced, 1);
    atomic_fetch_sub_explicit(&p->waiting, done->bytes, memory_order_relaxed);
    mutex_lock(&p->lock);
    if (!p->closed) /* else its session may be gone */
        note_full(p, status);
    mutex_unlock(&p->lock);
    publisher_tell(p, done->tokens, done->count, status == BECK_OK);
    publisher_unref(p);
    free(done);
}

static beck_status append_synced(const struct run *run, beck_error *err)
{
    struct publisher *p = run->p;
    struct synced_run *done = malloc(sizeof *done + run->count * sizeof done->tokens[0]);
    if (!done)
        return error_set(err, BECK_ENOMEM, "no memory to wait for a sync");
    *done = (struct synced_run){.p = p};
    for (size_t i = run->first; i < run->first + run->count; i++) {
        done->bytes += p->items[i].size;
        if (p->items[i].confirm)
            done->tokens[done->count++] = p->items[i].token;
    }
    size_t bytes = done->bytes;
    beck_publish_options o = {
        .level = BECK_LEVEL_SYNCED, .done = run_synced, .done_ctx = done, .no_context = true};
    atomic_fetch_add(&p->refs, 1);
    atomic_fetch_add(&p->unsynced, 1);
    atomic_fetch_add_explicit(&p->waiting, bytes, memory_order_relaxed);
    p->unsynced_bus = run->bus;
    beck_status status = bus_publish_addressed(run->bus, p->messages + run->first,
                                               p->to + run->first, run->count, &o, NULL, err);
    if (!status)
        return BECK_OK;
    atomic_fetch_sub(&p->unsynced, 1);
    atomic_fetch_sub_explicit(&p->waiting, bytes, memory_order_relaxed);
    publisher_unref(p);
    free(done);
    return status;
}

static beck_status append(const struct run *run, beck_error *err)
{
    const struct publisher *p = run->p;
    return run->synced ? append_synced(run, err)
                       : bus_publish_addressed(run->bus, p->messages + run->first,
                                               p->to + run->first, run->count, &written, NULL, err);
}

/* ---- where a queue refuses ---- */

/* The memory bus is bounded: beyond that the disk takes it. */
static beck_status append_part(struct delivery_home *h, const struct route *r, beck_bus *bus,
                               const beck_event *e, const struct bus_addressed *to, beck_error *err)
{
    beck_status status = bus_publish_addressed(bus, e, to, 1, &written, NULL, err);
    if (status == BECK_ELIMIT && bus == h->memory && h->transient != bus &&
        r->joined[STORE_TRANSIENT])
        status = bus_publish_addressed(h->transient, e, to, 1, &written, NULL, err);
    return status;
}

beck_status route_append(struct delivery_home *h, const struct route *r, beck_bus *bus,
                         const beck_event *e, beck_bytes content, beck_error *err)
{
    struct bus_addressed to = {
        .queues = r->engines, .queue_count = r->engine_count, .content = content};
    beck_status status = append_part(h, r, bus, e, &to, err);
    if (status != BECK_ELIMIT || r->delays)
        return status;
    bool refused = false;
    for (size_t i = 0; i < r->engine_count; i++) {
        to.queues = &r->engines[i];
        to.queue_count = 1;
        beck_status part = r->engine_count > 1 ? append_part(h, r, bus, e, &to, err) : status;
        refused |= part != BECK_OK;
        if (part == BECK_ELIMIT)
            bury_refused(h, r->queues[i], e, content);
    }
    return refused ? BECK_ELIMIT : BECK_OK;
}

static void append_singly(const struct run *run)
{
    struct publisher *p = run->p;
    for (size_t i = run->first; i < run->first + run->count; i++) {
        struct run one = {p, i, 1, run->synced, run->bus};
        beck_error err;
        beck_status status = append(&one, &err);
        if (!status && run->synced)
            continue;
        if (status == BECK_ELIMIT)
            status = route_append(p->home, p->items[i].route, run->bus, &p->messages[i],
                                  p->to[i].content, &err);
        if (status && status != BECK_ELIMIT)
            report(p, &err);
        /* There was room after all, but what was appended just now is not synced: then it may come twice. */
        confirm(&one, status == BECK_OK && !run->synced);
    }
}

/* ---- flushing ---- */

beck_status route_append_streams(const struct route *r, const beck_event *e, beck_bytes content,
                                 beck_error *err)
{
    struct bus_addressed to = {.content = content};
    beck_status status = BECK_OK;
    for (size_t k = r->engine_count; k < r->count && !status; k++) {
        status = bus_publish_addressed(r->queues[k]->bus, e, &to, 1, &written, NULL, err);
        if (status == BECK_ECLOSED)
            status = BECK_OK;
    }
    return status;
}

static void append_run(const struct run *run)
{
    struct publisher *p = run->p;
    beck_error err;
    if (!run->bus) {
        confirm(run, true);
        return;
    }
    beck_status status = append(run, &err);
    if (status == BECK_ELIMIT) {
        append_singly(run);
        return;
    }
    if (status)
        report(p, &err);
    else
        p->reported = false;
    if (status || !run->synced)
        confirm(run, status == BECK_OK);
}

/* Where it goes, behind what goes before it. */
static beck_bus *bus_of(const struct publisher *p, const struct item *i, const struct run *before)
{
    beck_bus *own = route_bus(p->home, i->route, i->storage);
    if (i->storage != STORE_TRANSIENT && i->storage != STORE_MEMORY)
        return own;
    beck_bus *kept = i->route->joined[STORE_KEPT] ? route_bus(p->home, i->route, STORE_KEPT) : NULL;
    if (!kept)
        return own;
    bool follows = (before->count > 0 && before->synced && before->bus == kept) ||
                   (atomic_load(&p->unsynced) > 0 && p->unsynced_bus == kept);
    return follows ? kept : own;
}

static void address(struct publisher *p, size_t i)
{
    const struct item *item = &p->items[i];
    p->to[i] = (struct bus_addressed){
        .queues = item->route->engines,
        .queue_count = item->route->engine_count,
        .content = bytes_of(p->content.data + item->content_at, item->content_len)};
}

static void append_to_streams(struct publisher *p, size_t i)
{
    struct item *item = &p->items[i];
    struct run refused = {.p = p, .first = i, .count = 1};
    beck_error err;
    if (!route_append_streams(item->route, &p->messages[i], p->to[i].content, &err))
        return;
    report(p, &err);
    confirm(&refused, false);
    item->confirm = false;
}

void publisher_flush(struct publisher *p)
{
    struct run run = {.p = p};
    for (size_t i = 0; i < p->count; i++) {
        struct item *item = &p->items[i];
        address(p, i);
        beck_bus *bus = bus_of(p, item, &run);
        if (run.count > 0 && (bus != run.bus || item->synced != run.synced)) {
            append_run(&run);
            run.count = 0;
        }
        if (item->route->count > item->route->engine_count)
            append_to_streams(p, i);
        if (run.count == 0)
            run = (struct run){p, i, 0, item->synced, bus};
        run.count++;
    }
    if (run.count > 0)
        append_run(&run);
    publisher_clear(p);
}
