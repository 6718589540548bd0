/*
 * What the benchmark programs share: options, scratch directories, time, and one line of JSON per
 * measured value on standard output, which bench/run collects.
 *
 * Options of every program: --quick (a tenth of the work), --large (what takes long and is done
 * once), --only PREFIX (measure only what is named so). Scratch directories are made in $BENCH_DIR,
 * /tmp by default, and removed when the program ends. Every function ends the program with a
 * message when something fails: half a benchmark says nothing.
 */
#ifndef BECK_BENCH_H
#define BECK_BENCH_H

#include <beck.h>

#ifdef __cplusplus
extern "C" {
#endif

void bench_init(int argc, char **argv);
bool bench_large(void);
bool bench_wants(const char *id);
/* `full` events, or a tenth of them with --quick. */
size_t bench_count(size_t full);

/* An empty directory; valid until bench_clean or the end. */
const char *bench_dir(void);
/* Removes the directory given last. */
void bench_clean(void);

/* Ends the program unless ok. */
void bench_must(bool ok, const char *what);
/* Ends the program unless BECK_OK. */
void bench_ok(beck_status status, const beck_error *err);

int64_t bench_now_ns(void);

struct stopwatch {
    int64_t wall_ns, cpu_ns; /* CPU time of all threads of the process, user and system */
};
struct stopwatch stopwatch_start(void);
struct stopwatch stopwatch_since(struct stopwatch start);

/* One result. cpu_ns: CPU time per event, below 0 when it says nothing. durability: what a
 * confirmed event survives: "none", "written", "synced" or "memory". */
void bench_report(const char *id, double value, const char *unit, double cpu_ns,
                  const char *durability);
/* `count` events in the time of the stopwatch, as events per second, and as ns per event. */
void bench_report_rate(const char *id, size_t count, struct stopwatch took, const char *durability);
void bench_report_each(const char *id, size_t count, struct stopwatch took, const char *durability);
/* The median of `count` times in ns, reported in us. Sorts them. */
void bench_report_p50(const char *id, int64_t *times_ns, size_t count, double cpu_ns,
                      const char *durability);

/* Keeps the calling thread on one processor (number modulo those that there are): where two threads
 * land would decide more than what is measured. */
void bench_pin(unsigned number);

/* Resident memory of this process in MiB. */
double bench_rss_mib(void);

#ifdef __cplusplus
}
#endif

#endif
