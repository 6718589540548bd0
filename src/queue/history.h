/*
 * What went wrong with events that failed and are still in a queue: the last HISTORY_FAILURES
 * failures of each, as JSON objects.
 *
 * Bounded: beyond HISTORIES_BYTES the failures of an event are no longer remembered (its count of
 * attempts always is). The caller locks.
 */
#ifndef BECK_QUEUE_HISTORY_H
#define BECK_QUEUE_HISTORY_H

#include "base/bytes.h"

#define HISTORY_FAILURES 16
#define HISTORIES_BYTES (16u << 20)

struct history;
struct histories {
    struct history **table; /* open addressing by where */
    size_t count, cap, bytes;
};

void histories_release(struct histories *h);
/* Makes the object {"attempt","time","why"} of a failure. */
beck_status history_format(struct buf *out, uint32_t attempt, int64_t time_ms, const char *why);
/* The attempt that such an object tells of; 0: none. */
uint32_t history_attempt(beck_bytes failure);
/* Remembers one such object (copied). Without memory it is left out. */
void histories_add(struct histories *h, uint64_t where, beck_bytes failure);
/* Appends the objects, separated by commas, also from what is there already; nothing when there are
 * none. */
beck_status histories_write(const struct histories *h, uint64_t where, struct buf *out);
/* The last HISTORY_FAILURES of objects separated by commas. */
beck_bytes history_last(beck_bytes objects);
void histories_remove(struct histories *h, uint64_t where);
void histories_clear(struct histories *h);
/* Every failure of every event, oldest first per event. */
beck_status histories_each(const struct histories *h,
                           beck_status (*each)(void *ctx, uint64_t where, beck_bytes failure),
                           void *ctx);

#endif
