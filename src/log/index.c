/*
 * The sparse indexes of a segment. The table of their bytes is in index.h.
 *
 * An index is `stored` entries in the file and, behind them, some in a buffer. It is always right,
 * because both parts are: entries are only ever added behind the last one, and what lies in the
 * file behind the stored ones (Kafka's preallocated zeros, a torn entry, the rest of a failed
 * write) is cut off before anything is written. A lookup halves the stored part by reading single
 * entries until what is left fits into one block, and searches that.
 */
#include "log/index.h"

#include "base/bytes.h"
#include "base/error.h"

#include <assert.h>
#include <stdlib.h>

#define ENTRY_MAX 12
#define BLOCK 4080 /* bytes; a multiple of both entry sizes */

struct entry {
    int64_t key;   /* relative offset, or timestamp */
    int32_t value; /* position, or relative offset */
};

struct index {
    enum index_kind kind; /* the size of an entry */
    bool read_only;
    bool trim;  /* the file goes on behind the stored entries */
    bool dirty; /* written since the last sync, as far as is known */
    struct file *file;
    char *path;
    uint32_t stored;
    uint32_t buffered;
    struct entry last; /* meaningless when empty */
    uint8_t buffer[BLOCK];
};

static size_t entry_size(const struct index *x)
{
    return (size_t)x->kind;
}

static struct entry entry_get(const struct index *x, const uint8_t *p)
{
    if (x->kind == INDEX_OFFSET)
        return (struct entry){(int32_t)get_u32(p), (int32_t)get_u32(p + 4)};
    return (struct entry){(int64_t)get_u64(p), (int32_t)get_u32(p + 8)};
}

static void entry_put(const struct index *x, uint8_t *p, struct entry e)
{
    if (x->kind == INDEX_OFFSET) {
        put_u32(p, (uint32_t)e.key);
        put_u32(p + 4, (uint32_t)e.value);
    } else {
        put_u64(p, (uint64_t)e.key);
        put_u32(p + 8, (uint32_t)e.value);
    }
}

static beck_status damaged(const struct index *x, uint32_t entry, const char *what, beck_error *err)
{
    return error_set(err, BECK_ECORRUPT,
                     "entry %u of index '%s' is wrong: %s; delete the file, it will be made again",
                     entry, x->path, what);
}

/* Reads `count` stored entries from `first` on. */
static beck_status read_entries(struct index *x, enum vfs_how how, uint32_t first, uint32_t count,
                                uint8_t *out, beck_error *err)
{
    size_t want = count * entry_size(x);
    size_t got;
    int64_t position = (int64_t)first * (int64_t)entry_size(x);
    beck_status st = file_read_how(x->file, how, out, want, position, &got, err);

    if (st == BECK_OK && got < want)
        return damaged(x, first, "the file ends before it", err);
    return st;
}

static beck_status read_entry(struct index *x, enum vfs_how how, uint32_t i, struct entry *out,
                              beck_error *err)
{
    uint8_t bytes[ENTRY_MAX];
    beck_status st;

    if (i >= x->stored) {
        *out = entry_get(x, x->buffer + (i - x->stored) * entry_size(x));
        return BECK_OK;
    }
    st = read_entries(x, how, i, 1, bytes, err);
    if (st == BECK_OK)
        *out = entry_get(x, bytes);
    return st;
}

/* ---- opening ---- */

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0)
            return false;
    return true;
}

/* The number of entries without the zeros at the end. */
static beck_status count_entries(struct index *x, uint32_t in_file, beck_error *err)
{
    uint32_t per_block = (uint32_t)(BLOCK / entry_size(x));
    uint32_t n = in_file;

    while (n > 0) {
        uint32_t step = n < per_block ? n : per_block;
        beck_status st = read_entries(x, false, n - step, step, x->buffer, err);

        if (st != BECK_OK)
            return st;
        for (; step > 0; step--, n--)
            if (!all_zero(x->buffer + (step - 1) * entry_size(x), entry_size(x))) {
                x->stored = n;
                return read_entry(x, false, n - 1, &x->last, err);
            }
    }
    x->stored = 0;
    return BECK_OK;
}

static beck_status open_file(struct index *x, struct vfs *v, beck_error *err)
{
    unsigned flags = x->read_only ? VFS_READ : VFS_WRITE | VFS_CREATE;
    int64_t size;
    if (x->read_only && !vfs_exists(v, x->path))
        return BECK_OK;
    beck_status st = vfs_open(v, x->path, flags, &x->file, err);

    if (st == BECK_OK)
        st = file_size(x->file, &size, err);
    if (st != BECK_OK)
        return st;
    if (size / (int64_t)entry_size(x) > INT32_MAX)
        return error_set(
            err, BECK_ECORRUPT,
            "index '%s' cannot have %lld bytes; delete the file, it will be made again", x->path,
            (long long)size);
    st = count_entries(x, (uint32_t)(size / (int64_t)entry_size(x)), err);
    x->trim = size != (int64_t)x->stored * (int64_t)entry_size(x);
    x->dirty = size > 0; /* by who had it open before */
    return st;
}

beck_status index_open(struct vfs *v, const char *path, enum index_kind kind, bool read_only,
                       struct index **out, beck_error *err)
{
    struct index *x = calloc(1, sizeof *x);
    beck_status st;

    if (x == NULL || (x->path = strdup(path)) == NULL) {
        free(x);
        return error_set(err, BECK_ENOMEM, "no memory left for index '%s'", path);
    }
    x->kind = kind;
    x->read_only = read_only;
    st = open_file(x, v, err);
    if (st != BECK_OK) {
        index_close(x);
        return st;
    }
    *out = x;
    return BECK_OK;
}

void index_close(struct index *x)
{
    if (x == NULL)
        return;
    file_close(x->file);
    free(x->path);
    free(x);
}

uint32_t index_count(const struct index *x)
{
    return x->stored + x->buffered;
}

/* ---- writing ---- */

static beck_status cut_tail(struct index *x, beck_error *err)
{
    beck_status st;

    if (!x->trim)
        return BECK_OK;
    x->dirty = true;
    st = file_truncate(x->file, (int64_t)x->stored * (int64_t)entry_size(x), err);
    if (st == BECK_OK)
        x->trim = false;
    return st;
}

beck_status index_flush(struct index *x, beck_error *err)
{
    beck_status st;

    if (x->read_only)
        return BECK_OK;
    st = cut_tail(x, err);
    if (st != BECK_OK || x->buffered == 0)
        return st;
    x->dirty = true;
    st = file_write(x->file, x->buffer, x->buffered * entry_size(x),
                    (int64_t)x->stored * (int64_t)entry_size(x), err);
    if (st != BECK_OK) {
        x->trim = true; /* a part of it may stand there */
        return st;
    }
    x->stored += x->buffered;
    x->buffered = 0;
    return BECK_OK;
}

beck_status index_sync(struct index *x, beck_error *err)
{
    beck_status st = index_flush(x, err);

    if (st != BECK_OK || !index_take_dirty(x))
        return st;
    st = file_sync(x->file, err);
    x->dirty = st != BECK_OK;
    return st;
}

bool index_take_dirty(struct index *x)
{
    bool dirty = x->dirty && !x->read_only;
    x->dirty = false;
    return dirty;
}

static beck_status append(struct index *x, struct entry e, beck_error *err)
{
    assert(!x->read_only);
    if ((x->buffered + 1) * entry_size(x) > BLOCK) {
        beck_status st = index_flush(x, err);

        if (st != BECK_OK)
            return st;
    }
    entry_put(x, x->buffer + x->buffered * entry_size(x), e);
    x->buffered++;
    x->last = e;
    return BECK_OK;
}

beck_status index_append_offset(struct index *x, int32_t relative_offset, int32_t position,
                                beck_error *err)
{
    assert(x->kind == INDEX_OFFSET);
    if (relative_offset < 0 || position < 0 ||
        (index_count(x) > 0 && (relative_offset <= x->last.key || position <= x->last.value)))
        return damaged(x, index_count(x), "offset and position must grow", err);
    return append(x, (struct entry){relative_offset, position}, err);
}

beck_status index_append_time(struct index *x, int64_t timestamp_ms, int32_t relative_offset,
                              beck_error *err)
{
    assert(x->kind == INDEX_TIME);
    if (index_count(x) > 0 && timestamp_ms <= x->last.key)
        return BECK_OK;
    if (relative_offset < 0 || (index_count(x) > 0 && relative_offset < x->last.value))
        return damaged(x, index_count(x), "offsets must not fall", err);
    return append(x, (struct entry){timestamp_ms, relative_offset}, err);
}

/* ---- searching ---- */

static int64_t field(struct entry e, bool by_value)
{
    return by_value ? e.value : e.key;
}

/* How many of `count` entries at `p`, in ascending order, are below the bound. */
static uint32_t count_below_in(const struct index *x, const uint8_t *p, uint32_t count,
                               bool by_value, int64_t bound)
{
    uint32_t low = 0;

    while (low < count) {
        uint32_t middle = low + (count - low) / 2;

        if (field(entry_get(x, p + middle * entry_size(x)), by_value) < bound)
            low = middle + 1;
        else
            count = middle;
    }
    return low;
}

/* How many entries have a key (or value) below the bound. */
static beck_status count_below(struct index *x, enum vfs_how how, bool by_value, int64_t bound,
                               uint32_t *out, beck_error *err)
{
    uint32_t low = 0, high = x->stored;
    uint32_t per_block = (uint32_t)(BLOCK / entry_size(x));
    uint8_t block[BLOCK];
    beck_status st;

    if (x->buffered > 0 && field(entry_get(x, x->buffer), by_value) < bound) {
        *out = x->stored + count_below_in(x, x->buffer, x->buffered, by_value, bound);
        return BECK_OK;
    }
    while (high - low > per_block) {
        uint32_t middle = low + (high - low) / 2;
        struct entry e;

        st = read_entry(x, how, middle, &e, err);
        if (st != BECK_OK)
            return st;
        if (field(e, by_value) < bound)
            low = middle + 1;
        else
            high = middle;
    }
    if (high > low) {
        st = read_entries(x, how, low, high - low, block, err);
        if (st != BECK_OK)
            return st;
        low += count_below_in(x, block, high - low, by_value, bound);
    }
    *out = low;
    return BECK_OK;
}

static beck_status lookup(struct index *x, enum vfs_how how, int64_t bound, int32_t *out,
                          beck_error *err)
{
    uint32_t n;
    struct entry e = {0, 0};
    beck_status st = count_below(x, how, false, bound, &n, err);

    if (st == BECK_OK && n > 0)
        st = read_entry(x, how, n - 1, &e, err);
    if (st != BECK_OK)
        return st;
    if (e.value < 0)
        return damaged(x, n - 1, "it is negative", err);
    *out = e.value;
    return BECK_OK;
}

beck_status index_lookup_offset(struct index *x, enum vfs_how how, int32_t relative_offset,
                                int32_t *position, beck_error *err)
{
    assert(x->kind == INDEX_OFFSET);
    return lookup(x, how, (int64_t)relative_offset + 1, position, err);
}

beck_status index_lookup_time(struct index *x, int64_t timestamp_ms, int32_t *relative_offset,
                              beck_error *err)
{
    assert(x->kind == INDEX_TIME);
    return lookup(x, false, timestamp_ms, relative_offset, err);
}

bool index_last_offset(struct index *x, int32_t *relative_offset, int32_t *position)
{
    assert(x->kind == INDEX_OFFSET);
    if (index_count(x) == 0)
        return false;
    *relative_offset = (int32_t)x->last.key;
    *position = x->last.value;
    return true;
}

bool index_last_time(struct index *x, int64_t *timestamp_ms, int32_t *relative_offset)
{
    assert(x->kind == INDEX_TIME);
    if (index_count(x) == 0)
        return false;
    *timestamp_ms = x->last.key;
    *relative_offset = x->last.value;
    return true;
}

/* ---- truncation and checking ---- */

beck_status index_truncate(struct index *x, int64_t limit, beck_error *err)
{
    uint32_t n;
    struct entry last = x->last;
    beck_status st;

    assert(!x->read_only);
    st = count_below(x, false, true, limit, &n, err);
    if (st != BECK_OK || n == index_count(x))
        return st;
    if (n > 0 && (st = read_entry(x, false, n - 1, &last, err)) != BECK_OK)
        return st;
    if (n < x->stored) {
        st = file_truncate(x->file, (int64_t)n * (int64_t)entry_size(x), err);
        if (st != BECK_OK)
            return st;
        x->stored = n;
        x->trim = false;
        x->dirty = true;
    }
    x->buffered = n - x->stored;
    x->last = last;
    return BECK_OK;
}

void index_forget(struct index *x)
{
    x->stored = x->buffered = 0;
    x->trim = true;
}

static const char *entry_wrong(const struct index *x, bool first, struct entry before,
                               struct entry e, int64_t log_size)
{
    if (e.value < 0 || (x->kind == INDEX_OFFSET && e.key < 0))
        return "it is negative";
    if (!first && e.key <= before.key)
        return x->kind == INDEX_OFFSET ? "its offset does not grow" : "its timestamp does not grow";
    if (!first && x->kind == INDEX_OFFSET && e.value <= before.value)
        return "its position does not grow";
    if (!first && x->kind == INDEX_TIME && e.value < before.value)
        return "its offset falls";
    if (x->kind == INDEX_OFFSET && e.value >= log_size)
        return "its position is behind the end of the log";
    return NULL;
}

beck_status index_check(struct index *x, int64_t log_size, beck_error *err)
{
    uint32_t per_block = (uint32_t)(BLOCK / entry_size(x));
    struct entry before = {0, 0};
    uint8_t block[BLOCK];

    for (uint32_t i = 0; i < index_count(x); i++) {
        struct entry e;
        const char *wrong;

        if (i < x->stored && i % per_block == 0) {
            uint32_t left = x->stored - i;
            beck_status st =
                read_entries(x, false, i, left < per_block ? left : per_block, block, err);

            if (st != BECK_OK)
                return st;
        }
        e = i < x->stored ? entry_get(x, block + i % per_block * entry_size(x))
                          : entry_get(x, x->buffer + (i - x->stored) * entry_size(x));
        wrong = entry_wrong(x, i == 0, before, e, log_size);
        if (wrong != NULL)
            return damaged(x, i, wrong, err);
        before = e;
    }
    return BECK_OK;
}

beck_status index_lookup_position(struct index *x, enum vfs_how how, int64_t limit,
                                  int32_t *position, beck_error *err)
{
    uint32_t n;
    struct entry e = {0, 0};
    assert(x->kind == INDEX_OFFSET);
    beck_status st = count_below(x, how, true, limit + 1, &n, err);

    if (st == BECK_OK && n > 0)
        st = read_entry(x, how, n - 1, &e, err);
    *position = e.value;
    return st;
}
