/* Both disks when memory runs out: each call fails with BECK_ENOMEM or works, and nothing leaks. */
#include "base/vfs.h"
#include "base/bytes.h"
#include "base/common.h"
#include "support/failing_malloc.h"

#include <stdio.h>

struct outcome {
    int failed;
    bool other_error;
};

static void note(struct outcome *o, beck_status status)
{
    if (status == BECK_ENOMEM)
        o->failed++;
    else if (status != BECK_OK)
        o->other_error = true;
}

static int each(void *ctx, const char *name, bool is_dir)
{
    (void)ctx;
    (void)name;
    (void)is_dir;
    return 0;
}

/* One call of everything, each only when those before it worked. */
static struct outcome use_everything(struct vfs *v, const char *dir)
{
    struct outcome o = {0};
    char a[96], b[96], temporary[96], sub[96], lock_path[96];
    struct file *f = NULL, *lock = NULL;
    struct buf content;
    buf_init(&content, 100);
    snprintf(a, sizeof a, "%s/a", dir);
    snprintf(b, sizeof b, "%s/b", dir);
    snprintf(temporary, sizeof temporary, "%s/b.tmp", dir);
    snprintf(sub, sizeof sub, "%s/sub", dir);
    snprintf(lock_path, sizeof lock_path, "%s/lock", dir);
    note(&o, vfs_mkdir(v, dir, NULL));
    if (o.failed == 0)
        note(&o, vfs_lock(v, lock_path, &lock, NULL));
    if (o.failed == 0)
        note(&o, vfs_open(v, a, VFS_WRITE | VFS_CREATE, &f, NULL));
    if (o.failed == 0)
        note(&o, file_write(f, "hello", 5, 5000, NULL));
    if (o.failed == 0)
        note(&o, file_truncate(f, 10000, NULL));
    if (o.failed == 0)
        note(&o, file_sync(f, NULL));
    if (o.failed == 0)
        note(&o, vfs_mkdir(v, sub, NULL));
    if (o.failed == 0)
        note(&o, vfs_rename(v, a, b, NULL));
    if (o.failed == 0)
        note(&o, vfs_sync_dir(v, dir, NULL));
    if (o.failed == 0)
        note(&o, vfs_list(v, dir, each, NULL, NULL));
    if (o.failed == 0)
        note(&o, vfs_write_file(v, b, beck_str("text"), NULL));
    if (o.failed == 0)
        note(&o, vfs_read_file(v, b, 100, &content, NULL));
    if (o.failed == 0)
        assert_true(bytes_equal_text(buf_bytes(&content), "text"));
    failing_malloc_at(0, false);
    file_close(f);
    file_close(lock);
    buf_release(&content);
    /* Removing a name takes memory on the simulated disk, so a temporary file may be left. */
    const char *const files[] = {a, b, temporary, lock_path};
    for (size_t i = 0; i < 4; i++)
        (void)vfs_unlink(v, files[i], NULL);
    (void)vfs_rmdir(v, sub, NULL);
    (void)vfs_rmdir(v, dir, NULL);
    return o;
}

static void every_allocation_may_fail(struct vfs *v, const char *dir)
{
    long n = 1;
    struct outcome o;
    do {
        failing_malloc_at(n, true);
        o = use_everything(v, dir);
        assert_false(o.other_error);
        assert_false(vfs_exists(v, dir));
        n++;
    } while (o.failed > 0);
    assert_true(n > 5);
}

static void the_system_disk_says_when_memory_is_short(void **state)
{
    (void)state;
    char base[] = "/tmp/beck-test-memory-XXXXXX", dir[64];
    assert_non_null(mkdtemp(base));
    snprintf(dir, sizeof dir, "%s/d", base);
    every_allocation_may_fail(vfs_posix(), dir);
    assert_int_equal(vfs_rmdir(vfs_posix(), base, NULL), BECK_OK);
}

static void the_simulated_disk_says_when_memory_is_short(void **state)
{
    (void)state;
    struct vfs *v = vfs_sim_new(1);
    every_allocation_may_fail(v, "/d");
    assert_int_equal(vfs_sync_dir(v, "/", NULL), BECK_OK);
    vfs_sim_crash(v);
    assert_false(vfs_exists(v, "/d"));
    vfs_sim_free(v);

    failing_malloc_at(1, true);
    assert_null(vfs_sim_new(1));
    failing_malloc_at(2, true);
    assert_null(vfs_sim_new(1));
    failing_malloc_at(0, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_system_disk_says_when_memory_is_short),
        cmocka_unit_test(the_simulated_disk_says_when_memory_is_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
