/* The inside of a schedule, shared by schedule.c (heap, pushing and taking), schedule_runs.c (runs
 * and their merging) and schedule_save.c (what is durable). */
#ifndef BECK_QUEUE_SCHEDULE_IMPL_H
#define BECK_QUEUE_SCHEDULE_IMPL_H

#include "queue/merge.h"
#include "queue/run.h"
#include "queue/schedule.h"

struct run {
    struct run_cursor cursor; /* cursor.next: entries taken */
    bool synced;
    bool merging;
};

enum { LEAST_UNKNOWN = -2, LEAST_HEAP = -1 };

struct schedule {
    struct vfs *vfs; /* NULL: all in the heap */
    char *dir;
    struct scheduled *heap;
    size_t heap_len, heap_cap;
    struct run *runs;
    size_t run_count, run_cap;
    int64_t least;        /* index of the run with the next entry, or one of the above */
    uint64_t run_entries; /* in runs, not taken */

    bool merging;
    struct merge merge;
    uint64_t merge_taken; /* from its inputs since it began */
    uint64_t merge_pace;  /* entries to merge with every push */
    uint64_t merge_owed;
    uint64_t merge_runs; /* runs written since it began */

    uint64_t next_id; /* 0: not known yet */
    uint64_t *saved;  /* runs of the last description */
    size_t saved_count;
    bool names_unsynced;
    bool poisoned;
};

static inline uint64_t run_left(const struct run *r)
{
    return r->cursor.count - r->cursor.next;
}

typedef bool (*keep_fn)(void *ctx, const struct scheduled *item);

beck_status schedule_no_memory(beck_error *err);
beck_status schedule_reserve_heap(struct schedule *s, beck_error *err); /* for one entry more */
/* Gives back what is no longer needed of the heap's memory. */
void schedule_shrink_heap(struct schedule *s);
void schedule_drop_all(struct schedule *s); /* empty, in memory */

void schedule_remove_file(struct schedule *s, uint64_t id);            /* of a run */
beck_status schedule_reserve_run(struct schedule *s, beck_error *err); /* for schedule_add_run */
void schedule_add_run(struct schedule *s, uint64_t id, uint64_t count, uint64_t taken, bool synced);
void schedule_remove_run(struct schedule *s, size_t i);
/* The heap becomes a run; on failure it is as it was, but sorted. */
beck_status schedule_spill(struct schedule *s, beck_error *err);
/* A push does its part of the merge. */
void schedule_pay_merge(struct schedule *s);
/* Gives a merge up, or (keep) forgets a finished one whose file stays. */
void schedule_end_merge(struct schedule *s, bool keep);
/* Filters all runs into new ones; nothing is changed before all are made. */
beck_status schedule_filter_runs(struct schedule *s, keep_fn keep, void *ctx, beck_error *err);

#endif
