/* AMQP as a part of the server: see amqp_service.h. */
#include "server/amqp_service.h"

#include "api/handle.h"
#include "base/error.h"

static void log_connection(void *ctx, enum amqp_log level, const char *what, const char *connection,
                           const char *user, const char *detail)
{
    static const enum log_level levels[] = {LEVEL_DEBUG, LEVEL_INFO, LEVEL_WARN};
    struct amqp_service *a = ctx;
    LOG(a->log, levels[level], what, LOG_TEXT("connection", connection), LOG_TEXT("user", user),
        LOG_TEXT("detail", detail));
}

bool amqp_service_is_wanted(const struct settings *s)
{
    return s->amqp_listen.count > 0 || s->amqp_tls_listen.count > 0 ||
           s->management_listen.count > 0 || s->management_tls_listen.count > 0;
}

beck_status amqp_service_open(struct amqp_service *a, const struct settings *s, beck *b,
                              struct access *access, struct log *log, beck_error *err)
{
    struct amqp_settings settings = s->amqp;
    settings.heartbeat_s = s->amqp_heartbeat_ms / 1000;
    settings.heartbeat_s = settings.heartbeat_s ? settings.heartbeat_s : UINT32_MAX;
    settings.message_max = s->broker.message_max;
    a->log = log;
    a->metrics = b->env.metrics;
    beck_status status = broker_open(b, &s->broker, &a->broker, err);
    if (status) {
        return status;
    }
    struct amqp_context context = {.broker = a->broker,
                                   .access = access,
                                   .metrics = a->metrics,
                                   .log = log_connection,
                                   .log_ctx = a};
    return amqp_new(&settings, &context, &a->amqp, err);
}

static beck_status listen_on(struct amqp_service *a, const struct settings *s, const char *row,
                             const struct texts *addresses, bool tls, beck_error *err)
{
    bool lenient = settings_source(s, row)->origin == ORIGIN_DEFAULT;
    for (size_t i = 0; i < addresses->count; i++) {
        beck_error why;
        beck_status status = listen_tcp(&a->sockets, addresses->at[i], tls, lenient, &why);
        if (status) {
            return error_set(err, status, "%s (%s; empty: no AMQP there)", why.text, row);
        }
    }
    return BECK_OK;
}

beck_status amqp_service_listen(struct amqp_service *a, const struct settings *s, beck_error *err)
{
    beck_status status = listen_on(a, s, "amqp.listen", &s->amqp_listen, false, err);
    return status ? status : listen_on(a, s, "amqp.tls_listen", &s->amqp_tls_listen, true, err);
}

beck_status amqp_service_start(struct amqp_service *a, const struct settings *s, beck_error *err)
{
    struct net_listener listeners[LISTEN_ADDRESSES_MAX];
    struct net_settings settings = {.loops = s->amqp_threads,
                                    .connections_max = s->amqp_connections_max,
                                    .connections_per_address_max =
                                        s->amqp_connections_per_address_max,
                                    .metrics = a->metrics};
    beck_status status = BECK_OK;
    if (a->sockets.count == 0) {
        return BECK_OK;
    }
    if (s->amqp_tls_listen.count > 0) {
        status = net_tls_new(s->amqp_tls_certificate, s->amqp_tls_key, &a->tls, err);
    }
    for (size_t i = 0; i < a->sockets.count && !status; i++) {
        const struct listen_socket *at = &a->sockets.at[i];
        status =
            amqp_listener(a->amqp, at->fd, at->text, at->tls ? a->tls : NULL, &listeners[i], err);
    }
    if (status) {
        return status;
    }
    a->listening = true;
    return net_start(&settings, listeners, a->sockets.count, &a->net, err);
}

beck_status amqp_service_reload(struct amqp_service *a, beck_error *err)
{
    return a->tls ? net_tls_reload(a->tls, err) : BECK_OK;
}

bool amqp_service_drain(struct amqp_service *a, int64_t until_ns)
{
    return !a->net || net_drain(a->net, until_ns);
}

void amqp_service_stop(struct amqp_service *a)
{
    net_stop(a->net);
    a->net = NULL;
}

void amqp_service_close(struct amqp_service *a)
{
    amqp_service_stop(a);
    amqp_free(a->amqp);
    net_tls_free(a->tls);
    if (!a->listening) {
        listen_close(&a->sockets);
    }
    broker_close(a->broker);
}
