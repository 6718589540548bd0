/* Watching over a crew of the command line: signals, idleness, and what workers say. */
#ifndef BECK_CLI_CREW_WATCH_H
#define BECK_CLI_CREW_WATCH_H

#include "cli/command.h"
#include "process/crew.h"

/* Runs the crew until it ends: by itself, when the queue is idle (exit_when_idle: nothing is ready,
 * in flight or delayed), or because of a signal. The first signal lets every worker finish its
 * event, a second one kills the programs and gives their events back. What workers say is said with
 * call_say. Returns the exit code of a failure that ended it, else EXIT_DONE. */
int crew_watch(struct call *call, struct crew_options *options, bool exit_when_idle,
               struct crew_counts *counts);

#endif
