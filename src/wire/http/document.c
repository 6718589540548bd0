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
    return identity_may(http_identity(r), ACCESS_DESCRIBE, kind, name);
}
