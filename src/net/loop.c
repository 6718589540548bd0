/*
 * A loop: one thread that waits for its descriptors, its timers and its inbox.
 *
 * Sleeping. The loop says that it is asleep and looks into the inbox once more before it waits; who
 * posts puts the task in and then looks whether the loop is asleep. So one of the two sees the
 * other, and a loop that is busy costs those who post no system call.
 *
 * Whoever posts from a loop mostly holds a lock that the task will want. Woken at once, the other loop would take the
 * processor and wait for it; so it is woken when what the loop is running has returned.
 */
#include "net/net_impl.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- from other threads ---- */

static _Thread_local struct net_loop *here; /* the loop that this thread runs */

static void wake_now(struct net_loop *l)
{
    if (!atomic_load(&l->asleep) || !atomic_exchange(&l->asleep, false))
        return;
    uint64_t one = 1;
    while (write(l->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

/* False: it is to be woken now. */
static bool wake_later(struct net_loop *l)
{
    if (!here || here->sleeper_count == SLEEPERS_MAX)
        return false;
    for (size_t i = 0; i < here->sleeper_count; i++)
        if (here->sleepers[i] == l)
            return true;
    atomic_fetch_add(&l->touching, 1);
    here->sleepers[here->sleeper_count++] = l;
    return true;
}

static void wake(struct net_loop *l)
{
    if (atomic_load(&l->asleep) && !wake_later(l))
        wake_now(l);
}

void loop_wake_others(struct net_loop *l)
{
    while (l->sleeper_count > 0) {
        struct net_loop *other = l->sleepers[--l->sleeper_count];
        wake_now(other);
        atomic_fetch_sub(&other->touching, 1);
    }
}

/* A task may end the loop before this returns: `touching` keeps it until then. */
void net_post_chain(struct net_loop *l, struct net_task *last, struct net_task *first)
{
    atomic_fetch_add(&l->touching, 1);
    struct net_task *before = atomic_load_explicit(&l->inbox, memory_order_relaxed);
    do
        first->next = before;
    while (!atomic_compare_exchange_weak(&l->inbox, &before, last));
    wake(l);
    atomic_fetch_sub(&l->touching, 1);
}

void net_post(struct net_loop *l, struct net_task *t)
{
    net_post_chain(l, t, t);
}

void loop_forget(struct connection *c)
{
    struct net_loop *l = c->loop;
    free(c);
    atomic_fetch_add(&l->touching, 1);
    if (atomic_fetch_sub(&l->alive, 1) == 1)
        wake(l);
    atomic_fetch_sub(&l->touching, 1);
}

/* ---- turns ---- */

void loop_enter(struct net_loop *l)
{
    if (l->fresh)
        return;
    l->fresh = true;
    l->now_ns = clock_mono_ns(clock_system());
    atomic_store_explicit(&l->asleep, false, memory_order_relaxed);
}

void loop_due(struct connection *c)
{
    struct net_loop *l = c->loop;
    if (c->due || c->state == STATE_CLOSED)
        return;
    c->due = true;
    c->next_due = NULL;
    *l->due_end = c;
    l->due_end = &c->next_due;
}

static void run_inbox(struct net_loop *l)
{
    struct net_task *newest = atomic_exchange(&l->inbox, NULL), *first = NULL;
    while (newest) {
        struct net_task *t = newest;
        newest = t->next;
        t->next = first;
        first = t;
    }
    while (first) {
        struct net_task *t = first;
        first = t->next;
        t->run(t);
        loop_wake_others(l);
    }
}

/* What becomes due meanwhile is for the next turn. */
static void settle_due(struct net_loop *l)
{
    struct connection *c = l->due;
    l->due = NULL;
    l->due_end = &l->due;
    while (c) {
        struct connection *next = c->next_due;
        c->due = false;
        connection_settle(c);
        loop_wake_others(l);
        c = next;
    }
}

static bool is_over(struct net_loop *l)
{
    return l->stopping && !l->due && atomic_load(&l->alive) == 0 && !atomic_load(&l->inbox);
}

static void wait_for_events(struct net_loop *l)
{
    bool busy = l->due != NULL;
    l->fresh = false;
    if (!busy) {
        atomic_store(&l->asleep, true);
        busy = atomic_load(&l->inbox) != NULL || is_over(l);
    }
    event_base_loop(l->base, EVLOOP_ONCE | (busy ? EVLOOP_NONBLOCK : 0));
    loop_enter(l);
}

static void *run(void *arg)
{
    struct net_loop *l = arg;
    here = l;
    while (!is_over(l)) {
        wait_for_events(l);
        loop_wake_others(l);
        run_inbox(l);
        settle_due(l);
    }
    return NULL;
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    uint64_t count;
    (void)what;
    loop_enter(arg);
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
}

/* ---- what others ask of it ---- */

static void drain(struct net_task *t)
{
    struct net_loop *l =
        (struct net_loop *)(void *)((char *)t - offsetof(struct net_loop, drain_task));
    l->draining = true;
    for (struct connection *c = l->all; c; c = c->next)
        connection_drain(c);
}

static void stop(struct net_task *t)
{
    struct net_loop *l =
        (struct net_loop *)(void *)((char *)t - offsetof(struct net_loop, stop_task));
    l->stopping = true;
    for (struct connection *c = l->all; c; c = c->next)
        connection_fail(c, "the server stops");
}

/* ---- life ---- */

static struct event_base *new_base(void)
{
    struct event_config *config = event_config_new();
    if (!config)
        return NULL;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

beck_status loop_open(struct net *n, struct net_loop *l, beck_error *err)
{
    *l = (struct net_loop){.net = n, .drain_task.run = drain, .stop_task.run = stop};
    l->due_end = &l->due;
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->wake_fd < 0)
        return error_errno(err, errno, "no descriptor for a network thread");
    l->base = new_base();
    l->scratch = malloc(KEPT_SHORT + SCRATCH_SIZE);
    l->space = malloc(TLS_RECORD);
    if (!l->base || !l->scratch || !l->space)
        return error_set(err, BECK_ENOMEM, "no memory for a network thread");
    event_assign(&l->wake_event, l->base, l->wake_fd, EV_READ | EV_PERSIST, on_wake, l);
    if (event_add(&l->wake_event, NULL))
        return error_set(err, BECK_ENOMEM, "no memory for a network thread");
    return BECK_OK;
}

/* Signals are for the program's own threads; and sendfile raises SIGPIPE, which is then never
 * delivered. */
beck_status loop_start(struct net_loop *l, beck_error *err)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int error = pthread_create(&l->thread, NULL, run, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return error_errno(err, error, "no network thread can be started");
    l->started = true;
    pthread_setname_np(l->thread, "beck-net");
    return BECK_OK;
}

void loop_close(struct net_loop *l)
{
    assert(!l->all && atomic_load(&l->alive) == 0);
    while (atomic_load(&l->touching) > 0)
        sched_yield();
    piece_cache_release(&l->pieces);
    if (l->base)
        event_base_free(l->base);
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    free(l->scratch);
    free(l->space);
}
