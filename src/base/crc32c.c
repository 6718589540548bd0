/*
 * CRC-32C: by the processor's instruction where there is one, by tables elsewhere.
 *
 * The instruction takes 8 bytes and has a latency of 3 cycles, but one can start in every cycle. So
 * a block is cut into three equal parts, whose remainders are computed side by side and then put
 * together: the remainder of a part that n more bytes follow is that remainder times x^(8n), modulo
 * the polynomial. That is one carry-less multiplication by a constant, and its 64-bit product is
 * reduced by the same instruction (which multiplies by x^32 more; the product of two reflected
 * numbers is one bit off: hence x^(8n-33) in the constants).
 */
#include "base/crc32c.h"
#include "base/crc32c_table.h"

#include <string.h>

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;
    crc = ~crc;
    for (; len >= 8; len -= 8, p += 8) {
        uint64_t v = load64(p) ^ crc;
        crc = crc32c_table[7][v & 255] ^ crc32c_table[6][v >> 8 & 255] ^
              crc32c_table[5][v >> 16 & 255] ^ crc32c_table[4][v >> 24 & 255] ^
              crc32c_table[3][v >> 32 & 255] ^ crc32c_table[2][v >> 40 & 255] ^
              crc32c_table[1][v >> 48 & 255] ^ crc32c_table[0][v >> 56];
    }
    for (; len > 0; len--, p++)
        crc = crc >> 8 ^ crc32c_table[0][(crc ^ *p) & 255];
    return ~crc;
}

#if defined(__x86_64__)

#include <immintrin.h>

#define HARDWARE __attribute__((target("sse4.2,pclmul")))

/* x^(8n-33) modulo the polynomial, reflected, for one and two following parts of n bytes. */
struct shift {
    size_t part_len;
    uint32_t once, twice;
};
static const struct shift shift_long = {1024, 0x170076fa, 0xa51b6135};
static const struct shift shift_middle = {256, 0xb9e02b86, 0xdd7e3b0c};
static const struct shift shift_short = {32, 0xba4fc28e, 0x9e4addf8};

HARDWARE static inline uint64_t multiply(uint64_t remainder, uint32_t by)
{
    __m128i product =
        _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)remainder), _mm_cvtsi64_si128(by), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

HARDWARE static inline uint64_t three_parts(uint64_t a, const uint8_t *p, const struct shift *s)
{
    uint64_t b = 0, c = 0;
    size_t n = s->part_len;
    for (size_t i = 0; i < n; i += 8) {
        a = _mm_crc32_u64(a, load64(p + i));
        b = _mm_crc32_u64(b, load64(p + n + i));
        c = _mm_crc32_u64(c, load64(p + n + n + i));
    }
    return _mm_crc32_u64(0, multiply(a, s->twice) ^ multiply(b, s->once)) ^ c;
}

HARDWARE static uint32_t crc32c_hardware(uint32_t crc, const uint8_t *p, size_t len)
{
    uint64_t c = ~crc;
    for (; len >= 3 * 1024; len -= 3 * 1024, p += 3 * 1024)
        c = three_parts(c, p, &shift_long);
    for (; len >= 3 * 256; len -= 3 * 256, p += 3 * 256)
        c = three_parts(c, p, &shift_middle);
    for (; len >= 3 * 32; len -= 3 * 32, p += 3 * 32)
        c = three_parts(c, p, &shift_short);
    for (; len >= 8; len -= 8, p += 8)
        c = _mm_crc32_u64(c, load64(p));
    uint32_t last = (uint32_t)c;
    if ((len & 4) != 0) {
        uint32_t v;
        memcpy(&v, p, 4);
        last = _mm_crc32_u32(last, v);
        p += 4;
    }
    for (len &= 3; len > 0; len--, p++)
        last = _mm_crc32_u8(last, *p);
    return ~last;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
        return crc32c_hardware(crc, data, len);
    return crc32c_portable(crc, data, len);
}

#else

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    return crc32c_portable(crc, data, len);
}

#endif
