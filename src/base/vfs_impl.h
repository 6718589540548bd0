/* What a vfs is made of: seen by the dispatch (vfs.c) and by the implementations only. Each
 * function has the contract of the one in vfs.h that has its name. */
#ifndef BECK_BASE_VFS_IMPL_H
#define BECK_BASE_VFS_IMPL_H

#include "base/vfs.h"

struct vfs_ops {
    beck_status (*open)(struct vfs *v, const char *path, unsigned flags, struct file **out,
                        beck_error *err);
    beck_status (*lock)(struct vfs *v, const char *path, struct file **out, beck_error *err);
    beck_status (*rename)(struct vfs *v, const char *from, const char *to, beck_error *err);
    beck_status (*unlink)(struct vfs *v, const char *path, beck_error *err);
    beck_status (*mkdir)(struct vfs *v, const char *path, beck_error *err);
    beck_status (*rmdir)(struct vfs *v, const char *path, beck_error *err);
    beck_status (*sync_dir)(struct vfs *v, const char *path, beck_error *err);
    beck_status (*list)(struct vfs *v, const char *path,
                        int (*each)(void *ctx, const char *name, bool is_dir), void *ctx,
                        beck_error *err);
    bool (*exists)(struct vfs *v, const char *path);
};

struct vfs {
    const struct vfs_ops *ops;
};

struct file_ops {
    void (*close)(struct file *f);
    beck_status (*read)(struct file *f, enum vfs_how how, void *data, size_t len, int64_t position,
                        size_t *got, beck_error *err); /* file_read_how */
    beck_status (*writev)(struct file *f, const struct iovec *parts, int count, int64_t position,
                          beck_error *err);
    beck_status (*sync)(struct file *f, beck_error *err);
    beck_status (*truncate)(struct file *f, int64_t size, beck_error *err);
    beck_status (*size)(struct file *f, int64_t *size, beck_error *err);
    int (*descriptor)(struct file *f);
};

struct file {
    const struct file_ops *ops;
    const char *name; /* for messages */
    char *renamed;    /* the name, when it is not the one that it was opened by; owned */
};

#endif
