/*
 * The active segment, made and open while it is needed: a partition gets its directory and files with the first write, and
 * is dormant again when nothing is written to it for a while.
 */
#include "log/partition_impl.h"

#include <assert.h>
#include <stdio.h>

beck_status partition_sync_names(const struct partition *p, bool dir, uint64_t name,
                                 beck_error *err)
{
    char parent[4200];
    beck_status status = dir ? vfs_sync_dir(p->env->vfs, p->dir, err) : BECK_OK;
    if (status || name == NAME_SYNCED)
        return status;
    snprintf(parent, sizeof parent, "%s", p->dir);
    char *slash = strrchr(parent, '/');
    if (slash)
        *slash = 0;
    return dirnames_sync(committer_dirnames(p->env->committer), p->env->vfs, slash ? parent : ".",
                         name, err);
}

/* Without the lock; nobody else uses the segment. */
static beck_status make_files(struct partition *p, struct segment **out, beck_error *err)
{
    beck_status status = vfs_mkdir(p->env->vfs, p->dir, err);
    if (status == BECK_EEXIST)
        status = BECK_OK;
    if (!status)
        status = partition_write_metadata(p, err);
    return status ? status : segment_create(p->env, p->dir, 0, NULL, out, err);
}

beck_status partition_rouse(struct partition *p, beck_error *err)
{
    struct segment **active = &p->segments[p->segment_count - 1], *made = NULL;
    beck_status status = BECK_OK;
    if (!p->dormant)
        return BECK_OK;
    if (!(*active)->unmade) {
        status = segment_use(*active, err);
    } else {
        assert(p->writing && p->segment_count == 1);
        mutex_unlock(&p->lock);
        status = make_files(p, &made, err);
        mutex_lock(&p->lock);
        if (!status) {
            segment_free(*active);
            *active = made;
            p->dir_dirty = true;
            p->name = dirnames_made(committer_dirnames(p->env->committer));
        }
    }
    p->dormant = status != BECK_OK;
    return status;
}

void partition_doze(struct partition *p)
{
    struct segment *active = p->segments[p->segment_count - 1];
    if (p->dormant || p->writing || p->syncing || p->poisoned || p->env->read_only ||
        !gather_is_empty(p->gather) || p->synced != p->written || active->users > 1)
        return;
    p->writing = true;
    mutex_unlock(&p->lock);
    beck_status status = segment_trim(active, NULL);
    if (!status)
        status = segment_sync(active, NULL);
    mutex_lock(&p->lock);
    /* Readers may look into the indexes. */
    if (!status)
        status = index_flush(active->offsets, NULL);
    if (!status)
        status = index_flush(active->times, NULL);
    if (!status) {
        segment_unuse(active);
        p->dormant = true;
    }
    p->writing = false;
    partition_write_orphans(p);
    cond_broadcast(&p->changed);
}
