/*
 * What a bus leaves behind: the directories of its partitions, and its entries in the checkpoints;
 * and the directories of queues.
 *
 * A bus is gone once __topology says so; its files go after that. It is there once __topology says
 * so; its files are made before that. A crash, or a disk that fails, may leave some of them, and a
 * later bus of the same name must not find them: they are removed by the deletion, by the next
 * opening, and before a bus is made. Of a bus that __topology does not know only directories in
 * which nothing was ever stored are touched; others are somebody's data, and no bus of their name is
 * made while they are there.
 */
#include "api/handle.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct found_dir {
    char *name;
    enum leftover what;
};

struct dirs {
    struct found_dir *list;
    size_t count;
    bool failed;
    enum leftover (*what)(void *ctx, const char *bus);
    void *ctx;
};

/* What a partition has before anything is stored in it. *ctx: there is something else. */
static int look_for_more(void *ctx, const char *name, bool is_dir)
{
    static const char *const fresh[] = {
        "partition.metadata",          "partition.metadata.tmp",        "leader-epoch-checkpoint",
        "leader-epoch-checkpoint.tmp", "00000000000000000000.log",      "next.log.tmp",
        "00000000000000000000.index",  "00000000000000000000.timeindex"};
    bool known = false;
    for (size_t i = 0; i < sizeof fresh / sizeof *fresh; i++)
        known |= !is_dir && strcmp(name, fresh[i]) == 0;
    *(bool *)ctx |= !known;
    return 0;
}

static bool is_unused(struct vfs *v, const char *dir)
{
    bool more = false;
    char path[4700];
    struct file *f;
    int64_t size = 0;
    if (vfs_list(v, dir, look_for_more, &more, NULL) || more)
        return false;
    snprintf(path, sizeof path, "%s/00000000000000000000.log", dir);
    if (!vfs_exists(v, path))
        return true;
    if (vfs_open(v, path, VFS_READ, &f, NULL))
        return false;
    bool known = file_size(f, &size, NULL) == BECK_OK;
    file_close(f);
    return known && size == 0;
}

static int note_dir(struct dirs *d, const char *name, enum leftover what)
{
    if (what == LEFTOVER_NONE)
        return 0;
    struct found_dir *grown = realloc(d->list, (d->count + 1) * sizeof *grown);
    if (grown)
        d->list = grown;
    char *copy = grown ? strdup(name) : NULL;
    if (!copy)
        return d->failed = true;
    d->list[d->count++] = (struct found_dir){copy, what};
    return 0;
}

static int collect_dir(void *ctx, const char *name, bool is_dir)
{
    struct dirs *d = ctx;
    const char *dash = strrchr(name, '-');
    char bus[256];
    uint64_t number;
    if (!is_dir || !dash || (size_t)(dash - name) >= sizeof bus ||
        !bytes_to_u64(beck_str(dash + 1), &number))
        return 0;
    memcpy(bus, name, (size_t)(dash - name));
    bus[dash - name] = 0;
    return note_dir(d, name, d->what(d->ctx, bus));
}

struct entry_of {
    struct vfs *vfs;
    const char *dir;
};

static int unlink_entry(void *ctx, const char *name, bool is_dir)
{
    struct entry_of *e = ctx;
    char path[4900];
    snprintf(path, sizeof path, "%s/%s", e->dir, name);
    if (!is_dir)
        vfs_unlink(e->vfs, path, NULL);
    return 0;
}

static beck_status refuse_in_way(const char *dir, beck_error *err)
{
    return error_set(
        err, BECK_EEXIST,
        "\"%s\" holds events of a bus that is not known here, and is not written over; "
        "move it to another directory, and take it in from there with beck import "
        "kafka",
        dir);
}

/* One of them. */
static beck_status remove_dir(beck *b, const struct found_dir *found, beck_error *err)
{
    struct vfs *v = b->env.vfs;
    char dir[4600];
    snprintf(dir, sizeof dir, "%s/%s", b->data_dir, found->name);
    if (found->what != LEFTOVER_GONE && !is_unused(v, dir))
        return found->what == LEFTOVER_IN_WAY ? refuse_in_way(dir, err) : BECK_OK;
    struct entry_of e = {v, dir};
    /* What cannot be removed makes the last step fail. */
    vfs_list(v, dir, unlink_entry, &e, NULL);
    return vfs_rmdir(v, dir, err);
}

beck_status leftovers_remove(beck *b, enum leftover (*what)(void *ctx, const char *bus), void *ctx,
                             beck_error *err)
{
    struct dirs d = {.what = what, .ctx = ctx};
    struct vfs *v = b->env.vfs;
    beck_status status = vfs_list(v, b->data_dir, collect_dir, &d, err);
    if (!status && d.failed)
        status = error_set(err, BECK_ENOMEM, "no memory to look for files of deleted buses");
    for (size_t i = 0; i < d.count && !status; i++)
        status = remove_dir(b, &d.list[i], err);
    if (!status && d.count > 0)
        status = vfs_sync_dir(v, b->data_dir, err);
    for (size_t i = 0; i < d.count; i++)
        free(d.list[i].name);
    free(d.list);
    return status;
}

/* ---- queues ---- */

static int collect_queue(void *ctx, const char *name, bool is_dir)
{
    struct dirs *d = ctx;
    return is_dir ? note_dir(d, name, d->what(d->ctx, name)) : 0;
}

static enum leftover queue_is_left(void *ctx, const char *name)
{
    return handle_find_queue(ctx, name) ? LEFTOVER_NONE : LEFTOVER_UNKNOWN;
}

void leftovers_remove_queues(beck *b)
{
    struct dirs d = {.what = queue_is_left, .ctx = b};
    struct vfs *v = b->env.vfs;
    char parent[4200], dir[4600];
    snprintf(parent, sizeof parent, "%s/__queues", b->data_dir);
    if (!vfs_exists(v, parent))
        return;
    vfs_list(v, parent, collect_queue, &d, NULL);
    for (size_t i = 0; i < d.count; i++) {
        snprintf(dir, sizeof dir, "%s/%s", parent, d.list[i].name);
        struct entry_of e = {v, dir};
        vfs_list(v, dir, unlink_entry, &e, NULL);
        vfs_rmdir(v, dir, NULL);
        free(d.list[i].name);
    }
    free(d.list);
}

/* ---- checkpoints ---- */

static beck_status copy_without(const struct checkpoint *from, const char *bus,
                                struct checkpoint *to)
{
    beck_status status = BECK_OK;
    checkpoint_init(to);
    for (size_t i = 0; i < from->count && !status; i++)
        if (strcmp(from->entries[i].bus, bus) != 0)
            status = checkpoint_set(to, from->entries[i].bus, from->entries[i].partition,
                                    from->entries[i].offset);
    return status;
}

beck_status leftovers_forget(beck *b, const char *bus, beck_error *err)
{
    assert(mutex_held(&b->upkeep_lock));
    struct checkpoint *known[] = {&b->recovery, &b->log_start, &b->cleaned};
    beck_status status = BECK_OK;
    for (int i = 0; i < 3 && !status; i++) {
        struct checkpoint rest;
        status = copy_without(known[i], bus, &rest);
        if (status)
            error_set(err, status, "no memory for a checkpoint");
        else if (rest.count < known[i]->count)
            status = upkeep_put_checkpoint(b, known[i], &rest, err);
        checkpoint_release(&rest);
    }
    return status;
}
