/* Going through stored batches one by one, those of open transactions and control batches included. */
#include "log/partition_impl.h"

#define READ_BYTES (256u << 10)

struct walk {
    struct partition *p;
    int64_t next, to;
    partition_batch_fn fn;
    void *ctx;
    struct buf room;
};

static beck_status walk_range(struct walk *w, const struct partition_range *r, beck_error *err)
{
    beck_bytes bytes = r->bytes;
    beck_status status = BECK_OK;
    if (!r->block) {
        size_t got = 0;
        buf_clear(&w->room);
        status = buf_reserve(&w->room, r->len);
        if (status)
            return error_set(err, status, "no memory to read %zu bytes", r->len);
        status = segment_read(r->segment, w->room.data, r->len, r->position, &got, err);
        bytes = bytes_of(w->room.data, got);
    }
    struct batch_header h;
    int64_t before = w->next;
    const uint8_t *at = bytes.data;
    while (!status && w->next < w->to && bytes.len >= BATCH_HEADER &&
           !(status = batch_header_read(at, &h, err)) && batch_size(&h) <= bytes.len) {
        if (batch_last_offset(&h) >= before)
            status = w->fn(w->ctx, &h, bytes_of(at, batch_size(&h)), err);
        w->next = batch_last_offset(&h) + 1;
        at += batch_size(&h);
        bytes.len -= batch_size(&h);
    }
    if (!status && w->next == before)
        status = error_set(err, BECK_ECORRUPT, "bus \"%s\" has no whole batch at offset %lld",
                           w->p->bus, (long long)before);
    return status;
}

beck_status partition_each_batch(struct partition *p, int64_t from, int64_t to,
                                 partition_batch_fn fn, void *ctx, beck_error *err)
{
    struct walk w = {.p = p, .next = from, .to = to, .fn = fn, .ctx = ctx};
    beck_status status = BECK_OK;
    buf_init(&w.room, 2 * GATHER_BYTES_MAX);
    while (w.next < to && !status) {
        struct partition_range r;
        status = partition_fetch(p, w.next, READ_BYTES, PARTITION_ONE_AT_LEAST, &r, err);
        /* Retention was faster. */
        if (status == BECK_ERANGE && w.next < partition_first(p)) {
            w.next = partition_first(p);
            status = BECK_OK;
            continue;
        }
        if (status || r.len == 0)
            break;
        status = walk_range(&w, &r, err);
        partition_range_release(&r);
    }
    buf_release(&w.room);
    return status == BECK_END ? BECK_OK : status;
}
