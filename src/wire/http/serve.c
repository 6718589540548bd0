/*
 * The way of a request through its stages, as MHD calls for it, and what handlers put off.
 */
#include "wire/http/http_impl.h"

#include "base/clock.h"

#include <assert.h>

#define BODY_FIRST 4096
#define BODY_EXACT 65536 /* up to here memory is taken for the whole body at once */

void *http_target_read(void *ctx, const char *target, struct MHD_Connection *mhd)
{
    (void)ctx;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *c = info ? info->socket_context : NULL;
    if (!c)
        return NULL;
    request_reset(&c->request);
    connection_phase(c, PHASE_READING);
    return request_begin(&c->request, target) ? &c->request : NULL;
}

/* Where the request ends is not sure: what stands behind it is not looked at. */
static bool refuse_framing(struct http_request *r, const char *why)
{
    http_set_header(r, "Connection", "close");
    http_refuse(r, 400, "%s", why);
    return false;
}

/* As RFC 9110 has it (section 5.6.2): a name with a blank before its colon, above all, is another header
 * to one reader and none to the next. */
static void check_name(void *ctx, const char *name, const char *value)
{
    bool *legal = ctx;
    (void)value;
    for (const char *p = name; *p; p++) {
        bool letter =
            (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');
        *legal &= letter || strchr("-_!#$%&'*+.^`|~", *p);
    }
}

/* Only a body of a known length, or one in chunks, and no header that two readers could understand
 * differently. */
static bool check_framing(struct http_request *r)
{
    const char *encoding = http_header(r, "Transfer-Encoding"),
               *length = http_header(r, "Content-Length");
    bool legal = true;
    r->body_length = 0;
    http_each_header(r, check_name, &legal);
    if (!legal)
        return refuse_framing(r, "the name of a header holds a character that none may have");
    if (encoding && length)
        return refuse_framing(
            r, "the request has both Content-Length and Transfer-Encoding; send one of them");
    if (length && http_header_count(r, "Content-Length") > 1)
        return refuse_framing(r, "the header Content-Length comes more than once");
    if (encoding &&
        (strcasecmp(encoding, "chunked") != 0 || http_header_count(r, "Transfer-Encoding") > 1)) {
        http_refuse(r, 501, "Transfer-Encoding is \"%.60s\"; only \"chunked\" is understood",
                    encoding);
        return false;
    }
    if (encoding)
        r->body_length = UINT64_MAX;
    else if (length && !bytes_to_u64(beck_str(length), &r->body_length))
        r->body_length = 0; /* MHD has refused it */
    static const char *const once[] = {"Host", "Authorization", "Content-Type"};
    for (size_t i = 0; i < sizeof once / sizeof once[0]; i++)
        if (http_header(r, once[i]) && http_header_count(r, once[i]) > 1) {
            http_refuse(r, 400, "the header %s comes more than once", once[i]);
            return false;
        }
    uint64_t max = http_settings_of(r)->body_max;
    if (r->body_length != UINT64_MAX && r->body_length > max) {
        http_refuse(r, 413,
                    "the body has %llu bytes; at most %llu are taken (http.body_max): send less at "
                    "once",
                    (unsigned long long)r->body_length, (unsigned long long)max);
        return false;
    }
    return true;
}

static void name_on_pool(struct http_request *r, void *ctx)
{
    (void)ctx;
    if (request_name(r, true) == NAMING_DONE && request_authorize(r))
        request_let_go(r); /* no answer yet: the network thread takes its hold again */
}

static void run_call(struct job *job)
{
    struct http_call *call = (struct http_call *)job; /* its first member */
    struct http_request *r = call->request;
    call->fn(r, call->ctx);
    request_let_go(r);
}

static void post_to(struct pool *pool, struct http_request *r, struct http_call *call,
                    void (*fn)(struct http_request *r, void *ctx), void *ctx)
{
    *call = (struct http_call){{.run = run_call}, r, fn, ctx};
    request_hold(r);
    pool_push(pool, &call->job);
}

static void post(struct http_request *r, struct http_call *call,
                 void (*fn)(struct http_request *r, void *ctx), void *ctx)
{
    post_to(&r->connection->http->pool, r, call, fn, ctx);
}

/* Suspends the connection until whoever holds the request has let go; false: they have. */
static bool park(struct http_request *r)
{
    if (atomic_load(&r->park) == PARK_GOES_ON)
        return false;
    MHD_suspend_connection(r->mhd);
    int runs = PARK_RUNS;
    if (!atomic_compare_exchange_strong(&r->park, &runs, PARK_SUSPENDED))
        MHD_resume_connection(r->mhd);
    return true;
}

/* An answer before the body was read closes the connection, and may be lost to a client that is still
 * sending. So that is left for bodies that are refused for their length, and for clients that wait
 * for leave to send. */
static bool answers_early(const struct http_request *r)
{
    return r->status == 413 || r->status == 501 || http_header(r, "Expect");
}

/* The headers were read. The answer, if there is one already, is `holds` 0. */
static void begin(struct http_request *r, const char *method)
{
    struct http *h = r->connection->http;
    r->method = method;
    atomic_store(&r->holds, 1);
    atomic_store(&r->park, PARK_RUNS);
    if (!check_framing(r))
        return;
    bool known = r->body_length != UINT64_MAX;
    buf_init(&r->body, known ? (size_t)r->body_length : h->settings.body_max);
    if (!request_read_target(r) || !request_check_arguments(r))
        return;
    if (r->route->right == 0)
        return;
    switch (request_name(r, false)) {
    case NAMING_DONE:
        request_authorize(r);
        break;
    case NAMING_SLOW:
        r->stage = STAGE_NAMING;
        post_to(&h->guards, r, &r->handler, name_on_pool, NULL);
        break;
    case NAMING_REFUSED:
        break;
    }
}

/* Room for `more` bytes of body, counted against what all bodies may have together. */
static bool reserve_body(struct http_request *r, size_t more)
{
    struct http *h = r->connection->http;
    size_t need = r->body.len + more, cap = r->body.cap ? r->body.cap : BODY_FIRST;
    if (need <= r->body.cap)
        return true;
    if (need > r->body.max) {
        http_refuse(r, 413, "the body has more than %llu bytes (http.body_max): send less at once",
                    (unsigned long long)r->body.max);
        return false;
    }
    while (cap < need)
        cap *= 2;
    if (r->body_length != UINT64_MAX && (r->body_length <= BODY_EXACT || cap > r->body_length))
        cap = r->body_length > need ? (size_t)r->body_length : need;
    if (cap > r->body.max)
        cap = r->body.max;
    uint64_t grown = cap - r->body_counted;
    uint64_t before = atomic_fetch_add(&h->bodies, grown);
    /* Whoever needs no name, as the senders of webhooks, leaves half of it to those who have one. */
    uint64_t most = h->settings.bodies_max;
    if (r->route->right == 0)
        most = most / 2 > h->settings.body_max ? most / 2 : h->settings.body_max;
    r->body_counted += grown;
    if (before + grown > most) {
        http_set_header(r, "Retry-After", "1");
        http_refuse(r, 503,
                    "requests hold %llu bytes of %llu that they may together (http.bodies_max%s); "
                    "try again soon",
                    (unsigned long long)before, (unsigned long long)most,
                    r->route->right == 0 ? ", half of it for webhooks" : "");
        return false;
    }
    if (buf_reserve(&r->body, cap - r->body.len)) {
        http_refuse(r, 503, "no memory for a body of %zu bytes; try again later", cap);
        return false;
    }
    return true;
}

static void drop_body(struct http_request *r)
{
    buf_release(&r->body);
    if (r->body_counted)
        atomic_fetch_sub(&r->connection->http->bodies, r->body_counted);
    r->body_counted = 0;
}

/* NO: the connection is closed. */
static enum MHD_Result take_body(struct http_request *r, const char *data, size_t size)
{
    if (!r->answered && reserve_body(r, size)) {
        memcpy(r->body.data + r->body.len, data, size);
        r->body.len += size;
        return MHD_YES;
    }
    drop_body(r);
    r->body_dropped += size;
    return r->body_dropped <= http_settings_of(r)->body_max ? MHD_YES : MHD_NO;
}

static void call_handler(struct http_request *r, void *ctx)
{
    (void)ctx;
    r->route->handle(r);
    if (!r->later && !r->answered)
        http_refuse(r, 500, "the request was not answered");
}

static void run_handler(struct http_request *r)
{
    connection_phase(r->connection, PHASE_WORKING);
    r->stage = STAGE_HANDLING;
    if (r->answered)
        return;
    if (r->route->run == HTTP_POOL)
        post(r, &r->handler, call_handler, NULL);
    else
        call_handler(r, NULL);
}

/* It is known who calls. */
static enum MHD_Result begun(struct http_request *r)
{
    if (r->stage == STAGE_NAMING && !r->answered) {
        atomic_store(&r->holds, 1);
        atomic_store(&r->park, PARK_RUNS);
    }
    r->stage = STAGE_BODY;
    return r->answered && answers_early(r) ? answer_queue(r) : MHD_YES;
}

enum MHD_Result http_serve(void *ctx, struct MHD_Connection *mhd, const char *url,
                           const char *method, const char *version, const char *data, size_t *size,
                           void **request)
{
    struct http_request *r = *request;
    struct http *h = ctx;
    (void)mhd;
    (void)url;
    (void)version;
    if (!r)
        return MHD_NO; /* no memory */
    if (r->stage == STAGE_NEW) {
        atomic_fetch_add(&h->running, 1);
        r->stage = STAGE_BODY;
        /* Before anybody else gets it: it goes with its connection. */
        if (atomic_load(&h->stopping))
            return MHD_NO;
        begin(r, method);
        if (r->stage == STAGE_NAMING && park(r))
            return MHD_YES;
        return begun(r);
    }
    if (r->stage == STAGE_NAMING)
        return begun(r);
    if (*size > 0) {
        size_t taken = *size;
        *size = 0;
        return take_body(r, data, taken);
    }
    if (r->stage == STAGE_BODY)
        run_handler(r);
    return park(r) ? MHD_YES : answer_queue(r);
}

void http_served(void *ctx, struct MHD_Connection *mhd, void **request,
                 enum MHD_RequestTerminationCode code)
{
    struct http *h = ctx;
    struct http_request *r = *request;
    (void)mhd;
    if (!r || r->stage == STAGE_NEW)
        return;
    int64_t took = clock_mono_ns(clock_system()) - r->began_ns;
    http_count(h, r, took);
    if (h->context.log)
        h->context.log(h->context.log_ctx, r, r->status, r->sent, took);
    if (r->on_sent)
        r->on_sent(r->on_sent_ctx,
                   code == MHD_REQUEST_TERMINATED_COMPLETED_OK && r->response != h->no_memory);
    answer_release(r);
    request_reset(r);
    connection_phase(r->connection, PHASE_IDLE);
    *request = NULL;
    atomic_fetch_sub(&h->running, 1);
    http_signal_quiet(h);
}

/* ---- what comes later ---- */

void http_later(struct http_request *r)
{
    if (!r->later) /* a second call may be from another thread */
        r->later = true;
}

void http_on_sent(struct http_request *r, void (*fn)(void *ctx, bool sent), void *ctx)
{
    r->on_sent = fn;
    r->on_sent_ctx = ctx;
}

void http_to_pool(struct http_request *r, void (*fn)(struct http_request *r, void *ctx), void *ctx)
{
    assert(r->later);
    post(r, &r->posted, fn, ctx);
}

void http_push(struct http *h, struct job *job)
{
    pool_push(&h->pool, job);
}

static void timer_due(struct timer *t)
{
    struct http_request *r =
        (struct http_request *)((char *)t - offsetof(struct http_request, timer));
    post(r, &r->timed, r->timed.fn, r->timed.ctx);
}

static void client_gone(struct watched *w)
{
    struct http_request *r =
        (struct http_request *)((char *)w - offsetof(struct http_request, watched));
    atomic_store(&r->gone, true);
    keeper_fire(&r->connection->http->keeper, &r->timer);
}

void http_at(struct http_request *r, int64_t mono_ns, void (*fn)(struct http_request *r, void *ctx),
             void *ctx)
{
    struct keeper *k = &r->connection->http->keeper;
    assert(r->later);
    r->timed.fn = fn;
    r->timed.ctx = ctx;
    r->timer.due = timer_due;
    if (!r->watched.place) {
        r->watched = (struct watched){.fd = r->connection->fd, .gone = client_gone};
        keeper_watch(k, &r->watched);
    }
    request_hold(r); /* the timer may run at once, and answer */
    keeper_set(k, &r->timer, mono_ns);
    if (http_is_ending(r))
        keeper_hasten(k, &r->timer);
    request_let_go(r);
}

bool http_at_cancel(struct http_request *r)
{
    return keeper_cancel(&r->connection->http->keeper, &r->timer);
}

bool http_is_ending(const struct http_request *r)
{
    return atomic_load(&r->gone) || atomic_load(&r->connection->http->draining);
}
