/*
 * RabbitMQ's management API over HTTP (port 15672, prefix /api): what rabbitmqadmin, Celery Flower, Terraform's
 * providers and the tests of clients ask for. It is a site of the HTTP server (wire/http/http.h) over the
 * broker (broker/listing.h), the users (access/access.h) and the connections (wire/amqp/amqp.h).
 *
 * Answers have the members that RabbitMQ's have, as far as there is something to say; errors are
 * {"error":...,"reason":...}. What there is and what differs: docs/management.md.
 */
#ifndef BECK_WIRE_MANAGEMENT_MANAGEMENT_H
#define BECK_WIRE_MANAGEMENT_MANAGEMENT_H

#include "broker/broker.h"
#include "wire/amqp/amqp.h"
#include "wire/http/http.h"

struct management;

struct management_listener {
    const char *protocol; /* "amqp", "amqp/ssl", "http", "https" */
    const char *address;  /* "127.0.0.1:5672", "[::1]:5672" */
};

/* All of it outlives the management; nothing is copied but the list of listeners. */
struct management_context {
    beck *b;
    struct broker *broker;
    struct access *access;
    struct amqp *amqp; /* NULL: no connections */
    const struct management_listener *listeners;
    size_t listener_count;
    int64_t memory_limit, disk_free_limit; /* of the alarms; bytes */
    const char *rabbitmq_version;          /* what tools are told: "4.1.0" */
    const char *product_version;           /* beck's own */
};

beck_status management_new(const struct management_context *context, struct management **out,
                           beck_error *err);
/* After the http that served it; NULL allowed. */
void management_free(struct management *m);
/* For http_listener.site; lives as long as the management. */
const struct http_site *management_site(const struct management *m);

#endif
