/*
 * What the files of the HTTP core share.
 *
 * A connection has one request at a time, which is a part of it: so a request needs no memory of its
 * own for what is small. `stage` says how far it is. When the request has to wait (for the pool, or an
 * answer that comes later) it is suspended: the loop goes on with others, and gets it back as a task
 * once the answer is there and nobody holds the request any more.
 *
 * Who may touch a request: the loop of its connection, or while it is suspended whoever it was handed
 * to. `holds` counts who may still use it; the last one to let go gives it back.
 *
 * A connection that has ended while its request is suspended, or while a wake of its stream is on its
 * way, lives on until that has arrived on the loop; a reference keeps the loop until then.
 *
 * Locks, outermost first: quiet_lock, timers.lock, pool.lock.
 */
#ifndef BECK_WIRE_HTTP_IMPL_H
#define BECK_WIRE_HTTP_IMPL_H

#include "net/net.h"
#include "wire/http/chunked.h"
#include "wire/http/gather.h"
#include "wire/http/head.h"
#include "wire/http/http.h"
#include "wire/http/router.h"
#include "base/timers.h"
#include "base/pool.h"

struct work; /* work.c: deliveries */

enum stage {
    STAGE_HEAD,      /* there is no request, or its head is not whole */
    STAGE_NAMING,    /* a guard checks a password */
    STAGE_BODY,      /* reading it */
    STAGE_HANDLING,  /* the handler runs, or has put it off */
    STAGE_SENDING,   /* the answer was put out; somebody wants to know when it is sent */
    STAGE_STREAMING, /* the answer has no end yet */
    STAGE_OVER       /* nothing more is read from the connection */
};

/* Whether the loop waits for somebody. */
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

#define HTTP_ARENA 1536

struct http_request {
    struct http_connection *connection;
    struct head head;
    struct head_scan scan;
    const char *target; /* NULL: the head could not be read */
    char *place;        /* the same, to be taken to pieces */
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
    uint64_t body_taken;   /* of it */
    uint64_t body_counted; /* of http.bodies */
    uint64_t body_dropped; /* of a request that was refused: read and forgotten */
    struct chunked chunked;
    bool expects; /* the client waits for leave to send the body */
    bool unclear; /* where it ends is */

    bool suspended, later, answered;
    bool timed_once; /* a timer was set */
    struct http_call handler, posted, timed;

    struct http_header *headers; /* of the answer */
    const char *content_type;
    struct buf reply;
    beck_bytes text; /* instead; in the request's memory */
    int status;
    bool no_memory; /* for the answer that was to be: a constant one is sent */
    size_t sent;    /* of the answer's body */
    void (*on_sent)(void *ctx, bool sent);
    void *on_sent_ctx;
    struct http_stream stream;
    bool streams, in_chunks, stream_waits, stream_put;

    struct http_block *blocks;
    size_t arena_used;

    /* What others may look at while no request is there: not cleared with the rest. */
    _Atomic(int) park, stream_park; /* enum park */
    _Atomic(int) holds;             /* the answer, and each call that will run */
    _Atomic(bool) gone;
    struct timer timer;
    struct net_task back, wake; /* to the loop */
    _Alignas(16) uint8_t arena[HTTP_ARENA];
};

/* What the connection does, for those that take too long. */
enum phase { PHASE_IDLE, PHASE_READING, PHASE_WORKING };

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

/* What connections of a listener have in common. */
struct http_gate {
    struct http *http;
    const struct served *served;
    bool trusted;
};

struct http_connection {
    struct http *http;
    const struct served *served;
    struct connection *net;
    struct access_peer peer;
    struct identity *identity; /* of the last request, with what it was proved by */
    char *authorization;       /* NULL: without a name */
    struct connection_thing *things;
    _Atomic(bool) keeps; /* something for somebody of this machine: may be idle for ever */
    enum phase phase;
    int64_t phase_ns; /* since when */
    bool closes;      /* after the answer */
    bool ended;       /* the client sends nothing more */
    bool closed;      /* it is gone */
    bool paused;      /* too much came behind the request */
    bool skipped;     /* an empty line, before the head */
    bool flushes;     /* while draining: an earlier answer is not sent yet; counts as a request */
    size_t left;      /* of what came, not taken yet */
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
    struct http_gate *gates; /* of each listener */
    size_t listener_count;
    struct served *served; /* beck's API first */
    size_t served_count;
    uint32_t route_count;
    struct work *work;
    struct net *net;
    struct net_tls *tls; /* NULL: none */
    struct pool pool;
    struct pool guards; /* passwords, which anybody may send: they take nothing from the others */
    struct timers timers;
    _Atomic(bool) draining, stopping;
    _Atomic(uint64_t) bodies; /* bytes held by all requests */
    _Atomic(uint32_t) connection_count;
    int64_t started_ms;

    _Atomic(uint32_t) running; /* requests that are not answered to the end */
    struct mutex quiet_lock;
    struct cond quiet; /* while draining: running went down */

    struct gathers *gathers;
    struct follow_hub *follow;             /* follow.c */
    _Atomic(beck_bus *) buses[HTTP_BUSES]; /* events.c: found lately, by their names' hashes */
    struct gauge *connection_gauge, *body_gauge;
    struct metric_family *answers, *seconds;
    struct route_metrics *metrics; /* of each route, and of what has none */
};

/* ---- http.c ---- */

/* One running request less. */
void http_leave(struct http *h);
/* A request has been served. */
void http_count(struct http *h, const struct http_request *r, int64_t took_ns);

/* ---- connection.c: what the loop calls ---- */

extern const struct net_protocol http_protocol;
void connection_phase(struct http_connection *c, enum phase phase);
/* The connection has ended and nobody is on the way to it any more. */
void connection_forget(struct http_connection *c);

/* ---- serve.c: the way of a request, on the loop ---- */

/* How much of what came was taken. */
size_t serve_input(struct http_connection *c, beck_bytes input);
/* What was put out is sent. */
void serve_sent(struct http_connection *c);
/* There is room again in the output. */
void serve_writable(struct http_connection *c);
/* The client sends nothing more. */
void serve_ended(struct http_connection *c);
/* The server stops: whoever waits is told. */
void serve_drain(struct http_connection *c);
/* What was begun did not come in time. */
void serve_late(struct http_connection *c);
/* The connection is gone. False: somebody is still on the way to it. */
bool serve_closed(struct http_connection *c);
void serve_back(struct net_task *t); /* http_request.back */
void serve_wake(struct net_task *t); /* http_request.wake */

/* ---- request.c ---- */

/* Ready for the next one. */
void request_reset(struct http_request *r);
/* Notes the target, once. The token in its query is only in the copy of it from then on. False: no memory. */
bool request_copy_target(struct http_request *r, char *target);
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

/* Puts out the answer that was made; of a stream its head. On the loop. */
void answer_send(struct http_request *r);
/* Another user of the request ends; the last one lets it go on. */
void request_let_go(struct http_request *r);
void request_hold(struct http_request *r);
/* Frees what is left of the answer. */
void answer_release(struct http_request *r);

/* Wakes of many streams, so that each loop is told once. All zero: empty. */
#define WAKES_LOOPS 16
struct wakes {
    struct wake_chain {
        struct net_loop *loop;
        struct net_task *last, *first;
    } chains[WAKES_LOOPS];
    size_t count;
};
void wakes_add(struct wakes *w, struct http_request *r); /* instead of http_stream_wake */
void wakes_send(struct wakes *w);                        /* with no lock that a stream takes */

/* ---- jobs for other files of wire/http ---- */
void http_push(struct http *h, struct job *job);

#endif
