/*
 * Topics: a trie of words, walked with the set of nodes that the words so far lead to.
 *
 * The children of all nodes stand in one hash table, by parent and word; `*` and `#` hang at their parent. A `#`
 * stays in the set whatever word comes, and is in it as soon as its parent is, since it matches no word as well.
 * So it may be come to in two ways at once, and it alone: its mark tells. The set never holds a node twice,
 * which bounds a match by words x nodes whatever the patterns are.
 */
#include "broker/match_impl.h"

#include <stdlib.h>

/* ---- nodes ---- */

static uint64_t child_hash(const struct matcher *m, const struct match_node *parent,
                           beck_bytes word)
{
    return bytes_hash(word.data, word.len,
                      m->nodes.seed ^ (uint64_t)(uintptr_t)parent * UINT64_C(0x9e3779b97f4a7c15));
}

static struct match_node *find_child(const struct matcher *m, const struct match_node *parent,
                                     beck_bytes word)
{
    struct lookup_node *n = lookup_first(&m->nodes, child_hash(m, parent, word));
    for (; n != NULL; n = lookup_again(n)) {
        struct match_node *node = lookup_of(n, struct match_node, node);
        if (node->parent == parent && bytes_equal(bytes_of(node->word, node->len), word))
            return node;
    }
    return NULL;
}

static struct match_node *new_node(struct match_node *parent, beck_bytes word)
{
    struct match_node *node = calloc(1, sizeof(*node) + word.len);
    if (node == NULL)
        return NULL;
    node->parent = parent;
    node->len = (uint8_t)word.len;
    if (word.len > 0)
        memcpy(node->word, word.data, word.len);
    return node;
}

static struct match_node *add_wildcard(struct matcher *m, struct match_node *parent, bool hash)
{
    struct match_node **at = hash ? &parent->hash : &parent->star;
    if (*at != NULL)
        return *at;
    struct match_node *node = new_node(parent, bytes_of("", 0));
    if (node == NULL || (hash && !mark_take(m, &node->mark))) {
        free(node);
        return NULL;
    }
    node->is_hash = hash;
    node->is_star = !hash;
    parent->uses++;
    return *at = node;
}

static struct match_node *add_child(struct matcher *m, struct match_node *parent, beck_bytes word)
{
    if (bytes_equal_text(word, "*") || bytes_equal_text(word, "#"))
        return add_wildcard(m, parent, *(const char *)word.data == '#');
    struct match_node *node = find_child(m, parent, word);
    if (node != NULL)
        return node;
    node = new_node(parent, word);
    if (node == NULL || lookup_reserve(&m->nodes) != BECK_OK) {
        free(node);
        return NULL;
    }
    lookup_add(&m->nodes, &node->node, child_hash(m, parent, word));
    parent->uses++;
    parent->children++;
    return node;
}

/* Frees a node that nothing uses, and those above that were there for it only. */
static void prune(struct matcher *m, struct match_node *node)
{
    while (node->uses == 0 && node != m->root) {
        struct match_node *parent = node->parent;
        if (node->is_star) {
            parent->star = NULL;
        } else if (node->is_hash) {
            parent->hash = NULL;
            mark_give(m, node->mark);
        } else {
            lookup_remove(&m->nodes, &node->node);
            parent->children--;
        }
        free(node);
        parent->uses--;
        node = parent;
    }
}

/* The next word of a key that is not empty; false: there is none. */
static bool next_word(beck_bytes key, size_t *at, beck_bytes *word)
{
    if (*at > key.len)
        return false;
    const uint8_t *begin = (const uint8_t *)key.data + *at;
    const uint8_t *dot = memchr(begin, '.', key.len - *at);
    *word = bytes_of(begin, dot == NULL ? key.len - *at : (size_t)(dot - begin));
    *at += word->len + 1;
    return true;
}

beck_status topic_add(struct matcher *m, struct match_binding *b)
{
    struct match_node *node = m->root;
    beck_bytes word;
    for (size_t at = 0; b->key.len > 0 && next_word(b->key, &at, &word);) {
        struct match_node *child = add_child(m, node, word);
        if (child == NULL) {
            prune(m, node);
            return BECK_ENOMEM;
        }
        node = child;
    }
    node_take(node, b);
    return BECK_OK;
}

void topic_remove(struct matcher *m, struct match_binding *b)
{
    node_drop(b);
    prune(m, b->place);
}

/* ---- matching ---- */

static bool walk_push(struct match_walk *w, struct match_node *node)
{
    if (w->count == w->cap) {
        size_t cap = w->cap == 0 ? 16 : w->cap * 2;
        struct match_node **grown = realloc(w->nodes, cap * sizeof(struct match_node *));
        if (grown == NULL)
            return false;
        w->nodes = grown;
        w->cap = cap;
    }
    w->nodes[w->count++] = node;
    return true;
}

/* `node` and what follows without a word, unless it is in the set. */
static bool reach(struct match_found *f, struct match_node *node)
{
    for (; node != NULL; node = node->hash) {
        if (node->is_hash && !found_mark(f, node->mark))
            return true;
        if (!walk_push(&f->next, node))
            return false;
    }
    return true;
}

/* What was reached is where the walk is now. */
static void advance(struct match_found *f)
{
    struct match_walk reached = f->next;
    f->next = f->now;
    f->now = reached;
    f->next.count = 0;
    for (size_t i = 0; i < reached.count; i++)
        if (reached.nodes[i]->is_hash)
            f->marks[reached.nodes[i]->mark / 64] = 0;
}

static bool step(const struct matcher *m, struct match_found *f, beck_bytes word)
{
    for (size_t i = 0; i < f->now.count; i++) {
        struct match_node *node = f->now.nodes[i];
        struct match_node *child = node->children > 0 ? find_child(m, node, word) : NULL;
        if ((child != NULL && !reach(f, child)) || (node->star != NULL && !reach(f, node->star)) ||
            (node->is_hash && !reach(f, node)))
            return false;
    }
    advance(f);
    return true;
}

beck_status topic_match(const struct matcher *m, beck_bytes key, struct match_found *f)
{
    f->now.count = f->next.count = 0;
    if (!found_marks(m, f))
        return BECK_ENOMEM;
    bool ok = reach(f, m->root);
    advance(f);
    beck_bytes word;
    for (size_t at = 0; ok && key.len > 0 && f->now.count > 0 && next_word(key, &at, &word);)
        ok = step(m, f, word);
    if (!ok) {
        /* Marks are left where it broke off. */
        if (f->mark_words > 0)
            memset(f->marks, 0, f->mark_words * sizeof(*f->marks));
        return BECK_ENOMEM;
    }
    for (size_t i = 0; i < f->now.count; i++)
        for (struct match_binding *b = f->now.nodes[i]->bindings; b != NULL; b = b->next)
            if (found_add(f, b->value) != BECK_OK)
                return BECK_ENOMEM;
    return BECK_OK;
}
