/*
 * What is durable of a schedule: a description, and the run files that it names.
 *
 * Description, big-endian: crc u32 (CRC-32C of the rest) | length u32, of all of it | next id u64 |
 * runs u32 | heap entries u32 | for each run: id u64, entries u64, taken u64 | the heap's entries
 * as in a run.
 */
#include "queue/schedule_impl.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "queue/heap.h"

#include <assert.h>
#include <stdlib.h>

#define RUNS_MAX 4096
#define COUNT_MAX (1ULL << 48) /* entries in a run */
#define DESCRIPTION_HEADER 24
#define DESCRIPTION_RUN 24

/* NULL: it was merged meanwhile, or taken whole. */
static struct run *find_run(struct schedule *s, uint64_t id)
{
    for (size_t i = 0; i < s->run_count; i++)
        if (s->runs[i].cursor.id == id)
            return &s->runs[i];
    return NULL;
}

static beck_status sync_run(const struct schedule *s, uint64_t id, bool *failed, beck_error *err)
{
    char path[RUN_PATH_BYTES];
    run_path(path, s->dir, id);
    struct file *file;
    beck_status status = vfs_open(s->vfs, path, VFS_WRITE, &file, err);
    if (status != BECK_OK)
        return status;
    status = file_sync(file, err);
    file_close(file);
    *failed = status != BECK_OK;
    return status;
}

beck_status schedule_sync(const struct schedule *s, struct schedule_sync *sync, beck_error *err)
{
    beck_status status = BECK_OK;
    for (size_t i = 0; i < sync->count && status == BECK_OK; i++)
        status = sync_run(s, sync->ids[i], &sync->failed, err);
    if (status == BECK_OK && sync->names) {
        status = vfs_sync_dir(s->vfs, s->dir, err);
        sync->failed = status != BECK_OK;
    }
    return status;
}

void schedule_synced(struct schedule *s, struct schedule_sync *sync, bool synced)
{
    for (size_t i = 0; i < sync->count && synced; i++) {
        struct run *r = find_run(s, sync->ids[i]);
        if (r)
            r->synced = true;
    }
    s->names_unsynced |= sync->names && !synced;
    s->poisoned |= sync->failed;
    free(sync->ids);
    *sync = (struct schedule_sync){0};
}

/* What is not synced of the runs that the description names; ids: room for them. */
static void note_unsynced(struct schedule *s, uint64_t *ids, struct schedule_sync *sync)
{
    *sync = (struct schedule_sync){.ids = ids, .names = s->run_count > 0 && s->names_unsynced};
    for (size_t i = 0; i < s->run_count; i++)
        if (!s->runs[i].synced && run_left(&s->runs[i]) > 0)
            sync->ids[sync->count++] = s->runs[i].cursor.id;
    if (sync->names)
        s->names_unsynced = false;
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

beck_status schedule_write(struct schedule *s, struct buf *out, struct schedule_sync *sync,
                           beck_error *err)
{
    *sync = (struct schedule_sync){0};
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
        status = schedule_spill(s, err);
        schedule_shrink_heap(s);
    }
    if (status != BECK_OK)
        return status;
    uint64_t *ids = calloc(s->run_count + 1, sizeof *ids);
    uint64_t *unsynced = calloc(s->run_count + 1, sizeof *unsynced);
    size_t id_count = 0;
    if (ids == NULL || unsynced == NULL)
        status = schedule_no_memory(err);
    else
        status = describe(s, out, ids, &id_count, err);
    if (status != BECK_OK) {
        free(ids);
        free(unsynced);
        return status;
    }
    note_unsynced(s, unsynced, sync);
    free(s->saved);
    s->saved = ids;
    s->saved_count = id_count;
    return BECK_OK;
}

/* ---- loading ---- */

static beck_status damaged(const struct schedule *s, beck_error *err)
{
    return error_set(err, BECK_ECORRUPT, "the saved schedule of the queue in \"%s\" is damaged",
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
        status = error_set(err, BECK_ECORRUPT, "\"%s\" has %lld bytes instead of %lld", path,
                           (long long)size, (long long)run_bytes(r->cursor.count));
    return status;
}

static beck_status load_runs(struct schedule *s, const uint8_t *p, uint32_t count, beck_error *err)
{
    for (uint32_t i = 0; i < count; i++, p += DESCRIPTION_RUN) {
        uint64_t id = get_u64(p), entries = get_u64(p + 8), taken = get_u64(p + 16);
        if (taken >= entries || entries > COUNT_MAX || id >= s->next_id)
            return damaged(s, err);
        beck_status status = schedule_reserve_run(s, err);
        if (status != BECK_OK)
            return status;
        schedule_add_run(s, id, entries, taken, true);
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
        beck_status status = schedule_reserve_heap(s, err);
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
        return schedule_no_memory(err);
    free(s->saved);
    s->saved = saved;
    s->saved_count = 0;
    s->next_id = get_u64(p + 8);
    p += DESCRIPTION_HEADER;
    beck_status status = load_runs(s, p, runs, err);
    if (status == BECK_OK)
        status = load_heap(s, p + (size_t)runs * DESCRIPTION_RUN, entries, err);
    if (status != BECK_OK) {
        schedule_drop_all(s);
        s->saved_count = 0;
        s->next_id = 0;
        return status;
    }
    *used = len;
    return BECK_OK;
}

/* ---- files that are not needed ---- */

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
        schedule_remove_file(s, id);
    return 0;
}

void schedule_trim(struct schedule *s)
{
    if (s->vfs != NULL)
        vfs_list(s->vfs, s->dir, remove_unused, s, NULL);
}
