/*
 * Publishes of several connections in one turn of a network thread become one append: so that many
 * clients who each publish one event share a write. Only where it saves something: a thread that had
 * few of them in its last turn goes on publishing each at once.
 */
#ifndef BECK_WIRE_HTTP_GATHER_H
#define BECK_WIRE_HTTP_GATHER_H

#include "wire/http/http.h"

struct gathers;
struct net_loop;

struct gathers *gathers_new(uint32_t threads); /* NULL: no memory */
void gathers_free(struct gathers *g);          /* no thread uses it; NULL allowed */

/* One event, in the end of the request that it came with. */
struct gathered {
    struct http_request *request;
    const beck_event *event; /* what it points to stays until `done` */
    void (*done)(void *ctx, beck_status status, const beck_published *published,
                 const beck_error *err);
    void *ctx;
};
/* For level written. From the handler of the request, on its network thread. False: it is to be
 * published at once. True: `done` is called on the same thread, in the same turn; the request was put
 * off (http_later). */
bool gather_publish(struct gathers *g, beck_bus *bus, const struct gathered *what);

#endif
