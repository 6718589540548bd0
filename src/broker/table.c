/*
 * Field tables: see table.h.
 *
 * A table is entries of a name (one byte of length, bytes) and a value; an array is values. A value is a
 * letter and
 *
 *   t b B      1 byte          D          5 bytes (scale, 32-bit value)
 *   s u        2 bytes         S x        32-bit length, bytes
 *   I i f      4 bytes         A F        32-bit length, content
 *   l L d T    8 bytes         V          nothing
 */
#include "broker/table.h"

#include "base/error.h"

#include <assert.h>
#include <stdio.h>

/* More entries of a table than that are equal to another's only in the same order: finding each of many
 * takes too long. */
#define UNORDERED_MAX 1024

/* ---- reading values ---- */

static enum table_kind kind_of(char letter)
{
    switch (letter) {
    case 't':
        return TABLE_BOOL;
    case 'f':
    case 'd':
        return TABLE_FLOAT;
    case 'D':
        return TABLE_DECIMAL;
    case 'S':
        return TABLE_TEXT;
    case 'x':
        return TABLE_BYTES;
    case 'T':
        return TABLE_TIME;
    case 'A':
        return TABLE_ARRAY;
    case 'F':
        return TABLE_TABLE;
    case 'V':
        return TABLE_VOID;
    default:
        return TABLE_INTEGER;
    }
}

/* Bytes of a value of that letter behind it; of those with a length the length. SIZE_MAX: no such letter. */
static size_t width_of(char letter)
{
    switch (letter) {
    case 'V':
        return 0;
    case 't':
    case 'b':
    case 'B':
        return 1;
    case 's':
    case 'u':
        return 2;
    case 'I':
    case 'i':
    case 'f':
    case 'S':
    case 'x':
    case 'A':
    case 'F':
        return 4;
    case 'D':
        return 5;
    case 'l':
    case 'L':
    case 'd':
    case 'T':
        return 8;
    default:
        return SIZE_MAX;
    }
}

static int64_t integer_at(char letter, const uint8_t *p)
{
    switch (letter) {
    case 't':
        return p[0] != 0;
    case 'b':
        return (int8_t)p[0];
    case 'B':
        return p[0];
    case 's':
        return (int16_t)get_u16(p);
    case 'u':
        return get_u16(p);
    case 'I':
        return (int32_t)get_u32(p);
    case 'i':
        return get_u32(p);
    default:
        return (int64_t)get_u64(p);
    }
}

static double float_at(char letter, const uint8_t *p)
{
    if (letter == 'f') {
        uint32_t bits = get_u32(p);
        float value;
        memcpy(&value, &bits, sizeof(value));
        return (double)value;
    }
    uint64_t bits = get_u64(p);
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* The value at *at, which is moved behind it. False: it is cut short, or has no known letter. */
static bool read_value(beck_bytes in, size_t *at, struct table_value *v)
{
    if (*at >= in.len)
        return false;
    const uint8_t *p = (const uint8_t *)in.data + *at + 1;
    size_t left = in.len - *at - 1;
    char letter = (char)p[-1];
    size_t width = width_of(letter);
    if (width > left)
        return false;
    *v = (struct table_value){.kind = kind_of(letter), .letter = letter};
    size_t length = 0;
    switch (v->kind) {
    case TABLE_BOOL:
    case TABLE_INTEGER:
    case TABLE_TIME:
        v->integer = integer_at(letter, p);
        break;
    case TABLE_FLOAT:
        v->number = float_at(letter, p);
        break;
    case TABLE_DECIMAL:
        v->bytes = bytes_of(p, width);
        break;
    case TABLE_TEXT:
    case TABLE_BYTES:
    case TABLE_ARRAY:
    case TABLE_TABLE:
        length = get_u32(p);
        if (length > left - width)
            return false;
        v->bytes = bytes_of(p + width, length);
        break;
    case TABLE_VOID:
        break;
    }
    *at += 1 + width + length;
    return true;
}

static bool read_name(beck_bytes in, size_t *at, beck_bytes *name)
{
    if (*at >= in.len)
        return false;
    const uint8_t *p = (const uint8_t *)in.data + *at;
    if (p[0] > in.len - *at - 1)
        return false;
    *name = bytes_of(p + 1, p[0]);
    *at += 1 + (size_t)p[0];
    return true;
}

beck_status table_check(beck_bytes table, beck_error *err)
{
    struct {
        size_t end;
        bool array;
    } level[TABLE_DEPTH_MAX];
    size_t depth = 0, at = 0;
    level[depth++].end = table.len;
    level[0].array = false;
    while (depth > 0) {
        if (at == level[depth - 1].end) {
            depth--;
            continue;
        }
        beck_bytes in = bytes_of(table.data, level[depth - 1].end), name;
        struct table_value v;
        if (!level[depth - 1].array && !read_name(in, &at, &name))
            return error_set(err, BECK_EINVAL, "field table: a name is cut short");
        if (!read_value(in, &at, &v))
            return error_set(err, BECK_EINVAL,
                             "field table: a value is cut short or of no known type");
        if (v.kind != TABLE_TABLE && v.kind != TABLE_ARRAY)
            continue;
        if (depth == TABLE_DEPTH_MAX)
            return error_set(err, BECK_EINVAL, "field table: nested deeper than %d",
                             TABLE_DEPTH_MAX);
        level[depth].end = at;
        level[depth].array = v.kind == TABLE_ARRAY;
        depth++;
        at -= v.bytes.len;
    }
    return BECK_OK;
}

bool table_next(beck_bytes table, size_t *at, beck_bytes *name, struct table_value *value)
{
    return read_name(table, at, name) && read_value(table, at, value);
}

bool array_next(beck_bytes array, size_t *at, struct table_value *value)
{
    return read_value(array, at, value);
}

static bool find(beck_bytes table, beck_bytes wanted, struct table_value *out)
{
    beck_bytes name;
    for (size_t at = 0; table_next(table, &at, &name, out);)
        if (bytes_equal(name, wanted))
            return true;
    return false;
}

bool table_find(beck_bytes table, const char *name, struct table_value *out)
{
    return find(table, bytes_of(name, strlen(name)), out);
}

const char *table_type_name(const struct table_value *value)
{
    static const struct {
        char letter;
        const char *name;
    } names[] = {
        {'S', "longstr"}, {'I', "signedint"},     {'i', "unsignedint"}, {'l', "long"},
        {'L', "long"},    {'t', "bool"},          {'b', "byte"},        {'B', "unsignedbyte"},
        {'s', "short"},   {'u', "unsignedshort"}, {'f', "float"},       {'d', "double"},
        {'D', "decimal"}, {'x', "binary"},        {'T', "timestamp"},   {'A', "array"},
        {'F', "table"},   {'V', "void"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].letter == value->letter)
            return names[i].name;
    return "void";
}

void table_value_print(const struct table_value *v, char *out, size_t size)
{
    switch (v->kind) {
    case TABLE_BOOL:
        snprintf(out, size, "%s", v->integer ? "true" : "false");
        break;
    case TABLE_INTEGER:
        snprintf(out, size, "%lld", (long long)v->integer);
        break;
    case TABLE_TIME:
        snprintf(out, size, "%llu", (unsigned long long)v->integer);
        break;
    case TABLE_FLOAT:
        snprintf(out, size, v->number == (double)(int64_t)v->number ? "%.1f" : "%.17g", v->number);
        break;
    case TABLE_TEXT:
    case TABLE_BYTES:
        snprintf(out, size, "%.*s", (int)v->bytes.len, (const char *)v->bytes.data);
        break;
    case TABLE_DECIMAL:
        snprintf(out, size, "{%u,%u}", ((const uint8_t *)v->bytes.data)[0],
                 get_u32((const uint8_t *)v->bytes.data + 1));
        break;
    case TABLE_VOID:
        snprintf(out, size, "undefined");
        break;
    default:
        snprintf(out, size, "[...]");
    }
}

/* ---- equality ---- */

static size_t entries_of(const struct table_value *v)
{
    size_t count = 0;
    beck_bytes name;
    struct table_value entry;
    for (size_t at = 0; v->kind == TABLE_TABLE ? table_next(v->bytes, &at, &name, &entry)
                                               : array_next(v->bytes, &at, &entry);)
        count++;
    return count;
}

/* Of what holds no others. */
static bool plain_equal(const struct table_value *a, const struct table_value *b)
{
    switch (a->kind) {
    case TABLE_BOOL:
    case TABLE_INTEGER:
    case TABLE_TIME:
        return a->integer == b->integer;
    case TABLE_FLOAT:
        return a->number == b->number;
    case TABLE_VOID:
        return true;
    default:
        return bytes_equal(a->bytes, b->bytes);
    }
}

/* Two arrays or tables, with as many entries, and how far the first was compared. */
struct compared {
    struct table_value a, b;
    size_t at_a, at_b;
    bool ordered;
};

static bool begin_comparing(struct compared *c, const struct table_value *a,
                            const struct table_value *b)
{
    size_t count = entries_of(a);
    if (count != entries_of(b))
        return false;
    *c = (struct compared){.a = *a, .b = *b};
    c->ordered = a->kind == TABLE_ARRAY || count > UNORDERED_MAX;
    return true;
}

/* The next entry of a, and what of b is to be equal to it. */
static bool next_pair(struct compared *c, struct table_value *a, struct table_value *b,
                      bool *missing)
{
    beck_bytes name_a, name_b;
    *missing = false;
    if (c->a.kind == TABLE_ARRAY)
        return array_next(c->a.bytes, &c->at_a, a) && array_next(c->b.bytes, &c->at_b, b);
    if (!table_next(c->a.bytes, &c->at_a, &name_a, a))
        return false;
    if (c->ordered)
        *missing = !table_next(c->b.bytes, &c->at_b, &name_b, b) || !bytes_equal(name_a, name_b);
    else
        *missing = !find(c->b.bytes, name_a, b);
    return true;
}

/* Every entry of a is in b, and there are as many. Not more than TABLE_DEPTH_MAX levels, as both passed
 * table_check. */
static bool contained(const struct table_value *a, const struct table_value *b)
{
    struct compared level[TABLE_DEPTH_MAX + 1];
    size_t depth = 0;
    if (!begin_comparing(&level[depth++], a, b))
        return false;
    while (depth > 0) {
        struct table_value x, y;
        bool missing;
        if (!next_pair(&level[depth - 1], &x, &y, &missing)) {
            depth--;
            continue;
        }
        if (missing || x.kind != y.kind)
            return false;
        if (x.kind != TABLE_TABLE && x.kind != TABLE_ARRAY) {
            if (!plain_equal(&x, &y))
                return false;
            continue;
        }
        if (bytes_equal(x.bytes, y.bytes))
            continue;
        if (depth > TABLE_DEPTH_MAX || !begin_comparing(&level[depth++], &x, &y))
            return false;
    }
    return true;
}

bool table_value_equal(const struct table_value *a, const struct table_value *b)
{
    if (a->kind != b->kind)
        return false;
    if (a->kind != TABLE_TABLE && a->kind != TABLE_ARRAY)
        return plain_equal(a, b);
    /* Both ways: a name may be there twice. */
    return bytes_equal(a->bytes, b->bytes) || (contained(a, b) && contained(b, a));
}

/* ---- writing ---- */

beck_status table_put_failed(struct buf *out, beck_status status)
{
    out->max = out->cap = out->len;
    return status;
}

beck_status table_put_short(struct buf *out, beck_bytes text)
{
    if (text.len > 255)
        return table_put_failed(out, BECK_EINVAL);
    beck_status status = buf_reserve(out, 1 + text.len);
    if (status != BECK_OK)
        return table_put_failed(out, status);
    (void)buf_append_byte(out, (uint8_t)text.len);
    (void)buf_append(out, text.data, text.len);
    return BECK_OK;
}

static void put_integer(uint8_t *p, char letter, int64_t value)
{
    switch (width_of(letter)) {
    case 1:
        p[0] = (uint8_t)value;
        break;
    case 2:
        put_u16(p, (uint16_t)value);
        break;
    case 4:
        put_u32(p, (uint32_t)value);
        break;
    default:
        put_u64(p, (uint64_t)value);
    }
}

static void put_float(uint8_t *p, char letter, double number)
{
    if (letter == 'f') {
        float value = (float)number;
        uint32_t bits;
        memcpy(&bits, &value, sizeof(bits));
        put_u32(p, bits);
        return;
    }
    uint64_t bits;
    memcpy(&bits, &number, sizeof(bits));
    put_u64(p, bits);
}

static beck_status append_value(struct buf *out, const struct table_value *v)
{
    size_t width = width_of(v->letter);
    enum table_kind kind = kind_of(v->letter);
    bool sized =
        kind == TABLE_TEXT || kind == TABLE_BYTES || kind == TABLE_ARRAY || kind == TABLE_TABLE;
    if (width == SIZE_MAX || (sized && v->bytes.len > UINT32_MAX) ||
        (kind == TABLE_DECIMAL && (!v->bytes.data || v->bytes.len != width)))
        return table_put_failed(out, BECK_EINVAL);
    beck_status status = buf_reserve(out, 1 + width + (sized ? v->bytes.len : 0));
    if (status != BECK_OK)
        return table_put_failed(out, status);
    uint8_t *p = out->data + out->len;
    *p++ = (uint8_t)v->letter;
    if (sized) {
        put_u32(p, (uint32_t)v->bytes.len);
        if (v->bytes.len > 0)
            memcpy(p + width, v->bytes.data, v->bytes.len);
    } else if (kind == TABLE_DECIMAL) {
        memcpy(p, v->bytes.data, width);
    } else if (kind == TABLE_FLOAT) {
        put_float(p, v->letter, v->number);
    } else if (kind != TABLE_VOID) {
        put_integer(p, v->letter, v->integer);
    }
    out->len += 1 + width + (sized ? v->bytes.len : 0);
    return BECK_OK;
}

beck_status table_put(struct buf *out, beck_bytes name, const struct table_value *value)
{
    beck_status status = table_put_short(out, name);
    return status == BECK_OK ? append_value(out, value) : status;
}

static beck_status put_named(struct buf *out, const char *name, const struct table_value *value)
{
    return table_put(out, bytes_of(name, strlen(name)), value);
}

beck_status table_put_text(struct buf *out, const char *name, beck_bytes text)
{
    return put_named(out, name, &(struct table_value){.letter = 'S', .bytes = text});
}

beck_status table_put_long(struct buf *out, const char *name, int64_t value)
{
    return put_named(out, name, &(struct table_value){.letter = 'l', .integer = value});
}

beck_status table_put_bool(struct buf *out, const char *name, bool value)
{
    return put_named(out, name, &(struct table_value){.letter = 't', .integer = value});
}

beck_status table_put_time(struct buf *out, const char *name, int64_t seconds)
{
    return put_named(out, name, &(struct table_value){.letter = 'T', .integer = seconds});
}

size_t table_begin(struct buf *out, const char *name, char letter)
{
    assert(letter == 'F' || letter == 'A');
    return put_named(out, name, &(struct table_value){.letter = letter}) == BECK_OK ? out->len
                                                                                    : SIZE_MAX;
}

size_t array_begin_table(struct buf *out)
{
    return array_put(out, &(struct table_value){.letter = 'F'}) == BECK_OK ? out->len : SIZE_MAX;
}

void table_end(struct buf *out, size_t begun)
{
    if (begun == SIZE_MAX)
        return;
    assert(begun >= 5 && begun <= out->len);
    put_u32(out->data + begun - 4, (uint32_t)(out->len - begun));
}

beck_status array_put(struct buf *out, const struct table_value *value)
{
    return append_value(out, value);
}

static bool is_among(beck_bytes name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bytes_equal_text(name, names[i]))
            return true;
    return false;
}

beck_status table_copy_without(struct buf *out, beck_bytes from, const char *const *names,
                               size_t count)
{
    beck_bytes name;
    struct table_value value;
    for (size_t at = 0, begin = 0; table_next(from, &at, &name, &value); begin = at) {
        if (is_among(name, names, count))
            continue;
        beck_status status = buf_append(out, (const uint8_t *)from.data + begin, at - begin);
        if (status != BECK_OK)
            return table_put_failed(out, status);
    }
    return BECK_OK;
}
