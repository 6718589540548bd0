/* UUIDs. */
#include "base/uuid.h"
#include "base/common.h"

#include <string.h>

static void version_7_has_the_time_version_and_variant_in_their_places(void **state)
{
    (void)state;
    /* The time of the example in RFC 9562 appendix A.6, and half a millisecond. */
    struct clock *clock = clock_virtual_new(INT64_C(0x017f22e279b0) * 1000000 + 500000);
    struct rng rng;
    rng_seed(&rng, 1);
    for (int i = 0; i < 100; i++) {
        uint8_t id[16];
        char text[UUID_TEXT_LEN + 1];
        uuid_v7(clock, &rng, id);
        uuid_text(id, text);
        assert_memory_equal(text, "017f22e2-79b0-7800-", 19);
        assert_int_equal(id[8] & 0xc0, 0x80);
    }
    clock_virtual_free(clock);
}

static void version_7_is_in_order_of_time_and_unique(void **state)
{
    (void)state;
    struct clock *clock = clock_virtual_new(1);
    struct rng rng;
    rng_seed(&rng, 1);
    uint8_t last[16] = {0};
    for (int i = 0; i < 10000; i++) {
        uint8_t id[16];
        clock_virtual_advance(clock, 250);
        uuid_v7(clock, &rng, id);
        assert_true(memcmp(last, id, 16) < 0);
        memcpy(last, id, 16);
        uint8_t twin[16];
        uuid_v7(clock, &rng, twin);
        assert_memory_not_equal(twin, id, 16);
    }
    clock_virtual_free(clock);
}

static void base64_is_url_safe_and_has_22_characters(void **state)
{
    (void)state;
    char text[23];
    uint8_t id[16];
    memset(id, 0xff, 16);
    uuid_base64(id, text);
    assert_string_equal(text, "_____________________w");
    memset(id, 0, 16);
    uuid_base64(id, text);
    assert_string_equal(text, "AAAAAAAAAAAAAAAAAAAAAA");
    for (int i = 0; i < 16; i++)
        id[i] = (uint8_t)(0xf8 + i * 11);
    uuid_base64(id, text);
    assert_string_equal(text, "-AMOGSQvOkVQW2ZxfIeSnQ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_7_has_the_time_version_and_variant_in_their_places),
        cmocka_unit_test(version_7_is_in_order_of_time_and_unique),
        cmocka_unit_test(base64_is_url_safe_and_has_22_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
