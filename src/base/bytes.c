/* Slices and growable buffers. A buffer holds one byte more than its capacity, so that a NUL fits
 * behind a full one: buf_printf and buf_terminate then need no room of their own. */
#include "base/bytes.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define CAP_MIN 64

beck_bytes beck_str(const char *text)
{
    return text == NULL ? (beck_bytes){NULL, 0} : (beck_bytes){text, strlen(text)};
}

bool bytes_equal_text(beck_bytes a, const char *text)
{
    return bytes_equal(a, beck_str(text));
}

int bytes_compare(beck_bytes a, beck_bytes b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter == 0 ? 0 : memcmp(a.data, b.data, shorter);
    if (order != 0)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

/* ---- hash: 16 bytes at a time through a 64x64 -> 128 bit multiplication, its halves folded ---- */

#define MIX_A UINT64_C(0x9e3779b97f4a7c15)
#define MIX_B UINT64_C(0xd1b54a32d192ed03)
#define MIX_C UINT64_C(0x8bb84b93962eacc9)

static inline uint64_t fold(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 u128;
    u128 product = (u128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

uint64_t bytes_hash(const void *data, size_t len, uint64_t seed)
{
    const uint8_t *p = data;
    /* A block that makes a factor zero takes the other away, and the seed with it: both factors
     * depend on the seed, so that nobody knows one. */
    uint64_t h = seed ^ MIX_A, key = fold(h, MIX_B);
    uint64_t a = 0, b = 0;
    if (len > 16) {
        for (size_t left = len; left > 16; left -= 16, p += 16)
            h = fold(load_u64(p) ^ key, load_u64(p + 8) ^ h);
        /* The last 16 bytes, which may overlap those just read. */
        const uint8_t *tail = (const uint8_t *)data + len - 16;
        a = load_u64(tail);
        b = load_u64(tail + 8);
    } else if (len >= 8) {
        a = load_u64(p);
        b = load_u64(p + len - 8);
    } else if (len >= 4) {
        a = load32(p);
        b = load32(p + len - 4);
    } else if (len > 0) {
        a = (uint64_t)p[0] << 16 | (uint64_t)p[len / 2] << 8 | p[len - 1];
    }
    return fold(fold(a ^ key, b ^ h) ^ MIX_A, len ^ MIX_C);
}

/* ---- text ---- */

/* Length of the UTF-8 sequence at p with `left` bytes, 0 when it is none (RFC 3629: no overlong
 * forms, no surrogates, nothing beyond U+10FFFF). */
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
    uint8_t lead = p[0];
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    size_t len = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (left < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((lead == 0xe0 && p[1] < 0xa0) || (lead == 0xed && p[1] > 0x9f) ||
        (lead == 0xf0 && p[1] < 0x90) || (lead == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

bool bytes_is_utf8(beck_bytes b)
{
    const uint8_t *p = b.data;
    size_t i = 0;
    while (i < b.len) {
        if (b.len - i >= 8 && (load_u64(p + i) & UINT64_C(0x8080808080808080)) == 0) {
            i += 8;
            continue;
        }
        size_t n = utf8_sequence(p + i, b.len - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

bool bytes_to_u64(beck_bytes b, uint64_t *out)
{
    const uint8_t *p = b.data;
    uint64_t value = 0;
    if (b.len == 0)
        return false;
    for (size_t i = 0; i < b.len; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(p[i] - '0'), &value))
            return false;
    }
    *out = value;
    return true;
}

/* ---- buffers ---- */

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_release(struct buf *b)
{
    free(b->data);
    buf_init(b, b->max);
}

static beck_status grow(struct buf *b, size_t need)
{
    size_t cap = b->cap < CAP_MIN ? CAP_MIN : b->cap;
    while (cap < need && cap <= SIZE_MAX / 2)
        cap *= 2;
    if (cap < need)
        cap = need;
    if (cap > b->max)
        cap = b->max;
    if (cap == SIZE_MAX)
        return BECK_ENOMEM;
    uint8_t *data = realloc(b->data, cap + 1);
    if (data == NULL)
        return BECK_ENOMEM;
    b->data = data;
    b->cap = cap;
    return BECK_OK;
}

beck_status buf_reserve(struct buf *b, size_t n)
{
    assert(b->len <= b->cap && b->cap <= b->max);
    if (n <= b->cap - b->len)
        return BECK_OK;
    if (n > b->max - b->len)
        return BECK_ELIMIT;
    return grow(b, b->len + n);
}

beck_status buf_append(struct buf *b, const void *data, size_t n)
{
    if (n == 0)
        return BECK_OK;
    if (n > b->cap - b->len) {
        beck_status status = buf_reserve(b, n);
        if (status != BECK_OK)
            return status;
    }
    memcpy(b->data + b->len, data, n);
    b->len += n;
    return BECK_OK;
}

beck_status buf_append_byte(struct buf *b, uint8_t byte)
{
    if (b->len == b->cap) {
        beck_status status = buf_reserve(b, 1);
        if (status != BECK_OK)
            return status;
    }
    b->data[b->len++] = byte;
    return BECK_OK;
}

beck_status buf_append_text(struct buf *b, const char *text)
{
    return buf_append(b, text, strlen(text));
}

beck_status buf_printf(struct buf *b, const char *format, ...)
{
    /* The first try goes into the room there is; only a text that does not fit is made twice. */
    size_t room = b->data == NULL ? 0 : b->cap - b->len + 1;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(room == 0 ? NULL : (char *)b->data + b->len, room, format, args);
    va_end(args);
    if (n < 0)
        return BECK_EINVAL;
    size_t len = (size_t)n;
    if (len >= room && len > 0) {
        beck_status status = buf_reserve(b, len);
        if (status != BECK_OK)
            return status;
        va_start(args, format);
        n = vsnprintf((char *)b->data + b->len, len + 1, format, args);
        va_end(args);
        assert((size_t)n == len);
    }
    b->len += len;
    return BECK_OK;
}

beck_status buf_terminate(struct buf *b)
{
    if (b->data == NULL) {
        beck_status status = grow(b, 0);
        if (status != BECK_OK)
            return status;
    }
    b->data[b->len] = '\0';
    return BECK_OK;
}
