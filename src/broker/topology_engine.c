/*
 * The engine's side of what is declared: queues of the engine, buses of exchanges, and those that were made by
 * other means.
 *
 * A durable exchange gets a bus of its name when it is first needed; a record says that it is the broker's. When
 * the exchange is deleted the bus stays, marked as left, until no queue has anything of it. Exchanges that are
 * not durable share a bus. A bus or a queue without a record, with a legal name, was made by other means.
 */
#include "broker/topology.h"

#include "broker/missed.h"
#include "broker/names.h"
#include "broker/policy.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define SHARED_BUS "amq.volatile"
#define STREAM_SEGMENT 500000000
#define STREAM_SEGMENT_MIN (64 << 10)

static bool has_disk(const struct broker *b)
{
    return b->handle->data_dir != NULL;
}

/* ---- queues ---- */

/* In "/" as they are called; streams have a bus, which must not meet that of an exchange. */
static void name_of_kind(beck_bytes vhost, beck_bytes name, enum queue_kind kind,
                         char out[ENGINE_NAME])
{
    char of_streams[300];
    if (kind != QUEUE_STREAM) {
        engine_name(vhost, name, out);
        return;
    }
    int len = snprintf(of_streams, sizeof of_streams, "stream:%.*s", TEXT(vhost));
    engine_name(bytes_of(of_streams, (size_t)len), name, out);
}

static void name_in_engine(const struct broker_queue *q, char out[ENGINE_NAME])
{
    name_of_kind(q->vhost->name, q->name, q->kind, out);
}

static int64_t stream_segment(const struct effective *e)
{
    int64_t bytes = e->segment_bytes > 0 ? e->segment_bytes : STREAM_SEGMENT;
    return bytes < STREAM_SEGMENT_MIN ? STREAM_SEGMENT_MIN : bytes < INT32_MAX ? bytes : INT32_MAX;
}

static beck_status open_stream(struct broker_queue *q, const char *name, beck_error *err)
{
    struct broker *b = q->vhost->broker;
    const struct effective *e = q->effective;
    beck_bus_options o = {.storage = has_disk(b) ? BECK_STORAGE_DISK : BECK_STORAGE_MEMORY,
                          .retention_ms = e->max_age_ms > 0 ? e->max_age_ms : 0,
                          .retention_bytes = e->bytes_max > 0 ? e->bytes_max : 0,
                          .segment_bytes = stream_segment(e),
                          .event_bytes_max = b->settings.message_max + (1u << 20)};
    beck_status status = beck_bus_get(b->handle, name, &q->bus, NULL);
    return status == BECK_ENOENT ? handle_make_bus(b->handle, name, &o, &q->bus, err) : status;
}

beck_status engine_open_queue(struct broker_queue *q, bool later, beck_error *err)
{
    struct broker *b = q->vhost->broker;
    char name[ENGINE_NAME];
    beck_queue_options o = {.storage =
                                q->durable && has_disk(b) ? BECK_STORAGE_DISK : BECK_STORAGE_MEMORY,
                            .attempts_max = 65535,
                            .backoff = {.kind = BECK_BACKOFF_NONE},
                            .deadline_ms = -1,
                            .no_dead_letters = true,
                            .priority_max = q->effective->priority_max};
    name_in_engine(q, name);
    if (q->kind == QUEUE_STREAM)
        return open_stream(q, name, err);
    /* One that has other options is used as it is. */
    beck_status status = later ? handle_create_queue(b->handle, name, &o, err)
                               : beck_queue_create(b->handle, name, &o, err);
    if (status && status != BECK_EEXIST)
        return status;
    status = handle_get_queue(b->handle, name, &q->engine, err);
    if (!status)
        q->number = queue_number(q->engine);
    return status;
}

static beck_status delete_in_engine(struct broker *b, const char *name, enum queue_kind kind,
                                    beck_error *err)
{
    beck_status status = kind == QUEUE_STREAM ? beck_bus_delete(b->handle, name, err)
                                              : beck_queue_delete(b->handle, name, err);
    return status == BECK_ENOENT ? BECK_OK : status;
}

beck_status engine_delete_queue(struct broker_queue *q, beck_error *err)
{
    char name[ENGINE_NAME];
    name_in_engine(q, name);
    return delete_in_engine(q->vhost->broker, name, q->kind, err);
}

/* A queue whose record says that it is deleted, and which the engine has still. */
static beck_status finish_deletion(struct broker *b, const struct kept *k, beck_error *err)
{
    enum queue_kind kind = QUEUE_CLASSIC;
    char name[ENGINE_NAME], text[BROKER_TEXT];
    struct record r;
    arguments_queue_kind(kept_text(k, "vhost"), kept_text(k, "name"), kept_text(k, "arguments"),
                         &kind, text);
    name_of_kind(kept_text(k, "vhost"), kept_text(k, "name"), kind, name);
    beck_status status = delete_in_engine(b, name, kind, err);
    if (status)
        return status;
    record_of_subject(&r, k->kind, k->subject);
    r.gone = true;
    status = broker_keep(b, &r, err);
    record_release(&r);
    return status;
}

/* With change_lock, so what is found stays; records of buses move meanwhile. */
static const struct kept *find_deleted(const struct vhost *v, beck_bytes name)
{
    beck_bytes parts[] = {v->name, name};
    struct record r;
    record_init(&r, RECORD_QUEUE, parts, 2);
    topology_read(v->broker);
    const struct kept *k = kept_find(&v->broker->kept, bytes_of(r.subject, r.subject_len));
    topology_end_read(v->broker);
    record_release(&r);
    return k;
}

beck_status engine_finish_deletion(struct vhost *v, beck_bytes name, beck_error *err)
{
    const struct kept *k = find_deleted(v, name);
    return k ? finish_deletion(v->broker, k, err) : BECK_OK;
}

void engine_finish_deletions(struct broker *b)
{
    size_t count;
    beck_error why;
    const struct kept **list = kept_list(&b->kept, RECORD_QUEUE, &count);
    for (size_t i = 0; list && i < count; i++) {
        beck_status status = finish_deletion(b, list[i], &why);
        if (status)
            env_report(&b->handle->env, status, "what is left of a deleted queue goes later: %s",
                       why.text);
    }
    free(list);
}

/* Whether the engine still has it: others may have deleted it. */
static bool is_alive(const struct broker_queue *q)
{
    char name[ENGINE_NAME];
    if (q->kind == QUEUE_STREAM)
        return !atomic_load(&q->bus->closed);
    name_in_engine(q, name);
    struct queue *have;
    if (!handle_get_queue(q->vhost->broker->handle, name, &have, NULL))
        queue_release(have);
    return have == q->engine;
}

/* ---- joining ---- */

bool queue_is_joined(const struct broker_queue *q, const beck_bus *bus)
{
    for (size_t i = 0; i < q->joined_count; i++)
        if (q->joined[i] == bus)
            return true;
    return false;
}

static beck_status note_joined(struct broker_queue *q, beck_bus *bus)
{
    if (queue_is_joined(q, bus))
        return BECK_OK;
    beck_bus **grown = realloc(q->joined, (q->joined_count + 1) * sizeof(beck_bus *));
    if (!grown)
        return BECK_ENOMEM;
    q->joined = grown;
    q->joined[q->joined_count++] = bus;
    return BECK_OK;
}

beck_status queue_join(struct broker_queue *q, beck_bus *bus, beck_error *err)
{
    struct broker *b = q->vhost->broker;
    if (!q->engine)
        return error_set(err, BECK_EUNSUPPORTED, "a stream has a bus of its own");
    if (atomic_load(&q->gone))
        return error_set(err, BECK_ENOENT, "the queue was deleted");
    /* The engine writes down that there is the queue: so it must be sure that it was declared. */
    beck_status status =
        q->durable && !queue_number_is_kept(q->engine) ? broker_sync(b, err) : BECK_OK;
    if (!status)
        status = handle_join(b->handle, q->engine, bus, err);
    if (status)
        return status;
    pthread_rwlock_wrlock(&b->topology_lock);
    status = note_joined(q, bus);
    pthread_rwlock_unlock(&b->topology_lock);
    return status ? error_set(err, status, "no memory for a source of a queue") : BECK_OK;
}

static void forget_joined(struct broker_queue *q, const beck_bus *bus)
{
    for (size_t i = 0; i < q->joined_count; i++)
        if (q->joined[i] == bus)
            q->joined[i] = q->joined[--q->joined_count];
}

/* ---- buses ---- */

static bool shares_bus(const struct exchange *x)
{
    return !x->durable;
}

static void bus_name_of(const struct exchange *x, char out[ENGINE_NAME])
{
    if (shares_bus(x))
        snprintf(out, ENGINE_NAME, SHARED_BUS);
    else
        engine_name(x->vhost->name, x->nameless ? beck_str("amq.default") : x->name, out);
}

static void bus_record_init(struct record *r, const char *name, bool left)
{
    beck_bytes part = beck_str(name);
    record_init(r, RECORD_BUS, &part, 1);
    record_text(r, "name", part);
    record_flag(r, "left", left);
}

static beck_status put_bus_record(struct broker *b, const char *name, bool left, bool gone,
                                  beck_error *err)
{
    struct record r;
    bus_record_init(&r, name, left);
    r.gone = gone;
    beck_status status = broker_keep(b, &r, err);
    record_release(&r);
    return status;
}

/* 0: not the broker's; 1: in use; 2: left by its exchange. */
static int bus_standing(struct broker *b, const char *name)
{
    struct record r;
    bus_record_init(&r, name, false);
    pthread_rwlock_rdlock(&b->topology_lock);
    const struct kept *k = kept_find(&b->kept, bytes_of(r.subject, r.subject_len));
    int standing = !k ? 0 : kept_flag(k, "left") ? 2 : 1;
    pthread_rwlock_unlock(&b->topology_lock);
    record_release(&r);
    return standing;
}

static beck_status make_bus(struct exchange *x, const char *name, beck_bus **out, beck_error *err)
{
    struct broker *b = x->vhost->broker;
    beck_bus_options o = {.storage = has_disk(b) ? BECK_STORAGE_DISK : BECK_STORAGE_MEMORY,
                          .retention_ms = b->settings.retention_ms,
                          .retention_bytes = b->settings.retention_bytes,
                          .event_bytes_max = b->settings.message_max + (1u << 20)};
    beck_status status = BECK_OK;
    if (!x->foreign && bus_standing(b, name) != 1)
        status = put_bus_record(b, name, false, false, err);
    if (!status && beck_bus_get(b->handle, name, out, NULL))
        status = handle_make_bus(b->handle, name, &o, out, err);
    return status;
}

/* With engine_lock. */
static beck_status open_bus(struct exchange *x, beck_error *err)
{
    char name[ENGINE_NAME];
    beck_bus *bus;
    if (atomic_load(&x->gone))
        return error_set(err, BECK_ENOENT, "the exchange was deleted");
    bus_name_of(x, name);
    beck_status status = make_bus(x, name, &bus, err);
    if (!status && !shares_bus(x))
        status = engine_watch(x, bus, err);
    if (!status)
        atomic_store_explicit(&x->bus, bus, memory_order_release);
    return status;
}

beck_bus *exchange_bus(struct exchange *x, char *text)
{
    beck_bus *bus = atomic_load_explicit(&x->bus, memory_order_acquire);
    beck_error err;
    if (bus)
        return bus;
    mutex_lock(&x->vhost->broker->engine_lock);
    beck_status status =
        broker_sync(x->vhost->broker, &err); /* it was declared before it has a bus */
    if (!status)
        status = atomic_load(&x->bus) ? BECK_OK : open_bus(x, &err);
    mutex_unlock(&x->vhost->broker->engine_lock);
    if (!status)
        return atomic_load(&x->bus);
    if (text)
        broker_refuse(text, REPLY_INTERNAL_ERROR, "no bus for exchange '%.*s' in vhost '%.*s': %s",
                      TEXT(x->name), TEXT(x->vhost->name), err.text);
    return NULL;
}

/* ---- buses that are left ---- */

static bool holds_nothing(const struct broker_queue *q)
{
    beck_queue_info info;
    queue_info(q->engine, &info);
    return info.ready == 0 && info.in_flight == 0 && info.delayed == 0;
}

static void part_queue(struct broker_queue *q, beck_bus *bus)
{
    struct broker *b = q->vhost->broker;
    if (!q->engine || !queue_is_bound_to(q->engine, bus) || !holds_nothing(q))
        return;
    if (handle_part(b->handle, q->engine, bus, NULL))
        return;
    topology_write(b);
    forget_joined(q, bus);
    topology_end_write(b);
}

static void part_all(struct broker *b, beck_bus *bus)
{
    for (struct lookup_node *v = lookup_walk(&b->vhosts, NULL); v; v = lookup_walk(&b->vhosts, v)) {
        const struct lookup *queues = &lookup_of(v, struct vhost, node)->queues;
        for (struct lookup_node *q = lookup_walk(queues, NULL); q; q = lookup_walk(queues, q))
            part_queue(lookup_of(q, struct broker_queue, node), bus);
    }
}

/* With change_lock and engine_lock. */
static bool sweep_bus(struct broker *b, const char *name)
{
    beck_bus *bus;
    beck_status status = beck_bus_get(b->handle, name, &bus, NULL);
    if (!status) {
        part_all(b, bus);
        status = beck_bus_delete(b->handle, name, NULL);
    }
    if (!status || status == BECK_ENOENT)
        return !put_bus_record(b, name, true, true, NULL);
    return false;
}

bool engine_sweep_buses(struct broker *b)
{
    size_t count;
    bool left = false;
    assert(mutex_held(&b->change_lock));
    mutex_lock(&b->engine_lock);
    const struct kept **list = kept_list(&b->kept, RECORD_BUS, &count);
    for (size_t i = 0; list && i < count; i++) {
        char name[ENGINE_NAME];
        if (!kept_flag(list[i], "left"))
            continue;
        snprintf(name, sizeof name, "%.*s", TEXT(kept_text(list[i], "name")));
        left |= !sweep_bus(b, name);
    }
    free(list);
    mutex_unlock(&b->engine_lock);
    return left;
}

void engine_leave_bus(struct exchange *x)
{
    struct broker *b = x->vhost->broker;
    char name[ENGINE_NAME];
    bus_name_of(x, name);
    if (shares_bus(x) || x->foreign)
        return;
    mutex_lock(&b->engine_lock);
    beck_bus *bus = atomic_load(&x->bus);
    if (bus)
        bus_set_router(bus, NULL, NULL, NULL);
    bool left = bus_standing(b, name) == 1 && !put_bus_record(b, name, true, false, NULL);
    mutex_unlock(&b->engine_lock);
    if (left && engine_sweep_buses(b))
        broker_wake(b, 0);
}

/* ---- opening ---- */

static bool is_root(const struct vhost *v)
{
    return bytes_equal_text(v->name, "/");
}

static bool is_free(beck_bytes name, char out[ENGINE_NAME])
{
    if (name.len == 0 || name.len >= ENGINE_NAME)
        return false;
    memcpy(out, name.data, name.len);
    out[name.len] = 0;
    return strlen(out) == name.len && engine_name_is_free(out);
}

static bool may_adopt(const struct broker *b, const beck_bus *bus)
{
    return !bus->special && !atomic_load(&((beck_bus *)(uintptr_t)bus)->closed) &&
           (bus->options.storage == BECK_STORAGE_DISK || !has_disk(b));
}

/* Whether a bus that others made is that of the exchange. */
static bool may_share(const struct exchange *x, const beck_bus *bus)
{
    char name[ENGINE_NAME];
    return x->durable && !x->nameless && is_root(x->vhost) && is_free(x->name, name) &&
           may_adopt(x->vhost->broker, bus);
}

/* NULL: it has none yet. */
static beck_bus *bus_to_load(struct exchange *x)
{
    char name[ENGINE_NAME];
    beck_bus *bus = atomic_load(&x->bus);
    if (bus)
        return bus;
    bus_name_of(x, name);
    int standing = bus_standing(x->vhost->broker, name);
    if (standing == 2 || beck_bus_get(x->vhost->broker->handle, name, &bus, NULL) ||
        (standing == 0 && !may_share(x, bus)))
        return NULL;
    return bus;
}

static beck_status load_bus(struct exchange *x, beck_error *err)
{
    if (shares_bus(x))
        return BECK_OK;
    beck_bus *bus = bus_to_load(x);
    x->leads = x->nameless || x->bindings || x->alternate.len > 0;
    beck_status status = bus ? engine_watch(x, bus, err) : BECK_OK;
    if (!status && x->leads && !x->nameless && !missed_is_seen(x))
        status = missed_begin(x, bus, err);
    if (!status && bus)
        atomic_store(&x->bus, bus);
    return status;
}

beck_status engine_load_buses(struct broker *b, beck_error *err)
{
    beck_status status = BECK_OK;
    mutex_lock(&b->engine_lock);
    for (struct lookup_node *v = lookup_walk(&b->vhosts, NULL); v && !status;
         v = lookup_walk(&b->vhosts, v)) {
        const struct lookup *all = &lookup_of(v, struct vhost, node)->exchanges;
        for (struct lookup_node *x = lookup_walk(all, NULL); x && !status; x = lookup_walk(all, x))
            status = load_bus(lookup_of(x, struct exchange, node), err);
    }
    mutex_unlock(&b->engine_lock);
    return status;
}

/* Others made a bus: an exchange that is called so takes it for its own. */
static void bus_was_made(void *ctx, beck_bus *bus)
{
    struct broker *b = ctx;
    topology_read(b);
    const struct vhost *root = topology_vhost(b, beck_str("/"));
    struct exchange *x = root ? topology_exchange(root, bytes_of(bus->name, bus->name_len)) : NULL;
    if (x)
        exchange_retain(x);
    topology_end_read(b);
    if (!x)
        return;
    mutex_lock(&b->engine_lock);
    if (!atomic_load(&x->bus) && !atomic_load(&x->gone) && may_share(x, bus) &&
        engine_watch(x, bus, NULL) == BECK_OK)
        atomic_store(&x->bus, bus);
    mutex_unlock(&b->engine_lock);
    exchange_release(x);
}

void engine_listen(struct broker *b, bool listen)
{
    handle_tell_made(b->handle, listen ? bus_was_made : NULL, b);
}

/* ---- what others made ---- */

static struct exchange *adopt_bus(struct vhost *v, beck_bus *bus)
{
    struct exchange *x;
    struct exchange_declaration d = {
        .name = bytes_of(bus->name, bus->name_len), .type = beck_str("topic"), .durable = true};
    char text[BROKER_TEXT];
    if (exchange_new(v, &d, &x, text))
        return NULL;
    x->foreign = true;
    atomic_store(&x->bus, bus);
    mutex_lock(&v->broker->engine_lock);
    beck_status status = engine_watch(x, bus, NULL);
    mutex_unlock(&v->broker->engine_lock);
    if (!status) {
        topology_write(v->broker);
        status = exchange_link(x);
        topology_end_write(v->broker);
    }
    exchange_release(x);
    return status ? NULL : x;
}

struct exchange *engine_adopt_exchange(struct vhost *v, beck_bytes name)
{
    struct exchange *x = topology_exchange(v, name);
    char text[ENGINE_NAME];
    beck_bus *bus;
    if (x && x->foreign && atomic_load(&x->bus->closed)) {
        exchange_delete(x, NULL);
        x = NULL;
    }
    if (x || !is_root(v) || !is_free(name, text) || bus_standing(v->broker, text) != 0 ||
        beck_bus_get(v->broker->handle, text, &bus, NULL) || !may_adopt(v->broker, bus))
        return x;
    x = adopt_bus(v, bus);
    /* A policy may have given it an alternate exchange. */
    beck_error why;
    if (x && x->alternate.len > 0 && engine_lead(x, &why))
        env_report(&v->broker->handle->env, why.code,
                   "what is published to bus \"%s\" is not routed: %s", bus->name, why.text);
    return x;
}

static struct broker_queue *adopt_queue(struct vhost *v, struct queue *engine)
{
    struct broker_queue *q;
    beck_queue_info info;
    if (queue_new_view(v, beck_str(queue_name(engine)), (beck_bytes){0}, &q))
        return NULL;
    queue_info(engine, &info);
    q->foreign = true;
    q->durable = info.options.storage == BECK_STORAGE_DISK || !has_disk(v->broker);
    q->engine = queue_retain(engine);
    q->number = queue_number(engine);
    queue_used(q);
    beck_status status = policy_apply_queue(q);
    if (!status)
        status = delivery_queue_open(q, NULL);
    if (!status) {
        topology_write(v->broker);
        status = queue_link(q);
        topology_end_write(v->broker);
        if (status)
            delivery_queue_gone(q);
    }
    broker_queue_release(q);
    return status ? NULL : q;
}

struct broker_queue *engine_adopt_queue(struct vhost *v, beck_bytes name)
{
    struct broker_queue *q = topology_queue(v, name);
    char text[ENGINE_NAME];
    if (q && !is_alive(q)) {
        queue_delete_all(q, NULL);
        q = NULL;
    }
    if (q || !is_root(v) || !is_free(name, text) || engine_finish_deletion(v, name, NULL))
        return q;
    struct queue *engine;
    if (!handle_get_queue(v->broker->handle, text, &engine, NULL)) {
        q = adopt_queue(v, engine);
        queue_release(engine);
    }
    return q;
}

static int by_name(const void *key, const void *item)
{
    return strcmp(key, queue_name(*(struct queue *const *)item));
}

/* Queues of ours that the engine does not have any more. */
static struct broker_queue *find_vanished(struct vhost *v, const struct handle_view *view)
{
    char name[ENGINE_NAME];
    for (struct lookup_node *n = lookup_walk(&v->queues, NULL); n; n = lookup_walk(&v->queues, n)) {
        struct broker_queue *q = lookup_of(n, struct broker_queue, node);
        name_in_engine(q, name);
        struct queue *const *have =
            view->queue_count > 0
                ? bsearch(name, view->queues, view->queue_count, sizeof(struct queue *), by_name)
                : NULL;
        if (q->engine && (!have || *have != q->engine))
            return q;
    }
    return NULL;
}

static void adopt_view(struct vhost *root, const struct handle_view *view)
{
    char text[ENGINE_NAME];
    struct broker_queue *q;
    while ((q = find_vanished(root, view)) != NULL)
        if (queue_delete_all(q, NULL))
            break;
    for (size_t i = 0; i < view->queue_count; i++) {
        beck_bytes name = beck_str(queue_name(view->queues[i]));
        if (is_free(name, text) && !topology_queue(root, name) && !find_deleted(root, name))
            adopt_queue(root, view->queues[i]);
    }
    for (size_t i = 0; i < view->bus_count; i++) {
        beck_bus *bus = view->buses[i];
        beck_bytes name = bytes_of(bus->name, bus->name_len);
        if (is_free(name, text) && may_adopt(root->broker, bus) && !topology_exchange(root, name) &&
            bus_standing(root->broker, text) == 0)
            adopt_bus(root, bus);
    }
}

void engine_adopt_all(struct broker *b)
{
    struct vhost *root = topology_vhost(b, beck_str("/"));
    struct handle_view view;
    if (!root || handle_view_take(b->handle, &view, NULL))
        return;
    adopt_view(root, &view);
    handle_view_release(&view);
}

struct exchange *exchange_adopt(struct vhost *v, beck_bytes name)
{
    broker_begin_change(v->broker);
    struct exchange *x = engine_adopt_exchange(v, name);
    if (x)
        exchange_retain(x);
    broker_end_change(v->broker);
    return x;
}

struct broker_queue *queue_adopt(struct vhost *v, beck_bytes name)
{
    broker_begin_change(v->broker);
    struct broker_queue *q = engine_adopt_queue(v, name);
    if (q)
        broker_queue_retain(q);
    broker_end_change(v->broker);
    return q;
}

void queue_vanished(struct vhost *v, beck_bytes name)
{
    broker_begin_change(v->broker);
    struct broker_queue *q = topology_queue(v, name);
    if (q && !is_alive(q))
        queue_delete_all(q, NULL);
    broker_end_change(v->broker);
}
