/* Many partitions that get their first record: their files are made, and synced, together. */
#include "log/dirnames.h"
#include "log/syncers.h"
#include "world.h"

#include <pthread.h>
#include <sched.h>

#define PARTITIONS 24

struct fresh {
    struct world w;
    struct partition *p[PARTITIONS];
    _Atomic(int) answered;
    _Atomic(int) status[PARTITIONS];
};

struct answer {
    struct fresh *f;
    int number;
};

static void open_all(struct fresh *f)
{
    for (int i = 0; i < PARTITIONS; i++) {
        char dir[32];
        snprintf(dir, sizeof dir, "data/b-%d", i);
        assert_int_equal(
            partition_open(&f->w.env, dir, "b", (uint32_t)i, &f->w.options, 0, 0, &f->p[i], NULL),
            0);
    }
}

/* Several threads at a time. */
static void ignore_report(void *ctx, const beck_error *e)
{
    (void)ctx;
    (void)e;
}

static void fresh_open(struct fresh *f, uint64_t seed)
{
    world_open(&f->w, seed);
    f->w.env.report = ignore_report;
    assert_int_equal(committer_reserve(f->w.env.committer, PARTITIONS, NULL), 0);
    atomic_store(&f->answered, 0);
    open_all(f);
}

static void fresh_close(struct fresh *f)
{
    for (int i = 0; i < PARTITIONS; i++)
        partition_abandon(f->p[i]);
    world_close(&f->w);
}

static void on_done(void *ctx, beck_status status, int64_t first_offset)
{
    struct answer *a = ctx;
    assert_true(status || first_offset == 0);
    atomic_store(&a->f->status[a->number], status);
    atomic_fetch_add(&a->f->answered, 1);
    free(a);
}

static void append_one(struct fresh *f, int number)
{
    struct answer *answer = malloc(sizeof *answer);
    beck_event e = {.type = beck_str("t.x")};
    const beck_event *list[] = {&e};
    struct append a = {.events = list,
                       .count = 1,
                       .level = BECK_LEVEL_SYNCED,
                       .done = on_done,
                       .done_ctx = answer};
    assert_non_null(answer);
    *answer = (struct answer){f, number};
    assert_int_equal(partition_append(f->p[number], &a, NULL), 0);
}

static void append_to_all(struct fresh *f)
{
    for (int i = 0; i < PARTITIONS; i++)
        append_one(f, i);
    while (atomic_load(&f->answered) < PARTITIONS)
        sched_yield();
}

static void first_records_take_a_sync_of_the_file_and_of_its_directory_and_share_the_rest(
    void **state)
{
    static struct fresh f;
    (void)state;
    fresh_open(&f, 1);
    uint64_t before = vfs_sim_calls(f.w.vfs, VFS_OP_SYNC_DIR);
    append_to_all(&f);
    assert_int_equal(vfs_sim_calls(f.w.vfs, VFS_OP_SYNC), PARTITIONS);
    assert_in_range(vfs_sim_calls(f.w.vfs, VFS_OP_SYNC_DIR) - before, PARTITIONS + 1,
                    PARTITIONS + world_rounds(&f.w));
    fresh_close(&f);
}

static void a_first_record_that_need_not_be_synced_waits_for_no_sync(void **state)
{
    static struct fresh f;
    (void)state;
    fresh_open(&f, 1);
    uint64_t before = vfs_sim_calls(f.w.vfs, VFS_OP_SYNC | VFS_OP_SYNC_DIR);
    assert_int_equal(put_event(f.p[0], "s", "data", BECK_LEVEL_WRITTEN, NULL), 0);
    assert_int_equal(vfs_sim_calls(f.w.vfs, VFS_OP_SYNC | VFS_OP_SYNC_DIR), before);
    fresh_close(&f);
}

/* Opened again after loss of power: what was confirmed is there. */
static void lose_power(struct fresh *f)
{
    for (int i = 0; i < PARTITIONS; i++)
        partition_abandon(f->p[i]);
    vfs_sim_stop_at(f->w.vfs, 0);
    vfs_sim_crash(f->w.vfs);
    committer_free(f->w.env.committer);
    assert_int_equal(committer_new(0, f->w.metrics, &f->w.env.committer, NULL), 0);
    assert_int_equal(committer_reserve(f->w.env.committer, PARTITIONS, NULL), 0);
    open_all(f);
    for (int i = 0; i < PARTITIONS; i++)
        if (!atomic_load(&f->status[i]))
            assert_int_equal(partition_next(f->p[i]), 1);
}

static void confirmed_first_records_survive_loss_of_power_at_every_step(void **state)
{
    static struct fresh f;
    (void)state;
    bool stopped = true;
    for (uint64_t nth = 1; stopped; nth += 3) {
        fresh_open(&f, nth);
        vfs_sim_stop_at(f.w.vfs, nth);
        append_to_all(&f);
        stopped = false;
        for (int i = 0; i < PARTITIONS; i++)
            stopped |= atomic_load(&f.status[i]) != BECK_OK;
        lose_power(&f);
        /* What was found counts as synced: it is there once more. */
        int64_t found[PARTITIONS];
        for (int i = 0; i < PARTITIONS; i++) {
            found[i] = partition_next(f.p[i]);
            atomic_store(&f.status[i], found[i] ? BECK_OK : BECK_EIO);
        }
        lose_power(&f);
        fresh_close(&f);
    }
}

static void a_rolled_segment_does_not_outlive_the_name_of_its_directory(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 40; seed++) {
        struct world w;
        char text[1500];
        memset(text, 'x', sizeof text - 1);
        text[sizeof text - 1] = 0;
        world_open(&w, seed);
        struct partition *p = world_partition(&w, 0, 0);
        for (int i = 0; i < 4; i++)
            assert_int_equal(put_event(p, "s", text, BECK_LEVEL_WRITTEN, NULL), 0);
        assert_true(segments_of(p) > 1);
        partition_abandon(p);
        vfs_sim_crash(w.vfs);
        p = world_partition(&w, 0, 0);
        assert_true(partition_next(p) >= 2); /* the first segment was synced */
        partition_abandon(p);
        world_close(&w);
    }
}

static void a_sync_of_names_that_fails_refuses_what_waits_for_it_until_the_next_opening(
    void **state)
{
    static struct fresh f;
    (void)state;
    fresh_open(&f, 1);
    assert_int_equal(put_event(f.p[0], "s", "data", BECK_LEVEL_WRITTEN, NULL), 0);
    assert_int_equal(put_event(f.p[1], "s", "data", BECK_LEVEL_WRITTEN, NULL), 0);
    vfs_sim_fail(f.w.vfs, VFS_OP_SYNC_DIR, 2, false, BECK_EIO); /* the data directory's */
    assert_int_equal(partition_sync(f.p[0], NULL), BECK_EPOISONED);
    /* A later sync does not say whether its name is there. */
    assert_int_equal(partition_sync(f.p[1], NULL), BECK_EPOISONED);
    /* Names that are made afterwards are not concerned. */
    assert_int_equal(put_event(f.p[2], "s", "data", BECK_LEVEL_SYNCED, NULL), 0);
    partition_abandon(f.p[0]);
    assert_int_equal(
        partition_open(&f.w.env, "data/b-0", "b", 0, &f.w.options, 0, 0, &f.p[0], NULL), 0);
    assert_int_equal(partition_next(f.p[0]), 1);
    assert_int_equal(put_event(f.p[0], "s", "data", BECK_LEVEL_SYNCED, NULL), 0);
    fresh_close(&f);
}

/* The pages count as clean from then on: another try would find nothing to do. */
static void a_sync_of_a_file_that_ends_without_memory_is_not_tried_again(void **state)
{
    static struct fresh f;
    char text[1500] = "x";
    (void)state;
    fresh_open(&f, 1);
    vfs_sim_fail(f.w.vfs, VFS_OP_SYNC, 1, false, BECK_ENOMEM);
    assert_int_equal(put_event(f.p[0], "s", "data", BECK_LEVEL_SYNCED, NULL), BECK_EPOISONED);
    memset(text, 'x', sizeof text - 1);
    vfs_sim_fail(f.w.vfs, VFS_OP_SYNC, 1, false, BECK_ENOMEM); /* of the segment that is left */
    beck_status status = BECK_OK;
    for (int i = 0; i < 10 && !status; i++)
        status = put_event(f.p[1], "s", text, BECK_LEVEL_WRITTEN, NULL);
    assert_int_not_equal(status, BECK_OK);
    assert_int_equal(put_event(f.p[1], "s", text, BECK_LEVEL_WRITTEN, NULL), BECK_EPOISONED);
    fresh_close(&f);
}

static void a_checkpoint_syncs_only_indexes_that_have_changed(void **state)
{
    static struct fresh f;
    (void)state;
    int64_t recovery_point, log_start;
    fresh_open(&f, 1);
    assert_int_equal(put_event(f.p[0], "s", "data", BECK_LEVEL_SYNCED, NULL), 0);
    uint64_t before = vfs_sim_calls(f.w.vfs, VFS_OP_SYNC);
    assert_int_equal(partition_checkpoint(f.p[0], &recovery_point, &log_start, NULL), 0);
    assert_int_equal(vfs_sim_calls(f.w.vfs, VFS_OP_SYNC), before + 1); /* that of times */
    /* And closing finds nothing left to do. */
    assert_int_equal(partition_close(f.p[0], NULL), 0);
    assert_int_equal(vfs_sim_calls(f.w.vfs, VFS_OP_SYNC), before + 1);
    assert_int_equal(
        partition_open(&f.w.env, "data/b-0", "b", 0, &f.w.options, 1, 0, &f.p[0], NULL), 0);
    assert_int_equal(partition_next(f.p[0]), 1);
    fresh_close(&f);
}

static void what_nobody_waits_for_is_synced_within_the_time_of_the_rules(void **state)
{
    static struct fresh f;
    (void)state;
    fresh_open(&f, 1);
    partition_set_rules(f.p[0], &(struct partition_rules){.sync_within_ms = 100});
    assert_int_equal(put_event(f.p[0], "s", "data", BECK_LEVEL_WRITTEN, NULL), 0);
    world_advance(&f.w, 50);
    assert_int_equal(put_event(f.p[0], "s", "data", BECK_LEVEL_WRITTEN, NULL), 0);
    assert_int_equal(put_event(f.p[1], "s", "data", BECK_LEVEL_WRITTEN, NULL), 0);
    world_advance(&f.w, 49);
    partition_tick(f.p[0]);
    assert_int_equal(world_rounds(&f.w), 0);
    world_advance(&f.w, 1);
    partition_tick(f.p[0]);
    partition_tick(f.p[1]); /* without rules */
    while (partition_synced(f.p[0]) < 2)
        sched_yield();
    while (world_rounds(&f.w) < 1)
        sched_yield();
    partition_tick(f.p[0]);
    assert_int_equal(world_rounds(&f.w), 1);
    assert_int_equal(partition_synced(f.p[1]), 0);
    fresh_close(&f);
}

/* ---- the threads ---- */

#define PIECES 500

struct pieces {
    struct syncers *s;
    _Atomic(int) calls[PIECES];
};

static void count_call(void *ctx, size_t i)
{
    struct pieces *p = ctx;
    atomic_fetch_add(&p->calls[i], 1);
}

static void *run_pieces(void *arg)
{
    struct pieces *p = arg;
    for (size_t count = 0; count <= PIECES; count += 50)
        syncers_run(p->s, count_call, p, count);
    return NULL;
}

static void every_piece_is_done_once_whoever_works(void **state)
{
    (void)state;
    struct syncers s;
    pthread_t threads[4];
    static struct pieces pieces[4];
    syncers_init(&s);
    for (int i = 0; i < 4; i++) {
        pieces[i].s = &s;
        assert_int_equal(pthread_create(&threads[i], NULL, run_pieces, &pieces[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 4; i++)
        for (int n = 0; n < PIECES; n++)
            assert_int_equal(pieces[i].calls[n], 10 - n / 50);
    assert_int_equal(s.count, SYNCERS_MAX);
    syncers_release(&s);
}

static void wait_for_the_other(void *ctx, size_t i)
{
    _Atomic(int) *begun = ctx;
    (void)i;
    atomic_fetch_add(begun, 1);
    while (atomic_load(begun) < 2)
        sched_yield();
}

static void two_pieces_are_done_at_the_same_time_and_one_needs_no_thread(void **state)
{
    (void)state;
    struct syncers s;
    _Atomic(int) begun = 1;
    syncers_init(&s);
    syncers_run(&s, wait_for_the_other, &begun, 1);
    assert_int_equal(s.count, 0);
    atomic_store(&begun, 0);
    syncers_run(&s, wait_for_the_other, &begun, 2);
    assert_int_equal(s.count, 1);
    syncers_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            first_records_take_a_sync_of_the_file_and_of_its_directory_and_share_the_rest),
        cmocka_unit_test(a_first_record_that_need_not_be_synced_waits_for_no_sync),
        cmocka_unit_test(confirmed_first_records_survive_loss_of_power_at_every_step),
        cmocka_unit_test(a_rolled_segment_does_not_outlive_the_name_of_its_directory),
        cmocka_unit_test(
            a_sync_of_names_that_fails_refuses_what_waits_for_it_until_the_next_opening),
        cmocka_unit_test(a_sync_of_a_file_that_ends_without_memory_is_not_tried_again),
        cmocka_unit_test(a_checkpoint_syncs_only_indexes_that_have_changed),
        cmocka_unit_test(what_nobody_waits_for_is_synced_within_the_time_of_the_rules),
        cmocka_unit_test(every_piece_is_done_once_whoever_works),
        cmocka_unit_test(two_pieces_are_done_at_the_same_time_and_one_needs_no_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
