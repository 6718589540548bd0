/* Events from bodies. */
#include "wire/http/publish.h"

#include "base/error.h"
#include "event/cloudevents.h"

#include <stdlib.h>

#define LINES_MAX 1000000

static bool begins(const char *text, const char *prefix)
{
    return strncasecmp(text, prefix, strlen(prefix)) == 0;
}

/* Whether a content type is this one, whatever its parameters. */
static bool is_type(const char *text, const char *type)
{
    size_t len = strlen(type);
    return strncasecmp(text, type, len) == 0 && (text[len] == 0 || strchr("; \t", text[len]));
}

enum publish_form publish_form_of(const char *content_type, bool binary)
{
    const char *type = content_type ? content_type : "";
    if (is_type(type, "application/cloudevents-batch+json"))
        return PUBLISH_BATCH;
    if (begins(type, "application/cloudevents-batch"))
        return PUBLISH_NONE;
    if (is_type(type, "application/cloudevents+json") || is_type(type, "application/cloudevents"))
        return PUBLISH_JSON;
    if (begins(type, "application/cloudevents"))
        return PUBLISH_NONE;
    if (binary)
        return PUBLISH_BINARY;
    if (is_type(type, "application/x-ndjson") || is_type(type, "application/ndjson") ||
        is_type(type, "application/jsonl"))
        return PUBLISH_LINES;
    return is_type(type, "application/json") ? PUBLISH_EITHER : PUBLISH_NONE;
}

/* ---- JSON ---- */

static beck_status add_document(struct publish_events *p, beck_bytes text, beck_error *err)
{
    beck_document *document;
    if ((p->document_count & (p->document_count - 1)) == 0) {
        size_t cap = p->document_count ? p->document_count * 2 : 1;
        beck_document **grown = realloc(p->documents, cap * sizeof(beck_document *));
        if (!grown)
            return error_set(err, BECK_ENOMEM, "no memory for the events");
        p->documents = grown;
    }
    beck_status status = cloudevents_parse_exact(text, &document, err);
    if (!status)
        p->documents[p->document_count++] = document;
    return status;
}

static beck_status read_lines(struct publish_events *p, beck_bytes body, beck_error *err)
{
    const char *at = body.data, *end = at + body.len;
    beck_error why;
    for (size_t line = 1; at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop)
            stop = end;
        beck_bytes text = bytes_of(at, (size_t)(stop - at));
        at = stop + (stop < end);
        if (text.len == 0 || (text.len == 1 && *(const char *)text.data == '\r'))
            continue;
        if (p->document_count == LINES_MAX)
            return error_set(err, BECK_ELIMIT, "more than %d lines; publish them in parts",
                             LINES_MAX);
        beck_status status = add_document(p, text, &why);
        if (status)
            return error_set(err, status, "line %zu: %s", line, why.text);
    }
    p->list = malloc((p->document_count + 1) * sizeof *p->list);
    if (!p->list)
        return error_set(err, BECK_ENOMEM, "no memory for %zu events", p->document_count);
    for (size_t i = 0; i < p->document_count; i++) {
        if (beck_document_count(p->documents[i]) != 1)
            return error_set(err, BECK_EINVAL,
                             "line %zu of those that are not empty is an array; expected one event "
                             "a line",
                             i + 1);
        p->list[i] = *beck_document_event(p->documents[i], 0);
    }
    p->events = p->list;
    p->count = p->document_count;
    return BECK_OK;
}

static char first_of(beck_bytes body)
{
    const char *text = body.data;
    size_t i = 0;
    while (i < body.len && strchr(" \t\r\n", text[i]) && text[i])
        i++;
    return i < body.len ? text[i] : 0;
}

beck_status publish_read_json(enum publish_form form, beck_bytes body, struct publish_events *out,
                              beck_error *err)
{
    *out = (struct publish_events){0};
    beck_status status = BECK_OK;
    char first = first_of(body);
    if (first == 0)
        status = error_set(err, BECK_EINVAL, "the body is empty; expected events");
    else if (form == PUBLISH_BATCH && first == '{')
        status = error_set(err, BECK_EINVAL,
                           "the body is an object; application/cloudevents-batch+json is an array "
                           "of events");
    else if (form == PUBLISH_JSON && first == '[')
        status = error_set(err, BECK_EINVAL,
                           "the body is an array; application/cloudevents+json is one event, "
                           "application/cloudevents-batch+json an array");
    else if (form == PUBLISH_LINES)
        status = read_lines(out, body, err);
    else
        status = add_document(out, body, err);
    if (!status && form != PUBLISH_LINES) {
        out->count = beck_document_count(out->documents[0]);
        out->events = out->count ? beck_document_event(out->documents[0], 0) : NULL;
    }
    if (status)
        publish_events_release(out);
    return status;
}

void publish_events_release(struct publish_events *p)
{
    for (size_t i = 0; i < p->document_count; i++)
        beck_document_free(p->documents[i]);
    free(p->documents);
    free(p->list);
    *p = (struct publish_events){0};
}
