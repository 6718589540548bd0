/*
 * The aborted transactions of a partition: in memory, and in a file beside each segment in which
 * one was ended, Kafka's <base offset>.txnindex, where DumpLogSegments finds it.
 *
 * An entry has 34 bytes, big-endian: version i16 = 0 | producerId i64 | firstOffset i64 | lastOffset
 * i64 | lastStableOffset i64. Last offsets, which are those of the control batches, increase. The last
 * stable offset is the one behind the control batch: no transaction that was open then begins
 * before it, so whoever looks for an offset below it need not look at later entries.
 *
 * The files can be made again from the log, and are when they cannot be read. What a snapshot of
 * producers covers is in them, and synced before that is written; later entries are made again
 * from the log when it is opened.
 */
#ifndef BECK_LOG_TXN_INDEX_H
#define BECK_LOG_TXN_INDEX_H

#include "base/vfs.h"
#include "log/partition.h"

struct txn_entry {
    struct aborted aborted;
    int64_t stable_offset;
};

/* In order of last_offset. The caller locks. Zeroed is empty. */
struct txn_index {
    struct txn_entry *entries;
    size_t count, cap;
};

void txn_index_release(struct txn_index *i);
/* Room for one more. BECK_ENOMEM. */
beck_status txn_index_reserve(struct txn_index *i);
/* Behind the last one, after txn_index_reserve. */
void txn_index_add(struct txn_index *i, const struct txn_entry *e);
/* Forgets those that end below `first`, or at or behind `end`. */
void txn_index_trim(struct txn_index *i, int64_t first, int64_t end);
/* How many end below the offset. */
size_t txn_index_below(const struct txn_index *i, int64_t offset);

bool txn_index_aborted(const struct txn_index *i, int64_t producer_id, int64_t offset);
/* Those with records in [from, to); the caller frees *out, NULL when there are none. BECK_ENOMEM. */
beck_status txn_index_list(const struct txn_index *i, int64_t from, int64_t to,
                           struct aborted **out, size_t *count);

/* Adds what a file holds, up to the first that cannot be; *whole: all of it. */
beck_status txn_index_load(struct txn_index *i, struct vfs *vfs, const char *path, bool *whole,
                           beck_error *err);
/* Makes the file hold `before` entries, which it has, and then these; synced, with its name. */
beck_status txn_index_save(const struct txn_entry *entries, size_t count, size_t before,
                           struct vfs *vfs, const char *dir, const char *path, beck_error *err);

#endif
