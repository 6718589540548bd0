/*
 * Transactions of a partition: behaviours, and against a model that replays the log, on a disk that
 * loses power at every step. The seed of a failing run is printed; BECK_TEST_SEED runs that one alone.
 */
#include "world.h"
#include "produced.h"

#include "log/partition_impl.h"
#include "log/producers.h"
#include "support/effort.h"

#define SEEDS effort(1500, 100)
#define STEPS 120
#define PRODUCERS 4
#define ENTRIES_MAX 512

/* ---- short words ---- */

static beck_status produce(struct partition *p, int64_t id, int16_t epoch, int32_t sequence,
                           int count, bool transactional, const struct routed *routes,
                           beck_level level, int64_t *offset)
{
    struct buf batch;
    beck_event e[8];
    struct batch_header producer = {.producer_id = id,
                                    .producer_epoch = epoch,
                                    .base_sequence = sequence,
                                    .attributes = transactional ? BATCH_TRANSACTIONAL : 0};
    for (int i = 0; i < count; i++)
        e[i] = (beck_event){.type = beck_str("t"), .data = beck_str("some data")};
    buf_init(&batch, 1 << 20);
    assert_int_equal(
        make_batch(&batch, e, (size_t)count, 1700000000000, BECK_CODEC_NONE, &producer), 0);
    struct produce a = {.batch = batch.data,
                        .size = batch.len,
                        .level = level,
                        .routes = routes,
                        .route_count = routes ? (size_t)count : 0};
    beck_status status = partition_produce(p, &a, NULL);
    *offset = a.first_offset;
    buf_release(&batch);
    return status;
}

static beck_status end_txn(struct partition *p, int64_t id, int16_t epoch, bool commit, bool bumped,
                           int64_t *offset)
{
    struct transaction_end e = {.producer_id = id,
                                .epoch = epoch,
                                .commit = commit,
                                .bumped = bumped,
                                .level = BECK_LEVEL_WRITTEN};
    beck_status status = partition_end_transaction(p, &e, NULL);
    if (offset)
        *offset = e.offset;
    return status;
}

/* The offsets that a cursor reads from `from` on. */
static size_t read_all(struct partition *p, int64_t from, int64_t *out, size_t max)
{
    struct cursor *c;
    const struct record_view *v;
    size_t n = 0;
    beck_status status;
    assert_int_equal(cursor_open(p, &c, NULL), 0);
    while ((status = cursor_read(c, from, false, &v, NULL, NULL)) == BECK_OK && n < max) {
        out[n++] = v->offset;
        from = v->offset + 1;
    }
    assert_int_equal(status, BECK_END);
    cursor_close(c);
    return n;
}

static void expect(struct partition *p, const int64_t *offsets, size_t count)
{
    int64_t got[64];
    assert_int_equal(read_all(p, 0, got, 64), count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(got[i], offsets[i]);
}
#define EXPECT(p, ...)                                                                             \
    do {                                                                                           \
        const int64_t expected_[] = {__VA_ARGS__};                                                 \
        expect(p, expected_, sizeof expected_ / sizeof *expected_);                                \
    } while (0)

static struct partition *reopened(struct world *w, struct partition *p, int64_t recovery_point)
{
    assert_int_equal(partition_close(p, NULL), 0);
    return world_partition(w, recovery_point, 0);
}

/* ---- behaviours ---- */

static void nothing_behind_an_open_transaction_is_visible(void **state)
{
    struct world w;
    int64_t offset;
    (void)state;
    world_open(&w, 1);
    struct partition *p = world_partition(&w, 0, 0);
    assert_int_equal(put_event(p, "s", "x", BECK_LEVEL_WRITTEN, NULL), 0);
    assert_int_equal(produce(p, 7, 0, 0, 2, true, NULL, BECK_LEVEL_WRITTEN, &offset), 0);
    assert_int_equal(offset, 1);
    assert_int_equal(put_event(p, "s", "x", BECK_LEVEL_WRITTEN, NULL), 0);
    assert_int_equal(partition_stable(p), 1);
    assert_int_equal(partition_visible(p), 1);
    assert_int_equal(partition_high(p), 4);
    EXPECT(p, 0);
    p = reopened(&w, p, 0);
    assert_int_equal(partition_stable(p), 1);
    assert_int_equal(end_txn(p, 7, 0, true, false, &offset), 0);
    assert_int_equal(offset, 4);
    assert_int_equal(partition_stable(p), 5);
    EXPECT(p, 0, 1, 2, 3);
    partition_abandon(p);
    world_close(&w);
}

static void what_was_aborted_is_passed_over_also_after_a_restart(void **state)
{
    struct world w;
    int64_t offset;
    struct aborted *list;
    size_t count;
    (void)state;
    world_open(&w, 1);
    struct partition *p = world_partition(&w, 0, 0);
    assert_int_equal(produce(p, 7, 0, 0, 2, true, NULL, BECK_LEVEL_WRITTEN, &offset), 0);
    assert_int_equal(produce(p, 8, 0, 0, 1, true, NULL, BECK_LEVEL_WRITTEN, &offset), 0);
    assert_int_equal(end_txn(p, 7, 0, false, false, NULL), 0);
    assert_int_equal(partition_stable(p), 2);
    EXPECT(p);
    assert_int_equal(end_txn(p, 8, 0, true, false, NULL), 0);
    EXPECT(p, 2);
    int64_t recovery_point, log_start;
    assert_int_equal(partition_checkpoint(p, &recovery_point, &log_start, NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(partition_aborted(p, 0, 2, &list, &count, NULL), 0);
        assert_int_equal(count, 1);
        assert_int_equal(list[0].producer_id, 7);
        assert_int_equal(list[0].first_offset, 0);
        assert_int_equal(list[0].last_offset, 3);
        free(list);
        assert_int_equal(partition_aborted(p, 4, 5, &list, &count, NULL), 0);
        assert_int_equal(count, 0);
        p = reopened(&w, p, recovery_point);
        EXPECT(p, 2);
    }
    partition_abandon(p);
    world_close(&w);
}

static void a_batch_outside_of_the_transaction_and_late_ones_are_refused(void **state)
{
    struct world w;
    int64_t offset;
    (void)state;
    world_open(&w, 1);
    struct partition *p = world_partition(&w, 0, 0);
    assert_int_equal(produce(p, 7, 0, 0, 1, true, NULL, BECK_LEVEL_WRITTEN, &offset), 0);
    assert_int_equal(produce(p, 7, 0, 1, 1, false, NULL, BECK_LEVEL_WRITTEN, &offset),
                     BECK_ETXN_STATE);
    assert_int_equal(end_txn(p, 7, 1, true, true, &offset), 0);
    assert_int_equal(offset, 1);
    assert_int_equal(end_txn(p, 7, 1, true, true, &offset), 0);
    assert_int_equal(offset, -1); /* ended already */
    assert_int_equal(produce(p, 7, 0, 1, 1, true, NULL, BECK_LEVEL_WRITTEN, &offset), BECK_EFENCED);
    assert_int_equal(produce(p, 7, 1, 1, 1, true, NULL, BECK_LEVEL_WRITTEN, &offset),
                     BECK_ESEQUENCE);
    assert_int_equal(produce(p, 7, 1, 0, 1, true, NULL, BECK_LEVEL_WRITTEN, &offset), 0);
    /* An end of the transaction before it that comes again ends nothing. */
    assert_int_equal(end_txn(p, 7, 1, true, true, &offset), BECK_EFENCED);
    assert_int_equal(partition_stable(p), 2);
    partition_abandon(p);
    world_close(&w);
}

static void an_end_fences_where_nothing_was_written(void **state)
{
    struct world w;
    int64_t offset;
    (void)state;
    world_open(&w, 1);
    struct partition *p = world_partition(&w, 0, 0);
    assert_int_equal(end_txn(p, 7, 1, false, true, &offset), 0);
    assert_int_equal(offset, 0);
    assert_int_equal(produce(p, 7, 0, 0, 1, true, NULL, BECK_LEVEL_WRITTEN, &offset), BECK_EFENCED);
    assert_int_equal(end_txn(p, 8, 0, false, false, &offset), 0);
    assert_int_equal(offset, -1);
    partition_abandon(p);
    world_close(&w);
}

static void memory_has_no_transactions(void **state)
{
    struct world w;
    int64_t offset;
    (void)state;
    world_open(&w, 1);
    w.options.memory = true;
    struct partition *p = world_partition(&w, 0, 0);
    assert_int_equal(produce(p, 7, 0, 0, 1, true, NULL, BECK_LEVEL_WRITTEN, &offset),
                     BECK_EUNSUPPORTED);
    assert_int_equal(end_txn(p, 7, 0, true, false, NULL), BECK_EUNSUPPORTED);
    partition_abandon(p);
    world_close(&w);
}

static void a_damaged_index_is_made_again(void **state)
{
    struct world w;
    int64_t offset, sequence[2] = {0, 0};
    (void)state;
    world_open(&w, 1);
    struct partition *p = world_partition(&w, 0, 0);
    while (segments_of(p) < 3)
        for (int64_t id = 0; id < 2; id++) {
            assert_int_equal(produce(p, id, 0, (int32_t)sequence[id]++, 1, true, NULL,
                                     BECK_LEVEL_WRITTEN, &offset),
                             0);
            assert_int_equal(end_txn(p, id, 0, id == 0, false, NULL), 0);
        }
    int64_t before[256], after[256];
    size_t count = read_all(p, 0, before, 256);
    assert_int_equal(count, sequence[0]);
    int64_t recovery_point, log_start;
    assert_int_equal(partition_checkpoint(p, &recovery_point, &log_start, NULL), 0);
    assert_int_equal(partition_close(p, NULL), 0);
    vfs_sim_flip(w.vfs, DIR_B "/00000000000000000000.txnindex", 1, 3); /* the version */
    for (int i = 0; i < 2; i++) {
        p = world_partition(&w, recovery_point, 0);
        assert_int_equal(w.reports, 1); /* by the first opening alone */
        assert_int_equal(read_all(p, 0, after, 256), count);
        assert_memory_equal(before, after, count * sizeof *before);
        assert_int_equal(partition_close(p, NULL), 0);
    }
    world_close(&w);
}

static bool never_owed(void *ctx, int64_t offset)
{
    (void)ctx;
    (void)offset;
    return false;
}

static void compaction_drops_what_was_aborted_and_nothing_that_is_open(void **state)
{
    struct world w;
    struct partition_owed owed = {.owed = never_owed};
    int64_t offset, got[512];
    (void)state;
    world_open(&w, 1);
    w.options.bus.compact = true;
    struct partition *p = world_partition(&w, 0, 0);
    int32_t sequence = 0;
    while (segments_of(p) < 3)
        assert_int_equal(produce(p, 1, 0, sequence++, 4, true, NULL, BECK_LEVEL_WRITTEN, &offset),
                         0),
            sequence += 3;
    beck_partition_info before, after;
    partition_info(p, &before);
    assert_int_equal(partition_maintain(p, &owed, NULL), 0);
    partition_info(p, &after);
    assert_int_equal(before.bytes, after.bytes);
    assert_int_equal(end_txn(p, 1, 0, false, false, NULL), 0);
    assert_int_equal(partition_maintain(p, &owed, NULL), 0);
    partition_info(p, &after);
    assert_true(after.bytes < before.bytes / 2);
    assert_int_equal(read_all(p, 0, got, 512), 0);
    partition_abandon(p);
    world_close(&w);
}

static void retention_leaves_what_is_open(void **state)
{
    struct world w;
    struct partition_owed owed = {.owed = never_owed};
    int64_t offset;
    (void)state;
    world_open(&w, 1);
    w.options.bus.retention_bytes = 4096;
    struct partition *p = world_partition(&w, 0, 0);
    assert_int_equal(produce(p, 1, 0, 0, 1, true, NULL, BECK_LEVEL_WRITTEN, &offset), 0);
    while (segments_of(p) < 5)
        assert_int_equal(put_event(p, "s", "some text", BECK_LEVEL_WRITTEN, NULL), 0);
    assert_int_equal(partition_maintain(p, &owed, NULL), 0);
    assert_int_equal(partition_first(p), 0);
    assert_int_equal(end_txn(p, 1, 0, false, false, NULL), 0);
    assert_int_equal(partition_maintain(p, &owed, NULL), 0);
    assert_true(partition_first(p) > 0);
    struct aborted *list;
    size_t count;
    assert_int_equal(partition_aborted(p, 0, INT64_MAX, &list, &count, NULL), 0);
    assert_int_equal(count, 1); /* its end lies in a segment that is there */
    free(list);
    partition_abandon(p);
    world_close(&w);
}

static void a_watch_may_be_content_with_what_is_not_decided(void **state)
{
    struct world w;
    int64_t offset;
    (void)state;
    world_open(&w, 1);
    struct partition *p = world_partition(&w, 0, 0);
    assert_int_equal(produce(p, 1, 0, 0, 1, true, NULL, BECK_LEVEL_WRITTEN, &offset), 0);
    struct partition_watch watch = {.offset = 0, .uncommitted = true};
    assert_false(partition_watch(p, &watch));
    watch.uncommitted = false;
    assert_true(partition_watch(p, &watch));
    partition_unwatch(p, &watch);
    partition_abandon(p);
    world_close(&w);
}

/* ---- against a model ---- */

enum entry_kind { EVENT, BATCH, END };

/* A batch of the log. */
struct entry {
    enum entry_kind kind;
    int64_t base;
    int count;
    int64_t id; /* of BATCH, END */
    int16_t epoch;
    bool commit, routed, fresh; /* fresh: since the partition was opened */
};

struct known {
    int16_t epoch;
    int32_t next_sequence;
    int64_t open; /* first offset; -1 */
};

struct run {
    struct world w;
    struct partition *p;
    struct rng rng;
    uint64_t seed;
    struct entry log[ENTRIES_MAX];
    size_t count;
    struct known known[PRODUCERS];
    int64_t recovery_point, log_start, synced;
    int64_t handed[4096];
    size_t handed_count;
    struct aborted aborted[ENTRIES_MAX];
    size_t aborted_count;
    bool stopping;
};

static void fail_run(const struct run *r, const char *what)
{
    fail_msg("seed %llu: %s", (unsigned long long)r->seed, what);
}

static struct run *running;

static void note_routed(void *ctx, struct partition *p, const struct routed *items, size_t count)
{
    (void)ctx;
    (void)p;
    for (size_t i = 0; i < count; i++)
        for (uint32_t n = 0; items[i].offset >= 0 && n < items[i].count; n++)
            running->handed[running->handed_count++] = items[i].offset + n;
}

static int64_t end_of(const struct run *r)
{
    const struct entry *last = r->count ? &r->log[r->count - 1] : NULL;
    return last ? last->base + last->count : 0;
}

static void add_entry(struct run *r, struct entry e)
{
    e.base = end_of(r);
    e.fresh = true;
    r->log[r->count++] = e;
}

/* What follows from the log. */
static void replay(struct run *r)
{
    for (int i = 0; i < PRODUCERS; i++)
        r->known[i] = (struct known){0, 0, -1};
    r->aborted_count = 0;
    for (size_t i = 0; i < r->count; i++) {
        const struct entry *e = &r->log[i];
        if (e->kind == EVENT)
            continue;
        struct known *k = &r->known[e->id];
        if (e->epoch != k->epoch)
            *k = (struct known){e->epoch, 0, k->open};
        if (e->kind == BATCH) {
            k->next_sequence += e->count;
            if (k->open < 0)
                k->open = e->base;
            continue;
        }
        if (k->open >= 0 && !e->commit)
            r->aborted[r->aborted_count++] = (struct aborted){e->id, k->open, e->base};
        k->open = -1;
    }
}

static int64_t stable(const struct run *r)
{
    int64_t stable = end_of(r);
    for (int i = 0; i < PRODUCERS; i++)
        if (r->known[i].open >= 0 && r->known[i].open < stable)
            stable = r->known[i].open;
    return stable;
}

static bool is_aborted(const struct run *r, const struct entry *e)
{
    for (size_t i = 0; i < r->aborted_count; i++)
        if (e->kind == BATCH && r->aborted[i].producer_id == e->id &&
            r->aborted[i].first_offset <= e->base && e->base < r->aborted[i].last_offset)
            return true;
    return false;
}

static void check_reading(struct run *r)
{
    int64_t got[4096], limit = stable(r);
    size_t n = read_all(r->p, 0, got, 4096), at = 0, handed = 0;
    for (size_t i = 0; i < r->count; i++) {
        const struct entry *e = &r->log[i];
        if (e->kind == END || e->base >= limit || is_aborted(r, e))
            continue;
        for (int k = 0; k < e->count; k++) {
            if (at >= n || got[at++] != e->base + k)
                fail_run(r, "an event is not read");
            if (e->routed && e->fresh &&
                (handed >= r->handed_count || r->handed[handed++] != e->base + k))
                fail_run(r, "a route was not handed on in its turn");
        }
    }
    if (at != n)
        fail_run(r, "what is not committed is read");
    if (handed != r->handed_count)
        fail_run(r, "what is not committed was handed on");
    if (partition_stable(r->p) != limit)
        fail_run(r, "the last stable offset is wrong");
}

static int by_last(const void *a, const void *b)
{
    const struct aborted *x = a, *y = b;
    return (x->last_offset > y->last_offset) - (x->last_offset < y->last_offset);
}

static void check_aborted(struct run *r)
{
    int64_t end = end_of(r);
    int64_t from = end > 0 ? (int64_t)rng_below(&r->rng, (uint64_t)end) : 0;
    int64_t to = from + 1 + (int64_t)rng_below(&r->rng, 20);
    struct aborted *list;
    size_t count, at = 0;
    assert_int_equal(partition_aborted(r->p, from, to, &list, &count, NULL), 0);
    if (count > 0)
        qsort(list, count, sizeof *list, by_last);
    for (size_t i = 0; i < r->aborted_count; i++) {
        const struct aborted *a = &r->aborted[i];
        if (a->last_offset < from || a->first_offset >= to)
            continue;
        if (at >= count || memcmp(&list[at], a, sizeof *a) != 0)
            fail_run(r, "an aborted transaction is not listed");
        at++;
    }
    free(list);
    if (at != count)
        fail_run(r, "too much is listed as aborted");
}

static void check_producers(struct run *r)
{
    struct producer_state *list;
    size_t count;
    assert_int_equal(partition_each_producer(r->p, &list, &count, NULL), 0);
    for (size_t i = 0; i < count; i++) {
        const struct known *k = &r->known[list[i].id];
        if (list[i].epoch != k->epoch || list[i].txn_first_offset != k->open ||
            list[i].last_sequence != k->next_sequence - 1)
            fail_run(r, "a producer is not known as it is");
    }
    free(list);
}

/* The last five of each, as a client sends them again whose answers were lost. */
static void check_sent_again(struct run *r)
{
    for (int64_t id = 0; id < PRODUCERS; id++) {
        int32_t sequence = r->known[id].next_sequence;
        int sent = 0;
        for (size_t i = r->count; i-- > 0 && sent < PRODUCER_BATCHES && sequence > 0;) {
            const struct entry *e = &r->log[i];
            int64_t offset;
            if (e->kind != BATCH || e->id != id)
                continue;
            sequence -= e->count;
            if (produce(r->p, id, e->epoch, sequence, e->count, true, NULL, BECK_LEVEL_WRITTEN,
                        &offset) != BECK_EDUPLICATE ||
                offset != e->base)
                fail_run(r, "a batch that was sent again is not known");
            sent++;
        }
    }
}

static void check_all(struct run *r)
{
    if (r->w.options.bus.read_synced)
        assert_int_equal(partition_sync(r->p, NULL), 0);
    if (partition_high(r->p) != end_of(r))
        fail_run(r, "the log does not end where it should");
    check_reading(r);
    check_aborted(r);
    check_producers(r);
    check_sent_again(r);
}

/* The power goes, or the process ends; then what is there must be a beginning of what was written. */
static void crash(struct run *r, bool power)
{
    if (power)
        vfs_sim_crash(r->w.vfs);
    else
        vfs_sim_kill(r->w.vfs);
    partition_abandon(r->p);
    vfs_sim_stop_at(r->w.vfs, 0);
    r->stopping = false;
    r->p = world_partition(&r->w, r->recovery_point, r->log_start);
    int64_t next = partition_next(r->p);
    while (r->count > 0 && r->log[r->count - 1].base >= next)
        r->count--;
    if (end_of(r) != next || next < r->synced)
        fail_run(r, "the log ends inside of a batch, or too early");
    r->synced = next;
    r->handed_count = 0;
    for (size_t i = 0; i < r->count; i++)
        r->log[i].fresh = false;
    replay(r);
}

/* After a failure the last entry may be there. */
static bool went_well(struct run *r, beck_status status, beck_level level)
{
    if (status && !r->stopping)
        fail_run(r, beck_status_name(status));
    if (!status && level == BECK_LEVEL_SYNCED)
        r->synced = end_of(r);
    return status == BECK_OK;
}

static bool step_produce(struct run *r)
{
    int64_t id = (int64_t)rng_below(&r->rng, PRODUCERS), offset;
    int count = 1 + (int)rng_below(&r->rng, 4);
    struct known *k = &r->known[id];
    bool routed = rng_below(&r->rng, 2);
    struct routed routes[4] = {0};
    for (int i = 0; i < count; i++)
        routes[i] = (struct routed){.route = r, .offset = i, .count = 1};
    beck_level level = rng_below(&r->rng, 3) ? BECK_LEVEL_WRITTEN : BECK_LEVEL_SYNCED;
    add_entry(r, (struct entry){
                     .kind = BATCH, .count = count, .id = id, .epoch = k->epoch, .routed = routed});
    int32_t sequence = k->next_sequence;
    replay(r);
    beck_status status =
        produce(r->p, id, k->epoch, sequence, count, true, routed ? routes : NULL, level, &offset);
    if (!status && offset != r->log[r->count - 1].base)
        fail_run(r, "a batch has another offset");
    return went_well(r, status, level);
}

static bool step_event(struct run *r)
{
    beck_event e = {.type = beck_str("t.x"), .data = beck_str("event")};
    const beck_event *list[] = {&e};
    struct routed route = {.route = r, .count = 1};
    struct append a = {.events = list,
                       .count = 1,
                       .routes = &route,
                       .route_count = 1,
                       .level = rng_below(&r->rng, 3) ? BECK_LEVEL_WRITTEN : BECK_LEVEL_SYNCED};
    add_entry(r, (struct entry){.kind = EVENT, .count = 1, .routed = true});
    return went_well(r, partition_append(r->p, &a, NULL), a.level);
}

static bool step_end(struct run *r)
{
    int64_t id = (int64_t)rng_below(&r->rng, PRODUCERS);
    struct known *k = &r->known[id];
    bool bumped = rng_below(&r->rng, 2), commit = rng_below(&r->rng, 2);
    if (k->open < 0)
        return true;
    struct transaction_end e = {.producer_id = id,
                                .epoch = (int16_t)(k->epoch + bumped),
                                .commit = commit,
                                .bumped = bumped,
                                .level =
                                    rng_below(&r->rng, 3) ? BECK_LEVEL_WRITTEN : BECK_LEVEL_SYNCED};
    add_entry(
        r, (struct entry){.kind = END, .count = 1, .id = id, .epoch = e.epoch, .commit = commit});
    replay(r);
    return went_well(r, partition_end_transaction(r->p, &e, NULL), e.level);
}

static bool step_checkpoint(struct run *r)
{
    int64_t recovery_point, log_start;
    beck_status status = partition_checkpoint(r->p, &recovery_point, &log_start, NULL);
    /* It may get lost on its way to the file. */
    if (!status && rng_below(&r->rng, 3)) {
        r->recovery_point = recovery_point;
        r->log_start = log_start;
    }
    return went_well(r, status, BECK_LEVEL_SYNCED);
}

static bool step_close(struct run *r)
{
    beck_status status = partition_close(r->p, NULL);
    r->p = NULL;
    if (status)
        return false;
    r->synced = end_of(r);
    if (rng_below(&r->rng, 2))
        r->recovery_point = end_of(r);
    r->p = world_partition(&r->w, r->recovery_point, r->log_start);
    r->handed_count = 0;
    for (size_t i = 0; i < r->count; i++)
        r->log[i].fresh = false;
    return true;
}

static bool step(struct run *r)
{
    switch (rng_below(&r->rng, 12)) {
    case 0:
    case 1:
        return step_event(r);
    case 2:
    case 3:
    case 4:
        return step_end(r);
    case 5:
        return step_checkpoint(r);
    case 6:
        /* A closing that fails cannot be told from a crash. */
        return r->stopping || rng_below(&r->rng, 4) ? true : step_close(r);
    default:
        return step_produce(r);
    }
}

static void one_run(uint64_t seed)
{
    struct run *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->seed = seed;
    running = r;
    rng_seed(&r->rng, seed);
    world_open(&r->w, seed);
    r->w.options.bus.segment_bytes = 1500;
    r->w.options.bus.read_synced = rng_below(&r->rng, 4) == 0;
    r->w.options.routed = note_routed;
    r->p = world_partition(&r->w, 0, 0);
    replay(r);
    for (int i = 0; i < STEPS; i++) {
        if (!r->stopping && rng_below(&r->rng, 12) == 0) {
            vfs_sim_stop_at(r->w.vfs, 1 + rng_below(&r->rng, 25));
            r->stopping = true;
        }
        bool good = step(r);
        if (!good || (r->stopping && rng_below(&r->rng, 10) == 0))
            crash(r, rng_below(&r->rng, 2));
        if (!r->stopping)
            check_all(r);
    }
    if (r->stopping)
        crash(r, true);
    check_all(r);
    partition_abandon(r->p);
    world_close(&r->w);
    free(r);
}

static void a_model_agrees_whenever_the_power_goes(void **state)
{
    const char *one = getenv("BECK_TEST_SEED");
    (void)state;
    if (one) {
        one_run(strtoull(one, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        one_run(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_behind_an_open_transaction_is_visible),
        cmocka_unit_test(what_was_aborted_is_passed_over_also_after_a_restart),
        cmocka_unit_test(a_batch_outside_of_the_transaction_and_late_ones_are_refused),
        cmocka_unit_test(an_end_fences_where_nothing_was_written),
        cmocka_unit_test(memory_has_no_transactions),
        cmocka_unit_test(a_damaged_index_is_made_again),
        cmocka_unit_test(compaction_drops_what_was_aborted_and_nothing_that_is_open),
        cmocka_unit_test(retention_leaves_what_is_open),
        cmocka_unit_test(a_watch_may_be_content_with_what_is_not_decided),
        cmocka_unit_test(a_model_agrees_whenever_the_power_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
