/*
 * A taker is a consumer with what requests want of it. Requests become operations in its list;
 * whoever finds it idle works off the list, one thread at a time, and nobody waits for that thread.
 * Takes that find nothing stay in a line, oldest first, and a watch of the queue has the taker look
 * again: so polls are served in the order in which they came, and wait without a thread.
 *
 * `work.lock` guards lists, flags and references of all takers. It is taken with queue.lock or
 * timers.lock held (by a watch, a timer), so neither is taken with it held.
 */
#ifndef BECK_WIRE_HTTP_TAKER_H
#define BECK_WIRE_HTTP_TAKER_H

#include "queue/consumer.h"
#include "wire/http/document.h"
#include "wire/http/http_impl.h"

#define WORK_TAKERS 256 /* buckets of the table */

enum op_kind { OP_TAKE, OP_SETTLE, OP_RETRY, OP_REJECT, OP_RETURN, OP_EXTEND, OP_END };

/* What one request wants; lives in its memory. */
struct op {
    struct op *next;
    enum op_kind kind;
    struct http_request *r;
    struct taker *taker; /* with a reference */
    bool again;          /* it was handed on once from a queue that was deleted */
    bool waiting, ended; /* with work.lock: it is in line; and its time came, or its client went */
    bool timed;
    uint32_t max;
    int64_t until_ns; /* 0: it does not wait */
    uint64_t *tags;   /* settled; or taken, until their answer is sent */
    size_t count;
    int64_t delay_ms;
    const char *why;
};

struct ops {
    struct op *first, *last;
};

struct taker {
    struct job job; /* its first member */
    struct work *work;
    struct taker *next; /* in the table */
    bool shared;
    char *name;
    struct queue *queue;
    beck_consumer *consumer;

    /* With work.lock. */
    uint32_t references; /* the table's or connection's, each op's, that of the thread at work */
    bool busy;           /* a thread is at work, or on its way */
    bool noted;          /* the watch was called */
    bool ended, look;    /* a wait has; or the queue is to be looked at again */
    bool sweep, closing, closed;
    struct ops todo;
    uint64_t *returns; /* deliveries whose answer was not sent */
    size_t return_count, return_cap;
    int64_t used_ns;

    /* Of the thread at work. */
    struct ops line; /* takes that wait */
    struct op *end;  /* is answered once what was held is back; NULL: nobody waits for that */
    struct queue_watch watch;
    bool watching;
    struct timer retry;
    struct buf event; /* scratch */
};

struct work {
    struct http *http;
    struct mutex lock;
    struct taker *table[WORK_TAKERS];
    size_t count; /* in the table */
    bool sweeping, stopping;
    int64_t idle_ns;
    struct timer sweep;
    struct job sweep_job;
};

/* Opens a consumer of that queue. One reference, of the table or the connection. */
beck_status taker_new(struct work *w, const char *name, bool shared, uint32_t prefetch,
                      struct taker **out, beck_error *err);
/* Closes one that nobody has used. */
void taker_discard(struct taker *t);
/* Where it stands in the table, or would. With work.lock. */
struct taker **taker_place(struct work *w, const char *name);

/* With work.lock: one more operation; it holds a reference until it is answered. */
void taker_add(struct taker *t, struct op *op);
/* With work.lock: has somebody work. True: the caller, who must run it. */
bool taker_rouse(struct taker *t);
/* With work.lock: has the pool work, unless somebody does. */
void taker_wake(struct taker *t);
/* With work.lock: no more requests come to it; what it holds goes back once it is woken. */
void taker_retire(struct taker *t);
void taker_run(struct job *job);
/* The same for a network thread: what may wait for the disk for long is left to the pool. */
void taker_run_quick(struct taker *t);

/* work.c: puts an operation where it is done; here: by this thread, if nobody else is at it. */
void work_dispatch(struct work *w, struct op *op, bool here);

#endif
