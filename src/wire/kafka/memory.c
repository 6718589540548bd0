/* The memory of requests: see memory.h. */
#include "wire/kafka/memory.h"

void memory_init(struct memory *m, uint64_t max)
{
    *m = (struct memory){.shares = {{.max = max / 4}, {.max = max / 4}, {.max = max / 2}}};
    mutex_init(&m->lock);
    for (int i = 0; i < MEMORY_CLASSES; i++)
        m->shares[i].last = &m->shares[i].first;
}

void memory_release(struct memory *m)
{
    mutex_release(&m->lock);
}

enum memory_class memory_class_of(size_t frame)
{
    return frame <= MEMORY_SMALL_MAX    ? MEMORY_SMALL
           : frame <= MEMORY_MIDDLE_MAX ? MEMORY_MIDDLE
                                        : MEMORY_LARGE;
}

/* ---- taking ---- */

static bool has_room(const struct memory_share *s, uint64_t size)
{
    uint64_t bytes = atomic_load(&s->bytes);
    return bytes == 0 || (bytes < s->max && size <= s->max - bytes);
}

bool memory_take(struct memory *m, enum memory_class class, struct memory_waiter *w)
{
    struct memory_share *s = &m->shares[class];
    if (atomic_load(&s->waiting) == 0 && has_room(s, w->size)) {
        atomic_fetch_add(&s->bytes, w->size);
        return true;
    }
    mutex_lock(&m->lock);
    /* Who gives back looks at it behind that. */
    bool first = atomic_fetch_add(&s->waiting, 1) == 0;
    bool taken = first && has_room(s, w->size);
    if (taken) {
        atomic_fetch_add(&s->bytes, w->size);
        atomic_fetch_sub(&s->waiting, 1);
    } else {
        w->next = NULL;
        *s->last = w;
        s->last = &w->next;
    }
    mutex_unlock(&m->lock);
    return taken;
}

/* With the lock. */
static void grant(struct memory_share *s)
{
    while (s->first && has_room(s, s->first->size)) {
        struct memory_waiter *w = s->first;
        s->first = w->next;
        if (!s->first)
            s->last = &s->first;
        atomic_fetch_add(&s->bytes, w->size);
        atomic_fetch_sub(&s->waiting, 1);
        w->granted(w);
    }
}

bool memory_leave(struct memory *m, enum memory_class class, struct memory_waiter *w)
{
    struct memory_share *s = &m->shares[class];
    bool waits = false;
    mutex_lock(&m->lock);
    for (struct memory_waiter **at = &s->first; *at; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            if (!*at)
                s->last = at;
            atomic_fetch_sub(&s->waiting, 1);
            waits = true;
            break;
        }
    if (waits)
        grant(s); /* it may have been the first, and too large for those behind it */
    mutex_unlock(&m->lock);
    return waits;
}

void memory_add(struct memory *m, enum memory_class class, uint64_t bytes)
{
    atomic_fetch_add(&m->shares[class].bytes, bytes);
}

void memory_give(struct memory *m, enum memory_class class, uint64_t bytes)
{
    struct memory_share *s = &m->shares[class];
    atomic_fetch_sub(&s->bytes, bytes);
    if (atomic_load(&s->waiting) == 0)
        return;
    mutex_lock(&m->lock);
    grant(s);
    mutex_unlock(&m->lock);
}

/* ---- letting go ---- */

bool memory_is_short(const struct memory *m, enum memory_class class)
{
    return atomic_load(&m->shares[class].waiting) > 0;
}

void memory_hold(struct memory *m, enum memory_class class, struct memory_holder *h)
{
    struct memory_share *s = &m->shares[class];
    h->on = true;
    mutex_lock(&m->lock);
    h->next = s->holders;
    h->at = &s->holders;
    if (h->next)
        h->next->at = &h->next;
    s->holders = h;
    mutex_unlock(&m->lock);
}

void memory_unhold(struct memory *m, struct memory_holder *h)
{
    if (!h->on)
        return;
    h->on = false;
    mutex_lock(&m->lock);
    *h->at = h->next;
    if (h->next)
        h->next->at = h->at;
    mutex_unlock(&m->lock);
}

void memory_press(struct memory *m, enum memory_class class)
{
    mutex_lock(&m->lock);
    for (struct memory_holder *h = m->shares[class].holders; h; h = h->next)
        h->press(h);
    mutex_unlock(&m->lock);
}
