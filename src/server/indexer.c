/* The index of traces in the background: see indexer.h. */
#include "server/indexer.h"
#include "api/handle.h"
#include "base/error.h"
#include <sched.h>
#include <stdlib.h>

#define EVENTS_AT_ONCE 10000 /* of each partition, so that a trace need not wait for long */

struct indexer {
    beck *b;
    struct log *log;
    uint32_t every_ms;
    pthread_t thread;
    struct mutex lock;
    struct cond wake;
    bool stopping;
    beck_status said; /* the same trouble is told once */
};

static bool take_in(struct indexer *x)
{
    bool more = false;
    beck_error err;
    beck_status status = trace_catch_up(x->b, EVENTS_AT_ONCE, &more, &err);
    if (status && status != x->said) {
        LOG(x->log, LEVEL_WARN, "the index of traces is not brought up to date",
            LOG_TEXT("error", err.text));
    }
    x->said = status;
    return more && !status;
}

static void *index_main(void *arg)
{
    struct indexer *x = arg;
    /* Others do not wait for it, whatever that costs it: with a nice of 10 the slowest answers came later. */
    const struct sched_param none = {0};
    pthread_setschedparam(pthread_self(), SCHED_IDLE, &none);
    mutex_lock(&x->lock);
    while (!x->stopping) {
        int64_t until = clock_mono_ns(clock_system()) + x->every_ms * 1000000LL;
        while (!x->stopping && cond_wait_until(&x->wake, &x->lock, clock_system(), until)) {
        }
        bool more = !x->stopping;
        while (more) {
            mutex_unlock(&x->lock);
            more = take_in(x);
            mutex_lock(&x->lock);
            more = more && !x->stopping;
        }
    }
    mutex_unlock(&x->lock);
    return NULL;
}

beck_status indexer_start(beck *b, struct log *log, uint32_t every_ms, struct indexer **out,
                          beck_error *err)
{
    struct indexer *x = calloc(1, sizeof *x);
    if (!x) {
        return error_set(err, BECK_ENOMEM, "no memory for the index of traces");
    }
    x->b = b;
    x->log = log;
    x->every_ms = every_ms;
    mutex_init(&x->lock);
    cond_init(&x->wake);
    int rc = pthread_create(&x->thread, NULL, index_main, x);
    if (rc) {
        mutex_release(&x->lock);
        cond_release(&x->wake);
        free(x);
        return error_errno(err, rc, "cannot start the thread of the index of traces");
    }
    *out = x;
    return BECK_OK;
}

void indexer_stop(struct indexer *x)
{
    if (!x) {
        return;
    }
    mutex_lock(&x->lock);
    x->stopping = true;
    cond_signal(&x->wake);
    mutex_unlock(&x->lock);
    pthread_join(x->thread, NULL);
    mutex_release(&x->lock);
    cond_release(&x->wake);
    free(x);
}
