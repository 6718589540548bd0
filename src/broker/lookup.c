/* A hash table of things that carry their own link: see lookup.h. */
#include "broker/lookup.h"

#include "base/rng.h"

#include <assert.h>
#include <stdlib.h>

#define BUCKETS_MIN 16

void lookup_init(struct lookup *t)
{
    struct rng rng;
    rng_seed_system(&rng);
    *t = (struct lookup){.seed = rng_next(&rng)};
}

void lookup_release(struct lookup *t)
{
    free(t->buckets);
    *t = (struct lookup){.seed = t->seed};
}

static struct lookup_node **bucket_of(const struct lookup *t, uint64_t hash)
{
    return &t->buckets[hash & (t->bucket_count - 1)];
}

beck_status lookup_reserve(struct lookup *t)
{
    if (t->count < t->bucket_count)
        return BECK_OK;
    struct lookup grown = *t;
    grown.bucket_count = t->bucket_count ? t->bucket_count * 2 : BUCKETS_MIN;
    grown.buckets = calloc(grown.bucket_count, sizeof(struct lookup_node *));
    if (!grown.buckets)
        return BECK_ENOMEM;
    for (size_t i = 0; i < t->bucket_count; i++) {
        while (t->buckets[i]) {
            struct lookup_node *node = t->buckets[i];
            t->buckets[i] = node->next;
            node->next = *bucket_of(&grown, node->hash);
            *bucket_of(&grown, node->hash) = node;
        }
    }
    free(t->buckets);
    *t = grown;
    return BECK_OK;
}

void lookup_add(struct lookup *t, struct lookup_node *node, uint64_t hash)
{
    assert(t->count < t->bucket_count);
    struct lookup_node **bucket = bucket_of(t, hash);
    node->hash = hash;
    node->next = *bucket;
    *bucket = node;
    t->count++;
}

void lookup_remove(struct lookup *t, struct lookup_node *node)
{
    struct lookup_node **at = bucket_of(t, node->hash);
    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    node->next = NULL;
    t->count--;
}

struct lookup_node *lookup_first(const struct lookup *t, uint64_t hash)
{
    struct lookup_node *node = t->bucket_count > 0 ? *bucket_of(t, hash) : NULL;
    while (node && node->hash != hash)
        node = node->next;
    return node;
}

struct lookup_node *lookup_again(struct lookup_node *node)
{
    uint64_t hash = node->hash;
    do
        node = node->next;
    while (node && node->hash != hash);
    return node;
}

struct lookup_node *lookup_walk(const struct lookup *t, struct lookup_node *node)
{
    if (node && node->next)
        return node->next;
    size_t i = node ? (node->hash & (t->bucket_count - 1)) + 1 : 0;
    while (i < t->bucket_count && !t->buckets[i])
        i++;
    return i < t->bucket_count ? t->buckets[i] : NULL;
}
