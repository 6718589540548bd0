/*
 * A window over a file of batches: reads ahead in large pieces, so that walking over small batches
 * costs few reads. One thread at a time; the file may be read by others.
 */
#ifndef BECK_LOG_WINDOW_H
#define BECK_LOG_WINDOW_H

#include "base/bytes.h"
#include "base/vfs.h"
#include "log/batch.h"

#define WINDOW_BYTES (4u << 20)
#define WINDOW_BATCH_MAX (1u << 30) /* larger batches are taken for damage */

struct window {
    struct file *file; /* borrowed */
    int64_t size;      /* nothing is read at or behind it */
    struct buf bytes;
    int64_t at; /* position of the first byte */
};

void window_init(struct window *w, struct file *file, int64_t size);
void window_release(struct window *w);

/* Makes `len` bytes at `position` readable. *ok false: the file ends before them. */
beck_status window_have(struct window *w, int64_t position, size_t len, bool *ok, beck_error *err);
/* After window_have; until the next one. */
static inline const uint8_t *window_at(const struct window *w, int64_t position)
{
    return w->bytes.data + (position - w->at);
}

/* Writes the bytes [from, end) of the file to `out`, at `at`; crc: gets their CRC-32C added, may be NULL. Where they end
 * before that is an error. */
beck_status window_copy(struct window *w, int64_t from, int64_t end, struct file *out, int64_t at,
                        uint32_t *crc, beck_error *err);

/* Whether a header that can be, with an offset of at least next_offset, begins at `position`, and
 * the file is long enough for its batch. `why` (not NULL) gets what is wrong with it; err is for
 * reads that fail. The batch itself need not be readable, its header is. */
beck_status window_header(struct window *w, int64_t position, int64_t next_offset,
                          struct batch_header *h, bool *valid, beck_error *why, beck_error *err);
/* The same, for a whole batch whose checksum fits; all of it is readable then. */
beck_status window_batch(struct window *w, int64_t position, int64_t next_offset,
                         struct batch_header *h, bool *valid, beck_error *why, beck_error *err);

#endif
