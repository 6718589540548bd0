/* What bounds a queue: times from which and until which events are good, and lengths. */
#include "queue/world.h"

#include "queue/queue_impl.h"

static beck_status put_event(beck_bus *bus, const char *text, int64_t deliver_at_ms,
                             int64_t expires_at_ms)
{
    beck_event e = {.type = beck_str("t"),
                    .data = beck_str(text),
                    .deliver_at_ms = deliver_at_ms,
                    .expires_at_ms = expires_at_ms};
    return beck_publish(bus, &e, NULL);
}

static void put_at(beck_bus *bus, const char *text, int64_t deliver_at_ms, int64_t expires_at_ms)
{
    assert_int_equal(put_event(bus, text, deliver_at_ms, expires_at_ms), BECK_OK);
}

/* ---- delays ---- */

static void an_event_with_a_delivery_time_waits_for_it(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    put_at(bus, "year", START_MS + 365 * DAY, 0);
    put_at(bus, "hour", START_MS + HOUR, 0);
    put_at(bus, "now", START_MS, 0);
    put_at(bus, "past", 1, 0);
    check_counts(&w, "q", 2, 0, 2, 0);
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "now past");
    world_advance(&w, HOUR - 1);
    take_nothing(c);
    world_advance(&w, 1);
    drain(c, "hour");
    put_at(bus, "soon", START_MS + HOUR + 10, 0);
    beck_consumer_close(c);
    check_ok(upkeep_checkpoint(w.b, err));
    world_crash(&w);
    check_counts(&w, "q", 0, 0, 2, 0);
    world_advance(&w, 300 * DAY);
    check_counts(&w, "q", 1, 0, 1, 0);
    world_reopen(&w);
    world_advance(&w, 65 * DAY);
    c = world_consumer(&w, "q", 0);
    drain(c, "year soon");
    beck_consumer_close(c);
    world_end(&w);
}

static void centuries_are_a_delay_like_any_other(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.ttl_ms = 1000});
    const int64_t far = START_MS + 200 * 365 * DAY;
    put_at(bus, "0", far, 0);
    put_at(bus, "1", 9214646399999, 0); /* the last that can be said */
    check_counts(&w, "q", 0, 0, 2, 0);
    world_kill(&w);
    world_advance(&w, 200 * 365 * DAY - 1);
    check_counts(&w, "q", 0, 0, 2, 0);
    world_advance(&w, 1);
    check_counts(&w, "q", 1, 0, 1, 0);
    world_advance(&w, 1000);
    check_counts(&w, "q", 0, 0, 1, 1);
    world_end(&w);
}

static void delayed_events_come_due_in_order_of_the_bus(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    put_at(bus, "0", START_MS + 30, 0);
    put_at(bus, "1", START_MS + 10, 0);
    put_at(bus, "2", 0, 0);
    put_at(bus, "3", START_MS + 20, 0);
    put_at(bus, "4", 0, 0);
    assert_int_equal(info_of(&w, "q").next_due_ms, START_MS + 10);
    world_advance(&w, 15);
    assert_int_equal(info_of(&w, "q").next_due_ms, START_MS + 20);
    world_advance(&w, 15);
    assert_int_equal(info_of(&w, "q").next_due_ms, -1);
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "0 1 2 3 4");
    beck_consumer_close(c);
    world_end(&w);
}

static void thousands_that_come_due_at_once_are_all_there_at_once(void **state)
{
    struct world w;
    enum { COUNT = 5000 };
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.ttl_ms = HOUR});
    beck_event *events = calloc(COUNT, sizeof *events);
    for (int i = 0; i < COUNT; i++)
        events[i] = (beck_event){.type = beck_str("t"), .deliver_at_ms = START_MS + DAY + i % 7};
    check_ok(beck_publish_many(bus, events, COUNT, NULL, NULL, err));
    free(events);
    check_counts(&w, "q", 0, 0, COUNT, 0);
    world_advance(&w, DAY + 10);
    check_counts(&w, "q", COUNT, 0, 0, 0);
    world_advance(&w, HOUR);
    check_counts(&w, "q", 0, 0, 0, COUNT);
    world_end(&w);
}

/* ---- time to live ---- */

static void what_was_not_delivered_in_time_dies_of_it(void **state)
{
    struct world w;
    struct letters all;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.ttl_ms = 100});
    put_at(bus, "0", 0, 0);
    put_at(bus, "1", 0, START_MS + 50);
    put_at(bus, "2", 0, START_MS + 5000);
    put_at(bus, "3", START_MS + 200, 0);
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_delivery d = take(c, "0");
    world_advance(&w, 49);
    check_counts(&w, "q", 2, 1, 1, 0);
    world_advance(&w, 1);
    check_counts(&w, "q", 1, 1, 1, 1);
    world_advance(&w, 50);
    check_counts(&w, "q", 0, 1, 1, 2);
    dead_letters(&w, "q", &all);
    assert_string_equal(all.list[0].reason, "expired");
    assert_string_equal(all.list[0].text, "1");
    assert_string_equal(all.list[1].text, "2");
    assert_int_equal(all.list[0].attempts, 0);
    assert_int_equal(all.list[1].died_ms, START_MS + 100);
    /* One that is being handled is not taken away; when it comes back it is too late for it. */
    check_ok(beck_return(c, d.tag, err));
    take_nothing(c);
    check_counts(&w, "q", 0, 0, 1, 3);
    world_advance(&w, 199);
    check_counts(&w, "q", 1, 0, 0, 3);
    world_advance(&w, 1);
    check_counts(&w, "q", 0, 0, 0, 4);
    assert_int_equal(info_of(&w, "q").expired, 4);
    beck_consumer_close(c);
    world_end(&w);
}

static void what_has_expired_is_not_delivered_whatever_stands_before_it(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.priority_max = 1});
    put_at(bus, "0", 0, 0);
    put_at(bus, "1", 0, START_MS + 10);
    put_at(bus, "2", 0, START_MS + 10);
    put_at(bus, "3", 0, 0);
    world_advance(&w, 10);
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_delivery d[8];
    size_t count;
    check_ok(beck_take(c, d, 8, 0, &count, err));
    assert_int_equal(count, 2);
    assert_true(text_is(d[0].event->data, "0") && text_is(d[1].event->data, "3"));
    check_counts(&w, "q", 0, 2, 0, 2);
    beck_consumer_close(c);
    world_end(&w);
}

static void expiry_survives_a_kill(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    put_at(bus, "0", 0, START_MS + 50);
    put_at(bus, "1", 0, START_MS + 60);
    check_ok(upkeep_checkpoint(w.b, err));
    put_at(bus, "2", 0, START_MS + 70);
    world_advance(&w, 55);
    check_counts(&w, "q", 2, 0, 0, 1);
    world_kill(&w);
    check_counts(&w, "q", 2, 0, 0, 1);
    world_advance(&w, 15);
    check_counts(&w, "q", 0, 0, 0, 3);
    world_end(&w);
}

/* ---- length ---- */

static void a_full_queue_lets_the_oldest_go(void **state)
{
    struct world w;
    struct letters all;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.length_max = 3});
    for (int i = 0; i < 5; i++)
        put_at(bus, (char[]){(char)('0' + i), 0}, 0, 0);
    check_counts(&w, "q", 3, 0, 0, 2);
    dead_letters(&w, "q", &all);
    assert_string_equal(all.list[0].text, "0");
    assert_string_equal(all.list[1].text, "1");
    assert_string_equal(all.list[0].reason, "maxlen");
    assert_int_equal(all.list[0].attempts, 0);
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_delivery d = take(c, "2");
    put_at(bus, "5", 0, 0); /* what is in flight does not count */
    check_counts(&w, "q", 3, 1, 0, 2);
    check_ok(beck_return(c, d.tag, err));
    check_counts(&w, "q", 3, 0, 0, 3);
    assert_string_equal(dead_letters(&w, "q", &all)->list[2].text, "2");
    put_at(bus, "6", START_MS + 10, 0);
    check_counts(&w, "q", 3, 0, 1, 3);
    world_advance(&w, 10);
    check_counts(&w, "q", 3, 0, 0, 4);
    assert_int_equal(info_of(&w, "q").dropped, 4);
    drain(c, "4 5 6");
    beck_consumer_close(c);
    world_end(&w);
}

static void a_full_queue_with_priorities_lets_the_first_go(void **state)
{
    struct world w;
    struct letters all;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.length_max = 3, .priority_max = 9});
    const struct {
        const char *text;
        uint32_t priority;
    } events[] = {{"a5", 5}, {"b0", 0}, {"c5", 5}, {"d9", 9}, {"e9", 9}, {"f0", 0}};
    for (size_t i = 0; i < 6; i++) {
        beck_event e = {.type = beck_str("t"),
                        .data = beck_str(events[i].text),
                        .priority = events[i].priority};
        check_ok(beck_publish(bus, &e, err));
    }
    check_counts(&w, "q", 3, 0, 0, 3);
    dead_letters(&w, "q", &all);
    assert_string_equal(all.list[0].text, "d9");
    assert_string_equal(all.list[1].text, "e9");
    assert_string_equal(all.list[2].text, "a5");
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "c5 b0 f0");
    beck_consumer_close(c);
    world_end(&w);
}

static void a_long_history_bound_to_a_short_queue_leaves_the_newest(void **state)
{
    struct world w;
    enum { COUNT = 20000 };
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_bus(&w, "b", NULL);
    beck_event *events = calloc(COUNT, sizeof *events);
    for (int i = 0; i < COUNT; i++)
        events[i] = (beck_event){.type = beck_str("t")};
    check_ok(beck_publish_many(bus, events, COUNT, NULL, NULL, err));
    free(events);
    world_queue(&w, "q", &(beck_queue_options){.length_max = 2});
    world_bind(&w, "q", "b", "#", BECK_FROM_EARLIEST);
    check_counts(&w, "q", 2, 0, 0, COUNT - 2);
    beck_consumer *c = world_consumer(&w, "q", 0);
    assert_int_equal(take(c, NULL).event->position.offset, COUNT - 2);
    beck_consumer_close(c);
    world_end(&w);
}

static void a_full_queue_refuses_and_the_event_is_not_stored(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus =
        world_pair(&w, &(beck_queue_options){.length_max = 2, .overflow = BECK_OVERFLOW_REFUSE});
    world_queue(&w, "r", NULL);
    world_bind(&w, "r", "b", "#", BECK_FROM_NOW);
    put_at(bus, "0", 0, 0);
    put_at(bus, "1", 0, 0);
    beck_error e = {0};
    beck_event third = {.type = beck_str("t"), .data = beck_str("2")};
    assert_int_equal(beck_publish(bus, &third, &e), BECK_ELIMIT);
    assert_non_null(strstr(e.text, "length_max"));
    check_counts(&w, "q", 2, 0, 0, 0);
    check_counts(&w, "r", 2, 0, 0, 0);
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_delivery d = take(c, "0");
    put_at(bus, "2", 0, 0);
    assert_int_equal(put_event(bus, "3", 0, 0), BECK_ELIMIT);
    settle(c, d);
    settle(c, take(c, "1"));
    /* Of a batch all is stored, or nothing. */
    beck_event two[2] = {{.type = beck_str("t"), .data = beck_str("4")},
                         {.type = beck_str("t"), .data = beck_str("5")}};
    assert_int_equal(beck_publish_many(bus, two, 2, NULL, NULL, NULL), BECK_ELIMIT);
    check_ok(beck_publish_many(bus, two, 1, NULL, NULL, err));
    check_counts(&w, "q", 2, 0, 0, 0);
    world_reopen(&w);
    bus = world_get(&w, "b");
    assert_int_equal(put_event(bus, "6", 0, 0), BECK_ELIMIT);
    check_ok(beck_queue_purge(w.b, "q", NULL, err));
    put_at(bus, "7", 0, 0);
    put_at(bus, "8", 0, 0);
    assert_int_equal(put_event(bus, "9", 0, 0), BECK_ELIMIT);
    check_counts(&w, "q", 2, 0, 0, 0);
    world_end(&w);
}

static void room_that_a_refused_publish_had_taken_is_given_back(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus =
        world_pair(&w, &(beck_queue_options){.length_max = 2, .overflow = BECK_OVERFLOW_REFUSE});
    for (int i = 0; i < 50; i++) {
        vfs_sim_fail(w.vfs, VFS_OP_WRITE, 1, false, BECK_EFULL);
        assert_int_equal(put_event(bus, "0", 0, 0), BECK_EFULL);
    }
    vfs_sim_fail(w.vfs, VFS_OP_WRITE, 0, false, 0);
    put_at(bus, "0", 0, 0);
    put_at(bus, "1", 0, 0);
    assert_int_equal(put_event(bus, "2", 0, 0), BECK_ELIMIT);
    world_end(&w);
}

static void options_out_of_range_are_refused(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    const beck_queue_options bad[] = {
        {.attempts_max = 65536},
        {.deadline_ms = -2},
        {.ttl_ms = -1},
        {.length_max = -1},
        {.priority_max = 256},
        {.overflow = (beck_overflow)2},
        {.backoff = {.kind = BECK_BACKOFF_LIST}},
        {.backoff = {.kind = (beck_backoff_kind)5}},
        {.backoff = {.list_count = 17}},
        {.backoff = {.first_ms = -1}},
        {.backoff = {.jitter_percent = 102}},
        {.backoff = {.kind = BECK_BACKOFF_LIST, .list_count = 1, .list_ms = {-1}}},
        {.storage = (beck_storage)3},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(beck_queue_create(w.b, "q", &bad[i], NULL), BECK_EINVAL);
    assert_int_equal(beck_queue_info_get(w.b, "q", &(beck_queue_info){0}, NULL), BECK_ENOENT);
    world_end(&w);
}

static void what_has_expired_behind_others_blocks_no_publisher(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus =
        world_pair(&w, &(beck_queue_options){.length_max = 4, .overflow = BECK_OVERFLOW_REFUSE});
    put_at(bus, "0", 0, 0);
    put_at(bus, "1", 0, START_MS + 1000);
    put_at(bus, "2", 0, 0);
    put_at(bus, "3", 0, START_MS + 1000);
    assert_int_equal(put_event(bus, "4", 0, 0), BECK_ELIMIT);
    world_advance(&w, 1000);
    put_at(bus, "4", 0, START_MS + 2000);
    put_at(bus, "5", 0, 0);
    assert_int_equal(put_event(bus, "6", 0, 0), BECK_ELIMIT);
    world_advance(&w, 1000);
    put_at(bus, "6", 0, 0);
    assert_int_equal(put_event(bus, "7", 0, 0), BECK_ELIMIT);
    check_counts(&w, "q", 4, 0, 0, 3);
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "0 2 5 6");
    beck_consumer_close(c);
    world_end(&w);
}

static void put_many(beck_bus *bus, size_t count)
{
    static beck_event events[1000];
    for (size_t i = 0; i < 1000; i++)
        events[i] = (beck_event){.type = beck_str("t"), .data = beck_str("x")};
    for (size_t n; count > 0; count -= n) {
        n = count < 1000 ? count : 1000;
        check_ok(beck_publish_many(bus, events, n, NULL, NULL, err));
    }
}

/* Those before it would have to be held in memory. */
static void what_has_expired_behind_very_many_waits_for_them(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(
        &w, &(beck_queue_options){.length_max = 12001, .overflow = BECK_OVERFLOW_REFUSE});
    struct queue *q = handle_find_queue(w.b, "q");
    put_many(bus, 12000);
    put_at(bus, "short", 0, START_MS + 1000);
    world_advance(&w, 1000);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(put_event(bus, "more", 0, 0), BECK_ELIMIT);
        assert_int_equal(q->return_count, 0);
        world_advance(&w, 1000);
    }
    beck_consumer *c = world_consumer(&w, "q", 0);
    for (int i = 0; i < 3000; i++)
        settle(c, take(c, "x"));
    beck_consumer_close(c);
    put_many(bus, 3000);
    put_at(bus, "more", 0, 0);
    assert_in_range(q->return_count, 8000, 10000);
    assert_int_equal(put_event(bus, "more", 0, 0), BECK_ELIMIT);
    check_counts(&w, "q", 12001, 0, 0, 1);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_with_a_delivery_time_waits_for_it),
        cmocka_unit_test(centuries_are_a_delay_like_any_other),
        cmocka_unit_test(delayed_events_come_due_in_order_of_the_bus),
        cmocka_unit_test(thousands_that_come_due_at_once_are_all_there_at_once),
        cmocka_unit_test(what_was_not_delivered_in_time_dies_of_it),
        cmocka_unit_test(what_has_expired_is_not_delivered_whatever_stands_before_it),
        cmocka_unit_test(expiry_survives_a_kill),
        cmocka_unit_test(a_full_queue_lets_the_oldest_go),
        cmocka_unit_test(a_full_queue_with_priorities_lets_the_first_go),
        cmocka_unit_test(a_long_history_bound_to_a_short_queue_leaves_the_newest),
        cmocka_unit_test(a_full_queue_refuses_and_the_event_is_not_stored),
        cmocka_unit_test(room_that_a_refused_publish_had_taken_is_given_back),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(what_has_expired_behind_others_blocks_no_publisher),
        cmocka_unit_test(what_has_expired_behind_very_many_waits_for_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
