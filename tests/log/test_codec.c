/* Codecs: round trips at every size, the framings of Kafka's clients, and damaged input. */
#include "formats.h"

#include "log/codec.h"

static struct codec codec;
static struct buf packed, plain;
static beck_error err;

static int setup(void **state)
{
    (void)state;
    codec_init(&codec);
    buf_init(&packed, 8u << 20);
    buf_init(&plain, 8u << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    codec_release(&codec);
    buf_release(&packed);
    buf_release(&plain);
    return 0;
}

static void fill(uint8_t *p, size_t len, uint64_t seed, bool noise)
{
    struct rng rng;

    rng_seed(&rng, seed);
    for (size_t i = 0; i < len; i++)
        p[i] = noise ? (uint8_t)rng_next(&rng) : (uint8_t)("abcdefgh"[(i / 7) % 8]);
}

static beck_bytes pack(beck_codec kind, beck_bytes in)
{
    buf_clear(&packed);
    OK(codec_compress(&codec, kind, in, &packed, &err));
    return buf_bytes(&packed);
}

static beck_status unpack(beck_codec kind, beck_bytes in)
{
    buf_clear(&plain);
    return codec_decompress(&codec, kind, in, &plain, &err);
}

static void every_size_comes_back(void **state)
{
    static const size_t sizes[] = {0,     1,     2,     100,    32767,  32768,  32769,
                                   65535, 65536, 65537, 131072, 200001, 3000000};
    static uint8_t data[3000000];

    (void)state;
    for (unsigned kind = BECK_CODEC_NONE; kind <= BECK_CODEC_ZSTD; kind++)
        for (size_t i = 0; i < COUNT(sizes); i++)
            for (int noise = 0; noise < 2; noise++) {
                beck_bytes in = bytes_of(data, sizes[i]);

                if (noise && sizes[i] > 200001)
                    continue;
                fill(data, sizes[i], i, noise);
                OK(unpack((beck_codec)kind, pack((beck_codec)kind, in)));
                assert_int_equal(plain.len, in.len);
                assert_memory_equal(plain.data, in.data, in.len);
            }
}

static void both_directions_append(void **state)
{
    (void)state;
    for (unsigned kind = BECK_CODEC_NONE; kind <= BECK_CODEC_ZSTD; kind++) {
        buf_clear(&packed);
        buf_clear(&plain);
        assert_int_equal(buf_append_text(&packed, "<"), BECK_OK);
        assert_int_equal(buf_append_text(&plain, ">"), BECK_OK);
        OK(codec_compress(&codec, (beck_codec)kind, beck_str("event"), &packed, &err));
        assert_int_equal(packed.data[0], '<');
        OK(codec_decompress(&codec, (beck_codec)kind, bytes_of(packed.data + 1, packed.len - 1),
                            &plain, &err));
        TEXT(buf_bytes(&plain), ">event");
    }
}

static void snappy_is_written_in_javas_frame_and_read_without_it(void **state)
{
    static const char framed[] = "\x82SNAPPY\0\0\0\0\1\0\0\0\1"
                                 "\0\0\0\7"
                                 "\5\x10hello"
                                 "\0\0\0\3"
                                 "\1\0!";

    (void)state;
    beck_bytes out = pack(BECK_CODEC_SNAPPY, beck_str("hello"));
    assert_memory_equal(out.data, framed, 27);
    assert_int_equal(out.len, 27);
    OK(unpack(BECK_CODEC_SNAPPY, bytes_of(framed, sizeof framed - 1)));
    TEXT(buf_bytes(&plain), "hello!");
    OK(unpack(BECK_CODEC_SNAPPY, bytes_of("\5\x10hello", 7)));
    TEXT(buf_bytes(&plain), "hello");
    OK(unpack(BECK_CODEC_SNAPPY, bytes_of("\0", 1)));
    assert_int_equal(plain.len, 0);
}

static void lz4_is_a_frame_with_independent_blocks(void **state)
{
    static const char framed[] = "\x04\x22\x4d\x18\x60\x40\x82"
                                 "\5\0\0\x80"
                                 "hello"
                                 "\0\0\0\0";

    (void)state;
    SAME(pack(BECK_CODEC_LZ4, beck_str("hello")), bytes_of(framed, sizeof framed - 1));
}

static void gzip_members_may_follow_each_other(void **state)
{
    struct buf two;

    (void)state;
    buf_init(&two, 1000);
    OK(codec_compress(&codec, BECK_CODEC_GZIP, beck_str("one "), &two, &err));
    OK(codec_compress(&codec, BECK_CODEC_GZIP, beck_str("two"), &two, &err));
    OK(unpack(BECK_CODEC_GZIP, buf_bytes(&two)));
    TEXT(buf_bytes(&plain), "one two");
    buf_release(&two);
}

static void output_that_fits_exactly_is_no_overflow(void **state)
{
    static uint8_t data[70000];

    (void)state;
    fill(data, sizeof data, 1, false);
    for (unsigned kind = BECK_CODEC_GZIP; kind <= BECK_CODEC_ZSTD; kind++) {
        beck_bytes in = pack((beck_codec)kind, bytes_of(data, sizeof data));

        buf_release(&plain);
        buf_init(&plain, sizeof data);
        OK(unpack((beck_codec)kind, in));
        assert_int_equal(plain.len, sizeof data);
        buf_release(&plain);
        buf_init(&plain, sizeof data - 1);
        FAILS(unpack((beck_codec)kind, in), BECK_ELIMIT, "69999", codec_name((beck_codec)kind));
        assert_int_equal(plain.len, 0);
    }
}

static void a_bomb_is_stopped_at_the_ceiling(void **state)
{
    uint8_t *zeros = calloc(1, 8u << 20);

    (void)state;
    assert_non_null(zeros);
    buf_release(&plain);
    buf_init(&plain, 1u << 20);
    for (unsigned kind = BECK_CODEC_GZIP; kind <= BECK_CODEC_ZSTD; kind++)
        FAILS(unpack((beck_codec)kind, pack((beck_codec)kind, bytes_of(zeros, 8u << 20))),
              BECK_ELIMIT, "1048576");
    free(zeros);
}

static void compressed_output_obeys_its_ceiling(void **state)
{
    static uint8_t noise[100000];
    struct buf small;

    (void)state;
    fill(noise, sizeof noise, 5, true);
    for (unsigned kind = BECK_CODEC_GZIP; kind <= BECK_CODEC_ZSTD; kind++) {
        buf_init(&small, 90000);
        FAILS(codec_compress(&codec, (beck_codec)kind, bytes_of(noise, sizeof noise), &small, &err),
              BECK_ELIMIT, "90000");
        assert_int_equal(small.len, 0);
        buf_release(&small);
    }
}

/* Reads a copy of exactly the length, so that a sanitizer sees a step outside. */
static beck_status unpack_copy(beck_codec kind, const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    beck_status st;

    assert_non_null(copy);
    memcpy(copy, bytes, len);
    st = unpack(kind, bytes_of(copy, len));
    if (st != BECK_OK) {
        assert_true(st == BECK_ECORRUPT || st == BECK_ELIMIT);
        assert_int_equal(plain.len, 0);
    }
    free(copy);
    return st;
}

static void truncated_input_is_refused(void **state)
{
    static uint8_t data[5000];

    (void)state;
    fill(data, sizeof data, 1, false);
    fill(data + 2000, 500, 2, true);
    for (unsigned kind = BECK_CODEC_GZIP; kind <= BECK_CODEC_ZSTD; kind++) {
        beck_bytes in = pack((beck_codec)kind, bytes_of(data, sizeof data));

        for (size_t len = 0; len < in.len; len++) {
            /* The snappy frame has no end: nothing shows that whole blocks are missing. */
            if (kind == BECK_CODEC_SNAPPY && len == 16)
                continue;
            assert_int_equal(unpack_copy((beck_codec)kind, in.data, len), BECK_ECORRUPT);
        }
    }
}

static void flipped_bits_never_lead_outside(void **state)
{
    static uint8_t data[3000];
    uint8_t copy[4000];

    (void)state;
    fill(data, sizeof data, 1, false);
    fill(data + 1000, 300, 2, true);
    for (unsigned kind = BECK_CODEC_GZIP; kind <= BECK_CODEC_ZSTD; kind++) {
        beck_bytes in = pack((beck_codec)kind, bytes_of(data, sizeof data));
        size_t refused = 0;

        memcpy(copy, in.data, in.len);
        for (size_t bit = 0; bit < in.len * 8; bit++) {
            copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
            refused += unpack_copy((beck_codec)kind, copy, in.len) != BECK_OK;
            copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        assert_true(refused > 0);
        /* The contexts are still good. */
        assert_int_equal(unpack_copy((beck_codec)kind, copy, in.len), BECK_OK);
        assert_memory_equal(plain.data, data, sizeof data);
    }
}

static void blocks_that_promise_too_much_take_no_memory(void **state)
{
    (void)state;
    /* A raw snappy block of seven bytes that says it becomes 4 GiB - 1, or 1 MiB. */
    FAILS(unpack(BECK_CODEC_SNAPPY, bytes_of("\xff\xff\xff\xff\x0f\x00x", 7)), BECK_ECORRUPT,
          "as large as it says");
    FAILS(unpack(BECK_CODEC_SNAPPY, bytes_of("\x80\x80\x40\x00x", 5)), BECK_ECORRUPT,
          "as large as it says");
    assert_int_equal(plain.cap, 0);
}

static void unknown_codecs_are_refused(void **state)
{
    (void)state;
    FAILS(codec_compress(&codec, (beck_codec)5, beck_str("x"), &packed, &err), BECK_EINVAL, "5");
    FAILS(codec_decompress(&codec, (beck_codec)7, beck_str("x"), &plain, &err), BECK_EINVAL, "7");
    assert_string_equal(codec_name(BECK_CODEC_NONE), "none");
    assert_string_equal(codec_name(BECK_CODEC_ZSTD), "zstd");
    assert_string_equal(codec_name((beck_codec)9), "unknown");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_size_comes_back),
        TEST(both_directions_append),
        TEST(snappy_is_written_in_javas_frame_and_read_without_it),
        TEST(lz4_is_a_frame_with_independent_blocks),
        TEST(gzip_members_may_follow_each_other),
        TEST(output_that_fits_exactly_is_no_overflow),
        TEST(a_bomb_is_stopped_at_the_ceiling),
        TEST(compressed_output_obeys_its_ceiling),
        TEST(truncated_input_is_refused),
        TEST(flipped_bits_never_lead_outside),
        TEST(blocks_that_promise_too_much_take_no_memory),
        TEST(unknown_codecs_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
