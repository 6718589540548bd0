/* What the engine gets from outside: disk, time, where to report, and the shared committer. One per
 * handle; outlives everything made with it. */
#ifndef BECK_LOG_ENV_H
#define BECK_LOG_ENV_H

#include "base/clock.h"
#include "base/error.h"
#include "base/metrics.h"
#include "base/vfs.h"

struct committer;
struct block_pool;

struct env {
    struct vfs *vfs;
    struct clock *clock;
    struct metrics *metrics;
    struct committer *committer; /* NULL in a memory-only handle */
    struct block_pool *blocks;   /* NULL: without */
    beck_error_fn report;        /* never NULL */
    void *report_ctx;
    bool read_only;
};

/* Formats an error and hands it to report. */
void env_report(const struct env *env, beck_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
