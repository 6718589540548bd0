/*
 * Appending 128 B events to a disk bus.
 *
 * Unsynced: one thread, batches of 64, at the levels `written` (each batch is in the operating
 * system when the call returns) and `none`. Synced: the latency of one publisher, and what 64
 * publishers get together, each waiting for its own event before it publishes the next.
 */
#include "bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define BATCH 64
#define PUBLISHERS 64

static char payload[128];

static beck_event sample(void)
{
    return (beck_event){.type = beck_str("order.created"), .data = {payload, sizeof payload}};
}

static beck *open_bus(beck_bus **bus)
{
    beck *b;
    beck_error err;
    beck_options options = {.data_dir = bench_dir()};
    bench_ok(beck_open(&b, &options, &err), &err);
    bench_ok(beck_bus_create(b, "orders", NULL, bus, &err), &err);
    return b;
}

static void append_batches(beck_bus *bus, size_t count, beck_level level)
{
    beck_event events[BATCH];
    beck_error err;
    beck_publish_options options = {.level = level};
    for (int i = 0; i < BATCH; i++)
        events[i] = sample();
    for (size_t i = 0; i < count; i += BATCH)
        bench_ok(beck_publish_many(bus, events, BATCH, &options, NULL, &err), &err);
}

static void measure_unsynced(const char *id, beck_level level, const char *durability)
{
    beck_bus *bus;
    if (!bench_wants(id))
        return;
    beck *b = open_bus(&bus);
    size_t count = bench_count(6400000);
    append_batches(bus, count / 100 / BATCH * BATCH, level);
    struct stopwatch start = stopwatch_start();
    append_batches(bus, count, level);
    bench_report_rate(id, count, stopwatch_since(start), durability);
    beck_close(b);
    bench_clean();
}

static void measure_latency(const char *id)
{
    beck_bus *bus;
    beck_error err;
    if (!bench_wants(id))
        return;
    beck *b = open_bus(&bus);
    size_t count = bench_count(4000);
    int64_t *times = calloc(count, sizeof *times);
    bench_must(times != NULL, "calloc");
    beck_event event = sample();
    bench_ok(beck_publish(bus, &event, &err), &err);
    struct stopwatch start = stopwatch_start();
    for (size_t i = 0; i < count; i++) {
        int64_t began = bench_now_ns();
        bench_ok(beck_publish(bus, &event, &err), &err);
        times[i] = bench_now_ns() - began;
    }
    struct stopwatch took = stopwatch_since(start);
    bench_report_p50(id, times, count, (double)took.cpu_ns / (double)count, "synced");
    free(times);
    beck_close(b);
    bench_clean();
}

struct group {
    beck_bus *bus;
    int64_t until_ns;
    _Atomic(size_t) count;
};

static void *publish_synced(void *arg)
{
    struct group *g = arg;
    beck_event event = sample();
    beck_error err;
    size_t count = 0;
    while (bench_now_ns() < g->until_ns) {
        bench_ok(beck_publish(g->bus, &event, &err), &err);
        count++;
    }
    atomic_fetch_add(&g->count, count);
    return NULL;
}

static void measure_group(const char *id)
{
    struct group g = {0};
    pthread_t threads[PUBLISHERS];
    if (!bench_wants(id))
        return;
    beck *b = open_bus(&g.bus);
    struct stopwatch start = stopwatch_start();
    g.until_ns = start.wall_ns + (int64_t)bench_count(2000) * 1000000;
    for (int i = 0; i < PUBLISHERS; i++)
        bench_must(pthread_create(&threads[i], NULL, publish_synced, &g) == 0, "pthread_create");
    for (int i = 0; i < PUBLISHERS; i++)
        pthread_join(threads[i], NULL);
    bench_report_rate(id, g.count, stopwatch_since(start), "synced");
    beck_close(b);
    bench_clean();
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    measure_unsynced("append.written_64", BECK_LEVEL_WRITTEN, "written");
    measure_unsynced("append.none_64", BECK_LEVEL_NONE, "none");
    measure_latency("append.synced_p50");
    measure_group("append.synced_64");
    return 0;
}
