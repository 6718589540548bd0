/*
 * Looking after a handle: checkpoints, retention, and what time brings to queues that nobody is
 * taking from. One thread, the timer.
 *
 * A checkpoint: with each partition paused for a moment, queues learn how far it has been routed;
 * queues that changed write a snapshot; recovery points are written; then the state log gives up
 * what all snapshots have left behind. After it, a restart reads only what came since.
 */
#include "api/handle.h"
#include "bus/own_bus.h"
#include "log/committer.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define TICK_MS 250
#define DUE_PAUSE_NS 1000000

/* ---- checkpoints ---- */

static void note_routed(const struct handle_view *v)
{
    for (size_t i = 0; i < v->bus_count; i++) {
        beck_bus *bus = v->buses[i];
        bool is_dead = strcmp(bus->name, OWN_DEAD_LETTERS) == 0;
        if (bus->options.storage != BECK_STORAGE_DISK || atomic_load(&bus->closed) ||
            (!is_dead && atomic_load(&bus->route_count) == 0 &&
             atomic_load(&bus->joined_count) == 0))
            continue;
        for (uint32_t n = 0; n < bus->partition_count; n++) {
            struct partition *p = bus_partition(bus, n);
            if (partition_damage(p))
                continue;
            partition_pause(p);
            /* What is not visible yet has not come through the hook. */
            int64_t end = partition_visible(p);
            for (size_t k = 0; k < v->queue_count && !bus->options.read_synced; k++)
                queue_note_routed(v->queues[k], p, end);
            partition_resume(p);
        }
    }
}

static beck_status snapshot_queues(beck *b, const struct handle_view *v, beck_error *err)
{
    if (queues_damage(&b->home))
        return BECK_OK;
    beck_status status = BECK_OK;
    bool *taken = calloc(v->queue_count + 1, sizeof *taken), any = false;
    if (!taken)
        return error_set(err, BECK_ENOMEM, "no memory for a checkpoint");
    for (size_t i = 0; i < v->queue_count && !status; i++) {
        taken[i] = queue_is_dirty(v->queues[i]);
        any |= taken[i];
        if (taken[i])
            status = queue_snapshot(v->queues[i], err);
    }
    struct partition *state = bus_partition(b->home.state, 0);
    if (!status && any)
        status = partition_sync(state, err);
    for (size_t i = 0; i < v->queue_count && !status; i++)
        if (taken[i])
            queue_snapshot_synced(v->queues[i]);
    free(taken);
    int64_t keep = partition_visible(state);
    for (size_t i = 0; i < v->queue_count && !status; i++)
        if (queue_keep_from(v->queues[i]) < keep)
            keep = queue_keep_from(v->queues[i]);
    if (!status && keep > partition_first(state))
        status = partition_truncate_before(state, keep, err);
    struct partition *dead = bus_partition(b->home.dead, 0);
    int64_t dead_keep = partition_synced(dead);
    for (size_t i = 0; i < v->queue_count && !status; i++)
        if (queue_dead_keep_from(v->queues[i]) < dead_keep)
            dead_keep = queue_dead_keep_from(v->queues[i]);
    if (!status && dead_keep > partition_first(dead) && !partition_damage(dead))
        status = partition_truncate_before(dead, dead_keep, err);
    return status;
}

static bool checkpoints_equal(const struct checkpoint *a, const struct checkpoint *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; i < a->count && same; i++)
        same = strcmp(a->entries[i].bus, b->entries[i].bus) == 0 &&
               a->entries[i].partition == b->entries[i].partition &&
               a->entries[i].offset == b->entries[i].offset;
    return same;
}

void upkeep_checkpoint_path(const beck *b, const struct checkpoint *known, char *out, size_t size)
{
    snprintf(out, size, "%s/%s-offset-checkpoint", b->data_dir,
             known == &b->recovery    ? "recovery-point"
             : known == &b->log_start ? "log-start"
                                      : "cleaner");
}

beck_status upkeep_put_checkpoint(beck *b, struct checkpoint *known, struct checkpoint *fresh,
                                  beck_error *err)
{
    char path[4200];
    upkeep_checkpoint_path(b, known, path, sizeof path);
    beck_status status = checkpoint_write(b->env.vfs, path, fresh, err);
    if (status)
        return status;
    struct checkpoint old = *known;
    *known = *fresh;
    *fresh = old;
    return BECK_OK;
}

bool upkeep_knows_starts(const struct checkpoint *log_start)
{
    int64_t any;
    return checkpoint_get(log_start, STARTS_MARK, 0, &any);
}

struct points {
    struct checkpoint recovery, log_start, cleaned;
};

/* What a checkpoint has found out of one partition. */
struct point {
    int64_t recovery, log_start, cleaned;
    beck_status status;
};

struct bus_points {
    const beck_bus *bus;
    struct point *of;  /* each partition */
    uint32_t *written; /* those that wait for the disk */
    struct mutex lock; /* bus_points.lock */
    beck_error *why;   /* one of them fails */
};

static void find_point(struct bus_points *all, uint32_t number)
{
    struct partition *partition = bus_partition(all->bus, number);
    struct point *p = &all->of[number];
    beck_error why = {0};
    p->cleaned = partition_cleaned(partition);
    p->status = partition_checkpoint(partition, &p->recovery, &p->log_start, &why);
    if (!p->status)
        return;
    mutex_lock(&all->lock);
    *all->why = why;
    mutex_unlock(&all->lock);
}

static void find_written_point(void *ctx, size_t i)
{
    struct bus_points *all = ctx;
    find_point(all, all->written[i]);
}

/* The points of one partition. When it has no new ones the old ones stand. */
static beck_status add_point(const beck *b, const char *bus, uint32_t number, struct point p,
                             struct points *fresh)
{
    if (p.status) {
        p.recovery = -1;
        p.log_start = 0;
        checkpoint_get(&b->recovery, bus, number, &p.recovery);
        checkpoint_get(&b->log_start, bus, number, &p.log_start);
    }
    beck_status added = BECK_OK;
    if (p.recovery >= 0)
        added = checkpoint_set(&fresh->recovery, bus, number, p.recovery);
    if (!added && p.log_start > 0)
        added = checkpoint_set(&fresh->log_start, bus, number, p.log_start);
    if (!added && p.cleaned > 0)
        added = checkpoint_set(&fresh->cleaned, bus, number, p.cleaned);
    return added;
}

/* Of all partitions of a bus; goes on after one that fails. BECK_ENOMEM: not all are added. */
static beck_status add_points(beck *b, beck_bus *bus, struct points *fresh, beck_error *err)
{
    uint32_t count = bus->partition_count;
    size_t written = 0;
    struct bus_points all = {.bus = bus,
                             .of = calloc(count, sizeof *all.of),
                             .written = calloc(count, sizeof *all.written),
                             .why = err};
    beck_status status = BECK_OK, added = all.of && all.written ? BECK_OK : BECK_ENOMEM;
    mutex_init(&all.lock);
    for (uint32_t n = 0; n < count && !added; n++) {
        if (partition_is_checkpointed(bus_partition(bus, n)))
            find_point(&all, n);
        else
            all.written[written++] = n;
    }
    committer_share(b->env.committer, find_written_point, &all, written);
    for (uint32_t n = 0; n < count && !added; n++) {
        status = all.of[n].status ? all.of[n].status : status;
        added = add_point(b, bus->name, n, all.of[n], fresh);
    }
    mutex_release(&all.lock);
    free(all.of);
    free(all.written);
    return added ? error_set(err, added, "no memory for a checkpoint") : status;
}

/* Goes on after a partition that fails: one that is poisoned must not hold up the others. */
static beck_status write_recovery_points(beck *b, const struct handle_view *v, beck_error *err)
{
    struct points fresh;
    beck_status status = BECK_OK;
    checkpoint_init(&fresh.recovery);
    checkpoint_init(&fresh.log_start);
    checkpoint_init(&fresh.cleaned);
    for (size_t i = 0; i < v->bus_count && status != BECK_ENOMEM; i++) {
        beck_bus *bus = v->buses[i];
        if (bus->options.storage != BECK_STORAGE_DISK || atomic_load(&bus->closed))
            continue;
        beck_error why = {0};
        if (add_points(b, bus, &fresh, &why) && (!status || why.code == BECK_ENOMEM))
            status = error_set(err, why.code, "%s", why.text);
    }
    beck_error why = {0};
    if (status != BECK_ENOMEM) {
        beck_status put = BECK_OK;
        if (!status || upkeep_knows_starts(&b->log_start))
            put = checkpoint_set(&fresh.log_start, STARTS_MARK, 0, 1);
        if (put)
            error_set(&why, put, "no memory for a checkpoint");
        if (!put && !checkpoints_equal(&fresh.log_start, &b->log_start))
            put = upkeep_put_checkpoint(b, &b->log_start, &fresh.log_start, &why);
        if (!put && !checkpoints_equal(&fresh.recovery, &b->recovery))
            put = upkeep_put_checkpoint(b, &b->recovery, &fresh.recovery, &why);
        if (!put && !checkpoints_equal(&fresh.cleaned, &b->cleaned))
            put = upkeep_put_checkpoint(b, &b->cleaned, &fresh.cleaned, &why);
        if (put && !status)
            status = error_set(err, put, "%s", why.text);
    }
    checkpoint_release(&fresh.recovery);
    checkpoint_release(&fresh.log_start);
    checkpoint_release(&fresh.cleaned);
    return status;
}

beck_status upkeep_checkpoint(beck *b, beck_error *err)
{
    struct handle_view v;
    mutex_lock(&b->upkeep_lock);
    beck_status status = handle_view_take(b, &v, err);
    if (!status) {
        note_routed(&v);
        status = snapshot_queues(b, &v, err);
        beck_error why = {0};
        beck_status points = write_recovery_points(b, &v, &why);
        if (points && !status)
            status = error_set(err, points, "%s", why.text);
        handle_view_release(&v);
    }
    mutex_unlock(&b->upkeep_lock);
    return status;
}

beck_status upkeep_snapshot(beck *b, struct queue *q, beck_error *err)
{
    if (!b->home.state)
        return BECK_OK;
    assert(mutex_held(&b->upkeep_lock));
    beck_status status = queue_snapshot(q, err);
    if (!status)
        status = partition_sync(bus_partition(b->home.state, 0), err);
    if (!status)
        queue_snapshot_synced(q);
    return status;
}

/* ---- retention ---- */

struct owed_view {
    const struct handle_view *view;
    uint8_t *bits;
    int64_t first, next;
};

static void owed_begin(void *ctx, struct partition *p, int64_t first, int64_t next)
{
    struct owed_view *o = ctx;
    free(o->bits);
    o->first = first;
    o->next = next;
    o->bits = calloc((size_t)(next - first) / 8 + 1, 1);
    for (size_t i = 0; i < o->view->queue_count && o->bits; i++)
        queue_mark_owed(o->view->queues[i], p, first, next, o->bits);
}

static bool owed_offset(void *ctx, int64_t offset)
{
    const struct owed_view *o = ctx;
    /* Without memory to find out, everything is kept. */
    if (!o->bits || offset < o->first || offset >= o->next)
        return true;
    return o->bits[(offset - o->first) / 8] >> ((offset - o->first) % 8) & 1;
}

/* What a round of maintenance is for. */
struct round {
    const beck_bus *only; /* NULL: all buses */
    /* Before the handle is closed: what retention and compaction have to do in a moment. */
    bool closing;
    int64_t end_ns;
};

#define CLOSING_NS 1000000000
#define CLOSING_COMPACT_BYTES (64 << 20)

static bool is_maintained(const struct round *r, beck_bus *bus)
{
    if (bus->options.storage != BECK_STORAGE_DISK || atomic_load(&bus->closed))
        return false;
    if (r->only || !r->closing)
        return !r->only || r->only == bus;
    beck_bus_options o;
    beck_bus_info info;
    bus_options_get(bus, &o);
    if (o.compact)
        return !beck_bus_info_get(bus, &info, NULL) && info.bytes <= CLOSING_COMPACT_BYTES;
    return bus->internal || o.retention_ms > 0 || o.retention_bytes > 0;
}

static bool is_over(const beck *b, const struct round *r)
{
    return r->closing && clock_mono_ns(b->env.clock) >= r->end_ns;
}

/* Retires, and adds to *starts where partitions begin now. */
static beck_status find_starts(beck *b, const struct handle_view *v, const struct round *r,
                               struct checkpoint *starts, beck_error *err)
{
    beck_status status = BECK_OK, retired = BECK_OK;
    for (size_t i = 0; i < b->log_start.count && !status; i++) {
        const struct checkpoint_entry *e = &b->log_start.entries[i];
        status = checkpoint_set(starts, e->bus, e->partition, e->offset);
    }
    for (size_t i = 0; i < v->bus_count && !status; i++) {
        if (!is_maintained(r, v->buses[i]))
            continue;
        for (uint32_t n = 0; n < v->buses[i]->partition_count && !status && !is_over(b, r); n++) {
            struct partition *p = bus_partition(v->buses[i], n);
            beck_error why = {0};
            if (partition_retire(p, &why) && !retired)
                retired = error_set(err, why.code, "%s", why.text);
            /* What is behind it may be lost with the power, and other events come there. */
            int64_t start = partition_first(p), synced = partition_synced(p);
            if (start > synced)
                start = synced;
            if (start > 0)
                status = checkpoint_set(starts, v->buses[i]->name, n, start);
        }
    }
    return status ? error_set(err, status, "no memory for a checkpoint") : retired;
}

static beck_status put_starts(beck *b, struct checkpoint *starts, beck_error *err)
{
    return checkpoints_equal(starts, &b->log_start)
               ? BECK_OK
               : upkeep_put_checkpoint(b, &b->log_start, starts, err);
}

static void keep_starts(const struct handle_view *v, const struct checkpoint *starts)
{
    for (size_t i = 0; i < v->bus_count; i++)
        for (uint32_t n = 0; n < v->buses[i]->partition_count; n++) {
            int64_t start = 0;
            checkpoint_get(starts, v->buses[i]->name, n, &start);
            partition_keep_start(bus_partition(v->buses[i], n), start);
        }
}

static beck_status maintain_all(beck *b, const struct handle_view *v, const struct round *r,
                                beck_error *err)
{
    struct owed_view o = {.view = v};
    struct partition_owed owed = {owed_begin, owed_offset, &o};
    beck_status status = BECK_OK;
    for (size_t i = 0; i < v->bus_count; i++) {
        if (!is_maintained(r, v->buses[i]))
            continue;
        for (uint32_t n = 0; n < v->buses[i]->partition_count && !is_over(b, r); n++) {
            beck_error why = {0};
            if (partition_maintain(bus_partition(v->buses[i], n), &owed, &why) && !status)
                status = error_set(err, why.code, "%s", why.text);
        }
    }
    free(o.bits);
    return status;
}

/*
 * Nothing is removed while it is not known what queues are owed.
 *
 * Where partitions begin now is on disk before anything below is removed: so an opening knows what was
 * removed from what is missing. A full disk has no room for it until something is removed: then it is
 * put after that, and should the process end in between, what was removed is reported as missing.
 * With upkeep_lock.
 */
static beck_status maintain(beck *b, const struct round *r, beck_error *err)
{
    if (queues_damage(&b->home))
        return BECK_OK;
    struct handle_view v;
    beck_status status = handle_view_take(b, &v, err);
    if (status)
        return status;
    struct checkpoint starts;
    beck_error why = {0};
    checkpoint_init(&starts);
    status = find_starts(b, &v, r, &starts, err);
    beck_status put = status == BECK_ENOMEM ? BECK_ENOMEM : put_starts(b, &starts, &why);
    if (put == BECK_OK)
        keep_starts(&v, &b->log_start);
    else if (put == BECK_EFULL)
        keep_starts(&v, &starts);
    beck_status maintained = maintain_all(b, &v, r, status ? NULL : err);
    if (!status)
        status = maintained;
    if (put == BECK_EFULL)
        put = put_starts(b, &starts, &why);
    if (put && !status)
        status = error_set(err, put, "%s", why.text);
    checkpoint_release(&starts);
    handle_view_release(&v);
    return status;
}

beck_status upkeep_maintain(beck *b, beck_error *err)
{
    struct round all = {0};
    mutex_lock(&b->upkeep_lock);
    b->maintained = true;
    beck_status status = maintain(b, &all, err), found = handle_find_whole(b, status ? NULL : err);
    mutex_unlock(&b->upkeep_lock);
    return status ? status : found;
}

beck_status upkeep_maintain_bus(beck *b, const beck_bus *bus, beck_error *err)
{
    assert(mutex_held(&b->upkeep_lock));
    struct round one = {.only = bus};
    return maintain(b, &one, err);
}

beck_status upkeep_maintain_closing(beck *b, beck_error *err)
{
    struct round last = {.closing = true, .end_ns = clock_mono_ns(b->env.clock) + CLOSING_NS};
    beck_status status = BECK_OK;
    mutex_lock(&b->upkeep_lock);
    if (!b->maintained)
        status = maintain(b, &last, err);
    mutex_unlock(&b->upkeep_lock);
    return status;
}

/* ---- the timer ---- */

static void tick(beck *b)
{
    struct handle_view v;
    if (handle_view_take(b, &v, NULL))
        return;
    for (size_t i = 0; i < v.queue_count; i++)
        queue_tick(v.queues[i]);
    for (size_t i = 0; i < v.bus_count; i++)
        for (uint32_t n = 0; n < v.buses[i]->partition_count; n++)
            if (!atomic_load(&v.buses[i]->closed))
                partition_tick(bus_partition(v.buses[i], n));
    handle_view_release(&v);
}

static struct queue *queue_due_of(struct timer *t)
{
    return ((struct queue_due *)t)->queue;
}

void upkeep_due(void *ctx, struct queue_due *d, int64_t mono_ns)
{
    beck *b = ctx;
    struct timer *t = &d->timer;
    mutex_lock(&b->timer_lock);
    bool was_set = t->set;
    if (was_set && (mono_ns < t->at_ns || mono_ns == INT64_MAX))
        timer_heap_remove(&b->due, t);
    if (!t->set && mono_ns != INT64_MAX)
        timer_heap_add(&b->due, t, mono_ns);
    if (!was_set && t->set)
        queue_retain(d->queue);
    if (b->due == t)
        cond_signal(&b->timer_wake);
    mutex_unlock(&b->timer_lock);
    if (was_set && mono_ns == INT64_MAX)
        queue_release(d->queue);
}

/* The first that is due by then, with a reference; NULL: none. */
static struct queue *take_due(beck *b, int64_t by_ns)
{
    mutex_lock(&b->timer_lock);
    struct timer *t = b->due && b->due->at_ns <= by_ns ? b->due : NULL;
    if (t)
        timer_heap_remove(&b->due, t);
    mutex_unlock(&b->timer_lock);
    return t ? queue_due_of(t) : NULL;
}

void upkeep_forget_due(beck *b)
{
    for (struct queue *q; (q = take_due(b, INT64_MAX));)
        queue_release(q);
}

static void tick_due(beck *b, int64_t now_ns)
{
    for (struct queue *q; (q = take_due(b, now_ns));) {
        queue_tick(q);
        queue_release(q);
    }
}

void upkeep_complain(beck *b, enum upkeep_kind kind, beck_status status, const beck_error *why)
{
    bool known = kind != UPKEEP_CLOSE && b->trouble[kind].code == status;
    uint64_t text = status ? bytes_hash(why->text, strlen(why->text), 0) : 0;
    for (int i = 0; i < UPKEEP_KINDS && status; i++)
        known |= b->trouble[i].code && b->trouble[i].text == text;
    if (status && !known)
        b->env.report(b->env.report_ctx, why);
    b->trouble[kind] = (struct upkeep_trouble){status, text};
}

/* Until a queue is due, but not before the earliest, or the time comes. With timer_lock. */
static void wait_for_due(beck *b, int64_t earliest_ns, int64_t until_ns)
{
    for (bool in_time = true; in_time && !b->stopping;) {
        int64_t at_ns = b->due ? b->due->at_ns : INT64_MAX;
        at_ns = at_ns < earliest_ns ? earliest_ns : at_ns;
        in_time = cond_wait_until(&b->timer_wake, &b->timer_lock, b->env.clock,
                                  at_ns < until_ns ? at_ns : until_ns);
    }
}

static void *timer_main(void *arg)
{
    beck *b = arg;
    int64_t start = clock_mono_ns(b->env.clock);
    int64_t next_due = start, next_tick = start + TICK_MS * 1000000LL;
    int64_t next_checkpoint = start + b->checkpoint_ms * 1000000LL;
    int64_t maintained = start;
    mutex_lock(&b->timer_lock);
    while (!b->stopping) {
        wait_for_due(b, next_due, next_tick);
        if (b->stopping)
            break;
        mutex_unlock(&b->timer_lock);
        beck_error why = {0};
        int64_t now = clock_mono_ns(b->env.clock);
        tick_due(b, now);
        /* What is due and cannot be done now must not keep a processor busy. */
        next_due = now + DUE_PAUSE_NS;
        if (now >= next_tick) {
            tick(b);
            next_tick = now + TICK_MS * 1000000LL;
        }
        if (now >= next_checkpoint) {
            upkeep_complain(b, UPKEEP_CHECKPOINT, upkeep_checkpoint(b, &why), &why);
            next_checkpoint = now + b->checkpoint_ms * 1000000LL;
        }
        if (now >= maintained + atomic_load(&b->maintain_ms) * 1000000LL) {
            upkeep_complain(b, UPKEEP_MAINTAIN, upkeep_maintain(b, &why), &why);
            maintained = now;
        }
        mutex_lock(&b->timer_lock);
    }
    mutex_unlock(&b->timer_lock);
    return NULL;
}

beck_status upkeep_start(beck *b, beck_error *err)
{
    int rc = pthread_create(&b->timer, NULL, timer_main, b);
    if (rc)
        return error_errno(err, rc, "cannot start the timer's thread");
    b->timer_runs = true;
    return BECK_OK;
}

void upkeep_stop(beck *b)
{
    if (!b->timer_runs)
        return;
    mutex_lock(&b->timer_lock);
    b->stopping = true;
    cond_broadcast(&b->timer_wake);
    mutex_unlock(&b->timer_lock);
    pthread_join(b->timer, NULL);
    b->timer_runs = false;
}
