/*
 * Mutexes, condition variables and gates.
 *
 * The holder of a mutex is kept beside it with relaxed stores: only the holder itself ever finds
 * its own id there, so mutex_held is exact for the caller and costs the lock nothing.
 */
#include "base/thread.h"
#include "base/clock_impl.h"

#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A thread is known by the address of a variable of its own: a pthread_self that needs no call. */
static uintptr_t self_id(void)
{
    static _Thread_local char here __attribute__((tls_model("initial-exec")));
    return (uintptr_t)&here;
}

/* A failure of these calls is a programmer error (or a damaged object): going on would be worse. */
static void must(int rc)
{
    assert(rc == 0);
    if (__builtin_expect(rc != 0, 0))
        abort();
}

#define LOCK_SPINS 300

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Spinning is worth while only where the waker can run meanwhile. The count of processors is a
 * fact of the machine, asked for once: asking opens a file. */
static bool spinning_helps(void)
{
    static _Atomic(long) processors;
    long n = atomic_load_explicit(&processors, memory_order_relaxed);
    if (n == 0) {
        n = sysconf(_SC_NPROCESSORS_ONLN);
        if (n < 1)
            n = 1;
        atomic_store_explicit(&processors, n, memory_order_relaxed);
    }
    return n > 1;
}

void mutex_init(struct mutex *m)
{
    must(pthread_mutex_init(&m->m, NULL));
    atomic_init(&m->holder, 0);
}

void mutex_release(struct mutex *m)
{
    assert(atomic_load_explicit(&m->holder, memory_order_relaxed) == 0);
    must(pthread_mutex_destroy(&m->m));
}

/* What a lock guards is short: being put to sleep and woken costs several times as much. */
static void lock_contended(struct mutex *m)
{
    if (spinning_helps()) {
        for (int i = 0; i < LOCK_SPINS; i++) {
            if (atomic_load_explicit(&m->holder, memory_order_relaxed) == 0 &&
                pthread_mutex_trylock(&m->m) == 0)
                return;
            pause_briefly();
        }
    }
    must(pthread_mutex_lock(&m->m));
}

void mutex_lock(struct mutex *m)
{
    assert(!mutex_held(m));
    if (pthread_mutex_trylock(&m->m) != 0)
        lock_contended(m);
    atomic_store_explicit(&m->holder, self_id(), memory_order_relaxed);
}

void mutex_unlock(struct mutex *m)
{
    assert(mutex_held(m));
    atomic_store_explicit(&m->holder, 0, memory_order_relaxed);
    must(pthread_mutex_unlock(&m->m));
}

bool mutex_held(struct mutex *m)
{
    return atomic_load_explicit(&m->holder, memory_order_relaxed) == self_id();
}

void cond_init(struct cond *c)
{
    pthread_condattr_t attr;
    must(pthread_condattr_init(&attr));
    must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    must(pthread_cond_init(&c->c, &attr));
    must(pthread_condattr_destroy(&attr));
}

void cond_release(struct cond *c)
{
    must(pthread_cond_destroy(&c->c));
}

void cond_wait(struct cond *c, struct mutex *m)
{
    assert(mutex_held(m));
    atomic_store_explicit(&m->holder, 0, memory_order_relaxed);
    must(pthread_cond_wait(&c->c, &m->m));
    atomic_store_explicit(&m->holder, self_id(), memory_order_relaxed);
}

bool cond_wait_until(struct cond *c, struct mutex *m, struct clock *clock, int64_t deadline_ns)
{
    assert(mutex_held(m));
    return clock->ops->wait(clock, c, m, deadline_ns);
}

void cond_signal(struct cond *c)
{
    must(pthread_cond_signal(&c->c));
}

void cond_broadcast(struct cond *c)
{
    must(pthread_cond_broadcast(&c->c));
}

/* ---- words that many wait for ---- */

#define LINGER_SPINS 500

void thread_spin_while(const _Atomic(uint32_t) *word, uint32_t seen)
{
    if (!spinning_helps())
        return;
    for (int i = 0; i < LINGER_SPINS; i++) {
        if (atomic_load_explicit(word, memory_order_relaxed) != seen)
            return;
        pause_briefly();
    }
}

void gate_init(struct gate *g)
{
    atomic_init(&g->word, 0);
}

void gate_wait(struct gate *g, uint32_t seen)
{
    if (gate_seen(g) == seen)
        syscall(SYS_futex, &g->word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

void gate_bump(struct gate *g, int count)
{
    atomic_fetch_add_explicit(&g->word, 1, memory_order_release);
    syscall(SYS_futex, &g->word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}
