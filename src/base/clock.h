/* Time as the engine sees it: the system's, or a virtual one that only moves when a test moves it.
 */
#ifndef BECK_BASE_CLOCK_H
#define BECK_BASE_CLOCK_H

#include <stdint.h>

struct clock; /* thread-safe */

struct clock *clock_system(void);                 /* the one system clock; not to be freed */
struct clock *clock_virtual_new(int64_t wall_ns); /* mono starts at 1 s */
void clock_virtual_free(struct clock *c);         /* nobody waits on it; NULL allowed */
/* Moves both, and wakes every cond_wait_until on it. Of the mutexes of those waiters the caller may
 * hold any; a thread that holds another must let go of it without waiting for the caller. */
void clock_virtual_advance(struct clock *c, int64_t ns);

int64_t clock_wall_ns(struct clock *c); /* since 1970 */
int64_t clock_mono_ns(struct clock *c); /* never goes back */
static inline int64_t clock_wall_ms(struct clock *c)
{
    return clock_wall_ns(c) / 1000000;
}

#endif
