/* What handlers ask of a request and answer it with. */
#include "wire/management/management_impl.h"

#include "base/error.h"
#include "event/value.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ANSWER_MAX (256u << 20)

/* ---- what came ---- */

beck_bytes call_name(const struct call *c, size_t index)
{
    return beck_str(http_path(c->r, index));
}

bool call_sees_vhost(const struct call *c, beck_bytes vhost)
{
    return c->monitoring || broker_user_may_enter(c->b, vhost, beck_str(c->user), false);
}

bool call_vhost(struct call *c, size_t index, bool change, beck_bytes *out)
{
    beck_bytes name = call_name(c, index);
    *out = name;
    if (!broker_has_vhost(c->b, name)) {
        answer_not_found(c);
        return false;
    }
    bool may = change ? broker_user_may_enter(c->b, name, beck_str(c->user), c->admin)
                      : call_sees_vhost(c, name);
    if (!may)
        answer_error(c, 401, "not_authorised", "User not authorised to access virtual host");
    return may;
}

bool call_session(struct call *c, beck_bytes vhost, struct session **out)
{
    struct session_options o = {.vhost = vhost, .user = c->user, .everything = c->admin};
    int code = session_open(c->b, &o, out, c->text);
    if (code)
        answer_reply(c, code);
    return code == 0;
}

bool call_flag(const struct call *c, const char *name)
{
    const char *value = http_query(c->r, name);
    return value && strcmp(value, "true") == 0;
}

bool body_bool(struct call *c, const json_t *from, const char *name, bool *out)
{
    const json_t *v = json_object_get(from, name);
    const char *text = json_string_value(v);
    *out = false;
    if (!v || json_is_null(v))
        return true;
    *out = json_is_true(v) || (text && strcmp(text, "true") == 0);
    if (*out || json_is_false(v) || (text && strcmp(text, "false") == 0))
        return true;
    answer_error(c, 400, "bad_request", "%s is neither true nor false", name);
    return false;
}

bool body_number(struct call *c, const json_t *from, const char *name, int64_t otherwise,
                 int64_t *out)
{
    const json_t *v = json_object_get(from, name);
    *out = otherwise;
    if (!v || json_is_null(v))
        return true;
    if (json_is_integer(v)) {
        *out = json_integer_value(v);
        return true;
    }
    if (json_is_string(v) && value_number(json_string_value(v), out))
        return true;
    answer_error(c, 400, "bad_request", "%s is no whole number", name);
    return false;
}

bool body_text(struct call *c, const json_t *from, const char *name, const char *otherwise,
               beck_bytes *out)
{
    const json_t *v = json_object_get(from, name);
    if (json_is_string(v)) {
        *out = json_slice(v);
        return true;
    }
    if ((!v || json_is_null(v)) && otherwise) {
        *out = beck_str(otherwise);
        return true;
    }
    if (v && !json_is_null(v))
        answer_error(c, 400, "bad_request", "%s is no string", name);
    else
        answer_error(c, 400, "bad_request", "key_missing: %s", name);
    return false;
}

/* ---- answers ---- */

void answer_json(struct call *c, int status, json_t *value)
{
    struct buf out;
    buf_init(&out, ANSWER_MAX);
    beck_status failed = value ? json_write(value, &out) : BECK_ENOMEM;
    json_decref(value);
    if (failed) {
        buf_release(&out);
        answer_error(c, 503, "service_unavailable", "no memory for the answer");
        return;
    }
    http_set_header(c->r, "Cache-Control", "no-cache");
    http_answer(c->r, status, "application/json", &out);
}

void answer_nothing(struct call *c, int status)
{
    http_answer(c->r, status, NULL, NULL);
}

void answer_error(struct call *c, int status, const char *error, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_t *o = json_object();
    struct buf out;
    buf_init(&out, sizeof text * 8);
    json_put_word(o, "error", error);
    json_put_text(o, "reason", beck_str(text));
    if (json_write(o, &out))
        buf_clear(&out);
    json_decref(o);
    http_answer(c->r, status, "application/json", &out);
}

void answer_not_found(struct call *c)
{
    answer_error(c, 404, "Object Not Found", "Not Found");
}

/* The text without the name of the code before it, as RabbitMQ gives it here. */
static const char *explanation(const char *text)
{
    const char *dash = strstr(text, " - ");
    return dash ? dash + 3 : text;
}

void answer_reply(struct call *c, int code)
{
    c->text[BROKER_TEXT - 1] = 0;
    switch (code) {
    case REPLY_NOT_FOUND:
        answer_error(c, 404, "not_found", "%s", explanation(c->text));
        break;
    case REPLY_ACCESS_REFUSED:
    case REPLY_NOT_ALLOWED:
        answer_error(c, 401, "not_authorised", "%s", explanation(c->text));
        break;
    case REPLY_INTERNAL_ERROR:
        answer_error(c, 500, "internal_server_error", "%s", explanation(c->text));
        break;
    default:
        answer_error(c, 400, "bad_request", "%s", explanation(c->text));
    }
}

void answer_status(struct call *c, beck_status status)
{
    switch (status) {
    case BECK_ENOENT:
        answer_not_found(c);
        break;
    case BECK_EINVAL:
    case BECK_EEXIST:
    case BECK_ELIMIT:
    case BECK_EBUSY:
    case BECK_EUNSUPPORTED:
        answer_error(c, 400, "bad_request", "%s", c->err.text);
        break;
    case BECK_EDENIED:
        answer_error(c, 401, "not_authorised", "%s", c->err.text);
        break;
    default:
        answer_error(c, 500, "internal_server_error", "%s", c->err.text);
    }
}

void answer_put(struct call *c, beck_status status, bool made)
{
    if (status)
        answer_status(c, status);
    else
        answer_nothing(c, made ? 201 : 204);
}

void answer_done(struct call *c, beck_status status)
{
    answer_put(c, status, false);
}
