/*
 * A partition against a model, on a disk that fails in every way it can.
 *
 * One thread appends, reads, closes, opens, and stops the process or the power at random; faults
 * come and go. The model knows the event of every offset, and what was confirmed at which level.
 * The seed of a failing run is printed; BECK_TEST_SEED runs that one alone,
 * BECK_TEST_TRACE prints its steps.
 */
#include "world.h"
#include "produced.h"

#include "log/partition_impl.h"
#include "log/verify.h"
#include "support/effort.h"
#include "support/failing_malloc.h"

#define EVENTS_MAX 8192
#define STEPS 160
#ifndef SEEDS
#define SEEDS effort(250, 60)
#endif

struct model {
    int number[EVENTS_MAX]; /* of the event at each offset below `may` */
    int64_t written;        /* confirmed: they survive the end of the process */
    int64_t may;    /* behind `written`: may be there, since they failed with BECK_EPOISONED */
    int64_t synced; /* confirmed: they survive loss of power */
    int64_t seen;   /* readers of synced events saw everything below */
    int64_t first;  /* the highest that retention moved it to */
    int next_number;
};

struct run {
    struct world w;
    struct model m;
    struct rng rng;
    uint64_t seed;
    struct partition *p;
    int64_t recovery_point, log_start; /* as in the file */
    bool faults;                       /* some may be set */
    bool stopping;                     /* the power goes, or has gone */
    bool poisoned;
    const char *step;
};

static void check(struct run *r, bool holds, const char *what, int64_t a, int64_t b)
{
    if (!holds)
        print_error("seed %llu, %s: %s (%lld, %lld)\n", (unsigned long long)r->seed, r->step, what,
                    (long long)a, (long long)b);
    assert_true(holds);
}

/* The data of an event follows from its number. */
static size_t event_data(int number, char *data)
{
    size_t len = (size_t)(number * 7919 % 23 == 0 ? number * 131 % 9000 : number * 31 % 300);
    int head = sprintf(data, "number %d ", number);
    for (size_t i = (size_t)head; i < len; i++)
        data[i] = (char)('a' + (i + (size_t)number) % 26);
    return len > (size_t)head ? len : (size_t)head;
}

static int number_of(const struct record_view *v)
{
    char text[32] = {0}, data[16384];
    size_t len = v->event.data.len;
    memcpy(text, v->event.data.data, len < 31 ? len : 31);
    int number;
    if (sscanf(text, "number %d ", &number) != 1)
        return -1;
    if (event_data(number, data) != len || memcmp(data, v->event.data.data, len) != 0)
        return -1;
    return number;
}

/* ---- reading ---- */

/* Reads up to `max` events from `offset` on. What is given must be what the model has there, without
 * holes. Returns the offset behind the last. */
static int64_t read_some(struct run *r, int64_t offset, int max)
{
    struct cursor *c;
    const struct record_view *v;
    if (offset < partition_first(r->p))
        offset = partition_first(r->p);
    if (cursor_open(r->p, &c, NULL))
        return offset;
    for (int i = 0; i < max; i++) {
        beck_error err = {0};
        beck_status status = cursor_read(c, offset, false, &v, NULL, &err);
        if (status && status != BECK_END && !(r->faults && status != BECK_ECORRUPT))
            print_error("read: %s\n", err.text);
        check(r, status == 0 || status == BECK_END || (r->faults && status != BECK_ECORRUPT),
              "a read failed", status, offset);
        if (status)
            break;
        /* What retention has taken may come back in parts when the disk loses names. */
        if (v->offset > offset && v->offset <= r->m.first)
            offset = v->offset;
        check(r, v->offset == offset, "there is a hole", offset, v->offset);
        check(r, offset < r->m.may, "an event that nobody published", offset, r->m.may);
        int number = number_of(v);
        check(r, number == r->m.number[offset], "another event", number, r->m.number[offset]);
        offset++;
        if (r->w.options.bus.read_synced && offset > r->m.seen)
            r->m.seen = offset;
    }
    cursor_close(c);
    return offset;
}

/* ---- stops ---- */

static void no_faults(struct run *r)
{
    vfs_sim_fail(r->w.vfs, 0, 0, false, 0);
    vfs_sim_stop_at(r->w.vfs, 0);
    vfs_sim_capacity(r->w.vfs, -1);
    r->faults = r->stopping = false;
}

static void show_fault(void *ctx, const beck_error *e)
{
    (void)ctx;
    if (e->code)
        print_error("verify: %s\n", e->text);
}

/* A stop leaves nothing that a check would call damage. */
static void verify(struct run *r)
{
    struct env env = r->w.env;
    struct log_verify_counts counts = {0};
    beck_error err = {0};
    env.read_only = true;
    env.report = show_fault;
    beck_status status = log_verify_partition(
        &env, DIR_B, "b", 0, &(struct log_known){.recovery_point = r->recovery_point}, NULL,
        &counts, &err);
    check(r, status == 0 || (status == BECK_ENOENT && r->recovery_point == 0), err.text, status, 0);
}

/* Opens, and compares all there is with the model. at_least: what must be there. */
static void open_again(struct run *r, int64_t at_least)
{
    beck_error err = {0};
    if (!r->faults)
        verify(r);
    beck_status status = partition_open(&r->w.env, DIR_B, "b", 0, &r->w.options, r->recovery_point,
                                        r->log_start, &r->p, &err);
    if (status && r->faults) {
        no_faults(r);
        status = partition_open(&r->w.env, DIR_B, "b", 0, &r->w.options, r->recovery_point,
                                r->log_start, &r->p, &err);
    }
    if (status)
        print_error("open: %s\n", err.text);
    check(r, status == 0, "it does not open", status, 0);
    r->poisoned = false;
    int64_t next = partition_next(r->p);
    check(r, next >= at_least, "confirmed events are missing", next, at_least);
    check(r, next <= r->m.may, "events that nobody published", next, r->m.may);
    check(r, partition_first(r->p) <= r->m.first || partition_first(r->p) <= r->log_start,
          "retention took too much", partition_first(r->p), r->m.first);
    if (!r->faults) {
        int64_t end = read_some(r, 0, EVENTS_MAX);
        check(r, end == next, "not all can be read", end, next);
    }
    /* What was found counts as synced. */
    r->m.written = r->m.may = r->m.synced = next;
    if (r->m.first > next)
        r->m.first = next;
}

static void stop_process(struct run *r)
{
    partition_abandon(r->p);
    no_faults(r);
    vfs_sim_kill(r->w.vfs);
    open_again(r, r->m.written);
}

static void stop_power(struct run *r)
{
    int64_t at_least = r->m.synced;
    if (r->w.options.bus.read_synced && r->m.seen > at_least)
        at_least = r->m.seen;
    partition_abandon(r->p);
    no_faults(r);
    vfs_sim_crash(r->w.vfs);
    open_again(r, at_least);
}

static void close_and_open(struct run *r)
{
    /* The power may be gone already; only its return brings the disk back. */
    if (r->stopping) {
        partition_close(r->p, NULL);
        no_faults(r);
        vfs_sim_kill(r->w.vfs);
        open_again(r, r->m.written);
        return;
    }
    beck_status status = partition_close(r->p, NULL);
    check(r, status == 0 || r->faults || r->poisoned, "it does not close", status, 0);
    if (status == 0)
        r->m.synced = r->m.written;
    if (status == 0 && rng_below(&r->rng, 3) == 0) {
        no_faults(r);
        vfs_sim_crash(r->w.vfs);
    }
    open_again(r, r->m.written);
}

/* ---- steps ---- */

/* As a producer sends them: one batch, of any codec, sometimes larger than what is copied. */
static beck_status produce(struct run *r, const beck_event *events, size_t count, beck_level level,
                           int64_t *first_offset, beck_error *err)
{
    struct buf batch;
    struct produce a = {
        .level = level, .append_time = rng_below(&r->rng, 4) == 0, .first_offset = -1};
    buf_init(&batch, 4 << 20);
    beck_status status = make_batch(&batch, events, count, clock_wall_ms(r->w.env.clock),
                                    (beck_codec)rng_below(&r->rng, 5), NULL);
    a.batch = batch.data;
    a.size = batch.len;
    if (!status)
        status = partition_produce(r->p, &a, err);
    *first_offset = a.first_offset;
    buf_release(&batch);
    return status;
}

static void append(struct run *r)
{
    static char data[32][16384];
    beck_event events[32];
    const beck_event *list[32];
    size_t count = rng_below(&r->rng, 3) ? 1 : 1 + rng_below(&r->rng, 32);
    static const beck_level levels[] = {BECK_LEVEL_NONE, BECK_LEVEL_WRITTEN, BECK_LEVEL_SYNCED};
    beck_level level = levels[rng_below(&r->rng, 3)];
    if (r->m.may + (int64_t)count > EVENTS_MAX)
        return;
    for (size_t i = 0; i < count; i++) {
        size_t len = event_data(r->m.next_number + (int)i, data[i]);
        events[i] = (beck_event){.type = beck_str("t"), .data = bytes_of(data[i], len)};
        list[i] = &events[i];
    }
    struct append a = {.events = list, .count = count, .level = level};
    beck_error err = {0};
    beck_status status = rng_below(&r->rng, 2)
                             ? partition_append(r->p, &a, &err)
                             : produce(r, events, count, level, &a.first_offset, &err);
    int first = r->m.next_number;
    r->m.next_number += (int)count;
    if (status) {
        if (!r->faults && !r->poisoned)
            print_error("append: %s\n", err.text);
        check(r, r->faults || r->poisoned, "an append failed", status, 0);
        /* Written, and not synced; or the disk took it, said no, and did not let us cut it off. Then
         * it may be found later. */
        bool doubtful = status == BECK_EPOISONED && !r->poisoned;
        for (size_t i = 0; i < count && doubtful; i++) {
            r->m.number[r->m.written + (int64_t)i] = first + (int)i;
            r->m.may++;
        }
        r->poisoned = r->poisoned || status == BECK_EPOISONED;
        return;
    }
    check(r, !r->poisoned, "a poisoned partition took an event", a.first_offset, 0);
    check(r, a.first_offset == r->m.written, "an offset was left out or given twice",
          a.first_offset, r->m.written);
    for (size_t i = 0; i < count; i++)
        r->m.number[r->m.written++] = first + (int)i;
    r->m.may = r->m.written;
    if (level == BECK_LEVEL_SYNCED)
        r->m.synced = r->m.written;
}

static void set_fault(struct run *r)
{
    static const unsigned ops[] = {VFS_OP_WRITE,  VFS_OP_SYNC,     VFS_OP_OPEN,
                                   VFS_OP_RENAME, VFS_OP_TRUNCATE, VFS_OP_SYNC_DIR,
                                   VFS_OP_READ,   VFS_OP_UNLINK,   VFS_OP_WRITE | VFS_OP_TRUNCATE,
                                   VFS_OP_ANY};
    r->faults = true;
    switch (rng_below(&r->rng, 4)) {
    case 0:
        /* Space for a few events, or none. */
        vfs_sim_capacity(r->w.vfs, (int64_t)rng_below(&r->rng, 200000));
        break;
    case 1:
        r->stopping = true;
        vfs_sim_stop_at(r->w.vfs, 1 + rng_below(&r->rng, 20));
        break;
    default:
        vfs_sim_fail(r->w.vfs, ops[rng_below(&r->rng, sizeof ops / sizeof *ops)],
                     1 + rng_below(&r->rng, 6), rng_below(&r->rng, 3) == 0,
                     rng_below(&r->rng, 2) ? BECK_EIO : BECK_EFULL);
    }
}

static void checkpoint(struct run *r)
{
    int64_t recovery_point, log_start;
    beck_error err = {0};
    beck_status status = partition_checkpoint(r->p, &recovery_point, &log_start, &err);
    check(r, status == 0 || r->faults || r->poisoned, "no checkpoint", status, 0);
    if (status) {
        r->poisoned = r->poisoned || status == BECK_EPOISONED;
        return;
    }
    check(r, log_start <= recovery_point && recovery_point == r->m.written, "a checkpoint lies",
          recovery_point, r->m.written);
    if (recovery_point > r->m.synced)
        r->m.synced = recovery_point;
    /* It may get lost before it is in its file. */
    if (rng_below(&r->rng, 4)) {
        r->recovery_point = recovery_point;
        r->log_start = log_start;
    }
}

static void maintain(struct run *r)
{
    beck_status status = partition_maintain(r->p, NULL, NULL);
    check(r, status == 0 || r->faults || r->poisoned, "no maintenance", status, 0);
    if (partition_first(r->p) > r->m.first)
        r->m.first = partition_first(r->p);
}

static void step(struct run *r)
{
    if (getenv("BECK_TEST_TRACE"))
        print_message("%s: written %lld, may %lld, synced %lld, recovery point %lld, faults %d\n",
                      r->step, (long long)r->m.written, (long long)r->m.may, (long long)r->m.synced,
                      (long long)r->recovery_point, r->faults);
    uint64_t chance = rng_below(&r->rng, 100);
    if (chance < 45) {
        r->step = "append";
        append(r);
    } else if (chance < 65) {
        r->step = "read";
        read_some(r, (int64_t)rng_below(&r->rng, (uint64_t)r->m.may + 1), 40);
    } else if (chance < 71) {
        r->step = "checkpoint";
        checkpoint(r);
    } else if (chance < 75) {
        r->step = "maintain";
        maintain(r);
    } else if (chance < 79) {
        r->step = "close";
        close_and_open(r);
    } else if (chance < 83) {
        r->step = "kill";
        stop_process(r);
    } else if (chance < 87) {
        r->step = "power";
        stop_power(r);
    } else if (chance < 94) {
        set_fault(r);
    } else {
        /* A disk without power does not come back by itself. */
        r->step = "fault ends";
        vfs_sim_fail(r->w.vfs, 0, 0, false, 0);
        vfs_sim_capacity(r->w.vfs, -1);
    }
}

static void run_seed(uint64_t seed)
{
    static struct run r;
    memset(&r, 0, sizeof r);
    r.seed = seed;
    r.step = "open";
    rng_seed(&r.rng, seed);
    world_open(&r.w, seed);
    r.w.options.bus.segment_bytes = 4096 << rng_below(&r.rng, 4);
    r.w.options.bus.codec = rng_below(&r.rng, 2) ? BECK_CODEC_NONE : BECK_CODEC_LZ4;
    r.w.options.bus.read_synced = rng_below(&r.rng, 3) == 0;
    if (rng_below(&r.rng, 3) == 0)
        r.w.options.bus.retention_bytes = 20000;
    open_again(&r, 0);
    for (int i = 0; i < STEPS; i++) {
        step(&r);
        world_advance(&r.w, 1);
    }
    r.step = "end";
    stop_power(&r);
    int64_t next = partition_next(r.p);
    append(&r);
    check(&r, partition_next(r.p) > next, "nothing more can be published", next, 0);
    assert_int_equal(partition_close(r.p, NULL), 0);
    world_close(&r.w);
}

static void what_was_confirmed_survives_its_kind_of_stop_on_a_failing_disk(void **state)
{
    (void)state;
    const char *only = getenv("BECK_TEST_SEED");
    if (only) {
        run_seed(strtoull(only, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_seed(seed);
}

/* ---- many threads ---- */

#define THREADS 4
#define EACH 400

struct publisher {
    struct partition *p;
    int id;
    int64_t offsets[EACH]; /* confirmed as synced; -1: not */
    _Atomic(int64_t) *recovery_point;
    _Atomic(bool) *stop;
};

static void *publish_until_it_stops(void *arg)
{
    struct publisher *me = arg;
    for (int i = 0; i < EACH; i++) {
        char text[64];
        bool synced = i % 3 != 0;
        int64_t offset;
        snprintf(text, sizeof text, "thread %d event %d", me->id, i);
        me->offsets[i] = -1;
        beck_level level = synced ? BECK_LEVEL_SYNCED : BECK_LEVEL_WRITTEN;
        if (me->id % 2 ? produce_one(me->p, me->id, i, text, level, &offset)
                       : put_event(me->p, "s", text, level, &offset))
            break;
        if (synced)
            me->offsets[i] = offset;
    }
    return NULL;
}

static void *look_after(void *arg)
{
    struct publisher *me = arg;
    while (!atomic_load(me->stop)) {
        int64_t recovery_point, log_start;
        if (!partition_checkpoint(me->p, &recovery_point, &log_start, NULL))
            atomic_store(me->recovery_point, recovery_point);
        partition_maintain(me->p, NULL, NULL);
    }
    return NULL;
}

static void expect_confirmed(struct partition *p, const struct publisher *publishers, uint64_t seed)
{
    struct cursor *c;
    const struct record_view *v;
    assert_int_equal(cursor_open(p, &c, NULL), 0);
    for (int t = 0; t < THREADS; t++) {
        for (int i = 0; i < EACH; i++) {
            char text[64];
            int64_t offset = publishers[t].offsets[i];
            if (offset < 0)
                continue;
            snprintf(text, sizeof text, "thread %d event %d", t, i);
            beck_status status = cursor_read(c, offset, false, &v, NULL, NULL);
            if (status || v->offset != offset || !bytes_equal_text(v->event.data, text))
                print_error("seed %llu: %s at %lld is missing\n", (unsigned long long)seed, text,
                            (long long)offset);
            assert_int_equal(status, 0);
            assert_int_equal(v->offset, offset);
            assert_true(bytes_equal_text(v->event.data, text));
        }
    }
    cursor_close(c);
}

/* The power goes at some write, while threads publish, sync, roll, and checkpoints are made. */
static void what_threads_were_told_is_synced_survives_loss_of_power(void **state)
{
    (void)state;
    static struct publisher publishers[THREADS];
    for (uint64_t seed = 1; seed <= effort(60, 30); seed++) {
        struct world w;
        pthread_t threads[THREADS], upkeep;
        _Atomic(int64_t) recovery_point = 0;
        _Atomic(bool) stop = false;
        world_open(&w, seed);
        struct partition *p = world_partition(&w, 0, 0);
        vfs_sim_stop_at(w.vfs, seed * 13);
        for (int i = 0; i < THREADS; i++) {
            publishers[i] = (struct publisher){.p = p, .id = i};
            memset(publishers[i].offsets, 0xff, sizeof publishers[i].offsets);
            pthread_create(&threads[i], NULL, publish_until_it_stops, &publishers[i]);
        }
        struct publisher keeper = {.p = p, .recovery_point = &recovery_point, .stop = &stop};
        pthread_create(&upkeep, NULL, look_after, &keeper);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        atomic_store(&stop, true);
        pthread_join(upkeep, NULL);
        partition_abandon(p);
        vfs_sim_stop_at(w.vfs, 0);
        vfs_sim_crash(w.vfs);
        p = world_partition(&w, atomic_load(&recovery_point), 0);
        expect_confirmed(p, publishers, seed);
        assert_int_equal(partition_close(p, NULL), 0);
        world_close(&w);
    }
}

/* ---- memory ---- */

/* Whatever fails for want of memory, fails cleanly: what was confirmed stays, and all works again. */
static void memory_that_runs_out_leaves_the_partition_usable(void **state)
{
    (void)state;
    for (int forever = 0; forever < 2; forever++) {
        bool reached = true;
        for (long nth = 1; reached; nth++) {
            static struct run r;
            memset(&r, 0, sizeof r);
            r.seed = (uint64_t)nth;
            r.step = "memory";
            rng_seed(&r.rng, 7);
            world_open(&r.w, (uint64_t)nth);
            r.w.options.bus.codec = BECK_CODEC_LZ4;
            r.w.options.bus.compact = true;
            open_again(&r, 0);
            r.faults = true;
            failing_malloc_at(nth, forever);
            for (int i = 0; i < 25; i++)
                append(&r);
            read_some(&r, 3, 100);
            checkpoint(&r);
            maintain(&r);
            read_some(&r, 0, 100);
            reached = failing_malloc_count() >= nth;
            failing_malloc_at(0, false);
            r.faults = false;
            check(&r, !r.poisoned, "poisoned", 0, 0);
            append(&r);
            check(&r, read_some(&r, 0, EVENTS_MAX) == r.m.written, "events are missing", nth, 0);
            checkpoint(&r);
            stop_power(&r);
            assert_int_equal(partition_close(r.p, NULL), 0);
            world_close(&r.w);
            if (forever)
                nth += nth / 8;
        }
    }
}

static void opening_without_memory_fails_and_works_later(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct partition *p = world_partition(&w, 0, 0);
    for (int i = 0; i < 200; i++)
        assert_int_equal(put_event(p, "s", "some data", BECK_LEVEL_WRITTEN, NULL), 0);
    partition_abandon(p);
    for (int forever = 0; forever < 2; forever++) {
        bool reached = true;
        for (long nth = 1; reached; nth++) {
            beck_error err;
            failing_malloc_at(nth, forever);
            beck_status status =
                partition_open(&w.env, DIR_B, "b", 0, &w.options, 100, 0, &p, &err);
            reached = failing_malloc_count() >= nth;
            failing_malloc_at(0, false);
            assert_true(status == 0 || status == BECK_ENOMEM);
            if (status == 0) {
                assert_int_equal(partition_next(p), 200);
                partition_abandon(p);
            }
        }
    }
    p = world_partition(&w, 0, 0);
    assert_int_equal(partition_next(p), 200);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_confirmed_survives_its_kind_of_stop_on_a_failing_disk),
        cmocka_unit_test(what_threads_were_told_is_synced_survives_loss_of_power),
        cmocka_unit_test(memory_that_runs_out_leaves_the_partition_usable),
        cmocka_unit_test(opening_without_memory_fails_and_works_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
