/*
 * The log of groups: the bus `__consumer_offsets`, one partition, compacted by key, with the records
 * that Kafka keeps in its topic of that name. Made when the first record is written.
 *
 *   key, value versions             what
 *   1 OffsetCommit 1, 4             a committed offset; 1 where it has a time of expiry of its own
 *   2 GroupMetadata 3               a classic group: generation, members, assignment
 *   3 ConsumerGroupMetadata         a group of KIP-848: its epoch
 *   5, 6, 7, 8, 16                  its members, target assignment, current assignment, regular
 *                                   expressions
 *
 * Offsets of a transaction are one transactional batch, which counts once the marker of its producer
 * is in the log. They are answered when they are synced: the decision, which is in another log, must not
 * find them gone, and their producer may go on to it also after the server has lost its power. The next
 * rounds are written meanwhile, so all of them share a sync.
 *
 * A round is what one operation writes (group_impl.h). All functions are called with groups.lock,
 * but group_log_open and group_log_close.
 */
#ifndef BECK_KAFKA_GROUP_LOG_H
#define BECK_KAFKA_GROUP_LOG_H

#include "kafka/group_impl.h"
#include "kafka/message/group_records.h"
#include "log/committer.h"

enum change_kind {
    CHANGE_COMMIT,  /* an offset is committed */
    CHANGE_REMOVE,  /* it is gone */
    CHANGE_PENDING, /* it is committed when the transaction of round.producer_id is */
};

/* What becomes visible once the round is written. */
struct offset_change {
    struct offset_change *next;
    enum change_kind kind;
    beck_bytes group, topic; /* in one piece with this */
    int32_t partition;
    struct offset_value value;
};

struct round {
    struct round *next;
    struct buf bytes; /* records: key length u32, value length u32 (UINT32_MAX: none), key, value */
    size_t count;
    bool transactional, failed;
    int64_t producer_id;
    int16_t producer_epoch;
    struct offset_change *changes, *last_change;
    struct reply *replies, *last_reply;
    struct groups *g;
    struct completion synced; /* of a transactional one */
};

/* Nobody else knows the coordinator yet. */
beck_status group_log_open(struct groups *g, beck_error *err);
void group_log_wait(struct groups *g); /* until nothing is being written or waits for a sync */
void group_log_close(struct groups *g);
/* The round of this operation. NULL: no memory, which is noted. */
struct round *group_log_round(struct groups *g);
/* A record; value NULL: the key is gone. */
void group_log_put(struct groups *g, const struct kafka_table *key_table, const void *key,
                   const struct kafka_table *value_table, int16_t value_version, const void *value);
/* False: no memory, the round has failed then. */
bool group_log_change(struct groups *g, enum change_kind kind, beck_bytes group, beck_bytes topic,
                      int32_t partition, const struct offset_value *value);
void offset_change_free(struct offset_change *c);
/* The commits of a group that are on their way: nobody sees them yet. */
void group_log_each_commit(struct groups *g, beck_bytes group,
                           void (*fn)(void *ctx, const struct offset_change *c), void *ctx);
/* None of the producer's offsets are on their way when it returns: what was being written is, what waited has failed. The
 * lock is free meanwhile. */
void group_log_end_rounds(struct groups *g, int64_t producer_id);
/* Gives up groups.lock; writes what waits unless somebody does, answers. */
void group_log_unlock(struct groups *g);
/* NULL: nothing was ever written. Any thread. */
struct partition *group_log_partition(struct groups *g);

#endif
