/* The zeros that are written ahead of small batches which are synced one by one. */
#include "log/segment.h"
#include "log/verify.h"
#include "world.h"

#define MANY 40 /* enough that zeros are written */

static void put_synced(struct partition *p, int count)
{
    for (int i = 0; i < count; i++)
        assert_int_equal(put_event(p, "s", "some data", BECK_LEVEL_SYNCED, NULL), 0);
}

static int64_t file_bytes(struct world *w, const char *name)
{
    char path[64];
    struct file *f;
    int64_t size = -1;
    snprintf(path, sizeof path, DIR_B "/%s", name);
    assert_int_equal(vfs_open(w->vfs, path, VFS_READ, &f, NULL), 0);
    assert_int_equal(file_size(f, &size, NULL), 0);
    file_close(f);
    return size;
}

#define FIRST_LOG "00000000000000000000.log"

static int64_t log_bytes(struct partition *p)
{
    beck_partition_info info;
    partition_info(p, &info);
    return info.bytes;
}

static void expect_events(struct partition *p, int64_t count)
{
    struct cursor *c;
    assert_int_equal(cursor_open(p, &c, NULL), 0);
    const struct record_view *v;
    for (int64_t offset = 0; offset < count; offset++) {
        assert_int_equal(cursor_read(c, offset, false, &v, NULL, NULL), 0);
        assert_int_equal(v->offset, offset);
    }
    assert_int_equal(cursor_read(c, count, false, &v, NULL, NULL), BECK_END);
    cursor_close(c);
}

static void small_synced_batches_are_written_over_zeros(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 2);
    w.options.bus.segment_bytes = 1 << 30;
    struct partition *p = world_partition(&w, 0, 0);
    put_synced(p, 3);
    assert_int_equal(file_bytes(&w, FIRST_LOG), log_bytes(p));
    put_synced(p, MANY - 3);
    int64_t padded = file_bytes(&w, FIRST_LOG);
    assert_true(padded > log_bytes(p));
    assert_true(padded <= log_bytes(p) + SEGMENT_PAD_BYTES);
    put_synced(p, MANY);
    assert_int_equal(file_bytes(&w, FIRST_LOG), padded);
    expect_events(p, 2 * MANY);
    int64_t bytes = log_bytes(p);
    assert_int_equal(partition_close(p, NULL), 0);
    assert_int_equal(file_bytes(&w, FIRST_LOG), bytes);
    world_close(&w);
}

static void events_that_nobody_waits_for_get_no_zeros(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 3);
    w.options.bus.segment_bytes = 1 << 30;
    struct partition *p = world_partition(&w, 0, 0);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(put_event(p, "s", "some data", BECK_LEVEL_WRITTEN, NULL), 0);
    assert_int_equal(file_bytes(&w, FIRST_LOG), log_bytes(p));
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

static void remark(void *ctx, const beck_error *e)
{
    (void)e;
    ++*(int *)ctx;
}

static void zeros_are_no_damage_and_are_cut_silently(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 4);
    w.options.bus.segment_bytes = 1 << 30;
    struct partition *p = world_partition(&w, 0, 0);
    put_synced(p, MANY);
    int64_t bytes = log_bytes(p);
    vfs_sim_kill(w.vfs);
    partition_abandon(p);
    assert_true(file_bytes(&w, FIRST_LOG) > bytes);
    for (int64_t recovery_point = 0; recovery_point <= MANY; recovery_point += MANY) {
        struct env env = w.env;
        struct log_verify_counts counts = {0};
        int said = 0;
        env.report = remark;
        env.report_ctx = &said;
        assert_int_equal(log_verify_partition(&env, DIR_B, "b", 0,
                                              &(struct log_known){.recovery_point = recovery_point},
                                              NULL, &counts, NULL),
                         0);
        assert_int_equal(said, 0);
        assert_int_equal(counts.records, MANY);
    }
    p = world_partition(&w, 0, 0);
    assert_int_equal(file_bytes(&w, FIRST_LOG), bytes);
    expect_events(p, MANY);
    put_synced(p, 1);
    expect_events(p, MANY + 1);
    assert_int_equal(partition_close(p, NULL), 0);
    assert_int_equal(w.reports, 0);
    world_close(&w);
}

static int count_log(void *ctx, const char *name, bool is_dir)
{
    size_t len = strlen(name);
    (void)is_dir;
    if (len > 4 && strcmp(name + len - 4, ".log") == 0)
        *(int64_t *)ctx += 1;
    return 0;
}

static void a_segment_that_is_full_keeps_no_zeros(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 5);
    w.options.bus.segment_bytes = 8192;
    struct partition *p = world_partition(&w, 0, 0);
    put_synced(p, 500);
    assert_true(segments_of(p) > 3);
    int64_t logs = 0;
    assert_int_equal(vfs_list(w.vfs, DIR_B, count_log, &logs, NULL), 0);
    vfs_sim_kill(w.vfs);
    partition_abandon(p);
    struct log_verify_counts counts = {0};
    assert_int_equal(
        log_verify_partition(&w.env, DIR_B, "b", 0, &(struct log_known){0}, NULL, &counts, NULL),
        0);
    assert_int_equal(counts.segments, logs);
    assert_int_equal(counts.records, 500);
    p = world_partition(&w, 0, 0);
    expect_events(p, 500);
    assert_int_equal(partition_close(p, NULL), 0);
    assert_int_equal(w.reports, 0);
    world_close(&w);
}

static void zeros_take_no_room_that_a_full_disk_lacks(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 6);
    w.options.bus.segment_bytes = 1 << 30;
    struct partition *p = world_partition(&w, 0, 0);
    vfs_sim_capacity(w.vfs, 65536);
    int64_t stored = 0;
    while (put_event(p, "s", "some data", BECK_LEVEL_SYNCED, NULL) == BECK_OK)
        stored++;
    /* The disk was filled with batches. */
    assert_true(log_bytes(p) > 60000);
    assert_int_equal(partition_synced(p), stored);
    expect_events(p, stored);
    vfs_sim_capacity(w.vfs, -1);
    put_synced(p, MANY);
    expect_events(p, stored + MANY);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

static void what_was_synced_over_zeros_survives_loss_of_power(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct world w;
        world_open(&w, seed);
        w.options.bus.segment_bytes = 4096 << seed % 9;
        struct partition *p = world_partition(&w, 0, 0);
        int64_t synced = 0;
        for (int life = 0; life < 3; life++) {
            put_synced(p, MANY + (int)seed % 11);
            synced = partition_synced(p);
            for (uint64_t i = 0; i < seed % 4; i++)
                assert_int_equal(put_event(p, "s", "lost?", BECK_LEVEL_WRITTEN, NULL), 0);
            vfs_sim_crash(w.vfs);
            partition_abandon(p);
            p = world_partition(&w, life % 2 ? 0 : synced, 0);
            assert_true(partition_next(p) >= synced);
            expect_events(p, partition_next(p));
        }
        assert_int_equal(partition_close(p, NULL), 0);
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_synced_batches_are_written_over_zeros),
        cmocka_unit_test(events_that_nobody_waits_for_get_no_zeros),
        cmocka_unit_test(zeros_are_no_damage_and_are_cut_silently),
        cmocka_unit_test(a_segment_that_is_full_keeps_no_zeros),
        cmocka_unit_test(zeros_take_no_room_that_a_full_disk_lacks),
        cmocka_unit_test(what_was_synced_over_zeros_survives_loss_of_power),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
