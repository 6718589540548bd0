/* Pieces of streams of server-sent events: see follow_chunk.h. */
#include "wire/http/follow_chunk.h"

#include "wire/http/follow.h"
#include "wire/http/http_impl.h"

#include <stdlib.h>

#define CHUNK_BYTES 32768 /* a chunk ends with the event that goes beyond it */
#define CHUNK_MAX (512u << 20)
#define RETRY "retry: 2000\n"

void chunk_let_go(void *chunk)
{
    struct chunk *c = chunk;
    if (!c || atomic_fetch_sub(&c->holders, 1) != 1)
        return;
    buf_release(&c->text);
    free(c->ends);
    free(c);
}

struct chunk *chunk_new(uint32_t lanes)
{
    struct chunk *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    atomic_store(&c->holders, 1);
    buf_init(&c->text, CHUNK_MAX);
    c->ends = malloc(lanes * sizeof *c->ends);
    if (c->ends && !buf_append(&c->text, "0000000000", HTTP_FRAME_HEAD))
        return c;
    chunk_let_go(c);
    return NULL;
}

size_t chunk_len(const struct chunk *c)
{
    return c->text.len - HTTP_FRAME_HEAD;
}

bool chunk_close(struct chunk *c)
{
    size_t len = chunk_len(c);
    http_frame(c->text.data, len);
    if (buf_append(&c->text, "\r\n", HTTP_FRAME_TAIL))
        return false;
    c->text.len = HTTP_FRAME_HEAD + len;
    return true;
}

/* ---- text ---- */

/* One event as it is sent; `reading` has just given it. */
static beck_status write_event(const struct reading *reading, const beck_event *e, bool positions,
                               struct buf *out, beck_error *err)
{
    size_t start = out->len;
    beck_status status = buf_append_text(out, "id: ");
    if (!status)
        status = reading_cursor(reading, NULL, out);
    if (!status)
        status = buf_append_text(out, "\nevent: ");
    if (!status)
        status = buf_append(out, e->type.data, e->type.len);
    if (!status)
        status = buf_append_text(out, "\ndata: ");
    if (!status)
        status = follow_write(e, positions, out, err);
    if (!status)
        status = buf_append_text(out, "\n\n");
    if (status)
        out->len = start;
    return status;
}

/* What cannot be read is left out, and said so in a comment. */
static beck_status write_damage(const beck_error *why, struct buf *out)
{
    beck_status status = buf_append_text(out, ": ");
    for (const char *p = why->text; *p && !status; p++)
        status = buf_append_byte(out, *p == '\n' || *p == '\r' ? ' ' : (uint8_t)*p);
    return status ? status : buf_append_text(out, "\n\n");
}

/* What was removed before it could be read is an event of its own. */
static beck_status write_gone(const struct reading *reading, struct buf *out)
{
    size_t start = out->len;
    beck_status status = buf_append_text(out, "id: ");
    if (!status)
        status = reading_cursor(reading, NULL, out);
    if (!status)
        status = buf_printf(out,
                            "\nevent: beck.gone\n"
                            "data: {\"partition\":%u,\"from\":%lld,\"to\":%lld}\n\n",
                            reading->passed->number, (long long)reading->passed_from,
                            (long long)reading->passed_end - 1);
    if (status)
        out->len = start;
    return status;
}

beck_status chunk_fill(struct chunk *c, struct reading *reading, bool positions)
{
    beck_error err;
    const beck_event *e;
    beck_status status = BECK_OK;
    while (!status && c->text.len < CHUNK_BYTES) {
        status = reading_next(reading, &e, &err);
        if (!status)
            status = write_event(reading, e, positions, &c->text, &err);
        else if (status == BECK_ECORRUPT)
            status = write_damage(&err, &c->text);
        else if (status == BECK_ERANGE)
            status = write_gone(reading, &c->text);
    }
    reading_positions(reading, c->ends);
    return status;
}

struct chunk *chunk_first(const struct reading *reading)
{
    struct chunk *c = chunk_new(reading->count);
    if (c && !buf_append_text(&c->text, RETRY "id: ") && !reading_cursor(reading, NULL, &c->text) &&
        !buf_append_text(&c->text, "\n\n") && chunk_close(c)) {
        reading_positions(reading, c->ends);
        return c;
    }
    chunk_let_go(c);
    return NULL;
}
