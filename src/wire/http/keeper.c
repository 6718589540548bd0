/*
 * The keeper: an epoll set with the listening sockets, sockets of requests that wait, and an eventfd;
 * and a heap of times.
 *
 * What epoll reports about a socket is looked up in a table of slots under the lock, with a number
 * that says which use of the slot it belongs to: so a report that comes after the request ended meets
 * nobody else's.
 */
#include "wire/http/keeper.h"

#include "base/clock.h"
#include "base/error.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define KIND_WAKE 0u
#define KIND_LISTENER 1u
#define KIND_WATCHED 2u
#define EVENTS_MAX 64
#define ACCEPTS_MAX 64 /* in one turn, so that times are not missed */
#define SLOTS_MAX (1u << 24)
#define LISTEN_AGAIN_NS 100000000

struct slot {
    struct watched *watched; /* NULL: free */
    uint32_t use, next_free;
};

/* kind, use of the slot, its place: as one number for epoll. */
static uint64_t mark_of(uint32_t kind, uint32_t use, uint32_t place)
{
    return (uint64_t)kind << 56 | (uint64_t)use << 24 | place;
}

/* ---- times: a pairing heap ---- */

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

static void take_out(struct keeper *k, struct timer *t)
{
    assert(mutex_held(&k->lock) && t->set);
    struct timer *children = meld_list(t->child);
    if (t == k->root) {
        k->root = children;
    } else {
        if (t->previous->child == t)
            t->previous->child = t->next;
        else
            t->previous->next = t->next;
        if (t->next)
            t->next->previous = t->previous;
        k->root = meld(k->root, children);
    }
    t->child = t->next = t->previous = NULL;
    t->set = false;
}

void keeper_fire(struct keeper *k, struct timer *t)
{
    assert(mutex_held(&k->lock));
    if (!t->set)
        return;
    take_out(k, t);
    t->due(t);
}

static void wake(const struct keeper *k)
{
    uint64_t one = 1;
    ssize_t written = write(k->wake, &one, sizeof one);
    (void)written; /* full: it wakes all the same */
}

void keeper_set(struct keeper *k, struct timer *t, int64_t at_ns)
{
    mutex_lock(&k->lock);
    assert(!t->set);
    t->at_ns = at_ns;
    t->child = t->next = t->previous = NULL;
    t->set = true;
    k->root = meld(k->root, t);
    bool earlier = at_ns < k->sleeps_until;
    mutex_unlock(&k->lock);
    if (earlier)
        wake(k);
}

bool keeper_cancel(struct keeper *k, struct timer *t)
{
    mutex_lock(&k->lock);
    bool was_set = t->set;
    if (was_set)
        take_out(k, t);
    mutex_unlock(&k->lock);
    return was_set;
}

void keeper_hasten(struct keeper *k, struct timer *t)
{
    mutex_lock(&k->lock);
    keeper_fire(k, t);
    mutex_unlock(&k->lock);
}

/* Milliseconds to sleep, rounded up; -1: until woken. */
static int run_times(struct keeper *k)
{
    int64_t now = clock_mono_ns(clock_system());
    while (k->root && k->root->at_ns <= now)
        keeper_fire(k, k->root);
    int64_t until = k->root ? k->root->at_ns : INT64_MAX;
    if (k->listen_again_ns && k->listen_again_ns < until)
        until = k->listen_again_ns;
    k->sleeps_until = until;
    if (until == INT64_MAX)
        return -1;
    int64_t ms = until <= now ? 0 : (until - now) / 1000000 + 1;
    return ms > 3600000 ? 3600000 : (int)ms;
}

/* ---- clients that go away ---- */

static bool grow_slots(struct keeper *k)
{
    uint32_t count = k->slot_count ? k->slot_count * 2 : 64;
    struct slot *slots = count <= SLOTS_MAX ? realloc(k->slots, count * sizeof *slots) : NULL;
    if (!slots)
        return false;
    for (uint32_t i = count; i > k->slot_count; i--) {
        slots[i - 1] = (struct slot){.next_free = k->slot_free};
        k->slot_free = i;
    }
    k->slots = slots;
    k->slot_count = count;
    return true;
}

void keeper_watch(struct keeper *k, struct watched *w)
{
    mutex_lock(&k->lock);
    assert(!w->place);
    if (k->slot_free || grow_slots(k)) {
        uint32_t place = k->slot_free - 1;
        struct slot *s = &k->slots[place];
        struct epoll_event e = {.events = EPOLLRDHUP | EPOLLONESHOT,
                                .data.u64 = mark_of(KIND_WATCHED, s->use, place)};
        if (epoll_ctl(k->epoll, EPOLL_CTL_ADD, w->fd, &e) == 0) {
            k->slot_free = s->next_free;
            s->watched = w;
            w->place = place + 1;
        }
    }
    mutex_unlock(&k->lock);
}

void keeper_unwatch(struct keeper *k, struct watched *w)
{
    mutex_lock(&k->lock);
    if (w->place) {
        struct slot *s = &k->slots[w->place - 1];
        epoll_ctl(k->epoll, EPOLL_CTL_DEL, w->fd, NULL);
        s->watched = NULL;
        s->use++;
        s->next_free = k->slot_free;
        k->slot_free = w->place;
        w->place = 0;
    }
    mutex_unlock(&k->lock);
}

static void report_gone(struct keeper *k, uint64_t mark)
{
    uint32_t place = mark & (SLOTS_MAX - 1), use = (uint32_t)(mark >> 24);
    mutex_lock(&k->lock);
    if (place < k->slot_count && k->slots[place].watched && k->slots[place].use == use)
        k->slots[place].watched->gone(k->slots[place].watched);
    mutex_unlock(&k->lock);
}

/* ---- new connections ---- */

static void listen_to(struct keeper *k, bool on)
{
    assert(mutex_held(&k->lock));
    for (size_t i = 0; i < k->listener_count && on != k->listening; i++) {
        struct epoll_event e = {.events = EPOLLIN,
                                .data.u64 = mark_of(KIND_LISTENER, 0, (uint32_t)i)};
        epoll_ctl(k->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, k->listeners[i], &e);
    }
    k->listening = on;
    k->listen_again_ns = 0;
}

/* Under the lock, so that nobody is accepted once keeper_close has returned. */
static void accept_some(struct keeper *k, size_t listener)
{
    mutex_lock(&k->lock);
    for (int i = 0; i < ACCEPTS_MAX && k->listening; i++) {
        struct sockaddr_storage address;
        socklen_t length = sizeof address;
        int fd = accept4(k->listeners[listener], (struct sockaddr *)&address, &length,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            k->accepted(k->ctx, listener, fd, &address, length);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            listen_to(k, false);
            k->listen_again_ns = clock_mono_ns(clock_system()) + LISTEN_AGAIN_NS;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            break;
        }
    }
    mutex_unlock(&k->lock);
}

void keeper_close(struct keeper *k)
{
    mutex_lock(&k->lock);
    listen_to(k, false);
    mutex_unlock(&k->lock);
}

/* ---- the thread ---- */

static void handle(struct keeper *k, uint64_t mark)
{
    uint64_t count;
    switch (mark >> 56) {
    case KIND_WAKE:
        if (read(k->wake, &count, sizeof count) < 0)
            assert(errno == EAGAIN);
        break;
    case KIND_LISTENER:
        accept_some(k, (size_t)(mark & (SLOTS_MAX - 1)));
        break;
    default:
        report_gone(k, mark);
    }
}

static void *keep(void *arg)
{
    struct keeper *k = arg;
    struct epoll_event events[EVENTS_MAX];
    mutex_lock(&k->lock);
    while (!k->stopping) {
        if (k->listen_again_ns && clock_mono_ns(clock_system()) >= k->listen_again_ns)
            listen_to(k, true);
        int timeout = run_times(k);
        mutex_unlock(&k->lock);
        int count = epoll_wait(k->epoll, events, EVENTS_MAX, timeout);
        mutex_lock(&k->lock);
        k->sleeps_until = INT64_MIN;
        mutex_unlock(&k->lock);
        for (int i = 0; i < count; i++)
            handle(k, events[i].data.u64);
        mutex_lock(&k->lock);
    }
    mutex_unlock(&k->lock);
    return NULL;
}

static void release(struct keeper *k)
{
    if (k->epoll >= 0)
        close(k->epoll);
    if (k->wake >= 0)
        close(k->wake);
    free(k->listeners);
    free(k->slots);
    mutex_release(&k->lock);
}

beck_status keeper_start(struct keeper *k, const int *listeners, size_t count,
                         void (*accepted)(void *ctx, size_t listener, int fd, void *address,
                                          unsigned length),
                         void *ctx, beck_error *err)
{
    *k = (struct keeper){.sleeps_until = INT64_MIN, .accepted = accepted, .ctx = ctx};
    mutex_init(&k->lock);
    k->epoll = epoll_create1(EPOLL_CLOEXEC);
    k->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    k->listeners = malloc((count + 1) * sizeof *k->listeners);
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = mark_of(KIND_WAKE, 0, 0)};
    if (k->epoll < 0 || k->wake < 0 || !k->listeners ||
        epoll_ctl(k->epoll, EPOLL_CTL_ADD, k->wake, &e)) {
        beck_status status = error_errno(err, errno, "preparing to accept HTTP connections");
        release(k);
        return status;
    }
    for (size_t i = 0; i < count; i++)
        k->listeners[i] = listeners[i];
    /* Or one connection that ends before it is accepted would keep the thread. */
    for (size_t i = 0; i < count; i++)
        fcntl(listeners[i], F_SETFL, fcntl(listeners[i], F_GETFL) | O_NONBLOCK);
    k->listener_count = count;
    mutex_lock(&k->lock);
    listen_to(k, true);
    mutex_unlock(&k->lock);
    int failed = pthread_create(&k->thread, NULL, keep, k);
    if (failed) {
        release(k);
        return error_errno(err, failed, "starting a thread for HTTP");
    }
    return BECK_OK;
}

void keeper_stop(struct keeper *k)
{
    mutex_lock(&k->lock);
    k->stopping = true;
    mutex_unlock(&k->lock);
    wake(k);
    pthread_join(k->thread, NULL);
    assert(!k->root);
    release(k);
}
