/*
 * What a partition remembers of idempotent producers and their transactions, so that a batch sent
 * again is not stored again (KIP-98), and its snapshot file.
 *
 * Per producer id: epoch, the last five batches (first and last sequence, last offset, timestamp),
 * and the first offset of an open transaction. A batch is accepted when its sequence follows the
 * last one (2^31-1 is followed by 0), or is 0 under a newer epoch, or when the producer is unknown.
 * One of the last five again is a duplicate; anything else is out of order. A control batch that
 * bumps the epoch (KIP-890) has the producer begin with 0 again.
 *
 * <offset>.snapshot holds the state of everything below that offset: version i16 = 1 | crc u32
 * (CRC-32C from byte 6 to the end) | count i32 | entries of 46 bytes: producerId i64, epoch i16,
 * lastSequence i32, lastOffset i64, offsetDelta i32, timestamp i64, coordinatorEpoch i32,
 * currentTxnFirstOffset i64 (-1 none), by producer id. Kafka has no room for more than the last batch,
 * and reads no further. Behind it, unless there are none, are the batches before the last: count i32 |
 * entries of 24 bytes: producerId i64, lastOffset i64, lastSequence i32, offsetDelta i32, in the order of
 * the producers, the oldest first. A client sends up to five batches again when their answers were lost.
 */
#ifndef BECK_LOG_PRODUCERS_H
#define BECK_LOG_PRODUCERS_H

#include "log/batch.h"

#define PRODUCER_BATCHES 5
/* Kept at most, while not too many have a transaction open; then those that were silent longest go. */
#define PRODUCERS_MAX 98304
#define PRODUCERS_OPEN_MAX (PRODUCERS_MAX / 2) /* of them with a transaction open */

struct producers; /* the caller locks */
struct producer_state;

struct producers *producers_new(void);
void producers_free(struct producers *p);
size_t producers_count(const struct producers *p);

/* Whether a batch may be appended. BECK_EDUPLICATE: *first_offset is where the same batch is
 * stored. BECK_ESEQUENCE and BECK_EFENCED say what was expected. BECK_ETXN_STATE: a batch outside of
 * the transaction that its producer has open. BECK_ELIMIT: one more transaction, where
 * PRODUCERS_OPEN_MAX are open. BECK_OK for batches without a producer id; those of a
 * transaction without a sequence (a group's offsets) are not looked at for one. Changes nothing. */
beck_status producers_check(const struct producers *p, const struct batch_header *h,
                            int64_t *first_offset, beck_error *err);
/* Room for so many more producers; others may have to go for it. BECK_ENOMEM. */
beck_status producers_reserve(struct producers *p, size_t count);
/* Remembers an appended batch (base_offset set) that is no control batch. Also used, without check,
 * when a log is read again. now_ms: when it was written, by our clock, whatever its timestamps say. */
beck_status producers_update(struct producers *p, const struct batch_header *h, int64_t now_ms);

/* Whether a control batch may be appended; *needed: it ends a transaction, or (bumped: its epoch is
 * greater than that of the transaction's batches) fences what may yet come of it. BECK_EFENCED. */
beck_status producers_check_end(const struct producers *p, const struct batch_header *h,
                                int32_t coordinator_epoch, bool bumped, bool *needed,
                                beck_error *err);
/* Remembers a control batch; now_ms as above. *first_offset: of the transaction that it ended; -1: there was none. */
beck_status producers_end(struct producers *p, const struct batch_header *h,
                          int32_t coordinator_epoch, int64_t now_ms, int64_t *first_offset);
/* The first offset of the transaction that it has open; -1: none. */
int64_t producers_open_since(const struct producers *p, int64_t id);
/* The first offset of the oldest open transaction; INT64_MAX: none is open. */
int64_t producers_oldest(const struct producers *p);

/* What is known of each, in no order; an array of producers_count. */
void producers_list(const struct producers *p, struct producer_state *out);
/* Forgets producers that wrote nothing for so long, and who have no transaction open. None has written later
 * than now, whatever a clock said that has been set back since. */
void producers_expire(struct producers *p, int64_t now_ms, int64_t expiry_ms);

/* When `out` has no room for them, without the batches before the last ones. BECK_ENOMEM, BECK_ELIMIT. */
beck_status producers_snapshot_write(const struct producers *p, struct buf *out);
/* Replaces the content; also by more than PRODUCERS_MAX, as older versions wrote them. BECK_ECORRUPT: checksum or version; the content is then empty. */
beck_status producers_snapshot_read(struct producers *p, beck_bytes file, beck_error *err);

#endif
