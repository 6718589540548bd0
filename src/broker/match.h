/*
 * Who is bound to an exchange: bindings of one exchange, found by what a message carries. The rules of each
 * type are RabbitMQ's.
 *
 *   direct              the key is equal
 *   fanout              all; x-recent-history is the same, and x-federation-upstream, which links of RabbitMQ's
 *                       federation declare: these look themselves at how far a message has come
 *   topic               words between dots; `*` is one word, `#` zero or more. An empty word is a word ("a..b"
 *                       has three), the empty key has none
 *   headers             the arguments of the binding against the headers: x-match all (default), any,
 *                       all-with-x, any-with-x; names that begin with x- are looked at by the last two only; a
 *                       void value asks that the header is there. Of headers of one name the last counts
 *   x-consistent-hash   one: the key of a binding is its weight. What decides is the routing key, or the header
 *                       or property that the exchange's arguments hash-header / hash-property name. Messages of
 *                       one value go to one destination, also after a restart; others stay where they are when
 *                       a destination comes or goes
 *   x-modulus-hash      one, by hash of the routing key over all bindings, in order of destination
 *   x-random            one, by chance (x-local-random is the same)
 *
 * Threads: the caller locks; matcher_match only reads, so several may match at once under a lock for reading.
 */
#ifndef BECK_BROKER_MATCH_H
#define BECK_BROKER_MATCH_H

#include "broker/properties.h"
#include "broker/table.h"

enum match_type {
    MATCH_DIRECT,
    MATCH_FANOUT,
    MATCH_TOPIC,
    MATCH_HEADERS,
    MATCH_CONSISTENT_HASH,
    MATCH_MODULUS_HASH,
    MATCH_RANDOM
};
/* By the name of an exchange's type; false: none of these (x-delayed-message is not one: the caller takes its
 * x-delayed-type). */
bool match_type_of(beck_bytes name, enum match_type *out);

/* What declaring an exchange and binding to it refuse, besides: 0, or 406 with the text. Tables are checked. */
int match_check_exchange(enum match_type type, beck_bytes arguments, char *text);
int match_check_binding(enum match_type type, beck_bytes key, beck_bytes arguments, char *text);

struct matcher;
/* Copies what it needs of the exchange's arguments. NULL: no memory. */
struct matcher *matcher_new(enum match_type type, beck_bytes arguments);
void matcher_free(struct matcher *m); /* NULL allowed */

/* A value under a key and arguments, which are copied. `destination` tells destinations apart and is the same
 * after a restart (for the hashes; of several bindings to one destination the heaviest counts).
 * They passed match_check_binding. The same may be added twice. BECK_ENOMEM: nothing happened. */
beck_status matcher_add(struct matcher *m, void *value, beck_bytes destination, beck_bytes key,
                        beck_bytes arguments);
/* One occurrence; arguments by value (table_value_equal). False: it is not there. Never fails for want of
 * memory. */
bool matcher_remove(struct matcher *m, void *value, beck_bytes key, beck_bytes arguments);

/* All zero at first; kept from call to call, so that matching allocates nothing once it is large enough. One per
 * thread, for any matcher. */
struct match_found {
    void **values;
    size_t count, cap;
    /* The rest is the matchers'. The walk through a topic's words: */
    struct match_walk {
        struct match_node **nodes;
        size_t count, cap;
    } now, next;
    uint64_t *marks; /* all zero between matches */
    size_t mark_words;
    struct match_header *headers; /* of the message: see match_headers.c */
    size_t header_cap;
};
void match_found_release(struct match_found *f);
/* Appends the value of every binding that matches, once per binding (the same value as often as it was added,
 * in no order); the caller empties `found` (count = 0). properties: NULL: none. BECK_ENOMEM. */
beck_status matcher_match(const struct matcher *m, beck_bytes key,
                          const struct properties *properties, struct match_found *found);

#endif
