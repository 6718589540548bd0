/*
 * Starting and ending: MHD's daemons, the threads, and what they share.
 *
 * There is one daemon for plain connections and one for TLS, each with its threads; neither listens:
 * the keeper accepts for all listeners. A connection gets an address of our making, which says
 * through which listener it came (connection.c).
 */
#include "wire/http/follow.h"
#include "wire/http/http_impl.h"

#include "api/handle.h"
#include "base/clock.h"
#include "base/error.h"
#include "wire/http/work.h"

#include <assert.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>

/* GnuTLS would still speak 1.0 and 1.1, which are broken (RFC 8996). */
#define TLS_PRIORITIES "NORMAL:-VERS-TLS1.0:-VERS-TLS1.1"

#define GUARDS 2 /* as many passwords as are hashed at a time */

/* ---- counting ---- */

void http_signal_quiet(struct http *h)
{
    if (!atomic_load(&h->draining))
        return;
    mutex_lock(&h->connections_lock);
    cond_broadcast(&h->quiet);
    mutex_unlock(&h->connections_lock);
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

/* ---- starting ---- */

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
    if (s->body_max == 0)
        s->body_max = 25 << 20;
    if (s->bodies_max == 0)
        s->bodies_max = 256 << 20;
    if (s->stream_buffer_max == 0)
        s->stream_buffer_max = 1 << 20;
}

/* MHD decodes the path and query for itself; we do so from the target as it came. */
static size_t leave_encoded(void *ctx, struct MHD_Connection *mhd, char *text)
{
    (void)ctx;
    (void)mhd;
    return strlen(text);
}

static beck_status start_daemon(struct http *h, bool tls, struct MHD_Daemon **out, beck_error *err)
{
    const struct http_settings *s = &h->settings;
    uint32_t idle_s = (s->idle_timeout_ms + 999) / 1000;
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, s->header_max, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)s->connections_max * s->threads, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, idle_s, NULL},
        {MHD_OPTION_PER_IP_CONNECTION_LIMIT, s->connections_per_address_max, NULL},
        {MHD_OPTION_THREAD_POOL_SIZE, s->threads > 1 ? s->threads : 0, NULL},
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)http_served, h},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)connection_changed, h},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)http_target_read, h},
        {MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)leave_encoded, h},
        {MHD_OPTION_END, 0, NULL},
    };
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME |
                     MHD_USE_NO_LISTEN_SOCKET | (tls ? MHD_USE_TLS : 0);
    if (tls)
        *out = MHD_start_daemon(flags, 0, NULL, NULL, http_serve, h, MHD_OPTION_ARRAY, options,
                                MHD_OPTION_HTTPS_CERT_CALLBACK2, http_tls_callback(),
                                MHD_OPTION_HTTPS_PRIORITIES, TLS_PRIORITIES, MHD_OPTION_END);
    else
        *out = MHD_start_daemon(flags, 0, NULL, NULL, http_serve, h, MHD_OPTION_ARRAY, options,
                                MHD_OPTION_END);
    if (*out)
        return BECK_OK;
    return error_set(err, BECK_EIO, "the HTTP server could not be started%s",
                     tls ? " with TLS" : "");
}

static beck_status start_daemons(struct http *h, beck_error *err)
{
    bool plain = false, secure = false;
    for (size_t i = 0; i < h->listener_count; i++) {
        plain = plain || !h->listeners[i].tls;
        secure = secure || h->listeners[i].tls;
    }
    beck_status status = BECK_OK;
    if (plain)
        status = start_daemon(h, false, &h->plain, err);
    if (!status && secure)
        status = http_tls_new(h->settings.tls_certificate, h->settings.tls_key, &h->tls, err);
    if (!status && secure)
        status = start_daemon(h, true, &h->secure, err);
    return status;
}

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
static bool make_routers(struct http *h)
{
    h->served = calloc(h->listener_count + 1, sizeof *h->served);
    h->listener_served = calloc(h->listener_count + 1, sizeof *h->listener_served);
    if (!h->served || !h->listener_served || !serve_site(h, NULL))
        return false;
    for (size_t i = 0; i < h->listener_count; i++) {
        size_t at = 0;
        while (at < h->served_count && h->served[at].site != h->listeners[i].site)
            at++;
        if (at == h->served_count && !serve_site(h, h->listeners[i].site))
            return false;
        h->listener_served[i] = (uint32_t)at;
    }
    return true;
}

static beck_status make_parts(struct http *h, const struct http_listener *listeners, size_t count,
                              beck_error *err)
{
    static char no_memory[] =
        "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
        "\"detail\":\"no memory for the answer\",\"code\":\"BECK_ENOMEM\"}\n";
    h->listeners = malloc((count + 1) * sizeof *h->listeners);
    h->work = work_new(h);
    h->no_memory =
        MHD_create_response_from_buffer(sizeof no_memory - 1, no_memory, MHD_RESPMEM_PERSISTENT);
    h->follow = follow_new(h);
    if (!h->listeners || !h->work || !h->follow || !h->no_memory)
        return error_set(err, BECK_ENOMEM, "no memory for the HTTP server");
    MHD_add_response_header(h->no_memory, "Content-Type", "application/problem+json");
    memcpy(h->listeners, listeners, count * sizeof *listeners);
    h->listener_count = count;
    if (!make_routers(h))
        return error_set(err, BECK_ENOMEM, "no memory for the routes of HTTP");
    return make_metrics(h, err);
}

static void release(struct http *h)
{
    if (h->no_memory)
        MHD_destroy_response(h->no_memory);
    follow_free(h->follow);
    http_tls_free(h->tls);
    work_free(h->work);
    for (size_t i = 0; i < h->served_count; i++)
        router_free(h->served[i].router);
    free(h->served);
    free(h->listener_served);
    cond_release(&h->quiet);
    mutex_release(&h->connections_lock);
    free(h->metrics);
    free(h->listeners);
    free(h);
}

static void stop_daemons(struct http *h)
{
    if (h->plain)
        MHD_stop_daemon(h->plain);
    if (h->secure)
        MHD_stop_daemon(h->secure);
}

beck_status http_start(const struct http_settings *settings, const struct http_context *context,
                       const struct http_listener *listeners, size_t count, struct http **out,
                       beck_error *err)
{
    struct http *h = calloc(1, sizeof *h);
    int *fds = malloc((count + 1) * sizeof *fds);
    if (!h || !fds) {
        free(h);
        free(fds);
        return error_set(err, BECK_ENOMEM, "no memory for the HTTP server");
    }
    h->settings = *settings;
    set_defaults(&h->settings);
    h->context = *context;
    h->started_ms = clock_wall_ms(clock_system());
    h->sweep.due = connection_sweep_due;
    h->sweep_job.run = connection_sweep;
    mutex_init(&h->connections_lock);
    cond_init(&h->quiet);
    for (size_t i = 0; i < count; i++)
        fds[i] = listeners[i].fd;
    beck_status status = make_parts(h, listeners, count, err);
    bool pool = !status && !(status = pool_start(&h->pool, h->settings.pool_threads, err));
    bool guards = !status && !(status = pool_start(&h->guards, GUARDS, err));
    if (!status)
        status = start_daemons(h, err);
    if (!status)
        status = keeper_start(&h->keeper, fds, count, connection_accepted, h, err);
    free(fds);
    if (status) {
        stop_daemons(h);
        if (guards)
            pool_stop(&h->guards);
        if (pool)
            pool_stop(&h->pool);
        release(h);
        return status;
    }
    *out = h;
    return BECK_OK;
}

beck_status http_reload(struct http *h, beck_error *err)
{
    return h->tls ? http_tls_reload(h->tls, err) : BECK_OK;
}

/* ---- ending ---- */

/* Everybody who waits is told. */
static void end_waits(struct http *h)
{
    mutex_lock(&h->connections_lock);
    for (struct connection *c = h->connections; c; c = c->next) {
        keeper_hasten(&h->keeper, &c->request.timer);
        http_stream_wake(&c->request);
    }
    mutex_unlock(&h->connections_lock);
}

static void begin_drain(struct http *h)
{
    keeper_close(&h->keeper);
    atomic_store(&h->draining, true);
    end_waits(h);
}

bool http_drain(struct http *h, int64_t until_ns)
{
    begin_drain(h);
    mutex_lock(&h->connections_lock);
    while (atomic_load(&h->running) > 0)
        if (!cond_wait_until(&h->quiet, &h->connections_lock, clock_system(), until_ns))
            break;
    bool quiet = atomic_load(&h->running) == 0;
    mutex_unlock(&h->connections_lock);
    return quiet;
}

/* Handlers that run are waited for: they use the request. What is being sent is cut off. */
void http_stop(struct http *h)
{
    begin_drain(h);
    atomic_store(&h->stopping, true);
    mutex_lock(&h->connections_lock);
    for (struct connection *c = h->connections; c; c = c->next)
        shutdown(c->fd, SHUT_RDWR);
    while (atomic_load(&h->running) > 0)
        cond_wait(&h->quiet, &h->connections_lock);
    mutex_unlock(&h->connections_lock);
    keeper_cancel(&h->keeper, &h->sweep);
    stop_daemons(h);
    while (atomic_load(&h->leaving) > 0)
        sched_yield();
    work_stop(h->work);
    follow_free(h->follow);
    h->follow = NULL;
    pool_stop(&h->guards);
    pool_stop(&h->pool);
    keeper_stop(&h->keeper);
    release(h);
}
