/* Publishing on a memory bus: what one call costs with 0, 1 and 10 listeners, and with two
 * threads that publish at once. */
#include "bench.h"

#include <pthread.h>
#include <stdio.h>

static int count_call(void *ctx, const beck_event *event)
{
    *(uint64_t *)ctx += event->data.len;
    return 0;
}

static char payload[128];

static beck_event sample(void)
{
    return (beck_event){.type = beck_str("order.created"),
                        .subject = beck_str("ORD-789"),
                        .data = {payload, sizeof payload}};
}

static beck_bus *bus_with(beck *b, const char *name, int listeners, uint64_t *sum)
{
    beck_bus *bus;
    beck_error err;
    beck_bus_options options = {.storage = BECK_STORAGE_MEMORY};
    bench_ok(beck_bus_create(b, name, &options, &bus, &err), &err);
    for (int i = 0; i < listeners; i++) {
        beck_listener *listener;
        bench_ok(beck_subscribe(bus, "order.*", count_call, sum, NULL, &listener, &err), &err);
    }
    return bus;
}

static void publish(beck_bus *bus, size_t count)
{
    beck_event event = sample();
    for (size_t i = 0; i < count; i++)
        beck_publish(bus, &event, NULL);
}

static void measure(beck *b, const char *id, int listeners, size_t count)
{
    uint64_t sum = 0;
    if (!bench_wants(id))
        return;
    beck_bus *bus = bus_with(b, id, listeners, &sum);
    publish(bus, count / 10);
    struct stopwatch start = stopwatch_start();
    publish(bus, count);
    bench_report_each(id, count, stopwatch_since(start), "memory");
    bench_must(sum == (count + count / 10) * sizeof payload * (size_t)listeners, "lost calls");
}

struct publisher {
    beck_bus *bus;
    size_t count;
};

static void *publish_thread(void *arg)
{
    struct publisher *p = arg;
    publish(p->bus, p->count);
    return NULL;
}

static int ignore(void *ctx, const beck_event *event)
{
    (void)ctx;
    (void)event;
    return 0;
}

static void measure_threads(beck *b, const char *id, size_t count)
{
    pthread_t threads[2];
    beck_listener *listener;
    beck_error err;
    if (!bench_wants(id))
        return;
    struct publisher p = {bus_with(b, id, 0, NULL), count};
    bench_ok(beck_subscribe(p.bus, "order.*", ignore, NULL, NULL, &listener, &err), &err);
    struct stopwatch start = stopwatch_start();
    for (int i = 0; i < 2; i++)
        bench_must(pthread_create(&threads[i], NULL, publish_thread, &p) == 0, "pthread_create");
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    bench_report_each(id, 2 * count, stopwatch_since(start), "memory");
}

int main(int argc, char **argv)
{
    beck *b;
    beck_error err;
    bench_init(argc, argv);
    bench_ok(beck_open(&b, NULL, &err), &err);
    measure(b, "bus.publish_0", 0, bench_count(20000000));
    measure(b, "bus.publish_1", 1, bench_count(20000000));
    measure(b, "bus.publish_10", 10, bench_count(10000000));
    measure_threads(b, "bus.publish_1_2threads", bench_count(10000000));
    beck_close(b);
    return 0;
}
