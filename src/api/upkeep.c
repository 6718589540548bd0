/*
 * Looking after a handle: checkpoints, retention, and what time brings to queues that nobody is
 * taking from. One thread, the timer.
 *
 * A checkpoint: with each partition paused for a moment, queues learn how far it has been routed;
 * queues that changed write a snapshot; recovery points are written; then the state log gives up
 * what all snapshots have left behind. After it, a restart reads only what came since.
 */
#include "api/handle.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define TICK_MS 250
#define MAINTAIN_MS 10000

/* ---- checkpoints ---- */

/* The names are stable: buses are freed at the end, and a reference is held on queues. */
struct view {
    beck_bus **buses;
    size_t bus_count;
    struct queue **queues;
    size_t queue_count;
};

static beck_status view_take(beck *b, struct view *v, beck_error *err)
{
    mutex_lock(&b->admin_lock);
    *v = (struct view){.buses = malloc((b->bus_count + 1) * sizeof(beck_bus *)),
                       .queues = malloc((b->queue_count + 1) * sizeof(struct queue *))};
    bool good = v->buses && v->queues;
    if (good) {
        v->bus_count = b->bus_count;
        v->queue_count = b->queue_count;
        memcpy(v->buses, b->buses, v->bus_count * sizeof(beck_bus *));
        for (size_t i = 0; i < v->queue_count; i++)
            v->queues[i] = queue_retain(b->queues[i]);
    }
    mutex_unlock(&b->admin_lock);
    if (good)
        return BECK_OK;
    free(v->buses);
    free(v->queues);
    return error_set(err, BECK_ENOMEM, "no memory to look after the handle");
}

static void view_release(struct view *v)
{
    for (size_t i = 0; i < v->queue_count; i++)
        queue_release(v->queues[i]);
    free(v->buses);
    free(v->queues);
}

static void note_routed(const struct view *v)
{
    for (size_t i = 0; i < v->bus_count; i++) {
        beck_bus *bus = v->buses[i];
        bool is_dead = strcmp(bus->name, "__dead_letters") == 0;
        if (bus->options.storage != BECK_STORAGE_DISK || atomic_load(&bus->closed) ||
            (!is_dead && atomic_load(&bus->route_count) == 0))
            continue;
        for (uint32_t n = 0; n < bus->partition_count; n++) {
            struct partition *p = bus->partitions[n];
            partition_pause(p);
            int64_t end = partition_paused_end(p);
            for (size_t k = 0; k < v->queue_count && !bus->options.read_synced; k++)
                queue_note_routed(v->queues[k], p, end);
            partition_resume(p);
        }
    }
}

static beck_status snapshot_queues(beck *b, const struct view *v, beck_error *err)
{
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
    struct partition *state = b->home.state->partitions[0];
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
    struct partition *dead = b->home.dead->partitions[0];
    int64_t dead_keep = partition_synced(dead);
    for (size_t i = 0; i < v->queue_count && !status; i++)
        if (queue_dead_keep_from(v->queues[i]) < dead_keep)
            dead_keep = queue_dead_keep_from(v->queues[i]);
    if (!status && dead_keep > partition_first(dead))
        status = partition_truncate_before(dead, dead_keep, err);
    return status;
}

static beck_status write_recovery_points(beck *b, const struct view *v, beck_error *err)
{
    bool moved = false, started = false;
    for (size_t i = 0; i < v->bus_count; i++) {
        beck_bus *bus = v->buses[i];
        if (bus->options.storage != BECK_STORAGE_DISK || atomic_load(&bus->closed))
            continue;
        for (uint32_t n = 0; n < bus->partition_count; n++) {
            int64_t recovery, start, before = -1;
            beck_status status = partition_checkpoint(bus->partitions[n], &recovery, &start, err);
            if (status)
                return status;
            if (!checkpoint_get(&b->recovery, bus->name, n, &before) || before != recovery) {
                moved = true;
                status = checkpoint_set(&b->recovery, bus->name, n, recovery);
            }
            before = 0;
            checkpoint_get(&b->log_start, bus->name, n, &before);
            if (!status && before != start) {
                started = true;
                status = checkpoint_set(&b->log_start, bus->name, n, start);
            }
            if (status)
                return error_set(err, status, "no memory for a checkpoint");
        }
    }
    char path[4200];
    beck_status status = BECK_OK;
    snprintf(path, sizeof path, "%s/log-start-offset-checkpoint", b->data_dir);
    if (started)
        status = checkpoint_write(b->env.vfs, path, &b->log_start, err);
    snprintf(path, sizeof path, "%s/recovery-point-offset-checkpoint", b->data_dir);
    if (!status && moved)
        status = checkpoint_write(b->env.vfs, path, &b->recovery, err);
    return status;
}

beck_status upkeep_checkpoint(beck *b, beck_error *err)
{
    struct view v;
    mutex_lock(&b->upkeep_lock);
    beck_status status = view_take(b, &v, err);
    if (!status) {
        note_routed(&v);
        status = snapshot_queues(b, &v, err);
        beck_error why = {0};
        beck_status points = write_recovery_points(b, &v, &why);
        if (points && !status)
            status = error_set(err, points, "%s", why.text);
        view_release(&v);
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
        status = partition_sync(b->home.state->partitions[0], err);
    if (!status)
        queue_snapshot_synced(q);
    return status;
}

/* ---- retention ---- */

struct owed_view {
    const struct view *view;
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

beck_status upkeep_maintain(beck *b, beck_error *err)
{
    struct view v;
    mutex_lock(&b->upkeep_lock);
    beck_status status = view_take(b, &v, err);
    if (!status) {
        struct owed_view o = {.view = &v};
        struct partition_owed owed = {owed_begin, owed_offset, &o};
        for (size_t i = 0; i < v.bus_count; i++)
            for (uint32_t n = 0; n < v.buses[i]->partition_count; n++) {
                bool skip = v.buses[i]->options.storage != BECK_STORAGE_DISK ||
                            atomic_load(&v.buses[i]->closed);
                beck_error why = {0};
                if (skip || !partition_maintain(v.buses[i]->partitions[n], &owed, &why))
                    continue;
                if (!status)
                    status = error_set(err, why.code, "%s", why.text);
            }
        free(o.bits);
        view_release(&v);
    }
    mutex_unlock(&b->upkeep_lock);
    return status;
}

/* ---- the timer ---- */

static void tick_queues(beck *b)
{
    struct view v;
    if (view_take(b, &v, NULL))
        return;
    for (size_t i = 0; i < v.queue_count; i++)
        queue_tick(v.queues[i]);
    view_release(&v);
}

static void complain(beck *b, beck_status status, const beck_error *why, beck_status *said)
{
    /* The same trouble is told once, not with every tick. */
    if (status && status != *said)
        b->env.report(b->env.report_ctx, why);
    *said = status;
}

static void *timer_main(void *arg)
{
    beck *b = arg;
    beck_status said_checkpoint = BECK_OK, said_maintain = BECK_OK;
    int64_t start = clock_mono_ns(b->env.clock);
    int64_t next_checkpoint = start + b->checkpoint_ms * 1000000LL;
    int64_t next_maintain = start + MAINTAIN_MS * 1000000LL;
    mutex_lock(&b->timer_lock);
    while (!b->stopping) {
        int64_t now = clock_mono_ns(b->env.clock);
        cond_wait_until(&b->timer_wake, &b->timer_lock, b->env.clock, now + TICK_MS * 1000000LL);
        if (b->stopping)
            break;
        mutex_unlock(&b->timer_lock);
        beck_error why = {0};
        now = clock_mono_ns(b->env.clock);
        tick_queues(b);
        if (now >= next_checkpoint) {
            complain(b, upkeep_checkpoint(b, &why), &why, &said_checkpoint);
            next_checkpoint = now + b->checkpoint_ms * 1000000LL;
        }
        if (now >= next_maintain) {
            complain(b, upkeep_maintain(b, &why), &why, &said_maintain);
            next_maintain = now + MAINTAIN_MS * 1000000LL;
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
