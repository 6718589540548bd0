/*
 * Gathers, and the writer's part: how what has been gathered gets into the log.
 *
 * The writer's part (`writing`) is had by one thread at a time; it alone touches the file's end, the codec and the scratch buffer, without the lock, and hands on what
 * was routed, so the hook sees offsets in order. A write that fails fails the gather and what was gathered behind it.
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

struct gather *gather_get(struct partition *p)
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
        buf_init(&g->copied, GATHER_BYTES);
    }
    g->next_free = NULL;
    g->refs = g->batches = 0;
    g->route_count = g->pending_count = 0;
    g->orphan = g->done = false;
    g->status = BECK_OK;
    return g;
}

void gather_free(struct gather *g)
{
    batch_builder_release(&g->builder);
    buf_release(&g->copied);
    free(g->routes);
    free(g->pending);
    free(g);
}

void gathers_drop(struct partition *p)
{
    /* What is gathered keeps those that its writing takes. */
    if (!gather_is_empty(p->gather))
        return;
    for (struct gather *g; (g = p->free_gathers);) {
        p->free_gathers = g->next_free;
        gather_free(g);
    }
    p->free_count = 0;
    buf_release(&p->gather->copied);
    buf_release(&p->gather->builder.bytes);
}

/* Keeps a few for the next rounds; large ones and more than that are not worth the memory. */
static void put_gather(struct partition *p, struct gather *g)
{
    if (p->free_count < GATHERS_KEPT && g->builder.bytes.cap <= 2 * GATHER_BYTES) {
        batch_builder_clear(&g->builder);
        buf_clear(&g->copied);
        g->next_free = p->free_gathers;
        p->free_gathers = g;
        p->free_count++;
        return;
    }
    gather_free(g);
}

/* One write takes a fresh gather, and one more when it fails with events gathered behind it. */
beck_status gather_reserve(struct partition *p, beck_error *err)
{
    while (p->free_count < 2) {
        struct gather *g = p->free_gathers;
        p->free_gathers = NULL;
        struct gather *fresh = gather_get(p);
        p->free_gathers = g;
        if (!fresh)
            return error_set(err, BECK_ENOMEM, "no memory to write a batch");
        put_gather(p, fresh);
    }
    return BECK_OK;
}

void gather_unref(struct partition *p, struct gather *g)
{
    assert(g->refs > 0 && g->done && g != p->gather);
    if (--g->refs == 0)
        put_gather(p, g);
}

beck_status gather_route(struct gather *g, const struct routed *route, int64_t offset)
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
    g->routes[g->route_count++].offset = offset;
    return BECK_OK;
}

/* ---- the writer's part ---- */

void partition_move_visible(struct partition *p)
{
    partition_check(p);
    bool by_sync = p->options.bus.read_synced && !p->options.memory;
    int64_t high = by_sync ? p->synced : p->written;
    int64_t visible = by_sync ? p->synced_oldest : producers_oldest(p->producers);
    if (visible > high)
        visible = high;
    atomic_store_explicit(&p->high, high, memory_order_release);
    atomic_store_explicit(&p->visible, visible, memory_order_release);
    if (p->watchers)
        cond_broadcast(&p->changed);
    if (p->watches)
        partition_call_watches(p, false);
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
    p->sealed_known = false;
    p->dir_dirty = true;
    return BECK_OK;
}

void partition_poison(struct partition *p, const char *what, const beck_error *cause)
{
    if (p->poisoned)
        return;
    p->poisoned = true;
    env_report(p->env, BECK_EPOISONED,
               "%s of \"%s\" failed (%s): nothing more is written to it, because what reached the "
               "disk is unknown; check the disk and restart",
               what, p->dir, cause->text);
}

beck_status partition_say_poisoned(const struct partition *p, beck_error *err)
{
    if (p->condemned)
        return error_set(err, BECK_ECLOSED, "bus \"%s\" has been deleted", p->bus);
    if (p->damage)
        return partition_check_damage(p, err);
    return error_set(err, BECK_EPOISONED,
                     "an earlier sync of \"%s\" failed, or the undoing of a failed write, so it "
                     "takes no more events; check the disk and restart",
                     p->dir);
}

bool partition_must_roll(struct partition *p, const struct batch_header *h)
{
    const struct segment *s = p->segments[p->segment_count - 1];
    int64_t size = atomic_load(&s->size);
    if (batch_last_offset(h) - s->base_offset > INT32_MAX)
        return true;
    if (size == 0)
        return false;
    if (size + (int64_t)batch_size(h) > p->options.bus.segment_bytes)
        return true;
    return s->created_ms >= 0 && h->max_timestamp_ms > s->created_ms &&
           h->max_timestamp_ms - s->created_ms > p->options.bus.segment_ms;
}

beck_status partition_seal(struct partition *p, struct segment *s, beck_error *err)
{
    beck_status status = segment_seal_write(s, err);
    if (!status && !s->unsealed)
        return BECK_OK;
    if (!status) {
        mutex_unlock(&p->lock);
        status = segment_seal_sync(s, err);
        mutex_lock(&p->lock);
    }
    s->unsealed = s->unsure = status != BECK_OK;
    return status;
}

/* What makes recovery shorter: indexes of the segment that was left, what is known of producers. As roll. */
static void finish_roll(struct partition *p, struct segment *old, int64_t base_offset)
{
    struct buf snapshot;
    buf_init(&snapshot, SNAPSHOT_BYTES);
    bool known = !partition_save_aborted(p, NULL) && producers_count(p->producers) > 0 &&
                 !producers_snapshot_write(p->producers, &snapshot);
    while (p->syncing)
        cond_wait(&p->changed, &p->lock);
    p->syncing = true; /* who looks whether a call would wait sees it */
    partition_seal(p, old, NULL);
    segment_unuse(old);
    if (known) {
        mutex_unlock(&p->lock);
        known = !partition_write_snapshot(p, base_offset, buf_bytes(&snapshot), NULL);
        mutex_lock(&p->lock);
    }
    p->has_snapshots |= known;
    p->syncing = false;
    cond_broadcast(&p->changed);
    buf_release(&snapshot);
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
        return partition_say_poisoned(p, err);
    beck_status status = reserve_segment(p, err);
    if (!status)
        status = segment_trim(old, err);
    if (status)
        return status;
    bool dir_dirty = p->dir_dirty;
    uint64_t name = p->name;
    struct file *prepared = p->prepared;
    p->prepared = NULL;
    p->syncing = true;
    mutex_unlock(&p->lock);
    status = segment_sync(old, err);
    bool tried = status != BECK_OK; /* what it did to the file is unknown, whatever the error */
    if (!status)
        status = partition_sync_names(p, dir_dirty, name, err);
    bool failed_sync = status != BECK_OK;
    if (!status)
        status = segment_create(p->env, p->dir, base_offset, prepared, &fresh, err);
    else
        file_close(prepared);
    mutex_lock(&p->lock);
    p->syncing = false;
    cond_broadcast(&p->changed);
    p->dir_dirty = p->dir_dirty && failed_sync;
    if (!failed_sync)
        p->name = NAME_SYNCED;
    if (status == BECK_ENOMEM && !tried)
        return status;
    if (failed_sync) {
        beck_error cause = {0};
        error_set(&cause, status, "%s", err ? err->text : "roll");
        partition_poison(p, "a sync", &cause);
        return status;
    }
    if (status)
        return status;
    partition_add_segment(p, fresh, NULL);
    finish_roll(p, old, base_offset);
    return BECK_OK;
}

/* Zeros are worth their writing where small batches are synced one by one. */
static bool worth_padding(const struct partition *p, beck_bytes batch)
{
    return p->awaited >= PAD_AFTER &&
           p->unsynced_bytes + (int64_t)batch.len <= SEGMENT_PAD_BYTES / 16;
}

/* The header of a batch as if all of them were one. */
static struct batch_header span_header(beck_bytes batches, size_t *count)
{
    struct batch_header first, h;
    size_t at = 0;
    beck_status status = batch_header_read(batches.data, &first, NULL);
    *count = 1;
    for (h = first; !status && (at += batch_size(&h)) < batches.len; ++*count)
        status = batch_header_read((const uint8_t *)batches.data + at, &h, NULL);
    assert(!status && at == batches.len);
    first.last_offset_delta = (int32_t)(batch_last_offset(&h) - first.base_offset);
    first.length = (int32_t)(batches.len - BATCH_LENGTH_PREFIX);
    return first;
}

/* Of one batch that is in its place in the file. With the lock. */
static void note_batch(struct partition *p, struct segment *s, beck_bytes batch,
                       const struct batch_header *h)
{
    int64_t position = atomic_load(&s->size);
    segment_note(s, h);
    p->written_batches++;
    tail_add(&p->tail, batch, h->base_offset, s->base_offset, position);
    partition_note_producer(p, h, batch.data);
    p->written = batch_last_offset(h) + 1;
    if (p->options.bus.retention_ms > 0)
        s->appended_ms = clock_wall_ms(p->env->clock);
}

static beck_status keep_in_memory(struct partition *p, beck_bytes batch,
                                  const struct batch_header *h, beck_error *err)
{
    if (!tail_add(&p->tail, batch, h->base_offset, 0, p->memory_end))
        return error_set(err, BECK_ENOMEM, "no memory for events of bus \"%s\"", p->bus);
    p->memory_end += (int64_t)batch.len;
    partition_note_producer(p, h, batch.data);
    p->written = p->synced = batch_last_offset(h) + 1;
    return BECK_OK;
}

/* Said once, until there is room again. */
static void note_room(struct partition *p, beck_status status)
{
    bool full = status == BECK_EFULL;
    if (full && !p->full)
        env_report(p->env, BECK_EFULL,
                   "no space is left on the disk of \"%s\": events are refused until there is room",
                   p->dir);
    p->full = full;
}

/* The lock is held on entry and exit, and free during I/O. */
beck_status partition_write_batches(struct partition *p, beck_bytes batches, beck_error *err)
{
    size_t count;
    struct batch_header h = span_header(batches, &count);
    assert(h.base_offset == p->written);
    beck_status status = partition_reserve_producers(p, count);
    if (status)
        return error_set(err, status, "no memory for producers of bus \"%s\"", p->bus);
    if (p->options.memory)
        return keep_in_memory(p, batches, &h, err);
    status = partition_rouse(p, err);
    if (!status && partition_must_roll(p, &h))
        status = roll(p, h.base_offset, err);
    if (status) {
        note_room(p, status);
        return status;
    }
    struct segment *s = p->segments[p->segment_count - 1];
    int64_t position = atomic_load(&s->size);
    bool pad = worth_padding(p, batches);
    mutex_unlock(&p->lock);
    status = segment_write(s, batches, err);
    bool padded = !status && pad &&
                  segment_pad(s, position + (int64_t)batches.len, p->options.bus.segment_bytes);
    mutex_lock(&p->lock);
    note_room(p, status);
    if (padded)
        p->awaited = 0;
    /* An opening may find the refused batch whole. */
    if (status && s->haunted) {
        beck_error cause = {0};
        error_set(&cause, status, "%s", err ? err->text : "a write failed");
        partition_poison(p, "the undoing of a failed write", &cause);
        return partition_say_poisoned(p, err);
    }
    if (status)
        return status;
    if (p->unsynced_bytes == 0)
        p->unsynced_since_ns = clock_mono_ns(p->env->clock);
    p->unsynced_bytes += (int64_t)batches.len;
    p->written_bytes += batches.len;
    for (size_t at = 0; at < batches.len; at += batch_size(&h)) {
        const uint8_t *batch = (const uint8_t *)batches.data + at;
        status = batch_header_read(batch, &h, NULL);
        assert(!status);
        note_batch(p, s, bytes_of(batch, batch_size(&h)), &h);
    }
    return BECK_OK;
}

static void finish_gather(struct partition *p, struct gather *g)
{
    g->done = true;
    batch_builder_clear(&g->builder);
    buf_clear(&g->copied);
    g->lent = (beck_bytes){0};
    g->batches = 0;
    if (g->refs == 0)
        put_gather(p, g);
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
void partition_fail_gathered(struct partition *p, const beck_error *why)
{
    if (p->dedup)
        dedup_forget_from(p->dedup, p->written);
    p->next = p->written;
    struct gather *behind = p->gather;
    if (gather_is_empty(behind))
        return;
    p->gather = gather_get(p);
    fail_gather(p, behind, why);
}

/* Takes the gather and writes it. With the lock; nobody writes; after gather_reserve. */
static void write_gather(struct partition *p)
{
    assert(!p->writing && !gather_is_empty(p->gather));
    struct gather *g = p->gather;
    p->gather = gather_get(p);
    p->taken = g;
    p->writing = true;
    beck_error why;
    error_clear(&why);
    beck_bytes batch = g->lent.len ? g->lent : buf_bytes(&g->copied);
    beck_status status = p->poisoned ? partition_say_poisoned(p, &why) : BECK_OK;
    if (!status && g->batches == 0) {
        if (!p->options.memory)
            mutex_unlock(&p->lock);
        status = batch_builder_finish(&g->builder, p->options.memory ? NULL : &p->codec,
                                      p->options.memory ? BECK_CODEC_NONE : p->options.bus.codec,
                                      g->first_offset, NULL, &p->scratch, &batch, &why);
        if (!p->options.memory)
            mutex_lock(&p->lock);
    }
    if (!status)
        status = partition_write_batches(p, batch, &why);
    p->taken = NULL;
    if (status) {
        why.code = status;
        partition_fail_gathered(p, &why);
        fail_gather(p, g, &why);
    } else {
        partition_move_visible(p);
        partition_hand_on(p, g->routes, g->route_count, batch);
        finish_gather(p, g);
    }
    p->writing = false;
    cond_broadcast(&p->changed);
}

/* Gathers that a thread writes for others at most, before one of them goes on. */
#define TURNS 8

/* Events of level none that were gathered while somebody had the writer's part are the writer's to
 * write, until one of their publishers waits to go on. With the lock. */
void partition_write_orphans(struct partition *p)
{
    for (int turn = 1; !p->writing && p->gather->orphan && !gather_is_empty(p->gather) &&
                       p->heirs == 0 && !gather_reserve(p, NULL);
         turn++) {
        p->long_turn = turn > TURNS;
        write_gather(p);
        p->long_turn = false;
    }
}

/* Writes until `mine` is done (NULL: what is gathered now), and what is left of level none. With the
 * lock. */
beck_status partition_write_until(struct partition *p, struct gather *mine, beck_error *err)
{
    struct gather *g = mine ? mine : p->gather;
    beck_status status = BECK_OK;
    g->refs++;
    while (!g->done && !status) {
        if (p->writing) {
            cond_wait(&p->changed, &p->lock);
            continue;
        }
        /* Nothing of it was new. */
        if (gather_is_empty(p->gather))
            break;
        status = gather_reserve(p, err);
        if (!status)
            write_gather(p);
    }
    if (g->done)
        gather_unref(p, g);
    else
        g->refs--;
    if (!status)
        partition_write_orphans(p);
    return status;
}

beck_status partition_roll(struct partition *p, beck_error *err)
{
    while (p->writing)
        cond_wait(&p->changed, &p->lock);
    if (p->poisoned)
        return partition_say_poisoned(p, err);
    if (atomic_load(&p->segments[p->segment_count - 1]->size) == 0)
        return BECK_OK;
    p->writing = true;
    beck_status status = partition_rouse(p, err);
    if (!status)
        status = roll(p, p->written, err);
    p->writing = false;
    partition_write_orphans(p);
    cond_broadcast(&p->changed);
    return status;
}
