/* Many publishers that wait for syncs: how long a round is held for those who are expected back. */
#include "log/patience.h"
#include "world.h"

#include <pthread.h>
#include <sched.h>

#define SYNC_NS 200000

/* A round that released so many and found so many waiting, at time 0. */
static struct patience after_round(uint32_t released, uint32_t joined)
{
    struct patience p = {0};
    patience_round(&p, released, joined, -SYNC_NS, 0);
    return p;
}

static void a_lone_publisher_is_not_held(void **state)
{
    (void)state;
    struct patience p = {0};
    assert_false(patience_asks(&p, 1, 0));
    for (int64_t now = 0; now < 100 * SYNC_NS; now += SYNC_NS) {
        patience_round(&p, 1, 0, now - SYNC_NS, now);
        assert_false(patience_asks(&p, 1, now));
    }
}

static void a_round_is_held_for_all_that_were_released_or_found_waiting(void **state)
{
    (void)state;
    struct patience p = after_round(3, 2);
    assert_true(patience_asks(&p, 2, 0));
    assert_true(patience_asks(&p, 4, 0));
    assert_int_equal(p.expected, 5);
    assert_false(patience_asks(&p, 5, 0));
}

static void a_round_is_held_no_longer_than_a_sync_and_a_tenth_of_a_millisecond(void **state)
{
    (void)state;
    struct patience p = after_round(2, 0);
    assert_true(patience_asks(&p, 1, PATIENCE_NS_MAX - 1));
    assert_int_equal(p.until_ns, PATIENCE_NS_MAX);
    assert_false(patience_asks(&p, 1, PATIENCE_NS_MAX));
    patience_round(&p, 2, 0, 1000, 6000);
    assert_int_equal(p.until_ns, 11000);
}

/* Rounds that are held, of so many, while somebody is expected who never comes. */
static int held_in_vain(struct patience *p, int rounds)
{
    int held = 0;
    for (int i = 0; i < rounds; i++) {
        int64_t now = (int64_t)i * SYNC_NS;
        patience_round(p, 2, 0, now - SYNC_NS, now);
        if (!patience_asks(p, 1, now))
            continue;
        held++;
        patience_held(p, 1);
    }
    return held;
}

static void holding_in_vain_is_given_up_soon_and_taken_up_again(void **state)
{
    (void)state;
    struct patience p = {0};
    assert_in_range(held_in_vain(&p, 100), 2, 6);
    assert_in_range(held_in_vain(&p, 6500), 50, 100);
    /* One success is enough. */
    p.skips = 0;
    patience_round(&p, 2, 0, 0, SYNC_NS);
    assert_true(patience_asks(&p, 1, SYNC_NS));
    patience_held(&p, 2);
    for (int i = 0; i < 10; i++) {
        patience_round(&p, 2, 0, 0, SYNC_NS);
        assert_true(patience_asks(&p, 1, SYNC_NS));
        patience_held(&p, 2);
    }
}

struct publisher {
    struct partition *p;
    int count, failed;
};

static void *publish(void *arg)
{
    struct publisher *u = arg;
    for (int i = 0; i < u->count; i++)
        u->failed += put_event(u->p, "s", "data", BECK_LEVEL_SYNCED, NULL) != BECK_OK;
    return NULL;
}

static void publishers_that_leave_hold_up_nobody(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    w.options.bus.segment_bytes = 1 << 20;
    struct partition *p = world_partition(&w, 0, 0);
    struct publisher publishers[8];
    pthread_t threads[8];
    int64_t events = 0;
    for (int i = 0; i < 8; i++) {
        publishers[i] = (struct publisher){p, 1 << i, 0};
        events += publishers[i].count;
        assert_int_equal(pthread_create(&threads[i], NULL, publish, &publishers[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(publishers[i].failed, 0);
    }
    assert_int_equal(partition_synced(p), events);
    assert_true(world_rounds(&w) >= 128);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

struct told {
    _Atomic(int) count;
    _Atomic(bool) may_go_on;
};

static void on_synced(void *ctx, beck_status status, int64_t first_offset)
{
    struct told *t = ctx;
    (void)first_offset;
    assert_int_equal(status, BECK_OK);
    atomic_fetch_add(&t->count, 1);
    while (!atomic_load(&t->may_go_on))
        sched_yield();
}

static void a_partition_may_be_closed_while_completions_have_their_turn(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 7);
    struct partition *p = world_partition(&w, 0, 0);
    struct told told = {0};
    beck_event e = {.type = beck_str("t.x")};
    const beck_event *list[] = {&e};
    for (int i = 0; i < 3; i++) {
        struct append a = {.events = list,
                           .count = 1,
                           .level = BECK_LEVEL_SYNCED,
                           .done = on_synced,
                           .done_ctx = &told};
        assert_int_equal(partition_append(p, &a, NULL), 0);
    }
    while (atomic_load(&told.count) == 0)
        sched_yield();
    assert_int_equal(partition_close(p, NULL), 0);
    atomic_store(&told.may_go_on, true);
    world_close(&w);
    assert_int_equal(atomic_load(&told.count), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lone_publisher_is_not_held),
        cmocka_unit_test(a_round_is_held_for_all_that_were_released_or_found_waiting),
        cmocka_unit_test(a_round_is_held_no_longer_than_a_sync_and_a_tenth_of_a_millisecond),
        cmocka_unit_test(holding_in_vain_is_given_up_soon_and_taken_up_again),
        cmocka_unit_test(publishers_that_leave_hold_up_nobody),
        cmocka_unit_test(a_partition_may_be_closed_while_completions_have_their_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
