/* Idempotent producers: the decisions, against a model, and the snapshot's bytes. */
#include "formats.h"

#include "base/crc32c.h"
#include "log/producers.h"

static struct producers *p;
static beck_error err;

static int setup(void **state)
{
    (void)state;
    p = producers_new();
    return p == NULL;
}

static int teardown(void **state)
{
    (void)state;
    producers_free(p);
    return 0;
}

/* A batch of `count` records. */
static struct batch_header batch(int64_t id, int16_t epoch, int32_t sequence, int32_t count,
                                 int64_t base_offset)
{
    return (struct batch_header){.base_offset = base_offset,
                                 .producer_id = id,
                                 .producer_epoch = epoch,
                                 .base_sequence = sequence,
                                 .last_offset_delta = count - 1,
                                 .count = count,
                                 .max_timestamp_ms = 1000 + base_offset};
}

static beck_status check(struct batch_header h, int64_t *first_offset)
{
    return producers_check(p, &h, first_offset, &err);
}

static void store(struct batch_header h)
{
    int64_t first;

    OK(check(h, &first));
    assert_int_equal(producers_update(p, &h, h.max_timestamp_ms), BECK_OK);
}

static void end(int64_t id, int16_t epoch, int64_t offset, int64_t expected)
{
    struct batch_header h = batch(id, epoch, -1, 1, offset);
    int64_t first;

    h.attributes = BATCH_TRANSACTIONAL | BATCH_CONTROL;
    assert_int_equal(producers_end(p, &h, 0, h.max_timestamp_ms, &first), BECK_OK);
    assert_int_equal(first, expected);
}

static void batches_without_a_producer_always_pass(void **state)
{
    struct batch_header h = batch(-1, -1, -1, 5, 0);
    int64_t first;

    (void)state;
    store(h);
    OK(check(h, &first));
    assert_int_equal(producers_count(p), 0);
}

static void an_unknown_producer_may_begin_anywhere(void **state)
{
    int64_t first;

    (void)state;
    store(batch(1, 3, 777, 5, 0));
    assert_int_equal(producers_count(p), 1);
    OK(check(batch(1, 3, 782, 1, 5), &first));
    FAILS(check(batch(1, 3, 781, 1, 5), &first), BECK_ESEQUENCE, "producer 1", "781", "782");
    FAILS(check(batch(1, 3, 783, 1, 5), &first), BECK_ESEQUENCE, "producer 1", "783", "782");
}

static void one_of_the_last_five_again_is_a_duplicate(void **state)
{
    int64_t first = -1;

    (void)state;
    for (int32_t i = 0; i < 7; i++)
        store(batch(9, 0, i * 10, 10, 100 + i * 10));
    for (int32_t i = 2; i < 7; i++) {
        FAILS(check(batch(9, 0, i * 10, 10, 999), &first), BECK_EDUPLICATE, "producer 9", "again");
        assert_int_equal(first, 100 + i * 10);
    }
    /* Older ones, and others of the same first sequence, are not. */
    FAILS(check(batch(9, 0, 10, 10, 999), &first), BECK_ESEQUENCE, "expected");
    FAILS(check(batch(9, 0, 60, 9, 999), &first), BECK_ESEQUENCE, "expected");
    OK(check(batch(9, 0, 70, 1, 170), &first));
}

static void sequences_go_round_at_two_to_the_31(void **state)
{
    int64_t first;

    (void)state;
    store(batch(1, 0, INT32_MAX - 1, 2, 0)); /* ends with the last sequence there is */
    OK(check(batch(1, 0, 0, 1, 2), &first));
    FAILS(check(batch(1, 0, INT32_MAX, 1, 2), &first), BECK_ESEQUENCE, "expected");
    store(batch(1, 0, 0, 3, 2));
    store(batch(2, 0, INT32_MAX - 1, 5, 5)); /* goes round in the middle: ends with 2 */
    FAILS(check(batch(2, 0, INT32_MAX - 1, 5, 9), &first), BECK_EDUPLICATE, "again");
    assert_int_equal(first, 5);
    OK(check(batch(2, 0, 3, 1, 9), &first));
}

static void a_newer_epoch_begins_with_zero_and_fences_the_old_one(void **state)
{
    int64_t first;

    (void)state;
    store(batch(1, 4, 0, 10, 0));
    FAILS(check(batch(1, 5, 10, 1, 10), &first), BECK_ESEQUENCE, "epoch 5", "sequence 0", "10");
    store(batch(1, 5, 0, 10, 10));
    FAILS(check(batch(1, 4, 10, 1, 20), &first), BECK_EFENCED, "epoch 5", "epoch 4");
    /* The batches of the old epoch are forgotten: only this one is a duplicate. */
    FAILS(check(batch(1, 5, 0, 10, 20), &first), BECK_EDUPLICATE, "again");
    assert_int_equal(first, 10);
    FAILS(check(batch(1, 4, 0, 10, 20), &first), BECK_EFENCED, "epoch");
}

static void old_producers_are_forgotten_but_not_in_a_transaction(void **state)
{
    struct batch_header open = batch(7, 0, 0, 1, 0);
    int64_t first;

    (void)state;
    open.attributes = BATCH_TRANSACTIONAL;
    store(open);
    for (int64_t id = 100; id < 200; id++)
        store(batch(id, 0, 0, 1, id));
    producers_expire(p, 1350, 200);
    assert_int_equal(producers_count(p), 51);
    OK(check(batch(149, 0, 5, 1, 300), &first));
    FAILS(check(batch(150, 0, 5, 1, 300), &first), BECK_ESEQUENCE, "expected");
    end(7, 0, 1, 0);
    producers_expire(p, 1350, 200);
    assert_int_equal(producers_count(p), 50);
    producers_expire(p, 10000, 200);
    assert_int_equal(producers_count(p), 0);
}

static struct batch_header in_transaction(struct batch_header h)
{
    h.attributes = BATCH_TRANSACTIONAL;
    return h;
}

static void a_batch_outside_of_the_open_transaction_is_refused(void **state)
{
    int64_t first;

    (void)state;
    assert_int_equal(producers_oldest(p), INT64_MAX);
    store(in_transaction(batch(1, 0, 0, 2, 10)));
    assert_int_equal(producers_oldest(p), 10);
    FAILS(check(batch(1, 0, 2, 1, 12), &first), BECK_ETXN_STATE, "producer 1");
    OK(check(in_transaction(batch(1, 0, 2, 1, 12)), &first));
    end(1, 0, 12, 10);
    assert_int_equal(producers_oldest(p), INT64_MAX);
    OK(check(batch(1, 0, 2, 1, 13), &first));
}

static void the_oldest_transaction_is_known_whatever_ends(void **state)
{
    (void)state;
    store(in_transaction(batch(1, 0, 0, 1, 10)));
    store(in_transaction(batch(2, 0, 0, 1, 11)));
    store(in_transaction(batch(3, 0, 0, 1, 12)));
    store(in_transaction(batch(2, 0, 1, 1, 13)));
    end(2, 0, 14, 11);
    assert_int_equal(producers_oldest(p), 10);
    end(1, 0, 15, 10);
    assert_int_equal(producers_oldest(p), 12);
    end(3, 0, 16, 12);
    end(3, 0, 17, -1);
    assert_int_equal(producers_oldest(p), INT64_MAX);
}

static void an_end_with_a_new_epoch_lets_sequences_begin_again(void **state)
{
    int64_t first;

    (void)state;
    store(in_transaction(batch(1, 4, 0, 5, 0)));
    end(1, 5, 5, 0);
    FAILS(check(in_transaction(batch(1, 4, 5, 1, 6)), &first), BECK_EFENCED, "epoch 5");
    FAILS(check(in_transaction(batch(1, 5, 5, 1, 6)), &first), BECK_ESEQUENCE, "0 was expected");
    OK(check(in_transaction(batch(1, 5, 0, 1, 6)), &first));
}

static void an_end_that_comes_too_late_is_refused(void **state)
{
    struct batch_header h = batch(1, 4, -1, 1, 9);
    bool needed;

    (void)state;
    h.attributes = BATCH_TRANSACTIONAL | BATCH_CONTROL;
    OK(producers_check_end(p, &h, 0, true, &needed, &err));
    assert_true(needed); /* it fences */
    OK(producers_check_end(p, &h, 0, false, &needed, &err));
    assert_false(needed);
    store(in_transaction(batch(1, 5, 0, 5, 0)));
    FAILS(producers_check_end(p, &h, 0, false, &needed, &err), BECK_EFENCED, "epoch 5");
    h.producer_epoch = 5;
    OK(producers_check_end(p, &h, 0, false, &needed, &err));
    assert_true(needed);
    FAILS(producers_check_end(p, &h, 0, true, &needed, &err), BECK_EFENCED, "epoch 5");
    h.producer_epoch = 6;
    OK(producers_check_end(p, &h, 0, true, &needed, &err));
    end(1, 6, 5, 0);
    OK(producers_check_end(p, &h, 0, true, &needed, &err));
    assert_false(needed); /* ended already: nothing to do */
    FAILS(producers_check_end(p, &h, -1, true, &needed, &err), BECK_EFENCED, "coordinator");
}

static void batches_of_a_transaction_may_have_no_sequence(void **state)
{
    int64_t first;

    (void)state;
    store(in_transaction(batch(1, 4, -1, 5, 0)));
    store(in_transaction(batch(1, 4, -1, 5, 5)));
    FAILS(check(in_transaction(batch(1, 3, -1, 5, 5)), &first), BECK_EFENCED, "epoch 4");
    assert_int_equal(producers_oldest(p), 0);
    end(1, 4, 10, 0);
}

/* ---- against the model ---- */

#define IDS 40

struct known {
    bool there;
    int16_t epoch;
    int64_t timestamp_ms;
    size_t count; /* of all batches under this epoch */
    struct batch_header sent[3000];
};

static struct known known[IDS];

static int64_t next_sequence(const struct known *k)
{
    const struct batch_header *last = &k->sent[k->count - 1];

    return ((int64_t)last->base_sequence + last->count) % ((int64_t)INT32_MAX + 1);
}

static beck_status model_check(const struct batch_header *h, int64_t *first_offset)
{
    const struct known *k = &known[h->producer_id];

    if (!k->there)
        return BECK_OK;
    if (h->producer_epoch < k->epoch)
        return BECK_EFENCED;
    if (h->producer_epoch > k->epoch)
        return h->base_sequence == 0 ? BECK_OK : BECK_ESEQUENCE;
    for (size_t i = k->count > 5 ? k->count - 5 : 0; i < k->count; i++)
        if (k->sent[i].base_sequence == h->base_sequence && k->sent[i].count == h->count) {
            *first_offset = k->sent[i].base_offset;
            return BECK_EDUPLICATE;
        }
    return h->base_sequence == next_sequence(k) ? BECK_OK : BECK_ESEQUENCE;
}

static void model_update(const struct batch_header *h)
{
    struct known *k = &known[h->producer_id];

    if (!k->there || k->epoch != h->producer_epoch)
        k->count = 0;
    k->there = true;
    k->epoch = h->producer_epoch;
    k->timestamp_ms = h->max_timestamp_ms;
    if (k->count == COUNT(k->sent)) {
        memmove(k->sent, k->sent + k->count - 5, 5 * sizeof k->sent[0]);
        k->count = 5;
    }
    k->sent[k->count++] = *h;
}

static struct batch_header random_batch(struct rng *rng, int64_t offset)
{
    int64_t id = (int64_t)rng_below(rng, IDS);
    const struct known *k = &known[id];
    struct batch_header h = batch(id, k->epoch, 0, 1 + (int32_t)rng_below(rng, 5), offset);

    if (!k->there) {
        /* Near the end of the sequences, so that they go round. */
        h.base_sequence = rng_below(rng, 2) ? 0 : INT32_MAX - (int32_t)rng_below(rng, 100);
        return h;
    }
    switch (rng_below(rng, 12)) {
    case 0:
        h.producer_epoch = (int16_t)(k->epoch + 1);
        h.base_sequence = rng_below(rng, 3) == 0;
        break;
    case 1:
        h.producer_epoch = (int16_t)(k->epoch - 1);
        break;
    case 2:
        h.base_sequence = (int32_t)rng_below(rng, INT32_MAX);
        break;
    case 3:
    case 4: {
        size_t back = 1 + (size_t)rng_below(rng, 8);

        if (back <= k->count) {
            h.base_sequence = k->sent[k->count - back].base_sequence;
            h.count = k->sent[k->count - back].count;
            h.last_offset_delta = h.count - 1;
        }
        break;
    }
    default:
        h.base_sequence = (int32_t)next_sequence(k);
    }
    return h;
}

#define DAY 86400000ll

static void model_expire(int64_t older_than_ms)
{
    producers_expire(p, older_than_ms + DAY, DAY);
    for (size_t i = 0; i < IDS; i++)
        if (known[i].there && known[i].timestamp_ms < older_than_ms)
            known[i].there = false;
}

/* Writes the state and reads it into a new one: all of it survives that. */
static void through_a_snapshot(void)
{
    struct buf file;
    struct producers *again = producers_new();

    buf_init(&file, 1 << 20);
    assert_non_null(again);
    assert_int_equal(producers_snapshot_write(p, &file), BECK_OK);
    OK(producers_snapshot_read(again, buf_bytes(&file), &err));
    assert_int_equal(producers_count(again), producers_count(p));
    producers_free(p);
    p = again;
    buf_release(&file);
}

static void random_steps(uint64_t seed)
{
    struct rng rng;
    int64_t offset = 0;
    size_t seen[4] = {0};

    rng_seed(&rng, seed);
    memset(known, 0, sizeof known);
    producers_free(p);
    p = producers_new();
    for (int i = 0; i < 20000; i++) {
        struct batch_header h = random_batch(&rng, offset);
        int64_t first = -1, model_first = -1;
        beck_status st = check(h, &first), expected = model_check(&h, &model_first);
        size_t there = 0;

        assert_int_equal(st, expected);
        assert_int_equal(first, model_first);
        seen[st == BECK_OK ? 0 : st == BECK_EDUPLICATE ? 1 : st == BECK_ESEQUENCE ? 2 : 3]++;
        if (st == BECK_OK) {
            assert_int_equal(producers_update(p, &h, h.max_timestamp_ms), BECK_OK);
            model_update(&h);
            offset += h.count;
        }
        if (rng_below(&rng, 500) == 0)
            through_a_snapshot();
        if (rng_below(&rng, 300) == 0)
            model_expire(1000 + offset - (int64_t)rng_below(&rng, 200));
        for (size_t j = 0; j < IDS; j++)
            there += known[j].there;
        assert_int_equal(producers_count(p), there);
    }
    for (size_t i = 0; i < COUNT(seen); i++)
        assert_true(seen[i] > 50);
}

static void decisions_agree_with_the_model(void **state)
{
    (void)state;
    with_seeds(5, random_steps);
}

/* ---- snapshot ---- */

static void the_snapshot_has_kafkas_bytes(void **state)
{
    static const char entries[] =
        "\0\0\0\2"
        /* id 5, epoch 1, last sequence 12, last offset 102, delta 2, */
        "\0\0\0\0\0\0\0\5\0\1\0\0\0\x0c\0\0\0\0\0\0\0\x66\0\0\0\2"
        /* timestamp 1100, no coordinator epoch, no transaction */
        "\0\0\0\0\0\0\4\x4c\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
        "\0\0\0\0\0\1\0\0\0\0\0\0\0\x00\0\0\0\0\0\0\0\x67\0\0\0\0"
        "\0\0\0\0\0\0\4\x4f\xff\xff\xff\xff\0\0\0\0\0\0\0\x67";
    struct batch_header h = batch(65536, 0, 0, 1, 103);
    struct buf file;

    (void)state;
    h.attributes = BATCH_TRANSACTIONAL;
    store(h);
    store(batch(5, 1, 10, 3, 100));
    buf_init(&file, 1000);
    assert_int_equal(producers_snapshot_write(p, &file), BECK_OK);
    assert_int_equal(file.len, 10 + 2 * 46);
    assert_int_equal(get_u16(file.data), 1);
    assert_int_equal(get_u32(file.data + 2), crc32c_portable(0, file.data + 6, file.len - 6));
    assert_memory_equal(file.data + 6, entries, sizeof entries - 1);
    assert_int_equal(sizeof entries - 1, file.len - 6);
    buf_release(&file);
}

static void batches_before_the_last_stand_behind_kafkas_bytes(void **state)
{
    static const char older[] = "\0\0\0\5"
                                /* id 5, last offset 102, last sequence 12, delta 2 */
                                "\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\x66\0\0\0\x0c\0\0\0\2"
                                "\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0\x71\0\0\0\1\0\0\0\0"
                                "\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0\x72\0\0\0\2\0\0\0\0"
                                "\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0\x73\0\0\0\3\0\0\0\0"
                                "\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0\x74\0\0\0\4\0\0\0\0";
    struct buf file, small;
    int64_t first;

    (void)state;
    for (int32_t i = 0; i < 6; i++)
        store(batch(6, 0, i, 1, 112 + i));
    store(batch(5, 1, 10, 3, 100));
    store(batch(5, 1, 13, 2, 120));
    buf_init(&file, 1000);
    assert_int_equal(producers_snapshot_write(p, &file), BECK_OK);
    assert_int_equal(file.len, 10 + 2 * 46 + 4 + 5 * 24);
    assert_memory_equal(file.data + 10 + 2 * 46, older, sizeof older - 1);
    OK(producers_snapshot_read(p, buf_bytes(&file), &err));
    for (int32_t i = 1; i < 6; i++) {
        FAILS(check(batch(6, 0, i, 1, 200), &first), BECK_EDUPLICATE, "again");
        assert_int_equal(first, 112 + i);
    }
    FAILS(check(batch(6, 0, 0, 1, 200), &first), BECK_ESEQUENCE, "6 was expected");
    FAILS(check(batch(5, 1, 10, 3, 200), &first), BECK_EDUPLICATE, "offset 100");
    OK(check(batch(5, 1, 15, 1, 200), &first));

    buf_init(&small, file.len - 1); /* no room for them */
    assert_int_equal(producers_snapshot_write(p, &small), BECK_OK);
    assert_int_equal(small.len, 10 + 2 * 46);
    OK(producers_snapshot_read(p, buf_bytes(&small), &err));
    FAILS(check(batch(6, 0, 4, 1, 200), &first), BECK_ESEQUENCE, "6 was expected");
    FAILS(check(batch(6, 0, 5, 1, 200), &first), BECK_EDUPLICATE, "offset 117");
    buf_release(&small);
    buf_release(&file);
}

static void an_empty_snapshot_is_ten_bytes(void **state)
{
    struct buf file;

    (void)state;
    buf_init(&file, 100);
    assert_int_equal(producers_snapshot_write(p, &file), BECK_OK);
    assert_int_equal(file.len, 10);
    store(batch(1, 0, 0, 1, 0));
    OK(producers_snapshot_read(p, buf_bytes(&file), &err));
    assert_int_equal(producers_count(p), 0);
    buf_release(&file);
}

/* A producer that only ended a transaction has no batch: lastOffset is -1. */
static void a_snapshot_may_hold_producers_without_batches(void **state)
{
    struct buf file;
    int64_t first;

    (void)state;
    end(3, 7, 10, -1);
    buf_init(&file, 100);
    assert_int_equal(producers_snapshot_write(p, &file), BECK_OK);
    OK(producers_snapshot_read(p, buf_bytes(&file), &err));
    assert_int_equal(producers_count(p), 1);
    OK(check(batch(3, 7, 0, 1, 11), &first));
    FAILS(check(batch(3, 6, 0, 1, 11), &first), BECK_EFENCED, "epoch 7");
    buf_release(&file);
}

static void seal(struct buf *file)
{
    put_u32(file->data + 2, crc32c(0, file->data + 6, file->len - 6));
}

static void damaged_snapshots_are_refused_and_leave_nothing(void **state)
{
    struct buf file;

    (void)state;
    buf_init(&file, 1000);
    for (int64_t id = 0; id < 3; id++)
        for (int k = 0; k < 2; k++)
            store(batch(id, 1, 10 + 3 * k, 3, 100 + id * 10 + k * 3));
    assert_int_equal(producers_snapshot_write(p, &file), BECK_OK);
    size_t len = file.len;
    for (size_t cut = 0; cut < len; cut++) {
        store(batch(77, 0, 0, 1, 0));
        FAILS(producers_snapshot_read(p, bytes_of(file.data, cut), &err), BECK_ECORRUPT,
              "snapshot");
        assert_int_equal(producers_count(p), 0);
    }
    for (size_t bit = 0; bit < len * 8; bit++) {
        file.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        FAILS(producers_snapshot_read(p, buf_bytes(&file), &err), BECK_ECORRUPT, "snapshot");
        file.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    OK(producers_snapshot_read(p, buf_bytes(&file), &err));
    assert_int_equal(producers_count(p), 3);

    put_u16(file.data, 2);
    FAILS(producers_snapshot_read(p, buf_bytes(&file), &err), BECK_ECORRUPT, "version 2");
    put_u16(file.data, 1);
    put_u64(file.data + 10 + 46, 0); /* the second has the first one's id */
    seal(&file);
    FAILS(producers_snapshot_read(p, buf_bytes(&file), &err), BECK_ECORRUPT, "twice");
    put_u64(file.data + 10 + 46, (uint64_t)-5);
    seal(&file);
    FAILS(producers_snapshot_read(p, buf_bytes(&file), &err), BECK_ECORRUPT, "producer -5");
    put_u64(file.data + 10 + 46, 1);
    put_u32(file.data + 10 + 46 + 22, (uint32_t)-2); /* offset delta */
    seal(&file);
    FAILS(producers_snapshot_read(p, buf_bytes(&file), &err), BECK_ECORRUPT, "producer 1");
    put_u32(file.data + 10 + 46 + 22, 2);
    put_u32(file.data + 6, 4);
    seal(&file);
    FAILS(producers_snapshot_read(p, buf_bytes(&file), &err), BECK_ECORRUPT, "4 producers");
    assert_int_equal(producers_count(p), 0);
    buf_release(&file);
}

static void damaged_older_batches_are_refused_and_leave_nothing(void **state)
{
    struct buf file;

    (void)state;
    buf_init(&file, 1000);
    for (int32_t i = 0; i < 5; i++)
        store(batch(7, 0, i * 2, 2, 100 + i * 2));
    assert_int_equal(producers_snapshot_write(p, &file), BECK_OK);
    uint8_t *older = file.data + 10 + 46, *second = older + 4 + 24;
    const struct {
        uint8_t *at;
        uint64_t value;
        size_t size;
    } wrong[] = {
        {older, 3, 4},                   /* fewer than there are */
        {older, 5, 4},                   /* more */
        {second, 8, 8},                  /* of a producer that is not there */
        {second, (uint64_t)-1, 8},       /* of none */
        {second + 8, 101, 8},            /* not behind the first */
        {second + 8, 108, 8},            /* not before the last */
        {second + 8, (uint64_t)-1, 8},   /* nowhere */
        {second + 16, (uint32_t)-1, 4},  /* no sequence */
        {second + 20, (uint32_t)-1, 4},  /* no records */
        {second + 20, 104, 4},           /* more than there were */
        {file.data + 10 + 14, ~0ull, 8}, /* of a producer without a last one */
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        uint8_t kept[8];
        memcpy(kept, wrong[i].at, 8);
        if (wrong[i].size == 8)
            put_u64(wrong[i].at, wrong[i].value);
        else
            put_u32(wrong[i].at, (uint32_t)wrong[i].value);
        seal(&file);
        FAILS(producers_snapshot_read(p, buf_bytes(&file), &err), BECK_ECORRUPT, "snapshot");
        assert_int_equal(producers_count(p), 0);
        memcpy(wrong[i].at, kept, 8);
    }
    seal(&file);
    OK(producers_snapshot_read(p, buf_bytes(&file), &err));
    assert_int_equal(buf_append(&file, second, 24), BECK_OK); /* a sixth batch */
    put_u32(file.data + 10 + 46, 5);
    put_u64(file.data + file.len - 16, 108);
    put_u64(file.data + 10 + 14, 115);
    seal(&file);
    FAILS(producers_snapshot_read(p, buf_bytes(&file), &err), BECK_ECORRUPT, "older batch");
    file.len = 10 + 46 + 4; /* a count of none is not written */
    put_u32(file.data + 10 + 46, 0);
    seal(&file);
    FAILS(producers_snapshot_read(p, buf_bytes(&file), &err), BECK_ECORRUPT, "do not fit");
    buf_release(&file);
}

static void thousands_of_producers_are_kept(void **state)
{
    struct buf file;
    int64_t first;

    (void)state;
    for (int64_t id = 0; id < 5000; id++)
        store(batch(id * 1000003, 0, 0, 1, id));
    assert_int_equal(producers_count(p), 5000);
    buf_init(&file, 1 << 20);
    assert_int_equal(producers_snapshot_write(p, &file), BECK_OK);
    OK(producers_snapshot_read(p, buf_bytes(&file), &err));
    for (int64_t id = 0; id < 5000; id++) {
        FAILS(check(batch(id * 1000003, 0, 0, 1, 0), &first), BECK_EDUPLICATE, "again");
        assert_int_equal(first, id);
    }
    buf_release(&file);
}

static void the_oldest_go_first_when_there_are_too_many(void **state)
{
    struct batch_header open = batch(0, 0, 0, 1, 0);
    struct buf file;
    int64_t first;

    (void)state;
    open.attributes = BATCH_TRANSACTIONAL;
    store(open);
    for (int64_t id = 1; id <= 3 * PRODUCERS_MAX; id++) {
        store(batch(id, 0, 0, 1, id));
        assert_true(producers_count(p) <= PRODUCERS_MAX);
    }
    assert_true(producers_count(p) > PRODUCERS_MAX / 8 * 7 - 2);
    OK(check(batch(1, 0, 7, 1, 0), &first));
    FAILS(check(batch(3 * PRODUCERS_MAX - PRODUCERS_MAX / 2, 0, 0, 1, 0), &first), BECK_EDUPLICATE,
          "again");
    assert_int_equal(producers_oldest(p), 0);
    buf_init(&file, 64u << 20); /* as partitions have it */
    assert_int_equal(producers_snapshot_write(p, &file), BECK_OK);
    OK(producers_snapshot_read(p, buf_bytes(&file), &err));
    buf_release(&file);
}

/* Older versions kept as many as came. */
static void a_snapshot_of_more_than_are_kept_is_read(void **state)
{
    const size_t kafkas = 10 + (size_t)PRODUCERS_MAX * 46;
    struct buf file;
    int64_t first;

    (void)state;
    store(batch(0, 0, 0, 1, 0));
    for (int64_t id = 0; id < PRODUCERS_MAX; id++)
        store(batch(id, 0, id == 0, 1, id + 1));
    buf_init(&file, 64u << 20);
    assert_int_equal(producers_snapshot_write(p, &file), BECK_OK);
    assert_int_equal(file.len, kafkas + 4 + 24); /* the first one's older batch */
    assert_int_equal(buf_reserve(&file, 46), BECK_OK);
    memmove(file.data + kafkas, file.data + kafkas - 46, file.len - kafkas + 46);
    put_u64(file.data + kafkas, PRODUCERS_MAX);
    put_u32(file.data + 6, PRODUCERS_MAX + 1);
    file.len += 46;
    seal(&file);
    OK(producers_snapshot_read(p, buf_bytes(&file), &err));
    assert_int_equal(producers_count(p), PRODUCERS_MAX + 1);
    FAILS(check(batch(0, 0, 0, 1, 0), &first), BECK_EDUPLICATE, "again");
    FAILS(check(batch(PRODUCERS_MAX, 0, 0, 1, 0), &first), BECK_EDUPLICATE, "again");
    store(batch(PRODUCERS_MAX + 1, 0, 0, 1, PRODUCERS_MAX + 1));
    assert_true(producers_count(p) <= PRODUCERS_MAX);
    buf_release(&file);
}

static void no_transaction_more_is_begun_where_too_many_are_open(void **state)
{
    int64_t first;

    (void)state;
    for (int64_t id = 0; id < PRODUCERS_OPEN_MAX; id++)
        store(in_transaction(batch(id, 0, 0, 1, id)));
    FAILS(check(in_transaction(batch(PRODUCERS_OPEN_MAX, 0, 0, 1, 1)), &first), BECK_ELIMIT,
          "open");
    OK(check(in_transaction(batch(3, 0, 1, 1, 1)), &first));
    OK(check(batch(PRODUCERS_OPEN_MAX, 0, 0, 1, 1), &first));
    end(3, 0, PRODUCERS_OPEN_MAX, 3);
    OK(check(in_transaction(batch(PRODUCERS_OPEN_MAX, 0, 0, 1, 1)), &first));
}

static void a_clock_that_was_set_back_keeps_nobody_for_ever(void **state)
{
    struct batch_header h = batch(1, 0, 0, 1, 0);

    (void)state;
    assert_int_equal(producers_update(p, &h, INT64_MAX / 2), BECK_OK);
    producers_expire(p, 1000, 200);
    assert_int_equal(producers_count(p), 1);
    producers_expire(p, 1201, 200);
    assert_int_equal(producers_count(p), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(batches_without_a_producer_always_pass),
        TEST(an_unknown_producer_may_begin_anywhere),
        TEST(one_of_the_last_five_again_is_a_duplicate),
        TEST(sequences_go_round_at_two_to_the_31),
        TEST(a_newer_epoch_begins_with_zero_and_fences_the_old_one),
        TEST(a_batch_outside_of_the_open_transaction_is_refused),
        TEST(the_oldest_transaction_is_known_whatever_ends),
        TEST(an_end_with_a_new_epoch_lets_sequences_begin_again),
        TEST(an_end_that_comes_too_late_is_refused),
        TEST(batches_of_a_transaction_may_have_no_sequence),
        TEST(old_producers_are_forgotten_but_not_in_a_transaction),
        TEST(decisions_agree_with_the_model),
        TEST(the_snapshot_has_kafkas_bytes),
        TEST(batches_before_the_last_stand_behind_kafkas_bytes),
        TEST(an_empty_snapshot_is_ten_bytes),
        TEST(a_snapshot_may_hold_producers_without_batches),
        TEST(damaged_snapshots_are_refused_and_leave_nothing),
        TEST(damaged_older_batches_are_refused_and_leave_nothing),
        TEST(thousands_of_producers_are_kept),
        TEST(the_oldest_go_first_when_there_are_too_many),
        TEST(a_snapshot_of_more_than_are_kept_is_read),
        TEST(no_transaction_more_is_begun_where_too_many_are_open),
        TEST(a_clock_that_was_set_back_keeps_nobody_for_ever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
