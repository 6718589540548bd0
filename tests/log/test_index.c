/* The sparse indexes: against a linear model, on a disk that fails, with damaged files. */
#include "formats.h"

#include "base/vfs.h"
#include "log/index.h"

#include <unistd.h>

#define PATH "dir/0.index"
#define ENTRIES_MAX 4000

struct model {
    int64_t key[ENTRIES_MAX];
    int32_t value[ENTRIES_MAX];
    uint32_t count;
};

static struct vfs *disk;
static struct index *x;
static struct model model;
static beck_error err;

static int setup(void **state)
{
    (void)state;
    disk = vfs_sim_new(1);
    model.count = 0;
    x = NULL;
    return disk == NULL || vfs_mkdir(disk, "dir", &err) != BECK_OK;
}

static int teardown(void **state)
{
    (void)state;
    index_close(x);
    x = NULL;
    vfs_sim_free(disk);
    return 0;
}

static void open_index(enum index_kind kind)
{
    index_close(x);
    x = NULL;
    OK(index_open(disk, PATH, kind, false, &x, &err));
}

static void put_file(const void *bytes, size_t len)
{
    OK(vfs_write_file(disk, PATH, bytes_of(bytes, len), &err));
}

static beck_bytes get_file(struct buf *out)
{
    buf_clear(out);
    OK(vfs_read_file(disk, PATH, out->max, out, &err));
    return buf_bytes(out);
}

/* ---- format ---- */

static void entries_have_kafkas_bytes(void **state)
{
    struct buf file;

    (void)state;
    buf_init(&file, 1000);
    open_index(INDEX_OFFSET);
    OK(index_append_offset(x, 9, 4200, &err));
    OK(index_append_offset(x, 300, 70000, &err));
    OK(index_flush(x, &err));
    SAME(get_file(&file), bytes_of("\0\0\0\x09\0\0\x10\x68\0\0\1\x2c\0\1\x11\x70", 16));
    OK(vfs_unlink(disk, PATH, &err));
    open_index(INDEX_TIME);
    OK(index_append_time(x, 0x18bcfe56800, 9, &err));
    OK(index_flush(x, &err));
    SAME(get_file(&file), bytes_of("\0\0\1\x8b\xcf\xe5\x68\0\0\0\0\x09", 12));
    buf_release(&file);
}

static void an_empty_index_finds_nothing(void **state)
{
    int32_t a = 7, b = 8;
    int64_t ms;

    (void)state;
    open_index(INDEX_OFFSET);
    assert_int_equal(index_count(x), 0);
    OK(index_lookup_offset(x, VFS_WAITING, 100, &a, &err));
    assert_int_equal(a, 0);
    assert_false(index_last_offset(x, &a, &b));
    OK(index_check(x, 0, &err));
    OK(vfs_unlink(disk, PATH, &err));
    open_index(INDEX_TIME);
    a = 7;
    OK(index_lookup_time(x, INT64_MAX, &a, &err));
    assert_int_equal(a, 0);
    assert_false(index_last_time(x, &ms, &a));
}

static void times_that_do_not_grow_are_passed_over(void **state)
{
    int64_t ms;
    int32_t offset;

    (void)state;
    open_index(INDEX_TIME);
    OK(index_append_time(x, 100, 5, &err));
    OK(index_append_time(x, 100, 9, &err));
    OK(index_append_time(x, 50, 10, &err));
    assert_int_equal(index_count(x), 1);
    OK(index_append_time(x, 101, 5, &err));
    assert_true(index_last_time(x, &ms, &offset));
    assert_int_equal(ms, 101);
    assert_int_equal(offset, 5);
}

static void entries_out_of_order_are_refused(void **state)
{
    (void)state;
    open_index(INDEX_OFFSET);
    OK(index_append_offset(x, 5, 100, &err));
    FAILS(index_append_offset(x, 5, 200, &err), BECK_ECORRUPT, PATH, "must grow");
    FAILS(index_append_offset(x, 6, 100, &err), BECK_ECORRUPT, PATH, "must grow");
    FAILS(index_append_offset(x, -1, 200, &err), BECK_ECORRUPT, PATH, "must grow");
    assert_int_equal(index_count(x), 1);
    OK(vfs_unlink(disk, PATH, &err));
    open_index(INDEX_TIME);
    OK(index_append_time(x, 5, 100, &err));
    FAILS(index_append_time(x, 6, 99, &err), BECK_ECORRUPT, PATH, "must not fall");
}

/* ---- against the model ---- */

static int32_t model_lookup(int64_t bound)
{
    int32_t value = 0;

    for (uint32_t i = 0; i < model.count && model.key[i] < bound; i++)
        value = model.value[i];
    return value;
}

static void model_append(enum index_kind kind, struct rng *rng)
{
    int64_t key = model.count > 0 ? model.key[model.count - 1] : -1;
    int32_t value = model.count > 0 ? model.value[model.count - 1] : 0;

    if (model.count == ENTRIES_MAX)
        return;
    key += 1 + (int64_t)rng_below(rng, 30);
    value += (kind == INDEX_OFFSET) + (int32_t)rng_below(rng, 5000);
    if (kind == INDEX_OFFSET)
        OK(index_append_offset(x, (int32_t)key, value, &err));
    else
        OK(index_append_time(x, key, value, &err));
    model.key[model.count] = key;
    model.value[model.count++] = value;
}

static void model_compare(enum index_kind kind, struct rng *rng)
{
    int64_t top = model.count > 0 ? model.key[model.count - 1] + 20 : 20;
    int64_t key = (int64_t)rng_below(rng, (uint64_t)top), last_key;
    int32_t found = -1, last_offset, last_value;
    bool any;

    assert_int_equal(index_count(x), model.count);
    if (kind == INDEX_OFFSET) {
        OK(index_lookup_offset(x, VFS_WAITING, (int32_t)key, &found, &err));
        assert_int_equal(found, model_lookup(key + 1));
        any = index_last_offset(x, &last_offset, &last_value);
        last_key = last_offset;
    } else {
        OK(index_lookup_time(x, key, &found, &err));
        assert_int_equal(found, model_lookup(key));
        any = index_last_time(x, &last_key, &last_value);
    }
    assert_int_equal(any, model.count > 0);
    if (any) {
        assert_int_equal(last_key, model.key[model.count - 1]);
        assert_int_equal(last_value, model.value[model.count - 1]);
    }
}

static void model_truncate(struct rng *rng)
{
    int64_t top = model.count > 0 ? model.value[model.count - 1] + 10 : 10;
    /* Mostly near the end, so that the index grows. */
    int64_t limit = rng_below(rng, 10) == 0 ? (int64_t)rng_below(rng, (uint64_t)top)
                                            : top - (int64_t)rng_below(rng, 20000);

    OK(index_truncate(x, limit, &err));
    while (model.count > 0 && model.value[model.count - 1] >= limit)
        model.count--;
}

static void random_steps(uint64_t seed)
{
    struct rng rng;
    enum index_kind kind = seed % 2 ? INDEX_OFFSET : INDEX_TIME;

    rng_seed(&rng, seed);
    if (vfs_exists(disk, PATH))
        OK(vfs_unlink(disk, PATH, &err));
    model.count = 0;
    open_index(kind);
    for (int i = 0; i < 1500; i++) {
        switch (rng_below(&rng, 40)) {
        case 0:
            OK(index_flush(x, &err));
            break;
        case 1:
            OK(index_flush(x, &err));
            open_index(kind);
            break;
        case 2:
            model_truncate(&rng);
            break;
        case 3:
            OK(index_check(x, INT64_MAX, &err));
            break;
        case 4:
            for (uint64_t n = rng_below(&rng, 400); n > 0; n--)
                model_append(kind, &rng);
            break;
        default:
            model_append(kind, &rng);
        }
        model_compare(kind, &rng);
    }
}

static void lookups_agree_with_a_linear_search(void **state)
{
    (void)state;
    with_seeds(8, random_steps);
}

/* ---- files as others leave them ---- */

static void zeros_at_the_end_and_a_torn_entry_are_ignored_and_cut(void **state)
{
    static uint8_t bytes[10000];
    struct buf file;

    (void)state;
    buf_init(&file, 20000);
    put_u32(bytes, 5);
    put_u32(bytes + 4, 4100);
    put_u32(bytes + 8, 7);
    put_u32(bytes + 12, 8200);
    put_file(bytes, 9999); /* preallocated, and not a whole number of entries */
    open_index(INDEX_OFFSET);
    assert_int_equal(index_count(x), 2);
    OK(index_append_offset(x, 8, 9000, &err));
    assert_int_equal(get_file(&file).len, 9999);
    OK(index_flush(x, &err));
    assert_int_equal(get_file(&file).len, 24);
    open_index(INDEX_OFFSET);
    assert_int_equal(index_count(x), 3);
    buf_release(&file);
}

static void a_flush_cuts_the_tail_even_with_nothing_to_write(void **state)
{
    struct buf file;

    (void)state;
    buf_init(&file, 100);
    put_file("\0\0\0\1\0\0\0\2\0\0\0", 11);
    open_index(INDEX_OFFSET);
    OK(index_flush(x, &err));
    assert_int_equal(get_file(&file).len, 8);
    buf_release(&file);
}

static void reading_only_changes_nothing(void **state)
{
    struct buf file;
    int32_t position;

    (void)state;
    buf_init(&file, 100);
    OK(index_open(disk, PATH, INDEX_OFFSET, true, &x, &err));
    assert_int_equal(index_count(x), 0);
    assert_false(vfs_exists(disk, PATH));
    index_close(x);
    put_file("\0\0\0\1\0\0\0\2\0\0\0", 11);
    OK(index_open(disk, PATH, INDEX_OFFSET, true, &x, &err));
    OK(index_lookup_offset(x, VFS_WAITING, 1, &position, &err));
    assert_int_equal(position, 2);
    OK(index_flush(x, &err));
    OK(index_sync(x, &err));
    assert_int_equal(get_file(&file).len, 11);
    buf_release(&file);
}

static void check_names_the_wrong_entry(void **state)
{
    static const struct {
        enum index_kind kind;
        int64_t entries[4][2];
        const char *says;
    } cases[] = {
        {INDEX_OFFSET, {{1, 10}, {2, 20}, {2, 30}, {3, 40}}, "offset does not grow"},
        {INDEX_OFFSET, {{1, 10}, {2, 20}, {3, 20}, {4, 40}}, "position does not grow"},
        {INDEX_OFFSET, {{1, 10}, {2, 20}, {3, 100}, {4, 200}}, "end of the log"},
        {INDEX_OFFSET, {{1, 10}, {2, 20}, {-3, 30}, {4, 200}}, "negative"},
        {INDEX_OFFSET, {{1, 10}, {2, 20}, {3, -30}, {4, 200}}, "negative"},
        {INDEX_TIME, {{1, 10}, {2, 20}, {2, 30}, {3, 40}}, "timestamp does not grow"},
        {INDEX_TIME, {{1, 10}, {2, 20}, {3, 19}, {4, 40}}, "offset falls"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint8_t bytes[48] = {0};
        size_t size = cases[i].kind;

        for (size_t j = 0; j < 4; j++) {
            if (cases[i].kind == INDEX_OFFSET)
                put_u32(bytes + j * size, (uint32_t)cases[i].entries[j][0]);
            else
                put_u64(bytes + j * size, (uint64_t)cases[i].entries[j][0]);
            put_u32(bytes + (j + 1) * size - 4, (uint32_t)cases[i].entries[j][1]);
        }
        put_file(bytes, 4 * size);
        open_index(cases[i].kind);
        FAILS(index_check(x, 100, &err), BECK_ECORRUPT, "entry 2", PATH, cases[i].says);
    }
}

static void check_looks_at_every_block_and_at_what_is_not_written(void **state)
{
    struct buf file;

    (void)state;
    buf_init(&file, 1 << 20);
    open_index(INDEX_OFFSET);
    for (int32_t i = 1; i < 2000; i++)
        OK(index_append_offset(x, i, i * 100, &err));
    OK(index_check(x, INT64_MAX, &err));
    FAILS(index_check(x, 1998 * 100 + 1, &err), BECK_ECORRUPT, "entry 1998", "end of the log");
    OK(index_flush(x, &err));
    get_file(&file);
    put_u32(file.data + 1500 * 8, 3);
    put_file(file.data, file.len);
    open_index(INDEX_OFFSET);
    FAILS(index_check(x, INT64_MAX, &err), BECK_ECORRUPT, "entry 1500", "grow");
    buf_release(&file);
}

static void random_files_never_lead_outside(uint64_t seed)
{
    static uint8_t bytes[20000];
    struct rng rng;

    rng_seed(&rng, seed);
    for (int i = 0; i < 100; i++) {
        enum index_kind kind = rng_below(&rng, 2) ? INDEX_OFFSET : INDEX_TIME;
        size_t len = (size_t)rng_below(&rng, sizeof bytes);
        int32_t found;
        beck_status st;

        for (size_t j = 0; j < len; j++)
            bytes[j] = (uint8_t)(rng_below(&rng, 3) ? 0 : rng_next(&rng));
        put_file(bytes, len);
        open_index(kind);
        st = kind == INDEX_OFFSET
                 ? index_lookup_offset(x, VFS_WAITING, (int32_t)rng_below(&rng, 1000), &found, &err)
                 : index_lookup_time(x, (int64_t)rng_next(&rng), &found, &err);
        assert_true(st == BECK_ECORRUPT || (st == BECK_OK && found >= 0));
        index_check(x, 1000, &err);
        OK(index_truncate(x, (int64_t)rng_below(&rng, INT32_MAX), &err));
    }
}

static void damaged_files_are_survived(void **state)
{
    (void)state;
    with_seeds(3, random_files_never_lead_outside);
}

/* ---- a disk that fails ---- */

static void a_failed_write_can_be_repeated(void **state)
{
    int32_t position;

    (void)state;
    open_index(INDEX_OFFSET);
    for (int32_t i = 1; i <= 100; i++)
        OK(index_append_offset(x, i, i * 10, &err));
    vfs_sim_fail(disk, VFS_OP_WRITE, 1, false, BECK_EFULL);
    FAILS(index_flush(x, &err), BECK_EFULL, PATH);
    OK(index_lookup_offset(x, VFS_WAITING, 50, &position, &err));
    assert_int_equal(position, 500);
    OK(index_truncate(x, 800, &err)); /* what the failed write left must not come back */
    OK(index_flush(x, &err));
    open_index(INDEX_OFFSET);
    assert_int_equal(index_count(x), 79);
    OK(index_check(x, 800, &err));
}

static void a_full_buffer_that_cannot_be_written_refuses_the_entry(void **state)
{
    int32_t i = 0, offset, position;
    beck_status st;

    (void)state;
    open_index(INDEX_OFFSET);
    vfs_sim_fail(disk, VFS_OP_WRITE, 1, true, BECK_EIO);
    do {
        i++;
        st = index_append_offset(x, i, i * 10, &err);
    } while (st == BECK_OK);
    assert_int_equal(st, BECK_EIO);
    assert_int_equal(index_count(x), i - 1);
    assert_true(index_last_offset(x, &offset, &position));
    assert_int_equal(offset, i - 1);
    vfs_sim_fail(disk, 0, 0, false, BECK_OK);
    OK(index_append_offset(x, i, i * 10, &err));
    OK(index_check(x, INT64_MAX, &err));
}

static void failures_of_the_disk_are_reported(void **state)
{
    int32_t position;

    (void)state;
    open_index(INDEX_OFFSET);
    for (int32_t i = 1; i <= 100; i++)
        OK(index_append_offset(x, i, i * 10, &err));
    OK(index_flush(x, &err));
    vfs_sim_fail(disk, VFS_OP_READ, 1, false, BECK_EIO);
    FAILS(index_lookup_offset(x, VFS_WAITING, 50, &position, &err), BECK_EIO, PATH);
    vfs_sim_fail(disk, VFS_OP_TRUNCATE, 1, false, BECK_EIO);
    FAILS(index_truncate(x, 500, &err), BECK_EIO, PATH);
    assert_int_equal(index_count(x), 100);
    vfs_sim_fail(disk, VFS_OP_SYNC, 1, false, BECK_EIO);
    FAILS(index_sync(x, &err), BECK_EIO, PATH);
    index_close(x);
    x = NULL;
    vfs_sim_fail(disk, VFS_OP_OPEN, 1, false, BECK_EIO);
    FAILS(index_open(disk, PATH, INDEX_OFFSET, false, &x, &err), BECK_EIO, PATH);
    vfs_sim_fail(disk, VFS_OP_READ, 1, false, BECK_EIO);
    FAILS(index_open(disk, PATH, INDEX_OFFSET, false, &x, &err), BECK_EIO, PATH);
    assert_null(x);
}

static void synced_entries_survive_loss_of_power(void **state)
{
    (void)state;
    open_index(INDEX_OFFSET);
    for (int32_t i = 1; i <= 100; i++)
        OK(index_append_offset(x, i, i * 10, &err));
    OK(index_sync(x, &err));
    OK(vfs_sync_dir(disk, "dir", &err));
    OK(vfs_sync_dir(disk, ".", &err));
    vfs_sim_crash(disk);
    open_index(INDEX_OFFSET);
    assert_int_equal(index_count(x), 100);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(entries_have_kafkas_bytes),
        TEST(an_empty_index_finds_nothing),
        TEST(times_that_do_not_grow_are_passed_over),
        TEST(entries_out_of_order_are_refused),
        TEST(lookups_agree_with_a_linear_search),
        TEST(zeros_at_the_end_and_a_torn_entry_are_ignored_and_cut),
        TEST(a_flush_cuts_the_tail_even_with_nothing_to_write),
        TEST(reading_only_changes_nothing),
        TEST(check_names_the_wrong_entry),
        TEST(check_looks_at_every_block_and_at_what_is_not_written),
        TEST(damaged_files_are_survived),
        TEST(a_failed_write_can_be_repeated),
        TEST(a_full_buffer_that_cannot_be_written_refuses_the_entry),
        TEST(failures_of_the_disk_are_reported),
        TEST(synced_entries_survive_loss_of_power),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
