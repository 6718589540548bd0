/* Rewinding: a queue's content becomes what its bindings give from a position on. */
#include "queue/world.h"

static void put_numbers(beck_bus *bus, int from, int to)
{
    for (int i = from; i < to; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        put(bus, "t", text);
    }
}

static void rewind_to(struct world *w, beck_from_kind kind, int64_t where)
{
    check_ok(beck_queue_rewind(w->b, "q",
                               &(beck_from){.kind = kind, .offset = where, .time_ms = where}, err));
}

static void history_comes_again_from_anywhere(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_bus(&w, "b", NULL);
    put_numbers(bus, 0, 2);
    world_queue(&w, "q", NULL);
    world_bind(&w, "q", "b", "#", BECK_FROM_NOW);
    world_advance(&w, 100);
    put_numbers(bus, 2, 4);
    world_advance(&w, 100);
    put_numbers(bus, 4, 6);
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "2 3 4 5");
    rewind_to(&w, BECK_FROM_EARLIEST, 0);
    check_counts(&w, "q", 6, 0, 0, 0);
    drain(c, "0 1 2 3 4 5");
    rewind_to(&w, BECK_FROM_OFFSET, 3);
    drain(c, "3 4 5");
    rewind_to(&w, BECK_FROM_TIME, START_MS + 150);
    drain(c, "4 5");
    rewind_to(&w, BECK_FROM_OFFSET, 6);
    drain(c, "");
    rewind_to(&w, BECK_FROM_EARLIEST, 0);
    rewind_to(&w, BECK_FROM_NOW, 0);
    put_numbers(bus, 6, 7);
    drain(c, "6");
    assert_int_equal(
        beck_queue_rewind(w.b, "q", &(beck_from){.kind = BECK_FROM_OFFSET, .offset = 8}, NULL),
        BECK_ERANGE);
    beck_consumer_close(c);
    world_end(&w);
}

static void deliveries_in_flight_become_stale_and_dead_letters_stay(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    put_numbers(bus, 0, 5);
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_delivery d0 = take(c, "0"), d1 = take(c, "1");
    check_ok(beck_retry(c, take(c, "2").tag, 1000, "x", err));
    check_ok(beck_reject(c, take(c, "3").tag, "x", err));
    check_counts(&w, "q", 1, 2, 1, 1);
    rewind_to(&w, BECK_FROM_EARLIEST, 0);
    check_counts(&w, "q", 5, 0, 0, 1);
    assert_int_equal(beck_settle(c, &d0.tag, 1, NULL), BECK_ESTALE);
    assert_true(text_is(d1.event->data, "1"));
    assert_int_equal(beck_retry(c, d1.tag, 0, NULL, NULL), BECK_ESTALE);
    world_advance(&w, DAY);
    beck_delivery again = take(c, "0");
    assert_int_equal(again.attempt, 1);
    settle(c, again);
    drain(c, "1 2 3 4");
    check_counts(&w, "q", 0, 0, 0, 1);
    beck_consumer_close(c);
    world_end(&w);
}

static void a_rewind_survives_a_kill_also_to_before_the_binding_began(void **state)
{
    struct world w;
    (void)state;
    for (int half = 0; half < 2; half++) {
        world_start(&w, 1);
        beck_bus *bus = world_bus(&w, "b", NULL);
        put_numbers(bus, 0, 3);
        world_queue(&w, "q", NULL);
        world_bind(&w, "q", "b", "#", BECK_FROM_NOW);
        put_numbers(bus, 3, 5);
        beck_consumer *c = world_consumer(&w, "q", 0);
        drain(c, "3 4");
        rewind_to(&w, BECK_FROM_EARLIEST, 0);
        settle(c, take(c, "0"));
        if (half) {
            check_ok(upkeep_checkpoint(w.b, err));
            settle(c, take(c, "1"));
        }
        beck_consumer_close(c);
        world_kill(&w);
        check_counts(&w, "q", half ? 3 : 4, 0, 0, 0);
        put_numbers(world_get(&w, "b"), 5, 6);
        c = world_consumer(&w, "q", 0);
        drain(c, half ? "2 3 4 5" : "1 2 3 4 5");
        beck_consumer_close(c);
        rewind_to(&w, BECK_FROM_NOW, 0);
        world_kill(&w);
        check_counts(&w, "q", 0, 0, 0, 0);
        world_end(&w);
    }
}

static void a_rewind_takes_all_bindings_and_buses_along(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *one = world_bus(&w, "one", NULL), *two = world_bus(&w, "two", NULL);
    world_queue(&w, "q", NULL);
    put(one, "a", "a0");
    put(one, "b", "b1");
    put(one, "c", "c2");
    put(two, "a", "A0");
    world_bind(&w, "q", "one", "a", BECK_FROM_NOW);
    world_bind(&w, "q", "one", "b", BECK_FROM_NOW);
    world_bind(&w, "q", "two", "#", BECK_FROM_NOW);
    rewind_to(&w, BECK_FROM_EARLIEST, 0);
    check_counts(&w, "q", 3, 0, 0, 0);
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "a0 b1 A0");
    beck_consumer_close(c);
    world_end(&w);
}

static void times_of_events_count_anew_after_a_rewind(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.ttl_ms = 100});
    beck_event later = {
        .type = beck_str("t"), .data = beck_str("later"), .deliver_at_ms = START_MS + 1000};
    put(bus, "t", "0");
    check_ok(beck_publish(bus, &later, err));
    world_advance(&w, 100);
    check_counts(&w, "q", 0, 0, 1, 1);
    rewind_to(&w, BECK_FROM_EARLIEST, 0);
    check_counts(&w, "q", 1, 0, 1, 1);
    world_advance(&w, 99);
    check_counts(&w, "q", 1, 0, 1, 1);
    world_advance(&w, 1);
    check_counts(&w, "q", 0, 0, 1, 2);
    world_advance(&w, 800);
    check_counts(&w, "q", 1, 0, 0, 2);
    world_end(&w);
}

static void partitions_that_end_before_begin_at_their_end(void **state)
{
    (void)state;
    for (int killed = 0; killed < 2; killed++) {
        struct world w;
        world_start(&w, 1);
        beck_bus *wide = world_bus(&w, "wide", &(beck_bus_options){.partitions = 3});
        beck_bus *other = world_bus(&w, "other", NULL);
        world_queue(&w, "q", NULL);
        for (int i = 0; i < 5; i++) {
            beck_event e = {.type = beck_str("t"), .data = beck_str((char[]){(char)('0' + i), 0})};
            beck_publish_options o = {.partition_plus_1 = i > 2 ? 2 : 1};
            check_ok(beck_publish_many(wide, &e, 1, &o, NULL, err));
        }
        put(other, "t", "o");
        beck_binding binding = {.bus = "wide", .from = {.kind = BECK_FROM_OFFSET, .offset = 4}};
        assert_int_equal(beck_queue_bind(w.b, "q", &binding, NULL), BECK_ERANGE);
        binding.from.offset = 2;
        check_ok(beck_queue_bind(w.b, "q", &binding, err));
        world_bind(&w, "q", "other", "#", BECK_FROM_NOW);
        check_counts(&w, "q", 1, 0, 0, 0);
        rewind_to(&w, BECK_FROM_OFFSET, 1);
        if (killed)
            world_kill(&w);
        check_counts(&w, "q", 3, 0, 0, 0);
        assert_int_equal(
            beck_queue_rewind(w.b, "q", &(beck_from){.kind = BECK_FROM_OFFSET, .offset = 4}, NULL),
            BECK_ERANGE);
        check_counts(&w, "q", 3, 0, 0, 0);
        world_end(&w);
    }
}

static void copies_are_not_given_again(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    put_numbers(bus, 0, 3);
    beck_bus *copies = world_bus(&w, "q.replay", NULL);
    world_bind(&w, "q", "q.replay", "#", BECK_FROM_NOW);
    put_numbers(copies, 1, 3);
    check_counts(&w, "q", 5, 0, 0, 0);
    rewind_to(&w, BECK_FROM_EARLIEST, 0);
    check_counts(&w, "q", 3, 0, 0, 0);
    world_kill(&w);
    check_counts(&w, "q", 3, 0, 0, 0);
    put_numbers(world_get(&w, "q.replay"), 7, 8);
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "0 1 2 7");
    beck_consumer_close(c);
    world_end(&w);
}

static void a_queue_that_is_bound_to_nothing_is_not_rewound(void **state)
{
    struct world w;
    beck_error why;
    (void)state;
    world_start(&w, 1);
    world_queue(&w, "q", NULL);
    assert_int_equal(beck_queue_rewind(w.b, "q", NULL, &why), BECK_EINVAL);
    assert_non_null(strstr(why.text, "bound to nothing"));
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(history_comes_again_from_anywhere),
        cmocka_unit_test(deliveries_in_flight_become_stale_and_dead_letters_stay),
        cmocka_unit_test(a_rewind_survives_a_kill_also_to_before_the_binding_began),
        cmocka_unit_test(a_rewind_takes_all_bindings_and_buses_along),
        cmocka_unit_test(times_of_events_count_anew_after_a_rewind),
        cmocka_unit_test(partitions_that_end_before_begin_at_their_end),
        cmocka_unit_test(copies_are_not_given_again),
        cmocka_unit_test(a_queue_that_is_bound_to_nothing_is_not_rewound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
