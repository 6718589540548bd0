/*
 * Durable queues.
 *
 * durable: events are published synced (batches of 64, up to 64 of them waiting for their sync at
 * once), delivered to 4 worker threads and settled; the time ends when the last one is settled.
 * drain: taking and settling 200,000 events by one consumer, from a queue that holds just these
 * and from one that holds ten times as many: how much slower the deep one is.
 * rss: resident memory with a backlog of 10 million events of 100 B, above that of the same
 * process with an empty queue; 100 million with --large.
 */
#include "bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#define BATCH 64
#define TAKE 256

static char payload[128];

static void sleep_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static beck *open_queue(beck_bus **bus)
{
    beck *b;
    beck_error err;
    beck_options options = {.data_dir = bench_dir()};
    beck_binding binding = {.bus = "orders", .pattern = "order.#"};
    bench_ok(beck_open(&b, &options, &err), &err);
    bench_ok(beck_bus_create(b, "orders", NULL, bus, &err), &err);
    bench_ok(beck_queue_create(b, "work", NULL, &err), &err);
    bench_ok(beck_queue_bind(b, "work", &binding, &err), &err);
    return b;
}

static void wait_ready(beck *b, size_t count)
{
    beck_queue_info info;
    beck_error err;
    for (;;) {
        bench_ok(beck_queue_info_get(b, "work", &info, &err), &err);
        if (info.ready >= (int64_t)count)
            return;
        sleep_ms(1);
    }
}

static void fill(beck *b, beck_bus *bus, size_t count, size_t event_bytes)
{
    beck_event events[BATCH];
    beck_error err;
    beck_publish_options options = {.level = BECK_LEVEL_WRITTEN};
    for (int i = 0; i < BATCH; i++)
        events[i] = (beck_event){.type = beck_str("order.created"), .data = {payload, event_bytes}};
    for (size_t i = 0; i < count; i += BATCH)
        bench_ok(beck_publish_many(bus, events, BATCH, &options, NULL, &err), &err);
    wait_ready(b, count);
}

/* ---- publish, deliver, settle ---- */

struct flow {
    _Atomic(size_t) handled;
    _Atomic(int) unsynced; /* batches */
    _Atomic(bool) failed;
};

static int handle(void *ctx, const beck_delivery *delivery, char *why)
{
    (void)delivery;
    (void)why;
    atomic_fetch_add_explicit(&((struct flow *)ctx)->handled, 1, memory_order_relaxed);
    return BECK_SETTLE;
}

static void batch_done(void *ctx, beck_status status, const beck_published *published)
{
    (void)published;
    struct flow *flow = ctx;
    if (status != BECK_OK)
        atomic_store(&flow->failed, true);
    atomic_fetch_sub(&flow->unsynced, 1);
}

static void publish_synced(beck_bus *bus, struct flow *flow, size_t count)
{
    beck_event events[BATCH];
    beck_error err;
    beck_publish_options options = {
        .level = BECK_LEVEL_SYNCED, .done = batch_done, .done_ctx = flow};
    for (int i = 0; i < BATCH; i++)
        events[i] =
            (beck_event){.type = beck_str("order.created"), .data = {payload, sizeof payload}};
    for (size_t i = 0; i < count; i += BATCH) {
        while (atomic_load(&flow->unsynced) >= BATCH)
            sleep_ms(0);
        atomic_fetch_add(&flow->unsynced, 1);
        bench_ok(beck_publish_many(bus, events, BATCH, &options, NULL, &err), &err);
    }
}

static void measure_durable(const char *id)
{
    if (!bench_wants(id))
        return;
    beck_bus *bus;
    beck_error err;
    beck *b = open_queue(&bus);
    struct flow flow = {0};
    beck_workers *workers;
    beck_worker_options options = {.threads = 4, .prefetch = TAKE};
    size_t count = bench_count(640000);
    struct stopwatch start = stopwatch_start();
    bench_ok(beck_workers_start(b, "work", handle, &flow, &options, &workers, &err), &err);
    publish_synced(bus, &flow, count);
    while (atomic_load(&flow.handled) < count || atomic_load(&flow.unsynced) > 0)
        sleep_ms(1);
    beck_workers_stop(workers);
    struct stopwatch took = stopwatch_since(start);
    bench_must(!flow.failed, "a publish failed");
    bench_report_rate(id, count, took, "synced");
    beck_close(b);
    bench_clean();
}

/* ---- draining ---- */

static struct stopwatch drain(beck *b, size_t count)
{
    beck_consumer *consumer;
    beck_error err;
    static beck_delivery deliveries[TAKE];
    uint64_t tags[TAKE];
    struct stopwatch start = stopwatch_start();
    bench_ok(beck_consumer_open(b, "work", TAKE, &consumer, &err), &err);
    for (size_t done = 0, got; done < count; done += got) {
        bench_ok(beck_take(consumer, deliveries, TAKE, -1, &got, &err), &err);
        for (size_t i = 0; i < got; i++)
            tags[i] = deliveries[i].tag;
        bench_ok(beck_settle(consumer, tags, got, &err), &err);
    }
    beck_consumer_close(consumer);
    return stopwatch_since(start);
}

static struct stopwatch drain_of(size_t depth, size_t count)
{
    beck_bus *bus;
    beck *b = open_queue(&bus);
    fill(b, bus, depth, sizeof payload);
    struct stopwatch took = drain(b, count);
    beck_close(b);
    bench_clean();
    return took;
}

static void measure_drain(const char *id_rate, const char *id_deep)
{
    if (!bench_wants(id_rate) && !bench_wants(id_deep))
        return;
    size_t count = 200000 / BATCH * BATCH; /* fewer would be over too soon to say anything */
    struct stopwatch shallow = drain_of(count, count), deep = drain_of(10 * count, count);
    bench_report_rate(id_rate, count, shallow, "written");
    bench_report(id_deep, (double)deep.wall_ns / (double)shallow.wall_ns, "x", -1, "written");
}

/* ---- memory ---- */

static void measure_rss(const char *id, size_t count)
{
    if (!bench_wants(id))
        return;
    beck_bus *bus;
    beck *b = open_queue(&bus);
    count = count / BATCH * BATCH;
    double idle = bench_rss_mib();
    fill(b, bus, count, 100);
    bench_report(id, bench_rss_mib() - idle, "MiB", -1, "written");
    beck_close(b);
    bench_clean();
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    if (bench_large()) {
        measure_rss("queue.rss_100m", 100000000);
        return 0;
    }
    measure_rss("queue.rss_10m", bench_count(10000000));
    measure_durable("queue.durable_4workers");
    measure_drain("queue.drain", "queue.drain_deep");
    return 0;
}
