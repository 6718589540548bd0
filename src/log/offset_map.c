/* The newest offset of each key: see offset_map.h. A table with linear probing, at most half full. */
#include "log/offset_map.h"

#include "base/rng.h"
#include "base/siphash.h"

#include <stdlib.h>

#define SLOTS_MIN 1024

void offset_map_init(struct offset_map *m, size_t max)
{
    struct rng rng;
    *m = (struct offset_map){.max = max};
    rng_seed_system(&rng);
    m->seed[0] = rng_next(&rng);
    m->seed[1] = rng_next(&rng);
}

void offset_map_release(struct offset_map *m)
{
    free(m->slots);
    m->slots = NULL;
    m->cap = m->count = 0;
}

void offset_map_clear(struct offset_map *m)
{
    for (size_t i = 0; i < m->cap; i++)
        m->slots[i].offset = -1;
    m->count = 0;
}

static struct offset_entry *slot_of(struct offset_entry *slots, size_t cap, const uint64_t key[2])
{
    size_t i = key[0] & (cap - 1);
    while (slots[i].offset >= 0 && (slots[i].key[0] != key[0] || slots[i].key[1] != key[1]))
        i = (i + 1) & (cap - 1);
    return &slots[i];
}

static beck_status grow(struct offset_map *m)
{
    size_t cap = m->cap ? m->cap * 2 : SLOTS_MIN;
    struct offset_entry *slots = malloc(cap * sizeof *slots);
    if (!slots)
        return BECK_ENOMEM;
    for (size_t i = 0; i < cap; i++)
        slots[i].offset = -1;
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].offset >= 0)
            *slot_of(slots, cap, m->slots[i].key) = m->slots[i];
    free(m->slots);
    m->slots = slots;
    m->cap = cap;
    return BECK_OK;
}

beck_status offset_map_put(struct offset_map *m, beck_bytes key, int64_t offset)
{
    uint64_t hash[2];
    siphash(m->seed, key, hash);
    if ((m->count + 1) * 2 > m->cap && grow(m))
        return BECK_ENOMEM;
    struct offset_entry *e = slot_of(m->slots, m->cap, hash);
    if (e->offset < 0) {
        if (m->count == m->max)
            return BECK_ELIMIT;
        *e = (struct offset_entry){.key = {hash[0], hash[1]}};
        m->count++;
    }
    e->offset = offset;
    return BECK_OK;
}

struct offset_entry *offset_map_find(struct offset_map *m, beck_bytes key)
{
    uint64_t hash[2];
    if (m->count == 0)
        return NULL;
    siphash(m->seed, key, hash);
    struct offset_entry *e = slot_of(m->slots, m->cap, hash);
    return e->offset < 0 ? NULL : e;
}
