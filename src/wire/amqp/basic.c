/* The class basic but for publishing and delivering: consumers, gets, answers. */
#include "wire/amqp/amqp_impl.h"

#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>

#define TAG_PREFIX "amq.ctag-"
#define TAG_RANDOM 22

static void note_unacked(struct channel *ch)
{
    atomic_store_explicit(&ch->unacked_seen, (uint32_t)ch->unacked.count, memory_order_relaxed);
}

/* ---- qos ---- */

static void qos(struct channel *ch, const struct basic_qos *m)
{
    if (m->prefetch_size != 0) {
        channel_refusef(ch, REPLY_NOT_IMPLEMENTED, METHOD_basic_qos, "prefetch_size!=0 (%llu)",
                        (unsigned long long)m->prefetch_size);
        return;
    }
    if (m->global)
        credit_set_limit(&ch->credit, (uint32_t)m->prefetch_count);
    else
        atomic_store(&ch->prefetch, (uint32_t)m->prefetch_count);
    channel_send_empty(ch, METHOD_basic_qos_ok);
}

/* ---- consume ---- */

static struct amqp_consumer *find_consumer(const struct channel *ch, beck_bytes tag)
{
    for (size_t i = 0; i < ch->consumer_count; i++)
        if (bytes_equal(ch->consumers[i]->tag, tag))
            return ch->consumers[i];
    return NULL;
}

static void make_tag(struct amqp *a, char out[256])
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    struct rng rng;
    (void)a;
    rng_seed_system(&rng);
    char *at = stpcpy(out, TAG_PREFIX);
    for (int i = 0; i < TAG_RANDOM; i++)
        *at++ = letters[rng_next(&rng) % 64];
    *at = 0;
}

/* Room for it in the channel is there as well. */
static struct amqp_consumer *new_consumer(struct channel *ch, const struct basic_consume *m,
                                          beck_bytes queue, beck_bytes tag)
{
    struct amqp_consumer *k = calloc(1, sizeof *k + tag.len + queue.len + m->arguments.len);
    struct source *s = calloc(1, sizeof *s);
    bool room = ch->consumer_count < ch->consumer_cap;
    if (!room) {
        size_t cap = ch->consumer_cap ? ch->consumer_cap * 2 : 1;
        mutex_lock(&ch->c->amqp->lock);
        struct amqp_consumer **more = realloc(ch->consumers, cap * sizeof(struct amqp_consumer *));
        room = more != NULL;
        ch->consumers = more ? more : ch->consumers;
        ch->consumer_cap = more ? cap : ch->consumer_cap;
        mutex_unlock(&ch->c->amqp->lock);
    }
    if (!k || !s || !room) {
        free(k);
        free(s);
        return NULL;
    }
    uint8_t *at = k->bytes;
    k->tag = bytes_put(&at, tag);
    k->queue = bytes_put(&at, queue);
    k->arguments = bytes_put(&at, m->arguments);
    k->no_ack = m->no_ack;
    k->exclusive = m->exclusive;
    k->prefetch = atomic_load(&ch->prefetch);
    k->task.run = consumer_task;
    atomic_init(&s->refs, 1);
    s->timeout_ms = late_timeout_of(m->arguments);
    k->source = s;
    k->channel = ch;
    ch->refs++;
    return k;
}

static void run_consume(struct call *call)
{
    struct amqp_consumer *k = call->consumer;
    struct subscriber_options o = {.queue = k->queue,
                                   .tag = k->tag,
                                   .no_ack = k->no_ack,
                                   .exclusive = k->exclusive,
                                   .prefetch = k->prefetch,
                                   .shared = &k->channel->credit,
                                   .channel = k->channel,
                                   .arguments = k->arguments,
                                   .wake = consumer_woken,
                                   .cancelled = consumer_cancelled,
                                   .ctx = k};
    call->code = session_consume(call->work.c->session, &o, &k->subscriber, call->text);
}

/* Only now may something be delivered. */
static void answer_consume(struct call *call)
{
    struct channel *ch = call->channel;
    struct amqp_consumer *k = call->consumer;
    struct amqp *a = ch->c->amqp;
    call->consumer = NULL;
    k->source->subscriber = k->subscriber;
    mutex_lock(&a->lock);
    ch->consumers[ch->consumer_count++] = k;
    mutex_unlock(&a->lock);
    gauge_add(a->consumers, 1);
    struct method m = {.id = METHOD_basic_consume_ok};
    m.basic_consume_ok.consumer_tag = k->tag;
    if (!call->nowait)
        channel_send(ch, &m);
    k->started = true;
    consumer_look(k);
}

static void forget_consume(struct call *call)
{
    if (call->consumer)
        consumer_free(call->consumer);
}

static void consume(struct channel *ch, const struct basic_consume *m, beck_bytes payload)
{
    char made[256];
    beck_bytes queue = m->queue, tag = m->consumer_tag;
    if (!channel_queue_name(ch, &queue, METHOD_basic_consume))
        return;
    if (tag.len == 0) {
        make_tag(ch->c->amqp, made);
        tag = beck_str(made);
    } else if (find_consumer(ch, tag)) {
        channel_refusef(ch, REPLY_NOT_ALLOWED, METHOD_basic_consume,
                        "attempt to reuse consumer tag '%.*s'", (int)tag.len,
                        (const char *)tag.data);
        return;
    }
    if (ch->consumer_count >= CONSUMERS_MAX) {
        channel_refusef(ch, REPLY_NOT_ALLOWED, METHOD_basic_consume,
                        "reached maximum (%d) of consumers per channel", CONSUMERS_MAX);
        return;
    }
    if (!bodies_take(ch->c->amqp, m->arguments.len)) {
        channel_refusef(ch, REPLY_RESOURCE_ERROR, METHOD_basic_consume,
                        "arguments of consumers take too much memory");
        return;
    }
    struct amqp_consumer *k = new_consumer(ch, m, queue, tag);
    if (!k) {
        bodies_give(ch->c->amqp, m->arguments.len);
        amqp_drop(ch->c, "there is no memory for a consumer");
        return;
    }
    struct call *call = call_new(ch, payload);
    if (!call) {
        consumer_free(k);
        return;
    }
    call->consumer = k;
    call->release = forget_consume;
    call->nowait = m->nowait;
    call_start(call, run_consume, answer_consume);
}

/* ---- cancel ---- */

static void run_cancel(struct call *call)
{
    subscriber_close(call->consumer->subscriber);
    call->consumer->subscriber = NULL;
}

static void answer_cancel(struct call *call)
{
    struct method m = {.id = METHOD_basic_cancel_ok};
    m.basic_cancel_ok.consumer_tag = call->m.basic_cancel.consumer_tag;
    channel_send(call->channel, &m);
}

static void cancel(struct channel *ch, const struct basic_cancel *m, beck_bytes payload)
{
    struct amqp_consumer *k = find_consumer(ch, m->consumer_tag);
    struct method ok = {.id = METHOD_basic_cancel_ok};
    if (!k) {
        ok.basic_cancel_ok.consumer_tag = m->consumer_tag;
        if (!m->nowait)
            channel_send(ch, &ok);
        return;
    }
    struct call *call = call_new(ch, payload);
    if (!call)
        return;
    consumer_detach(k);
    call->consumer = k;
    call->release = forget_consume;
    call_start(call, run_cancel, m->nowait ? NULL : answer_cancel);
}

/* ---- get ---- */

/* Where what was got is from, with a reference. NULL: no memory. */
static struct source *source_of_get(struct channel *ch, struct broker_queue *queue)
{
    if (!ch->got || ch->got->queue != queue) {
        struct source *s = calloc(1, sizeof *s);
        if (!s)
            return NULL;
        atomic_init(&s->refs, 1);
        s->timeout_ms = -1;
        s->queue = broker_queue_retain(queue);
        source_release(ch->got);
        ch->got = s;
    }
    atomic_fetch_add(&ch->got->refs, 1);
    return ch->got;
}

static void count_of(struct channel *ch, struct broker_queue *q, enum queue_count what)
{
    channel_count(ch, what, 1);
    broker_count(q, what, 1);
}

static void answer_get(struct channel *ch, const struct handed *h, bool no_ack, uint32_t left)
{
    struct method m = {.id = METHOD_basic_get_ok};
    m.basic_get_ok.delivery_tag = ++ch->deliveries;
    m.basic_get_ok.redelivered = h->redelivered;
    m.basic_get_ok.exchange = h->exchange;
    m.basic_get_ok.routing_key = h->routing_key;
    m.basic_get_ok.message_count = left;
    amqp_send_content(ch->c, ch->number, &m, h->properties, h->body, h->block);
    count_of(ch, h->queue, no_ack ? COUNT_GET_NO_ACK : COUNT_GET);
    if (h->redelivered)
        count_of(ch, h->queue, COUNT_REDELIVER);
    counter_add(ch->c->amqp->delivered, 1);
    if (no_ack) {
        broker_settle(h->queue, &h->tag, &(struct subscriber *){NULL}, 1, SETTLE_ACK);
        return;
    }
    struct source *s = source_of_get(ch, h->queue);
    if (!s) {
        amqp_drop(ch->c, "there is no memory for a delivery");
        return;
    }
    broker_forget(h->queue, h->tag);
    unacked_add(&ch->unacked, (struct outstanding){ch->deliveries, h->tag, s, late_now(ch->c)});
    ch->c->unacked++;
    note_unacked(ch);
}

static void get(struct channel *ch, const struct basic_get *m)
{
    struct handed h;
    struct method empty = {.id = METHOD_basic_get_empty};
    char text[BROKER_TEXT];
    beck_bytes queue = m->queue;
    bool got = false;
    uint32_t left = 0;
    if (!channel_queue_name(ch, &queue, METHOD_basic_get))
        return;
    if (!m->no_ack && ch->c->unacked >= ch->c->amqp->settings.unacked_max) {
        channel_refusef(ch, REPLY_RESOURCE_ERROR, METHOD_basic_get,
                        "%zu deliveries of this connection are not acknowledged", ch->c->unacked);
        return;
    }
    if (!unacked_reserve(&ch->unacked, 1)) {
        amqp_drop(ch->c, "there is no memory for a delivery");
        return;
    }
    int code = session_get(ch->c->session, queue, &h, &got, &left, text);
    if (code) {
        channel_refuse(ch, code, text, METHOD_basic_get);
    } else if (got) {
        answer_get(ch, &h, m->no_ack, left);
    } else {
        channel_count(ch, COUNT_GET_EMPTY, 1);
        empty.basic_get_empty.cluster_id = beck_str("");
        channel_send(ch, &empty);
    }
}

/* ---- answers ---- */

void settle_outstanding(struct channel *ch, struct outstanding o, enum settlement how)
{
    struct amqp_connection *c = ch->c;
    if (c->batch) {
        batch_add(c->batch, o.source, o.tag, how);
    } else {
        struct batch alone;
        alone.count = 0;
        batch_add(&alone, o.source, o.tag, how);
        batch_flush(&alone);
    }
    c->unacked--;
    if (how == SETTLE_ACK)
        channel_count(ch, COUNT_ACK, 1);
}

/* Takes it out of what is unacked. */
static void settle(struct channel *ch, struct outstanding *o, enum settlement how)
{
    struct outstanding taken = *o;
    unacked_remove(&ch->unacked, o);
    if (ch->tx)
        tx_settle(ch, taken, how);
    else
        settle_outstanding(ch, taken, how);
}

static void settle_one(struct channel *ch, uint64_t delivery, enum settlement how, uint32_t method)
{
    struct outstanding *o = unacked_find(&ch->unacked, delivery);
    if (o)
        settle(ch, o, how);
    else
        channel_refusef(ch, REPLY_PRECONDITION_FAILED, method, "unknown delivery tag %llu",
                        (unsigned long long)delivery);
}

/* All up to and with this one, which must be there; 0: all. */
static void settle_many(struct channel *ch, uint64_t delivery, enum settlement how, uint32_t method)
{
    if (delivery != 0 && !unacked_find(&ch->unacked, delivery)) {
        settle_one(ch, delivery, how, method);
        return;
    }
    for (struct outstanding *o = unacked_first(&ch->unacked); o; o = unacked_first(&ch->unacked)) {
        if (delivery != 0 && o->delivery > delivery)
            return;
        settle(ch, o, how);
    }
}

static void answer(struct channel *ch, uint64_t delivery, bool multiple, enum settlement how,
                   uint32_t method)
{
    size_t before = ch->unacked.count;
    if (multiple)
        settle_many(ch, delivery, how, method);
    else
        settle_one(ch, delivery, how, method);
    if (ch->state != CHANNEL_OPEN)
        return; /* what it has is being given up */
    counter_add(ch->c->amqp->settled, before - ch->unacked.count);
    note_unacked(ch);
}

static void recover(struct channel *ch, bool requeue, uint32_t method)
{
    if (!requeue) {
        channel_refusef(ch, REPLY_NOT_IMPLEMENTED, method, "requeue=false");
        return;
    }
    for (struct outstanding *o = unacked_first(&ch->unacked); o; o = unacked_first(&ch->unacked)) {
        struct outstanding taken = *o;
        unacked_remove(&ch->unacked, o);
        settle_outstanding(ch, taken, SETTLE_REQUEUE);
    }
    amqp_flush(ch->c);
    note_unacked(ch);
    if (method == METHOD_basic_recover)
        channel_send_empty(ch, METHOD_basic_recover_ok);
}

void basic_method(struct channel *ch, const struct method *m, beck_bytes payload)
{
    uint32_t id = (uint32_t)m->id;
    switch (m->id) {
    case METHOD_basic_qos:
        qos(ch, &m->basic_qos);
        break;
    case METHOD_basic_consume:
        consume(ch, &m->basic_consume, payload);
        break;
    case METHOD_basic_cancel:
        cancel(ch, &m->basic_cancel, payload);
        break;
    case METHOD_basic_cancel_ok: /* nobody waits for it */
        break;
    case METHOD_basic_get:
        get(ch, &m->basic_get);
        break;
    case METHOD_basic_ack:
        answer(ch, m->basic_ack.delivery_tag, m->basic_ack.multiple, SETTLE_ACK, id);
        break;
    case METHOD_basic_nack:
        answer(ch, m->basic_nack.delivery_tag, m->basic_nack.multiple,
               m->basic_nack.requeue ? SETTLE_REQUEUE : SETTLE_REJECT, id);
        break;
    case METHOD_basic_reject:
        answer(ch, m->basic_reject.delivery_tag, false,
               m->basic_reject.requeue ? SETTLE_FAIL : SETTLE_REJECT, id);
        break;
    case METHOD_basic_recover:
        recover(ch, m->basic_recover.requeue, id);
        break;
    case METHOD_basic_recover_async:
        recover(ch, m->basic_recover_async.requeue, id);
        break;
    default:
        channel_refusef(ch, REPLY_COMMAND_INVALID, id, "unimplemented method");
    }
}
