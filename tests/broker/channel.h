/* A channel as the wire would have it: a publisher whose confirms are counted, and a consumer that waits to be
 * woken. */
#ifndef TESTS_BROKER_CHANNEL_H
#define TESTS_BROKER_CHANNEL_H

#include "broker/place.h"

#define TEXTS 4096

struct channel {
    struct session *s;
    struct publisher *publisher;
    struct mutex lock;
    struct cond changed;
    uint64_t tokens;
    size_t acked, refused;
    char order[TEXTS]; /* of confirms: "1 2 -3" */
    /* of its consumer */
    struct subscriber *consumer;
    bool woken, cancelled;
    struct broker_queue *queue;
    uint64_t tags[4096];
    size_t count;
    char texts[TEXTS]; /* bodies, with ! when redelivered */
    char exchange[256], key[256];
    struct buf properties; /* of the last one */
};

static inline void told(void *ctx, const uint64_t *tokens, size_t count, bool ack)
{
    struct channel *c = ctx;
    mutex_lock(&c->lock);
    for (size_t i = 0; i < count; i++)
        snprintf(c->order + strlen(c->order), TEXTS - strlen(c->order), "%s%s%llu",
                 c->order[0] ? " " : "", ack ? "" : "-", (unsigned long long)tokens[i]);
    *(ack ? &c->acked : &c->refused) += count;
    cond_broadcast(&c->changed);
    mutex_unlock(&c->lock);
}

static inline void woken(void *ctx)
{
    struct channel *c = ctx;
    mutex_lock(&c->lock);
    c->woken = true;
    cond_broadcast(&c->changed);
    mutex_unlock(&c->lock);
}

static inline void cancelled(void *ctx)
{
    struct channel *c = ctx;
    mutex_lock(&c->lock);
    c->cancelled = true;
    cond_broadcast(&c->changed);
    mutex_unlock(&c->lock);
}

static inline void channel_begin(struct channel *c, struct session *s)
{
    memset(c, 0, sizeof *c);
    c->s = s;
    mutex_init(&c->lock);
    cond_init(&c->changed);
    buf_init(&c->properties, 1 << 20);
    struct publisher_events events = {.confirmed = told, .ctx = c, .channel = c};
    accepted(publisher_new(s, &events, &c->publisher, text));
}

static inline void channel_end(struct channel *c)
{
    subscriber_close(c->consumer);
    if (c->queue)
        broker_queue_release(c->queue);
    publisher_free(c->publisher);
    cond_release(&c->changed);
    mutex_release(&c->lock);
    buf_release(&c->properties);
}

/* ---- publishing ---- */

struct message {
    const char *exchange, *key, *body;
    struct properties p; /* its flags, too */
    bool confirm;
};

static inline int add(struct channel *c, const struct message *l, enum published *how, char *text)
{
    struct buf raw;
    enum published ignored;
    buf_init(&raw, 1 << 20);
    assert_int_equal(properties_write(&raw, &l->p), BECK_OK);
    struct publication m = {.exchange = beck_str(l->exchange),
                            .routing_key = beck_str(l->key),
                            .properties = buf_bytes(&raw),
                            .body = beck_str(l->body),
                            .confirm = l->confirm};
    uint64_t token = c->tokens + 1;
    int code;
    while ((code = publisher_add(c->publisher, &m, token, how ? how : &ignored, text)) ==
           BROKER_LATER) {
        publisher_flush(c->publisher);
        if ((code = publisher_prepare(c->publisher, m.exchange, text)))
            break;
    }
    if (!code)
        c->tokens += l->confirm;
    publisher_flush(c->publisher);
    buf_release(&raw);
    return code;
}

static inline struct properties mode(uint8_t delivery_mode)
{
    return (struct properties){.flags = PROPERTY_DELIVERY_MODE, .delivery_mode = delivery_mode};
}

static inline struct properties with_headers(struct properties p, const struct buf *headers)
{
    p.flags |= PROPERTY_HEADERS;
    p.headers = buf_bytes(headers);
    return p;
}

static inline struct properties expiring(struct properties p, const char *expiration)
{
    p.flags |= PROPERTY_EXPIRATION;
    p.expiration = beck_str(expiration);
    return p;
}

#define send(c, exchange_, key_, body_, p_)                                                        \
    accepted(add(c, &(struct message){exchange_, key_, body_, p_, false}, NULL, text))
#define send_confirmed(c, exchange_, key_, body_, p_)                                              \
    accepted(add(c, &(struct message){exchange_, key_, body_, p_, true}, NULL, text))

static inline void wait_for_confirms(struct channel *c, size_t count)
{
    mutex_lock(&c->lock);
    while (c->acked + c->refused < count)
        cond_wait(&c->changed, &c->lock);
    mutex_unlock(&c->lock);
}

/* ---- consuming ---- */

static inline void consume_with(struct channel *c, const char *queue_name,
                                struct subscriber_options o)
{
    o.queue = beck_str(queue_name);
    o.wake = woken;
    o.cancelled = cancelled;
    o.ctx = c;
    o.channel = c;
    accepted(session_consume(c->s, &o, &c->consumer, text));
}

static inline void consume(struct channel *c, const char *queue_name)
{
    consume_with(c, queue_name, (struct subscriber_options){0});
}

static inline bool keep_letter(void *ctx, const struct handed *m)
{
    struct channel *c = ctx;
    if (m->queue && !c->queue)
        c->queue = broker_queue_retain(m->queue);
    c->tags[c->count++] = m->tag;
    snprintf(c->texts + strlen(c->texts), TEXTS - strlen(c->texts), "%s%s%.*s",
             c->texts[0] ? " " : "", m->redelivered ? "!" : "", (int)m->body.len,
             (const char *)m->body.data);
    snprintf(c->exchange, sizeof c->exchange, "%.*s", (int)m->exchange.len,
             (const char *)m->exchange.data);
    snprintf(c->key, sizeof c->key, "%.*s", (int)m->routing_key.len,
             (const char *)m->routing_key.data);
    buf_clear(&c->properties);
    buf_append(&c->properties, m->properties.data, m->properties.len);
    return true;
}

static inline void pump(struct channel *c)
{
    size_t n;
    do {
        mutex_lock(&c->lock);
        c->woken = false;
        mutex_unlock(&c->lock);
        n = subscriber_pump(c->consumer, 64, keep_letter, c);
        mutex_lock(&c->lock);
        n += c->woken;
        mutex_unlock(&c->lock);
    } while (n > 0);
}

/* Waits until it holds so many. */
static inline void await(struct channel *c, size_t count)
{
    pump(c);
    while (c->count < count) {
        mutex_lock(&c->lock);
        while (!c->woken)
            cond_wait(&c->changed, &c->lock);
        mutex_unlock(&c->lock);
        pump(c);
    }
}

static inline void check_texts_at(struct channel *c, const char *texts, const char *file, int line)
{
    pump(c);
    if (strcmp(c->texts, texts) != 0) {
        print_error("got \"%s\" instead of \"%s\"\n", c->texts, texts);
        _fail(file, line);
    }
    c->texts[0] = '\0';
}
#define check_texts(c, texts) check_texts_at(c, texts, __FILE__, __LINE__)

static inline void settle_all(struct channel *c, enum settlement how)
{
    struct subscriber *who[4096];
    for (size_t i = 0; i < c->count; i++)
        who[i] = c->consumer;
    if (c->count > 0)
        broker_settle(c->queue, c->tags, who, c->count, how);
    c->count = 0;
}

static inline struct properties properties_of(struct channel *c)
{
    struct properties p = {0};
    assert_int_equal(properties_read(buf_bytes(&c->properties), &p, NULL), BECK_OK);
    return p;
}

/* A text or number in the headers of the last one; "" : none. */
static inline const char *header_of(struct channel *c, const char *name, char out[256])
{
    struct properties p = properties_of(c);
    struct table_value v;
    out[0] = '\0';
    if (!(p.flags & PROPERTY_HEADERS) || !table_find(p.headers, name, &v))
        return out;
    if (v.kind == TABLE_TEXT)
        snprintf(out, 256, "%.*s", (int)v.bytes.len, (const char *)v.bytes.data);
    else if (v.kind == TABLE_INTEGER)
        snprintf(out, 256, "%lld", (long long)v.integer);
    else
        snprintf(out, 256, "%c", v.letter);
    return out;
}

#endif
