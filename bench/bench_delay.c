/* Delayed events: putting one million of them, due from an hour to ten years ahead in no order,
 * into a durable queue, and the memory that they take. */
#include "bench.h"

#include <stdlib.h>
#include <time.h>

#define BATCH 64
#define HOUR_MS INT64_C(3600000)
#define TEN_YEARS_MS (10 * 365 * 24 * HOUR_MS)

static char payload[100];
static uint64_t random_state = 1;

static int64_t some_delay_ms(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return HOUR_MS + (int64_t)((random_state >> 11) % (uint64_t)TEN_YEARS_MS);
}

static void insert(beck *b, beck_bus *bus, size_t count)
{
    beck_event events[BATCH];
    beck_error err;
    beck_queue_info info;
    beck_publish_options options = {.level = BECK_LEVEL_WRITTEN};
    int64_t now_ms = (int64_t)time(NULL) * 1000;
    for (size_t i = 0; i < count; i += BATCH) {
        for (int k = 0; k < BATCH; k++)
            events[k] = (beck_event){.type = beck_str("order.due"),
                                     .data = {payload, sizeof payload},
                                     .deliver_at_ms = now_ms + some_delay_ms()};
        bench_ok(beck_publish_many(bus, events, BATCH, &options, NULL, &err), &err);
    }
    do {
        bench_ok(beck_queue_info_get(b, "later", &info, &err), &err);
        if (info.delayed < (int64_t)count)
            nanosleep(&(struct timespec){0, 1000000}, NULL);
    } while (info.delayed < (int64_t)count);
}

int main(int argc, char **argv)
{
    beck *b;
    beck_bus *bus;
    beck_error err;
    bench_init(argc, argv);
    beck_options options = {.data_dir = bench_dir()};
    beck_binding binding = {.bus = "orders"};
    size_t count = bench_count(1000000) / BATCH * BATCH;
    bench_ok(beck_open(&b, &options, &err), &err);
    bench_ok(beck_bus_create(b, "orders", NULL, &bus, &err), &err);
    bench_ok(beck_queue_create(b, "later", NULL, &err), &err);
    bench_ok(beck_queue_bind(b, "later", &binding, &err), &err);
    double idle = bench_rss_mib();
    struct stopwatch start = stopwatch_start();
    insert(b, bus, count);
    bench_report_rate("delay.insert", count, stopwatch_since(start), "written");
    bench_report("delay.rss", bench_rss_mib() - idle, "MiB", -1, "written");
    beck_close(b);
    return 0;
}
