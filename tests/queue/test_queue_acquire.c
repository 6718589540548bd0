/* Taking without reading, and where a queue stands in the partitions of its buses. */
#include "queue/world.h"

#include "queue/consumer.h"

#define PARTITIONS 3

static void make_queue(struct world *w, uint32_t attempts_max)
{
    world_queue(w, "q",
                &(beck_queue_options){.attempts_max = attempts_max,
                                      .deadline_ms = 30000,
                                      .backoff.kind = BECK_BACKOFF_NONE});
    world_bind(w, "q", "b", "#", BECK_FROM_NOW);
}

static beck_bus *start(struct world *w, uint64_t seed)
{
    world_start(w, seed);
    beck_bus *bus = world_bus(w, "b", &(beck_bus_options){.partitions = PARTITIONS});
    make_queue(w, 3);
    return bus;
}

static void put_to(beck_bus *bus, int partition, int count)
{
    beck_event e = {.type = beck_str("t"), .data = beck_str("12345")};
    beck_publish_options o = {.partition_plus_1 = partition + 1};
    for (int i = 0; i < count; i++)
        check_ok(beck_publish_many(bus, &e, 1, &o, NULL, err));
}

#define TAKEN_MAX 1024

struct taken {
    struct acquired list[TAKEN_MAX];
    uint64_t tags[TAKEN_MAX];
    size_t count;
};

static void acquire_as(beck_consumer *c, const struct acquire *what, struct taken *out)
{
    check_ok(consumer_acquire(c, what, out->list, &out->count, err));
    for (size_t i = 0; i < out->count; i++)
        out->tags[i] = out->list[i].tag;
}

static void acquire(beck_consumer *c, size_t max, struct taken *out)
{
    acquire_as(c, &(struct acquire){.max = max, .in_flight_max = INT64_MAX}, out);
}

/* "partition:offset*attempt" of each, with spaces between. */
static void check_taken_at(const struct taken *t, const char *expected, const char *file, int line)
{
    char text[4096] = "";
    for (size_t i = 0; i < t->count; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%u:%lld*%u", i ? " " : "",
                 t->list[i].partition, (long long)t->list[i].offset, t->list[i].attempt);
    if (strcmp(text, expected) == 0)
        return;
    print_error("acquired \"%s\", not \"%s\"\n", text, expected);
    _fail(file, line);
}
#define check_taken(t, expected) check_taken_at(t, expected, __FILE__, __LINE__)

static void what_is_acquired_is_answered_like_a_delivery(void **state)
{
    struct world w;
    struct taken t;
    (void)state;
    beck_bus *bus = start(&w, 1);
    put_to(bus, 0, 2);
    put_to(bus, 2, 3);
    beck_consumer *c = world_consumer(&w, "q", 100);
    acquire(c, 4, &t);
    check_taken(&t, "0:0*1 0:1*1 2:0*1 2:1*1");
    assert_ptr_equal(t.list[0].bus, bus);
    check_counts(&w, "q", 1, 4, 0, 0);
    check_ok(consumer_settle(c, t.tags, 1, err));
    check_ok(consumer_retry(c, t.tags[1], -1, "released", err));
    check_ok(consumer_reject(c, t.tags[2], "rejected", err));
    check_ok(consumer_return_many(c, t.tags + 3, 1, true, err));
    check_counts(&w, "q", 3, 0, 0, 1);
    acquire(c, 100, &t);
    check_taken(&t, "0:1*2 2:1*2 2:2*1");
    acquire(c, 100, &t);
    check_taken(&t, "");
    beck_consumer_close(c);
    world_end(&w);
}

static void what_is_late_comes_again_and_is_not_held_any_more(void **state)
{
    struct world w;
    struct taken t, again;
    bool held[2];
    (void)state;
    beck_bus *bus = start(&w, 1);
    put_to(bus, 1, 2);
    beck_consumer *c = world_consumer(&w, "q", 100);
    acquire(c, 2, &t);
    world_advance(&w, 20 * SECOND);
    check_ok(consumer_extend(c, t.tags[1], err));
    world_advance(&w, 20 * SECOND);
    acquire(c, 2, &again);
    check_taken(&again, "1:0*2");
    consumer_holds(c, t.tags, 2, held);
    assert_false(held[0]);
    assert_true(held[1]);
    assert_int_equal(consumer_settle(c, t.tags, 1, NULL), BECK_ESTALE);
    for (int i = 0; i < 2; i++) {
        world_advance(&w, 31 * SECOND);
        acquire(c, 2, &again);
    }
    check_taken(&again, "1:1*3");
    check_counts(&w, "q", 0, 1, 0, 1); /* the third failure of the first was its last */
    beck_consumer_close(c);
    world_end(&w);
}

struct only {
    uint32_t partition;
    int64_t below;
};

static bool is_only(void *ctx, const beck_bus *bus, uint32_t partition, int64_t offset)
{
    const struct only *o = ctx;
    (void)bus;
    return partition == o->partition && offset < o->below;
}

static void only_what_is_wanted_is_acquired_and_the_rest_keeps_its_place(void **state)
{
    struct world w;
    struct taken t;
    (void)state;
    beck_bus *bus = start(&w, 1);
    for (int i = 0; i < 3; i++) {
        put_to(bus, 0, 1);
        put_to(bus, 1, 1);
    }
    beck_consumer *c = world_consumer(&w, "q", 100);
    struct only one = {1, 2};
    struct acquire what = {.max = 100,
                           .in_flight_max = INT64_MAX,
                           .wanted = is_only,
                           .ctx = &one,
                           .passed_max = ACQUIRE_PASSED_MAX};
    acquire_as(c, &what, &t);
    check_taken(&t, "1:0*1 1:1*1");
    check_counts(&w, "q", 4, 2, 0, 0);
    what.passed_max = 0;
    one = (struct only){0, 1};
    acquire_as(c, &what, &t);
    check_taken(&t, "0:0*1");
    acquire(c, 100, &t);
    check_taken(&t, "0:1*1 0:2*1 1:2*1");
    beck_consumer_close(c);
    world_end(&w);
}

static void limits_of_the_queue_and_the_consumer_hold(void **state)
{
    struct world w;
    struct taken t;
    (void)state;
    beck_bus *bus = start(&w, 1);
    put_to(bus, 0, 10);
    beck_consumer *c = world_consumer(&w, "q", 4), *d = world_consumer(&w, "q", 100);
    acquire(c, 10, &t);
    assert_int_equal(t.count, 4);
    acquire(c, 10, &t);
    assert_int_equal(t.count, 0);
    acquire_as(d, &(struct acquire){.max = 10, .in_flight_max = 6}, &t);
    check_taken(&t, "0:4*1 0:5*1");
    acquire_as(d, &(struct acquire){.max = 10, .in_flight_max = 6}, &t);
    check_taken(&t, "");
    beck_consumer_close(c);
    beck_consumer_close(d);
    world_end(&w);
}

static void a_dead_letter_that_was_put_back_is_where_it_was_published(void **state)
{
    struct world w;
    struct taken t;
    int64_t redriven;
    (void)state;
    beck_bus *bus = start(&w, 1);
    put_to(bus, 0, 1);
    put_to(bus, 2, 2);
    beck_consumer *c = world_consumer(&w, "q", 100);
    acquire(c, 3, &t);
    check_ok(consumer_reject(c, t.tags[2], "x", err));
    check_ok(consumer_settle(c, t.tags, 2, err));
    check_ok(beck_dead_redrive(w.b, "q", -1, &redriven, err));
    assert_int_equal(redriven, 1);
    acquire(c, 3, &t);
    assert_int_equal(t.count, 1);
    assert_ptr_equal(t.list[0].bus, bus);
    assert_int_equal(t.list[0].partition, 2);
    assert_int_equal(t.list[0].offset, 1);
    check_ok(consumer_settle(c, t.tags, 1, err));
    check_counts(&w, "q", 0, 0, 0, 0);
    beck_consumer_close(c);
    world_end(&w);
}

static void events_of_a_deleted_bus_go(void **state)
{
    struct world w;
    struct taken t;
    (void)state;
    beck_bus *bus = start(&w, 1);
    beck_bus *other = world_bus(&w, "other", NULL);
    world_bind(&w, "q", "other", "#", BECK_FROM_NOW);
    put(other, "t", "1");
    put_to(bus, 0, 1);
    check_ok(beck_queue_unbind(w.b, "q", "other", "#", err));
    check_ok(beck_bus_delete(w.b, "other", err));
    beck_consumer *c = world_consumer(&w, "q", 100);
    acquire(c, 10, &t);
    check_taken(&t, "0:0*1");
    check_counts(&w, "q", 0, 1, 0, 0);
    beck_consumer_close(c);
    world_end(&w);
}

static void check_progress_at(struct world *w, beck_bus *bus, const char *expected,
                              const char *file, int line)
{
    struct queue_progress p[PARTITIONS];
    char text[256] = "";
    struct queue *q = world_get_queue(w, "q");
    check_ok(queue_get_progress(q, bus, p, PARTITIONS, err));
    queue_release(q);
    for (int i = 0; i < PARTITIONS; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%lld+%lld", i ? " " : "",
                 (long long)p[i].first, (long long)p[i].owed);
    if (strcmp(text, expected) == 0)
        return;
    print_error("progress is \"%s\", not \"%s\"\n", text, expected);
    _fail(file, line);
}
#define check_progress(w, bus, expected) check_progress_at(w, bus, expected, __FILE__, __LINE__)

static void progress_is_the_first_that_is_owed_and_how_many(void **state)
{
    struct world w;
    struct taken t;
    (void)state;
    beck_bus *bus = start(&w, 1);
    check_progress(&w, bus, "0+0 0+0 0+0");
    put_to(bus, 0, 5);
    put_to(bus, 1, 2);
    check_progress(&w, bus, "0+5 0+2 0+0");
    beck_consumer *c = world_consumer(&w, "q", 100);
    acquire(c, 6, &t);
    check_progress(&w, bus, "0+5 0+2 0+0");
    check_ok(consumer_settle(c, t.tags, 2, err));
    check_ok(consumer_retry(c, t.tags[2], 1000, "later", err));
    check_ok(consumer_settle(c, t.tags + 3, 3, err));
    check_progress(&w, bus, "2+1 1+1 0+0");
    beck_consumer_close(c);
    world_end(&w);
}

static void move(struct world *w, beck_bus *bus, int64_t a, int64_t b, int64_t c)
{
    struct queue *q = world_get_queue(w, "q");
    check_ok(handle_move_queue(w->b, q, bus, (int64_t[]){a, b, c}, PARTITIONS, err));
    queue_release(q);
}

static void single_partitions_are_moved_and_stay_so(void **state)
{
    struct world w;
    struct taken t;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_bus(&w, "b", &(beck_bus_options){.partitions = PARTITIONS});
    put_to(bus, 0, 4);
    put_to(bus, 1, 4);
    make_queue(&w, 3);
    put_to(bus, 0, 2);
    put_to(bus, 1, 2);
    check_progress(&w, bus, "4+2 4+2 0+0");
    beck_consumer *c = world_consumer(&w, "q", 100);
    acquire(c, 1, &t);
    move(&w, bus, 2, -1, -1);
    assert_int_equal(consumer_settle(c, t.tags, 1, NULL), BECK_ESTALE);
    check_progress(&w, bus, "2+4 4+2 0+0");
    move(&w, bus, -1, 5, -1);
    put_to(bus, 1, 1);
    check_progress(&w, bus, "2+4 5+2 0+0");
    beck_consumer_close(c);
    world_crash(&w);
    bus = world_get(&w, "b");
    check_progress(&w, bus, "2+4 5+2 0+0");
    c = world_consumer(&w, "q", 100);
    acquire(c, 100, &t);
    assert_int_equal(t.count, 6);
    beck_consumer_close(c);
    world_end(&w);
}

/* ---- a model ---- */

#define OFFSETS 400

enum fate { ABSENT, READY, HELD, GONE };

struct model {
    enum fate fate[PARTITIONS][OFFSETS];
    uint32_t attempts[PARTITIONS][OFFSETS]; /* failed */
    int64_t next[PARTITIONS];
    int64_t dead;
};

static void check_model(struct world *w, beck_bus *bus, const struct model *m)
{
    char text[256] = "";
    int64_t ready = 0, held = 0;
    for (int p = 0; p < PARTITIONS; p++) {
        int64_t first = m->next[p], owed = 0;
        for (int64_t o = m->next[p]; o-- > 0;) {
            ready += m->fate[p][o] == READY;
            held += m->fate[p][o] == HELD;
            if (m->fate[p][o] == READY || m->fate[p][o] == HELD) {
                first = o;
                owed++;
            }
        }
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%lld+%lld", p ? " " : "",
                 (long long)first, (long long)owed);
    }
    check_progress(w, bus, text);
    check_counts(w, "q", ready, held, 0, m->dead);
}

static void fails(struct model *m, const struct acquired *a)
{
    bool last = ++m->attempts[a->partition][a->offset] >= 3;
    m->fate[a->partition][a->offset] = last ? GONE : READY;
    m->dead += last;
}

static void answer(struct rng *rng, beck_consumer *c, struct model *m, struct taken *t, size_t i)
{
    const struct acquired *a = &t->list[i];
    switch (rng_below(rng, 5)) {
    case 0:
        check_ok(consumer_reject(c, a->tag, "x", err));
        m->fate[a->partition][a->offset] = GONE;
        m->dead++;
        break;
    case 1:
        check_ok(consumer_retry(c, a->tag, -1, "x", err));
        fails(m, a);
        break;
    case 2:
        check_ok(consumer_return_many(c, &a->tag, 1, false, err));
        m->fate[a->partition][a->offset] = READY;
        break;
    default:
        check_ok(consumer_settle(c, &a->tag, 1, err));
        m->fate[a->partition][a->offset] = GONE;
    }
    t->list[i] = t->list[--t->count];
}

static void fail_held(struct model *m, struct taken *t)
{
    for (size_t i = 0; i < t->count; i++)
        fails(m, &t->list[i]);
    t->count = 0;
}

/* Closed without a word, by the end of the process: what was held was no attempt. */
static void release_held(struct model *m, struct taken *t)
{
    for (size_t i = 0; i < t->count; i++)
        m->fate[t->list[i].partition][t->list[i].offset] = READY;
    t->count = 0;
}

static void take_more(struct rng *rng, beck_consumer *c, struct model *m, struct taken *t)
{
    struct taken more;
    struct only one = {(uint32_t)rng_below(rng, PARTITIONS), OFFSETS};
    struct acquire what = {.max = 1 + rng_below(rng, 8),
                           .in_flight_max = INT64_MAX,
                           .wanted = rng_below(rng, 2) ? is_only : NULL,
                           .ctx = &one,
                           .passed_max = ACQUIRE_PASSED_MAX};
    acquire_as(c, &what, &more);
    for (size_t i = 0; i < more.count; i++) {
        const struct acquired *a = &more.list[i];
        assert_int_equal(m->fate[a->partition][a->offset], READY);
        assert_int_equal(a->attempt, m->attempts[a->partition][a->offset] + 1);
        m->fate[a->partition][a->offset] = HELD;
        t->list[t->count++] = *a;
    }
}

static void random_steps_agree_with_a_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world w;
        struct rng rng;
        struct model *m = calloc(1, sizeof *m);
        struct taken *t = calloc(1, sizeof *t);
        rng_seed(&rng, seed);
        beck_bus *bus = start(&w, seed);
        beck_consumer *c = world_consumer(&w, "q", 200);
        for (int step = 0; step < 300; step++) {
            uint64_t what = rng_below(&rng, 100);
            if (what < 35) {
                int p = (int)rng_below(&rng, PARTITIONS);
                if (m->next[p] < OFFSETS) {
                    put_to(bus, p, 1);
                    m->fate[p][m->next[p]++] = READY;
                }
            } else if (what < 60) {
                take_more(&rng, c, m, t);
            } else if (what < 94 && t->count > 0) {
                answer(&rng, c, m, t, rng_below(&rng, t->count));
            } else if (what == 94) {
                world_advance(&w, 31 * SECOND);
                info_of(&w, "q"); /* time is noticed when somebody looks */
                fail_held(m, t);
            } else if (what == 95) {
                beck_consumer_close(c);
                fail_held(m, t);
                world_reopen(&w);
                bus = world_get(&w, "b");
                c = world_consumer(&w, "q", 200);
            } else if (what == 96) {
                /* What a consumer gave back is not written down, how often it was tried is. */
                check_ok(beck_sync(w.b, err));
                check_ok(upkeep_checkpoint(w.b, err));
                vfs_sim_kill(w.vfs);
                beck_abandon(w.b);
                world_open(&w);
                release_held(m, t);
                bus = world_get(&w, "b");
                c = world_consumer(&w, "q", 200);
            }
            if (step % 20 == 0)
                check_model(&w, bus, m);
        }
        check_model(&w, bus, m);
        beck_consumer_close(c);
        world_end(&w);
        free(m);
        free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_acquired_is_answered_like_a_delivery),
        cmocka_unit_test(what_is_late_comes_again_and_is_not_held_any_more),
        cmocka_unit_test(only_what_is_wanted_is_acquired_and_the_rest_keeps_its_place),
        cmocka_unit_test(limits_of_the_queue_and_the_consumer_hold),
        cmocka_unit_test(a_dead_letter_that_was_put_back_is_where_it_was_published),
        cmocka_unit_test(events_of_a_deleted_bus_go),
        cmocka_unit_test(progress_is_the_first_that_is_owed_and_how_many),
        cmocka_unit_test(single_partitions_are_moved_and_stay_so),
        cmocka_unit_test(random_steps_agree_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
