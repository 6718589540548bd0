/*
 * Checking the directory of one partition, byte by byte; and giving up what cannot be read in it.
 *
 * Faults are reported through env->report with code BECK_ECORRUPT: the file, the byte, what it means
 * and what to do. Remarks have code BECK_OK: files that are not ours, and what an opening will put
 * right by itself (an unfinished write behind the recovery point, leftovers, missing indexes).
 * Memory: that of the largest whole batch, and of its records.
 */
#ifndef BECK_LOG_VERIFY_H
#define BECK_LOG_VERIFY_H

#include "log/env.h"

struct log_verify_counts {
    uint64_t segments, batches, records, bytes; /* bytes: of logs */
    uint64_t faults, remarks;
};

/* What is known of a partition besides its directory. */
struct log_known {
    int64_t recovery_point; /* below it everything had been synced; 0: not known */
    /* Every offset from log_start on is in the log, but for what compaction took below `cleaned`. */
    bool dense;
    bool gaps; /* offsets may be missing anywhere */
    int64_t log_start, cleaned;
};

/* Who is told what is given up. */
struct log_repair {
    beck_error_fn tell; /* with code BECK_OK */
    void *ctx;
};

/* Adds to *counts. A directory that is missing is empty. Nobody writes there. BECK_OK: no fault.
 * BECK_ECORRUPT: faults were reported. Else it could not be read to the end.
 *
 * repair: NULL, or the directory is changed (env must not be read-only), so that what can be read is all that there is:
 * in the place of what is damaged or missing comes an empty batch of those offsets, which stay what they are for
 * everything else. The damaged bytes are kept beside the log, in <base>.log.damaged-<position>-<checksum>. Segments are
 * replaced one by one, as compaction does it: after a crash anywhere, another repair comes to the same. */
beck_status log_verify_partition(const struct env *env, const char *dir, const char *bus,
                                 uint32_t number, const struct log_known *known,
                                 const struct log_repair *repair, struct log_verify_counts *counts,
                                 beck_error *err);

#endif
