/*
 * Kafka's protocol: connections of src/net, over src/kafka.
 *
 * A connection lives on its loop. Its requests are started in the order in which they came and answered
 * in that order; see request.h for those that answer them. Everything is bounded: see the settings, and
 * the constants in wire_impl.h.
 *
 * Order of life: the net is started with listeners of a kafka_wire and stopped before it is freed; the
 * kafka, the handle, the access and the metrics outlive it.
 */
#ifndef BECK_WIRE_KAFKA_KAFKA_WIRE_H
#define BECK_WIRE_KAFKA_KAFKA_WIRE_H

#include "access/access.h"
#include "base/metrics.h"
#include "kafka/kafka.h"
#include "net/net.h"

struct kafka_wire;

struct kafka_wire_settings {     /* zero means the default */
    uint32_t request_max;        /* bytes of a request; default 100 MiB */
    uint64_t requests_max;       /* bytes of all requests, from the first byte of a large one to the
                                      last of its answer; then others wait; default 256 MiB; a part
                                      is kept for small ones, see memory.h */
    uint32_t receive_timeout_ms; /* for a request of more than 64 KiB, and a second more for each
                                      MiB; a sixteenth of that while others wait; default 30,000 */
    uint32_t handshake_timeout_ms; /* for the first request, or the login; default 10,000 */
    uint32_t idle_timeout_ms;      /* default 600,000 */
    uint32_t pool_threads;         /* default 4 */
};

enum kafka_log { KAFKA_LOG_DEBUG, KAFKA_LOG_INFO, KAFKA_LOG_WARN };

struct kafka_wire_context {
    beck *engine;
    struct kafka *kafka;
    struct access *access;
    struct metrics *metrics;
    /* Any thread. `connection`: the peer and where it came in; `user`, `detail` may be "". May be
     * NULL. */
    void (*log)(void *ctx, enum kafka_log level, const char *what, const char *connection,
                const char *user, const char *detail);
    void *log_ctx;
};

beck_status kafka_wire_new(const struct kafka_wire_settings *settings,
                           const struct kafka_wire_context *context, struct kafka_wire **out,
                           beck_error *err);
/* After the net that served it; NULL allowed. */
void kafka_wire_free(struct kafka_wire *w);

/* What clients that came in by a listener are told to connect to. An empty host: the address by which
 * they came. */
struct kafka_endpoint {
    const char *host;
    uint16_t port;
};

/* A listener of that socket, whose address is `text` ("127.0.0.1:9092"); what is not set here may be
 * by the caller. BECK_ENOMEM. */
beck_status kafka_wire_listener(struct kafka_wire *w, int fd, const char *text, struct net_tls *tls,
                                const struct kafka_endpoint *advertised, struct net_listener *out,
                                beck_error *err);

#endif
