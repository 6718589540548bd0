/*
 * The disk that lies: what survives the loss of power, faults, capacity.
 *
 * Two random tests compare it with models: one of the sectors of a file, which knows for each what
 * the device may hold, and one of the names in a directory.
 */
#include "base/vfs.h"
#include "base/bytes.h"
#include "base/common.h"
#include "base/rng.h"

#include <pthread.h>
#include <stdio.h>

#define SECTOR 512
#define SEEDS 60

static struct file *open_file(struct vfs *v, const char *path)
{
    struct file *f;
    beck_error err;
    if (vfs_open(v, path, VFS_WRITE | VFS_CREATE, &f, &err) != BECK_OK)
        fail_msg("%s", err.text);
    return f;
}

static size_t read_all(struct vfs *v, const char *path, uint8_t *data, size_t max)
{
    struct file *f;
    size_t got = 0;
    assert_int_equal(vfs_open(v, path, VFS_READ, &f, NULL), BECK_OK);
    assert_int_equal(file_read(f, data, max, 0, &got, NULL), BECK_OK);
    file_close(f);
    return got;
}

static void what_was_synced_survives_a_crash(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct vfs *v = vfs_sim_new(seed);
        assert_int_equal(vfs_mkdir(v, "data", NULL), BECK_OK);
        struct file *f = open_file(v, "data/a");
        uint8_t data[3000], back[4000];
        memset(data, 'x', sizeof data);
        assert_int_equal(file_write(f, data, sizeof data, 0, NULL), BECK_OK);
        assert_int_equal(file_sync(f, NULL), BECK_OK);
        assert_int_equal(vfs_sync_dir(v, "data", NULL), BECK_OK);
        assert_int_equal(vfs_sync_dir(v, ".", NULL), BECK_OK);
        vfs_sim_crash(v);
        file_close(f);
        assert_int_equal(read_all(v, "data/a", back, sizeof back), sizeof data);
        assert_memory_equal(back, data, sizeof data);
        vfs_sim_free(v);
    }
}

/* Which of a file's parts are there after a crash, over many seeds. */
static void what_was_not_synced_survives_in_every_combination(void **state)
{
    (void)state;
    unsigned seen_sectors = 0, seen_sizes = 0, no_file = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct vfs *v = vfs_sim_new(seed);
        struct file *f = open_file(v, "a");
        uint8_t data[2 * SECTOR], back[2 * SECTOR];
        memset(data, 'x', sizeof data);
        assert_int_equal(file_write(f, data, sizeof data, 0, NULL), BECK_OK);
        vfs_sim_crash(v);
        file_close(f);
        if (!vfs_exists(v, "a")) {
            no_file++;
        } else {
            memset(back, 0, sizeof back);
            size_t size = read_all(v, "a", back, sizeof back);
            assert_true(size <= sizeof data);
            seen_sizes |= size == 0 ? 1u : size == sizeof data ? 2u : 4u;
            if (size == sizeof data)
                seen_sectors |= 1u << ((back[0] == 'x') + 2 * (back[SECTOR] == 'x'));
        }
        vfs_sim_free(v);
    }
    assert_in_range(no_file, 50, 150);
    assert_int_equal(seen_sizes, 7);
    assert_int_equal(seen_sectors, 15);
}

static void a_file_in_a_directory_that_was_not_synced_is_lost_with_it(void **state)
{
    (void)state;
    unsigned lost = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct vfs *v = vfs_sim_new(seed);
        assert_int_equal(vfs_mkdir(v, "data", NULL), BECK_OK);
        assert_int_equal(vfs_write_file(v, "data/a", beck_str("x"), NULL), BECK_OK);
        vfs_sim_crash(v);
        lost += !vfs_exists(v, "data");
        assert_int_equal(vfs_exists(v, "data/a"), vfs_exists(v, "data"));
        vfs_sim_free(v);
    }
    assert_in_range(lost, SEEDS / 5, SEEDS * 4 / 5);
}

static void an_end_of_the_process_keeps_all_that_was_written(void **state)
{
    (void)state;
    struct vfs *v = vfs_sim_new(1);
    struct file *f = open_file(v, "a"), *lock, *lock2;
    uint8_t data[100];
    size_t got;
    assert_int_equal(file_write(f, "hello", 5, 0, NULL), BECK_OK);
    assert_int_equal(vfs_lock(v, "lock", &lock, NULL), BECK_OK);
    vfs_sim_kill(v);
    beck_error err = {0};
    assert_int_equal(file_write(f, "x", 1, 0, &err), BECK_EIO);
    assert_int_equal(file_read(f, data, 1, 0, &got, &err), BECK_EIO);
    assert_int_equal(file_sync(f, &err), BECK_EIO);
    assert_int_equal(vfs_lock(v, "lock", &lock2, NULL), BECK_OK);
    file_close(lock); /* the dead lock does not take the living one along */
    assert_int_equal(vfs_lock(v, "lock", &lock, NULL), BECK_EBUSY);
    file_close(lock2);
    file_close(f);
    assert_int_equal(read_all(v, "a", data, sizeof data), 5);
    assert_memory_equal(data, "hello", 5);
    vfs_sim_free(v);
}

static void a_whole_file_is_the_old_or_the_new_one_whenever_the_power_goes(void **state)
{
    (void)state;
    unsigned old = 0, new = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct vfs *v = vfs_sim_new(seed);
        assert_int_equal(vfs_write_file(v, "a", beck_str("old"), NULL), BECK_OK);
        vfs_sim_stop_at(v, 1 + seed % 5);
        beck_error err = {0};
        beck_status status = vfs_write_file(v, "a", beck_str("newer"), &err);
        assert_int_equal(status, seed % 5 == 4 ? BECK_OK : BECK_EIO);
        assert_int_equal(vfs_exists(v, "a"), status == BECK_OK);
        vfs_sim_crash(v);
        uint8_t data[10];
        size_t size = read_all(v, "a", data, sizeof data);
        bool is_new = size == 5 && memcmp(data, "newer", 5) == 0;
        assert_true(is_new || (size == 3 && memcmp(data, "old", 3) == 0));
        assert_true(is_new || status != BECK_OK);
        old += !is_new;
        new += is_new;
        vfs_sim_free(v);
    }
    assert_true(old > 100 && new > 60);
}

static void a_failed_sync_loses_sectors_that_a_second_one_does_not_bring_back(void **state)
{
    (void)state;
    unsigned lost = 0, kept = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct vfs *v = vfs_sim_new(seed);
        struct file *f = open_file(v, "a");
        uint8_t data[SECTOR], back[SECTOR];
        memset(data, 'o', sizeof data);
        assert_int_equal(file_write(f, data, SECTOR, 0, NULL), BECK_OK);
        assert_int_equal(file_sync(f, NULL), BECK_OK);
        assert_int_equal(vfs_sync_dir(v, "/", NULL), BECK_OK);
        memset(data, 'n', sizeof data);
        assert_int_equal(file_write(f, data, SECTOR, 0, NULL), BECK_OK);
        vfs_sim_fail(v, VFS_OP_SYNC, 1, false, BECK_EIO);
        assert_int_equal(file_sync(f, NULL), BECK_EIO);
        assert_int_equal(file_sync(f, NULL), BECK_OK);
        file_close(f);
        assert_int_equal(read_all(v, "a", back, SECTOR), SECTOR);
        assert_int_equal(back[0], 'n'); /* the page cache has it until the power goes */
        vfs_sim_crash(v);
        assert_int_equal(read_all(v, "a", back, SECTOR), SECTOR);
        lost += back[0] == 'o';
        kept += back[0] == 'n';
        vfs_sim_free(v);
    }
    assert_int_equal(lost + kept, SEEDS);
    assert_true(lost > 10 && kept > 10);
}

/* The lost sector lies between two that are written again, and is not written itself. */
static void a_failed_sync_is_not_mended_by_syncing_its_neighbours(void **state)
{
    (void)state;
    unsigned lost = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct vfs *v = vfs_sim_new(seed);
        struct file *f = open_file(v, "a");
        uint8_t data[3 * SECTOR], back[3 * SECTOR];
        memset(data, 'o', sizeof data);
        assert_int_equal(file_write(f, data, sizeof data, 0, NULL), BECK_OK);
        assert_int_equal(file_sync(f, NULL), BECK_OK);
        assert_int_equal(vfs_sync_dir(v, "/", NULL), BECK_OK);
        memset(data, 'n', sizeof data);
        assert_int_equal(file_write(f, data, sizeof data, 0, NULL), BECK_OK);
        vfs_sim_fail(v, VFS_OP_SYNC, 1, false, BECK_EIO);
        assert_int_equal(file_sync(f, NULL), BECK_EIO);
        assert_int_equal(file_write(f, data, SECTOR, 0, NULL), BECK_OK);
        assert_int_equal(file_write(f, data, SECTOR, 2 * SECTOR, NULL), BECK_OK);
        assert_int_equal(file_sync(f, NULL), BECK_OK);
        vfs_sim_crash(v);
        file_close(f);
        assert_int_equal(read_all(v, "a", back, sizeof back), sizeof back);
        assert_memory_equal(back, data, SECTOR);
        assert_memory_equal(back + 2 * SECTOR, data, SECTOR);
        lost += back[SECTOR] == 'o';
        vfs_sim_free(v);
    }
    assert_in_range(lost, SEEDS / 5, SEEDS * 4 / 5);
}

static void faults_hit_the_call_that_was_named(void **state)
{
    (void)state;
    struct vfs *v = vfs_sim_new(1);
    struct file *f = open_file(v, "a"), *g;
    beck_error err = {0};
    vfs_sim_fail(v, VFS_OP_WRITE | VFS_OP_TRUNCATE, 3, false, BECK_EFULL);
    assert_int_equal(file_write(f, "x", 1, 0, &err), BECK_OK);
    assert_int_equal(file_sync(f, &err), BECK_OK);
    assert_int_equal(file_truncate(f, 5, &err), BECK_OK);
    assert_int_equal(file_write(f, "x", 1, 0, &err), BECK_EFULL);
    assert_int_equal(err.code, BECK_EFULL);
    assert_int_equal(file_write(f, "x", 1, 0, &err), BECK_OK);

    vfs_sim_fail(v, VFS_OP_ANY, 2, true, BECK_EIO);
    assert_int_equal(file_write(f, "x", 1, 0, &err), BECK_OK);
    assert_int_equal(vfs_open(v, "b", VFS_WRITE | VFS_CREATE, &g, &err), BECK_EIO);
    assert_int_equal(vfs_rename(v, "a", "b", &err), BECK_EIO);
    assert_int_equal(vfs_unlink(v, "a", &err), BECK_EIO);
    assert_int_equal(vfs_mkdir(v, "d", &err), BECK_EIO);
    assert_int_equal(vfs_sync_dir(v, "/", &err), BECK_EIO);
    char byte;
    size_t got;
    assert_int_equal(file_read(f, &byte, 1, 0, &got, &err), BECK_EIO);
    vfs_sim_fail(v, VFS_OP_ANY, 0, false, BECK_EIO);
    assert_int_equal(file_read(f, &byte, 1, 0, &got, &err), BECK_OK);
    assert_true(vfs_sim_calls(v, VFS_OP_WRITE) == 4);
    assert_true(vfs_sim_calls(v, VFS_OP_READ | VFS_OP_SYNC_DIR) == 3);
    file_close(f);
    vfs_sim_free(v);
}

static void a_failed_write_leaves_a_part_behind(void **state)
{
    (void)state;
    unsigned none = 0, some = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct vfs *v = vfs_sim_new(seed);
        struct file *f = open_file(v, "a");
        uint8_t data[4 * SECTOR], back[4 * SECTOR];
        memset(data, 'x', sizeof data);
        vfs_sim_fail(v, VFS_OP_WRITE, 1, false, BECK_EIO);
        assert_int_equal(file_write(f, data, sizeof data, 0, NULL), BECK_EIO);
        size_t size = read_all(v, "a", back, sizeof back), written = 0;
        for (size_t i = 0; i < size; i++) {
            assert_true(back[i] == 0 || back[i] == 'x');
            written += back[i] == 'x';
        }
        none += written == 0;
        some += written > 0 && written < sizeof data;
        file_close(f);
        vfs_sim_free(v);
    }
    assert_true(none < SEEDS / 2 && some > SEEDS / 2);
}

static void the_capacity_counts_files_and_what_is_still_open(void **state)
{
    (void)state;
    struct vfs *v = vfs_sim_new(1);
    struct file *a = open_file(v, "a"), *b = open_file(v, "b");
    static uint8_t data[1000];
    beck_error err = {0};
    vfs_sim_capacity(v, 2000);
    assert_int_equal(file_write(a, data, 1000, 0, &err), BECK_OK);
    assert_int_equal(file_truncate(b, 1001, &err), BECK_EFULL);
    assert_int_equal(file_truncate(b, 900, &err), BECK_OK);
    assert_int_equal(file_write(a, data, 101, 1000, &err), BECK_EFULL);
    assert_non_null(strstr(err.text, "no space left on device"));
    assert_int_equal(file_truncate(a, 1100, &err), BECK_OK);
    assert_int_equal(file_truncate(a, 1101, &err), BECK_EFULL);
    assert_int_equal(file_write(b, data, 900, 0, &err), BECK_OK);
    assert_int_equal(file_write(b, data, 900, 1, &err), BECK_EFULL);
    assert_int_equal(file_write(a, data, 1000, 0, &err), BECK_OK); /* over what is there */
    /* Space is back when a file has neither name nor opener. */
    assert_int_equal(vfs_unlink(v, "a", &err), BECK_OK);
    assert_int_equal(file_write(b, data, 1000, 900, &err), BECK_EFULL);
    file_close(a);
    assert_int_equal(file_write(b, data, 1000, 900, &err), BECK_OK);
    assert_int_equal(vfs_write_file(v, "c", beck_str("x"), &err), BECK_OK);
    assert_int_equal(vfs_rename(v, "c", "d", &err), BECK_OK);
    vfs_sim_capacity(v, 1901);
    assert_int_equal(vfs_write_file(v, "c", beck_str("x"), &err), BECK_EFULL);
    vfs_sim_capacity(v, 1902);
    assert_int_equal(vfs_write_file(v, "c", beck_str("x"), &err), BECK_OK);
    assert_int_equal(vfs_rename(v, "c", "d", &err), BECK_OK); /* what it replaced is given back */
    assert_int_equal(vfs_write_file(v, "e", beck_str("x"), &err), BECK_OK);
    assert_int_equal(vfs_write_file(v, "f", beck_str("x"), &err), BECK_EFULL);
    vfs_sim_capacity(v, -1);
    assert_int_equal(file_write(b, data, 1000, 5000, &err), BECK_OK);
    file_close(b);
    vfs_sim_free(v);
}

static void a_flipped_bit_is_flipped_on_the_device_too(void **state)
{
    (void)state;
    struct vfs *v = vfs_sim_new(1);
    assert_int_equal(vfs_write_file(v, "a", beck_str("abc"), NULL), BECK_OK);
    vfs_sim_flip(v, "a", 1, 0);
    uint8_t data[3];
    read_all(v, "a", data, 3);
    assert_memory_equal(data, "acc", 3);
    vfs_sim_crash(v);
    read_all(v, "a", data, 3);
    assert_memory_equal(data, "acc", 3);
    vfs_sim_free(v);
}

static void deep_and_many_directories_are_freed(void **state)
{
    (void)state;
    struct vfs *v = vfs_sim_new(1);
    char path[4000] = "";
    for (int i = 0; i < 1000; i++) {
        strcat(path, "/d");
        assert_int_equal(vfs_mkdir(v, path, NULL), BECK_OK);
    }
    vfs_sim_crash(v);
    vfs_sim_free(v);
    vfs_sim_free(NULL);
}

/* Where a synced file is after a crash amid changes of its directories: exactly one of the paths.
 */
static void assert_at_one_of(struct vfs *v, uint64_t seed, const char *a, const char *b)
{
    if (vfs_exists(v, a) == vfs_exists(v, b))
        fail_msg("\"%s\" and \"%s\": both or none, seed %llu", a, b, (unsigned long long)seed);
}

static void make_synced_dirs(struct vfs *v, const char *one, const char *two)
{
    assert_int_equal(vfs_mkdir(v, one, NULL), BECK_OK);
    if (two != NULL)
        assert_int_equal(vfs_mkdir(v, two, NULL), BECK_OK);
    assert_int_equal(vfs_sync_dir(v, "/", NULL), BECK_OK);
}

static void a_safe_file_is_not_lost_with_the_directory_that_it_moves_to(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct vfs *v = vfs_sim_new(seed);
        assert_int_equal(vfs_write_file(v, "a", beck_str("x"), NULL), BECK_OK);
        assert_int_equal(vfs_mkdir(v, "d", NULL), BECK_OK);
        assert_int_equal(vfs_rename(v, "a", "d/a", NULL), BECK_OK);
        vfs_sim_crash(v);
        assert_at_one_of(v, seed, "a", "d/a");
        vfs_sim_free(v);
    }
}

static void a_safe_file_is_not_lost_with_the_directory_that_it_leaves(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct vfs *v = vfs_sim_new(seed);
        make_synced_dirs(v, "d", NULL);
        assert_int_equal(vfs_write_file(v, "d/a", beck_str("x"), NULL), BECK_OK);
        assert_int_equal(vfs_rename(v, "d/a", "a", NULL), BECK_OK);
        assert_int_equal(vfs_rmdir(v, "d", NULL), BECK_OK);
        vfs_sim_crash(v);
        assert_at_one_of(v, seed, "a", "d/a");
        vfs_sim_free(v);
    }
}

static void a_file_moved_between_directories_has_one_name(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct vfs *v = vfs_sim_new(seed);
        make_synced_dirs(v, "d", "e");
        file_close(open_file(v, "e/a"));
        assert_int_equal(vfs_rename(v, "e/a", "d/a", NULL), BECK_OK);
        assert_int_equal(vfs_sync_dir(v, "d", NULL), BECK_OK);
        vfs_sim_crash(v);
        assert_true(vfs_exists(v, "d/a"));
        assert_false(vfs_exists(v, "e/a"));
        vfs_sim_free(v);
    }
}

/* ---- random test of one file ---- */

#define MODEL_SECTORS 24
#define IMAGES 6

struct model_sector {
    uint8_t image[IMAGES][SECTOR]; /* what the device may hold */
    int count;
    bool dirty;
};

struct model {
    struct model_sector sector[MODEL_SECTORS];
    uint8_t now[MODEL_SECTORS * SECTOR];
    size_t size, size_low, size_high; /* now; on the device */
    bool size_dirty;
};

static void model_size(struct model *m, size_t size)
{
    m->size_dirty = m->size_dirty || size != m->size;
    m->size = size;
}

static void model_dirty(struct model *m, size_t from, size_t to)
{
    for (size_t i = from / SECTOR; from < to && i <= (to - 1) / SECTOR; i++)
        m->sector[i].dirty = true;
}

static void model_write(struct model *m, const uint8_t *data, size_t len, size_t position)
{
    memcpy(m->now + position, data, len);
    model_dirty(m, position, position + len);
    if (len > 0 && position + len > m->size)
        model_size(m, position + len);
}

static void model_truncate(struct model *m, size_t size)
{
    if (size < m->size) {
        memset(m->now + size, 0, m->size - size);
        model_dirty(m, size, m->size);
    }
    model_size(m, size);
}

static void model_sync(struct model *m, bool fails)
{
    for (size_t i = 0; i < MODEL_SECTORS; i++) {
        struct model_sector *s = &m->sector[i];
        if (!s->dirty)
            continue;
        s->dirty = false;
        if (!fails)
            s->count = 0;
        memcpy(s->image[s->count++], m->now + i * SECTOR, SECTOR);
    }
    if (!fails)
        m->size_low = m->size_high = m->size;
    if (m->size_dirty && m->size < m->size_low)
        m->size_low = m->size;
    if (m->size_dirty && m->size > m->size_high)
        m->size_high = m->size;
    m->size_dirty = false;
}

static bool model_has_room(const struct model *m)
{
    for (size_t i = 0; i < MODEL_SECTORS; i++)
        if (m->sector[i].count >= IMAGES - 1)
            return false;
    return true;
}

/* Whether a file read after a crash is one that the device may hold; it is the model's then. */
static bool model_takes(struct model *m, const uint8_t *data, size_t size)
{
    model_sync(m, true); /* what is dirty may be there or not */
    if (size < m->size_low || size > m->size_high)
        return false;
    for (size_t i = 0; i * SECTOR < size; i++) {
        size_t len = size - i * SECTOR < SECTOR ? size - i * SECTOR : SECTOR;
        bool found = false;
        for (int k = 0; k < m->sector[i].count; k++)
            found = found || memcmp(m->sector[i].image[k], data + i * SECTOR, len) == 0;
        if (!found)
            return false;
    }
    memset(m->now, 0, sizeof m->now);
    memcpy(m->now, data, size);
    m->size = m->size_low = m->size_high = size;
    for (size_t i = 0; i < MODEL_SECTORS; i++) {
        memcpy(m->sector[i].image[0], m->now + i * SECTOR, SECTOR);
        m->sector[i].count = 1;
    }
    return true;
}

static void random_step(struct vfs *v, struct file *f, struct model *m, struct rng *rng)
{
    uint8_t data[4 * SECTOR];
    size_t len = 1 + (size_t)rng_below(rng, sizeof data);
    size_t position = (size_t)rng_below(rng, MODEL_SECTORS * SECTOR - len);
    if (rng_below(rng, 2) == 0) { /* aligned */
        position = position / SECTOR * SECTOR;
        len = SECTOR;
    }
    switch (rng_below(rng, 8)) {
    case 0:
        assert_int_equal(file_truncate(f, (int64_t)position, NULL), BECK_OK);
        model_truncate(m, position);
        break;
    case 1:
        assert_int_equal(file_sync(f, NULL), BECK_OK);
        model_sync(m, false);
        break;
    case 2:
        if (!model_has_room(m))
            break;
        vfs_sim_fail(v, VFS_OP_SYNC, 1, false, BECK_EIO);
        assert_int_equal(file_sync(f, NULL), BECK_EIO);
        model_sync(m, true);
        break;
    default:
        for (size_t i = 0; i < len; i++)
            data[i] = (uint8_t)rng_next(rng);
        assert_int_equal(file_write(f, data, len, (int64_t)position, NULL), BECK_OK);
        model_write(m, data, len, position);
    }
}

static void random_files_hold_after_crashes_what_the_device_may_hold(void **state)
{
    (void)state;
    static struct model m;
    static uint8_t back[MODEL_SECTORS * SECTOR];
    for (uint64_t seed = first_seed(); seed <= last_seed(40); seed++) {
        struct rng rng;
        rng_seed(&rng, seed);
        struct vfs *v = vfs_sim_new(seed);
        memset(&m, 0, sizeof m);
        assert_true(model_takes(&m, back, 0));
        file_close(open_file(v, "a"));
        assert_int_equal(vfs_sync_dir(v, "/", NULL), BECK_OK);
        for (int crash = 0; crash < 20; crash++) {
            struct file *f = open_file(v, "a");
            for (uint64_t step = rng_below(&rng, 30); step > 0; step--) {
                random_step(v, f, &m, &rng);
                size_t got;
                assert_int_equal(file_read(f, back, sizeof back, 0, &got, NULL), BECK_OK);
                assert_int_equal(got, m.size);
                assert_memory_equal(back, m.now, got);
            }
            bool killed = rng_below(&rng, 4) == 0;
            if (killed)
                vfs_sim_kill(v);
            else
                vfs_sim_crash(v);
            file_close(f);
            size_t size = read_all(v, "a", back, sizeof back);
            bool right = killed ? size == m.size && memcmp(back, m.now, size) == 0
                                : model_takes(&m, back, size);
            if (!right)
                fail_msg("seed %llu, crash %d", (unsigned long long)seed, crash);
        }
        vfs_sim_free(v);
    }
}

/* ---- random test of names ---- */

#define NAMES 5
#define HISTORY 64

/* A file is known by its content, a number. 0: no file of that name. */
struct names_model {
    unsigned history[NAMES][HISTORY]; /* since the last sync_dir, the first is on the device */
    int count[NAMES];
    unsigned last_file;
};

static unsigned *now_at(struct names_model *m, size_t name)
{
    return &m->history[name][m->count[name] - 1];
}

static void set_name(struct names_model *m, size_t name, unsigned file)
{
    m->history[name][m->count[name]++] = file;
}

static void name_path(size_t name, char path[8])
{
    snprintf(path, 8, "d/%c", (char)('a' + name));
}

static void names_synced(struct names_model *m)
{
    for (size_t i = 0; i < NAMES; i++) {
        m->history[i][0] = *now_at(m, i);
        m->count[i] = 1;
    }
}

static void random_name_step(struct vfs *v, struct names_model *m, struct rng *rng)
{
    char path[8], other[8];
    size_t a = (size_t)rng_below(rng, NAMES), b = (size_t)rng_below(rng, NAMES);
    name_path(a, path);
    name_path(b, other);
    switch (rng_below(rng, 4)) {
    case 0:
        if (*now_at(m, a) == 0) {
            struct file *f = open_file(v, path);
            unsigned file = ++m->last_file;
            assert_int_equal(file_write(f, &file, sizeof file, 0, NULL), BECK_OK);
            assert_int_equal(file_sync(f, NULL), BECK_OK);
            file_close(f);
            set_name(m, a, file);
        }
        break;
    case 1:
        assert_int_equal(vfs_unlink(v, path, NULL), *now_at(m, a) != 0 ? BECK_OK : BECK_ENOENT);
        if (*now_at(m, a) != 0)
            set_name(m, a, 0);
        break;
    case 2:
        if (rng_below(rng, 3) == 0) {
            assert_int_equal(vfs_sync_dir(v, "d", NULL), BECK_OK);
            names_synced(m);
        }
        break;
    default:
        if (a == b)
            break;
        assert_int_equal(vfs_rename(v, path, other, NULL),
                         *now_at(m, a) != 0 ? BECK_OK : BECK_ENOENT);
        if (*now_at(m, a) != 0) {
            set_name(m, b, *now_at(m, a));
            set_name(m, a, 0);
        }
    }
}

static unsigned file_at(struct vfs *v, size_t name)
{
    char path[8];
    unsigned file = 0;
    name_path(name, path);
    if (!vfs_exists(v, path))
        return 0;
    assert_int_equal(read_all(v, path, (uint8_t *)&file, sizeof file), sizeof file);
    return file;
}

/* The rules for names: each was at some time what it is now; no file has two; and a file that is on
 * the device and was neither removed nor replaced is still there. NULL: they hold. */
static const char *broken_rule(const struct names_model *m, const unsigned found[NAMES])
{
    for (size_t i = 0; i < NAMES; i++) {
        bool ever = false;
        for (int k = 0; k < m->count[i]; k++)
            ever = ever || m->history[i][k] == found[i];
        if (!ever)
            return "a name never had this file";
        for (size_t k = 0; k < i; k++)
            if (found[i] != 0 && found[i] == found[k])
                return "a file has two names";
    }
    for (size_t i = 0; i < NAMES; i++) {
        unsigned file = m->history[i][0];
        bool still = false, there = false;
        for (size_t k = 0; k < NAMES; k++) {
            still = still || m->history[k][m->count[k] - 1] == file;
            there = there || found[k] == file;
        }
        if (file != 0 && still && !there)
            return "a file is lost";
    }
    return NULL;
}

static void random_names_are_after_crashes_what_they_once_were(void **state)
{
    (void)state;
    unsigned newest = 0, older = 0;
    for (uint64_t seed = first_seed(); seed <= last_seed(40); seed++) {
        struct rng rng;
        rng_seed(&rng, seed);
        struct vfs *v = vfs_sim_new(seed);
        struct names_model m = {.count = {1, 1, 1, 1, 1}};
        assert_int_equal(vfs_mkdir(v, "d", NULL), BECK_OK);
        assert_int_equal(vfs_sync_dir(v, "/", NULL), BECK_OK);
        for (int crash = 0; crash < 20; crash++) {
            for (uint64_t step = rng_below(&rng, 25); step > 0; step--)
                random_name_step(v, &m, &rng);
            for (size_t i = 0; i < NAMES; i++)
                assert_int_equal(file_at(v, i), *now_at(&m, i));
            vfs_sim_crash(v);
            unsigned found[NAMES];
            for (size_t i = 0; i < NAMES; i++) {
                found[i] = file_at(v, i);
                newest += m.count[i] > 1 && found[i] == *now_at(&m, i);
                older += found[i] != *now_at(&m, i);
            }
            const char *rule = broken_rule(&m, found);
            if (rule != NULL)
                fail_msg("%s: seed %llu, crash %d", rule, (unsigned long long)seed, crash);
            for (size_t i = 0; i < NAMES; i++)
                set_name(&m, i, found[i]);
            names_synced(&m);
        }
        vfs_sim_free(v);
    }
    assert_true(getenv("BECK_TEST_SEED") != NULL || (newest > 100 && older > 100));
}

/* ---- threads ---- */

struct load {
    struct vfs *vfs;
    int number;
};

static void *use_disk(void *arg)
{
    struct load *l = arg;
    char path[16], moved[16];
    snprintf(path, sizeof path, "d/%d", l->number);
    snprintf(moved, sizeof moved, "d/%d.m", l->number);
    uintptr_t wrong = 0;
    for (int i = 0; i < 100; i++) {
        struct file *f;
        uint8_t data[600], back[600];
        size_t got = 0;
        memset(data, i, sizeof data);
        wrong += vfs_open(l->vfs, path, VFS_WRITE | VFS_CREATE, &f, NULL) != BECK_OK;
        wrong += file_write(f, data, sizeof data, i, NULL) != BECK_OK;
        wrong += file_sync(f, NULL) != BECK_OK;
        wrong += file_read(f, back, sizeof back, i, &got, NULL) != BECK_OK;
        wrong += got != sizeof data || memcmp(data, back, got) != 0;
        wrong += vfs_rename(l->vfs, path, moved, NULL) != BECK_OK;
        wrong += vfs_sync_dir(l->vfs, "d", NULL) != BECK_OK;
        wrong += vfs_unlink(l->vfs, moved, NULL) != BECK_OK;
        file_close(f);
    }
    return (void *)wrong;
}

static void threads_may_use_the_disk_at_once(void **state)
{
    (void)state;
    struct vfs *v = vfs_sim_new(1);
    assert_int_equal(vfs_mkdir(v, "d", NULL), BECK_OK);
    struct load loads[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        loads[i] = (struct load){v, i};
        assert_int_equal(pthread_create(&threads[i], NULL, use_disk, &loads[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    vfs_sim_free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_synced_survives_a_crash),
        cmocka_unit_test(what_was_not_synced_survives_in_every_combination),
        cmocka_unit_test(a_file_in_a_directory_that_was_not_synced_is_lost_with_it),
        cmocka_unit_test(an_end_of_the_process_keeps_all_that_was_written),
        cmocka_unit_test(a_whole_file_is_the_old_or_the_new_one_whenever_the_power_goes),
        cmocka_unit_test(a_failed_sync_loses_sectors_that_a_second_one_does_not_bring_back),
        cmocka_unit_test(a_failed_sync_is_not_mended_by_syncing_its_neighbours),
        cmocka_unit_test(faults_hit_the_call_that_was_named),
        cmocka_unit_test(a_failed_write_leaves_a_part_behind),
        cmocka_unit_test(the_capacity_counts_files_and_what_is_still_open),
        cmocka_unit_test(a_flipped_bit_is_flipped_on_the_device_too),
        cmocka_unit_test(deep_and_many_directories_are_freed),
        cmocka_unit_test(a_safe_file_is_not_lost_with_the_directory_that_it_moves_to),
        cmocka_unit_test(a_safe_file_is_not_lost_with_the_directory_that_it_leaves),
        cmocka_unit_test(a_file_moved_between_directories_has_one_name),
        cmocka_unit_test(random_files_hold_after_crashes_what_the_device_may_hold),
        cmocka_unit_test(random_names_are_after_crashes_what_they_once_were),
        cmocka_unit_test(threads_may_use_the_disk_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
