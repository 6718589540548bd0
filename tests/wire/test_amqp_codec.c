/* Frames and methods as bytes. */
#include "amqp_world.h"

#include "base/rng.h"

#include <stdio.h>

static void test_there_are_66_methods_in_order_of_their_numbers(void **state)
{
    (void)state;
    assert_int_equal(method_count, 66);
    for (size_t i = 0; i < method_count; i++) {
        assert_ptr_equal(method_find((uint32_t)method_shapes[i].id), &method_shapes[i]);
        assert_true(i == 0 || method_shapes[i - 1].id < method_shapes[i].id);
    }
    assert_null(method_find(0));
    assert_null(method_find(60u << 16 | 41));
    assert_null(method_find(UINT32_MAX));
}

/* Fills the fields as their kinds allow. */
static void fill(const struct method_shape *shape, struct rng *r, struct method *m)
{
    static const uint8_t table[] = "\1aS\0\0\0\1b\1bt\1";
    static const uint64_t most[] = {
        ['o'] = UINT8_MAX, ['s'] = UINT16_MAX, ['l'] = UINT32_MAX, ['q'] = UINT64_MAX, ['b'] = 1};
    uint8_t *at = (uint8_t *)m + offsetof(struct method, connection_start);
    m->id = shape->id;
    for (const char *kind = shape->kinds; *kind; kind++) {
        uint64_t number = rng_next(r);
        beck_bytes text = number % 3 ? bytes_of(table + 2, 6) : bytes_of("", 0);
        if (*kind == 'T')
            text = number % 3 ? bytes_of(table, sizeof table - 1) : bytes_of("", 0);
        if (strchr("SLT", *kind)) {
            if (*kind == 'S')
                text = number % 2 ? beck_str("\xc3\xa4 key.of.words") : beck_str("");
            memcpy(at, &text, sizeof text);
            at += sizeof text;
        } else {
            number &= most[(size_t)*kind];
            memcpy(at, &number, sizeof number);
            at += sizeof number;
        }
    }
}

static void test_what_was_written_is_read_again(void **state)
{
    struct rng r;
    (void)state;
    rng_seed(&r, 1);
    for (int round = 0; round < 200; round++)
        for (size_t i = 0; i < method_count; i++) {
            struct method m = {0}, read = {0};
            uint8_t bytes[512], again[512];
            fill(&method_shapes[i], &r, &m);
            size_t len = (size_t)(method_write(&m, bytes) - bytes);
            assert_int_equal(len, method_length(&m));
            assert_int_equal(method_read(bytes_of(bytes, len), &read), METHOD_READ);
            assert_int_equal(method_write(&read, again) - again, len);
            assert_memory_equal(bytes, again, len);
            if (len > 4)
                assert_int_equal(method_read(bytes_of(bytes, len - 1), &read), METHOD_MALFORMED);
            assert_int_equal(method_read(bytes_of(bytes, len + 1), &read), METHOD_MALFORMED);
        }
}

static void test_bits_share_an_octet_from_its_lowest_on(void **state)
{
    static const uint8_t expected[] = {
        0, 50, 0, 10, 0, 0, 1, 'q', 0x1a /* durable, auto-delete, nowait */, 0, 0, 0, 0};
    uint8_t bytes[64];
    struct method m = {.id = METHOD_queue_declare};
    (void)state;
    m.queue_declare.queue = beck_str("q");
    m.queue_declare.durable = m.queue_declare.auto_delete = m.queue_declare.nowait = 1;
    m.queue_declare.arguments = bytes_of("", 0);
    assert_int_equal(method_write(&m, bytes) - bytes, sizeof expected);
    assert_memory_equal(bytes, expected, sizeof expected);
}

static void test_what_is_malformed_is_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        enum method_read how;
    } cases[] = {
        {"", 0, METHOD_MALFORMED},
        {"\0\74\0", 3, METHOD_MALFORMED},
        {"\0\74\0\51", 4, METHOD_UNKNOWN},
        {"\0\74\0\36\1\377\0", 7, METHOD_MALFORMED},                /* no UTF-8 */
        {"\0\74\0\36\5a\0", 7, METHOD_MALFORMED},                   /* a text beyond the end */
        {"\0\12\0\13\0\0\0\2ab\0\0\0\0\0\0", 16, METHOD_MALFORMED}, /* a table that is none */
        {"\0\12\0\24\377\377\377\377", 8, METHOD_MALFORMED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct method m;
        assert_int_equal(method_read(bytes_of(cases[i].bytes, cases[i].len), &m), cases[i].how);
    }
}

static void test_texts_are_cut_where_they_must_be_short(void **state)
{
    char text[400];
    uint8_t bytes[512];
    struct method m = {.id = METHOD_channel_close}, read;
    (void)state;
    memset(text, 'x', sizeof text);
    m.channel_close.reply_text = bytes_of(text, sizeof text);
    size_t len = (size_t)(method_write(&m, bytes) - bytes);
    assert_int_equal(len, method_length(&m));
    assert_int_equal(method_read(bytes_of(bytes, len), &read), METHOD_READ);
    assert_int_equal(read.channel_close.reply_text.len, 255);
}

static void test_frames_are_read_when_they_are_whole(void **state)
{
    struct buf b;
    struct frame f;
    size_t size;
    (void)state;
    buf_init(&b, 1 << 20);
    frame_put(&b, FRAME_BODY, 513, "hello", 5);
    for (size_t i = 0; i < b.len; i++) {
        assert_int_equal(frame_read(bytes_of(b.data, i), 4096, &f, &size), FRAME_PART);
        assert_int_equal(size, i < FRAME_HEAD ? 0 : b.len);
    }
    assert_int_equal(frame_read(buf_bytes(&b), 4096, &f, &size), FRAME_WHOLE);
    assert_int_equal(size, b.len);
    assert_int_equal(f.channel, 513);
    assert_int_equal(f.payload.len, 5);
    assert_int_equal(frame_read(buf_bytes(&b), 4, &f, &size), FRAME_TOO_LARGE);
    b.data[b.len - 1] = 0;
    assert_int_equal(frame_read(buf_bytes(&b), 4096, &f, &size), FRAME_WRONG_END);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_are_66_methods_in_order_of_their_numbers),
        cmocka_unit_test(test_what_was_written_is_read_again),
        cmocka_unit_test(test_bits_share_an_octet_from_its_lowest_on),
        cmocka_unit_test(test_what_is_malformed_is_refused),
        cmocka_unit_test(test_texts_are_cut_where_they_must_be_short),
        cmocka_unit_test(test_frames_are_read_when_they_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
