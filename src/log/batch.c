/*
 * Record batches: the header, building, reading and the checks on what producers send. The table of
 * the bytes is in batch.h.
 *
 * A batch is built in place: the header's room lies in front of the records, so finishing an
 * uncompressed one writes 61 bytes and runs the checksum once. Nothing here trusts a batch: every
 * length is compared with the bytes at hand before it is used.
 */
#include "log/batch.h"

#include "base/crc32c.h"
#include "base/error.h"
#include "log/record_step.h"

#include <assert.h>

#define CRC_AT 17
#define CRC_FROM 21
#define MAX_TIMESTAMP_AT 35
#define MAGIC 2
/* Length, attributes, two deltas, key length, value length and header count. */
#define RECORD_MIN 7

/* ---- header ---- */

static bool count_fits(const struct batch_header *h, size_t record_bytes)
{
    return (uint64_t)h->count * RECORD_MIN <= record_bytes;
}

beck_status batch_header_read(const uint8_t *p, struct batch_header *out, beck_error *err)
{
    struct batch_header h = {
        .base_offset = (int64_t)get_u64(p),
        .length = (int32_t)get_u32(p + 8),
        .leader_epoch = (int32_t)get_u32(p + 12),
        .crc = get_u32(p + CRC_AT),
        .attributes = get_u16(p + 21),
        .last_offset_delta = (int32_t)get_u32(p + 23),
        .base_timestamp_ms = (int64_t)get_u64(p + 27),
        .max_timestamp_ms = (int64_t)get_u64(p + MAX_TIMESTAMP_AT),
        .producer_id = (int64_t)get_u64(p + 43),
        .producer_epoch = (int16_t)get_u16(p + 51),
        .base_sequence = (int32_t)get_u32(p + 53),
        .count = (int32_t)get_u32(p + 57),
    };

    if (p[16] != MAGIC)
        return error_set(err, BECK_ECORRUPT,
                         "no record batch of version 2: its magic byte is %u; older versions are "
                         "not read",
                         p[16]);
    if (h.length < BATCH_HEADER - BATCH_LENGTH_PREFIX)
        return error_set(err, BECK_ECORRUPT, "damaged batch: its length cannot be %d", h.length);
    if (h.base_offset < 0 || h.last_offset_delta < 0 ||
        h.base_offset > INT64_MAX - 1 - h.last_offset_delta)
        return error_set(err, BECK_ECORRUPT,
                         "damaged batch: its offsets cannot be %lld and %d more",
                         (long long)h.base_offset, h.last_offset_delta);
    if (h.count < 0 || h.count > (int64_t)h.last_offset_delta + 1 ||
        ((h.attributes & BATCH_CODEC_MASK) == BECK_CODEC_NONE &&
         !count_fits(&h, batch_size(&h) - BATCH_HEADER)))
        return error_set(err, BECK_ECORRUPT, "damaged batch: it cannot hold %d records", h.count);
    *out = h;
    return BECK_OK;
}

void batch_header_write(uint8_t *p, const struct batch_header *h)
{
    put_u64(p, (uint64_t)h->base_offset);
    put_u32(p + 8, (uint32_t)h->length);
    put_u32(p + 12, (uint32_t)h->leader_epoch);
    p[16] = MAGIC;
    put_u16(p + 21, h->attributes);
    put_u32(p + 23, (uint32_t)h->last_offset_delta);
    put_u64(p + 27, (uint64_t)h->base_timestamp_ms);
    put_u64(p + MAX_TIMESTAMP_AT, (uint64_t)h->max_timestamp_ms);
    put_u64(p + 43, (uint64_t)h->producer_id);
    put_u16(p + 51, (uint16_t)h->producer_epoch);
    put_u32(p + 53, (uint32_t)h->base_sequence);
    put_u32(p + 57, (uint32_t)h->count);
}

void batch_seal(uint8_t *batch, size_t size)
{
    assert(size >= BATCH_HEADER);
    put_u32(batch + CRC_AT, crc32c(0, batch + CRC_FROM, size - CRC_FROM));
}

void batch_correct_time(uint8_t *batch, size_t size, const struct batch_header *h)
{
    if (get_u64(batch + MAX_TIMESTAMP_AT) == (uint64_t)h->max_timestamp_ms)
        return;
    put_u64(batch + MAX_TIMESTAMP_AT, (uint64_t)h->max_timestamp_ms);
    batch_seal(batch, size);
}

bool batch_crc_fits(const uint8_t *batch, size_t size)
{
    return size >= BATCH_HEADER &&
           get_u32(batch + CRC_AT) == crc32c(0, batch + CRC_FROM, size - CRC_FROM);
}

void batch_place(uint8_t *batch, int64_t base_offset, int32_t leader_epoch)
{
    put_u64(batch, (uint64_t)base_offset);
    put_u32(batch + 12, (uint32_t)leader_epoch);
}

/* ---- building ---- */

void batch_builder_init(struct batch_builder *b, size_t max)
{
    assert(max > BATCH_HEADER);
    memset(b, 0, sizeof *b);
    buf_init(&b->bytes, max);
}

void batch_builder_release(struct batch_builder *b)
{
    buf_release(&b->bytes);
    batch_builder_clear(b);
}

void batch_builder_clear(struct batch_builder *b)
{
    buf_clear(&b->bytes);
    b->base_timestamp_ms = b->max_timestamp_ms = 0;
    b->count = 0;
    b->last.len = b->last.shape.len = 0;
}

static beck_status reserve_header(struct buf *b)
{
    beck_status st = buf_reserve(b, BATCH_HEADER);

    if (st == BECK_OK)
        b->len += BATCH_HEADER;
    return st;
}

beck_status batch_builder_add(struct batch_builder *b, const beck_event *e, beck_bytes bus,
                              int64_t timestamp_ms)
{
    return batch_builder_add_carried(b, e, NULL, bus, timestamp_ms);
}

beck_status batch_builder_add_carried(struct batch_builder *b, const beck_event *e,
                                      const struct carried *carried, beck_bytes bus,
                                      int64_t timestamp_ms)
{
    int64_t base = b->count == 0 ? timestamp_ms : b->base_timestamp_ms;
    int64_t delta;
    beck_status st;

    if (b->bytes.len == 0 && (st = reserve_header(&b->bytes)) != BECK_OK)
        return st;
    if (b->count == INT32_MAX)
        return BECK_ELIMIT;
    if (__builtin_sub_overflow(timestamp_ms, base, &delta))
        return BECK_EINVAL;
    if (carried != NULL || !record_write_step(&b->bytes, &b->last, e, delta, b->count)) {
        st = record_write(&b->bytes, &b->last, e, carried, bus, delta, b->count);
        if (st != BECK_OK)
            return st;
    }
    if (b->count == 0 || timestamp_ms > b->max_timestamp_ms)
        b->max_timestamp_ms = timestamp_ms;
    b->base_timestamp_ms = base;
    b->count++;
    return BECK_OK;
}

/* The compressed form in scratch, when that is smaller; *kind says which it became. */
static beck_status compress(struct batch_builder *b, struct codec *codec, beck_codec *kind,
                            struct buf *scratch, beck_error *err)
{
    beck_bytes records =
        bytes_of(b->bytes.data + BATCH_HEADER, b->bytes.len - (size_t)BATCH_HEADER);
    beck_status st;

    buf_clear(scratch);
    st = reserve_header(scratch);
    if (st == BECK_OK)
        st = codec_compress(codec, *kind, records, scratch, err);
    if (st == BECK_OK && scratch->len < b->bytes.len)
        return BECK_OK;
    *kind = BECK_CODEC_NONE;
    /* Larger than scratch may become: as good as not smaller. */
    return st == BECK_ELIMIT ? BECK_OK : st;
}

beck_status batch_builder_finish(struct batch_builder *b, struct codec *codec, beck_codec kind,
                                 int64_t base_offset, const struct batch_header *producer,
                                 struct buf *scratch, beck_bytes *out, beck_error *err)
{
    struct batch_header h = {
        .base_offset = base_offset,
        .last_offset_delta = b->count - 1,
        .base_timestamp_ms = b->base_timestamp_ms,
        .max_timestamp_ms = b->max_timestamp_ms,
        .producer_id = -1,
        .producer_epoch = -1,
        .base_sequence = -1,
        .count = b->count,
    };
    struct buf *whole = &b->bytes;

    assert(b->count > 0);
    if (kind != BECK_CODEC_NONE) {
        beck_status st = compress(b, codec, &kind, scratch, err);

        if (st != BECK_OK)
            return st;
        if (kind != BECK_CODEC_NONE)
            whole = scratch;
    }
    if (producer != NULL) {
        h.producer_id = producer->producer_id;
        h.producer_epoch = producer->producer_epoch;
        h.base_sequence = producer->base_sequence;
        h.attributes = producer->attributes & BATCH_TRANSACTIONAL;
    }
    h.attributes = (uint16_t)(h.attributes | kind);
    h.length = (int32_t)(whole->len - BATCH_LENGTH_PREFIX);
    batch_header_write(whole->data, &h);
    if (codec != NULL)
        batch_seal(whole->data, whole->len);
    *out = buf_bytes(whole);
    return BECK_OK;
}

/* ---- reading ---- */

beck_status batch_records_open(struct batch_records *r, beck_bytes batch, struct codec *codec,
                               struct buf *memory, beck_error *err)
{
    struct batch_header h;
    beck_bytes records;
    unsigned kind;
    beck_status st;

    if (batch.len < BATCH_HEADER)
        return error_set(err, BECK_ECORRUPT, "cut off batch: %zu bytes are no header", batch.len);
    st = batch_header_read(batch.data, &h, err);
    if (st != BECK_OK)
        return st;
    if (batch_size(&h) > batch.len)
        return error_set(err, BECK_ECORRUPT, "cut off batch: %zu of %zu bytes are there", batch.len,
                         batch_size(&h));
    records = bytes_of((const uint8_t *)batch.data + BATCH_HEADER, batch_size(&h) - BATCH_HEADER);
    kind = h.attributes & BATCH_CODEC_MASK;
    if (kind > BECK_CODEC_ZSTD)
        return error_set(err, BECK_ECORRUPT, "damaged batch: there is no codec %u", kind);
    if (kind != BECK_CODEC_NONE && records.len > 0) {
        buf_clear(memory);
        st = codec_decompress(codec, (beck_codec)kind, records, memory, err);
        if (st != BECK_OK)
            return st;
        records = buf_bytes(memory);
    }
    if (!count_fits(&h, records.len))
        return error_set(err, BECK_ECORRUPT, "damaged batch: %d records do not fit into %zu bytes",
                         h.count, records.len);
    *r = (struct batch_records){.header = h, .records = records, .left = h.count};
    if (h.attributes & BATCH_CONTROL) {
        r->left = 0;
        r->at = records.len;
    }
    return BECK_OK;
}

static beck_status records_end(const struct batch_records *r, beck_error *err)
{
    if (r->at != r->records.len)
        return error_set(err, BECK_ECORRUPT, "damaged batch: %zu bytes are left behind its records",
                         r->records.len - r->at);
    return BECK_END;
}

/* The base that gives the next record the batch's max as its timestamp. */
static beck_status append_time_base(const struct batch_records *r, int64_t *base, beck_error *err)
{
    int64_t offset, delta;
    beck_bytes key;
    bool is_null;
    size_t at = r->at;
    beck_status st = record_peek(r->records, &at, 0, 0, &offset, &delta, &key, &is_null, NULL, err);

    if (st == BECK_OK && __builtin_sub_overflow(r->header.max_timestamp_ms, delta, base))
        return error_set(err, BECK_ECORRUPT, "damaged batch: a timestamp cannot be");
    return st;
}

beck_status batch_records_next(struct batch_records *r, const struct record_context *c,
                               struct record_view *out, beck_error *err)
{
    int64_t base = r->header.base_timestamp_ms;
    beck_status st;

    if (r->left == 0)
        return records_end(r, err);
    if (r->header.attributes & BATCH_LOG_APPEND_TIME) {
        st = append_time_base(r, &base, err);
        if (st != BECK_OK)
            return st;
    }
    st = record_read(r->records, &r->at, c, r->header.base_offset, base, r->last == out, out, err);
    r->last = st == BECK_OK ? out : NULL;
    r->shape.len = 0;
    r->left -= st == BECK_OK;
    return st;
}

/* ---- changing ---- */

beck_status batch_rewrite(const struct batch_header *old, beck_bytes records, int32_t count,
                          int64_t max_timestamp_ms, struct codec *codec, struct buf *out,
                          beck_error *err)
{
    struct batch_header h = *old;
    beck_codec kind;

    if (count == 0)
        h.attributes &= (uint16_t)~BATCH_CODEC_MASK;
    kind = (beck_codec)(h.attributes & BATCH_CODEC_MASK);
    buf_clear(out);
    beck_status st = reserve_header(out);
    if (st == BECK_OK)
        st = kind == BECK_CODEC_NONE ? buf_append(out, records.data, records.len)
                                     : codec_compress(codec, kind, records, out, err);
    if (st != BECK_OK)
        return error_set(err, st, "no memory to rewrite a batch of %zu bytes", records.len);
    h.length = (int32_t)(out->len - BATCH_LENGTH_PREFIX);
    h.count = count;
    if (!(h.attributes & BATCH_LOG_APPEND_TIME))
        h.max_timestamp_ms = max_timestamp_ms;
    batch_header_write(out->data, &h);
    batch_seal(out->data, out->len);
    return BECK_OK;
}

/* ---- control batches ---- */

#define CONTROL_COMMIT 1
#define CONTROL_KEY 4   /* version i16 = 0 | type i16 */
#define CONTROL_VALUE 6 /* version i16 | coordinatorEpoch i32 */

bool batch_control_read(const struct batch_header *h, const uint8_t *batch, bool *commit,
                        int32_t *coordinator_epoch)
{
    beck_bytes records = bytes_of(batch + BATCH_HEADER, batch_size(h) - BATCH_HEADER), key, whole;
    size_t at = 0;
    int64_t offset, timestamp_ms, length;
    bool is_null;

    if (record_peek(records, &at, 0, 0, &offset, &timestamp_ms, &key, &is_null, &whole, NULL) ||
        key.len != CONTROL_KEY || is_null)
        return false;
    const uint8_t *k = key.data, *end = (const uint8_t *)whole.data + whole.len,
                  *value = k + CONTROL_KEY;
    value += varint_read(value, end, &length);
    if (length < CONTROL_VALUE || get_u16(k) != 0 || get_u16(k + 2) > CONTROL_COMMIT)
        return false;
    *commit = get_u16(k + 2) == CONTROL_COMMIT;
    *coordinator_epoch = (int32_t)get_u32(value + 2);
    return true;
}

/* ---- what producers send ---- */

static beck_status check_header(const struct batch_header *h, beck_error *err)
{
    unsigned kind = h->attributes & BATCH_CODEC_MASK;

    if (kind > BECK_CODEC_ZSTD)
        return error_set(err, BECK_EINVAL, "there is no codec %u", kind);
    if (h->attributes & BATCH_CONTROL)
        return error_set(err, BECK_EINVAL, "producers may not send control batches");
    if (h->count < 1 || h->count != (int64_t)h->last_offset_delta + 1)
        return error_set(err, BECK_EINVAL, "a batch of %d records cannot have a last offset of %d",
                         h->count, h->last_offset_delta);
    if (h->producer_id >= 0 && (h->base_sequence < 0 || h->producer_epoch < 0))
        return error_set(err, BECK_EINVAL,
                         "producer %lld sends a batch without a sequence number or epoch",
                         (long long)h->producer_id);
    return BECK_OK;
}

#define SHORT_VARINT 3 /* bytes */
#define PLAIN_HEAD 16  /* bytes that five such numbers and the attributes have at most */
#define PLAIN_TIME (INT64_C(1) << 62)

/* Behind the varint that begins at p; NULL: it is longer than SHORT_VARINT, which can be read. */
static inline const uint8_t *short_varint(const uint8_t *p, int64_t *value)
{
    uint32_t v = p[0] & 0x7f;
    size_t n = 1;

    if (p[0] >= 0x80) {
        v |= (uint32_t)(p[1] & 0x7f) << 7;
        n = 2;
        if (p[1] >= 0x80) {
            v |= (uint32_t)p[2] << 14;
            n = 3;
            if (p[2] >= 0x80)
                return NULL;
        }
    }
    *value = (int32_t)(v >> 1) ^ -(int32_t)(v & 1);
    return p + n;
}

/* What most records look like: small numbers, and no headers. Returns where it ends, or NULL: it is
 * not one of those, or not whole, which record_peek says. */
static const uint8_t *plain_record(const uint8_t *p, const uint8_t *end, int32_t number,
                                   int64_t *timestamp)
{
    int64_t length, delta, key, value;
    const uint8_t *last;

    if (end - p < PLAIN_HEAD || !(p = short_varint(p, &length)) || length < 1 || length > end - p)
        return NULL;
    last = p + length;
    p++; /* attributes */
    if (!(p = short_varint(p, timestamp)) || !(p = short_varint(p, &delta)) || delta != number)
        return NULL;
    if (!(p = short_varint(p, &key)) || key < -1 || (key > 0 && key > last - p))
        return NULL;
    p += key > 0 ? key : 0;
    if (end - p < SHORT_VARINT || !(p = short_varint(p, &value)) || value < -1 ||
        (value > 0 && value > last - p))
        return NULL;
    p += value > 0 ? value : 0;
    return p + 1 == last && *p == 0 ? last : NULL;
}

/* *newest_ms: the latest time of one of them. */
static beck_status check_records(struct batch_records *r, int64_t *newest_ms, beck_error *err)
{
    const uint8_t *records = r->records.data, *end = records + r->records.len;
    bool plain = r->header.base_timestamp_ms > -PLAIN_TIME &&
                 r->header.base_timestamp_ms < PLAIN_TIME; /* and no short delta passes the end */

    *newest_ms = INT64_MIN;
    for (int32_t i = 0; i < r->header.count; i++) {
        int64_t delta, timestamp_ms;
        const uint8_t *behind = plain ? plain_record(records + r->at, end, i, &delta) : NULL;
        if (behind) {
            r->at = (size_t)(behind - records);
            timestamp_ms = r->header.base_timestamp_ms + delta;
            *newest_ms = timestamp_ms > *newest_ms ? timestamp_ms : *newest_ms;
            continue;
        }
        beck_bytes key;
        bool is_null;
        beck_status st = record_peek(r->records, &r->at, 0, r->header.base_timestamp_ms, &delta,
                                     &timestamp_ms, &key, &is_null, NULL, err);

        if (st != BECK_OK)
            return st;
        if (delta != i)
            return error_set(err, BECK_EINVAL, "record %d of the batch says that it is number %lld",
                             i, (long long)delta);
        *newest_ms = timestamp_ms > *newest_ms ? timestamp_ms : *newest_ms;
    }
    return records_end(r, err) == BECK_END ? BECK_OK : BECK_ECORRUPT;
}

beck_status batch_check_produced(beck_bytes batch, size_t size_max, bool deep, struct codec *codec,
                                 struct buf *memory, struct batch_header *out, beck_error *err)
{
    struct batch_header h;
    beck_status st;

    if (batch.len > size_max)
        return error_set(err, BECK_ELIMIT,
                         "a batch of %zu bytes is larger than the %zu that are allowed "
                         "(event_bytes_max; max.message.bytes of a topic)",
                         batch.len, size_max);
    if (batch.len < BATCH_HEADER)
        return error_set(err, BECK_ECORRUPT, "cut off batch: %zu bytes are no header", batch.len);
    st = batch_header_read(batch.data, &h, err);
    if (st != BECK_OK)
        return st;
    if (batch_size(&h) != batch.len)
        return error_set(err, batch_size(&h) > batch.len ? BECK_ECORRUPT : BECK_EINVAL,
                         "the batch says that it has %zu bytes, %zu came: send one whole batch",
                         batch_size(&h), batch.len);
    if (!batch_crc_fits(batch.data, batch.len))
        return error_set(err, BECK_ECORRUPT, "damaged batch: the checksum does not fit");
    st = check_header(&h, err);
    if (st != BECK_OK)
        return st;
    if (deep || (h.attributes & BATCH_CODEC_MASK) == BECK_CODEC_NONE) {
        struct batch_records r;
        int64_t newest_ms;

        st = batch_records_open(&r, batch, codec, memory, err);
        if (st == BECK_OK)
            st = check_records(&r, &newest_ms, err);
        if (st != BECK_OK)
            return st;
        if (!(h.attributes & BATCH_LOG_APPEND_TIME))
            h.max_timestamp_ms = newest_ms;
    }
    *out = h;
    return BECK_OK;
}
