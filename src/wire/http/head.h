/*
 * The head of a request (RFC 9112): where it ends, and what it says. Strict: what two readers could
 * understand differently is refused.
 */
#ifndef BECK_WIRE_HTTP_HEAD_H
#define BECK_WIRE_HTTP_HEAD_H

#include "base/bytes.h"

#define HEAD_LINE_MAX 8192 /* the request line */
#define HEAD_FIELDS_MAX 100

/* Why a head is refused: the status of the answer, and a constant text. */
struct head_fault {
    int status;
    const char *why;
};

/* How far a head was looked through. All zero: not at all. */
struct head_scan {
    size_t at;    /* so many bytes were looked at */
    size_t line;  /* where the line begins that is not whole */
    size_t lines; /* that are whole */
};

/* Looks through what came more of `input`, which begins with the head. The number of bytes that the
 * head has, its empty line included; 0: it is not whole; with *fault it never will be. An empty line
 * before it counts as a head of two bytes (and of no lines). */
size_t head_find(struct head_scan *s, beck_bytes input, size_t max, struct head_fault *fault);

struct head_field {
    const char *name, *value;
    size_t name_len;
};

struct head {
    const char *method;
    char *target;
    int minor; /* of HTTP/1.x */
    struct head_field *fields;
    size_t count;
};

/* Takes a whole head to pieces: `text` is changed, and stays as long as what points into it. `fields`
 * has room for all lines but the first. False: refused; method and target may be there. */
bool head_read(char *text, size_t len, struct head_field *fields, struct head *out,
               struct head_fault *fault);

/* The value of the first field of that name, or NULL. Names are compared without case. */
const char *head_value(const struct head *h, const char *name);
size_t head_count(const struct head *h, const char *name);
/* Whether one of the fields of that name holds the word, in a list with commas. */
bool head_lists(const struct head *h, const char *name, const char *word);

#endif
