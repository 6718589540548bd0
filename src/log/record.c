/*
 * Records of a batch as events: reading. The table of a record's bytes is in record.h.
 *
 * Nothing is copied but the id that has to be made; header names are told apart by their length
 * first. Neighbours mostly have the same headers: these are found to be the same as a whole.
 */
#include "base/error.h"
#include "event/time.h"
#include "log/record_fields.h"

#include <assert.h>

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

void record_make_id(const struct record_context *c, struct record_view *v)
{
    size_t n = c->id_prefix_len;

    /* A copy of constant length is inlined; both arrays are longer. */
    memcpy(v->id, c->id_prefix, 32);
    if (n > 32)
        memcpy(v->id + 32, c->id_prefix + 32, n - 32);
    n += put_decimal(v->id + n, (uint64_t)v->offset);
    v->event.id = bytes_of(v->id, n);
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
    *ms = ns / 1000000 - (ns % 1000000 < 0);
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
    } else if (bytes_equal_text(name, RECORD_CONTENT_HEADER)) {
        v->carried.content = value;
    } else if (bytes_equal_text(name, RECORD_QUEUES_HEADER)) {
        v->carried.queues = value;
    } else if (attribute_of(text, name.len) == NO_ATTRIBUTE) {
        add_extension(v, name, value);
    }
}

/* Everything that a record without headers says. */
static void view_init(struct record_view *v, const struct record_context *c,
                      const struct record_fields *f)
{
    const beck_bytes absent = {NULL, 0};
    beck_event *e = &v->event;

    v->headers = record_headers_of(f);
    v->repeats = true;
    v->carried.queues = v->carried.content = absent;
    /* Field by field: compilers make a slow string instruction of clearing the whole. */
    record_view_fields(v, c, f);
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
    struct record_fields f;
    const uint8_t *p;
    const char *wrong = record_fields_read(records, *at, &f);

    if (wrong == NULL)
        wrong = record_place(&f, base_offset, base_timestamp_ms, &out->offset, &out->timestamp_ms);
    if (wrong != NULL)
        return damaged(*at, wrong, err);
    if (follows && record_follow(out, c, &f)) {
        *at = (size_t)(f.end - (const uint8_t *)records.data);
        return BECK_OK;
    }
    view_init(out, c, &f);
    p = f.headers;
    for (int64_t i = 0; i < f.header_count; i++) {
        beck_bytes name, value;

        if (!record_take_bytes(&p, f.end, false, &name) ||
            !record_take_bytes(&p, f.end, true, &value))
            return damaged(*at, "the length of a header does not fit", err);
        take_header(out, name, value);
    }
    if (p != f.end)
        return damaged(*at, "bytes are left behind its headers", err);
    if (out->event.id.len == 0)
        record_make_id(c, out);
    *at = (size_t)(f.end - (const uint8_t *)records.data);
    return BECK_OK;
}

beck_status record_peek(beck_bytes records, size_t *at, int64_t base_offset,
                        int64_t base_timestamp_ms, int64_t *offset, int64_t *timestamp_ms,
                        beck_bytes *key, bool *value_is_null, beck_bytes *whole, beck_error *err)
{
    struct record_fields f;
    const uint8_t *p;
    int64_t record_offset, record_ms;
    const char *wrong = record_fields_read(records, *at, &f);

    if (wrong == NULL)
        wrong = record_place(&f, base_offset, base_timestamp_ms, &record_offset, &record_ms);
    if (wrong != NULL)
        return damaged(*at, wrong, err);
    p = f.headers;
    for (int64_t i = 0; i < f.header_count; i++) {
        beck_bytes name, value;

        if (!record_take_bytes(&p, f.end, false, &name) ||
            !record_take_bytes(&p, f.end, true, &value))
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
