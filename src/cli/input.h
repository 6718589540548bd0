/*
 * A window over an input that is read from its beginning to its end, in bounded memory: a file, a
 * pipe or a terminal. What is not consumed stays in the window, and the window grows up to its
 * ceiling. Slices of it are valid until the next input_fill.
 */
#ifndef BECK_CLI_INPUT_H
#define BECK_CLI_INPUT_H

#include "base/bytes.h"

struct input {
    int fd;      /* not closed by input_release; -1: memory */
    int stop_fd; /* readable: reading ends as at the end of the input; -1: none */
    struct buf text;
    size_t at;         /* first byte that is not consumed */
    int64_t position;  /* of that byte in the input */
    bool ended;        /* nothing is to be had behind the window */
    bool stopped;      /* ended because of stop_fd */
    beck_bytes memory; /* what is left to be given of it */
    size_t piece;      /* how much of it at once */
    /* Called before waiting for an input that pauses; may be NULL. Must not touch the input. */
    void (*pausing)(void *ctx);
    void *pausing_ctx;
};

enum input_result {
    INPUT_MORE,
    INPUT_END,  /* the window is what was left */
    INPUT_FULL, /* the window is at its ceiling */
    INPUT_FAILED
};

void input_init(struct input *in, int fd, int stop_fd, size_t window_max);
/* An input that is these bytes, which must outlive it, given in pieces as a pipe would. */
void input_init_memory(struct input *in, beck_bytes content, size_t piece, size_t window_max);
void input_release(struct input *in);

static inline beck_bytes input_window(const struct input *in)
{
    return (beck_bytes){in->text.data ? in->text.data + in->at : (const uint8_t *)"",
                        in->text.len - in->at};
}
static inline void input_consume(struct input *in, size_t n)
{
    in->at += n;
    in->position += (int64_t)n;
}
/* Reads more behind the window. INPUT_FAILED: errno. */
enum input_result input_fill(struct input *in);
/* Whether there is more to read, or the end, within that time. */
bool input_ready(const struct input *in, int timeout_ms);
/* Line ends in a text. */
int64_t input_count_lines(beck_bytes text);
/* Bytes taken from the input so far. */
static inline int64_t input_taken(const struct input *in)
{
    return in->position + (int64_t)(in->text.len - in->at);
}

#endif
