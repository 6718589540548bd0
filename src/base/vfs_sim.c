/*
 * The disk that lies: everything in memory, for tests.
 *
 * What the files and the names are is in sim_content.c and sim_tree.c, each with a second copy that
 * is on the device. Here are the calls, the faults that are put into them, and the end of the
 * power. Every call enters through `enter`, which counts it and decides whether it fails.
 *
 * Memory that runs out makes a call fail with BECK_ENOMEM, except in vfs_sim_crash, which aborts.
 */
#include "base/sim_tree.h"
#include "base/vfs_impl.h"

#include "base/bytes.h"
#include "base/error.h"
#include "base/thread.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define OP_COUNT 9
#define WRITE_LIKE                                                                                 \
    (VFS_OP_WRITE | VFS_OP_TRUNCATE | VFS_OP_SYNC | VFS_OP_RENAME | VFS_OP_UNLINK | VFS_OP_MKDIR | \
     VFS_OP_SYNC_DIR)

struct sim {
    struct vfs vfs;
    struct mutex lock;
    struct rng rng;
    struct tree tree;
    struct sim_file *files;
    uint64_t calls[OP_COUNT];
    unsigned fail_ops;
    uint64_t fail_in; /* calls until the fault; 0: none */
    bool fail_forever;
    beck_status fail_code;
    uint64_t stop_in; /* write-like calls until the power goes; 0: never */
    bool stopped;
    bool ended;       /* so has who held a lock, and nobody holds one since */
    int64_t capacity; /* -1: no limit */
};

struct sim_file {
    struct file file;
    struct sim *sim;
    struct sim_file *previous, *next; /* open files of the disk */
    struct node *node;                /* NULL: dead */
    bool writable, holds_lock;
    char path[]; /* that it was opened by */
};

static struct sim *sim_of(struct vfs *v)
{
    return (struct sim *)v;
}

static struct sim_file *file_of(struct file *f)
{
    return (struct sim_file *)f;
}

/* ---- faults ---- */

static beck_status no_power(const char *path, beck_error *err)
{
    return error_set(err, BECK_EIO, "cannot use \"%s\": the simulated disk has no power", path);
}

/* Counts a call of one kind; an error when it is to fail. */
static beck_status enter(struct sim *s, unsigned op, const char *path, beck_error *err)
{
    assert(mutex_held(&s->lock) && __builtin_popcount(op) == 1);
    s->calls[__builtin_ctz(op)]++;
    if (s->stopped)
        return no_power(path, err);
    if ((op & WRITE_LIKE) != 0 && s->stop_in > 0 && --s->stop_in == 0) {
        s->stopped = true;
        return no_power(path, err);
    }
    if ((op & s->fail_ops) == 0 || s->fail_in == 0)
        return BECK_OK;
    if (s->fail_in > 1) {
        s->fail_in--;
        return BECK_OK;
    }
    if (!s->fail_forever)
        s->fail_in = 0;
    return error_set(err, s->fail_code, "\"%s\": simulated fault %s", path,
                     beck_status_name(s->fail_code));
}

static beck_status enter_file(struct sim_file *f, unsigned op, beck_error *err)
{
    if (f->node == NULL)
        return error_set(err, BECK_EIO, "\"%s\" was open when the power went", f->file.name);
    if ((op & (VFS_OP_WRITE | VFS_OP_TRUNCATE)) != 0 && !f->writable)
        return error_errno(err, EBADF, "cannot write \"%s\"", f->file.name);
    return enter(f->sim, op, f->file.name, err);
}

static beck_status no_memory(const char *path, beck_error *err)
{
    return error_errno(err, ENOMEM, "simulated disk, \"%s\"", path);
}

static beck_status leave(struct sim *s, beck_status status)
{
    tree_reap(&s->tree);
    mutex_unlock(&s->lock);
    return status;
}

/* ---- reading and writing ---- */

/* Bytes that a file may have so that the disk is not overfull. */
static int64_t room_for(const struct sim *s, const struct node *n)
{
    if (s->capacity < 0)
        return INT64_MAX;
    int64_t others = s->tree.charged - n->charged;
    return s->capacity > others ? s->capacity - others : 0;
}

static beck_status full(const struct sim_file *f, beck_error *err)
{
    return error_errno(err, ENOSPC, "cannot write \"%s\"", f->file.name);
}

/* Writes the bytes [skip, skip + len) of the parts; position is that of the first part. */
static bool write_range(struct node *n, const struct iovec *parts, int count, int64_t position,
                        size_t skip, size_t len)
{
    for (int i = 0; i < count && len > 0; i++) {
        size_t part = parts[i].iov_len;
        if (skip >= part) {
            skip -= part;
            position += (int64_t)part;
            continue;
        }
        size_t piece = part - skip < len ? part - skip : len;
        if (!content_write(&n->content, (const uint8_t *)parts[i].iov_base + skip, piece,
                           (size_t)position + skip))
            return false;
        position += (int64_t)part;
        skip = 0;
        len -= piece;
    }
    return true;
}

/* A write that fails: a first part of it, or any of its sectors, was written. */
static void write_badly(struct sim_file *f, const struct iovec *parts, int count, int64_t position,
                        size_t len)
{
    struct sim *s = f->sim;
    int64_t room = room_for(s, f->node);
    if (position + (int64_t)len > room)
        len = room > position ? (size_t)(room - position) : 0;
    if (rng_below(&s->rng, 2) == 0) {
        (void)write_range(f->node, parts, count, position, 0,
                          (size_t)rng_below(&s->rng, (uint64_t)len + 1));
        return;
    }
    size_t piece;
    for (size_t done = 0; done < len; done += piece) {
        piece = SIM_SECTOR - ((size_t)position + done) % SIM_SECTOR;
        if (piece > len - done)
            piece = len - done;
        if (rng_below(&s->rng, 2) == 0)
            (void)write_range(f->node, parts, count, position, done, piece);
    }
}

static beck_status write_locked(struct sim_file *f, const struct iovec *parts, int count,
                                int64_t position, beck_error *err)
{
    size_t len = 0;
    for (int i = 0; i < count; i++)
        len += parts[i].iov_len;
    bool dead = f->node == NULL || f->sim->stopped || !f->writable;
    beck_status status = enter_file(f, VFS_OP_WRITE, err);
    if (status != BECK_OK) {
        if (!dead)
            write_badly(f, parts, count, position, len);
        return status;
    }
    int64_t end = position + (int64_t)len;
    if (len > 0 && end > room_for(f->sim, f->node) && end > f->node->charged) {
        write_badly(f, parts, count, position, len);
        return full(f, err);
    }
    if (!write_range(f->node, parts, count, position, 0, len))
        return no_memory(f->file.name, err);
    return BECK_OK;
}

static beck_status sim_writev(struct file *file, const struct iovec *parts, int count,
                              int64_t position, beck_error *err)
{
    struct sim_file *f = file_of(file);
    struct sim *s = f->sim;
    mutex_lock(&s->lock);
    beck_status status = write_locked(f, parts, count, position, err);
    if (f->node != NULL)
        tree_charge(&s->tree, f->node);
    return leave(s, status);
}

static beck_status sim_read(struct file *file, enum vfs_how how, void *data, size_t len,
                            int64_t position, size_t *got, beck_error *err)
{
    if (how == VFS_WARM_ONLY)
        return VFS_COLD;
    struct sim_file *f = file_of(file);
    mutex_lock(&f->sim->lock);
    beck_status status = enter_file(f, VFS_OP_READ, err);
    if (status == BECK_OK)
        *got = content_read(&f->node->content, data, len, (size_t)position);
    return leave(f->sim, status);
}

static beck_status sim_sync(struct file *file, beck_error *err)
{
    struct sim_file *f = file_of(file);
    struct sim *s = f->sim;
    mutex_lock(&s->lock);
    bool dead = f->node == NULL || s->stopped;
    beck_status status = enter_file(f, VFS_OP_SYNC, err);
    if (status == BECK_OK)
        content_sync(&f->node->content);
    else if (!dead && !s->stopped)
        content_sync_badly(&f->node->content, &s->rng);
    return leave(s, status);
}

static beck_status sim_truncate(struct file *file, int64_t size, beck_error *err)
{
    struct sim_file *f = file_of(file);
    struct sim *s = f->sim;
    mutex_lock(&s->lock);
    beck_status status = enter_file(f, VFS_OP_TRUNCATE, err);
    if (status == BECK_OK) {
        struct node *n = f->node;
        if (size > (int64_t)n->content.size && size > room_for(s, n))
            status = full(f, err);
        else if (!content_resize(&n->content, (size_t)size))
            status = no_memory(f->file.name, err);
        tree_charge(&s->tree, n);
    }
    return leave(s, status);
}

static beck_status sim_size(struct file *file, int64_t *size, beck_error *err)
{
    struct sim_file *f = file_of(file);
    mutex_lock(&f->sim->lock);
    beck_status status = BECK_OK;
    if (f->node == NULL || f->sim->stopped)
        status = no_power(f->file.name, err);
    else
        *size = (int64_t)f->node->content.size;
    return leave(f->sim, status);
}

static int sim_descriptor(struct file *file)
{
    (void)file;
    return -1;
}

/* ---- opening and closing ---- */

static void detach(struct sim_file *f)
{
    struct node *n = f->node;
    if (n == NULL)
        return;
    if (f->holds_lock)
        n->locked = false;
    f->node = NULL;
    n->opens--;
    tree_charge(&f->sim->tree, n);
    tree_unref(&f->sim->tree, n);
}

static void sim_close(struct file *file)
{
    struct sim_file *f = file_of(file);
    struct sim *s = f->sim;
    mutex_lock(&s->lock);
    detach(f);
    if (f->previous != NULL)
        f->previous->next = f->next;
    else
        s->files = f->next;
    if (f->next != NULL)
        f->next->previous = f->previous;
    leave(s, BECK_OK);
    free(f);
}

static const struct file_ops file_ops = {
    .close = sim_close,
    .read = sim_read,
    .writev = sim_writev,
    .sync = sim_sync,
    .truncate = sim_truncate,
    .size = sim_size,
    .descriptor = sim_descriptor,
};

static void attach(struct sim *s, struct sim_file *f, struct node *n)
{
    f->node = n;
    f->next = s->files;
    if (f->next != NULL)
        f->next->previous = f;
    s->files = f;
    n->opens++;
    tree_ref(n);
}

/* The node to open, made when the flags ask for it; an errno. */
static int find_or_make(struct sim *s, const char *path, unsigned flags, struct node **out)
{
    int error = tree_find(&s->tree, path, out);
    if (error == ENOENT && (flags & VFS_CREATE) != 0)
        return tree_make(&s->tree, path, false, out);
    if (error == 0 && (flags & VFS_CREATE) != 0 && (flags & VFS_EXCLUSIVE) != 0)
        return EEXIST;
    if (error == 0 && (*out)->is_dir)
        return EISDIR;
    return error;
}

static beck_status open_locked(struct sim *s, struct sim_file *f, unsigned flags, bool lock,
                               beck_error *err)
{
    beck_status status = enter(s, VFS_OP_OPEN, f->file.name, err);
    if (status != BECK_OK)
        return status;
    if (s->ended && !lock && (flags & VFS_WRITE) != 0)
        return no_power(f->file.name, err);
    struct node *n;
    int error = find_or_make(s, f->file.name, flags, &n);
    if (error != 0)
        return error_errno(err, error, "cannot open \"%s\"", f->file.name);
    if (lock && n->locked)
        return error_set(err, BECK_EBUSY,
                         "\"%s\" is locked: the data directory is in use by process %ld; stop that "
                         "one first, or use another directory",
                         f->file.name, (long)getpid());
    if ((flags & VFS_TRUNCATE) != 0 && !content_resize(&n->content, 0))
        return no_memory(f->file.name, err);
    f->holds_lock = lock;
    n->locked = n->locked || lock;
    s->ended = s->ended && !lock;
    attach(s, f, n);
    tree_charge(&s->tree, n);
    return BECK_OK;
}

static beck_status open_file(struct vfs *v, const char *path, unsigned flags, bool lock,
                             struct file **out, beck_error *err)
{
    struct sim *s = sim_of(v);
    size_t path_size = strlen(path) + 1;
    struct sim_file *f = calloc(1, sizeof *f + path_size);
    if (f == NULL)
        return no_memory(path, err);
    f->file.ops = &file_ops;
    f->sim = s;
    f->writable = (flags & VFS_WRITE) != 0;
    memcpy(f->path, path, path_size);
    f->file.name = f->path;
    mutex_lock(&s->lock);
    beck_status status = leave(s, open_locked(s, f, flags, lock, err));
    if (status == BECK_OK)
        *out = &f->file;
    else
        free(f);
    return status;
}

static beck_status sim_open(struct vfs *v, const char *path, unsigned flags, struct file **out,
                            beck_error *err)
{
    return open_file(v, path, flags, false, out, err);
}

static beck_status sim_lock(struct vfs *v, const char *path, struct file **out, beck_error *err)
{
    return open_file(v, path, VFS_WRITE | VFS_CREATE, true, out, err);
}

/* ---- names ---- */

static beck_status sim_rename(struct vfs *v, const char *from, const char *to, beck_error *err)
{
    struct sim *s = sim_of(v);
    mutex_lock(&s->lock);
    beck_status status = enter(s, VFS_OP_RENAME, from, err);
    if (status == BECK_OK) {
        int error = tree_move(&s->tree, from, to);
        if (error != 0)
            status = error_errno(err, error, "cannot rename \"%s\" to \"%s\"", from, to);
    }
    return leave(s, status);
}

static beck_status remove_name(struct vfs *v, const char *path, bool is_dir, beck_error *err)
{
    struct sim *s = sim_of(v);
    mutex_lock(&s->lock);
    beck_status status = enter(s, VFS_OP_UNLINK, path, err);
    if (status == BECK_OK) {
        int error = tree_remove(&s->tree, path, is_dir);
        if (error != 0)
            status = error_errno(err, error, "cannot remove \"%s\"", path);
    }
    return leave(s, status);
}

static beck_status sim_unlink(struct vfs *v, const char *path, beck_error *err)
{
    return remove_name(v, path, false, err);
}

static beck_status sim_rmdir(struct vfs *v, const char *path, beck_error *err)
{
    return remove_name(v, path, true, err);
}

static beck_status sim_mkdir(struct vfs *v, const char *path, beck_error *err)
{
    struct sim *s = sim_of(v);
    mutex_lock(&s->lock);
    beck_status status = enter(s, VFS_OP_MKDIR, path, err);
    if (status == BECK_OK) {
        struct node *n;
        int error = tree_make(&s->tree, path, true, &n);
        if (error != 0)
            status = error_errno(err, error, "cannot make directory \"%s\"", path);
    }
    return leave(s, status);
}

static beck_status sim_sync_dir(struct vfs *v, const char *path, beck_error *err)
{
    struct sim *s = sim_of(v);
    mutex_lock(&s->lock);
    beck_status status = enter(s, VFS_OP_SYNC_DIR, path, err);
    if (status == BECK_OK) {
        int error = tree_sync_dir(&s->tree, path);
        if (error != 0)
            status = error_errno(err, error, "cannot sync directory \"%s\"", path);
    }
    return leave(s, status);
}

/* One string with every entry: 'd' or 'f', the name, a NUL. So `each` runs without the lock. */
static beck_status copy_entries(struct sim *s, const char *path, struct buf *out, beck_error *err)
{
    struct node *dir;
    int error = s->stopped ? EIO : tree_find(&s->tree, path, &dir);
    if (error == 0 && !dir->is_dir)
        error = ENOTDIR;
    if (error != 0)
        return error_errno(err, error, "cannot list directory \"%s\"", path);
    for (size_t i = 0; i < dir->now.count; i++) {
        const struct name *entry = &dir->now.list[i];
        if (buf_append_byte(out, entry->node->is_dir ? 'd' : 'f') != BECK_OK ||
            buf_append(out, entry->text, strlen(entry->text) + 1) != BECK_OK)
            return no_memory(path, err);
    }
    return BECK_OK;
}

static beck_status sim_list(struct vfs *v, const char *path,
                            int (*each)(void *ctx, const char *name, bool is_dir), void *ctx,
                            beck_error *err)
{
    struct sim *s = sim_of(v);
    struct buf entries;
    buf_init(&entries, SIZE_MAX / 2);
    mutex_lock(&s->lock);
    beck_status status = leave(s, copy_entries(s, path, &entries, err));
    for (size_t at = 0; status == BECK_OK && at < entries.len;) {
        const char *entry = (const char *)entries.data + at;
        if (each(ctx, entry + 1, entry[0] == 'd') != 0)
            break;
        at += strlen(entry) + 1;
    }
    buf_release(&entries);
    return status;
}

static bool sim_exists(struct vfs *v, const char *path)
{
    struct sim *s = sim_of(v);
    struct node *n;
    mutex_lock(&s->lock);
    bool there = !s->stopped && tree_find(&s->tree, path, &n) == 0;
    mutex_unlock(&s->lock);
    return there;
}

/* ---- the test's side ---- */

struct vfs *vfs_sim_new(uint64_t seed)
{
    static const struct vfs_ops ops = {
        .open = sim_open,
        .lock = sim_lock,
        .rename = sim_rename,
        .unlink = sim_unlink,
        .mkdir = sim_mkdir,
        .rmdir = sim_rmdir,
        .sync_dir = sim_sync_dir,
        .list = sim_list,
        .exists = sim_exists,
    };
    struct sim *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    if (!tree_init(&s->tree)) {
        free(s);
        return NULL;
    }
    s->vfs.ops = &ops;
    s->capacity = -1;
    mutex_init(&s->lock);
    rng_seed(&s->rng, seed);
    return &s->vfs;
}

void vfs_sim_free(struct vfs *v)
{
    if (v == NULL)
        return;
    struct sim *s = sim_of(v);
    assert(s->files == NULL); /* files are closed before their disk goes */
    tree_release(&s->tree);
    mutex_release(&s->lock);
    free(s);
}

void vfs_sim_fail(struct vfs *v, unsigned ops, uint64_t nth, bool forever, beck_status code)
{
    struct sim *s = sim_of(v);
    mutex_lock(&s->lock);
    s->fail_ops = ops;
    s->fail_in = nth;
    s->fail_forever = forever;
    s->fail_code = code;
    mutex_unlock(&s->lock);
}

void vfs_sim_capacity(struct vfs *v, int64_t bytes)
{
    struct sim *s = sim_of(v);
    mutex_lock(&s->lock);
    s->capacity = bytes;
    mutex_unlock(&s->lock);
}

uint64_t vfs_sim_calls(struct vfs *v, unsigned ops)
{
    struct sim *s = sim_of(v);
    uint64_t sum = 0;
    mutex_lock(&s->lock);
    for (unsigned i = 0; i < OP_COUNT; i++)
        if ((ops & 1u << i) != 0)
            sum += s->calls[i];
    mutex_unlock(&s->lock);
    return sum;
}

void vfs_sim_stop_at(struct vfs *v, uint64_t nth)
{
    struct sim *s = sim_of(v);
    mutex_lock(&s->lock);
    s->stop_in = nth;
    mutex_unlock(&s->lock);
}

/* Open files die, locks go, the power is back for whoever opens next. */
static void end_process(struct sim *s)
{
    for (struct sim_file *f = s->files; f != NULL; f = f->next) {
        s->ended = s->ended || (f->node != NULL && f->holds_lock);
        detach(f);
    }
    s->stop_in = 0;
    s->stopped = false;
}

void vfs_sim_crash(struct vfs *v)
{
    struct sim *s = sim_of(v);
    mutex_lock(&s->lock);
    end_process(s);
    tree_crash(&s->tree, &s->rng);
    tree_reap(&s->tree);
    for (struct node *n = s->tree.nodes; n != NULL; n = n->next) {
        if (!n->is_dir)
            content_crash(&n->content, &s->rng);
        tree_charge(&s->tree, n);
    }
    leave(s, BECK_OK);
}

void vfs_sim_kill(struct vfs *v)
{
    struct sim *s = sim_of(v);
    mutex_lock(&s->lock);
    end_process(s);
    leave(s, BECK_OK);
}

void vfs_sim_flip(struct vfs *v, const char *path, int64_t byte, int bit)
{
    struct sim *s = sim_of(v);
    struct node *n;
    mutex_lock(&s->lock);
    int error = tree_find(&s->tree, path, &n);
    assert(error == 0 && !n->is_dir && byte >= 0);
    if (error == 0)
        content_flip(&n->content, (size_t)byte, bit);
    mutex_unlock(&s->lock);
}
