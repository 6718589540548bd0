/* The bytes of a file on the disk that lies: two copies, and a mark on every sector in which the
 * one on the device may be behind. */
#include "base/sim_content.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static size_t sectors_of(size_t bytes)
{
    return bytes / SIM_SECTOR + (bytes % SIM_SECTOR != 0);
}

void content_release(struct content *c)
{
    free(c->now);
    free(c->durable);
    free(c->dirty);
    *c = (struct content){0};
}

static size_t words_of(size_t cap)
{
    return (sectors_of(cap) + 63) / 64;
}

static void *widened(void *old, size_t old_size, size_t size)
{
    uint8_t *p = realloc(old, size);
    if (p != NULL)
        memset(p + old_size, 0, size - old_size);
    return p;
}

static bool reserve(struct content *c, size_t size)
{
    if (size <= c->cap)
        return true;
    if (size > SIZE_MAX / 4)
        return false;
    size_t cap = c->cap < SIM_SECTOR ? SIM_SECTOR : c->cap;
    while (cap < size)
        cap *= 2;
    uint8_t *now = widened(c->now, c->cap, cap);
    if (now == NULL)
        return false;
    c->now = now;
    uint8_t *durable = widened(c->durable, c->cap, cap);
    if (durable == NULL)
        return false;
    c->durable = durable;
    uint64_t *dirty = widened(c->dirty, words_of(c->cap) * 8, words_of(cap) * 8);
    if (dirty == NULL)
        return false;
    c->dirty = dirty;
    c->cap = cap;
    return true;
}

static void mark_dirty(struct content *c, size_t from_byte, size_t to_byte)
{
    if (from_byte >= to_byte)
        return;
    size_t from = from_byte / SIM_SECTOR, to = sectors_of(to_byte);
    for (size_t i = from; i < to; i++)
        c->dirty[i / 64] |= UINT64_C(1) << (i % 64);
    if (c->dirty_from == c->dirty_to) {
        c->dirty_from = from;
        c->dirty_to = to;
        return;
    }
    if (from < c->dirty_from)
        c->dirty_from = from;
    if (to > c->dirty_to)
        c->dirty_to = to;
}

bool content_write(struct content *c, const uint8_t *data, size_t len, size_t position)
{
    if (len == 0)
        return true;
    if (position > SIZE_MAX / 4 || len > SIZE_MAX / 4 || !reserve(c, position + len))
        return false;
    memcpy(c->now + position, data, len);
    mark_dirty(c, position, position + len);
    if (position + len > c->size) {
        c->size = position + len;
        c->size_dirty = true;
    }
    return true;
}

bool content_resize(struct content *c, size_t size)
{
    if (size == c->size)
        return true;
    if (!reserve(c, size))
        return false;
    if (size < c->size) {
        memset(c->now + size, 0, c->size - size);
        mark_dirty(c, size, c->size);
    }
    c->size = size;
    c->size_dirty = true;
    return true;
}

size_t content_read(const struct content *c, uint8_t *data, size_t len, size_t position)
{
    if (position >= c->size)
        return 0;
    if (len > c->size - position)
        len = c->size - position;
    memcpy(data, c->now + position, len);
    return len;
}

/* Takes each dirty sector to the device, or, given a rng, only some. All are clean then. */
static void settle_sectors(struct content *c, struct rng *rng)
{
    for (size_t i = c->dirty_from; i < c->dirty_to; i++) {
        uint64_t bit = UINT64_C(1) << (i % 64);
        if ((c->dirty[i / 64] & bit) == 0)
            continue;
        c->dirty[i / 64] &= ~bit;
        if (rng == NULL || rng_below(rng, 2) == 0)
            memcpy(c->durable + i * SIM_SECTOR, c->now + i * SIM_SECTOR, SIM_SECTOR);
    }
    c->dirty_from = c->dirty_to = 0;
}

/* The size that a device may have when nobody waited for it: often the old or the new one. */
static void settle_size(struct content *c, struct rng *rng)
{
    if (!c->size_dirty)
        return;
    c->size_dirty = false;
    uint64_t choice = rng_below(rng, 4);
    size_t low = c->size < c->durable_size ? c->size : c->durable_size;
    size_t high = c->size < c->durable_size ? c->durable_size : c->size;
    if (choice == 0)
        return;
    if (choice == 1)
        c->durable_size = c->size;
    else
        c->durable_size = low + (size_t)rng_below(rng, high - low + 1);
}

void content_sync(struct content *c)
{
    settle_sectors(c, NULL);
    c->durable_size = c->size;
    c->size_dirty = false;
}

void content_sync_badly(struct content *c, struct rng *rng)
{
    settle_sectors(c, rng);
    settle_size(c, rng);
}

void content_crash(struct content *c, struct rng *rng)
{
    settle_sectors(c, rng);
    settle_size(c, rng);
    if (c->cap == 0)
        return;
    /* A sector lies about what is beyond the end: a file that grows over it reads zeros there. */
    memset(c->durable + c->durable_size, 0, c->cap - c->durable_size);
    memcpy(c->now, c->durable, c->cap);
    c->size = c->durable_size;
}

void content_flip(struct content *c, size_t byte, int bit)
{
    assert(byte < c->size && bit >= 0 && bit < 8);
    c->now[byte] ^= (uint8_t)(1 << bit);
    c->durable[byte] ^= (uint8_t)(1 << bit);
}
