/*
 * Kafka's protocol as a part of the server: topics and groups, the protocol over them, and the network
 * for its connections.
 */
#ifndef BECK_SERVER_KAFKA_SERVICE_H
#define BECK_SERVER_KAFKA_SERVICE_H

#include "server/listen.h"
#include "server/log.h"
#include "server/settings.h"

struct kafka_service {
    struct log *log;
    struct kafka *kafka;
    struct kafka_wire *wire;
    struct net *net; /* NULL: nothing is listened on */
    struct net_tls *tls;
    struct metrics *metrics;
    struct listen_sockets sockets;
    struct kafka_endpoint
        advertised[LISTEN_ADDRESSES_MAX]; /* one a socket; host "": as they came */
    bool listening;                       /* the net has closed them, or will */
};

/* Whether the settings ask for anything of it. */
bool kafka_service_is_wanted(const struct settings *s);
/* "broker.example:9092", "[::1]:9092"; the host is written into `host`. BECK_EINVAL. */
#define KAFKA_HOST_MAX 256
beck_status kafka_service_endpoint(const char *text, char host[KAFKA_HOST_MAX], uint16_t *port,
                                   beck_error *err);
/* (may wait) What topics and groups need, and the protocol; nobody connects yet. What was opened before
 * an error is closed by kafka_service_close. */
beck_status kafka_service_open(struct kafka_service *k, const struct settings *s, beck *b,
                               struct access *access, struct log *log, beck_error *err);
/* Binds the sockets, and lets clients in. */
beck_status kafka_service_listen(struct kafka_service *k, const struct settings *s,
                                 beck_error *err);
beck_status kafka_service_start(struct kafka_service *k, const struct settings *s, beck_error *err);
/* Certificate and key are read again. */
beck_status kafka_service_reload(struct kafka_service *k, beck_error *err);
/* What waits is answered; whether all connections ended until then. May be called again. */
bool kafka_service_drain(struct kafka_service *k, int64_t until_ns);
/* Ends all connections; then, once nobody uses them any more, the rest. */
void kafka_service_stop(struct kafka_service *k);
void kafka_service_close(struct kafka_service *k);

#endif
