/* An answer, and what was read from it by a shape (event/shape.h): texts and lists live as long as
 * the reading. */
#ifndef BECK_REMOTE_REPLY_H
#define BECK_REMOTE_REPLY_H

#include "event/api_shape.h"
#include "remote/connection.h"

struct piece;

struct reply {
    struct response response;
    struct piece *pieces;
};

void reply_init(struct reply *g);
void reply_release(struct reply *g);
/* The answer's body. BECK_EIO: it is not what the server should say. */
beck_status reply_read(struct reply *g, const struct shape *s, void *out, beck_error *err);
/* A copy of the bytes, NUL-terminated; NULL: no memory. */
const char *reply_text(struct reply *g, beck_bytes text);

#endif
