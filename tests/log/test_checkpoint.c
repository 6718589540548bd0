/* Checkpoint files: Kafka's text, and what is said of files that are wrong. */
#include "formats.h"

#include "base/vfs.h"
#include "log/checkpoint.h"

#define PATH "recovery-point-offset-checkpoint"

static struct vfs *disk;
static struct checkpoint c;
static beck_error err;

static int setup(void **state)
{
    (void)state;
    disk = vfs_sim_new(1);
    checkpoint_init(&c);
    return disk == NULL;
}

static int teardown(void **state)
{
    (void)state;
    checkpoint_release(&c);
    vfs_sim_free(disk);
    return 0;
}

static void set(const char *topic, uint32_t partition, int64_t offset)
{
    assert_int_equal(checkpoint_set(&c, topic, partition, offset), BECK_OK);
}

static void put_file(const char *text)
{
    OK(vfs_write_file(disk, PATH, beck_str(text), &err));
}

static void the_file_is_kafkas(void **state)
{
    struct buf file;

    (void)state;
    set("orders", 10, 7);
    set("orders", 9, 123456789012345);
    set("a.b-c_D", 0, 0);
    OK(checkpoint_write(disk, PATH, &c, &err));
    buf_init(&file, 1000);
    OK(vfs_read_file(disk, PATH, 1000, &file, &err));
    TEXT(buf_bytes(&file), "0\n3\na.b-c_D 0 0\norders 9 123456789012345\norders 10 7\n");
    buf_release(&file);
}

static void entries_are_found_and_replaced(void **state)
{
    int64_t offset = 42;

    (void)state;
    assert_false(checkpoint_get(&c, "x", 0, &offset));
    set("x", 1, 5);
    set("x", 0, 6);
    set("x", 1, 7);
    assert_int_equal(c.count, 2);
    assert_true(checkpoint_get(&c, "x", 1, &offset));
    assert_int_equal(offset, 7);
    assert_false(checkpoint_get(&c, "x", 2, &offset));
    assert_false(checkpoint_get(&c, "xx", 1, &offset));
    assert_int_equal(offset, 7);
}

static void random_round_trips(uint64_t seed)
{
    static int64_t model[20][50];
    struct rng rng;
    struct checkpoint back;
    size_t count = 0;

    rng_seed(&rng, seed);
    memset(model, 0xff, sizeof model);
    checkpoint_release(&c);
    for (int i = 0; i < 800; i++) {
        char topic[20];
        uint64_t t = rng_below(&rng, COUNT(model)), p = rng_below(&rng, COUNT(model[0]));

        snprintf(topic, sizeof topic, "topic.%llu", (unsigned long long)t);
        count += model[t][p] == -1;
        model[t][p] = (int64_t)(rng_next(&rng) >> 1);
        set(topic, (uint32_t)p, model[t][p]);
    }
    OK(checkpoint_write(disk, PATH, &c, &err));
    checkpoint_init(&back);
    OK(checkpoint_read(disk, PATH, &back, &err));
    assert_int_equal(back.count, count);
    assert_int_equal(c.count, count);
    for (size_t t = 0; t < COUNT(model); t++)
        for (uint32_t p = 0; p < COUNT(model[0]); p++) {
            char topic[20];
            int64_t offset = -1;

            snprintf(topic, sizeof topic, "topic.%zu", t);
            assert_int_equal(checkpoint_get(&back, topic, p, &offset), model[t][p] != -1);
            assert_true(offset == model[t][p]);
        }
    checkpoint_release(&back);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    with_seeds(5, random_round_trips);
}

static void a_missing_file_is_empty(void **state)
{
    (void)state;
    set("old", 0, 1);
    OK(checkpoint_read(disk, PATH, &c, &err));
    assert_int_equal(c.count, 0);
}

static void files_of_kafka_are_read(void **state)
{
    int64_t offset;

    (void)state;
    /* In no order; the last newline may be missing. */
    put_file("0\n3\nz 1 10\n__consumer_offsets 49 0\na 0 3");
    OK(checkpoint_read(disk, PATH, &c, &err));
    assert_int_equal(c.count, 3);
    assert_true(checkpoint_get(&c, "__consumer_offsets", 49, &offset));
    assert_int_equal(offset, 0);
    assert_true(checkpoint_get(&c, "a", 0, &offset));
    assert_int_equal(offset, 3);
    put_file("0\n0\n");
    OK(checkpoint_read(disk, PATH, &c, &err));
    assert_int_equal(c.count, 0);
}

static void wrong_files_are_refused_by_line(void **state)
{
    static const struct {
        const char *text, *line, *says;
    } wrong[] = {
        {"", "line 1", "version"},
        {"1\n0\n", "line 1", "version"},
        {"00\n0\n", "line 1", "version"},
        {"0\n", "line 2", "number of entries"},
        {"0\nx\n", "line 2", "number of entries"},
        {"0\n-1\n", "line 2", "number of entries"},
        {"0\n99999999999999999999\n", "line 2", "number of entries"},
        {"0\n18446744073709551615\na 0 1\n", "line 4", "ends before"},
        {"0\n2\na 0 1\n", "line 4", "ends before"},
        {"0\n1\na 0 1\nb 0 1\n", "line 4", "more entries"},
        {"0\n0\n\n", "line 3", "more entries"},
        {"0\n1\n 0 1\n", "line 3", "bus"},
        {"0\n1\n\n", "line 3", "bus"},
        {"0\n1\na\n", "line 3", "second word"},
        {"0\n1\na x 1\n", "line 3", "second word"},
        {"0\n1\na -1 1\n", "line 3", "second word"},
        {"0\n1\na 2147483648 1\n", "line 3", "second word"},
        {"0\n1\na 1\n", "line 3", "third word"},
        {"0\n1\na 1 \n", "line 3", "third word"},
        {"0\n1\na 1 -1\n", "line 3", "third word"},
        {"0\n1\na 1 9223372036854775808\n", "line 3", "third word"},
        {"0\n1\na 1 2 3\n", "line 3", "third word"},
        {"0\n1\na 1 2\r\n", "line 3", "third word"},
        {"0\n3\na 1 2\nb 1 2\na 1 3\n", "line 5", "before"},
    };

    (void)state;
    set("kept", 0, 9);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        put_file(wrong[i].text);
        FAILS(checkpoint_read(disk, PATH, &c, &err), BECK_ECORRUPT, wrong[i].line, PATH,
              wrong[i].says);
        assert_int_equal(c.count, 1);
    }
}

static void every_truncated_file_is_refused_or_read(void **state)
{
    char text[] = "0\n2\ntopic 12 345\nother 1 99\n";

    (void)state;
    for (size_t len = 0; len < sizeof text - 1; len++) {
        beck_status st;

        OK(vfs_write_file(disk, PATH, bytes_of(text, len), &err));
        st = checkpoint_read(disk, PATH, &c, &err);
        if (st == BECK_OK) /* only digits of the last offset can be missed */
            assert_true(len >= sizeof text - 3);
        else
            assert_int_equal(st, BECK_ECORRUPT);
    }
}

static void a_write_that_fails_leaves_the_old_file(void **state)
{
    int64_t offset;

    (void)state;
    set("a", 0, 1);
    OK(checkpoint_write(disk, PATH, &c, &err));
    set("a", 0, 2);
    for (uint64_t nth = 1; nth <= 20; nth++) {
        vfs_sim_fail(disk, VFS_OP_WRITE | VFS_OP_SYNC | VFS_OP_OPEN | VFS_OP_RENAME, nth, false,
                     BECK_EIO);
        if (checkpoint_write(disk, PATH, &c, &err) == BECK_OK)
            return;
        vfs_sim_fail(disk, 0, 0, false, BECK_OK);
        struct checkpoint back;
        checkpoint_init(&back);
        OK(checkpoint_read(disk, PATH, &back, &err));
        assert_true(checkpoint_get(&back, "a", 0, &offset));
        assert_int_equal(offset, 1);
        checkpoint_release(&back);
    }
    fail_msg("no write succeeded");
}

static void a_failing_read_is_reported(void **state)
{
    (void)state;
    put_file("0\n0\n");
    vfs_sim_fail(disk, VFS_OP_READ, 1, false, BECK_EIO);
    FAILS(checkpoint_read(disk, PATH, &c, &err), BECK_EIO, PATH);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_file_is_kafkas),
        TEST(entries_are_found_and_replaced),
        TEST(what_is_written_is_read),
        TEST(a_missing_file_is_empty),
        TEST(files_of_kafka_are_read),
        TEST(wrong_files_are_refused_by_line),
        TEST(every_truncated_file_is_refused_or_read),
        TEST(a_write_that_fails_leaves_the_old_file),
        TEST(a_failing_read_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
