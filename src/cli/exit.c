/* The one table of exit codes. Codes are never given a new meaning. */
#include "cli/exit.h"

const struct exit_meaning exit_meanings[] = {
    {EXIT_DONE, "done", "everything asked for was done", {0}},
    {EXIT_FAILED,
     "failed",
     "something failed: malformed lines, events rejected, a child, memory",
     {BECK_ENOMEM, BECK_ETIMEDOUT, BECK_ECLOSED}},
    {EXIT_USAGE,
     "usage",
     "an option, an argument or an event is wrong; nothing was done",
     {BECK_EINVAL}},
    {EXIT_NOT_FOUND,
     "not found",
     "no such data directory, bus, queue, event or program",
     {BECK_ENOENT, BECK_ERANGE}},
    {EXIT_BUSY,
     "busy",
     "another process holds the data directory, or a queue is bound to the bus",
     {BECK_EBUSY}},
    {EXIT_CORRUPT, "corrupt", "stored bytes are damaged", {BECK_ECORRUPT}},
    {EXIT_REFUSED,
     "refused",
     "a limit was met, the disk is full, or it is not allowed",
     {BECK_ELIMIT, BECK_EFULL, BECK_EDENIED}},
    {EXIT_EXISTS, "exists", "it exists already, with other options", {BECK_EEXIST}},
    {EXIT_UNSUPPORTED,
     "unsupported",
     "not in this build, or not for this kind of object",
     {BECK_EUNSUPPORTED}},
    {EXIT_DISK, "disk", "the disk or the operating system failed", {BECK_EIO, BECK_EPOISONED}},
    {EXIT_INTERRUPTED, "interrupted", "a signal ended the work before it was done", {0}},
    {0, NULL, NULL, {0}},
};

int exit_of(beck_status status)
{
    if (status >= 0) {
        return EXIT_DONE;
    }
    for (const struct exit_meaning *m = exit_meanings; m->name; m++) {
        for (int i = 0; i < 4 && m->statuses[i]; i++) {
            if (m->statuses[i] == status) {
                return m->code;
            }
        }
    }
    return EXIT_FAILED;
}
