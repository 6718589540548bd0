/* A bus on the simulated disk; queues are played by the test. For the tests that include it. */
#ifndef TESTS_BUS_WORLD_H
#define TESTS_BUS_WORLD_H

#include "bus/bus.h"

#include "log/committer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define OFFSETS 20000

/* A route: what it admitted, and what came back. */
struct route {
    _Atomic(int64_t) admitted, returned; /* returned: with offset -1 */
    _Atomic(int) got[OFFSETS];           /* by offset, all partitions together */
    _Atomic(int64_t) room;               /* what it still admits */
    _Atomic(int64_t) bytes;              /* of data, admitted */
    _Atomic(int) released;
};

struct world {
    struct env env;
    struct vfs *vfs;
    struct callers *callers;
    struct bus_routing routing;
    beck_bus *bus;
};

static inline beck_status admit(void *route, size_t count, size_t bytes, beck_error *err)
{
    struct route *r = route;
    if (atomic_fetch_sub(&r->room, (int64_t)count) < (int64_t)count) {
        atomic_fetch_add(&r->room, (int64_t)count);
        return error_set(err, BECK_ELIMIT, "no room");
    }
    atomic_fetch_add(&r->admitted, (int64_t)count);
    atomic_fetch_add(&r->bytes, (int64_t)bytes);
    return BECK_OK;
}

static inline void routed(void *ctx, struct partition *p, const struct routed *items, size_t count)
{
    (void)ctx;
    for (size_t i = 0; i < count; i++) {
        struct route *r = items[i].route;
        if (items[i].offset < 0) {
            atomic_fetch_add(&r->returned, items[i].count);
            continue;
        }
        for (int64_t at = items[i].offset; at < items[i].offset + items[i].count; at++) {
            atomic_fetch_add(&r->got[at], 1);
            if (partition_is_memory(p))
                partition_disown(p, &at, 1);
        }
    }
}

static inline uint64_t number_of(const void *route)
{
    return (uint64_t)(uintptr_t)route;
}

static inline void release(void *route)
{
    struct route *r = route;
    atomic_fetch_add(&r->released, 1);
}

static inline void ignore_report(void *ctx, const beck_error *e)
{
    (void)ctx;
    (void)e;
}

static inline void world_open(struct world *w, const beck_bus_options *options)
{
    beck_bus_options o = *options;
    memset(w, 0, sizeof *w);
    w->vfs = vfs_sim_new(1);
    w->env = (struct env){.vfs = w->vfs, .clock = clock_system(), .report = ignore_report};
    assert_int_equal(vfs_mkdir(w->vfs, "data", NULL), 0);
    assert_int_equal(committer_new(0, NULL, &w->env.committer, NULL), 0);
    assert_int_equal(committer_reserve(w->env.committer, 16, NULL), 0);
    assert_int_equal(callers_new(&w->callers, NULL), 0);
    w->routing = (struct bus_routing){
        .admit = admit, .routed = routed, .number = number_of, .release = release};
    struct checkpoint none;
    checkpoint_init(&none);
    assert_int_equal(bus_options_check(&o, true, NULL), 0);
    assert_int_equal(bus_open(&w->env, w->callers, &w->routing, "data", "shop", &o, NULL, &none,
                              &none, &w->bus, NULL),
                     0);
}

static inline void world_close(struct world *w)
{
    assert_int_equal(bus_close(w->bus, NULL), 0);
    callers_free(w->callers);
    committer_free(w->env.committer);
    vfs_sim_free(w->vfs);
}

static inline struct route *route_new(int64_t room)
{
    struct route *r = calloc(1, sizeof *r);
    r->room = room;
    return r;
}

static inline struct queue *as_queue(struct route *r)
{
    return (struct queue *)r;
}

#endif
