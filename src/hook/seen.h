/*
 * Which deliveries of a source came within the last while: for sources whose bus has no window of
 * its own. In memory only. At most SEEN_MAX are remembered: when more come within the window, the
 * oldest are forgotten early. Threads: any.
 */
#ifndef BECK_HOOK_SEEN_H
#define BECK_HOOK_SEEN_H

#include "base/bytes.h"

#define SEEN_MAX 100000

struct seen;

/* Names a delivery: a hash of source and id. */
struct seen_key {
    uint64_t hash[2];
};

enum seen_state {
    SEEN_NEW,     /* it is the caller's now: seen_stored or seen_failed must follow */
    SEEN_PENDING, /* another thread has it, and may yet fail */
    SEEN_STORED
};

struct seen *seen_new(int64_t window_ms); /* NULL: no memory */
void seen_free(struct seen *s);           /* NULL allowed */
/* Never fails: without memory every delivery is new. */
enum seen_state seen_claim(struct seen *s, beck_bytes source, beck_bytes id, int64_t now_ms,
                           struct seen_key *key);
void seen_stored(struct seen *s, const struct seen_key *key);
/* As if it had not come. */
void seen_failed(struct seen *s, const struct seen_key *key);
size_t seen_count(struct seen *s);

#endif
