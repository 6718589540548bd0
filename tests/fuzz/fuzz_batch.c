/*
 * Batches and compressed data as a producer or a damaged disk could give them. The first byte says
 * how the rest is taken: 0 as a batch, 1 as a batch whose length and checksum are made to fit (so
 * that what lies behind these checks is reached), 2-5 as data of a codec. What is read as events
 * must be the same after it is written and read again, and by the short ways that cursors go.
 */
#include "fuzz.h"

#include "log/batch.h"

#define MEMORY_MAX (1u << 20)

struct world {
    struct codec codec;
    struct buf memory, record;
    struct record_context context;
    struct record_view view, again, shortly;
};

static void same(beck_bytes a, beck_bytes b)
{
    REQUIRE(bytes_equal(a, b));
}

/* Written again, the event is read as it was. */
static void write_again(struct world *w)
{
    const beck_event *e = &w->view.event, *a = &w->again.event;
    size_t at = 0;
    struct record_last none = {0};
    beck_error err;

    if (w->view.timestamp_ms < 0)
        return; /* has no time of its own */
    buf_clear(&w->record);
    REQUIRE(record_write(&w->record, &none, e, NULL, w->context.bus, 0, 0) == BECK_OK);
    REQUIRE(w->record.len <= record_size_max(e));
    REQUIRE(record_read(buf_bytes(&w->record), &at, &w->context, w->view.offset,
                        w->view.timestamp_ms, false, &w->again, &err) == BECK_OK);
    REQUIRE(at == w->record.len);
    same(a->type, e->type.len > 0 ? e->type : w->context.bus);
    same(a->subject, e->subject);
    same(a->source, e->source);
    same(a->id, e->id);
    same(a->data, e->data);
    same(a->datacontenttype, e->datacontenttype);
    same(a->dataschema, e->dataschema);
    same(a->correlationid, e->correlationid);
    same(a->causationid, e->causationid);
    REQUIRE(a->deliver_at_ms == e->deliver_at_ms && a->expires_at_ms == e->expires_at_ms);
    REQUIRE(a->priority == e->priority && a->extension_count == e->extension_count);
    for (size_t i = 0; i < e->extension_count; i++) {
        same(a->extensions[i].name, e->extensions[i].name);
        same(a->extensions[i].value, e->extensions[i].value);
    }
}

/* The record that was just read, from a reader that is one behind. */
static void read_shortly(struct world *w, struct batch_records *r)
{
    struct record_view *v = &w->shortly;
    const beck_event *e = &w->view.event, *a = &v->event;
    beck_error err;

    if (!batch_records_step(r, &w->context, v) && !batch_records_follow(r, &w->context, v))
        REQUIRE(batch_records_next(r, &w->context, v, &err) == BECK_OK);
    REQUIRE(v->offset == w->view.offset && v->timestamp_ms == w->view.timestamp_ms);
    REQUIRE(v->key.data == w->view.key.data && v->key.len == w->view.key.len);
    REQUIRE(v->value_is_null == w->view.value_is_null && a->time_ns == e->time_ns);
    REQUIRE(a->data.data == e->data.data && a->data.len == e->data.len);
    REQUIRE(a->position.offset == e->position.offset && a->priority == e->priority);
    REQUIRE(a->extension_count == e->extension_count);
    same(a->type, e->type);
    same(a->subject, e->subject);
    same(a->id, e->id);
}

static void read_batch(struct world *w, beck_bytes batch)
{
    struct batch_header h;
    struct batch_records r, behind;
    beck_error err;
    int32_t count = 0;
    beck_status st;
    bool passes =
        batch_check_produced(batch, MEMORY_MAX, true, &w->codec, &w->memory, &h, &err) == BECK_OK;

    if (batch_records_open(&r, batch, &w->codec, &w->memory, &err) != BECK_OK) {
        REQUIRE(!passes);
        return;
    }
    behind = r;
    while ((st = batch_records_next(&r, &w->context, &w->view, &err)) == BECK_OK) {
        count++;
        r.last = NULL; /* each as if it were alone */
        read_shortly(w, &behind);
        write_again(w);
    }
    REQUIRE(st == BECK_END || st == BECK_ECORRUPT);
    if (passes && h.base_offset < INT64_MAX - INT32_MAX && h.base_timestamp_ms >= 0)
        REQUIRE(st == BECK_END && count == h.count);
}

/* Length and checksum fit, as far as a batch can be made of so few bytes. */
static void make_fit(uint8_t *batch, size_t size)
{
    if (size < BATCH_HEADER)
        return;
    put_u32(batch + 8, (uint32_t)(size - BATCH_LENGTH_PREFIX));
    batch[16] = 2;
    batch_seal(batch, size);
}

static void decompress(struct world *w, beck_codec kind, beck_bytes in)
{
    beck_error err;
    beck_status st = codec_decompress(&w->codec, kind, in, &w->memory, &err);

    REQUIRE(w->memory.len <= MEMORY_MAX);
    REQUIRE(st == BECK_OK || (w->memory.len == 0 && (st == BECK_ECORRUPT || st == BECK_ELIMIT)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world *w = malloc(sizeof *w);
    uint8_t *copy = malloc(size > 0 ? size : 1);

    if (w != NULL && copy != NULL && size > 0) {
        uint8_t mode = data[0] % 6;

        memcpy(copy, data + 1, size - 1);
        codec_init(&w->codec);
        buf_init(&w->memory, MEMORY_MAX);
        buf_init(&w->record, 2 * MEMORY_MAX);
        record_context_init(&w->context, beck_str("orders"), 0);
        if (mode == 1)
            make_fit(copy, size - 1);
        if (mode < 2)
            read_batch(w, bytes_of(copy, size - 1));
        else
            decompress(w, (beck_codec)(mode - 1), bytes_of(copy, size - 1));
        codec_release(&w->codec);
        buf_release(&w->memory);
        buf_release(&w->record);
    }
    free(w);
    free(copy);
    return 0;
}
