/*
 * Group commit: makes what has been written durable, for everything of one data directory at once.
 *
 * Work comes in rounds. Whoever needs durability marks its partition and waits for the round that
 * is being gathered. One thread leads a round: it takes the marked partitions and syncs each
 * (partition_sync, which first writes what is gathered there), without a lock, and where there are
 * several with other threads (syncers.h); then everybody of that round goes on. While a round runs, the next one gathers; it is held for a moment when others
 * are expected back (patience.h). A waiter leads when nobody does, so a lone publisher pays for its
 * own sync and nothing else; completions are led by the committer's thread. How it went is the
 * partition's to say: a failed sync poisons it.
 */
#ifndef BECK_LOG_COMMITTER_H
#define BECK_LOG_COMMITTER_H

#include "base/error.h"
#include "base/metrics.h"
#include "log/dirnames.h"

struct committer;
struct partition;

/* Run once the round that it was queued for is over, by the thread that led it, with no lock held.
 * Frees itself. */
struct completion {
    struct completion *next;
    void (*run)(struct completion *c);
};

/* metrics: where durations and sizes of rounds are told; NULL: nowhere. */
beck_status committer_new(uint32_t sync_interval_ms, struct metrics *metrics,
                          struct committer **out, beck_error *err);
void committer_free(struct committer *c); /* finishes what is queued, stops the thread */

/* Room for marks of this many partitions; before the first of them is marked. */
beck_status committer_reserve(struct committer *c, size_t partitions, beck_error *err);

/* The next round syncs this partition. Cheap when it is marked already. */
void committer_mark(struct committer *c, struct partition *p);
/* Marks, and has a round run soon. */
void committer_urge(struct committer *c, struct partition *p);
/* Marks, and returns once the round that takes the mark is over. No lock held. */
void committer_sync(struct committer *c, struct partition *p);
/* Marks, and queues the completion for the round that takes it. */
void committer_queue(struct committer *c, struct partition *p, struct completion *completion);

/* Whether syncs run by the clock (sync_interval_ms) and publishers do not wait for them. */
bool committer_by_interval(const struct committer *c);
/* Of the directories of partitions. */
struct dirnames *committer_dirnames(struct committer *c);
/* syncers_run with the committer's threads. */
void committer_share(struct committer *c, void (*fn)(void *ctx, size_t i), void *ctx, size_t count);
/* The partition goes: waits for a running round and drops its mark. */
void committer_forget(struct committer *c, struct partition *p);

#endif
