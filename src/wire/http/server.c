/* Health, metrics, and what is asked of the server itself. */
#include "wire/http/http_impl.h"

#include "api/handle.h"
#include "base/error.h"
#include "base/process_metrics.h"
#include "wire/http/document.h"

#include <sys/statvfs.h>
#include <unistd.h>

#define METRICS_MAX (256u << 20)
#define WHY_MAX 512

static void handle_live(struct http_request *r)
{
    http_answer_text(r, 200, "text/plain; charset=utf-8", "alive\n");
}

static void handle_ready(struct http_request *r)
{
    const struct http_context *context = http_of(r);
    char why[WHY_MAX] = "the server is about to stop";
    bool ready = !http_is_ending(r) &&
                 (!context->ready || context->ready(context->ready_ctx, why, sizeof why - 1));
    if (ready) {
        http_answer_text(r, 200, "text/plain; charset=utf-8", "ready\n");
        return;
    }
    size_t len = strlen(why);
    memcpy(why + len, "\n", 2);
    http_answer_text(r, 503, "text/plain; charset=utf-8", why);
}

static void append_text(void *ctx, const char *text, size_t len)
{
    struct buf *out = ctx;
    if (buf_append(out, text, len))
        out->max = 0; /* does not fit: found out by the caller */
}

static void set_gauge(struct metrics *m, const char *name, const char *help, uint64_t value)
{
    struct metric_family *f = metrics_gauge(m, name, help, NULL, 1);
    if (f)
        gauge_set(metric_gauge(f, NULL), (int64_t)value);
}

static void look_at_disk(const beck *b)
{
    struct statvfs s;
    if (!b->data_dir || statvfs(b->data_dir, &s))
        return;
    set_gauge(b->env.metrics, "beck_disk_free_bytes",
              "Bytes that may still be written where the data directory is.",
              (uint64_t)s.f_bavail * s.f_frsize);
    set_gauge(b->env.metrics, "beck_disk_size_bytes",
              "Size of the file system that the data directory is on.",
              (uint64_t)s.f_blocks * s.f_frsize);
}

static void handle_metrics(struct http_request *r)
{
    struct http *h = r->connection->http;
    beck_error err = {0};
    struct buf out;
    buf_init(&out, METRICS_MAX);
    gauge_set(h->body_gauge, (int64_t)atomic_load(&h->bodies));
    look_at_disk(h->context.b);
    beck_status status = beck_metrics(h->context.b, append_text, &out, &err);
    if (!status && (out.max == 0 || process_metrics_write(&out)))
        status = error_set(&err, BECK_ENOMEM, "no memory for the metrics");
    if (status) {
        buf_release(&out);
        http_fail(r, status, &err);
        return;
    }
    http_answer(r, 200, "text/plain; version=0.0.4; charset=utf-8", &out);
}

static void handle_server(struct http_request *r)
{
    struct http *h = r->connection->http;
    struct api_server shown = {.version = h->context.server_version,
                               .data = h->context.b->data_dir,
                               .pid = getpid(),
                               .started_ms = h->started_ms,
                               .connections = http_connections(h),
                               .requests = atomic_load(&h->running),
                               .body_bytes = (int64_t)atomic_load(&h->bodies)};
    document_answer(r, 200, &shape_server, &shown);
}

static void control(struct http_request *r, const char *what)
{
    const struct http_context *context = http_of(r);
    beck_error err = {0};
    beck_status status = BECK_OK;
    if (context->control)
        status = context->control(context->control_ctx, what, &err);
    else
        status = error_set(&err, BECK_EUNSUPPORTED, "this server cannot be told to %s", what);
    if (status)
        http_fail(r, status, &err);
    else
        http_answer(r, strcmp(what, "stop") == 0 ? 202 : 204, NULL, NULL);
}

static void handle_reload(struct http_request *r)
{
    control(r, "reload");
}

static void handle_stop(struct http_request *r)
{
    control(r, "stop");
}

const struct http_route http_routes_server[] = {
    {.method = "GET",
     .path = "/health/live",
     .run = HTTP_INLINE,
     .handle = handle_live,
     .operation = "live",
     .summary = "Whether the process serves requests at all",
     .answers = "text"},
    {.method = "GET",
     .path = "/health/ready",
     .run = HTTP_POOL,
     .handle = handle_ready,
     .operation = "ready",
     .summary = "Whether requests should be sent here; 503 says why not",
     .answers = "text"},
    {.method = "GET",
     .path = "/metrics",
     .run = HTTP_POOL,
     .right = ACCESS_DESCRIBE | HTTP_MONITORING,
     .kind = ACCESS_SERVER,
     .handle = handle_metrics,
     .operation = "metrics",
     .summary = "Metrics in Prometheus text format 0.0.4",
     .answers = "text"},
    {.method = "GET",
     .path = "/v1/server",
     .run = HTTP_INLINE,
     .right = HTTP_NAMED,
     .handle = handle_server,
     .operation = "getServer",
     .summary = "The server: version, process, connections",
     .answers = "Server"},
    {.method = "POST",
     .path = "/v1/server/reload",
     .run = HTTP_POOL,
     .right = ACCESS_ADMIN,
     .kind = ACCESS_SERVER,
     .handle = handle_reload,
     .operation = "reloadServer",
     .summary = "Reads the configuration, certificates and secrets again"},
    {.method = "POST",
     .path = "/v1/server/stop",
     .run = HTTP_POOL,
     .right = ACCESS_ADMIN,
     .kind = ACCESS_SERVER,
     .handle = handle_stop,
     .operation = "stopServer",
     .summary = "Stops the server once what it does is done"},
    {0},
};
