/*
 * The newest offset of each key, for compaction.
 *
 * Keys are 128-bit SipHash values under a random seed: that two keys meet cannot be brought
 * about from outside, and does not happen by chance. At most `max` keys.
 */
#ifndef BECK_LOG_OFFSET_MAP_H
#define BECK_LOG_OFFSET_MAP_H

#include "base/bytes.h"

struct offset_entry {
    uint64_t key[2];
    int64_t offset; /* of the newest; -1: a free slot */
    bool held;      /* an older one was kept */
};

struct offset_map {
    struct offset_entry *slots;
    size_t cap, count, max;
    uint64_t seed[2];
};

void offset_map_init(struct offset_map *m, size_t max);
void offset_map_release(struct offset_map *m);
void offset_map_clear(struct offset_map *m); /* keeps the memory */
/* Offsets come in ascending order. BECK_ELIMIT: a new key beyond the most; BECK_ENOMEM. */
beck_status offset_map_put(struct offset_map *m, beck_bytes key, int64_t offset);
/* NULL: not there. Valid until the next put. */
struct offset_entry *offset_map_find(struct offset_map *m, beck_bytes key);

#endif
