/*
 * Passwords that were right a moment ago, so that clients that send theirs with each request do not
 * cost a hash each time. What is kept is no password but an HMAC with a key that is drawn at the
 * start and never leaves the process. A table of fixed size. Threads: any.
 */
#ifndef BECK_ACCESS_KNOWN_H
#define BECK_ACCESS_KNOWN_H

#include "access/access.h"

struct known;

beck_status known_new(struct known **out, beck_error *err);
void known_free(struct known *k); /* NULL allowed */

/* This password of the user was right just now. Takes a reference of its own. */
void known_add(struct known *k, struct identity *user, beck_bytes password, int64_t now_ns);
/* The user, with a reference, if that password of theirs was added less than a minute ago and the
 * user is not stale; else NULL. */
struct identity *known_find(struct known *k, beck_bytes user, beck_bytes password, int64_t now_ns);

#endif
