/*
 * Connections for protocols that beck speaks itself: a few loops, each one thread, and on each of
 * them connections that stay there for life.
 *
 * A turn of a loop: wait; read what came and let the protocols parse all of it; run what other
 * threads put into the inbox; then send, with one system call per connection, what all of that put
 * into its output. So a burst of requests costs one read and one write, and answers are not sent
 * one by one.
 *
 * Threads: a protocol's functions are called on the loop of the connection, one at a time per loop,
 * and must not block. The functions named connection_* are for that thread only, and allowed in any
 * of the protocol's functions and in tasks, unless they say otherwise.
 *
 * Life: a connection is there from `opened` to the end of `closed`. Whoever needs it longer (work
 * that goes on elsewhere) holds a reference: its memory stays, it says that it is closed, what is
 * written to it is dropped.
 *
 * Bounds: connections, all and by address; input that is kept until a message is whole, of each and of
 * all; output that
 * the peer does not read (then the protocol is told to stop, and nothing more is read from that
 * peer); time for the handshake, time without a byte, time to read the last answers.
 */
#ifndef BECK_NET_NET_H
#define BECK_NET_NET_H

#include "base/error.h"
#include "base/metrics.h"
#include "log/block.h"

struct net;
struct net_loop;
struct net_tls;
struct connection;

/* ---- protocols ---- */

struct net_protocol {
    const char *name; /* in metrics: "amqp" */
    /* A peer is there, and its TLS handshake is done. What is returned is connection_state from then
     * on; NULL ends the connection, and `closed` is not called. */
    void *(*opened)(struct connection *c, void *ctx);
    /* What came and was not consumed yet, in one piece. Returns how much of it is consumed: all whole
     * messages, unless connection_is_full or the connection was paused in between. What is left is
     * given again when there is more behind it, or when the connection goes on. */
    size_t (*bytes)(struct connection *c, beck_bytes input);
    /* After connection_is_full was true: half of the output was sent, there is room again. NULL:
     * nobody waits for that. */
    void (*writable)(struct connection *c);
    /* After connection_tell_sent: all that was put out was given to the operating system. NULL: never
     * asked for. */
    void (*sent)(struct connection *c);
    /* The peer sends nothing more, but may still read. NULL: connection_finish. */
    void (*ended)(struct connection *c);
    /* The time of connection_tick_at has come. NULL: never asked for. */
    void (*tick)(struct connection *c);
    /* The server stops: say goodbye, then connection_finish. NULL: connection_finish. */
    void (*drain)(struct connection *c);
    /* The connection is over. Nothing is called for it any more. `why`: NULL when both sides are
     * done, else what went wrong, for logs. */
    void (*closed)(struct connection *c, const char *why);
};

/* ---- starting and stopping ---- */

struct net_listener {
    int fd;              /* listening; belongs to the net from net_start on, also when that fails */
    bool unix_socket;    /* peers have no address, and no limit by address */
    struct net_tls *tls; /* NULL: none. Outlives the net */
    const struct net_protocol *protocol;
    void *ctx;                     /* for `opened` */
    uint32_t handshake_timeout_ms; /* until connection_established; default 10,000 */
    uint32_t idle_timeout_ms;      /* without a byte in either direction; 0: no limit */
    uint32_t linger_ms;  /* for a peer to read the last answers and close; default 2,000 */
    uint32_t input_max;  /* bytes of a message that is not whole; default 1 MiB, at least 4 KiB */
    uint32_t output_max; /* bytes that wait to be sent; default 1 MiB, at least 4 KiB */
};

struct net_settings {
    uint32_t loops;                       /* default 2, at most 64 */
    uint32_t connections_max;             /* default 20,000 */
    uint32_t connections_per_address_max; /* 0: no limit; IPv6 addresses count by their /64 */
    uint64_t inputs_max; /* bytes of messages that are not whole, over all connections: one that
                            needs more is closed; default 256 MiB */
    struct metrics *metrics;
};

/* `listeners` are copied. BECK_EINVAL, BECK_ENOMEM, BECK_EIO. */
beck_status net_start(const struct net_settings *settings, const struct net_listener *listeners,
                      size_t count, struct net **out, beck_error *err);
/* Accepts nothing more, closes the listening sockets, lets every connection drain, and waits until
 * all are closed or the monotonic time has come. False: some are left. */
bool net_drain(struct net *n, int64_t until_ns);
/* Closes what is open, waits for every reference to be given back, runs what is in the inboxes,
 * frees. NULL allowed. */
void net_stop(struct net *n);

/* Certificate and key: paths of PEM files, the certificate with its chain. TLS 1.2 and later.
 * BECK_EINVAL: a file is missing, damaged, or the two do not belong together. */
beck_status net_tls_new(const char *certificate, const char *key, struct net_tls **out,
                        beck_error *err);
/* Before there are connections: clients are asked for a certificate that one of those in the file `authorities`
 * (PEM) has signed; with `required` none is let in without. It is read again with the others. BECK_EINVAL,
 * BECK_ENOMEM. */
beck_status net_tls_ask_clients(struct net_tls *t, const char *authorities, bool required,
                                beck_error *err);
/* Reads the files again, for connections made from now on; after an error those before are used.
 * Any thread. */
beck_status net_tls_reload(struct net_tls *t, beck_error *err);
void net_tls_free(struct net_tls *t); /* no net uses it; NULL allowed */

/* ---- work from elsewhere ---- */

/* Belongs to whoever posts it until `run` is called, on the loop. */
struct net_task {
    struct net_task *next;
    void (*run)(struct net_task *t);
};
/* Any thread, also with locks held: it takes none, and makes a system call only when the loop
 * sleeps; on the thread of another loop, once what that one is running has returned. Tasks of one
 * thread run in the order in which they were posted. The loop is there as long as a reference to one
 * of its connections, or the net. */
void net_post(struct net_loop *l, struct net_task *t);
/* The same for several, linked by `next` from the one that is to run last to the first. */
void net_post_chain(struct net_loop *l, struct net_task *last, struct net_task *first);

struct net_loop *connection_loop(const struct connection *c); /* any thread */
struct connection *connection_retain(struct connection *c);   /* any thread */
void connection_release(struct connection *c);                /* any thread; NULL allowed */
bool connection_is_closed(const struct connection *c);

/* ---- connections ---- */

#define NET_ADDRESS_MAX 48

struct net_peer {
    char address[NET_ADDRESS_MAX]; /* text without the port; "unix" */
    uint16_t port;
    bool loopback; /* this machine, Unix sockets included */
    bool tls;
};

void *connection_state(const struct connection *c);
const struct net_peer *connection_peer(const struct connection *c);
/* The common name in the certificate that the peer has shown, which was checked. False: it has shown none, or
 * there is no such name, or it is too long. */
bool connection_peer_name(const struct connection *c, char *out, size_t size);
/* The address of this side, as text without the port; "" where there is none. A system call. */
void connection_local_address(const struct connection *c, char out[NET_ADDRESS_MAX]);

/* The handshake of the protocol is done: from now on idle_timeout_ms counts. */
void connection_established(struct connection *c);
/* Monotonic: of this turn, of the last byte that came, of the last one that was sent. */
int64_t connection_now_ns(const struct connection *c);
int64_t connection_received_ns(const struct connection *c);
int64_t connection_sent_ns(const struct connection *c);
/* `tick` is called once, at that monotonic time or soon after; INT64_MAX: not any more. */
void connection_tick_at(struct connection *c, int64_t mono_ns);

/* The message that begins the input will have so many bytes: room for it is taken at once. At most
 * input_max, else BECK_ELIMIT. */
beck_status connection_expect(struct connection *c, size_t bytes, beck_error *err);
/* Reads nothing and calls `bytes` no more until connection_resume. */
void connection_pause(struct connection *c);
void connection_resume(struct connection *c);

/* What `bytes` left is given again, at the end of this turn; nothing, if there is nothing. */
void connection_again(struct connection *c);

/* Output. It is sent at the end of the turn, in this order. When memory is short the connection is
 * closed at the end of the turn: there is nothing to check. */

/* Copies. */
void connection_write(struct connection *c, const void *data, size_t len);
/* Room for `size` bytes in one piece, to write into; connection_commit says how many it became,
 * before anything else is put out. NULL: no memory, or closed; then there is nothing to commit. */
uint8_t *connection_reserve(struct connection *c, size_t size);
void connection_commit(struct connection *c, size_t len);
/* Refers to bytes that do not change until `release`, which runs once, on the loop. */
void connection_write_memory(struct connection *c, beck_bytes bytes, void (*release)(void *ctx),
                             void *ctx);
/* Bytes within a block: takes a reference of its own. */
void connection_write_block(struct connection *c, struct block *block, beck_bytes bytes);
/* A range of a file, which it must have; the descriptor stays open until `release`. */
void connection_write_file(struct connection *c, int fd, int64_t position, size_t len,
                           void (*release)(void *ctx), void *ctx);

size_t connection_output(const struct connection *c); /* bytes that wait */
/* `sent` is called once, when nothing waits any more; not when the connection ends before. */
void connection_tell_sent(struct connection *c);
/* output_max bytes or more wait: produce no more until `writable`. Little more is accepted (the
 * answer at hand), as nothing is dropped. */
bool connection_is_full(const struct connection *c);

/* Sends what waits, tells the peer that nothing more comes, waits (linger_ms) for it to do the same.
 * Nothing more is read or may be written. */
void connection_finish(struct connection *c);
/* At the end of the turn, whatever waits. `why` for `closed`: a constant text. */
void connection_abort(struct connection *c, const char *why);

#endif
