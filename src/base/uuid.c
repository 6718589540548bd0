/*
 * UUIDs: version 7 from the clock and random numbers, version 5 from a name.
 *
 * Version 7 carries the milliseconds, then 12 bits of the fraction of the millisecond (RFC 9562
 * section 6.2, method 3), so that ids made 250 ns apart are in order, then 62 random bits.
 *
 * SHA-1 is here for version 5 only, which the RFC defines with it; it protects nothing.
 */
#include "base/uuid.h"
#include "base/bytes.h"

#define NS_PER_MS 1000000

static void mark(uint8_t uuid[16], uint8_t version)
{
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | version << 4);
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

void uuid_v7(struct clock *clock, struct rng *rng, uint8_t out[16])
{
    uint64_t ns = (uint64_t)clock_wall_ns(clock);
    uint64_t ms = ns / NS_PER_MS;
    uint64_t fraction = (ns % NS_PER_MS) * 4096 / NS_PER_MS;
    put_u64(out, ms << 16 | fraction);
    put_u64(out + 8, rng_next(rng));
    mark(out, 7);
}

/* ---- SHA-1 (FIPS 180-4) ---- */

struct sha1 {
    uint32_t h[5];
    uint64_t len;
    uint8_t block[64];
};

static uint32_t rotate(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

static void sha1_block(struct sha1 *s)
{
    uint32_t w[80];
    for (int i = 0; i < 16; i++)
        w[i] = get_u32(s->block + 4 * i);
    for (int i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = s->h[0], b = s->h[1], c = s->h[2], d = s->h[3], e = s->h[4];
    for (int i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20) {
            f = (b & c) | (~b & d);
            k = 0x5a827999;
        } else if (i < 40) {
            f = b ^ c ^ d;
            k = 0x6ed9eba1;
        } else if (i < 60) {
            f = (b & c) | (b & d) | (c & d);
            k = 0x8f1bbcdc;
        } else {
            f = b ^ c ^ d;
            k = 0xca62c1d6;
        }
        uint32_t next = rotate(a, 5) + f + e + k + w[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    s->h[0] += a;
    s->h[1] += b;
    s->h[2] += c;
    s->h[3] += d;
    s->h[4] += e;
}

static void sha1_add(struct sha1 *s, const uint8_t *data, size_t len)
{
    while (len > 0) {
        size_t at = (size_t)(s->len % 64);
        size_t piece = 64 - at < len ? 64 - at : len;
        memcpy(s->block + at, data, piece);
        s->len += piece;
        data += piece;
        len -= piece;
        if (at + piece == 64)
            sha1_block(s);
    }
}

static void sha1_end(struct sha1 *s, uint8_t out[20])
{
    static const uint8_t padding[64] = {0x80};
    uint8_t bits[8];
    put_u64(bits, s->len * 8);
    sha1_add(s, padding, 1 + (size_t)((119 - s->len % 64) % 64));
    sha1_add(s, bits, 8);
    for (int i = 0; i < 5; i++)
        put_u32(out + 4 * i, s->h[i]);
}

void uuid_v5_url(const void *name, size_t len, uint8_t out[16])
{
    /* The URL namespace: 6ba7b811-9dad-11d1-80b4-00c04fd430c8. */
    static const uint8_t space[16] = {0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1,
                                      0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8};
    struct sha1 s = {.h = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}};
    uint8_t digest[20];
    sha1_add(&s, space, sizeof space);
    sha1_add(&s, name, len);
    sha1_end(&s, digest);
    memcpy(out, digest, 16);
    mark(out, 5);
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
