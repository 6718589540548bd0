/* Mutexes, condition variables on both clocks, parkers. */
#include "base/thread.h"
#include "base/clock.h"
#include "base/common.h"

#include <sched.h>

struct shared {
    struct mutex lock;
    struct cond changed;
    struct clock *clock;
    int64_t deadline_ns;
    bool ready, waiting, was_signalled, held_after;
    int count;
};

static void shared_init(struct shared *s)
{
    *s = (struct shared){.clock = clock_system()};
    mutex_init(&s->lock);
    cond_init(&s->changed);
}

static void shared_release(struct shared *s)
{
    cond_release(&s->changed);
    mutex_release(&s->lock);
}

static pthread_t start(void *(*run)(void *), void *arg)
{
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, run, arg), 0);
    return t;
}

static void *look_at_mutex(void *arg)
{
    struct shared *s = arg;
    s->ready = mutex_held(&s->lock);
    return NULL;
}

static void a_mutex_is_held_only_by_the_thread_that_locked_it(void **state)
{
    (void)state;
    struct shared s;
    shared_init(&s);
    assert_false(mutex_held(&s.lock));
    mutex_lock(&s.lock);
    assert_true(mutex_held(&s.lock));
    pthread_join(start(look_at_mutex, &s), NULL);
    assert_false(s.ready);
    mutex_unlock(&s.lock);
    assert_false(mutex_held(&s.lock));
    shared_release(&s);
}

static void *count_up(void *arg)
{
    struct shared *s = arg;
    for (int i = 0; i < 20000; i++) {
        mutex_lock(&s->lock);
        s->count++;
        mutex_unlock(&s->lock);
    }
    return NULL;
}

static void a_mutex_keeps_threads_apart(void **state)
{
    (void)state;
    struct shared s;
    shared_init(&s);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        threads[i] = start(count_up, &s);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(s.count, 80000);
    shared_release(&s);
}

static void *wait_until_ready(void *arg)
{
    struct shared *s = arg;
    mutex_lock(&s->lock);
    while (!s->ready)
        cond_wait(&s->changed, &s->lock);
    s->held_after = mutex_held(&s->lock);
    mutex_unlock(&s->lock);
    return NULL;
}

static void a_waiter_holds_the_mutex_again_after_it(void **state)
{
    (void)state;
    struct shared s;
    shared_init(&s);
    pthread_t a = start(wait_until_ready, &s), b = start(wait_until_ready, &s);
    mutex_lock(&s.lock);
    s.ready = true;
    cond_broadcast(&s.changed);
    mutex_unlock(&s.lock);
    pthread_join(a, NULL);
    pthread_join(b, NULL);
    assert_true(s.held_after);
    shared_release(&s);
}

static void a_deadline_on_the_system_clock_ends_the_wait(void **state)
{
    (void)state;
    struct shared s;
    shared_init(&s);
    mutex_lock(&s.lock);
    int64_t deadline = clock_mono_ns(s.clock) + 2000000;
    while (cond_wait_until(&s.changed, &s.lock, s.clock, deadline)) {
    }
    assert_true(clock_mono_ns(s.clock) >= deadline);
    assert_true(mutex_held(&s.lock));
    assert_false(cond_wait_until(&s.changed, &s.lock, s.clock, 0));
    assert_false(cond_wait_until(&s.changed, &s.lock, s.clock, -5));
    mutex_unlock(&s.lock);
    shared_release(&s);
}

/* Waits for `ready` or the deadline, and says which came. */
static void *wait_with_deadline(void *arg)
{
    struct shared *s = arg;
    mutex_lock(&s->lock);
    s->waiting = true;
    bool in_time = true;
    while (!s->ready && in_time)
        in_time = cond_wait_until(&s->changed, &s->lock, s->clock, s->deadline_ns);
    s->was_signalled = s->ready;
    s->held_after = mutex_held(&s->lock);
    mutex_unlock(&s->lock);
    return NULL;
}

static void a_signal_ends_a_wait_with_a_far_deadline(void **state)
{
    (void)state;
    struct clock *clocks[] = {clock_system(), clock_virtual_new(0)};
    for (int i = 0; i < 2; i++) {
        struct shared s;
        shared_init(&s);
        s.clock = clocks[i];
        s.deadline_ns = INT64_MAX;
        pthread_t t = start(wait_with_deadline, &s);
        mutex_lock(&s.lock);
        s.ready = true;
        cond_signal(&s.changed);
        mutex_unlock(&s.lock);
        pthread_join(t, NULL);
        assert_true(s.was_signalled && s.held_after);
        shared_release(&s);
    }
    clock_virtual_free(clocks[1]);
}

/* Whether the waiter has got to its wait or not when the clock moves: it never sleeps on. */
static void moving_the_virtual_clock_wakes_waiters(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct shared s;
        shared_init(&s);
        s.clock = clock_virtual_new(0);
        s.deadline_ns = clock_mono_ns(s.clock) + 1000;
        pthread_t t = start(wait_with_deadline, &s);
        for (bool waiting = false; round % 2 == 0 && !waiting;) {
            mutex_lock(&s.lock);
            waiting = s.waiting;
            mutex_unlock(&s.lock);
        }
        clock_virtual_advance(s.clock, 999);
        if (round % 4 < 2)
            mutex_lock(&s.lock); /* the one who moves the clock may hold the waiter's mutex */
        clock_virtual_advance(s.clock, 1);
        if (round % 4 < 2)
            mutex_unlock(&s.lock);
        pthread_join(t, NULL);
        assert_false(s.was_signalled);
        assert_true(s.held_after);
        clock_virtual_free(s.clock);
        shared_release(&s);
    }
}

static void many_waiters_each_see_their_own_deadline(void **state)
{
    (void)state;
    enum { COUNT = 8 };
    struct clock *clock = clock_virtual_new(0);
    struct shared s[COUNT];
    pthread_t threads[COUNT];
    int64_t start_ns = clock_mono_ns(clock);
    for (int i = 0; i < COUNT; i++) {
        shared_init(&s[i]);
        s[i].clock = clock;
        s[i].deadline_ns = start_ns + 100 * (i + 1);
        threads[i] = start(wait_with_deadline, &s[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        clock_virtual_advance(clock, 100);
        pthread_join(threads[i], NULL);
        assert_false(s[i].was_signalled);
    }
    for (int i = 0; i < COUNT; i++)
        shared_release(&s[i]);
    clock_virtual_free(clock);
}

static void *move_word(void *arg)
{
    atomic_fetch_add((_Atomic(uint32_t) *)arg, 1);
    return NULL;
}

static void spinning_ends_when_the_word_moves_and_by_itself(void **state)
{
    (void)state;
    _Atomic(uint32_t) word = 7;
    thread_spin_while(&word, 6);
    thread_spin_while(&word, 7);
    pthread_t mover;
    assert_int_equal(pthread_create(&mover, NULL, move_word, &word), 0);
    while (atomic_load(&word) == 7)
        thread_spin_while(&word, 7);
    pthread_join(mover, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mutex_is_held_only_by_the_thread_that_locked_it),
        cmocka_unit_test(a_mutex_keeps_threads_apart),
        cmocka_unit_test(a_waiter_holds_the_mutex_again_after_it),
        cmocka_unit_test(a_deadline_on_the_system_clock_ends_the_wait),
        cmocka_unit_test(a_signal_ends_a_wait_with_a_far_deadline),
        cmocka_unit_test(moving_the_virtual_clock_wakes_waiters),
        cmocka_unit_test(many_waiters_each_see_their_own_deadline),
        cmocka_unit_test(spinning_ends_when_the_word_moves_and_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
