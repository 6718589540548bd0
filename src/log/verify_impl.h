/* The inside of the check of a partition, shared by verify.c and verify_segment.c only. */
#ifndef BECK_LOG_VERIFY_IMPL_H
#define BECK_LOG_VERIFY_IMPL_H

#include "log/verify.h"
#include "log/window.h"

struct verified_segment {
    int64_t base_offset;
    int64_t next_base; /* of the segment behind it; INT64_MAX: it is the last */
    bool has_index, has_time_index;
};

struct verify {
    const struct env *env;
    const char *dir;
    struct log_verify_counts *counts;
    int64_t recovery_point;
    int32_t epoch_max; /* greatest leader epoch of the partition */
    struct record_context context;
    struct codec codec;
    struct buf unpacked;
    struct record_view view;
};

void verify_fault(struct verify *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
void verify_remark(struct verify *v, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Checks one .log with its indexes. *end: the offset behind its last good batch. */
beck_status verify_segment(struct verify *v, const struct verified_segment *s, int64_t *end,
                           beck_error *err);

#endif
