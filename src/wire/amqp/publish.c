/*
 * Publishing. A message whose method, header and body frame are all there is passed on where it lies. Of
 * one that comes in parts, or whose body has several frames, a copy is gathered.
 */
#include "wire/amqp/amqp_impl.h"

#include "broker/message.h"

#include <assert.h>
#include <stdlib.h>

#define BODY_FIRST 65536 /* memory for a body that is not there yet; doubled as it comes */
#define CLASS_BASIC 60

struct incoming {
    enum frame_type due; /* 0: it is whole, and waits for publish_prepare */
    bool mandatory;
    uint64_t size; /* of the body, as announced */
    uint8_t *body;
    size_t len, cap; /* of the body; cap is counted, and properties_len */
    beck_bytes exchange, routing_key;
    uint8_t *properties;
    size_t properties_len;
    uint8_t names[];
};

/* ---- publishing one that is whole ---- */

static bool publisher_make(struct channel *ch)
{
    char text[BROKER_TEXT];
    struct publisher_events events = {.confirmed = confirms_told, .ctx = ch, .channel = ch};
    int code = publisher_new(ch->c->session, &events, &ch->publisher, text);
    if (code)
        channel_refuse(ch, code, text, METHOD_basic_publish);
    return code == 0;
}

static void send_return(struct channel *ch, const struct publication *m)
{
    struct method r = {.id = METHOD_basic_return};
    r.basic_return.reply_code = REPLY_NO_ROUTE;
    r.basic_return.reply_text = beck_str("NO_ROUTE");
    r.basic_return.exchange = m->exchange;
    r.basic_return.routing_key = m->routing_key;
    struct buf shown;
    buf_init(&shown, m->properties.len + 64);
    /* Nobody is to see who got a blind copy. */
    bool hidden = message_hide_bcc(m->properties, &shown);
    amqp_send_content(ch->c, ch->number, &r, hidden ? buf_bytes(&shown) : m->properties, m->body,
                      NULL);
    buf_release(&shown);
    channel_count(ch, COUNT_RETURN_UNROUTABLE, 1);
    counter_add(ch->c->amqp->returned, 1);
}

static void to_be_flushed(struct channel *ch)
{
    struct amqp_connection *c = ch->c;
    if (ch->flushes)
        return;
    if (!c->flushes)
        c->flushes_end = &c->flushes;
    ch->flushes = true;
    ch->next_flush = NULL;
    *c->flushes_end = ch;
    c->flushes_end = &ch->next_flush;
}

int publish_now(struct channel *ch, const struct publication *m, uint64_t token)
{
    char text[BROKER_TEXT];
    enum published how;
    if (!ch->publisher && !publisher_make(ch))
        return REPLY_INTERNAL_ERROR;
    int code = publisher_add(ch->publisher, m, token, &how, text);
    if (code == BROKER_LATER)
        return code;
    if (code) {
        channel_refuse(ch, code, text, METHOD_basic_publish);
        return code;
    }
    ch->gathered++;
    to_be_flushed(ch);
    if (how == PUBLISHED_NOWHERE && m->mandatory && ch->c->stage == STAGE_RUNNING)
        send_return(ch, m);
    return 0;
}

void publish_flush(struct channel *ch)
{
    if (!ch->publisher)
        return;
    publisher_flush(ch->publisher);
    channel_count(ch, COUNT_PUBLISH, ch->gathered);
    counter_add(ch->c->amqp->published, ch->gathered);
    ch->gathered = 0;
    if (!ch->c->storing && ch->c->stage == STAGE_RUNNING && publish_waits(ch)) {
        ch->c->storing = true;
        atomic_store(&ch->c->state_seen, SEEN_BLOCKED);
        connection_pause(ch->c->net);
        amqp_next_tick(ch->c);
    }
}

/* Reading goes on at half of the limit. */
bool publish_waits(const struct channel *ch)
{
    bool waits = ch->c->storing;
    if (!ch->publisher)
        return false;
    return publisher_waiting(ch->publisher) > (waits ? WAITING_MAX / 2 : WAITING_MAX) ||
           confirms_open(ch) > (waits ? UNCONFIRMED_MAX / 2 : UNCONFIRMED_MAX);
}

/* A code as publish_now. */
static int publish_message(struct channel *ch, struct publication *m)
{
    uint64_t token = 0;
    if (ch->tx) {
        tx_publish(ch, m);
        alarm_look(ch->c);
        return 0;
    }
    m->confirm = ch->confirming;
    if (ch->confirming && (token = confirms_next(ch)) == 0) {
        amqp_drop(ch->c, "there is no memory for confirms");
        return REPLY_INTERNAL_ERROR;
    }
    int code = publish_now(ch, m, token);
    if (code == 0 && ch->confirming)
        confirms_taken(ch);
    if (code == 0)
        alarm_look(ch->c);
    return code;
}

/* ---- preparing ---- */

struct preparation {
    struct work work;
    struct channel *channel; /* a reference */
    void (*then)(struct channel *ch);
    int code;
    char text[BROKER_TEXT];
    size_t len;
    uint8_t exchange[];
};

static void run_preparation(struct work *w)
{
    struct preparation *p = (struct preparation *)w;
    p->code = publisher_prepare(p->channel->publisher, bytes_of(p->exchange, p->len), p->text);
}

static void finish_preparation(struct work *w)
{
    struct preparation *p = (struct preparation *)w;
    struct amqp_connection *c = w->c;
    if (p->code) {
        tx_stop(p->channel);
        channel_refuse(p->channel, p->code, p->text, METHOD_basic_publish);
    } else if (p->then && p->channel->state == CHANNEL_OPEN) {
        p->then(p->channel);
    }
    channel_release(p->channel);
    free(p);
    amqp_go_on(c);
}

void publish_prepare(struct channel *ch, beck_bytes exchange, void (*then)(struct channel *ch))
{
    struct preparation *p = calloc(1, sizeof *p + exchange.len);
    if (!p) {
        amqp_drop(ch->c, "there is no memory for a method");
        return;
    }
    memcpy(p->exchange, exchange.data, exchange.len);
    p->len = exchange.len;
    p->channel = ch;
    p->then = then;
    p->work.run = run_preparation;
    p->work.done = finish_preparation;
    ch->refs++;
    work_start(ch->c, &p->work, true, &ch->c->amqp->pool);
}

/* ---- in parts ---- */

void incoming_free(struct channel *ch)
{
    struct incoming *in = ch->incoming;
    ch->incoming = NULL;
    if (!in)
        return;
    bodies_give(ch->c->amqp, in->cap + in->properties_len);
    free(in->body);
    free(in->properties);
    free(in);
}

static bool incoming_begin(struct channel *ch, const struct publication *m)
{
    struct incoming *in = calloc(1, sizeof *in + m->exchange.len + m->routing_key.len);
    if (!in) {
        amqp_drop(ch->c, "there is no memory for a message");
        return false;
    }
    memcpy(in->names, m->exchange.data, m->exchange.len);
    memcpy(in->names + m->exchange.len, m->routing_key.data, m->routing_key.len);
    in->exchange = bytes_of(in->names, m->exchange.len);
    in->routing_key = bytes_of(in->names + m->exchange.len, m->routing_key.len);
    in->mandatory = m->mandatory;
    in->due = FRAME_HEADER;
    ch->incoming = in;
    return true;
}

bool publish_expects(const struct channel *ch, enum frame_type type)
{
    return ch->incoming && ch->incoming->due == type;
}

void publish_unexpected(struct channel *ch, enum frame_type came)
{
    const char *text = !ch->incoming ? "expected method frame, got non method frame instead"
                       : ch->incoming->due == FRAME_BODY
                           ? "expected content body, got non content body frame instead"
                           : "expected content header for class 60, got non content header frame "
                             "instead";
    amqp_refusef(ch->c, REPLY_UNEXPECTED_FRAME, came == FRAME_METHOD ? 0 : METHOD_basic_publish,
                 "%s", text);
}

/* Gives size and properties of a header that is a legal one. */
static bool read_header(struct channel *ch, beck_bytes payload, uint64_t *size,
                        beck_bytes *properties)
{
    struct properties read;
    const uint8_t *at = payload.data;
    if (payload.len >= 2 && get_u16(at) != CLASS_BASIC) {
        amqp_refusef(ch->c, REPLY_UNEXPECTED_FRAME, METHOD_basic_publish,
                     "expected content header for class 60, got one for class %u instead",
                     get_u16(at));
        return false;
    }
    if (payload.len < 14 ||
        properties_read(bytes_of(at + 12, payload.len - 12), &read, NULL) != BECK_OK) {
        amqp_refusef(ch->c, REPLY_FRAME_ERROR, METHOD_basic_publish,
                     "type 2, channel %u: malformed content header", ch->number);
        return false;
    }
    *size = get_u64(at + 4);
    *properties = bytes_of(at + 12, payload.len - 12);
    if (*size > ch->c->amqp->settings.message_max) {
        channel_refusef(ch, REPLY_PRECONDITION_FAILED, METHOD_basic_publish,
                        "message size %llu is larger than configured max size %u",
                        (unsigned long long)*size, ch->c->amqp->settings.message_max);
        return false;
    }
    return true;
}

/* All of it is there. */
static void complete(struct channel *ch)
{
    struct incoming *in = ch->incoming;
    struct publication m = {.exchange = in->exchange,
                            .routing_key = in->routing_key,
                            .properties = bytes_of(in->properties, in->properties_len),
                            .body = bytes_of(in->body, in->len),
                            .mandatory = in->mandatory};
    in->due = (enum frame_type)0;
    int code = publish_message(ch, &m);
    if (code == BROKER_LATER) {
        publish_prepare(ch, in->exchange, complete);
        return;
    }
    if (ch->state == CHANNEL_OPEN)
        amqp_flush(ch->c);
    incoming_free(ch);
}

static void refuse_memory(struct channel *ch)
{
    amqp_refusef(ch->c, REPLY_RESOURCE_ERROR, METHOD_basic_publish,
                 "messages that are being received take too much memory");
}

void publish_header(struct channel *ch, beck_bytes payload)
{
    struct incoming *in = ch->incoming;
    beck_bytes properties;
    if (!read_header(ch, payload, &in->size, &properties)) {
        incoming_free(ch);
        return;
    }
    if (!bodies_take(ch->c->amqp, properties.len)) {
        refuse_memory(ch);
        return;
    }
    in->properties_len = properties.len;
    in->properties = malloc(properties.len);
    if (!in->properties) {
        amqp_drop(ch->c, "there is no memory for a message");
        return;
    }
    memcpy(in->properties, properties.data, properties.len);
    in->due = FRAME_BODY;
    if (in->size == 0)
        complete(ch);
}

bool publish_body(struct channel *ch, size_t size)
{
    const struct incoming *in = ch->incoming;
    if (size > (uint64_t)ch->c->frame_max) {
        amqp_refusef(ch->c, REPLY_FRAME_ERROR, 0, "type 3, channel %u: {frame_too_large,%zu,%u}",
                     ch->number, size, ch->c->frame_max - FRAME_EXTRA);
        ch->c->deaf = true;
        return false;
    }
    if (size > in->size - in->len) {
        amqp_refusef(ch->c, REPLY_FRAME_ERROR, METHOD_basic_publish,
                     "content body is longer than the %llu bytes that its header announced",
                     (unsigned long long)in->size);
        return false;
    }
    return true;
}

static bool make_room(struct channel *ch, size_t more)
{
    struct incoming *in = ch->incoming;
    size_t cap = in->cap ? in->cap : BODY_FIRST;
    if (in->len + more <= in->cap)
        return true;
    while (cap < in->len + more)
        cap *= 2;
    cap = cap < in->size ? cap : (size_t)in->size;
    if (!bodies_take(ch->c->amqp, cap - in->cap)) {
        refuse_memory(ch);
        return false;
    }
    uint8_t *body = realloc(in->body, cap);
    if (!body) {
        bodies_give(ch->c->amqp, cap - in->cap);
        amqp_drop(ch->c, "there is no memory for a message");
        return false;
    }
    in->body = body;
    in->cap = cap;
    return true;
}

void publish_bytes(struct channel *ch, beck_bytes part)
{
    struct incoming *in = ch->incoming;
    if (!make_room(ch, part.len))
        return;
    memcpy(in->body + in->len, part.data, part.len);
    in->len += part.len;
}

void publish_body_end(struct channel *ch)
{
    if (ch->incoming->len == ch->incoming->size)
        complete(ch);
}

/* ---- in one piece ---- */

static bool read_short(const uint8_t **at, const uint8_t *end, beck_bytes *out)
{
    if (*at == end || (size_t)(end - *at) < (size_t)1 + **at)
        return false;
    *out = bytes_of(*at + 1, **at);
    *at += 1 + out->len;
    return bytes_is_utf8(*out);
}

static bool read_publish(struct channel *ch, beck_bytes method, struct publication *out)
{
    const uint8_t *at = method.data, *end = at + method.len;
    at += 6; /* its number and the ticket */
    if (method.len < 9 || !read_short(&at, end, &out->exchange) ||
        !read_short(&at, end, &out->routing_key) || end - at != 1) {
        amqp_refusef(ch->c, REPLY_FRAME_ERROR, METHOD_basic_publish,
                     "type 1, channel %u: malformed method", ch->number);
        return false;
    }
    out->mandatory = *at & 1;
    if (*at & 2) {
        amqp_refusef(ch->c, REPLY_NOT_IMPLEMENTED, METHOD_basic_publish, "immediate=true");
        return false;
    }
    return true;
}

/* The frame that begins the input, if it is whole, of that type and on that channel. */
static bool next_frame(const struct channel *ch, beck_bytes input, enum frame_type type,
                       struct frame *f, size_t *size)
{
    return input.len > 0 && frame_read(input, ch->c->frame_max, f, size) == FRAME_WHOLE &&
           f->type == type && f->channel == ch->number;
}

static beck_bytes behind(beck_bytes input, size_t size)
{
    return bytes_of((const uint8_t *)input.data + size, input.len - size);
}

/* Header and body behind the method. Whether all is there, and its bytes. */
static bool find_content(const struct channel *ch, beck_bytes rest, struct frame *header,
                         beck_bytes *body, size_t *size)
{
    struct frame part;
    size_t header_size, body_size;
    if (!next_frame(ch, rest, FRAME_HEADER, header, &header_size) || header->payload.len < 14)
        return false;
    *body = bytes_of("", 0);
    *size = header_size;
    uint64_t announced = get_u64((const uint8_t *)header->payload.data + 4);
    if (announced == 0)
        return true;
    if (!next_frame(ch, behind(rest, header_size), FRAME_BODY, &part, &body_size) ||
        part.payload.len != announced)
        return false;
    *body = part.payload;
    *size += body_size;
    return true;
}

size_t publish_begin(struct channel *ch, beck_bytes method, beck_bytes rest, size_t size)
{
    struct publication m = {0};
    struct frame header;
    size_t content;
    uint64_t announced;
    if (!read_publish(ch, method, &m))
        return size;
    if (!find_content(ch, behind(rest, size), &header, &m.body, &content)) {
        incoming_begin(ch, &m);
        return size;
    }
    if (!read_header(ch, header.payload, &announced, &m.properties))
        return size + content;
    if (publish_message(ch, &m) == BROKER_LATER) {
        publish_prepare(ch, m.exchange, NULL);
        return 0;
    }
    return size + content;
}
