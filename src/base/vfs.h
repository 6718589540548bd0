/*
 * The disk, as an interface: the engine touches files only through it.
 *
 * Paths are plain, relative to the process or absolute. Every function fills err with path and
 * cause. Threads: a vfs may be used from many at once; so may a file, for reading and syncing;
 * writes and truncation of one file are the caller's to order.
 *
 * Durability model (what the simulated disk enforces): bytes written are seen by later reads at
 * once; they are on the device only after a file_sync that began after the write. A name made,
 * renamed or removed is on the device only after vfs_sync_dir of its directory. What was not synced
 * may survive in any combination of 512-byte sectors.
 */
#ifndef BECK_BASE_VFS_H
#define BECK_BASE_VFS_H

#include <beck.h>
#include <sys/uio.h>

struct vfs;
struct file;

enum vfs_open_flags {
    VFS_READ = 0,
    VFS_WRITE = 1,     /* read and write */
    VFS_CREATE = 2,    /* make when missing */
    VFS_EXCLUSIVE = 4, /* with VFS_CREATE: BECK_EEXIST when there */
    VFS_TRUNCATE = 8
};

beck_status vfs_open(struct vfs *v, const char *path, unsigned flags, struct file **out,
                     beck_error *err);
void file_close(struct file *f); /* NULL allowed */
/* The file that was opened by another name is here now: messages say so. Nobody else uses it yet. */
void file_renamed(struct file *f, const char *path);

/* Reads up to len bytes; *got is less only at the end of the file. */
beck_status file_read(struct file *f, void *data, size_t len, int64_t position, size_t *got,
                      beck_error *err);
/* The same, in one of two ways. VFS_WARM_ONLY: what is in memory, without a wait for the device; VFS_COLD: not all of it
 * is; of a simulated disk nothing is. */
enum vfs_how { VFS_WAITING, VFS_WARM_ONLY };
#define VFS_COLD 2
beck_status file_read_how(struct file *f, enum vfs_how how, void *data, size_t len,
                          int64_t position, size_t *got, beck_error *err);
/* All or an error; after one the bytes from position on are undefined and the file may have grown.
 */
beck_status file_write(struct file *f, const void *data, size_t len, int64_t position,
                       beck_error *err);
beck_status file_writev(struct file *f, const struct iovec *parts, int count, int64_t position,
                        beck_error *err);
beck_status file_sync(struct file *f, beck_error *err); /* data and size, as fdatasync */
beck_status file_truncate(struct file *f, int64_t size, beck_error *err);
beck_status file_size(struct file *f, int64_t *size, beck_error *err);
int file_descriptor(struct file *f); /* for sendfile; -1 on a simulated disk */

beck_status vfs_rename(struct vfs *v, const char *from, const char *to,
                       beck_error *err); /* replaces `to` */
beck_status vfs_unlink(struct vfs *v, const char *path,
                       beck_error *err); /* BECK_ENOENT when missing */
beck_status vfs_mkdir(struct vfs *v, const char *path,
                      beck_error *err); /* BECK_EEXIST when there */
beck_status vfs_rmdir(struct vfs *v, const char *path, beck_error *err);
/* BECK_ENOMEM: nothing was tried. After another error no later sync says which names are on the device. */
beck_status vfs_sync_dir(struct vfs *v, const char *path, beck_error *err);
/* Calls each for every entry but "." and "..", in no order; non-zero ends the walk. */
beck_status vfs_list(struct vfs *v, const char *path,
                     int (*each)(void *ctx, const char *name, bool is_dir), void *ctx,
                     beck_error *err);
bool vfs_exists(struct vfs *v, const char *path);
/* An exclusive lock on a file, made when missing, held until file_close. BECK_EBUSY: the text names
 * the process that holds it. */
beck_status vfs_lock(struct vfs *v, const char *path, struct file **out, beck_error *err);

/* Whole small files. Write: to "<path>.tmp", synced, renamed, directory synced. Read: replaces what
 * is in out; at most max bytes, else BECK_ELIMIT; on failure out is as it was. */
beck_status vfs_write_file(struct vfs *v, const char *path, beck_bytes content, beck_error *err);
struct buf;
beck_status vfs_read_file(struct vfs *v, const char *path, size_t max, struct buf *out,
                          beck_error *err);

struct vfs *vfs_posix(void); /* the system's; not to be freed */

/* ---- the disk that lies (vfs_sim.c): everything in memory, for tests ---- */

/* Has a root ("/", which relative paths begin at too) and nothing in it; knows no "..". */
struct vfs *vfs_sim_new(uint64_t seed);
void vfs_sim_free(struct vfs *v); /* every file was closed; NULL allowed */

enum vfs_fault_op {
    VFS_OP_WRITE = 1,
    VFS_OP_SYNC = 2,
    VFS_OP_OPEN = 4,
    VFS_OP_RENAME = 8,
    VFS_OP_READ = 16,
    VFS_OP_TRUNCATE = 32,
    VFS_OP_UNLINK = 64,
    VFS_OP_SYNC_DIR = 128,
    VFS_OP_MKDIR = 256,
    VFS_OP_ANY = 511
};
/* The nth call (1 is the next) of one of the operations fails with `code`: once, or it and all
 * after it. A failing write leaves a random part behind. A failing sync leaves it open which bytes
 * reached the device, and marks them clean (as Linux does). nth 0: no fault. OPEN counts vfs_lock,
 * UNLINK vfs_rmdir too; list, size and exists are not counted. The fault set
 * stays over crash and kill. */
void vfs_sim_fail(struct vfs *v, unsigned ops, uint64_t nth, bool forever, beck_status code);
void vfs_sim_capacity(
    struct vfs *v,
    int64_t bytes); /* all files together; writes beyond give BECK_EFULL. -1: no limit */
uint64_t vfs_sim_calls(struct vfs *v, unsigned ops); /* so far */
/* Loss of power: open files become dead (BECK_EIO for ever, file_close still allowed), locks are
 * dropped, every unsynced sector and name survives or not at random. Who held a lock does not know that it has ended:
 * until somebody holds one again, no file is opened for writing. */
void vfs_sim_crash(struct vfs *v);
/* End of the process: as crash, but everything written survives. */
void vfs_sim_kill(struct vfs *v);
/* From the nth write-like call on (write, truncate, sync, rename, unlink, mkdir, sync_dir) every
 * call fails as if the power had gone: then vfs_sim_crash (or kill), which brings it back. 0:
 * never.
 */
void vfs_sim_stop_at(struct vfs *v, uint64_t nth);
/* Flips one bit, for corruption tests. */
void vfs_sim_flip(struct vfs *v, const char *path, int64_t byte, int bit);

#endif
