/*
 * The fields of a record in front of its headers, and the glance that is enough for most records:
 * neighbours mostly have the same headers, so that only these fields differ. Inlined into cursors.
 */
#ifndef BECK_LOG_RECORD_FIELDS_H
#define BECK_LOG_RECORD_FIELDS_H

#include "event/time.h"
#include "log/record.h"
#include "log/record_shape.h"
#include "log/varint.h"

struct record_fields {
    const uint8_t *delta, *key_end;       /* the offset's; behind the key */
    const uint8_t *count, *headers, *end; /* number of headers; the first; behind the record */
    int64_t timestamp_delta, offset_delta, header_count;
    beck_bytes key, value;
};

/* Bytes with their length in front, which is -1 for `nullable` ones that are NULL. */
static inline __attribute__((always_inline)) bool record_take_bytes(const uint8_t **p,
                                                                    const uint8_t *end,
                                                                    bool nullable, beck_bytes *out)
{
    uint64_t folded;
    if (!varint_take_folded(p, end, &folded))
        return false;
    if (folded & 1) {
        *out = (beck_bytes){NULL, 0};
        return nullable && folded == 1;
    }
    if (folded >> 1 > (uint64_t)(end - *p))
        return false;
    *out = bytes_of(*p, folded >> 1);
    *p += folded >> 1;
    return true;
}

/* NULL, or what is wrong. */
static inline __attribute__((always_inline)) const char *record_fields_read(beck_bytes records,
                                                                            size_t at,
                                                                            struct record_fields *f)
{
    const uint8_t *p = (const uint8_t *)records.data + at;
    const uint8_t *end = (const uint8_t *)records.data + records.len;
    uint64_t len, offset_delta, header_count;
    if (!varint_take_folded(&p, end, &len))
        return "its length is cut off";
    if (len < 2 || (len & 1) || len >> 1 > (uint64_t)(end - p))
        return "its length passes the end of the batch";
    end = p + (len >> 1);
    p++; /* attributes */
    if (!varint_take(&p, end, &f->timestamp_delta))
        return "its timestamp is cut off";
    f->delta = p;
    if (!varint_take_size(&p, end, &offset_delta) || offset_delta > INT32_MAX)
        return "its offset cannot be";
    f->offset_delta = (int64_t)offset_delta;
    if (!record_take_bytes(&p, end, true, &f->key))
        return "the length of its key does not fit";
    f->key_end = p;
    if (!record_take_bytes(&p, end, true, &f->value))
        return "the length of its value does not fit";
    f->count = p;
    /* A header is at least two bytes. */
    if (!varint_take_size(&p, end, &header_count) || 2 * header_count > (uint64_t)(end - p))
        return "the number of its headers does not fit";
    f->header_count = (int64_t)header_count;
    f->headers = p;
    f->end = end;
    return NULL;
}

/* Offset and timestamp; NULL or what is wrong. */
static inline const char *record_place(const struct record_fields *f, int64_t base_offset,
                                       int64_t base_timestamp_ms, int64_t *offset,
                                       int64_t *timestamp_ms)
{
    if (__builtin_add_overflow(base_offset, f->offset_delta, offset) || *offset < 0)
        return "its offset cannot be";
    if (__builtin_add_overflow(base_timestamp_ms, f->timestamp_delta, timestamp_ms))
        return "its timestamp cannot be";
    return NULL;
}

static inline beck_bytes record_headers_of(const struct record_fields *f)
{
    return bytes_of(f->count, (size_t)(f->end - f->count));
}

/* What differs between neighbours. */
static inline void record_view_fields(struct record_view *v, const struct record_context *c,
                                      const struct record_fields *f)
{
    beck_event *e = &v->event;
    v->key = f->key;
    v->value_is_null = f->value.data == NULL;
    e->subject = f->key;
    e->data = f->value;
    e->time_ns = v->timestamp_ms < 0 ? 0 : time_from_ms(v->timestamp_ms);
    e->position = (beck_position){c->partition, v->offset};
}

/* The id of the view's offset. */
void record_make_id(const struct record_context *c, struct record_view *v);

/* The same, where it was made for the record before, whose position the event still has: mostly only
 * the last digit differs. */
static inline void record_next_id(const struct record_context *c, struct record_view *v)
{
    char *last = v->id + v->event.id.len - 1;
    if (v->offset == v->event.position.offset + 1 && *last < '9')
        ++*last;
    else
        record_make_id(c, v);
}

/* Makes the view of one record that of the next, whose fields these are, where they say the same by
 * their headers, and offset and timestamp are those of the next already. */
static inline bool record_follow(struct record_view *v, const struct record_context *c,
                                 const struct record_fields *f)
{
    if (!v->repeats || !bytes_equal(v->headers, record_headers_of(f)))
        return false;
    record_next_id(c, v);
    record_view_fields(v, c, f);
    return true;
}

/* ---- records of one shape ---- */

/* Of a record that begins at `start`. */
static inline void record_shape_read(struct record_shape *s, const uint8_t *start,
                                     const struct record_fields *f)
{
    const uint8_t *value = f->value.data ? f->value.data : f->key_end + 1;
    record_shape_note(s, (size_t)(f->end - start), (size_t)(f->delta - start), f->key.len,
                      (size_t)(f->key_end - start), (size_t)(value - f->key_end));
}

/* Makes the view of one record that of the next, of the same shape; false: it has other headers. */
static inline bool record_step(struct record_view *v, const struct record_context *c,
                               const struct record_shape *s, const uint8_t *p)
{
    beck_event *e = &v->event;
    if (!v->repeats || !bytes_same(p + s->len - v->headers.len, v->headers.data, v->headers.len))
        return false;
    v->offset++;
    record_next_id(c, v);
    if (v->key.data)
        v->key.data = (const uint8_t *)v->key.data + s->len;
    if (e->data.data)
        e->data.data = (const uint8_t *)e->data.data + s->len;
    e->subject = v->key;
    e->position.offset = v->offset;
    return true;
}

#endif
