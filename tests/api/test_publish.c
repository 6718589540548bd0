/* Publishing through the public functions: where events go, what is promised and who is told. */
#include "common.h"

#include <sched.h>

#include "api/handle.h"
#include "base/vfs.h"

#include <stdatomic.h>

/* ---- positions ---- */

static int64_t next_of(beck_bus *bus, uint32_t partition)
{
    beck_partition_info info;
    must(beck_partition_info_get(bus, partition, &info, &err));
    return info.next_offset;
}

static void the_position_of_the_first_event_is_returned(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus *bus = make_bus(b, "shop", &(beck_bus_options){.partitions = 4});
    beck_event e[5];
    for (int i = 0; i < 5; i++)
        e[i] = event_of("t.x", NULL, "1");
    beck_published out = {.position = {9, 9}};
    const beck_publish_options to_three = {.partition_plus_1 = 4};
    for (int64_t i = 0; i < 3; i++) {
        must(beck_publish_many(bus, e, 5, &to_three, &out, &err));
        assert_int_equal(out.position.partition, 3);
        assert_int_equal(out.position.offset, i * 5);
        assert_int_equal(out.duplicates, 0);
    }
    assert_int_equal(next_of(bus, 3), 15);
    must(beck_publish_many(bus, e, 0, NULL, &out, &err));
    assert_int_equal(next_of(bus, 3), 15);
    for (int32_t bad = -1; bad <= 5; bad += 6)
        refused(beck_publish_many(bus, e, 1, &(beck_publish_options){.partition_plus_1 = bad}, &out,
                                  &err),
                BECK_EINVAL, "0 to 3");
    refused(
        beck_publish_many(bus, e, 1, &(beck_publish_options){.level = (beck_level)9}, &out, &err),
        BECK_EINVAL, "level 9");
    assert_int_equal(out.position.offset, 10);
    beck_close(b);
    place_remove(&p);
}

static void the_subject_chooses_the_partition_and_events_without_one_take_turns(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus *bus = make_bus(b, "shop", &(beck_bus_options){.partitions = 7});
    /* Of 7 partitions, as Kafka's clients choose: (murmur2 & 0x7fffffff) % 7. */
    const struct {
        const char *subject;
        int32_t hash;
    } known[] = {{"21", -973932308}, {"foobar", -790332482}, {"abc", 479470107}};
    for (size_t i = 0; i < 3; i++) {
        beck_published out;
        beck_event e = event_of("t.x", known[i].subject, "1");
        must(beck_publish_many(bus, &e, 1, NULL, &out, &err));
        assert_int_equal(out.position.partition, ((uint32_t)known[i].hash & 0x7fffffffu) % 7);
    }
    int64_t before[7];
    for (uint32_t i = 0; i < 7; i++)
        before[i] = next_of(bus, i);
    for (int i = 0; i < 14; i++)
        publish(bus, "t.x", NULL, "1");
    for (uint32_t i = 0; i < 7; i++)
        assert_int_equal(next_of(bus, i), before[i] + 2);
    beck_close(b);
    place_remove(&p);
}

static void many_are_one_batch_for_each_partition(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus *bus = make_bus(b, "shop", &(beck_bus_options){.partitions = 3});
    enum { COUNT = 1000 };
    static char subjects[COUNT][8], data[COUNT][8];
    static beck_event e[COUNT];
    for (int i = 0; i < COUNT; i++) {
        snprintf(subjects[i], sizeof subjects[i], "s%d", i % 50);
        snprintf(data[i], sizeof data[i], "%d", i);
        e[i] = event_of("t.x", subjects[i], data[i]);
    }
    beck_published out;
    must(beck_publish_many(bus, e, COUNT, NULL, &out, &err));
    assert_int_equal(next_of(bus, 0) + next_of(bus, 1) + next_of(bus, 2), COUNT);
    assert_int_equal(out.position.offset, 0);
    /* Each partition has its share in the order of the call. */
    for (int32_t i = 0; i < 3; i++) {
        beck_reader *r;
        const beck_event *read;
        int last = -1, n = 0;
        must(beck_reader_open(
            bus, &(beck_read_options){.from.kind = BECK_FROM_EARLIEST, .partition_plus_1 = i + 1},
            &r, &err));
        while (beck_reader_next(r, 0, &read, NULL) == BECK_OK) {
            int number = atoi(read->data.data);
            assert_true(number > last);
            assert_memory_equal(read->subject.data, subjects[number], read->subject.len);
            last = number;
            n++;
        }
        assert_int_equal(n, next_of(bus, (uint32_t)i));
        beck_reader_close(r);
    }
    beck_close(b);
    place_remove(&p);
}

/* ---- refusals: nothing is stored ---- */

static void a_wrong_event_refuses_all_of_them(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus *disk = make_bus(b, "disk", &(beck_bus_options){.partitions = 2});
    beck_bus *memory = make_bus(b, "memory", &(beck_bus_options){.storage = BECK_STORAGE_MEMORY});
    beck_event e[3] = {event_of("t.x", "a", "1"), event_of("t.x", "b", "1"),
                       event_of("t..x", "c", "1")};
    refused(beck_publish_many(disk, e, 3, NULL, NULL, &err), BECK_EINVAL, "t..x");
    refused(beck_publish_many(memory, e, 3, NULL, NULL, &err), BECK_EINVAL, "t..x");
    refused(beck_publish(memory, &(beck_event){0}, &err), BECK_EINVAL, "type");
    refused(beck_publish(disk, &(beck_event){0}, &err), BECK_EINVAL, "type");
    beck_bus_info info;
    must(beck_bus_info_get(disk, &info, &err));
    assert_int_equal(info.events, 0);
    beck_close(b);
    place_remove(&p);
}

static void an_event_that_is_too_large_is_refused_with_the_limit(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus *bus = make_bus(b, "shop", &(beck_bus_options){.event_bytes_max = 1000});
    char data[1001];
    memset(data, 'x', 1000);
    data[1000] = 0;
    beck_event e[2] = {event_of("t.x", "a", "1"), event_of("t.x", "a", data)};
    refused(beck_publish_many(bus, e, 2, NULL, NULL, &err), BECK_ELIMIT, "event_bytes_max = 1000");
    refused(beck_publish(bus, &e[1], &err), BECK_ELIMIT, "1000");
    assert_int_equal(next_of(bus, 0), 0);
    data[900] = 0;
    e[1] = event_of("t.x", "a", data);
    must(beck_publish_many(bus, e, 2, NULL, NULL, &err));
    assert_int_equal(next_of(bus, 0), 2);
    beck_close(b);
    place_remove(&p);
}

/* ---- done ---- */

struct told {
    _Atomic(int) calls;
    beck_status status;
    beck_published published;
};

static void on_done(void *ctx, beck_status status, const beck_published *published)
{
    struct told *t = ctx;
    t->status = status;
    t->published = *published;
    atomic_fetch_add(&t->calls, 1);
}

/* Closing the handle finishes what is queued. */
static void expect_told_once(struct told *told, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(atomic_load(&told[i].calls), 1);
        assert_int_equal(told[i].status, BECK_OK);
    }
}

static void done_is_told_once_at_every_level_and_place(void **state)
{
    (void)state;
    for (uint32_t interval = 0; interval <= 5; interval += 5) {
        struct place p;
        place_make(&p);
        beck *b = NULL;
        must(
            beck_open(&b, &(beck_options){.data_dir = p.data, .sync_interval_ms = interval}, &err));
        beck_bus *buses[3] = {
            make_bus(b, "disk", &(beck_bus_options){.partitions = 3}),
            make_bus(b, "memory", &(beck_bus_options){.storage = BECK_STORAGE_MEMORY}),
            make_bus(b, "queued", &(beck_bus_options){.storage = BECK_STORAGE_MEMORY})};
        must(beck_queue_create(b, "work", &(beck_queue_options){.storage = BECK_STORAGE_MEMORY},
                               &err));
        must(beck_queue_bind(b, "work", &(beck_binding){.bus = "queued"}, &err));
        struct told told[3][4] = {0};
        beck_event e[6];
        char subject[6][4];
        for (int i = 0; i < 6; i++) {
            snprintf(subject[i], 4, "s%d", i);
            e[i] = event_of("t.x", subject[i], "1");
        }
        for (int i = 0; i < 3; i++) {
            for (int level = 0; level < 4; level++) {
                beck_publish_options o = {
                    .level = (beck_level)level, .done = on_done, .done_ctx = &told[i][level]};
                must(beck_publish_many(buses[i], e, 6, &o, NULL, &err));
            }
        }
        must(beck_sync(b, &err));
        beck_close(b);
        expect_told_once(&told[0][0], 12);
        place_remove(&p);
    }
}

static void done_is_not_told_of_what_the_call_itself_refused(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus *bus =
        make_bus(b, "shop", &(beck_bus_options){.partitions = 2, .event_bytes_max = 500});
    char data[600];
    memset(data, 'x', 599);
    data[599] = 0;
    /* The shares of two partitions: that of the first is accepted. */
    beck_event e[2] = {event_of("t.x", "foobar", "1"), event_of("t.x", "21", data)};
    struct told told = {0};
    beck_publish_options o = {.done = on_done, .done_ctx = &told};
    beck_published out = {.duplicates = 7};
    for (int i = 0; i < 2; i++) {
        beck_event both[2] = {e[i], e[!i]};
        refused(beck_publish_many(bus, both, 2, &o, &out, &err), BECK_ELIMIT, "500");
        refused(beck_publish_many(bus, &e[1], 1, &o, &out, &err), BECK_ELIMIT, "500");
    }
    assert_int_equal(out.duplicates, 7);
    beck_close(b);
    assert_int_equal(atomic_load(&told.calls), 0);
    place_remove(&p);
}

struct round {
    beck_bus *disk, *effects;
    pthread_t publisher;
    _Atomic(bool) begun, over; /* the committer's thread is in `done` */
    _Atomic(int) missed, told, caused;
};

static void hold_thread(void *ctx, beck_status status, const beck_published *published)
{
    struct round *r = ctx;
    (void)status;
    (void)published;
    /* The round was over before the call: this is the publisher itself. */
    if (pthread_equal(pthread_self(), r->publisher)) {
        atomic_fetch_add(&r->missed, 1);
        return;
    }
    atomic_store(&r->begun, true);
    while (!atomic_load(&r->over))
        sched_yield();
}

static void publish_effect(void *ctx, beck_status status, const beck_published *published)
{
    struct round *r = ctx;
    (void)status;
    (void)published;
    publish(r->effects, "effect", NULL, "1");
    atomic_fetch_add(&r->told, 1);
}

static int look_for_cause(void *ctx, const beck_event *e)
{
    struct round *r = ctx;
    atomic_fetch_add(&r->caused, e->causationid.len > 0 || e->correlationid.len > 0);
    return 0;
}

static int publish_synced(void *ctx, const beck_event *e)
{
    struct round *r = ctx;
    (void)e;
    publish(r->disk, "t.y", NULL, "1");
    return 0;
}

/* A publisher that handles an event leads the round of somebody else's publish. */
static void done_has_nothing_of_what_its_thread_is_handling(void **state)
{
    struct place p;
    (void)state;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus_options in_memory = {.storage = BECK_STORAGE_MEMORY};
    struct round r = {.disk = make_bus(b, "disk", NULL),
                      .effects = make_bus(b, "m", &in_memory),
                      .publisher = pthread_self()};
    beck_bus *handled = make_bus(b, "handled", &in_memory);
    must(beck_subscribe(handled, "#", publish_synced, &r, NULL, NULL, &err));
    must(beck_subscribe(r.effects, "#", look_for_cause, &r, NULL, NULL, &err));
    beck_event e = event_of("t.x", NULL, "1");
    for (int tries = 1; !atomic_load(&r.begun); tries++) {
        must(beck_publish_many(r.disk, &e, 1,
                               &(beck_publish_options){.done = hold_thread, .done_ctx = &r}, NULL,
                               &err));
        while (!atomic_load(&r.begun) && atomic_load(&r.missed) < tries)
            sched_yield();
    }
    must(beck_publish_many(r.disk, &e, 1,
                           &(beck_publish_options){.done = publish_effect, .done_ctx = &r}, NULL,
                           &err));
    publish(handled, "t.x", NULL, "1");
    assert_int_equal(atomic_load(&r.told), 1);
    assert_int_equal(atomic_load(&r.caused), 0);
    atomic_store(&r.over, true);
    beck_close(b);
    place_remove(&p);
}

static void done_learns_of_a_sync_that_failed(void **state)
{
    (void)state;
    struct vfs *v = vfs_sim_new(1);
    beck *b = NULL;
    must(beck_open_env(&b, &(beck_options){.data_dir = "data"}, v, clock_system(), &err));
    beck_bus *bus = make_bus(b, "shop", NULL);
    vfs_sim_fail(v, VFS_OP_SYNC, 1, false, BECK_EIO);
    struct told told = {0};
    beck_event e = event_of("t.x", NULL, "1");
    must(beck_publish_many(bus, &e, 1, &(beck_publish_options){.done = on_done, .done_ctx = &told},
                           NULL, &err));
    /* The next one waits for a later round. */
    refused(beck_publish(bus, &e, &err), BECK_EPOISONED, "restart");
    refused(beck_publish_many(bus, &e, 1, &(beck_publish_options){.level = BECK_LEVEL_WRITTEN},
                              NULL, &err),
            BECK_EPOISONED, "restart");
    refused(beck_sync(b, &err), BECK_EPOISONED, "restart");
    beck_close(b);
    assert_int_equal(atomic_load(&told.calls), 1);
    assert_int_equal(told.status, BECK_EPOISONED);
    /* The next open works again. */
    b = NULL;
    must(beck_open_env(&b, &(beck_options){.data_dir = "data"}, v, clock_system(), &err));
    must(beck_bus_get(b, "shop", &bus, &err));
    must(beck_publish(bus, &e, &err));
    beck_close(b);
    vfs_sim_free(v);
}

/* ---- levels ---- */

static int64_t survivors(struct vfs *v, bool power)
{
    if (power)
        vfs_sim_crash(v);
    else
        vfs_sim_kill(v);
    beck *b = NULL;
    beck_bus *bus;
    beck_bus_info info;
    must(beck_open_env(&b, &(beck_options){.data_dir = "data"}, v, clock_system(), &err));
    must(beck_bus_get(b, "shop", &bus, &err));
    must(beck_bus_info_get(bus, &info, &err));
    beck_close(b);
    return info.events;
}

static void written_survives_the_process_and_synced_the_power(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct vfs *v = vfs_sim_new(seed);
        beck *b = NULL;
        must(beck_open_env(&b, &(beck_options){.data_dir = "data"}, v, clock_system(), &err));
        beck_bus *bus = make_bus(b, "shop", &(beck_bus_options){.level = BECK_LEVEL_WRITTEN});
        beck_event e = event_of("t.x", NULL, "1");
        for (int i = 0; i < 10; i++)
            must(beck_publish(bus, &e, &err));
        must(beck_publish_many(bus, &e, 1, &(beck_publish_options){.level = BECK_LEVEL_SYNCED},
                               NULL, &err));
        for (int i = 0; i < 10; i++)
            must(beck_publish(bus, &e, &err));
        vfs_sim_stop_at(v, 1); /* nothing that closing writes is there */
        bool power = seed % 2;
        beck_abandon(b);
        int64_t left = survivors(v, power);
        assert_true(left >= (power ? 11 : 21) && left <= 21);
        vfs_sim_free(v);
    }
}

static void syncs_by_the_clock_are_not_waited_for(void **state)
{
    (void)state;
    struct vfs *v = vfs_sim_new(1);
    beck *b = NULL;
    must(beck_open_env(&b, &(beck_options){.data_dir = "data", .sync_interval_ms = 3600000}, v,
                       clock_system(), &err));
    beck_bus *bus = make_bus(b, "shop", NULL);
    publish(bus, "t.x", NULL, "1"); /* marks: the first round may begin at once */
    must(beck_sync(b, &err));
    uint64_t before = vfs_sim_calls(v, VFS_OP_SYNC);
    for (int i = 0; i < 50; i++)
        publish(bus, "t.x", NULL, "1");
    assert_true(vfs_sim_calls(v, VFS_OP_SYNC) <= before + 1);
    beck_partition_info info;
    must(beck_sync(b, &err));
    must(beck_partition_info_get(bus, 0, &info, &err));
    assert_int_equal(info.synced_offset, 51);
    beck_close(b);
    vfs_sim_free(v);
}

static void readers_of_synced_events_see_no_others(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    const beck_bus_options options[2] = {{.level = BECK_LEVEL_WRITTEN, .read_synced = true},
                                         {.level = BECK_LEVEL_WRITTEN}};
    must(beck_queue_create(b, "work0", NULL, &err));
    must(beck_queue_create(b, "work1", NULL, &err));
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "soon" : "sure", *queue = i ? "work1" : "work0";
        beck_bus *bus = make_bus(b, name, &options[i]);
        must(beck_queue_bind(b, queue, &(beck_binding){.bus = name}, &err));
        beck_reader *r;
        const beck_event *e;
        beck_queue_info info;
        must(beck_reader_open(
            bus, &(beck_read_options){.from.kind = BECK_FROM_EARLIEST, .follow = true}, &r, &err));
        publish(bus, "t.x", NULL, "1");
        /* A checkpoint of the timer may sync at any time, so this looks only at what is certain. */
        beck_partition_info part;
        beck_status status = beck_reader_next(r, 0, &e, NULL);
        must(beck_partition_info_get(bus, 0, &part, &err));
        assert_true(status == BECK_OK || (i == 0 && status == BECK_ETIMEDOUT));
        assert_true(status != BECK_OK || i == 1 || part.synced_offset == 1);
        must(beck_sync(b, &err));
        if (status)
            must(beck_reader_next(r, 0, &e, &err));
        must(beck_queue_info_get(b, queue, &info, &err));
        assert_int_equal(info.ready, 1);
        beck_reader_close(r);
    }
    beck_close(b);
    place_remove(&p);
}

/* ---- deduplication ---- */

static beck_event named(const char *source, const char *id, const char *data)
{
    beck_event e = event_of("t.x", NULL, data);
    e.source = beck_str(source);
    e.id = beck_str(id);
    return e;
}

static int count_calls(void *ctx, const beck_event *event)
{
    (void)event;
    ++*(int *)ctx;
    return 0;
}

static void the_same_source_and_id_are_stored_once_within_the_window(void **state)
{
    (void)state;
    struct vfs *v = vfs_sim_new(1);
    struct clock *clock = clock_virtual_new(1700000000000000000);
    beck *b = NULL;
    must(beck_open_env(&b, &(beck_options){.data_dir = "data"}, v, clock, &err));
    beck_bus *bus = make_bus(b, "shop", &(beck_bus_options){.dedup_window_ms = 1000});
    int calls = 0;
    must(beck_subscribe(bus, "#", count_calls, &calls, NULL, NULL, &err));
    must(beck_queue_create(
        b, "work", &(beck_queue_options){.length_max = 4, .overflow = BECK_OVERFLOW_REFUSE}, &err));
    must(beck_queue_bind(b, "work", &(beck_binding){.bus = "shop"}, &err));
    beck_event e[4] = {named("/a", "1", "x"), named("/b", "1", "x"), named("/a", "2", "x"),
                       named("/a", "1", "again")};
    beck_published out;
    must(beck_publish_many(bus, e, 4, NULL, &out, &err));
    assert_int_equal(out.duplicates, 1);
    assert_int_equal(out.position.offset, 0);
    assert_int_equal(calls, 3);
    beck_queue_info info;
    must(beck_queue_info_get(b, "work", &info, &err));
    assert_int_equal(info.ready, 3);
    must(beck_queue_purge(b, "work", NULL, &err));
    for (int i = 0; i < 10; i++) {
        must(beck_publish_many(bus, &e[2], 1, NULL, &out, &err));
        assert_int_equal(out.duplicates, 1);
        assert_int_equal(out.position.offset, 2);
    }
    assert_int_equal(calls, 3);
    /* The room that was promised to duplicates was given back. */
    for (int i = 0; i < 4; i++) {
        char id[8];
        snprintf(id, sizeof id, "n%d", i);
        beck_event fresh = named("/a", id, "x");
        must(beck_publish(bus, &fresh, &err));
    }
    beck_event more = named("/a", "more", "x");
    refused(beck_publish(bus, &more, &err), BECK_ELIMIT, "work");
    /* Also a full queue lets duplicates have their answer, and only them. */
    must(beck_publish_many(bus, &e[1], 1, NULL, &out, &err));
    assert_int_equal(out.duplicates, 1);
    assert_int_equal(out.position.offset, 1);
    e[3] = more;
    refused(beck_publish_many(bus, e, 4, NULL, &out, &err), BECK_ELIMIT, "work");
    beck_consumer *c;
    beck_delivery d;
    size_t count;
    must(beck_consumer_open(b, "work", 0, &c, &err));
    must(beck_take(c, &d, 1, 0, &count, &err));
    must(beck_settle(c, &d.tag, 1, &err));
    beck_consumer_close(c);
    must(beck_publish_many(bus, e, 4, NULL, &out, &err));
    assert_int_equal(out.duplicates, 3);
    must(beck_queue_info_get(b, "work", &info, &err));
    assert_int_equal(info.ready, 4);
    must(beck_queue_purge(b, "work", NULL, &err));
    /* Remembered over an opening, forgotten in time. */
    beck_close(b);
    must(beck_open_env(&b, &(beck_options){.data_dir = "data"}, v, clock, &err));
    must(beck_bus_get(b, "shop", &bus, &err));
    must(beck_publish_many(bus, &e[0], 1, NULL, &out, &err));
    assert_int_equal(out.duplicates, 1);
    assert_int_equal(out.position.offset, 0);
    clock_virtual_advance(clock, 1001 * 1000000LL);
    must(beck_publish_many(bus, &e[0], 1, NULL, &out, &err));
    assert_int_equal(out.duplicates, 0);
    assert_int_equal(out.position.offset, 8);
    beck_close(b);
    clock_virtual_free(clock);
    vfs_sim_free(v);
}

static void a_full_memory_bus_answers_duplicates_and_refuses_the_rest(void **state)
{
    (void)state;
    beck *b = open_memory();
    beck_bus *bus = make_bus(
        b, "shop", &(beck_bus_options){.dedup_window_ms = 3600000, .retention_bytes = 100000});
    must(beck_queue_create(b, "work", NULL, &err));
    must(beck_queue_bind(b, "work", &(beck_binding){.bus = "shop"}, &err));
    char data[1000] = "";
    memset(data, 'x', sizeof data - 1);
    beck_status status = BECK_OK;
    beck_error why = {0};
    int stored = 0;
    for (; !status && stored < 1000; stored += !status) {
        char id[8];
        snprintf(id, sizeof id, "%d", stored);
        beck_event e = named("/a", id, data);
        status = beck_publish(bus, &e, &why);
    }
    assert_int_equal(status, BECK_ELIMIT);
    assert_non_null(strstr(why.text, "retention_bytes"));
    assert_in_range(stored, 10, 300);
    beck_event first = named("/a", "0", data);
    beck_published out;
    must(beck_publish_many(bus, &first, 1, NULL, &out, &err));
    assert_int_equal(out.duplicates, 1);
    beck_close(b);
}

static beck *open_compacted(struct vfs *v, struct clock *clock, beck_bus **bus)
{
    beck *b;
    beck_options o = {.data_dir = "data"};
    beck_bus_options options = {.compact = true, .segment_bytes = 4096};
    must(beck_open_env(&b, &o, v, clock, &err));
    upkeep_stop(b);
    must(beck_bus_create(b, "shop", &options, bus, &err));
    return b;
}

static void compaction_goes_on_after_an_opening_where_it_was(void **state)
{
    (void)state;
    const char *const path = "data/cleaner-offset-checkpoint";
    struct vfs *v = vfs_sim_new(1);
    struct clock *clock = clock_virtual_new(1700000000000000000);
    beck_bus *bus;
    beck *b = open_compacted(v, clock, &bus);
    for (int i = 0; i < 300; i++)
        publish(bus, "t.x", "one", "some text that takes a little room");
    assert_int_equal(partition_cleaned(bus_partition(bus, 0)), 0);
    must(upkeep_maintain(b, &err));
    int64_t cleaned = partition_cleaned(bus_partition(bus, 0));
    assert_true(cleaned > 200);
    beck_close(b);
    b = open_compacted(v, clock, &bus);
    assert_int_equal(partition_cleaned(bus_partition(bus, 0)), cleaned);
    beck_close(b);
    /* Without it, or with a damaged one, it is done again, also of files that nobody has opened. */
    for (int damaged = 0; damaged < 2; damaged++) {
        must(damaged ? vfs_write_file(v, path, beck_str("rubbish"), &err)
                     : vfs_unlink(v, path, &err));
        b = open_compacted(v, clock, &bus);
        assert_int_equal(partition_cleaned(bus_partition(bus, 0)), 0);
        must(upkeep_maintain(b, &err));
        assert_int_equal(partition_cleaned(bus_partition(bus, 0)), cleaned);
        beck_close(b);
    }
    /* Another bus of that name begins at its beginning. */
    b = open_compacted(v, clock, &bus);
    must(beck_bus_delete(b, "shop", &err));
    beck_close(b);
    b = open_compacted(v, clock, &bus);
    assert_int_equal(partition_cleaned(bus_partition(bus, 0)), 0);
    beck_close(b);
    clock_virtual_free(clock);
    vfs_sim_free(v);
}

/* ---- listeners ---- */

struct seen {
    beck_bus *then; /* publishes there */
    char id[400], causation[400], correlation[400], source[300];
    beck_position position;
    int64_t time_ns;
    int calls;
};

static void keep(char *out, size_t size, beck_bytes bytes)
{
    snprintf(out, size, "%.*s", (int)bytes.len, bytes.len ? (const char *)bytes.data : "");
}

static int see(void *ctx, const beck_event *e)
{
    struct seen *s = ctx;
    s->calls++;
    keep(s->id, sizeof s->id, e->id);
    keep(s->causation, sizeof s->causation, e->causationid);
    keep(s->correlation, sizeof s->correlation, e->correlationid);
    keep(s->source, sizeof s->source, e->source);
    s->position = e->position;
    s->time_ns = e->time_ns;
    if (s->then)
        publish(s->then, "t.effect", NULL, "2");
    return 0;
}

static void listeners_of_a_disk_bus_see_position_id_source_and_time(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus *bus = make_bus(b, "shop", NULL);
    struct seen s = {0};
    must(beck_subscribe(bus, "#", see, &s, NULL, NULL, &err));
    publish(bus, "t.x", NULL, "1");
    publish(bus, "t.x", NULL, "1");
    assert_string_equal(s.id, "shop/0/1");
    assert_string_equal(s.source, "/shop");
    assert_int_equal(s.position.partition, 0);
    assert_int_equal(s.position.offset, 1);
    assert_true(s.time_ns > 1600000000000000000);
    beck_event own = named("/me", "my-id", "1");
    must(beck_publish(bus, &own, &err));
    assert_string_equal(s.id, "my-id");
    assert_string_equal(s.source, "/me");
    beck_close(b);
    place_remove(&p);
}

static void effects_carry_the_ids_of_their_cause(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus *first = make_bus(b, "first", NULL), *second = make_bus(b, "second", NULL);
    beck_bus *third = make_bus(b, "third", &(beck_bus_options){.storage = BECK_STORAGE_MEMORY});
    struct seen s1 = {.then = second}, s2 = {.then = third}, s3 = {0};
    must(beck_subscribe(first, "#", see, &s1, NULL, NULL, &err));
    must(beck_subscribe(second, "#", see, &s2, NULL, NULL, &err));
    must(beck_subscribe(third, "#", see, &s3, NULL, NULL, &err));
    publish(first, "t.cause", NULL, "1");
    assert_string_equal(s1.causation, "");
    assert_string_equal(s1.correlation, "");
    assert_string_equal(s2.causation, "first/0/0");
    assert_string_equal(s2.correlation, "first/0/0");
    assert_string_equal(s3.causation, "second/0/0");
    assert_string_equal(s3.correlation, "first/0/0");
    beck_event e = named("/me", "cause", "1");
    e.correlationid = beck_str("flow");
    must(beck_publish(first, &e, &err));
    assert_string_equal(s2.causation, "cause");
    assert_string_equal(s2.correlation, "flow");
    assert_string_equal(s3.correlation, "flow");
    assert_null(beck_current(b));
    beck_close(b);
    place_remove(&p);
}

struct circle {
    beck_bus *bus;
    beck_error refused;
    int calls;
};

static int go_round(void *ctx, const beck_event *e)
{
    struct circle *c = ctx;
    (void)e;
    c->calls++;
    return beck_publish(c->bus, &(beck_event){.type = beck_str("t.round")}, &c->refused);
}

static void a_circle_of_listeners_ends_with_an_error(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus *buses[] = {
        make_bus(b, "disk", NULL),
        make_bus(b, "memory", &(beck_bus_options){.storage = BECK_STORAGE_MEMORY})};
    for (int i = 0; i < 2; i++) {
        struct circle c = {.bus = buses[i]};
        beck_listener *listener;
        must(beck_subscribe(c.bus, "t.*", go_round, &c, NULL, &listener, &err));
        for (int again = 1; again <= 2; again++) {
            publish(c.bus, "t.round", NULL, "1");
            assert_int_equal(c.calls, 100 * again);
            assert_int_equal(c.refused.code, BECK_ELIMIT);
            assert_non_null(strstr(c.refused.text, "circle"));
            assert_non_null(strstr(c.refused.text, beck_bus_name(c.bus)));
        }
        beck_unsubscribe(listener);
        publish(c.bus, "t.round", NULL, "1");
    }
    beck_close(b);
    place_remove(&p);
}

struct twice {
    beck_bus *then;
    bool without;
};

static int publish_two(void *ctx, const beck_event *e)
{
    struct twice *t = ctx;
    (void)e;
    beck_event effects[2] = {event_of("t.a", NULL, "1"), event_of("t.b", NULL, "1")};
    beck_event given = event_of("t.c", NULL, "1");
    given.causationid = beck_str("given");
    must(beck_publish_many(t->then, effects, 2, &(beck_publish_options){.no_context = t->without},
                           NULL, &err));
    must(beck_publish(t->then, &given, &err));
    return 0;
}

struct log {
    char causation[3][80], correlation[3][80];
    int count;
};

static int note(void *ctx, const beck_event *e)
{
    struct log *l = ctx;
    int i = l->count++ % 3;
    keep(l->causation[i], 80, e->causationid);
    keep(l->correlation[i], 80, e->correlationid);
    return 0;
}

static void effects_of_an_event_without_id_share_one_made_for_it(void **state)
{
    (void)state;
    beck *b = open_memory();
    beck_bus *from = make_bus(b, "from", NULL), *to = make_bus(b, "to", NULL);
    struct twice t = {to, false};
    struct log l = {0};
    must(beck_subscribe(from, "#", publish_two, &t, NULL, NULL, &err));
    must(beck_subscribe(to, "#", note, &l, NULL, NULL, &err));
    publish(from, "t.cause", NULL, NULL);
    assert_int_equal(l.count, 3);
    assert_int_equal(strlen(l.causation[0]), 36);
    assert_int_equal(l.causation[0][14], '7');
    assert_string_equal(l.causation[0], l.causation[1]);
    assert_string_equal(l.correlation[0], l.causation[0]);
    assert_string_equal(l.correlation[1], l.causation[0]);
    assert_string_equal(l.causation[2], "given");
    assert_string_equal(l.correlation[2], l.causation[0]);
    char earlier[80];
    strcpy(earlier, l.causation[0]);
    publish(from, "t.cause", NULL, NULL);
    assert_string_not_equal(l.causation[0], earlier);
    t.without = true;
    publish(from, "t.cause", NULL, NULL);
    assert_string_equal(l.causation[0], "");
    assert_string_equal(l.correlation[1], "");
    beck_close(b);
}

struct seen_ids {
    char ids[4][80];
    int count;
};

static int note_id(void *ctx, const beck_event *e)
{
    struct seen_ids *seen = ctx;
    keep(seen->ids[seen->count++ % 4], 80, e->id);
    return 0;
}

struct publisher_inside {
    beck_bus *to;
    bool quiet;
    struct seen_ids *seen;
};

static int publish_and_note_id(void *ctx, const beck_event *e)
{
    struct publisher_inside *p = ctx;
    note_id(p->seen, e);
    if (!p->quiet)
        publish(p->to, "t.effect", NULL, NULL);
    return note_id(p->seen, e);
}

static void listeners_see_the_id_that_effects_name(void **state)
{
    (void)state;
    beck *b = open_memory();
    beck_bus *from = make_bus(b, "from", NULL), *to = make_bus(b, "to", NULL);
    struct seen_ids seen = {0};
    struct publisher_inside inside = {to, false, &seen};
    struct log l = {0};
    must(beck_subscribe(from, "#", note_id, &seen, NULL, NULL, &err));
    must(beck_subscribe(from, "#", publish_and_note_id, &inside, NULL, NULL, &err));
    must(beck_subscribe(from, "#", note_id, &seen, NULL, NULL, &err));
    must(beck_subscribe(to, "#", note, &l, NULL, NULL, &err));
    for (int plain = 0; plain < 2; plain++) {
        beck_event e = event_of("t.cause", NULL, NULL);
        e.priority = plain ? 0 : 1; /* one goes the short way to the listeners, one does not */
        l.count = seen.count = 0;
        must(beck_publish(from, &e, &err));
        assert_string_equal(seen.ids[0], "");
        assert_string_equal(seen.ids[1], "");
        assert_int_equal(strlen(l.causation[0]), 36);
        assert_string_equal(seen.ids[2], l.causation[0]);
        assert_string_equal(seen.ids[3], l.causation[0]);
        assert_null(e.id.data);
        inside.quiet = true; /* the id was of that event alone */
        must(beck_publish(from, &e, &err));
        for (int i = 0; i < 4; i++)
            assert_string_equal(seen.ids[i], "");
        inside.quiet = false;
    }
    beck_close(b);
}

static int fails(void *ctx, const beck_event *e)
{
    (void)ctx;
    (void)e;
    return 5;
}

static void a_failing_listener_stops_nobody_and_is_counted(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    for (int disk = 0; disk < 2; disk++) {
        beck_bus *bus = make_bus(
            b, disk ? "disk" : "memory",
            &(beck_bus_options){.storage = disk ? BECK_STORAGE_DISK : BECK_STORAGE_MEMORY});
        int calls = 0;
        beck_published out;
        beck_event e[2] = {event_of("t.x", NULL, "1"), event_of("t.x", NULL, "1")};
        must(beck_subscribe(bus, "#", fails, NULL, NULL, NULL, &err));
        must(beck_subscribe(bus, "#", count_calls, &calls, NULL, NULL, &err));
        must(beck_publish_many(bus, e, 2, NULL, &out, &err));
        assert_int_equal(out.listeners_failed, 2);
        assert_int_equal(calls, 2);
    }
    beck_close(b);
    place_remove(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_position_of_the_first_event_is_returned),
        cmocka_unit_test(the_subject_chooses_the_partition_and_events_without_one_take_turns),
        cmocka_unit_test(many_are_one_batch_for_each_partition),
        cmocka_unit_test(a_wrong_event_refuses_all_of_them),
        cmocka_unit_test(an_event_that_is_too_large_is_refused_with_the_limit),
        cmocka_unit_test(done_is_told_once_at_every_level_and_place),
        cmocka_unit_test(done_is_not_told_of_what_the_call_itself_refused),
        cmocka_unit_test(done_has_nothing_of_what_its_thread_is_handling),
        cmocka_unit_test(done_learns_of_a_sync_that_failed),
        cmocka_unit_test(written_survives_the_process_and_synced_the_power),
        cmocka_unit_test(syncs_by_the_clock_are_not_waited_for),
        cmocka_unit_test(readers_of_synced_events_see_no_others),
        cmocka_unit_test(the_same_source_and_id_are_stored_once_within_the_window),
        cmocka_unit_test(compaction_goes_on_after_an_opening_where_it_was),
        cmocka_unit_test(a_full_memory_bus_answers_duplicates_and_refuses_the_rest),
        cmocka_unit_test(listeners_of_a_disk_bus_see_position_id_source_and_time),
        cmocka_unit_test(effects_carry_the_ids_of_their_cause),
        cmocka_unit_test(a_circle_of_listeners_ends_with_an_error),
        cmocka_unit_test(effects_of_an_event_without_id_share_one_made_for_it),
        cmocka_unit_test(listeners_see_the_id_that_effects_name),
        cmocka_unit_test(a_failing_listener_stops_nobody_and_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
