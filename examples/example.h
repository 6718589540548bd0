/* What the examples need besides beck.h: ending with a message when something fails, and a
 * directory for a while. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <beck.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Ends the program when a call failed. The text of an error says what to do about it. */
static inline void must(beck_status status, const beck_error *err)
{
    if (status != BECK_OK) {
        fprintf(stderr, "%s: %s\n", beck_status_name(status), err->text);
        exit(1);
    }
}

/* Each example checks its own result with it. */
static inline void expect(bool true_or_wrong, const char *what)
{
    if (!true_or_wrong) {
        fprintf(stderr, "this is wrong: %s\n", what);
        exit(1);
    }
}

/* A new directory for data; remove_dir takes it away again. */
static inline const char *make_dir(void)
{
    static char dir[] = "/tmp/beck-example-XXXXXX";
    if (mkdtemp(dir) == NULL) {
        perror(dir);
        exit(1);
    }
    return dir;
}

static inline int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static inline void remove_dir(const char *dir)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Waits until a queue has nothing left to do. */
static inline void wait_until_idle(beck *b, const char *queue)
{
    for (;;) {
        beck_queue_info info;
        beck_error err;
        must(beck_queue_info_get(b, queue, &info, &err), &err);
        if (info.ready + info.in_flight + info.delayed == 0)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
}

/* For printf("%.*s", TEXT(bytes)). */
#define TEXT(bytes) (int)(bytes).len, (const char *)(bytes).data

#endif
