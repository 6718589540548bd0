/*
 * Events from bodies and headers.
 *
 * In the HTTP binding of CloudEvents a value of a header is text that was percent-encoded: space,
 * double quote, percent, and what is not printable ASCII. It is decoded once; a percent that two
 * hexadecimal digits do not follow stands for itself (binding, section 3.1.3.2).
 */
#include "wire/http/publish.h"

#include "base/error.h"
#include "event/cloudevents.h"
#include "event/time.h"

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
        publish_release(out);
    return status;
}

void publish_release(struct publish_events *p)
{
    for (size_t i = 0; i < p->document_count; i++)
        beck_document_free(p->documents[i]);
    free(p->documents);
    free(p->list);
    *p = (struct publish_events){0};
}

/* ---- headers ---- */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static beck_bytes decode(char *text)
{
    char *out = text;
    for (const char *in = text; *in; in++) {
        int high = *in == '%' ? hex(in[1]) : -1, low = high < 0 ? -1 : hex(in[2]);
        if (low >= 0) {
            *out++ = (char)(high * 16 + low);
            in += 2;
        } else {
            *out++ = *in;
        }
    }
    return bytes_of(text, (size_t)(out - text));
}

static beck_status refuse(const char *name, beck_bytes value, beck_error *err, const char *expected)
{
    char quoted[EVENT_QUOTE_MAX];
    return error_set(err, BECK_EINVAL, "header ce-%.64s is %s; expected %s", name,
                     event_quote(value, quoted), expected);
}

static beck_status read_time(const char *name, beck_bytes value, int64_t *ns, beck_error *err)
{
    if (!time_parse(value, ns))
        return refuse(name, value, err, "a time as 2026-01-31T12:00:00Z");
    if (*ns == 0)
        *ns = 1; /* 0 means that there is none */
    return BECK_OK;
}

static beck_status read_ms(const char *name, beck_bytes value, int64_t *ms, beck_error *err)
{
    int64_t ns = 0;
    beck_status status = read_time(name, value, &ns, err);
    if (!status)
        *ms = ns <= 0 ? 1 : (ns + 999999) / 1000000;
    return status;
}

static beck_status read_known(beck_event *e, const char *name, beck_bytes value, bool *known,
                              beck_error *err)
{
    const struct {
        const char *name;
        beck_bytes *value;
    } texts[] = {{"type", &e->type},
                 {"source", &e->source},
                 {"id", &e->id},
                 {"subject", &e->subject},
                 {"dataschema", &e->dataschema},
                 {"correlationid", &e->correlationid},
                 {"causationid", &e->causationid}};
    *known = true;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(name, texts[i].name) != 0)
            continue;
        if (texts[i].value->data)
            return error_set(err, BECK_EINVAL, "header ce-%s comes more than once", name);
        if (value.len == 0)
            return refuse(name, value, err, "text");
        *texts[i].value = value;
        return BECK_OK;
    }
    if (strcmp(name, "time") == 0)
        return read_time(name, value, &e->time_ns, err);
    if (strcmp(name, "deliverytime") == 0)
        return read_ms(name, value, &e->deliver_at_ms, err);
    if (strcmp(name, "expirytime") == 0)
        return read_ms(name, value, &e->expires_at_ms, err);
    if (strcmp(name, "specversion") == 0)
        return bytes_equal_text(value, "1.0")
                   ? BECK_OK
                   : refuse(name, value, err, "1.0, the only version known");
    if (strcmp(name, "priority") == 0) {
        uint64_t priority;
        if (!bytes_to_u64(value, &priority) || priority > EVENT_PRIORITY_MAX)
            return refuse(name, value, err, "a whole number from 0 to 255");
        e->priority = (uint32_t)priority;
        return BECK_OK;
    }
    if (strcmp(name, "datacontenttype") == 0)
        return error_set(err, BECK_EINVAL,
                         "header ce-datacontenttype is none of CloudEvents over HTTP; Content-Type "
                         "says what the body is");
    *known = false;
    return BECK_OK;
}

beck_status publish_read_header(beck_event *e, beck_attribute *extensions, size_t max, char *name,
                                char *value, beck_error *err)
{
    for (char *p = name; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p |= 0x20;
    beck_bytes text = decode(value), key = beck_str(name);
    if (!bytes_is_utf8(text))
        return error_set(err, BECK_EINVAL, "header ce-%.64s is not UTF-8 once decoded", name);
    bool known;
    beck_status status = read_known(e, name, text, &known, err);
    if (status || known)
        return status;
    if (!event_name_is_legal(key))
        return error_set(err, BECK_EINVAL,
                         "header ce-%.64s: a name of an attribute has 1-%d letters and digits",
                         name, EVENT_EXTENSION_NAME_MAX);
    for (size_t i = 0; i < e->extension_count; i++)
        if (bytes_equal(extensions[i].name, key))
            return error_set(err, BECK_EINVAL, "header ce-%s comes more than once", name);
    if (e->extension_count == max)
        return error_set(err, BECK_ELIMIT, "header ce-%s is one extension too many; at most %zu",
                         name, max);
    if (!text.data)
        text.data = "";
    extensions[e->extension_count++] = (beck_attribute){key, text};
    e->extensions = extensions;
    return BECK_OK;
}
