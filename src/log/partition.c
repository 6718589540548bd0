/*
 * A partition's append path and state: see partition.h. Opening and recovery are in
 * partition_open.c, retention and compaction in partition_maintain.c.
 *
 * Two ideas. The gather: events are encoded straight into the batch that will be written, so
 * gathering costs nothing beyond the encoding. The writer's part
 * (`writing`): exactly one thread has it; it alone touches the file's end, the codec and the
 * scratch buffer, without the lock, and hands on what was routed, so the hook sees offsets in
 * order.
 */
#include "log/partition_impl.h"

#include <assert.h>
#include <stdlib.h>

void partition_check(const struct partition *p)
{
    assert(p->first <= p->next);
    assert(p->synced <= p->written && p->written <= p->next);
    (void)p;
}

/* ---- gathers ---- */

static struct gather *gather_get(struct partition *p)
{
    struct gather *g = p->free_gathers;
    if (g) {
        p->free_gathers = g->next_free;
        p->free_count--;
    } else {
        g = calloc(1, sizeof *g);
        if (!g)
            return NULL;
        batch_builder_init(&g->builder, GATHER_BYTES_MAX);
    }
    g->next_free = NULL;
    g->refs = 0;
    g->route_count = 0;
    g->orphan = g->done = false;
    g->status = BECK_OK;
    return g;
}

/* Keeps a few for the next rounds; large ones and more than that are not worth the memory. */
static void gather_put(struct partition *p, struct gather *g)
{
    if (p->free_count < GATHERS_KEPT && g->builder.bytes.cap <= 2 * GATHER_BYTES) {
        batch_builder_clear(&g->builder);
        g->next_free = p->free_gathers;
        p->free_gathers = g;
        p->free_count++;
        return;
    }
    batch_builder_release(&g->builder);
    free(g->routes);
    free(g);
}

/* One write takes a fresh gather, and one more when it fails with events gathered behind it. */
static beck_status gather_reserve(struct partition *p, beck_error *err)
{
    while (p->free_count < 2) {
        struct gather *g = p->free_gathers;
        p->free_gathers = NULL;
        struct gather *fresh = gather_get(p);
        p->free_gathers = g;
        if (!fresh)
            return error_set(err, BECK_ENOMEM, "no memory to write a batch");
        gather_put(p, fresh);
    }
    return BECK_OK;
}

static void gather_unref(struct partition *p, struct gather *g)
{
    assert(g->refs > 0 && g->done);
    if (--g->refs == 0)
        gather_put(p, g);
}

static beck_status gather_route(struct gather *g, const struct routed *route, int64_t offset,
                                int64_t timestamp_ms)
{
    if (g->route_count == g->route_cap) {
        size_t cap = g->route_cap ? g->route_cap * 2 : 16;
        struct routed *grown = realloc(g->routes, cap * sizeof *grown);
        if (!grown)
            return BECK_ENOMEM;
        g->routes = grown;
        g->route_cap = cap;
    }
    g->routes[g->route_count] = *route;
    g->routes[g->route_count].offset = offset;
    g->routes[g->route_count++].timestamp_ms = timestamp_ms;
    return BECK_OK;
}

/* ---- the writer's part ---- */

void partition_move_visible(struct partition *p)
{
    partition_check(p);
    int64_t visible = p->options.bus.read_synced && !p->options.memory ? p->synced : p->written;
    atomic_store_explicit(&p->visible, visible, memory_order_release);
    if (p->watchers)
        cond_broadcast(&p->changed);
}

/* Room for one more. */
static beck_status reserve_segment(struct partition *p, beck_error *err)
{
    if (p->segment_count == p->segment_cap) {
        size_t cap = p->segment_cap ? p->segment_cap * 2 : 8;
        struct segment **grown = realloc(p->segments, cap * sizeof(struct segment *));
        if (!grown)
            return error_set(err, BECK_ENOMEM, "no memory for a segment");
        p->segments = grown;
        p->segment_cap = cap;
    }
    return BECK_OK;
}

beck_status partition_add_segment(struct partition *p, struct segment *s, beck_error *err)
{
    beck_status status = reserve_segment(p, err);
    if (status)
        return status;
    p->segments[p->segment_count++] = s;
    p->dir_dirty = true;
    return BECK_OK;
}

static void poison(struct partition *p, const beck_error *cause)
{
    if (p->poisoned)
        return;
    p->poisoned = true;
    env_report(p->env, BECK_EPOISONED,
               "a sync of \"%s\" failed (%s): nothing more is written to it, because what reached "
               "the disk is unknown; check the disk and restart",
               p->dir, cause->text);
}

static beck_status say_poisoned(const struct partition *p, beck_error *err)
{
    return error_set(err, BECK_EPOISONED,
                     "an earlier sync of \"%s\" failed, so it takes no more events; check the disk "
                     "and restart",
                     p->dir);
}

static bool must_roll(struct partition *p, const struct segment *s, const struct batch_header *h)
{
    int64_t size = atomic_load(&s->size);
    if (size == 0)
        return false;
    if (size + (int64_t)batch_size(h) > p->options.bus.segment_bytes)
        return true;
    if (batch_last_offset(h) - s->base_offset > INT32_MAX)
        return true;
    return s->created_ms >= 0 && h->max_timestamp_ms - s->created_ms > p->options.bus.segment_ms;
}

/* The old segment is synced, and its name, before the new one exists, so that only the last segment
 * can ever have a torn tail or be lost. The lock is held on entry and exit. */
static beck_status roll(struct partition *p, int64_t base_offset, beck_error *err)
{
    struct segment *old = p->segments[p->segment_count - 1], *fresh = NULL;
    /* A sync that runs has marked the segment as clean already, and may yet fail. */
    while (p->syncing)
        cond_wait(&p->changed, &p->lock);
    if (p->poisoned)
        return say_poisoned(p, err);
    beck_status status = reserve_segment(p, err);
    if (!status)
        status = segment_trim(old, err);
    if (status)
        return status;
    bool dir_dirty = p->dir_dirty;
    p->syncing = true;
    mutex_unlock(&p->lock);
    status = segment_sync(old, err);
    if (!status && dir_dirty)
        status = vfs_sync_dir(p->env->vfs, p->dir, err);
    bool failed_sync = status != BECK_OK;
    if (!status)
        status = segment_create(p->env, p->dir, base_offset, &fresh, err);
    mutex_lock(&p->lock);
    p->syncing = false;
    cond_broadcast(&p->changed);
    p->dir_dirty = p->dir_dirty && failed_sync;
    if (failed_sync) {
        beck_error cause = {0};
        error_set(&cause, status, "%s", err ? err->text : "roll");
        poison(p, &cause);
        return status;
    }
    if (status)
        return status;
    partition_add_segment(p, fresh, NULL);
    segment_seal(old, NULL);
    segment_unuse(old);
    if (producers_count(p->producers) > 0)
        p->has_snapshots |= partition_write_snapshot(p, base_offset, NULL) == BECK_OK;
    return BECK_OK;
}

/* Writes one sealed batch whose base offset is p->written. The lock is held on entry and exit, and
 * free during I/O. */
static beck_status write_batch(struct partition *p, beck_bytes batch, beck_error *err)
{
    struct batch_header h;
    beck_status status = batch_header_read(batch.data, &h, err);
    assert(!status && h.base_offset == p->written);
    if (p->options.memory) {
        if (!partition_add_block(p, batch, h.base_offset, 0, p->memory_end))
            return error_set(err, BECK_ENOMEM, "no memory for events of bus \"%s\"", p->bus);
        p->memory_end += (int64_t)batch.len;
        p->written = p->synced = batch_last_offset(&h) + 1;
        return BECK_OK;
    }
    if (must_roll(p, p->segments[p->segment_count - 1], &h))
        status = roll(p, h.base_offset, err);
    if (status)
        return status;
    struct segment *s = p->segments[p->segment_count - 1];
    int64_t position = atomic_load(&s->size);
    mutex_unlock(&p->lock);
    status = segment_write(s, batch, err);
    mutex_lock(&p->lock);
    if (status)
        return status;
    segment_note(s, &h);
    partition_add_block(p, batch, h.base_offset, s->base_offset, position);
    if (h.producer_id >= 0)
        producers_update(p->producers, &h);
    p->written = batch_last_offset(&h) + 1;
    return BECK_OK;
}

static void hold_routes(struct partition *p, const struct routed *routes, size_t count)
{
    if (p->held_count + count > p->held_cap) {
        size_t cap = (p->held_count + count) * 2;
        struct routed *grown = realloc(p->held, cap * sizeof *grown);
        if (!grown) {
            /* Better early than never. */
            mutex_unlock(&p->lock);
            p->options.routed(p->options.routed_ctx, p, routes, count);
            mutex_lock(&p->lock);
            return;
        }
        p->held = grown;
        p->held_cap = cap;
    }
    memcpy(p->held + p->held_count, routes, count * sizeof *routes);
    p->held_count += count;
}

static void hand_on(struct partition *p, struct gather *g)
{
    if (g->route_count == 0)
        return;
    /* Before anybody can settle one. All of a batch lies in the newest block. */
    if (p->options.memory)
        p->blocks[p->block_count - 1]->owed += (int64_t)g->route_count;
    if (p->options.bus.read_synced && !p->options.memory) {
        hold_routes(p, g->routes, g->route_count);
        return;
    }
    mutex_unlock(&p->lock);
    p->options.routed(p->options.routed_ctx, p, g->routes, g->route_count);
    mutex_lock(&p->lock);
}

static void finish_gather(struct partition *p, struct gather *g)
{
    g->done = true;
    batch_builder_clear(&g->builder);
    if (g->refs == 0)
        gather_put(p, g);
}

static void fail_gather(struct partition *p, struct gather *g, const beck_error *why)
{
    g->status = why->code;
    g->error = *why;
    if (g->route_count > 0) {
        for (size_t i = 0; i < g->route_count; i++)
            g->routes[i].offset = -1;
        mutex_unlock(&p->lock);
        p->options.routed(p->options.routed_ctx, p, g->routes, g->route_count);
        mutex_lock(&p->lock);
    }
    finish_gather(p, g);
}

/* Nothing from p->written on was stored: what has been gathered behind it meanwhile fails too. With
 * the lock, as the writer, after gather_reserve. */
static void fail_gathered(struct partition *p, const beck_error *why)
{
    if (p->dedup)
        dedup_forget_from(p->dedup, p->written);
    p->next = p->written;
    struct gather *behind = p->gather;
    if (behind->builder.count == 0)
        return;
    p->gather = gather_get(p);
    fail_gather(p, behind, why);
}

/* Takes the gather and writes it. With the lock; nobody writes; after gather_reserve. */
static void write_gather(struct partition *p)
{
    assert(!p->writing && p->gather->builder.count > 0);
    struct gather *g = p->gather;
    p->gather = gather_get(p);
    p->writing = true;
    beck_error why;
    error_clear(&why);
    beck_bytes batch = {0};
    beck_status status = p->poisoned ? say_poisoned(p, &why) : BECK_OK;
    if (!status) {
        if (!p->options.memory)
            mutex_unlock(&p->lock);
        status = batch_builder_finish(&g->builder, p->options.memory ? NULL : &p->codec,
                                      p->options.memory ? BECK_CODEC_NONE : p->options.bus.codec,
                                      g->first_offset, NULL, &p->scratch, &batch, &why);
        if (!p->options.memory)
            mutex_lock(&p->lock);
    }
    if (!status)
        status = write_batch(p, batch, &why);
    if (status) {
        why.code = status;
        fail_gathered(p, &why);
        fail_gather(p, g, &why);
    } else {
        partition_move_visible(p);
        hand_on(p, g);
        finish_gather(p, g);
    }
    p->writing = false;
    cond_broadcast(&p->changed);
}

/* Writes until `mine` is done and no orphans are left; NULL: whatever there is. With the lock. */
static beck_status write_until(struct partition *p, struct gather *mine, beck_error *err)
{
    for (;;) {
        bool wanted = mine ? !mine->done : p->gather->builder.count > 0;
        if (!wanted && !(p->gather->orphan && !p->writing))
            return BECK_OK;
        if (p->writing) {
            if (!wanted)
                return BECK_OK;
            cond_wait(&p->changed, &p->lock);
            continue;
        }
        if (p->gather->builder.count == 0)
            return BECK_OK;
        beck_status status = gather_reserve(p, err);
        if (status)
            return status;
        write_gather(p);
    }
}

/* Events of level none that were gathered while somebody had the writer's part are the writer's to
 * write. With the lock. */
static void write_orphans(struct partition *p)
{
    while (!p->writing && p->gather->orphan && p->gather->builder.count > 0 &&
           !gather_reserve(p, NULL))
        write_gather(p);
}

beck_status partition_roll(struct partition *p, beck_error *err)
{
    while (p->writing)
        cond_wait(&p->changed, &p->lock);
    if (p->poisoned)
        return say_poisoned(p, err);
    if (atomic_load(&p->segments[p->segment_count - 1]->size) == 0)
        return BECK_OK;
    p->writing = true;
    beck_status status = roll(p, p->written, err);
    p->writing = false;
    write_orphans(p);
    cond_broadcast(&p->changed);
    return status;
}

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
            status = write_until(p, NULL, err);
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
        beck_status status = write_until(p, NULL, err);
        if (status)
            return status;
    }
    int64_t max =
        p->options.bus.retention_bytes ? p->options.bus.retention_bytes : MEMORY_BYTES_DEFAULT;
    if (p->options.memory && p->memory_bytes >= max)
        return error_set(
            err, BECK_ELIMIT,
            "the queues of memory bus \"%s\" hold %lld bytes of events; settle them, or "
            "raise retention_bytes",
            p->bus, (long long)p->memory_bytes);
    return BECK_OK;
}

static beck_status gather_event(struct partition *p, const beck_event *e, int64_t timestamp_ms,
                                beck_error *err)
{
    struct batch_builder *b = &p->gather->builder;
    size_t limit = p->options.bus.event_bytes_max, before = b->bytes.len;
    if (e->data.len > limit)
        return refuse_size(p, e->data.len, err);
    beck_status status = batch_builder_add(b, e, p->context.bus, timestamp_ms);
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
        if (a->first_offset < 0)
            a->first_offset = offset;
        if (!known) {
            status = gather_event(p, e, timestamp_ms, err);
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
    return p->poisoned ? say_poisoned(p, err) : BECK_OK;
}

static void run_completion(struct completion *completion)
{
    struct synced_completion *c = (struct synced_completion *)completion;
    mutex_lock(&c->p->lock);
    beck_status status = BECK_OK;
    if (!c->g->done && c->g->builder.count > 0)
        status = write_until(c->p, c->g, NULL);
    if (c->g->done) {
        status = result_of(c->p, c->g, NULL);
        gather_unref(c->p, c->g);
    } else {
        c->g->refs--;
    }
    mutex_unlock(&c->p->lock);
    c->done(c->ctx, status, c->first_offset);
    free(c);
}

/* Waits until the gather, on which the caller has a reference, is synced. Lock held on entry, free
 * on exit. */
static beck_status wait_synced(struct partition *p, struct gather *g, beck_error *err)
{
    bool all_known = g->builder.count == 0; /* stored earlier, by deduplication */
    g->refs += !all_known;
    mutex_unlock(&p->lock);
    committer_mark(p->env->committer, p);
    committer_wait(p->env->committer);
    mutex_lock(&p->lock);
    beck_status status = BECK_OK;
    /* The round could not write it when memory was short. */
    if (!all_known && !g->done)
        status = write_until(p, g, err);
    if (all_known)
        status = p->poisoned ? say_poisoned(p, err) : BECK_OK;
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
        return say_poisoned(p, err);
    if (p->env->read_only)
        return error_set(err, BECK_EINVAL, "the data directory is open for reading only");
    if (p->options.generation &&
        atomic_load_explicit(p->options.generation, memory_order_acquire) != generation)
        return PARTITION_STALE;
    return BECK_OK;
}

beck_status partition_append(struct partition *p, struct append *a, beck_error *err)
{
    assert(a->count > 0);
    beck_level level = a->level;
    if (level == BECK_LEVEL_SYNCED &&
        (p->options.memory || committer_by_interval(p->env->committer)))
        level = BECK_LEVEL_WRITTEN;
    struct synced_completion *completion = NULL;
    if (a->done && level == BECK_LEVEL_SYNCED) {
        completion = malloc(sizeof *completion);
        if (!completion)
            return error_set(err, BECK_ENOMEM, "no memory for a completion");
    }
    mutex_lock(&p->lock);
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
    if (level == BECK_LEVEL_SYNCED && !completion)
        return wait_synced(p, g, err);
    if (completion) {
        g->refs++;
        *completion = (struct synced_completion){{NULL, run_completion}, p, g, a->done, a->done_ctx,
                                                 a->first_offset};
        mutex_unlock(&p->lock);
        committer_queue(p->env->committer, p, &completion->completion);
        return BECK_OK;
    }
    if (level == BECK_LEVEL_NONE) {
        g->orphan = true;
        if (p->writing) {
            mutex_unlock(&p->lock);
            return BECK_OK;
        }
    }
    g->refs++;
    status = g->builder.count > 0 ? write_until(p, g, err) : BECK_OK;
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
    mutex_lock(&p->lock);
    status = drain(p, err);
    if (!status)
        status = gather_reserve(p, err);
    if (!status && p->poisoned)
        status = say_poisoned(p, err);
    if (!status)
        status = producers_check(p->producers, &h, first_offset, err);
    if (!status) {
        p->writing = true;
        *first_offset = p->next;
        p->next += h.last_offset_delta + 1;
        batch_place(batch, *first_offset, 0);
        beck_error why = {0};
        status = write_batch(p, bytes_of(batch, size), &why);
        if (status) {
            why.code = status;
            error_set(err, status, "%s", why.text);
            fail_gathered(p, &why);
        } else {
            partition_move_visible(p);
        }
        p->writing = false;
        write_orphans(p);
        cond_broadcast(&p->changed);
    }
    bool poisoned = p->poisoned;
    mutex_unlock(&p->lock);
    if ((status && status != BECK_EDUPLICATE) || level != BECK_LEVEL_SYNCED || p->options.memory)
        return status;
    committer_mark(p->env->committer, p);
    if (!committer_by_interval(p->env->committer))
        committer_wait(p->env->committer);
    mutex_lock(&p->lock);
    poisoned = p->poisoned;
    mutex_unlock(&p->lock);
    return poisoned ? say_poisoned(p, err) : status;
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

static void release_held(struct partition *p)
{
    while (p->held_count > 0) {
        struct routed *routes = p->held;
        size_t count = p->held_count, cap = p->held_cap, ready = 0;
        while (ready < count && routes[ready].offset < p->synced)
            ready++;
        if (ready == 0)
            return;
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
            hold_routes(p, newer, newer_count);
        free(newer);
    }
}

beck_status partition_sync(struct partition *p, beck_error *err)
{
    mutex_lock(&p->lock);
    while (p->writing)
        cond_wait(&p->changed, &p->lock);
    beck_status status = p->gather->builder.count > 0 ? write_until(p, NULL, err) : BECK_OK;
    if (p->poisoned)
        status = say_poisoned(p, err);
    if (status || p->options.memory || p->synced == p->written) {
        mutex_unlock(&p->lock);
        return status;
    }
    while (p->syncing)
        cond_wait(&p->changed, &p->lock);
    if (p->poisoned || p->synced == p->written) {
        status = p->poisoned ? say_poisoned(p, err) : BECK_OK;
        mutex_unlock(&p->lock);
        return status;
    }
    int64_t target = p->written;
    p->syncing = true;
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
        poison(p, &why);
        status = say_poisoned(p, err);
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

/* ---- blocks ---- */

static bool add_block(struct partition *p, struct block *b)
{
    if (p->block_count == p->block_cap) {
        size_t cap = p->block_cap ? p->block_cap * 2 : 8;
        struct block **grown = realloc(p->blocks, cap * sizeof(struct block *));
        if (!grown)
            return false;
        p->blocks = grown;
        p->block_cap = cap;
    }
    p->blocks[p->block_count++] = b;
    return true;
}

static void drop_block(struct partition *p, size_t index)
{
    p->memory_bytes -= (int64_t)p->blocks[index]->cap;
    block_release(p->blocks[index]);
    p->block_count--;
    memmove(p->blocks + index, p->blocks + index + 1,
            (p->block_count - index) * sizeof(struct block *));
}

bool partition_add_block(struct partition *p, beck_bytes batch, int64_t base_offset,
                         int64_t segment, int64_t position)
{
    struct block *b = p->block_count ? p->blocks[p->block_count - 1] : NULL;
    size_t len = b ? atomic_load_explicit(&b->len, memory_order_relaxed) : 0;
    bool fits = b && b->segment == segment && b->position + (int64_t)len == position &&
                b->cap - len >= batch.len;
    if (!fits) {
        bool cached = p->options.memory || batch.len <= 4 * TAIL_BLOCK_BYTES;
        b = cached ? block_new(batch.len > TAIL_BLOCK_BYTES ? batch.len : TAIL_BLOCK_BYTES) : NULL;
        if (b) {
            b->segment = segment;
            b->position = position;
            b->base_offset = base_offset;
            if (!add_block(p, b)) {
                block_release(b);
                b = NULL;
            }
        }
        if (!b) {
            /* The cache must stay one piece: readers go to the file. */
            while (p->block_count > 0 && !p->options.memory)
                drop_block(p, p->block_count - 1);
            return false;
        }
        len = 0;
        p->memory_bytes += (int64_t)b->cap;
        if (!p->options.memory && p->block_count > TAIL_BLOCKS)
            drop_block(p, 0);
        if (p->options.memory && p->block_count > 1 && p->blocks[p->block_count - 2]->owed == 0)
            drop_block(p, p->block_count - 2);
    }
    memcpy(b->data + len, batch.data, batch.len);
    atomic_store_explicit(&b->len, len + batch.len, memory_order_release);
    return true;
}

void partition_forget_blocks(struct partition *p, int64_t segment)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->block_count; i++) {
        struct block *b = p->blocks[i];
        if (segment < 0 || b->segment == segment) {
            p->memory_bytes -= (int64_t)b->cap;
            block_release(b);
        } else {
            p->blocks[kept++] = b;
        }
    }
    p->block_count = kept;
}

struct block *partition_find_block(struct partition *p, int64_t segment, int64_t position)
{
    for (size_t i = p->block_count; i-- > 0;) {
        struct block *b = p->blocks[i];
        if (b->segment < segment || (b->segment == segment && b->position <= position)) {
            bool inside =
                b->segment == segment && position < b->position + (int64_t)atomic_load(&b->len);
            return inside ? b : NULL;
        }
    }
    return NULL;
}

/* Index of the last block that begins at or before the offset; -1: none. */
static ptrdiff_t block_index(const struct partition *p, int64_t offset)
{
    ptrdiff_t low = 0, high = (ptrdiff_t)p->block_count;
    while (low < high) {
        ptrdiff_t middle = low + (high - low) / 2;
        if (p->blocks[middle]->base_offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low - 1;
}

struct block *partition_find_memory(struct partition *p, int64_t offset)
{
    ptrdiff_t index = block_index(p, offset);
    return index < 0 ? NULL : p->blocks[index];
}

void partition_disown(struct partition *p, const int64_t *offsets, size_t count)
{
    if (!p->options.memory)
        return;
    mutex_lock(&p->lock);
    ptrdiff_t index = -1;
    for (size_t i = 0; i < count; i++) {
        /* Mostly the same block as before: offsets come in order. */
        bool same =
            index >= 0 && p->blocks[index]->base_offset <= offsets[i] &&
            ((size_t)index + 1 == p->block_count || offsets[i] < p->blocks[index + 1]->base_offset);
        if (!same)
            index = block_index(p, offsets[i]);
        assert(index >= 0 && p->blocks[index]->owed > 0);
        if (--p->blocks[index]->owed == 0 && (size_t)index + 1 < p->block_count) {
            drop_block(p, (size_t)index);
            index = -1;
        }
    }
    mutex_unlock(&p->lock);
}

/* ---- state ---- */

uint32_t partition_number(const struct partition *p)
{
    return p->context.partition;
}

const struct record_context *partition_context(const struct partition *p)
{
    return &p->context;
}

bool partition_is_memory(const struct partition *p)
{
    return p->options.memory;
}

void partition_info(struct partition *p, beck_partition_info *out)
{
    *out = (beck_partition_info){.oldest_ms = -1, .newest_ms = -1};
    mutex_lock(&p->lock);
    out->first_offset = p->first;
    out->next_offset = p->next;
    out->written_offset = p->written;
    out->synced_offset = p->synced;
    out->segments = (uint32_t)p->segment_count;
    out->bytes = p->options.memory ? p->memory_bytes : 0;
    for (size_t i = 0; i < p->segment_count; i++) {
        int64_t ms;
        struct segment *s = p->segments[i];
        if (segment_use(s, NULL))
            continue;
        out->bytes += atomic_load(&s->size);
        if (p->first < p->written) {
            if (out->oldest_ms < 0 && !segment_created(s, &ms, NULL))
                out->oldest_ms = ms;
            if (!segment_max_timestamp(s, &ms, NULL) && ms > out->newest_ms)
                out->newest_ms = ms;
        }
        segment_unuse(s);
    }
    mutex_unlock(&p->lock);
}

int64_t partition_next(struct partition *p)
{
    mutex_lock(&p->lock);
    int64_t next = p->next;
    mutex_unlock(&p->lock);
    return next;
}

int64_t partition_visible(struct partition *p)
{
    return atomic_load_explicit(&p->visible, memory_order_acquire);
}

int64_t partition_first(struct partition *p)
{
    return atomic_load_explicit(&p->first_seen, memory_order_acquire);
}

int64_t partition_synced(struct partition *p)
{
    mutex_lock(&p->lock);
    int64_t synced = p->synced;
    mutex_unlock(&p->lock);
    return synced;
}

bool partition_wait(struct partition *p, int64_t offset, int64_t deadline_ns,
                    const _Atomic(bool) *stop)
{
    bool there = true;
    mutex_lock(&p->lock);
    p->watchers++;
    while (partition_visible(p) <= offset) {
        if ((stop && atomic_load(stop)) || !there) {
            there = false;
            break;
        }
        if (deadline_ns == INT64_MAX)
            cond_wait(&p->changed, &p->lock);
        else
            there = cond_wait_until(&p->changed, &p->lock, p->env->clock, deadline_ns);
    }
    there = partition_visible(p) > offset;
    p->watchers--;
    mutex_unlock(&p->lock);
    return there;
}

void partition_wake(struct partition *p)
{
    mutex_lock(&p->lock);
    cond_broadcast(&p->changed);
    mutex_unlock(&p->lock);
}

void partition_pause(struct partition *p)
{
    mutex_lock(&p->lock);
    while (p->writing || p->gather->builder.count > 0) {
        /* Without memory the writer of the gather will try again. */
        if (p->writing || write_until(p, NULL, NULL))
            cond_wait(&p->changed, &p->lock);
    }
    assert(p->next == p->written);
}

void partition_resume(struct partition *p)
{
    mutex_unlock(&p->lock);
}

int64_t partition_paused_end(const struct partition *p)
{
    assert(p->next == p->written);
    return p->next;
}
