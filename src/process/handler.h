/*
 * A handler: the program that handles events, and the verdict it gave.
 *
 * One-shot: the program is started for every event. Its standard input is the event (CloudEvents
 * JSON, one line), its environment the attributes; its exit status is the verdict. Persistent: one
 * process gets a line per event and answers each with a line:
 *
 *   ok [id] | retry [why] | reject [why] |
 *   {"verdict":"settle|retry|reject","why":"...","event_id":"..."}
 *
 * A persistent process that dies, answers something else or is late is started again, after a pause
 * that doubles from 100 ms to 10 s until it answers; its event counts as failed. An answer with the id of
 * another event, and one that comes while the event is unread, is one too many of an earlier event: the
 * process is started again at once, and gets the event again; the second time the event counts as
 * failed.
 *
 * Threads: a handler belongs to one thread.
 */
#ifndef BECK_PROCESS_HANDLER_H
#define BECK_PROCESS_HANDLER_H

#include "process/child.h"

#define HANDLER_WHY_MAX 256 /* as a worker's why in beck.h */

struct handler_options {
    char *const *program;
    bool persistent;
    int64_t deadline_ms;      /* < 0: none */
    int64_t grace_ms;         /* between SIGTERM and SIGKILL */
    int retry_exit;           /* exit status that asks for another attempt */
    beck_verdict failure;     /* what every other failure means */
    const char *queue;        /* BECK_QUEUE; NULL: none */
    int wake_fd;              /* readable: kill what runs, give up; -1: none */
    bool (*woken)(void *ctx); /* asked when wake_fd is readable: false means go on, and that it is
                                 readable no more; NULL: give up */
    void *woken_ctx;
    const char *directory;    /* where the program starts; NULL: in ours */
    char *const *environment; /* "NAME=value" besides ours, NULL-terminated; may be NULL */
    bool private_environment; /* names of ours that begin with BECK_ are not passed on: a server's
                                 settings may stand there */
    /* As in child_options. */
    void (*output)(void *ctx, beck_bytes line);
    void *output_ctx;
    int64_t beat_ms; /* > 0: call `beat` this often while an event is being handled */
};

struct handler {
    const struct handler_options *options;
    struct child child;    /* persistent: pid 0 when there is none */
    int64_t pause_ms;      /* before the next start */
    int64_t start_at_ns;   /* no start before (monotonic) */
    struct buf input;      /* the event as a line */
    struct buf attributes; /* environment strings */
    char **environment;
    size_t environment_cap;
    void (*beat)(void *ctx);
    void *beat_ctx;
};

void handler_init(struct handler *h, const struct handler_options *options);
/* Ends the persistent process: its standard input is closed, and it has grace_ms to go. */
void handler_release(struct handler *h);

/* Persistent: the monotonic time before which handler_run would have to pause; 0: none. */
int64_t handler_ready_at(const struct handler *h);

enum handler_result {
    HANDLER_VERDICT, /* *verdict is set, and why (HANDLER_WHY_MAX bytes) when it is not settle */
    HANDLER_WOKEN,   /* wake_fd became readable: the event was not handled */
    HANDLER_UNUSABLE /* the program cannot be run; err says why */
};

enum handler_result handler_run(struct handler *h, const beck_event *event, uint32_t attempt,
                                beck_verdict *verdict, char *why, beck_error *err);

#define HANDLER_PATH_MAX 4096

/* Where our PATH has the program. */
bool handler_find(const char *name, char out[HANDLER_PATH_MAX]);
/* Whether the program can be found: BECK_ENOENT, BECK_EINVAL. */
beck_status handler_check(char *const *program, beck_error *err);

#endif
