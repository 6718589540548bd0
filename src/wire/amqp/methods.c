/* Reading and writing methods, as the table says. Bits that follow each other share an octet, from its
 * lowest bit on. */
#include "wire/amqp/methods.h"

#include "broker/table.h"

#include <stddef.h>

#define OCTET(name) "o"
#define SHORT(name) "s"
#define LONG(name) "l"
#define LONGLONG(name) "q"
#define BIT(name) "b"
#define SHORTSTR(name) "S"
#define LONGSTR(name) "L"
#define TABLE(name) "T"
#define NOTHING ""
#define METHOD(name_, class_, method_, sender_, fields)                                            \
    {.name = #name_, .id = METHOD_##name_, .sender = METHOD_##sender_, .kinds = (fields)},
const struct method_shape method_shapes[] = {AMQP_METHODS(METHOD)};
#undef METHOD

const size_t method_count = sizeof method_shapes / sizeof *method_shapes;

/* The fields of a method begin where its union does. */
#define FIELDS offsetof(struct method, connection_start)

const struct method_shape *method_find(uint32_t id)
{
    size_t low = 0, high = method_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        uint32_t there = (uint32_t)method_shapes[middle].id;
        if (there == id)
            return &method_shapes[middle];
        if (there < id)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* ---- reading ---- */

struct reader {
    const uint8_t *at, *end;
    bool bad;
    uint8_t bits; /* the octet that the next bit is in */
    int bit;      /* 0: in an octet of its own */
};

static uint64_t read_number(struct reader *r, size_t size)
{
    uint64_t value = 0;
    if ((size_t)(r->end - r->at) < size) {
        r->bad = true;
        return 0;
    }
    for (size_t i = 0; i < size; i++)
        value = value << 8 | r->at[i];
    r->at += size;
    return value;
}

static uint64_t read_bit(struct reader *r)
{
    if (r->bit == 0)
        r->bits = (uint8_t)read_number(r, 1);
    uint64_t value = r->bits >> r->bit & 1;
    r->bit = (r->bit + 1) % 8;
    return value;
}

static beck_bytes read_text(struct reader *r, size_t prefix)
{
    size_t len = (size_t)read_number(r, prefix);
    if (r->bad || (size_t)(r->end - r->at) < len) {
        r->bad = true;
        return bytes_of("", 0);
    }
    beck_bytes text = bytes_of(r->at, len);
    r->at += len;
    return text;
}

static void read_bytes(struct reader *r, char kind, beck_bytes *out)
{
    *out = read_text(r, kind == 'S' ? 1 : 4);
    if (kind == 'S')
        r->bad |= !bytes_is_utf8(*out);
    else if (kind == 'T' && out->len > 0)
        r->bad |= table_check(*out, NULL) != BECK_OK;
}

static size_t size_of_number(char kind)
{
    switch (kind) {
    case 'o':
        return 1;
    case 's':
        return 2;
    case 'l':
        return 4;
    default:
        return 8;
    }
}

static bool is_text(char kind)
{
    return kind == 'S' || kind == 'L' || kind == 'T';
}

enum method_read method_read(beck_bytes payload, struct method *out)
{
    struct reader r = {.at = payload.data, .end = (const uint8_t *)payload.data + payload.len};
    out->id = (enum method_id)read_number(&r, 4);
    const struct method_shape *shape = r.bad ? NULL : method_find((uint32_t)out->id);
    if (!shape)
        return r.bad ? METHOD_MALFORMED : METHOD_UNKNOWN;
    uint8_t *field = (uint8_t *)out + FIELDS;
    for (const char *kind = shape->kinds; *kind && !r.bad; kind++) {
        if (is_text(*kind)) {
            read_bytes(&r, *kind, (beck_bytes *)(void *)field);
            field += sizeof(beck_bytes);
        } else {
            uint64_t value = *kind == 'b' ? read_bit(&r) : read_number(&r, size_of_number(*kind));
            memcpy(field, &value, sizeof value);
            field += sizeof value;
        }
        r.bit = *kind == 'b' ? r.bit : 0;
    }
    return r.bad || r.at != r.end ? METHOD_MALFORMED : METHOD_READ;
}

/* ---- writing ---- */

static size_t short_length(size_t len)
{
    return len < 255 ? len : 255;
}

size_t method_length(const struct method *m)
{
    size_t length = 4;
    int bit = 0;
    const uint8_t *field = (const uint8_t *)m + FIELDS;
    for (const char *kind = method_find((uint32_t)m->id)->kinds; *kind; kind++) {
        if (is_text(*kind)) {
            size_t len = ((const beck_bytes *)(const void *)field)->len;
            length += *kind == 'S' ? 1 + short_length(len) : 4 + len;
            field += sizeof(beck_bytes);
        } else {
            length += *kind == 'b' ? bit % 8 == 0 : size_of_number(*kind);
            field += sizeof(uint64_t);
        }
        bit = *kind == 'b' ? bit + 1 : 0;
    }
    return length;
}

static uint8_t *write_number(uint8_t *out, uint64_t value, size_t size)
{
    for (size_t i = size; i > 0; i--, value >>= 8)
        out[i - 1] = (uint8_t)value;
    return out + size;
}

static uint8_t *write_text(uint8_t *out, char kind, beck_bytes text)
{
    size_t len = kind == 'S' ? short_length(text.len) : text.len;
    out = write_number(out, len, kind == 'S' ? 1 : 4);
    if (len > 0)
        memcpy(out, text.data, len);
    return out + len;
}

uint8_t *method_write(const struct method *m, uint8_t *out)
{
    int bit = 0;
    const uint8_t *field = (const uint8_t *)m + FIELDS;
    out = write_number(out, (uint32_t)m->id, 4);
    for (const char *kind = method_find((uint32_t)m->id)->kinds; *kind; kind++) {
        if (is_text(*kind)) {
            out = write_text(out, *kind, *(const beck_bytes *)(const void *)field);
            field += sizeof(beck_bytes);
            bit = 0;
            continue;
        }
        uint64_t value;
        memcpy(&value, field, sizeof value);
        field += sizeof value;
        if (*kind == 'b') {
            if (bit % 8 == 0)
                *out++ = 0;
            out[-1] |= (uint8_t)((value != 0) << bit % 8);
            bit++;
        } else {
            out = write_number(out, value, size_of_number(*kind));
            bit = 0;
        }
    }
    return out;
}
