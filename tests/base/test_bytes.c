/* Slices and buffers. */
#include "base/bytes.h"
#include "base/siphash.h"
#include "base/common.h"
#include "base/rng.h"
#include "support/failing_malloc.h"

#include <stdio.h>

#define LITERAL(text) bytes_of(text, sizeof(text) - 1)

static void absent_and_empty_slices_are_equal(void **state)
{
    (void)state;
    assert_true(bytes_equal(beck_str(NULL), beck_str("")));
    assert_null(beck_str(NULL).data);
    assert_true(bytes_equal_text(LITERAL("abc"), "abc"));
    assert_false(bytes_equal_text(LITERAL("abc"), "ab"));
    assert_false(bytes_equal_text(LITERAL("abc"), "abd"));
    assert_true(bytes_equal(LITERAL("a\0b"), LITERAL("a\0b")));
    assert_false(bytes_equal(LITERAL("a\0b"), LITERAL("a\0c")));
}

static void comparison_is_by_unsigned_bytes_and_a_prefix_comes_first(void **state)
{
    (void)state;
    assert_true(bytes_compare(LITERAL("a"), LITERAL("b")) < 0);
    assert_true(bytes_compare(LITERAL("\xff"), LITERAL("a")) > 0);
    assert_true(bytes_compare(LITERAL("ab"), LITERAL("abc")) < 0);
    assert_true(bytes_compare(LITERAL("abc"), LITERAL("ab")) > 0);
    assert_int_equal(bytes_compare(LITERAL("abc"), LITERAL("abc")), 0);
    assert_int_equal(bytes_compare(beck_str(NULL), LITERAL("")), 0);
}

static void every_byte_the_length_and_the_seed_change_the_hash(void **state)
{
    (void)state;
    uint8_t data[100];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7);
    for (size_t len = 0; len <= sizeof data; len++) {
        uint64_t h = bytes_hash(data, len, 1);
        assert_true(h == bytes_hash(data, len, 1));
        assert_true(h != bytes_hash(data, len, 2));
        if (len < sizeof data)
            assert_true(h != bytes_hash(data, len + 1, 1));
        for (size_t i = 0; i < len; i++) {
            data[i] ^= 1;
            assert_true(h != bytes_hash(data, len, 1));
            data[i] ^= 1;
        }
    }
    assert_true(bytes_hash("\0\0", 2, 0) != bytes_hash("\0\0\0", 3, 0));
}

/* Whatever a block is, the seed and the block beside it count: also the constants of the hash. */
static void no_block_takes_the_seed_away(void **state)
{
    (void)state;
    static const uint64_t constants[] = {UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xd1b54a32d192ed03),
                                         UINT64_C(0x8bb84b93962eacc9), 0, UINT64_MAX};
    for (size_t c = 0; c < sizeof constants / sizeof *constants; c++) {
        for (size_t at = 0; at < 5; at++) {
            uint64_t words[5] = {1, 2, 3, 4, 5};
            words[at] = constants[c];
            uint64_t h = bytes_hash(words, sizeof words, 1);
            assert_true(h != bytes_hash(words, sizeof words, 2));
            words[(at + 1) % 5]++;
            assert_true(h != bytes_hash(words, sizeof words, 1));
        }
    }
}

/* Vectors of the authors: the key and the text are the bytes 0, 1, 2 ... */
static void siphash_is_siphash(void **state)
{
    (void)state;
    static const uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    static const uint8_t expected[2][16] = {{0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d,
                                             0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93},
                                            {0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34,
                                             0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc, 0x45}};
    for (size_t len = 0; len < 2; len++) {
        uint64_t out[2];
        siphash(key, bytes_of("\0", len), out);
        for (size_t i = 0; i < 16; i++)
            assert_int_equal(out[i / 8] >> (8 * (i % 8)) & 0xff, expected[len][i]);
    }
}

/* 64 k keys in 64 k buckets: the fullest holds about 8 with a good hash. Both ends of the hash are
 * looked at, for tables take either. */
static void hashes_of_similar_keys_spread_over_a_table(void **state)
{
    (void)state;
    enum { KEYS = 65536 };
    for (int end = 0; end < 2; end++) {
        uint16_t *used = calloc(KEYS, sizeof *used);
        uint16_t fullest = 0;
        for (int i = 0; i < KEYS; i++) {
            char key[32];
            int len = snprintf(key, sizeof key, "order.created.%08d", i);
            uint64_t h = bytes_hash(key, (size_t)len, 42);
            uint16_t *bucket = &used[end == 0 ? h & (KEYS - 1) : h >> 48];
            if (++*bucket > fullest)
                fullest = *bucket;
        }
        free(used);
        assert_true(fullest < 16);
    }
}

static void utf8_is_told_from_what_only_looks_like_it(void **state)
{
    (void)state;
    static const char *const good[] = {"",
                                       "plain ascii text of some length",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       "12345678\xd0\x97 12345678"};
    static const char *const bad[] = {
        "\x80",         "\xc0\x80",         "\xc1\xbf",         "\xe0\x9f\xbf",
        "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
        "\xff",         "12345678\xd0",     "\xe2\x82",         "\xe2\x28\xa1",
        "1234567\x80"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(bytes_is_utf8(beck_str(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(bytes_is_utf8(beck_str(bad[i])));
    assert_true(bytes_is_utf8(LITERAL("a\0b")));
    assert_true(bytes_is_utf8(beck_str(NULL)));
}

static void numbers_are_read_only_when_all_of_the_text_is_one(void **state)
{
    (void)state;
    uint64_t n = 7;
    assert_true(bytes_to_u64(LITERAL("0"), &n) && n == 0);
    assert_true(bytes_to_u64(LITERAL("0042"), &n) && n == 42);
    assert_true(bytes_to_u64(LITERAL("18446744073709551615"), &n) && n == UINT64_MAX);
    n = 7;
    static const char *const bad[] = {
        "", "-1", "+1", " 1", "1 ", "1x", "18446744073709551616", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(bytes_to_u64(beck_str(bad[i]), &n));
    assert_true(n == 7);
}

static void numbers_are_stored_big_endian(void **state)
{
    (void)state;
    uint8_t p[8];
    put_u16(p, 0x1234);
    assert_memory_equal(p, "\x12\x34", 2);
    assert_int_equal(get_u16(p), 0x1234);
    put_u32(p, 0x12345678);
    assert_memory_equal(p, "\x12\x34\x56\x78", 4);
    assert_true(get_u32(p) == 0x12345678);
    put_u64(p, UINT64_C(0x123456789abcdef0));
    assert_memory_equal(p, "\x12\x34\x56\x78\x9a\xbc\xde\xf0", 8);
    assert_true(get_u64(p) == UINT64_C(0x123456789abcdef0));
}

static void a_buffer_fills_exactly_to_its_ceiling(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(buf_append_byte(&b, 'x'), BECK_OK);
    assert_int_equal(buf_append_byte(&b, 'y'), BECK_ELIMIT);
    assert_int_equal(buf_append(&b, "y", 1), BECK_ELIMIT);
    assert_int_equal(buf_append(&b, NULL, 0), BECK_OK);
    assert_int_equal(buf_printf(&b, "%d", 1), BECK_ELIMIT);
    assert_int_equal(buf_reserve(&b, SIZE_MAX), BECK_ELIMIT);
    assert_int_equal(b.len, 100);
    assert_true(b.cap <= b.max);
    assert_int_equal(buf_terminate(&b), BECK_OK);
    assert_int_equal(strspn((char *)b.data, "x"), 100);
    buf_release(&b);
    assert_int_equal(buf_append_text(&b, "again"), BECK_OK);
    assert_true(bytes_equal_text(buf_bytes(&b), "again"));
    buf_release(&b);
}

static void formatted_text_may_use_the_last_byte(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    assert_int_equal(buf_printf(&b, "%s", ""), BECK_OK);
    assert_int_equal(b.len, 0);
    assert_int_equal(buf_printf(&b, "%s-%d", "abc", 42), BECK_OK);
    assert_int_equal(buf_printf(&b, "%s", "12345"), BECK_ELIMIT);
    assert_true(bytes_equal_text(buf_bytes(&b), "abc-42"));
    assert_int_equal(buf_printf(&b, "%s", "1234"), BECK_OK);
    assert_true(bytes_equal_text(buf_bytes(&b), "abc-421234"));
    buf_release(&b);
}

static void an_empty_buffer_can_be_terminated(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    assert_int_equal(buf_terminate(&b), BECK_OK);
    assert_int_equal(b.len, 0);
    assert_string_equal((char *)b.data, "");
    buf_release(&b);
}

static void without_memory_a_buffer_stays_as_it_was(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    failing_malloc_at(1, true);
    assert_int_equal(buf_append_byte(&b, 'x'), BECK_ENOMEM);
    assert_int_equal(buf_terminate(&b), BECK_ENOMEM);
    assert_int_equal(buf_printf(&b, "%d", 1), BECK_ENOMEM);
    failing_malloc_at(0, false);
    assert_null(b.data);

    assert_int_equal(buf_append_text(&b, "kept"), BECK_OK);
    size_t cap = b.cap;
    static const char large[5000];
    failing_malloc_at(1, true);
    assert_int_equal(buf_append(&b, large, sizeof large), BECK_ENOMEM);
    assert_int_equal(buf_reserve(&b, sizeof large), BECK_ENOMEM);
    assert_int_equal(buf_printf(&b, "%5000d", 1), BECK_ENOMEM);
    assert_int_equal(failing_malloc_count(), 3);
    failing_malloc_at(0, false);
    assert_int_equal(b.cap, cap);
    assert_true(bytes_equal_text(buf_bytes(&b), "kept"));
    assert_int_equal(buf_append(&b, large, sizeof large), BECK_OK);
    buf_release(&b);
}

/* Against a plain array. */
static void random_appends_give_what_an_array_has(void **state)
{
    (void)state;
    enum { MAX = 4000 };
    static uint8_t model[MAX];
    for (uint64_t seed = first_seed(); seed <= last_seed(20); seed++) {
        struct rng rng;
        rng_seed(&rng, seed);
        struct buf b;
        buf_init(&b, MAX);
        size_t len = 0;
        for (int i = 0; i < 500; i++) {
            uint8_t data[100];
            size_t n = (size_t)rng_below(&rng, sizeof data);
            for (size_t k = 0; k < n; k++)
                data[k] = (uint8_t)rng_next(&rng);
            if (rng_below(&rng, 100) == 0) {
                buf_clear(&b);
                len = 0;
            }
            if (rng_below(&rng, 4) == 0)
                assert_int_equal(buf_terminate(&b), BECK_OK);
            bool fits = len + n <= MAX;
            assert_int_equal(buf_append(&b, data, n), fits ? BECK_OK : BECK_ELIMIT);
            if (fits)
                memcpy(model + len, data, n);
            len += fits ? n : 0;
            if (!bytes_equal(buf_bytes(&b), bytes_of(model, len)))
                fail_msg("seed %llu, step %d", (unsigned long long)seed, i);
        }
        buf_release(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absent_and_empty_slices_are_equal),
        cmocka_unit_test(comparison_is_by_unsigned_bytes_and_a_prefix_comes_first),
        cmocka_unit_test(every_byte_the_length_and_the_seed_change_the_hash),
        cmocka_unit_test(no_block_takes_the_seed_away),
        cmocka_unit_test(siphash_is_siphash),
        cmocka_unit_test(hashes_of_similar_keys_spread_over_a_table),
        cmocka_unit_test(utf8_is_told_from_what_only_looks_like_it),
        cmocka_unit_test(numbers_are_read_only_when_all_of_the_text_is_one),
        cmocka_unit_test(numbers_are_stored_big_endian),
        cmocka_unit_test(a_buffer_fills_exactly_to_its_ceiling),
        cmocka_unit_test(formatted_text_may_use_the_last_byte),
        cmocka_unit_test(an_empty_buffer_can_be_terminated),
        cmocka_unit_test(without_memory_a_buffer_stays_as_it_was),
        cmocka_unit_test(random_appends_give_what_an_array_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
