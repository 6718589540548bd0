/* What publishing may cost: allocations in memory, syncs on disk. */
#include "common.h"

#include "api/handle.h"
#include "base/vfs_impl.h"
#include "log/partition_impl.h"
#include "support/failing_malloc.h"

#include <sched.h>
#include <stdatomic.h>

/* ---- allocations ---- */

static int count_calls(void *ctx, const beck_event *event)
{
    (void)event;
    ++*(int *)ctx;
    return 0;
}

struct passing {
    beck_bus *to;
};

static int pass_on(void *ctx, const beck_event *event)
{
    struct passing *p = ctx;
    beck_event effect = {.type = event->type};
    return beck_publish(p->to, &effect, NULL);
}

static void publishing_in_memory_allocates_nothing(void **state)
{
    (void)state;
    beck *b = open_memory();
    beck_bus *bus = make_bus(b, "shop", NULL), *effects = make_bus(b, "effects", NULL);
    int calls = 0;
    struct passing p = {effects};
    must(beck_subscribe(bus, "order.*", count_calls, &calls, NULL, NULL, &err));
    must(beck_subscribe(bus, "#", count_calls, &calls, NULL, NULL, &err));
    must(beck_subscribe(bus, "order.#", pass_on, &p, NULL, NULL, &err));
    must(beck_subscribe(effects, "#", count_calls, &calls, NULL, NULL, &err));
    const char *const types[] = {"order.created", "order.paid", "user.created"};
    const beck_attribute extension = {beck_str("traceparent"), beck_str("00-1-1-00")};
    for (int round = 0; round < 2; round++) {
        /* The first round is how a thread and its matches become known. */
        failing_malloc_at(0, false);
        for (int i = 0; i < 1000; i++) {
            beck_event e = event_of(types[i % 3], "s", "{}");
            e.extensions = &extension;
            e.extension_count = i % 2;
            must(beck_publish(bus, &e, &err));
        }
        if (round > 0)
            assert_int_equal(failing_malloc_count(), 0);
    }
    assert_true(calls > 2000);
    beck_close(b);
}

static void publishing_to_a_memory_queue_allocates_for_blocks_only(void **state)
{
    (void)state;
    beck *b = open_memory();
    beck_bus *bus = make_bus(b, "shop", NULL);
    must(beck_queue_create(b, "work", NULL, &err));
    must(beck_queue_bind(b, "work", &(beck_binding){.bus = "shop"}, &err));
    beck_consumer *c;
    must(beck_consumer_open(b, "work", 64, &c, &err));
    for (int round = 0; round < 2; round++) {
        failing_malloc_at(0, false);
        for (int i = 0; i < 1000; i++) {
            beck_delivery d;
            size_t count;
            publish(bus, "t.x", "s", "{}");
            must(beck_take(c, &d, 1, 0, &count, &err));
            must(beck_settle(c, &d.tag, 1, &err));
        }
        /* About 80 bytes an event and 64 KiB a block. */
        if (round > 0)
            assert_true(failing_malloc_count() <= 10);
    }
    beck_consumer_close(c);
    beck_close(b);
}

static void publishing_to_disk_allocates_nothing_for_an_event(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus *bus = make_bus(b, "shop", &(beck_bus_options){.level = BECK_LEVEL_WRITTEN});
    for (int round = 0; round < 2; round++) {
        failing_malloc_at(0, false);
        for (int i = 0; i < 1000; i++)
            publish(bus, "t.x", "s", "{}");
        /* The tail cache takes 64 KiB at a time, a checkpoint may come in between. */
        if (round > 0)
            assert_true(failing_malloc_count() < 100);
    }
    beck_close(b);
    place_remove(&p);
}

/* True: nothing was refused. */
static bool make_some_with_little_memory(beck *b, long nth, beck_status made[2])
{
    beck_error err;
    failing_malloc_at(nth, false);
    made[0] = beck_bus_create(b, "shop", NULL, NULL, &err);
    made[1] = beck_queue_create(b, "work", NULL, &err);
    bool all = failing_malloc_count() < nth;
    failing_malloc_at(0, false);
    return all;
}

static void what_memory_does_not_suffice_for_leaves_a_directory_that_opens(void **state)
{
    bool all = false;
    (void)state;
    for (long nth = 1; !all; nth++) {
        struct place p;
        beck_status made[2];
        beck_bus *bus;
        beck_queue_info info;
        place_make(&p);
        beck *b = open_place(&p);
        all = make_some_with_little_memory(b, nth, made);
        beck_close(b);
        b = open_place(&p);
        /* What was refused may be there: its record may have been written before. */
        if (!made[0])
            must(beck_bus_get(b, "shop", &bus, &err));
        if (!made[1])
            must(beck_queue_info_get(b, "work", &info, &err));
        beck_close(b);
        place_remove(&p);
    }
}

/* ---- syncs: a simulated disk behind a gate ---- */

struct gated {
    struct vfs vfs;
    struct vfs *sim;
    const struct file_ops *file_ops; /* of the simulated disk */
    struct file_ops ops, shop_ops;   /* shop: of the log of that bus */
    pthread_mutex_t lock;
    pthread_cond_t moved;
    bool closed, waiting; /* syncs wait while it is closed */
    int syncs;
    _Atomic(bool) hooked; /* on_write is called in the middle of writes */
    void (*on_write)(void);
};

static struct gated gate;

static beck_status gated_sync(struct file *f, beck_error *err)
{
    pthread_mutex_lock(&gate.lock);
    gate.syncs++;
    while (gate.closed) {
        gate.waiting = true;
        pthread_cond_broadcast(&gate.moved);
        pthread_cond_wait(&gate.moved, &gate.lock);
    }
    pthread_mutex_unlock(&gate.lock);
    return gate.file_ops->sync(f, err);
}

static beck_status gated_writev(struct file *f, const struct iovec *parts, int count,
                                int64_t position, beck_error *err)
{
    if (atomic_load(&gate.hooked))
        gate.on_write();
    return gate.file_ops->writev(f, parts, count, position, err);
}

static beck_status gated_open(struct vfs *v, const char *path, unsigned flags, struct file **out,
                              beck_error *err)
{
    (void)v;
    beck_status status = vfs_open(gate.sim, path, flags, out, err);
    if (!status) {
        pthread_mutex_lock(&gate.lock);
        if (!gate.file_ops) {
            gate.file_ops = (*out)->ops;
            gate.ops = *gate.file_ops;
            gate.ops.sync = gated_sync;
            gate.shop_ops = gate.ops;
            gate.shop_ops.writev = gated_writev;
        }
        pthread_mutex_unlock(&gate.lock);
        bool shop = strstr(path, "/shop-0/") && strstr(path, ".log");
        (*out)->ops = shop ? &gate.shop_ops : &gate.ops;
    }
    return status;
}

static beck_status gated_lock(struct vfs *v, const char *path, struct file **out, beck_error *err)
{
    (void)v;
    return vfs_lock(gate.sim, path, out, err);
}

static beck_status gated_rename(struct vfs *v, const char *from, const char *to, beck_error *err)
{
    (void)v;
    return vfs_rename(gate.sim, from, to, err);
}

static beck_status gated_unlink(struct vfs *v, const char *path, beck_error *err)
{
    (void)v;
    return vfs_unlink(gate.sim, path, err);
}

static beck_status gated_mkdir(struct vfs *v, const char *path, beck_error *err)
{
    (void)v;
    return vfs_mkdir(gate.sim, path, err);
}

static beck_status gated_rmdir(struct vfs *v, const char *path, beck_error *err)
{
    (void)v;
    return vfs_rmdir(gate.sim, path, err);
}

static beck_status gated_sync_dir(struct vfs *v, const char *path, beck_error *err)
{
    (void)v;
    return vfs_sync_dir(gate.sim, path, err);
}

static beck_status gated_list(struct vfs *v, const char *path,
                              int (*each)(void *ctx, const char *name, bool is_dir), void *ctx,
                              beck_error *err)
{
    (void)v;
    return vfs_list(gate.sim, path, each, ctx, err);
}

static bool gated_exists(struct vfs *v, const char *path)
{
    (void)v;
    return vfs_exists(gate.sim, path);
}

static beck *open_gated(struct clock *clock)
{
    static const struct vfs_ops ops = {.open = gated_open,
                                       .lock = gated_lock,
                                       .rename = gated_rename,
                                       .unlink = gated_unlink,
                                       .mkdir = gated_mkdir,
                                       .rmdir = gated_rmdir,
                                       .sync_dir = gated_sync_dir,
                                       .list = gated_list,
                                       .exists = gated_exists};
    memset(&gate, 0, sizeof gate);
    gate.vfs.ops = &ops;
    gate.sim = vfs_sim_new(1);
    pthread_mutex_init(&gate.lock, NULL);
    pthread_cond_init(&gate.moved, NULL);
    beck *b = NULL;
    must(beck_open_env(&b, &(beck_options){.data_dir = "data"}, &gate.vfs, clock, &err));
    return b;
}

static void *publish_one(void *arg)
{
    publish(arg, "t.x", "s", "1");
    return NULL;
}

static void set_gate(bool closed)
{
    pthread_mutex_lock(&gate.lock);
    gate.closed = closed;
    gate.waiting = false;
    pthread_cond_broadcast(&gate.moved);
    pthread_mutex_unlock(&gate.lock);
}

static int64_t accepted(beck_bus *bus)
{
    beck_partition_info info;
    must(beck_partition_info_get(bus, 0, &info, &err));
    return info.next_offset;
}

static void on_done(void *ctx, beck_status status, const beck_published *published)
{
    (void)published;
    assert_int_equal(status, BECK_OK);
    atomic_fetch_add((_Atomic(int) *)ctx, 1);
}

static void whoever_comes_during_a_sync_shares_the_next(void **state)
{
    (void)state;
    enum { WAITERS = 16, DONE = 20 };
    struct clock *clock = clock_virtual_new(1700000000000000000);
    beck *b = open_gated(clock);
    beck_bus *bus = make_bus(b, "shop", NULL);
    int before = gate.syncs;
    publish(bus, "t.x", "s", "alone");
    assert_int_equal(gate.syncs, before + 1);
    set_gate(true);
    pthread_t first, waiters[WAITERS];
    assert_int_equal(pthread_create(&first, NULL, publish_one, bus), 0);
    pthread_mutex_lock(&gate.lock);
    while (!gate.waiting)
        pthread_cond_wait(&gate.moved, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(pthread_create(&waiters[i], NULL, publish_one, bus), 0);
    _Atomic(int) told = 0;
    beck_event e = event_of("t.x", "s", "1");
    for (int i = 0; i < DONE; i++)
        must(beck_publish_many(
            bus, &e, 1, &(beck_publish_options){.done = on_done, .done_ctx = &told}, NULL, &err));
    while (accepted(bus) < 2 + WAITERS + DONE)
        sched_yield();
    assert_int_equal(atomic_load(&told), 0);
    set_gate(false);
    pthread_join(first, NULL);
    for (int i = 0; i < WAITERS; i++)
        pthread_join(waiters[i], NULL);
    must(beck_sync(b, &err));
    assert_int_equal(gate.syncs, before + 3);
    beck_close(b);
    assert_int_equal(atomic_load(&told), DONE);
    vfs_sim_free(gate.sim);
    clock_virtual_free(clock);
}

static void many_partitions_at_once_cost_one_sync_each(void **state)
{
    (void)state;
    struct clock *clock = clock_virtual_new(1700000000000000000);
    beck *b = open_gated(clock);
    beck_bus *bus = make_bus(b, "shop", &(beck_bus_options){.partitions = 4});
    beck_event e[40];
    char subjects[40][8];
    for (int i = 0; i < 40; i++) {
        snprintf(subjects[i], sizeof subjects[i], "s%d", i);
        e[i] = event_of("t.x", subjects[i], "1");
    }
    int before = gate.syncs;
    must(beck_publish_many(bus, e, 40, NULL, NULL, &err));
    assert_int_equal(gate.syncs, before + 4);
    /* Written is no sync, and one sync makes all of it durable. */
    for (int i = 0; i < 40; i++)
        must(beck_publish_many(bus, &e[i], 1, &(beck_publish_options){.level = BECK_LEVEL_WRITTEN},
                               NULL, &err));
    assert_int_equal(gate.syncs, before + 4);
    must(beck_sync(b, &err));
    assert_int_equal(gate.syncs, before + 8);
    must(beck_sync(b, &err));
    assert_int_equal(gate.syncs, before + 8);
    beck_close(b);
    vfs_sim_free(gate.sim);
    clock_virtual_free(clock);
}

static void settling_costs_no_sync(void **state)
{
    (void)state;
    struct clock *clock = clock_virtual_new(1700000000000000000);
    beck *b = open_gated(clock);
    beck_bus *bus = make_bus(b, "shop", &(beck_bus_options){.level = BECK_LEVEL_WRITTEN});
    must(beck_queue_create(b, "work", NULL, &err));
    must(beck_queue_bind(b, "work", &(beck_binding){.bus = "shop"}, &err));
    beck_consumer *c;
    must(beck_consumer_open(b, "work", 64, &c, &err));
    int before = gate.syncs;
    for (int i = 0; i < 100; i++) {
        beck_delivery d;
        size_t count;
        publish(bus, "t.x", "s", "1");
        must(beck_take(c, &d, 1, 0, &count, &err));
        if (i % 10)
            must(beck_settle(c, &d.tag, 1, &err));
        else
            must(beck_reject(c, d.tag, "no use", &err));
    }
    assert_int_equal(gate.syncs, before);
    beck_consumer_close(c);
    beck_close(b);
    vfs_sim_free(gate.sim);
    clock_virtual_free(clock);
}

/* ---- nobody is kept writing what others publish ---- */

/* Publishes one event whenever the first thread is in the middle of a write: so there is always more
 * to write when a write ends. */
static struct {
    beck_bus *bus;
    beck_level level;
    pthread_t first;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    int wanted, writes;
    bool over;
} rush;

#define WRITES_MAX 500
/* One whose event is being written, one that waits to take over, one that is asked; and one to spare. */
#define OTHERS 4

static void *publish_when_asked(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&rush.lock);
    for (;;) {
        while (rush.wanted == 0 && !rush.over)
            pthread_cond_wait(&rush.moved, &rush.lock);
        if (rush.wanted == 0)
            break;
        rush.wanted--;
        beck_publish_options o = {.level = rush.level};
        pthread_mutex_unlock(&rush.lock);
        beck_event e = event_of("t.x", "s", "1");
        must(beck_publish_many(rush.bus, &e, 1, &o, NULL, &err));
        pthread_mutex_lock(&rush.lock);
    }
    pthread_mutex_unlock(&rush.lock);
    return NULL;
}

/* Returns once the event is gathered, or its publisher has to wait for a pause. */
static void ask_for_one(void)
{
    struct partition *p = bus_partition(rush.bus, 0);
    if (!pthread_equal(pthread_self(), rush.first) || ++rush.writes > WRITES_MAX)
        return;
    int64_t before = partition_next(p);
    pthread_mutex_lock(&rush.lock);
    rush.wanted++;
    pthread_cond_signal(&rush.moved);
    pthread_mutex_unlock(&rush.lock);
    for (bool come = false; !come; sched_yield()) {
        mutex_lock(&p->lock);
        come = p->next > before || p->pausing > 0;
        mutex_unlock(&p->lock);
    }
}

static void nobody_is_kept_writing_for_others(void **state)
{
    (void)state;
    struct clock *clock = clock_virtual_new(1700000000000000000);
    beck *b = open_gated(clock);
    memset(&rush, 0, sizeof rush);
    rush.bus = make_bus(b, "shop", NULL);
    rush.first = pthread_self();
    gate.on_write = ask_for_one;
    pthread_mutex_init(&rush.lock, NULL);
    pthread_cond_init(&rush.moved, NULL);
    must(beck_queue_create(b, "work", NULL, &err));
    must(beck_queue_bind(b, "work", &(beck_binding){.bus = "shop"}, &err));
    pthread_t other[OTHERS];
    for (int i = 0; i < OTHERS; i++)
        assert_int_equal(pthread_create(&other[i], NULL, publish_when_asked, NULL), 0);
    beck_event e = event_of("t.x", "s", "mine");
    for (int level = BECK_LEVEL_NONE; level <= BECK_LEVEL_WRITTEN; level++) {
        for (int what = 0; what < 4; what++) {
            pthread_mutex_lock(&rush.lock);
            rush.level = (beck_level)level;
            rush.writes = 0;
            pthread_mutex_unlock(&rush.lock);
            atomic_store(&gate.hooked, true);
            if (what < 2)
                must(beck_publish_many(
                    rush.bus, &e, 1,
                    &(beck_publish_options){.level = what ? BECK_LEVEL_SYNCED : BECK_LEVEL_WRITTEN},
                    NULL, &err));
            else if (what == 2)
                must(beck_sync(b, &err));
            else
                must(upkeep_checkpoint(b, &err));
            atomic_store(&gate.hooked, false);
            assert_true(rush.writes < 40);
        }
    }
    pthread_mutex_lock(&rush.lock);
    rush.over = true;
    pthread_cond_broadcast(&rush.moved);
    pthread_mutex_unlock(&rush.lock);
    for (int i = 0; i < OTHERS; i++)
        pthread_join(other[i], NULL);
    /* Nothing was left lying. */
    beck_partition_info info;
    must(beck_partition_info_get(rush.bus, 0, &info, &err));
    assert_int_equal(info.written_offset, info.next_offset);
    beck_close(b);
    vfs_sim_free(gate.sim);
    clock_virtual_free(clock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publishing_in_memory_allocates_nothing),
        cmocka_unit_test(publishing_to_a_memory_queue_allocates_for_blocks_only),
        cmocka_unit_test(publishing_to_disk_allocates_nothing_for_an_event),
        cmocka_unit_test(what_memory_does_not_suffice_for_leaves_a_directory_that_opens),
        cmocka_unit_test(whoever_comes_during_a_sync_shares_the_next),
        cmocka_unit_test(many_partitions_at_once_cost_one_sync_each),
        cmocka_unit_test(settling_costs_no_sync),
        cmocka_unit_test(nobody_is_kept_writing_for_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
