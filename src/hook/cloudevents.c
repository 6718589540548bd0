/*
 * CloudEvents 1.0 over HTTP, in binary, structured and batch mode (HTTP protocol binding 3.1 to
 * 3.3), and the receiver's part of the webhook specification: a token, in Authorization or the
 * query parameter access_token, and the OPTIONS handshake.
 *
 * Events are taken as they are. Values of ce- headers are percent-decoded once (3.1.3.2).
 */
#include "event/binary.h"
#include "event/cloudevents.h"
#include "hook/hook_impl.h"

#include <stdlib.h>
#include <strings.h>

static beck_status prepare(struct hook *h, beck_error *err)
{
    (void)h;
    (void)err;
    return BECK_OK;
}

/* ---- binary mode ---- */

/* A copy in `decoded`, which has room for all of them. */
static char *copy(const char *text, struct hook_result *out)
{
    size_t size = strlen(text) + 1;
    char *to = (char *)out->decoded + out->used;
    memcpy(to, text, size);
    out->used += size;
    return to;
}

static bool is_attribute(const struct hook_header *header)
{
    return strncasecmp(header->name, "ce-", 3) == 0;
}

static bool reserve_decoded(const struct hook_request *r, struct hook_result *out)
{
    size_t size = 0;
    for (size_t i = 0; i < r->header_count; i++)
        if (is_attribute(&r->headers[i]))
            size += strlen(r->headers[i].name) + strlen(r->headers[i].value) + 2;
    out->decoded = size ? malloc(size) : NULL;
    return size == 0 || out->decoded;
}

static enum hook_outcome read_binary(const struct hook_request *r, struct hook_result *out)
{
    beck_event *e = &out->event;
    size_t versions = 0;
    if (!reserve_decoded(r, out))
        return refuse(out, HOOK_NO_MEMORY);
    for (size_t i = 0; i < r->header_count; i++) {
        if (!is_attribute(&r->headers[i]))
            continue;
        char *name = copy(r->headers[i].name + 3, out), *value = copy(r->headers[i].value, out);
        if (binary_read_header(e, out->extensions, EVENT_EXTENSIONS_MAX, name, value, NULL))
            return refuse(out, HOOK_BAD_BODY);
        versions += strcmp(name, "specversion") == 0;
    }
    e->datacontenttype = attribute_of(request_find(r, "Content-Type"));
    if (r->body.len > 0)
        e->data = r->body;
    if (versions != 1 || !e->type.len || !e->source.len || !e->id.len)
        return refuse(out, HOOK_BAD_BODY);
    return draft_end(out);
}

/* ---- the other modes ---- */

static bool is_structured(const struct hook_request *r)
{
    static const char type[] = "application/cloudevents";
    const char *given = request_find(r, "Content-Type");
    return given && strncasecmp(given, type, sizeof type - 1) == 0;
}

bool cloudevents_is(const struct hook_request *r)
{
    return is_structured(r) || request_find(r, "ce-specversion");
}

enum hook_outcome cloudevents_read(const struct hook_request *r, struct hook_result *out)
{
    bool batch = request_is(r, "application/cloudevents-batch+json");
    if (!is_structured(r))
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
