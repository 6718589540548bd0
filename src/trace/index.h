/*
 * The index of traces: where the events are that have a certain id, or that belong to a certain
 * correlation. Derived from the logs: it may be deleted at any time, and is made again when it is
 * asked for. In LMDB, in a directory of its own:
 *
 *   sources     "<incarnation>/<partition>/<bus>" -> number u32; the incarnation is the topic id
 *   progress    number u32 -> the offset that is looked at next, i64
 *   e<number>   hash u64 -> source u32, offset i64 (big-endian, so that they sort): a volume of
 *               entries; a new one is begun when one is full
 *   volumes     number u32 -> per source that has entries in it: source u32, end offset i64
 *
 * A volume whose events have all left their buses is dropped. What is found are candidates: the
 * event has to be read and compared, as hashes collide and events go.
 *
 * Threads: one at a time; the directory is used by one process at a time (the data directory's
 * lock sees to that).
 */
#ifndef BECK_TRACE_INDEX_H
#define BECK_TRACE_INDEX_H

#include "log/partition.h"

struct trace_index;

/* The directory is made when missing; an index that cannot be read is made anew. */
beck_status trace_index_open(const char *dir, struct trace_index **out, beck_error *err);
void trace_index_close(struct trace_index *t); /* NULL allowed */

/* A partition and what tells it from one of that name before. `incarnation`: at most 64 bytes. */
struct trace_source {
    struct partition *partition;
    const char *bus;
    const char *incarnation;
};

/* Takes in what the partition got since the last time, at most events_max of it; *more: there is
 * more. Damaged batches are passed over. */
beck_status trace_index_add(struct trace_index *t, const struct trace_source *source,
                            int64_t events_max, bool *more, beck_error *err);
/* Drops volumes of which nothing is left. `sources`: all that there are. */
beck_status trace_index_trim(struct trace_index *t, const struct trace_source *sources,
                             size_t count, beck_error *err);

/* Calls each for every candidate: an event at or after `first offset` of one of `sources` that may
 * have `text` as its id, its correlation id or (without a correlation id) its causation id. Non-zero
 * ends the walk. */
beck_status trace_index_find(struct trace_index *t, const struct trace_source *sources,
                             size_t count, beck_bytes text,
                             int (*each)(void *ctx, size_t source, int64_t offset), void *ctx,
                             beck_error *err);

#endif
