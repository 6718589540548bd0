/*
 * GET /asyncapi.json: each bus as a channel, with a message for each type of its newest events
 * (AsyncAPI 3.0). Types are found by reading the end of the log, so what was not published for long
 * is not listed; buses in memory have no log.
 */
#include "bus/bus.h"
#include "bus/own_bus.h"
#include "wire/http/describe.h"

#include <stdio.h>
#include <stdlib.h>

#define TYPES_MAX 100       /* of a bus */
#define EVENTS_OF_BUS 10000 /* read of each bus */
#define EVENTS_MAX 200000   /* of all of them */

/* ---- types seen ---- */

struct types {
    char *list[TYPES_MAX];
    size_t count;
    bool failed; /* no memory */
};

static void types_add(struct types *t, beck_bytes type)
{
    size_t low = 0, high = t->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = bytes_compare(type, beck_str(t->list[middle]));
        if (order == 0)
            return;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    if (t->count == TYPES_MAX)
        return;
    char *copy = strndup(type.data, type.len);
    if (!copy) {
        t->failed = true;
        return;
    }
    for (size_t i = t->count++; i > low; i--)
        t->list[i] = t->list[i - 1];
    t->list[low] = copy;
}

static void types_release(struct types *t)
{
    while (t->count > 0)
        free(t->list[--t->count]);
}

/* The last `max` events of a partition. */
static int64_t scan_partition(beck_bus *bus, uint32_t partition, int64_t max, struct types *types)
{
    beck_partition_info info;
    beck_reader *reader;
    const beck_event *e;
    int64_t read = 0;
    if (beck_partition_info_get(bus, partition, &info, NULL))
        return 0;
    int64_t first =
        info.next_offset - max > info.first_offset ? info.next_offset - max : info.first_offset;
    beck_read_options o = {.from = {.kind = BECK_FROM_OFFSET, .offset = first},
                           .partition_plus_1 = (int32_t)partition + 1};
    if (max <= 0 || first >= info.next_offset || beck_reader_open(bus, &o, &reader, NULL))
        return 0;
    while (read < max && !beck_reader_next(reader, 0, &e, NULL)) {
        types_add(types, e->type);
        read++;
    }
    beck_reader_close(reader);
    return read;
}

static void scan_bus(beck_bus *bus, const beck_bus_info *info, int64_t *left, struct types *types)
{
    if (info->options.storage != BECK_STORAGE_DISK)
        return;
    int64_t each = EVENTS_OF_BUS / info->options.partitions;
    for (uint32_t i = 0; i < info->options.partitions; i++)
        *left -= scan_partition(bus, i, each < *left ? each + 1 : *left, types);
}

/* ---- channels ---- */

struct channels {
    struct http_request *r;
    struct description channels, operations;
    int64_t left; /* events that may still be read */
    bool any;
};

/* Names of messages are keys: what may stand in one as it is, or a number. */
static void message_name(const char *type, size_t number, char out[300])
{
    bool plain = strlen(type) < 256;
    for (const char *p = type; *p && plain; p++)
        plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
                *p == '.' || *p == '-' || *p == '_';
    if (plain)
        snprintf(out, 300, "%s", type);
    else
        snprintf(out, 300, "type %zu", number); /* no type has a space */
}

static void put_messages(struct description *d, const struct types *types)
{
    for (size_t i = 0; i < types->count; i++) {
        char name[300];
        beck_bytes type = beck_str(types->list[i]);
        message_name(types->list[i], i, name);
        describe_format(d, "%s\"%s\":{\"name\":", i ? "," : "", name);
        describe_text(d, type);
        describe_put(d, ",\"contentType\":\"application/cloudevents+json\",\"payload\":{\"allOf\":["
                        "{\"$ref\":\"#/components/schemas/Event\"},{\"type\":\"object\","
                        "\"properties\":{\"type\":{\"const\":");
        describe_text(d, type);
        describe_put(d, "}}}]}}");
    }
}

static void put_operation(struct channels *c, const char *bus, const char *verb, const char *action,
                          const char *method, const char *summary)
{
    struct description *d = &c->operations;
    describe_format(d,
                    "%s\"%s.%s\":{\"action\":\"%s\",\"channel\":{\"$ref\":\"#/channels/%s\"},"
                    "\"summary\":\"%s\",\"bindings\":{\"http\":{\"method\":\"%s\","
                    "\"bindingVersion\":\"0.3.0\"}}}",
                    c->any ? "," : "", verb, bus, action, bus, summary, method);
    c->any = true;
}

static int add_bus(void *ctx, beck_bus *bus)
{
    struct channels *c = ctx;
    struct types types = {0};
    const char *name = beck_bus_name(bus);
    const struct identity *i = http_identity(c->r);
    bool reads = identity_may(i, ACCESS_READ, ACCESS_BUS, name);
    bool publishes = identity_may(i, ACCESS_PUBLISH, ACCESS_BUS, name);
    beck_bus_info info;
    if (own_bus_is_name(name) || (!reads && !publishes) || beck_bus_info_get(bus, &info, NULL))
        return 0;
    if (reads)
        scan_bus(bus, &info, &c->left, &types);
    describe_format(&c->channels, "%s\"%s\":{\"address\":\"/v1/buses/%s/events\",\"messages\":{",
                    c->any ? "," : "", name, name);
    put_messages(&c->channels, &types);
    describe_put(&c->channels, "}}");
    if (types.failed && !c->channels.status)
        c->channels.status = BECK_ENOMEM;
    types_release(&types);
    /* The server's side: it receives what others publish. */
    if (publishes)
        put_operation(c, name, "publish", "receive", "POST", "Publish events");
    if (reads)
        put_operation(c, name, "read", "send", "GET", "Read or follow events");
    return 0;
}

static void put_beginning(struct description *d, struct http_request *r)
{
    const char *host = http_header(r, "Host");
    describe_put(d, "{\"asyncapi\":\"3.0.0\",\"info\":{\"title\":\"beck\",\"version\":");
    describe_text(d, beck_str(http_of(r)->server_version));
    describe_put(d, "},\"defaultContentType\":\"application/cloudevents+json\","
                    "\"servers\":{\"http\":{\"protocol\":\"http\",\"host\":");
    describe_text(d, beck_str(host && *host ? host : "localhost"));
    describe_put(d, "}},\"channels\":{");
}

static void join(struct description *d, struct description *part)
{
    if (!d->status)
        d->status = part->status;
    if (!d->status)
        d->status = buf_append(&d->out, part->out.data, part->out.len);
    buf_release(&part->out);
}

void describe_asyncapi(struct http_request *r)
{
    struct channels c = {.r = r, .left = EVENTS_MAX};
    struct description d;
    describe_begin(&d);
    describe_begin(&c.channels);
    describe_begin(&c.operations);
    beck_error err;
    beck_status status = beck_bus_list(http_of(r)->b, add_bus, &c, &err);
    if (status && !c.channels.status)
        c.channels.status = status;
    put_beginning(&d, r);
    join(&d, &c.channels);
    describe_put(&d, "},\"operations\":{");
    join(&d, &c.operations);
    describe_put(&d, "},\"components\":{\"schemas\":{\"Event\":");
    describe_shape(&d, &shape_event, "#/components/schemas/");
    describe_put(&d, "}}}");
    describe_answer(&d, r);
}
