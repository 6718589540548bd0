/* GLib: GSignal with 1 and 10 handlers, and GAsyncQueue from one thread to another. */
#include "bench.h"

#include <glib-object.h>
#include <pthread.h>

static char payload[128];

struct sample {
    const char *type, *subject;
    const void *data;
    size_t len;
};

static void count_call(gpointer object, gpointer event, gpointer sum)
{
    (void)object;
    *(uint64_t *)sum += ((struct sample *)event)->len;
}

static void measure_signal(const char *id, guint signal, int handlers, size_t count)
{
    if (!bench_wants(id))
        return;
    uint64_t sum = 0;
    GObject *object = g_object_new(G_TYPE_OBJECT, NULL);
    struct sample event = {"order.created", "ORD-789", payload, sizeof payload};
    for (int i = 0; i < handlers; i++)
        g_signal_connect(object, "order-created", G_CALLBACK(count_call), &sum);
    for (size_t i = 0; i < count / 10; i++)
        g_signal_emit(object, signal, 0, &event);
    struct stopwatch start = stopwatch_start();
    for (size_t i = 0; i < count; i++)
        g_signal_emit(object, signal, 0, &event);
    bench_report_each(id, count, stopwatch_since(start), "memory");
    bench_must(sum == (count + count / 10) * sizeof payload * (size_t)handlers, "lost calls");
    g_object_unref(object);
}

struct hop {
    GAsyncQueue *queue;
    size_t count;
};

static void *consume(void *arg)
{
    struct hop *hop = arg;
    bench_pin(1);
    for (size_t i = 0; i < hop->count; i++)
        g_free(g_async_queue_pop(hop->queue));
    return NULL;
}

/* Each event is copied, as a queue that outlives the publisher's call has to. */
static void measure_hop(const char *id)
{
    if (!bench_wants(id))
        return;
    struct hop hop = {g_async_queue_new(), bench_count(3200000)};
    pthread_t thread;
    bench_pin(0);
    struct stopwatch start = stopwatch_start();
    bench_must(pthread_create(&thread, NULL, consume, &hop) == 0, "pthread_create");
    for (size_t i = 0; i < hop.count; i++)
        g_async_queue_push(hop.queue, g_memdup2(payload, sizeof payload));
    pthread_join(thread, NULL);
    bench_report_each(id, hop.count, stopwatch_since(start), "memory");
    g_async_queue_unref(hop.queue);
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    guint signal = g_signal_new("order-created", G_TYPE_OBJECT, G_SIGNAL_RUN_LAST, 0, NULL, NULL,
                                g_cclosure_marshal_VOID__POINTER, G_TYPE_NONE, 1, G_TYPE_POINTER);
    g_signal_set_va_marshaller(signal, G_TYPE_OBJECT, g_cclosure_marshal_VOID__POINTERv);
    measure_signal("glib.emit_1", signal, 1, bench_count(5000000));
    measure_signal("glib.emit_10", signal, 10, bench_count(1000000));
    measure_hop("glib.hop");
    return 0;
}
