/*
 * What lasts of a queue: operations and snapshots in the log of all queues (__queue_state). Recovery
 * from them is in queue_recover.c.
 *
 * Records: subject = the queue. Type __queue_state (not stored, it is the bus's name) for
 * operations, "snapshot" for snapshots. Numbers are big-endian.
 *
 *   'S' settled      count u32, where u64 each, bytes of their data u64 (not in older logs)
 *   'R' retried      where u64, meta u64, seq u64, due_ms u64 (0: at once), the failure as JSON
 *                    text to the end; also that it was rejected and waits (entry_rejected)
 *   'C' given back   count u32; each: where u64, meta u64 (the attempt is counted in it), seq u64,
 *                    due_ms u64 (0: at once)
 *   'D' redriven     count u32, offset u64 of each dead letter
 *   'P' dead purged  the same
 *
 *   snapshot:
 *     version     u8 = 3
 *     replay_from u64: operations from that offset of this log on are newer than the snapshot, also
 *                 where they stand before it
 *     sources     count u32; each: name length u16, name, number u32, flags u8 (1 its bus is gone,
 *                 2 the lists may hold its events out of order), routed u64, popped u64, suspect u64
 *     bindings    count u32; each: bus length u16, bus, pattern length u16, pattern, partitions u32,
 *                 first u64 of each (those bindings whose history has been read)
 *     levels      count u32; each: level u32, head u64, tail u64 (what is between is in the fifo's
 *                 files)
 *     taken       count u32; each: where u64, meta u64, seq u64 (ready again, in flight or in limbo)
 *     schedule    length u32, its description
 *     dead        count u32; each: offset u64; then next u64 (dead letters below have been looked
 *                 at)
 *     failures    count u32; each: where u64, length u32, JSON text
 *     bytes       u64: data of all that is in the lists, taken or in the schedule, but dead letters
 *                 that were put back (not in version 2)
 *     end         u8: 255; less 1 when nothing has been delivered since, less 2 when a function
 *                 buries (queue_set_bury)
 *
 * Everything that a snapshot refers to is synced before it is written, so it never speaks of events
 * that a loss of power took away.
 */
#include "queue/queue_impl.h"

#include "log/committer.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define SNAPSHOT_BYTES_MAX (60u << 20)

/* ---- writing numbers ---- */

/* Once something could not be appended, nothing is any more: so the last byte is there only when
 * all is. */
static void add(struct buf *b, const void *data, size_t n)
{
    if (buf_append(b, data, n))
        b->cap = b->max = b->len;
}

static void add_u64(struct buf *b, uint64_t v)
{
    uint8_t p[8];
    put_u64(p, v);
    add(b, p, sizeof p);
}

static void add_u32(struct buf *b, uint32_t v)
{
    uint8_t p[4];
    put_u32(p, v);
    add(b, p, sizeof p);
}

static void add_u8(struct buf *b, uint8_t v)
{
    add(b, &v, 1);
}

static void add_text(struct buf *b, const char *text)
{
    uint8_t p[2];
    put_u16(p, (uint16_t)strlen(text));
    add(b, p, sizeof p);
    add(b, text, strlen(text));
}

/* ---- whether it is known ---- */

const char *queues_damage(const struct queue_home *home)
{
    return home->state ? partition_damage(bus_partition(home->state, 0)) : NULL;
}

beck_status queue_check_known(const struct queue *q, beck_error *err)
{
    const char *damage = q->durable ? queues_damage(q->home) : NULL;
    return damage ? error_set(err, BECK_ECORRUPT,
                              "what queue \"%s\" holds and has settled is not known: %s", q->name,
                              damage)
                  : BECK_OK;
}

/* ---- operations ---- */

static beck_status append_state(struct queue *q, const char *type, beck_bytes data, beck_error *err)
{
    beck_bus *bus = q->home->state;
    beck_event e = {
        .type = beck_str(type ? type : bus->name), .subject = beck_str(q->name), .data = data};
    const beck_event *list[] = {&e};
    struct append a = {.events = list,
                       .count = 1,
                       .level = BECK_LEVEL_WRITTEN,
                       .generation = atomic_load(&bus->topology)};
    return partition_append(bus_partition(bus, 0), &a, err);
}

static beck_status append_operation(struct queue *q, struct buf *b, beck_error *err)
{
    if (!q->durable) {
        buf_release(b);
        return BECK_OK;
    }
    beck_status status = append_state(q, NULL, buf_bytes(b), err);
    buf_release(b);
    return status;
}

static beck_status begin_operation(struct buf *b, enum operation op, size_t bytes, beck_error *err)
{
    buf_init(b, bytes + 16);
    beck_status status = buf_reserve(b, bytes + 16);
    if (status)
        return error_set(err, status, "no memory to write down what happened in a queue");
    return buf_append_byte(b, (uint8_t)op);
}

beck_status state_settled(struct queue *q, const struct entry *entries, size_t count, int64_t bytes,
                          beck_error *err)
{
    if (!q->durable)
        return BECK_OK;
    struct buf b;
    beck_status status = begin_operation(&b, OP_SETTLED, 12 + count * 8, err);
    if (status)
        return status;
    add_u32(&b, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        add_u64(&b, entries[i].where);
    add_u64(&b, (uint64_t)bytes);
    return append_operation(q, &b, err);
}

beck_status state_retried(struct queue *q, const struct entry *e, int64_t due_ms,
                          beck_bytes failure, beck_error *err)
{
    struct buf b;
    beck_status status = begin_operation(&b, OP_RETRIED, 32 + failure.len, err);
    if (status)
        return status;
    add_u64(&b, e->where);
    add_u64(&b, e->meta);
    add_u64(&b, e->seq);
    add_u64(&b, (uint64_t)due_ms);
    buf_append(&b, failure.data, failure.len);
    return append_operation(q, &b, err);
}

beck_status state_given_back(struct queue *q, const struct scheduled *items, size_t count,
                             beck_error *err)
{
    if (!q->durable)
        return BECK_OK;
    struct buf b;
    beck_status status = begin_operation(&b, OP_GIVEN_BACK, 4 + count * 32, err);
    if (status)
        return status;
    add_u32(&b, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        add_u64(&b, items[i].entry.where);
        add_u64(&b, items[i].entry.meta);
        add_u64(&b, items[i].entry.seq);
        add_u64(&b, (uint64_t)items[i].due_ms);
    }
    return append_operation(q, &b, err);
}

beck_status state_dead(struct queue *q, enum operation op, const int64_t *offsets, size_t count,
                       beck_error *err)
{
    struct buf b;
    beck_status status = begin_operation(&b, op, 4 + count * 8, err);
    if (status)
        return status;
    add_u32(&b, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        add_u64(&b, (uint64_t)offsets[i]);
    return append_operation(q, &b, err);
}

/* ---- snapshots ---- */

static void add_entry(struct buf *b, const struct entry *e)
{
    add_u64(b, e->where);
    add_u64(b, e->meta);
    add_u64(b, e->seq);
}

static void add_taken(const struct queue *q, struct buf *b)
{
    add_u32(b, (uint32_t)(q->return_count + (size_t)q->in_flight + q->limbo_count));
    for (size_t i = 0; i < q->return_count; i++)
        add_entry(b, &q->returns[i]);
    for (const struct slot *s = q->first_deadline; s; s = s->next) {
        struct entry e = s->entry;
        e.meta |= ENTRY_DELIVERED;
        add_entry(b, &e);
    }
    for (size_t i = 0; i < q->limbo_count; i++)
        add_entry(b, &queue_limbo(q, i)->entry);
}

static int64_t all_bytes(const struct queue *q)
{
    int64_t bytes = q->ready_bytes;
    for (const struct slot *s = q->first_deadline; s; s = s->next)
        bytes += slot_bytes(s);
    for (size_t i = 0; i < q->limbo_count; i++)
        bytes += queue_limbo(q, i)->size > 0 ? queue_limbo(q, i)->size : 0;
    return bytes > 0 ? bytes : 0;
}

static beck_status add_failure(void *ctx, uint64_t where, beck_bytes failure)
{
    struct buf *b = ctx;
    add_u64(b, where);
    add_u32(b, (uint32_t)failure.len);
    add(b, failure.data, failure.len);
    return BECK_OK;
}

static beck_status count_failure(void *ctx, uint64_t where, beck_bytes failure)
{
    (void)where;
    (void)failure;
    ++*(uint32_t *)ctx;
    return BECK_OK;
}

/* What is still to be synced of what a snapshot refers to. */
struct file_syncs {
    struct fifo_sync *lists; /* one for each level */
    struct schedule_sync delayed;
};

static beck_status add_lists(struct queue *q, struct buf *b, struct file_syncs *syncs,
                             beck_error *err)
{
    add_u32(b, q->options.priority_max + 1);
    for (uint32_t i = 0; i <= q->options.priority_max; i++) {
        struct fifo *f = q->levels[i];
        beck_status status = f ? fifo_write(f, &syncs->lists[i], err) : BECK_OK;
        if (status)
            return status;
        q->saved_heads[i] = f ? fifo_head(f) : 0;
        add_u32(b, i);
        add_u64(b, q->saved_heads[i]);
        add_u64(b, f ? fifo_tail(f) : 0);
    }
    add_taken(q, b);
    size_t at = b->len;
    add_u32(b, 0);
    beck_status status = schedule_write(q->delayed, b, &syncs->delayed, err);
    if (!status && b->len >= at + 4)
        put_u32(b->data + at, (uint32_t)(b->len - at - 4));
    return status;
}

/* With nothing in the lists it is known exactly what has left them. */
static void tidy_sources(struct queue *q)
{
    for (uint32_t i = 0; i <= q->options.priority_max; i++)
        if (q->levels[i] && fifo_count(q->levels[i]) > 0)
            return;
    for (uint32_t i = 0; i < q->source_count; i++) {
        struct source *s = &q->sources[i];
        if (s->routed > s->popped)
            s->popped = s->routed;
        s->mixed = false;
    }
}

/* With the lock, and no operation under way. What syncs say is still to be done. */
static beck_status compose_snapshot(struct queue *q, struct buf *b, struct file_syncs *syncs,
                                    beck_error *err)
{
    uint64_t replay_from = (uint64_t)partition_visible(bus_partition(q->home->state, 0));
    tidy_sources(q);
    add_u8(b, SNAPSHOT_VERSION);
    add_u64(b, replay_from);
    add_u32(b, q->source_count);
    for (uint32_t i = 0; i < q->source_count; i++) {
        add_text(b, q->sources[i].bus_name);
        add_u32(b, q->sources[i].number);
        add_u8(b, (uint8_t)((q->sources[i].gone ? SOURCE_GONE : 0) |
                            (q->sources[i].mixed ? SOURCE_MIXED : 0)));
        add_u64(b, (uint64_t)q->sources[i].routed);
        q->sources[i].saved = q->sources[i].routed;
        add_u64(b, (uint64_t)q->sources[i].popped);
        add_u64(b, (uint64_t)q->sources[i].suspect);
    }
    add_u32(b, q->binding_count);
    for (uint32_t i = 0; i < q->binding_count; i++) {
        add_text(b, q->bindings[i].bus->name);
        add_text(b, q->bindings[i].pattern);
        uint32_t partitions = q->bindings[i].bus->partition_count;
        add_u32(b, partitions);
        for (uint32_t n = 0; n < partitions; n++)
            add_u64(b, (uint64_t)q->bindings[i].first[n]);
    }
    beck_status status = add_lists(q, b, syncs, err);
    if (status)
        return status;
    add_u32(b, (uint32_t)q->dead_count);
    for (size_t i = 0; i < q->dead_count; i++)
        add_u64(b, (uint64_t)q->dead[i]);
    add_u64(b, (uint64_t)q->dead_next);
    uint32_t failures = 0;
    histories_each(&q->histories, count_failure, &failures);
    add_u32(b, failures);
    histories_each(&q->histories, add_failure, b);
    add_u64(b, (uint64_t)all_bytes(q));
    int without = (q->closing ? SNAPSHOT_CLOSED : 0) | (q->bury || q->held ? SNAPSHOT_BURIES : 0);
    status = buf_append_byte(b, (uint8_t)(SNAPSHOT_END & ~without));
    if (status && b->len < SNAPSHOT_BYTES_MAX / 2)
        return error_set(err, BECK_ENOMEM, "no memory for a snapshot of queue \"%s\"", q->name);
    if (status)
        return error_set(err, status,
                         "the state of queue \"%s\" is larger than %u bytes; settle or purge what "
                         "has been taken or is dead",
                         q->name, SNAPSHOT_BYTES_MAX);
    q->snapshot_from = (int64_t)replay_from;
    q->snapshot_dead_next = q->dead_next;
    q->dirty = false;
    return BECK_OK;
}

/* Without the lock, which publishers and consumers want. */
static beck_status sync_lists(struct queue *q, struct file_syncs *all, beck_status status,
                              beck_error *err)
{
    struct fifo_sync *syncs = all->lists;
    for (uint32_t i = 0; i <= q->options.priority_max; i++) {
        if (syncs[i].file == syncs[i].end_file)
            continue;
        mutex_lock(&q->lock);
        struct fifo *f = q->levels[i];
        mutex_unlock(&q->lock);
        if (!status)
            status = fifo_sync(f, &syncs[i], err);
        mutex_lock(&q->lock);
        fifo_synced(f, &syncs[i], !status);
        mutex_unlock(&q->lock);
    }
    if (!status)
        status = schedule_sync(q->delayed, &all->delayed, err);
    mutex_lock(&q->lock);
    schedule_synced(q->delayed, &all->delayed, !status);
    mutex_unlock(&q->lock);
    return status;
}

static beck_status sync_sources(struct queue *q, uint32_t sources, beck_error *err)
{
    beck_status status = BECK_OK;
    for (uint32_t i = 0; i < sources && !status; i++) {
        mutex_lock(&q->lock);
        struct partition *p = q->sources[i].partition;
        mutex_unlock(&q->lock);
        if (p)
            status = partition_sync(p, err);
    }
    if (!status && !partition_is_memory(bus_partition(q->home->dead, 0)))
        status = partition_sync(bus_partition(q->home->dead, 0), err);
    return status;
}

/* Before a snapshot speaks of files: also when the directory was there, as whoever made it may have ended before
 * this. Most queues never have a file. */
static beck_status keep_directory(struct queue *q, beck_error *err)
{
    mutex_lock(&q->lock);
    bool files = schedule_count(q->delayed) > 0;
    for (uint32_t i = 0; i <= q->options.priority_max; i++)
        files |= q->levels[i] != NULL;
    bool kept = q->dir_kept || !files;
    mutex_unlock(&q->lock);
    if (kept)
        return BECK_OK;
    char parent[4200];
    snprintf(parent, sizeof parent, "%s/__queues", q->home->data_dir);
    beck_status status = vfs_sync_dir(q->home->env->vfs, q->home->data_dir, err);
    if (!status)
        status = vfs_sync_dir(q->home->env->vfs, parent, err);
    mutex_lock(&q->lock);
    q->dir_kept = status == BECK_OK;
    mutex_unlock(&q->lock);
    return status;
}

beck_status queue_snapshot(struct queue *q, beck_error *err)
{
    if (!q->durable)
        return BECK_OK;
    beck_status kept = keep_directory(q, err);
    if (kept)
        return kept;
    struct buf b;
    struct file_syncs syncs = {.lists = calloc(q->options.priority_max + 1, sizeof *syncs.lists)};
    if (!syncs.lists)
        return error_set(err, BECK_ENOMEM, "no memory for a snapshot of queue \"%s\"", q->name);
    buf_init(&b, SNAPSHOT_BYTES_MAX);
    mutex_lock(&q->lock);
    while (q->operations > 0 || q->limbo_working)
        cond_wait(&q->quiet, &q->lock);
    beck_status status = compose_snapshot(q, &b, &syncs, err);
    uint32_t sources = q->source_count;
    mutex_unlock(&q->lock);
    status = sync_lists(q, &syncs, status, err);
    if (!status)
        status = sync_sources(q, sources, err);
    if (!status)
        status = append_state(q, "snapshot", buf_bytes(&b), err);
    free(syncs.lists);
    buf_release(&b);
    if (status) {
        mutex_lock(&q->lock);
        q->dirty = true;
        mutex_unlock(&q->lock);
    }
    return status;
}

void queue_snapshot_synced(struct queue *q)
{
    mutex_lock(&q->lock);
    q->keep_from = q->snapshot_from;
    q->dead_keep_from = q->snapshot_dead_next;
    for (uint32_t i = 0; i <= q->options.priority_max; i++)
        if (q->levels[i])
            fifo_trim(q->levels[i], q->saved_heads[i]);
    schedule_trim(q->delayed);
    mutex_unlock(&q->lock);
}

void queue_closing(struct queue *q)
{
    mutex_lock(&q->lock);
    q->closing = q->dirty = true;
    mutex_unlock(&q->lock);
}

#define PASSED_MAX 50000 /* events of others that an opening passes over for a queue */

bool queue_is_dirty(struct queue *q)
{
    mutex_lock(&q->lock);
    bool dirty = q->durable && q->dirty;
    for (uint32_t i = 0; i < q->source_count && q->durable && !dirty; i++)
        dirty = q->sources[i].live && q->sources[i].routed - q->sources[i].saved > PASSED_MAX;
    mutex_unlock(&q->lock);
    return dirty;
}

int64_t queue_keep_from(struct queue *q)
{
    mutex_lock(&q->lock);
    int64_t from = q->durable ? q->keep_from : INT64_MAX;
    mutex_unlock(&q->lock);
    return from;
}

int64_t queue_dead_keep_from(struct queue *q)
{
    mutex_lock(&q->lock);
    int64_t from = q->durable ? q->dead_keep_from : INT64_MAX;
    mutex_unlock(&q->lock);
    return from;
}

void queue_note_routed(struct queue *q, struct partition *p, int64_t offset)
{
    mutex_lock(&q->lock);
    uint32_t index = queue_find_source(q, p);
    if (index != UINT32_MAX && q->sources[index].live && q->sources[index].routed < offset)
        q->sources[index].routed = offset;
    if (q->home->dead && p == bus_partition(q->home->dead, 0) && q->dead_next < offset)
        q->dead_next = offset;
    mutex_unlock(&q->lock);
}

/* ---- what is owed ---- */

struct owed {
    uint32_t source;
    int64_t first, next;
    uint8_t *bits;
};

static void mark_owed(struct owed *o, const struct entry *e)
{
    int64_t offset = entry_offset(e);
    if (entry_source(e) == o->source && offset >= o->first && offset < o->next)
        o->bits[(offset - o->first) / 8] |= (uint8_t)(1 << (offset - o->first) % 8);
}

static int mark_scheduled(void *ctx, const struct scheduled *item)
{
    mark_owed(ctx, &item->entry);
    return 0;
}

void queue_mark_owed(struct queue *q, struct partition *p, int64_t first, int64_t next,
                     uint8_t *bits)
{
    mutex_lock(&q->lock);
    struct owed o = {queue_find_source(q, p), first, next, bits};
    if (q->home->dead && p == bus_partition(q->home->dead, 0))
        for (size_t i = 0; i < q->dead_count; i++)
            if (q->dead[i] >= first && q->dead[i] < next)
                bits[(q->dead[i] - first) / 8] |= (uint8_t)(1 << (q->dead[i] - first) % 8);
    if (o.source != UINT32_MAX) {
        /* What is still to be read from the log is owed as well. */
        struct source *s = &q->sources[o.source];
        bool behind = !s->live && s->bus && queue_is_bound_to(q, s->bus);
        for (int64_t i = s->routed > first ? s->routed : first; behind && i < next; i++)
            bits[(i - first) / 8] |= (uint8_t)(1 << (i - first) % 8);
        for (uint32_t level = 0; level <= q->options.priority_max; level++) {
            struct fifo_walk walk;
            struct entry e;
            if (!q->levels[level])
                continue;
            fifo_walk_begin(&walk, q->levels[level]);
            while (fifo_walk_next(&walk, &e, NULL) == BECK_OK) {
                mark_owed(&o, &e);
                if (!s->mixed && entry_source(&e) == o.source && entry_offset(&e) >= next)
                    break; /* in order, within a source */
            }
            fifo_walk_end(&walk);
        }
        for (size_t i = 0; i < q->return_count; i++)
            mark_owed(&o, &q->returns[i]);
        for (const struct slot *slot = q->first_deadline; slot; slot = slot->next)
            mark_owed(&o, &slot->entry);
        for (size_t i = 0; i < q->limbo_count; i++)
            mark_owed(&o, &queue_limbo(q, i)->entry);
        schedule_each(q->delayed, mark_scheduled, &o, NULL);
    }
    mutex_unlock(&q->lock);
}
