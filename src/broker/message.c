/* See message.h. */
#include "broker/message.h"

#include "event/event.h"

#include <stdio.h>

#define TIME_MAX_S 9214646399LL /* the last second that an event's time can say */

static const uint8_t no_properties[2];

/* ---- a message as an event ---- */

static beck_bytes legal(beck_bytes text)
{
    beck_bytes none = {0};
    return text.len > 0 && event_check_text(text, EVENT_ATTRIBUTE_MAX, NULL) == BECK_OK ? text
                                                                                        : none;
}

static beck_bytes header_text(beck_bytes headers, const char *name)
{
    struct table_value v;
    beck_bytes none = {0};
    if (headers.len == 0 || !table_find(headers, name, &v) || v.kind != TABLE_TEXT)
        return none;
    return legal(v.bytes);
}

void message_to_event(beck_bytes exchange, beck_bytes routing_key, const struct properties *p,
                      beck_bytes body, beck_event *out)
{
    *out = (beck_event){.data = body};
    if (event_check_type_text(routing_key, NULL) == BECK_OK)
        out->type = routing_key;
    else if (event_check_type_text(exchange, NULL) == BECK_OK)
        out->type = exchange;
    else
        out->type = beck_str("amq.default");
    if (!body.data)
        out->data.data = (const uint8_t *)"";
    out->priority = p->flags & PROPERTY_PRIORITY ? p->priority : 0;
    out->id = legal(p->message_id);
    out->source = legal(p->app_id);
    out->datacontenttype = legal(p->content_type);
    out->correlationid = legal(p->correlation_id);
    out->subject = header_text(p->headers, "ce_subject");
    out->causationid = header_text(p->headers, "ce_causationid");
    if (p->flags & PROPERTY_TIMESTAMP && p->timestamp > 0 && p->timestamp <= TIME_MAX_S)
        out->time_ns = (int64_t)p->timestamp * 1000000000;
}

/* ---- what is carried ---- */

static beck_status put_short(struct buf *out, beck_bytes text)
{
    beck_status status = buf_append_byte(out, (uint8_t)text.len);
    return status ? status : buf_append(out, text.data, text.len);
}

beck_status message_carry(struct buf *out, beck_bytes exchange, beck_bytes routing_key,
                          beck_bytes properties, uint16_t marks)
{
    if (exchange.len > 255 || routing_key.len > 255)
        return BECK_EINVAL;
    if (properties.len < 2)
        properties = bytes_of(no_properties, 2);
    beck_status status = buf_reserve(out, 2 + exchange.len + routing_key.len + properties.len);
    if (status)
        return status;
    put_short(out, exchange);
    put_short(out, routing_key);
    size_t at = out->len;
    buf_append(out, properties.data, properties.len);
    put_u16(out->data + at, (uint16_t)((get_u16(out->data + at) & ~CARRIED_MARKS) | marks));
    return BECK_OK;
}

static bool get_short(beck_bytes from, size_t *at, beck_bytes *out)
{
    const uint8_t *p = from.data;
    if (*at >= from.len || from.len - *at - 1 < p[*at])
        return false;
    *out = bytes_of(p + *at + 1, p[*at]);
    *at += 1 + out->len;
    return true;
}

bool message_carried(beck_bytes content, beck_bytes *exchange, beck_bytes *routing_key,
                     beck_bytes *properties, uint16_t *marks)
{
    size_t at = 0;
    if (!get_short(content, &at, exchange) || !get_short(content, &at, routing_key) ||
        content.len - at < 2)
        return false;
    *properties = bytes_of((const uint8_t *)content.data + at, content.len - at);
    *marks = get_u16(properties->data) & CARRIED_MARKS;
    return true;
}

/* ---- what is shown ---- */

/* With other headers: without BCC (where `bcc`), and with `number` under `name` (NULL: none). */
static beck_status with_headers(beck_bytes properties, bool bcc, const char *name, int64_t number,
                                struct buf *out)
{
    const char *without[2] = {"BCC", name};
    struct properties p;
    struct buf headers;
    beck_status status = properties_read(properties, &p, NULL);
    if (status)
        return status;
    buf_init(&headers, out->max);
    if (p.flags & PROPERTY_HEADERS)
        status = table_copy_without(&headers, p.headers, bcc ? without : without + 1,
                                    (size_t)bcc + (name != NULL));
    if (!status && name)
        status = table_put_long(&headers, name, number);
    p.flags |= PROPERTY_HEADERS;
    p.headers = buf_bytes(&headers);
    if (!status)
        status = properties_write(out, &p);
    buf_release(&headers);
    return status;
}

beck_status message_with_number(beck_bytes properties, uint16_t marks, const char *name,
                                int64_t number, struct buf *out)
{
    bool bcc = (marks & CARRIED_BCC) != 0;
    struct buf plain;
    buf_init(&plain, out->max);
    beck_status status = buf_append(&plain, properties.data, properties.len);
    if (!status) {
        put_u16(plain.data, (uint16_t)(get_u16(plain.data) & ~CARRIED_MARKS));
        status = bcc || name ? with_headers(buf_bytes(&plain), bcc, name, number, out)
                             : buf_append(out, plain.data, plain.len);
    }
    buf_release(&plain);
    return status;
}

bool message_hide_bcc(beck_bytes properties, struct buf *out)
{
    struct properties p;
    struct table_value v;
    return !properties_read(properties, &p, NULL) && p.flags & PROPERTY_HEADERS &&
           table_find(p.headers, "BCC", &v) && v.kind == TABLE_ARRAY &&
           !message_with_number(properties, CARRIED_BCC, NULL, 0, out);
}

static beck_status put_ce(struct buf *headers, const char *name, beck_bytes value)
{
    return value.len > 0 ? table_put_text(headers, name, value) : BECK_OK;
}

static beck_status put_extension(struct buf *headers, const beck_attribute *a)
{
    char name[EVENT_EXTENSION_NAME_MAX + 8];
    snprintf(name, sizeof name, "ce_%.*s", (int)a->name.len, (const char *)a->name.data);
    return table_put_text(headers, name, a->value);
}

static beck_bytes as_short(beck_bytes text)
{
    beck_bytes none = {0};
    return text.len <= 255 ? text : none;
}

beck_status message_of_event(const beck_event *e, bool persistent, struct buf *out)
{
    struct buf headers;
    buf_init(&headers, out->max);
    struct properties p = {.delivery_mode = persistent ? 2 : 1,
                           .priority = (uint8_t)(e->priority < 255 ? e->priority : 255),
                           .timestamp = (uint64_t)(e->time_ns > 0 ? e->time_ns / 1000000000 : 0),
                           .content_type = as_short(e->datacontenttype),
                           .correlation_id = as_short(e->correlationid),
                           .message_id = as_short(e->id),
                           .app_id = as_short(e->source)};
    beck_status status = put_ce(&headers, "ce_subject", e->subject);
    if (!status)
        status = put_ce(&headers, "ce_causationid", e->causationid);
    if (!status)
        status = put_ce(&headers, "ce_dataschema", e->dataschema);
    for (size_t i = 0; i < e->extension_count && !status; i++)
        status = put_extension(&headers, &e->extensions[i]);
    p.headers = buf_bytes(&headers);
    p.flags =
        (uint16_t)(PROPERTY_DELIVERY_MODE | (p.priority ? PROPERTY_PRIORITY : 0) |
                   (p.timestamp ? PROPERTY_TIMESTAMP : 0) |
                   (p.content_type.len ? PROPERTY_CONTENT_TYPE : 0) |
                   (p.correlation_id.len ? PROPERTY_CORRELATION_ID : 0) |
                   (p.message_id.len ? PROPERTY_MESSAGE_ID : 0) |
                   (p.app_id.len ? PROPERTY_APP_ID : 0) | (p.headers.len ? PROPERTY_HEADERS : 0));
    if (!status)
        status = properties_write(out, &p);
    buf_release(&headers);
    return status;
}

void message_show(const beck_event *e, beck_bytes content, struct block *block, uint32_t attempts,
                  bool persistent, struct buf *scratch, struct handed *out)
{
    uint16_t marks = 0;
    beck_status status = BECK_OK;
    out->body = e->data;
    out->block = block;
    bool ours =
        message_carried(content, &out->exchange, &out->routing_key, &out->properties, &marks);
    if (ours && marks == 0 && attempts == 0)
        return;
    buf_clear(scratch);
    if (!ours) {
        out->exchange = e->bus;
        out->routing_key = e->type;
        status = message_of_event(e, persistent, scratch);
        out->properties = buf_bytes(scratch);
    }
    if (!status && (marks != 0 || attempts > 0)) {
        size_t made = scratch->len;
        status = message_with_number(out->properties, marks,
                                     attempts > 0 ? "x-delivery-count" : NULL, attempts, scratch);
        out->properties = bytes_of(scratch->data + made, scratch->len - made);
    }
    if (status)
        out->properties = bytes_of(no_properties, 2);
}
