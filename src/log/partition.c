/*
 * Publishing to a partition, and making it durable: see partition.h.
 *
 * Events are encoded straight into the gather, the batch that will be written, so gathering costs nothing beyond the encoding. How it is written is in partition_write.c; opening and
 * recovery are in partition_open.c, retention and compaction in partition_maintain.c.
 */
#include "log/partition_impl.h"

#include "base/forks.h"

#include <assert.h>
#include <stdlib.h>

/* ---- publishing ---- */

static beck_status refuse_size(const struct partition *p, size_t size, beck_error *err)
{
    return error_set(err, BECK_ELIMIT,
                     "the event takes %zu bytes, more than event_bytes_max = %u of bus \"%s\"; "
                     "publish less data or raise the limit",
                     size, p->options.bus.event_bytes_max, p->bus);
}

beck_status partition_drain(struct partition *p, beck_error *err)
{
    beck_status status = BECK_OK;
    while (!status && (p->writing || !gather_is_empty(p->gather))) {
        if (p->writing)
            cond_wait(&p->changed, &p->lock);
        else
            status = partition_write_until(p, NULL, err);
    }
    return status;
}

/* Waits for room in the gather, and for one of events. With the lock. */
static beck_status make_room(struct partition *p, beck_error *err)
{
    while (p->gather->builder.bytes.len > GATHER_BYTES || p->gather->batches > 0) {
        if (p->writing) {
            cond_wait(&p->changed, &p->lock);
            continue;
        }
        beck_status status = partition_write_until(p, NULL, err);
        if (status)
            return status;
    }
    return BECK_OK;
}

beck_status partition_check_memory(const struct partition *p, beck_error *err)
{
    int64_t max =
        p->options.bus.retention_bytes ? p->options.bus.retention_bytes : MEMORY_BYTES_DEFAULT;
    if (!p->options.memory || tail_bytes(&p->tail) < max)
        return BECK_OK;
    return error_set(err, BECK_ELIMIT,
                     "the queues of memory bus \"%s\" hold %lld bytes of events; settle them, or "
                     "raise retention_bytes",
                     p->bus, (long long)tail_bytes(&p->tail));
}

static beck_status gather_event(struct partition *p, const beck_event *e,
                                const struct carried *carried, int64_t timestamp_ms,
                                beck_error *err)
{
    struct batch_builder *b = &p->gather->builder;
    size_t limit = p->options.bus.event_bytes_max, before = b->bytes.len;
    if (e->data.len > limit)
        return refuse_size(p, e->data.len, err);
    beck_status status = batch_builder_add_carried(b, e, carried, p->context.bus, timestamp_ms);
    if (status == BECK_ELIMIT)
        return error_set(err, status,
                         "more than %u bytes of events in one publish; publish fewer at once",
                         GATHER_BYTES_MAX);
    if (status)
        return error_set(err, status, "no memory for events of bus \"%s\"", p->bus);
    size_t size = b->bytes.len - (before ? before : BATCH_HEADER);
    return size > limit ? refuse_size(p, size, err) : BECK_OK;
}

/* Adds the events to the gather. On failure the gather is as before. With the lock. */
static beck_status gather_events(struct partition *p, struct append *a, beck_error *err)
{
    struct gather *g = p->gather;
    struct batch_builder before = g->builder;
    size_t routes_before = g->route_count, route = 0;
    int64_t next_before = p->next, now_ms = clock_wall_ms(p->env->clock);
    beck_status status = BECK_OK;
    bool full = p->options.memory && partition_check_memory(p, NULL);
    if (g->builder.count == 0)
        g->first_offset = p->next;
    a->first_offset = -1;
    a->duplicates = 0;
    for (size_t i = 0; i < a->count && !status; i++) {
        const beck_event *e = a->events[i];
        int64_t offset = p->next, timestamp_ms = e->time_ns ? e->time_ns / 1000000 : now_ms;
        bool known = p->dedup && e->id.len &&
                     dedup_find(p->dedup, partition_source(p, e), e->id, now_ms, &offset);
        if (a->look_at_known && a->stored[i].known && !known)
            status = PARTITION_STALE; /* it has no routes */
        if (a->first_offset < 0)
            a->first_offset = offset;
        if (!known && !status && full)
            status = partition_check_memory(p, err);
        if (!known && !status) {
            status = gather_event(p, e, a->carried ? &a->carried[i] : NULL, timestamp_ms, err);
            if (!status && p->dedup && e->id.len)
                status = dedup_add(p->dedup, partition_source(p, e), e->id, now_ms, offset);
            p->next += !status;
        }
        a->duplicates += known;
        if (a->stored)
            a->stored[i] = (struct stored){offset, known};
        for (; route < a->route_count && a->routes[route].offset == (int64_t)i; route++) {
            if (p->dedup && a->routes[route].count > 1)
                status = PARTITION_STALE; /* nobody deduplicated when they were made */
            if (!status && !known)
                status = gather_route(g, &a->routes[route], offset);
        }
    }
    if (status) {
        if (p->dedup)
            dedup_forget_from(p->dedup, next_before);
        g->builder.bytes.len = before.bytes.len;
        g->builder.count = before.count;
        g->builder.last = before.last;
        g->builder.base_timestamp_ms = before.base_timestamp_ms;
        g->builder.max_timestamp_ms = before.max_timestamp_ms;
        g->route_count = routes_before;
        p->next = next_before;
        a->first_offset = -1;
    }
    return status;
}

void partition_find_known(struct partition *p, const beck_event *const *events, size_t count,
                          struct stored *stored)
{
    int64_t now_ms = clock_wall_ms(p->env->clock), offset;
    mutex_lock(&p->lock);
    for (size_t i = 0; i < count; i++) {
        const beck_event *e = events[i];
        stored[i].known = p->dedup && e->id.len &&
                          dedup_find(p->dedup, partition_source(p, e), e->id, now_ms, &offset);
    }
    mutex_unlock(&p->lock);
}

struct synced_completion {
    struct completion completion;
    struct partition *p;
    struct gather *g; /* NULL: it is written already, with the result `stored` */
    beck_status stored;
    void (*done)(void *ctx, beck_status status, int64_t first_offset);
    void *ctx;
    int64_t first_offset;
};

static beck_status result_of(struct partition *p, struct gather *g, beck_error *err)
{
    assert(g->done);
    if (g->status)
        return error_set(err, g->status, "%s", g->error.text);
    return p->poisoned ? partition_say_poisoned(p, err) : BECK_OK;
}

/* The round had no memory for a sync: once more, by whoever has to know. What is written cannot be refused any more,
 * so without memory for this one either it is as with a sync that failed. The lock is held on entry and exit, and
 * free meanwhile. */
static beck_status be_synced(struct partition *p, int64_t offset, beck_error *err)
{
    if (p->poisoned)
        return partition_say_poisoned(p, err);
    if (p->options.memory || p->synced > offset)
        return BECK_OK;
    mutex_unlock(&p->lock);
    beck_error why;
    error_clear(&why);
    beck_status status = partition_sync(p, &why);
    mutex_lock(&p->lock);
    if (status)
        partition_poison(p, "a sync", &why);
    return status ? partition_say_poisoned(p, err) : BECK_OK;
}

/* What has become of a gather, behind the round; gives back the reference. With the lock. */
static beck_status conclude_gather(struct partition *p, struct gather *g)
{
    beck_status status = BECK_OK;
    if (!g->done && !gather_is_empty(g))
        status = partition_write_until(p, g, NULL);
    if (!g->done) {
        g->refs--;
        return status;
    }
    status = result_of(p, g, NULL);
    if (!status)
        status = be_synced(p, g->first_offset, NULL);
    gather_unref(p, g);
    return status;
}

static void run_completion(struct completion *completion)
{
    struct synced_completion *c = (struct synced_completion *)completion;
    mutex_lock(&c->p->lock);
    beck_status status =
        c->g ? conclude_gather(c->p, c->g) : be_synced(c->p, c->first_offset, NULL);
    if (!c->g && !status)
        status = c->stored;
    mutex_unlock(&c->p->lock);
    c->done(c->ctx, status, c->first_offset);
    partition_unref(c->p);
    free(c);
}

/* Waits until the gather, on which the caller has a reference, is synced. Lock held on entry, free
 * on exit. */
static beck_status wait_synced(struct partition *p, struct gather *g, beck_error *err)
{
    /* Stored earlier, by deduplication. */
    bool all_known = !g->done && gather_is_empty(g);
    g->refs += !all_known;
    mutex_unlock(&p->lock);
    committer_sync(p->env->committer, p);
    mutex_lock(&p->lock);
    beck_status status = BECK_OK;
    /* The round could not write it when memory was short. */
    if (!all_known && !g->done)
        status = partition_write_until(p, g, err);
    if (all_known)
        status = p->poisoned ? partition_say_poisoned(p, err) : BECK_OK;
    else if (!status)
        status = result_of(p, g, err);
    if (!status && !all_known)
        status = be_synced(p, g->first_offset, err);
    if (!all_known && g->done)
        gather_unref(p, g);
    else if (!all_known)
        g->refs--;
    mutex_unlock(&p->lock);
    return status;
}

beck_status partition_check_fork(const struct partition *p, beck_error *err)
{
    if (p->options.memory || p->forks == forks_count())
        return BECK_OK;
    return error_set(err, BECK_EINVAL,
                     "this process is a fork of the one that opened \"%s\", and cannot write to "
                     "it: open the data directory in this process, after fork()",
                     p->dir);
}

beck_status partition_admit(struct partition *p, uint64_t generation, beck_error *err)
{
    if (p->poisoned)
        return partition_say_poisoned(p, err);
    if (p->env->read_only)
        return error_set(err, BECK_EINVAL, "the data directory is open for reading only");
    if (partition_check_fork(p, err))
        return BECK_EINVAL;
    if (p->options.generation &&
        atomic_load_explicit(p->options.generation, memory_order_acquire) != generation)
        return PARTITION_STALE;
    return BECK_OK;
}

void partition_begin_append(struct partition *p)
{
    mutex_lock(&p->lock);
    while (p->pausing > 0)
        cond_wait(&p->changed, &p->lock);
}

/* Waits to take over from a writer that has written for others long enough. With the lock. */
static void succeed(struct partition *p)
{
    p->heirs++;
    while (p->writing)
        cond_wait(&p->changed, &p->lock);
    p->heirs--;
}

beck_status partition_begin(struct partition *p, beck_level *level,
                            void (*done)(void *, beck_status, int64_t), void *ctx,
                            struct synced_completion **out, beck_error *err)
{
    *out = NULL;
    if (*level == BECK_LEVEL_SYNCED &&
        (p->options.memory || committer_by_interval(p->env->committer)))
        *level = BECK_LEVEL_WRITTEN;
    if (!done || *level != BECK_LEVEL_SYNCED)
        return BECK_OK;
    *out = malloc(sizeof **out);
    if (!*out)
        return error_set(err, BECK_ENOMEM, "no memory for a completion");
    **out = (struct synced_completion){.p = p, .done = done, .ctx = ctx};
    return BECK_OK;
}

/* Lock held on entry, free on exit. */
static void queue_completion(struct synced_completion *c, struct gather *g, beck_status stored,
                             int64_t first_offset)
{
    struct partition *p = c->p;
    c->completion.run = run_completion;
    c->g = g;
    c->stored = stored;
    c->first_offset = first_offset;
    if (g)
        g->refs++;
    /* It may be closed before the completion has had its turn. */
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    mutex_unlock(&p->lock);
    committer_queue(p->env->committer, p, &c->completion);
}

beck_status partition_conclude(struct partition *p, struct gather *g, beck_level level,
                               struct synced_completion *completion, int64_t first_offset,
                               beck_error *err)
{
    beck_status status = BECK_OK;
    p->awaited += level == BECK_LEVEL_SYNCED;
    if (completion) {
        queue_completion(completion, g, BECK_OK, first_offset);
        return BECK_OK;
    }
    if (level == BECK_LEVEL_SYNCED)
        return wait_synced(p, g, err);
    if (level == BECK_LEVEL_NONE && !g->done) {
        g->orphan = true;
        if (p->writing && !p->long_turn) {
            mutex_unlock(&p->lock);
            return BECK_OK;
        }
    }
    g->refs++;
    if (level == BECK_LEVEL_NONE && p->writing && !g->done)
        succeed(p);
    if (g->done || !gather_is_empty(g))
        status = partition_write_until(p, g, err);
    if (g->done) {
        status = status ? status : result_of(p, g, err);
        gather_unref(p, g);
    } else {
        /* Nothing of this call was new, and nothing else was gathered. */
        g->refs--;
    }
    bool mark = !status && !p->options.memory && committer_by_interval(p->env->committer);
    mutex_unlock(&p->lock);
    if (mark)
        committer_mark(p->env->committer, p);
    return status;
}

beck_status partition_conclude_stored(struct partition *p, beck_level level,
                                      struct synced_completion *completion, beck_status result,
                                      int64_t first_offset, beck_error *err)
{
    if (completion) {
        queue_completion(completion, NULL, result, first_offset);
        return BECK_OK;
    }
    mutex_unlock(&p->lock);
    if (level != BECK_LEVEL_SYNCED)
        return result;
    committer_sync(p->env->committer, p);
    mutex_lock(&p->lock);
    beck_status status = be_synced(p, first_offset, err);
    mutex_unlock(&p->lock);
    return status ? status : result;
}

beck_status partition_append(struct partition *p, struct append *a, beck_error *err)
{
    assert(a->count > 0);
    beck_level level = a->level;
    struct synced_completion *completion;
    a->first_offset = -1;
    beck_status status = partition_begin(p, &level, a->done, a->done_ctx, &completion, err);
    if (status)
        return status;
    partition_begin_append(p);
    /* With deduplication the first of two must be stored, or have failed, before the second is
     * answered. */
    status = p->dedup ? partition_drain(p, err) : make_room(p, err);
    /* What is gathered is never without the memory to write it. */
    if (!status)
        status = gather_reserve(p, err);
    if (!status)
        status = partition_admit(p, a->generation, err);
    if (!status)
        status = gather_events(p, a, err);
    if (status) {
        mutex_unlock(&p->lock);
        free(completion);
        return status;
    }
    return partition_conclude(p, p->gather, level, completion, a->first_offset, err);
}

/* ---- durability ---- */

void partition_write(struct partition *p)
{
    mutex_lock(&p->lock);
    while (p->writing)
        cond_wait(&p->changed, &p->lock);
    if (!gather_is_empty(p->gather))
        partition_write_until(p, NULL, NULL);
    mutex_unlock(&p->lock);
}

beck_status partition_sync(struct partition *p, beck_error *err)
{
    if (p->damage)
        return BECK_OK;
    mutex_lock(&p->lock);
    while (p->writing)
        cond_wait(&p->changed, &p->lock);
    beck_status status = gather_is_empty(p->gather) ? BECK_OK : partition_write_until(p, NULL, err);
    if (p->poisoned)
        status = partition_say_poisoned(p, err);
    if (status || p->options.memory || p->synced == p->written) {
        mutex_unlock(&p->lock);
        return status;
    }
    while (p->syncing)
        cond_wait(&p->changed, &p->lock);
    if (p->poisoned || p->synced == p->written) {
        status = p->poisoned ? partition_say_poisoned(p, err) : BECK_OK;
        mutex_unlock(&p->lock);
        return status;
    }
    int64_t target = p->written, oldest = producers_oldest(p->producers);
    p->syncing = true;
    p->unsynced_bytes = 0;
    /* Rolling syncs what it leaves: only the active segment can be dirty. */
    struct segment *active = p->segments[p->segment_count - 1];
    bool dir_dirty = p->dir_dirty;
    uint64_t name = p->name;
    p->dir_dirty = false;
    active->users++;
    mutex_unlock(&p->lock);
    beck_error why;
    error_clear(&why);
    status = segment_sync(active, &why);
    bool tried = status != BECK_OK; /* what it did to the file is unknown, whatever the error */
    if (!status)
        status = partition_sync_names(p, dir_dirty, name, &why);
    mutex_lock(&p->lock);
    if (!status)
        p->name = NAME_SYNCED;
    segment_unuse(active);
    p->syncing = false;
    cond_broadcast(&p->changed);
    if (status == BECK_ENOMEM && !tried) {
        p->dir_dirty |= dir_dirty;
        error_set(err, status, "%s", why.text);
    } else if (status) {
        partition_poison(p, "a sync", &why);
        status = partition_say_poisoned(p, err);
    } else if (target > p->synced) {
        p->synced = target;
        p->synced_oldest = oldest;
        partition_move_visible(p);
        partition_release_held(p);
    }
    mutex_unlock(&p->lock);
    return status;
}

bool partition_mark(struct partition *p)
{
    bool fresh = !p->marked;
    p->marked = true;
    return fresh;
}

void partition_unmark(struct partition *p)
{
    p->marked = false;
}
