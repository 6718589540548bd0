/*
 * Rewriting sealed segments: what is owed of those that retention took, and compaction.
 *
 * A segment is read once to see whether anything goes, and only then copied without it. Offsets
 * stay: a batch of which everything is kept is copied as it is, another keeps its header (base
 * offset, last offset delta, producer, codec) and the bytes of the records that are kept. Readers
 * go on in the old file; the copy takes its place in the array.
 *
 * Compaction, per record of a sealed segment, with a map from key to the newest offset of it:
 *
 *   of a transaction that was aborted              dropped
 *   no key                                         kept
 *   its key has a newer event in the map           dropped, or kept when it is owed
 *   the newest, with data                          kept
 *   the newest, without data (a tombstone)         kept until the batch's horizon has passed, and while an
 *                                                  older event of its key is
 *   control record                                 kept while anything of its transaction is, and until the
 *                                                  horizon has passed
 *
 * A horizon (BATCH_DELETE_HORIZON) is delete_retention_ms behind the pass that found the batch to hold such a record: so whoever
 * reads from the beginning has that long to see it, whatever the timestamps of records say.
 *
 * The map holds a limited number of keys, so it may reach only a part of the way: what lies behind
 * it waits for the next pass. Segments are rewritten in order, so whatever a tombstone hides goes
 * before it, also when a pass ends early.
 */
#include "log/offset_map.h"
#include "log/partition_impl.h"
#include "log/window.h"

#include <assert.h>
#include <stdlib.h>

#define MAP_KEYS 1000000
#define LOOK_AGAIN_MS 86400000LL /* at what cannot have a horizon, or goes no sooner for it */
#define DECOMPRESSED_MAX (256u << 20)
#define VARINT_BYTES 10

struct cleaner {
    struct partition *p;
    const struct partition_owed *owed;
    struct offset_map *map; /* NULL: only what is owed is kept */
    int64_t first;          /* below it only what is owed is kept */
    int64_t now_ms;
    int64_t later_ms;   /* the horizon of what is found now */
    int64_t horizon_ms; /* when the first that waits for it can go; INT64_MAX: none does */
    struct offset_map
        open; /* by producer id: batches of a transaction that were kept, while held; its end follows */
    bool open_full; /* there are more producers: every end is kept */
    struct codec codec;
    struct buf unpacked, records, batch;
    struct buf
        over; /* offsets of control batches whose transaction is gone; of the segment at hand */
    size_t over_at;        /* of them, the next when it is copied */
    int64_t kept, dropped; /* records of the segment at hand */
    int64_t marked;        /* batches that get a horizon */
};

static void cleaner_init(struct cleaner *c, struct partition *p, const struct partition_owed *owed,
                         struct offset_map *map)
{
    *c = (struct cleaner){.p = p, .owed = owed, .map = map, .horizon_ms = INT64_MAX};
    c->first = partition_first(p);
    c->now_ms = clock_wall_ms(p->env->clock);
    if (__builtin_add_overflow(c->now_ms, p->options.bus.delete_retention_ms, &c->later_ms))
        c->later_ms = INT64_MAX;
    codec_init(&c->codec);
    buf_init(&c->unpacked, DECOMPRESSED_MAX);
    buf_init(&c->records, DECOMPRESSED_MAX);
    buf_init(&c->batch, DECOMPRESSED_MAX + (DECOMPRESSED_MAX >> 2));
    buf_init(&c->over, DECOMPRESSED_MAX);
    offset_map_init(&c->open, p->compact_keys ? p->compact_keys : MAP_KEYS);
}

static void cleaner_release(struct cleaner *c)
{
    codec_release(&c->codec);
    buf_release(&c->unpacked);
    buf_release(&c->records);
    buf_release(&c->batch);
    buf_release(&c->over);
    offset_map_release(&c->open);
}

/* ---- which records are kept ---- */

struct peeked {
    int64_t offset, timestamp_ms;
    beck_bytes key, whole;
    bool value_is_null;
};

static bool is_owed(const struct cleaner *c, int64_t offset)
{
    return c->owed && c->owed->owed(c->owed->ctx, offset);
}

static bool has_horizon(const struct batch_header *h)
{
    return h->attributes & BATCH_DELETE_HORIZON;
}

static void look_again(struct cleaner *c, int64_t due_ms)
{
    if (due_ms < c->horizon_ms)
        c->horizon_ms = due_ms;
}

/* Of a record that goes once its time has come. *mark: its batch gets a horizon. */
static bool waits(struct cleaner *c, const struct batch_header *h, bool *mark)
{
    *mark |= !has_horizon(h);
    if (!has_horizon(h))
        return true;
    if (h->base_timestamp_ms < c->now_ms)
        return false;
    look_again(c, h->base_timestamp_ms);
    return true;
}

/* A tombstone, e: what the map knows of its key. */
static bool keeps_tombstone(struct cleaner *c, const struct batch_header *h,
                            const struct offset_entry *e, const struct peeked *r, bool *mark)
{
    /* The map does not reach it: a later pass will. */
    if (!e || e->offset != r->offset || waits(c, h, mark))
        return true;
    if (!e->held && !is_owed(c, r->offset))
        return false;
    /* What keeps it although its time has come may be gone then. */
    look_again(c, c->now_ms + LOOK_AGAIN_MS);
    return true;
}

static bool keeps(struct cleaner *c, const struct batch_header *h, const struct peeked *r,
                  bool *mark)
{
    if (!c->map || r->offset < c->first)
        return is_owed(c, r->offset);
    if (!r->key.data)
        return true;
    struct offset_entry *e = offset_map_find(c->map, r->key);
    if (e && e->offset > r->offset) {
        bool kept = is_owed(c, r->offset);
        e->held |= kept;
        return kept;
    }
    return !r->value_is_null || keeps_tombstone(c, h, e, r, mark);
}

/* ---- transactions ---- */

/* Something of the producer's transaction is kept. */
static beck_status note_open(struct cleaner *c, const struct batch_header *h, beck_error *err)
{
    beck_bytes id = bytes_of(&h->producer_id, sizeof h->producer_id);
    beck_status status = offset_map_put(&c->open, id, h->base_offset);
    c->open_full |= status == BECK_ELIMIT;
    if (status == BECK_ELIMIT)
        return BECK_OK;
    if (status)
        return error_set(err, status, "no memory to compact \"%s\"", c->p->dir);
    offset_map_find(&c->open, id)->held = true;
    return BECK_OK;
}

/* Whether nothing of the transaction that a control batch ends is left; the segment is gone through twice, the second
 * time to copy it. */
static beck_status is_over(struct cleaner *c, const struct batch_header *h, bool copy, bool *over)
{
    size_t size = sizeof h->base_offset;
    if (copy) {
        *over = c->over_at < c->over.len &&
                memcmp(c->over.data + c->over_at, &h->base_offset, size) == 0;
        c->over_at += *over ? size : 0;
        return BECK_OK;
    }
    struct offset_entry *e =
        offset_map_find(&c->open, bytes_of(&h->producer_id, sizeof h->producer_id));
    *over = (!e || !e->held) && !c->open_full;
    if (e)
        e->held = false;
    return *over ? buf_append(&c->over, &h->base_offset, size) : BECK_OK;
}

/* ---- batches ---- */

static beck_status next_peeked(struct batch_records *r, struct peeked *out, beck_error *err)
{
    const struct batch_header *h = &r->header;
    bool append_time = h->attributes & BATCH_LOG_APPEND_TIME;
    beck_status status = record_peek(
        r->records, &r->at, h->base_offset, append_time ? 0 : h->base_timestamp_ms, &out->offset,
        &out->timestamp_ms, &out->key, &out->value_is_null, &out->whole, err);
    if (append_time)
        out->timestamp_ms = h->max_timestamp_ms;
    return status;
}

static bool is_aborted(struct partition *p, const struct batch_header *h)
{
    return (h->attributes & BATCH_TRANSACTIONAL) && partition_is_aborted(p, h);
}

/* What a record's delta becomes when it counts from another base; false: it cannot. */
static bool delta_from(const struct batch_header *h, int64_t delta, int64_t base_ms, int64_t *out)
{
    int64_t ms, base;
    return !__builtin_add_overflow(h->base_timestamp_ms, delta, &ms) &&
           !__builtin_sub_overflow(ms, base_ms, out) &&
           (!(h->attributes & BATCH_LOG_APPEND_TIME) ||
            !__builtin_sub_overflow(h->max_timestamp_ms, *out, &base));
}

/* Timestamps may be so early that they cannot be counted from the horizon: such a batch waits without one. */
static bool can_mark(struct cleaner *c, const struct batch_header *h, beck_bytes records)
{
    bool can = true;
    for (size_t at = 0; at < records.len && can;) {
        int64_t offset, delta;
        beck_bytes key;
        bool is_null;
        can = !record_peek(records, &at, 0, 0, &offset, &delta, &key, &is_null, NULL, NULL) &&
              delta_from(h, delta, c->later_ms, &delta);
    }
    look_again(c, can ? c->later_ms : c->now_ms + LOOK_AGAIN_MS);
    return can;
}

/* A record whose timestamp counts from another base; can_mark has seen it. */
static beck_status move_base(struct buf *out, beck_bytes whole, const struct batch_header *h,
                             int64_t base_ms)
{
    const uint8_t *p = whole.data, *end = p + whole.len;
    uint8_t prefix[VARINT_BYTES], head[1 + VARINT_BYTES];
    int64_t length, delta;
    p += varint_read(p, end, &length);
    head[0] = *p++; /* attributes */
    p += varint_read(p, end, &delta);
    delta_from(h, delta, base_ms, &delta);
    size_t head_len = 1 + varint_write(head + 1, delta), rest_len = (size_t)(end - p);
    size_t prefix_len = varint_write(prefix, (int64_t)(head_len + rest_len));
    beck_status status = buf_append(out, prefix, prefix_len);
    if (!status)
        status = buf_append(out, head, head_len);
    return status ? status : buf_append(out, p, rest_len);
}

/* The records that are left, as a batch that gets a horizon. */
static beck_status mark_batch(struct cleaner *c, const struct batch_header *h, beck_bytes records,
                              int32_t count, int64_t max_timestamp_ms, beck_error *err)
{
    struct batch_header marked = *h;
    struct buf moved;
    beck_status status = BECK_OK;
    marked.attributes |= BATCH_DELETE_HORIZON;
    marked.base_timestamp_ms = c->later_ms;
    buf_init(&moved, DECOMPRESSED_MAX);
    for (size_t at = 0; at < records.len && !status;) {
        int64_t offset, timestamp_ms;
        beck_bytes key, whole;
        bool is_null;
        status =
            record_peek(records, &at, 0, 0, &offset, &timestamp_ms, &key, &is_null, &whole, err);
        if (!status && move_base(&moved, whole, h, marked.base_timestamp_ms))
            status = error_set(err, BECK_ENOMEM, "no memory to rewrite a batch");
    }
    if (!status)
        status = batch_rewrite(&marked, buf_bytes(&moved), count, max_timestamp_ms, &c->codec,
                               &c->batch, err);
    buf_release(&moved);
    return status;
}

/* clean_batch, of a control batch. */
static beck_status clean_control(struct cleaner *c, const struct batch_header *h, beck_bytes batch,
                                 bool copy, beck_bytes *out, beck_error *err)
{
    bool over = false, mark = false, kept = c->map != NULL;
    beck_bytes records =
        bytes_of((const uint8_t *)batch.data + BATCH_HEADER, batch.len - BATCH_HEADER);
    beck_status status = kept ? is_over(c, h, copy, &over) : BECK_OK;
    if (status)
        return error_set(err, status, "no memory to compact \"%s\"", c->p->dir);
    kept = kept && (!over || waits(c, h, &mark));
    mark = mark && can_mark(c, h, records);
    *(kept ? &c->kept : &c->dropped) += 1;
    c->marked += mark;
    if (!kept)
        return BECK_OK;
    if (mark && copy)
        status = mark_batch(c, h, records, h->count, h->max_timestamp_ms, err);
    *out = mark && copy ? buf_bytes(&c->batch) : batch;
    return status;
}

/* What is left of a batch: *out, empty when nothing is. Counts. */
static beck_status clean_batch(struct cleaner *c, const struct batch_header *h, beck_bytes batch,
                               bool copy, beck_bytes *out, beck_error *err)
{
    *out = bytes_of(NULL, 0);
    if (h->attributes & BATCH_CONTROL)
        return clean_control(c, h, batch, copy, out, err);
    if (is_aborted(c->p, h)) {
        c->dropped += h->count;
        return BECK_OK;
    }
    struct batch_records r;
    beck_status status = batch_records_open(&r, batch, &c->codec, &c->unpacked, err);
    int32_t count = 0;
    int64_t max_timestamp_ms = -1;
    bool mark = false;
    buf_clear(&c->records);
    for (int32_t i = 0; i < h->count && !status; i++) {
        struct peeked record;
        status = next_peeked(&r, &record, err);
        if (status || !keeps(c, h, &record, &mark))
            continue;
        count++;
        if (record.timestamp_ms > max_timestamp_ms)
            max_timestamp_ms = record.timestamp_ms;
        if (copy && buf_append(&c->records, record.whole.data, record.whole.len))
            status = error_set(err, BECK_ENOMEM, "no memory to rewrite a batch");
    }
    if (!status && count > 0 && c->map && !copy && (h->attributes & BATCH_TRANSACTIONAL))
        status = note_open(c, h, err);
    if (status)
        return status;
    mark = mark && can_mark(c, h, r.records);
    c->kept += count;
    c->dropped += h->count - count;
    c->marked += mark;
    if (count == h->count && count > 0 && !mark) {
        *out = batch;
    } else if (count > 0 && copy) {
        status = mark ? mark_batch(c, h, buf_bytes(&c->records), count, max_timestamp_ms, err)
                      : batch_rewrite(h, buf_bytes(&c->records), count, max_timestamp_ms, &c->codec,
                                      &c->batch, err);
        *out = buf_bytes(&c->batch);
    }
    return status;
}

/* ---- segments ---- */

/* Each whole batch of a segment that is in use. Without the lock. */
static beck_status each_batch(const struct segment *s,
                              beck_status (*each)(void *ctx, const struct batch_header *h,
                                                  beck_bytes batch, beck_error *err),
                              void *ctx, beck_error *err)
{
    struct window w;
    int64_t position = 0, next = s->base_offset;
    beck_status status = BECK_OK;
    window_init(&w, s->file, atomic_load(&s->size));
    while (position < w.size && !status) {
        struct batch_header h;
        bool valid;
        beck_error why = {0};
        status = window_batch(&w, position, next, &h, &valid, &why, err);
        if (!status && !valid)
            status = BECK_ECORRUPT;
        if (!status) {
            beck_bytes batch = bytes_of(window_at(&w, position), batch_size(&h));
            status = each(ctx, &h, batch, &why);
            next = batch_last_offset(&h) + 1;
        }
        if (status == BECK_ECORRUPT)
            error_set(err, status,
                      "\"%s/%020lld.log\" is damaged at byte %lld: %s; nothing is removed from "
                      "it: " PARTITION_REMEDY,
                      s->dir, (long long)s->base_offset, (long long)position, why.text);
        else if (status && why.text[0])
            error_set(err, status, "%s", why.text);
        if (!status)
            position += (int64_t)batch_size(&h);
    }
    window_release(&w);
    return status;
}

struct copying {
    struct cleaner *c;
    struct segment *copy; /* NULL: only count */
};

static beck_status copy_batch(void *ctx, const struct batch_header *h, beck_bytes batch,
                              beck_error *err)
{
    struct copying *copying = ctx;
    beck_bytes left;
    beck_status status = clean_batch(copying->c, h, batch, copying->copy != NULL, &left, err);
    if (status || !copying->copy || left.len == 0)
        return status;
    struct batch_header written;
    status = batch_header_read(left.data, &written, err);
    if (!status)
        status = segment_write(copying->copy, left, err);
    if (!status)
        segment_note(copying->copy, &written);
    return status;
}

static beck_status use_segment(struct partition *p, struct segment *s, beck_error *err)
{
    mutex_lock(&p->lock);
    beck_status status = segment_use(s, err);
    /* So that no reader makes the indexes anew while they are being replaced. */
    if (!status)
        segment_check(s);
    mutex_unlock(&p->lock);
    return status;
}

static void unuse_segment(struct partition *p, struct segment *s)
{
    mutex_lock(&p->lock);
    segment_unuse(s);
    mutex_unlock(&p->lock);
}

static size_t index_of(const struct partition *p, const struct segment *s)
{
    size_t i = 0;
    while (p->segments[i] != s)
        i++;
    assert(i + 1 < p->segment_count);
    return i;
}

/* The files go; who reads them goes on. With the upkeep; the segment is in use by the caller, and
 * is not any more. */
static beck_status remove_segment(struct partition *p, struct segment *s, beck_error *err)
{
    beck_status status = segment_unlink(s, err);
    if (status) {
        unuse_segment(p, s);
        return status;
    }
    /* Else a loss of power might bring it back, and not the one behind it. */
    status = vfs_sync_dir(p->env->vfs, p->dir, err);
    mutex_lock(&p->lock);
    size_t i = index_of(p, s);
    p->segment_count--;
    p->sealed_known = false;
    memmove(p->segments + i, p->segments + i + 1,
            (p->segment_count - i) * sizeof(struct segment *));
    tail_forget(&p->tail, s->base_offset);
    txn_index_trim(&p->aborted, p->segments[0]->base_offset, INT64_MAX);
    segment_forget(s);
    segment_unuse(s);
    mutex_unlock(&p->lock);
    return status;
}

/* The copy takes the place of the old one. As remove_segment. */
static beck_status replace_segment(struct partition *p, struct segment *old, struct segment *copy,
                                   beck_error *err)
{
    bool replaced;
    beck_status status = segment_clean_finish(copy, &replaced, err);
    if (!replaced) {
        segment_clean_abort(copy);
        mutex_lock(&p->lock);
        segment_unuse(old);
        mutex_unlock(&p->lock);
        return status;
    }
    mutex_lock(&p->lock);
    p->segments[index_of(p, old)] = copy;
    p->sealed_known = false;
    tail_forget(&p->tail, old->base_offset);
    segment_unuse(copy);
    segment_forget(old);
    segment_unuse(old);
    mutex_unlock(&p->lock);
    return status;
}

static beck_status copy_segment(struct cleaner *c, struct segment *old, beck_error *err)
{
    struct copying copying = {c, NULL};
    int64_t kept;
    beck_status status = segment_clean_begin(old, &copying.copy, err);
    if (!status) {
        c->kept = c->dropped = 0;
        c->over_at = 0;
        status = each_batch(old, copy_batch, &copying, err);
        if (status)
            segment_clean_abort(copying.copy);
    }
    if (status) {
        unuse_segment(c->p, old);
        return status;
    }
    kept = c->kept;
    if (kept == 0) {
        segment_clean_abort(copying.copy);
        return remove_segment(c->p, old, err);
    }
    copying.copy->events = kept;
    return replace_segment(c->p, old, copying.copy, err);
}

/* Drops from one segment what is not to be kept. */
static beck_status clean_segment(struct cleaner *c, const struct sealed *sealed, beck_error *err)
{
    struct segment *s = sealed->segment;
    struct copying counting = {c, NULL};
    beck_status status = use_segment(c->p, s, err);
    if (status)
        return status;
    if (c->owed && c->owed->begin)
        c->owed->begin(c->owed->ctx, c->p, s->base_offset, sealed->end);
    c->kept = c->dropped = c->marked = 0;
    buf_clear(&c->over);
    status = each_batch(s, copy_batch, &counting, err);
    if (!status)
        s->events = c->kept + c->dropped;
    if (!status && c->dropped + c->marked > 0)
        return copy_segment(c, s, err);
    unuse_segment(c->p, s);
    return status;
}

/* ---- what is owed of a segment that retention took ---- */

struct counting {
    int64_t events, next_offset;
};

static beck_status count_batch(void *ctx, const struct batch_header *h, beck_bytes batch,
                               beck_error *err)
{
    struct counting *counting = ctx;
    (void)batch;
    (void)err;
    counting->events += h->count;
    counting->next_offset = batch_last_offset(h) + 1;
    return BECK_OK;
}

beck_status partition_clean_owed(struct partition *p, const struct sealed *sealed,
                                 const struct partition_owed *owed, bool *room, beck_error *err)
{
    struct segment *s = sealed->segment;
    int64_t count = 0;
    /* Segments behind it may have gone: what was counted ends earlier. */
    bool counted = s->events >= 0 && s->next_offset > s->base_offset;
    int64_t end = counted ? s->next_offset : sealed->end;
    if (owed) {
        if (owed->begin)
            owed->begin(owed->ctx, p, s->base_offset, end);
        for (int64_t offset = s->base_offset; offset < end; offset++)
            count += owed->owed(owed->ctx, offset);
    }
    if (count > 0 && !*room)
        return BECK_OK;
    beck_status status = use_segment(p, s, err);
    if (status)
        return status;
    if (count == 0)
        return remove_segment(p, s, err);
    if (s->events < 0) {
        struct counting counting = {0, s->base_offset};
        status = each_batch(s, count_batch, &counting, err);
        if (!status) {
            s->events = counting.events;
            s->next_offset = counting.next_offset;
        }
    }
    if (status || count * 2 > s->events) {
        unuse_segment(p, s);
        return status;
    }
    struct cleaner c;
    cleaner_init(&c, p, owed, NULL);
    status = copy_segment(&c, s, err);
    cleaner_release(&c);
    *room = status != BECK_EFULL;
    return status;
}

/* ---- compaction ---- */

struct mapping {
    struct cleaner *c;
    int64_t from;
    int64_t end; /* the map knows everything below; INT64_MAX: all that it was shown */
};

static beck_status map_batch(void *ctx, const struct batch_header *h, beck_bytes batch,
                             beck_error *err)
{
    struct mapping *m = ctx;
    if (m->end != INT64_MAX || batch_last_offset(h) < m->from || (h->attributes & BATCH_CONTROL) ||
        is_aborted(m->c->p, h))
        return BECK_OK;
    struct batch_records r;
    beck_status status = batch_records_open(&r, batch, &m->c->codec, &m->c->unpacked, err);
    for (int32_t i = 0; i < h->count && !status; i++) {
        struct peeked record;
        status = next_peeked(&r, &record, err);
        if (status || record.offset < m->from || !record.key.data)
            continue;
        status = offset_map_put(m->c->map, record.key, record.offset);
        if (status == BECK_ELIMIT) {
            m->end = record.offset;
            return BECK_OK;
        }
        if (status)
            error_set(err, status, "no memory to compact \"%s\"", m->c->p->dir);
    }
    return status;
}

/* Fills the map from `from` on; *end: how far it reaches. */
static beck_status fill_map(struct cleaner *c, const struct sealed *list, size_t count,
                            int64_t from, int64_t *end, beck_error *err)
{
    struct mapping m = {c, from, INT64_MAX};
    beck_status status = BECK_OK;
    offset_map_clear(c->map);
    for (size_t i = 0; i < count && !status && m.end == INT64_MAX; i++) {
        if (list[i].end <= from)
            continue;
        status = use_segment(c->p, list[i].segment, err);
        if (status)
            break;
        status = each_batch(list[i].segment, map_batch, &m, err);
        unuse_segment(c->p, list[i].segment);
    }
    *end = m.end == INT64_MAX ? list[count - 1].end : m.end;
    return status;
}

/* The sealed segments at and behind first, as they are now, of which every transaction has ended and that are old
 * enough. */
static beck_status list_again(struct partition *p, const struct partition_rules *rules,
                              struct sealed **list, size_t *count, beck_error *err)
{
    free(*list);
    beck_status status =
        partition_list_sealed(p, partition_first(p), partition_visible(p), list, count, err);
    int64_t young_ms = clock_wall_ms(p->env->clock) - rules->compact_after_ms;
    for (size_t i = 0; i < *count && !status && rules->compact_after_ms > 0; i++)
        if ((*list)[i].segment->max_timestamp_ms > young_ms)
            *count = i;
    return status;
}

static beck_status compact_passes(struct cleaner *c, const struct partition_rules *rules,
                                  int64_t from, struct sealed **list, size_t *count,
                                  beck_error *err)
{
    struct partition *p = c->p;
    beck_status status = BECK_OK;
    for (;;) {
        int64_t end;
        status = fill_map(c, *list, *count, from, &end, err);
        offset_map_clear(&c->open);
        c->open_full = false;
        for (size_t i = 0; i < *count && !status && (*list)[i].segment->base_offset < end; i++)
            status = clean_segment(c, &(*list)[i], err);
        if (status)
            return status;
        bool all = end == (*list)[*count - 1].end;
        from = end;
        if (p->cleaned < end)
            p->cleaned = end;
        if (all)
            return BECK_OK;
        /* Segments have been replaced. */
        status = list_again(p, rules, list, count, err);
        if (status || *count == 0)
            return status;
    }
}

int64_t partition_cleaned(const struct partition *p)
{
    return p->cleaned;
}

void partition_resume_cleaning(struct partition *p, int64_t cleaned)
{
    int64_t now_ms = clock_wall_ms(p->env->clock),
            retention_ms = p->options.bus.delete_retention_ms;
    p->cleaned = cleaned < p->written ? cleaned : p->written;
    /* There may be horizons; when they pass nobody remembers. */
    if (p->cleaned > 0)
        p->horizon_ms = now_ms + (retention_ms < LOOK_AGAIN_MS ? retention_ms : LOOK_AGAIN_MS);
}

/* Worth it as Kafka sees it: half of what would be read is new (or what the rules say), some of it has waited
 * for long enough, or a horizon has passed. */
static bool worth_it(const struct partition *p, const struct partition_rules *rules,
                     const struct sealed *list, size_t count, int64_t now_ms, bool *from_start)
{
    int64_t dirty = 0, all = 0;
    bool late = false;
    double share = rules->compact_share < 0 ? 0.5 : rules->compact_share;
    for (size_t i = 0; i < count; i++) {
        int64_t size = atomic_load(&list[i].segment->size);
        all += size;
        if (list[i].end <= p->cleaned)
            continue;
        dirty += size;
        late |= rules->compact_within_ms > 0 && list[i].segment->created_ms >= 0 &&
                list[i].segment->created_ms < now_ms - rules->compact_within_ms;
    }
    *from_start = p->horizon_ms < now_ms;
    return *from_start || late || (dirty > 0 && (double)dirty >= share * (double)all);
}

beck_status partition_compact(struct partition *p, const struct partition_owed *owed,
                              beck_error *err)
{
    struct sealed *list = NULL;
    size_t count = 0;
    bool from_start;
    mutex_lock(&p->lock);
    beck_status status = partition_know_sealed(p, err);
    const struct partition_rules rules = p->rules;
    mutex_unlock(&p->lock);
    if (!status)
        status = list_again(p, &rules, &list, &count, err);
    if (status || count == 0 ||
        !worth_it(p, &rules, list, count, clock_wall_ms(p->env->clock), &from_start)) {
        free(list);
        return status;
    }
    struct cleaner c;
    struct offset_map map;
    offset_map_init(&map, p->compact_keys ? p->compact_keys : MAP_KEYS);
    cleaner_init(&c, p, owed, &map);
    int64_t from = from_start ? 0 : p->cleaned;
    /* The map has nothing of the tombstones before `from`; they wait as before. */
    if (!from_start)
        c.horizon_ms = p->horizon_ms;
    status = compact_passes(&c, &rules, from, &list, &count, err);
    /* After a failure the old time stands, so that it is tried again. */
    if (!status)
        p->horizon_ms = c.horizon_ms;
    cleaner_release(&c);
    offset_map_release(&map);
    free(list);
    return status;
}
