/* Events on standard output, one a line: aligned for people, or JSON. */
#ifndef BECK_CLI_EVENT_PRINTER_H
#define BECK_CLI_EVENT_PRINTER_H

#include "base/bytes.h"
#include "cli/command.h"

enum event_form { EVENT_HUMAN, EVENT_NDJSON, EVENT_ENVELOPE };

/* The choices of --format, in the order of enum event_form. */
extern const char *const event_forms[];

struct event_printer {
    const struct call *call;
    enum event_form form;
    size_t width;                   /* of the terminal, 0: none */
    size_t type, subject, position; /* columns so far: they only grow */
    struct buf line;
};

/* The form is that of --format where `format` is not negative; else for people on a terminal
 * without
 * --json, and JSON otherwise. */
void event_printer_init(struct event_printer *p, const struct call *call, int format);
void event_printer_release(struct event_printer *p);
/* Reports what fails and returns its exit code. */
int event_printer_print(struct event_printer *p, const beck_event *e);

#endif
