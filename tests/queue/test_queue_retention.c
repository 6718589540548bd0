/* Queues and retention: what a queue still owes outlives the rest of its bus, at little cost. */
#include "queue/world.h"

#include <malloc.h>

static const char padding[] =
    "0123456789012345678901234567890123456789012345678901234567890123456789"
    "0123456789012345678901234567890123456789012345678901234567890123456789";

static void put_range(beck_bus *bus, int from, int to)
{
    for (int i = from; i < to; i++) {
        char type[16], text[200];
        snprintf(type, sizeof type, "n%d", i % 10);
        snprintf(text, sizeof text, "%d %s", i, padding);
        put(bus, type, text);
    }
}

static int number_in(const beck_event *e)
{
    char text[200];
    snprintf(text, sizeof text, "%.*s", (int)e->data.len, (const char *)e->data.data);
    return atoi(text);
}

static int64_t bytes_of_bus(beck_bus *bus)
{
    beck_bus_info info;
    check_ok(beck_bus_info_get(bus, &info, err));
    return info.bytes;
}

static void let_go(struct world *w)
{
    for (int i = 0; i < 3; i++) {
        check_ok(upkeep_checkpoint(w->b, err));
        check_ok(upkeep_maintain(w->b, err));
        world_advance(w, MINUTE);
    }
}

static void check_owed(struct world *w, int from, int to, int step)
{
    beck_consumer *c = world_consumer(w, "q", 0);
    for (int i = from; i < to; i += step) {
        beck_delivery d = take(c, NULL);
        assert_int_equal(number_in(d.event), i);
        settle(c, d);
    }
    take_nothing(c);
    check_counts(w, "q", 0, 0, 0, 0);
    assert_int_equal(info_of(w, "q").dropped, 0);
    beck_consumer_close(c);
}

static void events_owed_outlive_retention_by_time_and_size(void **state)
{
    struct world w;
    (void)state;
    for (int how = 0; how < 8; how++) {
        beck_bus_options o = {.segment_bytes = 4096};
        if (how & 1)
            o.retention_bytes = 8192;
        else
            o.retention_ms = HOUR;
        world_start(&w, 1);
        beck_bus *bus = world_bus(&w, "b", &o);
        world_queue(&w, "q", NULL);
        world_bind(&w, "q", "b", "n3", BECK_FROM_NOW);
        put_range(bus, 0, 400);
        int64_t full = bytes_of_bus(bus);
        world_advance(&w, 2 * HOUR);
        put_range(bus, 400, 410);
        if (how & 2)
            world_kill(&w);
        let_go(&w);
        bus = world_get(&w, "b");
        assert_true(bytes_of_bus(bus) < full / 2);
        if (how & 4)
            world_crash(&w);
        check_counts(&w, "q", 41, 0, 0, 0);
        check_owed(&w, 3, 410, 10);
        let_go(&w);
        assert_true(bytes_of_bus(world_get(&w, "b")) < 20000);
        world_end(&w);
    }
}

static void what_is_delayed_held_or_was_put_back_is_owed_too(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus =
        world_bus(&w, "b", &(beck_bus_options){.segment_bytes = 4096, .retention_ms = HOUR});
    world_queue(&w, "q", &(beck_queue_options){.deadline_ms = -1});
    world_bind(&w, "q", "b", "#", BECK_FROM_NOW);
    put_range(bus, 0, 100);
    beck_consumer *c = world_consumer(&w, "q", 100);
    beck_delivery d[100];
    size_t count;
    check_ok(beck_take(c, d, 100, 0, &count, err));
    assert_int_equal(count, 100);
    for (size_t i = 0; i < count; i++) {
        if (i == 10)
            check_ok(beck_retry(c, d[i].tag, DAY, NULL, err));
        else if (i == 20)
            check_ok(beck_reject(c, d[i].tag, NULL, err));
        else if (i == 30)
            check_ok(beck_return(c, d[i].tag, err));
        else if (i != 40)
            settle(c, d[i]);
    }
    world_advance(&w, 2 * HOUR);
    put_range(bus, 100, 160);
    let_go(&w);
    check_ok(beck_dead_redrive(w.b, "q", -1, NULL, err));
    world_advance(&w, 2 * DAY);
    put_range(bus, 160, 162);
    let_go(&w);
    assert_int_equal(number_in(d[40].event), 40);
    check_ok(beck_return(c, d[40].tag, err));
    const int expected[] = {10, 30, 40};
    for (int i = 0; i < 3; i++) {
        beck_delivery again = take(c, NULL);
        assert_int_equal(number_in(again.event), expected[i]);
        settle(c, again);
    }
    bool seen = false;
    for (int i = 0; i < 63; i++) {
        beck_delivery again = take(c, NULL);
        seen |= number_in(again.event) == 20;
        settle(c, again);
    }
    assert_true(seen);
    take_nothing(c);
    assert_int_equal(info_of(&w, "q").dropped, 0);
    beck_consumer_close(c);
    world_end(&w);
}

static void history_that_was_added_behind_newer_events_is_owed_too(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus =
        world_bus(&w, "b", &(beck_bus_options){.segment_bytes = 4096, .retention_ms = HOUR});
    world_queue(&w, "q", NULL);
    put_range(bus, 0, 200);
    world_bind(&w, "q", "b", "n1", BECK_FROM_EARLIEST);
    world_bind(&w, "q", "b", "n2", BECK_FROM_EARLIEST);
    world_advance(&w, 2 * HOUR);
    put_range(bus, 200, 201);
    let_go(&w);
    beck_consumer *c = world_consumer(&w, "q", 0);
    for (int i = 0; i < 40; i++) {
        beck_delivery d = take(c, NULL);
        assert_int_equal(number_in(d.event), i < 20 ? 1 + 10 * i : 2 + 10 * (i - 20));
        settle(c, d);
    }
    take_nothing(c);
    beck_consumer_close(c);
    world_end(&w);
}

static void a_bus_that_is_no_longer_bound_is_owed_only_what_was_queued(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus =
        world_bus(&w, "b", &(beck_bus_options){.segment_bytes = 4096, .retention_ms = HOUR});
    world_queue(&w, "q", NULL);
    world_bind(&w, "q", "b", "n5", BECK_FROM_NOW);
    put_range(bus, 0, 20);
    check_ok(beck_queue_unbind(w.b, "q", "b", "n5", err));
    put_range(bus, 20, 400);
    world_advance(&w, 2 * HOUR);
    put_range(bus, 400, 401);
    world_reopen(&w);
    let_go(&w);
    assert_true(bytes_of_bus(world_get(&w, "b")) < 20000);
    check_owed(&w, 5, 20, 10);
    world_end(&w);
}

static void a_restart_of_a_queue_whose_consumer_keeps_up_reads_little(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    beck_consumer *c = world_consumer(&w, "q", 0);
    for (int round = 0; round < 200; round++) {
        put_range(bus, 0, 10);
        for (int i = 0; i < 10; i++)
            settle(c, take(c, NULL));
        if (round % 20 == 0)
            check_ok(upkeep_checkpoint(w.b, err));
    }
    beck_consumer_close(c);
    beck_close(w.b);
    uint64_t before = vfs_sim_calls(w.vfs, VFS_OP_READ);
    world_open(&w);
    assert_true(vfs_sim_calls(w.vfs, VFS_OP_READ) - before < 200);
    beck_partition_info state_log;
    check_ok(beck_partition_info_get(w.b->home.state, 0, &state_log, err));
    assert_true(state_log.next_offset - state_log.first_offset < 10);
    world_end(&w);
}

static void a_large_backlog_takes_little_memory(void **state)
{
    struct world w;
    enum { COUNT = 400000, AT_ONCE = 10000 };
    (void)state;
    w = (struct world){.clock = clock_virtual_new(START_MS * 1000000)};
    char dir[] = "/tmp/beck-queue-XXXXXX";
    assert_non_null(mkdtemp(dir));
    w.vfs = vfs_posix();
    w.options = (beck_options){
        .data_dir = dir, .checkpoint_ms = UINT32_MAX, .on_error = world_report, .on_error_ctx = &w};
    world_open(&w);
    beck_bus *bus = world_pair(&w, NULL);
    beck_event *events = calloc(AT_ONCE, sizeof *events);
    beck_publish_options o = {.level = BECK_LEVEL_WRITTEN};
    for (int i = 0; i < AT_ONCE; i++) {
        events[i] = (beck_event){.type = beck_str("t"), .data = beck_str("0123456789")};
        if (i % 2)
            events[i].deliver_at_ms = START_MS + DAY + i;
    }
    check_ok(beck_publish_many(bus, events, AT_ONCE, &o, NULL, err));
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    for (int i = AT_ONCE; i < COUNT; i += AT_ONCE)
        check_ok(beck_publish_many(bus, events, AT_ONCE, &o, NULL, err));
    free(events);
    check_counts(&w, "q", COUNT / 2, 0, COUNT / 2, 0);
    check_ok(upkeep_checkpoint(w.b, err));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    size_t after = mallinfo2().uordblks + mallinfo2().hblkhd;
    if (after > before + (6u << 20))
        print_error("%zu bytes\n", after - before);
    assert_true(after < before + (6u << 20));
#endif
    (void)before;
    world_reopen(&w);
    check_counts(&w, "q", COUNT / 2, 0, COUNT / 2, 0);
    beck_close(w.b);
    clock_virtual_free(w.clock);
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_owed_outlive_retention_by_time_and_size),
        cmocka_unit_test(what_is_delayed_held_or_was_put_back_is_owed_too),
        cmocka_unit_test(history_that_was_added_behind_newer_events_is_owed_too),
        cmocka_unit_test(a_bus_that_is_no_longer_bound_is_owed_only_what_was_queued),
        cmocka_unit_test(a_restart_of_a_queue_whose_consumer_keeps_up_reads_little),
        cmocka_unit_test(a_large_backlog_takes_little_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
