/*
 * A request that is being answered, for those that do it (handlers.h).
 *
 * A handler is called on the loop of the connection and must not block: no disk, no sync, no lock
 * that somebody holds meanwhile. It answers before it returns, or later and from any thread, exactly
 * once; what may block goes to the pool with request_defer. With the answer the request is the
 * frame's again and must not be touched.
 *
 * What comes behind a request on the same connection is started when it is answered, as Kafka's own
 * server has it; behind one whose row says `pipelined` at once. Answers leave in the order of their
 * requests.
 */
#ifndef BECK_WIRE_KAFKA_REQUEST_H
#define BECK_WIRE_KAFKA_REQUEST_H

#include "kafka/errors.h"
#include "kafka/message/codec.h"
#include "wire/kafka/kafka_wire.h"

struct kafka_request;
typedef void (*kafka_handler)(struct kafka_request *r);

/* The struct of the request's table, valid until the answer; of a row that says `in_place` until the
 * handler returns, and what it points at may be written to. */
const void *request_body(const struct kafka_request *r);
/* In the handler of an in_place row: copies the request, so that it is valid until the answer, and nothing
 * behind it on the connection is started before that, or request_lets_go_on (loop). The body, in another
 * place than before; NULL: no memory, nothing has changed. */
const void *request_keep(struct kafka_request *r);
void request_lets_go_on(struct kafka_request *r);
int16_t request_version(const struct kafka_request *r);
beck_bytes request_client_id(const struct kafka_request *r); /* data NULL: none */
struct identity *request_identity(const struct kafka_request *r);
const struct net_peer *request_peer(const struct kafka_request *r);
/* What this client is to connect to; valid until the answer. */
const struct kafka_endpoint *request_endpoint(const struct kafka_request *r);
/* Whether its connection has ended; valid until the answer, on any thread. */
const _Atomic(bool) *request_gone(const struct kafka_request *r);
struct kafka *request_kafka(const struct kafka_request *r);
beck *request_engine(const struct kafka_request *r);

/* Memory that is zero and valid until the answer was sent or dropped: for the answer, what its records
 * need to be released, and what the handler keeps meanwhile. One thread at a time, and not after the
 * answer. NULL: no memory; request_fail then. */
void *request_alloc(struct kafka_request *r, size_t size);
struct kafka_arena *request_arena(struct kafka_request *r);
/* A place for the handler's own, for functions that only get the request. */
void request_set_state(struct kafka_request *r, void *state);
void *request_state(const struct kafka_request *r);

/* `body` is the struct of the answer's table; it is encoded during the call, and records in it that
 * have a release are taken over. NULL: there is no answer (acks=0). */
void request_answer(struct kafka_request *r, const void *body);
/* Instead of an answer: it cannot be answered, and the connection ends. `why`: a constant text. */
void request_fail(struct kafka_request *r, const char *why);
/* Runs `fn` on the pool, where it may block. In any order among requests that are not answered. */
void request_defer(struct kafka_request *r, void (*fn)(struct kafka_request *r));
/* In such a function, between two elements of a request that has many: true when the request has had its
 * turn and others wait for the thread. What has been done is to be remembered then (request_state), and
 * the rest deferred. */
bool request_gives_way(const struct kafka_request *r);
/* In such a function: waits until no other request does what takes much memory, such as reading a batch that
 * may be hundreds of MiB once it is decompressed. Until request_end_large, which follows on the same thread. */
void request_begin_large(struct kafka_request *r);
void request_end_large(struct kafka_request *r);
/* Runs `fn` on the loop of the connection, soon; any thread, with locks held. Once at a time, and not
 * while it is deferred. */
void request_post(struct kafka_request *r, void (*fn)(struct kafka_request *r));
/* `fn` is called on the loop when the connection ends, or the server wants to stop, before the request
 * is answered: it is to be answered soon then, whatever with. It may run while another thread is about
 * to answer: who of them does so is for the handler to decide. Every request that may wait for more
 * than disk needs one. In the handler only. */
void request_on_close(struct kafka_request *r, void (*fn)(struct kafka_request *r));
/* `fn` runs on the pool when the connection of the request and all requests on it have ended. Loop. */
void request_at_end(struct kafka_request *r, void (*fn)(struct kafka *k, const void *connection));
/* A name of the connection, as long as `fn` has not ended. */
const void *request_connection(const struct kafka_request *r);

/* `fn` is called on the loop, once, when others wait for the memory of the request before it is answered:
 * it is to be answered soon then, with what there is. As with request_on_close another thread may be
 * about to answer. In the handler only. */
void request_on_short(struct kafka_request *r, void (*fn)(struct kafka_request *r));
/* The handler has what it needs, and waits for something else: what it holds is counted. Loop, and nobody
 * else has the request. */
void request_waits(struct kafka_request *r);

/* ---- rights ---- */

enum kafka_resource { /* Kafka's numbers */
                      KAFKA_RESOURCE_TOPIC = 2,
                      KAFKA_RESOURCE_GROUP = 3,
                      KAFKA_RESOURCE_CLUSTER = 4,
                      KAFKA_RESOURCE_TRANSACTIONAL_ID = 5
};

enum kafka_operation { /* Kafka's numbers */
                       KAFKA_OP_READ = 3,
                       KAFKA_OP_WRITE = 4,
                       KAFKA_OP_CREATE = 5,
                       KAFKA_OP_DELETE = 6,
                       KAFKA_OP_ALTER = 7,
                       KAFKA_OP_DESCRIBE = 8,
                       KAFKA_OP_CLUSTER_ACTION = 9,
                       KAFKA_OP_DESCRIBE_CONFIGS = 10,
                       KAFKA_OP_ALTER_CONFIGS = 11,
                       KAFKA_OP_IDEMPOTENT_WRITE = 12
};

/* Whether the caller may do that to a topic, group or transactional id of that name, or (the name is
 * not looked at) to the cluster. The table is in authorize.c. */
bool request_may(const struct kafka_request *r, enum kafka_resource resource,
                 enum kafka_operation operation, beck_bytes name);
/* All operations that make sense there and that the caller may do, as the set of bits that Kafka calls
 * authorized operations. */
int32_t request_operations(const struct kafka_request *r, enum kafka_resource resource,
                           beck_bytes name);

#endif
