/*
 * Bytes to be sent: see rope.h.
 *
 * Pieces of memory have one size and go to the loop's cache when they are empty, so that answering
 * needs no allocation, and a connection that has nothing to send holds no memory.
 */
#include "net/rope.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define PIECE_SIZE 16384   /* with its head */
#define CACHED_MAX 64      /* 1 MiB a loop */
#define COPIED_MAX 1024    /* of memory that is referred to */
#define PARTS_MAX 64       /* of one sendmsg */
#define TURN_MAX (1 << 20) /* sent for one connection before it is others' turn */

enum piece_kind { PIECE_OWN, PIECE_MEMORY, PIECE_FILE };

struct piece {
    struct piece *next;
    enum piece_kind kind;
    const uint8_t *data; /* the first byte that is left; not of files */
    size_t len;          /* that are left */
    size_t room;         /* behind them; none but in own pieces */
    size_t cap;          /* own: of `bytes` */
    int fd;
    int64_t position; /* of the first byte that is left */
    void (*release)(void *ctx);
    void *ctx;
    uint8_t bytes[];
};

#define OWN_SIZE (PIECE_SIZE - sizeof(struct piece))

void piece_cache_release(struct piece_cache *cache)
{
    while (cache->free) {
        struct piece *p = cache->free;
        cache->free = p->next;
        free(p);
    }
    cache->count = 0;
}

static struct piece *own_piece(struct piece_cache *cache, size_t size)
{
    struct piece *p = size <= OWN_SIZE ? cache->free : NULL;
    if (p) {
        cache->free = p->next;
        cache->count--;
    } else {
        size_t cap = size > OWN_SIZE ? size : OWN_SIZE;
        p = malloc(sizeof *p + cap);
        if (!p)
            return NULL;
        p->cap = cap;
    }
    p->next = NULL;
    p->kind = PIECE_OWN;
    p->data = p->bytes;
    p->len = 0;
    p->room = p->cap;
    return p;
}

static void free_piece(struct piece_cache *cache, struct piece *p)
{
    if (p->kind == PIECE_OWN && p->cap == OWN_SIZE && cache->count < CACHED_MAX) {
        p->next = cache->free;
        cache->free = p;
        cache->count++;
        return;
    }
    if (p->kind != PIECE_OWN && p->release)
        p->release(p->ctx);
    free(p);
}

static void add(struct rope *r, struct piece *p)
{
    if (r->tail)
        r->tail->next = p;
    else
        r->head = p;
    r->tail = p;
    r->len += p->len;
}

void rope_release(struct rope *r, struct piece_cache *cache)
{
    while (r->head) {
        struct piece *p = r->head;
        r->head = p->next;
        free_piece(cache, p);
    }
    *r = (struct rope){0};
}

/* ---- putting in ---- */

static uint8_t *end_of(struct piece *p)
{
    return p->bytes + (p->cap - p->room);
}

static void fill(struct rope *r, struct piece *p, size_t len)
{
    assert(len <= p->room);
    p->len += len;
    p->room -= len;
    r->len += len;
}

uint8_t *rope_reserve(struct rope *r, struct piece_cache *cache, size_t size)
{
    struct piece *p = r->tail;
    if (!p || p->room < size) {
        p = own_piece(cache, size);
        if (!p)
            return NULL;
        add(r, p);
    }
    return p->kind == PIECE_OWN ? end_of(p) : p->bytes;
}

void rope_commit(struct rope *r, size_t len)
{
    if (len > 0)
        fill(r, r->tail, len);
}

/* The rest of what the last piece could not take. */
static bool append_more(struct rope *r, struct piece_cache *cache, const uint8_t *data, size_t len)
{
    size_t first = r->tail ? r->tail->room : 0;
    struct piece *more = own_piece(cache, len - first);
    if (!more)
        return false;
    if (first > 0) {
        memcpy(end_of(r->tail), data, first);
        fill(r, r->tail, first);
    }
    add(r, more);
    memcpy(more->bytes, data + first, len - first);
    fill(r, more, len - first);
    return true;
}

bool rope_append(struct rope *r, struct piece_cache *cache, const void *data, size_t len)
{
    struct piece *p = r->tail;
    if (!p || p->room < len)
        return append_more(r, cache, data, len);
    if (len > 0) {
        memcpy(end_of(p), data, len);
        fill(r, p, len);
    }
    return true;
}

static bool add_reference(struct rope *r, const struct piece *like)
{
    struct piece *p = malloc(sizeof *p);
    if (!p)
        return false;
    *p = *like;
    add(r, p);
    return true;
}

bool rope_append_memory(struct rope *r, struct piece_cache *cache, beck_bytes bytes,
                        void (*release)(void *ctx), void *ctx)
{
    if (bytes.len > COPIED_MAX)
        return add_reference(r, &(struct piece){.kind = PIECE_MEMORY,
                                                .data = bytes.data,
                                                .len = bytes.len,
                                                .release = release,
                                                .ctx = ctx});
    if (bytes.len > 0 && !rope_append(r, cache, bytes.data, bytes.len))
        return false;
    if (release)
        release(ctx);
    return true;
}

bool rope_append_file(struct rope *r, int fd, int64_t position, size_t len,
                      void (*release)(void *ctx), void *ctx)
{
    return add_reference(r, &(struct piece){.kind = PIECE_FILE,
                                            .len = len,
                                            .fd = fd,
                                            .position = position,
                                            .release = release,
                                            .ctx = ctx});
}

/* ---- taking out ---- */

static void drop_empty(struct rope *r, struct piece_cache *cache)
{
    while (r->head && r->head->len == 0) {
        struct piece *p = r->head;
        r->head = p->next;
        if (!r->head)
            r->tail = NULL;
        free_piece(cache, p);
    }
}

void rope_drop(struct rope *r, struct piece_cache *cache, size_t len)
{
    assert(len <= r->len);
    r->len -= len;
    drop_empty(r, cache);
    while (len > 0) {
        struct piece *p = r->head;
        size_t n = p->len < len ? p->len : len;
        if (p->kind == PIECE_FILE)
            p->position += (int64_t)n;
        else
            p->data += n;
        p->len -= n;
        len -= n;
        drop_empty(r, cache);
    }
}

beck_bytes rope_peek(const struct rope *r, uint8_t *space, size_t size)
{
    const struct piece *p = r->head;
    assert(r->len > 0);
    while (p->len == 0)
        p = p->next;
    size_t len = p->len < size ? p->len : size;
    if (p->kind != PIECE_FILE)
        return bytes_of(p->data, len);
    ssize_t got;
    do
        got = pread(p->fd, space, len, p->position);
    while (got < 0 && errno == EINTR);
    return bytes_of(space, got > 0 ? (size_t)got : 0);
}

/* ---- sending ---- */

static ssize_t send_file(const struct piece *p, int socket, size_t *asked)
{
    off_t position = p->position;
    *asked = p->len < TURN_MAX ? p->len : TURN_MAX;
    ssize_t n = sendfile(socket, p->fd, &position, *asked);
    if (n == 0) {
        errno = EIO;
        return -1;
    }
    return n;
}

static ssize_t send_memory(const struct piece *p, int socket, size_t *asked)
{
    struct iovec parts[PARTS_MAX];
    struct msghdr message = {.msg_iov = parts};
    *asked = 0;
    while (p && p->kind != PIECE_FILE && message.msg_iovlen < PARTS_MAX && *asked < TURN_MAX) {
        if (p->len > 0) {
            parts[message.msg_iovlen++] = (struct iovec){(void *)(uintptr_t)p->data, p->len};
            *asked += p->len;
        }
        p = p->next;
    }
    return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT | (p ? MSG_MORE : 0));
}

enum rope_sent rope_send(struct rope *r, struct piece_cache *cache, int socket, size_t *sent)
{
    size_t total = 0;
    while (r->len > 0) {
        size_t asked;
        if (total >= TURN_MAX)
            return ROPE_MORE;
        drop_empty(r, cache);
        ssize_t n = r->head->kind == PIECE_FILE ? send_file(r->head, socket, &asked)
                                                : send_memory(r->head, socket, &asked);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? ROPE_BLOCKED : ROPE_FAILED;
        rope_drop(r, cache, (size_t)n);
        total += (size_t)n;
        *sent += (size_t)n;
        if ((size_t)n < asked)
            return ROPE_BLOCKED;
    }
    rope_release(r, cache);
    return ROPE_EMPTY;
}
