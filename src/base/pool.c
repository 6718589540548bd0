/* The threads that run handlers which may block, and whatever else a network thread puts off. */
#include "base/pool.h"

#include "base/error.h"

#include <assert.h>

static void *work(void *arg)
{
    struct pool *p = arg;
    mutex_lock(&p->lock);
    for (;;) {
        while (!p->first && !p->stopping) {
            p->idle++;
            cond_wait(&p->wake, &p->lock);
            p->idle--;
        }
        struct job *job = p->first;
        if (!job)
            break;
        p->first = job->next;
        p->waiting--;
        mutex_unlock(&p->lock);
        job->run(job);
        mutex_lock(&p->lock);
    }
    mutex_unlock(&p->lock);
    return NULL;
}

/* With the lock, or before anybody else knows the pool. */
static int add_thread(struct pool *p)
{
    int failed = pthread_create(&p->threads[p->count], NULL, work, p);
    p->count += !failed;
    return failed;
}

beck_status pool_start(struct pool *p, uint32_t threads_max, beck_error *err)
{
    *p = (struct pool){.max = threads_max < POOL_THREADS_MAX ? threads_max : POOL_THREADS_MAX};
    mutex_init(&p->lock);
    cond_init(&p->wake);
    int failed = add_thread(p);
    if (failed) {
        cond_release(&p->wake);
        mutex_release(&p->lock);
        return error_errno(err, failed, "starting a thread that may wait");
    }
    return BECK_OK;
}

void pool_push(struct pool *p, struct job *job)
{
    job->next = NULL;
    mutex_lock(&p->lock);
    if (p->first)
        p->last->next = job;
    else
        p->first = job;
    p->last = job;
    p->waiting++;
    if (p->idle < p->waiting && p->count < p->max)
        add_thread(p); /* one that cannot be had now is tried again with the next job */
    if (p->idle > 0)
        cond_signal(&p->wake);
    mutex_unlock(&p->lock);
}

void pool_stop(struct pool *p)
{
    mutex_lock(&p->lock);
    p->stopping = true;
    cond_broadcast(&p->wake);
    mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->count; i++)
        pthread_join(p->threads[i], NULL);
    assert(!p->first);
    cond_release(&p->wake);
    mutex_release(&p->lock);
}
