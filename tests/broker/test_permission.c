/* Permissions: what the three expressions of a user allow, and the words it is refused with. */
#include "tables.h"

#include "broker/permission.h"

static struct permits *permits_of(const char *configure, const char *write, const char *read)
{
    struct permission_rules rules = {text_of(configure), text_of(write), text_of(read)};
    struct permits *p = permits_new(text_of("u"), text_of("/"), &rules, NULL, 0);
    assert_non_null(p);
    return p;
}

static bool allows(const char *pattern, const char *name)
{
    struct permits *p = permits_of("", pattern, "");
    bool allowed = permits_allow(p, RIGHT_WRITE, text_of(name));
    assert_false(permits_allow(p, RIGHT_READ, text_of("x")));
    permits_free(p);
    return allowed;
}

static void test_an_expression_is_searched_anywhere_in_the_name(void **state)
{
    (void)state;
    assert_true(allows(".*", "anything"));
    assert_true(allows(".*", ""));
    assert_true(allows("or", "orders"));
    assert_true(allows("der", "orders"));
    assert_false(allows("^der", "orders"));
    assert_true(allows("^(amq\\.gen.*|amq\\.default)$", "amq.gen-x"));
    assert_false(allows("^(amq\\.gen.*|amq\\.default)$", "amqxgen-x"));
    assert_false(allows("orders", "Orders"));
    assert_true(allows("(?i)orders", "Orders"));
    assert_true(allows("^\\xff$", "\xff"));
}

static void test_an_empty_expression_allows_nothing(void **state)
{
    (void)state;
    assert_false(allows("", "x"));
    assert_false(allows("^$", "x"));
}

static void test_an_expression_that_does_not_compile_allows_nothing(void **state)
{
    (void)state;
    beck_error err;
    assert_false(allows("(", "("));
    assert_int_equal(permission_check(text_of("a("), &err), BECK_EINVAL);
    assert_string_equal(err.text, "{\"missing closing parenthesis\",2}");
    assert_int_equal(permission_check(text_of("^a$"), NULL), BECK_OK);
    char long_one[1100];
    memset(long_one, 'a', sizeof(long_one));
    assert_int_equal(permission_check(bytes_of(long_one, sizeof(long_one)), &err), BECK_EINVAL);
    assert_string_equal(err.text, "must not exceed 1024 bytes");
}

static void test_an_expression_that_takes_for_ever_allows_nothing(void **state)
{
    (void)state;
    assert_false(allows("^(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"));
}

static void test_refusals_have_rabbitmqs_words(void **state)
{
    (void)state;
    struct permits *p = permits_of("^c", "^w", "^r");
    char text[BROKER_TEXT];
    assert_int_equal(permits_ask(p, RIGHT_CONFIGURE, "queue", text_of("c1"), text), 0);
    assert_int_equal(permits_ask(p, RIGHT_CONFIGURE, "queue", text_of("q"), text), 403);
    assert_string_equal(text, "ACCESS_REFUSED - configure access to queue 'q' in vhost '/' refused "
                              "for user 'u'");
    assert_int_equal(permits_ask(p, RIGHT_WRITE, "exchange", text_of(""), text), 403);
    assert_string_equal(text,
                        "ACCESS_REFUSED - write access to exchange 'amq.default' in vhost '/' "
                        "refused for user 'u'");
    assert_int_equal(permits_ask(p, RIGHT_READ, "queue", text_of("w"), text), 403);
    assert_string_equal(
        text, "ACCESS_REFUSED - read access to queue 'w' in vhost '/' refused for user 'u'");
    permits_free(p);
    p = permits_of("", "^amq\\.default$", "");
    assert_int_equal(permits_ask(p, RIGHT_WRITE, "exchange", text_of(""), text), 0);
    permits_free(p);
}

static void test_who_may_everything_is_asked_nothing(void **state)
{
    (void)state;
    struct permits *p = permits_new(text_of("admin"), text_of("/"), NULL, NULL, 0);
    char text[BROKER_TEXT];
    assert_int_equal(permits_ask(p, RIGHT_CONFIGURE, "queue", text_of("q"), text), 0);
    assert_int_equal(permits_ask_topic(p, RIGHT_WRITE, text_of("x"), text_of("k"), text), 0);
    permits_free(p);
}

static void test_topics_of_an_exchange_are_permitted_by_key(void **state)
{
    (void)state;
    struct permission_rules all = {text_of(".*"), text_of(".*"), text_of(".*")};
    struct topic_rules topics[] = {
        {text_of("amq.topic"), text_of("^{username}\\.{vhost}\\..*"), text_of("^public")},
        {text_of("closed"), text_of(""), text_of("(")},
    };
    struct permits *p = permits_new(text_of("a.b"), text_of("shop"), &all, topics, 2);
    assert_non_null(p);
    char text[BROKER_TEXT];
    beck_bytes x = text_of("amq.topic");
    assert_int_equal(permits_ask_topic(p, RIGHT_WRITE, x, text_of("a.b.shop.order"), text), 0);
    /* The name stands for itself and is no expression. */
    assert_int_equal(permits_ask_topic(p, RIGHT_WRITE, x, text_of("a-b.shop.order"), text), 403);
    assert_string_equal(text, "ACCESS_REFUSED - write access to topic 'a-b.shop.order' in exchange "
                              "'amq.topic' in vhost 'shop' refused for user 'a.b'");
    assert_int_equal(permits_ask_topic(p, RIGHT_READ, x, text_of("public.x"), text), 0);
    assert_int_equal(permits_ask_topic(p, RIGHT_READ, x, text_of("private"), text), 403);
    assert_int_equal(permits_ask_topic(p, RIGHT_WRITE, text_of("closed"), text_of("k"), text), 403);
    assert_int_equal(permits_ask_topic(p, RIGHT_READ, text_of("closed"), text_of("("), text), 403);
    assert_int_equal(permits_ask_topic(p, RIGHT_WRITE, text_of("other"), text_of("k"), text), 0);
    permits_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_expression_is_searched_anywhere_in_the_name),
        cmocka_unit_test(test_an_empty_expression_allows_nothing),
        cmocka_unit_test(test_an_expression_that_does_not_compile_allows_nothing),
        cmocka_unit_test(test_an_expression_that_takes_for_ever_allows_nothing),
        cmocka_unit_test(test_refusals_have_rabbitmqs_words),
        cmocka_unit_test(test_who_may_everything_is_asked_nothing),
        cmocka_unit_test(test_topics_of_an_exchange_are_permitted_by_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
