/*
 * Recovery of a segment: finds where its valid batches end, rebuilds the indexes behind a known
 * position, and cuts a torn tail.
 *
 * A tail is torn when the machine stopped while it was being written: nothing in it was confirmed
 * as synced, because a sync round finishes before anybody is answered, and recovery points only
 * ever cover synced bytes. So a bad batch at or behind the recovery point of the last segment is
 * cut; anywhere else it is damage, and refused. Sectors may reach the disk out of order, so whole
 * batches can stand behind the bad one: they were not confirmed either, but are kept beside the log
 * in a file of their own. What is kept behind the recovery point is written again before it counts
 * as synced.
 */
#include "log/partition.h"
#include "log/segment.h"
#include "log/window.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* Whether what is behind `position` holds a whole valid batch (*batches), or nothing but zeros
 * (*zeros). */
static beck_status look_behind(struct window *w, int64_t position, int64_t next_offset,
                               bool *batches, bool *zeros, beck_error *err)
{
    *batches = false;
    *zeros = true;
    for (int64_t at = position; at < w->size; at++) {
        bool ok;
        beck_status status = window_have(w, at, 1, &ok, err);
        if (status)
            return status;
        if (!ok)
            break;
        if (*window_at(w, at))
            *zeros = false;
        if (at + BATCH_HEADER > w->size)
            continue;
        status = window_have(w, at, BATCH_HEADER, &ok, err);
        if (status)
            return status;
        /* The magic byte first: a full check at each byte would cost too much. */
        if (!ok || window_at(w, at)[16] != 2 || get_u32(window_at(w, at) + 8) >= WINDOW_BATCH_MAX)
            continue;
        struct batch_header h;
        bool valid;
        beck_error why;
        status = window_batch(w, at, next_offset, &h, &valid, &why, err);
        if (status)
            return status;
        if (valid) {
            *batches = true;
            *zeros = false;
            return BECK_OK;
        }
    }
    return BECK_OK;
}

static beck_status keep_cut(struct segment *s, struct window *w, int64_t position, beck_error *err)
{
    char path[4200], suffix[64];
    snprintf(suffix, sizeof suffix, ".log.cut-%lld", (long long)position);
    segment_path(s, suffix, path, sizeof path);
    struct file *out;
    beck_status status =
        vfs_open(s->env->vfs, path, VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &out, err);
    if (status)
        return status;
    status = window_copy(w, position, w->size, out, 0, NULL, err);
    if (!status)
        status = file_sync(out, err);
    file_close(out);
    return status;
}

/* Cuts the tail at `position`, and says so. */
static beck_status cut_tail(struct segment *s, struct window *w, int64_t position,
                            int64_t next_offset, const beck_error *why, beck_error *err)
{
    bool batches, zeros;
    int64_t lost = w->size - position;
    beck_status status = look_behind(w, position, next_offset, &batches, &zeros, err);
    if (status)
        return status;
    if (s->env->read_only) {
        if (!zeros)
            env_report(s->env, BECK_ECORRUPT,
                       "\"%s/%020lld.log\": unfinished write at byte %lld (%s); opening the data "
                       "directory cuts the %lld bytes behind it",
                       s->dir, (long long)s->base_offset, (long long)position, why->text,
                       (long long)lost);
        return BECK_OK;
    }
    if (batches)
        status = keep_cut(s, w, position, err);
    if (!status)
        status = file_truncate(s->file, position, err);
    /* Else a loss of power might bring it back, in the middle of the log. */
    if (!status)
        status = file_sync(s->file, err);
    if (status || zeros)
        return status;
    env_report(s->env, BECK_ECORRUPT,
               "\"%s/%020lld.log\": cut %lld bytes of an unfinished write at byte %lld (%s); "
               "nothing confirmed as synced was in them%s",
               s->dir, (long long)s->base_offset, (long long)lost, (long long)position, why->text,
               batches ? "; whole batches among them are kept in a file named .log.cut-<byte>"
                       : "");
    return BECK_OK;
}

static beck_status refuse(const struct segment *s, int64_t position, const beck_error *why,
                          beck_error *err)
{
    return error_set(err, BECK_ECORRUPT,
                     "\"%s/%020lld.log\" is damaged at byte %lld: %s; " PARTITION_REMEDY, s->dir,
                     (long long)s->base_offset, (long long)position, why->text);
}

/* The header of the batch that ends with an offset, found by the index; false: there is none, the
 * index is wrong. */
static bool batch_ending_at(struct segment *s, int32_t relative, struct batch_header *h)
{
    int32_t found;
    if (index_lookup_offset(s->offsets, VFS_WAITING, relative, &found, NULL))
        return false;
    for (int64_t position = found;; position += (int64_t)batch_size(h)) {
        uint8_t head[BATCH_HEADER];
        size_t got;
        if (segment_read(s, head, sizeof head, position, &got, NULL) || got < sizeof head ||
            batch_header_read(head, h, NULL) || batch_last_offset(h) > s->base_offset + relative)
            return false;
        if (batch_last_offset(h) == s->base_offset + relative)
            return true;
    }
}

/* Whether the last entries name batches as they are. The write of one may have been cut short, so
 * that it is in order and wrong all the same. */
static bool last_entries_fit(struct segment *s, int64_t position)
{
    struct batch_header h;
    int32_t relative, at;
    int64_t ms;
    if (position > 0 && (!index_last_offset(s->offsets, &relative, &at) || at != position ||
                         !batch_ending_at(s, relative, &h)))
        return false;
    return !index_last_time(s->times, &ms, &relative) ||
           (batch_ending_at(s, relative, &h) && h.max_timestamp_ms == ms);
}

/* Forgets the index entries that are made again by reading from *position on, and what the segment
 * knows from them. Those of the batches below known_offset are on the device, and stay there. When
 * they are wrong, *position is 0. */
static beck_status reset_indexes(struct segment *s, int64_t *position, int64_t known_offset,
                                 beck_error *err)
{
    beck_status status = BECK_OK;
    int32_t relative, at;
    int64_t ms, limit = known_offset - s->base_offset;
    if (!s->env->read_only && limit > 0) {
        segment_check(s);
        /* The entry of the batch at *position stays: with it stands the largest timestamp of all
         * that lies before. */
        if (*position > 0)
            status = index_truncate(s->offsets, *position + 1, err);
        else
            index_forget(s->offsets);
        if (!status && index_last_offset(s->offsets, &relative, &at) && relative >= limit)
            limit = (int64_t)relative + 1;
        if (!status)
            status = index_truncate(s->times, limit, err);
    }
    if (!s->env->read_only && !status && (limit <= 0 || !last_entries_fit(s, *position))) {
        index_forget(s->offsets);
        index_forget(s->times);
        *position = 0;
    }
    s->checked = !s->env->read_only;
    s->max_timestamp_ms = -1;
    s->max_timestamp_offset = s->base_offset;
    s->since_index = 0;
    s->created_ms = -1;
    if (!status && index_last_time(s->times, &ms, &relative)) {
        s->max_timestamp_ms = ms;
        s->max_timestamp_offset = s->base_offset + relative;
    }
    if (!status && *position > 0)
        segment_created(s, &ms, NULL);
    return status;
}

/* Whether the next batch is in memory already, so that reading it leaves the window where it is. */
static bool window_stays(const struct window *w, int64_t position)
{
    size_t left = (size_t)(w->at + (int64_t)w->bytes.len - position);
    return left >= BATCH_HEADER &&
           left - BATCH_LENGTH_PREFIX >= get_u32(window_at(w, position) + 8);
}

/* Writes the same bytes again, while the window has them. They were read from the memory of the
 * operating system, which after a failed sync holds bytes that are not on the device and takes them
 * for clean: a sync would not write them. */
static beck_status write_again(struct segment *s, const struct window *w, int64_t *from,
                               int64_t end, beck_error *err)
{
    if (*from < 0 || *from == end || s->env->read_only)
        return BECK_OK;
    int64_t begin = *from;
    *from = end;
    return file_write(s->file, window_at(w, begin), (size_t)(end - begin), begin, err);
}

beck_status segment_recover(struct segment *s, int64_t position, int64_t known_offset, bool last,
                            int (*each)(void *ctx, const struct batch_header *h,
                                        const uint8_t *batch),
                            void *ctx, beck_error *err)
{
    struct window w;
    window_init(&w, s->file, 0);
    beck_status status = file_size(s->file, &w.size, err);
    if (!status)
        status = reset_indexes(s, &position, known_offset, err);
    int64_t next = s->base_offset, unsure = -1;
    while (!status && position < w.size) {
        struct batch_header h;
        bool valid;
        beck_error why;
        error_clear(&why);
        if (unsure >= 0 && !window_stays(&w, position))
            status = write_again(s, &w, &unsure, position, err);
        if (!status)
            status = window_batch(&w, position, next, &h, &valid, &why, err);
        if (status)
            break;
        if (!valid) {
            /* Before anything else is read. */
            if (last && next >= known_offset)
                status = write_again(s, &w, &unsure, position, err);
            if (status)
                break;
            if (!last || next < known_offset)
                status = refuse(s, position, &why, err);
            else
                status = cut_tail(s, &w, position, next, &why, err);
            break;
        }
        if (each && each(ctx, &h, window_at(&w, position))) {
            status = error_set(err, BECK_ENOMEM, "no memory while reading \"%s\"", s->dir);
            break;
        }
        /* A segment that has a successor was synced before that was made. */
        if (last && unsure < 0 && batch_last_offset(&h) >= known_offset)
            unsure = position;
        if (s->env->read_only) {
            s->next_offset = batch_last_offset(&h) + 1;
        } else {
            atomic_store(&s->size, position);
            segment_note(s, &h);
        }
        next = s->next_offset;
        position += (int64_t)batch_size(&h);
    }
    if (!status && last && next < known_offset) {
        beck_error why = {0};
        error_set(&why, BECK_ECORRUPT, "events %lld to %lld are missing, which had been synced",
                  (long long)next, (long long)known_offset - 1);
        status = refuse(s, position, &why, err);
    }
    if (!status && position == w.size)
        status = write_again(s, &w, &unsure, position, err);
    if (!status) {
        atomic_store(&s->size, position);
        if (s->next_offset < next)
            s->next_offset = next;
    }
    window_release(&w);
    return status;
}
