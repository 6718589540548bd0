/*
 * AMQP as a part of the server: the broker, the protocol over it, and the network for its connections.
 */
#ifndef BECK_SERVER_AMQP_SERVICE_H
#define BECK_SERVER_AMQP_SERVICE_H

#include "server/listen.h"
#include "server/log.h"
#include "server/settings.h"

struct amqp_alarms;

struct amqp_service {
    struct log *log;
    struct broker *broker;
    struct amqp *amqp;
    struct net *net; /* NULL: nothing is listened on */
    struct net_tls *tls;
    struct amqp_alarms *alarms;
    int64_t memory_limit, disk_free_limit; /* of the alarms; bytes */
    const char *data_dir;                  /* NULL: in memory only */
    struct metrics *metrics;
    struct listen_sockets sockets;
    bool listening; /* the net has closed them, or will */
};

/* Whether the settings ask for anything of it. */
bool amqp_service_is_wanted(const struct settings *s);
/* (may wait) The broker and the protocol; nobody connects yet. What was opened before an error is closed by
 * amqp_service_close. */
beck_status amqp_service_open(struct amqp_service *a, const struct settings *s, beck *b,
                              struct access *access, struct log *log, beck_error *err);
/* Binds the sockets, and lets clients in. */
beck_status amqp_service_listen(struct amqp_service *a, const struct settings *s, beck_error *err);
beck_status amqp_service_start(struct amqp_service *a, const struct settings *s, beck_error *err);
/* Certificate and key are read again. */
beck_status amqp_service_reload(struct amqp_service *a, beck_error *err);
/* Clients are told to go; whether all did until then. May be called again. */
bool amqp_service_drain(struct amqp_service *a, int64_t until_ns);
/* Ends all connections; then, once nobody uses them any more, the rest. */
void amqp_service_stop(struct amqp_service *a);
void amqp_service_close(struct amqp_service *a);

#endif
