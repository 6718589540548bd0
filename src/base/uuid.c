/*
 * Version 7 carries the milliseconds, then 12 bits of the fraction of the millisecond (RFC 9562
 * section 6.2, method 3), so that ids made 250 ns apart are in order, then 62 random bits.
 */
#include "base/uuid.h"
#include "base/bytes.h"

#define NS_PER_MS 1000000

void uuid_v7(struct clock *clock, struct rng *rng, uint8_t out[16])
{
    uint64_t ns = (uint64_t)clock_wall_ns(clock);
    uint64_t ms = ns / NS_PER_MS;
    uint64_t fraction = (ns % NS_PER_MS) * 4096 / NS_PER_MS;
    put_u64(out, ms << 16 | fraction);
    put_u64(out + 8, rng_next(rng));
    out[6] = (uint8_t)((out[6] & 0x0f) | 7 << 4);
    out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

/* ---- text ---- */

void uuid_text(const uint8_t uuid[16], char out[UUID_TEXT_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *out++ = '-';
        *out++ = digits[uuid[i] >> 4];
        *out++ = digits[uuid[i] & 15];
    }
    *out = '\0';
}

void uuid_base64(const uint8_t uuid[16], char out[23])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (int i = 0; i < 15; i += 3) {
        uint32_t group = (uint32_t)uuid[i] << 16 | (uint32_t)uuid[i + 1] << 8 | uuid[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            *out++ = digits[group >> shift & 63];
    }
    *out++ = digits[uuid[15] >> 2];
    *out++ = digits[(uuid[15] & 3) << 4];
    *out = '\0';
}
