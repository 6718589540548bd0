/* The contract of a vfs, on the system's disk and on the simulated one. */
#include "base/vfs.h"
#include "base/bytes.h"
#include "base/common.h"
#include "base/rng.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

struct disk {
    struct vfs *vfs;
    bool simulated;
    char dir[64];
    char path[8][96];
    int next_path;
};

static int setup_posix(void **state)
{
    struct disk *d = calloc(1, sizeof *d);
    d->vfs = vfs_posix();
    strcpy(d->dir, "/tmp/beck-test-vfs-XXXXXX");
    assert_non_null(mkdtemp(d->dir));
    *state = d;
    return 0;
}

static int setup_sim(void **state)
{
    struct disk *d = calloc(1, sizeof *d);
    d->vfs = vfs_sim_new(1);
    d->simulated = true;
    strcpy(d->dir, "/data");
    assert_int_equal(vfs_mkdir(d->vfs, d->dir, NULL), BECK_OK);
    *state = d;
    return 0;
}

/* Each test removes what it made: rmdir says so when it did not. */
static int teardown(void **state)
{
    struct disk *d = *state;
    beck_error err = {0};
    if (vfs_rmdir(d->vfs, d->dir, &err) != BECK_OK)
        fail_msg("%s", err.text);
    if (d->simulated)
        vfs_sim_free(d->vfs);
    free(d);
    return 0;
}

/* A path in the test's directory; the last eight stay valid. */
static const char *at(struct disk *d, const char *name)
{
    char *path = d->path[d->next_path++ % 8];
    snprintf(path, sizeof d->path[0], "%s/%s", d->dir, name);
    return path;
}

static struct file *open_new(struct disk *d, const char *name)
{
    struct file *f;
    beck_error err;
    if (vfs_open(d->vfs, at(d, name), VFS_WRITE | VFS_CREATE, &f, &err) != BECK_OK)
        fail_msg("%s", err.text);
    return f;
}

static void remove_file(struct disk *d, const char *name)
{
    assert_int_equal(vfs_unlink(d->vfs, at(d, name), NULL), BECK_OK);
}

static void assert_content(struct disk *d, const char *name, const char *expected)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(vfs_read_file(d->vfs, at(d, name), 1 << 20, &b, NULL), BECK_OK);
    assert_int_equal(buf_terminate(&b), BECK_OK);
    assert_string_equal((char *)b.data, expected);
    buf_release(&b);
}

static void opening_follows_the_flags(void **state)
{
    struct disk *d = *state;
    struct file *f = NULL;
    beck_error err = {0};
    assert_int_equal(vfs_open(d->vfs, at(d, "a"), VFS_READ, &f, &err), BECK_ENOENT);
    assert_null(f);
    assert_non_null(strstr(err.text, at(d, "a")));
    assert_int_equal(vfs_open(d->vfs, at(d, "no/a"), VFS_WRITE | VFS_CREATE, &f, &err),
                     BECK_ENOENT);
    unsigned exclusive = VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE;
    assert_int_equal(vfs_open(d->vfs, at(d, "a"), exclusive, &f, &err), BECK_OK);
    assert_int_equal(file_write(f, "hello", 5, 0, &err), BECK_OK);
    file_close(f);
    assert_int_equal(vfs_open(d->vfs, at(d, "a"), exclusive, &f, &err), BECK_EEXIST);
    f = open_new(d, "a");
    file_close(f);
    assert_content(d, "a", "hello");
    assert_int_equal(vfs_open(d->vfs, at(d, "a"), VFS_READ, &f, &err), BECK_OK);
    assert_int_equal(file_write(f, "x", 1, 0, &err), BECK_EIO);
    file_close(f);
    assert_int_equal(vfs_open(d->vfs, at(d, "a"), VFS_WRITE | VFS_TRUNCATE, &f, &err), BECK_OK);
    int64_t size = -1;
    assert_int_equal(file_size(f, &size, &err), BECK_OK);
    assert_true(size == 0);
    file_close(f);
    file_close(NULL);
    remove_file(d, "a");
}

static void reading_ends_at_the_end_of_the_file(void **state)
{
    struct disk *d = *state;
    struct file *f = open_new(d, "a");
    char data[10];
    size_t got = 99;
    assert_int_equal(file_read(f, data, 10, 0, &got, NULL), BECK_OK);
    assert_int_equal(got, 0);
    assert_int_equal(file_write(f, "hello", 5, 0, NULL), BECK_OK);
    assert_int_equal(file_read(f, data, 3, 1, &got, NULL), BECK_OK);
    assert_int_equal(got, 3);
    assert_memory_equal(data, "ell", 3);
    assert_int_equal(file_read(f, data, 10, 2, &got, NULL), BECK_OK);
    assert_int_equal(got, 3);
    assert_int_equal(file_read(f, data, 10, 5, &got, NULL), BECK_OK);
    assert_int_equal(got, 0);
    assert_int_equal(file_read(f, data, 10, INT64_C(1) << 40, &got, NULL), BECK_OK);
    assert_int_equal(got, 0);
    file_close(f);
    remove_file(d, "a");
}

static void what_is_warm_is_read_as_ever_and_what_is_not_is_said_to_be_cold(void **state)
{
    struct disk *d = *state;
    char read[16] = {0};
    size_t got = 0;
    beck_error err;
    struct file *f = open_new(d, "a");
    assert_int_equal(file_write(f, "0123456789", 10, 0, &err), BECK_OK);
    beck_status status = file_read_how(f, VFS_WARM_ONLY, read, 4, 3, &got, &err);
    if (d->simulated || status != BECK_OK) {
        assert_int_equal(status, VFS_COLD);
    } else {
        assert_int_equal(got, 4);
        assert_memory_equal(read, "3456", 4);
        assert_int_equal(file_read_how(f, VFS_WARM_ONLY, read, sizeof read, 8, &got, &err),
                         BECK_OK);
        assert_int_equal(got, 2);
        assert_memory_equal(read, "89", 2);
    }
    file_close(f);
    remove_file(d, "a");
}

static void a_gap_reads_as_zeros(void **state)
{
    struct disk *d = *state;
    struct file *f = open_new(d, "a");
    assert_int_equal(file_write(f, "x", 1, 5000, NULL), BECK_OK);
    uint8_t data[5001];
    size_t got;
    assert_int_equal(file_read(f, data, sizeof data, 0, &got, NULL), BECK_OK);
    assert_int_equal(got, 5001);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(data[i], 0);
    /* So do bytes that were cut off and are given back. */
    assert_int_equal(file_write(f, "yyyy", 4, 0, NULL), BECK_OK);
    assert_int_equal(file_truncate(f, 2, NULL), BECK_OK);
    assert_int_equal(file_truncate(f, 4, NULL), BECK_OK);
    assert_int_equal(file_sync(f, NULL), BECK_OK);
    assert_int_equal(file_read(f, data, sizeof data, 0, &got, NULL), BECK_OK);
    assert_int_equal(got, 4);
    assert_memory_equal(data, "yy\0\0", 4);
    file_close(f);
    remove_file(d, "a");
}

static void a_gathered_write_of_very_many_parts_is_whole(void **state)
{
    struct disk *d = *state;
    enum { PARTS = 3000 };
    static uint8_t bytes[PARTS * 3], back[PARTS * 3 + 10];
    static struct iovec parts[PARTS];
    size_t len = 0;
    for (int i = 0; i < PARTS; i++) {
        size_t n = (size_t)(i % 4);
        if (len + n > sizeof bytes)
            n = 0;
        parts[i] = (struct iovec){.iov_base = bytes + len, .iov_len = n};
        for (size_t k = 0; k < n; k++)
            bytes[len++] = (uint8_t)(i + (int)k * 3);
    }
    struct file *f = open_new(d, "a");
    beck_error err;
    assert_int_equal(file_writev(f, parts, PARTS, 7, &err), BECK_OK);
    assert_int_equal(file_writev(f, parts, 0, 7, &err), BECK_OK);
    size_t got;
    assert_int_equal(file_read(f, back, sizeof back, 7, &got, NULL), BECK_OK);
    assert_int_equal(got, len);
    assert_memory_equal(back, bytes, len);
    file_close(f);
    remove_file(d, "a");
}

static void renaming_replaces_the_target(void **state)
{
    struct disk *d = *state;
    beck_error err;
    assert_int_equal(vfs_write_file(d->vfs, at(d, "a"), beck_str("A"), NULL), BECK_OK);
    assert_int_equal(vfs_write_file(d->vfs, at(d, "b"), beck_str("B"), NULL), BECK_OK);
    assert_int_equal(vfs_rename(d->vfs, at(d, "a"), at(d, "b"), &err), BECK_OK);
    assert_false(vfs_exists(d->vfs, at(d, "a")));
    assert_content(d, "b", "A");
    assert_int_equal(vfs_rename(d->vfs, at(d, "a"), at(d, "b"), &err), BECK_ENOENT);
    assert_int_equal(vfs_rename(d->vfs, at(d, "b"), at(d, "b"), &err), BECK_OK);
    assert_int_equal(vfs_mkdir(d->vfs, at(d, "sub"), &err), BECK_OK);
    assert_int_equal(vfs_rename(d->vfs, at(d, "b"), at(d, "sub"), &err), BECK_EIO);
    assert_int_equal(vfs_rename(d->vfs, at(d, "sub"), at(d, "b"), &err), BECK_EIO);
    assert_int_equal(vfs_rename(d->vfs, at(d, "b"), at(d, "sub/c"), &err), BECK_OK);
    assert_int_equal(vfs_rename(d->vfs, at(d, "sub"), at(d, "sub2"), &err), BECK_OK);
    assert_content(d, "sub2/c", "A");
    remove_file(d, "sub2/c");
    assert_int_equal(vfs_rmdir(d->vfs, at(d, "sub2"), &err), BECK_OK);
}

static void an_unlinked_file_lives_while_it_is_open(void **state)
{
    struct disk *d = *state;
    struct file *f = open_new(d, "a");
    assert_int_equal(file_write(f, "hello", 5, 0, NULL), BECK_OK);
    remove_file(d, "a");
    assert_int_equal(vfs_unlink(d->vfs, at(d, "a"), NULL), BECK_ENOENT);
    char data[5];
    size_t got;
    assert_int_equal(file_read(f, data, 5, 0, &got, NULL), BECK_OK);
    assert_memory_equal(data, "hello", 5);
    assert_int_equal(file_sync(f, NULL), BECK_OK);
    file_close(f);
}

static void directories_are_made_and_removed_when_empty(void **state)
{
    struct disk *d = *state;
    beck_error err;
    assert_int_equal(vfs_mkdir(d->vfs, at(d, "sub"), &err), BECK_OK);
    assert_int_equal(vfs_mkdir(d->vfs, at(d, "sub"), &err), BECK_EEXIST);
    assert_int_equal(vfs_mkdir(d->vfs, at(d, "no/sub"), &err), BECK_ENOENT);
    file_close(open_new(d, "sub/a"));
    assert_int_equal(vfs_rmdir(d->vfs, at(d, "sub"), &err), BECK_EIO);
    assert_int_equal(vfs_unlink(d->vfs, at(d, "sub"), &err), BECK_EIO);
    assert_int_equal(vfs_rmdir(d->vfs, at(d, "sub/a"), &err), BECK_EIO);
    assert_int_equal(vfs_sync_dir(d->vfs, at(d, "sub"), &err), BECK_OK);
    assert_int_equal(vfs_sync_dir(d->vfs, at(d, "sub/a"), &err), BECK_EIO);
    assert_int_equal(vfs_sync_dir(d->vfs, at(d, "no"), &err), BECK_ENOENT);
    remove_file(d, "sub/a");
    assert_int_equal(vfs_rmdir(d->vfs, at(d, "sub"), &err), BECK_OK);
    assert_int_equal(vfs_rmdir(d->vfs, at(d, "sub"), &err), BECK_ENOENT);
}

struct seen {
    unsigned files, dirs;
    int stop_after, calls;
};

static int note(void *ctx, const char *name, bool is_dir)
{
    struct seen *s = ctx;
    unsigned bit = 1u << (name[0] - 'a');
    assert_int_equal(strlen(name), 1);
    assert_int_equal((s->files | s->dirs) & bit, 0);
    *(is_dir ? &s->dirs : &s->files) |= bit;
    return ++s->calls == s->stop_after;
}

static void a_listing_has_every_entry_once_and_can_be_ended(void **state)
{
    struct disk *d = *state;
    struct seen all = {0}, some = {.stop_after = 2}, none = {0};
    assert_int_equal(vfs_list(d->vfs, d->dir, note, &none, NULL), BECK_OK);
    assert_int_equal(none.calls, 0);
    file_close(open_new(d, "a"));
    file_close(open_new(d, "b"));
    assert_int_equal(vfs_mkdir(d->vfs, at(d, "c"), NULL), BECK_OK);
    assert_int_equal(vfs_list(d->vfs, d->dir, note, &all, NULL), BECK_OK);
    assert_int_equal(all.files, 3);
    assert_int_equal(all.dirs, 4);
    assert_int_equal(vfs_list(d->vfs, d->dir, note, &some, NULL), BECK_OK);
    assert_int_equal(some.calls, 2);
    beck_error err;
    assert_int_equal(vfs_list(d->vfs, at(d, "no"), note, &some, &err), BECK_ENOENT);
    assert_int_equal(vfs_list(d->vfs, at(d, "a"), note, &some, &err), BECK_EIO);
    assert_true(vfs_exists(d->vfs, at(d, "c")));
    assert_false(vfs_exists(d->vfs, at(d, "d")));
    remove_file(d, "a");
    remove_file(d, "b");
    assert_int_equal(vfs_rmdir(d->vfs, at(d, "c"), NULL), BECK_OK);
}

static void a_whole_file_is_replaced_and_leaves_no_temporary_one(void **state)
{
    struct disk *d = *state;
    beck_error err = {0};
    assert_int_equal(vfs_write_file(d->vfs, at(d, "a"), beck_str("first"), &err), BECK_OK);
    assert_int_equal(vfs_write_file(d->vfs, at(d, "a"), beck_str("2nd"), &err), BECK_OK);
    assert_content(d, "a", "2nd");
    assert_int_equal(vfs_write_file(d->vfs, at(d, "a"), beck_str(NULL), &err), BECK_OK);
    assert_content(d, "a", "");
    assert_false(vfs_exists(d->vfs, at(d, "a.tmp")));
    assert_int_equal(vfs_write_file(d->vfs, at(d, "no/a"), beck_str("x"), &err), BECK_ENOENT);
    remove_file(d, "a");
}

static void a_whole_file_that_is_too_large_is_refused(void **state)
{
    struct disk *d = *state;
    beck_error err = {0};
    struct buf b;
    buf_init(&b, 8);
    assert_int_equal(buf_append_text(&b, "before"), BECK_OK);
    assert_int_equal(vfs_write_file(d->vfs, at(d, "a"), beck_str("123456789"), &err), BECK_OK);
    assert_int_equal(vfs_read_file(d->vfs, at(d, "a"), 8, &b, &err), BECK_ELIMIT);
    assert_non_null(strstr(err.text, at(d, "a")));
    assert_non_null(strstr(err.text, "has 9 bytes, more than the 8 that"));
    assert_int_equal(vfs_read_file(d->vfs, at(d, "a"), 100, &b, &err), BECK_ELIMIT);
    assert_int_equal(vfs_read_file(d->vfs, at(d, "no"), 100, &b, &err), BECK_ENOENT);
    assert_true(bytes_equal_text(buf_bytes(&b), "before"));
    assert_int_equal(vfs_write_file(d->vfs, at(d, "a"), beck_str("12345678"), &err), BECK_OK);
    assert_int_equal(vfs_read_file(d->vfs, at(d, "a"), 8, &b, &err), BECK_OK);
    assert_true(bytes_equal_text(buf_bytes(&b), "12345678"));
    assert_int_equal(b.max, 8);
    buf_release(&b);
    remove_file(d, "a");
}

static void a_lock_is_exclusive_and_names_its_holder(void **state)
{
    struct disk *d = *state;
    struct file *lock = NULL, *second = NULL;
    beck_error err = {0};
    char pid[32];
    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_int_equal(vfs_lock(d->vfs, at(d, "lock"), &lock, &err), BECK_OK);
    assert_int_equal(vfs_lock(d->vfs, at(d, "lock"), &second, &err), BECK_EBUSY);
    assert_null(second);
    assert_non_null(strstr(err.text, at(d, "lock")));
    assert_non_null(strstr(err.text, pid));
    file_close(open_new(d, "lock")); /* opening the file without locking it changes nothing */
    assert_int_equal(vfs_lock(d->vfs, at(d, "lock"), &second, &err), BECK_EBUSY);
    file_close(lock);
    assert_int_equal(vfs_lock(d->vfs, at(d, "lock"), &lock, &err), BECK_OK);
    file_close(lock);
    remove_file(d, "lock");
}

/* The same random calls give the same bytes and sizes as a plain array. */
static void random_writes_reads_and_truncations_match_an_array(void **state)
{
    struct disk *d = *state;
    enum { MAX = 20000 };
    static uint8_t model[MAX], back[MAX], data[3000];
    for (uint64_t seed = first_seed(); seed <= last_seed(3); seed++) {
        struct rng rng;
        rng_seed(&rng, seed);
        struct file *f = open_new(d, "a");
        memset(model, 0, sizeof model);
        int64_t size = 0;
        for (int step = 0; step < 400; step++) {
            int64_t position = (int64_t)rng_below(&rng, MAX - sizeof data);
            size_t len = (size_t)rng_below(&rng, sizeof data);
            if (rng_below(&rng, 8) == 0) {
                assert_int_equal(file_truncate(f, position, NULL), BECK_OK);
                if (position < size)
                    memset(model + position, 0, (size_t)(size - position));
                size = position;
                continue;
            }
            for (size_t i = 0; i < len; i++)
                data[i] = (uint8_t)rng_next(&rng);
            assert_int_equal(file_write(f, data, len, position, NULL), BECK_OK);
            memcpy(model + position, data, len);
            if (len > 0 && position + (int64_t)len > size)
                size = position + (int64_t)len;
            int64_t got_size;
            size_t got;
            assert_int_equal(file_size(f, &got_size, NULL), BECK_OK);
            assert_int_equal(file_read(f, back, MAX, 0, &got, NULL), BECK_OK);
            if (got_size != size || got != (size_t)size || memcmp(back, model, got) != 0)
                fail_msg("seed %llu, step %d", (unsigned long long)seed, step);
        }
        file_close(f);
        remove_file(d, "a");
    }
}

/* Only the system's disk has other processes. */
static void a_lock_goes_with_its_process(void **state)
{
    struct disk *d = *state;
    int ready[2], end[2];
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(end), 0);
    const char *path = at(d, "lock");
    pid_t child = fork();
    if (child == 0) {
        struct file *held;
        char byte = vfs_lock(d->vfs, path, &held, NULL) == BECK_OK ? 'y' : 'n';
        close(end[1]);
        if (write(ready[1], &byte, 1) != 1 || read(end[0], &byte, 1) != 0)
            _exit(1);
        _exit(0); /* without closing */
    }
    char byte = 0, pid[32];
    close(end[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    struct file *lock;
    beck_error err = {0};
    snprintf(pid, sizeof pid, "process %ld (", (long)child); /* its command line */
    assert_int_equal(vfs_lock(d->vfs, path, &lock, &err), BECK_EBUSY);
    assert_non_null(strstr(err.text, pid));
    close(end[1]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(vfs_lock(d->vfs, path, &lock, &err), BECK_OK);
    file_close(lock);
    close(ready[0]);
    close(ready[1]);
    remove_file(d, "lock");
}

static void a_child_cannot_change_what_its_parent_opened(void **state)
{
    struct disk *d = *state;
    struct file *f = open_new(d, "a");
    char text[8] = "";
    size_t got;
    assert_int_equal(file_write(f, "parent", 6, 0, NULL), BECK_OK);
    pid_t child = fork();
    if (child == 0) {
        beck_error err = {0};
        struct file *own;
        bool refused = file_write(f, "child", 5, 0, &err) == BECK_EIO &&
                       strstr(err.text, "fork") != NULL && file_truncate(f, 0, NULL) == BECK_EIO;
        bool reads = file_read(f, text, 6, 0, &got, NULL) == BECK_OK && got == 6;
        bool writes = vfs_open(d->vfs, at(d, "b"), VFS_WRITE | VFS_CREATE, &own, NULL) == BECK_OK &&
                      file_write(own, "x", 1, 0, NULL) == BECK_OK;
        _exit(refused && reads && writes ? 0 : 1);
    }
    int ended;
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_int_equal(ended, 0);
    assert_int_equal(file_read(f, text, 6, 0, &got, NULL), BECK_OK);
    assert_string_equal(text, "parent");
    assert_int_equal(file_write(f, "still", 5, 0, NULL), BECK_OK);
    file_close(f);
    remove_file(d, "a");
    remove_file(d, "b");
}

static void a_full_device_is_told_from_a_broken_one(void **state)
{
    (void)state;
    struct file *f;
    beck_error err = {0};
    if (access("/dev/full", W_OK) != 0)
        skip();
    assert_int_equal(vfs_open(vfs_posix(), "/dev/full", VFS_WRITE, &f, &err), BECK_OK);
    assert_int_equal(file_write(f, "x", 1, 0, &err), BECK_EFULL);
    assert_non_null(strstr(err.text, "\"/dev/full\""));
    file_close(f);
}

#define ON_BOTH(name)                                                                              \
    {"posix: " #name, name, setup_posix, teardown, NULL},                                          \
    {                                                                                              \
        "sim: " #name, name, setup_sim, teardown, NULL                                             \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(opening_follows_the_flags),
        ON_BOTH(reading_ends_at_the_end_of_the_file),
        ON_BOTH(what_is_warm_is_read_as_ever_and_what_is_not_is_said_to_be_cold),
        ON_BOTH(a_gap_reads_as_zeros),
        ON_BOTH(a_gathered_write_of_very_many_parts_is_whole),
        ON_BOTH(renaming_replaces_the_target),
        ON_BOTH(an_unlinked_file_lives_while_it_is_open),
        ON_BOTH(directories_are_made_and_removed_when_empty),
        ON_BOTH(a_listing_has_every_entry_once_and_can_be_ended),
        ON_BOTH(a_whole_file_is_replaced_and_leaves_no_temporary_one),
        ON_BOTH(a_whole_file_that_is_too_large_is_refused),
        ON_BOTH(a_lock_is_exclusive_and_names_its_holder),
        ON_BOTH(random_writes_reads_and_truncations_match_an_array),
        {"posix: a_child_cannot_change_what_its_parent_opened",
         a_child_cannot_change_what_its_parent_opened, setup_posix, teardown, NULL},
        {"posix: a_lock_goes_with_its_process", a_lock_goes_with_its_process, setup_posix, teardown,
         NULL},
        cmocka_unit_test(a_full_device_is_told_from_a_broken_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
