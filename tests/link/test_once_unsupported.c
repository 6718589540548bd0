/* beck_once and the outbox as they are in a build without SQLite. */
#include <beck.h>

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

static void it_says_that_it_is_not_in_this_build(void **state)
{
    (void)state;
    bool ran = true;
    beck_event event = {.source = beck_str("/shop"), .id = beck_str("1")};
    beck_error err = {0};
    assert_int_equal(beck_once(NULL, "mail", &event, NULL, NULL, &ran, &err), BECK_EUNSUPPORTED);
    assert_int_equal(err.code, BECK_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "SQLite"));
    assert_true(ran); /* untouched */
    event.type = beck_str("a.b");
    assert_int_equal(beck_outbox_put(NULL, "shop", &event, &err), BECK_EUNSUPPORTED);
    assert_int_equal(beck_outbox_publish(NULL, NULL, 0, NULL, &err), BECK_EUNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_that_it_is_not_in_this_build),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
