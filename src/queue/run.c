/* Runs: the form of their files, written and read one block at a time. */
#include "queue/run.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_FORMAT "%020" PRIu64 ".run"

void run_put_entry(uint8_t *p, const struct scheduled *item)
{
    put_u64(p, (uint64_t)item->due_ms);
    put_u64(p + 8, item->entry.where);
    put_u64(p + 16, item->entry.meta);
    put_u64(p + 24, item->entry.seq);
}

void run_get_entry(const uint8_t *p, struct scheduled *item)
{
    item->due_ms = (int64_t)get_u64(p);
    item->entry.where = get_u64(p + 8);
    item->entry.meta = get_u64(p + 16);
    item->entry.seq = get_u64(p + 24);
}

void run_path(char *path, const char *dir, uint64_t id)
{
    snprintf(path, RUN_PATH_BYTES, "%s/" NAME_FORMAT, dir, id);
}

bool run_parse_name(const char *name, uint64_t *id)
{
    char again[64];
    if (sscanf(name, "%" SCNu64, id) != 1)
        return false;
    snprintf(again, sizeof again, NAME_FORMAT, *id);
    return strcmp(name, again) == 0;
}

static int64_t block_position(uint64_t block)
{
    return (int64_t)(block * RUN_BLOCK_BYTES);
}

int64_t run_bytes(uint64_t count)
{
    uint64_t rest = count % RUN_BLOCK_ENTRIES;
    return block_position(count / RUN_BLOCK_ENTRIES) +
           (rest == 0 ? 0 : (int64_t)(8 + rest * RUN_ENTRY_BYTES));
}

/* ---- writing ---- */

beck_status run_writer_open(struct run_writer *w, struct vfs *v, const char *dir, uint64_t id,
                            beck_error *err)
{
    *w = (struct run_writer){.block = malloc(RUN_BLOCK_BYTES)};
    if (w->block == NULL)
        return error_set(err, BECK_ENOMEM, "no memory for a block of a queue's schedule");
    char path[RUN_PATH_BYTES];
    run_path(path, dir, id);
    beck_status status = vfs_open(v, path, VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &w->file, err);
    if (status != BECK_OK)
        run_writer_close(w);
    return status;
}

beck_status run_writer_finish(struct run_writer *w, beck_error *err)
{
    if (w->block_count == 0)
        return BECK_OK;
    size_t len = 8 + (size_t)w->block_count * RUN_ENTRY_BYTES;
    put_u32(w->block + 4, w->block_count);
    put_u32(w->block, crc32c(0, w->block + 4, len - 4));
    beck_status status = file_write(w->file, w->block, len, w->position, err);
    if (status != BECK_OK)
        return status;
    w->position += (int64_t)len;
    w->block_count = 0;
    return BECK_OK;
}

beck_status run_writer_add(struct run_writer *w, const struct scheduled *item, beck_error *err)
{
    run_put_entry(w->block + 8 + (size_t)w->block_count * RUN_ENTRY_BYTES, item);
    w->block_count++;
    w->count++;
    return w->block_count < RUN_BLOCK_ENTRIES ? BECK_OK : run_writer_finish(w, err);
}

void run_writer_close(struct run_writer *w)
{
    file_close(w->file);
    free(w->block);
    *w = (struct run_writer){0};
}

/* ---- reading ---- */

void run_cursor_begin(struct run_cursor *c, struct vfs *v, const char *dir, uint64_t id,
                      uint64_t count, uint64_t next)
{
    assert(next <= count);
    *c = (struct run_cursor){
        .vfs = v, .dir = dir, .id = id, .count = count, .next = next, .block_first = UINT64_MAX};
}

static beck_status damaged(const struct run_cursor *c, uint64_t block, const char *what,
                           beck_error *err)
{
    char path[RUN_PATH_BYTES];
    run_path(path, c->dir, c->id);
    return error_set(err, BECK_ECORRUPT, "%s: \"%s\", block at byte %lld", what, path,
                     (long long)block_position(block));
}

static beck_status load(struct run_cursor *c, uint64_t block, beck_error *err)
{
    if (c->block == NULL) {
        c->block = malloc(RUN_BLOCK_BYTES);
        if (c->block == NULL)
            return error_set(err, BECK_ENOMEM, "no memory for a block of a queue's schedule");
    }
    c->block_first = UINT64_MAX;
    uint64_t left = c->count - block * RUN_BLOCK_ENTRIES;
    uint32_t count = left < RUN_BLOCK_ENTRIES ? (uint32_t)left : RUN_BLOCK_ENTRIES;
    size_t len = 8 + (size_t)count * RUN_ENTRY_BYTES, got = 0;
    char path[RUN_PATH_BYTES];
    run_path(path, c->dir, c->id);
    struct file *file;
    beck_status status = vfs_open(c->vfs, path, VFS_READ, &file, err);
    if (status == BECK_ENOENT)
        return damaged(c, block, "a file of the queue's schedule is missing", err);
    if (status != BECK_OK)
        return status;
    status = file_read(file, c->block, len, block_position(block), &got, err);
    file_close(file);
    if (status != BECK_OK)
        return status;
    if (got < len || get_u32(c->block + 4) != count ||
        crc32c(0, c->block + 4, len - 4) != get_u32(c->block))
        return damaged(c, block, "a file of the queue's schedule is damaged", err);
    c->block_first = block * RUN_BLOCK_ENTRIES;
    return BECK_OK;
}

beck_status run_cursor_fetch(struct run_cursor *c, beck_error *err)
{
    if (c->next == c->count)
        return BECK_END;
    uint64_t block = c->next / RUN_BLOCK_ENTRIES;
    if (c->block_first != block * RUN_BLOCK_ENTRIES) {
        beck_status status = load(c, block, err);
        if (status != BECK_OK)
            return status;
    }
    run_get_entry(c->block + 8 + (c->next - c->block_first) * RUN_ENTRY_BYTES, &c->item);
    c->has_item = true;
    return BECK_OK;
}

void run_cursor_skip(struct run_cursor *c)
{
    assert(c->has_item);
    c->has_item = false;
    c->next++;
}

void run_cursor_end(struct run_cursor *c)
{
    free(c->block);
    c->block = NULL;
    c->block_first = UINT64_MAX;
}
