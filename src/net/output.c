/* What is sent: putting it into the connection's output, and getting it out. See net.h. */
#include "net/net_impl.h"

#include <errno.h>

#define WIRE_MAX 65536 /* encrypted ahead of what the socket takes */
#define TURN_MAX (1 << 20)

/* ---- in ---- */

static bool is_writable(const struct connection *c)
{
    return c->state == STATE_OPEN && !c->failure;
}

static void was_put(struct connection *c, bool done)
{
    if (!done)
        connection_fail(c, "there is no memory for the output");
    if (output_waits(c) >= c->keeper->settings.output_max)
        c->full = true;
    if (!c->due)
        loop_due(c);
}

void connection_write(struct connection *c, const void *data, size_t len)
{
    if (is_writable(c) && len > 0)
        was_put(c, rope_append(&c->output, &c->loop->pieces, data, len));
}

uint8_t *connection_reserve(struct connection *c, size_t size)
{
    if (!is_writable(c))
        return NULL;
    uint8_t *room = rope_reserve(&c->output, &c->loop->pieces, size);
    if (!room)
        was_put(c, false);
    return room;
}

void connection_commit(struct connection *c, size_t len)
{
    rope_commit(&c->output, len);
    was_put(c, true);
}

void connection_write_memory(struct connection *c, beck_bytes bytes, void (*release)(void *ctx),
                             void *ctx)
{
    bool done =
        is_writable(c) && rope_append_memory(&c->output, &c->loop->pieces, bytes, release, ctx);
    if (!done && release)
        release(ctx);
    if (is_writable(c))
        was_put(c, done);
}

static void release_block(void *ctx)
{
    block_release(ctx);
}

void connection_write_block(struct connection *c, struct block *block, beck_bytes bytes)
{
    connection_write_memory(c, bytes, release_block, block_retain(block));
}

void connection_write_file(struct connection *c, int fd, int64_t position, size_t len,
                           void (*release)(void *ctx), void *ctx)
{
    bool done = is_writable(c) && rope_append_file(&c->output, fd, position, len, release, ctx);
    if (!done && release)
        release(ctx);
    if (is_writable(c))
        was_put(c, done);
}

size_t connection_output(const struct connection *c)
{
    return output_waits(c);
}

bool connection_is_full(const struct connection *c)
{
    return c->full;
}

/* ---- out ---- */

/* Encrypts no more than the socket is about to take: what is encrypted is there twice. */
static bool encrypt(struct connection *c)
{
    struct tls_filter *f = c->tls;
    while (c->output.len > 0 && f->wire.len < WIRE_MAX) {
        beck_bytes part = rope_peek(&c->output, c->loop->space, TLS_RECORD);
        if (part.len == 0) {
            errno = EIO;
            return false;
        }
        if (!tls_send(f, part)) {
            errno = f->no_memory ? ENOMEM : EPROTO;
            return false;
        }
        rope_drop(&c->output, &c->loop->pieces, part.len);
    }
    return true;
}

static enum rope_sent flush_tls(struct connection *c, size_t *sent)
{
    for (;;) {
        if (!encrypt(c))
            return ROPE_FAILED;
        enum rope_sent result = rope_send(&c->tls->wire, &c->loop->pieces, c->fd, sent);
        if (result != ROPE_EMPTY || c->output.len == 0)
            return result;
        if (*sent >= TURN_MAX)
            return ROPE_MORE;
    }
}

static const char *reason_of(int error)
{
    switch (error) {
    case EPIPE:
    case ECONNRESET:
        return "the peer reset the connection";
    case EIO:
        return "a file to be sent is shorter than it was";
    case ENOMEM:
        return "there is no memory for the output";
    default:
        return "nothing can be sent";
    }
}

bool output_send(struct connection *c)
{
    size_t sent = 0;
    if (c->blocked || output_waits(c) == 0)
        return true;
    enum rope_sent result =
        c->tls ? flush_tls(c, &sent) : rope_send(&c->output, &c->loop->pieces, c->fd, &sent);
    int error = errno;
    if (sent > 0) {
        c->sent_ns = c->loop->now_ns;
        counter_add(c->keeper->sent, sent);
    }
    if (result == ROPE_FAILED) {
        connection_fail(c, reason_of(error));
        return false;
    }
    if (result == ROPE_MORE)
        loop_due(c);
    c->blocked = result == ROPE_BLOCKED;
    if (c->blocked && event_add(&c->write_event, NULL)) {
        connection_fail(c, "there is no memory for the connection");
        return false;
    }
    return true;
}
