/* Buses: see bus.h. */
#include "bus/bus.h"

#include "bus/addressing.h"
#include "base/uuid.h"
#include "bus/own_bus.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define SERIES_MAX 10000  /* of one metric, over all buses */
#define TYPES_COUNTED 100 /* of one bus, by name; the rest together */

/* ---- options ---- */

static beck_status refuse(beck_error *err, const char *name, int64_t value, const char *range)
{
    return error_set(err, BECK_EINVAL, "%s = %lld is out of range; use %s", name, (long long)value,
                     range);
}

beck_status bus_options_check(beck_bus_options *o, bool has_disk, beck_error *err)
{
    if (o->storage == BECK_STORAGE_DEFAULT)
        o->storage = has_disk ? BECK_STORAGE_DISK : BECK_STORAGE_MEMORY;
    if (o->storage > BECK_STORAGE_DISK)
        return refuse(err, "storage", o->storage, "one of beck_storage");
    if (o->storage == BECK_STORAGE_DISK && !has_disk)
        return error_set(err, BECK_EINVAL,
                         "a disk bus needs a data directory; open the handle with data_dir");
    if (o->partitions == 0)
        o->partitions = 1;
    if (o->level == BECK_LEVEL_DEFAULT)
        o->level = o->storage == BECK_STORAGE_DISK ? BECK_LEVEL_SYNCED : BECK_LEVEL_WRITTEN;
    if (o->segment_bytes == 0)
        o->segment_bytes = 1 << 30;
    if (o->segment_ms == 0)
        o->segment_ms = 7 * 86400000LL;
    if (o->delete_retention_ms == 0)
        o->delete_retention_ms = 86400000LL;
    if (o->event_bytes_max == 0)
        o->event_bytes_max = 1048588;
    if (o->partitions > BUS_PARTITIONS_MAX)
        return refuse(err, "partitions", o->partitions, "1 to 10000");
    if (o->storage == BECK_STORAGE_MEMORY && o->partitions > 1)
        return error_set(err, BECK_EINVAL, "a memory bus has one partition");
    if (o->segment_bytes < 4096 || o->segment_bytes > INT32_MAX)
        return refuse(err, "segment_bytes", o->segment_bytes, "4096 to 2147483647");
    if (o->segment_ms < 0)
        return refuse(err, "segment_ms", o->segment_ms, "1 or more");
    if (o->delete_retention_ms < 0)
        return refuse(err, "delete_retention_ms", o->delete_retention_ms, "1 or more");
    if (o->retention_ms < 0)
        return refuse(err, "retention_ms", o->retention_ms, "0 (for ever) or more");
    if (o->retention_bytes < 0)
        return refuse(err, "retention_bytes", o->retention_bytes, "0 (no limit) or more");
    if (o->dedup_window_ms < 0)
        return refuse(err, "dedup_window_ms", o->dedup_window_ms, "0 (off) or more");
    if (o->event_bytes_max > 64u << 20)
        return refuse(err, "event_bytes_max", o->event_bytes_max, "at most 67108864");
    if (o->codec > BECK_CODEC_ZSTD)
        return refuse(err, "codec", o->codec, "one of beck_codec");
    if (o->level > BECK_LEVEL_SYNCED)
        return refuse(err, "level", o->level, "one of beck_level");
    return BECK_OK;
}

const char *bus_options_difference(const beck_bus_options *a, const beck_bus_options *b)
{
    const struct {
        const char *name;
        bool same;
    } each[] = {{"storage", a->storage == b->storage},
                {"partitions", a->partitions == b->partitions},
                {"read_synced", a->read_synced == b->read_synced},
                {"level", a->level == b->level},
                {"codec", a->codec == b->codec},
                {"retention_ms", a->retention_ms == b->retention_ms},
                {"retention_bytes", a->retention_bytes == b->retention_bytes},
                {"compact", a->compact == b->compact},
                {"delete_retention_ms", a->delete_retention_ms == b->delete_retention_ms},
                {"segment_bytes", a->segment_bytes == b->segment_bytes},
                {"segment_ms", a->segment_ms == b->segment_ms},
                {"dedup_window_ms", a->dedup_window_ms == b->dedup_window_ms},
                {"event_bytes_max", a->event_bytes_max == b->event_bytes_max}};
    for (size_t i = 0; i < sizeof each / sizeof *each; i++)
        if (!each[i].same)
            return each[i].name;
    return NULL;
}

bool bus_options_equal(const beck_bus_options *a, const beck_bus_options *b)
{
    return !bus_options_difference(a, b);
}

beck_status bus_name_check(const char *what, const char *name, bool internal, beck_error *err)
{
    size_t len = name ? strlen(name) : 0;
    bool good = len >= 1 && len <= 249 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
    for (size_t i = 0; good && i < len; i++) {
        char c = name[i];
        good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '_' || c == '-';
    }
    if (!good)
        return error_set(err, BECK_EINVAL,
                         "\"%.260s\" is no name for a %s; use 1 to 249 of A-Z a-z 0-9 . _ -",
                         name ? name : "", what);
    if (!internal && own_bus_is_name(name))
        return error_set(err, BECK_EINVAL, "the %s name \"%s\" is kept for beck itself", what,
                         name);
    return BECK_OK;
}

/* ---- opening and closing ---- */

/* The path of a partition's directory; empty in memory. */
static beck_status partition_path(const beck_bus *b, const char *data_dir, uint32_t number,
                                  char *out, size_t size, beck_error *err)
{
    *out = 0;
    if (b->options.storage == BECK_STORAGE_MEMORY)
        return BECK_OK;
    int n = snprintf(out, size, "%s/%s-%u", data_dir, b->name, number);
    if (n < 0 || (size_t)n >= size)
        return error_set(err, BECK_EINVAL, "the path of the data directory is too long");
    return BECK_OK;
}

/* The next one. The checkpoints may be NULL: it is new. */
static beck_status open_partition(beck_bus *b, const char *data_dir,
                                  const beck_bus_options *options,
                                  const struct checkpoint *recovery,
                                  const struct checkpoint *log_start, beck_error *err)
{
    const struct own_bus *own = own_bus_find(b->name);
    struct partition_options po = {.bus = *options,
                                   .memory = options->storage == BECK_STORAGE_MEMORY,
                                   .routed = b->routing.routed,
                                   .routed_ctx = b->routing.ctx,
                                   .generation = &b->topology,
                                   .damaged_too = !own || !(own->needs & OWN_FOR_DIRECTORY),
                                   .id = b->id};
    uint32_t i = b->opened_count;
    char dir[4096];
    int64_t from = 0, start = 0;
    beck_status status = partition_path(b, data_dir, i, dir, sizeof dir, err);
    if (status)
        return status;
    if (recovery && !po.memory) {
        checkpoint_get(recovery, b->name, i, &from);
        checkpoint_get(log_start, b->name, i, &start);
    }
    status = partition_open(b->env, dir, b->name, i, &po, from, start, &b->partitions[i], err);
    b->opened_count += !status;
    return status;
}

static void choose_id(beck_bus *b, const char *data_dir, const uint8_t *id)
{
    char dir[4096];
    if (id) {
        memcpy(b->id, id, sizeof b->id);
        return;
    }
    if (b->options.storage == BECK_STORAGE_DISK &&
        !partition_path(b, data_dir, 0, dir, sizeof dir, NULL) &&
        !partition_read_id(b->env->vfs, dir, b->id, NULL))
        return;
    struct rng rng;
    rng_seed_system(&rng);
    uuid_v7(b->env->clock, &rng, b->id);
}

static beck_status open_partitions(beck_bus *b, const char *data_dir,
                                   const struct checkpoint *recovery,
                                   const struct checkpoint *log_start, beck_error *err)
{
    uint32_t count = b->options.partitions;
    beck_status status = BECK_OK;
    b->partitions = calloc(count, sizeof(struct partition *));
    if (!b->partitions)
        return error_set(err, BECK_ENOMEM, "no memory for %u partitions", count);
    while (b->opened_count < count && !status)
        status = open_partition(b, data_dir, &b->options, recovery, log_start, err);
    if (!status)
        b->partition_count = count;
    return status;
}

static void free_bus(beck_bus *b)
{
    free(atomic_load(&b->router));
    subscribers_free(b->subscribers);
    for (size_t i = 0; i < b->outgrown_count; i++)
        free(b->outgrown[i]);
    free(b->outgrown);
    free(b->partitions);
    free(b->name);
    free(b->source);
    free(b);
}

static struct metric_family *published_family(const beck_bus *b)
{
    static const char *const labels[] = {"bus", "type", NULL};
    return metrics_counter(b->env->metrics, "beck_events_published_total",
                           "Events published to a bus, by type.", labels, SERIES_MAX);
}

/* The counter of a type; after the first TYPES_COUNTED of them, that of all others. With the lock of
 * the subscribers. */
static struct counter *type_counter(void *ctx, beck_bytes type)
{
    beck_bus *b = ctx;
    struct metric_family *f = published_family(b);
    beck_bytes values[] = {beck_str(b->name), type};
    struct counter *c = metric_known(f, values);
    if (c)
        return c;
    if (b->types_counted < TYPES_COUNTED)
        b->types_counted++;
    else
        values[1] = beck_str("other");
    return metric_counter(f, values);
}

static struct metric_family *failures_family(const beck_bus *b)
{
    static const char *const labels[] = {"bus", NULL};
    return metrics_counter(b->env->metrics, "beck_listener_failures_total",
                           "Calls of listeners that reported a failure.", labels, SERIES_MAX);
}

static void make_metrics(beck_bus *b)
{
    if (!b->env->metrics)
        return;
    beck_bytes values[] = {beck_str(b->name)};
    subscribers_count_by(b->subscribers, type_counter, b);
    b->listener_failures = metric_counter(failures_family(b), values);
}

void bus_remove_metrics(beck_bus *b)
{
    if (!b->env->metrics)
        return;
    beck_bytes values[] = {beck_str(b->name)};
    metric_remove_all(published_family(b), values[0]);
    metric_remove(failures_family(b), values);
}

beck_status bus_open(const struct env *env, struct callers *callers,
                     const struct bus_routing *routing, const char *data_dir, const char *name,
                     const beck_bus_options *options, const uint8_t *id,
                     const struct checkpoint *recovery, const struct checkpoint *log_start,
                     beck_bus **out, beck_error *err)
{
    beck_bus *b = calloc(1, sizeof *b);
    if (!b)
        return error_set(err, BECK_ENOMEM, "no memory for bus \"%s\"", name);
    b->env = env;
    b->callers = callers;
    b->routing = *routing;
    b->options = *options;
    atomic_init(&b->level, options->level);
    atomic_init(&b->dedup_window_ms, options->dedup_window_ms);
    b->internal = b->special = own_bus_is_name(name);
    atomic_init(&b->detours,
                (uint32_t)b->special + (options->storage != BECK_STORAGE_MEMORY) + env->read_only);
    b->name = strdup(name);
    b->source = malloc(strlen(name) + 2);
    beck_status status = BECK_OK;
    if (!b->name || !b->source)
        status = error_set(err, BECK_ENOMEM, "no memory for bus \"%s\"", name);
    if (!status) {
        b->name_len = strlen(name);
        snprintf(b->source, strlen(name) + 2, "/%s", name);
        status = subscribers_new(callers, b->name, env->report, env->report_ctx, &b->subscribers);
        if (status)
            error_set(err, status, "no memory for bus \"%s\"", name);
    }
    if (!status) {
        choose_id(b, data_dir, id);
        status = open_partitions(b, data_dir, recovery, log_start, err);
    }
    if (status) {
        for (uint32_t i = 0; i < b->opened_count; i++)
            partition_abandon(bus_partition(b, i));
        free_bus(b);
        return status;
    }
    make_metrics(b);
    *out = b;
    return BECK_OK;
}

void bus_mark_closed(beck_bus *b)
{
    atomic_fetch_add(&b->detours, 1);
    atomic_store(&b->closed, true);
}

beck_status bus_close(beck_bus *b, beck_error *err)
{
    beck_status status = BECK_OK;
    bus_mark_closed(b);
    for (uint32_t i = 0; i < b->opened_count; i++) {
        beck_status one = partition_close(bus_partition(b, i), status ? NULL : err);
        status = status ? status : one;
    }
    free_bus(b);
    return status;
}

void bus_abandon(beck_bus *b)
{
    bus_mark_closed(b);
    uint32_t count = b->opened_count;
    b->partition_count = b->opened_count = 0;
    for (uint32_t i = 0; i < count; i++)
        partition_abandon(bus_partition(b, i));
}

/* ---- changing ---- */

const uint8_t *bus_id(const beck_bus *b)
{
    return b->id;
}

void bus_options_get(const beck_bus *b, beck_bus_options *out)
{
    uint32_t count = b->partition_count;
    if (count == 0) {
        *out = b->options;
        return;
    }
    partition_bus_options(bus_partition(b, 0), out);
    out->partitions = count;
}

/* Whoever reads the array goes on in the old one. */
static beck_status grow_array(beck_bus *b, uint32_t count, beck_error *err)
{
    struct partition **old = b->partitions, **grown = calloc(count, sizeof *grown);
    struct partition ***outgrown =
        realloc(b->outgrown, (b->outgrown_count + 1) * sizeof *b->outgrown);
    if (outgrown)
        b->outgrown = outgrown;
    if (!grown || !outgrown) {
        free(grown);
        return error_set(err, BECK_ENOMEM, "no memory for %u partitions", count);
    }
    memcpy(grown, old, b->opened_count * sizeof *grown);
    b->outgrown[b->outgrown_count++] = old;
    b->partitions = grown;
    return BECK_OK;
}

beck_status bus_open_more(beck_bus *b, const char *data_dir, uint32_t count, beck_error *err)
{
    beck_bus_options options;
    beck_status status = BECK_OK;
    bus_options_get(b, &options);
    if (count > b->opened_count)
        status = grow_array(b, count, err);
    while (b->opened_count < count && !status)
        status = open_partition(b, data_dir, &options, NULL, NULL, err);
    return status;
}

beck_status bus_check_damage(const beck_bus *b, beck_error *err)
{
    beck_status status = BECK_OK;
    for (uint32_t i = 0; i < b->partition_count && !status; i++)
        status = partition_check_damage(bus_partition(b, i), err);
    return status;
}

bool bus_reaches(const beck_bus *b, const beck_from *from)
{
    bool reached = false;
    for (uint32_t i = 0; i < b->partition_count && !reached; i++)
        reached = partition_reaches(bus_partition(b, i), from);
    return reached;
}

beck_status bus_alter(beck_bus *b, const beck_bus_options *options, beck_error *err)
{
    beck_status status = BECK_OK;
    assert(options->partitions >= b->partition_count && options->partitions <= b->opened_count);
    /* Before a partition deduplicates: until then it refuses what was routed as one (publish.c). */
    if (options->dedup_window_ms > 0)
        atomic_store(&b->dedup_window_ms, options->dedup_window_ms);
    for (uint32_t i = 0; i < b->opened_count; i++) {
        beck_status one = partition_alter(bus_partition(b, i), options, status ? NULL : err);
        status = status ? status : one;
    }
    atomic_store(&b->level, options->level);
    atomic_store(&b->dedup_window_ms, options->dedup_window_ms);
    if (options->partitions > b->partition_count) {
        b->partition_count = options->partitions;
        partition_wake(bus_partition(b, 0));
    }
    return status;
}

/* ---- the router ---- */

beck_status bus_set_router(beck_bus *b, bus_router_fn fn, void *ctx, beck_error *err)
{
    struct bus_router *fresh = NULL;
    if (fn && !(fresh = malloc(sizeof *fresh)))
        return error_set(err, BECK_ENOMEM, "no memory for a router of bus \"%s\"", b->name);
    if (fresh) {
        *fresh = (struct bus_router){fn, ctx};
        atomic_fetch_add(&b->detours, 1);
    }
    struct bus_router *old = atomic_exchange(&b->router, fresh);
    if (old) {
        atomic_fetch_sub(&b->detours, 1);
        callers_retire(b->callers, old, free, true);
    }
    return BECK_OK;
}

/* ---- routes ---- */

void bus_pause(beck_bus *b)
{
    for (uint32_t i = 0; i < b->partition_count; i++)
        partition_pause(bus_partition(b, i));
}

void bus_resume(beck_bus *b)
{
    for (uint32_t i = b->partition_count; i-- > 0;)
        partition_resume(bus_partition(b, i));
}

beck_status bus_add_route(beck_bus *b, beck_bytes pattern, void *route, void (*paused)(void *ctx),
                          void *ctx, beck_error *err)
{
    bus_pause(b);
    beck_status status = subscribers_add_route(b->subscribers, pattern, route, err);
    if (!status) {
        atomic_fetch_add(&b->detours, 1);
        atomic_fetch_add(&b->route_count, 1);
        atomic_fetch_add(&b->topology, 1);
        if (paused)
            paused(ctx);
    }
    bus_resume(b);
    return status;
}

void bus_remove_route(beck_bus *b, beck_bytes pattern, void *route)
{
    bus_pause(b);
    if (subscribers_remove_route(b->subscribers, pattern, route)) {
        atomic_fetch_sub(&b->route_count, 1);
        atomic_fetch_sub(&b->detours, 1);
        atomic_fetch_add(&b->topology, 1);
    }
    bus_resume(b);
}

void bus_join(beck_bus *b, void (*paused)(void *ctx), void *ctx)
{
    bus_pause(b);
    atomic_fetch_add(&b->joined_count, 1);
    paused(ctx);
    bus_resume(b);
}

void bus_part(beck_bus *b)
{
    atomic_fetch_sub(&b->joined_count, 1);
}

/* ---- partitions of events ---- */

static uint32_t murmur2(const uint8_t *p, size_t len)
{
    const uint32_t m = 0x5bd1e995u;
    uint32_t h = 0x9747b28cu ^ (uint32_t)len;
    for (; len >= 4; len -= 4, p += 4) {
        uint32_t k =
            (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        k *= m;
        k ^= k >> 24;
        h = h * m ^ k * m;
    }
    if (len == 3)
        h ^= (uint32_t)p[2] << 16;
    if (len >= 2)
        h ^= (uint32_t)p[1] << 8;
    if (len >= 1)
        h = (h ^ p[0]) * m;
    h ^= h >> 13;
    h *= m;
    return h ^ h >> 15;
}

uint32_t bus_partition_of(beck_bytes key, uint32_t partitions)
{
    assert(partitions > 0);
    return (murmur2(key.data, key.len) & 0x7fffffffu) % partitions;
}
