/*
 * The client of one server: connections that are used again and again, targets, and errors as the
 * server says them.
 *
 * Any thread. A call takes a connection out of the pool, or makes one; nothing is locked while the
 * server is waited for.
 */
#ifndef BECK_REMOTE_CLIENT_H
#define BECK_REMOTE_CLIENT_H

#include "remote/connection.h"

#define CLIENT_ANSWER_MAX ((size_t)256 << 20)

struct client;

/* BECK_ENOENT: no server listens on the socket of that data directory. */
beck_status client_open(const char *data_dir, struct client **out, beck_error *err);
void client_close(struct client *c); /* NULL is allowed */

/* A connection for one thread's own use. */
beck_status client_connect(struct client *c, struct connection **out, beck_error *err);

/* One request and its answer, which must succeed: otherwise the error is the server's own, code and
 * text. BECK_EIO: the server is gone, or went away in the middle. */
beck_status client_call(struct client *c, const struct request *q, struct response *a,
                        beck_error *err);
/* What an answer says: BECK_OK for 2xx. */
beck_status client_check(const struct response *a, beck_error *err);
/* A code by its name in beck.h. */
beck_status client_code(beck_bytes name, beck_status otherwise);

/* ---- targets: "/v1/buses/" with what follows percent-encoded ---- */

struct target {
    struct buf text;
    char mark; /* before the next parameter */
    beck_status status;
};

void target_begin(struct target *t, const char *path);
void target_segment(struct target *t, const char *segment); /* without the slashes around it */
void target_add(struct target *t, const char *text);        /* as it is */
void target_param(struct target *t, const char *name, beck_bytes value);
void target_number(struct target *t, const char *name, int64_t value);
void target_from(struct target *t, const char *name, const beck_from *from);
/* NUL-terminated text, or NULL and the error; target_release follows in any case. */
const char *target_text(struct target *t, beck_error *err);
void target_release(struct target *t);

/* What `from` is called in parameters and in JSON: "now", "earliest", an offset, a time. */
#define FROM_TEXT_MAX 40
void from_text(const beck_from *from, char out[FROM_TEXT_MAX]);

#endif
