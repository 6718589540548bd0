/*
 * /v1/buses/{bus}/events: publishing, and the way to pages (page.c) and streams (follow.c) of them.
 *
 * A publish runs on the network thread unless its body is large or its bus has to be made. At level
 * `synced` the request is suspended, and goes on when the engine says that the events are on the
 * device.
 */
#include "wire/http/publish.h"

#include "api/handle.h"
#include "base/clock.h"
#include "base/error.h"
#include "event/binary.h"
#include "event/cloudevents.h"
#include "event/event.h"
#include "event/value.h"
#include "wire/http/document.h"
#include "wire/http/follow.h"
#include "wire/http/http_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define INLINE_MAX 65536 /* bytes of a body that are read on the network thread */

static const char *const level_names[] = {
    [BECK_LEVEL_NONE] = "none", [BECK_LEVEL_WRITTEN] = "written", [BECK_LEVEL_SYNCED] = "synced"};

/* A lookup takes a lock that is held while a bus is made, which no network thread can wait for. Buses
 * stay in memory, closed when they were deleted: so a bus that was found before is found again without. */
static beck_status find_bus(const struct http_request *r, beck_bus **out, beck_error *err)
{
    struct http *h = r->connection->http;
    const char *name = http_path(r, 0);
    _Atomic(beck_bus *) *place = &h->buses[bytes_hash(name, strlen(name), 0) % HTTP_BUSES];
    beck_bus *bus = atomic_load_explicit(place, memory_order_acquire);
    if (bus && strcmp(bus->name, name) == 0 && !atomic_load(&bus->closed)) {
        *out = bus;
        return BECK_OK;
    }
    beck_status status = beck_bus_get(h->context.b, name, out, err);
    if (!status)
        atomic_store_explicit(place, *out, memory_order_release);
    return status;
}

/* One publish; lives as long as its request. */
struct publish_call {
    struct http_request *r;
    beck_bus *bus;
    beck_publish_options options;
    bool create;
    enum publish_form form;
    bool on_pool;
    size_t count;
    struct publish_events events;
};

/* ---- the answer ---- */

static void answer(struct publish_call *p, beck_status status, const beck_published *published,
                   const beck_error *err)
{
    if (status) {
        if (status == BECK_ELIMIT) /* a queue is full, for now */
            http_set_header(p->r, "Retry-After", "1");
        http_fail(p->r, status, err);
        return;
    }
    char text[200];
    snprintf(text, sizeof text,
             "{\"partition\":%u,\"offset\":%lld,\"count\":%zu,\"duplicates\":%u,"
             "\"listeners_failed\":%u}\n",
             published->position.partition, (long long)published->position.offset, p->count,
             published->duplicates, published->listeners_failed);
    beck_level level = p->options.level ? p->options.level : p->bus->options.level;
    http_answer_text(p->r, level == BECK_LEVEL_NONE ? 202 : 200, "application/json", text);
}

/* From the committer. */
static void synced(void *ctx, beck_status status, const beck_published *published)
{
    struct publish_call *p = ctx;
    beck_error err = {0};
    if (status)
        error_set(&err, status,
                  "the events could not be made durable (%s); the log of the server says why",
                  beck_status_name(status));
    answer(p, status, published, &err);
}

static void gathered(void *ctx, beck_status status, const beck_published *published,
                     const beck_error *err)
{
    struct publish_call *p = ctx;
    struct publish_events owned = p->events;
    answer(p, status, published, err);
    publish_events_release(&owned);
}

/* With what others publish in this turn of the network thread. */
static bool gather(struct publish_call *p, const beck_event *event)
{
    const struct gathered what = {p->r, event, gathered, p};
    return !p->on_pool && p->options.partition_plus_1 == 0 &&
           gather_publish(p->r->connection->http->gathers, p->bus, &what);
}

/* What no trying again helps. */
static beck_status may_publish(const beck_bus *bus, beck_level level, const beck_event *events,
                               size_t count, beck_error *err)
{
    beck_bus_options o;
    bus_options_get(bus, &o);
    if (o.storage == BECK_STORAGE_MEMORY && level > BECK_LEVEL_NONE)
        return error_set(err, BECK_EINVAL,
                         "bus \"%s\" is in memory, where nothing lasts: leave level=%s away",
                         bus->name, level_names[level]);
    for (size_t i = 0; i < count; i++)
        if (events[i].data.len > o.event_bytes_max)
            return error_set(err, BECK_ELIMIT,
                             "the data of an event have %zu bytes; bus \"%s\" takes %llu "
                             "(event_bytes_max): raise it, or send less",
                             events[i].data.len, bus->name, (unsigned long long)o.event_bytes_max);
    return BECK_OK;
}

static void publish(struct publish_call *p, const beck_event *events, size_t count)
{
    beck_error err = {0};
    beck_status refused = may_publish(p->bus, p->options.level, events, count, &err);
    if (refused) {
        http_refuse(p->r, refused == BECK_ELIMIT ? 413 : 400, "%s", err.text);
        publish_events_release(&p->events);
        return;
    }
    beck_published published = {.position = {0, -1}};
    p->count = count;
    beck_level level = p->options.level ? p->options.level : p->bus->options.level;
    if (level == BECK_LEVEL_WRITTEN && count == 1 && gather(p, events))
        return;
    bool waits = level == BECK_LEVEL_SYNCED && count > 0;
    if (waits) {
        p->options.done = synced;
        p->options.done_ctx = p;
        http_later(p->r);
    }
    beck_bus *bus = p->bus;
    struct publish_events owned = p->events; /* p may be gone once this is published */
    const beck_publish_options options = p->options;
    beck_status status = beck_publish_many(bus, events, count, &options, &published, &err);
    if (status || !waits)
        answer(p, status, &published, &err);
    publish_events_release(&owned);
}

/* ---- binary mode ---- */

struct headers {
    struct http_request *r;
    beck_event event;
    beck_attribute *extensions;
    beck_status status;
    beck_error err;
};

static char *copy_text(struct http_request *r, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = http_alloc(r, size);
    if (copy)
        memcpy(copy, text, size);
    return copy;
}

static void take_header(void *ctx, const char *name, const char *value)
{
    struct headers *h = ctx;
    if (h->status || strncasecmp(name, "ce-", 3) != 0)
        return;
    char *own_name = copy_text(h->r, name + 3), *own_value = copy_text(h->r, value);
    if (!h->extensions)
        h->extensions = http_alloc(h->r, EVENT_EXTENSIONS_MAX * sizeof *h->extensions);
    if (!own_name || !own_value || !h->extensions)
        h->status = error_set(&h->err, BECK_ENOMEM, "no memory for the event");
    else
        h->status = binary_read_header(&h->event, h->extensions, EVENT_EXTENSIONS_MAX, own_name,
                                       own_value, &h->err);
}

static void publish_binary(struct publish_call *p)
{
    struct headers h = {.r = p->r};
    http_each_header(p->r, take_header, &h);
    if (!h.status && h.event.type.len == 0)
        h.status = error_set(&h.err, BECK_EINVAL, "header ce-type is missing");
    if (h.status) {
        http_fail(p->r, h.status, &h.err);
        return;
    }
    const char *content_type = http_header(p->r, "Content-Type");
    h.event.datacontenttype = beck_str(content_type);
    beck_bytes body = http_body(p->r);
    if (body.len > 0 || content_type)
        h.event.data = body;
    publish(p, &h.event, 1);
}

/* ---- the handler ---- */

static void publish_body(struct http_request *r, void *ctx)
{
    struct publish_call *p = ctx;
    beck_error err = {0};
    beck_status status = find_bus(r, &p->bus, &err);
    if (status == BECK_ENOENT && p->create) {
        if (!http_require(r, ACCESS_ADMIN, ACCESS_BUS, http_path(r, 0)))
            return;
        status = beck_bus_create(http_of(r)->b, http_path(r, 0), NULL, &p->bus, &err);
    }
    if (!status && p->form == PUBLISH_BINARY) {
        publish_binary(p);
        return;
    }
    if (!status)
        status = publish_read_json(p->form, http_body(r), &p->events, &err);
    if (status)
        http_fail(r, status, &err);
    else
        publish(p, p->events.events, p->events.count);
}

static bool read_level(struct http_request *r, beck_level *out)
{
    const char *text = http_query(r, "level");
    *out = BECK_LEVEL_DEFAULT;
    if (!text)
        return true;
    for (beck_level level = BECK_LEVEL_NONE; level <= BECK_LEVEL_SYNCED; level++)
        if (strcmp(text, level_names[level]) == 0)
            *out = level;
    if (!*out)
        http_refuse(r, 400, "level is \"%.60s\"; expected none, written or synced", text);
    return *out != BECK_LEVEL_DEFAULT;
}

static void handle_publish(struct http_request *r)
{
    int64_t partition;
    struct publish_call *p = http_alloc(r, sizeof *p);
    if (!p) {
        http_refuse(r, 503, "no memory for the request");
        return;
    }
    *p = (struct publish_call){.r = r};
    if (!read_level(r, &p->options.level) || !http_query_flag(r, "create", &p->create) ||
        !http_query_number(r, "partition", 0, BUS_PARTITIONS_MAX - 1, -1, &partition))
        return;
    p->options.partition_plus_1 = (int32_t)partition + 1;
    const char *content_type = http_header(r, "Content-Type");
    /* Without a version it is 1.0: nobody who writes ce-type means anything else. */
    p->form = publish_form_of(content_type, http_header(r, "ce-type") != NULL ||
                                                http_header(r, "ce-specversion") != NULL);
    if (p->form == PUBLISH_NONE) {
        http_refuse(
            r, 415,
            "Content-Type is \"%.100s\"; events come as application/cloudevents+json, "
            "application/cloudevents-batch+json, application/x-ndjson, application/json, or "
            "as anything with ce-* headers, ce-type among them",
            content_type ? content_type : "");
        return;
    }
    if (p->create || http_body(r).len > INLINE_MAX) {
        p->on_pool = true;
        http_later(r);
        http_to_pool(r, publish_body, p);
    } else {
        publish_body(r, p);
    }
}

/* ---- several publishes ---- */

struct part {
    struct parts *all;
    struct api_outcome *outcome;
};

/* Those of one request. They are begun in order, and share syncs. */
struct parts {
    struct http_request *r;
    struct api_outcomes outcomes;
    struct part *list;
    _Atomic(size_t) left;
};

static void part_ended(struct parts *all)
{
    if (atomic_fetch_sub(&all->left, 1) == 1)
        document_answer(all->r, 200, &shape_outcomes, &all->outcomes);
}

static void part_done(void *ctx, beck_status status, const beck_published *published)
{
    struct part *part = ctx;
    part->outcome->was.published = *published;
    part->outcome->code = status ? beck_status_name(status) : NULL;
    part_ended(part->all);
}

static void publish_part(struct part *part, beck_bus *bus, beck_level level, int32_t partition,
                         beck_document *document)
{
    const beck_published nothing = {.position = {0, -1}};
    beck_publish_options o = {
        .level = level, .partition_plus_1 = partition, .done = part_done, .done_ctx = part};
    size_t count = beck_document_count(document);
    const beck_event *events = count > 0 ? beck_document_event(document, 0) : NULL;
    part->outcome->was.count = (uint32_t)count;
    beck_status status = may_publish(bus, level, events, count, NULL);
    if (!status)
        status = beck_publish_many(bus, events, count, &o, NULL, NULL);
    if (status || count == 0)
        part_done(part, status, &nothing);
}

static beck_status read_parts(const struct api_publishes *said, beck_document **documents,
                              beck_error *err)
{
    beck_status status = BECK_OK;
    beck_error why;
    for (size_t i = 0; i < said->count && !status; i++) {
        status = cloudevents_parse_exact(said->list[i].events, &documents[i], &why);
        if (status)
            error_set(err, status, "publish %zu: %s", i, why.text);
    }
    return status;
}

static void publish_parts(struct parts *all, beck_bus *bus, beck_level level, int32_t partition,
                          beck_document **documents)
{
    size_t count = all->outcomes.count;
    atomic_init(&all->left, count + 1);
    http_later(all->r);
    for (size_t i = 0; i < count; i++) {
        all->list[i] = (struct part){all, &all->outcomes.list[i]};
        publish_part(&all->list[i], bus, level, partition, documents[i]);
    }
}

static void handle_parts(struct http_request *r)
{
    beck_error err = {0};
    beck_bus *bus;
    beck_level level;
    int64_t partition;
    struct api_publishes said = {0};
    if (!read_level(r, &level) ||
        !http_query_number(r, "partition", 0, BUS_PARTITIONS_MAX - 1, -1, &partition) ||
        !document_read(r, &shape_publishes, &said))
        return;
    struct parts *all = http_alloc(r, sizeof *all);
    beck_document **documents = calloc(said.count + 1, sizeof *documents);
    if (all)
        *all = (struct parts){
            .r = r,
            .outcomes = {http_alloc(r, (said.count + 1) * sizeof(struct api_outcome)), said.count},
            .list = http_alloc(r, (said.count + 1) * sizeof(struct part))};
    beck_status status = find_bus(r, &bus, &err);
    if (!all || !documents || !all->outcomes.list || !all->list)
        status = error_set(&err, BECK_ENOMEM, "no memory for the request");
    if (!status)
        status = read_parts(&said, documents, &err);
    if (status)
        http_fail(r, status, &err);
    else
        publish_parts(all, bus, level, (int32_t)partition + 1, documents);
    for (size_t i = 0; documents && i < said.count; i++)
        beck_document_free(documents[i]);
    free(documents);
    if (!status)
        part_ended(all);
}

/* ---- reading ---- */

static bool read_until(struct http_request *r, int64_t *until_ms)
{
    int64_t now = clock_wall_ns(clock_system()), until_ns = 0;
    const char *text = http_query(r, "until");
    if (text && !value_time(text, now, &until_ns)) {
        http_refuse(r, 400, "until is \"%.60s\"; expected a time as 2026-01-31T12:00:00Z", text);
        return false;
    }
    *until_ms = text ? (until_ns + 999999) / 1000000 : 0;
    return true;
}

/* What only pages have. */
static bool check_stream(struct http_request *r)
{
    static const char *const of_pages[] = {"until", "limit", "wait"};
    for (size_t i = 0; i < sizeof of_pages / sizeof of_pages[0]; i++)
        if (http_query(r, of_pages[i])) {
            http_refuse(r, 400, "%s is for pages of events; a stream of events has no end",
                        of_pages[i]);
            return false;
        }
    return true;
}

static void handle_read(struct http_request *r)
{
    const char *accept = http_header(r, "Accept");
    bool follow = accept && strstr(accept, "text/event-stream");
    if (http_query(r, "access_token") && (!follow || http_header(r, "Authorization"))) {
        http_refuse(r, 400,
                    "access_token is for streams of events whose reader can send no headers: send "
                    "Authorization: Bearer, and it alone");
        return;
    }
    struct events_query q = {.options = {.type = http_query(r, "type"),
                                         .subject = http_query(r, "subject"),
                                         .cursor = http_query(r, "cursor")}};
    beck_from otherwise = {.kind = follow ? BECK_FROM_NOW : BECK_FROM_EARLIEST};
    int64_t partition;
    if (!http_query_number(r, "partition", 0, BUS_PARTITIONS_MAX - 1, -1, &partition) ||
        !http_query_from(r, "from", otherwise, &q.options.from) ||
        !http_query_flag(r, "positions", &q.positions) || !read_until(r, &q.options.until_ms) ||
        (follow && !check_stream(r)))
        return;
    q.options.partition_plus_1 = (int32_t)partition + 1;
    const char *last = follow ? http_header(r, "Last-Event-ID") : NULL;
    if (last && *last)
        q.options.cursor = last;
    beck_error err;
    beck_bus *bus;
    beck_status status = find_bus(r, &bus, &err);
    if (status)
        http_fail(r, status, &err);
    else if (follow)
        follow_answer(r, bus, &q);
    else
        page_answer(r, bus, &q);
}

static const struct http_param read_params[] = {
    {"from", "string",
     "now, earliest, an offset, or a time; default: earliest for pages, now for a stream"},
    {"cursor", "string",
     "where an earlier page or stream ended (Beck-Cursor, id); instead of from"},
    {"partition", "integer", "only this partition"},
    {"type", "string", "only types that match: * is one word, # any number of them"},
    {"subject", "string", "only this subject"},
    {"until", "string", "only events before this time"},
    {"limit", "integer", "events of a page, at most 100,000; default 1,000"},
    {"wait", "duration", "how long to wait for the first event when there is none"},
    {"access_token", "string",
     "a token, where none can be sent as Authorization: for EventSource in browsers"},
    {"positions", "boolean", "add beckbus, beckpartition and beckoffset to each event"},
    {0},
};

static const struct http_param publish_params[] = {
    {"level", "string", "what the answer promises: none, written or synced; default: the bus's"},
    {"partition", "integer", "instead of the one that follows from the subject"},
    {"create", "boolean", "make the bus with default options when it is missing"},
    {0},
};

static const struct http_param parts_params[] = {
    {"level", "string", "what the answer promises: none, written or synced; default: the bus's"},
    {"partition", "integer", "instead of the one that follows from the subject"},
    {0},
};

const struct http_route http_routes_events[] = {
    {.method = "POST",
     .path = "/v1/buses/{bus}/events",
     .run = HTTP_INLINE,
     .right = ACCESS_PUBLISH,
     .kind = ACCESS_BUS,
     .handle = handle_publish,
     .operation = "publish",
     .summary = "Publishes one event, or several: all of a partition's share is stored, or none",
     .params = publish_params,
     .accepts = "Events",
     .answers = "Published"},
    {.method = "POST",
     .path = "/v1/buses/{bus}/publishes",
     .run = HTTP_POOL,
     .right = ACCESS_PUBLISH,
     .kind = ACCESS_BUS,
     .handle = handle_parts,
     .operation = "publishSeveral",
     .summary = "Several publishes in order, each as if it came by itself; the answer says what "
                "became of each, and comes when all have ended",
     .params = parts_params,
     .accepts = "Publishes",
     .answers = "PublishOutcomes"},
    {.method = "GET",
     .path = "/v1/buses/{bus}/events",
     .run = HTTP_POOL,
     .right = ACCESS_READ,
     .kind = ACCESS_BUS,
     .handle = handle_read,
     .operation = "readEvents",
     .summary =
         "Events of a bus: a page as JSON or NDJSON with the cursor of the next one in "
         "Beck-Cursor, or (Accept: text/event-stream) all that come as server-sent events. "
         "What was removed before it could be read is in Beck-Gone (0/12-39: offsets 12 to 39 "
         "of partition 0), or is an event beck.gone",
     .params = read_params,
     .answers = "Events"},
    {0},
};
