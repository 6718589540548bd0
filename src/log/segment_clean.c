/*
 * Replacing the files of a segment: by a copy that holds less, or its indexes alone.
 *
 *   step                                          what an opening finds after a crash behind it
 *   <base>.{log,index,timeindex}.cleaned, synced  the old files; leftovers are removed
 *   old indexes unlinked, directory synced        the old log without indexes: they are made again
 *   .log.cleaned renamed to .log, synced          the new log, the same
 *   indexes renamed, directory synced             the new files
 *
 * The indexes go before the log because names may reach the disk in any order between two syncs of
 * the directory: an index must never stand beside a log that it was not made for.
 */
#include "log/segment.h"
#include "log/window.h"

#include <stdlib.h>

static const char *const index_names[2][2] = {{".index.cleaned", ".index"},
                                              {".timeindex.cleaned", ".timeindex"}};

static beck_status open_cleaned(const struct segment *s, struct index **offsets,
                                struct index **times, beck_error *err)
{
    char path[4200];
    for (int i = 0; i < 2; i++) {
        segment_path(s, index_names[i][0], path, sizeof path);
        vfs_unlink(s->env->vfs, path, NULL);
        beck_status status = index_open(s->env->vfs, path, i ? INDEX_TIME : INDEX_OFFSET, false,
                                        i ? times : offsets, err);
        if (status)
            return status;
    }
    return BECK_OK;
}

static void unlink_cleaned(const struct segment *s)
{
    static const char *const suffixes[] = {".log.cleaned", ".index.cleaned", ".timeindex.cleaned"};
    char path[4200];
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        segment_path(s, suffixes[i], path, sizeof path);
        vfs_unlink(s->env->vfs, path, NULL);
    }
}

static beck_status rename_suffix(const struct segment *s, const char *from, const char *to,
                                 beck_error *err)
{
    char old_path[4200], new_path[4200];
    segment_path(s, from, old_path, sizeof old_path);
    segment_path(s, to, new_path, sizeof new_path);
    return vfs_rename(s->env->vfs, old_path, new_path, err);
}

static beck_status rename_indexes(const struct segment *s, beck_error *err)
{
    beck_status status = BECK_OK;
    for (int i = 0; i < 2 && !status; i++)
        status = rename_suffix(s, index_names[i][0], index_names[i][1], err);
    return status ? status : vfs_sync_dir(s->env->vfs, s->dir, err);
}

beck_status segment_clean_begin(const struct segment *old, struct segment **copy, beck_error *err)
{
    struct segment *s;
    char path[4200];
    beck_status status = segment_know(old->env, old->dir, old->base_offset, &s, err);
    if (status)
        return status;
    s->checked = true;
    segment_path(s, ".log.cleaned", path, sizeof path);
    status = vfs_open(s->env->vfs, path, VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &s->file, err);
    if (!status)
        status = open_cleaned(s, &s->offsets, &s->times, err);
    if (status) {
        segment_clean_abort(s);
        return status;
    }
    s->users = 1;
    *copy = s;
    return BECK_OK;
}

void segment_clean_abort(struct segment *copy)
{
    unlink_cleaned(copy);
    segment_free(copy);
}

static beck_status unlink_indexes(const struct segment *s, beck_error *err)
{
    char path[4200];
    for (int i = 0; i < 2; i++) {
        beck_error why;
        segment_path(s, index_names[i][1], path, sizeof path);
        beck_status status = vfs_unlink(s->env->vfs, path, &why);
        if (status && status != BECK_ENOENT)
            return error_set(err, status, "%s", why.text);
    }
    return vfs_sync_dir(s->env->vfs, s->dir, err);
}

beck_status segment_clean_finish(struct segment *copy, bool *replaced, beck_error *err)
{
    *replaced = false;
    beck_status status = segment_sync(copy, err);
    if (!status)
        status = segment_seal(copy, err);
    if (!status)
        status = unlink_indexes(copy, err);
    if (!status)
        status = rename_suffix(copy, ".log.cleaned", ".log", err);
    if (status)
        return status;
    char path[4200];
    segment_path(copy, ".log", path, sizeof path);
    file_renamed(copy->file, path);
    *replaced = true;
    status = vfs_sync_dir(copy->env->vfs, copy->dir, err);
    return status ? status : rename_indexes(copy, err);
}

/* ---- indexes alone ---- */

bool segment_lacks_index(const struct segment *s)
{
    char path[4200];
    for (int i = 0; i < 2; i++) {
        segment_path(s, index_names[i][1], path, sizeof path);
        if (!vfs_exists(s->env->vfs, path))
            return true;
    }
    return false;
}

/* Fills the indexes of `shadow` from the log of `s`. */
static beck_status index_log(const struct segment *s, struct segment *shadow, beck_error *err)
{
    struct window w;
    int64_t position = 0, next = s->base_offset;
    beck_status status = BECK_OK;
    window_init(&w, s->file, atomic_load(&s->size));
    while (position < w.size) {
        struct batch_header h;
        bool valid;
        status = window_header(&w, position, next, &h, &valid, NULL, err);
        if (status || !valid)
            break;
        segment_note(shadow, &h);
        next = batch_last_offset(&h) + 1;
        position += (int64_t)batch_size(&h);
    }
    window_release(&w);
    return status;
}

beck_status segment_reindex(struct segment *s, beck_error *err)
{
    struct segment *shadow;
    beck_status status = segment_know(s->env, s->dir, s->base_offset, &shadow, err);
    if (status)
        return status;
    status = open_cleaned(s, &shadow->offsets, &shadow->times, err);
    if (!status)
        status = index_log(s, shadow, err);
    if (!status)
        status = segment_seal(shadow, err);
    if (!status)
        status = rename_indexes(s, err);
    if (status) {
        segment_clean_abort(shadow);
        return status;
    }
    index_close(s->offsets);
    index_close(s->times);
    s->offsets = shadow->offsets;
    s->times = shadow->times;
    shadow->offsets = shadow->times = NULL;
    s->max_timestamp_ms = shadow->max_timestamp_ms;
    s->max_timestamp_offset = shadow->max_timestamp_offset;
    s->since_index = shadow->since_index;
    s->checked = true;
    s->unsealed = s->unsure = false;
    segment_free(shadow);
    return BECK_OK;
}
