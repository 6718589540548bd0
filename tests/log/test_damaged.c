/* A log that is damaged behind its recovery point, opened all the same: it takes and gives nothing, and stays as it is. */
#include "world.h"

#define LOG DIR_B "/00000000000000000000.log"
#define EVENTS 40

/* Of all files of the partition, in the order in which the disk lists them. */
struct content {
    struct world *w;
    struct buf bytes;
};

static int add_file(void *ctx, const char *name, bool is_dir)
{
    struct content *c = ctx;
    char path[256];
    snprintf(path, sizeof path, DIR_B "/%s", name);
    assert_false(is_dir);
    assert_int_equal(buf_append(&c->bytes, name, strlen(name)), 0);
    assert_int_equal(vfs_read_file(c->w->vfs, path, c->bytes.max, &c->bytes, NULL), 0);
    return 0;
}

static struct content content_of(struct world *w)
{
    struct content c = {.w = w};
    buf_init(&c.bytes, 1u << 20);
    assert_int_equal(vfs_list(w->vfs, DIR_B, add_file, &c, NULL), 0);
    return c;
}

static struct partition *filled(struct world *w)
{
    char text[200];
    struct partition *p = world_partition(w, 0, 0);
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    for (int i = 0; i < EVENTS; i++)
        assert_int_equal(put_event(p, "s", text, BECK_LEVEL_SYNCED, NULL), 0);
    assert_true(segments_of(p) > 1);
    return p;
}

#define says_damaged(call)                                                                         \
    do {                                                                                           \
        beck_error err = {0};                                                                      \
        assert_int_equal(call, BECK_ECORRUPT);                                                     \
        assert_non_null(strstr(err.text, ".log\" is damaged at byte"));                            \
        assert_non_null(strstr(err.text, "beck verify --repair"));                                 \
    } while (0)

static beck_status no_batch(void *ctx, const struct batch_header *h, beck_bytes batch,
                            beck_error *err)
{
    (void)ctx, (void)h, (void)batch, (void)err;
    fail_msg("a batch was read");
    return BECK_OK;
}

static void refuses_everything(struct partition *p)
{
    static const enum beck_from_kind kinds[] = {BECK_FROM_NOW, BECK_FROM_EARLIEST, BECK_FROM_OFFSET,
                                                BECK_FROM_TIME};
    struct cursor *c;
    struct partition_range r;
    int64_t offset, ms;
    beck_event e = {.type = beck_str("t.x")};
    const beck_event *list[] = {&e};
    struct append a = {.events = list, .count = 1, .level = BECK_LEVEL_SYNCED};
    struct transaction_end end = {.producer_id = 7, .level = BECK_LEVEL_SYNCED};
    says_damaged(partition_append(p, &a, &err));
    assert_int_equal(a.first_offset, -1);
    says_damaged(partition_end_transaction(p, &end, &err));
    says_damaged(cursor_open(p, &c, &err));
    says_damaged(partition_fetch(p, 0, 1 << 20, PARTITION_ONE_AT_LEAST, &r, &err));
    says_damaged(partition_each_batch(p, 0, 1, no_batch, NULL, &err));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        says_damaged(partition_resolve(p, &(beck_from){.kind = kinds[i]}, &offset, &err));
    says_damaged(partition_find_time(p, 0, &offset, &ms, &err));
    says_damaged(partition_max_time(p, &offset, &ms, &err));
    says_damaged(partition_truncate_before(p, 5, &err));
}

static void it_takes_and_gives_nothing_and_none_of_its_files_changes(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    w.options.damaged_too = true;
    w.options.bus.dedup_window_ms = DAY_MS;
    struct partition *p = filled(&w);
    assert_int_equal(partition_close(p, NULL), 0);
    vfs_sim_flip(w.vfs, DIR_B "/00000000000000000000.log", 300, 3);
    /* Read from the first byte on, since nothing says that it is whole so far. */
    struct content before = content_of(&w);
    p = world_partition(&w, 0, 0);
    assert_non_null(partition_damage(p));
    assert_int_equal(w.reports, 1);
    assert_non_null(strstr(w.last_report.text, "00000000000000000000.log"));
    assert_non_null(strstr(w.last_report.text, "bus \"b\""));
    refuses_everything(p);
    beck_partition_info info;
    partition_info(p, &info);
    assert_true(info.damaged);
    /* Nothing that was accepted waits for a sync, and upkeep leaves it alone. */
    int64_t point = -1, start = -1;
    assert_int_equal(partition_sync(p, NULL), 0);
    assert_int_equal(partition_checkpoint(p, &point, &start, NULL), 0);
    assert_int_equal(point, 0);
    assert_int_equal(start, 0);
    world_advance(&w, 30 * DAY_MS);
    w.options.bus.retention_ms = DAY_MS;
    assert_int_equal(partition_alter(p, &w.options.bus, NULL), 0);
    partition_tick(p);
    assert_int_equal(partition_maintain(p, &(struct partition_owed){0}, NULL), 0);
    assert_int_equal(partition_close(p, NULL), 0);
    struct content after = content_of(&w);
    assert_true(bytes_equal(buf_bytes(&before.bytes), buf_bytes(&after.bytes)));
    buf_release(&before.bytes);
    buf_release(&after.bytes);
    /* Restored, it has all that it had. */
    vfs_sim_flip(w.vfs, LOG, 300, 3);
    p = world_partition(&w, 0, 0);
    assert_null(partition_damage(p));
    assert_int_equal(partition_next(p), EVENTS);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

static void what_is_certain_of_it_stands_in_the_next_checkpoints(void **state)
{
    (void)state;
    struct world w;
    int64_t point, start;
    world_open(&w, 2);
    w.options.damaged_too = true;
    struct partition *p = filled(&w);
    assert_int_equal(partition_close(p, NULL), 0);
    /* Its end is missing. */
    p = world_partition(&w, EVENTS + 5, 3);
    assert_non_null(partition_damage(p));
    assert_int_equal(partition_first(p), 3);
    assert_int_equal(partition_next(p), EVENTS + 5);
    assert_int_equal(partition_checkpoint(p, &point, &start, NULL), 0);
    assert_int_equal(point, EVENTS + 5);
    assert_int_equal(start, 3);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

static void a_bus_that_is_deleted_says_so_also_when_it_is_damaged(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 3);
    w.options.damaged_too = true;
    struct partition *p = filled(&w);
    assert_int_equal(partition_close(p, NULL), 0);
    p = world_partition(&w, EVENTS + 5, 0);
    partition_condemn(p);
    assert_int_equal(put_event(p, "s", "x", BECK_LEVEL_SYNCED, NULL), BECK_ECLOSED);
    partition_abandon(p);
    world_close(&w);
}

static void without_the_wish_for_it_it_is_not_opened(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 4);
    struct partition *p = filled(&w);
    assert_int_equal(partition_close(p, NULL), 0);
    assert_int_equal(partition_open(&w.env, DIR_B, "b", 0, &w.options, EVENTS + 5, 0, &p, NULL),
                     BECK_ECORRUPT);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_takes_and_gives_nothing_and_none_of_its_files_changes),
        cmocka_unit_test(what_is_certain_of_it_stands_in_the_next_checkpoints),
        cmocka_unit_test(a_bus_that_is_deleted_says_so_also_when_it_is_damaged),
        cmocka_unit_test(without_the_wish_for_it_it_is_not_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
