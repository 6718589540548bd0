/*
 * Checking the directory of one partition, byte by byte, without changing anything.
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

/* Adds to *counts. recovery_point: below it everything had been synced; 0: not known. Nobody writes
 * there. BECK_OK: no fault. BECK_ECORRUPT: faults were reported. Else it could not be read to the
 * end. */
beck_status log_verify_partition(const struct env *env, const char *dir, const char *bus,
                                 uint32_t number, int64_t recovery_point,
                                 struct log_verify_counts *counts, beck_error *err);

#endif
