/* The inside of the check of a partition, shared by the files verify*.c only. */
#ifndef BECK_LOG_VERIFY_IMPL_H
#define BECK_LOG_VERIFY_IMPL_H

#include "log/verify.h"
#include "log/window.h"

#define VERIFY_KEPT ".log.damaged-" /* behind the base offset */

struct verified_segment {
    int64_t base_offset;
    int64_t next_base; /* of the segment behind it; INT64_MAX: it is the last */
    bool has_index, has_time_index;
    struct segment
        *copy; /* gets what can be read, and empty batches for the rest; NULL: only checked */
};

struct verify {
    const struct env *env;
    const char *dir;
    struct log_verify_counts *counts;
    const struct log_known *known;
    const struct log_repair *repair; /* NULL: nothing is changed */
    bool broken;                     /* something is damaged or missing in the segment at hand */
    bool silent;                     /* it is read once more, to be copied */
    int32_t epoch_max;               /* greatest leader epoch of the partition */
    struct record_context context;
    struct codec codec;
    struct buf unpacked;
    struct record_view view;
};

void verify_fault(struct verify *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
void verify_remark(struct verify *v, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whether offsets below `end` may be gone without anything being wrong. */
static inline bool verify_may_lack(const struct verify *v, int64_t end)
{
    return !v->known->dense || end <= v->known->cleaned || end <= v->known->log_start;
}

/* Checks one .log with its indexes. *end: the offset behind its last good batch; of a segment that is damaged up to its
 * end, what its successor begins with. Sets `broken`. */
beck_status verify_segment(struct verify *v, const struct verified_segment *s, int64_t *end,
                           beck_error *err);

/* verify_repair.c */
/* Appends empty batches of the offsets from `from` to `end` to a copy, and tells. */
beck_status verify_give_up(struct verify *v, struct segment *copy, int64_t from, int64_t end,
                           beck_error *err);
/* Bytes [from, end) of a log that its copy will not have are kept beside it, and that is told. They are on the device once
 * the directory is synced, which comes before the copy takes the place of the log. */
beck_status verify_keep(struct verify *v, const struct segment *copy, struct window *w,
                        int64_t from, int64_t end, beck_error *err);
/* The segment is replaced by what can be read of it, up to the next one or the recovery point. */
beck_status verify_repair_segment(struct verify *v, const struct verified_segment *s,
                                  beck_error *err);
/* A segment that is missing, from `base` to `end`, is made. */
beck_status verify_repair_missing(struct verify *v, int64_t base, int64_t end, beck_error *err);

#endif
