/*
 * Buses of versions that did not write down whether offsets of them may be missing (`unsure`): until that is known nobody
 * is told of segments that are gone. Their batches are looked at once, a little with each round of upkeep. When there
 * are no gaps from where a bus begins to its end that is written down, and checked from then on.
 *
 * What was looked at is forgotten with the handle. A bus that has gaps, or cannot be read, stays as it is.
 */
#include "api/handle.h"

#include <assert.h>

#define LOOK_BYTES (32u << 20) /* in one round */

struct look {
    struct partition *p;
    int64_t next;
    size_t *left;
    bool lacks;
};

static beck_status look_at_batch(void *ctx, const struct batch_header *h, beck_bytes batch,
                                 beck_error *err)
{
    struct look *l = ctx;
    (void)err;
    l->lacks = h->base_offset > l->next && h->base_offset > partition_first(l->p);
    if (l->lacks)
        return BECK_END;
    l->next = batch_last_offset(h) + 1;
    *l->left -= batch.len < *l->left ? batch.len : *l->left;
    return *l->left > 0 ? BECK_OK : BECK_END;
}

/* Goes on in the partition that is next. False: it lacks something, or nobody can tell. */
static bool look_at_partition(beck *b, beck_bus *bus, size_t *left)
{
    struct partition *p = bus_partition(bus, bus->sure_partitions);
    int64_t start = 0, end = partition_high(p), cleaned = partition_cleaned(p);
    checkpoint_get(&b->log_start, bus->name, bus->sure_partitions, &start);
    if (start < cleaned)
        start = cleaned;
    struct look l = {p, bus->sure_offset > start ? bus->sure_offset : start, left, false};
    if (partition_damage(p) || partition_kept(p) > start)
        return false;
    if (l.next < end && partition_each_batch(p, l.next, end, look_at_batch, &l, NULL))
        return false;
    bool done = l.next >= end;
    if (l.lacks || (!done && *left > 0))
        return false;
    bus->sure_partitions += done;
    bus->sure_offset = done ? 0 : l.next;
    return true;
}

static beck_status write_down(beck *b, beck_bus *bus, beck_error *err)
{
    beck_bus_options o;
    beck_status status = BECK_OK;
    mutex_lock(&b->admin_lock);
    bus_options_get(bus, &o);
    if (!atomic_load(&bus->closed))
        status = topology_put_bus(b, bus->name, &o, bus_id(bus), BUS_WHOLE, err);
    bus->unsure = status != BECK_OK;
    bus->gaps = bus->unsure;
    for (uint32_t i = 0; i < bus->partition_count && !status; i++)
        partition_allow_gaps(bus_partition(bus, i), false);
    mutex_unlock(&b->admin_lock);
    return status;
}

beck_status handle_find_whole(beck *b, beck_error *err)
{
    struct handle_view v;
    size_t left = LOOK_BYTES;
    assert(mutex_held(&b->upkeep_lock));
    beck_status status = handle_view_take(b, &v, err);
    if (status)
        return status;
    for (size_t i = 0; i < v.bus_count && left > 0 && !status; i++) {
        beck_bus *bus = v.buses[i];
        while (bus->unsure && left > 0 && bus->sure_partitions < bus->partition_count)
            bus->unsure = look_at_partition(b, bus, &left);
        if (bus->unsure && bus->sure_partitions == bus->partition_count)
            status = write_down(b, bus, err);
    }
    handle_view_release(&v);
    return status;
}
