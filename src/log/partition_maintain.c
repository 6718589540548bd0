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
#define OLD_GRACE_MS 300000 /* log.retention.check.interval.ms of Kafka */
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

/* An opening reads the newest snapshot, or an older one when that is damaged. `keep`: 0 removes all,
 * when no producer is known. */
static void remove_snapshots(struct partition *p, size_t keep)
{
    struct snapshots all = {0};
    if (vfs_list(p->env->vfs, p->dir, list_snapshot, &all, NULL) == BECK_OK) {
        for (size_t i = 0; i < all.count; i++) {
            size_t newer = 0;
            for (size_t j = 0; j < all.count; j++)
                newer += all.offsets[j] > all.offsets[i];
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
        if (!s->unsealed && !s->unsure)
            continue;
        beck_status status = segment_use(s, err);
        if (status)
            return status;
        status = partition_seal(p, s, err);
        segment_unuse(s);
        if (status)
            return status;
    }
    return BECK_OK;
}

/* Entries of the active segment, so that an opening finds its way near to the recovery point and
 * knows the largest timestamp below it. With the lock, which is free during the syncs. */
static beck_status sync_active_indexes(struct partition *p, beck_error *err)
{
    static const char *const suffixes[] = {".index", ".timeindex"};
    struct segment *s = p->segments[p->segment_count - 1];
    struct file *files[2] = {NULL, NULL};
    bool dormant = p->dormant;
    beck_status status = partition_rouse(p, err);
    if (status || s->unsure)
        return status ? status : segment_reindex(s, err);
    /* As when it is sealed: should a crash come between its end and its sealing, nobody looks at it
     * again. */
    if (s->max_timestamp_ms >= 0)
        status = index_append_time(s->times, s->max_timestamp_ms,
                                   (int32_t)(s->max_timestamp_offset - s->base_offset), err);
    if (!status)
        status = index_flush(s->offsets, err);
    if (!status)
        status = index_flush(s->times, err);
    const bool dirty[2] = {!status && index_take_dirty(s->offsets),
                           !status && index_take_dirty(s->times)};
    int64_t size = atomic_load(&s->size);
    for (int i = 0; i < 2 && !status; i++) {
        char path[4200];
        if (!dirty[i])
            continue;
        segment_path(s, suffixes[i], path, sizeof path);
        status = vfs_open(p->env->vfs, path, VFS_WRITE, &files[i], err);
    }
    mutex_unlock(&p->lock);
    for (int i = 0; i < 2; i++) {
        if (!status && files[i])
            status = file_sync(files[i], err);
        file_close(files[i]);
    }
    mutex_lock(&p->lock);
    s->unsure |= status != BECK_OK;
    if (!status && size == atomic_load(&s->size))
        s->unsealed = false;
    if (dormant)
        partition_doze(p);
    return status;
}

/* With the upkeep and the lock, which is free during I/O. */
static beck_status checkpoint(struct partition *p, int64_t *recovery_point, beck_error *err)
{
    /* The producers' state is that of everything written: once that is synced, both agree. */
    int64_t target = p->written;
    size_t known = producers_count(p->producers);
    struct buf snapshot;
    buf_init(&snapshot, SNAPSHOT_BYTES);
    beck_status status = BECK_OK;
    if (known > 0 && producers_snapshot_write(p->producers, &snapshot))
        status = error_set(err, BECK_ENOMEM, "no memory for a producer snapshot");
    mutex_unlock(&p->lock);
    if (!status)
        status = partition_sync(p, err);
    if (!status) {
        mutex_lock(&p->lock);
        status = partition_save_aborted(p, err);
        mutex_unlock(&p->lock);
    }
    if (!status && known > 0)
        status = partition_write_snapshot(p, target, buf_bytes(&snapshot), err);
    buf_release(&snapshot);
    mutex_lock(&p->lock);
    if (!status)
        status = seal_rolled(p, err);
    if (!status)
        status = sync_active_indexes(p, err);
    if (status)
        return status;
    bool had_snapshots = p->has_snapshots;
    p->has_snapshots = known > 0;
    p->checkpointed = target;
    *recovery_point = target;
    if (known > 0 || had_snapshots) {
        mutex_unlock(&p->lock);
        remove_snapshots(p, known > 0 ? SNAPSHOTS_KEPT : 0);
        mutex_lock(&p->lock);
    }
    return BECK_OK;
}

static bool is_checkpointed(const struct partition *p)
{
    return p->options.memory || p->env->read_only || p->damage ||
           (p->checkpointed == p->written && p->next == p->written);
}

bool partition_is_checkpointed(struct partition *p)
{
    mutex_lock(&p->lock);
    bool is = is_checkpointed(p);
    mutex_unlock(&p->lock);
    return is;
}

beck_status partition_checkpoint(struct partition *p, int64_t *recovery_point, int64_t *log_start,
                                 beck_error *err)
{
    beck_status status = BECK_OK;
    upkeep_begin(p);
    *recovery_point = p->written;
    if (!is_checkpointed(p)) {
        mutex_unlock(&p->lock);
        /* What was accepted so far is to be in it. */
        status = partition_sync(p, err);
        mutex_lock(&p->lock);
        if (!status)
            status = checkpoint(p, recovery_point, err);
    }
    *log_start = p->first < *recovery_point ? p->first : *recovery_point;
    /* As it was opened, for whoever puts it right. */
    if (p->damage) {
        *recovery_point = p->checkpointed;
        *log_start = p->first;
    }
    upkeep_end(p);
    return status;
}

/* ---- retention ---- */

static void move_first(struct partition *p, int64_t first)
{
    if (first <= p->first)
        return;
    p->first = first;
    atomic_store_explicit(&p->first_seen, first, memory_order_release);
    partition_check(p);
}

beck_status partition_truncate_before(struct partition *p, int64_t offset, beck_error *err)
{
    if (offset < 0)
        return error_set(err, BECK_EINVAL, "offset %lld cannot be", (long long)offset);
    if (p->env->read_only)
        return error_set(err, BECK_EINVAL, "the data directory is open for reading only");
    if (p->damage)
        return partition_check_damage(p, err);
    if (partition_check_fork(p, err))
        return BECK_EINVAL;
    mutex_lock(&p->lock);
    if (offset > p->written)
        offset = p->written;
    move_first(p, offset);
    mutex_unlock(&p->lock);
    return BECK_OK;
}

beck_status partition_list_sealed(struct partition *p, int64_t above, int64_t limit,
                                  struct sealed **out, size_t *count, beck_error *err)
{
    *out = NULL;
    *count = 0;
    mutex_lock(&p->lock);
    struct sealed *list = malloc((p->segment_count + 1) * sizeof *list);
    if (!list) {
        mutex_unlock(&p->lock);
        return error_set(err, BECK_ENOMEM, "no memory to maintain \"%s\"", p->dir);
    }
    for (size_t i = 0; i + 1 < p->segment_count; i++) {
        int64_t end = p->segments[i + 1]->base_offset;
        if (end > above && end <= limit)
            list[(*count)++] = (struct sealed){p->segments[i], end};
    }
    mutex_unlock(&p->lock);
    *out = list;
    return BECK_OK;
}

/* Whether all of it is older than retention_ms. Segments without timestamps do not age. What was appended with
 * an old time can be read for a while: from the active segment as long as what was appended with the time
 * that it is, else as long as Kafka needs to look. */
static bool is_old(const struct partition *p, struct segment *s, int64_t now_ms)
{
    int64_t newest, grace_ms = p->options.bus.retention_ms;
    if (s != p->segments[p->segment_count - 1] && grace_ms > OLD_GRACE_MS)
        grace_ms = OLD_GRACE_MS;
    return p->options.bus.retention_ms > 0 && s->appended_ms < now_ms - grace_ms &&
           segment_max_timestamp(s, &newest, NULL) == BECK_OK && newest >= 0 &&
           newest < now_ms - p->options.bus.retention_ms;
}

/* An active segment of which nothing is to be kept is rolled, so that it can go. With the lock. */
static beck_status roll_finished(struct partition *p, int64_t now_ms, beck_error *err)
{
    struct segment *active = p->segments[p->segment_count - 1];
    if (atomic_load(&active->size) == 0)
        return BECK_OK;
    if ((p->first < p->written || p->hidden_bytes > 0) && !is_old(p, active, now_ms))
        return BECK_OK;
    return partition_roll(p, err);
}

/* Moves first behind what is too old or too much, whole segments at a time, and never behind what is not
 * visible yet. By size as Kafka: never leaves less than retention_bytes. With the upkeep and the lock. */
static beck_status retire(struct partition *p, int64_t now_ms, beck_error *err)
{
    for (size_t i = 0; i + 1 < p->segment_count; i++) {
        int64_t end = p->segments[i + 1]->base_offset;
        if (end <= p->first)
            continue;
        if (end > partition_visible(p) || !is_old(p, p->segments[i], now_ms))
            break;
        move_first(p, end);
    }
    if (p->options.bus.retention_bytes <= 0)
        return BECK_OK;
    beck_status status = partition_know_sealed(p, err);
    int64_t total = 0;
    for (size_t i = 0; i < p->segment_count; i++)
        if (i + 1 == p->segment_count || p->segments[i + 1]->base_offset > p->first)
            total += atomic_load(&p->segments[i]->size);
    for (size_t i = 0; i + 1 < p->segment_count && !status; i++) {
        int64_t end = p->segments[i + 1]->base_offset, size = atomic_load(&p->segments[i]->size);
        if (end <= p->first)
            continue;
        if (end > partition_visible(p) || total - size < p->options.bus.retention_bytes)
            break;
        total -= size;
        move_first(p, end);
    }
    return status;
}

/* ---- once in a while ---- */

/* With the lock. */
static void drop_idle(struct partition *p, int64_t now_ms)
{
    producers_expire(p->producers, now_ms, PRODUCER_EXPIRY_MS);
    int64_t offset;
    /* Looking for anything forgets what is too old. */
    if (p->dedup)
        dedup_find(p->dedup, bytes_of(NULL, 0), bytes_of(NULL, 0), now_ms, &offset);
    if (p->maintained == p->written && !p->writing && !p->options.memory) {
        tail_forget(&p->tail, -1);
        buf_release(&p->scratch);
        codec_release(&p->codec);
        gathers_drop(p);
        partition_doze(p);
    }
    p->maintained = p->written;
}

void partition_keep_hidden(struct partition *p, int64_t bytes)
{
    mutex_lock(&p->lock);
    p->hidden_bytes = bytes;
    mutex_unlock(&p->lock);
}

/* Segments that end at or below it may go. With the upkeep, without the lock. */
static beck_status cleaned_limit(struct partition *p, int64_t *limit, beck_error *err)
{
    mutex_lock(&p->lock);
    *limit = p->first;
    beck_status status = p->hidden_bytes > 0 ? partition_know_sealed(p, err) : BECK_OK;
    int64_t kept = 0;
    for (size_t i = p->segment_count; i-- > 1 && p->hidden_bytes > 0 && !status;) {
        if (p->segments[i]->base_offset > p->first)
            continue;
        kept += atomic_load(&p->segments[i - 1]->size);
        if (kept > p->hidden_bytes)
            break;
        *limit = p->segments[i - 1]->base_offset;
    }
    if (*limit > p->start_kept)
        *limit = p->start_kept;
    mutex_unlock(&p->lock);
    return status;
}

/* Deletes what lies below first, oldest first, and compacts. A damaged segment of which something is
 * owed stays; so do all of which something is owed once a copy found no room, and the next round tries again with the
 * room that the others leave. Another error ends it. With the upkeep, without the lock. */
static beck_status clean(struct partition *p, const struct partition_owed *owed, beck_error *err)
{
    struct sealed *list;
    size_t count;
    int64_t limit;
    beck_status result = cleaned_limit(p, &limit, err);
    if (!result)
        result = partition_list_sealed(p, -1, limit, &list, &count, err);
    if (result)
        return result;
    beck_status status = BECK_OK;
    bool room = true;
    for (size_t i = 0;
         i < count && (!status || status == BECK_ECORRUPT || (status == BECK_EFULL && !room));
         i++) {
        beck_error why = {0};
        status = partition_clean_owed(p, &list[i], owed, &room, &why);
        if (status && !result)
            result = error_set(err, status, "%s", why.text);
    }
    free(list);
    if (p->options.bus.compact) {
        beck_error why = {0};
        status = partition_compact(p, owed, &why);
        if (status && !result)
            result = error_set(err, status, "%s", why.text);
    }
    return result;
}

beck_status partition_retire(struct partition *p, beck_error *err)
{
    beck_status status = BECK_OK;
    upkeep_begin(p);
    int64_t now_ms = clock_wall_ms(p->env->clock);
    if (!p->options.memory && !p->env->read_only && !p->poisoned) {
        beck_error why = {0};
        beck_status rolled = roll_finished(p, now_ms, &why);
        status = retire(p, now_ms, err);
        if (rolled && !status)
            status = error_set(err, rolled, "%s", why.text);
    }
    upkeep_end(p);
    return status;
}

void partition_keep_start(struct partition *p, int64_t start)
{
    mutex_lock(&p->lock);
    p->start_kept = start;
    mutex_unlock(&p->lock);
}

beck_status partition_maintain(struct partition *p, const struct partition_owed *owed,
                               beck_error *err)
{
    beck_error why = {0};
    beck_status status = partition_retire(p, err);
    upkeep_begin(p);
    drop_idle(p, clock_wall_ms(p->env->clock));
    if (!p->options.memory && !p->env->read_only && !p->poisoned) {
        mutex_unlock(&p->lock);
        beck_status cleaned = clean(p, owed, &why);
        if (cleaned && !status)
            status = error_set(err, cleaned, "%s", why.text);
        mutex_lock(&p->lock);
    }
    upkeep_end(p);
    return status;
}

/* ---- ahead of need ---- */

#define UNSYNCED_BYTES (16 << 20)

static bool nearly_full(const struct partition *p)
{
    int64_t size = atomic_load(&p->segments[p->segment_count - 1]->size);
    return size > p->options.bus.segment_bytes / 4 * 3;
}

/* With the lock. */
static bool is_late(const struct partition *p)
{
    return p->rules.sync_within_ms > 0 && p->unsynced_bytes > 0 &&
           (clock_mono_ns(p->env->clock) - p->unsynced_since_ns) / 1000000 >=
               p->rules.sync_within_ms;
}

void partition_tick(struct partition *p)
{
    if (p->options.memory || p->env->read_only)
        return;
    mutex_lock(&p->lock);
    bool sync = !p->poisoned && p->unsynced_bytes > UNSYNCED_BYTES;
    bool late = !p->poisoned && is_late(p);
    mutex_unlock(&p->lock);
    /* There may be many, and the timer has other things to do. */
    if (late && !sync)
        committer_urge(p->env->committer, p);
    /* A failed sync poisons the partition, and is reported there. */
    if (sync)
        partition_sync(p, NULL);
    mutex_lock(&p->lock);
    if (!p->prepared && !p->poisoned && !p->syncing && nearly_full(p)) {
        struct file *file = NULL;
        p->syncing = true; /* nobody rolls meanwhile, who would make the same file */
        mutex_unlock(&p->lock);
        segment_prepare(p->env, p->dir, &file, NULL);
        mutex_lock(&p->lock);
        p->prepared = file;
        p->syncing = false;
        cond_broadcast(&p->changed);
    }
    mutex_unlock(&p->lock);
}
