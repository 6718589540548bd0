/*
 * Whom events are addressed to while they are published: the queues that the caller or the bus's
 * router found, and what the records carry of them. One publish on one thread.
 */
#ifndef BECK_BUS_ADDRESSING_H
#define BECK_BUS_ADDRESSING_H

#include "bus/bus.h"

struct bus_router {
    bus_router_fn fn;
    void *ctx;
};

struct addressing {
    const struct bus_addressed *to; /* one per event; NULL: nobody is addressed */
    const struct carried *carried;  /* one per event; NULL: nothing is carried */
    struct carried *memory;         /* behind them the numbers */
    struct bus_addressed *found;    /* by the router */
    struct bus_router_out out;
    struct carried *part_carried; /* of one partition's events */
    struct bus_addressed *part_to;
    size_t count;
    void **merged; /* routes of a run, see addressing_routes */
    size_t merged_cap;
};

/* to NULL: the router is asked, if there is one. BECK_ELIMIT: more queues or content than a
 * record carries. Released also after an error. */
beck_status addressing_init(struct addressing *a, beck_bus *b, struct caller *self,
                            const beck_event *events, const struct bus_addressed *to, size_t count,
                            beck_error *err);
void addressing_release(struct addressing *a, const beck_bus *b);

/* Those of `n` events, which are those with these indices (NULL: all of them). Valid until the
 * next call. BECK_ENOMEM. */
beck_status addressing_part(struct addressing *a, const size_t *index, size_t n,
                            const struct bus_addressed **to, const struct carried **carried,
                            beck_error *err);

static inline bool addressing_same(const struct bus_addressed *a, const struct bus_addressed *b)
{
    return a->queue_count == b->queue_count &&
           (a->queue_count == 0 || a->queues == b->queues ||
            memcmp(a->queues, b->queues, a->queue_count * sizeof *a->queues) == 0);
}

/* The routes of a match (NULL: none), and behind them those that are addressed besides. Valid
 * until the next call. BECK_ENOMEM. */
beck_status addressing_routes(struct addressing *a, const struct match *m,
                              const struct bus_addressed *to, void *const **out, size_t *count);

#endif
