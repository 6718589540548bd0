/*
 * Entries that wait for a time: a heap for the newest, sorted runs in files for the rest. Here is
 * the heap, and what is done with heap and runs together.
 */
#include "queue/schedule_impl.h"

#include "base/error.h"
#include "queue/heap.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 16

beck_status schedule_no_memory(beck_error *err)
{
    return error_set(err, BECK_ENOMEM, "no memory for entries of a queue's schedule");
}

beck_status schedule_new(struct vfs *v, const char *dir, struct schedule **out, beck_error *err)
{
    if (v != NULL && strlen(dir) >= PATH_MAX)
        return error_set(err, BECK_EINVAL,
                         "the path of a queue's directory is too long: \"%.100s...\"", dir);
    struct schedule *s = calloc(1, sizeof *s);
    if (s == NULL)
        return schedule_no_memory(err);
    s->vfs = v;
    s->least = LEAST_UNKNOWN;
    s->names_unsynced = true;
    if (v != NULL) {
        s->dir = strdup(dir);
        if (s->dir == NULL) {
            free(s);
            return schedule_no_memory(err);
        }
    }
    *out = s;
    return BECK_OK;
}

void schedule_drop_all(struct schedule *s)
{
    schedule_end_merge(s, false);
    for (size_t i = 0; i < s->run_count; i++)
        run_cursor_end(&s->runs[i].cursor);
    free(s->runs);
    free(s->heap);
    s->runs = NULL;
    s->heap = NULL;
    s->run_count = s->run_cap = s->heap_len = s->heap_cap = 0;
    s->run_entries = 0;
    s->least = LEAST_UNKNOWN;
}

void schedule_free(struct schedule *s)
{
    if (s == NULL)
        return;
    schedule_drop_all(s);
    free(s->saved);
    free(s->dir);
    free(s);
}

uint64_t schedule_count(const struct schedule *s)
{
    return s->heap_len + s->run_entries;
}

/* ---- the heap ---- */

beck_status schedule_reserve_heap(struct schedule *s, beck_error *err)
{
    if (s->heap_len < s->heap_cap)
        return BECK_OK;
    size_t cap = s->heap_cap == 0 ? FIRST_CAP : s->heap_cap * 2;
    if (s->vfs != NULL && cap > SCHEDULE_MEMORY)
        cap = SCHEDULE_MEMORY;
    struct scheduled *grown = realloc(s->heap, cap * sizeof *grown);
    if (grown == NULL)
        return schedule_no_memory(err);
    s->heap = grown;
    s->heap_cap = cap;
    return BECK_OK;
}

/* What is no longer needed of the heap's memory; keeping it is no error. */
void schedule_shrink_heap(struct schedule *s)
{
    if (s->heap_cap <= FIRST_CAP || s->heap_len >= s->heap_cap / 4)
        return;
    struct scheduled *small = realloc(s->heap, s->heap_cap / 2 * sizeof *small);
    if (small == NULL)
        return;
    s->heap = small;
    s->heap_cap /= 2;
}

beck_status schedule_push(struct schedule *s, const struct scheduled *item, beck_error *err)
{
    beck_status status = BECK_OK;
    if (s->vfs != NULL && s->heap_len == SCHEDULE_MEMORY)
        status = schedule_spill(s, err);
    if (status == BECK_OK)
        status = schedule_reserve_heap(s, err);
    if (status != BECK_OK)
        return status;
    heap_up(s->heap, s->heap_len++, *item);
    s->least = LEAST_UNKNOWN;
    if (s->merging)
        schedule_pay_merge(s);
    return BECK_OK;
}

/* ---- taking ---- */

static beck_status find_least(struct schedule *s, const struct scheduled **out, beck_error *err)
{
    const struct scheduled *best = s->heap_len > 0 ? &s->heap[0] : NULL;
    int64_t least = LEAST_HEAP;
    for (size_t i = 0; i < s->run_count; i++) {
        const struct scheduled *item;
        beck_status status = run_cursor_peek(&s->runs[i].cursor, &item, err);
        if (status == BECK_END) /* kept for a merge */
            continue;
        if (status != BECK_OK)
            return status;
        if (best == NULL || scheduled_before(item, best)) {
            best = item;
            least = (int64_t)i;
        }
    }
    if (best == NULL)
        return BECK_END;
    s->least = least;
    *out = best;
    return BECK_OK;
}

static beck_status least(struct schedule *s, const struct scheduled **out, beck_error *err)
{
    if (s->least == LEAST_UNKNOWN)
        return find_least(s, out, err);
    *out = s->least == LEAST_HEAP ? &s->heap[0] : &s->runs[s->least].cursor.item;
    return BECK_OK;
}

beck_status schedule_peek(struct schedule *s, struct scheduled *out, beck_error *err)
{
    const struct scheduled *item;
    beck_status status = least(s, &item, err);
    if (status == BECK_OK)
        *out = *item;
    return status;
}

static void take_from_run(struct schedule *s, size_t i)
{
    struct run *r = &s->runs[i];
    run_cursor_skip(&r->cursor);
    s->run_entries--;
    if (r->merging)
        s->merge_taken++;
    if (run_left(r) > 0)
        return;
    if (!r->merging)
        schedule_remove_run(s, i);
    else if (s->merge_taken == s->merge.total)
        schedule_end_merge(s, false); /* nothing is left to merge */
    else
        run_cursor_end(&r->cursor);
}

beck_status schedule_pop(struct schedule *s, struct scheduled *out, beck_error *err)
{
    beck_status status = schedule_peek(s, out, err);
    if (status != BECK_OK)
        return status;
    if (s->least == LEAST_HEAP) {
        s->heap_len--;
        if (s->heap_len > 0)
            heap_down(s->heap, s->heap_len, 0, s->heap[s->heap_len]);
        schedule_shrink_heap(s);
    } else {
        take_from_run(s, (size_t)s->least);
    }
    s->least = LEAST_UNKNOWN;
    return BECK_OK;
}

/* ---- all of them ---- */

beck_status schedule_each(struct schedule *s, int (*each)(void *ctx, const struct scheduled *item),
                          void *ctx, beck_error *err)
{
    return schedule_first(s, UINT64_MAX, each, ctx, err);
}

beck_status schedule_first(struct schedule *s, uint64_t n,
                           int (*each)(void *ctx, const struct scheduled *item), void *ctx,
                           beck_error *err)
{
    for (size_t i = 0; i < s->heap_len; i++)
        if (each(ctx, &s->heap[i]) != 0)
            return BECK_OK;
    beck_status status = BECK_OK;
    bool ended = false;
    for (size_t i = 0; i < s->run_count && status == BECK_OK && !ended; i++) {
        const struct run_cursor *from = &s->runs[i].cursor;
        struct run_cursor c;
        run_cursor_begin(&c, s->vfs, s->dir, from->id, from->count, from->next);
        const struct scheduled *item;
        for (uint64_t k = 0;
             k < n && !ended && (status = run_cursor_peek(&c, &item, err)) == BECK_OK; k++) {
            ended = each(ctx, item) != 0;
            run_cursor_skip(&c);
        }
        run_cursor_end(&c);
        if (status == BECK_END)
            status = BECK_OK;
    }
    return status;
}

beck_status schedule_filter(struct schedule *s, keep_fn keep, void *ctx, beck_error *err)
{
    schedule_end_merge(s, false);
    if (s->run_count > 0) {
        beck_status status = schedule_filter_runs(s, keep, ctx, err);
        if (status != BECK_OK)
            return status;
    }
    size_t kept = 0;
    for (size_t i = 0; i < s->heap_len; i++)
        if (keep(ctx, &s->heap[i]))
            s->heap[kept++] = s->heap[i];
    s->heap_len = kept;
    heap_order(s->heap, kept);
    schedule_shrink_heap(s);
    s->least = LEAST_UNKNOWN;
    return BECK_OK;
}

void schedule_clear(struct schedule *s)
{
    schedule_drop_all(s);
    s->poisoned = false;
}
