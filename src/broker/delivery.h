/*
 * What the files of delivery share: publish.c, route.c, dead_letter.c, consume.c, delay.c, stream.c, reply_to.c.
 *
 * Two buses of the broker's own take what is not kept: `__amqp_transient` on the disk, for durable queues, of
 * little retention; `__amqp_memory` for queues that are not durable. A queue gets events only of buses that it
 * was joined to. That takes time, so whoever publishes on a network loop has it done elsewhere first
 * (publisher_prepare), and the burial of dead letters has the helper do it: a thread that also looks again at
 * queues that could not go on.
 */
#ifndef BECK_BROKER_DELIVERY_H
#define BECK_BROKER_DELIVERY_H

#include "broker/broker_impl.h"
#include "broker/message.h"

#define TEXT_OF(bytes) (int)(bytes).len, (const char *)(bytes).data

struct chore;
struct delay;
struct reply_home;

struct delivery_home {
    struct broker *broker;
    beck_bus *transient,
        *memory; /* the same without a disk. transient: made with the first queue, NULL before */
    _Atomic(beck_bus *) past; /* past_bus */
    struct reply_home *replies;
    struct delay *delay;
    struct mutex lock; /* below dispatcher.lock and topology_lock */
    struct cond wake;
    pthread_t helper;
    struct cond quiet;        /* no burial waits for a sync */
    uint32_t burials_syncing; /* with lock, as the next */
    uint64_t burial_notes;
    bool runs, stopping, delayed_due;
    struct chore *first, **end;
};

/* ---- delivery.c ---- */

/* The helper joins a queue to a bus (NULL: to that of the exchange), then has `waiting` go on. Takes references.
 * No memory: it happens with the next try. */
void helper_join(struct delivery_home *h, struct broker_queue *q, beck_bus *bus, struct exchange *x,
                 struct broker_queue *waiting);
/* The helper looks at what is delayed. */
void helper_look(struct delivery_home *h);
void helper_look_later(struct delivery_home *h);

/* It has the engine's queue bury again what waits: soon, or (later) in a while. */
void helper_bury_again(struct delivery_home *h, struct broker_queue *q, bool later);

/* (slow) Where copies of past messages for single queues are stored. */
beck_status past_bus(struct delivery_home *h, beck_bus **out, beck_error *err);

/* ---- route.c: where a message goes ---- */

enum storage {
    STORE_NOWHERE,
    STORE_KEPT,      /* the exchange's bus */
    STORE_TRANSIENT, /* the transient bus */
    STORE_MEMORY,    /* the memory bus */
    STORE_DELAYED    /* the bus of delayed messages */
};
#define STORES 5

/* Who gets the messages of one exchange and routing key, as of one generation of the topology. */
struct route {
    struct lookup_node node;
    uint32_t refs; /* of one thread */
    struct exchange *exchange;
    beck_bytes key;               /* owned */
    beck_bytes type;              /* of events: the key, the exchange's name, or a text of ours */
    struct broker_queue **queues; /* retained: durable ones, those that are not, streams */
    struct queue **engines;       /* of the first two */
    size_t count, durable_count, engine_count;
    bool fixed;          /* the same for every message of that exchange and key */
    bool delays;         /* it leads to the queue of delayed messages: `queues` is none */
    bool joined[STORES]; /* all engines are, to the bus of that storage */
    bool refusals
        [2]; /* publish.c: what its queues refuse can be dead-lettered at once; of messages that
                            are not persistent, and of those that are */
};

/* With topology_lock for reading. choose (NULL: all) may take some out of what was found. NULL: no memory. */
struct route *route_new(struct delivery_home *h, struct exchange *x, beck_bytes key,
                        const struct properties *p, struct targets *scratch,
                        void (*choose)(void *ctx, struct targets *t), void *ctx);
static inline struct route *route_retain(struct route *r)
{
    r->refs++;
    return r;
}
void route_release(struct route *r); /* NULL allowed */
/* A `choose` of route_new: only that queue, if it is among them. */
void targets_only(void *queue, struct targets *t);
/* What its messages are stored in. */
enum storage route_storage(const struct delivery_home *h, const struct route *r, bool persistent);
/* NULL: it is not made yet. */
beck_bus *route_bus(const struct delivery_home *h, const struct route *r, enum storage storage);
/* (slow) Makes the bus, and joins the queues to it and to the transient one. */
beck_status route_prepare(struct delivery_home *h, const struct route *r, enum storage storage,
                          char *text);

/* ---- publish.c, flush.c ---- */

/* Stores one message at once, written, on any thread. Queues that refuse do not get it (BECK_ELIMIT). */
beck_status route_append(struct delivery_home *h, const struct route *r, beck_bus *bus,
                         const beck_event *e, beck_bytes content, beck_error *err);
/* To the streams of a route. */
beck_status route_append_streams(const struct route *r, const beck_event *e, beck_bytes content,
                                 beck_error *err);
int expiration_read(const struct properties *p, int64_t *ms, char *text); /* -1: none. 0 or 406 */
struct delivery *session_delivery(struct session *s);                     /* NULL: no memory */

/* ---- dead_letter.c ---- */

beck_status bury(void *ctx, struct queue *engine, const beck_event *e, const struct carried *c,
                 const char *reason, uint32_t attempts, uint64_t *note, beck_error *err);
/* A message that q refuses, as if it had been there. Lost where the way is not ready. */
void bury_refused(struct delivery_home *h, struct broker_queue *q, const beck_event *e,
                  beck_bytes content);
/* With topology_lock. Whether the way is ready for what the route's queues refuse (x-overflow
 * reject-publish-dlx); BECK_ENOMEM. */
beck_status refusals_look(struct delivery_home *h, struct route *r);
/* (slow) Makes it so. */
beck_status refusals_prepare(struct delivery_home *h, const struct route *r, bool persistent,
                             char *text);

/* ---- delay.c ---- */

/* The header x-delay: ms; 0: none. */
int64_t delay_of(const struct properties *p);
/* With topology_lock. The route of what is held back. NULL: no memory. */
struct route *delay_route(struct delivery_home *h, struct exchange *x);
/* What goes before what is carried, for those that come back. */
beck_status delay_carry(struct buf *out, const struct vhost *v);
beck_bus *delay_bus(const struct delivery_home *h); /* NULL: not made yet */
/* (slow) Makes the bus and the queue. */
beck_status delay_prepare(struct delivery_home *h, beck_error *err);
/* Those that were there before are held back again. */
beck_status delay_open(struct delivery_home *h, beck_error *err);
/* By the helper: what is due goes on. True: there is more. */
bool delay_work(struct delivery_home *h);
void delay_close(struct delivery_home *h);

/* ---- reply_to.c ---- */

#define REPLY_TO "amq.rabbitmq.reply-to"
beck_status replies_open(struct delivery_home *h, beck_error *err);
void replies_close(struct delivery_home *h);
/* 0, or 406. */
int reply_subscribe(struct delivery_home *h, const struct subscriber_options *o,
                    struct subscriber **out, char *text);
/* Somebody gets what is published with that name, which begins with REPLY_TO and a dot. */
bool reply_exists(struct delivery_home *h, beck_bytes name);

/* ---- stream.c ---- */

beck_status stream_open(struct broker_queue *q, beck_error *err);
void stream_end(struct stream *s);  /* its subscribers are cancelled */
void stream_free(struct stream *s); /* NULL allowed */
uint32_t stream_subscribers(const struct stream *s);
int stream_subscribe(struct broker_queue *q, const struct subscriber_options *o,
                     struct subscriber **out, char *text);
void stream_settle(struct subscriber *const *subscribers, size_t count);

/* ---- past.c: the argument x-beck-from; (slow) ---- */

/* It is one that can be used, if there is one. 0 or 406. */
int past_check(struct session *s, beck_bytes queue_name_, beck_bytes arguments, char *text);
/* The queue gets again what it was given since. Without locks, as the next. */
int past_rewind(struct session *s, struct broker_queue *q, beck_bytes arguments, char *text);
/* What was published to the exchange's partition in that range, and routed by nobody, goes where its bindings
 * lead. With change_lock. */
struct missed;
beck_status past_give_missed(struct delivery_home *h, struct exchange *x,
                             struct partition *partition, int64_t from, int64_t end,
                             struct missed *missed, beck_error *err);
/* A new binding: its queue gets what was published since and would have come by it. */
int past_give(struct session *s, const struct binding_declaration *d, char *text);

/* ---- of a session ---- */

struct delivery {
    struct publisher *publishers; /* with home.lock, as the next */
    struct subscriber *subscribers;
    struct buf got;              /* scratch of session_get */
    struct broker_queue *got_of; /* the last one's queue; a reference, or NULL */
};

#endif
