/*
 * HTTP/1.1: requests, routes and answers. Connections are those of net/net.h, on loops of its own; here
 * is what handlers see.
 *
 * A request is read whole (its body bounded by http.body_max), its caller identified and its right
 * checked, before its handler runs. Where a handler runs is its route's choice:
 *
 *   HTTP_INLINE  on the network thread: must not block, not even on a disk
 *   HTTP_POOL    on a thread of a small pool, for what reads the log, waits for a lock that is held
 *                during a sync, or hashes a password
 *
 * A handler answers exactly once: before it returns, or later from any thread when it called
 * http_later. While a request waits its connection is suspended and costs no thread.
 *
 * Lifetime: a request lives until it was answered and the answer sent, or the client went away.
 * After http_later only http_answer* end it, even when the client is gone by then.
 */
#ifndef BECK_WIRE_HTTP_HTTP_H
#define BECK_WIRE_HTTP_HTTP_H

#include "access/access.h"
#include "base/bytes.h"
#include "base/metrics.h"

struct http;
struct http_request;

/* ---- the server side ---- */

struct http_route;

/* An API of its own, in place of beck's, for the connections of some listeners. It outlives the http. A path may
 * end with a slash more than its route's. */
struct http_site {
    const struct http_route *const *routes; /* tables; ends with NULL */
    void *ctx;                              /* of its handlers: http_site_ctx */
    const char *realm;                      /* of WWW-Authenticate */
    /* A name is always needed. While nobody may call without one (access.anonymous_*), that is "guest"
     * with the password "guest" wherever there is no user of that name. */
    bool named;
    /* The document of an error (application/json), in place of RFC 9457's. */
    beck_status (*problem)(int status, const char *detail, struct buf *out);
};

struct http_listener {
    int fd; /* listening; the server made it (TCP, Unix socket, or socket activation) */
    bool tls, unix_socket;
    bool trusted;                 /* the data directory's own socket */
    const struct http_site *site; /* NULL: beck's API */
};

struct http_settings {                    /* zero means the default, unless said otherwise */
    uint32_t threads;                     /* network threads; default 2 */
    uint32_t pool_threads;                /* default 4 */
    uint32_t connections_max;             /* default 20,000 */
    uint32_t connections_per_address_max; /* 0: no limit */
    uint64_t body_max;                    /* default 25 MiB */
    uint64_t bodies_max;         /* of all requests being read, together; default 256 MiB */
    uint32_t header_max;         /* of the head of a request; default 16 KiB */
    uint32_t idle_timeout_ms;    /* default 75,000 */
    uint32_t request_timeout_ms; /* from the first byte to the last of a request; default 30,000 */
    uint32_t wait_max_ms;        /* longest long poll; default 60,000 */
    uint64_t stream_buffer_max;  /* of what followers of one bus share; default 1 MiB */
    uint32_t heartbeat_ms;       /* of streams of events; default 10,000 */
    const char *tls_certificate, *tls_key; /* paths, PEM; read again by http_reload */
};

struct hooks; /* wire/http/hooks.c */
struct trace;

/* What handlers reach. All of it outlives the http. */
struct http_context {
    beck *b;
    struct access *access;
    struct hooks *hooks; /* NULL: none configured */
    const char *server_version;
    /* Asks the server to reload or to stop; NULL where there is none (tests). */
    beck_status (*control)(void *ctx, const char *what, beck_error *err);
    void *control_ctx;
    /* Whether the server is ready to serve, with why not. */
    bool (*ready)(void *ctx, char *why, size_t size);
    void *ready_ctx;
    void (*log)(void *ctx, const struct http_request *r, int status, size_t bytes, int64_t ns);
    void *log_ctx;
};

beck_status http_start(const struct http_settings *settings, const struct http_context *context,
                       const struct http_listener *listeners, size_t count, struct http **out,
                       beck_error *err);
/* Reads certificate and key again; what was served before goes on being served on an error. */
beck_status http_reload(struct http *h, beck_error *err);
/* Accepts nothing more, answers waiting polls at once with what they have, ends event streams, and
 * waits until the requests that run are answered (true) or the monotonic time has come. May be called
 * again, to go on waiting. */
bool http_drain(struct http *h, int64_t until_ns);
void http_stop(struct http *h);
uint32_t http_connections(const struct http *h);

/* ---- requests ---- */

const struct http_context *http_of(const struct http_request *r);
const struct http_route *http_route_of(const struct http_request *r);
void *http_site_ctx(const struct http_request *r);                          /* NULL: beck's API */
const struct http_settings *http_settings_of(const struct http_request *r); /* as in force */
const char *http_method(const struct http_request *r);
/* Path and query as they came, but for the value of access_token: for logs. */
const char *http_target(const struct http_request *r);
/* The value of {name} in the route's path, percent-decoded, NUL-terminated; never NULL. */
const char *http_path(const struct http_request *r, size_t index);
beck_bytes http_body(const struct http_request *r);
/* NULL: not there. Valid as long as the request. Names are compared without case. A header that came
 * more than once gives the first; http_header_count says how often it came. */
const char *http_header(const struct http_request *r, const char *name);
size_t http_header_count(const struct http_request *r, const char *name);
void http_each_header(const struct http_request *r,
                      void (*each)(void *ctx, const char *name, const char *value), void *ctx);
const char *http_query(const struct http_request *r, const char *name);
/* Both: false, after answering 400 with the parameter's name, the range and what came. Missing gives
 * `otherwise`, 0. Durations: "250ms", "5s", "1m" or a bare number of milliseconds. */
bool http_query_number(struct http_request *r, const char *name, int64_t min, int64_t max,
                       int64_t otherwise, int64_t *out);
bool http_query_duration(struct http_request *r, const char *name, int64_t max_ms, int64_t *out);
bool http_query_flag(struct http_request *r, const char *name,
                     bool *out); /* "", true, false, 1, 0 */
/* "now", "earliest", an offset, or RFC 3339. Missing gives `otherwise`. */
bool http_query_from(struct http_request *r, const char *name, beck_from otherwise, beck_from *out);
const struct identity *http_identity(const struct http_request *r); /* NULL: a route of right 0 */
const struct access_peer *http_peer(const struct http_request *r);
/* Answers 403 and returns false when the caller has not that right. For objects that the path does
 * not name. */
bool http_require(struct http_request *r, enum access_right right, enum access_kind kind,
                  const char *name);

/* Memory that lives as long as the request; NULL: none (answer with http_fail). */
void *http_alloc(struct http_request *r, size_t size);

/* Something of the handlers' that lives with the connection (a Unix socket's consumers). On the
 * trusted socket a connection that has something is not ended for being idle. `release`
 * runs when the connection ends, on a network thread. One key holds one thing. */
void *http_connection_get(const struct http_request *r, const void *key);
beck_status http_connection_put(struct http_request *r, const void *key, void *thing,
                                void (*release)(void *thing), beck_error *err);

/* ---- answers ---- */

/* From now on the request is answered later, from whichever thread. */
void http_later(struct http_request *r);
/* Runs `fn` on a thread of the pool; the request must have been put off (http_later). May be called
 * with any lock held, but not again before fn has begun. The request lives until fn has returned,
 * also when it is answered meanwhile from elsewhere. */
void http_to_pool(struct http_request *r, void (*fn)(struct http_request *r, void *ctx), void *ctx);
/* For something that happens at a time: runs fn on the pool at mono_ns or soon after, unless
 * cancelled before, and at once when the request begins to end (http_is_ending): so whoever waits
 * needs to look at nothing else. One timer per request; the request must have been put off. It lives
 * until fn has returned, when that was to run; an answer cancels a timer that is not due. */
void http_at(struct http_request *r, int64_t mono_ns, void (*fn)(struct http_request *r, void *ctx),
             void *ctx);
bool http_at_cancel(struct http_request *r); /* false: it will run, runs, or has run */
/* Whether the client went away (as far as that can be seen: it will send nothing more), or the server
 * drains: a wait should end, with an answer. */
bool http_is_ending(const struct http_request *r);

/* Before the answer; both copied. */
void http_set_header(struct http_request *r, const char *name, const char *value);
/* fn is told once, whether the whole answer was given to the operating system; after it the request is
 * gone. On a network thread: it must not block. */
void http_on_sent(struct http_request *r, void (*fn)(void *ctx, bool sent), void *ctx);
/* Takes what `body` holds (it is empty afterwards); NULL: no body. content_type, here and below: a
 * constant text. */
void http_answer(struct http_request *r, int status, const char *content_type, struct buf *body);
void http_answer_text(struct http_request *r, int status, const char *content_type,
                      const char *text);
/* RFC 9457 (application/problem+json) with the status that belongs to the code:
 *
 *   EINVAL 400   EDENIED 403   ENOENT 404   EEXIST EBUSY ESTALE EDUPLICATE ESEQUENCE EFENCED 409
 *   ECLOSED 410  ERANGE 416    ELIMIT 429   EUNSUPPORTED 501  ETIMEDOUT EPOISONED 503  EFULL 507
 *   everything else 500
 */
void http_fail(struct http_request *r, beck_status status, const beck_error *err);
/* The same with a status of one's own. */
void http_refuse(struct http_request *r, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* An answer without an end, or whose end is far: `pull` puts out a piece of what there is and returns
 * whether there is more to come; having put out nothing it must have arranged that http_stream_wake is
 * called once there is. It runs on the network thread and must not block, and is called as long as the
 * client takes what it is given. release runs once, when the answer is at its end or the client went
 * away; after it there is no wake any more. */
struct http_stream {
    bool (*pull)(void *ctx);
    void (*release)(void *ctx);
    void *ctx;
};
void http_answer_stream(struct http_request *r, int status, const char *content_type,
                        const struct http_stream *stream);
void http_stream_wake(struct http_request *r);

/* A piece of a stream is a frame: memory that does not change, with room around the text for what HTTP
 * says of it. So followers share pieces, and nothing of them is copied. */
#define HTTP_FRAME_HEAD 10
#define HTTP_FRAME_TAIL 2 /* "\r\n" */
/* Fills in the head of a frame with `len` bytes of text, not 0. */
void http_frame(uint8_t *frame, size_t len);
/* Within pull, once. `release` runs when it was sent or never will be, on the network thread. */
void http_stream_put(struct http_request *r, const uint8_t *frame, size_t len,
                     void (*release)(void *ctx), void *ctx);

/* ---- routes ---- */

enum http_run { HTTP_INLINE, HTTP_POOL };

struct http_param {
    const char *name, *schema, *help; /* schema: "string", "integer", "boolean", "duration"; the
                                         name "*" lets any parameter through */
};

#define HTTP_NAMED (1u << 31)      /* as a right: whoever is known, or needs no name */
#define HTTP_MONITORING (1u << 30) /* with a right: also whoever has the tag "monitoring" */

struct http_route {
    const char *method;
    const char *path; /* "/v1/queues/{queue}/take": {name} stands for one segment */
    enum http_run run;
    uint32_t right;        /* access_right that is needed; 0: none, nor a name (then there is no
                              identity); HTTP_NAMED */
    enum access_kind kind; /* of what; the first {} of the path names it */
    void (*handle)(struct http_request *r);
    /* For the OpenAPI document. */
    const char *operation, *summary;
    const struct http_param *params; /* query; ends with a NULL name. Others are refused */
    const char *accepts;             /* names of schemas (openapi.c); NULL: no body */
    const char *answers;             /* of the successful answer; NULL: no content */
};

/* Tables end with a NULL method. One per file of handlers, named in routes.c. A GET serves HEAD as
 * well, and OPTIONS is answered with what there is, unless a table has its own. */
extern const struct http_route http_routes_events[];  /* events.c: publish, read, follow */
extern const struct http_route http_routes_buses[];   /* buses.c */
extern const struct http_route http_routes_queues[];  /* queues.c: making and changing them */
extern const struct http_route http_routes_work[];    /* work.c: take, settle ... */
extern const struct http_route http_routes_dead[];    /* dead.c */
extern const struct http_route http_routes_hooks[];   /* hooks.c */
extern const struct http_route http_routes_users[];   /* users.c */
extern const struct http_route http_routes_server[];  /* server.c: health, metrics, control */
extern const struct http_route http_routes_trace[];   /* trace.c */
extern const struct http_route http_routes_openapi[]; /* openapi.c */

#endif
