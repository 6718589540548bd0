/* A handler of pthread_atfork counts in the child. */
#include "base/forks.h"

#include <pthread.h>
#include <stdatomic.h>

static _Atomic(unsigned) forks;
static pthread_once_t watch_once = PTHREAD_ONCE_INIT;

static void count_fork(void)
{
    atomic_fetch_add(&forks, 1);
}

static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, count_fork);
}

unsigned forks_count(void)
{
    pthread_once(&watch_once, watch_forks);
    return atomic_load_explicit(&forks, memory_order_relaxed);
}
