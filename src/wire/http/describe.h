/* Documents that describe the API, put together piece by piece; the first failure is kept. */
#ifndef BECK_WIRE_HTTP_DESCRIBE_H
#define BECK_WIRE_HTTP_DESCRIBE_H

#include "wire/http/document.h"

struct description {
    struct buf out;
    beck_status status;
};

void describe_begin(struct description *d);
void describe_put(struct description *d, const char *json);
void describe_format(struct description *d, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void describe_text(struct description *d, beck_bytes text); /* as a JSON string */
void describe_shape(struct description *d, const struct shape *s, const char *refs);
/* Sends it, or what failed; frees. */
void describe_answer(struct description *d, struct http_request *r);

/* GET /asyncapi.json */
void describe_asyncapi(struct http_request *r);

#endif
