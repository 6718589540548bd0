/* A queue as a whole: see queue.h. Its lists are in queue_order.c, bindings in queue_bind.c, what lasts in
 * queue_state.c, consumers in consumer*.c. */
#include "queue/queue_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- life ---- */

static beck_status make_directory(struct queue *q, beck_error *err)
{
    struct vfs *v = q->home->env->vfs;
    char parent[4096], path[4400];
    snprintf(parent, sizeof parent, "%s/__queues", q->home->data_dir);
    snprintf(path, sizeof path, "%s/%s", parent, q->name);
    q->dir = strdup(path);
    if (!q->dir)
        return error_set(err, BECK_ENOMEM, "no memory for queue \"%s\"", q->name);
    beck_status status = vfs_mkdir(v, parent, err);
    if (status && status != BECK_EEXIST)
        return status;
    status = vfs_mkdir(v, path, err);
    if (status && status != BECK_EEXIST)
        return status;
    return BECK_OK;
}

beck_status queue_new(struct queue_home *home, const char *name, const beck_queue_options *options,
                      struct queue **out, beck_error *err)
{
    struct queue *q = aligned_alloc(_Alignof(struct queue), sizeof *q);
    if (!q)
        return error_set(err, BECK_ENOMEM, "no memory for queue \"%s\"", name);
    memset(q, 0, sizeof *q);
    q->home = home;
    q->options = *options;
    atomic_init(&q->refuses, false);
    q->lifetime_ms = -1;
    queue_begin_rules(q);
    q->durable = options->storage == BECK_STORAGE_DISK;
    q->next_due_ms = q->look_ms = INT64_MAX;
    q->due.queue = q;
    atomic_init(&q->refs, 1);
    mutex_init(&q->lock);
    cond_init(&q->ready);
    cond_init(&q->quiet);
    rng_seed_system(&q->rng);
    q->number = rng_below(&q->rng, INT64_MAX - 1) + 1;
    q->name = strdup(name);
    q->levels = calloc(options->priority_max + 1, sizeof(struct fifo *));
    q->saved_heads = calloc(options->priority_max + 1, sizeof *q->saved_heads);
    beck_status status = BECK_OK;
    if (!q->name || !q->levels || !q->saved_heads)
        status = error_set(err, BECK_ENOMEM, "no memory for queue \"%s\"", name);
    if (!status && q->durable)
        status = make_directory(q, err);
    if (!status)
        status = schedule_new(q->durable ? home->env->vfs : NULL, q->dir, &q->delayed, err);
    uint32_t index;
    if (!status && home->dead)
        status = queue_add_source(q, home->dead->name, 0, home->dead, &index, err);
    if (status) {
        queue_release(q);
        return status;
    }
    queue_make_metrics(q);
    *out = q;
    return BECK_OK;
}

struct queue *queue_retain(struct queue *q)
{
    atomic_fetch_add_explicit(&q->refs, 1, memory_order_relaxed);
    return q;
}

void queue_release_many(struct queue *q, uint32_t count)
{
    uint32_t before = atomic_fetch_sub_explicit(&q->refs, count, memory_order_acq_rel);
    assert(before >= count);
    if (before != count)
        return;
    queue_free_metrics(q);
    for (uint32_t i = 0; q->levels && i <= q->options.priority_max; i++)
        fifo_free(q->levels[i]);
    schedule_free(q->delayed);
    cursor_close(q->grave);
    for (uint32_t i = 0; i < q->source_count; i++) {
        free(q->sources[i].bus_name);
        free(q->sources[i].held);
    }
    for (uint32_t i = 0; i < q->binding_count; i++) {
        free(q->bindings[i].pattern);
        free(q->bindings[i].first);
    }
    histories_release(&q->histories);
    free(q->levels);
    free(q->saved_heads);
    free(q->returns);
    free(q->limbo);
    free(q->dead);
    free(q->sources);
    free(q->bindings);
    cond_release(&q->ready);
    cond_release(&q->quiet);
    mutex_release(&q->lock);
    free(q->dir);
    free(q->name);
    free(q);
}

void queue_release(struct queue *q)
{
    queue_release_many(q, 1);
}

const char *queue_name(const struct queue *q)
{
    return q->name;
}

uint64_t queue_number(const struct queue *q)
{
    return q->number;
}

uint64_t queue_route_number(const void *route)
{
    const struct queue *q = route;
    return q->number;
}

void queue_route_release(void *route)
{
    queue_release(route);
}

void queue_set_number(struct queue *q, uint64_t number)
{
    q->number = number;
    q->number_kept = true;
}

bool queue_number_is_kept(struct queue *q)
{
    return q->number_kept;
}

void queue_keep_number(struct queue *q)
{
    q->number_kept = true;
}

void queue_wake(struct queue *q, size_t count)
{
    queue_call_watches(q, count);
    if (q->takers == 0 || count == 0)
        return;
    if (count == 1 || q->takers == 1)
        cond_signal(&q->ready);
    else
        cond_broadcast(&q->ready);
}

#define DISOWN_AT_ONCE 256

void queue_disown(struct queue *q, const struct entry *entries, size_t count)
{
    int64_t offsets[DISOWN_AT_ONCE];
    for (size_t i = 0; i < count;) {
        uint32_t source = entry_source(&entries[i]);
        size_t n = 0;
        for (; i < count && n < DISOWN_AT_ONCE && entry_source(&entries[i]) == source; i++)
            offsets[n++] = entry_offset(&entries[i]);
        mutex_lock(&q->lock);
        struct partition *p = q->sources[source].partition;
        mutex_unlock(&q->lock);
        if (p && partition_is_memory(p))
            partition_disown(p, offsets, n);
    }
}

beck_status queue_open_cursor(struct queue *q, uint32_t source, struct cursor **out,
                              beck_error *err)
{
    /* With the lock, because the bus may be deleted meanwhile: a cursor keeps its partition. */
    mutex_lock(&q->lock);
    struct partition *p = q->sources[source].partition;
    beck_status status = p ? cursor_open(p, out, err)
                           : error_set(err, BECK_ENOENT, "the bus \"%s\" has been deleted",
                                       q->sources[source].bus_name);
    mutex_unlock(&q->lock);
    return status;
}

bool queue_source_is_dead(struct queue *q, uint32_t source)
{
    mutex_lock(&q->lock);
    bool dead = q->home->dead && q->sources[source].partition == bus_partition(q->home->dead, 0);
    mutex_unlock(&q->lock);
    return dead;
}

uint32_t queue_find_source(const struct queue *q, const struct partition *p)
{
    for (uint32_t i = 0; i < q->source_count; i++)
        if (q->sources[i].partition == p)
            return i;
    return UINT32_MAX;
}

/* ---- all of it ---- */

/* Nothing that is still held counts as ready any more. */
static void forget_bytes(struct queue *q)
{
    for (struct slot *s = q->first_deadline; s; s = s->next)
        s->counted = false;
    for (size_t i = 0; i < q->limbo_count; i++)
        if (queue_limbo(q, i)->size < 0)
            queue_limbo(q, i)->size = 0;
    q->limbo_counted = 0;
    q->ready_bytes = 0;
}

void queue_forget_all(struct queue *q)
{
    for (uint32_t i = 0; i <= q->options.priority_max; i++)
        if (q->levels[i])
            fifo_clear(q->levels[i]);
    for (uint32_t i = 0; i < q->source_count; i++) {
        free(q->sources[i].held);
        q->sources[i].held = NULL;
        q->sources[i].mixed = false;
    }
    q->return_count = 0;
    schedule_clear(q->delayed);
    q->next_due_ms = INT64_MAX;
    forget_bytes(q);
    q->dirty = true;
}

void queue_take_away(struct queue *q)
{
    while (q->first_deadline) {
        struct slot *s = q->first_deadline;
        slot_unlink(q, s);
        s->state = SLOT_STALE;
        s->counted = false;
    }
    q->in_flight = 0;
    q->limbo_first = q->limbo_count = q->limbo_counted = 0;
    q->limbo_waiting = q->limbo_failed = 0;
    q->waiting_bytes = 0;
}

void queue_delete(struct queue *q)
{
    mutex_lock(&q->lock);
    q->deleted = true;
    if (q->home->due)
        q->home->due(q->home->due_ctx, &q->due, INT64_MAX);
    queue_remove_metrics(q);
    q->limbo_heirs++;
    while (q->operations > 0 || q->limbo_working)
        cond_wait(&q->quiet, &q->lock);
    q->limbo_heirs--;
    cond_broadcast(&q->ready);
    queue_call_watches(q, SIZE_MAX);
    queue_forget_all(q);
    /* What consumers hold is theirs no more: an answer must not reach a later queue of this name.
     */
    size_t count = 0;
    struct entry *held = malloc(((size_t)q->in_flight + q->limbo_count + 1) * sizeof *held);
    for (const struct slot *s = q->first_deadline; s && held; s = s->next)
        held[count++] = s->entry;
    for (size_t i = 0; i < q->limbo_count && held; i++)
        held[count++] = queue_limbo(q, i)->entry;
    queue_take_away(q);
    mutex_unlock(&q->lock);
    queue_disown(q, held, count);
    free(held);
    if (!q->dir)
        return;
    fifo_remove_files(q->home->env->vfs, q->dir, NULL);
    schedule_trim(q->delayed);
    vfs_rmdir(q->home->env->vfs, q->dir, NULL);
}

int64_t queue_ready_count(struct queue *q)
{
    mutex_lock(&q->lock);
    if (!q->recovering)
        queue_expire_ready(q, clock_wall_ms(q->home->env->clock));
    int64_t count = queue_ready(q);
    bool limbo = queue_limbo_has_work(q);
    mutex_unlock(&q->lock);
    if (limbo)
        queue_note_limbo(q);
    return count;
}

int64_t queue_ready_bytes(struct queue *q)
{
    mutex_lock(&q->lock);
    int64_t bytes = q->ready_bytes;
    mutex_unlock(&q->lock);
    return bytes > 0 ? bytes : 0;
}

static int take_time(void *ctx, const beck_event *event)
{
    *(int64_t *)ctx = event->time_ns / 1000000;
    return 1;
}

static uint32_t count_patterns(const struct queue *q)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < q->binding_count; i++)
        n += q->bindings[i].pattern[0] != 0;
    return n;
}

void queue_info(struct queue *q, beck_queue_info *out)
{
    queue_tick(q);
    mutex_lock(&q->lock);
    *out = (beck_queue_info){.name = q->name,
                             .options = q->options,
                             .ready = queue_ready(q),
                             .in_flight = q->in_flight + (int64_t)q->limbo_count,
                             .delayed = (int64_t)schedule_count(q->delayed),
                             .dead = (int64_t)q->dead_count,
                             .consumers = q->consumers,
                             .paused = q->paused,
                             .damaged = q->durable && queues_damage(q->home),
                             .bindings = count_patterns(q),
                             .oldest_ms = -1,
                             .next_due_ms = -1,
                             .delivered = q->delivered,
                             .settled = q->settled,
                             .retried = q->retried,
                             .rejected = q->rejected,
                             .expired = q->expired,
                             .dropped = q->dropped};
    struct scheduled first;
    if (out->delayed > 0 && schedule_peek(q->delayed, &first, NULL) == BECK_OK)
        out->next_due_ms = first.due_ms;
    mutex_unlock(&q->lock);
    if (out->ready > 0)
        queue_peek(q, 1, take_time, &out->oldest_ms, NULL);
}

void queue_pause(struct queue *q, bool paused)
{
    mutex_lock(&q->lock);
    q->paused = paused;
    cond_broadcast(&q->ready);
    queue_call_watches(q, SIZE_MAX);
    mutex_unlock(&q->lock);
}
