/*
 * Deliveries that came: a ring in order of coming, and a table of chains over it that finds one by
 * its hash. What is too old goes from the ring's beginning; one that failed stays as a hole until
 * then.
 */
#include "hook/seen.h"

#include "base/rng.h"
#include "base/siphash.h"
#include "base/thread.h"

#include <assert.h>
#include <stdlib.h>

#define FIRST_CAP 64
#define NONE UINT32_MAX

enum { HOLE, PENDING, STORED };

struct slot {
    struct seen_key key;
    int64_t came_ms;
    uint32_t next; /* in its chain */
    uint8_t state;
};

struct seen {
    struct mutex lock;
    int64_t window_ms;
    uint64_t seed[2];
    struct slot *slots; /* the ring; cap is a power of two */
    uint32_t *chains;   /* as many */
    uint32_t cap, first, count;
    uint32_t live; /* that are no holes */
};

struct seen *seen_new(int64_t window_ms)
{
    struct seen *s = calloc(1, sizeof *s);
    struct rng rng;
    if (!s)
        return NULL;
    rng_seed_system(&rng);
    s->seed[0] = rng_next(&rng);
    s->seed[1] = rng_next(&rng);
    s->window_ms = window_ms;
    mutex_init(&s->lock);
    return s;
}

void seen_free(struct seen *s)
{
    if (!s)
        return;
    mutex_release(&s->lock);
    free(s->slots);
    free(s->chains);
    free(s);
}

static uint32_t *chain_of(const struct seen *s, const struct seen_key *key)
{
    return &s->chains[key->hash[0] & (s->cap - 1)];
}

static struct slot *find(const struct seen *s, const struct seen_key *key)
{
    for (uint32_t i = s->cap ? *chain_of(s, key) : NONE; i != NONE; i = s->slots[i].next)
        if (s->slots[i].key.hash[0] == key->hash[0] && s->slots[i].key.hash[1] == key->hash[1])
            return &s->slots[i];
    return NULL;
}

static void unlink_slot(struct seen *s, struct slot *slot)
{
    uint32_t at = (uint32_t)(slot - s->slots), *link = chain_of(s, &slot->key);
    while (*link != at)
        link = &s->slots[*link].next;
    *link = slot->next;
    slot->state = HOLE;
    s->live--;
}

static void drop_first(struct seen *s)
{
    struct slot *slot = &s->slots[s->first];
    if (slot->state != HOLE)
        unlink_slot(s, slot);
    s->first = (s->first + 1) & (s->cap - 1);
    s->count--;
}

/* Twice the room. False: no memory, nothing changed. */
static bool grow(struct seen *s)
{
    uint32_t cap = s->cap ? s->cap * 2 : FIRST_CAP;
    struct slot *slots = malloc(cap * sizeof *slots);
    uint32_t *chains = malloc(cap * sizeof *chains);
    if (!slots || !chains) {
        free(slots);
        free(chains);
        return false;
    }
    struct seen old = *s;
    s->slots = slots;
    s->chains = chains;
    s->cap = cap;
    s->first = 0;
    memset(chains, 0xFF, cap * sizeof *chains);
    for (uint32_t i = 0; i < s->count; i++) {
        slots[i] = old.slots[(old.first + i) & (old.cap - 1)];
        if (slots[i].state == HOLE)
            continue;
        uint32_t *chain = chain_of(s, &slots[i].key);
        slots[i].next = *chain;
        *chain = i;
    }
    free(old.slots);
    free(old.chains);
    return true;
}

/* With room for one more afterwards. False: there is none. */
static bool make_room(struct seen *s, int64_t now_ms)
{
    while (s->count > 0 && (s->slots[s->first].state == HOLE ||
                            now_ms - s->slots[s->first].came_ms >= s->window_ms))
        drop_first(s);
    if (s->count == SEEN_MAX)
        drop_first(s);
    return s->count < s->cap || grow(s);
}

enum seen_state seen_claim(struct seen *s, beck_bytes source, beck_bytes id, int64_t now_ms,
                           struct seen_key *key)
{
    uint64_t own[2];
    siphash(s->seed, source, own);
    siphash(own, id, key->hash);
    enum seen_state result = SEEN_NEW;
    mutex_lock(&s->lock);
    bool room = make_room(s, now_ms);
    const struct slot *known = find(s, key);
    if (known) {
        result = known->state == STORED ? SEEN_STORED : SEEN_PENDING;
    } else if (room) {
        uint32_t at = (s->first + s->count++) & (s->cap - 1);
        uint32_t *chain = chain_of(s, key);
        s->slots[at] = (struct slot){*key, now_ms, *chain, PENDING};
        *chain = at;
        s->live++;
    }
    mutex_unlock(&s->lock);
    return result;
}

void seen_stored(struct seen *s, const struct seen_key *key)
{
    mutex_lock(&s->lock);
    struct slot *slot = find(s, key);
    if (slot)
        slot->state = STORED;
    mutex_unlock(&s->lock);
}

void seen_failed(struct seen *s, const struct seen_key *key)
{
    mutex_lock(&s->lock);
    struct slot *slot = find(s, key);
    if (slot)
        unlink_slot(s, slot);
    mutex_unlock(&s->lock);
}

size_t seen_count(struct seen *s)
{
    mutex_lock(&s->lock);
    size_t count = s->live;
    mutex_unlock(&s->lock);
    return count;
}
