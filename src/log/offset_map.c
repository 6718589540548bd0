/* The newest offset of each key: see offset_map.h. A table with linear probing, at most half full. */
#include "log/offset_map.h"

#include "base/rng.h"

#include <stdlib.h>

#define SLOTS_MIN 1024

/* ---- SipHash-2-4 with 128 bits of output (Aumasson and Bernstein) ---- */

static inline uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static inline uint64_t little(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static void rounds(uint64_t v[4], int count)
{
    for (int i = 0; i < count; i++) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
    }
}

static void siphash(const uint64_t seed[2], beck_bytes in, uint64_t out[2])
{
    uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575u, seed[1] ^ 0x646f72616e646f6du ^ 0xee,
                     seed[0] ^ 0x6c7967656e657261u, seed[1] ^ 0x7465646279746573u};
    const uint8_t *p = in.data;
    size_t left = in.len;
    for (; left >= 8; p += 8, left -= 8) {
        uint64_t word = little(p, 8);
        v[3] ^= word;
        rounds(v, 2);
        v[0] ^= word;
    }
    uint64_t last = (uint64_t)in.len << 56 | (left ? little(p, left) : 0);
    v[3] ^= last;
    rounds(v, 2);
    v[0] ^= last;
    v[2] ^= 0xee;
    rounds(v, 4);
    out[0] = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    rounds(v, 4);
    out[1] = v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- the table ---- */

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
