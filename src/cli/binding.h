/* Feeding a queue from a bus, as beck on and beck queue do. */
#ifndef BECK_CLI_BINDING_H
#define BECK_CLI_BINDING_H

#include "cli/command.h"

/* As beck_queue_bind. A binding that is there already stays as it is; with --from there is a warning that it
 * changes nothing. */
beck_status binding_make(const struct call *call, const char *queue, const beck_binding *binding,
                         beck_error *err);

#endif
