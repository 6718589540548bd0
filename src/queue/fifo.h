/*
 * A list of entries, appended at one end and taken at the other, that costs little memory however
 * long it is.
 *
 * Entries are numbered from 0 on; [head, tail) are in the list. They lie in blocks; only the block
 * at the head and the one at the tail are in memory, those between are in files. Without a
 * directory everything stays in memory. An entry's stored form is 16 bytes (where, meta): its seq
 * follows from level and number.
 *
 * Files: <dir>/<level>-<number, 20 digits>.fifo: FIFO_FILE_BLOCKS blocks each. Every number has a
 * fixed place: block number / FIFO_BLOCK_ENTRIES, of which file block / FIFO_FILE_BLOCKS; the name
 * has the lowest number that has its place there. The layout of a block, and why one that is
 * written again keeps what it had, stand in fifo_block.h. No file is held open between calls.
 *
 * Derived: what is missing or damaged is rebuilt from the log by the queue. The caller locks.
 */
#ifndef BECK_QUEUE_FIFO_H
#define BECK_QUEUE_FIFO_H

#include "base/vfs.h"
#include "queue/entry.h"

#define FIFO_BLOCK_ENTRIES 4094 /* and two entries' room for the header: 64 KiB */
#define FIFO_FILE_BLOCKS 256    /* 16 MiB */

struct fifo;

/* vfs NULL: in memory only. dir must exist. Starts empty, at number `first`; files there from
 * earlier are ignored and overwritten. */
beck_status fifo_new(struct vfs *v, const char *dir, uint32_t level, uint64_t first,
                     struct fifo **out, beck_error *err);
/* What was made durable: [head, tail). BECK_ECORRUPT: files are missing or damaged (which,
 * and where). */
beck_status fifo_open(struct vfs *v, const char *dir, uint32_t level, uint64_t head, uint64_t tail,
                      struct fifo **out, beck_error *err);
void fifo_free(struct fifo *f); /* leaves the files */

uint64_t fifo_head(const struct fifo *f);
uint64_t fifo_tail(const struct fifo *f);
static inline uint64_t fifo_count(const struct fifo *f)
{
    return fifo_tail(f) - fifo_head(f);
}

/* Appends; e->seq is set from level and number. On failure (BECK_ENOMEM, BECK_EFULL, BECK_EIO when
 * a full block cannot be written) nothing was appended. */
beck_status fifo_push(struct fifo *f, struct entry *e, beck_error *err);
/* The same for `count` entries that are as the first, but of events behind one another. *pushed: so many
 * of them were, also after an error. */
beck_status fifo_push_run(struct fifo *f, const struct entry *first, uint32_t count,
                          uint32_t *pushed, beck_error *err);
/* The entry at the head; BECK_END: empty. */
beck_status fifo_peek(struct fifo *f, struct entry *out, beck_error *err);
beck_status fifo_pop(struct fifo *f, struct entry *out, beck_error *err);
/* The same for up to `max` (> 0) that are in memory together; *count: so many. */
beck_status fifo_pop_run(struct fifo *f, struct entry *out, size_t max, size_t *count,
                         beck_error *err);
/* The entry with this number, which is in [head, tail): reads a block that is not in memory without
 * keeping it. For walks, in order. */
struct fifo_walk {
    struct fifo *fifo;
    uint64_t next;
    uint8_t *block; /* owned; NULL before the first read */
    uint64_t block_first;
    bool loaded;
};
void fifo_walk_begin(struct fifo_walk *w, struct fifo *f);
beck_status fifo_walk_next(struct fifo_walk *w, struct entry *out, beck_error *err); /* BECK_END */
void fifo_walk_end(struct fifo_walk *w);

void fifo_clear(struct fifo *f); /* head = tail; files below are removed */
/*
 * Making the list durable, in three steps of which the slow one needs no lock; one at a time:
 * fifo_write puts everything up to tail into the files (nothing, when nothing changed), fifo_sync
 * syncs them, and after a fifo_write that succeeded fifo_synced says how it went, also when there
 * was no fifo_sync. After an error the list is as it was, and a later fifo_write goes on, but not
 * when a sync failed: which bytes reached the device is unknown then, and every later one gives
 * BECK_EPOISONED until fifo_clear; the other functions go on.
 */
struct fifo_sync {
    uint64_t file, end_file; /* to be synced; equal: none */
    bool names;              /* and the directory */
    bool failed;             /* a sync failed */
};
beck_status fifo_write(struct fifo *f, struct fifo_sync *out, beck_error *err);
beck_status fifo_sync(const struct fifo *f, struct fifo_sync *s, beck_error *err);
void fifo_synced(struct fifo *f, const struct fifo_sync *s, bool synced);
/* Removes files that hold only numbers below `head`, which a durable snapshot no longer needs. */
void fifo_trim(struct fifo *f, uint64_t head);
/* Removes all fifo files of a directory, of every level. */
beck_status fifo_remove_files(struct vfs *v, const char *dir, beck_error *err);

#endif
