/* The dispatch to whichever disk is in use, and what can be said in terms of it: whole small files.
 */
#include "base/vfs_impl.h"

#include "base/bytes.h"
#include "base/error.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

beck_status vfs_open(struct vfs *v, const char *path, unsigned flags, struct file **out,
                     beck_error *err)
{
    return v->ops->open(v, path, flags, out, err);
}

void file_close(struct file *f)
{
    if (f == NULL)
        return;
    char *renamed = f->renamed;
    f->ops->close(f);
    free(renamed);
}

void file_renamed(struct file *f, const char *path)
{
    char *name = strdup(path);
    if (name == NULL)
        return;
    free(f->renamed);
    f->name = f->renamed = name;
}

beck_status file_read(struct file *f, void *data, size_t len, int64_t position, size_t *got,
                      beck_error *err)
{
    return file_read_how(f, VFS_WAITING, data, len, position, got, err);
}

beck_status file_read_how(struct file *f, enum vfs_how how, void *data, size_t len,
                          int64_t position, size_t *got, beck_error *err)
{
    assert(position >= 0);
    return f->ops->read(f, how, data, len, position, got, err);
}

beck_status file_write(struct file *f, const void *data, size_t len, int64_t position,
                       beck_error *err)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    return file_writev(f, &part, 1, position, err);
}

beck_status file_writev(struct file *f, const struct iovec *parts, int count, int64_t position,
                        beck_error *err)
{
    assert(position >= 0 && count >= 0);
    return f->ops->writev(f, parts, count, position, err);
}

beck_status file_sync(struct file *f, beck_error *err)
{
    return f->ops->sync(f, err);
}

beck_status file_truncate(struct file *f, int64_t size, beck_error *err)
{
    assert(size >= 0);
    return f->ops->truncate(f, size, err);
}

beck_status file_size(struct file *f, int64_t *size, beck_error *err)
{
    return f->ops->size(f, size, err);
}

int file_descriptor(struct file *f)
{
    return f->ops->descriptor(f);
}

beck_status vfs_rename(struct vfs *v, const char *from, const char *to, beck_error *err)
{
    return v->ops->rename(v, from, to, err);
}

beck_status vfs_unlink(struct vfs *v, const char *path, beck_error *err)
{
    return v->ops->unlink(v, path, err);
}

beck_status vfs_mkdir(struct vfs *v, const char *path, beck_error *err)
{
    return v->ops->mkdir(v, path, err);
}

beck_status vfs_rmdir(struct vfs *v, const char *path, beck_error *err)
{
    return v->ops->rmdir(v, path, err);
}

beck_status vfs_sync_dir(struct vfs *v, const char *path, beck_error *err)
{
    return v->ops->sync_dir(v, path, err);
}

beck_status vfs_list(struct vfs *v, const char *path,
                     int (*each)(void *ctx, const char *name, bool is_dir), void *ctx,
                     beck_error *err)
{
    return v->ops->list(v, path, each, ctx, err);
}

bool vfs_exists(struct vfs *v, const char *path)
{
    return v->ops->exists(v, path);
}

beck_status vfs_lock(struct vfs *v, const char *path, struct file **out, beck_error *err)
{
    return v->ops->lock(v, path, out, err);
}

/* ---- whole files ---- */

/* The directory of a path, in memory of the caller: "." for a bare name. NULL: no memory. */
static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return strdup(".");
    if (slash == path)
        return strdup("/");
    return strndup(path, (size_t)(slash - path));
}

static beck_status write_synced(struct vfs *v, const char *path, beck_bytes content,
                                beck_error *err)
{
    struct file *f;
    beck_status status = vfs_open(v, path, VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &f, err);
    if (status != BECK_OK)
        return status;
    status = file_write(f, content.data, content.len, 0, err);
    if (status == BECK_OK)
        status = file_sync(f, err);
    file_close(f);
    return status;
}

beck_status vfs_write_file(struct vfs *v, const char *path, beck_bytes content, beck_error *err)
{
    char *parent = parent_of(path);
    char *temporary = NULL;
    if (parent == NULL || asprintf(&temporary, "%s.tmp", path) < 0) {
        free(parent);
        return error_set(err, BECK_ENOMEM, "no memory to write \"%s\"", path);
    }
    beck_status status = write_synced(v, temporary, content, err);
    if (status == BECK_OK)
        status = vfs_rename(v, temporary, path, err);
    if (status != BECK_OK)
        (void)vfs_unlink(v, temporary, NULL);
    else
        status = vfs_sync_dir(v, parent, err);
    free(parent);
    free(temporary);
    return status;
}

static beck_status read_open_file(struct file *f, const char *path, size_t max, struct buf *out,
                                  beck_error *err)
{
    int64_t size;
    beck_status status = file_size(f, &size, err);
    if (status != BECK_OK)
        return status;
    if ((uint64_t)size > max)
        return error_set(err, BECK_ELIMIT,
                         "\"%s\" has %lld bytes, more than the %zu that are read at most", path,
                         (long long)size, max);
    struct buf content;
    buf_init(&content, max < out->max ? max : out->max);
    status = buf_reserve(&content, (size_t)size);
    if (status != BECK_OK)
        return error_set(err, status, "no room for the %lld bytes of \"%s\"", (long long)size,
                         path);
    status = size == 0 ? BECK_OK : file_read(f, content.data, (size_t)size, 0, &content.len, err);
    if (status != BECK_OK) {
        buf_release(&content);
        return status;
    }
    content.max = out->max;
    buf_release(out);
    *out = content;
    return BECK_OK;
}

beck_status vfs_read_file(struct vfs *v, const char *path, size_t max, struct buf *out,
                          beck_error *err)
{
    struct file *f;
    beck_status status = vfs_open(v, path, VFS_READ, &f, err);
    if (status != BECK_OK)
        return status;
    status = read_open_file(f, path, max, out, err);
    file_close(f);
    return status;
}
