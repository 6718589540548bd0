/* UTF-8, one character at a time (RFC 3629: no overlong forms, no surrogates, up to U+10FFFF). */
#ifndef BECK_EVENT_UTF8_H
#define BECK_EVENT_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The length of the character at p, which is before end; 0: the bytes are none. `*point` is set
 * when it is one. */
static inline size_t utf8_read(const uint8_t *p, const uint8_t *end, uint32_t *point)
{
    size_t left = (size_t)(end - p);
    uint8_t c = p[0];
    if (c < 0x80) {
        *point = c;
        return 1;
    }
    size_t len = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    if (c < 0xC2 || c > 0xF4 || left < len) {
        return 0;
    }
    uint32_t value = c & (0xFFU >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80) {
            return 0;
        }
        value = value << 6 | (p[i] & 0x3FU);
    }
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < least[len] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
        return 0;
    }
    *point = value;
    return len;
}

/* Writes the character; at most 4 bytes. The point is no surrogate and at most U+10FFFF. */
static inline size_t utf8_put(uint32_t point, uint8_t *out)
{
    if (point < 0x80) {
        out[0] = (uint8_t)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (uint8_t)(0xC0 | point >> 6);
        out[1] = (uint8_t)(0x80 | (point & 0x3F));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (uint8_t)(0xE0 | point >> 12);
        out[1] = (uint8_t)(0x80 | (point >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (point & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | point >> 18);
    out[1] = (uint8_t)(0x80 | (point >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (point >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (point & 0x3F));
    return 4;
}

#endif
