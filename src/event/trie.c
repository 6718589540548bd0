/*
 * The trie: many patterns, which of them match a type.
 *
 * Patterns without a wildcard never enter the tree: one lookup of the whole type finds them. For
 * the others every word is interned, so that an edge of the tree is (node, word number) -> node,
 * and all edges stand in one hash table; `*` and `#` children are fields of the node.
 *
 * Matching walks the tree like a non-deterministic automaton, word by word, with the set of nodes
 * that the words so far can lead to. A plain node has one way in, so it enters the set of a step at
 * most once. A `#` node takes any word and stays: it enters once, is marked, and remains in `live`
 * to the end; what hangs on it as a value matches from then on whatever follows. So each step costs
 * at most the number of nodes, whatever the patterns.
 */
#include "event/pattern.h"

#include "base/rng.h"
#include "base/error.h"
#include "event/event.h"
#include "event/slots.h"

#define WORDS_MAX (EVENT_TYPE_MAX + 1)
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

/* ---- pools ---- */

/* The array with room for n more things, moved when it must be; NULL: no memory, and the old one
 * stays. */
static void *pool_reserve(struct pool *p, void *array, size_t size, uint32_t n)
{
    if (p->cap != 0 && (p->free_count >= n || p->cap - p->used >= n - p->free_count)) {
        return array;
    }
    uint64_t cap = p->cap == 0 ? 16 : (uint64_t)p->cap * 2;
    while (cap < (uint64_t)p->used + n + 1) {
        cap *= 2;
    }
    /* Aligned, so that a thing of 64 bytes is one line of the processor's cache. */
    void *grown = cap > WORD_HASH ? NULL : aligned_alloc(64, (cap * size + 63) / 64 * 64);
    if (grown == NULL) {
        return NULL;
    }
    if (p->used != 0) {
        memcpy(grown, array, p->used * size);
    }
    free(array);
    p->cap = (uint32_t)cap;
    p->used = p->used == 0 ? 1 : p->used;
    return grown;
}

static bool nodes_reserve(struct trie *t, uint32_t n)
{
    struct node *grown = pool_reserve(&t->node_pool, t->nodes, sizeof *t->nodes, n);
    t->nodes = grown == NULL ? t->nodes : grown;
    return grown != NULL;
}

static bool words_reserve(struct trie *t, uint32_t n)
{
    struct word *grown = pool_reserve(&t->word_pool, t->words, sizeof *t->words, n);
    t->words = grown == NULL ? t->words : grown;
    return grown != NULL;
}

static bool exacts_reserve(struct trie *t, uint32_t n)
{
    struct exact *grown = pool_reserve(&t->exact_pool, t->exacts, sizeof *t->exacts, n);
    t->exacts = grown == NULL ? t->exacts : grown;
    return grown != NULL;
}

/* ---- values ---- */

static void **values_of(struct values *v)
{
    return v->cap == 0 ? &v->one : v->many;
}

static beck_status values_add(struct values *v, void *value)
{
    uint32_t room = v->cap == 0 ? 1 : v->cap;
    if (v->count == room) {
        void **grown = malloc(sizeof *grown * room * 2);
        if (grown == NULL) {
            return BECK_ENOMEM;
        }
        memcpy(grown, values_of(v), sizeof *grown * v->count);
        if (v->cap != 0) {
            free(v->many);
        }
        v->many = grown;
        v->cap = room * 2;
    }
    values_of(v)[v->count++] = value;
    return BECK_OK;
}

static bool values_take(struct values *v, void *value)
{
    void **list = values_of(v);
    for (uint32_t i = 0; i < v->count; i++) {
        if (list[i] == value) {
            list[i] = list[--v->count];
            return true;
        }
    }
    return false;
}

static void values_release(struct values *v)
{
    if (v->cap != 0) {
        free(v->many);
    }
    *v = (struct values){.count = 0};
}

/* ---- words ---- */

static uint32_t hash_of(const struct trie *t, beck_bytes text)
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

static const uint8_t *word_text(const struct word *w)
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

/* The number of a word, made when it is new; room for one word is reserved. Does not count the
 * reference. WORD_NONE: no memory. */
static uint32_t word_intern(struct trie *t, beck_bytes text)
{
    uint32_t hash = hash_of(t, text);
    uint32_t number = word_find(t, text, hash, NULL);
    if (number != WORD_NONE) {
        return number;
    }
    uint8_t *away = NULL;
    if (text.len > WORD_INLINE && (away = malloc(text.len)) == NULL) {
        return WORD_NONE;
    }
    struct pool *p = &t->word_pool;
    if (p->free != 0) {
        number = p->free;
        p->free = t->words[number].hash;
        p->free_count--;
    } else {
        number = p->used++;
    }
    struct word *w = &t->words[number];
    *w = (struct word){.hash = hash, .len = (uint8_t)text.len};
    if (away != NULL) {
        w->away = away;
    }
    memcpy(away != NULL ? away : w->here, text.data, text.len);
    slots_put(&t->word_slots, hash, number);
    return number;
}

static void word_drop_unused(struct trie *t, uint32_t number)
{
    struct word *w = &t->words[number];
    if (w->refs != 0) {
        return;
    }
    uint32_t slot = 0;
    uint32_t found = word_find(t, bytes_of(word_text(w), w->len), w->hash, &slot);
    assert(found == number);
    (void)found;
    slots_remove(&t->word_slots, slot);
    if (w->len > WORD_INLINE) {
        free(w->away);
    }
    *w = (struct word){.hash = t->word_pool.free};
    t->word_pool.free = number;
    t->word_pool.free_count++;
}

/* ---- edges and nodes ---- */

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

static uint32_t child_of(const struct trie *t, uint32_t node, uint32_t word)
{
    const struct node *n = &t->nodes[node];
    if (word == WORD_STAR) {
        return n->star;
    }
    if (word == WORD_HASH) {
        return n->hash;
    }
    return word == WORD_NONE || n->literals == 0 ? 0 : edge_find(t, node, word, NULL);
}

/* Makes the child; room for a node and an edge is reserved. */
static uint32_t child_make(struct trie *t, uint32_t node, uint32_t word)
{
    struct pool *p = &t->node_pool;
    uint32_t child = p->free;
    if (child != 0) {
        p->free = t->nodes[child].star;
        p->free_count--;
    } else {
        child = p->used++;
    }
    t->nodes[child] = (struct node){.word = word, .parent = node};
    struct node *n = &t->nodes[node];
    if (word == WORD_STAR) {
        n->star = child;
    } else if (word == WORD_HASH) {
        n->hash = child;
    } else {
        n->literals++;
        t->words[word].refs++;
        slots_put(&t->edge_slots, edge_hash(node, word), child);
    }
    return child;
}

/* Takes a node away that nothing hangs on, and then its parent, as far as that holds. */
static void prune(struct trie *t, uint32_t node)
{
    while (node != ROOT) {
        struct node *n = &t->nodes[node];
        if (n->values.count != 0 || n->literals != 0 || n->star != 0 || n->hash != 0) {
            return;
        }
        uint32_t parent = n->parent;
        struct node *above = &t->nodes[parent];
        if (n->word == WORD_STAR) {
            above->star = 0;
        } else if (n->word == WORD_HASH) {
            above->hash = 0;
        } else {
            uint32_t slot = 0;
            uint32_t found = edge_find(t, parent, n->word, &slot);
            assert(found == node);
            (void)found;
            slots_remove(&t->edge_slots, slot);
            above->literals--;
            t->words[n->word].refs--;
            word_drop_unused(t, n->word);
        }
        values_release(&n->values);
        *n = (struct node){.star = t->node_pool.free};
        t->node_pool.free = node;
        t->node_pool.free_count++;
        node = parent;
    }
}

/* ---- exact patterns ---- */

static inline const uint8_t *exact_text(const struct exact *x)
{
    return x->len <= EXACT_INLINE ? x->here : x->away;
}

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

static beck_status exact_add(struct trie *t, beck_bytes pattern, void *value)
{
    uint32_t hash = hash_of(t, pattern);
    uint32_t number = exact_find(t, pattern, hash, NULL);
    if (number != 0) {
        return values_add(&t->exacts[number].values, value);
    }
    struct pool *p = &t->exact_pool;
    if (!exacts_reserve(t, 1) || !slots_reserve(&t->exact_slots, 1)) {
        return BECK_ENOMEM;
    }
    uint8_t *away = NULL;
    if (pattern.len > EXACT_INLINE && (away = malloc(pattern.len)) == NULL) {
        return BECK_ENOMEM;
    }
    if (p->free != 0) {
        number = p->free;
        p->free = t->exacts[number].hash;
        p->free_count--;
    } else {
        number = p->used++;
    }
    struct exact *x = &t->exacts[number];
    *x = (struct exact){.values = {.one = value, .count = 1}, .hash = hash};
    x->len = (uint8_t)pattern.len;
    if (away != NULL) {
        x->away = away;
    }
    memcpy(away != NULL ? away : x->here, pattern.data, pattern.len);
    slots_put(&t->exact_slots, hash, number);
    return BECK_OK;
}

static bool exact_remove(struct trie *t, beck_bytes pattern, void *value)
{
    uint32_t slot = 0;
    uint32_t number = exact_find(t, pattern, hash_of(t, pattern), &slot);
    if (number == 0 || !values_take(&t->exacts[number].values, value)) {
        return false;
    }
    struct exact *x = &t->exacts[number];
    if (x->values.count == 0) {
        slots_remove(&t->exact_slots, slot);
        values_release(&x->values);
        if (x->len > EXACT_INLINE) {
            free(x->away);
        }
        *x = (struct exact){.hash = t->exact_pool.free};
        t->exact_pool.free = number;
        t->exact_pool.free_count++;
    }
    return true;
}

/* ---- adding and removing ---- */

/* Splits at the dots; the number of words. */
static uint32_t split(beck_bytes text, beck_bytes words[WORDS_MAX])
{
    const uint8_t *p = text.data;
    uint32_t count = 0;
    size_t word_at = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (p[i] == '.') {
            words[count++] = bytes_of(p + word_at, i - word_at);
            word_at = i + 1;
        }
    }
    words[count++] = bytes_of(p + word_at, text.len - word_at);
    return count;
}

/* A whole word, since the pattern was checked. */
static bool has_wildcard(beck_bytes pattern)
{
    return memchr(pattern.data, '*', pattern.len) != NULL ||
           memchr(pattern.data, '#', pattern.len) != NULL;
}

static uint32_t word_or_wildcard(const struct trie *t, beck_bytes text)
{
    if (text.len == 1 && *(const char *)text.data == '*') {
        return WORD_STAR;
    }
    if (text.len == 1 && *(const char *)text.data == '#') {
        return WORD_HASH;
    }
    return word_find(t, text, hash_of(t, text), NULL);
}

static beck_status wild_add(struct trie *t, beck_bytes pattern, void *value)
{
    beck_bytes words[WORDS_MAX];
    uint32_t count = split(pattern, words);
    if (!nodes_reserve(t, count) || !words_reserve(t, count) ||
        !slots_reserve(&t->edge_slots, count) || !slots_reserve(&t->word_slots, count)) {
        return BECK_ENOMEM;
    }
    uint32_t node = ROOT;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t word = word_or_wildcard(t, words[i]);
        if (word == WORD_NONE && (word = word_intern(t, words[i])) == WORD_NONE) {
            prune(t, node);
            return BECK_ENOMEM;
        }
        uint32_t child = child_of(t, node, word);
        node = child != 0 ? child : child_make(t, node, word);
    }
    beck_status status = values_add(&t->nodes[node].values, value);
    if (status != BECK_OK) {
        prune(t, node);
    }
    return status;
}

static bool wild_remove(struct trie *t, beck_bytes pattern, void *value)
{
    beck_bytes words[WORDS_MAX];
    uint32_t count = split(pattern, words);
    uint32_t node = ROOT;
    for (uint32_t i = 0; node != 0 && i < count; i++) {
        node = child_of(t, node, word_or_wildcard(t, words[i]));
    }
    if (node == 0 || !values_take(&t->nodes[node].values, value)) {
        return false;
    }
    prune(t, node);
    return true;
}

struct trie *trie_new(void)
{
    struct trie *t = calloc(1, sizeof *t);
    if (t == NULL) {
        return NULL;
    }
    if (!nodes_reserve(t, 1)) {
        free(t);
        return NULL;
    }
    t->nodes[ROOT] = (struct node){0};
    t->node_pool.used = ROOT + 1;
    struct rng rng;
    rng_seed_system(&rng);
    t->seed = rng_next(&rng);
    return t;
}

void trie_free(struct trie *t)
{
    if (t == NULL) {
        return;
    }
    for (uint32_t i = 1; i < t->node_pool.used; i++) {
        values_release(&t->nodes[i].values);
    }
    for (uint32_t i = 1; i < t->word_pool.used; i++) {
        if (t->words[i].refs != 0 && t->words[i].len > WORD_INLINE) {
            free(t->words[i].away);
        }
    }
    for (uint32_t i = 1; i < t->exact_pool.used; i++) {
        if (t->exacts[i].values.count != 0 && t->exacts[i].len > EXACT_INLINE) {
            free(t->exacts[i].away);
        }
        values_release(&t->exacts[i].values);
    }
    free(t->nodes);
    free(t->words);
    free(t->exacts);
    free(t->edge_slots.slot);
    free(t->word_slots.slot);
    free(t->exact_slots.slot);
    free(t);
}

beck_status trie_add(struct trie *t, beck_bytes pattern, void *value, beck_error *err)
{
    beck_status status = pattern_check(pattern, err);
    if (status != BECK_OK) {
        return status;
    }
    status = has_wildcard(pattern) ? wild_add(t, pattern, value) : exact_add(t, pattern, value);
    if (status != BECK_OK) {
        return error_set(err, status, "no memory for one more pattern; %zu are held", t->count);
    }
    t->count++;
    return BECK_OK;
}

bool trie_remove(struct trie *t, beck_bytes pattern, void *value)
{
    if (pattern_check(pattern, NULL) != BECK_OK) {
        return false;
    }
    bool removed =
        has_wildcard(pattern) ? wild_remove(t, pattern, value) : exact_remove(t, pattern, value);
    t->count -= removed ? 1 : 0;
    return removed;
}

size_t trie_count(const struct trie *t)
{
    return t->count;
}

/* ---- matching ---- */

static bool list_grow(struct trie_list *l)
{
    size_t cap = l->cap == 0 ? 32 : l->cap * 2;
    uint32_t *grown = realloc(l->node, cap * sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    l->node = grown;
    l->cap = cap;
    return true;
}

static inline bool list_push(struct trie_list *l, uint32_t node)
{
    if (l->count == l->cap && !list_grow(l)) {
        return false;
    }
    l->node[l->count++] = node;
    return true;
}

static bool matches_grow(struct trie_matches *m, size_t n)
{
    size_t cap = m->cap == 0 ? 16 : m->cap;
    while (cap - m->count < n) {
        cap *= 2;
    }
    void **grown = realloc(m->values, cap * sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    m->values = grown;
    m->cap = cap;
    return true;
}

static inline bool emit(struct trie_matches *m, const struct values *v)
{
    if (v->count == 0) {
        return true;
    }
    if (m->cap - m->count < v->count && !matches_grow(m, v->count)) {
        return false;
    }
    if (v->cap == 0) {
        m->values[m->count++] = v->one;
        return true;
    }
    memcpy(m->values + m->count, v->many, v->count * sizeof *v->many);
    m->count += v->count;
    return true;
}

/* The `#` children that are reached with a node: they take no word at first. */
static inline bool reach_hashes(const struct trie *t, struct trie_matches *m, uint32_t node)
{
    while (node != 0) {
        uint64_t bit = 1ULL << (node & 63);
        if ((m->marks[node >> 6] & bit) != 0) {
            return true; /* and so are those behind it */
        }
        const struct node *n = &t->nodes[node];
        if (!list_push(&m->marked, node)) {
            return false;
        }
        m->marks[node >> 6] |= bit;
        if ((n->star | n->literals) != 0 && !list_push(&m->live, node)) {
            return false;
        }
        if (!emit(m, &n->values)) {
            return false;
        }
        node = n->hash;
    }
    return true;
}

/* The word led to the node. */
static inline bool reach(const struct trie *t, struct trie_matches *m, uint32_t node, bool last)
{
    const struct node *n = &t->nodes[node];
    if (last) {
        if (!emit(m, &n->values)) {
            return false;
        }
    } else if ((n->star | n->literals) != 0 && !list_push(&m->next, node)) {
        return false;
    }
    return n->hash == 0 || reach_hashes(t, m, n->hash);
}

/* Where a node goes with the word. */
static inline bool step(const struct trie *t, struct trie_matches *m, uint32_t node, uint32_t word,
                        bool last)
{
    const struct node *n = &t->nodes[node];
    if (n->star != 0 && !reach(t, m, n->star, last)) {
        return false;
    }
    if (word == WORD_NONE || n->literals == 0) {
        return true;
    }
    uint32_t child = edge_find(t, node, word, NULL);
    return child == 0 || reach(t, m, child, last);
}

static bool walk(const struct trie *t, struct trie_matches *m, beck_bytes type)
{
    const uint8_t *p = type.data;
    const uint8_t *end = p + type.len;
    if (!list_push(&m->now, ROOT) || !reach_hashes(t, m, t->nodes[ROOT].hash)) {
        return false;
    }
    for (bool last = false; !last && (m->now.count | m->live.count) != 0;) {
        const uint8_t *start = p;
        while (p < end && *p != '.') {
            p++;
        }
        beck_bytes text = bytes_of(start, (size_t)(p - start));
        last = p == end;
        p++;
        uint32_t word = word_find(t, text, hash_of(t, text), NULL);
        m->next.count = 0;
        /* Those that become live in this step have had their word. */
        size_t live = m->live.count;
        for (size_t i = 0; i < m->now.count; i++) {
            if (!step(t, m, m->now.node[i], word, last)) {
                return false;
            }
        }
        for (size_t i = 0; i < live; i++) {
            if (!step(t, m, m->live.node[i], word, last)) {
                return false;
            }
        }
        struct trie_list swap = m->now;
        m->now = m->next;
        m->next = swap;
    }
    return true;
}

static bool marks_grow(const struct trie *t, struct trie_matches *m)
{
    size_t words = ((size_t)t->node_pool.cap + 63) / 64;
    uint64_t *grown = calloc(words, sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    free(m->marks);
    m->marks = grown;
    m->mark_words = words;
    return true;
}

beck_status trie_match(const struct trie *t, beck_bytes type, struct trie_matches *m)
{
    m->count = 0;
    if (type.len > EVENT_TYPE_MAX) {
        return BECK_EINVAL;
    }
    if (type.len == 0) {
        type.data = "";
    }
    uint32_t number = exact_find(t, type, hash_of(t, type), NULL);
    if (number != 0 && !emit(m, &t->exacts[number].values)) {
        return BECK_ENOMEM;
    }
    const struct node *root = &t->nodes[ROOT];
    if ((root->star | root->hash | root->literals) == 0) {
        return BECK_OK;
    }
    if (m->mark_words * 64 < t->node_pool.cap && !marks_grow(t, m)) {
        return BECK_ENOMEM;
    }
    m->now.count = m->live.count = m->marked.count = 0;
    bool done = walk(t, m, type);
    for (size_t i = 0; i < m->marked.count; i++) {
        m->marks[m->marked.node[i] >> 6] = 0;
    }
    if (!done) {
        m->count = 0;
    }
    return done ? BECK_OK : BECK_ENOMEM;
}

void trie_matches_release(struct trie_matches *m)
{
    free(m->values);
    free(m->now.node);
    free(m->next.node);
    free(m->live.node);
    free(m->marked.node);
    free(m->marks);
    *m = (struct trie_matches){0};
}
