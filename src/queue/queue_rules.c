/* Rules of a queue that change while it lives, and who takes the place of its dead letters. */
#include "queue/queue_impl.h"

bool queue_rules_refuse(const struct queue_rules *r)
{
    return r->overflow == BECK_OVERFLOW_REFUSE && (r->length_max || r->bytes_max);
}

void queue_set_rules(struct queue *q, const struct queue_rules *r)
{
    mutex_lock(&q->lock);
    q->rules = *r;
    q->ruled = true;
    atomic_store(&q->refuses, queue_rules_refuse(r));
    queue_keep_limits(q);
    bool limbo = queue_limbo_has_work(q);
    mutex_unlock(&q->lock);
    if (limbo)
        queue_work_limbo(q);
}

void queue_get_rules(struct queue *q, struct queue_rules *out)
{
    mutex_lock(&q->lock);
    *out = q->rules;
    mutex_unlock(&q->lock);
}

void queue_expect(struct queue *q, bool expected)
{
    atomic_store_explicit(&q->expecting, expected, memory_order_relaxed);
}

void queue_hold(struct queue *q, bool held)
{
    mutex_lock(&q->lock);
    q->held = held && (q->options.no_dead_letters || q->bury);
    q->dirty = true;
    bool limbo = queue_limbo_has_work(q);
    mutex_unlock(&q->lock);
    if (limbo)
        queue_work_limbo(q);
}

void queue_set_bury(struct queue *q, queue_bury_fn fn, void *ctx)
{
    mutex_lock(&q->lock);
    q->limbo_heirs++;
    while (q->limbo_working)
        cond_wait(&q->quiet, &q->lock);
    q->limbo_heirs--;
    q->bury = fn;
    q->bury_ctx = ctx;
    for (size_t i = 0; i < q->limbo_count; i++) {
        queue_limbo(q, i)->waits = false;
        queue_limbo(q, i)->note = 0;
    }
    q->limbo_waiting = 0;
    q->waiting_bytes = 0;
    q->held &= !fn;
    q->dirty = true;
    bool limbo = queue_limbo_has_work(q);
    mutex_unlock(&q->lock);
    if (limbo)
        queue_work_limbo(q);
}
