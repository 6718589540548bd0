/* Random numbers. */
#include "base/rng.h"
#include "base/common.h"

static void a_seed_gives_the_same_numbers_again(void **state)
{
    (void)state;
    struct rng a, b, c;
    rng_seed(&a, 1);
    rng_seed(&b, 1);
    rng_seed(&c, 2);
    int same = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t n = rng_next(&a);
        assert_true(n == rng_next(&b));
        same += n == rng_next(&c);
    }
    assert_int_equal(same, 0);
}

/* The first outputs for the state 1, 2, 3, 4, worked out by hand from the definition: the first is
 * rotl(2 * 5, 7) * 9, the second comes from s1 = 1 ^ 3 ^ 2 = 0. */
static void the_generator_is_xoshiro256_starstar(void **state)
{
    (void)state;
    struct rng r = {{1, 2, 3, 4}};
    assert_true(rng_next(&r) == 11520);
    assert_true(rng_next(&r) == 0);
    assert_true(rng_next(&r) == 1509978240);
}

static void the_systems_seed_differs_each_time(void **state)
{
    (void)state;
    struct rng a, b;
    rng_seed_system(&a);
    rng_seed_system(&b);
    assert_true(rng_next(&a) != rng_next(&b));
}

static void numbers_below_a_bound_are_even_and_reach_both_ends(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 7);
    int counts[10] = {0};
    for (int i = 0; i < 100000; i++) {
        uint64_t n = rng_below(&r, 10);
        assert_true(n < 10);
        counts[n]++;
    }
    for (int i = 0; i < 10; i++)
        assert_in_range(counts[i], 9500, 10500);
    for (int i = 0; i < 100; i++)
        assert_true(rng_below(&r, 1) == 0);
}

/* With bound 3 * 2^62 a plain remainder would give the first third twice as often. */
static void a_large_bound_has_no_bias(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 7);
    uint64_t third = UINT64_C(1) << 62;
    int counts[3] = {0};
    for (int i = 0; i < 90000; i++)
        counts[rng_below(&r, 3 * third) / third]++;
    for (int i = 0; i < 3; i++)
        assert_in_range(counts[i], 29000, 31000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seed_gives_the_same_numbers_again),
        cmocka_unit_test(the_generator_is_xoshiro256_starstar),
        cmocka_unit_test(the_systems_seed_differs_each_time),
        cmocka_unit_test(numbers_below_a_bound_are_even_and_reach_both_ends),
        cmocka_unit_test(a_large_bound_has_no_bias),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
