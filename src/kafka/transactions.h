/*
 * The coordinator of transactions, and producer ids.
 *
 * A transactional id has a producer id, an epoch and at most one transaction, which has partitions. Its
 * states are Kafka's:
 *
 *   Empty, Complete*  -> Ongoing      the first partition is added
 *   Ongoing           -> Prepare*     it is decided; the record of that is synced before anything else
 *   Prepare*          -> Complete*    every partition has its control batch, synced
 *
 * The log is the bus `__transaction_state`, with Kafka's records, compacted by id. What it need not say,
 * since log and coordinator are one process: an open transaction is seen in the partitions, so what
 * producers add by writing (version 2, KIP-890) is not recorded; after a restart it is found there.
 * Prepared ones are carried out then. Nobody sees half of a transaction: what is decided is carried out
 * whatever happens, and what was not decided is Ongoing still, until its producer or its time ends it.
 *
 * Version 2 gives each transaction an epoch of its own, so that what comes too late is refused by the
 * partitions. For producers that do not know it, a batch must belong to a partition that was added, and the
 * transaction does not end between that look and the write; one that got
 * behind the end of its transaction all the same is aborted before the next one adds the partition.
 *
 * transactions.lock guards it all, and is held for moments only; see base/thread.h for its place. A
 * transaction that is being changed is `busy` while the lock is free: others are told
 * CONCURRENT_TRANSACTIONS, and try again.
 */
#ifndef BECK_KAFKA_TRANSACTIONS_H
#define BECK_KAFKA_TRANSACTIONS_H

#include "kafka/kafka.h"

struct transactions;

#define TRANSACTIONS_MAX 1000000               /* ids */
#define TRANSACTION_TIMEOUT_MAX 900000         /* ms: transaction.max.timeout.ms */
#define TRANSACTION_EXPIRY_MS (7 * 86400000LL) /* transactional.id.expiration.ms */

enum transaction_state { /* Kafka's numbers */
                         TRANSACTION_EMPTY,
                         TRANSACTION_ONGOING,
                         TRANSACTION_PREPARE_COMMIT,
                         TRANSACTION_PREPARE_ABORT,
                         TRANSACTION_COMPLETE_COMMIT,
                         TRANSACTION_COMPLETE_ABORT
};
const char *transaction_state_name(enum transaction_state state); /* "PrepareCommit" */

/* (slow) After topics and groups. */
beck_status transactions_open(struct kafka *k, beck_error *err);
/* What is prepared stays so. NULL allowed in k. */
void transactions_close(struct kafka *k);

/* Which producer a request is of. */
struct transaction_producer {
    beck_bytes id; /* the transactional id */
    int64_t producer_id;
    int16_t epoch;
    /* That its connection has ended; NULL: it has none. What is not begun by then is not done any more: who gave a
     * request up has sent it again, and may be at its next transaction, which version 1 has no epoch to tell by. */
    const _Atomic(bool) *gone;
};
struct transaction_partition {
    beck_bytes topic;
    int32_t number;
};

/* Whether a batch of a transaction may be written to a partition; `add` (version 2: Produce 12,
 * TxnOffsetCommit 5): that adds it. While others are being added those that are in it are fine. Never blocks. 0,
 * INVALID_PRODUCER_ID_MAPPING, INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE, CONCURRENT_TRANSACTIONS.
 * entered: NULL, or gets the transaction after 0, which does not end until transactions_leave then: what is
 * written meanwhile is part of it, unless it ends with a new epoch, under which partitions refuse what comes. */
struct transaction;
int transactions_check(struct kafka *k, const struct transaction_producer *producer,
                       const struct transaction_partition *where, bool add,
                       struct transaction **entered);
void transactions_leave(struct kafka *k, struct transaction *t);

/* (slow) InitProducerId. id.data NULL: an idempotent producer, which gets an id of its own. Else
 * producer: what it had, producer_id -1: nothing. An open transaction is aborted first. Out in
 * `producer`. */
int transactions_init(struct kafka *k, struct transaction_producer *producer, int32_t timeout_ms);
/* (slow) All of them or none; what is there already is no mistake. */
int transactions_add(struct kafka *k, const struct transaction_producer *producer,
                     const struct transaction_partition *partitions, size_t count);
/* Whether all of them are in the transaction. Never blocks. */
int transactions_verify(struct kafka *k, const struct transaction_producer *producer,
                        const struct transaction_partition *partitions, size_t count);
/* (slow) Once the decision is synced, it stands; control batches that cannot be written now are later.
 * version_2: `producer` gets the epoch of its next transaction. */
int transactions_end(struct kafka *k, struct transaction_producer *producer, bool commit,
                     bool version_2);
/* (slow) What time brings: aborts what took too long, goes on with what is prepared, forgets ids. Called by
 * the coordinator's own thread. */
void transactions_tick(struct kafka *k);

/* ---- looking: never blocks ---- */

struct transaction_info {
    beck_bytes id;
    int64_t producer_id;
    int16_t epoch;
    enum transaction_state state;
    int32_t timeout_ms;
    int64_t started_ms; /* of the last one; -1: there was none */
    const struct transaction_partition *partitions;
    size_t partition_count;
};
/* Valid during the call, which is with the lock. */
typedef void (*transaction_each_fn)(void *ctx, const struct transaction_info *info);
bool transactions_find(struct kafka *k, beck_bytes id, transaction_each_fn fn, void *ctx);
void transactions_each(struct kafka *k, transaction_each_fn fn, void *ctx);

#endif
