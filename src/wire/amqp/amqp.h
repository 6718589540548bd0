/*
 * AMQP 0-9-1 for clients of RabbitMQ: connections of src/net, over the broker.
 *
 * A connection lives on its loop. What may wait (declaring, consuming, closing, passwords) runs on a
 * small pool while the connection is not read, so answers come in order. Everything is bounded: see the
 * settings, and the constants in amqp_impl.h.
 *
 * Order of life: the net is started with listeners of an amqp and stopped before it is freed; the broker,
 * the access and the metrics outlive it.
 */
#ifndef BECK_WIRE_AMQP_AMQP_H
#define BECK_WIRE_AMQP_AMQP_H

#include "access/access.h"
#include "base/metrics.h"
#include "broker/broker.h"
#include "net/net.h"

struct amqp;
struct amqp_place; /* where is listened */

struct amqp_settings {             /* zero means the default, unless said otherwise */
    const char *product, *version; /* what clients are told; "RabbitMQ", "4.1.0" */
    uint32_t channel_max;          /* of a connection; default 2047 */
    uint32_t frame_max;            /* bytes; default 131,072, at least 4,096 */
    uint32_t heartbeat_s;          /* what is proposed; UINT32_MAX: none; default 60 */
    uint32_t handshake_timeout_ms; /* default 10,000 */
    uint32_t message_max;          /* bytes of a body; default 16 MiB */
    uint64_t bodies_max;           /* of all messages that are not whole, of transactions and of the
                                      arguments of consumers; default 256 MiB */
    uint32_t unacked_max;          /* deliveries of a connection that are not answered; then it is
                                      delivered no more; default 2,097,152 */
    uint32_t consumer_timeout_ms;  /* for the answer to a delivery, unless consumer or queue say
                                      otherwise; UINT32_MAX: none; default 1,800,000 */
    uint32_t pool_threads;         /* default 4 */
    /* Of whoever listens: authorities that sign certificates of clients, NULL or "": none; whether clients must
     * have one. */
    const char *tls_authorities;
    bool tls_required;
    /* Of whoever sets the alarms: */
    int64_t memory_high_watermark; /* bytes of the process; default 60 % of the machine's */
    int64_t disk_free_limit;       /* bytes; default 50 MB */
};

enum amqp_log { AMQP_LOG_INFO, AMQP_LOG_WARN };

struct amqp_context {
    struct broker *broker;
    struct access *access;
    struct metrics *metrics;
    /* Any thread. `connection` is its name; `detail` may be "". May be NULL. */
    void (*log)(void *ctx, enum amqp_log level, const char *what, const char *connection,
                const char *user, const char *detail);
    void *log_ctx;
};

beck_status amqp_new(const struct amqp_settings *settings, const struct amqp_context *context,
                     struct amqp **out, beck_error *err);
/* After the net that served it; NULL allowed. */
void amqp_free(struct amqp *a);
/* A listener of that socket, whose address is `text` ("127.0.0.1:5672"); what is not set here may be by
 * the caller. BECK_ENOMEM. */
beck_status amqp_listener(struct amqp *a, int fd, const char *text, struct net_tls *tls,
                          struct net_listener *out, beck_error *err);

/* Reasons for which clients that publish wait. */
enum amqp_alarm { AMQP_ALARM_MEMORY = 1, AMQP_ALARM_DISK = 2 };
/* Any thread: which stand from now on. A connection that publishes meanwhile is sent connection.blocked, and
 * is read again once there are none. */
void amqp_set_alarms(struct amqp *a, uint32_t alarms);
uint32_t amqp_alarms(const struct amqp *a);

/* ---- for management; any thread ---- */

struct amqp_consumer_info {
    beck_bytes tag, queue;
    bool no_ack, exclusive;
    uint32_t prefetch;
    beck_bytes arguments; /* a table */
};

/* What is counted of a channel: as of queues, and what it publishes. */
enum channel_count {
    COUNT_PUBLISH = QUEUE_COUNTS,
    COUNT_CONFIRM,
    COUNT_RETURN_UNROUTABLE,
    CHANNEL_COUNTS
};

struct amqp_channel_info {
    uint16_t number;
    bool confirm, transactional;
    uint32_t prefetch, global_prefetch; /* 0: no limit */
    uint32_t unacked, unconfirmed;
    uint32_t uncommitted, acks_uncommitted; /* of a transaction */
    const struct amqp_consumer_info *consumers;
    size_t consumer_count;
    uint64_t counts[CHANNEL_COUNTS];
    bool blocked; /* it waits until what was published is stored */
};

struct amqp_connection_info {
    const char *name; /* "127.0.0.1:41734 -> 127.0.0.1:5672" */
    const char *user, *vhost, *mechanism;
    const char *state; /* "starting", "running", "blocked", "closing" */
    const struct net_peer *peer;
    const char *listener;         /* "127.0.0.1:5672" */
    beck_bytes client_properties; /* a table */
    uint32_t channel_max, frame_max, heartbeat_s;
    int64_t connected_ms;                     /* since 1970 */
    uint64_t id;                              /* as session_options.connection */
    uint64_t received, sent;                  /* bytes of frames */
    const struct amqp_channel_info *channels; /* in order of their numbers */
    size_t channel_count;
};

/* In order of their coming; those that come or go meanwhile may be missing. What `each` is given is valid during the call, which must be short, and must
 * not call anything of the amqp. False ends the walk. */
void amqp_each_connection(struct amqp *a,
                          bool (*each)(void *ctx, const struct amqp_connection_info *c), void *ctx);
/* connection.close 320 "CONNECTION_FORCED - <reason>", as an operator. False: there is none of that name. */
bool amqp_close_connection(struct amqp *a, const char *name, const char *reason);
/* All of a user (NULL: of anybody) in a virtual host (NULL: in any). How many. */
size_t amqp_close_connections(struct amqp *a, const char *user, const char *vhost,
                              const char *reason);

#endif
