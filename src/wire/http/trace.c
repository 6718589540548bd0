/* Traces over HTTP. */
#include "event/api_shape.h"
#include "wire/http/http.h"

#define ANSWER_MAX (256u << 20)
#define EVENTS_MAX 100000

struct writing {
    struct buf text;
    bool any;
    beck_status status;
    beck_error err;
};

static int write_step(void *ctx, const beck_trace_step *step)
{
    struct writing *w = ctx;
    if (w->any)
        w->status = buf_append_byte(&w->text, ',');
    w->any = true;
    if (!w->status)
        w->status = api_trace_step_write(step, &w->text, &w->err);
    return w->status != BECK_OK;
}

static void show_trace(struct http_request *r)
{
    int64_t limit;
    if (!http_query_number(r, "limit", 1, EVENTS_MAX, 10000, &limit))
        return;
    struct writing w = {.err.text = "the trace is too large for an answer; ask for less (limit)"};
    buf_init(&w.text, ANSWER_MAX);
    w.status = buf_append_text(&w.text, "{\"events\":[");
    if (!w.status) {
        beck_status status =
            beck_trace(http_of(r)->b, http_path(r, 0), (size_t)limit, write_step, &w, &w.err);
        if (!w.status)
            w.status = status;
    }
    if (!w.status)
        w.status = buf_append_text(&w.text, "]}");
    if (w.status)
        http_fail(r, w.status, &w.err);
    else
        http_answer(r, 200, "application/json", &w.text);
    buf_release(&w.text);
}

static const struct http_param params[] = {
    {"limit", "integer", "at most this many events; default 10,000, at most 100,000"}, {0}};

const struct http_route http_routes_trace[] = {
    {.method = "GET",
     .path = "/v1/trace/{id}",
     .run = HTTP_POOL,
     .right = ACCESS_READ,
     .kind = ACCESS_SERVER,
     .handle = show_trace,
     .operation = "getTrace",
     .summary = "The events that belong together with one, as a tree: what caused what, and what "
                "became of each in every queue",
     .params = params,
     .answers = "Trace"},
    {0}};
