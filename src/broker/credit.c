/* Limits that subscribers of several queues share (qos global): what is held is counted without a lock, and who
 * found nothing left stands in a list, to be woken when something is given back. */
#include "broker/dispatch_impl.h"

#include <assert.h>

void credit_init(struct credit *c, uint32_t limit)
{
    *c = (struct credit){0};
    atomic_init(&c->limit, limit);
    mutex_init(&c->lock);
}

void credit_release(struct credit *c)
{
    assert(!c->first);
    mutex_release(&c->lock);
}

bool credit_left(struct credit *c)
{
    uint32_t limit = atomic_load(&c->limit);
    return limit == 0 || atomic_load(&c->used) < limit;
}

uint32_t credit_reserve(struct credit *c, uint32_t want)
{
    uint32_t used = atomic_load(&c->used), got;
    do {
        uint32_t limit = atomic_load(&c->limit);
        uint32_t left = limit == 0 ? UINT32_MAX - used : used < limit ? limit - used : 0;
        got = left < want ? left : want;
    } while (got > 0 && !atomic_compare_exchange_weak(&c->used, &used, used + got));
    return got;
}

void credit_wake(struct credit *c)
{
    if (atomic_load(&c->waiting) == 0)
        return;
    mutex_lock(&c->lock);
    for (struct waiting_subscriber *w = c->first; w; w = w->next)
        dispatch_wake(
            (struct queue_subscriber *)((char *)w - offsetof(struct queue_subscriber, waiting)));
    mutex_unlock(&c->lock);
}

void credit_return(struct credit *c, uint32_t count)
{
    uint32_t before = atomic_fetch_sub(&c->used, count);
    assert(before >= count);
    (void)before;
}

void credit_give_back(struct credit *c, uint32_t count)
{
    if (count == 0)
        return;
    credit_return(c, count);
    credit_wake(c);
}

void credit_set_limit(struct credit *c, uint32_t limit)
{
    atomic_store(&c->limit, limit);
    credit_wake(c);
}

bool credit_await(struct queue_subscriber *s)
{
    struct credit *c = s->options.shared;
    mutex_lock(&c->lock);
    atomic_fetch_add(&c->waiting, 1);
    bool wait = !credit_left(c);
    if (wait) {
        s->waiting.next = c->first;
        s->waiting.at = &c->first;
        if (c->first)
            c->first->at = &s->waiting.next;
        c->first = &s->waiting;
    } else {
        atomic_fetch_sub(&c->waiting, 1);
    }
    mutex_unlock(&c->lock);
    s->is_waiting = wait;
    return wait;
}

void credit_await_no_more(struct queue_subscriber *s)
{
    if (!s->is_waiting)
        return;
    struct credit *c = s->options.shared;
    mutex_lock(&c->lock);
    *s->waiting.at = s->waiting.next;
    if (s->waiting.next)
        s->waiting.next->at = s->waiting.at;
    atomic_fetch_sub(&c->waiting, 1);
    mutex_unlock(&c->lock);
    s->is_waiting = false;
}
