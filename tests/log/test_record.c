/* Events as records: known bytes, round trips, and what damaged and foreign records give. */
#include "formats.h"

#include "log/record.h"
#include "log/varint.h"

#define BUS beck_str("orders")

static struct record_context context;
static struct buf out;
static struct record_last none;
static beck_error err;

static int setup(void **state)
{
    (void)state;
    record_context_init(&context, BUS, 3);
    buf_init(&out, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_release(&out);
    return 0;
}

/* ---- varints ---- */

static void varints_are_zigzag_in_groups_of_seven_bits(void **state)
{
    static const struct {
        int64_t value;
        const char *bytes;
        size_t len;
    } known[] = {
        {0, "\x00", 1},
        {-1, "\x01", 1},
        {1, "\x02", 1},
        {63, "\x7e", 1},
        {-64, "\x7f", 1},
        {64, "\x80\x01", 2},
        {-65, "\x81\x01", 2},
        {8191, "\xfe\x7f", 2},
        {8192, "\x80\x80\x01", 3},
        {INT32_MAX, "\xfe\xff\xff\xff\x0f", 5},
        {INT32_MIN, "\xff\xff\xff\xff\x0f", 5},
        {INT64_MAX, "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10},
        {INT64_MIN, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        uint8_t bytes[10];
        int64_t back = 42;

        assert_int_equal(varint_size(known[i].value), known[i].len);
        assert_int_equal(varint_write(bytes, known[i].value), known[i].len);
        assert_memory_equal(bytes, known[i].bytes, known[i].len);
        assert_int_equal(varint_read(bytes, bytes + known[i].len, &back), known[i].len);
        assert_true(back == known[i].value);
        for (size_t cut = 0; cut < known[i].len; cut++)
            assert_int_equal(varint_read(bytes, bytes + cut, &back), 0);
    }
}

static void varints_of_more_than_64_bits_are_refused(void **state)
{
    int64_t value;

    (void)state;
    assert_int_equal(varint_read((const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
                                 (const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02" + 10,
                                 &value),
                     0);
    uint8_t endless[20];
    memset(endless, 0x80, sizeof endless);
    assert_int_equal(varint_read(endless, endless + sizeof endless, &value), 0);
}

static void random_varints(uint64_t seed)
{
    struct rng rng;

    rng_seed(&rng, seed);
    for (int i = 0; i < 20000; i++) {
        int64_t value = (int64_t)(rng_next(&rng) >> rng_below(&rng, 64));
        uint8_t bytes[10];
        int64_t back;
        size_t n;

        if (rng_below(&rng, 2))
            value = -value;
        n = varint_write(bytes, value);
        assert_int_equal(n, varint_size(value));
        assert_int_equal(varint_read(bytes, bytes + n, &back), n);
        assert_true(back == value);
    }
}

static void every_number_survives_as_a_varint(void **state)
{
    (void)state;
    with_seeds(2, random_varints);
}

/* ---- what is carried beside an event ---- */

static void what_is_carried_comes_back_and_is_no_extension(void **state)
{
    struct carried carried = {.queues = bytes_of("\0\0\0\0\0\0\0\1\x80\0\0\0\0\0\0\2", 16),
                              .content = bytes_of("a\0b", 3)};
    beck_attribute same = {beck_str("amqp"), beck_str("its own")};
    beck_event e = {.type = BUS, .data = beck_str("{}"), .extensions = &same, .extension_count = 1};
    static struct record_view view;
    size_t at = 0;

    (void)state;
    buf_clear(&out);
    assert_int_equal(record_write(&out, &none, &e, &carried, BUS, 0, 0), BECK_OK);
    assert_true(out.len <= record_size_max(&e) + record_carried_size_max(&carried));
    memset(&view, 0xff, sizeof view);
    expect_ok(record_read(buf_bytes(&out), &at, &context, 0, 0, false, &view, &err), &err,
              __LINE__);
    SAME(view.carried.queues, carried.queues);
    SAME(view.carried.content, carried.content);
    assert_int_equal(view.event.extension_count, 1);
    SAME(view.extensions[0].value, same.value);
    assert_true(carried_names(&view.carried, 1));
    assert_true(carried_names(&view.carried, 0x8000000000000002));
    assert_false(carried_names(&view.carried, 0x0180000000000000)); /* across two of them */
    assert_false(carried_names(&view.carried, 0));
}

static void without_anything_carried_a_record_is_as_ever(void **state)
{
    static const struct carried nothing;
    beck_event e = {.type = beck_str("t"), .data = beck_str("x")};
    struct buf plain;
    struct record_view view;
    size_t at = 0;

    (void)state;
    buf_init(&plain, 1000);
    assert_int_equal(record_write_alone(&plain, &e, BUS, 0, 0), BECK_OK);
    buf_clear(&out);
    assert_int_equal(record_write(&out, &none, &e, &nothing, BUS, 0, 0), BECK_OK);
    SAME(buf_bytes(&out), buf_bytes(&plain));
    assert_int_equal(record_carried_size_max(&nothing), 0);
    memset(&view, 0xff, sizeof view);
    assert_int_equal(record_read(buf_bytes(&out), &at, &context, 0, 0, false, &view, &err),
                     BECK_OK);
    assert_int_equal(view.carried.queues.len + view.carried.content.len, 0);
    assert_false(carried_names(&view.carried, 0));
    buf_release(&plain);
}

/* ---- known bytes ---- */

static beck_bytes write_one(const beck_event *e)
{
    buf_clear(&out);
    assert_int_equal(record_write_alone(&out, e, BUS, 0, 0), BECK_OK);
    assert_true(out.len <= record_size_max(e));
    return buf_bytes(&out);
}

static struct record_view *read_one(beck_bytes record)
{
    static struct record_view view;
    size_t at = 0;

    memset(&view, 0xff, sizeof view); /* nothing may be left from the event before */
    expect_ok(record_read(record, &at, &context, 1000, 5000, false, &view, &err), &err, __LINE__);
    assert_int_equal(at, record.len);
    return &view;
}

static void a_record_has_kafkas_bytes(void **state)
{
    beck_event e = {
        .type = beck_str("order.created"), .subject = beck_str("ORD-7"), .data = beck_str("{}")};
    /* length 36 | attributes | timestamp 300 | offset 2 | key 5 | value 2 | one header */
    static const char expected[] = "\x48\x00\xd8\x04\x04\x0aORD-7\x04{}\x02"
                                   "\x0e"
                                   "ce_type\x1aorder.created";

    (void)state;
    assert_int_equal(record_write_alone(&out, &e, BUS, 300, 2), BECK_OK);
    SAME(buf_bytes(&out), bytes_of(expected, sizeof expected - 1));
}

static void an_empty_record_takes_seven_bytes(void **state)
{
    beck_event e = {.type = BUS};

    (void)state;
    /* null key, null value, no header: the type is the name of the bus */
    SAME(write_one(&e), bytes_of("\x0c\x00\x00\x00\x01\x01\x00", 7));
}

static void absent_and_empty_data_differ(void **state)
{
    beck_event e = {.type = BUS, .data = {"", 0}};

    (void)state;
    struct record_view *v = read_one(write_one(&e));
    assert_non_null(v->event.data.data);
    assert_int_equal(v->event.data.len, 0);
    assert_false(v->value_is_null);
    e.data.data = NULL;
    v = read_one(write_one(&e));
    assert_null(v->event.data.data);
    assert_true(v->value_is_null);
}

static void what_can_be_derived_is_not_stored_but_read(void **state)
{
    beck_event e = {.type = BUS, .subject = beck_str("k"), .time_ns = 5000000000};

    (void)state;
    struct record_view *v = read_one(write_one(&e));
    TEXT(v->event.type, "orders");
    TEXT(v->event.source, "/orders");
    TEXT(v->event.id, "orders/3/1000");
    TEXT(v->event.subject, "k");
    TEXT(v->event.bus, "orders");
    TEXT(v->key, "k");
    assert_int_equal(v->event.time_ns, 5000000000);
    assert_int_equal(v->offset, 1000);
    assert_int_equal(v->timestamp_ms, 5000);
    assert_int_equal(v->event.position.partition, 3);
    assert_int_equal(v->event.position.offset, 1000);
    assert_null(v->event.datacontenttype.data);
    assert_null(v->event.dataschema.data);
    assert_null(v->event.data.data);
    assert_null(v->event.correlationid.data);
    assert_null(v->event.causationid.data);
    assert_int_equal(v->event.deliver_at_ms, 0);
    assert_int_equal(v->event.expires_at_ms, 0);
    assert_int_equal(v->event.priority, 0);
    assert_int_equal(v->event.extension_count, 0);
    assert_int_equal(out.len, 8);
}

static void ids_are_the_place_of_the_event(void **state)
{
    static const struct {
        int64_t offset;
        const char *digits;
    } known[] = {{0, "0"},
                 {9, "9"},
                 {10, "10"},
                 {99, "99"},
                 {100, "100"},
                 {999, "999"},
                 {1000, "1000"},
                 {9999, "9999"},
                 {10000, "10000"},
                 {123456, "123456"},
                 {100000, "100000"},
                 {99999999, "99999999"},
                 {1234567, "1234567"},
                 {INT64_MAX, "9223372036854775807"}};
    char bus[250], expected[RECORD_ID_MAX];
    beck_event e = {.type = BUS};
    struct record_view v;

    (void)state;
    write_one(&e);
    memset(bus, 'b', 249);
    for (size_t len = 1; len <= 249; len += 31) {
        record_context_init(&context, bytes_of(bus, len), UINT32_MAX);
        for (size_t i = 0; i < COUNT(known); i++) {
            size_t at = 0;

            OK(record_read(buf_bytes(&out), &at, &context, known[i].offset, 0, false, &v, &err));
            snprintf(expected, sizeof expected, "%.*s/4294967295/%s", (int)len, bus,
                     known[i].digits);
            TEXT(v.event.id, expected);
        }
    }
    assert_int_equal(v.event.source.len, 250);
}

static void times_below_a_millisecond_and_before_1970_are_kept(void **state)
{
    static const int64_t times[] = {1700000000123456789, 1, -1, -5000000000, -1000000};

    (void)state;
    for (size_t i = 0; i < COUNT(times); i++) {
        beck_event e = {.type = BUS, .time_ns = times[i]};

        assert_int_equal(read_one(write_one(&e))->event.time_ns, times[i]);
    }
}

/* ---- round trips ---- */

static void random_round_trips(uint64_t seed)
{
    struct rng rng;
    struct random_event r;
    struct record_view v;

    rng_seed(&rng, seed);
    for (int i = 0; i < 400; i++) {
        const beck_event *e = random_event(&r, &rng);
        int64_t timestamp_ms = e->time_ns / 1000000;
        int64_t base_ms = (int64_t)rng_below(&rng, 1000000);
        size_t at = 0;

        buf_clear(&out);
        assert_int_equal(record_write_alone(&out, e, BUS, timestamp_ms - base_ms, i), BECK_OK);
        assert_true(out.len <= record_size_max(e));
        OK(record_read(buf_bytes(&out), &at, &context, 77, base_ms, false, &v, &err));
        assert_int_equal(at, out.len);
        assert_int_equal(v.offset, 77 + i);
        assert_int_equal(v.timestamp_ms, timestamp_ms);
        expect_same_event(&v.event, e);
    }
}

static void every_event_is_read_as_it_was_written(void **state)
{
    (void)state;
    with_seeds(10, random_round_trips);
}

static void lengths_around_a_longer_varint_are_right(void **state)
{
    static const size_t edges[] = {63, 8191, 1048575};
    static char data[1048700];

    (void)state;
    buf_release(&out);
    buf_init(&out, 2 << 20);
    for (size_t i = 0; i < COUNT(edges); i++)
        for (size_t len = edges[i] - 60; len <= edges[i] + 60 && len < sizeof data; len++) {
            beck_event e = {.type = beck_str("t"), .data = {data, len < 200 ? len % 64 : len}};

            assert_int_equal(read_one(write_one(&e))->event.data.len, e.data.len);
        }
}

static void a_buffer_without_room_is_left_as_it_was(void **state)
{
    char data[100] = {0};
    beck_event e = {.type = BUS, .data = {data, sizeof data}};
    struct buf small;

    (void)state;
    buf_init(&small, 120);
    assert_int_equal(buf_append_text(&small, "abc"), BECK_OK);
    assert_int_equal(record_write_alone(&small, &e, BUS, 0, 0), BECK_ELIMIT);
    TEXT(buf_bytes(&small), "abc");
    buf_release(&small);
}

/* ---- foreign records ---- */

/* Builds records by hand, as another program would. */
struct hand {
    uint8_t bytes[8192];
    size_t len;
    size_t count;
};

static void hand_header(struct hand *h, const char *name, beck_bytes value)
{
    h->len += varint_write(h->bytes + h->len, (int64_t)strlen(name));
    memcpy(h->bytes + h->len, name, strlen(name));
    h->len += strlen(name);
    h->len += varint_write(h->bytes + h->len, value.data == NULL ? -1 : (int64_t)value.len);
    if (value.len > 0)
        memcpy(h->bytes + h->len, value.data, value.len);
    h->len += value.len;
    h->count++;
}

static beck_bytes hand_record(const struct hand *h)
{
    static uint8_t record[9000];
    uint8_t front[32];
    size_t n = 0;

    memcpy(front, "\0\0\0\2k\2v", 7);
    n = 7 + varint_write(front + 7, (int64_t)h->count);
    size_t at = varint_write(record, (int64_t)(n + h->len));
    memcpy(record + at, front, n);
    memcpy(record + at + n, h->bytes, h->len);
    return bytes_of(record, at + n + h->len);
}

static void headers_of_other_programs_are_extensions(void **state)
{
    struct hand h = {.len = 0};

    (void)state;
    hand_header(&h, "traceparent", beck_str("00-1"));
    hand_header(&h, "X-Trace", beck_str("no legal name"));
    hand_header(&h, "priority", beck_str("9"));
    hand_header(&h, "id", beck_str("not the event's"));
    hand_header(&h, "ce_tenant", beck_str("a"));
    hand_header(&h, "tenant", beck_str("b"));
    hand_header(&h, "ce_Illegal", beck_str("c"));
    hand_header(&h, "nothing", (beck_bytes){NULL, 0});
    hand_header(&h, "", beck_str("no name"));
    hand_header(&h, "ce_", beck_str("no name"));
    struct record_view *v = read_one(hand_record(&h));
    assert_int_equal(v->event.extension_count, 3);
    TEXT(v->event.extensions[0].name, "traceparent");
    TEXT(v->event.extensions[0].value, "00-1");
    TEXT(v->event.extensions[1].name, "tenant");
    TEXT(v->event.extensions[1].value, "a");
    TEXT(v->event.extensions[2].name, "nothing");
    assert_null(v->event.extensions[2].value.data);
    assert_int_equal(v->event.priority, 0);
    TEXT(v->event.id, "orders/3/1000");
    TEXT(v->event.data, "v");
}

static void cloudevents_in_binary_mode_are_understood(void **state)
{
    struct hand h = {.len = 0};

    (void)state;
    hand_header(&h, "ce_specversion", beck_str("1.0"));
    hand_header(&h, "ce_type", beck_str("com.example.some"));
    hand_header(&h, "ce_source", beck_str("/mycontext"));
    hand_header(&h, "ce_id", beck_str("1234-1234"));
    hand_header(&h, "ce_time", beck_str("2018-04-05T03:56:24.5+01:00"));
    hand_header(&h, "ce_subject", beck_str("about"));
    hand_header(&h, "content-type", beck_str("text/plain"));
    hand_header(&h, "ce_datacontenttype", beck_str("ignored/one"));
    hand_header(&h, "ce_expirytime", beck_str("1970-01-01T00:00:01.5Z"));
    hand_header(&h, "ce_deliverytime", beck_str("1970-01-01T00:00:02.0019Z"));
    hand_header(&h, "ce_priority", beck_str("7"));
    hand_header(&h, "ce_correlationid", beck_str("cor"));
    hand_header(&h, "ce_causationid", beck_str("cau"));
    hand_header(&h, "ce_dataschema", beck_str("urn:x"));
    struct record_view *v = read_one(hand_record(&h));
    TEXT(v->event.type, "com.example.some");
    TEXT(v->event.source, "/mycontext");
    TEXT(v->event.id, "1234-1234");
    TEXT(v->event.subject, "about");
    TEXT(v->key, "k");
    TEXT(v->event.datacontenttype, "text/plain");
    TEXT(v->event.correlationid, "cor");
    TEXT(v->event.causationid, "cau");
    TEXT(v->event.dataschema, "urn:x");
    assert_int_equal(v->event.time_ns, 1522896984500000000);
    assert_int_equal(v->event.expires_at_ms, 1500);
    assert_int_equal(v->event.deliver_at_ms, 2001);
    assert_int_equal(v->event.priority, 7);
    assert_int_equal(v->event.extension_count, 0);
}

static void attributes_that_cannot_be_read_stay_in_the_record(void **state)
{
    struct hand h = {.len = 0};

    (void)state;
    hand_header(&h, "ce_time", beck_str("yesterday"));
    hand_header(&h, "ce_expirytime", beck_str(""));
    hand_header(&h, "ce_deliverytime", beck_str("never"));
    hand_header(&h, "ce_priority", beck_str("256"));
    hand_header(&h, "ce_id", beck_str(""));
    hand_header(&h, "ce_type", (beck_bytes){NULL, 0});
    struct record_view *v = read_one(hand_record(&h));
    assert_int_equal(v->event.time_ns, 5000000000);
    assert_int_equal(v->event.expires_at_ms, 0);
    assert_int_equal(v->event.deliver_at_ms, 0);
    assert_int_equal(v->event.priority, 0);
    assert_int_equal(v->event.extension_count, 0);
    TEXT(v->event.id, "orders/3/1000");
    TEXT(v->event.type, "orders");
}

static void extensions_beyond_the_limit_are_passed_over(void **state)
{
    struct hand h = {.len = 0};
    char name[16];

    (void)state;
    for (int i = 0; i < RECORD_EXTENSIONS_MAX + 10; i++) {
        snprintf(name, sizeof name, "ce_x%d", i);
        hand_header(&h, name, beck_str("v"));
    }
    assert_int_equal(read_one(hand_record(&h))->event.extension_count, RECORD_EXTENSIONS_MAX);
}

static void records_without_a_timestamp_have_no_time(void **state)
{
    beck_event e = {.type = BUS};
    struct record_view v;
    size_t at = 0;

    (void)state;
    write_one(&e);
    OK(record_read(buf_bytes(&out), &at, &context, 0, -1, false, &v, &err));
    assert_int_equal(v.timestamp_ms, -1);
    assert_int_equal(v.event.time_ns, 0);
}

/* ---- neighbours ---- */

static void same_event(const beck_event *a, const beck_event *b)
{
    SAME(a->type, b->type);
    SAME(a->subject, b->subject);
    SAME(a->source, b->source);
    SAME(a->id, b->id);
    SAME(a->data, b->data);
    SAME(a->datacontenttype, b->datacontenttype);
    assert_int_equal(a->data.data == NULL, b->data.data == NULL);
    assert_true(a->time_ns == b->time_ns);
    assert_int_equal(a->priority, b->priority);
    assert_int_equal(a->extension_count, b->extension_count);
    assert_true(a->position.offset == b->position.offset);
}

/* Mostly only a type, which mostly is the one before; all that a record can have in its headers now and
 * then, twice in a row. */
static beck_event neighbour(struct rng *rng)
{
    static const char *const types[] = {"order.created", "order.changed", "orders", "t"};
    static beck_attribute extension = {{"tenant", 6}, {"a", 1}};
    static beck_event e;
    if (rng_below(rng, 3) == 0) {
        e = (beck_event){.type = beck_str(types[rng_below(rng, COUNT(types))])};
        switch (rng_below(rng, 8)) {
        case 0:
            e.id = beck_str("one");
            break;
        case 1:
            e.time_ns = 1500000000000000001;
            break;
        case 2:
            e.datacontenttype = beck_str("text/plain");
            break;
        case 3:
            e.extensions = &extension;
            e.extension_count = 1;
            break;
        case 4:
            e.priority = 7;
            break;
        default:
            break;
        }
    }
    e.subject = rng_below(rng, 2) ? beck_str("somebody") : (beck_bytes){0};
    e.data = rng_below(rng, 4)
                 ? bytes_of("some bytes of data, more than sixty-four of them at times, "
                            "so that lengths differ",
                            rng_below(rng, 80))
                 : (beck_bytes){0};
    return e;
}

static void random_neighbours(uint64_t seed)
{
    struct rng rng;
    struct record_last last = {0};
    struct buf alone;
    static struct record_view view, fresh;
    size_t at = 0;

    rng_seed(&rng, seed);
    buf_clear(&out);
    buf_init(&alone, 1000);
    for (int i = 0; i < 500; i++) {
        beck_event e = neighbour(&rng);
        int64_t delta = (int64_t)rng_below(&rng, 1000);
        size_t before = out.len;
        buf_clear(&alone);
        OK(record_write_alone(&alone, &e, BUS, delta, i));
        OK(record_write(&out, &last, &e, NULL, BUS, delta, i));
        SAME(bytes_of(out.data + before, out.len - before), buf_bytes(&alone));
    }
    for (int i = 0; i < 500; i++) {
        size_t again = at;
        OK(record_read(buf_bytes(&out), &at, &context, 9, 100, i > 0, &view, &err));
        OK(record_read(buf_bytes(&out), &again, &context, 9, 100, false, &fresh, &err));
        assert_int_equal(at, again);
        same_event(&view.event, &fresh.event);
    }
    assert_int_equal(at, out.len);
    buf_release(&alone);
}

static void neighbours_are_written_and_read_as_if_each_were_alone(void **state)
{
    (void)state;
    with_seeds(20, random_neighbours);
}

/* As another program writes them: a time, subject or id among the headers, the same in both. */
static void headers_that_take_the_place_of_a_field_are_looked_at_each_time(void **state)
{
    static const char *const headers[] = {"\x02\x0e"
                                          "ce_time\x28"
                                          "1970-01-01T00:00:05Z",
                                          "\x02\x14"
                                          "ce_subject\x02"
                                          "s",
                                          "\x02\x0a"
                                          "ce_id\x02"
                                          "i"};
    static struct record_view view, fresh;

    (void)state;
    for (size_t i = 0; i < COUNT(headers); i++) {
        size_t len = strlen(headers[i]), at = 0;
        buf_clear(&out);
        for (uint8_t n = 0; n < 2; n++) {
            /* Timestamps 5000 and 5001, keys k and l. */
            uint8_t front[] = {0, 0, (uint8_t)(n * 2), (uint8_t)(n * 2), 2, (uint8_t)('k' + n), 1};
            front[0] = (uint8_t)(2 * (sizeof front - 1 + len));
            OK(buf_append(&out, front, sizeof front));
            OK(buf_append(&out, headers[i], len));
        }
        for (int n = 0; n < 2; n++) {
            size_t again = at;
            OK(record_read(buf_bytes(&out), &at, &context, 9, 5000, n > 0, &view, &err));
            OK(record_read(buf_bytes(&out), &again, &context, 9, 5000, false, &fresh, &err));
            same_event(&view.event, &fresh.event);
        }
    }
}

/* ---- peek ---- */

static void peek_steps_over_records_as_read_does(void **state)
{
    struct rng rng;
    struct random_event r;
    struct record_view v;
    size_t read_at = 0, peek_at = 0;

    (void)state;
    rng_seed(&rng, 7);
    for (int i = 0; i < 100; i++)
        assert_int_equal(record_write_alone(&out, random_event(&r, &rng), BUS, i * 3, i), BECK_OK);
    while (read_at < out.len) {
        int64_t offset, timestamp_ms;
        beck_bytes key, whole;
        bool is_null;
        size_t before = peek_at;

        OK(record_read(buf_bytes(&out), &read_at, &context, 9, 100, false, &v, &err));
        OK(record_peek(buf_bytes(&out), &peek_at, 9, 100, &offset, &timestamp_ms, &key, &is_null,
                       &whole, &err));
        assert_int_equal(peek_at, read_at);
        assert_int_equal(offset, v.offset);
        assert_int_equal(timestamp_ms, v.timestamp_ms);
        SAME(key, v.key);
        assert_int_equal(is_null, v.value_is_null);
        SAME(whole, bytes_of(out.data + before, peek_at - before));
    }
}

/* ---- damage ---- */

/* Both readers agree on whether the bytes are a record, and stay inside of them: the copy has
 * exactly their length, so that a sanitizer sees a step outside. */
static bool is_record(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    struct record_view v;
    int64_t offset, timestamp_ms;
    beck_bytes key;
    bool is_null;
    size_t at = 0, peek_at = 0;
    beck_status st, peek_st;

    assert_non_null(copy);
    if (len > 0)
        memcpy(copy, bytes, len);
    st = record_read(bytes_of(copy, len), &at, &context, 0, 0, false, &v, &err);
    peek_st = record_peek(bytes_of(copy, len), &peek_at, 0, 0, &offset, &timestamp_ms, &key,
                          &is_null, NULL, &err);
    assert_int_equal(st, peek_st);
    assert_int_equal(at, peek_at);
    if (st != BECK_OK)
        expect_error(st, BECK_ECORRUPT, &err, __LINE__, "byte 0", "damaged", NULL);
    assert_true(at <= len);
    free(copy);
    return st == BECK_OK;
}

static void every_truncated_record_is_refused(void **state)
{
    struct rng rng;
    struct random_event r;

    (void)state;
    rng_seed(&rng, 3);
    for (int i = 0; i < 20; i++) {
        beck_bytes record = write_one(random_event(&r, &rng));

        for (size_t len = 0; len < record.len; len++)
            assert_false(is_record(record.data, len));
        assert_true(is_record(record.data, record.len));
    }
}

static void every_flipped_bit_is_refused_or_read_inside_of_the_record(void **state)
{
    struct rng rng;
    struct random_event r;
    uint8_t copy[16384];
    size_t refused = 0;

    (void)state;
    rng_seed(&rng, 4);
    for (int i = 0; i < 20; i++) {
        beck_bytes record = write_one(random_event(&r, &rng));

        for (size_t bit = 0; bit < record.len * 8; bit++) {
            memcpy(copy, record.data, record.len);
            copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
            refused += !is_record(copy, record.len);
        }
    }
    assert_true(refused > 0);
}

static void random_bytes_are_no_records(uint64_t seed)
{
    struct rng rng;
    uint8_t bytes[64];

    rng_seed(&rng, seed);
    for (int i = 0; i < 20000; i++) {
        size_t len = (size_t)rng_below(&rng, sizeof bytes);

        for (size_t j = 0; j < len; j++)
            bytes[j] = (uint8_t)(rng_next(&rng) & (rng_below(&rng, 2) ? 0xff : 0x0f));
        is_record(bytes, len);
    }
}

static void random_bytes_never_lead_outside(void **state)
{
    (void)state;
    with_seeds(3, random_bytes_are_no_records);
}

static void refusals_say_what_is_wrong(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *says;
    } wrong[] = {
        {"", 0, "its length is cut off"},
        {"\x10\x00", 2, "passes the end"},
        {"\x01\x00", 2, "passes the end"},
        {"\x0c\x00\x00\x01\x01\x01\x00", 7, "offset cannot be"},
        {"\x0c\x00\x00\x00\x06\x01\x00", 7, "key does not fit"},
        {"\x0c\x00\x00\x00\x03\x01\x00", 7, "key does not fit"},
        {"\x0c\x00\x00\x00\x01\x04\x00", 7, "value does not fit"},
        {"\x0c\x00\x00\x00\x01\x01\x02", 7, "number of its headers"},
        {"\x0c\x00\x00\x00\x01\x01\x01", 7, "number of its headers"},
        {"\x0e\x00\x00\x00\x01\x01\x00\x00", 8, "left behind"},
        {"\x10\x00\x00\x00\x01\x01\x02\x01\x01", 9, "a header"},
    };
    struct record_view v;

    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        size_t at = 0;

        FAILS(record_read(bytes_of(wrong[i].bytes, wrong[i].len), &at, &context, 0, 0, false, &v,
                          &err),
              BECK_ECORRUPT, wrong[i].says, "byte 0");
        assert_int_equal(at, 0);
    }
}

static void numbers_that_overflow_are_refused(void **state)
{
    beck_event e = {.type = BUS};
    struct record_view v;
    size_t at = 0;

    (void)state;
    assert_int_equal(record_write_alone(&out, &e, BUS, INT64_MAX, 1), BECK_OK);
    FAILS(record_read(buf_bytes(&out), &at, &context, 0, 1, false, &v, &err), BECK_ECORRUPT,
          "timestamp");
    FAILS(record_read(buf_bytes(&out), &at, &context, INT64_MAX, 0, false, &v, &err), BECK_ECORRUPT,
          "offset");
    OK(record_read(buf_bytes(&out), &at, &context, INT64_MAX - 1, 0, false, &v, &err));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(varints_are_zigzag_in_groups_of_seven_bits),
        TEST(varints_of_more_than_64_bits_are_refused),
        TEST(every_number_survives_as_a_varint),
        TEST(what_is_carried_comes_back_and_is_no_extension),
        TEST(without_anything_carried_a_record_is_as_ever),
        TEST(a_record_has_kafkas_bytes),
        TEST(an_empty_record_takes_seven_bytes),
        TEST(absent_and_empty_data_differ),
        TEST(what_can_be_derived_is_not_stored_but_read),
        TEST(ids_are_the_place_of_the_event),
        TEST(times_below_a_millisecond_and_before_1970_are_kept),
        TEST(every_event_is_read_as_it_was_written),
        TEST(lengths_around_a_longer_varint_are_right),
        TEST(a_buffer_without_room_is_left_as_it_was),
        TEST(headers_of_other_programs_are_extensions),
        TEST(cloudevents_in_binary_mode_are_understood),
        TEST(attributes_that_cannot_be_read_stay_in_the_record),
        TEST(extensions_beyond_the_limit_are_passed_over),
        TEST(records_without_a_timestamp_have_no_time),
        TEST(neighbours_are_written_and_read_as_if_each_were_alone),
        TEST(headers_that_take_the_place_of_a_field_are_looked_at_each_time),
        TEST(peek_steps_over_records_as_read_does),
        TEST(every_truncated_record_is_refused),
        TEST(every_flipped_bit_is_refused_or_read_inside_of_the_record),
        TEST(random_bytes_never_lead_outside),
        TEST(refusals_say_what_is_wrong),
        TEST(numbers_that_overflow_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
