/* Memory that runs out at any place: what failed leaves no trace, and works when it is tried again. */
#include "tables.h"

#include "broker/dead_letter_headers.h"
#include "broker/match.h"
#include "broker/permission.h"
#include "broker/policy.h"
#include "support/failing_malloc.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Bindings that make what each type has: nodes, wildcards, pairs. */
static const char *const keys[] = {"1", "a.b.c", "a.*.#.c", "#", "*.x", "a.b.d", "#.#.y", "2"};
static const char *const rules[] = {
    "a=1",    "a=1 b=2", "x-match=any a=1 b=2 c=3", "x-match=any",
    "a=void", "",        "x-x=1 a=1 c=4",           "x-match=any-with-x x-a=1 b=9"};

static size_t matching(const struct matcher *m, struct match_found *found,
                       const struct properties *p)
{
    found->count = 0;
    assert_int_equal(matcher_match(m, text_of("a.b.x.c"), p, found), BECK_OK);
    return found->count;
}

static void test_a_binding_that_was_not_added_is_not_there(void **state)
{
    (void)state;
    for (enum match_type type = MATCH_DIRECT; type <= MATCH_RANDOM; type++) {
        struct match_found found = {0};
        struct buf headers, arguments[COUNT(rules)];
        struct properties p = {.headers = table_of(&headers, "a=1 b=2 c=3 x-a=1")};
        struct matcher *m = matcher_new(type, text_of(""));
        assert_non_null(m);
        for (size_t i = 0; i < COUNT(rules); i++)
            table_of(&arguments[i], rules[i]);
        for (size_t i = 0; i < COUNT(keys); i++) {
            size_t before = matching(m, &found, &p);
            beck_status status = BECK_ENOMEM;
            for (long n = 1; status != BECK_OK; n++) {
                failing_malloc_at(n, true);
                status = matcher_add(m, &found, text_of("q"), text_of(keys[i]),
                                     buf_bytes(&arguments[i]));
                failing_malloc_at(0, false);
                assert_true(status == BECK_OK || status == BECK_ENOMEM);
                if (status == BECK_ENOMEM) {
                    assert_int_equal(matching(m, &found, &p), before);
                    assert_false(
                        matcher_remove(m, &found, text_of(keys[i]), buf_bytes(&arguments[i])));
                }
            }
        }
        /* Taking away needs no memory. */
        failing_malloc_at(1, true);
        for (size_t i = 0; i < COUNT(keys); i++)
            assert_true(matcher_remove(m, &found, text_of(keys[i]), buf_bytes(&arguments[i])));
        failing_malloc_at(0, false);
        assert_int_equal(matching(m, &found, &p), 0);
        for (size_t i = 0; i < COUNT(rules); i++)
            buf_release(&arguments[i]);
        buf_release(&headers);
        matcher_free(m);
        match_found_release(&found);
    }
}

static void test_a_match_that_failed_leaves_nothing_behind(void **state)
{
    (void)state;
    struct matcher *m = matcher_new(MATCH_TOPIC, text_of(""));
    for (size_t i = 0; i < COUNT(keys); i++)
        assert_int_equal(matcher_add(m, m, text_of(""), text_of(keys[i]), text_of("")), BECK_OK);
    struct match_found good = {0};
    size_t expected = matching(m, &good, NULL);
    assert_int_equal(expected, 2);
    beck_status status = BECK_ENOMEM;
    for (long n = 1; status != BECK_OK; n++) {
        struct match_found found = {0};
        failing_malloc_at(n, true);
        status = matcher_match(m, text_of("a.b.x.c"), NULL, &found);
        failing_malloc_at(0, false);
        assert_true(status == BECK_OK || status == BECK_ENOMEM);
        assert_int_equal(matching(m, &found, NULL), expected);
        match_found_release(&found);
    }
    match_found_release(&good);
    matcher_free(m);
}

static void test_matchers_policies_and_permits_are_made_or_not(void **state)
{
    (void)state;
    struct buf b;
    beck_bytes arguments = table_of(&b, "hash-header=h");
    struct matcher *m = NULL;
    for (long n = 1; m == NULL; n++) {
        failing_malloc_at(n, true);
        m = matcher_new(MATCH_CONSISTENT_HASH, arguments);
        failing_malloc_at(0, false);
    }
    matcher_free(m);
    buf_release(&b);
    struct permission_rules allowed = {text_of("a"), text_of("b"), text_of("c")};
    struct topic_rules topic = {text_of("x"), text_of("^{username}"), text_of("")};
    struct permits *permits = NULL;
    for (long n = 1; permits == NULL; n++) {
        failing_malloc_at(n, true);
        permits = permits_new(text_of("u"), text_of("/"), &allowed, &topic, 1);
        failing_malloc_at(0, false);
    }
    permits_free(permits);
}

static void test_a_policy_that_was_not_put_does_not_apply(void **state)
{
    (void)state;
    struct policies *p = policies_new();
    for (int i = 0; i < 20; i++) {
        char name[16];
        sprintf(name, "p%d", i);
        struct policy_text text = {.name = text_of(name),
                                   .pattern = text_of("q"),
                                   .priority = i,
                                   .definition = text_of("{\"dead-letter-exchange\":\"d\"}")};
        beck_status status = BECK_ENOMEM;
        for (long n = 1; status != BECK_OK; n++) {
            beck_error err = {0};
            failing_malloc_at(n, true);
            status = policies_put(p, true, &text, &err);
            failing_malloc_at(0, false);
            assert_true(status == BECK_OK || status == BECK_ENOMEM);
        }
        struct effective *e = NULL;
        for (long n = 1; e == NULL; n++) {
            failing_malloc_at(n, true);
            e = effective_of_queue(p, text_of("q"), QUEUE_CLASSIC, text_of(""));
            failing_malloc_at(0, false);
        }
        assert_true(bytes_equal_text(e->policy, name));
        effective_free(e);
    }
    policies_free(p);
}

static void test_a_death_is_written_whole_or_not_at_all(void **state)
{
    (void)state;
    struct death d = {.queue = text_of("q"), .reason = "rejected", .exchange = text_of("x")};
    beck_status status = BECK_ENOMEM;
    for (long n = 1; status != BECK_OK; n++) {
        struct buf out;
        beck_error err;
        buf_init(&out, TABLE_BYTES_MAX);
        failing_malloc_at(n, true);
        status = death_write(&out, bytes_of("\0\0", 2), &d, &err);
        failing_malloc_at(0, false);
        assert_true(status == BECK_OK || status == BECK_ENOMEM);
        struct properties p;
        if (status == BECK_OK)
            assert_int_equal(properties_read(buf_bytes(&out), &p, NULL), BECK_OK);
        buf_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_binding_that_was_not_added_is_not_there),
        cmocka_unit_test(test_a_match_that_failed_leaves_nothing_behind),
        cmocka_unit_test(test_matchers_policies_and_permits_are_made_or_not),
        cmocka_unit_test(test_a_policy_that_was_not_put_does_not_apply),
        cmocka_unit_test(test_a_death_is_written_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
