/*
 * The bytes of one file of the simulated disk: as readers see them now, and as they are on the
 * device.
 *
 * Invariants: both buffers are valid for cap bytes; now[size .. cap) is zero. A sector that is not
 * marked dirty needs no sync: it is on the device as it is now, or a failed sync lost it.
 * Threads: the disk's lock is held.
 */
#ifndef BECK_BASE_SIM_CONTENT_H
#define BECK_BASE_SIM_CONTENT_H

#include "base/rng.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_SECTOR 512

struct content {
    uint8_t *now, *durable;
    uint64_t *dirty; /* a bit per sector */
    size_t size, durable_size, cap;
    size_t dirty_from, dirty_to; /* sectors outside are clean */
    bool size_dirty;
};

void content_release(struct content *c); /* all zero is an empty content */
/* False: no memory, nothing changed. */
bool content_write(struct content *c, const uint8_t *data, size_t len, size_t position);
bool content_resize(struct content *c, size_t size);
size_t content_read(const struct content *c, uint8_t *data, size_t len, size_t position);
void content_sync(struct content *c);
/* A sync that fails: any of the dirty sectors get to the device, and all count as clean. */
void content_sync_badly(struct content *c, struct rng *rng);
/* Loss of power: any of the dirty sectors survive; the size is anything between old and new. */
void content_crash(struct content *c, struct rng *rng);
void content_flip(struct content *c, size_t byte, int bit);

#endif
