/*
 * A queue that is worked by programs for as long as a server runs: a crew that endures, as another
 * user and within limits where asked for.
 *
 * Users and limits are set by setpriv(1) and prlimit(1) of util-linux, which start the program in
 * the end: between them and the program there is no shell.
 */
#ifndef BECK_PROCESS_RUNNER_H
#define BECK_PROCESS_RUNNER_H

#include "process/crew.h"

/* What programs of one runner may write: further lines are left out until the window ends. */
#define RUNNER_WINDOW_MS 10000
#define RUNNER_LINES_MAX 1000
#define RUNNER_BYTES_MAX (256 << 10)

struct runner;

struct runner_options {
    const char *queue;
    const char *const *program; /* and its arguments, program_count of them */
    size_t program_count;
    uint32_t workers; /* 0: 1 */
    bool persistent;
    int retry_exit;           /* 0: 75 */
    beck_verdict failure;     /* BECK_REJECT: every other failure rejects; else it is tried again */
    const char *user, *group; /* NULL: the server's own; group NULL: the user's */
    const char *directory;    /* NULL: the server's own */
    const char *const *environment; /* "NAME=value", environment_count of them */
    size_t environment_count;
    /* Of each process; 0: no limit but the server's own. */
    int64_t memory_max;    /* bytes of address space */
    int64_t cpu_max_ms;    /* processor time, whole seconds rounded up */
    int64_t files_max;     /* open files */
    int64_t processes_max; /* of the user */
};

/* What a runner has to say; from its threads. */
enum runner_word {
    RUNNER_OUTPUT, /* a line that the program wrote */
    RUNNER_CUT,    /* what it writes is left out for a while, or was: how much */
    RUNNER_FAILED, /* a delivery failed */
    RUNNER_TROUBLE /* the program cannot be run, the queue cannot be read: it tries again; or the
                       queue was deleted, and it ends */
};
typedef void (*runner_say)(void *ctx, enum runner_word word, const char *queue, const char *text);

/* Whether it could be started, but for who may be whom: only root may run programs as other users.
 * BECK_EINVAL: no such user, group, directory or program. */
beck_status runner_check(const struct runner_options *options, beck_error *err);
/* Copies the options. BECK_EINVAL: no such user or program, setpriv missing ...; BECK_ENOENT: no such
 * queue. */
beck_status runner_start(beck *b, const struct runner_options *options, runner_say say, void *ctx,
                         struct runner **out, beck_error *err);
/* Takes nothing more; what is being handled is finished. */
void runner_end(struct runner *r);
/* Kills what runs; the events go back to the queue. */
void runner_hurry(struct runner *r);
uint32_t runner_working(struct runner *r);
/* Whether it was told to end, or ends because its queue was deleted. */
bool runner_ending(const struct runner *r);
/* Waits for the end and frees. */
void runner_stop(struct runner *r);

#endif
