/*
 * Threads that share work of which each piece waits for the disk. Syncs of several files that run at the
 * same time end with one commit of the file system's journal; one after the other each has its own.
 *
 * None is there until there is work for it; they stay until the end. Whoever has work does it as well, so it
 * is done also when no thread can be had.
 */
#ifndef BECK_LOG_SYNCERS_H
#define BECK_LOG_SYNCERS_H

#include "base/thread.h"
#include <stddef.h>

#define SYNCERS_MAX 7 /* beside the one that has the work */

struct syncers_work;

struct syncers {
    struct mutex lock; /* a leaf */
    struct cond wake, ended;
    struct syncers_work *first; /* of which something was not begun yet */
    uint32_t count, idle;
    bool stopping;
    pthread_t threads[SYNCERS_MAX];
};

void syncers_init(struct syncers *s);
void syncers_release(struct syncers *s); /* nobody uses it any more */
/* Calls fn for 0 to count - 1, in any order, on this thread and others; returns once all calls are
 * over. No lock is held. Any thread, several at a time. */
void syncers_run(struct syncers *s, void (*fn)(void *ctx, size_t i), void *ctx, size_t count);

#endif
