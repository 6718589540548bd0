/*
 * Changing a bus while it lives.
 *
 * New partitions are opened and known to the queues bound to the bus, durably, before the change is recorded; publishers and readers see them
 * after that. A crash in between leaves empty partitions that nobody sees, and the next change takes them.
 */
#include "api/handle.h"

#include "log/committer.h"

static beck_status refuse_change(const beck_bus *bus, const char *what, beck_error *err)
{
    return error_set(err, BECK_EINVAL,
                     "%s of bus \"%s\" stays as it was made; make another bus and publish to that",
                     what, bus->name);
}

static bool is_engines(const beck *b, const beck_bus *bus)
{
    return bus == b->topology || bus == b->home.state || bus == b->home.dead;
}

/* Fills in the defaults. */
static beck_status check(const beck *b, const beck_bus *bus, beck_bus_options *o, beck_error *err)
{
    if (b->read_only)
        return error_set(err, BECK_EINVAL, "the data directory is open for reading only");
    if (is_engines(b, bus))
        return error_set(err, BECK_EINVAL,
                         "bus \"%s\" belongs to beck itself and cannot be changed", bus->name);
    if (o->storage == BECK_STORAGE_DEFAULT)
        o->storage = bus->options.storage;
    beck_status status = bus_options_check(o, b->data_dir != NULL, err);
    if (status)
        return status;
    if (o->storage != bus->options.storage)
        return refuse_change(bus, "the storage", err);
    if (o->read_synced != bus->options.read_synced)
        return refuse_change(bus, "read_synced", err);
    return BECK_OK;
}

/* Partitions that nobody sees yet. */
static beck_status add_partitions(beck *b, beck_bus *bus, uint32_t count, beck_error *err)
{
    beck_status status = BECK_OK;
    if (b->env.committer)
        status = committer_reserve(b->env.committer,
                                   handle_count_partitions(b) + count - bus->opened_count, err);
    if (!status)
        status = bus_open_more(bus, b->data_dir, count, err);
    for (size_t i = 0; i < b->queue_count && !status; i++) {
        struct queue *q = b->queues[i];
        if (!queue_is_bound_to(q, bus))
            continue;
        status = queue_add_partitions(q, bus, count, err);
        if (!status)
            status = upkeep_snapshot(b, q, err);
    }
    return status;
}

static void allow_gaps(beck_bus *bus)
{
    bus->gaps = true;
    bus->unsure = false;
    for (uint32_t i = 0; i < bus->partition_count; i++)
        partition_allow_gaps(bus_partition(bus, i), true);
}

beck_status handle_allow_gaps(beck *b, beck_bus *bus, beck_error *err)
{
    beck_bus_options o;
    mutex_lock(&b->upkeep_lock);
    mutex_lock(&b->admin_lock);
    bus_options_get(bus, &o);
    beck_status status =
        atomic_load(&bus->closed)
            ? error_set(err, BECK_ECLOSED, "bus \"%s\" has been deleted", bus->name)
            : topology_put_bus(b, bus->name, &o, bus_id(bus), BUS_GAPS, err);
    if (!status)
        allow_gaps(bus);
    mutex_unlock(&b->admin_lock);
    mutex_unlock(&b->upkeep_lock);
    return status;
}

/* With upkeep_lock and admin_lock. */
static beck_status alter(beck *b, beck_bus *bus, const beck_bus_options *o, beck_error *err)
{
    beck_bus_options now;
    if (atomic_load(&bus->closed))
        return error_set(err, BECK_ECLOSED, "bus \"%s\" has been deleted", bus->name);
    bus_options_get(bus, &now);
    if (bus_options_equal(&now, o))
        return BECK_OK;
    if (o->partitions < now.partitions)
        return error_set(err, BECK_EINVAL,
                         "bus \"%s\" has %u partitions, which can become more but not %u",
                         bus->name, now.partitions, o->partitions);
    beck_status status = BECK_OK;
    if (o->partitions > now.partitions)
        status = add_partitions(b, bus, o->partitions, err);
    /* What compaction took stays away. */
    bool compacted = now.compact && !o->compact;
    if (!status && o->storage == BECK_STORAGE_DISK)
        status = topology_put_bus(b, bus->name, o, bus_id(bus),
                                  compacted ? BUS_GAPS : handle_whole(bus), err);
    if (!status && compacted)
        allow_gaps(bus);
    return status ? status : bus_alter(bus, o, err);
}

beck_status handle_alter_bus(beck *b, beck_bus *bus, const beck_bus_options *options,
                             beck_error *err)
{
    beck_bus_options o = *options;
    beck_status status = check(b, bus, &o, err);
    if (status)
        return status;
    mutex_lock(&b->upkeep_lock);
    mutex_lock(&b->admin_lock);
    status = alter(b, bus, &o, err);
    if (!status)
        handle_tell_changed(b, bus, BUS_ALTERED);
    mutex_unlock(&b->admin_lock);
    mutex_unlock(&b->upkeep_lock);
    return status;
}

beck_status beck_bus_alter(beck_bus *bus, const beck_bus_options *options, beck_error *err)
{
    if (handle_need(bus, "bus", err))
        return BECK_EINVAL;
    if (!options)
        return error_set(err, BECK_EINVAL, "a bus is changed to options: there are none");
    if (bus->remote)
        return remote_bus_alter(bus, options, err);
    if (bus->internal)
        return error_set(err, BECK_EINVAL,
                         "bus \"%s\" belongs to beck itself and cannot be changed", bus->name);
    return handle_alter_bus(handle_of(bus), bus, options, err);
}
