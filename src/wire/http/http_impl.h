/*
 * What the files of the HTTP core share.
 *
 * A connection has one request at a time, which is a part of it: so a request needs no memory of its
 * own for what is small. libmicrohttpd (MHD) calls `http_serve` again and again for one request, on
 * the thread of its connection; `stage` says how far it is. When the request has to wait (for the
 * pool, or an answer that comes later) its connection is suspended, and MHD resumed once the answer
 * is there and nobody holds the request any more.
 *
 * Who may touch a request: the network thread, or while the connection is suspended whoever the
 * request was handed to. `holds` counts who may still use it; the last one to let go resumes it.
 *
 * Locks, outermost first: connections_lock, keeper.lock, pool.lock; MHD's own are leaves.
 */
#ifndef BECK_WIRE_HTTP_IMPL_H
#define BECK_WIRE_HTTP_IMPL_H

#include "wire/http/http.h"
#include "wire/http/keeper.h"
#include "wire/pool.h"
#include "wire/http/router.h"

#include <microhttpd.h>

struct http_tls;
struct connection;
struct work; /* work.c: deliveries */

enum stage {
    STAGE_NEW,      /* nothing is known but the target */
    STAGE_NAMING,   /* a guard checks a password */
    STAGE_BODY,     /* reading it */
    STAGE_HANDLING, /* the handler runs, or has put it off */
    STAGE_ANSWERED  /* MHD has the answer */
};

/* Whether the connection is suspended. */
enum park { PARK_RUNS, PARK_SUSPENDED, PARK_GOES_ON };

struct http_argument {
    const char *name, *value;
};

struct http_header {
    const char *name, *value;
    struct http_header *next;
};

struct http_block {
    struct http_block *next;
    _Alignas(16) uint8_t bytes[];
};

struct http_call {
    struct job job;
    struct http_request *request;
    void (*fn)(struct http_request *r, void *ctx);
    void *ctx;
};

#define HTTP_ARENA 768

struct http_request {
    struct connection *connection;
    struct MHD_Connection *mhd;
    const char *method, *target;
    int64_t began_ns;
    enum stage stage;
    const struct http_route *route; /* NULL: refused before */
    uint32_t number;                /* of the route, over all that is served */
    const char *names[ROUTE_NAMES_MAX];
    size_t name_count;
    struct http_argument *arguments;
    size_t argument_count;
    const struct identity *identity;

    struct buf body;
    uint64_t body_length;  /* as announced; UINT64_MAX: chunked */
    uint64_t body_counted; /* of http.bodies */
    uint64_t body_dropped; /* of a request that was refused: read and forgotten */

    bool later, answered;
    struct http_call handler, posted, timed;

    struct http_header *headers; /* of the answer */
    struct MHD_Response *response;
    int status;
    size_t sent; /* of the answer's body */
    void (*on_sent)(void *ctx, bool sent);
    void *on_sent_ctx;
    struct http_stream stream;
    bool streams, stream_over;

    struct http_block *blocks;
    size_t arena_used;

    /* What others may look at while no request is there: not cleared with the rest. */
    _Atomic(int) park, stream_park; /* enum park */
    _Atomic(int) holds;             /* the answer, and each call that will run */
    _Atomic(bool) gone;
    struct timer timer;
    struct watched watched;
    _Alignas(16) uint8_t arena[HTTP_ARENA];
};

/* What the connection does, for those that take too long. */
enum phase { PHASE_IDLE, PHASE_READING, PHASE_WORKING, PHASE_SENDING };

struct connection_thing {
    struct connection_thing *next;
    const void *key;
    void *thing;
    void (*release)(void *thing);
};

/* The routes of some listeners. */
struct served {
    const struct http_site *site; /* NULL: beck's API */
    struct router *router;
    uint32_t first; /* number of its first route, over all */
};

struct connection {
    struct http *http;
    const struct served *served;
    struct MHD_Connection *mhd;
    int fd;
    struct access_peer peer;
    char address[64];
    struct identity *identity; /* of the last request, with what it was proved by */
    char *authorization;       /* NULL: without a name */
    struct connection_thing *things;
    _Atomic(bool) keeps; /* something for somebody of this machine: may be idle for ever */
    _Atomic(int) phase;
    _Atomic(int64_t) phase_ns; /* since when */
    struct connection *next, *previous;
    struct http_request request;
};

/* Made when they are counted in first. */
struct route_metrics {
    _Atomic(struct counter *) answers[6]; /* by the first digit of the status */
    _Atomic(struct histogram *) seconds;
};

#define HTTP_BUSES 256

struct http {
    struct http_settings settings;
    struct http_context context;
    struct http_listener *listeners;
    size_t listener_count;
    struct served *served; /* beck's API first */
    size_t served_count;
    uint32_t *listener_served; /* of each listener, into served */
    uint32_t route_count;
    struct work *work;
    struct MHD_Daemon *plain, *secure; /* NULL: no listener of that kind */
    struct http_tls *tls;
    struct MHD_Response *no_memory; /* an answer that needs none */
    struct pool pool;
    struct pool guards; /* passwords, which anybody may send: they take nothing from the others */
    struct keeper keeper;
    struct timer sweep;
    struct job sweep_job;
    _Atomic(bool) draining, stopping;
    _Atomic(uint64_t) bodies; /* bytes held by all requests */
    _Atomic(uint32_t) connection_count;
    int64_t started_ms;

    _Atomic(uint32_t) running; /* requests that are not answered to the end */
    _Atomic(uint32_t) leaving; /* threads that let go of a request just now */

    struct mutex connections_lock;
    struct connection *connections;
    struct cond quiet; /* while draining: running went down */
    bool sweeping;

    struct follow_hub *follow;             /* follow.c */
    _Atomic(beck_bus *) buses[HTTP_BUSES]; /* events.c: found lately, by their names' hashes */
    struct gauge *connection_gauge, *body_gauge;
    struct metric_family *answers, *seconds;
    struct route_metrics *metrics; /* of each route, and of what has none */
};

/* ---- http.c ---- */

void http_signal_quiet(struct http *h);
/* A request has been served. */
void http_count(struct http *h, const struct http_request *r, int64_t took_ns);

/* ---- connection.c ---- */

void connection_phase(struct connection *c, enum phase phase);
/* From the keeper. */
void connection_accepted(void *ctx, size_t listener, int fd, void *address, unsigned length);
/* From MHD: a connection begins or has ended. */
void connection_changed(void *ctx, struct MHD_Connection *mhd, void **socket_context,
                        enum MHD_ConnectionNotificationCode code);
void connection_sweep_due(struct timer *t);
void connection_sweep(struct job *job);

/* ---- serve.c: what MHD calls, in this order ---- */

/* The request line was read. What is returned is the request of the calls that follow. */
void *http_target_read(void *ctx, const char *target, struct MHD_Connection *mhd);
enum MHD_Result http_serve(void *ctx, struct MHD_Connection *mhd, const char *url,
                           const char *method, const char *version, const char *data, size_t *size,
                           void **request);
void http_served(void *ctx, struct MHD_Connection *mhd, void **request,
                 enum MHD_RequestTerminationCode code);

/* ---- request.c ---- */

/* Ready for the next one. */
void request_reset(struct http_request *r);
/* The target of a new request, copied; false: no memory. */
bool request_begin(struct http_request *r, const char *target);
/* Splits the target; false: it was refused. */
bool request_read_target(struct http_request *r);
bool request_check_arguments(struct http_request *r); /* against those of the route */
/* Text for messages, in the request's memory; "" without memory. */
const char *request_text(struct http_request *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- naming.c: who calls ---- */

enum naming { NAMING_DONE, NAMING_REFUSED, NAMING_SLOW };
/* slow: on the pool, where a password may be hashed. */
enum naming request_name(struct http_request *r, bool slow);
/* Whether the caller has the right of the route; answers if not. */
bool request_authorize(struct http_request *r);

/* ---- answer.c ---- */

/* Hands the answer that was made to MHD. Network thread. */
enum MHD_Result answer_queue(struct http_request *r);
/* Another user of the request ends; the last one lets it go on. */
void request_let_go(struct http_request *r);
void request_hold(struct http_request *r);
/* Frees what is left of the answer. */
void answer_release(struct http_request *r);

/* ---- tls.c ---- */

beck_status http_tls_new(const char *certificate, const char *key, struct http_tls **out,
                         beck_error *err);
beck_status http_tls_reload(struct http_tls *t, beck_error *err);
void http_tls_free(struct http_tls *t);
/* The value of MHD_OPTION_HTTPS_CERT_CALLBACK2. It finds `tls` through the connection. */
void *http_tls_callback(void);

/* ---- jobs for other files of wire/http ---- */
void http_push(struct http *h, struct job *job);

#endif
