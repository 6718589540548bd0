/*
 * The broker as a whole: opened from what was declared, looked after by a thread of its own, closed.
 *
 * Opening reads all records, and makes the view of them in this order: virtual hosts, policies, exchanges,
 * queues, those that others made, bindings. A binding of which an end is missing was about to be deleted. A queue
 * whose record says that it is deleted goes now, or is kept for another try.
 */
#include "broker/topology.h"

#include "broker/match.h"
#include "broker/missed.h"
#include "broker/policy.h"
#include "bus/own_bus.h"

#include <stdlib.h>

#define SEGMENT_BYTES (4 << 20)
#define RETENTION_MS (7 * 24 * 3600 * 1000ll)
#define RETENTION_BYTES (1ll << 30)
#define MESSAGE_MAX (16u << 20)
#define QUEUES_MAX 100000
#define EXCHANGES_MAX 10000
#define SWEEP_NS 60000000000ll

/* ---- what is kept ---- */

beck_status broker_note(struct broker *b, const struct record *r, beck_error *err)
{
    beck_bytes subject = bytes_of(r->subject, r->subject_len);
    struct kept *k = r->gone ? NULL : kept_new(r->kind, subject, buf_bytes(&r->data));
    beck_status status = k || r->gone ? BECK_OK : BECK_ENOMEM;
    pthread_rwlock_wrlock(&b->topology_lock);
    if (!status)
        status = kept_put(&b->kept, subject, k);
    pthread_rwlock_unlock(&b->topology_lock);
    if (!status)
        return BECK_OK;
    free(k);
    return error_set(err, status, "no memory for what was put");
}

/* The bus of records. With change_lock or engine_lock, or before there are sessions: whoever comes second finds
 * the same. */
static beck_status open_records(struct broker *b, beck_error *err)
{
    beck_bus_options o = {.segment_bytes = SEGMENT_BYTES,
                          .event_bytes_max = 2 * RECORD_DATA_MAX,
                          .level = BECK_LEVEL_SYNCED};
    if (b->records || !b->handle->data_dir)
        return BECK_OK;
    beck_bus *bus;
    beck_status status = handle_own_bus(b->handle, OWN_AMQP, &o, &bus, err);
    if (!status)
        b->records = bus;
    return status;
}

beck_status broker_write(struct broker *b, struct record *const *records, size_t count,
                         beck_error *err)
{
    beck_status status = open_records(b, err);
    return status ? status : records_put(b->records, records, count, BECK_LEVEL_SYNCED, err);
}

beck_status broker_write_later(struct broker *b, struct record *r, beck_error *err)
{
    struct record *list[] = {r};
    beck_status status = open_records(b, err);
    return status ? status : records_put(b->records, list, 1, BECK_LEVEL_WRITTEN, err);
}

beck_status broker_sync(struct broker *b, beck_error *err)
{
    beck_bus *records = atomic_load(&b->records);
    return records ? partition_sync(bus_partition(records, 0), err) : BECK_OK;
}

beck_status broker_keep(struct broker *b, struct record *r, beck_error *err)
{
    struct record *list[] = {r};
    beck_status status = broker_write(b, list, 1, err);
    return status ? status : broker_note(b, r, err);
}

/* ---- reading what was declared ---- */

typedef beck_status (*load_fn)(struct broker *b, const struct kept *k, beck_error *err);

static struct vhost *vhost_of(struct broker *b, const struct kept *k)
{
    return topology_vhost(b, kept_text(k, "vhost"));
}

static beck_status no_memory(beck_error *err)
{
    return error_set(err, BECK_ENOMEM, "no memory for what was declared");
}

static beck_status add_vhost(struct broker *b, beck_bytes name, beck_bytes metadata,
                             beck_error *err)
{
    struct vhost *v;
    if (topology_vhost(b, name))
        return BECK_OK;
    if (vhost_new(b, name, metadata, &v))
        return no_memory(err);
    topology_write(b);
    beck_status status = vhost_link(v);
    topology_end_write(b);
    if (!status)
        return BECK_OK;
    vhost_release(v);
    return no_memory(err);
}

static beck_status load_vhost(struct broker *b, const struct kept *k, beck_error *err)
{
    return add_vhost(b, kept_text(k, "vhost"), kept_text(k, "metadata"), err);
}

static beck_status load_limit(struct broker *b, const struct kept *k, beck_error *err)
{
    (void)err;
    struct vhost *v = topology_vhost(b, kept_text(k, "of"));
    if (v && bytes_equal_text(kept_text(k, "name"), "max-queues"))
        v->queues_max = kept_number(k, "value");
    if (v && bytes_equal_text(kept_text(k, "name"), "max-connections"))
        v->connections_max = kept_number(k, "value");
    return BECK_OK;
}

struct policy_text policy_of_record(const struct kept *k)
{
    return (struct policy_text){.name = kept_text(k, "name"),
                                .pattern = kept_text(k, "pattern"),
                                .apply_to = kept_text(k, "apply-to"),
                                .priority = kept_number(k, "priority"),
                                .definition = kept_text(k, "definition")};
}

static beck_status load_policy(struct broker *b, const struct kept *k, beck_error *err)
{
    struct vhost *v = vhost_of(b, k);
    struct policy_text p = policy_of_record(k);
    return v ? policies_put(v->policies, k->kind == RECORD_POLICY, &p, err) : BECK_OK;
}

static bool is_table(beck_bytes table)
{
    return !table_check(table, NULL);
}

static beck_status load_exchange(struct broker *b, const struct kept *k, beck_error *err)
{
    struct vhost *v = vhost_of(b, k);
    struct exchange *x;
    char text[BROKER_TEXT];
    struct exchange_declaration d = {.name = kept_text(k, "name"),
                                     .type = kept_text(k, "type"),
                                     .durable = true,
                                     .auto_delete = kept_flag(k, "auto_delete"),
                                     .internal = kept_flag(k, "internal"),
                                     .arguments = kept_text(k, "arguments")};
    if (!v || topology_exchange(v, d.name))
        return BECK_OK;
    if (!is_table(d.arguments) || exchange_new(v, &d, &x, text))
        return error_set(err, BECK_ECORRUPT, "the record of exchange \"%.*s\" cannot be used",
                         TEXT(d.name));
    topology_write(b);
    beck_status status = exchange_link(x);
    topology_end_write(b);
    exchange_release(x);
    return status ? no_memory(err) : BECK_OK;
}

static beck_status load_queue(struct broker *b, const struct kept *k, beck_error *err)
{
    struct vhost *v = vhost_of(b, k);
    struct broker_queue *q;
    char text[BROKER_TEXT];
    beck_bytes name = kept_text(k, "name"), arguments = kept_text(k, "arguments");
    if (!v || topology_queue(v, name) || kept_flag(k, "deleted"))
        return BECK_OK;
    if (queue_new_view(v, name, arguments, &q))
        return no_memory(err);
    q->durable = true;
    q->auto_delete = kept_flag(k, "auto_delete");
    queue_used(q);
    beck_status status = BECK_OK;
    if (!is_table(arguments) || arguments_queue_kind(v->name, name, arguments, &q->kind, text))
        status = error_set(err, BECK_ECORRUPT, "the record of queue \"%.*s\" cannot be used",
                           TEXT(name));
    else if (policy_apply_queue(q))
        status = no_memory(err);
    else
        status = queue_begin(q, false, err);
    broker_queue_release(q);
    return status;
}

static beck_status load_binding(struct broker *b, const struct kept *k, beck_error *err)
{
    struct vhost *v = vhost_of(b, k);
    struct binding *binding;
    beck_bytes to = kept_text(k, "destination"), arguments = kept_text(k, "arguments");
    bool to_exchange = kept_flag(k, "to_exchange");
    struct exchange *source = v ? topology_exchange(v, kept_text(k, "source")) : NULL;
    struct exchange *exchange = source && to_exchange ? topology_exchange(v, to) : NULL;
    struct broker_queue *queue = source && !to_exchange ? topology_queue(v, to) : NULL;
    if (!source || (!exchange && !queue))
        return BECK_OK;
    if (!is_table(arguments))
        return error_set(err, BECK_ECORRUPT, "the record of a binding of \"%.*s\" cannot be used",
                         TEXT(source->name));
    if (binding_new(source, exchange, queue, kept_text(k, "key"), arguments, &binding))
        return no_memory(err);
    topology_write(b);
    beck_status status = binding_link(binding);
    topology_end_write(b);
    if (!status)
        return BECK_OK;
    binding_free(binding);
    return no_memory(err);
}

/* Those that the view has from now on are not kept as records besides. */
static beck_status load_kind(struct broker *b, enum record_kind kind, load_fn load, bool keep,
                             beck_error *err)
{
    size_t count;
    const struct kept **list = kept_list(&b->kept, kind, &count);
    if (!list)
        return no_memory(err);
    beck_status status = BECK_OK;
    for (size_t i = 0; i < count && !status; i++)
        status = load(b, list[i], err);
    for (size_t i = 0; i < count && !keep; i++) {
        if (kept_flag(list[i], "deleted"))
            continue;
        lookup_remove(&b->kept, (struct lookup_node *)(uintptr_t)&list[i]->node);
        free((void *)(uintptr_t)list[i]);
    }
    free(list);
    return status;
}

static beck_status load_all(struct broker *b, beck_error *err)
{
    static const struct {
        enum record_kind kind;
        load_fn load;
        bool keep;
    } steps[] = {
        {RECORD_VHOST, load_vhost, false},       {RECORD_VHOST_LIMIT, load_limit, true},
        {RECORD_POLICY, load_policy, true},      {RECORD_OPERATOR_POLICY, load_policy, true},
        {RECORD_EXCHANGE, load_exchange, false}, {RECORD_QUEUE, load_queue, false}};
    beck_status status = b->records ? records_read(b->records, &b->kept, err) : BECK_OK;
    for (size_t i = 0; i < sizeof steps / sizeof *steps && !status; i++) {
        status = load_kind(b, steps[i].kind, steps[i].load, steps[i].keep, err);
        if (steps[i].kind == RECORD_VHOST && !status)
            status = add_vhost(b, beck_str("/"), (beck_bytes){0}, err);
    }
    if (status)
        return status;
    engine_finish_deletions(b);
    engine_adopt_all(b);
    status = load_kind(b, RECORD_BINDING, load_binding, false, err);
    return status ? status : engine_load_buses(b, err);
}

/* ---- the keeper ---- */

void broker_wake(struct broker *b, int64_t by_ns)
{
    mutex_lock(&b->keeper_lock);
    if (by_ns < b->keeper_due_ns) {
        b->woken = true;
        cond_signal(&b->keeper_wake);
    }
    mutex_unlock(&b->keeper_lock);
}

static int64_t look_after(struct broker *b)
{
    int64_t next = queues_expire(b);
    broker_begin_change(b);
    bool left = engine_sweep_buses(b), noted = b->complete && missed_note(b);
    broker_end_change(b);
    int64_t now = clock_mono_ns(b->handle->env.clock);
    if (left && now + SWEEP_NS < next)
        next = now + SWEEP_NS;
    return noted && now + BROKER_NOTE_NS < next ? now + BROKER_NOTE_NS : next;
}

static void *keep(void *ctx)
{
    struct broker *b = ctx;
    mutex_lock(&b->keeper_lock);
    while (!b->stopping) {
        b->woken = false;
        b->keeper_due_ns = INT64_MAX; /* who comes while it looks makes it look again */
        mutex_unlock(&b->keeper_lock);
        int64_t next = look_after(b);
        mutex_lock(&b->keeper_lock);
        b->keeper_due_ns = next;
        while (!b->woken && !b->stopping &&
               cond_wait_until(&b->keeper_wake, &b->keeper_lock, b->handle->env.clock, next))
            ;
    }
    mutex_unlock(&b->keeper_lock);
    return NULL;
}

static beck_status start_keeper(struct broker *b, beck_error *err)
{
    int failed = pthread_create(&b->keeper, NULL, keep, b);
    b->keeper_runs = !failed;
    return failed ? error_errno(err, failed, "cannot start the thread of the broker") : BECK_OK;
}

static void stop_keeper(struct broker *b)
{
    mutex_lock(&b->keeper_lock);
    b->stopping = true;
    cond_signal(&b->keeper_wake);
    mutex_unlock(&b->keeper_lock);
    if (b->keeper_runs)
        pthread_join(b->keeper, NULL);
}

/* ---- opening and closing ---- */

static void set_defaults(struct broker_settings *s)
{
    if (s->retention_ms == 0)
        s->retention_ms = RETENTION_MS;
    if (s->retention_bytes == 0)
        s->retention_bytes = RETENTION_BYTES;
    if (s->message_max == 0)
        s->message_max = MESSAGE_MAX;
    if (s->queues_max == 0)
        s->queues_max = QUEUES_MAX;
    if (s->exchanges_max == 0)
        s->exchanges_max = EXCHANGES_MAX;
}

static struct broker *new_broker(beck *handle, const struct broker_settings *settings)
{
    struct broker *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->handle = handle;
    if (settings)
        b->settings = *settings;
    set_defaults(&b->settings);
    mutex_init(&b->change_lock);
    mutex_init(&b->engine_lock);
    mutex_init(&b->keeper_lock);
    cond_init(&b->keeper_wake);
    pthread_rwlock_init(&b->topology_lock, NULL);
    atomic_init(&b->generation, 1);
    atomic_init(&b->full_ns, INT64_MIN);
    lookup_init(&b->vhosts);
    lookup_init(&b->bindings);
    lookup_init(&b->kept);
    return b;
}

static beck_status begin(struct broker *b, beck_error *err)
{
    /* Without one nothing was declared that lasts; it is made with the first record. */
    mutex_lock(&b->handle->admin_lock);
    bool there = handle_find_bus(b->handle, OWN_AMQP) != NULL;
    mutex_unlock(&b->handle->admin_lock);
    beck_status status = there ? open_records(b, err) : BECK_OK;
    if (!status) {
        engine_listen(b, true);
        broker_begin_change(b);
        status = load_all(b, err);
        broker_end_change(b);
    }
    return status;
}

beck_status broker_open(beck *handle, const struct broker_settings *settings, struct broker **out,
                        beck_error *err)
{
    if (handle->remote || handle->read_only)
        return error_set(err, BECK_EUNSUPPORTED,
                         "a broker needs the data directory for itself, to read and to write");
    struct broker *b = new_broker(handle, settings);
    if (!b)
        return error_set(err, BECK_ENOMEM, "no memory for a broker");
    beck_status status = begin(b, err);
    if (!status) {
        status = delivery_open(b, err);
        b->delivers = !status;
    }
    if (!status) {
        broker_begin_change(b);
        /* Else it is tried at the next opening, with what comes until then once more. */
        beck_error why;
        b->complete = missed_give(b, &why) == BECK_OK;
        broker_end_change(b);
        if (!b->complete)
            env_report(&handle->env, why.code,
                       "what was published without a server does not get to queues of AMQP: %s",
                       why.text);
    }
    if (!status)
        status = start_keeper(b, err);
    if (status)
        broker_close(b);
    else
        *out = b;
    return status;
}

static void drop_vhost(struct broker *b, struct vhost *v)
{
    while (v->queues.count > 0) {
        struct broker_queue *q =
            lookup_of(lookup_walk(&v->queues, NULL), struct broker_queue, node);
        broker_queue_retain(q);
        topology_write(b);
        queue_unlink(q);
        topology_end_write(b);
        delivery_queue_gone(q);
        broker_queue_release(q);
    }
    topology_write(b);
    vhost_unlink(v);
    topology_end_write(b);
}

static void drop_bindings(struct broker *b)
{
    topology_write(b);
    while (b->bindings.count > 0) {
        struct binding *binding = lookup_of(lookup_walk(&b->bindings, NULL), struct binding, node);
        binding_unlink(binding);
        binding_free(binding);
    }
    topology_end_write(b);
}

void broker_close(struct broker *b)
{
    if (!b)
        return;
    stop_keeper(b);
    if (b->delivers)
        delivery_close(b);
    engine_listen(b, false);
    broker_begin_change(b);
    if (b->complete)
        missed_note(b);
    broker_end_change(b);
    engine_release_links(b);
    broker_begin_change(b);
    drop_bindings(b);
    while (b->vhosts.count > 0)
        drop_vhost(b, lookup_of(lookup_walk(&b->vhosts, NULL), struct vhost, node));
    broker_end_change(b);
    kept_clear(&b->kept);
    lookup_release(&b->vhosts);
    lookup_release(&b->bindings);
    pthread_rwlock_destroy(&b->topology_lock);
    cond_release(&b->keeper_wake);
    mutex_release(&b->keeper_lock);
    mutex_release(&b->engine_lock);
    mutex_release(&b->change_lock);
    free(b);
}
