/*
 * A handle on the simulated disk with a virtual clock, and short words for what tests of queues do
 * again and again. The handle's timer is stopped, so that everything happens in the test's own
 * thread, when the test says so.
 */
#ifndef TESTS_QUEUE_WORLD_H
#define TESTS_QUEUE_WORLD_H

#include "api/handle.h"

#include "base/rng.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define SECOND 1000LL
#define MINUTE 60000LL
#define HOUR 3600000LL
#define DAY 86400000LL
#define START_MS 1700000000000LL

struct world {
    struct vfs *vfs;
    struct clock *clock;
    beck_options options;
    beck *b;
    bool timer; /* leave the timer running */
    int reports;
    beck_error last_report;
};

#define check_ok(call)                                                                             \
    do {                                                                                           \
        beck_error check_err = {0};                                                                \
        beck_error *err = &check_err;                                                              \
        beck_status check_status = (call);                                                         \
        if (check_status)                                                                          \
            print_error("%s: %s\n", beck_status_name(check_status), check_err.text);               \
        assert_int_equal(check_status, BECK_OK);                                                   \
    } while (0)

static inline void world_report(void *ctx, const beck_error *e)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct world *w = ctx;
    pthread_mutex_lock(&lock);
    w->reports++;
    w->last_report = *e;
    pthread_mutex_unlock(&lock);
    if (getenv("BECK_TEST_REPORTS"))
        print_error("report: %s: %s\n", beck_status_name(e->code), e->text);
}

static inline beck_status world_try_open(struct world *w, beck_error *err)
{
    beck_status status = beck_open_env(&w->b, &w->options, w->vfs, w->clock, err);
    if (status)
        w->b = NULL;
    else if (!w->timer)
        upkeep_stop(w->b);
    return status;
}

static inline void world_open(struct world *w)
{
    check_ok(world_try_open(w, err));
}

static inline void world_start(struct world *w, uint64_t seed)
{
    *w = (struct world){.vfs = vfs_sim_new(seed),
                        .clock = clock_virtual_new(START_MS * 1000000),
                        .options = {.data_dir = "data",
                                    .checkpoint_ms = UINT32_MAX,
                                    .on_error = world_report,
                                    .on_error_ctx = w}};
    world_open(w);
}

static inline void world_start_in_memory(struct world *w)
{
    *w = (struct world){.clock = clock_virtual_new(START_MS * 1000000),
                        .options = {.on_error = world_report, .on_error_ctx = w}};
    world_open(w);
}

static inline void world_end(struct world *w)
{
    beck_close(w->b);
    vfs_sim_free(w->vfs);
    clock_virtual_free(w->clock);
}

static inline void world_reopen(struct world *w)
{
    beck_close(w->b);
    world_open(w);
}

/* The process ends: what was written stays. */
static inline void world_kill(struct world *w)
{
    vfs_sim_kill(w->vfs);
    beck_abandon(w->b);
    world_open(w);
}

/* The power goes: of what was not synced anything may stay. */
static inline void world_crash(struct world *w)
{
    vfs_sim_crash(w->vfs);
    beck_abandon(w->b);
    world_open(w);
}

static inline int64_t world_now_ms(struct world *w)
{
    return clock_wall_ms(w->clock);
}

static inline void world_advance(struct world *w, int64_t ms)
{
    while (ms > 0) { /* years do not fit at once */
        int64_t step = ms < 100 * 365 * DAY ? ms : 100 * 365 * DAY;
        clock_virtual_advance(w->clock, step * 1000000);
        ms -= step;
    }
}

static inline beck_bus *world_bus(struct world *w, const char *name,
                                  const beck_bus_options *options)
{
    beck_bus *bus = NULL;
    check_ok(beck_bus_create(w->b, name, options, &bus, err));
    return bus;
}

static inline void world_queue(struct world *w, const char *name, const beck_queue_options *options)
{
    check_ok(beck_queue_create(w->b, name, options, err));
}

static inline void world_bind(struct world *w, const char *queue, const char *bus,
                              const char *pattern, beck_from_kind from)
{
    beck_binding binding = {.bus = bus, .pattern = pattern, .from.kind = from};
    check_ok(beck_queue_bind(w->b, queue, &binding, err));
}

/* Of the engine, with a reference. */
static inline struct queue *world_get_queue(const struct world *w, const char *name)
{
    struct queue *q;
    check_ok(handle_get_queue(w->b, name, &q, err));
    return q;
}

/* Bus "b" and queue "q", bound from now. */
static inline beck_bus *world_pair(struct world *w, const beck_queue_options *options)
{
    beck_bus *bus = world_bus(w, "b", NULL);
    world_queue(w, "q", options);
    world_bind(w, "q", "b", "#", BECK_FROM_NOW);
    return bus;
}

static inline beck_bus *world_get(struct world *w, const char *name)
{
    beck_bus *bus = NULL;
    check_ok(beck_bus_get(w->b, name, &bus, err));
    return bus;
}

static inline void put(beck_bus *bus, const char *type, const char *text)
{
    beck_event e = {.type = beck_str(type), .data = beck_str(text)};
    check_ok(beck_publish(bus, &e, err));
}

static inline beck_queue_info info_of(struct world *w, const char *queue)
{
    beck_queue_info info = {0};
    check_ok(beck_queue_info_get(w->b, queue, &info, err));
    return info;
}

/* ready, in flight, delayed, dead */
static inline void check_counts_at(struct world *w, const char *queue, int64_t ready,
                                   int64_t in_flight, int64_t delayed, int64_t dead,
                                   const char *file, int line)
{
    beck_queue_info i = info_of(w, queue);
    if (i.ready == ready && i.in_flight == in_flight && i.delayed == delayed && i.dead == dead)
        return;
    print_error("queue %s: ready %lld, in flight %lld, delayed %lld, dead %lld; expected %lld "
                "%lld %lld %lld\n",
                queue, (long long)i.ready, (long long)i.in_flight, (long long)i.delayed,
                (long long)i.dead, (long long)ready, (long long)in_flight, (long long)delayed,
                (long long)dead);
    _fail(file, line);
}
#define check_counts(w, queue, ready, in_flight, delayed, dead)                                    \
    check_counts_at(w, queue, ready, in_flight, delayed, dead, __FILE__, __LINE__)

static inline beck_consumer *world_consumer(struct world *w, const char *queue, uint32_t prefetch)
{
    beck_consumer *c = NULL;
    check_ok(beck_consumer_open(w->b, queue, prefetch, &c, err));
    return c;
}

static inline bool text_is(beck_bytes bytes, const char *text)
{
    return bytes_equal_text(bytes, text);
}

/* Takes one delivery, which must be the event with that text. */
static inline beck_delivery take_at(beck_consumer *c, const char *text, const char *file, int line)
{
    beck_delivery d = {0};
    size_t count = 0;
    beck_error err = {0};
    beck_status status = beck_take(c, &d, 1, 0, &count, &err);
    if (status) {
        print_error("took nothing instead of \"%s\": %s: %s\n", text ? text : "anything",
                    beck_status_name(status), err.text);
        _fail(file, line);
    }
    if (text && !text_is(d.event->data, text)) {
        print_error("took \"%.*s\" instead of \"%s\"\n", (int)d.event->data.len,
                    (const char *)d.event->data.data, text);
        _fail(file, line);
    }
    return d;
}
#define take(c, text) take_at(c, text, __FILE__, __LINE__)

static inline void take_nothing_at(beck_consumer *c, const char *file, int line)
{
    beck_delivery d = {0};
    size_t count = 0;
    beck_status status = beck_take(c, &d, 1, 0, &count, NULL);
    if (status == BECK_ETIMEDOUT)
        return;
    print_error("took %s instead of nothing\n", status ? beck_status_name(status) : "an event");
    _fail(file, line);
}
#define take_nothing(c) take_nothing_at(c, __FILE__, __LINE__)

static inline void settle(beck_consumer *c, beck_delivery d)
{
    check_ok(beck_settle(c, &d.tag, 1, err));
}

/* Takes and settles everything, in this order: texts separated by spaces. */
static inline void drain_at(beck_consumer *c, const char *texts, const char *file, int line)
{
    char copy[1024], *rest = copy, *text;
    snprintf(copy, sizeof copy, "%s", texts);
    while ((text = strtok_r(rest, " ", &rest))) {
        beck_delivery d = take_at(c, text, file, line);
        if (beck_settle(c, &d.tag, 1, NULL))
            _fail(file, line);
    }
    take_nothing_at(c, file, line);
}
#define drain(c, texts) drain_at(c, texts, __FILE__, __LINE__)

/* ---- dead letters ---- */

#define LETTERS_MAX 64

struct letter {
    char text[64], reason[16], history[32768], bus[64];
    uint32_t attempts;
    int64_t died_ms, offset;
    beck_position origin;
};
struct letters {
    struct letter list[LETTERS_MAX];
    size_t count;
};

static inline int letters_add(void *ctx, const beck_dead *d)
{
    struct letters *all = ctx;
    assert_true(all->count < LETTERS_MAX);
    struct letter *l = &all->list[all->count++];
    snprintf(l->text, sizeof l->text, "%.*s", (int)d->event->data.len,
             (const char *)d->event->data.data);
    snprintf(l->bus, sizeof l->bus, "%.*s", (int)d->event->bus.len,
             (const char *)d->event->bus.data);
    snprintf(l->reason, sizeof l->reason, "%s", d->reason);
    snprintf(l->history, sizeof l->history, "%s", d->history);
    l->attempts = d->attempts;
    l->died_ms = d->died_ms;
    l->origin = d->origin;
    l->offset = d->event->position.offset;
    return 0;
}

static inline struct letters *dead_letters(struct world *w, const char *queue, struct letters *all)
{
    all->count = 0;
    check_ok(beck_dead_list(w->b, queue, 0, letters_add, all, err));
    return all;
}

static inline size_t count_text(const char *haystack, const char *needle)
{
    size_t n = 0;
    for (const char *at = haystack; (at = strstr(at, needle)); at += strlen(needle))
        n++;
    return n;
}

#endif
