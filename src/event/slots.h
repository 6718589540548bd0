/*
 * The hash table under the trie: open addressing, linear probing, removal by shifting back, so that
 * no tombstones pile up. A slot maps 32 bits of a hash to the number of something; whether it is
 * the right something the caller sees. Numbers begin with 1; 0 is an empty slot.
 *
 *   for (uint32_t i = slots_first(s, hash); s->slot[i].number; i = slots_next(s, i))
 *       if (s->slot[i].hash == hash && <number is the one>) ...
 */
#ifndef BECK_EVENT_SLOTS_H
#define BECK_EVENT_SLOTS_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct slot {
    uint32_t hash;
    uint32_t number;
};

/* Invariant: at least half of the slots are empty. */
struct slots {
    struct slot *slot;
    uint32_t mask; /* of the number of slots, a power of two */
    uint32_t count;
};

static inline uint32_t slots_first(const struct slots *s, uint32_t hash)
{
    return hash & s->mask;
}

static inline uint32_t slots_next(const struct slots *s, uint32_t i)
{
    return (i + 1) & s->mask;
}

/* Puts a number in without looking for one that is there; there is room (slots_reserve). */
static inline void slots_put(struct slots *s, uint32_t hash, uint32_t number)
{
    assert(number != 0 && s->count < s->mask);
    uint32_t i = slots_first(s, hash);
    while (s->slot[i].number != 0) {
        i = slots_next(s, i);
    }
    s->slot[i] = (struct slot){hash, number};
    s->count++;
}

/* Room for n more. False: no memory. An empty table (all zero) becomes usable by it. */
static inline bool slots_reserve(struct slots *s, uint32_t n)
{
    uint64_t size = s->slot == NULL ? 0 : (uint64_t)s->mask + 1;
    uint64_t need = (uint64_t)s->count + n;
    if (size != 0 && need <= size / 2) {
        return true;
    }
    uint64_t want = 16;
    while (want / 2 < need) {
        want *= 2;
    }
    if (want > UINT32_MAX) {
        return false;
    }
    struct slots grown = {calloc(want, sizeof *s->slot), (uint32_t)want - 1, 0};
    if (grown.slot == NULL) {
        return false;
    }
    for (uint64_t i = 0; i < size; i++) {
        if (s->slot[i].number != 0) {
            slots_put(&grown, s->slot[i].hash, s->slot[i].number);
        }
    }
    free(s->slot);
    *s = grown;
    return true;
}

/* Empties slot i, and moves those behind it that can be nearer to their place. */
static inline void slots_remove(struct slots *s, uint32_t i)
{
    assert(s->slot[i].number != 0);
    uint32_t hole = i;
    for (uint32_t k = slots_next(s, i); s->slot[k].number != 0; k = slots_next(s, k)) {
        uint32_t home = slots_first(s, s->slot[k].hash);
        if (((k - home) & s->mask) >= ((k - hole) & s->mask)) {
            s->slot[hole] = s->slot[k];
            hole = k;
        }
    }
    s->slot[hole] = (struct slot){0, 0};
    s->count--;
}

#endif
