/*
 * Threads for what must not run on a network thread. One is there from the beginning, so that a job
 * that was taken is done; the others are started when there is work for them.
 */
#ifndef BECK_BASE_POOL_H
#define BECK_BASE_POOL_H

#include "base/thread.h"
#include <beck.h>

#define POOL_THREADS_MAX 64

/* Belongs to whoever pushes it; the pool lets go of it before it runs. */
struct job {
    struct job *next;
    void (*run)(struct job *job);
};

struct pool {
    struct mutex lock; /* a leaf */
    struct cond wake;
    struct job *first, *last;
    size_t waiting; /* jobs */
    uint32_t idle, count, max;
    bool stopping;
    pthread_t threads[POOL_THREADS_MAX];
};

beck_status pool_start(struct pool *p, uint32_t threads_max, beck_error *err);
/* Jobs run in the order in which they came. With any lock held. */
void pool_push(struct pool *p, struct job *job);
/* What was pushed is done first. */
void pool_stop(struct pool *p);

#endif
