/*
 * Entries that wait for a time: millions of them, for years, with bounded memory.
 *
 * New entries go into a heap in memory; when it is full (SCHEDULE_MEMORY) it is sorted into a run,
 * a file that never changes. The next due is the least of the heap's top and the front of every
 * run, which is read in blocks. When there are more than SCHEDULE_RUNS runs, they are merged into
 * one. Without a directory all stays in the heap.
 *
 * Run file <dir>/<id, 20 digits>.run: blocks of at most 2,048 entries: crc u32 (CRC-32C of the
 * rest) | count u32 | entries of 32 bytes: due_ms u64, where u64, meta u64, seq u64; big-endian, in
 * order of (due_ms, seq, where). Every block but the last is full. What is durable is said by a
 * description (runs with the number of entries taken, and what is in the heap), which the owner
 * keeps in its snapshot. The caller locks.
 */
#ifndef BECK_QUEUE_SCHEDULE_H
#define BECK_QUEUE_SCHEDULE_H

#include "base/bytes.h"
#include "base/vfs.h"
#include "queue/entry.h"

#define SCHEDULE_MEMORY 32768 /* entries in the heap: 1 MiB */
#define SCHEDULE_RUNS 8

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
/* Keeps only those for which keep() is true; streams, so memory stays bounded. */
beck_status schedule_filter(struct schedule *s,
                            bool (*keep)(void *ctx, const struct scheduled *item), void *ctx,
                            beck_error *err);
void schedule_clear(struct schedule *s);

/* Syncs the run files and appends the description to `out`. A heap of more than 1,024 entries
 * becomes a run first, so that descriptions stay small. */
beck_status schedule_save(struct schedule *s, struct buf *out, beck_error *err);
/* Makes an empty schedule what a description says. BECK_ECORRUPT: it, or a run file, is damaged.
 * *used: bytes of the description. */
beck_status schedule_load(struct schedule *s, beck_bytes description, size_t *used,
                          beck_error *err);
/* Removes run files of the directory that are in use neither now nor in the last saved description.
 */
void schedule_trim(struct schedule *s);

#endif
