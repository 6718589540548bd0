/*
 * Record batch v2, Kafka's format (KIP-98; clients/.../DefaultRecordBatch): 61 bytes big-endian,
 * then the records, compressed as one block.
 *
 *    0 baseOffset i64              27 baseTimestamp i64
 *    8 batchLength i32             35 maxTimestamp i64
 *      (bytes after this field)    43 producerId i64
 *   12 partitionLeaderEpoch i32    51 producerEpoch i16
 *   16 magic i8 = 2                53 baseSequence i32
 *   17 crc u32 (CRC-32C of         57 recordCount i32
 *      byte 21 to the end)         61 records
 *   21 attributes i16
 *   23 lastOffsetDelta i32
 *
 * With the bit BATCH_DELETE_HORIZON baseTimestamp is the time from which on compaction may drop the batch's tombstones,
 * or its control record; deltas of timestamps are from there all the same (KIP-534).
 *
 * A batch is valid when its length lies within the bytes at hand, magic is 2 and the checksum fits.
 * Base offset and leader epoch are outside of the checksum: they are set when the batch is stored.
 */
#ifndef BECK_LOG_BATCH_H
#define BECK_LOG_BATCH_H

#include "log/codec.h"
#include "log/record_fields.h"

#define BATCH_HEADER 61
#define BATCH_LENGTH_PREFIX 12 /* baseOffset and batchLength */

enum batch_attributes {
    BATCH_CODEC_MASK = 7,
    BATCH_LOG_APPEND_TIME = 8,
    BATCH_TRANSACTIONAL = 16,
    BATCH_CONTROL = 32,
    BATCH_DELETE_HORIZON = 64
};

struct batch_header {
    int64_t base_offset;
    int32_t length; /* as stored: total - 12 */
    int32_t leader_epoch;
    uint32_t crc;
    uint16_t attributes;
    int32_t last_offset_delta;
    int64_t base_timestamp_ms, max_timestamp_ms;
    int64_t producer_id; /* -1: none */
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t count;
};

static inline size_t batch_size(const struct batch_header *h)
{
    return (size_t)h->length + BATCH_LENGTH_PREFIX;
}
static inline int64_t batch_last_offset(const struct batch_header *h)
{
    return h->base_offset + h->last_offset_delta;
}

/* Reads a header from at least BATCH_HEADER bytes. BECK_ECORRUPT: magic, or a length, count or
 * delta that cannot be. The checksum is not looked at. */
beck_status batch_header_read(const uint8_t *p, struct batch_header *out, beck_error *err);
void batch_header_write(
    uint8_t *p,
    const struct batch_header *h); /* all but the crc, which the caller sets last by batch_seal */
/* What a whole control batch says of its producer's transaction. False: it says something else. */
bool batch_control_read(const struct batch_header *h, const uint8_t *batch, bool *commit,
                        int32_t *coordinator_epoch);
/* Computes and stores the checksum of a whole batch of `size` bytes. */
void batch_seal(uint8_t *batch, size_t size);
/* Writes the header's max timestamp, and seals anew, when the batch says another one. */
void batch_correct_time(uint8_t *batch, size_t size, const struct batch_header *h);
bool batch_crc_fits(const uint8_t *batch, size_t size);
/* Sets base offset and leader epoch in a stored or received batch: outside of the checksum. */
void batch_place(uint8_t *batch, int64_t base_offset, int32_t leader_epoch);

/*
 * Building: add events, then finish. The header's room is reserved in front of the records, so an
 * uncompressed batch is built in place.
 */
struct batch_builder {
    struct buf bytes; /* BATCH_HEADER bytes of room, then records */
    int64_t base_timestamp_ms, max_timestamp_ms;
    int32_t count;
    struct record_last last;
};
void batch_builder_init(struct batch_builder *b, size_t max);
void batch_builder_release(struct batch_builder *b);
void batch_builder_clear(struct batch_builder *b); /* keeps the memory */
/* Adds an event with the next offset delta. BECK_ELIMIT: the batch would pass its ceiling; nothing
 * was added. */
beck_status batch_builder_add(struct batch_builder *b, const beck_event *e, beck_bytes bus,
                              int64_t timestamp_ms);
/* The same with what the record carries beside it; may be NULL. */
beck_status batch_builder_add_carried(struct batch_builder *b, const beck_event *e,
                                      const struct carried *carried, beck_bytes bus,
                                      int64_t timestamp_ms);
/* Completes header and checksum. `scratch` is used when compressing; when the codec does not make
 * it smaller it is stored uncompressed. producer: NULL, or one whose producer_id, producer_epoch,
 * base_sequence (and transactional attribute) are taken over. *out is valid until the builder or
 * scratch changes. codec NULL: the batch stays in this process, and is neither compressed nor
 * sealed. */
beck_status batch_builder_finish(struct batch_builder *b, struct codec *codec, beck_codec kind,
                                 int64_t base_offset, const struct batch_header *producer,
                                 struct buf *scratch, beck_bytes *out, beck_error *err);

/* Reading the records of one whole, checked batch. Decompresses into `memory` when needed, else
 * refers to the batch itself. The ceiling for decompressed records is memory->max. */
struct batch_records {
    struct batch_header header;
    beck_bytes records;
    size_t at;
    int32_t left;
    const struct record_view *last; /* that the record before was read into */
    struct record_shape
        shape; /* of that record, whose view is `last`; noted by batch_records_follow */
};
beck_status batch_records_open(struct batch_records *r, beck_bytes batch, struct codec *codec,
                               struct buf *memory, beck_error *err);
/* BECK_END after the last. A control batch gives no records (BECK_END at once). With
 * BATCH_LOG_APPEND_TIME the timestamp of every record is the batch's max. */
beck_status batch_records_next(struct batch_records *r, const struct record_context *c,
                               struct record_view *out, beck_error *err);

/* Where a record begins is known when the one before has been read, which another processor may have
 * just written: it is fetched ahead, as if all were as long as this one, and so is the batch behind. */
#define FOLLOW_AHEAD 6

static inline void batch_records_pass(struct batch_records *r, size_t len)
{
    uintptr_t at = (uintptr_t)r->records.data + r->at;
    __builtin_prefetch((const void *)(at + FOLLOW_AHEAD * len)); /* may be anywhere */
    r->at += len;
    r->left--;
}

/* batch_records_next in short, for a record of the shape of the one before: false where it is not known to
 * be. */
static inline bool batch_records_step(struct batch_records *r, const struct record_context *c,
                                      struct record_view *v)
{
    const uint8_t *p = (const uint8_t *)r->records.data + r->at;
    size_t len = r->shape.len;
    if (len == 0 || r->left == 0 || len > r->records.len - r->at ||
        !record_shape_fits(&r->shape, p) || !record_step(v, c, &r->shape, p))
        return false;
    batch_records_pass(r, len);
    return true;
}

/* The same for one with the same headers. Notes its shape. */
static inline bool batch_records_follow(struct batch_records *r, const struct record_context *c,
                                        struct record_view *v)
{
    const uint8_t *p = (const uint8_t *)r->records.data + r->at;
    struct record_fields f;
    r->shape.len = 0;
    if (r->left == 0 || r->last != v || (r->header.attributes & BATCH_LOG_APPEND_TIME) ||
        record_fields_read(r->records, r->at, &f) ||
        record_place(&f, r->header.base_offset, r->header.base_timestamp_ms, &v->offset,
                     &v->timestamp_ms) ||
        !record_follow(v, c, &f))
        return false;
    record_shape_read(&r->shape, p, &f);
    batch_records_pass(r, (size_t)(f.end - p));
    return true;
}

/* A batch with other records in the place of those it had (uncompressed, in `records`): offsets, producer and codec
 * stay. Replaces what is in `out`. */
beck_status batch_rewrite(const struct batch_header *old, beck_bytes records, int32_t count,
                          int64_t max_timestamp_ms, struct codec *codec, struct buf *out,
                          beck_error *err);

/* The checks Kafka makes on a batch from a producer (storage/.../LogValidator): whole, magic 2,
 * checksum, count = lastOffsetDelta + 1, consecutive deltas (records are opened only when they are
 * not compressed or `deep`), no control batch, sequence with a producer id not negative, size <=
 * size_max. out->max_timestamp_ms is that of the records that were opened: some clients write another one,
 * and indexes go by it, so it belongs into the batch (batch_correct_time). */
beck_status batch_check_produced(beck_bytes batch, size_t size_max, bool deep, struct codec *codec,
                                 struct buf *memory, struct batch_header *out, beck_error *err);

#endif
