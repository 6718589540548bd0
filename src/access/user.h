/*
 * A user as of one record of `__users`: what never changes once it is made, shared by reference
 * count between the roster, requests and connections. A change makes a new one and marks the
 * old one stale.
 *
 * The record: subject is the name, data is (a missing member means none)
 *
 *   {"password":"scrypt:15:<salt>:<hash>",
 *    "scram-sha-256":"<iterations>:<salt>:<stored key>:<server key>","scram-sha-512":"...",
 *    "tags":"management,policymaker",
 *    "rules":[{"bus":"orders.*","rights":["publish","read"]},{"server":true,"rights":["admin"]}],
 *    "tokens":[{"name":"ci","sha256":"<base64>"}]}
 */
#ifndef BECK_ACCESS_USER_H
#define BECK_ACCESS_USER_H

#include "access/secret.h"

#include <stdatomic.h>

struct token {
    char *name;
    uint8_t digest[SECRET_DIGEST];
    struct identity *user;
    struct token *next; /* the roster's */
};

struct identity {
    _Atomic(uint32_t) refs;
    _Atomic(bool) stale;
    bool everything; /* nobody's name, and all rights */
    bool has_password;
    struct password password;
    char *name;
    char *tags; /* never NULL */
    struct access_rule *rules;
    size_t rule_count;
    struct token *tokens;
    size_t token_count;
    struct identity *next; /* the roster's */
};

/* Everything is copied; one reference. NULL: no memory. */
struct identity *identity_new(const char *name, const struct password *password, const char *tags,
                              const struct access_rule *rules, size_t rule_count,
                              const struct token *tokens, size_t token_count);
struct identity *identity_retain(struct identity *i);

beck_status user_write(const struct identity *i, struct buf *out);
/* BECK_ECORRUPT: it is no such record. */
beck_status user_read(const char *name, beck_bytes json, struct identity **out, beck_error *err);

/* "user \"x y\"" is not a name: BECK_EINVAL. `what`: "user", "token". */
beck_status user_name_check(const char *what, const char *name, beck_error *err);
beck_status user_tags_check(const char *tags, beck_error *err);
beck_status user_rules_check(const struct access_rule *rules, size_t count, beck_error *err);
/* Whether `*` (any characters) and the rest of a pattern are this name. */
bool user_pattern_matches(const char *pattern, const char *name);

/* The words of rights, of the lowest bit first: "publish", "read", "work", "admin", "create", "describe". */
#define USER_RIGHTS 6
extern const char *const user_right_names[USER_RIGHTS];

#endif
