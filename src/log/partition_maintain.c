/*
 * Upkeep of a partition: checkpoints, retention, and what is done once in a while. Rewriting
 * segments (compaction, events that are still owed) is in partition_clean.c.
 *
 * One thread at a time has the upkeep of a partition (`upkeep`): only it takes segments out of the
 * array or replaces them, so the sealed segments that it looks at stay where they are while the
 * lock is free. The writer only ever adds one behind them.
 */
#include "log/partition_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define PRODUCER_EXPIRY_MS 86400000LL
#define SNAPSHOTS_KEPT 2

/* Waits for whoever has the upkeep. The lock is held on return. */
static void upkeep_begin(struct partition *p)
{
    mutex_lock(&p->lock);
    while (p->upkeep)
        cond_wait(&p->changed, &p->lock);
    p->upkeep = true;
}

static void upkeep_end(struct partition *p)
{
    assert(p->upkeep && mutex_held(&p->lock));
    p->upkeep = false;
    cond_broadcast(&p->changed);
    mutex_unlock(&p->lock);
}

/* ---- checkpoints ---- */

struct snapshots {
    int64_t *offsets;
    size_t count;
};

static int list_snapshot(void *ctx, const char *name, bool is_dir)
{
    struct snapshots *s = ctx;
    uint64_t offset;
    if (is_dir || strlen(name) < 20 || strcmp(name + 20, ".snapshot") != 0 ||
        !bytes_to_u64(bytes_of(name, 20), &offset) || offset > INT64_MAX)
        return 0;
    int64_t *grown = realloc(s->offsets, (s->count + 1) * sizeof *grown);
    if (!grown)
        return 1;
    s->offsets = grown;
    s->offsets[s->count++] = (int64_t)offset;
    return 0;
}

/* An opening reads the newest snapshot at or below the recovery point that it is given: the one
 * before this checkpoint until the new recovery point is stored, or an older one when a snapshot is
 * damaged. `keep`: 0 removes all, when no producer is known. */
static void remove_snapshots(struct partition *p, size_t keep, int64_t recovery_point)
{
    struct snapshots all = {0};
    if (vfs_list(p->env->vfs, p->dir, list_snapshot, &all, NULL) == BECK_OK) {
        for (size_t i = 0; i < all.count; i++) {
            size_t newer = 0;
            for (size_t j = 0; j < all.count; j++)
                newer += all.offsets[j] > all.offsets[i] && all.offsets[j] <= recovery_point;
            if (newer < keep)
                continue;
            char path[4200];
            snprintf(path, sizeof path, "%s/%020lld.snapshot", p->dir, (long long)all.offsets[i]);
            vfs_unlink(p->env->vfs, path, NULL);
        }
    }
    free(all.offsets);
}

/* Sealed segments whose last index entries did not reach the device when they were rolled. With the
 * lock. */
static beck_status seal_rolled(struct partition *p, beck_error *err)
{
    for (size_t i = 0; i + 1 < p->segment_count; i++) {
        struct segment *s = p->segments[i];
        if (!s->unsealed)
            continue;
        beck_status status = segment_use(s, err);
        if (status)
            return status;
        status = segment_seal(s, err);
        segment_unuse(s);
        if (status)
            return status;
    }
    return BECK_OK;
}

/* Entries of the active segment, so that an opening finds its way near to the recovery point. They
 * can be missing: it takes longer then. With the lock, which is free during the syncs. */
static void sync_active_indexes(struct partition *p)
{
    struct segment *s = p->segments[p->segment_count - 1];
    if (index_flush(s->offsets, NULL) || index_flush(s->times, NULL))
        return;
    static const char *const suffixes[] = {".index", ".timeindex"};
    char path[4200];
    struct file *files[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        segment_path(s, suffixes[i], path, sizeof path);
        if (vfs_open(p->env->vfs, path, VFS_WRITE, &files[i], NULL))
            files[i] = NULL;
    }
    mutex_unlock(&p->lock);
    for (int i = 0; i < 2; i++) {
        if (files[i])
            file_sync(files[i], NULL);
        file_close(files[i]);
    }
    mutex_lock(&p->lock);
}

/* With the upkeep and the lock, which is free during I/O. */
static beck_status checkpoint(struct partition *p, int64_t *recovery_point, beck_error *err)
{
    /* The producers' state is that of everything written: once that is synced, both agree. */
    int64_t target = p->written, before = p->checkpointed;
    size_t known = producers_count(p->producers);
    struct buf snapshot;
    buf_init(&snapshot, 64u << 20);
    beck_status status = BECK_OK;
    if (known > 0 && producers_snapshot_write(p->producers, &snapshot))
        status = error_set(err, BECK_ENOMEM, "no memory for a producer snapshot");
    mutex_unlock(&p->lock);
    if (!status)
        status = partition_sync(p, err);
    if (!status && known > 0) {
        char path[4200];
        snprintf(path, sizeof path, "%s/%020lld.snapshot", p->dir, (long long)target);
        status = vfs_write_file(p->env->vfs, path, buf_bytes(&snapshot), err);
    }
    buf_release(&snapshot);
    mutex_lock(&p->lock);
    if (!status)
        status = seal_rolled(p, err);
    if (status)
        return status;
    sync_active_indexes(p);
    bool had_snapshots = p->has_snapshots;
    p->has_snapshots = known > 0;
    p->checkpointed = target;
    *recovery_point = target;
    if (known > 0 || had_snapshots) {
        mutex_unlock(&p->lock);
        remove_snapshots(p, known > 0 ? SNAPSHOTS_KEPT : 0, before);
        mutex_lock(&p->lock);
    }
    return BECK_OK;
}

beck_status partition_checkpoint(struct partition *p, int64_t *recovery_point, int64_t *log_start,
                                 beck_error *err)
{
    beck_status status = BECK_OK;
    upkeep_begin(p);
    bool idle = p->checkpointed == p->written && p->next == p->written;
    *recovery_point = p->written;
    if (!p->options.memory && !p->env->read_only && !idle) {
        mutex_unlock(&p->lock);
        /* What was accepted so far is to be in it. */
        status = partition_sync(p, err);
        mutex_lock(&p->lock);
        if (!status)
            status = checkpoint(p, recovery_point, err);
    }
    *log_start = p->first < *recovery_point ? p->first : *recovery_point;
    upkeep_end(p);
    return status;
}

/* ---- retention ---- */

beck_status partition_truncate_before(struct partition *p, int64_t offset, beck_error *err)
{
    if (offset < 0)
        return error_set(err, BECK_EINVAL, "offset %lld cannot be", (long long)offset);
    if (p->env->read_only)
        return error_set(err, BECK_EINVAL, "the data directory is open for reading only");
    mutex_lock(&p->lock);
    if (offset > p->written)
        offset = p->written;
    if (offset > p->first) {
        p->first = offset;
        atomic_store_explicit(&p->first_seen, offset, memory_order_release);
        partition_check(p);
    }
    mutex_unlock(&p->lock);
    return BECK_OK;
}

beck_status partition_maintain(struct partition *p, const struct partition_owed *owed,
                               beck_error *err)
{
    (void)owed;
    (void)err;
    upkeep_begin(p);
    producers_expire(p->producers, clock_wall_ms(p->env->clock) - PRODUCER_EXPIRY_MS);
    upkeep_end(p);
    return BECK_OK;
}
