/* Times that come, and one thread that waits for them. */
#ifndef BECK_BASE_TIMERS_H
#define BECK_BASE_TIMERS_H

#include "base/thread.h"
#include <beck.h>

/* Belongs to whoever set it, and stays where it is while it is set. A node of a pairing heap. */
struct timer {
    int64_t at_ns;
    void (*due)(struct timer *t); /* with the lock of the timers: takes a note */
    bool set;
    struct timer *child, *next, *previous; /* previous: the parent, for a first child */
};

/* The heap alone, for those with a thread and a lock of their own. *root: the first that is due, NULL: none;
 * `due` is not called. */
void timer_heap_add(struct timer **root, struct timer *t, int64_t at_ns); /* not set yet */
void timer_heap_remove(struct timer **root, struct timer *t);             /* set */

struct timers {
    pthread_t thread;
    struct mutex lock; /* before the pool's */
    struct cond wake;
    struct timer *root;
    int64_t sleeps_until; /* what the thread waits for; INT64_MIN: it is awake */
    bool stopping;
};

beck_status timers_start(struct timers *s, beck_error *err);
void timers_stop(struct timers *s); /* nothing is set any more */

void timers_set(struct timers *s, struct timer *t, int64_t at_ns); /* not set yet */
bool timers_cancel(struct timers *s, struct timer *t);             /* false: not set, or due */
void timers_hasten(struct timers *s, struct timer *t); /* if set: it is due now, on this thread */

#endif
