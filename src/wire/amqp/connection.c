/*
 * A connection: what it sends, and its life. What comes is taken in as far as it is whole and nothing holds the
 * connection; then what was published is stored, and what was answered is settled, in this order.
 */
#include "wire/amqp/amqp_impl.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define CLIENT_PROPERTIES_MAX 65536
#define LOOK_MS 30000 /* how often a connection without heartbeats is looked at */
#define STORING_LOOK_MS 5
#define BLOCKED_LOOK_MS 100

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

void amqp_close_ok(struct amqp_connection *c)
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
        amqp_close_ok(c);
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

void amqp_close(struct amqp_connection *c)
{
    end_with(c, 0, NULL, 0);
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

/* ---- what the net calls ---- */

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
        size_t n = amqp_input(c, bytes_of((const uint8_t *)input.data + at, input.len - at));
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
