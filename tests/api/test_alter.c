/* Buses that are changed while they live: see beck_bus_alter. */
#include "common.h"

#include "api/handle.h"
#include "base/bytes.h"
#include "base/vfs.h"
#include "support/effort.h"

struct world {
    struct vfs *vfs;
    struct clock *clock;
    beck *b;
};

static void world_open(struct world *w)
{
    w->vfs = vfs_sim_new(7);
    w->clock = clock_virtual_new(1700000000000000000);
    must(beck_open_env(&w->b, &(beck_options){.data_dir = "data"}, w->vfs, w->clock, &err));
}

/* As after the end of the process, or a loss of power. */
static void world_again(struct world *w, bool power)
{
    beck_abandon(w->b);
    if (power)
        vfs_sim_crash(w->vfs);
    else
        vfs_sim_kill(w->vfs);
    must(beck_open_env(&w->b, &(beck_options){.data_dir = "data"}, w->vfs, w->clock, &err));
}

static void world_close(struct world *w)
{
    beck_close(w->b);
    vfs_sim_free(w->vfs);
    clock_virtual_free(w->clock);
}

static beck_bus *get_bus(beck *b, const char *name)
{
    beck_bus *bus = NULL;
    must(beck_bus_get(b, name, &bus, &err));
    return bus;
}

static beck_bus_options options_of(beck_bus *bus)
{
    beck_bus_info info;
    must(beck_bus_info_get(bus, &info, &err));
    return info.options;
}

/* ---- options ---- */

static void changed_options_are_in_force_at_once_and_kept(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    beck_bus *bus = make_bus(w.b, "shop", NULL);
    char large[5000];
    memset(large, 'x', sizeof large);
    beck_event e = {.type = beck_str("t"), .id = beck_str("1"), .data = bytes_of(large, 3000)};
    beck_bus_options o = options_of(bus);
    must(beck_publish(bus, &e, &err));
    o.event_bytes_max = 2000;
    o.dedup_window_ms = 60000;
    o.level = BECK_LEVEL_WRITTEN;
    o.codec = BECK_CODEC_LZ4;
    o.segment_bytes = 8192;
    must(beck_bus_alter(bus, &o, &err));
    beck_bus_options now = options_of(bus);
    assert_true(bus_options_equal(&o, &now));
    refused(beck_publish(bus, &e, &err), BECK_ELIMIT, "event_bytes_max = 2000");
    e.data.len = 1000;
    beck_published out;
    must(beck_publish_many(bus, &e, 1, NULL, &out, &err));
    assert_int_equal(out.position.offset, 1);
    must(beck_publish_many(bus, &e, 1, NULL, &out, &err));
    assert_int_equal(out.position.offset, 1);
    assert_int_equal(out.duplicates, 1);
    /* Written and not synced is enough now. */
    beck_partition_info p;
    must(beck_partition_info_get(bus, 0, &p, &err));
    assert_int_equal(p.written_offset, 2);
    assert_int_equal(p.synced_offset, 1);
    for (int i = 0; i < 40; i++) {
        char text[512], id[16];
        for (size_t n = 0; n < sizeof text; n++)
            text[n] = (char)('a' + (n * 31 + (size_t)i * 7 + n * n) % 26);
        snprintf(id, sizeof id, "i%d", i);
        e = (beck_event){
            .type = beck_str("t"), .id = beck_str(id), .data = bytes_of(text, sizeof text)};
        must(beck_publish(bus, &e, &err));
    }
    must(beck_partition_info_get(bus, 0, &p, &err));
    assert_true(p.segments > 1);
    world_again(&w, false);
    now = options_of(get_bus(w.b, "shop"));
    assert_true(bus_options_equal(&o, &now));
    /* Made with the options that it has now, it is found. */
    beck_bus *found;
    must(beck_bus_create(w.b, "shop", &o, &found, &err));
    refused(beck_bus_create(w.b, "shop", NULL, &found, &err), BECK_EEXIST, "other options");
    world_close(&w);
}

static void retention_that_is_changed_takes_what_it_then_reaches(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    beck_bus *bus = make_bus(w.b, "shop", &(beck_bus_options){.segment_bytes = 4096});
    char text[1000];
    memset(text, 'x', sizeof text);
    for (int i = 0; i < 50; i++) {
        beck_event e = {.type = beck_str("t"), .data = bytes_of(text, sizeof text)};
        must(beck_publish(bus, &e, &err));
    }
    must(upkeep_maintain(w.b, &err));
    assert_int_equal(partition_first(bus_partition(bus, 0)), 0);
    beck_bus_options o = options_of(bus);
    o.retention_bytes = 10000;
    must(beck_bus_alter(bus, &o, &err));
    must(upkeep_maintain(w.b, &err));
    assert_true(partition_first(bus_partition(bus, 0)) > 30);
    world_close(&w);
}

static void what_cannot_change_is_refused(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    beck_bus *bus = make_bus(w.b, "shop", &(beck_bus_options){.partitions = 3}), *dead;
    beck_bus *memory = make_bus(w.b, "quick", &(beck_bus_options){.storage = BECK_STORAGE_MEMORY});
    beck_bus_options o = options_of(bus), before = o;
    o.partitions = 2;
    refused(beck_bus_alter(bus, &o, &err), BECK_EINVAL, "has 3 partitions");
    o = before;
    o.read_synced = true;
    refused(beck_bus_alter(bus, &o, &err), BECK_EINVAL, "read_synced of bus \"shop\" stays");
    o = before;
    o.storage = BECK_STORAGE_MEMORY;
    o.partitions = 1;
    refused(beck_bus_alter(bus, &o, &err), BECK_EINVAL, "the storage of bus \"shop\" stays");
    o = before;
    o.segment_bytes = 5;
    refused(beck_bus_alter(bus, &o, &err), BECK_EINVAL, "segment_bytes");
    refused(beck_bus_alter(bus, NULL, &err), BECK_EINVAL, "there are none");
    o = options_of(memory);
    o.partitions = 2;
    refused(beck_bus_alter(memory, &o, &err), BECK_EINVAL, "one partition");
    o.partitions = 1;
    o.event_bytes_max = 100;
    must(beck_bus_alter(memory, &o, &err));
    must(beck_bus_get(w.b, "__dead_letters", &dead, &err));
    refused(beck_bus_alter(dead, &before, &err), BECK_EINVAL, "belongs to beck itself");
    beck_bus_options same = options_of(bus);
    assert_true(bus_options_equal(&before, &same));
    must(beck_bus_delete(w.b, "shop", &err));
    refused(beck_bus_alter(bus, &before, &err), BECK_ECLOSED, "deleted");
    world_close(&w);
}

/* ---- partitions ---- */

static void publish_to(beck_bus *bus, uint32_t partition, int number)
{
    char text[32];
    snprintf(text, sizeof text, "%d", number);
    beck_event e = {.type = beck_str("t"), .data = beck_str(text)};
    beck_publish_options o = {.partition_plus_1 = (int32_t)partition + 1};
    must(beck_publish_many(bus, &e, 1, &o, NULL, &err));
}

/* Takes and settles what there is, and marks it. */
static void take_all(beck *b, const char *queue, int *got, int count)
{
    beck_consumer *c;
    beck_delivery d[16];
    must(beck_consumer_open(b, queue, 16, &c, &err));
    for (;;) {
        size_t n = 0;
        beck_status status = beck_take(c, d, 16, 0, &n, NULL);
        if (status || n == 0)
            break;
        for (size_t i = 0; i < n; i++) {
            char text[32] = {0};
            memcpy(text, d[i].event->data.data, d[i].event->data.len);
            int number = atoi(text);
            assert_true(number >= 0 && number < count);
            got[number]++;
            must(beck_settle(c, &d[i].tag, 1, &err));
        }
    }
    beck_consumer_close(c);
}

static void queues_get_what_is_published_to_new_partitions(void **state)
{
    (void)state;
    for (int power = 0; power < 2; power++) {
        struct world w;
        int got[100] = {0};
        world_open(&w);
        beck_bus *bus = make_bus(w.b, "shop", NULL);
        must(beck_queue_create(w.b, "q", NULL, &err));
        must(beck_queue_bind(w.b, "q", &(beck_binding){.bus = "shop"}, &err));
        publish_to(bus, 0, 0);
        beck_bus_options o = options_of(bus);
        o.partitions = 4;
        must(beck_bus_alter(bus, &o, &err));
        for (int i = 1; i < 9; i++)
            publish_to(bus, (uint32_t)i % 4, i);
        take_all(w.b, "q", got, 9);
        for (int i = 9; i < 20; i++)
            publish_to(bus, (uint32_t)i % 4, i);
        must(beck_sync(w.b, &err));
        must(partition_sync(bus_partition(w.b->home.state, 0), &err));
        world_again(&w, power);
        bus = get_bus(w.b, "shop");
        assert_int_equal(options_of(bus).partitions, 4);
        o.partitions = 5;
        must(beck_bus_alter(bus, &o, &err));
        publish_to(bus, 4, 20);
        take_all(w.b, "q", got, 21);
        for (int i = 0; i < 21; i++)
            assert_int_equal(got[i], 1);
        world_close(&w);
    }
}

/* Stopped at every write: the bus has the old partitions or the new ones, and works. */
static void a_stop_while_partitions_are_added_leaves_the_old_or_the_new(void **state)
{
    (void)state;
    bool stopped = true;
    for (uint64_t at = 1; stopped; at++) {
        struct world w;
        int got[100] = {0};
        world_open(&w);
        beck_bus *bus = make_bus(w.b, "shop", NULL);
        must(beck_queue_create(w.b, "q", NULL, &err));
        must(beck_queue_bind(w.b, "q", &(beck_binding){.bus = "shop"}, &err));
        publish_to(bus, 0, 0);
        beck_bus_options o = options_of(bus);
        o.partitions = 3;
        vfs_sim_stop_at(w.vfs, at);
        beck_error why;
        stopped = beck_bus_alter(bus, &o, &why) != BECK_OK;
        vfs_sim_stop_at(w.vfs, 0);
        world_again(&w, at % 2);
        bus = get_bus(w.b, "shop");
        uint32_t count = options_of(bus).partitions;
        assert_true(count == 3 || (stopped && count == 1));
        must(beck_bus_alter(bus, &o, &err));
        for (int i = 1; i < 10; i++)
            publish_to(bus, (uint32_t)i % 3, i);
        take_all(w.b, "q", got, 10);
        for (int i = 0; i < 10; i++)
            assert_int_equal(got[i], 1);
        world_close(&w);
    }
}

struct publishing {
    beck_bus *bus;
    _Atomic(bool) stop;
    _Atomic(int) count;
};

static void *publish_on(void *arg)
{
    struct publishing *p = arg;
    while (!atomic_load(&p->stop)) {
        char subject[16];
        int n = atomic_fetch_add(&p->count, 1);
        snprintf(subject, sizeof subject, "s%d", n % 50);
        beck_event e[2] = {{.type = beck_str("t"), .subject = beck_str(subject)},
                           {.type = beck_str("t"), .subject = beck_str("other")}};
        beck_error err;
        assert_int_equal(beck_publish_many(p->bus, e, 2, NULL, NULL, &err), 0);
        beck_bus_info info;
        assert_int_equal(beck_bus_info_get(p->bus, &info, &err), 0);
    }
    return NULL;
}

static void a_bus_is_changed_while_others_publish(void **state)
{
    (void)state;
    struct place place;
    struct publishing p = {0};
    pthread_t threads[3];
    place_make(&place);
    beck *b = open_place(&place);
    p.bus = make_bus(b, "shop", &(beck_bus_options){.level = BECK_LEVEL_WRITTEN});
    must(beck_queue_create(b, "q", NULL, &err));
    must(beck_queue_bind(b, "q", &(beck_binding){.bus = "shop"}, &err));
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, publish_on, &p), 0);
    for (uint32_t n = 2; n <= 24; n++) {
        beck_bus_options o = options_of(p.bus);
        o.partitions = n;
        o.level = n % 2 ? BECK_LEVEL_WRITTEN : BECK_LEVEL_NONE;
        o.dedup_window_ms = n % 3 ? 0 : 1000;
        o.codec = (beck_codec)(n % 5);
        must(beck_bus_alter(p.bus, &o, &err));
        int before = atomic_load(&p.count);
        while (atomic_load(&p.count) < before + 20)
            sched_yield();
    }
    atomic_store(&p.stop, true);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    must(beck_sync(b, &err));
    beck_queue_info q;
    must(beck_queue_info_get(b, "q", &q, &err));
    assert_int_equal(q.ready, 2 * atomic_load(&p.count));
    beck_close(b);
    place_remove(&place);
}

/* ---- ids ---- */

/* Files are made with the first write. */
static void write_to_each(beck_bus *bus)
{
    beck_event e = {.type = beck_str("t"), .data = beck_str("x")};
    const beck_event *list[] = {&e};
    for (uint32_t i = 0; i < bus->partition_count; i++) {
        struct append a = {.events = list,
                           .count = 1,
                           .generation = atomic_load(&bus->topology),
                           .level = BECK_LEVEL_SYNCED};
        must(partition_append(bus_partition(bus, i), &a, &err));
    }
}

static void an_id_stays_with_its_bus_and_is_in_every_partition(void **state)
{
    (void)state;
    struct world w;
    uint8_t id[16], there[16];
    world_open(&w);
    beck_bus *bus = make_bus(w.b, "shop", &(beck_bus_options){.partitions = 2});
    memcpy(id, bus_id(bus), 16);
    beck_bus_options o = options_of(bus);
    o.partitions = 3;
    must(beck_bus_alter(bus, &o, &err));
    write_to_each(bus);
    world_again(&w, true);
    bus = get_bus(w.b, "shop");
    assert_memory_equal(bus_id(bus), id, 16);
    for (int i = 0; i < 3; i++) {
        char dir[64];
        snprintf(dir, sizeof dir, "data/shop-%d", i);
        must(partition_read_id(w.vfs, dir, there, &err));
        assert_memory_equal(there, id, 16);
    }
    must(beck_bus_delete(w.b, "shop", &err));
    bus = make_bus(w.b, "shop", NULL);
    assert_memory_not_equal(bus_id(bus), id, 16);
    world_close(&w);
}

static void a_bus_older_than_ids_gets_that_of_its_first_partition(void **state)
{
    (void)state;
    struct world w;
    uint8_t id[16], other[16] = {1, 2, 3}, there[16];
    world_open(&w);
    beck_bus *bus = make_bus(w.b, "shop", &(beck_bus_options){.partitions = 2});
    memcpy(id, bus_id(bus), 16);
    write_to_each(bus);
    must(partition_write_id(bus_partition(bus, 1), other, &err));
    beck_event e = {.type = beck_str("__topology"),
                    .subject = beck_str("bus/shop"),
                    .data = beck_str("{\"partitions\":2}")};
    must(bus_publish(w.b->topology, &e, 1, NULL, NULL, &err));
    for (int i = 0; i < 2; i++) {
        world_again(&w, false);
        assert_memory_equal(bus_id(get_bus(w.b, "shop")), id, 16);
        must(partition_read_id(w.vfs, "data/shop-1", there, &err));
        assert_memory_equal(there, id, 16);
    }
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changed_options_are_in_force_at_once_and_kept),
        cmocka_unit_test(retention_that_is_changed_takes_what_it_then_reaches),
        cmocka_unit_test(what_cannot_change_is_refused),
        cmocka_unit_test(queues_get_what_is_published_to_new_partitions),
        cmocka_unit_test(a_stop_while_partitions_are_added_leaves_the_old_or_the_new),
        cmocka_unit_test(a_bus_is_changed_while_others_publish),
        cmocka_unit_test(an_id_stays_with_its_bus_and_is_in_every_partition),
        cmocka_unit_test(a_bus_older_than_ids_gets_that_of_its_first_partition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
