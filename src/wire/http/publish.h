/* Bodies of requests that publish, as events. */
#ifndef BECK_WIRE_HTTP_PUBLISH_H
#define BECK_WIRE_HTTP_PUBLISH_H

#include "base/bytes.h"

/* How events come over HTTP (CloudEvents 1.0 HTTP binding, section 3). */
enum publish_form {
    PUBLISH_NONE,   /* not understood */
    PUBLISH_BINARY, /* attributes in ce-* headers; the body is the data */
    PUBLISH_JSON,   /* one CloudEvent or plain envelope */
    PUBLISH_BATCH,  /* an array of them */
    PUBLISH_EITHER, /* application/json: one of them, or an array */
    PUBLISH_LINES   /* one a line */
};

/* content_type may be NULL. binary: there is a header ce-type or ce-specversion. */
enum publish_form publish_form_of(const char *content_type, bool binary);

/* The events of one body, with what they refer to. */
struct publish_events {
    const beck_event *events;
    size_t count;
    beck_event *list; /* PUBLISH_LINES */
    beck_document **documents;
    size_t document_count;
};

/* All forms but PUBLISH_BINARY. The events borrow nothing from the body. */
beck_status publish_read_json(enum publish_form form, beck_bytes body, struct publish_events *out,
                              beck_error *err);
void publish_events_release(struct publish_events *p);

#endif
