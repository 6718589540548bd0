/*
 * Deliveries over HTTP: requests become operations of takers (taker.h), one for each queue that
 * requests share, and those that connections have of their own.
 */
#include "wire/http/work.h"

#include "base/clock.h"
#include "base/error.h"
#include "wire/http/taker.h"

#include <assert.h>
#include <stdlib.h>

#define HELD_MAX 64 /* queues that one connection holds deliveries of */
#define QUICK_BODY_MAX 4096
#define SWEEP_NS 15000000000
#define IDLE_NS 60000000000

/* What a connection holds. */
struct holder {
    struct work *work;
    struct taker *list[HELD_MAX];
    size_t count;
};

static const char holder_key;

/* ---- from requests to takers ---- */

static void sweep_due(struct timer *timer)
{
    struct work *w = (struct work *)((char *)timer - offsetof(struct work, sweep));
    http_push(w->http, &w->sweep_job);
}

/* The taker that all share, made when there is none, and the operation in its list. */
static beck_status add_to_shared(struct work *w, struct op *op, struct taker **out, bool *work_here,
                                 beck_error *err)
{
    const char *name = http_path(op->r, 0);
    struct taker *fresh = NULL;
    mutex_lock(&w->lock);
    bool known = *taker_place(w, name) != NULL;
    mutex_unlock(&w->lock);
    if (!known) {
        beck_status status = taker_new(w, name, true, QUEUE_PREFETCH_MAX, &fresh, err);
        if (status)
            return status;
    }
    mutex_lock(&w->lock);
    struct taker **at = taker_place(w, name);
    bool taken_in = !*at && fresh;
    if (taken_in) {
        *at = fresh;
        w->count++;
    }
    struct taker *t = *at;
    bool start = taken_in && !w->sweeping;
    w->sweeping |= start;
    if (t) {
        taker_add(t, op);
        *work_here = taker_rouse(t);
    }
    mutex_unlock(&w->lock);
    if (fresh && !taken_in)
        taker_discard(fresh);
    if (start)
        timers_set(&w->http->timers, &w->sweep, clock_mono_ns(clock_system()) + SWEEP_NS);
    *out = t;
    return BECK_OK;
}

void work_dispatch(struct work *w, struct op *op, bool here)
{
    struct taker *t = op->taker;
    bool work_here = false;
    if (t) { /* the connection's */
        mutex_lock(&w->lock);
        taker_add(t, op);
        work_here = taker_rouse(t);
        mutex_unlock(&w->lock);
    }
    while (!t) {
        beck_error err;
        beck_status status = add_to_shared(w, op, &t, &work_here, &err);
        if (status) {
            http_fail(op->r, status, &err);
            return;
        }
    }
    if (work_here && here)
        taker_run(&t->job);
    else if (work_here)
        http_push(w->http, &t->job);
}

static struct op *op_new(struct http_request *r, enum op_kind kind)
{
    struct op *op = http_alloc(r, sizeof *op);
    if (!op) {
        http_refuse(r, 503, "no memory for the request; try again later");
        return NULL;
    }
    *op = (struct op){.kind = kind, .r = r};
    return op;
}

/* ---- what connections hold ---- */

/* The connection ends: on a network thread. */
static void release_holder(void *thing)
{
    struct holder *h = thing;
    mutex_lock(&h->work->lock);
    for (size_t i = 0; i < h->count; i++) {
        taker_retire(h->list[i]);
        taker_wake(h->list[i]);
    }
    mutex_unlock(&h->work->lock);
    free(h);
}

static struct taker *find_held(const struct http_request *r)
{
    const struct holder *h = http_connection_get(r, &holder_key);
    for (size_t i = 0; h && i < h->count; i++)
        if (strcmp(h->list[i]->name, http_path(r, 0)) == 0)
            return h->list[i];
    return NULL;
}

static beck_status get_holder(struct http_request *r, struct holder **out, beck_error *err)
{
    *out = http_connection_get(r, &holder_key);
    if (*out)
        return BECK_OK;
    struct holder *h = calloc(1, sizeof *h);
    if (!h)
        return error_set(err, BECK_ENOMEM, "no memory to hold deliveries");
    h->work = r->connection->http->work;
    beck_status status = http_connection_put(r, &holder_key, h, release_holder, err);
    if (status)
        free(h);
    else
        *out = h;
    return status;
}

/* NULL, after answering. */
static struct taker *hold(struct http_request *r, uint32_t prefetch)
{
    struct taker *t = find_held(r);
    struct holder *h;
    beck_error err;
    if (t)
        return t;
    beck_status status = get_holder(r, &h, &err);
    if (!status && h->count == HELD_MAX)
        status = error_set(&err, BECK_ELIMIT,
                           "this connection holds deliveries of %d queues; open another", HELD_MAX);
    if (!status)
        status = taker_new(h->work, http_path(r, 0), false, prefetch, &t, &err);
    if (status) {
        http_fail(r, status, &err);
        return NULL;
    }
    h->list[h->count++] = t;
    return t;
}

/* What the connection holds of that queue goes back, as when it ends; then the request is answered. */
static void end_hold(struct http_request *r)
{
    struct holder *h = http_connection_get(r, &holder_key);
    struct taker *t = find_held(r);
    struct op *op = t ? op_new(r, OP_END) : NULL;
    if (!t)
        http_answer(r, 204, NULL, NULL);
    if (!op)
        return;
    size_t at = 0;
    while (h->list[at] != t)
        at++;
    h->list[at] = h->list[--h->count];
    http_later(r);
    mutex_lock(&h->work->lock);
    taker_add(t, op);
    taker_retire(t);
    bool here = taker_rouse(t);
    mutex_unlock(&h->work->lock);
    if (here)
        taker_run(&t->job);
}

/* ---- handlers ---- */

static void handle_take(struct http_request *r)
{
    int64_t max, wait_ms, prefetch;
    const char *held = http_query(r, "hold");
    if (held && strcmp(held, "end") == 0) {
        end_hold(r);
        return;
    }
    if (held && strcmp(held, "connection") != 0) {
        http_refuse(r, 400,
                    "query parameter \"hold\" is \"%.60s\"; it takes \"connection\" or \"end\"",
                    held);
        return;
    }
    if (!http_query_number(r, "max", held ? 0 : 1, API_TAKE_MAX, 1, &max) ||
        !http_query_duration(r, "wait", http_settings_of(r)->wait_max_ms, &wait_ms) ||
        !http_query_number(r, "prefetch", 1, QUEUE_PREFETCH_MAX, 64, &prefetch))
        return;
    struct taker *t = held ? hold(r, (uint32_t)prefetch) : NULL;
    if (held && !t)
        return;
    if (max == 0) {
        http_answer(r, 204, NULL, NULL);
        return;
    }
    struct op *op = op_new(r, OP_TAKE);
    if (!op)
        return;
    op->taker = t;
    op->max = (uint32_t)max;
    if (wait_ms > 0)
        op->until_ns = clock_mono_ns(clock_system()) + wait_ms * 1000000;
    http_later(r);
    work_dispatch(r->connection->http->work, op, true);
}

/* How deliveries went. Settling is what happens most: it is done on the network thread when it is
 * short and nobody else is at the taker, which halves what it costs. */
struct verb {
    enum op_kind kind;
    bool quick;
    const struct shape *shape;
};

static const struct verb verbs[] = {
    [OP_SETTLE] = {OP_SETTLE, true, &shape_tags},
    [OP_RETRY] = {OP_RETRY, false, &shape_tags_retry},
    [OP_REJECT] = {OP_REJECT, false, &shape_tags_reject},
    [OP_RETURN] = {OP_RETURN, true, &shape_tags},
    [OP_EXTEND] = {OP_EXTEND, true, &shape_tags},
};

/* NULL, after answering. */
static struct op *read_tags(struct http_request *r, const struct verb *verb)
{
    struct api_tags tags;
    struct op *op = op_new(r, verb->kind);
    if (!op || !document_read(r, verb->shape, &tags))
        return NULL;
    op->taker = find_held(r);
    op->tags = tags.tags;
    op->count = tags.count;
    op->delay_ms = tags.delay_ms;
    op->why = tags.why;
    return op;
}

static void tell_on_pool(struct http_request *r, void *ctx)
{
    struct op *op = read_tags(r, ctx);
    if (op)
        work_dispatch(r->connection->http->work, op, true);
}

static void dispatch_on_pool(struct http_request *r, void *ctx)
{
    work_dispatch(r->connection->http->work, ctx, true);
}

static void tell_here(struct http_request *r, const struct verb *verb)
{
    struct work *w = r->connection->http->work;
    struct op *op = read_tags(r, verb);
    if (!op)
        return;
    http_later(r); /* whoever is at the taker may answer */
    mutex_lock(&w->lock);
    struct taker *t = op->taker ? op->taker : *taker_place(w, http_path(r, 0));
    bool roused = false;
    if (t) {
        taker_add(t, op);
        roused = taker_rouse(t);
    }
    mutex_unlock(&w->lock);
    if (!t)
        http_to_pool(r, dispatch_on_pool, op); /* to open a consumer waits for locks */
    else if (roused)
        taker_run_quick(t);
}

static void handle_tags(struct http_request *r, enum op_kind kind)
{
    const struct verb *verb = &verbs[kind];
    if (verb->quick && http_body(r).len <= QUICK_BODY_MAX) {
        tell_here(r, verb);
        return;
    }
    http_later(r);
    http_to_pool(r, tell_on_pool, (void *)(uintptr_t)verb);
}

static void handle_settle(struct http_request *r)
{
    handle_tags(r, OP_SETTLE);
}

static void handle_retry(struct http_request *r)
{
    handle_tags(r, OP_RETRY);
}

static void handle_reject(struct http_request *r)
{
    handle_tags(r, OP_REJECT);
}

static void handle_return(struct http_request *r)
{
    handle_tags(r, OP_RETURN);
}

static void handle_extend(struct http_request *r)
{
    handle_tags(r, OP_EXTEND);
}

/* ---- life ---- */

void work_sweep(struct work *w, int64_t idle_ns)
{
    mutex_lock(&w->lock);
    w->idle_ns = idle_ns;
    for (size_t i = 0; i < WORK_TAKERS; i++) {
        for (struct taker *t = w->table[i]; t; t = t->next) {
            t->sweep = true;
            taker_wake(t);
        }
    }
    mutex_unlock(&w->lock);
}

static void run_sweep(struct job *job)
{
    struct work *w = (struct work *)((char *)job - offsetof(struct work, sweep_job));
    work_sweep(w, IDLE_NS);
    mutex_lock(&w->lock);
    bool again = w->count > 0 && !w->stopping;
    w->sweeping = again;
    mutex_unlock(&w->lock);
    if (!again)
        return;
    timers_set(&w->http->timers, &w->sweep, clock_mono_ns(clock_system()) + SWEEP_NS);
    /* work_stop may have cancelled it before it was set. */
    mutex_lock(&w->lock);
    bool stopping = w->stopping;
    mutex_unlock(&w->lock);
    if (stopping)
        timers_cancel(&w->http->timers, &w->sweep);
}

struct work *work_new(struct http *h)
{
    struct work *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->http = h;
    w->sweep.due = sweep_due;
    w->sweep_job.run = run_sweep;
    mutex_init(&w->lock);
    return w;
}

void work_stop(struct work *w)
{
    mutex_lock(&w->lock);
    w->stopping = true;
    for (size_t i = 0; i < WORK_TAKERS; i++) {
        while (w->table[i]) {
            struct taker *t = w->table[i];
            taker_retire(t);
            taker_wake(t);
        }
    }
    mutex_unlock(&w->lock);
    timers_cancel(&w->http->timers, &w->sweep);
}

void work_free(struct work *w)
{
    if (!w)
        return;
    assert(w->count == 0);
    mutex_release(&w->lock);
    free(w);
}

/* ---- routes ---- */

static const struct http_param take_params[] = {
    {"max", "integer", "deliveries, 1 to 1,000; else 1"},
    {"wait", "duration", "for the first of them; else it answers at once"},
    {"hold", "string",
     "\"connection\": what is taken is ready again when the connection ends, and settled over it; "
     "then max=0 only prepares for that. \"end\": nothing is taken, what the connection holds of "
     "the "
     "queue is ready again when it is answered"},
    {"prefetch", "integer", "with hold: deliveries held at once, 1 to 65,536; else 64"},
    {0}};

#define WORK_ROUTE(verb, function, id, help, accepts, answers)                                     \
    {                                                                                              \
        "POST", "/v1/queues/{queue}/" verb, HTTP_INLINE, ACCESS_WORK, ACCESS_QUEUE, function, id,  \
            help, NULL, accepts, answers                                                           \
    }

const struct http_route http_routes_work[] = {
    {"POST", "/v1/queues/{queue}/take", HTTP_POOL, ACCESS_WORK, ACCESS_QUEUE, handle_take, "take",
     "Takes deliveries, or answers 204 when there are none; waits for the first when asked to",
     take_params, NULL, "Deliveries"},
    WORK_ROUTE("settle", handle_settle, "settle", "They are handled", "Tags", "Settled"),
    WORK_ROUTE("retry", handle_retry, "retry", "They failed for now: another attempt later",
               "Retry", "Retried"),
    WORK_ROUTE("reject", handle_reject, "reject", "They failed for good: dead letters", "Reject",
               "Rejected"),
    WORK_ROUTE("return", handle_return, "return",
               "They are ready again at their place, and the attempt does not count", "Tags",
               "Returned"),
    WORK_ROUTE("extend", handle_extend, "extend", "Their deadline begins anew", "Tags", "Extended"),
    {0}};
