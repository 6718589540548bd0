/*
 * Kafka's small text files: a version line `0`, a line with the count, then one line an entry.
 *   recovery-point-offset-checkpoint, log-start-offset-checkpoint   `topic partition offset`
 *   leader-epoch-checkpoint (in a partition's directory)            `epoch startOffset`
 * They are replaced as a whole (temporary file, sync, rename).
 */
#ifndef BECK_LOG_CHECKPOINT_H
#define BECK_LOG_CHECKPOINT_H

#include "base/vfs.h"

struct checkpoint_entry {
    char *bus; /* owned */
    uint32_t partition;
    int64_t offset;
};
struct checkpoint {
    struct checkpoint_entry *entries; /* sorted by bus, partition once read */
    size_t count, cap;
};
void checkpoint_init(struct checkpoint *c);
void checkpoint_release(struct checkpoint *c);
beck_status checkpoint_set(struct checkpoint *c, const char *bus, uint32_t partition,
                           int64_t offset); /* adds or replaces; no order needed */
bool checkpoint_get(const struct checkpoint *c, const char *bus, uint32_t partition,
                    int64_t *offset);
/* A missing file reads as empty. BECK_ECORRUPT names the line. */
beck_status checkpoint_read(struct vfs *v, const char *path, struct checkpoint *out,
                            beck_error *err);
beck_status checkpoint_write(struct vfs *v, const char *path, const struct checkpoint *c,
                             beck_error *err);

#endif
