/*
 * One thread that looks after what no request does: new connections, times that come, and clients
 * that go away while their request waits (its connection is suspended, so nobody else would see it).
 */
#ifndef BECK_WIRE_HTTP_KEEPER_H
#define BECK_WIRE_HTTP_KEEPER_H

#include "base/thread.h"
#include <beck.h>

#include <stddef.h>

/* Belongs to whoever set it, and stays where it is while it is set. A node of a pairing heap. */
struct timer {
    int64_t at_ns;
    void (*due)(struct timer *t); /* on the keeper's thread, with its lock: takes a note */
    bool set;
    struct timer *child, *next, *previous; /* previous: the parent, for a first child */
};

/* A socket whose other end may go away. The same rules. */
struct watched {
    int fd;
    void (*gone)(struct watched *w); /* as `due` */
    uint32_t place;                  /* in the table, + 1; 0: not watched */
};

struct keeper {
    int epoll, wake;
    pthread_t thread;
    struct mutex lock; /* before the pool's */
    struct timer *root;
    int64_t sleeps_until; /* what the thread waits for; INT64_MIN: it is awake */
    struct slot *slots;
    uint32_t slot_count, slot_free; /* free: first of a list, + 1 */
    int *listeners;
    size_t listener_count;
    bool listening, stopping;
    int64_t listen_again_ns; /* no descriptor was left: 0, or when to try again */
    void (*accepted)(void *ctx, size_t listener, int fd, void *address, unsigned length);
    void *ctx;
};

/* listeners: descriptors, which stay the caller's. `accepted` gets each connection, and owns it. */
beck_status keeper_start(struct keeper *k, const int *listeners, size_t count,
                         void (*accepted)(void *ctx, size_t listener, int fd, void *address,
                                          unsigned length),
                         void *ctx, beck_error *err);
/* No connection is accepted once this returns. */
void keeper_close(struct keeper *k);
/* Nothing is set or watched any more. */
void keeper_stop(struct keeper *k);

void keeper_set(struct keeper *k, struct timer *t, int64_t at_ns); /* not set yet */
bool keeper_cancel(struct keeper *k, struct timer *t);             /* false: not set, or due */
void keeper_hasten(struct keeper *k, struct timer *t);             /* if set: it is due now */
/* The same from within `due` or `gone`, with the lock. */
void keeper_fire(struct keeper *k, struct timer *t);
/* The other end sends nothing more, or is gone. Without memory: not watched. */
void keeper_watch(struct keeper *k, struct watched *w);
void keeper_unwatch(struct keeper *k, struct watched *w);

#endif
