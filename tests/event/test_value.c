/* Values of the command line: what is read, what is refused, and that printing reads back. */
#include "event/value.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#define NOW_NS 1769869805123000000LL /* 2026-01-31T14:30:05.123Z */

static void durations_have_a_unit_and_add_up(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"0", 0},
                {"0s", 0},
                {"10ms", 10},
                {"5s", 5000},
                {"2m", 120000},
                {"1h", 3600000},
                {"7d", 604800000},
                {"1h30m", 5400000},
                {"1s500ms", 1500},
                {"1m1ms", 60001},
                {"36500d", 3153600000000}};
    static const char *const bad[] = {"",
                                      "5",
                                      "s",
                                      "-5s",
                                      "5 s",
                                      "5sec",
                                      "1.5s",
                                      "5s ",
                                      "1hm",
                                      "0x5s",
                                      "999999999999999999d",
                                      "9999999999999999999s",
                                      "106751991168d"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t ms = -1;
        assert_true(value_duration(good[i].text, &ms));
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t ms;
        if (value_duration(bad[i], &ms)) {
            fail_msg("'%s' was read as %lld ms", bad[i], (long long)ms);
        }
    }
}

static void printed_durations_read_back(void **state)
{
    (void)state;
    for (int64_t ms = 1; ms < 200000000000; ms = ms * 3 + 7) {
        char text[VALUE_TEXT_MAX];
        int64_t back = -1;
        value_duration_text(ms, text);
        assert_true(value_duration(text, &back));
        assert_int_equal(back, ms);
    }
}

static void sizes_go_in_steps_of_1024(void **state)
{
    (void)state;
    int64_t bytes;
    assert_true(value_size("4096", &bytes) && bytes == 4096);
    assert_true(value_size("64k", &bytes) && bytes == 65536);
    assert_true(value_size("1M", &bytes) && bytes == 1 << 20);
    assert_true(value_size("2g", &bytes) && bytes == 2LL << 30);
    assert_true(value_size("1t", &bytes) && bytes == 1LL << 40);
    static const char *const bad[] = {"", "k", "1kb", "1.5m", "-1", "1 k", "99999999999t"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(value_size(bad[i], &bytes));
    }
}

static void times_are_absolute_local_or_relative(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds; /* from 2026-01-31T14:30:05Z */
    } good[] = {{"2026-01-31T14:30:05Z", 0},
                {"2026-01-31T15:30:05+01:00", 0},
                {"2026-01-31 14:30:05", 0},
                {"2026-01-31T14:30", -5},
                {"2026-01-31", -52205},
                {"14:30", -5},
                {"14:30:06", 1},
                {"00:00", -52205}};
    static const char *const bad[] = {
        "",     "14",         "24:00",      "14:60",      "14:30:61",       "4:30",
        "14:3", "2026-02-30", "2026-13-01", "2026-01-00", "2026-01-31x",    "-10",
        "+",    "soon",       "now ",       "1500-01-01", "-9999999999999d"};
    int64_t ns;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!value_time(good[i].text, NOW_NS, &ns) ||
            ns != 1769869805000000000LL + good[i].seconds * 1000000000LL) {
            fail_msg("'%s' was read as %lld", good[i].text, (long long)ns);
        }
    }
    assert_true(value_time("now", NOW_NS, &ns) && ns == NOW_NS);
    assert_true(value_time("-10m", NOW_NS, &ns) && ns == NOW_NS - 600000000000);
    assert_true(value_time("+1h", NOW_NS, &ns) && ns == NOW_NS + 3600000000000);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (value_time(bad[i], NOW_NS, &ns)) {
            fail_msg("'%s' was read as %lld", bad[i], (long long)ns);
        }
    }
}

static void positions_are_words_offsets_or_times(void **state)
{
    (void)state;
    beck_from from;
    assert_true(value_from("now", NOW_NS, &from) && from.kind == BECK_FROM_NOW);
    assert_true(value_from("earliest", NOW_NS, &from) && from.kind == BECK_FROM_EARLIEST);
    assert_true(value_from("17", NOW_NS, &from) && from.kind == BECK_FROM_OFFSET);
    assert_int_equal(from.offset, 17);
    assert_true(value_from("-1s", NOW_NS, &from) && from.kind == BECK_FROM_TIME);
    assert_int_equal(from.time_ms, NOW_NS / 1000000 - 1000);
    assert_false(value_from("-17", NOW_NS, &from));
    assert_false(value_from("latest", NOW_NS, &from));
}

static void backoffs_are_read_and_read_back(void **state)
{
    (void)state;
    static const char *const good[] = {"none", "fixed:1s", "exponential:1s..1h", "list:1s,5s,1m",
                                       "list:10ms"};
    static const char *const bad[] = {"",
                                      "fixed",
                                      "fixed:",
                                      "fixed:0",
                                      "fixed:1",
                                      "exponential:",
                                      "list:",
                                      "list:1s,x",
                                      "list:1s;2s",
                                      "exponential:2s..1s",
                                      "exponential:..1s",
                                      "linear:1s",
                                      "list:1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s"};
    beck_backoff b;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct buf text;
        buf_init(&text, 1024);
        assert_true(value_backoff(good[i], &b));
        assert_int_equal(value_backoff_text(&b, &text), BECK_OK);
        assert_true(bytes_equal_text(buf_bytes(&text), good[i]));
        buf_release(&text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (value_backoff(bad[i], &b)) {
            fail_msg("'%s' was read", bad[i]);
        }
    }
    assert_true(value_backoff("exponential:5s", &b) && b.first_ms == 5000 && b.max_ms == 0);
}

static void numbers_and_sizes_are_printed_for_people(void **state)
{
    (void)state;
    char text[VALUE_TEXT_MAX];
    value_number_text(0, text);
    assert_string_equal(text, "0");
    value_number_text(999, text);
    assert_string_equal(text, "999");
    value_number_text(1234567, text);
    assert_string_equal(text, "1,234,567");
    value_number_text(-1234, text);
    assert_string_equal(text, "-1,234");
    value_number_text(INT64_MAX, text);
    assert_string_equal(text, "9,223,372,036,854,775,807");
    value_size_text(17, text);
    assert_string_equal(text, "17 B");
    value_size_text(1536, text);
    assert_string_equal(text, "1.5 KiB");
    value_size_text(1048575, text);
    assert_string_equal(text, "1.0 MiB");
    value_duration_text(-1, text);
    assert_string_equal(text, "never");
    value_time_text(NOW_NS, NOW_NS, text);
    assert_string_equal(text, "14:30:05.123");
    value_time_text(NOW_NS - 86400000000000, NOW_NS, text);
    assert_string_equal(text, "2026-01-30 14:30:05");
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    tzset();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_have_a_unit_and_add_up),
        cmocka_unit_test(printed_durations_read_back),
        cmocka_unit_test(sizes_go_in_steps_of_1024),
        cmocka_unit_test(times_are_absolute_local_or_relative),
        cmocka_unit_test(positions_are_words_offsets_or_times),
        cmocka_unit_test(backoffs_are_read_and_read_back),
        cmocka_unit_test(numbers_and_sizes_are_printed_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
