/* Field tables and properties of AMQP messages: what is taken, what is refused, and that all comes back byte
 * for byte. */
#include "tables.h"

#include "broker/properties.h"

static bool is_table(const void *bytes, size_t len)
{
    return table_check(bytes_of(bytes, len), NULL) == BECK_OK;
}
#define IS_TABLE(literal) is_table(literal, sizeof(literal) - 1)

static void test_every_letter_is_read_as_rabbitmq_reads_it(void **state)
{
    (void)state;
    static const char table[] = "\1a"
                                "t\1"
                                "\1b"
                                "b\xff"
                                "\1c"
                                "B\xff"
                                "\1d"
                                "s\xff\xfe"
                                "\1e"
                                "u\xff\xfe"
                                "\1f"
                                "I\xff\xff\xff\xfe"
                                "\1g"
                                "i\xff\xff\xff\xfe"
                                "\1h"
                                "l\xff\xff\xff\xff\xff\xff\xff\xfe"
                                "\1i"
                                "L\xff\xff\xff\xff\xff\xff\xff\xfd"
                                "\1j"
                                "f\x3f\x80\0\0"
                                "\1k"
                                "d\x40\0\0\0\0\0\0\0"
                                "\1l"
                                "D\2\0\0\1\0"
                                "\1m"
                                "S\0\0\0\2hi"
                                "\1n"
                                "x\0\0\0\1\0"
                                "\1o"
                                "T\0\0\0\0\0\0\0\7"
                                "\1p"
                                "A\0\0\0\3"
                                "Vt\0"
                                "\1q"
                                "F\0\0\0\3"
                                "\1zV"
                                "\0"
                                "V";
    beck_bytes all = bytes_of(table, sizeof(table) - 1);
    assert_int_equal(table_check(all, NULL), BECK_OK);
    static const struct {
        const char *name;
        enum table_kind kind;
        int64_t integer;
        double number;
        size_t len;
    } expected[] = {{"a", TABLE_BOOL, 1, 0, 0},
                    {"b", TABLE_INTEGER, -1, 0, 0},
                    {"c", TABLE_INTEGER, 255, 0, 0},
                    {"d", TABLE_INTEGER, -2, 0, 0},
                    {"e", TABLE_INTEGER, 65534, 0, 0},
                    {"f", TABLE_INTEGER, -2, 0, 0},
                    {"g", TABLE_INTEGER, 4294967294, 0, 0},
                    {"h", TABLE_INTEGER, -2, 0, 0},
                    {"i", TABLE_INTEGER, -3, 0, 0},
                    {"j", TABLE_FLOAT, 0, 1, 0},
                    {"k", TABLE_FLOAT, 0, 2, 0},
                    {"l", TABLE_DECIMAL, 0, 0, 5},
                    {"m", TABLE_TEXT, 0, 0, 2},
                    {"n", TABLE_BYTES, 0, 0, 1},
                    {"o", TABLE_TIME, 7, 0, 0},
                    {"p", TABLE_ARRAY, 0, 0, 3},
                    {"q", TABLE_TABLE, 0, 0, 3},
                    {"", TABLE_VOID, 0, 0, 0}};
    struct buf copy;
    buf_init(&copy, TABLE_BYTES_MAX);
    size_t at = 0, i = 0;
    beck_bytes name;
    for (struct table_value v; table_next(all, &at, &name, &v); i++) {
        assert_true(bytes_equal_text(name, expected[i].name));
        assert_int_equal(v.kind, expected[i].kind);
        assert_int_equal(v.integer, expected[i].integer);
        assert_true(v.number == expected[i].number);
        assert_int_equal(v.bytes.len, expected[i].len);
        assert_int_equal(table_put(&copy, name, &v), BECK_OK);
    }
    assert_int_equal(i, sizeof(expected) / sizeof(expected[0]));
    assert_true(bytes_equal(buf_bytes(&copy), all));
    buf_release(&copy);
}

static void test_what_is_cut_short_or_of_no_type_is_refused(void **state)
{
    (void)state;
    assert_true(IS_TABLE(""));
    assert_true(IS_TABLE("\1aV"));
    assert_false(IS_TABLE("\1"));
    assert_false(IS_TABLE("\1a"));
    assert_false(IS_TABLE("\2aV"));
    assert_false(IS_TABLE("\1aZ\0"));
    assert_false(IS_TABLE("\1at"));
    assert_false(IS_TABLE("\1aI\0\0\0"));
    assert_false(IS_TABLE("\1aS\0\0\0\2x"));
    assert_false(IS_TABLE("\1aS\xff\xff\xff\xffx"));
    assert_false(IS_TABLE("\1aA\0\0\0\1I"));
    assert_false(IS_TABLE("\1aF\0\0\0\1V"));
    /* The inner table is whole only with what is behind its end. */
    assert_false(IS_TABLE("\1aF\0\0\0\2\1bV"));
}

static beck_bytes nested(struct buf *out, size_t depth)
{
    size_t begun[64];
    buf_init(out, TABLE_BYTES_MAX);
    for (size_t i = 0; i < depth; i++) {
        begun[i] = i % 2 ? table_begin(out, "t", 'F') : table_begin(out, "a", 'F');
    }
    for (size_t i = depth; i-- > 0;) {
        table_end(out, begun[i]);
    }
    return buf_bytes(out);
}

static void test_nesting_has_a_ceiling(void **state)
{
    (void)state;
    struct buf b;
    assert_int_equal(table_check(nested(&b, TABLE_DEPTH_MAX - 1), NULL), BECK_OK);
    struct table_value a = {.kind = TABLE_TABLE, .bytes = buf_bytes(&b)};
    struct buf other;
    struct table_value c = {.kind = TABLE_TABLE, .bytes = nested(&other, TABLE_DEPTH_MAX - 1)};
    assert_true(table_value_equal(&a, &c));
    buf_release(&b);
    buf_release(&other);
    beck_error err;
    assert_int_equal(table_check(nested(&b, TABLE_DEPTH_MAX), &err), BECK_EINVAL);
    buf_release(&b);
}

static struct table_value entry(beck_bytes table, const char *name)
{
    struct table_value v;
    assert_true(table_find(table, name, &v));
    return v;
}

static void test_values_are_compared_and_not_their_types(void **state)
{
    (void)state;
    static const char table[] = "\1a"
                                "b\5"
                                "\1b"
                                "I\0\0\0\5"
                                "\1c"
                                "l\0\0\0\0\0\0\0\5"
                                "\1d"
                                "S\0\0\0\1\5"
                                "\1e"
                                "T\0\0\0\0\0\0\0\5"
                                "\1f"
                                "f\x3f\x80\0\0"
                                "\1g"
                                "d\x3f\xf0\0\0\0\0\0\0"
                                "\1h"
                                "x\0\0\0\1\5";
    beck_bytes all = bytes_of(table, sizeof(table) - 1);
    assert_int_equal(table_check(all, NULL), BECK_OK);
    struct table_value a = entry(all, "a"), b = entry(all, "b"), c = entry(all, "c"),
                       d = entry(all, "d"), e = entry(all, "e"), f = entry(all, "f"),
                       g = entry(all, "g"), h = entry(all, "h");
    assert_true(table_value_equal(&a, &b));
    assert_true(table_value_equal(&b, &c));
    assert_true(table_value_equal(&f, &g));
    assert_false(table_value_equal(&c, &d));
    assert_false(table_value_equal(&c, &e));
    assert_false(table_value_equal(&c, &f));
    assert_false(table_value_equal(&d, &h));
}

static bool tables_equal(const char *a, const char *b)
{
    struct buf ba, bb;
    struct table_value va = {.kind = TABLE_TABLE, .bytes = table_of(&ba, a)};
    struct table_value vb = {.kind = TABLE_TABLE, .bytes = table_of(&bb, b)};
    bool equal = table_value_equal(&va, &vb);
    assert_int_equal(equal, table_value_equal(&vb, &va));
    buf_release(&ba);
    buf_release(&bb);
    return equal;
}

static void test_tables_are_equal_in_any_order(void **state)
{
    (void)state;
    assert_true(tables_equal("", ""));
    assert_true(tables_equal("a=1 b=x", "b=x a=1"));
    assert_false(tables_equal("a=1 b=x", "b=x a=2"));
    assert_false(tables_equal("a=1", "a=1 b=x"));
    assert_false(tables_equal("a=1 a=1", "a=1 b=2"));
    assert_false(tables_equal("a=1", "b=1"));
    assert_false(tables_equal("a=void", "a=false"));
}

static void test_nested_tables_and_arrays_are_equal_by_value(void **state)
{
    (void)state;
    struct buf b[3];
    for (int i = 0; i < 3; i++) {
        buf_init(&b[i], TABLE_BYTES_MAX);
        size_t outer = table_begin(&b[i], "outer", 'A');
        size_t inner = array_begin_table(&b[i]);
        table_put_text(&b[i], i == 1 ? "x" : "y", text_of(i == 1 ? "1" : "2"));
        table_put_text(&b[i], i == 1 ? "y" : "x", text_of(i == 1 ? "2" : "1"));
        if (i == 2)
            table_put_bool(&b[i], "z", true);
        table_end(&b[i], inner);
        array_put(&b[i], &(struct table_value){.letter = i == 0 ? 'b' : 'l', .integer = 7});
        table_end(&b[i], outer);
        assert_int_equal(table_check(buf_bytes(&b[i]), NULL), BECK_OK);
    }
    struct table_value v[3];
    for (int i = 0; i < 3; i++)
        v[i] = (struct table_value){.kind = TABLE_TABLE, .bytes = buf_bytes(&b[i])};
    assert_true(table_value_equal(&v[0], &v[1]));
    assert_false(table_value_equal(&v[0], &v[2]));
    for (int i = 0; i < 3; i++)
        buf_release(&b[i]);
}

static void test_entries_are_left_out_of_a_copy(void **state)
{
    (void)state;
    struct buf from, out, expected;
    static const char *const names[] = {"b", "d"};
    table_of(&from, "a=1 b=2 c=x b=3 d=void e=true");
    buf_init(&out, TABLE_BYTES_MAX);
    assert_int_equal(table_copy_without(&out, buf_bytes(&from), names, 2), BECK_OK);
    assert_true(bytes_equal(buf_bytes(&out), table_of(&expected, "a=1 c=x e=true")));
    buf_release(&from);
    buf_release(&out);
    buf_release(&expected);
}

static void test_after_a_failed_write_nothing_more_is_written(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 16);
    assert_int_equal(table_put_bool(&out, "a", true), BECK_OK);
    assert_int_equal(table_put_text(&out, "long", text_of("much too long")), BECK_ELIMIT);
    assert_int_not_equal(table_put_bool(&out, "b", true), BECK_OK);
    assert_int_equal(table_begin(&out, "c", 'F'), SIZE_MAX);
    table_end(&out, SIZE_MAX);
    buf_release(&out);
    buf_init(&out, TABLE_BYTES_MAX);
    char name[257];
    memset(name, 'n', 256);
    name[256] = 0;
    assert_int_equal(table_put_bool(&out, name, true), BECK_EINVAL);
    buf_release(&out);
}

static void test_properties_come_back_byte_for_byte(void **state)
{
    (void)state;
    struct buf headers, raw, again;
    struct properties p = {.flags = 0xfffc,
                           .delivery_mode = 2,
                           .priority = 9,
                           .timestamp = UINT64_MAX,
                           .content_type = text_of("application/json"),
                           .content_encoding = text_of("gzip"),
                           .correlation_id = text_of("c"),
                           .reply_to = text_of(""),
                           .expiration = text_of("60000"),
                           .message_id = text_of("m"),
                           .type = text_of("t"),
                           .user_id = text_of("guest"),
                           .app_id = text_of("app"),
                           .cluster_id = text_of("cl"),
                           .headers = table_of(&headers, "a=1 b=two")},
                      read;
    /* Each flag alone, all but it, and all. */
    for (unsigned bit = 2; bit <= 16; bit++) {
        for (int without = 0; without < 2; without++) {
            p.flags = (uint16_t)(bit == 16 ? 0xfffc : without ? 0xfffc & ~(1u << bit) : 1u << bit);
            buf_init(&raw, TABLE_BYTES_MAX);
            buf_init(&again, TABLE_BYTES_MAX);
            assert_int_equal(properties_write(&raw, &p), BECK_OK);
            assert_int_equal(properties_read(buf_bytes(&raw), &read, NULL), BECK_OK);
            assert_int_equal(read.flags, p.flags);
            assert_int_equal(properties_write(&again, &read), BECK_OK);
            assert_true(bytes_equal(buf_bytes(&raw), buf_bytes(&again)));
            for (size_t cut = 0; cut < raw.len; cut++)
                assert_int_equal(properties_read(bytes_of(raw.data, cut), &read, NULL),
                                 BECK_EINVAL);
            buf_append_byte(&raw, 0);
            assert_int_equal(properties_read(buf_bytes(&raw), &read, NULL), BECK_EINVAL);
            buf_release(&raw);
            buf_release(&again);
        }
    }
    buf_release(&headers);
}

static void test_headers_of_properties_are_checked(void **state)
{
    (void)state;
    struct properties p;
    static const char good[] = "\x20\0\0\0\0\3\1aV", bad[] = "\x20\0\0\0\0\3\1aZ";
    assert_int_equal(properties_read(bytes_of(good, sizeof(good) - 1), &p, NULL), BECK_OK);
    assert_int_equal(p.headers.len, 3);
    assert_int_equal(properties_read(bytes_of(bad, sizeof(bad) - 1), &p, NULL), BECK_EINVAL);
    assert_int_equal(properties_read(bytes_of("\0\1\0\0", 4), &p, NULL), BECK_EINVAL);
    assert_int_equal(properties_read(bytes_of("\0\0", 2), &p, NULL), BECK_OK);
    assert_int_equal(p.flags, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_letter_is_read_as_rabbitmq_reads_it),
        cmocka_unit_test(test_what_is_cut_short_or_of_no_type_is_refused),
        cmocka_unit_test(test_nesting_has_a_ceiling),
        cmocka_unit_test(test_values_are_compared_and_not_their_types),
        cmocka_unit_test(test_tables_are_equal_in_any_order),
        cmocka_unit_test(test_nested_tables_and_arrays_are_equal_by_value),
        cmocka_unit_test(test_entries_are_left_out_of_a_copy),
        cmocka_unit_test(test_after_a_failed_write_nothing_more_is_written),
        cmocka_unit_test(test_properties_come_back_byte_for_byte),
        cmocka_unit_test(test_headers_of_properties_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
