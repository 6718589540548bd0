/* Writing one JSON object member by member. */
#include "event/writer.h"
#include "base/error.h"
#include "event/event.h"
#include "event/time.h"

static void put(struct writer *w, const void *data, size_t len)
{
    if (w->status == BECK_OK) {
        w->status = buf_append(w->out, data, len);
    }
}

static void put_string(struct writer *w, beck_bytes text)
{
    if (w->status == BECK_OK) {
        w->status = json_write_string(w->out, text);
    }
}

static void put_name(struct writer *w, beck_bytes name)
{
    if (w->any) {
        put(w, ",", 1);
    }
    w->any = true;
    put_string(w, name);
    put(w, ":", 1);
}

void writer_begin(struct writer *w, struct buf *out)
{
    *w = (struct writer){.out = out, .start = out->len};
    put(w, "{", 1);
}

void writer_end(struct writer *w)
{
    put(w, "}", 1);
}

void writer_nest(struct writer *w, const char *name)
{
    put_name(w, beck_str(name));
    put(w, "{", 1);
    w->any = false;
}

void writer_unnest(struct writer *w)
{
    put(w, "}", 1);
    w->any = true;
}

void writer_member_text(struct writer *w, beck_bytes name, beck_bytes text)
{
    put_name(w, name);
    put_string(w, text);
}

void writer_text(struct writer *w, const char *name, beck_bytes text)
{
    writer_member_text(w, beck_str(name), text);
}

void writer_attribute(struct writer *w, const char *name, beck_bytes text)
{
    if (text.len != 0) {
        writer_text(w, name, text);
    }
}

void writer_raw(struct writer *w, beck_bytes name, beck_bytes json)
{
    put_name(w, name);
    size_t start = w->out->len;
    put(w, json.data, json.len);
    if (w->status != BECK_OK) {
        return;
    }
    /* A control character in JSON stands between tokens: inside of strings it is escaped. */
    uint8_t *p = w->out->data + start;
    for (uint8_t *end = p + json.len; p < end; p++) {
        if (*p == '\n' || *p == '\r') {
            *p = ' ';
        }
    }
}

void writer_ns(struct writer *w, const char *name, int64_t ns)
{
    if (ns == 0) {
        return;
    }
    char text[TIME_TEXT_MAX];
    size_t len = time_format(ns == EPOCH_NS ? 0 : ns, text);
    put_name(w, beck_str(name));
    put(w, "\"", 1);
    put(w, text, len);
    put(w, "\"", 1);
}

void writer_ms(struct writer *w, const char *name, int64_t ms)
{
    if (ms < 0 || ms > EVENT_MS_MAX) {
        w->status = w->status == BECK_OK ? BECK_EINVAL : w->status;
        return;
    }
    writer_ns(w, name, ms * 1000000);
}

void writer_number(struct writer *w, const char *name, int64_t number)
{
    put_name(w, beck_str(name));
    if (w->status == BECK_OK) {
        w->status = buf_printf(w->out, "%lld", (long long)number);
    }
}

/* Whether writer_raw, and whoever reads that, leaves these bytes of JSON as they are. */
static bool is_kept(beck_bytes json)
{
    const uint8_t *p = json.data;
    return p[0] > ' ' && p[json.len - 1] > ' ' && !memchr(p, '\n', json.len) &&
           !memchr(p, '\r', json.len);
}

void writer_data(struct writer *w, const beck_event *e, bool exact)
{
    if (e->data.data == NULL) {
        return;
    }
    bool json = event_data_is_json(e);
    if (json && json_check(e->data, NULL) == BECK_OK && (!exact || is_kept(e->data))) {
        beck_bytes data = e->data;
        const uint8_t *p = data.data;
        /* White space around the value is no part of it. */
        while (p[data.len - 1] <= ' ') {
            data.len--;
        }
        writer_raw(w, beck_str("data"), data);
    } else if (!json && bytes_is_utf8(e->data)) {
        writer_text(w, "data", e->data);
    } else {
        put_name(w, beck_str("data_base64"));
        put(w, "\"", 1);
        if (w->status == BECK_OK) {
            w->status = base64_write(w->out, e->data);
        }
        put(w, "\"", 1);
    }
}

beck_status writer_result(struct writer *w, beck_error *err)
{
    if (w->status == BECK_OK) {
        return BECK_OK;
    }
    w->out->len = w->start;
    switch (w->status) {
    case BECK_EINVAL:
        return error_set(err, BECK_EINVAL,
                         "deliverytime or expirytime is not in the years 1970 to 2261; correct the "
                         "event");
    case BECK_ELIMIT:
        return error_set(err, BECK_ELIMIT,
                         "the event as text is larger than the %zu bytes that the buffer may hold",
                         w->out->max);
    default:
        return error_set(err, w->status, "no memory for the text of the event");
    }
}
