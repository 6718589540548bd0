/*
 * Dead letters: what leaves a queue without being acknowledged is published to the queue's dead-letter
 * exchange, by whichever thread the engine buries it on, as persistent as it was.
 *
 * It never waits for a change of the topology: where a queue is not joined to the bus that it should come by,
 * the helper has it joined, and the engine buries again.
 *
 * At most once: what no queue takes, or refuses, is dropped. At least once (quorum queues): it stays until all
 * that get it have it for certain, and as long as there is none (burial.h).
 */
#include "broker/burial.h"
#include "broker/dead_letter_headers.h"
#include "broker/delivery.h"
#include "broker/policy.h"

#include <stdlib.h>

#define PROPERTIES_MAX (1u << 20)

/* Where it goes, as the queue's arguments and policies say; copied. */
struct grave {
    bool has_exchange, has_key, at_least_once;
    uint8_t exchange[256], key[256];
    size_t exchange_len, key_len;
    enum overflow overflow;
};

static size_t copy_short(uint8_t to[256], beck_bytes from)
{
    size_t len = from.len < 255 ? from.len : 255;
    if (len > 0)
        memcpy(to, from.data, len);
    return len;
}

static void grave_of(const struct broker_queue *q, struct grave *g)
{
    struct broker *b = q->vhost->broker;
    topology_read(b);
    const struct effective *e = q->effective;
    g->has_exchange = e->has_dead_letter_exchange;
    g->has_key = e->has_dead_letter_key;
    g->overflow = e->overflow;
    g->at_least_once = e->at_least_once && q->kind == QUEUE_QUORUM;
    g->exchange_len = copy_short(g->exchange, e->dead_letter_exchange);
    g->key_len = copy_short(g->key, e->dead_letter_key);
    topology_end_read(b);
}

/* A dead message, on its way. */
struct corpse {
    struct broker_queue *queue;
    const beck_event *event;
    const char *reason;
    beck_bytes exchange, routing_key; /* it is published with now */
    struct properties properties;
    struct buf raw, content, made;
    bool persistent;
    uint64_t note; /* of at-least-once; 0: no queue has it */
};

static void corpse_release(struct corpse *c)
{
    buf_release(&c->raw);
    buf_release(&c->content);
    buf_release(&c->made);
}

/* Its new properties. `content` is what it carried. */
static beck_status lay_out(struct corpse *c, const struct grave *g, beck_bytes content,
                           beck_error *err)
{
    struct clock *clock = c->queue->vhost->broker->handle->env.clock;
    beck_bytes raw, exchange, key;
    uint16_t marks = 0;
    beck_status status = BECK_OK;
    if (!message_carried(content, &exchange, &key, &raw, &marks)) {
        exchange = c->event->bus;
        key = c->event->type;
        status = message_of_event(c->event, c->queue->durable, &c->made);
        raw = buf_bytes(&c->made);
    } else {
        status = message_with_number(raw, (uint16_t)(marks & ~CARRIED_BCC), NULL, 0, &c->made);
        raw = buf_bytes(&c->made);
    }
    struct death d = {.queue = c->queue->name,
                      .reason = c->reason,
                      .exchange = exchange,
                      .routing_key = key,
                      .time_s = clock_wall_ms(clock) / 1000,
                      .died_before = (marks & CARRIED_DIED) != 0,
                      .new_key = g->has_key};
    if (!status)
        status = death_write(&c->raw, raw, &d, err);
    if (!status)
        status = properties_read(buf_bytes(&c->raw), &c->properties, err);
    if (status)
        return status;
    c->exchange = bytes_of(g->exchange, g->exchange_len);
    c->routing_key = g->has_key ? bytes_of(g->key, g->key_len) : key;
    c->persistent =
        c->properties.flags & PROPERTY_DELIVERY_MODE && c->properties.delivery_mode == 2;
    struct table_value v;
    bool bcc = c->properties.flags & PROPERTY_HEADERS &&
               table_find(c->properties.headers, "BCC", &v) && v.kind == TABLE_ARRAY;
    return message_carry(&c->content, c->exchange, c->routing_key, buf_bytes(&c->raw),
                         (uint16_t)(CARRIED_DIED | (bcc ? CARRIED_BCC : 0)));
}

static bool has_it(const struct corpse *c, const struct broker_queue *target)
{
    struct delivery_home *h = atomic_load(&c->queue->vhost->broker->delivery);
    return c->note && burial_has(h, c->queue, c->note, target);
}

/* Those that it would go round for ever do not get it, nor those that have it. With topology_lock. */
static void leave_out_cycles(void *ctx, struct targets *t)
{
    const struct corpse *c = ctx;
    size_t kept = 0, counts[3] = {t->durable_count, t->transient_count, t->stream_count};
    size_t ends[3] = {counts[0], counts[0] + counts[1], t->count};
    for (size_t i = 0; i < t->count; i++) {
        int kind = i < ends[0] ? 0 : i < ends[1] ? 1 : 2;
        if (death_is_cycle(&c->properties, c->reason, t->queues[i]->name) ||
            has_it(c, t->queues[i]))
            counts[kind]--;
        else
            t->queues[kept++] = t->queues[i];
    }
    t->count = kept;
    t->durable_count = counts[0];
    t->transient_count = counts[1];
    t->stream_count = counts[2];
}

/* NULL: nobody gets it, or (*status) no memory. */
static struct route *find_way(struct delivery_home *h, struct corpse *c, beck_status *status)
{
    struct broker *b = h->broker;
    struct targets scratch = {0};
    struct route *r = NULL;
    topology_read(b);
    struct exchange *x = topology_exchange(c->queue->vhost, c->exchange);
    if (x && !(r = route_new(h, x, c->routing_key, &c->properties, &scratch, leave_out_cycles, c)))
        *status = BECK_ENOMEM;
    topology_end_read(b);
    targets_release(&scratch);
    return r;
}

static beck_status ask_helper(struct delivery_home *h, const struct route *r, enum storage storage,
                              struct broker_queue *waiting, beck_error *err)
{
    for (size_t i = 0; i < r->engine_count; i++)
        helper_join(h, r->queues[i], storage == STORE_KEPT ? NULL : route_bus(h, r, storage),
                    storage == STORE_KEPT ? r->exchange : NULL, waiting);
    return error_set(err, BECK_EBUSY, "where it goes is not ready yet");
}

static beck_status send_off(struct delivery_home *h, struct corpse *c, const struct route *r,
                            beck_error *err)
{
    enum storage storage = route_storage(h, r, c->persistent);
    if (r->count == 0)
        return BECK_OK;
    if (storage != STORE_NOWHERE && !r->joined[storage])
        return ask_helper(h, r, storage, c->queue, err);
    beck_event e;
    message_to_event(c->exchange, c->routing_key, &c->properties, c->event->data, &e);
    e.type = r->type;
    beck_status status = BECK_OK;
    if (storage != STORE_NOWHERE)
        status = route_append(h, r, route_bus(h, r, storage), &e, buf_bytes(&c->content), err);
    if (!status)
        status = route_append_streams(r, &e, buf_bytes(&c->content), err);
    /* A queue that is full, or a bus that is gone: dropped, as RabbitMQ does. */
    return status == BECK_ELIMIT || status == BECK_ECLOSED || status == BECK_EINVAL ? BECK_OK
                                                                                    : status;
}

/* ---- at least once ---- */

static beck_status wait_in_queue(struct delivery_home *h, struct broker_queue *q, uint64_t *note,
                                 beck_error *err, beck_status status)
{
    *note = *note ? *note : BURIAL_NONE;
    if (status && !atomic_exchange(&q->burial_told, true))
        env_report(
            &h->broker->handle->env, status,
            "dead letters of queue '%.*s' wait in it (at-least-once): %s; they are tried again",
            TEXT_OF(q->name), err->text);
    return error_set(err, BECK_EBUSY, "it waits for its target");
}

/* Sends it where it has not been yet. */
static beck_status send_surely(struct delivery_home *h, struct corpse *c, const struct route *r,
                               uint64_t *note, beck_error *err)
{
    enum storage storage = route_storage(h, r, c->persistent);
    beck_event e;
    if (storage != STORE_NOWHERE && !r->joined[storage]) {
        beck_error ignored;
        ask_helper(h, r, storage, c->queue, &ignored);
        return wait_in_queue(h, c->queue, note, err, BECK_OK);
    }
    message_to_event(c->exchange, c->routing_key, &c->properties, c->event->data, &e);
    e.type = r->type;
    beck_status status =
        burial_send(h, c->queue, r, storage, &e, buf_bytes(&c->content), note, err);
    if (status)
        return wait_in_queue(h, c->queue, note, err, status);
    atomic_store(&c->queue->burial_told, false);
    return burial_look(h, c->queue, *note) == BURIAL_DONE
               ? BECK_OK
               : wait_in_queue(h, c->queue, note, err, BECK_OK);
}

static beck_status bury_surely(struct delivery_home *h, struct corpse *c, const struct grave *g,
                               beck_bytes content, uint64_t *note, beck_error *err)
{
    enum burial_state state = burial_look(h, c->queue, *note);
    if (state == BURIAL_DONE)
        return BECK_OK;
    if (state == BURIAL_WAITS)
        return wait_in_queue(h, c->queue, note, err, BECK_OK);
    c->note = state == BURIAL_PART ? *note : 0;
    beck_status status = lay_out(c, g, content, err);
    struct route *r = status ? NULL : find_way(h, c, &status);
    if (r && r->count > 0) {
        status = send_surely(h, c, r, note, err);
    } else if (!status && state != BURIAL_PART) {
        /* Those that refused it may be gone since; but where nobody has it, it stays. */
        helper_bury_again(h, c->queue, true);
        error_set(err, BECK_ENOENT, "exchange '%.*s' leads them to no queue", TEXT_OF(c->exchange));
        status = wait_in_queue(h, c->queue, note, err, BECK_ENOENT);
    }
    route_release(r);
    return status;
}

static beck_status bury_now(struct delivery_home *h, struct corpse *c, const struct grave *g,
                            beck_bytes content, beck_error *err)
{
    beck_status status = lay_out(c, g, content, err);
    struct route *r = status ? NULL : find_way(h, c, &status);
    if (r)
        status = send_off(h, c, r, err);
    route_release(r);
    return status;
}

/* note: of one that leaves its queue; NULL: it was never there. */
static beck_status bury_one(struct delivery_home *h, struct broker_queue *q, const struct grave *g,
                            const beck_event *e, beck_bytes content, const char *reason,
                            uint64_t *note, beck_error *err)
{
    struct corpse c = {.queue = q, .event = e, .reason = reason};
    buf_init(&c.raw, PROPERTIES_MAX);
    buf_init(&c.content, PROPERTIES_MAX);
    buf_init(&c.made, PROPERTIES_MAX);
    beck_status status = note && g->at_least_once ? bury_surely(h, &c, g, content, note, err)
                                                  : bury_now(h, &c, g, content, err);
    corpse_release(&c);
    /* What cannot be written as properties is dropped. */
    return status == BECK_EINVAL || status == BECK_ELIMIT ? BECK_OK : status;
}

beck_status bury(void *ctx, struct queue *engine, const beck_event *e, const struct carried *c,
                 const char *reason, uint32_t attempts, uint64_t *note, beck_error *err)
{
    struct broker_queue *q = ctx;
    struct delivery_home *h = atomic_load(&q->vhost->broker->delivery);
    struct grave g;
    (void)engine;
    (void)attempts;
    grave_of(q, &g);
    if (!g.has_exchange)
        return BECK_OK;
    if (!h)
        return error_set(err, BECK_EBUSY, "the broker is not open yet");
    if (strcmp(reason, "attempts") == 0)
        reason = "delivery_limit";
    return bury_one(h, q, &g, e, c ? c->content : (beck_bytes){0}, reason, note, err);
}

/* ---- what is refused ---- */

/* Where one goes may be decided by what it carries: then all whom it might reach are meant. */
static struct route *way_through(struct delivery_home *h, struct exchange *x, beck_bytes key,
                                 struct targets *scratch)
{
    struct route *way = route_new(h, x, key, NULL, scratch, NULL, NULL);
    if (!way || way->fixed)
        return way;
    route_release(way);
    scratch->any_message = true;
    way = route_new(h, x, key, NULL, scratch, NULL, NULL);
    scratch->any_message = false;
    return way;
}

/* With topology_lock. False: no memory. *out NULL: what it refuses goes nowhere. */
static bool way_of_refused(struct delivery_home *h, const struct broker_queue *q, beck_bytes key,
                           struct targets *scratch, struct route **out)
{
    const struct effective *e = q->effective;
    *out = NULL;
    if (e->overflow != OVERFLOW_REJECT_DEAD_LETTER || !e->has_dead_letter_exchange)
        return true;
    struct exchange *x = topology_exchange(q->vhost, e->dead_letter_exchange);
    if (!x)
        return true;
    *out = way_through(h, x, e->has_dead_letter_key ? e->dead_letter_key : key, scratch);
    return *out != NULL;
}

static bool is_ready(const struct delivery_home *h, const struct route *r, bool persistent)
{
    enum storage storage = route_storage(h, r, persistent);
    return r->count == 0 || storage == STORE_NOWHERE || r->joined[storage];
}

beck_status refusals_look(struct delivery_home *h, struct route *r)
{
    struct targets scratch = {0};
    bool memory = true;
    r->refusals[false] = r->refusals[true] = true;
    for (size_t i = 0; i < r->engine_count && memory; i++) {
        struct route *way;
        memory = way_of_refused(h, r->queues[i], r->key, &scratch, &way);
        for (int persistent = 0; persistent < 2 && way; persistent++)
            r->refusals[persistent] &= is_ready(h, way, persistent);
        route_release(way);
    }
    targets_release(&scratch);
    return memory ? BECK_OK : BECK_ENOMEM;
}

beck_status refusals_prepare(struct delivery_home *h, const struct route *r, bool persistent,
                             char *text)
{
    struct targets scratch = {0};
    beck_status status = BECK_OK;
    for (size_t i = 0; i < r->engine_count && !r->delays && !status; i++) {
        struct route *way;
        topology_read(h->broker);
        bool memory = way_of_refused(h, r->queues[i], r->key, &scratch, &way);
        topology_end_read(h->broker);
        if (!memory) {
            status = BECK_ENOMEM;
            broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory to route a message");
        } else if (way && !is_ready(h, way, persistent)) {
            status = route_prepare(h, way, route_storage(h, way, persistent), text);
        }
        route_release(way);
    }
    targets_release(&scratch);
    return status;
}

void bury_refused(struct delivery_home *h, struct broker_queue *q, const beck_event *e,
                  beck_bytes content)
{
    struct grave g;
    grave_of(q, &g);
    if (g.has_exchange && g.overflow == OVERFLOW_REJECT_DEAD_LETTER)
        bury_one(h, q, &g, e, content, "maxlen", NULL, NULL);
}
