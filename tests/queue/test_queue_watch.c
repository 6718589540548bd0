/* Waiting for queues and partitions without a thread. */
#include "queue/world.h"

#include "base/vfs_impl.h"
#include "queue/queue_impl.h"

struct note {
    struct mutex lock;
    struct cond changed;
    int calls;
};

static void take_note(void *ctx)
{
    struct note *n = ctx;
    mutex_lock(&n->lock);
    n->calls++;
    cond_signal(&n->changed);
    mutex_unlock(&n->lock);
}

static void note_init(struct note *n)
{
    *n = (struct note){0};
    mutex_init(&n->lock);
    cond_init(&n->changed);
}

static void note_release(struct note *n)
{
    mutex_release(&n->lock);
    cond_release(&n->changed);
}

static int calls_of(struct note *n)
{
    mutex_lock(&n->lock);
    int calls = n->calls;
    mutex_unlock(&n->lock);
    return calls;
}

static void a_watch_is_called_once_when_something_may_be_taken(void **state)
{
    struct world w;
    (void)state;
    world_start_in_memory(&w);
    beck_bus *bus = world_pair(&w, NULL);
    struct queue *q = world_get_queue(&w, "q");
    struct note first, second;
    note_init(&first);
    note_init(&second);
    struct queue_watch a = {.fn = take_note, .ctx = &first}, b = {.fn = take_note, .ctx = &second};
    assert_true(queue_watch(q, &a));
    assert_true(queue_watch(q, &b));
    put(bus, "t", "0");
    assert_int_equal(calls_of(&first), 1);
    assert_int_equal(calls_of(&second), 0);
    assert_false(queue_watch(q, &a)); /* it is still there */
    queue_pass_on(q);
    assert_int_equal(calls_of(&second), 1);
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "0");
    queue_pass_on(q);
    assert_true(queue_watch(q, &a));
    queue_unwatch(q, &a);
    queue_unwatch(q, &a);
    put(bus, "t", "1");
    assert_int_equal(calls_of(&first), 1);

    drain(c, "1");
    check_ok(beck_queue_pause(w.b, "q", true, err));
    put(bus, "t", "2");
    assert_true(queue_watch(q, &a));
    put(bus, "t", "3");
    assert_int_equal(calls_of(&first), 1);
    check_ok(beck_queue_pause(w.b, "q", false, err));
    assert_int_equal(calls_of(&first), 2);
    beck_delivery d = take(c, "2");
    drain(c, "3");
    assert_true(queue_watch(q, &a));
    check_ok(beck_return(c, d.tag, err));
    assert_int_equal(calls_of(&first), 3);
    drain(c, "2");
    beck_consumer_close(c);
    assert_true(queue_watch(q, &a));
    check_ok(beck_queue_delete(w.b, "q", err));
    assert_int_equal(calls_of(&first), 4);
    assert_false(queue_watch(q, &a));
    queue_release(q);
    note_release(&first);
    note_release(&second);
    world_end(&w);
}

/* More comes at once than one takes: the next is told. */
static void what_one_leaves_another_is_told_of(void **state)
{
    struct world w;
    (void)state;
    world_start_in_memory(&w);
    beck_bus *bus = world_pair(&w, NULL);
    struct queue *q = world_get_queue(&w, "q");
    beck_consumer *c = world_consumer(&w, "q", 0);
    struct note n;
    note_init(&n);
    struct queue_watch a = {.fn = take_note, .ctx = &n}, b = {.fn = take_note, .ctx = &n};
    assert_true(queue_watch(q, &a));
    put(bus, "t", "0");
    put(bus, "t", "1");
    assert_int_equal(calls_of(&n), 1);
    assert_false(queue_watch(q, &b));
    settle(c, take(c, "0"));
    assert_false(queue_watch(q, &b));
    settle(c, take(c, "1"));
    assert_true(queue_watch(q, &b));
    queue_unwatch(q, &b);
    beck_consumer_close(c);
    queue_release(q);
    note_release(&n);
    world_end(&w);
}

/* The timer looks every 250 ms by itself; a watch has it look when something is due. */
static void a_watch_is_called_when_a_delay_is_over(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    struct queue *q = world_get_queue(&w, "q");
    struct note n;
    note_init(&n);
    struct queue_watch a = {.fn = take_note, .ctx = &n};
    assert_true(queue_watch(q, &a));
    beck_event later = {
        .type = beck_str("t"), .data = beck_str("later"), .deliver_at_ms = START_MS + 20};
    check_ok(beck_publish(bus, &later, err));
    world_advance(&w, 20);
    mutex_lock(&n.lock);
    while (n.calls == 0)
        cond_wait(&n.changed, &n.lock);
    mutex_unlock(&n.lock);
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "later");
    beck_consumer_close(c);
    queue_release(q);
    note_release(&n);
    world_end(&w);
}

static void note_look(void *ctx, struct queue_due *d, int64_t mono_ns)
{
    int64_t *look_ns = ctx;
    (void)d;
    if (mono_ns < *look_ns)
        *look_ns = mono_ns;
}

/* In ms from now on; -1: nobody was asked to look. */
static int64_t look_of(const struct world *w, int64_t *look_ns)
{
    int64_t ns = *look_ns;
    *look_ns = INT64_MAX;
    return ns == INT64_MAX ? -1 : (ns - clock_mono_ns(w->clock)) / 1000000;
}

static void put_for(beck_bus *bus, const char *text, uint32_t priority, int64_t expires_at_ms)
{
    beck_event e = {.type = beck_str("t"),
                    .data = beck_str(text),
                    .priority = priority,
                    .expires_at_ms = expires_at_ms};
    check_ok(beck_publish(bus, &e, err));
}

/* Asked for once, however many come. */
static void the_queue_is_looked_at_when_its_first_expires(void **state)
{
    struct world w;
    int64_t look = INT64_MAX;
    (void)state;
    world_start(&w, 1);
    w.b->home.due = note_look;
    w.b->home.due_ctx = &look;
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.priority_max = 1});
    struct queue *q = handle_find_queue(w.b, "q");
    put(bus, "t", "never");
    assert_int_equal(look_of(&w, &look), -1);
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "never");
    put_for(bus, "0", 0, START_MS + 100);
    assert_int_equal(look_of(&w, &look), 100);
    put_for(bus, "1", 0, START_MS + 50);
    put_for(bus, "2", 0, START_MS + 200);
    assert_int_equal(look_of(&w, &look), -1);
    beck_delivery d = take(c, "0");
    assert_int_equal(look_of(&w, &look), 50);
    put_for(bus, "high", 1, START_MS + 40);
    assert_int_equal(look_of(&w, &look), 40);
    world_advance(&w, 50);
    queue_tick(q);
    check_counts(&w, "q", 1, 1, 0, 2);
    assert_int_equal(look_of(&w, &look), 150);
    check_ok(beck_return(c, d.tag, err));
    assert_int_equal(look_of(&w, &look), 50);
    world_advance(&w, 50);
    vfs_sim_fail(w.vfs, VFS_OP_WRITE, 1, true, BECK_EFULL);
    queue_tick(q);
    assert_int_equal(look_of(&w, &look), -1); /* it cannot be put away */
    vfs_sim_fail(w.vfs, VFS_OP_WRITE, 0, false, 0);
    queue_tick(q);
    check_counts(&w, "q", 1, 0, 0, 3);
    assert_int_equal(look_of(&w, &look), 100);
    beck_consumer_close(c);
    check_ok(beck_queue_delete(w.b, "q", err));
    world_end(&w);
}

static void the_timer_comes_for_what_expires(void **state)
{
    struct world w;
    struct letters all;
    (void)state;
    world_start(&w, 1);
    beck_close(w.b);
    w.timer = true;
    world_open(&w);
    beck_bus *bus = world_pair(&w, NULL);
    world_queue(&w, "other", NULL);
    world_bind(&w, "other", "b", "#", BECK_FROM_NOW);
    put_for(bus, "0", 0, START_MS + 20);
    world_advance(&w, 20);
    while (dead_letters(&w, "q", &all)->count + dead_letters(&w, "other", &all)->count < 2)
        sched_yield();
    put_for(bus, "1", 0, START_MS + HOUR);
    check_ok(beck_queue_delete(w.b, "other", err));
    world_end(&w);
}

/* Counts how often the timer is asked to come. */
static _Atomic(int) asked;
static void (*ask)(void *ctx, struct queue_due *d, int64_t mono_ns);

static void count_asking(void *ctx, struct queue_due *d, int64_t mono_ns)
{
    asked++;
    ask(ctx, d, mono_ns);
}

static int64_t in_flight(struct queue *q)
{
    mutex_lock(&q->lock);
    int64_t count = q->in_flight;
    mutex_unlock(&q->lock);
    return count;
}

/* A delivery whose deadline passes while it is being settled stays. */
static void what_is_due_and_stays_does_not_keep_the_timer(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_close(w.b);
    w.timer = true;
    world_open(&w);
    ask = w.b->home.due;
    w.b->home.due = count_asking;
    beck_queue_options o = {.deadline_ms = 1000};
    beck_bus *bus = world_pair(&w, &o);
    world_queue(&w, "other", &o);
    world_bind(&w, "other", "b", "#", BECK_FROM_NOW);
    struct queue *q = world_get_queue(&w, "q"), *other = world_get_queue(&w, "other");
    put(bus, "t", "0");
    beck_consumer *c = world_consumer(&w, "q", 0), *d = world_consumer(&w, "other", 0);
    take(c, "0");
    take(d, "0");
    mutex_lock(&q->lock);
    q->first_deadline->state = SLOT_BUSY;
    mutex_unlock(&q->lock);
    struct note note;
    note_init(&note);
    struct queue_watch waiting = {.fn = take_note, .ctx = &note};
    assert_true(queue_watch(q, &waiting));
    asked = 0;
    world_advance(&w, 1000);
    while (in_flight(other) > 0 && asked < 1000) { /* which the tick brings */
        world_advance(&w, 1);
        sched_yield();
    }
    assert_int_equal(in_flight(other), 0);
    mutex_lock(&q->lock);
    q->first_deadline->state = SLOT_HELD;
    mutex_unlock(&q->lock);
    world_advance(&w, 1);
    while (in_flight(q) > 0)
        sched_yield();
    queue_unwatch(q, &waiting);
    beck_consumer_close(c);
    beck_consumer_close(d);
    queue_release(q);
    queue_release(other);
    note_release(&note);
    world_end(&w);
}

static void a_watch_of_a_partition_is_called_once_when_its_offset_is_there(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    struct partition *p = bus_partition(bus, 0);
    struct note n;
    note_init(&n);
    struct partition_watch a = {.fn = take_note, .ctx = &n, .offset = 1};
    assert_true(partition_watch(p, &a));
    put(bus, "t", "0");
    assert_int_equal(calls_of(&n), 0);
    put(bus, "t", "1");
    assert_int_equal(calls_of(&n), 1);
    assert_false(partition_watch(p, &a));
    a.offset = 2;
    assert_true(partition_watch(p, &a));
    partition_unwatch(p, &a);
    partition_unwatch(p, &a);
    put(bus, "t", "2");
    assert_int_equal(calls_of(&n), 1);
    a.offset = 3;
    assert_true(partition_watch(p, &a));
    check_ok(beck_queue_delete(w.b, "q", err));
    check_ok(beck_bus_delete(w.b, beck_bus_name(bus), err));
    assert_int_equal(calls_of(&n), 2);
    note_release(&n);
    world_end(&w);
}

/* A disk that cannot read the log of bus "b": who wants to has the event, and another waits then. */
static const struct vfs_ops *disk;
static struct vfs_ops failing_disk;
static struct file_ops failing_files;
static struct queue *watched;
static struct queue_watch *watch;

static beck_status failing_read(struct file *f, enum vfs_how how, void *data, size_t len,
                                int64_t position, size_t *got, beck_error *err)
{
    (void)f;
    (void)how;
    (void)data;
    (void)len;
    (void)position;
    (void)got;
    assert_true(queue_watch(watched, watch));
    return error_set(err, BECK_EIO, "cannot read");
}

static beck_status failing_open(struct vfs *v, const char *path, unsigned flags, struct file **out,
                                beck_error *err)
{
    beck_status status = disk->open(v, path, flags, out, err);
    if (status || !strstr(path, "b-0/") || !strstr(path, ".log"))
        return status;
    failing_files = *(*out)->ops;
    failing_files.read = failing_read;
    (*out)->ops = &failing_files;
    return BECK_OK;
}

static void what_cannot_be_read_now_is_for_another(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_bus(&w, "b", &(beck_bus_options){.segment_bytes = 4096});
    world_queue(&w, "q", NULL);
    world_bind(&w, "q", "b", "t", BECK_FROM_NOW);
    char text[4000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    put(bus, "t", text);
    put(bus, "other",
        text); /* so that the first one's segment is sealed: its file is opened anew */
    world_reopen(&w);
    beck_consumer *c = world_consumer(&w, "q", 0);
    struct note note;
    note_init(&note);
    struct queue_watch waiting = {.fn = take_note, .ctx = &note};
    watched = world_get_queue(&w, "q");
    watch = &waiting;
    disk = w.vfs->ops;
    failing_disk = *disk;
    failing_disk.open = failing_open;
    w.vfs->ops = &failing_disk;
    beck_delivery d;
    size_t count;
    assert_int_equal(beck_take(c, &d, 1, 0, &count, NULL), BECK_EIO);
    w.vfs->ops = disk;
    assert_int_equal(calls_of(&note), 1);
    queue_release(watched);
    note_release(&note);
    beck_consumer_close(c);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_watch_is_called_once_when_something_may_be_taken),
        cmocka_unit_test(what_one_leaves_another_is_told_of),
        cmocka_unit_test(what_cannot_be_read_now_is_for_another),
        cmocka_unit_test(a_watch_is_called_when_a_delay_is_over),
        cmocka_unit_test(the_queue_is_looked_at_when_its_first_expires),
        cmocka_unit_test(the_timer_comes_for_what_expires),
        cmocka_unit_test(what_is_due_and_stays_does_not_keep_the_timer),
        cmocka_unit_test(a_watch_of_a_partition_is_called_once_when_its_offset_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
