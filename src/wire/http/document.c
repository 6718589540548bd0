/* Documents in bodies and answers. */
#include "wire/http/document.h"

#include "base/error.h"
#include "event/cloudevents.h"
#include "event/event.h"

#include <strings.h>

static void *request_memory(void *ctx, size_t size)
{
    return http_alloc(ctx, size);
}

bool document_read(struct http_request *r, const struct shape *s, void *out)
{
    static const char json[] = "application/json";
    struct shape_memory memory = {request_memory, r};
    const char *type = http_header(r, "Content-Type");
    beck_bytes body = http_body(r);
    beck_error err;
    if (body.len > 0 && type && strncasecmp(type, json, sizeof json - 1) != 0) {
        http_refuse(r, 415, "the body is \"%.100s\"; send it as %s", type, json);
        return false;
    }
    beck_status status = shape_read(s, body.len ? body : beck_str("{}"), &memory, out, &err);
    if (status)
        http_fail(r, status, &err);
    return !status;
}

void document_answer(struct http_request *r, int status, const struct shape *s, const void *object)
{
    struct buf out;
    buf_init(&out, DOCUMENT_ANSWER_MAX);
    beck_status result = shape_write(s, object, &out);
    if (result) {
        beck_error err;
        error_set(&err, result, "no memory for the answer");
        http_fail(r, result, &err);
    } else {
        http_answer(r, status, "application/json", &out);
    }
    buf_release(&out);
}

void document_list_init(struct document_list *l, const char *name)
{
    buf_init(&l->out, DOCUMENT_ANSWER_MAX);
    l->count = 0;
    l->status = buf_printf(&l->out, "{\"%s\":[", name);
    error_set(&l->err, l->status, "no memory for the answer");
}

void document_list_add(struct document_list *l, const struct shape *s, const void *item)
{
    if (l->status)
        return;
    if (l->count++ > 0)
        l->status = buf_append_byte(&l->out, ',');
    if (!l->status)
        l->status = shape_write(s, item, &l->out);
    if (l->status)
        error_set(&l->err, l->status, "the answer is larger than the %u bytes that it may have",
                  DOCUMENT_ANSWER_MAX);
}

static void answer_list(struct document_list *l, struct http_request *r)
{
    if (l->status)
        http_fail(r, l->status, &l->err);
    else
        http_answer(r, 200, "application/json", &l->out);
    buf_release(&l->out);
}

void document_list_answer(struct document_list *l, struct http_request *r)
{
    if (!l->status)
        l->status = buf_append_text(&l->out, "]}");
    answer_list(l, r);
}

void document_list_answer_with(struct document_list *l, struct http_request *r, const char *name,
                               int64_t number)
{
    if (!l->status)
        l->status = buf_printf(&l->out, "],\"%s\":%lld}", name, (long long)number);
    answer_list(l, r);
}

bool document_may_see(const struct http_request *r, enum access_kind kind, const char *name)
{
    const struct identity *i = http_identity(r);
    return identity_may(i, ACCESS_PUBLISH, kind, name) ||
           identity_may(i, ACCESS_READ, kind, name) || identity_may(i, ACCESS_WORK, kind, name) ||
           identity_may(i, ACCESS_ADMIN, kind, name);
}

/* ---- events ---- */

/* Extensions of these names are those of an answer that was published again: the event is stored
 * elsewhere now. */
static bool is_position(beck_bytes name)
{
    return bytes_equal_text(name, "beckbus") || bytes_equal_text(name, "beckpartition") ||
           bytes_equal_text(name, "beckoffset");
}

static size_t without_positions(const beck_event *e, beck_attribute *kept)
{
    size_t count = 0;
    for (size_t i = 0; i < e->extension_count; i++)
        if (!is_position(e->extensions[i].name))
            kept[count++] = e->extensions[i];
    return count;
}

beck_status document_write_event(const beck_event *e, bool positions, struct buf *out,
                                 beck_error *err)
{
    if (!positions)
        return cloudevents_write(e, BECK_FORM_CLOUDEVENTS, out, err);
    beck_attribute kept[EVENT_EXTENSIONS_MAX];
    beck_event shown = *e;
    size_t start = out->len;
    if (e->extension_count > EVENT_EXTENSIONS_MAX)
        return error_set(err, BECK_ELIMIT, "the event has %zu extensions; %d can be shown",
                         e->extension_count, EVENT_EXTENSIONS_MAX);
    shown.extensions = kept;
    shown.extension_count = without_positions(e, kept);
    beck_status status = cloudevents_write(&shown, BECK_FORM_CLOUDEVENTS, out, err);
    if (status)
        return status;
    out->len--; /* the brace; an event has members, so a comma follows */
    status = buf_append_text(out, ",\"beckbus\":");
    if (!status)
        status = json_write_string(out, e->bus);
    if (!status)
        status = buf_printf(out, ",\"beckpartition\":%u,\"beckoffset\":%lld}",
                            e->position.partition, (long long)e->position.offset);
    if (status) {
        out->len = start;
        return error_set(err, status, "no memory for the text of the event");
    }
    return BECK_OK;
}
