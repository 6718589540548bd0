/*
 * The names of partitions' directories, in the data directory: one sync of it makes all of them durable
 * that were made before, so those that wait for one share it.
 *
 * Threads: any. No lock is held during a sync.
 */
#ifndef BECK_LOG_DIRNAMES_H
#define BECK_LOG_DIRNAMES_H

#include "base/thread.h"
#include "base/vfs.h"

#define NAME_SYNCED 0 /* or needs no sync */

struct dirnames {
    struct mutex lock; /* a leaf */
    struct cond changed;
    uint64_t made;   /* number of the newest */
    uint64_t synced; /* up to here they are durable, or `lost` */
    uint64_t lost;   /* up to here a sync has failed: no later one says whether they are */
    bool syncing;
};

void dirnames_init(struct dirnames *n);
void dirnames_release(struct dirnames *n);
/* A name has been made: its number. */
uint64_t dirnames_made(struct dirnames *n);
/* The number of a name that has been found there. */
uint64_t dirnames_found(struct dirnames *n);
/* Returns once the name with that number is durable. dir: the data directory, always the same.
 * BECK_ENOMEM: nothing was tried. After another error it never will be known to be. */
beck_status dirnames_sync(struct dirnames *n, struct vfs *v, const char *dir, uint64_t number,
                          beck_error *err);

#endif
