/*
 * Giving up what cannot be read of a partition: in its place come batches without records, as compaction in Kafka leaves
 * them behind. So the log has no gaps, and offsets, which queues and consumers remember, are not given out again.
 *
 * The bytes that were there are kept first, in <base>.log.damaged-<position>-<CRC-32C of them>. The name says what is in it, so
 * a repair that is done again after a crash keeps the same, and a later one of the same place does not overwrite it.
 */
#include "log/verify_impl.h"

#include "base/error.h"
#include "log/segment.h"

#include <stdio.h>

static void tell(struct verify *v, int64_t from, int64_t end)
{
    beck_error error = {.code = BECK_OK};
    if (from < end)
        snprintf(error.text, sizeof error.text, "\"%s\": gave up events %lld to %lld", v->dir,
                 (long long)from, (long long)end - 1);
    else
        snprintf(error.text, sizeof error.text,
                 "\"%s\": gave up what was kept before event %lld, with which it begins now",
                 v->dir, (long long)end);
    v->repair->tell(v->repair->ctx, &error);
}

beck_status verify_keep(struct verify *v, const struct segment *copy, struct window *w,
                        int64_t from, int64_t end, beck_error *err)
{
    char suffix[64], made[4200], path[4200];
    uint32_t crc = 0;
    struct file *f;
    snprintf(suffix, sizeof suffix, VERIFY_KEPT "%lld.tmp", (long long)from);
    segment_path(copy, suffix, made, sizeof made);
    beck_status status =
        vfs_open(v->env->vfs, made, VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &f, err);
    if (status)
        return status;
    status = window_copy(w, from, end, f, 0, &crc, err);
    if (!status)
        status = file_sync(f, err);
    file_close(f);
    snprintf(suffix, sizeof suffix, VERIFY_KEPT "%lld-%08x", (long long)from, crc);
    segment_path(copy, suffix, path, sizeof path);
    if (!status)
        status = vfs_rename(v->env->vfs, made, path, err);
    if (status) {
        vfs_unlink(v->env->vfs, made, NULL);
        return status;
    }
    beck_error error = {0};
    error_set(&error, BECK_OK, "\"%s\": a copy of %lld damaged bytes", path,
              (long long)(end - from));
    v->repair->tell(v->repair->ctx, &error);
    return BECK_OK;
}

static beck_status append_empty(struct segment *copy, int64_t base, int32_t last_delta,
                                beck_error *err)
{
    uint8_t bytes[BATCH_HEADER];
    struct batch_header h = {.base_offset = base,
                             .length = BATCH_HEADER - BATCH_LENGTH_PREFIX,
                             .last_offset_delta = last_delta,
                             .base_timestamp_ms = -1,
                             .max_timestamp_ms = -1,
                             .producer_id = -1,
                             .producer_epoch = -1,
                             .base_sequence = -1};
    batch_header_write(bytes, &h);
    batch_seal(bytes, sizeof bytes);
    beck_status status = segment_write(copy, bytes_of(bytes, sizeof bytes), err);
    if (!status)
        segment_note(copy, &h);
    return status;
}

beck_status verify_give_up(struct verify *v, struct segment *copy, int64_t from, int64_t end,
                           beck_error *err)
{
    beck_status status = BECK_OK;
    for (int64_t base = from; base < end && !status;) {
        int64_t count = end - base > INT32_MAX ? INT32_MAX : end - base;
        status = append_empty(copy, base, (int32_t)count - 1, err);
        base += count;
    }
    if (!status)
        tell(v, from, end);
    return status;
}

/* The copy takes the place of what is there, if anything is. */
static beck_status finish(struct segment *copy, beck_status status, beck_error *err)
{
    bool replaced = false;
    if (!status)
        status = segment_clean_finish(copy, &replaced, err);
    if (replaced)
        segment_free(copy);
    else
        segment_clean_abort(copy);
    return status;
}

static beck_status begin(struct verify *v, int64_t base, struct segment **old,
                         struct segment **copy, beck_error *err)
{
    beck_status status = segment_know(v->env, (char *)(uintptr_t)v->dir, base, old, err);
    if (!status && (status = segment_clean_begin(*old, copy, err)))
        segment_free(*old);
    return status;
}

beck_status verify_repair_segment(struct verify *v, const struct verified_segment *s,
                                  beck_error *err)
{
    struct verified_segment again = *s;
    struct log_verify_counts own = {0}, *counts = v->counts;
    struct segment *old;
    int64_t end;
    beck_status status = begin(v, s->base_offset, &old, &again.copy, err);
    if (status)
        return status;
    v->silent = true;
    v->counts = &own;
    status = verify_segment(v, &again, &end, err);
    v->silent = false;
    v->counts = counts;
    status = finish(again.copy, status, err);
    segment_free(old);
    return status;
}

beck_status verify_repair_missing(struct verify *v, int64_t base, int64_t end, beck_error *err)
{
    struct segment *old, *copy;
    beck_error why = {0};
    beck_status status = vfs_mkdir(v->env->vfs, v->dir, &why);
    if (status && status != BECK_EEXIST)
        return error_set(err, status, "%s", why.text);
    status = begin(v, base, &old, &copy, err);
    if (status)
        return status;
    status = finish(copy, verify_give_up(v, copy, base, end, err), err);
    segment_free(old);
    return status;
}
