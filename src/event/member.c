/* Members of one JSON object. */
#include "event/member.h"
#include "base/error.h"
#include "event/event.h"

#include <stdarg.h>
#include <stdio.h>

static enum json_kind kind_of(beck_bytes raw)
{
    switch (*(const char *)raw.data) {
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case '"':
        return JSON_STRING;
    case 't':
        return JSON_TRUE;
    case 'f':
        return JSON_FALSE;
    case 'n':
        return JSON_NULL;
    default:
        return JSON_NUMBER;
    }
}

static beck_bytes read_name(const struct json_token *token, const uint8_t *base, uint8_t *copy)
{
    uint8_t *to = copy + ((const uint8_t *)token->raw.data - base);
    return bytes_of(to, token->escaped ? json_unescape_to(token, to) : token->raw.len);
}

beck_status members_read(struct members *m, struct json_reader *r, uint8_t *copy, const char *where,
                         beck_error *err)
{
    char quoted[EVENT_QUOTE_MAX];
    struct json_token token;
    m->count = 0;
    /* Names of nulls are needed for finding double ones; they are moved to the end and dropped. */
    size_t total = 0;
    for (;;) {
        beck_status status = json_next(r, &token, err);
        if (status != BECK_OK || token.kind == JSON_OBJECT_END) {
            return status;
        }
        if (total == MEMBERS_MAX) {
            return error_set(err, BECK_ELIMIT,
                             "%s has more than %d members (at byte %zu); give fewer", where,
                             MEMBERS_MAX, token.at);
        }
        struct member x = {.name = read_name(&token, r->text.data, copy)};
        for (size_t i = 0; status == BECK_OK && i < total; i++) {
            if (bytes_equal(m->list[i].name, x.name)) {
                status =
                    error_set(err, BECK_EINVAL,
                              "member %s of %s is given twice, again at byte %zu; give it once",
                              event_quote(x.name, quoted), where, token.at);
            }
        }
        if (status == BECK_OK) {
            status = json_skip_value(r, &x.raw, err);
        }
        if (status != BECK_OK) {
            return status;
        }
        x.at = (size_t)((const uint8_t *)x.raw.data - (const uint8_t *)r->text.data);
        x.kind = kind_of(x.raw);
        /* Members that count stand before the nulls. */
        struct member *to = &m->list[total++];
        if (x.kind != JSON_NULL) {
            *to = m->list[m->count];
            to = &m->list[m->count++];
        }
        *to = x;
    }
}

const struct member *members_find(const struct members *m, const char *name)
{
    for (size_t i = 0; i < m->count; i++) {
        if (bytes_equal_text(m->list[i].name, name)) {
            return &m->list[i];
        }
    }
    return NULL;
}

beck_status member_text(const struct member *m, const uint8_t *base, uint8_t *copy, beck_bytes *out,
                        beck_error *err)
{
    char quoted[EVENT_QUOTE_MAX];
    if (m->kind != JSON_STRING) {
        return member_refuse(m, BECK_EINVAL, err, "must be a string, found %s",
                             member_quote(m, quoted));
    }
    beck_bytes inside = bytes_of((const uint8_t *)m->raw.data + 1, m->raw.len - 2);
    uint8_t *to = copy + ((const uint8_t *)inside.data - base);
    if (memchr(inside.data, '\\', inside.len) == NULL) {
        *out = bytes_of(to, inside.len);
        return BECK_OK;
    }
    struct json_token token = {.kind = JSON_STRING, .raw = inside, .escaped = true, .at = m->at};
    *out = bytes_of(to, json_unescape_to(&token, to));
    return BECK_OK;
}

beck_status member_refuse(const struct member *m, beck_status status, beck_error *err,
                          const char *reason, ...)
{
    char quoted[EVENT_QUOTE_MAX];
    char text[400];
    va_list args;
    va_start(args, reason);
    vsnprintf(text, sizeof text, reason, args);
    va_end(args);
    return error_set(err, status, "member %s at byte %zu %s", event_quote(m->name, quoted), m->at,
                     text);
}

const char *member_quote(const struct member *m, char *out)
{
    switch (m->kind) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        /* With the quotes of its own. */
        return event_quote(bytes_of((const uint8_t *)m->raw.data + 1, m->raw.len - 2), out);
    default:
        snprintf(out, EVENT_QUOTE_MAX, "%.*s", (int)(m->raw.len < 40 ? m->raw.len : 40),
                 (const char *)m->raw.data);
        return out;
    }
}
