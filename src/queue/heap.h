/* A binary heap of what is scheduled, least first, in an array of the caller. */
#ifndef BECK_QUEUE_HEAP_H
#define BECK_QUEUE_HEAP_H

#include "queue/schedule.h"

/* The order in which entries come out. */
static inline bool scheduled_before(const struct scheduled *a, const struct scheduled *b)
{
    if (a->due_ms != b->due_ms)
        return a->due_ms < b->due_ms;
    if (a->entry.seq != b->entry.seq)
        return a->entry.seq < b->entry.seq;
    return a->entry.where < b->entry.where;
}

/* Puts item where there is a hole at i, or above. */
static inline void heap_up(struct scheduled *items, size_t i, struct scheduled item)
{
    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (!scheduled_before(&item, &items[parent]))
            break;
        items[i] = items[parent];
        i = parent;
    }
    items[i] = item;
}

/* Puts item where there is a hole at i, or below. */
static inline void heap_down(struct scheduled *items, size_t len, size_t i, struct scheduled item)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= len)
            break;
        if (child + 1 < len && scheduled_before(&items[child + 1], &items[child]))
            child++;
        if (!scheduled_before(&items[child], &item))
            break;
        items[i] = items[child];
        i = child;
    }
    items[i] = item;
}

/* Makes a heap of items in any order. */
static inline void heap_order(struct scheduled *items, size_t len)
{
    for (size_t i = len / 2; i-- > 0;)
        heap_down(items, len, i, items[i]);
}

#endif
