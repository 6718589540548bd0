/*
 * A hash table of things that carry their own link. Does not own them. Equal keys are kept apart by the
 * caller's comparison. Not thread-safe.
 */
#ifndef BECK_BROKER_LOOKUP_H
#define BECK_BROKER_LOOKUP_H

#include "base/bytes.h"

struct lookup_node {
    struct lookup_node *next;
    uint64_t hash;
};

struct lookup {
    struct lookup_node **buckets;
    size_t bucket_count, count;
    uint64_t seed;
};

void lookup_init(struct lookup *t);
void lookup_release(struct lookup *t); /* the nodes stay */
static inline uint64_t lookup_hash(const struct lookup *t, beck_bytes key)
{
    return bytes_hash(key.data, key.len, t->seed);
}
/* Room for one more: lookup_add cannot fail then. */
beck_status lookup_reserve(struct lookup *t);
void lookup_add(struct lookup *t, struct lookup_node *node, uint64_t hash);
void lookup_remove(struct lookup *t, struct lookup_node *node);
/* The first of that hash, and the next one. NULL: none. */
struct lookup_node *lookup_first(const struct lookup *t, uint64_t hash);
struct lookup_node *lookup_again(struct lookup_node *node);
/* All, in no order: NULL begins. The one that was given is not removed before the next is asked for. */
struct lookup_node *lookup_walk(const struct lookup *t, struct lookup_node *node);

#define lookup_of(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

#endif
