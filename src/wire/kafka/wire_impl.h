/*
 * What the files of the frame share.
 *
 * Everything of a connection belongs to its loop. A request belongs to its handler from its start to its
 * answer; then it comes back to the loop, waits there until all before it are answered, and is freed when
 * the answer was sent.
 */
#ifndef BECK_WIRE_KAFKA_WIRE_IMPL_H
#define BECK_WIRE_KAFKA_WIRE_IMPL_H

#include "base/pool.h"
#include "wire/kafka/handlers.h"
#include "wire/kafka/memory.h"

#define WAITING_MAX 256 /* requests of a connection that are not answered */
#define WAITING_BYTES_MAX                                                                          \
    (16u << 20)                   /* of a connection: such requests and answers that wait for
                                          others; then no more are started */
#define STRANGER_MAX (512u << 10) /* bytes of a request before the login */
#define HELD_SMALL (16u << 10)    /* a request that holds no more is not asked to let go of it */
#define DECODED_MAX (64u << 20)   /* memory of a request that is decoded, without its bytes */
#define ARENA_MAX (512u << 20)    /* with what its answer is made of */
#define ANSWER_MAX ((size_t)INT32_MAX) /* bytes of an answer, without what is not copied */
#define COPIED_MAX 4096                /* answers up to this are copied into the output */

/* ---- the table ---- */

struct api {
    int16_t key;
    int16_t first, last; /* versions that are answered, and told to clients */
    const char *name;
    const struct kafka_table *(*request)(void), *(*response)(void);
    kafka_handler handler;
    bool open;         /* without a login */
    bool login;        /* is deferred to where passwords are hashed */
    bool pipelined;    /* what comes behind it does not wait for its answer */
    bool in_place;     /* see request_body */
    bool short_header; /* of answers, in all versions */
    bool refuse;       /* versions that are not known are the handler's, without a body */
};

#define API_KEYS_MAX 128
extern const struct api kafka_apis[]; /* in order of their keys */
extern const size_t kafka_api_count;
const struct api *api_find(int16_t key); /* NULL: none */

/* ---- the whole ---- */

struct kafka_place { /* where is listened */
    struct kafka_place *next;
    struct kafka_wire *wire;
    struct kafka_endpoint advertised;
    char *text, *host;
};

struct kafka_wire {
    struct kafka_wire_settings settings;
    struct kafka_wire_context context;
    struct pool pool, logins;
    struct memory memory;    /* see requests_max */
    struct mutex large_lock; /* a leaf: kafka_wire.large_lock */
    struct cond large_ended;
    bool large;               /* some request has its turn (request_begin_large) */
    _Atomic(uint64_t) blocks; /* bytes of the logs' tails that answers hold until they are sent */
    struct kafka_place *places;
    struct mutex acls_lock; /* kafka_wire.acls_lock: one change of rules at a time */
    struct fetch_sessions *fetch_sessions;
    struct metric_family *by_api;
    _Atomic(struct counter *)
        requests[API_KEYS_MAX]; /* by place in the table; NULL: none came yet */
    struct counter *refused;
};

/* ---- connections ---- */

struct kafka_connection {
    struct kafka_wire *wire;
    struct connection *net; /* a reference */
    const struct kafka_place *place;
    pthread_t thread; /* of the loop */
    struct kafka_request *first, **last;
    struct kafka_request *holder; /* not pipelined, not answered: nothing is started */
    /* The request whose first bytes are there, when it is not small or there is no room for it. */
    struct memory_waiter waiter;
    struct net_task granted_task;
    size_t granted; /* bytes that are taken for it */
    int64_t granted_ns;
    int64_t begun_ns; /* since when a small request is coming; 0: none is cut */
    bool waits;       /* for that */
    bool granting;    /* granted_task is on its way */
    uint32_t waiting; /* in the list */
    size_t waiting_bytes;
    bool busy;   /* `bytes` or the end runs: what is answered meanwhile is sent behind it */
    bool paused; /* not read */
    bool established;
    bool draining;
    bool over; /* nothing more is started */
    bool closed;
    _Atomic(bool) gone;                                      /* the same, for other threads */
    void (*at_end)(struct kafka *k, const void *connection); /* see request_at_end; NULL: nothing */
    struct job job;                                          /* for that */
    struct net_task task;
    bool tokens;                /* what comes is the login\'s, without headers */
    struct sasl *sasl;          /* a login that is under way; NULL: none */
    struct identity *identity;  /* NULL: not known yet */
    char host[NET_ADDRESS_MAX]; /* by which it came */
};

extern const struct net_protocol kafka_protocol;

/* The connection ends; `why`: a constant text. Loop. */
void kafka_drop(struct kafka_connection *c, const char *why);
/* A request of that kind came. Any thread. */
void kafka_wire_count(struct kafka_wire *w, const struct api *api);
void kafka_log(const struct kafka_connection *c, enum kafka_log level, const char *what,
               const char *detail);
/* A request that came back was answered. Loop. */
void kafka_answered(struct kafka_request *r);
/* What comes behind it may be started. Loop. */
void kafka_lets_go_on(struct kafka_request *r);

/* ---- requests ---- */

struct kafka_request {
    struct job job;
    struct net_task task;
    struct kafka_request *next;
    struct kafka_connection *c; /* until it left the list */
    struct kafka_wire *wire;
    struct net_loop *loop;
    const struct api *api;
    int16_t version;
    int32_t correlation;
    beck_bytes client_id;
    struct kafka_endpoint endpoint;
    struct identity *identity;  /* a reference; NULL: before the login */
    struct kafka_arena decoded; /* the body */
    struct kafka_arena arena;   /* the handler's */
    void *body, *state;
    beck_bytes whole;                          /* the frame, while the body is there */
    const uint8_t *body_at;                    /* in it */
    uint8_t *frame;                            /* a copy of it; NULL: none */
    size_t frame_len;                          /* bytes that count for it */
    void (*run)(struct kafka_request *r);      /* on the pool */
    int64_t turn_ns;                           /* when that began; 0: it did not */
    void (*on_close)(struct kafka_request *r); /* loop */
    void (*on_short)(struct kafka_request *r); /* loop */
    const char *failed;
    bool answered; /* back on the loop */
    bool token;    /* came without a header, and is answered so */
    bool silent;   /* no answer */
    bool refused;  /* of a version that is not known */
    enum memory_class class;
    size_t counted; /* bytes in waiting_bytes and wire.memory */
    bool listed;    /* in the connection's list */
    struct memory_holder holder;
    struct net_task press_task;
    _Atomic(bool) pressed; /* press_task is on its way */
    bool gone;             /* it frees the request */
    struct kafka_writer answer;
    uint32_t sending; /* parts of the answer that are in the output */
    uint8_t bytes[];  /* client id, or token */
};

/* The start: header and body. NULL: *why, a constant text. `frame`: without its size; so many bytes are
 * taken from the memory of its class, and are the request's from then on. */
struct kafka_request *request_new(struct kafka_connection *c, beck_bytes frame, const char **why);
/* The same of a login's message, as if it were a SaslAuthenticate. */
struct kafka_request *request_of_token(struct kafka_connection *c, beck_bytes token,
                                       const char **why);
/* Puts the answer into the output, or drops it, and lets go of the request. Loop. */
void request_send(struct kafka_request *r, struct connection *net);
/* The handler of an in_place row has returned: the body is not needed any more, unless it was kept. */
void request_forget_body(struct kafka_request *r);
/* What it holds after the answer is counted; all else is freed. */
void request_answered(struct kafka_request *r);
/* It is asked to let go when memory is short. With its counted bytes up to date. */
void request_holds(struct kafka_request *r);

#endif
