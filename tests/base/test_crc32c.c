/* CRC-32C. */
#include "base/crc32c.h"
#include "base/common.h"
#include "base/rng.h"

#include <string.h>

/* A bit at a time, from the polynomial: what both forms are compared with. */
static uint32_t crc_by_bits(uint32_t crc, const uint8_t *p, size_t len)
{
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78 : 0);
    }
    return ~crc;
}

/* RFC 3720 appendix B.4, and the catalogue's check value. */
static void the_published_values_are_met(void **state)
{
    (void)state;
    uint8_t data[32];
    assert_true(crc32c(0, "123456789", 9) == 0xe3069283);
    memset(data, 0, sizeof data);
    assert_true(crc32c(0, data, 32) == 0x8a9136aa);
    memset(data, 0xff, sizeof data);
    assert_true(crc32c(0, data, 32) == 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        data[i] = (uint8_t)i;
    assert_true(crc32c(0, data, 32) == 0x46dd794e);
    assert_true(crc32c(0, NULL, 0) == 0);
    assert_true(crc32c(123, NULL, 0) == 123);
}

static void both_forms_give_the_polynomials_remainder_at_every_length_and_alignment(void **state)
{
    (void)state;
    enum { SIZE = 8192 };
    static uint8_t data[SIZE];
    struct rng rng;
    rng_seed(&rng, 3);
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (uint8_t)rng_next(&rng);
    for (size_t len = 0; len < 1200; len++) {
        size_t at = len % 16;
        uint32_t expected = crc_by_bits((uint32_t)len, data + at, len);
        assert_true(crc32c((uint32_t)len, data + at, len) == expected);
        assert_true(crc32c_portable((uint32_t)len, data + at, len) == expected);
    }
    /* Around the multiples of the interleaved blocks. */
    for (size_t len = 2900; len < 8100; len += 13) {
        size_t at = len % 64;
        uint32_t expected = crc_by_bits(0, data + at, len);
        assert_true(crc32c(0, data + at, len) == expected);
        assert_true(crc32c_portable(0, data + at, len) == expected);
    }
}

static void pieces_give_the_same_as_the_whole(void **state)
{
    (void)state;
    enum { SIZE = 20000 };
    static uint8_t data[SIZE];
    struct rng rng;
    rng_seed(&rng, 4);
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (uint8_t)rng_next(&rng);
    uint32_t whole = crc32c_portable(0, data, SIZE);
    for (int round = 0; round < 50; round++) {
        uint32_t crc = 0;
        size_t n;
        for (size_t at = 0; at < SIZE; at += n) {
            n = 1 + (size_t)rng_below(&rng, 5000);
            if (n > SIZE - at)
                n = SIZE - at;
            crc = crc32c(crc, data + at, n);
        }
        assert_true(crc == whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_values_are_met),
        cmocka_unit_test(both_forms_give_the_polynomials_remainder_at_every_length_and_alignment),
        cmocka_unit_test(pieces_give_the_same_as_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
