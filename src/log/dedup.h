/*
 * Which events a partition stored in the last while, by source and id: for dedup_window_ms of a
 * bus.
 *
 * In memory only: it is filled again from the log when the partition is opened. Keys are 128-bit
 * SipHash values under a random seed. At most DEDUP_MAX events are remembered: when more come within the
 * window, the oldest are forgotten early. The caller locks.
 */
#ifndef BECK_LOG_DEDUP_H
#define BECK_LOG_DEDUP_H

#include "base/bytes.h"

#define DEDUP_MAX 1000000

struct dedup;

struct dedup *dedup_new(int64_t window_ms); /* NULL: no memory */
void dedup_free(struct dedup *d);
void dedup_set_window(struct dedup *d, int64_t window_ms);
/* Whether the event is known: its offset. Forgets what is older than now_ms - window. */
bool dedup_find(struct dedup *d, beck_bytes source, beck_bytes id, int64_t now_ms, int64_t *offset);
beck_status dedup_add(struct dedup *d, beck_bytes source, beck_bytes id, int64_t now_ms,
                      int64_t offset);
/* Forgets events at and after this offset, which were not stored after all. */
void dedup_forget_from(struct dedup *d, int64_t offset);

#endif
