/*
 * /hooks/{name}: requests of webhook providers become events. See hooks.h.
 *
 * A request finds its endpoint (a source as it is configured now), is verified, published, and
 * answered from the publish's completion. The endpoint is held by reference until then, so that the
 * settings may change under requests that run.
 */
#include "wire/http/hooks_impl.h"

#include "api/handle.h"
#include "base/error.h"

#include <stdlib.h>

#define INLINE_MAX (256 * 1024) /* larger bodies are hashed on the pool */
#define HEADERS_MAX 100

/* ---- what becomes of a request ---- */

/* A request that was verified and is being stored: in the request's memory. */
struct delivery {
    struct http_request *request;
    struct endpoint *endpoint;
    struct seen_key key;
    bool claimed; /* in the endpoint's window */
};

static void answer_later(struct http_request *r, int status, const char *seconds)
{
    http_set_header(r, "Retry-After", seconds);
    http_answer(r, status, NULL, NULL);
}

static void answer_stored(const struct delivery *d)
{
    struct endpoint *e = d->endpoint;
    struct http_request *r = d->request;
    bool accepted = hook_settings(e->hook)->level == BECK_LEVEL_NONE;
    endpoint_release(e);
    http_answer(r, accepted ? 202 : 200, NULL, NULL);
}

/* Nothing of why goes out: the provider tries again, the operator sees it in GET /v1/hooks. */
static void answer_failed(const struct delivery *d, beck_status status, const char *why)
{
    struct endpoint *e = d->endpoint;
    struct http_request *r = d->request;
    if (d->claimed)
        seen_failed(e->seen, &d->key);
    counter_add(e->failed, 1);
    endpoint_note_failure(e, status, why);
    endpoint_release(e);
    answer_later(r, 503, "5");
}

static void stored(void *ctx, beck_status status, const beck_published *published)
{
    const struct delivery *d = ctx;
    if (status) {
        answer_failed(d, status, "the events could not be made to last");
        return;
    }
    if (d->claimed)
        seen_stored(d->endpoint->seen, &d->key);
    counter_add(published->duplicates ? d->endpoint->duplicates : d->endpoint->stored, 1);
    answer_stored(d);
}

/* False: it came before, and was answered. */
static bool claim(struct delivery *d, const struct hook_result *result, int64_t now_ns)
{
    struct endpoint *e = d->endpoint;
    const beck_event *event = result->events;
    if (!e->seen || result->event_count != 1 || !event->id.len)
        return true;
    switch (seen_claim(e->seen, event->source, event->id, now_ns / 1000000, &d->key)) {
    case SEEN_NEW:
        d->claimed = true;
        return true;
    case SEEN_STORED:
        counter_add(e->duplicates, 1);
        answer_stored(d);
        return false;
    case SEEN_PENDING:
        break;
    }
    /* Whether the first of the two will be stored is not known yet. */
    counter_add(e->failed, 1);
    endpoint_release(e);
    answer_later(d->request, 503, "1");
    return false;
}

static bool fits(struct endpoint *e, const struct hook_result *result)
{
    beck_bus_options o;
    bus_options_get(atomic_load(&e->bus), &o);
    for (size_t i = 0; i < result->event_count; i++)
        if (result->events[i].data.len > o.event_bytes_max)
            return false;
    return true;
}

/* Takes over the endpoint. on_pool: the request was put off already. */
static void publish(struct http_request *r, struct endpoint *e, const struct hook_result *result,
                    int64_t now_ns, bool on_pool)
{
    struct delivery *d = http_alloc(r, sizeof *d);
    if (!d) {
        counter_add(e->failed, 1);
        endpoint_release(e);
        answer_later(r, 503, "5");
        return;
    }
    *d = (struct delivery){.request = r, .endpoint = e};
    /* Only now: nobody without the secret makes a bus. */
    if (on_pool && endpoint_is_old(e))
        endpoint_renew(http_of(r)->hooks, e);
    if (!fits(e, result)) {
        counter_add(e->refused[HOOK_TOO_LARGE], 1);
        endpoint_release(e);
        http_answer(r, 413, NULL, NULL);
        return;
    }
    if (!claim(d, result, now_ns))
        return;
    beck_publish_options options = {
        .level = hook_settings(e->hook)->level, .done = stored, .done_ctx = d, .no_context = true};
    beck_error err;
    if (!on_pool)
        http_later(r);
    /* Once this has worked the request may be answered, and gone. */
    beck_status status = beck_publish_many(atomic_load(&e->bus), result->events,
                                           result->event_count, &options, NULL, &err);
    if (status)
        answer_failed(d, status, err.text);
}

static void answer(struct http_request *r, const struct hook_result *result)
{
    struct buf body;
    buf_init(&body, result->body.len);
    for (size_t i = 0; i < result->header_count; i++)
        http_set_header(r, result->headers[i].name, result->headers[i].value);
    if (buf_append(&body, result->body.data, result->body.len))
        http_answer(r, 503, NULL, NULL);
    else
        http_answer(r, result->status, body.len ? "text/plain; charset=utf-8" : NULL, &body);
}

/* What says nothing about who sends is counted and not kept: wrong methods, large bodies. */
static bool is_suspect(const struct hook_result *result)
{
    return result->status == 401 || result->status == 400 || result->status == 415;
}

static void refuse(struct http_request *r, struct endpoint *e, const struct hook_request *request,
                   const struct hook_result *result)
{
    struct hooks *h = http_of(r)->hooks;
    counter_add(e->refused[result->reason], 1);
    if (is_suspect(result) &&
        !refused_keep(h, hook_settings(e->hook)->name, result->reason, http_peer(r), request)) {
        counter_add(e->limited, 1);
        answer_later(r, 429, "60");
        return;
    }
    for (size_t i = 0; i < result->header_count; i++)
        http_set_header(r, result->headers[i].name, result->headers[i].value);
    if (result->status == 503)
        http_set_header(r, "Retry-After", "5");
    http_answer(r, result->status, NULL, NULL);
}

/* ---- requests ---- */

struct headers {
    struct hook_header list[HEADERS_MAX];
    size_t count;
};

static void add_header(void *ctx, const char *name, const char *value)
{
    struct headers *headers = ctx;
    if (headers->count < HEADERS_MAX)
        headers->list[headers->count] = (struct hook_header){name, value ? value : ""};
    headers->count++;
}

static const char *find_query(void *ctx, const char *name)
{
    return http_query(ctx, name);
}

static void receive(struct http_request *r, struct endpoint *e, bool on_pool);

static void receive_on_pool(struct http_request *r, void *ctx)
{
    receive(r, ctx, true);
}

/* Takes over the endpoint. */
static void receive(struct http_request *r, struct endpoint *e, bool on_pool)
{
    struct headers headers;
    headers.count = 0;
    http_each_header(r, add_header, &headers);
    if (headers.count > HEADERS_MAX) {
        /* One that comes twice could be among those that are left out. */
        counter_add(e->refused[HOOK_BAD_HEADER], 1);
        endpoint_release(e);
        http_answer(r, 431, NULL, NULL);
        return;
    }
    struct hook_request request = {.method = http_method(r),
                                   .headers = headers.list,
                                   .header_count = headers.count,
                                   .query = find_query,
                                   .query_ctx = r,
                                   .body = http_body(r),
                                   .now_ns = clock_wall_ns(http_of(r)->b->env.clock),
                                   .may_block = on_pool};
    struct hook_result result;
    switch (hook_receive(e->hook, &request, &result)) {
    case HOOK_EVENTS:
        publish(r, e, &result, request.now_ns, on_pool);
        break;
    case HOOK_ANSWERED:
        counter_add(e->handshakes, 1);
        endpoint_release(e);
        answer(r, &result);
        break;
    case HOOK_REFUSED:
        refuse(r, e, &request, &result);
        endpoint_release(e);
        break;
    case HOOK_BLOCKS:
        http_later(r);
        http_to_pool(r, receive_on_pool, e);
        break;
    }
    hook_result_release(&result);
}

static void handle(struct http_request *r)
{
    struct hooks *h = http_of(r)->hooks;
    struct endpoint *e = h ? endpoint_get(h, http_path(r, 0)) : NULL;
    if (!e) {
        http_answer(r, 404, NULL, NULL);
        return;
    }
    if (http_body(r).len <= INLINE_MAX && !endpoint_is_old(e)) {
        receive(r, e, false);
        return;
    }
    http_later(r);
    http_to_pool(r, receive_on_pool, e);
}

/* ---- what operators see ---- */

static void show_hooks(struct http_request *r)
{
    struct document_list list;
    document_list_init(&list, "hooks");
    if (http_of(r)->hooks)
        endpoints_list(http_of(r)->hooks, &list);
    document_list_answer(&list, r);
}

static void show_refused(struct http_request *r)
{
    struct hooks *h = http_of(r)->hooks;
    struct endpoint *e = h ? endpoint_get(h, http_path(r, 0)) : NULL;
    int64_t limit;
    if (!e) {
        http_refuse(r, 404, "there is no hook \"%.100s\"", http_path(r, 0));
        return;
    }
    endpoint_release(e);
    if (!http_query_number(r, "limit", 1, REFUSED_LIMIT_MAX, 100, &limit))
        return;
    struct document_list list;
    document_list_init(&list, "refused");
    refused_list(h, http_path(r, 0), (size_t)limit, &list);
    document_list_answer(&list, r);
}

static const struct http_param any_params[] = {{"*", "string", "whatever the provider gives"},
                                               {NULL, NULL, NULL}};
static const struct http_param refused_params[] = {
    {"limit", "integer", "at most this many, the newest; default 100, at most 1,000"},
    {NULL, NULL, NULL}};

#define HOOK_ROUTE(method_, operation_, summary_)                                                  \
    {                                                                                              \
        .method = (method_), .path = "/hooks/{name}", .run = HTTP_INLINE, .handle = handle,        \
        .operation = (operation_), .summary = (summary_), .params = any_params                     \
    }

const struct http_route http_routes_hooks[] = {
    HOOK_ROUTE("POST", "receiveWebhook", "A provider's webhook: verified, and stored as an event"),
    HOOK_ROUTE("GET", "confirmWebhook", "A hub asks whether a subscription is wanted"),
    HOOK_ROUTE("HEAD", "probeWebhook", "A provider asks whether there is anybody"),
    HOOK_ROUTE("OPTIONS", "consentToWebhook", "A sender of CloudEvents asks for consent"),
    {.method = "GET",
     .path = "/v1/hooks",
     .run = HTTP_POOL,
     .right = ACCESS_ADMIN,
     .kind = ACCESS_SERVER,
     .handle = show_hooks,
     .operation = "listHooks",
     .summary = "The configured sources of webhooks, and what became of their requests",
     .answers = "Hooks"},
    {.method = "GET",
     .path = "/v1/hooks/{hook}/refused",
     .run = HTTP_POOL,
     .right = ACCESS_ADMIN,
     .kind = ACCESS_SERVER,
     .handle = show_refused,
     .operation = "listRefused",
     .summary = "Requests that were refused, newest first: kept for inspection, never as events",
     .params = refused_params,
     .answers = "RefusedRequests"},
    {.method = NULL}};
