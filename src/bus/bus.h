/*
 * A bus: partitions, and who gets what is published to them.
 *
 * A publish checks the events, adds what follows from the event being handled, appends (unless it
 * is a memory bus that nothing is routed from), and calls the listeners on the publisher's thread.
 * Routes are opaque here: the queue layer gives a routing and gets each routed event back with its
 * offset.
 *
 * Topology: a route is added or removed with every partition paused, and moves `topology`; an
 * append made under an older topology is refused by the partition (PARTITION_STALE) and routed
 * again. So each offset has been routed by exactly the routes that were there when it was assigned.
 */
#ifndef BECK_BUS_BUS_H
#define BECK_BUS_BUS_H

#include "bus/subscribers.h"
#include "log/checkpoint.h"
#include "log/partition.h"

#define BUS_PARTITIONS_MAX 10000

struct remote;
struct queue;

struct bus_routing {
    /* Room for `count` more events with so many bytes of data, or none: BECK_ELIMIT refuses the
     * publish. Each that was admitted comes back through routed, with offset -1 if it was not
     * stored. Takes as many references. */
    beck_status (*admit)(void *route, size_t count, size_t bytes, beck_error *err);
    partition_routed_fn routed;
    void *ctx;
    /* Of routes that events are addressed to: what names them in records, and giving a reference
     * back. */
    uint64_t (*number)(const void *route);
    void (*release)(void *route);
};

/* Who gets an event besides those that the bus's own bindings give it to, and what is kept beside
 * it. All is borrowed until the call returns; the caller holds references on the queues. */
struct bus_addressed {
    struct queue *const
        *queues;        /* each once, joined to the bus (handle_join): others do not keep it */
    size_t queue_count; /* on disk at most CARRIED_QUEUES_MAX */
    beck_bytes content; /* at most CARRIED_CONTENT_MAX; may be empty */
    bool routed;        /* by the router: the record says so also where there is no queue */
};

/* The queues that the router gives an event. */
struct bus_router_out {
    struct queue **queues; /* each with a reference, which the bus gives back */
    size_t count, cap;
};
beck_status bus_router_add(struct bus_router_out *out, struct queue *q); /* or BECK_ENOMEM */
/* Asked for every event that is published to the bus by bus_publish (C, HTTP), before it is
 * stored; adds to `out`, which may hold the queues of earlier events. Called on the publisher's
 * thread without locks. An error refuses the publish. */
typedef beck_status (*bus_router_fn)(void *ctx, beck_bus *b, const beck_event *e,
                                     struct bus_router_out *out, beck_error *err);

struct beck_bus {
    const struct env *env;
    struct callers *callers;
    struct bus_routing routing;
    char *name;
    size_t name_len;
    char *source;  /* "/<name>" */
    bool internal; /* the library's own */
    bool special;  /* publishes are not for bus_publish: internal, or a server's */
    /* On disk: offsets may be missing without anything being wrong, since it was imported, was compacted once, or was made
     * by a version that did not write down that it was neither. With admin_lock. */
    bool gaps;
    /* Its record does not say whether they may: how far it has been found that there are none (api/whole.c). With
     * upkeep_lock. */
    bool unsure;
    uint32_t sure_partitions;
    int64_t sure_offset; /* of the next one */
    /* A server's (src/remote): of the rest only name, env and callers are used. NULL: ours. */
    struct remote *remote;
    beck_bus_options options; /* storage and read_synced; the others change: bus_options_get */
    _Atomic(int) level;
    _Atomic(int64_t) dedup_window_ms;
    uint8_t id[16];
    struct subscribers *subscribers;
    /* Both only grow: read the count first, once; bus_partition. */
    struct partition **_Atomic partitions;
    _Atomic(uint32_t) partition_count;
    /* Those that are open, and will be seen or not; arrays in whose place a larger one came. With the locks of
     * a change. */
    uint32_t opened_count;
    struct partition ***outgrown;
    size_t outgrown_count;
    _Atomic(uint64_t) topology;
    _Atomic(uint32_t) route_count;  /* by patterns */
    _Atomic(uint32_t) joined_count; /* that get events by address */
    _Atomic(struct bus_router *) router;
    /* How many things keep a publish from the short way, on which listeners are called and that is
     * all: storage on disk, a route, a router, being deleted ... */
    _Atomic(uint32_t) detours;
    _Atomic(uint32_t) turn; /* of events without a subject */
    _Atomic(bool) closed;
    _Atomic(bool) published; /* events were published to it since it was opened, and stored */
    struct counter *listener_failures;
    uint32_t types_counted; /* with a counter of their own; with the lock of the subscribers */
};

/* One below a partition_count that was read. */
static inline struct partition *bus_partition(const beck_bus *b, uint32_t number)
{
    struct partition **list = atomic_load_explicit(&b->partitions, memory_order_acquire);
    return list[number];
}

/* Fills in the defaults and checks the ranges. */
beck_status bus_options_check(beck_bus_options *o, bool has_disk, beck_error *err);
/* The first member of beck.h in which they differ; NULL: they are equal. */
const char *bus_options_difference(const beck_bus_options *a, const beck_bus_options *b);
bool bus_options_equal(const beck_bus_options *a, const beck_bus_options *b);
/* internal: names of beck's own may be. */
beck_status bus_name_check(const char *what, const char *name, bool internal, beck_error *err);

/* options: checked. Opens or makes the partitions under data_dir; the checkpoints say where to
 * recover from. id: 16 bytes; NULL: what its directory says, else fresh ones. */
beck_status bus_open(const struct env *env, struct callers *callers,
                     const struct bus_routing *routing, const char *data_dir, const char *name,
                     const beck_bus_options *options, const uint8_t *id,
                     const struct checkpoint *recovery, const struct checkpoint *log_start,
                     beck_bus **out, beck_error *err);
/* Closes the partitions (first error), frees. */
beck_status bus_close(beck_bus *b, beck_error *err);
/* It was deleted: publishes and reads say so from now on. */
void bus_mark_closed(beck_bus *b);
/* Closes without writing, marks the bus closed and keeps only what calls need in order to say so;
 * bus_close frees the rest. */
void bus_abandon(beck_bus *b);
/* What it counted is shown no more; it may go on counting. */
void bus_remove_metrics(beck_bus *b);

beck_status bus_publish(beck_bus *b, const beck_event *events, size_t count,
                        const beck_publish_options *options, beck_published *out, beck_error *err);

/* As bus_publish; besides whom the bus's own bindings give it to, event i goes to the queues of
 * to[i]. The router is not asked. A queue that refuses (overflow refuse) refuses the whole call
 * with BECK_ELIMIT: it may be published one by one then. */
beck_status bus_publish_addressed(beck_bus *b, const beck_event *events,
                                  const struct bus_addressed *to, size_t count,
                                  const beck_publish_options *options, beck_published *out,
                                  beck_error *err);
/* Appends a batch as a producer sent it (partition_produce). It is opened only when somebody reads events
 * here: listeners, routes, joined queues, a router, deduplication; routes and generation of `what` are set here. Listeners are
 * called on this thread once it is stored (synced, when the call waits for that), of a transaction not before it is committed. BECK_EINVAL: there is no
 * such partition, or a record cannot be an event; nothing was stored then. */
beck_status bus_produce(beck_bus *b, uint32_t partition, struct produce *what, beck_error *err);
/* Calls the listeners, on this thread, for what partition_end_transaction committed there. Reads files. */
void bus_call_committed(beck_bus *b, uint32_t partition, const struct transaction_end *e);
static inline void bus_note_published(beck_bus *b)
{
    if (!atomic_load_explicit(&b->published, memory_order_relaxed))
        atomic_store_explicit(&b->published, true, memory_order_relaxed);
}
/* Whether its records are events for somebody here: they were published as such since it was opened, or are
 * opened as they come. Else it has only what bus_produce stored. */
bool bus_has_events(const beck_bus *b);
/* 16 bytes given to it when it was made, also in partition.metadata: Kafka's topic id. A bus made again under its
 * name gets other ones. */
const uint8_t *bus_id(const beck_bus *b);
/* As they are now. */
void bus_options_get(const beck_bus *b, beck_bus_options *out);
/* partition_check_damage of its partitions. */
beck_status bus_check_damage(const beck_bus *b, beck_error *err);
/* Whether any of its partitions does (partition_reaches). */
bool bus_reaches(const beck_bus *b, const beck_from *from);
/* Opens partitions beyond those there are, `count` together, which nobody sees before bus_alter; those opened by
 * an earlier call stay. One change at a time. */
beck_status bus_open_more(beck_bus *b, const char *data_dir, uint32_t count, beck_error *err);
/* Puts options in force (checked, and different in what may change only), with so many partitions, which are open. One change at a
 * time, and none is maintained. An error says what is not in force before the bus is opened again. */
beck_status bus_alter(beck_bus *b, const beck_bus_options *options, beck_error *err);
/* fn NULL: none. Once it returns the earlier one is not running any more: so not from within a
 * listener or a router, nor with a lock that a router takes. BECK_ENOMEM. */
beck_status bus_set_router(beck_bus *b, bus_router_fn fn, void *ctx, beck_error *err);

/* The same for one event without options, with fewer detours. */
beck_status bus_publish_one(beck_bus *b, const beck_event *event, beck_error *err);
/* Brings the metric of published events up to date. */
void bus_count_published(beck_bus *b);
/* Correlation and causation follow from the event that this thread is handling, if any. */
void bus_add_context(const beck_bus *b, struct caller *self, beck_event *e);

/* Routes, with a function that runs while all partitions are paused (positions are exact there). */
beck_status bus_add_route(beck_bus *b, beck_bytes pattern, void *route, void (*paused)(void *ctx),
                          void *ctx, beck_error *err);
void bus_remove_route(beck_bus *b, beck_bytes pattern, void *route);
/* The same for what gets events by address only. */
void bus_join(beck_bus *b, void (*paused)(void *ctx), void *ctx);
void bus_part(beck_bus *b);
void bus_pause(beck_bus *b);
void bus_resume(beck_bus *b);

/* Kafka's partition of a key (murmur2), so that its clients and beck agree. */
uint32_t bus_partition_of(beck_bytes key, uint32_t partitions);

#endif
