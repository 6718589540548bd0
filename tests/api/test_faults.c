/*
 * The whole engine on a disk that fails: one scenario, stopped at every call that writes, or with
 * every call failing once or for ever. After it the process or the power is gone, and what was
 * confirmed must be there.
 *
 * The clock is virtual and does not move, so nothing runs by itself: what a run does follows from
 * its number.
 */
#include "common.h"

#include "api/handle.h"
#include "base/vfs.h"
#include "support/effort.h"

#define SHOP 70   /* events of the bus "shop", from 0 */
#define EVENTS 90 /* the rest are of the bus "safe" */

enum fate { NOT_TRIED, REFUSED, UNSURE, WRITTEN, SYNCED };

/* What the program was told. */
struct told {
    enum fate event[EVENTS];
    beck_position position[EVENTS];
    bool bus_made, queue_made, bound;
    bool safe_made, late_made, late_bound;
    bool answered[EVENTS], settled[EVENTS]; /* by number; answered: it may have left the queue */
    bool lives;                             /* the bus "brief" */
    bool life_unsure;
    bool refused_anything;
};

struct run {
    struct vfs *vfs;
    struct clock *clock;
    beck *b;
    struct told told;
    bool stop_at_first; /* the scenario ends with the first failure */
    bool over;
    _Atomic(int) reports;
};

static void on_error(void *ctx, const beck_error *error)
{
    struct run *r = ctx;
    if (getenv("FAULTS_SHOW"))
        print_message("  report: %s\n", error->text);
    r->reports++;
}

static beck_status open_run(struct run *r, beck_error *err)
{
    beck_options o = {.data_dir = "data", .on_error = on_error, .on_error_ctx = r};
    return beck_open_env(&r->b, &o, r->vfs, r->clock, err);
}

/* Whether the step worked, so that the scenario goes on with what needs it. */
static bool step(struct run *r, beck_status status, const beck_error *err)
{
    if (!status)
        return true;
    if (getenv("FAULTS_SHOW"))
        print_message("  step: %s\n", err->text);
    if (err->code != status || !err->text[0])
        fail_msg("an error without a text: %d", status);
    r->told.refused_anything = true;
    r->over |= r->stop_at_first;
    return false;
}

/* ---- the scenario ---- */

static const beck_bus_options shop = {.partitions = 2, .segment_bytes = 4096};

static void fill(char data[400], int number)
{
    memset(data, 'a' + number % 26, 300);
    sprintf(data + 300, " %d", number);
}

/* Seen once synced, compressed, each id once. */
static const beck_bus_options safe = {
    .read_synced = true, .codec = BECK_CODEC_LZ4, .dedup_window_ms = 60000, .segment_bytes = 4096};

static void publish_some(struct run *r, beck_bus *bus, int from, int count, beck_level level)
{
    static char data[EVENTS][400];
    beck_event events[EVENTS];
    char subjects[EVENTS][8], ids[EVENTS][8];
    for (int i = 0; i < count; i++) {
        fill(data[i], from + i);
        sprintf(subjects[i], "s%d", (from + i) % 5);
        sprintf(ids[i], "id%d", from + i);
        events[i] = event_of("t.x", subjects[i], data[i]);
        if (from >= SHOP)
            events[i].id = beck_str(ids[i]);
    }
    beck_published out = {.position = {0, -1}};
    beck_error err = {0};
    beck_status status = beck_publish_many(bus, events, (size_t)count,
                                           &(beck_publish_options){.level = level}, &out, &err);
    for (int i = 0; i < count; i++) {
        enum fate fate = level == BECK_LEVEL_SYNCED ? SYNCED : WRITTEN;
        /* Of several, one partition may have its share. The power took the answer with it. */
        if (status)
            fate = status == BECK_EPOISONED || count > 1 || r->stop_at_first ? UNSURE : REFUSED;
        r->told.event[from + i] = fate;
        r->told.position[from + i] = count == 1 && !status ? out.position : (beck_position){0, -1};
    }
    step(r, status, &err);
}

static int number_of(const beck_event *e)
{
    char text[400] = "", expected[400];
    assert_true(e->data.len < sizeof text);
    memcpy(text, e->data.data, e->data.len);
    assert_true(e->data.len > 301);
    int number = atoi(text + 301);
    fill(expected, number);
    assert_string_equal(text, expected);
    return number;
}

static void consume(struct run *r, const char *queue, size_t max, int64_t delay_ms)
{
    beck_error err = {0};
    beck_consumer *c;
    beck_delivery d[16];
    size_t count = 0;
    if (!step(r, beck_consumer_open(r->b, queue, 16, &c, &err), &err))
        return;
    beck_status status = beck_take(c, d, max, 0, &count, &err);
    if (status && status != BECK_ETIMEDOUT)
        step(r, status, &err);
    for (size_t i = 0; !status && i < count && !r->over; i++) {
        int number = number_of(d[i].event);
        r->told.answered[number] = true;
        beck_status answer = BECK_OK;
        if (i % 8 < 4)
            answer = beck_settle(c, &d[i].tag, 1, &err);
        else if (i % 8 == 4)
            answer = beck_retry(c, d[i].tag, delay_ms, "later", &err);
        else if (i % 8 == 5)
            answer = beck_reject(c, d[i].tag, "no use", &err);
        /* The others go back when the consumer is closed. */
        if (i % 8 >= 4)
            r->told.answered[number] = false;
        if (step(r, answer, &err) && i % 8 < 4)
            r->told.settled[number] = true;
    }
    beck_consumer_close(c);
}

static void live_briefly(struct run *r)
{
    beck_error err = {0};
    beck_bus *bus;
    beck_event e = event_of("t.x", "s", "1");
    /* A change that failed may be there all the same when a sync was what failed. */
    bool made = step(r, beck_bus_create(r->b, "brief", NULL, &bus, &err), &err);
    r->told.lives = made;
    r->told.life_unsure = !made;
    if (made && !r->over)
        step(r, beck_publish(bus, &e, &err), &err);
    if (!made || r->over)
        return;
    bool deleted = step(r, beck_bus_delete(r->b, "brief", &err), &err);
    r->told.life_unsure = !deleted;
    r->told.lives = !deleted;
    if (!deleted)
        return;
    made = step(r, beck_bus_create(r->b, "brief", &shop, &bus, &err), &err);
    r->told.life_unsure = !made;
    r->told.lives = made;
}

/* Events of one partition come again as duplicates, so being unsure can be ended. */
static void be_safe(struct run *r)
{
    beck_error err = {0};
    beck_bus *bus;
    r->told.safe_made = step(r, beck_bus_create(r->b, "safe", &safe, &bus, &err), &err);
    if (!r->told.safe_made)
        return;
    const beck_queue_options o = {.attempts_max = 100, .priority_max = 3};
    r->told.late_made = step(r, beck_queue_create(r->b, "late", &o, &err), &err);
    const beck_binding binding = {
        .bus = "safe", .pattern = "t.*", .from = {.kind = BECK_FROM_EARLIEST}};
    if (r->told.late_made)
        r->told.late_bound = step(r, beck_queue_bind(r->b, "late", &binding, &err), &err);
    publish_some(r, bus, SHOP, 8, BECK_LEVEL_SYNCED);
    if (r->told.late_bound && !r->over)
        consume(r, "late", 6, 5000);
    for (int i = SHOP + 8; i < EVENTS && !r->over; i++)
        publish_some(r, bus, i, 1, i % 2 ? BECK_LEVEL_SYNCED : BECK_LEVEL_WRITTEN);
    if (!r->over)
        step(r, beck_sync(r->b, &err), &err);
    if (r->told.late_bound && !r->over)
        consume(r, "late", 6, 5000);
    /* What was refused, or may not have come, is said again. */
    for (int i = SHOP; i < EVENTS && !r->over; i++)
        if (r->told.event[i] != SYNCED)
            publish_some(r, bus, i, 1, BECK_LEVEL_SYNCED);
}

static void scenario(struct run *r)
{
    beck_error err = {0};
    beck_bus *bus = NULL;
    if (!step(r, open_run(r, &err), &err)) {
        r->b = NULL;
        return;
    }
    r->told.bus_made = step(r, beck_bus_create(r->b, "shop", &shop, &bus, &err), &err);
    if (!r->over) {
        const beck_queue_options o = {.attempts_max = 100, .backoff = {.kind = BECK_BACKOFF_NONE}};
        r->told.queue_made = step(r, beck_queue_create(r->b, "work", &o, &err), &err);
    }
    if (r->told.queue_made && r->told.bus_made) {
        const beck_binding binding = {.bus = "shop", .from = {.kind = BECK_FROM_EARLIEST}};
        r->told.bound = step(r, beck_queue_bind(r->b, "work", &binding, &err), &err);
    }
    for (int i = 0; i < 20 && bus && !r->over; i++)
        publish_some(r, bus, i, 1, i % 2 ? BECK_LEVEL_SYNCED : BECK_LEVEL_WRITTEN);
    if (r->told.bound && !r->over)
        consume(r, "work", 8, 0);
    if (bus && !r->over)
        publish_some(r, bus, 20, 20, BECK_LEVEL_SYNCED);
    if (!r->over)
        step(r, upkeep_checkpoint(r->b, &err), &err);
    for (int i = 40; i < 50 && bus && !r->over; i++)
        publish_some(r, bus, i, 1, BECK_LEVEL_WRITTEN);
    if (r->told.bound && !r->over)
        consume(r, "work", 16, 0);
    if (!r->over)
        be_safe(r);
    if (!r->over)
        live_briefly(r);
    if (!r->over)
        step(r, upkeep_maintain(r->b, &err), &err);
    if (!r->over)
        step(r, upkeep_checkpoint(r->b, &err), &err);
    if (bus && !r->over)
        publish_some(r, bus, 50, 20, BECK_LEVEL_WRITTEN);
    if (r->told.bound && !r->over)
        consume(r, "work", 8, 0);
}

/* ---- looking afterwards ---- */

static void check_events(struct run *r, beck_bus *bus, int from, int to, bool power,
                         bool present[EVENTS])
{
    beck_read_options o = {.from.kind = BECK_FROM_EARLIEST};
    beck_reader *reader;
    const beck_event *e;
    beck_error why = {0};
    must(beck_reader_open(bus, &o, &reader, &err));
    beck_status status;
    while ((status = beck_reader_next(reader, 0, &e, &why)) == BECK_OK) {
        int n = number_of(e);
        assert_true(n >= from && n < to);
        if (present[n])
            fail_msg("event %d is there twice", n);
        present[n] = true;
        if (r->told.event[n] == REFUSED || r->told.event[n] == NOT_TRIED)
            fail_msg("event %d is there, and was %s", n,
                     r->told.event[n] == REFUSED ? "refused" : "never published");
        int64_t offset = r->told.position[n].offset;
        if (offset >= 0 && (offset != e->position.offset ||
                            r->told.position[n].partition != e->position.partition))
            fail_msg("event %d is at %lld, was said to be at %lld", n,
                     (long long)e->position.offset, (long long)offset);
    }
    if (status != BECK_END)
        fail_msg("reading: %s", why.text);
    beck_reader_close(reader);
    for (int n = from; n < to; n++)
        if (!present[n] && (r->told.event[n] == SYNCED || (r->told.event[n] == WRITTEN && !power)))
            fail_msg("event %d was confirmed as %s and is not there", n,
                     r->told.event[n] == SYNCED ? "synced" : "written");
}

struct dead {
    int count[EVENTS];
};

static int note_dead(void *ctx, const beck_dead *d)
{
    ((struct dead *)ctx)->count[number_of(d->event)]++;
    return 0;
}

static void check_queue(struct run *r, const char *queue, int from, int to, bool power,
                        const bool present[EVENTS])
{
    int ready[EVENTS] = {0};
    struct dead dead = {0};
    beck_consumer *c;
    static beck_delivery d[256];
    beck_error why = {0};
    size_t held = 0, count;
    must(beck_consumer_open(r->b, queue, 256, &c, &err));
    beck_status status;
    while ((status = beck_take(c, d + held, 64, 0, &count, &why)) == BECK_OK) {
        for (size_t i = 0; i < count; i++)
            ready[number_of(d[held + i].event)]++;
        held += count;
    }
    if (status != BECK_ETIMEDOUT)
        fail_msg("taking: %s", why.text);
    must(beck_dead_list(r->b, queue, 0, note_dead, &dead, &err));
    for (int n = 0; n < EVENTS; n++) {
        if (n < from || n >= to) {
            assert_int_equal(ready[n] + dead.count[n], 0);
            continue;
        }
        int there = ready[n] + dead.count[n];
        if (there > 1)
            fail_msg("event %d is in the queue %d times, dead %d times", n, ready[n],
                     dead.count[n]);
        /* A dead letter may be all that is left of an event. */
        if (ready[n] && !present[n])
            fail_msg("event %d is in the queue and not in the bus", n);
        if (present[n] && !there && !r->told.answered[n])
            fail_msg("event %d is lost to the queue", n);
        /* After a loss of power the last ones may come again. */
        if (there && r->told.settled[n] && !power)
            fail_msg("event %d was settled and is back", n);
    }
    beck_consumer_close(c);
}

static void check(struct run *r, bool power)
{
    bool present[EVENTS] = {0};
    beck_bus *bus;
    beck_error why = {0};
    must(open_run(r, &err));
    beck_status status = beck_bus_get(r->b, "shop", &bus, &why);
    if (status)
        assert_false(r->told.bus_made);
    else
        check_events(r, bus, 0, SHOP, power, present);
    status = beck_bus_get(r->b, "safe", &bus, &why);
    if (status)
        assert_false(r->told.safe_made);
    else
        check_events(r, bus, SHOP, EVENTS, power, present);
    /* What was delayed is due. */
    clock_virtual_advance(r->clock, 10000000000);
    beck_queue_info info;
    status = beck_queue_info_get(r->b, "work", &info, &why);
    if (status)
        assert_false(r->told.queue_made);
    else
        assert_true(info.bindings == 1 || !r->told.bound);
    if (!status && r->told.bound)
        check_queue(r, "work", 0, SHOP, power, present);
    if (r->told.late_bound)
        check_queue(r, "late", SHOP, EVENTS, power, present);
    beck_bus *brief;
    beck_bus_info brief_info;
    if (!beck_bus_get(r->b, "brief", &brief, &why)) {
        must(beck_bus_info_get(brief, &brief_info, &err));
        assert_true(brief_info.options.partitions == 1 || brief_info.events == 0);
        assert_true(r->told.lives || r->told.life_unsure);
    } else {
        assert_true(!r->told.lives || r->told.life_unsure);
    }
    /* It works again. */
    must(beck_bus_create(r->b, "shop", &shop, &bus, &err));
    publish(bus, "t.x", "s", "after");
    beck_close(r->b);
    must(open_run(r, &err));
    beck_close(r->b);
}

static void begin(struct run *r, uint64_t seed)
{
    *r = (struct run){.vfs = vfs_sim_new(seed), .clock = clock_virtual_new(1700000000000000000)};
}

static void end(struct run *r)
{
    vfs_sim_free(r->vfs);
    clock_virtual_free(r->clock);
}

/* ---- the tests ---- */

/* Until a run comes to its end without meeting the stop. */
static void stop_everywhere(bool power, bool close)
{
    uint64_t n = 1;
    for (bool met = true; met; n += effort(1, 3)) {
        struct run r;
        begin(&r, n);
        r.stop_at_first = true;
        if (getenv("FAULTS_SHOW"))
            print_message("stop at %llu\n", (unsigned long long)n);
        vfs_sim_stop_at(r.vfs, n);
        scenario(&r);
        if (close)
            beck_close(r.b);
        else if (r.b)
            beck_abandon(r.b);
        met = !vfs_exists(r.vfs, "data"); /* without power nothing is */
        if (power)
            vfs_sim_crash(r.vfs);
        else
            vfs_sim_kill(r.vfs);
        check(&r, power);
        end(&r);
    }
    print_message("stopped at calls up to %llu\n", (unsigned long long)n - 1);
    assert_true(n > 100);
}

static void power_may_go_at_any_call(void **state)
{
    (void)state;
    stop_everywhere(true, false);
}

static void the_process_may_end_at_any_call(void **state)
{
    (void)state;
    stop_everywhere(false, false);
}

static void closing_on_a_dead_disk_is_safe(void **state)
{
    (void)state;
    stop_everywhere(true, true);
}

/* ---- making things ---- */

static int count_shop(void *ctx, const char *name, bool is_dir)
{
    (void)is_dir;
    *(int *)ctx += strncmp(name, "shop-", 5) == 0;
    return 0;
}

static int count_all(void *ctx, const char *name, bool is_dir)
{
    (void)name;
    *(int *)ctx += is_dir;
    return 0;
}

/* A bus and a queue are there with all that they need, or nothing of them is; what is not theirs
 * stays. */
static void making_may_end_at_any_call(void **state)
{
    (void)state;
    bool finished = false;
    for (uint64_t n = 1; !finished; n++) {
        struct run r;
        begin(&r, n);
        beck_options o = {.data_dir = "data"};
        beck *b;
        beck_bus *bus;
        must(beck_open_env(&b, &o, r.vfs, r.clock, &err));
        must(vfs_mkdir(r.vfs, "data/kept-1", &err));
        must(vfs_write_file(r.vfs, "data/kept-1/cat.jpg", beck_str("miaow"), &err));
        must(vfs_sync_dir(r.vfs, "data", &err));
        vfs_sim_stop_at(r.vfs, n);
        finished = !beck_bus_create(b, "shop", &(beck_bus_options){.partitions = 3}, &bus, NULL) &&
                   !beck_queue_create(b, "work", NULL, NULL);
        beck_abandon(b);
        if (n % 2)
            vfs_sim_crash(r.vfs);
        else
            vfs_sim_kill(r.vfs);
        vfs_sim_stop_at(r.vfs, 0);
        must(beck_open_env(&b, &o, r.vfs, r.clock, &err));
        int dirs = 0, queues = 0;
        bool has_bus = !beck_bus_get(b, "shop", &bus, NULL);
        bool has_queue = !beck_queue_info_get(b, "work", &(beck_queue_info){0}, NULL);
        assert_int_equal(vfs_list(r.vfs, "data", count_shop, &dirs, NULL), BECK_OK);
        assert_int_equal(dirs, 0); /* nothing was written to it */
        if (vfs_exists(r.vfs, "data/__queues"))
            assert_int_equal(vfs_list(r.vfs, "data/__queues", count_all, &queues, NULL), BECK_OK);
        assert_int_equal(queues, has_queue);
        assert_true(!finished || (has_bus && has_queue));
        assert_true(vfs_exists(r.vfs, "data/kept-1/cat.jpg"));
        beck_close(b);
        r.b = NULL;
        end(&r);
    }
}

static void fail_everywhere(unsigned op, beck_status code, bool forever)
{
    bool met = true;
    for (uint64_t n = 1; met; n += effort(1, 3)) {
        struct run r;
        begin(&r, n);
        if (getenv("FAULTS_SHOW"))
            print_message("op %u fails at %llu%s\n", op, (unsigned long long)n,
                          forever ? " for ever" : "");
        uint64_t before = vfs_sim_calls(r.vfs, op);
        vfs_sim_fail(r.vfs, op, n, forever, code);
        scenario(&r);
        beck_close(r.b);
        met = vfs_sim_calls(r.vfs, op) - before >= n;
        vfs_sim_fail(r.vfs, op, 0, false, code);
        bool power = n % 2;
        if (power)
            vfs_sim_crash(r.vfs);
        else
            vfs_sim_kill(r.vfs);
        check(&r, power);
        end(&r);
    }
}

static const unsigned ops[] = {VFS_OP_WRITE,  VFS_OP_SYNC,     VFS_OP_OPEN,
                               VFS_OP_RENAME, VFS_OP_READ,     VFS_OP_TRUNCATE,
                               VFS_OP_UNLINK, VFS_OP_SYNC_DIR, VFS_OP_MKDIR};

static void any_call_may_fail_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        fail_everywhere(ops[i], BECK_EIO, false);
}

static void any_call_may_fail_for_ever(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        fail_everywhere(ops[i], BECK_EIO, true);
}

static void the_disk_may_fill_up_at_any_write(void **state)
{
    (void)state;
    fail_everywhere(VFS_OP_WRITE, BECK_EFULL, false);
    fail_everywhere(VFS_OP_WRITE, BECK_EFULL, true);
}

static void a_full_disk_refuses_and_goes_on_when_there_is_space(void **state)
{
    (void)state;
    for (int64_t capacity = 20000; capacity < 80000; capacity += 1700) {
        struct run r;
        begin(&r, (uint64_t)capacity);
        vfs_sim_capacity(r.vfs, capacity);
        scenario(&r);
        vfs_sim_capacity(r.vfs, -1);
        if (r.b && r.told.bus_made) {
            beck_bus *bus;
            must(beck_bus_get(r.b, "shop", &bus, &err));
            publish(bus, "t.x", "s", "space again");
            beck_close(r.b);
        }
        end(&r);
    }
}

/* Nothing of the disk that was free is free any more. */
static void take_the_rest(struct run *r)
{
    struct file *f = NULL;
    must(vfs_open(r->vfs, "filler", VFS_WRITE | VFS_CREATE, &f, &err));
    int64_t at = 0;
    while (!file_write(f, "", 1, at, NULL))
        at++;
    file_close(f);
}

/* That there is room for where the log begins, which is to be on disk before anything is removed. */
static void a_full_disk_gets_room_by_retention_and_by_purges(void **state)
{
    (void)state;
    for (int purge = 0; purge < 2; purge++) {
        struct run r;
        begin(&r, 1);
        vfs_sim_capacity(r.vfs, 60000);
        must(open_run(&r, &err));
        upkeep_stop(r.b);
        beck_bus_options o = {.retention_bytes = purge ? 0 : 8192, .segment_bytes = 4096};
        beck_bus *bus = make_bus(r.b, "b", &o);
        char data[400];
        fill(data, 1);
        beck_event e = event_of("t", "s", data);
        while (!beck_publish(bus, &e, NULL))
            ;
        take_the_rest(&r);
        refused(beck_publish(bus, &e, &err), BECK_EFULL, "");
        must(purge ? beck_bus_purge(bus, &err) : upkeep_maintain(r.b, &err));
        publish(bus, "t", "s", data);
        int64_t first = partition_first(bus_partition(bus, 0)), kept = 0;
        assert_true(first > 0);
        assert_true(checkpoint_get(&r.b->log_start, "b", 0, &kept));
        assert_int_equal(kept, first);
        assert_int_equal(r.reports, 1); /* that it is full */
        vfs_sim_kill(r.vfs);
        beck_abandon(r.b);
        must(open_run(&r, &err));
        assert_int_equal(r.reports, 1);
        beck_close(r.b);
        end(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_may_go_at_any_call),
        cmocka_unit_test(the_process_may_end_at_any_call),
        cmocka_unit_test(closing_on_a_dead_disk_is_safe),
        cmocka_unit_test(making_may_end_at_any_call),
        cmocka_unit_test(any_call_may_fail_once),
        cmocka_unit_test(any_call_may_fail_for_ever),
        cmocka_unit_test(the_disk_may_fill_up_at_any_write),
        cmocka_unit_test(a_full_disk_refuses_and_goes_on_when_there_is_space),
        cmocka_unit_test(a_full_disk_gets_room_by_retention_and_by_purges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
