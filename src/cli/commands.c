/* The one table of commands. */
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/parser.h"

const struct command *const commands[] = {
    &command_emit,  &command_log,     &command_on,     &command_replay,     &command_ingest,
    &command_bus,   &command_queue,   &command_dead,   &command_user,       &command_trace,
    &command_serve, &command_verify,  &command_export, &command_import,     &command_metrics,
    &command_bench, &command_version, &command_help,   &command_completion, NULL};
