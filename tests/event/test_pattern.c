/* Patterns: which are legal, and what they match. */
#include "common.h"

#include "event/pattern.h"

static bool matches(const char *pattern, const char *type)
{
    assert_int_equal(pattern_check(beck_str(pattern), NULL), BECK_OK);
    return pattern_match(beck_str(pattern), beck_str(type));
}

static void a_star_is_exactly_one_word(void **state)
{
    (void)state;
    assert_true(matches("order.*", "order.created"));
    assert_false(matches("order.*", "order"));
    assert_false(matches("order.*", "order.a.b"));
    assert_true(matches("*.created", "order.created"));
    assert_true(matches("*", "order"));
    assert_false(matches("*", "order.created"));
    assert_true(matches("a.*.c", "a.b.c"));
    assert_false(matches("a.*.c", "a.c"));
}

static void a_hash_is_any_number_of_words(void **state)
{
    (void)state;
    assert_true(matches("order.#", "order"));
    assert_true(matches("order.#", "order.created"));
    assert_true(matches("order.#", "order.a.b"));
    assert_false(matches("order.#", "orders.a"));
    assert_true(matches("#", "anything"));
    assert_true(matches("#", "a.b.c.d"));
    assert_true(matches("#.c", "c"));
    assert_true(matches("#.c", "a.b.c"));
    assert_false(matches("#.c", "a.b.c.d"));
    assert_true(matches("a.#.z", "a.z"));
    assert_true(matches("a.#.z", "a.b.z.c.z"));
    assert_true(matches("#.b.#", "a.b.c"));
    assert_true(matches("#.b.#.c.#", "b.x.c"));
    assert_false(matches("#.b.#.c.#", "c.x.b"));
    assert_true(matches("#.*", "a"));
    assert_true(matches("#.#.#", "a"));
    assert_true(matches("*.#.*", "a.b"));
    assert_false(matches("*.#.*", "a"));
}

static void words_are_compared_whole_and_by_byte(void **state)
{
    (void)state;
    assert_true(matches("order.created", "order.created"));
    assert_false(matches("order.created", "order.create"));
    assert_false(matches("order.create", "order.created"));
    assert_false(matches("Order", "order"));
    assert_true(matches("замовлення.*", "замовлення.створено"));
}

static void many_hashes_do_not_take_exponential_time(void **state)
{
    (void)state;
    char pattern[PATTERN_MAX + 1] = "";
    char type[256] = "";
    for (int i = 0; i < 60; i++) {
        strcat(pattern, i == 0 ? "#.a" : ".#.a");
    }
    for (int i = 0; i < 120; i++) {
        strcat(type, i == 0 ? "a" : ".a");
    }
    assert_true(matches(pattern, type));
    strcat(pattern, ".b");
    assert_false(matches(pattern, type));
}

static void a_bad_pattern_is_refused_with_the_byte(void **state)
{
    (void)state;
    const struct {
        const char *pattern, *at, *what;
    } cases[] = {
        {"ord*", "byte 3", "wildcard inside a word"},
        {"a.#b", "byte 2", "wildcard inside a word"},
        {"a.**", "byte 2", "wildcard inside a word"},
        {"a..b", "byte 2", "empty word"},
        {".a", "byte 0", "empty word"},
        {"a.", "byte 2", "empty word"},
        {".", "byte 0", "empty word"},
        {"a\x01", "byte 1", "control character"},
        {"a\xff", "byte 1", "not UTF-8"},
        {"", "empty", "\"#\" for every event"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        beck_error err;
        beck_status status = pattern_check(beck_str(cases[i].pattern), &err);
        assert_error(status, &err, BECK_EINVAL, cases[i].at, cases[i].what, NULL);
    }
}

static void a_pattern_is_at_most_255_bytes(void **state)
{
    (void)state;
    char text[300];
    memset(text, 'a', sizeof text);
    beck_error err;
    assert_int_equal(pattern_check(bytes_of(text, 255), NULL), BECK_OK);
    beck_status status = pattern_check(bytes_of(text, 256), &err);
    assert_error(status, &err, BECK_ELIMIT, "256 bytes", "255", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_star_is_exactly_one_word),
        cmocka_unit_test(a_hash_is_any_number_of_words),
        cmocka_unit_test(words_are_compared_whole_and_by_byte),
        cmocka_unit_test(many_hashes_do_not_take_exponential_time),
        cmocka_unit_test(a_bad_pattern_is_refused_with_the_byte),
        cmocka_unit_test(a_pattern_is_at_most_255_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
