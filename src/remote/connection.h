/*
 * One connection to a server's Unix socket, speaking HTTP/1.1: a request is sent, then its answer is
 * received. Keep-alive; answers with Content-Length or in chunks.
 *
 * One thread at a time. Nothing here waits for longer than the server takes, except that the
 * beginning of an answer may be waited for until a time, or until a descriptor becomes readable:
 * then the answer is still to come, and is received by a later call.
 */
#ifndef BECK_REMOTE_CONNECTION_H
#define BECK_REMOTE_CONNECTION_H

#include "base/bytes.h"
#include "base/error.h"

#define CONNECTION_CURSOR_MAX (256u << 10)

struct connection;

struct request {
    const char *method;
    const char *target;       /* path and query, percent-encoded */
    const char *content_type; /* NULL: application/json */
    const char *accept;       /* NULL: anything */
    beck_bytes body;
};

struct response {
    int status;
    bool last;         /* the server ends the connection behind it */
    struct buf body;   /* its ceiling is the caller's */
    struct buf cursor; /* the header Beck-Cursor */
};

void response_init(struct response *a, size_t body_max);
void response_release(struct response *a);

/* BECK_ENOENT: no server listens there. */
beck_status connection_open(const char *path, struct connection **out, beck_error *err);
void connection_close(struct connection *c); /* NULL is allowed */
/* Whether the server has not ended it meanwhile, and sent nothing that was not asked for. */
bool connection_is_alive(const struct connection *c);

/* BECK_EIO: the connection is of no use any more. *untouched (may be NULL): nothing of the request
 * can have reached the server. */
beck_status connection_send(struct connection *c, const struct request *q, bool *untouched,
                            beck_error *err);
/* Into `a`, whose buffers are cleared. wake_fd: -1, or what ends the waiting with BECK_ECLOSED when
 * it becomes readable; until_ns: on the monotonic clock, INT64_MAX: for ever; BECK_ETIMEDOUT. Both
 * leave the answer to be received later. BECK_ELIMIT: the body is larger than its buffer may be; the
 * connection is of no use any more, as after BECK_EIO and BECK_ENOMEM. */
beck_status connection_receive(struct connection *c, struct response *a, int wake_fd,
                               int64_t until_ns, beck_error *err);

#endif
