/*
 * One request of the management API: who asks, what came, and the answers. Handlers run on the pool, so
 * they may wait for the disk.
 *
 * A handler answers exactly once. JSON values that are given to an answer are taken over.
 */
#ifndef BECK_WIRE_MANAGEMENT_CALL_H
#define BECK_WIRE_MANAGEMENT_CALL_H

#include "broker/listing.h"
#include "wire/management/management.h"
#include "wire/management/rates.h"

#include <jansson.h>

/* Tags that a user needs. */
enum caller_level {
    LEVEL_NOBODY,     /* not even a name */
    LEVEL_ANY,        /* some tag of the management */
    LEVEL_POLICIES,   /* policymaker, or more */
    LEVEL_MONITORING, /* monitoring, or more */
    LEVEL_ADMIN
};

#define GUEST "guest" /* who calls while nobody needs a name */

struct call {
    struct http_request *r;
    struct management *m;
    struct broker *b;
    const char *user;
    bool admin, monitoring;
    struct rates_range lengths, msg_rates, data_rates,
        node_stats;      /* ?lengths_age=..&lengths_incr=.. */
    size_t samples_left; /* of all of those */
    json_t *body;        /* an object; of routes that read one */
    char text[BROKER_TEXT];
    beck_error err;
};

struct management_route {
    const char *method, *path;
    enum caller_level level;
    bool body; /* is read, as a JSON object; none is {} */
    void (*run)(struct call *c);
    const char *operation; /* for metrics */
};

/* Tables end with a NULL method. One per file of handlers. */
extern const struct management_route management_routes_overview[];
extern const struct management_route management_routes_health[];
extern const struct management_route management_routes_vhosts[];
extern const struct management_route management_routes_users[];
extern const struct management_route management_routes_permissions[];
extern const struct management_route management_routes_exchanges[];
extern const struct management_route management_routes_queues[];
extern const struct management_route management_routes_bindings[];
extern const struct management_route management_routes_messages[];
extern const struct management_route management_routes_connections[];
extern const struct management_route management_routes_policies[];
extern const struct management_route management_routes_parameters[];
extern const struct management_route management_routes_definitions[];

const struct management_context *call_context(const struct call *c);

/* ---- what came ---- */

/* The n-th {} of the path. */
beck_bytes call_name(const struct call *c, size_t index);
/* The vhost that stands there, for looking (change false) or changing. False, after answering: there is
 * none, or it is not the caller's. */
bool call_vhost(struct call *c, size_t index, bool change, beck_bytes *out);
/* Whether lists show things of that vhost. */
bool call_sees_vhost(const struct call *c, beck_bytes vhost);
/* A session in the vhost, for declaring; false: answered. */
bool call_session(struct call *c, beck_bytes vhost, struct session **out);
bool call_flag(const struct call *c, const char *name); /* ?name=true */

/* Members of an object, with texts that stand for what they mean ("true", "7"). All: false, after
 * answering 400. What is missing or null gives `otherwise`,
 * false. */
bool body_bool(struct call *c, const json_t *from, const char *name, bool *out);
bool body_number(struct call *c, const json_t *from, const char *name, int64_t otherwise,
                 int64_t *out);
/* otherwise NULL: it must be there. Borrowed. */
bool body_text(struct call *c, const json_t *from, const char *name, const char *otherwise,
               beck_bytes *out);

/* ---- answers ---- */

void answer_json(struct call *c, int status, json_t *value);
void answer_nothing(struct call *c, int status); /* 201, 204 */
void answer_error(struct call *c, int status, const char *error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void answer_not_found(struct call *c);
/* What the broker refused, with c->text; or an engine's error, with c->err. */
void answer_reply(struct call *c, int code);
void answer_status(struct call *c, beck_status status);
/* 201 or 204, or the error. */
void answer_put(struct call *c, beck_status status, bool made);
/* 204, or the error. */
void answer_done(struct call *c, beck_status status);

/* ---- JSON ---- */

json_t *json_of(beck_bytes text);          /* bytes that are no UTF-8 become U+FFFD */
json_t *json_of_document(beck_bytes json); /* a JSON text; {} if it is none */
void json_put(json_t *object, const char *name, json_t *value); /* takes it, NULL: no memory */
void json_put_text(json_t *object, const char *name, beck_bytes text);
void json_put_word(json_t *object, const char *name, const char *text);
void json_put_number(json_t *object, const char *name, int64_t value);
void json_put_flag(json_t *object, const char *name, bool value);
beck_bytes json_slice(const json_t *string);
/* The text of a value, appended. */
beck_status json_write(const json_t *value, struct buf *out);

/* An AMQP table as an object, and back: false: c->err says what does not fit. */
json_t *json_of_table(beck_bytes table);
bool table_of_json(struct call *c, const json_t *object, struct buf *out);
json_t *json_of_properties(beck_bytes raw);
bool properties_of_json(struct call *c, const json_t *object, struct buf *out);

#endif
