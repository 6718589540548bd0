/*
 * Group commit: makes what has been written durable, for everything of one data directory at once.
 *
 * Work comes as (partition, offset needed). A round takes every dirty partition, syncs each file
 * once without any lock, then tells all that waited. While a round runs the next one gathers.
 * Whoever waits may lead a round itself, so a lone publisher pays for its sync and nothing else;
 * completions with a done function are served by the committer's own thread. A failed sync poisons
 * its partition (partition_sync says so) and fails all that waited for it.
 */
#ifndef BECK_LOG_COMMITTER_H
#define BECK_LOG_COMMITTER_H

#include "base/error.h"

struct committer;
struct partition;
struct env;

beck_status committer_new(const struct env *env, uint32_t sync_interval_ms, struct committer **out,
                          beck_error *err);
void committer_free(struct committer *c); /* finishes what is queued; stops the thread */

/* Returns once the partition is synced up to (excluding) next_offset. No lock held. */
beck_status committer_wait(struct committer *c, struct partition *p, int64_t next_offset,
                           beck_error *err);

/* Calls done(ctx, status) from the committer's thread once it is. Takes memory now or fails now. */
beck_status committer_notify(struct committer *c, struct partition *p, int64_t next_offset,
                             void (*done)(void *ctx, beck_status status), void *ctx,
                             beck_error *err);

/* Rounds so far, and waits they served: for metrics and tests. */
uint64_t committer_rounds(struct committer *c);
/* With sync_interval_ms: syncs never wait; the thread does a round each interval. */
bool committer_by_interval(const struct committer *c);
/* The partition is about to be closed: waits for a running round, and forgets it. */
void committer_forget(struct committer *c, struct partition *p);

#endif
