/*
 * What the trie is made of, for trie.c, which changes it, and trie_match.c, which walks it.
 *
 * Patterns without a wildcard never enter the tree: one lookup of the whole type finds them. For
 * the others every word is interned, so that an edge of the tree is (node, word number) -> node,
 * and all edges stand in one hash table; `*` and `#` children are fields of the node.
 */
#ifndef BECK_EVENT_TRIE_IMPL_H
#define BECK_EVENT_TRIE_IMPL_H

#include "event/pattern.h"
#include "event/slots.h"

#define WORD_INLINE 22
#define EXACT_INLINE 40
/* Word numbers of the wildcards: no word has them. */
#define WORD_NONE 0
#define WORD_STAR UINT32_MAX
#define WORD_HASH (UINT32_MAX - 1)
#define ROOT 1

/* The values under one pattern. cap 0: at most one, in place. */
struct values {
    union {
        void *one;
        void **many;
    };
    uint32_t count, cap;
};

struct node {
    uint32_t star, hash; /* children, 0: none */
    uint32_t literals;   /* how many children are words */
    uint32_t word;       /* of the edge that leads here */
    uint32_t parent;     /* 0: the root, or free; then `star` is the next free one */
    struct values values;
};

struct word {
    uint32_t refs; /* edges that use it; 0: free, and `hash` is the next free one */
    uint32_t hash;
    uint8_t len;
    union {
        uint8_t here[WORD_INLINE];
        uint8_t *away;
    };
};

struct exact {
    struct values values; /* count 0: free, and `hash` is the next free one */
    uint32_t hash;
    uint8_t len;
    union {
        uint8_t here[EXACT_INLINE];
        uint8_t *away;
    };
};

/* Numbered things in an array; number 0 is never used. */
struct pool {
    uint32_t used, cap; /* numbers below `used` were given out at some time */
    uint32_t free;      /* first of the free ones */
    uint32_t free_count;
};

struct trie {
    struct node *nodes;
    struct word *words;
    struct exact *exacts;
    struct pool node_pool, word_pool, exact_pool;
    struct slots edge_slots, word_slots, exact_slots;
    size_t count;
    uint64_t seed; /* of hashes: texts come from outside */
};

static inline uint32_t hash_of(const struct trie *t, beck_bytes text)
{
    return (uint32_t)bytes_hash(text.data, text.len, t->seed);
}

/* memcmp for short texts: the call costs more than the work. */
static inline bool same_text(const uint8_t *a, const uint8_t *b, size_t len)
{
    if (len < 8 || len > EXACT_INLINE) {
        return memcmp(a, b, len) == 0;
    }
    uint64_t x, y;
    for (size_t i = 0; i + 8 < len; i += 8) {
        memcpy(&x, a + i, 8);
        memcpy(&y, b + i, 8);
        if (x != y) {
            return false;
        }
    }
    /* The last 8 bytes, which may overlap those before. */
    memcpy(&x, a + len - 8, 8);
    memcpy(&y, b + len - 8, 8);
    return x == y;
}

static inline const uint8_t *word_text(const struct word *w)
{
    return w->len <= WORD_INLINE ? w->here : w->away;
}

/* The number of a word, and its slot (may be NULL); WORD_NONE: no pattern has it. */
static inline uint32_t word_find(const struct trie *t, beck_bytes text, uint32_t hash,
                                 uint32_t *slot)
{
    const struct slots *s = &t->word_slots;
    if (s->count == 0) {
        return WORD_NONE;
    }
    for (uint32_t i = slots_first(s, hash); s->slot[i].number != 0; i = slots_next(s, i)) {
        if (s->slot[i].hash != hash) {
            continue;
        }
        const struct word *w = &t->words[s->slot[i].number];
        if (w->len == text.len && same_text(word_text(w), text.data, text.len)) {
            if (slot != NULL) {
                *slot = i;
            }
            return s->slot[i].number;
        }
    }
    return WORD_NONE;
}

static inline uint32_t edge_hash(uint32_t node, uint32_t word)
{
    uint64_t key = (uint64_t)node << 32 | word;
    key *= 0x9E3779B97F4A7C15ULL;
    key ^= key >> 32;
    key *= 0xD6E8FEB86659FD93ULL;
    return (uint32_t)(key >> 32);
}

/* The child of a node by a word, and the slot of the edge (may be NULL); 0: none. */
static inline uint32_t edge_find(const struct trie *t, uint32_t node, uint32_t word, uint32_t *slot)
{
    const struct slots *s = &t->edge_slots;
    uint32_t hash = edge_hash(node, word);
    for (uint32_t i = slots_first(s, hash); s->slot[i].number != 0; i = slots_next(s, i)) {
        uint32_t child = s->slot[i].number;
        if (s->slot[i].hash == hash && t->nodes[child].parent == node &&
            t->nodes[child].word == word) {
            if (slot != NULL) {
                *slot = i;
            }
            return child;
        }
    }
    return 0;
}

static inline const uint8_t *exact_text(const struct exact *x)
{
    return x->len <= EXACT_INLINE ? x->here : x->away;
}

/* The number of a pattern without wildcards, and its slot (may be NULL); 0: it is not held. */
static inline uint32_t exact_find(const struct trie *t, beck_bytes text, uint32_t hash,
                                  uint32_t *slot)
{
    const struct slots *s = &t->exact_slots;
    if (s->count == 0) {
        return 0;
    }
    for (uint32_t i = slots_first(s, hash); s->slot[i].number != 0; i = slots_next(s, i)) {
        if (s->slot[i].hash != hash) {
            continue;
        }
        const struct exact *x = &t->exacts[s->slot[i].number];
        if (x->len == text.len && same_text(exact_text(x), text.data, text.len)) {
            if (slot != NULL) {
                *slot = i;
            }
            return s->slot[i].number;
        }
    }
    return 0;
}

#endif
