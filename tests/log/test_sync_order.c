/*
 * Syncs of one partition come one after the other, and a segment begins only once the one before it
 * is on the device. On a disk whose syncs take long, so that others would overtake them.
 */
#include "world.h"
#include "produced.h"

#include "base/vfs_impl.h"
#include "log/partition_impl.h"
#include "support/thread_sleeps.h"

#include <sched.h>
#include <unistd.h>

static const struct vfs_ops *disk;
static struct vfs_ops slow_disk;
static const struct file_ops *files;
static struct file_ops slow_files;
static _Atomic(int) syncing; /* syncs of logs that run */
static _Atomic(int) begun;   /* so far */
static _Atomic(int) overtaken;
static pid_t first; /* the thread of the test */

/* One on another thread takes until the test waits, for this or after it went on without. */
static beck_status slow_sync(struct file *f, beck_error *err)
{
    atomic_fetch_add(&syncing, 1);
    atomic_fetch_add(&begun, 1);
    while (gettid() != first && !thread_sleeps(first))
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
    first = gettid();
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

/* ---- nobody waits for the lock meanwhile ---- */

static struct partition *watched;
static int syncs;

static beck_status watching_sync(struct file *f, beck_error *err)
{
    assert_false(mutex_held(&watched->lock));
    syncs++;
    return files->sync(f, err);
}

static beck_status watching_sync_dir(struct vfs *v, const char *path, beck_error *err)
{
    assert_false(watched && mutex_held(&watched->lock));
    return disk->sync_dir(v, path, err);
}

static beck_status watching_open(struct vfs *v, const char *path, unsigned flags, struct file **out,
                                 beck_error *err)
{
    beck_status status = disk->open(v, path, flags, out, err);
    if (status)
        return status;
    files = (*out)->ops;
    slow_files = *files;
    slow_files.sync = watching_sync;
    (*out)->ops = &slow_files;
    return BECK_OK;
}

static void the_lock_is_free_during_every_sync(void **state)
{
    struct world w;
    int64_t offset, recovery_point, log_start;
    char text[1000] = {0};
    (void)state;
    memset(text, 'x', sizeof text - 1);
    world_open(&w, 1);
    disk = w.vfs->ops;
    slow_disk = *disk;
    slow_disk.open = watching_open;
    slow_disk.sync_dir = watching_sync_dir;
    w.vfs->ops = &slow_disk;
    syncs = 0;
    struct partition *p = watched = world_partition(&w, 0, 0);
    for (int32_t i = 0; i < 20; i++) {
        assert_int_equal(produce_one(p, 7, i, text, BECK_LEVEL_WRITTEN, &offset), 0);
        if (i % 7 == 0)
            assert_int_equal(partition_checkpoint(p, &recovery_point, &log_start, NULL), 0);
    }
    assert_true(segments_of(p) > 3 && syncs > 12);
    assert_int_equal(partition_maintain(p, NULL, NULL), 0);
    assert_int_equal(partition_maintain(p, NULL, NULL), 0);
    assert_int_equal(partition_checkpoint(p, &recovery_point, &log_start, NULL), 0);
    partition_abandon(p);
    watched = NULL;
    w.vfs->ops = disk;
    world_close(&w);
}

/* ---- what waited for a sync is handed on ---- */

static _Atomic(int) in_hook, overlaps, hook_calls;
static _Atomic(pid_t) other_thread; /* that syncs */
static pthread_t other;

static void append_routed(struct partition *p)
{
    beck_event e = {.type = beck_str("t.x")};
    const beck_event *list[] = {&e};
    struct routed route = {.route = &in_hook, .count = 1};
    struct append a = {.events = list,
                       .count = 1,
                       .routes = &route,
                       .route_count = 1,
                       .level = BECK_LEVEL_WRITTEN};
    assert_int_equal(partition_append(p, &a, NULL), 0);
}

static void *sync_and_say_who(void *arg)
{
    atomic_store(&other_thread, gettid());
    return sync_once(arg);
}

/* While the first event is handed on, another thread syncs the second. */
static void slow_hook(void *ctx, struct partition *p, const struct routed *items, size_t count)
{
    (void)ctx;
    if (atomic_fetch_add(&in_hook, 1) > 0)
        atomic_fetch_add(&overlaps, 1);
    assert_int_equal(count, 1);
    int call = atomic_fetch_add(&hook_calls, 1);
    assert_int_equal(items[0].offset, call);
    if (call == 0) {
        append_routed(p);
        pthread_create(&other, NULL, sync_and_say_who, p);
        while (atomic_load(&overlaps) == 0 &&
               (partition_synced(p) < 2 || !thread_sleeps(atomic_load(&other_thread))))
            sched_yield();
    }
    atomic_fetch_sub(&in_hook, 1);
}

static void routes_are_handed_on_one_sync_after_the_other(void **state)
{
    struct world w;
    (void)state;
    world_open(&w, 1);
    w.options.bus.read_synced = true;
    w.options.routed = slow_hook;
    struct partition *p = world_partition(&w, 0, 0);
    append_routed(p);
    assert_int_equal(partition_sync(p, NULL), 0);
    pthread_join(other, NULL);
    assert_int_equal(atomic_load(&overlaps), 0);
    assert_int_equal(atomic_load(&hook_calls), 2);
    partition_abandon(p);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recovery_point_is_given_only_for_what_is_on_the_device),
        cmocka_unit_test(a_segment_begins_once_the_sync_of_the_one_before_it_is_over),
        cmocka_unit_test(the_lock_is_free_during_every_sync),
        cmocka_unit_test(routes_are_handed_on_one_sync_after_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
