/*
 * RabbitMQ's management API as a part of the server: its sockets, which the HTTP server listens on beside its own.
 */
#ifndef BECK_SERVER_MANAGEMENT_SERVICE_H
#define BECK_SERVER_MANAGEMENT_SERVICE_H

#include "server/amqp_service.h"
#include "wire/management/management.h"

struct management_service {
    struct management *management; /* NULL: it is not served */
    struct listen_sockets sockets;
};

bool management_service_is_wanted(const struct settings *s);
/* Binds the sockets: those of AMQP are bound already. A default that somebody else has is left out, with a warning. */
beck_status management_service_open(struct management_service *m, const struct settings *s, beck *b,
                                    struct access *access, const struct amqp_service *amqp,
                                    struct log *log, beck_error *err);
/* Appends to what HTTP listens on. */
void management_service_add(const struct management_service *m, struct http_listener *listeners,
                            size_t *count);
/* After the HTTP server, before AMQP. */
void management_service_close(struct management_service *m);

#endif
