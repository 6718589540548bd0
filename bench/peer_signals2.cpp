/* Boost.Signals2 with its default mutex and 1 and 10 slots. */
#include "bench.h"

#include <boost/signals2/signal.hpp>
#include <cstdint>

static char payload[128];

static void measure(const char *id, int slots, size_t count)
{
    if (!bench_wants(id))
        return;
    uint64_t sum = 0;
    boost::signals2::signal<void(const beck_event &)> created;
    beck_event event = {};
    event.type = {"order.created", 13};
    event.data = {payload, sizeof payload};
    for (int i = 0; i < slots; i++)
        created.connect([&sum](const beck_event &e) { sum += e.data.len; });
    for (size_t i = 0; i < count / 10; i++)
        created(event);
    struct stopwatch start = stopwatch_start();
    for (size_t i = 0; i < count; i++)
        created(event);
    bench_report_each(id, count, stopwatch_since(start), "memory");
    bench_must(sum == (count + count / 10) * sizeof payload * static_cast<size_t>(slots),
               "lost calls");
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    measure("signals2.emit_1", 1, bench_count(3000000));
    measure("signals2.emit_10", 10, bench_count(1000000));
    return 0;
}
