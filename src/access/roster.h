/*
 * The users that there are, by name and by the digest of their tokens. The caller's lock.
 */
#ifndef BECK_ACCESS_ROSTER_H
#define BECK_ACCESS_ROSTER_H

#include "access/user.h"

struct roster {
    struct identity **users; /* buckets, a power of two */
    size_t user_buckets, user_count;
    struct token **tokens;
    size_t token_buckets, token_count;
    uint64_t seed;
};

void roster_init(struct roster *t);
void roster_release(struct roster *t);

/* Borrowed; NULL: none. */
struct identity *roster_find(const struct roster *t, beck_bytes name);
struct identity *roster_find_token(const struct roster *t, const uint8_t digest[SECRET_DIGEST]);

/* Room for one more user and `tokens` more tokens; false: no memory. */
bool roster_reserve(struct roster *t, size_t tokens);
/* Puts a user, whose reference the roster takes, in the place of the one of that name, or takes that
 * one out (user NULL). There is room. The old one becomes stale and is returned with its reference;
 * NULL: there was none. */
struct identity *roster_put(struct roster *t, const char *name, struct identity *user);

/* All of them in order of name, each with a reference, in memory for free(). NULL: no memory. */
struct identity **roster_list(const struct roster *t);

#endif
