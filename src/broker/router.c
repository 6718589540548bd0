/*
 * What others publish to the bus of an exchange, over HTTP, by Kafka's protocol, in C: it is routed as messages are. Its
 * queues are added to the event, which is stored once; to streams it is appended before.
 *
 * Only a bus that leads somewhere has a router: others cost nothing, and batches of producers stay unopened there.
 */
#include "broker/topology.h"

#include "broker/message.h"
#include "broker/missed.h"

#include <stdlib.h>

/* What the router of a bus knows: kept until the broker closes, as a publish may be under way. */
struct bus_link {
    struct bus_link *next;
    struct broker *broker;
    beck_bytes vhost, exchange;
    beck_bus *bus;
};

/* One event that was published to an exchange's bus without the broker. */
struct stranger {
    const beck_event *event;
    beck_bus *bus;
    struct bus_router_out *out;
    struct targets targets;
    struct broker_queue **others; /* retained: not joined yet, and streams */
    size_t other_count;
    beck_bytes exchange; /* its name; the link's */
    struct buf raw;      /* the properties that its attributes make */
    struct properties properties;
};

static beck_status set_aside(struct stranger *s, struct broker_queue *q)
{
    if (!s->others)
        s->others = calloc(s->targets.count, sizeof(struct broker_queue *));
    if (!s->others)
        return BECK_ENOMEM;
    s->others[s->other_count++] = broker_queue_retain(q);
    return BECK_OK;
}

/* With topology_lock. */
static beck_status find_targets(struct stranger *s, struct exchange *x)
{
    beck_status status = topology_route(x, s->event->type, &s->properties, &s->targets);
    for (size_t i = 0; i < s->targets.count && !status; i++) {
        struct broker_queue *q = s->targets.queues[i];
        status = queue_is_joined(q, s->bus) ? bus_router_add(s->out, queue_retain(q->engine))
                                            : set_aside(s, q);
    }
    return status;
}

static beck_status append_to_stream(struct stranger *s, const struct broker_queue *q,
                                    beck_error *err)
{
    struct buf content;
    beck_publish_options o = {.level = BECK_LEVEL_WRITTEN, .no_context = true};
    buf_init(&content, CARRIED_CONTENT_MAX);
    beck_status status =
        message_carry(&content, s->exchange, s->event->type, buf_bytes(&s->raw), 0);
    struct bus_addressed to = {.content = buf_bytes(&content)};
    if (status)
        error_set(err, status, "no memory to route an event");
    else
        status = bus_publish_addressed(q->bus, s->event, &to, 1, &o, NULL, err);
    buf_release(&content);
    return status == BECK_ECLOSED ? BECK_OK : status;
}

static beck_status reach_others(struct stranger *s, beck_error *err)
{
    beck_status status = BECK_OK;
    for (size_t i = 0; i < s->other_count && !status; i++) {
        struct broker_queue *q = s->others[i];
        if (!q->engine) {
            status = append_to_stream(s, q, err);
            continue;
        }
        status = queue_join(q, s->bus, err);
        if (!status)
            status = bus_router_add(s->out, queue_retain(q->engine));
        if (status == BECK_ENOENT) /* deleted meanwhile */
            status = BECK_OK;
    }
    return status;
}

static beck_status route_stranger(struct stranger *s, const struct bus_link *link, beck_error *err)
{
    beck_status status =
        message_of_event(s->event, s->bus->options.storage == BECK_STORAGE_DISK, &s->raw);
    if (!status)
        status = properties_read(buf_bytes(&s->raw), &s->properties, NULL);
    topology_read(link->broker);
    const struct vhost *v = topology_vhost(link->broker, link->vhost);
    struct exchange *x = v ? topology_exchange(v, link->exchange) : NULL;
    if (x && !status)
        status = find_targets(s, x);
    topology_end_read(link->broker);
    if (status)
        return error_set(err, status, "no memory to route an event");
    return reach_others(s, err);
}

static beck_status route_published(void *ctx, beck_bus *bus, const beck_event *e,
                                   struct bus_router_out *out, beck_error *err)
{
    const struct bus_link *link = ctx;
    struct stranger s = {.event = e, .bus = bus, .out = out, .exchange = link->exchange};
    buf_init(&s.raw, CARRIED_CONTENT_MAX);
    beck_status status = route_stranger(&s, link, err);
    for (size_t i = 0; i < s.other_count; i++)
        broker_queue_release(s.others[i]);
    free(s.others);
    buf_release(&s.raw);
    targets_release(&s.targets);
    return status;
}

beck_status engine_watch(struct exchange *x, beck_bus *bus, beck_error *err)
{
    struct broker *b = x->vhost->broker;
    if (!x->leads)
        return BECK_OK;
    struct bus_link *link = b->links;
    while (link && !(link->bus == bus && bytes_equal(link->exchange, x->name) &&
                     bytes_equal(link->vhost, x->vhost->name)))
        link = link->next;
    if (!link) {
        link = calloc(1, sizeof *link);
        if (!link || !bytes_keep(x->vhost->name, &link->vhost) ||
            !bytes_keep(x->name, &link->exchange)) {
            if (link)
                bytes_drop(&link->vhost);
            free(link);
            return error_set(err, BECK_ENOMEM, "no memory for the bus of an exchange");
        }
        link->broker = b;
        link->bus = bus;
        link->next = b->links;
        b->links = link;
    }
    return bus_set_router(bus, route_published, link, err);
}

beck_status engine_lead(struct exchange *x, beck_error *err)
{
    struct broker *b = x->vhost->broker;
    beck_status status = BECK_OK;
    if (x->leads || !x->durable)
        return BECK_OK;
    mutex_lock(&b->engine_lock);
    beck_bus *bus = atomic_load(&x->bus);
    x->leads = true;
    if (bus)
        status = engine_watch(x, bus, err);
    if (!status)
        status = missed_begin(x, bus, err);
    x->leads = !status;
    mutex_unlock(&b->engine_lock);
    if (!status)
        broker_wake(b, clock_mono_ns(b->handle->env.clock) + BROKER_NOTE_NS);
    return status;
}

void engine_release_links(struct broker *b)
{
    while (b->links) {
        struct bus_link *link = b->links;
        b->links = link->next;
        if (!atomic_load(&link->bus->closed))
            bus_set_router(link->bus, NULL, NULL, NULL);
        bytes_drop(&link->vhost);
        bytes_drop(&link->exchange);
        free(link);
    }
}
