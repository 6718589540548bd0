/*
 * A clock that only moves when a test moves it.
 *
 * A thread in cond_wait_until puts itself on the clock's list before it sleeps on the condition
 * variable, and advancing wakes all that are on the list. A waiter holds its mutex from looking at
 * the time until it sleeps, so a wake-up that is given with that mutex held cannot fall between the
 * two. The clock's lock is a leaf: advancing may only try the waiter's mutex while it holds the
 * clock's, and lets go of the clock's before the next try. A waiter leaves the list under the
 * clock's lock, so what is on the list is alive.
 */
#include "base/clock_impl.h"

#include <assert.h>
#include <sched.h>
#include <stdlib.h>

#define MONO_START_NS INT64_C(1000000000)

struct waiter {
    struct waiter *next;
    struct cond *cond;
    struct mutex *mutex;
    bool woken; /* since the last advance */
};

struct virtual_clock {
    struct clock clock;
    struct mutex lock;
    int64_t wall_ns, mono_ns;
    struct waiter *waiters;
};

static struct virtual_clock *virtual_of(struct clock *c)
{
    return (struct virtual_clock *)c;
}

static int64_t virtual_wall_ns(struct clock *c)
{
    struct virtual_clock *v = virtual_of(c);
    mutex_lock(&v->lock);
    int64_t now = v->wall_ns;
    mutex_unlock(&v->lock);
    return now;
}

static int64_t virtual_mono_ns(struct clock *c)
{
    struct virtual_clock *v = virtual_of(c);
    mutex_lock(&v->lock);
    int64_t now = v->mono_ns;
    mutex_unlock(&v->lock);
    return now;
}

static void leave(struct virtual_clock *v, struct waiter *w)
{
    struct waiter **at = &v->waiters;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
}

static bool virtual_wait(struct clock *c, struct cond *cond, struct mutex *m, int64_t deadline_ns)
{
    struct virtual_clock *v = virtual_of(c);
    struct waiter w = {.cond = cond, .mutex = m};
    mutex_lock(&v->lock);
    if (v->mono_ns >= deadline_ns) {
        mutex_unlock(&v->lock);
        return false;
    }
    w.next = v->waiters;
    v->waiters = &w;
    mutex_unlock(&v->lock);

    cond_wait(cond, m);

    mutex_lock(&v->lock);
    leave(v, &w);
    bool in_time = v->mono_ns < deadline_ns;
    mutex_unlock(&v->lock);
    return in_time;
}

/* Wakes one waiter that has not been woken yet, if its mutex is free or the caller's own. */
static bool wake_one(struct virtual_clock *v, bool *all_woken)
{
    *all_woken = true;
    for (struct waiter *w = v->waiters; w != NULL; w = w->next) {
        if (w->woken)
            continue;
        *all_woken = false;
        bool own = mutex_held(w->mutex);
        if (!own && pthread_mutex_trylock(&w->mutex->m) != 0)
            continue;
        cond_broadcast(w->cond);
        w->woken = true;
        if (!own)
            (void)pthread_mutex_unlock(&w->mutex->m);
        return true;
    }
    return false;
}

void clock_virtual_advance(struct clock *c, int64_t ns)
{
    assert(ns >= 0);
    struct virtual_clock *v = virtual_of(c);
    mutex_lock(&v->lock);
    v->wall_ns += ns;
    v->mono_ns += ns;
    for (struct waiter *w = v->waiters; w != NULL; w = w->next)
        w->woken = false;
    bool all_woken;
    do {
        bool woke = wake_one(v, &all_woken);
        if (!woke && !all_woken) {
            mutex_unlock(&v->lock);
            sched_yield();
            mutex_lock(&v->lock);
        }
    } while (!all_woken);
    mutex_unlock(&v->lock);
}

struct clock *clock_virtual_new(int64_t wall_ns)
{
    static const struct clock_ops ops = {virtual_wall_ns, virtual_mono_ns, virtual_wait};
    struct virtual_clock *v = malloc(sizeof *v);
    if (v == NULL)
        return NULL;
    *v = (struct virtual_clock){
        .clock = {&ops}, .wall_ns = wall_ns, .mono_ns = MONO_START_NS, .waiters = NULL};
    mutex_init(&v->lock);
    return &v->clock;
}

void clock_virtual_free(struct clock *c)
{
    if (c == NULL)
        return;
    struct virtual_clock *v = virtual_of(c);
    assert(v->waiters == NULL);
    mutex_release(&v->lock);
    free(v);
}
