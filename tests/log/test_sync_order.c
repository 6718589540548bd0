/*
 * Syncs of one partition come one after the other, and a segment begins only once the one before it
 * is on the device. On a disk whose syncs take long, so that others would overtake them.
 */
#include "world.h"

#include "base/vfs_impl.h"

#include <sched.h>

static const struct vfs_ops *disk;
static struct vfs_ops slow_disk;
static const struct file_ops *files;
static struct file_ops slow_files;
static _Atomic(int) syncing; /* syncs of logs that run */
static _Atomic(int) begun;   /* so far */
static _Atomic(int) overtaken;

static beck_status slow_sync(struct file *f, beck_error *err)
{
    atomic_fetch_add(&syncing, 1);
    atomic_fetch_add(&begun, 1);
    for (int i = 0; i < 3000; i++)
        sched_yield();
    beck_status status = files->sync(f, err);
    atomic_fetch_sub(&syncing, 1);
    return status;
}

static beck_status slow_open(struct vfs *v, const char *path, unsigned flags, struct file **out,
                             beck_error *err)
{
    beck_status status = disk->open(v, path, flags, out, err);
    if (status || strstr(path, "index") || strstr(path, "metadata") || strstr(path, "checkpoint"))
        return status;
    if (!files) {
        files = (*out)->ops;
        slow_files = *files;
        slow_files.sync = slow_sync;
    }
    (*out)->ops = &slow_files;
    return BECK_OK;
}

/* A segment gets its name. */
static beck_status watching_rename(struct vfs *v, const char *from, const char *to, beck_error *err)
{
    if (strstr(to, ".log") && atomic_load(&syncing) > 0)
        atomic_fetch_add(&overtaken, 1);
    return disk->rename(v, from, to, err);
}

static void world_slow(struct world *w)
{
    world_open(w, 1);
    disk = w->vfs->ops;
    slow_disk = *disk;
    slow_disk.open = slow_open;
    slow_disk.rename = watching_rename;
    w->vfs->ops = &slow_disk;
    files = NULL;
    atomic_store(&syncing, 0);
    atomic_store(&overtaken, 0);
}

static void *sync_once(void *arg)
{
    assert_int_equal(partition_sync(arg, NULL), 0);
    return NULL;
}

/* Starts a sync on a thread of its own, and returns once it is on its way to the device. */
static pthread_t begin_sync(struct partition *p)
{
    pthread_t thread;
    int before = atomic_load(&begun);
    pthread_create(&thread, NULL, sync_once, p);
    while (atomic_load(&begun) == before)
        sched_yield();
    return thread;
}

static void a_recovery_point_is_given_only_for_what_is_on_the_device(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct world w;
        int64_t recovery_point, log_start;
        world_slow(&w);
        struct partition *p = world_partition(&w, 0, 0);
        assert_int_equal(put_event(p, "s", "data", BECK_LEVEL_WRITTEN, NULL), 0);
        pthread_t thread = begin_sync(p);
        assert_int_equal(partition_checkpoint(p, &recovery_point, &log_start, NULL), 0);
        assert_int_equal(recovery_point, 1);
        /* The one that ran was waited for. */
        assert_int_equal(atomic_load(&syncing), 0);
        pthread_join(thread, NULL);
        partition_abandon(p);
        w.vfs->ops = disk;
        world_close(&w);
    }
}

static void a_segment_begins_once_the_sync_of_the_one_before_it_is_over(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct world w;
        world_slow(&w);
        struct partition *p = world_partition(&w, 0, 0);
        char text[1000];
        memset(text, 'x', sizeof text - 1);
        text[sizeof text - 1] = 0;
        for (int k = 0; k < 3; k++)
            assert_int_equal(put_event(p, "s", text, BECK_LEVEL_WRITTEN, NULL), 0);
        pthread_t thread = begin_sync(p);
        /* Too much for the segment. */
        for (int k = 0; k < 3; k++)
            assert_int_equal(put_event(p, "s", text, BECK_LEVEL_WRITTEN, NULL), 0);
        pthread_join(thread, NULL);
        assert_int_equal(segments_of(p), 2);
        assert_int_equal(atomic_load(&overtaken), 0);
        partition_abandon(p);
        w.vfs->ops = disk;
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recovery_point_is_given_only_for_what_is_on_the_device),
        cmocka_unit_test(a_segment_begins_once_the_sync_of_the_one_before_it_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
