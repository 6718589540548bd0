/*
 * Storing what producers send: whole batches, of which only the place is set.
 *
 * A batch stays one of its own. While somebody writes, or where a sync is waited for anyway, small ones are gathered back to
 * back and written at once; otherwise a batch goes from the producer's memory to the file. A gather holds either events or batches,
 * so that its write succeeds or fails as a whole.
 *
 * What is known of idempotent producers is what was written. A batch whose producer has others that are gathered must
 * follow the last of those; anything else waits until they are written, or are not.
 */
#include "log/partition_impl.h"

#include <assert.h>
#include <stdlib.h>

#define COPIED_MAX (32u << 10) /* a larger batch is not copied where it can be written at once */

/* ---- idempotent producers ---- */

static const struct pending *last_pending(const struct gather *g, int64_t producer_id)
{
    for (size_t i = g ? g->pending_count : 0; i-- > 0;)
        if (g->pending[i].producer_id == producer_id)
            return &g->pending[i];
    return NULL;
}

/* 2^31-1 is followed by 0; nothing follows a batch without a sequence. */
static int32_t next_sequence(const struct batch_header *h)
{
    uint32_t next = (uint32_t)h->base_sequence + (uint32_t)h->last_offset_delta + 1;
    return h->base_sequence < 0 ? INT32_MIN : (int32_t)(next & INT32_MAX);
}

static beck_status add_pending(struct gather *g, const struct batch_header *h, beck_error *err)
{
    if (h->producer_id < 0)
        return BECK_OK;
    if (g->pending_count == g->pending_cap) {
        size_t cap = g->pending_cap ? g->pending_cap * 2 : 8;
        struct pending *grown = realloc(g->pending, cap * sizeof *grown);
        if (!grown)
            return error_set(err, BECK_ENOMEM, "no memory for a batch of a producer");
        g->pending = grown;
        g->pending_cap = cap;
    }
    g->pending[g->pending_count++] =
        (struct pending){.producer_id = h->producer_id,
                         .next_sequence = next_sequence(h),
                         .epoch = h->producer_epoch,
                         .transactional = (h->attributes & BATCH_TRANSACTIONAL) != 0};
    return BECK_OK;
}

static bool follows(const struct batch_header *h, const struct pending *last)
{
    return h->base_sequence == last->next_sequence && h->producer_epoch == last->epoch &&
           ((h->attributes & BATCH_TRANSACTIONAL) != 0) == last->transactional;
}

/* With the lock. *wait: what is gathered must be written before that can be said. */
static beck_status check_producer(struct partition *p, struct produce *a,
                                  const struct batch_header *h, bool *wait, beck_error *err)
{
    const struct pending *last = NULL;
    if (h->producer_id < 0)
        return BECK_OK;
    last = last_pending(p->gather, h->producer_id);
    if (!last)
        last = last_pending(p->taken, h->producer_id);
    *wait = last && !follows(h, last);
    return last ? BECK_OK : producers_check(p->producers, h, &a->first_offset, err);
}

/* ---- the place in the gather ---- */

/* One write goes to one segment. */
static bool fits(const struct partition *p, const struct produce *a, const struct batch_header *h)
{
    const struct gather *g = p->gather;
    if (gather_is_empty(g))
        return true;
    int64_t bytes = (int64_t)(g->copied.len + a->size);
    return g->batches > 0 && !p->options.memory && bytes <= (int64_t)GATHER_BYTES &&
           bytes <= p->options.bus.segment_bytes &&
           p->next + h->last_offset_delta - g->first_offset <= INT32_MAX;
}

/* Those that were not known are new still, and the others are stored. */
static beck_status check_known(struct partition *p, const struct produce *a, int64_t now_ms)
{
    for (size_t i = 0; i < a->event_count; i++) {
        int64_t offset;
        const beck_event *e = a->events[i];
        if (e->id.len && dedup_find(p->dedup, partition_source(p, e), e->id, now_ms, &offset) !=
                             a->stored[i].known)
            return PARTITION_STALE;
    }
    return BECK_OK;
}

/* Waits until the batch has a place: then nothing has changed since it was found to be acceptable. With the lock. */
static beck_status find_place(struct partition *p, struct produce *a, const struct batch_header *h,
                              beck_error *err)
{
    for (;;) {
        bool wait = false;
        beck_status status = partition_admit(p, a->generation, err);
        if (!status)
            status = check_producer(p, a, h, &wait, err);
        if (status)
            return status;
        if (wait || (p->dedup && (p->writing || !gather_is_empty(p->gather)))) {
            status = partition_drain(p, err);
        } else if (!fits(p, a, h)) {
            status = partition_write_until(p, NULL, err);
        } else {
            /* What is gathered is never without the memory to write it. */
            status = gather_reserve(p, err);
            return status ? status : partition_check_memory(p, err);
        }
        if (status)
            return status;
    }
}

static void set_append_time(struct produce *a, int64_t now_ms)
{
    struct batch_header h;
    beck_status status = batch_header_read(a->batch, &h, NULL);
    assert(!status);
    (void)status;
    h.attributes |= BATCH_LOG_APPEND_TIME;
    h.max_timestamp_ms = a->append_time_ms = now_ms;
    batch_header_write(a->batch, &h);
    batch_seal(a->batch, a->size);
}

static beck_status remember_events(struct partition *p, const struct produce *a, int64_t now_ms)
{
    for (size_t i = 0; i < a->event_count; i++) {
        const beck_event *e = a->events[i];
        if (e->id.len && !a->stored[i].known &&
            dedup_add(p->dedup, partition_source(p, e), e->id, now_ms, p->next + (int64_t)i))
            return BECK_ENOMEM;
    }
    return BECK_OK;
}

/* Puts the batch into the gather; after an error that is as before. With the lock. */
static beck_status gather_batch(struct partition *p, struct produce *a,
                                const struct batch_header *h, bool lend, beck_error *err)
{
    struct gather *g = p->gather;
    size_t routes = g->route_count, pending = g->pending_count;
    int64_t now_ms = clock_wall_ms(p->env->clock);
    if (a->append_time)
        set_append_time(a, now_ms);
    batch_place(a->batch, p->next, 0);
    beck_status status = p->dedup ? check_known(p, a, now_ms) : BECK_OK;
    if (!status)
        status = add_pending(g, h, err);
    for (size_t i = 0; i < a->route_count && !status; i++)
        status = gather_route(g, &a->routes[i], p->next + a->routes[i].offset);
    if (!status && p->dedup)
        status = remember_events(p, a, now_ms);
    if (!status && !lend)
        status = buf_append(&g->copied, a->batch, a->size);
    if (status) {
        if (p->dedup)
            dedup_forget_from(p->dedup, p->next);
        g->route_count = routes;
        g->pending_count = pending;
        return status == PARTITION_STALE
                   ? status
                   : error_set(err, status, "no memory for a batch of bus \"%s\"", p->bus);
    }
    if (lend)
        g->lent = bytes_of(a->batch, a->size);
    if (g->batches++ == 0)
        g->first_offset = p->next;
    a->first_offset = p->next;
    p->next += h->last_offset_delta + 1;
    return BECK_OK;
}

/* ---- */

/* Whether it is written from where it lies, by this thread, right now. */
static bool writes_at_once(struct partition *p, const struct produce *a,
                           const struct batch_header *h, beck_level level, bool later)
{
    if (p->writing || !gather_is_empty(p->gather))
        return false;
    if (a->size > GATHER_BYTES || p->options.memory)
        return true;
    if (level != BECK_LEVEL_SYNCED)
        return true;
    /* A new segment, or a first one, waits for a sync, which who leaves a completion does not. */
    return a->size > COPIED_MAX && !(later && (p->dormant || partition_must_roll(p, h)));
}

/* A batch larger than a gather waits for its turn to be written from where it lies. With the lock. */
static beck_status wait_turn(struct partition *p, struct produce *a, const struct batch_header *h,
                             beck_error *err)
{
    beck_status status = find_place(p, a, h, err);
    while (!status && a->size > GATHER_BYTES && (p->writing || !gather_is_empty(p->gather))) {
        status = partition_drain(p, err);
        if (!status)
            status = find_place(p, a, h, err);
    }
    return status;
}

bool partition_waits_to_produce(struct partition *p, const struct batch_header *h)
{
    struct batch_header placed = *h;
    if (p->options.memory)
        return false;
    mutex_lock(&p->lock);
    placed.base_offset = p->written;
    bool waits = p->dormant || partition_must_roll(p, &placed) || (p->writing && p->syncing);
    mutex_unlock(&p->lock);
    return waits;
}

beck_status partition_produce(struct partition *p, struct produce *a, beck_error *err)
{
    struct batch_header h;
    struct synced_completion *completion;
    beck_level level = a->level;
    a->first_offset = a->append_time_ms = -1;
    a->duplicate = false;
    beck_status status = batch_header_read(a->batch, &h, err);
    if (!status && p->options.memory && (h.attributes & BATCH_TRANSACTIONAL))
        status = error_set(err, BECK_EUNSUPPORTED,
                           "bus \"%s\" is in memory: it has no transactions", p->bus);
    if (!status)
        status = partition_begin(p, &level, a->done, a->done_ctx, &completion, err);
    if (status)
        return status;
    partition_begin_append(p);
    a->log_start = p->first;
    status = wait_turn(p, a, &h, err);
    a->duplicate = status == BECK_EDUPLICATE;
    if (a->duplicate)
        return partition_conclude_stored(p, level, completion, status, a->first_offset, err);
    struct gather *g = p->gather;
    bool lend = !status && writes_at_once(p, a, &h, level, completion != NULL);
    if (!status)
        status = gather_batch(p, a, &h, lend, err);
    if (!status && lend) {
        g->refs++;
        status = partition_write_until(p, g, err);
        assert(g->done);
        if (!status && g->status)
            status = error_set(err, g->status, "%s", g->error.text);
        if (!status && level == BECK_LEVEL_SYNCED) {
            gather_unref(p, g);
            p->awaited++;
            return partition_conclude_stored(p, level, completion, BECK_OK, a->first_offset, err);
        }
        gather_unref(p, g);
        bool mark = !status && !p->options.memory && committer_by_interval(p->env->committer);
        mutex_unlock(&p->lock);
        if (mark)
            committer_mark(p->env->committer, p);
        free(completion);
        return status;
    }
    if (status) {
        mutex_unlock(&p->lock);
        free(completion);
        return status;
    }
    return partition_conclude(p, g, level, completion, a->first_offset, err);
}
