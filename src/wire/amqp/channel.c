/* Channels: opening, closing, refusing; what each method is for. */
#include "wire/amqp/amqp_impl.h"

#include "broker/listing.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the table ---- */

/* Where a channel of that number is or would be. */
static size_t place_of(const struct amqp_connection *c, uint16_t number)
{
    size_t low = 0, high = c->channel_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->channels[middle]->number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct channel *channel_find(struct amqp_connection *c, uint16_t number)
{
    size_t at = place_of(c, number);
    return at < c->channel_count && c->channels[at]->number == number ? c->channels[at] : NULL;
}

static bool make_room(struct amqp_connection *c)
{
    if (c->channel_count < c->channel_cap)
        return true;
    size_t cap = c->channel_cap ? c->channel_cap * 2 : 2;
    struct channel **more = realloc(c->channels, cap * sizeof(struct channel *));
    if (!more)
        return false;
    c->channels = more;
    c->channel_cap = cap;
    return true;
}

/* With the lock. What a connection that ends still has counts no more. */
static int64_t channels_of_user(const struct amqp *a, const char *user)
{
    int64_t count = 0;
    for (const struct amqp_connection *c = a->first; c; c = c->next)
        if (c->user && strcmp(c->user, user) == 0 && atomic_load(&c->state_seen) != SEEN_CLOSING)
            count += (int64_t)c->channel_count;
    return count;
}

enum inserted { INSERTED, INSERT_NO_MEMORY, INSERT_TOO_MANY };

/* user_max: of all connections of the user; -1: no limit. */
static enum inserted insert(struct amqp_connection *c, struct channel *ch, int64_t user_max)
{
    enum inserted how = INSERTED;
    mutex_lock(&c->amqp->lock);
    if (user_max >= 0 && channels_of_user(c->amqp, c->user) >= user_max) {
        how = INSERT_TOO_MANY;
    } else if (!make_room(c)) {
        how = INSERT_NO_MEMORY;
    } else {
        size_t at = place_of(c, ch->number);
        memmove(c->channels + at + 1, c->channels + at,
                (c->channel_count - at) * sizeof(struct channel *));
        c->channels[at] = ch;
        c->channel_count++;
    }
    mutex_unlock(&c->amqp->lock);
    return how;
}

void channel_release(struct channel *ch)
{
    if (--ch->refs > 0)
        return;
    incoming_free(ch);
    tx_free(ch);
    confirms_free(ch);
    credit_release(&ch->credit);
    free(ch->end_text);
    free(ch->last_queue);
    free(ch);
}

void channel_forget(struct channel *ch)
{
    struct amqp_connection *c = ch->c;
    mutex_lock(&c->amqp->lock);
    size_t at = place_of(c, ch->number);
    c->channel_count--;
    memmove(c->channels + at, c->channels + at + 1,
            (c->channel_count - at) * sizeof(struct channel *));
    mutex_unlock(&c->amqp->lock);
    if (c->body_channel == ch)
        c->body_channel = NULL;
    gauge_add(c->amqp->channels, -1);
    channel_release(ch);
}

static struct channel *channel_new(struct amqp_connection *c, uint16_t number)
{
    struct channel *ch = calloc(1, sizeof *ch);
    if (!ch)
        return NULL;
    ch->c = c;
    ch->number = number;
    ch->refs = 1;
    credit_init(&ch->credit, 0);
    return ch;
}

void channel_open(struct amqp_connection *c, uint16_t number)
{
    if (c->channel_count >= c->channel_max) {
        amqp_refusef(c, REPLY_NOT_ALLOWED, METHOD_channel_open,
                     "number of channels opened (%zu) has reached the negotiated channel_max (%u)",
                     c->channel_count, c->channel_max);
        return;
    }
    struct channel *ch = channel_new(c, number);
    int64_t user_max =
        broker_user_limit(c->amqp->context.broker, beck_str(c->user), "max-channels");
    enum inserted how = ch ? insert(c, ch, user_max) : INSERT_NO_MEMORY;
    if (how != INSERTED) {
        if (ch)
            channel_release(ch);
        if (how == INSERT_TOO_MANY)
            amqp_refusef(c, REPLY_NOT_ALLOWED, METHOD_channel_open,
                         "number of channels opened for user '%s' has reached the maximum allowed "
                         "user limit of (%lld)",
                         c->user, (long long)user_max);
        else
            amqp_drop(c, "there is no memory for a channel");
        return;
    }
    gauge_add(c->amqp->channels, 1);
    struct method m = {.id = METHOD_channel_open_ok};
    m.channel_open_ok.channel_id = beck_str("");
    channel_send(ch, &m);
}

void channel_send(struct channel *ch, const struct method *m)
{
    amqp_send(ch->c, ch->number, m);
}

void channel_send_empty(struct channel *ch, enum method_id id)
{
    channel_send(ch, &(struct method){.id = id});
}

/* ---- the end ---- */

void channel_detach(struct channel *ch)
{
    struct amqp *a = ch->c->amqp;
    ch->state = CHANNEL_ENDING;
    tx_abandon(ch);
    mutex_lock(&a->lock);
    ch->ended = ch->consumers;
    ch->ended_count = ch->consumer_count;
    ch->consumers = NULL;
    ch->consumer_count = ch->consumer_cap = 0;
    mutex_unlock(&a->lock);
    for (size_t i = 0; i < ch->ended_count; i++)
        ch->ended[i]->closing = true;
    gauge_add(a->consumers, -(int64_t)ch->ended_count);
    ch->c->unacked -= ch->unacked.count;
    if (ch->c->body_channel == ch)
        ch->c->body_channel = NULL;
}

/* Queue by queue. */
static void return_unacked(struct unacked *u)
{
    struct broker_queue *queue = NULL;
    uint64_t tags[SETTLE_MAX];
    size_t count = 0;
    for (struct outstanding *o = unacked_first(u); o; o = unacked_first(u)) {
        if (o->source->queue != queue || count == SETTLE_MAX) {
            if (count > 0)
                broker_return_lost(queue, tags, count);
            if (queue)
                broker_queue_release(queue);
            queue = broker_queue_retain(o->source->queue);
            count = 0;
        }
        tags[count++] = o->tag;
        struct source *s = o->source;
        unacked_remove(u, o);
        source_release(s);
    }
    if (count > 0)
        broker_return_lost(queue, tags, count);
    if (queue)
        broker_queue_release(queue);
    unacked_release(u);
}

void channel_give_up(struct channel *ch)
{
    for (size_t i = 0; i < ch->ended_count; i++)
        subscriber_close(ch->ended[i]->subscriber);
    return_unacked(&ch->unacked);
    publisher_free(ch->publisher);
    ch->publisher = NULL;
    for (size_t i = 0; i < ch->ended_count; i++)
        ch->ended[i]->subscriber = NULL;
}

/* On the loop, behind whatever the consumers had posted to it. */
void channel_free_ended(struct channel *ch)
{
    for (size_t i = 0; i < ch->ended_count; i++)
        consumer_free(ch->ended[i]);
    free(ch->ended);
    ch->ended = NULL;
    ch->ended_count = 0;
    source_release(ch->got);
    ch->got = NULL;
}

static struct channel *channel_of_end(struct work *w)
{
    return (struct channel *)(void *)((char *)w - offsetof(struct channel, end));
}

static void run_end(struct work *w)
{
    channel_give_up(channel_of_end(w));
}

static void finish_end(struct work *w)
{
    struct channel *ch = channel_of_end(w);
    struct amqp_connection *c = w->c;
    struct method m = {.id = METHOD_channel_close};
    channel_free_ended(ch);
    ch->state = CHANNEL_CLOSING;
    if (ch->end_code == 0) {
        channel_send_empty(ch, METHOD_channel_close_ok);
        channel_forget(ch);
    } else {
        m.channel_close.reply_code = (uint64_t)ch->end_code;
        m.channel_close.reply_text = beck_str(ch->end_text ? ch->end_text : "");
        m.channel_close.class_id = method_class((enum method_id)ch->end_method);
        m.channel_close.method_id = method_number((enum method_id)ch->end_method);
        channel_send(ch, &m);
    }
    channel_release(ch);
    amqp_go_on(c);
}

static void end_channel(struct channel *ch, int code, const char *text, uint32_t method)
{
    struct amqp_connection *c = ch->c;
    amqp_flush(c);
    if (ch->state != CHANNEL_OPEN || c->stage != STAGE_RUNNING)
        return;
    channel_detach(ch);
    ch->end_code = code;
    ch->end_method = method;
    ch->end_text = text ? strdup(text) : NULL;
    ch->end.run = run_end;
    ch->end.done = finish_end;
    ch->refs++;
    work_start(c, &ch->end, true, &c->amqp->pool);
}

void channel_refuse(struct channel *ch, int code, const char *text, uint32_t method)
{
    if (ch->state != CHANNEL_OPEN)
        return;
    if (broker_is_hard(code)) {
        amqp_refuse(ch->c, code, text, method);
        return;
    }
    amqp_log(ch->c, AMQP_LOG_INFO, "an AMQP channel was refused something and is closed", text);
    end_channel(ch, code, text, method);
}

void channel_refusef(struct channel *ch, int code, uint32_t method, const char *format, ...)
{
    char text[BROKER_TEXT];
    va_list args;
    va_start(args, format);
    broker_refuse_args(text, code, format, args);
    va_end(args);
    channel_refuse(ch, code, text, method);
}

/* Both may close at once: then each answers the other. */
void channel_late(struct channel *ch, uint32_t method)
{
    if (method == METHOD_channel_close)
        channel_send_empty(ch, METHOD_channel_close_ok);
    else if (method == METHOD_channel_close_ok)
        channel_forget(ch);
}

/* ---- methods ---- */

static void flow(struct channel *ch, const struct channel_flow *m)
{
    struct method ok = {.id = METHOD_channel_flow_ok};
    if (!m->active) {
        channel_refusef(ch, REPLY_NOT_IMPLEMENTED, METHOD_channel_flow, "active=false");
        return;
    }
    ok.channel_flow_ok.active = 1;
    channel_send(ch, &ok);
}

static void own_method(struct channel *ch, const struct method *m)
{
    switch (m->id) {
    case METHOD_channel_open:
        channel_refusef(ch, REPLY_CHANNEL_ERROR, METHOD_channel_open, "second 'channel.open' seen");
        break;
    case METHOD_channel_close:
        end_channel(ch, 0, NULL, 0);
        break;
    case METHOD_channel_flow:
        flow(ch, &m->channel_flow);
        break;
    default: /* flow-ok, or close-ok without a close */
        channel_refusef(ch, REPLY_COMMAND_INVALID, (uint32_t)m->id, "unimplemented method");
    }
}

static void access_method(struct channel *ch)
{
    struct method ok = {.id = METHOD_access_request_ok};
    ok.access_request_ok.ticket = 1;
    channel_send(ch, &ok);
}

void channel_method(struct channel *ch, const struct method *m, beck_bytes payload)
{
    switch (method_class(m->id)) {
    case 20:
        own_method(ch, m);
        break;
    case 30:
        access_method(ch);
        break;
    case 40:
        exchange_method(ch, m, payload);
        break;
    case 50:
        queue_method(ch, m, payload);
        break;
    case 60:
        basic_method(ch, m, payload);
        break;
    case 85:
        confirm_method(ch, m);
        break;
    case 90:
        tx_method(ch, m);
        break;
    default:
        channel_refusef(ch, REPLY_COMMAND_INVALID, (uint32_t)m->id,
                        "connection methods are for channel 0");
    }
}

bool channel_queue_name(struct channel *ch, beck_bytes *name, uint32_t method)
{
    if (name->len > 0)
        return true;
    if (!ch->last_queue) {
        channel_refusef(ch, REPLY_NOT_FOUND, method, "no previously declared queue");
        return false;
    }
    *name = beck_str(ch->last_queue);
    return true;
}
