/*
 * What the files of the broker share: virtual hosts, exchanges, queues, who is bound to what.
 *
 * Truth and view. What is durable is a record of the bus `__amqp` (record.h), synced before it is answered;
 * what is here is a view of it, with what is not durable beside it.
 *
 * Two locks. `change_lock` is held over all of a change: one declaration, deletion, policy at a time, with the
 * disk waited for. `topology_lock` guards the view: written only with change_lock held as well and only for
 * moments, never during a wait. So: who changes may read the view without topology_lock; who routes takes it
 * for reading. Whoever moved something moves `generation`, before topology_lock is let go; what was found under
 * one generation holds as long as it stands, so routes may be kept beside it.
 *
 * Vhosts, exchanges and queues are counted. One that is deleted stays as it was, with `gone` set, until its
 * last user lets go.
 */
#ifndef BECK_BROKER_BROKER_IMPL_H
#define BECK_BROKER_BROKER_IMPL_H

#include "api/handle.h"
#include "broker/broker.h"
#include "broker/lookup.h"

#include <pthread.h>

struct matcher;    /* match.h */
struct effective;  /* policy.h */
struct dispatcher; /* dispatch.h */
struct stream;     /* stream.c */
struct delivery;   /* of a session: publish.c, dispatch.c */
struct delivery_home;
struct recent;
struct burial;
struct permits; /* what a session may do: permission.h */

enum queue_kind { QUEUE_CLASSIC, QUEUE_QUORUM, QUEUE_STREAM };

struct vhost {
    struct lookup_node node; /* in broker.vhosts */
    _Atomic(uint32_t) refs;
    _Atomic(bool) gone;
    struct broker *broker;
    beck_bytes name;                 /* owned, as all names here; a NUL follows */
    beck_bytes metadata;             /* JSON: description, tags, default_queue_type; or empty */
    struct lookup exchanges, queues; /* by name */
    struct exchange *nameless;       /* the default exchange: its queues are those of the vhost */
    struct policies *policies;       /* policy.h */
    int64_t queues_max, connections_max; /* -1: no limit */
    enum queue_kind default_kind;        /* of durable queues that do not say; from the metadata */
};

struct binding {
    struct lookup_node node; /* in broker.bindings, by all that identifies it */
    struct exchange *source;
    struct exchange *exchange;  /* the destination: one of these */
    struct broker_queue *queue; /* two */
    beck_bytes routing_key, arguments;
    bool durable; /* both ends are: it has a record */
    bool going;   /* while it is deleted; with change_lock */
    struct binding *source_next, **source_at, *destination_next, **destination_at;
};

struct exchange {
    struct lookup_node node; /* in vhost.exchanges */
    _Atomic(uint32_t) refs;
    _Atomic(bool) gone;
    struct vhost *vhost;
    beck_bytes name;
    beck_bytes type;      /* as declared */
    beck_bytes arguments; /* table */
    bool durable, auto_delete, internal;
    bool predeclared;      /* the nameless and amq.*: no record */
    bool foreign;          /* a bus that was made by other means: no record */
    bool nameless;         /* the default exchange: the routing key is a queue's name */
    struct recent *recent; /* x-recent-history: what a new binding gets; else NULL */
    bool delayed;          /* x-delayed-message: `matcher` is of its x-delayed-type */
    /* Guarded by topology_lock from here on. */
    struct matcher *matcher;            /* values: struct binding */
    struct binding *bindings;           /* it is the source of; by source_next */
    struct binding *bound;              /* it is the destination of; by destination_next */
    size_t binding_count;               /* of `bindings` */
    size_t bindings_going;              /* of those, while they are deleted; with change_lock */
    bool going;                         /* while it is deleted; with change_lock */
    beck_bytes alternate;               /* by argument or policy; empty: none */
    beck_bytes policy, operator_policy; /* names of those in force; empty: none */
    _Atomic(beck_bus *) bus; /* NULL: not made yet (exchange_bus). Valid until beck_close */
    bool
        leads; /* it leads somewhere, or did (engine_lead); changed with change_lock and engine_lock */
    bool stuck; /* how far its bus is routed is not to be moved up; with change_lock */
    _Atomic(uint64_t) published_in,
        published_out; /* counted by publish.c, shown by the management */
};

struct broker_queue {
    struct lookup_node node; /* in vhost.queues */
    _Atomic(uint32_t) refs;
    _Atomic(bool) gone;
    struct vhost *vhost;
    beck_bytes name;
    beck_bytes arguments; /* table */
    enum queue_kind kind;
    bool durable, exclusive, auto_delete; /* exclusive ones are not durable, whatever was asked */
    bool foreign;                         /* a queue of the engine that was made by other means */
    bool ruled;     /* it has the rules of a policy; of foreign ones, with change_lock */
    uint64_t owner; /* connection, of exclusive ones */
    struct session *owner_session;               /* the same; with change_lock. NULL: none */
    struct broker_queue *owned_next, **owned_at; /* of that session */
    struct queue *engine;                        /* a reference; NULL for streams */
    beck_bus *bus;          /* a stream's log; NULL for others. Valid until beck_close */
    uint64_t number;        /* queue_number(engine) */
    struct burial *burials; /* burial.c's, with its lock; newest first */
    size_t burial_count;
    _Atomic(bool) burial_told;     /* that they wait */
    struct dispatcher *dispatcher; /* made and freed with the queue */
    struct stream *stream;         /* D's, of streams; else NULL */
    _Atomic(int64_t) used_ns;      /* monotonic: last get, consumer or declaration, for x-expires */
    _Atomic(bool) consumed;        /* there was a consumer, for auto-delete; set by dispatch.c */
    _Atomic(uint64_t) counts[QUEUE_COUNTS];
    /* Guarded by topology_lock from here on. */
    struct binding *bound;       /* it is the destination of */
    struct effective *effective; /* arguments and policies together; never NULL */
    beck_bus **joined; /* buses that are sources of the engine's queue; without change_lock */
    size_t joined_count;
};

struct broker {
    beck *handle;
    struct broker_settings settings;
    struct mutex change_lock;
    pthread_rwlock_t topology_lock;
    _Atomic(uint64_t) generation;
    /* With topology_lock. */
    struct lookup vhosts;
    struct lookup bindings;
    struct lookup kept; /* records of administrators: permissions, policies, parameters, limits */
    size_t queue_count, exchange_count;
    /* With change_lock. */
    _Atomic(beck_bus *) records; /* __amqp; NULL: nothing was written down yet, or in memory only */
    struct session *sessions;
    /* Making and leaving buses; below dispatcher.lock. */
    struct mutex engine_lock;
    struct bus_link *links; /* with it */
    /* Looks after queues that expire. */
    pthread_t keeper;
    bool keeper_runs, stopping, woken;
    _Atomic(int64_t) full_ns;                 /* broker_full_ns */
    bool delivers;                            /* delivery_open was called */
    bool complete;                            /* what it missed was given */
    _Atomic(struct delivery_home *) delivery; /* delivery.h; NULL: not open */
    struct mutex keeper_lock;
    struct cond keeper_wake;
    int64_t keeper_due_ns; /* when it looks again; with keeper_lock */
};

struct session {
    struct session *next, **at; /* of the broker; with change_lock */
    struct broker *broker;
    struct vhost *vhost; /* a reference */
    char *user;
    _Atomic(uint32_t) refreshes; /* of the permissions */
    bool everything;
    uint64_t connection;
    _Atomic(bool) stale; /* permissions changed since: session_refresh */
    /* What it may do. Earlier ones are kept, as another thread may be asking them. */
    _Atomic(struct permits *) permits;
    struct permits **retired; /* with change_lock */
    size_t retired_count;
    struct broker_queue *owned; /* exclusive queues; with change_lock */
    bool owes_records; /* session_sync has to wait for them; of the session's thread, as the next */
    struct queue **made; /* and for the state of these; references */
    size_t made_count, made_cap;
    struct delivery *delivery; /* what publish.c and dispatch.c keep of it; NULL at first */
};

/* ---- looking (topology.c) ---- */

/* For reading; held while a route is found, never while something is waited for. */
void topology_read(struct broker *b);
void topology_end_read(struct broker *b);
static inline uint64_t topology_generation(struct broker *b)
{
    return atomic_load_explicit(&b->generation, memory_order_acquire);
}
/* With topology_lock or change_lock; borrowed, NULL: none. They find what is known; buses and queues that were
 * made by other means are known once exchange_adopt or queue_adopt, (slow), was asked. */
struct exchange *topology_exchange(const struct vhost *v, beck_bytes name);
struct broker_queue *topology_queue(const struct vhost *v, beck_bytes name);
struct exchange *exchange_retain(struct exchange *x);
void exchange_release(struct exchange *x);
struct vhost *vhost_retain(struct vhost *v);
void vhost_release(struct vhost *v);

/* Who gets a message. All zero at first; kept from call to call, so that routing allocates nothing once it is
 * large enough. */
struct targets {
    /* Borrowed: valid while topology_lock is held, or retained by broker_queue_retain. Each queue once. First
     * those that are durable, then those that are not, then streams. */
    struct broker_queue **queues;
    size_t count; /* of all; 0: nothing matched */
    size_t durable_count, transient_count, stream_count;
    bool any_message; /* given: every binding counts, whatever the message has; alternates, too */
    /* The rest is topology_route's. */
    size_t cap;
    struct broker_queue **unsorted;
    struct exchange **visited;
    size_t visited_count, visited_cap;
    void **seen;
    size_t seen_cap;
    struct match_found *found;
};
void targets_release(struct targets *t);

/* With topology_lock for reading. Follows bindings between exchanges and alternate exchanges (each exchange
 * once), and the keys of the headers CC and BCC. properties: NULL: none. The alternate exchange is asked when
 * nothing of the exchange matched. BECK_ENOMEM. */
beck_status topology_route(struct exchange *x, beck_bytes routing_key,
                           const struct properties *properties, struct targets *out);

/* (slow) Without topology_lock. The exchange's bus, made when there is none yet: on disk if the handle has one.
 * Durable exchanges have one each, and what others publish to it is routed by topology_route from then on; all
 * others share one. NULL: gone or failed, and the text is that of an INTERNAL_ERROR. */
beck_bus *exchange_bus(struct exchange *x, char *text);
/* Whether the bus is a source of the queue's engine queue already; with topology_lock. */
bool queue_is_joined(const struct broker_queue *q, const beck_bus *bus);
/* (slow) Without topology_lock. Makes it one. BECK_ENOENT: the queue is gone, BECK_ECLOSED: the bus. */
beck_status queue_join(struct broker_queue *q, beck_bus *bus, beck_error *err);
/* (slow) Without locks. Others may have deleted the engine's queue (its calls give BECK_ECLOSED): then it goes
 * here as well. */
void queue_vanished(struct vhost *v, beck_bytes name);
/* (slow) Without locks. With a reference, or NULL: there is neither an exchange (queue) nor a bus (queue of the
 * engine) of that name. */
struct exchange *exchange_adopt(struct vhost *v, beck_bytes name);
struct broker_queue *queue_adopt(struct vhost *v, beck_bytes name);

/* ---- for sessions (session.c) ---- */

enum session_right { RIGHT_CONFIGURE, RIGHT_WRITE, RIGHT_READ };
/* 0 or 403 "ACCESS_REFUSED - access to queue 'x' in vhost '/' refused for user 'u'". kind: "queue",
 * "exchange". Any thread; takes no lock. The default exchange's name is "amq.default" here. */
int session_may(struct session *s, enum session_right right, const char *kind, beck_bytes name,
                char *text);
/* (slow) Without locks: looks the permissions up again if they were changed. 0 or 530. */
static inline int session_renew(struct session *s, char *text)
{
    return atomic_load_explicit(&s->stale, memory_order_acquire) ? session_refresh(s, text) : 0;
}
/* Topic permissions: of publishing to and binding a topic exchange. */
int session_may_topic(struct session *s, enum session_right right, const struct exchange *x,
                      beck_bytes routing_key, char *text);
/* (slow) With a reference. 404; 405: another connection's exclusive queue. */
int session_find_queue(struct session *s, beck_bytes name, struct broker_queue **out, char *text);
/* (slow) With a reference. 404 "no exchange 'x' in vhost '/'". */
int session_find_exchange(struct session *s, beck_bytes name, struct exchange **out, char *text);

/* ---- called by dispatch.c ---- */

/* (slow) Without locks. The last consumer went: an auto-delete queue that had one goes. */
void queue_consumers_gone(struct broker_queue *q);
/* Without locks. A get, a consumer, a declaration: x-expires counts anew. */
void queue_used(struct broker_queue *q);

/* ---- given by dispatch.c, publish.c, dead_letter.c; called with change_lock and without topology_lock unless
 * said otherwise ---- */

/* The queue is made, with its engine queue: makes q->dispatcher (streams: q->stream), sets the bury hook of the
 * engine's queue. */
beck_status delivery_queue_open(struct broker_queue *q, beck_error *err);
/* q->effective is another one (also once after open). The rules of the engine's queue (queue_set_rules) were
 * set by the caller. */
void delivery_queue_changed(struct broker_queue *q);
/* It is deleted (gone is set): consumers are cancelled; nothing is taken any more when it returns. The engine's
 * queue goes after that. */
void delivery_queue_gone(struct broker_queue *q);
/* With the last reference: frees dispatcher and stream. No locks are held. */
void delivery_queue_free(struct broker_queue *q);
uint32_t delivery_consumers(struct broker_queue *q);
/* Messages that consumers hold. */
int64_t delivery_unacked(struct broker_queue *q);
/* As dispatcher_chosen; a stream has none. */
bool delivery_chosen(struct broker_queue *q, char *tag, size_t size, size_t *len, bool *single);
/* The session closes (no locks): its publishers and subscribers are closed, s->delivery is freed. */
void delivery_session_close(struct session *s);
/* When the broker opens, with all topology read and no session yet; and at its end, after all sessions. Without
 * locks. */
beck_status delivery_open(struct broker *b, beck_error *err);
void delivery_close(struct broker *b);

#endif
