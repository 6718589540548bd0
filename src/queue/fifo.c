/*
 * A list of entries: a block of memory at each end, files between.
 *
 * Head and tail are often in the same block, which then is the same memory: a queue whose consumers
 * keep up moves through its blocks without touching a file. Only a full block that is not at the
 * head is written, before the entry behind it is appended, and its memory is used again. A block
 * comes back when the head reaches it.
 *
 * Memory follows the content: a block grows from 16 entries on, drops what was taken before it
 * grows, and shrinks when the list becomes empty; its place in the file is remembered even then,
 * because an older snapshot may need what is there.
 */
#include "queue/fifo_block.h"

#include "base/bytes.h"
#include "base/error.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 16
#define FILE_ENTRIES ((uint64_t)FIFO_FILE_BLOCKS * FIFO_BLOCK_ENTRIES)
#define NUMBER_MAX ((1ULL << 56) - 1)
#define PATH_BYTES (PATH_MAX + 64)
#define NAME_FORMAT "%" PRIu32 "-%020" PRIu64 ".fifo"

struct fifo {
    uint64_t head, tail;
    uint64_t room; /* number up to which the tail block has memory */
    uint64_t level_bits;
    struct fifo_block *head_block; /* NULL: not read yet, or nothing */
    struct fifo_block *tail_block; /* NULL: nothing was ever pushed */

    struct vfs *vfs; /* NULL: everything in memory */
    char *dir;
    uint32_t level;
    bool names_unsynced; /* files were made, or may have been by an earlier process */
    bool poisoned;
    bool trimmed_once;
    uint64_t unsynced_file; /* blocks in this file and later ones were written since the last sync;
                               UINT64_MAX: none */
    uint64_t trimmed_file;  /* files before this one are gone */

    /* Without a directory: the blocks between head and tail block; a ring of a power of two. */
    struct fifo_block **middle;
    size_t middle_first, middle_count, middle_cap;
};

static beck_status no_memory(beck_error *err)
{
    return error_set(err, BECK_ENOMEM, "no memory for entries of a queue");
}

static uint64_t file_of(uint64_t number)
{
    return number / FILE_ENTRIES;
}

static void path_of(const struct fifo *f, uint64_t file, char *path)
{
    snprintf(path, PATH_BYTES, "%s/" NAME_FORMAT, f->dir, f->level, file * FILE_ENTRIES);
}

static struct fifo_place place_of(const struct fifo *f, uint64_t index, char *path)
{
    path_of(f, index / FIFO_FILE_BLOCKS, path);
    return (struct fifo_place){f->vfs, path,
                               (int64_t)(index % FIFO_FILE_BLOCKS) * FIFO_BLOCK_BYTES};
}

static void check(const struct fifo *f)
{
    assert(f->head <= f->tail && f->tail <= f->room);
    assert(f->tail_block == NULL ||
           (f->tail_block->first <= f->tail &&
            f->room <= f->tail_block->first + f->tail_block->cap && f->room <= f->tail_block->end));
    (void)f;
}

static void set_room(struct fifo *f)
{
    struct fifo_block *b = f->tail_block;
    uint64_t room = b->first + b->cap;
    f->room = room < b->end ? room : b->end;
    check(f);
}

/* ---- making and ending ---- */

beck_status fifo_new(struct vfs *v, const char *dir, uint32_t level, uint64_t first,
                     struct fifo **out, beck_error *err)
{
    assert(level <= 255 && first <= NUMBER_MAX);
    if (v != NULL && strlen(dir) >= PATH_MAX)
        return error_set(err, BECK_EINVAL,
                         "the path of a queue's directory is too long: \"%.100s...\"", dir);
    struct fifo *f = calloc(1, sizeof *f);
    if (f == NULL)
        return no_memory(err);
    f->vfs = v;
    f->level = level;
    f->level_bits = entry_seq(level, 0);
    f->head = f->tail = f->room = first;
    f->names_unsynced = true;
    f->unsynced_file = UINT64_MAX;
    f->trimmed_file = file_of(first);
    if (v != NULL) {
        f->dir = strdup(dir);
        if (f->dir == NULL) {
            free(f);
            return no_memory(err);
        }
    }
    *out = f;
    return BECK_OK;
}

static beck_status lost(const char *path, const char *what, beck_error *err)
{
    return error_set(err, BECK_ECORRUPT,
                     "a file of the queue is %s: \"%s\"; the queue is made anew from the log", what,
                     path);
}

static beck_status check_file(const struct fifo *f, uint64_t file, bool is_last, beck_error *err)
{
    char path[PATH_BYTES];
    path_of(f, file, path);
    struct file *opened;
    int64_t size;
    beck_status status = vfs_open(f->vfs, path, VFS_READ, &opened, err);
    if (status == BECK_ENOENT)
        return lost(path, "missing", err);
    if (status != BECK_OK)
        return status;
    status = file_size(opened, &size, err);
    file_close(opened);
    if (status == BECK_OK && !is_last && size <= (int64_t)(FIFO_FILE_BLOCKS - 1) * FIFO_BLOCK_BYTES)
        return lost(path, "too short", err);
    return status;
}

/* All files between two numbers are there; those before the last have their last block. */
static beck_status check_files(const struct fifo *f, uint64_t head, uint64_t tail, beck_error *err)
{
    uint64_t last = file_of(tail - 1);
    beck_status status = BECK_OK;
    for (uint64_t file = file_of(head); file <= last && status == BECK_OK; file++)
        status = check_file(f, file, file == last, err);
    return status;
}

static beck_status load(const struct fifo *f, uint64_t from, uint64_t upto, struct fifo_block **out,
                        beck_error *err)
{
    char path[PATH_BYTES];
    uint64_t index = from / FIFO_BLOCK_ENTRIES;
    struct fifo_place place = place_of(f, index, path);
    return fifo_block_load(&place, index, from, upto, out, err);
}

beck_status fifo_open(struct vfs *v, const char *dir, uint32_t level, uint64_t head, uint64_t tail,
                      struct fifo **out, beck_error *err)
{
    assert(v != NULL);
    if (head > tail || tail > NUMBER_MAX)
        return error_set(err, BECK_ECORRUPT,
                         "the saved position of the queue in \"%s\" is damaged; the queue is made "
                         "anew from the log",
                         dir);
    struct fifo *f;
    beck_status status = fifo_new(v, dir, level, head, &f, err);
    if (status != BECK_OK)
        return status;
    if (head == tail) {
        *out = f;
        return BECK_OK;
    }
    status = check_files(f, head, tail, err);
    uint64_t tail_begin = (tail - 1) / FIFO_BLOCK_ENTRIES * FIFO_BLOCK_ENTRIES;
    uint64_t tail_from = head > tail_begin ? head : tail_begin;
    if (status == BECK_OK)
        status = load(f, tail_from, tail, &f->tail_block, err);
    if (status == BECK_OK && tail_from == head)
        f->head_block = f->tail_block;
    else if (status == BECK_OK)
        status = load(f, head, (head / FIFO_BLOCK_ENTRIES + 1) * FIFO_BLOCK_ENTRIES, &f->head_block,
                      err);
    if (status != BECK_OK) {
        fifo_free(f);
        return status;
    }
    f->tail = f->room = tail;
    set_room(f);
    *out = f;
    return BECK_OK;
}

static struct fifo_block **middle_at(const struct fifo *f, size_t i)
{
    return &f->middle[(f->middle_first + i) & (f->middle_cap - 1)];
}

static void free_middle(struct fifo *f)
{
    for (size_t i = 0; i < f->middle_count; i++)
        free(*middle_at(f, i));
    free(f->middle);
    f->middle = NULL;
    f->middle_first = f->middle_count = f->middle_cap = 0;
}

void fifo_free(struct fifo *f)
{
    if (f == NULL)
        return;
    free_middle(f);
    if (f->head_block != f->tail_block)
        free(f->head_block);
    free(f->tail_block);
    free(f->dir);
    free(f);
}

uint64_t fifo_head(const struct fifo *f)
{
    return f->head;
}

uint64_t fifo_tail(const struct fifo *f)
{
    return f->tail;
}

/* ---- the tail ---- */

static beck_status middle_push(struct fifo *f, struct fifo_block *b, beck_error *err)
{
    if (f->middle_count == f->middle_cap) {
        size_t cap = f->middle_cap == 0 ? 4 : f->middle_cap * 2;
        struct fifo_block **grown = malloc(cap * sizeof(struct fifo_block *));
        if (grown == NULL)
            return no_memory(err);
        for (size_t i = 0; i < f->middle_count; i++)
            grown[i] = *middle_at(f, i);
        free(f->middle);
        f->middle = grown;
        f->middle_first = 0;
        f->middle_cap = cap;
    }
    f->middle_count++;
    *middle_at(f, f->middle_count - 1) = b;
    return BECK_OK;
}

static beck_status write_block(struct fifo *f, struct fifo_block *b, uint64_t upto, beck_error *err)
{
    if (fifo_block_written(b) >= upto)
        return BECK_OK;
    char path[PATH_BYTES];
    struct fifo_place place = place_of(f, b->index, path);
    if (!f->names_unsynced && !vfs_exists(f->vfs, path))
        f->names_unsynced = true;
    uint64_t file = b->index / FIFO_FILE_BLOCKS;
    if (file < f->unsynced_file) /* also when the write fails: a part of it may be there */
        f->unsynced_file = file;
    bool sync_failed = false;
    beck_status status = fifo_block_write(b, &place, f->head, upto, &sync_failed, err);
    if (sync_failed)
        f->poisoned = true;
    return status;
}

/* Grows the tail block, or moves what is left in it to its beginning. */
static beck_status grow(struct fifo *f, beck_error *err)
{
    struct fifo_block *b = f->tail_block;
    if (b == f->head_block && f->head - b->first >= (b->cap + 1) / 2) {
        memmove(b->data, fifo_block_at(b, f->head), FIFO_ENTRY_BYTES * (f->tail - f->head));
        b->first = f->head;
        set_room(f);
        return BECK_OK;
    }
    uint64_t cap = b->cap < FIRST_CAP ? FIRST_CAP : (uint64_t)b->cap * 2;
    if (cap > b->end - b->first)
        cap = b->end - b->first;
    struct fifo_block *grown = realloc(b, sizeof *b + cap * FIFO_ENTRY_BYTES);
    if (grown == NULL)
        return no_memory(err);
    grown->cap = (uint32_t)cap;
    if (b == f->head_block)
        f->head_block = grown;
    f->tail_block = grown;
    set_room(f);
    return BECK_OK;
}

/* A block with room behind the tail, where there is none or a full one. */
static beck_status next_block(struct fifo *f, beck_error *err)
{
    struct fifo_block *b = f->tail_block;
    uint64_t index = f->tail / FIFO_BLOCK_ENTRIES;
    bool is_head = b == f->head_block;
    if (b != NULL && !is_head && f->vfs != NULL) {
        beck_status status = write_block(f, b, f->tail, err);
        if (status != BECK_OK)
            return status;
        fifo_block_reuse(b, index, f->tail);
        set_room(f);
        return BECK_OK;
    }
    uint32_t cap = is_head ? FIRST_CAP : FIFO_BLOCK_ENTRIES;
    struct fifo_block *made = fifo_block_new(index, f->tail, cap);
    if (made == NULL)
        return no_memory(err);
    if (b != NULL && !is_head) {
        beck_status status = middle_push(f, b, err);
        if (status != BECK_OK) {
            free(made);
            return status;
        }
    }
    f->tail_block = made;
    if (f->head == f->tail) {
        assert(b == NULL);
        f->head_block = made;
    }
    set_room(f);
    return BECK_OK;
}

static beck_status __attribute__((noinline)) make_room(struct fifo *f, beck_error *err)
{
    if (f->tail >= NUMBER_MAX)
        return error_set(err, BECK_ELIMIT,
                         "a queue has taken 2^56 events, its limit: make a new one");
    if (f->tail_block != NULL && f->tail < f->tail_block->end)
        return grow(f, err);
    return next_block(f, err);
}

beck_status fifo_push(struct fifo *f, struct entry *e, beck_error *err)
{
    uint32_t pushed;
    e->seq = f->level_bits | f->tail;
    return fifo_push_run(f, e, 1, &pushed, err);
}

beck_status fifo_push_run(struct fifo *f, const struct entry *first, uint32_t count,
                          uint32_t *pushed, beck_error *err)
{
    uint64_t where = first->where, meta = first->meta;
    *pushed = 0;
    while (*pushed < count) {
        beck_status status = f->tail == f->room ? make_room(f, err) : BECK_OK;
        if (status != BECK_OK)
            return status;
        uint8_t *p = fifo_block_at(f->tail_block, f->tail);
        uint64_t room = f->room - f->tail;
        uint32_t n = count - *pushed < room ? count - *pushed : (uint32_t)room;
        for (uint32_t i = 0; i < n; i++, p += FIFO_ENTRY_BYTES) {
            put_u64(p, where++);
            put_u64(p + 8, meta);
        }
        f->tail += n;
        *pushed += n;
    }
    return BECK_OK;
}

/* ---- the head ---- */

/* The block at the head, which is not in memory. */
static beck_status __attribute__((noinline)) take_block(struct fifo *f, beck_error *err)
{
    assert(f->vfs != NULL && f->tail_block != NULL);
    uint64_t index = f->head / FIFO_BLOCK_ENTRIES;
    assert(index < f->tail_block->index);
    return load(f, f->head, (index + 1) * FIFO_BLOCK_ENTRIES, &f->head_block, err);
}

/* Nothing is left: the tail block becomes small. */
static void become_empty(struct fifo *f)
{
    struct fifo_block *b = f->tail_block;
    assert(f->head == f->tail && f->head_block == b && f->middle_count == 0);
    if (f->middle != NULL)
        free_middle(f);
    if (b == NULL)
        return;
    if (f->tail == b->end)
        fifo_block_reuse(b, b->index + 1, f->tail);
    b->first = f->tail;
    if (b->cap > FIRST_CAP) {
        struct fifo_block *small = realloc(b, sizeof *b + FIRST_CAP * FIFO_ENTRY_BYTES);
        if (small != NULL) {
            small->cap = FIRST_CAP;
            f->head_block = f->tail_block = small;
        }
    }
    set_room(f);
}

/* The head has left its block, or the list has become empty. */
static void __attribute__((noinline)) leave_block(struct fifo *f)
{
    if (f->head == f->tail) {
        become_empty(f);
        return;
    }
    free(f->head_block);
    f->head_block = NULL;
    if (f->head / FIFO_BLOCK_ENTRIES == f->tail_block->index) {
        f->head_block = f->tail_block;
    } else if (f->vfs == NULL) {
        f->head_block = *middle_at(f, 0);
        f->middle_first = (f->middle_first + 1) & (f->middle_cap - 1);
        f->middle_count--;
    }
}

static inline void get_entry(const struct fifo *f, const uint8_t *p, uint64_t number,
                             struct entry *out)
{
    out->where = get_u64(p);
    out->meta = get_u64(p + 8);
    out->seq = f->level_bits | number;
}

beck_status fifo_peek(struct fifo *f, struct entry *out, beck_error *err)
{
    if (f->head == f->tail)
        return BECK_END;
    if (f->head_block == NULL) {
        beck_status status = take_block(f, err);
        if (status != BECK_OK)
            return status;
    }
    get_entry(f, fifo_block_at(f->head_block, f->head), f->head, out);
    return BECK_OK;
}

beck_status fifo_pop_run(struct fifo *f, struct entry *out, size_t max, size_t *count,
                         beck_error *err)
{
    beck_status status = fifo_peek(f, out, err);
    if (status != BECK_OK)
        return status;
    uint64_t first = f->head, end = f->tail < f->head_block->end ? f->tail : f->head_block->end;
    if (end - first > max)
        end = first + max;
    const uint8_t *p = fifo_block_at(f->head_block, first);
    for (; f->head < end; f->head++, p += FIFO_ENTRY_BYTES)
        get_entry(f, p, f->head, out++);
    if (f->head == f->tail || f->head == f->head_block->end)
        leave_block(f);
    *count = (size_t)(end - first);
    return BECK_OK;
}

beck_status fifo_pop(struct fifo *f, struct entry *out, beck_error *err)
{
    size_t count;
    return fifo_pop_run(f, out, 1, &count, err);
}

/* ---- walks ---- */

void fifo_walk_begin(struct fifo_walk *w, struct fifo *f)
{
    *w = (struct fifo_walk){.fifo = f, .next = f->head};
}

static struct fifo_block *in_memory(const struct fifo *f, uint64_t index)
{
    if (f->tail_block->index == index)
        return f->tail_block;
    if (f->head_block != NULL && f->head_block->index == index)
        return f->head_block;
    if (f->vfs != NULL)
        return NULL;
    assert(f->head_block != NULL); /* with blocks between head and tail they are two */
    return *middle_at(f, index - f->head_block->index - 1);
}

static beck_status walk_load(struct fifo_walk *w, uint64_t index, beck_error *err)
{
    if (w->block == NULL) {
        w->block = malloc(FIFO_BLOCK_BYTES);
        if (w->block == NULL)
            return no_memory(err);
    }
    char path[PATH_BYTES];
    struct fifo_place place = place_of(w->fifo, index, path);
    w->loaded = false;
    beck_status status =
        fifo_block_read(&place, index, w->next, (index + 1) * FIFO_BLOCK_ENTRIES, w->block, err);
    if (status != BECK_OK)
        return status;
    w->block_first = get_u64(w->block);
    w->loaded = true;
    return BECK_OK;
}

beck_status fifo_walk_next(struct fifo_walk *w, struct entry *out, beck_error *err)
{
    struct fifo *f = w->fifo;
    if (w->next < f->head)
        w->next = f->head;
    if (w->next == f->tail)
        return BECK_END;
    uint64_t index = w->next / FIFO_BLOCK_ENTRIES;
    struct fifo_block *b = in_memory(f, index);
    const uint8_t *p;
    if (b != NULL) {
        p = fifo_block_at(b, w->next);
    } else {
        if (!w->loaded || w->block_first / FIFO_BLOCK_ENTRIES != index) {
            beck_status status = walk_load(w, index, err);
            if (status != BECK_OK)
                return status;
        }
        p = w->block + FIFO_HEADER_BYTES + FIFO_ENTRY_BYTES * (w->next - w->block_first);
    }
    get_entry(f, p, w->next, out);
    w->next++;
    return BECK_OK;
}

void fifo_walk_end(struct fifo_walk *w)
{
    free(w->block);
    *w = (struct fifo_walk){0};
}

/* ---- files ---- */

void fifo_clear(struct fifo *f)
{
    f->head = f->tail;
    free_middle(f);
    if (f->head_block != f->tail_block)
        free(f->head_block);
    f->head_block = f->tail_block;
    if (f->poisoned && f->tail_block != NULL) /* what it has in the file may be lost */
        fifo_block_reuse(f->tail_block, f->tail_block->index, f->tail_block->first);
    become_empty(f);
    f->poisoned = false;
    fifo_trim(f, f->head);
}

static void each_block(struct fifo *f, void (*each)(struct fifo_block *b))
{
    if (f->head_block != NULL)
        each(f->head_block);
    if (f->tail_block != NULL && f->tail_block != f->head_block)
        each(f->tail_block);
}

beck_status fifo_write(struct fifo *f, struct fifo_sync *out, beck_error *err)
{
    *out = (struct fifo_sync){0};
    if (f->poisoned)
        return error_set(
            err, BECK_EPOISONED,
            "a sync of files of the queue in \"%s\" failed earlier, so its position is "
            "not saved any more; look at the disk, then open again",
            f->dir);
    if (f->vfs == NULL || f->head == f->tail)
        return BECK_OK;
    beck_status status = BECK_OK;
    if (f->head_block != NULL && f->head_block != f->tail_block)
        status = write_block(f, f->head_block, f->head_block->end, err);
    if (status == BECK_OK)
        status = write_block(f, f->tail_block, f->tail, err);
    if (status != BECK_OK || f->unsynced_file == UINT64_MAX)
        return status;
    uint64_t first = file_of(f->head);
    out->file = f->unsynced_file > first ? f->unsynced_file : first;
    out->end_file = file_of(f->tail - 1) + 1;
    out->names = f->names_unsynced;
    f->unsynced_file = UINT64_MAX;
    f->names_unsynced = false;
    each_block(f, fifo_block_begin_sync);
    return BECK_OK;
}

beck_status fifo_sync(const struct fifo *f, struct fifo_sync *s, beck_error *err)
{
    beck_status status = BECK_OK;
    char path[PATH_BYTES];
    for (uint64_t i = s->file; i < s->end_file; i++) {
        path_of(f, i, path);
        struct file *file;
        status = vfs_open(f->vfs, path, VFS_WRITE, &file, err);
        if (status != BECK_OK)
            return status;
        status = file_sync(file, err);
        file_close(file);
        s->failed = status != BECK_OK;
        if (s->failed)
            return status;
    }
    if (s->names) {
        status = vfs_sync_dir(f->vfs, f->dir, err);
        s->failed = status != BECK_OK;
    }
    return status;
}

static void block_synced(struct fifo_block *b)
{
    fifo_block_end_sync(b, true);
}

static void block_not_synced(struct fifo_block *b)
{
    fifo_block_end_sync(b, false);
}

void fifo_synced(struct fifo *f, const struct fifo_sync *s, bool synced)
{
    if (s->file == s->end_file)
        return;
    each_block(f, synced ? block_synced : block_not_synced);
    if (synced)
        return;
    if (s->file < f->unsynced_file)
        f->unsynced_file = s->file;
    f->names_unsynced |= s->names;
    f->poisoned |= s->failed;
}

struct old_files {
    struct fifo *fifo;
    uint64_t upto; /* files with lower numbers go */
};

static bool parse_name(const char *name, uint32_t *level, uint64_t *number)
{
    char again[64];
    if (sscanf(name, "%" SCNu32 "-%" SCNu64, level, number) != 2)
        return false;
    snprintf(again, sizeof again, NAME_FORMAT, *level, *number);
    return strcmp(name, again) == 0;
}

static int remove_old(void *ctx, const char *name, bool is_dir)
{
    struct old_files *old = ctx;
    uint32_t level;
    uint64_t number;
    if (is_dir || !parse_name(name, &level, &number) || level != old->fifo->level ||
        number >= old->upto)
        return 0;
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/" NAME_FORMAT, old->fifo->dir, level, number);
    vfs_unlink(old->fifo->vfs, path, NULL);
    return 0;
}

void fifo_trim(struct fifo *f, uint64_t head)
{
    if (f->vfs == NULL)
        return;
    uint64_t upto = file_of(head < f->head ? head : f->head);
    if (!f->trimmed_once) { /* an earlier process may have left some */
        struct old_files old = {f, upto * FILE_ENTRIES};
        if (vfs_list(f->vfs, f->dir, remove_old, &old, NULL) == BECK_OK)
            f->trimmed_once = true;
    }
    char path[PATH_BYTES];
    for (; f->trimmed_file < upto; f->trimmed_file++) {
        path_of(f, f->trimmed_file, path);
        vfs_unlink(f->vfs, path, NULL);
    }
}

struct removal {
    struct vfs *vfs;
    const char *dir;
    beck_status status;
    beck_error *err;
};

static int remove_any(void *ctx, const char *name, bool is_dir)
{
    struct removal *r = ctx;
    uint32_t level;
    uint64_t number;
    if (is_dir || !parse_name(name, &level, &number))
        return 0;
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", r->dir, name);
    beck_status status = vfs_unlink(r->vfs, path, r->err);
    if (status == BECK_ENOENT)
        return 0;
    r->status = status;
    return status == BECK_OK ? 0 : 1;
}

beck_status fifo_remove_files(struct vfs *v, const char *dir, beck_error *err)
{
    struct removal r = {v, dir, BECK_OK, err};
    beck_status status = vfs_list(v, dir, remove_any, &r, err);
    return status == BECK_OK ? r.status : status;
}
