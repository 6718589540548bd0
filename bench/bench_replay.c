/*
 * Reading what is stored.
 *
 * sequential: all events of a bus by one reader. recovery: opening a data directory whose process
 * ended without closing it, with no recovery point since the beginning, so that the whole log is an
 * unsealed tail. open_1000: opening one whose bus has 1,000 sealed segments, closed in order. Files
 * are in the page cache in all three.
 */
#include "bench.h"

#include <sys/wait.h>
#include <unistd.h>

#define BATCH 64

static char payload[128];

static beck *open_bus(const char *dir, const beck_bus_options *bus_options, beck_bus **bus)
{
    beck *b;
    beck_error err;
    beck_options options = {.data_dir = dir, .checkpoint_ms = UINT32_MAX};
    bench_ok(beck_open(&b, &options, &err), &err);
    bench_ok(beck_bus_create(b, "orders", bus_options, bus, &err), &err);
    return b;
}

static void append(beck_bus *bus, size_t count)
{
    beck_event events[BATCH];
    beck_error err;
    beck_publish_options options = {.level = BECK_LEVEL_WRITTEN};
    for (int i = 0; i < BATCH; i++)
        events[i] =
            (beck_event){.type = beck_str("order.created"), .data = {payload, sizeof payload}};
    for (size_t i = 0; i < count; i += BATCH)
        bench_ok(beck_publish_many(bus, events, BATCH, &options, NULL, &err), &err);
}

static beck_partition_info info_of(beck_bus *bus)
{
    beck_partition_info info;
    beck_error err;
    bench_ok(beck_partition_info_get(bus, 0, &info, &err), &err);
    return info;
}

static void measure_sequential(const char *id)
{
    beck_bus *bus;
    beck_reader *reader;
    beck_error err;
    if (!bench_wants(id))
        return;
    beck *b = open_bus(bench_dir(), NULL, &bus);
    size_t count = bench_count(6400000), seen = 0;
    append(bus, count);
    beck_read_options options = {.from = {.kind = BECK_FROM_EARLIEST}};
    const beck_event *event;
    struct stopwatch start = stopwatch_start();
    bench_ok(beck_reader_open(bus, &options, &reader, &err), &err);
    beck_status status;
    while ((status = beck_reader_next(reader, 0, &event, &err)) == BECK_OK)
        seen += event->data.len == sizeof payload;
    struct stopwatch took = stopwatch_since(start);
    if (status != BECK_END)
        bench_ok(status, &err);
    bench_must(seen == count, "lost events");
    bench_report_rate(id, count, took, "none");
    beck_reader_close(reader);
    beck_close(b);
    bench_clean();
}

/* In a process of its own, which ends as if it were killed. */
static void leave_tail(const char *dir, size_t count)
{
    pid_t child = fork();
    bench_must(child >= 0, "fork");
    if (child == 0) {
        beck_bus *bus;
        open_bus(dir, NULL, &bus);
        append(bus, count);
        _exit(0);
    }
    int status;
    bench_must(waitpid(child, &status, 0) == child && status == 0, "the writing process");
}

static void measure_recovery(const char *id)
{
    beck_bus *bus;
    if (!bench_wants(id))
        return;
    const char *dir = bench_dir();
    size_t count = bench_count(3200000);
    leave_tail(dir, count);
    struct stopwatch start = stopwatch_start();
    beck *b = open_bus(dir, NULL, &bus);
    beck_partition_info info = info_of(bus);
    struct stopwatch took = stopwatch_since(start);
    bench_must(info.next_offset == (int64_t)count, "lost events");
    bench_report(id, (double)info.bytes / (double)took.wall_ns, "GB/s",
                 (double)took.cpu_ns / (double)count, "none");
    beck_close(b);
    bench_clean();
}

static void measure_open(const char *id, uint32_t segments)
{
    beck_bus *bus;
    beck_bus_options options = {.segment_bytes = 16384};
    if (!bench_wants(id))
        return;
    const char *dir = bench_dir();
    beck *b = open_bus(dir, &options, &bus);
    while (info_of(bus).segments <= segments)
        append(bus, BATCH);
    beck_close(b);
    struct stopwatch start = stopwatch_start();
    b = open_bus(dir, &options, &bus);
    bench_must(info_of(bus).segments > segments, "lost segments");
    struct stopwatch took = stopwatch_since(start);
    bench_report(id, (double)took.wall_ns / 1e6, "ms", -1, "none");
    beck_close(b);
    bench_clean();
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    measure_recovery("replay.recovery"); /* first: it forks */
    measure_sequential("replay.sequential");
    measure_open("replay.open_1000", 1000);
    return 0;
}
