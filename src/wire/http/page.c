/*
 * Pages of events, and waiting for the first event of one (long poll).
 *
 * Who waits has a watch on each partition and a timer. Whichever comes first reads again: `state` sees
 * to it that only one does, and that nothing which comes while the watches are being set is lost.
 *
 *   ARMING  the watches are being set, by whoever read last; what comes now is for them
 *   ARMED   the next one to come reads
 *   FIRED   somebody came
 */
#include "wire/http/follow.h"

#include "base/clock.h"
#include "base/error.h"
#include "event/cloudevents.h"

#define PAGE_BYTES 8388608 /* a page ends with the event that goes beyond it */
#define PAGE_MAX (512u << 20)
#define EVENTS_DEFAULT 1000
#define EVENTS_MAX 100000
#define GONE_MAX 4096   /* a page ends where more would be said to be gone */
#define HEADER_COST 72  /* of one of a request, beside its text */
#define ANSWER_COST 768 /* of the lines and headers that all have */

enum page_state { ARMING, ARMED, FIRED };

struct page_call {
    struct http_request *r;
    struct reading *reading;
    bool positions, lines;
    bool ends;       /* more is gone than is said of this page */
    struct buf gone; /* what was removed before it could be read: "0/12-39, 1/0-7" */
    int64_t limit, wait_ms, until_ns;
    _Atomic(int) state;
    struct partition_watch *watches; /* one a lane */
};

beck_status follow_write(const beck_event *e, bool positions, struct buf *out, beck_error *err)
{
    return positions ? cloudevents_write_exact(e, out, err)
                     : cloudevents_write(e, BECK_FORM_CLOUDEVENTS, out, err);
}

/* What was passed over is gone; BECK_END: the next page says so. */
static beck_status note_gone(struct page_call *p)
{
    const struct reading *reading = p->reading;
    beck_status status =
        buf_printf(&p->gone, "%s%u/%lld-%lld", p->gone.len ? ", " : "", reading->passed->number,
                   (long long)reading->passed_from, (long long)reading->passed_end - 1);
    if (status != BECK_ELIMIT)
        return status;
    p->ends = true;
    reading_step_back(p->reading);
    return BECK_END;
}

/* Appends events up to the limits of a page. */
static beck_status read_page(struct page_call *p, struct buf *out, int64_t *count, beck_error *err)
{
    const beck_event *e;
    beck_status status = BECK_OK;
    *count = 0;
    if (!p->lines)
        status = buf_append_byte(out, '[');
    while (!status && *count < p->limit && out->len < PAGE_BYTES) {
        status = reading_next(p->reading, &e, err);
        if (status == BECK_ECORRUPT && *count > 0) {
            reading_step_back(p->reading); /* the next page begins with it */
            status = BECK_END;
            break;
        }
        if (status == BECK_ERANGE) {
            status = note_gone(p);
            continue;
        }
        if (status)
            break;
        if (!p->lines && *count > 0)
            status = buf_append(out, ",\n", 2);
        if (!status)
            status = follow_write(e, p->positions, out, err);
        if (!status && p->lines)
            status = buf_append_byte(out, '\n');
        ++*count;
    }
    if (status == BECK_END)
        status = BECK_OK;
    if (!status && !p->lines)
        status = buf_append(out, "]\n", 2);
    if (status == BECK_ENOMEM || status == BECK_ELIMIT)
        error_set(err, status, "no memory for a page of events; ask for fewer with limit=");
    return status;
}

/* The request's own target, with the cursor instead of what said where to begin. */
static beck_status write_link(const struct page_call *p, beck_bytes cursor, struct buf *out)
{
    const char *target = http_target(p->r), *query = strchr(target, '?');
    size_t path = query ? (size_t)(query - target) : strlen(target);
    beck_status status = buf_append_byte(out, '<');
    if (!status)
        status = buf_append(out, target, path);
    if (!status)
        status = buf_append_text(out, "?cursor=");
    if (!status)
        status = buf_append(out, cursor.data, cursor.len);
    while (query && !status) {
        const char *one = query + 1;
        size_t len = strcspn(one, "&");
        query = one[len] ? one + len : NULL;
        if (len == 0 || strncmp(one, "cursor=", 7) == 0 || strncmp(one, "from=", 5) == 0)
            continue;
        status = buf_append_byte(out, '&');
        if (!status)
            status = buf_append(out, one, len);
    }
    return status ? status : buf_append_text(out, ">; rel=\"next\"");
}

static void add_size(void *ctx, const char *name, const char *value)
{
    size_t *size = ctx;
    *size += strlen(name) + strlen(value) + HEADER_COST;
}

/* What is left of the connection's memory for headers when this request, or the next one with a cursor of
 * that size, is in it. */
static size_t room_for_headers(const struct page_call *p, size_t cursor)
{
    const char *before = http_query(p->r, "cursor");
    size_t used = strlen(http_target(p->r)) + ANSWER_COST, old = before ? strlen(before) : 0;
    http_each_header(p->r, add_size, &used);
    used += cursor > old ? cursor - old : 0;
    size_t max = http_settings_of(p->r)->header_max;
    return max > used ? max - used : 0;
}

/* Beck-Cursor, and Link with the same in it: where the next page begins. */
static beck_status set_cursor(struct page_call *p, beck_error *err)
{
    struct buf cursor, link;
    buf_init(&cursor, READING_CURSOR_MAX);
    buf_init(&link, 2 * READING_CURSOR_MAX);
    beck_status status = reading_cursor(p->reading, NULL, &cursor);
    if (!status)
        status = buf_terminate(&cursor);
    if (status)
        error_set(err, status, "no memory for a page of events");
    size_t room = status ? 0 : room_for_headers(p, cursor.len);
    if (!status && cursor.len > room)
        status = error_set(
            err, BECK_EUNSUPPORTED,
            "the cursor of %u partitions has %zu bytes, too many for http.header_max; raise it, or "
            "read them one by one, with partition=0 and so on",
            p->reading->count, cursor.len);
    if (!status) {
        http_set_header(p->r, "Beck-Cursor", (const char *)cursor.data);
        /* Told twice only where there is room. */
        if (!write_link(p, buf_bytes(&cursor), &link) && !buf_terminate(&link) &&
            cursor.len + link.len <= room)
            http_set_header(p->r, "Link", (const char *)link.data);
    }
    buf_release(&cursor);
    buf_release(&link);
    return status;
}

static void answer(struct page_call *p, beck_status status, struct buf *out, beck_error *err)
{
    if (!status)
        status = set_cursor(p, err);
    else if (status == BECK_ECORRUPT)
        set_cursor(p, NULL);
    if (p->gone.len > 0 && !buf_terminate(&p->gone))
        http_set_header(p->r, "Beck-Gone", (const char *)p->gone.data);
    buf_release(&p->gone);
    reading_close(p->reading);
    if (status)
        http_fail(p->r, status, err);
    else
        http_answer(p->r, 200,
                    p->lines ? "application/x-ndjson" : "application/cloudevents-batch+json", out);
    buf_release(out);
}

static void look(struct page_call *p);

/* Whoever comes first goes on. */
static bool comes_first(struct page_call *p)
{
    return atomic_exchange(&p->state, FIRED) == ARMED;
}

static void woken(struct http_request *r, void *ctx)
{
    (void)r;
    look(ctx);
}

/* With partition.lock. */
static void notice(void *ctx)
{
    struct page_call *p = ctx;
    if (comes_first(p))
        http_to_pool(p->r, woken, p);
}

static void time_is_over(struct http_request *r, void *ctx)
{
    struct page_call *p = ctx;
    (void)r;
    if (comes_first(p))
        look(p);
}

static void unwatch(struct page_call *p)
{
    for (uint32_t i = 0; i < p->reading->count; i++)
        partition_unwatch(p->reading->lanes[i].partition, &p->watches[i]);
}

/* False: something came meanwhile, or the time is over: look again. */
static bool arm(struct page_call *p)
{
    bool waits = true;
    atomic_store(&p->state, ARMING);
    http_at(p->r, p->until_ns, time_is_over, p);
    for (uint32_t i = 0; i < p->reading->count && waits; i++) {
        struct lane *lane = &p->reading->lanes[i];
        p->watches[i] = (struct partition_watch){.fn = notice, .ctx = p, .offset = lane->next};
        waits = partition_watch(lane->partition, &p->watches[i]);
    }
    int arming = ARMING;
    waits = waits && !reading_is_outgrown(p->reading); /* before, nobody would have said so */
    return waits && atomic_compare_exchange_strong(&p->state, &arming, ARMED);
}

/* Reads what came. Nobody else looks: watches that are still set find that somebody did. */
static void look(struct page_call *p)
{
    bool over = false;
    for (;;) {
        atomic_store(&p->state, FIRED);
        unwatch(p);
        over = !http_at_cancel(p->r) || over || http_is_ending(p->r) ||
               reading_is_outgrown(p->reading); /* the next page has them */
        struct buf out;
        beck_error err;
        int64_t count;
        buf_init(&out, PAGE_MAX);
        reading_extend(p->reading);
        beck_status status = read_page(p, &out, &count, &err);
        if (status || count > 0 || p->ends || over) {
            answer(p, status, &out, &err);
            return;
        }
        buf_release(&out);
        if (arm(p))
            return;
    }
}

static bool prepare(struct page_call *p)
{
    struct http_request *r = p->r;
    const char *accept = http_header(r, "Accept");
    p->lines = accept && (strstr(accept, "application/x-ndjson") || strstr(accept, "/ndjson") ||
                          strstr(accept, "/jsonl"));
    int64_t wait_max = http_settings_of(r)->wait_max_ms;
    if (!http_query_number(r, "limit", 1, EVENTS_MAX, EVENTS_DEFAULT, &p->limit) ||
        !http_query_duration(r, "wait", INT64_MAX / 4000000, &p->wait_ms))
        return false;
    if (p->wait_ms > wait_max)
        p->wait_ms = wait_max;
    p->until_ns = clock_mono_ns(clock_system()) + p->wait_ms * 1000000;
    return true;
}

void page_answer(struct http_request *r, beck_bus *bus, const struct events_query *q)
{
    beck_error err;
    struct page_call *p = http_alloc(r, sizeof *p);
    if (!p) {
        http_refuse(r, 503, "no memory for the request");
        return;
    }
    *p = (struct page_call){.r = r, .positions = q->positions};
    buf_init(&p->gone, GONE_MAX);
    if (!prepare(p))
        return;
    beck_status status = reading_open(bus, &q->options, &p->reading, &err);
    if (status) {
        http_fail(r, status, &err);
        return;
    }
    struct buf out;
    int64_t count;
    buf_init(&out, PAGE_MAX);
    status = read_page(p, &out, &count, &err);
    if (!status && count == 0 && !p->ends && p->wait_ms > 0) {
        size_t size = p->reading->count * sizeof *p->watches;
        p->watches = http_alloc(r, size);
        if (!p->watches)
            status = error_set(&err, BECK_ENOMEM, "no memory to wait for events");
        else
            memset(p->watches, 0, size);
    }
    if (status || !p->watches) {
        answer(p, status, &out, &err);
        return;
    }
    buf_release(&out);
    http_later(r);
    if (!arm(p))
        look(p);
}
