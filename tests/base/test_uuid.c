/* UUIDs. */
#include "base/uuid.h"
#include "base/common.h"

#include <string.h>

/* Values made by Python's uuid module: uuid5(NAMESPACE_URL, name). */
static void version_5_gives_the_published_ids(void **state)
{
    (void)state;
    static const struct {
        size_t len;
        const char *name, *text;
    } cases[] = {
        {24, "https://example.org/a/b?", "b4c9415f-488b-52dc-9921-72b490d5abe1"},
        {0, NULL, "1b4db7eb-4057-5ddf-91e0-36dec72071f5"},
        {38, NULL, "1692765d-1c95-5ac5-a073-ac1b4660febe"},
        {39, NULL, "615eac0e-03db-567b-8580-916c1aca1cc2"},
        {40, NULL, "c5c985c8-6875-5a42-b6e3-2872703afed4"},
        {47, NULL, "60100e11-180f-59cb-911f-bdb3aa734c9d"},
        {48, NULL, "aa33c522-9edc-58a5-b5af-e2a12995886e"},
        {49, NULL, "5f34ff08-c93f-5aca-811f-32e7d0b994bd"},
        {103, NULL, "d95b9427-a1cc-5a01-876a-6367661db75c"},
        {104, NULL, "03762118-5c69-5fbd-8fe6-063863f5ae19"},
        {112, NULL, "237275f4-1121-5532-bfe3-f5091e4fce65"},
        {300, NULL, "9766372a-53b5-5111-a645-cb6aecc2b95e"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char name[400];
        memset(name, 'a', sizeof name);
        if (cases[i].name != NULL)
            memcpy(name, cases[i].name, cases[i].len);
        uint8_t id[16];
        char text[UUID_TEXT_LEN + 1];
        uuid_v5_url(name, cases[i].len, id);
        uuid_text(id, text);
        assert_string_equal(text, cases[i].text);
    }
}

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
        cmocka_unit_test(version_5_gives_the_published_ids),
        cmocka_unit_test(version_7_has_the_time_version_and_variant_in_their_places),
        cmocka_unit_test(version_7_is_in_order_of_time_and_unique),
        cmocka_unit_test(base64_is_url_safe_and_has_22_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
