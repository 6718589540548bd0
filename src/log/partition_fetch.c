/*
 * Stored batches as they are, for those who send them on: ranges of a block in memory or of a segment's file.
 *
 * A range from memory lasts to the end of its block. Where more is asked for and there, the file has it in one piece,
 * and the operating system has it in memory as well. Places in a file come from the sparse index and a look at the headers behind; ends of ranges are cut where a
 * batch is known to begin.
 */
#include "log/partition_impl.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#define WARM_STEP 131072  /* as much as the system reads ahead */
#define HEADERS_READ 8192 /* two distances of index entries */
#define DECOMPRESSED_MAX (256u << 20)

/* A place at the beginning of a batch. */
struct place {
    struct segment *segment; /* NULL in memory */
    struct block *block;     /* covers it; NULL: none does */
    int64_t position;
    size_t first_size; /* of the batch there; 0: unknown */
};

/* ---- finding places ---- */

/* Steps over the batches below `offset` that begin in these bytes, of which `at` is the first; headers that
 * are cut off are not looked at. *found: *at is at the batch that holds the offset, or the first behind it. */
static beck_status step(const uint8_t *bytes, size_t len, int64_t offset, size_t *at,
                        struct batch_header *h, bool *found, beck_error *err)
{
    *found = false;
    while (*at < len && len - *at >= BATCH_HEADER) {
        beck_status status = batch_header_read(bytes + *at, h, err);
        if (status)
            return status;
        *found = batch_last_offset(h) >= offset;
        if (*found)
            return BECK_OK;
        *at += batch_size(h);
    }
    return BECK_OK;
}

/* In a block that begins at or before the offset. With the lock. */
static bool find_in_block(struct block *b, int64_t offset, struct place *out)
{
    size_t at = 0;
    struct batch_header h;
    bool found;
    if (step(b->data, atomic_load(&b->len), offset, &at, &h, &found, NULL) || !found)
        return false;
    out->block = b;
    out->position = b->position + (int64_t)at;
    out->first_size = batch_size(&h);
    return true;
}

static struct segment *segment_of(const struct partition *p, int64_t base_offset)
{
    ptrdiff_t i = partition_find_segment(p, base_offset);
    return i >= 0 && p->segments[i]->base_offset == base_offset ? p->segments[i] : NULL;
}

/* In the tail cache; on success a use of the segment is held. VFS_WARM_ONLY: without opening files. With the
 * lock. */
static bool find_in_tail(struct partition *p, int64_t offset, enum vfs_how how, struct place *out)
{
    struct block *b = tail_at(&p->tail, offset);
    struct segment *s = b ? segment_of(p, b->segment) : NULL;
    bool found = s && !(how == VFS_WARM_ONLY && s->users == 0) && find_in_block(b, offset, out) &&
                 segment_use(s, NULL) == BECK_OK;
    if (found)
        out->segment = s;
    block_release(b); /* the tail keeps it as long as the lock is held */
    return found;
}

/* Walks headers of the file, in use, from place->position on. *found false: the segment ends before. */
static beck_status walk_file(struct segment *s, int64_t offset, enum vfs_how how,
                             struct place *place, bool *found, beck_error *err)
{
    uint8_t bytes[HEADERS_READ];
    *found = false;
    for (;;) {
        size_t got, at = 0;
        struct batch_header h;
        beck_error why = {0};
        beck_status status =
            segment_read_how(s, how, bytes, sizeof bytes, place->position, &got, err);
        if (status || got < BATCH_HEADER)
            return status;
        if (step(bytes, got, offset, &at, &h, found, &why))
            return error_set(err, BECK_ECORRUPT,
                             "\"%s/%020lld.log\" is damaged at byte %lld: %s: run beck verify, and "
                             "restore the file from a backup",
                             s->dir, (long long)s->base_offset,
                             (long long)place->position + (long long)at, why.text);
        place->position += (int64_t)at;
        if (*found) {
            place->first_size = batch_size(&h);
            return BECK_OK;
        }
    }
}

/* A use of the segment is held on success. The lock is held on entry and exit, and free while the file is
 * read. VFS_WARM_ONLY: of files that are open, and in memory; else PARTITION_COLD. BECK_END: nothing at or behind the offset is
 * stored. */
static beck_status find_in_files(struct partition *p, int64_t offset, enum vfs_how how,
                                 struct place *out, beck_error *err)
{
    bool found = false;
    for (int64_t base = -1; !found;) {
        ptrdiff_t i = partition_find_segment(p, base < 0 ? offset : base);
        /* The one behind, where this one ends before the offset. */
        if (base >= 0 && (++i >= (ptrdiff_t)p->segment_count))
            return BECK_END;
        struct segment *s = p->segments[i];
        if (how == VFS_WARM_ONLY && s->users == 0)
            return PARTITION_COLD;
        *out = (struct place){.segment = s};
        beck_status status = segment_use(s, err);
        if (status)
            return status;
        status = segment_seek_offset(s, how, offset, &out->position, err);
        mutex_unlock(&p->lock);
        if (!status)
            status = walk_file(s, offset, how, out, &found, err);
        mutex_lock(&p->lock);
        base = s->base_offset;
        if (status || !found)
            segment_unuse(s);
        if (status)
            return status;
    }
    return BECK_OK;
}

static beck_status find_place(struct partition *p, int64_t offset, enum vfs_how how,
                              struct place *out, beck_error *err)
{
    *out = (struct place){.segment = NULL};
    if (find_in_tail(p, offset, how, out))
        return BECK_OK;
    return find_in_files(p, offset, how, out, err);
}

/* ---- where ranges end ---- */

/* The position in the segment of `place` at which offsets not below `end` begin, or that of its end. With the
 * lock, which is free while files are read. */
static beck_status position_of_end(struct partition *p, const struct place *place, int64_t end,
                                   enum vfs_how how, int64_t *position, beck_error *err)
{
    struct place there;
    *position = atomic_load(&place->segment->size);
    if (end >= p->written)
        return BECK_OK;
    beck_status status = find_place(p, end, how, &there, err);
    if (status)
        return status == BECK_END ? BECK_OK : status;
    if (there.segment == place->segment && there.position < *position)
        *position = there.position;
    segment_unuse(there.segment);
    return BECK_OK;
}

/* The last place up to `limit` that is known to be the end of a batch; `limit` when none is, behind the first
 * batch. With the lock. */
static int64_t cut(struct partition *p, const struct place *place, int64_t limit, enum vfs_how how)
{
    int64_t known = tail_begin(&p->tail, place->segment->base_offset, limit);
    int64_t first_end = place->position + (int64_t)place->first_size;
    if (known < first_end) {
        int32_t indexed;
        if (index_lookup_position(place->segment->offsets, how, limit, &indexed, NULL) == BECK_OK)
            known = indexed;
    }
    return known >= first_end ? known : limit;
}

/* What of the block lies between two positions, in whole batches. */
static size_t whole_batches(const struct block *b, int64_t from, int64_t to)
{
    size_t at = (size_t)(from - b->position), end = (size_t)(to - b->position), first = at;
    struct batch_header h;
    while (at < end && end - at >= BATCH_HEADER && !batch_header_read(b->data + at, &h, NULL) &&
           end - at >= batch_size(&h))
        at += batch_size(&h);
    return at - first;
}

/* ---- ranges ---- */

static void give_block(struct partition_range *out, struct block *b, int64_t from, size_t len)
{
    out->block = block_retain(b);
    out->bytes = bytes_of(b->data + (from - b->position), len);
    out->len = len;
}

/* A disk that has no descriptors (simulated) is read. Without the lock. */
static beck_status read_range(struct partition_range *out, beck_error *err)
{
    size_t got = 0;
    struct block *b = block_new(out->len);
    if (!b)
        return error_set(err, BECK_ENOMEM, "no memory to read %zu bytes", out->len);
    beck_status status = segment_read(out->segment, b->data, out->len, out->position, &got, err);
    atomic_store(&b->len, got);
    out->block = b;
    out->bytes = bytes_of(b->data, got);
    out->len = got;
    return status;
}

static enum vfs_how how_to_read(unsigned flags)
{
    return flags & PARTITION_WARM_ONLY ? VFS_WARM_ONLY : VFS_WAITING;
}

/* With the lock; the place's use becomes the range's, or is given back. */
static beck_status give(struct partition *p, struct place *place, int64_t end, size_t bytes_max,
                        unsigned flags, struct partition_range *out, beck_error *err)
{
    enum vfs_how how = how_to_read(flags);
    int64_t limit, from = place->position, most;
    struct block *b = flags & PARTITION_NO_BLOCK ? NULL : place->block;
    if (b)
        block_retain(b);
    beck_status status = position_of_end(p, place, end, how, &limit, err);
    if (flags & PARTITION_ONE_AT_LEAST && bytes_max < place->first_size)
        bytes_max = place->first_size;
    most = limit - from < (int64_t)bytes_max ? limit : from + (int64_t)bytes_max;
    bool nothing = status || most - from < (int64_t)place->first_size;
    if (!nothing && b) {
        int64_t block_end = b->position + (int64_t)atomic_load(&b->len);
        if (most <= block_end)
            give_block(out, b, from, whole_batches(b, from, most));
    }
    block_release(b);
    if (nothing || out->block) {
        segment_unuse(place->segment);
        return status;
    }
    out->segment = place->segment;
    out->fd = file_descriptor(place->segment->file);
    out->position = from;
    out->len = (size_t)((most < limit ? cut(p, place, most, how) : most) - from);
    return BECK_OK;
}

/* Batches in memory have no checksum until somebody outside gets them. */
static beck_status copy_of(const struct block *b, const struct place *place, int64_t end,
                           size_t bytes_max, struct partition_range *out, beck_error *err)
{
    if (bytes_max < place->first_size)
        bytes_max = place->first_size;
    int64_t most = b->position + (int64_t)atomic_load(&b->len);
    if (most - place->position > (int64_t)bytes_max)
        most = place->position + (int64_t)bytes_max;
    size_t len = whole_batches(b, place->position, most);
    struct block *copy = block_new(len);
    if (!copy)
        return error_set(err, BECK_ENOMEM, "no memory to copy %zu bytes of batches", len);
    memcpy(copy->data, b->data + (place->position - b->position), len);
    struct batch_header h;
    size_t at = 0;
    for (; at < len && !batch_header_read(copy->data + at, &h, NULL) && h.base_offset < end;
         at += batch_size(&h))
        batch_seal(copy->data + at, batch_size(&h));
    atomic_store(&copy->len, at);
    out->block = copy;
    out->bytes = bytes_of(copy->data, at);
    out->len = at;
    return BECK_OK;
}

static beck_status copy_memory(struct partition *p, int64_t offset, int64_t end, size_t bytes_max,
                               unsigned flags, struct partition_range *out, beck_error *err)
{
    struct place place = {.segment = NULL};
    struct block *b = tail_at(&p->tail, offset);
    bool found = b && find_in_block(b, offset, &place);
    if (!found) {
        block_release(b);
        b = tail_next(&p->tail, offset);
        found = b && find_in_block(b, offset, &place);
    }
    beck_status status = BECK_OK;
    if (found && (place.first_size <= bytes_max || flags & PARTITION_ONE_AT_LEAST))
        status = copy_of(b, &place, end, bytes_max, out, err);
    block_release(b);
    return status;
}

beck_status partition_fetch(struct partition *p, int64_t offset, size_t bytes_max, unsigned flags,
                            struct partition_range *out, beck_error *err)
{
    beck_status status = BECK_OK;
    *out = (struct partition_range){.fd = -1};
    if (p->damage)
        return partition_check_damage(p, err);
    mutex_lock(&p->lock);
    int64_t high = partition_high(p),
            end = flags & PARTITION_COMMITTED ? partition_stable(p) : high;
    if (end > high)
        end = high;
    if (offset < p->first || offset > high) {
        status =
            error_set(err, BECK_ERANGE, "offset %lld is not between %lld and %lld of bus \"%s\"",
                      (long long)offset, (long long)p->first, (long long)high, p->bus);
    } else if (offset >= end) {
        /* Nothing is there yet. */
    } else if (p->options.memory) {
        status = copy_memory(p, offset, end, bytes_max, flags, out, err);
    } else {
        struct place place;
        status = find_place(p, offset, how_to_read(flags), &place, err);
        if (!status)
            status = give(p, &place, end, bytes_max, flags, out, err);
        else if (status == BECK_END)
            status = BECK_OK;
    }
    bool read = !status && out->segment && out->fd < 0;
    if (out->len > 0) {
        out->partition = p;
        atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    }
    mutex_unlock(&p->lock);
    if (read)
        status = read_range(out, err);
    if (status)
        partition_range_release(out);
    return status;
}

/* Steps of the file of which the first byte is in memory are so whole, most likely. */
static bool step_is_warm(const struct partition_range *r, size_t at)
{
    uint8_t byte;
    struct iovec first = {&byte, 1};
    return preadv2(r->fd, &first, 1, r->position + (int64_t)at, RWF_NOWAIT) == 1;
}

bool partition_range_is_warm(const struct partition_range *r)
{
    for (size_t at = 0; !r->block && at < r->len; at += WARM_STEP)
        if (!step_is_warm(r, at))
            return false;
    return true;
}

void partition_range_warm(const struct partition_range *r)
{
    uint8_t bytes[WARM_STEP];
    if (r->block)
        return;
    for (size_t at = 0; at < r->len; at += sizeof bytes) {
        size_t left = r->len - at < sizeof bytes ? r->len - at : sizeof bytes;
        if (step_is_warm(r, at))
            continue;
        if (at == 0)
            posix_fadvise(r->fd, r->position, (off_t)r->len, POSIX_FADV_WILLNEED);
        if (pread(r->fd, bytes, left, r->position + (int64_t)at) <= 0)
            return; /* whoever sends it will see */
    }
}

void partition_range_release(struct partition_range *r)
{
    struct partition *p = r->partition;
    block_release(r->block);
    if (r->segment) {
        mutex_lock(&p->lock);
        segment_unuse(r->segment);
        mutex_unlock(&p->lock);
    }
    if (p)
        partition_unref(p);
    *r = (struct partition_range){.fd = -1};
}

/* ---- by time ---- */

struct record_place {
    int64_t time_ms; /* in: at or after it */
    int64_t offset, timestamp_ms;
};

struct search {
    struct partition *p;
    int64_t first, end;
    struct codec codec;
    struct buf unpacked;
    struct record_place found;
};

/* The first record of the batch at or after a time; BECK_END: there it is. */
static beck_status find_record(void *ctx, const struct batch_header *h, beck_bytes batch,
                               beck_error *err)
{
    struct search *s = ctx;
    struct record_place *found = &s->found;
    struct batch_records r;
    if (h->max_timestamp_ms < found->time_ms || (h->attributes & BATCH_CONTROL))
        return BECK_OK;
    buf_clear(&s->unpacked);
    beck_status status = batch_records_open(&r, batch, &s->codec, &s->unpacked, err);
    for (int32_t i = 0; i < h->count && !status; i++) {
        int64_t offset, timestamp_ms;
        beck_bytes key;
        bool is_null;
        status = record_peek(r.records, &r.at, h->base_offset, h->base_timestamp_ms, &offset,
                             &timestamp_ms, &key, &is_null, NULL, err);
        if (h->attributes & BATCH_LOG_APPEND_TIME)
            timestamp_ms = h->max_timestamp_ms;
        if (status || offset < s->first || offset >= s->end || timestamp_ms < found->time_ms)
            continue;
        found->offset = offset;
        found->timestamp_ms = timestamp_ms;
        return BECK_END;
    }
    return status;
}

/* The greatest timestamp that a record which counts may have. */
static beck_status find_greatest(void *ctx, const struct batch_header *h, beck_bytes batch,
                                 beck_error *err)
{
    struct search *s = ctx;
    beck_status status = BECK_END;
    /* Records of one batch: the next is searched for above the last. */
    while (status == BECK_END && h->max_timestamp_ms > s->found.timestamp_ms) {
        s->found.time_ms = s->found.timestamp_ms + 1;
        status = find_record(s, h, batch, err);
    }
    return status == BECK_END ? BECK_OK : status;
}

static void search_begin(struct search *s, struct partition *p)
{
    *s = (struct search){.p = p,
                         .first = partition_first(p),
                         .end = partition_high(p),
                         .found = {.offset = -1, .timestamp_ms = -1}};
    codec_init(&s->codec);
    buf_init(&s->unpacked, DECOMPRESSED_MAX);
}

static void search_end(struct search *s)
{
    codec_release(&s->codec);
    buf_release(&s->unpacked);
}

/* Where to look from: all before it are older. INT64_MAX: all are. *greatest: of all segments. Takes the lock. */
static beck_status start_of_time(struct partition *p, int64_t time_ms, int64_t *from,
                                 int64_t *greatest, beck_error *err)
{
    beck_status status = partition_check_damage(p, err);
    if (status)
        return status;
    mutex_lock(&p->lock);
    *from = p->options.memory ? p->first : INT64_MAX;
    *greatest = INT64_MIN;
    if (!p->options.memory)
        status = partition_know_sealed(p, err);
    ptrdiff_t first = partition_find_segment(p, p->first);
    for (size_t i = first < 0 ? 0 : (size_t)first; i < p->segment_count && !status; i++) {
        struct segment *s = p->segments[i];
        int64_t newest = -1;
        if (s->unmade)
            continue;
        status = segment_max_timestamp(s, &newest, err);
        if (newest > *greatest)
            *greatest = newest;
        if (status || newest < time_ms || *from != INT64_MAX)
            continue;
        status = segment_use(s, err);
        if (!status) {
            status = segment_time_offset(s, time_ms, from, err);
            segment_unuse(s);
        }
    }
    if (*from < p->first)
        *from = p->first;
    mutex_unlock(&p->lock);
    return status;
}

beck_status partition_find_time(struct partition *p, int64_t time_ms, int64_t *offset,
                                int64_t *timestamp_ms, beck_error *err)
{
    struct search s;
    int64_t from, greatest;
    search_begin(&s, p);
    s.found.time_ms = time_ms;
    beck_status status = start_of_time(p, time_ms, &from, &greatest, err);
    if (!status)
        status = partition_each_batch(p, from, s.end, find_record, &s, err);
    search_end(&s);
    *offset = s.found.offset;
    *timestamp_ms = s.found.timestamp_ms;
    return status;
}

beck_status partition_max_time(struct partition *p, int64_t *offset, int64_t *timestamp_ms,
                               beck_error *err)
{
    struct search s;
    int64_t from, greatest;
    search_begin(&s, p);
    beck_status status = start_of_time(p, INT64_MAX, &from, &greatest, err);
    if (!status && greatest != INT64_MIN) {
        s.found.time_ms = greatest;
        status = start_of_time(p, greatest, &from, &greatest, err);
        if (!status)
            status = partition_each_batch(p, from, s.end, find_record, &s, err);
    }
    /* The record that the segments know of is not to be read: it was removed, or is not visible yet. */
    if (!status && s.found.offset < 0)
        status = partition_each_batch(p, s.first, s.end, find_greatest, &s, err);
    search_end(&s);
    *offset = s.found.offset;
    *timestamp_ms = s.found.offset < 0 ? -1 : s.found.timestamp_ms;
    return status;
}
