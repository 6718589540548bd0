/* Queues on disks that fail, fill up and lose files; and without memory. */
#include "queue/world.h"

#include "base/bytes.h"
#include "queue/consumer.h"
#include "queue/fifo.h"
#include "support/effort.h"
#include "support/failing_malloc.h"

#define EVENTS 64

/* What a run of the scenario was told about each event. */
struct story {
    struct world w;
    beck_consumer *consumer;
    int count;
    enum { CONFIRMED, REFUSED, DOUBTFUL } published[EVENTS];
    enum { OWED, DONE, PERHAPS_DONE } settled[EVENTS];
    int ready[EVENTS], dead[EVENTS];
    bool rebuilt; /* a list was made again: what was settled may be there again */
};

static void tell_publish(struct story *s, const char *bus_name, int64_t deliver_at_ms,
                         beck_level level)
{
    char text[16];
    beck_bus *bus = NULL;
    int n = s->count++;
    assert_true(n < EVENTS);
    snprintf(text, sizeof text, "%d", n);
    beck_event e = {.type = beck_str("t"), .data = beck_str(text), .deliver_at_ms = deliver_at_ms};
    beck_publish_options o = {.level = level};
    s->published[n] = REFUSED;
    if (!s->w.b || beck_bus_get(s->w.b, bus_name, &bus, NULL))
        return;
    beck_status status = beck_publish_many(bus, &e, 1, &o, NULL, NULL);
    s->published[n] = status == BECK_OK ? CONFIRMED : status == BECK_EPOISONED ? DOUBTFUL : REFUSED;
}

static int number_of(beck_bytes data)
{
    uint64_t n = 0;
    assert_true(bytes_to_u64(data, &n) && n < EVENTS);
    return (int)n;
}

enum answer { SETTLE, RETRY, REJECT, RETURN };

static void tell_answer(struct story *s, enum answer answer)
{
    beck_delivery d;
    size_t count;
    if (s->w.b && !s->consumer)
        beck_consumer_open(s->w.b, "q", 0, &s->consumer, NULL);
    if (!s->consumer || beck_take(s->consumer, &d, 1, 0, &count, NULL))
        return;
    int n = number_of(d.event->data);
    assert_true(s->published[n] != REFUSED);
    assert_true(s->settled[n] != DONE || s->rebuilt);
    if (answer == SETTLE)
        s->settled[n] = beck_settle(s->consumer, &d.tag, 1, NULL) ? PERHAPS_DONE : DONE;
    else if (answer == RETRY)
        beck_retry(s->consumer, d.tag, 50, "because", NULL);
    else if (answer == REJECT)
        beck_reject(s->consumer, d.tag, "no", NULL);
    else
        beck_return(s->consumer, d.tag, NULL);
}

static void tell_close(struct story *s, bool kill)
{
    if (kill && s->w.b)
        vfs_sim_kill(s->w.vfs);
    beck_consumer_close(s->consumer);
    s->consumer = NULL;
    if (kill && s->w.b)
        beck_abandon(s->w.b);
    else
        beck_close(s->w.b);
    s->w.b = NULL;
}

static void tell_time(struct story *s, int64_t ms)
{
    beck_queue_info i;
    world_advance(&s->w, ms);
    if (s->w.b)
        beck_queue_info_get(s->w.b, "q", &i, NULL);
}

static void begin(struct story *s, uint64_t seed)
{
    memset(s, 0, sizeof *s);
    world_start(&s->w, seed);
    world_bus(&s->w, "one", &(beck_bus_options){.segment_bytes = 4096});
    world_bus(&s->w, "two", NULL);
    world_queue(&s->w, "q", NULL);
    world_bind(&s->w, "q", "one", "#", BECK_FROM_NOW);
}

/* Everything that a queue can do, once or twice; whatever fails is passed over. */
static void live(struct story *s)
{
    for (int i = 0; i < 6; i++)
        tell_publish(s, "one", 0, i % 2 ? BECK_LEVEL_WRITTEN : BECK_LEVEL_SYNCED);
    tell_publish(s, "two", 0, BECK_LEVEL_SYNCED);
    tell_answer(s, SETTLE);
    tell_answer(s, RETRY);
    tell_answer(s, REJECT);
    tell_answer(s, RETURN);
    if (s->w.b)
        upkeep_checkpoint(s->w.b, NULL);
    tell_publish(s, "one", START_MS + 30, BECK_LEVEL_WRITTEN);
    tell_publish(s, "one", START_MS + HOUR / 2, BECK_LEVEL_SYNCED);
    tell_answer(s, SETTLE);
    if (s->w.b)
        beck_dead_redrive(s->w.b, "q", -1, NULL, NULL);
    tell_time(s, 60);
    tell_answer(s, REJECT);
    if (s->w.b)
        beck_queue_bind(s->w.b, "q", &(beck_binding){.bus = "two", .from.kind = BECK_FROM_EARLIEST},
                        NULL);
    tell_publish(s, "two", 0, BECK_LEVEL_WRITTEN);
    tell_answer(s, SETTLE);
    tell_close(s, false);
    world_try_open(&s->w, NULL);
    tell_publish(s, "one", 0, BECK_LEVEL_SYNCED);
    tell_answer(s, SETTLE);
    tell_answer(s, RETURN);
    if (s->w.b)
        upkeep_checkpoint(s->w.b, NULL);
    if (s->w.b)
        upkeep_maintain(s->w.b, NULL);
    tell_answer(s, SETTLE);
}

static int see_letter(void *ctx, const beck_dead *d)
{
    ((struct story *)ctx)->dead[number_of(d->event->data)]++;
    return 0;
}

static int see_event(void *ctx, const beck_event *e)
{
    ((struct story *)ctx)->ready[number_of(e->data)]++;
    return 0;
}

/* With a disk that works again everything confirmed is there once, and nothing settled. */
static void check_story(struct story *s, const char *what, uint64_t n)
{
    beck_error e = {0};
    bool bad = false;
    if (world_try_open(&s->w, &e)) {
        print_error("%s %llu: cannot open: %s\n", what, (unsigned long long)n, e.text);
        fail();
    }
    check_ok(beck_queue_bind(s->w.b, "q",
                             &(beck_binding){.bus = "two", .from.kind = BECK_FROM_EARLIEST}, err));
    tell_time(s, HOUR);
    check_ok(beck_dead_list(s->w.b, "q", 0, see_letter, s, err));
    check_ok(beck_queue_peek(s->w.b, "q", 1000, see_event, s, err));
    beck_queue_info i = info_of(&s->w, "q");
    int64_t ready = 0, dead = 0;
    for (int k = 0; k < s->count; k++) {
        int there = s->ready[k] + s->dead[k];
        int least = s->published[k] == CONFIRMED && s->settled[k] == OWED;
        int most = s->published[k] == REFUSED ? 0
                   : s->rebuilt               ? 2 /* also as a dead letter */
                                              : s->settled[k] != DONE;
        if (there < least || there > most) {
            print_error("%s %llu: event %d (published %d, settled %d): ready %d, dead %d\n", what,
                        (unsigned long long)n, k, s->published[k], s->settled[k], s->ready[k],
                        s->dead[k]);
            bad = true;
        }
        ready += s->ready[k];
        dead += s->dead[k];
    }
    assert_false(bad);
    assert_int_equal(i.ready, ready);
    assert_int_equal(i.dead, dead);
    assert_int_equal(i.delayed + i.in_flight, 0);
    world_end(&s->w);
}

static uint64_t count_calls(void)
{
    static struct story s;
    begin(&s, 1);
    uint64_t before = vfs_sim_calls(s.w.vfs, VFS_OP_ANY);
    live(&s);
    uint64_t calls = vfs_sim_calls(s.w.vfs, VFS_OP_ANY) - before;
    tell_close(&s, false);
    check_story(&s, "no fault", 0);
    return calls;
}

static void any_call_of_the_disk_may_fail_once_or_for_ever(void **state)
{
    static struct story s;
    uint64_t calls = count_calls();
    (void)state;
    for (uint64_t n = 1; n <= calls; n += effort(1, 3)) {
        for (int how = 0; how < 6; how++) {
            static const beck_status codes[] = {BECK_EIO, BECK_EFULL};
            static const char *const names[] = {"EIO once at", "ENOSPC once at", "EIO from",
                                                "ENOSPC from", "EIO, killed",    "ENOSPC, killed"};
            begin(&s, n);
            vfs_sim_fail(s.w.vfs, VFS_OP_ANY, n, how == 2 || how == 3, codes[how % 2]);
            live(&s);
            if (how >= 4)
                tell_close(&s, true);
            vfs_sim_fail(s.w.vfs, VFS_OP_ANY, 0, false, 0);
            tell_close(&s, n % 2);
            check_story(&s, names[how], n);
        }
    }
}

static void a_full_disk_refuses_publishers_and_the_queue_goes_on(void **state)
{
    static struct story s;
    (void)state;
    begin(&s, 1);
    for (int i = 0; i < 10; i++)
        tell_publish(&s, "one", 0, BECK_LEVEL_WRITTEN);
    tell_answer(&s, SETTLE);
    vfs_sim_capacity(s.w.vfs, 0);
    tell_publish(&s, "one", 0, BECK_LEVEL_WRITTEN);
    assert_int_equal(s.published[10], REFUSED);
    beck_delivery d;
    size_t count;
    check_ok(beck_take(s.consumer, &d, 1, 0, &count, err));
    assert_int_equal(number_of(d.event->data), 1);
    assert_int_equal(beck_settle(s.consumer, &d.tag, 1, NULL), BECK_EFULL);
    assert_int_equal(info_of(&s.w, "q").in_flight, 1); /* still held */
    check_ok(beck_return(s.consumer, d.tag, err));
    check_ok(beck_take(s.consumer, &d, 1, 0, &count, err));
    assert_int_equal(upkeep_checkpoint(s.w.b, NULL) != BECK_OK, true);
    tell_time(&s, MINUTE);
    vfs_sim_capacity(s.w.vfs, -1);
    assert_int_equal(beck_settle(s.consumer, &d.tag, 1, NULL), BECK_ESTALE);
    tell_publish(&s, "one", 0, BECK_LEVEL_WRITTEN);
    assert_int_equal(s.published[11], CONFIRMED);
    tell_time(&s, MINUTE);
    tell_answer(&s, SETTLE);
    assert_int_equal(s.settled[1], DONE);
    for (int i = 0; i < 9; i++)
        tell_answer(&s, i % 2 ? SETTLE : RETURN);
    tell_close(&s, true);
    check_story(&s, "full", 0);
}

/* ---- files that are damaged or gone ---- */

static int remember_name(void *ctx, const char *name, bool is_dir)
{
    char *out = ctx;
    if (!is_dir && strstr(name, ".fifo"))
        snprintf(out, 256, "%s", name);
    return 0;
}

static void an_answer_that_cannot_be_written_leaves_the_delivery_held(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.attempts_max = 2});
    put(bus, "t", "0");
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_delivery d = take(c, "0");
    vfs_sim_fail(w.vfs, VFS_OP_WRITE, 1, true, BECK_EFULL);
    assert_int_equal(beck_settle(c, &d.tag, 1, NULL), BECK_EFULL);
    assert_int_equal(beck_retry(c, d.tag, 0, "because", NULL), BECK_EFULL);
    assert_int_equal(beck_reject(c, d.tag, "no", NULL), BECK_EFULL);
    assert_int_equal(consumer_return_many(c, &d.tag, 1, true, NULL), BECK_EFULL);
    check_counts(&w, "q", 0, 1, 0, 0);
    vfs_sim_fail(w.vfs, VFS_OP_WRITE, 0, false, 0);
    check_ok(beck_retry(c, d.tag, 0, "because", err));
    d = take(c, "0");
    assert_int_equal(d.attempt, 2);
    check_ok(beck_reject(c, d.tag, "no", err));
    assert_int_equal(beck_reject(c, d.tag, "no", NULL), BECK_ESTALE);
    beck_queue_info info = info_of(&w, "q");
    assert_int_equal(info.retried, 1);
    assert_int_equal(info.rejected, 1);
    beck_consumer_close(c);
    world_kill(&w);
    check_counts(&w, "q", 0, 0, 0, 1);
    assert_int_equal(w.reports, 2); /* of each log, that the disk is full */
    world_end(&w);
}

static void damage(struct world *w, int how)
{
    char name[256] = "", path[512];
    check_ok(vfs_list(w->vfs, "data/__queues/q", remember_name, name, err));
    assert_true(name[0]);
    snprintf(path, sizeof path, "data/__queues/q/%s", name);
    if (how == 0)
        check_ok(vfs_unlink(w->vfs, path, err));
    else
        vfs_sim_flip(w->vfs, path, how == 1 ? 9 : 33, 3);
}

/* Published to "one": plain ones, priorities when the queue has them, and some delayed. */
static void fill(struct story *s, int from, int to, const char *bus_name)
{
    beck_bus *bus = world_get(&s->w, bus_name);
    for (int i = from; i < to; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        beck_event e = {.type = beck_str(i % 3 ? "a" : "b"),
                        .data = beck_str(text),
                        .priority = (uint32_t)i % 4,
                        .deliver_at_ms = i % 5 == 4 ? START_MS + MINUTE : 0};
        check_ok(beck_publish(bus, &e, err));
        s->count = i + 1;
    }
}

static void damaged_lists_are_made_again_from_the_log(void **state)
{
    static struct story s;
    (void)state;
    for (int how = 0; how < 12; how++) {
        memset(&s, 0, sizeof s);
        s.rebuilt = true;
        world_start(&s.w, 1);
        world_bus(&s.w, "one", NULL);
        world_bus(&s.w, "two", NULL);
        world_queue(&s.w, "q", &(beck_queue_options){.priority_max = how % 6 < 3 ? 0 : 3});
        world_bind(&s.w, "q", "one", "a", BECK_FROM_NOW);
        fill(&s, 0, 20, "one");
        tell_answer(&s, SETTLE);
        tell_answer(&s, RETRY);
        tell_answer(&s, REJECT);
        if (how >= 6) /* history that lies behind newer events */
            world_bind(&s.w, "q", "one", "#", BECK_FROM_EARLIEST);
        else
            for (int i = 0; i < 20; i++)
                s.published[i] = i % 3 ? CONFIRMED : DOUBTFUL;
        tell_answer(&s, RETURN);
        tell_answer(&s, SETTLE);
        beck_consumer_close(s.consumer);
        s.consumer = NULL;
        check_ok(upkeep_checkpoint(s.w.b, err));
        vfs_sim_kill(s.w.vfs);
        beck_abandon(s.w.b);
        damage(&s.w, how % 3);
        beck_error e = {0};
        assert_int_equal(world_try_open(&s.w, &e), BECK_OK);
        assert_true(s.w.reports > 0); /* never silently */
        fill(&s, 20, 30, "one");
        for (int i = 20; i < 30 && how < 6; i++)
            s.published[i] = i % 3 ? CONFIRMED : DOUBTFUL;
        tell_answer(&s, SETTLE);
        tell_close(&s, how % 2);
        check_story(&s, "damage", (uint64_t)how);
    }
}

static void a_list_of_many_blocks_that_breaks_while_it_is_read_is_made_again(void **state)
{
    struct world w;
    enum { COUNT = 20000 };
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    beck_event *events = calloc(COUNT, sizeof *events);
    for (int i = 0; i < COUNT; i++)
        events[i] =
            (beck_event){.type = beck_str("t"), .deliver_at_ms = i == 5000 ? DAY + START_MS : 0};
    check_ok(beck_publish_many(bus, events, COUNT, NULL, NULL, err));
    free(events);
    check_ok(upkeep_checkpoint(w.b, err));
    vfs_sim_flip(w.vfs, "data/__queues/q/0-00000000000000000000.fifo", 2 * 65536 + 4000, 1);
    beck_consumer *c = world_consumer(&w, "q", 0);
    int64_t seen = 0;
    for (int64_t last = -1;;) {
        beck_delivery d[64];
        uint64_t tags[64];
        size_t count;
        beck_status status = beck_take(c, d, 64, 0, &count, NULL);
        if (status == BECK_ETIMEDOUT)
            break;
        assert_int_equal(status, BECK_OK);
        for (size_t i = 0; i < count; i++) {
            assert_true(d[i].event->position.offset > last);
            last = d[i].event->position.offset;
            tags[i] = d[i].tag;
        }
        seen += (int64_t)count;
        check_ok(beck_settle(c, tags, count, err));
    }
    assert_int_equal(seen, COUNT - 1);
    check_counts(&w, "q", 0, 0, 1, 0);
    assert_true(w.reports > 0);
    beck_consumer_close(c);
    world_end(&w);
}

/* What is delivered while a snapshot gets to the device may end the first file of a list, which that
 * snapshot still needs. */
static void files_that_the_last_snapshot_names_stay(void **state)
{
    enum { COUNT = FIFO_FILE_BLOCKS * FIFO_BLOCK_ENTRIES - 5, AT_ONCE = 10000 };
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    beck_event *events = calloc(AT_ONCE, sizeof *events);
    for (int i = 0; i < AT_ONCE; i++)
        events[i].type = beck_str("t");
    for (int left = COUNT; left > 0; left -= AT_ONCE)
        check_ok(beck_publish_many(bus, events, left < AT_ONCE ? (size_t)left : AT_ONCE, NULL, NULL,
                                   err));
    check_ok(beck_queue_purge(w.b, "q", NULL, err));
    check_ok(beck_publish_many(bus, events, 20, NULL, NULL, err));
    free(events);
    struct queue *q = world_get_queue(&w, "q");
    check_ok(queue_snapshot(q, err));
    beck_consumer *c = world_consumer(&w, "q", 0);
    for (int i = 0; i < 10; i++)
        settle(c, take(c, NULL));
    beck_consumer_close(c);
    check_ok(partition_sync(bus_partition(w.b->home.state, 0), err));
    queue_snapshot_synced(q);
    queue_release(q);
    world_kill(&w);
    assert_int_equal(w.reports, 0);
    check_counts(&w, "q", 10, 0, 0, 0);
    world_end(&w);
}

static int remember_run(void *ctx, const char *name, bool is_dir)
{
    if (!is_dir && strstr(name, ".run"))
        snprintf(ctx, 512, "data/__queues/q/%s", name);
    return 0;
}

/* How: 0 the run is missing, 1 its first block is damaged, 2 it is short. */
static void damage_run(struct world *w, int how)
{
    char path[512] = "";
    struct file *f;
    check_ok(vfs_list(w->vfs, "data/__queues/q", remember_run, path, err));
    assert_true(path[0] != 0);
    if (how == 0) {
        check_ok(vfs_unlink(w->vfs, path, err));
    } else if (how == 1) {
        vfs_sim_flip(w->vfs, path, 100, 3);
    } else {
        check_ok(vfs_open(w->vfs, path, VFS_WRITE, &f, err));
        check_ok(file_truncate(f, 1000, err));
        file_close(f);
    }
}

static void a_damaged_schedule_is_made_again_from_the_log(void **state)
{
    enum { COUNT = 3000 };
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct world w;
        world_start(&w, 1);
        beck_bus *bus = world_pair(&w, NULL);
        beck_event *events = calloc(COUNT, sizeof *events);
        for (int i = 0; i < COUNT; i++)
            events[i] = (beck_event){.type = beck_str("t"), .deliver_at_ms = START_MS + DAY};
        put(bus, "t", "settled");
        put(bus, "t", "retried");
        put(bus, "t", "rejected");
        put(bus, "t", "ready");
        beck_consumer *c = world_consumer(&w, "q", 0);
        settle(c, take(c, "settled"));
        check_ok(beck_retry(c, take(c, "retried").tag, HOUR, "because", err));
        check_ok(beck_reject(c, take(c, "rejected").tag, "no", err));
        beck_consumer_close(c);
        check_ok(beck_publish_many(bus, events, COUNT, NULL, NULL, err));
        free(events);
        world_reopen(&w);
        check_counts(&w, "q", 1, 0, COUNT + 1, 1);
        beck_close(w.b);
        damage_run(&w, how);
        world_open(&w);
        assert_int_equal(w.reports, 1);
        assert_non_null(strstr(w.last_report.text, ".run"));
        check_counts(&w, "q", 2, 0, COUNT, 1);
        world_kill(&w);
        check_counts(&w, "q", 2, 0, COUNT, 1);
        assert_int_equal(w.reports, 1);
        c = world_consumer(&w, "q", 0);
        beck_delivery d = take(c, NULL), e = take(c, NULL);
        beck_delivery retried = text_is(d.event->data, "retried") ? d : e;
        assert_true(text_is(retried.event->data, "retried"));
        assert_true(text_is((retried.tag == d.tag ? e : d).event->data, "ready"));
        assert_int_equal(retried.attempt, 2);
        settle(c, d);
        settle(c, e);
        take_nothing(c);
        world_advance(&w, DAY);
        check_counts(&w, "q", COUNT, 0, 0, 1);
        beck_consumer_close(c);
        world_end(&w);
    }
}

/* Retention has passed over what the queue is owed: it is found below the first offset. */
static void a_schedule_made_again_has_what_outlived_retention(void **state)
{
    enum { COUNT = 3000 };
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus =
        world_bus(&w, "b", &(beck_bus_options){.segment_bytes = 4096, .retention_ms = HOUR});
    world_queue(&w, "q", NULL);
    world_bind(&w, "q", "b", "#", BECK_FROM_NOW);
    put(bus, "t", "retried");
    put(bus, "t", "put back");
    beck_consumer *c = world_consumer(&w, "q", 0);
    check_ok(beck_retry(c, take(c, "retried").tag, DAY, "because", err));
    check_ok(beck_reject(c, take(c, "put back").tag, "no", err));
    check_ok(beck_dead_redrive(w.b, "q", -1, NULL, err));
    check_ok(beck_retry(c, take(c, "put back").tag, DAY, "because", err));
    beck_consumer_close(c);
    beck_event *events = calloc(COUNT, sizeof *events);
    for (int i = 0; i < COUNT; i++)
        events[i] = (beck_event){.type = beck_str("t"), .deliver_at_ms = START_MS + 2 * DAY};
    check_ok(beck_publish_many(bus, events, COUNT, NULL, NULL, err));
    free(events);
    world_advance(&w, 2 * HOUR);
    check_ok(upkeep_checkpoint(w.b, err));
    for (int i = 0; i < 3; i++)
        check_ok(upkeep_maintain(w.b, err));
    beck_partition_info info;
    check_ok(beck_partition_info_get(bus, 0, &info, err));
    assert_int_equal(info.first_offset, COUNT + 2);
    world_reopen(&w);
    check_counts(&w, "q", 0, 0, COUNT + 2, 0);
    beck_close(w.b);
    damage_run(&w, 0);
    world_open(&w);
    assert_int_equal(w.reports, 1);
    check_counts(&w, "q", 2, 0, COUNT, 0);
    world_advance(&w, 2 * DAY);
    check_counts(&w, "q", COUNT + 2, 0, 0, 0);
    world_end(&w);
}

/* Failures of what has left the queue for good are forgotten with it: an event that is purged does
 * not come back with a schedule that is made again. And how often one failed is known, also when
 * that was more often than is told of. */
static void a_schedule_made_again_has_nothing_that_was_purged(void **state)
{
    enum { COUNT = 3000, FAILED = 40 };
    (void)state;
    for (int how = 0; how < 2; how++) {
        struct world w;
        world_start(&w, 1);
        beck_bus *bus = world_pair(&w, &(beck_queue_options){.attempts_max = 2 * FAILED});
        put(bus, "t", "delayed");
        put(bus, "t", "ready");
        beck_consumer *c = world_consumer(&w, "q", 0);
        check_ok(beck_retry(c, take(c, "delayed").tag, HOUR, "because", err));
        check_ok(beck_retry(c, take(c, "ready").tag, 0, "because", err));
        if (how == 0)
            check_ok(beck_queue_purge(w.b, "q", NULL, err));
        else
            check_ok(beck_bus_purge(bus, err));
        put(bus, "t", "later");
        for (int i = 0; i < FAILED; i++)
            check_ok(beck_retry(c, take(c, "later").tag, i + 1 < FAILED ? 0 : HOUR, "no", err));
        beck_consumer_close(c);
        beck_event *events = calloc(COUNT, sizeof *events);
        for (int i = 0; i < COUNT; i++)
            events[i] = (beck_event){.type = beck_str("t"), .deliver_at_ms = START_MS + DAY};
        check_ok(beck_publish_many(bus, events, COUNT, NULL, NULL, err));
        free(events);
        beck_close(w.b);
        damage_run(&w, 0);
        world_open(&w);
        check_counts(&w, "q", 1, 0, COUNT, 0);
        c = world_consumer(&w, "q", 0);
        assert_int_equal(take(c, "later").attempt, FAILED + 1);
        beck_consumer_close(c);
        world_end(&w);
    }
}

static int unlink_all(void *ctx, const char *name, bool is_dir)
{
    struct world *w = ctx;
    char path[512];
    snprintf(path, sizeof path, "data/__queue_state-0/%s", name);
    if (!is_dir)
        vfs_unlink(w->vfs, path, NULL);
    return 0;
}

static void the_log_of_queues_is_not_missed_silently(void **state)
{
    struct world w;
    beck_error e = {0};
    beck_consumer *c;
    (void)state;
    world_start(&w, 1);
    put(world_pair(&w, NULL), "t", "0");
    world_reopen(&w);
    beck_close(w.b);
    check_ok(vfs_list(w.vfs, "data/__queue_state-0", unlink_all, &w, err));
    w.reports = 0;
    world_open(&w);
    assert_int_equal(w.reports, 1);
    assert_non_null(strstr(w.last_report.text, "__queue_state"));
    assert_int_equal(beck_consumer_open(w.b, "q", 0, &c, &e), BECK_ECORRUPT);
    assert_non_null(strstr(e.text, "__queue_state"));
    world_end(&w);
}

/* ---- memory ---- */

static void any_allocation_may_fail(void **state)
{
    static struct story s;
    (void)state;
    begin(&s, 1);
    failing_malloc_at(0, false);
    live(&s);
    long calls = failing_malloc_count();
    tell_close(&s, false);
    check_story(&s, "no fault", 0);
    for (long n = 1; n <= calls; n += (long)effort(1, 5)) {
        bool forever = n % 3 == 0;
        begin(&s, (uint64_t)n);
        failing_malloc_at(n, forever);
        live(&s);
        failing_malloc_at(0, false);
        s.rebuilt = true; /* a list that cannot be read for want of memory is made again */
        tell_close(&s, n % 2);
        check_story(&s, "allocation", (uint64_t)n);
    }
}

/* ---- what is said ---- */

struct texts {
    char list[64][sizeof((beck_error *)0)->text];
    int count, twice;
};

static void note_text(void *ctx, const beck_error *e)
{
    struct texts *t = ctx;
    for (int i = 0; i < t->count; i++)
        t->twice += strcmp(t->list[i], e->text) == 0;
    assert_true(t->count < 64);
    snprintf(t->list[t->count++], sizeof *t->list, "%s", e->text);
}

/* By its opening, by its upkeep and when it is closed. */
static void what_a_full_disk_keeps_from_being_written_is_said_once(void **state)
{
    (void)state;
    struct world w;
    struct texts said = {0};
    world_start(&w, 31);
    beck_bus *bus = world_bus(&w, "bus", &(beck_bus_options){.retention_ms = HOUR});
    world_queue(&w, "q", NULL);
    world_bind(&w, "q", "bus", "#", BECK_FROM_EARLIEST);
    for (int i = 0; i < 2000; i++)
        put(bus, "t.x", "0123456789");
    vfs_sim_kill(w.vfs);
    beck_abandon(w.b);
    w.options.on_error = note_text;
    w.options.on_error_ctx = &said;
    vfs_sim_capacity(w.vfs, 0);
    world_open(&w);
    beck_close(w.b);
    assert_true(said.count > 0);
    assert_int_equal(said.twice, 0);
    vfs_sim_capacity(w.vfs, -1);
    said = (struct texts){0};
    world_open(&w);
    assert_int_equal(said.count, 0);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_call_of_the_disk_may_fail_once_or_for_ever),
        cmocka_unit_test(a_full_disk_refuses_publishers_and_the_queue_goes_on),
        cmocka_unit_test(an_answer_that_cannot_be_written_leaves_the_delivery_held),
        cmocka_unit_test(damaged_lists_are_made_again_from_the_log),
        cmocka_unit_test(a_list_of_many_blocks_that_breaks_while_it_is_read_is_made_again),
        cmocka_unit_test(files_that_the_last_snapshot_names_stay),
        cmocka_unit_test(a_damaged_schedule_is_made_again_from_the_log),
        cmocka_unit_test(a_schedule_made_again_has_what_outlived_retention),
        cmocka_unit_test(a_schedule_made_again_has_nothing_that_was_purged),
        cmocka_unit_test(the_log_of_queues_is_not_missed_silently),
        cmocka_unit_test(what_a_full_disk_keeps_from_being_written_is_said_once),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
