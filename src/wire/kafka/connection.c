/*
 * A connection: frames come in, requests are started in their order, answers leave in that order.
 *
 * A frame is an int32 with the size of what follows. The list holds the requests that were started and
 * whose answer has not left; the answered ones at its front are sent and freed. The connection is not
 * read while nothing may be started: one that is to be answered first, too many, too large, or too much
 * in the output.
 *
 * Memory for a request is taken when it is whole, for one that is not small with its first bytes; while
 * there is none the connection is not read either. Whoever has it must send the rest soon.
 */
#include "wire/kafka/sasl.h"
#include "wire/kafka/wire_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define FRAME_HEAD 4
#define NS_PER_MS INT64_C(1000000)
#define RECEIVE_NS_PER_MIB INT64_C(1000000000) /* beside receive_timeout_ms */
#define HASTE 16                               /* so much faster when others wait */
#define LOOKS 30                               /* in that time */

/* ---- words ---- */

void kafka_log(const struct kafka_connection *c, enum kafka_log level, const char *what,
               const char *detail)
{
    const struct kafka_wire_context *x = &c->wire->context;
    const struct net_peer *p = connection_peer(c->net);
    char name[160];
    if (!x->log)
        return;
    snprintf(name, sizeof name, strchr(p->address, ':') ? "[%s]:%u -> %s" : "%s:%u -> %s",
             p->address, p->port, c->place->text);
    x->log(x->log_ctx, level, what, name, c->identity ? identity_name(c->identity) : "",
           detail ? detail : "");
}

void kafka_drop(struct kafka_connection *c, const char *why)
{
    if (!c->over && !c->closed) {
        counter_add(c->wire->refused, 1);
        kafka_log(c, KAFKA_LOG_WARN, "a Kafka connection is closed", why);
        connection_abort(c->net, why);
    }
    c->over = true;
}

/* ---- answers ---- */

static void free_connection(struct net_task *task)
{
    struct kafka_connection *c =
        (struct kafka_connection *)(void *)((char *)task - offsetof(struct kafka_connection, task));
    struct connection *net = c->net;
    identity_release(c->identity);
    sasl_free(c->sasl);
    free(c);
    connection_release(net);
}

static void run_end(struct job *job)
{
    struct kafka_connection *c =
        (struct kafka_connection *)(void *)((char *)job - offsetof(struct kafka_connection, job));
    c->at_end(c->wire->context.kafka, c);
    c->task.run = free_connection;
    net_post(connection_loop(c->net), &c->task);
}

/* Nothing of it is under way any more. */
static void end(struct kafka_connection *c)
{
    if (!c->at_end) {
        free_connection(&c->task);
        return;
    }
    c->job.run = run_end;
    pool_push(&c->wire->pool, &c->job);
}

/* Sends what may leave. False: the connection is gone. */
static bool send_answers(struct kafka_connection *c)
{
    while (c->first && c->first->answered) {
        struct kafka_request *r = c->first;
        c->first = r->next;
        if (!c->first)
            c->last = &c->first;
        c->waiting--;
        c->waiting_bytes -= r->counted;
        r->listed = false;
        if (r->failed)
            kafka_drop(c, r->failed);
        request_send(r, c->over || c->closed ? NULL : c->net);
    }
    if (c->first)
        return true;
    if (c->closed) {
        if (!c->granting)
            end(c);
        return false;
    }
    if (c->draining && !c->over) {
        c->over = true;
        connection_finish(c->net);
    }
    return true;
}

static bool may_start(const struct kafka_connection *c)
{
    return !c->holder && !c->waits && !c->over && !c->draining && c->waiting < WAITING_MAX &&
           c->waiting_bytes < WAITING_BYTES_MAX && !connection_is_full(c->net);
}

static void go_on(struct kafka_connection *c)
{
    if (c->paused && may_start(c)) {
        c->paused = false;
        connection_resume(c->net);
    }
}

void kafka_answered(struct kafka_request *r)
{
    struct kafka_connection *c = r->c;
    r->answered = true;
    r->on_close = NULL;
    request_answered(r);
    if (c->holder == r)
        c->holder = NULL;
    if (!c->busy && send_answers(c))
        go_on(c);
}

void kafka_lets_go_on(struct kafka_request *r)
{
    if (r->c->holder == r)
        r->c->holder = NULL;
    go_on(r->c);
}

/* ---- who it is ---- */

/* Whoever needs no login is known at once; whoever was changed since is looked up again. */
static void identify(struct kafka_connection *c)
{
    const struct net_peer *p = connection_peer(c->net);
    struct access_peer peer = {.address = p->address, .loopback = p->loopback};
    struct access *a = c->wire->context.access;
    if (c->identity && !identity_is_stale(c->identity))
        return;
    struct identity *now = NULL;
    if (!c->identity || !*identity_name(c->identity))
        access_anonymous(a, &peer, &now, NULL);
    else
        now = access_named(a, beck_str(identity_name(c->identity)));
    identity_release(c->identity);
    c->identity = now;
}

/* ---- requests ---- */

static void establish(struct kafka_connection *c)
{
    if (!c->established && c->identity) {
        c->established = true;
        connection_established(c->net);
    }
}

static void start(struct kafka_connection *c, beck_bytes frame)
{
    const char *why;
    identify(c);
    struct kafka_request *r =
        c->tokens ? request_of_token(c, frame, &why) : request_new(c, frame, &why);
    if (!r) {
        kafka_drop(c, why); /* what was taken is given back with the connection */
        return;
    }
    c->granted = 0;
    establish(c);
    kafka_wire_count(c->wire, r->api);
    c->waiting++;
    c->waiting_bytes += r->counted;
    r->listed = true;
    *c->last = r;
    c->last = &r->next;
    if (!r->api->pipelined)
        c->holder = r;
    r->api->handler(r);
    if (r->api->in_place)
        request_forget_body(r);
    else if (!r->answered && r->on_short)
        request_holds(r);
}

/* ---- memory for them ---- */

static void granted(struct net_task *t)
{
    struct kafka_connection *c =
        (struct kafka_connection *)(void *)((char *)t -
                                            offsetof(struct kafka_connection, granted_task));
    c->granting = false;
    if (c->closed) {
        memory_give(&c->wire->memory, memory_class_of(c->waiter.size), c->waiter.size);
        send_answers(c);
        return;
    }
    c->waits = false;
    c->granted = c->waiter.size;
    c->granted_ns = connection_now_ns(c->net);
    go_on(c);
}

static void post_granted(struct memory_waiter *w)
{
    struct kafka_connection *c =
        (struct kafka_connection *)(void *)((char *)w - offsetof(struct kafka_connection, waiter));
    c->granted_task.run = granted;
    net_post(connection_loop(c->net), &c->granted_task);
}

static void look_soon(struct kafka_connection *c)
{
    int64_t ms = c->wire->settings.receive_timeout_ms / LOOKS + 1;
    connection_tick_at(c->net, connection_now_ns(c->net) + ms * NS_PER_MS);
}

/* False: it waits for its turn. */
static bool take_memory(struct kafka_connection *c, size_t size)
{
    struct memory *m = &c->wire->memory;
    enum memory_class class = memory_class_of(size);
    if (c->granted)
        return true;
    c->waiter.size = size;
    c->waiter.granted = post_granted;
    c->waits = c->granting = true; /* before another thread may grant it */
    if (memory_take(m, class, &c->waiter)) {
        c->waits = c->granting = false;
        c->granted = size;
        c->granted_ns = connection_now_ns(c->net);
        return true;
    }
    memory_press(m, class);
    look_soon(c);
    return false;
}

static void give_memory_back(struct kafka_connection *c)
{
    struct memory *m = &c->wire->memory;
    enum memory_class class = memory_class_of(c->waiter.size);
    if (c->granting && memory_leave(m, class, &c->waiter))
        c->granting = false;
    if (c->granted)
        memory_give(m, class, c->granted);
    c->granted = 0;
}

/* Of a request that has its memory and is not whole. */
static bool is_late(const struct kafka_connection *c)
{
    const struct kafka_wire *w = c->wire;
    int64_t may = w->settings.receive_timeout_ms * NS_PER_MS +
                  (int64_t)(c->granted >> 10) * (RECEIVE_NS_PER_MIB >> 10);
    if (memory_is_short(&w->memory, memory_class_of(c->granted)))
        may /= HASTE;
    return connection_now_ns(c->net) - c->granted_ns > may;
}

/* How much of the input is consumed; 0: it is no whole frame. */
static size_t next_frame(struct kafka_connection *c, beck_bytes input)
{
    uint32_t max = c->identity ? c->wire->settings.request_max : STRANGER_MAX;
    if (input.len < FRAME_HEAD)
        return 0;
    uint32_t size = get_u32(input.data);
    if (size > max) {
        kafka_drop(c,
                   memcmp(input.data, "\x16\x03", 2) == 0
                       ? "the peer speaks TLS: that is for kafka.tls_listen"
                       : "a request is larger than kafka.request_max, or the peer does not speak "
                         "Kafka's protocol");
        return input.len;
    }
    bool whole = input.len - FRAME_HEAD >= size;
    if ((whole || size > MEMORY_SMALL_MAX) && !take_memory(c, size))
        return 0;
    if (!whole) {
        /* A small one takes memory when it is whole, and has no longer to come than others. */
        if (!c->granted && c->begun_ns == 0)
            c->begun_ns = connection_now_ns(c->net);
        look_soon(c);
        if (connection_expect(c->net, FRAME_HEAD + (size_t)size, NULL))
            kafka_drop(c, "a request is larger than kafka.request_max");
        return 0;
    }
    c->begun_ns = 0;
    start(c, bytes_of((const uint8_t *)input.data + FRAME_HEAD, size));
    return FRAME_HEAD + (size_t)size;
}

static size_t bytes(struct connection *net, beck_bytes input)
{
    struct kafka_connection *c = connection_state(net);
    size_t at = 0;
    identify(c);
    c->busy = true;
    while (at < input.len && !c->over) {
        size_t n = 0;
        if (may_start(c))
            n = next_frame(c, bytes_of((const uint8_t *)input.data + at, input.len - at));
        at += n;
        if (n == 0) {
            c->paused = !may_start(c) && !c->over;
            break;
        }
    }
    if (c->paused)
        connection_pause(net);
    c->busy = false;
    if (send_answers(c))
        go_on(c);
    return c->over ? input.len : at;
}

/* ---- life ---- */

/* The name of the machine for itself is understood by all clients, ::1 is not. */
static void find_host(struct kafka_connection *c)
{
    connection_local_address(c->net, c->host);
    if (strcmp(c->host, "::1") == 0)
        strcpy(c->host, "localhost");
}

static void *opened(struct connection *net, void *ctx)
{
    struct kafka_place *place = ctx;
    struct kafka_connection *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->wire = place->wire;
    c->net = connection_retain(net);
    c->place = place;
    c->thread = pthread_self();
    c->last = &c->first;
    find_host(c);
    return c;
}

static void writable(struct connection *net)
{
    go_on(connection_state(net));
}

static void tick(struct connection *net)
{
    struct kafka_connection *c = connection_state(net);
    if (c->waits) {
        memory_press(&c->wire->memory, memory_class_of(c->waiter.size));
        look_soon(c);
    } else if (c->granted) {
        if (c->paused && !connection_is_full(net))
            c->granted_ns = connection_now_ns(net); /* it is not read */
        if (is_late(c))
            kafka_drop(c, "a request does not come whole in time");
        look_soon(c);
    } else if (c->begun_ns != 0) {
        if (c->paused)
            c->begun_ns = connection_now_ns(net); /* it is not read */
        if (connection_now_ns(net) - c->begun_ns > c->wire->settings.receive_timeout_ms * NS_PER_MS)
            kafka_drop(c, "a request does not come whole in time");
        look_soon(c);
    }
}

/* Whoever waits for long hears that there is no use in it. */
static void stop_waiting(struct kafka_connection *c)
{
    c->busy = true;
    for (struct kafka_request *r = c->first, *next; r; r = next) {
        void (*fn)(struct kafka_request * r) = r->on_close;
        next = r->next;
        r->on_close = NULL;
        if (fn)
            fn(r);
    }
    c->busy = false;
    send_answers(c);
}

static void drain(struct connection *net)
{
    struct kafka_connection *c = connection_state(net);
    c->draining = true;
    stop_waiting(c);
}

static void closed(struct connection *net, const char *why)
{
    struct kafka_connection *c = connection_state(net);
    if (!c->over && why)
        kafka_log(c, KAFKA_LOG_DEBUG, "a Kafka connection ended", why);
    c->closed = true;
    atomic_store(&c->gone, true);
    give_memory_back(c);
    stop_waiting(c);
}

const struct net_protocol kafka_protocol = {.name = "kafka",
                                            .opened = opened,
                                            .bytes = bytes,
                                            .writable = writable,
                                            .tick = tick,
                                            .drain = drain,
                                            .closed = closed};
