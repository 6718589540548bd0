/*
 * Memory that is freed all at once: what a request was decoded into, and what its answer is made of.
 *
 * Threads: one at a time.
 */
#ifndef BECK_KAFKA_MESSAGE_ARENA_H
#define BECK_KAFKA_MESSAGE_ARENA_H

#include "base/bytes.h"

struct kafka_chunk;

struct kafka_arena {
    struct kafka_chunk *chunks;
    uint8_t *free;
    size_t left;       /* bytes behind `free` */
    size_t taken, max; /* bytes of all chunks, and their ceiling */
};

/* No memory is taken before it is needed. */
void kafka_arena_init(struct kafka_arena *a, size_t max);
void kafka_arena_release(struct kafka_arena *a); /* may be used again: as after init */
/* Zeros, aligned for everything. NULL: memory is short, or it would be more than `max`. */
void *kafka_alloc(struct kafka_arena *a, size_t size);
/* `count` of `size` bytes; never NULL for a count of 0. */
void *kafka_alloc_many(struct kafka_arena *a, size_t count, size_t size);
/* A copy; `data` NULL where there is no memory, and not NULL for what is empty. */
beck_bytes kafka_copy(struct kafka_arena *a, beck_bytes what);
beck_bytes kafka_text(struct kafka_arena *a, const char *text);

#endif
