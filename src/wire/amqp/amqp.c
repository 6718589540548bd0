/* The protocol as a whole: its settings, its pools, the list of its connections. */
#include "wire/amqp/amqp_impl.h"

#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>

#define LOGINS_MAX 2 /* at a time: as many passwords as access hashes at once */
#define INPUT_SLACK 65536
#define TOLD_AT_ONCE 16 /* connections that are told of with the lock held once */

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value ? value : otherwise;
}

static void apply_settings(struct amqp *a, const struct amqp_settings *s)
{
    a->settings = *s;
    a->product = strdup(s->product && *s->product ? s->product : "RabbitMQ");
    a->version = strdup(s->version && *s->version ? s->version : "4.1.0");
    a->settings.product = a->product;
    a->settings.version = a->version;
    a->settings.channel_max = or_default(s->channel_max, 2047);
    a->settings.frame_max = or_default(s->frame_max, 131072);
    a->settings.heartbeat_s = s->heartbeat_s == UINT32_MAX ? 0 : or_default(s->heartbeat_s, 60);
    a->settings.handshake_timeout_ms = or_default(s->handshake_timeout_ms, 10000);
    a->settings.message_max = or_default(s->message_max, 16 << 20);
    a->settings.bodies_max = s->bodies_max ? s->bodies_max : 256 << 20;
    a->settings.unacked_max = or_default(s->unacked_max, 1 << 21);
    a->settings.consumer_timeout_ms = or_default(s->consumer_timeout_ms, 1800000);
    a->settings.pool_threads = or_default(s->pool_threads, 4);
}

static void make_metrics(struct amqp *a)
{
    struct metrics *m = a->context.metrics;
    static const char *const by_what[] = {"what", NULL};
    struct metric_family *f = metrics_counter(m, "beck_amqp_messages_total",
                                              "Messages on AMQP connections.", by_what, 10);
    a->published = metric_counter(f, (beck_bytes[]){beck_str("published")});
    a->delivered = metric_counter(f, (beck_bytes[]){beck_str("delivered")});
    a->settled = metric_counter(f, (beck_bytes[]){beck_str("settled")});
    a->returned = metric_counter(f, (beck_bytes[]){beck_str("returned")});
    a->channels = metric_gauge(
        metrics_gauge(m, "beck_amqp_channels", "AMQP channels that are open.", NULL, 1), NULL);
    a->consumers = metric_gauge(
        metrics_gauge(m, "beck_amqp_consumers", "Consumers on AMQP channels.", NULL, 1), NULL);
}

beck_status amqp_new(const struct amqp_settings *settings, const struct amqp_context *context,
                     struct amqp **out, beck_error *err)
{
    struct amqp *a = calloc(1, sizeof *a);
    if (!a)
        return error_set(err, BECK_ENOMEM, "no memory for AMQP");
    a->context = *context;
    a->last = &a->first;
    apply_settings(a, settings);
    beck_status status = pool_start(&a->pool, a->settings.pool_threads, err);
    if (status) {
        free(a->product);
        free(a->version);
        free(a);
        return status;
    }
    status = pool_start(&a->logins, LOGINS_MAX, err);
    if (status) {
        pool_stop(&a->pool);
        free(a->product);
        free(a->version);
        free(a);
        return status;
    }
    mutex_init(&a->lock);
    make_metrics(a);
    *out = a;
    return BECK_OK;
}

void amqp_free(struct amqp *a)
{
    if (!a)
        return;
    pool_stop(&a->logins);
    pool_stop(&a->pool);
    while (a->places) {
        struct amqp_place *p = a->places;
        a->places = p->next;
        free(p);
    }
    mutex_release(&a->lock);
    free(a->product);
    free(a->version);
    free(a);
}

beck_status amqp_listener(struct amqp *a, int fd, const char *text, struct net_tls *tls,
                          struct net_listener *out, beck_error *err)
{
    struct amqp_place *p = malloc(sizeof *p + strlen(text) + 1);
    if (!p)
        return error_set(err, BECK_ENOMEM, "no memory for AMQP");
    *p = (struct amqp_place){.next = a->places, .amqp = a};
    strcpy(p->text, text);
    a->places = p;
    uint32_t frames = a->settings.frame_max + INPUT_SLACK;
    *out = (struct net_listener){.fd = fd,
                                 .tls = tls,
                                 .protocol = &amqp_protocol,
                                 .ctx = p,
                                 .handshake_timeout_ms = a->settings.handshake_timeout_ms,
                                 .input_max = frames > 1 << 20 ? frames : 1 << 20};
    return BECK_OK;
}

/* ---- bodies ---- */

bool bodies_take(struct amqp *a, size_t bytes)
{
    if (atomic_fetch_add(&a->bodies, bytes) + bytes <= a->settings.bodies_max)
        return true;
    atomic_fetch_sub(&a->bodies, bytes);
    return false;
}

void bodies_give(struct amqp *a, size_t bytes)
{
    atomic_fetch_sub(&a->bodies, bytes);
}

/* ---- for management ---- */

static void describe_consumers(const struct channel *ch, struct amqp_consumer_info *out)
{
    for (size_t i = 0; i < ch->consumer_count; i++) {
        const struct amqp_consumer *k = ch->consumers[i];
        out[i] = (struct amqp_consumer_info){.tag = k->tag,
                                             .queue = k->queue,
                                             .no_ack = k->no_ack,
                                             .exclusive = k->exclusive,
                                             .prefetch = k->prefetch,
                                             .arguments = k->arguments};
    }
}

static void describe_channel(const struct channel *ch, const struct amqp_consumer_info *consumers,
                             struct amqp_channel_info *out)
{
    *out = (struct amqp_channel_info){
        .number = ch->number,
        .confirm = atomic_load(&ch->mode_seen) == 'c',
        .transactional = atomic_load(&ch->mode_seen) == 't',
        .prefetch = atomic_load(&ch->prefetch),
        .global_prefetch = atomic_load(&ch->credit.limit),
        .unacked = atomic_load(&ch->unacked_seen),
        .unconfirmed = atomic_load(&ch->unconfirmed_seen),
        .uncommitted = atomic_load(&ch->uncommitted_seen),
        .acks_uncommitted = atomic_load(&ch->acks_seen),
        .consumers = consumers,
        .consumer_count = ch->consumer_count,
    };
    for (int i = 0; i < CHANNEL_COUNTS; i++)
        out->counts[i] = atomic_load_explicit(&ch->counts[i], memory_order_relaxed);
}

static const char *name_of_state(const struct amqp_connection *c)
{
    static const char *const names[] = {"starting", "running", "blocked", "closing"};
    return names[atomic_load(&c->state_seen)];
}

static void describe(const struct amqp_connection *c, const struct amqp_channel_info *channels,
                     struct amqp_connection_info *out)
{
    const char *mechanism = atomic_load(&c->mechanism);
    *out = (struct amqp_connection_info){.name = c->name,
                                         .user = c->user ? c->user : "",
                                         .vhost = c->vhost ? c->vhost : "",
                                         .mechanism = mechanism ? mechanism : "",
                                         .state = name_of_state(c),
                                         .peer = connection_peer(c->net),
                                         .listener = c->place->text,
                                         .client_properties = buf_bytes(&c->client_properties),
                                         .channel_max = c->channel_max,
                                         .frame_max = c->frame_max,
                                         .heartbeat_s = c->heartbeat_s,
                                         .connected_ms = c->connected_ms,
                                         .id = c->id,
                                         .received = atomic_load(&c->received),
                                         .sent = atomic_load(&c->sent),
                                         .channels = channels,
                                         .channel_count = c->channel_count};
}

/* One connection, with its channels and consumers in memory for the moment. */
static bool tell(const struct amqp_connection *c,
                 bool (*each)(void *ctx, const struct amqp_connection_info *c), void *ctx)
{
    size_t consumers = 0;
    for (size_t i = 0; i < c->channel_count; i++)
        consumers += c->channels[i]->consumer_count;
    struct amqp_channel_info *channels = calloc(c->channel_count + 1, sizeof *channels);
    struct amqp_consumer_info *all = calloc(consumers + 1, sizeof *all), *at = all;
    struct amqp_connection_info info;
    bool more = true;
    if (channels && all) {
        for (size_t i = 0; i < c->channel_count; i++) {
            describe_consumers(c->channels[i], at);
            describe_channel(c->channels[i], at, &channels[i]);
            at += c->channels[i]->consumer_count;
        }
        describe(c, channels, &info);
        more = each(ctx, &info);
    }
    free(channels);
    free(all);
    return more;
}

/* Numbers go up along the list. */
static const struct amqp_connection *behind(const struct amqp *a, uint64_t id)
{
    const struct amqp_connection *c = a->first;
    while (c && c->id <= id)
        c = c->next;
    return c;
}

void amqp_each_connection(struct amqp *a,
                          bool (*each)(void *ctx, const struct amqp_connection_info *c), void *ctx)
{
    uint64_t last = 0;
    size_t told;
    bool more = true;
    do {
        mutex_lock(&a->lock);
        const struct amqp_connection *c = behind(a, last);
        for (told = 0; c && more && told < TOLD_AT_ONCE; c = c->next, told++) {
            last = c->id;
            more = tell(c, each, ctx);
        }
        mutex_unlock(&a->lock);
    } while (more && told == TOLD_AT_ONCE);
}

/* ---- closing by operators ---- */

struct dismissal {
    struct net_task task;
    struct amqp_connection *c;
    struct connection
        *net; /* a reference: the memory of c is there until the net's `closed`, and no
                               longer */
    char reason[200];
};

static void dismiss_now(struct net_task *t)
{
    struct dismissal *d = (struct dismissal *)t; /* its first member */
    if (!connection_is_closed(d->net))
        amqp_refusef(d->c, REPLY_CONNECTION_FORCED, 0, "%s", d->reason);
    connection_release(d->net);
    free(d);
}

/* With the lock. */
static bool dismiss(struct amqp_connection *c, const char *reason)
{
    struct dismissal *d = malloc(sizeof *d);
    if (!d)
        return false;
    d->task.run = dismiss_now;
    d->c = c;
    d->net = connection_retain(c->net);
    snprintf(d->reason, sizeof d->reason, "%s", reason);
    net_post(connection_loop(c->net), &d->task);
    return true;
}

bool amqp_close_connection(struct amqp *a, const char *name, const char *reason)
{
    bool found = false;
    mutex_lock(&a->lock);
    for (struct amqp_connection *c = a->first; c && !found; c = c->next)
        if (strcmp(c->name, name) == 0)
            found = dismiss(c, reason);
    mutex_unlock(&a->lock);
    return found;
}

static bool is_of(const char *wanted, const char *has)
{
    return !wanted || (has && strcmp(wanted, has) == 0);
}

size_t amqp_close_connections(struct amqp *a, const char *user, const char *vhost,
                              const char *reason)
{
    size_t count = 0;
    mutex_lock(&a->lock);
    for (struct amqp_connection *c = a->first; c; c = c->next)
        if (is_of(user, c->user) && is_of(vhost, c->vhost))
            count += dismiss(c, reason);
    mutex_unlock(&a->lock);
    return count;
}
