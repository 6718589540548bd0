/*
 * The crew. A worker holds one delivery at a time: the program is what takes time, and a delivery
 * that waits behind it would only run into its deadline.
 *
 * The queue's deadline is the program's: the worker kills it then and says why. Until the verdict
 * is given the delivery is extended every half deadline, so that the queue never takes it away
 * first.
 *
 * The first thread watches: signals, idleness, workers that ended. It ends the others by
 * beck_consumer_wake, which ends a waiting beck_take, and by end_fd, which ends a pause.
 */
#include "cli/crew.h"
#include "base/clock.h"
#include "cli/print.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define IDLE_LOOK_MS 20
#define GRACE_MS 2000

struct crew {
    struct call *call;
    const struct crew_options *options;
    struct handler_options handler;
    uint32_t attempts_max;
    atomic_bool ending;
    int end_fd;    /* readable once ending */
    int hurry_fd;  /* readable after a second signal */
    int change_fd; /* a worker ended */
    atomic_uint working;
    _Atomic(int64_t) tickets; /* deliveries that may still be begun */
    _Atomic(int64_t) handled, retried, rejected, dead;
    atomic_int code;
};

struct worker {
    struct crew *crew;
    beck_consumer *consumer;
    struct handler handler;
    uint64_t tag; /* being handled */
    pthread_t thread;
    bool started;
};

static void signal_fd(int fd)
{
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

static void give_up(struct crew *crew, int code)
{
    int none = EXIT_DONE;
    atomic_compare_exchange_strong(&crew->code, &none, code);
    atomic_store(&crew->ending, true);
    signal_fd(crew->end_fd);
}

/* ---- one worker ---- */

static void extend(void *ctx)
{
    struct worker *w = ctx;
    (void)beck_extend(w->consumer, w->tag, NULL);
}

static void say_failed(const struct crew *crew, const beck_delivery *d, const char *outcome,
                       const char *why)
{
    char position[POSITION_TEXT_MAX];
    struct buf type;
    buf_init(&type, 1024);
    print_safe(&type, d->event->type, 100);
    print_position(position, d->event->bus, d->event->position);
    call_say(crew->call, "%s %.*s attempt %u %s: %s", position, (int)type.len,
             (const char *)type.data, d->attempt, outcome, why);
    buf_release(&type);
}

/* Tells the queue. */
static beck_status conclude(struct worker *w, const beck_delivery *d, beck_verdict verdict,
                            const char *why, beck_error *err)
{
    struct crew *crew = w->crew;
    bool last = d->attempt >= crew->attempts_max;
    switch (verdict) {
    case BECK_SETTLE:
        atomic_fetch_add(&crew->handled, 1);
        return beck_settle(w->consumer, &d->tag, 1, err);
    case BECK_REJECT:
        say_failed(crew, d, "is rejected", why);
        atomic_fetch_add(&crew->rejected, 1);
        return beck_reject(w->consumer, d->tag, why, err);
    case BECK_RETRY:
        break;
    }
    say_failed(crew, d, last ? "failed and was the last" : "failed", why);
    atomic_fetch_add(last ? &crew->dead : &crew->retried, 1);
    return beck_retry(w->consumer, d->tag, -1, why, err);
}

/* False: the worker ends. */
static bool handle(struct worker *w, const beck_delivery *d)
{
    struct crew *crew = w->crew;
    beck_verdict verdict;
    beck_error err;
    char why[HANDLER_WHY_MAX];
    w->tag = d->tag;
    enum handler_result result =
        handler_run(&w->handler, d->event, d->attempt, &verdict, why, &err);
    if (result != HANDLER_VERDICT) {
        (void)beck_return(w->consumer, d->tag, NULL);
        if (result == HANDLER_UNUSABLE) {
            give_up(crew, call_fail(crew->call, err.code, &err));
        }
        return false;
    }
    beck_status status = conclude(w, d, verdict, why, &err);
    if (status == BECK_ESTALE) {
        call_warn(crew->call, "a verdict came too late: the event is delivered again: %s",
                  err.text);
        return true;
    }
    if (status) {
        give_up(crew, call_fail(crew->call, status, &err));
        return false;
    }
    return true;
}

/* A program that keeps dying is started again only after a while. */
static void pause_worker(struct worker *w)
{
    int64_t until = handler_ready_at(&w->handler);
    int64_t left;
    while (!atomic_load(&w->crew->ending) && (left = until - clock_mono_ns(clock_system())) > 0) {
        struct pollfd fd = {.fd = w->crew->end_fd, .events = POLLIN};
        poll(&fd, 1, (int)(left / 1000000) + 1);
    }
}

static void *work(void *ctx)
{
    struct worker *w = ctx;
    struct crew *crew = w->crew;
    while (!atomic_load(&crew->ending)) {
        pause_worker(w);
        if (atomic_fetch_sub(&crew->tickets, 1) <= 0) {
            break;
        }
        beck_delivery d;
        beck_error err;
        size_t count;
        beck_status status = beck_take(w->consumer, &d, 1, -1, &count, &err);
        if (status == BECK_ETIMEDOUT || status == BECK_ECORRUPT) {
            if (status == BECK_ECORRUPT) {
                call_fail(crew->call, status, &err);
            }
            atomic_fetch_add(&crew->tickets, 1);
            continue;
        }
        if (status == BECK_ECLOSED && atomic_load(&crew->ending)) {
            break;
        }
        if (status) {
            give_up(crew, call_fail(crew->call, status, &err));
            break;
        }
        if (!handle(w, &d)) {
            break;
        }
    }
    handler_release(&w->handler);
    atomic_fetch_sub(&crew->working, 1);
    signal_fd(crew->change_fd);
    return NULL;
}

/* ---- the watch ---- */

static bool is_idle(const struct crew *crew)
{
    beck_queue_info info;
    beck_error err;
    return beck_queue_info_get(crew->call->handle, crew->options->queue, &info, &err) == 0 &&
           info.ready + info.in_flight + info.delayed == 0;
}

static void end_all(struct crew *crew, struct worker *workers, uint32_t count)
{
    atomic_store(&crew->ending, true);
    signal_fd(crew->end_fd);
    for (uint32_t i = 0; i < count; i++) {
        beck_consumer_wake(workers[i].consumer);
    }
}

/* Until every worker ended. */
static void watch(struct crew *crew, struct worker *workers, uint32_t count)
{
    bool told = false;
    int stops = 0;
    while (atomic_load(&crew->working) > 0) {
        bool looks = crew->options->exit_when_idle && !told;
        struct pollfd fds[] = {{.fd = crew->call->stop_fd, .events = POLLIN},
                               {.fd = crew->change_fd, .events = POLLIN},
                               {.fd = told ? -1 : crew->end_fd, .events = POLLIN}};
        poll(fds, 3, looks ? IDLE_LOOK_MS : -1);
        if (fds[1].revents) {
            uint64_t drained;
            (void)!read(crew->change_fd, &drained, sizeof drained);
        }
        int now = call_stopping(crew->call);
        if (now >= 2 && stops < 2) {
            signal_fd(crew->hurry_fd);
        } else if (now == 1 && stops == 0) {
            call_say(crew->call,
                     "ending: what is being handled is finished first; once more kills");
        }
        stops = now;
        if (!told && (stops || atomic_load(&crew->ending) || (looks && is_idle(crew)))) {
            told = true;
            end_all(crew, workers, count);
        }
    }
}

/* ---- setting up ---- */

static int open_fds(struct crew *crew)
{
    crew->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    crew->hurry_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    crew->change_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (crew->end_fd < 0 || crew->hurry_fd < 0 || crew->change_fd < 0) {
        return call_error(crew->call, EXIT_FAILED, "no descriptors for workers: %s",
                          strerror(errno));
    }
    return EXIT_DONE;
}

static void close_fds(const struct crew *crew)
{
    const int fds[] = {crew->end_fd, crew->hurry_fd, crew->change_fd};
    for (int i = 0; i < 3; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

static int read_queue(struct crew *crew)
{
    beck_queue_info info;
    beck_error err;
    beck_status status = beck_queue_info_get(crew->call->handle, crew->options->queue, &info, &err);
    if (status) {
        return call_fail(crew->call, status, &err);
    }
    if (info.paused) {
        return call_error(crew->call, EXIT_REFUSED,
                          "queue '%s' is paused: beck queue resume %s opens it",
                          crew->options->queue, crew->options->queue);
    }
    int64_t deadline = info.options.deadline_ms;
    crew->attempts_max = info.options.attempts_max;
    crew->handler = crew->options->handler;
    crew->handler.queue = crew->options->queue;
    crew->handler.wake_fd = crew->hurry_fd;
    crew->handler.deadline_ms = deadline;
    crew->handler.grace_ms = GRACE_MS;
    if (deadline > 0) {
        crew->handler.beat_ms = deadline > 1 ? deadline / 2 : 1;
        crew->handler.grace_ms = deadline * 3 / 4 < GRACE_MS ? deadline * 3 / 4 : GRACE_MS;
    }
    return EXIT_DONE;
}

static int start(struct crew *crew, struct worker *w)
{
    beck_error err;
    w->crew = crew;
    handler_init(&w->handler, &crew->handler);
    w->handler.beat = extend;
    w->handler.beat_ctx = w;
    beck_status status =
        beck_consumer_open(crew->call->handle, crew->options->queue, 1, &w->consumer, &err);
    if (status) {
        return call_fail(crew->call, status, &err);
    }
    return EXIT_DONE;
}

static int run_workers(struct crew *crew, struct worker *workers)
{
    uint32_t count = crew->options->workers;
    int code = EXIT_DONE;
    uint32_t opened = 0;
    while (opened < count && !code) {
        code = start(crew, &workers[opened]);
        opened += code == EXIT_DONE;
    }
    for (uint32_t i = 0; i < opened && !code; i++) {
        atomic_fetch_add(&crew->working, 1);
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            atomic_fetch_sub(&crew->working, 1);
            code = call_error(crew->call, EXIT_FAILED, "no thread for worker %u: use fewer", i + 1);
            end_all(crew, workers, opened);
            break;
        }
        workers[i].started = true;
    }
    watch(crew, workers, opened);
    for (uint32_t i = 0; i < opened; i++) {
        if (workers[i].started) {
            pthread_join(workers[i].thread, NULL);
        } else {
            handler_release(&workers[i].handler);
        }
        beck_consumer_close(workers[i].consumer);
    }
    return code ? code : atomic_load(&crew->code);
}

int crew_run(struct call *call, const struct crew_options *options, struct crew_counts *counts)
{
    struct crew crew = {.call = call,
                        .options = options,
                        .tickets = options->events_max < 0 ? INT64_MAX / 2 : options->events_max};
    struct worker *workers = calloc(options->workers, sizeof *workers);
    if (!workers) {
        return call_error(call, EXIT_FAILED, "no memory for %u workers", options->workers);
    }
    int code = open_fds(&crew);
    code = code ? code : read_queue(&crew);
    code = code ? code : run_workers(&crew, workers);
    close_fds(&crew);
    free(workers);
    *counts = (struct crew_counts){crew.handled, crew.retried, crew.rejected, crew.dead};
    return code;
}
