/*
 * Transactions of a partition: what each batch of a producer means for them, control batches, and which
 * of them were aborted.
 *
 * A control batch is Kafka's: one record, whose key is version i16 = 0 | type i16 (0 abort, 1 commit) and
 * whose value is version i16 = 0 | coordinatorEpoch i32; without a sequence, under the producer's epoch.
 *
 * What was aborted lasts in the files that txn_index.h describes. Entries are saved before a snapshot of
 * producers is written that covers their control batches, and before a recovery point is given
 * out; later ones are made again by reading the log, as the producers' state is.
 */
#include "log/partition_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define CONTROL_RECORD 17
#define CONTROL_BATCH (BATCH_HEADER + CONTROL_RECORD)
#define CONTROL_ABORT 0
#define CONTROL_COMMIT 1

/* ---- control batches ---- */

static const uint8_t record_start[] = {
    (CONTROL_RECORD - 1) * 2, /* length, zig-zag as all that follows */
    0,
    0,
    0,     /* attributes, timestamp delta, offset delta */
    4 * 2, /* length of the key: behind it version, type */
};

static void control_build(const struct transaction_end *e, int64_t now_ms, int64_t offset,
                          uint8_t *out)
{
    struct batch_header h = {.base_offset = offset,
                             .length = CONTROL_BATCH - BATCH_LENGTH_PREFIX,
                             .attributes = BATCH_TRANSACTIONAL | BATCH_CONTROL,
                             .base_timestamp_ms = now_ms,
                             .max_timestamp_ms = now_ms,
                             .producer_id = e->producer_id,
                             .producer_epoch = e->epoch,
                             .base_sequence = -1,
                             .count = 1};
    uint8_t *r = out + BATCH_HEADER;
    batch_header_write(out, &h);
    memcpy(r, record_start, sizeof record_start);
    put_u16(r + 5, 0);
    put_u16(r + 7, e->commit ? CONTROL_COMMIT : CONTROL_ABORT);
    r[9] = 6 * 2; /* length of the value: version, coordinator epoch */
    put_u16(r + 10, 0);
    put_u32(r + 12, (uint32_t)e->coordinator_epoch);
    r[16] = 0; /* headers */
    batch_seal(out, CONTROL_BATCH);
}

/* ---- what a batch means ---- */

beck_status partition_reserve_producers(struct partition *p, size_t count)
{
    beck_status status = producers_reserve(p->producers, count);
    return status ? status : txn_index_reserve(&p->aborted);
}

static beck_status note_end(struct partition *p, const struct batch_header *h, const uint8_t *batch)
{
    bool commit;
    int32_t coordinator_epoch;
    int64_t first;
    if (!batch_control_read(h, batch, &commit, &coordinator_epoch))
        return BECK_OK;
    beck_status status =
        producers_end(p->producers, h, coordinator_epoch, clock_wall_ms(p->env->clock), &first);
    if (status || first < 0)
        return status;
    partition_settle_held(p, h->producer_id, !commit);
    if (commit)
        return BECK_OK;
    status = txn_index_reserve(&p->aborted);
    if (status)
        return status;
    int64_t last = batch_last_offset(h), oldest = producers_oldest(p->producers);
    txn_index_add(
        &p->aborted,
        &(struct txn_entry){
            .aborted = {.producer_id = h->producer_id, .first_offset = first, .last_offset = last},
            .stable_offset = oldest <= last ? oldest : last + 1});
    return BECK_OK;
}

beck_status partition_note_producer(struct partition *p, const struct batch_header *h,
                                    const uint8_t *batch)
{
    if (h->producer_id < 0)
        return BECK_OK;
    if (h->attributes & BATCH_CONTROL)
        return note_end(p, h, batch);
    return producers_update(p->producers, h, clock_wall_ms(p->env->clock));
}

bool partition_is_aborted(struct partition *p, const struct batch_header *h)
{
    mutex_lock(&p->lock);
    bool aborted = txn_index_aborted(&p->aborted, h->producer_id, h->base_offset);
    mutex_unlock(&p->lock);
    return aborted;
}

/* ---- files ---- */

static void index_path(const struct partition *p, int64_t base_offset, char *out, size_t size)
{
    snprintf(out, size, "%s/%020lld.txnindex", p->dir, (long long)base_offset);
}

/* A copy of the entries that are to be saved; of one segment. */
struct unsaved {
    struct txn_entry *entries;
    size_t count, before; /* entries that the file holds already */
    int64_t base_offset;
};

/* The first that are not saved. With the lock. */
static beck_status take_unsaved(struct partition *p, struct unsaved *out, beck_error *err)
{
    const struct txn_index *all = &p->aborted;
    size_t from = txn_index_below(all, p->aborted_saved);
    *out = (struct unsaved){0};
    if (from == all->count)
        return BECK_OK;
    ptrdiff_t i = partition_find_segment(p, all->entries[from].aborted.last_offset);
    size_t end = (size_t)i + 1 < p->segment_count
                     ? txn_index_below(all, p->segments[i + 1]->base_offset)
                     : all->count;
    out->base_offset = p->segments[i]->base_offset;
    out->before = from - txn_index_below(all, out->base_offset);
    out->count = end - from;
    out->entries = malloc(out->count * sizeof *out->entries);
    if (!out->entries)
        return error_set(err, BECK_ENOMEM, "no memory to save aborted transactions of \"%s\"",
                         p->dir);
    memcpy(out->entries, all->entries + from, out->count * sizeof *out->entries);
    return BECK_OK;
}

beck_status partition_save_aborted(struct partition *p, beck_error *err)
{
    for (;;) {
        struct unsaved some;
        char path[4200];
        while (p->syncing)
            cond_wait(&p->changed, &p->lock);
        beck_status status = take_unsaved(p, &some, err);
        if (status || some.count == 0)
            return status;
        index_path(p, some.base_offset, path, sizeof path);
        p->syncing = true;
        mutex_unlock(&p->lock);
        status =
            txn_index_save(some.entries, some.count, some.before, p->env->vfs, p->dir, path, err);
        mutex_lock(&p->lock);
        p->syncing = false;
        cond_broadcast(&p->changed);
        if (!status)
            p->aborted_saved = some.entries[some.count - 1].aborted.last_offset + 1;
        free(some.entries);
        if (status)
            return status;
    }
}

/* What a torn write or a longer log left behind in a file goes, before the log grows up to it. */
static beck_status rewrite(struct partition *p, int64_t base_offset, size_t first, beck_error *err)
{
    char path[4200];
    index_path(p, base_offset, path, sizeof path);
    if (p->aborted.count > first)
        return txn_index_save(p->aborted.entries + first, p->aborted.count - first, 0, p->env->vfs,
                              p->dir, path, err);
    beck_status status = vfs_unlink(p->env->vfs, path, err);
    return status ? status : vfs_sync_dir(p->env->vfs, p->dir, err);
}

static bool has_segment(const struct partition *p, int64_t base_offset)
{
    ptrdiff_t i = partition_find_segment(p, base_offset);
    return i >= 0 && p->segments[i]->base_offset == base_offset;
}

static int by_offset(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

beck_status partition_load_aborted(struct partition *p, int64_t *files, size_t count, int64_t known,
                                   bool *whole, beck_error *err)
{
    beck_status status = BECK_OK;
    *whole = true;
    p->aborted.count = 0;
    p->aborted_saved = known;
    if (count > 0)
        qsort(files, count, sizeof *files, by_offset);
    for (size_t i = 0; i < count && !status && *whole; i++) {
        char path[4200];
        bool read;
        size_t first = p->aborted.count;
        if (!has_segment(p, files[i]))
            continue;
        index_path(p, files[i], path, sizeof path);
        status = txn_index_load(&p->aborted, p->env->vfs, path, &read, err);
        /* All that is known lies in synced entries: behind those a write may be torn. */
        size_t loaded = p->aborted.count;
        txn_index_trim(&p->aborted, 0, known);
        ptrdiff_t n = partition_find_segment(p, files[i]);
        if (!read && (size_t)n + 1 < p->segment_count && p->segments[n + 1]->base_offset <= known)
            *whole = false;
        else if (!status && !p->env->read_only && (!read || loaded > p->aborted.count))
            status = rewrite(p, files[i], first, err);
    }
    if (!*whole)
        p->aborted.count = 0;
    return status;
}

beck_status partition_restore_aborted(struct partition *p, beck_error *err)
{
    p->aborted_saved = 0;
    mutex_lock(&p->lock);
    beck_status status = partition_save_aborted(p, err);
    mutex_unlock(&p->lock);
    return status;
}

/* ---- ending one ---- */

/* With the lock and nothing gathered, which is so again on return. Producers wait meanwhile: what follows
 * counts as behind the end. */
static beck_status append_control(struct partition *p, struct transaction_end *e, beck_error *err)
{
    uint8_t batch[CONTROL_BATCH];
    beck_error why = {0};
    p->pausing++;
    p->writing = true;
    e->offset = p->next++;
    control_build(e, clock_wall_ms(p->env->clock), e->offset, batch);
    beck_status status = partition_write_batches(p, bytes_of(batch, sizeof batch), &why);
    if (status) {
        why.code = status;
        error_set(err, status, "%s", why.text);
        partition_fail_gathered(p, &why);
        e->offset = -1;
    } else {
        partition_move_visible(p);
        partition_release_held(p);
    }
    p->pausing--;
    p->writing = false;
    partition_write_orphans(p);
    cond_broadcast(&p->changed);
    return status;
}

static beck_status check_end(struct partition *p, const struct transaction_end *e, bool *needed,
                             beck_error *err)
{
    struct batch_header h = {.producer_id = e->producer_id,
                             .producer_epoch = e->epoch,
                             .attributes = BATCH_TRANSACTIONAL | BATCH_CONTROL};
    return producers_check_end(p->producers, &h, e->coordinator_epoch, e->bumped, needed, err);
}

beck_status partition_end_transaction(struct partition *p, struct transaction_end *e,
                                      beck_error *err)
{
    struct synced_completion *completion;
    beck_level level = e->level;
    bool needed = false;
    e->offset = e->first_offset = -1;
    if (p->options.memory)
        return error_set(err, BECK_EUNSUPPORTED, "bus \"%s\" is in memory: it has no transactions",
                         p->bus);
    beck_status status = partition_begin(p, &level, e->done, e->done_ctx, &completion, err);
    if (status)
        return status;
    partition_begin_append(p);
    status = partition_drain(p, err);
    if (!status)
        status = gather_reserve(p, err);
    if (!status)
        status =
            partition_admit(p, p->options.generation ? atomic_load(p->options.generation) : 0, err);
    if (!status)
        status = check_end(p, e, &needed, err);
    if (!status && needed) {
        e->first_offset = producers_open_since(p->producers, e->producer_id);
        status = append_control(p, e, err);
    }
    if (status) {
        mutex_unlock(&p->lock);
        free(completion);
        return status;
    }
    /* What was ended before may not be synced yet. */
    bool mark = level != BECK_LEVEL_SYNCED && committer_by_interval(p->env->committer);
    status = partition_conclude_stored(p, level, completion, BECK_OK, e->offset, err);
    if (mark)
        committer_mark(p->env->committer, p);
    return status;
}

/* ---- asking ---- */

int64_t partition_open_since(struct partition *p, int64_t producer_id)
{
    mutex_lock(&p->lock);
    int64_t since = producers_open_since(p->producers, producer_id);
    mutex_unlock(&p->lock);
    return since;
}

beck_status partition_aborted(struct partition *p, int64_t from, int64_t to, struct aborted **out,
                              size_t *count, beck_error *err)
{
    mutex_lock(&p->lock);
    beck_status status = txn_index_list(&p->aborted, from, to, out, count);
    mutex_unlock(&p->lock);
    return status
               ? error_set(err, status, "no memory for the aborted transactions of \"%s\"", p->bus)
               : BECK_OK;
}

beck_status partition_each_producer(struct partition *p, struct producer_state **out, size_t *count,
                                    beck_error *err)
{
    *out = NULL;
    mutex_lock(&p->lock);
    *count = producers_count(p->producers);
    if (*count > 0)
        *out = malloc(*count * sizeof **out);
    if (*out)
        producers_list(p->producers, *out);
    mutex_unlock(&p->lock);
    if (*count > 0 && !*out)
        return error_set(err, BECK_ENOMEM, "no memory for %zu producers of \"%s\"", *count, p->bus);
    return BECK_OK;
}
