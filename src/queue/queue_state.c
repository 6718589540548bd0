/*
 * What lasts of a queue: operations and snapshots in the log of all queues (__queue_state), and
 * recovery from them.
 *
 * Records: subject = the queue. Type __queue_state (not stored, it is the bus's name) for
 * operations, "snapshot" for snapshots. Numbers are big-endian.
 *
 *   'S' settled      count u32, where u64 each
 *   'R' retried      where u64, meta u64, seq u64, due_ms u64 (0: at once), the failure as JSON
 *                    text to the end
 *   'D' redriven     count u32, offset u64 of each dead letter
 *   'P' dead purged  the same
 *
 *   snapshot:
 *     version     u8 = 2
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
 *     end         u8: 255, or 254 when nothing has been delivered since
 *
 * Everything that a snapshot refers to is synced before it is written, so it never speaks of events
 * that a loss of power took away.
 */
#include "queue/queue_impl.h"

#include "log/committer.h"

#include <assert.h>
#include <stdlib.h>

#define SNAPSHOT_VERSION 2
#define SNAPSHOT_OPEN 0xff /* its last byte: more may have been delivered since */
#define SNAPSHOT_CLOSED 0xfe
#define SOURCE_GONE 1
#define SOURCE_MIXED 2
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

/* Reading them: once something is missing, everything after reads as zero and `bad` stays set. */
struct input {
    const uint8_t *at, *end;
    bool bad;
};

static const uint8_t *take(struct input *in, size_t n)
{
    static const uint8_t zeros[8];
    if (in->bad || (size_t)(in->end - in->at) < n) {
        in->bad = true;
        return zeros;
    }
    in->at += n;
    return in->at - n;
}

static uint64_t take_u64(struct input *in)
{
    return get_u64(take(in, 8));
}

static uint32_t take_u32(struct input *in)
{
    return get_u32(take(in, 4));
}

static beck_bytes take_bytes(struct input *in, size_t n)
{
    const uint8_t *p = take(in, n);
    return in->bad ? (beck_bytes){0} : bytes_of(p, n);
}

static beck_bytes take_text(struct input *in)
{
    return take_bytes(in, get_u16(take(in, 2)));
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
    return partition_append(bus->partitions[0], &a, err);
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

beck_status state_settled(struct queue *q, const struct entry *entries, size_t count,
                          beck_error *err)
{
    if (!q->durable)
        return BECK_OK;
    struct buf b;
    beck_status status = begin_operation(&b, OP_SETTLED, 4 + count * 8, err);
    if (status)
        return status;
    add_u32(&b, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        add_u64(&b, entries[i].where);
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

static beck_status add_lists(struct queue *q, struct buf *b, struct fifo_sync *syncs,
                             beck_error *err)
{
    add_u32(b, q->options.priority_max + 1);
    for (uint32_t i = 0; i <= q->options.priority_max; i++) {
        struct fifo *f = q->levels[i];
        beck_status status = f ? fifo_write(f, &syncs[i], err) : BECK_OK;
        if (status)
            return status;
        add_u32(b, i);
        add_u64(b, f ? fifo_head(f) : 0);
        add_u64(b, f ? fifo_tail(f) : 0);
    }
    add_taken(q, b);
    size_t at = b->len;
    add_u32(b, 0);
    beck_status status = schedule_save(q->delayed, b, err);
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

/* With the lock, and no operation under way. syncs: of the lists, one for each level; what they say
 * is still to be done. */
static beck_status compose_snapshot(struct queue *q, struct buf *b, struct fifo_sync *syncs,
                                    beck_error *err)
{
    uint64_t replay_from = (uint64_t)partition_visible(q->home->state->partitions[0]);
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
        add_u64(b, (uint64_t)q->sources[i].popped);
        add_u64(b, (uint64_t)q->sources[i].suspect);
    }
    add_u32(b, q->binding_count);
    for (uint32_t i = 0; i < q->binding_count; i++) {
        add_text(b, q->bindings[i].bus->name);
        add_text(b, q->bindings[i].pattern);
        add_u32(b, q->bindings[i].bus->partition_count);
        for (uint32_t n = 0; n < q->bindings[i].bus->partition_count; n++)
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
    status = buf_append_byte(b, q->closing ? SNAPSHOT_CLOSED : SNAPSHOT_OPEN);
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
static beck_status sync_lists(struct queue *q, struct fifo_sync *syncs, beck_status status,
                              beck_error *err)
{
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
    if (!status && !partition_is_memory(q->home->dead->partitions[0]))
        status = partition_sync(q->home->dead->partitions[0], err);
    return status;
}

beck_status queue_snapshot(struct queue *q, beck_error *err)
{
    if (!q->durable)
        return BECK_OK;
    struct buf b;
    struct fifo_sync *syncs = calloc(q->options.priority_max + 1, sizeof *syncs);
    if (!syncs)
        return error_set(err, BECK_ENOMEM, "no memory for a snapshot of queue \"%s\"", q->name);
    buf_init(&b, SNAPSHOT_BYTES_MAX);
    mutex_lock(&q->lock);
    while (q->operations > 0 || q->limbo_working)
        cond_wait(&q->quiet, &q->lock);
    beck_status status = compose_snapshot(q, &b, syncs, err);
    uint32_t sources = q->source_count;
    mutex_unlock(&q->lock);
    status = sync_lists(q, syncs, status, err);
    if (!status)
        status = sync_sources(q, sources, err);
    if (!status)
        status = append_state(q, "snapshot", buf_bytes(&b), err);
    free(syncs);
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
            fifo_trim(q->levels[i], fifo_head(q->levels[i]));
    schedule_trim(q->delayed);
    mutex_unlock(&q->lock);
}

void queue_closing(struct queue *q)
{
    mutex_lock(&q->lock);
    q->closing = q->dirty = true;
    mutex_unlock(&q->lock);
}

bool queue_is_dirty(struct queue *q)
{
    mutex_lock(&q->lock);
    bool dirty = q->durable && q->dirty;
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
    if (q->home->dead && p == q->home->dead->partitions[0] && q->dead_next < offset)
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
    if (q->home->dead && p == q->home->dead->partitions[0])
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

/* ---- recovery ---- */

/* What operations after the snapshot say of an entry. */
struct change {
    uint64_t where; /* UINT64_MAX: free */
    bool retried, seen;
    bool dead; /* the last word on it, whatever was tried before */
    int64_t due_ms;
    struct entry entry;
};

struct recovery {
    struct queue *q;
    int64_t snapshot_offset, replay_from;
    struct change *changes; /* by where, open addressing */
    size_t change_count, change_cap;
    int64_t *redriven; /* offsets */
    size_t redriven_count;
    uint8_t *levels; /* of them; NULL: all 0 */
    bool *binding_known;
    bool closed;       /* the last snapshot was taken when the handle was closed */
    bool delayed_lost; /* files of the schedule are damaged */
};

static struct change *change_slot(struct recovery *r, uint64_t where)
{
    size_t slot = (size_t)((where * 0x9e3779b97f4a7c15ull) >> 32) & (r->change_cap - 1);
    while (r->changes[slot].where != UINT64_MAX && r->changes[slot].where != where)
        slot = (slot + 1) & (r->change_cap - 1);
    return &r->changes[slot];
}

static struct change *find_change(struct recovery *r, uint64_t where)
{
    struct change *c = r->change_cap ? change_slot(r, where) : NULL;
    return c && c->where == where ? c : NULL;
}

static beck_status note_change(struct recovery *r, const struct change *change)
{
    if (r->change_count * 2 >= r->change_cap) {
        struct recovery bigger = {.change_cap = r->change_cap ? r->change_cap * 2 : 1024};
        bigger.changes = malloc(bigger.change_cap * sizeof *bigger.changes);
        if (!bigger.changes)
            return BECK_ENOMEM;
        for (size_t i = 0; i < bigger.change_cap; i++)
            bigger.changes[i].where = UINT64_MAX;
        for (size_t i = 0; i < r->change_cap; i++)
            if (r->changes[i].where != UINT64_MAX)
                *change_slot(&bigger, r->changes[i].where) = r->changes[i];
        free(r->changes);
        r->changes = bigger.changes;
        r->change_cap = bigger.change_cap;
    }
    struct change *c = change_slot(r, change->where);
    r->change_count += c->where == UINT64_MAX;
    *c = *change;
    return BECK_OK;
}

static beck_status note_gone(struct recovery *r, uint64_t where)
{
    histories_remove(&r->q->histories, where);
    return note_change(r, &(struct change){.where = where});
}

static beck_status note_dead_entry(struct recovery *r, uint64_t where)
{
    histories_remove(&r->q->histories, where);
    return note_change(r, &(struct change){.where = where, .dead = true});
}

static beck_status replay_retried(struct recovery *r, struct input *in)
{
    struct change c = {.retried = true};
    c.where = c.entry.where = take_u64(in);
    c.entry.meta = take_u64(in);
    c.entry.seq = take_u64(in);
    c.due_ms = (int64_t)take_u64(in);
    if (in->bad)
        return BECK_OK;
    const struct change *known = find_change(r, c.where);
    if (known && known->dead)
        return BECK_OK;
    histories_add(&r->q->histories, c.where, bytes_of(in->at, (size_t)(in->end - in->at)));
    return note_change(r, &c);
}

static beck_status replay_operation(struct recovery *r, beck_bytes data)
{
    struct input in = {data.data, (const uint8_t *)data.data + data.len, false};
    uint8_t op = *take(&in, 1);
    beck_status status = BECK_OK;
    if (op == OP_RETRIED)
        return replay_retried(r, &in);
    uint32_t count = take_u32(&in);
    for (uint32_t i = 0; i < count && !in.bad && !status; i++) {
        uint64_t value = take_u64(&in);
        if (in.bad)
            break;
        if (op == OP_SETTLED) {
            status = note_gone(r, value);
        } else if (op == OP_DEAD_PURGED || op == OP_REDRIVEN) {
            bool had = dead_remove(r->q, (int64_t)value);
            if (op == OP_DEAD_PURGED || !had)
                continue;
            int64_t *grown = realloc(r->redriven, (r->redriven_count + 1) * sizeof *grown);
            if (!grown)
                return BECK_ENOMEM;
            r->redriven = grown;
            r->redriven[r->redriven_count++] = (int64_t)value;
        }
    }
    return status;
}

static beck_status load_sources(struct recovery *r, struct input *in,
                                beck_bus *(*bus)(void *, const char *), void *ctx, beck_error *err)
{
    struct queue *q = r->q;
    uint32_t count = take_u32(in);
    for (uint32_t i = 0; i < count && !in->bad; i++) {
        beck_bytes name = take_text(in);
        char text[256] = "";
        if (in->bad || name.len >= sizeof text)
            break;
        memcpy(text, name.data, name.len);
        uint32_t number = take_u32(in), index;
        uint8_t flags = *take(in, 1);
        int64_t routed = (int64_t)take_u64(in), popped = (int64_t)take_u64(in);
        int64_t suspect = (int64_t)take_u64(in);
        beck_bus *b = bus(ctx, text);
        if (b && number >= b->partition_count)
            b = NULL;
        bool gone = !b || flags & SOURCE_GONE;
        /* Entries name sources by their place: it must be the same as when the snapshot was taken.
         */
        beck_status status = gone ? queue_append_source(q, text, number, NULL, &index, err)
                                  : queue_add_source(q, text, number, b, &index, err);
        if (status)
            return status;
        struct source loaded = q->sources[index];
        q->sources[index] = q->sources[i];
        loaded.routed = routed;
        loaded.popped = popped;
        loaded.suspect = suspect;
        loaded.gone = gone;
        loaded.mixed = flags & SOURCE_MIXED;
        q->sources[i] = loaded;
    }
    return BECK_OK;
}

static void load_bindings(struct recovery *r, struct input *in)
{
    uint32_t count = take_u32(in);
    for (uint32_t i = 0; i < count && !in->bad; i++) {
        beck_bytes bus = take_text(in), pattern = take_text(in);
        uint32_t partitions = take_u32(in);
        beck_bytes first = take_bytes(in, (size_t)partitions * 8);
        for (uint32_t b = 0; b < r->q->binding_count; b++) {
            struct binding *known = &r->q->bindings[b];
            if (!bytes_equal_text(bus, known->bus->name) ||
                !bytes_equal_text(pattern, known->pattern))
                continue;
            r->binding_known[b] = true;
            /* A rewind has moved it since it was made. */
            for (uint32_t n = 0; n < partitions && n < known->bus->partition_count && !in->bad; n++)
                known->first[n] = (int64_t)get_u64((const uint8_t *)first.data + 8 * (size_t)n);
        }
    }
}

/* Files that are damaged or missing are made again: the entries are routed from where the fifo had
 * been taken to. */
static beck_status load_levels(struct recovery *r, struct input *in, bool *lost, beck_error *err)
{
    struct queue *q = r->q;
    *lost = false;
    uint32_t count = take_u32(in);
    for (uint32_t i = 0; i < count && !in->bad; i++) {
        uint32_t level = take_u32(in);
        uint64_t head = take_u64(in), tail = take_u64(in);
        beck_error why = {0};
        if (in->bad || level > q->options.priority_max || head > tail)
            continue;
        beck_status status =
            fifo_open(q->home->env->vfs, q->dir, level, head, tail, &q->levels[level], &why);
        if (status == BECK_ECORRUPT || status == BECK_ENOENT) {
            env_report(q->home->env, status,
                       "queue \"%s\": %s; its list is made again from the log", q->name, why.text);
            *lost = true;
            status = fifo_new(q->home->env->vfs, q->dir, level, tail, &q->levels[level], err);
        } else if (status) {
            error_set(err, status, "%s", why.text);
        }
        if (status)
            return status;
    }
    return BECK_OK;
}

static beck_status load_schedule(struct recovery *r, beck_bytes description, beck_error *err)
{
    struct queue *q = r->q;
    size_t used;
    beck_error why = {0};
    beck_status status = schedule_load(q->delayed, description, &used, &why);
    r->delayed_lost = status == BECK_ECORRUPT;
    if (r->delayed_lost)
        env_report(q->home->env, status,
                   "queue \"%s\": %s; its delayed events are read from the log again, and those "
                   "that waited for another try are ready now",
                   q->name, why.text);
    else if (status)
        error_set(err, status, "%s", why.text);
    return r->delayed_lost ? BECK_OK : status;
}

static beck_status load_rest(struct recovery *r, struct input *in, beck_error *err)
{
    struct queue *q = r->q;
    uint32_t count = take_u32(in);
    beck_status status = BECK_OK;
    for (uint32_t i = 0; i < count && !in->bad && !status; i++) {
        struct entry e = {take_u64(in), take_u64(in), take_u64(in)};
        if (!in->bad && entry_source(&e) < q->source_count)
            status = queue_push_return(q, &e);
    }
    beck_bytes description = take_bytes(in, take_u32(in));
    if (!status && !in->bad)
        status = load_schedule(r, description, err);
    count = take_u32(in);
    for (uint32_t i = 0; i < count && !in->bad && !status; i++) {
        int64_t offset = (int64_t)take_u64(in);
        if (!in->bad)
            status = dead_add(q, offset);
    }
    q->dead_next = (int64_t)take_u64(in);
    count = take_u32(in);
    for (uint32_t i = 0; i < count && !in->bad && !status; i++) {
        uint64_t where = take_u64(in);
        beck_bytes failure = take_bytes(in, take_u32(in));
        if (!in->bad)
            histories_add(&q->histories, where, failure);
    }
    r->closed = *take(in, 1) == SNAPSHOT_CLOSED;
    return status;
}

static beck_status load_snapshot(struct recovery *r, beck_bytes data,
                                 beck_bus *(*bus)(void *, const char *), void *ctx, beck_error *err)
{
    struct input in = {data.data, (const uint8_t *)data.data + data.len, false};
    if (*take(&in, 1) != SNAPSHOT_VERSION)
        return error_set(err, BECK_ECORRUPT,
                         "the snapshot of queue \"%s\" is of a version that this beck does not "
                         "know; use the one that wrote it",
                         r->q->name);
    take_u64(&in);
    beck_status status = load_sources(r, &in, bus, ctx, err);
    if (status)
        return status;
    load_bindings(r, &in);
    bool lost;
    status = load_levels(r, &in, &lost, err);
    if (!status)
        status = load_rest(r, &in, err);
    if (!status && lost) {
        mutex_lock(&r->q->lock);
        queue_rebuild(r->q);
        mutex_unlock(&r->q->lock);
    }
    if (!status && in.bad)
        status =
            error_set(err, BECK_ECORRUPT, "the snapshot of queue \"%s\" ends early", r->q->name);
    return status;
}

/* ---- applying the changes ---- */

static bool keep_scheduled(void *ctx, const struct scheduled *item)
{
    struct recovery *r = ctx;
    struct change *c = find_change(r, item->entry.where);
    if (c)
        c->seen = true;
    return c == NULL;
}

static void filter_returns(struct recovery *r)
{
    struct queue *q = r->q;
    size_t count = q->return_count;
    struct entry *entries = q->returns;
    /* Written behind the place read from: pushing never overtakes. */
    q->return_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct entry e = entries[i];
        struct change *c = find_change(r, e.where);
        if (c)
            c->seen = true;
        else
            queue_push_return(q, &e);
    }
}

/* Entries in the fifo up to the last that has changed leave it: changed ones for good, the others
 * are ready again. */
static beck_status filter_fifo(struct recovery *r, struct fifo *f, beck_error *err)
{
    struct fifo_walk walk;
    struct entry e;
    uint64_t number = fifo_head(f), behind_last = number;
    beck_status status = BECK_OK;
    size_t unseen = 0;
    for (size_t i = 0; i < r->change_cap; i++)
        unseen += r->changes[i].where != UINT64_MAX && !r->changes[i].seen;
    fifo_walk_begin(&walk, f);
    for (; unseen > 0 && (status = fifo_walk_next(&walk, &e, err)) == BECK_OK; number++) {
        struct change *c = find_change(r, e.where);
        if (!c || c->seen)
            continue;
        c->seen = true;
        c->entry.seq = e.seq; /* routed again, it may stand elsewhere than when it failed */
        unseen--;
        behind_last = number + 1;
    }
    fifo_walk_end(&walk);
    if (status == BECK_END)
        status = BECK_OK;
    while (!status && fifo_head(f) < behind_last) {
        status = fifo_pop(f, &e, err);
        if (status)
            break;
        queue_note_popped(r->q, &e);
        if (!find_change(r, e.where))
            status = queue_push_return(r->q, &e);
    }
    return status;
}

static beck_status apply_changes(struct recovery *r, beck_error *err)
{
    struct queue *q = r->q;
    beck_status status = BECK_OK;
    if (r->redriven_count > 0) {
        for (size_t i = 0; i < r->redriven_count && !status; i++) {
            struct entry e = dead_entry(q, r->redriven[i], r->levels ? r->levels[i] : 0);
            status = queue_push_return(q, &e);
        }
    }
    if (!status && r->change_count > 0) {
        status = schedule_filter(q->delayed, keep_scheduled, r, err);
        if (!status)
            filter_returns(r);
        for (uint32_t i = 0; i <= q->options.priority_max && !status; i++)
            if (q->levels[i])
                status = filter_fifo(r, q->levels[i], err);
    }
    for (size_t i = 0; i < r->change_cap && !status; i++) {
        struct change *c = &r->changes[i];
        if (c->where == UINT64_MAX || !c->retried || !c->seen)
            continue;
        status = c->due_ms > 0 ? queue_push_delayed(q, &c->entry, c->due_ms)
                               : queue_push_return(q, &c->entry);
    }
    struct scheduled first;
    q->next_due_ms = schedule_peek(q->delayed, &first, NULL) ? INT64_MAX : first.due_ms;
    return status;
}

/* ---- the whole ---- */

struct recover_all {
    struct queue_home *home;
    struct recovery *all;
    size_t count;
    struct queue *(*find)(void *ctx, beck_bytes name);
    beck_bus *(*bus)(void *ctx, const char *name);
    void *ctx;
};

static struct recovery *recovery_of(struct recover_all *a, beck_bytes name)
{
    struct queue *q = a->find(a->ctx, name);
    for (size_t i = 0; q && i < a->count; i++)
        if (a->all[i].q == q)
            return &a->all[i];
    return NULL;
}

typedef beck_status (*record_fn)(struct recover_all *a, const struct record_view *v,
                                 beck_error *err);

static beck_status scan(struct recover_all *a, struct partition *p, int64_t from, record_fn each,
                        beck_error *err)
{
    struct cursor *c;
    beck_status status = cursor_open(p, &c, err);
    if (status)
        return status;
    for (int64_t offset = from; !status;) {
        const struct record_view *v;
        status = cursor_read(c, offset, false, &v, NULL, err);
        if (status)
            break;
        offset = v->offset + 1;
        status = each(a, v, err);
        if (status == BECK_ENOMEM)
            error_set(err, status, "no memory to recover the queues");
    }
    cursor_close(c);
    return status == BECK_END ? BECK_OK : status;
}

static beck_status find_snapshot(struct recover_all *a, const struct record_view *v,
                                 beck_error *err)
{
    (void)err;
    struct recovery *r = recovery_of(a, v->event.subject);
    if (!r || !bytes_equal_text(v->event.type, "snapshot") || v->event.data.len < 9)
        return BECK_OK;
    r->snapshot_offset = v->offset;
    r->replay_from = (int64_t)get_u64((const uint8_t *)v->event.data.data + 1);
    return BECK_OK;
}

static beck_status load_if_last(struct recover_all *a, const struct record_view *v, beck_error *err)
{
    struct recovery *r = recovery_of(a, v->event.subject);
    if (!r || r->snapshot_offset != v->offset)
        return BECK_OK;
    r->q->keep_from = r->replay_from;
    beck_status status = load_snapshot(r, v->event.data, a->bus, a->ctx, err);
    r->q->dead_keep_from = r->q->dead_next;
    return status;
}

static beck_status replay_if_newer(struct recover_all *a, const struct record_view *v,
                                   beck_error *err)
{
    (void)err;
    struct recovery *r = recovery_of(a, v->event.subject);
    if (!r || v->offset < r->replay_from || bytes_equal_text(v->event.type, "snapshot"))
        return BECK_OK;
    return replay_operation(r, v->event.data);
}

/* A dead letter that the snapshot does not know: it is on the list, and its entry has left the
 * queue. */
static beck_status note_dead(struct recover_all *a, const struct record_view *v, beck_error *err)
{
    (void)err;
    struct dead_parts *parts = malloc(sizeof *parts);
    if (!parts)
        return BECK_ENOMEM;
    beck_status status = BECK_OK;
    struct recovery *r = dead_open(&v->event, parts) ? recovery_of(a, parts->queue) : NULL;
    if (r && v->offset >= r->q->dead_next) {
        status = dead_add(r->q, v->offset);
        char name[256] = "";
        if (parts->entry_bus.len < sizeof name)
            memcpy(name, parts->entry_bus.data, parts->entry_bus.len);
        /* It had been put back: the earlier letter is no more, also where that was not written. */
        if (strcmp(name, a->home->dead->name) == 0)
            dead_remove(r->q, parts->entry.offset);
        for (uint32_t i = 0; i < r->q->source_count && !status; i++)
            if (!r->q->sources[i].gone && r->q->sources[i].number == parts->entry.partition &&
                strcmp(r->q->sources[i].bus_name, name) == 0)
                status = note_dead_entry(r, entry_where(i, parts->entry.offset));
    }
    free(parts);
    return status;
}

/* Sources that no snapshot knows begin where their bindings do; bindings that none knows have their
 * history read. */
static beck_status begin_sources(struct recovery *r, beck_error *err)
{
    struct queue *q = r->q;
    beck_status status = BECK_OK;
    for (uint32_t i = 0; i < q->source_count; i++) {
        struct source *s = &q->sources[i];
        if (s->routed >= 0)
            continue;
        for (uint32_t b = 0; b < q->binding_count; b++) {
            int64_t first = q->bindings[b].bus == s->bus ? q->bindings[b].first[s->number] : -1;
            if (first >= 0 && (s->routed < 0 || first < s->routed))
                s->routed = s->popped = first;
        }
        if (s->routed < 0)
            s->routed = s->popped = 0;
    }
    for (uint32_t b = 0; b < q->binding_count && r->snapshot_offset >= 0 && !status; b++)
        if (!r->binding_known[b])
            status = queue_read_history(q, b, err);
    return status;
}

/* The process ended without saying what it had delivered last. */
static void suspect_everything(struct queue *q)
{
    for (uint32_t i = 0; i < q->source_count; i++)
        q->sources[i].suspect = q->sources[i].routed;
}

static beck_status recover_queues(struct recover_all *a, beck_error *err)
{
    struct partition *state = a->home->state->partitions[0];
    struct partition *dead = a->home->dead->partitions[0];
    int64_t dead_from = INT64_MAX;
    beck_status status = scan(a, state, 0, find_snapshot, err);
    if (!status)
        status = scan(a, state, 0, load_if_last, err);
    if (!status)
        for (size_t i = 0; i < a->count; i++)
            if (a->all[i].q->dead_next < dead_from)
                dead_from = a->all[i].q->dead_next;
    if (!status && a->count > 0)
        status = scan(a, dead, dead_from, note_dead, err);
    if (!status)
        status = scan(a, state, 0, replay_if_newer, err);
    for (size_t i = 0; i < a->count && !status; i++) {
        status = begin_sources(&a->all[i], err);
        if (!status) {
            queue_catch_up(a->all[i].q);
            if (a->all[i].delayed_lost)
                status = queue_rebuild_delayed(a->all[i].q, err);
            if (!status && a->all[i].q->options.priority_max && a->all[i].redriven_count)
                status = dead_levels(a->all[i].q, a->all[i].redriven, a->all[i].redriven_count,
                                     &a->all[i].levels, err);
        }
        if (!status) {
            mutex_lock(&a->all[i].q->lock);
            status = apply_changes(&a->all[i], err);
            if (!status && !a->all[i].closed)
                suspect_everything(a->all[i].q);
            a->all[i].q->dirty = true;
            a->all[i].q->recovering = false;
            mutex_unlock(&a->all[i].q->lock);
        }
    }
    return status;
}

beck_status queues_recover(struct queue_home *home,
                           struct queue *(*find)(void *ctx, beck_bytes name),
                           beck_bus *(*bus)(void *ctx, const char *name), void *ctx,
                           struct queue *const *queues, size_t count, beck_error *err)
{
    struct recover_all a = {home, calloc(count ? count : 1, sizeof(struct recovery)), 0, find, bus,
                            ctx};
    if (!a.all)
        return error_set(err, BECK_ENOMEM, "no memory to recover the queues");
    beck_status status = BECK_OK;
    for (size_t i = 0; i < count; i++) {
        if (!queues[i]->durable)
            continue;
        struct recovery *r = &a.all[a.count];
        r->q = queues[i];
        r->q->recovering = true;
        r->snapshot_offset = -1;
        r->binding_known = calloc(queues[i]->binding_count + 1, sizeof *r->binding_known);
        if (!r->binding_known)
            status = error_set(err, BECK_ENOMEM, "no memory to recover the queues");
        a.count++;
    }
    if (!status)
        status = recover_queues(&a, err);
    for (size_t i = 0; i < a.count; i++) {
        free(a.all[i].changes);
        free(a.all[i].redriven);
        free(a.all[i].levels);
        free(a.all[i].binding_known);
    }
    free(a.all);
    return status;
}
