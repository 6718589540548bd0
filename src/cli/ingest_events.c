/*
 * An event is made in the arena of the batch: a copy of the record, its id, and what was taken from
 * its fields. A record that is an event already is parsed as one, and its document is kept until
 * the batch is published.
 */
#include "cli/ingest_events.h"
#include "base/error.h"
#include "event/event.h"
#include "event/json.h"
#include "log/record.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA (1u << 20)
#define EXTRA (2 * INGEST_MARK_MAX + 4 * EVENT_ATTRIBUTE_MAX + 4096)

beck_status ingest_events_init(struct ingest_events *s, const struct ingest_plan *plan,
                               beck *handle, beck_bus *bus, beck_error *err)
{
    *s = (struct ingest_events){.plan = *plan, .handle = handle, .bus = bus};
    s->event_bytes_max = SIZE_MAX;
    fields_init(&s->fields, plan->paths, plan->record_max);
    buf_init(&s->arena, SIZE_MAX / 2);
    s->events = calloc(plan->batch_max, sizeof *s->events);
    s->documents = calloc(plan->batch_max, sizeof *s->documents);
    if (!s->events || !s->documents || buf_reserve(&s->arena, ARENA)) {
        ingest_events_release(s);
        return error_set(err, BECK_ENOMEM, "no memory for a batch of events");
    }
    if (bus) {
        beck_bus_info info;
        beck_status status = beck_bus_info_get(bus, &info, err);
        if (status) {
            ingest_events_release(s);
            return status;
        }
        s->spread = info.options.partitions > 1;
        s->event_bytes_max = info.options.event_bytes_max;
    }
    return BECK_OK;
}

void ingest_events_release(struct ingest_events *s)
{
    for (size_t i = 0; s->documents && i < s->document_count; i++) {
        beck_document_free(s->documents[i]);
    }
    free(s->events);
    free(s->documents);
    s->events = NULL;
    s->documents = NULL;
    s->document_count = 0;
    buf_release(&s->arena);
    fields_release(&s->fields);
}

/* ---- the batch ---- */

/* Publishes what was gathered. */
static beck_status flush(struct ingest_events *s, beck_error *err)
{
    beck_status status = BECK_OK;
    if (s->count > 0 && s->bus) {
        beck_publish_options how = {.level = BECK_LEVEL_WRITTEN, .no_context = true};
        beck_published out;
        status = beck_publish_many(s->bus, s->events, s->count, &how, &out, err);
        if (!status) {
            s->duplicates += out.duplicates;
            s->published += (int64_t)s->count - out.duplicates;
        }
        if (!status && s->spread && s->last_number - s->synced >= INGEST_SPAN) {
            status = beck_sync(s->handle, err);
            s->synced = s->last_number;
        }
    } else {
        s->published += (int64_t)s->count;
    }
    for (size_t i = 0; i < s->document_count; i++) {
        beck_document_free(s->documents[i]);
    }
    s->count = s->document_count = 0;
    buf_clear(&s->arena);
    return status;
}

beck_status ingest_events_settle(struct ingest_events *s, beck_error *err)
{
    beck_status status = flush(s, err);
    if (!status && s->bus && s->plan.level == BECK_LEVEL_SYNCED) {
        status = beck_sync(s->handle, err);
    }
    return status;
}

/* Room in the arena for one more event of so many bytes, and in the batch. */
static beck_status make_room(struct ingest_events *s, int64_t number, size_t bytes, beck_error *err)
{
    bool full = s->count == s->plan.batch_max || s->arena.cap - s->arena.len < bytes ||
                (s->count > 0 && number - s->first_number >= INGEST_SPAN);
    beck_status status = full ? flush(s, err) : BECK_OK;
    if (!status && buf_reserve(&s->arena, bytes)) {
        return error_set(err, BECK_ENOMEM, "no memory for an event of %zu bytes", bytes);
    }
    return status;
}

/* A copy in the arena, which has room. */
static beck_bytes keep(struct ingest_events *s, beck_bytes text)
{
    size_t at = s->arena.len;
    assert(s->arena.cap - at >= text.len);
    if (text.len > 0) {
        memcpy(s->arena.data + at, text.data, text.len);
        s->arena.len += text.len;
    }
    return bytes_of(s->arena.data + at, text.len);
}

/* ---- attributes from fields ---- */

static beck_status take_time(struct ingest_events *s, beck_event *e, beck_error *err)
{
    beck_bytes text = s->fields.values[FIELD_TIME];
    if (!text.data) {
        return BECK_OK;
    }
    if (!ingest_time_read(&s->plan.time, text, &e->time_ns)) {
        char quoted[EVENT_QUOTE_MAX];
        return error_set(err, BECK_EINVAL, "the time %s cannot be read: expected %s",
                         event_quote(text, quoted), ingest_time_expected(s->plan.time.format));
    }
    e->time_ns += e->time_ns == 0; /* 0 would mean now */
    return BECK_OK;
}

/* Which columns there are, instead of the one that is wanted. */
static beck_status no_column(const char *path, beck_bytes record, beck_error *err)
{
    char names[256] = "";
    size_t len = 0;
    struct json_reader r;
    struct json_token token;
    beck_bytes value;
    json_reader_init(&r, record);
    (void)json_next(&r, &token, NULL);
    while (json_next(&r, &token, NULL) == BECK_OK && token.kind == JSON_NAME) {
        bool fits = len + token.raw.len + 8 < sizeof names;
        len += (size_t)snprintf(names + len, sizeof names - len, fits ? "%s%.*s" : "%s...",
                                len ? ", " : "", (int)token.raw.len, (const char *)token.raw.data);
        if (!fits || json_skip_value(&r, &value, NULL)) {
            break;
        }
    }
    return error_set(err, BECK_ENOENT, "there is no column \"%.100s\": the columns are %s", path,
                     names);
}

static beck_status check_columns(struct ingest_events *s, beck_bytes record, beck_error *err)
{
    for (int i = 0; i < FIELDS; i++) {
        if (s->plan.columns && s->plan.paths[i] && !s->fields.values[i].data) {
            return no_column(s->plan.paths[i], record, err);
        }
    }
    return BECK_OK;
}

/* Values point into the record: they are kept once it is known that they are not too long. */
static beck_status take_fields(struct ingest_events *s, beck_event *e, beck_error *err)
{
    const beck_bytes *values = s->fields.values;
    e->type = values[FIELD_TYPE].len ? values[FIELD_TYPE] : beck_str(s->plan.type);
    e->subject = values[FIELD_SUBJECT];
    e->id = values[FIELD_ID];
    if (!e->type.len) {
        return s->plan.paths[FIELD_TYPE]
                   ? error_set(err, BECK_EINVAL,
                               "the field \"%s\" for the type is missing or empty",
                               s->plan.paths[FIELD_TYPE])
                   : error_set(err, BECK_EINVAL,
                               "the record is no event, and has no type: give --type or "
                               "--type-from");
    }
    if (s->plan.paths[FIELD_ID] && !e->id.len) {
        return error_set(err, BECK_EINVAL, "the field \"%s\" for the id is missing or empty",
                         s->plan.paths[FIELD_ID]);
    }
    return take_time(s, e, err);
}

/* ---- events ---- */

/* The mark of an event that does not say by its id and source where it came from: its extensions
 * are moved to the arena. */
static beck_status add_marks(struct ingest_events *s, beck_event *e, beck_bytes id, beck_error *err)
{
    size_t size = (e->extension_count + 2) * sizeof(beck_attribute);
    s->arena.len = (s->arena.len + 15) & ~(size_t)15;
    if (e->extension_count > EVENT_EXTENSIONS_MAX) {
        return error_set(err, BECK_ELIMIT, "the event has more than %d extensions",
                         EVENT_EXTENSIONS_MAX);
    }
    assert(s->arena.cap - s->arena.len >= size);
    beck_attribute *list = (beck_attribute *)(void *)(s->arena.data + s->arena.len);
    size_t n = 0;
    for (size_t i = 0; i < e->extension_count; i++) {
        if (!bytes_equal_text(e->extensions[i].name, INGEST_ID) &&
            !bytes_equal_text(e->extensions[i].name, INGEST_SOURCE)) {
            list[n++] = e->extensions[i];
        }
    }
    list[n++] = (beck_attribute){beck_str(INGEST_ID), id};
    if (!bytes_equal(e->source, s->plan.source)) {
        list[n++] = (beck_attribute){beck_str(INGEST_SOURCE), s->plan.source};
    }
    s->arena.len += n * sizeof *list;
    e->extensions = list;
    e->extension_count = n;
    return BECK_OK;
}

/* What every event of the input has, and what it says about where it came from. */
static beck_status complete(struct ingest_events *s, beck_event *e, int64_t number, beck_error *err)
{
    char text[INGEST_MARK_MAX];
    size_t len = ingest_mark_write(text, s->plan.fingerprint, number);
    beck_bytes id = keep(s, bytes_of(text, len));
    e->source = e->source.len ? e->source : s->plan.source;
    bool own_id = e->id.len > 0;
    e->id = own_id ? e->id : id;
    if (own_id || !bytes_equal(e->source, s->plan.source)) {
        return add_marks(s, e, id, err);
    }
    return BECK_OK;
}

/* An event from a record that is data. */
static beck_status make_plain(struct ingest_events *s, const struct ingest_record *record,
                              beck_event *e, beck_error *err)
{
    beck_status status = take_fields(s, e, err);
    if (status) {
        return status;
    }
    beck_bytes *kept[] = {&e->type, &e->subject, &e->id};
    for (int i = 0; i < 3; i++) {
        if (kept[i]->len > EVENT_ATTRIBUTE_MAX) {
            return event_check(e, err); /* explains it */
        }
        *kept[i] = keep(s, *kept[i]);
    }
    e->data = keep(s, record->json);
    return BECK_OK;
}

/* An event from a record that is one. */
static beck_status make_event(struct ingest_events *s, const struct ingest_record *record,
                              beck_event *e, beck_error *err)
{
    beck_document *document;
    beck_status status = beck_parse(record->json, &document, err);
    if (status) {
        return status;
    }
    assert(beck_document_count(document) == 1);
    *e = *beck_document_event(document, 0);
    s->documents[s->document_count++] = document;
    return BECK_OK;
}

static beck_status check(const struct ingest_events *s, const beck_event *e, bool checked,
                         beck_error *err)
{
    beck_status status = checked ? BECK_OK : event_check(e, err);
    if (!status && record_size_max(e) > s->event_bytes_max) {
        return error_set(err, BECK_ELIMIT,
                         "the event takes %zu bytes, more than the %zu that the bus allows: ingest "
                         "smaller records, or into a bus with a higher --event-size-max",
                         record_size_max(e), s->event_bytes_max);
    }
    return status;
}

static beck_status make(struct ingest_events *s, const struct ingest_record *record,
                        beck_error *err)
{
    beck_event e = {0};
    bool is_event = s->fields.is_event && !s->plan.plain;
    bool checked = !is_event && !s->fields.any; /* its attributes were, before it all began */
    size_t documents = s->document_count, arena = s->arena.len;
    beck_status status = is_event ? make_event(s, record, &e, err) : make_plain(s, record, &e, err);
    status = status ? status : complete(s, &e, record->number, err);
    status = status ? status : check(s, &e, checked, err);
    if (status) {
        while (s->document_count > documents) {
            beck_document_free(s->documents[--s->document_count]);
        }
        s->arena.len = arena;
        return status == BECK_ENOMEM ? status : BECK_EINVAL;
    }
    s->first_number = s->count == 0 ? record->number : s->first_number;
    s->last_number = record->number;
    s->events[s->count++] = e;
    return BECK_OK;
}

beck_status ingest_events_add(struct ingest_events *s, const struct ingest_record *record,
                              bool *fatal, beck_error *err)
{
    beck_status status = BECK_OK;
    *fatal = false;
    s->fields.is_event = false;
    if (!s->plan.checked || s->fields.any) {
        status = fields_read(&s->fields, record->json, err);
        status = status ? status : check_columns(s, record->json, err);
        if (status) {
            *fatal = status == BECK_ENOMEM || status == BECK_ENOENT;
            return status;
        }
        for (int i = 0; i < FIELDS; i++) {
            s->seen[i] = s->seen[i] || s->fields.values[i].data;
        }
    }
    status = make_room(s, record->number, record->json.len + EXTRA, err);
    *fatal = status != BECK_OK;
    if (!status) {
        status = make(s, record, err);
        *fatal = status == BECK_ENOMEM;
    }
    return status;
}

const beck_event *ingest_events_last(const struct ingest_events *s)
{
    assert(s->count > 0);
    return &s->events[s->count - 1];
}

void ingest_events_drop_last(struct ingest_events *s)
{
    assert(s->count > 0);
    s->count--;
}
