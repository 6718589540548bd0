/* A binary heap: see deadlines.h. */
#include "kafka/deadlines.h"

#include <assert.h>
#include <stdlib.h>

#define ROOM_MIN 64

void deadlines_release(struct deadlines *h)
{
    free(h->heap);
    *h = (struct deadlines){0};
}

beck_status deadlines_promise(struct deadlines *h, size_t more)
{
    size_t cap = h->cap ? h->cap : ROOM_MIN;
    while (cap < h->promised + more)
        cap *= 2;
    if (cap > h->cap) {
        struct deadline **heap = realloc(h->heap, cap * sizeof(struct deadline *));
        if (!heap)
            return BECK_ENOMEM;
        h->heap = heap;
        h->cap = cap;
    }
    h->promised += more;
    return BECK_OK;
}

void deadlines_give_back(struct deadlines *h, size_t less)
{
    assert(h->promised >= less);
    h->promised -= less;
}

static void put(struct deadlines *h, size_t at, struct deadline *d)
{
    h->heap[at] = d;
    d->place = at + 1;
}

static void rise(struct deadlines *h, size_t at, struct deadline *d)
{
    for (; at > 0 && d->at_ns < h->heap[(at - 1) / 2]->at_ns; at = (at - 1) / 2)
        put(h, at, h->heap[(at - 1) / 2]);
    put(h, at, d);
}

static void sink(struct deadlines *h, size_t at, struct deadline *d)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= h->count)
            break;
        if (child + 1 < h->count && h->heap[child + 1]->at_ns < h->heap[child]->at_ns)
            child++;
        if (h->heap[child]->at_ns >= d->at_ns)
            break;
        put(h, at, h->heap[child]);
        at = child;
    }
    put(h, at, d);
}

void deadline_set(struct deadlines *h, struct deadline *d, int64_t at_ns)
{
    bool later = d->place && at_ns > d->at_ns;
    d->at_ns = at_ns;
    if (later) {
        sink(h, d->place - 1, d);
        return;
    }
    if (!d->place) {
        assert(h->count < h->promised);
        d->place = ++h->count;
    }
    rise(h, d->place - 1, d);
}

void deadline_clear(struct deadlines *h, struct deadline *d)
{
    if (!d->place)
        return;
    size_t at = d->place - 1;
    d->place = 0;
    struct deadline *last = h->heap[--h->count];
    if (last == d)
        return;
    if (at > 0 && last->at_ns < h->heap[(at - 1) / 2]->at_ns)
        rise(h, at, last);
    else
        sink(h, at, last);
}

int64_t deadlines_first(const struct deadlines *h)
{
    return h->count ? h->heap[0]->at_ns : INT64_MAX;
}

struct deadline *deadlines_take(struct deadlines *h, int64_t now_ns)
{
    if (deadlines_first(h) > now_ns)
        return NULL;
    struct deadline *d = h->heap[0];
    deadline_clear(h, d);
    return d;
}
