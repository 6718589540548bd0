/*
 * Batches of producers on their way to a bus.
 *
 * Where nobody reads events a batch goes to its partition unopened. Where somebody does, its records are looked at twice: before it is
 * stored, to route them, and then to call listeners. What they carry for the engine (which queues they are addressed to) is
 * the engine's to say: a batch whose records must say something else than they do is stored with that changed, as one
 * from which deduplication took records is stored without those; its offsets stay as they were.
 *
 * Of a transaction listeners are called when it is committed, so its batches are read again then.
 */
#include "bus/publish_impl.h"
#include "log/committer.h"

#include <stdlib.h>

#define DECOMPRESSED_MAX (256u << 20)

/* An opened batch, while it is produced. */
struct opened {
    struct publish u; /* its events are what routing and deduplication look at */
    struct produce *what;
    struct partition *p;
    struct batch_records records;
    struct codec codec;
    struct buf unpacked, changed, batch;
    struct record_view view;
    beck_event *events;
    struct bus_addressed *to; /* by the router */
    struct bus_router_out out;
    bool deduplicates, readdress;
};

static bool somebody_reads(const beck_bus *b)
{
    return subscribers_have_listeners(b->subscribers) ||
           atomic_load_explicit(&b->route_count, memory_order_acquire) > 0 ||
           atomic_load_explicit(&b->joined_count, memory_order_acquire) > 0 ||
           atomic_load_explicit(&b->router, memory_order_relaxed) ||
           atomic_load_explicit(&b->dedup_window_ms, memory_order_relaxed) > 0;
}

bool bus_has_events(const beck_bus *b)
{
    return atomic_load_explicit(&b->published, memory_order_relaxed) || somebody_reads(b);
}

/* ---- opening ---- */

static beck_status reserve(struct opened *o, beck_error *err)
{
    struct publish *u = &o->u;
    size_t n = (size_t)o->records.header.count;
    if (n > PUBLISH_EVENTS_MAX)
        return error_set(err, BECK_ELIMIT, "%zu records in one batch; at most %d", n,
                         PUBLISH_EVENTS_MAX);
    u->count = n;
    u->routes = u->stack_routes;
    u->route_cap = PUBLISH_ON_STACK;
    o->events = malloc(n * sizeof *o->events);
    o->to = calloc(n, sizeof *o->to);
    u->list = malloc(n * sizeof *u->list);
    u->stored = calloc(n, sizeof *u->stored);
    if (!o->events || !o->to || !u->list || !u->stored)
        return error_set(err, BECK_ENOMEM, "no memory to read a batch of %zu records", n);
    return BECK_OK;
}

/* Asks the router, and keeps of the event what does not lie in the view. */
static beck_status look_at(struct opened *o, size_t i, const struct bus_router *router,
                           beck_error *err)
{
    const struct record_view *v = &o->view;
    size_t before = o->out.count;
    o->readdress |= v->carried.queues.data != NULL;
    if (router) {
        beck_status status = router->fn(router->ctx, o->u.bus, &v->event, &o->out, err);
        if (status)
            return status;
    }
    o->to[i].queue_count = o->out.count - before;
    o->to[i].routed = router != NULL;
    o->readdress |= router != NULL;
    o->events[i] = v->event;
    o->events[i].extensions = NULL;
    o->events[i].extension_count = 0;
    if (v->event.id.data == v->id)
        o->events[i].id = (beck_bytes){0};
    o->u.list[i] = &o->events[i];
    return BECK_OK;
}

static beck_status open_batch(struct opened *o, beck_error *err)
{
    beck_bus *b = o->u.bus;
    beck_error why = {0};
    beck_bytes batch = bytes_of(o->what->batch, o->what->size);
    beck_status status = batch_records_open(&o->records, batch, &o->codec, &o->unpacked, &why);
    if (status)
        return error_set(err, status, "%s", why.text);
    status = reserve(o, err);
    struct batch_records r = o->records;
    caller_enter(o->u.self);
    const struct bus_router *router = atomic_load_explicit(&b->router, memory_order_acquire);
    for (size_t i = 0; i < o->u.count && !status; i++) {
        status = batch_records_next(&r, partition_context(o->p), &o->view, err);
        /* It has fewer than it says. */
        if (status == BECK_END)
            status = error_set(err, BECK_ECORRUPT, "damaged batch: records are missing");
        if (!status)
            status = look_at(o, i, router, err);
    }
    caller_leave(o->u.self);
    /* The array does not move any more. */
    for (size_t i = 0, at = 0; i < o->u.count && !status; at += o->to[i++].queue_count)
        o->to[i].queues = o->out.queues + at;
    if (!status)
        status = addressing_init(&o->u.addressing, b, o->u.self, o->events, o->to, o->u.count, err);
    o->u.addressing.out = o->out;
    o->u.to = o->to;
    return status;
}

static void opened_release(struct opened *o)
{
    struct publish *u = &o->u;
    addressing_release(&u->addressing, u->bus);
    publish_end(u);
    free((void *)u->list);
    free(u->stored);
    free(o->events);
    free(o->to);
    buf_release(&o->unpacked);
    buf_release(&o->changed);
    buf_release(&o->batch);
    codec_release(&o->codec);
}

/* ---- storing ---- */

/* With the records that are not known, addressed to whom they are for. */
static beck_status change_batch(struct opened *o, beck_error *err)
{
    const struct batch_header *h = &o->records.header;
    const struct carried *carried = o->u.addressing.carried;
    size_t at = 0;
    int32_t count = 0;
    int64_t max_timestamp_ms = -1;
    buf_clear(&o->changed);
    for (size_t i = 0; i < o->u.count; i++) {
        int64_t offset, timestamp_ms;
        beck_bytes key, whole;
        bool is_null;
        beck_status status = record_peek(o->records.records, &at, 0, h->base_timestamp_ms, &offset,
                                         &timestamp_ms, &key, &is_null, &whole, err);
        if (!status && o->u.stored[i].known)
            continue;
        if (!status &&
            record_readdress(&o->changed, whole, carried ? carried[i].queues : (beck_bytes){0}))
            status = error_set(err, BECK_ENOMEM, "no memory to address the records of a batch");
        if (status)
            return status;
        count++;
        if (timestamp_ms > max_timestamp_ms)
            max_timestamp_ms = timestamp_ms;
    }
    return batch_rewrite(h, buf_bytes(&o->changed), count, max_timestamp_ms, &o->codec, &o->batch,
                         err);
}

static beck_status route(struct opened *o, bool *known, beck_error *err)
{
    struct publish *u = &o->u;
    *known = false;
    if (o->deduplicates) {
        partition_find_known(o->p, u->list, u->count, u->stored);
        for (size_t i = 0; i < u->count; i++)
            *known |= u->stored[i].known;
    }
    u->one_by_one = o->deduplicates;
    return publish_route(u, u->count, u->stored, err);
}

static beck_status store(struct opened *o, beck_error *err)
{
    struct publish *u = &o->u;
    struct produce a = *o->what;
    bool known;
    for (;;) {
        a.generation = atomic_load_explicit(&u->bus->topology, memory_order_acquire);
        beck_status status = route(o, &known, err);
        if (!status && (known || o->readdress)) {
            status = change_batch(o, err);
            a.batch = o->batch.data;
            a.size = o->batch.len;
        } else {
            a.batch = o->what->batch;
            a.size = o->what->size;
        }
        if (status) {
            publish_drop_routes(u, o->p);
            return status;
        }
        a.routes = u->routes;
        a.route_count = u->route_count;
        if (o->deduplicates) {
            a.events = u->list;
            a.stored = u->stored;
            a.event_count = u->count;
        }
        status = partition_produce(o->p, &a, err);
        /* Routes of what was gathered went to the gather and come back from there. */
        if (a.duplicate || (status && a.first_offset < 0))
            publish_drop_routes(u, o->p);
        u->route_count = 0;
        if (status == PARTITION_STALE)
            continue;
        o->what->first_offset = a.first_offset;
        o->what->append_time_ms = a.append_time_ms;
        o->what->log_start = a.log_start;
        o->what->duplicate = a.duplicate;
        return status;
    }
}

static void call_listeners(struct opened *o)
{
    beck_bus *b = o->u.bus;
    struct batch_records r = o->records;
    uint32_t failed = 0;
    r.header.base_offset = o->what->first_offset;
    if (o->what->append_time) {
        r.header.attributes |= BATCH_LOG_APPEND_TIME;
        r.header.max_timestamp_ms = o->what->append_time_ms;
    }
    for (size_t i = 0; i < o->u.count; i++) {
        if (batch_records_next(&r, partition_context(o->p), &o->view, NULL))
            break;
        if (!o->u.stored[i].known)
            failed += publish_call_stored(b, o->u.self, &o->view.event);
    }
    if (failed > 0 && b->listener_failures)
        counter_add(b->listener_failures, failed);
}

/* ---- */

static bool is_transactional(const struct produce *what)
{
    struct batch_header h;
    return !batch_header_read(what->batch, &h, NULL) && (h.attributes & BATCH_TRANSACTIONAL);
}

static beck_status produce_opened(struct opened *o, beck_bus *b, struct partition *p,
                                  struct caller *self, struct produce *what, beck_error *err)
{
    static const beck_publish_options none;
    o->u.bus = b;
    o->u.self = self;
    o->u.options = &none;
    o->what = what;
    o->p = p;
    /* What a transaction wrote may be aborted: then it is no reason to refuse the same again. */
    o->deduplicates = atomic_load_explicit(&b->dedup_window_ms, memory_order_relaxed) > 0 &&
                      !is_transactional(what);
    codec_init(&o->codec);
    buf_init(&o->unpacked, DECOMPRESSED_MAX);
    buf_init(&o->changed, DECOMPRESSED_MAX);
    buf_init(&o->batch, DECOMPRESSED_MAX);
    beck_status status = open_batch(o, err);
    if (!status)
        status = store(o, err);
    /* Those of a transaction are nobody's before it is committed. */
    if (!status && !what->duplicate && subscribers_have_listeners(b->subscribers) &&
        !is_transactional(what))
        call_listeners(o);
    opened_release(o);
    return status;
}

/* ---- transactions ---- */

struct committed {
    beck_bus *b;
    struct partition *p;
    struct caller *self;
    int64_t producer_id;
    struct codec codec;
    struct buf unpacked;
    uint32_t failed;
};

static beck_status call_for_batch(void *ctx, const struct batch_header *h, beck_bytes batch,
                                  beck_error *err)
{
    struct committed *c = ctx;
    struct batch_records r;
    struct record_view view;
    if (h->producer_id != c->producer_id || (h->attributes & BATCH_CONTROL))
        return BECK_OK;
    buf_clear(&c->unpacked);
    beck_status status = batch_records_open(&r, batch, &c->codec, &c->unpacked, err);
    while (!status && !(status = batch_records_next(&r, partition_context(c->p), &view, err)))
        c->failed += publish_call_stored(c->b, c->self, &view.event);
    return status == BECK_END ? BECK_OK : status;
}

void bus_call_committed(beck_bus *b, uint32_t partition, const struct transaction_end *e)
{
    struct committed c = {.b = b,
                          .p = bus_partition(b, partition),
                          .self = callers_self(b->callers),
                          .producer_id = e->producer_id};
    beck_error err = {0};
    beck_status status = BECK_OK;
    if (!e->commit || e->first_offset < 0 || e->offset < 0 ||
        !subscribers_have_listeners(b->subscribers))
        return;
    codec_init(&c.codec);
    buf_init(&c.unpacked, DECOMPRESSED_MAX);
    if (c.self)
        status = partition_each_batch(c.p, e->first_offset, e->offset, call_for_batch, &c, &err);
    else
        status = error_set(&err, BECK_ENOMEM, "no memory for this thread");
    if (status)
        env_report(
            b->env, status,
            "listeners of bus \"%s\" were not called for all that a transaction committed: %s",
            b->name, err.text);
    if (c.failed > 0 && b->listener_failures)
        counter_add(b->listener_failures, c.failed);
    codec_release(&c.codec);
    buf_release(&c.unpacked);
}

/* ---- */

/* By the bus's own name, which is the type of what says nothing else: who sent a batch that is not opened
 * said no type. */
static void count_produced(beck_bus *b, struct caller *self, uint64_t count)
{
    caller_enter(self);
    const struct match *m = subscribers_match(b->subscribers, self, bytes_of(b->name, b->name_len));
    if (m && m->published)
        counter_add(m->published, count);
    caller_leave(self);
}

beck_status bus_produce(beck_bus *b, uint32_t partition, struct produce *what, beck_error *err)
{
    struct batch_header h;
    struct opened *o;
    what->first_offset = what->append_time_ms = -1;
    what->duplicate = false;
    if (atomic_load_explicit(&b->closed, memory_order_acquire))
        return error_set(err, BECK_ECLOSED, "bus \"%s\" has been deleted", b->name);
    uint32_t count = atomic_load_explicit(&b->partition_count, memory_order_acquire);
    if (partition >= count)
        return error_set(err, BECK_EINVAL, "bus \"%s\" has no partition %u; it has 0 to %u",
                         b->name, partition, count - 1);
    beck_status status = batch_header_read(what->batch, &h, err);
    if (status)
        return status;
    struct caller *self = callers_self(b->callers);
    if (!self)
        return error_set(err, BECK_ENOMEM, "no memory for this thread");
    struct partition *p = bus_partition(b, partition);
    if (what->level == BECK_LEVEL_DEFAULT)
        what->level = (beck_level)atomic_load_explicit(&b->level, memory_order_relaxed);
    for (;;) {
        what->generation = atomic_load_explicit(&b->topology, memory_order_acquire);
        if (somebody_reads(b)) {
            o = calloc(1, sizeof *o);
            if (!o)
                return error_set(err, BECK_ENOMEM, "no memory to read a batch");
            status = produce_opened(o, b, p, self, what, err);
            free(o);
            break;
        }
        status = partition_produce(p, what, err);
        if (status != PARTITION_STALE)
            break;
    }
    if (!status && !what->duplicate)
        count_produced(b, self, (uint64_t)h.count);
    return status;
}
