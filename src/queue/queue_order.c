/*
 * The lists of a queue, and which entry is next to be delivered: those that came (a fifo for each
 * priority) and those that came back, merged by their place.
 */
#include "queue/queue_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- those that came back ---- */

static bool before(const struct entry *a, const struct entry *b)
{
    return a->seq != b->seq ? a->seq < b->seq : a->where < b->where;
}

beck_status queue_reserve_returns(struct queue *q, size_t more)
{
    /* Whatever is in flight or in limbo may come back. */
    size_t need = q->return_count + (size_t)q->in_flight + q->limbo_count + more;
    if (need <= q->return_cap)
        return BECK_OK;
    size_t cap = q->return_cap ? q->return_cap : 64;
    while (cap < need)
        cap *= 2;
    struct entry *grown = realloc(q->returns, cap * sizeof *grown);
    if (!grown)
        return BECK_ENOMEM;
    q->returns = grown;
    q->return_cap = cap;
    return BECK_OK;
}

beck_status queue_push_return(struct queue *q, const struct entry *e)
{
    if (q->return_count == q->return_cap && queue_reserve_returns(q, 1))
        return BECK_ENOMEM;
    size_t i = q->return_count++;
    for (; i > 0 && before(e, &q->returns[(i - 1) / 2]); i = (i - 1) / 2)
        q->returns[i] = q->returns[(i - 1) / 2];
    q->returns[i] = *e;
    if (entry_expires_ms(e) && entry_expires_ms(e) < q->sweep_ms)
        q->sweep_ms = entry_expires_ms(e);
    queue_announce_expiry(q, entry_expires_ms(e));
    return BECK_OK;
}

void queue_pop_return(struct queue *q, struct entry *out)
{
    *out = q->returns[0];
    struct entry last = q->returns[--q->return_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= q->return_count)
            break;
        if (child + 1 < q->return_count && before(&q->returns[child + 1], &q->returns[child]))
            child++;
        if (!before(&q->returns[child], &last))
            break;
        q->returns[i] = q->returns[child];
        i = child;
    }
    if (q->return_count > 0)
        q->returns[i] = last;
}

/* ---- taking ---- */

int64_t queue_ready(const struct queue *q)
{
    int64_t n = (int64_t)q->return_count;
    for (uint32_t i = 0; i <= q->options.priority_max; i++)
        n += q->levels[i] ? (int64_t)fifo_count(q->levels[i]) : 0;
    return n;
}

static struct fifo *first_level(const struct queue *q)
{
    for (uint32_t i = q->options.priority_max + 1; i-- > 0;)
        if (q->levels[i] && fifo_count(q->levels[i]) > 0)
            return q->levels[i];
    return NULL;
}

/* A damaged or unreadable fifo file: the log knows what was in it. */
static void fifo_failed(struct queue *q, const beck_error *why)
{
    if (!q->rebuild)
        env_report(q->home->env, why->code, "queue \"%s\": %s; its list is made again from the log",
                   q->name, why->text);
    q->rebuild = true;
    queue_rebuild(q);
}

void queue_note_popped(struct queue *q, const struct entry *e)
{
    struct source *s = &q->sources[entry_source(e)];
    if (q->options.priority_max == 0 && !s->mixed && entry_offset(e) >= s->popped)
        s->popped = entry_offset(e) + 1;
}

static size_t pop_some(struct queue *q, struct entry *out, size_t max, beck_error *err)
{
    struct fifo *f = first_level(q);
    struct entry head;
    beck_error why;
    error_clear(&why);
    if (q->return_count > 0) {
        if (f && fifo_peek(f, &head, &why)) {
            fifo_failed(q, &why);
            f = NULL;
        }
        if (!f || before(&q->returns[0], &head)) {
            queue_pop_return(q, out);
            return 1;
        }
        max = 1; /* the next one may be one that came back */
    }
    size_t count;
    if (!f)
        return 0;
    if (fifo_pop_run(f, out, max, &count, &why)) {
        fifo_failed(q, &why);
        error_set(err, why.code, "%s", why.text);
        return 0;
    }
    /* Of neighbours of one source the last is the furthest. */
    for (size_t i = 0; i < count; i++)
        if (i + 1 == count || entry_source(&out[i + 1]) != entry_source(&out[i]))
            queue_note_popped(q, &out[i]);
    return count;
}

/* Another is the first of a level: the timer comes in time for it. */
static void announce_head(struct queue *q, struct fifo *f)
{
    struct entry e;
    if (f && fifo_count(f) > 0 && !fifo_peek(f, &e, NULL))
        queue_announce_expiry(q, entry_expires_ms(&e));
}

size_t queue_pop_some(struct queue *q, struct entry *out, size_t max, beck_error *err)
{
    size_t count = pop_some(q, out, max, err);
    if (count > 0)
        announce_head(q, q->levels[entry_level(out)]);
    if (q->return_count > 0)
        queue_announce_expiry(q, entry_expires_ms(&q->returns[0]));
    return count;
}

/* ---- limits ---- */

/* Lets the one go that would be delivered next. False: nothing there, or no memory to put it. */
static bool drop_one(struct queue *q)
{
    struct fifo *f = first_level(q);
    struct entry e, head;
    beck_error why = {0};
    if (f && fifo_peek(f, &head, &why)) {
        fifo_failed(q, &why);
        return false;
    }
    bool came_back = q->return_count > 0 && (!f || before(&q->returns[0], &head));
    if (!f && !came_back)
        return false;
    e = came_back ? q->returns[0] : head;
    if (queue_add_limbo(q, &e, "maxlen", "the queue was longer than its limit", -1, -1))
        return false;
    if (came_back)
        queue_pop_return(q, &e);
    else if (!fifo_pop(f, &e, NULL))
        queue_note_popped(q, &e);
    announce_head(q, f);
    q->dropped++;
    return true;
}

/* What is dropped for the bytes is measured before the next one goes. */
static bool is_over(const struct queue *q)
{
    const struct queue_rules *r = &q->rules;
    return (r->length_max && queue_ready(q) > r->length_max) ||
           (r->bytes_max && q->ready_bytes > r->bytes_max && q->limbo_counted == 0);
}

void queue_keep_limits(struct queue *q)
{
    while (!q->recovering && !q->held && queue_limbo_has_room(q) &&
           q->rules.overflow == BECK_OVERFLOW_DROP_OLDEST && is_over(q) && drop_one(q))
        continue;
}

int64_t slot_bytes(const struct slot *s)
{
    bool known = !s->counted && entry_source(&s->entry) != DEAD_SOURCE &&
                 atomic_load_explicit(&s->shown, memory_order_acquire);
    return known ? (int64_t)s->event.data.len : 0;
}

void queue_tidy_bytes(struct queue *q)
{
    if (q->ready_bytes != 0 && q->in_flight == 0 && q->limbo_count == 0 && queue_ready(q) == 0 &&
        schedule_count(q->delayed) == 0)
        q->ready_bytes = 0;
}

/* ---- listing ---- */

uint32_t queue_level(const struct queue *q, uint32_t priority)
{
    return priority < q->options.priority_max ? priority : q->options.priority_max;
}

static beck_status level_fifo(struct queue *q, uint32_t level, struct fifo **out, beck_error *err)
{
    beck_status status = BECK_OK;
    if (!q->levels[level])
        status = fifo_new(q->durable ? q->home->env->vfs : NULL, q->dir, level, 0,
                          &q->levels[level], err);
    *out = q->levels[level];
    return status;
}

#define GRACE_MS 100 /* for what expires on arrival, while somebody is about to take it */

static int64_t expiry(const struct queue *q, int64_t now_ms, int64_t deliver_at_ms,
                      int64_t expires_at_ms)
{
    int64_t expires = expires_at_ms > 0 ? expires_at_ms : 0, ttl = q->rules.ttl_ms;
    if (ttl >= 0) {
        int64_t from = deliver_at_ms > now_ms ? deliver_at_ms : now_ms;
        int64_t end = ttl < INT64_MAX - from ? from + ttl : INT64_MAX;
        if (!expires || end < expires)
            expires = end;
    }
    bool waiting = q->takers > 0 || q->first_watch ||
                   atomic_load_explicit(&q->expecting, memory_order_relaxed);
    if (expires && expires <= now_ms && q->ruled && waiting)
        expires = now_ms + GRACE_MS;
    return expires;
}

beck_status queue_route_run(struct queue *q, uint32_t source, const struct routed *run,
                            int64_t now_ms, uint32_t *routed, beck_error *err)
{
    assert(mutex_held(&q->lock));
    uint32_t level = queue_level(q, run->priority);
    int64_t expires = expiry(q, now_ms, run->deliver_at_ms, run->expires_at_ms);
    struct fifo *f;
    *routed = 0;
    beck_status status = level_fifo(q, level, &f, err);
    if (status)
        return status;
    struct entry e = {.where = entry_where(source, run->offset), .meta = entry_meta(expires, 0)};
    bool first = fifo_count(f) == 0;
    if (run->deliver_at_ms <= now_ms)
        status = fifo_push_run(f, &e, run->count, routed, err);
    for (; *routed < run->count && !status; *routed += !status, e.where++) {
        e.seq = entry_seq(level, fifo_tail(f));
        status = queue_push_delayed(q, &e, run->deliver_at_ms);
    }
    if (*routed > 0) {
        q->dirty = true;
        q->ready_bytes += (int64_t)(run->bytes / run->count * *routed);
        if (*routed == run->count)
            q->ready_bytes += (int64_t)(run->bytes % run->count);
        queue_keep_limits(q);
        if (expires && expires < q->sweep_ms)
            q->sweep_ms = expires;
        if (first)
            queue_announce_expiry(q, expires);
    }
    return status;
}

beck_status queue_route(struct queue *q, uint32_t source, int64_t offset, int64_t now_ms,
                        int64_t deliver_at_ms, int64_t expires_at_ms, uint32_t priority,
                        size_t size, beck_error *err)
{
    struct routed one = {.offset = offset,
                         .deliver_at_ms = deliver_at_ms,
                         .expires_at_ms = expires_at_ms,
                         .bytes = size,
                         .count = 1,
                         .priority = (uint16_t)priority};
    uint32_t routed;
    return queue_route_run(q, source, &one, now_ms, &routed, err);
}

/* ---- peeking ---- */

/* Up to max entries in order of delivery. */
static beck_status peek_entries(struct queue *q, struct entry *out, size_t max, size_t *count,
                                beck_error *err)
{
    size_t n = 0, cap = q->return_count;
    struct entry *heap = malloc((cap ? cap : 1) * sizeof *heap);
    if (!heap)
        return error_set(err, BECK_ENOMEM, "no memory to look at queue \"%s\"", q->name);
    if (cap > 0)
        memcpy(heap, q->returns, cap * sizeof *heap);
    /* Only a copy of the queue's heap is taken apart. */
    struct queue copy = {.returns = heap, .return_count = cap, .return_cap = cap};
    beck_status status = BECK_OK;
    for (uint32_t level = q->options.priority_max + 1; level-- > 0 && n < max && !status;) {
        if (!q->levels[level])
            continue;
        struct fifo_walk walk;
        struct entry e;
        fifo_walk_begin(&walk, q->levels[level]);
        while (n < max && (status = fifo_walk_next(&walk, &e, err)) == BECK_OK) {
            while (n < max && copy.return_count > 0 && before(&copy.returns[0], &e))
                queue_pop_return(&copy, &out[n++]);
            if (n < max)
                out[n++] = e;
        }
        fifo_walk_end(&walk);
        status = status == BECK_END ? BECK_OK : status;
    }
    while (n < max && copy.return_count > 0)
        queue_pop_return(&copy, &out[n++]);
    free(heap);
    *count = n;
    return status;
}

struct peeked {
    int (*each)(void *ctx, const beck_event *event);
    void *ctx;
};

static int show_peeked(void *ctx, size_t i, const beck_event *event)
{
    const struct peeked *p = ctx;
    (void)i;
    return event ? p->each(p->ctx, event) : 0;
}

beck_status queue_peek(struct queue *q, size_t max, int (*each)(void *ctx, const beck_event *event),
                       void *ctx, beck_error *err)
{
    mutex_lock(&q->lock);
    size_t ready = (size_t)queue_ready(q), count = 0;
    if (max > ready)
        max = ready;
    struct entry *entries = malloc((max ? max : 1) * sizeof *entries);
    beck_status status = entries ? peek_entries(q, entries, max, &count, err)
                                 : error_set(err, BECK_ENOMEM, "no memory to look at a queue");
    mutex_unlock(&q->lock);
    struct peeked p = {each, ctx};
    if (!status)
        status = queue_show_entries(q, entries, count, sizeof *entries, show_peeked, &p, err);
    free(entries);
    return status;
}
