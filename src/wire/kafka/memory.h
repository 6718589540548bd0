/*
 * The memory of requests over all connections: who may take some, who waits for it, and who is asked to
 * let go.
 *
 * Requests are in three classes by the size of their frame, and each class has a share of the whole, so
 * that small ones never wait for large ones. Who finds no room in its class waits, in order of arrival;
 * a class in which nothing is taken lets the next one in, however large. What a request grows by later
 * is added without asking. Meanwhile those who hold memory while they wait for something else (holders)
 * are asked to let go.
 *
 * Threads: any. The lock is a leaf.
 */
#ifndef BECK_WIRE_KAFKA_MEMORY_H
#define BECK_WIRE_KAFKA_MEMORY_H

#include "base/thread.h"

#include <stddef.h>

#define MEMORY_SMALL_MAX (64u << 10) /* bytes of a frame */
#define MEMORY_MIDDLE_MAX (2u << 20)

enum memory_class { MEMORY_SMALL, MEMORY_MIDDLE, MEMORY_LARGE, MEMORY_CLASSES };

struct memory_waiter {
    struct memory_waiter *next;
    uint64_t size;
    void (*granted)(struct memory_waiter *w); /* with the lock: takes a note */
};

struct memory_holder {
    bool on;                                /* in a list; of whoever holds and lets go */
    struct memory_holder *next, **at;       /* with the lock */
    void (*press)(struct memory_holder *h); /* with the lock: takes a note */
};

struct memory_share {
    _Atomic(uint64_t) bytes;
    uint64_t max;
    _Atomic(uint32_t) waiting;
    struct memory_waiter *first, **last;
    struct memory_holder *holders;
};

struct memory {
    struct mutex lock;
    struct memory_share shares[MEMORY_CLASSES];
};

void memory_init(struct memory *m, uint64_t max);
void memory_release(struct memory *m);
enum memory_class memory_class_of(size_t frame);

/* True: w->size bytes are taken. False: w is in the queue until `granted` is called, when they are. */
bool memory_take(struct memory *m, enum memory_class class, struct memory_waiter *w);
/* Waits no more. False: it was granted meanwhile. */
bool memory_leave(struct memory *m, enum memory_class class, struct memory_waiter *w);
void memory_add(struct memory *m, enum memory_class class, uint64_t bytes);
void memory_give(struct memory *m, enum memory_class class, uint64_t bytes);

/* Somebody waits. */
bool memory_is_short(const struct memory *m, enum memory_class class);
void memory_hold(struct memory *m, enum memory_class class, struct memory_holder *h);
void memory_unhold(struct memory *m, struct memory_holder *h); /* if it does */
/* All holders of the class are asked, for somebody who waits. */
void memory_press(struct memory *m, enum memory_class class);

#endif
