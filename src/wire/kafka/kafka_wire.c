/* The protocol as a whole: its settings, its pools, where it is listened. */
#include "wire/kafka/wire_impl.h"

#include "base/error.h"
#include "wire/kafka/fetch_session.h"

#include <stdlib.h>

#define LOGINS_MAX 2 /* at a time: as many passwords as access hashes at once */
#define INPUT_SLACK 4096

const struct api *api_find(int16_t key)
{
    size_t low = 0, high = kafka_api_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (kafka_apis[middle].key == key)
            return &kafka_apis[middle];
        if (kafka_apis[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static void apply_settings(struct kafka_wire *w, const struct kafka_wire_settings *s)
{
    w->settings = *s;
    if (!s->request_max)
        w->settings.request_max = 100 << 20;
    if (!s->requests_max)
        w->settings.requests_max = 256 << 20;
    if (!s->receive_timeout_ms)
        w->settings.receive_timeout_ms = 30000;
    if (!s->handshake_timeout_ms)
        w->settings.handshake_timeout_ms = 10000;
    if (!s->idle_timeout_ms)
        w->settings.idle_timeout_ms = 600000;
    if (!s->pool_threads)
        w->settings.pool_threads = 4;
}

void kafka_wire_count(struct kafka_wire *w, const struct api *api)
{
    _Atomic(struct counter *) *at = &w->requests[api - kafka_apis];
    struct counter *c = atomic_load_explicit(at, memory_order_acquire);
    if (!c) {
        c = metric_counter(w->by_api, (beck_bytes[]){beck_str(api->name)});
        atomic_store_explicit(at, c, memory_order_release);
    }
    counter_add(c, 1);
}

static void make_metrics(struct kafka_wire *w)
{
    struct metrics *m = w->context.metrics;
    static const char *const by_api[] = {"api", NULL};
    w->by_api =
        metrics_counter(m, "beck_kafka_requests_total",
                        "Requests on Kafka connections, by their kind.", by_api, API_KEYS_MAX);
    w->refused = metric_counter(
        metrics_counter(m, "beck_kafka_connections_refused_total",
                        "Kafka connections that were closed for what came on them.", NULL, 1),
        NULL);
}

beck_status kafka_wire_new(const struct kafka_wire_settings *settings,
                           const struct kafka_wire_context *context, struct kafka_wire **out,
                           beck_error *err)
{
    struct kafka_wire *w = calloc(1, sizeof *w);
    if (!w)
        return error_set(err, BECK_ENOMEM, "no memory for Kafka's protocol");
    w->context = *context;
    w->fetch_sessions = fetch_sessions_new();
    if (!w->fetch_sessions) {
        free(w);
        return error_set(err, BECK_ENOMEM, "no memory for Kafka's protocol");
    }
    apply_settings(w, settings);
    beck_status status = pool_start(&w->pool, w->settings.pool_threads, err);
    if (status) {
        fetch_sessions_free(w->fetch_sessions);
        free(w);
        return status;
    }
    status = pool_start(&w->logins, LOGINS_MAX, err);
    if (status) {
        pool_stop(&w->pool);
        fetch_sessions_free(w->fetch_sessions);
        free(w);
        return status;
    }
    mutex_init(&w->acls_lock);
    mutex_init(&w->large_lock);
    cond_init(&w->large_ended);
    memory_init(&w->memory, w->settings.requests_max);
    make_metrics(w);
    *out = w;
    return BECK_OK;
}

void kafka_wire_free(struct kafka_wire *w)
{
    if (!w)
        return;
    pool_stop(&w->logins);
    pool_stop(&w->pool);
    while (w->places) {
        struct kafka_place *p = w->places;
        w->places = p->next;
        free(p->text);
        free(p->host);
        free(p);
    }
    fetch_sessions_free(w->fetch_sessions);
    mutex_release(&w->acls_lock);
    cond_release(&w->large_ended);
    mutex_release(&w->large_lock);
    memory_release(&w->memory);
    free(w);
}

beck_status kafka_wire_listener(struct kafka_wire *w, int fd, const char *text, struct net_tls *tls,
                                const struct kafka_endpoint *advertised, struct net_listener *out,
                                beck_error *err)
{
    struct kafka_place *p = calloc(1, sizeof *p);
    if (p) {
        p->text = strdup(text);
        p->host = strdup(advertised->host);
    }
    if (!p || !p->text || !p->host) {
        if (p) {
            free(p->text);
            free(p->host);
        }
        free(p);
        return error_set(err, BECK_ENOMEM, "no memory for Kafka's protocol");
    }
    p->next = w->places;
    p->wire = w;
    p->advertised = (struct kafka_endpoint){p->host, advertised->port};
    w->places = p;
    *out = (struct net_listener){.fd = fd,
                                 .tls = tls,
                                 .protocol = &kafka_protocol,
                                 .ctx = p,
                                 .handshake_timeout_ms = w->settings.handshake_timeout_ms,
                                 .idle_timeout_ms = w->settings.idle_timeout_ms,
                                 .input_max = w->settings.request_max + INPUT_SLACK};
    return BECK_OK;
}
