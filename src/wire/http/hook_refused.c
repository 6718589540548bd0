/*
 * Requests that were refused, kept for inspection: events of the bus `__refused_hooks`, which only
 * holds so many bytes. Data of one:
 *
 *   {"hook","reason","address","received","method","headers":[{"name","value"}],
 *    "body" or "body_base64", "body_bytes"}
 *
 * Values of headers that are credentials are left out, and so is the query; the body is cut. How
 * much is written is bounded by address, and over all.
 */
#include "api/handle.h"
#include "base/error.h"
#include "bus/own_bus.h"
#include "event/api_shape.h"
#include "event/time.h"
#include "event/writer.h"
#include "wire/http/hooks_impl.h"

#include <stdlib.h>
#include <strings.h>

#define BUS_BYTES_MAX (16 << 20)
#define SEGMENT_BYTES (2 << 20)
#define BODY_KEPT 4096
#define HEADERS_KEPT 8192 /* bytes of names and values */
#define DOCUMENT_MAX (128 * 1024)
#define KEPT_MAX 1000 /* in a window, of all addresses together */

beck_status refused_open(struct hooks *h, beck_error *err)
{
    static const beck_bus_options options = {.partitions = 1,
                                             .level = BECK_LEVEL_NONE,
                                             .segment_bytes = SEGMENT_BYTES,
                                             .retention_bytes = BUS_BYTES_MAX};
    beck_bus *bus;
    if (!h->b->data_dir || atomic_load(&h->refused))
        return BECK_OK;
    beck_status status = handle_own_bus(h->b, OWN_REFUSED_HOOKS, &options, &bus, err);
    if (!status)
        atomic_store(&h->refused, bus);
    return status;
}

/* ---- writing ---- */

static bool is_credential(const char *name)
{
    static const char *const names[] = {"Authorization", "Proxy-Authorization", "Cookie"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcasecmp(name, names[i]) == 0)
            return true;
    return false;
}

static beck_status write_headers(const struct hook_request *r, struct buf *out)
{
    size_t kept = 0;
    beck_status status = buf_append_byte(out, '[');
    for (size_t i = 0; i < r->header_count && !status; i++) {
        const char *name = r->headers[i].name;
        const char *value = is_credential(name) ? "(not kept)" : r->headers[i].value;
        kept += strlen(name) + strlen(value);
        if (kept > HEADERS_KEPT)
            break;
        status |= buf_append_text(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        status |= json_write_string(out, beck_str(name));
        status |= buf_append_text(out, ",\"value\":");
        status |= json_write_string(out, beck_str(value));
        status |= buf_append_byte(out, '}');
    }
    return status ? BECK_ENOMEM : buf_append_byte(out, ']');
}

static beck_status write_request(const char *name, enum hook_reason reason, const char *address,
                                 const struct hook_request *r, struct buf *out)
{
    struct buf headers, text;
    char received[TIME_TEXT_MAX];
    beck_bytes body = bytes_of(r->body.data, r->body.len < BODY_KEPT ? r->body.len : BODY_KEPT);
    buf_init(&headers, DOCUMENT_MAX);
    buf_init(&text, DOCUMENT_MAX);
    time_format(r->now_ns, received);
    struct api_refused shown = {.hook = name,
                                .reason = hook_reason_name(reason),
                                .address = address,
                                .received = received,
                                .method = r->method,
                                .body_bytes = (int64_t)r->body.len};
    beck_status status = write_headers(r, &headers);
    bool is_text = bytes_is_utf8(body) && !(body.len && memchr(body.data, 0, body.len));
    if (!status)
        status = is_text ? buf_append(&text, body.data, body.len) : base64_write(&text, body);
    if (!status)
        status = buf_terminate(&text);
    if (!status) {
        shown.headers = buf_bytes(&headers);
        *(is_text ? &shown.body : &shown.body_base64) = (const char *)text.data;
        status = shape_write(&shape_refused, &shown, out);
    }
    buf_release(&headers);
    buf_release(&text);
    return status;
}

/* Whether one more may be written in this window. */
static bool take_turn(struct hooks *h, int64_t now_ns)
{
    mutex_lock(&h->lock);
    if (now_ns >= h->kept_until_ns) {
        h->kept_until_ns = now_ns + REFUSED_WINDOW_MS * 1000000LL;
        h->kept = 0;
    }
    bool mine = h->kept < KEPT_MAX;
    h->kept += mine;
    mutex_unlock(&h->lock);
    return mine;
}

bool refused_keep(struct hooks *h, const char *name, enum hook_reason reason,
                  const struct access_peer *peer, const struct hook_request *r)
{
    int64_t now_ns = clock_mono_ns(h->b->env.clock);
    if (!limiter_allows(h->limiter, peer->address, now_ns, NULL))
        return false;
    limiter_failed(h->limiter, peer->address, now_ns);
    beck_bus *bus = atomic_load(&h->refused);
    if (!bus || !take_turn(h, now_ns))
        return true;
    struct buf document;
    buf_init(&document, DOCUMENT_MAX);
    if (write_request(name, reason, peer->address, r, &document) == BECK_OK) {
        beck_event e = {.type = beck_str("hook.refused"),
                        .subject = beck_str(name),
                        .data = buf_bytes(&document)};
        beck_publish_options options = {.level = BECK_LEVEL_NONE, .no_context = true};
        /* Counted all the same when the disk is full. */
        bus_publish(bus, &e, 1, &options, NULL, NULL);
    }
    buf_release(&document);
    return true;
}

/* ---- reading ---- */

/* The newest `limit` ones, in a ring. */
struct newest {
    struct buf *ring;
    size_t limit, count;
};

static beck_status read_newest(beck_reader *reader, struct newest *n, beck_error *err)
{
    const beck_event *e;
    beck_status status;
    while (!(status = beck_reader_next(reader, 0, &e, err))) {
        struct buf *slot = &n->ring[n->count % n->limit];
        buf_clear(slot);
        if (buf_append(slot, e->data.data, e->data.len))
            return error_set(err, BECK_ENOMEM, "no memory for the answer");
        n->count++;
    }
    return status == BECK_END ? BECK_OK : status;
}

static void give_newest(const struct newest *n, struct document_list *out)
{
    size_t count = n->count < n->limit ? n->count : n->limit;
    for (size_t i = 1; i <= count && !out->status; i++) {
        const struct buf *one = &n->ring[(n->count - i) % n->limit];
        if (out->count++ > 0)
            out->status = buf_append_byte(&out->out, ',');
        if (!out->status)
            out->status = buf_append(&out->out, one->data, one->len);
        if (out->status)
            error_set(&out->err, out->status, "the answer is too large; ask for less (limit)");
    }
}

void refused_list(struct hooks *h, const char *name, size_t limit, struct document_list *out)
{
    beck_reader *reader;
    beck_read_options options = {.from.kind = BECK_FROM_EARLIEST, .subject = beck_str(name)};
    beck_bus *bus = atomic_load(&h->refused);
    if (!bus || out->status)
        return;
    out->status = beck_reader_open(bus, &options, &reader, &out->err);
    if (out->status)
        return;
    struct newest n = {.ring = calloc(limit, sizeof *n.ring), .limit = limit};
    for (size_t i = 0; i < limit && n.ring; i++)
        buf_init(&n.ring[i], DOCUMENT_MAX);
    out->status = n.ring ? read_newest(reader, &n, &out->err)
                         : error_set(&out->err, BECK_ENOMEM, "no memory for the answer");
    if (!out->status)
        give_newest(&n, out);
    for (size_t i = 0; i < limit && n.ring; i++)
        buf_release(&n.ring[i]);
    free(n.ring);
    beck_reader_close(reader);
}
