/*
 * Connections: see connection.h.
 *
 * What arrives is read through a buffer of 64 KiB; bodies that are larger go around it. Everything
 * that the server says is bounded: a line of the header, their number, and the body by the ceiling
 * of the caller's buffer.
 */
#include "remote/connection.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define BUFFER_BYTES 65536
#define HEADERS_MAX 200
#define LINE_MAX (CONNECTION_CURSOR_MAX + 256)
#define HEAD_MAX (CONNECTION_CURSOR_MAX + 65536)

struct connection {
    int fd;
    size_t at, end; /* of what is buffered */
    struct buf line;
    uint8_t buffer[BUFFER_BYTES];
};

void response_init(struct response *a, size_t body_max)
{
    *a = (struct response){0};
    buf_init(&a->body, body_max);
    buf_init(&a->cursor, CONNECTION_CURSOR_MAX);
}

void response_release(struct response *a)
{
    buf_release(&a->body);
    buf_release(&a->cursor);
}

/* ---- opening ---- */

/* A path that is too long for an address is reached through its directory. */
static bool make_address(const char *path, struct sockaddr_un *out, int *dir_fd)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    *dir_fd = -1;
    if (strlen(path) < sizeof out->sun_path) {
        memcpy(out->sun_path, path, strlen(path) + 1);
        return true;
    }
    const char *slash = strrchr(path, '/');
    char *dir = slash ? strndup(path, (size_t)(slash - path)) : NULL;
    if (dir)
        *dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    free(dir);
    int n = *dir_fd < 0 ? -1
                        : snprintf(out->sun_path, sizeof out->sun_path, "/proc/self/fd/%d/%s",
                                   *dir_fd, slash + 1);
    return n > 0 && (size_t)n < sizeof out->sun_path;
}

beck_status connection_open(const char *path, struct connection **out, beck_error *err)
{
    struct sockaddr_un address;
    int dir_fd, rc = -1;
    struct connection *c = malloc(sizeof *c);
    if (!c)
        return error_set(err, BECK_ENOMEM, "no memory for a connection");
    c->at = c->end = 0;
    buf_init(&c->line, HEAD_MAX);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd >= 0) {
        errno = ENAMETOOLONG;
        if (make_address(path, &address, &dir_fd))
            do
                rc = connect(c->fd, (const struct sockaddr *)&address, sizeof address);
            while (rc < 0 && errno == EINTR);
        int saved = errno;
        if (dir_fd >= 0)
            close(dir_fd);
        errno = saved;
    }
    if (rc < 0) {
        bool nobody = errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR;
        beck_status status = error_errno(err, errno, "cannot connect to \"%s\"", path);
        if (nobody)
            status = error_set(err, BECK_ENOENT, "no server listens at \"%s\"", path);
        connection_close(c);
        return status;
    }
    *out = c;
    return BECK_OK;
}

void connection_close(struct connection *c)
{
    if (!c)
        return;
    if (c->fd >= 0)
        close(c->fd);
    buf_release(&c->line);
    free(c);
}

bool connection_is_alive(const struct connection *c)
{
    char byte;
    return c->at == c->end && recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EWOULDBLOCK);
}

/* ---- sending ---- */

static beck_status write_head(struct buf *head, const struct request *q)
{
    buf_clear(head);
    beck_status status =
        buf_printf(head, "%s %s HTTP/1.1\r\nHost: localhost\r\n", q->method, q->target);
    if (!status && q->accept)
        status = buf_printf(head, "Accept: %s\r\n", q->accept);
    if (!status && q->body.len > 0)
        status = buf_printf(head, "Content-Type: %s\r\n",
                            q->content_type ? q->content_type : "application/json");
    if (!status && (q->body.len > 0 || q->method[0] == 'P'))
        status = buf_printf(head, "Content-Length: %zu\r\n", q->body.len);
    return status ? status : buf_append(head, "\r\n", 2);
}

beck_status connection_send(struct connection *c, const struct request *q, bool *untouched,
                            beck_error *err)
{
    beck_status status = write_head(&c->line, q);
    if (untouched)
        *untouched = true;
    if (status)
        return error_set(err, status, "a request with a path of %zu bytes cannot be made",
                         strlen(q->target));
    size_t sent = 0, total = c->line.len + q->body.len;
    while (sent < total) {
        struct iovec parts[2];
        int count = 0;
        if (sent < c->line.len)
            parts[count++] = (struct iovec){c->line.data + sent, c->line.len - sent};
        size_t of_body = sent > c->line.len ? sent - c->line.len : 0;
        if (q->body.len > of_body)
            parts[count++] =
                (struct iovec){(uint8_t *)(uintptr_t)q->body.data + of_body, q->body.len - of_body};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
        ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        /* A server that refuses a body answers before it has read it. */
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET) && sent > 0)
            return BECK_OK;
        if (n < 0)
            return error_errno(err, errno, "the server ended the connection");
        sent += (size_t)n;
        if (untouched)
            *untouched = false;
    }
    return BECK_OK;
}

/* ---- receiving ---- */

static beck_status say_ended(beck_error *err)
{
    return error_set(err, BECK_EIO,
                     "the server ended the connection before it answered; whether it did what was "
                     "asked for is not known");
}

/* BECK_EIO also at the end. */
static beck_status receive_some(struct connection *c, void *to, size_t room, size_t *count,
                                beck_error *err)
{
    for (;;) {
        ssize_t n = recv(c->fd, to, room, 0);
        if (n > 0) {
            *count = (size_t)n;
            return BECK_OK;
        }
        if (n == 0 || errno == ECONNRESET)
            return say_ended(err);
        if (errno != EINTR)
            return error_errno(err, errno, "the server's answer cannot be read");
    }
}

static beck_status fill(struct connection *c, beck_error *err)
{
    c->at = c->end = 0;
    return receive_some(c, c->buffer, sizeof c->buffer, &c->end, err);
}

static beck_status refuse(beck_error *err, const char *what)
{
    return error_set(err, BECK_EIO, "the server's answer is no HTTP: %s", what);
}

/* Into c->line, without its end, NUL-terminated. */
static beck_status read_line(struct connection *c, beck_error *err)
{
    buf_clear(&c->line);
    for (;;) {
        if (c->at == c->end) {
            beck_status status = fill(c, err);
            if (status)
                return status;
        }
        const uint8_t *begin = c->buffer + c->at;
        const uint8_t *feed = memchr(begin, '\n', c->end - c->at);
        size_t len = feed ? (size_t)(feed - begin) : c->end - c->at;
        if (c->line.len + len > LINE_MAX)
            return refuse(err, "a line of the header is too long");
        beck_status status = buf_append(&c->line, begin, len);
        if (status)
            return error_set(err, status, "no memory for an answer");
        c->at += len + (feed != NULL);
        if (feed)
            break;
    }
    if (c->line.len > 0 && c->line.data[c->line.len - 1] == '\r')
        c->line.len--;
    beck_status status = buf_terminate(&c->line);
    return status ? error_set(err, status, "no memory for an answer") : BECK_OK;
}

static beck_status read_bytes(struct connection *c, struct buf *out, size_t count, beck_error *err)
{
    beck_status status = buf_reserve(out, count);
    if (status)
        return error_set(err, status, "an answer of %zu bytes is more than can be taken",
                         out->len + count);
    while (count > 0) {
        size_t n = c->end - c->at;
        if (n > count)
            n = count;
        memcpy(out->data + out->len, c->buffer + c->at, n);
        c->at += n;
        if (n == 0 && count >= sizeof c->buffer)
            status = receive_some(c, out->data + out->len, count, &n, err);
        else if (n == 0)
            status = fill(c, err);
        if (status)
            return status;
        out->len += n;
        count -= n;
    }
    return BECK_OK;
}

static beck_status read_chunks(struct connection *c, struct buf *out, beck_error *err)
{
    for (;;) {
        beck_status status = read_line(c, err);
        if (status)
            return status;
        char *end;
        const char *text = (const char *)c->line.data;
        errno = 0;
        unsigned long long size = strtoull(text, &end, 16);
        if (end == text || errno || *text == '-' || (*end && *end != ';' && *end != ' '))
            return refuse(err, "a chunk without its size");
        if (size > out->max)
            return error_set(err, BECK_ELIMIT, "an answer of %llu bytes is more than can be taken",
                             size);
        if (size > 0)
            status = read_bytes(c, out, (size_t)size, err);
        /* Behind the last one there may be more headers. */
        do
            status = status ? status : read_line(c, err);
        while (!status && size == 0 && c->line.len > 0);
        if (status || size == 0)
            return status;
        if (c->line.len > 0)
            return refuse(err, "a chunk that is longer than its size");
    }
}

struct head {
    bool chunked, has_length;
    uint64_t length;
};

static beck_status read_header(struct connection *c, struct response *a, struct head *h,
                               beck_error *err)
{
    char *line = (char *)c->line.data;
    char *colon = strchr(line, ':');
    if (!colon)
        return refuse(err, "a header without a colon");
    *colon = 0;
    const char *value = colon + 1 + strspn(colon + 1, " \t");
    if (strcasecmp(line, "content-length") == 0) {
        if (!bytes_to_u64(beck_str(value), &h->length))
            return refuse(err, "a Content-Length that is no number");
        h->has_length = true;
    } else if (strcasecmp(line, "transfer-encoding") == 0) {
        h->chunked = strcasecmp(value, "chunked") == 0;
    } else if (strcasecmp(line, "connection") == 0) {
        a->last |= strcasecmp(value, "close") == 0;
    } else if (strcasecmp(line, "beck-cursor") == 0) {
        beck_status status = buf_append_text(&a->cursor, value);
        status = status ? status : buf_terminate(&a->cursor);
        if (status)
            return error_set(err, status, "no memory for a cursor of %zu bytes", strlen(value));
    }
    return BECK_OK;
}

static beck_status read_head(struct connection *c, struct response *a, struct head *h,
                             beck_error *err)
{
    beck_status status = read_line(c, err);
    if (status)
        return status;
    int minor;
    if (sscanf((const char *)c->line.data, "HTTP/1.%1d %3d", &minor, &a->status) != 2)
        return refuse(err, "no status line");
    a->last = minor == 0;
    for (int i = 0; i < HEADERS_MAX; i++) {
        status = read_line(c, err);
        if (status || c->line.len == 0)
            return status;
        status = read_header(c, a, h, err);
        if (status)
            return status;
    }
    return refuse(err, "too many headers");
}

static beck_status wait_for_it(struct connection *c, int wake_fd, int64_t until_ns, beck_error *err)
{
    while (c->at == c->end) {
        struct pollfd fds[] = {{.fd = c->fd, .events = POLLIN}, {.fd = wake_fd, .events = POLLIN}};
        int64_t left_ms = -1;
        if (until_ns != INT64_MAX) {
            int64_t left = until_ns - clock_mono_ns(clock_system());
            left_ms = left <= 0 ? 0 : (left + 999999) / 1000000;
        }
        int n = poll(fds, 2, left_ms > 60000 ? 60000 : (int)left_ms);
        if (n < 0 && errno != EINTR)
            return error_errno(err, errno, "cannot wait for the server's answer");
        if (n > 0 && fds[1].revents)
            return error_set(err, BECK_ECLOSED, "waiting was ended");
        if (n > 0)
            return BECK_OK;
        if (n == 0 && left_ms == 0)
            return error_set(err, BECK_ETIMEDOUT, "nothing came in time");
    }
    return BECK_OK;
}

beck_status connection_receive(struct connection *c, struct response *a, int wake_fd,
                               int64_t until_ns, beck_error *err)
{
    struct head h = {0};
    beck_status status = BECK_OK;
    if (wake_fd >= 0 || until_ns != INT64_MAX)
        status = wait_for_it(c, wake_fd, until_ns, err);
    if (status)
        return status;
    buf_clear(&a->body);
    buf_clear(&a->cursor);
    do {
        h = (struct head){0};
        status = read_head(c, a, &h, err);
    } while (!status && a->status / 100 == 1);
    if (status || a->status == 204 || a->status == 304)
        return status;
    if (h.chunked)
        return read_chunks(c, &a->body, err);
    if (!h.has_length)
        return refuse(err, "a body without a length");
    if (h.length > a->body.max)
        return error_set(err, BECK_ELIMIT, "an answer of %llu bytes is more than can be taken",
                         (unsigned long long)h.length);
    return read_bytes(c, &a->body, (size_t)h.length, err);
}
