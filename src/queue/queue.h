/*
 * Queues: durable named subscriptions with competing consumers. Semantics in beck.h; here is how
 * they are made.
 *
 * A queue holds entries (where an event is), never events. An entry is in exactly one place:
 *
 *     routed -> fifo (ready, in order) -> in flight (a consumer's slot) -> gone (settled)
 *         \-> schedule (delayed)           \-> returns (ready again, at the old place)
 *                                          \-> schedule (retried later)
 *                                          \-> limbo -> dead letters
 *
 * fifo and schedule may be huge and lie on disk; returns, slots and limbo are bounded by what
 * consumers hold. The next delivery is the least seq of the fifo's head and the returns' top: so a
 * redelivery comes at its original place.
 *
 * What must last is in the log of all queues (bus __queue_state): operations (settled, retried,
 * redriven ...) as they happen, and now and then a snapshot of everything but the fifo's content.
 * Opening = last snapshot + operations since + routing what the buses got since. Fifo files are
 * derived: lost, they are routed again.
 *
 * Threads: any. queue.lock guards a queue; it is not held while events are read, dead letters are
 * appended or operations are written.
 */
#ifndef BECK_QUEUE_QUEUE_H
#define BECK_QUEUE_QUEUE_H

#include "base/thread.h"
#include "base/timers.h"
#include "bus/bus.h"

#define QUEUE_SOURCES_MAX 65535
#define QUEUE_PREFETCH_MAX 65536

struct queue;

/* A place of each queue for whoever looks after them, who retains the queue while it is set. */
struct queue_due {
    struct timer timer; /* its first member */
    struct queue *queue;
};

/* What all queues of a handle share. */
struct queue_home {
    const struct env *env;
    struct callers *callers;
    const char *data_dir; /* NULL: memory only */
    beck_bus *state;      /* __queue_state; NULL without a data directory */
    beck_bus *dead;       /* __dead_letters, on disk or in memory */
    struct mutex lock;    /* of the list of consumers; nothing is locked with it held */
    beck_consumer *consumers;
    uint64_t consumers_made;
    /* Tells whoever looks after queues that this one must be looked at (queue_tick) by then, on the
     * monotonic clock; INT64_MAX: it is deleted. Called with queue.lock held; may be NULL. */
    void (*due)(void *ctx, struct queue_due *d, int64_t mono_ns);
    void *due_ctx;
};

/* Why the state of queues on disk is not known: its log is damaged (partition_damage). NULL: it is. Where it is not, such
 * queues are there with their bindings, list nothing of what is published, write nothing, and are not to be used
 * (queue_check_known: BECK_ECORRUPT); an opening after the repair goes on where they were. */
const char *queues_damage(const struct queue_home *home);
beck_status queue_check_known(const struct queue *q, beck_error *err);

beck_status queue_options_check(beck_queue_options *o, bool has_disk, beck_error *err);
/* The first member of beck.h in which they differ; NULL: they are equal. */
const char *queue_options_difference(const beck_queue_options *a, const beck_queue_options *b);
bool queue_options_equal(const beck_queue_options *a, const beck_queue_options *b);

/* The routing that buses are opened with; ctx is the home. */
beck_status queue_admit(void *route, size_t count, size_t bytes, beck_error *err);
uint64_t queue_route_number(const void *route);
void queue_route_release(void *route);
void queue_routed(void *ctx, struct partition *p, const struct routed *items, size_t count);

/* One reference, the caller's. Empty, without bindings. */
beck_status queue_new(struct queue_home *home, const char *name, const beck_queue_options *options,
                      struct queue **out, beck_error *err);
struct queue *queue_retain(struct queue *q);
void queue_release(struct queue *q);
const char *queue_name(const struct queue *q);
/* Random, never 0; names it in records (log/record.h) for ever. That of a durable queue is kept
 * in __topology. */
uint64_t queue_number(const struct queue *q);
/* When it is loaded, before anybody uses it. */
void queue_set_number(struct queue *q, uint64_t number);
bool queue_number_is_kept(struct queue *q);
void queue_keep_number(struct queue *q); /* it has been written down */
/* What the rules say of the lifetime of events (struct queue_rules). It is kept in __topology, as recovery lists
 * events before anybody sets rules again: theirs begins anew then. -1: the options say it. With admin_lock, or when
 * the queue is loaded. */
int64_t queue_lifetime(const struct queue *q);
void queue_set_lifetime(struct queue *q, int64_t ms);
/* Consumers get BECK_ECLOSED from now on, files are removed; memory goes with the last reference.
 * Its bindings have been removed. */
void queue_delete(struct queue *q);
/* Lets go of all that the queue holds, without a word in the log: before queue_delete. */
void queue_purge_memory(struct queue *q);

/* ---- bindings. admin_lock is held by the caller for all of these ---- */

/* first: one offset per partition. Events from there on that the queue does not hold yet come
 * first, then those published from now on. known: it was bound before this open (nothing is routed
 * yet; queue_recover does). */
beck_status queue_bind(struct queue *q, beck_bus *bus, const char *pattern, const int64_t *first,
                       bool known, beck_error *err);
bool queue_has_binding(struct queue *q, const char *bus, const char *pattern);
bool queue_is_bound_to(const struct queue *q, const beck_bus *bus);
/* The bus is about to go: what the queue still holds of it cannot be delivered any more. True: it
 * was a source, and a snapshot must say so before another bus gets that name. */
bool queue_bus_deleted(struct queue *q, const beck_bus *bus);
/* Forgets what is ready or delayed of events below `ends`, one per partition. */
beck_status queue_bus_purged(struct queue *q, const beck_bus *bus, const int64_t *ends,
                             beck_error *err);
/* Partitions that the bus it is bound to will show next, up to `count` together: empty ones, from whose first event on
 * it gets what matches. */
beck_status queue_add_partitions(struct queue *q, beck_bus *bus, uint32_t count, beck_error *err);
beck_status queue_unbind(struct queue *q, beck_bus *bus, const char *pattern, beck_error *err);
beck_status queue_each_binding(struct queue *q, int (*each)(void *ctx, const beck_binding *binding),
                               void *ctx);
uint32_t queue_binding_count(struct queue *q);
/* The bus "<queue>.replay" has copies for this queue alone, of events that it may be bound to already. */
bool queue_is_copies(const struct queue *q, const beck_bus *bus);
/* Whether any partition that would be rewound does (partition_reaches). */
bool queue_reaches(struct queue *q, const beck_from *from);
/* Resolves `from` in every bound partition, forgets what the queue holds and fills it again. Copies are only
 * forgotten. BECK_ERANGE: it lies behind the end of all. */
beck_status queue_rewind(struct queue *q, const beck_from *from, beck_error *err);
beck_status queue_purge(struct queue *q, int64_t *purged, beck_error *err);
/* The same for single partitions of a bus that it is bound to: to[i] is the offset from which on
 * the queue gets partition i again, -1: it stays as it is, and so do those from `count` on. What
 * consumers hold of it is theirs no more. With admin_lock; the caller has written down where the
 * bindings begin. */
beck_status queue_move(struct queue *q, const beck_bus *bus, const int64_t *to, uint32_t count,
                       beck_error *err);
/* Where a binding begins, one offset per partition; unchanged if there is none. With admin_lock. */
void queue_get_first(struct queue *q, const beck_bus *bus, const char *pattern, int64_t *first);
/* How far a queue has come with a partition of a bus. */
struct queue_progress {
    int64_t first; /* everything below has been settled or given up, or was never the queue's */
    int64_t owed;  /* events that are still to be settled, as far as they have been routed */
};
/* Of the first `count` partitions of the bus. Looks through the whole list, which may lie in files. */
beck_status queue_get_progress(struct queue *q, const beck_bus *bus, struct queue_progress *out,
                               uint32_t count, beck_error *err);
void queue_pause(struct queue *q, bool paused);
/* Sources that could not take an event (disk full) are routed again from the log. */
void queue_catch_up(struct queue *q);

/* ---- rules that may change while the queue lives ---- */

/* Not written down, but for a lifetime (queue_set_lifetime): whoever sets them sets them again after opening. They begin as the
 * options say. */
struct queue_rules {
    int64_t
        ttl_ms; /* of what comes from now on; -1: none. 0: it expires unless somebody who waits takes it at once */
    int64_t length_max; /* ready events; 0: no limit; negative: with REFUSE nothing is taken */
    int64_t bytes_max;  /* data of ready events; the same */
    beck_overflow overflow;
    uint32_t attempts_max; /* 0: no limit */
    int64_t deadline_ms;   /* -1: never */
};
void queue_set_rules(struct queue *q, const struct queue_rules *r);
void queue_get_rules(struct queue *q, struct queue_rules *out);
void queue_reset_rules(struct queue *q); /* they are as the options say again */
/* Whether the options, which queue_options_check took, may take the place of those that are in force: not
 * storage and priority_max; nor, while rules are set, what these rule. */
beck_status queue_check_alter(struct queue *q, const beck_queue_options *o, beck_error *err);
/* Puts them in force. With admin_lock; the caller has written them down. */
void queue_alter(struct queue *q, const beck_queue_options *o);
/* Of queues whose rules were set: somebody who has room is about to take, so that an event whose
 * time ends when it comes is kept for a moment. So it is anyway while somebody waits in
 * consumer_take or by a queue_watch. */
void queue_expect(struct queue *q, bool expected);

/* Takes the place of the dead letters: called with what leaves because of "rejected", "expired",
 * "maxlen", "attempts" or "delivery_limit". BECK_OK: it is put away, and gone from the queue; an
 * error: it stays, and is given again later; BECK_EBUSY with *note set: it waits, and is given again,
 * with that note, once queue_bury_again was called. Those behind it go on meanwhile, but only a few are under
 * way at a time; BECK_ELIMIT with *note set: the same, but it is not under way, and the others do not wait for it. *note is 0 at
 * first; what waits when another function is set begins anew, and so does, when a durable queue is
 * recovered, what was rejected. No lock is held, and the thread is in no publish of its own; but it
 * may be one of a consumer or the timer, which must not wait for a sync. One call at a time per queue.
 * It must not wait for anybody who uses this queue. `attempts`: failed ones, with the last. What is
 * passed is valid during the call. */
typedef beck_status (*queue_bury_fn)(void *ctx, struct queue *q, const beck_event *e,
                                     const struct carried *c, const char *reason, uint32_t attempts,
                                     uint64_t *note, beck_error *err);
/* Gives those that wait again, the oldest, and some of those that could not be put away the last time, in turn. False:
 * something failed, it is to be called later. Waits for whoever is burying. */
bool queue_bury_again(struct queue *q);
/* fn NULL: dead letters, as before. Once it returns the earlier one is not running any more. */
void queue_set_bury(struct queue *q, queue_bury_fn fn, void *ctx);
/* Nothing expires, is dropped or put away before somebody said what becomes of it (queue_set_bury)
 * or takes from the queue (consumer_open); of queues with dead letters of their own, which no function
 * buries, it changes nothing. A queue whose snapshot says that a function buried is held when it is
 * recovered. */
void queue_hold(struct queue *q, bool held);

/* ---- state ---- */

int64_t queue_ready_count(struct queue *q);
/* Data of what is ready or delayed, without dead letters that were put back. Exact as long as no
 * bus is purged and no file of the queue damaged (then by the average, until it is empty), with
 * a moment's delay after taking. */
int64_t queue_ready_bytes(struct queue *q);

void queue_info(struct queue *q, beck_queue_info *out);
/* beck_queue_waiting. */
#define WAITING_LISTED_MAX 10000
beck_status queue_waiting(struct queue *q, beck_waiting_kind kind, size_t from, size_t max,
                          int (*each)(void *ctx, const beck_waiting *waiting), void *ctx,
                          beck_error *err);
beck_status queue_peek(struct queue *q, size_t max, int (*each)(void *ctx, const beck_event *event),
                       void *ctx, beck_error *err);
/* What time brings: due events, deadlines, expiry; dead letters that are waiting to be written.
 * Called by the timer and by everything that touches the queue. */
void queue_tick(struct queue *q);
/* Writes a snapshot (level written); everything it refers to is synced first. */
beck_status queue_snapshot(struct queue *q, beck_error *err);
/* The snapshot is on the device: what only an older one needed goes. */
void queue_snapshot_synced(struct queue *q);
/* The next snapshot is the last: nothing is delivered after it. */
void queue_closing(struct queue *q);
bool queue_is_dirty(struct queue *q);     /* changed since the last snapshot */
int64_t queue_keep_from(struct queue *q); /* the state log is needed from this offset on */
/* Dead letters below are in the last durable snapshot, so only those that are owed
 * (queue_mark_owed) are still needed. */
int64_t queue_dead_keep_from(struct queue *q);
/* Everything below these offsets of a partition has been routed, so a snapshot need not route it
 * again. With the partition paused. */
void queue_note_routed(struct queue *q, struct partition *p, int64_t offset);
/* Marks in `bits` (one per offset from first on) what the queue still owes of a partition. */
void queue_mark_owed(struct queue *q, struct partition *p, int64_t first, int64_t next,
                     uint8_t *bits);

/* Recovery, after queue_new and queue_bind(known) of every queue: reads the state log and the dead
 * letters, routes the rest. find and bus: by name, or NULL. */
beck_status queues_recover(struct queue_home *home,
                           struct queue *(*find)(void *ctx, beck_bytes name),
                           beck_bus *(*bus)(void *ctx, const char *name), void *ctx,
                           struct queue *const *queues, size_t count, beck_error *err);

/* ---- consumers: the functions behind beck.h ---- */

/* What every beck_consumer begins with: there are those of queues here, and those of a server's
 * queues (src/remote). */
struct consumer_base {
    bool remote;
};

beck_status consumer_open(struct queue *q, uint32_t prefetch, beck_consumer **out, beck_error *err);
void consumer_close(beck_consumer *c);
/* Those that are left, when the handle ends. write false: as if the process had been killed. */
void consumers_close(struct queue_home *home, bool write);
void consumer_wake(beck_consumer *c);
beck_status consumer_take(beck_consumer *c, beck_delivery *out, size_t max, int64_t timeout_ms,
                          size_t *count, beck_error *err);
beck_status consumer_settle(beck_consumer *c, const uint64_t *tags, size_t count, beck_error *err);
beck_status consumer_retry(beck_consumer *c, uint64_t tag, int64_t delay_ms, const char *why,
                           beck_error *err);
beck_status consumer_return(beck_consumer *c, uint64_t tag, beck_error *err);
/* Gives many back, at their places; those that are not held any more are passed over. counts: as
 * an attempt of each, which is written down before they go back; the last that attempts_max allows
 * makes it leave with the reason "delivery_limit". After an error some may have gone back, the others are held as before. */
beck_status consumer_return_many(beck_consumer *c, const uint64_t *tags, size_t count, bool counts,
                                 beck_error *err);
/* The same, ready again after min_ms for each failed attempt, at most max_ms; min_ms 0: at once. */
struct return_delay {
    int64_t min_ms, max_ms;
};
beck_status consumer_return_later(beck_consumer *c, const uint64_t *tags, size_t count, bool counts,
                                  const struct return_delay *delay, beck_error *err);
beck_status consumer_reject(beck_consumer *c, uint64_t tag, const char *why, beck_error *err);
/* As consumer_reject; those that are not held any more are passed over. After an error some may
 * have gone. */
beck_status consumer_reject_many(beck_consumer *c, const uint64_t *tags, size_t count,
                                 const char *why, beck_error *err);
/* What a delivery that is held carries beside its event (empty: nothing), valid until it is
 * settled; and the block that its data lies in, or NULL. On the consumer's thread. */
beck_bytes consumer_carried(beck_consumer *c, uint64_t tag);
struct block *consumer_block(beck_consumer *c, uint64_t tag);
/* The events of these deliveries, which stay held, are not looked at any more: their memory is
 * given back. On the consumer's thread. */
void consumer_forget(beck_consumer *c, const uint64_t *tags, size_t count);
beck_status consumer_extend(beck_consumer *c, uint64_t tag, beck_error *err);

/* Waiting without a thread: `fn` is called once, when consumer_take may give something or the
 * queue is gone; one watch is called per event that comes, the one that waits longest first. It is
 * called with queue.lock held, from the thread that made it so: it must only take a note. Whoever
 * was called and takes nothing calls queue_pass_on, so that another is told. Belongs to whoever
 * waits; used until it is called or removed. */
struct queue_watch {
    void (*fn)(void *ctx);
    void *ctx;
    struct queue_watch *previous, *next; /* the rest is the queue's */
    bool on;
};
/* False: something may be there already, and fn will not be called. */
bool queue_watch(struct queue *q, struct queue_watch *w);
/* fn is not called any more once this returns. One that was called or never added is no mistake. */
void queue_unwatch(struct queue *q, struct queue_watch *w);
/* Calls the next watch, if something may be there. */
void queue_pass_on(struct queue *q);

/* ---- dead letters ---- */

beck_status dead_list(struct queue *q, size_t max, int (*each)(void *ctx, const beck_dead *dead),
                      void *ctx, beck_error *err);
beck_status dead_redrive(struct queue *q, int64_t offset, int64_t *redriven, beck_error *err);
beck_status dead_purge(struct queue *q, int64_t offset, int64_t *purged, beck_error *err);

/* ---- what happened to events (queue_trace.c) ---- */

/* How one event stands in a queue now. */
struct queue_standing {
    bool known; /* its partition feeds the queue, or did */
    bool bound; /* a binding matches it */
    bool owed;  /* listed, delayed, in flight, or about to become a dead letter */
    bool in_flight;
    uint32_t attempts; /* failed so far; known of what consumers hold */
};
void queue_stand(struct queue *q, const beck_event *event, struct queue_standing *out);

/* Something that was written down about an event: it was settled, or failed and is tried again. */
struct queue_happening {
    struct queue *queue;
    const char *bus; /* of the event; __dead_letters for one that was put back */
    uint32_t partition;
    int64_t offset;
    int64_t at_ms;
    bool settled;
    uint32_t attempts;  /* failed so far; 0 for settled */
    int64_t due_ms;     /* tried again then; 0: at once */
    beck_bytes failure; /* JSON object */
};
/* Calls each for everything of that kind that is kept, in order. Non-zero ends the walk. What is
 * passed is valid during the call. find: a queue by its name, or NULL. */
beck_status queues_each_happening(struct queue_home *home,
                                  struct queue *(*find)(void *ctx, beck_bytes name),
                                  int (*each)(void *ctx, const struct queue_happening *h),
                                  void *ctx, beck_error *err);

/* Calls each for every dead letter that is kept, of all queues, also those that were put back or
 * purged. */
beck_status dead_each_kept(struct queue_home *home,
                           int (*each)(void *ctx, beck_bytes queue, const beck_dead *dead),
                           void *ctx, beck_error *err);

#endif
