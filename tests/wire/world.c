#include "wire/world.h"

#include "api/handle.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void must(bool ok, const char *what)
{
    if (!ok)
        fail_msg("%s: %s", what, strerror(errno));
}

static void open_engine(struct world *w)
{
    beck_error err;
    beck_options options = {.data_dir = w->dir};
    if (beck_open(&w->b, &options, &err))
        fail_msg("%s", err.text);
    beck_bus *bus;
    beck_bus_options written = {.level = BECK_LEVEL_WRITTEN};
    if (beck_bus_create(w->b, "orders", &written, &bus, &err))
        fail_msg("%s", err.text);
    struct access_settings access = {
        .anonymous_loopback = true, .keep_admin = true, .scrypt_log_n = 10};
    if (access_open(w->b, &access, &w->access, &err))
        fail_msg("%s", err.text);
    w->context.b = w->b;
    w->context.access = w->access;
}

void world_open(struct world *w)
{
    *w = (struct world){.listen_fd = -1, .unix_fd = -1};
    snprintf(w->dir, sizeof w->dir, "/tmp/beck-wire-XXXXXX");
    must(mkdtemp(w->dir) != NULL, "mkdtemp");
    w->context.server_version = "0.0.0";
    open_engine(w);
}

static void start(struct world *w, bool tls)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    w->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(w->listen_fd >= 0 && bind(w->listen_fd, (struct sockaddr *)&in, sizeof in) == 0 &&
             listen(w->listen_fd, 1024) == 0 &&
             getsockname(w->listen_fd, (struct sockaddr *)&in, &len) == 0,
         "listening");
    w->port = ntohs(in.sin_port);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(w->socket_path, sizeof w->socket_path, "%s/test.sock", w->dir);
    snprintf(un.sun_path, sizeof un.sun_path, "%s", w->socket_path);
    unlink(w->socket_path);
    w->unix_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    must(w->unix_fd >= 0 && bind(w->unix_fd, (struct sockaddr *)&un, sizeof un) == 0 &&
             listen(w->unix_fd, 64) == 0,
         "listening on a Unix socket");
    struct http_listener listeners[] = {
        {.fd = w->listen_fd, .tls = tls, .site = w->site},
        {.fd = w->unix_fd, .unix_socket = true, .trusted = true},
    };
    beck_error err;
    if (http_start(&w->settings, &w->context, listeners, 2, &w->h, &err))
        fail_msg("%s", err.text);
}

void world_serve(struct world *w)
{
    start(w, false);
}

void world_serve_tls(struct world *w)
{
    start(w, true);
}

static void stop_serving(struct world *w)
{
    if (w->h)
        http_stop(w->h);
    w->h = NULL;
    if (w->listen_fd >= 0)
        close(w->listen_fd);
    if (w->unix_fd >= 0)
        close(w->unix_fd);
    w->listen_fd = w->unix_fd = -1;
    access_close(w->access);
}

void world_close(struct world *w)
{
    stop_serving(w);
    beck_close(w->b);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", w->dir);
    must(system(command) == 0, command);
}

void world_reopen(struct world *w)
{
    stop_serving(w);
    beck_abandon(w->b);
    open_engine(w);
    world_serve(w);
}

int dial(const struct world *w)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons(w->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && connect(fd, (struct sockaddr *)&in, sizeof in) == 0, "connecting");
    return fd;
}

int dial_unix(const struct world *w)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof un.sun_path, "%s", w->socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && connect(fd, (struct sockaddr *)&un, sizeof un) == 0, "connecting");
    return fd;
}

void send_bytes(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t sent = send(fd, at, len, MSG_NOSIGNAL);
        if (sent < 0)
            return; /* refused meanwhile: the answer says so */
        at += sent;
        len -= (size_t)sent;
    }
}

void send_text(int fd, const char *format, ...)
{
    char *text;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    must(len >= 0, "memory");
    send_bytes(fd, text, (size_t)len);
    free(text);
}

/* ---- reading ---- */

void in_open(struct stream_in *in, int fd)
{
    *in = (struct stream_in){.fd = fd};
}

void in_close(struct stream_in *in)
{
    close(in->fd);
    free(in->data);
}

bool in_more(struct stream_in *in)
{
    if (in->cap - in->len < 65536) {
        in->cap = in->cap * 2 + 65536;
        in->data = realloc(in->data, in->cap + 1);
        must(in->data != NULL, "memory");
    }
    ssize_t got = recv(in->fd, in->data + in->len, in->cap - in->len, 0);
    if (got <= 0)
        return false;
    in->len += (size_t)got;
    in->data[in->len] = 0;
    return true;
}

static void use(struct stream_in *in, size_t len)
{
    in->len -= len;
    memmove(in->data, in->data + len, in->len + 1);
}

bool read_line(struct stream_in *in, char *out, size_t size)
{
    char *end;
    while (!(end = in->len ? memchr(in->data, '\n', in->len) : NULL))
        if (!in_more(in))
            return false;
    size_t len = (size_t)(end - in->data), text = len;
    if (text > 0 && in->data[text - 1] == '\r')
        text--;
    must(text < size, "a line too long");
    memcpy(out, in->data, text);
    out[text] = 0;
    use(in, len + 1);
    return true;
}

static bool read_exactly(struct stream_in *in, size_t len, struct buf *out)
{
    while (in->len < len)
        if (!in_more(in))
            return false;
    assert_int_equal(buf_append(out, in->data, len), BECK_OK);
    if (len > 0)
        use(in, len);
    return true;
}

bool read_chunk(struct stream_in *in, struct buf *out)
{
    char line[64];
    if (!read_line(in, line, sizeof line))
        return false;
    size_t size = strtoul(line, NULL, 16);
    bool whole = read_exactly(in, size, out) && read_line(in, line, sizeof line);
    return whole && size > 0;
}

bool read_reply(struct stream_in *in, bool head, struct reply *out)
{
    char line[8192];
    struct buf body;
    *out = (struct reply){0};
    if (!read_line(in, line, sizeof line))
        return false;
    assert_int_equal(sscanf(line, "HTTP/1.%*d %d", &out->status), 1);
    size_t len = 0;
    for (;;) {
        if (!read_line(in, line, sizeof line))
            return false;
        if (!*line)
            break;
        len += (size_t)snprintf(out->head + len, sizeof out->head - len, "%s\n", line);
        assert_true(len < sizeof out->head);
    }
    buf_init(&body, WORLD_REPLY_MAX);
    const char *length = reply_header(out, "Content-Length");
    bool whole = true;
    if (head || out->status < 200 || out->status == 204) {
    } else if (strcmp(reply_header(out, "Transfer-Encoding"), "chunked") == 0) {
        while (read_chunk(in, &body)) {
        }
    } else if (*(length = reply_header(out, "Content-Length"))) {
        whole = read_exactly(in, strtoul(length, NULL, 10), &body);
    } else {
        while (in_more(in)) {
        }
        whole = read_exactly(in, in->len, &body);
    }
    assert_int_equal(buf_terminate(&body), BECK_OK);
    out->body = (char *)body.data;
    out->len = body.len;
    return whole;
}

void reply_free(struct reply *r)
{
    free(r->body);
    r->body = NULL;
}

const char *reply_header(const struct reply *r, const char *name)
{
    static _Thread_local char value[8192];
    size_t len = strlen(name);
    for (const char *at = r->head; *at; at = strchr(at, '\n') + 1)
        if (strncasecmp(at, name, len) == 0 && at[len] == ':') {
            snprintf(value, sizeof value, "%.*s", (int)strcspn(at + len + 2, "\n"), at + len + 2);
            return value;
        }
    return "";
}

static struct reply one_reply(int fd, bool head)
{
    struct stream_in in;
    struct reply reply;
    in_open(&in, fd);
    if (!read_reply(&in, head, &reply))
        fail_msg("the connection ended before the answer");
    in_close(&in);
    return reply;
}

struct reply ask(const struct world *w, const char *format, ...)
{
    char *text;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    must(len >= 0, "memory");
    int fd = dial(w);
    send_text(fd, "%s HTTP/1.1\r\nHost: localhost\r\n\r\n", text);
    bool head = strncmp(text, "HEAD", 4) == 0;
    free(text);
    return one_reply(fd, head);
}

struct reply post(const struct world *w, const char *target, const char *headers, const char *body)
{
    int fd = dial(w);
    send_text(fd, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n%s\r\n%s",
              target ? target : "/v1/buses/orders/events", strlen(body), headers ? headers : "",
              body);
    return one_reply(fd, false);
}

int64_t stored(const struct world *w, const char *bus)
{
    beck_bus *found;
    beck_bus_info info;
    assert_int_equal(beck_bus_get(w->b, bus, &found, NULL), BECK_OK);
    assert_int_equal(beck_bus_info_get(found, &info, NULL), BECK_OK);
    return info.events;
}
