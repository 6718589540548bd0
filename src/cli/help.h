/* Help, made from the tables of commands, options and exit codes. */
#ifndef BECK_CLI_HELP_H
#define BECK_CLI_HELP_H

#include "cli/command.h"
#include <stdio.h>

/* Of call->command, or of the whole program when that is NULL. */
void help_print(const struct call *call, FILE *out);

extern const struct command command_help;
extern const struct command command_completion;
extern const struct command command_version;

#endif
