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

#endif
