/* Where a queue stands in the partitions of a bus, and moving it there or back. */
#include "queue/queue_impl.h"

#include <stdlib.h>

struct progress {
    const struct queue *q;
    const beck_bus *bus;
    struct queue_progress *out;
    uint32_t count;
};

static void note(const struct progress *p, const struct entry *e)
{
    const struct source *s = &p->q->sources[entry_source(e)];
    if (s->bus != p->bus || s->number >= p->count)
        return;
    struct queue_progress *out = &p->out[s->number];
    out->owed++;
    if (entry_offset(e) < out->first)
        out->first = entry_offset(e);
}

static int note_scheduled(void *ctx, const struct scheduled *item)
{
    note(ctx, &item->entry);
    return 0;
}

beck_status queue_get_progress(struct queue *q, const beck_bus *bus, struct queue_progress *out,
                               uint32_t count, beck_error *err)
{
    struct progress p = {q, bus, out, count};
    beck_status status = BECK_OK;
    for (uint32_t i = 0; i < count; i++)
        out[i] = (struct queue_progress){0};
    mutex_lock(&q->lock);
    for (uint32_t i = 0; i < q->source_count; i++)
        if (q->sources[i].bus == bus && q->sources[i].number < count)
            out[q->sources[i].number].first = q->sources[i].routed;
    for (uint32_t level = 0; level <= q->options.priority_max && !status; level++) {
        struct fifo_walk walk;
        struct entry e;
        if (!q->levels[level])
            continue;
        fifo_walk_begin(&walk, q->levels[level]);
        while ((status = fifo_walk_next(&walk, &e, err)) == BECK_OK)
            note(&p, &e);
        fifo_walk_end(&walk);
        status = status == BECK_END ? BECK_OK : status;
    }
    for (size_t i = 0; i < q->return_count; i++)
        note(&p, &q->returns[i]);
    for (const struct slot *s = q->first_deadline; s; s = s->next)
        note(&p, &s->entry);
    for (size_t i = 0; i < q->limbo_count; i++)
        note(&p, &queue_limbo(q, i)->entry);
    if (!status)
        status = schedule_each(q->delayed, note_scheduled, &p, err);
    mutex_unlock(&q->lock);
    return status;
}

/* ---- moving ---- */

/* Whether the entry is of a partition that moves. */
static bool moves(const struct queue *q, const struct entry *e, const beck_bus *bus,
                  const int64_t *to, uint32_t count)
{
    const struct source *s = &q->sources[entry_source(e)];
    return s->bus == bus && s->number < count && to[s->number] >= 0;
}

/* With the lock, quiet. */
static void take_away(struct queue *q, const beck_bus *bus, const int64_t *to, uint32_t count)
{
    for (struct slot *s = q->first_deadline, *next; s; s = next) {
        next = s->next;
        if (!moves(q, &s->entry, bus, to, count))
            continue;
        slot_unlink(q, s);
        s->state = SLOT_STALE;
        s->counted = false;
        q->in_flight--;
        histories_remove(&q->histories, s->entry.where);
    }
    size_t kept = 0, waiting = q->limbo_waiting, failed = q->limbo_failed;
    for (size_t i = 0; i < q->limbo_count; i++) {
        struct limbo *l = queue_limbo(q, i);
        if (moves(q, &l->entry, bus, to, count)) {
            q->limbo_counted -= l->size < 0;
            q->limbo_waiting -= i < waiting;
            q->limbo_failed -= i < failed;
            q->waiting_bytes -= i < waiting ? l->size : 0;
            histories_remove(&q->histories, l->entry.where);
        } else {
            *queue_limbo(q, kept++) = *l;
        }
    }
    q->limbo_count = kept;
}

void queue_get_first(struct queue *q, const beck_bus *bus, const char *pattern, int64_t *first)
{
    mutex_lock(&q->lock);
    for (uint32_t i = 0; i < q->binding_count; i++)
        if (q->bindings[i].bus == bus && strcmp(q->bindings[i].pattern, pattern) == 0)
            memcpy(first, q->bindings[i].first, bus->partition_count * sizeof *first);
    mutex_unlock(&q->lock);
}

beck_status queue_move(struct queue *q, const beck_bus *bus, const int64_t *to, uint32_t count,
                       beck_error *err)
{
    uint32_t partitions = bus->partition_count;
    int64_t *ends = malloc((partitions + (size_t)1) * sizeof *ends);
    if (!ends)
        return error_set(err, BECK_ENOMEM, "no memory to move queue \"%s\"", q->name);
    for (uint32_t i = 0; i < partitions; i++)
        ends[i] = i < count && to[i] >= 0 ? INT64_MAX : 0;
    mutex_lock(&q->lock);
    queue_be_quiet(q);
    take_away(q, bus, to, count);
    beck_status status = queue_drop_below(q, bus, ends, err);
    for (uint32_t i = 0; i < q->source_count && !status; i++) {
        struct source *s = &q->sources[i];
        if (s->bus != bus || s->number >= count || to[s->number] < 0)
            continue;
        s->mixed = false;
        s->routed = s->popped = to[s->number];
        s->live = false;
        for (uint32_t b = 0; b < q->binding_count; b++)
            if (q->bindings[b].bus == bus)
                q->bindings[b].first[s->number] = to[s->number];
    }
    mutex_unlock(&q->lock);
    free(ends);
    if (!status)
        status = queue_snapshot(q, err);
    if (!status)
        queue_catch_up(q);
    return status;
}
