/* What a queue gets: bindings, from where, in which order; and what ends with them. */
#include "queue/world.h"

static void put_numbers(beck_bus *bus, const char *type, int from, int to)
{
    for (int i = from; i < to; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        put(bus, type, text);
    }
}

static void a_binding_from_now_gets_only_what_comes_after_it(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_bus(&w, "b", NULL);
    put_numbers(bus, "t", 0, 3);
    world_queue(&w, "q", NULL);
    world_bind(&w, "q", "b", "#", BECK_FROM_NOW);
    check_counts(&w, "q", 0, 0, 0, 0);
    put_numbers(bus, "t", 3, 5);
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "3 4");
    beck_consumer_close(c);
    world_end(&w);
}

static void a_binding_from_earliest_gets_history_first_and_then_what_comes(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_bus(&w, "b", NULL);
    put_numbers(bus, "t", 0, 3);
    world_queue(&w, "q", NULL);
    world_bind(&w, "q", "b", NULL, BECK_FROM_EARLIEST);
    put_numbers(bus, "t", 3, 5);
    check_counts(&w, "q", 5, 0, 0, 0);
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "0 1 2 3 4");
    beck_consumer_close(c);
    world_end(&w);
}

static void a_binding_from_an_offset_or_a_time_begins_there(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_bus(&w, "b", NULL);
    for (int i = 0; i < 6; i++) {
        put_numbers(bus, "t", i, i + 1);
        world_advance(&w, 10);
    }
    world_queue(&w, "q", NULL);
    world_queue(&w, "r", NULL);
    beck_binding from_offset = {.bus = "b", .from = {.kind = BECK_FROM_OFFSET, .offset = 4}};
    check_ok(beck_queue_bind(w.b, "q", &from_offset, err));
    beck_binding from_time = {.bus = "b",
                              .from = {.kind = BECK_FROM_TIME, .time_ms = START_MS + 25}};
    check_ok(beck_queue_bind(w.b, "r", &from_time, err));
    beck_consumer *c = world_consumer(&w, "q", 0), *d = world_consumer(&w, "r", 0);
    drain(c, "4 5");
    drain(d, "3 4 5");
    beck_binding too_far = {.bus = "b", .from = {.kind = BECK_FROM_OFFSET, .offset = 7}};
    world_queue(&w, "s", NULL);
    assert_int_equal(beck_queue_bind(w.b, "s", &too_far, NULL), BECK_ERANGE);
    assert_int_equal(info_of(&w, "s").bindings, 0);
    beck_consumer_close(c);
    beck_consumer_close(d);
    world_end(&w);
}

static void an_event_that_several_bindings_match_is_queued_once(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_bus(&w, "b", NULL);
    world_queue(&w, "q", NULL);
    world_bind(&w, "q", "b", "order.*", BECK_FROM_NOW);
    put(bus, "order.made", "0");
    put(bus, "user.made", "1");
    world_bind(&w, "q", "b", "*.made", BECK_FROM_EARLIEST);
    check_counts(&w, "q", 2, 0, 0, 0);
    world_bind(&w, "q", "b", "#", BECK_FROM_EARLIEST);
    check_counts(&w, "q", 2, 0, 0, 0);
    put(bus, "order.made", "2");
    put(bus, "else", "3");
    check_counts(&w, "q", 4, 0, 0, 0);
    assert_int_equal(info_of(&w, "q").bindings, 3);
    world_kill(&w);
    check_counts(&w, "q", 4, 0, 0, 0);
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "0 1 2 3");
    beck_consumer_close(c);
    world_end(&w);
}

static void binding_the_same_again_does_nothing(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_bus(&w, "b", NULL);
    world_queue(&w, "q", NULL);
    put_numbers(bus, "t", 0, 2);
    world_bind(&w, "q", "b", "#", BECK_FROM_EARLIEST);
    world_bind(&w, "q", "b", NULL, BECK_FROM_EARLIEST);
    assert_int_equal(info_of(&w, "q").bindings, 1);
    check_counts(&w, "q", 2, 0, 0, 0);
    world_end(&w);
}

static void a_later_binding_brings_its_history_behind_what_is_there(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_bus(&w, "b", NULL);
    world_queue(&w, "q", NULL);
    put(bus, "x", "x0");
    put(bus, "y", "y1");
    world_bind(&w, "q", "b", "y", BECK_FROM_EARLIEST);
    world_bind(&w, "q", "b", "x", BECK_FROM_EARLIEST);
    put(bus, "x", "x2");
    put(bus, "y", "y3");
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "y1 x0 x2 y3");
    beck_consumer_close(c);
    world_end(&w);
}

static void several_buses_and_partitions_feed_one_queue(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *one = world_bus(&w, "one", &(beck_bus_options){.partitions = 4});
    beck_bus *two = world_bus(&w, "two", NULL);
    world_queue(&w, "q", NULL);
    put_numbers(one, "t", 0, 8);
    world_bind(&w, "q", "one", "#", BECK_FROM_EARLIEST);
    world_bind(&w, "q", "two", "#", BECK_FROM_EARLIEST);
    put_numbers(one, "t", 0, 8);
    put_numbers(two, "t", 0, 8);
    check_counts(&w, "q", 24, 0, 0, 0);
    world_kill(&w);
    check_counts(&w, "q", 24, 0, 0, 0);
    beck_consumer *c = world_consumer(&w, "q", 100);
    beck_delivery d[100];
    size_t count;
    check_ok(beck_take(c, d, 100, 0, &count, err));
    assert_int_equal(count, 24);
    int64_t last[5] = {-1, -1, -1, -1, -1};
    for (size_t i = 0; i < count; i++) {
        bool is_one = text_is(d[i].event->bus, "one");
        int64_t *l = &last[is_one ? d[i].event->position.partition : 4];
        assert_true(d[i].event->position.offset == *l + 1);
        *l = d[i].event->position.offset;
    }
    beck_consumer_close(c);
    world_end(&w);
}

static void unbinding_keeps_what_was_queued_and_brings_nothing_more(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    put_numbers(bus, "t", 0, 2);
    check_ok(beck_queue_unbind(w.b, "q", "b", NULL, err));
    put_numbers(bus, "t", 2, 4);
    check_counts(&w, "q", 2, 0, 0, 0);
    assert_int_equal(beck_queue_unbind(w.b, "q", "b", "#", NULL), BECK_ENOENT);
    world_kill(&w);
    check_counts(&w, "q", 2, 0, 0, 0);
    assert_int_equal(info_of(&w, "q").bindings, 0);
    bus = world_get(&w, "b");
    put_numbers(bus, "t", 4, 5);
    world_bind(&w, "q", "b", "#", BECK_FROM_NOW);
    put_numbers(bus, "t", 5, 6);
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "0 1 5");
    beck_consumer_close(c);
    world_end(&w);
}

static void a_bound_bus_is_not_deleted_and_an_unbound_one_is(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    world_pair(&w, NULL);
    assert_int_equal(beck_bus_delete(w.b, "b", NULL), BECK_EBUSY);
    check_ok(beck_queue_unbind(w.b, "q", "b", "#", err));
    check_ok(beck_bus_delete(w.b, "b", err));
    assert_int_equal(beck_queue_bind(w.b, "q", &(beck_binding){.bus = "b"}, NULL), BECK_ENOENT);
    world_end(&w);
}

static void a_new_bus_of_an_old_name_does_not_stand_in_for_the_deleted_one(void **state)
{
    struct world w;
    (void)state;
    for (int killed = 0; killed < 2; killed++) {
        world_start(&w, 1);
        beck_bus *bus = world_pair(&w, NULL);
        put_numbers(bus, "t", 0, 4);
        check_ok(beck_queue_unbind(w.b, "q", "b", "#", err));
        check_ok(beck_bus_delete(w.b, "b", err));
        bus = world_bus(&w, "b", NULL);
        put_numbers(bus, "t", 100, 102);
        world_bind(&w, "q", "b", "#", BECK_FROM_NOW);
        put_numbers(bus, "t", 102, 105);
        if (killed)
            world_kill(&w);
        beck_consumer *c = world_consumer(&w, "q", 0);
        drain(c, "102 103 104");
        check_counts(&w, "q", 0, 0, 0, 0);
        beck_consumer_close(c);
        world_end(&w);
    }
}

static void a_new_queue_of_an_old_name_holds_nothing_of_the_deleted_one(void **state)
{
    struct world w;
    (void)state;
    for (int killed = 0; killed < 2; killed++) {
        world_start(&w, 1);
        beck_bus *bus = world_pair(&w, NULL);
        put_numbers(bus, "t", 0, 4);
        beck_consumer *c = world_consumer(&w, "q", 0);
        beck_delivery first = take(c, "0"), second = take(c, "1");
        check_ok(beck_reject(c, first.tag, "no", err));
        check_ok(beck_queue_delete(w.b, "q", err));
        world_queue(&w, "q", NULL);
        world_bind(&w, "q", "b", "#", BECK_FROM_EARLIEST);
        assert_int_equal(beck_settle(c, &second.tag, 1, NULL), BECK_ESTALE);
        size_t count;
        assert_int_equal(beck_take(c, &second, 1, 0, &count, NULL), BECK_ECLOSED);
        beck_consumer_close(c);
        if (killed)
            world_kill(&w);
        check_counts(&w, "q", 4, 0, 0, 0);
        c = world_consumer(&w, "q", 0);
        drain(c, "0 1 2 3");
        beck_consumer_close(c);
        world_end(&w);
    }
}

static void a_queue_that_exists_is_found_when_its_options_are_the_same(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_queue_options o = {
        .attempts_max = 3,
        .backoff = {.kind = BECK_BACKOFF_LIST, .list_count = 2, .list_ms = {5, 7}},
        .priority_max = 4,
        .ttl_ms = 1000};
    world_queue(&w, "q", &o);
    world_queue(&w, "q", &o);
    world_kill(&w);
    world_queue(&w, "q", &o);
    beck_queue_info i = info_of(&w, "q");
    assert_int_equal(i.options.backoff.list_ms[1], 7);
    assert_int_equal(i.options.deadline_ms, 30000);
    o.backoff.list_ms[1] = 8;
    assert_int_equal(beck_queue_create(w.b, "q", &o, NULL), BECK_EEXIST);
    assert_int_equal(beck_queue_create(w.b, "__queues", NULL, NULL), BECK_EINVAL);
    assert_int_equal(beck_queue_create(w.b, "a/b", NULL, NULL), BECK_EINVAL);
    world_end(&w);
}

static void a_purged_bus_has_nothing_for_its_queues_either(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL), *other = world_bus(&w, "other", NULL);
    world_bind(&w, "q", "other", "#", BECK_FROM_NOW);
    put_numbers(bus, "t", 0, 3);
    put_numbers(other, "t", 10, 12);
    put_numbers(bus, "t", 3, 5);
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_delivery first = take(c, "0");
    check_ok(beck_bus_purge(bus, err));
    put_numbers(bus, "t", 5, 6);
    settle(c, first);
    drain(c, "10 11 5");
    check_counts(&w, "q", 0, 0, 0, 0);
    beck_consumer_close(c);
    world_end(&w);
}

static void a_bus_whose_events_show_when_synced_feeds_its_queues_then(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus =
        world_bus(&w, "b", &(beck_bus_options){.read_synced = true, .level = BECK_LEVEL_WRITTEN});
    world_queue(&w, "q", NULL);
    world_bind(&w, "q", "b", "#", BECK_FROM_NOW);
    put_numbers(bus, "t", 0, 3);
    beck_consumer *c = world_consumer(&w, "q", 0);
    take_nothing(c);
    check_ok(beck_sync(w.b, err));
    drain(c, "0 1 2");
    put_numbers(bus, "t", 3, 5);
    world_bind(&w, "q", "b", "t", BECK_FROM_EARLIEST);
    put_numbers(bus, "t", 5, 6);
    check_ok(beck_sync(w.b, err));
    drain(c, "3 4 5");
    beck_consumer_close(c);
    world_end(&w);
}

static int note_binding(void *ctx, const beck_binding *b)
{
    char *text = ctx;
    snprintf(text + strlen(text), 256 - strlen(text), "%s:%s ", b->bus, b->pattern);
    return 0;
}

static int note_name(void *ctx, const char *name)
{
    char *text = ctx;
    snprintf(text + strlen(text), 256 - strlen(text), "%s ", name);
    return 0;
}

static void queues_and_bindings_are_listed(void **state)
{
    struct world w;
    char text[256] = "";
    (void)state;
    world_start(&w, 1);
    world_pair(&w, NULL);
    world_queue(&w, "a", NULL);
    world_bind(&w, "q", "b", "x.*", BECK_FROM_NOW);
    check_ok(beck_queue_list(w.b, note_name, text, err));
    assert_string_equal(text, "a q ");
    text[0] = 0;
    check_ok(beck_queue_bindings(w.b, "q", note_binding, text, err));
    assert_string_equal(text, "b:# b:x.* ");
    assert_int_equal(beck_queue_bindings(w.b, "none", note_binding, text, NULL), BECK_ENOENT);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_binding_from_now_gets_only_what_comes_after_it),
        cmocka_unit_test(a_binding_from_earliest_gets_history_first_and_then_what_comes),
        cmocka_unit_test(a_binding_from_an_offset_or_a_time_begins_there),
        cmocka_unit_test(an_event_that_several_bindings_match_is_queued_once),
        cmocka_unit_test(binding_the_same_again_does_nothing),
        cmocka_unit_test(a_later_binding_brings_its_history_behind_what_is_there),
        cmocka_unit_test(several_buses_and_partitions_feed_one_queue),
        cmocka_unit_test(unbinding_keeps_what_was_queued_and_brings_nothing_more),
        cmocka_unit_test(a_bound_bus_is_not_deleted_and_an_unbound_one_is),
        cmocka_unit_test(a_new_bus_of_an_old_name_does_not_stand_in_for_the_deleted_one),
        cmocka_unit_test(a_new_queue_of_an_old_name_holds_nothing_of_the_deleted_one),
        cmocka_unit_test(a_queue_that_exists_is_found_when_its_options_are_the_same),
        cmocka_unit_test(a_purged_bus_has_nothing_for_its_queues_either),
        cmocka_unit_test(a_bus_whose_events_show_when_synced_feeds_its_queues_then),
        cmocka_unit_test(queues_and_bindings_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
