/*
 * What the operating system itself takes: waking a thread through an eventfd, appending with bare
 * write(2), write(2) and fdatasync(2), and reading with bare read(2). Nothing is indexed, checked
 * or routed: a floor, not a competitor.
 */
#include "bench.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENT 128
#define BATCH 64

static char payload[EVENT * BATCH];

/* ---- eventfd ---- */

struct eventfds {
    int ping, pong;
    size_t count;
};

static void signal_fd(int fd)
{
    uint64_t one = 1;
    bench_must(write(fd, &one, sizeof one) == sizeof one, "write to eventfd");
}

static void wait_fd(int fd)
{
    uint64_t value;
    bench_must(read(fd, &value, sizeof value) == sizeof value, "read from eventfd");
}

static void *answer_eventfd(void *arg)
{
    struct eventfds *e = arg;
    bench_pin(1);
    for (size_t i = 0; i < e->count; i++) {
        wait_fd(e->ping);
        signal_fd(e->pong);
    }
    return NULL;
}

/* Half of a round trip between two threads that sleep in read(2). */
static void measure_eventfd(const char *id)
{
    pthread_t thread;
    struct eventfds e = {eventfd(0, 0), eventfd(0, 0), bench_count(20000)};
    if (!bench_wants(id))
        return;
    bench_pin(0);
    int64_t *times = calloc(e.count, sizeof *times);
    bench_must(times != NULL, "calloc");
    bench_must(pthread_create(&thread, NULL, answer_eventfd, &e) == 0, "pthread_create");
    struct stopwatch start = stopwatch_start();
    for (size_t i = 0; i < e.count; i++) {
        int64_t began = bench_now_ns();
        signal_fd(e.ping);
        wait_fd(e.pong);
        times[i] = (bench_now_ns() - began) / 2;
    }
    struct stopwatch took = stopwatch_since(start);
    bench_report_p50(id, times, e.count, (double)took.cpu_ns / (double)e.count / 2, "memory");
    pthread_join(thread, NULL);
    free(times);
    close(e.ping);
    close(e.pong);
}

/* ---- files ---- */

static int open_file(void)
{
    char path[600];
    snprintf(path, sizeof path, "%s/file", bench_dir());
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    bench_must(fd >= 0, "open");
    return fd;
}

static void append(int fd, size_t len)
{
    bench_must(write(fd, payload, len) == (ssize_t)len, "write");
}

static void measure_write(const char *id)
{
    if (!bench_wants(id))
        return;
    int fd = open_file();
    size_t count = bench_count(6400000);
    struct stopwatch start = stopwatch_start();
    for (size_t i = 0; i < count; i += BATCH)
        append(fd, sizeof payload);
    bench_report_rate(id, count, stopwatch_since(start), "written");
    close(fd);
    bench_clean();
}

static void measure_sync(const char *id, bool prepared)
{
    if (!bench_wants(id))
        return;
    size_t count = bench_count(4000);
    int fd = open_file();
    int64_t *times = calloc(count, sizeof *times);
    bench_must(times != NULL, "calloc");
    if (prepared) { /* blocks written before, so that a sync has no metadata to write */
        for (size_t i = 0; i < count; i += BATCH)
            append(fd, sizeof payload);
        bench_must(fsync(fd) == 0 && lseek(fd, 0, SEEK_SET) == 0, "prepare");
    }
    struct stopwatch start = stopwatch_start();
    for (size_t i = 0; i < count; i++) {
        int64_t began = bench_now_ns();
        append(fd, EVENT);
        bench_must(fdatasync(fd) == 0, "fdatasync");
        times[i] = bench_now_ns() - began;
    }
    struct stopwatch took = stopwatch_since(start);
    bench_report_p50(id, times, count, (double)took.cpu_ns / (double)count, "synced");
    free(times);
    close(fd);
    bench_clean();
}

/* 64 events a sync: what ideal grouping of 64 publishers costs. */
static void measure_sync_groups(const char *id)
{
    if (!bench_wants(id))
        return;
    int fd = open_file();
    size_t count = bench_count(4000) * BATCH;
    struct stopwatch start = stopwatch_start();
    for (size_t i = 0; i < count; i += BATCH) {
        append(fd, sizeof payload);
        bench_must(fdatasync(fd) == 0, "fdatasync");
    }
    bench_report_rate(id, count, stopwatch_since(start), "synced");
    close(fd);
    bench_clean();
}

static void measure_read(const char *id)
{
    if (!bench_wants(id))
        return;
    static char block[1 << 20];
    int fd = open_file();
    size_t count = bench_count(6400000);
    for (size_t i = 0; i < count; i += BATCH)
        append(fd, sizeof payload);
    bench_must(lseek(fd, 0, SEEK_SET) == 0, "lseek");
    struct stopwatch start = stopwatch_start();
    ssize_t got;
    while ((got = read(fd, block, sizeof block)) > 0) {
    }
    bench_must(got == 0, "read");
    bench_report_rate(id, count, stopwatch_since(start), "none");
    close(fd);
    bench_clean();
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    memset(payload, 'x', sizeof payload);
    measure_write("raw.write_64");
    measure_sync("raw.sync_p50", false);
    measure_sync("raw.sync_prepared_p50", true);
    measure_sync_groups("raw.sync_64");
    measure_read("raw.read");
    measure_eventfd("eventfd.wake"); /* last: it stays on one processor */
    return 0;
}
