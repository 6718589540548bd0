/*
 * Publishing to a partition, and making it durable: see partition.h.
 *
 * Events are encoded straight into the gather, the batch that will be written, so gathering costs nothing beyond the encoding. How it is written is in partition_write.c; opening and
 * recovery are in partition_open.c, retention and compaction in partition_maintain.c.
 */
#include "log/partition_impl.h"

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

/* Waits until nobody writes and nothing is gathered. With the lock. */
static beck_status drain(struct partition *p, beck_error *err)
{
    beck_status status = BECK_OK;
    while (!status && (p->writing || p->gather->builder.count > 0)) {
        if (p->writing)
            cond_wait(&p->changed, &p->lock);
        else
            status = partition_write_until(p, NULL, err);
    }
    return status;
}

/* Waits for room in the gather. With the lock. */
static beck_status make_room(struct partition *p, beck_error *err)
{
    while (p->gather->builder.bytes.len > GATHER_BYTES) {
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

/* Of something new: what is known already gets its answer however full it is. */
static beck_status check_memory(const struct partition *p, beck_error *err)
{
    int64_t max =
        p->options.bus.retention_bytes ? p->options.bus.retention_bytes : MEMORY_BYTES_DEFAULT;
    if (!p->options.memory || p->memory_bytes < max)
        return BECK_OK;
    return error_set(err, BECK_ELIMIT,
                     "the queues of memory bus \"%s\" hold %lld bytes of events; settle them, or "
                     "raise retention_bytes",
                     p->bus, (long long)p->memory_bytes);
}

static beck_status gather_event(struct partition *p, const beck_event *e,
                                const struct carried *carried, int64_t timestamp_ms,
                                beck_error *err)
{
    struct batch_builder *b = &p->gather->builder;
    size_t limit = p->options.bus.event_bytes_max, before = b->bytes.len;
    if (e->data.len > limit)
        return refuse_size(p, e->data.len, err);
    beck_status status = check_memory(p, err);
    if (status)
        return status;
    status = batch_builder_add_carried(b, e, carried, p->context.bus, timestamp_ms);
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
    if (g->builder.count == 0)
        g->first_offset = p->next;
    a->first_offset = -1;
    a->duplicates = 0;
    for (size_t i = 0; i < a->count && !status; i++) {
        const beck_event *e = a->events[i];
        int64_t offset = p->next, timestamp_ms = e->time_ns ? e->time_ns / 1000000 : now_ms;
        bool known =
            p->dedup && e->id.len && dedup_find(p->dedup, e->source, e->id, now_ms, &offset);
        if (p->dedup && a->stored && a->stored[i].known && !known)
            status = PARTITION_STALE; /* it has no routes */
        if (a->first_offset < 0)
            a->first_offset = offset;
        if (!known && !status) {
            status = gather_event(p, e, a->carried ? &a->carried[i] : NULL, timestamp_ms, err);
            if (!status && p->dedup && e->id.len)
                status = dedup_add(p->dedup, e->source, e->id, now_ms, offset);
            p->next += !status;
        }
        a->duplicates += known;
        if (a->stored)
            a->stored[i] = (struct stored){offset, known};
        for (; route < a->route_count && a->routes[route].offset == (int64_t)i; route++)
            if (!status && !known)
                status = gather_route(g, &a->routes[route], offset, timestamp_ms);
    }
    if (status) {
        if (p->dedup)
            dedup_forget_from(p->dedup, next_before);
        g->builder.bytes.len = before.bytes.len;
        g->builder.count = before.count;
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
        stored[i].known =
            p->dedup && e->id.len && dedup_find(p->dedup, e->source, e->id, now_ms, &offset);
    }
    mutex_unlock(&p->lock);
}

struct synced_completion {
    struct completion completion;
    struct partition *p;
    struct gather *g;
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

static void run_completion(struct completion *completion)
{
    struct synced_completion *c = (struct synced_completion *)completion;
    mutex_lock(&c->p->lock);
    beck_status status = BECK_OK;
    if (!c->g->done && c->g->builder.count > 0)
        status = partition_write_until(c->p, c->g, NULL);
    if (c->g->done) {
        status = result_of(c->p, c->g, NULL);
        gather_unref(c->p, c->g);
    } else {
        c->g->refs--;
    }
    mutex_unlock(&c->p->lock);
    c->done(c->ctx, status, c->first_offset);
    partition_unref(c->p);
    free(c);
}

/* Waits until the gather, on which the caller has a reference, is synced. Lock held on entry, free
 * on exit. */
static beck_status wait_synced(struct partition *p, struct gather *g, beck_error *err)
{
    bool all_known = g->builder.count == 0; /* stored earlier, by deduplication */
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
    if (!all_known && g->done)
        gather_unref(p, g);
    else if (!all_known)
        g->refs--;
    mutex_unlock(&p->lock);
    return status;
}

static beck_status admit(struct partition *p, uint64_t generation, beck_error *err)
{
    if (p->poisoned)
        return partition_say_poisoned(p, err);
    if (p->env->read_only)
        return error_set(err, BECK_EINVAL, "the data directory is open for reading only");
    if (p->options.generation &&
        atomic_load_explicit(p->options.generation, memory_order_acquire) != generation)
        return PARTITION_STALE;
    return BECK_OK;
}

/* Returns with the lock, once nobody waits to pause. */
static void begin_append(struct partition *p)
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

beck_status partition_append(struct partition *p, struct append *a, beck_error *err)
{
    assert(a->count > 0);
    beck_level level = a->level;
    a->first_offset = -1;
    if (level == BECK_LEVEL_SYNCED &&
        (p->options.memory || committer_by_interval(p->env->committer)))
        level = BECK_LEVEL_WRITTEN;
    struct synced_completion *completion = NULL;
    if (a->done && level == BECK_LEVEL_SYNCED) {
        completion = malloc(sizeof *completion);
        if (!completion)
            return error_set(err, BECK_ENOMEM, "no memory for a completion");
    }
    begin_append(p);
    /* With deduplication the first of two must be stored, or have failed, before the second is
     * answered. */
    beck_status status = p->dedup ? drain(p, err) : make_room(p, err);
    /* What is gathered is never without the memory to write it. */
    if (!status)
        status = gather_reserve(p, err);
    if (!status)
        status = admit(p, a->generation, err);
    if (!status)
        status = gather_events(p, a, err);
    if (status) {
        mutex_unlock(&p->lock);
        free(completion);
        return status;
    }
    struct gather *g = p->gather;
    p->awaited += level == BECK_LEVEL_SYNCED;
    if (level == BECK_LEVEL_SYNCED && !completion)
        return wait_synced(p, g, err);
    if (completion) {
        g->refs++;
        /* It may be closed before the completion has had its turn. */
        atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
        *completion = (struct synced_completion){{NULL, run_completion}, p, g, a->done, a->done_ctx,
                                                 a->first_offset};
        mutex_unlock(&p->lock);
        committer_queue(p->env->committer, p, &completion->completion);
        return BECK_OK;
    }
    if (level == BECK_LEVEL_NONE) {
        g->orphan = true;
        if (p->writing && !p->long_turn) {
            mutex_unlock(&p->lock);
            return BECK_OK;
        }
    }
    g->refs++;
    if (level == BECK_LEVEL_NONE && p->writing)
        succeed(p);
    if (g->done || g->builder.count > 0)
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

/* A batch with a producer, or as it came: written by itself. */
beck_status partition_append_batch(struct partition *p, uint8_t *batch, size_t size,
                                   beck_level level, int64_t *first_offset, beck_error *err)
{
    struct batch_header h;
    beck_status status = batch_header_read(batch, &h, err);
    if (status)
        return status;
    begin_append(p);
    status = drain(p, err);
    if (!status)
        status = gather_reserve(p, err);
    if (!status && p->poisoned)
        status = partition_say_poisoned(p, err);
    if (!status)
        status = producers_check(p->producers, &h, first_offset, err);
    if (!status) {
        p->writing = true;
        *first_offset = p->next;
        p->next += h.last_offset_delta + 1;
        batch_place(batch, *first_offset, 0);
        beck_error why = {0};
        status = partition_write_batch(p, bytes_of(batch, size), &why);
        if (status) {
            why.code = status;
            error_set(err, status, "%s", why.text);
            partition_fail_gathered(p, &why);
        } else {
            partition_move_visible(p);
        }
        p->writing = false;
        partition_write_orphans(p);
        cond_broadcast(&p->changed);
    }
    bool poisoned = p->poisoned;
    mutex_unlock(&p->lock);
    if ((status && status != BECK_EDUPLICATE) || level != BECK_LEVEL_SYNCED || p->options.memory)
        return status;
    if (committer_by_interval(p->env->committer))
        committer_mark(p->env->committer, p);
    else
        committer_sync(p->env->committer, p);
    mutex_lock(&p->lock);
    poisoned = p->poisoned;
    mutex_unlock(&p->lock);
    return poisoned ? partition_say_poisoned(p, err) : status;
}

/* ---- durability ---- */

static beck_status sync_files(struct partition *p, struct segment **files, size_t count,
                              bool dir_dirty, beck_error *err)
{
    beck_status status = BECK_OK;
    for (size_t i = 0; i < count && !status; i++)
        status = segment_sync(files[i], err);
    if (!status && dir_dirty)
        status = vfs_sync_dir(p->env->vfs, p->dir, err);
    return status;
}

/* The hook is to see offsets in order, also where another sync ends while it runs. With the lock. */
static void release_held(struct partition *p)
{
    while (p->releasing)
        cond_wait(&p->changed, &p->lock);
    if (p->held_count == 0)
        return;
    p->releasing = true;
    while (p->held_count > 0) {
        struct routed *routes = p->held;
        size_t count = p->held_count, cap = p->held_cap, ready = 0;
        while (ready < count && routes[ready].offset < p->synced)
            ready++;
        if (ready == 0)
            break;
        p->held = NULL;
        p->held_count = p->held_cap = 0;
        mutex_unlock(&p->lock);
        p->options.routed(p->options.routed_ctx, p, routes, ready);
        mutex_lock(&p->lock);
        /* What came meanwhile lies behind what is left. */
        struct routed *newer = p->held;
        size_t newer_count = p->held_count;
        memmove(routes, routes + ready, (count - ready) * sizeof *routes);
        p->held = routes;
        p->held_count = count - ready;
        p->held_cap = cap;
        if (newer_count)
            partition_hold_routes(p, newer, newer_count);
        free(newer);
    }
    p->releasing = false;
    cond_broadcast(&p->changed);
}

beck_status partition_sync(struct partition *p, beck_error *err)
{
    mutex_lock(&p->lock);
    while (p->writing)
        cond_wait(&p->changed, &p->lock);
    beck_status status =
        p->gather->builder.count > 0 ? partition_write_until(p, NULL, err) : BECK_OK;
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
    int64_t target = p->written;
    p->syncing = true;
    p->unsynced_bytes = 0;
    /* Rolling syncs what it leaves: only the active segment can be dirty. */
    struct segment *active = p->segments[p->segment_count - 1];
    bool dir_dirty = p->dir_dirty;
    p->dir_dirty = false;
    active->users++;
    mutex_unlock(&p->lock);
    beck_error why;
    error_clear(&why);
    status = sync_files(p, &active, 1, dir_dirty, &why);
    mutex_lock(&p->lock);
    segment_unuse(active);
    p->syncing = false;
    cond_broadcast(&p->changed);
    if (status) {
        partition_poison(p, "a sync", &why);
        status = partition_say_poisoned(p, err);
    } else if (target > p->synced) {
        p->synced = target;
        partition_move_visible(p);
        release_held(p);
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
