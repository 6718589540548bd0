/* Aborted transactions: see txn_index.h, which has the table of the file's bytes. */
#include "log/txn_index.h"

#include "base/bytes.h"
#include "base/error.h"

#include <assert.h>
#include <stdlib.h>

#define ENTRY_BYTES 34
#define ENTRY_VERSION 0
#define FILE_MAX (1u << 30)

void txn_index_release(struct txn_index *i)
{
    free(i->entries);
    *i = (struct txn_index){0};
}

beck_status txn_index_reserve(struct txn_index *i)
{
    if (i->count < i->cap)
        return BECK_OK;
    size_t cap = i->cap ? i->cap * 2 : 16;
    struct txn_entry *grown = realloc(i->entries, cap * sizeof *grown);
    if (!grown)
        return BECK_ENOMEM;
    i->entries = grown;
    i->cap = cap;
    return BECK_OK;
}

void txn_index_add(struct txn_index *i, const struct txn_entry *e)
{
    assert(i->count < i->cap);
    assert(i->count == 0 || i->entries[i->count - 1].aborted.last_offset < e->aborted.last_offset);
    i->entries[i->count++] = *e;
}

size_t txn_index_below(const struct txn_index *i, int64_t offset)
{
    size_t low = 0, high = i->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (i->entries[middle].aborted.last_offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void txn_index_trim(struct txn_index *i, int64_t first, int64_t end)
{
    i->count = txn_index_below(i, end);
    size_t gone = txn_index_below(i, first);
    if (gone == 0)
        return;
    i->count -= gone;
    memmove(i->entries, i->entries + gone, i->count * sizeof *i->entries);
}

bool txn_index_aborted(const struct txn_index *i, int64_t producer_id, int64_t offset)
{
    for (size_t n = txn_index_below(i, offset); n < i->count; n++) {
        const struct txn_entry *e = &i->entries[n];
        if (e->aborted.producer_id == producer_id && e->aborted.first_offset <= offset)
            return true;
        if (e->stable_offset > offset)
            break;
    }
    return false;
}

beck_status txn_index_list(const struct txn_index *i, int64_t from, int64_t to,
                           struct aborted **out, size_t *count)
{
    *out = NULL;
    *count = 0;
    size_t cap = 0;
    for (size_t n = txn_index_below(i, from); n < i->count; n++) {
        const struct txn_entry *e = &i->entries[n];
        if (e->aborted.first_offset < to) {
            if (*count == cap) {
                cap = cap ? cap * 2 : 8;
                struct aborted *grown = realloc(*out, cap * sizeof *grown);
                if (!grown) {
                    free(*out);
                    *out = NULL;
                    *count = 0;
                    return BECK_ENOMEM;
                }
                *out = grown;
            }
            (*out)[(*count)++] = e->aborted;
        }
        if (e->stable_offset >= to)
            break;
    }
    return BECK_OK;
}

/* ---- files ---- */

/* False: it cannot be, as one of zeros, which is what a torn write may leave. */
static bool entry_read(const uint8_t *p, int64_t after, struct txn_entry *e)
{
    *e = (struct txn_entry){
        {(int64_t)get_u64(p + 2), (int64_t)get_u64(p + 10), (int64_t)get_u64(p + 18)},
        (int64_t)get_u64(p + 26)};
    return get_u16(p) == ENTRY_VERSION && e->aborted.producer_id >= 0 &&
           e->aborted.first_offset >= 0 && e->aborted.first_offset < e->aborted.last_offset &&
           e->aborted.last_offset > after && e->stable_offset >= 0 &&
           e->stable_offset <= e->aborted.last_offset + 1;
}

beck_status txn_index_load(struct txn_index *i, struct vfs *vfs, const char *path, bool *whole,
                           beck_error *err)
{
    struct buf file;
    buf_init(&file, FILE_MAX);
    beck_status status = vfs_read_file(vfs, path, file.max, &file, err);
    size_t at = 0;
    for (; !status && at + ENTRY_BYTES <= file.len; at += ENTRY_BYTES) {
        struct txn_entry e;
        int64_t after = i->count > 0 ? i->entries[i->count - 1].aborted.last_offset : -1;
        if (!entry_read(file.data + at, after, &e))
            break;
        status = txn_index_reserve(i);
        if (!status)
            txn_index_add(i, &e);
        else
            error_set(err, status, "no memory for the aborted transactions of \"%s\"", path);
    }
    *whole = at == file.len;
    buf_release(&file);
    return status;
}

beck_status txn_index_save(const struct txn_entry *entries, size_t count, size_t before,
                           struct vfs *vfs, const char *dir, const char *path, beck_error *err)
{
    struct file *f = NULL;
    uint8_t *bytes = malloc(count * ENTRY_BYTES + 1);
    if (!bytes)
        return error_set(err, BECK_ENOMEM, "no memory to write \"%s\"", path);
    for (size_t n = 0; n < count; n++) {
        uint8_t *p = bytes + n * ENTRY_BYTES;
        put_u16(p, ENTRY_VERSION);
        put_u64(p + 2, (uint64_t)entries[n].aborted.producer_id);
        put_u64(p + 10, (uint64_t)entries[n].aborted.first_offset);
        put_u64(p + 18, (uint64_t)entries[n].aborted.last_offset);
        put_u64(p + 26, (uint64_t)entries[n].stable_offset);
    }
    beck_status status = vfs_open(vfs, path, VFS_WRITE | VFS_CREATE, &f, err);
    int64_t from = (int64_t)(before * ENTRY_BYTES);
    if (!status)
        status = file_write(f, bytes, count * ENTRY_BYTES, from, err);
    if (!status)
        status = file_truncate(f, from + (int64_t)(count * ENTRY_BYTES), err);
    if (!status)
        status = file_sync(f, err);
    file_close(f);
    if (!status)
        status = vfs_sync_dir(vfs, dir, err);
    free(bytes);
    return status;
}
