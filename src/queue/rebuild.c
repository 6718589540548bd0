/*
 * Making a queue's list or its schedule again when its files are damaged: the log has the events, and
 * the bindings say which.
 *
 * The list: everything from `popped` on is read again. Events from there on may be elsewhere by now:
 * delayed, in flight, ready again. A bit is kept for each of them, so that none is listed twice.
 *
 * The schedule: events that their publishers delayed and that are not due cannot have been delivered;
 * they are found in the log. Those that wait for another try have failures on record.
 */
#include "queue/queue_impl.h"

#include <assert.h>
#include <stdlib.h>

static void mark(struct queue *q, const struct entry *e)
{
    struct held *h = q->sources[entry_source(e)].held;
    int64_t offset = entry_offset(e);
    if (h && offset >= h->first && offset < h->next)
        h->bits[(offset - h->first) / 8] |= (uint8_t)(1 << (offset - h->first) % 8);
}

static int mark_scheduled(void *ctx, const struct scheduled *item)
{
    mark(ctx, &item->entry);
    return 0;
}

static void mark_held(struct queue *q)
{
    for (size_t i = 0; i < q->return_count; i++)
        mark(q, &q->returns[i]);
    for (const struct slot *s = q->first_deadline; s; s = s->next)
        mark(q, &s->entry);
    for (size_t i = 0; i < q->limbo_count; i++)
        mark(q, &queue_limbo(q, i)->entry);
    schedule_each(q->delayed, mark_scheduled, q, NULL);
}

/* Without memory for the bits an event may be listed twice, which is better than not at all. */
static void start_again(struct queue *q, struct source *s)
{
    if (s->routed < 0) /* nothing of it has been looked at */
        return;
    int64_t next = s->held && s->held->next > s->routed ? s->held->next : s->routed;
    free(s->held);
    s->held = NULL;
    if (s->partition && next > s->popped)
        s->held = calloc(1, sizeof *s->held + (size_t)(next - s->popped) / 8 + 1);
    if (s->held) {
        s->held->first = s->popped;
        s->held->next = next;
    }
    if (s->bus && next > s->popped && !queue_is_bound_to(q, s->bus) && s->bus != q->home->dead)
        env_report(
            q->home->env, BECK_ECORRUPT,
            "queue \"%s\" is no longer bound to bus \"%s\": events %lld to %lld of it that "
            "were in the damaged list are lost; bind and rewind the queue to have them again",
            q->name, s->bus_name, (long long)s->popped, (long long)next - 1);
    s->live = s->mixed = false;
    s->routed = s->popped;
}

void queue_rebuild(struct queue *q)
{
    assert(mutex_held(&q->lock));
    int64_t all = queue_ready(q) + (int64_t)schedule_count(q->delayed);
    int64_t elsewhere = (int64_t)q->return_count + (int64_t)schedule_count(q->delayed);
    /* What is listed again is counted again. */
    if (all > 0)
        q->ready_bytes = (int64_t)((double)q->ready_bytes * (double)elsewhere / (double)all);
    for (uint32_t i = 0; i < q->source_count; i++)
        start_again(q, &q->sources[i]);
    mark_held(q);
    for (uint32_t i = 0; i <= q->options.priority_max; i++)
        if (q->levels[i])
            fifo_clear(q->levels[i]);
    q->dirty = true;
}

/* ---- the schedule ---- */

struct retried {
    uint64_t where;
    uint32_t attempts;
};

struct delayed {
    struct queue *q;
    struct retried *list; /* not found elsewhere */
    size_t count, cap;
};

static bool is_marked(const struct queue *q, uint64_t where)
{
    struct entry e = {.where = where};
    const struct held *h =
        entry_source(&e) < q->source_count ? q->sources[entry_source(&e)].held : NULL;
    int64_t offset = entry_offset(&e);
    if (!h || offset < h->first || offset >= h->next)
        return true; /* nobody has it any more */
    return h->bits[(offset - h->first) / 8] >> ((offset - h->first) % 8) & 1;
}

/* A bit for every event of every source: whether the queue has it. With the lock. */
static beck_status mark_everything(struct queue *q, beck_error *err)
{
    for (uint32_t i = 0; i < q->source_count; i++) {
        struct source *s = &q->sources[i];
        free(s->held);
        s->held = NULL;
        if (!s->partition)
            continue;
        /* What is owed outlives retention, and is kept below the first offset. */
        int64_t first = partition_kept(s->partition), next = partition_visible(s->partition);
        s->held = calloc(1, sizeof *s->held + (size_t)(next - first) / 8 + 1);
        if (!s->held)
            return error_set(err, BECK_ENOMEM, "no memory to make a schedule again");
        s->held->first = first;
        s->held->next = next;
    }
    mark_held(q);
    for (uint32_t i = 0; i <= q->options.priority_max; i++) {
        struct fifo_walk walk;
        struct entry e;
        if (!q->levels[i])
            continue;
        fifo_walk_begin(&walk, q->levels[i]);
        while (fifo_walk_next(&walk, &e, NULL) == BECK_OK)
            mark(q, &e);
        fifo_walk_end(&walk);
    }
    return BECK_OK;
}

/* Lists what is to be delivered later of one source. */
static beck_status read_delayed(struct queue *q, uint32_t index, beck_error *err)
{
    struct cursor *c = NULL;
    int64_t now_ms = clock_wall_ms(q->home->env->clock);
    int64_t offset = q->sources[index].held->first, end = q->sources[index].routed;
    beck_status status = offset < end ? queue_open_cursor(q, index, &c, err) : BECK_OK;
    while (offset < end && !status) {
        const struct record_view *v;
        int64_t skip_to = end;
        beck_error why = {0};
        status = cursor_read(c, offset, true, &v, &skip_to, &why);
        if (status == BECK_END || status == BECK_ECORRUPT) {
            offset = status == BECK_END ? end : skip_to;
            status = BECK_OK;
            continue;
        }
        if (status) {
            error_set(err, status, "%s", why.text);
            break;
        }
        const beck_event *e = &v->event;
        offset = v->offset + 1;
        if (e->deliver_at_ms <= now_ms || offset > end)
            continue;
        struct entry entry = {.where = entry_where(index, v->offset)};
        mutex_lock(&q->lock);
        if (!is_marked(q, entry.where) && queue_wants(q, &q->sources[index], v)) {
            status = queue_route(q, index, v->offset, now_ms, e->deliver_at_ms, e->expires_at_ms,
                                 e->priority, e->data.len, err);
            mark(q, &entry);
        }
        mutex_unlock(&q->lock);
    }
    cursor_close(c);
    return status;
}

static beck_status collect_retried(void *ctx, uint64_t where, beck_bytes failure)
{
    struct delayed *d = ctx;
    if (is_marked(d->q, where))
        return BECK_OK;
    /* The failures of an event come one after the other. */
    if (d->count == 0 || d->list[d->count - 1].where != where) {
        if (d->count == d->cap) {
            size_t cap = d->cap ? d->cap * 2 : 64;
            struct retried *grown = realloc(d->list, cap * sizeof *grown);
            if (!grown)
                return BECK_ENOMEM;
            d->list = grown;
            d->cap = cap;
        }
        d->list[d->count++] = (struct retried){.where = where};
    }
    d->list[d->count - 1].attempts = history_attempt(failure);
    return BECK_OK;
}

/* Makes an event that waited for another try ready. */
static beck_status try_now(struct queue *q, const struct retried *r, beck_error *err)
{
    struct entry e = {.where = r->where};
    struct cursor *c = NULL;
    const struct record_view *v;
    beck_status status = queue_open_cursor(q, entry_source(&e), &c, err);
    if (!status)
        status = cursor_read(c, entry_offset(&e), true, &v, NULL, err);
    if (!status && v->offset == entry_offset(&e)) {
        uint32_t level = queue_level(q, v->event.priority);
        mutex_lock(&q->lock);
        e.meta = entry_meta(v->event.expires_at_ms, r->attempts);
        e.seq = entry_seq(level, q->levels[level] ? fifo_head(q->levels[level]) : 0);
        status = queue_push_return(q, &e);
        mutex_unlock(&q->lock);
    }
    cursor_close(c);
    return status == BECK_END || status == BECK_ECORRUPT ? BECK_OK : status;
}

beck_status queue_rebuild_delayed(struct queue *q, beck_error *err)
{
    struct delayed d = {.q = q};
    mutex_lock(&q->lock);
    beck_status status = mark_everything(q, err);
    uint32_t sources = q->source_count;
    mutex_unlock(&q->lock);
    for (uint32_t i = 0; i < sources && !status; i++)
        if (q->sources[i].bus && queue_is_bound_to(q, q->sources[i].bus))
            status = read_delayed(q, i, err);
    if (!status && histories_each(&q->histories, collect_retried, &d))
        status = error_set(err, BECK_ENOMEM, "no memory to make a schedule again");
    for (size_t i = 0; i < d.count && !status; i++)
        status = try_now(q, &d.list[i], err);
    free(d.list);
    mutex_lock(&q->lock);
    for (uint32_t i = 0; i < q->source_count; i++) {
        free(q->sources[i].held);
        q->sources[i].held = NULL;
    }
    q->dirty = true;
    mutex_unlock(&q->lock);
    return status;
}
