/* Fields of JSON found without a tree, and fields of forms. */
#include "common.h"
#include "hook/fields.h"
#include "hook/form.h"

static void test_paths(void **state)
{
    (void)state;
    static const char json[] =
        "{\"skip\":{\"a\":{\"b\":\"wrong\"}},\"a\":{\"x\":[{\"b\":\"wrong\"},[]],\"b\":\"right\","
        "\"c\":{\"d\":12.5,\"deep\":{}},\"b\":\"second\"},\"t\":true,\"n\":null,\"n\":\"later\","
        "\"o\":{},\"s\":\"\"}";
    struct field f[] = {
        field_of("a", "b", NULL),        field_of("a", "c", "d"),   field_of("t", NULL, NULL),
        field_of("n", NULL, NULL),       field_of("o", NULL, NULL), field_of("s", NULL, NULL),
        field_of("missing", NULL, NULL), field_of("a", NULL, NULL), field_of("t", "x", NULL)};
    assert_true(fields_find(beck_str(json), f, COUNT(f)));
    static const char *const expected[] = {"right", "12.5", "true", "later", NULL,
                                           "",      NULL,   NULL,   NULL};
    for (size_t i = 0; i < COUNT(f); i++) {
        assert_int_equal(f[i].found, expected[i] != NULL);
        if (expected[i])
            assert_bytes(f[i].token.raw, expected[i]);
    }
}

static void test_what_is_no_object(void **state)
{
    (void)state;
    static const char *const texts[] = {"",         "[]",        "\"a\"",     "{", "{\"a\":",
                                        "{\"b\":1", "{\"b\":{}", "{\"b\" 1}", "x", "{\"b\":[1,}"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct field f = field_of("a", NULL, NULL);
        assert_false(fields_find(beck_str(texts[i]), &f, 1));
        assert_false(f.found);
    }
    /* Nesting has a limit, whether it is looked at or not. */
    char deep[4096];
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"b\":", 5);
    struct field f = field_of("a", NULL, NULL);
    assert_false(fields_find(bytes_of(deep, sizeof deep), &f, 1));
    memcpy(deep, "{\"a\":", 5);
    assert_false(fields_find(bytes_of(deep, sizeof deep), &f, 1));
    /* What stands behind the last field is not looked at. */
    assert_true(fields_find(beck_str("{\"a\":1,]"), &f, 1));
}

static void test_pointers(void **state)
{
    (void)state;
    struct field f;
    static const char *const bad[] = {"", "a", "/", "/a//b", "/a/", "/a~1b", "/a/b/c/d/e"};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(field_from_pointer(bad[i], &f));
    assert_true(field_from_pointer("/a/b/c/d", &f));
    assert_true(fields_find(beck_str("{\"a\":{\"b\":{\"c\":{\"d\":\"x\"}}}}"), &f, 1));
    assert_bytes(f.token.raw, "x");
}

static void test_forms(void **state)
{
    (void)state;
    static const struct {
        const char *form, *name, *value;
        size_t count;
    } rows[] = {
        {"a=1&b=2", "b", "2", 1}, {"a=1&b=2", "c", "", 0},   {"", "a", "", 0},
        {"a", "a", "", 1},        {"a=", "a", "", 1},        {"&&a=1&&", "a", "1", 1},
        {"a=1&a=2", "a", "1", 2}, {"aa=1&a=2", "a", "2", 1}, {"a=%2B+%2b%20", "a", "+ + ", 1},
        {"a=%", "a", "%", 1},     {"a=%4", "a", "%4", 1},    {"a=%zz%41", "a", "%zzA", 1},
        {"a=b=c", "a", "b=c", 1}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint8_t value[64];
        size_t len = 0;
        assert_int_equal(form_field(beck_str(rows[i].form), rows[i].name, value, &len),
                         rows[i].count);
        assert_bytes(bytes_of(value, len), rows[i].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_what_is_no_object),
        cmocka_unit_test(test_pointers),
        cmocka_unit_test(test_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
