/*
 * The two sparse indexes of a segment, in Kafka's files (storage/.../OffsetIndex, TimeIndex).
 * Numbers are big-endian.
 *
 *   .index      entries of 8 bytes: relative last offset of the batch i32 |
 *               file position where the batch begins i32; both strictly increasing
 *   .timeindex  entries of 12 bytes: timestamp ms i64 | relative offset i32;
 *               timestamps strictly increasing, offsets not decreasing
 *
 * Derived from the .log: entries that are missing at the end cost time, wrong ones are found by
 * index_check and the file is rebuilt. Entries are appended to a small buffer and written in
 * blocks; lookups search the file by reading, so an index costs little memory however long it is.
 * Threads: one appender, with the partition's lock held; lookups from any thread at the same time
 * are not allowed: the caller locks.
 */
#ifndef BECK_LOG_INDEX_H
#define BECK_LOG_INDEX_H

#include "base/vfs.h"

enum index_kind { INDEX_OFFSET = 8, INDEX_TIME = 12 };

struct index;

/* Opens or makes the file. Trailing zeros (Kafka preallocates) and a torn last entry are ignored,
 * and cut off by the first write. Read-only, a missing file is an empty index. */
beck_status index_open(struct vfs *v, const char *path, enum index_kind kind, bool read_only,
                       struct index **out, beck_error *err);
void index_close(
    struct index *x); /* without writing what is buffered: index_flush first. NULL allowed */
uint32_t index_count(const struct index *x);

/* BECK_ECORRUPT: not behind the last entry. */
beck_status index_append_offset(struct index *x, int32_t relative_offset, int32_t position,
                                beck_error *err);
/* Ignored when the timestamp is not above that of the last entry. */
beck_status index_append_time(struct index *x, int64_t timestamp_ms, int32_t relative_offset,
                              beck_error *err);
beck_status index_flush(struct index *x,
                        beck_error *err); /* buffered entries into the file; not synced */
/* Flushes, then syncs the file, unless nothing was written since the last time. */
beck_status index_sync(struct index *x, beck_error *err);
/* Whether what was flushed needs a sync, which is the caller's from now on. */
bool index_take_dirty(struct index *x);

/* The greatest entry whose relative offset is <= the one asked for: its position, or 0 when there
 * is none. how: as file_read_how. */
beck_status index_lookup_offset(struct index *x, enum vfs_how how, int32_t relative_offset,
                                int32_t *position, beck_error *err);
/* The greatest position of an entry that is at most `limit`, or 0. how: as file_read_how. */
beck_status index_lookup_position(struct index *x, enum vfs_how how, int64_t limit,
                                  int32_t *position, beck_error *err);
/* The relative offset of the greatest entry whose timestamp is < the one asked for (a scan from
 * there finds the first record at or after it), or 0. */
beck_status index_lookup_time(struct index *x, int64_t timestamp_ms, int32_t *relative_offset,
                              beck_error *err);
/* The last entry; false: empty. */
bool index_last_offset(struct index *x, int32_t *relative_offset, int32_t *position);
bool index_last_time(struct index *x, int64_t *timestamp_ms, int32_t *relative_offset);
/* Drops entries that point at or beyond: relative offset for time, file position for offset
 * indexes. */
beck_status index_truncate(struct index *x, int64_t limit, beck_error *err);
/* Forgets all entries, also wrong ones; the next flush cuts the file. */
void index_forget(struct index *x);
/* Order within the file, and positions below log_size: BECK_ECORRUPT says which entry is wrong. */
beck_status index_check(struct index *x, int64_t log_size, beck_error *err);

#endif
