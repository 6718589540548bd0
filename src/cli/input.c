/* The window: a buffer that is read into at its end, and moved to its front when that runs out.
 * Reads are as large as the space there is, which doubles with the window, so that whoever scans a
 * window again after each read does so a few times only. */
#include "cli/input.h"
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define PIECE (256u << 10)

void input_init(struct input *in, int fd, int stop_fd, size_t window_max)
{
    *in = (struct input){.fd = fd, .stop_fd = stop_fd};
    buf_init(&in->text, window_max);
}

void input_init_memory(struct input *in, beck_bytes content, size_t piece, size_t window_max)
{
    assert(piece > 0);
    *in = (struct input){.fd = -1, .stop_fd = -1, .memory = content, .piece = piece};
    buf_init(&in->text, window_max);
}

void input_release(struct input *in)
{
    buf_release(&in->text);
}

/* Space behind the window. */
static enum input_result make_space(struct input *in)
{
    struct buf *b = &in->text;
    if (in->at > 0 && (b->cap - b->len < PIECE || in->at == b->len)) {
        memmove(b->data, b->data + in->at, b->len - in->at);
        b->len -= in->at;
        in->at = 0;
    }
    if (b->len == b->max) {
        return INPUT_FULL;
    }
    size_t want = b->max - b->len < PIECE ? b->max - b->len : PIECE;
    if (buf_reserve(b, want)) {
        errno = ENOMEM;
        return INPUT_FAILED;
    }
    return INPUT_MORE;
}

/* False: the stop descriptor became readable, or waiting failed. */
static bool wait_readable(struct input *in)
{
    struct pollfd fds[] = {{.fd = in->fd, .events = POLLIN}, {.fd = in->stop_fd, .events = POLLIN}};
    int ready = poll(fds, 2, in->pausing ? 0 : -1);
    if (ready == 0 && in->pausing) {
        in->pausing(in->pausing_ctx);
        ready = poll(fds, 2, -1);
    }
    in->stopped = ready > 0 && fds[1].revents;
    return !in->stopped && (ready >= 0 || errno == EINTR);
}

bool input_ready(const struct input *in, int timeout_ms)
{
    struct pollfd fds[] = {{.fd = in->fd, .events = POLLIN}, {.fd = in->stop_fd, .events = POLLIN}};
    return in->ended || in->fd < 0 || poll(fds, 2, timeout_ms) != 0;
}

static enum input_result take_memory(struct input *in)
{
    size_t space = in->text.cap - in->text.len;
    size_t n = in->memory.len < in->piece ? in->memory.len : in->piece;
    n = n < space ? n : space;
    if (n == 0) {
        in->ended = true;
        return INPUT_END;
    }
    memcpy(in->text.data + in->text.len, in->memory.data, n);
    in->text.len += n;
    in->memory = bytes_of((const uint8_t *)in->memory.data + n, in->memory.len - n);
    return INPUT_MORE;
}

enum input_result input_fill(struct input *in)
{
    if (in->ended) {
        return INPUT_END;
    }
    enum input_result result = make_space(in);
    if (result != INPUT_MORE) {
        return result;
    }
    if (in->fd < 0) {
        return take_memory(in);
    }
    for (;;) {
        if (!wait_readable(in)) {
            in->ended = true;
            return in->stopped ? INPUT_END : INPUT_FAILED;
        }
        ssize_t n = read(in->fd, in->text.data + in->text.len, in->text.cap - in->text.len);
        if (n > 0) {
            in->text.len += (size_t)n;
            return INPUT_MORE;
        }
        if (n == 0) {
            in->ended = true;
            return INPUT_END;
        }
        if (errno != EINTR && errno != EAGAIN) {
            in->ended = true;
            return INPUT_FAILED;
        }
    }
}

int64_t input_count_lines(beck_bytes text)
{
    int64_t n = 0;
    const uint8_t *p = text.data, *end = p + text.len;
    while (p < end && (p = memchr(p, '\n', (size_t)(end - p)))) {
        n++;
        p++;
    }
    return n;
}
