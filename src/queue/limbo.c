/*
 * Events on their way out: failed deliveries, and what expired or was too much. Each is written
 * down as another try or as a dead letter before it leaves the queue.
 *
 * One thread at a time does that (`limbo_working`), without the lock. What nobody waits for (late
 * deliveries, expiry, dropping) is put into limbo with the lock, and put away by whoever comes to
 * it; a disk that fails leaves it there. An answer of a consumer does not go through limbo: it
 * takes its turn, and is written or refused when the call returns.
 *
 * The function that buries may have one wait (queue_bury_fn). Those that wait are the first in limbo, also
 * answers; the others do not wait for them. Of these the first are those that it could not put away: they
 * are given again in turn, and the rest does not wait for them. That one was rejected is written down before:
 * after a restart it is in limbo again.
 */
#include "queue/queue_impl.h"

#include <stdio.h>
#include <stdlib.h>

void limbo_init(struct limbo *l, const struct entry *e, const char *reason, const char *why,
                int64_t delay_ms, int64_t size)
{
    l->entry = *e;
    l->size = size;
    l->reason = reason;
    l->delay_ms = delay_ms;
    l->waits = l->failed = false;
    l->note = 0;
    snprintf(l->why, sizeof l->why, "%s", why ? why : "");
}

static beck_status push_limbo(struct queue *q, const struct limbo *l)
{
    if (q->limbo_first > 0 && q->limbo_first >= (q->limbo_cap + 1) / 2) {
        memmove(q->limbo, queue_limbo(q, 0), q->limbo_count * sizeof *q->limbo);
        q->limbo_first = 0;
    }
    if (q->limbo_first + q->limbo_count == q->limbo_cap) {
        size_t cap = q->limbo_cap ? q->limbo_cap * 2 : 4;
        struct limbo *grown = realloc(q->limbo, cap * sizeof *grown);
        if (!grown)
            return BECK_ENOMEM;
        q->limbo = grown;
        q->limbo_cap = cap;
    }
    *queue_limbo(q, q->limbo_count++) = *l;
    q->limbo_counted += l->size < 0;
    return BECK_OK;
}

beck_status queue_add_limbo(struct queue *q, const struct entry *e, const char *reason,
                            const char *why, int64_t delay_ms, int64_t size)
{
    struct limbo l = {0};
    limbo_init(&l, e, reason, why, delay_ms, size);
    return push_limbo(q, &l);
}

/* Another try for a failed delivery: remembered in the log, then ready or delayed. */
static beck_status try_again(struct queue *q, const struct limbo *l, beck_error *err)
{
    struct entry e = l->entry;
    uint32_t attempts = entry_attempts(&e) + 1;
    int64_t now_ms = clock_wall_ms(q->home->env->clock), due_ms = 0;
    e.meta = entry_meta(entry_expires_ms(&e), attempts);
    struct buf failure;
    buf_init(&failure, 4096);
    history_format(&failure, attempts, now_ms, l->why);
    mutex_lock(&q->lock);
    int64_t delay = l->delay_ms >= 0 ? l->delay_ms : backoff_delay(q, attempts);
    mutex_unlock(&q->lock);
    if (delay > 0)
        due_ms = delay > INT64_MAX / 2 - now_ms ? INT64_MAX / 2 : now_ms + delay;
    beck_status status = state_retried(q, &e, due_ms, buf_bytes(&failure), err);
    if (!status) {
        mutex_lock(&q->lock);
        histories_add(&q->histories, e.where, buf_bytes(&failure));
        /* Where delaying is impossible (no memory, no disk) it is tried sooner instead of lost. */
        if (due_ms == 0 || queue_push_delayed(q, &e, due_ms))
            queue_push_return(q, &e);
        q->ready_bytes += l->size > 0 ? l->size : 0;
        q->retried++;
        q->dirty = true;
        queue_wake(q, 1);
        mutex_unlock(&q->lock);
        if (q->m_retried)
            counter_add(q->m_retried, 1);
    }
    buf_release(&failure);
    return status;
}

/* l->size: as much as is known afterwards. */
static beck_status resolve(struct queue *q, struct limbo *l, beck_error *err)
{
    mutex_lock(&q->lock);
    uint32_t attempts_max = q->rules.attempts_max;
    mutex_unlock(&q->lock);
    bool last = !l->reason && attempts_max && entry_attempts(&l->entry) + 1 >= attempts_max;
    if (!l->reason && !last)
        return try_again(q, l, err);
    if (last)
        l->reason = "attempts";
    /* A delivery that failed counts, once; an event that was never delivered has none. */
    bool rejected = strcmp(l->reason, "rejected") == 0 && !entry_rejected(&l->entry);
    if (last || rejected)
        l->entry.meta = entry_meta(entry_expires_ms(&l->entry), entry_attempts(&l->entry) + 1);
    if (rejected)
        l->entry.meta &= ~(uint64_t)ENTRY_DELIVERED;
    return dead_bury(q, l, err);
}

/* The first in limbo has been put away, or measured. With the lock. */
static void note_size(struct queue *q, struct limbo *item, int64_t size)
{
    if (item->size >= 0)
        return;
    if (size > 0)
        q->ready_bytes -= size;
    item->size = size > 0 ? size : 0;
    q->limbo_counted--;
}

/* By the timer. */
static void have_worked(struct queue *q)
{
    const struct queue_home *home = q->home;
    if (home->due)
        home->due(home->due_ctx, &q->due, clock_mono_ns(home->env->clock));
}

#define HANDED_OVER_AT_ONCE 1000 /* then others have their turn, and the timer goes on */

/* It has been put away. With the lock. */
static void remove_limbo(struct queue *q, size_t at)
{
    if (at < q->limbo_waiting) {
        q->limbo_waiting--;
        q->waiting_bytes -= queue_limbo(q, at)->size;
    }
    /* The gap goes to the front: past those under way, which stay in order, and the failed, which need not. */
    size_t from = at < q->limbo_failed ? at : q->limbo_failed;
    memmove(queue_limbo(q, from + 1), queue_limbo(q, from), (at - from) * sizeof *q->limbo);
    *queue_limbo(q, from) = *queue_limbo(q, 0);
    q->limbo_failed -= at < q->limbo_failed;
    q->limbo_count--;
    q->limbo_first = q->limbo_count ? q->limbo_first + 1 : 0;
}

/* One that waits, to those that have failed or from these. With the lock. */
static void put_in_place(struct queue *q, size_t at)
{
    struct limbo l = *queue_limbo(q, at);
    if (l.failed && at >= q->limbo_failed) {
        size_t to = q->limbo_failed++;
        memmove(queue_limbo(q, to + 1), queue_limbo(q, to), (at - to) * sizeof l);
        *queue_limbo(q, to) = l;
    } else if (!l.failed && at < q->limbo_failed) {
        size_t to = --q->limbo_failed;
        *queue_limbo(q, at) = *queue_limbo(q, to);
        *queue_limbo(q, to) = l;
    }
}

enum outcome { AWAY, WAITS, FAILED };

/* Tries to put one away; with the lock, which it lets go of meanwhile. */
static enum outcome put_one_away(struct queue *q, size_t at)
{
    q->limbo_working = true;
    struct limbo l = *queue_limbo(q, at);
    beck_error why;
    error_clear(&why);
    mutex_unlock(&q->lock);
    beck_status status = resolve(q, &l, &why);
    mutex_lock(&q->lock);
    q->limbo_working = false;
    cond_broadcast(&q->quiet);
    bool waits = status == BECK_EBUSY && l.waits;
    if (status && !waits) {
        if (status != BECK_EBUSY) /* else it is being made ready */
            env_report(q->home->env, status,
                       "queue \"%s\" cannot put away a failed event now (%s); it tries again",
                       q->name, why.text);
        return FAILED;
    }
    /* What is tried again stays counted. */
    struct limbo *item = queue_limbo(q, at);
    note_size(q, item, l.reason ? l.size : 0);
    l.size = item->size;
    if (!waits) {
        remove_limbo(q, at);
    } else {
        *item = l;
        q->waiting_bytes += at == q->limbo_waiting ? l.size : 0;
        q->limbo_waiting += at == q->limbo_waiting;
        put_in_place(q, at);
    }
    queue_keep_limits(q);
    return waits ? WAITS : AWAY;
}

void queue_work_limbo(struct queue *q)
{
    bool left = false;
    mutex_lock(&q->lock);
    for (int n = 0; queue_limbo_has_work(q) && !q->limbo_working; n++) {
        left = q->bury && n == HANDED_OVER_AT_ONCE;
        if (left)
            break;
        if (put_one_away(q, q->limbo_waiting) == FAILED)
            break;
        if (q->limbo_heirs > 0)
            break; /* they go on with the rest */
    }
    mutex_unlock(&q->lock);
    if (left)
        have_worked(q);
}

/* False: something failed. With the lock. */
static bool give_again(struct queue *q)
{
    size_t again = q->limbo_failed < BURIED_AT_ONCE ? q->limbo_failed : BURIED_AT_ONCE;
    enum outcome outcome;
    for (size_t kept = 0; kept < BURIED_AT_ONCE && q->limbo_failed + kept < q->limbo_waiting;) {
        size_t failed = q->limbo_failed;
        if (q->limbo_working)
            return true; /* it is done as well */
        outcome = put_one_away(q, failed + kept);
        if (outcome == FAILED)
            return false;
        kept += outcome == WAITS && failed == q->limbo_failed;
    }
    for (; again > 0 && q->limbo_failed > 0 && !q->limbo_working; again--) {
        size_t failed = q->limbo_failed;
        if (q->limbo_turn >= failed)
            q->limbo_turn = 0;
        if (put_one_away(q, q->limbo_turn) == FAILED)
            return false;
        q->limbo_turn += failed == q->limbo_failed;
    }
    return true;
}

bool queue_bury_again(struct queue *q)
{
    mutex_lock(&q->lock);
    q->limbo_heirs++;
    while (q->limbo_working)
        cond_wait(&q->quiet, &q->lock);
    q->limbo_heirs--;
    bool good = give_again(q);
    bool more = queue_limbo_has_work(q);
    mutex_unlock(&q->lock);
    if (more)
        queue_work_limbo(q);
    dead_rest(q);
    return good;
}

void queue_finish_limbo(struct queue *q)
{
    mutex_lock(&q->lock);
    while (q->limbo_working)
        cond_wait(&q->quiet, &q->lock);
    mutex_unlock(&q->lock);
    queue_work_limbo(q);
}

/* What is too much by its bytes is dropped one by one, each after the one before was measured.
 * With the lock. */
static void measure_limbo(struct queue *q)
{
    while (q->rules.bytes_max && q->limbo_counted > 0 && !q->limbo_working) {
        size_t at = q->limbo_count - 1;
        while (queue_limbo(q, at)->size >= 0)
            at--;
        struct limbo l = *queue_limbo(q, at);
        q->limbo_working = true; /* so that it stays where it is */
        mutex_unlock(&q->lock);
        int64_t size = dead_measure(q, &l);
        mutex_lock(&q->lock);
        q->limbo_working = false;
        cond_broadcast(&q->quiet);
        note_size(q, queue_limbo(q, at), size);
        queue_keep_limits(q);
    }
}

void queue_note_limbo(struct queue *q)
{
    mutex_lock(&q->lock);
    bool others = q->bury != NULL;
    if (others)
        measure_limbo(q);
    mutex_unlock(&q->lock);
    if (others)
        have_worked(q);
    else
        queue_work_limbo(q);
}

/* An answer that has become a dead letter, which waits. With the lock. */
static beck_status leave_waiting(struct queue *q, struct limbo *l, beck_error *err)
{
    if (l->size < 0)
        l->size = 0;
    if (push_limbo(q, l))
        return error_set(err, BECK_ENOMEM, "no memory for a dead letter");
    /* Behind others that have not been tried it is tried with them. */
    if (q->limbo_waiting + 1 == q->limbo_count) {
        q->limbo_waiting++;
        q->waiting_bytes += l->size;
        put_in_place(q, q->limbo_count - 1);
    }
    return BECK_OK;
}

beck_status queue_put_away(struct queue *q, const struct limbo *l, beck_error *err)
{
    mutex_lock(&q->lock);
    q->limbo_heirs++;
    while (q->limbo_working)
        cond_wait(&q->quiet, &q->lock);
    q->limbo_heirs--;
    q->limbo_working = true;
    mutex_unlock(&q->lock);
    struct limbo own = *l;
    beck_status status = resolve(q, &own, err);
    bool waits = status == BECK_EBUSY && own.waits;
    if (waits && entry_rejected(&own.entry)) {
        beck_status kept = state_retried(q, &own.entry, 0, (beck_bytes){0}, err);
        waits = !kept;
        status = kept ? kept : status;
    }
    mutex_lock(&q->lock);
    q->limbo_working = false;
    cond_broadcast(&q->quiet);
    if (waits)
        status = leave_waiting(q, &own, err);
    bool more = queue_limbo_has_work(q);
    mutex_unlock(&q->lock);
    if (more)
        queue_work_limbo(q);
    return status;
}
