/* Consumers that stand for many: what beck.h does not offer. As with its functions, one thread at a
 * time. */
#ifndef BECK_QUEUE_CONSUMER_H
#define BECK_QUEUE_CONSUMER_H

#include "queue/queue.h"

/* As consumer_settle, and stale[i] says whether tags[i] was no longer held; then it is no error. */
beck_status consumer_settle_each(beck_consumer *c, const uint64_t *tags, size_t count, bool *stale,
                                 beck_error *err);
/* Frees what late deliveries occupy although nobody will answer them. Their events must not be in
 * use any more. How many deliveries are still held. */
uint32_t consumer_forget_stale(beck_consumer *c);
/* From now on consumer_take gives no more once the data of what it gives has so many bytes: at least one event,
 * and at most one that is beyond. */
void consumer_limit_bytes(beck_consumer *c, size_t bytes);

/* What is taken without being read: whoever takes knows the events by where they are. */
struct acquire {
    size_t max;
    int64_t in_flight_max; /* of the queue, with what all consumers hold */
    /* Called with queue.lock held; NULL: everything. What is not wanted keeps its place. */
    bool (*wanted)(void *ctx, const beck_bus *bus, uint32_t partition, int64_t offset);
    void *ctx;
    /* How many that are not wanted may lie before one that is; bounded by ACQUIRE_PASSED_MAX. */
    size_t passed_max;
};
#define ACQUIRE_PASSED_MAX 1024

struct acquired {
    /* Where it was published: also of a dead letter that was put back. */
    beck_bus *bus;
    uint32_t partition;
    int64_t offset;
    uint64_t tag;
    uint32_t attempt; /* from 1 on */
};

/* Does not wait; nothing there is no error. The deliveries are as those of consumer_take, and are
 * answered in the same ways. With no room (prefetch) nothing is given. */
beck_status consumer_acquire(beck_consumer *c, const struct acquire *what, struct acquired *out,
                             size_t *count, beck_error *err);
/* held[i]: whether tags[i] is still held, and its deadline not over. */
void consumer_holds(beck_consumer *c, const uint64_t *tags, size_t count, bool *held);

#endif
