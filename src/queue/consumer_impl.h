/* The inside of a consumer, shared by consumer*.c and acquire.c only. */
#ifndef BECK_QUEUE_CONSUMER_IMPL_H
#define BECK_QUEUE_CONSUMER_IMPL_H

#include "queue/consumer.h"
#include "queue/queue_impl.h"

#define SLOTS_AT_ONCE 8

struct beck_consumer {
    struct consumer_base base;
    struct queue *queue;
    uint32_t prefetch;
    size_t take_bytes;              /* consumer_limit_bytes */
    uint64_t number;                /* 24 bits; of the handle */
    beck_consumer *previous, *next; /* of the handle's */
    _Atomic(bool) woken;
    struct slot **chunks; /* of SLOTS_AT_ONCE slots each, made as needed */
    uint32_t slot_count;
    uint16_t *free_slots;
    uint32_t free_count;
    uint32_t held;           /* slots not free */
    struct cursor **cursors; /* by source */
    bool *source_is_dead;
    uint32_t cursor_count;
    uint32_t deletions;   /* of buses, when the cursors were opened */
    struct block *shared; /* the block that slots shared last, and references to it for more */
    uint32_t spare_refs;
    struct dead_parts *parts; /* scratch for events that were put back from the dead letters */
};

static inline struct slot *consumer_slot(const beck_consumer *c, uint32_t index)
{
    return &c->chunks[index / SLOTS_AT_ONCE][index % SLOTS_AT_ONCE];
}

static inline uint64_t slot_tag(const struct slot *s)
{
    return s->consumer->number << 40 | (uint64_t)(s->generation & 0xffffff) << 16 | s->index;
}

/* The slot that a tag names; NULL: never was, or is free by now. */
static inline struct slot *consumer_find(const beck_consumer *c, uint64_t tag)
{
    uint32_t index = (uint32_t)(tag & 0xffff);
    if (tag >> 40 != c->number || index >= c->slot_count)
        return NULL;
    struct slot *s = consumer_slot(c, index);
    bool same = (s->generation & 0xffffff) == (tag >> 16 & 0xffffff);
    return same && s->state != SLOT_FREE ? s : NULL;
}

/* More slots, up to the prefetch. With the lock. */
beck_status consumer_more_slots(beck_consumer *c);

/* Neighbours point into one block. Its count is shared with the publisher and other consumers, so
 * references are had and given back many at once: this one is shared from now on. */
void consumer_share(beck_consumer *c, struct block *b);

static inline void consumer_drop_block(beck_consumer *c, struct block *b)
{
    if (b && b == c->shared)
        c->spare_refs++;
    else
        block_release(b);
}

static inline void consumer_free_slot(beck_consumer *c, struct slot *s)
{
    consumer_drop_block(c, s->block);
    s->block = NULL;
    if (s->memory.cap > 65536)
        buf_release(&s->memory);
    s->state = SLOT_FREE;
    s->generation++;
    c->free_slots[c->free_count++] = s->index;
    c->held--;
}

/* Moves up to max entries into slots; `which`: only those that it wants, and dead letters that were
 * put back; NULL: all. *again: there may be more behind those that were put aside. With the lock. */
size_t consumer_move_in(beck_consumer *c, size_t max, int64_t now_ms, int64_t now_ns,
                        const struct acquire *which, struct slot **taken, bool *again,
                        beck_error *err);
/* The rest without the lock. */
void consumer_close_cursors(beck_consumer *c);
beck_status consumer_cursor(beck_consumer *c, uint32_t source, struct cursor **out,
                            beck_error *err);
/* An event that cannot be had any more leaves the queue; said aloud when it is damage. */
void consumer_drop_lost(beck_consumer *c, struct slot *s, beck_status status,
                        const beck_error *why);
/* Where the event was that a dead letter stands for, which was opened into c->parts: its bus, and which source of
 * the queue that is; NULL: it is gone. */
beck_bus *consumer_origin(beck_consumer *c, uint32_t *source);
/* Puts a slot's entry back to its place: nothing was delivered. Others may have begun to wait while
 * it was away. */
void consumer_put_back(beck_consumer *c, struct slot *s);

#endif
