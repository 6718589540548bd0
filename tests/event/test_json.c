/* The scanner on tables of valid and invalid texts, and the writer against the scanner. */
#include "common.h"

#include "event/json.h"

static struct buf out;

static int setup(void **state)
{
    (void)state;
    buf_init(&out, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_release(&out);
    return 0;
}

/* In memory of just that size, so that a sanitizer sees a read beyond it. */
static beck_status check_exact(const char *text, size_t len, beck_error *err)
{
    char *copy = malloc(len == 0 ? 1 : len);
    memcpy(copy, text, len);
    beck_status status = json_check(bytes_of(copy, len), err);
    free(copy);
    return status;
}

static void valid_texts_are_accepted(void **state)
{
    (void)state;
    const char *const cases[] = {
        "{}",
        "[]",
        "0",
        "-0",
        "-0.0",
        "123456789012345678901234567890",
        "1e5",
        "1E+5",
        "1e-5",
        "0.5e0",
        "1.25E400",
        "true",
        "false",
        "null",
        "\"\"",
        "\"a\"",
        "\"exactly8\"",
        "\"more than eight\"",
        " \t\r\n{ \"a\" : [ 1 , 2 ] } \n",
        "[[],[[]],{}]",
        "{\"\":0}",
        "{\"a\":{\"b\":{\"c\":[1,{\"d\":null}]}}}",
        "{\"a\":1,\"a\":2}",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uFFFF\\ud83d\\ude42\"",
        "\"\x7f\"",
        "\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"",
        "[1,-1,0.1,\"x\",true,false,null,{},[]]",
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        beck_error err;
        if (check_exact(cases[i], strlen(cases[i]), &err) != BECK_OK) {
            fail_msg("%s: %s", cases[i], err.text);
        }
    }
}

static void invalid_texts_are_refused_at_the_byte(void **state)
{
    (void)state;
    const struct {
        const char *text;
        size_t at;
    } cases[] = {
        {"", 0},
        {" ", 1},
        {"{", 1},
        {"[", 1},
        {"]", 0},
        {"}", 0},
        {"[}", 1},
        {"{]", 1},
        {"[1}", 2},
        {"{\"a\":1]", 6},
        {"[1", 2},
        {"[1,", 3},
        {"[1,]", 3},
        {"[,1]", 1},
        {"[1,,2]", 3},
        {"[1 2]", 3},
        {"[1:2]", 2},
        {"{,}", 1},
        {"{\"a\"}", 4},
        {"{\"a\":}", 5},
        {"{\"a\",1}", 4},
        {"{\"a\" 1}", 5},
        {"{\"a\":1,}", 7},
        {"{\"a\":1 \"b\":2}", 7},
        {"{\"a\":1:2}", 6},
        {"{a:1}", 1},
        {"{'a':1}", 1},
        {"{1:1}", 1},
        {"{\"a\"::1}", 5},
        {"1 2", 2},
        {"{}{}", 2},
        {"{} x", 3},
        {"null,", 4},
        {"nul", 0},
        {"nulL", 0},
        {"True", 0},
        {"truefalse", 4},
        {"NaN", 0},
        {"Infinity", 0},
        {"-", 1},
        {"-Infinity", 1},
        {"+1", 0},
        {".5", 0},
        {"-.5", 1},
        {"5.", 2},
        {"5.e1", 2},
        {"1e", 2},
        {"1e+", 3},
        {"1e5.5", 3},
        {"01", 0},
        {"-012", 1},
        {"00", 0},
        {"0x10", 1},
        {"1_000", 1},
        {"1a", 1},
        {"--1", 1},
        {"\"", 1},
        {"\"abc", 4},
        {"\"abcdefghijk", 12},
        {"\"\\\"", 3},
        {"\"\\x\"", 1},
        {"\"\\u12\"", 1},
        {"\"\\u12G4\"", 1},
        {"\"\\U1234\"", 1},
        {"\"\\", 1},
        {"\"a\\u00", 2},
        {"\"a\nb\"", 2},
        {"\"12345678\x01\"", 9},
        {"\"tab\t\"", 4},
        {"\"\x1f\"", 1},
        {"\"\x80\"", 1},
        {"\"\xc0\xaf\"", 1},
        {"\"\xc1\xbf\"", 1},
        {"\"\xc3\"", 1},
        {"\"\xe0\x9f\xbf\"", 1},
        {"\"\xed\xa0\x80\"", 1},
        {"\"\xed\xbf\xbf\"", 1},
        {"\"\xe2\x82\"", 1},
        {"\"\xf0\x8f\xbf\xbf\"", 1},
        {"\"\xf4\x90\x80\x80\"", 1},
        {"\"\xf5\x80\x80\x80\"", 1},
        {"\"\xff\"", 1},
        {"\"ok\xf0\x9f\x99\"", 3},
        {"\xef\xbb\xbf{}", 0},
        {"\xc2\xa0 1", 0},
        {"[1]\v", 3},
        {"\f1", 0},
        {"// c\n1", 0},
        {"[1/**/]", 2},
        {"'a'", 0},
        {"[undefined]", 1},
        {"{\"a\":1", 6},
        {"{\"a\"", 4},
        {"{\"a", 3},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        beck_error err;
        beck_status status = check_exact(cases[i].text, strlen(cases[i].text), &err);
        if (status != BECK_EINVAL) {
            fail_msg("%s is accepted", cases[i].text);
        }
        char byte[32];
        snprintf(byte, sizeof byte, "byte %zu ", cases[i].at);
        assert_error(status, &err, BECK_EINVAL, byte, "expected", NULL);
    }
    beck_error err;
    assert_error(check_exact("1\0", 2, &err), &err, BECK_EINVAL, "byte 1", "0x00", NULL);
    assert_error(check_exact("\"\0\"", 3, &err), &err, BECK_EINVAL, "byte 1", "0x00", NULL);
}

static void an_error_says_line_column_and_what_is_there(void **state)
{
    (void)state;
    beck_error err;
    beck_status status = json_check(beck_str("{\n  \"a\": 1,\n  \"b\" 2\n}"), &err);
    assert_error(status, &err, BECK_EINVAL, "byte 18", "line 3, column 7",
                 "expected ':' behind the member name", "found \"2", NULL);
    status = json_check(beck_str("[1,"), &err);
    assert_error(status, &err, BECK_EINVAL, "found the end of the text", NULL);
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    for (int object = 0; object < 2; object++) {
        for (size_t depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
            char text[2000] = "";
            for (size_t i = 0; i < depth; i++) {
                strcat(text, object ? "{\"a\":" : "[");
            }
            strcat(text, "0");
            for (size_t i = 0; i < depth; i++) {
                strcat(text, object ? "}" : "]");
            }
            beck_error err;
            beck_status status = json_check(beck_str(text), &err);
            if (depth == JSON_DEPTH_MAX) {
                assert_int_equal(status, BECK_OK);
            } else {
                assert_error(status, &err, BECK_ELIMIT, "128 levels", NULL);
            }
        }
    }
}

static void tokens_come_in_order_with_their_bytes(void **state)
{
    (void)state;
    const struct {
        enum json_kind kind;
        const char *raw;
        size_t at;
        bool escaped;
    } expected[] = {
        {JSON_OBJECT, "{", 1, false},     {JSON_NAME, "a\\n", 3, true},
        {JSON_ARRAY, "[", 10, false},     {JSON_NUMBER, "-1.5e3", 11, false},
        {JSON_STRING, "x", 18, false},    {JSON_TRUE, "true", 22, false},
        {JSON_OBJECT, "{", 27, false},    {JSON_OBJECT_END, "}", 28, false},
        {JSON_ARRAY_END, "]", 29, false}, {JSON_NAME, "", 31, false},
        {JSON_NULL, "null", 34, false},   {JSON_OBJECT_END, "}", 38, false},
        {JSON_END, "", 40, false},        {JSON_END, "", 40, false},
    };
    struct json_reader r;
    json_reader_init(&r, beck_str(" { \"a\\n\" :[-1.5e3,\"x\",true,{}],\"\":null} "));
    for (size_t i = 0; i < COUNT(expected); i++) {
        struct json_token token;
        beck_error err;
        if (json_next(&r, &token, &err) != BECK_OK) {
            fail_msg("%s", err.text);
        }
        assert_int_equal(token.kind, expected[i].kind);
        assert_bytes(token.raw, expected[i].raw);
        if (expected[i].kind != JSON_END) {
            assert_int_equal(token.at, expected[i].at);
            assert_int_equal(token.escaped, expected[i].escaped);
        }
    }
}

static void a_skipped_value_is_its_raw_bytes(void **state)
{
    (void)state;
    struct json_reader r;
    struct json_token token;
    beck_bytes raw;
    json_reader_init(&r, beck_str("{\"a\" : {\"x\": [1, 2]} , \"b\":\"s\",\"c\":3}"));
    assert_int_equal(json_next(&r, &token, NULL), BECK_OK);
    const char *const expected[] = {"{\"x\": [1, 2]}", "\"s\"", "3"};
    for (size_t i = 0; i < COUNT(expected); i++) {
        assert_int_equal(json_next(&r, &token, NULL), BECK_OK);
        assert_int_equal(token.kind, JSON_NAME);
        assert_int_equal(json_skip_value(&r, &raw, NULL), BECK_OK);
        assert_bytes(raw, expected[i]);
    }
    assert_int_equal(json_next(&r, &token, NULL), BECK_OK);
    assert_int_equal(token.kind, JSON_OBJECT_END);
    assert_int_equal(json_next(&r, &token, NULL), BECK_OK);
    assert_int_equal(token.kind, JSON_END);
}

static beck_status unescaped(const char *json, beck_error *err)
{
    struct json_reader r;
    struct json_token token;
    json_reader_init(&r, beck_str(json));
    assert_int_equal(json_next(&r, &token, NULL), BECK_OK);
    assert_int_equal(token.kind, JSON_STRING);
    buf_clear(&out);
    return json_unescape(&token, &out, err);
}

static void escapes_become_text(void **state)
{
    (void)state;
    const struct {
        const char *json, *text;
    } cases[] = {
        {"\"\"", ""},
        {"\"plain\"", "plain"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"a\\u0041\\u00e9\\u20AC\\ud83d\\ude42z\"", "aAé€\xF0\x9F\x99\x82z"},
        {"\"\\uD800\\uDC00\\uDBFF\\uDFFF\"", "\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"},
        {"\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"", "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        beck_error err;
        if (unescaped(cases[i].json, &err) != BECK_OK) {
            fail_msg("%s", err.text);
        }
        assert_bytes(buf_bytes(&out), cases[i].text);
    }
    assert_int_equal(unescaped("\"a\\u0000b\"", NULL), BECK_OK);
    assert_int_equal(out.len, 3);
    assert_memory_equal(out.data, "a\0b", 3);
}

static void half_of_a_surrogate_pair_is_refused_wherever_it_stands(void **state)
{
    (void)state;
    const char *const cases[] = {
        "\"\\ud800\"",        "\"\\ud83dx\"",           "\"\\ude42\"",
        "\"\\ud83d\\ud83d\"", "\"\\ud83d\\n\"",         "\"x\\udc00\\ud800\"",
        "\"\\ud83d\\u0041\"", "[{\"a\":\"x\\ud800\"}]", "{\"\\udfff\":1}"};
    for (size_t i = 0; i < COUNT(cases); i++) {
        beck_error err;
        beck_status status = check_exact(cases[i], strlen(cases[i]), &err);
        assert_error(status, &err, BECK_EINVAL, "surrogate", "\\u", NULL);
    }
    beck_error err;
    beck_status status = check_exact("[1,\n\"ab\\ud800\"]", 15, &err);
    assert_error(status, &err, BECK_EINVAL, "byte 7 (line 2, column 4)", "both halves", NULL);
}

static void any_text_survives_writing_and_reading(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 11);
    struct buf json;
    buf_init(&json, 1 << 20);
    static const char *const pieces[] = {
        "\"",       "\\",      "/", "\n", "\x01", "\x1f", "\x7f", "a", "é", "€", "\xF0\x9F\x99\x82",
        "12345678", "\t\r\b\f"};
    for (int i = 0; i < 5000; i++) {
        char text[400] = "";
        for (size_t n = rng_below(&rng, 30); n > 0; n--) {
            strcat(text, pieces[rng_below(&rng, COUNT(pieces))]);
        }
        buf_clear(&json);
        assert_int_equal(json_write_string(&json, beck_str(text)), BECK_OK);
        assert_int_equal(buf_terminate(&json), BECK_OK);
        assert_int_equal(json_check(buf_bytes(&json), NULL), BECK_OK);
        assert_null(memchr(json.data, '\n', json.len));
        assert_int_equal(unescaped((const char *)json.data, NULL), BECK_OK);
        assert_bytes(buf_bytes(&out), text);
    }
    buf_release(&json);
}

static void bytes_that_are_no_text_become_replacement_characters(void **state)
{
    (void)state;
    buf_clear(&out);
    assert_int_equal(json_write_string(&out, beck_str("a\xff\xc3(\xed\xa0\x80z\xe2\x82")), BECK_OK);
    assert_bytes(buf_bytes(&out), "\"a\xEF\xBF\xBD\xEF\xBF\xBD(\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
                                  "z\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

static void a_string_that_does_not_fit_leaves_the_buffer_as_it_was(void **state)
{
    (void)state;
    struct buf small;
    buf_init(&small, 8);
    assert_int_equal(buf_append_text(&small, "ab"), BECK_OK);
    assert_int_equal(json_write_string(&small, beck_str("c\n\n\n")), BECK_ELIMIT);
    assert_bytes(buf_bytes(&small), "ab");
    buf_release(&small);
}

static void base64_is_read_and_written(void **state)
{
    (void)state;
    const struct {
        const char *data, *text;
    } cases[] = {{"", ""},
                 {"f", "Zg=="},
                 {"fo", "Zm8="},
                 {"foo", "Zm9v"},
                 {"foob", "Zm9vYg=="},
                 {"fooba", "Zm9vYmE="},
                 {"foobar", "Zm9vYmFy"},
                 {"\xff\xfe\xfb", "//77"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        buf_clear(&out);
        assert_int_equal(base64_write(&out, beck_str(cases[i].data)), BECK_OK);
        assert_bytes(buf_bytes(&out), cases[i].text);
        buf_clear(&out);
        assert_true(base64_read(beck_str(cases[i].text), &out));
        assert_bytes(buf_bytes(&out), cases[i].data);
    }
    struct rng rng;
    rng_seed(&rng, 5);
    for (size_t len = 0; len < 200; len++) {
        uint8_t data[200];
        for (size_t i = 0; i < len; i++) {
            data[i] = (uint8_t)rng_next(&rng);
        }
        buf_clear(&out);
        assert_int_equal(base64_write(&out, bytes_of(data, len)), BECK_OK);
        size_t back = 0;
        if (len > 0) {
            assert_true(base64_read_to(buf_bytes(&out), out.data, &back)); /* in place */
            assert_int_equal(back, len);
            assert_memory_equal(out.data, data, len);
        }
    }
}

static void what_is_not_base64_is_refused(void **state)
{
    (void)state;
    const char *const cases[] = {
        "Z",     "Zg",     "Zg=",  "Zg===",    "Zh==",     "Zm9=", "Zm=v", "=Zm9",
        "Zm 9v", "Zm9v\n", "Zm-_", "Zg==Zm9v", "Zm9vZ===", "====", "Z===", "Zm9\xff"};
    for (size_t i = 0; i < COUNT(cases); i++) {
        buf_clear(&out);
        if (base64_read(beck_str(cases[i]), &out)) {
            fail_msg("\"%s\" is accepted", cases[i]);
        }
        assert_int_equal(out.len, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_texts_are_accepted),
        cmocka_unit_test(invalid_texts_are_refused_at_the_byte),
        cmocka_unit_test(an_error_says_line_column_and_what_is_there),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(tokens_come_in_order_with_their_bytes),
        cmocka_unit_test(a_skipped_value_is_its_raw_bytes),
        cmocka_unit_test(escapes_become_text),
        cmocka_unit_test(half_of_a_surrogate_pair_is_refused_wherever_it_stands),
        cmocka_unit_test(any_text_survives_writing_and_reading),
        cmocka_unit_test(bytes_that_are_no_text_become_replacement_characters),
        cmocka_unit_test(a_string_that_does_not_fit_leaves_the_buffer_as_it_was),
        cmocka_unit_test(base64_is_read_and_written),
        cmocka_unit_test(what_is_not_base64_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
