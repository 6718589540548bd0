/*
 * Streams (x-queue-type stream): a bus that consumers read without taking anything away, each from where it asked
 * for. Acknowledging gives credit only.
 *
 * A subscriber has a cursor of its own and is read on its thread; at the end it watches the partition.
 */
#include "broker/delivery.h"
#include "broker/dispatch.h"
#include "broker/policy.h"

#include "log/cursor.h"

#include <stdlib.h>

#define SCRATCH_MAX (1u << 20)
#define LOOKED_MAX 4096 /* messages that are passed over before others get the thread */

struct stream {
    struct broker_queue *queue; /* whose it is */
    struct mutex lock;          /* a leaf, but that callbacks are called with it */
    struct cond quiet;
    struct stream_subscriber *first;
    bool gone;
    _Atomic(uint32_t) count;
};

struct stream_subscriber {
    struct subscriber base; /* its first member */
    struct stream *stream;
    struct stream_subscriber *next, **at; /* with stream.lock */
    struct subscriber_options options;
    struct cursor *cursor;
    struct partition *partition;
    struct partition_watch watch;
    int64_t offset;   /* the next to read */
    uint8_t *filters; /* an array's content; NULL: none */
    size_t filters_len;
    bool unfiltered; /* those without a value match too */
    struct buf scratch;
    /* With stream.lock. */
    bool ready, pumping, closing;
    _Atomic(bool) woken, cancelled;
    _Atomic(uint32_t) used;
};

/* ---- streams ---- */

beck_status stream_open(struct broker_queue *q, beck_error *err)
{
    struct stream *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(err, BECK_ENOMEM, "no memory for a stream");
    s->queue = q;
    mutex_init(&s->lock);
    cond_init(&s->quiet);
    q->stream = s;
    return BECK_OK;
}

void stream_end(struct stream *s)
{
    mutex_lock(&s->lock);
    s->gone = true;
    for (struct stream_subscriber *c = s->first; c; c = c->next)
        if (!atomic_exchange(&c->cancelled, true))
            c->options.cancelled(c->options.ctx);
    mutex_unlock(&s->lock);
}

void stream_free(struct stream *s)
{
    if (!s)
        return;
    cond_release(&s->quiet);
    mutex_release(&s->lock);
    free(s);
}

uint32_t stream_subscribers(const struct stream *s)
{
    return atomic_load(&s->count);
}

/* ---- filters ---- */

static beck_status copy_filters(struct stream_subscriber *c, beck_bytes arguments)
{
    struct table_value v;
    struct buf one;
    buf_init(&one, SCRATCH_MAX);
    if (table_find(arguments, "x-stream-match-unfiltered", &v) && v.kind == TABLE_BOOL)
        c->unfiltered = v.integer != 0;
    if (!table_find(arguments, "x-stream-filter", &v))
        return BECK_OK;
    beck_status status = BECK_OK;
    if (v.kind == TABLE_TEXT)
        status = array_put(&one, &v);
    else if (v.kind == TABLE_ARRAY)
        status = buf_append(&one, v.bytes.data, v.bytes.len);
    if (!status && one.len > 0 && !(c->filters = malloc(one.len)))
        status = BECK_ENOMEM;
    if (!status && one.len > 0) {
        memcpy(c->filters, one.data, one.len);
        c->filters_len = one.len;
    }
    buf_release(&one);
    return status;
}

static bool matches(const struct stream_subscriber *c, beck_bytes raw)
{
    struct properties p;
    struct table_value value, filter;
    size_t at = 0;
    if (!c->filters)
        return true;
    if (raw.len == 0 || properties_read(raw, &p, NULL) || !(p.flags & PROPERTY_HEADERS) ||
        !table_find(p.headers, "x-stream-filter-value", &value) || value.kind != TABLE_TEXT)
        return c->unfiltered;
    while (array_next(bytes_of(c->filters, c->filters_len), &at, &filter))
        if (filter.kind == TABLE_TEXT && bytes_equal(filter.bytes, value.bytes))
            return true;
    return false;
}

/* ---- pumping ---- */

static struct stream_subscriber *of_base(struct subscriber *c)
{
    return (struct stream_subscriber *)c;
}

static void wake(struct stream_subscriber *c)
{
    if (!atomic_exchange(&c->woken, true))
        c->options.wake(c->options.ctx);
}

static void arrived(void *ctx)
{
    wake(ctx);
}

static bool has_credit(const struct stream_subscriber *c)
{
    return atomic_load(&c->used) < c->options.prefetch;
}

/* False: no more now. */
static bool show(struct stream_subscriber *c, const struct record_view *v, struct block *block,
                 bool (*deliver)(void *ctx, const struct handed *m), void *ctx)
{
    struct handed m = {
        .queue = c->stream->queue, .subscriber = &c->base, .tag = (uint64_t)v->offset + 1};
    uint16_t marks = 0;
    message_show(&v->event, v->carried.content, block, 0, true, &c->scratch, &m);
    size_t made = c->scratch.len;
    if (m.properties.len >= 2)
        marks = get_u16(m.properties.data) & CARRIED_MARKS;
    if (!message_with_number(m.properties, marks, "x-stream-offset", v->offset, &c->scratch))
        m.properties = bytes_of(c->scratch.data + made, c->scratch.len - made);
    atomic_fetch_add(&c->used, 1);
    return deliver(ctx, &m);
}

static beck_bytes raw_of(const struct record_view *v)
{
    beck_bytes exchange, key, raw = {0};
    uint16_t marks;
    message_carried(v->carried.content, &exchange, &key, &raw, &marks);
    return raw;
}

/* Reads on; *end: there is nothing more now; *stopped: no room. Returns how many were delivered. */
static size_t read_on(struct stream_subscriber *c, size_t max,
                      bool (*deliver)(void *ctx, const struct handed *m), void *ctx, bool *end,
                      bool *stopped)
{
    size_t n = 0, looked = 0;
    while (n < max && has_credit(c) && looked++ < LOOKED_MAX) {
        const struct record_view *v;
        int64_t skip_to = 0;
        beck_status status = cursor_read(c->cursor, c->offset, false, &v, &skip_to, NULL);
        if (status == BECK_ECORRUPT && skip_to > c->offset) {
            c->offset = skip_to;
            continue;
        }
        if (status) {
            *end = true;
            break;
        }
        c->offset = v->offset + 1;
        if (!matches(c, raw_of(v)))
            continue;
        n++;
        if (!show(c, v, cursor_block(c->cursor), deliver, ctx)) {
            *stopped = true;
            break;
        }
    }
    return n;
}

static size_t pump(struct subscriber *base, size_t max,
                   bool (*deliver)(void *ctx, const struct handed *m), void *ctx)
{
    struct stream_subscriber *c = of_base(base);
    struct stream *s = c->stream;
    bool end = false, stopped = false;
    mutex_lock(&s->lock);
    bool go = c->ready && !c->closing && !s->gone;
    c->pumping = go;
    atomic_store(&c->woken, false);
    mutex_unlock(&s->lock);
    if (!go)
        return 0;
    partition_unwatch(c->partition, &c->watch);
    c->watch.offset = c->offset;
    size_t n = read_on(c, max, deliver, ctx, &end, &stopped);
    if (end) {
        c->watch.offset = c->offset;
        if (!partition_watch(c->partition, &c->watch))
            wake(c);
    } else if (n < max && !stopped && has_credit(c)) {
        wake(c); /* it was long in passing over */
    }
    mutex_lock(&s->lock);
    c->pumping = false;
    cond_broadcast(&s->quiet);
    mutex_unlock(&s->lock);
    return n;
}

static void set_ready(struct subscriber *base, bool ready)
{
    struct stream_subscriber *c = of_base(base);
    mutex_lock(&c->stream->lock);
    c->ready = ready;
    if (ready && !c->closing)
        wake(c);
    mutex_unlock(&c->stream->lock);
}

void stream_settle(struct subscriber *const *subscribers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!subscribers[i])
            continue;
        struct stream_subscriber *c = of_base(subscribers[i]);
        uint32_t before = atomic_fetch_sub(&c->used, 1);
        if (before >= c->options.prefetch)
            wake(c);
    }
}

/* ---- subscribing ---- */

static void free_subscriber(struct stream_subscriber *c)
{
    cursor_close(c->cursor);
    buf_release(&c->scratch);
    free(c->filters);
    free(c);
}

static void close_subscriber(struct subscriber *base)
{
    struct stream_subscriber *c = of_base(base);
    struct stream *s = c->stream;
    mutex_lock(&s->lock);
    c->closing = true;
    while (c->pumping)
        cond_wait(&s->quiet, &s->lock);
    *c->at = c->next;
    if (c->next)
        c->next->at = c->at;
    atomic_fetch_sub(&s->count, 1);
    mutex_unlock(&s->lock);
    partition_unwatch(c->partition, &c->watch);
    free_subscriber(c);
}

static const struct subscriber_kind of_streams = {pump, set_ready, close_subscriber};

/* first, last, next, an offset, a time, or how far back. Its form was checked. */
static void from_of(const struct stream_subscriber *c, beck_bytes arguments, beck_from *from)
{
    struct table_value v;
    int64_t back_ms;
    struct clock *clock = c->stream->queue->vhost->broker->handle->env.clock;
    *from = (beck_from){.kind = BECK_FROM_NOW};
    if (arguments.len == 0 || !table_find(arguments, "x-stream-offset", &v))
        return;
    if (v.kind == TABLE_INTEGER) {
        int64_t next = partition_visible(c->partition);
        from->kind = BECK_FROM_OFFSET;
        from->offset = v.integer < 0 ? 0 : v.integer < next ? v.integer : next;
    } else if (v.kind == TABLE_TIME) {
        from->kind = BECK_FROM_TIME;
        from->time_ms = v.integer * 1000;
    } else if (bytes_equal_text(v.bytes, "first")) {
        from->kind = BECK_FROM_EARLIEST;
    } else if (bytes_equal_text(v.bytes, "last")) {
        int64_t next = partition_visible(c->partition);
        from->kind = next > partition_first(c->partition) ? BECK_FROM_OFFSET : BECK_FROM_NOW;
        from->offset = next - 1;
    } else if (max_age_read(v.bytes, &back_ms)) {
        from->kind = BECK_FROM_TIME;
        from->time_ms = clock_wall_ms(clock) - back_ms;
    }
}

static int check(const struct broker_queue *q, const struct subscriber_options *o, char *text)
{
    if (o->no_ack)
        return broker_refuse(text, REPLY_NOT_IMPLEMENTED,
                             "automatic acknowledgement not supported by stream queues queue "
                             "'%.*s' in vhost '%.*s'",
                             TEXT_OF(q->name), TEXT_OF(q->vhost->name));
    if (o->shared && atomic_load(&o->shared->limit) > 0)
        return broker_refuse(text, REPLY_NOT_IMPLEMENTED,
                             "queue '%.*s' in vhost '%.*s' does not support global qos",
                             TEXT_OF(q->name), TEXT_OF(q->vhost->name));
    if (o->prefetch == 0)
        return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                             "consumer prefetch count is not set for 'queue '%.*s' in vhost "
                             "'%.*s''",
                             TEXT_OF(q->name), TEXT_OF(q->vhost->name));
    return 0;
}

static beck_status open_subscriber(struct stream_subscriber *c, const struct subscriber_options *o,
                                   beck_error *err)
{
    beck_from from;
    from_of(c, o->arguments, &from);
    beck_status status = partition_resolve(c->partition, &from, &c->offset, err);
    if (!status)
        status = cursor_open(c->partition, &c->cursor, err);
    if (!status && o->arguments.len > 0 && copy_filters(c, o->arguments))
        status = error_set(err, BECK_ENOMEM, "no memory for a consumer");
    return status;
}

int stream_subscribe(struct broker_queue *q, const struct subscriber_options *o,
                     struct subscriber **out, char *text)
{
    struct stream *s = q->stream;
    beck_error err;
    int code = check(q, o, text);
    if (code)
        return code;
    struct stream_subscriber *c = calloc(1, sizeof *c);
    if (!c)
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory for a consumer");
    c->base.kind = &of_streams;
    c->stream = s;
    c->options = *o;
    c->partition = bus_partition(q->bus, 0);
    c->watch = (struct partition_watch){.fn = arrived, .ctx = c};
    c->ready = true;
    buf_init(&c->scratch, SCRATCH_MAX);
    if (open_subscriber(c, o, &err)) {
        free_subscriber(c);
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "the stream cannot be read: %s", err.text);
    }
    mutex_lock(&s->lock);
    if (s->gone) {
        mutex_unlock(&s->lock);
        free_subscriber(c);
        return broker_refuse(text, REPLY_NOT_FOUND, "no queue '%.*s' in vhost '%.*s'",
                             TEXT_OF(q->name), TEXT_OF(q->vhost->name));
    }
    c->next = s->first;
    c->at = &s->first;
    if (c->next)
        c->next->at = &c->next;
    s->first = c;
    atomic_fetch_add(&s->count, 1);
    *out = &c->base;
    wake(c);
    mutex_unlock(&s->lock);
    return 0;
}
