/* See dirnames.h. */
#include "log/dirnames.h"

#include "base/error.h"

#include <assert.h>

void dirnames_init(struct dirnames *n)
{
    *n = (struct dirnames){.made = NAME_SYNCED + 1};
    mutex_init(&n->lock);
    cond_init(&n->changed);
}

void dirnames_release(struct dirnames *n)
{
    cond_release(&n->changed);
    mutex_release(&n->lock);
}

uint64_t dirnames_made(struct dirnames *n)
{
    mutex_lock(&n->lock);
    uint64_t number = ++n->made;
    mutex_unlock(&n->lock);
    return number;
}

uint64_t dirnames_found(struct dirnames *n)
{
    mutex_lock(&n->lock);
    n->made += n->lost == n->made; /* what is found counts anew */
    uint64_t number = n->made;
    mutex_unlock(&n->lock);
    return number;
}

/* All that are there. The lock is held on entry and exit. */
static beck_status sync_all(struct dirnames *n, struct vfs *v, const char *dir, beck_error *err)
{
    uint64_t all = n->made;
    n->syncing = true;
    mutex_unlock(&n->lock);
    beck_status status = vfs_sync_dir(v, dir, err);
    mutex_lock(&n->lock);
    n->syncing = false;
    if (status != BECK_ENOMEM)
        n->synced = all;
    if (status && status != BECK_ENOMEM)
        n->lost = all;
    cond_broadcast(&n->changed);
    return status;
}

beck_status dirnames_sync(struct dirnames *n, struct vfs *v, const char *dir, uint64_t number,
                          beck_error *err)
{
    beck_status status = BECK_OK;
    mutex_lock(&n->lock);
    assert(number <= n->made);
    while (n->synced < number && !status) {
        if (n->syncing)
            cond_wait(&n->changed, &n->lock);
        else
            status = sync_all(n, v, dir, err);
    }
    bool lost = number != NAME_SYNCED && number <= n->lost;
    mutex_unlock(&n->lock);
    if (status)
        return status;
    return lost ? error_set(err, BECK_EIO, "a sync of directory \"%s\" failed", dir) : BECK_OK;
}
