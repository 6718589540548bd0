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

void block_release(struct block *b)
{
    if (!b)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        free(b);
}
