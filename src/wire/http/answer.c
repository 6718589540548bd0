/*
 * Answers. They are made on whichever thread answers, and put out on the loop, once nobody uses the
 * request any more: the head and a short body in one piece, a long body by reference.
 */
#include "wire/http/http_impl.h"

#include "base/clock.h"
#include "event/json.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define COPIED_MAX 4096 /* of a body; what is longer is referred to */
#define PROBLEM_MAX 8192
#define HEAD_ROOM 256 /* for what stands in every head */

/* ---- who still uses a request ---- */

/* Unless the loop has not got as far as to wait: then it goes on by itself. The request may be gone as
 * soon as `park` was changed. */
static void resume(struct http_request *r, _Atomic(int) *park, struct net_task *task)
{
    struct net_loop *loop = connection_loop(r->connection->net);
    if (atomic_exchange(park, PARK_GOES_ON) == PARK_SUSPENDED)
        net_post(loop, task);
}

void request_hold(struct http_request *r)
{
    atomic_fetch_add(&r->holds, 1);
}

void request_let_go(struct http_request *r)
{
    if (atomic_fetch_sub(&r->holds, 1) == 1)
        resume(r, &r->park, &r->back);
}

/* The answer is made. */
static void finish(struct http_request *r, int status, const char *content_type)
{
    assert(!r->answered);
    r->answered = true;
    r->status = status;
    r->content_type = content_type;
    if (r->no_memory)
        r->status = 503;
    if (r->timed_once)
        timers_cancel(&r->connection->http->timers, &r->timer);
    request_let_go(r);
}

void answer_release(struct http_request *r)
{
    buf_release(&r->reply);
    if (r->streams && r->stream.release)
        r->stream.release(r->stream.ctx);
    r->streams = false;
}

/* ---- words of heads ---- */

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Other";
}

static char *put_text(char *at, const char *text)
{
    size_t len = strlen(text);
    memcpy(at, text, len);
    return at + len;
}

#define PUT(at, literal) ((char *)memcpy(at, literal, sizeof(literal) - 1) + sizeof(literal) - 1)

static char *put_two(char *at, int64_t number)
{
    *at++ = (char)('0' + number / 10 % 10);
    *at++ = (char)('0' + number % 10);
    return at;
}

static char *put_number(char *at, uint64_t number)
{
    char digits[20];
    size_t count = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count > 0)
        *at++ = digits[--count];
    return at;
}

/* As "Sat, 21 Nov 2026 16:20:26 GMT". Days are counted from the first of March, so that the leap day is
 * the last of its year. */
static char *put_date(char *at, int64_t seconds)
{
    static const char days[] = "ThuFriSatSunMonTueWed";
    static const char months[] = "MarAprMayJunJulAugSepOctNovDecJanFeb";
    int64_t day = seconds / 86400, second = seconds % 86400;
    memcpy(at, days + day % 7 * 3, 3);
    int64_t since = day + 719468, era = since / 146097, of_era = since % 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153;
    year += era * 400 + (month >= 10);
    at = PUT(at + 3, ", ");
    at = put_two(at, of_year - (153 * month + 2) / 5 + 1);
    *at++ = ' ';
    memcpy(at, months + month * 3, 3);
    at += 3;
    *at++ = ' ';
    at = put_number(at, (uint64_t)year);
    *at++ = ' ';
    at = put_two(at, second / 3600);
    *at++ = ':';
    at = put_two(at, second / 60 % 60);
    *at++ = ':';
    at = put_two(at, second % 60);
    return PUT(at, " GMT");
}

/* ---- putting out ---- */

static char no_memory[] =
    "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
    "\"detail\":\"no memory for the answer\",\"code\":\"BECK_ENOMEM\"}\n";

static beck_bytes reply_of(const struct http_request *r)
{
    if (r->no_memory)
        return bytes_of(no_memory, sizeof no_memory - 1);
    return r->text.len > 0 ? r->text : buf_bytes(&r->reply);
}

static bool is_head(const struct http_request *r)
{
    return r->head.method && strcmp(r->head.method, "HEAD") == 0;
}

static size_t room_for_head(const struct http_request *r)
{
    size_t room = HEAD_ROOM + (r->content_type ? strlen(r->content_type) : 0);
    for (const struct http_header *h = r->headers; h; h = h->next)
        room += strlen(h->name) + strlen(h->value) + 4;
    return room;
}

/* How the client knows where the answer ends. */
static char *put_framing(struct http_request *r, char *at, size_t len)
{
    struct http_connection *c = r->connection;
    bool head = is_head(r);
    if (atomic_load_explicit(&c->http->draining, memory_order_relaxed) ||
        (r->streams && (head || r->head.minor == 0)))
        c->closes = true;
    r->in_chunks = r->streams && r->head.minor > 0 && !head;
    if (c->closes)
        at = PUT(at, "Connection: close\r\n");
    else if (r->head.minor == 0)
        at = PUT(at, "Connection: keep-alive\r\n");
    if (r->streams && r->head.minor > 0)
        return PUT(at, "Transfer-Encoding: chunked\r\n");
    if (r->streams || r->status == 204 || r->status == 304)
        return at;
    at = PUT(at, "Content-Length: ");
    at = put_number(at, len);
    return PUT(at, "\r\n");
}

static char *put_head(struct http_request *r, char *at, size_t len)
{
    const char *type = r->no_memory ? "application/problem+json" : r->content_type;
    at = PUT(at, "HTTP/1.1 ");
    at = put_number(at, (uint64_t)r->status);
    *at++ = ' ';
    at = put_text(at, reason_of(r->status));
    at = PUT(at, "\r\nDate: ");
    at = put_date(at, clock_wall_ms(clock_system()) / 1000);
    at = PUT(at, "\r\n");
    at = put_framing(r, at, len);
    if (type) {
        at = PUT(at, "Content-Type: ");
        at = put_text(at, type);
        at = PUT(at, "\r\n");
    }
    for (const struct http_header *h = r->headers; h; h = h->next) {
        at = put_text(at, h->name);
        at = PUT(at, ": ");
        at = put_text(at, h->value);
        at = PUT(at, "\r\n");
    }
    return PUT(at, "\r\n");
}

void answer_send(struct http_request *r)
{
    assert(r->answered);
    struct connection *n = r->connection->net;
    beck_bytes body = reply_of(r);
    size_t copied = body.len <= COPIED_MAX || r->text.len > 0 ? body.len : 0,
           room = room_for_head(r) + copied;
    char *start = (char *)connection_reserve(n, room);
    if (!start)
        return; /* the connection ends */
    char *at = put_head(r, start, body.len);
    bool wanted = !is_head(r) && r->status != 204 && r->status != 304;
    if (wanted && copied > 0) {
        memcpy(at, body.data, copied);
        at += copied;
    }
    assert((size_t)(at - start) <= room);
    connection_commit(n, (size_t)(at - start));
    if (wanted && copied < body.len) {
        connection_write_memory(n, body, free, r->reply.data);
        r->reply = (struct buf){0};
    }
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
    for (char *p = text + name_size; *p; p++)
        if ((uint8_t)*p < ' ' || *p == 0x7f)
            *p = ' '; /* or it would end the line */
    *header = (struct http_header){text, text + name_size, NULL};
    struct http_header **at = &r->headers;
    while (*at)
        at = &(*at)->next;
    *at = header;
}

void http_answer(struct http_request *r, int status, const char *content_type, struct buf *body)
{
    if (body) {
        r->reply = *body;
        *body = (struct buf){.max = body->max};
    }
    r->sent = r->reply.len;
    finish(r, status, content_type);
}

void http_answer_text(struct http_request *r, int status, const char *content_type,
                      const char *text)
{
    size_t len = strlen(text);
    char *copy = http_alloc(r, len + 1);
    if (copy)
        r->text = bytes_of(memcpy(copy, text, len), len);
    r->no_memory = !copy;
    r->sent = len;
    finish(r, status, content_type);
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

static beck_status write_problem(int status, beck_status code, const char *detail, struct buf *out)
{
    const char *title = reason_of(status);
    beck_status failed = buf_append_text(out, "{\"type\":\"about:blank\",\"title\":");
    failed |= json_write_string(out, beck_str(title));
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
        buf_clear(&out);
        r->no_memory = true;
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

void http_stream_wake(struct http_request *r)
{
    resume(r, &r->stream_park, &r->wake);
}

void wakes_add(struct wakes *w, struct http_request *r)
{
    struct net_loop *loop = connection_loop(r->connection->net);
    size_t i = 0;
    if (atomic_exchange(&r->stream_park, PARK_GOES_ON) != PARK_SUSPENDED)
        return;
    while (i < w->count && w->chains[i].loop != loop)
        i++;
    if (i == WAKES_LOOPS) {
        net_post(loop, &r->wake);
        return;
    }
    struct wake_chain *chain = &w->chains[i];
    if (i == w->count) {
        *chain = (struct wake_chain){loop, &r->wake, &r->wake};
        w->count++;
        return;
    }
    r->wake.next = chain->last;
    chain->last = &r->wake;
}

void wakes_send(struct wakes *w)
{
    for (size_t i = 0; i < w->count; i++)
        net_post_chain(w->chains[i].loop, w->chains[i].last, w->chains[i].first);
    w->count = 0;
}

void http_frame(uint8_t *frame, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 7; i >= 0; i--, len >>= 4)
        frame[i] = (uint8_t)digits[len & 15];
    frame[8] = '\r';
    frame[9] = '\n';
}

void http_stream_put(struct http_request *r, const uint8_t *frame, size_t len,
                     void (*release)(void *ctx), void *ctx)
{
    const uint8_t *from = r->in_chunks ? frame : frame + HTTP_FRAME_HEAD;
    size_t whole = r->in_chunks ? len + HTTP_FRAME_HEAD + HTTP_FRAME_TAIL : len;
    r->stream_put = true;
    r->sent += len;
    connection_write_memory(r->connection->net, bytes_of(from, whole), release, ctx);
}

void http_answer_stream(struct http_request *r, int status, const char *content_type,
                        const struct http_stream *stream)
{
    r->stream = *stream;
    r->streams = true;
    finish(r, status, content_type);
}
