/*
 * What the parts of the connection layer know of each other. See net.h.
 *
 * A connection is in one of these states, and only moves downwards:
 *
 *   greeting   TLS handshake; the protocol does not know of it yet
 *   open       the protocol is called
 *   finishing  nothing is read; what waits is sent
 *   lingering  all is sent and said so; what comes is thrown away until the peer closes
 *   closed     off the loop; only references keep its memory
 *
 * Whatever happens in a turn only marks: a connection with something to do is put into the loop's
 * list, and settled at the end of the turn. So no function frees what its caller still uses.
 */
#ifndef BECK_NET_NET_IMPL_H
#define BECK_NET_NET_IMPL_H

#include "base/thread.h"
#include "net/addresses.h"
#include "net/net.h"
#include "net/rope.h"
#include "net/tls.h"

#include <event2/event.h>
#include <event2/event_struct.h>

#define SCRATCH_SIZE 65536 /* read at once */
#define KEPT_SHORT 16384   /* of the input: is copied in front of what is read */
#define SLEEPERS_MAX 8     /* loops that are woken later; more are woken at once */

/* A listener, and what is counted for it. */
struct gate_keeper {
    struct net *net;
    struct net_listener settings;
    struct event event;       /* on the first loop */
    struct event retry_event; /* after a failure to accept */
    bool accepting;
    struct gauge *connections;
    struct counter *accepted, *refused, *received, *sent;
};

enum connection_state {
    STATE_GREETING,
    STATE_OPEN,
    STATE_FINISHING,
    STATE_LINGERING,
    STATE_CLOSED
};

struct connection {
    struct net_loop *loop;
    struct gate_keeper *keeper;
    struct connection *previous, *next; /* of the loop */
    struct connection *next_due;        /* to be settled at the end of the turn */
    bool due;
    _Atomic(uint32_t) refs;
    struct net_task arrival; /* brings it to its loop */

    int fd;
    enum connection_state state;
    void *protocol_state;
    bool told;           /* the protocol was told of it */
    bool established;    /* the idle timeout counts */
    bool paused;         /* by the protocol */
    bool full;           /* output_max was reached; cleared below half of it */
    bool reading;        /* read_event is added */
    bool blocked;        /* the socket takes no more: write_event is added */
    bool ending;         /* the last of what came is before the protocol; then peer_ended */
    bool peer_ended;     /* the protocol knows */
    bool tells;          /* the protocol wants to know when all is sent */
    bool goes_on;        /* what is left of the input is to be given again */
    const char *failure; /* it is to be closed at the end of the turn; "": both sides are done */

    struct buf input; /* what was not consumed */
    size_t counted;   /* of its memory, in net.inputs */
    size_t expected;  /* bytes that the next message has */
    struct rope output;
    struct tls_filter *tls; /* NULL: none */

    struct event read_event, write_event, timer_event;
    int64_t timer_ns; /* when timer_event comes; INT64_MAX: it is not added */
    int64_t opened_ns, received_ns, sent_ns, finished_ns, tick_ns;
    uint32_t idle_timeout_ms;
    uint8_t address_key[ADDRESS_KEY_SIZE];
    bool has_address;
    struct net_peer peer;
};

struct net_loop {
    struct net *net;
    pthread_t thread;
    bool started;
    struct event_base *base;
    int wake_fd;
    struct event wake_event;
    _Atomic(struct net_task *) inbox; /* the last one posted first */
    _Atomic(bool) asleep;
    _Atomic(uint32_t) touching; /* other threads that are in the middle of waking it */
    _Atomic(uint32_t) alive;    /* connections whose memory is there */
    _Atomic(uint32_t) open;     /* on this loop, or on their way to it */
    bool fresh;                 /* now_ns is of this turn */
    int64_t now_ns;
    struct net_loop *sleepers[SLEEPERS_MAX]; /* others that got something from this one */
    size_t sleeper_count;
    struct connection *all, *due, **due_end;
    struct piece_cache pieces;
    uint8_t *scratch, *space; /* what is read; what is read of a file to be encrypted */
    bool draining, stopping;  /* set by tasks */
    struct net_task drain_task, stop_task;
};

struct net {
    struct net_settings settings;
    struct net_loop *loops;
    struct gate_keeper *keepers;
    size_t keeper_count;
    struct addresses *addresses;
    _Atomic(uint32_t) open;   /* connections, from accept to close */
    _Atomic(uint64_t) inputs; /* memory of what is kept of the input, over all connections */
    bool drained;             /* by net_drain; the caller's thread */
    struct mutex lock;        /* a leaf, for what follows */
    struct cond changed;
    bool keepers_closed;
    struct net_task close_task;
};

/* ---- accept.c ---- */

/* On the first loop, before it runs. */
beck_status keepers_start(struct net *n, beck_error *err);
/* Accepts no more and closes the sockets. On the first loop, or when no loop runs. */
void keepers_stop(struct net *n);

/* ---- loop.c ---- */

beck_status loop_open(struct net *n, struct net_loop *l, beck_error *err);
beck_status loop_start(struct net_loop *l, beck_error *err);
/* Its thread has ended, or was not started; nobody has a reference to a connection of it. */
void loop_close(struct net_loop *l);
/* Frees the memory of a closed connection. Any thread. */
void loop_forget(struct connection *c);
/* Every callback of libevent begins with this. */
void loop_enter(struct net_loop *l);
/* Wakes the loops to which this one's thread has posted; with no lock held. */
void loop_wake_others(struct net_loop *l);
/* Puts the connection into the list of those to be settled at the end of this turn; called while
 * those are settled, of the next one. */
void loop_due(struct connection *c);

/* ---- connection.c ---- */

/* A connection on its way to a loop. Takes the descriptor, and what was counted for it. NULL: no
 * memory, nothing was taken. */
struct connection *connection_new(struct net_loop *l, struct gate_keeper *k, int fd,
                                  const struct net_peer *peer);
/* The end of a turn. */
void connection_settle(struct connection *c);
void connection_drain(struct connection *c);
/* It is closed at the end of the turn; the first reason counts. */
void connection_fail(struct connection *c, const char *why);

/* ---- output.c ---- */

/* Sends what waits. False: the connection failed. */
bool output_send(struct connection *c);
static inline size_t output_waits(const struct connection *c)
{
    return c->output.len + (c->tls ? c->tls->wire.len : 0);
}

#endif
