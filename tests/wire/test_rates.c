/* Rates of counters and their history, as the management API shows them. */
#include "wire/management/rates.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SECOND 1000000000LL
#define WALL (1700000000LL * SECOND)

static double rate(struct rates *r, const char *of, int64_t value)
{
    static const struct rates_range none;
    json_t *o = json_object();
    rates_put(r, o, beck_str(of), "publish", value, false, &none);
    assert_int_equal(json_integer_value(json_object_get(o, "publish")), value);
    json_t *details = json_object_get(o, "publish_details");
    assert_null(json_object_get(details, "samples"));
    double is = json_real_value(json_object_get(details, "rate"));
    json_decref(o);
    return is;
}

/* "value@seconds value@seconds", newest first; seconds since the beginning. */
static const char *history(struct rates *r, const char *of, int64_t value, int64_t age,
                           int64_t incr, double *avg, double *avg_rate)
{
    static char text[4096];
    json_t *o = json_object(), *s;
    size_t i, len = 0;
    size_t left = RATE_SAMPLES_MAX;
    rates_put(r, o, beck_str(of), "publish", value, false, &(struct rates_range){age, incr, &left});
    assert_int_equal(
        json_array_size(json_object_get(json_object_get(o, "publish_details"), "samples")),
        RATE_SAMPLES_MAX - left);
    json_t *details = json_object_get(o, "publish_details");
    text[0] = '\0';
    json_array_foreach(json_object_get(details, "samples"), i, s)
    {
        int64_t ms = json_integer_value(json_object_get(s, "timestamp"));
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%lld@%lld", i ? " " : "",
                                json_integer_value(json_object_get(s, "sample")),
                                (long long)(ms - WALL / 1000000) / 1000);
    }
    *avg = json_real_value(json_object_get(details, "avg"));
    *avg_rate = json_real_value(json_object_get(details, "avg_rate"));
    json_decref(o);
    return text;
}

static void a_rate_is_what_was_gained_since_the_question_before(void **state)
{
    struct clock *clock = clock_virtual_new(WALL);
    struct rates *r = rates_new(clock);
    (void)state;
    assert_true(rate(r, "q", 100) == 0);
    clock_virtual_advance(clock, SECOND);
    assert_true(rate(r, "q", 110) == 10);
    clock_virtual_advance(clock, 9 * SECOND);
    assert_true(rate(r, "q", 150) == 5);
    clock_virtual_advance(clock, 5 * SECOND);
    assert_true(rate(r, "q", 200) == 10);
    clock_virtual_advance(clock, 5 * SECOND);
    assert_true(rate(r, "q", 100) == 0); /* it does not fall */
    rates_free(r);
    clock_virtual_free(clock);
}

static void history_is_of_the_times_at_which_somebody_asked(void **state)
{
    struct clock *clock = clock_virtual_new(WALL);
    struct rates *r = rates_new(clock);
    double avg, avg_rate;
    (void)state;
    assert_string_equal(history(r, "q", 0, 60, 10, &avg, &avg_rate), "0@0");
    assert_true(avg == 0 && avg_rate == 0);
    for (int i = 1; i <= 4; i++) {
        clock_virtual_advance(clock, 5 * SECOND);
        rate(r, "q", 10 * i);
    }
    assert_string_equal(history(r, "q", 40, 60, 10, &avg, &avg_rate), "40@20 20@10 0@0");
    assert_true(avg == 20 && avg_rate == 2);
    assert_string_equal(history(r, "q", 40, 10, 5, &avg, &avg_rate), "40@20 30@15 20@10");
    clock_virtual_advance(clock, 7 * SECOND);
    assert_string_equal(history(r, "q", 47, 10, 5, &avg, &avg_rate), "40@20 30@15");
    for (int i = 0; i < 1000; i++) {
        clock_virtual_advance(clock, 5 * SECOND);
        rate(r, "q", 100 + i);
    }
    const char *all = history(r, "q", 1100, 31536000, 5, &avg, &avg_rate);
    size_t count = 1;
    for (const char *at = all; (at = strchr(at, ' ')); at++)
        count++;
    assert_in_range(count, RATE_SAMPLES_MAX - 1, RATE_SAMPLES_MAX);
    rates_free(r);
    clock_virtual_free(clock);
}

/* However many steps lie between. */
static void history_has_as_many_samples_as_there_are(void **state)
{
    struct clock *clock = clock_virtual_new(WALL);
    struct rates *r = rates_new(clock);
    double avg, avg_rate;
    (void)state;
    assert_string_equal(history(r, "q", 0, 600, 5, &avg, &avg_rate), "0@0");
    clock_virtual_advance(clock, 300 * SECOND);
    assert_string_equal(history(r, "q", 600, 600, 5, &avg, &avg_rate), "600@300 0@0");
    assert_true(avg_rate == 2);
    rates_free(r);
    clock_virtual_free(clock);
}

static void an_answer_has_no_more_samples_than_it_may(void **state)
{
    struct clock *clock = clock_virtual_new(WALL);
    struct rates *r = rates_new(clock);
    size_t left = 14, found[4] = {0};
    (void)state;
    for (int i = 0; i < 12; i++) {
        json_t *o = json_object();
        char name[] = {(char)('a' + i % 4), 0};
        left = i % 4 ? left : 14;
        rates_put(r, o, beck_str(name), "n", i, false, &(struct rates_range){50, 10, &left});
        found[i % 4] = json_array_size(json_object_get(json_object_get(o, "n_details"), "samples"));
        json_decref(o);
        if (i % 4 == 3)
            clock_virtual_advance(clock, 10 * SECOND);
    }
    assert_int_equal(found[2], 3);
    assert_int_equal(found[3], 0); /* it has six steps, and might have filled all */
    assert_int_equal(left, 5);
    rates_free(r);
    clock_virtual_free(clock);
}

static void history_of_many_counters_is_bounded(void **state)
{
    struct clock *clock = clock_virtual_new(WALL);
    struct rates *r = rates_new(clock);
    double avg, avg_rate;
    char name[32];
    (void)state;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 10000; i++) {
            snprintf(name, sizeof name, "queue %d", i);
            assert_non_null(strchr(history(r, name, i, 60, 5, &avg, &avg_rate), '@'));
        }
        clock_virtual_advance(clock, 5 * SECOND);
    }
    rates_free(r);
    clock_virtual_free(clock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_is_what_was_gained_since_the_question_before),
        cmocka_unit_test(history_is_of_the_times_at_which_somebody_asked),
        cmocka_unit_test(history_has_as_many_samples_as_there_are),
        cmocka_unit_test(an_answer_has_no_more_samples_than_it_may),
        cmocka_unit_test(history_of_many_counters_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
