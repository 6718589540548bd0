/*
 * Publishes of one turn: see gather.h.
 *
 * What is gathered is published by a task that the thread posts to itself: it runs when all that came
 * was parsed, before anything is sent. Only events of one bus are gathered at a time, and only where
 * the offset of each follows from the first: one partition on disk, without deduplication.
 */
#include "wire/http/gather.h"

#include "api/handle.h"
#include "wire/http/http_impl.h"

#include <stdlib.h>

#define THREADS_MAX 64
#define GATHERED_MAX 64
#define WORTH_MIN 3 /* connections that published in a turn, for the next one to gather */

struct gather {
    _Atomic(struct net_loop *) loop; /* that it belongs to */
    struct net_task task;
    bool posted;
    int64_t turn_ns;             /* when the turn began that is counted */
    uint32_t publishers, before; /* connections that published in it, and in the one before */
    const struct http_connection *publisher; /* the last one */
    beck_bus *bus;
    size_t count;
    beck_event events[GATHERED_MAX];
    struct gathered what[GATHERED_MAX];
};

struct gathers {
    uint32_t count;
    struct gather at[];
};

static void run(struct net_task *t);

struct gathers *gathers_new(uint32_t threads)
{
    uint32_t count = threads < THREADS_MAX ? threads : THREADS_MAX;
    struct gathers *g = calloc(1, sizeof *g + count * sizeof g->at[0]);
    if (!g)
        return NULL;
    g->count = count;
    for (uint32_t i = 0; i < count; i++)
        g->at[i].task.run = run;
    return g;
}

void gathers_free(struct gathers *g)
{
    free(g);
}

/* NULL: there are more threads than gathers. */
static struct gather *gather_of(struct gathers *g, struct net_loop *loop)
{
    for (uint32_t i = 0; i < g->count; i++) {
        struct net_loop *owner = atomic_load_explicit(&g->at[i].loop, memory_order_relaxed);
        if (owner == loop ||
            (!owner && atomic_compare_exchange_strong(&g->at[i].loop, &owner, loop)))
            return &g->at[i];
    }
    return NULL;
}

/* ---- publishing ---- */

static void publish_each(const beck_publish_options *options, beck_bus *bus,
                         const beck_event *events, const struct gathered *what, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        beck_error err = {0};
        beck_published published = {.position = {0, -1}};
        beck_status status = beck_publish_many(bus, &events[i], 1, options, &published, &err);
        what[i].done(what[i].ctx, status, &published, &err);
    }
}

/* All, or each by itself when they cannot be stored together: then it is known whose fault it is. */
static void publish_all(struct gather *g)
{
    const beck_publish_options options = {.level = BECK_LEVEL_WRITTEN};
    beck_error err = {0};
    beck_published published = {.position = {0, -1}};
    size_t count = g->count;
    g->count = 0;
    if (count > 1 &&
        beck_publish_many(g->bus, g->events, count, &options, &published, &err) == BECK_OK) {
        for (size_t i = 0; i < count; i++) {
            g->what[i].done(g->what[i].ctx, BECK_OK, &published, &err);
            published.position.offset++;
            published.listeners_failed = 0; /* of all of them, told with the first */
        }
        return;
    }
    publish_each(&options, g->bus, g->events, g->what, count);
}

static void run(struct net_task *t)
{
    struct gather *g = (struct gather *)(void *)((char *)t - offsetof(struct gather, task));
    g->posted = false;
    publish_all(g);
}

/* ---- gathering ---- */

static bool is_worth_it(struct gather *g, const struct http_connection *c)
{
    int64_t now = connection_now_ns(c->net);
    if (now != g->turn_ns) {
        g->turn_ns = now;
        g->before = g->publishers;
        g->publishers = 0;
        g->publisher = NULL;
    }
    g->publishers += g->publisher != c;
    g->publisher = c;
    return g->before >= WORTH_MIN;
}

static bool has_plain_offsets(const beck_bus *bus)
{
    return bus->partition_count == 1 && atomic_load(&bus->dedup_window_ms) == 0 &&
           bus->options.storage == BECK_STORAGE_DISK;
}

bool gather_publish(struct gathers *all, beck_bus *bus, const struct gathered *what)
{
    const struct http_connection *c = what->request->connection;
    struct net_loop *loop = connection_loop(c->net);
    struct gather *g = gather_of(all, loop);
    if (!g || !is_worth_it(g, c) || !has_plain_offsets(bus))
        return false;
    if (g->count > 0 && (g->bus != bus || g->count == GATHERED_MAX))
        publish_all(g);
    g->bus = bus;
    g->events[g->count] = *what->event;
    g->what[g->count++] = *what;
    http_later(what->request);
    if (!g->posted)
        net_post(loop, &g->task);
    g->posted = true;
    return true;
}
