/* Figures of this process, from /proc. */
#include "base/process_metrics.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define STAT_FIELDS 22 /* that are read behind the name: up to the resident pages */

/* The numbers of /proc/self/stat behind the name, which may hold anything: state is [0]. */
static bool read_stat(double out[STAT_FIELDS])
{
    char text[2048];
    FILE *f = fopen("/proc/self/stat", "re");
    if (!f)
        return false;
    size_t len = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[len] = 0;
    char *at = strrchr(text, ')');
    if (!at || at[1] != ' ' || !at[2])
        return false;
    at += 3; /* behind the letter of the state */
    out[0] = 0;
    for (int i = 1; i < STAT_FIELDS; i++) {
        char *end;
        out[i] = strtod(at, &end);
        if (end == at)
            return false;
        at = end;
    }
    return true;
}

static double boot_time(void)
{
    struct timespec wall, up;
    if (clock_gettime(CLOCK_REALTIME, &wall) || clock_gettime(CLOCK_BOOTTIME, &up))
        return 0;
    return (double)(wall.tv_sec - up.tv_sec) + (double)(wall.tv_nsec - up.tv_nsec) / 1e9;
}

static size_t count_files(void)
{
    size_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count > 3 ? count - 3 : 0; /* ".", ".." and this one */
}

static beck_status add(struct buf *out, const char *name, const char *kind, const char *help,
                       double value)
{
    return buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", name, help, name, kind, name,
                      value);
}

beck_status process_metrics_write(struct buf *out)
{
    double stat[STAT_FIELDS];
    struct rlimit files;
    double hertz = (double)sysconf(_SC_CLK_TCK), page = (double)sysconf(_SC_PAGESIZE);
    beck_status status = BECK_OK;
    /* Fields by their numbers in proc(5), which counts the name as 2 and the state as 3. */
    if (read_stat(stat)) {
        status = add(out, "process_cpu_seconds_total", "counter", "Processor time used.",
                     (stat[14 - 3] + stat[15 - 3]) / hertz);
        if (!status)
            status = add(out, "process_threads", "gauge", "Threads.", stat[20 - 3]);
        if (!status)
            status = add(out, "process_start_time_seconds", "gauge",
                         "When the process began, in seconds since 1970.",
                         boot_time() + stat[22 - 3] / hertz);
        if (!status)
            status =
                add(out, "process_virtual_memory_bytes", "gauge", "Virtual memory.", stat[23 - 3]);
        if (!status)
            status = add(out, "process_resident_memory_bytes", "gauge", "Resident memory.",
                         stat[24 - 3] * page);
    }
    if (!status)
        status =
            add(out, "process_open_fds", "gauge", "Files and sockets open.", (double)count_files());
    if (!status && getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY)
        status = add(out, "process_max_fds", "gauge", "Most files that may be open.",
                     (double)files.rlim_cur);
    return status;
}
