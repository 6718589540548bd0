/*
 * The newest batches of a partition in memory: on disk the tail cache, in memory all that queues still need. Blocks are in order of position; the last one is being filled.
 */
#include "log/partition_impl.h"

#include <assert.h>
#include <stdlib.h>

static bool add_block(struct partition *p, struct block *b)
{
    if (p->block_count == p->block_cap) {
        size_t cap = p->block_cap ? p->block_cap * 2 : 8;
        struct block **grown = realloc(p->blocks, cap * sizeof(struct block *));
        if (!grown)
            return false;
        p->blocks = grown;
        p->block_cap = cap;
    }
    p->blocks[p->block_count++] = b;
    return true;
}

static void drop_block(struct partition *p, size_t index)
{
    p->memory_bytes -= (int64_t)p->blocks[index]->cap;
    block_release(p->blocks[index]);
    p->block_count--;
    memmove(p->blocks + index, p->blocks + index + 1,
            (p->block_count - index) * sizeof(struct block *));
}

bool partition_add_block(struct partition *p, beck_bytes batch, int64_t base_offset,
                         int64_t segment, int64_t position)
{
    struct block *b = p->block_count ? p->blocks[p->block_count - 1] : NULL;
    size_t len = b ? atomic_load_explicit(&b->len, memory_order_relaxed) : 0;
    bool fits = b && b->segment == segment && b->position + (int64_t)len == position &&
                b->cap - len >= batch.len;
    if (!fits) {
        bool cached = p->options.memory || batch.len <= 4 * TAIL_BLOCK_BYTES;
        b = cached ? block_new(batch.len > TAIL_BLOCK_BYTES ? batch.len : TAIL_BLOCK_BYTES) : NULL;
        if (b) {
            b->segment = segment;
            b->position = position;
            b->base_offset = base_offset;
            if (!add_block(p, b)) {
                block_release(b);
                b = NULL;
            }
        }
        if (!b) {
            /* The cache must stay one piece: readers go to the file. */
            while (p->block_count > 0 && !p->options.memory)
                drop_block(p, p->block_count - 1);
            return false;
        }
        len = 0;
        p->memory_bytes += (int64_t)b->cap;
        if (!p->options.memory && p->block_count > TAIL_BLOCKS)
            drop_block(p, 0);
        if (p->options.memory && p->block_count > 1 && p->blocks[p->block_count - 2]->owed == 0)
            drop_block(p, p->block_count - 2);
    }
    memcpy(b->data + len, batch.data, batch.len);
    atomic_store_explicit(&b->len, len + batch.len, memory_order_release);
    return true;
}

void partition_forget_blocks(struct partition *p, int64_t segment)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->block_count; i++) {
        struct block *b = p->blocks[i];
        if (segment < 0 || b->segment == segment) {
            p->memory_bytes -= (int64_t)b->cap;
            block_release(b);
        } else {
            p->blocks[kept++] = b;
        }
    }
    p->block_count = kept;
}

struct block *partition_find_block(struct partition *p, int64_t segment, int64_t position)
{
    for (size_t i = p->block_count; i-- > 0;) {
        struct block *b = p->blocks[i];
        if (b->segment < segment || (b->segment == segment && b->position <= position)) {
            bool inside =
                b->segment == segment && position < b->position + (int64_t)atomic_load(&b->len);
            return inside ? b : NULL;
        }
    }
    return NULL;
}

/* Index of the last block that begins at or before the offset; -1: none. */
static ptrdiff_t block_index(const struct partition *p, int64_t offset)
{
    ptrdiff_t low = 0, high = (ptrdiff_t)p->block_count;
    while (low < high) {
        ptrdiff_t middle = low + (high - low) / 2;
        if (p->blocks[middle]->base_offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low - 1;
}

struct block *partition_find_memory(struct partition *p, int64_t offset)
{
    ptrdiff_t index = block_index(p, offset);
    return index < 0 ? NULL : p->blocks[index];
}

struct block *partition_next_memory(struct partition *p, int64_t offset)
{
    size_t index = (size_t)(block_index(p, offset) + 1);
    return index < p->block_count ? p->blocks[index] : NULL;
}

void partition_disown(struct partition *p, const int64_t *offsets, size_t count)
{
    if (!p->options.memory)
        return;
    mutex_lock(&p->lock);
    ptrdiff_t index = -1;
    for (size_t i = 0; i < count; i++) {
        /* Mostly the same block as before: offsets come in order. */
        bool same =
            index >= 0 && p->blocks[index]->base_offset <= offsets[i] &&
            ((size_t)index + 1 == p->block_count || offsets[i] < p->blocks[index + 1]->base_offset);
        if (!same)
            index = block_index(p, offsets[i]);
        assert(index >= 0 && p->blocks[index]->owed > 0);
        if (--p->blocks[index]->owed == 0 && (size_t)index + 1 < p->block_count) {
            drop_block(p, (size_t)index);
            index = -1;
        }
    }
    mutex_unlock(&p->lock);
}
