/*
 * One segment of a partition: a .log file of batches, with its two indexes. Kafka's names: <base
 * offset, 20 digits>.log, .index, .timeindex.
 *
 * Threads: append, roll and everything that touches the indexes happens with partition.lock held
 * (or before the partition is shared); segment_read may be called by anyone who holds a use
 * (segment_use, segment_unuse): the file stays open as long as somebody uses it, also when the
 * segment has been deleted meanwhile.
 */
#ifndef BECK_LOG_SEGMENT_H
#define BECK_LOG_SEGMENT_H

#include "log/batch.h"
#include "log/env.h"
#include "log/index.h"
#include "base/thread.h"

/* Bytes of batches between two entries (Kafka: index.interval.bytes). */
#define SEGMENT_INDEX_INTERVAL 4096

#define SEGMENT_PAD_BYTES (1 << 20)

struct segment {
    const struct env *env;
    char *dir; /* of the partition; borrowed */
    int64_t base_offset;
    _Atomic(int64_t) size; /* bytes of whole batches in the file */
    int64_t next_offset; /* behind the last batch; known for the last segment and once asked for */
    int64_t max_timestamp_ms; /* -1: not known yet */
    int64_t max_timestamp_offset;
    int64_t created_ms;  /* first batch's timestamp, for rolling by time; -1 when empty */
    int64_t appended_ms; /* by the clock, when retention is by time; 0: not since it was opened */
    int64_t since_index; /* bytes appended since the last index entry */
    int64_t events;      /* in a sealed segment; -1: not known */
    struct file *file;   /* NULL: closed */
    struct index *offsets, *times;
    uint32_t users;
    bool deleted;        /* unlinked; freed with the last use */
    _Atomic(bool) dirty; /* written since the last sync */
    bool unsealed;       /* appended to since the last segment_seal */
    bool ragged;         /* the rest of a failed write stands behind size */
    bool haunted;        /* and it may be a whole batch */
    int64_t padded_to;   /* zeros stand behind size up to here (segment_pad); 0: none */
    bool checked;        /* the indexes have been looked at, or were made here */
    bool unsure;         /* a sync of an index failed: both are made again */
    bool unmade;         /* empty, and there are no files yet: it cannot be used */
};

/* Makes the file that the next segment of a directory will be, ahead of need. */
#define SEGMENT_PREPARED "next.log.tmp"
beck_status segment_prepare(const struct env *env, const char *dir, struct file **out,
                            beck_error *err);
/* prepared: such a file, which is taken over, or NULL. */
beck_status segment_create(const struct env *env, char *dir, int64_t base_offset,
                           struct file *prepared, struct segment **out, beck_error *err);
/* Knows the file; opens nothing yet. */
beck_status segment_know(const struct env *env, char *dir, int64_t base_offset,
                         struct segment **out, beck_error *err);
void segment_free(struct segment *s);
void segment_path(const struct segment *s, const char *suffix, char *out, size_t size);

/* Opens file and indexes when they are not, and keeps them open. */
beck_status segment_use(struct segment *s, beck_error *err);
/* The last use of a sealed segment closes it, of a deleted one frees it. */
void segment_unuse(struct segment *s);

/* Writes one whole batch behind the last; with or without the lock, one writer at a time. It counts
 * once segment_note is called, with the lock: that moves the size and indexes the batch. After an
 * error the segment ends where it ended before. */
beck_status segment_write(struct segment *s, beck_bytes batch, beck_error *err);
void segment_note(struct segment *s, const struct batch_header *h);
/* Writes zeros behind the batch just written, which ends at `end`, unless there are some left. A sync of
 * what is then written over them has the bytes alone to write, not the file's new size and where its
 * blocks lie, which costs as much again. As segment_write; false: nothing was written, or it failed,
 * which costs nothing else. */
bool segment_pad(struct segment *s, int64_t end, int64_t segment_bytes);
/* Cuts off zeros, and the rest of a write that failed if it could not be cut then. As segment_write.
 */
beck_status segment_trim(struct segment *s, beck_error *err);
/* Makes the batches durable; without the lock, with a use. */
beck_status segment_sync(struct segment *s, beck_error *err);
/* Reads at most len bytes at a position below size. */
beck_status segment_read(struct segment *s, void *data, size_t len, int64_t position, size_t *got,
                         beck_error *err);
/* As file_read_how. */
beck_status segment_read_how(struct segment *s, enum vfs_how how, void *data, size_t len,
                             int64_t position, size_t *got, beck_error *err);
/* Where to begin scanning for an offset: the position of a batch at or before it. how: as file_read_how. */
beck_status segment_seek_offset(struct segment *s, enum vfs_how how, int64_t offset,
                                int64_t *position, beck_error *err);
/* An offset at or before the first record of that time. */
beck_status segment_time_offset(struct segment *s, int64_t time_ms, int64_t *offset,
                                beck_error *err);
/* Looks at the indexes, if nobody has yet: wrong ones are made again. Searches do it by themselves. */
void segment_check(struct segment *s);
/* Last entries of both indexes, flushed and synced, as Kafka does when a segment is rolled or
 * closed. */
beck_status segment_seal(struct segment *s, beck_error *err);
/* The same of one that is not appended to any more, in parts: the first with the lock, the second, which is to follow
 * while `unsealed` is set, without it. Then the caller sets `unsealed` and `unsure`: whether either failed. */
beck_status segment_seal_write(struct segment *s, beck_error *err);
beck_status segment_seal_sync(struct segment *s, beck_error *err);
/* The largest timestamp (from the time index's last entry, else by scanning), and that of the first
 * batch; -1 when empty. */
beck_status segment_max_timestamp(struct segment *s, int64_t *ms, beck_error *err);
beck_status segment_created(struct segment *s, int64_t *ms, beck_error *err);

/*
 * Recovery: walks the batches from `position` (0, or that of a batch), calls each for every valid
 * one, rebuilds the index entries from there, and sets size and next_offset. Everything below
 * known_offset had been synced. In the last segment of a partition a bad batch at or behind
 * known_offset is an unfinished write: it is cut, with all behind it, and reported (env->report);
 * whole valid batches in what is cut are kept in <base>.log.cut-<position>. Anywhere else a bad
 * batch, or an end before known_offset, is BECK_ECORRUPT with file, position and what to do. A
 * read-only environment changes nothing.
 */
beck_status segment_recover(struct segment *s, int64_t position, int64_t known_offset, bool last,
                            int (*each)(void *ctx, const struct batch_header *h,
                                        const uint8_t *batch),
                            void *ctx, beck_error *err);

/* Unlinks the files; who uses the segment goes on reading. */
beck_status segment_unlink(const struct segment *s, beck_error *err);
/* No longer part of its partition: freed with the last use. */
void segment_forget(struct segment *s);

/*
 * Replacing a segment's files by a shorter copy (segment_clean.c). The copy is written beside them,
 * with the suffix .cleaned; it is in use and takes batches by segment_write and segment_note.
 * Finish: makes it durable and puts it in the place of the old files; *replaced: the old .log is
 * gone, also when an error came behind that. The old segment must be in use all the while. A crash
 * at any step leaves either log whole; a missing index is made again (segment_reindex).
 */
beck_status segment_clean_begin(const struct segment *old, struct segment **copy, beck_error *err);
beck_status segment_clean_finish(struct segment *copy, bool *replaced, beck_error *err);
void segment_clean_abort(struct segment *copy); /* removes the files and frees it */

/* Whether an index file is missing. */
bool segment_lacks_index(const struct segment *s);
/* Makes both indexes anew from the batches' headers, up to the first that is damaged. With a use. */
beck_status segment_reindex(struct segment *s, beck_error *err);

#endif
