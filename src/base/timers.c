/* Times that come: see timers.h. */
#include "base/timers.h"

#include "base/clock.h"
#include "base/error.h"

#include <assert.h>

/* ---- a pairing heap ---- */

static struct timer *meld(struct timer *a, struct timer *b)
{
    if (!a || !b)
        return a ? a : b;
    if (b->at_ns < a->at_ns) {
        struct timer *swap = a;
        a = b;
        b = swap;
    }
    b->previous = a;
    b->next = a->child;
    if (b->next)
        b->next->previous = b;
    a->child = b;
    return a;
}

static struct timer *meld_list(struct timer *list)
{
    struct timer *pairs = NULL, *root = NULL;
    while (list) {
        struct timer *a = list, *b = a->next;
        list = b ? b->next : NULL;
        a->next = a->previous = NULL;
        if (b)
            b->next = b->previous = NULL;
        a = meld(a, b);
        a->next = pairs;
        pairs = a;
    }
    while (pairs) {
        struct timer *next = pairs->next;
        pairs->next = NULL;
        root = meld(root, pairs);
        pairs = next;
    }
    return root;
}

void timer_heap_add(struct timer **root, struct timer *t, int64_t at_ns)
{
    assert(!t->set);
    t->at_ns = at_ns;
    t->child = t->next = t->previous = NULL;
    t->set = true;
    *root = meld(*root, t);
}

void timer_heap_remove(struct timer **root, struct timer *t)
{
    assert(t->set);
    struct timer *children = meld_list(t->child);
    if (t == *root) {
        *root = children;
    } else {
        if (t->previous->child == t)
            t->previous->child = t->next;
        else
            t->previous->next = t->next;
        if (t->next)
            t->next->previous = t->previous;
        *root = meld(*root, children);
    }
    t->child = t->next = t->previous = NULL;
    t->set = false;
}

static void take_out(struct timers *s, struct timer *t)
{
    assert(mutex_held(&s->lock));
    timer_heap_remove(&s->root, t);
}

static void fire(struct timers *s, struct timer *t)
{
    take_out(s, t);
    t->due(t);
}

/* ---- from other threads ---- */

void timers_set(struct timers *s, struct timer *t, int64_t at_ns)
{
    mutex_lock(&s->lock);
    timer_heap_add(&s->root, t, at_ns);
    bool earlier = at_ns < s->sleeps_until;
    mutex_unlock(&s->lock);
    if (earlier)
        cond_signal(&s->wake);
}

bool timers_cancel(struct timers *s, struct timer *t)
{
    mutex_lock(&s->lock);
    bool was_set = t->set;
    if (was_set)
        take_out(s, t);
    mutex_unlock(&s->lock);
    return was_set;
}

void timers_hasten(struct timers *s, struct timer *t)
{
    mutex_lock(&s->lock);
    if (t->set)
        fire(s, t);
    mutex_unlock(&s->lock);
}

/* ---- the thread ---- */

static void *keep(void *arg)
{
    struct timers *s = arg;
    mutex_lock(&s->lock);
    while (!s->stopping) {
        int64_t now = clock_mono_ns(clock_system());
        while (s->root && s->root->at_ns <= now)
            fire(s, s->root);
        s->sleeps_until = s->root ? s->root->at_ns : INT64_MAX;
        if (s->root)
            cond_wait_until(&s->wake, &s->lock, clock_system(), s->sleeps_until);
        else
            cond_wait(&s->wake, &s->lock);
        s->sleeps_until = INT64_MIN;
    }
    mutex_unlock(&s->lock);
    return NULL;
}

beck_status timers_start(struct timers *s, beck_error *err)
{
    *s = (struct timers){.sleeps_until = INT64_MIN};
    mutex_init(&s->lock);
    cond_init(&s->wake);
    int failed = pthread_create(&s->thread, NULL, keep, s);
    if (!failed)
        return BECK_OK;
    cond_release(&s->wake);
    mutex_release(&s->lock);
    return error_errno(err, failed, "starting a thread for HTTP");
}

void timers_stop(struct timers *s)
{
    mutex_lock(&s->lock);
    s->stopping = true;
    mutex_unlock(&s->lock);
    cond_signal(&s->wake);
    pthread_join(s->thread, NULL);
    assert(!s->root);
    cond_release(&s->wake);
    mutex_release(&s->lock);
}
