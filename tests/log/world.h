/* A partition on the simulated disk, with a virtual clock; for the tests that include it. */
#ifndef TESTS_LOG_WORLD_H
#define TESTS_LOG_WORLD_H

#include "log/committer.h"
#include "log/cursor.h"
#include "log/partition.h"

#include "base/bytes.h"
#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define DIR_B "data/b-0"
#define DAY_MS 86400000LL

struct world {
    struct env env;
    struct vfs *vfs;
    struct metrics *metrics;
    struct partition_options options;
    int reports;
    beck_error last_report;
};

static inline void world_report(void *ctx, const beck_error *e)
{
    struct world *w = ctx;
    w->reports++;
    w->last_report = *e;
}

static inline void world_open(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->vfs = vfs_sim_new(seed);
    assert_int_equal(vfs_mkdir(w->vfs, "data", NULL), 0);
    assert_int_equal(vfs_sync_dir(w->vfs, ".", NULL), 0);
    w->env.vfs = w->vfs;
    w->env.clock = clock_virtual_new(1700000000000000000);
    w->env.report = world_report;
    w->env.report_ctx = w;
    w->metrics = metrics_new();
    assert_int_equal(committer_new(0, w->metrics, &w->env.committer, NULL), 0);
    assert_int_equal(committer_reserve(w->env.committer, 4, NULL), 0);
    w->options.bus.segment_bytes = 4096;
    w->options.bus.segment_ms = 7 * DAY_MS;
    w->options.bus.delete_retention_ms = DAY_MS;
    w->options.bus.event_bytes_max = 1048588;
}

static inline void world_close(struct world *w)
{
    committer_free(w->env.committer);
    metrics_free(w->metrics);
    vfs_sim_free(w->vfs);
    clock_virtual_free(w->env.clock);
}

/* Of syncs, so far. */
static inline unsigned long world_rounds(struct world *w)
{
    static const char name[] = "\nbeck_sync_duration_seconds_count ";
    struct buf text;
    buf_init(&text, 1 << 20);
    assert_int_equal(metrics_write(w->metrics, &text), 0);
    assert_int_equal(buf_terminate(&text), 0);
    const char *line = strstr((char *)text.data, name);
    unsigned long rounds = line ? strtoul(line + sizeof name - 1, NULL, 10) : 0;
    buf_release(&text);
    return rounds;
}

static inline struct partition *world_partition(struct world *w, int64_t recovery_point,
                                                int64_t log_start)
{
    struct partition *p = NULL;
    beck_error err = {0};
    beck_status status =
        partition_open(&w->env, DIR_B, "b", 0, &w->options, recovery_point, log_start, &p, &err);
    if (status)
        print_error("open: %s\n", err.text);
    assert_int_equal(status, 0);
    return p;
}

static inline void world_advance(struct world *w, int64_t ms)
{
    clock_virtual_advance(w->env.clock, ms * 1000000);
}

/* Without a text the event has no data. */
static inline beck_status put_event(struct partition *p, const char *subject, const char *text,
                                    beck_level level, int64_t *offset)
{
    beck_event e = {.type = beck_str("t.x"), .data = beck_str(text), .subject = beck_str(subject)};
    const beck_event *list[] = {&e};
    struct append a = {.events = list, .count = 1, .level = level};
    beck_status status = partition_append(p, &a, NULL);
    if (offset)
        *offset = a.first_offset;
    return status;
}

static inline int count_name(void *ctx, const char *name, bool is_dir)
{
    (void)name;
    *(int *)ctx += !is_dir;
    return 0;
}

static inline int world_files(struct world *w)
{
    int count = 0;
    assert_int_equal(vfs_list(w->vfs, DIR_B, count_name, &count, NULL), 0);
    return count;
}

static inline uint32_t segments_of(struct partition *p)
{
    beck_partition_info info;
    partition_info(p, &info);
    return info.segments;
}

#endif
