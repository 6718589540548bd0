/* Records that lie beside others of the same shape: written and read the short way, they are as if each were
 * alone. */
#include "formats.h"
#include "world.h"

#include "log/batch.h"
#include "log/varint.h"

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

/* A copy of exactly its size, so that a sanitizer sees a step outside; free it. */
static uint8_t *copy_of(beck_bytes b)
{
    uint8_t *copy = malloc(b.len);

    assert_non_null(copy);
    memcpy(copy, b.data, b.len);
    return copy;
}

/* ---- what beck writes ---- */

enum { NEIGHBOURS = 20000, TEXT_MAX = 90 };

/* What the next events have in common. */
struct shape {
    const char *type;
    size_t key_len, data_len;
    bool null_data;
    int64_t time_step;
};

static struct shape random_shape(struct rng *rng)
{
    static const char *const types[] = {"order.created", "t", "orders"};
    return (struct shape){.type = types[rng_below(rng, 3)],
                          .key_len = rng_below(rng, 3) ? rng_below(rng, 12) : 0,
                          .data_len = rng_below(rng, TEXT_MAX),
                          .null_data = rng_below(rng, 5) == 0,
                          .time_step = rng_below(rng, 4) == 0};
}

static beck_event event_of(const struct shape *s, struct rng *rng, char *text)
{
    for (size_t i = 0; i < TEXT_MAX; i++)
        text[i] = (char)('a' + rng_below(rng, 26));
    return (beck_event){.type = beck_str(s->type),
                        .subject = {text, s->key_len},
                        .data = {s->null_data ? NULL : text, s->null_data ? 0 : s->data_len}};
}

/* By the shortest way that there is, as cursors read. */
static beck_status read_shortly(struct batch_records *r, struct record_view *v)
{
    if (batch_records_step(r, &context, v) || batch_records_follow(r, &context, v))
        return BECK_OK;
    return batch_records_next(r, &context, v, &err);
}

static void same_view(const struct record_view *a, const struct record_view *b)
{
    assert_true(a->offset == b->offset && a->timestamp_ms == b->timestamp_ms);
    assert_true(a->value_is_null == b->value_is_null);
    assert_true(bytes_equal(a->key, b->key));
    assert_true(bytes_equal(a->event.type, b->event.type));
    assert_true(bytes_equal(a->event.subject, b->event.subject));
    assert_true(bytes_equal(a->event.data, b->event.data));
    assert_true(bytes_equal(a->event.id, b->event.id));
    assert_true(a->event.time_ns == b->event.time_ns);
    assert_true(a->event.position.offset == b->event.position.offset);
}

/* Their offsets take one byte, then two, then three. */
static void runs_of_one_shape(uint64_t seed)
{
    static struct record_view view, fresh;
    static char text[TEXT_MAX];
    struct rng rng;
    struct shape s = {0};
    struct buf alone;
    struct batch_records r;
    int64_t time_ms = T0;
    size_t stepped = 0;

    rng_seed(&rng, seed);
    buf_init(&alone, MEMORY_MAX);
    batch_builder_clear(&builder);
    for (int i = 0, left = 0; i < NEIGHBOURS; i++, left--) {
        if (left == 0) {
            s = random_shape(&rng);
            left = 1 + (int)rng_below(&rng, 300);
        }
        beck_event e = event_of(&s, &rng, text);
        time_ms += i > 0 ? s.time_step : 0;
        OK(batch_builder_add(&builder, &e, BUS, time_ms));
        OK(record_write_alone(&alone, &e, BUS, time_ms - T0, i));
    }
    beck_bytes batch;
    OK(batch_builder_finish(&builder, &codec, BECK_CODEC_NONE, 1000, NULL, &scratch, &batch, &err));
    assert_int_equal(batch.len - BATCH_HEADER, alone.len);
    assert_memory_equal((const uint8_t *)batch.data + BATCH_HEADER, alone.data, alone.len);

    uint8_t *copy = copy_of(batch);
    size_t at = 0;
    OK(batch_records_open(&r, bytes_of(copy, batch.len), &codec, &memory, &err));
    for (int i = 0; i < NEIGHBOURS; i++) {
        OK(read_shortly(&r, &view));
        OK(record_read(buf_bytes(&alone), &at, &context, 1000, T0, false, &fresh, &err));
        same_view(&view, &fresh);
        assert_int_equal(r.at, at);
        stepped += r.shape.len > 0;
    }
    assert_int_equal(batch_records_next(&r, &context, &view, &err), BECK_END);
    assert_true(stepped > NEIGHBOURS / 2);
    free(copy);
    buf_release(&alone);
}

static void runs_of_one_shape_are_written_and_read_as_if_each_were_alone(void **state)
{
    (void)state;
    with_seeds(10, runs_of_one_shape);
}

/* ---- what others write ---- */

enum { RECORDS = 700 };

/* A record as another producer may write it: numbers longer than they need be, and what beck never writes. */
struct foreign {
    uint8_t attributes;
    int64_t timestamp_delta, offset_delta, key_len, value_len; /* lengths: -1 is NULL */
    size_t longer[5];                                          /* bytes more of each number */
    const char *const *headers; /* name, value, name, value ..., NULL */
};

static size_t put_longer(uint8_t *p, int64_t value, size_t more)
{
    size_t n = varint_write(p, value);
    for (; more > 0 && n < VARINT_MAX; more--, n++) {
        p[n - 1] |= 0x80;
        p[n] = 0;
    }
    return n;
}

static void put_number(struct buf *to, int64_t value, size_t more)
{
    uint8_t number[VARINT_MAX];
    assert_int_equal(buf_append(to, number, put_longer(number, value, more)), BECK_OK);
}

static void put_text(struct buf *to, int64_t len, size_t more, struct rng *rng)
{
    put_number(to, len, more);
    for (int64_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)('a' + rng_below(rng, 3));
        assert_int_equal(buf_append(to, &c, 1), BECK_OK);
    }
}

static void put_foreign(struct buf *to, const struct foreign *f, struct rng *rng)
{
    static struct buf body;
    size_t count = 0;
    buf_init(&body, MEMORY_MAX);
    assert_int_equal(buf_append(&body, &f->attributes, 1), BECK_OK);
    put_number(&body, f->timestamp_delta, f->longer[1]);
    put_number(&body, f->offset_delta, f->longer[2]);
    put_text(&body, f->key_len, f->longer[3], rng);
    put_text(&body, f->value_len, f->longer[4], rng);
    while (f->headers[count])
        count++;
    put_number(&body, (int64_t)count / 2, 0);
    for (size_t i = 0; i < count; i++) {
        put_number(&body, (int64_t)strlen(f->headers[i]), 0);
        assert_int_equal(buf_append(&body, f->headers[i], strlen(f->headers[i])), BECK_OK);
    }
    put_number(to, (int64_t)body.len, f->longer[0]);
    assert_int_equal(buf_append(to, body.data, body.len), BECK_OK);
    buf_release(&body);
}

static const char *const *random_headers(struct rng *rng)
{
    static const char *const lists[][7] = {
        {NULL},
        {"ce_type", "a.b", NULL},
        {"ce_type", "a.c", NULL},
        {"ce_subject", "s1", NULL},
        {"ce_id", "one", NULL},
        {"ce_id", "", NULL},
        {"ce_time", "2026-01-01T00:00:00Z", NULL},
        {"ce_time", "2026-01-01T00:00:00x", NULL},
        {"x", "1", "x", "2", NULL},
        {"amqp", "abc", "beck-queues", "12345678", NULL},
    };
    return lists[rng_below(rng, COUNT(lists))];
}

static void change_foreign(struct foreign *f, struct rng *rng)
{
    switch (rng_below(rng, 8)) {
    case 0:
        f->attributes = (uint8_t)rng_below(rng, 2);
        break;
    case 1:
        f->timestamp_delta = (int64_t)rng_below(rng, 300) - 100;
        break;
    case 2:
        f->key_len = (int64_t)rng_below(rng, 6) - 1;
        break;
    case 3:
        f->value_len = (int64_t)rng_below(rng, 80) - 1;
        break;
    case 4:
        f->longer[rng_below(rng, COUNT(f->longer))] = rng_below(rng, 4);
        break;
    case 5: /* as long as before */
        if (f->key_len > 0 && f->value_len >= 0) {
            f->key_len--;
            f->value_len++;
        }
        break;
    case 6:
        f->headers = random_headers(rng);
        break;
    default:
        memset(f->longer, 0, sizeof f->longer);
    }
}

static void same_rest(const struct record_view *a, const struct record_view *b)
{
    assert_true((a->key.data == NULL) == (b->key.data == NULL));
    assert_true((a->event.data.data == NULL) == (b->event.data.data == NULL));
    assert_true(bytes_equal(a->carried.queues, b->carried.queues));
    assert_true(bytes_equal(a->carried.content, b->carried.content));
    assert_int_equal(a->event.extension_count, b->event.extension_count);
    for (size_t i = 0; i < a->event.extension_count; i++) {
        assert_true(bytes_equal(a->extensions[i].name, b->extensions[i].name));
        assert_true(bytes_equal(a->extensions[i].value, b->extensions[i].value));
    }
}

/* Their offsets have gaps, as compaction leaves them. */
static void put_run(struct buf *to, struct rng *rng)
{
    struct foreign f = {.key_len = 3, .value_len = 20, .headers = random_headers(rng)};
    for (int i = 0; i < RECORDS; i++) {
        if (rng_below(rng, 6) == 0)
            change_foreign(&f, rng);
        put_foreign(to, &f, rng);
        f.offset_delta += 1 + (rng_below(rng, 20) == 0);
    }
}

static void put_batch(struct buf *to, beck_bytes records, uint16_t attributes)
{
    struct batch_header h = {.base_offset = 1000,
                             .length = (int32_t)(BATCH_HEADER - BATCH_LENGTH_PREFIX + records.len),
                             .attributes = attributes,
                             .last_offset_delta = 2 * RECORDS,
                             .base_timestamp_ms = T0,
                             .max_timestamp_ms = T0 + 1000,
                             .producer_id = -1,
                             .producer_epoch = -1,
                             .base_sequence = -1,
                             .count = RECORDS};
    assert_int_equal(buf_reserve(to, BATCH_HEADER + records.len), BECK_OK);
    to->len = BATCH_HEADER;
    batch_header_write(to->data, &h);
    assert_int_equal(buf_append(to, records.data, records.len), BECK_OK);
    batch_seal(to->data, to->len);
}

/* Up to the first that cannot be read. */
static void read_both_ways(beck_bytes batch)
{
    static struct record_view view, fresh;
    struct batch_records r, alone;

    OK(batch_records_open(&r, batch, &codec, &memory, &err));
    alone = r;
    for (int i = 0; i < RECORDS; i++) {
        alone.last = NULL;
        beck_status expected = batch_records_next(&alone, &context, &fresh, &err);
        assert_int_equal(read_shortly(&r, &view), expected);
        if (expected)
            return;
        same_view(&view, &fresh);
        same_rest(&view, &fresh);
        assert_true(r.at == alone.at && r.left == alone.left);
    }
}

/* spoilt: one bit is another. */
static void runs_of_foreign_records(uint64_t seed, uint16_t attributes, bool spoilt)
{
    beck_codec kind = (beck_codec)(attributes & BATCH_CODEC_MASK);
    struct rng rng;
    struct buf records, packed, batch;

    rng_seed(&rng, seed);
    buf_init(&records, MEMORY_MAX);
    buf_init(&packed, MEMORY_MAX);
    buf_init(&batch, MEMORY_MAX);
    put_run(&records, &rng);
    if (spoilt)
        records.data[rng_below(&rng, records.len)] ^= (uint8_t)(1 << rng_below(&rng, 8));
    if (kind)
        OK(codec_compress(&codec, kind, buf_bytes(&records), &packed, &err));
    put_batch(&batch, buf_bytes(kind ? &packed : &records), attributes);
    uint8_t *copy = copy_of(buf_bytes(&batch));
    read_both_ways(bytes_of(copy, batch.len));
    free(copy);
    buf_release(&records);
    buf_release(&packed);
    buf_release(&batch);
}

static void runs_of_foreign_records_of_any_kind(uint64_t seed)
{
    runs_of_foreign_records(seed, 0, false);
    runs_of_foreign_records(seed, BECK_CODEC_LZ4, false);
    runs_of_foreign_records(seed, BATCH_LOG_APPEND_TIME, false);
    for (uint64_t i = 0; i < 20; i++)
        runs_of_foreign_records(seed * 100 + i, 0, true);
}

static void records_of_other_producers_are_read_as_if_each_were_alone(void **state)
{
    (void)state;
    with_seeds(10, runs_of_foreign_records_of_any_kind);
}

/* ---- cursors ---- */

enum { EVENTS = 8000, APPENDED_MAX = 60, DATA_MAX = 500 };

/* Appends runs of one shape; the data of each begin with its offset. */
static void append_runs(struct partition *p, struct rng *rng)
{
    static char data[APPENDED_MAX][DATA_MAX], key[] = "0123456789";
    size_t len = 20, key_len = 3;
    for (int64_t at = 0; at < EVENTS;) {
        beck_event e[APPENDED_MAX];
        const beck_event *list[APPENDED_MAX];
        size_t n = 1 + (size_t)rng_below(rng, APPENDED_MAX);
        for (size_t i = 0; i < n; i++, at++) {
            if (rng_below(rng, 30) == 0) {
                len = 20 + (size_t)rng_below(rng, DATA_MAX - 20);
                key_len = (size_t)rng_below(rng, sizeof key);
            }
            memset(data[i], '.', len);
            memcpy(data[i] + snprintf(data[i], 20, "%lld", (long long)at), ".", 1);
            e[i] = (beck_event){.type = beck_str(rng_below(rng, 50) ? "t.x" : "t.y"),
                                .subject = {key, key_len},
                                .data = {data[i], len}};
            list[i] = &e[i];
        }
        struct append a = {.events = list, .count = n, .level = BECK_LEVEL_WRITTEN};
        OK(partition_append(p, &a, &err));
    }
}

static void read_in_any_order(uint64_t seed)
{
    static const beck_codec codecs[] = {BECK_CODEC_NONE, BECK_CODEC_LZ4};
    struct world w;
    struct rng rng;
    struct cursor *c, *fresh;
    rng_seed(&rng, seed);
    world_open(&w, seed);
    w.options.bus.segment_bytes = 300000;
    w.options.bus.codec = codecs[seed % COUNT(codecs)];
    struct partition *p = world_partition(&w, 0, 0);
    append_runs(p, &rng);
    int64_t end = partition_next(p), at = 0;
    OK(cursor_open(p, &c, &err));
    for (int i = 0; i < 2 * EVENTS; i++) {
        const struct record_view *v, *alone;
        if (at >= end || rng_below(&rng, 40) == 0)
            at = (int64_t)rng_below(&rng, (uint64_t)end);
        else if (rng_below(&rng, 40) == 0)
            at += (int64_t)rng_below(&rng, 5);
        beck_status status = cursor_read(c, at, false, &v, NULL, &err);
        OK(cursor_open(p, &fresh, NULL));
        assert_int_equal(cursor_read(fresh, at, false, &alone, NULL, &err), status);
        if (!status) {
            same_view(v, alone);
            same_rest(v, alone);
            assert_int_equal(v->offset, at);
            assert_int_equal(strtoll(v->event.data.data, NULL, 10), at);
            at++;
        }
        cursor_close(fresh);
    }
    cursor_close(c);
    OK(partition_close(p, &err));
    world_close(&w);
}

static void a_cursor_reads_in_any_order_what_a_new_one_reads(void **state)
{
    (void)state;
    with_seeds(4, read_in_any_order);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(runs_of_one_shape_are_written_and_read_as_if_each_were_alone),
        TEST(records_of_other_producers_are_read_as_if_each_were_alone),
        TEST(a_cursor_reads_in_any_order_what_a_new_one_reads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
