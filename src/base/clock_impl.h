/* What a clock is made of: seen by the clocks and by cond_wait_until only. */
#ifndef BECK_BASE_CLOCK_IMPL_H
#define BECK_BASE_CLOCK_IMPL_H

#include "base/clock.h"
#include "base/thread.h"

struct clock_ops {
    int64_t (*wall_ns)(struct clock *c);
    int64_t (*mono_ns)(struct clock *c);
    /* cond_wait_until on this clock: entered and left with the mutex held. */
    bool (*wait)(struct clock *c, struct cond *cond, struct mutex *m, int64_t deadline_ns);
};

struct clock {
    const struct clock_ops *ops;
};

#endif
