/* Reading stored batches: see share_records.h. They are copied, so that only those are sent of which
 * somebody has a record: what was released, and what is new, may lie far apart. */
#include "kafka/share_records.h"

#include "base/error.h"
#include "log/batch.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define READ_BYTES (256u << 10) /* at once */
#define LENGTH_AT 8             /* in a batch: bytes behind it, and of what stands before */
#define LENGTH_BEFORE 12
#define LAST_DELTA_AT 23
#define HEADER_BYTES 61

/* The bytes of a range, in memory. */
static beck_status load(const struct partition_range *range, struct buf *scratch, beck_bytes *out,
                        beck_error *err)
{
    if (range->block) {
        *out = range->bytes;
        return BECK_OK;
    }
    buf_clear(scratch);
    beck_status status = buf_reserve(scratch, range->len);
    if (status)
        return error_set(err, status, "no memory for records");
    for (size_t have = 0; have < range->len;) {
        ssize_t n = pread(range->fd, scratch->data + have, range->len - have,
                          (off_t)(range->position + (int64_t)have));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(err, BECK_EIO, "records cannot be read");
        have += (size_t)n;
    }
    *out = bytes_of(scratch->data, range->len);
    return BECK_OK;
}

struct reading {
    const int64_t *offsets;
    size_t count, at; /* the first that is not decided */
    size_t bytes_max;
    bool one_at_least;
    struct share_records *out;
    enum share_found *found;
};

/* One whole batch; false: no room for it. */
static beck_status take(struct reading *r, const uint8_t *batch, size_t size, bool *room,
                        beck_error *err)
{
    int64_t base = (int64_t)get_u64(batch);
    int64_t last = base + (int32_t)get_u32(batch + LAST_DELTA_AT);
    for (; r->at < r->count && r->offsets[r->at] < base; r->at++)
        r->found[r->at] = SHARE_LOST;
    *room = true;
    if (r->at == r->count || r->offsets[r->at] > last)
        return BECK_OK;
    size_t have = r->out->bytes.len;
    if (have + size > r->bytes_max && !(r->one_at_least && have == 0)) {
        *room = false;
        return BECK_OK;
    }
    if (buf_append(&r->out->bytes, batch, size))
        return error_set(err, BECK_ENOMEM, "no memory for records");
    r->out->last = last;
    for (; r->at < r->count && r->offsets[r->at] <= last; r->at++)
        r->found[r->at] = SHARE_FOUND;
    return BECK_OK;
}

/* The whole batches of what was read; *more: there may be more behind. */
static beck_status take_all(struct reading *r, beck_bytes bytes, bool *more, beck_error *err)
{
    const uint8_t *p = bytes.data;
    beck_status status = BECK_OK;
    *more = true;
    for (size_t left = bytes.len; left >= HEADER_BYTES && r->at < r->count && !status && *more;) {
        size_t size = (size_t)get_u32(p + LENGTH_AT) + LENGTH_BEFORE;
        if (size > left)
            break;
        status = take(r, p, size, more, err);
        p += size;
        left -= size;
    }
    return status;
}

beck_status share_records_read(struct partition *p, const int64_t *offsets, size_t count,
                               size_t bytes_max, bool one_at_least, struct share_records *out,
                               enum share_found *found, beck_error *err)
{
    struct reading r = {offsets, count, 0, bytes_max, one_at_least, out, found};
    struct buf scratch;
    beck_status status = BECK_OK;
    bool more = true;
    buf_init(&scratch, SIZE_MAX);
    int64_t first = partition_first(p);
    for (; r.at < count && offsets[r.at] < first; r.at++)
        found[r.at] = SHARE_LOST;
    while (r.at < count && !status && more) {
        struct partition_range range = {0};
        beck_bytes bytes = {0};
        size_t before = r.at;
        status = partition_fetch(p, offsets[r.at], READ_BYTES,
                                 PARTITION_ONE_AT_LEAST | PARTITION_COMMITTED, &range, err);
        if (status || range.len == 0)
            break;
        status = load(&range, &scratch, &bytes, err);
        if (!status)
            status = take_all(&r, bytes, &more, err);
        partition_range_release(&range);
        more &= r.at > before;
    }
    buf_release(&scratch);
    if (status == BECK_ERANGE)
        status = BECK_OK;
    for (; r.at < count; r.at++)
        found[r.at] = SHARE_LATER;
    return status;
}
