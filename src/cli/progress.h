/*
 * The progress of long work: one line on standard error, written over itself, at most ten times a
 * second; only on a terminal and without --quiet. Nothing is left of it when it ends.
 *
 * Threads: one at a time.
 */
#ifndef BECK_CLI_PROGRESS_H
#define BECK_CLI_PROGRESS_H

#include "cli/command.h"

enum progress_unit {
    PROGRESS_EVENTS, /* "12,345 of 20,000 events" */
    PROGRESS_BYTES   /* "1.2 of 3.4 GiB" */
};

struct progress {
    bool shown; /* whether there is a line at all */
    bool drawn; /* a line stands on the terminal */
    const char *label;
    enum progress_unit unit;
    int64_t total;
    int64_t start_ns, next_ns; /* monotonic */
};

/* label: a word or two ("ingest"), borrowed. total: 0 when not known. */
void progress_init(struct progress *p, const struct call *call, const char *label,
                   enum progress_unit unit, int64_t total);
/* `done` so far in units; `note` (may be NULL) is appended: "17 put aside". Cheap enough to be
 * called for every event. */
void progress_update(struct progress *p, int64_t done, const char *note);
/* Removes the line, so that other talk can be written; the next update draws it again. */
void progress_hide(struct progress *p);
/* Removes the line for good. */
void progress_end(struct progress *p);

#endif
