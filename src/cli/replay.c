/* Stands in until the command is there. */
#include "cli/commands.h"

static int replay_run(struct call *call)
{
    return call_error(call, EXIT_UNSUPPORTED, "'%s' is not in this build", call->command->name);
}

const struct command command_replay = {
    .name = "replay", .help = "not in this build", .run = replay_run};
