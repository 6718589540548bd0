/* Batches as producers send them; for the tests that include it, after world.h. */
#ifndef TESTS_LOG_PRODUCED_H
#define TESTS_LOG_PRODUCED_H

#include "log/batch.h"

/* One batch with these events; producer NULL: none. out: initialised. */
static inline beck_status make_batch(struct buf *out, const beck_event *events, size_t count,
                                     int64_t time_ms, beck_codec kind,
                                     const struct batch_header *producer)
{
    struct batch_builder b;
    struct codec codec;
    struct buf scratch;
    beck_bytes batch = {0};
    beck_status status = BECK_OK;
    batch_builder_init(&b, 64 << 20);
    buf_init(&scratch, 64 << 20);
    codec_init(&codec);
    for (size_t i = 0; i < count && !status; i++)
        status = batch_builder_add(&b, &events[i], beck_str("b"),
                                   events[i].time_ns ? events[i].time_ns / 1000000 : time_ms);
    if (!status)
        status = batch_builder_finish(&b, &codec, kind, 0, producer, &scratch, &batch, NULL);
    buf_clear(out);
    if (!status)
        status = buf_append(out, batch.data, batch.len);
    batch_builder_release(&b);
    buf_release(&scratch);
    codec_release(&codec);
    return status;
}

/* Stores one event as a batch of an idempotent producer (id -1: of none). */
static inline beck_status produce_one(struct partition *p, int64_t id, int32_t sequence,
                                      const char *text, beck_level level, int64_t *offset)
{
    struct buf batch;
    beck_event e = {.type = beck_str("t"), .data = beck_str(text)};
    struct batch_header producer = {.producer_id = id,
                                    .producer_epoch = (int16_t)(id < 0 ? -1 : 0),
                                    .base_sequence = id < 0 ? -1 : sequence};
    buf_init(&batch, 64 << 20);
    beck_status status = make_batch(&batch, &e, 1, 1700000000000, BECK_CODEC_NONE, &producer);
    struct produce a = {.batch = batch.data, .size = batch.len, .level = level};
    if (!status)
        status = partition_produce(p, &a, NULL);
    *offset = a.first_offset;
    buf_release(&batch);
    return status;
}

#endif
