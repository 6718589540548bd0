/*
 * Answers. They are made on whichever thread answers, and given to MHD on the network thread, once
 * nobody uses the request any more.
 */
#include "wire/http/http_impl.h"

#include "base/clock.h"
#include "event/json.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define STREAM_BLOCK 16384 /* for clients that know no chunks */
#define PROBLEM_MAX 8192

/* ---- who still uses a request ---- */

/* Unless the network thread has not got as far as to suspend the connection: then it goes on by
 * itself. The request may be gone as soon as `park` was changed. */
static void resume(struct MHD_Connection *mhd, _Atomic(int) *park)
{
    if (atomic_exchange(park, PARK_GOES_ON) == PARK_SUSPENDED)
        MHD_resume_connection(mhd);
}

void request_hold(struct http_request *r)
{
    atomic_fetch_add(&r->holds, 1);
}

void request_let_go(struct http_request *r)
{
    struct http *h = r->connection->http;
    struct MHD_Connection *mhd = r->mhd;
    atomic_fetch_add(&h->leaving, 1);
    if (atomic_fetch_sub(&r->holds, 1) == 1)
        resume(mhd, &r->park);
    atomic_fetch_sub(&h->leaving, 1);
}

static void end_wait(struct http_request *r)
{
    struct keeper *k = &r->connection->http->keeper;
    keeper_cancel(k, &r->timer);
    if (r->watched.place)
        keeper_unwatch(k, &r->watched);
}

/* The answer is made. */
static void finish(struct http_request *r, int status, struct MHD_Response *response)
{
    assert(!r->answered);
    struct http *h = r->connection->http;
    r->answered = true;
    r->status = status;
    r->response = response;
    if (!response) {
        r->response = h->no_memory;
        r->status = 503;
    } else {
        for (const struct http_header *header = r->headers; header; header = header->next)
            MHD_add_response_header(response, header->name, header->value);
        if (atomic_load_explicit(&h->draining, memory_order_relaxed))
            MHD_add_response_header(response, "Connection", "close");
    }
    if (r->later)
        end_wait(r);
    request_let_go(r);
}

enum MHD_Result answer_queue(struct http_request *r)
{
    assert(r->answered && r->stage != STAGE_ANSWERED);
    r->stage = STAGE_ANSWERED;
    connection_phase(r->connection, r->streams ? PHASE_WORKING : PHASE_SENDING);
    return MHD_queue_response(r->mhd, (unsigned)r->status, r->response);
}

void answer_release(struct http_request *r)
{
    if (r->response && r->response != r->connection->http->no_memory)
        MHD_destroy_response(r->response);
    r->response = NULL;
    if (r->streams && r->stream.release)
        r->stream.release(r->stream.ctx);
    r->streams = false;
}

/* ---- plain answers ---- */

void http_set_header(struct http_request *r, const char *name, const char *value)
{
    size_t name_size = strlen(name) + 1, value_size = strlen(value) + 1;
    struct http_header *header = http_alloc(r, sizeof *header + name_size + value_size);
    if (!header)
        return;
    char *text = (char *)(header + 1);
    memcpy(text, name, name_size);
    memcpy(text + name_size, value, value_size);
    *header = (struct http_header){text, text + name_size, NULL};
    struct http_header **at = &r->headers;
    while (*at)
        at = &(*at)->next;
    *at = header;
}

void http_answer(struct http_request *r, int status, const char *content_type, struct buf *body)
{
    static char nothing[1];
    size_t len = body ? body->len : 0;
    struct MHD_Response *response;
    if (len > 0) {
        response = MHD_create_response_from_buffer(len, body->data, MHD_RESPMEM_MUST_FREE);
        if (response)
            *body = (struct buf){.max = body->max};
        else
            buf_release(body);
    } else {
        response = MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
        if (body)
            buf_release(body);
    }
    if (response && content_type)
        MHD_add_response_header(response, "Content-Type", content_type);
    r->sent = len;
    finish(r, status, response);
}

void http_answer_text(struct http_request *r, int status, const char *content_type,
                      const char *text)
{
    size_t len = strlen(text);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(len, (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
    if (response && content_type)
        MHD_add_response_header(response, "Content-Type", content_type);
    r->sent = len;
    finish(r, status, response);
}

/* ---- problems ---- */

static const struct {
    beck_status code;
    int status;
} statuses[] = {
    {BECK_EINVAL, 400},       {BECK_EDENIED, 403},   {BECK_ENOENT, 404},     {BECK_EEXIST, 409},
    {BECK_EBUSY, 409},        {BECK_ESTALE, 409},    {BECK_EDUPLICATE, 409}, {BECK_ESEQUENCE, 409},
    {BECK_EFENCED, 409},      {BECK_ECLOSED, 410},   {BECK_ERANGE, 416},     {BECK_ELIMIT, 429},
    {BECK_EUNSUPPORTED, 501}, {BECK_ETIMEDOUT, 503}, {BECK_EPOISONED, 503},  {BECK_EFULL, 507},
};

/* Of refusals that come from HTTP itself; BECK_OK: none fits. */
static beck_status code_of(int status)
{
    switch (status) {
    case 400:
    case 411:
    case 415:
        return BECK_EINVAL;
    case 401:
    case 403:
        return BECK_EDENIED;
    case 404:
        return BECK_ENOENT;
    case 405:
    case 501:
        return BECK_EUNSUPPORTED;
    case 409:
        return BECK_EBUSY;
    case 408:
        return BECK_ETIMEDOUT;
    case 413:
    case 429:
    case 431:
        return BECK_ELIMIT;
    case 416:
        return BECK_ERANGE;
    default:
        return BECK_OK;
    }
}

static const char *title_of(int status)
{
    switch (status) {
    case 507:
        return "Insufficient Storage";
    case 401:
        return "Unauthorized";
    default:
        return MHD_get_reason_phrase_for((unsigned)status);
    }
}

static beck_status write_problem(int status, beck_status code, const char *detail, struct buf *out)
{
    const char *title = title_of(status);
    beck_status failed = buf_append_text(out, "{\"type\":\"about:blank\",\"title\":");
    failed |= json_write_string(out, beck_str(title ? title : "Error"));
    failed |= buf_printf(out, ",\"status\":%d,\"detail\":", status);
    failed |= json_write_string(out, beck_str(detail));
    if (code)
        failed |= buf_printf(out, ",\"code\":\"%s\"", beck_status_name(code));
    return failed | buf_append_text(out, "}\n");
}

static void answer_problem(struct http_request *r, int status, beck_status code, const char *detail)
{
    const struct http_site *site = r->connection->served->site;
    struct buf out;
    buf_init(&out, PROBLEM_MAX);
    if (site ? site->problem(status, detail, &out) : write_problem(status, code, detail, &out)) {
        buf_release(&out);
        finish(r, 503, NULL);
        return;
    }
    http_answer(r, status, site ? "application/json" : "application/problem+json", &out);
}

void http_fail(struct http_request *r, beck_status status, const beck_error *err)
{
    int http_status = 500;
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        if (statuses[i].code == status)
            http_status = statuses[i].status;
    answer_problem(r, http_status, status, err->text);
}

void http_refuse(struct http_request *r, int status, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    answer_problem(r, status, code_of(status), text);
}

/* ---- streams ---- */

/* MHD wants up to `room` bytes. With none to give, the connection is suspended until a wake. */
static ssize_t read_stream(void *ctx, uint64_t position, char *to, size_t room)
{
    struct http_request *r = ctx;
    struct http *h = r->connection->http;
    (void)position;
    for (;;) {
        if (r->stream_over || atomic_load(&h->draining))
            return MHD_CONTENT_READER_END_OF_STREAM;
        atomic_store(&r->stream_park, PARK_RUNS);
        /* The buffer is MHD's: it cannot grow, since its ceiling is its size. */
        struct buf out = {.data = (uint8_t *)to, .cap = room - 1, .max = room - 1};
        r->stream_over = !r->stream.pull(r->stream.ctx, &out, room - 1);
        r->sent += out.len;
        if (out.len > 0)
            return (ssize_t)out.len;
        if (r->stream_over)
            continue;
        if (atomic_load(&r->stream_park) == PARK_GOES_ON)
            continue;
        MHD_suspend_connection(r->mhd);
        int runs = PARK_RUNS;
        if (!atomic_compare_exchange_strong(&r->stream_park, &runs, PARK_SUSPENDED)) {
            MHD_resume_connection(r->mhd);
        } else if (atomic_load(&h->draining)) {
            http_stream_wake(r);
        }
        return 0;
    }
}

void http_stream_wake(struct http_request *r)
{
    struct http *h = r->connection->http;
    atomic_fetch_add(&h->leaving, 1);
    resume(r->mhd, &r->stream_park);
    atomic_fetch_sub(&h->leaving, 1);
}

void http_answer_stream(struct http_request *r, int status, const char *content_type,
                        const struct http_stream *stream)
{
    r->stream = *stream;
    r->streams = true;
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, r, NULL);
    if (response && content_type)
        MHD_add_response_header(response, "Content-Type", content_type);
    /* MHD would end the answer to HEAD with a last chunk, which is none of it. */
    if (response && strcmp(r->method, "HEAD") == 0)
        MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
    finish(r, status, response);
}
