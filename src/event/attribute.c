/* Members of JSON as attributes of an event. */
#include "event/attribute.h"
#include "event/event.h"
#include "event/time.h"
#include "event/writer.h"

static beck_status check(const struct member *m, beck_bytes text, size_t max, beck_error *err)
{
    beck_error reason;
    beck_status status = event_check_text(text, max, &reason);
    return status == BECK_OK ? BECK_OK : member_refuse(m, status, err, "%s", reason.text);
}

beck_status attribute_text(const beck_document *d, const struct member *m, beck_bytes *out,
                           beck_error *err)
{
    beck_bytes text;
    beck_status status = member_text(m, d->text, d->copy, &text, err);
    if (status != BECK_OK) {
        return status;
    }
    if (text.len == 0) {
        return member_refuse(m, BECK_EINVAL, err, "is empty; expected text of 1-%d bytes%s",
                             EVENT_ATTRIBUTE_MAX,
                             bytes_equal_text(m->name, "id") || bytes_equal_text(m->name, "source")
                                 ? ""
                                 : ", or leave the member out");
    }
    status = check(m, text, EVENT_ATTRIBUTE_MAX, err);
    if (status == BECK_OK) {
        *out = text;
    }
    return status;
}

beck_status attribute_type(const beck_document *d, const struct member *m, beck_bytes *out,
                           beck_error *err)
{
    beck_error reason;
    beck_bytes text;
    beck_status status = member_text(m, d->text, d->copy, &text, err);
    if (status != BECK_OK) {
        return status;
    }
    status = event_check_type_text(text, &reason);
    if (status != BECK_OK) {
        return member_refuse(m, status, err, "%s",
                             text.len == 0 ? "is empty; expected "
                                             "dot-separated words, for example \"order.created\""
                                           : reason.text);
    }
    *out = text;
    return BECK_OK;
}

beck_status attribute_ns(const beck_document *d, const struct member *m, int64_t *out,
                         beck_error *err)
{
    char quoted[EVENT_QUOTE_MAX];
    beck_bytes text = {NULL, 0};
    beck_status status =
        m->kind == JSON_STRING ? member_text(m, d->text, d->copy, &text, err) : BECK_OK;
    if (status != BECK_OK) {
        return status;
    }
    int64_t ns;
    if (m->kind != JSON_STRING || !time_parse(text, &ns)) {
        return member_refuse(m, BECK_EINVAL, err,
                             "is not an RFC 3339 timestamp: %s; expected for example "
                             "\"2024-05-01T12:00:00Z\"",
                             member_quote(m, quoted));
    }
    *out = ns == 0 ? EPOCH_NS : ns;
    return BECK_OK;
}

beck_status attribute_ms(const beck_document *d, const struct member *m, int64_t *out,
                         beck_error *err)
{
    char quoted[EVENT_QUOTE_MAX];
    int64_t ns = 0;
    beck_status status = attribute_ns(d, m, &ns, err);
    if (status != BECK_OK) {
        return status;
    }
    if (ns <= EPOCH_NS) {
        return member_refuse(m, BECK_EINVAL, err,
                             "is %s; expected a timestamp after 1970-01-01T00:00:00Z",
                             member_quote(m, quoted));
    }
    int64_t ms = ns / 1000000 + (ns % 1000000 != 0);
    *out = ms > EVENT_MS_MAX ? EVENT_MS_MAX : ms;
    return BECK_OK;
}

/* A whole number in 32 bits, as CloudEvents has no others. */
static bool is_integer(beck_bytes raw)
{
    const uint8_t *p = raw.data;
    bool negative = *p == '-';
    uint64_t value;
    return bytes_to_u64(bytes_of(p + negative, raw.len - negative), &value) &&
           value <= 2147483647ULL + negative;
}

beck_status attribute_extension(const beck_document *d, const struct member *m, size_t max,
                                beck_bytes *out, beck_error *err)
{
    char quoted[EVENT_QUOTE_MAX];
    if (m->kind == JSON_TRUE || m->kind == JSON_FALSE ||
        (m->kind == JSON_NUMBER && is_integer(m->raw))) {
        *out = bytes_of(document_copy(d, m->raw), m->raw.len);
        return BECK_OK;
    }
    if (m->kind != JSON_STRING) {
        return member_refuse(m, BECK_EINVAL, err,
                             "is %s; expected a string, a boolean or a whole number from "
                             "-2147483648 to 2147483647 (CloudEvents has no other types)",
                             member_quote(m, quoted));
    }
    beck_bytes text;
    beck_status status = member_text(m, d->text, d->copy, &text, err);
    if (status == BECK_OK) {
        status = check(m, text, max, err);
    }
    if (status == BECK_OK) {
        *out = text;
    }
    return status;
}

beck_status attribute_data(const beck_document *d, const struct member *data,
                           const struct member *base64, beck_event *e, beck_error *err)
{
    if (data != NULL && base64 != NULL) {
        return member_refuse(base64, BECK_EINVAL, err,
                             "stands beside \"data\" (at byte %zu); give one of the two", data->at);
    }
    if (base64 != NULL) {
        char quoted[EVENT_QUOTE_MAX];
        beck_bytes text;
        beck_status status = member_text(base64, d->text, d->copy, &text, err);
        if (status != BECK_OK) {
            return status;
        }
        uint8_t *to = document_copy(d, base64->raw);
        size_t len;
        if (!base64_read_to(text, to, &len)) {
            return member_refuse(base64, BECK_EINVAL, err,
                                 "is not base64: %s; expected the alphabet A-Z a-z 0-9 + / with "
                                 "padding (RFC 4648 section 4)",
                                 member_quote(base64, quoted));
        }
        e->data = bytes_of(to, len);
        return BECK_OK;
    }
    if (data == NULL) {
        return BECK_OK;
    }
    if (data->kind == JSON_STRING && !event_data_is_json(e)) {
        return member_text(data, d->text, d->copy, &e->data, err);
    }
    e->data = bytes_of(document_copy(d, data->raw), data->raw.len);
    return BECK_OK;
}
