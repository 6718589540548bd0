/* The parser of command lines: finds the command, checks every value, fills a call. */
#ifndef BECK_CLI_PARSER_H
#define BECK_CLI_PARSER_H

#include "cli/command.h"

extern const struct option global_options[];
extern const struct command *const commands[]; /* NULL-terminated: the one table, in commands.c */

/* How many levels a command may have: "bus create" is 2. */
#define COMMAND_DEPTH 2

enum parse_result {
    PARSE_RUN,  /* run call->command */
    PARSE_HELP, /* --help: print that of call->command, or of call->group, or of the program */
    PARSE_USAGE /* the mistake was reported */
};

/* Fills `call` from argv, which must outlive it; parser_release frees what it took. */
enum parse_result parser_read(struct call *call, int argc, char **argv);
void parser_release(struct call *call);

/* The command of that name among NULL-terminated ones, or NULL. */
const struct command *command_find(const struct command *const *among, const char *name);

#endif
