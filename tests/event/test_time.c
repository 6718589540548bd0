/* Timestamps: round trips over the whole range, against the C library's calendar, and edges. */
#include "common.h"

#include "event/time.h"

#include <time.h>

static int64_t parsed(const char *text)
{
    int64_t ns = -1;
    if (!time_parse(beck_str(text), &ns)) {
        fail_msg("\"%s\" is refused", text);
    }
    return ns;
}

static void known_instants_are_read(void **state)
{
    (void)state;
    assert_int_equal(parsed("1970-01-01T00:00:00Z"), 0);
    assert_int_equal(parsed("2024-05-01T12:00:00Z"), 1714564800000000000);
    assert_int_equal(parsed("2024-02-29T23:59:59.999999999Z"), 1709251199999999999);
    assert_int_equal(parsed("1969-12-31T23:59:59.5Z"), -500000000);
    assert_int_equal(parsed("2024-05-01t12:00:00z"), 1714564800000000000);
    assert_int_equal(parsed("2024-05-01T14:00:00+02:00"), 1714564800000000000);
    assert_int_equal(parsed("2024-05-01T06:30:00-05:30"), 1714564800000000000);
    assert_int_equal(parsed("2024-05-01T12:00:00.1Z"), 1714564800100000000);
    assert_int_equal(parsed("2024-05-01T12:00:00.123456789-00:00"), 1714564800123456789);
    assert_int_equal(parsed("2016-12-31T23:59:60Z"), 1483228799999999999);
    assert_int_equal(parsed("2016-12-31T23:59:60.25Z"), 1483228799999999999);
    assert_int_equal(parsed("2017-01-01T01:59:60+02:00"), 1483228799999999999);
    assert_int_equal(parsed("1678-01-01T00:00:00Z"), -9214560000000000000);
    assert_int_equal(parsed("2261-12-31T23:59:59.999999999Z"), 9214646399999999999);
}

static void what_is_no_timestamp_is_refused(void **state)
{
    (void)state;
    const char *const cases[] = {
        "",
        "yesterday",
        "2024-05-01",
        "2024-05-01T12:00:00",
        "2024-05-01 12:00:00Z",
        "2024-05-01T12:00Z",
        "2024-5-01T12:00:00Z",
        "2024-13-01T12:00:00Z",
        "2024-00-01T12:00:00Z",
        "2024-04-31T12:00:00Z",
        "2023-02-29T12:00:00Z",
        "1900-02-29T12:00:00Z",
        "2024-05-00T12:00:00Z",
        "2024-05-01T24:00:00Z",
        "2024-05-01T12:60:00Z",
        "2024-05-01T12:00:61Z",
        "2024-05-01T12:00:60Z", /* not where a leap second can be */
        "2024-05-01T12:00:00.Z",
        "2024-05-01T12:00:00.1234567890Z",
        "2024-05-01T12:00:00,5Z",
        "2024-05-01T12:00:00+2:00",
        "2024-05-01T12:00:00+0200",
        "2024-05-01T12:00:00+24:00",
        "2024-05-01T12:00:00+02:60",
        "2024-05-01T12:00:00Z ",
        " 2024-05-01T12:00:00Z",
        "2024-05-01T12:00:00ZZ",
        "-024-05-01T12:00:00Z",
        "2O24-05-01T12:00:00Z",
        "1677-12-31T23:59:59Z",
        "2262-01-01T00:00:00Z",
        "2261-12-31T23:59:59-00:01",
        "1678-01-01T00:00:00+00:01",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t ns = 4711;
        if (time_parse(beck_str(cases[i]), &ns)) {
            fail_msg("\"%s\" is read as %lld", cases[i], (long long)ns);
        }
        assert_int_equal(ns, 4711);
    }
}

static void every_prefix_of_a_timestamp_is_refused(void **state)
{
    (void)state;
    const char *text = "2024-05-01T12:00:00.123456789+02:00";
    int64_t ns;
    for (size_t len = 0; len < strlen(text); len++) {
        /* In memory of just that size, so that a sanitizer sees a read beyond it. */
        char *copy = malloc(len == 0 ? 1 : len);
        memcpy(copy, text, len);
        assert_false(time_parse(bytes_of(copy, len), &ns));
        free(copy);
    }
}

static void the_fraction_is_as_short_as_exactness_allows(void **state)
{
    (void)state;
    const struct {
        int64_t ns;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00Z"},
        {1714564800000000000, "2024-05-01T12:00:00Z"},
        {1714564800100000000, "2024-05-01T12:00:00.100Z"},
        {1714564800000001000, "2024-05-01T12:00:00.000001Z"},
        {1714564800000000001, "2024-05-01T12:00:00.000000001Z"},
        {-1, "1969-12-31T23:59:59.999999999Z"},
        {-1000000000, "1969-12-31T23:59:59Z"},
        {951782400000000000, "2000-02-29T00:00:00Z"},
        {INT64_MIN, "1677-09-21T00:12:43.145224192Z"},
        {INT64_MAX, "2262-04-11T23:47:16.854775807Z"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[TIME_TEXT_MAX];
        size_t len = time_format(cases[i].ns, text);
        assert_string_equal(text, cases[i].text);
        assert_int_equal(len, strlen(text));
    }
}

static void every_day_agrees_with_the_c_library(void **state)
{
    (void)state;
    for (int64_t day = -106650; day < 106650; day++) {
        time_t seconds = (time_t)(day * 86400 + (day * 7919 % 86400 + 86400) % 86400);
        struct tm tm;
        assert_non_null(gmtime_r(&seconds, &tm));
        char expected[64];
        strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%SZ", &tm);
        char text[TIME_TEXT_MAX];
        time_format((int64_t)seconds * 1000000000, text);
        assert_string_equal(text, expected);
        assert_int_equal(parsed(text), (int64_t)seconds * 1000000000);
    }
}

static void random_instants_survive_the_round_trip(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 3);
    static const int64_t units[] = {1, 1000, 1000000, 1000000000};
    for (int i = 0; i < 100000; i++) {
        int64_t ns = (int64_t)rng_below(&rng, 9200000000000000000ULL);
        ns = rng_below(&rng, 2) == 0 ? ns : -ns;
        ns -= ns % units[rng_below(&rng, 4)];
        char text[TIME_TEXT_MAX];
        time_format(ns, text);
        assert_int_equal(parsed(text), ns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_instants_are_read),
        cmocka_unit_test(what_is_no_timestamp_is_refused),
        cmocka_unit_test(every_prefix_of_a_timestamp_is_refused),
        cmocka_unit_test(the_fraction_is_as_short_as_exactness_allows),
        cmocka_unit_test(every_day_agrees_with_the_c_library),
        cmocka_unit_test(random_instants_survive_the_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
