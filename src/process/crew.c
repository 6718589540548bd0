/*
 * The crew. It is ended by beck_consumer_wake, which ends a waiting beck_take, and by end_fd, which
 * ends a pause.
 */
#include "process/crew.h"
#include "base/clock.h"
#include "base/error.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define GRACE_MS 2000
#define TROUBLE_FIRST_MS 1000
#define TROUBLE_MAX_MS 60000

struct worker {
    struct crew *crew;
    beck_consumer *consumer;
    struct handler_options options; /* the crew's, with the deadline of what is handled */
    struct handler handler;
    uint64_t tag;       /* being handled */
    int64_t trouble_ms; /* the last pause after trouble; 0: none */
    pthread_t thread;
    bool started;
};

struct crew {
    const struct crew_options *options;
    struct handler_options handler;
    uint32_t attempts_max;
    atomic_bool ending;
    int end_fd;    /* readable once ending */
    int hurry_fd;  /* readable after crew_hurry */
    int change_fd; /* a worker ended */
    atomic_uint working;
    _Atomic(int64_t) tickets; /* deliveries that may still be begun */
    _Atomic(int64_t) handled, retried, rejected, dead, waiting;
    pthread_mutex_t lock;
    beck_error cause; /* of the end, with the lock */
    uint32_t count;
    struct worker workers[];
};

static void signal_fd(int fd)
{
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

void crew_end(struct crew *c)
{
    atomic_store(&c->ending, true);
    signal_fd(c->end_fd);
    for (uint32_t i = 0; i < c->count; i++)
        if (c->workers[i].consumer)
            beck_consumer_wake(c->workers[i].consumer);
}

void crew_hurry(struct crew *c)
{
    crew_end(c);
    signal_fd(c->hurry_fd);
}

/* ---- one worker ---- */

/* Sleeps; an end of the crew ends it. */
static void pause_until(const struct crew *c, int64_t until_ns)
{
    int64_t left;
    while (!atomic_load(&c->ending) && (left = until_ns - clock_mono_ns(clock_system())) > 0) {
        struct pollfd fd = {.fd = c->end_fd, .events = POLLIN};
        poll(&fd, 1, (int)(left / 1000000) + 1);
    }
}

/* What went wrong is not this event's fault. False: the worker ends. */
static bool survive(struct worker *w, beck_status status, const beck_error *err)
{
    struct crew *c = w->crew;
    if (c->options->enduring && status != BECK_ECLOSED) {
        c->options->trouble(c->options->ctx, status, err);
        w->trouble_ms = w->trouble_ms ? w->trouble_ms * 2 : TROUBLE_FIRST_MS;
        w->trouble_ms = w->trouble_ms > TROUBLE_MAX_MS ? TROUBLE_MAX_MS : w->trouble_ms;
        pause_until(c, clock_mono_ns(clock_system()) + w->trouble_ms * 1000000);
        return true;
    }
    pthread_mutex_lock(&c->lock);
    bool first = !c->cause.code;
    if (first)
        c->cause = *err;
    pthread_mutex_unlock(&c->lock);
    if (first && c->options->enduring)
        c->options->trouble(c->options->ctx, status, err);
    atomic_store(&c->ending, true);
    signal_fd(c->end_fd);
    return false;
}

static void extend(void *ctx)
{
    struct worker *w = ctx;
    (void)beck_extend(w->consumer, w->tag, NULL);
}

/* Tells the queue. */
static beck_status conclude(struct worker *w, const beck_delivery *d, beck_verdict verdict,
                            const char *why, beck_error *err)
{
    struct crew *c = w->crew;
    bool last = d->attempt >= c->attempts_max;
    bool again = verdict == BECK_RETRY && !last;
    atomic_fetch_add(&c->waiting, (int64_t)again - (d->attempt > 1));
    switch (verdict) {
    case BECK_SETTLE:
        atomic_fetch_add(&c->handled, 1);
        return beck_settle(w->consumer, &d->tag, 1, err);
    case BECK_REJECT:
        c->options->failed(c->options->ctx, d, "is rejected", why);
        atomic_fetch_add(&c->rejected, 1);
        return beck_reject(w->consumer, d->tag, why, err);
    case BECK_RETRY:
        break;
    }
    c->options->failed(c->options->ctx, d, last ? "failed and was the last" : "failed", why);
    atomic_fetch_add(last ? &c->dead : &c->retried, 1);
    return beck_retry(w->consumer, d->tag, -1, why, err);
}

static void set_deadline(struct handler_options *o, int64_t deadline_ms)
{
    o->deadline_ms = deadline_ms;
    o->beat_ms = 0;
    o->grace_ms = GRACE_MS;
    if (deadline_ms > 0) {
        o->beat_ms = deadline_ms > 1 ? deadline_ms / 2 : 1;
        o->grace_ms = deadline_ms * 3 / 4 < GRACE_MS ? deadline_ms * 3 / 4 : GRACE_MS;
    }
}

/* False: the worker ends. */
static bool handle(struct worker *w, const beck_delivery *d)
{
    struct crew *c = w->crew;
    beck_verdict verdict;
    beck_error err;
    char why[HANDLER_WHY_MAX];
    w->tag = d->tag;
    set_deadline(&w->options, d->deadline_ms);
    enum handler_result result =
        handler_run(&w->handler, d->event, d->attempt, &verdict, why, &err);
    if (result != HANDLER_VERDICT) {
        (void)beck_return(w->consumer, d->tag, NULL);
        return result == HANDLER_UNUSABLE && survive(w, err.code, &err);
    }
    beck_status status = conclude(w, d, verdict, why, &err);
    if (status == BECK_ESTALE) {
        beck_error late;
        error_set(&late, status, "a verdict came too late: the event is delivered again: %s",
                  err.text);
        c->options->trouble(c->options->ctx, status, &late);
        return true;
    }
    if (status)
        return survive(w, status, &err);
    w->trouble_ms = 0;
    return true;
}

/* False: the worker ends. */
static bool take_and_handle(struct worker *w)
{
    struct crew *c = w->crew;
    beck_delivery d;
    beck_error err;
    size_t count;
    beck_status status = beck_take(w->consumer, &d, 1, -1, &count, &err);
    if (!status)
        return handle(w, &d);
    atomic_fetch_add(&c->tickets, 1);
    if (status == BECK_ETIMEDOUT)
        return true;
    if (status == BECK_ECLOSED && atomic_load(&c->ending))
        return false;
    if (status == BECK_ECORRUPT && !c->options->enduring) {
        c->options->trouble(c->options->ctx, status, &err);
        return true;
    }
    return survive(w, status, &err);
}

static void *work(void *ctx)
{
    struct worker *w = ctx;
    struct crew *c = w->crew;
    bool good = true;
    while (good && !atomic_load(&c->ending)) {
        /* A program that keeps dying is started again only after a while. */
        pause_until(c, handler_ready_at(&w->handler));
        if (atomic_fetch_sub(&c->tickets, 1) <= 0)
            break;
        good = take_and_handle(w);
    }
    handler_release(&w->handler);
    atomic_fetch_sub(&c->working, 1);
    signal_fd(c->change_fd);
    return NULL;
}

/* ---- the crew ---- */

static beck_status open_fds(struct crew *c, beck_error *err)
{
    c->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    c->hurry_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    c->change_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->end_fd < 0 || c->hurry_fd < 0 || c->change_fd < 0)
        return error_errno(err, errno, "no descriptors for workers");
    return BECK_OK;
}

static void release(struct crew *c)
{
    const int fds[] = {c->end_fd, c->hurry_fd, c->change_fd};
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->workers[i].started)
            pthread_join(c->workers[i].thread, NULL);
        else
            handler_release(&c->workers[i].handler);
        beck_consumer_close(c->workers[i].consumer);
    }
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static void read_queue(struct crew *c, const beck_queue_info *info)
{
    c->attempts_max = info->options.attempts_max;
    c->handler = c->options->handler;
    c->handler.queue = c->options->queue;
    c->handler.wake_fd = c->hurry_fd;
    set_deadline(&c->handler, info->options.deadline_ms);
}

static beck_status open_workers(struct crew *c, beck_error *err)
{
    beck_status status = BECK_OK;
    while (c->count < c->options->workers && !status) {
        struct worker *w = &c->workers[c->count];
        w->crew = c;
        w->options = c->handler;
        handler_init(&w->handler, &w->options);
        w->handler.beat = extend;
        w->handler.beat_ctx = w;
        status = beck_consumer_open(c->options->b, c->options->queue, 1, &w->consumer, err);
        c->count += status == BECK_OK;
    }
    return status;
}

beck_status crew_start(const struct crew_options *options, struct crew **out, beck_error *err)
{
    beck_queue_info info;
    beck_status status = beck_queue_info_get(options->b, options->queue, &info, err);
    if (status)
        return status;
    struct crew *c = calloc(1, sizeof *c + options->workers * sizeof *c->workers);
    if (!c)
        return error_set(err, BECK_ENOMEM, "no memory for %u workers", options->workers);
    c->options = options;
    atomic_init(&c->tickets, options->events_max < 0 ? INT64_MAX / 2 : options->events_max);
    pthread_mutex_init(&c->lock, NULL);
    status = open_fds(c, err);
    if (!status) {
        read_queue(c, &info);
        status = open_workers(c, err);
    }
    for (uint32_t i = 0; i < c->count && !status; i++) {
        atomic_fetch_add(&c->working, 1);
        int rc = pthread_create(&c->workers[i].thread, NULL, work, &c->workers[i]);
        c->workers[i].started = rc == 0;
        if (rc) {
            atomic_fetch_sub(&c->working, 1);
            status = error_set(err, BECK_EIO, "no thread for worker %u: use fewer", i + 1);
        }
    }
    if (status) {
        crew_end(c);
        release(c);
        return status;
    }
    *out = c;
    return BECK_OK;
}

int crew_fd(const struct crew *c)
{
    return c->change_fd;
}

bool crew_ending(const struct crew *c)
{
    return atomic_load(&c->ending);
}

uint32_t crew_working(struct crew *c)
{
    uint64_t drained;
    (void)!read(c->change_fd, &drained, sizeof drained);
    /* One that ends by itself must not leave the others waiting. */
    if (atomic_load(&c->ending))
        crew_end(c);
    return atomic_load(&c->working);
}

beck_status crew_join(struct crew *c, struct crew_counts *counts, beck_error *err)
{
    /* Whichever worker ends the crew, the rest are told by this thread. */
    while (crew_working(c) > 0) {
        struct pollfd fds[] = {{.fd = c->change_fd, .events = POLLIN},
                               {.fd = atomic_load(&c->ending) ? -1 : c->end_fd, .events = POLLIN}};
        poll(fds, 2, -1);
    }
    if (counts)
        *counts = (struct crew_counts){c->handled, c->retried, c->rejected, c->dead, c->waiting};
    beck_error cause = c->cause;
    release(c);
    return cause.code ? error_set(err, cause.code, "%s", cause.text) : BECK_OK;
}
