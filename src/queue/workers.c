/* Workers: threads that take from a queue and call a function. Each has its own consumer. */
#include "queue/queue_impl.h"

#include <stdlib.h>

#define WORKERS_MAX 1024
#define SETTLE_TOGETHER 64
#define SETTLE_WITHIN_NS 1000000

struct beck_workers {
    beck *owner;
    struct queue *queue;
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

/* Answers that failed stay held and come back by their deadline: nothing more can be done here than
 * to say so. */
static void settle(struct worker *w, uint64_t *tags, size_t *count)
{
    beck_error why;
    error_clear(&why);
    if (*count > 0 && consumer_settle(w->consumer, tags, *count, &why))
        env_report(w->pool->queue->home->env, why.code, "a worker of queue \"%s\": %s",
                   w->pool->queue->name, why.text);
    *count = 0;
}

static int handle(struct worker *w, const beck_delivery *d, char *why)
{
    struct callers *callers = w->pool->queue->home->callers;
    struct caller *self = callers_self(callers);
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
static bool waited_too_long(const struct worker *w, int64_t taken_ns, int64_t now_ns)
{
    int64_t deadline_ms = w->pool->queue->options.deadline_ms;
    return deadline_ms >= 0 && (now_ns - taken_ns) / 1000000 > deadline_ms / 4;
}

/* Returns how long it took. */
static int64_t work_on(struct worker *w, const beck_delivery *deliveries, size_t count)
{
    struct clock *clock = w->pool->queue->home->env->clock;
    int64_t taken_ns = clock_mono_ns(clock), now_ns = taken_ns;
    uint64_t done[SETTLE_TOGETHER];
    size_t done_count = 0;
    int64_t first_done_ns = 0;
    for (size_t i = 0; i < count; i++) {
        char why[256];
        beck_error error;
        error_clear(&error);
        beck_status status = BECK_OK;
        bool late = i > 0 && waited_too_long(w, taken_ns, now_ns);
        if (late || atomic_load_explicit(&w->pool->stopping, memory_order_relaxed)) {
            consumer_return(w->consumer, deliveries[i].tag, NULL);
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
            status = consumer_reject(w->consumer, deliveries[i].tag, why, &error);
        } else {
            status = consumer_retry(w->consumer, deliveries[i].tag, -1, why, &error);
        }
        if (status)
            env_report(w->pool->queue->home->env, status, "a worker of queue \"%s\": %s",
                       w->pool->queue->name, error.text);
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
    /* Taken at once: as many as are handled within about a millisecond, so that none waits behind
     * slow ones while another thread is idle, or its deadline passes. */
    size_t at_once = 1;
    while (!atomic_load(&w->pool->stopping)) {
        size_t count;
        beck_error why;
        error_clear(&why);
        beck_status status = consumer_take(w->consumer, deliveries, at_once, 1000, &count, &why);
        if (status == BECK_OK) {
            int64_t took_ns = work_on(w, deliveries, count);
            if (took_ns < SETTLE_WITHIN_NS && at_once < SETTLE_TOGETHER)
                at_once *= 2;
            else if (took_ns > 2 * SETTLE_WITHIN_NS)
                at_once = 1;
        } else if (status == BECK_ECLOSED) {
            break;
        } else if (status != BECK_ETIMEDOUT) {
            env_report(w->pool->queue->home->env, status, "a worker of queue \"%s\": %s",
                       w->pool->queue->name, why.text);
            struct timespec pause = {.tv_nsec = 100000000};
            nanosleep(&pause, NULL);
        }
    }
    return NULL;
}

void workers_stop(beck_workers *pool)
{
    if (!pool)
        return;
    atomic_store(&pool->stopping, true);
    for (uint32_t i = 0; i < pool->count; i++)
        consumer_wake(pool->workers[i].consumer);
    for (uint32_t i = 0; i < pool->count; i++) {
        pthread_join(pool->workers[i].thread, NULL);
        consumer_close(pool->workers[i].consumer);
    }
    queue_release(pool->queue);
    free(pool->workers);
    free(pool);
}

beck_status workers_start(beck *owner, struct queue *q, beck_worker_fn fn, void *ctx,
                          const beck_worker_options *options, beck_workers **out, beck_error *err)
{
    uint32_t threads = options && options->threads ? options->threads : 1;
    if (threads > WORKERS_MAX)
        return error_set(err, BECK_EINVAL, "threads = %u is out of range; use 1 to %d", threads,
                         WORKERS_MAX);
    beck_workers *pool = calloc(1, sizeof *pool);
    struct worker *workers = calloc(threads, sizeof *workers);
    if (!pool || !workers) {
        free(pool);
        free(workers);
        return error_set(err, BECK_ENOMEM, "no memory for workers");
    }
    pool->owner = owner;
    pool->queue = queue_retain(q);
    pool->fn = fn;
    pool->ctx = ctx;
    pool->workers = workers;
    for (uint32_t i = 0; i < threads; i++) {
        struct worker *w = &workers[i];
        w->pool = pool;
        beck_status status = consumer_open(q, options ? options->prefetch : 0, &w->consumer, err);
        int rc = status ? 0 : pthread_create(&w->thread, NULL, worker_main, w);
        if (rc) {
            consumer_close(w->consumer);
            status = error_errno(err, rc, "cannot start a worker thread");
        }
        if (status) {
            workers_stop(pool);
            return status;
        }
        pool->count = i + 1;
    }
    *out = pool;
    return BECK_OK;
}

beck *workers_owner(const beck_workers *w)
{
    return w->owner;
}
