/* Blocks: see block.h. */
#include "log/block.h"

#include <assert.h>
#include <stdlib.h>

struct block *block_new(size_t cap)
{
    struct block *b = malloc(sizeof *b + cap);
    if (!b)
        return NULL;
    atomic_init(&b->refs, 1);
    atomic_init(&b->len, 0);
    b->cap = cap;
    b->segment = b->position = b->base_offset = 0;
    b->owed = 0;
    return b;
}

void block_release_many(struct block *b, uint32_t count)
{
    uint32_t before = atomic_fetch_sub_explicit(&b->refs, count, memory_order_acq_rel);
    assert(before >= count);
    if (before == count)
        free(b);
}

void block_release(struct block *b)
{
    if (b)
        block_release_many(b, 1);
}
