/*
 * A connection: frames, and its life. What comes is parsed as far as it is whole and nothing holds the
 * connection; then what was published is stored, and what was answered is settled, in this order.
 */
#include "wire/amqp/amqp_impl.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define HEADER_SIZE 8
#define CLIENT_PROPERTIES_MAX 65536
#define LOOK_MS 30000 /* how often a connection without heartbeats is looked at */
#define STORING_LOOK_MS 5
#define BLOCKED_LOOK_MS 100

static const uint8_t protocol_header[HEADER_SIZE] = {'A', 'M', 'Q', 'P', 0, 0, 9, 1};
static const uint8_t header_0_9[HEADER_SIZE] = {'A', 'M', 'Q', 'P', 1, 1, 0, 9};

void amqp_log(struct amqp_connection *c, enum amqp_log level, const char *what, const char *detail)
{
    const struct amqp_context *x = &c->amqp->context;
    if (x->log)
        x->log(x->log_ctx, level, what, c->name, c->user ? c->user : "", detail ? detail : "");
}

/* ---- sending ---- */

static void count_sent(struct amqp_connection *c, size_t bytes)
{
    atomic_store_explicit(&c->sent, atomic_load_explicit(&c->sent, memory_order_relaxed) + bytes,
                          memory_order_relaxed);
}

void amqp_send(struct amqp_connection *c, uint16_t channel, const struct method *m)
{
    size_t length = method_length(m), size = length + FRAME_EXTRA;
    uint8_t *room = connection_reserve(c->net, size);
    if (!room)
        return;
    uint8_t *end = method_write(m, frame_begin(room, FRAME_METHOD, channel, length));
    *end = FRAME_END;
    connection_commit(c->net, size);
    count_sent(c, size);
}

/* The header frame behind the method's. */
static uint8_t *write_header(uint8_t *at, uint16_t channel, beck_bytes properties, size_t body)
{
    at = frame_begin(at, FRAME_HEADER, channel, 12 + properties.len);
    put_u32(at, 60u << 16);
    put_u64(at + 4, body);
    memcpy(at + 12, properties.data, properties.len);
    at += 12 + properties.len;
    *at++ = FRAME_END;
    return at;
}

static void send_parts(struct amqp_connection *c, uint16_t channel, beck_bytes body,
                       struct block *block)
{
    size_t part_max = c->frame_max - FRAME_EXTRA;
    for (size_t at = 0; at < body.len;) {
        size_t part = body.len - at < part_max ? body.len - at : part_max;
        uint8_t head[FRAME_HEAD], end = FRAME_END;
        beck_bytes bytes = bytes_of((const uint8_t *)body.data + at, part);
        frame_begin(head, FRAME_BODY, channel, part);
        connection_write(c->net, head, sizeof head);
        if (block)
            connection_write_block(c->net, block, bytes);
        else
            connection_write(c->net, bytes.data, bytes.len);
        connection_write(c->net, &end, 1);
        at += part;
    }
}

void amqp_send_content(struct amqp_connection *c, uint16_t channel, const struct method *m,
                       beck_bytes properties, beck_bytes body, struct block *block)
{
    size_t length = method_length(m);
    bool copied =
        body.len > 0 && body.len <= COPIED_MAX && body.len <= (size_t)c->frame_max - FRAME_EXTRA;
    size_t size =
        length + 2 * FRAME_EXTRA + 12 + properties.len + (copied ? body.len + FRAME_EXTRA : 0);
    uint8_t *room = connection_reserve(c->net, size);
    if (!room)
        return;
    uint8_t *at = method_write(m, frame_begin(room, FRAME_METHOD, channel, length));
    *at++ = FRAME_END;
    at = write_header(at, channel, properties, body.len);
    if (copied) {
        at = frame_begin(at, FRAME_BODY, channel, body.len);
        memcpy(at, body.data, body.len);
        at[body.len] = FRAME_END;
    }
    connection_commit(c->net, size);
    if (!copied)
        send_parts(c, channel, body, block);
    count_sent(c, size + (copied ? 0 : body.len));
}

/* ---- ending ---- */

void amqp_drop(struct amqp_connection *c, const char *why)
{
    c->stage = STAGE_OVER;
    connection_abort(c->net, why);
}

static void free_connection(struct amqp_connection *c)
{
    struct amqp *a = c->amqp;
    mutex_lock(&a->lock);
    *c->at = c->next;
    if (c->next)
        c->next->at = c->at;
    else
        a->last = c->at;
    mutex_unlock(&a->lock);
    while (c->channel_count > 0)
        channel_forget(c->channels[c->channel_count - 1]);
    free(c->channels);
    if (c->identity)
        identity_release(c->identity);
    buf_release(&c->client_properties);
    free(c->user);
    free(c->vhost);
    free(c->end_text);
    free(c);
}

static void run_end(struct work *w)
{
    struct amqp_connection *c = w->c;
    for (size_t i = 0; i < c->channel_count; i++)
        if (c->channels[i]->state == CHANNEL_ENDING)
            channel_give_up(c->channels[i]);
    if (c->session)
        session_close(c->session);
    c->session = NULL;
}

/* It is the client's to end the socket: some have several threads that close, and the answer to the last
 * must not be an end. */
static void say_close_ok(struct amqp_connection *c)
{
    amqp_send(c, 0, &(struct method){.id = METHOD_connection_close_ok});
    if (c->answered)
        return;
    c->answered = true;
    c->close_ns = connection_now_ns(c->net) + END_TIMEOUT_MS * NS_PER_MS;
    amqp_next_tick(c);
}

static void say_close(struct amqp_connection *c)
{
    struct method m = {.id = METHOD_connection_close};
    if (c->end_code == 0) {
        say_close_ok(c);
        return;
    }
    m.connection_close.reply_code = (uint64_t)c->end_code;
    m.connection_close.reply_text = beck_str(c->end_text ? c->end_text : "");
    m.connection_close.class_id = method_class((enum method_id)c->end_method);
    m.connection_close.method_id = method_number((enum method_id)c->end_method);
    amqp_send(c, 0, &m);
    connection_established(c->net); /* what ends it is close_ns */
    c->close_ns =
        connection_now_ns(c->net) + (c->drained ? DRAIN_TIMEOUT_MS : CLOSE_TIMEOUT_MS) * NS_PER_MS;
    amqp_next_tick(c);
}

static void finish_end(struct work *w)
{
    struct amqp_connection *c = w->c;
    for (size_t i = 0; i < c->channel_count; i++) {
        c->channels[i]->state = CHANNEL_CLOSING;
        channel_free_ended(c->channels[i]);
    }
    c->ended = true;
    if (c->over) {
        if (c->works == 0)
            free_connection(c);
        return;
    }
    say_close(c);
    amqp_go_on(c);
}

/* Everything that it has is given up, then the peer is told. */
static void begin_end(struct amqp_connection *c)
{
    amqp_flush(c);
    for (size_t i = 0; i < c->channel_count; i++)
        if (c->channels[i]->state == CHANNEL_OPEN)
            channel_detach(c->channels[i]);
    atomic_store(&c->state_seen, SEEN_CLOSING);
    c->storing = c->blocked = false;
    c->end.run = run_end;
    c->end.done = finish_end;
    work_start(c, &c->end, true, &c->amqp->pool);
}

static void commits_go_on(struct amqp_connection *c)
{
    for (size_t i = 0; i < c->channel_count; i++)
        tx_go_on(c->channels[i]);
}

static void end_with(struct amqp_connection *c, int code, const char *text, uint32_t method)
{
    if (c->stage >= STAGE_CLOSING)
        return;
    c->stage = STAGE_CLOSING;
    c->end_code = code;
    c->end_method = method;
    c->end_text = text ? strdup(text) : NULL;
    if (code)
        amqp_log(c, AMQP_LOG_WARN, "an AMQP connection was refused something and is closed", text);
    commits_go_on(c);
    /* Behind all works: the session's end closes what they use. */
    if (c->held == 0 && c->works == 0)
        begin_end(c);
    else
        c->end_waits = true;
}

void amqp_refuse(struct amqp_connection *c, int code, const char *text, uint32_t method)
{
    end_with(c, code, text, method);
}

void amqp_refusef(struct amqp_connection *c, int code, uint32_t method, const char *format, ...)
{
    char text[BROKER_TEXT];
    va_list args;
    va_start(args, format);
    broker_refuse_args(text, code, format, args);
    va_end(args);
    end_with(c, code, text, method);
}

/* It is not read. */
static bool waits(const struct amqp_connection *c)
{
    return c->held > 0 || c->storing || c->blocked;
}

void amqp_go_on(struct amqp_connection *c)
{
    if (c->group && c->held == 0)
        calls_drop(c);
    if (c->group && c->held == 0)
        calls_start(c);
    if (c->over) {
        if (c->works == 0 && c->ended)
            free_connection(c);
        else if (c->works == 0)
            begin_end(c);
        return;
    }
    if (c->held == 0 && c->works == 0 && c->end_waits) {
        c->end_waits = false;
        begin_end(c);
    }
    if (!waits(c)) {
        c->listens_ns = connection_now_ns(c->net);
        connection_resume(c->net);
    }
}

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
        end_with(c, 0, NULL, 0);
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
        say_close_ok(c);
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

/* ---- what the net calls ---- */

static size_t next_part(struct amqp_connection *c, beck_bytes input)
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

static bool may_go_on(const struct amqp_connection *c)
{
    return !waits(c) && !connection_is_full(c->net);
}

void amqp_flush(struct amqp_connection *c)
{
    while (c->flushes) {
        struct channel *ch = c->flushes;
        c->flushes = ch->next_flush;
        ch->flushes = false;
        publish_flush(ch);
    }
    if (c->batch)
        batch_flush(c->batch);
}

static size_t take_bytes(struct connection *net, beck_bytes input)
{
    struct amqp_connection *c = connection_state(net);
    struct batch batch;
    size_t at = 0;
    batch.count = 0;
    c->batch = &batch;
    while (at < input.len && may_go_on(c)) {
        size_t n = next_part(c, bytes_of((const uint8_t *)input.data + at, input.len - at));
        if (n == 0)
            break;
        at += n;
    }
    if (c->group && c->held == 0)
        calls_start(c);
    amqp_flush(c);
    c->batch = NULL;
    atomic_store_explicit(&c->received,
                          atomic_load_explicit(&c->received, memory_order_relaxed) + at,
                          memory_order_relaxed);
    if (c->crowded && c->unacked < c->amqp->settings.unacked_max / 2) {
        c->crowded = false;
        deliver_on(c);
    }
    return at;
}

static void name_connection(struct amqp_connection *c)
{
    const struct net_peer *p = connection_peer(c->net);
    bool six = strchr(p->address, ':') != NULL;
    snprintf(c->name, sizeof c->name, six ? "[%s]:%u -> %s" : "%s:%u -> %s", p->address, p->port,
             c->place->text);
}

static void *opened(struct connection *net, void *ctx)
{
    const struct amqp_place *place = ctx;
    struct amqp *a = place->amqp;
    struct amqp_connection *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->amqp = a;
    c->net = net;
    c->place = place;
    c->connected_ms = clock_wall_ms(clock_system());
    c->frame_max = FRAME_BEFORE_LOGIN;
    c->close_ns = INT64_MAX;
    buf_init(&c->client_properties, CLIENT_PROPERTIES_MAX);
    name_connection(c);
    mutex_lock(&a->lock);
    c->id = ++a->last_id;
    c->at = a->last;
    *a->last = c;
    a->last = &c->next;
    mutex_unlock(&a->lock);
    return c;
}

static void writable(struct connection *net)
{
    struct amqp_connection *c = connection_state(net);
    c->listens_ns = connection_now_ns(net);
    commits_go_on(c);
    deliver_on(c);
}

static void drain(struct connection *net)
{
    struct amqp_connection *c = connection_state(net);
    c->drained = true;
    if (c->stage < STAGE_RUNNING || c->stage == STAGE_OVER) {
        connection_finish(net);
        return;
    }
    c->close_ns = connection_now_ns(net) + DRAIN_TIMEOUT_MS * NS_PER_MS;
    amqp_next_tick(c);
    amqp_refusef(c, REPLY_CONNECTION_FORCED, 0,
                 "broker forced connection closure with reason 'shutdown'");
}

static void closed(struct connection *net, const char *why)
{
    struct amqp_connection *c = connection_state(net);
    if (c->identity)
        amqp_log(c, AMQP_LOG_INFO, "an AMQP connection ended", why);
    else if (why && c->stage != STAGE_HEADER)
        amqp_log(c, AMQP_LOG_INFO, "an AMQP connection ended before its login", why);
    c->over = true;
    c->stage = STAGE_OVER;
    c->end_waits = false;
    amqp_go_on(c);
}

/* ---- time ---- */

void amqp_next_tick(struct amqp_connection *c)
{
    int64_t now = connection_now_ns(c->net);
    int64_t at = now + (c->heartbeat_s ? c->heartbeat_s * 500 : LOOK_MS) * NS_PER_MS;
    int64_t look = now + late_interval_ms(c->amqp) * NS_PER_MS;
    at = look < at ? look : at;
    if (c->stage < STAGE_RUNNING)
        at = INT64_MAX;
    if (c->storing && now + STORING_LOOK_MS * NS_PER_MS < at)
        at = now + STORING_LOOK_MS * NS_PER_MS;
    if (c->blocked && now + BLOCKED_LOOK_MS * NS_PER_MS < at)
        at = now + BLOCKED_LOOK_MS * NS_PER_MS;
    if (c->close_ns < at)
        at = c->close_ns;
    connection_tick_at(c->net, at);
}

/* The peer gets one whenever nothing was sent for half of the time, and has sent nothing for twice the
 * time when it is given up. */
static void beat(struct amqp_connection *c)
{
    static const uint8_t heartbeat[] = {FRAME_HEARTBEAT, 0, 0, 0, 0, 0, 0, FRAME_END};
    int64_t now = connection_now_ns(c->net), beat_ns = c->heartbeat_s * 1000 * NS_PER_MS;
    int64_t heard = connection_received_ns(c->net);
    heard = heard > c->listens_ns ? heard : c->listens_ns;
    if (may_go_on(c) && now - heard >= 2 * beat_ns) {
        amqp_drop(c, "no heartbeat came from the client");
        return;
    }
    if (now - connection_sent_ns(c->net) >= beat_ns / 2 && connection_output(c->net) == 0)
        connection_write(c->net, heartbeat, sizeof heartbeat);
}

static void look_whether_stored(struct amqp_connection *c)
{
    for (size_t i = 0; i < c->channel_count; i++)
        if (publish_waits(c->channels[i]))
            return;
    c->storing = false;
    atomic_store(&c->state_seen, c->blocked ? SEEN_BLOCKED : SEEN_RUNNING);
    amqp_go_on(c);
}

struct look {
    struct work work;
    bool found;
};

static int is_user(void *ctx, const struct access_user *user)
{
    struct look *l = ctx;
    l->found = strcmp(user->name, l->work.c->user) == 0;
    return l->found;
}

static void run_look(struct work *w)
{
    struct look *l = (struct look *)w;
    if (access_list_users(w->c->amqp->context.access, is_user, l, NULL) != BECK_OK)
        l->found = true; /* not known */
}

static void finish_look(struct work *w)
{
    struct look *l = (struct look *)w;
    struct amqp_connection *c = w->c;
    c->looks = false;
    if (!l->found && c->stage == STAGE_RUNNING)
        amqp_refusef(c, REPLY_CONNECTION_FORCED, 0, "user '%s' is deleted", c->user);
    free(l);
    amqp_go_on(c);
}

/* Whether the user is still there, when something was changed. */
static void look_for_user(struct amqp_connection *c)
{
    struct look *l = identity_is_stale(c->identity) && !c->looks ? calloc(1, sizeof *l) : NULL;
    if (!l)
        return;
    c->looks = true;
    l->work.run = run_look;
    l->work.done = finish_look;
    work_start(c, &l->work, false, &c->amqp->pool);
}

static void tick(struct connection *net)
{
    struct amqp_connection *c = connection_state(net);
    if (connection_now_ns(net) >= c->close_ns && c->answered) {
        c->stage = STAGE_OVER;
        connection_finish(net);
        return;
    }
    if (connection_now_ns(net) >= c->close_ns) {
        amqp_drop(c, "the client did not answer connection.close");
        return;
    }
    if (c->storing && c->stage == STAGE_RUNNING)
        look_whether_stored(c);
    alarm_tick(c);
    if (c->stage == STAGE_RUNNING)
        late_tick(c);
    if (c->heartbeat_s > 0 && c->stage == STAGE_RUNNING)
        beat(c);
    if (c->stage == STAGE_RUNNING)
        look_for_user(c);
    amqp_next_tick(c);
}

void amqp_stored(struct amqp_connection *c)
{
    if (c->storing && c->stage == STAGE_RUNNING)
        look_whether_stored(c);
}

const struct net_protocol amqp_protocol = {.name = "amqp",
                                           .opened = opened,
                                           .bytes = take_bytes,
                                           .writable = writable,
                                           .tick = tick,
                                           .drain = drain,
                                           .closed = closed};
