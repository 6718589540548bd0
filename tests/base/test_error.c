/* Filling a beck_error. */
#include "base/error.h"
#include "base/common.h"

#include <errno.h>
#include <string.h>

static void every_code_has_its_own_name(void **state)
{
    (void)state;
    assert_string_equal(beck_status_name(BECK_OK), "BECK_OK");
    assert_string_equal(beck_status_name(BECK_EINVAL), "BECK_EINVAL");
    assert_string_equal(beck_status_name(BECK_EPOISONED), "BECK_EPOISONED");
    assert_string_equal(beck_status_name(BECK_EDUPLICATE), "BECK_EDUPLICATE");
    assert_string_equal(beck_status_name(BECK_EUNSUPPORTED), "BECK_EUNSUPPORTED");
    assert_string_equal(beck_status_name(BECK_END), "BECK_END");
    for (int a = BECK_OK; a >= BECK_ETXN_STATE; a--)
        for (int b = BECK_OK; b > a; b--)
            assert_string_not_equal(beck_status_name(a), beck_status_name(b));
}

static void a_number_that_is_no_code_has_a_name_too(void **state)
{
    (void)state;
    assert_string_equal(beck_status_name(1), "BECK_?");
    assert_string_equal(beck_status_name(BECK_ETXN_STATE - 1), "BECK_?");
    assert_string_equal(beck_status_name(INT32_MIN), "BECK_?");
    assert_string_equal(beck_status_name(INT32_MAX), "BECK_?");
}

static void an_error_may_be_built_from_its_own_text(void **state)
{
    (void)state;
    beck_error e;
    assert_int_equal(error_set(&e, BECK_EIO, "disk \"%s\" is gone", "a"), BECK_EIO);
    assert_int_equal(e.code, BECK_EIO);
    assert_int_equal(error_set(&e, BECK_ECORRUPT, "opening bus: %s (%d)", e.text, e.code),
                     BECK_ECORRUPT);
    assert_int_equal(e.code, BECK_ECORRUPT);
    assert_string_equal(e.text, "opening bus: disk \"a\" is gone (-3)");
    assert_int_equal(error_errno(&e, EACCES, "%s", e.text), BECK_EIO);
    assert_string_equal(e.text, "opening bus: disk \"a\" is gone (-3): permission denied");
}

static void a_long_text_is_cut(void **state)
{
    (void)state;
    beck_error e;
    error_set(&e, BECK_EINVAL, "%*s", 2000, "x");
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    error_errno(&e, ENOENT, "%*s", 2000, "x");
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
}

static void without_an_error_only_the_code_is_given(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, BECK_EBUSY, "%s", "x"), BECK_EBUSY);
    assert_int_equal(error_errno(NULL, ENOSPC, "%s", "x"), BECK_EFULL);
}

static void system_errors_have_their_codes(void **state)
{
    (void)state;
    beck_error e;
    assert_int_equal(error_errno(&e, ENOSPC, "a"), BECK_EFULL);
    assert_string_equal(e.text, "a: no space left on device");
    assert_int_equal(error_errno(&e, EDQUOT, "a"), BECK_EFULL);
    assert_int_equal(error_errno(&e, ENOMEM, "a"), BECK_ENOMEM);
    assert_int_equal(error_errno(&e, ENOENT, "a"), BECK_ENOENT);
    assert_int_equal(error_errno(&e, EEXIST, "a"), BECK_EEXIST);
    assert_int_equal(error_errno(&e, EIO, "a"), BECK_EIO);
    assert_int_equal(e.code, BECK_EIO);
    assert_int_equal(error_errno(&e, 99999, "a"), BECK_EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_its_own_name),
        cmocka_unit_test(a_number_that_is_no_code_has_a_name_too),
        cmocka_unit_test(an_error_may_be_built_from_its_own_text),
        cmocka_unit_test(a_long_text_is_cut),
        cmocka_unit_test(without_an_error_only_the_code_is_given),
        cmocka_unit_test(system_errors_have_their_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
