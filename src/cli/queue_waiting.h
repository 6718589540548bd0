/* beck queue peek, delayed and in-flight: what a queue holds, event by event. */
#ifndef BECK_CLI_QUEUE_WAITING_H
#define BECK_CLI_QUEUE_WAITING_H

#include "cli/command.h"

extern const struct command command_queue_peek;
extern const struct command command_queue_delayed;
extern const struct command command_queue_in_flight;

#endif
