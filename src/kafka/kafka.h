/*
 * What Kafka's protocol needs beyond a connection, over buses: topics and their configuration, groups
 * and their offsets, transactions, share groups, rules of access. Semantics are Kafka's (4.x).
 *
 * A topic is a bus on disk that users may see; its partitions are the bus's. What is declared, and
 * what groups and transactions remember, are records of buses of its own (handle_own_bus), compacted
 * by key, so all of it is there again after a restart:
 *
 *   __kafka               configurations, rules of access, SCRAM credentials; format: see store.h
 *   __consumer_offsets    groups and offsets, in Kafka's own records
 *   __transaction_state   transactions, in Kafka's own records
 *
 * Threads: any, unless said otherwise. Functions marked (slow) may wait for the disk or a lock that is
 * held meanwhile: never on a network loop. Errors of the protocol are numbers (errors.h), 0 is none.
 */
#ifndef BECK_KAFKA_KAFKA_H
#define BECK_KAFKA_KAFKA_H

#include "api/handle.h"
#include "base/timers.h"

struct kafka;
struct groups;

struct kafka_settings {
    bool auto_create_topics;       /* auto.create.topics.enable */
    uint32_t partitions;           /* num.partitions: of topics that are made without a number */
    int32_t node_id;               /* this server, the only one of its cluster */
    beck_level acks_one, acks_all; /* what acks=1 and acks=all promise */
    beck_level group_level;        /* what commits of offsets promise; 0: written */
    int32_t group_initial_rebalance_delay_ms; /* group.initial.rebalance.delay.ms */
};

/* (slow) Reads what was declared before; closed before beck_close. */
beck_status kafka_open(beck *b, const struct kafka_settings *settings, struct kafka **out,
                       beck_error *err);
int32_t kafka_node_id(const struct kafka *k);
bool kafka_creates_topics(const struct kafka *k);        /* auto.create.topics.enable */
beck_level kafka_level(const struct kafka *k, int acks); /* of acks 0, 1, -1 */
struct timers *kafka_timers(struct kafka *k);
/* 16 bytes, given to the data directory when it was made. */
const uint8_t *kafka_cluster_id(const struct kafka *k);
struct groups *kafka_groups(const struct kafka *k);
void kafka_close(struct kafka *k); /* no connection uses it any more; NULL allowed */

#endif
