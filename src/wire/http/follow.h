/* GET of events: pages, and server-sent events. */
#ifndef BECK_WIRE_HTTP_FOLLOW_H
#define BECK_WIRE_HTTP_FOLLOW_H

#include "wire/http/http.h"
#include "wire/http/reading.h"

/* What both are asked for. */
struct events_query {
    struct reading_options options; /* points into the request */
    bool positions;
};

/* Answers with one page, now or when something came. On the pool. */
void page_answer(struct http_request *r, beck_bus *bus, const struct events_query *q);
/* Answers with a stream. On the pool. */
void follow_answer(struct http_request *r, beck_bus *bus, const struct events_query *q);

struct follow_hub;
struct http;
struct follow_hub *follow_new(struct http *h); /* NULL: no memory */
void follow_free(struct follow_hub *hub);      /* nobody follows any more; NULL allowed */

/* One event as both write it. */
beck_status follow_write(const beck_event *e, bool positions, struct buf *out, beck_error *err);

#endif
