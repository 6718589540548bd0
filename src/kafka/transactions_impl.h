/* The inside of the coordinator, for the files transaction*.c and producer_ids.c only. */
#ifndef BECK_KAFKA_TRANSACTIONS_IMPL_H
#define BECK_KAFKA_TRANSACTIONS_IMPL_H

#include "base/pool.h"
#include "kafka/errors.h"
#include "kafka/kafka_impl.h"
#include "kafka/transactions.h"

#define EPOCH_LAST 32766 /* that a producer gets; the one behind it only ends its transaction */
#define TICK_MS 1000

struct transaction {
    struct transaction *next; /* of its bucket */
    beck_bytes id;            /* in one piece with this */
    int64_t producer_id;
    int64_t previous_id, next_id; /* of the producer, when its epochs are used up; -1 */
    int16_t epoch;
    enum transaction_state state;
    int32_t timeout_ms;
    int64_t started_ms, updated_ms;
    int16_t version; /* of the producer: 2 knows an epoch for each transaction */
    struct transaction_partition *partitions; /* each topic's name is its own memory */
    size_t partition_count, partition_cap;
    int16_t last_epoch; /* whose end, or beginning, its producer may ask for again; -1: none */
    uint32_t entered;   /* batches that are part of it, and not written yet */
    bool unrecorded;    /* a record of what was added failed */
    bool busy;          /* somebody changes it with the lock free: nobody else does */
    bool adding; /* what changes is only that partitions were added, which is being recorded */
};

struct transactions {
    struct kafka *k;
    const struct env *env;
    struct mutex lock;
    struct cond added; /* one is not `adding` any more */
    struct cond left;  /* none is `entered` in one any more */
    struct transaction **buckets;
    size_t bucket_count, count;
    _Atomic(beck_bus *) bus; /* NULL: not made yet */
    struct mutex ids_lock;   /* of the ids; held while a block is stored */
    int64_t ids_next, ids_end;
    struct pool pool;
    struct job job;
    struct timer timer;
    bool ticking, closing; /* with the lock */
};

/* ---- the table (transactions.c); with the lock ---- */

struct transaction *transaction_find(struct transactions *ts, beck_bytes id);
/* The same, once nobody adds to it. The lock is free meanwhile. */
struct transaction *transaction_await(struct transactions *ts, beck_bytes id);
/* NULL: no memory, or TRANSACTIONS_MAX. */
struct transaction *transaction_make(struct transactions *ts, beck_bytes id);
void transaction_drop(struct transactions *ts, struct transaction *t); /* frees it */
bool transaction_put(struct transaction *t, beck_bytes topic,
                     int32_t partition); /* false: memory */
bool transaction_has(const struct transaction *t, beck_bytes topic, int32_t partition);
void transaction_forget_partitions(struct transaction *t);
bool transaction_is_prepared(const struct transaction *t);
/* Nobody waits for the answer. */
bool transaction_producer_is_gone(const struct transaction_producer *producer);
/* It is Ongoing from now on. */
void transaction_begin(struct transactions *ts, struct transaction *t);
void transactions_keep_time(struct transactions *ts);

/* ---- the log (transaction_log.c); slow ---- */

/* What the log holds into the table. */
beck_status transaction_log_load(struct transactions *ts, beck_error *err);
/* The state as it is; the transaction is busy. */
beck_status transaction_log_put(struct transactions *ts, const struct transaction *t,
                                beck_level level, beck_error *err);
beck_status transaction_log_remove(struct transactions *ts, beck_bytes id, beck_error *err);

/* ---- ends (transaction_end.c); slow ---- */

/* Opening: what is prepared is carried out, what partitions say is open is attached or aborted. */
beck_status transactions_recover(struct transactions *ts, beck_error *err);

/* Partitions that are to be added, where the producer has a transaction open already: a batch of an earlier one came
 * behind its end, because its producer had given it up. It is aborted, else this transaction would commit it. False:
 * not now. The transaction is `adding`. */
bool transaction_end_strays(struct transactions *ts, const struct transaction *t,
                            const struct transaction_partition *partitions, size_t count);

/* ---- producer ids (producer_ids.c) ---- */

beck_status producer_ids_open(struct transactions *ts, beck_error *err);
/* (slow) A new one; -1: none could be stored. */
int64_t producer_ids_take(struct transactions *ts);
/* Partitions know this one already. While opening. */
void producer_ids_pass(struct transactions *ts, int64_t id);

#endif
