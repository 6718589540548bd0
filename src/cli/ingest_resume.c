/* Readers go forward, so a partition is read backward in stretches that double: nothing but the end
 * is read when the last ingest was the last to publish. */
#include "cli/ingest_resume.h"
#include "base/error.h"
#include <stdlib.h>

#define DATA_MAX (256u << 20)
#define STRETCH_MIN 256
#define STRETCH_MAX (1 << 20)

/* Called with the events of the source, forward within a stretch. */
typedef beck_status (*visit_fn)(void *ctx, const struct ingest_mark *mark, const beck_event *e);

struct search {
    beck_bus *bus;
    beck_bytes source;
    const char *fingerprint; /* NULL: any */
    struct ingest_resume *out;
    struct ingest_mark last; /* of one partition */
    int64_t lowest;          /* number of a stretch; INT64_MAX: none */
};

static beck_status read_stretch(struct search *s, uint32_t partition, int64_t from, int64_t to,
                                visit_fn visit, beck_error *err)
{
    beck_read_options how = {.from = {.kind = BECK_FROM_OFFSET, .offset = from},
                             .partition_plus_1 = (int32_t)partition + 1};
    beck_reader *reader;
    beck_status status = beck_reader_open(s->bus, &how, &reader, err);
    if (status) {
        return status;
    }
    for (;;) {
        const beck_event *e;
        struct ingest_mark mark;
        status = beck_reader_next(reader, 0, &e, err);
        if (status || e->position.offset >= to) {
            break;
        }
        if (ingest_mark_read(e, s->source, &mark) &&
            (!s->fingerprint || strcmp(mark.fingerprint, s->fingerprint) == 0)) {
            s->lowest = mark.number < s->lowest ? mark.number : s->lowest;
            status = visit(s, &mark, e);
            if (status) {
                break;
            }
        }
    }
    beck_reader_close(reader);
    return status == BECK_END ? BECK_OK : status;
}

/* Reads a partition backward until an event of the source is found whose number is at most `until`,
 * or its beginning. */
static beck_status read_backward(struct search *s, uint32_t partition, int64_t until,
                                 visit_fn visit, beck_error *err)
{
    beck_partition_info info;
    beck_status status = beck_partition_info_get(s->bus, partition, &info, err);
    int64_t stretch = STRETCH_MIN;
    int64_t to = status ? 0 : info.next_offset;
    while (!status && to > info.first_offset) {
        int64_t from = to - info.first_offset > stretch ? to - stretch : info.first_offset;
        s->lowest = INT64_MAX;
        status = read_stretch(s, partition, from, to, visit, err);
        if (s->lowest <= until) {
            break;
        }
        to = from;
        stretch = stretch < STRETCH_MAX ? stretch * 2 : stretch;
    }
    return status;
}

/* ---- the last record ---- */

/* A later event wins over one of another file; of one file the highest number. */
static beck_status note_last(void *ctx, const struct ingest_mark *mark, const beck_event *e)
{
    struct search *s = ctx;
    (void)e;
    if (strcmp(s->last.fingerprint, mark->fingerprint) != 0 || mark->number > s->last.number) {
        s->last = *mark;
    }
    return BECK_OK;
}

static beck_status find_last(struct search *s, uint32_t partitions, const char *fingerprint,
                             beck_error *err)
{
    struct ingest_resume *r = s->out;
    beck_status status = BECK_OK;
    for (uint32_t p = 0; p < partitions && !status; p++) {
        s->last = (struct ingest_mark){.number = -1};
        status = read_backward(s, p, INT64_MAX - 1, note_last, err);
        bool ours = strcmp(s->last.fingerprint, fingerprint) == 0;
        bool best = strcmp(r->last.fingerprint, fingerprint) == 0;
        if (s->last.number >= 0 &&
            (!r->found || (ours && !best) || (ours == best && s->last.number > r->last.number))) {
            r->last = s->last;
            r->found = true;
        }
    }
    return status;
}

/* ---- the last stretch ---- */

static beck_status note_there(void *ctx, const struct ingest_mark *mark, const beck_event *e)
{
    struct search *s = ctx;
    struct ingest_resume *r = s->out;
    int64_t i = mark->number - r->settled - 1;
    if (r->there && i >= 0 && i < 2 * INGEST_WINDOW) {
        r->there[i / 8] |= (uint8_t)(1 << i % 8);
    }
    if (mark->number < r->last.number) {
        return BECK_OK;
    }
    r->last = *mark;
    r->position = e->position;
    buf_clear(&r->data);
    return buf_append(&r->data, e->data.data, e->data.len);
}

static beck_status find_window(struct search *s, uint32_t partitions, beck_error *err)
{
    struct ingest_resume *r = s->out;
    struct ingest_mark last = r->last;
    int64_t until = last.number;
    r->settled = last.number;
    if (partitions > 1) {
        r->settled = last.number > INGEST_WINDOW ? last.number - INGEST_WINDOW : 0;
        /* A resumed run fills gaps, so numbers may go back by a window. */
        until = r->settled - INGEST_WINDOW;
        r->there = calloc(1, 2 * INGEST_WINDOW / 8);
        if (!r->there) {
            return error_set(err, BECK_ENOMEM, "no memory to resume");
        }
    }
    s->fingerprint = last.fingerprint;
    beck_status status = BECK_OK;
    for (uint32_t p = 0; p < partitions && !status; p++) {
        status = read_backward(s, p, until, note_there, err);
    }
    s->fingerprint = NULL;
    return status;
}

beck_status ingest_resume_find(beck_bus *bus, beck_bytes source, const char *fingerprint,
                               struct ingest_resume *out, beck_error *err)
{
    *out = (struct ingest_resume){0};
    buf_init(&out->data, DATA_MAX);
    struct search s = {.bus = bus, .source = source, .out = out};
    beck_bus_info info;
    beck_status status = beck_bus_info_get(bus, &info, err);
    status = status ? status : find_last(&s, info.options.partitions, fingerprint, err);
    if (!status && out->found) {
        status = find_window(&s, info.options.partitions, err);
    }
    return status;
}

bool ingest_resume_is_recent(beck_bus *bus, beck_bytes source, const char *fingerprint)
{
    struct search s = {
        .bus = bus, .source = source, .fingerprint = fingerprint, .last = {.number = -1}};
    beck_partition_info info;
    for (uint32_t p = 0; s.last.number < 0 && !beck_partition_info_get(bus, p, &info, NULL); p++) {
        int64_t from = info.next_offset - STRETCH_MIN;
        from = from > info.first_offset ? from : info.first_offset;
        if (from < info.next_offset) {
            (void)read_stretch(&s, p, from, info.next_offset, note_last, NULL);
        }
    }
    return s.last.number >= 0;
}

void ingest_resume_release(struct ingest_resume *r)
{
    free(r->there);
    r->there = NULL;
    buf_release(&r->data);
}

bool ingest_resume_has(const struct ingest_resume *r, int64_t number)
{
    int64_t i = number - r->settled - 1;
    if (i < 0) {
        return true;
    }
    return r->there && i < 2 * INGEST_WINDOW && (r->there[i / 8] >> i % 8 & 1);
}
