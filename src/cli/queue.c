/* Stands in until the command is there. */
#include "cli/commands.h"

static int queue_run(struct call *call)
{
    return call_error(call, EXIT_UNSUPPORTED, "'%s' is not in this build", call->command->name);
}

const struct command command_queue = {
    .name = "queue", .help = "not in this build", .run = queue_run};
