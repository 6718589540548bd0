/* A crew: worker threads, each with a consumer of a queue and a handler (the program), until the
 * queue is idle, enough was handled, or a signal came. */
#ifndef BECK_CLI_CREW_H
#define BECK_CLI_CREW_H

#include "cli/command.h"
#include "process/handler.h"

#define CREW_MAX 256

struct crew_options {
    const char *queue;
    uint32_t workers;
    int64_t events_max;  /* end after this many deliveries; < 0: no limit */
    bool exit_when_idle; /* end once nothing is ready, in flight or delayed */
    struct handler_options handler;
};

struct crew_counts {
    int64_t handled, retried, rejected, dead; /* deliveries; dead: the attempts are used up */
};

/* Works until the end; the first signal lets every worker finish its event, a second one kills the
 * programs and gives their events back. Returns the exit code of a failure that ended it, else
 * EXIT_DONE. */
int crew_run(struct call *call, const struct crew_options *options, struct crew_counts *counts);

#endif
