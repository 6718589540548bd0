/* /v1/buses: making, showing, purging and deleting buses. */
#include "bus/bus.h"
#include "bus/own_bus.h"
#include "wire/http/document.h"

/* The bus that the path names, or NULL after answering. */
static beck_bus *find_bus(struct http_request *r)
{
    beck_bus *bus;
    beck_error err;
    beck_status status = beck_bus_get(http_of(r)->b, http_path(r, 0), &bus, &err);
    if (!status)
        return bus;
    http_fail(r, status, &err);
    return NULL;
}

static beck_status describe(beck_bus *bus, struct api_bus *out, beck_error *err)
{
    *out = (struct api_bus){.internal = own_bus_is_name(beck_bus_name(bus))};
    return beck_bus_info_get(bus, &out->info, err);
}

static void answer_bus(struct http_request *r, beck_bus *bus, int http_status)
{
    struct api_bus shown;
    beck_error err;
    beck_status status = describe(bus, &shown, &err);
    if (status)
        http_fail(r, status, &err);
    else
        document_answer(r, http_status, &shape_bus, &shown);
}

/* ---- handlers ---- */

struct listing {
    struct http_request *r;
    struct document_list list;
};

static int list_one(void *ctx, beck_bus *bus)
{
    struct listing *l = ctx;
    struct api_bus shown;
    /* One that is deleted meanwhile is left out. */
    if (document_may_see(l->r, ACCESS_BUS, beck_bus_name(bus)) && !describe(bus, &shown, NULL))
        document_list_add(&l->list, &shape_bus, &shown);
    return l->list.status != BECK_OK;
}

static void list_buses(struct http_request *r)
{
    struct listing l = {.r = r};
    document_list_init(&l.list, "buses");
    if (!l.list.status)
        l.list.status = beck_bus_list(http_of(r)->b, list_one, &l, &l.list.err);
    document_list_answer(&l.list, r);
}

static void show_bus(struct http_request *r)
{
    beck_bus *bus = find_bus(r);
    if (bus)
        answer_bus(r, bus, 200);
}

static void put_bus(struct http_request *r)
{
    beck *b = http_of(r)->b;
    beck_bus_options options;
    beck_bus *bus;
    beck_error err;
    if (!document_read(r, &shape_bus_options, &options))
        return;
    bool known = beck_bus_get(b, http_path(r, 0), &bus, NULL) == BECK_OK;
    beck_status status = beck_bus_create(b, http_path(r, 0), &options, &bus, &err);
    if (status)
        http_fail(r, status, &err);
    else
        answer_bus(r, bus, known ? 200 : 201);
}

static void alter_bus(struct http_request *r)
{
    beck_bus_options options;
    beck_error err;
    beck_bus *bus = find_bus(r);
    if (!bus || !document_read(r, &shape_bus_options, &options))
        return;
    beck_status status = beck_bus_alter(bus, &options, &err);
    if (status)
        http_fail(r, status, &err);
    else
        answer_bus(r, bus, 200);
}

static void delete_bus(struct http_request *r)
{
    beck_error err;
    beck_status status = beck_bus_delete(http_of(r)->b, http_path(r, 0), &err);
    if (status)
        http_fail(r, status, &err);
    else
        http_answer(r, 204, NULL, NULL);
}

static void list_partitions(struct http_request *r)
{
    beck_bus *bus = find_bus(r);
    beck_bus_info info;
    struct document_list list;
    if (!bus)
        return;
    document_list_init(&list, "partitions");
    if (!list.status)
        list.status = beck_bus_info_get(bus, &info, &list.err);
    for (uint32_t i = 0; !list.status && i < info.options.partitions; i++) {
        struct api_partition p = {.partition = i};
        list.status = beck_partition_info_get(bus, i, &p.info, &list.err);
        document_list_add(&list, &shape_partition, &p);
    }
    document_list_answer(&list, r);
}

static void purge_bus(struct http_request *r)
{
    beck_bus *bus = find_bus(r);
    beck_error err;
    if (!bus)
        return;
    beck_status status = beck_bus_purge(bus, &err);
    if (status)
        http_fail(r, status, &err);
    else
        http_answer(r, 204, NULL, NULL);
}

static void sync_all(struct http_request *r)
{
    beck_error err;
    beck_status status = beck_sync(http_of(r)->b, &err);
    if (status)
        http_fail(r, status, &err);
    else
        http_answer(r, 204, NULL, NULL);
}

const struct http_route http_routes_buses[] = {
    {"GET", "/v1/buses", HTTP_POOL, HTTP_NAMED, ACCESS_SERVER, list_buses, "listBuses",
     "All buses that the caller has a right on", NULL, NULL, "Buses"},
    {"GET", "/v1/buses/{bus}", HTTP_POOL, ACCESS_DESCRIBE, ACCESS_BUS, show_bus, "getBus",
     "A bus with its options", NULL, NULL, "Bus"},
    {"PUT", "/v1/buses/{bus}", HTTP_POOL, ACCESS_ADMIN, ACCESS_BUS, put_bus, "putBus",
     "Makes a bus (201), or finds it with the same options (200); 409: it exists with others", NULL,
     "BusOptions", "Bus"},
    {"PUT", "/v1/buses/{bus}/options", HTTP_POOL, ACCESS_ADMIN, ACCESS_BUS, alter_bus, "alterBus",
     "Changes the options of a bus to these: storage and read_synced must stay, partitions can "
     "become more",
     NULL, "BusOptions", "Bus"},
    {"DELETE", "/v1/buses/{bus}", HTTP_POOL, ACCESS_ADMIN, ACCESS_BUS, delete_bus, "deleteBus",
     "Deletes a bus with everything stored in it; 409 while a queue is bound to it", NULL, NULL,
     NULL},
    {"GET", "/v1/buses/{bus}/partitions", HTTP_POOL, ACCESS_DESCRIBE, ACCESS_BUS, list_partitions,
     "listPartitions", "The partitions of a bus", NULL, NULL, "Partitions"},
    {"POST", "/v1/buses/{bus}/purge", HTTP_POOL, ACCESS_ADMIN, ACCESS_BUS, purge_bus, "purgeBus",
     "Removes all events of a bus; offsets go on", NULL, NULL, NULL},
    {"POST", "/v1/sync", HTTP_POOL, ACCESS_ADMIN, ACCESS_SERVER, sync_all, "sync",
     "Answers once everything published before is on the device", NULL, NULL, NULL},
    {0}};
