/*
 * Commands of the program: how one is described, and what it is given when it runs.
 *
 * A command is a constant (struct command) in its own file, named in the table in main.c. The
 * parser, `--help`, "did you mean" and the shell completion all come from that description, so
 * options are declared once and never parsed by hand. Every value is checked before `run` is
 * called: an accessor (option_*) cannot fail, and asking for an option that the command does not
 * declare is a programmer's error (assert).
 *
 * Order of things in a run: parse; block signals when `orderly`; `run`; close the handle if
 * call_open made one; flush standard output. The result of `run` is the exit code (exit.h).
 *
 * Streams: data on standard output (stdio, fully buffered), talk on standard error through the
 * call_* functions below. SIGPIPE is ignored; output_broken tells that nobody reads any more.
 *
 * Threads: a call is read-only while `run` runs, except through the functions below, all of which
 * may be called from any thread.
 */
#ifndef BECK_CLI_COMMAND_H
#define BECK_CLI_COMMAND_H

#include "cli/exit.h"
#include <beck.h>

enum option_kind {
    OPTION_FLAG = 1, /* takes no value */
    OPTION_TEXT,
    OPTION_NUMBER,   /* whole, within min..max */
    OPTION_DURATION, /* 10ms, 5s, 2m, 1h, 7d, 1h30m: milliseconds, within min..max */
    OPTION_SIZE,     /* 4096, 64k, 1m, 1g: bytes, in steps of 1,024, within min..max */
    OPTION_TIME,     /* RFC 3339, "HH:MM[:SS]", "-10m", "+1h", "now": nanoseconds since 1970 */
    OPTION_CHOICE,   /* one of `choices` */
    OPTION_FROM,     /* now, earliest, an offset or a time: beck_from */
    OPTION_BACKOFF   /* none, fixed:1s, exponential:1s..1h, list:1s,5s: beck_backoff */
};

/* One option. A table of them ends with an all-zero entry. */
struct option {
    const char *name; /* without the dashes */
    char letter;      /* short form, 0: none */
    enum option_kind kind;
    const char *value;  /* what the help calls the value; NULL: a name that suits the kind */
    const char *preset; /* the value when it is not given, as text; NULL: none */
    const char *help;   /* one line, lower case, no full stop */
    bool repeatable;
    const char *const *choices; /* OPTION_CHOICE: NULL-terminated */
    int64_t min, max;           /* both 0: 0 to INT64_MAX */
};

struct call;

struct command {
    const char *name;
    const char *arguments; /* as in the usage line: "TYPE [DATA]"; NULL: none */
    uint32_t arguments_min, arguments_max;
    bool program;         /* takes `-- PROGRAM ARGS...` */
    bool orderly;         /* SIGINT and SIGTERM do not end the process: it polls call_stopping */
    const char *help;     /* one line, lower case, no full stop */
    const char *about;    /* more lines for --help; NULL: none. Wrapped at 80 columns by hand */
    const char *examples; /* lines for --help, each a comment ("# ...") or a command */
    const struct option *options;          /* NULL: only the global ones */
    const struct command *const *children; /* a group: its commands, NULL-terminated; no run */
    int (*run)(struct call *call);
};

struct option_value;

struct call {
    const struct command *command;
    const struct command *group;  /* that the command stands in, or NULL */
    const char *const *arguments; /* between the options, argument_count of them */
    uint32_t argument_count;      /* within the command's min and max */
    char *const *program;         /* after "--": NULL-terminated as for exec; NULL: none */
    const char *data_dir;         /* --data, BECK_DATA or ./beck-data */
    bool json, quiet;             /* --json, --quiet */
    bool color_out, color_err;    /* whether colours are for standard output, standard error */
    int64_t wait_ms;              /* --wait: how long call_open waits for a busy directory */
    int64_t now_ns;               /* when the program started: "now" of all options */
    beck *handle;                 /* after call_open */
    int stop_fd;                  /* orderly: readable once a signal came (for poll); else -1 */
    struct option_value *values;  /* for the accessors only */
    size_t value_count;
    _Atomic(int) *stops;   /* for call_stopping only */
    _Atomic(bool) damaged; /* the engine has reported damage since it was last cleared */
};

/* ---- options: `name` as declared, global ones included ---- */

bool option_given(const struct call *call, const char *name); /* by the user, not by the preset */
bool option_flag(const struct call *call, const char *name);
/* The text as given, or the preset, or NULL. OPTION_TEXT, OPTION_CHOICE, and any other's text. */
const char *option_text(const struct call *call, const char *name);
/* NUMBER, DURATION (ms), SIZE (bytes), TIME (ns); `otherwise` when neither given nor preset. */
int64_t option_number(const struct call *call, const char *name, int64_t otherwise);
/* CHOICE: its index in choices, or -1. */
int option_choice(const struct call *call, const char *name);
beck_from option_from(const struct call *call, const char *name);       /* zero when not given */
beck_backoff option_backoff(const struct call *call, const char *name); /* zero when not given */
/* Repeatable options: how many, and the i-th in the order given. */
size_t option_count(const struct call *call, const char *name);
const char *option_text_at(const struct call *call, const char *name, size_t i);

/* ---- the handle ---- */

enum call_open_mode {
    CALL_CREATE,   /* for writing; the data directory is made when missing */
    CALL_EXISTING, /* for writing; a missing data directory is an error (not found) */
    CALL_INSPECT   /* read only, without the lock: works while another process holds it; shows what
                      was there when it was opened */
};

/* Opens call->handle on call->data_dir, or on the server that owns it, waiting for call->wait_ms when
 * it is busy. Returns EXIT_DONE, or reports and returns the exit code for `run` to return. The handle is closed after
 * `run`; close everything taken from it that needs closing (readers, consumers, workers) before
 * returning. */
int call_open(struct call *call, enum call_open_mode mode);

/* The bus of that name; `create`: made with default options when missing. Reports as call_open. */
int call_bus(const struct call *call, const char *name, bool create, beck_bus **out);

/* ---- talk ---- */

/* "beck: <text>" on standard error. Returns the exit code of `status`, for `return call_fail(...)`.
 * `err` as the library filled it, or NULL for the status's name. */
int call_fail(const struct call *call, beck_status status, const beck_error *err);
/* The same, of what was asked of a queue: that there is none of that name is said first. */
int call_fail_queue(const struct call *call, const char *queue, beck_status status,
                    const beck_error *err);
/* The same with a text of one's own, and the exit code to return. */
int call_error(const struct call *call, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* As call_error with EXIT_USAGE, and a line that points to --help. */
int call_usage(const struct call *call, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Not an error, but worth attention. */
void call_warn(const struct call *call, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* One line of talk, unless --quiet. */
void call_say(const struct call *call, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- ending early ---- */

/* Whether SIGINT or SIGTERM came (orderly commands; never true for others): how many so far. The
 * first asks for an orderly end, a second for a quick one. Cheap enough for every event. */
int call_stopping(const struct call *call);
/* Sleeps; false: a signal ended it early. */
bool call_sleep(const struct call *call, int64_t ms);

/* Whether standard output failed. A broken pipe is no error: stop quietly and return EXIT_DONE.
 * Only known after a flush: long running commands call output_flush now and then. */
bool output_broken(void);
bool output_flush(void); /* false: broken */

#endif
