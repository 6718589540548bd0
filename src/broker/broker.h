/*
 * A broker as AMQP 0-9-1 and RabbitMQ's management API see it, over buses and queues: virtual hosts,
 * exchanges, bindings, policies, permissions; publishing, consuming, dead-lettering. Semantics and texts of
 * errors are RabbitMQ's (4.x), see docs/amqp.md.
 *
 * What is what. A durable exchange has a bus (of its name, in the virtual host "/"), made when it is
 * first needed; a bus that there is already can be used as a durable topic exchange of its name. A queue
 * is a queue of the engine ("<name>", or "<vhost>/<name>" as far as legal names allow; see names.h). Who
 * gets a message is found when it is published and kept with it in the log, which holds it once.
 *
 *   persistent, and a durable queue gets it (or none does)  the exchange's bus, synced before it is
 *                                                           confirmed
 *   a durable queue gets it                                 the bus __amqp_transient of the disk, not synced,
 *                                                           little retention; forgotten when a broker opens
 *   only queues that are not durable get it                 a bus in memory
 *   nobody, and not persistent                              dropped
 *
 * Threads: any, unless said otherwise. Functions marked (slow) may wait for the disk or a lock that is held
 * meanwhile: never on a network loop.
 *
 * Errors: functions that return `int` give 0 or an AMQP reply code (404 ...) and a reply text such as
 * "NOT_FOUND - no queue 'x' in vhost '/'". Which codes close the connection: broker_is_hard.
 */
#ifndef BECK_BROKER_BROKER_H
#define BECK_BROKER_BROKER_H

#include "base/thread.h"
#include "broker/properties.h"
#include "broker/table.h"
#include "log/block.h"

#include <stdarg.h>

struct broker;
struct broker_queue; /* counted */
struct session;
struct publisher;
struct subscriber;

#define BROKER_TEXT 256 /* of an error, with its NUL; the protocol's limit is 255 */

enum broker_reply {
    BROKER_OK = 0,
    BROKER_LATER = 1, /* publisher_add: see there */
    REPLY_NO_ROUTE = 312,
    REPLY_CONNECTION_FORCED = 320,
    REPLY_ACCESS_REFUSED = 403,
    REPLY_NOT_FOUND = 404,
    REPLY_RESOURCE_LOCKED = 405,
    REPLY_PRECONDITION_FAILED = 406,
    REPLY_FRAME_ERROR = 501,
    REPLY_SYNTAX_ERROR = 502,
    REPLY_COMMAND_INVALID = 503,
    REPLY_CHANNEL_ERROR = 504,
    REPLY_UNEXPECTED_FRAME = 505,
    REPLY_RESOURCE_ERROR = 506,
    REPLY_NOT_ALLOWED = 530,
    REPLY_NOT_IMPLEMENTED = 540,
    REPLY_INTERNAL_ERROR = 541
};
bool broker_is_hard(int code);
/* Writes "NAME - explanation" (cut to 255 bytes) and returns code. */
int broker_refuse(char *text, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int broker_refuse_args(char *text, int code, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

struct broker_settings {
    int64_t retention_ms;               /* of the buses of exchanges; default 7 days */
    int64_t retention_bytes;            /* the same; default 1 GiB */
    uint32_t message_max;               /* bytes of a body; default 16 MiB (max_message_size) */
    uint32_t queues_max, exchanges_max; /* defaults 100,000 and 10,000 */
};

/* (slow) Reads what was declared before; deleted with the handle's user, before beck_close. */
beck_status broker_open(beck *b, const struct broker_settings *settings, struct broker **out,
                        beck_error *err);
void broker_close(struct broker *b); /* every session is closed; NULL allowed */
/* When a message last could not be stored because the disk is full, on the monotonic clock; INT64_MIN: never. */
int64_t broker_full_ns(const struct broker *b);

/* ---- sessions: a connection that opened a virtual host, or one request of the management API ---- */

struct session_options {
    beck_bytes vhost;
    const char *user;    /* for permissions and user-id; copied */
    bool everything;     /* an administrator without permissions of its own may do all */
    uint64_t connection; /* owner of exclusive queues; unique, 0: none */
};
/* (slow) 530: no such virtual host, or no permissions in it. */
int session_open(struct broker *b, const struct session_options *o, struct session **out,
                 char *text);
/* (slow) Exclusive queues go. Its publishers and subscribers are closed. */
void session_close(struct session *s);
const char *session_vhost(const struct session *s);
/* (slow) Permissions are looked up again (connection.update-secret, changes of permissions). 530: none any
 * more. */
int session_refresh(struct session *s, char *text);

/* ---- declaring; all (slow) ---- */

/* Declarations and bindings are durable when they return; those that say `later`, once this returned 0, for as
 * many as were made since: so they share the waiting for the disk. (slow) */
int session_sync(struct session *s, char *text);

struct exchange_declaration {
    beck_bytes name, type; /* direct fanout topic headers x-delayed-message x-consistent-hash ... */
    bool passive, durable, auto_delete, internal;
    bool later;
    beck_bytes arguments; /* table, checked */
};
int session_declare_exchange(struct session *s, const struct exchange_declaration *d, char *text);
int session_delete_exchange(struct session *s, beck_bytes name, bool if_unused, char *text);

struct queue_declaration {
    beck_bytes name; /* empty: the server makes one */
    bool passive, durable, exclusive, auto_delete;
    bool later;
    beck_bytes arguments;
};
struct queue_declared {
    char name[256];               /* with NUL */
    uint32_t messages, consumers; /* ready ones */
};
int session_declare_queue(struct session *s, const struct queue_declaration *d,
                          struct queue_declared *out, char *text);
/* messages: how many ready ones it had; NULL allowed. */
int session_delete_queue(struct session *s, beck_bytes name, bool if_unused, bool if_empty,
                         uint32_t *messages, char *text);
int session_purge_queue(struct session *s, beck_bytes name, uint32_t *messages, char *text);

struct binding_declaration {
    bool to_exchange; /* destination is an exchange; else a queue */
    bool later;
    beck_bytes destination, source; /* source: the exchange */
    beck_bytes routing_key, arguments;
};
int session_bind(struct session *s, const struct binding_declaration *d, char *text);
int session_unbind(struct session *s, const struct binding_declaration *d, char *text);

/* ---- publishing ---- */

struct publication {
    beck_bytes exchange, routing_key;
    beck_bytes properties; /* raw */
    beck_bytes body;
    bool mandatory, confirm;
};
enum published {
    PUBLISHED_QUEUED, /* to be stored with the next flush */
    PUBLISHED_NOWHERE /* no queue: is to be returned if mandatory. Confirmed as all others */
};
/* Of one channel, on one thread. `confirmed` is called for each publication with `confirm`, once: from any
 * thread, with a lock held, also inside of flush; count tokens that were stored (ack) or refused. It is not
 * called any more once publisher_free returned. */
struct publisher_events {
    void (*confirmed)(void *ctx, const uint64_t *tokens, size_t count, bool ack);
    void *ctx;
    const void *channel; /* names the channel, for direct reply-to: as in subscriber_options */
};
int publisher_new(struct session *s, const struct publisher_events *events, struct publisher **out,
                  char *text);
void publisher_free(struct publisher *p);
/* The slices stay valid until flush. Codes: 404, 403, 406 ..., after which nothing of it happens; and
 * BROKER_LATER: what it needs is not made yet: flush, run publisher_prepare elsewhere, then add it again. */
int publisher_add(struct publisher *p, const struct publication *m, uint64_t token,
                  enum published *how, char *text);
/* (slow) */
int publisher_prepare(struct publisher *p, beck_bytes exchange, char *text);
/* Stores what was added, one append for each bus, in order. After an error of the engine (disk full) those
 * with `confirm` are refused (nack) and others lost, as RabbitMQ does; it is reported once. */
void publisher_flush(struct publisher *p);
/* Unconfirmed bytes: the reader of the connection waits above a limit. */
size_t publisher_waiting(const struct publisher *p);

/* ---- consuming ---- */

/* A limit that several subscribers of a channel share (qos global). Any thread. What a subscriber holds that
 * is closed counts no more. */
struct credit {
    _Atomic(uint32_t) limit; /* 0: none */
    _Atomic(uint32_t) used;
    /* The rest is dispatch.c's. */
    _Atomic(uint32_t) waiting;
    struct mutex lock;
    struct waiting_subscriber *first;
};
void credit_init(struct credit *c, uint32_t limit);
void credit_release(struct credit *c);
void credit_set_limit(struct credit *c, uint32_t limit);

struct subscriber_options {
    beck_bytes queue, tag; /* tag: shown by the management API */
    bool no_ack, exclusive;
    uint32_t prefetch;     /* of its own; 0: no limit */
    struct credit *shared; /* of the channel; NULL: none. Outlives the subscriber */
    const void *channel;   /* names the channel, for direct reply-to; NULL: none */
    beck_bytes arguments;
    /* Any thread, with locks held: subscriber_pump is to be called on the subscriber's thread. Called
     * once until pump was. */
    void (*wake)(void *ctx);
    /* The queue is gone, or the stream failed (any thread, as wake): cancel it, and tell the client. */
    void (*cancelled)(void *ctx);
    void *ctx;
};
/* (slow) */
int session_consume(struct session *s, const struct subscriber_options *o, struct subscriber **out,
                    char *text);
/* Nothing is delivered by it any more, deliveries that are not settled stay outstanding; messages that were
 * given to it and not pumped yet go back. An auto-delete queue may go: (slow). */
void subscriber_close(struct subscriber *c);
/* Whether it might still consume from there, with the permissions of now (session_refresh). */
bool session_may_consume(struct session *s, const struct subscriber *c);

/* A message in the hands of a consumer. Slices are valid until it is settled, and at least until the call
 * that it was given in returns. */
struct handed {
    struct broker_queue *queue;    /* borrowed */
    struct subscriber *subscriber; /* NULL: by get */
    uint64_t tag;                  /* names it in the queue */
    bool redelivered;
    beck_bytes exchange, routing_key, properties, body;
    struct block *block; /* that body lies in; NULL: none */
};
/* Gives up to max messages that this subscriber has been given; on its thread. With no_ack they are settled
 * when it returns. `deliver` false: no room, that one was taken, no more now: subscriber_ready or the next pump
 * goes on. Returns how many. When it returned max it is to be called again: nothing else may wake it.
 * exchange, routing_key and properties may lie in memory that is valid during `deliver` only. */
size_t subscriber_pump(struct subscriber *c, size_t max,
                       bool (*deliver)(void *ctx, const struct handed *m), void *ctx);
/* No room in the connection (false): dispatching passes it over, and a pump does nothing; or room again, then it
 * is woken if something is there. */
void subscriber_ready(struct subscriber *c, bool ready);
/* What became of a queue's messages over AMQP, for those who watch it; since it was opened. */
enum queue_count {
    COUNT_DELIVER,
    COUNT_DELIVER_NO_ACK,
    COUNT_GET,
    COUNT_GET_NO_ACK,
    COUNT_GET_EMPTY,
    COUNT_REDELIVER,
    COUNT_ACK,
    QUEUE_COUNTS
};
void broker_count(struct broker_queue *q, enum queue_count what, uint64_t count);

/* One message, if there is one: *got. `left`: ready ones behind it. The caller settles it (broker_settle), also
 * where nobody acknowledges; its slices but the body are valid until the session's next get, on the session's
 * thread. */
int session_get(struct session *s, beck_bytes queue, struct handed *out, bool *got, uint32_t *left,
                char *text);

/* How long it may take until what a consumer of the queue was given is answered, by its arguments and policies;
 * -1: they do not say. */
int64_t broker_consumer_timeout(struct broker_queue *q);
/* What was got was written: until it is settled nobody looks at it, and it takes no memory. */
void broker_forget(struct broker_queue *q, uint64_t tag);

/* What goes back has failed (basic.reject) or was returned: their delays differ (x-delayed-retry-type). */
enum settlement { SETTLE_ACK, SETTLE_REQUEUE, SETTLE_FAIL, SETTLE_REJECT };
/* `subscribers`: who got each, NULL for get; their credit is given back. Also after the subscriber was closed
 * (then NULL). Each tag once. */
void broker_settle(struct broker_queue *q, const uint64_t *tags,
                   struct subscriber *const *subscribers, size_t count, enum settlement how);
/* What was held when a channel or connection ended, without an answer: it has failed. */
void broker_return_lost(struct broker_queue *q, const uint64_t *tags, size_t count);
struct broker_queue *broker_queue_retain(struct broker_queue *q);
void broker_queue_release(struct broker_queue *q);

#endif
