/*
 * The users that there are, by name and by the digest of their tokens. The caller's lock.
 */
#ifndef BECK_ACCESS_TABLE_H
#define BECK_ACCESS_TABLE_H

#include "access/user.h"

struct table {
    struct identity **users; /* buckets, a power of two */
    size_t user_buckets, user_count;
    struct token **tokens;
    size_t token_buckets, token_count;
    uint64_t seed;
};

void table_init(struct table *t);
void table_release(struct table *t);

/* Borrowed; NULL: none. */
struct identity *table_find(const struct table *t, beck_bytes name);
struct identity *table_find_token(const struct table *t, const uint8_t digest[SECRET_DIGEST]);

/* Room for one more user and `tokens` more tokens; false: no memory. */
bool table_reserve(struct table *t, size_t tokens);
/* Puts a user, whose reference the table takes, in the place of the one of that name, or takes that
 * one out (user NULL). There is room. The old one becomes stale and is returned with its reference;
 * NULL: there was none. */
struct identity *table_put(struct table *t, const char *name, struct identity *user);

/* All of them in order of name, each with a reference, in memory for free(). NULL: no memory. */
struct identity **table_list(const struct table *t);

#endif
