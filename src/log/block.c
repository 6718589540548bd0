/* Blocks: see block.h. */
#include "log/block.h"
#include "base/thread.h"

#include <assert.h>
#include <stdlib.h>

#define SPARE_MAX (BLOCK_SPARE_BYTES / BLOCK_POOLED_BYTES)

struct block_pool {
    struct mutex lock;
    struct block *first, **last; /* spare ones, the oldest first */
    uint32_t spare_count;
    uint32_t users; /* the owner, and blocks that are in use */
};

static struct block *init(struct block *b, struct block_pool *pool, size_t cap)
{
    atomic_init(&b->refs, 1);
    atomic_init(&b->len, 0);
    b->pool = pool;
    b->next = NULL;
    b->cap = cap;
    b->segment = b->position = b->base_offset = 0;
    b->owed = 0;
    return b;
}

struct block *block_new(size_t cap)
{
    struct block *b = malloc(sizeof *b + cap);
    return b ? init(b, NULL, cap) : NULL;
}

/* ---- the pool ---- */

struct block_pool *block_pool_new(void)
{
    struct block_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return NULL;
    mutex_init(&pool->lock);
    pool->last = &pool->first;
    pool->users = 1;
    return pool;
}

/* Lock held on entry, free on exit. */
static void leave(struct block_pool *pool)
{
    bool last = --pool->users == 0;
    mutex_unlock(&pool->lock);
    if (!last)
        return;
    mutex_release(&pool->lock);
    free(pool);
}

void block_pool_close(struct block_pool *pool)
{
    if (!pool)
        return;
    mutex_lock(&pool->lock);
    while (pool->first) {
        struct block *b = pool->first;
        pool->first = b->next;
        free(b);
    }
    pool->spare_count = SPARE_MAX; /* what comes back now is not kept */
    leave(pool);
}

/* NULL: there is none. With the lock. */
static struct block *take_oldest(struct block_pool *pool)
{
    struct block *b = pool->first;
    if (!b)
        return NULL;
    pool->first = b->next;
    if (!pool->first)
        pool->last = &pool->first;
    pool->spare_count--;
    return b;
}

struct block *block_of_pool(struct block_pool *pool)
{
    if (!pool)
        return block_new(BLOCK_POOLED_BYTES);
    mutex_lock(&pool->lock);
    struct block *b = pool->spare_count == SPARE_MAX ? take_oldest(pool) : NULL;
    pool->users++;
    mutex_unlock(&pool->lock);
    if (!b)
        b = malloc(sizeof *b + BLOCK_POOLED_BYTES);
    if (!b) { /* then one before its turn, if there is any */
        mutex_lock(&pool->lock);
        b = take_oldest(pool);
        if (!b) {
            leave(pool);
            return NULL;
        }
        mutex_unlock(&pool->lock);
    }
    return init(b, pool, BLOCK_POOLED_BYTES);
}

static void give_back(struct block_pool *pool, struct block *b)
{
    mutex_lock(&pool->lock);
    bool keep = pool->spare_count != SPARE_MAX;
    if (keep) {
        b->next = NULL;
        *pool->last = b;
        pool->last = &b->next;
        pool->spare_count++;
    }
    leave(pool);
    if (!keep)
        free(b);
}

/* ---- */

void block_release_many(struct block *b, uint32_t count)
{
    uint32_t before = atomic_fetch_sub_explicit(&b->refs, count, memory_order_acq_rel);
    assert(before >= count);
    if (before != count)
        return;
    if (b->pool)
        give_back(b->pool, b);
    else
        free(b);
}

void block_release(struct block *b)
{
    if (b)
        block_release_many(b, 1);
}
