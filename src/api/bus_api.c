/* The public functions of buses, publishing and listeners: checks, admin_lock, and the layers
 * below. */
#include "api/handle.h"

#include "bus/own_bus.h"

#include <assert.h>
#include <stdlib.h>

static beck_status refuse_read_only(const beck *b, beck_error *err)
{
    if (handle_need(b, "handle", err))
        return BECK_EINVAL;
    if (!b->read_only)
        return BECK_OK;
    return error_set(err, BECK_EINVAL, "the data directory is open for reading only");
}

struct left {
    const char *bus;
    enum leftover what;
};

static enum leftover is_left(void *ctx, const char *bus)
{
    const struct left *left = ctx;
    return strcmp(left->bus, bus) == 0 ? left->what : LEFTOVER_NONE;
}

static beck_status remove_left(beck *b, const char *bus, enum leftover what, beck_error *err)
{
    struct left left = {bus, what};
    return leftovers_remove(b, is_left, &left, err);
}

/* BECK_ENOENT: there is none. */
static beck_status find_same(beck *b, const char *name, const beck_bus_options *o, beck_bus **out,
                             beck_error *err)
{
    assert(mutex_held(&b->admin_lock));
    beck_bus *bus = handle_find_bus(b, name);
    if (!bus)
        return BECK_ENOENT;
    beck_bus_options known;
    bus_options_get(bus, &known);
    const char *differs = bus_options_difference(&known, o);
    if (differs)
        return error_set(
            err, BECK_EEXIST,
            "bus \"%s\" exists with other options (%s is not the same); use it as it is, or change "
            "them: beck bus alter",
            name, differs);
    *out = bus;
    return BECK_OK;
}

void handle_watch_buses(beck *b, struct bus_watch *w)
{
    mutex_lock(&b->admin_lock);
    w->next = b->bus_watches;
    b->bus_watches = w;
    for (size_t i = 0; i < b->bus_count; i++)
        w->changed(w->ctx, b->buses[i], BUS_MADE);
    mutex_unlock(&b->admin_lock);
}

void handle_unwatch_buses(beck *b, struct bus_watch *w)
{
    mutex_lock(&b->admin_lock);
    struct bus_watch **at = &b->bus_watches;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    mutex_unlock(&b->admin_lock);
}

void handle_tell_changed(beck *b, beck_bus *bus, enum bus_change what)
{
    assert(mutex_held(&b->admin_lock));
    for (struct bus_watch *w = b->bus_watches; w; w = w->next)
        w->changed(w->ctx, bus, what);
}

/* Nothing of an earlier bus of the name comes back into this one. What no deletion left is in the way. */
static beck_status clear_place(beck *b, const char *name, beck_error *err)
{
    beck_error why = {0}, unread = {0};
    enum topology_last last;
    beck_status status = remove_left(b, name, LEFTOVER_IN_WAY, &why);
    if (status == BECK_EEXIST && !topology_find(b, "bus", name, &last, &unread) &&
        last == TOPOLOGY_GONE)
        status = remove_left(b, name, LEFTOVER_GONE, &why);
    if (status)
        return error_set(err, status, "%s", why.text);
    status = leftovers_forget(b, name, err);
    /* Also when they were gone already: it makes its own with the first write. */
    return status ? status : vfs_sync_dir(b->env.vfs, b->data_dir, err);
}

/* With upkeep_lock and admin_lock. */
static beck_status make_bus(beck *b, const char *name, const beck_bus_options *o, beck_bus **out,
                            beck_error *err)
{
    bool disk = o->storage == BECK_STORAGE_DISK;
    beck_status status = disk ? clear_place(b, name, err) : BECK_OK;
    if (status)
        return status;
    status = handle_add_bus(b, name, o, NULL, false, out, err);
    if (!status && disk && (status = topology_put_bus(b, name, o, bus_id(*out), BUS_WHOLE, err)))
        handle_drop_bus(b, *out);
    if (status && disk)
        remove_left(b, name, LEFTOVER_GONE, NULL);
    if (!status)
        handle_tell_changed(b, *out, BUS_MADE);
    return status;
}

beck_status handle_make_bus(beck *b, const char *name, const beck_bus_options *options,
                            beck_bus **out, beck_error *err)
{
    beck_bus_options o = options ? *options : (beck_bus_options){0};
    beck_bus *bus;
    beck_status status = bus_name_check("bus", name, false, err);
    if (!status)
        status = refuse_read_only(b, err);
    if (!status)
        status = bus_options_check(&o, b->data_dir != NULL, err);
    if (status)
        return status;
    if (b->remote)
        return remote_bus_create(b->remote, name, &o, out, err);
    mutex_lock(&b->admin_lock);
    status = find_same(b, name, &o, &bus, err);
    mutex_unlock(&b->admin_lock);
    if (status == BECK_ENOENT) {
        mutex_lock(&b->upkeep_lock);
        mutex_lock(&b->admin_lock);
        status = find_same(b, name, &o, &bus, err);
        if (status == BECK_ENOENT)
            status = make_bus(b, name, &o, &bus, err);
        mutex_unlock(&b->admin_lock);
        mutex_unlock(&b->upkeep_lock);
    }
    if (!status && out)
        *out = bus;
    return status;
}

void handle_tell_made(beck *b, bus_made_fn fn, void *ctx)
{
    mutex_lock(&b->made_lock);
    b->made = fn;
    b->made_ctx = ctx;
    mutex_unlock(&b->made_lock);
}

beck_status beck_bus_create(beck *b, const char *name, const beck_bus_options *options,
                            beck_bus **out, beck_error *err)
{
    beck_bus *bus = NULL;
    beck_status status = handle_make_bus(b, name, options, &bus, err);
    if (status)
        return status;
    if (!b->remote) {
        mutex_lock(&b->made_lock);
        if (b->made)
            b->made(b->made_ctx, bus);
        mutex_unlock(&b->made_lock);
    }
    if (out)
        *out = bus;
    return BECK_OK;
}

beck_status handle_own_bus(beck *b, const char *name, const beck_bus_options *options,
                           beck_bus **out, beck_error *err)
{
    const struct own_bus *own = own_bus_find(name);
    beck_bus_options o = *options;
    assert(own_bus_is_name(name));
    o.compact = own && own->compact;
    if (o.storage == BECK_STORAGE_DEFAULT)
        o.storage = BECK_STORAGE_DISK;
    beck_status status = refuse_read_only(b, err);
    if (!status && b->remote)
        status =
            error_set(err, BECK_EBUSY,
                      "a server is running on \"%s\": ask that one, or stop it first", b->data_dir);
    if (!status)
        status = bus_options_check(&o, b->data_dir != NULL, err);
    if (status)
        return status;
    mutex_lock(&b->upkeep_lock);
    mutex_lock(&b->admin_lock);
    beck_bus *bus = handle_find_bus(b, name);
    if (!bus)
        status = make_bus(b, name, &o, &bus, err);
    mutex_unlock(&b->admin_lock);
    mutex_unlock(&b->upkeep_lock);
    if (!status)
        *out = bus;
    return status;
}

beck_status beck_bus_get(beck *b, const char *name, beck_bus **out, beck_error *err)
{
    if (handle_need(b, "handle", err))
        return BECK_EINVAL;
    if (b->remote && name && *name)
        return remote_bus_get(b->remote, name, out, err);
    beck_bus *bus;
    mutex_lock(&b->admin_lock);
    beck_status status = handle_need_bus(b, name, &bus, err);
    mutex_unlock(&b->admin_lock);
    if (!status)
        *out = bus;
    return status;
}

/* ---- deleting ---- */

static void report_left(beck *b, const char *bus, const beck_error *why)
{
    env_report(&b->env, why->code, "something of the deleted bus \"%s\" is left: %s", bus,
               why->text);
}

/* Nothing is removed while it is not known what queues are owed. */
static beck_status check_queues_known(const beck *b, const beck_bus *bus, beck_error *err)
{
    const char *damage = bus->options.storage == BECK_STORAGE_DISK ? queues_damage(&b->home) : NULL;
    return damage
               ? error_set(err, BECK_ECORRUPT,
                           "what queues are owed of bus \"%s\" is not known: %s", bus->name, damage)
               : BECK_OK;
}

static beck_status delete_bus(beck *b, beck_bus *bus, beck_error *err)
{
    if (check_queues_known(b, bus, err))
        return BECK_ECORRUPT;
    for (size_t i = 0; i < b->queue_count; i++)
        if (queue_is_bound_to(b->queues[i], bus))
            return error_set(err, BECK_EBUSY,
                             "queue \"%s\" is bound to bus \"%s\"; unbind or delete it first",
                             queue_name(b->queues[i]), bus->name);
    beck_bus **grown = realloc(b->deleted, (b->deleted_count + 1) * sizeof(beck_bus *));
    if (!grown)
        return error_set(err, BECK_ENOMEM, "no memory to delete bus \"%s\"", bus->name);
    b->deleted = grown;
    bool disk = bus->options.storage == BECK_STORAGE_DISK;
    beck_status status = disk ? topology_put_bus(b, bus->name, NULL, NULL, BUS_GAPS, err) : BECK_OK;
    if (status)
        return status;
    bus_mark_closed(bus);
    beck_error why = {0};
    for (size_t i = 0; i < b->queue_count; i++)
        if (queue_bus_deleted(b->queues[i], bus) && upkeep_snapshot(b, b->queues[i], &why))
            report_left(b, bus->name, &why);
    size_t at = 0;
    while (b->buses[at] != bus)
        at++;
    b->bus_count--;
    memmove(b->buses + at, b->buses + at + 1, (b->bus_count - at) * sizeof(beck_bus *));
    b->deleted[b->deleted_count++] = bus;
    handle_tell_changed(b, bus, BUS_DELETED);
    bus_remove_metrics(bus);
    for (uint32_t i = 0; i < bus->opened_count; i++)
        partition_condemn(bus_partition(bus, i));
    if (!disk)
        return BECK_OK;
    /* The bus is gone; what cannot be removed now goes before another of its name is made. */
    leftovers_forget(b, bus->name, NULL);
    if (remove_left(b, bus->name, LEFTOVER_GONE, &why))
        report_left(b, bus->name, &why);
    return BECK_OK;
}

beck_status beck_bus_delete(beck *b, const char *name, beck_error *err)
{
    beck_status status = bus_name_check("bus", name, false, err);
    if (!status)
        status = refuse_read_only(b, err);
    if (status)
        return status;
    if (b->remote)
        return remote_bus_delete(b->remote, name, err);
    /* No checkpoint in between: it would write the bus's recovery point again. */
    mutex_lock(&b->upkeep_lock);
    mutex_lock(&b->admin_lock);
    beck_bus *bus;
    status = handle_need_bus(b, name, &bus, err);
    if (!status)
        status = delete_bus(b, bus, err);
    mutex_unlock(&b->admin_lock);
    mutex_unlock(&b->upkeep_lock);
    return status;
}

static beck_status refuse_internal(const beck_bus *bus, beck_error *err)
{
    if (!bus->internal)
        return BECK_OK;
    return error_set(err, BECK_EINVAL, "bus \"%s\" belongs to beck itself and can only be read",
                     bus->name);
}

/* ---- looking ---- */

beck_status beck_bus_info_get(beck_bus *bus, beck_bus_info *out, beck_error *err)
{
    if (handle_need(bus, "bus", err))
        return BECK_EINVAL;
    if (bus->remote)
        return remote_bus_info(bus, out, err);
    if (atomic_load(&bus->closed))
        return error_set(err, BECK_ECLOSED, "bus \"%s\" has been deleted", bus->name);
    *out = (beck_bus_info){.name = bus->name, .listeners = subscribers_count(bus->subscribers)};
    bus_options_get(bus, &out->options);
    for (uint32_t i = 0; i < bus->partition_count; i++) {
        beck_partition_info p;
        partition_info(bus_partition(bus, i), &p);
        out->events += p.next_offset - p.first_offset;
        out->bytes += p.bytes;
        out->damaged += p.damaged;
    }
    return BECK_OK;
}

beck_status beck_partition_info_get(beck_bus *bus, uint32_t partition, beck_partition_info *out,
                                    beck_error *err)
{
    if (handle_need(bus, "bus", err))
        return BECK_EINVAL;
    if (bus->remote)
        return remote_partition_info(bus, partition, out, err);
    if (atomic_load(&bus->closed))
        return error_set(err, BECK_ECLOSED, "bus \"%s\" has been deleted", bus->name);
    if (partition >= bus->partition_count)
        return error_set(err, BECK_ENOENT, "bus \"%s\" has no partition %u; it has 0 to %u",
                         bus->name, partition, bus->partition_count - 1);
    partition_info(bus_partition(bus, partition), out);
    return BECK_OK;
}

/* Buses stay where they are until beck_close, so a copy of the list is enough to use them. */
static beck_status copy_buses(beck *b, beck_bus ***out, size_t *count, beck_error *err)
{
    mutex_lock(&b->admin_lock);
    *count = b->bus_count;
    *out = malloc((b->bus_count + 1) * sizeof(beck_bus *));
    if (*out && b->bus_count > 0)
        memcpy(*out, b->buses, b->bus_count * sizeof(beck_bus *));
    mutex_unlock(&b->admin_lock);
    return *out ? BECK_OK : error_set(err, BECK_ENOMEM, "no memory for the list of buses");
}

beck_status beck_bus_list(beck *b, int (*each)(void *ctx, beck_bus *bus), void *ctx,
                          beck_error *err)
{
    beck_bus **copy;
    size_t count;
    if (handle_need(b, "handle", err))
        return BECK_EINVAL;
    if (!each)
        return error_set(err, BECK_EINVAL, "a list of buses needs a function");
    if (b->remote)
        return remote_bus_list(b->remote, each, ctx, err);
    beck_status status = copy_buses(b, &copy, &count, err);
    if (status)
        return status;
    for (size_t i = 0; i < count; i++)
        if (each(ctx, copy[i]))
            break;
    free(copy);
    return BECK_OK;
}

const char *beck_bus_name(const beck_bus *bus)
{
    return bus ? bus->name : NULL;
}

/* With upkeep_lock and admin_lock. */
static beck_status purge_bus(beck *b, beck_bus *bus, beck_error *err)
{
    int64_t *ends = calloc(bus->partition_count, sizeof *ends);
    if (!ends)
        return error_set(err, BECK_ENOMEM, "no memory to purge bus \"%s\"", bus->name);
    beck_status status = bus_check_damage(bus, err);
    if (!status)
        status = check_queues_known(b, bus, err);
    for (uint32_t i = 0; i < bus->partition_count && !status; i++) {
        ends[i] = partition_visible(bus_partition(bus, i));
        status = partition_truncate_before(bus_partition(bus, i), ends[i], err);
    }
    for (size_t i = 0; i < b->queue_count && !status; i++) {
        status = queue_bus_purged(b->queues[i], bus, ends, err);
        if (!status)
            status = upkeep_snapshot(b, b->queues[i], err);
    }
    free(ends);
    return status;
}

beck_status beck_bus_purge(beck_bus *bus, beck_error *err)
{
    if (handle_need(bus, "bus", err))
        return BECK_EINVAL;
    if (bus->remote)
        return remote_bus_purge(bus, err);
    if (bus->options.storage != BECK_STORAGE_DISK)
        return error_set(err, BECK_EUNSUPPORTED,
                         "bus \"%s\" is in memory and stores nothing of its own; purge its queues",
                         bus->name);
    if (atomic_load(&bus->closed))
        return error_set(err, BECK_ECLOSED, "bus \"%s\" has been deleted", bus->name);
    beck_status status = refuse_internal(bus, err);
    if (status)
        return status;
    beck *b = handle_of(bus);
    mutex_lock(&b->upkeep_lock);
    mutex_lock(&b->admin_lock);
    status = purge_bus(b, bus, err);
    mutex_unlock(&b->admin_lock);
    /* It is purged also when its bytes cannot be removed yet. */
    beck_error why = {0};
    if (!status && upkeep_maintain_bus(b, bus, &why))
        env_report(&b->env, why.code, "%s", why.text);
    mutex_unlock(&b->upkeep_lock);
    return status;
}

/* ---- publishing ---- */

static beck_status publish_special(beck_bus *bus, const beck_event *events, size_t count,
                                   const beck_publish_options *options, beck_published *out,
                                   beck_error *err)
{
    return bus->remote ? remote_publish(bus, events, count, options, out, err)
                       : refuse_internal(bus, err);
}

beck_status beck_publish(beck_bus *bus, const beck_event *event, beck_error *err)
{
    if (__builtin_expect(!bus || !event, false))
        return bus ? error_set(err, BECK_EINVAL, "there is no event to publish")
                   : handle_need(bus, "bus", err);
    if (__builtin_expect(bus->special, false))
        return publish_special(bus, event, 1, NULL, NULL, err);
    return bus_publish_one(bus, event, err);
}

beck_status beck_publish_many(beck_bus *bus, const beck_event *events, size_t count,
                              const beck_publish_options *options, beck_published *out,
                              beck_error *err)
{
    if (handle_need(bus, "bus", err))
        return BECK_EINVAL;
    if (!events && count > 0)
        return error_set(err, BECK_EINVAL, "there are no events to publish");
    if (bus->special)
        return publish_special(bus, events, count, options, out, err);
    return bus_publish(bus, events, count, options, out, err);
}

/* A bus that is deleted meanwhile has nothing left to sync. */
static beck_status sync_bus(beck_bus *bus, beck_error *err)
{
    beck_error own;
    for (uint32_t n = 0; n < bus->partition_count && !atomic_load(&bus->closed); n++) {
        beck_status status = partition_sync(bus_partition(bus, n), &own);
        if (status && status != BECK_ECLOSED)
            return error_set(err, status, "%s", own.text);
    }
    return BECK_OK;
}

beck_status beck_sync(beck *b, beck_error *err)
{
    beck_bus **buses;
    size_t count;
    if (handle_need(b, "handle", err))
        return BECK_EINVAL;
    if (b->remote && !b->read_only)
        return remote_sync(b->remote, err);
    beck_status status = copy_buses(b, &buses, &count, err);
    if (status || b->read_only)
        count = 0;
    for (size_t i = 0; i < count && !status; i++)
        status = sync_bus(buses[i], err);
    free(buses);
    return status;
}

/* ---- listeners ---- */

beck_status beck_subscribe(beck_bus *bus, const char *pattern, beck_listener_fn fn, void *ctx,
                           const beck_listener_options *options, beck_listener **out,
                           beck_error *err)
{
    if (handle_need(bus, "bus", err))
        return BECK_EINVAL;
    if (!pattern || !fn)
        return error_set(err, BECK_EINVAL, "a listener needs a pattern and a function");
    if (bus->remote)
        return error_set(err, BECK_EUNSUPPORTED,
                         "bus \"%s\" is a server's, which calls no listener of another process; "
                         "read it with `follow`, or take from a queue",
                         bus->name);
    if (atomic_load(&bus->closed))
        return error_set(err, BECK_ECLOSED, "bus \"%s\" has been deleted", bus->name);
    return subscribers_add(bus->subscribers, beck_str(pattern), fn, ctx, options, out, err);
}

void beck_unsubscribe(beck_listener *listener)
{
    if (listener)
        subscribers_remove(listener);
}

const beck_event *beck_current(beck *b)
{
    struct caller *self = b ? callers_self(b->callers) : NULL;
    return self ? caller_current(self) : NULL;
}
