/* The client of a server: see client.h. */
#include "remote/client.h"
#include "base/thread.h"
#include "event/time.h"
#include "remote/reply.h"

#include <stdio.h>
#include <stdlib.h>

#define IDLE_MAX 8
#define TARGET_MAX (1u << 20)

struct client {
    char *data_dir, *path;
    struct mutex lock; /* a leaf */
    struct connection *idle[IDLE_MAX];
    size_t idle_count;
};

beck_status client_open(const char *data_dir, struct client **out, beck_error *err)
{
    struct client *c = calloc(1, sizeof *c);
    struct connection *first;
    size_t size = strlen(data_dir) + sizeof "/beck.sock";
    if (c) {
        mutex_init(&c->lock);
        c->data_dir = strdup(data_dir);
        c->path = malloc(size);
    }
    beck_status status = BECK_OK;
    if (!c || !c->data_dir || !c->path)
        status = error_set(err, BECK_ENOMEM, "no memory for a client");
    if (!status) {
        snprintf(c->path, size, "%s/beck.sock", data_dir);
        status = connection_open(c->path, &first, err);
    }
    if (status) {
        client_close(c);
        return status;
    }
    c->idle[c->idle_count++] = first;
    *out = c;
    return BECK_OK;
}

void client_close(struct client *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->idle_count; i++)
        connection_close(c->idle[i]);
    mutex_release(&c->lock);
    free(c->data_dir);
    free(c->path);
    free(c);
}

/* ---- calls ---- */

beck_status client_connect(struct client *c, struct connection **out, beck_error *err)
{
    beck_status status = connection_open(c->path, out, err);
    if (status == BECK_ENOENT)
        status = error_set(err, BECK_EIO,
                           "the server of data directory \"%s\" is gone; start it again, or do "
                           "this again without it",
                           c->data_dir);
    return status;
}

/* NULL: none that is alive. */
static struct connection *take_idle(struct client *c)
{
    for (;;) {
        mutex_lock(&c->lock);
        struct connection *found = c->idle_count > 0 ? c->idle[--c->idle_count] : NULL;
        mutex_unlock(&c->lock);
        if (!found || connection_is_alive(found))
            return found;
        connection_close(found);
    }
}

static void give_back(struct client *c, struct connection *used)
{
    mutex_lock(&c->lock);
    bool room = c->idle_count < IDLE_MAX;
    if (room)
        c->idle[c->idle_count++] = used;
    mutex_unlock(&c->lock);
    if (!room)
        connection_close(used);
}

beck_status client_call(struct client *c, const struct request *q, struct response *a,
                        beck_error *err)
{
    struct connection *used = take_idle(c);
    for (;;) {
        bool again = used != NULL, untouched;
        beck_status status = used ? BECK_OK : client_connect(c, &used, err);
        if (status)
            return status;
        status = connection_send(used, q, &untouched, err);
        if (!status)
            status = connection_receive(used, a, -1, INT64_MAX, err);
        if (!status) {
            if (a->last)
                connection_close(used);
            else
                give_back(c, used);
            return client_check(a, err);
        }
        connection_close(used);
        used = NULL;
        /* An idle connection that the server has just given up: nothing was asked yet, or nothing
         * that does harm when it is asked twice. */
        bool harmless = untouched || strcmp(q->method, "GET") == 0;
        if (!again || !harmless || status != BECK_EIO)
            return status;
    }
}

/* ---- errors ---- */

static beck_status code_of_status(int status)
{
    switch (status) {
    case 401:
    case 403:
        return BECK_EDENIED;
    case 404:
        return BECK_ENOENT;
    case 409:
        return BECK_EBUSY;
    case 410:
        return BECK_ECLOSED;
    case 413:
    case 414:
    case 429:
    case 431:
        return BECK_ELIMIT;
    case 416:
        return BECK_ERANGE;
    case 501:
        return BECK_EUNSUPPORTED;
    case 507:
        return BECK_EFULL;
    default:
        return status >= 500 ? BECK_EIO : BECK_EINVAL;
    }
}

beck_status client_code(beck_bytes name, beck_status otherwise)
{
    for (beck_status s = BECK_EINVAL; s >= BECK_EDENIED; s--)
        if (bytes_equal_text(name, beck_status_name(s)))
            return s;
    return otherwise;
}

beck_status client_check(const struct response *a, beck_error *err)
{
    if (a->status / 100 == 2)
        return BECK_OK;
    beck_status code = code_of_status(a->status);
    struct api_problem problem;
    struct reply g = {.response = *a};
    if (reply_read(&g, &shape_problem, &problem, NULL)) {
        code = error_set(err, code, "the server answered with status %d", a->status);
    } else {
        code = client_code(beck_str(problem.code), code);
        error_set(err, code, "%s", problem.detail);
    }
    g.response = (struct response){0}; /* the caller's */
    reply_release(&g);
    return code;
}

/* ---- targets ---- */

void target_begin(struct target *t, const char *path)
{
    *t = (struct target){.mark = '?'};
    buf_init(&t->text, TARGET_MAX);
    target_add(t, path);
}

void target_add(struct target *t, const char *text)
{
    if (!t->status)
        t->status = buf_append_text(&t->text, text);
}

static bool is_plain(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

static void encode(struct target *t, beck_bytes text)
{
    const uint8_t *p = text.data;
    for (size_t i = 0; i < text.len && !t->status; i++)
        t->status =
            is_plain(p[i]) ? buf_append_byte(&t->text, p[i]) : buf_printf(&t->text, "%%%02X", p[i]);
}

void target_segment(struct target *t, const char *segment)
{
    encode(t, beck_str(segment));
}

void target_param(struct target *t, const char *name, beck_bytes value)
{
    if (!t->status)
        t->status = buf_printf(&t->text, "%c%s=", t->mark, name);
    t->mark = '&';
    encode(t, value);
}

void target_number(struct target *t, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    target_param(t, name, beck_str(text));
}

void target_from(struct target *t, const char *name, const beck_from *from)
{
    char text[FROM_TEXT_MAX];
    from_text(from, text);
    target_param(t, name, beck_str(text));
}

const char *target_text(struct target *t, beck_error *err)
{
    if (!t->status)
        t->status = buf_terminate(&t->text);
    if (!t->status)
        return (const char *)t->text.data;
    error_set(err, t->status, "no memory for a request");
    return NULL;
}

void target_release(struct target *t)
{
    buf_release(&t->text);
}

/* Times that RFC 3339 cannot say are before or after everything that is stored. */
#define TIME_MS_MAX 9214646399999LL

void from_text(const beck_from *from, char out[FROM_TEXT_MAX])
{
    int64_t ms = from->time_ms;
    switch (from->kind) {
    case BECK_FROM_NOW:
        snprintf(out, FROM_TEXT_MAX, "now");
        break;
    case BECK_FROM_EARLIEST:
        snprintf(out, FROM_TEXT_MAX, "earliest");
        break;
    case BECK_FROM_OFFSET:
        snprintf(out, FROM_TEXT_MAX, "%lld", (long long)from->offset);
        break;
    case BECK_FROM_TIME:
        ms = ms > TIME_MS_MAX ? TIME_MS_MAX : ms < -TIME_MS_MAX ? -TIME_MS_MAX : ms;
        time_format(ms * 1000000, out);
        break;
    }
}
