/*
 * Saying how deliveries went. It is an operation: the slot becomes BUSY, the operation is written to
 * the state log without the lock, then the entry leaves (or goes back). So what has been answered
 * survives the end of the process, and an answer that could not be written leaves the delivery held.
 */
#include "queue/consumer_impl.h"

static beck_status say_stale(beck_error *err)
{
    return error_set(err, BECK_ESTALE,
                     "the delivery is no longer held: it was settled before, or its deadline "
                     "passed; raise deadline_ms or extend it");
}

/* Makes the slot of a held delivery BUSY. A stale one is freed. With the lock. */
static inline struct slot *begin(beck_consumer *c, uint64_t tag)
{
    struct slot *s = consumer_find(c, tag);
    if (!s)
        return NULL;
    if (s->state == SLOT_STALE) {
        consumer_free_slot(c, s);
        return NULL;
    }
    if (s->state != SLOT_HELD)
        return NULL;
    s->state = SLOT_BUSY;
    c->queue->operations++;
    return s;
}

static void end_operations(struct queue *q, size_t count)
{
    q->operations -= (uint32_t)count;
    if (count > 0 && q->operations == 0)
        cond_broadcast(&q->quiet);
}

static void end_operation(struct queue *q)
{
    end_operations(q, 1);
}

static void leave(struct queue *q, beck_consumer *c, struct slot *s)
{
    slot_unlink(q, s);
    q->in_flight--;
    consumer_free_slot(c, s);
}

#define SETTLE_AT_ONCE 256

static size_t settled_at_once(size_t left)
{
    return left < SETTLE_AT_ONCE ? left : SETTLE_AT_ONCE;
}

/* Makes those BUSY that are held. With the lock. */
static size_t begin_some(beck_consumer *c, const uint64_t *tags, size_t count, bool *stale,
                         struct slot **slots)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        struct slot *s = begin(c, tags[i]);
        stale[i] = s == NULL;
        if (s)
            slots[n++] = s;
    }
    return n;
}

/* The memory bus's partition that keeps what was published for them; NULL: none does, or *several may. With the
 * lock. */
static struct partition *keeper_of(const struct queue *q, struct slot *const *slots, size_t count,
                                   bool *several)
{
    struct partition *keeper = NULL;
    size_t first = count > 0 ? entry_source(&slots[0]->entry) : 0;
    *several = false;
    for (size_t i = 0; i < count && !*several; i++)
        *several = entry_source(&slots[i]->entry) != first;
    if (count > 0 && !*several)
        keeper = q->sources[first].partition;
    return keeper && partition_is_memory(keeper) ? keeper : NULL;
}

/* They leave the queue; nobody else knows their slots any more. With the lock. */
static void end_some(struct queue *q, struct slot *const *slots, size_t count)
{
    for (size_t i = 0; i < count && q->histories.count > 0; i++)
        histories_remove(&q->histories, slots[i]->entry.where);
    slots_unlink(q, slots, count);
    q->in_flight -= (int64_t)count;
    q->settled += (int64_t)count;
    queue_tidy_bytes(q);
    q->dirty = true;
}

/* The lock is had for as short as can be: publishers wait for it. */
static beck_status settle_some(beck_consumer *c, const uint64_t *tags, size_t count, bool *stale,
                               beck_error *err)
{
    struct queue *q = c->queue;
    struct slot *slots[SETTLE_AT_ONCE];
    struct entry entries[SETTLE_AT_ONCE];
    int64_t taken_ns[SETTLE_AT_ONCE], offsets[SETTLE_AT_ONCE];
    int64_t bytes = 0;
    beck_status status = BECK_OK;
    mutex_lock(&q->lock);
    size_t n = begin_some(c, tags, count, stale, slots);
    if (n > 0 && q->durable) {
        for (size_t i = 0; i < n; i++) {
            entries[i] = slots[i]->entry;
            bytes += slot_bytes(slots[i]);
        }
        mutex_unlock(&q->lock);
        status = state_settled(q, entries, n, bytes, err);
        mutex_lock(&q->lock);
    }
    end_operations(q, n);
    bool several;
    struct partition *keeper = keeper_of(q, slots, n, &several);
    if (!status)
        end_some(q, slots, n);
    for (size_t i = 0; i < n && status; i++)
        slots[i]->state = SLOT_HELD;
    mutex_unlock(&q->lock);
    if (status || n == 0)
        return status;
    for (size_t i = 0; i < n; i++) {
        offsets[i] = entry_offset(&slots[i]->entry);
        if (several)
            entries[i] = slots[i]->entry;
        taken_ns[i] = slots[i]->taken_ns;
        consumer_free_slot(c, slots[i]);
    }
    if (keeper)
        partition_disown(keeper, offsets, n);
    else if (several)
        queue_disown(q, entries, n);
    if (q->m_settled)
        counter_add(q->m_settled, n);
    queue_record_processing(q, taken_ns, n);
    return BECK_OK;
}

beck_status consumer_settle_each(beck_consumer *c, const uint64_t *tags, size_t count, bool *stale,
                                 beck_error *err)
{
    beck_status status = BECK_OK;
    for (size_t at = 0, n; at < count && !status; at += n) {
        n = settled_at_once(count - at);
        status = settle_some(c, tags + at, n, stale + at, err);
    }
    return status;
}

beck_status consumer_settle(beck_consumer *c, const uint64_t *tags, size_t count, beck_error *err)
{
    bool any = false, stale[SETTLE_AT_ONCE];
    for (size_t at = 0, n; at < count; at += n) {
        n = settled_at_once(count - at);
        beck_status status = settle_some(c, tags + at, n, stale, err);
        if (status)
            return status;
        for (size_t i = 0; i < n; i++)
            any |= stale[i];
    }
    return any ? say_stale(err) : BECK_OK;
}

/* Another try, or a dead letter: written before the delivery is let go of. */
static beck_status fail(beck_consumer *c, uint64_t tag, const char *reason, const char *why,
                        int64_t delay_ms, beck_error *err)
{
    struct queue *q = c->queue;
    struct limbo l;
    mutex_lock(&q->lock);
    struct slot *s = begin(c, tag);
    if (s)
        limbo_init(&l, &s->entry, reason, why, delay_ms, slot_bytes(s));
    mutex_unlock(&q->lock);
    if (!s)
        return say_stale(err);
    beck_status status = queue_put_away(q, &l, err);
    mutex_lock(&q->lock);
    end_operation(q);
    int64_t taken_ns = s->taken_ns;
    if (status) {
        s->state = SLOT_HELD;
    } else {
        queue_count_failed(q, s);
        leave(q, c, s);
        q->rejected += reason != NULL;
    }
    mutex_unlock(&q->lock);
    if (!status)
        queue_record_processing(q, &taken_ns, 1);
    return status;
}

beck_status consumer_retry(beck_consumer *c, uint64_t tag, int64_t delay_ms, const char *why,
                           beck_error *err)
{
    if (delay_ms < -1)
        return error_set(err, BECK_EINVAL, "delay_ms = %lld is negative; -1 means the back-off",
                         (long long)delay_ms);
    return fail(c, tag, NULL, why, delay_ms, err);
}

beck_status consumer_reject(beck_consumer *c, uint64_t tag, const char *why, beck_error *err)
{
    return fail(c, tag, "rejected", why, -1, err);
}

/* When one that has come back so often is ready again; 0: at once. */
static int64_t due_of(const struct queue *q, const struct return_delay *delay, uint32_t attempts)
{
    if (delay->min_ms <= 0)
        return 0;
    int64_t most = delay->max_ms > delay->min_ms ? delay->max_ms : delay->min_ms;
    int64_t ms = attempts <= most / delay->min_ms ? delay->min_ms * (int64_t)attempts : most;
    int64_t now_ms = clock_wall_ms(q->home->env->clock);
    ms = ms < delay->min_ms ? delay->min_ms : ms;
    return ms < INT64_MAX / 2 - now_ms ? now_ms + ms : INT64_MAX / 2;
}

/* What it is once it has been given back. With the lock. */
static struct scheduled next_try(const struct queue *q, const struct slot *s, bool counts,
                                 const struct return_delay *delay)
{
    struct scheduled next = {.entry = s->entry};
    uint32_t attempts = entry_attempts(&s->entry) + (counts ? 1 : 0);
    next.due_ms = due_of(q, delay, attempts);
    if (counts)
        next.entry.meta = entry_meta(entry_expires_ms(&s->entry), attempts);
    next.entry.meta |= ENTRY_DELIVERED;
    return next;
}

/* To its place, or to where it dies of the last attempt. After an error it is held as before. With the lock. */
static beck_status give_back(beck_consumer *c, struct slot *s, const struct scheduled *next,
                             bool counts)
{
    struct queue *q = c->queue;
    const struct entry *e = &next->entry;
    int64_t size = slot_bytes(s);
    bool last = counts && q->rules.attempts_max && entry_attempts(e) >= q->rules.attempts_max;
    if (last && queue_add_limbo(q, e, "delivery_limit", "it was given back too often", -1, size))
        return BECK_ENOMEM;
    leave(q, c, s);
    q->dirty = true;
    if (!last) {
        if (next->due_ms == 0 || queue_push_delayed(q, e, next->due_ms))
            queue_push_return(q, e);
        q->ready_bytes += size;
    }
    return BECK_OK;
}

static const struct return_delay at_once;

beck_status consumer_return(beck_consumer *c, uint64_t tag, beck_error *err)
{
    struct queue *q = c->queue;
    mutex_lock(&q->lock);
    struct slot *s = begin(c, tag);
    if (s) {
        end_operation(q);
        struct scheduled next = next_try(q, s, false, &at_once);
        give_back(c, s, &next, false);
        queue_wake(q, 1);
    }
    mutex_unlock(&q->lock);
    return s ? BECK_OK : say_stale(err);
}

/* With the lock, which it lets go of while it is written down that they count. */
static beck_status return_some(beck_consumer *c, const uint64_t *tags, size_t count, bool counts,
                               const struct return_delay *delay, size_t *returned, beck_error *err)
{
    struct queue *q = c->queue;
    struct slot *slots[SETTLE_AT_ONCE];
    struct scheduled next[SETTLE_AT_ONCE];
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        struct slot *s = begin(c, tags[i]);
        if (!s)
            continue;
        slots[n] = s;
        next[n++] = next_try(q, s, counts, delay);
    }
    beck_status status = BECK_OK;
    if (n > 0 && counts && q->durable) {
        mutex_unlock(&q->lock);
        status = state_given_back(q, next, n, err);
        mutex_lock(&q->lock);
    }
    end_operations(q, n);
    for (size_t i = 0; i < n; i++)
        slots[i]->state = SLOT_HELD;
    for (size_t i = 0; i < n && !status; i++) {
        status = give_back(c, slots[i], &next[i], counts);
        if (status)
            error_set(err, status, "no memory to give deliveries back");
        *returned += !status;
    }
    return status;
}

beck_status consumer_return_later(beck_consumer *c, const uint64_t *tags, size_t count, bool counts,
                                  const struct return_delay *delay, beck_error *err)
{
    struct queue *q = c->queue;
    size_t returned = 0;
    beck_status status = BECK_OK;
    mutex_lock(&q->lock);
    for (size_t at = 0; at < count && !status; at += SETTLE_AT_ONCE) {
        size_t n = settled_at_once(count - at);
        status = return_some(c, tags + at, n, counts, delay, &returned, err);
    }
    queue_wake(q, returned);
    queue_keep_limits(q);
    bool limbo = queue_limbo_has_work(q);
    mutex_unlock(&q->lock);
    if (limbo)
        queue_work_limbo(q);
    return status;
}

beck_status consumer_return_many(beck_consumer *c, const uint64_t *tags, size_t count, bool counts,
                                 beck_error *err)
{
    return consumer_return_later(c, tags, count, counts, &at_once, err);
}

beck_status consumer_reject_many(beck_consumer *c, const uint64_t *tags, size_t count,
                                 const char *why, beck_error *err)
{
    beck_status status = BECK_OK;
    for (size_t i = 0; i < count && !status; i++) {
        beck_error stale = {0};
        status = fail(c, tags[i], "rejected", why, -1, &stale);
        if (status == BECK_ESTALE)
            status = BECK_OK;
        else if (status)
            error_set(err, status, "%s", stale.text);
    }
    return status;
}

/* Whoever extends it knows of the deadline that it was taken under, and perhaps of no shorter one. */
static int64_t extended_ns(const struct queue *q, const struct slot *s)
{
    int64_t now_ns = clock_mono_ns(q->home->env->clock);
    int64_t least = now_ns + s->hold_ms * 1000000LL, until = queue_deadline_ns(q, now_ns);
    if (s->deadline_ns == INT64_MAX)
        return INT64_MAX;
    return until > least ? until : least;
}

beck_status consumer_extend(beck_consumer *c, uint64_t tag, beck_error *err)
{
    struct queue *q = c->queue;
    mutex_lock(&q->lock);
    struct slot *s = consumer_find(c, tag);
    bool held = s && s->state == SLOT_HELD;
    if (held) {
        int64_t until_ns = extended_ns(q, s);
        slot_unlink(q, s);
        slot_link(q, s, until_ns);
    }
    mutex_unlock(&q->lock);
    return held ? BECK_OK : say_stale(err);
}
