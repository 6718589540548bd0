/* The two clocks; waiting on them is in test_thread.c. */
#include "base/clock.h"
#include "base/common.h"

#include <time.h>

static void the_system_clock_tells_the_systems_time(void **state)
{
    (void)state;
    struct clock *c = clock_system();
    assert_ptr_equal(c, clock_system());
    time_t before = time(NULL);
    int64_t wall = clock_wall_ns(c);
    assert_true(wall / 1000000000 >= before - 1 && wall / 1000000000 <= time(NULL) + 1);
    int64_t last = clock_mono_ns(c);
    assert_true(last > 0);
    for (int i = 0; i < 1000; i++) {
        int64_t now = clock_mono_ns(c);
        assert_true(now >= last);
        last = now;
    }
}

static void the_virtual_clock_moves_only_when_moved(void **state)
{
    (void)state;
    struct clock *c = clock_virtual_new(INT64_C(1700000000123456789));
    assert_true(clock_wall_ns(c) == INT64_C(1700000000123456789));
    assert_true(clock_wall_ms(c) == INT64_C(1700000000123));
    assert_true(clock_mono_ns(c) == 1000000000);
    clock_virtual_advance(c, 11);
    clock_virtual_advance(c, 0);
    assert_true(clock_wall_ns(c) == INT64_C(1700000000123456800));
    assert_true(clock_mono_ns(c) == 1000000011);
    clock_virtual_free(c);
    clock_virtual_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_system_clock_tells_the_systems_time),
        cmocka_unit_test(the_virtual_clock_moves_only_when_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
