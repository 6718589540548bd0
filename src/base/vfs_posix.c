/*
 * The system's disk.
 *
 * Reads and writes name their position (pread, pwritev), so a file has no state but its descriptor
 * and may be read from many threads. A write goes on after a short one; a sync is not tried again
 * after a failure, because the kernel has then dropped what it could not write.
 *
 * On ext4 space for a long write is asked for first, all at once: otherwise it is promised block by block, which
 * is a quarter of what such a write costs. Nothing depends on it.
 *
 * A lock is flock(2): it belongs to the open file, so a second open in the same process is refused
 * as well, and it goes with the process. The holder writes its process id into the file, for the
 * message of the one that is refused.
 *
 * The child of a fork() has the descriptors of its parent, but what the parent knows of its files goes on there:
 * so a file that was opened for writing refuses to be changed by a child.
 */
#include "base/vfs_impl.h"

#include "base/bytes.h"
#include "base/error.h"
#include "base/forks.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#define FILE_MODE 0640
#define DIR_MODE 0750
#define PARTS_AT_ONCE 64
#define LONG_WRITE (256 << 10)

struct posix_file {
    struct file file;
    int fd;
    unsigned forks; /* when it was opened */
    char path[];    /* that it was opened by */
};

static struct posix_file *posix_of(struct file *f)
{
    return (struct posix_file *)f;
}

/* Whether the file is this process's. */
static beck_status check_owner(const struct posix_file *p, beck_error *err)
{
    if (p->forks == forks_count())
        return BECK_OK;
    return error_set(
        err, BECK_EIO,
        "\"%s\" belongs to the process that forked this one, and cannot be changed here; open "
        "the data directory after fork()",
        p->path);
}

static void posix_close(struct file *f)
{
    close(posix_of(f)->fd);
    free(f);
}

static beck_status posix_read(struct file *f, enum vfs_how how, void *data, size_t len,
                              int64_t position, size_t *got, beck_error *err)
{
    struct posix_file *p = posix_of(f);
    int flags = how == VFS_WARM_ONLY ? RWF_NOWAIT : 0;
    size_t done = 0;
    while (done < len) {
        struct iovec left = {(uint8_t *)data + done, len - done};
        ssize_t n = preadv2(p->fd, &left, 1, position + (int64_t)done, flags);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && how == VFS_WARM_ONLY && (errno == EAGAIN || errno == EOPNOTSUPP))
            return VFS_COLD;
        if (n < 0)
            return error_errno(err, errno, "cannot read \"%s\" at byte %lld", p->file.name,
                               (long long)position);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *got = done;
    return BECK_OK;
}

/* What is left of `parts` after `done` bytes, at most PARTS_AT_ONCE of them; returns how many. */
static int parts_after(const struct iovec *parts, int count, size_t done, struct iovec *left)
{
    int n = 0;
    for (int i = 0; i < count && n < PARTS_AT_ONCE; i++) {
        if (parts[i].iov_len <= done) {
            done -= parts[i].iov_len;
            continue;
        }
        left[n].iov_base = (uint8_t *)parts[i].iov_base + done;
        left[n++].iov_len = parts[i].iov_len - done;
        done = 0;
    }
    return n;
}

static void ask_for_space(int fd, const struct iovec *parts, int count, int64_t position)
{
    size_t len = 0;
    for (int i = 0; i < count; i++)
        len += parts[i].iov_len;
    struct statfs system;
    if (len >= LONG_WRITE && fstatfs(fd, &system) == 0 && system.f_type == EXT4_SUPER_MAGIC)
        (void)!fallocate(fd, FALLOC_FL_KEEP_SIZE, position, (off_t)len);
}

static beck_status posix_writev(struct file *f, const struct iovec *parts, int count,
                                int64_t position, beck_error *err)
{
    struct posix_file *p = posix_of(f);
    struct iovec left[PARTS_AT_ONCE];
    beck_status status = check_owner(p, err);
    if (status != BECK_OK)
        return status;
    ask_for_space(p->fd, parts, count, position);
    /* `parts` moves on by whole groups, so that many parts do not cost their square. */
    for (int from = 0; from < count; from += PARTS_AT_ONCE) {
        int group = count - from < PARTS_AT_ONCE ? count - from : PARTS_AT_ONCE;
        size_t done = 0;
        int n;
        while ((n = parts_after(parts + from, group, done, left)) > 0) {
            ssize_t wrote = pwritev(p->fd, left, n, position + (int64_t)done);
            if (wrote < 0 && errno == EINTR)
                continue;
            if (wrote <= 0)
                return error_errno(err, wrote == 0 ? EIO : errno,
                                   "cannot write \"%s\" at byte %lld", p->file.name,
                                   (long long)position);
            done += (size_t)wrote;
        }
        position += (int64_t)done;
    }
    return BECK_OK;
}

static beck_status posix_sync(struct file *f, beck_error *err)
{
    struct posix_file *p = posix_of(f);
    while (fdatasync(p->fd) != 0)
        if (errno != EINTR)
            return error_errno(err, errno, "cannot sync \"%s\"", p->file.name);
    return BECK_OK;
}

static beck_status posix_truncate(struct file *f, int64_t size, beck_error *err)
{
    struct posix_file *p = posix_of(f);
    beck_status status = check_owner(p, err);
    if (status != BECK_OK)
        return status;
    while (ftruncate(p->fd, size) != 0)
        if (errno != EINTR)
            return error_errno(err, errno, "cannot set the size of \"%s\" to %lld", p->file.name,
                               (long long)size);
    return BECK_OK;
}

static beck_status posix_size(struct file *f, int64_t *size, beck_error *err)
{
    struct posix_file *p = posix_of(f);
    struct stat st;
    if (fstat(p->fd, &st) != 0)
        return error_errno(err, errno, "cannot get the size of \"%s\"", p->file.name);
    *size = st.st_size;
    return BECK_OK;
}

static int posix_descriptor(struct file *f)
{
    return posix_of(f)->fd;
}

static const struct file_ops file_ops = {
    .close = posix_close,
    .read = posix_read,
    .writev = posix_writev,
    .sync = posix_sync,
    .truncate = posix_truncate,
    .size = posix_size,
    .descriptor = posix_descriptor,
};

static beck_status open_flags(const char *path, int flags, struct posix_file **out, beck_error *err)
{
    size_t path_size = strlen(path) + 1;
    struct posix_file *p = malloc(sizeof *p + path_size);
    if (p == NULL)
        return error_set(err, BECK_ENOMEM, "no memory to open \"%s\"", path);
    p->file = (struct file){.ops = &file_ops};
    memcpy(p->path, path, path_size);
    p->file.name = p->path;
    p->forks = forks_count();
    do
        p->fd = open(path, flags | O_CLOEXEC, FILE_MODE);
    while (p->fd < 0 && errno == EINTR);
    if (p->fd < 0) {
        int error_number = errno;
        free(p);
        return error_errno(err, error_number, "cannot open \"%s\"", path);
    }
    *out = p;
    return BECK_OK;
}

static beck_status posix_open(struct vfs *v, const char *path, unsigned flags, struct file **out,
                              beck_error *err)
{
    (void)v;
    int how = (flags & VFS_WRITE) != 0 ? O_RDWR : O_RDONLY;
    if ((flags & VFS_CREATE) != 0)
        how |= O_CREAT;
    if ((flags & VFS_EXCLUSIVE) != 0)
        how |= O_EXCL;
    if ((flags & VFS_TRUNCATE) != 0)
        how |= O_TRUNC;
    struct posix_file *p;
    beck_status status = open_flags(path, how, &p, err);
    if (status == BECK_OK)
        *out = &p->file;
    return status;
}

/* ---- lock ---- */

/* " (its command line)", as far as it is known and fits. */
static void describe_process(uint64_t pid, char *out, size_t size)
{
    char path[64], line[128];
    snprintf(path, sizeof path, "/proc/%llu/cmdline", (unsigned long long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof line);
    if (fd >= 0)
        close(fd);
    *out = 0;
    if (n <= 0)
        return;
    bool cut = n == sizeof line;
    while (n > 0 && (!line[n - 1] || (cut && (unsigned char)line[n - 1] >=
                                                 0x80))) /* not in the middle of a character */
        n--;
    for (ssize_t i = 0; i < n; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 127)
            line[i] = ' ';
    snprintf(out, size, " (%.*s%s)", (int)n, line, cut ? "..." : "");
}

static beck_status say_who_holds(struct posix_file *p, beck_error *err)
{
    char text[24];
    ssize_t n = pread(p->fd, text, sizeof text, 0);
    uint64_t pid = 0;
    size_t digits = 0;
    while (n > 0 && digits < (size_t)n && text[digits] >= '0' && text[digits] <= '9')
        digits++;
    if (!bytes_to_u64(bytes_of(text, digits), &pid))
        return error_set(err, BECK_EBUSY,
                         "\"%s\" is locked: the data directory is in use by another process; stop "
                         "that one first, or use another directory",
                         p->file.name);
    char what[160];
    describe_process(pid, what, sizeof what);
    return error_set(err, BECK_EBUSY,
                     "\"%s\" is locked: the data directory is in use by process %llu%s; stop that "
                     "one first, or use another directory",
                     p->file.name, (unsigned long long)pid, what);
}

static beck_status posix_lock(struct vfs *v, const char *path, struct file **out, beck_error *err)
{
    (void)v;
    struct posix_file *p;
    beck_status status = open_flags(path, O_RDWR | O_CREAT, &p, err);
    if (status != BECK_OK)
        return status;
    while (flock(p->fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR)
            continue;
        status = errno == EWOULDBLOCK ? say_who_holds(p, err)
                                      : error_errno(err, errno, "cannot lock \"%s\"", path);
        posix_close(&p->file);
        return status;
    }
    /* Only a message depends on the process id, so a full disk does not prevent the lock. */
    char text[24];
    int len = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (pwrite(p->fd, text, (size_t)len, 0) == len)
        (void)!ftruncate(p->fd, len);
    *out = &p->file;
    return BECK_OK;
}

/* ---- names ---- */

static beck_status posix_rename(struct vfs *v, const char *from, const char *to, beck_error *err)
{
    (void)v;
    if (rename(from, to) != 0)
        return error_errno(err, errno, "cannot rename \"%s\" to \"%s\"", from, to);
    return BECK_OK;
}

static beck_status posix_unlink(struct vfs *v, const char *path, beck_error *err)
{
    (void)v;
    if (unlink(path) != 0)
        return error_errno(err, errno, "cannot remove \"%s\"", path);
    return BECK_OK;
}

static beck_status posix_mkdir(struct vfs *v, const char *path, beck_error *err)
{
    (void)v;
    if (mkdir(path, DIR_MODE) != 0)
        return error_errno(err, errno, "cannot make directory \"%s\"", path);
    return BECK_OK;
}

static beck_status posix_rmdir(struct vfs *v, const char *path, beck_error *err)
{
    (void)v;
    if (rmdir(path) != 0)
        return error_errno(err, errno == EEXIST ? ENOTEMPTY : errno,
                           "cannot remove directory \"%s\"", path);
    return BECK_OK;
}

static beck_status posix_sync_dir(struct vfs *v, const char *path, beck_error *err)
{
    (void)v;
    struct posix_file *p;
    beck_status status = open_flags(path, O_RDONLY | O_DIRECTORY, &p, err);
    if (status != BECK_OK)
        return status;
    int rc;
    do
        rc = fsync(p->fd);
    while (rc != 0 && errno == EINTR);
    /* EINVAL: a file system whose directories need no sync. */
    if (rc != 0 && errno != EINVAL)
        status =
            error_errno(err, errno == ENOMEM ? EIO : errno, "cannot sync directory \"%s\"", path);
    posix_close(&p->file);
    return status;
}

static bool entry_is_dir(DIR *dir, const struct dirent *entry)
{
    if (entry->d_type != DT_UNKNOWN && entry->d_type != DT_LNK)
        return entry->d_type == DT_DIR;
    struct stat st;
    return fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && S_ISDIR(st.st_mode);
}

static beck_status posix_list(struct vfs *v, const char *path,
                              int (*each)(void *ctx, const char *name, bool is_dir), void *ctx,
                              beck_error *err)
{
    (void)v;
    DIR *dir = opendir(path);
    if (dir == NULL)
        return error_errno(err, errno, "cannot list directory \"%s\"", path);
    beck_status status = BECK_OK;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            if (errno != 0)
                status = error_errno(err, errno, "cannot list directory \"%s\"", path);
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (each(ctx, entry->d_name, entry_is_dir(dir, entry)) != 0)
            break;
    }
    closedir(dir);
    return status;
}

static bool posix_exists(struct vfs *v, const char *path)
{
    (void)v;
    return access(path, F_OK) == 0;
}

struct vfs *vfs_posix(void)
{
    static const struct vfs_ops ops = {
        .open = posix_open,
        .lock = posix_lock,
        .rename = posix_rename,
        .unlink = posix_unlink,
        .mkdir = posix_mkdir,
        .rmdir = posix_rmdir,
        .sync_dir = posix_sync_dir,
        .list = posix_list,
        .exists = posix_exists,
    };
    static struct vfs vfs = {&ops};
    return &vfs;
}
