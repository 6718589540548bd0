/*
 * Delivering: the broker wakes a consumer from any thread, which posts a task to its loop; the task takes
 * what there is and writes it. With no room in the output, or too much unacked, the broker is told, and
 * goes on with others until there is room again.
 */
#include "wire/amqp/amqp_impl.h"

#include <stdlib.h>

/* Any thread. Once until the task has begun. */
static void post(struct amqp_consumer *k)
{
    if (!atomic_exchange(&k->posted, true))
        net_post(connection_loop(k->channel->c->net), &k->task);
}

void consumer_woken(void *ctx)
{
    post(ctx);
}

void consumer_cancelled(void *ctx)
{
    struct amqp_consumer *k = ctx;
    atomic_store(&k->cancelled, true);
    post(k);
}

/* ---- writing ---- */

static uint8_t *put_short(uint8_t *at, beck_bytes text)
{
    *at++ = (uint8_t)text.len;
    memcpy(at, text.data, text.len);
    return at + text.len;
}

/* basic.deliver of a message that is copied, in one piece. */
static void write_small(struct channel *ch, const struct amqp_consumer *k, uint64_t delivery,
                        const struct handed *h)
{
    struct amqp_connection *c = ch->c;
    size_t method = 4 + 1 + k->tag.len + 8 + 1 + 1 + h->exchange.len + 1 + h->routing_key.len;
    size_t header = 12 + h->properties.len;
    size_t size = method + header + 2 * FRAME_EXTRA + (h->body.len ? h->body.len + FRAME_EXTRA : 0);
    uint8_t *room = connection_reserve(c->net, size), *at;
    if (!room)
        return;
    at = frame_begin(room, FRAME_METHOD, ch->number, method);
    put_u32(at, METHOD_basic_deliver);
    at = put_short(at + 4, k->tag);
    put_u64(at, delivery);
    at[8] = h->redelivered;
    at = put_short(at + 9, h->exchange);
    at = put_short(at, h->routing_key);
    *at++ = FRAME_END;
    at = frame_begin(at, FRAME_HEADER, ch->number, header);
    put_u32(at, 60u << 16);
    put_u64(at + 4, h->body.len);
    memcpy(at + 12, h->properties.data, h->properties.len);
    at += header;
    *at++ = FRAME_END;
    if (h->body.len > 0) {
        at = frame_begin(at, FRAME_BODY, ch->number, h->body.len);
        memcpy(at, h->body.data, h->body.len);
        at[h->body.len] = FRAME_END;
    }
    connection_commit(c->net, size);
    atomic_store_explicit(&c->sent, atomic_load_explicit(&c->sent, memory_order_relaxed) + size,
                          memory_order_relaxed);
}

static void write_large(struct channel *ch, const struct amqp_consumer *k, uint64_t delivery,
                        const struct handed *h)
{
    struct method m = {.id = METHOD_basic_deliver};
    m.basic_deliver.consumer_tag = k->tag;
    m.basic_deliver.delivery_tag = delivery;
    m.basic_deliver.redelivered = h->redelivered;
    m.basic_deliver.exchange = h->exchange;
    m.basic_deliver.routing_key = h->routing_key;
    amqp_send_content(ch->c, ch->number, &m, h->properties, h->body, h->block);
}

static bool may_take(const struct amqp_connection *c)
{
    return !connection_is_full(c->net) && c->unacked < c->amqp->settings.unacked_max;
}

static bool deliver(void *ctx, const struct handed *h)
{
    struct amqp_consumer *k = ctx;
    struct channel *ch = k->channel;
    uint64_t delivery = ++ch->deliveries;
    if (h->body.len <= COPIED_MAX && h->body.len + FRAME_EXTRA <= ch->c->frame_max)
        write_small(ch, k, delivery, h);
    else
        write_large(ch, k, delivery, h);
    if (!k->source->queue && h->queue)
        k->source->queue = broker_queue_retain(h->queue);
    if (h->redelivered) {
        channel_count(ch, COUNT_REDELIVER, 1);
        broker_count(h->queue, COUNT_REDELIVER, 1);
    }
    if (k->no_ack)
        return may_take(ch->c);
    atomic_fetch_add_explicit(&k->source->refs, 1, memory_order_relaxed);
    unacked_add(&ch->unacked, (struct outstanding){delivery, h->tag, k->source, late_now(ch->c)});
    ch->c->unacked++;
    return may_take(ch->c);
}

/* ---- taking ---- */

static void stall(struct amqp_consumer *k)
{
    struct amqp_connection *c = k->channel->c;
    k->wants = true;
    c->crowded |= c->unacked >= c->amqp->settings.unacked_max;
    if (!k->stalled) {
        k->stalled = true;
        subscriber_ready(k->subscriber, false);
    }
}

static void note_delivered(const struct amqp_consumer *k, size_t count)
{
    struct channel *ch = k->channel;
    enum queue_count what = k->no_ack ? COUNT_DELIVER_NO_ACK : COUNT_DELIVER;
    channel_count(ch, what, count);
    if (k->source->queue)
        broker_count(k->source->queue, what, count);
    atomic_store_explicit(&ch->unacked_seen, (uint32_t)ch->unacked.count, memory_order_relaxed);
    counter_add(ch->c->amqp->delivered, count);
}

static void pump(struct amqp_consumer *k)
{
    struct channel *ch = k->channel;
    if (!may_take(ch->c)) {
        stall(k);
        return;
    }
    if (!k->no_ack && !unacked_reserve(&ch->unacked, PUMP_MAX)) {
        amqp_drop(ch->c, "there is no memory for deliveries");
        return;
    }
    k->wants = false;
    size_t count = subscriber_pump(k->subscriber, PUMP_MAX, deliver, k);
    note_delivered(k, count);
    if (!may_take(ch->c))
        stall(k);
    else if (count == PUMP_MAX)
        post(k);
}

/* ---- the broker cancels ---- */

static struct amqp_consumer *consumer_of(struct work *w)
{
    return (struct amqp_consumer *)(void *)((char *)w - offsetof(struct amqp_consumer, close));
}

static void run_close(struct work *w)
{
    struct amqp_consumer *k = consumer_of(w);
    subscriber_close(k->subscriber);
    k->subscriber = NULL;
}

static void finish_close(struct work *w)
{
    struct amqp_connection *c = w->c;
    consumer_free(consumer_of(w));
    amqp_go_on(c);
}

static void cancelled(struct amqp_consumer *k)
{
    struct channel *ch = k->channel;
    struct amqp_connection *c = ch->c;
    struct method m = {.id = METHOD_basic_cancel};
    m.basic_cancel.consumer_tag = k->tag;
    m.basic_cancel.nowait = 1;
    if (c->hears_cancel)
        channel_send(ch, &m);
    consumer_detach(k);
    k->close.run = run_close;
    k->close.done = finish_close;
    work_start(c, &k->close, false, &c->amqp->pool);
}

/* ---- on the loop ---- */

void consumer_look(struct amqp_consumer *k)
{
    struct channel *ch = k->channel;
    if (k->closing || !k->started || ch->state != CHANNEL_OPEN || ch->c->stage != STAGE_RUNNING)
        return;
    if (atomic_load(&k->cancelled))
        cancelled(k);
    else if (k->wants)
        pump(k);
}

void consumers_check(struct amqp_connection *c)
{
    for (size_t i = 0; i < c->channel_count; i++) {
        struct channel *ch = c->channels[i];
        for (size_t j = ch->consumer_count; j > 0 && ch->state == CHANNEL_OPEN; j--)
            if (ch->consumers[j - 1]->started &&
                !session_may_consume(c->session, ch->consumers[j - 1]->subscriber))
                cancelled(ch->consumers[j - 1]);
    }
}

void consumer_task(struct net_task *t)
{
    struct amqp_consumer *k =
        (struct amqp_consumer *)(void *)((char *)t - offsetof(struct amqp_consumer, task));
    atomic_store(&k->posted, false);
    k->wants = true;
    consumer_look(k);
}

static void go_on(struct amqp_consumer *k)
{
    if (k->closing || !k->started)
        return;
    if (k->stalled) {
        k->stalled = false;
        subscriber_ready(k->subscriber, true);
    }
    k->wants = true;
    post(k);
}

void deliver_on(struct amqp_connection *c)
{
    if (c->stage != STAGE_RUNNING || !may_take(c))
        return;
    for (size_t i = 0; i < c->channel_count; i++)
        for (size_t j = 0; j < c->channels[i]->consumer_count; j++)
            if (c->channels[i]->consumers[j]->wants)
                go_on(c->channels[i]->consumers[j]);
}

void consumer_detach(struct amqp_consumer *k)
{
    struct channel *ch = k->channel;
    struct amqp *a = ch->c->amqp;
    size_t at = 0;
    amqp_flush(ch->c);
    mutex_lock(&a->lock);
    while (ch->consumers[at] != k)
        at++;
    ch->consumer_count--;
    memmove(ch->consumers + at, ch->consumers + at + 1,
            (ch->consumer_count - at) * sizeof(struct amqp_consumer *));
    mutex_unlock(&a->lock);
    gauge_add(a->consumers, -1);
    k->closing = true;
    k->source->subscriber = NULL;
}

void consumer_free(struct amqp_consumer *k)
{
    source_release(k->source);
    bodies_give(k->channel->c->amqp, k->arguments.len);
    channel_release(k->channel);
    free(k);
}
