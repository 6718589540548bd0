/* A body in chunks (RFC 9112, section 7.1), as it comes. Extensions and trailers are read and
 * forgotten. */
#ifndef BECK_WIRE_HTTP_CHUNKED_H
#define BECK_WIRE_HTTP_CHUNKED_H

#include "base/bytes.h"

/* All zero: at the beginning. */
struct chunked {
    int state;
    uint64_t left; /* of the chunk, or its size as far as it was read */
    uint32_t line; /* bytes of the line that is read; of all trailers */
};

enum chunked_result {
    CHUNKED_MORE,    /* all was taken, and it is not the end */
    CHUNKED_DATA,    /* *data lies in what was taken */
    CHUNKED_END,     /* what is left belongs to the next request */
    CHUNKED_BAD,     /* it is no body in chunks */
    CHUNKED_TOO_LONG /* the size of a chunk is no number of 64 bits */
};
/* Takes from the beginning of *input. After BAD and TOO_LONG: no more. */
enum chunked_result chunked_next(struct chunked *c, beck_bytes *input, beck_bytes *data);

#endif
