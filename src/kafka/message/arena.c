/*
 * Chunks of memory, each at least twice the one before, cut from the front.
 */
#include "kafka/message/arena.h"

#include <stddef.h>
#include <stdlib.h>

#define CHUNK_MIN 1024
#define CHUNK_GROWTH_MAX (256 << 10)

struct kafka_chunk {
    struct kafka_chunk *next;
    max_align_t data[];
};

void kafka_arena_init(struct kafka_arena *a, size_t max)
{
    *a = (struct kafka_arena){.max = max};
}

void kafka_arena_release(struct kafka_arena *a)
{
    for (struct kafka_chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    kafka_arena_init(a, a->max);
}

static bool add_chunk(struct kafka_arena *a, size_t size)
{
    if (size > a->max - a->taken)
        return false;
    size_t room = a->taken < CHUNK_MIN ? CHUNK_MIN : a->taken;
    if (room > CHUNK_GROWTH_MAX)
        room = CHUNK_GROWTH_MAX;
    if (room > a->max - a->taken)
        room = a->max - a->taken;
    if (room < size)
        room = size;
    struct kafka_chunk *c = malloc(sizeof *c + room);
    if (!c)
        return false;
    c->next = a->chunks;
    a->chunks = c;
    a->free = (uint8_t *)c->data;
    a->left = room;
    a->taken += room;
    return true;
}

void *kafka_alloc(struct kafka_arena *a, size_t size)
{
    const size_t unit = sizeof(max_align_t);
    if (size > a->max)
        return NULL;
    size = size ? (size + unit - 1) / unit * unit : unit;
    if (size > a->left && !add_chunk(a, size))
        return NULL;
    void *p = a->free;
    a->free += size;
    a->left -= size;
    return memset(p, 0, size);
}

void *kafka_alloc_many(struct kafka_arena *a, size_t count, size_t size)
{
    size_t all;
    return __builtin_mul_overflow(count, size, &all) ? NULL : kafka_alloc(a, all);
}

beck_bytes kafka_copy(struct kafka_arena *a, beck_bytes what)
{
    void *p = kafka_alloc(a, what.len);
    if (!p)
        return (beck_bytes){NULL, 0};
    if (what.len)
        memcpy(p, what.data, what.len);
    return bytes_of(p, what.len);
}

beck_bytes kafka_text(struct kafka_arena *a, const char *text)
{
    return kafka_copy(a, bytes_of(text, strlen(text)));
}
