/*
 * Policies, and what is in force for a queue or an exchange: its arguments and the policies that match it.
 *
 * Of the policies of a virtual host that match a name, the one of the highest priority applies, and so does one
 * operator policy. Of numbers in argument, policy and operator policy the smallest counts; of the rest the
 * argument, then the operator policy, then the policy; but `overflow` of quorum queues and the settings of
 * streams come from the policies first. A delivery limit that is negative is none: others beat it.
 *
 * Arguments are an AMQP table, checked; definitions are JSON objects, whose keys are the arguments' without "x-".
 *
 * Threads: the caller locks (topology_lock, change_lock); reading changes nothing.
 */
#ifndef BECK_BROKER_POLICY_H
#define BECK_BROKER_POLICY_H

#include "broker/broker_impl.h"

/* ---- arguments of a declaration ---- */

/* x-queue-type: classic if there is none. 406: "PRECONDITION_FAILED - invalid arg 'x-queue-type' ...". */
int arguments_queue_kind(beck_bytes vhost, beck_bytes name, beck_bytes arguments,
                         enum queue_kind *out, char *text);
const char *queue_kind_name(enum queue_kind kind); /* "classic" ... */
/* The arguments that queues of that kind know are of the right type and within their limits, and there is none
 * that only other kinds know. Names that nobody knows are accepted. 0 or 406. */
int arguments_check_queue(beck_bytes vhost, beck_bytes name, enum queue_kind kind,
                          beck_bytes arguments, char *text);
/* alternate-exchange is a string. 0 or 406. */
int arguments_check_exchange(beck_bytes vhost, beck_bytes name, beck_bytes arguments, char *text);
/* Durable, not exclusive, not auto-delete, as quorum queues and streams must be. 0 or 406. */
int arguments_check_flags(beck_bytes vhost, beck_bytes name, enum queue_kind kind, bool durable,
                          bool exclusive, bool auto_delete, char *text);
/* Of a consumer: x-priority, x-stream-offset (type and unit), and that its queue's kind knows them. 0 or 406. */
int arguments_check_consumer(beck_bytes vhost, beck_bytes name, enum queue_kind kind,
                             beck_bytes arguments, char *text);
/* "7D", "12h": Y M D h m s. False: not one. */
bool max_age_read(beck_bytes text, int64_t *ms);

/* ---- declared again ---- */

struct queue_traits {
    bool durable, auto_delete;
    enum queue_kind kind;
    beck_bytes arguments;
};
struct exchange_traits {
    beck_bytes type;
    bool durable, auto_delete, internal;
    beck_bytes arguments;
};
/* 0, or 406: "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'true' but
 * current is 'false'". Exclusive ones are the caller's to compare. */
int queue_check_equivalent(beck_bytes vhost, beck_bytes name, const struct queue_traits *now,
                           const struct queue_traits *received, char *text);
int exchange_check_equivalent(beck_bytes vhost, beck_bytes name, const struct exchange_traits *now,
                              const struct exchange_traits *received, char *text);

/* ---- policies of a virtual host ---- */

struct policy_text {
    beck_bytes name, pattern;
    beck_bytes
        apply_to; /* all, queues, exchanges, classic_queues, quorum_queues, streams; empty: all */
    int64_t priority;
    beck_bytes definition; /* JSON object */
};
/* BECK_EINVAL: RabbitMQ's words, without "Validation failed". user false: an operator policy. */
beck_status policy_check(const struct policy_text *p, bool user, beck_error *err);

struct policies;
struct policies *policies_new(void);
void policies_free(struct policies *p); /* NULL allowed */
/* Adds or replaces the one of that name; all is copied. BECK_EINVAL as policy_check; BECK_ENOMEM. */
beck_status policies_put(struct policies *p, bool user, const struct policy_text *text,
                         beck_error *err);
bool policies_remove(struct policies *p, bool user, beck_bytes name);

/* ---- what is in force ---- */

enum overflow { OVERFLOW_DROP_HEAD, OVERFLOW_REJECT, OVERFLOW_REJECT_DEAD_LETTER };

/* Of a queue; immutable, with all that it refers to in one piece of memory. */
struct effective {
    int64_t ttl_ms, expires_ms;    /* -1: none */
    int64_t length_max, bytes_max; /* -1: none; 0 is a limit */
    enum overflow overflow;
    bool has_dead_letter_exchange, has_dead_letter_key;
    beck_bytes dead_letter_exchange, dead_letter_key;
    bool at_least_once;   /* dead letters; only with OVERFLOW_REJECT */
    uint8_t priority_max; /* 0: no priorities; of quorum queues 31 */
    bool single_active;
    int64_t delivery_limit; /* returns until it is given up; -1: none. Quorum: 20 unless said */
    int64_t consumer_timeout_ms;        /* -1: the default */
    int64_t retry_min_ms, retry_max_ms; /* quorum's delayed retry; -1: none */
    enum { RETRY_NONE, RETRY_ALL, RETRY_FAILED, RETRY_RETURNED } retry;
    int64_t max_age_ms;                 /* of streams; -1: none */
    int64_t segment_bytes;              /* of streams; -1: the default */
    beck_bytes policy, operator_policy; /* names; empty: none */
    beck_bytes policy_json;             /* both definitions merged; "{}" */
};
/* policies NULL: none. NULL: no memory. Arguments passed arguments_check_queue. */
struct effective *effective_of_queue(const struct policies *p, beck_bytes name,
                                     enum queue_kind kind, beck_bytes arguments);
void effective_free(struct effective *e); /* NULL allowed */

struct effective_exchange {
    bool has_alternate;
    beck_bytes alternate;               /* borrowed from the arguments or policies */
    beck_bytes policy, operator_policy; /* borrowed; empty: none */
};
void effective_of_exchange(const struct policies *p, beck_bytes name, beck_bytes arguments,
                           struct effective_exchange *out);

#endif
