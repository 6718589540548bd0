/*
 * A dispatcher hands the ready messages of one queue of the engine to its subscribers: message by message in
 * turn among those of the highest priority that can take one. Who can: its connection has room, and it holds
 * less than its prefetch, and its channel less than the shared limit.
 *
 * Nobody has a thread of its own. A subscriber's thread calls its pump, which takes a batch from the engine,
 * puts each message into the mailbox of the subscriber whose turn it is, wakes those, and delivers what is in
 * its own mailbox. While nothing is ready, the queue is watched for one subscriber, the one whose turn is next:
 * it is woken by an arrival and pumps for all. So always, when the lock is free and a message may be ready, one
 * that can take it has been woken or is at work.
 *
 * Order: a message leaves the engine in the engine's order and a mailbox is in order. What goes back goes to
 * its original place.
 *
 * Threads: any. dispatcher.lock is held while the engine takes and settles, which may write, and bury dead
 * letters; not while messages are delivered. Neither of topology_lock, partition.lock, queue.lock is held by a
 * caller. Callbacks `wake` and `cancelled` are called with it held.
 */
#ifndef BECK_BROKER_DISPATCH_H
#define BECK_BROKER_DISPATCH_H

#include "broker/broker.h"
#include "queue/queue.h"

/* What every subscriber begins with: there are those of queues, of streams, and of replies. */
struct subscriber_kind {
    size_t (*pump)(struct subscriber *c, size_t max,
                   bool (*deliver)(void *ctx, const struct handed *m), void *ctx);
    void (*ready)(struct subscriber *c, bool ready);
    void (*close)(struct subscriber *c); /* frees it */
};
struct subscriber {
    const struct subscriber_kind *kind;
    /* The rest is consume.c's. */
    struct broker_queue *queue; /* a reference; NULL: none */
    struct delivery_home *home;
    struct subscriber *next, **at; /* of the session; with home.lock */
};

struct dispatcher;
struct dispatcher_options {
    struct queue *queue;        /* retained */
    struct broker_queue *owner; /* borrowed: goes into `handed` */
    bool single_active;
    bool durable;
    bool counts; /* what is requeued counts as an attempt, and deliveries tell it (quorum queues) */
    /* Nothing can be had of the engine's queue now although it has something, or it was deleted: it is to be
     * looked at, and dispatcher_poke called in a while. With the lock held. NULL: nobody listens. */
    void (*stalled)(void *ctx, struct dispatcher *d);
    void *ctx;
};
beck_status dispatcher_new(const struct dispatcher_options *o, struct dispatcher **out,
                           beck_error *err);
/* How long what goes back is held back where that counts; at first not at all. */
struct dispatch_delays {
    struct return_delay failed, returned;
};
void dispatcher_delay(struct dispatcher *d, const struct dispatch_delays *delays);
/* There are no subscribers. What is held goes back to the queue. */
void dispatcher_free(struct dispatcher *d);
/* The queue is gone: all subscribers are cancelled, nothing is handed out any more. */
void dispatcher_end(struct dispatcher *d);
/* What was stalled is tried again. */
void dispatcher_poke(struct dispatcher *d);
uint32_t dispatcher_subscribers(const struct dispatcher *d); /* takes no lock */
int64_t dispatcher_unacked(const struct dispatcher *d);      /* the same */
/* The tag of the only one that gets messages, cut to `size` bytes: the active one where one alone is, or one
 * that is exclusive (*single false). False: there is none. */
bool dispatcher_chosen(struct dispatcher *d, char *tag, size_t size, size_t *len, bool *single);

enum dispatch_refusal { DISPATCH_OK, DISPATCH_EXCLUSIVE, DISPATCH_GONE, DISPATCH_NO_MEMORY };
/* Of the options, queue and arguments are not looked at; the tag stays valid as long as the subscriber. */
enum dispatch_refusal dispatcher_subscribe(struct dispatcher *d, const struct subscriber_options *o,
                                           int32_t priority, struct subscriber **out);

/* One message for nobody in particular; it is held until it is settled with a NULL subscriber. */
beck_status dispatcher_get(struct dispatcher *d, struct handed *out, bool *got, struct buf *scratch,
                           beck_error *err);
/* It stays held, and is looked at no more. */
void dispatcher_forget(struct dispatcher *d, uint64_t tag);
void dispatcher_settle(struct dispatcher *d, const uint64_t *tags,
                       struct subscriber *const *subscribers, size_t count, enum settlement how);
void dispatcher_return_lost(struct dispatcher *d, const uint64_t *tags, size_t count);

#endif
