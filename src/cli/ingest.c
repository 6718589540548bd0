/* Stands in until the command is there. */
#include "cli/commands.h"

static int ingest_run(struct call *call)
{
    return call_error(call, EXIT_UNSUPPORTED, "'%s' is not in this build", call->command->name);
}

const struct command command_ingest = {
    .name = "ingest", .help = "not in this build", .run = ingest_run};
