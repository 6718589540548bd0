/*
 * Points in time that come, in a heap of their own: whoever keeps it asks what is due. Not
 * thread-safe.
 */
#ifndef BECK_KAFKA_DEADLINES_H
#define BECK_KAFKA_DEADLINES_H

#include <beck.h>

/* Belongs to whoever set it; zero: not set. */
struct deadline {
    int64_t at_ns;
    void (*due)(struct deadline *d);
    size_t place; /* in the heap, from 1; 0: not set */
};

struct deadlines {
    struct deadline **heap;
    size_t count, cap, promised;
};

void deadlines_release(struct deadlines *h); /* those that are set are forgotten */
/* Room for so many that may be set at any time, until it is given back: setting cannot fail. */
beck_status deadlines_promise(struct deadlines *h, size_t more);
void deadlines_give_back(struct deadlines *h, size_t less);
/* Sets it, or moves it. */
void deadline_set(struct deadlines *h, struct deadline *d, int64_t at_ns);
void deadline_clear(struct deadlines *h,
                    struct deadline *d);            /* one that is not set is no mistake */
int64_t deadlines_first(const struct deadlines *h); /* INT64_MAX: none is set */
struct deadline *deadlines_take(struct deadlines *h, int64_t now_ns); /* NULL: none is due */

#endif
