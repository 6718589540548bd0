/* The inside of a partition, shared by the files partition*.c and cursor.c only. */
#ifndef BECK_LOG_PARTITION_IMPL_H
#define BECK_LOG_PARTITION_IMPL_H

#include "log/committer.h"
#include "log/dedup.h"
#include "log/partition.h"
#include "log/producers.h"
#include "log/segment.h"
#include "log/tail.h"
#include "log/txn_index.h"

#define GATHER_BYTES (1u << 20) /* publishers wait while so much is gathered and being written */
#define GATHER_BYTES_MAX (64u << 20) /* one beck_publish_many */
#define GATHERS_KEPT 3
#define PAD_AFTER 16 /* waits for a sync: who publishes once or twice has nothing of zeros */
#define MEMORY_BYTES_DEFAULT (1ll << 30)

/* A producer's batch that is not written yet. */
struct pending {
    int64_t producer_id;
    int32_t next_sequence;
    int16_t epoch;
    bool transactional;
};

/* What is written at once, and those that wait for it: a batch that is put together of events, or
 * batches of producers, back to back. Kept while anybody refers to it. */
struct gather {
    struct batch_builder builder;
    uint32_t batches; /* of producers; 0: it is of events */
    struct buf copied;
    beck_bytes lent; /* the only one, by who has the lock until it is written; else empty */
    struct pending *pending;
    size_t pending_count, pending_cap;
    struct routed *routes;
    size_t route_count, route_cap;
    int64_t first_offset;
    uint32_t refs; /* publishers that will look at the result */
    bool orphan;   /* holds events of level none: whoever writes now must write this too */
    bool done;     /* written, or failed with status */
    beck_status status;
    beck_error error;
    struct gather *next_free;
};

/* A sealed segment, and the offset behind what it may hold. Stays valid with the upkeep. */
struct sealed {
    struct segment *segment;
    int64_t end;
};

/* A batch with held routes whose transaction is open. */
struct held_batch {
    int64_t first, last, producer_id;
};

struct partition {
    _Atomic(uint32_t) refs; /* whoever opened it, cursors, and completions */
    const struct env *env;
    struct partition_options options;
    struct record_context context;
    char *bus, *dir;

    struct mutex lock;
    struct cond changed;       /* writing ended, visible moved, resumed */
    struct segment **segments; /* in order of offset; the last is the active one. None in memory */
    size_t segment_count, segment_cap;
    bool sealed_known; /* the sums of the sealed segments, which follow; for partition_info */
    int64_t sealed_bytes, sealed_oldest_ms, sealed_newest_ms;
    struct tail tail;
    int64_t memory_end; /* position behind the last byte, in memory */

    int64_t first, next, written, synced; /* see partition.h */
    int64_t synced_oldest; /* of the transactions that were open there when `synced` was written */
    _Atomic(int64_t) high, visible; /* visible <= high <= written */
    _Atomic(int64_t) first_seen;    /* first, for cursors */

    struct gather *gather;
    struct gather *taken; /* by the writer, and not written yet */
    struct gather *free_gathers;
    uint32_t free_count;
    bool writing;     /* somebody has the writer's part: segments, codec and scratch are theirs */
    bool long_turn;   /* the writer has written enough for others: the next publisher takes over */
    uint32_t heirs;   /* threads that wait to take over */
    uint32_t pausing; /* threads in partition_pause: nobody gathers before they had their turn */
    struct codec codec;
    struct buf scratch;
    struct routed *held; /* routed and not visible yet; in order of offset, from begin to end */
    size_t held_begin, held_end, held_cap;
    struct held_batch *held_batches;
    size_t held_batch_count, held_batch_cap;
    bool releasing;   /* somebody hands them on */
    uint32_t awaited; /* publishes that asked for a sync, since zeros were written */

    struct producers *producers;
    struct txn_index aborted; /* of all segments */
    int64_t aborted_saved;    /* what was ended below it is in the files */
    struct dedup *dedup;
    bool poisoned, marked;
    unsigned forks; /* when it was opened (base/forks.h) */
    char *damage;   /* see partition_damage; poisoned then, with a segment that is not made */
    bool full;      /* the last write found no room on the disk, which was said */
    bool dir_dirty; /* names in its directory are not synced */
    uint64_t name;  /* its own (dirnames.h) */
    bool dormant;   /* the active segment is closed, or not made yet: see partition_rouse */
    uint8_t id[16]; /* of the bus, for files that are made */
    bool condemned; /* poisoned because its bus is deleted */
    bool syncing;   /* somebody syncs the active segment or makes the next one: nobody rolls, nobody
                     else syncs */
    bool upkeep;    /* somebody maintains: only they take out or replace segments */
    bool has_snapshots; /* there may be files of producers' snapshots */
    uint32_t watchers;  /* threads in partition_wait */
    struct partition_watch *watches;
    int64_t checkpointed;      /* recovery point last given out */
    int64_t unsynced_bytes;    /* written since the last sync began */
    int64_t unsynced_since_ns; /* when the first of them was */
    struct partition_rules rules;
    uint64_t written_batches, written_bytes; /* since it was opened */
    struct file *prepared; /* the next segment's, made ahead of need; NULL: not yet */
    int64_t maintained;    /* written, when it was maintained last */
    int64_t hidden_bytes;  /* see partition_keep_hidden */
    int64_t start_kept;    /* see partition_keep_start */
    bool gaps;             /* see partition_allow_gaps */
    /* Of compaction, used with the upkeep only. */
    int64_t cleaned;     /* it has seen everything below */
    int64_t horizon_ms;  /* when the first of those that it found passes */
    size_t compact_keys; /* of one pass, and producers; 0: the default. For tests */
};

/* Whether offsets below `end` may be gone without anything being wrong. With the lock. */
static inline bool partition_may_lack(const struct partition *p, int64_t end)
{
    return p->gaps || p->options.bus.compact || end <= p->cleaned || end <= p->first;
}

/* The segment that holds the offset, or the first behind it; -1: none. With the lock. */
ptrdiff_t partition_find_segment(const struct partition *p, int64_t offset);
beck_status partition_add_segment(struct partition *p, struct segment *s, beck_error *err);
/* Of the active segment, which stays closed while nothing is written: many partitions are idle, and files are few. What
 * was never written to has no files at all. Rouse: opens or makes it; with the lock, and as the writer where it may not
 * be made yet, as the lock is free meanwhile. Doze: closes it, unless something is going on. With the lock, which is
 * free meanwhile. */
beck_status partition_rouse(struct partition *p, beck_error *err);
void partition_doze(struct partition *p);
/* Makes names durable: those in its directory, its own. Without the lock. BECK_ENOMEM: not tried, and may be again. */
beck_status partition_sync_names(const struct partition *p, bool dir, uint64_t name,
                                 beck_error *err);
/* That of its options, or of its directory, or a new one. Nobody else uses the partition. */
void partition_choose_id(struct partition *p);
/* Its id and its first leader epoch, not synced. Without the lock. */
beck_status partition_write_metadata(struct partition *p, beck_error *err);
void partition_move_visible(struct partition *p);
/* Calls the watches whose offset is visible, or `all`. With the lock. */
void partition_call_watches(struct partition *p, bool all);
void partition_check(const struct partition *p);
/* Begins a new segment, unless the active one is empty. The lock is held on entry and exit. */
beck_status partition_roll(struct partition *p, beck_error *err);
/* Knows the sizes and times of the sealed segments, and adds them up. With the lock, which is free
 * while files are read. After an error what could be known is. */
beck_status partition_know_sealed(struct partition *p, beck_error *err);
void partition_unref(struct partition *p);
/* The sealed segments that end in (above, limit]; the caller frees *out. With the upkeep, without the
 * lock. */
beck_status partition_list_sealed(struct partition *p, int64_t above, int64_t limit,
                                  struct sealed **out, size_t *count, beck_error *err);
/* With the upkeep, without the lock. A segment wholly below first: deletes it, or leaves what is
 * owed of it, in a copy. *room becomes false when the disk has none for that (BECK_EFULL); then all of it stays. */
beck_status partition_clean_owed(struct partition *p, const struct sealed *sealed,
                                 const struct partition_owed *owed, bool *room, beck_error *err);
/* Compacts the sealed segments, when it is worth it. */
beck_status partition_compact(struct partition *p, const struct partition_owed *owed,
                              beck_error *err);

/* What producers_snapshot_write made, synced. Without the lock. */
beck_status partition_write_snapshot(const struct partition *p, int64_t offset, beck_bytes snapshot,
                                     beck_error *err);
#define SNAPSHOT_BYTES (64u << 20)
/* Of a rolled segment, with a use. The lock is held on entry and exit, and free during the syncs. */
beck_status partition_seal(struct partition *p, struct segment *s, beck_error *err);

/* ---- gathers and the writer's part (partition_write.c); all with the lock, which those that write let go meanwhile ---- */
struct gather *gather_get(struct partition *p);
void gather_free(struct gather *g);
/* Gives back the memory of gathers, when nothing is gathered. */
void gathers_drop(struct partition *p);
beck_status gather_reserve(struct partition *p, beck_error *err);
void gather_unref(struct partition *p, struct gather *g);
static inline bool gather_is_empty(const struct gather *g)
{
    return g->builder.count == 0 && g->batches == 0;
}
beck_status gather_route(struct gather *g, const struct routed *route, int64_t offset);

/* what: "a sync" */
void partition_poison(struct partition *p, const char *what, const beck_error *cause);
beck_status partition_say_poisoned(const struct partition *p, beck_error *err);
beck_status partition_write_until(struct partition *p, struct gather *mine, beck_error *err);
void partition_write_orphans(struct partition *p);
/* Batches back to back, whose first offset is p->written; all of them or none. */
beck_status partition_write_batches(struct partition *p, beck_bytes batches, beck_error *err);
/* Whether they begin a new segment; h: the first header, with `length` and `last_offset_delta` of all. */
bool partition_must_roll(struct partition *p, const struct batch_header *h);
void partition_fail_gathered(struct partition *p, const beck_error *why);

/* ---- what was routed (partition_routes.c); with the lock, which is free while the hook runs ---- */

/* To the hook, once it is visible. batches: what was written, of which the routes are. */
void partition_hand_on(struct partition *p, struct routed *routes, size_t count,
                       beck_bytes batches);
/* What is held and visible by now. */
void partition_release_held(struct partition *p);
/* The producer's transaction has ended. */
void partition_settle_held(struct partition *p, int64_t producer_id, bool aborted);
/* Nobody will see those events before the next opening. Nobody else uses the partition. */
void partition_give_back_held(struct partition *p);

/* ---- transactions (partition_transact.c) ---- */

/* Memory for what so many more batches of producers make known. With the lock. BECK_ENOMEM. */
beck_status partition_reserve_producers(struct partition *p, size_t count);
/* What a batch in its place makes known of its producer. With the lock, or before the partition is
 * shared. Does not fail after partition_reserve_producers. */
beck_status partition_note_producer(struct partition *p, const struct batch_header *h,
                                    const uint8_t *batch);
/* Whether a batch of a transaction below partition_visible is to be passed over. Takes the lock. */
bool partition_is_aborted(struct partition *p, const struct batch_header *h);
/* Writes what is not in the files yet, synced. The lock is held on entry and exit, and free during
 * I/O. */
beck_status partition_save_aborted(struct partition *p, beck_error *err);
/* Opening. Reads the files with these base offsets, as far as they are about what was ended below `known`.
 * *whole false: one is damaged; the whole log has to be read then. */
beck_status partition_load_aborted(struct partition *p, int64_t *files, size_t count, int64_t known,
                                   bool *whole, beck_error *err);
/* After that: all files are written again. */
beck_status partition_restore_aborted(struct partition *p, beck_error *err);

/* ---- appending (partition.c) ---- */

/* An event's, for deduplication: it is what readers are given. */
static inline beck_bytes partition_source(const struct partition *p, const beck_event *e)
{
    return e->source.len ? e->source : bytes_of(p->context.source, p->context.source_len);
}

struct synced_completion;
/* The level in force. *out: what to give partition_conclude; NULL: nobody waits for a completion. */
beck_status partition_begin(struct partition *p, beck_level *level,
                            void (*done)(void *, beck_status, int64_t), void *ctx,
                            struct synced_completion **out, beck_error *err);
/* Takes the lock, once nobody waits to pause. */
void partition_begin_append(struct partition *p);
/* BECK_OK, or why nothing is appended now. With the lock. */
beck_status partition_admit(struct partition *p, uint64_t generation, beck_error *err);
/* BECK_EINVAL: this is the child of a fork, and the files are its parent's. */
beck_status partition_check_fork(const struct partition *p, beck_error *err);
/* Whether there is room for something new in memory: what is known already gets its answer however full it
 * is. With the lock. */
beck_status partition_check_memory(const struct partition *p, beck_error *err);
/* Waits until nobody writes and nothing is gathered. With the lock. */
beck_status partition_drain(struct partition *p, beck_error *err);
/* Waits for what was put into g, or sees to it that the completion has it. Takes over the completion. The
 * lock is held on entry and free on exit. */
beck_status partition_conclude(struct partition *p, struct gather *g, beck_level level,
                               struct synced_completion *completion, int64_t first_offset,
                               beck_error *err);
/* The same where g is NULL: it is written already; `result` is what it comes to once that is synced. */
beck_status partition_conclude_stored(struct partition *p, beck_level level,
                                      struct synced_completion *completion, beck_status result,
                                      int64_t first_offset, beck_error *err);

#endif
