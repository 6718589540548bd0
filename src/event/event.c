/*
 * Events as values. One table says which names belong to CloudEvents or to fields of beck_event;
 * text is checked eight bytes at a time as long as it is plain ASCII.
 */
#include "event/event.h"
#include "event/plain.h"
#include "base/error.h"
#include "event/utf8.h"

/* ---- text ---- */

const char *event_quote(beck_bytes text, char out[EVENT_QUOTE_MAX])
{
    const uint8_t *p = text.len == 0 ? (const uint8_t *)"" : text.data;
    const uint8_t *end = p + text.len;
    size_t at = 0;
    out[at++] = '"';
    while (p < end && at < EVENT_QUOTE_MAX - 10) {
        uint32_t point;
        size_t len = utf8_read(p, end, &point);
        if (len == 0 || point < 0x20 || (point >= 0x7F && point < 0xA0)) {
            out[at++] = '?';
            p += len == 0 ? 1 : len;
            continue;
        }
        memcpy(out + at, p, len);
        at += len;
        p += len;
    }
    if (p < end) {
        memcpy(out + at, "...", 3);
        at += 3;
    }
    out[at++] = '"';
    out[at] = 0;
    return out;
}

/* How many bytes at p are printable ASCII for sure, in steps of eight. */
static size_t plain_prefix(const uint8_t *p, size_t len)
{
    const uint64_t ones = 0x0101010101010101ULL;
    const uint64_t highs = 0x8080808080808080ULL;
    size_t at = 0;
    for (; len - at >= 8; at += 8) {
        uint64_t v;
        memcpy(&v, p + at, 8);
        uint64_t deletes = v ^ ones * 0x7F;
        if (((v | (v - ones * 0x20) | (deletes - ones)) & highs) != 0) {
            break;
        }
    }
    return at;
}

/* The high bit of each byte that is `c`, exactly. */
static inline uint64_t bytes_that_are(uint64_t v, char c)
{
    uint64_t t = v ^ PLAIN_EACH_BYTE(c);
    return ~(((t & PLAIN_EACH_BYTE(0x7F)) + PLAIN_EACH_BYTE(0x7F)) | t | PLAIN_EACH_BYTE(0x7F));
}

/* The same for a type: plain, no wildcards, no empty word. */
static inline bool is_plain_type(beck_bytes type)
{
    const uint8_t *p = type.data;
    uint64_t bad = 0, dot_before = 0x80; /* a dot at the beginning follows nothing */
    if (type.len == 0 || type.len > EVENT_TYPE_MAX || p[type.len - 1] == '.') {
        return false;
    }
    for (size_t at = 0; at < type.len; at += 8) {
        uint64_t v = type.len - at >= 8 ? load_u64(p + at) : plain_load_tail(p, type.len, at);
        uint64_t dots = bytes_that_are(v, '.');
        bad |= plain_odd_bytes(v) | bytes_that_are(v, '*') | bytes_that_are(v, '#') |
               (dots & (dots << 8 | dot_before));
        dot_before = dots >> 56;
    }
    return bad == 0;
}

static bool is_noncharacter(uint32_t point)
{
    return (point & 0xFFFE) == 0xFFFE || (point >= 0xFDD0 && point <= 0xFDEF);
}

beck_status event_check_text(beck_bytes text, size_t max, beck_error *err)
{
    if (text.len > max) {
        return error_set(err, BECK_ELIMIT, "is %zu bytes long; at most %zu are allowed", text.len,
                         max);
    }
    const uint8_t *start = text.len == 0 ? (const uint8_t *)"" : text.data;
    const uint8_t *end = start + text.len;
    for (const uint8_t *p = start; p < end;) {
        p += plain_prefix(p, (size_t)(end - p));
        if (p == end) {
            break;
        }
        uint32_t point;
        size_t len = utf8_read(p, end, &point);
        if (len == 0) {
            return error_set(err, BECK_EINVAL,
                             "is not UTF-8: byte 0x%02x at its byte %zu; give text in UTF-8", *p,
                             (size_t)(p - start));
        }
        if (point < 0x20 || (point >= 0x7F && point < 0xA0)) {
            return error_set(err, BECK_EINVAL,
                             "holds a control character (U+%04X) at its byte %zu; remove it", point,
                             (size_t)(p - start));
        }
        if (is_noncharacter(point)) {
            return error_set(err, BECK_EINVAL,
                             "holds the noncharacter U+%04X at its byte %zu; remove it", point,
                             (size_t)(p - start));
        }
        p += len;
    }
    return BECK_OK;
}

/* ---- names ---- */

bool event_name_is_legal(beck_bytes name)
{
    if (name.len == 0 || name.len > EVENT_EXTENSION_NAME_MAX) {
        return false;
    }
    const uint8_t *p = name.data;
    for (size_t i = 0; i < name.len; i++) {
        if (!((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= '0' && p[i] <= '9'))) {
            return false;
        }
    }
    return true;
}

bool event_name_is_taken(beck_bytes name)
{
    static const struct {
        const char *text;
        size_t len;
    } taken[] = {
        {"id", 2},          {"source", 6},           {"specversion", 11}, {"type", 4},
        {"subject", 7},     {"datacontenttype", 15}, {"dataschema", 10},  {"time", 4},
        {"data", 4},        {"correlationid", 13},   {"causationid", 11}, {"deliverytime", 12},
        {"expirytime", 10}, {"priority", 8},
    };
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        if (name.len == taken[i].len && memcmp(name.data, taken[i].text, name.len) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- checking ---- */

beck_status event_check_type_text(beck_bytes type, beck_error *err)
{
    const char *example = "expected dot-separated words, for example \"order.created\"";
    char quoted[EVENT_QUOTE_MAX];
    if (type.len == 0) {
        return error_set(err, BECK_EINVAL, "is missing; %s", example);
    }
    beck_status status = event_check_text(type, EVENT_TYPE_MAX, err);
    if (status != BECK_OK) {
        return status;
    }
    const uint8_t *p = type.data;
    size_t word_at = 0;
    for (size_t i = 0; i <= type.len; i++) {
        if (i < type.len && (p[i] == '*' || p[i] == '#')) {
            return error_set(err, BECK_EINVAL,
                             "holds '%c' at its byte %zu: %s; '*' and '#' are for patterns", p[i],
                             i, event_quote(type, quoted));
        }
        if (i < type.len && p[i] != '.') {
            continue;
        }
        if (i == word_at) {
            return error_set(err, BECK_EINVAL, "has an empty word at its byte %zu: %s; %s", i,
                             event_quote(type, quoted), example);
        }
        word_at = i + 1;
    }
    return BECK_OK;
}

static beck_status check_type(beck_bytes type, beck_error *err)
{
    beck_error reason;
    beck_status status = event_check_type_text(type, &reason);
    return status == BECK_OK ? BECK_OK
                             : error_set(err, status, "attribute \"type\" %s", reason.text);
}

static beck_status check_attribute(const char *name, beck_bytes value, beck_error *err)
{
    if (value.len == 0) {
        return BECK_OK;
    }
    beck_error reason;
    beck_status status = event_check_text(value, EVENT_ATTRIBUTE_MAX, &reason);
    return status == BECK_OK ? BECK_OK
                             : error_set(err, status, "attribute \"%s\" %s", name, reason.text);
}

static beck_status check_ms(const char *name, int64_t ms, beck_error *err)
{
    if (ms >= 0 && ms <= EVENT_MS_MAX) {
        return BECK_OK;
    }
    return error_set(
        err, BECK_EINVAL,
        "attribute \"%s\" is %lld ms since 1970; expected 0 (none) to %lld (year 2261)", name,
        (long long)ms, EVENT_MS_MAX);
}

static beck_status check_extension(const beck_event *e, size_t index, beck_error *err)
{
    const beck_attribute *x = &e->extensions[index];
    char quoted[EVENT_QUOTE_MAX];
    if (!event_name_is_legal(x->name)) {
        return error_set(err, BECK_EINVAL,
                         "extension %zu has the name %s; expected 1-64 lower-case letters and "
                         "digits",
                         index, event_quote(x->name, quoted));
    }
    if (event_name_is_taken(x->name)) {
        return error_set(err, BECK_EINVAL,
                         "extension %zu is named %s, which is an attribute of its own; set the "
                         "field of the event",
                         index, event_quote(x->name, quoted));
    }
    for (size_t i = 0; i < index; i++) {
        if (bytes_equal(e->extensions[i].name, x->name)) {
            return error_set(err, BECK_EINVAL, "extension %s is given twice; give it once",
                             event_quote(x->name, quoted));
        }
    }
    beck_error reason;
    beck_status status = event_check_text(x->value, EVENT_EXTENSION_VALUE_MAX, &reason);
    return status == BECK_OK ? BECK_OK
                             : error_set(err, status, "extension %s %s",
                                         event_quote(x->name, quoted), reason.text);
}

/* Everything but the type, where no more than a glance is needed. */
static inline bool rest_is_plain(const beck_event *e)
{
    return plain_event(e) ||
           (e->extension_count == 0 && e->priority <= EVENT_PRIORITY_MAX &&
            (uint64_t)e->deliver_at_ms <= EVENT_MS_MAX &&
            (uint64_t)e->expires_at_ms <= EVENT_MS_MAX &&
            plain_text(e->subject, EVENT_ATTRIBUTE_MAX) &&
            plain_text(e->source, EVENT_ATTRIBUTE_MAX) && plain_text(e->id, EVENT_ATTRIBUTE_MAX) &&
            plain_text(e->datacontenttype, EVENT_ATTRIBUTE_MAX) &&
            plain_text(e->dataschema, EVENT_ATTRIBUTE_MAX) &&
            plain_text(e->correlationid, EVENT_ATTRIBUTE_MAX) &&
            plain_text(e->causationid, EVENT_ATTRIBUTE_MAX));
}

static beck_status check_fully(const beck_event *e, beck_error *err)
{
    beck_status status = check_type(e->type, err);
    const struct {
        const char *name;
        beck_bytes value;
    } attributes[] = {
        {"subject", e->subject},
        {"source", e->source},
        {"id", e->id},
        {"datacontenttype", e->datacontenttype},
        {"dataschema", e->dataschema},
        {"correlationid", e->correlationid},
        {"causationid", e->causationid},
    };
    for (size_t i = 0; status == BECK_OK && i < sizeof attributes / sizeof attributes[0]; i++) {
        status = check_attribute(attributes[i].name, attributes[i].value, err);
    }
    if (status == BECK_OK) {
        status = check_ms("deliverytime", e->deliver_at_ms, err);
    }
    if (status == BECK_OK) {
        status = check_ms("expirytime", e->expires_at_ms, err);
    }
    if (status != BECK_OK) {
        return status;
    }
    if (e->priority > EVENT_PRIORITY_MAX) {
        return error_set(err, BECK_EINVAL, "attribute \"priority\" is %u; expected 0-%d",
                         e->priority, EVENT_PRIORITY_MAX);
    }
    if (e->extension_count > EVENT_EXTENSIONS_MAX) {
        return error_set(err, BECK_ELIMIT, "the event has %zu extensions; at most %d are allowed",
                         e->extension_count, EVENT_EXTENSIONS_MAX);
    }
    for (size_t i = 0; status == BECK_OK && i < e->extension_count; i++) {
        status = check_extension(e, i, err);
    }
    return status;
}

beck_status event_check(const beck_event *e, beck_error *err)
{
    return is_plain_type(e->type) && rest_is_plain(e) ? BECK_OK : check_fully(e, err);
}

beck_status event_check_rest(const beck_event *e, beck_error *err)
{
    return rest_is_plain(e) ? BECK_OK : check_fully(e, err);
}

/* ---- copying and looking up ---- */

static beck_bytes put(uint8_t **to, beck_bytes from)
{
    if (from.len == 0) {
        /* Empty and absent stay apart: an empty slice keeps a pointer, to memory of ours. */
        return bytes_of(from.data == NULL ? NULL : *to, 0);
    }
    memcpy(*to, from.data, from.len);
    *to += from.len;
    return bytes_of(*to - from.len, from.len);
}

beck_status event_copy(const beck_event *e, struct buf *memory, beck_event *out)
{
    size_t table = e->extension_count * sizeof(beck_attribute);
    size_t total = table + e->type.len + e->subject.len + e->source.len + e->id.len +
                   e->datacontenttype.len + e->dataschema.len + e->data.len + e->correlationid.len +
                   e->causationid.len + e->bus.len + 1;
    for (size_t i = 0; i < e->extension_count; i++) {
        total += e->extensions[i].name.len + e->extensions[i].value.len;
    }
    buf_clear(memory);
    beck_status status = buf_reserve(memory, total);
    if (status != BECK_OK) {
        return status;
    }
    /* The table comes first: there the memory is aligned for it. */
    beck_attribute *attributes = (beck_attribute *)(void *)memory->data;
    uint8_t *to = memory->data + table;
    for (size_t i = 0; i < e->extension_count; i++) {
        attributes[i].name = put(&to, e->extensions[i].name);
        attributes[i].value = put(&to, e->extensions[i].value);
    }
    *out = *e;
    out->extensions = e->extension_count == 0 ? NULL : attributes;
    out->type = put(&to, e->type);
    out->subject = put(&to, e->subject);
    out->source = put(&to, e->source);
    out->id = put(&to, e->id);
    out->datacontenttype = put(&to, e->datacontenttype);
    out->dataschema = put(&to, e->dataschema);
    out->correlationid = put(&to, e->correlationid);
    out->causationid = put(&to, e->causationid);
    out->bus = put(&to, e->bus);
    out->data = put(&to, e->data);
    memory->len = (size_t)(to - memory->data);
    return BECK_OK;
}

beck_bytes event_extension(const beck_event *e, const char *name)
{
    for (size_t i = 0; i < e->extension_count; i++) {
        if (bytes_equal_text(e->extensions[i].name, name)) {
            beck_bytes value = e->extensions[i].value;
            return value.data == NULL ? bytes_of("", 0) : value;
        }
    }
    return bytes_of(NULL, 0);
}

/* ---- content types ---- */

static bool ends_with(const uint8_t *p, size_t len, const char *end)
{
    size_t n = strlen(end);
    if (len < n) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        uint8_t c = p[len - n + i];
        if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != end[i]) {
            return false;
        }
    }
    return true;
}

bool event_content_type_is_json(beck_bytes datacontenttype)
{
    const uint8_t *p = datacontenttype.data;
    size_t len = datacontenttype.len;
    if (len == 0) {
        return true;
    }
    const uint8_t *semicolon = memchr(p, ';', len);
    if (semicolon != NULL) {
        len = (size_t)(semicolon - p);
    }
    while (len > 0 && (p[len - 1] == ' ' || p[len - 1] == '\t')) {
        len--;
    }
    while (len > 0 && (*p == ' ' || *p == '\t')) {
        p++;
        len--;
    }
    return (len == 16 && ends_with(p, len, "application/json")) ||
           (len == 9 && ends_with(p, len, "text/json")) || ends_with(p, len, "+json");
}

bool event_data_is_json(const beck_event *e)
{
    return event_content_type_is_json(e->datacontenttype);
}
