/* Record batches: known bytes, round trips through every codec, damage, and what producers may
 * send. */
#include "formats.h"

#include "base/crc32c.h"
#include "log/batch.h"

#define BUS beck_str("orders")
#define T0 1700000000000
#define MEMORY_MAX (4u << 20)

static struct batch_builder builder;
static struct codec codec;
static struct buf scratch, memory;
static struct record_context context;
static beck_error err;

static int setup(void **state)
{
    (void)state;
    batch_builder_init(&builder, MEMORY_MAX);
    codec_init(&codec);
    buf_init(&scratch, MEMORY_MAX);
    buf_init(&memory, MEMORY_MAX);
    record_context_init(&context, BUS, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    batch_builder_release(&builder);
    codec_release(&codec);
    buf_release(&scratch);
    buf_release(&memory);
    return 0;
}

static void add(beck_event e, int64_t timestamp_ms)
{
    assert_int_equal(batch_builder_add(&builder, &e, BUS, timestamp_ms), BECK_OK);
}

static beck_bytes finish(beck_codec kind, int64_t base_offset)
{
    beck_bytes batch;

    OK(batch_builder_finish(&builder, &codec, kind, base_offset, NULL, &scratch, &batch, &err));
    return batch;
}

static struct batch_header header_of(beck_bytes batch)
{
    struct batch_header h;

    OK(batch_header_read(batch.data, &h, &err));
    return h;
}

/* Compressible events. */
static void add_many(int count)
{
    char data[120];

    for (int i = 0; i < count; i++) {
        memset(data, 'a' + i % 20, sizeof data);
        add((beck_event){.type = beck_str("t"), .data = {data, sizeof data}}, T0 + i);
    }
}

/* A copy of exactly its size, so that a sanitizer sees a step outside; free it. */
static uint8_t *copy_of(beck_bytes b)
{
    uint8_t *copy = malloc(b.len);

    assert_non_null(copy);
    memcpy(copy, b.data, b.len);
    return copy;
}

/* ---- format ---- */

static void a_batch_has_kafkas_bytes(void **state)
{
    /* Made by another program from the table in batch.h. */
    static const char expected[] =
        "\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x00\x5c\x00\x00\x00\x00\x02\xf3\x58\xac\x36\x00"
        "\x10\x00\x00\x00\x01\x00\x00\x01\x8b\xcf\xe5\x68\x00\x00\x00\x01\x8b\xcf\xe5\x68\x00\x00"
        "\x00\x00\x00\x00\x00\x04\xd2\x00\x02\x00\x00\x00\x4d\x00\x00\x00\x02\x46\x00\x00\x00\x0a"
        "ORD-7\x04{}\x02\x0e"
        "ce_type\x1aorder.created\x0c\x00\x09\x02\x01\x01\x00";
    struct batch_header producer = {.producer_id = 1234,
                                    .producer_epoch = 2,
                                    .base_sequence = 77,
                                    .attributes = BATCH_TRANSACTIONAL};
    beck_bytes batch;

    (void)state;
    add((beck_event){.type = beck_str("order.created"),
                     .subject = beck_str("ORD-7"),
                     .data = beck_str("{}")},
        T0);
    add((beck_event){.type = BUS}, T0 - 5);
    OK(batch_builder_finish(&builder, &codec, BECK_CODEC_NONE, 42, &producer, &scratch, &batch,
                            &err));
    assert_int_equal(batch.len, sizeof expected - 1);
    assert_memory_equal(batch.data, expected, batch.len);
}

static void the_header_is_read_as_it_was_written(void **state)
{
    struct batch_header h = {.base_offset = INT64_MAX - 100,
                             .length = 1000,
                             .leader_epoch = 7,
                             .attributes = BATCH_CODEC_MASK | BATCH_DELETE_HORIZON,
                             .last_offset_delta = 98,
                             .base_timestamp_ms = -1,
                             .max_timestamp_ms = INT64_MIN,
                             .producer_id = INT64_MAX,
                             .producer_epoch = INT16_MAX,
                             .base_sequence = INT32_MAX,
                             .count = 50};
    struct batch_header back;
    uint8_t bytes[BATCH_HEADER] = {0};

    (void)state;
    batch_header_write(bytes, &h);
    OK(batch_header_read(bytes, &back, &err));
    assert_int_equal(back.base_offset, h.base_offset);
    assert_int_equal(back.length, h.length);
    assert_int_equal(back.leader_epoch, h.leader_epoch);
    assert_int_equal(back.attributes, h.attributes);
    assert_int_equal(back.last_offset_delta, h.last_offset_delta);
    assert_int_equal(back.base_timestamp_ms, h.base_timestamp_ms);
    assert_int_equal(back.max_timestamp_ms, h.max_timestamp_ms);
    assert_int_equal(back.producer_id, h.producer_id);
    assert_int_equal(back.producer_epoch, h.producer_epoch);
    assert_int_equal(back.base_sequence, h.base_sequence);
    assert_int_equal(back.count, h.count);
    assert_int_equal(batch_size(&h), 1012);
    assert_int_equal(batch_last_offset(&h), INT64_MAX - 2);
}

static void placing_a_batch_leaves_its_checksum(void **state)
{
    (void)state;
    add_many(3);
    beck_bytes batch = finish(BECK_CODEC_NONE, 0);
    uint8_t *bytes = copy_of(batch);

    batch_place(bytes, 123456789012, 9);
    assert_true(batch_crc_fits(bytes, batch.len));
    struct batch_header h = header_of(bytes_of(bytes, batch.len));
    assert_int_equal(h.base_offset, 123456789012);
    assert_int_equal(h.leader_epoch, 9);
    assert_int_equal(h.crc, crc32c_portable(0, bytes + 21, batch.len - 21));
    free(bytes);
}

static void headers_that_cannot_be_are_refused(void **state)
{
    static const struct {
        size_t at;
        int width;
        int64_t value;
        const char *says;
    } wrong[] = {
        {16, 1, 1, "magic byte is 1"},
        {16, 1, 0, "magic byte is 0"},
        {8, 4, 48, "length cannot be 48"},
        {8, 4, -1, "length cannot be -1"},
        {0, 8, -1, "offsets cannot be"},
        {0, 8, INT64_MAX, "offsets cannot be"},
        {23, 4, -1, "offsets cannot be"},
        {57, 4, -1, "hold -1 records"},
        {57, 4, 4, "cannot hold 4"},
        {23, 4, 0, "cannot hold 3"},
        {8, 4, 49 + 3 * 7 - 1, "cannot hold 3"},
    };

    (void)state;
    add_many(3);
    beck_bytes batch = finish(BECK_CODEC_NONE, 0);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        uint8_t *bytes = copy_of(batch);
        struct batch_header h;

        if (wrong[i].width == 1)
            bytes[wrong[i].at] = (uint8_t)wrong[i].value;
        else if (wrong[i].width == 4)
            put_u32(bytes + wrong[i].at, (uint32_t)wrong[i].value);
        else
            put_u64(bytes + wrong[i].at, (uint64_t)wrong[i].value);
        FAILS(batch_header_read(bytes, &h, &err), BECK_ECORRUPT, wrong[i].says);
        free(bytes);
    }
}

/* ---- building and reading ---- */

static void random_round_trips(uint64_t seed)
{
    static struct random_event events[60];
    struct rng rng;

    rng_seed(&rng, seed);
    for (unsigned kind = BECK_CODEC_NONE; kind <= BECK_CODEC_ZSTD; kind++) {
        int count = 1 + (int)rng_below(&rng, COUNT(events));
        int64_t base = (int64_t)rng_below(&rng, 1u << 30), max_ms = INT64_MIN;
        struct batch_records r;
        struct record_view v;

        batch_builder_clear(&builder);
        for (int i = 0; i < count; i++) {
            const beck_event *e = random_event(&events[i], &rng);
            int64_t ms = e->time_ns / 1000000;

            add(*e, ms);
            max_ms = ms > max_ms ? ms : max_ms;
        }
        beck_bytes batch = finish((beck_codec)kind, base);
        struct batch_header h = header_of(batch);
        assert_int_equal(batch_size(&h), batch.len);
        assert_true(batch_crc_fits(batch.data, batch.len));
        assert_int_equal(h.count, count);
        assert_int_equal(h.last_offset_delta, count - 1);
        assert_int_equal(h.max_timestamp_ms, max_ms);
        assert_int_equal(h.producer_id, -1);
        assert_int_equal(h.producer_epoch, -1);
        assert_int_equal(h.base_sequence, -1);
        OK(batch_records_open(&r, batch, &codec, &memory, &err));
        for (int i = 0; i < count; i++) {
            OK(batch_records_next(&r, &context, &v, &err));
            assert_int_equal(v.offset, base + i);
            expect_same_event(&v.event, &events[i].event);
        }
        assert_int_equal(batch_records_next(&r, &context, &v, &err), BECK_END);
        assert_int_equal(batch_records_next(&r, &context, &v, &err), BECK_END);
    }
}

static void every_codec_gives_back_what_was_written(void **state)
{
    (void)state;
    with_seeds(8, random_round_trips);
}

static void compressed_batches_say_their_codec_and_are_smaller(void **state)
{
    (void)state;
    for (unsigned kind = BECK_CODEC_NONE; kind <= BECK_CODEC_ZSTD; kind++) {
        batch_builder_clear(&builder);
        add_many(100);
        size_t plain = builder.bytes.len;
        beck_bytes batch = finish((beck_codec)kind, 0);

        assert_int_equal(header_of(batch).attributes, kind);
        if (kind != BECK_CODEC_NONE)
            assert_true(batch.len < plain / 2);
    }
}

static void what_compression_does_not_make_smaller_is_stored_plain(void **state)
{
    struct rng rng;
    uint8_t noise[300];

    (void)state;
    rng_seed(&rng, 1);
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)rng_next(&rng);
    for (unsigned kind = BECK_CODEC_GZIP; kind <= BECK_CODEC_ZSTD; kind++) {
        batch_builder_clear(&builder);
        add((beck_event){.type = BUS, .data = {noise, sizeof noise}}, T0);
        beck_bytes batch = finish((beck_codec)kind, 0);

        assert_int_equal(header_of(batch).attributes, BECK_CODEC_NONE);
        assert_true(batch_crc_fits(batch.data, batch.len));
    }
}

static void a_scratch_that_is_too_small_means_stored_plain(void **state)
{
    (void)state;
    buf_release(&scratch);
    buf_init(&scratch, 100);
    for (unsigned kind = BECK_CODEC_GZIP; kind <= BECK_CODEC_ZSTD; kind++) {
        batch_builder_clear(&builder);
        add_many(20);
        assert_int_equal(header_of(finish((beck_codec)kind, 0)).attributes, BECK_CODEC_NONE);
    }
}

static void a_full_batch_refuses_and_stays_whole(void **state)
{
    char data[100] = {0};
    beck_event e = {.type = BUS, .data = {data, sizeof data}};
    struct batch_header h;
    int count = 0;

    (void)state;
    batch_builder_release(&builder);
    batch_builder_init(&builder, 1000);
    while (batch_builder_add(&builder, &e, BUS, T0) == BECK_OK)
        count++;
    assert_in_range(count, 6, 9);
    assert_int_equal(batch_builder_add(&builder, &e, BUS, T0), BECK_ELIMIT);
    beck_bytes batch = finish(BECK_CODEC_NONE, 0);
    OK(batch_check_produced(batch, 1000, true, &codec, &memory, &h, &err));
    assert_int_equal(h.count, count);
}

static void a_cleared_builder_begins_again(void **state)
{
    (void)state;
    add_many(5);
    batch_builder_clear(&builder);
    add((beck_event){.type = BUS}, T0 + 9);
    struct batch_header h = header_of(finish(BECK_CODEC_NONE, 5));
    assert_int_equal(h.count, 1);
    assert_int_equal(h.base_timestamp_ms, T0 + 9);
    assert_int_equal(h.max_timestamp_ms, T0 + 9);
    assert_int_equal(h.base_offset, 5);
}

/* Changes one field of the attributes and makes the checksum fit again. */
static uint8_t *with_attributes(beck_bytes batch, uint16_t attributes)
{
    uint8_t *bytes = copy_of(batch);

    put_u16(bytes + 21, attributes);
    batch_seal(bytes, batch.len);
    return bytes;
}

static void control_batches_give_no_records(void **state)
{
    struct batch_records r;
    struct record_view v;

    (void)state;
    add_many(1);
    beck_bytes batch = finish(BECK_CODEC_NONE, 0);
    uint8_t *bytes = with_attributes(batch, BATCH_CONTROL | BATCH_TRANSACTIONAL);
    OK(batch_records_open(&r, bytes_of(bytes, batch.len), &codec, &memory, &err));
    assert_int_equal(batch_records_next(&r, &context, &v, &err), BECK_END);
    free(bytes);
}

static void append_time_is_the_time_of_every_record(void **state)
{
    struct batch_records r;
    struct record_view v;

    (void)state;
    add_many(3);
    beck_bytes batch = finish(BECK_CODEC_NONE, 0);
    uint8_t *bytes = with_attributes(batch, BATCH_LOG_APPEND_TIME);
    OK(batch_records_open(&r, bytes_of(bytes, batch.len), &codec, &memory, &err));
    for (int i = 0; i < 3; i++) {
        OK(batch_records_next(&r, &context, &v, &err));
        assert_int_equal(v.timestamp_ms, T0 + 2);
        assert_int_equal(v.event.time_ns, (T0 + 2) * 1000000);
    }
    free(bytes);
}

static void batches_emptied_by_compaction_are_read(void **state)
{
    struct batch_header h = {.base_offset = 10,
                             .length = BATCH_HEADER - BATCH_LENGTH_PREFIX,
                             .attributes = BECK_CODEC_ZSTD,
                             .last_offset_delta = 4,
                             .base_timestamp_ms = -1};
    uint8_t bytes[BATCH_HEADER];
    struct batch_records r;
    struct record_view v;

    (void)state;
    batch_header_write(bytes, &h);
    batch_seal(bytes, sizeof bytes);
    OK(batch_records_open(&r, bytes_of(bytes, sizeof bytes), &codec, &memory, &err));
    assert_int_equal(batch_records_next(&r, &context, &v, &err), BECK_END);
}

static void decompressed_records_stay_below_their_ceiling(void **state)
{
    struct batch_records r;

    (void)state;
    buf_release(&memory);
    buf_init(&memory, 5000);
    for (unsigned kind = BECK_CODEC_GZIP; kind <= BECK_CODEC_ZSTD; kind++) {
        batch_builder_clear(&builder);
        add_many(100);
        beck_bytes batch = finish((beck_codec)kind, 0);

        FAILS(batch_records_open(&r, batch, &codec, &memory, &err), BECK_ELIMIT, "5000",
              codec_name((beck_codec)kind));
    }
}

/* ---- damage ---- */

/* Whether a producer's batch passes; reading it, checked or not, never leaves it. */
static bool passes(beck_bytes batch)
{
    uint8_t *copy = copy_of(batch);
    beck_bytes b = bytes_of(copy, batch.len);
    struct batch_header h;
    struct batch_records r;
    struct record_view v;
    beck_status st = batch_check_produced(b, MEMORY_MAX, true, &codec, &memory, &h, &err);

    if (st != BECK_OK)
        assert_true(st == BECK_ECORRUPT || st == BECK_EINVAL || st == BECK_ELIMIT);
    if (batch_records_open(&r, b, &codec, &memory, &err) == BECK_OK)
        while (batch_records_next(&r, &context, &v, &err) == BECK_OK)
            ;
    free(copy);
    return st == BECK_OK;
}

static void every_truncated_batch_is_refused(void **state)
{
    (void)state;
    for (unsigned kind = BECK_CODEC_NONE; kind <= BECK_CODEC_ZSTD; kind++) {
        batch_builder_clear(&builder);
        add_many(8);
        beck_bytes batch = finish((beck_codec)kind, 0);

        for (size_t len = 0; len < batch.len; len++)
            assert_false(passes(bytes_of(batch.data, len)));
        assert_true(passes(batch));
    }
}

static void every_flipped_bit_is_refused_but_in_what_the_checksum_leaves_out(void **state)
{
    (void)state;
    for (unsigned kind = BECK_CODEC_NONE; kind <= BECK_CODEC_ZSTD; kind++) {
        batch_builder_clear(&builder);
        add_many(6);
        beck_bytes batch = finish((beck_codec)kind, 0);
        uint8_t *bytes = copy_of(batch);

        for (size_t bit = 0; bit < batch.len * 8; bit++) {
            size_t byte = bit / 8;

            bytes[byte] ^= (uint8_t)(1 << bit % 8);
            if (byte >= 8 && !(byte >= 12 && byte < 16))
                assert_false(passes(bytes_of(bytes, batch.len)));
            else
                passes(bytes_of(bytes, batch.len));
            bytes[byte] ^= (uint8_t)(1 << bit % 8);
        }
        free(bytes);
    }
}

/* Behind a checksum that fits: what a hostile producer can send. */
static void flipped_bits_under_a_fitting_checksum_never_lead_outside(void **state)
{
    size_t refused = 0;

    (void)state;
    for (unsigned kind = BECK_CODEC_NONE; kind <= BECK_CODEC_ZSTD; kind++) {
        batch_builder_clear(&builder);
        add_many(6);
        beck_bytes batch = finish((beck_codec)kind, 0);
        uint8_t *bytes = copy_of(batch);

        for (size_t bit = 21 * 8; bit < batch.len * 8; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            batch_seal(bytes, batch.len);
            refused += !passes(bytes_of(bytes, batch.len));
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        free(bytes);
    }
    assert_true(refused > 1000);
}

/* ---- what producers send ---- */

static void producers_may_send_whole_fresh_batches_only(void **state)
{
    static const struct {
        uint16_t attributes;
        int64_t producer_id;
        int32_t sequence, count, last_delta;
        beck_status status;
        const char *says;
    } cases[] = {
        {0, -1, -1, 3, 2, BECK_OK, NULL},
        {0, 5, 0, 3, 2, BECK_OK, NULL},
        {BATCH_TRANSACTIONAL, 5, 9, 3, 2, BECK_OK, NULL},
        {0, 5, -1, 3, 2, BECK_EINVAL, "sequence"},
        {BATCH_CONTROL, -1, -1, 3, 2, BECK_EINVAL, "control"},
        {0, -1, -1, 3, 3, BECK_EINVAL, "last offset of 3"},
        {0, -1, -1, 2, 2, BECK_EINVAL, "2 records"},
        {0, -1, -1, 0, 0, BECK_EINVAL, "0 records"},
        {0, -1, -1, 2, 1, BECK_ECORRUPT, "left behind"},
        {5, -1, -1, 3, 2, BECK_EINVAL, "no codec 5"},
        {7, -1, -1, 3, 2, BECK_EINVAL, "no codec 7"},
    };
    struct batch_header h;

    (void)state;
    add_many(3);
    beck_bytes batch = finish(BECK_CODEC_NONE, 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint8_t *bytes = with_attributes(batch, cases[i].attributes);
        beck_status st;

        put_u32(bytes + 23, (uint32_t)cases[i].last_delta);
        put_u64(bytes + 43, (uint64_t)cases[i].producer_id);
        put_u16(bytes + 51, cases[i].producer_id >= 0 ? 0 : UINT16_MAX);
        put_u32(bytes + 53, (uint32_t)cases[i].sequence);
        put_u32(bytes + 57, (uint32_t)cases[i].count);
        batch_seal(bytes, batch.len);
        st = batch_check_produced(bytes_of(bytes, batch.len), MEMORY_MAX, true, &codec, &memory, &h,
                                  &err);
        if (cases[i].status == BECK_OK)
            expect_ok(st, &err, __LINE__);
        else
            FAILS(st, cases[i].status, cases[i].says);
        free(bytes);
    }
}

/* Indexes by time go by what the header says. */
static void a_wrong_time_in_the_header_is_corrected(void **state)
{
    struct batch_header h, stored;

    (void)state;
    add_many(3);
    beck_bytes batch = finish(BECK_CODEC_NONE, 0);
    OK(batch_header_read(batch.data, &stored, &err));
    uint8_t *bytes = with_attributes(batch, 0);
    put_u64(bytes + 35, (uint64_t)(stored.max_timestamp_ms - 1));
    batch_seal(bytes, batch.len);
    OK(batch_check_produced(bytes_of(bytes, batch.len), MEMORY_MAX, false, &codec, &memory, &h,
                            &err));
    assert_int_equal(h.max_timestamp_ms, stored.max_timestamp_ms);
    batch_correct_time(bytes, batch.len, &h);
    assert_memory_equal(bytes, batch.data, batch.len);
    free(bytes);
}

static void a_batch_with_something_behind_it_is_refused(void **state)
{
    struct batch_header h;

    (void)state;
    add_many(3);
    beck_bytes batch = finish(BECK_CODEC_NONE, 0);
    uint8_t *two = malloc(batch.len * 2);
    assert_non_null(two);
    memcpy(two, batch.data, batch.len);
    memcpy(two + batch.len, batch.data, batch.len);
    FAILS(batch_check_produced(bytes_of(two, batch.len * 2), MEMORY_MAX, false, &codec, &memory, &h,
                               &err),
          BECK_EINVAL, "one whole batch");
    free(two);
}

static void a_batch_that_is_too_large_is_refused_before_it_is_read(void **state)
{
    struct batch_header h;
    char nothing[200] = {0};

    (void)state;
    FAILS(batch_check_produced(bytes_of(nothing, sizeof nothing), 199, true, &codec, &memory, &h,
                               &err),
          BECK_ELIMIT, "200 bytes", "199", "event_bytes_max");
}

static void records_out_of_order_are_refused(void **state)
{
    beck_event e = {.type = BUS};
    struct buf bytes;
    struct batch_header h = {.last_offset_delta = 1,
                             .count = 2,
                             .producer_id = -1,
                             .producer_epoch = -1,
                             .base_sequence = -1};

    (void)state;
    buf_init(&bytes, 1000);
    assert_int_equal(buf_reserve(&bytes, BATCH_HEADER), BECK_OK);
    bytes.len = BATCH_HEADER;
    assert_int_equal(record_write_alone(&bytes, &e, BUS, 0, 1), BECK_OK);
    assert_int_equal(record_write_alone(&bytes, &e, BUS, 0, 0), BECK_OK);
    h.length = (int32_t)bytes.len - BATCH_LENGTH_PREFIX;
    batch_header_write(bytes.data, &h);
    batch_seal(bytes.data, bytes.len);
    FAILS(batch_check_produced(buf_bytes(&bytes), 1000, false, &codec, &memory, &h, &err),
          BECK_EINVAL, "record 0", "number 1");
    buf_release(&bytes);
}

/* By record_peek alone. */
static beck_status read_records(beck_bytes batch)
{
    struct batch_header h = header_of(batch);
    beck_bytes records =
        bytes_of((const uint8_t *)batch.data + BATCH_HEADER, batch.len - BATCH_HEADER);
    size_t at = 0;

    for (int32_t i = 0; i < h.count; i++) {
        int64_t delta, timestamp_ms;
        beck_bytes key;
        bool is_null;
        if (record_peek(records, &at, 0, h.base_timestamp_ms, &delta, &timestamp_ms, &key, &is_null,
                        NULL, &err))
            return BECK_ECORRUPT;
        if (delta != i)
            return BECK_EINVAL;
    }
    return at == records.len ? BECK_OK : BECK_ECORRUPT;
}

static void records_are_accepted_that_can_be_read_and_no_others(void **state)
{
    static char data[40000];
    const size_t sizes[] = {0, 1, 20, 63, 64, 300, 8192, sizeof data};
    const int64_t bases[] = {T0, INT64_MAX - 1, 0};
    struct batch_header h;

    (void)state;
    memset(data, 'x', sizeof data);
    for (size_t i = 0; i < 2 * COUNT(sizes); i++)
        add((beck_event){.type = BUS,
                         .subject = bytes_of("0123456789", i % 11),
                         .source = i % 5 == 3 ? beck_str("/elsewhere") : (beck_bytes){0},
                         .data = i % 7 == 6 ? (beck_bytes){0} : bytes_of(data, sizes[i % 8])},
            T0 + (i % 3 ? (int64_t)i * 1000 : -(int64_t)i));
    beck_bytes batch = finish(BECK_CODEC_NONE, 0);
    uint8_t *bytes = copy_of(batch);
    size_t accepted = 0;
    for (size_t at = BATCH_HEADER; at < batch.len; at++) {
        if (bytes[at] == 'x' && at % 1000)
            continue;
        for (int bit = 0; bit < 8; bit++) {
            bytes[at] ^= (uint8_t)(1 << bit);
            put_u64(bytes + 27, (uint64_t)bases[(at + (size_t)bit) % COUNT(bases)]);
            batch_seal(bytes, batch.len);
            beck_bytes changed = bytes_of(bytes, batch.len);
            beck_status expected = read_records(changed);
            assert_int_equal(
                batch_check_produced(changed, MEMORY_MAX, false, &codec, &memory, &h, &err),
                expected);
            accepted += expected == BECK_OK;
            bytes[at] ^= (uint8_t)(1 << bit);
        }
    }
    assert_true(accepted > 0);
    free(bytes);
}

static void compressed_batches_are_opened_only_when_asked(void **state)
{
    struct batch_header h;

    (void)state;
    add_many(20);
    beck_bytes batch = finish(BECK_CODEC_ZSTD, 0);
    uint8_t *bytes = copy_of(batch);
    bytes[BATCH_HEADER] ^= 0xff; /* no zstd frame any more */
    batch_seal(bytes, batch.len);
    OK(batch_check_produced(bytes_of(bytes, batch.len), MEMORY_MAX, false, &codec, &memory, &h,
                            &err));
    FAILS(batch_check_produced(bytes_of(bytes, batch.len), MEMORY_MAX, true, &codec, &memory, &h,
                               &err),
          BECK_ECORRUPT, "zstd");
    free(bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_batch_has_kafkas_bytes),
        TEST(the_header_is_read_as_it_was_written),
        TEST(placing_a_batch_leaves_its_checksum),
        TEST(headers_that_cannot_be_are_refused),
        TEST(every_codec_gives_back_what_was_written),
        TEST(compressed_batches_say_their_codec_and_are_smaller),
        TEST(what_compression_does_not_make_smaller_is_stored_plain),
        TEST(a_scratch_that_is_too_small_means_stored_plain),
        TEST(a_full_batch_refuses_and_stays_whole),
        TEST(a_cleared_builder_begins_again),
        TEST(control_batches_give_no_records),
        TEST(append_time_is_the_time_of_every_record),
        TEST(batches_emptied_by_compaction_are_read),
        TEST(decompressed_records_stay_below_their_ceiling),
        TEST(every_truncated_batch_is_refused),
        TEST(every_flipped_bit_is_refused_but_in_what_the_checksum_leaves_out),
        TEST(flipped_bits_under_a_fitting_checksum_never_lead_outside),
        TEST(producers_may_send_whole_fresh_batches_only),
        TEST(a_wrong_time_in_the_header_is_corrected),
        TEST(a_batch_with_something_behind_it_is_refused),
        TEST(a_batch_that_is_too_large_is_refused_before_it_is_read),
        TEST(records_out_of_order_are_refused),
        TEST(records_are_accepted_that_can_be_read_and_no_others),
        TEST(compressed_batches_are_opened_only_when_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
