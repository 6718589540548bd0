/*
 * A child process with pipes to its standard streams, driven by polling: nothing here blocks on a
 * child that does not read, does not answer or does not end.
 *
 * The child leads a process group of its own; signals go to the group. The group is signalled only
 * while its leader is not reaped, so a number that was given to another process is never hit. Every
 * child that was started must be ended with child_end, which reaps it: no zombie is left.
 *
 * A child gets SIGKILL when the thread that started it ends, be it that the process was killed; its own
 * children do not.
 *
 * Threads: one at a time per child, and the one that started it stays until child_end; many children
 * on many threads.
 */
#ifndef BECK_PROCESS_CHILD_H
#define BECK_PROCESS_CHILD_H

#include "base/bytes.h"
#include <sys/types.h>

#define CHILD_TAIL_MAX 1024  /* of standard error that is remembered */
#define CHILD_LINE_MAX 65536 /* of an answer */
#define CHILD_TEXT_MAX 2048  /* of a line for `output` */

struct child_options {
    char *const *program;     /* NULL-terminated; looked up in the PATH of `environment` */
    char *const *environment; /* NULL-terminated */
    bool answers;             /* standard output is read by child_line; else it is ours */
    const char *directory;    /* where it starts; NULL: in ours */
    /* Gets the lines that the child writes to standard error, and to standard output unless it gives
     * answers there; without control characters, long ones in pieces. From the functions below. NULL:
     * they are passed on to ours. */
    void (*output)(void *ctx, beck_bytes line);
    void *output_ctx;
};

/* The beginning of a line for `output`. */
struct child_text {
    size_t len;
    char at[CHILD_TEXT_MAX];
};

struct child {
    pid_t pid;         /* 0: none */
    int pid_fd;        /* readable once the child ended; -1: the kernel has none */
    int in, out, err;  /* our ends; -1: closed */
    bool answers;      /* on standard output; else it is passed on, or text for `output` */
    bool ended;        /* the leader ended; wait_status is set */
    bool out_ended;    /* standard output was closed: no answer will come */
    int wait_status;   /* as waitpid gives it */
    bool input_last;   /* close standard input once the input is written */
    beck_bytes input;  /* still to be written, borrowed */
    struct buf output; /* read and not yet taken */
    size_t tail_len;
    char tail[CHILD_TAIL_MAX];
    void (*say)(void *ctx, beck_bytes line); /* `output` */
    void *say_ctx;
    struct child_text out_text, err_text;
};

/* Starts the program. BECK_ENOENT: there is no such program; BECK_EINVAL: it is none that can be
 * run; BECK_ELIMIT: arguments and environment are too long; BECK_EIO, BECK_ENOMEM. */
beck_status child_start(struct child *c, const struct child_options *options, beck_error *err);

/* Sets what is written to standard input next; valid until it is written or the child ends. `last`
 * closes standard input behind it. A child that closed its standard input loses it: no error. */
void child_send(struct child *c, beck_bytes input, bool last);

/* Whether the child has taken all that was sent, as far as can be known, but perhaps for the last byte: the end
 * of a line need not be read to know what it says. True once its standard input is closed. */
bool child_has_read(const struct child *c);

enum child_event {
    CHILD_ENDED = 1, /* the leader ended or closed its standard output: no answer will come. What it
                        wrote before has been read */
    CHILD_LINE = 2,  /* child_line has one, or CHILD_LINE_MAX bytes came without a newline */
    CHILD_WOKEN = 4, /* wake_fd is readable */
    CHILD_LATE = 8   /* until_ns (monotonic) has come */
};

/* Moves bytes until something of the above happens; returns the set of what did. wake_fd: -1 for
 * none. */
unsigned child_wait(struct child *c, int wake_fd, int64_t until_ns);

/* The next line of standard output without its newline, valid until the next child_wait; false: no
 * whole line is there. child_line_drop steps over it. */
bool child_line(struct child *c, beck_bytes *line);
void child_line_drop(struct child *c);

/* Ends and reaps. Waits grace_ms for the child to end by itself (after closing its standard input),
 * then signals SIGTERM, waits grace_ms again, then SIGKILL. `at_once`: begins with SIGTERM. What is
 * left of the group gets SIGKILL when a signal was needed. Fills wait_status. */
void child_end(struct child *c, bool at_once, int64_t grace_ms);

/* The last whole lines of standard error that fit, as one line of text without control characters;
 * empty when there are none. */
void child_last_words(const struct child *c, char *out, size_t size);

#endif
