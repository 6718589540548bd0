/*
 * The way of a request through its stages, on the loop of its connection, and what handlers put off.
 *
 *   HEAD -> (NAMING) -> BODY -> HANDLING -> (SENDING | STREAMING) -> HEAD, or OVER
 *
 * Requests of a connection are served one after the other: what comes behind one that waits is left
 * with the connection.
 */
#include "wire/http/http_impl.h"

#include "base/clock.h"

#include <assert.h>

#define BODY_FIRST 4096
#define BODY_EXACT 65536 /* up to here memory is taken for the whole body at once */
#define BEHIND_MAX 65536 /* of what comes behind a request that waits; then nothing more is read */

static void complete(struct http_request *r);

/* ---- framing ---- */

/* Where the request ends is not sure: what stands behind it is not looked at. */
static bool refuse_framing(struct http_request *r, int status, const char *why)
{
    r->unclear = r->connection->closes = true;
    http_refuse(r, status, "%s", why);
    return false;
}

static bool check_transfer(struct http_request *r)
{
    const char *encoding = http_header(r, "Transfer-Encoding"),
               *length = http_header(r, "Content-Length");
    if (encoding && length)
        return refuse_framing(
            r, 400, "the request has both Content-Length and Transfer-Encoding; send one of them");
    if (length && http_header_count(r, "Content-Length") > 1)
        return refuse_framing(r, 400, "the header Content-Length comes more than once");
    if (encoding && r->head.minor == 0)
        return refuse_framing(r, 400, "HTTP/1.0 has no Transfer-Encoding");
    if (encoding &&
        (strcasecmp(encoding, "chunked") != 0 || http_header_count(r, "Transfer-Encoding") > 1)) {
        r->unclear = r->connection->closes = true;
        http_refuse(r, 501, "Transfer-Encoding is \"%.60s\"; only \"chunked\" is understood",
                    encoding);
        return false;
    }
    if (encoding) {
        r->body_length = UINT64_MAX;
        return true;
    }
    if (!length || bytes_to_u64(beck_str(length), &r->body_length))
        return true;
    bool digits = *length && length[strspn(length, "0123456789")] == 0;
    return digits ? refuse_framing(r, 413, "the body is longer than can be counted")
                  : refuse_framing(r, 400, "the header Content-Length is no number");
}

/* Only a body of a known length, or one in chunks, and no header that two readers could understand
 * differently. */
static bool check_framing(struct http_request *r)
{
    static const char *const once[] = {"Host", "Authorization", "Content-Type"};
    if (!check_transfer(r))
        return false;
    if (r->head.minor > 0 && !http_header(r, "Host"))
        return refuse_framing(r, 400, "the header Host is missing");
    for (size_t i = 0; i < sizeof once / sizeof once[0]; i++)
        if (http_header_count(r, once[i]) > 1) {
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
    const char *encoding = r->body_length > 0 ? http_header(r, "Content-Encoding") : NULL;
    if (encoding && *encoding && strcasecmp(encoding, "identity") != 0) {
        http_set_header(r, "Accept-Encoding", "identity");
        http_refuse(r, 415, "Content-Encoding is \"%.60s\"; send the body as it is", encoding);
        return false;
    }
    const char *expect = http_header(r, "Expect");
    r->expects = expect && r->head.minor > 0 && r->body_length > 0;
    if (expect && strcasecmp(expect, "100-continue") != 0) {
        http_refuse(r, 417, "Expect is \"%.60s\"; only \"100-continue\" is understood", expect);
        return false;
    }
    return true;
}

/* ---- waiting ---- */

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

/* Until whoever holds the request has let go; false: they have. */
static bool suspend(struct http_request *r)
{
    int runs = PARK_RUNS;
    struct connection *n = connection_retain(r->connection->net);
    r->suspended = true;
    if (atomic_compare_exchange_strong(&r->park, &runs, PARK_SUSPENDED))
        return true;
    r->suspended = false;
    connection_release(n);
    return false;
}

/* ---- the end ---- */

static void end_request(struct http_request *r, bool sent)
{
    struct http_connection *c = r->connection;
    struct http *h = c->http;
    int64_t took = clock_mono_ns(clock_system()) - r->began_ns;
    http_count(h, r, took);
    if (h->context.log)
        h->context.log(h->context.log_ctx, r, r->status, r->sent, took);
    if (r->on_sent)
        r->on_sent(r->on_sent_ctx, sent && !r->no_memory);
    answer_release(r);
    request_reset(r);
    http_leave(h);
    if (c->closed)
        return;
    connection_phase(c, PHASE_IDLE);
    if (c->closes) {
        r->stage = STAGE_OVER;
        connection_finish(c->net);
    }
}

/* While the server drains, and before the connection ends, an answer counts until it is sent. */
static void answered(struct http_request *r)
{
    struct http_connection *c = r->connection;
    if (r->on_sent || c->closes || atomic_load_explicit(&c->http->draining, memory_order_relaxed)) {
        r->stage = STAGE_SENDING;
        connection_phase(c, PHASE_WORKING); /* until it is sent, for which there is a time */
        connection_tell_sent(c->net);
    } else {
        end_request(r, true);
    }
}

/* ---- streams ---- */

static void end_stream(struct http_request *r)
{
    struct connection *n = r->connection->net;
    if (r->in_chunks)
        connection_write(n, "0\r\n\r\n", 5);
    answer_release(r);
    answered(r);
    connection_again(n);
    connection_release(n);
}

/* False: somebody has called for the stream meanwhile. */
static bool wait_for_more(struct http_request *r)
{
    int runs = PARK_RUNS;
    r->stream_waits = true;
    if (atomic_compare_exchange_strong(&r->stream_park, &runs, PARK_SUSPENDED))
        return true;
    r->stream_waits = false;
    return false;
}

/* Puts out what a stream has, as far as there is room. */
static void serve_stream(struct http_request *r)
{
    struct http_connection *c = r->connection;
    bool more = true;
    if (r->stream_waits || r->stage != STAGE_STREAMING)
        return;
    while (more && !connection_is_full(c->net)) {
        atomic_store(&r->stream_park, PARK_RUNS);
        r->stream_put = false;
        more = !atomic_load(&c->http->draining) && r->stream.pull(r->stream.ctx);
        if (more && !r->stream_put && wait_for_more(r))
            break;
    }
    /* Told to end before it waited. */
    if (r->stream_waits && atomic_load(&c->http->draining))
        http_stream_wake(r);
    if (more)
        connection_phase(c, PHASE_WORKING);
    else
        end_stream(r);
}

void serve_wake(struct net_task *t)
{
    struct http_request *r =
        (struct http_request *)(void *)((char *)t - offsetof(struct http_request, wake));
    struct http_connection *c = r->connection;
    struct connection *n = c->net;
    if (c->closed) {
        connection_forget(c);
        connection_release(n);
        return;
    }
    r->stream_waits = false;
    serve_stream(r);
}

/* ---- the body ---- */

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

/* False: nobody has to read more of it than that. */
static bool take_body(struct http_request *r, const void *data, size_t size)
{
    if (size == 0)
        return true;
    if (!r->answered && reserve_body(r, size)) {
        memcpy(r->body.data + r->body.len, data, size);
        r->body.len += size;
        return true;
    }
    drop_body(r);
    r->body_dropped += size;
    return r->body_dropped <= http_settings_of(r)->body_max;
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

/* The request is whole. */
static void body_done(struct http_request *r)
{
    run_handler(r);
    if (!suspend(r))
        complete(r);
}

static void cut_off(struct http_request *r)
{
    r->stage = STAGE_OVER;
    connection_abort(r->connection->net, "a body was refused, and did not end");
}

static size_t read_known_body(struct http_request *r, beck_bytes input)
{
    uint64_t left = r->body_length - r->body_taken;
    size_t taken = input.len < left ? input.len : (size_t)left;
    r->body_taken += taken;
    if (!take_body(r, input.data, taken))
        cut_off(r);
    else if (r->body_taken == r->body_length)
        body_done(r);
    return taken;
}

/* Where it ends will never be known. */
static void break_off(struct http_request *r, int status, const char *why)
{
    if (!r->answered)
        refuse_framing(r, status, why);
    r->connection->closes = true;
    complete(r);
}

static size_t read_chunks(struct http_request *r, beck_bytes input)
{
    beck_bytes rest = input, data = {0};
    switch (chunked_next(&r->chunked, &rest, &data)) {
    case CHUNKED_MORE:
        break;
    case CHUNKED_DATA:
        if (!take_body(r, data.data, data.len))
            cut_off(r);
        break;
    case CHUNKED_END:
        body_done(r);
        break;
    case CHUNKED_BAD:
        break_off(r, 400, "the body is not in chunks as Transfer-Encoding says");
        break;
    case CHUNKED_TOO_LONG:
        break_off(r, 413, "a chunk is longer than can be counted");
        break;
    }
    return input.len - rest.len;
}

static size_t read_body(struct http_request *r, beck_bytes input)
{
    if (input.len == 0)
        return 0;
    r->expects = false;
    return r->body_length == UINT64_MAX ? read_chunks(r, input) : read_known_body(r, input);
}

/* ---- the head ---- */

/* An answer before the body was read closes the connection, and may be lost to a client that is still
 * sending. So that is left for bodies that are refused for their length, for clients that wait for
 * leave to send, and where the end of the body is not known. */
static bool answers_early(const struct http_request *r)
{
    return r->unclear || r->status == 413 || r->status == 501 || r->expects;
}

/* It is known who calls, or the request was refused. */
static void named(struct http_request *r)
{
    struct http_connection *c = r->connection;
    if (c->closed) {
        end_request(r, false);
        return;
    }
    if (r->stage == STAGE_NAMING && !r->answered) {
        atomic_store(&r->holds, 1);
        atomic_store(&r->park, PARK_RUNS);
    }
    r->stage = STAGE_BODY;
    if (r->answered && r->body_length > 0 && answers_early(r)) {
        c->closes = true;
        complete(r);
    } else if (r->body_length == 0) {
        body_done(r);
    }
}

/* Whether the connection goes on is not known before. */
static void read_connection(struct http_request *r)
{
    bool old = r->head.minor == 0;
    if (head_lists(&r->head, "Connection", "close") ||
        (old && !head_lists(&r->head, "Connection", "keep-alive")))
        r->connection->closes = true;
}

static void begin(struct http_request *r)
{
    struct http *h = r->connection->http;
    read_connection(r);
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

/* A head came whole, or never will. */
static void start(struct http_request *r, beck_bytes text, size_t lines, struct head_fault fault)
{
    struct http_connection *c = r->connection;
    struct http *h = c->http;
    atomic_fetch_add(&h->running, 1);
    r->began_ns = connection_now_ns(c->net);
    r->stage = STAGE_BODY;
    c->skipped = false;
    atomic_store(&r->holds, 1);
    atomic_store(&r->park, PARK_RUNS);
    atomic_store(&r->gone, c->ended);
    /* Before anybody else gets it: it goes with its connection. */
    if (atomic_load(&h->stopping)) {
        r->stage = STAGE_OVER;
        connection_abort(c->net, "the server stops");
        return;
    }
    char *copy = fault.why ? NULL : http_alloc(r, text.len);
    struct head_field *fields = fault.why ? NULL : http_alloc(r, lines * sizeof *fields);
    bool legal = false;
    if (copy && fields) {
        memcpy(copy, text.data, text.len);
        legal = head_read(copy, text.len, fields, &r->head, &fault);
        if (r->head.target && !request_copy_target(r, r->head.target) && legal) {
            legal = false;
            fault = (struct head_fault){503, "no memory for the request"};
        }
    } else if (!fault.why) {
        fault = (struct head_fault){503, "no memory for the request"};
    }
    if (legal)
        begin(r);
    else
        refuse_framing(r, fault.status, fault.why);
    if (!legal)
        complete(r);
    else if (r->stage != STAGE_NAMING || !suspend(r))
        named(r);
}

static size_t read_head(struct http_connection *c, beck_bytes input)
{
    struct http_request *r = &c->request;
    struct head_fault fault = {0};
    if (input.len == 0)
        return 0;
    size_t len = head_find(&r->scan, input, c->http->settings.header_max, &fault);
    size_t lines = r->scan.lines;
    if (len == 0 && !fault.why)
        return 0;
    r->scan = (struct head_scan){0};
    if (len > 0 && lines == 0 && !c->skipped) {
        c->skipped = true; /* as some send one behind a body */
        return len;
    }
    if (len > 0 && lines == 0)
        fault = (struct head_fault){400, "the request begins with empty lines"};
    start(r, bytes_of(input.data, len), lines, fault);
    return fault.why ? input.len : len;
}

/* ---- what came ---- */

static bool is_reading(const struct http_request *r)
{
    return r->stage == STAGE_HEAD || (r->stage == STAGE_BODY && !r->suspended);
}

static void give_leave(struct http_request *r)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (r->stage != STAGE_BODY || !r->expects || r->suspended)
        return;
    r->expects = false;
    connection_write(r->connection->net, text, sizeof text - 1);
}

/* Behind the last request that was whole nothing more comes. */
static void end_reading(struct http_connection *c)
{
    c->request.stage = STAGE_OVER;
    connection_finish(c->net);
}

void serve_ended(struct http_connection *c)
{
    if (is_reading(&c->request) && (c->left == 0 || !connection_is_full(c->net)))
        end_reading(c);
}

static void end_if_ended(struct http_connection *c)
{
    if (c->ended && c->left == 0 && is_reading(&c->request))
        end_reading(c);
}

void serve_writable(struct http_connection *c)
{
    serve_stream(&c->request);
    end_if_ended(c);
}

void serve_drain(struct http_connection *c)
{
    struct http_request *r = &c->request;
    timers_hasten(&c->http->timers, &r->timer);
    if (r->stage == STAGE_STREAMING && r->stream_waits)
        http_stream_wake(r);
    serve_stream(r);
    if (r->stage == STAGE_HEAD && connection_output(c->net) > 0 && !c->flushes) {
        c->flushes = true;
        atomic_fetch_add(&c->http->running, 1);
        connection_tell_sent(c->net);
    }
}

size_t serve_input(struct http_connection *c, beck_bytes input)
{
    struct http_request *r = &c->request;
    size_t used = 0, taken = 1;
    while (taken > 0 && is_reading(r) && !connection_is_full(c->net)) {
        beck_bytes rest = bytes_of((const uint8_t *)input.data + used, input.len - used);
        taken = r->stage == STAGE_HEAD ? read_head(c, rest) : read_body(r, rest);
        used += taken;
    }
    c->left = input.len - used;
    if (r->stage == STAGE_OVER)
        return input.len;
    give_leave(r);
    if (!is_reading(r)) {
        c->paused = c->left >= BEHIND_MAX;
        if (c->paused)
            connection_pause(c->net);
    } else if (c->ended) {
        serve_ended(c);
    } else if (c->phase == PHASE_IDLE && (c->left > 0 || r->stage == STAGE_BODY)) {
        connection_phase(c, PHASE_READING);
    }
    return used;
}

void serve_late(struct http_connection *c)
{
    static const struct head_fault late = {
        408, "the request did not arrive in time (http.request_timeout)"};
    if (c->request.stage == STAGE_HEAD)
        start(&c->request, bytes_of("", 0), 0, late);
    else
        break_off(&c->request, late.status, late.why);
}

void serve_back(struct net_task *t)
{
    struct http_request *r =
        (struct http_request *)(void *)((char *)t - offsetof(struct http_request, back));
    struct http_connection *c = r->connection;
    struct connection *n = c->net;
    r->suspended = false;
    if (r->stage == STAGE_NAMING)
        named(r);
    else
        complete(r);
    if (c->closed) {
        connection_forget(c);
        connection_release(n);
        return;
    }
    give_leave(r);
    if (c->paused)
        connection_resume(n);
    else
        connection_again(n);
    c->paused = false;
    end_if_ended(c);
    connection_release(n);
}

/* Whoever made the answer has let go of the request. */
static void complete(struct http_request *r)
{
    struct http_connection *c = r->connection;
    if (c->closed) {
        end_request(r, false);
        return;
    }
    r->stage = STAGE_HANDLING;
    answer_send(r);
    if (!r->streams || strcmp(r->head.method, "HEAD") == 0) {
        answered(r);
        return;
    }
    r->stage = STAGE_STREAMING;
    connection_retain(c->net);
    serve_stream(r);
}

bool serve_closed(struct http_connection *c)
{
    struct http_request *r = &c->request;
    if (c->flushes)
        http_leave(c->http);
    if (r->suspended) {
        atomic_store(&r->gone, true);
        timers_hasten(&c->http->timers, &r->timer);
        return false;
    }
    if (r->stage == STAGE_STREAMING) {
        answer_release(r); /* nobody wakes it any more */
        bool coming =
            r->stream_waits && atomic_exchange(&r->stream_park, PARK_RUNS) == PARK_GOES_ON;
        end_request(r, false);
        if (coming)
            return false;
        connection_release(c->net);
        return true;
    }
    if (r->began_ns)
        end_request(r, false);
    return true;
}

void serve_sent(struct http_connection *c)
{
    if (c->flushes)
        http_leave(c->http);
    c->flushes = false;
    if (c->request.stage != STAGE_SENDING)
        return;
    end_request(&c->request, true);
    connection_again(c->net);
    end_if_ended(c);
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

void http_at(struct http_request *r, int64_t mono_ns, void (*fn)(struct http_request *r, void *ctx),
             void *ctx)
{
    struct timers *t = &r->connection->http->timers;
    assert(r->later);
    r->timed_once = true;
    r->timed.fn = fn;
    r->timed.ctx = ctx;
    r->timer.due = timer_due;
    request_hold(r); /* the timer may run at once, and answer */
    timers_set(t, &r->timer, mono_ns);
    if (http_is_ending(r))
        timers_hasten(t, &r->timer);
    request_let_go(r);
}

bool http_at_cancel(struct http_request *r)
{
    return timers_cancel(&r->connection->http->timers, &r->timer);
}

bool http_is_ending(const struct http_request *r)
{
    return atomic_load(&r->gone) || atomic_load(&r->connection->http->draining);
}
