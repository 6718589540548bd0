/* See syncers.h. */
#include "log/syncers.h"

/* Of one call; on its stack. */
struct syncers_work {
    struct syncers_work *next;
    void (*fn)(void *ctx, size_t i);
    void *ctx;
    size_t count, begun, ended;
};

static void unlink_work(struct syncers *s, const struct syncers_work *w)
{
    struct syncers_work **at = &s->first;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
}

/* Until nothing of it is left to begin. With the lock, which is free during the calls. */
static void do_work(struct syncers *s, struct syncers_work *w)
{
    while (w->begun < w->count) {
        size_t i = w->begun++;
        if (w->begun == w->count)
            unlink_work(s, w);
        mutex_unlock(&s->lock);
        w->fn(w->ctx, i);
        mutex_lock(&s->lock);
        if (++w->ended == w->count)
            cond_broadcast(&s->ended);
    }
}

static void *syncer_main(void *arg)
{
    struct syncers *s = arg;
    mutex_lock(&s->lock);
    while (s->first || !s->stopping) {
        if (s->first) {
            do_work(s, s->first);
            continue;
        }
        s->idle++;
        cond_wait(&s->wake, &s->lock);
        s->idle--;
    }
    mutex_unlock(&s->lock);
    return NULL;
}

void syncers_init(struct syncers *s)
{
    *s = (struct syncers){.first = NULL};
    mutex_init(&s->lock);
    cond_init(&s->wake);
    cond_init(&s->ended);
}

void syncers_release(struct syncers *s)
{
    mutex_lock(&s->lock);
    s->stopping = true;
    cond_broadcast(&s->wake);
    mutex_unlock(&s->lock);
    for (uint32_t i = 0; i < s->count; i++)
        pthread_join(s->threads[i], NULL);
    cond_release(&s->ended);
    cond_release(&s->wake);
    mutex_release(&s->lock);
}

/* With the lock. */
static void call_others(struct syncers *s, size_t wanted)
{
    uint32_t idle = s->idle;
    for (; wanted > 0 && idle > 0; wanted--, idle--)
        cond_signal(&s->wake);
    for (; wanted > 0 && s->count < SYNCERS_MAX; wanted--, s->count++)
        if (pthread_create(&s->threads[s->count], NULL, syncer_main, s))
            return;
}

void syncers_run(struct syncers *s, void (*fn)(void *ctx, size_t i), void *ctx, size_t count)
{
    if (count < 2) {
        if (count == 1)
            fn(ctx, 0);
        return;
    }
    struct syncers_work w = {.fn = fn, .ctx = ctx, .count = count};
    mutex_lock(&s->lock);
    struct syncers_work **end = &s->first;
    while (*end)
        end = &(*end)->next;
    *end = &w;
    call_others(s, count - 1);
    do_work(s, &w);
    while (w.ended < w.count)
        cond_wait(&s->ended, &s->lock);
    mutex_unlock(&s->lock);
}
