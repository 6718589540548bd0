/*
 * The trie: which patterns are held. What it is made of is in trie_impl.h, how a type is matched in
 * trie_match.c. Room is reserved first, and an addition that fails changes nothing.
 */
#include "event/trie_impl.h"

#include "base/rng.h"
#include "base/error.h"
#include "event/event.h"

#define WORDS_MAX (EVENT_TYPE_MAX + 1)

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
