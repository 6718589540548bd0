/* What a partition promises: see log/partition.h. On the simulated disk unless threads are the
 * point. */
#include "log/committer.h"
#include "log/cursor.h"
#include "log/partition.h"

#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

struct world {
    struct env env;
    struct vfs *vfs;
    struct partition_options options;
    int reports;
    beck_error last_report;
};

static void on_report(void *ctx, const beck_error *e)
{
    struct world *w = ctx;
    w->reports++;
    w->last_report = *e;
}

static void world_open(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->vfs = vfs_sim_new(seed);
    assert_int_equal(vfs_mkdir(w->vfs, "data", NULL), 0);
    assert_int_equal(vfs_sync_dir(w->vfs, ".", NULL), 0);
    w->env.vfs = w->vfs;
    w->env.clock = clock_virtual_new(1700000000000000000);
    w->env.report = on_report;
    w->env.report_ctx = w;
    assert_int_equal(committer_new(0, NULL, &w->env.committer, NULL), 0);
    assert_int_equal(committer_reserve(w->env.committer, 4, NULL), 0);
    w->options.bus.segment_bytes = 1 << 30;
    w->options.bus.segment_ms = 7 * 86400000LL;
    w->options.bus.delete_retention_ms = 86400000;
    w->options.bus.event_bytes_max = 1048588;
}

static void world_close(struct world *w)
{
    committer_free(w->env.committer);
    vfs_sim_free(w->vfs);
    clock_virtual_free(w->env.clock);
}

static struct partition *open_at(struct world *w, int64_t recovery_point)
{
    struct partition *p = NULL;
    beck_error err = {0};
    beck_status status =
        partition_open(&w->env, "data/b-0", "b", 0, &w->options, recovery_point, 0, &p, &err);
    if (status)
        print_error("open: %s\n", err.text);
    assert_int_equal(status, 0);
    return p;
}

static beck_status put(struct partition *p, int number, beck_level level, int64_t *offset)
{
    char data[64], subject[16];
    snprintf(data, sizeof data, "{\"number\":%d}", number);
    snprintf(subject, sizeof subject, "s%d", number % 7);
    beck_event e = {.type = beck_str("t.x"), .data = beck_str(data), .subject = beck_str(subject)};
    const beck_event *list[] = {&e};
    struct append a = {.events = list, .count = 1, .level = level};
    beck_status status = partition_append(p, &a, NULL);
    if (offset)
        *offset = a.first_offset;
    return status;
}

static void expect_number(const struct record_view *v, int number)
{
    char data[64];
    int len = snprintf(data, sizeof data, "{\"number\":%d}", number);
    assert_int_equal(v->event.data.len, len);
    assert_memory_equal(v->event.data.data, data, (size_t)len);
}

/* Reads all from `from`; event n must be number n. Returns how many. */
static int64_t read_all(struct partition *p, int64_t from)
{
    struct cursor *c;
    assert_int_equal(cursor_open(p, &c, NULL), 0);
    int64_t offset = from;
    for (;;) {
        const struct record_view *v;
        beck_error err = {0};
        beck_status status = cursor_read(c, offset, false, &v, NULL, &err);
        if (status == BECK_END)
            break;
        if (status)
            print_error("read: %s\n", err.text);
        assert_int_equal(status, 0);
        assert_int_equal(v->offset, offset);
        expect_number(v, (int)offset);
        offset++;
    }
    cursor_close(c);
    return offset - from;
}

static void events_come_back_in_order_after_closing_and_opening(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    w.options.bus.segment_bytes = 8192;
    struct partition *p = open_at(&w, 0);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(put(p, i, i % 3 ? BECK_LEVEL_WRITTEN : BECK_LEVEL_SYNCED, NULL), 0);
    assert_int_equal(read_all(p, 0), 1000);
    assert_int_equal(read_all(p, 777), 223);
    beck_partition_info info;
    partition_info(p, &info);
    assert_true(info.segments > 5);
    assert_int_equal(partition_close(p, NULL), 0);
    p = open_at(&w, 1000);
    assert_int_equal(read_all(p, 0), 1000);
    int64_t offset;
    assert_int_equal(put(p, 1000, BECK_LEVEL_SYNCED, &offset), 0);
    assert_int_equal(offset, 1000);
    assert_int_equal(read_all(p, 0), 1001);
    assert_int_equal(partition_close(p, NULL), 0);
    assert_int_equal(w.reports, 0);
    world_close(&w);
}

static void every_codec_is_read_back(void **state)
{
    (void)state;
    for (int codec = 0; codec <= 4; codec++) {
        struct world w;
        world_open(&w, 2);
        w.options.bus.codec = (beck_codec)codec;
        struct partition *p = open_at(&w, 0);
        for (int i = 0; i < 50; i++)
            assert_int_equal(put(p, i, BECK_LEVEL_WRITTEN, NULL), 0);
        assert_int_equal(read_all(p, 0), 50);
        assert_int_equal(partition_close(p, NULL), 0);
        p = open_at(&w, 50);
        assert_int_equal(read_all(p, 0), 50);
        assert_int_equal(partition_close(p, NULL), 0);
        world_close(&w);
    }
}

/* The promise: after loss of power everything confirmed as synced is there, nothing is torn, order
 * holds. */
static void synced_events_survive_loss_of_power_at_every_write(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct world w;
        world_open(&w, seed);
        w.options.bus.segment_bytes = 4096;
        vfs_sim_stop_at(w.vfs, seed);
        struct partition *p = NULL;
        int64_t confirmed = 0;
        if (!partition_open(&w.env, "data/b-0", "b", 0, &w.options, 0, 0, &p, NULL)) {
            for (int i = 0; i < 200; i++) {
                beck_level level = i % 4 ? BECK_LEVEL_WRITTEN : BECK_LEVEL_SYNCED;
                if (put(p, i, level, NULL))
                    break;
                if (level == BECK_LEVEL_SYNCED)
                    confirmed = i + 1;
            }
            partition_abandon(p);
        }
        vfs_sim_stop_at(w.vfs, 0);
        vfs_sim_crash(w.vfs);
        if (!vfs_exists(w.vfs, "data/b-0")) {
            assert_int_equal(confirmed, 0);
            world_close(&w);
            continue;
        }
        p = open_at(&w, 0);
        int64_t count = read_all(p, 0);
        if (count < confirmed)
            print_error("seed %llu\n", (unsigned long long)seed);
        assert_true(count >= confirmed);
        assert_int_equal(put(p, (int)count, BECK_LEVEL_SYNCED, NULL), 0);
        assert_int_equal(read_all(p, 0), count + 1);
        assert_int_equal(partition_close(p, NULL), 0);
        world_close(&w);
    }
}

static void a_full_disk_refuses_and_service_resumes_by_itself(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 3);
    struct partition *p = open_at(&w, 0);
    int number = 0;
    for (; number < 10; number++)
        assert_int_equal(put(p, number, BECK_LEVEL_SYNCED, NULL), 0);
    vfs_sim_capacity(w.vfs, 1);
    assert_int_equal(put(p, number, BECK_LEVEL_SYNCED, NULL), BECK_EFULL);
    assert_int_equal(put(p, number, BECK_LEVEL_WRITTEN, NULL), BECK_EFULL);
    assert_int_equal(w.reports, 1); /* once, however many are refused */
    assert_int_equal(w.last_report.code, BECK_EFULL);
    assert_int_equal(read_all(p, 0), 10);
    vfs_sim_capacity(w.vfs, -1);
    int64_t offset;
    assert_int_equal(put(p, number, BECK_LEVEL_SYNCED, &offset), 0);
    assert_int_equal(offset, 10);
    assert_int_equal(read_all(p, 0), 11);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

static void a_failed_sync_poisons_the_partition(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 4);
    struct partition *p = open_at(&w, 0);
    assert_int_equal(put(p, 0, BECK_LEVEL_SYNCED, NULL), 0);
    vfs_sim_fail(w.vfs, VFS_OP_SYNC, 1, false, BECK_EIO);
    assert_int_equal(put(p, 1, BECK_LEVEL_SYNCED, NULL), BECK_EPOISONED);
    assert_int_equal(put(p, 1, BECK_LEVEL_SYNCED, NULL), BECK_EPOISONED);
    assert_int_equal(w.reports, 1);
    partition_abandon(p);
    world_close(&w);
}

static void damage_before_the_recovery_point_is_refused_with_file_and_position(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 5);
    struct partition *p = open_at(&w, 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(put(p, i, BECK_LEVEL_SYNCED, NULL), 0);
    assert_int_equal(partition_close(p, NULL), 0);
    vfs_sim_flip(w.vfs, "data/b-0/00000000000000000000.log", 300, 3);
    beck_error err = {0};
    assert_int_equal(partition_open(&w.env, "data/b-0", "b", 0, &w.options, 0, 0, &p, NULL), 0);
    assert_true(w.reports == 1); /* nothing was known to be synced: cut, and said */
    partition_abandon(p);
    world_close(&w);

    world_open(&w, 5);
    p = open_at(&w, 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(put(p, i, BECK_LEVEL_SYNCED, NULL), 0);
    assert_int_equal(partition_close(p, NULL), 0);
    vfs_sim_flip(w.vfs, "data/b-0/00000000000000000000.log", 300, 3);
    assert_int_equal(partition_open(&w.env, "data/b-0", "b", 0, &w.options, 20, 0, &p, &err),
                     BECK_ECORRUPT);
    assert_non_null(strstr(err.text, "00000000000000000000.log"));
    assert_non_null(strstr(err.text, "beck verify --repair"));
    world_close(&w);
}

static void damage_in_old_events_is_reported_when_they_are_read_and_can_be_passed(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 5);
    w.options.bus.segment_bytes = 8192;
    struct partition *p = open_at(&w, 0);
    for (int i = 0; i < 300; i++)
        assert_int_equal(put(p, i, BECK_LEVEL_SYNCED, NULL), 0);
    assert_int_equal(partition_close(p, NULL), 0);
    vfs_sim_flip(w.vfs, "data/b-0/00000000000000000000.log", 300, 3);
    p = open_at(&w, 300);
    struct cursor *c;
    const struct record_view *v;
    int64_t skip = 0;
    beck_error err = {0};
    assert_int_equal(cursor_open(p, &c, NULL), 0);
    beck_status status = BECK_OK;
    for (int64_t offset = 0; !status && offset < 20; offset++)
        status = cursor_read(c, offset, false, &v, &skip, &err);
    assert_int_equal(status, BECK_ECORRUPT);
    assert_non_null(strstr(err.text, "00000000000000000000.log"));
    assert_true(skip > 20 && skip < 100);
    for (; skip < 300; skip++) {
        assert_int_equal(cursor_read(c, skip, false, &v, NULL, NULL), 0);
        expect_number(v, (int)skip);
    }
    cursor_close(c);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

static void events_missing_below_the_recovery_point_are_refused(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 6);
    struct partition *p = open_at(&w, 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(put(p, i, BECK_LEVEL_SYNCED, NULL), 0);
    assert_int_equal(partition_close(p, NULL), 0);
    beck_error err = {0};
    assert_int_equal(partition_open(&w.env, "data/b-0", "b", 0, &w.options, 25, 0, &p, &err),
                     BECK_ECORRUPT);
    assert_non_null(strstr(err.text, "20 to 24"));
    world_close(&w);
}

static void a_time_resolves_to_the_first_event_at_or_after_it(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 7);
    w.options.bus.segment_bytes = 4096;
    struct partition *p = open_at(&w, 0);
    int64_t start = clock_wall_ms(w.env.clock);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(put(p, i, BECK_LEVEL_WRITTEN, NULL), 0);
        clock_virtual_advance(w.env.clock, 10000000);
    }
    for (int i = 0; i < 300; i += 13) {
        int64_t offset;
        beck_from from = {.kind = BECK_FROM_TIME, .time_ms = start + i * 10};
        assert_int_equal(partition_resolve(p, &from, &offset, NULL), 0);
        assert_int_equal(offset, i);
        from.time_ms -= 3;
        assert_int_equal(partition_resolve(p, &from, &offset, NULL), 0);
        assert_int_equal(offset, i);
    }
    int64_t offset;
    beck_from from = {.kind = BECK_FROM_TIME, .time_ms = start + 100000};
    assert_int_equal(partition_resolve(p, &from, &offset, NULL), 0);
    assert_int_equal(offset, 300);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

static void publish_twice(const char *source)
{
    struct world w;
    world_open(&w, 8);
    w.options.bus.dedup_window_ms = 60000;
    struct partition *p = open_at(&w, 0);
    beck_event e = {.type = beck_str("t"), .id = beck_str("a"), .source = beck_str(source)};
    const beck_event *list[] = {&e, &e};
    struct append a = {.events = list, .count = 2, .level = BECK_LEVEL_SYNCED};
    assert_int_equal(partition_append(p, &a, NULL), 0);
    assert_int_equal(a.first_offset, 0);
    assert_int_equal(a.duplicates, 1);
    a.count = 1;
    assert_int_equal(partition_append(p, &a, NULL), 0);
    assert_int_equal(a.first_offset, 0);
    assert_int_equal(a.duplicates, 1);
    assert_int_equal(partition_close(p, NULL), 0);
    p = open_at(&w, 1);
    assert_int_equal(partition_append(p, &a, NULL), 0);
    assert_int_equal(a.duplicates, 1);
    clock_virtual_advance(w.env.clock, 60001 * 1000000LL);
    assert_int_equal(partition_append(p, &a, NULL), 0);
    assert_int_equal(a.duplicates, 0);
    assert_int_equal(a.first_offset, 1);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

static void an_event_published_twice_within_the_window_is_stored_once(void **state)
{
    (void)state;
    publish_twice("/s");
    publish_twice("");
}

static void the_next_segment_is_prepared_ahead_of_need(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 10);
    w.options.bus.segment_bytes = 8192;
    struct partition *p = open_at(&w, 0);
    partition_tick(p);
    assert_false(vfs_exists(w.vfs, "data/b-0/next.log.tmp"));
    int number = 0;
    beck_partition_info info;
    for (bool seen = false;; number++) {
        partition_info(p, &info);
        if (info.segments > 1) {
            assert_true(seen);
            break;
        }
        assert_int_equal(put(p, number, BECK_LEVEL_WRITTEN, NULL), 0);
        partition_tick(p);
        seen |= vfs_exists(w.vfs, "data/b-0/next.log.tmp");
    }
    assert_false(vfs_exists(w.vfs, "data/b-0/next.log.tmp"));
    for (; number < 500; number++) {
        assert_int_equal(put(p, number, BECK_LEVEL_WRITTEN, NULL), 0);
        partition_tick(p);
    }
    assert_int_equal(read_all(p, 0), 500);
    assert_int_equal(partition_close(p, NULL), 0);
    p = open_at(&w, 500);
    assert_int_equal(read_all(p, 0), 500);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

#define THREADS 8
#define EACH 300

struct publisher {
    struct partition *p;
    int id;
};

static void *publish_many(void *arg)
{
    struct publisher *me = arg;
    for (int i = 0; i < EACH; i++) {
        char data[32];
        int64_t number = me->id * 1000 + i;
        snprintf(data, sizeof data, "%lld", (long long)number);
        beck_event e = {.type = beck_str("t"), .data = beck_str(data)};
        const beck_event *list[] = {&e};
        struct append a = {
            .events = list, .count = 1, .level = i % 2 ? BECK_LEVEL_SYNCED : BECK_LEVEL_WRITTEN};
        if (i % 7 == 0)
            a.level = BECK_LEVEL_NONE;
        assert_int_equal(partition_append(me->p, &a, NULL), 0);
    }
    return NULL;
}

static void many_publishers_each_keep_their_order(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 9);
    w.options.bus.segment_bytes = 16384;
    struct partition *p = open_at(&w, 0);
    pthread_t threads[THREADS];
    struct publisher publishers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        publishers[i] = (struct publisher){p, i};
        pthread_create(&threads[i], NULL, publish_many, &publishers[i]);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    int seen[THREADS] = {0};
    struct cursor *c;
    const struct record_view *v;
    assert_int_equal(cursor_open(p, &c, NULL), 0);
    int64_t offset = 0;
    for (; cursor_read(c, offset, false, &v, NULL, NULL) == 0; offset++) {
        char data[32] = {0};
        memcpy(data, v->event.data.data, v->event.data.len);
        int number = atoi(data);
        assert_int_equal(number % 1000, seen[number / 1000]++);
    }
    assert_int_equal(offset, THREADS * EACH);
    cursor_close(c);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_back_in_order_after_closing_and_opening),
        cmocka_unit_test(every_codec_is_read_back),
        cmocka_unit_test(synced_events_survive_loss_of_power_at_every_write),
        cmocka_unit_test(a_full_disk_refuses_and_service_resumes_by_itself),
        cmocka_unit_test(a_failed_sync_poisons_the_partition),
        cmocka_unit_test(damage_before_the_recovery_point_is_refused_with_file_and_position),
        cmocka_unit_test(damage_in_old_events_is_reported_when_they_are_read_and_can_be_passed),
        cmocka_unit_test(events_missing_below_the_recovery_point_are_refused),
        cmocka_unit_test(a_time_resolves_to_the_first_event_at_or_after_it),
        cmocka_unit_test(an_event_published_twice_within_the_window_is_stored_once),
        cmocka_unit_test(the_next_segment_is_prepared_ahead_of_need),
        cmocka_unit_test(many_publishers_each_keep_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
