/*
 * Bytes to structures. Every length is checked against what is left of the input before memory is
 * taken for it: an array of n elements needs at least n times the least that an element can be.
 * The depth is that of the tables.
 */
#include "kafka/message/codec_impl.h"

struct reader {
    const uint8_t *p, *end;
    struct kafka_arena *arena;
    int16_t version;
    bool flexible;
    bool limit;      /* it failed for want of memory */
    const char *why; /* it failed */
    const char *where;
};

static bool fail(struct reader *r, const char *why)
{
    if (!r->why)
        r->why = why;
    return false;
}

static inline size_t left(const struct reader *r)
{
    return (size_t)(r->end - r->p);
}

static inline bool need(struct reader *r, size_t n)
{
    return left(r) >= n || fail(r, "it ends too early");
}

static bool read_uvarint(struct reader *r, uint32_t *out)
{
    uint32_t v = 0;
    for (int shift = 0; shift < 35; shift += 7) {
        if (!need(r, 1))
            return false;
        uint8_t b = *r->p++;
        v |= (uint32_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *out = v;
            return shift < 28 || b < 16 || fail(r, "a number has too many bits");
        }
    }
    return fail(r, "a number has too many bytes");
}

/* A length: -1 for null. */
static bool read_length(struct reader *r, bool is_short, int64_t *out)
{
    if (r->flexible) {
        uint32_t n;
        if (!read_uvarint(r, &n))
            return false;
        *out = (int64_t)n - 1;
        return true;
    }
    if (!need(r, is_short ? 2 : 4))
        return false;
    *out = is_short ? (int16_t)get_u16(r->p) : (int32_t)get_u32(r->p);
    r->p += is_short ? 2 : 4;
    return *out >= -1 || fail(r, "a length is negative");
}

static bool read_bytes(struct reader *r, bool is_string, bool nullable, beck_bytes *out)
{
    int64_t n;
    if (!read_length(r, is_string, &n))
        return false;
    if (n < 0) {
        *out = (beck_bytes){NULL, 0};
        return nullable || fail(r, "it is null, and may not be");
    }
    if (is_string && n > STRING_BYTES_MAX)
        return fail(r, "the text is too long");
    if (!need(r, (size_t)n))
        return false;
    *out = bytes_of(r->p, (size_t)n);
    r->p += n;
    return true;
}

static bool read_struct(struct reader *r, const struct kafka_table *t, void *out);

/* The least that a field can be on the wire. */
static size_t field_least(const struct reader *r, const struct kafka_field *f)
{
    static const uint8_t fixed[] = {
        [KAFKA_BOOL] = 1,  [KAFKA_INT8] = 1,   [KAFKA_INT16] = 2, [KAFKA_UINT16] = 2,
        [KAFKA_INT32] = 4, [KAFKA_UINT32] = 4, [KAFKA_INT64] = 8, [KAFKA_FLOAT64] = 8};
    if (f->kind <= KAFKA_FLOAT64)
        return fixed[f->kind];
    if (f->kind == KAFKA_UUID)
        return 16;
    if (f->kind >= KAFKA_NESTED || r->flexible)
        return 1;
    return f->kind == KAFKA_STRING ? 2 : 4;
}

static size_t element_least(const struct reader *r, const struct kafka_field *f)
{
    if (f->kind == KAFKA_STRINGS)
        return r->flexible ? 1 : 2;
    if (f->kind != KAFKA_ARRAY)
        return element_size(f);
    const struct kafka_table *t = f->of();
    size_t n = r->flexible ? 1 : 0;
    for (size_t i = 0; i < t->count; i++)
        if (!t->fields[i].tagged && field_is_there(&t->fields[i], r->version))
            n += field_least(r, &t->fields[i]);
    return n ? n : 1;
}

static bool read_element(struct reader *r, const struct kafka_field *f, void *at)
{
    switch (f->kind) {
    case KAFKA_STRINGS:
        return read_bytes(r, true, false, at);
    case KAFKA_ARRAY:
        return read_struct(r, f->of(), at);
    case KAFKA_INT16S: {
        uint16_t v = get_u16(r->p);
        memcpy(at, &v, 2);
        r->p += 2;
        return true;
    }
    case KAFKA_INT32S: {
        uint32_t v = get_u32(r->p);
        memcpy(at, &v, 4);
        r->p += 4;
        return true;
    }
    case KAFKA_INT64S: {
        uint64_t v = get_u64(r->p);
        memcpy(at, &v, 8);
        r->p += 8;
        return true;
    }
    default: { /* INT8S, UUIDS */
        size_t n = element_size(f);
        memcpy(at, r->p, n);
        r->p += n;
        return true;
    }
    }
}

static bool read_array(struct reader *r, const struct kafka_field *f, void *out)
{
    int64_t n;
    if (!read_length(r, false, &n))
        return false;
    struct kafka_any_array array = {.is_null = n < 0, .count = n < 0 ? 0 : (size_t)n};
    if (n < 0) {
        memcpy(out, &array, sizeof array);
        return field_may_be_null(f, r->version) || fail(r, "it is null, and may not be");
    }
    if (array.count > left(r) / element_least(r, f))
        return fail(r, "it has more elements than bytes");
    size_t size = element_size(f);
    array.at = kafka_alloc_many(r->arena, array.count, size);
    if (!array.at) {
        r->limit = true;
        return fail(r, "it takes too much memory");
    }
    for (size_t i = 0; i < array.count; i++)
        if (!read_element(r, f, (uint8_t *)array.at + i * size))
            return false;
    memcpy(out, &array, sizeof array);
    return true;
}

static bool read_optional(struct reader *r, const struct kafka_table *t, void *out)
{
    if (!need(r, 1))
        return false;
    int8_t there = (int8_t)*r->p++;
    if (there < 0)
        return true;
    void *at = kafka_alloc(r->arena, t->size);
    if (!at) {
        r->limit = true;
        return fail(r, "it takes too much memory");
    }
    memcpy(out, &at, sizeof at);
    return read_struct(r, t, at);
}

static bool read_number(struct reader *r, enum kafka_kind kind, uint8_t *at)
{
    static const uint8_t sizes[] = {
        [KAFKA_BOOL] = 1,  [KAFKA_INT8] = 1,   [KAFKA_INT16] = 2, [KAFKA_UINT16] = 2,
        [KAFKA_INT32] = 4, [KAFKA_UINT32] = 4, [KAFKA_INT64] = 8, [KAFKA_FLOAT64] = 8};
    if (!need(r, sizes[kind]))
        return false;
    switch (sizes[kind]) {
    case 1:
        *at = kind == KAFKA_BOOL ? *r->p != 0 : *r->p;
        break;
    case 2:
        memcpy(at, &(uint16_t){get_u16(r->p)}, 2);
        break;
    case 4:
        memcpy(at, &(uint32_t){get_u32(r->p)}, 4);
        break;
    default:
        memcpy(at, &(uint64_t){get_u64(r->p)}, 8);
    }
    r->p += sizes[kind];
    return true;
}

static bool read_field(struct reader *r, const struct kafka_field *f, uint8_t *at)
{
    bool nullable = field_may_be_null(f, r->version);
    switch (f->kind) {
    case KAFKA_STRING:
        return read_bytes(r, true, nullable, (beck_bytes *)(void *)at);
    case KAFKA_BYTES:
        return read_bytes(r, false, nullable, (beck_bytes *)(void *)at);
    case KAFKA_RECORDS:
        return read_bytes(r, false, nullable, &((struct kafka_records *)(void *)at)->bytes);
    case KAFKA_UUID:
        if (!need(r, 16))
            return false;
        memcpy(at, r->p, 16);
        r->p += 16;
        return true;
    case KAFKA_NESTED:
        return read_struct(r, f->of(), at);
    case KAFKA_OPTIONAL:
        return read_optional(r, f->of(), at);
    default:
        return f->kind < KAFKA_STRING ? read_number(r, f->kind, at) : read_array(r, f, at);
    }
}

static const struct kafka_field *find_tag(const struct reader *r, const struct kafka_table *t,
                                          uint32_t tag)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->fields[i].tagged && t->fields[i].tag == tag &&
            field_is_there(&t->fields[i], r->version))
            return &t->fields[i];
    return NULL;
}

static bool read_tags(struct reader *r, const struct kafka_table *t, uint8_t *out)
{
    uint32_t count;
    if (!read_uvarint(r, &count))
        return false;
    int64_t before = -1;
    for (; count > 0; count--) {
        uint32_t tag, size;
        if (!read_uvarint(r, &tag) || !read_uvarint(r, &size) || !need(r, size))
            return false;
        if ((int64_t)tag <= before)
            return fail(r, "tags are not in order");
        before = tag;
        const uint8_t *all = r->end, *end = r->p + size;
        const struct kafka_field *f = find_tag(r, t, tag);
        if (f) {
            r->where = f->name;
            r->end = end;
            memset(out + f->offset, 0, f->kind == KAFKA_NESTED ? f->of()->size : 0);
            if (!read_field(r, f, out + f->offset))
                return false;
        }
        r->p = end;
        r->end = all;
    }
    return true;
}

/* `out` is zero. */
static bool read_struct(struct reader *r, const struct kafka_table *t, void *out)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct kafka_field *f = &t->fields[i];
        uint8_t *at = (uint8_t *)out + f->offset;
        if (f->tagged || !field_is_there(f, r->version)) {
            field_init(f, at);
        } else {
            r->where = f->name;
            if (!read_field(r, f, at))
                return false;
        }
    }
    return !r->flexible || read_tags(r, t, out);
}

beck_status kafka_decode(const struct kafka_table *t, int16_t version, beck_bytes in,
                         struct kafka_arena *a, void *out, size_t *used, beck_error *err)
{
    struct reader r = {.p = in.data,
                       .end = (const uint8_t *)in.data + in.len,
                       .arena = a,
                       .version = version,
                       .flexible = version >= t->flexible,
                       .where = "it"};
    memset(out, 0, t->size);
    if (!read_struct(&r, t, out))
        return error_set(err, r.limit ? BECK_ELIMIT : BECK_EINVAL,
                         "the message '%s' of version %d cannot be read at '%s': %s", t->name,
                         version, r.where, r.why);
    if (used)
        *used = (size_t)(r.p - (const uint8_t *)in.data);
    return BECK_OK;
}
