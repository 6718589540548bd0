/* Lines: a buffer of at most one line and a piece; what is read stays until it is taken. */
#include "cli/lines.h"
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define PIECE 65536

void lines_init(struct lines *l, int fd, int stop_fd, size_t line_max)
{
    *l = (struct lines){.fd = fd, .stop_fd = stop_fd};
    buf_init(&l->text, line_max + PIECE);
}

void lines_release(struct lines *l)
{
    buf_release(&l->text);
}

static beck_bytes rest(const struct lines *l)
{
    return l->text.len ? bytes_of(l->text.data + l->at, l->text.len - l->at) : (beck_bytes){0};
}

static const uint8_t *newline(beck_bytes text, size_t from)
{
    const uint8_t *data = text.data;
    return text.len > from ? memchr(data + from, '\n', text.len - from) : NULL;
}

/* One read. 1: bytes came, 0: end, -1: error. */
static int fill(struct lines *l)
{
    if (l->at > 0) {
        memmove(l->text.data, l->text.data + l->at, l->text.len - l->at);
        l->text.len -= l->at;
        l->at = 0;
    }
    if (buf_reserve(&l->text, PIECE)) {
        errno = ENOMEM;
        return -1;
    }
    for (;;) {
        struct pollfd fds[] = {{.fd = l->fd, .events = POLLIN},
                               {.fd = l->stop_fd, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            return -1;
        }
        if (fds[1].revents) {
            return 0;
        }
        ssize_t n = read(l->fd, l->text.data + l->text.len, PIECE);
        if (n >= 0) {
            l->text.len += (size_t)n;
            l->bytes += n;
            return n > 0;
        }
        if (errno != EINTR && errno != EAGAIN) {
            return -1;
        }
    }
}

static beck_bytes chomp(beck_bytes line)
{
    if (line.len > 0 && ((const char *)line.data)[line.len - 1] == '\r') {
        line.len--;
    }
    return line;
}

/* Drops bytes up to and with the next newline. */
static enum lines_result skip_line(struct lines *l)
{
    for (;;) {
        const uint8_t *end = newline(rest(l), 0);
        if (end) {
            l->at = (size_t)(end - l->text.data) + 1;
            return LINES_TOO_LONG;
        }
        l->at = l->text.len;
        int got = l->ended ? 0 : fill(l);
        if (got <= 0) {
            l->ended = true;
            return got < 0 ? LINES_FAILED : LINES_TOO_LONG;
        }
    }
}

enum lines_result lines_next(struct lines *l, beck_bytes *line)
{
    size_t searched = 0;
    for (;;) {
        beck_bytes text = rest(l);
        const uint8_t *end = newline(text, searched);
        if (end) {
            *line = chomp(bytes_of(text.data, (size_t)(end - (const uint8_t *)text.data)));
            l->at = (size_t)(end - l->text.data) + 1;
            l->number++;
            return LINES_LINE;
        }
        searched = text.len;
        if (text.len + PIECE > l->text.max) {
            l->number++;
            return skip_line(l);
        }
        int got = l->ended ? 0 : fill(l);
        if (got < 0) {
            return LINES_FAILED;
        }
        if (got == 0) {
            l->ended = true;
            text = rest(l);
            if (text.len == 0) {
                return LINES_END;
            }
            *line = chomp(text);
            l->at = l->text.len;
            l->number++;
            return LINES_LINE;
        }
    }
}

bool lines_would_wait(struct lines *l)
{
    if (l->ended || newline(rest(l), 0)) {
        return false;
    }
    struct pollfd fd = {.fd = l->fd, .events = POLLIN};
    return poll(&fd, 1, 0) == 0;
}
