/*
 * Connections: who is at the other end, what lives with them, and an end for those that take too long.
 *
 * The time for a request counts from its first byte to its last, so who sends one byte now and then does
 * not stay for ever. A deadline that moves is only noted; the timer looks at it when it comes.
 */
#include "wire/http/http_impl.h"

#include <stdlib.h>

#define SENDING_TIMES 10 /* an answer may take that much longer than a request */
#define NS_PER_MS INT64_C(1000000)

/* ---- time ---- */

static int64_t later_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* When it ends unless something moves. */
static int64_t deadline(const struct http_connection *c)
{
    const struct http_settings *s = &c->http->settings;
    int64_t idle = s->idle_timeout_ms * NS_PER_MS, request = s->request_timeout_ms * NS_PER_MS;
    int64_t moved = later_of(c->phase_ns, connection_sent_ns(c->net));
    bool sends = connection_output(c->net) > 0, streams = c->request.stage == STAGE_STREAMING;
    if (c->request.suspended)
        return INT64_MAX;
    if (c->phase == PHASE_READING)
        return c->phase_ns + request;
    if (streams)
        return sends ? moved + idle : INT64_MAX;
    if (sends) {
        int64_t whole = c->phase_ns + request * SENDING_TIMES;
        return whole < moved + idle ? whole : moved + idle;
    }
    if (c->phase == PHASE_WORKING || atomic_load(&c->keeps))
        return INT64_MAX;
    return later_of(moved, connection_received_ns(c->net)) + idle;
}

void connection_phase(struct http_connection *c, enum phase phase)
{
    c->phase = phase;
    c->phase_ns = connection_now_ns(c->net);
    connection_tick_at(c->net, deadline(c));
}

static void on_tick(struct connection *n)
{
    struct http_connection *c = connection_state(n);
    int64_t at = deadline(c);
    if (at > connection_now_ns(n))
        connection_tick_at(n, at);
    else if (c->phase == PHASE_READING)
        serve_late(c);
    else
        connection_abort(n, "no byte came or went for too long");
}

/* ---- life ---- */

static void *on_opened(struct connection *n, void *ctx)
{
    const struct http_gate *gate = ctx;
    struct http *h = gate->http;
    struct http_connection *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    const struct net_peer *peer = connection_peer(n);
    *c = (struct http_connection){.http = h, .served = gate->served, .net = n};
    c->peer = (struct access_peer){peer->address, peer->loopback, gate->trusted};
    c->request.connection = c;
    c->request.back.run = serve_back;
    c->request.wake.run = serve_wake;
    atomic_fetch_add(&h->connection_count, 1);
    gauge_add(h->connection_gauge, 1);
    connection_established(n);
    connection_phase(c, PHASE_IDLE);
    return c;
}

void connection_forget(struct http_connection *c)
{
    struct http *h = c->http;
    while (c->things) {
        struct connection_thing *t = c->things;
        c->things = t->next;
        t->release(t->thing);
        free(t);
    }
    request_reset(&c->request);
    if (c->identity)
        identity_release(c->identity);
    free(c->authorization);
    free(c);
    gauge_add(h->connection_gauge, -1);
    atomic_fetch_sub(&h->connection_count, 1);
}

static void on_closed(struct connection *n, const char *why)
{
    struct http_connection *c = connection_state(n);
    (void)why;
    c->closed = true;
    if (serve_closed(c))
        connection_forget(c);
}

/* ---- what comes ---- */

static size_t on_bytes(struct connection *n, beck_bytes input)
{
    return serve_input(connection_state(n), input);
}

static void on_writable(struct connection *n)
{
    serve_writable(connection_state(n));
}

static void on_sent(struct connection *n)
{
    serve_sent(connection_state(n));
}

/* The client sends nothing more: whoever waits for it need not wait any longer. */
static void on_ended(struct connection *n)
{
    struct http_connection *c = connection_state(n);
    c->ended = true;
    atomic_store(&c->request.gone, true);
    timers_hasten(&c->http->timers, &c->request.timer);
    serve_ended(c);
}

/* Idle connections stay: a request may be on its way. */
static void on_drain(struct connection *n)
{
    serve_drain(connection_state(n));
}

const struct net_protocol http_protocol = {.name = "http",
                                           .opened = on_opened,
                                           .bytes = on_bytes,
                                           .writable = on_writable,
                                           .sent = on_sent,
                                           .ended = on_ended,
                                           .tick = on_tick,
                                           .drain = on_drain,
                                           .closed = on_closed};
