/*
 * How a record lies in its bytes. Neighbours mostly have the same lengths, and differ by their offset,
 * key and value only: then the next one is read, or written, by what is known of the one before.
 */
#ifndef BECK_LOG_RECORD_SHAPE_H
#define BECK_LOG_RECORD_SHAPE_H

#include "base/bytes.h"

struct record_shape {
    uint32_t len;     /* of the whole record; 0: none to go by */
    uint32_t key_end; /* where the length of the value begins */
    uint64_t front,
        length;          /* masks: of what lies in front of the key; of the length of the value */
    uint64_t step;       /* what the next offset adds to the front */
    uint8_t delta_shift; /* of the offset's lowest bits, in the front */
};

static inline uint64_t record_shape_mask(size_t bytes)
{
    return bytes < 8 ? ((uint64_t)1 << 8 * bytes) - 1 : UINT64_MAX;
}

/* delta_at: of the offset's varint; length_len: of the varint of the value's length. Both lengths are looked at with the
 * eight bytes that they begin. */
static inline void record_shape_note(struct record_shape *s, size_t len, size_t delta_at,
                                     size_t key_len, size_t key_end, size_t length_len)
{
    size_t front = key_end - key_len;
    s->len = 0;
    if (front > 8 || len < key_end + 8 || len > UINT32_MAX)
        return;
    s->len = (uint32_t)len;
    s->key_end = (uint32_t)key_end;
    s->front = record_shape_mask(front);
    s->length = record_shape_mask(length_len);
    s->delta_shift = (uint8_t)(8 * delta_at);
    s->step = (uint64_t)2 << s->delta_shift; /* it is folded */
}

/* The front of the next record; false: more of its bytes change than the offset's lowest seven bits. */
static inline bool record_shape_next(const struct record_shape *s, const uint8_t *before,
                                     uint64_t *front)
{
    uint64_t was = load_u64(before);
    *front = was + s->step;
    return (was >> s->delta_shift & 0x7e) != 0x7e;
}

/* Whether the record at p, of which all bytes that the shape says are there, is the next one of the
 * same shape behind its neighbour. */
static inline bool record_shape_fits(const struct record_shape *s, const uint8_t *p)
{
    const uint8_t *before = p - s->len;
    uint64_t front;
    return record_shape_next(s, before, &front) && !((front ^ load_u64(p)) & s->front) &&
           !((load_u64(before + s->key_end) ^ load_u64(p + s->key_end)) & s->length);
}

#endif
