/*
 * Runs: files of scheduled entries in order, written once.
 *
 * <dir>/<id, 20 digits>.run: blocks of RUN_BLOCK_BYTES, of which the last may be shorter,
 * big-endian:
 *      0  crc    u32  CRC-32C of the rest of the block
 *      4  count  u32  RUN_BLOCK_ENTRIES, but less in the last block
 *      8  entries of 32 bytes: due_ms u64, where u64, meta u64, seq u64
 *
 * How many entries a run has is not in the file: who uses it knows. A block is valid when its
 * checksum and count fit.
 */
#ifndef BECK_QUEUE_RUN_H
#define BECK_QUEUE_RUN_H

#include "queue/schedule.h"

#define RUN_BLOCK_ENTRIES 2048
#define RUN_ENTRY_BYTES 32
#define RUN_BLOCK_BYTES (8 + RUN_BLOCK_ENTRIES * RUN_ENTRY_BYTES)
#define RUN_PATH_BYTES (4096 + 64)

void run_put_entry(uint8_t *p, const struct scheduled *item);
void run_get_entry(const uint8_t *p, struct scheduled *item);

void run_path(char *path, const char *dir, uint64_t id); /* RUN_PATH_BYTES */
bool run_parse_name(const char *name, uint64_t *id);
int64_t run_bytes(uint64_t count); /* size of a file with so many entries */

/* Writes a run; the caller removes the file after an error. */
struct run_writer {
    struct file *file;
    uint8_t *block; /* owned */
    int64_t position;
    uint32_t block_count;
    uint64_t count;
};
beck_status run_writer_open(struct run_writer *w, struct vfs *v, const char *dir, uint64_t id,
                            beck_error *err);
beck_status run_writer_add(struct run_writer *w, const struct scheduled *item, beck_error *err);
/* The last block; not synced. */
beck_status run_writer_finish(struct run_writer *w, beck_error *err);
void run_writer_close(struct run_writer *w);

/* Reads a run in order. */
struct run_cursor {
    struct vfs *vfs;
    const char *dir;
    uint64_t id, count;
    uint64_t next;        /* entry that comes next */
    uint64_t block_first; /* first entry in `block`; UINT64_MAX: none */
    uint8_t *block;       /* owned; NULL before the first read */
    struct scheduled item;
    bool has_item; /* item is the entry `next` */
};
void run_cursor_begin(struct run_cursor *c, struct vfs *v, const char *dir, uint64_t id,
                      uint64_t count, uint64_t next);
/* The next entry, borrowed until run_cursor_skip; BECK_END: no more. BECK_ECORRUPT names the file.
 */
beck_status run_cursor_fetch(struct run_cursor *c, beck_error *err);
static inline beck_status run_cursor_peek(struct run_cursor *c, const struct scheduled **out,
                                          beck_error *err)
{
    if (!c->has_item) {
        beck_status status = run_cursor_fetch(c, err);
        if (status != BECK_OK)
            return status;
    }
    *out = &c->item;
    return BECK_OK;
}
void run_cursor_skip(struct run_cursor *c); /* what was peeked */
void run_cursor_end(struct run_cursor *c);

#endif
