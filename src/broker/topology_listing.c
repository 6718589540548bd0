/*
 * What there is, shown to administrators: see listing.h. What is to be shown is collected and sorted with
 * topology_lock held for reading, retained or copied; `each` is called without it.
 */
#include "broker/topology.h"

#include "base/siphash.h"
#include "broker/listing.h"

#include <stdlib.h>

#define NS_PER_MS 1000000
#define COPY_MAX (64u << 20)

static bool is_wanted(beck_bytes wanted, beck_bytes name)
{
    return !wanted.data || bytes_equal(wanted, name);
}

static int by_names(beck_bytes vhost_a, beck_bytes a, beck_bytes vhost_b, beck_bytes b)
{
    int order = bytes_compare(vhost_a, vhost_b);
    return order ? order : bytes_compare(a, b);
}

/* ---- vhosts ---- */

static int vhosts_in_order(const void *a, const void *b)
{
    const struct vhost *const *x = a, *const *y = b;
    return bytes_compare((*x)->name, (*y)->name);
}

static struct vhost **collect_vhosts(struct broker *b, beck_bytes name, size_t *count)
{
    *count = 0;
    topology_read(b);
    struct vhost **list = malloc((b->vhosts.count + 1) * sizeof(struct vhost *));
    for (struct lookup_node *n = lookup_walk(&b->vhosts, NULL); n && list;
         n = lookup_walk(&b->vhosts, n)) {
        struct vhost *v = lookup_of(n, struct vhost, node);
        if (is_wanted(name, v->name))
            list[(*count)++] = vhost_retain(v);
    }
    topology_end_read(b);
    if (list)
        qsort(list, *count, sizeof(struct vhost *), vhosts_in_order);
    return list;
}

static int64_t count_messages(struct vhost *v, int64_t *unacked)
{
    int64_t ready = 0;
    *unacked = 0;
    for (struct lookup_node *n = lookup_walk(&v->queues, NULL); n; n = lookup_walk(&v->queues, n)) {
        struct broker_queue *q = lookup_of(n, struct broker_queue, node);
        ready += queue_length(q);
        *unacked += delivery_unacked(q);
    }
    return ready;
}

static int show_vhost(struct vhost *v, int (*each)(void *ctx, const struct vhost_view *v),
                      void *ctx)
{
    struct vhost_view view = {.name = v->name};
    beck_bytes metadata = {0};
    topology_read(v->broker);
    view.queues = (int64_t)v->queues.count;
    view.exchanges = (int64_t)v->exchanges.count;
    view.queues_max = v->queues_max;
    view.connections_max = v->connections_max;
    view.ready = count_messages(v, &view.unacked);
    bool copied = bytes_keep(v->metadata.len > 0 ? v->metadata : beck_str("{}"), &metadata);
    topology_end_read(v->broker);
    view.metadata = copied ? metadata : beck_str("{}");
    int end = each(ctx, &view);
    bytes_drop(&metadata);
    return end;
}

int64_t broker_each_vhost(struct broker *b, beck_bytes name,
                          int (*each)(void *ctx, const struct vhost_view *v), void *ctx)
{
    size_t count;
    int64_t shown = 0;
    bool end = false;
    struct vhost **list = collect_vhosts(b, name, &count);
    if (!list)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (!end) {
            end = show_vhost(list[i], each, ctx);
            shown++;
        }
        vhost_release(list[i]);
    }
    free(list);
    return shown;
}

/* ---- exchanges ---- */

static int exchanges_in_order(const void *a, const void *b)
{
    const struct exchange *const *x = a, *const *y = b;
    return by_names((*x)->vhost->name, (*x)->name, (*y)->vhost->name, (*y)->name);
}

static void add_exchanges(const struct vhost *v, beck_bytes name, struct exchange **list,
                          size_t *count)
{
    for (struct lookup_node *n = lookup_walk(&v->exchanges, NULL); n;
         n = lookup_walk(&v->exchanges, n)) {
        struct exchange *x = lookup_of(n, struct exchange, node);
        if (is_wanted(name, x->name))
            list[(*count)++] = exchange_retain(x);
    }
}

static struct exchange **collect_exchanges(struct broker *b, beck_bytes vhost, beck_bytes name,
                                           size_t *count)
{
    *count = 0;
    topology_read(b);
    struct exchange **list = malloc((b->exchange_count + 1) * sizeof(struct exchange *));
    for (struct lookup_node *n = lookup_walk(&b->vhosts, NULL); n && list;
         n = lookup_walk(&b->vhosts, n)) {
        const struct vhost *v = lookup_of(n, struct vhost, node);
        if (is_wanted(vhost, v->name))
            add_exchanges(v, name, list, count);
    }
    topology_end_read(b);
    if (list)
        qsort(list, *count, sizeof(struct exchange *), exchanges_in_order);
    return list;
}

static int show_exchange(struct exchange *x, int (*each)(void *ctx, const struct exchange_view *v),
                         void *ctx)
{
    beck_bus *bus = atomic_load(&x->bus);
    beck_bytes policy = {0}, operator_policy = {0};
    struct exchange_view view = {.vhost = x->vhost->name,
                                 .name = x->name,
                                 .type = x->type,
                                 .durable = x->durable,
                                 .auto_delete = x->auto_delete,
                                 .internal = x->internal,
                                 .arguments = x->arguments,
                                 .published_in = atomic_load(&x->published_in),
                                 .published_out = atomic_load(&x->published_out)};
    if (bus)
        view.bus = bytes_of(bus->name, bus->name_len);
    topology_read(x->vhost->broker);
    view.bindings = x->binding_count;
    if (bytes_keep(x->policy, &policy))
        view.policy = policy;
    if (bytes_keep(x->operator_policy, &operator_policy))
        view.operator_policy = operator_policy;
    topology_end_read(x->vhost->broker);
    int end = each(ctx, &view);
    bytes_drop(&policy);
    bytes_drop(&operator_policy);
    return end;
}

static void adopt(struct broker *b)
{
    broker_begin_change(b);
    engine_adopt_all(b);
    broker_end_change(b);
}

int64_t broker_each_exchange(struct broker *b, beck_bytes vhost, beck_bytes name,
                             int (*each)(void *ctx, const struct exchange_view *v), void *ctx)
{
    size_t count;
    int64_t shown = 0;
    bool end = false;
    adopt(b);
    struct exchange **list = collect_exchanges(b, vhost, name, &count);
    if (!list)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (!end) {
            end = show_exchange(list[i], each, ctx);
            shown++;
        }
        exchange_release(list[i]);
    }
    free(list);
    return shown;
}

/* ---- queues ---- */

static int queues_in_order(const void *a, const void *b)
{
    const struct broker_queue *const *x = a, *const *y = b;
    return by_names((*x)->vhost->name, (*x)->name, (*y)->vhost->name, (*y)->name);
}

static void add_queues(const struct vhost *v, beck_bytes name, struct broker_queue **list,
                       size_t *count)
{
    for (struct lookup_node *n = lookup_walk(&v->queues, NULL); n; n = lookup_walk(&v->queues, n)) {
        struct broker_queue *q = lookup_of(n, struct broker_queue, node);
        if (is_wanted(name, q->name))
            list[(*count)++] = broker_queue_retain(q);
    }
}

static struct broker_queue **collect_queues(struct broker *b, beck_bytes vhost, beck_bytes name,
                                            size_t *count)
{
    *count = 0;
    topology_read(b);
    struct broker_queue **list = malloc((b->queue_count + 1) * sizeof(struct broker_queue *));
    for (struct lookup_node *n = lookup_walk(&b->vhosts, NULL); n && list;
         n = lookup_walk(&b->vhosts, n)) {
        const struct vhost *v = lookup_of(n, struct vhost, node);
        if (is_wanted(vhost, v->name))
            add_queues(v, name, list, count);
    }
    topology_end_read(b);
    if (list)
        qsort(list, *count, sizeof(struct broker_queue *), queues_in_order);
    return list;
}

static void count_queue(struct broker_queue *q, struct queue_view *view)
{
    view->ready = queue_length(q);
    view->unacked = delivery_unacked(q);
    view->consumers = delivery_consumers(q);
    for (int i = 0; i < QUEUE_COUNTS; i++)
        view->counts[i] = atomic_load_explicit(&q->counts[i], memory_order_relaxed);
    if (view->consumers == 0)
        view->idle_ms =
            (clock_mono_ns(q->vhost->broker->handle->env.clock) - atomic_load(&q->used_ns)) /
            NS_PER_MS;
    if (!q->engine) {
        view->engine = bytes_of(q->bus->name, q->bus->name_len);
        return;
    }
    beck_queue_info info;
    queue_info(q->engine, &info);
    view->engine = beck_str(queue_name(q->engine));
    view->ready_bytes = queue_ready_bytes(q->engine);
    view->delivered = info.delivered;
    view->settled = info.settled;
    view->returned = info.retried;
    view->rejected = info.rejected;
    view->expired = info.expired;
    view->dropped = info.dropped;
}

static size_t count_bindings(const struct broker_queue *q)
{
    size_t count = 1; /* the default exchange's */
    for (const struct binding *n = q->bound; n; n = n->destination_next)
        count++;
    return count;
}

static int show_queue(struct broker_queue *q, int (*each)(void *ctx, const struct queue_view *v),
                      void *ctx)
{
    beck_bytes policy = {0}, operator_policy = {0}, json = {0};
    struct queue_view view = {.vhost = q->vhost->name,
                              .name = q->name,
                              .type = queue_kind_name(q->kind),
                              .durable = q->durable,
                              .exclusive = q->exclusive,
                              .auto_delete = q->auto_delete,
                              .arguments = q->arguments,
                              .effective_policy = beck_str("{}"),
                              .state = "running",
                              .owner = q->owner};
    char tag[256];
    size_t tag_len;
    bool single;
    count_queue(q, &view);
    if (delivery_chosen(q, tag, sizeof tag, &tag_len, &single))
        *(single ? &view.single_active_tag : &view.exclusive_tag) = bytes_of(tag, tag_len);
    topology_read(q->vhost->broker);
    view.bindings = count_bindings(q);
    if (bytes_keep(q->effective->policy, &policy))
        view.policy = policy;
    if (bytes_keep(q->effective->operator_policy, &operator_policy))
        view.operator_policy = operator_policy;
    if (bytes_keep(q->effective->policy_json, &json))
        view.effective_policy = json;
    topology_end_read(q->vhost->broker);
    int end = each(ctx, &view);
    bytes_drop(&policy);
    bytes_drop(&operator_policy);
    bytes_drop(&json);
    return end;
}

int64_t broker_each_queue(struct broker *b, beck_bytes vhost, beck_bytes name,
                          int (*each)(void *ctx, const struct queue_view *v), void *ctx)
{
    size_t count;
    int64_t shown = 0;
    bool end = false;
    adopt(b);
    struct broker_queue **list = collect_queues(b, vhost, name, &count);
    if (!list)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (!end && !atomic_load(&list[i]->gone)) {
            end = show_queue(list[i], each, ctx);
            shown++;
        }
        broker_queue_release(list[i]);
    }
    free(list);
    return shown;
}

/* ---- bindings ---- */

/* RabbitMQ's quote_plus, with "~" quoted as well. */
static beck_status quote(beck_bytes text, struct buf *out)
{
    beck_status status = BECK_OK;
    const uint8_t *bytes = text.data;
    for (size_t i = 0; i < text.len && !status; i++) {
        uint8_t c = bytes[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            c == '.' || c == '-' || c == '_')
            status = buf_append_byte(out, c);
        else
            status = c == ' ' ? buf_append_byte(out, '+') : buf_printf(out, "%%%02X", c);
    }
    return status;
}

beck_status broker_properties_key(beck_bytes routing_key, beck_bytes arguments, struct buf *out)
{
    static const uint64_t seed[2] = {0x70726f7065727469ull, 0x65735f6b65790000ull};
    uint64_t digest[2];
    if (routing_key.len == 0 && arguments.len == 0)
        return buf_append_text(out, "~");
    beck_status status = quote(routing_key, out);
    if (status || arguments.len == 0)
        return status;
    siphash(seed, arguments, digest);
    return buf_printf(out, "~%016llx%016llx", (unsigned long long)digest[0],
                      (unsigned long long)digest[1]);
}

/* What is to be shown, as places in one buffer. */
struct span {
    size_t at, len;
};
struct binding_copy {
    struct span vhost, source, destination, key, arguments, properties;
    bool to_exchange;
};
struct binding_list {
    struct buf memory;
    struct binding_copy *items;
    size_t count, cap;
    const struct binding_filter *filter;
    bool failed;
};

static struct span copy(struct binding_list *l, beck_bytes from)
{
    struct span s = {l->memory.len, from.len};
    l->failed |= buf_append(&l->memory, from.data, from.len) != BECK_OK;
    return s;
}

static void add_binding(struct binding_list *l, beck_bytes vhost, beck_bytes source,
                        beck_bytes destination, bool to_exchange, beck_bytes key,
                        beck_bytes arguments)
{
    const struct binding_filter *f = l->filter;
    if (l->failed || !is_wanted(f->source, source) || !is_wanted(f->destination, destination) ||
        (f->only_queues && to_exchange) || (f->only_exchanges && !to_exchange))
        return;
    if (l->count == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        struct binding_copy *grown = realloc(l->items, cap * sizeof *grown);
        l->failed |= !grown;
        if (!grown)
            return;
        l->items = grown;
        l->cap = cap;
    }
    struct binding_copy *c = &l->items[l->count++];
    *c = (struct binding_copy){.to_exchange = to_exchange};
    c->vhost = copy(l, vhost);
    c->source = copy(l, source);
    c->destination = copy(l, destination);
    c->key = copy(l, key);
    c->arguments = copy(l, arguments);
    c->properties.at = l->memory.len;
    l->failed |= broker_properties_key(key, arguments, &l->memory) != BECK_OK;
    c->properties.len = l->memory.len - c->properties.at;
}

static void add_vhost_bindings(struct binding_list *l, const struct vhost *v)
{
    for (struct lookup_node *n = lookup_walk(&v->queues, NULL); n; n = lookup_walk(&v->queues, n)) {
        const struct broker_queue *q = lookup_of(n, struct broker_queue, node);
        add_binding(l, v->name, beck_str(""), q->name, false, q->name, (beck_bytes){0});
    }
    for (struct lookup_node *n = lookup_walk(&v->exchanges, NULL); n;
         n = lookup_walk(&v->exchanges, n))
        for (const struct binding *m = lookup_of(n, struct exchange, node)->bindings; m;
             m = m->source_next)
            add_binding(l, v->name, m->source->name, m->queue ? m->queue->name : m->exchange->name,
                        !m->queue, m->routing_key, m->arguments);
}

static beck_bytes bytes_at(const struct binding_list *l, struct span s)
{
    return bytes_of(l->memory.data + s.at, s.len);
}

static int bindings_in_order(const void *a, const void *b, void *ctx)
{
    const struct binding_copy *x = a, *y = b;
    const struct binding_list *l = ctx;
    int order = by_names(bytes_at(l, x->vhost), bytes_at(l, x->source), bytes_at(l, y->vhost),
                         bytes_at(l, y->source));
    return order ? order
                 : by_names(bytes_at(l, x->destination), bytes_at(l, x->properties),
                            bytes_at(l, y->destination), bytes_at(l, y->properties));
}

static void collect_bindings(struct broker *b, struct binding_list *l)
{
    topology_read(b);
    for (struct lookup_node *n = lookup_walk(&b->vhosts, NULL); n; n = lookup_walk(&b->vhosts, n)) {
        const struct vhost *v = lookup_of(n, struct vhost, node);
        if (is_wanted(l->filter->vhost, v->name))
            add_vhost_bindings(l, v);
    }
    topology_end_read(b);
    if (!l->failed && l->count > 0)
        qsort_r(l->items, l->count, sizeof *l->items, bindings_in_order, l);
}

int64_t broker_each_binding(struct broker *b, const struct binding_filter *filter,
                            int (*each)(void *ctx, const struct binding_view *v), void *ctx)
{
    struct binding_list l = {.filter = filter};
    int64_t shown = 0;
    bool end = false;
    buf_init(&l.memory, COPY_MAX);
    collect_bindings(b, &l);
    for (size_t i = 0; i < l.count && !end && !l.failed; i++, shown++) {
        const struct binding_copy *c = &l.items[i];
        struct binding_view view = {.vhost = bytes_at(&l, c->vhost),
                                    .source = bytes_at(&l, c->source),
                                    .destination = bytes_at(&l, c->destination),
                                    .to_exchange = c->to_exchange,
                                    .routing_key = bytes_at(&l, c->key),
                                    .arguments = bytes_at(&l, c->arguments),
                                    .properties_key = bytes_at(&l, c->properties)};
        end = each(ctx, &view);
    }
    bool failed = l.failed;
    buf_release(&l.memory);
    free(l.items);
    return failed ? -1 : shown;
}

/* ---- what administrators put ---- */

/* Copies of the records of a kind. */
static struct kept **copy_kept(struct broker *b, enum record_kind kind, size_t *count)
{
    topology_read(b);
    size_t all;
    const struct kept **list = kept_list(&b->kept, kind, &all);
    struct kept **copies = calloc(all + 1, sizeof(struct kept *));
    *count = 0;
    for (size_t i = 0; list && copies && i < all; i++)
        if ((copies[*count] = kept_new(kind, list[i]->subject, list[i]->data)) != NULL)
            (*count)++;
    topology_end_read(b);
    free(list);
    return copies;
}

/* Those whose two fields are as wanted. */
static int64_t show_kept(struct broker *b, enum record_kind kind, const char *const fields[2],
                         const beck_bytes wanted[2], int (*show)(void *ctx, const struct kept *k),
                         void *ctx)
{
    size_t count;
    int64_t shown = 0;
    bool end = false;
    struct kept **list = copy_kept(b, kind, &count);
    if (!list)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (!end && is_wanted(wanted[0], kept_text(list[i], fields[0])) &&
            is_wanted(wanted[1], kept_text(list[i], fields[1]))) {
            end = show(ctx, list[i]);
            shown++;
        }
        free(list[i]);
    }
    free(list);
    return shown;
}

struct permission_shower {
    int (*each)(void *ctx, const struct permission_view *v);
    void *ctx;
};

static int show_permission(void *ctx, const struct kept *k)
{
    struct permission_shower *s = ctx;
    struct permission_view v = {kept_text(k, "vhost"), kept_text(k, "user"),
                                kept_text(k, "configure"), kept_text(k, "write"),
                                kept_text(k, "read")};
    return s->each(s->ctx, &v);
}

static const char *const by_vhost_user[] = {"vhost", "user"};
static const char *const by_vhost_name[] = {"vhost", "name"};
static const char *const by_of_name[] = {"of", "name"};

int64_t broker_each_permission(struct broker *b, beck_bytes vhost, beck_bytes user,
                               int (*each)(void *ctx, const struct permission_view *v), void *ctx)
{
    struct permission_shower s = {each, ctx};
    beck_bytes wanted[] = {vhost, user};
    return show_kept(b, RECORD_PERMISSION, by_vhost_user, wanted, show_permission, &s);
}

struct topic_shower {
    int (*each)(void *ctx, const struct topic_permission_view *v);
    void *ctx;
};

static int show_topic(void *ctx, const struct kept *k)
{
    struct topic_shower *s = ctx;
    struct topic_permission_view v = {kept_text(k, "vhost"), kept_text(k, "user"),
                                      kept_text(k, "exchange"), kept_text(k, "write"),
                                      kept_text(k, "read")};
    return s->each(s->ctx, &v);
}

int64_t broker_each_topic_permission(struct broker *b, beck_bytes vhost, beck_bytes user,
                                     int (*each)(void *ctx, const struct topic_permission_view *v),
                                     void *ctx)
{
    struct topic_shower s = {each, ctx};
    beck_bytes wanted[] = {vhost, user};
    return show_kept(b, RECORD_TOPIC_PERMISSION, by_vhost_user, wanted, show_topic, &s);
}

struct policy_shower {
    int (*each)(void *ctx, const struct policy_view *v);
    void *ctx;
};

static int show_policy(void *ctx, const struct kept *k)
{
    struct policy_shower *s = ctx;
    struct policy_text p = policy_of_record(k);
    struct policy_view v = {kept_text(k, "vhost"), p.name, p.pattern, p.apply_to, p.priority,
                            p.definition};
    return s->each(s->ctx, &v);
}

int64_t broker_each_policy(struct broker *b, bool user, beck_bytes vhost, beck_bytes name,
                           int (*each)(void *ctx, const struct policy_view *v), void *ctx)
{
    struct policy_shower s = {each, ctx};
    beck_bytes wanted[] = {vhost, name};
    return show_kept(b, user ? RECORD_POLICY : RECORD_OPERATOR_POLICY, by_vhost_name, wanted,
                     show_policy, &s);
}

struct parameter_shower {
    int (*each)(void *ctx, const struct parameter_view *v);
    void *ctx;
    beck_bytes component;
    bool global;
    int64_t shown;
};

static int show_parameter(void *ctx, const struct kept *k)
{
    struct parameter_shower *s = ctx;
    struct parameter_view v = {kept_text(k, "component"), kept_text(k, "vhost"),
                               kept_text(k, "name"), kept_text(k, "value")};
    if (s->global != (v.component.len == 0) ||
        (!s->global && !is_wanted(s->component, v.component)))
        return 0;
    s->shown++;
    return s->each(s->ctx, &v);
}

int64_t broker_each_parameter(struct broker *b, bool global, beck_bytes component, beck_bytes vhost,
                              beck_bytes name,
                              int (*each)(void *ctx, const struct parameter_view *v), void *ctx)
{
    struct parameter_shower s = {
        .each = each, .ctx = ctx, .component = component, .global = global};
    beck_bytes wanted[] = {global ? (beck_bytes){0} : vhost, name};
    int64_t looked = show_kept(b, RECORD_PARAMETER, by_vhost_name, wanted, show_parameter, &s);
    return looked < 0 ? looked : s.shown;
}

struct limit_shower {
    int (*each)(void *ctx, const struct limit_view *v);
    void *ctx;
};

static int show_limit(void *ctx, const struct kept *k)
{
    struct limit_shower *s = ctx;
    struct limit_view v = {kept_text(k, "of"), kept_text(k, "name"), kept_number(k, "value")};
    return s->each(s->ctx, &v);
}

int64_t broker_each_vhost_limit(struct broker *b, beck_bytes vhost,
                                int (*each)(void *ctx, const struct limit_view *v), void *ctx)
{
    struct limit_shower s = {each, ctx};
    beck_bytes wanted[] = {vhost, {0}};
    return show_kept(b, RECORD_VHOST_LIMIT, by_of_name, wanted, show_limit, &s);
}

int64_t broker_each_user_limit(struct broker *b, beck_bytes user,
                               int (*each)(void *ctx, const struct limit_view *v), void *ctx)
{
    struct limit_shower s = {each, ctx};
    beck_bytes wanted[] = {user, {0}};
    return show_kept(b, RECORD_USER_LIMIT, by_of_name, wanted, show_limit, &s);
}
