/* Common parts of the benchmark programs; see the header. */
#include "bench.h"

#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static struct {
    bool quick, large;
    const char *only;
    char dir[512];
    cpu_set_t allowed; /* processors, before anything was pinned */
} bench;

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

void bench_clean(void)
{
    if (bench.dir[0] != 0)
        nftw(bench.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    bench.dir[0] = 0;
}

void bench_init(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            bench.quick = true;
        } else if (strcmp(argv[i], "--large") == 0) {
            bench.large = true;
        } else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            bench.only = argv[++i];
        } else {
            fprintf(stderr, "unknown option '%s': use --quick, --large or --only PREFIX\n",
                    argv[i]);
            exit(2);
        }
    }
    bench_must(sched_getaffinity(0, sizeof bench.allowed, &bench.allowed) == 0,
               "sched_getaffinity");
    setvbuf(stdout, NULL, _IOLBF, 0);
    atexit(bench_clean);
}

bool bench_large(void)
{
    return bench.large;
}

bool bench_wants(const char *id)
{
    return bench.only == NULL || strncmp(bench.only, id, strlen(bench.only)) == 0;
}

size_t bench_count(size_t full)
{
    return bench.quick ? full / 10 : full;
}

const char *bench_dir(void)
{
    const char *base = getenv("BENCH_DIR");
    bench_clean();
    snprintf(bench.dir, sizeof bench.dir, "%s/beck-bench-XXXXXX", base == NULL ? "/tmp" : base);
    bench_must(mkdtemp(bench.dir) != NULL, "mkdtemp");
    return bench.dir;
}

void bench_must(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

void bench_ok(beck_status status, const beck_error *err)
{
    if (status != BECK_OK) {
        fprintf(stderr, "failed with %d: %s\n", status, err == NULL ? "" : err->text);
        exit(1);
    }
}

int64_t bench_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t timeval_ns(struct timeval t)
{
    return (int64_t)t.tv_sec * 1000000000 + (int64_t)t.tv_usec * 1000;
}

struct stopwatch stopwatch_start(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (struct stopwatch){bench_now_ns(),
                              timeval_ns(usage.ru_utime) + timeval_ns(usage.ru_stime)};
}

struct stopwatch stopwatch_since(struct stopwatch start)
{
    struct stopwatch now = stopwatch_start();
    return (struct stopwatch){now.wall_ns - start.wall_ns, now.cpu_ns - start.cpu_ns};
}

void bench_report(const char *id, double value, const char *unit, double cpu_ns,
                  const char *durability)
{
    printf("{\"id\":\"%s\",\"value\":%.6g,\"unit\":\"%s\",\"cpu_ns_per_event\":", id, value, unit);
    if (cpu_ns < 0)
        printf("null");
    else
        printf("%.6g", cpu_ns);
    printf(",\"durability\":\"%s\"}\n", durability);
}

void bench_report_rate(const char *id, size_t count, struct stopwatch took, const char *durability)
{
    double events = (double)count;
    bench_report(id, events * 1e9 / (double)took.wall_ns, "events/s", (double)took.cpu_ns / events,
                 durability);
}

void bench_report_each(const char *id, size_t count, struct stopwatch took, const char *durability)
{
    double events = (double)count;
    bench_report(id, (double)took.wall_ns / events, "ns", (double)took.cpu_ns / events, durability);
}

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

void bench_report_p50(const char *id, int64_t *times_ns, size_t count, double cpu_ns,
                      const char *durability)
{
    qsort(times_ns, count, sizeof *times_ns, by_time);
    bench_report(id, (double)times_ns[count / 2] / 1e3, "us", cpu_ns, durability);
}

void bench_pin(unsigned number)
{
    /* A thread inherits where its maker is pinned: what it may use is known from the beginning. */
    cpu_set_t one;
    unsigned count = 0;
    number %= (unsigned)CPU_COUNT(&bench.allowed);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &bench.allowed) || count++ != number)
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
    }
}

double bench_rss_mib(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long kib = -1;
    bench_must(file != NULL, "/proc/self/status");
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    fclose(file);
    return (double)kib / 1024;
}
