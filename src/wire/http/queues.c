/* /v1/queues: making, showing, binding, steering and deleting queues. */
#include "wire/http/document.h"

#include "api/handle.h"
#include "event/cloudevents.h"
#include "event/pattern.h"

#define PEEK_DEFAULT 10
#define PEEK_MAX 100000

static void answer_done(struct http_request *r, beck_status status, const beck_error *err)
{
    if (status)
        http_fail(r, status, err);
    else
        http_answer(r, 204, NULL, NULL);
}

static void answer_queue(struct http_request *r, int http_status)
{
    beck_queue_info info;
    beck_error err;
    beck_status status = beck_queue_info_get(http_of(r)->b, http_path(r, 0), &info, &err);
    if (status)
        http_fail(r, status, &err);
    else
        document_answer(r, http_status, &shape_queue, &info);
}

/* ---- making, showing, deleting ---- */

struct listing {
    struct http_request *r;
    struct document_list list;
};

static int list_one(void *ctx, const char *name)
{
    struct listing *l = ctx;
    beck_queue_info info;
    /* One that is deleted meanwhile is left out. */
    if (document_may_see(l->r, ACCESS_QUEUE, name) &&
        !beck_queue_info_get(http_of(l->r)->b, name, &info, NULL))
        document_list_add(&l->list, &shape_queue, &info);
    return l->list.status != BECK_OK;
}

static void list_queues(struct http_request *r)
{
    struct listing l = {.r = r};
    document_list_init(&l.list, "queues");
    if (!l.list.status)
        l.list.status = beck_queue_list(http_of(r)->b, list_one, &l, &l.list.err);
    document_list_answer(&l.list, r);
}

static void show_queue(struct http_request *r)
{
    answer_queue(r, 200);
}

/* Whoever feeds a queue from a bus reads that bus. False, after answering why not. */
static bool may_bind(struct http_request *r, const beck_binding *binding)
{
    return http_require(r, ACCESS_READ, ACCESS_BUS, binding->bus);
}

/* What can be known to be wrong is said before anything is made. */
static bool check_bindings(struct http_request *r, const struct api_bindings *bindings)
{
    for (size_t i = 0; i < bindings->count; i++) {
        const beck_binding *binding = &bindings->list[i];
        beck_bus *bus;
        beck_error err;
        if (!may_bind(r, binding))
            return false;
        beck_status status = beck_bus_get(http_of(r)->b, binding->bus, &bus, &err);
        if (!status && binding->pattern)
            status = pattern_check(beck_str(binding->pattern), &err);
        if (status) {
            http_fail(r, status, &err);
            return false;
        }
    }
    return true;
}

static void put_queue(struct http_request *r)
{
    beck *b = http_of(r)->b;
    const char *name = http_path(r, 0);
    struct api_queue_spec spec;
    beck_error err;
    bool made;
    if (!document_read(r, &shape_queue_spec, &spec) || !check_bindings(r, &spec.bindings))
        return;
    beck_status status = handle_make_queue(b, name, &spec.options, &made, &err);
    for (size_t i = 0; i < spec.bindings.count && !status; i++)
        status = beck_queue_bind(b, name, &spec.bindings.list[i], &err);
    if (status && made)
        (void)beck_queue_delete(b, name, NULL); /* not half of it */
    if (status)
        http_fail(r, status, &err);
    else
        answer_queue(r, made ? 201 : 200);
}

static void alter_queue(struct http_request *r)
{
    beck_queue_options options;
    beck_error err;
    if (!document_read(r, &shape_queue_options, &options))
        return;
    beck_status status = beck_queue_alter(http_of(r)->b, http_path(r, 0), &options, &err);
    if (status)
        http_fail(r, status, &err);
    else
        answer_queue(r, 200);
}

static void delete_queue(struct http_request *r)
{
    beck_error err;
    answer_done(r, beck_queue_delete(http_of(r)->b, http_path(r, 0), &err), &err);
}

/* ---- bindings ---- */

static int list_binding(void *ctx, const beck_binding *binding)
{
    struct document_list *list = ctx;
    document_list_add(list, &shape_binding, binding);
    return list->status != BECK_OK;
}

static void list_bindings(struct http_request *r)
{
    struct document_list list;
    document_list_init(&list, "bindings");
    if (!list.status)
        list.status =
            beck_queue_bindings(http_of(r)->b, http_path(r, 0), list_binding, &list, &list.err);
    document_list_answer(&list, r);
}

static void bind_queue(struct http_request *r)
{
    beck_binding binding;
    beck_error err;
    if (!document_read(r, &shape_binding, &binding) || !may_bind(r, &binding))
        return;
    answer_done(r, beck_queue_bind(http_of(r)->b, http_path(r, 0), &binding, &err), &err);
}

static void unbind_queue(struct http_request *r)
{
    const char *bus = http_query(r, "bus"), *pattern = http_query(r, "pattern");
    beck_error err;
    if (!bus) {
        http_refuse(r, 400, "query parameter \"bus\" is missing; name the bus of the binding");
        return;
    }
    answer_done(r, beck_queue_unbind(http_of(r)->b, http_path(r, 0), bus, pattern, &err), &err);
}

/* ---- steering ---- */

static void pause_queue(struct http_request *r)
{
    beck_error err;
    answer_done(r, beck_queue_pause(http_of(r)->b, http_path(r, 0), true, &err), &err);
}

static void resume_queue(struct http_request *r)
{
    beck_error err;
    answer_done(r, beck_queue_pause(http_of(r)->b, http_path(r, 0), false, &err), &err);
}

static void purge_queue(struct http_request *r)
{
    struct api_count purged = {0};
    beck_error err;
    beck_status status = beck_queue_purge(http_of(r)->b, http_path(r, 0), &purged.count, &err);
    if (status)
        http_fail(r, status, &err);
    else
        document_answer(r, 200, &shape_purged, &purged);
}

static void rewind_queue(struct http_request *r)
{
    struct api_rewind to;
    beck_error err;
    if (!document_read(r, &shape_rewind, &to))
        return;
    answer_done(r, beck_queue_rewind(http_of(r)->b, http_path(r, 0), &to.from, &err), &err);
}

struct peeking {
    struct buf out;
    size_t count;
    bool lines; /* NDJSON; else an array */
    beck_status status;
    beck_error err;
};

static int peek_one(void *ctx, const beck_event *event)
{
    struct peeking *p = ctx;
    if (!p->lines)
        p->status = buf_append_byte(&p->out, p->count == 0 ? '[' : ',');
    if (!p->status)
        p->status = cloudevents_write_exact(event, &p->out, &p->err);
    if (!p->status && p->lines)
        p->status = buf_append_byte(&p->out, '\n');
    p->count++;
    return p->status != BECK_OK;
}

static void peek_queue(struct http_request *r)
{
    const char *accept = http_header(r, "Accept");
    struct peeking p = {.lines = accept && strstr(accept, "application/x-ndjson")};
    int64_t limit;
    if (!http_query_number(r, "limit", 1, PEEK_MAX, PEEK_DEFAULT, &limit))
        return;
    buf_init(&p.out, DOCUMENT_ANSWER_MAX);
    beck_status status =
        beck_queue_peek(http_of(r)->b, http_path(r, 0), (size_t)limit, peek_one, &p, &p.err);
    if (!status && !p.status && !p.lines)
        p.status = buf_append_text(&p.out, p.count == 0 ? "[]" : "]");
    if (status)
        http_fail(r, status, &p.err);
    else if (p.status == BECK_ELIMIT)
        http_refuse(r, 400, "the %zu events would be more than %u bytes; ask for fewer with limit",
                    (size_t)limit, DOCUMENT_ANSWER_MAX);
    else if (p.status)
        http_fail(r, p.status, &p.err);
    else
        http_answer(r, 200, p.lines ? "application/x-ndjson" : "application/cloudevents-batch+json",
                    &p.out);
    buf_release(&p.out);
}

/* ---- what waits ---- */

#define WAITING_DEFAULT 100
#define WAITING_PAGE_BYTES (8u << 20)

struct waiting_page {
    struct document_list list;
    struct buf event; /* scratch */
    int64_t from, limit;
    bool more;
};

static int wait_one(void *ctx, const beck_waiting *waiting)
{
    struct waiting_page *p = ctx;
    if ((int64_t)p->list.count == p->limit || p->list.out.len >= WAITING_PAGE_BYTES)
        return p->more = true;
    struct api_waiting shown = {
        .origin = {waiting->bus, waiting->position.partition, waiting->position.offset},
        .attempt = waiting->attempt,
        .since_ms = waiting->since_ms,
        .due_ms = waiting->due_ms};
    buf_clear(&p->event);
    if (waiting->event)
        p->list.status = cloudevents_write_exact(waiting->event, &p->event, &p->list.err);
    if (waiting->event)
        shown.event = buf_bytes(&p->event);
    if (!p->list.status)
        document_list_add(&p->list, &shape_waiting, &shown);
    return p->list.status != BECK_OK;
}

static void list_waiting(struct http_request *r, beck_waiting_kind kind)
{
    struct waiting_page p = {0};
    if (!http_query_number(r, "limit", 1, WAITING_LISTED_MAX, WAITING_DEFAULT, &p.limit) ||
        !http_query_number(r, "from", 0, WAITING_LISTED_MAX, 0, &p.from))
        return;
    /* One more, to know whether there is one. */
    int64_t max =
        p.limit + 1 < WAITING_LISTED_MAX - p.from ? p.limit + 1 : WAITING_LISTED_MAX - p.from;
    buf_init(&p.event, DOCUMENT_ANSWER_MAX);
    document_list_init(&p.list, "waiting");
    beck_status status = p.list.status;
    if (!status)
        status = beck_queue_waiting(http_of(r)->b, http_path(r, 0), kind, (size_t)p.from,
                                    (size_t)max, wait_one, &p, &p.list.err);
    if (!p.list.status)
        p.list.status = status;
    document_list_answer_with(&p.list, r, "next_from",
                              p.more ? p.from + (int64_t)p.list.count : -1);
    buf_release(&p.event);
}

static void list_delayed(struct http_request *r)
{
    list_waiting(r, BECK_WAITING_DELAYED);
}

static void list_in_flight(struct http_request *r)
{
    list_waiting(r, BECK_WAITING_IN_FLIGHT);
}

/* ---- routes ---- */

static const struct http_param unbind_params[] = {
    {"bus", "string", "the bus of the binding"}, {"pattern", "string", "its pattern, else #"}, {0}};
static const struct http_param peek_params[] = {
    {"limit", "integer", "at most this many, 1 to 100,000; else 10"}, {0}};

static const struct http_param waiting_params[] = {
    {"limit", "integer", "at most this many, 1 to 10,000; else 100"},
    {"from", "integer", "behind so many, at most 10,000 with limit; else 0"},
    {0}};

const struct http_route http_routes_queues[] = {
    {"GET", "/v1/queues", HTTP_POOL, HTTP_NAMED, ACCESS_SERVER, list_queues, "listQueues",
     "All queues that the caller has a right on", NULL, NULL, "Queues"},
    {"GET", "/v1/queues/{queue}", HTTP_POOL, ACCESS_DESCRIBE, ACCESS_QUEUE, show_queue, "getQueue",
     "A queue with its options and counts", NULL, NULL, "Queue"},
    {"PUT", "/v1/queues/{queue}", HTTP_POOL, ACCESS_ADMIN, ACCESS_QUEUE, put_queue, "putQueue",
     "Makes a queue (201), or finds it with the same options (200), and binds it; 409: it exists "
     "with other options",
     NULL, "QueueSpec", "Queue"},
    {"PUT", "/v1/queues/{queue}/options", HTTP_POOL, ACCESS_ADMIN, ACCESS_QUEUE, alter_queue,
     "alterQueue", "Changes the options of a queue to these: storage and priority_max must stay",
     NULL, "QueueOptions", "Queue"},
    {"DELETE", "/v1/queues/{queue}", HTTP_POOL, ACCESS_ADMIN, ACCESS_QUEUE, delete_queue,
     "deleteQueue", "Deletes a queue with what it holds", NULL, NULL, NULL},
    {"GET", "/v1/queues/{queue}/bindings", HTTP_POOL, ACCESS_DESCRIBE, ACCESS_QUEUE, list_bindings,
     "listBindings", "What feeds a queue", NULL, NULL, "Bindings"},
    {"POST", "/v1/queues/{queue}/bindings", HTTP_POOL, ACCESS_ADMIN, ACCESS_QUEUE, bind_queue,
     "bindQueue", "Feeds a queue from a bus; from a past position it queues history first", NULL,
     "Binding", NULL},
    {"DELETE", "/v1/queues/{queue}/bindings", HTTP_POOL, ACCESS_ADMIN, ACCESS_QUEUE, unbind_queue,
     "unbindQueue", "Ends a binding; what the queue holds stays", unbind_params, NULL, NULL},
    {"POST", "/v1/queues/{queue}/pause", HTTP_POOL, ACCESS_ADMIN, ACCESS_QUEUE, pause_queue,
     "pauseQueue", "Nothing is delivered any more; the queue goes on filling", NULL, NULL, NULL},
    {"POST", "/v1/queues/{queue}/resume", HTTP_POOL, ACCESS_ADMIN, ACCESS_QUEUE, resume_queue,
     "resumeQueue", "Ends a pause", NULL, NULL, NULL},
    {"POST", "/v1/queues/{queue}/purge", HTTP_POOL, ACCESS_ADMIN, ACCESS_QUEUE, purge_queue,
     "purgeQueue", "Drops everything ready and delayed", NULL, NULL, "Purged"},
    {"POST", "/v1/queues/{queue}/rewind", HTTP_POOL, ACCESS_ADMIN, ACCESS_QUEUE, rewind_queue,
     "rewindQueue", "Makes the queue's content what its bindings give from a position on", NULL,
     "Rewind", NULL},
    {"GET", "/v1/queues/{queue}/events", HTTP_POOL, ACCESS_READ, ACCESS_QUEUE, peek_queue,
     "peekQueue", "Ready events in order of delivery, without taking them", peek_params, NULL,
     "PeekedEvents"},
    {"GET", "/v1/queues/{queue}/delayed", HTTP_POOL, ACCESS_READ, ACCESS_QUEUE, list_delayed,
     "listDelayed", "Events that wait for their time or another try, the first due first",
     waiting_params, NULL, "WaitingList"},
    {"GET", "/v1/queues/{queue}/in_flight", HTTP_POOL, ACCESS_READ, ACCESS_QUEUE, list_in_flight,
     "listInFlight", "Events that consumers hold, the one whose deadline is next first",
     waiting_params, NULL, "WaitingList"},
    {0}};
