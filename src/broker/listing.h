/*
 * What there is in a broker, and what is changed about it by administrators: for the management API and tools.
 * Exchanges, queues and bindings are declared and deleted by sessions (broker.h).
 *
 * Listing. Each `broker_each_...` calls `each` for all of a kind, in order of vhost and name, with no locks held;
 * what is given is a copy, its slices are valid during the call. Non-zero ends the walk. What is declared or
 * deleted meanwhile may be missing. A vhost that is absent (data NULL) means all; a name that is absent means
 * all of the vhost: given both, it is a look-up of one. They give how many were shown; -1: no memory.
 *
 * Changing: (slow), durable when they return. BECK_EINVAL: the text says what is wrong; BECK_ENOENT; errors of
 * the disk.
 *
 * Tables are raw AMQP tables, documents are JSON as it was put.
 */
#ifndef BECK_BROKER_LISTING_H
#define BECK_BROKER_LISTING_H

#include "broker/broker.h"

/* ---- vhosts ---- */

struct vhost_view {
    beck_bytes name;
    beck_bytes metadata; /* JSON object {"description","tags","default_queue_type"}; never empty */
    int64_t queues, exchanges;
    int64_t ready, unacked;              /* messages in its queues */
    int64_t queues_max, connections_max; /* limits; -1: none */
};
int64_t broker_each_vhost(struct broker *b, beck_bytes name,
                          int (*each)(void *ctx, const struct vhost_view *v), void *ctx);
/* Makes it, with its predeclared exchanges, or changes its metadata (empty: as it is). `user`, if not NULL, gets all
 * permissions in a new one. */
beck_status broker_put_vhost(struct broker *b, beck_bytes name, beck_bytes metadata,
                             const char *user, beck_error *err);
/* With everything in it. Its connections are the caller's to close first. */
beck_status broker_delete_vhost(struct broker *b, beck_bytes name, beck_error *err);
bool broker_has_vhost(struct broker *b, beck_bytes name);

/* ---- exchanges ---- */

struct exchange_view {
    beck_bytes vhost, name, type;
    bool durable, auto_delete, internal;
    beck_bytes arguments;
    beck_bytes policy, operator_policy; /* names; empty: none */
    beck_bytes bus;                     /* name of its bus; empty: none yet */
    uint64_t published_in, published_out;
    size_t bindings; /* it is the source of */
};
int64_t broker_each_exchange(struct broker *b, beck_bytes vhost, beck_bytes name,
                             int (*each)(void *ctx, const struct exchange_view *v), void *ctx);

/* ---- queues ---- */

struct queue_view {
    beck_bytes vhost, name;
    const char *type; /* "classic", "quorum", "stream" */
    bool durable, exclusive, auto_delete;
    beck_bytes arguments;
    beck_bytes policy, operator_policy;
    beck_bytes effective_policy; /* JSON object: the definition that is in force; "{}" */
    const char *state;           /* "running", "idle" */
    int64_t ready, unacked;
    int64_t ready_bytes;
    uint32_t consumers;
    uint64_t owner;    /* connection, of exclusive ones; else 0 */
    int64_t idle_ms;   /* since its last use; 0: in use */
    beck_bytes engine; /* name of the engine's queue; of a stream: of its bus */
    int64_t delivered, settled, returned, rejected, expired, dropped; /* since it was opened */
    uint64_t counts[QUEUE_COUNTS];
    beck_bytes single_active_tag, exclusive_tag; /* of such consumers; absent: none */
    size_t bindings;
};
int64_t broker_each_queue(struct broker *b, beck_bytes vhost, beck_bytes name,
                          int (*each)(void *ctx, const struct queue_view *v), void *ctx);

/* ---- bindings ---- */

struct binding_view {
    beck_bytes vhost, source, destination;
    bool to_exchange;
    beck_bytes routing_key, arguments;
    beck_bytes properties_key; /* "~" for an empty key without arguments, the key, or key~hash */
};
/* Also those of the default exchange (source ""), one per queue. `source` and `destination`: absent data: any. */
struct binding_filter {
    beck_bytes vhost, source, destination;
    bool only_queues, only_exchanges; /* as destination */
};
int64_t broker_each_binding(struct broker *b, const struct binding_filter *filter,
                            int (*each)(void *ctx, const struct binding_view *v), void *ctx);
/* The properties_key of a binding, into a buffer. */
beck_status broker_properties_key(beck_bytes routing_key, beck_bytes arguments, struct buf *out);

/* ---- permissions ---- */

struct permission_view {
    beck_bytes vhost, user;
    beck_bytes configure, write, read; /* regular expressions */
};
int64_t broker_each_permission(struct broker *b, beck_bytes vhost, beck_bytes user,
                               int (*each)(void *ctx, const struct permission_view *v), void *ctx);
beck_status broker_put_permission(struct broker *b, const struct permission_view *p,
                                  beck_error *err);
beck_status broker_delete_permission(struct broker *b, beck_bytes vhost, beck_bytes user,
                                     beck_error *err);

struct topic_permission_view {
    beck_bytes vhost, user, exchange;
    beck_bytes write, read;
};
int64_t broker_each_topic_permission(struct broker *b, beck_bytes vhost, beck_bytes user,
                                     int (*each)(void *ctx, const struct topic_permission_view *v),
                                     void *ctx);
beck_status broker_put_topic_permission(struct broker *b, const struct topic_permission_view *p,
                                        beck_error *err);
/* exchange absent: all of that user in the vhost. */
beck_status broker_delete_topic_permission(struct broker *b, beck_bytes vhost, beck_bytes user,
                                           beck_bytes exchange, beck_error *err);
/* Everything that is kept of a user: when it is deleted. */
beck_status broker_forget_user(struct broker *b, beck_bytes user, beck_error *err);
/* Whether the user may use the vhost at all; everything: as in session_options. */
bool broker_user_may_enter(struct broker *b, beck_bytes vhost, beck_bytes user, bool everything);

/* ---- policies ---- */

struct policy_view {
    beck_bytes vhost, name, pattern;
    beck_bytes apply_to; /* "all", "queues", "exchanges", "classic_queues", ...; empty: all */
    int64_t priority;
    beck_bytes definition; /* JSON object */
};
/* user false: operator policies. */
int64_t broker_each_policy(struct broker *b, bool user, beck_bytes vhost, beck_bytes name,
                           int (*each)(void *ctx, const struct policy_view *v), void *ctx);
/* In force for what there is and what will be when it returns. */
beck_status broker_put_policy(struct broker *b, bool user, const struct policy_view *p,
                              beck_error *err);
beck_status broker_delete_policy(struct broker *b, bool user, beck_bytes vhost, beck_bytes name,
                                 beck_error *err);

/* ---- parameters and limits ---- */

struct parameter_view {
    beck_bytes component; /* empty: a global parameter */
    beck_bytes vhost;     /* empty for global ones */
    beck_bytes name;
    beck_bytes value; /* JSON */
};
/* global: only global ones, vhost is not looked at. component absent: all. */
int64_t broker_each_parameter(struct broker *b, bool global, beck_bytes component, beck_bytes vhost,
                              beck_bytes name,
                              int (*each)(void *ctx, const struct parameter_view *v), void *ctx);
beck_status broker_put_parameter(struct broker *b, const struct parameter_view *p, beck_error *err);
beck_status broker_delete_parameter(struct broker *b, beck_bytes component, beck_bytes vhost,
                                    beck_bytes name, beck_error *err);

/* Limits of a vhost ("max-queues", "max-connections") or of a user ("max-connections", "max-channels"). */
struct limit_view {
    beck_bytes of; /* name of the vhost or user */
    beck_bytes name;
    int64_t value; /* negative: no limit */
};
int64_t broker_each_vhost_limit(struct broker *b, beck_bytes vhost,
                                int (*each)(void *ctx, const struct limit_view *v), void *ctx);
int64_t broker_each_user_limit(struct broker *b, beck_bytes user,
                               int (*each)(void *ctx, const struct limit_view *v), void *ctx);
beck_status broker_put_vhost_limit(struct broker *b, const struct limit_view *l, beck_error *err);
beck_status broker_put_user_limit(struct broker *b, const struct limit_view *l, beck_error *err);
beck_status broker_delete_vhost_limit(struct broker *b, beck_bytes vhost, beck_bytes name,
                                      beck_error *err);
beck_status broker_delete_user_limit(struct broker *b, beck_bytes user, beck_bytes name,
                                     beck_error *err);
/* -1: none. */
int64_t broker_user_limit(struct broker *b, beck_bytes user, const char *name);

#endif
