/*
 * The plain envelope. Reading sorts members into those that an attribute holds exactly and those
 * that are kept as JSON in one of two extensions (see envelope.h); writing writes the attributes
 * and then what was kept and no attribute has an other value for.
 *
 * Kept JSON is the value of an extension, where control characters are not allowed: line breaks
 * between tokens become spaces, characters in strings become escapes.
 */
#include "event/envelope.h"
#include "base/error.h"
#include "event/attribute.h"
#include "event/event.h"
#include "event/utf8.h"
#include "event/writer.h"

#define KEPT_METADATA "envelopemetadata"
#define KEPT_MEMBERS "envelopemembers"
#define DATAVERSION "dataversion"

/* ---- reading ---- */

/* Which members stay as JSON. */
struct kept {
    bool keep[MEMBERS_MAX];
    bool any;
};

struct reading {
    beck_document *d;
    beck_event *e;
    beck_attribute *list; /* room for every extension that there can be */
};

static void keep(struct kept *k, const struct members *m, const struct member *x)
{
    k->keep[x - m->list] = true;
    k->any = true;
}

static beck_status add_extension(struct reading *r, beck_bytes name, beck_bytes value,
                                 beck_error *err)
{
    if (r->e->extension_count == EVENT_EXTENSIONS_MAX) {
        return error_set(err, BECK_ELIMIT,
                         "the envelope has more than %d members in metadata that become "
                         "extensions; give fewer, or nest them in one object",
                         EVENT_EXTENSIONS_MAX);
    }
    r->list[r->e->extension_count++] = (beck_attribute){name, value};
    return BECK_OK;
}

/* Appends JSON without characters that an attribute may not hold. */
static beck_status append_clean(struct buf *out, beck_bytes json)
{
    const uint8_t *p = json.data;
    const uint8_t *end = p + json.len;
    beck_status status = BECK_OK;
    while (status == BECK_OK && p < end) {
        uint32_t point = 0;
        size_t len = utf8_read(p, end, &point);
        /* JSON was checked: it is UTF-8, and the other control characters are inside strings. */
        if (point < 0x20) {
            status = buf_append_byte(out, ' ');
        } else if (event_check_text(bytes_of(p, len), len, NULL) == BECK_OK) {
            status = buf_append(out, p, len);
        } else if (point < 0x10000) {
            status = buf_printf(out, "\\u%04x", point);
        } else {
            status = buf_printf(out, "\\u%04x\\u%04x", 0xD800 + ((point - 0x10000) >> 10),
                                0xDC00 + ((point - 0x10000) & 0x3FF));
        }
        p += len;
    }
    return status;
}

/* Makes the extension of what is kept. */
static beck_status add_kept(struct reading *r, const char *name, const struct members *m,
                            const struct kept *k, beck_error *err)
{
    if (!k->any) {
        return BECK_OK;
    }
    struct buf json, clean;
    buf_init(&json, 2 * EVENT_EXTENSION_VALUE_MAX);
    buf_init(&clean, EVENT_EXTENSION_VALUE_MAX);
    struct writer w;
    writer_begin(&w, &json);
    for (size_t i = 0; i < m->count; i++) {
        if (k->keep[i]) {
            writer_raw(&w, m->list[i].name, m->list[i].raw);
        }
    }
    writer_end(&w);
    beck_status status = w.status;
    if (status == BECK_OK) {
        status = append_clean(&clean, buf_bytes(&json));
    }
    uint8_t *value = NULL;
    if (status == BECK_OK && (value = document_alloc(r->d, clean.len)) == NULL) {
        status = BECK_ENOMEM;
    }
    if (status == BECK_OK) {
        memcpy(value, clean.data, clean.len);
        status = add_extension(r, beck_str(name), bytes_of(value, clean.len), err);
    } else if (status == BECK_ELIMIT) {
        status = error_set(err, BECK_ELIMIT,
                           "members of the envelope that are no attributes (extension \"%s\") take "
                           "more than %d bytes; move them into data",
                           name, EVENT_EXTENSION_VALUE_MAX);
    } else {
        status = error_set(err, status, "no memory for the members of the envelope");
    }
    buf_release(&json);
    buf_release(&clean);
    return status;
}

static bool is_number(beck_bytes text)
{
    struct json_reader r;
    struct json_token token;
    json_reader_init(&r, text);
    return json_next(&r, &token, NULL) == BECK_OK && token.kind == JSON_NUMBER &&
           token.raw.len == text.len;
}

static beck_status read_version(struct reading *r, const struct members *m, const struct member *x,
                                struct kept *k, beck_error *err)
{
    char quoted[EVENT_QUOTE_MAX];
    beck_bytes value;
    if (x->kind == JSON_NUMBER) {
        if (x->raw.len > EVENT_ATTRIBUTE_MAX) {
            return member_refuse(x, BECK_ELIMIT, err,
                                 "is a number of %zu bytes; at most %d are allowed", x->raw.len,
                                 EVENT_ATTRIBUTE_MAX);
        }
        value = bytes_of(document_copy(r->d, x->raw), x->raw.len);
    } else if (x->kind == JSON_STRING) {
        beck_status status = attribute_extension(r->d, x, EVENT_EXTENSION_VALUE_MAX, &value, err);
        if (status != BECK_OK) {
            return status;
        }
        if (is_number(value)) {
            keep(k, m, x);
        }
    } else {
        return member_refuse(x, BECK_EINVAL, err, "is %s; expected a number or a string",
                             member_quote(x, quoted));
    }
    return add_extension(r, bytes_of(DATAVERSION, strlen(DATAVERSION)), value, err);
}

/* subject, or else aggregateId; what is not exactly the text of `subject` is kept as well. */
static void read_subject(struct reading *r, const struct members *m, struct kept *k)
{
    static const char *const names[] = {"subject", "aggregateId"};
    const struct member *found[2];
    for (int i = 0; i < 2; i++) {
        const struct member *x = found[i] = members_find(m, names[i]);
        if (x == NULL) {
            continue;
        }
        beck_bytes value = bytes_of(document_copy(r->d, x->raw), x->raw.len);
        bool legal = x->kind == JSON_NUMBER ? x->raw.len <= EVENT_ATTRIBUTE_MAX
                                            : attribute_text(r->d, x, &value, NULL) == BECK_OK;
        bool taken = legal && r->e->subject.len == 0;
        if (taken) {
            r->e->subject = value;
        }
        if (!taken || i != 0 || x->kind != JSON_STRING) {
            keep(k, m, x);
        }
    }
    /* Both the same: kept both, or writing would take one for the other. */
    if (found[0] != NULL && found[1] != NULL) {
        keep(k, m, found[0]);
    }
}

/* Whether the event now holds the member of metadata exactly. */
static beck_status read_metadata_member(struct reading *r, const struct member *x,
                                        const struct member *data, bool *exact, beck_error *err)
{
    beck_event *e = r->e;
    beck_bytes name = x->name;
    beck_bytes type;
    *exact = false;
    if (bytes_equal_text(name, "correlationId")) {
        *exact = attribute_text(r->d, x, &e->correlationid, NULL) == BECK_OK;
    } else if (bytes_equal_text(name, "causationId")) {
        *exact = attribute_text(r->d, x, &e->causationid, NULL) == BECK_OK;
    } else if (bytes_equal_text(name, "dataschema")) {
        *exact = attribute_text(r->d, x, &e->dataschema, NULL) == BECK_OK;
    } else if (bytes_equal_text(name, "deliverytime")) {
        *exact = attribute_ms(r->d, x, &e->deliver_at_ms, NULL) == BECK_OK;
    } else if (bytes_equal_text(name, "expirytime")) {
        *exact = attribute_ms(r->d, x, &e->expires_at_ms, NULL) == BECK_OK;
    } else if (bytes_equal_text(name, "datacontenttype")) {
        /* A type that is not JSON's can only be true of data that is a string. */
        *exact = attribute_text(r->d, x, &type, NULL) == BECK_OK &&
                 (data == NULL || data->kind == JSON_STRING || event_content_type_is_json(type));
        e->datacontenttype = *exact ? type : e->datacontenttype;
    } else if (bytes_equal_text(name, "priority")) {
        uint64_t value;
        *exact = x->kind == JSON_NUMBER && bytes_to_u64(x->raw, &value) && value > 0 &&
                 value <= EVENT_PRIORITY_MAX;
        e->priority = *exact ? (uint32_t)value : 0;
    } else if (event_name_is_legal(name) && !event_name_is_taken(name) &&
               !bytes_equal_text(name, DATAVERSION) && !bytes_equal_text(name, KEPT_METADATA) &&
               !bytes_equal_text(name, KEPT_MEMBERS)) {
        beck_bytes value = bytes_of(document_copy(r->d, x->raw), x->raw.len);
        bool text = x->kind == JSON_STRING;
        if (x->kind == JSON_OBJECT || x->kind == JSON_ARRAY ||
            (!text && value.len > EVENT_EXTENSION_VALUE_MAX) ||
            (text &&
             attribute_extension(r->d, x, EVENT_EXTENSION_VALUE_MAX, &value, NULL) != BECK_OK)) {
            return BECK_OK;
        }
        *exact = text;
        return add_extension(r, name, value, err);
    }
    return BECK_OK;
}

static beck_status read_metadata(struct reading *r, const struct member *x,
                                 const struct member *data, beck_error *err)
{
    char quoted[EVENT_QUOTE_MAX];
    if (x->kind != JSON_OBJECT) {
        return member_refuse(x, BECK_EINVAL, err, "is %s; expected an object",
                             member_quote(x, quoted));
    }
    /* A reader of its own over the same bytes, so that positions in errors stay those of the text.
     */
    struct json_reader inner;
    struct json_token token;
    struct members m;
    struct kept k = {.any = false};
    json_reader_init(&inner, bytes_of(r->d->text, x->at + x->raw.len));
    inner.at = x->at;
    beck_status status = json_next(&inner, &token, err);
    if (status == BECK_OK) {
        status = members_read(&m, &inner, r->d->copy, "metadata", err);
    }
    for (size_t i = 0; status == BECK_OK && i < m.count; i++) {
        bool exact = false;
        status = read_metadata_member(r, &m.list[i], data, &exact, err);
        if (status == BECK_OK && !exact) {
            keep(&k, &m, &m.list[i]);
        }
    }
    return status == BECK_OK ? add_kept(r, KEPT_METADATA, &m, &k, err) : status;
}

static bool is_known(beck_bytes name)
{
    static const char *const names[] = {"eventId", "eventType",   "version",    "timestamp",
                                        "source",  "data",        "metadata",   "data_base64",
                                        "subject", "aggregateId", "specversion"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (bytes_equal_text(name, names[i])) {
            return true;
        }
    }
    return false;
}

static beck_status read_attributes(struct reading *r, const struct members *m, struct kept *k,
                                   beck_error *err)
{
    const struct member *x;
    beck_status status = BECK_OK;
    if ((x = members_find(m, "eventId")) != NULL) {
        status = attribute_text(r->d, x, &r->e->id, err);
    }
    if (status == BECK_OK && (x = members_find(m, "source")) != NULL) {
        status = attribute_text(r->d, x, &r->e->source, err);
    }
    if (status == BECK_OK && (x = members_find(m, "timestamp")) != NULL) {
        status = attribute_ns(r->d, x, &r->e->time_ns, err);
    }
    if (status == BECK_OK && (x = members_find(m, "version")) != NULL) {
        status = read_version(r, m, x, k, err);
    }
    if (status == BECK_OK) {
        read_subject(r, m, k);
    }
    return status;
}

beck_status envelope_read(beck_document *d, const struct members *m, size_t at, beck_event *e,
                          beck_error *err)
{
    const struct member *type = members_find(m, "eventType");
    if (type == NULL) {
        return error_set(err, BECK_EINVAL,
                         "member \"eventType\" is missing in the envelope at byte %zu; expected "
                         "for example \"eventType\": \"order.created\"",
                         at);
    }
    struct kept k = {.any = false};
    struct reading r = {d, e, document_alloc(d, EVENT_EXTENSIONS_MAX * sizeof *r.list)};
    if (r.list == NULL) {
        return error_set(err, BECK_ENOMEM, "no memory for the envelope at byte %zu", at);
    }
    const struct member *data = members_find(m, "data");
    const struct member *metadata = members_find(m, "metadata");
    beck_status status = attribute_type(d, type, &e->type, err);
    if (status == BECK_OK) {
        status = read_attributes(&r, m, &k, err);
    }
    if (status == BECK_OK && metadata != NULL) {
        status = read_metadata(&r, metadata, data, err);
    }
    if (status == BECK_OK) {
        status = attribute_data(d, data, members_find(m, "data_base64"), e, err);
    }
    for (size_t i = 0; i < m->count; i++) {
        if (!is_known(m->list[i].name)) {
            keep(&k, m, &m->list[i]);
        }
    }
    if (status == BECK_OK) {
        status = add_kept(&r, KEPT_MEMBERS, m, &k, err);
    }
    e->extensions = e->extension_count == 0 ? NULL : r.list;
    return status;
}

/* ---- writing ---- */

/* What was kept, read again. */
struct restored {
    struct members m;
    beck_bytes json; /* the extension; absent: nothing was kept */
    struct buf copy;
};

/* An extension of that name that is not what reading makes is one like any other. */
static beck_status restore(struct restored *s, const beck_event *e, const char *name)
{
    struct json_reader r;
    struct json_token token;
    buf_init(&s->copy, SIZE_MAX / 2);
    s->m.count = 0;
    s->json = event_extension(e, name);
    if (s->json.len == 0) {
        s->json = bytes_of(NULL, 0);
        return BECK_OK;
    }
    beck_status status = buf_append(&s->copy, s->json.data, s->json.len);
    if (status != BECK_OK) {
        return status;
    }
    json_reader_init(&r, s->json);
    bool valid = json_next(&r, &token, NULL) == BECK_OK && token.kind == JSON_OBJECT &&
                 members_read(&s->m, &r, s->copy.data, name, NULL) == BECK_OK &&
                 json_next(&r, &token, NULL) == BECK_OK;
    if (!valid) {
        s->m.count = 0;
        s->json = bytes_of(NULL, 0);
    }
    return BECK_OK;
}

/* Whether the kept member is there and says the same as the text of the attribute. */
static const struct member *same(struct restored *s, const char *name, beck_bytes value)
{
    const struct member *x = members_find(&s->m, name);
    beck_bytes text;
    if (x == NULL || x->kind == JSON_OBJECT || x->kind == JSON_ARRAY) {
        return NULL;
    }
    text = x->raw;
    if (x->kind == JSON_STRING &&
        member_text(x, s->json.data, s->copy.data, &text, NULL) != BECK_OK) {
        return NULL;
    }
    return bytes_equal(text, value) ? x : NULL;
}

static void write_version(struct writer *w, const beck_event *e, struct restored *s)
{
    beck_bytes value = event_extension(e, DATAVERSION);
    beck_bytes name = bytes_of("version", 7);
    if (value.data == NULL) {
        return;
    }
    if (is_number(value) && same(s, "version", value) == NULL) {
        writer_raw(w, name, value);
    } else {
        writer_member_text(w, name, value);
    }
}

static bool is_subject(beck_bytes name)
{
    return bytes_equal_text(name, "subject") || bytes_equal_text(name, "aggregateId");
}

/* Whether reading would take the kept member for the subject. */
static bool gives_subject(struct restored *s, const struct member *x)
{
    beck_bytes text = x->raw;
    if (x->kind == JSON_STRING &&
        member_text(x, s->json.data, s->copy.data, &text, NULL) != BECK_OK) {
        return false;
    }
    return (x->kind == JSON_STRING || x->kind == JSON_NUMBER) && text.len != 0 &&
           event_check_text(text, EVENT_ATTRIBUTE_MAX, NULL) == BECK_OK;
}

/* subject and what was kept beside the known members. */
static void write_members(struct writer *w, const beck_event *e, struct restored *s)
{
    bool subject = e->subject.len != 0 && same(s, "subject", e->subject) == NULL &&
                   same(s, "aggregateId", e->subject) == NULL;
    if (subject) {
        writer_text(w, "subject", e->subject);
    }
    for (size_t i = 0; i < s->m.count; i++) {
        const struct member *x = &s->m.list[i];
        bool stale = (subject && bytes_equal_text(x->name, "subject")) ||
                     (e->subject.len == 0 && is_subject(x->name) && gives_subject(s, x));
        if (!stale && (!is_known(x->name) || is_subject(x->name))) {
            writer_raw(w, x->name, x->raw);
        }
    }
}

/* Whether the event has a value of its own for a member of metadata. */
static bool has_metadata(const beck_event *e, beck_bytes name)
{
    if (bytes_equal_text(name, "correlationId")) {
        return e->correlationid.len != 0;
    }
    if (bytes_equal_text(name, "causationId")) {
        return e->causationid.len != 0;
    }
    if (bytes_equal_text(name, "datacontenttype")) {
        return e->datacontenttype.len != 0;
    }
    if (bytes_equal_text(name, "dataschema")) {
        return e->dataschema.len != 0;
    }
    if (bytes_equal_text(name, "deliverytime")) {
        return e->deliver_at_ms != 0;
    }
    if (bytes_equal_text(name, "expirytime")) {
        return e->expires_at_ms != 0;
    }
    return bytes_equal_text(name, "priority") && e->priority != 0;
}

static void write_extensions(struct writer *w, const beck_event *e, struct restored *kept_metadata,
                             const struct restored *kept_members)
{
    bool used[MEMBERS_MAX] = {false};
    for (size_t i = 0; i < e->extension_count; i++) {
        const beck_attribute *x = &e->extensions[i];
        if (bytes_equal_text(x->name, DATAVERSION) ||
            (kept_metadata->json.len != 0 && bytes_equal_text(x->name, KEPT_METADATA)) ||
            (kept_members->json.len != 0 && bytes_equal_text(x->name, KEPT_MEMBERS))) {
            continue;
        }
        const struct member *raw = NULL;
        for (size_t k = 0; k < kept_metadata->m.count; k++) {
            const struct member *m = &kept_metadata->m.list[k];
            if (bytes_equal(m->name, x->name)) {
                used[k] = true;
                raw = m->kind != JSON_STRING && bytes_equal(m->raw, x->value) ? m : NULL;
            }
        }
        if (raw != NULL) {
            writer_raw(w, x->name, raw->raw);
        } else {
            writer_member_text(w, x->name, x->value);
        }
    }
    for (size_t k = 0; k < kept_metadata->m.count; k++) {
        const struct member *m = &kept_metadata->m.list[k];
        if (!used[k] && !has_metadata(e, m->name)) {
            writer_raw(w, m->name, m->raw);
        }
    }
}

static void write_metadata(struct writer *w, const beck_event *e, struct restored *kept_metadata,
                           const struct restored *kept_members)
{
    writer_nest(w, "metadata");
    writer_attribute(w, "correlationId", e->correlationid);
    writer_attribute(w, "causationId", e->causationid);
    writer_attribute(w, "datacontenttype", e->datacontenttype);
    writer_attribute(w, "dataschema", e->dataschema);
    writer_ms(w, "deliverytime", e->deliver_at_ms);
    writer_ms(w, "expirytime", e->expires_at_ms);
    if (e->priority != 0) {
        writer_number(w, "priority", e->priority);
    }
    write_extensions(w, e, kept_metadata, kept_members);
    writer_unnest(w);
}

beck_status envelope_write(const beck_event *e, struct buf *out, beck_error *err)
{
    struct restored kept_metadata, kept_members;
    struct writer w;
    beck_status status = restore(&kept_metadata, e, KEPT_METADATA);
    beck_status second = restore(&kept_members, e, KEPT_MEMBERS);
    writer_begin(&w, out);
    w.status = w.status != BECK_OK ? w.status : status != BECK_OK ? status : second;
    writer_attribute(&w, "eventId", e->id);
    writer_attribute(&w, "eventType", e->type);
    write_version(&w, e, &kept_members);
    writer_ns(&w, "timestamp", e->time_ns);
    writer_attribute(&w, "source", e->source);
    write_members(&w, e, &kept_members);
    if (e->data.data == NULL) {
        writer_raw(&w, bytes_of("data", 4), bytes_of("null", 4));
    }
    writer_data(&w, e, false);
    write_metadata(&w, e, &kept_metadata, &kept_members);
    writer_end(&w);
    buf_release(&kept_metadata.copy);
    buf_release(&kept_members.copy);
    return writer_result(&w, err);
}
