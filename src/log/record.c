/*
 * Events as records of a batch, and back. The table of a record's bytes is in record.h.
 *
 * Two ideas make it quick. Writing: the room that a record can need at most is known beforehand, so
 * it is taken once and the fields are written one behind the other without further checks; only the
 * length in front has to be guessed, and a wrong guess costs one memmove. Reading: nothing is
 * copied but the id that has to be made; header names are told apart by their length first. And
 * neighbours mostly have the same headers: these are copied, or found to be the same, as a whole.
 */
#include "log/record.h"

#include "base/error.h"
#include "event/plain.h"
#include "event/time.h"

#include <assert.h>

#define NS_PER_MS 1000000
#define VARINT_MAX 10
#define LENGTH_MAX 5 /* varint of a size that fits an int32 */
/* Everything in front of the headers but key and value: length, attributes, two deltas, two
 * lengths, header count. */
#define FIXED_MAX (LENGTH_MAX + 1 + VARINT_MAX + VARINT_MAX + LENGTH_MAX + LENGTH_MAX + LENGTH_MAX)

/* ---- varints ---- */

static inline uint64_t zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (v < 0 ? UINT64_MAX : 0);
}

static inline int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static inline uint8_t *put_varint(uint8_t *p, int64_t value)
{
    uint64_t v = zigzag(value);

    while (__builtin_expect(v >= 0x80, false)) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

size_t varint_write(uint8_t *p, int64_t value)
{
    return (size_t)(put_varint(p, value) - p);
}

size_t varint_size(int64_t value)
{
    uint64_t v = zigzag(value) | 1;

    return (size_t)(63 - __builtin_clzll(v)) / 7 + 1;
}

/* The same, where it is mostly one byte or two. */
static inline size_t size_of(int64_t value)
{
    uint64_t v = zigzag(value);

    return v < 0x80 ? 1 : v < 0x4000 ? 2 : varint_size(value);
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
            *value = unzigzag(v);
            return i + 1;
        }
    }
    return 0;
}

/* Moves *p behind the varint; false: there is none. */
static inline bool take_varint(const uint8_t **p, const uint8_t *end, int64_t *value)
{
    size_t n;

    if (end - *p >= 2) {
        const uint8_t *q = *p;

        if (q[0] < 0x80) {
            *value = unzigzag(q[0]);
            *p = q + 1;
            return true;
        }
        if (q[1] < 0x80) {
            *value = unzigzag((uint64_t)(q[0] & 0x7f) | (uint64_t)q[1] << 7);
            *p = q + 2;
            return true;
        }
    }
    n = varint_read(*p, end, value);
    *p += n;
    return n != 0;
}

/* ---- writing ---- */

static inline size_t header_size(size_t name_len, size_t value_len)
{
    return 2 * LENGTH_MAX + name_len + value_len;
}

/* Whether the record's timestamp alone would lose something of the event's time. */
static inline bool keeps_time(const beck_event *e)
{
    return e->time_ns < 0 || e->time_ns % NS_PER_MS != 0;
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
    if (keeps_time(e))
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

#define QUEUES_HEADER "beck-queues"
#define CONTENT_HEADER "amqp"

size_t record_carried_size_max(const struct carried *c)
{
    size_t n = 0;

    if (c->queues.data != NULL)
        n += header_size(sizeof QUEUES_HEADER - 1, c->queues.len);
    if (c->content.len > 0)
        n += header_size(sizeof CONTENT_HEADER - 1, c->content.len);
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
    p = put_varint(p, (int64_t)b.len);
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

static int64_t ms_to_ns(int64_t ms)
{
    if (ms > INT64_MAX / NS_PER_MS)
        ms = INT64_MAX / NS_PER_MS;
    if (ms < INT64_MIN / NS_PER_MS)
        ms = INT64_MIN / NS_PER_MS;
    return ms * NS_PER_MS;
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
    if (keeps_time(e))
        p = put_time(p, "ce_time", 7, e->time_ns);
    if (e->deliver_at_ms != 0)
        p = put_time(p, "ce_deliverytime", 15, ms_to_ns(e->deliver_at_ms));
    if (e->expires_at_ms != 0)
        p = put_time(p, "ce_expirytime", 13, ms_to_ns(e->expires_at_ms));
    if (e->priority != 0)
        p = put_priority(p, e->priority);
    for (size_t i = 0; i < e->extension_count; i++) {
        beck_bytes name = e->extensions[i].name, value = e->extensions[i].value;

        p = put_varint(p, (int64_t)(3 + name.len));
        memcpy(p, "ce_", 3);
        memcpy(p + 3, name.data, name.len);
        p = put_nullable(p + 3 + name.len, value, value.data == NULL);
    }
    return p;
}

static uint8_t *put_carried(uint8_t *p, const struct carried *c)
{
    if (c->queues.data != NULL)
        p = PUT(p, QUEUES_HEADER, c->queues);
    if (c->content.len > 0)
        p = PUT(p, CONTENT_HEADER, c->content);
    return p;
}

static inline uint8_t *put_headers(uint8_t *p, const beck_event *e, const struct carried *c,
                                   beck_bytes bus)
{
    bool type = !bytes_equal(e->type, bus);
    size_t rare = (size_t)(e->dataschema.len > 0) + keeps_time(e) + (e->deliver_at_ms != 0) +
                  (e->expires_at_ms != 0) + (e->priority != 0) + e->extension_count;
    size_t count = rare + type + (e->id.len > 0) + (e->source.len > 0) +
                   (e->datacontenttype.len > 0) + (e->correlationid.len > 0) +
                   (e->causationid.len > 0);

    if (c != NULL)
        count += (size_t)(c->queues.data != NULL) + (c->content.len > 0);
    p = put_varint(p, (int64_t)count);
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

/* Whether the event's only header is its type, and the last one's the same. */
static inline bool is_alike(const struct buf *out, const struct record_headers *last,
                            const beck_event *e)
{
    return last->len > 0 && last->type_len == e->type.len && plain_attributes(e) &&
           !keeps_time(e) &&
           memcmp(out->data + last->at + last->len - e->type.len, e->type.data, e->type.len) == 0;
}

/* With the headers of the last one. */
static beck_status write_alike(struct buf *out, struct record_headers *last, const beck_event *e,
                               int64_t timestamp_delta, int64_t offset_delta)
{
    bool subject = e->subject.len > 0, data = e->data.data != NULL;
    if (e->subject.len + last->len > INT32_MAX / 2 || e->data.len > INT32_MAX / 2 - FIXED_MAX)
        return BECK_ELIMIT;
    size_t len = 1 + size_of(timestamp_delta) + size_of(offset_delta) +
                 size_of(subject ? (int64_t)e->subject.len : -1) + e->subject.len +
                 size_of(data ? (int64_t)e->data.len : -1) + e->data.len + last->len;
    beck_status st = buf_reserve(out, LENGTH_MAX + len);
    if (st != BECK_OK)
        return st;
    uint8_t *p = put_varint(out->data + out->len, (int64_t)len);
    *p++ = 0;
    p = put_varint(p, timestamp_delta);
    p = put_varint(p, offset_delta);
    p = put_nullable(p, e->subject, !subject);
    p = put_nullable(p, e->data, !data);
    memcpy(p, out->data + last->at, last->len);
    last->at = (size_t)(p - out->data);
    out->len = last->at + last->len;
    return BECK_OK;
}

/* Of the record that ends the buffer. */
static void note_headers(struct record_headers *last, const struct buf *out, const beck_event *e,
                         const struct carried *carried, beck_bytes bus)
{
    last->len = 0;
    if (carried || !plain_attributes(e) || keeps_time(e) || bytes_equal(e->type, bus))
        return;
    last->type_len = e->type.len;
    last->len = 1 + 1 + strlen("ce_type") + varint_size((int64_t)e->type.len) + e->type.len;
    last->at = out->len - last->len;
}

beck_status record_write_carried(struct buf *out, struct record_headers *last, const beck_event *e,
                                 const struct carried *carried, beck_bytes bus,
                                 int64_t timestamp_delta, int64_t offset_delta)
{
    if (!carried && is_alike(out, last, e))
        return write_alike(out, last, e, timestamp_delta, offset_delta);
    size_t max = record_size_max(e) + (carried != NULL ? record_carried_size_max(carried) : 0);
    size_t guess, prefix;
    uint8_t *start, *body, *p;
    beck_status st;

    if (max > INT32_MAX)
        return BECK_ELIMIT;
    st = buf_reserve(out, max);
    if (st != BECK_OK)
        return st;
    start = out->data + out->len;
    guess = varint_size((int64_t)(max - LENGTH_MAX));
    p = body = start + guess;
    *p++ = 0; /* attributes: none are defined */
    p = put_varint(p, timestamp_delta);
    p = put_varint(p, offset_delta);
    p = put_nullable(p, e->subject, e->subject.len == 0);
    p = put_nullable(p, e->data, e->data.data == NULL);
    p = put_headers(p, e, carried, bus);
    prefix = varint_size(p - body);
    if (prefix != guess)
        memmove(start + prefix, body, (size_t)(p - body));
    put_varint(start, p - body);
    out->len += prefix + (size_t)(p - body);
    assert(prefix + (size_t)(p - body) <= max);
    note_headers(last, out, e, carried, bus);
    return BECK_OK;
}

beck_status record_write(struct buf *out, const beck_event *e, beck_bytes bus,
                         int64_t timestamp_delta, int64_t offset_delta)
{
    struct record_headers none = {0};
    return record_write_carried(out, &none, e, NULL, bus, timestamp_delta, offset_delta);
}

/* ---- reading ---- */

static size_t count_digits(uint64_t v)
{
    size_t n = 1;

    for (; v >= 10000; v /= 10000)
        n += 4;
    return n + (v >= 10) + (v >= 100) + (v >= 1000);
}

static size_t put_decimal(char *out, uint64_t v)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";
    size_t len = count_digits(v);
    char *p = out + len;

    for (; v >= 100; v /= 100) {
        p -= 2;
        memcpy(p, pairs + 2 * (v % 100), 2);
    }
    if (v >= 10)
        memcpy(out, pairs + 2 * v, 2);
    else
        out[0] = (char)('0' + v);
    return len;
}

void record_context_init(struct record_context *c, beck_bytes bus, uint32_t partition)
{
    assert(bus.len > 0 && bus.len < sizeof c->source - 1);
    memset(c, 0, sizeof *c);
    c->bus = bus;
    c->partition = partition;
    c->source[0] = '/';
    memcpy(c->source + 1, bus.data, bus.len);
    c->source_len = bus.len + 1;
    memcpy(c->id_prefix, bus.data, bus.len);
    c->id_prefix[bus.len] = '/';
    c->id_prefix_len = bus.len + 1;
    c->id_prefix_len += put_decimal(c->id_prefix + c->id_prefix_len, partition);
    c->id_prefix[c->id_prefix_len++] = '/';
}

static beck_bytes make_id(const struct record_context *c, struct record_view *v)
{
    size_t n = c->id_prefix_len;

    /* A copy of constant length is inlined; both arrays are longer. */
    memcpy(v->id, c->id_prefix, 32);
    if (n > 32)
        memcpy(v->id + 32, c->id_prefix + 32, n - 32);
    n += put_decimal(v->id + n, (uint64_t)v->offset);
    return bytes_of(v->id, n);
}

/* The same, where the id was made for the record before, whose position the event still has: mostly
 * only the last digit differs. */
static inline void next_id(const struct record_context *c, struct record_view *v)
{
    char *last = v->id + v->event.id.len - 1;

    if (v->offset == v->event.position.offset + 1 && *last < '9')
        ++*last;
    else
        v->event.id = make_id(c, v);
}

/* The fields in front of the headers. */
struct fields {
    const uint8_t *count, *headers, *end; /* number of headers; the first; behind the record */
    int64_t timestamp_delta, offset_delta, header_count;
    beck_bytes key, value;
};

static inline bool take_bytes(const uint8_t **p, const uint8_t *end, bool nullable, beck_bytes *out)
{
    int64_t len;

    if (!take_varint(p, end, &len))
        return false;
    if (len < 0) {
        *out = (beck_bytes){NULL, 0};
        return nullable && len == -1;
    }
    if (len > end - *p)
        return false;
    *out = bytes_of(*p, (size_t)len);
    *p += len;
    return true;
}

/* NULL, or what is wrong. */
static const char *read_fields(beck_bytes records, size_t at, struct fields *f)
{
    const uint8_t *p = (const uint8_t *)records.data + at;
    const uint8_t *end = (const uint8_t *)records.data + records.len;
    int64_t len;

    if (!take_varint(&p, end, &len))
        return "its length is cut off";
    if (len < 1 || len > end - p)
        return "its length passes the end of the batch";
    end = p + len;
    p++; /* attributes */
    if (!take_varint(&p, end, &f->timestamp_delta) || !take_varint(&p, end, &f->offset_delta))
        return "its timestamp or offset is cut off";
    if (f->offset_delta < 0 || f->offset_delta > INT32_MAX)
        return "its offset cannot be";
    if (!take_bytes(&p, end, true, &f->key))
        return "the length of its key does not fit";
    if (!take_bytes(&p, end, true, &f->value))
        return "the length of its value does not fit";
    f->count = p;
    /* A header is at least two bytes. */
    if (!take_varint(&p, end, &f->header_count) || f->header_count < 0 ||
        f->header_count > (end - p) / 2)
        return "the number of its headers does not fit";
    f->headers = p;
    f->end = end;
    return NULL;
}

/* Offset and timestamp; NULL or what is wrong. */
static inline const char *place(const struct fields *f, int64_t base_offset,
                                int64_t base_timestamp_ms, int64_t *offset, int64_t *timestamp_ms)
{
    if (__builtin_add_overflow(base_offset, f->offset_delta, offset) || *offset < 0)
        return "its offset cannot be";
    if (__builtin_add_overflow(base_timestamp_ms, f->timestamp_delta, timestamp_ms))
        return "its timestamp cannot be";
    return NULL;
}

static beck_status damaged(size_t at, const char *what, beck_error *err)
{
    return error_set(err, BECK_ECORRUPT, "the record at byte %zu of its batch is damaged: %s", at,
                     what);
}

/* The attributes that have a place of their own: an extension may not have their names. */
enum attribute {
    NO_ATTRIBUTE,
    A_ID,
    A_TYPE,
    A_TIME,
    A_DATA,
    A_SOURCE,
    A_SUBJECT,
    A_PRIORITY,
    A_DATASCHEMA,
    A_EXPIRYTIME,
    A_CAUSATIONID,
    A_SPECVERSION,
    A_DELIVERYTIME,
    A_CORRELATIONID,
    A_DATACONTENTTYPE
};

#define IS(text) (memcmp(name, text, sizeof(text) - 1) == 0)

static enum attribute attribute_of(const char *name, size_t len)
{
    switch (len) {
    case 2:
        return IS("id") ? A_ID : NO_ATTRIBUTE;
    case 4:
        return IS("type") ? A_TYPE : IS("time") ? A_TIME : IS("data") ? A_DATA : NO_ATTRIBUTE;
    case 6:
        return IS("source") ? A_SOURCE : NO_ATTRIBUTE;
    case 7:
        return IS("subject") ? A_SUBJECT : NO_ATTRIBUTE;
    case 8:
        return IS("priority") ? A_PRIORITY : NO_ATTRIBUTE;
    case 10:
        return IS("dataschema") ? A_DATASCHEMA : IS("expirytime") ? A_EXPIRYTIME : NO_ATTRIBUTE;
    case 11:
        return IS("causationid") ? A_CAUSATIONID : IS("specversion") ? A_SPECVERSION : NO_ATTRIBUTE;
    case 12:
        return IS("deliverytime") ? A_DELIVERYTIME : NO_ATTRIBUTE;
    case 13:
        return IS("correlationid") ? A_CORRELATIONID : NO_ATTRIBUTE;
    case 15:
        return IS("datacontenttype") ? A_DATACONTENTTYPE : NO_ATTRIBUTE;
    default:
        return NO_ATTRIBUTE;
    }
}

static void add_extension(struct record_view *v, beck_bytes name, beck_bytes value)
{
    beck_event *e = &v->event;

    if (e->extension_count == RECORD_EXTENSIONS_MAX || !event_name_is_legal(name))
        return;
    for (size_t i = 0; i < e->extension_count; i++)
        if (bytes_equal(v->extensions[i].name, name))
            return; /* the first one stands */
    v->extensions[e->extension_count++] = (beck_attribute){name, value};
}

/* A time that cannot be read leaves *ms as it was: the header then stays in the record only. */
static void read_ms(beck_bytes text, int64_t *ms)
{
    int64_t ns;

    if (!time_parse(text, &ns))
        return;
    *ms = ns / NS_PER_MS - (ns % NS_PER_MS < 0);
}

static void set_attribute(struct record_view *v, enum attribute a, beck_bytes name,
                          beck_bytes value)
{
    beck_event *e = &v->event;
    uint64_t number;
    int64_t ns;

    switch (a) {
    case NO_ATTRIBUTE:
        add_extension(v, name, value);
        break;
    case A_ID:
        e->id = value;
        v->repeats = false;
        break;
    case A_TYPE:
        if (value.len <= EVENT_TYPE_MAX)
            e->type = value;
        break;
    case A_TIME:
        if (time_parse(value, &ns))
            e->time_ns = ns;
        v->repeats = false;
        break;
    case A_SOURCE:
        e->source = value;
        break;
    case A_SUBJECT:
        e->subject = value;
        v->repeats = false;
        break;
    case A_PRIORITY:
        if (bytes_to_u64(value, &number) && number <= EVENT_PRIORITY_MAX)
            e->priority = (uint32_t)number;
        break;
    case A_DATASCHEMA:
        e->dataschema = value;
        break;
    case A_EXPIRYTIME:
        read_ms(value, &e->expires_at_ms);
        break;
    case A_CAUSATIONID:
        e->causationid = value;
        break;
    case A_DELIVERYTIME:
        read_ms(value, &e->deliver_at_ms);
        break;
    case A_CORRELATIONID:
        e->correlationid = value;
        break;
    case A_DATACONTENTTYPE:
        if (e->datacontenttype.len == 0)
            e->datacontenttype = value;
        break;
    case A_DATA:
    case A_SPECVERSION:
        break;
    }
}

static inline void take_header(struct record_view *v, beck_bytes name, beck_bytes value)
{
    const char *text = name.data;

    if (name.len > 3 && memcmp(text, "ce_", 3) == 0) {
        enum attribute a = attribute_of(text + 3, name.len - 3);

        if (value.len > 0 || a == NO_ATTRIBUTE)
            set_attribute(v, a, bytes_of(text + 3, name.len - 3), value);
    } else if (name.len == 12 && memcmp(text, "content-type", 12) == 0) {
        if (value.len > 0)
            v->event.datacontenttype = value;
    } else if (bytes_equal_text(name, CONTENT_HEADER)) {
        v->carried.content = value;
    } else if (bytes_equal_text(name, QUEUES_HEADER)) {
        v->carried.queues = value;
    } else if (attribute_of(text, name.len) == NO_ATTRIBUTE) {
        add_extension(v, name, value);
    }
}

/* What differs between neighbours. */
static inline void view_fields(struct record_view *v, const struct record_context *c,
                               const struct fields *f)
{
    beck_event *e = &v->event;

    v->key = f->key;
    v->value_is_null = f->value.data == NULL;
    e->subject = f->key;
    e->data = f->value;
    e->time_ns = v->timestamp_ms < 0 ? 0 : ms_to_ns(v->timestamp_ms);
    e->position = (beck_position){c->partition, v->offset};
}

/* Everything that a record without headers says. */
static void view_init(struct record_view *v, const struct record_context *c, const struct fields *f)
{
    const beck_bytes absent = {NULL, 0};
    beck_event *e = &v->event;

    v->headers = bytes_of(f->count, (size_t)(f->end - f->count));
    v->repeats = true;
    v->carried.queues = v->carried.content = absent;
    /* Field by field: compilers make a slow string instruction of clearing the whole. */
    view_fields(v, c, f);
    e->type = c->bus;
    e->source = bytes_of(c->source, c->source_len);
    e->id = absent;
    e->datacontenttype = absent;
    e->dataschema = absent;
    e->correlationid = absent;
    e->causationid = absent;
    e->deliver_at_ms = 0;
    e->expires_at_ms = 0;
    e->priority = 0;
    e->extensions = v->extensions;
    e->extension_count = 0;
    e->bus = c->bus;
}

beck_status record_read(beck_bytes records, size_t *at, const struct record_context *c,
                        int64_t base_offset, int64_t base_timestamp_ms, bool follows,
                        struct record_view *out, beck_error *err)
{
    struct fields f;
    const uint8_t *p;
    const char *wrong = read_fields(records, *at, &f);

    if (wrong == NULL)
        wrong = place(&f, base_offset, base_timestamp_ms, &out->offset, &out->timestamp_ms);
    if (wrong != NULL)
        return damaged(*at, wrong, err);
    if (follows && out->repeats &&
        bytes_equal(out->headers, bytes_of(f.count, (size_t)(f.end - f.count)))) {
        next_id(c, out);
        view_fields(out, c, &f);
        *at = (size_t)(f.end - (const uint8_t *)records.data);
        return BECK_OK;
    }
    view_init(out, c, &f);
    p = f.headers;
    for (int64_t i = 0; i < f.header_count; i++) {
        beck_bytes name, value;

        if (!take_bytes(&p, f.end, false, &name) || !take_bytes(&p, f.end, true, &value))
            return damaged(*at, "the length of a header does not fit", err);
        take_header(out, name, value);
    }
    if (p != f.end)
        return damaged(*at, "bytes are left behind its headers", err);
    if (out->event.id.len == 0)
        out->event.id = make_id(c, out);
    *at = (size_t)(f.end - (const uint8_t *)records.data);
    return BECK_OK;
}

beck_status record_peek(beck_bytes records, size_t *at, int64_t base_offset,
                        int64_t base_timestamp_ms, int64_t *offset, int64_t *timestamp_ms,
                        beck_bytes *key, bool *value_is_null, beck_bytes *whole, beck_error *err)
{
    struct fields f;
    const uint8_t *p;
    int64_t record_offset, record_ms;
    const char *wrong = read_fields(records, *at, &f);

    if (wrong == NULL)
        wrong = place(&f, base_offset, base_timestamp_ms, &record_offset, &record_ms);
    if (wrong != NULL)
        return damaged(*at, wrong, err);
    p = f.headers;
    for (int64_t i = 0; i < f.header_count; i++) {
        beck_bytes name, value;

        if (!take_bytes(&p, f.end, false, &name) || !take_bytes(&p, f.end, true, &value))
            return damaged(*at, "the length of a header does not fit", err);
    }
    if (p != f.end)
        return damaged(*at, "bytes are left behind its headers", err);
    *offset = record_offset;
    *timestamp_ms = record_ms;
    *key = f.key;
    *value_is_null = f.value.data == NULL;
    if (whole != NULL)
        *whole = bytes_of((const uint8_t *)records.data + *at,
                          (size_t)(f.end - (const uint8_t *)records.data) - *at);
    *at = (size_t)(f.end - (const uint8_t *)records.data);
    return BECK_OK;
}

beck_status record_readdress(struct buf *out, beck_bytes whole, beck_bytes queues)
{
    struct fields f;
    const char *wrong = read_fields(whole, 0, &f);
    const uint8_t *start = whole.data, *p = f.headers, *front;
    int64_t length, count = f.header_count;
    beck_bytes name, value;

    if (wrong != NULL)
        return BECK_ECORRUPT;
    for (int64_t i = 0; i < f.header_count; i++) {
        if (!take_bytes(&p, f.end, false, &name) || !take_bytes(&p, f.end, true, &value))
            return BECK_ECORRUPT;
        count -= bytes_equal_text(name, QUEUES_HEADER);
    }
    front = start + varint_read(start, f.end, &length);
    size_t front_len = (size_t)(f.count - front);
    if (buf_reserve(out, whole.len + queues.len + 64))
        return BECK_ENOMEM;
    size_t at = out->len;
    uint8_t *body = out->data + at + VARINT_MAX, *to = body;
    memcpy(to, front, front_len);
    to = put_varint(to + front_len, count + (queues.data != NULL));
    p = f.headers;
    for (int64_t i = 0; i < f.header_count; i++) {
        const uint8_t *header = p;
        take_bytes(&p, f.end, false, &name);
        take_bytes(&p, f.end, true, &value);
        if (bytes_equal_text(name, QUEUES_HEADER))
            continue;
        memcpy(to, header, (size_t)(p - header));
        to += p - header;
    }
    if (queues.data != NULL)
        to = PUT(to, QUEUES_HEADER, queues);
    size_t body_len = (size_t)(to - body), prefix = varint_write(out->data + at, (int64_t)body_len);
    memmove(out->data + at + prefix, body, body_len);
    out->len += prefix + body_len;
    return BECK_OK;
}
