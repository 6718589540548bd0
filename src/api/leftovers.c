/*
 * What a bus leaves behind: the directories of its partitions, and its entries in the checkpoints.
 *
 * A bus is gone once __topology says so; its files go after that. A crash, or a disk that fails, may
 * leave some of them, and a later bus of the same name must not find them: they are removed by the
 * deletion, by the next opening, and before a bus is made. Only directories of buses that are known
 * to be gone are touched.
 */
#include "api/handle.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct dirs {
    char **list;
    size_t count;
    bool failed;
    bool (*gone)(void *ctx, const char *bus);
    void *ctx;
};

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
    if (!d->gone(d->ctx, bus))
        return 0;
    char **grown = realloc(d->list, (d->count + 1) * sizeof(char *));
    if (grown)
        d->list = grown;
    char *copy = grown ? strdup(name) : NULL;
    if (!copy)
        return d->failed = true;
    d->list[d->count++] = copy;
    return 0;
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

beck_status leftovers_remove(beck *b, bool (*gone)(void *ctx, const char *bus), void *ctx,
                             beck_error *err)
{
    struct dirs d = {.gone = gone, .ctx = ctx};
    struct vfs *v = b->env.vfs;
    beck_status status = vfs_list(v, b->data_dir, collect_dir, &d, err);
    if (!status && d.failed)
        status = error_set(err, BECK_ENOMEM, "no memory to look for files of deleted buses");
    for (size_t i = 0; i < d.count && !status; i++) {
        char dir[4600];
        snprintf(dir, sizeof dir, "%s/%s", b->data_dir, d.list[i]);
        struct entry_of e = {v, dir};
        /* What cannot be removed makes the last step fail. */
        vfs_list(v, dir, unlink_entry, &e, NULL);
        status = vfs_rmdir(v, dir, err);
    }
    if (!status && d.count > 0)
        status = vfs_sync_dir(v, b->data_dir, err);
    for (size_t i = 0; i < d.count; i++)
        free(d.list[i]);
    free(d.list);
    return status;
}

static beck_status copy_without(const struct checkpoint *from, const char *bus,
                                struct checkpoint *to)
{
    beck_status status = BECK_OK;
    checkpoint_init(to);
    for (size_t i = 0; i < from->count && !status; i++)
        if (strcmp(from->entries[i].topic, bus) != 0)
            status = checkpoint_set(to, from->entries[i].topic, from->entries[i].partition,
                                    from->entries[i].offset);
    return status;
}

beck_status leftovers_forget(beck *b, const char *bus, beck_error *err)
{
    assert(mutex_held(&b->upkeep_lock));
    struct checkpoint *known[] = {&b->recovery, &b->log_start};
    beck_status status = BECK_OK;
    for (int i = 0; i < 2 && !status; i++) {
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
