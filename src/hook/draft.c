/*
 * What providers do with an event. Everything that came from outside is checked here before it
 * becomes an attribute: what cannot be one is left out rather than refused, since the request was
 * verified and its body has it anyway.
 */
#include "event/time.h"
#include "hook/form.h"
#include "hook/hook_impl.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static int status_of(enum hook_reason reason)
{
    switch (reason) {
    case HOOK_BAD_BODY:
        return 400;
    case HOOK_BAD_METHOD:
        return 405;
    case HOOK_TOO_LARGE:
        return 413;
    case HOOK_NO_CERT:
    case HOOK_NO_MEMORY:
        return 503;
    default:
        return 401;
    }
}

enum hook_outcome refuse(struct hook_result *out, enum hook_reason reason)
{
    out->reason = reason;
    out->status = status_of(reason);
    out->event_count = 0;
    return HOOK_REFUSED;
}

enum hook_outcome answer(struct hook_result *out, int status, beck_bytes body)
{
    out->status = status;
    out->body = body;
    return HOOK_ANSWERED;
}

void answer_header(struct hook_result *out, const char *name, const char *value)
{
    assert(out->header_count < HOOK_HEADERS_MAX);
    out->headers[out->header_count++] = (struct hook_header){name, value};
}

/* ---- texts ---- */

beck_bytes result_keep(struct hook_result *out, const char *format, ...)
{
    char *to = (char *)out->memory + out->used;
    size_t room = sizeof out->memory - out->used;
    va_list args;
    va_start(args, format);
    int len = vsnprintf(to, room, format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= room || len > EVENT_ATTRIBUTE_MAX)
        return bytes_of(NULL, 0);
    out->used += (size_t)len + 1;
    return bytes_of(to, (size_t)len);
}

beck_bytes result_url(struct hook_result *out, const char *base, beck_bytes tail)
{
    if (!tail.len)
        return beck_str(base);
    return attribute_or_none(
        result_keep(out, "%s/%.*s", base, (int)tail.len, (const char *)tail.data));
}

beck_bytes attribute_or_none(beck_bytes text)
{
    if (text.len == 0 || event_check_text(text, EVENT_ATTRIBUTE_MAX, NULL))
        return bytes_of(NULL, 0);
    return text;
}

beck_bytes attribute_of(const char *text)
{
    return attribute_or_none(beck_str(text));
}

beck_bytes result_text(struct hook_result *out, const struct field *f)
{
    beck_bytes raw = f->token.raw;
    if (!f->found || raw.len > EVENT_ATTRIBUTE_MAX)
        return bytes_of(NULL, 0);
    if (f->token.kind == JSON_TRUE || f->token.kind == JSON_FALSE)
        return beck_str(f->token.kind == JSON_TRUE ? "true" : "false");
    if (f->token.kind != JSON_STRING || !f->token.escaped)
        return attribute_or_none(raw);
    if (raw.len > sizeof out->memory - out->used)
        return bytes_of(NULL, 0);
    uint8_t *to = out->memory + out->used;
    beck_bytes text = bytes_of(to, json_unescape_to(&f->token, to));
    out->used += text.len;
    return attribute_or_none(text);
}

/* ---- events ---- */

/* Without a content type JSON is recognised, since an event without one has JSON. */
static beck_bytes content_type(const struct hook_request *r)
{
    beck_bytes given = attribute_of(request_find(r, "Content-Type"));
    if (given.len || json_check(r->body, NULL) == BECK_OK)
        return given;
    return beck_str("application/octet-stream");
}

void draft_begin(const struct hook *h, const struct hook_request *r, struct hook_result *out)
{
    beck_event *e = &out->event;
    e->data = r->body.data ? r->body : bytes_of("", 0);
    e->datacontenttype = content_type(r);
    e->source = h->settings.source ? beck_str(h->settings.source)
                                   : result_keep(out, "/hooks/%s", h->settings.name);
    e->extensions = out->extensions;
    draft_extension(out, "hook", beck_str(h->settings.name));
}

static size_t append_words(char *to, size_t at, size_t max, beck_bytes words)
{
    const char *p = words.data;
    for (size_t i = 0; i < words.len && at < max; i++) {
        char c = p[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c | 0x20);
        else if (c == '/' || c == ':')
            c = '.';
        else if (c != '.' && c != '-' && !(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9'))
            c = '_';
        if (c != '.' || (at > 0 && to[at - 1] != '.'))
            to[at++] = c;
    }
    return at;
}

void draft_type(const struct hook *h, struct hook_result *out, beck_bytes first, beck_bytes second,
                const char *otherwise)
{
    char type[EVENT_TYPE_MAX];
    const beck_bytes words[] = {first, second};
    const char *prefix = h->settings.type_prefix;
    size_t at = strlen(prefix), had = at;
    memcpy(type, prefix, at);
    for (int i = 0; i < 2; i++) {
        if (words[i].len && at > 0 && at < sizeof type && type[at - 1] != '.')
            type[at++] = '.';
        at = append_words(type, at, sizeof type, words[i]);
    }
    while (at > 0 && type[at - 1] == '.')
        at--;
    if (at <= had) {
        out->event.type = result_keep(out, "%s%s%s", prefix, had ? "." : "", otherwise);
        return;
    }
    out->event.type = result_keep(out, "%.*s", (int)at, type);
}

void draft_source(struct hook_result *out, beck_bytes source)
{
    if (source.len)
        out->event.source = source;
}

void draft_extension(struct hook_result *out, const char *name, beck_bytes value)
{
    beck_bytes text = attribute_or_none(value);
    if (!text.len || out->event.extension_count == EVENT_EXTENSIONS_MAX)
        return;
    out->extensions[out->event.extension_count++] = (beck_attribute){beck_str(name), text};
}

bool draft_unwrap_form(struct hook_result *out, const char *field, bool base64)
{
    beck_bytes form = out->event.data;
    size_t len = 0;
    if (form.len == 0)
        return false;
    assert(!out->decoded);
    uint8_t *text = malloc(form.len);
    if (!text || form_field(form, field, text, &len) != 1 ||
        (base64 && !base64_read_to(bytes_of(text, len), text, &len)) ||
        json_check(bytes_of(text, len), NULL)) {
        free(text);
        return false;
    }
    out->decoded = text;
    out->event.data = bytes_of(text, len);
    out->event.datacontenttype = beck_str("application/json");
    return true;
}

enum hook_outcome draft_end(struct hook_result *out)
{
    if (event_check(&out->event, NULL))
        return refuse(out, HOOK_BAD_BODY);
    out->events = &out->event;
    out->event_count = 1;
    return HOOK_EVENTS;
}

/* ---- attributes by setting ---- */

int64_t moment_of(beck_bytes text)
{
    int64_t ns;
    uint64_t number;
    if (time_parse(text, &ns))
        return ns;
    if (!bytes_to_u64(text, &number) || number > EVENT_MS_MAX)
        return 0;
    if (number >= 100000000000ULL)
        return (int64_t)number * 1000000;
    return number <= EVENT_MS_MAX / 1000 ? (int64_t)number * 1000000000 : 0;
}

void draft_origins(const struct hook *h, const struct hook_request *r, struct hook_result *out)
{
    struct field fields[ORIGINS];
    beck_bytes values[ORIGINS] = {0};
    int at[ORIGINS];
    size_t count = 0;
    for (int i = 0; i < ORIGINS; i++) {
        if (h->has_origin[i] && h->origins[i].header) {
            values[i] = attribute_of(request_find(r, h->origins[i].header));
        } else if (h->has_origin[i]) {
            at[count] = i;
            fields[count++] = h->origins[i].field;
        }
    }
    if (count > 0 && fields_find(out->event.data, fields, count))
        for (size_t i = 0; i < count; i++)
            values[at[i]] = result_text(out, &fields[i]);
    beck_event *e = &out->event;
    if (values[ORIGIN_TYPE].len)
        draft_type(h, out, values[ORIGIN_TYPE], bytes_of(NULL, 0), "webhook");
    if (values[ORIGIN_ID].len)
        e->id = values[ORIGIN_ID];
    if (values[ORIGIN_SUBJECT].len)
        e->subject = values[ORIGIN_SUBJECT];
    int64_t ns = values[ORIGIN_TIME].len ? moment_of(values[ORIGIN_TIME]) : 0;
    if (ns)
        e->time_ns = ns;
}
