/*
 * What the files of the protocol share.
 *
 * Everything of a connection belongs to its loop, except what says otherwise. A slow call is a `work`: it
 * runs on the pool, then `done` on the loop. A work that holds stops the reading of its connection, so
 * what comes behind it waits, and works of one connection that hold run one after the other. Whatever a
 * work uses is left alone by the loop meanwhile.
 *
 * The end of a channel or connection is a work as well: consumers are closed, what was not settled goes
 * back, exclusive queues go. Only then the peer is told, so that it finds them gone.
 */
#ifndef BECK_WIRE_AMQP_IMPL_H
#define BECK_WIRE_AMQP_IMPL_H

#include "wire/amqp/amqp.h"
#include "wire/amqp/frames.h"
#include "wire/amqp/methods.h"
#include "base/pool.h"

#define CONSUMERS_MAX 65536        /* of a channel */
#define UNCONFIRMED_MAX (1u << 20) /* of a channel; then its connection is not read */
#define WAITING_MAX (8u << 20)     /* bytes of a channel that are not stored; the same */
#define PUMP_MAX 256               /* deliveries before it is others' turn */
#define SETTLE_MAX 256             /* answers that are told to the broker together */
#define COPIED_MAX 8192            /* bodies up to this are copied into the output */
#define CLOSE_TIMEOUT_MS 10000     /* for close-ok */
#define END_TIMEOUT_MS 1000        /* for the end behind close-ok */
#define DRAIN_TIMEOUT_MS 1000      /* the same when the server stops */
#define NS_PER_MS INT64_C(1000000)

struct amqp_place {
    struct amqp_place *next;
    struct amqp *amqp;
    char text[];
};

struct amqp {
    struct amqp_settings settings;
    char *product, *version;
    struct amqp_context context;
    struct pool pool, logins;
    _Atomic(uint64_t) bodies; /* bytes; see bodies_max */
    _Atomic(uint32_t) alarms; /* enum amqp_alarm */
    uint64_t last_id;         /* with the lock */
    struct amqp_place *places;
    struct gauge *channels, *consumers;
    struct counter *published, *delivered, *settled, *returned;
    struct mutex lock; /* amqp.lock, a leaf: the list, and what management is told of each */
    struct amqp_connection *first, **last;
};

/* ---- works ---- */

struct work {
    struct job job;
    struct net_task task;
    struct amqp_connection *c;
    bool holds;
    void (*run)(struct work *w);  /* on the pool */
    void (*done)(struct work *w); /* on the loop, also when the connection is closed; frees what is
                                     its own */
};
/* Flushes what is gathered, then starts it. */
void work_start(struct amqp_connection *c, struct work *w, bool holds, struct pool *pool);

/* A method that is slow, with a copy of what it says. */
struct call {
    struct work work;
    struct channel *channel;            /* a reference */
    struct call *next;                  /* of a group */
    void (*run)(struct call *call);     /* leaves code and text */
    void (*answer)(struct call *call);  /* after success, on the loop; NULL: none */
    void (*release)(struct call *call); /* in any case, behind that; NULL: none */
    bool nowait;
    int code;
    char text[BROKER_TEXT];
    struct method m;
    union {
        struct queue_declared declared;
        uint32_t messages;
        struct amqp_consumer *consumer;
    };
    uint8_t payload[];
};
/* NULL: no memory, and the connection ends. */
struct call *call_new(struct channel *ch, beck_bytes payload);
/* An error closes what it has to. */
void call_start(struct call *call, void (*run)(struct call *call),
                void (*answer)(struct call *call));

/* One of a group: what declares. Those that follow each other are run one by one, wait for the disk together, and
 * are answered in order. It starts with calls_start, which comes before anything else of the connection is
 * handled. */
void call_join(struct call *call, void (*run)(struct call *call),
               void (*answer)(struct call *call));
/* There is a group, and what came can join it. */
bool calls_take(const struct amqp_connection *c, const struct frame *f);
void calls_start(struct amqp_connection *c); /* nothing holds it */
void calls_drop(struct amqp_connection *c);  /* those of channels that are not open any more */

/* ---- connections ---- */

enum stage {
    STAGE_HEADER, /* the protocol's name is due */
    STAGE_START_OK,
    STAGE_LOGIN, /* a password is checked */
    STAGE_TUNE_OK,
    STAGE_OPEN, /* connection.open is due, or the session is opened */
    STAGE_RUNNING,
    STAGE_CLOSING, /* close was sent, or is about to be: only close-ok counts */
    STAGE_OVER
};

enum state_seen { SEEN_STARTING, SEEN_RUNNING, SEEN_BLOCKED, SEEN_CLOSING };

struct batch;

struct amqp_connection {
    struct amqp *amqp;
    struct connection *net;
    const struct amqp_place *place;
    uint64_t id;
    enum stage stage;
    uint32_t works; /* under way */
    uint32_t held;  /* of those, how many hold */
    bool storing;   /* not read until what was published is stored */
    bool blocked;   /* not read as long as there are alarms */
    bool full;      /* the output was full */
    bool over;      /* the net has closed it */
    bool ended;     /* session and channels are gone */
    bool end_waits; /* for works that hold */
    bool looks;     /* whether its user is still there */
    bool answered;  /* close-ok was sent */
    bool deaf;      /* what comes cannot be understood any more */
    bool crowded;   /* nothing is delivered, as too much is unacked */
    bool drained;   /* the server stops */
    bool hears_cancel, hears_blocked, hears_refusal; /* capabilities of the client */
    bool streaming; /* within a body frame, of which body_left are still to come */
    size_t body_left;
    struct channel *body_channel; /* NULL: thrown away */
    uint32_t frame_max, channel_max, heartbeat_s;
    int64_t listens_ns; /* since when the peer's silence counts */
    int64_t close_ns;   /* when it is closed without close-ok */
    struct identity *identity;
    struct session *session;
    struct batch *batch;                    /* within `bytes`: answers that are gathered */
    struct channel *flushes, **flushes_end; /* with what is not flushed, as it came */
    size_t unacked;
    struct call *group, **group_end; /* call_join */
    size_t group_count, group_bytes, group_ran;
    struct work group_work;
    struct work end;
    int end_code; /* what connection.close says then; 0: close-ok */
    uint32_t end_method;
    char *end_text;

    /* With amqp.lock when they change or when others look. */
    struct amqp_connection *next, **at;
    int64_t connected_ms;
    char *user, *vhost; /* NULL: not known yet */
    _Atomic(const char *) mechanism;
    struct buf client_properties;
    struct channel **channels; /* in order of their numbers */
    size_t channel_count, channel_cap;
    _Atomic(uint64_t) received, sent;
    _Atomic(uint32_t) state_seen; /* enum state_seen */
    char name[128];
};

extern const struct net_protocol amqp_protocol;

/* input.c: takes in what is whole at the beginning of the input; returns how much that was, 0: nothing yet. */
size_t amqp_input(struct amqp_connection *c, beck_bytes input);

/* The client closes it: close-ok, after the end of all channels. */
void amqp_close(struct amqp_connection *c);
/* The answer to close. It is the client's to end the socket: some have several threads that close, and the answer to
 * the last must not be an end. */
void amqp_close_ok(struct amqp_connection *c);
/* connection.close with that text, after the end of all channels. */
void amqp_refuse(struct amqp_connection *c, int code, const char *text, uint32_t method);
void amqp_refusef(struct amqp_connection *c, int code, uint32_t method, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The socket ends without a word. */
void amqp_drop(struct amqp_connection *c, const char *why);
void amqp_next_tick(struct amqp_connection *c);
/* Something that was published is stored. */
void amqp_stored(struct amqp_connection *c);
/* Stores and settles what is gathered. */
void amqp_flush(struct amqp_connection *c);
void amqp_log(struct amqp_connection *c, enum amqp_log level, const char *what, const char *detail);
/* Reads again unless something holds it. */
void amqp_go_on(struct amqp_connection *c);

/* alarm.c: something was published; time goes by. */
void alarm_look(struct amqp_connection *c);
void alarm_tick(struct amqp_connection *c);

/* late.c: milliseconds that begin anew after 49 days; how often late_tick is due; what a consumer's arguments
 * say, -1: nothing. */
uint32_t late_now(const struct amqp_connection *c);
int64_t late_interval_ms(const struct amqp *a);
int64_t late_timeout_of(beck_bytes arguments);
void late_tick(struct amqp_connection *c);

/* login.c: start, start-ok, tune, open. */
void handshake_start(struct amqp_connection *c);
void handshake_method(struct amqp_connection *c, const struct method *m);
void handshake_update_secret(struct amqp_connection *c);

/* A method frame. */
void amqp_send(struct amqp_connection *c, uint16_t channel, const struct method *m);
/* Method, header and body. `block`: that body lies in, or NULL. */
void amqp_send_content(struct amqp_connection *c, uint16_t channel, const struct method *m,
                       beck_bytes properties, beck_bytes body, struct block *block);

/* ---- unacked ---- */

/* Where deliveries are from, as long as there are any: a consumer, or gets from a queue. */
struct source {
    struct broker_queue *queue;    /* a reference; NULL: nothing was delivered yet */
    struct subscriber *subscriber; /* NULL: closed, or gets */
    int64_t timeout_ms;            /* for answers, of the consumer itself; -1: none */
    _Atomic(uint32_t) refs;
};
void source_release(struct source *s);

struct outstanding {
    uint64_t delivery;     /* the delivery tag */
    uint64_t tag;          /* of the broker */
    struct source *source; /* a reference; NULL: settled */
    uint32_t since;        /* late_now */
};

/* In order of their tags; `count` of them are not settled. */
struct unacked {
    struct outstanding *at;
    size_t first, end, cap, count;
};
bool unacked_reserve(struct unacked *u, size_t more);
void unacked_add(struct unacked *u, struct outstanding o); /* after reserve */
/* NULL: not there. */
struct outstanding *unacked_find(struct unacked *u, uint64_t delivery);
void unacked_remove(struct unacked *u, struct outstanding *o);
/* The first one; NULL: none. */
struct outstanding *unacked_first(struct unacked *u);
void unacked_sort(struct unacked *u);
void unacked_release(struct unacked *u);

/* Answers for one queue. */
struct batch {
    struct broker_queue *queue;
    enum settlement how;
    size_t count;
    uint64_t tags[SETTLE_MAX];
    struct source *sources[SETTLE_MAX];
};
/* Takes the reference. */
void batch_add(struct batch *b, struct source *s, uint64_t tag, enum settlement how);
void batch_flush(struct batch *b);

/* ---- channels ---- */

enum channel_state {
    CHANNEL_OPEN,
    CHANNEL_ENDING, /* the work of its end runs */
    CHANNEL_CLOSING /* close was sent */
};

struct incoming;    /* publish.c: a message that is not whole */
struct confirms;    /* confirm.c */
struct transaction; /* tx.c */

struct amqp_consumer {
    struct channel *channel; /* a reference */
    struct subscriber *subscriber;
    struct source *source;
    struct net_task task;
    _Atomic(bool) posted, cancelled;
    bool started; /* consume-ok was sent */
    bool wants;   /* there may be something that was not taken */
    bool stalled; /* the broker knows that it takes nothing */
    bool closing; /* belongs to the work that closes it */
    bool no_ack, exclusive;
    uint32_t prefetch;
    struct work close;
    beck_bytes tag, queue, arguments; /* within `bytes` */
    uint8_t bytes[];
};

struct channel {
    struct amqp_connection *c;
    uint16_t number;
    enum channel_state state;
    uint32_t refs;               /* the table's, and of works and consumers */
    uint64_t deliveries;         /* the last tag */
    struct publisher *publisher; /* NULL: nothing was published yet */
    bool flushes;                /* in the connection's list */
    uint32_t gathered;           /* publications that are not flushed */
    struct channel *next_flush;
    struct incoming *incoming; /* NULL: a method is due */
    struct confirms *confirms; /* of confirm or tx; NULL: neither */
    struct transaction *tx;    /* NULL: none */
    bool confirming;
    char *last_queue; /* declared on it; NULL: none */
    struct credit credit;
    struct unacked unacked;
    struct source *got; /* of the last get; NULL: none */

    struct work end;
    int end_code; /* of channel.close; 0: the client closed it */
    uint32_t end_method;
    char *end_text;
    struct amqp_consumer **ended; /* consumers, while the end runs */
    size_t ended_count;

    /* With amqp.lock when they change or when others look. */
    struct amqp_consumer **consumers;
    size_t consumer_count, consumer_cap;
    _Atomic(uint32_t) prefetch, unacked_seen, unconfirmed_seen, uncommitted_seen, acks_seen;
    _Atomic(uint64_t) counts[CHANNEL_COUNTS];
    _Atomic(char) mode_seen; /* c: confirm, t: transactions */
};

/* By the loop alone; others look. */
static inline void channel_count(struct channel *ch, int what, uint64_t count)
{
    uint64_t before = atomic_load_explicit(&ch->counts[what], memory_order_relaxed);
    atomic_store_explicit(&ch->counts[what], before + count, memory_order_relaxed);
}

struct channel *channel_find(struct amqp_connection *c, uint16_t number);
void channel_open(struct amqp_connection *c, uint16_t number);
void channel_method(struct channel *ch, const struct method *m, beck_bytes payload);
/* On a channel that ends. */
void channel_late(struct channel *ch, uint32_t method);
/* channel.close, or connection.close when the code is a hard one. */
void channel_refuse(struct channel *ch, int code, const char *text, uint32_t method);
void channel_refusef(struct channel *ch, int code, uint32_t method, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void channel_release(struct channel *ch);
/* Out of the table. */
void channel_forget(struct channel *ch);
/* What it has is given up, on the pool; nobody else uses it. */
void channel_give_up(struct channel *ch);
/* Before that, on the loop; and behind it. */
void channel_detach(struct channel *ch);
void channel_free_ended(struct channel *ch);
void channel_send(struct channel *ch, const struct method *m);
/* Method without fields. */
void channel_send_empty(struct channel *ch, enum method_id id);

/* What a queue's empty name stands for; false: the channel was refused. */
bool channel_queue_name(struct channel *ch, beck_bytes *name, uint32_t method);

/* ---- classes ---- */

void exchange_method(struct channel *ch, const struct method *m, beck_bytes payload);
void queue_method(struct channel *ch, const struct method *m, beck_bytes payload);
void basic_method(struct channel *ch, const struct method *m, beck_bytes payload);
void confirm_method(struct channel *ch, const struct method *m);
void tx_method(struct channel *ch, const struct method *m);

/* basic.c */
void settle_outstanding(struct channel *ch, struct outstanding o, enum settlement how);

/* ---- publish.c ---- */

/* `rest`: of the input from the frame of the method on, which is `size` bytes long. Returns how much is
 * consumed: nothing when it has to wait. */
size_t publish_begin(struct channel *ch, beck_bytes method, beck_bytes rest, size_t size);
/* What is due of a message that came in parts. */
bool publish_expects(const struct channel *ch, enum frame_type type);
/* 505 for a frame that is not what is due. */
void publish_unexpected(struct channel *ch, enum frame_type came);
void publish_header(struct channel *ch, beck_bytes payload);
/* A body frame of that size begins. False: refused. */
bool publish_body(struct channel *ch, size_t size);
void publish_bytes(struct channel *ch, beck_bytes part);
/* A body frame is whole. */
void publish_body_end(struct channel *ch);
void incoming_free(struct channel *ch);

/* What m points to is left alone until the channel is flushed. BROKER_LATER: publish_prepare, then it is to
 * be tried again; another code: refused. */
int publish_now(struct channel *ch, const struct publication *m, uint64_t token);
/* Holds the connection meanwhile. `then` may be NULL, and is not called after a failure. */
void publish_prepare(struct channel *ch, beck_bytes exchange, void (*then)(struct channel *ch));
void publish_flush(struct channel *ch);
/* Whether it has to wait until what was published is stored. */
bool publish_waits(const struct channel *ch);

/* Memory of what clients make grow, over all connections: bodies, transactions, arguments of
 * consumers. False: too much. */
bool bodies_take(struct amqp *a, size_t bytes);
void bodies_give(struct amqp *a, size_t bytes);

/* ---- deliver.c ---- */

/* Both for the broker. */
void consumer_woken(void *ctx);
void consumer_cancelled(void *ctx);
void consumer_task(struct net_task *t);
/* Takes what there is, if it may. */
void consumer_look(struct amqp_consumer *k);
/* Out of its channel; then it belongs to a work that closes it. */
void consumer_detach(struct amqp_consumer *k);
void consumer_free(struct amqp_consumer *k);
/* Permissions were looked up again: consumers that may not read any more are cancelled. */
void consumers_check(struct amqp_connection *c);
/* There is room again, in the output or among what is unacked. */
void deliver_on(struct amqp_connection *c);

/* ---- confirm.c ---- */

bool confirms_make(struct channel *ch);
void confirms_free(struct channel *ch);
/* The number of the next publish; 0: no memory. It is taken by confirms_taken. */
uint64_t confirms_next(struct channel *ch);
void confirms_taken(struct channel *ch);
/* For the broker. */
void confirms_told(void *ctx, const uint64_t *tokens, size_t count, bool ack);
size_t confirms_open(const struct channel *ch); /* not confirmed yet */

/* ---- tx.c ---- */

void tx_publish(struct channel *ch, const struct publication *m);
void tx_settle(struct channel *ch, struct outstanding o, enum settlement how);
void tx_confirmed(struct channel *ch, uint64_t count, bool ack);
/* There is room in the output again, or it will never be read: a commit that waited for it goes on. */
void tx_go_on(struct channel *ch);
/* A commit that came to nothing holds the connection no longer. */
void tx_stop(struct channel *ch);
/* As rollback. */
void tx_abandon(struct channel *ch);
void tx_free(struct channel *ch);

#endif
