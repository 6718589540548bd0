/* Kafka's protocol as a part of the server: see kafka_service.h. */
#include "server/kafka_service.h"

#include "api/handle.h"
#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>

#define INPUT_SMALL (256u << 10) /* of a connection without a large request, at most */

static void log_connection(void *ctx, enum kafka_log level, const char *what,
                           const char *connection, const char *user, const char *detail)
{
    static const enum log_level levels[] = {LEVEL_DEBUG, LEVEL_INFO, LEVEL_WARN};
    struct kafka_service *k = ctx;
    LOG(k->log, levels[level], what, LOG_TEXT("connection", connection), LOG_TEXT("user", user),
        LOG_TEXT("detail", detail));
}

bool kafka_service_is_wanted(const struct settings *s)
{
    return s->kafka_listen.count > 0 || s->kafka_tls_listen.count > 0;
}

beck_status kafka_service_endpoint(const char *text, char host[KAFKA_HOST_MAX], uint16_t *port,
                                   beck_error *err)
{
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    uint64_t number = 0;
    bool legal = len > 0 && len < KAFKA_HOST_MAX && bytes_to_u64(beck_str(colon + 1), &number) &&
                 number >= 1 && number <= UINT16_MAX;
    if (legal && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    if (!legal || len == 0) {
        return error_set(err, BECK_EINVAL, "'%.200s' is no host and port: HOST:PORT", text);
    }
    memcpy(host, text, len);
    host[len] = 0;
    *port = (uint16_t)number;
    return BECK_OK;
}

static beck_level level_of(int choice)
{
    return (beck_level)(BECK_LEVEL_WRITTEN + choice);
}

beck_status kafka_service_open(struct kafka_service *k, const struct settings *s, beck *b,
                               struct access *access, struct log *log, beck_error *err)
{
    struct kafka_settings settings = s->kafka;
    settings.node_id = (int32_t)s->kafka_node_id;
    settings.group_initial_rebalance_delay_ms = (int32_t)s->kafka_rebalance_delay_ms;
    settings.acks_one = level_of(s->kafka_acks_one);
    settings.acks_all = level_of(s->kafka_acks_all);
    k->log = log;
    k->metrics = b->env.metrics;
    beck_status status = kafka_open(b, &settings, &k->kafka, err);
    if (status) {
        return status;
    }
    struct kafka_wire_context context = {.engine = b,
                                         .kafka = k->kafka,
                                         .access = access,
                                         .metrics = k->metrics,
                                         .log = log_connection,
                                         .log_ctx = k};
    return kafka_wire_new(&s->kafka_wire, &context, &k->wire, err);
}

/* What the setting's address number `which` is told as, to all sockets that it stands for. */
static beck_status advertise(struct kafka_service *k, const struct settings *s, size_t which,
                             size_t first, beck_error *err)
{
    char host[KAFKA_HOST_MAX] = "";
    for (size_t i = first; i < k->sockets.count; i++) {
        const char *bound = strrchr(k->sockets.at[i].text, ':');
        uint16_t port = (uint16_t)(bound ? strtoul(bound + 1, NULL, 10) : 0);
        if (which < s->kafka_advertised.count) {
            beck_status status =
                kafka_service_endpoint(s->kafka_advertised.at[which], host, &port, err);
            if (status) {
                return status;
            }
        }
        char *copy = strdup(host);
        if (!copy) {
            return error_set(err, BECK_ENOMEM, "no memory for Kafka's listeners");
        }
        k->advertised[i] = (struct kafka_endpoint){copy, port};
    }
    return BECK_OK;
}

static beck_status listen_on(struct kafka_service *k, const struct settings *s, const char *row,
                             const struct texts *addresses, bool tls, size_t which, beck_error *err)
{
    bool lenient = settings_source(s, row)->origin == ORIGIN_DEFAULT;
    for (size_t i = 0; i < addresses->count; i++) {
        size_t first = k->sockets.count;
        beck_error why;
        beck_status status = listen_tcp(&k->sockets, addresses->at[i], tls, lenient, &why);
        if (status) {
            return error_set(err, status, "%s (%s; empty: no Kafka there)", why.text, row);
        }
        status = advertise(k, s, which + i, first, err);
        if (status) {
            return status;
        }
    }
    return BECK_OK;
}

beck_status kafka_service_listen(struct kafka_service *k, const struct settings *s, beck_error *err)
{
    beck_status status = listen_on(k, s, "kafka.listen", &s->kafka_listen, false, 0, err);
    return status ? status
                  : listen_on(k, s, "kafka.tls_listen", &s->kafka_tls_listen, true,
                              s->kafka_listen.count, err);
}

/* Kafka's protocol reads what it has memory for; this is never reached. Input grows by doubling. */
static uint64_t inputs_max(const struct settings *s)
{
    return 2 * s->kafka_wire.requests_max + (uint64_t)s->kafka_connections_max * INPUT_SMALL;
}

beck_status kafka_service_start(struct kafka_service *k, const struct settings *s, beck_error *err)
{
    struct net_listener listeners[LISTEN_ADDRESSES_MAX];
    struct net_settings settings = {.loops = s->kafka_threads,
                                    .connections_max = s->kafka_connections_max,
                                    .connections_per_address_max =
                                        s->kafka_connections_per_address_max,
                                    .inputs_max = inputs_max(s),
                                    .metrics = k->metrics};
    beck_status status = BECK_OK;
    if (k->sockets.count == 0) {
        return BECK_OK;
    }
    if (s->kafka_tls_listen.count > 0) {
        status = net_tls_new(s->kafka_tls_certificate, s->kafka_tls_key, &k->tls, err);
    }
    for (size_t i = 0; i < k->sockets.count && !status; i++) {
        const struct listen_socket *at = &k->sockets.at[i];
        status = kafka_wire_listener(k->wire, at->fd, at->text, at->tls ? k->tls : NULL,
                                     &k->advertised[i], &listeners[i], err);
    }
    if (status) {
        return status;
    }
    k->listening = true;
    return net_start(&settings, listeners, k->sockets.count, &k->net, err);
}

beck_status kafka_service_reload(struct kafka_service *k, beck_error *err)
{
    return k->tls ? net_tls_reload(k->tls, err) : BECK_OK;
}

bool kafka_service_drain(struct kafka_service *k, int64_t until_ns)
{
    return !k->net || net_drain(k->net, until_ns);
}

void kafka_service_stop(struct kafka_service *k)
{
    net_stop(k->net);
    k->net = NULL;
}

void kafka_service_close(struct kafka_service *k)
{
    kafka_service_stop(k);
    kafka_wire_free(k->wire);
    net_tls_free(k->tls);
    for (size_t i = 0; i < k->sockets.count; i++) {
        free((char *)k->advertised[i].host);
    }
    if (!k->listening) {
        listen_close(&k->sockets);
    }
    kafka_close(k->kafka);
}
