/*
 * What a client sends: the protocol's header, then frames, each given to its channel, and what may still come once the
 * connection is being closed.
 */
#include "wire/amqp/amqp_impl.h"

#include <stdio.h>

#define HEADER_SIZE 8

static const uint8_t protocol_header[HEADER_SIZE] = {'A', 'M', 'Q', 'P', 0, 0, 9, 1};
static const uint8_t header_0_9[HEADER_SIZE] = {'A', 'M', 'Q', 'P', 1, 1, 0, 9};

/* ---- methods of channel 0 ---- */

static void running_method(struct amqp_connection *c, const struct method *m)
{
    if (m->id == METHOD_connection_update_secret)
        handshake_update_secret(c);
    else
        amqp_refusef(c, REPLY_CHANNEL_ERROR, (uint32_t)m->id,
                     "unexpected method in connection state running");
}

static void method_0(struct amqp_connection *c, const struct method *m)
{
    if (m->id == METHOD_connection_close)
        amqp_close(c);
    else if (c->stage == STAGE_RUNNING)
        running_method(c, m);
    else
        handshake_method(c, m);
}

/* ---- frames ---- */

static void frame_error(struct amqp_connection *c, const struct frame *f, const char *what)
{
    amqp_refusef(c, REPLY_FRAME_ERROR, 0, "type %u, channel %u: %s", f->type, f->channel, what);
}

/* What comes behind it cannot be understood. */
static size_t broken_frame(struct amqp_connection *c, const struct frame *f, enum frame_read how,
                           size_t size, size_t input)
{
    char what[80];
    if (how == FRAME_TOO_LARGE)
        snprintf(what, sizeof what, "{frame_too_large,%zu,%u}", size, c->frame_max - FRAME_EXTRA);
    else
        snprintf(what, sizeof what, "{invalid_frame_end_marker,%u}",
                 ((const uint8_t *)f->payload.data)[f->payload.len - 1]);
    frame_error(c, f, what);
    c->deaf = true;
    return input;
}

/* Methods that leave gathered publications and answers as they are. */
static bool is_gathered(enum method_id id)
{
    return id == METHOD_basic_publish || id == METHOD_basic_ack || id == METHOD_basic_nack ||
           id == METHOD_basic_reject;
}

static void understood(struct amqp_connection *c, struct channel *ch, const struct frame *f,
                       const struct method *m)
{
    if (!is_gathered(m->id))
        amqp_flush(c);
    if (f->channel == 0)
        method_0(c, m);
    else if (ch)
        channel_method(ch, m, f->payload);
    else if (m->id == METHOD_channel_open)
        channel_open(c, f->channel);
    else if (m->id != METHOD_channel_close_ok) /* of one that both closed */
        amqp_refusef(c, REPLY_CHANNEL_ERROR, (uint32_t)m->id, "expected 'channel.open'");
}

static void misunderstood(struct amqp_connection *c, const struct frame *f, enum method_read how,
                          const struct method *m)
{
    if (how == METHOD_UNKNOWN)
        amqp_refusef(c, REPLY_COMMAND_INVALID, (uint32_t)m->id, "unimplemented method");
    else
        amqp_refusef(c, REPLY_FRAME_ERROR, method_find((uint32_t)m->id) ? (uint32_t)m->id : 0,
                     "type %u, channel %u: malformed method", f->type, f->channel);
}

/* How much of the input is consumed. */
static size_t method_frame(struct amqp_connection *c, struct channel *ch, const struct frame *f,
                           beck_bytes rest, size_t size)
{
    struct method m;
    if (ch && ch->state != CHANNEL_OPEN && f->payload.len >= 4) {
        channel_late(ch, get_u32(f->payload.data));
        return size;
    }
    if (ch && ch->incoming) {
        publish_unexpected(ch, FRAME_METHOD);
        return size;
    }
    if (ch && f->payload.len >= 4 && get_u32(f->payload.data) == METHOD_basic_publish)
        return publish_begin(ch, f->payload, rest, size);
    enum method_read how = method_read(f->payload, &m);
    if (how == METHOD_READ && (method_find((uint32_t)m.id)->sender & METHOD_CLIENT))
        understood(c, ch, f, &m);
    else
        misunderstood(c, f, how == METHOD_READ ? METHOD_UNKNOWN : how, &m);
    return size;
}

static size_t body_frame(struct amqp_connection *c, struct channel *ch, size_t size)
{
    if (ch && ch->state == CHANNEL_OPEN && !publish_expects(ch, FRAME_BODY)) {
        publish_unexpected(ch, FRAME_BODY);
        return 0;
    }
    if (ch && ch->state == CHANNEL_OPEN && !publish_body(ch, size))
        return 0;
    c->streaming = true;
    c->body_left = size;
    c->body_channel = ch && ch->state == CHANNEL_OPEN ? ch : NULL;
    return FRAME_HEAD;
}

/* Of a body frame, whose head was consumed. */
static size_t stream(struct amqp_connection *c, beck_bytes input)
{
    const uint8_t *at = input.data;
    size_t part = input.len < c->body_left ? input.len : c->body_left;
    struct channel *ch = c->body_channel;
    if (ch && part > 0)
        publish_bytes(ch, bytes_of(at, part));
    c->body_left -= part;
    if (c->body_left > 0 || part == input.len || c->stage >= STAGE_CLOSING)
        return part;
    c->streaming = false;
    c->body_channel = NULL;
    if (at[part] != FRAME_END) {
        struct frame f = {FRAME_BODY, ch ? ch->number : 0, bytes_of(at + part, 1)};
        return broken_frame(c, &f, FRAME_WRONG_END, 1, input.len);
    }
    if (ch)
        publish_body_end(ch);
    return part + 1;
}

static bool is_channel_frame(uint8_t type)
{
    return type == FRAME_METHOD || type == FRAME_HEADER || type == FRAME_BODY;
}

static size_t whole_frame(struct amqp_connection *c, const struct frame *f, beck_bytes rest,
                          size_t size)
{
    struct channel *ch = channel_find(c, f->channel);
    if (f->channel != 0 && c->stage != STAGE_RUNNING && is_channel_frame(f->type)) {
        amqp_refusef(c, REPLY_UNEXPECTED_FRAME, 0, "type %u on channel %u before connection.open",
                     f->type, f->channel);
        return size;
    }
    if (f->type == FRAME_METHOD)
        return method_frame(c, ch, f, rest, size);
    if (f->type == FRAME_HEARTBEAT) {
        if (f->channel != 0)
            amqp_refusef(c, REPLY_UNEXPECTED_FRAME, 0, "heartbeat on channel %u", f->channel);
    } else if (!is_channel_frame(f->type)) {
        frame_error(c, f, "unknown_frame");
    } else if (f->channel == 0) {
        amqp_refusef(c, REPLY_UNEXPECTED_FRAME, 0, "type %u on channel 0", f->type);
    } else if (!ch) {
        amqp_refusef(c, REPLY_CHANNEL_ERROR, 0, "expected 'channel.open'");
    } else if (ch->state == CHANNEL_OPEN && publish_expects(ch, FRAME_HEADER)) {
        publish_header(ch, f->payload);
    } else if (ch->state == CHANNEL_OPEN) {
        publish_unexpected(ch, FRAME_HEADER);
    }
    return size;
}

static size_t one_frame(struct amqp_connection *c, beck_bytes input)
{
    struct frame f;
    size_t size;
    if (c->streaming)
        return stream(c, input);
    enum frame_read how = frame_read(input, c->frame_max, &f, &size);
    if (c->group && how == FRAME_WHOLE && calls_take(c, &f)) {
        c->group_bytes += size;
        return whole_frame(c, &f, input, size);
    }
    if (c->group) {
        calls_start(c);
        return 0;
    }
    if (how == FRAME_TOO_LARGE || how == FRAME_WRONG_END)
        return broken_frame(c, &f, how, size, input.len);
    if (input.len >= FRAME_HEAD && f.type == FRAME_BODY && f.channel != 0 &&
        c->stage == STAGE_RUNNING && channel_find(c, f.channel))
        return body_frame(c, channel_find(c, f.channel), f.payload.len);
    if (how == FRAME_PART && size > 0)
        connection_expect(c->net, size, NULL);
    return how == FRAME_PART ? 0 : whole_frame(c, &f, input, size);
}

/* The rest of a body frame, and its end. */
static size_t skip_body(struct amqp_connection *c, size_t len)
{
    size_t rest = c->body_left + 1, part = len < rest ? len : rest;
    c->streaming = part < rest;
    c->body_left = c->streaming ? rest - part - 1 : 0;
    return part;
}

/* What may come after close was sent. */
static size_t closing_frame(struct amqp_connection *c, beck_bytes input)
{
    struct frame f;
    size_t size;
    if (c->deaf)
        return input.len;
    if (c->streaming)
        return skip_body(c, input.len);
    enum frame_read how = frame_read(input, c->frame_max, &f, &size);
    if (how == FRAME_PART)
        return 0;
    if (how != FRAME_WHOLE) {
        c->deaf = true;
        return input.len;
    }
    if (f.type != FRAME_METHOD || f.channel != 0 || f.payload.len < 4)
        return size;
    uint32_t id = get_u32(f.payload.data);
    if (id == METHOD_connection_close)
        amqp_close_ok(c);
    if (id == METHOD_connection_close_ok) {
        c->stage = STAGE_OVER;
        connection_finish(c->net);
    }
    return size;
}

/* ---- the header ---- */

static const char *kind_of_stranger(const uint8_t *at)
{
    if (memcmp(at, "GET ", 4) == 0 || memcmp(at, "POST", 4) == 0 || memcmp(at, "HEAD", 4) == 0)
        return "the peer speaks HTTP, not AMQP";
    if (at[0] == 0x16 && at[1] == 3)
        return "the peer speaks TLS: that is for amqp.tls_listen";
    if (memcmp(at, "AMQP", 4) == 0)
        return "the peer wants another version of AMQP than 0-9-1";
    return "the peer does not speak AMQP";
}

static size_t read_header(struct amqp_connection *c, beck_bytes input)
{
    if (input.len < HEADER_SIZE)
        return 0;
    if (memcmp(input.data, protocol_header, HEADER_SIZE) == 0 ||
        memcmp(input.data, header_0_9, HEADER_SIZE) == 0) {
        handshake_start(c);
        return HEADER_SIZE;
    }
    amqp_log(c, AMQP_LOG_WARN, "an AMQP connection was refused", kind_of_stranger(input.data));
    connection_write(c->net, protocol_header, HEADER_SIZE);
    c->stage = STAGE_OVER;
    connection_finish(c->net);
    return input.len;
}

size_t amqp_input(struct amqp_connection *c, beck_bytes input)
{
    switch (c->stage) {
    case STAGE_HEADER:
        return read_header(c, input);
    case STAGE_CLOSING:
        return closing_frame(c, input);
    case STAGE_OVER:
        return input.len;
    default:
        return one_frame(c, input);
    }
}
