/* What the matchers of all types share. A binding stands in `bindings` of its matcher, and in what its type finds
 * it by. */
#ifndef BECK_BROKER_MATCH_IMPL_H
#define BECK_BROKER_MATCH_IMPL_H

#include "broker/lookup.h"
#include "broker/match.h"

/* A binding as the type `headers` sees it: see match_headers.c. */
struct header_rule;

struct match_binding {
    struct lookup_node node; /* in matcher.bindings, by key and value */
    void *value;
    struct match_node *place;               /* direct, topic: where it is listed */
    struct match_binding *next, **at;       /* of that place */
    size_t index;                           /* fanout, random: in matcher.list */
    uint64_t destination_hash;              /* consistent hash: does not change with restarts */
    uint32_t weight;                        /* the same */
    struct header_rule *rule;               /* headers */
    beck_bytes key, arguments, destination; /* of `bytes` */
    uint8_t bytes[];
};

/* direct: a key. topic: a word behind others; `*` and `#` are hung up at their parents instead of the table. */
struct match_node {
    struct lookup_node node; /* in matcher.nodes */
    struct match_node *parent, *star, *hash;
    struct match_binding *bindings;
    size_t uses;     /* bindings and children, `*` and `#` as well: 0 frees it */
    size_t children; /* in the table */
    bool is_star, is_hash;
    uint32_t mark; /* of a `#`: its bit in match_found.marks */
    uint8_t len;
    uint8_t word[];
};

struct matcher {
    enum match_type type;
    struct lookup bindings;
    /* Numbers of what a match marks in match_found.marks: `#` nodes, rules of headers. */
    uint32_t mark_count;
    uint32_t *marks_free; /* those that were given back; has room for mark_count */
    uint32_t marks_free_count, marks_free_cap;
    /* direct, topic */
    struct lookup nodes;
    struct match_node *root;
    /* fanout, hashes, random: all; modulus: in order of destination */
    struct match_binding **list;
    size_t list_count, list_cap;
    bool weighted; /* weights differ, or did */
    /* headers */
    struct lookup pairs; /* struct header_pair */
    struct header_entry *always;
    /* hashes: what decides instead of the routing key */
    enum { BY_KEY, BY_HEADER, BY_CORRELATION_ID, BY_MESSAGE_ID, BY_TIMESTAMP } by;
    char *by_header;
};

beck_status found_add(struct match_found *f, void *value);
/* A number, and back. False: no memory. */
bool mark_take(struct matcher *m, uint32_t *mark);
void mark_give(struct matcher *m, uint32_t mark);
/* Room for all marks of the matcher. False: no memory. */
bool found_marks(const struct matcher *m, struct match_found *f);
/* Sets one; false: it is set. */
static inline bool found_mark(struct match_found *f, uint32_t mark)
{
    uint64_t bit = UINT64_C(1) << (mark % 64);
    if (f->marks[mark / 64] & bit)
        return false;
    f->marks[mark / 64] |= bit;
    return true;
}

/* Lists a binding at a node, and takes it away. */
void node_take(struct match_node *node, struct match_binding *b);
void node_drop(struct match_binding *b);

beck_status topic_add(struct matcher *m, struct match_binding *b);
void topic_remove(struct matcher *m, struct match_binding *b);
beck_status topic_match(const struct matcher *m, beck_bytes key, struct match_found *found);

beck_status headers_add(struct matcher *m, struct match_binding *b);
void headers_remove(struct matcher *m, struct match_binding *b);
beck_status headers_match(const struct matcher *m, const struct properties *p,
                          struct match_found *found);

#endif
