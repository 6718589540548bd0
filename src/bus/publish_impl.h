/* The inside of publishing, shared by publish.c and produce.c only. */
#ifndef BECK_BUS_PUBLISH_IMPL_H
#define BECK_BUS_PUBLISH_IMPL_H

#include "bus/addressing.h"

#define PUBLISH_EVENTS_MAX 1000000 /* of one publish */
#define PUBLISH_ON_STACK 8

/* One publish, while it runs. Small ones live on the stack whole. */
struct publish {
    beck_bus *bus;
    const beck_publish_options *options;
    beck_level level;
    struct caller *self;
    size_t count;
    const beck_event *given; /* the caller's */
    beck_event *events;      /* copies with what is added; NULL where nothing is */
    const beck_event **list; /* those of one partition */
    uint32_t *partition;     /* of each event */
    struct stored *stored;
    struct routed *routes; /* of one partition's events */
    size_t route_count, route_cap;
    bool one_by_one; /* some may turn out to be known: no two of them are routed as one */
    bool one_type;   /* all are known to have the same type */
    bool several;    /* partitions */
    struct addressing addressing;
    const struct bus_addressed *to; /* as in there, of one partition's events */
    const struct carried *carried;
    void *memory; /* of the arrays, when they are not those below */
    beck_event stack_events[PUBLISH_ON_STACK];
    const beck_event *stack_list[PUBLISH_ON_STACK];
    uint32_t stack_partition[PUBLISH_ON_STACK];
    struct stored stack_stored[PUBLISH_ON_STACK];
    struct routed stack_routes[PUBLISH_ON_STACK];
    char id[300]; /* of the current event where it has none, as its effects' cause */
};

/* Frees `memory` and the routes. */
void publish_end(struct publish *u);
/* Routes the first `count` of the list, which are admitted then; those that are known (NULL: none) are left
 * out. */
beck_status publish_route(struct publish *u, size_t count, const struct stored *known,
                          beck_error *err);
/* Gives back what was admitted for events that were not appended. */
void publish_drop_routes(struct publish *u, struct partition *p);
/* Calls the listeners of an event that is stored; returns how many failed, and reports those that could not be
 * found. */
uint32_t publish_call_stored(beck_bus *b, struct caller *self, const beck_event *e);

#endif
