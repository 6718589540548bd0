/* Help, made from the tables of commands, options and exit codes. */
#ifndef BECK_CLI_HELP_H
#define BECK_CLI_HELP_H

#include "cli/command.h"
#include <stdio.h>

/* Of call->command, or of the whole program when that is NULL. */
void help_print(const struct call *call, FILE *out);

/* "-q, --quiet" or "    --data DIR"; returns its length. The manual page is made with it too. */
int help_option(const struct option *o, char *out, size_t size);

extern const struct command command_help;
extern const struct command command_completion;
extern const struct command command_version;

#endif
