/* Workers: threads that take and handle; with publishers, checkpoints and closing beside them. */
#include "queue/world.h"

#include <pthread.h>

struct job {
    struct world *w;
    _Atomic(int) calls, running, most_at_once, order_faults;
    _Atomic(bool) hold, held;
    beck_bus *effects;
    int last;
    int verdicts[8];
};

static void until(struct world *w, int64_t settled)
{
    while (info_of(w, "q").settled < settled)
        sched_yield();
}

static int count_calls(void *ctx, const beck_delivery *d, char *why)
{
    struct job *job = ctx;
    (void)d;
    (void)why;
    int now = atomic_fetch_add(&job->running, 1) + 1;
    int most = atomic_load(&job->most_at_once);
    while (now > most && !atomic_compare_exchange_weak(&job->most_at_once, &most, now))
        continue;
    atomic_fetch_add(&job->calls, 1);
    atomic_fetch_sub(&job->running, 1);
    return BECK_SETTLE;
}

static void every_event_is_handled_once_by_several_threads(void **state)
{
    struct world w;
    struct job job = {0};
    enum { COUNT = 2000 };
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    beck_workers *workers = NULL;
    check_ok(beck_workers_start(w.b, "q", count_calls, &job,
                                &(beck_worker_options){.threads = 3, .prefetch = 10}, &workers,
                                err));
    for (int i = 0; i < COUNT; i++)
        put(bus, "t", "x");
    until(&w, COUNT);
    assert_int_equal(atomic_load(&job.calls), COUNT);
    check_counts(&w, "q", 0, 0, 0, 0);
    assert_int_equal(info_of(&w, "q").consumers, 3);
    beck_workers_stop(workers);
    assert_int_equal(info_of(&w, "q").consumers, 0);
    world_end(&w);
}

static int check_number(void *ctx, const beck_delivery *d, char *why)
{
    struct job *job = ctx;
    (void)why;
    int n = atoi((const char *)d->event->data.data);
    if (n <= job->last)
        atomic_fetch_add(&job->order_faults, 1);
    job->last = n;
    return BECK_SETTLE;
}

static void one_worker_sees_the_order_of_publishing(void **state)
{
    struct world w;
    struct job job = {.last = -1};
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    beck_workers *workers = NULL;
    check_ok(beck_workers_start(w.b, "q", check_number, &job, NULL, &workers, err));
    for (int i = 0; i < 500; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d ", i);
        put(bus, "t", text);
    }
    until(&w, 500);
    beck_workers_stop(workers);
    assert_int_equal(atomic_load(&job.order_faults), 0);
    world_end(&w);
}

static int answer_by_type(void *ctx, const beck_delivery *d, char *why)
{
    (void)ctx;
    strcpy(why, "because");
    if (text_is(d->event->type, "retry"))
        return d->attempt < 3 ? BECK_RETRY : BECK_SETTLE;
    if (text_is(d->event->type, "odd"))
        return d->attempt < 2 ? 77 : BECK_SETTLE;
    return text_is(d->event->type, "reject") ? BECK_REJECT : BECK_SETTLE;
}

static void verdicts_are_done(void **state)
{
    struct world w;
    struct letters all;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.backoff = {.kind = BECK_BACKOFF_NONE}});
    put(bus, "retry", "r");
    put(bus, "odd", "o");
    put(bus, "reject", "j");
    put(bus, "fine", "f");
    beck_workers *workers = NULL;
    check_ok(beck_workers_start(w.b, "q", answer_by_type, NULL, NULL, &workers, err));
    until(&w, 3);
    while (info_of(&w, "q").dead < 1)
        sched_yield();
    beck_workers_stop(workers);
    check_counts(&w, "q", 0, 0, 0, 1);
    assert_int_equal(info_of(&w, "q").retried, 3);
    dead_letters(&w, "q", &all);
    assert_string_equal(all.list[0].text, "j");
    assert_int_equal(count_text(all.list[0].history, "because"), 1);
    world_end(&w);
}

static int publish_effect(void *ctx, const beck_delivery *d, char *why)
{
    struct job *job = ctx;
    (void)why;
    const beck_event *current = beck_current(job->w->b);
    beck_event effect = {.type = beck_str("effect"), .data = beck_str("e")};
    if (!current || !bytes_equal(current->id, d->event->id) ||
        beck_publish(job->effects, &effect, NULL))
        atomic_fetch_add(&job->order_faults, 1);
    return BECK_SETTLE;
}

static void effects_carry_the_ids_of_what_is_handled(void **state)
{
    struct world w;
    struct job job = {.w = &w};
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    job.effects = world_bus(&w, "effects", NULL);
    world_queue(&w, "e", NULL);
    world_bind(&w, "e", "effects", "#", BECK_FROM_NOW);
    beck_event cause = {.type = beck_str("t"), .id = beck_str("first")};
    check_ok(beck_publish(bus, &cause, err));
    cause.id = beck_str("second");
    cause.correlationid = beck_str("story");
    check_ok(beck_publish(bus, &cause, err));
    put(bus, "t", "third");
    beck_workers *workers = NULL;
    check_ok(beck_workers_start(w.b, "q", publish_effect, &job, NULL, &workers, err));
    until(&w, 3);
    beck_workers_stop(workers);
    assert_int_equal(atomic_load(&job.order_faults), 0);
    assert_null(beck_current(w.b));
    beck_consumer *c = world_consumer(&w, "e", 0);
    beck_delivery d = take(c, "e");
    assert_true(text_is(d.event->causationid, "first"));
    assert_true(text_is(d.event->correlationid, "first"));
    d = take(c, "e");
    assert_true(text_is(d.event->causationid, "second"));
    assert_true(text_is(d.event->correlationid, "story"));
    d = take(c, "e");
    assert_true(text_is(d.event->causationid, "b/0/2"));
    beck_consumer_close(c);
    world_end(&w);
}

static int wait_while_held(void *ctx, const beck_delivery *d, char *why)
{
    struct job *job = ctx;
    (void)d;
    (void)why;
    atomic_fetch_add(&job->calls, 1);
    atomic_store(&job->held, true);
    while (atomic_load(&job->hold))
        sched_yield();
    return BECK_SETTLE;
}

static void *let_go_soon(void *arg)
{
    struct job *job = arg;
    for (int i = 0; i < 100; i++)
        sched_yield();
    atomic_store(&job->hold, false);
    return NULL;
}

/* What is handled is finished, what is not begun is given back, and nothing is lost. */
static void closing_drains_running_workers(void **state)
{
    struct world w;
    (void)state;
    for (int stop = 0; stop < 2; stop++) {
        struct job job = {.hold = true};
        world_start(&w, 1);
        beck_bus *bus = world_pair(&w, NULL);
        for (int i = 0; i < 10; i++)
            put(bus, "t", "x");
        beck_workers *workers = NULL;
        check_ok(beck_workers_start(w.b, "q", wait_while_held, &job,
                                    &(beck_worker_options){.threads = 2}, &workers, err));
        while (atomic_load(&job.calls) < 2)
            sched_yield();
        pthread_t helper;
        assert_int_equal(pthread_create(&helper, NULL, let_go_soon, &job), 0);
        if (stop)
            beck_workers_stop(workers);
        world_reopen(&w);
        assert_int_equal(pthread_join(helper, NULL), 0);
        int handled = atomic_load(&job.calls);
        check_counts(&w, "q", 10 - handled, 0, 0, 0);
        beck_consumer *c = world_consumer(&w, "q", 0);
        for (int i = handled; i < 10; i++) {
            beck_delivery d = take(c, "x");
            assert_int_equal(d.attempt, 1);
            settle(c, d);
        }
        beck_consumer_close(c);
        world_end(&w);
    }
}

static int take_ten_seconds(void *ctx, const beck_delivery *d, char *why)
{
    struct job *job = ctx;
    (void)why;
    atomic_fetch_add(&job->calls, 1);
    job->verdicts[0] += d->attempt > 1;
    world_advance(job->w, 10 * SECOND);
    info_of(job->w, "q"); /* the timer's work */
    return BECK_SETTLE;
}

static void what_waits_behind_a_slow_handler_does_not_expire(void **state)
{
    struct world w;
    struct job job = {.w = &w};
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.deadline_ms = 30 * SECOND});
    for (int i = 0; i < 20; i++)
        put(bus, "t", "x");
    beck_workers *workers = NULL;
    check_ok(beck_workers_start(w.b, "q", take_ten_seconds, &job, NULL, &workers, err));
    until(&w, 20);
    beck_workers_stop(workers);
    assert_int_equal(atomic_load(&job.calls), 20);
    assert_int_equal(job.verdicts[0], 0);
    assert_int_equal(info_of(&w, "q").retried, 0);
    world_end(&w);
}

static void workers_of_a_paused_or_deleted_queue_rest(void **state)
{
    struct world w;
    struct job job = {0};
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    beck_workers *workers = NULL;
    check_ok(beck_queue_pause(w.b, "q", true, err));
    check_ok(beck_workers_start(w.b, "q", count_calls, &job, NULL, &workers, err));
    put(bus, "t", "x");
    check_counts(&w, "q", 1, 0, 0, 0);
    check_ok(beck_queue_pause(w.b, "q", false, err));
    until(&w, 1);
    check_ok(beck_queue_delete(w.b, "q", err));
    beck_workers_stop(workers);
    assert_int_equal(beck_workers_start(w.b, "q", count_calls, &job, NULL, &workers, NULL),
                     BECK_ENOENT);
    world_queue(&w, "q", NULL);
    assert_int_equal(beck_workers_start(w.b, "q", NULL, &job, NULL, &workers, NULL), BECK_EINVAL);
    assert_int_equal(beck_workers_start(w.b, "q", count_calls, &job,
                                        &(beck_worker_options){.threads = 1025}, &workers, NULL),
                     BECK_EINVAL);
    world_end(&w);
}

/* ---- everything at once ---- */

struct crowd {
    struct world *w;
    beck_bus *bus;
    _Atomic(int) settled, dead;
    _Atomic(bool) done;
};

static void *publish_many(void *arg)
{
    struct crowd *crowd = arg;
    for (int i = 0; i < 300; i++) {
        beck_event e = {.type = beck_str(i % 2 ? "odd" : "even"), .data = beck_str("x")};
        if (i % 10 == 0)
            e.deliver_at_ms = world_now_ms(crowd->w) + 5;
        beck_publish_options o = {.level = i % 3 ? BECK_LEVEL_WRITTEN : BECK_LEVEL_SYNCED};
        check_ok(beck_publish_many(crowd->bus, &e, 1, &o, NULL, err));
    }
    return NULL;
}

static int answer_variously(void *ctx, const beck_delivery *d, char *why)
{
    struct crowd *crowd = ctx;
    (void)why;
    if (d->attempt == 1 && d->event->position.offset % 7 == 0)
        return BECK_RETRY;
    if (d->event->position.offset % 31 == 0) {
        atomic_fetch_add(&crowd->dead, 1);
        return BECK_REJECT;
    }
    atomic_fetch_add(&crowd->settled, 1);
    return BECK_SETTLE;
}

static int ignore_letter(void *ctx, const beck_dead *d)
{
    (void)ctx;
    (void)d;
    return 0;
}

static int ignore_event(void *ctx, const beck_event *e)
{
    (void)ctx;
    (void)e;
    return 0;
}

static void *look_around(void *arg)
{
    struct crowd *crowd = arg;
    while (!atomic_load(&crowd->done)) {
        beck_queue_info i = info_of(crowd->w, "q");
        assert_true(i.ready >= 0 && i.in_flight >= 0 && i.delayed >= 0);
        check_ok(beck_dead_list(crowd->w->b, "q", 5, ignore_letter, NULL, err));
        check_ok(beck_queue_peek(crowd->w->b, "q", 5, ignore_event, NULL, err));
        check_ok(upkeep_checkpoint(crowd->w->b, err));
        check_ok(upkeep_maintain(crowd->w->b, err));
        world_advance(crowd->w, 3);
    }
    return NULL;
}

static void a_crowd_of_threads_loses_nothing(void **state)
{
    struct world w;
    enum { PUBLISHERS = 3 };
    (void)state;
    world_start(&w, 1);
    beck_close(w.b);
    w.timer = true;
    world_open(&w);
    struct crowd crowd = {.w = &w};
    crowd.bus = world_bus(&w, "b", &(beck_bus_options){.segment_bytes = 16384});
    world_queue(&w, "q",
                &(beck_queue_options){.backoff = {.kind = BECK_BACKOFF_FIXED, .first_ms = 2}});
    world_bind(&w, "q", "b", "odd", BECK_FROM_NOW);
    beck_workers *workers = NULL;
    check_ok(beck_workers_start(w.b, "q", answer_variously, &crowd,
                                &(beck_worker_options){.threads = 2}, &workers, err));
    pthread_t threads[PUBLISHERS + 1];
    assert_int_equal(pthread_create(&threads[PUBLISHERS], NULL, look_around, &crowd), 0);
    for (int i = 0; i < PUBLISHERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, publish_many, &crowd), 0);
    world_bind(&w, "q", "b", "even", BECK_FROM_EARLIEST);
    world_bind(&w, "q", "b", "#", BECK_FROM_EARLIEST);
    for (int i = 0; i < PUBLISHERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (beck_queue_info i = {0}; i.settled + i.dead < PUBLISHERS * 300;) {
        i = info_of(&w, "q");
        sched_yield();
    }
    atomic_store(&crowd.done, true);
    assert_int_equal(pthread_join(threads[PUBLISHERS], NULL), 0);
    beck_workers_stop(workers);
    beck_queue_info i = info_of(&w, "q");
    assert_int_equal(i.ready + i.in_flight + i.delayed, 0);
    assert_int_equal(i.settled, atomic_load(&crowd.settled));
    assert_int_equal(i.dead, atomic_load(&crowd.dead));
    assert_int_equal(i.settled + i.dead, PUBLISHERS * 300);
    world_kill(&w);
    beck_queue_info j = info_of(&w, "q");
    assert_int_equal(j.ready + j.in_flight + j.delayed, 0);
    assert_int_equal(j.dead, i.dead);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_event_is_handled_once_by_several_threads),
        cmocka_unit_test(one_worker_sees_the_order_of_publishing),
        cmocka_unit_test(verdicts_are_done),
        cmocka_unit_test(effects_carry_the_ids_of_what_is_handled),
        cmocka_unit_test(closing_drains_running_workers),
        cmocka_unit_test(what_waits_behind_a_slow_handler_does_not_expire),
        cmocka_unit_test(workers_of_a_paused_or_deleted_queue_rest),
        cmocka_unit_test(a_crowd_of_threads_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
