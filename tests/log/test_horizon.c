/* What compaction keeps for a day behind the pass that found it: tombstones, and the ends of transactions. */
#include "world.h"
#include "produced.h"

#include "log/partition_impl.h"

#define KEYS 3
#define OLD_MS 1000 /* what a client's clock says */

static struct world w;
static struct partition *p;
static int32_t sequences[10];
static int64_t produced_ms;

static int setup(void **state)
{
    (void)state;
    world_open(&w, 1);
    w.options.bus.compact = true;
    memset(sequences, 0, sizeof sequences);
    produced_ms = OLD_MS;
    p = world_partition(&w, 0, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    partition_abandon(p);
    world_close(&w);
    return 0;
}

static const char *const keys[KEYS] = {"a", "b", "c"}, *const others[KEYS] = {"d", "e", "f"};

/* One batch of producer `id` in a transaction (0: of none), with a record for each key; text NULL: tombstones. */
static void put_batch(int64_t id, const char *const subjects[KEYS], const char *text,
                      beck_codec codec)
{
    beck_event e[KEYS] = {0};
    struct buf batch;
    struct batch_header producer = {
        .producer_id = id, .base_sequence = sequences[id], .attributes = BATCH_TRANSACTIONAL};
    for (int i = 0; i < KEYS; i++)
        e[i] = (beck_event){.type = beck_str("t"),
                            .subject = beck_str(subjects[i]),
                            .data = text ? beck_str(text) : (beck_bytes){0}};
    buf_init(&batch, 1 << 20);
    assert_int_equal(make_batch(&batch, e, KEYS, produced_ms, codec, id ? &producer : NULL), 0);
    struct produce a = {.batch = batch.data, .size = batch.len, .level = BECK_LEVEL_WRITTEN};
    assert_int_equal(partition_produce(p, &a, NULL), 0);
    sequences[id] += KEYS;
    buf_release(&batch);
}

static void put_keys(int64_t id, const char *text, beck_codec codec)
{
    put_batch(id, keys, text, codec);
}

static void end_txn(int64_t id, bool commit)
{
    struct transaction_end e = {.producer_id = id, .commit = commit, .level = BECK_LEVEL_WRITTEN};
    assert_int_equal(partition_end_transaction(p, &e, NULL), 0);
}

static void compact(void)
{
    beck_error err = {0};
    mutex_lock(&p->lock);
    assert_int_equal(partition_roll(p, NULL), 0);
    mutex_unlock(&p->lock);
    if (partition_maintain(p, NULL, &err))
        fail_msg("%s", err.text);
}

struct counts {
    int controls, tombstones, marked;
    int64_t horizon_ms;
};

static beck_status count(void *ctx, const struct batch_header *h, beck_bytes batch, beck_error *err)
{
    struct counts *n = ctx;
    struct batch_records r;
    struct record_view v;
    struct codec codec;
    struct buf room;
    bool commit;
    int32_t epoch;
    (void)err;
    assert_true(batch_crc_fits(batch.data, batch.len));
    if (h->attributes & BATCH_DELETE_HORIZON) {
        n->marked++;
        n->horizon_ms = h->base_timestamp_ms;
    }
    if (h->attributes & BATCH_CONTROL) {
        assert_true(batch_control_read(h, batch.data, &commit, &epoch));
        n->controls++;
        return BECK_OK;
    }
    codec_init(&codec);
    buf_init(&room, 1 << 20);
    assert_int_equal(batch_records_open(&r, batch, &codec, &room, NULL), 0);
    while (!batch_records_next(&r, partition_context(p), &v, NULL)) {
        assert_int_equal(v.timestamp_ms, produced_ms);
        n->tombstones += v.value_is_null;
    }
    codec_release(&codec);
    buf_release(&room);
    return BECK_OK;
}

static struct counts counted(void)
{
    struct counts n = {0};
    assert_int_equal(
        partition_each_batch(p, partition_first(p), partition_high(p), count, &n, NULL), 0);
    return n;
}

/* From the log alone. */
static void read_again(void)
{
    partition_abandon(p);
    vfs_sim_kill(w.vfs);
    p = world_partition(&w, 0, 0);
    assert_int_equal(partition_stable(p), partition_next(p));
    assert_int_equal(w.reports, 0);
}

static void a_tombstone_stays_a_day_whatever_its_timestamp_says(void **state)
{
    (void)state;
    for (int codec = BECK_CODEC_NONE; codec <= BECK_CODEC_ZSTD; codec++) {
        put_keys(0, "text", BECK_CODEC_NONE);
        put_keys(0, NULL, (beck_codec)codec);
        compact();
        struct counts n = counted();
        assert_int_equal(n.tombstones, KEYS);
        assert_int_equal(n.marked, 1);
        assert_int_equal(n.horizon_ms, clock_wall_ms(w.env.clock) + DAY_MS);
        world_advance(&w, DAY_MS);
        assert_int_equal(partition_maintain(p, NULL, NULL), 0);
        assert_int_equal(counted().tombstones, KEYS);
        world_advance(&w, 1);
        assert_int_equal(partition_maintain(p, NULL, NULL), 0);
        assert_int_equal(counted().tombstones, 0);
    }
}

static void a_tombstone_stays_as_long_as_the_bus_says(void **state)
{
    beck_bus_options o;
    (void)state;
    partition_bus_options(p, &o);
    o.delete_retention_ms = 5;
    assert_int_equal(partition_alter(p, &o, NULL), BECK_OK);
    put_keys(0, "text", BECK_CODEC_NONE);
    put_keys(0, NULL, BECK_CODEC_NONE);
    compact();
    assert_int_equal(counted().horizon_ms, clock_wall_ms(w.env.clock) + 5);
    world_advance(&w, 5);
    assert_int_equal(partition_maintain(p, NULL, NULL), 0);
    assert_int_equal(counted().tombstones, KEYS);
    /* What is marked keeps its time. */
    o.delete_retention_ms = INT64_MAX;
    assert_int_equal(partition_alter(p, &o, NULL), BECK_OK);
    world_advance(&w, 1);
    assert_int_equal(partition_maintain(p, NULL, NULL), 0);
    assert_int_equal(counted().tombstones, 0);
    put_keys(0, NULL, BECK_CODEC_NONE);
    compact();
    world_advance(&w, 1000 * DAY_MS);
    compact();
    assert_int_equal(counted().tombstones, KEYS);
    assert_int_equal(counted().horizon_ms, INT64_MAX);
}

/* Each compaction is of what is new since the last one, until a day has passed. */
static void a_tombstone_goes_however_often_other_keys_are_compacted(void **state)
{
    (void)state;
    put_keys(0, "text", BECK_CODEC_NONE);
    put_keys(0, NULL, BECK_CODEC_NONE);
    compact();
    world_advance(&w, 1000);
    for (int i = 0; i < 9; i++)
        put_batch(0, others, "more than half is new", BECK_CODEC_NONE);
    compact();
    assert_int_equal(counted().tombstones, KEYS);
    world_advance(&w, DAY_MS);
    assert_int_equal(partition_maintain(p, NULL, NULL), 0);
    assert_int_equal(counted().tombstones, 0);
}

static void the_end_of_a_transaction_goes_a_day_after_its_records(void **state)
{
    (void)state;
    put_keys(7, "first", BECK_CODEC_LZ4);
    end_txn(7, true);
    put_keys(8, "aborted", BECK_CODEC_NONE);
    end_txn(8, false);
    put_keys(7, "second", BECK_CODEC_NONE);
    put_keys(9, "third", BECK_CODEC_NONE);
    end_txn(9, true);
    end_txn(7, false);
    compact();
    /* That of producer 9 has its records still. */
    struct counts n = counted();
    assert_int_equal(n.controls, 4);
    assert_int_equal(n.marked, 3);
    read_again();
    world_advance(&w, DAY_MS + 1);
    compact();
    n = counted();
    assert_int_equal(n.controls, 1);
    assert_int_equal(n.marked, 0);
    read_again();
    put_keys(0, "fourth", BECK_CODEC_NONE);
    compact();
    assert_int_equal(counted().marked, 1);
    world_advance(&w, DAY_MS + 1);
    compact();
    assert_int_equal(counted().controls, 0);
    read_again();
}

/* What the end of a transaction is for stands in an earlier segment. */
static void an_end_stays_while_its_records_do_in_whatever_segment(void **state)
{
    (void)state;
    put_keys(7, "first", BECK_CODEC_NONE);
    mutex_lock(&p->lock);
    assert_int_equal(partition_roll(p, NULL), 0);
    mutex_unlock(&p->lock);
    end_txn(7, true);
    for (int i = 0; i < 3; i++) {
        compact();
        struct counts n = counted();
        assert_int_equal(n.controls, 1);
        assert_int_equal(n.marked, 0);
        world_advance(&w, 2 * DAY_MS);
        p->cleaned = 0;
        read_again();
    }
}

/* Its timestamps cannot be counted from a horizon. */
static void a_tombstone_from_the_beginning_of_time_stays(void **state)
{
    (void)state;
    produced_ms = INT64_MIN + 1;
    put_keys(0, NULL, BECK_CODEC_NONE);
    for (int i = 0; i < 3; i++) {
        put_batch(0, others, "text", BECK_CODEC_NONE);
        compact();
        struct counts n = counted();
        assert_int_equal(n.tombstones, KEYS);
        assert_int_equal(n.marked, 0);
        world_advance(&w, DAY_MS + 1);
    }
    read_again();
}

static void ends_stay_while_more_producers_have_records_than_are_known(void **state)
{
    (void)state;
    p->compact_keys = KEYS;
    for (int id = 1; id <= 6; id++) {
        put_batch(id, id % 2 ? keys : others, "text", BECK_CODEC_NONE);
        end_txn(id, true);
    }
    compact();
    assert_int_equal(counted().controls, 6);
    assert_int_equal(counted().marked, 4);
    read_again();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* ---- what is compacted, and when ---- */

static int64_t stored(void)
{
    beck_partition_info info;
    partition_info(p, &info);
    return info.bytes;
}

/* A sealed segment with records of the same keys as the others. */
static void put_segment(void)
{
    produced_ms = clock_wall_ms(w.env.clock);
    put_keys(0, "v", BECK_CODEC_NONE);
    mutex_lock(&p->lock);
    assert_int_equal(partition_roll(p, NULL), 0);
    mutex_unlock(&p->lock);
}

static void maintain(void)
{
    assert_int_equal(partition_maintain(p, NULL, NULL), 0);
}

static void young_records_are_not_compacted(void **state)
{
    (void)state;
    const struct partition_rules rules = {.compact_after_ms = 1000, .compact_share = -1};
    partition_set_rules(p, &rules);
    put_segment();
    put_segment();
    int64_t all = stored();
    maintain();
    assert_int_equal(stored(), all);
    world_advance(&w, 1001);
    put_segment(); /* nor what is in front of them */
    maintain();
    assert_int_equal(stored(), all); /* the first is gone, and there is the young one */
    assert_int_equal(partition_cleaned(p), 2 * KEYS);
    world_advance(&w, 1001);
    maintain();
    assert_int_equal(stored(), all / 2);
}

static void what_is_left_of_many_waits_for_its_share_or_its_time(void **state)
{
    (void)state;
    partition_set_rules(p, &(struct partition_rules){.compact_share = 0.5});
    /* Keys that stay, and others that come again. */
    for (int i = 0; i < 8; i++) {
        char a[8], b[8], c[8];
        snprintf(a, sizeof a, "k%d", i);
        snprintf(b, sizeof b, "l%d", i);
        snprintf(c, sizeof c, "m%d", i);
        produced_ms = clock_wall_ms(w.env.clock);
        put_batch(0, (const char *const[KEYS]){a, b, c}, "v", BECK_CODEC_NONE);
        mutex_lock(&p->lock);
        assert_int_equal(partition_roll(p, NULL), 0);
        mutex_unlock(&p->lock);
    }
    put_segment();
    maintain();
    put_segment();
    int64_t all = stored();
    maintain();
    assert_int_equal(stored(), all); /* it is a tenth */
    partition_set_rules(p,
                        &(struct partition_rules){.compact_share = 0.5, .compact_within_ms = 5000});
    world_advance(&w, 4999);
    maintain();
    assert_int_equal(stored(), all);
    world_advance(&w, 2);
    maintain();
    int64_t compacted = stored();
    assert_true(compacted < all);
    put_segment();
    maintain();
    assert_int_equal(stored(), all);
    partition_set_rules(p, &(struct partition_rules){.compact_share = 0.05});
    maintain();
    assert_int_equal(stored(), compacted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_tombstone_stays_a_day_whatever_its_timestamp_says),
        TEST(a_tombstone_stays_as_long_as_the_bus_says),
        TEST(a_tombstone_goes_however_often_other_keys_are_compacted),
        TEST(the_end_of_a_transaction_goes_a_day_after_its_records),
        TEST(an_end_stays_while_its_records_do_in_whatever_segment),
        TEST(a_tombstone_from_the_beginning_of_time_stays),
        TEST(ends_stay_while_more_producers_have_records_than_are_known),
        TEST(young_records_are_not_compacted),
        TEST(what_is_left_of_many_waits_for_its_share_or_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
