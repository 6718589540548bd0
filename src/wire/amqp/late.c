/*
 * Deliveries that nobody answers: the channel on which the oldest one waits for longer than it may is closed, and
 * all that it holds goes back. The limit is the consumer's own, else that of the queue, else that of the server.
 */
#include "wire/amqp/amqp_impl.h"

#define PARTS 8 /* of the limit: how exactly it is kept */
#define LOOK_MAX_MS 30000
#define LOOK_MIN_MS 20

uint32_t late_now(const struct amqp_connection *c)
{
    return (uint32_t)(connection_now_ns(c->net) / NS_PER_MS);
}

int64_t late_interval_ms(const struct amqp *a)
{
    int64_t part = a->settings.consumer_timeout_ms / PARTS;
    return part > LOOK_MAX_MS ? LOOK_MAX_MS : part < LOOK_MIN_MS ? LOOK_MIN_MS : part;
}

int64_t late_timeout_of(beck_bytes arguments)
{
    struct table_value v;
    bool given = arguments.len > 0 && table_find(arguments, "x-consumer-timeout", &v) &&
                 v.kind == TABLE_INTEGER;
    return given ? v.integer : -1;
}

/* -1: none. */
static int64_t limit_of(const struct amqp *a, const struct source *s)
{
    int64_t own = s->timeout_ms >= 0 ? s->timeout_ms : broker_consumer_timeout(s->queue);
    if (own >= 0)
        return own;
    return a->settings.consumer_timeout_ms == UINT32_MAX ? -1
                                                         : (int64_t)a->settings.consumer_timeout_ms;
}

static void look(struct channel *ch)
{
    const struct outstanding *first = unacked_first(&ch->unacked);
    if (ch->state != CHANNEL_OPEN || !first)
        return;
    int64_t limit = limit_of(ch->c->amqp, first->source);
    if (limit < 0 || (uint32_t)(late_now(ch->c) - first->since) < limit)
        return;
    channel_refusef(ch, REPLY_PRECONDITION_FAILED, 0,
                    "delivery acknowledgement on channel %u timed out. Timeout value used: %lld "
                    "ms. This timeout value can be configured, see consumers doc guide to learn "
                    "more",
                    ch->number, (long long)limit);
}

void late_tick(struct amqp_connection *c)
{
    for (size_t i = 0; i < c->channel_count; i++)
        look(c->channels[i]);
}
