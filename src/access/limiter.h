/*
 * Failed logins, counted by address: a table of fixed size. When it is full, an address with few
 * failures is forgotten for a new one. IPv6 addresses are counted by their /64, as one machine has
 * all of it. Threads: any.
 */
#ifndef BECK_ACCESS_LIMITER_H
#define BECK_ACCESS_LIMITER_H

#include "access/access.h"

struct limiter;

struct limiter *limiter_new(uint32_t failures_max, uint32_t window_ms); /* NULL: no memory */
void limiter_free(struct limiter *l);                                   /* NULL allowed */

/* False: too many failures; *retry_ms (may be NULL) until the window's end. */
bool limiter_allows(struct limiter *l, const char *address, int64_t now_ns, int64_t *retry_ms);
void limiter_failed(struct limiter *l, const char *address, int64_t now_ns);

#endif
