/*
 * Direct reply-to: who consumes from the pseudo-queue "amq.rabbitmq.reply-to" gets a name, which takes the place of
 * that one in the property reply-to of what is published on the same channel. What is published to the default
 * exchange with that name as its key goes straight to the consumer: nothing is stored, and what finds no room
 * is lost.
 */
#include "broker/dispatch.h"
#include "broker/publish_impl.h"

#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>

#define MESSAGES_MAX 4096
#define BYTES_MAX (16u << 20)
#define ALL_BYTES_MAX (64u << 20) /* of all consumers together */
#define NAME_MAX_LEN 64
#define BUCKETS 256

struct reply {
    struct reply *next;
    size_t size;
    beck_bytes routing_key, properties, body; /* behind it */
    uint8_t memory[];
};

struct reply_subscriber {
    struct subscriber base; /* its first member */
    struct reply_home *home;
    struct lookup_node by_name, by_channel; /* with home.lock, as all but what is the thread's */
    char name[NAME_MAX_LEN];
    struct subscriber_options options;
    struct reply *first, **end;
    size_t count, bytes;
    bool ready, woken, pumping, closing;
};

struct reply_home {
    struct mutex lock; /* a leaf */
    struct cond quiet;
    struct lookup by_name, by_channel;
    struct rng rng;
    size_t bytes; /* of all replies that wait */
};

beck_status replies_open(struct delivery_home *h, beck_error *err)
{
    struct reply_home *r = calloc(1, sizeof *r);
    if (!r)
        return error_set(err, BECK_ENOMEM, "no memory for replies");
    mutex_init(&r->lock);
    cond_init(&r->quiet);
    lookup_init(&r->by_name);
    lookup_init(&r->by_channel);
    rng_seed_system(&r->rng);
    h->replies = r;
    return BECK_OK;
}

void replies_close(struct delivery_home *h)
{
    struct reply_home *r = h->replies;
    if (!r)
        return;
    lookup_release(&r->by_name);
    lookup_release(&r->by_channel);
    cond_release(&r->quiet);
    mutex_release(&r->lock);
    free(r);
    h->replies = NULL;
}

/* ---- finding; with the lock ---- */

static struct reply_subscriber *find_name(const struct reply_home *r, beck_bytes name)
{
    for (struct lookup_node *n = lookup_first(&r->by_name, lookup_hash(&r->by_name, name)); n;
         n = lookup_again(n)) {
        struct reply_subscriber *s = lookup_of(n, struct reply_subscriber, by_name);
        if (bytes_equal_text(name, s->name))
            return s;
    }
    return NULL;
}

static uint64_t channel_hash(const struct reply_home *r, const void *channel)
{
    return lookup_hash(&r->by_channel, bytes_of(&channel, sizeof channel));
}

static struct reply_subscriber *find_channel(const struct reply_home *r, const void *channel)
{
    for (struct lookup_node *n = lookup_first(&r->by_channel, channel_hash(r, channel));
         n && channel; n = lookup_again(n)) {
        struct reply_subscriber *s = lookup_of(n, struct reply_subscriber, by_channel);
        if (s->options.channel == channel)
            return s;
    }
    return NULL;
}

/* ---- replies ---- */

static void wake(struct reply_subscriber *s)
{
    if (s->woken || !s->ready || s->closing)
        return;
    s->woken = true;
    s->options.wake(s->options.ctx);
}

static struct reply *reply_new(const struct publication *m, beck_bytes raw)
{
    size_t size = sizeof(struct reply) + m->routing_key.len + raw.len + m->body.len;
    struct reply *reply = malloc(size);
    if (!reply)
        return NULL;
    uint8_t *at = reply->memory;
    reply->next = NULL;
    reply->size = size;
    reply->routing_key = bytes_put(&at, m->routing_key);
    reply->properties = bytes_put(&at, raw);
    reply->body = bytes_put(&at, m->body);
    return reply;
}

bool reply_publish(struct delivery_home *h, const struct publication *m, beck_bytes raw)
{
    struct reply_home *r = h->replies;
    struct reply *reply = reply_new(m, raw);
    mutex_lock(&r->lock);
    struct reply_subscriber *s = find_name(r, m->routing_key);
    bool room =
        s && reply && s->count < MESSAGES_MAX && s->bytes < BYTES_MAX && r->bytes < ALL_BYTES_MAX;
    if (room) {
        *s->end = reply;
        s->end = &reply->next;
        s->count++;
        s->bytes += reply->size;
        r->bytes += reply->size;
        wake(s);
    }
    mutex_unlock(&r->lock);
    if (!room)
        free(reply);
    return s != NULL;
}

bool reply_exists(struct delivery_home *h, beck_bytes name)
{
    mutex_lock(&h->replies->lock);
    bool exists = find_name(h->replies, name) != NULL;
    mutex_unlock(&h->replies->lock);
    return exists;
}

bool reply_is_asked(const struct properties *p)
{
    return p->flags & PROPERTY_REPLY_TO && bytes_equal_text(p->reply_to, REPLY_TO);
}

bool reply_is_key(beck_bytes routing_key)
{
    static const char prefix[] = REPLY_TO ".";
    return routing_key.len >= sizeof prefix - 1 &&
           memcmp(routing_key.data, prefix, sizeof prefix - 1) == 0;
}

int reply_rewrite(struct publisher *p, const struct properties *props, beck_bytes *raw, char *text)
{
    struct reply_home *r = p->home->replies;
    struct properties mine = *props;
    char name[NAME_MAX_LEN] = "";
    mutex_lock(&r->lock);
    const struct reply_subscriber *s = find_channel(r, p->events.channel);
    if (s)
        memcpy(name, s->name, sizeof name);
    mutex_unlock(&r->lock);
    if (!name[0])
        return broker_refuse(text, REPLY_PRECONDITION_FAILED, "fast reply consumer does not exist");
    mine.reply_to = beck_str(name);
    buf_clear(&p->rewritten);
    if (properties_write(&p->rewritten, &mine))
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory for properties");
    *raw = buf_bytes(&p->rewritten);
    return 0;
}

/* ---- the subscriber ---- */

static struct reply_subscriber *of_base(struct subscriber *c)
{
    return (struct reply_subscriber *)c;
}

/* With the lock. */
static struct reply *pop(struct reply_subscriber *s)
{
    struct reply *reply = s->first;
    if (!reply)
        return NULL;
    s->first = reply->next;
    if (!s->first)
        s->end = &s->first;
    s->count--;
    s->bytes -= reply->size;
    s->home->bytes -= reply->size;
    return reply;
}

static bool deliver_reply(struct reply_subscriber *s, const struct reply *reply,
                          bool (*deliver)(void *ctx, const struct handed *m), void *ctx)
{
    struct handed m = {.subscriber = &s->base,
                       .exchange = beck_str(""),
                       .routing_key = reply->routing_key,
                       .properties = reply->properties,
                       .body = reply->body};
    return deliver(ctx, &m);
}

static size_t pump(struct subscriber *c, size_t max,
                   bool (*deliver)(void *ctx, const struct handed *m), void *ctx)
{
    struct reply_subscriber *s = of_base(c);
    struct reply_home *r = s->home;
    size_t total = 0;
    bool more = true;
    mutex_lock(&r->lock);
    s->woken = false;
    s->pumping = true;
    while (more && total < max && s->ready && !s->closing) {
        struct reply *reply = pop(s);
        if (!reply)
            break;
        mutex_unlock(&r->lock);
        more = deliver_reply(s, reply, deliver, ctx);
        total++;
        free(reply);
        mutex_lock(&r->lock);
    }
    s->pumping = false;
    s->woken |= total == max && max > 0; /* it comes again by itself */
    cond_broadcast(&r->quiet);
    mutex_unlock(&r->lock);
    return total;
}

static void set_ready(struct subscriber *c, bool ready)
{
    struct reply_subscriber *s = of_base(c);
    mutex_lock(&s->home->lock);
    s->ready = ready;
    if (s->first)
        wake(s);
    mutex_unlock(&s->home->lock);
}

static void close_subscriber(struct subscriber *c)
{
    struct reply_subscriber *s = of_base(c);
    struct reply_home *r = s->home;
    mutex_lock(&r->lock);
    s->closing = true;
    while (s->pumping)
        cond_wait(&r->quiet, &r->lock);
    lookup_remove(&r->by_name, &s->by_name);
    lookup_remove(&r->by_channel, &s->by_channel);
    for (struct reply *reply; (reply = pop(s));)
        free(reply);
    mutex_unlock(&r->lock);
    free(s);
}

static const struct subscriber_kind of_replies = {pump, set_ready, close_subscriber};

static void make_name(struct reply_home *r, char out[NAME_MAX_LEN])
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t at = (size_t)snprintf(out, NAME_MAX_LEN, REPLY_TO ".");
    for (int i = 0; i < 22; i++)
        out[at++] = letters[rng_next(&r->rng) % 64];
    out[at] = '\0';
}

/* With the lock. 0, 406 or 541. */
static int add(struct reply_home *r, struct reply_subscriber *s, char *text)
{
    if (find_channel(r, s->options.channel))
        return broker_refuse(text, REPLY_PRECONDITION_FAILED, "reply consumer already set");
    if (lookup_reserve(&r->by_name) || lookup_reserve(&r->by_channel))
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory for a consumer");
    make_name(r, s->name);
    lookup_add(&r->by_name, &s->by_name, lookup_hash(&r->by_name, beck_str(s->name)));
    lookup_add(&r->by_channel, &s->by_channel, channel_hash(r, s->options.channel));
    return 0;
}

int reply_subscribe(struct delivery_home *h, const struct subscriber_options *o,
                    struct subscriber **out, char *text)
{
    if (!o->no_ack)
        return broker_refuse(text, REPLY_PRECONDITION_FAILED, "reply consumer cannot acknowledge");
    struct reply_subscriber *s = calloc(1, sizeof *s);
    if (!s)
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory for a consumer");
    s->base.kind = &of_replies;
    s->home = h->replies;
    s->options = *o;
    s->ready = true;
    s->end = &s->first;
    mutex_lock(&h->replies->lock);
    int code = add(h->replies, s, text);
    mutex_unlock(&h->replies->lock);
    if (code)
        free(s);
    else
        *out = &s->base;
    return code;
}
