/* The broker's own buses, and the helper: see delivery.h. */
#include "broker/delivery.h"

#include "broker/burial.h"
#include "broker/dispatch.h"
#include "broker/policy.h"
#include "bus/own_bus.h"

#include <stdlib.h>

#define TRANSIENT_SEGMENT (16 << 20)
#define TRANSIENT_BYTES (64 << 20)
#define TRANSIENT_MS (10 * 60 * 1000)
#define MEMORY_BYTES (64 << 20) /* then the disk takes what comes */
#define LATER_NS 100000000
#define BURY_LATER_NS 1000000000

/* ---- the helper ---- */

struct chore {
    struct chore *next;
    struct broker_queue *queue;   /* to be joined; NULL: only `waiting` goes on */
    beck_bus *bus;                /* to this one, or */
    struct exchange *exchange;    /* to that of this one */
    struct broker_queue *waiting; /* what waits for it */
    int64_t due_ns;
};

static void chore_free(struct chore *c)
{
    if (c->queue)
        broker_queue_release(c->queue);
    if (c->exchange)
        exchange_release(c->exchange);
    if (c->waiting)
        broker_queue_release(c->waiting);
    free(c);
}

static void add_chore(struct delivery_home *h, struct broker_queue *q, beck_bus *bus,
                      struct exchange *x, struct broker_queue *waiting, int64_t due_ns)
{
    struct chore *c = NULL;
    mutex_lock(&h->lock);
    for (c = h->first; c; c = c->next)
        if (c->queue == q && c->bus == bus && c->exchange == x && c->waiting == waiting)
            break;
    if (c && c->due_ns > due_ns) {
        c->due_ns = due_ns;
        cond_signal(&h->wake);
    }
    if (!c && !h->stopping && (c = calloc(1, sizeof *c))) {
        c->queue = q ? broker_queue_retain(q) : NULL;
        c->bus = bus;
        c->exchange = x ? exchange_retain(x) : NULL;
        c->waiting = waiting ? broker_queue_retain(waiting) : NULL;
        c->due_ns = due_ns;
        *h->end = c;
        h->end = &c->next;
        cond_signal(&h->wake);
    }
    mutex_unlock(&h->lock);
}

void helper_join(struct delivery_home *h, struct broker_queue *q, beck_bus *bus, struct exchange *x,
                 struct broker_queue *waiting)
{
    add_chore(h, q, bus, x, waiting, 0);
}

/* The helper has it go on in a while. */
static void poke_later(struct delivery_home *h, struct broker_queue *q)
{
    add_chore(h, NULL, NULL, NULL, q, clock_mono_ns(h->broker->handle->env.clock) + LATER_NS);
}

void helper_bury_again(struct delivery_home *h, struct broker_queue *q, bool later)
{
    int64_t now_ns = later ? clock_mono_ns(h->broker->handle->env.clock) : 0;
    add_chore(h, NULL, NULL, NULL, q, later ? now_ns + BURY_LATER_NS : 0);
}

void helper_look(struct delivery_home *h)
{
    mutex_lock(&h->lock);
    h->delayed_due = true;
    cond_signal(&h->wake);
    mutex_unlock(&h->lock);
}

void helper_look_later(struct delivery_home *h)
{
    add_chore(h, NULL, NULL, NULL, NULL, clock_mono_ns(h->broker->handle->env.clock) + LATER_NS);
}

/* True: delayed messages are to be looked at. */
static bool do_chore(struct delivery_home *h, struct chore *c)
{
    bool look = !c->queue && !c->waiting;
    beck_bus *bus = c->exchange ? exchange_bus(c->exchange, NULL) : c->bus;
    bool joined = !c->queue || (bus && queue_join(c->queue, bus, NULL) == BECK_OK);
    if (c->waiting)
        queue_vanished(c->waiting->vhost, c->waiting->name);
    if (c->waiting && c->waiting->engine && !atomic_load(&c->waiting->gone)) {
        if (!joined || !queue_bury_again(c->waiting->engine))
            helper_bury_again(h, c->waiting, true);
        if (joined) /* else it would ask again at once */
            queue_tick(c->waiting->engine);
        dispatcher_poke(c->waiting->dispatcher);
    }
    chore_free(c);
    return look;
}

/* The first that is due, off the list; *next_ns: when another will be. With the lock. */
static struct chore *take_chore(struct delivery_home *h, int64_t *next_ns)
{
    int64_t now_ns = clock_mono_ns(h->broker->handle->env.clock);
    *next_ns = INT64_MAX;
    for (struct chore **at = &h->first; *at; at = &(*at)->next) {
        struct chore *c = *at;
        if (c->due_ns <= now_ns) {
            *at = c->next;
            if (h->end == &c->next)
                h->end = at;
            return c;
        }
        if (c->due_ns < *next_ns)
            *next_ns = c->due_ns;
    }
    return NULL;
}

static void *help(void *ctx)
{
    struct delivery_home *h = ctx;
    mutex_lock(&h->lock);
    while (!h->stopping) {
        int64_t next_ns;
        struct chore *c = take_chore(h, &next_ns);
        bool look = h->delayed_due;
        h->delayed_due = false;
        if (!c && !look) {
            if (next_ns == INT64_MAX)
                cond_wait(&h->wake, &h->lock);
            else
                cond_wait_until(&h->wake, &h->lock, h->broker->handle->env.clock, next_ns);
            continue;
        }
        mutex_unlock(&h->lock);
        if (c)
            look |= do_chore(h, c);
        bool more = look && delay_work(h);
        mutex_lock(&h->lock);
        h->delayed_due |= more;
    }
    mutex_unlock(&h->lock);
    return NULL;
}

static void stop_helper(struct delivery_home *h)
{
    mutex_lock(&h->lock);
    h->stopping = true;
    cond_signal(&h->wake);
    mutex_unlock(&h->lock);
    if (h->runs)
        pthread_join(h->helper, NULL);
    /* Parts of burials that end now still look through the list. */
    mutex_lock(&h->lock);
    struct chore *left = h->first;
    h->first = NULL;
    h->end = &h->first;
    mutex_unlock(&h->lock);
    while (left) {
        struct chore *c = left;
        left = c->next;
        chore_free(c);
    }
}

/* ---- the broker ---- */

/* As long as nobody can publish them. */
static beck_status bury_later(void *ctx, struct queue *engine, const beck_event *e,
                              const struct carried *c, const char *reason, uint32_t attempts,
                              uint64_t *note, beck_error *err)
{
    (void)ctx;
    (void)note;
    (void)engine;
    (void)e;
    (void)c;
    (void)reason;
    (void)attempts;
    return error_set(err, BECK_EBUSY, "the broker is closed");
}

static void leave_to_wait(struct broker_queue *q)
{
    if (q->engine && !q->foreign)
        queue_set_bury(q->engine, bury_later, NULL);
}

static beck_status open_memory(struct delivery_home *h, beck_error *err)
{
    struct broker *b = h->broker;
    bool disk = b->handle->data_dir != NULL;
    beck_bus_options memory = {.storage = BECK_STORAGE_MEMORY,
                               .retention_bytes = disk ? MEMORY_BYTES : 0,
                               .event_bytes_max = b->settings.message_max + (1u << 20)};
    beck_status status = handle_own_bus(b->handle, OWN_AMQP_MEMORY, &memory, &h->memory, err);
    if (!disk)
        h->transient = h->memory;
    return status;
}

static beck_bus_options disk_options(const struct delivery_home *h)
{
    return (beck_bus_options){.storage = BECK_STORAGE_DISK,
                              .level = BECK_LEVEL_WRITTEN,
                              .segment_bytes = TRANSIENT_SEGMENT,
                              .retention_bytes = TRANSIENT_BYTES,
                              .retention_ms = TRANSIENT_MS,
                              .event_bytes_max = h->broker->settings.message_max + (1u << 20)};
}

/* With change_lock, or before there are sessions. A server that nobody uses AMQP of has no such bus. */
static beck_status open_transient(struct delivery_home *h, beck_error *err)
{
    beck_bus_options options = disk_options(h);
    if (h->transient)
        return BECK_OK;
    return handle_own_bus(h->broker->handle, OWN_AMQP_TRANSIENT, &options, &h->transient, err);
}

beck_status past_bus(struct delivery_home *h, beck_bus **out, beck_error *err)
{
    beck_bus_options options = disk_options(h);
    *out = atomic_load(&h->past);
    if (!h->broker->handle->data_dir)
        *out = h->memory;
    if (*out)
        return BECK_OK;
    beck_status status = handle_own_bus(h->broker->handle, OWN_AMQP_PAST, &options, out, err);
    if (!status)
        atomic_store(&h->past, *out);
    return status;
}

/* A durable queue has kept them over the end of the process; RabbitMQ's would not. */
static beck_status forget_transient_of(const struct delivery_home *h, struct broker_queue *q,
                                       beck_error *err)
{
    struct queue_progress progress;
    int64_t end = partition_visible(bus_partition(h->transient, 0));
    beck_status status = queue_get_progress(q->engine, h->transient, &progress, 1, err);
    return status || progress.owed == 0 ? status
                                        : queue_bus_purged(q->engine, h->transient, &end, err);
}

static beck_status forget_transient(const struct delivery_home *h, beck_error *err)
{
    struct broker *b = h->broker;
    beck_status status = BECK_OK;
    for (struct lookup_node *v = lookup_walk(&b->vhosts, NULL); v; v = lookup_walk(&b->vhosts, v)) {
        const struct lookup *all = &lookup_of(v, struct vhost, node)->queues;
        for (struct lookup_node *n = lookup_walk(all, NULL); n && !status;
             n = lookup_walk(all, n)) {
            struct broker_queue *q = lookup_of(n, struct broker_queue, node);
            if (q->engine && q->durable)
                status = forget_transient_of(h, q, err);
        }
    }
    return status;
}

beck_status delivery_open(struct broker *b, beck_error *err)
{
    struct delivery_home *h = calloc(1, sizeof *h);
    if (!h)
        return error_set(err, BECK_ENOMEM, "no memory for deliveries");
    h->broker = b;
    h->end = &h->first;
    mutex_init(&h->lock);
    cond_init(&h->wake);
    cond_init(&h->quiet);
    beck_status status = open_memory(h, err);
    if (!status && b->queue_count > 0)
        status = open_transient(h, err);
    if (!status && h->transient && h->transient != h->memory)
        status = forget_transient(h, err);
    if (!status)
        status = replies_open(h, err);
    if (!status)
        status = delay_open(h, err);
    int failed = status ? 0 : pthread_create(&h->helper, NULL, help, h);
    h->runs = !status && !failed;
    atomic_store(&b->delivery, h);
    if (failed)
        status = error_errno(err, failed, "cannot start a thread of the broker");
    if (status)
        delivery_close(b);
    return status;
}

/* From now on dead letters stay in their queues. */
static void bury_no_more(struct broker *b)
{
    for (struct lookup_node *v = lookup_walk(&b->vhosts, NULL); v; v = lookup_walk(&b->vhosts, v)) {
        const struct lookup *all = &lookup_of(v, struct vhost, node)->queues;
        for (struct lookup_node *q = lookup_walk(all, NULL); q; q = lookup_walk(all, q))
            leave_to_wait(lookup_of(q, struct broker_queue, node));
    }
}

void delivery_close(struct broker *b)
{
    struct delivery_home *h = atomic_load(&b->delivery);
    if (!h)
        return;
    stop_helper(h);
    bury_no_more(b);
    burials_wait(h);
    atomic_store(&b->delivery, NULL);
    delay_close(h);
    replies_close(h);
    cond_release(&h->quiet);
    cond_release(&h->wake);
    mutex_release(&h->lock);
    free(h);
}

/* ---- queues ---- */

static void stalled(void *ctx, struct dispatcher *d)
{
    struct broker_queue *q = ctx;
    (void)d;
    struct delivery_home *h = atomic_load(&q->vhost->broker->delivery);
    if (h)
        poke_later(h, q);
}

beck_status delivery_queue_open(struct broker_queue *q, beck_error *err)
{
    struct delivery_home *h = atomic_load(&q->vhost->broker->delivery);
    beck_status status = h ? open_transient(h, err) : BECK_OK; /* else delivery_open does */
    if (status)
        return status;
    if (q->kind == QUEUE_STREAM)
        return stream_open(q, err);
    struct dispatcher_options o = {.queue = q->engine,
                                   .owner = q,
                                   .single_active = q->effective->single_active,
                                   .durable = q->durable,
                                   .counts = q->kind == QUEUE_QUORUM,
                                   .stalled = stalled,
                                   .ctx = q};
    status = dispatcher_new(&o, &q->dispatcher, err);
    if (!status && q->foreign)
        queue_hold(q->engine, false);
    else if (!status)
        queue_set_bury(q->engine, bury, q);
    if (!status)
        delivery_queue_changed(q);
    return status;
}

void delivery_queue_changed(struct broker_queue *q)
{
    const struct effective *e = q->effective;
    if (!q->dispatcher || q->kind != QUEUE_QUORUM)
        return;
    struct return_delay delay = {e->retry_min_ms, e->retry_max_ms};
    struct dispatch_delays delays = {0};
    if (e->retry == RETRY_ALL || e->retry == RETRY_FAILED)
        delays.failed = delay;
    if (e->retry == RETRY_ALL || e->retry == RETRY_RETURNED)
        delays.returned = delay;
    dispatcher_delay(q->dispatcher, &delays);
}

void delivery_queue_gone(struct broker_queue *q)
{
    if (q->dispatcher)
        dispatcher_end(q->dispatcher);
    if (q->stream)
        stream_end(q->stream);
    leave_to_wait(q);
}

void delivery_queue_free(struct broker_queue *q)
{
    leave_to_wait(q);
    dispatcher_free(q->dispatcher);
    stream_free(q->stream);
    burials_free(q);
    q->dispatcher = NULL;
    q->stream = NULL;
}

uint32_t delivery_consumers(struct broker_queue *q)
{
    return q->stream       ? stream_subscribers(q->stream)
           : q->dispatcher ? dispatcher_subscribers(q->dispatcher)
                           : 0;
}

int64_t delivery_unacked(struct broker_queue *q)
{
    return q->dispatcher ? dispatcher_unacked(q->dispatcher) : 0;
}

bool delivery_chosen(struct broker_queue *q, char *tag, size_t size, size_t *len, bool *single)
{
    return q->dispatcher && dispatcher_chosen(q->dispatcher, tag, size, len, single);
}
