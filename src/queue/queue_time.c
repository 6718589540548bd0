/*
 * What time brings to a queue: deliveries whose deadline passed, delayed events that are due, events
 * whose time to live ended.
 */
#include "queue/queue_impl.h"

#include <assert.h>

/* ---- delays ---- */

beck_status queue_push_delayed(struct queue *q, const struct entry *e, int64_t due_ms)
{
    struct scheduled item = {due_ms, *e};
    beck_status status = schedule_push(q->delayed, &item, NULL);
    if (!status && due_ms < q->next_due_ms) {
        q->next_due_ms = due_ms;
        queue_announce_due(q);
    }
    return status;
}

#define ASIDE_MS 60000 /* after a repair they come at most so late */

beck_status queue_set_aside(struct queue *q, const struct entry *e, int64_t now_ms)
{
    q->dirty = true;
    return queue_push_delayed(q, e, now_ms + ASIDE_MS);
}

static void look_at_schedule(struct queue *q)
{
    struct scheduled next;
    beck_error why;
    error_clear(&why);
    beck_status status = schedule_peek(q->delayed, &next, &why);
    q->next_due_ms = status ? INT64_MAX : next.due_ms;
    if (status && status != BECK_END)
        env_report(
            q->home->env, status,
            "queue \"%s\": its delayed events cannot be read: %s; close, remove the file and "
            "open again: they are read from the log",
            q->name, why.text);
}

#define BACKOFF_MAX_MS (INT64_C(1) << 53) /* far beyond anybody's life, and safe to add to */

int64_t backoff_delay(struct queue *q, uint32_t attempts)
{
    const beck_backoff *b = &q->options.backoff;
    int64_t delay = b->first_ms;
    if (b->kind == BECK_BACKOFF_NONE)
        return 0;
    if (b->kind == BECK_BACKOFF_LIST)
        delay = b->list_ms[attempts <= b->list_count ? attempts - 1 : b->list_count - 1];
    if (b->kind == BECK_BACKOFF_EXPONENTIAL) {
        for (uint32_t i = 1; i < attempts && delay < b->max_ms; i++)
            delay = delay > b->max_ms / 2 ? b->max_ms : delay * 2;
        if (delay > b->max_ms)
            delay = b->max_ms;
    }
    if (delay > BACKOFF_MAX_MS)
        delay = BACKOFF_MAX_MS;
    int64_t spread = b->jitter_percent <= 100
                         ? delay / 100 * b->jitter_percent + delay % 100 * b->jitter_percent / 100
                         : 0;
    if (spread > 0)
        delay += (int64_t)rng_below(&q->rng, (uint64_t)spread * 2 + 1) - spread;
    return delay;
}

/* ---- deadlines ---- */

int64_t queue_deadline_ns(const struct queue *q, int64_t now_ns)
{
    int64_t ms = q->rules.deadline_ms;
    bool never = ms < 0 || ms > (INT64_MAX - now_ns) / 1000000;
    return never ? INT64_MAX : now_ns + ms * 1000000;
}

void slot_link(struct queue *q, struct slot *s, int64_t deadline_ns)
{
    s->deadline_ns = deadline_ns;
    struct slot *before = q->last_deadline;
    while (before && before->deadline_ns > s->deadline_ns)
        before = before->previous;
    s->previous = before;
    s->next = before ? before->next : q->first_deadline;
    if (before)
        before->next = s;
    else
        q->first_deadline = s;
    if (s->next)
        s->next->previous = s;
    else
        q->last_deadline = s;
}

void slots_link(struct queue *q, struct slot *const *slots, size_t count, int64_t deadline_ns)
{
    /* Mostly every delivery has the same time, and stays at the end. */
    bool at_end = !q->last_deadline || q->last_deadline->deadline_ns <= deadline_ns;
    for (size_t i = 0; i < count && !at_end; i++)
        slot_link(q, slots[i], deadline_ns);
    if (!at_end || count == 0)
        return;
    struct slot *before = q->last_deadline;
    for (size_t i = 0; i < count; before = slots[i++]) {
        slots[i]->deadline_ns = deadline_ns;
        slots[i]->previous = before;
        *(before ? &before->next : &q->first_deadline) = slots[i];
    }
    before->next = NULL;
    q->last_deadline = before;
}

void slots_unlink(struct queue *q, struct slot *const *slots, size_t count)
{
    for (size_t i = 0, n; i < count; i += n) {
        struct slot *first = slots[i], *last = first;
        /* Mostly they were taken one behind the other. */
        for (n = 1; i + n < count && slots[i + n] == last->next; n++)
            last = slots[i + n];
        if (first->previous)
            first->previous->next = last->next;
        else
            q->first_deadline = last->next;
        if (last->next)
            last->next->previous = first->previous;
        else
            q->last_deadline = first->previous;
    }
}

void slot_unlink(struct queue *q, struct slot *s)
{
    slots_unlink(q, &s, 1);
}

static void expire_deadlines(struct queue *q, int64_t now_ns)
{
    struct slot *s = q->first_deadline;
    while (s && s->deadline_ns <= now_ns) {
        struct slot *next = s->next;
        /* A slot that is being settled right now is left to finish. */
        if (s->state == SLOT_HELD) {
            if (queue_add_limbo(q, &s->entry, NULL, "the deadline passed before it was settled", -1,
                                s->counted ? -1 : slot_bytes(s)))
                return;
            s->counted = false;
            queue_count_failed(q, s);
            slot_unlink(q, s);
            s->state = SLOT_STALE;
            q->in_flight--;
        }
        s = next;
    }
}

/* ---- all of them ---- */

#define STEPS 1000 /* at once, so that the lock is not held for long */

beck_status queue_expire(struct queue *q, const struct entry *e)
{
    beck_status status = queue_add_limbo(q, e, "expired", "its time to live ended", -1, -1);
    q->expired += status == BECK_OK;
    return status;
}

void queue_expire_ready(struct queue *q, int64_t now_ms)
{
    if (q->held)
        return;
    for (int step = 0; step < STEPS; step++) {
        struct entry e;
        bool from_fifo = false;
        struct fifo *f = NULL;
        for (uint32_t i = 0; i <= q->options.priority_max && !from_fifo; i++) {
            f = q->levels[i];
            if (!f || fifo_peek(f, &e, NULL))
                continue;
            from_fifo = entry_expires_ms(&e) && entry_expires_ms(&e) <= now_ms;
        }
        if (!from_fifo) {
            if (q->return_count == 0)
                return;
            e = q->returns[0];
            if (!entry_expires_ms(&e) || entry_expires_ms(&e) > now_ms)
                return;
        }
        if (!queue_limbo_has_room(q) || queue_expire(q, &e))
            return;
        if (!from_fifo)
            queue_pop_return(q, &e);
        else if (!fifo_pop(f, &e, NULL))
            queue_note_popped(q, &e);
    }
    q->more = true;
}

/* How many of the first `max` entries of a list there are up to the last that has expired; *next_ms: or sooner, when to
 * look again. */
static uint64_t expired_span(struct fifo *f, uint64_t max, int64_t now_ms, int64_t *next_ms)
{
    struct fifo_walk walk;
    struct entry e;
    uint64_t n = 0, span = 0;
    fifo_walk_begin(&walk, f);
    while (n < max && !fifo_walk_next(&walk, &e, NULL)) {
        int64_t expires_ms = entry_expires_ms(&e);
        n++;
        if (expires_ms && expires_ms <= now_ms)
            span = n;
        else if (expires_ms && expires_ms < *next_ms)
            *next_ms = expires_ms;
    }
    fifo_walk_end(&walk);
    if (n < fifo_count(f))
        *next_ms = now_ms;
    return span;
}

/* Puts an entry that was taken out away, or back. False: it had to come back. */
static bool expire_or_return(struct queue *q, const struct entry *e, int64_t now_ms)
{
    int64_t expires_ms = entry_expires_ms(e);
    bool due = expires_ms && expires_ms <= now_ms;
    if (due && queue_limbo_has_room(q) && !queue_expire(q, e))
        return true;
    queue_push_return(q, e);
    return !due;
}

#define SWEEP_MS 100 /* at most so often */
/* At most so many in the heap for it, which is in memory and in every snapshot. */
#define SWEEP_ENTRIES 10000

void queue_expire_behind(struct queue *q, int64_t now_ms)
{
    int64_t next_ms = INT64_MAX;
    bool all = true;
    if (q->held || q->recovering || now_ms < q->sweep_ms)
        return;
    q->sweep_ms = now_ms + SWEEP_MS;
    if (q->return_count > SWEEP_ENTRIES)
        return;
    q->sweep_ms = INT64_MAX;
    size_t count = q->return_count;
    q->return_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct entry e = q->returns[i];
        all &= expire_or_return(q, &e, now_ms);
    }
    for (uint32_t i = 0; i <= q->options.priority_max && all; i++) {
        uint64_t max = SWEEP_ENTRIES - q->return_count;
        uint64_t span = q->levels[i] ? expired_span(q->levels[i], max, now_ms, &next_ms) : 0;
        for (struct entry e; span > 0 && all; span--) {
            if (queue_reserve_returns(q, 1) || fifo_pop(q->levels[i], &e, NULL))
                break;
            queue_note_popped(q, &e);
            q->dirty = true;
            all = expire_or_return(q, &e, now_ms);
        }
        all &= span == 0;
    }
    /* Those that came back have said for themselves. */
    if (next_ms < q->sweep_ms)
        q->sweep_ms = next_ms;
    if (!all || q->sweep_ms < now_ms + SWEEP_MS)
        q->sweep_ms = now_ms + SWEEP_MS;
}

static void release_due(struct queue *q, int64_t now_ms)
{
    size_t released = 0;
    while (q->next_due_ms <= now_ms && released < STEPS) {
        struct scheduled item;
        if (queue_reserve_returns(q, 1))
            break;
        if (schedule_pop(q->delayed, &item, NULL) == BECK_OK) {
            if (!queue_entry_waits(q, &item.entry) || queue_set_aside(q, &item.entry, now_ms))
                queue_push_return(q, &item.entry);
            released++;
            q->dirty = true;
        }
        look_at_schedule(q);
    }
    q->more |= released == STEPS;
    queue_wake(q, released);
}

bool queue_advance(struct queue *q, int64_t now_ms, int64_t now_ns)
{
    assert(mutex_held(&q->lock));
    q->more = false;
    if (q->first_deadline && q->first_deadline->deadline_ns <= now_ns)
        expire_deadlines(q, now_ns);
    if (q->next_due_ms <= now_ms)
        release_due(q, now_ms);
    queue_expire_ready(q, now_ms);
    queue_keep_limits(q); /* what came back counts too */
    return queue_limbo_has_work(q);
}

static int64_t mono_of(int64_t wall_ms, int64_t now_ms, int64_t now_ns)
{
    int64_t wait_ms = wall_ms - now_ms;
    /* Far away is far enough: whoever waits looks again then. */
    if (wait_ms > 3600000)
        wait_ms = 3600000;
    return now_ns + (wait_ms > 0 ? wait_ms : 0) * 1000000;
}

int64_t queue_next_expiry_ns(const struct queue *q, int64_t now_ms, int64_t now_ns)
{
    /* What cannot leave now is left to the next tick. */
    if (q->held || queue_limbo_has_work(q))
        return INT64_MAX;
    int64_t first_ms = q->return_count > 0 ? entry_expires_ms(&q->returns[0]) : 0;
    for (uint32_t i = 0; i <= q->options.priority_max; i++) {
        struct entry e;
        if (!q->levels[i] || fifo_count(q->levels[i]) == 0 || fifo_peek(q->levels[i], &e, NULL))
            continue;
        int64_t expires_ms = entry_expires_ms(&e);
        if (expires_ms && (!first_ms || expires_ms < first_ms))
            first_ms = expires_ms;
    }
    return first_ms ? mono_of(first_ms, now_ms, now_ns) : INT64_MAX;
}

int64_t queue_next_event_ns(const struct queue *q, int64_t now_ms, int64_t now_ns)
{
    int64_t next = queue_next_expiry_ns(q, now_ms, now_ns);
    if (q->first_deadline && q->first_deadline->deadline_ns < next)
        next = q->first_deadline->deadline_ns;
    if (q->next_due_ms != INT64_MAX && mono_of(q->next_due_ms, now_ms, now_ns) < next)
        next = mono_of(q->next_due_ms, now_ms, now_ns);
    return next;
}

void queue_tick(struct queue *q)
{
    struct clock *clock = q->home->env->clock;
    bool more, lagging;
    do {
        mutex_lock(&q->lock);
        q->look_ms = INT64_MAX;
        bool limbo = queue_advance(q, clock_wall_ms(clock), clock_mono_ns(clock));
        more = q->more;
        lagging = q->rebuild;
        for (uint32_t i = 0; i < q->source_count && !lagging; i++)
            lagging = queue_is_behind(q, &q->sources[i]);
        mutex_unlock(&q->lock);
        if (limbo)
            queue_finish_limbo(q);
        mutex_lock(&q->lock);
        more &= !queue_limbo_has_work(q); /* else it could not be put away now */
        if (!more)
            queue_announce_due(q);
        mutex_unlock(&q->lock);
    } while (more);
    if (lagging)
        queue_catch_up(q);
    dead_rest(q);
}
