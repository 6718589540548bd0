/* Buses of a server: making, finding, deleting and looking at them. */
#include "remote/remote_impl.h"

#include <stdlib.h>

beck_status remote_bus_create(struct remote *r, const char *name, const beck_bus_options *options,
                              beck_bus **out, beck_error *err)
{
    struct target t;
    beck_bus *bus = remote_bus_of(r, name, err);
    if (!bus)
        return BECK_ENOMEM;
    target_of_bus(&t, name, "");
    beck_status status = remote_do(r, "PUT", &t, &shape_bus_options, options, err);
    if (!status && out)
        *out = bus;
    return status;
}

beck_status remote_bus_get(struct remote *r, const char *name, beck_bus **out, beck_error *err)
{
    struct target t;
    target_of_bus(&t, name, "");
    beck_status status = remote_do(r, "GET", &t, NULL, NULL, err);
    beck_bus *bus = status ? NULL : remote_bus_of(r, name, err);
    if (status)
        return status;
    if (!bus)
        return BECK_ENOMEM;
    *out = bus;
    return BECK_OK;
}

beck_status remote_bus_delete(struct remote *r, const char *name, beck_error *err)
{
    struct target t;
    target_of_bus(&t, name, "");
    return remote_do(r, "DELETE", &t, NULL, NULL, err);
}

beck_status remote_bus_alter(beck_bus *bus, const beck_bus_options *options, beck_error *err)
{
    struct target t;
    target_of_bus(&t, bus->name, "/options");
    return remote_bus_gone(bus, remote_do(bus->remote, "PUT", &t, &shape_bus_options, options, err),
                           err);
}

beck_status remote_bus_purge(beck_bus *bus, beck_error *err)
{
    struct target t;
    target_of_bus(&t, bus->name, "/purge");
    return remote_bus_gone(bus, remote_do(bus->remote, "POST", &t, NULL, NULL, err), err);
}

/* ---- looking ---- */

beck_status remote_bus_info(beck_bus *bus, beck_bus_info *out, beck_error *err)
{
    struct target t;
    struct reply g;
    struct api_bus said;
    target_of_bus(&t, bus->name, "");
    beck_status status = remote_ask(bus->remote, "GET", &t, NULL, NULL, &shape_bus, &said, &g, err);
    if (!status) {
        *out = said.info;
        out->name = bus->name;
    }
    reply_release(&g);
    return remote_bus_gone(bus, status, err);
}

beck_status remote_partition_info(beck_bus *bus, uint32_t partition, beck_partition_info *out,
                                  beck_error *err)
{
    struct target t;
    struct reply g;
    struct api_partitions all;
    target_of_bus(&t, bus->name, "/partitions");
    beck_status status =
        remote_ask(bus->remote, "GET", &t, NULL, NULL, &shape_partitions, &all, &g, err);
    status = remote_bus_gone(bus, status, err);
    if (!status && partition >= all.count)
        status = error_set(err, BECK_ENOENT, "bus \"%s\" has no partition %u; it has 0 to %zu",
                           bus->name, partition, all.count - 1);
    if (!status)
        *out = all.list[partition].info;
    reply_release(&g);
    return status;
}

beck_status remote_bus_list(struct remote *r, int (*each)(void *ctx, beck_bus *bus), void *ctx,
                            beck_error *err)
{
    struct target t;
    struct reply g;
    struct api_buses all;
    target_begin(&t, "/v1/buses");
    beck_status status = remote_ask(r, "GET", &t, NULL, NULL, &shape_buses, &all, &g, err);
    for (size_t i = 0; !status && i < all.count; i++) {
        beck_bus *bus = remote_bus_of(r, all.list[i].info.name, err);
        if (!bus)
            status = BECK_ENOMEM;
        else if (each(ctx, bus))
            break;
    }
    reply_release(&g);
    return status;
}
