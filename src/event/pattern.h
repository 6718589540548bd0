/*
 * Type patterns and the trie that matches a type against many of them.
 *
 * A pattern is dot-separated words; `*` stands for exactly one word, `#` for zero or more.
 * "order.*" matches order.created, not order or order.a.b; "order.#" matches all three; "#" matches
 * everything. A word is never empty, and `*` and `#` stand alone in theirs: "ord*" is refused.
 */
#ifndef BECK_EVENT_PATTERN_H
#define BECK_EVENT_PATTERN_H

#include "base/bytes.h"

#define PATTERN_MAX 255

beck_status pattern_check(beck_bytes pattern, beck_error *err);
bool pattern_match(beck_bytes pattern, beck_bytes type); /* the pattern has been checked */

/*
 * The trie. Not thread-safe: the caller locks. Values are pointers; one pattern may hold many, and
 * a value may stand under many patterns. Exact patterns are found by one hash lookup; patterns with
 * wildcards by a walk that visits only nodes that can match. `#` is followed without recursion, and
 * adversarial patterns (many `#`) cost at most words x nodes.
 */
struct trie;
struct trie *trie_new(void);
void trie_free(struct trie *t);
beck_status trie_add(struct trie *t, beck_bytes pattern, void *value, beck_error *err);
bool trie_remove(struct trie *t, beck_bytes pattern,
                 void *value); /* one occurrence; false: not there */

/* All zero at first. One per thread that matches: the walk keeps its marks here and not in the
 * trie, so that several threads may match at once under a read lock. */
struct trie_matches {
    void **values; /* owned, kept from match to match: no allocation once it is large enough */
    size_t count, cap;
    struct trie_list {
        uint32_t *node;
        size_t count, cap;
    } now, next, live, marked; /* of the walk, see trie_match.c */
    uint64_t *marks;
    size_t mark_words;
};
/* Sets m to the values of every pattern that matches; a value under several matching patterns comes
 * once per pattern, in no order. BECK_EINVAL: the type is longer than EVENT_TYPE_MAX; BECK_ENOMEM.
 */
beck_status trie_match(const struct trie *t, beck_bytes type, struct trie_matches *m);
void trie_matches_release(struct trie_matches *m);

#endif
