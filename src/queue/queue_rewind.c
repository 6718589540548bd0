/*
 * What takes things out of a queue without a delivery: rewinding, which has it begin elsewhere, purging, and the purging of
 * a bus that feeds it. All wait until nobody is in the middle of something.
 */
#include "queue/queue_impl.h"

#include <stdlib.h>

void queue_be_quiet(struct queue *q)
{
    while (q->operations > 0 || q->limbo_working)
        cond_wait(&q->quiet, &q->lock);
}

/* ---- rewinding ---- */

bool queue_is_copies(const struct queue *q, const beck_bus *bus)
{
    size_t len = strlen(q->name);
    return strncmp(bus->name, q->name, len) == 0 && strcmp(bus->name + len, ".replay") == 0;
}

static bool is_rewound(struct queue *q, const struct source *s)
{
    return s->bus && !queue_is_copies(q, s->bus) && queue_is_bound_to(q, s->bus);
}

bool queue_reaches(struct queue *q, const beck_from *from)
{
    bool reached = false;
    for (uint32_t i = 0; i < q->source_count && !reached; i++)
        reached = is_rewound(q, &q->sources[i]) && partition_reaches(q->sources[i].partition, from);
    return reached;
}

beck_status queue_rewind(struct queue *q, const beck_from *from, beck_error *err)
{
    static const beck_from now;
    bool reached = queue_reaches(q, from);
    int64_t *positions = calloc(q->source_count + 1, sizeof *positions);
    if (!positions)
        return error_set(err, BECK_ENOMEM, "no memory to rewind queue \"%s\"", q->name);
    beck_status status = BECK_OK;
    for (uint32_t i = 0; i < q->source_count && !status; i++) {
        struct source *s = &q->sources[i];
        if (!s->bus || !queue_is_bound_to(q, s->bus))
            continue;
        if (partition_is_memory(s->partition))
            status =
                error_set(err, BECK_EUNSUPPORTED,
                          "bus \"%s\" is in memory and keeps no history to rewind to", s->bus_name);
        else
            status = partition_resolve_with(s->partition, is_rewound(q, s) ? from : &now, reached,
                                            &positions[i], err);
    }
    if (!status) {
        mutex_lock(&q->lock);
        queue_be_quiet(q);
        queue_take_away(q);
        queue_forget_all(q);
        histories_clear(&q->histories);
        for (uint32_t i = 0; i < q->source_count; i++) {
            struct source *s = &q->sources[i];
            if (!s->bus || !queue_is_bound_to(q, s->bus))
                continue;
            s->routed = s->popped = positions[i];
            s->live = false;
            for (uint32_t b = 0; b < q->binding_count; b++)
                if (q->bindings[b].bus == s->bus)
                    q->bindings[b].first[s->number] = positions[i];
        }
        mutex_unlock(&q->lock);
        status = queue_snapshot(q, err);
        if (!status)
            queue_catch_up(q);
    }
    free(positions);
    return status;
}

/* ---- purging ---- */

struct disown_all {
    struct queue *q;
    struct entry *entries;
    size_t count, cap;
};

static int collect_scheduled(void *ctx, const struct scheduled *item)
{
    struct disown_all *d = ctx;
    if (d->count < d->cap)
        d->entries[d->count++] = item->entry;
    return 0;
}

/* Memory partitions keep an event until each queue lets it go, one by one. With the lock. */
static void collect_for_disowning(struct queue *q, struct disown_all *d)
{
    bool memory = false;
    for (uint32_t i = 0; i < q->source_count; i++)
        memory |= q->sources[i].partition && partition_is_memory(q->sources[i].partition);
    if (!memory)
        return;
    d->cap = (size_t)queue_ready(q) + schedule_count(q->delayed);
    d->entries = malloc((d->cap ? d->cap : 1) * sizeof *d->entries);
    if (!d->entries) {
        d->cap = 0;
        return;
    }
    for (size_t i = 0; i < q->return_count; i++)
        d->entries[d->count++] = q->returns[i];
    for (uint32_t level = 0; level <= q->options.priority_max; level++) {
        struct fifo_walk walk;
        if (!q->levels[level])
            continue;
        fifo_walk_begin(&walk, q->levels[level]);
        while (d->count < d->cap && !fifo_walk_next(&walk, &d->entries[d->count], NULL))
            d->count++;
        fifo_walk_end(&walk);
    }
    schedule_each(q->delayed, collect_scheduled, d, NULL);
}

static int forget_scheduled(void *ctx, const struct scheduled *item)
{
    struct queue *q = ctx;
    histories_remove(&q->histories, item->entry.where);
    return 0;
}

/* The failures of what is ready or delayed; what consumers hold keeps its own. With the lock. */
static void forget_failures(struct queue *q)
{
    for (size_t i = 0; i < q->return_count; i++)
        histories_remove(&q->histories, q->returns[i].where);
    if (q->histories.count)
        schedule_each(q->delayed, forget_scheduled, q, NULL);
}

static int64_t drop_everything(struct queue *q)
{
    struct disown_all d = {.q = q};
    mutex_lock(&q->lock);
    queue_be_quiet(q);
    /* What a damaged list held is listed first, so that it goes too. */
    while (q->rebuild) {
        mutex_unlock(&q->lock);
        queue_catch_up(q);
        mutex_lock(&q->lock);
        queue_be_quiet(q);
    }
    int64_t count = queue_ready(q) + (int64_t)schedule_count(q->delayed);
    collect_for_disowning(q, &d);
    forget_failures(q);
    for (uint32_t i = 0; i < q->source_count; i++) {
        struct source *s = &q->sources[i];
        /* What a damaged list held of a bus that cannot be read now goes as well. */
        if (s->held && s->held->next > s->routed)
            s->routed = s->held->next;
        s->popped = s->routed;
    }
    queue_forget_all(q);
    mutex_unlock(&q->lock);
    queue_disown(q, d.entries, d.count);
    free(d.entries);
    return count;
}

void queue_purge_memory(struct queue *q)
{
    drop_everything(q);
}

beck_status queue_purge(struct queue *q, int64_t *purged, beck_error *err)
{
    int64_t count = drop_everything(q);
    beck_status status = queue_snapshot(q, err);
    if (!status && purged)
        *purged = count;
    return status;
}

/* ---- buses that are purged ---- */

struct purged {
    struct queue *q;
    const beck_bus *bus;
    const int64_t *ends;
};

static bool is_purged(const struct purged *p, const struct entry *e)
{
    const struct source *s = &p->q->sources[entry_source(e)];
    return s->bus == p->bus && entry_offset(e) < p->ends[s->number];
}

static bool keep_scheduled(void *ctx, const struct scheduled *item)
{
    const struct purged *p = ctx;
    bool purged = is_purged(p, &item->entry);
    if (purged)
        histories_remove(&p->q->histories, item->entry.where);
    return !purged;
}

/* The list goes around once: what is kept is appended again. */
static beck_status filter_list(const struct purged *p, struct fifo *f, beck_error *err)
{
    beck_status status = BECK_OK;
    for (uint64_t n = fifo_count(f); n > 0 && !status; n--) {
        struct entry e;
        status = fifo_pop(f, &e, err);
        if (!status && !is_purged(p, &e) && fifo_push(f, &e, NULL))
            status = queue_push_return(p->q, &e);
    }
    return status;
}

static void filter_returns(const struct purged *p)
{
    struct queue *q = p->q;
    size_t count = q->return_count;
    /* Written behind the place read from: pushing never overtakes. */
    q->return_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct entry e = q->returns[i];
        if (is_purged(p, &e))
            histories_remove(&q->histories, e.where);
        else
            queue_push_return(q, &e);
    }
}

beck_status queue_drop_below(struct queue *q, const beck_bus *bus, const int64_t *ends,
                             beck_error *err)
{
    struct purged p = {q, bus, ends};
    int64_t before = queue_ready(q) + (int64_t)schedule_count(q->delayed);
    beck_status status = schedule_filter(q->delayed, keep_scheduled, &p, err);
    filter_returns(&p);
    for (uint32_t i = 0; i <= q->options.priority_max && !status; i++)
        if (q->levels[i])
            status = filter_list(&p, q->levels[i], err);
    struct scheduled next;
    q->next_due_ms = schedule_peek(q->delayed, &next, NULL) ? INT64_MAX : next.due_ms;
    int64_t after = queue_ready(q) + (int64_t)schedule_count(q->delayed);
    if (before > 0)
        q->ready_bytes = (int64_t)((double)q->ready_bytes * (double)after / (double)before);
    q->dirty = true;
    return status;
}

beck_status queue_bus_purged(struct queue *q, const beck_bus *bus, const int64_t *ends,
                             beck_error *err)
{
    mutex_lock(&q->lock);
    queue_be_quiet(q);
    beck_status status = queue_drop_below(q, bus, ends, err);
    for (uint32_t i = 0; i < q->source_count; i++) {
        struct source *s = &q->sources[i];
        if (s->bus != bus || s->routed < 0)
            continue;
        if (s->popped < ends[s->number])
            s->popped = ends[s->number];
        if (s->routed < ends[s->number])
            s->routed = ends[s->number];
    }
    mutex_unlock(&q->lock);
    return status;
}
