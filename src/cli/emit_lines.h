/* Events read from text and published in batches, for beck emit. */
#ifndef BECK_CLI_EMIT_LINES_H
#define BECK_CLI_EMIT_LINES_H

#include "cli/command.h"
#include "event/event.h"

/* What --level asks for. */
beck_level emit_level(const struct call *call);

/* Publishes what `file` ("-": standard input) holds; returns the exit code. */
int emit_lines(struct call *call, const char *file);

#endif
