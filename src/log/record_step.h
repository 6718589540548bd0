/*
 * The short way to write a record: most are like the one before. Inlined into the builder of batches.
 */
#ifndef BECK_LOG_RECORD_STEP_H
#define BECK_LOG_RECORD_STEP_H

#include "event/plain.h"
#include "log/record.h"

/* Whether the record's timestamp alone would lose something of the event's time. */
static inline bool record_keeps_time(const beck_event *e)
{
    return e->time_ns != 0 && (e->time_ns < 0 || e->time_ns % 1000000 != 0);
}

/* Whether the event's only header is its type, and the last one's the same. */
static inline bool record_is_alike(const struct buf *out, const struct record_last *last,
                                   const beck_event *e)
{
    return last->len > 0 && last->type_len == e->type.len && plain_attributes(e) &&
           !record_keeps_time(e) &&
           bytes_same(out->data + last->at + last->len - e->type.len, e->type.data, e->type.len);
}

#define RECORD_BEYOND 8 /* bytes that the short way may write behind the record */

/* Copies eight bytes at a time. */
static inline void record_copy_short(uint8_t *to, const uint8_t *from, size_t len)
{
    for (size_t i = 0; i < len; i += RECORD_BEYOND)
        store_u64(to + i, load_u64(from + i));
}

/* record_write, for an event that is like the last one and has the same lengths: false where it has not. */
static inline bool record_write_step(struct buf *out, struct record_last *last, const beck_event *e,
                                     int64_t timestamp_delta, int64_t offset_delta)
{
    const struct record_shape *s = &last->shape;
    uint8_t *p = out->data + out->len;
    const uint8_t *before = p - s->len;
    uint64_t front;
    if (s->len == 0 || !record_is_alike(out, last, e) ||
        out->cap - out->len < s->len + RECORD_BEYOND || e->subject.len != last->key_len ||
        e->data.len != last->value_len || (e->data.data != NULL) != last->has_value ||
        timestamp_delta != last->timestamp_delta || offset_delta != last->offset_delta + 1 ||
        !record_shape_next(s, before, &front))
        return false;
    /* From the front on: what is copied too long is written over. */
    store_u64(p, front);
    if (e->subject.len > 0)
        memcpy(p + s->key_end - e->subject.len, e->subject.data, e->subject.len);
    store_u64(p + s->key_end, load_u64(before + s->key_end));
    if (e->data.data != NULL)
        memcpy(p + s->len - last->len - e->data.len, e->data.data, e->data.len);
    record_copy_short(p + s->len - last->len, before + s->len - last->len, last->len);
    last->at += s->len;
    last->offset_delta = offset_delta;
    out->len += s->len;
    return true;
}

#endif
