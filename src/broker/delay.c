/*
 * Messages that are held back (exchanges of the type x-delayed-message): events of the bus `__amqp_delayed` with
 * the time when they are due, which wait in a queue of the engine, on disk, for years if they have to. The helper
 * takes those that are due and routes them as if they had just been published.
 *
 * What they carry is the name of their virtual host (1 byte of length, text), then what all messages carry.
 */
#include "broker/delivery.h"
#include "broker/topology.h"

#include "bus/own_bus.h"
#include "event/event.h"

#include <stdlib.h>

#define QUEUE "amq.delayed"
#define AT_ONCE 64
#define TRIES 8 /* a route may have to be prepared, and change meanwhile */
#define SEGMENT (64 << 20)
#define PROPERTIES_MAX (1u << 20)

struct delay {
    struct mutex lock; /* one prepares */
    _Atomic(beck_bus *) bus;
    struct queue *queue;
    beck_consumer *consumer; /* of the helper */
    struct queue_watch watch;
    struct buf raw, content; /* scratch of the helper */
};

static const int64_t DELAY_MS_MAX = EVENT_MS_MAX / 4;

/* Without what is behind the point; 0: none. */
static int64_t decimal_of(beck_bytes scale_and_value)
{
    const uint8_t *p = scale_and_value.data;
    int64_t value = (int32_t)get_u32(p + 1);
    for (uint8_t scale = p[0]; scale > 0 && value != 0; scale--)
        value /= 10;
    return value;
}

int64_t delay_of(const struct properties *p)
{
    struct table_value v;
    int64_t ms = 0;
    uint64_t number;
    if (!(p->flags & PROPERTY_HEADERS) || !table_find(p->headers, "x-delay", &v))
        return 0;
    if (v.kind == TABLE_INTEGER)
        ms = v.integer;
    else if (v.kind == TABLE_FLOAT && v.number > 0)
        ms = v.number < (double)DELAY_MS_MAX ? (int64_t)v.number : DELAY_MS_MAX;
    else if (v.kind == TABLE_DECIMAL)
        ms = decimal_of(v.bytes);
    else if (v.kind == TABLE_TEXT && bytes_to_u64(v.bytes, &number))
        ms = number < (uint64_t)DELAY_MS_MAX ? (int64_t)number : DELAY_MS_MAX;
    return ms < 0 ? 0 : ms < DELAY_MS_MAX ? ms : DELAY_MS_MAX;
}

beck_bus *delay_bus(const struct delivery_home *h)
{
    return atomic_load(&h->delay->bus);
}

struct route *delay_route(struct delivery_home *h, struct exchange *x)
{
    struct route *r = calloc(1, sizeof *r + sizeof(struct queue *));
    if (!r)
        return NULL;
    r->refs = 1;
    r->exchange = exchange_retain(x);
    r->type = beck_str(QUEUE);
    r->engines = (struct queue **)(r + 1);
    r->delays = true;
    r->joined[STORE_DELAYED] = delay_bus(h) != NULL;
    if (r->joined[STORE_DELAYED])
        r->engines[0] = h->delay->queue;
    r->count = r->engine_count = r->durable_count = 1;
    return r;
}

beck_status delay_carry(struct buf *out, const struct vhost *v)
{
    beck_status status = buf_append_byte(out, (uint8_t)v->name.len);
    return status ? status : buf_append(out, v->name.data, v->name.len);
}

/* ---- making ---- */

static void due(void *ctx)
{
    helper_look(ctx);
}

static beck_status make(struct delivery_home *h, beck_error *err)
{
    struct delay *d = h->delay;
    beck *handle = h->broker->handle;
    bool disk = handle->data_dir != NULL;
    beck_bus_options o = {.storage = disk ? BECK_STORAGE_DISK : BECK_STORAGE_MEMORY,
                          .segment_bytes = disk ? SEGMENT : 0,
                          .retention_bytes = disk ? SEGMENT : 0,
                          .event_bytes_max = h->broker->settings.message_max + (1u << 20)};
    beck_queue_options qo = {.storage = o.storage,
                             .attempts_max = 65535,
                             .backoff = {.kind = BECK_BACKOFF_NONE},
                             .deadline_ms = -1,
                             .no_dead_letters = true};
    beck_bus *bus = NULL;
    beck_status status = handle_own_bus(handle, OWN_AMQP_DELAYED, &o, &bus, err);
    if (!status && !d->queue) {
        status = beck_queue_create(handle, QUEUE, &qo, err);
        status = status == BECK_EEXIST ? BECK_OK : status;
        if (!status)
            status = handle_get_queue(handle, QUEUE, &d->queue, err);
    }
    if (!status)
        status = handle_join(handle, d->queue, bus, err);
    if (!status && !d->consumer)
        status = consumer_open(d->queue, AT_ONCE, &d->consumer, err);
    if (!status)
        atomic_store(&d->bus, bus);
    return status;
}

beck_status delay_prepare(struct delivery_home *h, beck_error *err)
{
    mutex_lock(&h->delay->lock);
    beck_status status = delay_bus(h) ? BECK_OK : make(h, err);
    mutex_unlock(&h->delay->lock);
    if (!status)
        helper_look(h);
    return status;
}

beck_status delay_open(struct delivery_home *h, beck_error *err)
{
    struct delay *d = calloc(1, sizeof *d);
    if (!d)
        return error_set(err, BECK_ENOMEM, "no memory for delayed messages");
    mutex_init(&d->lock);
    d->watch = (struct queue_watch){.fn = due, .ctx = h};
    buf_init(&d->raw, PROPERTIES_MAX);
    buf_init(&d->content, PROPERTIES_MAX);
    h->delay = d;
    struct queue *before;
    if (handle_get_queue(h->broker->handle, QUEUE, &before, NULL))
        return BECK_OK;
    queue_release(before);
    return delay_prepare(h, err);
}

void delay_close(struct delivery_home *h)
{
    struct delay *d = h->delay;
    if (!d)
        return;
    if (d->consumer) {
        queue_unwatch(d->queue, &d->watch);
        consumer_close(d->consumer);
    }
    if (d->queue)
        queue_release(d->queue);
    buf_release(&d->raw);
    buf_release(&d->content);
    mutex_release(&d->lock);
    free(d);
    h->delay = NULL;
}

/* ---- going on ---- */

/* One that is due. */
struct waiting {
    beck_bytes vhost, exchange, routing_key, raw;
    uint16_t marks;
    struct properties properties;
    const beck_event *event;
    bool persistent;
};

static bool open_waiting(struct delay *d, const beck_event *e, beck_bytes content,
                         struct waiting *out)
{
    const uint8_t *p = content.data;
    beck_bytes raw;
    if (content.len < 1 || content.len - 1 < p[0])
        return false;
    out->vhost = bytes_of(p + 1, p[0]);
    if (!message_carried(bytes_of(p + 1 + p[0], content.len - 1 - p[0]), &out->exchange,
                         &out->routing_key, &raw, &out->marks))
        return false;
    buf_clear(&d->content);
    /* As they came, but that the delay is over: it is shown as a negative number. */
    if (message_with_number(raw, 0, NULL, 0, &d->content) ||
        properties_read(buf_bytes(&d->content), &out->properties, NULL))
        return false;
    int64_t delay_ms = delay_of(&out->properties);
    buf_clear(&d->raw);
    if (message_with_number(raw, 0, "x-delay", -delay_ms, &d->raw) ||
        properties_read(buf_bytes(&d->raw), &out->properties, NULL))
        return false;
    out->raw = buf_bytes(&d->raw);
    out->event = e;
    out->persistent =
        out->properties.flags & PROPERTY_DELIVERY_MODE && out->properties.delivery_mode == 2;
    return true;
}

/* NULL: nobody gets it, or no memory. */
static struct route *route_waiting(struct delivery_home *h, const struct waiting *w)
{
    struct targets scratch = {0};
    struct route *r = NULL;
    topology_read(h->broker);
    struct vhost *v = topology_vhost(h->broker, w->vhost);
    struct exchange *x = v ? topology_exchange(v, w->exchange) : NULL;
    if (x)
        r = route_new(h, x, w->routing_key, &w->properties, &scratch, NULL, NULL);
    topology_end_read(h->broker);
    targets_release(&scratch);
    return r;
}

static beck_status store(struct delivery_home *h, const struct waiting *w, const struct route *r,
                         enum storage storage, beck_error *err)
{
    struct delay *d = h->delay;
    beck_event e;
    int64_t expires_ms;
    char text[BROKER_TEXT];
    buf_clear(&d->content);
    beck_status status = message_carry(&d->content, w->exchange, w->routing_key, w->raw, w->marks);
    if (status)
        return error_set(err, status, "no memory for a delayed message");
    message_to_event(w->exchange, w->routing_key, &w->properties, w->event->data, &e);
    e.type = r->type;
    if (!expiration_read(&w->properties, &expires_ms, text) && expires_ms >= 0)
        e.expires_at_ms = clock_wall_ms(h->broker->handle->env.clock) + expires_ms + !expires_ms;
    if (storage != STORE_NOWHERE)
        status = route_append(h, r, route_bus(h, r, storage), &e, buf_bytes(&d->content), err);
    if (!status)
        status = route_append_streams(r, &e, buf_bytes(&d->content), err);
    return status == BECK_ELIMIT || status == BECK_EINVAL ? BECK_OK : status;
}

/* An error: it is tried again later. */
static beck_status go_on(struct delivery_home *h, const struct waiting *w, beck_error *err)
{
    char text[BROKER_TEXT];
    for (int i = 0; i < TRIES; i++) {
        struct route *r = route_waiting(h, w);
        if (!r)
            return BECK_OK;
        enum storage storage = route_storage(h, r, w->persistent);
        beck_status status = BECK_EBUSY;
        bool prepared = storage == STORE_NOWHERE || r->joined[storage];
        if (prepared)
            status = store(h, w, r, storage, err);
        else if (route_prepare(h, r, storage, text))
            i = TRIES;
        route_release(r);
        if (prepared)
            return status;
    }
    return error_set(err, BECK_EBUSY, "where it goes is not ready yet");
}

bool delay_work(struct delivery_home *h)
{
    struct delay *d = h->delay;
    beck_delivery due_now[AT_ONCE];
    uint64_t done[AT_ONCE], later[AT_ONCE];
    size_t n = 0, done_count = 0, later_count = 0;
    bool persistent = false;
    if (!delay_bus(h))
        return false;
    beck_status status = consumer_take(d->consumer, due_now, AT_ONCE, 0, &n, NULL);
    if (status)
        return status == BECK_ETIMEDOUT && !queue_watch(d->queue, &d->watch);
    for (size_t i = 0; i < n; i++) {
        struct waiting w = {0};
        beck_error err;
        beck_bytes content = consumer_carried(d->consumer, due_now[i].tag);
        if (!open_waiting(d, due_now[i].event, content, &w) || !go_on(h, &w, &err))
            done[done_count++] = due_now[i].tag;
        else
            later[later_count++] = due_now[i].tag;
        persistent |= w.persistent;
    }
    if (persistent)
        beck_sync(h->broker->handle, NULL);
    consumer_settle(d->consumer, done, done_count, NULL);
    if (later_count > 0) {
        consumer_return_many(d->consumer, later, later_count, false, NULL);
        helper_look_later(h);
    }
    return later_count == 0;
}
