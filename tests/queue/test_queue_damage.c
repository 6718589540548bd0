/* One bus of several is damaged: the others and all queues go on, and nothing of the damaged one is lost or settled. */
#include "world.h"

#include "bus/bus.h"
#include "log/partition.h"
#include "queue/consumer_impl.h"

#define BAD "data/bad-0/00000000000000000000.log"

static void harm(struct world *w)
{
    vfs_sim_flip(w->vfs, BAD, 70, 5);
}

/* As the bytes were: from a backup. */
static void restore(struct world *w)
{
    harm(w);
}

/* Buses `good` and `bad`, both of which feed queue `q`: g0 b0 g1 b1 ... */
static void start(struct world *w, uint64_t seed, int each)
{
    world_start(w, seed);
    beck_bus *good = world_bus(w, "good", NULL), *bad = world_bus(w, "bad", NULL);
    world_queue(w, "q", NULL);
    world_bind(w, "q", "good", "#", BECK_FROM_EARLIEST);
    world_bind(w, "q", "bad", "#", BECK_FROM_EARLIEST);
    for (int i = 0; i < each; i++) {
        char text[16];
        snprintf(text, sizeof text, "g%d", i);
        put(good, "t.x", text);
        snprintf(text, sizeof text, "b%d", i);
        put(bad, "t.x", text);
    }
}

static void open_damaged(struct world *w)
{
    w->reports = 0;
    harm(w);
    world_open(w);
    assert_int_equal(w->reports, 1);
    assert_non_null(strstr(w->last_report.text, "bad-0/00000000000000000000.log"));
    assert_non_null(strstr(w->last_report.text, "at byte "));
    assert_non_null(strstr(w->last_report.text, "beck verify --repair"));
}

#define says_damaged(call)                                                                         \
    do {                                                                                           \
        beck_error says_error = {0};                                                               \
        beck_error *err = &says_error;                                                             \
        assert_int_equal(call, BECK_ECORRUPT);                                                     \
        assert_non_null(strstr(err->text, "bad-0/00000000000000000000.log\" is damaged at byte")); \
        assert_non_null(strstr(err->text, "beck verify --repair"));                                \
    } while (0)

static void every_use_of_the_damaged_bus_is_refused_with_the_file_and_the_remedy(void **state)
{
    (void)state;
    struct world w;
    start(&w, 1, 3);
    beck_close(w.b);
    open_damaged(&w);
    beck_bus *bad = world_get(&w, "bad");
    beck_event e = {.type = beck_str("t.x")};
    beck_reader *r;
    beck_from from = {.kind = BECK_FROM_EARLIEST};
    beck_binding all = {.bus = "bad", .pattern = "#"};
    says_damaged(beck_publish(bad, &e, err));
    says_damaged(beck_reader_open(bad, &(beck_read_options){.from = from}, &r, err));
    world_queue(&w, "late", NULL);
    says_damaged(beck_queue_bind(w.b, "late", &all, err));
    says_damaged(beck_queue_unbind(w.b, "q", "bad", "#", err));
    says_damaged(beck_queue_rewind(w.b, "q", &from, err));
    says_damaged(beck_bus_purge(bad, err));
    /* It is there, and says how it is. */
    beck_bus_info info;
    beck_partition_info p;
    check_ok(beck_bus_info_get(bad, &info, err));
    assert_int_equal(info.damaged, 1);
    check_ok(beck_partition_info_get(bad, 0, &p, err));
    assert_true(p.damaged);
    check_ok(beck_bus_info_get(world_get(&w, "good"), &info, err));
    assert_int_equal(info.damaged, 0);
    check_ok(beck_sync(w.b, err));
    check_ok(upkeep_checkpoint(w.b, err));
    check_ok(upkeep_maintain(w.b, err));
    world_end(&w);
}

static void a_queue_gives_what_it_has_of_other_buses_and_keeps_the_rest(void **state)
{
    (void)state;
    struct world w;
    start(&w, 2, 4);
    beck_consumer *c = world_consumer(&w, "q", 0);
    settle(c, take(c, "g0"));
    settle(c, take(c, "b0"));
    beck_consumer_close(c);
    beck_close(w.b);
    open_damaged(&w);
    put(world_get(&w, "good"), "t.x", "g4");
    c = world_consumer(&w, "q", 0);
    drain(c, "g1 g2 g3 g4");
    check_counts(&w, "q", 0, 0, 3, 0);
    for (int i = 0; i < 3; i++) {
        world_advance(&w, MINUTE + 1);
        take_nothing(c);
        check_counts(&w, "q", 0, 0, 3, 0);
    }
    beck_consumer_close(c);
    world_reopen(&w);
    check_counts(&w, "q", 0, 0, 3, 0);
    beck_close(w.b);
    restore(&w);
    w.reports = 0;
    world_open(&w);
    assert_int_equal(w.reports, 0);
    put(world_get(&w, "bad"), "t.x", "b4");
    world_advance(&w, MINUTE + 1);
    c = world_consumer(&w, "q", 0);
    drain(c, "b1 b2 b3 b4");
    check_counts(&w, "q", 0, 0, 0, 0);
    beck_consumer_close(c);
    world_end(&w);
}

/* Publishers and other consumers wait for the lock. */
static void what_cannot_be_had_is_put_aside_some_at_a_time(void **state)
{
    (void)state;
    enum { BAD_EVENTS = 5000 };
    struct world w;
    struct slot *taken[1];
    bool again = false;
    start(&w, 9, 0);
    static beck_event events[BAD_EVENTS];
    for (int i = 0; i < BAD_EVENTS; i++)
        events[i] = (beck_event){.type = beck_str("t.x"), .data = beck_str("b")};
    check_ok(beck_publish_many(world_get(&w, "bad"), events, BAD_EVENTS, NULL, NULL, err));
    put(world_get(&w, "good"), "t.x", "g");
    beck_close(w.b);
    open_damaged(&w);
    beck_consumer *c = world_consumer(&w, "q", 0);
    struct queue *q = c->queue;
    mutex_lock(&q->lock);
    int64_t now_ms = world_now_ms(&w);
    assert_int_equal(consumer_move_in(c, 1, now_ms, 0, NULL, taken, &again, NULL), 0);
    assert_true(again);
    assert_true(queue_ready(q) > BAD_EVENTS / 2);
    mutex_unlock(&q->lock);
    settle(c, take(c, "g"));
    check_counts(&w, "q", 0, 0, BAD_EVENTS, 0);
    beck_consumer_close(c);
    world_end(&w);
}

/* No snapshot knows of what was published since: the log has it. */
static void what_a_queue_has_not_looked_at_comes_once_the_bus_is_put_right(void **state)
{
    (void)state;
    struct world w;
    start(&w, 3, 2);
    check_ok(upkeep_checkpoint(w.b, err));
    put(world_get(&w, "bad"), "t.x", "b2");
    vfs_sim_kill(w.vfs);
    beck_abandon(w.b);
    open_damaged(&w);
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "g0 g1");
    beck_consumer_close(c);
    check_ok(upkeep_checkpoint(w.b, err));
    vfs_sim_kill(w.vfs);
    beck_abandon(w.b);
    restore(&w);
    world_open(&w);
    world_advance(&w, MINUTE + 1);
    c = world_consumer(&w, "q", 0);
    drain(c, "b0 b1 b2");
    beck_consumer_close(c);
    world_end(&w);
}

static void what_was_delayed_comes_due_and_waits_on(void **state)
{
    (void)state;
    struct world w;
    start(&w, 4, 0);
    put(world_get(&w, "bad"), "t.x", "b0");
    beck_event later = {.type = beck_str("t.x"),
                        .data = beck_str("b1"),
                        .deliver_at_ms = world_now_ms(&w) + 10 * SECOND};
    check_ok(beck_publish(world_get(&w, "bad"), &later, err));
    beck_close(w.b);
    open_damaged(&w);
    world_advance(&w, HOUR);
    beck_consumer *c = world_consumer(&w, "q", 0);
    take_nothing(c);
    check_counts(&w, "q", 0, 0, 2, 0);
    beck_consumer_close(c);
    beck_close(w.b);
    restore(&w);
    world_open(&w);
    world_advance(&w, MINUTE + 1);
    c = world_consumer(&w, "q", 0);
    drain(c, "b0 b1");
    beck_consumer_close(c);
    world_end(&w);
}

static void a_queue_and_then_the_damaged_bus_can_be_deleted(void **state)
{
    (void)state;
    struct world w;
    start(&w, 5, 2);
    beck_close(w.b);
    open_damaged(&w);
    assert_int_equal(beck_bus_delete(w.b, "bad", NULL), BECK_EBUSY);
    check_ok(beck_queue_delete(w.b, "q", err));
    check_ok(beck_bus_delete(w.b, "bad", err));
    assert_false(vfs_exists(w.vfs, "data/bad-0"));
    put(world_bus(&w, "bad", NULL), "t.x", "new");
    world_reopen(&w);
    put(world_get(&w, "bad"), "t.x", "new");
    world_end(&w);
}

/* The other partitions of a bus are not damaged. */
static void a_partition_of_several_is_damaged_by_itself(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 6);
    beck_bus *bad = world_bus(&w, "bad", &(beck_bus_options){.partitions = 4});
    uint32_t damaged = 0, taken = 0;
    for (int i = 0; i < 40; i++) {
        char subject[16];
        snprintf(subject, sizeof subject, "s%d", i);
        beck_event e = {.type = beck_str("t.x"), .subject = beck_str(subject)};
        check_ok(beck_publish(bad, &e, err));
    }
    beck_close(w.b);
    open_damaged(&w);
    bad = world_get(&w, "bad");
    for (int i = 0; i < 40; i++) {
        char subject[16];
        snprintf(subject, sizeof subject, "s%d", i);
        beck_event e = {.type = beck_str("t.x"), .subject = beck_str(subject)};
        beck_status status = beck_publish(bad, &e, NULL);
        assert_true(!status || status == BECK_ECORRUPT);
        bool there = bus_partition_of(e.subject, 4) == 0;
        assert_int_equal(there, status == BECK_ECORRUPT);
        damaged += there;
        taken += !there;
    }
    assert_true(damaged > 0 && taken > 0);
    world_end(&w);
}

/* All that is certain of it is what retention has taken: that must not pass for an empty bus. */
static void a_damaged_bus_is_not_exported_as_an_empty_one(void **state)
{
    (void)state;
    struct world w;
    char text[1000] = {0};
    beck_kafka_files files;
    world_start(&w, 8);
    memset(text, 'x', sizeof text - 1);
    world_bus(&w, "bad", &(beck_bus_options){.segment_bytes = 4096, .retention_bytes = 1});
    world_queue(&w, "q", NULL);
    world_bind(&w, "q", "bad", "#", BECK_FROM_EARLIEST);
    for (int i = 0; i < 9; i++)
        put(world_get(&w, "bad"), "t.x", text);
    check_ok(upkeep_maintain(w.b, err));
    put(world_get(&w, "bad"), "t.x", "last");
    vfs_sim_kill(w.vfs);
    beck_abandon(w.b);
    open_damaged(&w);
    says_damaged(beck_kafka_export(w.b, "bad", "out", &files, err));
    assert_int_equal(files.partitions, 0);
    assert_false(vfs_exists(w.vfs, "out"));
    world_end(&w);
}

static int note_list(void *ctx, const char *name, bool is_dir)
{
    (void)is_dir;
    if (strstr(name, ".fifo"))
        snprintf(ctx, 300, "data/__queues/q/%s", name);
    return 0;
}

/* The list of the queue is damaged as well, and cannot be made again before the bus is put right. */
static void what_was_purged_does_not_come_back_with_the_bus(void **state)
{
    (void)state;
    struct world w;
    char list[300] = "";
    beck_event many[1000];
    start(&w, 9, 0);
    for (int i = 0; i < 1000; i++)
        many[i] = (beck_event){.type = beck_str("t.x"), .data = beck_str("old")};
    for (int i = 0; i < 20; i++)
        check_ok(beck_publish_many(world_get(&w, "bad"), many, 1000, NULL, NULL, err));
    beck_close(w.b);
    check_ok(vfs_list(w.vfs, "data/__queues/q", note_list, list, err));
    check_ok(vfs_unlink(w.vfs, list, err));
    check_ok(vfs_rename(w.vfs, BAD, "data/kept", err));
    world_open(&w);
    assert_int_equal(w.reports, 2);
    check_ok(beck_queue_purge(w.b, "q", NULL, err));
    beck_close(w.b);
    check_ok(vfs_rename(w.vfs, "data/kept", BAD, err));
    world_open(&w);
    check_counts(&w, "q", 0, 0, 0, 0);
    put(world_get(&w, "bad"), "t.x", "new");
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "new");
    beck_consumer_close(c);
    world_end(&w);
}

/* What beck itself cannot do without. */
static void what_exists_is_needed(void **state)
{
    (void)state;
    static const char file[] = "data/__topology-0/00000000000000000000.log";
    struct world w;
    start(&w, 7, 2);
    beck_close(w.b);
    vfs_sim_flip(w.vfs, file, 70, 5);
    beck_error err = {0};
    assert_int_equal(world_try_open(&w, &err), BECK_ECORRUPT);
    assert_non_null(strstr(err.text, file));
    assert_non_null(strstr(err.text, "beck verify --repair"));
    vfs_sim_flip(w.vfs, file, 70, 5);
    world_open(&w);
    world_end(&w);
}

#define STATE "data/__queue_state-0/00000000000000000000.log"

#define says_unknown(call)                                                                         \
    do {                                                                                           \
        beck_error says_error = {0};                                                               \
        beck_error *err = &says_error;                                                             \
        assert_int_equal(call, BECK_ECORRUPT);                                                     \
        assert_non_null(strstr(err->text, "is not known"));                                        \
        assert_non_null(strstr(err->text, STATE "\" is damaged at byte"));                         \
        assert_non_null(strstr(err->text, "beck verify --repair"));                                \
    } while (0)

static void open_without_state(struct world *w)
{
    w->reports = 0;
    vfs_sim_flip(w->vfs, STATE, 70, 5);
    world_open(w);
    assert_int_equal(w->reports, 1);
    assert_non_null(strstr(w->last_report.text, STATE));
}

static void without_the_state_of_queues_buses_work_and_every_use_of_a_queue_says_why(void **state)
{
    (void)state;
    struct world w;
    start(&w, 11, 2);
    world_queue(&w, "unbound", NULL);
    beck_close(w.b);
    open_without_state(&w);
    beck_bus *good = world_get(&w, "good");
    put(good, "t.x", "while");
    beck_bus_info info;
    check_ok(beck_bus_info_get(good, &info, err));
    assert_int_equal(info.events, 3);
    beck_consumer *c;
    beck_binding all = {.bus = "good", .pattern = "t.#"};
    beck_from from = {.kind = BECK_FROM_EARLIEST};
    says_unknown(beck_consumer_open(w.b, "q", 1, &c, err));
    says_unknown(beck_queue_bind(w.b, "q", &all, err));
    says_unknown(beck_queue_unbind(w.b, "q", "good", "#", err));
    says_unknown(beck_queue_rewind(w.b, "q", &from, err));
    says_unknown(beck_queue_purge(w.b, "q", NULL, err));
    says_unknown(beck_queue_pause(w.b, "q", true, err));
    says_unknown(beck_queue_delete(w.b, "q", err));
    says_unknown(beck_queue_create(w.b, "new", NULL, err));
    says_unknown(beck_dead_redrive(w.b, "q", -1, NULL, err));
    says_unknown(beck_bus_purge(good, err));
    says_unknown(beck_bus_delete(w.b, "good", err));
    assert_int_equal(beck_queue_purge(w.b, "none", NULL, NULL), BECK_ENOENT);
    beck_queue_info q;
    check_ok(beck_queue_info_get(w.b, "q", &q, err));
    assert_true(q.damaged);
    assert_int_equal(q.bindings, 2);
    /* One in memory has nothing there. */
    world_queue(&w, "m", &(beck_queue_options){.storage = BECK_STORAGE_MEMORY});
    world_bind(&w, "m", "good", "#", BECK_FROM_NOW);
    put(good, "t.x", "more");
    c = world_consumer(&w, "m", 0);
    drain(c, "more");
    beck_consumer_close(c);
    vfs_sim_flip(w.vfs, STATE, 70, 5);
    world_end(&w);
}

/* What was settled before stays so, what is owed is kept although retention would take it, and what is published
 * meanwhile comes. */
static void a_queue_goes_on_where_it_was_once_its_state_is_put_right(void **state)
{
    (void)state;
    struct world w;
    char text[1000] = {0};
    memset(text, 'x', sizeof text - 1);
    world_start(&w, 12);
    beck_bus *bus =
        world_bus(&w, "bus", &(beck_bus_options){.segment_bytes = 4096, .retention_bytes = 1});
    world_queue(&w, "q", NULL);
    world_bind(&w, "q", "bus", "#", BECK_FROM_EARLIEST);
    put(bus, "t.x", "settled");
    put(bus, "t.x", "owed");
    beck_consumer *c = world_consumer(&w, "q", 1);
    settle(c, take(c, "settled"));
    beck_consumer_close(c);
    beck_close(w.b);
    vfs_sim_flip(w.vfs, STATE, 70, 5);
    for (int i = 0; i < 2; i++) {
        world_open(&w);
        for (int n = 0; n < 9; n++)
            put(world_get(&w, "bus"), "t.x", text);
        check_ok(upkeep_maintain(w.b, err));
        check_ok(upkeep_checkpoint(w.b, err));
        if (i == 0) {
            beck_close(w.b);
        } else {
            vfs_sim_kill(w.vfs);
            beck_abandon(w.b);
        }
    }
    vfs_sim_flip(w.vfs, STATE, 70, 5);
    world_open(&w);
    check_counts(&w, "q", 19, 0, 0, 0);
    c = world_consumer(&w, "q", 1);
    take(c, "owed");
    beck_consumer_close(c);
    world_end(&w);
}

#define DEAD "data/__dead_letters-0/00000000000000000000.log"

static int count_letter(void *ctx, const beck_dead *dead)
{
    (void)dead;
    ++*(int *)ctx;
    return 0;
}

static void without_dead_letters_queues_go_on_and_what_would_die_stays(void **state)
{
    (void)state;
    struct world w;
    int letters = 0;
    world_start(&w, 13);
    beck_bus *bus = world_bus(&w, "bus", NULL);
    world_queue(&w, "q", &(beck_queue_options){.attempts_max = 1});
    world_bind(&w, "q", "bus", "#", BECK_FROM_EARLIEST);
    put(bus, "t.x", "dies");
    put(bus, "t.x", "dies later");
    put(bus, "t.x", "lives");
    beck_consumer *c = world_consumer(&w, "q", 3);
    check_ok(beck_reject(c, take(c, "dies").tag, "no", err));
    beck_consumer_close(c);
    beck_close(w.b);
    vfs_sim_flip(w.vfs, DEAD, 70, 5);
    w.reports = 0;
    world_open(&w);
    assert_int_equal(w.reports, 1);
    assert_non_null(strstr(w.last_report.text, DEAD));
    beck_error why = {0};
    assert_int_equal(beck_dead_list(w.b, "q", 9, count_letter, &letters, &why), BECK_ECORRUPT);
    assert_non_null(strstr(why.text, "beck verify --repair"));
    c = world_consumer(&w, "q", 3);
    assert_int_equal(beck_reject(c, take(c, "dies later").tag, "no", &why), BECK_ECORRUPT);
    assert_non_null(strstr(why.text, "beck verify --repair"));
    settle(c, take(c, "lives"));
    beck_consumer_close(c);
    check_ok(upkeep_checkpoint(w.b, err));
    beck_close(w.b);
    vfs_sim_flip(w.vfs, DEAD, 70, 5);
    world_open(&w);
    check_counts(&w, "q", 1, 0, 0, 1);
    check_ok(beck_dead_list(w.b, "q", 9, count_letter, &letters, err));
    assert_int_equal(letters, 1);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_use_of_the_damaged_bus_is_refused_with_the_file_and_the_remedy),
        cmocka_unit_test(a_queue_gives_what_it_has_of_other_buses_and_keeps_the_rest),
        cmocka_unit_test(what_cannot_be_had_is_put_aside_some_at_a_time),
        cmocka_unit_test(what_a_queue_has_not_looked_at_comes_once_the_bus_is_put_right),
        cmocka_unit_test(what_was_delayed_comes_due_and_waits_on),
        cmocka_unit_test(a_queue_and_then_the_damaged_bus_can_be_deleted),
        cmocka_unit_test(a_partition_of_several_is_damaged_by_itself),
        cmocka_unit_test(a_damaged_bus_is_not_exported_as_an_empty_one),
        cmocka_unit_test(what_was_purged_does_not_come_back_with_the_bus),
        cmocka_unit_test(what_exists_is_needed),
        cmocka_unit_test(without_the_state_of_queues_buses_work_and_every_use_of_a_queue_says_why),
        cmocka_unit_test(a_queue_goes_on_where_it_was_once_its_state_is_put_right),
        cmocka_unit_test(without_dead_letters_queues_go_on_and_what_would_die_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
