/* Upkeep of a partition: retention, what queues are owed, compaction, checkpoints. On the simulated
 * disk, with a clock that the test moves. */
#include "world.h"
#include "produced.h"

#include "log/partition_impl.h"
#include "support/effort.h"

static void maintain(struct partition *p, const struct partition_owed *owed)
{
    beck_error err = {0};
    beck_status status = partition_maintain(p, owed, &err);
    if (status)
        print_error("maintain: %s\n", err.text);
    assert_int_equal(status, 0);
}

static void fill(struct partition *p, int from, int to)
{
    for (int i = from; i < to; i++) {
        char text[64];
        int64_t offset;
        snprintf(text, sizeof text, "event number %d", i);
        assert_int_equal(put_event(p, "s", text, BECK_LEVEL_WRITTEN, &offset), 0);
        assert_int_equal(offset, i);
    }
}

/* Reads from `offset` on; every event must be the one of its offset. Returns how many there are. */
static int read_from(struct partition *p, int64_t offset, bool below_first, int64_t *first)
{
    struct cursor *c;
    const struct record_view *v;
    int count = 0;
    beck_status status;
    beck_error err = {0};
    assert_int_equal(cursor_open(p, &c, NULL), 0);
    *first = -1;
    while ((status = cursor_read(c, offset, below_first, &v, NULL, &err)) == BECK_OK) {
        char text[64];
        int len = snprintf(text, sizeof text, "event number %d", (int)v->offset);
        assert_int_equal(v->event.data.len, len);
        assert_memory_equal(v->event.data.data, text, (size_t)len);
        assert_true(v->offset >= offset);
        if (*first < 0)
            *first = v->offset;
        offset = v->offset + 1;
        count++;
    }
    if (status != BECK_END)
        print_error("read: %s\n", err.text);
    assert_int_equal(status, BECK_END);
    cursor_close(c);
    return count;
}

/* ---- retention ---- */

static void segments_older_than_the_retention_time_go_and_the_rest_stays(void **state)
{
    (void)state;
    struct world w;
    int64_t first;
    world_open(&w, 1);
    w.options.bus.retention_ms = 3600000;
    struct partition *p = world_partition(&w, 0, 0);
    fill(p, 0, 200);
    world_advance(&w, 1800000);
    fill(p, 200, 400);
    uint32_t segments = segments_of(p);
    maintain(p, NULL);
    assert_int_equal(segments_of(p), segments);
    assert_int_equal(read_from(p, 0, false, &first), 400);
    world_advance(&w, 1800001);
    maintain(p, NULL);
    assert_true(segments_of(p) < segments);
    int count = read_from(p, 0, false, &first);
    /* Whole segments: the one with event 200 in it stays. */
    assert_true(first > 100 && first <= 200);
    assert_int_equal(count, 400 - first);
    assert_int_equal(partition_first(p), first);
    int64_t recovery_point, log_start;
    assert_int_equal(partition_checkpoint(p, &recovery_point, &log_start, NULL), 0);
    assert_int_equal(log_start, first);
    assert_int_equal(partition_close(p, NULL), 0);
    p = world_partition(&w, recovery_point, log_start);
    assert_int_equal(read_from(p, 0, false, &log_start), count);
    assert_int_equal(log_start, first);
    assert_int_equal(partition_close(p, NULL), 0);
    assert_int_equal(w.reports, 0);
    world_close(&w);
}

static void the_last_event_of_an_idle_bus_expires_too_and_offsets_go_on(void **state)
{
    (void)state;
    struct world w;
    int64_t first, offset;
    world_open(&w, 2);
    w.options.bus.retention_ms = 1000;
    struct partition *p = world_partition(&w, 0, 0);
    fill(p, 0, 3);
    world_advance(&w, 1001);
    maintain(p, NULL);
    assert_int_equal(read_from(p, 0, false, &first), 0);
    assert_int_equal(segments_of(p), 1);
    beck_partition_info info;
    partition_info(p, &info);
    assert_int_equal(info.bytes, 0);
    maintain(p, NULL);
    assert_int_equal(segments_of(p), 1);
    assert_int_equal(partition_close(p, NULL), 0);
    p = world_partition(&w, 3, 3);
    assert_int_equal(put_event(p, "s", "event number 3", BECK_LEVEL_SYNCED, &offset), 0);
    assert_int_equal(offset, 3);
    assert_int_equal(read_from(p, 0, false, &first), 1);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

static void put_at(struct partition *p, int number, int64_t time_ns)
{
    beck_event e = {.type = beck_str("t.x"), .subject = beck_str("s"), .time_ns = time_ns};
    char text[64];
    snprintf(text, sizeof text, "event number %d", number);
    e.data = beck_str(text);
    const beck_event *list[] = {&e};
    struct append a = {.events = list, .count = 1, .level = BECK_LEVEL_WRITTEN};
    assert_int_equal(partition_append(p, &a, NULL), 0);
}

/* What comes now closes the segment, by the times of its records. */
static void what_came_with_an_old_time_can_be_read_before_its_segment_goes(void **state)
{
    (void)state;
    struct world w;
    int64_t first;
    world_open(&w, 1);
    w.options.bus.retention_ms = 3600000;
    w.options.bus.segment_ms = 60000;
    struct partition *p = world_partition(&w, 0, 0);
    put_at(p, 0, 1000000);
    put_at(p, 1, 0);
    assert_int_equal(segments_of(p), 2);
    world_advance(&w, 299999);
    maintain(p, NULL);
    assert_int_equal(read_from(p, 0, false, &first), 2);
    world_advance(&w, 2);
    maintain(p, NULL);
    assert_int_equal(read_from(p, 0, false, &first), 1);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

static void what_came_with_an_old_time_stays_for_the_retention_time(void **state)
{
    (void)state;
    struct world w;
    int64_t first;
    world_open(&w, 1);
    w.options.bus.retention_ms = 10000;
    struct partition *p = world_partition(&w, 0, 0);
    for (int i = 0; i < 3; i++)
        put_at(p, i, 1000000);
    world_advance(&w, 9999);
    maintain(p, NULL);
    assert_int_equal(read_from(p, 0, false, &first), 3);
    world_advance(&w, 2);
    maintain(p, NULL);
    assert_int_equal(read_from(p, 0, false, &first), 0);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

static void retention_by_size_drops_the_oldest_and_keeps_what_was_asked_for(void **state)
{
    (void)state;
    struct world w;
    int64_t first;
    world_open(&w, 3);
    w.options.bus.retention_bytes = 20000;
    struct partition *p = world_partition(&w, 0, 0);
    for (int i = 0; i < 10; i++) {
        fill(p, i * 100, i * 100 + 100);
        maintain(p, NULL);
        beck_partition_info info;
        partition_info(p, &info);
        assert_true(info.bytes <= 20000 + 4096);
        int count = read_from(p, 0, false, &first);
        assert_int_equal(first + count, i * 100 + 100);
        assert_true(first == 0 || info.bytes >= 20000);
    }
    assert_true(first > 0);
    assert_int_equal(partition_close(p, NULL), 0);
    /* The sizes of files that nobody has opened count too. */
    w.options.bus.retention_bytes = 5000;
    p = world_partition(&w, 1000, first);
    maintain(p, NULL);
    beck_partition_info info;
    partition_info(p, &info);
    assert_true(info.bytes <= 5000 + 4096 && info.bytes >= 5000);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

static void what_is_stored_is_told_without_opening_the_same_file_twice(void **state)
{
    (void)state;
    struct world w;
    beck_partition_info fresh, opened, again;
    world_open(&w, 3);
    struct partition *p = world_partition(&w, 0, 0);
    for (int i = 0; i < 10; i++) {
        fill(p, i * 100, i * 100 + 100);
        world_advance(&w, 5);
    }
    partition_info(p, &fresh);
    assert_true(fresh.segments > 3 && fresh.newest_ms - fresh.oldest_ms == 45);
    assert_int_equal(partition_close(p, NULL), 0);
    p = world_partition(&w, 1000, 0);
    partition_info(p, &opened);
    assert_int_equal(opened.bytes, fresh.bytes);
    assert_int_equal(opened.oldest_ms, fresh.oldest_ms);
    assert_int_equal(opened.newest_ms, fresh.newest_ms);
    uint64_t calls = vfs_sim_calls(w.vfs, VFS_OP_ANY);
    partition_info(p, &again);
    assert_int_equal(vfs_sim_calls(w.vfs, VFS_OP_ANY), calls);
    assert_true(again.bytes == opened.bytes && again.oldest_ms == opened.oldest_ms &&
                again.newest_ms == opened.newest_ms);
    /* One that was rolled since, and those that went. */
    fill(p, 1000, 1300);
    partition_info(p, &again);
    assert_true(again.bytes > opened.bytes && again.segments > opened.segments);
    assert_int_equal(partition_truncate_before(p, 1200, NULL), 0);
    maintain(p, NULL);
    partition_info(p, &again);
    assert_true(again.bytes < opened.bytes && again.oldest_ms > opened.oldest_ms);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

static void truncated_events_are_hidden_at_once_and_removed_by_maintenance(void **state)
{
    (void)state;
    struct world w;
    int64_t first;
    world_open(&w, 4);
    struct partition *p = world_partition(&w, 0, 0);
    fill(p, 0, 300);
    int files = world_files(&w);
    assert_int_equal(partition_truncate_before(p, 250, NULL), 0);
    assert_int_equal(read_from(p, 0, false, &first), 50);
    assert_int_equal(first, 250);
    assert_int_equal(world_files(&w), files);
    maintain(p, NULL);
    assert_true(world_files(&w) < files);
    assert_int_equal(read_from(p, 0, false, &first), 50);
    /* Never back, never beyond the end. */
    assert_int_equal(partition_truncate_before(p, 10, NULL), 0);
    assert_int_equal(partition_first(p), 250);
    assert_int_equal(partition_truncate_before(p, 5000, NULL), 0);
    assert_int_equal(partition_first(p), 300);
    maintain(p, NULL);
    assert_int_equal(segments_of(p), 1);
    fill(p, 300, 310);
    assert_int_equal(read_from(p, 0, false, &first), 10);
    assert_int_equal(partition_close(p, NULL), 0);
    p = world_partition(&w, 310, 300);
    assert_int_equal(read_from(p, 0, false, &first), 10);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

/* ---- what queues are owed ---- */

struct ledger {
    bool owed[4096];
    int64_t from, to; /* the range announced last */
};

static void ledger_begin(void *ctx, struct partition *p, int64_t first, int64_t next)
{
    struct ledger *l = ctx;
    assert_true(first < next);
    assert_false(mutex_held(&p->lock));
    l->from = first;
    l->to = next;
}

static bool ledger_owed(void *ctx, int64_t offset)
{
    const struct ledger *l = ctx;
    assert_true(offset >= l->from && offset < l->to);
    return l->owed[offset];
}

static void expect_owed(struct partition *p, const struct ledger *l, int64_t below)
{
    struct cursor *c;
    const struct record_view *v;
    assert_int_equal(cursor_open(p, &c, NULL), 0);
    for (int64_t i = 0; i < below; i++) {
        if (!l->owed[i])
            continue;
        assert_int_equal(cursor_read(c, i, true, &v, NULL, NULL), 0);
        assert_int_equal(v->offset, i);
    }
    cursor_close(c);
}

static void what_a_queue_owes_survives_retention_in_every_codec(void **state)
{
    (void)state;
    for (int codec = 0; codec <= 4; codec++) {
        struct world w;
        static struct ledger l;
        struct partition_owed owed = {ledger_begin, ledger_owed, &l};
        struct rng rng;
        int64_t first;
        rng_seed(&rng, (uint64_t)codec);
        memset(&l, 0, sizeof l);
        world_open(&w, 5);
        w.options.bus.codec = (beck_codec)codec;
        struct partition *p = world_partition(&w, 0, 0);
        for (int i = 0; i < 1000;) {
            /* Batches of several events, so that parts of them stay. */
            char texts[8][64];
            beck_event events[8];
            const beck_event *list[8];
            int count = 1 + (int)rng_below(&rng, 8);
            for (int k = 0; k < count; k++) {
                snprintf(texts[k], sizeof texts[k], "event number %d", i + k);
                events[k] = (beck_event){.type = beck_str("t"), .data = beck_str(texts[k])};
                list[k] = &events[k];
            }
            struct append a = {.events = list, .count = (size_t)count, .level = BECK_LEVEL_WRITTEN};
            assert_int_equal(partition_append(p, &a, NULL), 0);
            i += count;
        }
        int64_t end = partition_next(p);
        for (int64_t i = 0; i < end; i++)
            l.owed[i] = rng_below(&rng, i < 500 ? 10 : 40) == 0;
        int files = world_files(&w);
        assert_int_equal(partition_truncate_before(p, end, NULL), 0);
        beck_partition_info before, after;
        partition_info(p, &before);
        maintain(p, &owed);
        partition_info(p, &after);
        assert_true(after.bytes < before.bytes / 3);
        expect_owed(p, &l, end);
        assert_int_equal(read_from(p, 0, false, &first), 0);
        /* Nothing is rewritten again for little. */
        uint64_t writes = vfs_sim_calls(w.vfs, VFS_OP_WRITE | VFS_OP_RENAME);
        maintain(p, &owed);
        assert_int_equal(vfs_sim_calls(w.vfs, VFS_OP_WRITE | VFS_OP_RENAME), writes);
        assert_int_equal(partition_close(p, NULL), 0);
        p = world_partition(&w, end, end);
        expect_owed(p, &l, end);
        /* Settled: all of it goes. */
        memset(l.owed, 0, sizeof l.owed);
        maintain(p, &owed);
        assert_int_equal(segments_of(p), 1);
        assert_true(world_files(&w) < files);
        assert_int_equal(partition_close(p, NULL), 0);
        assert_int_equal(w.reports, 0);
        world_close(&w);
    }
}

static void a_segment_of_which_most_is_owed_stays_as_it_is(void **state)
{
    (void)state;
    struct world w;
    static struct ledger l;
    struct partition_owed owed = {ledger_begin, ledger_owed, &l};
    world_open(&w, 6);
    struct partition *p = world_partition(&w, 0, 0);
    fill(p, 0, 500);
    for (int i = 0; i < 500; i++)
        l.owed[i] = i % 3 != 0;
    assert_int_equal(partition_truncate_before(p, 500, NULL), 0);
    uint32_t segments = segments_of(p);
    maintain(p, &owed);
    assert_int_equal(segments_of(p), segments + 1);
    beck_partition_info info;
    partition_info(p, &info);
    assert_true(info.bytes > 500 * 80);
    expect_owed(p, &l, 500);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

static void a_damaged_segment_stays_while_something_is_owed_of_it_and_the_rest_goes(void **state)
{
    (void)state;
    struct world w;
    static struct ledger l;
    struct partition_owed owed = {ledger_begin, ledger_owed, &l};
    beck_error err = {0};
    world_open(&w, 11);
    memset(&l, 0, sizeof l);
    struct partition *p = world_partition(&w, 0, 0);
    fill(p, 0, 500);
    uint32_t segments = segments_of(p);
    l.owed[3] = l.owed[499] = true;
    vfs_sim_flip(w.vfs, DIR_B "/00000000000000000000.log", 1000, 2);
    assert_int_equal(partition_truncate_before(p, 500, NULL), 0);
    assert_int_equal(partition_maintain(p, &owed, &err), BECK_ECORRUPT);
    assert_non_null(strstr(err.text, "00000000000000000000.log"));
    assert_true(segments > 5);
    assert_int_equal(segments_of(p), 3);
    l.owed[3] = false;
    maintain(p, &owed);
    assert_int_equal(segments_of(p), 2);
    expect_owed(p, &l, 500);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

static void a_full_disk_keeps_what_must_be_copied_and_the_rest_goes(void **state)
{
    (void)state;
    struct world w;
    static struct ledger l;
    struct partition_owed owed = {ledger_begin, ledger_owed, &l};
    beck_error err = {0};
    world_open(&w, 12);
    struct partition *p = world_partition(&w, 0, 0);
    fill(p, 0, 500);
    assert_true(segments_of(p) > 5);
    assert_int_equal(partition_truncate_before(p, 500, NULL), 0);
    /* All of it is owed: only the active segment is rolled. */
    memset(l.owed, true, sizeof l.owed);
    maintain(p, &owed);
    memset(l.owed, false, sizeof l.owed);
    l.owed[3] = l.owed[60] = true;
    vfs_sim_fail(w.vfs, VFS_OP_WRITE, 1, true, BECK_EFULL);
    assert_int_equal(partition_maintain(p, &owed, &err), BECK_EFULL);
    assert_non_null(strstr(err.text, "00000000000000000000.log.cleaned"));
    uint32_t owing = segments_of(p) - 1;
    assert_int_equal(owing, 2);
    expect_owed(p, &l, 500);
    /* Again with the room that they left. */
    vfs_sim_fail(w.vfs, 0, 0, false, BECK_OK);
    beck_partition_info before, after;
    partition_info(p, &before);
    maintain(p, &owed);
    partition_info(p, &after);
    assert_true(after.bytes < before.bytes / 2);
    expect_owed(p, &l, 500);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

/* ---- checkpoints ---- */

static void a_checkpoint_without_changes_touches_nothing(void **state)
{
    (void)state;
    struct world w;
    int64_t recovery_point, log_start;
    world_open(&w, 7);
    struct partition *p = world_partition(&w, 0, 0);
    fill(p, 0, 100);
    assert_int_equal(partition_checkpoint(p, &recovery_point, &log_start, NULL), 0);
    assert_int_equal(recovery_point, 100);
    assert_int_equal(log_start, 0);
    uint64_t calls = vfs_sim_calls(w.vfs, VFS_OP_ANY);
    assert_int_equal(partition_checkpoint(p, &recovery_point, &log_start, NULL), 0);
    assert_int_equal(recovery_point, 100);
    assert_int_equal(vfs_sim_calls(w.vfs, VFS_OP_ANY), calls);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

static beck_status produce(struct partition *p, int64_t id, int32_t sequence, int64_t *offset)
{
    return produce_one(p, id, sequence, "produced", BECK_LEVEL_SYNCED, offset);
}

static void producers_are_known_after_loss_of_power_wherever_the_checkpoint_was(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= effort(60, 15); seed++) {
        struct world w;
        struct rng rng;
        int64_t recovery_point = 0, log_start = 0, offset, first_offset[3] = {0};
        int32_t sequence[3] = {0};
        rng_seed(&rng, seed);
        world_open(&w, seed);
        w.options.bus.retention_bytes = 2048;
        w.options.bus.segment_bytes = 1024;
        struct partition *p = world_partition(&w, 0, 0);
        for (int i = 0; i < 400; i++) {
            /* The last one comes seldom: its batches may have gone. */
            int id = rng_below(&rng, 40) ? (int)rng_below(&rng, 2) : 2;
            assert_int_equal(produce(p, id, sequence[id], &offset), 0);
            first_offset[id] = offset;
            sequence[id]++;
            uint64_t chance = rng_below(&rng, 40);
            if (chance == 0)
                assert_int_equal(partition_checkpoint(p, &recovery_point, &log_start, NULL), 0);
            if (chance == 1)
                maintain(p, NULL);
            /* The new recovery point did not get into the file. */
            if (chance == 2) {
                int64_t lost;
                assert_int_equal(partition_checkpoint(p, &lost, &log_start, NULL), 0);
            }
            if (chance != 3)
                continue;
            partition_abandon(p);
            vfs_sim_crash(w.vfs);
            p = world_partition(&w, recovery_point, log_start);
            for (int k = 0; k < 3; k++) {
                if (sequence[k] == 0)
                    continue;
                assert_int_equal(produce(p, k, sequence[k] - 1, &offset), BECK_EDUPLICATE);
                assert_int_equal(offset, first_offset[k]);
                assert_int_equal(produce(p, k, sequence[k] + 1, &offset), BECK_ESEQUENCE);
            }
        }
        assert_int_equal(partition_checkpoint(p, &recovery_point, &log_start, NULL), 0);
        assert_int_equal(partition_checkpoint(p, &recovery_point, &log_start, NULL), 0);
        partition_abandon(p);
        world_close(&w);
    }
}

/* ---- compaction ---- */

#define KEYS 40
#define EVENTS_MAX 4096

/* What was published: key and data (NULL text: a tombstone) of every offset. */
struct model {
    int count;
    int key[EVENTS_MAX]; /* -1: none */
    bool tombstone[EVENTS_MAX];
    int64_t at_ms[EVENTS_MAX];
    bool hidden[EVENTS_MAX]; /* below first */
    int newest[KEYS];        /* offset; -1: none */
};

static void model_init(struct model *m)
{
    m->count = 0;
    memset(m->hidden, 0, sizeof m->hidden);
    for (int i = 0; i < KEYS; i++)
        m->newest[i] = -1;
}

/* Large enough for index entries. */
static void model_text(char *text, size_t size, int number)
{
    int len = snprintf(text, size, "event number %d ", number);
    memset(text + len, 'x', size - 1 - (size_t)len);
    text[len + number % 400] = 0;
}

/* As a batch of a producer, compressed in some way. */
static beck_status produce_events(struct world *w, struct partition *p, const beck_event *events,
                                  size_t count, struct rng *rng)
{
    struct buf batch;
    buf_init(&batch, 1 << 20);
    beck_status status = make_batch(&batch, events, count, clock_wall_ms(w->env.clock),
                                    (beck_codec)rng_below(rng, 5), NULL);
    struct produce a = {.batch = batch.data,
                        .size = batch.len,
                        .level = BECK_LEVEL_SYNCED,
                        .append_time = rng_below(rng, 2)};
    if (!status)
        status = partition_produce(p, &a, NULL);
    buf_release(&batch);
    return status;
}

static bool publish(struct world *w, struct partition *p, struct model *m, struct rng *rng)
{
    beck_event events[6];
    const beck_event *list[6];
    char subjects[6][16], texts[6][512];
    int count = 1 + (int)rng_below(rng, 6);
    for (int i = 0; i < count; i++) {
        int at = m->count + i;
        /* Some keys are rare. */
        int key = (int)rng_below(rng, rng_below(rng, 4) ? KEYS / 4 : KEYS);
        m->key[at] = rng_below(rng, 20) ? key : -1;
        m->tombstone[at] = m->key[at] >= 0 && rng_below(rng, 8) == 0;
        m->at_ms[at] = clock_wall_ms(w->env.clock);
        snprintf(subjects[i], sizeof subjects[i], "key-%d", m->key[at]);
        model_text(texts[i], sizeof texts[i], at);
        events[i] = (beck_event){
            .type = beck_str("t"),
            .subject = m->key[at] < 0 ? bytes_of(NULL, 0) : beck_str(subjects[i]),
            .data = m->tombstone[at] ? bytes_of(NULL, 0) : beck_str(texts[i]),
        };
        list[i] = &events[i];
    }
    struct append a = {.events = list, .count = (size_t)count, .level = BECK_LEVEL_SYNCED};
    beck_status status = rng_below(rng, 2) ? partition_append(p, &a, NULL)
                                           : produce_events(w, p, events, (size_t)count, rng);
    if (status)
        return false;
    for (int i = 0; i < count; i++, m->count++)
        if (m->key[m->count] >= 0)
            m->newest[m->key[m->count]] = m->count;
    return true;
}

/* Everything that is there is what was published, the newest of each key is there (a tombstone may
 * have gone a day later), no older one came back alone, and what is owed is there. Returns how many
 * events there are. */
static int expect_model(struct world *w, struct partition *p, const struct model *m,
                        const struct ledger *l, uint64_t seed)
{
    struct cursor *c;
    const struct record_view *v;
    int64_t offset = 0;
    int seen = 0;
    static bool there[EVENTS_MAX];
    beck_status status;
    beck_error err = {0};
    memset(there, 0, sizeof there);
    assert_int_equal(cursor_open(p, &c, NULL), 0);
    while ((status = cursor_read(c, offset, false, &v, NULL, &err)) == BECK_OK) {
        char text[512], subject[16];
        int i = (int)v->offset;
        assert_true(i >= offset && i < m->count);
        model_text(text, sizeof text, i);
        snprintf(subject, sizeof subject, "key-%d", m->key[i]);
        assert_int_equal(v->value_is_null, m->tombstone[i]);
        assert_int_equal(v->timestamp_ms, m->at_ms[i]);
        if (!m->tombstone[i])
            assert_true(bytes_equal_text(v->event.data, text));
        if (m->key[i] < 0)
            assert_null(v->key.data);
        else
            assert_true(bytes_equal_text(v->key, subject));
        there[i] = true;
        seen++;
        offset = v->offset + 1;
    }
    if (status != BECK_END)
        print_error("seed %llu: %s\n", (unsigned long long)seed, err.text);
    assert_int_equal(status, BECK_END);
    /* The way to each through the indexes. */
    for (int i = m->count; i-- > 0;) {
        if (!there[i])
            continue;
        assert_int_equal(cursor_read(c, i, false, &v, NULL, NULL), 0);
        assert_int_equal(v->offset, i);
    }
    cursor_close(c);
    int64_t day_ago = clock_wall_ms(w->env.clock) - DAY_MS;
    for (int i = 0; i < m->count; i++) {
        if (m->hidden[i]) {
            assert_false(there[i]);
            continue;
        }
        bool newest = m->key[i] < 0 || m->newest[m->key[i]] == i;
        bool may_go = m->tombstone[i] && m->at_ms[i] < day_ago;
        bool must = (newest && !may_go) || (l && l->owed[i]);
        /* An older one may stay only while a newer one does. */
        bool newer = false;
        for (int j = i + 1; j < m->count && !newer && !newest; j++)
            newer = there[j] && m->key[j] == m->key[i];
        bool wrong = (must && !there[i]) || (there[i] && !newest && !newer);
        if (wrong)
            print_error("seed %llu: event %d of %d, key %d: %s\n", (unsigned long long)seed, i,
                        m->count, m->key[i], there[i] ? "came back" : "missing");
        assert_false(wrong);
    }
    return seen;
}

static void compaction_keeps_the_newest_event_of_each_subject(void **state)
{
    (void)state;
    static struct model m;
    static struct ledger l;
    for (uint64_t seed = 1; seed <= effort(60, 15); seed++) {
        struct world w;
        struct rng rng;
        struct partition_owed owed = {ledger_begin, ledger_owed, &l};
        int64_t recovery_point = 0, log_start = 0;
        rng_seed(&rng, seed);
        model_init(&m);
        memset(&l, 0, sizeof l);
        world_open(&w, seed);
        w.options.bus.compact = true;
        w.options.bus.segment_bytes = 16384;
        w.options.bus.codec = (beck_codec)(seed % 5);
        struct partition *p = world_partition(&w, 0, 0);
        while (m.count < 600) {
            p->compact_keys = 1 + rng_below(&rng, 30);
            assert_true(publish(&w, p, &m, &rng));
            uint64_t chance = rng_below(&rng, 30);
            if (chance < 3) {
                world_advance(&w, (int64_t)rng_below(&rng, 2 * DAY_MS));
                maintain(p, &owed);
                expect_model(&w, p, &m, &l, seed);
            } else if (chance < 6) {
                l.owed[rng_below(&rng, (uint64_t)m.count)] = false;
                int64_t place = (int64_t)rng_below(&rng, (uint64_t)m.count);
                struct cursor *c;
                const struct record_view *v;
                assert_int_equal(cursor_open(p, &c, NULL), 0);
                if (cursor_read(c, place, false, &v, NULL, NULL) == BECK_OK)
                    l.owed[v->offset] = true;
                cursor_close(c);
            } else if (chance == 6) {
                assert_int_equal(partition_checkpoint(p, &recovery_point, &log_start, NULL), 0);
                if (rng_below(&rng, 2))
                    assert_int_equal(partition_close(p, NULL), 0);
                else
                    partition_abandon(p), vfs_sim_crash(w.vfs);
                p = world_partition(&w, recovery_point, log_start);
                expect_model(&w, p, &m, &l, seed);
            }
        }
        memset(&l.owed, 0, sizeof l.owed);
        /* All sealed, and the horizon of every tombstone has passed: one event of each key is left. */
        world_advance(&w, 2 * DAY_MS);
        mutex_lock(&p->lock);
        assert_int_equal(partition_roll(p, NULL), 0);
        mutex_unlock(&p->lock);
        p->cleaned = 0;
        maintain(p, &owed);
        world_advance(&w, DAY_MS + 1);
        maintain(p, &owed);
        int expected = 0;
        for (int i = 0; i < m.count; i++)
            expected += m.key[i] < 0 || (m.newest[m.key[i]] == i && !m.tombstone[i]);
        int seen = expect_model(&w, p, &m, &l, seed);
        assert_int_equal(seen, expected);
        assert_int_equal(partition_close(p, NULL), 0);
        assert_int_equal(w.reports, 0);
        world_close(&w);
    }
}

static void hide(struct model *m, int offset)
{
    if (m->key[offset] >= 0 && m->newest[m->key[offset]] == offset)
        m->newest[m->key[offset]] = -1;
    m->hidden[offset] = true;
}

/* Stops at each write of one maintenance: nothing is lost, and the log opens. */
static void a_stop_at_any_write_of_a_compaction_loses_nothing(void **state)
{
    (void)state;
    static struct model m;
    static struct ledger l;
    bool finished = false;
    for (uint64_t stop = 1; !finished; stop++) {
        for (uint64_t turn = 0; turn < effort(6, 2); turn++) {
            struct world w;
            struct rng rng;
            struct partition_owed owed = {ledger_begin, ledger_owed, &l};
            rng_seed(&rng, 77);
            model_init(&m);
            memset(&l, 0, sizeof l);
            world_open(&w, stop * 8 + turn);
            w.options.bus.compact = true;
            w.options.bus.segment_bytes = 24576;
            struct partition *p = world_partition(&w, 0, 0);
            while (m.count < 300)
                assert_true(publish(&w, p, &m, &rng));
            for (int i = 0; i < m.count; i++)
                l.owed[i] = rng_below(&rng, i < 40 ? 10 : 2) == 0;

            assert_int_equal(partition_truncate_before(p, 40, NULL), 0);
            int64_t recovery_point, log_start;
            assert_int_equal(partition_checkpoint(p, &recovery_point, &log_start, NULL), 0);
            vfs_sim_stop_at(w.vfs, stop);
            finished = partition_maintain(p, &owed, NULL) == BECK_OK;
            partition_abandon(p);
            vfs_sim_stop_at(w.vfs, 0);
            if (turn)
                vfs_sim_crash(w.vfs);
            else
                vfs_sim_kill(w.vfs);
            p = world_partition(&w, recovery_point, log_start);
            expect_owed(p, &l, 40);
            for (int i = 0; i < 40; i++)
                hide(&m, i);
            expect_model(&w, p, &m, &l, stop);
            /* And all can be done again. */
            maintain(p, &owed);
            expect_owed(p, &l, 40);
            expect_model(&w, p, &m, &l, stop);
            assert_int_equal(partition_close(p, NULL), 0);
            /* Nothing was found to be wrong either. */
            assert_int_equal(w.reports, 0);
            world_close(&w);
        }
    }
}

/* ---- indexes ---- */

static void expect_time_finds(struct partition *p, int64_t start_ms, int count)
{
    for (int i = 0; i < count; i += 7) {
        int64_t offset;
        beck_from from = {.kind = BECK_FROM_TIME, .time_ms = start_ms + i * 10};
        assert_int_equal(partition_resolve(p, &from, &offset, NULL), 0);
        assert_int_equal(offset, i);
    }
}

static int unlink_index(void *ctx, const char *name, bool is_dir)
{
    char path[256];
    const char *suffix = strrchr(name, '.');
    (void)is_dir;
    struct names {
        struct vfs *vfs;
        char names[512][64];
        int count;
    } *n = ctx;
    snprintf(path, sizeof path, "%s", name);
    if (suffix && (strcmp(suffix, ".index") == 0 || strcmp(suffix, ".timeindex") == 0) &&
        n->count < 512)
        snprintf(n->names[n->count++], 64, "%.63s", name);
    return 0;
}

static void indexes_that_are_missing_or_wrong_are_made_again(void **state)
{
    (void)state;
    static struct {
        struct vfs *vfs;
        char names[512][64];
        int count;
    } names;
    for (int damage = 0; damage < 3; damage++) {
        struct world w;
        int64_t first;
        char path[128];
        world_open(&w, 8);
        w.options.bus.segment_bytes = 20000;
        struct partition *p = world_partition(&w, 0, 0);
        int64_t start_ms = clock_wall_ms(w.env.clock);
        for (int i = 0; i < 1000; i++) {
            fill(p, i, i + 1);
            world_advance(&w, 10);
        }
        assert_int_equal(partition_close(p, NULL), 0);
        names.vfs = w.vfs;
        names.count = 0;
        assert_int_equal(vfs_list(w.vfs, DIR_B, unlink_index, &names, NULL), 0);
        assert_true(names.count > 8);
        for (int i = 0; i < names.count; i++) {
            snprintf(path, sizeof path, "%s/%s", DIR_B, names.names[i]);
            if (damage == 0)
                assert_int_equal(vfs_unlink(w.vfs, path, NULL), 0);
            else if (damage == 1 || strstr(path, ".timeindex"))
                vfs_sim_flip(w.vfs, path, 8, 7);
        }
        p = world_partition(&w, 1000, 0);
        expect_time_finds(p, start_ms, 1000);
        assert_int_equal(read_from(p, 0, false, &first), 1000);
        assert_int_equal(read_from(p, 523, false, &first), 477);
        assert_int_equal(partition_close(p, NULL), 0);
        int reports = w.reports;
        assert_true(damage == 0 ? reports == 0 : reports > 0);
        /* For good. */
        p = world_partition(&w, 1000, 0);
        expect_time_finds(p, start_ms, 1000);
        assert_int_equal(partition_close(p, NULL), 0);
        assert_int_equal(w.reports, reports);
        world_close(&w);
    }
}

/* Times that do not grow: the largest one lies before the place where recovery begins. */
static void the_largest_time_of_a_segment_is_known_after_recovery(void **state)
{
    (void)state;
    for (int64_t at = 0; at < 400; at += 23) {
        struct world w;
        int64_t recovery_point, log_start, offset;
        world_open(&w, 9);
        w.options.bus.segment_bytes = 1 << 20;
        struct partition *p = world_partition(&w, 0, 0);
        for (int64_t i = 0; i < 400; i++) {
            beck_event e = {.type = beck_str("t"),
                            .data = beck_str("data"),
                            .time_ns = (i == at ? 2000000 : 1000 + i) * 1000000};
            const beck_event *list[] = {&e};
            struct append a = {.events = list, .count = 1, .level = BECK_LEVEL_WRITTEN};
            assert_int_equal(partition_append(p, &a, NULL), 0);
        }
        assert_int_equal(partition_checkpoint(p, &recovery_point, &log_start, NULL), 0);
        partition_abandon(p);
        vfs_sim_kill(w.vfs);
        for (int turn = 0; turn < 3; turn++) {
            p = world_partition(&w, recovery_point, 0);
            beck_from from = {.kind = BECK_FROM_TIME, .time_ms = 1500000};
            assert_int_equal(partition_resolve(p, &from, &offset, NULL), 0);
            assert_int_equal(offset, at);
            if (turn == 1) {
                mutex_lock(&p->lock);
                assert_int_equal(partition_roll(p, NULL), 0);
                mutex_unlock(&p->lock);
            }
            assert_int_equal(partition_close(p, NULL), 0);
        }
        world_close(&w);
    }
}

/* ---- readers meanwhile ---- */

struct reading {
    struct partition *p;
    uint64_t seed;
    _Atomic(bool) *stop;
    int64_t reads;
};

static void *read_meanwhile(void *arg)
{
    struct reading *r = arg;
    struct rng rng;
    struct cursor *c;
    rng_seed(&rng, r->seed);
    assert_int_equal(cursor_open(r->p, &c, NULL), 0);
    while (!atomic_load(r->stop)) {
        int64_t offset = (int64_t)rng_below(&rng, (uint64_t)partition_visible(r->p) + 1);
        for (int i = 0; i < 50; i++) {
            const struct record_view *v;
            beck_error err = {0};
            char text[64];
            beck_status status = cursor_read(c, offset, false, &v, NULL, &err);
            if (status == BECK_END)
                break;
            if (status)
                print_error("read: %s\n", err.text);
            assert_int_equal(status, 0);
            assert_true(v->offset >= offset);
            snprintf(text, sizeof text, "event number %d", (int)v->offset);
            assert_true(bytes_equal_text(v->event.data, text));
            offset = v->offset + 1;
            r->reads++;
        }
    }
    cursor_close(c);
    return NULL;
}

static void *publish_meanwhile(void *arg)
{
    struct reading *r = arg;
    for (int i = 0; i < 3000; i++) {
        char text[64], subject[16];
        int64_t offset;
        snprintf(text, sizeof text, "event number %d", i);
        snprintf(subject, sizeof subject, "key-%d", i % 17);
        assert_int_equal(put_event(r->p, subject, text,
                                   i % 50 ? BECK_LEVEL_WRITTEN : BECK_LEVEL_SYNCED, &offset),
                         0);
        assert_int_equal(offset, i);
    }
    return NULL;
}

static void readers_and_publishers_go_on_while_segments_are_replaced(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 10);
    w.options.bus.compact = true;
    struct partition *p = world_partition(&w, 0, 0);
    _Atomic(bool) stop = false;
    struct reading readers[3];
    pthread_t threads[3], publisher;
    for (int i = 0; i < 3; i++) {
        readers[i] = (struct reading){p, (uint64_t)i, &stop, 0};
        pthread_create(&threads[i], NULL, read_meanwhile, &readers[i]);
    }
    pthread_create(&publisher, NULL, publish_meanwhile, &readers[0]);
    int64_t recovery_point, log_start;
    while (partition_next(p) < 3000) {
        maintain(p, NULL);
        assert_int_equal(partition_checkpoint(p, &recovery_point, &log_start, NULL), 0);
    }
    pthread_join(publisher, NULL);
    maintain(p, NULL);
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_true(segments_of(p) < 30);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

static void what_is_idle_has_no_file_open_and_what_is_new_has_none(void **state)
{
    (void)state;
    struct world w;
    int64_t offset;
    world_open(&w, 1);
    struct partition *p = world_partition(&w, 0, 0);
    maintain(p, NULL);
    assert_false(vfs_exists(w.vfs, DIR_B));
    assert_int_equal(partition_close(p, NULL), 0);
    p = world_partition(&w, 0, 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(put_event(p, "s", "x", BECK_LEVEL_SYNCED, &offset), 0);
        assert_int_equal(offset, i);
        assert_int_equal(p->segments[0]->users, 1);
        maintain(p, NULL);
        maintain(p, NULL);
        assert_int_equal(p->segments[0]->users, 0);
        struct cursor *c;
        const struct record_view *v;
        assert_int_equal(cursor_open(p, &c, NULL), 0);
        assert_int_equal(cursor_read(c, i, false, &v, NULL, NULL), 0);
        cursor_close(c);
        if (i == 1) {
            assert_int_equal(partition_close(p, NULL), 0);
            p = world_partition(&w, 0, 0);
            assert_int_equal(p->segments[0]->users, 0);
            int64_t recovery_point, log_start;
            assert_int_equal(partition_checkpoint(p, &recovery_point, &log_start, NULL), 0);
            assert_int_equal(p->segments[0]->users, 0);
        }
    }
    partition_abandon(p);
    vfs_sim_crash(w.vfs);
    p = world_partition(&w, 0, 0);
    assert_int_equal(partition_next(p), 4);
    partition_abandon(p);
    world_close(&w);
}

static void errors_name_the_file_that_is_there(void **state)
{
    (void)state;
    struct world w;
    int64_t offset;
    world_open(&w, 1);
    struct partition *p = world_partition(&w, 0, 0);
    for (int i = 0; i < 2; i++) {
        beck_error err = {0};
        beck_event e = {.type = beck_str("t"), .data = beck_str("x")};
        const beck_event *list[] = {&e};
        struct append a = {.events = list, .count = 1, .level = BECK_LEVEL_WRITTEN};
        vfs_sim_fail(w.vfs, VFS_OP_WRITE, i ? 1 : 3, false, BECK_EIO); /* other files come first */
        assert_int_equal(partition_append(p, &a, &err), BECK_EIO);
        assert_non_null(
            strstr(err.text, i ? "/00000000000000000002.log\"" : "/00000000000000000000.log\""));
        vfs_sim_fail(w.vfs, VFS_OP_WRITE, 0, false, 0);
        for (int k = 0; i == 0 && k < 2; k++)
            assert_int_equal(put_event(p, "s", "x", BECK_LEVEL_WRITTEN, &offset), 0);
        mutex_lock(&p->lock);
        assert_int_equal(partition_roll(p, NULL), 0);
        mutex_unlock(&p->lock);
    }
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_idle_has_no_file_open_and_what_is_new_has_none),
        cmocka_unit_test(errors_name_the_file_that_is_there),
        cmocka_unit_test(segments_older_than_the_retention_time_go_and_the_rest_stays),
        cmocka_unit_test(the_last_event_of_an_idle_bus_expires_too_and_offsets_go_on),
        cmocka_unit_test(what_came_with_an_old_time_can_be_read_before_its_segment_goes),
        cmocka_unit_test(what_came_with_an_old_time_stays_for_the_retention_time),
        cmocka_unit_test(retention_by_size_drops_the_oldest_and_keeps_what_was_asked_for),
        cmocka_unit_test(what_is_stored_is_told_without_opening_the_same_file_twice),
        cmocka_unit_test(truncated_events_are_hidden_at_once_and_removed_by_maintenance),
        cmocka_unit_test(what_a_queue_owes_survives_retention_in_every_codec),
        cmocka_unit_test(a_segment_of_which_most_is_owed_stays_as_it_is),
        cmocka_unit_test(a_damaged_segment_stays_while_something_is_owed_of_it_and_the_rest_goes),
        cmocka_unit_test(a_full_disk_keeps_what_must_be_copied_and_the_rest_goes),
        cmocka_unit_test(a_checkpoint_without_changes_touches_nothing),
        cmocka_unit_test(producers_are_known_after_loss_of_power_wherever_the_checkpoint_was),
        cmocka_unit_test(compaction_keeps_the_newest_event_of_each_subject),
        cmocka_unit_test(a_stop_at_any_write_of_a_compaction_loses_nothing),
        cmocka_unit_test(indexes_that_are_missing_or_wrong_are_made_again),
        cmocka_unit_test(the_largest_time_of_a_segment_is_known_after_recovery),
        cmocka_unit_test(readers_and_publishers_go_on_while_segments_are_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
