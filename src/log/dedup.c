/*
 * Deduplication by source and id: see dedup.h. A ring keeps the events in order of arrival; a hash
 * table with linear probing points into it. Entries leave the ring at its old end (too old) or at
 * its new end (not stored), and the table by backward shift, so it holds no tombstones.
 */
#include "log/dedup.h"
#include "base/rng.h"
#include "base/siphash.h"

#include <stdlib.h>

struct entry {
    uint64_t key[2];
    int64_t offset, time_ms;
};

struct dedup {
    int64_t window_ms;
    uint64_t seed[2];
    struct entry *ring; /* power of two; entry n is at n & (cap - 1) */
    size_t cap;
    uint64_t head, tail; /* numbers of the oldest entry, and behind the newest */
    uint64_t *table;     /* number + 1, 0: empty; twice the ring */
};

static bool allocate(struct dedup *d, size_t cap)
{
    struct entry *ring = malloc(cap * sizeof *ring);
    uint64_t *table = calloc(cap * 2, sizeof *table);
    if (!ring || !table) {
        free(ring);
        free(table);
        return false;
    }
    d->ring = ring;
    d->table = table;
    d->cap = cap;
    return true;
}

struct dedup *dedup_new(int64_t window_ms)
{
    struct dedup *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    struct rng rng;
    rng_seed_system(&rng);
    d->seed[0] = rng_next(&rng);
    d->seed[1] = rng_next(&rng);
    d->window_ms = window_ms;
    if (!allocate(d, 64)) {
        free(d);
        return NULL;
    }
    return d;
}

void dedup_free(struct dedup *d)
{
    if (!d)
        return;
    free(d->ring);
    free(d->table);
    free(d);
}

void dedup_set_window(struct dedup *d, int64_t window_ms)
{
    d->window_ms = window_ms;
}

static size_t count_known(const struct dedup *d)
{
    return (size_t)(d->tail - d->head);
}

static struct entry *at(const struct dedup *d, uint64_t number)
{
    return &d->ring[number & (d->cap - 1)];
}

static void make_key(const struct dedup *d, beck_bytes source, beck_bytes id, uint64_t key[2])
{
    uint64_t of_source[2];
    siphash(d->seed, source, of_source);
    siphash(of_source, id, key);
}

/* The slot of the key, or the empty one where it would go. */
static size_t slot_of(const struct dedup *d, const uint64_t key[2])
{
    size_t mask = d->cap * 2 - 1, slot = key[0] & mask;
    while (d->table[slot]) {
        const struct entry *e = at(d, d->table[slot] - 1);
        if (e->key[0] == key[0] && e->key[1] == key[1])
            break;
        slot = (slot + 1) & mask;
    }
    return slot;
}

static void remove_slot(struct dedup *d, size_t hole)
{
    size_t mask = d->cap * 2 - 1;
    for (size_t slot = (hole + 1) & mask; d->table[slot]; slot = (slot + 1) & mask) {
        size_t home = at(d, d->table[slot] - 1)->key[0] & mask;
        if (((slot - home) & mask) >= ((slot - hole) & mask)) {
            d->table[hole] = d->table[slot];
            hole = slot;
        }
    }
    d->table[hole] = 0;
}

static void forget(struct dedup *d, uint64_t number)
{
    size_t slot = slot_of(d, at(d, number)->key);
    /* The same key may have come again since: then the table points at the newer entry. */
    if (d->table[slot] == number + 1)
        remove_slot(d, slot);
}

static void expire(struct dedup *d, int64_t now_ms)
{
    while (d->head < d->tail && at(d, d->head)->time_ms <= now_ms - d->window_ms)
        forget(d, d->head++);
}

bool dedup_find(struct dedup *d, beck_bytes source, beck_bytes id, int64_t now_ms, int64_t *offset)
{
    expire(d, now_ms);
    uint64_t key[2];
    make_key(d, source, id, key);
    uint64_t found = d->table[slot_of(d, key)];
    if (found)
        *offset = at(d, found - 1)->offset;
    return found != 0;
}

static beck_status grow(struct dedup *d)
{
    struct dedup old = *d;
    if (!allocate(d, old.cap * 2))
        return BECK_ENOMEM;
    for (uint64_t n = old.head; n < old.tail; n++) {
        *at(d, n) = *at(&old, n);
        d->table[slot_of(d, at(d, n)->key)] = n + 1;
    }
    free(old.ring);
    free(old.table);
    return BECK_OK;
}

beck_status dedup_add(struct dedup *d, beck_bytes source, beck_bytes id, int64_t now_ms,
                      int64_t offset)
{
    if (count_known(d) >= DEDUP_MAX)
        forget(d, d->head++);
    if (count_known(d) == d->cap && grow(d))
        return BECK_ENOMEM;
    struct entry *e = at(d, d->tail);
    make_key(d, source, id, e->key);
    e->offset = offset;
    e->time_ms = now_ms;
    d->table[slot_of(d, e->key)] = ++d->tail;
    return BECK_OK;
}

void dedup_forget_from(struct dedup *d, int64_t offset)
{
    while (d->tail > d->head && at(d, d->tail - 1)->offset >= offset) {
        forget(d, d->tail - 1);
        d->tail--;
    }
}
