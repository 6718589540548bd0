/* What a bus promises to the queue layer and to Kafka's clients: see bus/bus.h. Queues are played by
 * the test. */
#include "world.h"

#include "base/rng.h"

static beck_status publish_one(beck_bus *bus, const char *type, beck_error *err)
{
    beck_event e = {.type = beck_str(type), .subject = beck_str("s")};
    return bus_publish(bus, &e, 1, NULL, NULL, err);
}

/* ---- partitions ---- */

static void partitions_are_chosen_as_by_kafkas_clients(void **state)
{
    (void)state;
    /* Of Kafka's own test of murmur2 (clients UtilsTest.testMurmur2). */
    const struct {
        const char *key;
        int32_t hash;
    } known[] = {{"21", -973932308},
                 {"foobar", -790332482},
                 {"a-little-bit-long-string", -985981536},
                 {"a-little-bit-longer-string", -1486304829},
                 {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
                 {"abc", 479470107},
                 {"", 275646681}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t positive = (uint32_t)known[i].hash & 0x7fffffffu;
        assert_int_equal(bus_partition_of(beck_str(known[i].key), 0x80000000u), positive);
        for (uint32_t n = 1; n < 20; n++)
            assert_int_equal(bus_partition_of(beck_str(known[i].key), n), positive % n);
    }
}

/* ---- routes ---- */

static void each_event_goes_once_to_every_route_that_matches(void **state)
{
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        struct world w;
        world_open(
            &w, &(beck_bus_options){.storage = memory ? BECK_STORAGE_MEMORY : BECK_STORAGE_DISK});
        struct route *all = route_new(1000), *some = route_new(1000);
        assert_int_equal(bus_add_route(w.bus, beck_str("#"), all, NULL, NULL, NULL), 0);
        assert_int_equal(bus_add_route(w.bus, beck_str("a.*"), some, NULL, NULL, NULL), 0);
        assert_int_equal(bus_add_route(w.bus, beck_str("*.b"), some, NULL, NULL, NULL), 0);
        const char *const types[] = {"a.b", "a.c", "c.b", "c.c"};
        for (int i = 0; i < 40; i++)
            assert_int_equal(publish_one(w.bus, types[i % 4], NULL), 0);
        for (int i = 0; i < 40; i++) {
            assert_int_equal(all->got[i], 1);
            assert_int_equal(some->got[i], i % 4 < 3);
        }
        assert_int_equal(all->returned + some->returned, 0);
        bus_remove_route(w.bus, beck_str("#"), all);
        bus_remove_route(w.bus, beck_str("a.*"), some);
        assert_int_equal(publish_one(w.bus, "a.b", NULL), 0);
        assert_int_equal(all->admitted, 40);
        assert_int_equal(some->admitted, 31);
        bus_remove_route(w.bus, beck_str("*.b"), some);
        world_close(&w);
        free(all);
        free(some);
    }
}

static void what_was_admitted_and_not_stored_comes_back(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, &(beck_bus_options){.dedup_window_ms = 60000, .partitions = 2});
    struct route *wide = route_new(1000), *narrow = route_new(3);
    assert_int_equal(bus_add_route(w.bus, beck_str("#"), wide, NULL, NULL, NULL), 0);
    assert_int_equal(bus_add_route(w.bus, beck_str("n.#"), narrow, NULL, NULL, NULL), 0);
    /* Refused by the second route: what the first admitted comes back. */
    beck_event e[5];
    for (int i = 0; i < 5; i++)
        e[i] = (beck_event){.type = beck_str(i ? "n.x" : "w.x")};
    beck_error why;
    assert_int_equal(
        bus_publish(w.bus, e, 5, &(beck_publish_options){.partition_plus_1 = 1}, NULL, &why),
        BECK_ELIMIT);
    assert_int_equal(wide->admitted, wide->returned);
    assert_int_equal(narrow->admitted, narrow->returned);
    assert_int_equal(partition_next(bus_partition(w.bus, 0)), 0);
    /* Known by deduplication: comes back, alone or among others. */
    int64_t returned = wide->returned;
    beck_event named[3] = {{.type = beck_str("w.x"), .id = beck_str("1")},
                           {.type = beck_str("w.x"), .id = beck_str("1")},
                           {.type = beck_str("w.x"), .id = beck_str("2")}};
    beck_publish_options first = {.partition_plus_1 = 1};
    beck_published out;
    assert_int_equal(bus_publish(w.bus, named, 3, &first, &out, NULL), 0);
    assert_int_equal(out.duplicates, 1);
    assert_int_equal(wide->returned, returned + 1);
    assert_int_equal(bus_publish(w.bus, named, 1, &first, &out, NULL), 0);
    assert_int_equal(wide->returned, returned + 2);
    assert_int_equal(wide->got[0] + wide->got[1], 2);
    /* The disk is full: comes back. */
    vfs_sim_fail(w.vfs, VFS_OP_WRITE, 1, false, BECK_EFULL);
    returned = wide->returned;
    assert_int_equal(publish_one(w.bus, "w.y", &why), BECK_EFULL);
    assert_int_equal(wide->returned, returned + 1);
    assert_int_equal(publish_one(w.bus, "w.y", &why), BECK_OK);
    world_close(&w);
    int64_t stored = 0;
    for (int i = 0; i < OFFSETS; i++)
        stored += wide->got[i];
    assert_int_equal(wide->admitted, wide->returned + stored);
    free(wide);
    free(narrow);
}

/* ---- changed meanwhile ---- */

static struct world *altered;

/* The bus begins to deduplicate between routing and appending. */
static beck_status admit_and_alter(void *route, size_t count, size_t bytes, beck_error *err)
{
    beck_bus_options o = altered->bus->options;
    o.dedup_window_ms = 60000;
    if (((struct route *)route)->admitted == 0)
        assert_int_equal(bus_alter(altered->bus, &o, err), 0);
    return admit(route, count, bytes, err);
}

static __attribute__((noinline)) void leave_on_stack(int c)
{
    volatile char was_here[64 << 10];
    for (size_t i = 0; i < sizeof was_here; i++)
        was_here[i] = (char)c;
}

static void what_the_stack_held_is_not_taken_for_what_is_known(void **state)
{
    (void)state;
    struct world w;
    altered = &w;
    world_open(&w, &(beck_bus_options){.partitions = 1});
    w.bus->routing.admit = admit_and_alter;
    struct route *r = route_new(1000);
    assert_int_equal(bus_add_route(w.bus, beck_str("#"), r, NULL, NULL, NULL), 0);
    leave_on_stack(0xff);
    assert_int_equal(publish_one(w.bus, "a.b", NULL), 0);
    assert_int_equal(r->admitted, 1);
    assert_int_equal(r->returned, 0);
    world_close(&w);
    free(r);
}

/* ---- addressed ---- */

static void an_addressed_event_is_stored_once_with_its_queues(void **state)
{
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        struct world w;
        world_open(
            &w, &(beck_bus_options){.storage = memory ? BECK_STORAGE_MEMORY : BECK_STORAGE_DISK});
        struct route *a = route_new(1000), *b = route_new(1000);
        struct queue *both[] = {as_queue(a), as_queue(b)};
        struct bus_addressed to[] = {{.queues = both, .queue_count = 2},
                                     {.queues = both, .queue_count = 1},
                                     {.queues = both + 1, .queue_count = 1},
                                     {.content = beck_str("only kept")}};
        beck_event e[] = {{.type = beck_str("t"), .data = beck_str("1")},
                          {.type = beck_str("t"), .data = beck_str("22")},
                          {.type = beck_str("u"), .data = beck_str("333")},
                          {.type = beck_str("t"), .data = beck_str("4444")}};
        assert_int_equal(bus_add_route(w.bus, beck_str("u"), b, NULL, NULL, NULL), 0);
        assert_int_equal(bus_publish_addressed(w.bus, e, to, 4, NULL, NULL, NULL), 0);
        assert_int_equal(partition_next(bus_partition(w.bus, 0)), 4);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(a->got[i], i < 2);
            assert_int_equal(b->got[i], i == 0 || i == 2);
        }
        assert_int_equal(a->bytes, 3);
        assert_int_equal(b->bytes, 4);
        assert_int_equal(a->returned + b->returned, 0);
        /* One has no room: all of it comes back. */
        b->room = 0;
        assert_int_equal(bus_publish_addressed(w.bus, e, to, 1, NULL, NULL, NULL), BECK_ELIMIT);
        assert_int_equal(a->returned, 1);
        bus_remove_route(w.bus, beck_str("u"), b);
        world_close(&w);
        free(a);
        free(b);
    }
}

static beck_status route_to_one(void *ctx, beck_bus *b, const beck_event *e,
                                struct bus_router_out *out, beck_error *err)
{
    struct route *r = ctx;
    (void)b;
    if (e->data.len == 0)
        return error_set(err, BECK_EINVAL, "nothing in it");
    return bus_router_add(out, as_queue(r));
}

static void a_routers_references_are_given_back(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, &(beck_bus_options){.storage = BECK_STORAGE_MEMORY});
    struct route *r = route_new(3);
    beck_event e[] = {{.type = beck_str("t"), .data = beck_str("1")},
                      {.type = beck_str("t"), .data = beck_str("2")},
                      {.type = beck_str("t")}};
    assert_int_equal(bus_publish(w.bus, e, 2, NULL, NULL, NULL), 0); /* nobody is there */
    assert_int_equal(bus_set_router(w.bus, route_to_one, r, NULL), 0);
    assert_int_equal(bus_publish(w.bus, e, 2, NULL, NULL, NULL), 0);
    assert_int_equal(r->released, 2);
    assert_int_equal(r->got[0] + r->got[1], 2);
    assert_int_equal(bus_publish(w.bus, e, 3, NULL, NULL, NULL), BECK_EINVAL);
    assert_int_equal(r->released, 4);
    assert_int_equal(bus_publish(w.bus, e, 2, NULL, NULL, NULL), BECK_ELIMIT);
    assert_int_equal(r->released, 6);
    assert_int_equal(r->admitted, 2);
    assert_int_equal(bus_set_router(w.bus, NULL, NULL, NULL), 0);
    assert_int_equal(bus_publish_one(w.bus, &e[2], NULL), 0);
    world_close(&w);
    free(r);
}

/* ---- changes while others publish ---- */

struct publishing {
    struct world *w;
    int count;
};

static void *publish_many(void *arg)
{
    const struct publishing *p = arg;
    for (int i = 0; i < p->count; i++) {
        beck_event e = {.type = beck_str("t.x")};
        beck_publish_options o = {.level = (beck_level)(1 + i % 2)};
        if (bus_publish(p->w->bus, &e, 1, &o, NULL, NULL))
            abort();
    }
    return NULL;
}

struct mark {
    struct world *w;
    int64_t end;
};

static void note_end(void *ctx)
{
    struct mark *m = ctx;
    m->end = partition_paused_end(bus_partition(m->w->bus, 0));
}

static void a_route_gets_exactly_what_is_published_while_it_stands(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, &(beck_bus_options){.level = BECK_LEVEL_WRITTEN});
    enum { THREADS = 3, EACH = 3000, CHANGES = 30 };
    pthread_t threads[THREADS];
    struct publishing p = {&w, EACH};
    struct route *routes[CHANGES];
    int64_t from[CHANGES], to[CHANGES];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, publish_many, &p), 0);
    for (int i = 0; i < CHANGES; i++) {
        struct mark m = {&w, -1};
        routes[i] = route_new(OFFSETS);
        assert_int_equal(bus_add_route(w.bus, beck_str("t.*"), routes[i], note_end, &m, NULL), 0);
        from[i] = m.end;
        sched_yield();
        bus_remove_route(w.bus, beck_str("t.*"), routes[i]);
        bus_pause(w.bus);
        note_end(&m);
        to[i] = m.end; /* at most */
        bus_resume(w.bus);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(partition_next(bus_partition(w.bus, 0)), THREADS * EACH);
    for (int i = 0; i < CHANGES; i++) {
        int64_t count = routes[i]->admitted - routes[i]->returned;
        assert_true(count <= to[i] - from[i]);
        /* From its first on without a hole, each once. */
        for (int64_t k = 0; k < OFFSETS; k++)
            assert_int_equal(routes[i]->got[k], k >= from[i] && k < from[i] + count);
    }
    world_close(&w);
    for (int i = 0; i < CHANGES; i++)
        free(routes[i]);
}

/* ---- names ---- */

static void options_are_filled_in_and_compared_by_what_they_mean(void **state)
{
    (void)state;
    beck_bus_options o = {0}, same = {.partitions = 1, .event_bytes_max = 1048588}, memory = {0};
    assert_int_equal(bus_options_check(&o, true, NULL), 0);
    assert_int_equal(bus_options_check(&same, true, NULL), 0);
    assert_true(bus_options_equal(&o, &same));
    assert_int_equal(o.storage, BECK_STORAGE_DISK);
    assert_int_equal(bus_options_check(&memory, false, NULL), 0);
    assert_int_equal(memory.storage, BECK_STORAGE_MEMORY);
    assert_int_equal(memory.level, BECK_LEVEL_WRITTEN);
    assert_false(bus_options_equal(&o, &memory));
    same.compact = true;
    assert_false(bus_options_equal(&o, &same));
    assert_int_equal(bus_name_check("bus", "__users", true, NULL), 0);
    assert_int_equal(bus_name_check("bus", "__debezium-heartbeat.srv", false, NULL), 0);
    beck_error err;
    assert_int_equal(bus_name_check("queue", "__users", false, &err), BECK_EINVAL);
    assert_non_null(strstr(err.text, "queue name \"__users\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partitions_are_chosen_as_by_kafkas_clients),
        cmocka_unit_test(each_event_goes_once_to_every_route_that_matches),
        cmocka_unit_test(what_was_admitted_and_not_stored_comes_back),
        cmocka_unit_test(what_the_stack_held_is_not_taken_for_what_is_known),
        cmocka_unit_test(an_addressed_event_is_stored_once_with_its_queues),
        cmocka_unit_test(a_routers_references_are_given_back),
        cmocka_unit_test(a_route_gets_exactly_what_is_published_while_it_stands),
        cmocka_unit_test(options_are_filled_in_and_compared_by_what_they_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
