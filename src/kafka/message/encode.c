/*
 * Structures to bytes, and defaults. Once something failed nothing is written, but the walk goes on:
 * each range of records that the message holds is released.
 */
#include "kafka/message/codec_impl.h"

#include <stdlib.h>

#define UVARINT_MAX 5

struct context {
    struct kafka_writer *w;
    int16_t version;
    bool flexible;
    bool copies; /* no cuts */
};

static void fail(struct kafka_writer *w, beck_status status)
{
    if (!w->status)
        w->status = status;
}

/* Room for n more bytes, counted in; NULL when the writer failed. */
static inline uint8_t *add(struct kafka_writer *w, size_t n)
{
    if (w->status)
        return NULL;
    if (w->out.cap - w->out.len < n) {
        beck_status status = buf_reserve(&w->out, n);
        if (status) {
            fail(w, status);
            return NULL;
        }
    }
    uint8_t *p = w->out.data + w->out.len;
    w->out.len += n;
    return p;
}

static inline void put_1(struct kafka_writer *w, uint8_t v)
{
    uint8_t *p = add(w, 1);
    if (p)
        *p = v;
}

static inline void put_2(struct kafka_writer *w, uint16_t v)
{
    uint8_t *p = add(w, 2);
    if (p)
        put_u16(p, v);
}

static inline void put_4(struct kafka_writer *w, uint32_t v)
{
    uint8_t *p = add(w, 4);
    if (p)
        put_u32(p, v);
}

static inline void put_8(struct kafka_writer *w, uint64_t v)
{
    uint8_t *p = add(w, 8);
    if (p)
        put_u64(p, v);
}

static void put_bytes(struct kafka_writer *w, const void *data, size_t len)
{
    uint8_t *p = len ? add(w, len) : NULL;
    if (p)
        memcpy(p, data, len);
}

static size_t uvarint(uint8_t out[UVARINT_MAX], uint32_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        out[n++] = (uint8_t)(v | 0x80);
    out[n++] = (uint8_t)v;
    return n;
}

static void put_uvarint(struct kafka_writer *w, uint32_t v)
{
    uint8_t bytes[UVARINT_MAX];
    put_bytes(w, bytes, uvarint(bytes, v));
}

/* -1: null. */
static void put_length(const struct context *c, int64_t n, bool is_short)
{
    if (n > INT32_MAX - 1)
        fail(c->w, BECK_ELIMIT);
    else if (c->flexible)
        put_uvarint(c->w, (uint32_t)(n + 1));
    else if (is_short)
        put_2(c->w, (uint16_t)n);
    else
        put_4(c->w, (uint32_t)n);
}

static void put_text(const struct context *c, beck_bytes b, bool is_string, bool nullable)
{
    if (!b.data && nullable) {
        put_length(c, -1, is_string);
        return;
    }
    if (is_string && b.len > STRING_BYTES_MAX) {
        fail(c->w, BECK_EINVAL);
        return;
    }
    put_length(c, (int64_t)b.len, is_string);
    put_bytes(c->w, b.data, b.len);
}

static void release_records(const struct kafka_records *r)
{
    if (r->release)
        r->release(r->ctx);
}

static void put_cut(struct kafka_writer *w, const struct kafka_records *r, size_t size)
{
    if (!w->status && w->cut_count == w->cut_cap) {
        size_t cap = w->cut_cap ? 2 * w->cut_cap : 8;
        struct kafka_cut *cuts = realloc(w->cuts, cap * sizeof *cuts);
        if (cuts) {
            w->cuts = cuts;
            w->cut_cap = cap;
        } else {
            fail(w, BECK_ENOMEM);
        }
    }
    if (w->status) {
        release_records(r);
        return;
    }
    w->cuts[w->cut_count++] = (struct kafka_cut){.at = w->out.len, .records = *r};
    w->cut_bytes += size;
}

static void put_records(const struct context *c, const struct kafka_records *r, bool nullable)
{
    if (!r->file_size && (c->copies || (!r->block && !r->release) || !r->bytes.len)) {
        put_text(c, r->bytes, false, nullable);
        release_records(r);
        return;
    }
    size_t size = r->file_size ? r->file_size : r->bytes.len;
    put_length(c, (int64_t)size, false);
    put_cut(c->w, r, size);
}

static void put_struct(const struct context *c, const struct kafka_table *t, const void *from);

static void put_element(const struct context *c, const struct kafka_field *f, const void *at)
{
    switch (f->kind) {
    case KAFKA_STRINGS:
        put_text(c, *(const beck_bytes *)at, true, false);
        break;
    case KAFKA_ARRAY:
        put_struct(c, f->of(), at);
        break;
    case KAFKA_INT16S:
        put_2(c->w, *(const uint16_t *)at);
        break;
    case KAFKA_INT32S:
        put_4(c->w, *(const uint32_t *)at);
        break;
    case KAFKA_INT64S:
        put_8(c->w, *(const uint64_t *)at);
        break;
    default: /* INT8S, UUIDS */
        put_bytes(c->w, at, element_size(f));
    }
}

static void put_array(const struct context *c, const struct kafka_field *f, const uint8_t *at)
{
    struct kafka_any_array array;
    memcpy(&array, at, sizeof array);
    bool is_null = array.is_null && field_may_be_null(f, c->version);
    put_length(c, is_null ? -1 : (int64_t)array.count, false);
    size_t size = element_size(f);
    for (size_t i = 0; i < array.count; i++)
        put_element(c, f, (const uint8_t *)array.at + i * size);
}

static void put_optional(const struct context *c, const struct kafka_table *t, const uint8_t *at)
{
    const void *p;
    memcpy(&p, at, sizeof p);
    put_1(c->w, p ? 1 : (uint8_t)-1);
    if (p)
        put_struct(c, t, p);
}

static void put_field(const struct context *c, const struct kafka_field *f, const uint8_t *at)
{
    struct kafka_writer *w = c->w;
    bool nullable = field_may_be_null(f, c->version);
    const void *p = at;
    switch (f->kind) {
    case KAFKA_BOOL:
    case KAFKA_INT8:
        put_1(w, *at);
        break;
    case KAFKA_INT16:
    case KAFKA_UINT16:
        put_2(w, *(const uint16_t *)p);
        break;
    case KAFKA_INT32:
    case KAFKA_UINT32:
        put_4(w, *(const uint32_t *)p);
        break;
    case KAFKA_INT64:
        put_8(w, *(const uint64_t *)p);
        break;
    case KAFKA_FLOAT64: {
        uint64_t bits;
        memcpy(&bits, p, sizeof bits);
        put_8(w, bits);
        break;
    }
    case KAFKA_STRING:
    case KAFKA_BYTES:
        put_text(c, *(const beck_bytes *)p, f->kind == KAFKA_STRING, nullable);
        break;
    case KAFKA_UUID:
        put_bytes(w, at, 16);
        break;
    case KAFKA_RECORDS:
        put_records(c, p, nullable);
        break;
    case KAFKA_NESTED:
        put_struct(c, f->of(), p);
        break;
    case KAFKA_OPTIONAL:
        put_optional(c, f->of(), at);
        break;
    default:
        put_array(c, f, at);
    }
}

/* ---- tagged fields ---- */

static bool number_is(const struct kafka_field *f, const void *p)
{
    switch (f->kind) {
    case KAFKA_BOOL:
        return *(const bool *)p == (f->preset != 0);
    case KAFKA_INT8:
        return *(const int8_t *)p == f->preset;
    case KAFKA_INT16:
        return *(const int16_t *)p == f->preset;
    case KAFKA_UINT16:
        return *(const uint16_t *)p == f->preset;
    case KAFKA_INT32:
        return *(const int32_t *)p == f->preset;
    case KAFKA_UINT32:
        return *(const uint32_t *)p == f->preset;
    case KAFKA_INT64:
        return *(const int64_t *)p == f->preset;
    default:
        return *(const double *)p == (double)f->preset;
    }
}

static bool struct_is_default(const struct kafka_table *t, const uint8_t *from);

static bool field_is_default(const struct kafka_field *f, const uint8_t *at)
{
    static const uint8_t none[16];
    struct kafka_any_array array;
    const void *p = at;
    switch (f->kind) {
    case KAFKA_STRING:
    case KAFKA_BYTES:
    case KAFKA_RECORDS: /* begins with its bytes */
        return f->nullable ? !((const beck_bytes *)p)->data : !((const beck_bytes *)p)->len;
    case KAFKA_UUID:
        return memcmp(at, none, 16) == 0;
    case KAFKA_NESTED:
        return struct_is_default(f->of(), at);
    case KAFKA_OPTIONAL:
        memcpy(&p, at, sizeof p);
        return !p;
    default:
        if (f->kind < KAFKA_STRING)
            return number_is(f, at);
        memcpy(&array, at, sizeof array);
        return array.count == 0 && array.is_null == (f->preset != 0);
    }
}

static bool struct_is_default(const struct kafka_table *t, const uint8_t *from)
{
    for (size_t i = 0; i < t->count; i++)
        if (!field_is_default(&t->fields[i], from + t->fields[i].offset))
            return false;
    return true;
}

/* The size stands before a value that has none yet: the value is written behind the longest size
 * there can be, and moved. No tagged field has records, so no cut moves. */
static void put_tagged(const struct context *c, const struct kafka_field *f, const uint8_t *at)
{
    struct kafka_writer *w = c->w;
    put_uvarint(w, f->tag);
    size_t start = w->out.len;
    if (!add(w, UVARINT_MAX))
        return;
    put_field(c, f, at);
    if (w->status)
        return;
    size_t len = w->out.len - start - UVARINT_MAX;
    size_t n = uvarint(w->out.data + start, (uint32_t)len);
    memmove(w->out.data + start + n, w->out.data + start + UVARINT_MAX, len);
    w->out.len = start + n + len;
}

/* In ascending order, as the tables have them. */
static void put_tags(const struct context *c, const struct kafka_table *t, const uint8_t *from)
{
    uint32_t count = 0;
    uint64_t written = 0;
    for (size_t i = 0; i < t->count; i++) {
        const struct kafka_field *f = &t->fields[i];
        if (f->tagged && field_is_there(f, c->version) && !field_is_default(f, from + f->offset)) {
            written |= (uint64_t)1 << i;
            count++;
        }
    }
    put_uvarint(c->w, count);
    for (size_t i = 0; written; i++, written >>= 1)
        if (written & 1)
            put_tagged(c, &t->fields[i], from + t->fields[i].offset);
}

static void put_struct(const struct context *c, const struct kafka_table *t, const void *from)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct kafka_field *f = &t->fields[i];
        if (!f->tagged && field_is_there(f, c->version))
            put_field(c, f, (const uint8_t *)from + f->offset);
    }
    if (c->flexible)
        put_tags(c, t, from);
}

/* ---- the doors ---- */

void kafka_writer_init(struct kafka_writer *w, size_t max)
{
    *w = (struct kafka_writer){0};
    buf_init(&w->out, max);
}

void kafka_writer_release(struct kafka_writer *w)
{
    for (size_t i = 0; i < w->cut_count; i++)
        release_records(&w->cuts[i].records);
    free(w->cuts);
    buf_release(&w->out);
    kafka_writer_init(w, w->out.max);
}

void kafka_encode(const struct kafka_table *t, int16_t version, const void *message,
                  struct kafka_writer *w)
{
    struct context c = {.w = w, .version = version, .flexible = version >= t->flexible};
    put_struct(&c, t, message);
}

beck_status kafka_encode_bytes(const struct kafka_table *t, int16_t version, const void *message,
                               struct buf *out)
{
    struct kafka_writer w = {.out = *out};
    struct context c = {
        .w = &w, .version = version, .flexible = version >= t->flexible, .copies = true};
    size_t before = out->len;
    put_struct(&c, t, message);
    *out = w.out;
    if (w.status)
        out->len = before;
    return w.status;
}

void field_init(const struct kafka_field *f, void *at)
{
    struct kafka_any_array array = {.is_null = f->preset != 0};
    switch (f->kind) {
    case KAFKA_NESTED:
        kafka_init(f->of(), at);
        break;
    case KAFKA_INT8:
        *(int8_t *)at = (int8_t)f->preset;
        break;
    case KAFKA_INT16:
    case KAFKA_UINT16:
        *(int16_t *)at = (int16_t)f->preset;
        break;
    case KAFKA_INT32:
    case KAFKA_UINT32:
        *(int32_t *)at = (int32_t)f->preset;
        break;
    case KAFKA_INT64:
        *(int64_t *)at = f->preset;
        break;
    case KAFKA_BOOL:
        *(bool *)at = f->preset != 0;
        break;
    default:
        if (f->kind >= KAFKA_INT8S && f->kind <= KAFKA_ARRAY)
            memcpy(at, &array, sizeof array);
    }
}

void kafka_init(const struct kafka_table *t, void *message)
{
    memset(message, 0, t->size);
    for (size_t i = 0; i < t->count; i++)
        field_init(&t->fields[i], (uint8_t *)message + t->fields[i].offset);
}
