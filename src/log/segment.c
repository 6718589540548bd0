/*
 * Segments: append with sparse indexing, and reading. Recovery is in segment_recover.c.
 *
 * When index entries are written follows Kafka's LogSegment, batch by batch: an entry for a batch
 * that begins more than SEGMENT_INDEX_INTERVAL bytes after the last one, holding the batch's last
 * offset and position; with it a time entry of the largest timestamp so far, if that has grown; and
 * one more time entry when the segment is sealed.
 */
#include "log/segment.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

void segment_path(const struct segment *s, const char *suffix, char *out, size_t size)
{
    snprintf(out, size, "%s/%020lld%s", s->dir, (long long)s->base_offset, suffix);
}

beck_status segment_know(const struct env *env, char *dir, int64_t base_offset,
                         struct segment **out, beck_error *err)
{
    struct segment *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(err, BECK_ENOMEM, "no memory for a segment");
    s->env = env;
    s->dir = dir;
    s->base_offset = s->next_offset = base_offset;
    s->max_timestamp_ms = -1;
    s->created_ms = -1;
    s->events = -1;
    *out = s;
    return BECK_OK;
}

beck_status segment_prepare(const struct env *env, const char *dir, struct file **out,
                            beck_error *err)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/" SEGMENT_PREPARED, dir);
    return vfs_open(env->vfs, path, VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, out, err);
}

beck_status segment_create(const struct env *env, char *dir, int64_t base_offset,
                           struct file *prepared, struct segment **out, beck_error *err)
{
    struct segment *s = NULL;
    beck_status status = segment_know(env, dir, base_offset, &s, err);
    if (status) {
        file_close(prepared);
        return status;
    }
    /* It gets its name last: a log that is there and not used would hide what its predecessor goes
     * on to hold. */
    char made[4200], path[4200];
    snprintf(made, sizeof made, "%s/" SEGMENT_PREPARED, dir);
    s->file = prepared;
    if (!prepared)
        status = segment_prepare(env, dir, &s->file, err);
    if (!status) {
        segment_path(s, ".index", path, sizeof path);
        vfs_unlink(env->vfs, path, NULL);
        segment_path(s, ".timeindex", path, sizeof path);
        vfs_unlink(env->vfs, path, NULL);
        s->checked = true;
        status = segment_use(s, err);
    }
    segment_path(s, ".log", path, sizeof path);
    if (!status)
        status = vfs_rename(env->vfs, made, path, err);
    if (!status)
        file_renamed(s->file, path);
    if (status) {
        segment_free(s);
        return status;
    }
    *out = s;
    return BECK_OK;
}

static void segment_shut(struct segment *s)
{
    file_close(s->file);
    index_close(s->offsets);
    index_close(s->times);
    s->file = NULL;
    s->offsets = s->times = NULL;
}

void segment_free(struct segment *s)
{
    if (!s)
        return;
    segment_shut(s);
    free(s);
}

static beck_status open_index(struct segment *s, enum index_kind kind, struct index **out,
                              beck_error *err)
{
    char path[4200];
    segment_path(s, kind == INDEX_OFFSET ? ".index" : ".timeindex", path, sizeof path);
    return index_open(s->env->vfs, path, kind, s->env->read_only, out, err);
}

beck_status segment_use(struct segment *s, beck_error *err)
{
    assert(!s->unmade);
    if (s->users == 0) {
        char path[4200];
        segment_path(s, ".log", path, sizeof path);
        beck_status status = BECK_OK;
        if (!s->file)
            status = vfs_open(s->env->vfs, path, s->env->read_only ? VFS_READ : VFS_WRITE, &s->file,
                              err);
        if (!status && !s->offsets)
            status = open_index(s, INDEX_OFFSET, &s->offsets, err);
        if (!status && !s->times)
            status = open_index(s, INDEX_TIME, &s->times, err);
        int64_t size = 0;
        if (!status && atomic_load(&s->size) == 0) {
            status = file_size(s->file, &size, err);
            atomic_store(&s->size, size);
        }
        if (status) {
            segment_shut(s);
            return status;
        }
    }
    s->users++;
    return BECK_OK;
}

void segment_unuse(struct segment *s)
{
    assert(s->users > 0);
    if (--s->users > 0)
        return;
    segment_shut(s);
    if (s->deleted)
        free(s);
}

/* The indexes are derived: an entry that cannot be written costs time, and is rebuilt at the next
 * open. */
static void index_batch(struct segment *s, const struct batch_header *h, int64_t position)
{
    if (h->max_timestamp_ms > s->max_timestamp_ms) {
        s->max_timestamp_ms = h->max_timestamp_ms;
        s->max_timestamp_offset = batch_last_offset(h);
    }
    if (s->created_ms < 0)
        s->created_ms = h->max_timestamp_ms;
    if (s->since_index > SEGMENT_INDEX_INTERVAL) {
        index_append_offset(s->offsets, (int32_t)(batch_last_offset(h) - s->base_offset),
                            (int32_t)position, NULL);
        if (s->max_timestamp_ms >= 0)
            index_append_time(s->times, s->max_timestamp_ms,
                              (int32_t)(s->max_timestamp_offset - s->base_offset), NULL);
        s->since_index = 0;
    }
    s->since_index += (int64_t)batch_size(h);
}

void segment_note(struct segment *s, const struct batch_header *h)
{
    int64_t position = atomic_load_explicit(&s->size, memory_order_relaxed);
    index_batch(s, h, position);
    s->next_offset = batch_last_offset(h) + 1;
    s->unsealed = true;
    atomic_store_explicit(&s->size, position + (int64_t)batch_size(h), memory_order_release);
}

beck_status segment_trim(struct segment *s, beck_error *err)
{
    int64_t size = atomic_load_explicit(&s->size, memory_order_relaxed);
    if (!s->ragged && s->padded_to <= size)
        return BECK_OK;
    beck_status status = file_truncate(s->file, size, err);
    s->ragged = status != BECK_OK;
    s->padded_to = 0;
    atomic_store_explicit(&s->dirty, true, memory_order_release);
    return status;
}

beck_status segment_write(struct segment *s, beck_bytes batch, beck_error *err)
{
    int64_t position = atomic_load_explicit(&s->size, memory_order_relaxed);
    /* A shorter batch would leave the rest of a failed one behind it. */
    beck_status status = s->ragged ? segment_trim(s, err) : BECK_OK;
    if (status)
        return status;
    status = file_write(s->file, batch.data, batch.len, position, err);
    if (status) {
        s->ragged = s->haunted = file_truncate(s->file, position, NULL) != BECK_OK;
        s->padded_to = 0;
    }
    /* Also after a failure: what was cut must not come back. */
    atomic_store_explicit(&s->dirty, true, memory_order_release);
    return status;
}

bool segment_pad(struct segment *s, int64_t end, int64_t segment_bytes)
{
    static const uint8_t zeros[16384];
    struct iovec parts[SEGMENT_PAD_BYTES / sizeof zeros];
    int64_t room = segment_bytes - end, left = room < SEGMENT_PAD_BYTES ? room : SEGMENT_PAD_BYTES;
    int count = 0;
    if (end <= s->padded_to || left <= 0)
        return false;
    s->padded_to = end + left;
    for (; left > 0; left -= (int64_t)parts[count++].iov_len)
        parts[count] = (struct iovec){(void *)(uintptr_t)zeros,
                                      left < (int64_t)sizeof zeros ? (size_t)left : sizeof zeros};
    if (file_writev(s->file, parts, count, end, NULL) == BECK_OK)
        return true;
    /* Gives back what it took of a disk that is nearly full. */
    s->ragged = file_truncate(s->file, end, NULL) != BECK_OK;
    s->padded_to = 0;
    return false;
}

beck_status segment_sync(struct segment *s, beck_error *err)
{
    if (!atomic_exchange_explicit(&s->dirty, false, memory_order_acq_rel))
        return BECK_OK;
    return file_sync(s->file, err);
}

/* How much of it there is. */
static size_t clip(struct segment *s, size_t len, int64_t position)
{
    int64_t size = atomic_load_explicit(&s->size, memory_order_acquire);
    if (position >= size)
        return 0;
    return (int64_t)len > size - position ? (size_t)(size - position) : len;
}

beck_status segment_read(struct segment *s, void *data, size_t len, int64_t position, size_t *got,
                         beck_error *err)
{
    return segment_read_how(s, VFS_WAITING, data, len, position, got, err);
}

beck_status segment_read_how(struct segment *s, enum vfs_how how, void *data, size_t len,
                             int64_t position, size_t *got, beck_error *err)
{
    return file_read_how(s->file, how, data, clip(s, len, position), position, got, err);
}

void segment_check(struct segment *s)
{
    beck_error why;
    int64_t size = atomic_load(&s->size);
    if (s->checked)
        return;
    s->checked = true;
    if (!index_check(s->offsets, size, &why) && !index_check(s->times, size, &why)) {
        if (index_count(s->offsets) == 0 || index_count(s->times) > 0)
            return;
        error_set(&why, BECK_ECORRUPT, "the time index of segment %lld of \"%s\" is empty",
                  (long long)s->base_offset, s->dir);
    }
    env_report(s->env, BECK_ECORRUPT, "%s; the index is rebuilt from the log", why.text);
    index_forget(s->offsets);
    index_forget(s->times);
    if (!s->env->read_only && segment_reindex(s, &why))
        env_report(s->env, BECK_EIO, "an index cannot be rebuilt: %s", why.text);
}

beck_status segment_seek_offset(struct segment *s, enum vfs_how how, int64_t offset,
                                int64_t *position, beck_error *err)
{
    int32_t found = 0;
    if (how == VFS_WARM_ONLY && !s->checked)
        return VFS_COLD;
    segment_check(s);
    if (offset > s->base_offset) {
        int64_t relative = offset - s->base_offset;
        beck_status status = index_lookup_offset(
            s->offsets, how, relative > INT32_MAX ? INT32_MAX : (int32_t)relative, &found, err);
        if (status)
            return status;
    }
    *position = found;
    return BECK_OK;
}

beck_status segment_time_offset(struct segment *s, int64_t time_ms, int64_t *offset,
                                beck_error *err)
{
    int32_t relative = 0;
    segment_check(s);
    beck_status status = index_lookup_time(s->times, time_ms, &relative, err);
    if (!status)
        *offset = s->base_offset + relative;
    return status;
}

beck_status segment_seal_write(struct segment *s, beck_error *err)
{
    beck_status status = BECK_OK;
    if (s->unsure)
        return segment_reindex(s, err);
    if (!s->unsealed)
        return BECK_OK;
    if (s->max_timestamp_ms >= 0)
        status = index_append_time(s->times, s->max_timestamp_ms,
                                   (int32_t)(s->max_timestamp_offset - s->base_offset), err);
    if (!status)
        status = index_flush(s->offsets, err);
    return status ? status : index_flush(s->times, err);
}

beck_status segment_seal_sync(struct segment *s, beck_error *err)
{
    beck_status status = index_sync(s->offsets, err);
    return status ? status : index_sync(s->times, err);
}

beck_status segment_seal(struct segment *s, beck_error *err)
{
    beck_status status = segment_seal_write(s, err);
    if (!status && !s->unsealed)
        return BECK_OK;
    if (!status)
        status = segment_seal_sync(s, err);
    s->unsealed = s->unsure = status != BECK_OK;
    return status;
}

/* Only headers are read: enough for a segment whose time index is missing. */
static beck_status scan_max_timestamp(struct segment *s, beck_error *err)
{
    uint8_t head[BATCH_HEADER];
    int64_t position = 0, size = atomic_load(&s->size);
    while (position + BATCH_HEADER <= size) {
        size_t got;
        struct batch_header h;
        beck_status status = segment_read(s, head, sizeof head, position, &got, err);
        if (!status)
            status = batch_header_read(head, &h, err);
        if (status)
            return status;
        if (h.max_timestamp_ms > s->max_timestamp_ms) {
            s->max_timestamp_ms = h.max_timestamp_ms;
            s->max_timestamp_offset = batch_last_offset(&h);
        }
        position += (int64_t)batch_size(&h);
    }
    return BECK_OK;
}

beck_status segment_max_timestamp(struct segment *s, int64_t *ms, beck_error *err)
{
    beck_status status = BECK_OK;
    if (s->max_timestamp_ms < 0 && !s->unmade) {
        status = segment_use(s, err);
        if (status)
            return status;
        int32_t relative;
        if (index_last_time(s->times, &s->max_timestamp_ms, &relative))
            s->max_timestamp_offset = s->base_offset + relative;
        else
            status = scan_max_timestamp(s, err);
        *ms = s->max_timestamp_ms;
        segment_unuse(s);
        return status;
    }
    *ms = s->max_timestamp_ms;
    return BECK_OK;
}

beck_status segment_created(struct segment *s, int64_t *ms, beck_error *err)
{
    uint8_t head[BATCH_HEADER];
    size_t got;
    struct batch_header h;
    *ms = s->created_ms;
    if (s->created_ms >= 0 || atomic_load(&s->size) < BATCH_HEADER)
        return BECK_OK;
    beck_status status = segment_use(s, err);
    if (status)
        return status;
    status = segment_read(s, head, sizeof head, 0, &got, err);
    if (!status)
        status = batch_header_read(head, &h, err);
    if (!status)
        *ms = s->created_ms = h.max_timestamp_ms;
    segment_unuse(s);
    return status;
}

beck_status segment_unlink(const struct segment *s, beck_error *err)
{
    /* What was aborted must not be seen while the log is there. An opening removes an index without
     * one. */
    static const char *const suffixes[] = {".index", ".timeindex", ".snapshot", ".log",
                                           ".txnindex"};
    char path[4200];
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        segment_path(s, suffixes[i], path, sizeof path);
        beck_error why;
        beck_status status = vfs_unlink(s->env->vfs, path, &why);
        if (status && status != BECK_ENOENT)
            return error_set(err, status, "%s", why.text);
    }
    return BECK_OK;
}

void segment_forget(struct segment *s)
{
    if (s->users > 0)
        s->deleted = true;
    else
        segment_free(s);
}
