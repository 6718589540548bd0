#include "log/varint.h"

size_t varint_write(uint8_t *p, int64_t value)
{
    return (size_t)(varint_put(p, value) - p);
}

size_t varint_read(const uint8_t *p, const uint8_t *end, int64_t *value)
{
    uint64_t v = 0;
    size_t n = end - p < VARINT_MAX ? (size_t)(end - p) : VARINT_MAX;
    for (size_t i = 0; i < n; i++) {
        v |= (uint64_t)(p[i] & 0x7f) << (7 * i);
        if (p[i] < 0x80) {
            if (i == VARINT_MAX - 1 && p[i] > 1)
                return 0; /* more than 64 bits */
            *value = varint_unfold(v);
            return i + 1;
        }
    }
    return 0;
}
