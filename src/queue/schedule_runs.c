/*
 * The runs of a schedule: made from the heap, merged, filtered.
 *
 * A merge is spread over the pushes that follow it: it has to be finished by the time MERGE_RUNS
 * more runs were written. Until then its inputs are used as before. Because what is taken from them
 * comes in the same order as what is merged, the number taken meanwhile is the number to skip in
 * the merged run. A merge that fails is given up and begun again later.
 */
#include "queue/schedule_impl.h"

#include "base/error.h"
#include "queue/heap.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MERGE_RUNS 4
#define WAITING_RUNS_MAX 64 /* without a merge: when merging fails again and again */

void schedule_remove_file(struct schedule *s, uint64_t id)
{
    char path[RUN_PATH_BYTES];
    run_path(path, s->dir, id);
    vfs_unlink(s->vfs, path, NULL);
}

static int highest_id(void *ctx, const char *name, bool is_dir)
{
    uint64_t *highest = ctx, id;
    if (!is_dir && run_parse_name(name, &id) && id > *highest && id < UINT64_MAX / 2)
        *highest = id;
    return 0;
}

/* Files of an earlier schedule stay as they are, because a snapshot may still speak of them. */
static beck_status take_id(struct schedule *s, uint64_t *id, beck_error *err)
{
    if (s->next_id == 0) {
        uint64_t highest = 0;
        beck_status status = vfs_list(s->vfs, s->dir, highest_id, &highest, err);
        if (status != BECK_OK)
            return status;
        s->next_id = highest + 1;
    }
    *id = s->next_id++;
    return BECK_OK;
}

beck_status schedule_reserve_run(struct schedule *s, beck_error *err)
{
    if (s->run_count < s->run_cap)
        return BECK_OK;
    size_t cap = s->run_cap == 0 ? 4 : s->run_cap * 2;
    struct run *grown = realloc(s->runs, cap * sizeof *grown);
    if (grown == NULL)
        return schedule_no_memory(err);
    s->runs = grown;
    s->run_cap = cap;
    return BECK_OK;
}

void schedule_add_run(struct schedule *s, uint64_t id, uint64_t count, uint64_t taken, bool synced)
{
    assert(s->run_count < s->run_cap && taken < count);
    struct run *r = &s->runs[s->run_count++];
    *r = (struct run){.synced = synced};
    run_cursor_begin(&r->cursor, s->vfs, s->dir, id, count, taken);
    s->run_entries += count - taken;
    s->least = LEAST_UNKNOWN;
}

/* Order among the others is kept: it decides between equal entries. */
void schedule_remove_run(struct schedule *s, size_t i)
{
    s->run_entries -= run_left(&s->runs[i]);
    run_cursor_end(&s->runs[i].cursor);
    s->run_count--;
    memmove(&s->runs[i], &s->runs[i + 1], (s->run_count - i) * sizeof s->runs[0]);
    s->least = LEAST_UNKNOWN;
}

/* ---- merging ---- */

/* Runs that may be merged: not in a merge, and not large already. */
static bool may_merge(const struct run *r)
{
    return !r->merging && run_left(r) <= SCHEDULE_MERGED / 2;
}

static size_t waiting_runs(const struct schedule *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->run_count; i++)
        n += may_merge(&s->runs[i]);
    return n;
}

static struct run *smallest(const struct schedule *s)
{
    struct run *best = NULL;
    for (size_t i = 0; i < s->run_count; i++)
        if (may_merge(&s->runs[i]) && (best == NULL || run_left(&s->runs[i]) < run_left(best)))
            best = &s->runs[i];
    return best;
}

/* Marks the runs to merge: the smallest ones, and each next larger one that is no larger than all
 * before it together. So an entry is in few merges, of sizes that double. */
static size_t choose(struct schedule *s)
{
    uint64_t sum = 0;
    size_t chosen = 0;
    for (struct run *r; (r = smallest(s)) != NULL; chosen++) {
        uint64_t left = run_left(r);
        if (sum + left > SCHEDULE_MERGED || (chosen >= 2 && left > sum))
            break;
        r->merging = true;
        sum += left;
    }
    return chosen;
}

static beck_status begin_merge(struct schedule *s, beck_error *err)
{
    assert(!s->merging);
    uint64_t id;
    beck_status status = take_id(s, &id, err);
    if (status != BECK_OK)
        return status;
    const struct run_cursor **inputs = calloc(s->run_count, sizeof(struct run_cursor *));
    if (inputs == NULL)
        return schedule_no_memory(err);
    size_t chosen = choose(s), n = 0;
    assert(chosen >= 2);
    for (size_t i = 0; i < s->run_count; i++)
        if (s->runs[i].merging)
            inputs[n++] = &s->runs[i].cursor;
    assert(n == chosen);
    status = merge_open(&s->merge, s->vfs, s->dir, id, inputs, n, err);
    free(inputs);
    if (status != BECK_OK) {
        for (size_t i = 0; i < s->run_count; i++)
            s->runs[i].merging = false;
        return status;
    }
    s->merging = true;
    s->merge_taken = s->merge_owed = s->merge_runs = 0;
    s->merge_pace = s->merge.total / (MERGE_RUNS * SCHEDULE_MEMORY) + 1;
    return BECK_OK;
}

/* Gives a merge up, or forgets a finished one whose file is kept. */
void schedule_end_merge(struct schedule *s, bool keep)
{
    if (!s->merging)
        return;
    uint64_t id = s->merge.id;
    merge_close(&s->merge);
    s->merging = false;
    if (!keep)
        schedule_remove_file(s, id);
    for (size_t i = s->run_count; i-- > 0;) {
        s->runs[i].merging = false;
        if (run_left(&s->runs[i]) == 0) /* was kept for the merge */
            schedule_remove_run(s, i);
    }
}

/* The merged run takes the place of its inputs. */
static void replace_inputs(struct schedule *s)
{
    uint64_t id = s->merge.id, total = s->merge.total, taken = s->merge_taken;
    s->names_unsynced = true;
    for (size_t i = s->run_count; i-- > 0;)
        if (s->runs[i].merging)
            schedule_remove_run(s, i);
    schedule_end_merge(s, taken < total);
    if (taken < total)
        schedule_add_run(s, id, total, taken, false);
}

static beck_status go_on_merging(struct schedule *s, uint64_t entries, beck_error *err)
{
    uint64_t done = merge_done(&s->merge), total = s->merge.total;
    beck_status status =
        merge_step(&s->merge, entries < total - done ? done + entries : total, err);
    if (status == BECK_OK && merge_done(&s->merge) == total) {
        status = merge_finish(&s->merge, err);
        if (status == BECK_OK)
            replace_inputs(s);
    }
    if (status != BECK_OK)
        schedule_end_merge(s, false);
    return status;
}

/* A push pays for its part of the merge; blocks at a time. */
void schedule_pay_merge(struct schedule *s)
{
    s->merge_owed += s->merge_pace;
    if (s->merge_owed >= RUN_BLOCK_ENTRIES) {
        go_on_merging(s, s->merge_owed, NULL);
        s->merge_owed = 0;
    }
}

/* One more run was written: now that many parts of MERGE_RUNS have to be done. */
static void pay_merge_run(struct schedule *s)
{
    if (!s->merging)
        return;
    uint64_t due = s->merge.total / MERGE_RUNS * ++s->merge_runs, done = merge_done(&s->merge);
    if (s->merge_runs >= MERGE_RUNS)
        go_on_merging(s, UINT64_MAX, NULL);
    else if (due > done)
        go_on_merging(s, due - done, NULL);
}

/* ---- from the heap ---- */

static int compare(const void *a, const void *b)
{
    const struct scheduled *x = a, *y = b;
    return scheduled_before(x, y) ? -1 : scheduled_before(y, x);
}

static beck_status write_run(struct schedule *s, uint64_t id, beck_error *err)
{
    struct run_writer w;
    beck_status status = run_writer_open(&w, s->vfs, s->dir, id, err);
    if (status != BECK_OK)
        return status;
    for (size_t i = 0; i < s->heap_len && status == BECK_OK; i++)
        status = run_writer_add(&w, &s->heap[i], err);
    if (status == BECK_OK)
        status = run_writer_finish(&w, err);
    run_writer_close(&w);
    if (status != BECK_OK)
        schedule_remove_file(s, id);
    return status;
}

/* The heap becomes a run. */
beck_status schedule_spill(struct schedule *s, beck_error *err)
{
    beck_status status;
    if (!s->merging && waiting_runs(s) >= WAITING_RUNS_MAX) {
        status = begin_merge(s, err);
        if (status != BECK_OK)
            return status;
        status = go_on_merging(s, UINT64_MAX, err);
        if (status != BECK_OK)
            return status;
    }
    uint64_t id;
    status = schedule_reserve_run(s, err);
    if (status == BECK_OK)
        status = take_id(s, &id, err);
    if (status != BECK_OK)
        return status;
    qsort(s->heap, s->heap_len, sizeof s->heap[0], compare); /* in order, it is a heap as well */
    status = write_run(s, id, err);
    if (status != BECK_OK)
        return status;
    schedule_add_run(s, id, s->heap_len, 0, false);
    s->names_unsynced = true;
    s->heap_len = 0;
    pay_merge_run(s);
    if (!s->merging && waiting_runs(s) > SCHEDULE_RUNS)
        begin_merge(s, NULL);
    return BECK_OK;
}

/* ---- filtering ---- */

/* What is kept of a run, as run `id`. */
static beck_status filter_run(struct schedule *s, const struct run_cursor *from, uint64_t id,
                              keep_fn keep, void *ctx, uint64_t *kept, beck_error *err)
{
    struct run_writer w;
    beck_status status = run_writer_open(&w, s->vfs, s->dir, id, err);
    if (status != BECK_OK)
        return status;
    struct run_cursor c;
    run_cursor_begin(&c, s->vfs, s->dir, from->id, from->count, from->next);
    const struct scheduled *item;
    while ((status = run_cursor_peek(&c, &item, err)) == BECK_OK) {
        if (keep(ctx, item) && (status = run_writer_add(&w, item, err)) != BECK_OK)
            break;
        run_cursor_skip(&c);
    }
    if (status == BECK_END)
        status = run_writer_finish(&w, err);
    *kept = w.count;
    run_cursor_end(&c);
    run_writer_close(&w);
    if (status != BECK_OK)
        schedule_remove_file(s, id);
    return status;
}

/* Filters all runs into new ones; nothing is changed before all are made. */
beck_status schedule_filter_runs(struct schedule *s, keep_fn keep, void *ctx, beck_error *err)
{
    struct filtered {
        uint64_t id, kept;
    } *made = calloc(s->run_count, sizeof *made);
    if (made == NULL)
        return schedule_no_memory(err);
    size_t n = 0;
    beck_status status = BECK_OK;
    for (; n < s->run_count; n++) {
        status = take_id(s, &made[n].id, err);
        if (status == BECK_OK)
            status = filter_run(s, &s->runs[n].cursor, made[n].id, keep, ctx, &made[n].kept, err);
        if (status != BECK_OK)
            break;
    }
    for (size_t i = 0; i < n; i++) {
        struct run *r = &s->runs[i];
        if (status != BECK_OK || made[i].kept == run_left(r) || made[i].kept == 0)
            schedule_remove_file(s, made[i].id);
        if (status != BECK_OK || made[i].kept == run_left(r))
            continue;
        s->run_entries -= run_left(r) - made[i].kept;
        run_cursor_end(&r->cursor);
        run_cursor_begin(&r->cursor, s->vfs, s->dir, made[i].id, made[i].kept, 0);
        r->synced = false;
        s->names_unsynced = true;
    }
    free(made);
    for (size_t i = s->run_count; i-- > 0;)
        if (run_left(&s->runs[i]) == 0)
            schedule_remove_run(s, i);
    s->least = LEAST_UNKNOWN;
    return status;
}
