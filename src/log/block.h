/*
 * A piece of a log in memory: whole batches, shared by reference count between the tail cache,
 * cursors and deliveries that point into it.
 *
 * A tail block is filled by the partition's writer while cursors read it: `len` only grows, and the
 * bytes below it never change.
 */
#ifndef BECK_LOG_BLOCK_H
#define BECK_LOG_BLOCK_H

#include <beck.h>
#include <stdatomic.h>

struct block_pool;

struct block {
    struct block_pool *pool; /* that it goes back to; NULL: none */
    struct block *next;      /* in the pool */
    _Atomic(uint32_t) refs;
    _Atomic(size_t) len; /* bytes that are valid */
    size_t cap;
    int64_t segment;     /* base offset of the segment that the bytes are from */
    int64_t position;    /* in that segment's file, of the first byte */
    int64_t base_offset; /* of the first batch */
    int64_t
        owed; /* memory partitions: entries of queues that still need it; under partition.lock */
    uint8_t data[];
};

struct block *block_new(size_t cap); /* one reference; NULL: no memory */

/*
 * Blocks of one size that nobody needs any more, kept for the next ones: publishers and consumers are on
 * different threads, and what one frees the other would have to get from the system again, page by page. They
 * are used in turn: to write where another processor has just read costs several times as much as where its
 * cache has forgotten it. Any thread; its lock is a leaf.
 */
#define BLOCK_POOLED_BYTES (64u << 10)
/* How much is kept: twice what a processor's own cache mostly holds. Nothing for the sanitizer of addresses, so that it
 * sees a use behind the release. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BLOCK_SPARE_BYTES 0u
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define BLOCK_SPARE_BYTES 0u
#endif
#ifndef BLOCK_SPARE_BYTES
#define BLOCK_SPARE_BYTES (1u << 20)
#endif
struct block_pool *block_pool_new(void); /* NULL: no memory */
/* No more blocks are asked of it; those that are in use may be released later. NULL allowed. */
void block_pool_close(struct block_pool *pool);
/* As block_new(BLOCK_POOLED_BYTES). pool NULL: the same without one. */
struct block *block_of_pool(struct block_pool *pool);

static inline struct block *block_retain(struct block *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}
static inline void block_retain_many(struct block *b, uint32_t count)
{
    atomic_fetch_add_explicit(&b->refs, count, memory_order_relaxed);
}
void block_release(struct block *b); /* NULL allowed */
void block_release_many(struct block *b, uint32_t count);

#endif
