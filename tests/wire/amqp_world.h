/* An AMQP server over the broker of amqp_stub.h, and clients that say what a test wants. */
#ifndef TESTS_WIRE_AMQP_WORLD_H
#define TESTS_WIRE_AMQP_WORLD_H

#include "amqp_stub.h"
#include "wire/amqp/amqp.h"
#include "wire/amqp/frames.h"
#include "wire/amqp/methods.h"

/* cmocka needs these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct amqp_world {
    beck *b;
    struct access *access;
    struct access_settings access_settings; /* may be set before it is opened, as those below */
    struct amqp_settings settings;
    struct net_settings net_settings;
    uint32_t output_max;
    struct broker *broker;
    struct amqp *amqp;
    struct metrics *metrics;
    struct net *net;
    uint16_t port;
};

void amqp_world_open(struct amqp_world *w);
/* Every session, queue and message is gone by then. */
void amqp_world_close(struct amqp_world *w);

/* A client: what it reads is whole frames. */
struct peer {
    int fd;
    uint8_t *data;
    size_t len, cap, used; /* used: of the frame that was read last */
    struct method m;       /* that frame's, when it is a method */
    struct frame frame;
    bool announces_refusal, announces_cancel, announces_blocked;
    uint32_t frame_max; /* 0: as is offered */
    uint32_t heartbeat;
};

void peer_dial(struct amqp_world *w, struct peer *c);
void peer_close(struct peer *c); /* the socket */
void peer_send_bytes(struct peer *c, const void *data, size_t len);
void peer_send(struct peer *c, uint16_t channel, const struct method *m);
void peer_send_frame(struct peer *c, uint8_t type, uint16_t channel, const void *payload,
                     size_t len);
/* Appends frames to a buffer, for clients that send in pieces. */
void frame_put(struct buf *b, uint8_t type, uint16_t channel, const void *payload, size_t len);
void method_put(struct buf *b, uint16_t channel, const struct method *m);
/* Method, header with content type "text/plain", and body in one frame. */
void message_put(struct buf *b, uint16_t channel, const char *exchange, const char *key,
                 const char *body);

/* The next frame but heartbeats; false: the end. */
bool peer_read(struct peer *c);
/* That method comes next, on that channel; it is in c->m. */
void peer_hear(struct peer *c, uint16_t channel, enum method_id id);
/* Header and body of what was delivered. */
void peer_hear_content(struct peer *c, uint16_t channel, const char *body);
void peer_hear_end(struct peer *c);
/* Close of the channel (0: of the connection) with that code and text comes next. */
void peer_hear_close(struct peer *c, uint16_t channel, int code, const char *text);

/* Up to start; then up to open-ok; then with channel 1. */
void peer_greet(struct amqp_world *w, struct peer *c);
void peer_login(struct peer *c, const char *user, const char *password);
void peer_open(struct amqp_world *w, struct peer *c);
void peer_open_channel(struct peer *c, uint16_t number);
void peer_start(struct amqp_world *w, struct peer *c);

void peer_declare(struct peer *c, uint16_t channel, const char *queue);
void peer_publish(struct peer *c, uint16_t channel, const char *exchange, const char *key,
                  const char *body);
/* Without waiting for consume-ok. */
void peer_consume(struct peer *c, uint16_t channel, const char *queue, const char *tag,
                  bool no_ack);
void peer_ack(struct peer *c, uint16_t channel, uint64_t tag, bool multiple);
/* Something that is answered: all that came before was handled. */
void peer_sync(struct peer *c, uint16_t channel);

#endif
