/* A simulated disk of which writes to some files can be held, and syncs of them fail: one disk of a program, for as long as
 * it runs. */
#ifndef TESTS_KAFKA_HELD_DISK_H
#define TESTS_KAFKA_HELD_DISK_H

#include "base/error.h"
#include "base/thread.h"
#include "base/vfs_impl.h"

#include <string.h>

static struct {
    struct vfs_ops vfs;
    struct file_ops files; /* of those that are held */
    const struct vfs_ops *real;
    const struct file_ops *real_files;
    const char *words; /* in the paths of the files */
    struct mutex lock;
    struct cond changed;
    bool holds, held, fails;
} held;

static beck_status held_writev(struct file *f, const struct iovec *parts, int count,
                               int64_t position, beck_error *err)
{
    mutex_lock(&held.lock);
    while (held.holds) {
        held.held = true;
        cond_broadcast(&held.changed);
        cond_wait(&held.changed, &held.lock);
    }
    mutex_unlock(&held.lock);
    return held.real_files->writev(f, parts, count, position, err);
}

static beck_status held_sync(struct file *f, beck_error *err)
{
    mutex_lock(&held.lock);
    bool fails = held.fails;
    mutex_unlock(&held.lock);
    return fails ? error_set(err, BECK_EIO, "\"%s\": simulated fault", f->name)
                 : held.real_files->sync(f, err);
}

static beck_status held_open(struct vfs *v, const char *path, unsigned flags, struct file **out,
                             beck_error *err)
{
    beck_status status = held.real->open(v, path, flags, out, err);
    if (status || !strstr(path, held.words))
        return status;
    held.real_files = (*out)->ops;
    held.files = *(*out)->ops;
    held.files.writev = held_writev;
    held.files.sync = held_sync;
    (*out)->ops = &held.files;
    return BECK_OK;
}

/* Before the files are opened. */
static inline void held_begin(struct vfs *v, const char *words)
{
    held.real = v->ops;
    held.vfs = *v->ops;
    held.vfs.open = held_open;
    held.words = words;
    held.holds = held.held = held.fails = false;
    mutex_init(&held.lock);
    cond_init(&held.changed);
    v->ops = &held.vfs;
}

/* Writes wait from now on. */
static inline void held_hold(void)
{
    mutex_lock(&held.lock);
    held.holds = true;
    held.held = false;
    mutex_unlock(&held.lock);
}

/* Until one waits. */
static inline void held_await(void)
{
    mutex_lock(&held.lock);
    while (!held.held)
        cond_wait(&held.changed, &held.lock);
    mutex_unlock(&held.lock);
}

static inline void held_let_go(void)
{
    mutex_lock(&held.lock);
    held.holds = false;
    cond_broadcast(&held.changed);
    mutex_unlock(&held.lock);
}

static inline void held_fail_syncs(bool fail)
{
    mutex_lock(&held.lock);
    held.fails = fail;
    mutex_unlock(&held.lock);
}

#endif
