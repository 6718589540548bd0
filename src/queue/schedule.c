/*
 * Entries that wait for a time: a heap for the newest, sorted runs in files for the rest.
 *
 * A merge is spread over the pushes that follow it: it has to be finished by the time MERGE_RUNS
 * more runs were written. Until then its inputs are used as before. Because what is taken from them
 * comes in the same order as what is merged, the number taken meanwhile is the number to skip in
 * the merged run. A merge that fails is given up and begun again later.
 */
#include "queue/schedule.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "queue/heap.h"
#include "queue/merge.h"
#include "queue/run.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>

#define FIRST_CAP 16
#define MERGE_RUNS 4
#define RUNS_MAX 4096          /* in a description */
#define WAITING_RUNS_MAX 64    /* without a merge: when merging fails again and again */
#define COUNT_MAX (1ULL << 48) /* entries in a run */
#define DESCRIPTION_HEADER 24  /* crc u32, length u32, next id u64, runs u32, heap entries u32 */
#define DESCRIPTION_RUN 24     /* id u64, count u64, taken u64 */

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

static beck_status no_memory(beck_error *err)
{
    return error_set(err, BECK_ENOMEM, "no memory for entries of a queue's schedule");
}

static uint64_t run_left(const struct run *r)
{
    return r->cursor.count - r->cursor.next;
}

static void remove_file(struct schedule *s, uint64_t id)
{
    char path[RUN_PATH_BYTES];
    run_path(path, s->dir, id);
    vfs_unlink(s->vfs, path, NULL);
}

beck_status schedule_new(struct vfs *v, const char *dir, struct schedule **out, beck_error *err)
{
    if (v != NULL && strlen(dir) >= PATH_MAX)
        return error_set(err, BECK_EINVAL,
                         "the path of a queue's directory is too long: \"%.100s...\"", dir);
    struct schedule *s = calloc(1, sizeof *s);
    if (s == NULL)
        return no_memory(err);
    s->vfs = v;
    s->least = LEAST_UNKNOWN;
    s->names_unsynced = true;
    if (v != NULL) {
        s->dir = strdup(dir);
        if (s->dir == NULL) {
            free(s);
            return no_memory(err);
        }
    }
    *out = s;
    return BECK_OK;
}

/* Gives a merge up, or forgets a finished one whose file is kept. */
static void end_merge(struct schedule *s, bool keep)
{
    if (!s->merging)
        return;
    uint64_t id = s->merge.id;
    merge_close(&s->merge);
    s->merging = false;
    for (size_t i = 0; i < s->run_count; i++)
        s->runs[i].merging = false;
    if (!keep)
        remove_file(s, id);
}

static void drop_all(struct schedule *s)
{
    end_merge(s, false);
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
    drop_all(s);
    free(s->saved);
    free(s->dir);
    free(s);
}

uint64_t schedule_count(const struct schedule *s)
{
    return s->heap_len + s->run_entries;
}

/* ---- runs ---- */

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

static beck_status reserve_run(struct schedule *s, beck_error *err)
{
    if (s->run_count < s->run_cap)
        return BECK_OK;
    size_t cap = s->run_cap == 0 ? 4 : s->run_cap * 2;
    struct run *grown = realloc(s->runs, cap * sizeof *grown);
    if (grown == NULL)
        return no_memory(err);
    s->runs = grown;
    s->run_cap = cap;
    return BECK_OK;
}

static void add_run(struct schedule *s, uint64_t id, uint64_t count, uint64_t taken, bool synced)
{
    assert(s->run_count < s->run_cap && taken < count);
    struct run *r = &s->runs[s->run_count++];
    *r = (struct run){.synced = synced};
    run_cursor_begin(&r->cursor, s->vfs, s->dir, id, count, taken);
    s->run_entries += count - taken;
    s->least = LEAST_UNKNOWN;
}

/* Order among the others is kept: it decides between equal entries. */
static void remove_run(struct schedule *s, size_t i)
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
        return no_memory(err);
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

/* The merged run takes the place of its inputs. */
static void replace_inputs(struct schedule *s)
{
    uint64_t id = s->merge.id, total = s->merge.total, taken = s->merge_taken;
    for (size_t i = s->run_count; i-- > 0;)
        if (s->runs[i].merging)
            remove_run(s, i);
    end_merge(s, taken < total);
    if (taken < total)
        add_run(s, id, total, taken, false);
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
        end_merge(s, false);
    return status;
}

/* A push pays for its part of the merge; blocks at a time. */
static void pay_merge(struct schedule *s)
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

/* ---- the heap ---- */

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
        remove_file(s, id);
    return status;
}

/* The heap becomes a run. */
static beck_status spill(struct schedule *s, beck_error *err)
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
    status = reserve_run(s, err);
    if (status == BECK_OK)
        status = take_id(s, &id, err);
    if (status != BECK_OK)
        return status;
    qsort(s->heap, s->heap_len, sizeof s->heap[0], compare); /* in order, it is a heap as well */
    status = write_run(s, id, err);
    if (status != BECK_OK)
        return status;
    add_run(s, id, s->heap_len, 0, false);
    s->names_unsynced = true;
    s->heap_len = 0;
    pay_merge_run(s);
    if (!s->merging && waiting_runs(s) > SCHEDULE_RUNS)
        begin_merge(s, NULL);
    return BECK_OK;
}

static beck_status reserve_heap(struct schedule *s, beck_error *err)
{
    if (s->heap_len < s->heap_cap)
        return BECK_OK;
    size_t cap = s->heap_cap == 0 ? FIRST_CAP : s->heap_cap * 2;
    if (s->vfs != NULL && cap > SCHEDULE_MEMORY)
        cap = SCHEDULE_MEMORY;
    struct scheduled *grown = realloc(s->heap, cap * sizeof *grown);
    if (grown == NULL)
        return no_memory(err);
    s->heap = grown;
    s->heap_cap = cap;
    return BECK_OK;
}

/* What is no longer needed of the heap's memory; keeping it is no error. */
static void shrink_heap(struct schedule *s)
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
        status = spill(s, err);
    if (status == BECK_OK)
        status = reserve_heap(s, err);
    if (status != BECK_OK)
        return status;
    heap_up(s->heap, s->heap_len++, *item);
    s->least = LEAST_UNKNOWN;
    if (s->merging)
        pay_merge(s);
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
    if (r->merging)
        run_cursor_end(&r->cursor);
    else
        remove_run(s, i);
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
        shrink_heap(s);
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
        while (!ended && (status = run_cursor_peek(&c, &item, err)) == BECK_OK) {
            ended = each(ctx, item) != 0;
            run_cursor_skip(&c);
        }
        run_cursor_end(&c);
        if (status == BECK_END)
            status = BECK_OK;
    }
    return status;
}

typedef bool (*keep_fn)(void *ctx, const struct scheduled *item);

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
        remove_file(s, id);
    return status;
}

/* Filters all runs into new ones; nothing is changed before all are made. */
static beck_status filter_runs(struct schedule *s, keep_fn keep, void *ctx, beck_error *err)
{
    struct filtered {
        uint64_t id, kept;
    } *made = calloc(s->run_count, sizeof *made);
    if (made == NULL)
        return no_memory(err);
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
            remove_file(s, made[i].id);
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
            remove_run(s, i);
    s->least = LEAST_UNKNOWN;
    return status;
}

beck_status schedule_filter(struct schedule *s, keep_fn keep, void *ctx, beck_error *err)
{
    end_merge(s, false);
    if (s->run_count > 0) {
        beck_status status = filter_runs(s, keep, ctx, err);
        if (status != BECK_OK)
            return status;
    }
    size_t kept = 0;
    for (size_t i = 0; i < s->heap_len; i++)
        if (keep(ctx, &s->heap[i]))
            s->heap[kept++] = s->heap[i];
    s->heap_len = kept;
    heap_order(s->heap, kept);
    shrink_heap(s);
    s->least = LEAST_UNKNOWN;
    return BECK_OK;
}

void schedule_clear(struct schedule *s)
{
    drop_all(s);
    s->poisoned = false;
}

/* ---- what is durable ---- */

static beck_status sync_run(struct schedule *s, struct run *r, beck_error *err)
{
    char path[RUN_PATH_BYTES];
    run_path(path, s->dir, r->cursor.id);
    struct file *file;
    beck_status status = vfs_open(s->vfs, path, VFS_WRITE, &file, err);
    if (status != BECK_OK)
        return status;
    status = file_sync(file, err);
    file_close(file);
    if (status == BECK_OK)
        r->synced = true;
    else
        s->poisoned = true;
    return status;
}

static beck_status sync_runs(struct schedule *s, beck_error *err)
{
    for (size_t i = 0; i < s->run_count; i++) {
        if (s->runs[i].synced || run_left(&s->runs[i]) == 0)
            continue;
        beck_status status = sync_run(s, &s->runs[i], err);
        if (status != BECK_OK)
            return status;
    }
    if (s->run_count == 0 || !s->names_unsynced)
        return BECK_OK;
    beck_status status = vfs_sync_dir(s->vfs, s->dir, err);
    if (status == BECK_OK)
        s->names_unsynced = false;
    else
        s->poisoned = true;
    return status;
}

/* Appends the description; ids: room for those of its runs. */
static beck_status describe(struct schedule *s, struct buf *out, uint64_t *ids, size_t *id_count,
                            beck_error *err)
{
    size_t len =
        DESCRIPTION_HEADER + s->run_count * DESCRIPTION_RUN + s->heap_len * RUN_ENTRY_BYTES;
    beck_status status = buf_reserve(out, len);
    if (status != BECK_OK)
        return error_set(err, status, "the saved position of a queue does not take %zu bytes more",
                         len);
    uint8_t *start = out->data + out->len, *p = start + DESCRIPTION_HEADER;
    size_t n = 0;
    for (size_t i = 0; i < s->run_count; i++) {
        const struct run *r = &s->runs[i];
        if (run_left(r) == 0)
            continue;
        put_u64(p, r->cursor.id);
        put_u64(p + 8, r->cursor.count);
        put_u64(p + 16, r->cursor.next);
        p += DESCRIPTION_RUN;
        ids[n++] = r->cursor.id;
    }
    for (size_t i = 0; i < s->heap_len; i++, p += RUN_ENTRY_BYTES)
        run_put_entry(p, &s->heap[i]);
    len = (size_t)(p - start);
    put_u32(start + 4, (uint32_t)len);
    put_u64(start + 8, s->next_id);
    put_u32(start + 16, (uint32_t)n);
    put_u32(start + 20, (uint32_t)s->heap_len);
    put_u32(start, crc32c(0, start + 4, len - 4));
    out->len += len;
    *id_count = n;
    return BECK_OK;
}

beck_status schedule_save(struct schedule *s, struct buf *out, beck_error *err)
{
    if (s->vfs == NULL)
        return error_set(err, BECK_EUNSUPPORTED, "a schedule in memory cannot be saved");
    if (s->poisoned)
        return error_set(
            err, BECK_EPOISONED,
            "a sync of files of the queue in \"%s\" failed earlier, so its position is "
            "not saved any more; look at the disk, then open again",
            s->dir);
    beck_status status = BECK_OK;
    if (s->heap_len > SCHEDULE_SAVED_HEAP) {
        status = spill(s, err);
        shrink_heap(s);
    }
    if (status == BECK_OK)
        status = sync_runs(s, err);
    if (status != BECK_OK)
        return status;
    uint64_t *ids = calloc(s->run_count + 1, sizeof *ids);
    if (ids == NULL)
        return no_memory(err);
    size_t id_count = 0;
    status = describe(s, out, ids, &id_count, err);
    if (status != BECK_OK) {
        free(ids);
        return status;
    }
    free(s->saved);
    s->saved = ids;
    s->saved_count = id_count;
    return BECK_OK;
}

static beck_status damaged(const struct schedule *s, beck_error *err)
{
    return error_set(
        err, BECK_ECORRUPT,
        "the saved schedule of the queue in \"%s\" is damaged; the queue makes it anew "
        "from the log",
        s->dir);
}

/* The lengths and the checksum fit; then *len is the description's. */
static bool is_description(beck_bytes b, size_t *len, uint32_t *runs, uint32_t *entries)
{
    const uint8_t *p = b.data;
    if (b.len < DESCRIPTION_HEADER)
        return false;
    *len = get_u32(p + 4);
    *runs = get_u32(p + 16);
    *entries = get_u32(p + 20);
    return *runs <= RUNS_MAX && *entries <= SCHEDULE_SAVED_HEAP && *len <= b.len &&
           *len == DESCRIPTION_HEADER + (size_t)*runs * DESCRIPTION_RUN +
                       (size_t)*entries * RUN_ENTRY_BYTES &&
           crc32c(0, p + 4, *len - 4) == get_u32(p);
}

/* The file has the size that it must have, and its first block in use is whole. */
static beck_status check_run(struct schedule *s, struct run *r, beck_error *err)
{
    const struct scheduled *item;
    beck_status status = run_cursor_peek(&r->cursor, &item, err);
    if (status != BECK_OK)
        return status;
    char path[RUN_PATH_BYTES];
    run_path(path, s->dir, r->cursor.id);
    struct file *file;
    int64_t size;
    status = vfs_open(s->vfs, path, VFS_READ, &file, err);
    if (status != BECK_OK)
        return status;
    status = file_size(file, &size, err);
    file_close(file);
    if (status == BECK_OK && size != run_bytes(r->cursor.count))
        status = error_set(err, BECK_ECORRUPT,
                           "\"%s\" has %lld bytes instead of %lld; remove the file and open again: "
                           "the queue makes it anew from the log",
                           path, (long long)size, (long long)run_bytes(r->cursor.count));
    return status;
}

static beck_status load_runs(struct schedule *s, const uint8_t *p, uint32_t count, beck_error *err)
{
    for (uint32_t i = 0; i < count; i++, p += DESCRIPTION_RUN) {
        uint64_t id = get_u64(p), entries = get_u64(p + 8), taken = get_u64(p + 16);
        if (taken >= entries || entries > COUNT_MAX || id >= s->next_id)
            return damaged(s, err);
        beck_status status = reserve_run(s, err);
        if (status != BECK_OK)
            return status;
        add_run(s, id, entries, taken, true);
        status = check_run(s, &s->runs[i], err);
        if (status != BECK_OK)
            return status;
        s->saved[s->saved_count++] = id;
    }
    return BECK_OK;
}

static beck_status load_heap(struct schedule *s, const uint8_t *p, uint32_t count, beck_error *err)
{
    for (uint32_t i = 0; i < count; i++, p += RUN_ENTRY_BYTES) {
        beck_status status = reserve_heap(s, err);
        if (status != BECK_OK)
            return status;
        run_get_entry(p, &s->heap[s->heap_len++]);
    }
    heap_order(s->heap, s->heap_len);
    return BECK_OK;
}

beck_status schedule_load(struct schedule *s, beck_bytes description, size_t *used, beck_error *err)
{
    assert(s->vfs != NULL && schedule_count(s) == 0 && !s->merging);
    const uint8_t *p = description.data;
    uint32_t runs, entries;
    size_t len;
    if (!is_description(description, &len, &runs, &entries))
        return damaged(s, err);
    uint64_t *saved = calloc(runs + 1, sizeof *saved);
    if (saved == NULL)
        return no_memory(err);
    free(s->saved);
    s->saved = saved;
    s->saved_count = 0;
    s->next_id = get_u64(p + 8);
    p += DESCRIPTION_HEADER;
    beck_status status = load_runs(s, p, runs, err);
    if (status == BECK_OK)
        status = load_heap(s, p + (size_t)runs * DESCRIPTION_RUN, entries, err);
    if (status != BECK_OK) {
        drop_all(s);
        s->saved_count = 0;
        s->next_id = 0;
        return status;
    }
    *used = len;
    return BECK_OK;
}

static bool in_use(const struct schedule *s, uint64_t id)
{
    for (size_t i = 0; i < s->saved_count; i++)
        if (s->saved[i] == id)
            return true;
    for (size_t i = 0; i < s->run_count; i++)
        if (s->runs[i].cursor.id == id)
            return true;
    return s->merging && s->merge.id == id;
}

static int remove_unused(void *ctx, const char *name, bool is_dir)
{
    struct schedule *s = ctx;
    uint64_t id;
    if (!is_dir && run_parse_name(name, &id) && !in_use(s, id))
        remove_file(s, id);
    return 0;
}

void schedule_trim(struct schedule *s)
{
    if (s->vfs != NULL)
        vfs_list(s->vfs, s->dir, remove_unused, s, NULL);
}
