/*
 * Which patterns match a type.
 *
 * The tree is walked like a non-deterministic automaton, word by word, with the set of nodes that the
 * words so far can lead to. A plain node has one way in, so it enters the set of a step at most once.
 * A `#` node takes any word and stays: it enters once, is marked, and remains in `live` to the end;
 * what hangs on it as a value matches from then on whatever follows. So each step costs at most the
 * number of nodes, whatever the patterns.
 */
#include "event/trie_impl.h"

#include "event/event.h"

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
