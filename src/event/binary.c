/*
 * Events from headers.
 *
 * In the HTTP binding of CloudEvents a value of a header is text that was percent-encoded: space,
 * double quote, percent, and what is not printable ASCII. It is decoded once; a percent that two
 * hexadecimal digits do not follow stands for itself (binding, section 3.1.3.2).
 */
#include "event/binary.h"

#include "base/error.h"
#include "event/event.h"
#include "event/time.h"

#include <string.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A value may come as a quoted string of HTTP (RFC 9110 5.6.4), which is taken apart before the percent
 * signs are (CloudEvents HTTP binding 3.1.3.2). */
static char *unquote(char *text)
{
    size_t len = strlen(text);
    if (len < 2 || text[0] != '"' || text[len - 1] != '"')
        return text;
    char *out = text;
    for (size_t i = 1; i + 1 < len; i++) {
        if (text[i] == '\\' && i + 2 < len)
            i++;
        *out++ = text[i];
    }
    *out = 0;
    return text;
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

static beck_status refuse_twice(const char *name, beck_error *err)
{
    return error_set(err, BECK_EINVAL, "header ce-%s comes more than once", name);
}

static beck_status read_time(const char *name, beck_bytes value, int64_t *ns, beck_error *err)
{
    if (*ns)
        return refuse_twice(name, err);
    if (!time_parse(value, ns))
        return refuse(name, value, err, "a time as 2026-01-31T12:00:00Z");
    if (*ns == 0)
        *ns = 1; /* 0 means that there is none */
    return BECK_OK;
}

static beck_status read_ms(const char *name, beck_bytes value, int64_t *ms, beck_error *err)
{
    int64_t ns = 0;
    if (*ms)
        return refuse_twice(name, err);
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
            return refuse_twice(name, err);
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

beck_status binary_read_header(beck_event *e, beck_attribute *extensions, size_t max, char *name,
                               char *value, beck_error *err)
{
    for (char *p = name; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p |= 0x20;
    beck_bytes text = decode(unquote(value)), key = beck_str(name);
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
            return refuse_twice(name, err);
    if (e->extension_count == max)
        return error_set(err, BECK_ELIMIT, "header ce-%s is one extension too many; at most %zu",
                         name, max);
    if (!text.data)
        text.data = "";
    extensions[e->extension_count++] = (beck_attribute){key, text};
    e->extensions = extensions;
    return BECK_OK;
}
