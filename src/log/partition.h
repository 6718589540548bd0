/*
 * A partition: one append-only log, on disk (segments in a directory `<bus>-<n>`) or in memory
 * (blocks that queues still need).
 *
 * Offsets, of which first <= next and synced <= written <= next is asserted whenever one moves:
 *
 *   first     the oldest that is kept
 *   synced    below it: on the device (in memory: synced = written)
 *   written   below it: in the operating system, seen by cursors (unless read_synced)
 *   next      the one that the next event gets
 *
 * Appending. Events are encoded into the gather, the batch that is being put together, with
 * partition.lock held. The first thread to find nobody writing becomes the writer: it takes the
 * gather, writes it without the lock, hands what was routed to the hook, and goes on while there is
 * more. Others wait, or go straight to the committer, which waits for the writer. So many small
 * publishes become one batch, one write, one sync.
 *
 * Failure. A write that fails (disk full) fails everybody in that gather and those behind it; their
 * offsets are given to later events; nothing of them is seen. A failed sync poisons the partition
 * for good, and so does a failed write that cannot be cut off again: BECK_EPOISONED until it is
 * opened anew.
 */
#ifndef BECK_LOG_PARTITION_H
#define BECK_LOG_PARTITION_H

#include "log/batch.h"
#include "log/block.h"
#include "log/env.h"
#include "base/thread.h"

struct partition;
struct segment;

/* What the router made of an event before it was appended; given back by the hook with the offset
 * it got. */
struct routed {
    void *route; /* a queue; the partition does not look inside */
    int64_t offset;
    int64_t deliver_at_ms, expires_at_ms;
    uint64_t bytes; /* of the data of all */
    /* So many events with offsets one behind the other, of one publish. */
    uint32_t count;
    uint16_t priority;
    bool addressed; /* to the route, by whoever published them */
    bool aborted;   /* the partition's: their transaction was */
};
/* Called in order of (first) offsets, once the events are visible and before anybody is told; with
 * partition.lock not held. Offset -1: the event was not stored, or its transaction was aborted;
 * ROUTED_LATER: too many are held for transactions to end, whoever it is for reads it, and what follows,
 * from the log once it is visible. */
#define ROUTED_LATER (-2)
typedef void (*partition_routed_fn)(void *ctx, struct partition *p, const struct routed *items,
                                    size_t count);

struct partition_options {
    beck_bus_options bus; /* as in force */
    bool memory;
    partition_routed_fn routed;
    void *routed_ctx;
    const _Atomic(uint64_t) *generation; /* of the topology; may be NULL */
    /* A log that is damaged is opened all the same, as one that takes and gives nothing (partition_damage). */
    bool damaged_too;
    const uint8_t *
        id; /* 16 bytes, of its bus, for a directory that is made; NULL: fresh ones. Used while it is
                          opened */
};

/* dir: made with the first write when it is missing; ignored for memory. recovery_point: below it everything is known to be
 * whole. log_start: from the checkpoint, 0 if none. */
beck_status partition_open(const struct env *env, const char *dir, const char *bus, uint32_t number,
                           const struct partition_options *options, int64_t recovery_point,
                           int64_t log_start, struct partition **out, beck_error *err);
/* Writes, seals, snapshots, syncs, frees. Nobody uses it. The first error is returned, and
 * everything is freed all the same. */
beck_status partition_close(struct partition *p, beck_error *err);
/* The id in the directory's partition.metadata. BECK_ENOENT: there is no such file, or none in it. */
beck_status partition_read_id(struct vfs *v, const char *dir, uint8_t id[16], beck_error *err);
/* Writes it there, unless it stands there already. */
beck_status partition_write_id(struct partition *p, const uint8_t id[16], beck_error *err);
/* The options of its bus, from now on; those that never change must be the same. Deduplication that begins knows
 * nothing of what was stored before. Not while it is maintained. BECK_ENOMEM: nothing was changed. */
beck_status partition_alter(struct partition *p, const beck_bus_options *bus, beck_error *err);
void partition_bus_options(struct partition *p, beck_bus_options *out);
/* What some ask for beside the options of their bus. Zero: nothing. */
struct partition_rules {
    int64_t sync_within_ms;    /* what was written is synced by then */
    int64_t compact_after_ms;  /* younger records are not compacted yet, nor what is behind them */
    int64_t compact_within_ms; /* older ones are, however little there is to compact */
    double compact_share;      /* of what is stored, from which on it is worth it; negative: half */
};
void partition_set_rules(struct partition *p, const struct partition_rules *rules);
/* NULL, or for as long as it is open: what was found when it was opened, with the file, the byte and what to do. Then
 * nothing is written there, and where it ends is not known: its offsets are what is certain. Appends, reads, positions
 * and the ends of transactions give BECK_ECORRUPT with that text; it counts as synced. */
const char *partition_damage(const struct partition *p);
/* BECK_OK, or BECK_ECORRUPT with that text. */
beck_status partition_check_damage(const struct partition *p, beck_error *err);
/* Whether offsets that are missing are no fault, from now on. */
void partition_allow_gaps(struct partition *p, bool allowed);
/* Frees without writing anything: for tests of crashes and for deletion. */
void partition_abandon(struct partition *p);

/* ---- appending ---- */

struct stored {
    int64_t offset;
    bool known; /* stored earlier, found by dedup_window_ms */
};

struct append {
    const beck_event *const *events;
    size_t count;
    /* For these events, in order; offset holds the index of the event within `events`. The hook
     * does not get those of events that are known: they stay the caller's. */
    const struct routed *routes;
    size_t route_count;
    const struct carried *carried; /* one per event; NULL: none has any */
    uint64_t generation;           /* that the routes were made under */
    /* NULL, or an idempotent producer's id, epoch and sequence */
    const struct batch_header *producer;
    beck_level level; /* none, written or synced */
    /* With level synced: the call returns once the events are accepted, done is called once they
     * are synced or have failed. */
    void (*done)(void *ctx, beck_status status, int64_t first_offset);
    void *done_ctx;
    /* One per event; NULL: not wanted. In, with look_at_known: known, if partition_find_known said so
     * and no routes were made therefore. */
    struct stored *stored;
    bool look_at_known;
    /* out: of the first event (of the first one stored, for a duplicate). -1 after an error: nothing
     * was gathered, the hook gets no route of this call. */
    int64_t first_offset;
    uint32_t duplicates; /* out: events found by dedup_window_ms */
};
/* The topology has changed since, or what was known is not any more: route again and call again;
 * nothing was appended. */
#define PARTITION_STALE 1
beck_status partition_append(struct partition *p, struct append *a, beck_error *err);
/* Sets `known` of each event that deduplication finds now. */
void partition_find_known(struct partition *p, const beck_event *const *events, size_t count,
                          struct stored *stored);

/* A batch as a producer sent it, stored as it came: its own batch in the log, whatever is written with
 * it. */
struct produce {
    /* Whole, passed batch_check_produced. Base offset and epoch are set in it, with append_time also
     * timestamps and checksum. Borrowed until the call returns. */
    uint8_t *batch;
    size_t size;
    beck_level level; /* none, written or synced */
    /* As in struct append; NULL: the call waits. */
    void (*done)(void *ctx, beck_status status, int64_t first_offset);
    void *done_ctx;
    const struct routed *routes; /* as in struct append; offset holds the index of the record */
    size_t route_count;
    uint64_t generation; /* that the routes were made under */
    bool append_time;    /* its records have the time at which they are stored */
    /* Where the bus deduplicates: its records as events (without an id: not looked for), and which of them
     * partition_find_known found; those are not in the batch any more. NULL: none is looked for. */
    const beck_event *const *events;
    const struct stored *stored;
    size_t event_count;
    /* out: as in struct append; -1 without append_time; the first offset that is kept */
    int64_t first_offset, append_time_ms, log_start;
    bool duplicate; /* out: stored before, also where `done` will say so */
};
/* BECK_EDUPLICATE: stored before, first_offset says where; reported as a success is, by `done` once that
 * is synced where it is given. BECK_ESEQUENCE, BECK_EFENCED: see log/producers.h. PARTITION_STALE as
 * partition_append. */
beck_status partition_produce(struct partition *p, struct produce *a, beck_error *err);
/* Whether a call at level written would wait for files to be opened or made, or for a sync, which a new segment needs,
 * whoever makes it; as far as can be known before. */
bool partition_waits_to_produce(struct partition *p, const struct batch_header *h);

/* Writes what is gathered, then makes it durable. Called by the committer, one round at a time. */
beck_status partition_sync(struct partition *p, beck_error *err);
/* Writes what is gathered. */
void partition_write(struct partition *p);
/* The committer's mark, under its lock: true when it was not marked before. */
bool partition_mark(struct partition *p);
void partition_unmark(struct partition *p);

/* ---- state ---- */

uint32_t partition_number(const struct partition *p);
const struct record_context *partition_context(const struct partition *p);
bool partition_is_memory(const struct partition *p);
/* Reads from files only what is new since the last call, without the lock. */
void partition_info(struct partition *p, beck_partition_info *out);
/* What was written since it was opened, and whether it takes no more. Disk only: all 0 in memory. */
struct partition_counts {
    uint64_t batches, bytes;
    bool poisoned, damaged;
};
void partition_counts(struct partition *p, struct partition_counts *out);
int64_t partition_next(struct partition *p);
int64_t partition_visible(struct partition *p); /* readers see offsets below it; without a lock */
int64_t partition_first(struct partition *p);
/* The first offset that a cursor can still find below partition_first. */
int64_t partition_kept(struct partition *p);
int64_t partition_synced(struct partition *p);
/* The position a start resolves to, per partition. BECK_ERANGE: an offset after the end. */
beck_status partition_resolve(struct partition *p, const beck_from *from, int64_t *offset,
                              beck_error *err);
/* Of several that begin together (BECK_FROM_OFFSET): whether this one reaches that far; and where it begins, at its
 * end if it does not and `another` does. */
bool partition_reaches(struct partition *p, const beck_from *from);
beck_status partition_resolve_with(struct partition *p, const beck_from *from, bool another,
                                   int64_t *offset, beck_error *err);

/* The high watermark: below it partition_fetch reads uncommitted. Without a lock. */
int64_t partition_high(struct partition *p);
/* The last stable offset, below which no transaction is open: partition_visible, and at least
 * partition_first. Without a lock. */
int64_t partition_stable(struct partition *p);

/* ---- stored bytes ---- */

/* Batches back to back, as they are stored: in memory, or a range of a file. */
struct partition_range {
    struct block *block; /* holds `bytes`, a reference; NULL: in a file */
    beck_bytes bytes;
    struct segment *segment; /* a use is held, so fd stays open; NULL: in memory */
    int fd;
    int64_t position;
    size_t len;                  /* 0: nothing is there yet, and nothing is held */
    struct partition *partition; /* a reference */
};
/* From the batch that holds `offset` (or the first behind it) on, at most bytes_max, of one segment. Whole
 * batches, except that a range which bytes_max ends may end inside of one behind the first. Never beyond partition_high.
 * The first batch may begin before `offset`. BECK_ERANGE: before partition_first or behind the end. Reads the
 * file, but only to find the place. */
enum partition_fetch_flags {
    PARTITION_ONE_AT_LEAST = 1, /* the first batch is whole however large */
    PARTITION_COMMITTED = 2,    /* not beyond partition_stable */
    PARTITION_WARM_ONLY = 4,    /* PARTITION_COLD when a file must be opened, or is not in memory */
    PARTITION_NO_BLOCK = 8      /* a range of a file also where memory has it */
};
#define PARTITION_COLD VFS_COLD /* beside PARTITION_STALE */
beck_status partition_fetch(struct partition *p, int64_t offset, size_t bytes_max, unsigned flags,
                            struct partition_range *out, beck_error *err);
/* Waits until the operating system has the range in memory, so that sending it waits for no disk. */
void partition_range_warm(const struct partition_range *r);
/* Whether it is there, most likely. Does not wait. */
bool partition_range_is_warm(const struct partition_range *r);
void partition_range_release(struct partition_range *r);
/* Each batch with offsets in [from, to), as stored, of open transactions as well; the first may begin before `from`.
 * fn without a lock; BECK_END from it ends the walk, which is BECK_OK, so does what it fails with. What retention takes
 * meanwhile is passed over. Reads files. */
typedef beck_status (*partition_batch_fn)(void *ctx, const struct batch_header *h, beck_bytes batch,
                                          beck_error *err);
beck_status partition_each_batch(struct partition *p, int64_t from, int64_t to,
                                 partition_batch_fn fn, void *ctx, beck_error *err);
/* The first record at or after that time, in order of offset; -1, -1: none. Below partition_high. Reads files. */
beck_status partition_find_time(struct partition *p, int64_t time_ms, int64_t *offset,
                                int64_t *timestamp_ms, beck_error *err);
/* The record with the greatest timestamp, the first of them; -1, -1: there is none. Reads files. */
beck_status partition_max_time(struct partition *p, int64_t *offset, int64_t *timestamp_ms,
                               beck_error *err);

/* ---- transactions ---- */

/* A transactional batch (partition_produce, on disk) opens its producer's transaction in this
 * partition; a control batch ends it. Until then nothing at or behind its first record is visible: neither
 * are events of others there, and what was routed is held. Once it ends, what is visible is handed on, in
 * order of offsets: without the records of transactions that were aborted, which cursors pass over as
 * they do control batches. */
struct transaction_end {
    int64_t producer_id;
    int16_t epoch;
    int32_t coordinator_epoch;
    bool commit;
    bool bumped;      /* version 2: `epoch` is greater than that of the transaction's batches */
    beck_level level; /* written or synced */
    void (*done)(void *ctx, beck_status status,
                 int64_t offset); /* as in struct append; NULL: the call waits */
    void *done_ctx;
    int64_t offset;       /* out: of the control record; -1: there was nothing to do */
    int64_t first_offset; /* out: of the transaction; -1: none was open */
};
/* Appends the control batch; a bumped one also where nothing is open, since batches of the old epoch may
 * come yet. Ending again what has ended under this epoch is BECK_OK and appends nothing.
 * BECK_EFENCED: the producer goes on under a newer epoch (or, bumped, under this one), or a newer
 * coordinator has ended a transaction. */
beck_status partition_end_transaction(struct partition *p, struct transaction_end *e,
                                      beck_error *err);

/* The first offset of the transaction that the producer has open here; -1: none. */
int64_t partition_open_since(struct partition *p, int64_t producer_id);

struct aborted {
    int64_t producer_id;
    int64_t first_offset, last_offset; /* of the first record, of the control record */
};
/* The aborted transactions with records in [from, to), in order of last_offset. The caller frees *out
 * (NULL when there are none). BECK_ENOMEM. */
beck_status partition_aborted(struct partition *p, int64_t from, int64_t to, struct aborted **out,
                              size_t *count, beck_error *err);

struct producer_state {
    int64_t id;
    int16_t epoch;
    int32_t last_sequence, coordinator_epoch; /* -1: none */
    int64_t seen_ms;                          /* when its last batch was written */
    int64_t txn_first_offset;                 /* of the open transaction; -1: none */
};
/* Copies what is known of producers. The caller frees *out (NULL when there are none). BECK_ENOMEM. */
beck_status partition_each_producer(struct partition *p, struct producer_state **out, size_t *count,
                                    beck_error *err);

/* Waits until something at or after `offset` is visible; false: deadline (clock_mono_ns; INT64_MAX:
 * none) passed or *stop became true (partition_condemn). */
bool partition_wait(struct partition *p, int64_t offset, int64_t deadline_ns,
                    const _Atomic(bool) *stop);

/* Waiting without a thread: `fn` is called once, when something at or after `offset` is visible, the
 * bus was deleted, or partition_wake says so. It is called with partition.lock held, from the thread that made it so: it
 * must only take a note. Belongs to whoever waits; used until it is called or removed. */
struct partition_watch {
    void (*fn)(void *ctx);
    void *ctx;
    int64_t offset;
    bool uncommitted;                        /* seen below partition_high is enough */
    struct partition_watch *previous, *next; /* the rest is the partition's */
    bool on;
};
/* False: it is so already, and fn will not be called. */
bool partition_watch(struct partition *p, struct partition_watch *w);
/* fn is not called any more once this returns. One that was called or never added is no mistake. */
void partition_unwatch(struct partition *p, struct partition_watch *w);
/* Something else that those who watch look at has changed. */
void partition_wake(struct partition *p);

/* Locks out appends, and waits until everything gathered is written: next == written until
 * partition_resume. For changes of the topology. */
void partition_pause(struct partition *p);
void partition_resume(struct partition *p);
/* Its bus is deleted: appends and syncs give BECK_ECLOSED from now on, readers are woken, and once
 * this returns nobody touches its files but those who read them. */
void partition_condemn(struct partition *p);
/* While paused, and nobody routes from it: appends one whole batch of another log, checked by its checksum,
 * with the offsets, the producer and the transaction that it has. BECK_ERANGE: they lie before the end. */
beck_status partition_adopt(struct partition *p, beck_bytes batch, beck_error *err);
int64_t partition_paused_end(const struct partition *p); /* the next offset, while paused */

/* Memory: each routed event is kept until whoever got it says that it is no longer needed. Does
 * nothing on disk. */
void partition_disown(struct partition *p, const int64_t *offsets, size_t count);

/* ---- upkeep ---- */

/* Now and then, cheap: keeps what is not synced bounded, so that no roll has to wait for long, and makes the next segment's file when the active one is nearly full. */
void partition_tick(struct partition *p);

/* Whether offset is still needed although retention would take it. Called without partition.lock.
 */
typedef bool (*partition_owed_fn)(void *ctx, int64_t offset);
/* What to do about events that are lost. */
#define PARTITION_REMEDY                                                                           \
    "restore the file from a backup, or give up what cannot be read: beck verify --repair"
/* Calls before/after one cleaning with the range looked at, so that the caller can collect what is
 * owed in it. */
struct partition_owed {
    void (*begin)(void *ctx, struct partition *p, int64_t first, int64_t next);
    partition_owed_fn owed;
    void *ctx;
};
/* Moves the first offset behind what is too old or too much, as partition_maintain does before it removes it. */
beck_status partition_retire(struct partition *p, beck_error *err);
/* `start` is on disk as the first offset, or is put there once there is room: so an opening knows what was removed from
 * what is missing. From the first call on nothing at or above the last `start` is removed. Not while it is maintained. */
void partition_keep_start(struct partition *p, int64_t start);
/* Before it is used, and after partition_resume_cleaning: the log is said to begin there. When its files begin later,
 * and compaction did not see to that, it is reported, and readers are told. */
void partition_check_start(struct partition *p, int64_t log_start);
/* Rolls by time, applies retention, compaction and expiry of producers, drops idle caches. What is
 * owed is kept (in a segment rewritten without the rest). */
beck_status partition_maintain(struct partition *p, const struct partition_owed *owed,
                               beck_error *err);
/* From now on so much of what lies below the first offset stays on disk for cursors that read there,
 * newest first, whole segments. */
void partition_keep_hidden(struct partition *p, int64_t bytes);
/* Everything below `offset` is no longer readable, and removed by the next maintenance unless owed.
 */
beck_status partition_truncate_before(struct partition *p, int64_t offset, beck_error *err);
/* Everything below has been compacted; and what a checkpoint says of it, before the partition is
 * used: compaction goes on from there. One at a time with partition_maintain. */
int64_t partition_cleaned(const struct partition *p);
void partition_resume_cleaning(struct partition *p, int64_t cleaned);
/* Nothing was written since the last one: another is no work. */
bool partition_is_checkpointed(struct partition *p);
/* Syncs; *recovery_point and *log_start are what to write in the checkpoints. */
beck_status partition_checkpoint(struct partition *p, int64_t *recovery_point, int64_t *log_start,
                                 beck_error *err);

#endif
