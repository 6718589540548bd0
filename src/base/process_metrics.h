/* Figures of this process, under the names that Prometheus's client libraries give them. */
#ifndef BECK_BASE_PROCESS_METRICS_H
#define BECK_BASE_PROCESS_METRICS_H

#include "base/bytes.h"

/* Appends processor time, memory, threads, open files and the time of starting in Prometheus text
 * format. What the system does not tell is left out. */
beck_status process_metrics_write(struct buf *out);

#endif
