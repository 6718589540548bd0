/* Listeners under many threads: what unsubscribing waits for, exact limits, and all at once. */
#include "bus/subscribers_inline.h"
#include "shop.h"

#include <pthread.h>
#include <sched.h>

static void until(_Atomic(int) *value, int wanted)
{
    while (atomic_load(value) != wanted)
        sched_yield();
}

struct blocker {
    struct bus *bus;
    _Atomic(int) stage; /* 1: in the call, 2: may return, 3: about to return */
    int after;          /* written by the call, read after unsubscribing */
};

static int block(void *ctx, const beck_event *event)
{
    (void)event;
    struct blocker *b = ctx;
    atomic_store(&b->stage, 1);
    until(&b->stage, 2);
    for (int i = 0; i < 100; i++)
        sched_yield();
    atomic_store_explicit(&b->stage, 3, memory_order_relaxed);
    b->after = 1;
    return 0;
}

static void *publish_x(void *bus)
{
    publish(bus, "x");
    return NULL;
}

static void test_unsubscribing_waits_for_calls_on_other_threads(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct bus bus;
        struct blocker *b = calloc(1, sizeof *b);
        pthread_t thread;
        bus_init(&bus);
        beck_listener *listener = subscribe(&bus, "x", block, b, NULL);
        assert_int_equal(pthread_create(&thread, NULL, publish_x, &bus), 0);
        until(&b->stage, 1);
        atomic_store(&b->stage, 2);
        subscribers_remove(listener);
        assert_int_equal(b->after, 1);
        free(b);
        assert_int_equal(pthread_join(thread, NULL), 0);
        bus_release(&bus);
    }
}

#define PUBLISHERS 3
#define LIMIT 500

static struct {
    struct bus *bus;
    _Atomic(int) calls, releases;
    _Atomic(bool) stop;
} shared;

static int count_shared(void *ctx, const beck_event *event)
{
    (void)ctx;
    (void)event;
    atomic_fetch_add(&shared.calls, 1);
    return 0;
}

static void release_shared(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&shared.releases, 1);
}

static void *publish_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < LIMIT; i++)
        publish(shared.bus, "x");
    return NULL;
}

static void test_events_max_is_exact_with_many_threads(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        struct bus bus;
        pthread_t threads[PUBLISHERS];
        beck_listener_options limited = {.events_max = LIMIT, .release = release_shared};
        bus_init(&bus);
        shared.bus = &bus;
        atomic_store(&shared.calls, 0);
        atomic_store(&shared.releases, 0);
        beck_listener *listener = subscribe(&bus, "x", count_shared, NULL, &limited);
        for (int i = 0; i < PUBLISHERS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, publish_many, NULL), 0);
        for (int i = 0; i < PUBLISHERS; i++)
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(shared.calls, LIMIT);
        assert_int_equal(shared.releases, 1);
        subscribers_remove(listener);
        assert_int_equal(shared.releases, 1);
        bus_release(&bus);
    }
}

/* Objects that die with their listener: a call after that is found by the magic number, or by
 * AddressSanitizer. */
#define ALIVE 0xa11feu

struct mortal {
    uint32_t magic;
    bool leaves_inside;
    beck_listener *listener;
    _Atomic(bool) left;
};

static int call_mortal(void *ctx, const beck_event *event)
{
    (void)event;
    struct mortal *m = ctx;
    if (m->magic != ALIVE)
        return 1;
    if (m->leaves_inside && !atomic_exchange(&m->left, true))
        subscribers_remove(m->listener);
    return 0;
}

static void kill_mortal(void *ctx)
{
    struct mortal *m = ctx;
    m->magic = 0;
    free(m);
    atomic_fetch_add(&shared.releases, 1);
}

static struct mortal *mortal_new(bool leaves_inside)
{
    struct mortal *m = calloc(1, sizeof *m);
    if (m == NULL)
        abort();
    m->magic = ALIVE;
    m->leaves_inside = leaves_inside;
    return m;
}

#define CHANGES 300

static const char *const stress_types[] = {"a", "a.b", "a.c", "order.created", "order.paid.late"};
static const char *const stress_patterns[] = {"#", "a.*", "a", "order.#", "*.created"};

static void *change(void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < CHANGES; i++) {
        /* One freed right behind its unsubscribing, one by its release, one by events_max. */
        struct mortal *m = mortal_new(false);
        beck_listener *listener =
            subscribe(shared.bus, stress_patterns[i % 5], call_mortal, m, NULL);
        struct mortal *limited = mortal_new(false);
        beck_listener_options once = {.events_max = 1, .release = kill_mortal};
        beck_listener *second = subscribe(shared.bus, "#", call_mortal, limited, &once);
        for (int k = 0; k < 5; k++)
            sched_yield();
        subscribers_remove(listener);
        m->magic = 0;
        free(m);
        subscribers_remove(second);
    }
    return NULL;
}

static void *publish_until_stop(void *failed)
{
    for (uint32_t i = 0; !atomic_load(&shared.stop); i++)
        atomic_fetch_add((_Atomic(int) *)failed, (int)publish(shared.bus, stress_types[i % 5]));
    return NULL;
}

/* Publishes to it itself, so that every one leaves inside of a call. */
static void *leave_inside(void *failed)
{
    for (uint32_t i = 0; i < CHANGES; i++) {
        struct mortal *m = mortal_new(true);
        beck_listener_options options = {.release = kill_mortal};
        atomic_store(&m->left, true); /* not before its handle is known */
        m->listener = subscribe(shared.bus, "own", call_mortal, m, &options);
        atomic_store(&m->left, false);
        atomic_fetch_add((_Atomic(int) *)failed, (int)publish(shared.bus, "own"));
    }
    return NULL;
}

static void count_reports(void *ctx, const beck_error *error)
{
    (void)error;
    atomic_fetch_add((_Atomic(int) *)ctx, 1);
}

static void test_threads_subscribe_unsubscribe_and_publish_at_once(void **state)
{
    (void)state;
    struct bus bus = {0};
    pthread_t publishers[PUBLISHERS], changers[2], leaver;
    _Atomic(int) failed = 0, reports = 0;
    assert_int_equal(callers_new(&bus.callers, NULL), BECK_OK);
    assert_int_equal(subscribers_new(bus.callers, "s", count_reports, &reports, &bus.subscribers),
                     BECK_OK);
    shared.bus = &bus;
    atomic_store(&shared.stop, false);
    atomic_store(&shared.releases, 0);
    for (int i = 0; i < PUBLISHERS; i++)
        assert_int_equal(pthread_create(&publishers[i], NULL, publish_until_stop, &failed), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&changers[i], NULL, change, NULL), 0);
    assert_int_equal(pthread_create(&leaver, NULL, leave_inside, &failed), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(changers[i], NULL), 0);
    assert_int_equal(pthread_join(leaver, NULL), 0);
    atomic_store(&shared.stop, true);
    for (int i = 0; i < PUBLISHERS; i++)
        assert_int_equal(pthread_join(publishers[i], NULL), 0);
    assert_int_equal(failed, 0);
    assert_int_equal(reports, 0);
    assert_int_equal(subscribers_count(bus.subscribers), 0);
    assert_int_equal(shared.releases, 3 * CHANGES);
    bus_release(&bus);
}

/* ---- counting ---- */

#define COUNTED 20000

static void *count_events(void *arg)
{
    struct bus *bus = arg;
    struct caller *self = callers_self(bus->callers);
    for (int i = 0; i < COUNTED; i++) {
        beck_bytes type = beck_str(i % 3 ? "a" : "b");
        caller_enter(self);
        const struct match *m = subscribers_match(bus->subscribers, self, type);
        assert_non_null(m);
        subscribers_count_event(bus->subscribers, self, m);
        caller_leave(self);
    }
    return NULL;
}

static struct counter *one_counter(void *ctx, beck_bytes type)
{
    (void)type;
    return ctx;
}

static void test_what_all_threads_count_is_taken_once(void **state)
{
    (void)state;
    struct bus bus;
    struct counter total = {0};
    bus_init(&bus);
    subscribers_count_by(bus.subscribers, one_counter, &total);
    for (int round = 0; round < 3; round++) { /* later threads get the slots of those that ended */
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, count_events, &bus), 0);
        subscribers_sum_up(bus.subscribers);
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        beck_listener *l = subscribe(&bus, "a", block, NULL, NULL); /* matches are made anew */
        subscribers_remove(l);
    }
    subscribers_sum_up(bus.subscribers);
    assert_int_equal(atomic_load(&total.value), 3 * 4 * COUNTED);
    bus_release(&bus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unsubscribing_waits_for_calls_on_other_threads),
        cmocka_unit_test(test_events_max_is_exact_with_many_threads),
        cmocka_unit_test(test_threads_subscribe_unsubscribe_and_publish_at_once),
        cmocka_unit_test(test_what_all_threads_count_is_taken_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
