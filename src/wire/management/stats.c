/* Counts of messages: see stats.h. */
#include "wire/management/stats.h"

#include "wire/management/management_impl.h"

#include <stdio.h>

beck_bytes stats_name(char out[STATS_NAME_MAX], const char *kind, beck_bytes vhost, beck_bytes name)
{
    int len = snprintf(out, STATS_NAME_MAX, "%s %.*s %.*s", kind, (int)vhost.len,
                       vhost.data ? (const char *)vhost.data : "", (int)name.len,
                       name.data ? (const char *)name.data : "");
    return bytes_of(out, len < STATS_NAME_MAX ? (size_t)len : STATS_NAME_MAX - 1);
}

/* ---- all ---- */

static int count_queue(void *ctx, const struct queue_view *q)
{
    struct totals *t = ctx;
    if (!call_sees_vhost(t->c, q->vhost))
        return 0;
    t->queues++;
    t->consumers += q->consumers;
    t->ready += q->ready;
    t->unacked += q->unacked;
    t->ready_bytes += q->ready_bytes;
    for (int i = 0; i < QUEUE_COUNTS; i++)
        t->counts[i] += q->counts[i];
    return 0;
}

static int count_exchange(void *ctx, const struct exchange_view *x)
{
    struct totals *t = ctx;
    if (!call_sees_vhost(t->c, x->vhost))
        return 0;
    t->exchanges++;
    t->published += (int64_t)x->published_in;
    return 0;
}

static bool count_connection(void *ctx, const struct amqp_connection_info *i)
{
    struct totals *t = ctx;
    if (!t->c->monitoring && (!i->user || strcmp(i->user, t->c->user) != 0))
        return true;
    if (!t->vhost.data || (i->vhost && bytes_equal_text(t->vhost, i->vhost))) {
        t->connections++;
        t->channels += (int64_t)i->channel_count;
    }
    return true;
}

void totals_count(struct totals *t, const struct call *c, beck_bytes vhost)
{
    *t = (struct totals){.c = c, .vhost = vhost};
    broker_each_queue(c->b, vhost, (beck_bytes){0}, count_queue, t);
    broker_each_exchange(c->b, vhost, (beck_bytes){0}, count_exchange, t);
    if (call_context(c)->amqp)
        amqp_each_connection(call_context(c)->amqp, count_connection, t);
}

/* ---- JSON ---- */

void stats_put_messages(struct call *c, json_t *object, beck_bytes of, int64_t ready,
                        int64_t unacked)
{
    rates_put(c->m->rates, object, of, "messages", ready + unacked, true, &c->lengths);
    rates_put(c->m->rates, object, of, "messages_ready", ready, true, &c->lengths);
    rates_put(c->m->rates, object, of, "messages_unacknowledged", unacked, true, &c->lengths);
}

void stats_put_counts(struct call *c, json_t *object, beck_bytes of,
                      const uint64_t counts[QUEUE_COUNTS])
{
    static const char *const names[QUEUE_COUNTS] = {[COUNT_DELIVER] = "deliver",
                                                    [COUNT_DELIVER_NO_ACK] = "deliver_no_ack",
                                                    [COUNT_GET] = "get",
                                                    [COUNT_GET_NO_ACK] = "get_no_ack",
                                                    [COUNT_GET_EMPTY] = "get_empty",
                                                    [COUNT_REDELIVER] = "redeliver",
                                                    [COUNT_ACK] = "ack"};
    uint64_t all = counts[COUNT_DELIVER] + counts[COUNT_DELIVER_NO_ACK] + counts[COUNT_GET] +
                   counts[COUNT_GET_NO_ACK];
    for (int i = 0; i < QUEUE_COUNTS; i++)
        rates_put(c->m->rates, object, of, names[i], (int64_t)counts[i], false, &c->msg_rates);
    rates_put(c->m->rates, object, of, "deliver_get", (int64_t)all, false, &c->msg_rates);
}

static json_t *stats(struct call *c, beck_bytes of, int64_t published,
                     const uint64_t counts[QUEUE_COUNTS])
{
    json_t *o = json_object();
    rates_put(c->m->rates, o, of, "publish", published, false, &c->msg_rates);
    stats_put_counts(c, o, of, counts);
    return o;
}

json_t *stats_of_totals(struct call *c, const struct totals *t, beck_bytes of)
{
    return stats(c, of, t->published, t->counts);
}

/* What went in is what is there and what went out; what was there when the server began counts too. */
json_t *stats_of_queue(struct call *c, const struct queue_view *q)
{
    char name[STATS_NAME_MAX];
    int64_t in = q->ready + q->unacked + q->settled + q->rejected + q->expired + q->dropped;
    return stats(c, stats_name(name, "queue", q->vhost, q->name), in, q->counts);
}

json_t *stats_of_exchange(struct call *c, const struct exchange_view *x)
{
    char text[STATS_NAME_MAX];
    beck_bytes of = stats_name(text, "exchange", x->vhost, x->name);
    json_t *o = json_object();
    rates_put(c->m->rates, o, of, "publish_in", (int64_t)x->published_in, false, &c->msg_rates);
    rates_put(c->m->rates, o, of, "publish_out", (int64_t)x->published_out, false, &c->msg_rates);
    return o;
}
