/*
 * A piece of a stream of server-sent events: the text of some events as a frame of HTTP. Several
 * connections may be sending it; the last that lets go frees it.
 */
#ifndef BECK_WIRE_HTTP_FOLLOW_CHUNK_H
#define BECK_WIRE_HTTP_FOLLOW_CHUNK_H

#include "wire/http/reading.h"

#include <stdatomic.h>

struct chunk {
    _Atomic(uint32_t) holders;
    struct buf text; /* the frame; its tail is added last */
    int64_t *ends;   /* of each lane: where the reader was behind it */
};

/* Empty, with one holder. NULL: no memory. */
struct chunk *chunk_new(uint32_t lanes);
void chunk_let_go(void *chunk); /* any thread; NULL allowed */
size_t chunk_len(const struct chunk *c);
/* Adds what `reading` gives, up to about 32 KiB, and notes where it is then. BECK_END: there is no
 * more; BECK_ENOMEM, BECK_ECLOSED, BECK_EIO: what was added before stays. */
beck_status chunk_fill(struct chunk *c, struct reading *reading, bool positions);
/* It has all its text. False: no memory. */
bool chunk_close(struct chunk *c);
/* What a stream begins with, closed: an id without data, so that who is cut off before the first event
 * resumes here. NULL: no memory. */
struct chunk *chunk_first(const struct reading *reading);

#endif
