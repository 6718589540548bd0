/*
 * Slices and growable buffers.
 *
 * A slice (beck_bytes) borrows. A buffer owns, and never grows beyond the ceiling that it was
 * given: an append that would is refused with BECK_ELIMIT (BECK_ENOMEM when memory is short) and
 * leaves it as it was. Invariant: data is valid for cap bytes (and one for a NUL), len <= cap <=
 * max.
 */
#ifndef BECK_BASE_BYTES_H
#define BECK_BASE_BYTES_H

#include <beck.h>
#include <string.h>

static inline beck_bytes bytes_of(const void *data, size_t len)
{
    return (beck_bytes){data, len};
}

static inline bool bytes_equal(beck_bytes a, beck_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline uint64_t load_u64(const void *p) /* in the order of this machine */
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store_u64(void *p, uint64_t v)
{
    memcpy(p, &v, sizeof v);
}

/* memcmp() == 0 without the call: for short ones. */
static inline bool bytes_same(const uint8_t *a, const uint8_t *b, size_t len)
{
    if (__builtin_expect(len < 8, false)) {
        for (size_t i = 0; i < len; i++) {
            if (a[i] != b[i])
                return false;
        }
        return true;
    }
    if (__builtin_expect(load_u64(a + len - 8) != load_u64(b + len - 8), false))
        return false;
    size_t i = 0;
    do {
        if (__builtin_expect(load_u64(a + i) != load_u64(b + i), false))
            return false;
        i += 8;
    } while (__builtin_expect(i + 8 < len, false));
    return true;
}

/* Copies to *at, and moves that behind the copy. */
static inline beck_bytes bytes_put(uint8_t **at, beck_bytes from)
{
    beck_bytes copy = bytes_of(*at, from.len);
    if (from.len > 0)
        memcpy(*at, from.data, from.len);
    *at += from.len;
    return copy;
}

bool bytes_equal_text(beck_bytes a, const char *text);
/* < 0, 0, > 0; a prefix comes first. */
int bytes_compare(beck_bytes a, beck_bytes b);
/* 64-bit hash, for tables only: never stored. Short keys take a few nanoseconds. With a seed that is
 * not known outside, keys that meet cannot be chosen from there. */
uint64_t bytes_hash(const void *data, size_t len, uint64_t seed);
bool bytes_is_utf8(beck_bytes b);
/* Decimal without sign, space or overflow; false otherwise. */
bool bytes_to_u64(beck_bytes b, uint64_t *out);

struct buf {
    uint8_t *data;
    size_t len, cap, max;
};

void buf_init(struct buf *b, size_t max);
void buf_release(struct buf *b); /* may be used again: as after init with the same max */
static inline void buf_clear(struct buf *b)
{
    b->len = 0;
}
/* Room for n more bytes behind len. */
beck_status buf_reserve(struct buf *b, size_t n);
beck_status buf_append(struct buf *b, const void *data, size_t n);
beck_status buf_append_byte(struct buf *b, uint8_t byte);
beck_status buf_append_text(struct buf *b, const char *text);
beck_status buf_printf(struct buf *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A NUL behind len, not counted in it nor in max, so that data can be used as text. */
beck_status buf_terminate(struct buf *b);
static inline beck_bytes buf_bytes(const struct buf *b)
{
    return (beck_bytes){b->data, b->len};
}

/* Big-endian numbers, as Kafka's formats have them. */
static inline uint16_t get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}
static inline uint32_t get_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}
static inline uint64_t get_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return __builtin_bswap64(v);
}
static inline void put_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline void put_u32(uint8_t *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, 4);
}
static inline void put_u64(uint8_t *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, 8);
}

#endif
