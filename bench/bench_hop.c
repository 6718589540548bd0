/*
 * From one thread to another through a queue in memory.
 *
 * Hop: one producer that publishes batches of 64 while one consumer takes and settles; the time for
 * all of them, per event. Wake-up: two threads that answer each other through two queues, each
 * asleep until the other one publishes; half of a round trip. The
 * threads stay on two processors.
 */
#include "bench.h"

#include <pthread.h>
#include <stdlib.h>

#define BATCH 64
#define TAKE 256

static char payload[128];

static beck_event sample(const char *type)
{
    return (beck_event){.type = beck_str(type), .data = {payload, sizeof payload}};
}

static beck_bus *bus_with_queue(beck *b, const char *name)
{
    beck_bus *bus;
    beck_error err;
    beck_bus_options bus_options = {.storage = BECK_STORAGE_MEMORY};
    beck_queue_options queue_options = {.storage = BECK_STORAGE_MEMORY};
    beck_binding binding = {.bus = name};
    bench_ok(beck_bus_create(b, name, &bus_options, &bus, &err), &err);
    bench_ok(beck_queue_create(b, name, &queue_options, &err), &err);
    bench_ok(beck_queue_bind(b, name, &binding, &err), &err);
    return bus;
}

/* ---- hop ---- */

struct consumer {
    beck *b;
    size_t count;
};

static void *consume(void *arg)
{
    struct consumer *c = arg;
    bench_pin(1);
    beck_consumer *consumer;
    beck_error err;
    static beck_delivery deliveries[TAKE];
    uint64_t tags[TAKE];
    bench_ok(beck_consumer_open(c->b, "hop", TAKE, &consumer, &err), &err);
    for (size_t done = 0, got; done < c->count; done += got) {
        bench_ok(beck_take(consumer, deliveries, TAKE, -1, &got, &err), &err);
        for (size_t i = 0; i < got; i++)
            tags[i] = deliveries[i].tag;
        bench_ok(beck_settle(consumer, tags, got, &err), &err);
    }
    beck_consumer_close(consumer);
    return NULL;
}

static void measure_hop(beck *b, const char *id)
{
    beck_event events[BATCH];
    beck_error err;
    pthread_t thread;
    if (!bench_wants(id))
        return;
    beck_bus *bus = bus_with_queue(b, "hop");
    struct consumer c = {b, bench_count(3200000) / BATCH * BATCH};
    for (int i = 0; i < BATCH; i++)
        events[i] = sample("order.created");
    struct stopwatch start = stopwatch_start();
    bench_must(pthread_create(&thread, NULL, consume, &c) == 0, "pthread_create");
    for (size_t i = 0; i < c.count; i += BATCH)
        bench_ok(beck_publish_many(bus, events, BATCH, NULL, NULL, &err), &err);
    pthread_join(thread, NULL);
    bench_report_each(id, c.count, stopwatch_since(start), "memory");
}

/* ---- wake-up ---- */

struct pong {
    beck *b;
    beck_bus *answer_to;
    size_t count;
};

static void take_one(beck_consumer *consumer)
{
    beck_delivery delivery;
    size_t got;
    beck_error err;
    bench_ok(beck_take(consumer, &delivery, 1, -1, &got, &err), &err);
    bench_ok(beck_settle(consumer, &delivery.tag, 1, &err), &err);
}

static void *answer(void *arg)
{
    struct pong *p = arg;
    bench_pin(1);
    beck_consumer *consumer;
    beck_error err;
    beck_event event = sample("pong");
    bench_ok(beck_consumer_open(p->b, "ping", 1, &consumer, &err), &err);
    for (size_t i = 0; i < p->count; i++) {
        take_one(consumer);
        bench_ok(beck_publish(p->answer_to, &event, &err), &err);
    }
    beck_consumer_close(consumer);
    return NULL;
}

static void report_half(const char *id, int64_t *times, size_t count, struct stopwatch took)
{
    for (size_t i = 0; i < count; i++)
        times[i] /= 2;
    bench_report_p50(id, times, count, (double)took.cpu_ns / (double)count / 2, "memory");
    free(times);
}

static void measure_wake(beck *b, const char *id)
{
    pthread_t thread;
    beck_consumer *consumer;
    beck_error err;
    if (!bench_wants(id))
        return;
    beck_bus *ping = bus_with_queue(b, "ping"), *pong = bus_with_queue(b, "pong");
    struct pong p = {b, pong, bench_count(20000)};
    int64_t *times = calloc(p.count, sizeof *times);
    beck_event event = sample("ping");
    bench_must(times != NULL, "calloc");
    bench_ok(beck_consumer_open(b, "pong", 1, &consumer, &err), &err);
    bench_must(pthread_create(&thread, NULL, answer, &p) == 0, "pthread_create");
    struct stopwatch start = stopwatch_start();
    for (size_t i = 0; i < p.count; i++) {
        int64_t began = bench_now_ns();
        bench_ok(beck_publish(ping, &event, &err), &err);
        take_one(consumer);
        times[i] = bench_now_ns() - began;
    }
    report_half(id, times, p.count, stopwatch_since(start));
    pthread_join(thread, NULL);
    beck_consumer_close(consumer);
}

int main(int argc, char **argv)
{
    beck *b;
    beck_error err;
    bench_init(argc, argv);
    bench_pin(0);
    bench_ok(beck_open(&b, NULL, &err), &err);
    measure_hop(b, "hop.thread");
    measure_wake(b, "hop.wake");
    beck_close(b);
    return 0;
}
