/* Answers read by shapes: see reply.h. */
#include "remote/reply.h"

#include "remote/client.h"

#include <stdlib.h>

struct piece {
    struct piece *next;
    _Alignas(16) uint8_t bytes[];
};

void reply_init(struct reply *g)
{
    response_init(&g->response, CLIENT_ANSWER_MAX);
    g->pieces = NULL;
}

void reply_release(struct reply *g)
{
    for (struct piece *p = g->pieces, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    g->pieces = NULL;
    response_release(&g->response);
}

static void *alloc(void *ctx, size_t size)
{
    struct reply *g = ctx;
    struct piece *p = malloc(sizeof *p + size);
    if (!p)
        return NULL;
    p->next = g->pieces;
    g->pieces = p;
    return p->bytes;
}

beck_status reply_read(struct reply *g, const struct shape *s, void *out, beck_error *err)
{
    const struct shape_memory memory = {alloc, g};
    beck_error why;
    error_clear(&why);
    beck_status status = shape_read(s, buf_bytes(&g->response.body), &memory, out, &why);
    if (status == BECK_ENOMEM)
        return error_set(err, status, "no memory for an answer of the server");
    if (status)
        return error_set(err, BECK_EIO, "the server's answer is not understood: %.300s", why.text);
    return BECK_OK;
}

const char *reply_text(struct reply *g, beck_bytes text)
{
    char *copy = alloc(g, text.len + 1);
    if (copy && text.len > 0)
        memcpy(copy, text.data, text.len);
    if (copy)
        copy[text.len] = 0;
    return copy;
}
