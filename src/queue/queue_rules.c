/* Options and rules of a queue that change while it lives, and who takes the place of its dead letters. */
#include "queue/queue_impl.h"

/* Whether what is too much can be refused. */
static bool rules_refuse(const struct queue_rules *r)
{
    return r->overflow == BECK_OVERFLOW_REFUSE && (r->length_max || r->bytes_max);
}

void queue_set_rules(struct queue *q, const struct queue_rules *r)
{
    mutex_lock(&q->lock);
    q->rules = *r;
    q->ruled = true;
    atomic_store(&q->refuses, rules_refuse(r));
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

void queue_begin_rules(struct queue *q)
{
    const beck_queue_options *o = &q->options;
    int64_t ttl_ms = o->ttl_ms ? o->ttl_ms : -1;
    q->rules = (struct queue_rules){.ttl_ms = q->lifetime_ms >= 0 ? q->lifetime_ms : ttl_ms,
                                    .length_max = o->length_max,
                                    .overflow = o->overflow,
                                    .attempts_max = o->attempts_max,
                                    .deadline_ms = o->deadline_ms};
    q->ruled = false;
    atomic_store(&q->refuses, rules_refuse(&q->rules));
}

int64_t queue_lifetime(const struct queue *q)
{
    return q->lifetime_ms;
}

void queue_set_lifetime(struct queue *q, int64_t ms)
{
    mutex_lock(&q->lock);
    q->lifetime_ms = ms;
    if (!q->ruled)
        queue_begin_rules(q);
    mutex_unlock(&q->lock);
}

void queue_reset_rules(struct queue *q)
{
    mutex_lock(&q->lock);
    queue_begin_rules(q);
    queue_keep_limits(q);
    bool limbo = queue_limbo_has_work(q);
    mutex_unlock(&q->lock);
    if (limbo)
        queue_work_limbo(q);
}

static beck_status refuse_option(const struct queue *q, const char *what, beck_error *err)
{
    return error_set(err, BECK_EINVAL,
                     "%s of queue \"%s\" stays as it was made; make another queue for that", what,
                     q->name);
}

beck_status queue_check_alter(struct queue *q, const beck_queue_options *o, beck_error *err)
{
    mutex_lock(&q->lock);
    beck_queue_options now = q->options;
    bool ruled = q->ruled;
    mutex_unlock(&q->lock);
    if (o->storage != now.storage)
        return refuse_option(q, "the storage", err);
    if (o->priority_max != now.priority_max)
        return refuse_option(q, "priority_max", err);
    if (ruled &&
        (o->attempts_max != now.attempts_max || o->deadline_ms != now.deadline_ms ||
         o->ttl_ms != now.ttl_ms || o->length_max != now.length_max || o->overflow != now.overflow))
        return error_set(
            err, BECK_EINVAL,
            "attempts, deadline, time to live and length of queue \"%s\" come from its "
            "AMQP arguments, a policy or a share group; change them there",
            q->name);
    return BECK_OK;
}

void queue_alter(struct queue *q, const beck_queue_options *o)
{
    mutex_lock(&q->lock);
    /* The others are the same, and read without the lock. */
    q->options.attempts_max = o->attempts_max;
    q->options.backoff = o->backoff;
    q->options.deadline_ms = o->deadline_ms;
    q->options.ttl_ms = o->ttl_ms;
    q->options.length_max = o->length_max;
    q->options.overflow = o->overflow;
    q->options.no_dead_letters = o->no_dead_letters;
    if (!q->ruled)
        queue_begin_rules(q);
    q->held &= o->no_dead_letters || q->bury;
    queue_keep_limits(q);
    bool limbo = queue_limbo_has_work(q);
    mutex_unlock(&q->lock);
    if (limbo)
        queue_work_limbo(q);
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
        queue_limbo(q, i)->waits = queue_limbo(q, i)->failed = false;
        queue_limbo(q, i)->note = 0;
    }
    q->limbo_waiting = q->limbo_failed = 0;
    q->waiting_bytes = 0;
    q->held &= !fn;
    q->dirty = true;
    bool limbo = queue_limbo_has_work(q);
    mutex_unlock(&q->lock);
    if (limbo)
        queue_work_limbo(q);
}
