/* Blocks of a fifo: memory, and the stored form that the header describes. */
#include "queue/fifo_block.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"

#include <assert.h>
#include <stdlib.h>

_Static_assert(FIFO_BLOCK_BYTES == 65536, "blocks are 64 KiB");

struct fifo_block *fifo_block_new(uint64_t index, uint64_t first, uint32_t cap)
{
    struct fifo_block *b = malloc(sizeof *b + (size_t)cap * FIFO_ENTRY_BYTES);
    if (b == NULL)
        return NULL;
    b->cap = cap;
    fifo_block_reuse(b, index, first);
    return b;
}

void fifo_block_reuse(struct fifo_block *b, uint64_t index, uint64_t first)
{
    b->index = index;
    b->end = (index + 1) * FIFO_BLOCK_ENTRIES;
    b->first = first;
    b->file_first = b->file_count = b->file_crc = 0;
    b->slot = 0;
    b->unsynced = b->syncing = b->homeless = false;
    assert(first < b->end && first + FIFO_BLOCK_ENTRIES >= b->end);
}

/* ---- writing ---- */

static uint32_t crc_of_first(uint64_t first)
{
    uint8_t bytes[8];
    put_u64(bytes, first);
    return crc32c(0, bytes, sizeof bytes);
}

static void put_claim(uint8_t *p, uint32_t count, uint32_t crc)
{
    put_u32(p, count);
    put_u32(p + 4, crc);
}

static int64_t claim_position(const struct fifo_place *place, unsigned slot)
{
    return place->position + 8 + 8 * (int64_t)slot;
}

static int64_t entry_position(const struct fifo_place *place, uint32_t i)
{
    return place->position + FIFO_HEADER_BYTES + FIFO_ENTRY_BYTES * (int64_t)i;
}

/* The first write of a block: header and entries in one. */
static beck_status write_all(struct fifo_block *b, struct file *file,
                             const struct fifo_place *place, uint64_t from, uint64_t upto,
                             beck_error *err)
{
    uint64_t first = from > b->first ? from : b->first;
    uint32_t count = (uint32_t)(upto - first);
    struct iovec parts[2];
    uint8_t header[FIFO_HEADER_BYTES] = {0};
    parts[1].iov_base = fifo_block_at(b, first);
    parts[1].iov_len = (size_t)count * FIFO_ENTRY_BYTES;
    uint32_t crc = crc32c(crc_of_first(first), parts[1].iov_base, parts[1].iov_len);
    put_u64(header, first);
    put_claim(header + 8 + 8 * b->slot, count, crc);
    parts[0].iov_base = header;
    parts[0].iov_len = sizeof header;
    beck_status status = file_writev(file, parts, 2, place->position, err);
    if (status != BECK_OK)
        return status;
    b->file_first = first;
    b->file_count = count;
    b->file_crc = crc;
    return BECK_OK;
}

/* Entries that are gone from memory. */
static beck_status write_gap(struct file *file, int64_t position, size_t len, uint32_t *crc,
                             beck_error *err)
{
    static const uint8_t zeros[4096];
    while (len > 0) {
        size_t n = len < sizeof zeros ? len : sizeof zeros;
        beck_status status = file_write(file, zeros, n, position, err);
        if (status != BECK_OK)
            return status;
        *crc = crc32c(*crc, zeros, n);
        position += (int64_t)n;
        len -= n;
    }
    return BECK_OK;
}

static beck_status write_more(struct fifo_block *b, struct file *file,
                              const struct fifo_place *place, uint64_t upto, beck_error *err)
{
    uint32_t crc = b->file_crc;
    uint64_t next = fifo_block_written(b);
    beck_status status;
    if (next < b->first) {
        status = write_gap(file, entry_position(place, b->file_count),
                           (size_t)(b->first - next) * FIFO_ENTRY_BYTES, &crc, err);
        if (status != BECK_OK)
            return status;
        next = b->first;
    }
    size_t len = (size_t)(upto - next) * FIFO_ENTRY_BYTES;
    crc = crc32c(crc, fifo_block_at(b, next), len);
    status = file_write(file, fifo_block_at(b, next), len,
                        entry_position(place, (uint32_t)(next - b->file_first)), err);
    if (status != BECK_OK)
        return status;
    uint8_t claim[8];
    uint32_t count = (uint32_t)(upto - b->file_first);
    put_claim(claim, count, crc);
    status = file_write(file, claim, sizeof claim, claim_position(place, b->slot), err);
    if (status != BECK_OK)
        return status;
    b->file_count = count;
    b->file_crc = crc;
    return BECK_OK;
}

/* The entries that were opened are covered by a claim with more entries than that, which the next
 * write would make invalid. */
static beck_status write_home(struct fifo_block *b, struct file *file,
                              const struct fifo_place *place, bool *sync_failed, beck_error *err)
{
    uint8_t claim[8];
    put_claim(claim, b->file_count, b->file_crc);
    beck_status status = file_write(file, claim, sizeof claim, claim_position(place, b->slot), err);
    if (status != BECK_OK)
        return status;
    status = file_sync(file, err);
    if (status != BECK_OK) {
        *sync_failed = true;
        return status;
    }
    b->slot ^= 1;
    b->homeless = false;
    return BECK_OK;
}

/* The claim that is being synced would be overwritten, and the one before it may be too short. */
static beck_status finish_sync(struct fifo_block *b, struct file *file, bool *sync_failed,
                               beck_error *err)
{
    beck_status status = file_sync(file, err);
    if (status != BECK_OK)
        *sync_failed = true;
    else
        fifo_block_end_sync(b, true);
    return status;
}

beck_status fifo_block_write(struct fifo_block *b, const struct fifo_place *place, uint64_t from,
                             uint64_t upto, bool *sync_failed, beck_error *err)
{
    assert(upto > fifo_block_written(b) && upto > b->first && upto <= b->end && from < upto);
    struct file *file;
    beck_status status = vfs_open(place->vfs, place->path, VFS_WRITE | VFS_CREATE, &file, err);
    if (status != BECK_OK)
        return status;
    if (b->syncing)
        status = finish_sync(b, file, sync_failed, err);
    if (status == BECK_OK && b->homeless)
        status = write_home(b, file, place, sync_failed, err);
    if (status == BECK_OK && b->file_count == 0)
        status = write_all(b, file, place, from, upto, err);
    else if (status == BECK_OK)
        status = write_more(b, file, place, upto, err);
    if (status == BECK_OK)
        b->unsynced = true;
    file_close(file);
    return status;
}

void fifo_block_begin_sync(struct fifo_block *b)
{
    b->syncing = b->unsynced;
    b->unsynced = false;
}

void fifo_block_end_sync(struct fifo_block *b, bool synced)
{
    if (b->syncing && synced)
        b->slot ^= 1;
    else if (b->syncing)
        b->unsynced = true;
    b->syncing = false;
}

/* ---- reading ---- */

static beck_status damaged(const struct fifo_place *place, const char *what, beck_error *err)
{
    return error_set(err, BECK_ECORRUPT,
                     "%s: \"%s\", block at byte %lld; remove the file and open again: the queue "
                     "makes it anew from the log",
                     what, place->path, (long long)place->position);
}

/* Whether a claim is valid, and covers the entries. */
static bool claim_fits(const uint8_t *data, size_t got, unsigned slot, uint64_t index,
                       uint64_t from, uint64_t upto)
{
    uint64_t first = get_u64(data);
    uint32_t count = get_u32(data + 8 + 8 * slot);
    uint64_t begin = index * FIFO_BLOCK_ENTRIES, end = begin + FIFO_BLOCK_ENTRIES;
    if (first < begin || first > from || count > end - first || first + count < upto)
        return false;
    size_t len = (size_t)count * FIFO_ENTRY_BYTES;
    if (FIFO_HEADER_BYTES + len > got)
        return false;
    return crc32c(crc_of_first(first), data + FIFO_HEADER_BYTES, len) ==
           get_u32(data + 8 + 8 * slot + 4);
}

beck_status fifo_block_read(const struct fifo_place *place, uint64_t index, uint64_t from,
                            uint64_t upto, uint8_t *data, beck_error *err)
{
    assert(from < upto && from / FIFO_BLOCK_ENTRIES == index &&
           (upto - 1) / FIFO_BLOCK_ENTRIES == index);
    struct file *file;
    beck_status status = vfs_open(place->vfs, place->path, VFS_READ, &file, err);
    if (status == BECK_ENOENT)
        return damaged(place, "a file of the queue is missing", err);
    if (status != BECK_OK)
        return status;
    size_t got = 0;
    status = file_read(file, data, FIFO_BLOCK_BYTES, place->position, &got, err);
    file_close(file);
    if (status != BECK_OK)
        return status;
    if (got < FIFO_HEADER_BYTES + FIFO_ENTRY_BYTES)
        return damaged(place, "a file of the queue is too short", err);
    if (!claim_fits(data, got, 0, index, from, upto) &&
        !claim_fits(data, got, 1, index, from, upto))
        return damaged(place, "a file of the queue is damaged", err);
    return BECK_OK;
}

beck_status fifo_block_load(const struct fifo_place *place, uint64_t index, uint64_t from,
                            uint64_t upto, struct fifo_block **out, beck_error *err)
{
    uint8_t *data = malloc(FIFO_BLOCK_BYTES);
    if (data == NULL)
        return error_set(err, BECK_ENOMEM, "no memory for a block of a queue");
    beck_status status = fifo_block_read(place, index, from, upto, data, err);
    struct fifo_block *b = NULL;
    if (status == BECK_OK) {
        b = fifo_block_new(index, from, (uint32_t)(upto - from));
        if (b == NULL)
            status = error_set(err, BECK_ENOMEM, "no memory for a block of a queue");
    }
    if (status == BECK_OK) {
        uint64_t first = get_u64(data);
        const uint8_t *entries = data + FIFO_HEADER_BYTES;
        memcpy(b->data, entries + FIFO_ENTRY_BYTES * (from - first),
               FIFO_ENTRY_BYTES * (upto - from));
        b->file_first = first;
        b->file_count = (uint32_t)(upto - first);
        b->file_crc = crc32c(crc_of_first(first), entries, FIFO_ENTRY_BYTES * (upto - first));
        bool in_0 = get_u32(data + 8) == b->file_count && get_u32(data + 12) == b->file_crc;
        bool in_1 = get_u32(data + 16) == b->file_count && get_u32(data + 20) == b->file_crc;
        b->slot = in_0 ? 1 : 0;
        b->homeless = !in_0 && !in_1;
        *out = b;
    }
    free(data);
    return status;
}
