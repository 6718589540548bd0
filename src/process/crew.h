/*
 * A crew: worker threads, each with a consumer of a queue and a handler (a program), until it is
 * told to end.
 *
 * A worker holds one delivery at a time: the program is what takes time, and a delivery that waits
 * behind it would only run into its deadline. The delivery's deadline is the program's: the worker
 * kills it then and says why. Until the verdict is given the delivery is extended every half
 * deadline, so that the queue never takes it away first.
 *
 * Threads: the functions below belong to the thread that started the crew; the functions of
 * crew_options are called from workers.
 */
#ifndef BECK_PROCESS_CREW_H
#define BECK_PROCESS_CREW_H

#include "process/handler.h"

#define CREW_MAX 256

struct crew;

struct crew_options {
    beck *b;
    const char *queue;
    uint32_t workers;   /* 1 to CREW_MAX */
    int64_t events_max; /* end after this many deliveries; < 0: no limit */
    /* What ends one worker must not end the others: a program that cannot be run, or a queue that
     * cannot be read, is tried again after a pause that grows to a minute. Else it ends the crew. */
    bool enduring;
    struct handler_options handler; /* queue, deadline, beat and what wakes it are the crew's */
    /* A delivery that did not end well: "failed", "failed and was the last", "is rejected". */
    void (*failed)(void *ctx, const beck_delivery *d, const char *outcome, const char *why);
    /* Anything else that is worth a line; not the end of the crew. */
    void (*trouble)(void *ctx, beck_status status, const beck_error *err);
    void *ctx;
};

struct crew_counts {
    int64_t handled, retried, rejected, dead; /* deliveries; dead: the attempts are used up */
    int64_t waiting; /* events that failed here first, and were to be tried again in the end */
};

/* BECK_ENOENT: no such queue; BECK_EIO: no threads or descriptors; BECK_ENOMEM. The options are
 * borrowed until crew_join, what they point to as well. */
beck_status crew_start(const struct crew_options *options, struct crew **out, beck_error *err);
/* Readable when a worker has ended. crew_working: how many have not, any thread. */
int crew_fd(const struct crew *c);
uint32_t crew_working(struct crew *c);
/* Whether it was told to end, or ends by itself. Any thread. */
bool crew_ending(const struct crew *c);
/* Every worker finishes what it handles and takes nothing more. crew_hurry: programs are killed and
 * their events given back. Both at once and any number of times. */
void crew_end(struct crew *c);
void crew_hurry(struct crew *c);
/* Waits for the workers and frees. What ended the crew by itself, or BECK_OK. counts may be NULL. */
beck_status crew_join(struct crew *c, struct crew_counts *counts, beck_error *err);

#endif
