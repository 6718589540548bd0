/* The newest events of a bus. */
#ifndef BECK_CLI_TAIL_H
#define BECK_CLI_TAIL_H

#include "cli/command.h"

#define TAIL_PARTITIONS_MAX 256 /* are read side by side */

/* Calls `each` for the newest `count` events below `ends`, an offset per partition, that the options let
 * through (their `from` does not count), merged by time, oldest first; non-zero ends the walk. Reports;
 * returns the exit code. */
int tail_each(const struct call *call, beck_bus *bus, const beck_read_options *how, int64_t count,
              const int64_t *ends, uint32_t partitions,
              int (*each)(void *ctx, const beck_event *event), void *ctx);

#endif
