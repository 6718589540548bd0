/*
 * JSON as the management API has it: AMQP tables, properties of messages, texts that may be no UTF-8.
 *
 * Numbers of tables become 64-bit (l) or doubles (d), as RabbitMQ makes them.
 */
#include "wire/management/call.h"

#include "base/error.h"
#include "wire/management/text.h"

#include <stdlib.h>

#define TABLE_MAX (1u << 20)

/* ---- values ---- */

/* With U+FFFD for each byte that belongs to no character. */
static json_t *repaired(beck_bytes text)
{
    struct buf out;
    buf_init(&out, text.len * 8 + 16);
    json_t *v = NULL;
    if (text_quote(&out, text) == BECK_OK)
        v = json_loadb((const char *)out.data, out.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    buf_release(&out);
    return v;
}

json_t *json_of(beck_bytes text)
{
    json_t *v = json_stringn(text.len ? text.data : "", text.len);
    return v ? v : repaired(text);
}

json_t *json_of_document(beck_bytes json)
{
    json_t *v =
        json.len ? json_loadb(json.data, json.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
    return v ? v : json_object();
}

void json_put(json_t *object, const char *name, json_t *value)
{
    json_object_set_new(object, name, value);
}

void json_put_text(json_t *object, const char *name, beck_bytes text)
{
    json_put(object, name, json_of(text));
}

void json_put_word(json_t *object, const char *name, const char *text)
{
    json_put(object, name, json_string(text));
}

void json_put_number(json_t *object, const char *name, int64_t value)
{
    json_put(object, name, json_integer(value));
}

void json_put_flag(json_t *object, const char *name, bool value)
{
    json_put(object, name, json_boolean(value));
}

beck_bytes json_slice(const json_t *string)
{
    return bytes_of(json_string_value(string), json_string_length(string));
}

static int append(const char *text, size_t len, void *ctx)
{
    return buf_append(ctx, text, len) ? -1 : 0;
}

beck_status json_write(const json_t *value, struct buf *out)
{
    size_t before = out->len;
    if (json_dump_callback(value, append, out, JSON_COMPACT | JSON_ENCODE_ANY) == 0)
        return BECK_OK;
    out->len = before;
    return BECK_ENOMEM;
}

/* ---- tables ---- */

static json_t *of_value(const struct table_value *v);

static json_t *of_array(beck_bytes array) // NOLINT(misc-no-recursion): tables were checked
{
    json_t *out = json_array();
    struct table_value v;
    for (size_t at = 0; array_next(array, &at, &v);)
        json_array_append_new(out, of_value(&v));
    return out;
}

json_t *json_of_table(beck_bytes table) // NOLINT(misc-no-recursion)
{
    json_t *out = json_object();
    beck_bytes name;
    struct table_value v;
    for (size_t at = 0; table_next(table, &at, &name, &v);) {
        char key[256];
        size_t len = name.len < sizeof key ? name.len : sizeof key - 1;
        memcpy(key, len ? name.data : "", len);
        key[len] = 0;
        json_put(out, key, of_value(&v));
    }
    return out;
}

static json_t *of_value(const struct table_value *v) // NOLINT(misc-no-recursion)
{
    switch (v->kind) {
    case TABLE_BOOL:
        return json_boolean(v->integer);
    case TABLE_INTEGER:
    case TABLE_TIME:
        return json_integer(v->integer);
    case TABLE_FLOAT:
        return json_real(v->number);
    case TABLE_TEXT:
    case TABLE_BYTES:
        return json_of(v->bytes);
    case TABLE_ARRAY:
        return of_array(v->bytes);
    case TABLE_TABLE:
        return json_of_table(v->bytes);
    case TABLE_DECIMAL:
    case TABLE_VOID:
        break;
    }
    return json_null();
}

static beck_status put_object(const json_t *object, struct buf *out, unsigned depth);
static beck_status put_array(const json_t *array, struct buf *out, unsigned depth);

/* What needs no nesting. */
static bool plain_value(const json_t *from, struct table_value *v)
{
    *v = (struct table_value){0};
    if (json_is_string(from)) {
        v->kind = TABLE_TEXT;
        v->letter = 'S';
        v->bytes = json_slice(from);
    } else if (json_is_integer(from)) {
        v->kind = TABLE_INTEGER;
        v->letter = 'l';
        v->integer = json_integer_value(from);
    } else if (json_is_real(from)) {
        v->kind = TABLE_FLOAT;
        v->letter = 'd';
        v->number = json_real_value(from);
    } else if (json_is_boolean(from)) {
        v->kind = TABLE_BOOL;
        v->letter = 't';
        v->integer = json_is_true(from);
    } else {
        v->kind = TABLE_VOID;
        v->letter = 'V';
    }
    return !json_is_object(from) && !json_is_array(from);
}

/* A nested one is written by itself, then put as a value. */
static beck_status nested_value(const json_t *from, struct buf *inner, struct table_value *v,
                                unsigned depth) // NOLINT(misc-no-recursion)
{
    bool object = json_is_object(from);
    buf_init(inner, TABLE_MAX);
    beck_status status = depth == 0 ? BECK_ELIMIT
                         : object   ? put_object(from, inner, depth - 1)
                                    : put_array(from, inner, depth - 1);
    *v = (struct table_value){.kind = object ? TABLE_TABLE : TABLE_ARRAY,
                              .letter = object ? 'F' : 'A',
                              .bytes = buf_bytes(inner)};
    return status;
}

static beck_status put_array(const json_t *array, struct buf *out,
                             unsigned depth) // NOLINT(misc-no-recursion)
{
    beck_status status = BECK_OK;
    for (size_t i = 0; i < json_array_size(array) && !status; i++) {
        const json_t *from = json_array_get(array, i);
        struct table_value v;
        struct buf inner = {0};
        if (!plain_value(from, &v))
            status = nested_value(from, &inner, &v, depth);
        if (!status)
            status = array_put(out, &v);
        buf_release(&inner);
    }
    return status;
}

static beck_status put_object(const json_t *object, struct buf *out,
                              unsigned depth) // NOLINT(misc-no-recursion)
{
    beck_status status = BECK_OK;
    const char *name;
    json_t *from;
    json_object_foreach((json_t *)(uintptr_t)object, name, from)
    {
        struct table_value v;
        struct buf inner = {0};
        if (strlen(name) > 255)
            status = BECK_EINVAL;
        if (!status && !plain_value(from, &v))
            status = nested_value(from, &inner, &v, depth);
        if (!status)
            status = table_put(out, beck_str(name), &v);
        buf_release(&inner);
        if (status)
            break;
    }
    return status;
}

/* RabbitMQ's tools send [] where an empty object is meant. */
bool table_of_json(struct call *c, const json_t *object, struct buf *out)
{
    buf_init(out, TABLE_MAX);
    if (!object || json_is_null(object) || (json_is_array(object) && json_array_size(object) == 0))
        return true;
    if (json_is_object(object) && put_object(object, out, TABLE_DEPTH_MAX - 1) == BECK_OK &&
        table_check(buf_bytes(out), NULL) == BECK_OK)
        return true;
    buf_release(out);
    error_set(
        &c->err, BECK_EINVAL,
        "arguments and headers are an object with names of up to 255 bytes, nested at most %d "
        "times, of at most %u bytes",
        TABLE_DEPTH_MAX, TABLE_MAX);
    return false;
}

/* ---- properties ---- */

static const struct {
    const char *name;
    uint16_t flag;
    size_t offset;
} texts[] = {
#define TEXT(name, flag)                                                                           \
    {                                                                                              \
#name, flag, offsetof(struct properties, name)                                             \
    }
    TEXT(content_type, PROPERTY_CONTENT_TYPE),
    TEXT(content_encoding, PROPERTY_CONTENT_ENCODING),
    TEXT(correlation_id, PROPERTY_CORRELATION_ID),
    TEXT(reply_to, PROPERTY_REPLY_TO),
    TEXT(expiration, PROPERTY_EXPIRATION),
    TEXT(message_id, PROPERTY_MESSAGE_ID),
    TEXT(type, PROPERTY_TYPE),
    TEXT(user_id, PROPERTY_USER_ID),
    TEXT(app_id, PROPERTY_APP_ID),
    TEXT(cluster_id, PROPERTY_CLUSTER_ID),
#undef TEXT
};
#define TEXTS (sizeof texts / sizeof *texts)

json_t *json_of_properties(beck_bytes raw)
{
    struct properties p;
    json_t *out = json_object();
    if (properties_read(raw, &p, NULL))
        return out;
    for (size_t i = 0; i < TEXTS; i++)
        if (p.flags & texts[i].flag)
            json_put_text(out, texts[i].name,
                          *(const beck_bytes *)(const void *)((const char *)&p + texts[i].offset));
    if (p.flags & PROPERTY_TIMESTAMP)
        json_put_number(out, "timestamp", (int64_t)p.timestamp);
    if (p.flags & PROPERTY_PRIORITY)
        json_put_number(out, "priority", p.priority);
    if (p.flags & PROPERTY_DELIVERY_MODE)
        json_put_number(out, "delivery_mode", p.delivery_mode);
    if (p.flags & PROPERTY_HEADERS)
        json_put(out, "headers", json_of_table(p.headers));
    return out;
}

/* A number of a property, in range; false, after answering. *there: it was given. */
static bool small_number(struct call *c, const json_t *object, const char *name, int64_t max,
                         bool *there, int64_t *out)
{
    if (!body_number(c, object, name, -1, out))
        return false;
    *there = *out != -1;
    if (!*there || (*out >= 0 && *out <= max))
        return true;
    answer_error(c, 400, "bad_request", "%s is out of range", name);
    return false;
}

static bool read_texts(struct call *c, const json_t *object, struct properties *p)
{
    for (size_t i = 0; i < TEXTS; i++) {
        beck_bytes *to = (beck_bytes *)(void *)((char *)p + texts[i].offset);
        if (!json_object_get(object, texts[i].name))
            continue;
        if (!body_text(c, object, texts[i].name, "", to))
            return false;
        if (to->len > 255) {
            answer_error(c, 400, "bad_request", "%s has more than 255 bytes", texts[i].name);
            return false;
        }
        p->flags |= texts[i].flag;
    }
    return true;
}

/* False, after answering. */
bool properties_of_json(struct call *c, const json_t *object, struct buf *out)
{
    struct properties p = {0};
    struct buf headers = {0};
    int64_t mode, priority, timestamp;
    bool has_mode, has_priority, has_timestamp;
    buf_init(out, TABLE_MAX * 2);
    if (!read_texts(c, object, &p) ||
        !small_number(c, object, "delivery_mode", 255, &has_mode, &mode) ||
        !small_number(c, object, "priority", 255, &has_priority, &priority) ||
        !small_number(c, object, "timestamp", INT64_MAX, &has_timestamp, &timestamp))
        return false;
    p.delivery_mode = (uint8_t)mode;
    p.priority = (uint8_t)priority;
    p.timestamp = (uint64_t)timestamp;
    p.flags |= has_mode ? PROPERTY_DELIVERY_MODE : 0;
    p.flags |= has_priority ? PROPERTY_PRIORITY : 0;
    p.flags |= has_timestamp ? PROPERTY_TIMESTAMP : 0;
    const json_t *given = json_object_get(object, "headers");
    bool ok = table_of_json(c, given, &headers);
    if (!ok)
        answer_status(c, BECK_EINVAL);
    if (ok && given && !json_is_null(given)) {
        p.flags |= PROPERTY_HEADERS;
        p.headers = buf_bytes(&headers);
    }
    if (ok && properties_write(out, &p)) {
        answer_error(c, 503, "service_unavailable", "no memory for the properties");
        ok = false;
    }
    buf_release(&headers);
    return ok;
}
