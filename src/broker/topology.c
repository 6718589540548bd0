/*
 * The view of what was declared: vhosts, exchanges, queues, bindings; found by name, linked and unlinked. What
 * is durable about it is written down by those who declare.
 */
#include "broker/topology.h"

#include "broker/match.h"
#include "broker/policy.h"
#include "broker/recent.h"
#include "event/json.h"

#include <assert.h>
#include <stdlib.h>

/* ---- locks ---- */

void broker_begin_change(struct broker *b)
{
    mutex_lock(&b->change_lock);
}

void broker_end_change(struct broker *b)
{
    mutex_unlock(&b->change_lock);
}

void topology_read(struct broker *b)
{
    pthread_rwlock_rdlock(&b->topology_lock);
}

void topology_end_read(struct broker *b)
{
    pthread_rwlock_unlock(&b->topology_lock);
}

void topology_write(struct broker *b)
{
    assert(mutex_held(&b->change_lock));
    pthread_rwlock_wrlock(&b->topology_lock);
}

void topology_end_write(struct broker *b)
{
    atomic_fetch_add_explicit(&b->generation, 1, memory_order_acq_rel);
    pthread_rwlock_unlock(&b->topology_lock);
}

/* ---- bytes ---- */

bool bytes_keep(beck_bytes from, beck_bytes *out)
{
    char *copy = malloc(from.len + 1);
    if (!copy)
        return false;
    if (from.len > 0)
        memcpy(copy, from.data, from.len);
    copy[from.len] = 0;
    *out = bytes_of(copy, from.len);
    return true;
}

void bytes_drop(beck_bytes *b)
{
    free((void *)(uintptr_t)b->data);
    *b = (beck_bytes){0};
}

/* ---- vhosts ---- */

struct vhost *vhost_retain(struct vhost *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void vhost_release(struct vhost *v)
{
    if (!v || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
        return;
    lookup_release(&v->exchanges);
    lookup_release(&v->queues);
    policies_free(v->policies);
    bytes_drop(&v->name);
    bytes_drop(&v->metadata);
    free(v);
}

struct vhost *topology_vhost(const struct broker *b, beck_bytes name)
{
    struct lookup_node *n = lookup_first(&b->vhosts, lookup_hash(&b->vhosts, name));
    while (n && !bytes_equal(lookup_of(n, struct vhost, node)->name, name))
        n = lookup_again(n);
    return n ? lookup_of(n, struct vhost, node) : NULL;
}

static const struct predeclared {
    const char *name, *type;
    bool internal, only_root;
} predeclared[] = {
    {"", "direct", false, false},
    {"amq.direct", "direct", false, false},
    {"amq.fanout", "fanout", false, false},
    {"amq.topic", "topic", false, false},
    {"amq.headers", "headers", false, false},
    {"amq.match", "headers", false, false},
    {"amq.rabbitmq.trace", "topic", true, false},
    {"amq.rabbitmq.log", "topic", true, true},
};

static beck_status predeclare(struct vhost *v, const struct predeclared *p)
{
    struct exchange *x;
    char text[BROKER_TEXT];
    struct exchange_declaration d = {.name = beck_str(p->name),
                                     .type = beck_str(p->type),
                                     .durable = true,
                                     .internal = p->internal};
    if (exchange_new(v, &d, &x, text))
        return BECK_ENOMEM;
    x->predeclared = true;
    x->nameless = x->leads = !*p->name;
    beck_status status = exchange_link(x);
    if (!status && x->nameless)
        v->nameless = x;
    exchange_release(x);
    return status;
}

/* The member "default_queue_type" of an object. */
static enum queue_kind kind_by_metadata(beck_bytes metadata)
{
    struct json_reader r;
    struct json_token t;
    bool named = false;
    json_reader_init(&r, metadata);
    while (!json_next(&r, &t, NULL) && t.kind != JSON_END) {
        if (named && t.kind == JSON_STRING)
            return bytes_equal_text(t.raw, "quorum")   ? QUEUE_QUORUM
                   : bytes_equal_text(t.raw, "stream") ? QUEUE_STREAM
                                                       : QUEUE_CLASSIC;
        named = t.kind == JSON_NAME && bytes_equal_text(t.raw, "default_queue_type");
    }
    return QUEUE_CLASSIC;
}

bool vhost_describe(struct vhost *v, beck_bytes metadata)
{
    beck_bytes copy;
    if (!bytes_keep(metadata, &copy))
        return false;
    bytes_drop(&v->metadata);
    v->metadata = copy;
    v->default_kind = kind_by_metadata(copy);
    return true;
}

beck_status vhost_new(struct broker *b, beck_bytes name, beck_bytes metadata, struct vhost **out)
{
    struct vhost *v = calloc(1, sizeof *v);
    if (!v)
        return BECK_ENOMEM;
    atomic_init(&v->refs, 1);
    v->broker = b;
    v->queues_max = v->connections_max = -1;
    lookup_init(&v->exchanges);
    lookup_init(&v->queues);
    v->policies = policies_new();
    if (!v->policies || !bytes_keep(name, &v->name) || !vhost_describe(v, metadata)) {
        vhost_release(v);
        return BECK_ENOMEM;
    }
    *out = v;
    return BECK_OK;
}

/* The view's reference on the vhost is that of vhost_new. */
beck_status vhost_link(struct vhost *v)
{
    struct broker *b = v->broker;
    beck_status status = lookup_reserve(&b->vhosts);
    bool root = bytes_equal_text(v->name, "/");
    for (size_t i = 0; i < sizeof predeclared / sizeof *predeclared && !status; i++)
        if (root || !predeclared[i].only_root)
            status = predeclare(v, &predeclared[i]);
    if (!status)
        lookup_add(&b->vhosts, &v->node, lookup_hash(&b->vhosts, v->name));
    else
        while (v->exchanges.count > 0)
            exchange_unlink(lookup_of(lookup_walk(&v->exchanges, NULL), struct exchange, node));
    return status;
}

void vhost_unlink(struct vhost *v)
{
    assert(v->queues.count == 0);
    while (v->exchanges.count > 0)
        exchange_unlink(lookup_of(lookup_walk(&v->exchanges, NULL), struct exchange, node));
    lookup_remove(&v->broker->vhosts, &v->node);
    atomic_store(&v->gone, true);
    v->nameless = NULL;
    vhost_release(v);
}

/* ---- exchanges ---- */

struct exchange *exchange_retain(struct exchange *x)
{
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    return x;
}

void exchange_release(struct exchange *x)
{
    if (!x || atomic_fetch_sub_explicit(&x->refs, 1, memory_order_acq_rel) != 1)
        return;
    matcher_free(x->matcher);
    recent_free(x->recent);
    bytes_drop(&x->name);
    bytes_drop(&x->type);
    bytes_drop(&x->arguments);
    bytes_drop(&x->alternate);
    bytes_drop(&x->policy);
    bytes_drop(&x->operator_policy);
    vhost_release(x->vhost);
    free(x);
}

struct exchange *topology_exchange(const struct vhost *v, beck_bytes name)
{
    struct lookup_node *n = lookup_first(&v->exchanges, lookup_hash(&v->exchanges, name));
    while (n && !bytes_equal(lookup_of(n, struct exchange, node)->name, name))
        n = lookup_again(n);
    return n ? lookup_of(n, struct exchange, node) : NULL;
}

/* The type that decides who gets a message. */
static bool routing_type(const struct exchange_declaration *d, enum match_type *out)
{
    struct table_value v;
    if (!bytes_equal_text(d->type, "x-delayed-message"))
        return match_type_of(d->type, out);
    return table_find(d->arguments, "x-delayed-type", &v) && v.kind == TABLE_TEXT &&
           match_type_of(v.bytes, out);
}

int exchange_new(struct vhost *v, const struct exchange_declaration *d, struct exchange **out,
                 char *text)
{
    enum match_type type;
    if (!routing_type(d, &type))
        return bytes_equal_text(d->type, "x-delayed-message")
                   ? broker_refuse(text, REPLY_PRECONDITION_FAILED,
                                   "Invalid argument, 'x-delayed-type' must be an existing "
                                   "exchange type")
                   : broker_refuse(text, REPLY_PRECONDITION_FAILED, "unknown exchange type '%.*s'",
                                   TEXT(d->type));
    int code = arguments_check_exchange(v->name, d->name, d->arguments, text);
    if (!code)
        code = match_check_exchange(type, d->arguments, text);
    if (!code && recent_is_type(d->type))
        code = recent_check(d->arguments, text);
    if (code)
        return code;
    struct exchange *x = calloc(1, sizeof *x);
    if (!x)
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory");
    atomic_init(&x->refs, 1);
    x->vhost = vhost_retain(v);
    x->durable = d->durable;
    x->auto_delete = d->auto_delete;
    x->internal = d->internal;
    x->delayed = bytes_equal_text(d->type, "x-delayed-message");
    x->matcher = matcher_new(type, d->arguments);
    x->recent = recent_is_type(d->type) ? recent_new(d->arguments) : NULL;
    if (!x->matcher || (recent_is_type(d->type) && !x->recent) || !bytes_keep(d->name, &x->name) ||
        !bytes_keep(d->type, &x->type) || !bytes_keep(d->arguments, &x->arguments) ||
        policy_apply_exchange(x)) {
        exchange_release(x);
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory");
    }
    *out = x;
    return 0;
}

beck_status exchange_link(struct exchange *x)
{
    struct vhost *v = x->vhost;
    beck_status status = lookup_reserve(&v->exchanges);
    if (status)
        return status;
    lookup_add(&v->exchanges, &exchange_retain(x)->node, lookup_hash(&v->exchanges, x->name));
    v->broker->exchange_count++;
    return BECK_OK;
}

void exchange_unlink(struct exchange *x)
{
    assert(!x->bindings && !x->bound);
    lookup_remove(&x->vhost->exchanges, &x->node);
    x->vhost->broker->exchange_count--;
    atomic_store(&x->gone, true);
    exchange_release(x);
}

/* ---- queues ---- */

struct broker_queue *broker_queue_retain(struct broker_queue *q)
{
    atomic_fetch_add_explicit(&q->refs, 1, memory_order_relaxed);
    return q;
}

void broker_queue_release(struct broker_queue *q)
{
    if (!q || atomic_fetch_sub_explicit(&q->refs, 1, memory_order_acq_rel) != 1)
        return;
    delivery_queue_free(q);
    if (q->engine)
        queue_release(q->engine);
    effective_free(q->effective);
    free(q->joined);
    bytes_drop(&q->name);
    bytes_drop(&q->arguments);
    vhost_release(q->vhost);
    free(q);
}

struct broker_queue *topology_queue(const struct vhost *v, beck_bytes name)
{
    struct lookup_node *n = lookup_first(&v->queues, lookup_hash(&v->queues, name));
    while (n && !bytes_equal(lookup_of(n, struct broker_queue, node)->name, name))
        n = lookup_again(n);
    return n ? lookup_of(n, struct broker_queue, node) : NULL;
}

beck_status queue_new_view(struct vhost *v, beck_bytes name, beck_bytes arguments,
                           struct broker_queue **out)
{
    struct broker_queue *q = calloc(1, sizeof *q);
    if (!q)
        return BECK_ENOMEM;
    atomic_init(&q->refs, 1);
    q->vhost = vhost_retain(v);
    if (!bytes_keep(name, &q->name) || !bytes_keep(arguments, &q->arguments)) {
        broker_queue_release(q);
        return BECK_ENOMEM;
    }
    *out = q;
    return BECK_OK;
}

beck_status queue_link(struct broker_queue *q)
{
    struct vhost *v = q->vhost;
    beck_status status = lookup_reserve(&v->queues);
    if (status)
        return status;
    lookup_add(&v->queues, &broker_queue_retain(q)->node, lookup_hash(&v->queues, q->name));
    v->broker->queue_count++;
    return BECK_OK;
}

void queue_unlink(struct broker_queue *q)
{
    assert(!q->bound);
    lookup_remove(&q->vhost->queues, &q->node);
    q->vhost->broker->queue_count--;
    atomic_store(&q->gone, true);
    broker_queue_release(q);
}

/* ---- bindings ---- */

/* The same for tables that are equal by value, in whatever order. */
static uint64_t hash_arguments(beck_bytes arguments)
{
    struct table_value v;
    beck_bytes name;
    uint64_t sum = 0;
    for (size_t at = 0; table_next(arguments, &at, &name, &v);) {
        uint64_t value = 0;
        if (v.kind == TABLE_TEXT)
            value = bytes_hash(v.bytes.data, v.bytes.len, 1);
        else if (v.kind == TABLE_INTEGER || v.kind == TABLE_BOOL)
            value = (uint64_t)v.integer;
        sum += bytes_hash(name.data, name.len, value);
    }
    return sum;
}

static uint64_t hash_binding(const struct broker *b, const struct exchange *source,
                             const void *destination, beck_bytes key, beck_bytes arguments)
{
    uintptr_t ends[2] = {(uintptr_t)source, (uintptr_t)destination};
    uint64_t hash = bytes_hash(ends, sizeof ends, b->bindings.seed);
    hash = bytes_hash(key.data, key.len, hash);
    return hash ^ hash_arguments(arguments);
}

static const void *destination_of(const struct binding *binding)
{
    return binding->queue ? (const void *)binding->queue : binding->exchange;
}

static bool tables_equal(beck_bytes a, beck_bytes b)
{
    struct table_value x = {.kind = TABLE_TABLE, .letter = 'F', .bytes = a};
    struct table_value y = {.kind = TABLE_TABLE, .letter = 'F', .bytes = b};
    return table_value_equal(&x, &y);
}

struct binding *topology_find_binding(struct broker *b, const struct exchange *source,
                                      const void *destination, beck_bytes key, beck_bytes arguments)
{
    uint64_t hash = hash_binding(b, source, destination, key, arguments);
    for (struct lookup_node *n = lookup_first(&b->bindings, hash); n; n = lookup_again(n)) {
        struct binding *have = lookup_of(n, struct binding, node);
        if (have->source == source && destination_of(have) == destination &&
            bytes_equal(have->routing_key, key) && tables_equal(have->arguments, arguments))
            return have;
    }
    return NULL;
}

void binding_free(struct binding *binding)
{
    if (!binding)
        return;
    bytes_drop(&binding->routing_key);
    bytes_drop(&binding->arguments);
    free(binding);
}

/* It lives as long as both its ends are linked: it holds no references. */
beck_status binding_new(struct exchange *source, struct exchange *exchange,
                        struct broker_queue *queue, beck_bytes key, beck_bytes arguments,
                        struct binding **out)
{
    struct binding *binding = calloc(1, sizeof *binding);
    if (!binding)
        return BECK_ENOMEM;
    binding->source = source;
    binding->exchange = exchange;
    binding->queue = queue;
    binding->durable = source->durable && (queue ? queue->durable : exchange->durable);
    if (!bytes_keep(key, &binding->routing_key) || !bytes_keep(arguments, &binding->arguments)) {
        binding_free(binding);
        return BECK_ENOMEM;
    }
    *out = binding;
    return BECK_OK;
}

static void push(struct binding *binding, struct binding **source, struct binding **destination)
{
    binding->source_at = source;
    binding->source_next = *source;
    if (*source)
        (*source)->source_at = &binding->source_next;
    *source = binding;
    binding->destination_at = destination;
    binding->destination_next = *destination;
    if (*destination)
        (*destination)->destination_at = &binding->destination_next;
    *destination = binding;
}

beck_status binding_link(struct binding *binding)
{
    struct exchange *x = binding->source;
    struct broker *b = x->vhost->broker;
    char destination[2 + 255];
    beck_bytes name = binding->queue ? binding->queue->name : binding->exchange->name;
    destination[0] = binding->queue ? 'q' : 'e';
    destination[1] = '/';
    memcpy(destination + 2, name.data, name.len);
    beck_status status = lookup_reserve(&b->bindings);
    if (!status)
        status = matcher_add(x->matcher, binding, bytes_of(destination, 2 + name.len),
                             binding->routing_key, binding->arguments);
    if (status)
        return status;
    lookup_add(
        &b->bindings, &binding->node,
        hash_binding(b, x, destination_of(binding), binding->routing_key, binding->arguments));
    push(binding, &x->bindings,
         binding->queue ? &binding->queue->bound : &binding->exchange->bound);
    x->binding_count++;
    return BECK_OK;
}

void binding_unlink(struct binding *binding)
{
    struct exchange *x = binding->source;
    matcher_remove(x->matcher, binding, binding->routing_key, binding->arguments);
    lookup_remove(&x->vhost->broker->bindings, &binding->node);
    *binding->source_at = binding->source_next;
    if (binding->source_next)
        binding->source_next->source_at = binding->source_at;
    *binding->destination_at = binding->destination_next;
    if (binding->destination_next)
        binding->destination_next->destination_at = binding->destination_at;
    x->binding_count--;
}
