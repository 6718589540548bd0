/* Zig-zag varints, as records have them: seven bits a byte, the lowest first. */
#ifndef BECK_LOG_VARINT_H
#define BECK_LOG_VARINT_H

#include <beck.h>
#include <stdbool.h>

#define VARINT_MAX 10 /* bytes of an int64 */

/* Write: returns the length. Read: 0 when the bytes end early or are too long. */
size_t varint_write(uint8_t *p, int64_t value);
size_t varint_read(const uint8_t *p, const uint8_t *end, int64_t *value);

static inline uint64_t varint_fold(int64_t v)
{
    return ((uint64_t)v << 1) ^ (v < 0 ? UINT64_MAX : 0);
}

static inline int64_t varint_unfold(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static inline size_t varint_size(int64_t value)
{
    uint64_t v = varint_fold(value);
    return v < 0x80 ? 1 : v < 0x4000 ? 2 : (size_t)(63 - __builtin_clzll(v)) / 7 + 1;
}

/* Returns where it ends. */
static inline uint8_t *varint_put(uint8_t *p, int64_t value)
{
    uint64_t v = varint_fold(value);
    while (__builtin_expect(v >= 0x80, false)) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

/* Moves *p behind the varint, and gives it as it is folded; false: there is none. Mostly it is one
 * byte or two. */
static inline __attribute__((always_inline)) bool varint_take_folded(const uint8_t **p,
                                                                     const uint8_t *end,
                                                                     uint64_t *folded)
{
    const uint8_t *q = *p;
    if (end - q >= 2) {
        if (q[0] < 0x80) {
            *folded = q[0];
            *p = q + 1;
            return true;
        }
        if (q[1] < 0x80) {
            *folded = (uint64_t)(q[0] & 0x7f) | (uint64_t)q[1] << 7;
            *p = q + 2;
            return true;
        }
    }
    int64_t value;
    size_t n = varint_read(q, end, &value);
    if (n == 0)
        return false;
    *folded = varint_fold(value);
    *p = q + n;
    return true;
}

static inline bool varint_take(const uint8_t **p, const uint8_t *end, int64_t *value)
{
    uint64_t folded;
    if (!varint_take_folded(p, end, &folded))
        return false;
    *value = varint_unfold(folded);
    return true;
}

/* One that may not be negative. */
static inline bool varint_take_size(const uint8_t **p, const uint8_t *end, uint64_t *value)
{
    uint64_t folded;
    if (!varint_take_folded(p, end, &folded) || (folded & 1))
        return false;
    *value = folded >> 1;
    return true;
}

#endif
