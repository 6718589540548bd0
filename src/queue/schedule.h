/*
 * Entries that wait for a time: millions of them, for years, with bounded memory.
 *
 * New entries go into a heap in memory; when it is full (SCHEDULE_MEMORY) it is sorted into a run,
 * a file that never changes. The next due is the least of the heap's top and the front of every
 * run, which is read in blocks. When there are more than SCHEDULE_RUNS runs, small ones are merged
 * into one, a little with every push; runs of more than SCHEDULE_MERGED / 2 entries are left as
 * they are. Without a directory all stays in the heap.
 *
 * The form of run files stands in run.h. What is durable is said by a description (runs with the
 * number of entries taken, and what is in the heap), which the owner keeps in its snapshot. Entries
 * with the same due time come in the order of (seq, where). No file is held open between calls but
 * the one that a merge writes. The caller locks.
 */
#ifndef BECK_QUEUE_SCHEDULE_H
#define BECK_QUEUE_SCHEDULE_H

#include "base/bytes.h"
#include "base/vfs.h"
#include "queue/entry.h"

#define SCHEDULE_MEMORY 32768 /* entries in the heap: 1 MiB */
#define SCHEDULE_RUNS 8
#define SCHEDULE_MERGED (4 << 20) /* entries that a merge makes at most: 128 MiB */
#define SCHEDULE_SAVED_HEAP 1024  /* entries that a description lists at most */

struct scheduled {
    int64_t due_ms;
    struct entry entry;
};

struct schedule;

/* vfs NULL: in memory only. dir must exist. Empty; run files there from earlier are ignored until
 * schedule_trim. */
beck_status schedule_new(struct vfs *v, const char *dir, struct schedule **out, beck_error *err);
void schedule_free(struct schedule *s); /* leaves the files */

uint64_t schedule_count(const struct schedule *s); /* exact */
beck_status schedule_push(struct schedule *s, const struct scheduled *item,
                          beck_error *err); /* on failure nothing was added */
/* The one that is due first; BECK_END: empty. */
beck_status schedule_peek(struct schedule *s, struct scheduled *out, beck_error *err);
beck_status schedule_pop(struct schedule *s, struct scheduled *out, beck_error *err);
/* All of them, in no order, without taking them; non-zero from each ends the walk. */
beck_status schedule_each(struct schedule *s, int (*each)(void *ctx, const struct scheduled *item),
                          void *ctx, beck_error *err);
/* At least the `n` that are due first, and any others: all of the heap, and the first n of each run. */
beck_status schedule_first(struct schedule *s, uint64_t n,
                           int (*each)(void *ctx, const struct scheduled *item), void *ctx,
                           beck_error *err);
/* Keeps only those for which keep() is true; streams, so memory stays bounded. */
beck_status schedule_filter(struct schedule *s,
                            bool (*keep)(void *ctx, const struct scheduled *item), void *ctx,
                            beck_error *err);
void schedule_clear(struct schedule *s);

/*
 * Making it durable, in three steps of which the slow one needs no lock; one at a time, and without
 * schedule_trim between: schedule_write appends the description to `out` (on failure
 * out is as it was and nothing is lost), schedule_sync syncs the run files that it names, and after a
 * schedule_write that succeeded schedule_synced says how it went, also when there was no schedule_sync.
 * A heap of more than SCHEDULE_SAVED_HEAP entries becomes a run first, so that descriptions stay
 * small. When a sync failed it is unknown what reached the device: every later schedule_write gives
 * BECK_EPOISONED until schedule_clear.
 */
struct schedule_sync {
    uint64_t *ids; /* of the runs to be synced */
    size_t count;
    bool names;  /* and the directory */
    bool failed; /* a sync failed */
};
beck_status schedule_write(struct schedule *s, struct buf *out, struct schedule_sync *sync,
                           beck_error *err);
beck_status schedule_sync(const struct schedule *s, struct schedule_sync *sync, beck_error *err);
void schedule_synced(struct schedule *s, struct schedule_sync *sync, bool synced);
/* Makes an empty schedule what a description says. BECK_ECORRUPT: it, or a run file, is missing or
 * damaged; the schedule is still empty. Blocks behind the first of a run are checked when they are
 * reached. *used: bytes of the description. */
beck_status schedule_load(struct schedule *s, beck_bytes description, size_t *used,
                          beck_error *err);
/* Removes run files of the directory that are in use neither now nor in the last saved description.
 */
void schedule_trim(struct schedule *s);

#endif
