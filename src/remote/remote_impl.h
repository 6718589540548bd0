/* The inside of a remote handle, shared by the files of src/remote only. */
#ifndef BECK_REMOTE_REMOTE_IMPL_H
#define BECK_REMOTE_REMOTE_IMPL_H

#include "remote/client.h"
#include "remote/reply.h"
#include "remote/remote.h"

struct remote_consumer;
struct completions;

struct remote {
    beck *owner;
    const struct env *env;
    struct callers *callers;
    struct client *client;
    struct mutex lock; /* a leaf */
    beck_bus **buses;  /* every one that was ever handed out; they stay until the end */
    size_t bus_count;
    char **names; /* of queues, likewise */
    size_t name_count;
    struct remote_consumer *consumers;
    struct completions *completions;
};

/* The bus of that name, made when it was not asked for before. NULL: no memory. */
beck_bus *remote_bus_of(struct remote *r, const char *name, beck_error *err);
/* A copy of the name that lives until the end. NULL: no memory. */
const char *remote_name(struct remote *r, const char *name, beck_error *err);

/* ---- calls: one request. `t` is released, also on an error ---- */

/* A document of shape `in` is sent (NULL: nothing), one of shape `out` is read into `*answer` (NULL:
 * whatever is answered does not matter). To be released with reply_release, also on an error. */
beck_status remote_ask(struct remote *r, const char *method, struct target *t,
                       const struct shape *in, const void *document, const struct shape *out,
                       void *answer, struct reply *g, beck_error *err);
/* The same without an answer. */
beck_status remote_do(struct remote *r, const char *method, struct target *t,
                      const struct shape *in, const void *document, beck_error *err);
/* "/v1/buses/NAME<rest>"; "/v1/queues/NAME<rest>" */
void target_of_bus(struct target *t, const char *bus, const char *rest);
void target_of_queue(struct target *t, const char *queue, const char *rest);
/* A bus that was there once has been deleted: BECK_ECLOSED instead of BECK_ENOENT. */
beck_status remote_bus_gone(const beck_bus *bus, beck_status status, beck_error *err);

/* ---- completions.c: publishes whose caller does not wait, in order ---- */

/* target: of several publishes. Takes what `body` holds. Waits while too much is under way. */
beck_status completions_add(struct remote *r, const char *target, struct buf *body,
                            beck_done_fn done, void *ctx, beck_error *err);
/* Until everything that was added before has been answered. Not from a completion itself, where it
 * does nothing. */
void completions_wait(struct remote *r);
void completions_free(struct remote *r);
/* Sends one publish, the text of an array of events. */
beck_status remote_send_events(struct remote *r, const char *target, beck_bytes body,
                               beck_published *out, beck_error *err);
/* Sends several publishes, each the text of an array of events, and reads what became of them. An error: it is not
 * known of any. */
beck_status remote_send_several(struct remote *r, const char *target, struct api_publishes *say,
                                struct api_outcomes *out, struct reply *g, beck_error *err);

/* ---- consumer.c ---- */

void remote_consumers_close(struct remote *r);

#endif
