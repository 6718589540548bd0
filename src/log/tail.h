/*
 * The newest batches of a partition in memory: on disk a cache of the last MiB, in memory all that
 * queues still need. Blocks are in order of position; the last one is being filled.
 *
 * It has a lock of its own, a leaf: consumers come here for every block that they read and for all
 * that they settle, and publishers hold the partition's lock for as long as they put batches
 * together. Adding and forgetting is done by one at a time all the same (the writer, with the
 * partition's lock), so with that lock the blocks of a disk partition stay.
 */
#ifndef BECK_LOG_TAIL_H
#define BECK_LOG_TAIL_H

#include "base/thread.h"
#include "log/block.h"

struct tail {
    struct mutex lock;
    struct block **blocks;
    size_t count, cap;
    bool memory;             /* of a memory partition: a block stays until nobody is owed it */
    struct block_pool *pool; /* borrowed; may be NULL */
    _Atomic(int64_t) bytes;  /* of the blocks */
};

void tail_init(struct tail *t, bool memory, struct block_pool *pool);
void tail_release(struct tail *t);
static inline int64_t tail_bytes(const struct tail *t)
{
    return atomic_load_explicit(&t->bytes, memory_order_relaxed);
}

/* Keeps a written batch; false: no memory, nothing was kept. */
bool tail_add(struct tail *t, beck_bytes batch, int64_t base_offset, int64_t segment,
              int64_t position);
/* Drops the blocks of one segment (-1: of all). */
void tail_forget(struct tail *t, int64_t segment);

/* Blocks are given with a reference. The one that holds this position of a segment (disk), or this
 * offset (memory); NULL: none. */
struct block *tail_find(struct tail *t, int64_t segment, int64_t position);
struct block *tail_at(struct tail *t, int64_t offset);
/* The first block that begins behind this offset; NULL: none. */
struct block *tail_next(struct tail *t, int64_t offset);
/* The last position up to `limit` where a block of the segment begins; 0: none. */
int64_t tail_begin(struct tail *t, int64_t segment, int64_t limit);

/* In memory: queues need `count` events of the newest block; and, one by one, no longer. Before
 * tail_own a new block is kept because it is the newest. */
void tail_own(struct tail *t, size_t count);
void tail_disown(struct tail *t, const int64_t *offsets, size_t count);

#endif
