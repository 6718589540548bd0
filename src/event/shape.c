/* JSON objects and C structures by tables: see shape.h. */
#include "event/shape.h"
#include "base/error.h"
#include "base/nearest.h"
#include "event/time.h"
#include <assert.h>
#include <stdio.h>

/* ---- reading ---- */

struct reading {
    struct json_reader r;
    const struct shape_memory *memory;
    const char *outer; /* name of the member that holds the object being read, or NULL */
    beck_error *err;
};

/* What a member is called in messages. */
static const char *whose(const struct reading *in)
{
    return in->outer ? in->outer : "";
}

static const char *show(const struct json_token *t, char out[64])
{
    switch (t->kind) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    default:
        break;
    }
    int len = t->raw.len < 40 ? (int)t->raw.len : 40;
    const char *quote = t->kind == JSON_STRING ? "\"" : "";
    snprintf(out, 64, "%s%.*s%s%s", quote, len, (const char *)t->raw.data,
             (size_t)len < t->raw.len ? "..." : "", quote);
    return out;
}

static beck_status refuse(const struct reading *in, const struct shape_field *f,
                          const struct json_token *t, const char *expected)
{
    char text[64];
    const char *outer = whose(in);
    return error_set(in->err, BECK_EINVAL, "member \"%s%s%s\" at byte %zu is %s; it takes %s",
                     outer, *outer ? "." : "", f->name, t->at, show(t, text), expected);
}

static beck_status no_memory(const struct reading *in)
{
    return error_set(in->err, BECK_ENOMEM, "no memory to read the JSON document");
}

static bool read_integer(const struct json_token *t, bool text, int64_t *out)
{
    const char *p = t->raw.data;
    size_t len = t->raw.len;
    bool negative = len > 0 && *p == '-';
    uint64_t u;
    if (t->kind != (text ? JSON_STRING : JSON_NUMBER) ||
        !bytes_to_u64(bytes_of(p + negative, len - negative), &u) || u > INT64_MAX) {
        return false;
    }
    *out = negative ? -(int64_t)u : (int64_t)u;
    return true;
}

static beck_status read_number(const struct reading *in, const struct shape_field *f,
                               const struct json_token *t, void *at)
{
    int64_t n;
    if (!read_integer(t, false, &n) || n < f->min || n > f->max) {
        char expected[80];
        snprintf(expected, sizeof expected, "a whole number from %lld to %lld", (long long)f->min,
                 (long long)f->max);
        return refuse(in, f, t, expected);
    }
    uint32_t u = (uint32_t)n;
    if (f->kind == SHAPE_U32) {
        memcpy(at, &u, sizeof u);
    } else {
        memcpy(at, &n, sizeof n);
    }
    return BECK_OK;
}

/* The index of a choice, or -1 after refusing with all that there are. */
static int read_choice(const struct reading *in, const struct shape_field *f,
                       const struct json_token *t)
{
    char expected[200] = "one of";
    size_t len = strlen(expected);
    for (int i = 0; f->choices[i]; i++) {
        if (*f->choices[i] == '\0') {
            continue;
        }
        if (t->kind == JSON_STRING && bytes_equal_text(t->raw, f->choices[i])) {
            return i;
        }
        len += (size_t)snprintf(expected + len, sizeof expected - len, " \"%s\"", f->choices[i]);
        assert(len < sizeof expected);
    }
    refuse(in, f, t, expected);
    return -1;
}

static beck_status read_set(struct reading *in, const struct shape_field *f,
                            const struct json_token *t, uint32_t *out)
{
    struct json_token item;
    if (t->kind != JSON_ARRAY) {
        return refuse(in, f, t, "an array of strings");
    }
    for (;;) {
        beck_status status = json_next(&in->r, &item, in->err);
        if (status != BECK_OK || item.kind == JSON_ARRAY_END) {
            return status;
        }
        int i = read_choice(in, f, &item);
        if (i < 0) {
            return BECK_EINVAL;
        }
        *out |= 1u << i;
    }
}

static beck_status read_text(const struct reading *in, const struct shape_field *f,
                             const struct json_token *t, const char **out)
{
    if (t->kind != JSON_STRING) {
        return refuse(in, f, t, "a string");
    }
    char *text = in->memory->alloc(in->memory->ctx, t->raw.len + 1);
    if (text == NULL) {
        return no_memory(in);
    }
    size_t len = t->raw.len;
    if (!t->escaped) {
        memcpy(text, t->raw.data, len);
    } else {
        len = json_unescape_to(t, (uint8_t *)text);
    }
    text[len] = '\0';
    if ((int64_t)len < f->min || (int64_t)len > f->max || strlen(text) != len) {
        char expected[80];
        snprintf(expected, sizeof expected, "%lld to %lld bytes of text without U+0000",
                 (long long)f->min, (long long)f->max);
        return refuse(in, f, t, expected);
    }
    *out = text;
    return BECK_OK;
}

static beck_status read_from(const struct reading *in, const struct shape_field *f,
                             const struct json_token *t, beck_from *out)
{
    int64_t ns;
    if (t->kind == JSON_STRING && bytes_equal_text(t->raw, "now")) {
        *out = (beck_from){.kind = BECK_FROM_NOW};
    } else if (t->kind == JSON_STRING && bytes_equal_text(t->raw, "earliest")) {
        *out = (beck_from){.kind = BECK_FROM_EARLIEST};
    } else if (read_integer(t, t->kind == JSON_STRING, &ns) && ns >= 0) {
        *out = (beck_from){.kind = BECK_FROM_OFFSET, .offset = ns};
    } else if (t->kind == JSON_STRING && time_parse(t->raw, &ns)) {
        *out = (beck_from){.kind = BECK_FROM_TIME, .time_ms = ns / 1000000};
    } else {
        return refuse(in, f, t, "\"now\", \"earliest\", an offset, or a time as in RFC 3339");
    }
    return BECK_OK;
}

static beck_status read_object(struct reading *in, const struct shape *s, char *out);
static beck_status read_value(struct reading *in, const struct shape_field *f,
                              const struct json_token *t, char *at);

static beck_status read_nested(struct reading *in, const struct shape_field *f,
                               const struct json_token *t, char *at)
{
    if (t->kind != JSON_OBJECT) {
        return refuse(in, f, t, "an object");
    }
    const char *outer = in->outer;
    in->outer = f->name;
    beck_status status = read_object(in, f->of, at);
    in->outer = outer;
    return status;
}

static beck_status refuse_length(const struct reading *in, const struct shape_field *f,
                                 const struct json_token *t)
{
    char expected[64];
    snprintf(expected, sizeof expected, "an array of at most %lld", (long long)f->max);
    return refuse(in, f, t, expected);
}

/* Room for one more item: it grows by doubling, the old memory stays with whoever gave it. */
static char *list_room(const struct reading *in, const struct shape_field *f, char *items,
                       size_t count)
{
    if (items != NULL && (count < 4 || (count & (count - 1)) != 0)) {
        return items;
    }
    size_t cap = count < 4 ? 4 : count * 2;
    char *grown = in->memory->alloc(in->memory->ctx, cap * f->item_size);
    if (grown != NULL && count > 0) {
        memcpy(grown, items, count * f->item_size);
    }
    return grown;
}

static beck_status read_list(struct reading *in, const struct shape_field *f,
                             const struct json_token *t, char *object)
{
    struct shape_field item = *f->item;
    struct json_token next;
    bool fixed = f->kind == SHAPE_ARRAY;
    char *items = fixed ? object + f->at : NULL;
    size_t count = 0;
    item.name = f->name;
    if (t->kind != JSON_ARRAY) {
        return refuse_length(in, f, t);
    }
    for (;;) {
        if (!fixed && (items = list_room(in, f, items, count)) == NULL) {
            return no_memory(in);
        }
        beck_status status = json_next(&in->r, &next, in->err);
        if (status == BECK_OK && next.kind == JSON_ARRAY_END) {
            break;
        }
        if (status == BECK_OK && (int64_t)count == f->max) {
            return refuse_length(in, f, t);
        }
        if (status == BECK_OK) {
            memset(items + count * f->item_size, 0, f->item_size);
            status = read_value(in, &item, &next, items + count * f->item_size);
        }
        if (status != BECK_OK) {
            return status;
        }
        count++;
    }
    uint32_t count32 = (uint32_t)count;
    if (fixed) {
        memcpy(object + f->count_at, &count32, sizeof count32);
    } else {
        memcpy(object + f->at, &items, sizeof items);
        memcpy(object + f->count_at, &count, sizeof count);
    }
    return BECK_OK;
}

/* A value that keeps to itself: all but lists and raw ones. */
static beck_status read_value(struct reading *in, const struct shape_field *f,
                              const struct json_token *t, char *at)
{
    uint64_t u;
    int choice;
    switch (f->kind) {
    case SHAPE_BOOL:
        if (t->kind != JSON_TRUE && t->kind != JSON_FALSE) {
            return refuse(in, f, t, "true or false");
        }
        *(bool *)at = t->kind == JSON_TRUE;
        return BECK_OK;
    case SHAPE_U32:
    case SHAPE_I64:
        return read_number(in, f, t, at);
    case SHAPE_U64:
        if (t->kind != JSON_STRING || !bytes_to_u64(t->raw, &u)) {
            return refuse(in, f, t, "digits in a string");
        }
        memcpy(at, &u, sizeof u);
        return BECK_OK;
    case SHAPE_CHOICE:
        choice = read_choice(in, f, t);
        memcpy(at, &choice, sizeof choice);
        return choice < 0 ? BECK_EINVAL : BECK_OK;
    case SHAPE_SET:
        return read_set(in, f, t, (uint32_t *)(void *)at);
    case SHAPE_TEXT:
        return read_text(in, f, t, (const char **)(void *)at);
    case SHAPE_FROM:
        return read_from(in, f, t, (beck_from *)(void *)at);
    case SHAPE_OBJECT:
        return read_nested(in, f, t, at);
    case SHAPE_RAW:
    case SHAPE_LIST:
    case SHAPE_ARRAY:
        break;
    }
    assert(false && "lists of lists are not made");
    return BECK_EINVAL;
}

static beck_status refuse_unknown(const struct reading *in, const struct shape *s,
                                  const struct json_token *t)
{
    char name[64] = "";
    const char *best = NULL, *outer = whose(in);
    unsigned distance = 0;
    int len = t->raw.len < sizeof name - 1 ? (int)t->raw.len : (int)sizeof name - 1;
    snprintf(name, sizeof name, "%.*s", len, (const char *)t->raw.data);
    for (const struct shape_field *f = s->fields; f->name != NULL; f++) {
        best = nearest(name, best, &distance, f->name);
    }
    if (best != NULL) {
        return error_set(in->err, BECK_EINVAL,
                         "member \"%s%s%s\" at byte %zu is unknown; did you mean \"%s\"?", outer,
                         *outer ? "." : "", name, t->at, best);
    }
    return error_set(in->err, BECK_EINVAL, "member \"%s%s%s\" at byte %zu is unknown; remove it",
                     outer, *outer ? "." : "", name, t->at);
}

static beck_status read_member(struct reading *in, const struct shape *s,
                               const struct json_token *t, uint64_t *seen, char *out)
{
    const struct shape_field *f = s->fields;
    while (f->name != NULL && !bytes_equal_text(t->raw, f->name)) {
        f++;
    }
    if (f->name == NULL) {
        return refuse_unknown(in, s, t);
    }
    uint64_t bit = 1ull << (f - s->fields);
    if (*seen & bit) {
        return error_set(in->err, BECK_EINVAL,
                         "member \"%s\" at byte %zu came before; give it once", f->name, t->at);
    }
    *seen |= bit;
    if (f->kind == SHAPE_RAW) {
        return json_skip_value(&in->r, (beck_bytes *)(void *)(out + f->at), in->err);
    }
    struct json_token value;
    beck_status status = json_next(&in->r, &value, in->err);
    if (status != BECK_OK) {
        return status;
    }
    return f->kind == SHAPE_LIST || f->kind == SHAPE_ARRAY ? read_list(in, f, &value, out)
                                                           : read_value(in, f, &value, out + f->at);
}

static void preset(const struct shape_field *f, char *at)
{
    uint32_t u = (uint32_t)f->preset;
    if (f->kind == SHAPE_U32) {
        memcpy(at, &u, sizeof u);
    } else if (f->kind == SHAPE_I64) {
        memcpy(at, &f->preset, sizeof f->preset);
    }
}

/* The members of an object whose beginning was read. */
static beck_status read_object(struct reading *in, const struct shape *s, char *out)
{
    uint64_t seen = 0;
    for (const struct shape_field *f = s->fields; f->name != NULL; f++) {
        assert(f - s->fields < SHAPE_FIELDS_MAX);
        preset(f, out + f->at);
    }
    for (;;) {
        struct json_token t;
        beck_status status = json_next(&in->r, &t, in->err);
        if (status == BECK_OK && t.kind == JSON_OBJECT_END) {
            break;
        }
        status = status != BECK_OK ? status : read_member(in, s, &t, &seen, out);
        if (status != BECK_OK) {
            return status;
        }
    }
    for (const struct shape_field *f = s->fields; f->name != NULL; f++) {
        if (f->required && !(seen & 1ull << (f - s->fields))) {
            const char *outer = whose(in);
            return error_set(in->err, BECK_EINVAL, "member \"%s%s%s\" is missing; give it", outer,
                             *outer ? "." : "", f->name);
        }
    }
    return BECK_OK;
}

beck_status shape_read(const struct shape *s, beck_bytes json, const struct shape_memory *memory,
                       void *out, beck_error *err)
{
    struct reading in = {.memory = memory, .err = err};
    struct json_token t;
    memset(out, 0, s->size);
    json_reader_init(&in.r, json);
    beck_status status = json_next(&in.r, &t, err);
    if (status == BECK_OK && t.kind != JSON_OBJECT) {
        return error_set(err, BECK_EINVAL, "the document is no JSON object; send an object");
    }
    status = status != BECK_OK ? status : read_object(&in, s, out);
    return status != BECK_OK ? status : json_next(&in.r, &t, err); /* nothing may follow */
}

/* ---- writing ---- */

static beck_status put_integer(struct buf *out, uint64_t u, bool negative)
{
    char digits[24];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + u % 10);
        u /= 10;
    } while (u > 0);
    if (negative) {
        digits[--at] = '-';
    }
    return buf_append(out, digits + at, sizeof digits - at);
}

static beck_status write_from(const beck_from *from, struct buf *out)
{
    char text[TIME_TEXT_MAX];
    switch (from->kind) {
    case BECK_FROM_NOW:
        return buf_append_text(out, "\"now\"");
    case BECK_FROM_EARLIEST:
        return buf_append_text(out, "\"earliest\"");
    case BECK_FROM_OFFSET:
        return put_integer(out, (uint64_t)from->offset, false);
    case BECK_FROM_TIME:
        break;
    }
    time_format(from->time_ms * 1000000, text);
    return buf_printf(out, "\"%s\"", text);
}

static beck_status write_set(const struct shape_field *f, uint32_t set, struct buf *out)
{
    beck_status status = buf_append_byte(out, '[');
    bool any = false;
    for (int i = 0; f->choices[i] != NULL && status == BECK_OK; i++) {
        if (set & 1u << i) {
            status = buf_printf(out, "%s\"%s\"", any ? "," : "", f->choices[i]);
            any = true;
        }
    }
    return status != BECK_OK ? status : buf_append_byte(out, ']');
}

static uint32_t get32(const char *at)
{
    uint32_t u;
    memcpy(&u, at, sizeof u);
    return u;
}

static beck_status write_value(const struct shape_field *f, const char *at, struct buf *out)
{
    int64_t n;
    uint64_t u;
    beck_bytes raw;
    const char *text;
    beck_status status;
    switch (f->kind) {
    case SHAPE_BOOL:
        return buf_append_text(out, *(const bool *)at ? "true" : "false");
    case SHAPE_U32:
        return put_integer(out, get32(at), false);
    case SHAPE_I64:
        memcpy(&n, at, sizeof n);
        return put_integer(out, n < 0 ? 0 - (uint64_t)n : (uint64_t)n, n < 0);
    case SHAPE_U64:
        memcpy(&u, at, sizeof u);
        status = buf_append_byte(out, '"');
        status = status != BECK_OK ? status : put_integer(out, u, false);
        return status != BECK_OK ? status : buf_append_byte(out, '"');
    case SHAPE_CHOICE:
        return json_write_string(out, beck_str(f->choices[get32(at)]));
    case SHAPE_SET:
        return write_set(f, get32(at), out);
    case SHAPE_TEXT:
        memcpy(&text, at, sizeof text);
        return json_write_string(out, beck_str(text));
    case SHAPE_FROM:
        return write_from((const beck_from *)(const void *)at, out);
    case SHAPE_RAW:
        memcpy(&raw, at, sizeof raw);
        return buf_append(out, raw.data, raw.len);
    case SHAPE_OBJECT:
        return shape_write(f->of, at, out);
    case SHAPE_LIST:
    case SHAPE_ARRAY:
        break;
    }
    assert(false && "lists of lists are not made");
    return BECK_EINVAL;
}

static const char *list_items(const struct shape_field *f, const char *object, size_t *count)
{
    if (f->kind == SHAPE_ARRAY) {
        *count = get32(object + f->count_at);
        return object + f->at;
    }
    const char *items;
    memcpy(&items, object + f->at, sizeof items);
    memcpy(count, object + f->count_at, sizeof *count);
    return items;
}

static beck_status write_list(const struct shape_field *f, const char *object, struct buf *out)
{
    size_t count;
    const char *items = list_items(f, object, &count);
    beck_status status = buf_append_byte(out, '[');
    for (size_t i = 0; i < count && status == BECK_OK; i++) {
        if (i > 0) {
            status = buf_append_byte(out, ',');
        }
        status = status != BECK_OK ? status : write_value(f->item, items + i * f->item_size, out);
    }
    return status != BECK_OK ? status : buf_append_byte(out, ']');
}

static bool is_absent(const struct shape_field *f, const char *object)
{
    const void *p;
    beck_bytes raw;
    switch (f->kind) {
    case SHAPE_CHOICE:
        return *f->choices[get32(object + f->at)] == '\0';
    case SHAPE_TEXT:
    case SHAPE_LIST:
        memcpy(&p, object + f->at, sizeof p);
        return p == NULL && (f->kind == SHAPE_TEXT || !f->required);
    case SHAPE_RAW:
        memcpy(&raw, object + f->at, sizeof raw);
        return raw.data == NULL;
    default:
        return false;
    }
}

beck_status shape_write(const struct shape *s, const void *object, struct buf *out)
{
    beck_status status = buf_append_byte(out, '{');
    bool any = false;
    for (const struct shape_field *f = s->fields; f->name != NULL && status == BECK_OK; f++) {
        if (is_absent(f, object)) {
            assert(!f->required);
            continue;
        }
        if (any) {
            status = buf_append_byte(out, ',');
        }
        any = true;
        status = status != BECK_OK ? status : json_write_string(out, beck_str(f->name));
        status = status != BECK_OK ? status : buf_append_byte(out, ':');
        if (status == BECK_OK) {
            status = f->kind == SHAPE_LIST || f->kind == SHAPE_ARRAY
                         ? write_list(f, object, out)
                         : write_value(f, (const char *)object + f->at, out);
        }
    }
    return status != BECK_OK ? status : buf_append_byte(out, '}');
}

/* ---- describing ---- */

static beck_status describe_choices(const struct shape_field *f, struct buf *out)
{
    beck_status status = buf_append_text(out, "\"type\":\"string\",\"enum\":[");
    bool any = false;
    for (int i = 0; f->choices[i] != NULL && status == BECK_OK; i++) {
        if (*f->choices[i] != '\0') {
            status = buf_printf(out, "%s\"%s\"", any ? "," : "", f->choices[i]);
            any = true;
        }
    }
    return status != BECK_OK ? status : buf_append_byte(out, ']');
}

static beck_status describe_number(const struct shape_field *f, struct buf *out)
{
    beck_status status = buf_printf(
        out, "\"type\":\"integer\",\"format\":\"int64\",\"minimum\":%lld,\"maximum\":%lld",
        (long long)f->min, (long long)f->max);
    if (status == BECK_OK && f->preset != 0) {
        status = buf_printf(out, ",\"default\":%lld", (long long)f->preset);
    }
    return status;
}

static beck_status describe_value(const struct shape_field *f, const char *refs, struct buf *out)
{
    beck_status status;
    switch (f->kind) {
    case SHAPE_BOOL:
        return buf_append_text(out, "\"type\":\"boolean\"");
    case SHAPE_U32:
    case SHAPE_I64:
        return describe_number(f, out);
    case SHAPE_U64:
        return buf_append_text(out, "\"type\":\"string\",\"pattern\":\"^[0-9]{1,20}$\"");
    case SHAPE_CHOICE:
        return describe_choices(f, out);
    case SHAPE_SET:
        status = buf_append_text(out, "\"type\":\"array\",\"items\":{");
        status = status != BECK_OK ? status : describe_choices(f, out);
        return status != BECK_OK ? status : buf_append_byte(out, '}');
    case SHAPE_TEXT:
        return buf_printf(out, "\"type\":\"string\",\"minLength\":%d,\"maxLength\":%lld",
                          f->min > 0, (long long)f->max);
    case SHAPE_FROM:
        return buf_append_text(out, "\"oneOf\":[{\"type\":\"integer\",\"minimum\":0},"
                                    "{\"type\":\"string\"}]");
    case SHAPE_RAW:
    case SHAPE_OBJECT:
        return f->of ? buf_printf(out, "\"$ref\":\"%s%s\"", refs, f->of->name) : BECK_OK;
    case SHAPE_LIST:
    case SHAPE_ARRAY:
        break;
    }
    status = buf_printf(out, "\"type\":\"array\",\"maxItems\":%lld,\"items\":{", (long long)f->max);
    status = status != BECK_OK ? status : describe_value(f->item, refs, out);
    return status != BECK_OK ? status : buf_append_byte(out, '}');
}

static beck_status describe_fields(const struct shape *s, const char *refs, struct buf *out)
{
    beck_status status = buf_append_text(out, ",\"properties\":{");
    for (const struct shape_field *f = s->fields; f->name != NULL && status == BECK_OK; f++) {
        status = buf_printf(out, "%s\"%s\":{", f == s->fields ? "" : ",", f->name);
        status = status != BECK_OK ? status : describe_value(f, refs, out);
        if (status == BECK_OK && f->help != NULL) {
            size_t before = out->len;
            status = buf_append_text(out, out->data[before - 1] == '{' ? "\"description\":"
                                                                       : ",\"description\":");
            status = status != BECK_OK ? status : json_write_string(out, beck_str(f->help));
        }
        status = status != BECK_OK ? status : buf_append_byte(out, '}');
    }
    status = status != BECK_OK ? status : buf_append_text(out, "},\"required\":[");
    bool any = false;
    for (const struct shape_field *f = s->fields; f->name != NULL && status == BECK_OK; f++) {
        if (f->required) {
            status = buf_printf(out, "%s\"%s\"", any ? "," : "", f->name);
            any = true;
        }
    }
    return status != BECK_OK ? status : buf_append_text(out, "],\"additionalProperties\":false}");
}

beck_status shape_describe(const struct shape *s, const char *refs, struct buf *out)
{
    if (s->schema != NULL) {
        return buf_append_text(out, s->schema);
    }
    beck_status status = buf_append_text(out, "{\"type\":\"object\",\"description\":");
    status = status != BECK_OK ? status : json_write_string(out, beck_str(s->help));
    return status != BECK_OK ? status : describe_fields(s, refs, out);
}
