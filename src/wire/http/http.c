/* Starting and ending: the listeners, the threads, and what they share. */
#include "wire/http/follow.h"
#include "wire/http/http_impl.h"

#include "api/handle.h"
#include "base/clock.h"
#include "base/error.h"
#include "wire/http/work.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define INPUT_MORE (256 << 10) /* behind a request that waits, before it is not listened to */
#define OUTPUT_MAX 65536       /* that a client does not read; then it is not listened to */
#define GUARDS 2               /* as many passwords as are hashed at a time */

/* ---- counting ---- */

void http_leave(struct http *h)
{
    atomic_fetch_sub(&h->running, 1);
    if (!atomic_load(&h->draining))
        return;
    mutex_lock(&h->quiet_lock);
    cond_broadcast(&h->quiet);
    mutex_unlock(&h->quiet_lock);
}

uint32_t http_connections(const struct http *h)
{
    return atomic_load(&h->connection_count);
}

/* ---- metrics ---- */

static const char *const answer_labels[] = {"route", "code", NULL};
static const char *const route_labels[] = {"route", NULL};
static const char *const code_texts[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
static const double seconds_bounds[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
                                        0.05,   0.1,     0.25,   0.5,   1,      2.5,   10};

static beck_status make_metrics(struct http *h, beck_error *err)
{
    struct metrics *m = h->context.b->env.metrics;
    uint32_t count = h->route_count + 1;
    struct metric_family *connections =
        metrics_gauge(m, "beck_http_connections", "HTTP connections open.", NULL, 1);
    struct metric_family *bodies =
        metrics_gauge(m, "beck_http_body_bytes", "Bytes of request bodies in memory.", NULL, 1);
    h->answers =
        metrics_counter(m, "beck_http_requests_total",
                        "HTTP requests by route and class of status; none: the client went away "
                        "before an answer.",
                        answer_labels, (size_t)count * 6 + 1);
    h->seconds = metrics_histogram(m, "beck_http_request_seconds",
                                   "Time from the request line to the last byte of the answer.",
                                   route_labels, count + 1, seconds_bounds,
                                   sizeof seconds_bounds / sizeof seconds_bounds[0]);
    h->metrics = calloc(count, sizeof *h->metrics);
    if (!connections || !bodies || !h->answers || !h->seconds || !h->metrics)
        return error_set(err, BECK_ENOMEM, "no memory for the metrics of HTTP");
    h->connection_gauge = metric_gauge(connections, NULL);
    h->body_gauge = metric_gauge(bodies, NULL);
    return BECK_OK;
}

/* Threads that make a series at once get the same. */
void http_count(struct http *h, const struct http_request *r, int64_t took_ns)
{
    struct route_metrics *m = &h->metrics[r->route ? r->number : h->route_count];
    int kind = r->status / 100;
    kind = kind > 0 && kind < 6 ? kind : 0;
    struct counter *answers = atomic_load(&m->answers[kind]);
    struct histogram *seconds = atomic_load(&m->seconds);
    if (!answers || !seconds) {
        const beck_bytes values[] = {beck_str(r->route ? r->route->operation : "none"),
                                     beck_str(code_texts[kind])};
        answers = metric_counter(h->answers, values);
        seconds = metric_histogram(h->seconds, values);
        atomic_store(&m->answers[kind], answers);
        atomic_store(&m->seconds, seconds);
    }
    counter_add(answers, 1);
    histogram_record(seconds, (double)took_ns / 1e9);
}

/* ---- settings ---- */

static void set_default(uint32_t *value, uint32_t otherwise)
{
    if (*value == 0)
        *value = otherwise;
}

static void set_defaults(struct http_settings *s)
{
    set_default(&s->threads, 2);
    set_default(&s->pool_threads, 4);
    set_default(&s->connections_max, 20000);
    set_default(&s->header_max, 16384);
    set_default(&s->idle_timeout_ms, 75000);
    set_default(&s->request_timeout_ms, 30000);
    set_default(&s->wait_max_ms, 60000);
    set_default(&s->heartbeat_ms, 10000);
    if (s->body_max == 0)
        s->body_max = 25 << 20;
    if (s->bodies_max == 0)
        s->bodies_max = 256 << 20;
    if (s->stream_buffer_max == 0)
        s->stream_buffer_max = 1 << 20;
}

/* ---- TLS ---- */

static beck_status check_readable(const char *path, const char *what, beck_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, BECK_EIO, "the %s \"%s\" cannot be read: %s", what, path,
                         strerror(errno));
    close(fd);
    return BECK_OK;
}

static beck_status check_files(const struct http_settings *s, beck_error *err)
{
    if (!s->tls_certificate || !s->tls_key)
        return error_set(
            err, BECK_EINVAL,
            "a listener with TLS needs a certificate and a key; give the paths of both");
    beck_status status = check_readable(s->tls_certificate, "certificate", err);
    return status ? status : check_readable(s->tls_key, "key", err);
}

static beck_status open_tls(struct http *h, const struct http_listener *listeners, beck_error *err)
{
    bool wanted = false;
    for (size_t i = 0; i < h->listener_count; i++)
        wanted = wanted || listeners[i].tls;
    if (!wanted)
        return BECK_OK;
    beck_status status = check_files(&h->settings, err);
    if (status)
        return status;
    return net_tls_new(h->settings.tls_certificate, h->settings.tls_key, &h->tls, err);
}

beck_status http_reload(struct http *h, beck_error *err)
{
    if (!h->tls)
        return BECK_OK;
    beck_status status = check_files(&h->settings, err);
    return status ? status : net_tls_reload(h->tls, err);
}

/* ---- what is served where ---- */

static bool serve_site(struct http *h, const struct http_site *site)
{
    struct served *s = &h->served[h->served_count];
    *s = (struct served){site, router_new(site ? site->routes : http_routes), h->route_count};
    if (!s->router)
        return false;
    h->served_count++;
    h->route_count += router_count(s->router);
    return true;
}

/* What each listener serves; listeners of one site share its routes. */
static bool make_routers(struct http *h, const struct http_listener *listeners)
{
    h->served = calloc(h->listener_count + 1, sizeof *h->served);
    h->gates = calloc(h->listener_count + 1, sizeof *h->gates);
    if (!h->served || !h->gates || !serve_site(h, NULL))
        return false;
    for (size_t i = 0; i < h->listener_count; i++) {
        size_t at = 0;
        while (at < h->served_count && h->served[at].site != listeners[i].site)
            at++;
        if (at == h->served_count && !serve_site(h, listeners[i].site))
            return false;
        h->gates[i] = (struct http_gate){h, &h->served[at], listeners[i].trusted};
    }
    return true;
}

static beck_status make_parts(struct http *h, const struct http_listener *listeners, size_t count,
                              beck_error *err)
{
    h->work = work_new(h);
    h->gathers = gathers_new(h->settings.threads);
    h->follow = follow_new(h);
    h->listener_count = count;
    if (!h->work || !h->gathers || !h->follow || !make_routers(h, listeners))
        return error_set(err, BECK_ENOMEM, "no memory for the HTTP server");
    beck_status status = make_metrics(h, err);
    return status ? status : open_tls(h, listeners, err);
}

static void release(struct http *h)
{
    follow_free(h->follow);
    gathers_free(h->gathers);
    net_tls_free(h->tls);
    work_free(h->work);
    for (size_t i = 0; i < h->served_count; i++)
        router_free(h->served[i].router);
    free(h->served);
    free(h->gates);
    cond_release(&h->quiet);
    mutex_release(&h->quiet_lock);
    free(h->metrics);
    free(h);
}

/* ---- starting ---- */

/* The net closes what it listens on; those of the caller stay open. */
static beck_status copy_sockets(const struct http *h, const struct http_listener *from,
                                struct net_listener *to, beck_error *err)
{
    const struct http_settings *s = &h->settings;
    for (size_t i = 0; i < h->listener_count; i++) {
        int fd = fcntl(from[i].fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0) {
            beck_status status = error_errno(err, errno, "no descriptor for an HTTP socket");
            while (i > 0)
                close(to[--i].fd);
            return status;
        }
        to[i] = (struct net_listener){.fd = fd,
                                      .unix_socket = from[i].unix_socket,
                                      .tls = from[i].tls ? h->tls : NULL,
                                      .protocol = &http_protocol,
                                      .ctx = &h->gates[i],
                                      .handshake_timeout_ms = s->request_timeout_ms,
                                      .input_max = s->header_max + INPUT_MORE,
                                      .output_max = OUTPUT_MAX};
    }
    return BECK_OK;
}

static beck_status start_net(struct http *h, const struct http_listener *listeners, beck_error *err)
{
    const struct http_settings *s = &h->settings;
    struct net_settings settings = {.loops = s->threads,
                                    .connections_max = s->connections_max,
                                    .connections_per_address_max = s->connections_per_address_max,
                                    .inputs_max = s->bodies_max,
                                    .metrics = h->context.b->env.metrics};
    struct net_listener *copies = calloc(h->listener_count + 1, sizeof *copies);
    if (!copies)
        return error_set(err, BECK_ENOMEM, "no memory for the HTTP server");
    beck_status status = copy_sockets(h, listeners, copies, err);
    if (!status)
        status = net_start(&settings, copies, h->listener_count, &h->net, err);
    free(copies);
    return status;
}

beck_status http_start(const struct http_settings *settings, const struct http_context *context,
                       const struct http_listener *listeners, size_t count, struct http **out,
                       beck_error *err)
{
    struct http *h = calloc(1, sizeof *h);
    if (!h)
        return error_set(err, BECK_ENOMEM, "no memory for the HTTP server");
    h->settings = *settings;
    set_defaults(&h->settings);
    h->context = *context;
    h->started_ms = clock_wall_ms(clock_system());
    mutex_init(&h->quiet_lock);
    cond_init(&h->quiet);
    beck_status status = make_parts(h, listeners, count, err);
    bool pool = !status && !(status = pool_start(&h->pool, h->settings.pool_threads, err));
    bool guards = !status && !(status = pool_start(&h->guards, GUARDS, err));
    bool timers = !status && !(status = timers_start(&h->timers, err));
    if (!status)
        status = start_net(h, listeners, err);
    if (!status) {
        *out = h;
        return BECK_OK;
    }
    if (timers)
        timers_stop(&h->timers);
    if (guards)
        pool_stop(&h->guards);
    if (pool)
        pool_stop(&h->pool);
    release(h);
    return status;
}

/* ---- ending ---- */

bool http_drain(struct http *h, int64_t until_ns)
{
    atomic_store(&h->draining, true);
    net_drain(h->net, 0);
    mutex_lock(&h->quiet_lock);
    while (atomic_load(&h->running) > 0)
        if (!cond_wait_until(&h->quiet, &h->quiet_lock, clock_system(), until_ns))
            break;
    bool quiet = atomic_load(&h->running) == 0;
    mutex_unlock(&h->quiet_lock);
    return quiet;
}

/* Handlers that run are waited for: they use the request. What is being sent is cut off. */
void http_stop(struct http *h)
{
    atomic_store(&h->draining, true);
    atomic_store(&h->stopping, true);
    net_stop(h->net);
    work_stop(h->work);
    follow_free(h->follow);
    h->follow = NULL;
    pool_stop(&h->guards);
    pool_stop(&h->pool);
    timers_stop(&h->timers);
    release(h);
}
