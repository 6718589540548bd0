/*
 * CloudEvents 1.0 over HTTP, in binary, structured and batch mode (HTTP protocol binding 3.1 to
 * 3.3), and the receiver's part of the webhook specification: a token, in Authorization or the
 * query parameter access_token, and the OPTIONS handshake.
 *
 * Events are taken as they are. Values of ce- headers are percent-decoded once (3.1.3.2).
 */
#include "event/cloudevents.h"
#include "event/time.h"
#include "hook/hook_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static beck_status prepare(struct hook *h, beck_error *err)
{
    (void)h;
    (void)err;
    return BECK_OK;
}

/* ---- binary mode ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decoded values go into `decoded`, which has room for all of them. */
static beck_bytes decode(const char *value, struct hook_result *out)
{
    if (!strchr(value, '%'))
        return beck_str(value);
    assert(out->decoded);
    uint8_t *start = out->decoded + out->used, *to = start;
    for (const char *p = value; *p;) {
        int high = p[0] == '%' && p[1] && p[2] ? hex_digit(p[1]) : -1;
        int low = high >= 0 ? hex_digit(p[2]) : -1;
        *to++ = low >= 0 ? (uint8_t)(high << 4 | low) : (uint8_t)*p;
        p += low >= 0 ? 3 : 1;
    }
    out->used += (size_t)(to - start);
    return bytes_of(start, (size_t)(to - start));
}

static bool reserve_decoded(const struct hook_request *r, struct hook_result *out)
{
    size_t size = 0;
    for (size_t i = 0; i < r->header_count; i++)
        if (strncasecmp(r->headers[i].name, "ce-", 3) == 0 && strchr(r->headers[i].value, '%'))
            size += strlen(r->headers[i].value);
    out->decoded = size ? malloc(size) : NULL;
    return size == 0 || out->decoded;
}

/* RFC 3339 to milliseconds, rounded up. */
static bool read_ms(beck_bytes text, int64_t *ms)
{
    int64_t ns;
    if (!time_parse(text, &ns) || ns <= 0)
        return false;
    *ms = (ns + 999999) / 1000000;
    return true;
}

static bool read_priority(beck_bytes text, uint32_t *out)
{
    uint64_t number;
    if (!bytes_to_u64(text, &number) || number > EVENT_PRIORITY_MAX)
        return false;
    *out = (uint32_t)number;
    return true;
}

/* The name is lower case. False: it comes twice, or its value is none for it. */
static bool put_attribute(beck_event *e, beck_attribute *list, beck_bytes name, beck_bytes value)
{
    const struct {
        const char *name;
        beck_bytes *to;
    } texts[] = {{"type", &e->type},
                 {"subject", &e->subject},
                 {"source", &e->source},
                 {"id", &e->id},
                 {"dataschema", &e->dataschema},
                 {"correlationid", &e->correlationid},
                 {"causationid", &e->causationid}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (!bytes_equal_text(name, texts[i].name))
            continue;
        bool once = texts[i].to->len == 0;
        *texts[i].to = value;
        return once && value.len > 0;
    }
    if (bytes_equal_text(name, "time"))
        return e->time_ns == 0 && time_parse(value, &e->time_ns);
    if (bytes_equal_text(name, "deliverytime"))
        return e->deliver_at_ms == 0 && read_ms(value, &e->deliver_at_ms);
    if (bytes_equal_text(name, "expirytime"))
        return e->expires_at_ms == 0 && read_ms(value, &e->expires_at_ms);
    if (bytes_equal_text(name, "priority"))
        return read_priority(value, &e->priority);
    for (size_t i = 0; i < e->extension_count; i++)
        if (bytes_equal(list[i].name, name))
            return false;
    if (e->extension_count == EVENT_EXTENSIONS_MAX)
        return false;
    list[e->extension_count++] = (beck_attribute){name, value};
    return true;
}

/* In the result's memory, which holds nothing but names in this mode. */
static beck_bytes lower(const char *name, struct hook_result *out, size_t *used)
{
    size_t len = strlen(name);
    if (len > EVENT_EXTENSION_NAME_MAX || len > sizeof out->memory - *used)
        return bytes_of(NULL, 0);
    uint8_t *to = out->memory + *used;
    for (size_t i = 0; i < len; i++)
        to[i] = (uint8_t)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]);
    *used += len;
    return bytes_of(to, len);
}

static enum hook_outcome read_binary(const struct hook_request *r, struct hook_result *out)
{
    beck_event *e = &out->event;
    size_t names = 0, versions = 0;
    if (!reserve_decoded(r, out))
        return refuse(out, HOOK_NO_MEMORY);
    e->extensions = out->extensions;
    for (size_t i = 0; i < r->header_count; i++) {
        if (strncasecmp(r->headers[i].name, "ce-", 3) != 0)
            continue;
        beck_bytes name = lower(r->headers[i].name + 3, out, &names);
        beck_bytes value = decode(r->headers[i].value, out);
        if (bytes_equal_text(name, "specversion") && bytes_equal_text(value, "1.0"))
            versions++;
        else if (!name.len || !put_attribute(e, out->extensions, name, value))
            return refuse(out, HOOK_BAD_BODY);
    }
    e->datacontenttype = attribute_of(request_find(r, "Content-Type"));
    if (r->body.len > 0)
        e->data = r->body;
    if (versions != 1 || !e->type.len || !e->source.len || !e->id.len)
        return refuse(out, HOOK_BAD_BODY);
    return draft_end(out);
}

/* ---- the other modes ---- */

static bool content_type_begins(const struct hook_request *r, const char *prefix)
{
    const char *given = request_find(r, "Content-Type");
    return given && strncasecmp(given, prefix, strlen(prefix)) == 0;
}

bool cloudevents_is(const struct hook_request *r)
{
    return content_type_begins(r, "application/cloudevents") || request_find(r, "ce-specversion");
}

enum hook_outcome cloudevents_read(const struct hook_request *r, struct hook_result *out)
{
    bool batch = request_is(r, "application/cloudevents-batch+json");
    if (!content_type_begins(r, "application/cloudevents"))
        return request_find(r, "ce-specversion") ? read_binary(r, out) : refuse(out, HOOK_BAD_BODY);
    if (!batch && !request_is(r, "application/cloudevents+json")) {
        refuse(out, HOOK_BAD_BODY);
        out->status = 415;
        return HOOK_REFUSED;
    }
    beck_status status = cloudevents_parse(r->body, &out->document, NULL);
    if (status)
        return refuse(out, status == BECK_ENOMEM ? HOOK_NO_MEMORY : HOOK_BAD_BODY);
    out->event_count = beck_document_count(out->document);
    const uint8_t *text = r->body.data;
    size_t blank = 0;
    while (strchr(" \t\r\n", text[blank]))
        blank++;
    /* A batch is an array, also of one event or of none. */
    if ((text[blank] == '[') != batch)
        return refuse(out, HOOK_BAD_BODY);
    if (out->event_count == 0)
        return answer(out, 200, bytes_of(NULL, 0));
    out->events = beck_document_event(out->document, 0);
    return HOOK_EVENTS;
}

/* ---- token and handshake ---- */

static bool token_is_right(const struct hook *h, const struct hook_request *r)
{
    const char *given = NULL, *header;
    if (request_header(r, "Authorization", &header) == HOOK_FINE &&
        strncasecmp(header, "Bearer ", 7) == 0)
        given = header + 7;
    else if (r->query)
        given = r->query(r->query_ctx, "access_token");
    for (size_t i = 0; i < h->secret_count && given; i++)
        if (same_secret(beck_str(given), beck_str(h->secrets[i])))
            return true;
    return false;
}

static bool origin_is_allowed(const struct hook *h, const char *origin)
{
    for (size_t i = 0; i < h->settings.allow_origin_count; i++)
        if (strcmp(h->settings.allow_origins[i], "*") == 0 ||
            strcasecmp(h->settings.allow_origins[i], origin) == 0)
            return true;
    return false;
}

/* The least of what is asked for and what is allowed; none when neither is said. */
static const char *allowed_rate(const struct hook *h, const struct hook_request *r,
                                struct hook_result *out)
{
    const char *text = request_find(r, "WebHook-Request-Rate");
    uint64_t asked = 0, most = h->settings.rate_per_minute;
    if (!text && !most)
        return NULL;
    if (text && bytes_to_u64(beck_str(text), &asked) && asked > 0 && (!most || asked < most))
        most = asked;
    return most ? result_keep(out, "%llu", (unsigned long long)most).data : "*";
}

enum hook_outcome consent(const struct hook *h, const struct hook_request *r,
                          struct hook_result *out)
{
    answer_header(out, "Allow", "POST");
    if (strcmp(r->method, "OPTIONS") != 0)
        return refuse(out, HOOK_BAD_METHOD);
    const char *origin = NULL;
    enum hook_reason reason = request_header(r, "WebHook-Request-Origin", &origin);
    /* An answer without the header is no consent. */
    if (reason || !origin_is_allowed(h, origin) || !attribute_of(origin).len)
        return answer(out, 200, bytes_of(NULL, 0));
    const char *rate = allowed_rate(h, r, out);
    answer_header(out, "WebHook-Allowed-Origin", origin);
    if (rate)
        answer_header(out, "WebHook-Allowed-Rate", rate);
    return answer(out, 200, bytes_of(NULL, 0));
}

static enum hook_outcome receive(const struct hook *h, const struct hook_request *r,
                                 struct hook_result *out)
{
    if (!token_is_right(h, r))
        return refuse(out, HOOK_BAD_TOKEN);
    return cloudevents_read(r, out);
}

const struct provider provider_cloudevents = {
    .name = "cloudevents",
    .type_prefix = "",
    .needs_secret = true,
    .prepare = prepare,
    .receive = receive,
    .handshake = consent,
};
