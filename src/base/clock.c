/* The system's clock, and the dispatch to whichever clock is in use. */
#include "base/clock_impl.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#define NS_PER_S INT64_C(1000000000)

static int64_t read_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int64_t system_wall_ns(struct clock *c)
{
    (void)c;
    return read_ns(CLOCK_REALTIME);
}

static int64_t system_mono_ns(struct clock *c)
{
    (void)c;
    return read_ns(CLOCK_MONOTONIC);
}

static bool system_wait(struct clock *c, struct cond *cond, struct mutex *m, int64_t deadline_ns)
{
    (void)c;
    if (deadline_ns < 0)
        deadline_ns = 0;
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / NS_PER_S),
                             .tv_nsec = (long)(deadline_ns % NS_PER_S)};
    uintptr_t self = atomic_load_explicit(&m->holder, memory_order_relaxed);
    atomic_store_explicit(&m->holder, 0, memory_order_relaxed);
    int rc = pthread_cond_timedwait(&cond->c, &m->m, &until);
    atomic_store_explicit(&m->holder, self, memory_order_relaxed);
    return rc != ETIMEDOUT;
}

struct clock *clock_system(void)
{
    static const struct clock_ops ops = {system_wall_ns, system_mono_ns, system_wait};
    static struct clock clock = {&ops};
    return &clock;
}

int64_t clock_wall_ns(struct clock *c)
{
    return c->ops->wall_ns(c);
}

int64_t clock_mono_ns(struct clock *c)
{
    return c->ops->mono_ns(c);
}
