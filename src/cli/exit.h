/* Exit codes of the program: stable, and documented by `beck help exit-codes` from the same table.
 */
#ifndef BECK_CLI_EXIT_H
#define BECK_CLI_EXIT_H

#include <beck.h>

enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NOT_FOUND = 3,
    EXIT_BUSY = 4,
    EXIT_CORRUPT = 5,
    EXIT_REFUSED = 6,
    EXIT_EXISTS = 7,
    EXIT_UNSUPPORTED = 8,
    EXIT_DISK = 9,
    EXIT_INTERRUPTED = 130
};

struct exit_meaning {
    int code;
    const char *name;
    const char *meaning;
    beck_status statuses[4]; /* of the library that end in this code; 0 ends the list */
};

/* Ends with an entry whose name is NULL. */
extern const struct exit_meaning exit_meanings[];

/* The exit code of a status: EXIT_FAILED for those that the table does not name. */
int exit_of(beck_status status);

#endif
