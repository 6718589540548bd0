/*
 * Cursors: see cursor.h.
 *
 * A cursor stands at a position of a segment and has a block that covers it: one of the partition's
 * own (tail cache, or all there is in memory), shared and still growing, or one that it read from
 * the file. Within a block it steps from batch to batch by their headers; where it must look for an
 * offset it asks the index, under the lock. Batches from the file have their checksum verified;
 * blocks of the partition were made in this process.
 */
#include "log/cursor.h"
#include "log/partition_impl.h"

#include <assert.h>
#include <stdlib.h>

#define READ_BYTES (64u << 10)
#define DECOMPRESSED_MAX (256u << 20)

struct cursor {
    struct partition *p;
    struct segment *segment; /* used; NULL in memory, or before the first read */
    struct block *block;     /* covers `position` or ends there; NULL: none */
    bool own;                /* the block was read from the file by this cursor */
    int64_t position;        /* of the next batch */
    int64_t next;            /* offset behind the last batch read; -1: unknown */
    int64_t visible;         /* readers saw offsets below it when this cursor looked last */
    bool open;               /* a batch is being read */
    struct batch_records batch;
    bool in_memory_of_codec; /* its records are in `unpacked` */
    struct codec codec;
    struct buf unpacked;
    struct record_view view;
};

beck_status cursor_open(struct partition *p, struct cursor **out, beck_error *err)
{
    beck_status status = partition_check_damage(p, err);
    if (status)
        return status;
    struct cursor *c = calloc(1, sizeof *c);
    if (!c)
        return error_set(err, BECK_ENOMEM, "no memory for a cursor");
    c->p = p;
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    c->next = -1;
    codec_init(&c->codec);
    buf_init(&c->unpacked, DECOMPRESSED_MAX);
    *out = c;
    return BECK_OK;
}

static void leave_segment(struct cursor *c)
{
    if (c->segment)
        segment_unuse(c->segment);
    c->segment = NULL;
}

void cursor_close(struct cursor *c)
{
    if (!c)
        return;
    if (c->segment) {
        mutex_lock(&c->p->lock);
        leave_segment(c);
        mutex_unlock(&c->p->lock);
    }
    block_release(c->block);
    codec_release(&c->codec);
    buf_release(&c->unpacked);
    partition_unref(c->p);
    free(c);
}

struct block *cursor_block(struct cursor *c)
{
    return c->in_memory_of_codec ? NULL : c->block;
}

static void set_block(struct cursor *c, struct block *b, bool own)
{
    block_release(c->block);
    c->block = b;
    c->own = own;
}

/* Whether the offset is visible. Looks again only when it must: whoever writes moves what is to be
 * looked at from one processor to the other. */
static bool sees(struct cursor *c, int64_t offset)
{
    if (offset >= c->visible)
        c->visible = partition_visible(c->p);
    return offset < c->visible;
}

/* ---- finding the place ---- */

/* Stands at the beginning of a block of the partition; takes the reference. */
static beck_status stand_at(struct cursor *c, struct block *b)
{
    set_block(c, b, false);
    if (!b)
        return BECK_END;
    c->position = b->position;
    c->next = -1;
    return BECK_OK;
}

static beck_status seek_memory(struct cursor *c, int64_t offset)
{
    struct block *b = tail_at(&c->p->tail, offset);
    return stand_at(c, b ? b : tail_next(&c->p->tail, offset));
}

/* Blocks that nobody is owed are gone, so the next one need not begin where this one ends. */
static beck_status next_block(struct cursor *c)
{
    struct block *b = tail_next(&c->p->tail, c->block->base_offset);
    return b ? stand_at(c, b) : BECK_END;
}

static beck_status seek_disk(struct cursor *c, int64_t offset, beck_error *err)
{
    struct partition *p = c->p;
    beck_status status = BECK_OK;
    mutex_lock(&p->lock);
    ptrdiff_t index = partition_find_segment(p, offset);
    assert(index >= 0);
    /* A segment may end before the offset that its successor begins with. */
    struct segment *s = p->segments[index];
    assert(s);
    if (s != c->segment) {
        leave_segment(c);
        status = segment_use(s, err);
        if (!status)
            c->segment = s;
    }
    if (!status)
        status = segment_seek_offset(s, VFS_WAITING, offset, &c->position, err);
    mutex_unlock(&p->lock);
    /* At the beginning of a segment it is known what comes next. */
    c->next = status || c->position > 0 ? -1 : offset < s->base_offset ? offset : s->base_offset;
    return status;
}

static beck_status seek(struct cursor *c, int64_t offset, beck_error *err)
{
    c->open = false;
    return c->p->options.memory ? seek_memory(c, offset) : seek_disk(c, offset, err);
}

/* At the end of a segment's file: goes to the segment behind it. BECK_END: there is none. */
static beck_status next_segment(struct cursor *c, beck_error *err)
{
    struct partition *p = c->p;
    beck_status status = BECK_END;
    mutex_lock(&p->lock);
    for (size_t i = 0; i < p->segment_count; i++) {
        struct segment *s = p->segments[i];
        if (s->base_offset <= c->segment->base_offset)
            continue;
        status = segment_use(s, err);
        if (!status) {
            leave_segment(c);
            c->segment = s;
            c->position = 0;
        }
        break;
    }
    mutex_unlock(&p->lock);
    return status;
}

/* ---- having the bytes ---- */

/* How much of the block lies at and behind the position. */
static size_t block_left(const struct cursor *c)
{
    if (!c->block || (c->segment && c->block->segment != c->segment->base_offset))
        return 0;
    int64_t from = c->position - c->block->position;
    int64_t len = (int64_t)atomic_load_explicit(&c->block->len, memory_order_acquire);
    return from < 0 || from >= len ? 0 : (size_t)(len - from);
}

static const uint8_t *block_at(const struct cursor *c)
{
    return c->block->data + (c->position - c->block->position);
}

static beck_status fill_from_file(struct cursor *c, size_t want, beck_error *err)
{
    size_t cap = want > READ_BYTES ? want : READ_BYTES;
    struct block *b = c->block;
    bool reuse = b && c->own && b->cap >= cap && atomic_load(&b->refs) == 1;
    if (!reuse) {
        b = block_new(cap);
        if (!b)
            return error_set(err, BECK_ENOMEM, "no memory to read %zu bytes of \"%s\"", cap,
                             c->p->dir);
        set_block(c, b, true);
    }
    b->segment = c->segment->base_offset;
    b->position = c->position;
    size_t got = 0;
    atomic_store(&b->len, 0);
    beck_status status = segment_read(c->segment, b->data, b->cap, c->position, &got, err);
    atomic_store(&b->len, got);
    return status;
}

/* Makes at least `want` bytes at the position available; fewer only at the end of what is written
 * (*left says). */
static beck_status fill(struct cursor *c, size_t want, size_t *left, beck_error *err)
{
    *left = block_left(c);
    if (*left >= want || c->p->options.memory)
        return BECK_OK;
    struct block *b = tail_find(&c->p->tail, c->segment->base_offset, c->position);
    beck_status status = BECK_OK;
    if (b)
        set_block(c, b, false);
    else if (c->position < atomic_load_explicit(&c->segment->size, memory_order_acquire))
        status = fill_from_file(c, want, err);
    *left = status ? 0 : block_left(c);
    return status;
}

/* ---- reading ---- */

static beck_status damaged(struct cursor *c, int64_t *skip_to, const beck_error *why,
                           beck_error *err)
{
    struct partition *p = c->p;
    /* Behind damage the next place that is known is the next segment. */
    mutex_lock(&p->lock);
    int64_t beyond = p->next;
    for (size_t i = 0; i < p->segment_count; i++) {
        if (c->segment && p->segments[i]->base_offset > c->segment->base_offset) {
            beyond = p->segments[i]->base_offset;
            break;
        }
    }
    mutex_unlock(&p->lock);
    if (skip_to)
        *skip_to = beyond;
    c->next = -1;
    c->open = false;
    set_block(c, NULL, false);
    return error_set(err, BECK_ECORRUPT,
                     "\"%s/%020lld.log\" is damaged at byte %lld: %s; events up to offset %lld "
                     "cannot be read: " PARTITION_REMEDY,
                     p->dir, c->segment ? (long long)c->segment->base_offset : 0LL,
                     (long long)c->position, why->text, (long long)beyond - 1);
}

/* Whether the offsets from c->next to `end` should be there. What retention took lies below first,
 * and compaction says how far it has come. */
static bool is_missing(struct cursor *c, int64_t offset, int64_t end)
{
    struct partition *p = c->p;
    if (c->next < 0 || end <= c->next || end <= offset || p->options.memory)
        return false;
    mutex_lock(&p->lock);
    bool missing = offset >= p->first && !partition_may_lack(p, end);
    mutex_unlock(&p->lock);
    return missing;
}

static beck_status say_missing(struct cursor *c, int64_t end, int64_t *skip_to, beck_error *err)
{
    int64_t from = c->next, first = partition_first(c->p);
    if (skip_to)
        *skip_to = end;
    c->next = -1;
    c->open = false;
    return error_set(err, BECK_ECORRUPT,
                     "\"%s\": events %lld to %lld are missing; " PARTITION_REMEDY, c->p->dir,
                     (long long)(from < first ? first : from), (long long)end - 1);
}

static void pass_over(struct cursor *c, const struct batch_header *h)
{
    c->position += (int64_t)batch_size(h);
    c->next = batch_last_offset(h) + 1;
}

/* Opens the batch at the position, or steps over it when all of it lies before `offset`, and over what
 * is no event or of a transaction that was aborted. BECK_END: nothing (visible) there. */
static beck_status next_batch(struct cursor *c, int64_t offset, int64_t *skip_to, beck_error *err)
{
    size_t left;
    beck_error why;
    error_clear(&why);
    beck_status status = fill(c, BATCH_HEADER, &left, err);
    if (status)
        return status;
    if (left < BATCH_HEADER) {
        if (left > 0)
            return damaged(c, skip_to, &(beck_error){.text = "it ends inside of a batch"}, err);
        return BECK_END;
    }
    struct batch_header h;
    if (batch_header_read(block_at(c), &h, &why))
        return damaged(c, skip_to, &why, err);
    if (!sees(c, h.base_offset))
        return BECK_END;
    if (is_missing(c, offset, h.base_offset))
        return say_missing(c, h.base_offset, skip_to, err);
    if (batch_last_offset(&h) < offset) {
        pass_over(c, &h);
        return BECK_OK;
    }
    status = fill(c, batch_size(&h), &left, err);
    if (status)
        return status;
    if (left < batch_size(&h))
        return damaged(c, skip_to, &(beck_error){.text = "it ends inside of a batch"}, err);
    beck_bytes bytes = bytes_of(block_at(c), batch_size(&h));
    if (c->own && !batch_crc_fits(bytes.data, bytes.len))
        return damaged(c, skip_to, &(beck_error){.text = "the checksum does not fit"}, err);
    if ((h.attributes & BATCH_CONTROL) ||
        ((h.attributes & BATCH_TRANSACTIONAL) && partition_is_aborted(c->p, &h))) {
        pass_over(c, &h);
        return BECK_OK;
    }
    buf_clear(&c->unpacked);
    status = batch_records_open(&c->batch, bytes, &c->codec, &c->unpacked, &why);
    if (status == BECK_ECORRUPT)
        return damaged(c, skip_to, &why, err);
    if (status)
        return error_set(err, status, "%s", why.text);
    c->in_memory_of_codec = (h.attributes & BATCH_CODEC_MASK) != 0;
    c->open = true;
    pass_over(c, &h);
    return BECK_OK;
}

/* The record at or behind the offset in the open batch. BECK_END: there is none. */
static beck_status next_record(struct cursor *c, int64_t offset, int64_t *skip_to, beck_error *err)
{
    for (;;) {
        beck_error why;
        error_clear(&why);
        beck_status status = batch_records_next(&c->batch, &c->p->context, &c->view, &why);
        if (status == BECK_END) {
            c->open = false;
            return BECK_END;
        }
        if (status)
            return damaged(c, skip_to, &why, err);
        if (c->view.offset >= offset)
            return BECK_OK;
    }
}

/* Whether going on from where the cursor stands finds the offset soonest. */
static bool stands_well(const struct cursor *c, int64_t offset)
{
    if (c->next < 0 || offset < c->next)
        return false;
    return offset == c->next || block_left(c) >= BATCH_HEADER;
}

static __attribute__((noinline)) beck_status find(struct cursor *c, int64_t offset,
                                                  const struct record_view **out, int64_t *skip_to,
                                                  beck_error *err)
{
    struct partition *p = c->p;
    beck_status status;
    /* In the open batch, in front of us? */
    if (c->open && offset > c->view.offset && offset < c->next) {
        if (batch_records_follow(&c->batch, &p->context, &c->view) && c->view.offset >= offset) {
            *out = &c->view;
            return BECK_OK;
        }
        status = next_record(c, offset, skip_to, err);
        if (status != BECK_END)
            goto found;
        offset = offset > c->next ? offset : c->next;
        if (!sees(c, offset))
            return BECK_END;
    }
    c->open = false;
    if (!stands_well(c, offset)) {
        status = seek(c, offset, err);
        if (status)
            return status;
    }
    for (;;) {
        status = next_batch(c, offset, skip_to, err);
        if (status == BECK_END) {
            if (!sees(c, offset))
                return BECK_END;
            /* Visible, but not here: in the next block or segment. */
            status = p->options.memory ? next_block(c) : next_segment(c, err);
            if (status)
                return status;
            continue;
        }
        if (status)
            return status;
        if (!c->open)
            continue;
        status = next_record(c, offset, skip_to, err);
        if (status != BECK_END)
            goto found;
    }
found:
    if (status)
        return status;
    *out = &c->view;
    return BECK_OK;
}

beck_status cursor_read(struct cursor *c, int64_t offset, bool below_first,
                        const struct record_view **out, int64_t *skip_to, beck_error *err)
{
    if (!below_first && offset < partition_first(c->p))
        offset = partition_first(c->p);
    if (!sees(c, offset))
        return BECK_END;
    /* Mostly it is the next one, and like the one before. */
    if (offset == c->view.offset + 1 && c->open &&
        batch_records_step(&c->batch, &c->p->context, &c->view)) {
        *out = &c->view;
        return BECK_OK;
    }
    return find(c, offset, out, skip_to, err);
}

beck_status cursor_walk(struct partition *p, int64_t from, int64_t end,
                        beck_status (*each)(void *ctx, const struct record_view *v,
                                            beck_error *err),
                        void *ctx, beck_error *err)
{
    struct cursor *c = NULL;
    int64_t at = from;
    if (at >= end)
        return BECK_OK;
    beck_status status = cursor_open(p, &c, err);
    while (!status && at < end) {
        const struct record_view *v;
        int64_t skip_to = 0;
        status = cursor_read(c, at, false, &v, &skip_to, err);
        if (status == BECK_ECORRUPT && skip_to > at) {
            at = skip_to;
            status = BECK_OK;
            continue;
        }
        if (status || v->offset >= end)
            break;
        at = v->offset + 1;
        status = each(ctx, v, err);
    }
    cursor_close(c);
    return status == BECK_END || status == BECK_ERANGE ? BECK_OK : status;
}
