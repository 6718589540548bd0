/*
 * Events as records of a batch: writing. The table of a record's bytes is in record.h.
 *
 * The room that a record can need at most is known beforehand, so it is taken once and the fields are
 * written one behind the other without further checks; only the length in front has to be guessed,
 * and a wrong guess costs one memmove. Neighbours mostly have the same headers: these are copied as
 * a whole.
 */
#include "event/time.h"
#include "log/record_fields.h"
#include "log/record_step.h"

#include <assert.h>

#define LENGTH_MAX 5 /* varint of a size that fits an int32 */
/* Everything in front of the headers but key and value: length, attributes, two deltas, two
 * lengths, header count. */
#define FIXED_MAX (LENGTH_MAX + 1 + VARINT_MAX + VARINT_MAX + LENGTH_MAX + LENGTH_MAX + LENGTH_MAX)
#define FIXED_MIN 5 /* behind the length, as it mostly is, without the header count */

static inline size_t header_size(size_t name_len, size_t value_len)
{
    return 2 * LENGTH_MAX + name_len + value_len;
}

size_t record_size_max(const beck_event *e)
{
    size_t n = FIXED_MAX + e->subject.len + e->data.len;

    n += header_size(7, e->type.len);
    if (e->id.len > 0)
        n += header_size(5, e->id.len);
    if (e->source.len > 0)
        n += header_size(9, e->source.len);
    if (e->datacontenttype.len > 0)
        n += header_size(12, e->datacontenttype.len);
    if (e->dataschema.len > 0)
        n += header_size(13, e->dataschema.len);
    if (e->correlationid.len > 0)
        n += header_size(16, e->correlationid.len);
    if (e->causationid.len > 0)
        n += header_size(14, e->causationid.len);
    if (record_keeps_time(e))
        n += header_size(7, TIME_TEXT_MAX);
    if (e->deliver_at_ms != 0)
        n += header_size(15, TIME_TEXT_MAX);
    if (e->expires_at_ms != 0)
        n += header_size(13, TIME_TEXT_MAX);
    if (e->priority != 0)
        n += header_size(11, 10);
    for (size_t i = 0; i < e->extension_count; i++)
        n += header_size(3 + e->extensions[i].name.len, e->extensions[i].value.len);
    return n;
}

size_t record_carried_size_max(const struct carried *c)
{
    size_t n = 0;

    if (c->queues.data != NULL)
        n += header_size(sizeof RECORD_QUEUES_HEADER - 1, c->queues.len);
    if (c->content.len > 0)
        n += header_size(sizeof RECORD_CONTENT_HEADER - 1, c->content.len);
    return n;
}

bool carried_names(const struct carried *c, uint64_t number)
{
    uint8_t sought[8];
    const uint8_t *p = c->queues.data;

    put_u64(sought, number);
    for (size_t at = 0; at + 8 <= c->queues.len; at += 8) {
        if (memcmp(p + at, sought, 8) == 0)
            return true;
    }
    return false;
}

static inline uint8_t *put_bytes(uint8_t *p, beck_bytes b)
{
    p = varint_put(p, (int64_t)b.len);
    if (b.len > 0)
        memcpy(p, b.data, b.len);
    return p + b.len;
}

/* -1 when `absent`. */
static inline uint8_t *put_nullable(uint8_t *p, beck_bytes b, bool absent)
{
    if (absent) {
        *p = 1;
        return p + 1;
    }
    return put_bytes(p, b);
}

/* name_len is a constant below 64 wherever this is called: one byte of length, an inlined copy. */
static inline uint8_t *put_header(uint8_t *p, const char *name, size_t name_len, beck_bytes value)
{
    *p++ = (uint8_t)(name_len << 1);
    memcpy(p, name, name_len);
    return put_bytes(p + name_len, value);
}

#define PUT(p, name, value) put_header(p, name, sizeof(name) - 1, value)

static uint8_t *put_time(uint8_t *p, const char *name, size_t name_len, int64_t ns)
{
    char text[TIME_TEXT_MAX];

    return put_header(p, name, name_len, bytes_of(text, time_format(ns, text)));
}

static uint8_t *put_priority(uint8_t *p, uint32_t priority)
{
    char digits[10];
    size_t n = sizeof digits;

    do {
        digits[--n] = (char)('0' + priority % 10);
        priority /= 10;
    } while (priority > 0);
    return PUT(p, "ce_priority", bytes_of(digits + n, sizeof digits - n));
}

static uint8_t *put_rare_headers(uint8_t *p, const beck_event *e)
{
    if (e->dataschema.len > 0)
        p = PUT(p, "ce_dataschema", e->dataschema);
    if (record_keeps_time(e))
        p = put_time(p, "ce_time", 7, e->time_ns);
    if (e->deliver_at_ms != 0)
        p = put_time(p, "ce_deliverytime", 15, time_from_ms(e->deliver_at_ms));
    if (e->expires_at_ms != 0)
        p = put_time(p, "ce_expirytime", 13, time_from_ms(e->expires_at_ms));
    if (e->priority != 0)
        p = put_priority(p, e->priority);
    for (size_t i = 0; i < e->extension_count; i++) {
        beck_bytes name = e->extensions[i].name, value = e->extensions[i].value;

        p = varint_put(p, (int64_t)(3 + name.len));
        memcpy(p, "ce_", 3);
        memcpy(p + 3, name.data, name.len);
        p = put_nullable(p + 3 + name.len, value, value.data == NULL);
    }
    return p;
}

static uint8_t *put_carried(uint8_t *p, const struct carried *c)
{
    if (c->queues.data != NULL)
        p = PUT(p, RECORD_QUEUES_HEADER, c->queues);
    if (c->content.len > 0)
        p = PUT(p, RECORD_CONTENT_HEADER, c->content);
    return p;
}

static inline uint8_t *put_headers(uint8_t *p, const beck_event *e, const struct carried *c,
                                   beck_bytes bus)
{
    bool type = !bytes_equal(e->type, bus);
    size_t rare = (size_t)(e->dataschema.len > 0) + record_keeps_time(e) + (e->deliver_at_ms != 0) +
                  (e->expires_at_ms != 0) + (e->priority != 0) + e->extension_count;
    size_t count = rare + type + (e->id.len > 0) + (e->source.len > 0) +
                   (e->datacontenttype.len > 0) + (e->correlationid.len > 0) +
                   (e->causationid.len > 0);

    if (c != NULL)
        count += (size_t)(c->queues.data != NULL) + (c->content.len > 0);
    p = varint_put(p, (int64_t)count);
    if (type)
        p = PUT(p, "ce_type", e->type);
    if (e->id.len > 0)
        p = PUT(p, "ce_id", e->id);
    if (e->source.len > 0)
        p = PUT(p, "ce_source", e->source);
    if (e->datacontenttype.len > 0)
        p = PUT(p, "content-type", e->datacontenttype);
    if (e->correlationid.len > 0)
        p = PUT(p, "ce_correlationid", e->correlationid);
    if (e->causationid.len > 0)
        p = PUT(p, "ce_causationid", e->causationid);
    if (c != NULL)
        p = put_carried(p, c);
    return rare > 0 ? put_rare_headers(p, e) : p;
}

/* Of the record that ends the buffer. */
static void note_headers(struct record_last *last, const struct buf *out, const beck_event *e,
                         const struct carried *carried, beck_bytes bus)
{
    last->len = 0;
    if (carried || !plain_attributes(e) || record_keeps_time(e) || bytes_equal(e->type, bus))
        return;
    last->type_len = e->type.len;
    last->len = 1 + 1 + strlen("ce_type") + varint_size((int64_t)e->type.len) + e->type.len;
    last->at = out->len - last->len;
}

/* The headers of the last one, which this one has too. */
static uint8_t *put_alike(uint8_t *p, const struct buf *out, struct record_last *last)
{
    memcpy(p, out->data + last->at, last->len);
    last->at = (size_t)(p - out->data);
    return p + last->len;
}

/* How the record of `len` bytes lies that was just written. */
static void note_shape(struct record_last *last, const beck_event *e, size_t len,
                       int64_t timestamp_delta, int64_t offset_delta)
{
    last->key_len = e->subject.len;
    last->value_len = e->data.len;
    last->has_value = e->data.data != NULL;
    last->timestamp_delta = timestamp_delta;
    last->offset_delta = offset_delta;
    size_t length_len = last->has_value ? varint_size((int64_t)e->data.len) : 1;
    size_t key_end = len - last->len - e->data.len - length_len;
    size_t key_length_len = e->subject.len > 0 ? varint_size((int64_t)e->subject.len) : 1;
    size_t delta_at = key_end - e->subject.len - key_length_len - varint_size(offset_delta);
    record_shape_note(&last->shape, len, delta_at, e->subject.len, key_end, length_len);
}

beck_status record_write(struct buf *out, struct record_last *last, const beck_event *e,
                         const struct carried *carried, beck_bytes bus, int64_t timestamp_delta,
                         int64_t offset_delta)
{
    bool alike = !carried && record_is_alike(out, last, e);
    size_t max = alike ? FIXED_MAX + e->subject.len + e->data.len + last->len
                       : record_size_max(e) + (carried ? record_carried_size_max(carried) : 0);
    if (max > INT32_MAX)
        return BECK_ELIMIT;
    if (max > out->cap - out->len) {
        beck_status status = buf_reserve(out, max);
        if (status)
            return status;
    }
    uint8_t *start = out->data + out->len;
    size_t guess = varint_size((int64_t)(max - (alike ? FIXED_MAX - FIXED_MIN : LENGTH_MAX)));
    uint8_t *body = start + guess, *p = body;
    *p++ = 0; /* attributes: none are defined */
    p = varint_put(p, timestamp_delta);
    p = varint_put(p, offset_delta);
    p = put_nullable(p, e->subject, e->subject.len == 0);
    p = put_nullable(p, e->data, e->data.data == NULL);
    p = alike ? put_alike(p, out, last) : put_headers(p, e, carried, bus);
    size_t prefix = varint_size(p - body);
    if (prefix != guess) {
        memmove(start + prefix, body, (size_t)(p - body));
        last->at += prefix - guess;
    }
    varint_put(start, p - body);
    out->len += prefix + (size_t)(p - body);
    assert(prefix + (size_t)(p - body) <= max);
    last->shape.len = 0;
    if (!alike)
        note_headers(last, out, e, carried, bus);
    if (last->len > 0)
        note_shape(last, e, prefix + (size_t)(p - body), timestamp_delta, offset_delta);
    return BECK_OK;
}

beck_status record_readdress(struct buf *out, beck_bytes whole, beck_bytes queues)
{
    struct record_fields f;
    const char *wrong = record_fields_read(whole, 0, &f);
    const uint8_t *start = whole.data, *p, *front;
    int64_t length, count;
    beck_bytes name, value;

    if (wrong != NULL)
        return BECK_ECORRUPT;
    p = f.headers;
    count = f.header_count;
    for (int64_t i = 0; i < f.header_count; i++) {
        if (!record_take_bytes(&p, f.end, false, &name) ||
            !record_take_bytes(&p, f.end, true, &value))
            return BECK_ECORRUPT;
        count -= bytes_equal_text(name, RECORD_QUEUES_HEADER);
    }
    front = start + varint_read(start, f.end, &length);
    size_t front_len = (size_t)(f.count - front);
    if (buf_reserve(out, whole.len + queues.len + 64))
        return BECK_ENOMEM;
    size_t at = out->len;
    uint8_t *body = out->data + at + VARINT_MAX, *to = body;
    memcpy(to, front, front_len);
    to = varint_put(to + front_len, count + (queues.data != NULL));
    p = f.headers;
    for (int64_t i = 0; i < f.header_count; i++) {
        const uint8_t *header = p;
        record_take_bytes(&p, f.end, false, &name);
        record_take_bytes(&p, f.end, true, &value);
        if (bytes_equal_text(name, RECORD_QUEUES_HEADER))
            continue;
        memcpy(to, header, (size_t)(p - header));
        to += p - header;
    }
    if (queues.data != NULL)
        to = PUT(to, RECORD_QUEUES_HEADER, queues);
    size_t body_len = (size_t)(to - body), prefix = varint_write(out->data + at, (int64_t)body_len);
    memmove(out->data + at + prefix, body, body_len);
    out->len += prefix + body_len;
    return BECK_OK;
}
