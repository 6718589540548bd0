/*
 * A block of a fifo: FIFO_BLOCK_ENTRIES numbers, as a part of them is in memory, and as they are in
 * a file.
 *
 * In memory: entries in their stored form, from `first` on. How many there are is known to the
 * list.
 *
 * In a file, big-endian, FIFO_BLOCK_BYTES at a fixed place:
 *      0  first      u64  number of the entry at 32
 *      8  count 0    u32  \ two claims: that many entries, whose checksum this is: CRC-32C of
 *     12  crc 0      u32  / `first` and of the entries. A claim is valid when its checksum fits.
 *     16  count 1    u32
 *     20  crc 1      u32
 *     24  zero       u64
 *     32  entries of 16 bytes: where u64, meta u64
 *
 * A block that was synced with some entries is later written with more. Bytes of entries already
 * there never change, and the new claim goes where the claim is not that was synced last: so
 * whichever sectors of the second write survive a loss of power, the synced claim stays valid.
 * Entries that were taken before they were ever written, and are gone from memory, are written as
 * zeros.
 */
#ifndef BECK_QUEUE_FIFO_BLOCK_H
#define BECK_QUEUE_FIFO_BLOCK_H

#include "queue/fifo.h"

#define FIFO_ENTRY_BYTES 16
#define FIFO_HEADER_BYTES 32
#define FIFO_BLOCK_BYTES (FIFO_HEADER_BYTES + FIFO_BLOCK_ENTRIES * FIFO_ENTRY_BYTES)

struct fifo_block {
    uint64_t index; /* holds numbers [index * FIFO_BLOCK_ENTRIES, end) */
    uint64_t end;
    uint64_t first; /* number of the first entry in memory */
    uint32_t cap;   /* entries that there is memory for */

    uint32_t file_count; /* entries in the file; 0: never written */
    uint32_t file_crc;
    uint8_t slot;  /* where the next claim goes */
    bool unsynced; /* a claim was written there */
    bool syncing;  /* and somebody is making it durable */
    bool homeless; /* what was opened is no synced claim of its own: write one before anything else
                    */
    uint64_t file_first;
    uint8_t data[];
};

/* Where in which file. */
struct fifo_place {
    struct vfs *vfs;
    const char *path;
    int64_t position;
};

struct fifo_block *fifo_block_new(uint64_t index, uint64_t first, uint32_t cap); /* NULL: ENOMEM */
/* The same block at another index, with nothing in it, in memory or the file. */
void fifo_block_reuse(struct fifo_block *b, uint64_t index, uint64_t first);
static inline uint8_t *fifo_block_at(struct fifo_block *b, uint64_t number)
{
    return b->data + FIFO_ENTRY_BYTES * (number - b->first);
}

/* Writes what is not there yet of the entries below `upto`; `from`: none below it is needed. After
 * an error the block is as it was, and what is synced still valid. *sync_failed is set when the
 * error came from a sync. */
beck_status fifo_block_write(struct fifo_block *b, const struct fifo_place *place, uint64_t from,
                             uint64_t upto, bool *sync_failed, beck_error *err);
static inline uint64_t fifo_block_written(const struct fifo_block *b)
{
    return b->file_count == 0 ? 0 : b->file_first + b->file_count;
}
/* Making what was written durable: between the two calls, of which the second says how it went, the
 * file is synced. A write that comes in between syncs the file by itself first. */
void fifo_block_begin_sync(struct fifo_block *b);
void fifo_block_end_sync(struct fifo_block *b, bool synced);

/* Reads the entries of a block into `data` (FIFO_BLOCK_BYTES, the header included); those in
 * [from, upto) must be among them. BECK_ECORRUPT: the file is missing, too short or damaged. */
beck_status fifo_block_read(const struct fifo_place *place, uint64_t index, uint64_t from,
                            uint64_t upto, uint8_t *data, beck_error *err);
/* The same as a block in memory that holds [from, upto) and can go on being written. */
beck_status fifo_block_load(const struct fifo_place *place, uint64_t index, uint64_t from,
                            uint64_t upto, struct fifo_block **out, beck_error *err);

#endif
