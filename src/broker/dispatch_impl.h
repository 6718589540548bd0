/* The inside of a dispatcher, shared by dispatch.c (who gets the next message) and settle.c (what came of it).
 * Everything with dispatcher.lock unless said otherwise. */
#ifndef BECK_BROKER_DISPATCH_IMPL_H
#define BECK_BROKER_DISPATCH_IMPL_H

#include "broker/dispatch.h"

#define AT_ONCE 64               /* messages taken, delivered, settled at once */
#define AT_ONCE_BYTES (1u << 20) /* of bodies that are taken at once; one may go beyond */
#define OWED_MAX 65536           /* answers; with so many nothing more is taken */
#define MAILBOX_MAX 2048         /* messages that wait for a subscriber's thread */
#define MAILBOX_BYTES (1u << 20) /* with so many of bodies it is given no more */

/* A message that is held, as long as its tag is. */
struct item {
    const beck_event *event;
    beck_bytes content; /* as it was stored with the event; empty: none */
    struct block *block;
    uint64_t tag;
    uint32_t attempt;
    uint32_t size; /* of the body */
    bool redelivered;
};

/* A consumer of the engine: it holds a limited number, so there are more when more is held. */
struct source_consumer {
    struct source_consumer *next;
    beck_consumer *consumer;
    uint64_t number; /* the upper bits of its tags; 0: none was seen yet */
    uint32_t held, room;
};

struct waiting_subscriber {
    struct waiting_subscriber *next, **at; /* of credit.first; at NULL: it does not wait */
};

struct queue_subscriber {
    struct subscriber base; /* its first member */
    struct dispatcher *dispatcher;
    struct queue_subscriber *next, **at;                /* of all, oldest first */
    struct queue_subscriber *ring_next, *ring_previous; /* of its level; NULL: it cannot take now */
    struct level *level;
    struct subscriber_options options;
    struct waiting_subscriber waiting; /* for the shared credit; with its lock */
    bool is_waiting;                   /* the same, as far as this dispatcher knows */
    _Atomic(bool) woken;
    bool ready, stopped, closing, cancelled, pumping;
    uint32_t used;        /* held by it and not settled, unless no_ack */
    uint32_t reserved;    /* of the shared credit, for what is being handed out */
    struct item *mailbox; /* a ring; its capacity is a power of two */
    uint32_t mail_first, mail_count, mail_cap;
    size_t mail_bytes;
    struct queue_subscriber *rouse_next; /* to be woken when the batch is handed out */
    bool rouse;
    struct buf scratch; /* of pump */
};

struct level {
    struct level *next; /* lower ones */
    int32_t priority;
    struct queue_subscriber *turn; /* whose it is: the ring; NULL: nobody can take */
    uint32_t subscribers;
};

/* An answer that the engine could not take. */
struct owed {
    uint64_t tag;
    enum settlement how;
};

struct dispatcher {
    struct dispatcher_options options;
    struct queue *queue;
    struct mutex lock;
    struct cond quiet;                 /* a pump ended */
    struct source_consumer *consumers; /* the one that takes is the first */
    struct level *levels;              /* highest first */
    struct queue_subscriber *first, **end;
    struct queue_subscriber *active; /* of single_active */
    bool exclusive, gone;
    struct dispatch_delays delays;
    _Atomic(uint32_t) count;
    _Atomic(int64_t) unacked;
    struct queue_watch watch;
    struct queue_subscriber *waker; /* woken, or to be woken by the watch; NULL: nobody can take */
    bool armed;                     /* the watch was set for it */
    _Atomic(bool) fired;            /* and called */
    uint32_t at_most;   /* messages that are taken at once, as large as they were lately */
    uint32_t fruitless; /* times in a row that something was there and could not be had */
    bool stalled;
    struct owed *owed;
    size_t owed_count, owed_cap;
};

/* credit.c; any thread, but for what takes a subscriber */
bool credit_left(struct credit *c);
uint32_t credit_reserve(struct credit *c, uint32_t want); /* how many it got */
void credit_wake(struct credit *c);                       /* all who wait */
void credit_return(struct credit *c, uint32_t count);
void credit_give_back(struct credit *c, uint32_t count); /* and wakes */
/* There is none left: it is woken when there is some. False: there is, after all. */
bool credit_await(struct queue_subscriber *s);
void credit_await_no_more(struct queue_subscriber *s);

/* dispatch.c */
void dispatch_wake(struct queue_subscriber *s);
/* Sees to it that somebody comes for what is ready: at the end of whatever changed something. */
void dispatch_arrange(struct dispatcher *d);
/* Gives back what a subscriber held. */
void dispatch_released(struct queue_subscriber *s, uint32_t count);
struct source_consumer **dispatch_consumer_of(struct dispatcher *d, uint64_t tag); /* NULL: none */

/* settle.c */
void settle_tags(struct dispatcher *d, const uint64_t *tags, size_t count, enum settlement how);
/* As if they had never been taken. */
void settle_give_back(struct dispatcher *d, const uint64_t *tags, size_t count);
/* They were delivered: until they are settled nobody looks at them. */
void settle_forget(struct dispatcher *d, const uint64_t *tags, size_t count);
void settle_owed(struct dispatcher *d);

#endif
