/*
 * The past of queues (the argument x-beck-from: "first", an offset, or a time, as a timestamp or as RFC 3339 has
 * it). A queue that is bound from a past
 * position is given what the exchange's bus has kept since and it did not get: copies, addressed to it alone, as
 * the events are in the log already as those of others. One that is consumed from a past position is rewound.
 */
#include "broker/delivery.h"
#include "broker/missed.h"

#include "event/time.h"
#include "log/cursor.h"

#include <stdlib.h>

#define CONTENT_MAX (1u << 20)

#define NS_PER_MS 1000000

static void from_text(beck_bytes text, beck_from *from)
{
    int64_t ns;
    if (bytes_equal_text(text, "first") || bytes_equal_text(text, "earliest")) {
        from->kind = BECK_FROM_EARLIEST;
    } else if (time_parse(text, &ns)) {
        from->kind = BECK_FROM_TIME;
        from->time_ms = ns / NS_PER_MS;
    }
}

/* False: there is no such argument. `now`: it is not one that can be used. */
static bool from_of(beck_bytes arguments, beck_from *from)
{
    struct table_value v;
    *from = (beck_from){.kind = BECK_FROM_NOW};
    if (arguments.len == 0 || !table_find(arguments, "x-beck-from", &v))
        return false;
    if (v.kind == TABLE_INTEGER && v.integer >= 0) {
        from->kind = BECK_FROM_OFFSET;
        from->offset = v.integer;
    } else if (v.kind == TABLE_TIME && v.integer >= 0 && v.integer <= INT64_MAX / 1000) {
        from->kind = BECK_FROM_TIME;
        from->time_ms = v.integer * 1000;
    } else if (v.kind == TABLE_TEXT) {
        from_text(v.bytes, from);
    }
    return true;
}

static int refuse(const struct session *s, beck_bytes queue_name_, char *text)
{
    return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                         "invalid arg 'x-beck-from' for queue '%.*s' in vhost '%.*s': an offset, a "
                         "time or \"first\" is expected",
                         TEXT_OF(queue_name_), TEXT_OF(s->vhost->name));
}

int past_check(struct session *s, beck_bytes queue_name_, beck_bytes arguments, char *text)
{
    beck_from from;
    bool bad = from_of(arguments, &from) && from.kind == BECK_FROM_NOW;
    return bad ? refuse(s, queue_name_, text) : 0;
}

int past_rewind(struct session *s, struct broker_queue *q, beck_bytes arguments, char *text)
{
    beck_from from;
    beck_error err;
    if (!from_of(arguments, &from))
        return 0;
    if (from.kind == BECK_FROM_NOW)
        return refuse(s, q->name, text);
    beck_status status = beck_queue_rewind(s->broker->handle, queue_name(q->engine), &from, &err);
    if (!status)
        return 0;
    return broker_refuse(text,
                         status == BECK_ERANGE ? REPLY_PRECONDITION_FAILED : REPLY_INTERNAL_ERROR,
                         "queue '%.*s' in vhost '%.*s' cannot be rewound: %s", TEXT_OF(q->name),
                         TEXT_OF(q->vhost->name), err.text);
}

/* ---- binding ---- */

struct past {
    struct delivery_home *home;
    struct exchange *exchange;
    struct broker_queue *queue; /* NULL: all, and */
    struct missed *missed;
    beck_bus *copies;
    struct buf content, raw;
};

/* Queues that have had no copies yet get them from now on. */
static beck_status join_all(const struct past *p, const struct route *r, beck_error *err)
{
    beck_status status = BECK_OK;
    for (size_t i = 0; i < r->engine_count && !p->queue && !status; i++)
        status = queue_join(r->queues[i], p->copies, err);
    return status;
}

static beck_status begin_targets(const struct past *p, const struct route *r, beck_error *err)
{
    beck_status status = BECK_OK;
    if (p->missed && r->engine_count > 0)
        status = missed_begin_target(p->missed, p->copies, err);
    for (size_t i = r->engine_count; i < r->count && p->missed && !status; i++)
        status = missed_begin_target(p->missed, r->queues[i]->bus, err);
    return status;
}

static beck_status hand_copy(const struct past *p, const struct route *r, const beck_event *e,
                             beck_bytes content, beck_error *err)
{
    beck_status status = join_all(p, r, err);
    if (!status)
        status = begin_targets(p, r, err);
    if (!status && r->engine_count > 0)
        status = route_append(p->home, r, p->copies, e, content, err);
    if (status == BECK_ELIMIT || status == BECK_ENOENT)
        status = BECK_OK;
    return status || p->queue ? status : route_append_streams(r, e, content, err);
}

/* One that the queue would have got. */
static beck_status give(struct past *p, const struct record_view *v, struct targets *scratch,
                        beck_error *err)
{
    beck_bytes exchange = p->exchange->name, key = v->event.type, raw, content = v->carried.content;
    struct properties properties = {0};
    beck_event e = v->event;
    struct missed_copy copy;
    uint16_t marks;
    bool ours = message_carried(content, &exchange, &key, &raw, &marks);
    buf_clear(&p->raw);
    buf_clear(&p->content);
    beck_status status = ours ? message_with_number(raw, 0, NULL, 0, &p->raw)
                              : message_of_event(&v->event, true, &p->raw);
    if (!status && !ours)
        status = message_carry(&p->content, exchange, key, buf_bytes(&p->raw), 0);
    if (status || properties_read(buf_bytes(&p->raw), &properties, NULL))
        return BECK_OK;
    if (p->missed)
        missed_mark(p->missed, v->offset, &e, &copy);
    topology_read(p->home->broker);
    struct route *r =
        p->missed
            ? route_new(p->home, p->exchange, key, &properties, scratch, missed_targets, p->missed)
            : route_new(p->home, p->exchange, key, &properties, scratch, targets_only, p->queue);
    topology_end_read(p->home->broker);
    if (!r)
        return error_set(err, BECK_ENOMEM, "no memory to route an event");
    if (p->queue)
        e.deliver_at_ms = e.expires_at_ms = 0;
    status = hand_copy(p, r, &e, ours ? content : buf_bytes(&p->content), err);
    route_release(r);
    return status;
}

/* Whether it got there when it was published. */
static bool has_it(const struct past *p, const struct carried *c)
{
    return p->queue ? carried_names(c, p->queue->number) : c->content.len > 0 || c->queues.data;
}

struct giving {
    struct past *past;
    struct targets scratch;
};

static beck_status give_one(void *ctx, const struct record_view *v, beck_error *err)
{
    struct giving *g = ctx;
    return has_it(g->past, &v->carried) ? BECK_OK : give(g->past, v, &g->scratch, err);
}

static beck_status give_from(struct past *p, struct partition *partition, int64_t offset,
                             int64_t end, beck_error *err)
{
    struct giving g = {.past = p};
    beck_status status = cursor_walk(partition, offset, end, give_one, &g, err);
    targets_release(&g.scratch);
    return status;
}

static beck_status give_partition(struct past *p, struct partition *partition,
                                  const beck_from *from, beck_error *err)
{
    int64_t offset;
    beck_status status = partition_resolve(partition, from, &offset, err);
    if (!status)
        status = give_from(p, partition, offset, partition_visible(partition), err);
    return status == BECK_ERANGE ? BECK_OK : status;
}

beck_status past_give_missed(struct delivery_home *h, struct exchange *x,
                             struct partition *partition, int64_t from, int64_t end,
                             struct missed *missed, beck_error *err)
{
    struct past p = {.home = h, .exchange = x, .missed = missed};
    int64_t first = partition_first(partition);
    beck_status status = past_bus(h, &p.copies, err);
    buf_init(&p.content, CONTENT_MAX);
    buf_init(&p.raw, CONTENT_MAX);
    if (!status)
        status = give_from(&p, partition, from > first ? from : first, end, err);
    buf_release(&p.content);
    buf_release(&p.raw);
    return status;
}

static int give_all(struct past *p, const beck_from *from, char *text)
{
    beck_error err;
    beck_bus *bus = atomic_load(&p->exchange->bus);
    if (!bus || bus->options.storage != BECK_STORAGE_DISK || !p->queue->engine)
        return 0; /* nothing was kept */
    beck_status status = past_bus(p->home, &p->copies, &err);
    if (!status)
        status = queue_join(p->queue, p->copies, &err);
    for (uint32_t i = 0; i < bus->partition_count && !status; i++)
        status = give_partition(p, bus_partition(bus, i), from, &err);
    return status ? broker_refuse(text, REPLY_INTERNAL_ERROR,
                                  "what was published before cannot be had: %s", err.text)
                  : 0;
}

int past_give(struct session *s, const struct binding_declaration *d, char *text)
{
    beck_from from;
    struct past p = {.home = s->broker->delivery};
    if (d->to_exchange || !from_of(d->arguments, &from))
        return 0;
    if (from.kind == BECK_FROM_NOW)
        return refuse(s, d->destination, text);
    int code = session_find_queue(s, d->destination, &p.queue, text);
    if (code)
        return code;
    code = session_find_exchange(s, d->source, &p.exchange, text);
    if (!code) {
        buf_init(&p.content, CONTENT_MAX);
        buf_init(&p.raw, CONTENT_MAX);
        code = give_all(&p, &from, text);
        buf_release(&p.content);
        buf_release(&p.raw);
        exchange_release(p.exchange);
    }
    broker_queue_release(p.queue);
    return code;
}
