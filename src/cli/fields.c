/* One pass over the members of a record; only the few with a name that is wanted are looked into. */
#include "cli/fields.h"
#include "base/error.h"
#include "event/event.h"
#include "event/json.h"

void fields_init(struct fields *f, const char *const paths[FIELDS], size_t record_max)
{
    *f = (struct fields){0};
    for (int i = 0; i < FIELDS; i++) {
        f->paths[i] = paths[i];
        f->any = f->any || paths[i];
    }
    buf_init(&f->text, record_max * (1 + 2 * FIELDS));
}

void fields_release(struct fields *f)
{
    buf_release(&f->text);
}

/* The first step of a pointer (behind its slash), or the whole name of a member. */
static size_t step_len(const char *path, bool pointer)
{
    return pointer ? strcspn(path, "/") : strlen(path);
}

static bool bytes_are(const uint8_t **p, const uint8_t *end, uint8_t byte)
{
    if (*p == end || **p != byte) {
        return false;
    }
    ++*p;
    return true;
}

/* Whether a name is the step; in a pointer ~0 stands for ~ and ~1 for /. */
static bool step_is(const char *step, size_t len, bool pointer, beck_bytes name)
{
    const uint8_t *p = name.data, *end = p + name.len;
    for (size_t i = 0; i < len; i++) {
        char c = step[i];
        if (pointer && c == '~' && i + 1 < len) {
            i++;
            c = step[i] == '1' ? '/' : '~';
        }
        if (!bytes_are(&p, end, (uint8_t)c)) {
            return false;
        }
    }
    return p == end;
}

/* The text of a token of a name or a string: in the record, or unescaped behind f->text. */
static beck_status text_of(struct fields *f, const struct json_token *token, beck_bytes *out,
                           beck_error *err)
{
    *out = token->raw;
    if (!token->escaped) {
        return BECK_OK;
    }
    size_t at = f->text.len;
    beck_status status = json_unescape(token, &f->text, err);
    *out = bytes_of(f->text.data + at, f->text.len - at);
    return status;
}

/* The value, which is a scalar, of field i. */
static beck_status take_value(struct fields *f, int i, beck_bytes raw, beck_error *err)
{
    struct json_reader r;
    struct json_token token;
    json_reader_init(&r, raw);
    beck_status status = json_next(&r, &token, err);
    if (status) {
        return status;
    }
    switch (token.kind) {
    case JSON_OBJECT:
    case JSON_ARRAY:
        return error_set(err, BECK_EINVAL, "the field \"%s\" is %s; expected text or a number",
                         f->paths[i], token.kind == JSON_OBJECT ? "an object" : "an array");
    case JSON_STRING:
        return text_of(f, &token, &f->values[i], err);
    case JSON_NULL:
        f->values[i] = (beck_bytes){0};
        return BECK_OK;
    default:
        f->values[i] = token.raw;
        return BECK_OK;
    }
}

/* Steps down into `raw` along the rest of a pointer; *found: there is such a member. */
static beck_status descend(struct fields *f, const char **path, beck_bytes *raw, bool *found,
                           beck_error *err)
{
    struct json_reader r;
    struct json_token token;
    const char *step = *path + 1;
    size_t len = step_len(step, true);
    *found = false;
    json_reader_init(&r, *raw);
    beck_status status = json_next(&r, &token, err);
    if (status || token.kind != JSON_OBJECT) {
        return status;
    }
    for (;;) {
        beck_bytes name, value;
        status = json_next(&r, &token, err);
        if (status || token.kind != JSON_NAME) {
            return status;
        }
        status = text_of(f, &token, &name, err);
        status = status ? status : json_skip_value(&r, &value, err);
        if (status) {
            return status;
        }
        if (step_is(step, len, true, name)) {
            *raw = value;
            *path = step + len;
            *found = true;
            return BECK_OK;
        }
    }
}

/* A member of the record. */
static beck_status look_at(struct fields *f, beck_bytes name, beck_bytes raw, beck_error *err)
{
    f->is_event = f->is_event || bytes_equal_text(name, "specversion") ||
                  bytes_equal_text(name, "eventType") || bytes_equal_text(name, "eventId");
    for (int i = 0; i < FIELDS; i++) {
        const char *path = f->paths[i];
        if (!path) {
            continue;
        }
        bool pointer = *path == '/', found = true;
        const char *step = path + pointer;
        size_t len = step_len(step, pointer);
        if (!step_is(step, len, pointer, name)) {
            continue;
        }
        beck_status status = BECK_OK;
        beck_bytes value = raw;
        for (path = step + len; *path && found && !status;) {
            status = descend(f, &path, &value, &found, err);
        }
        if (!status && found) {
            status = take_value(f, i, value, err);
        }
        if (status) {
            return status;
        }
    }
    return BECK_OK;
}

beck_status fields_read(struct fields *f, beck_bytes json, beck_error *err)
{
    struct json_reader r;
    struct json_token token;
    memset(f->values, 0, sizeof f->values);
    f->is_event = false;
    buf_clear(&f->text);
    /* Texts are never longer than their JSON: once as names, and once as names and value for each
     * field. Nothing may move afterwards. */
    bool escapes = memchr(json.data, '\\', json.len) != NULL;
    beck_status status = escapes ? buf_reserve(&f->text, json.len * (1 + 2 * FIELDS)) : BECK_OK;
    if (status) {
        return error_set(err, status, "no memory for the fields of the record");
    }
    json_reader_init(&r, json);
    status = json_next(&r, &token, err);
    if (!status && token.kind != JSON_OBJECT) {
        return error_set(err, BECK_EINVAL, "the record is no JSON object");
    }
    while (!status) {
        beck_bytes name, value;
        status = json_next(&r, &token, err);
        if (status || token.kind != JSON_NAME) {
            break;
        }
        status = text_of(f, &token, &name, err);
        status = status ? status : json_skip_value(&r, &value, err);
        status = status ? status : look_at(f, name, value, err);
    }
    return status ? status : json_next(&r, &token, err); /* nothing may follow */
}
