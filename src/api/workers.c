/*
 * Workers: threads that take from a queue and call a function. Each has its own consumer. They use
 * the public functions only, so they work in the same way for a queue of this process and for one of
 * a server. The handle knows them, so that closing it stops them.
 */
#include "api/handle.h"

#include <stdlib.h>

#define WORKERS_MAX 1024
#define SETTLE_TOGETHER 64
#define SETTLE_WITHIN_NS 1000000

struct beck_workers {
    beck *b;
    char *queue;
    beck_worker_fn fn;
    void *ctx;
    _Atomic(bool) stopping;
    uint32_t count;
    struct worker *workers;
};

struct worker {
    beck_workers *pool;
    beck_consumer *consumer;
    pthread_t thread;
};

static void report(const struct worker *w, const beck_error *why)
{
    env_report(&w->pool->b->env, why->code, "a worker of queue \"%s\": %s", w->pool->queue,
               why->text);
}

/* Answers that failed stay held and come back by their deadline: nothing more can be done here than
 * to say so. */
static void settle(struct worker *w, uint64_t *tags, size_t *count)
{
    beck_error why;
    error_clear(&why);
    if (*count > 0 && beck_settle(w->consumer, tags, *count, &why))
        report(w, &why);
    *count = 0;
}

static int handle(struct worker *w, const beck_delivery *d, char *why)
{
    struct caller *self = callers_self(w->pool->b->callers);
    struct caller_frame frame;
    why[0] = 0;
    /* Effects published while handling carry this event's ids. */
    if (self)
        caller_push(self, &frame, d->event);
    int verdict = w->pool->fn(w->pool->ctx, d, why);
    if (self)
        caller_pop(self, &frame);
    return verdict;
}

/* Whether deliveries that wait for their turn since then are better given back than kept. */
static bool waited_too_long(const beck_delivery *d, int64_t taken_ns, int64_t now_ns)
{
    int64_t deadline_ms = d->deadline_ms;
    return deadline_ms >= 0 && (now_ns - taken_ns) / 1000000 > deadline_ms / 4;
}

/* Returns how long it took. */
static int64_t work_on(struct worker *w, const beck_delivery *deliveries, size_t count)
{
    struct clock *clock = w->pool->b->env.clock;
    int64_t taken_ns = clock_mono_ns(clock), now_ns = taken_ns;
    uint64_t done[SETTLE_TOGETHER];
    size_t done_count = 0;
    int64_t first_done_ns = 0;
    for (size_t i = 0; i < count; i++) {
        char why[256];
        beck_error error;
        error_clear(&error);
        beck_status status = BECK_OK;
        bool late = i > 0 && waited_too_long(&deliveries[i], taken_ns, now_ns);
        if (late || atomic_load_explicit(&w->pool->stopping, memory_order_relaxed)) {
            beck_return(w->consumer, deliveries[i].tag, NULL);
            continue;
        }
        int verdict = handle(w, &deliveries[i], why);
        why[sizeof why - 1] = 0;
        now_ns = clock_mono_ns(clock);
        if (verdict == BECK_SETTLE) {
            if (done_count == 0)
                first_done_ns = now_ns;
            done[done_count++] = deliveries[i].tag;
        } else if (verdict == BECK_REJECT) {
            status = beck_reject(w->consumer, deliveries[i].tag, why, &error);
        } else {
            status = beck_retry(w->consumer, deliveries[i].tag, -1, why, &error);
        }
        if (status)
            report(w, &error);
        if (done_count == SETTLE_TOGETHER ||
            (done_count > 0 && now_ns - first_done_ns > SETTLE_WITHIN_NS))
            settle(w, done, &done_count);
    }
    settle(w, done, &done_count);
    return now_ns - taken_ns;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    beck_delivery deliveries[SETTLE_TOGETHER];
    beck_status said = BECK_OK;
    /* Taken at once: as many as are handled within about a millisecond, so that none waits behind
     * slow ones while another thread is idle, or its deadline passes. */
    size_t at_once = 1;
    while (!atomic_load(&w->pool->stopping)) {
        size_t count;
        beck_error why;
        error_clear(&why);
        beck_status status = beck_take(w->consumer, deliveries, at_once, 1000, &count, &why);
        if (status == BECK_OK) {
            int64_t took_ns = work_on(w, deliveries, count);
            if (took_ns < SETTLE_WITHIN_NS && at_once < SETTLE_TOGETHER)
                at_once *= 2;
            else if (took_ns > 2 * SETTLE_WITHIN_NS)
                at_once = 1;
        } else if (status == BECK_ECLOSED) {
            break;
        } else if (status != BECK_ETIMEDOUT) {
            if (status != said) /* trouble that lasts is told once */
                report(w, &why);
            struct timespec pause = {.tv_nsec = 100000000};
            nanosleep(&pause, NULL);
        }
        said = status;
    }
    return NULL;
}

void workers_stop(beck_workers *pool)
{
    if (!pool)
        return;
    atomic_store(&pool->stopping, true);
    for (uint32_t i = 0; i < pool->count; i++)
        beck_consumer_wake(pool->workers[i].consumer);
    for (uint32_t i = 0; i < pool->count; i++) {
        pthread_join(pool->workers[i].thread, NULL);
        beck_consumer_close(pool->workers[i].consumer);
    }
    free(pool->queue);
    free(pool->workers);
    free(pool);
}

static beck_status start_threads(beck_workers *pool, uint32_t threads, uint32_t prefetch,
                                 beck_error *err)
{
    for (uint32_t i = 0; i < threads; i++) {
        struct worker *w = &pool->workers[i];
        w->pool = pool;
        beck_status status = beck_consumer_open(pool->b, pool->queue, prefetch, &w->consumer, err);
        if (status)
            return status;
        int rc = pthread_create(&w->thread, NULL, worker_main, w);
        if (rc) {
            beck_consumer_close(w->consumer);
            return error_errno(err, rc, "cannot start a worker thread");
        }
        pool->count = i + 1;
    }
    return BECK_OK;
}

static beck_status add_to_handle(beck *b, beck_workers *pool, beck_error *err)
{
    mutex_lock(&b->admin_lock);
    beck_workers **grown = realloc(b->workers, (b->worker_count + 1) * sizeof(beck_workers *));
    if (grown) {
        b->workers = grown;
        b->workers[b->worker_count++] = pool;
    }
    mutex_unlock(&b->admin_lock);
    return grown ? BECK_OK : error_set(err, BECK_ENOMEM, "no memory for workers");
}

beck_status beck_workers_start(beck *b, const char *queue, beck_worker_fn fn, void *ctx,
                               const beck_worker_options *options, beck_workers **out,
                               beck_error *err)
{
    uint32_t threads = options && options->threads ? options->threads : 1;
    beck_queue_info info;
    if (!fn)
        return error_set(err, BECK_EINVAL, "workers need a function");
    if (threads > WORKERS_MAX)
        return error_set(err, BECK_EINVAL, "threads = %u is out of range; use 1 to %d", threads,
                         WORKERS_MAX);
    beck_status status = beck_queue_info_get(b, queue, &info, err);
    if (status)
        return status;
    beck_workers *pool = calloc(1, sizeof *pool);
    if (pool) {
        pool->b = b;
        pool->fn = fn;
        pool->ctx = ctx;
        pool->queue = strdup(queue);
        pool->workers = calloc(threads, sizeof *pool->workers);
    }
    if (!pool || !pool->queue || !pool->workers)
        status = error_set(err, BECK_ENOMEM, "no memory for workers");
    if (!status)
        status = start_threads(pool, threads, options ? options->prefetch : 0, err);
    if (!status)
        status = add_to_handle(b, pool, err);
    if (status)
        workers_stop(pool);
    else
        *out = pool;
    return status;
}

void beck_workers_stop(beck_workers *workers)
{
    if (!workers)
        return;
    beck *b = workers->b;
    mutex_lock(&b->admin_lock);
    for (size_t i = 0; i < b->worker_count; i++) {
        if (b->workers[i] != workers)
            continue;
        b->workers[i] = b->workers[--b->worker_count];
        break;
    }
    mutex_unlock(&b->admin_lock);
    workers_stop(workers);
}
