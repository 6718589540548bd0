/* A Kafka server on a directory of its own, and a client that says what a test wants. */
#ifndef TESTS_WIRE_KAFKA_WORLD_H
#define TESTS_WIRE_KAFKA_WORLD_H

#include "kafka/message/codec.h"
#include "log/batch.h"
#include "wire/kafka/kafka_wire.h"

/* cmocka needs these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct kafka_world {
    char dir[64];
    beck *b;
    struct access *access;
    struct access_settings access_settings; /* may be set before it is opened, as those below */
    struct kafka_settings settings;
    struct kafka *kafka;
    struct kafka_wire *wire;
    struct metrics *metrics;
    struct net *net;
    uint16_t port;
};

void kafka_world_open(struct kafka_world *w);
void kafka_world_close(struct kafka_world *w);
void kafka_world_stop(struct kafka_world *w); /* keeps the directory: it may be opened again */

struct kafka_peer {
    int fd;
    uint8_t *frame; /* the last answer, behind its size */
    size_t len;
    int32_t sent, heard;      /* correlation ids */
    struct kafka_arena arena; /* of what was heard; until the next is */
};

void kafka_dial(struct kafka_world *w, struct kafka_peer *c);
void kafka_hang_up(struct kafka_peer *c);
void kafka_say(struct kafka_peer *c, const struct kafka_table *t, int16_t version,
               const void *request);
/* The next answer, in order; into `out`, a structure of the table. */
void kafka_hear(struct kafka_peer *c, const struct kafka_table *t, int16_t version, void *out);
bool kafka_hears_end(struct kafka_peer *c);
/* Both. */
#define kafka_ask(c, name, version, request, answer)                                               \
    (kafka_say(c, kafka_##name##_request_table(), version, request),                               \
     kafka_hear(c, kafka_##name##_response_table(), version, answer))

/* ---- batches ---- */

struct kafka_made {
    beck_codec codec;
    int64_t timestamp_ms; /* of the first record; 0: now */
    int64_t producer_id;  /* 0: none */
    int16_t epoch;
    int32_t sequence;
    uint16_t attributes;
    bool no_keys;
};
/* `count` records of that value, as a client makes them. out: initialised; what was there goes. */
void kafka_make_batch(struct buf *out, const char *value, int32_t count,
                      const struct kafka_made *how);

#endif
