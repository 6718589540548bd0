/*
 * Bytes to be sent, in order, as a list of pieces: memory of its own, memory that it refers to, and
 * ranges of files. One thread.
 */
#ifndef BECK_NET_ROPE_H
#define BECK_NET_ROPE_H

#include "base/bytes.h"

struct piece;

/* Pieces for use again, shared by the ropes of a loop. All zero: empty. */
struct piece_cache {
    struct piece *free;
    uint32_t count;
};
void piece_cache_release(struct piece_cache *cache);

/* All zero: empty. */
struct rope {
    struct piece *head, *tail;
    size_t len;
};
void rope_release(struct rope *r, struct piece_cache *cache);

/* Room for `size` bytes in one piece; rope_commit makes the first `len` of them part of the rope.
 * NULL: no memory. */
uint8_t *rope_reserve(struct rope *r, struct piece_cache *cache, size_t size);
void rope_commit(struct rope *r, size_t len);
/* All: false when there is no memory, with the rope as it was (and release not called). */
bool rope_append(struct rope *r, struct piece_cache *cache, const void *data, size_t len);
/* Few bytes are copied and released at once. */
bool rope_append_memory(struct rope *r, struct piece_cache *cache, beck_bytes bytes,
                        void (*release)(void *ctx), void *ctx);
bool rope_append_file(struct rope *r, int fd, int64_t position, size_t len,
                      void (*release)(void *ctx), void *ctx);

/* The first bytes that are there in one piece, at most `size`: of a file they are read into `space`,
 * which has that size. Empty: a file is shorter than was said, or cannot be read. The rope is not
 * empty. */
beck_bytes rope_peek(const struct rope *r, uint8_t *space, size_t size);
/* Takes away the first `len` bytes. */
void rope_drop(struct rope *r, struct piece_cache *cache, size_t len);

enum rope_sent {
    ROPE_EMPTY,   /* all of it was sent */
    ROPE_MORE,    /* there is more, and the socket would take it: it is others' turn */
    ROPE_BLOCKED, /* the socket takes no more now */
    ROPE_FAILED   /* errno; EIO: a file is shorter than was said */
};
/* Sends, and takes away what was sent; *sent grows by it. */
enum rope_sent rope_send(struct rope *r, struct piece_cache *cache, int socket, size_t *sent);

#endif
