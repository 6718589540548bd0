/* Lines of an input that may be a file, a pipe or a terminal, in bounded memory. */
#ifndef BECK_CLI_LINES_H
#define BECK_CLI_LINES_H

#include "base/bytes.h"

struct lines {
    int fd;      /* not closed by lines_release */
    int stop_fd; /* readable: reading ends as at the end of the input; -1: none */
    struct buf text;
    size_t at;      /* next line begins here */
    bool ended;     /* the input has no more */
    int64_t number; /* of the last line given, from 1 */
    int64_t bytes;  /* taken from the input */
};

enum lines_result {
    LINES_LINE,
    LINES_END,
    LINES_TOO_LONG, /* the line (number) was stepped over */
    LINES_FAILED    /* errno */
};

void lines_init(struct lines *l, int fd, int stop_fd, size_t line_max);
void lines_release(struct lines *l);
/* The next line without its newline (and without a carriage return before it), valid until the next
 * call. */
enum lines_result lines_next(struct lines *l, beck_bytes *line);
/* Whether lines_next would wait for its input. */
bool lines_would_wait(struct lines *l);

#endif
