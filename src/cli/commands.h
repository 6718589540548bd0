/* Every command, each in the file of its name. */
#ifndef BECK_CLI_COMMANDS_H
#define BECK_CLI_COMMANDS_H

#include "cli/command.h"

extern const struct command command_emit;
extern const struct command command_log;
extern const struct command command_on;
extern const struct command command_replay;
extern const struct command command_ingest;
extern const struct command command_bus;
extern const struct command command_queue;
extern const struct command command_dead;
extern const struct command command_user;
extern const struct command command_trace;
extern const struct command command_serve;
extern const struct command command_verify;
extern const struct command command_export;
extern const struct command command_import;
extern const struct command command_metrics;
extern const struct command command_bench;

#endif
