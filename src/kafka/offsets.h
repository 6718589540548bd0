/*
 * Offsets that groups commit: kept until they are deleted, their topic is, or their group has been
 * without members for groups_settings.retention_ms.
 *
 * Answers and threads are as in groups.h. Topics are checked against what there is; who may see a
 * topic is the caller's concern, who takes those out that it refuses.
 */
#ifndef BECK_KAFKA_OFFSETS_H
#define BECK_KAFKA_OFFSETS_H

#include "kafka/groups.h"
#include "kafka/message/offsets.h"
#include "kafka/message/transactions.h"

struct partition;

/* kafka_offset_commit_response: the topics of the request in its order. */
void offsets_commit(struct groups *g, const struct kafka_offset_commit_request *request,
                    int16_t version, groups_done done, void *ctx);
/* One group of OffsetFetch, copied into the arena; topics null: all. Topics are named by their ids
 * from version 10 on. BECK_ENOMEM, BECK_ELIMIT: of the arena. */
beck_status offsets_fetch(struct groups *g, const struct kafka_offset_fetch_request_group *request,
                          int16_t version, bool require_stable, struct kafka_arena *arena,
                          struct kafka_offset_fetch_response_group *out);
/* kafka_offset_delete_response */
void offsets_delete(struct groups *g, const struct kafka_offset_delete_request *request,
                    groups_done done, void *ctx);

/* ---- transactions ---- */

/* Offsets that count once the transaction of the producer is committed (groups_settings.may_add says
 * that it is open); until then who asks for stable offsets gets UNSTABLE_OFFSET_COMMIT. They are
 * one transactional batch in group_log_partition. kafka_txn_offset_commit_response */
void offsets_commit_pending(struct groups *g, const struct kafka_txn_offset_commit_request *request,
                            int16_t version, groups_done done, void *ctx);
/* The producer's transaction is decided, so nothing is added to it any more, and its end is written next. What is on its
 * way to group_log_partition is there when this returns, or will be refused: nothing of the producer's comes behind its
 * end. Waits for a write. */
void offsets_before_end(struct groups *g, int64_t producer_id);
/* The end of the producer's transaction was written to group_log_partition. In memory. */
void offsets_end_transaction(struct groups *g, int64_t producer_id, bool commit);
/* Of `__consumer_offsets`; NULL: nothing was ever written to it. */
struct partition *group_log_partition(struct groups *g);

#endif
