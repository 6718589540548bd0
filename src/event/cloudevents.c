/*
 * CloudEvents 1.0 JSON format, one event or a batch, and the choice between it and the envelope.
 *
 * An object is read into a table of members first, since the meaning of one depends on another
 * (data on datacontenttype, everything on specversion). One table below says what each member that
 * is no extension becomes.
 */
#include "event/cloudevents.h"
#include "base/error.h"
#include "event/attribute.h"
#include "event/envelope.h"
#include "event/writer.h"

#include <stdio.h>

#define TEXT_MAX ((size_t)64 << 20)

/* ---- reading ---- */

enum place {
    ID,
    SOURCE,
    TYPE,
    SPECVERSION,
    SUBJECT,
    DATACONTENTTYPE,
    DATASCHEMA,
    TIME,
    CORRELATIONID,
    CAUSATIONID,
    DELIVERYTIME,
    EXPIRYTIME,
    PRIORITY,
    DATA,
    DATA_BASE64,
    PUBLIC_PLACES,
    BECKBUS = PUBLIC_PLACES, /* these only in the exact form */
    BECKPARTITION,
    BECKOFFSET,
    PLACES
};

static const struct {
    const char *name;
    size_t len;
} places[PLACES] = {
    [ID] = {"id", 2},
    [SOURCE] = {"source", 6},
    [TYPE] = {"type", 4},
    [SPECVERSION] = {"specversion", 11},
    [SUBJECT] = {"subject", 7},
    [DATACONTENTTYPE] = {"datacontenttype", 15},
    [DATASCHEMA] = {"dataschema", 10},
    [TIME] = {"time", 4},
    [CORRELATIONID] = {"correlationid", 13},
    [CAUSATIONID] = {"causationid", 11},
    [DELIVERYTIME] = {"deliverytime", 12},
    [EXPIRYTIME] = {"expirytime", 10},
    [PRIORITY] = {"priority", 8},
    [DATA] = {"data", 4},
    [DATA_BASE64] = {"data_base64", 11},
    [BECKBUS] = {"beckbus", 7},
    [BECKPARTITION] = {"beckpartition", 13},
    [BECKOFFSET] = {"beckoffset", 10},
};

static enum place place_of(beck_bytes name, bool exact)
{
    for (int i = 0; i < (exact ? PLACES : PUBLIC_PLACES); i++) {
        if (name.len == places[i].len && memcmp(name.data, places[i].name, name.len) == 0) {
            return (enum place)i;
        }
    }
    return PLACES;
}

static beck_status read_extension(const beck_document *d, const struct member *m, beck_event *e,
                                  beck_attribute *list, beck_error *err)
{
    if (!event_name_is_legal(m->name)) {
        return member_refuse(
            m, BECK_EINVAL, err,
            "has a name that is not legal in CloudEvents; expected 1-%d lower-case "
            "letters and digits",
            EVENT_EXTENSION_NAME_MAX);
    }
    if (e->extension_count == EVENT_EXTENSIONS_MAX) {
        return member_refuse(m, BECK_ELIMIT, err,
                             "is one extension too many; at most %d are allowed",
                             EVENT_EXTENSIONS_MAX);
    }
    beck_attribute *x = &list[e->extension_count];
    x->name = m->name;
    beck_status status = attribute_extension(d, m, EVENT_EXTENSION_VALUE_MAX, &x->value, err);
    e->extension_count += status == BECK_OK;
    return status;
}

static beck_status read_priority(const beck_document *d, const struct member *m, uint32_t *out,
                                 beck_error *err)
{
    char quoted[EVENT_QUOTE_MAX];
    beck_bytes text;
    uint64_t value;
    beck_status status = attribute_extension(d, m, EVENT_EXTENSION_VALUE_MAX, &text, err);
    if (status != BECK_OK) {
        return status;
    }
    if (!bytes_to_u64(text, &value) || value > EVENT_PRIORITY_MAX) {
        return member_refuse(m, BECK_EINVAL, err, "is %s; expected a whole number from 0 to %d",
                             member_quote(m, quoted), EVENT_PRIORITY_MAX);
    }
    *out = (uint32_t)value;
    return BECK_OK;
}

static beck_status read_position(const beck_document *d, const struct member *m, uint64_t max,
                                 uint64_t *out, beck_error *err)
{
    char quoted[EVENT_QUOTE_MAX];
    beck_bytes text = m->raw;
    beck_status status = BECK_OK;
    if (m->kind == JSON_STRING) {
        status = member_text(m, d->text, d->copy, &text, err);
    }
    if (status == BECK_OK && (!bytes_to_u64(text, out) || *out > max)) {
        return member_refuse(m, BECK_EINVAL, err, "is %s; expected a whole number",
                             member_quote(m, quoted));
    }
    return status;
}

static beck_status read_specversion(const beck_document *d, const struct member *m, beck_error *err)
{
    char quoted[EVENT_QUOTE_MAX];
    beck_bytes text;
    beck_status status = member_text(m, d->text, d->copy, &text, err);
    if (status == BECK_OK && !bytes_equal_text(text, "1.0")) {
        return member_refuse(m, BECK_EINVAL, err, "is %s; expected \"1.0\", the only version known",
                             event_quote(text, quoted));
    }
    return status;
}

/* A member whose place is not that of data or an extension. */
static beck_status read_attribute(const beck_document *d, enum place place, const struct member *m,
                                  beck_event *e, beck_error *err)
{
    uint64_t number = 0;
    beck_status status = BECK_OK;
    switch (place) {
    case ID:
        return attribute_text(d, m, &e->id, err);
    case SOURCE:
        return attribute_text(d, m, &e->source, err);
    case TYPE:
        return attribute_type(d, m, &e->type, err);
    case SPECVERSION:
        return read_specversion(d, m, err);
    case SUBJECT:
        return attribute_text(d, m, &e->subject, err);
    case DATACONTENTTYPE:
        return attribute_text(d, m, &e->datacontenttype, err);
    case DATASCHEMA:
        return attribute_text(d, m, &e->dataschema, err);
    case TIME:
        return attribute_ns(d, m, &e->time_ns, err);
    case CORRELATIONID:
        return attribute_extension(d, m, EVENT_ATTRIBUTE_MAX, &e->correlationid, err);
    case CAUSATIONID:
        return attribute_extension(d, m, EVENT_ATTRIBUTE_MAX, &e->causationid, err);
    case DELIVERYTIME:
        return attribute_ms(d, m, &e->deliver_at_ms, err);
    case EXPIRYTIME:
        return attribute_ms(d, m, &e->expires_at_ms, err);
    case BECKBUS:
        return attribute_text(d, m, &e->bus, err);
    case BECKPARTITION:
        status = read_position(d, m, UINT32_MAX, &number, err);
        e->position.partition = (uint32_t)number;
        return status;
    case BECKOFFSET:
        status = read_position(d, m, INT64_MAX, &number, err);
        e->position.offset = (int64_t)number;
        return status;
    default:
        return read_priority(d, m, &e->priority, err);
    }
}

static beck_status check_required(const struct member *const *found, size_t at, bool exact,
                                  beck_error *err)
{
    static const enum place required[] = {SPECVERSION, ID, SOURCE, TYPE};
    for (size_t i = 0; i < sizeof required / sizeof required[0]; i++) {
        bool derived = required[i] == ID || required[i] == SOURCE;
        if (found[required[i]] == NULL && !(exact && derived)) {
            return error_set(err, BECK_EINVAL,
                             "member \"%s\" is missing in the event at byte %zu; CloudEvents 1.0 "
                             "requires \"specversion\", \"id\", \"source\" and \"type\"",
                             places[required[i]].name, at);
        }
    }
    return BECK_OK;
}

static beck_status cloudevent_read(beck_document *d, const struct members *m, size_t at, bool exact,
                                   beck_event *e, beck_error *err)
{
    const struct member *found[PLACES + 1] = {NULL};
    enum place place[MEMBERS_MAX];
    const size_t count = m->count;
    for (size_t i = 0; i < count; i++) {
        place[i] = place_of(m->list[i].name, exact);
        found[place[i]] = &m->list[i];
    }
    beck_status status = check_required(found, at, exact, err);
    if (status != BECK_OK) {
        return status;
    }
    beck_attribute *extensions = document_alloc(d, count * sizeof *extensions);
    if (extensions == NULL) {
        return error_set(err, BECK_ENOMEM, "no memory for the event at byte %zu", at);
    }
    for (size_t i = 0; status == BECK_OK && i < count; i++) {
        if (place[i] == PLACES) {
            status = read_extension(d, &m->list[i], e, extensions, err);
        } else if (place[i] != DATA && place[i] != DATA_BASE64) {
            status = read_attribute(d, place[i], &m->list[i], e, err);
        }
    }
    e->extensions = e->extension_count == 0 ? NULL : extensions;
    return status != BECK_OK ? status : attribute_data(d, found[DATA], found[DATA_BASE64], e, err);
}

/* The reader has just given the beginning of the object. */
static beck_status event_read(beck_document *d, struct json_reader *r, size_t at, bool exact,
                              beck_error *err)
{
    struct members m;
    beck_status status = members_read(&m, r, d->copy, "the event", err);
    if (status != BECK_OK) {
        return status;
    }
    beck_event *e = document_add(d);
    if (e == NULL) {
        return error_set(err, BECK_ENOMEM, "no memory for event %zu", d->count + 1);
    }
    e->position.offset = -1;
    bool envelope = false;
    for (size_t i = 0; i < m.count; i++) {
        if (bytes_equal(m.list[i].name, bytes_of("specversion", 11))) {
            return cloudevent_read(d, &m, at, exact, e, err);
        }
        envelope |= bytes_equal(m.list[i].name, bytes_of("eventType", 9)) ||
                    bytes_equal(m.list[i].name, bytes_of("eventId", 7));
    }
    return envelope ? envelope_read(d, &m, at, e, err) : cloudevent_read(d, &m, at, exact, e, err);
}

static beck_status batch_read(beck_document *d, struct json_reader *r, bool exact, beck_error *err)
{
    for (;;) {
        struct json_token token;
        beck_status status = json_next(r, &token, err);
        if (status != BECK_OK || token.kind == JSON_ARRAY_END) {
            return status;
        }
        if (token.kind != JSON_OBJECT) {
            return error_set(err, BECK_EINVAL,
                             "element %zu of the batch, at byte %zu, is no event; expected an "
                             "object",
                             d->count, token.at);
        }
        status = event_read(d, r, token.at, exact, err);
        if (status != BECK_OK) {
            return status;
        }
    }
}

static beck_status parse(beck_bytes json, bool exact, beck_document **out, beck_error *err)
{
    if (json.len > TEXT_MAX) {
        return error_set(err, BECK_ELIMIT,
                         "the text has %zu bytes; at most %zu are read at once: give the events in "
                         "several parts",
                         json.len, TEXT_MAX);
    }
    struct json_reader r;
    struct json_token token;
    json_reader_init(&r, json);
    beck_document *d = document_new(r.text);
    if (d == NULL) {
        return error_set(err, BECK_ENOMEM, "no memory for a text of %zu bytes", json.len);
    }
    beck_status status = json_next(&r, &token, err);
    if (status == BECK_OK && token.kind == JSON_OBJECT) {
        status = event_read(d, &r, token.at, exact, err);
    } else if (status == BECK_OK && token.kind == JSON_ARRAY) {
        status = batch_read(d, &r, exact, err);
    } else if (status == BECK_OK) {
        status = error_set(err, BECK_EINVAL,
                           "the value at byte %zu is no event; expected an object, or an array of "
                           "objects",
                           token.at);
    }
    if (status == BECK_OK) {
        status = json_next(&r, &token, err); /* the end, or else it is an error */
    }
    if (status != BECK_OK) {
        beck_document_free(d);
        return status;
    }
    d->text = NULL;
    *out = d;
    return BECK_OK;
}

beck_status cloudevents_parse(beck_bytes json, beck_document **out, beck_error *err)
{
    return parse(json, false, out, err);
}

beck_status cloudevents_parse_exact(beck_bytes json, beck_document **out, beck_error *err)
{
    return parse(json, true, out, err);
}

/* ---- writing ---- */

static void write_position(struct writer *w, const beck_event *e)
{
    char text[24];
    writer_attribute(w, "beckbus", e->bus);
    if (e->bus.len == 0 || e->position.offset < 0) {
        return;
    }
    /* Text, because the integers of CloudEvents end at 2^31. */
    snprintf(text, sizeof text, "%lld", (long long)e->position.offset);
    writer_number(w, "beckpartition", e->position.partition);
    writer_text(w, "beckoffset", beck_str(text));
}

static beck_status cloudevent_write(const beck_event *e, bool exact, struct buf *out,
                                    beck_error *err)
{
    struct writer w;
    writer_begin(&w, out);
    writer_text(&w, "specversion", bytes_of("1.0", 3));
    writer_attribute(&w, "id", e->id);
    writer_attribute(&w, "source", e->source);
    writer_attribute(&w, "type", e->type);
    writer_attribute(&w, "subject", e->subject);
    writer_ns(&w, "time", e->time_ns);
    writer_attribute(&w, "datacontenttype", e->datacontenttype);
    writer_attribute(&w, "dataschema", e->dataschema);
    writer_attribute(&w, "correlationid", e->correlationid);
    writer_attribute(&w, "causationid", e->causationid);
    writer_ms(&w, "deliverytime", e->deliver_at_ms);
    writer_ms(&w, "expirytime", e->expires_at_ms);
    if (e->priority != 0) {
        writer_number(&w, "priority", e->priority);
    }
    for (size_t i = 0; i < e->extension_count; i++) {
        /* Of an event that was read in this form and published again: it is elsewhere now. */
        enum place place = exact ? place_of(e->extensions[i].name, true) : PLACES;
        if (place == BECKBUS || place == BECKPARTITION || place == BECKOFFSET) {
            continue;
        }
        writer_member_text(&w, e->extensions[i].name, e->extensions[i].value);
    }
    if (exact) {
        write_position(&w, e);
    }
    writer_data(&w, e, exact);
    writer_end(&w);
    return writer_result(&w, err);
}

beck_status cloudevents_write(const beck_event *e, beck_form form, struct buf *out, beck_error *err)
{
    switch (form) {
    case BECK_FORM_CLOUDEVENTS:
        return cloudevent_write(e, false, out, err);
    case BECK_FORM_ENVELOPE:
        return envelope_write(e, out, err);
    }
    return error_set(err, BECK_EINVAL,
                     "form %d is none; use BECK_FORM_CLOUDEVENTS or BECK_FORM_ENVELOPE", (int)form);
}

beck_status cloudevents_write_exact(const beck_event *e, struct buf *out, beck_error *err)
{
    return cloudevent_write(e, true, out, err);
}
