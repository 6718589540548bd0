/* The public functions of queues: checks, admin_lock, and the layers below. */
#include "api/handle.h"

#include "event/pattern.h"

#include <stdlib.h>

/* ---- making and deleting ---- */

/* The logs may still hold snapshots and dead letters of an earlier queue of this name. The first
 * snapshot of the new one comes before the queue exists, so that recovery never sees those.
 * later: it is neither synced nor written down that the queue exists. */
static beck_status add_queue(beck *b, const char *name, const beck_queue_options *o, bool later,
                             beck_error *err)
{
    struct queue *q;
    beck_status status = handle_add_queue(b, name, o, &q, err);
    if (status || o->storage != BECK_STORAGE_DISK)
        return status;
    if ((status = queue_check_known(q, err))) {
        handle_drop_queue(b, q);
        return status;
    }
    struct partition *dead = bus_partition(b->home.dead, 0);
    queue_note_routed(q, dead, partition_next(dead));
    status = later ? queue_snapshot(q, err) : upkeep_snapshot(b, q, err);
    if (!status && !later)
        status = topology_put_queue(b, name, o, false, queue_number(q), queue_lifetime(q), err);
    if (status)
        handle_drop_queue(b, q);
    else if (!later)
        queue_keep_number(q);
    return status;
}

/* One of which only its state was written. With the locks of a change. */
static beck_status keep_queue(beck *b, struct queue *q, const beck_queue_options *o, bool paused,
                              beck_error *err)
{
    beck_status status = handle_sync_queues(b, err);
    if (!status)
        status = topology_put_queue(b, queue_name(q), o, paused, queue_number(q), queue_lifetime(q),
                                    err);
    if (!status)
        queue_keep_number(q);
    return status;
}

static beck_status create(beck *b, const char *name, const beck_queue_options *options, bool later,
                          bool *made, beck_error *err)
{
    *made = false;
    beck_queue_options o = options ? *options : (beck_queue_options){0};
    beck_status status = bus_name_check("queue", name, false, err);
    if (!status)
        status = handle_need_queues(b, err);
    if (!status)
        status = queue_options_check(&o, b->data_dir != NULL, err);
    if (status)
        return status;
    if (b->remote)
        return remote_queue_create(b->remote, name, &o, made, err);
    mutex_lock(&b->upkeep_lock);
    mutex_lock(&b->admin_lock);
    struct queue *q = handle_find_queue(b, name);
    if (q) {
        beck_queue_info info;
        queue_info(q, &info);
        const char *differs = queue_options_difference(&info.options, &o);
        if (differs)
            status = error_set(
                err, BECK_EEXIST,
                "queue \"%s\" exists with other options (%s is not the same); use it as it is, or "
                "change them: beck queue alter",
                name, differs);
        else if (!later && o.storage == BECK_STORAGE_DISK && !queue_number_is_kept(q))
            status = keep_queue(b, q, &o, false, err);
    } else {
        status = add_queue(b, name, &o, later, err);
        *made = !status;
    }
    mutex_unlock(&b->admin_lock);
    mutex_unlock(&b->upkeep_lock);
    return status;
}

beck_status beck_queue_create(beck *b, const char *name, const beck_queue_options *options,
                              beck_error *err)
{
    bool made;
    return create(b, name, options, false, &made, err);
}

beck_status handle_make_queue(beck *b, const char *name, const beck_queue_options *options,
                              bool *made, beck_error *err)
{
    return create(b, name, options, false, made, err);
}

beck_status handle_create_queue(beck *b, const char *name, const beck_queue_options *options,
                                beck_error *err)
{
    bool made;
    return create(b, name, options, true, &made, err);
}

beck_status handle_sync_queues(beck *b, beck_error *err)
{
    return b->home.state ? partition_sync(bus_partition(b->home.state, 0), err) : BECK_OK;
}

beck_status handle_keep_queue(beck *b, struct queue *q, beck_error *err)
{
    beck_queue_info info;
    beck_status status = BECK_OK;
    mutex_lock(&b->admin_lock);
    if (handle_find_queue(b, queue_name(q)) == q && !queue_number_is_kept(q)) {
        queue_info(q, &info);
        status = topology_note_queue(b, info.name, &info.options, info.paused, queue_number(q),
                                     queue_lifetime(q), err);
        if (!status)
            queue_keep_number(q);
    }
    mutex_unlock(&b->admin_lock);
    return status;
}

beck_status handle_keep_lifetime(beck *b, struct queue *q, int64_t ms, beck_error *err)
{
    beck_queue_info info;
    beck_status status = BECK_OK;
    mutex_lock(&b->admin_lock);
    if (queue_lifetime(q) != ms) {
        queue_info(q, &info);
        if (handle_find_queue(b, queue_name(q)) == q && queue_number_is_kept(q) &&
            info.options.storage == BECK_STORAGE_DISK)
            status = topology_note_queue(b, info.name, &info.options, info.paused, queue_number(q),
                                         ms, err);
        if (!status)
            queue_set_lifetime(q, ms);
    }
    mutex_unlock(&b->admin_lock);
    return status;
}

struct names {
    char **list; /* bus, pattern, bus, pattern ... */
    size_t count;
    bool failed;
};

static int collect_binding(void *ctx, const beck_binding *binding)
{
    struct names *n = ctx;
    char **grown = realloc(n->list, (n->count + 2) * sizeof(char *));
    if (grown) {
        n->list = grown;
        grown[n->count] = strdup(binding->bus);
        grown[n->count + 1] = strdup(binding->pattern);
        n->count += 2;
    }
    n->failed |= !grown || !grown[n->count - 2] || !grown[n->count - 1];
    return n->failed;
}

static bool is_on_disk(struct queue *q)
{
    beck_queue_info info;
    queue_info(q, &info);
    return info.options.storage == BECK_STORAGE_DISK;
}

static void free_names(struct names *n)
{
    for (size_t i = 0; i < n->count; i++)
        free(n->list[i]);
    free(n->list);
}

/* In an order that a crash at any place leaves whole. First what was published until now is in the
 * queue for good; then the binding is gone, and with it whatever was published while this ran; then
 * no snapshot speaks of it any more. */
static beck_status unbind(beck *b, struct queue *q, const char *bus_name, const char *pattern,
                          beck_error *err)
{
    beck_bus *bus;
    beck_status status = handle_need_bus(b, bus_name, &bus, err);
    if (status)
        return status;
    bool kept = is_on_disk(q) && queue_has_binding(q, bus_name, pattern);
    /* What was published until now could not be looked at. */
    status = bus_check_damage(bus, err);
    if (!status && kept) {
        queue_catch_up(q);
        status = upkeep_snapshot(b, q, err);
    }
    if (!status && kept)
        status = topology_put_binding(b, queue_name(q), bus_name, pattern, NULL, 0, err);
    if (!status)
        status = queue_unbind(q, bus, pattern, err);
    if (!status && kept)
        status = upkeep_snapshot(b, q, err);
    return status;
}

static beck_status delete_queue(beck *b, struct queue *q, beck_error *err)
{
    struct names names = {0};
    queue_each_binding(q, collect_binding, &names);
    beck_status status =
        names.failed ? error_set(err, BECK_ENOMEM, "no memory to delete a queue") : BECK_OK;
    /* From here on an opening finds neither the queue nor its bindings. */
    if (!status && is_on_disk(q))
        status = topology_delete_queue(b, queue_name(q), names.list, names.count / 2, err);
    else if (!status)
        status = dead_purge(q, -1, NULL, err);
    for (size_t i = 0; i + 1 < names.count && !status; i += 2) {
        beck_bus *bus = handle_find_bus(b, names.list[i]);
        if (bus)
            queue_unbind(q, bus, names.list[i + 1], NULL);
    }
    free_names(&names);
    if (!status)
        handle_drop_queue(b, q);
    return status;
}

static void end_change(beck *b)
{
    mutex_unlock(&b->admin_lock);
    mutex_unlock(&b->upkeep_lock);
}

/* Changes of one queue: upkeep_lock keeps checkpoints away, admin_lock everybody else. */
static beck_status begin_look(beck *b, const char *name, struct queue **out, beck_error *err)
{
    beck_status status = handle_need_queues(b, err);
    if (status)
        return status;
    mutex_lock(&b->upkeep_lock);
    mutex_lock(&b->admin_lock);
    status = handle_need_queue(b, name, out, err);
    if (status)
        end_change(b);
    return status;
}

static beck_status begin_change(beck *b, const char *name, struct queue **out, beck_error *err)
{
    beck_status status = begin_look(b, name, out, err);
    if (!status && (status = queue_check_known(*out, err)))
        end_change(b);
    return status;
}

beck_status beck_queue_delete(beck *b, const char *name, beck_error *err)
{
    if (handle_asks_server(b, name))
        return remote_queue_delete(b->remote, name, err);
    struct queue *q;
    beck_status status = begin_change(b, name, &q, err);
    if (status)
        return status;
    status = delete_queue(b, q, err);
    end_change(b);
    return status;
}

/* ---- bindings ---- */

/* pattern "": it joins. Its number is written down before the first record can name it. */
static beck_status bind_to(beck *b, struct queue *q, beck_bus *bus, const char *pattern,
                           const beck_from *from, beck_error *err)
{
    beck_queue_info info;
    queue_info(q, &info);
    bool disk = info.options.storage == BECK_STORAGE_DISK;
    if (disk && bus->options.storage != BECK_STORAGE_DISK)
        return error_set(err, BECK_EINVAL,
                         "queue \"%s\" is on disk and bus \"%s\" in memory; use a memory queue, or "
                         "a disk bus",
                         info.name, bus->name);
    int64_t *first = calloc(bus->partition_count, sizeof *first);
    if (!first)
        return error_set(err, BECK_ENOMEM, "no memory for a binding");
    beck_status status = BECK_OK;
    bool reached = bus_reaches(bus, from);
    for (uint32_t i = 0; i < bus->partition_count && !status; i++)
        status = partition_resolve_with(bus_partition(bus, i), from, reached, &first[i], err);
    /* The binding outlasts a loss of power: so must what it begins behind, or its offsets are given
     * to events that it would miss. */
    for (uint32_t i = 0; i < bus->partition_count && !status && disk; i++)
        status = partition_sync(bus_partition(bus, i), err);
    if (!status && disk && !queue_number_is_kept(q))
        status = keep_queue(b, q, &info.options, info.paused, err);
    if (!status && disk)
        status = topology_put_binding(b, info.name, bus->name, pattern, first, bus->partition_count,
                                      err);
    if (!status) {
        status = queue_bind(q, bus, pattern, first, false, err);
        if (status && disk && !queue_has_binding(q, bus->name, pattern))
            topology_put_binding(b, info.name, bus->name, pattern, NULL, 0, NULL);
    }
    free(first);
    return status;
}

static beck_status bind_queue(beck *b, struct queue *q, const beck_binding *binding,
                              beck_error *err)
{
    const char *pattern = binding->pattern ? binding->pattern : "#";
    beck_bus *bus;
    beck_status status = pattern_check(beck_str(pattern), err);
    if (!status)
        status = handle_need_bus(b, binding->bus, &bus, err);
    if (status)
        return status;
    if (bus->internal)
        return error_set(err, BECK_EINVAL,
                         "bus \"%s\" belongs to beck itself; no queue can be bound to it",
                         bus->name);
    if (queue_has_binding(q, bus->name, pattern))
        return BECK_OK;
    return bind_to(b, q, bus, pattern, &binding->from, err);
}

/* Both of them are still there. With the locks of a change. */
static beck_status check_joining(beck *b, struct queue *q, const beck_bus *bus, beck_error *err)
{
    if (handle_find_queue(b, queue_name(q)) != q)
        return error_set(err, BECK_ENOENT, "there is no queue \"%s\"", queue_name(q));
    if (atomic_load(&bus->closed))
        return error_set(err, BECK_ECLOSED, "bus \"%s\" has been deleted", bus->name);
    return queue_check_known(q, err);
}

beck_status handle_join(beck *b, struct queue *q, beck_bus *bus, beck_error *err)
{
    static const beck_from now;
    mutex_lock(&b->upkeep_lock);
    mutex_lock(&b->admin_lock);
    beck_status status = check_joining(b, q, bus, err);
    if (!status && !queue_has_binding(q, bus->name, ""))
        status = bind_to(b, q, bus, "", &now, err);
    end_change(b);
    return status;
}

beck_status handle_part(beck *b, struct queue *q, beck_bus *bus, beck_error *err)
{
    mutex_lock(&b->upkeep_lock);
    mutex_lock(&b->admin_lock);
    beck_status status = check_joining(b, q, bus, err);
    if (!status && queue_has_binding(q, bus->name, ""))
        status = unbind(b, q, bus->name, "", err);
    end_change(b);
    return status;
}

beck_status beck_queue_bind(beck *b, const char *queue, const beck_binding *binding,
                            beck_error *err)
{
    if (!binding)
        return error_set(err, BECK_EINVAL, "a queue is bound to a bus: there is none");
    if (handle_asks_server(b, queue))
        return remote_queue_bind(b->remote, queue, binding, err);
    struct queue *q;
    beck_status status = begin_change(b, queue, &q, err);
    if (status)
        return status;
    status = bind_queue(b, q, binding, err);
    end_change(b);
    return status;
}

beck_status beck_queue_unbind(beck *b, const char *queue, const char *bus, const char *pattern,
                              beck_error *err)
{
    if (handle_asks_server(b, queue))
        return remote_queue_unbind(b->remote, queue, bus ? bus : "", pattern ? pattern : "#", err);
    struct queue *q;
    beck_status status = begin_change(b, queue, &q, err);
    if (status)
        return status;
    status = pattern && !*pattern
                 ? error_set(err, BECK_EINVAL, "a binding has a pattern; use \"#\" for all")
                 : unbind(b, q, bus ? bus : "", pattern ? pattern : "#", err);
    end_change(b);
    return status;
}

/* ---- looking ---- */

beck_status beck_queue_info_get(beck *b, const char *name, beck_queue_info *out, beck_error *err)
{
    if (handle_asks_server(b, name))
        return remote_queue_info(b->remote, name, out, err);
    struct queue *q;
    beck_status status = handle_look_at_queue(b, name, &q, err);
    if (status)
        return status;
    queue_info(q, out);
    queue_release(q);
    return BECK_OK;
}

beck_status beck_queue_list(beck *b, int (*each)(void *ctx, const char *name), void *ctx,
                            beck_error *err)
{
    if (handle_need(b, "handle", err))
        return BECK_EINVAL;
    if (!each)
        return error_set(err, BECK_EINVAL, "a list of queues needs a function");
    if (b->remote)
        return remote_queue_list(b->remote, each, ctx, err);
    struct handle_view view;
    beck_status status = handle_view_take(b, &view, err);
    if (status)
        return status;
    for (size_t i = 0; i < view.queue_count; i++)
        if (each(ctx, queue_name(view.queues[i])))
            break;
    handle_view_release(&view);
    return BECK_OK;
}

beck_status beck_queue_bindings(beck *b, const char *name,
                                int (*each)(void *ctx, const beck_binding *binding), void *ctx,
                                beck_error *err)
{
    if (!each)
        return error_set(err, BECK_EINVAL, "a list of bindings needs a function");
    if (handle_asks_server(b, name))
        return remote_queue_bindings(b->remote, name, each, ctx, err);
    struct names names = {0};
    struct queue *q;
    beck_status status = begin_look(b, name, &q, err);
    if (status)
        return status;
    queue_each_binding(q, collect_binding, &names);
    end_change(b);
    for (size_t i = 0; i + 1 < names.count && !names.failed; i += 2) {
        beck_binding binding = {.bus = names.list[i], .pattern = names.list[i + 1]};
        if (binding.pattern[0] && each(ctx, &binding))
            break;
    }
    bool failed = names.failed;
    free_names(&names);
    return failed ? error_set(err, BECK_ENOMEM, "no memory for the list of bindings") : BECK_OK;
}

beck_status beck_queue_peek(beck *b, const char *name, size_t max,
                            int (*each)(void *ctx, const beck_event *event), void *ctx,
                            beck_error *err)
{
    if (!each)
        return error_set(err, BECK_EINVAL, "looking into a queue needs a function");
    if (handle_asks_server(b, name))
        return remote_queue_peek(b->remote, name, max, each, ctx, err);
    struct queue *q;
    beck_status status = handle_get_queue(b, name, &q, err);
    if (status)
        return status;
    status = queue_peek(q, max, each, ctx, err);
    queue_release(q);
    return status;
}

beck_status beck_queue_waiting(beck *b, const char *name, beck_waiting_kind kind, size_t from,
                               size_t max, int (*each)(void *ctx, const beck_waiting *waiting),
                               void *ctx, beck_error *err)
{
    if (!each)
        return error_set(err, BECK_EINVAL, "a list of what waits needs a function");
    if (kind > BECK_WAITING_IN_FLIGHT)
        return error_set(err, BECK_EINVAL, "there is no kind %d of what waits", (int)kind);
    if (from > WAITING_LISTED_MAX || max > WAITING_LISTED_MAX - from)
        return error_set(err, BECK_EINVAL, "lists of what waits end behind the first %d of a queue",
                         WAITING_LISTED_MAX);
    if (handle_asks_server(b, name))
        return remote_queue_waiting(b->remote, name, kind, from, max, each, ctx, err);
    struct queue *q;
    beck_status status = handle_get_queue(b, name, &q, err);
    if (status)
        return status;
    status = queue_waiting(q, kind, from, max, each, ctx, err);
    queue_release(q);
    return status;
}

/* ---- changing ---- */

beck_status beck_queue_pause(beck *b, const char *name, bool paused, beck_error *err)
{
    if (handle_asks_server(b, name))
        return remote_queue_pause(b->remote, name, paused, err);
    struct queue *q;
    beck_status status = begin_change(b, name, &q, err);
    if (status)
        return status;
    beck_queue_info info;
    queue_info(q, &info);
    if (info.options.storage == BECK_STORAGE_DISK)
        status = topology_put_queue(b, name, &info.options, paused, queue_number(q),
                                    queue_lifetime(q), err);
    if (!status) {
        queue_keep_number(q);
        queue_pause(q, paused);
    }
    end_change(b);
    return status;
}

/* Written down before it is in force. */
static beck_status alter_queue(beck *b, struct queue *q, beck_queue_options *o, beck_error *err)
{
    beck_queue_info info;
    queue_info(q, &info);
    if (o->storage == BECK_STORAGE_DEFAULT)
        o->storage = info.options.storage;
    beck_status status = queue_options_check(o, b->data_dir != NULL, err);
    if (!status)
        status = queue_check_alter(q, o, err);
    if (status || queue_options_equal(o, &info.options))
        return status;
    if (o->storage == BECK_STORAGE_DISK)
        status = keep_queue(b, q, o, info.paused, err);
    if (!status)
        queue_alter(q, o);
    return status;
}

beck_status beck_queue_alter(beck *b, const char *name, const beck_queue_options *options,
                             beck_error *err)
{
    if (!options)
        return error_set(err, BECK_EINVAL, "a queue is changed to options: there are none");
    beck_queue_options o = *options;
    if (handle_asks_server(b, name))
        return remote_queue_alter(b->remote, name, &o, err);
    struct queue *q;
    beck_status status = begin_change(b, name, &q, err);
    if (status)
        return status;
    status = alter_queue(b, q, &o, err);
    end_change(b);
    return status;
}

beck_status beck_queue_purge(beck *b, const char *name, int64_t *purged, beck_error *err)
{
    if (handle_asks_server(b, name))
        return remote_queue_purge(b->remote, name, purged, err);
    struct queue *q;
    beck_status status = begin_change(b, name, &q, err);
    if (status)
        return status;
    status = queue_purge(q, purged, err);
    end_change(b);
    return status;
}

/* The bindings begin where the queue is rewound to, also after the next opening. Some partition of the queue's
 * reaches that far. */
static beck_status rewind_binding(beck *b, struct queue *q, const char *bus_name,
                                  const char *pattern, const beck_from *from, beck_error *err)
{
    beck_bus *bus = handle_find_bus(b, bus_name);
    if (!bus || bus->options.storage != BECK_STORAGE_DISK || queue_is_copies(q, bus))
        return BECK_OK;
    int64_t *first = calloc(bus->partition_count, sizeof *first);
    beck_status status =
        first ? BECK_OK : error_set(err, BECK_ENOMEM, "no memory to rewind a queue");
    for (uint32_t i = 0; i < bus->partition_count && !status; i++)
        status = partition_resolve_with(bus_partition(bus, i), from, true, &first[i], err);
    if (!status)
        status = topology_put_binding(b, queue_name(q), bus_name, pattern, first,
                                      bus->partition_count, err);
    free(first);
    return status;
}

static beck_status rewind_queue(beck *b, struct queue *q, const beck_from *from, beck_error *err)
{
    struct names names = {0};
    beck_status status = BECK_OK;
    queue_each_binding(q, collect_binding, &names);
    size_t count = names.count;
    /* Nothing that is wanted from now on lies before where they begin. Where nothing reaches that far
     * queue_rewind says so. */
    if (from->kind == BECK_FROM_NOW || !is_on_disk(q) || !queue_reaches(q, from))
        count = 0;
    if (names.count == 0 && !names.failed)
        status = error_set(err, BECK_EINVAL,
                           "queue \"%s\" is bound to nothing and cannot be rewound; bind it first",
                           queue_name(q));
    if (names.failed)
        status = error_set(err, BECK_ENOMEM, "no memory to rewind a queue");
    for (size_t i = 0; i + 1 < count && !status; i += 2)
        status = rewind_binding(b, q, names.list[i], names.list[i + 1], from, err);
    free_names(&names);
    return status ? status : queue_rewind(q, from, err);
}

beck_status beck_queue_rewind(beck *b, const char *name, const beck_from *from, beck_error *err)
{
    static const beck_from now;
    if (handle_asks_server(b, name))
        return remote_queue_rewind(b->remote, name, from ? from : &now, err);
    struct queue *q;
    beck_status status = begin_change(b, name, &q, err);
    if (status)
        return status;
    status = rewind_queue(b, q, from ? from : &now, err);
    end_change(b);
    return status;
}

/* The bindings to a bus do not begin behind where the queue is moved to. */
static beck_status move_bindings(beck *b, struct queue *q, beck_bus *bus, const int64_t *to,
                                 uint32_t count, beck_error *err)
{
    struct names names = {0};
    beck_status status = BECK_OK;
    queue_each_binding(q, collect_binding, &names);
    int64_t *first = calloc(bus->partition_count, sizeof *first);
    if (names.failed || !first)
        status = error_set(err, BECK_ENOMEM, "no memory to move a queue");
    for (size_t i = 0; i + 1 < names.count && !status; i += 2) {
        if (strcmp(names.list[i], bus->name) != 0)
            continue;
        queue_get_first(q, bus, names.list[i + 1], first);
        for (uint32_t n = 0; n < count; n++)
            if (to[n] >= 0 && to[n] < first[n])
                first[n] = to[n];
        status = topology_put_binding(b, queue_name(q), bus->name, names.list[i + 1], first,
                                      bus->partition_count, err);
    }
    free(first);
    free_names(&names);
    return status;
}

beck_status handle_move_queue(beck *b, struct queue *q, beck_bus *bus, const int64_t *to,
                              uint32_t count, beck_error *err)
{
    mutex_lock(&b->upkeep_lock);
    mutex_lock(&b->admin_lock);
    beck_status status = check_joining(b, q, bus, err);
    if (!status && is_on_disk(q))
        status = move_bindings(b, q, bus, to, count, err);
    if (!status)
        status = queue_move(q, bus, to, count, err);
    if (!status && is_on_disk(q))
        status = upkeep_snapshot(b, q, err);
    end_change(b);
    return status;
}
