/*
 * What a client whose answers were lost sends again after a restart: up to five batches, each of which
 * must be known with its place, wherever the restart came. (That this holds whenever the power goes is
 * in test_transactions.c.)
 */
#include "world.h"
#include "produced.h"

#include "log/producers.h"

#define BATCHES PRODUCER_BATCHES
#define PRODUCER 7

struct sender {
    int32_t next;             /* sequence */
    int64_t offsets[BATCHES]; /* of the last five */
};

static void send_text(struct partition *p, struct sender *s, const char *text)
{
    int64_t offset;
    assert_int_equal(produce_one(p, PRODUCER, s->next++, text, BECK_LEVEL_WRITTEN, &offset), 0);
    memmove(s->offsets, s->offsets + 1, sizeof s->offsets - sizeof *s->offsets);
    s->offsets[BATCHES - 1] = offset;
}

static void send_five(struct partition *p, struct sender *s)
{
    for (int i = 0; i < BATCHES; i++)
        send_text(p, s, "some text");
}

/* All five again, and then the one that follows. */
static void expect_known(struct partition *p, const struct sender *s)
{
    int64_t end = partition_next(p), offset;
    for (int i = 0; i < BATCHES; i++) {
        assert_int_equal(produce_one(p, PRODUCER, s->next - BATCHES + i, "some text",
                                     BECK_LEVEL_SYNCED, &offset),
                         BECK_EDUPLICATE);
        assert_int_equal(offset, s->offsets[i]);
    }
    assert_int_equal(partition_next(p), end);
    assert_int_equal(produce_one(p, PRODUCER, s->next, "more", BECK_LEVEL_SYNCED, &offset), 0);
    assert_int_equal(offset, end);
}

static int64_t checkpoint(struct partition *p)
{
    int64_t recovery_point, log_start;
    assert_int_equal(partition_checkpoint(p, &recovery_point, &log_start, NULL), 0);
    return recovery_point;
}

static struct partition *restarted(struct world *w, struct partition *p, bool killed,
                                   int64_t recovery_point)
{
    if (killed) {
        vfs_sim_kill(w->vfs);
        partition_abandon(p);
    } else {
        assert_int_equal(partition_close(p, NULL), 0);
        recovery_point = recovery_point < 0 ? 0 : recovery_point;
    }
    return world_partition(w, recovery_point, 0);
}

/* A checkpoint behind each batch, or behind all; a segment that is full in between, or not. */
static void five_batches_are_known_after_a_restart(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * 2 * (1 << BATCHES); i++) {
        bool killed = i & 1, roll = i & 2;
        int checkpoints = i >> 2;
        int64_t recovery_point = 0;
        struct world w;
        struct sender s = {0};
        world_open(&w, 1);
        w.options.bus.segment_bytes = roll ? 300 : 4096;
        struct partition *p = world_partition(&w, 0, 0);
        for (int k = 0; k < BATCHES; k++) {
            send_text(p, &s, "some text");
            if (checkpoints & 1 << k)
                recovery_point = checkpoint(p);
        }
        assert_int_equal(segments_of(p) > 1, roll);
        p = restarted(&w, p, killed, recovery_point);
        expect_known(p, &s);
        partition_abandon(p);
        world_close(&w);
    }
}

static void they_are_known_after_many_restarts(void **state)
{
    struct world w;
    struct sender s = {0};
    (void)state;
    world_open(&w, 1);
    struct partition *p = world_partition(&w, 0, 0);
    send_five(p, &s);
    int64_t recovery_point = checkpoint(p);
    for (int i = 0; i < 8; i++) {
        p = restarted(&w, p, i & 1, recovery_point);
        assert_int_equal(put_event(p, "s", "of another", BECK_LEVEL_WRITTEN, NULL), 0);
        if (i & 2)
            recovery_point = checkpoint(p);
    }
    expect_known(p, &s);
    partition_abandon(p);
    world_close(&w);
}

static bool never_owed(void *ctx, int64_t offset)
{
    (void)ctx;
    (void)offset;
    return false;
}

static void fill_segments(struct partition *p)
{
    while (segments_of(p) < 5)
        assert_int_equal(put_event(p, "s", "some text", BECK_LEVEL_WRITTEN, NULL), 0);
}

static void they_are_known_when_retention_took_them(void **state)
{
    struct partition_owed owed = {.owed = never_owed};
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct world w;
        struct sender s = {0};
        world_open(&w, 1);
        w.options.bus.retention_bytes = 4096;
        struct partition *p = world_partition(&w, 0, 0);
        send_five(p, &s);
        fill_segments(p);
        int64_t recovery_point = i & 2 ? checkpoint(p) : 0;
        assert_int_equal(partition_maintain(p, &owed, NULL), 0);
        assert_true(partition_first(p) > s.offsets[BATCHES - 1]);
        recovery_point = i & 2 ? recovery_point : checkpoint(p);
        p = restarted(&w, p, i & 1, recovery_point);
        expect_known(p, &s);
        partition_abandon(p);
        world_close(&w);
    }
}

static void they_are_known_when_compaction_took_them(void **state)
{
    struct partition_owed owed = {.owed = never_owed};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct world w;
        struct sender s = {0};
        beck_partition_info before, after;
        struct buf batch;
        beck_event e = {.type = beck_str("t"), .subject = beck_str("s"), .data = beck_str("x")};
        world_open(&w, 1);
        w.options.bus.compact = true;
        struct partition *p = world_partition(&w, 0, 0);
        buf_init(&batch, 4096);
        for (int k = 0; k < BATCHES; k++) {
            struct batch_header producer = {.producer_id = PRODUCER, .base_sequence = s.next++};
            assert_int_equal(make_batch(&batch, &e, 1, 1700000000000, BECK_CODEC_NONE, &producer),
                             0);
            struct produce a = {
                .batch = batch.data, .size = batch.len, .level = BECK_LEVEL_WRITTEN};
            assert_int_equal(partition_produce(p, &a, NULL), 0);
            s.offsets[k] = a.first_offset;
        }
        buf_release(&batch);
        fill_segments(p);
        partition_info(p, &before);
        assert_int_equal(partition_maintain(p, &owed, NULL), 0);
        partition_info(p, &after);
        assert_true(after.bytes < before.bytes);
        p = restarted(&w, p, i, checkpoint(p));
        expect_known(p, &s);
        partition_abandon(p);
        world_close(&w);
    }
}

/* The one before it knows the same batches, or they are read again. */
static void they_are_known_when_the_newest_snapshot_is_damaged(void **state)
{
    struct world w;
    struct sender s = {0};
    char path[64];
    (void)state;
    world_open(&w, 1);
    struct partition *p = world_partition(&w, 0, 0);
    send_five(p, &s);
    checkpoint(p);
    send_text(p, &s, "some text");
    int64_t recovery_point = checkpoint(p);
    snprintf(path, sizeof path, DIR_B "/%020lld.snapshot", (long long)recovery_point);
    vfs_sim_flip(w.vfs, path, 20, 3);
    p = restarted(&w, p, true, recovery_point);
    assert_int_equal(w.reports, 1);
    expect_known(p, &s);
    partition_abandon(p);
    world_close(&w);
}

/* Else what was cut off would count as sent when as much has been written in its place. */
static void what_was_cut_off_the_log_can_be_sent_again(void **state)
{
    struct world w;
    struct sender s = {0};
    beck_partition_info info;
    int64_t offset;
    (void)state;
    world_open(&w, 1);
    struct partition *p = world_partition(&w, 0, 0);
    send_five(p, &s);
    checkpoint(p);
    partition_info(p, &info);
    vfs_sim_flip(w.vfs, DIR_B "/00000000000000000000.log", info.bytes / BATCHES * 4 - 1, 3);
    p = restarted(&w, p, true, 0);
    assert_int_equal(partition_next(p), 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(put_event(p, "s", "of another", BECK_LEVEL_WRITTEN, NULL), 0);
    p = restarted(&w, p, true, 0);
    for (int32_t sequence = 3; sequence < 5; sequence++) {
        int64_t end = partition_next(p);
        assert_int_equal(
            produce_one(p, PRODUCER, sequence, "some text", BECK_LEVEL_WRITTEN, &offset), 0);
        assert_int_equal(offset, end);
    }
    partition_abandon(p);
    world_close(&w);
}

/* Batches say 2023-11-14, whatever time it is here. */
static void expect_one_day(int64_t now_s)
{
    struct world w;
    struct sender s = {0};
    int64_t offset;
    world_open(&w, 1);
    clock_virtual_free(w.env.clock);
    w.env.clock = clock_virtual_new(now_s * 1000000000);
    struct partition *p = world_partition(&w, 0, 0);
    send_five(p, &s);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(partition_maintain(p, NULL, NULL), 0);
        expect_known(p, &s);
        s.next++;
        memmove(s.offsets, s.offsets + 1, sizeof s.offsets - sizeof *s.offsets);
        s.offsets[BATCHES - 1] = partition_next(p) - 1;
        p = restarted(&w, p, i < 1, 0);
        world_advance(&w, DAY_MS / 2);
    }
    world_advance(&w, DAY_MS / 2 + 1);
    assert_int_equal(partition_maintain(p, NULL, NULL), 0);
    assert_int_equal(produce_one(p, PRODUCER, s.next - 1, "x", BECK_LEVEL_WRITTEN, &offset), 0);
    partition_abandon(p);
    world_close(&w);
}

static void a_clients_clock_says_nothing_of_how_long_it_is_known(void **state)
{
    (void)state;
    expect_one_day(1800000000);
    expect_one_day(1600000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_batches_are_known_after_a_restart),
        cmocka_unit_test(they_are_known_after_many_restarts),
        cmocka_unit_test(they_are_known_when_retention_took_them),
        cmocka_unit_test(they_are_known_when_compaction_took_them),
        cmocka_unit_test(they_are_known_when_the_newest_snapshot_is_damaged),
        cmocka_unit_test(what_was_cut_off_the_log_can_be_sent_again),
        cmocka_unit_test(a_clients_clock_says_nothing_of_how_long_it_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
