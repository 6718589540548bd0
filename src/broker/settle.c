/*
 * What came of messages: see dispatch.h.
 *
 * An answer that the engine cannot take (the disk is full, or where a dead letter goes is not ready yet) is
 * owed: the message stays held, and the answer is tried again when the dispatcher is poked.
 */
#include "broker/dispatch_impl.h"

#include "queue/consumer.h"

#include <assert.h>
#include <stdlib.h>

static void let_go(struct dispatcher *d, struct source_consumer **at, size_t count)
{
    struct source_consumer *k = *at;
    assert(k->held >= count);
    k->held -= (uint32_t)count;
    atomic_fetch_sub_explicit(&d->unacked, (int64_t)count, memory_order_relaxed);
    if (k->held > 0 || k == d->consumers)
        return;
    *at = k->next;
    consumer_close(k->consumer);
    free(k);
}

static void owe(struct dispatcher *d, const uint64_t *tags, size_t count, enum settlement how)
{
    if (d->owed_count + count > d->owed_cap) {
        size_t cap = (d->owed_cap + count) * 2;
        struct owed *grown = realloc(d->owed, cap * sizeof *grown);
        if (!grown)
            return; /* it stays held until the queue is closed */
        d->owed = grown;
        d->owed_cap = cap;
    }
    for (size_t i = 0; i < count; i++)
        d->owed[d->owed_count++] = (struct owed){tags[i], how};
    if (d->options.stalled)
        d->options.stalled(d->options.ctx, d);
}

static void acknowledge(struct dispatcher *d, struct source_consumer **at, const uint64_t *tags,
                        size_t count)
{
    bool stale[AT_ONCE];
    if (consumer_settle_each((*at)->consumer, tags, count, stale, NULL))
        owe(d, tags, count, SETTLE_ACK);
    else
        let_go(d, at, count);
}

static void reject(struct dispatcher *d, struct source_consumer **at, const uint64_t *tags,
                   size_t count)
{
    /* Behind those that are owed: dead letters keep their order. */
    if (d->owed_count > 0 || consumer_reject_many((*at)->consumer, tags, count, "rejected", NULL))
        owe(d, tags, count, SETTLE_REJECT);
    else
        let_go(d, at, count);
}

static void give_back(struct dispatcher *d, struct source_consumer **at, const uint64_t *tags,
                      size_t count, bool counts, enum settlement how)
{
    static const struct return_delay at_once;
    const struct return_delay *delay = !counts              ? &at_once
                                       : how == SETTLE_FAIL ? &d->delays.failed
                                                            : &d->delays.returned;
    if (consumer_return_later((*at)->consumer, tags, count, counts, delay, NULL))
        owe(d, tags, count, how);
    else
        let_go(d, at, count);
}

/* How many of the first have one consumer; *at: which. NULL: nobody has the first. */
static size_t run_of(struct dispatcher *d, const uint64_t *tags, size_t count,
                     struct source_consumer ***at)
{
    size_t n = 1;
    while (n < count && n < AT_ONCE && tags[n] >> 40 == tags[0] >> 40)
        n++;
    *at = dispatch_consumer_of(d, tags[0]);
    return n;
}

void settle_tags(struct dispatcher *d, const uint64_t *tags, size_t count, enum settlement how)
{
    assert(mutex_held(&d->lock));
    for (size_t done = 0, n; done < count; done += n) {
        struct source_consumer **at;
        n = run_of(d, tags + done, count - done, &at);
        if (!at)
            continue;
        if (how == SETTLE_ACK)
            acknowledge(d, at, tags + done, n);
        else if (how == SETTLE_REJECT)
            reject(d, at, tags + done, n);
        else
            give_back(d, at, tags + done, n, d->options.counts, how);
    }
}

void settle_give_back(struct dispatcher *d, const uint64_t *tags, size_t count)
{
    assert(mutex_held(&d->lock));
    for (size_t done = 0, n; done < count; done += n) {
        struct source_consumer **at;
        n = run_of(d, tags + done, count - done, &at);
        if (at)
            give_back(d, at, tags + done, n, false, SETTLE_REQUEUE);
    }
}

void settle_forget(struct dispatcher *d, const uint64_t *tags, size_t count)
{
    assert(mutex_held(&d->lock));
    for (size_t done = 0, n; done < count; done += n) {
        struct source_consumer **at;
        n = run_of(d, tags + done, count - done, &at);
        if (at)
            consumer_forget((*at)->consumer, tags + done, n);
    }
}

void dispatcher_forget(struct dispatcher *d, uint64_t tag)
{
    mutex_lock(&d->lock);
    settle_forget(d, &tag, 1);
    mutex_unlock(&d->lock);
}

void settle_owed(struct dispatcher *d)
{
    struct owed *owed = d->owed;
    size_t count = d->owed_count;
    d->owed = NULL;
    d->owed_count = d->owed_cap = 0;
    for (size_t i = 0; i < count; i++)
        settle_tags(d, &owed[i].tag, 1, owed[i].how);
    free(owed);
}

void dispatcher_settle(struct dispatcher *d, const uint64_t *tags,
                       struct subscriber *const *subscribers, size_t count, enum settlement how)
{
    mutex_lock(&d->lock);
    settle_tags(d, tags, count, how);
    for (size_t i = 0, n; i < count; i += n) {
        n = 1;
        while (i + n < count && subscribers[i + n] == subscribers[i])
            n++;
        if (subscribers[i])
            dispatch_released((struct queue_subscriber *)subscribers[i], (uint32_t)n);
    }
    dispatch_arrange(d);
    mutex_unlock(&d->lock);
}

void dispatcher_return_lost(struct dispatcher *d, const uint64_t *tags, size_t count)
{
    mutex_lock(&d->lock);
    settle_tags(d, tags, count, SETTLE_FAIL);
    dispatch_arrange(d);
    mutex_unlock(&d->lock);
}
