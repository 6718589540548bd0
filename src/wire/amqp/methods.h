/*
 * The methods of AMQP 0-9-1 with RabbitMQ's extensions: one table, from which come their numbers, a
 * struct for each, and what reads and writes them.
 *
 * A field is a number of 8 bytes (also a bit) or a slice, so that the place of each in its struct
 * follows from the kinds of those before it.
 */
#ifndef BECK_WIRE_AMQP_METHODS_H
#define BECK_WIRE_AMQP_METHODS_H

#include "base/bytes.h"

/* METHOD(name, class, method, who sends it, fields) */
/* clang-format off */
#define AMQP_METHODS(METHOD) \
    METHOD(connection_start, 10, 10, SERVER, \
           OCTET(version_major) OCTET(version_minor) TABLE(server_properties) LONGSTR(mechanisms) \
           LONGSTR(locales)) \
    METHOD(connection_start_ok, 10, 11, CLIENT, \
           TABLE(client_properties) SHORTSTR(mechanism) LONGSTR(response) SHORTSTR(locale)) \
    METHOD(connection_secure, 10, 20, SERVER, LONGSTR(challenge)) \
    METHOD(connection_secure_ok, 10, 21, CLIENT, LONGSTR(response)) \
    METHOD(connection_tune, 10, 30, SERVER, SHORT(channel_max) LONG(frame_max) SHORT(heartbeat)) \
    METHOD(connection_tune_ok, 10, 31, CLIENT, SHORT(channel_max) LONG(frame_max) SHORT(heartbeat)) \
    METHOD(connection_open, 10, 40, CLIENT, \
           SHORTSTR(virtual_host) SHORTSTR(capabilities) BIT(insist)) \
    METHOD(connection_open_ok, 10, 41, SERVER, SHORTSTR(known_hosts)) \
    METHOD(connection_close, 10, 50, BOTH, \
           SHORT(reply_code) SHORTSTR(reply_text) SHORT(class_id) SHORT(method_id)) \
    METHOD(connection_close_ok, 10, 51, BOTH, NOTHING) \
    METHOD(connection_blocked, 10, 60, SERVER, SHORTSTR(reason)) \
    METHOD(connection_unblocked, 10, 61, SERVER, NOTHING) \
    METHOD(connection_update_secret, 10, 70, CLIENT, LONGSTR(new_secret) SHORTSTR(reason)) \
    METHOD(connection_update_secret_ok, 10, 71, SERVER, NOTHING) \
    METHOD(channel_open, 20, 10, CLIENT, SHORTSTR(out_of_band)) \
    METHOD(channel_open_ok, 20, 11, SERVER, LONGSTR(channel_id)) \
    METHOD(channel_flow, 20, 20, BOTH, BIT(active)) \
    METHOD(channel_flow_ok, 20, 21, BOTH, BIT(active)) \
    METHOD(channel_close, 20, 40, BOTH, \
           SHORT(reply_code) SHORTSTR(reply_text) SHORT(class_id) SHORT(method_id)) \
    METHOD(channel_close_ok, 20, 41, BOTH, NOTHING) \
    METHOD(access_request, 30, 10, CLIENT, \
           SHORTSTR(realm) BIT(exclusive) BIT(passive) BIT(active) BIT(write) BIT(read)) \
    METHOD(access_request_ok, 30, 11, SERVER, SHORT(ticket)) \
    METHOD(exchange_declare, 40, 10, CLIENT, \
           SHORT(ticket) SHORTSTR(exchange) SHORTSTR(type) BIT(passive) BIT(durable) BIT(auto_delete) \
           BIT(internal) BIT(nowait) TABLE(arguments)) \
    METHOD(exchange_declare_ok, 40, 11, SERVER, NOTHING) \
    METHOD(exchange_delete, 40, 20, CLIENT, \
           SHORT(ticket) SHORTSTR(exchange) BIT(if_unused) BIT(nowait)) \
    METHOD(exchange_delete_ok, 40, 21, SERVER, NOTHING) \
    METHOD(exchange_bind, 40, 30, CLIENT, \
           SHORT(ticket) SHORTSTR(destination) SHORTSTR(source) SHORTSTR(routing_key) BIT(nowait) \
           TABLE(arguments)) \
    METHOD(exchange_bind_ok, 40, 31, SERVER, NOTHING) \
    METHOD(exchange_unbind, 40, 40, CLIENT, \
           SHORT(ticket) SHORTSTR(destination) SHORTSTR(source) SHORTSTR(routing_key) BIT(nowait) \
           TABLE(arguments)) \
    METHOD(exchange_unbind_ok, 40, 51, SERVER, NOTHING) \
    METHOD(queue_declare, 50, 10, CLIENT, \
           SHORT(ticket) SHORTSTR(queue) BIT(passive) BIT(durable) BIT(exclusive) BIT(auto_delete) \
           BIT(nowait) TABLE(arguments)) \
    METHOD(queue_declare_ok, 50, 11, SERVER, \
           SHORTSTR(queue) LONG(message_count) LONG(consumer_count)) \
    METHOD(queue_bind, 50, 20, CLIENT, \
           SHORT(ticket) SHORTSTR(queue) SHORTSTR(exchange) SHORTSTR(routing_key) BIT(nowait) \
           TABLE(arguments)) \
    METHOD(queue_bind_ok, 50, 21, SERVER, NOTHING) \
    METHOD(queue_purge, 50, 30, CLIENT, SHORT(ticket) SHORTSTR(queue) BIT(nowait)) \
    METHOD(queue_purge_ok, 50, 31, SERVER, LONG(message_count)) \
    METHOD(queue_delete, 50, 40, CLIENT, \
           SHORT(ticket) SHORTSTR(queue) BIT(if_unused) BIT(if_empty) BIT(nowait)) \
    METHOD(queue_delete_ok, 50, 41, SERVER, LONG(message_count)) \
    METHOD(queue_unbind, 50, 50, CLIENT, \
           SHORT(ticket) SHORTSTR(queue) SHORTSTR(exchange) SHORTSTR(routing_key) TABLE(arguments)) \
    METHOD(queue_unbind_ok, 50, 51, SERVER, NOTHING) \
    METHOD(basic_qos, 60, 10, CLIENT, LONG(prefetch_size) SHORT(prefetch_count) BIT(global)) \
    METHOD(basic_qos_ok, 60, 11, SERVER, NOTHING) \
    METHOD(basic_consume, 60, 20, CLIENT, \
           SHORT(ticket) SHORTSTR(queue) SHORTSTR(consumer_tag) BIT(no_local) BIT(no_ack) \
           BIT(exclusive) BIT(nowait) TABLE(arguments)) \
    METHOD(basic_consume_ok, 60, 21, SERVER, SHORTSTR(consumer_tag)) \
    METHOD(basic_cancel, 60, 30, BOTH, SHORTSTR(consumer_tag) BIT(nowait)) \
    METHOD(basic_cancel_ok, 60, 31, BOTH, SHORTSTR(consumer_tag)) \
    METHOD(basic_publish, 60, 40, CLIENT, \
           SHORT(ticket) SHORTSTR(exchange) SHORTSTR(routing_key) BIT(mandatory) BIT(immediate)) \
    METHOD(basic_return, 60, 50, SERVER, \
           SHORT(reply_code) SHORTSTR(reply_text) SHORTSTR(exchange) SHORTSTR(routing_key)) \
    METHOD(basic_deliver, 60, 60, SERVER, \
           SHORTSTR(consumer_tag) LONGLONG(delivery_tag) BIT(redelivered) SHORTSTR(exchange) \
           SHORTSTR(routing_key)) \
    METHOD(basic_get, 60, 70, CLIENT, SHORT(ticket) SHORTSTR(queue) BIT(no_ack)) \
    METHOD(basic_get_ok, 60, 71, SERVER, \
           LONGLONG(delivery_tag) BIT(redelivered) SHORTSTR(exchange) SHORTSTR(routing_key) \
           LONG(message_count)) \
    METHOD(basic_get_empty, 60, 72, SERVER, SHORTSTR(cluster_id)) \
    METHOD(basic_ack, 60, 80, BOTH, LONGLONG(delivery_tag) BIT(multiple)) \
    METHOD(basic_reject, 60, 90, CLIENT, LONGLONG(delivery_tag) BIT(requeue)) \
    METHOD(basic_recover_async, 60, 100, CLIENT, BIT(requeue)) \
    METHOD(basic_recover, 60, 110, CLIENT, BIT(requeue)) \
    METHOD(basic_recover_ok, 60, 111, SERVER, NOTHING) \
    METHOD(basic_nack, 60, 120, BOTH, LONGLONG(delivery_tag) BIT(multiple) BIT(requeue)) \
    METHOD(confirm_select, 85, 10, CLIENT, BIT(nowait)) \
    METHOD(confirm_select_ok, 85, 11, SERVER, NOTHING) \
    METHOD(tx_select, 90, 10, CLIENT, NOTHING) \
    METHOD(tx_select_ok, 90, 11, SERVER, NOTHING) \
    METHOD(tx_commit, 90, 20, CLIENT, NOTHING) \
    METHOD(tx_commit_ok, 90, 21, SERVER, NOTHING) \
    METHOD(tx_rollback, 90, 30, CLIENT, NOTHING) \
    METHOD(tx_rollback_ok, 90, 31, SERVER, NOTHING)
/* clang-format on */

enum method_sender { METHOD_CLIENT = 1, METHOD_SERVER = 2, METHOD_BOTH = 3 };

/* METHOD_basic_publish ...: class and method, 16 bits each. */
#define METHOD(name, class_, method_, sender, fields) METHOD_##name = (class_) << 16 | (method_),
enum method_id { METHOD_NONE = 0, AMQP_METHODS(METHOD) };
#undef METHOD

/* struct basic_publish ... */
#define OCTET(name) uint64_t name;
#define SHORT(name) uint64_t name;
#define LONG(name) uint64_t name;
#define LONGLONG(name) uint64_t name;
#define BIT(name) uint64_t name;
#define SHORTSTR(name) beck_bytes name;
#define LONGSTR(name) beck_bytes name;
#define TABLE(name) beck_bytes name;
#define NOTHING uint64_t nothing;
#define METHOD(name, class_, method_, sender, fields)                                              \
    struct name {                                                                                  \
        fields                                                                                     \
    };
AMQP_METHODS(METHOD)
#undef METHOD
#define METHOD(name, class_, method_, sender, fields) struct name name;
struct method {
    enum method_id id;
    union {
        AMQP_METHODS(METHOD)
    };
};
#undef METHOD
#undef OCTET
#undef SHORT
#undef LONG
#undef LONGLONG
#undef BIT
#undef SHORTSTR
#undef LONGSTR
#undef TABLE
#undef NOTHING

struct method_shape {
    const char *name; /* "basic.publish" */
    enum method_id id;
    enum method_sender sender;
    const char
        *kinds; /* a letter for each field: o s l q b (octet ... bit), S L (text), T (table) */
};

/* In order of their ids; NULL: there is none. */
const struct method_shape *method_find(uint32_t id);
extern const struct method_shape method_shapes[];
extern const size_t method_count;

static inline uint16_t method_class(enum method_id id)
{
    return (uint16_t)((uint32_t)id >> 16);
}
static inline uint16_t method_number(enum method_id id)
{
    return (uint16_t)((uint32_t)id & 0xffff);
}

enum method_read { METHOD_READ, METHOD_UNKNOWN, METHOD_MALFORMED };
/* The payload of a method frame; slices point into it. Malformed: too short, bytes behind the end, a
 * short string that is not UTF-8, or a table that is none. out->id is set as far as it is known. */
enum method_read method_read(beck_bytes payload, struct method *out);

/* Of a payload. */
size_t method_length(const struct method *m);
/* Writes so many bytes; returns the end. Short strings are cut to 255 bytes. */
uint8_t *method_write(const struct method *m, uint8_t *out);

#endif
