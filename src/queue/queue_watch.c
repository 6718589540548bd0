/* Waiting for a queue without a thread: see queue_watch in queue.h. */
#include "queue/queue_impl.h"

#include <assert.h>

#define AGAIN_NS 1000000

static void unlink_watch(struct queue *q, struct queue_watch *w)
{
    if (w->previous)
        w->previous->next = w->next;
    else
        q->first_watch = w->next;
    if (w->next)
        w->next->previous = w->previous;
    else
        q->last_watch = w->previous;
    w->on = false;
}

static bool may_give(const struct queue *q)
{
    return q->deleted || (!q->paused && (queue_ready(q) > 0 || q->rebuild));
}

bool queue_watch(struct queue *q, struct queue_watch *w)
{
    mutex_lock(&q->lock);
    assert(!w->on);
    bool wait = !may_give(q);
    if (wait) {
        w->next = NULL;
        w->previous = q->last_watch;
        if (w->previous)
            w->previous->next = w;
        else
            q->first_watch = w;
        q->last_watch = w;
        w->on = true;
        queue_announce_due(q);
    }
    mutex_unlock(&q->lock);
    return wait;
}

void queue_unwatch(struct queue *q, struct queue_watch *w)
{
    mutex_lock(&q->lock);
    if (w->on)
        unlink_watch(q, w);
    mutex_unlock(&q->lock);
}

void queue_pass_on(struct queue *q)
{
    mutex_lock(&q->lock);
    if (may_give(q))
        queue_call_watches(q, 1);
    mutex_unlock(&q->lock);
}

void queue_call_watches(struct queue *q, size_t count)
{
    assert(mutex_held(&q->lock));
    if (q->paused && !q->deleted)
        return;
    for (struct queue_watch *w; count > 0 && (w = q->first_watch); count--) {
        unlink_watch(q, w);
        w->fn(w->ctx);
    }
}

void queue_announce_due(struct queue *q)
{
    if (q->recovering || q->deleted || !q->home->due)
        return;
    assert(mutex_held(&q->lock));
    struct clock *clock = q->home->env->clock;
    int64_t now_ms = clock_wall_ms(clock), now_ns = clock_mono_ns(clock);
    int64_t due_ns = q->first_watch ? queue_next_event_ns(q, now_ms, now_ns)
                                    : queue_next_expiry_ns(q, now_ms, now_ns);
    if (due_ns == INT64_MAX)
        return;
    /* What is over and stays, as a delivery that is being settled, is not due once more at once. */
    if (due_ns <= now_ns)
        due_ns = now_ns + AGAIN_NS;
    int64_t look_ms = now_ms + (due_ns - now_ns + 999999) / 1000000;
    if (look_ms >= q->look_ms)
        return;
    q->look_ms = look_ms;
    q->home->due(q->home->due_ctx, &q->due, due_ns);
}
