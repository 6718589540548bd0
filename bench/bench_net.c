/*
 * What a connection of the server costs, before any protocol: messages of 128 bytes that are sent
 * back, by beck's connections, and by the shortest loop over epoll that does the same (a floor: no
 * limits, no timers, one buffer).
 *
 * Ping: one message at a time; CPU time of the server per message. Pipelined: 512 messages in a
 * write, several of those under way; messages per second. Each server is a process of its own on
 * another processor than the client.
 */
#include "base/metrics.h"
#include "bench.h"
#include "net/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE 128
#define WINDOW (512 * MESSAGE)

/* ---- the servers ---- */

static int listen_somewhere(uint16_t *port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    bench_must(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0, "bind");
    bench_must(listen(fd, 16) == 0, "listen");
    bench_must(getsockname(fd, (struct sockaddr *)&at, &size) == 0, "getsockname");
    *port = ntohs(at.sin_port);
    return fd;
}

static void *opened(struct connection *c, void *ctx)
{
    connection_established(c);
    return ctx;
}

static size_t send_back(struct connection *c, beck_bytes input)
{
    size_t at = 0;
    for (; input.len - at >= MESSAGE && !connection_is_full(c); at += MESSAGE)
        connection_write(c, (const char *)input.data + at, MESSAGE);
    return at;
}

static void serve_beck(int listening)
{
    static const struct net_protocol echo = {.name = "echo", .opened = opened, .bytes = send_back};
    struct net_settings settings = {.loops = 1, .metrics = metrics_new()};
    struct net_listener listener = {.fd = listening, .protocol = &echo, .ctx = &settings};
    struct net *n;
    beck_error err;
    bench_ok(net_start(&settings, &listener, 1, &n, &err), &err);
    pause();
}

struct bare {
    size_t in, out;
    char input[65536 + MESSAGE], output[65536 + MESSAGE];
};

static bool serve_one(int fd, struct bare *b)
{
    size_t at = 0;
    ssize_t n = recv(fd, b->input + b->in, 65536, 0);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    b->in += (size_t)n;
    for (b->out = 0; b->in - at >= MESSAGE; at += MESSAGE, b->out += MESSAGE)
        memcpy(b->output + b->out, b->input + at, MESSAGE);
    memmove(b->input, b->input + at, b->in - at);
    b->in -= at;
    /* Waits for a slow peer here: it has no other. */
    for (size_t sent = 0; sent < b->out; sent += (size_t)n)
        if ((n = send(fd, b->output + sent, b->out - sent, MSG_NOSIGNAL)) < 0)
            return false;
    return true;
}

static void serve_bare(int listening)
{
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listening};
    struct bare *b = calloc(1, sizeof *b);
    int epoll = epoll_create1(0), on = 1;
    bench_must(b && epoll >= 0, "epoll_create1");
    bench_must(epoll_ctl(epoll, EPOLL_CTL_ADD, listening, &e) == 0, "epoll_ctl");
    for (;;) {
        struct epoll_event ready[64];
        int count = epoll_wait(epoll, ready, 64, -1);
        for (int i = 0; i < count; i++) {
            int fd = ready[i].data.fd;
            if (fd != listening) {
                if (!serve_one(fd, b))
                    close(fd);
                continue;
            }
            fd = accept(listening, NULL, NULL);
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            e.data.fd = fd;
            bench_must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0, "epoll_ctl");
        }
    }
}

/* ---- the client ---- */

struct peer {
    pid_t pid;
    int fd;
};

static struct peer start(void (*serve)(int listening))
{
    struct peer p;
    uint16_t port;
    int listening = listen_somewhere(&port), on = 1;
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    p.pid = fork();
    bench_must(p.pid >= 0, "fork");
    if (p.pid == 0) {
        bench_pin(1);
        serve(listening);
        _exit(1);
    }
    close(listening);
    bench_pin(0);
    p.fd = socket(AF_INET, SOCK_STREAM, 0);
    bench_must(connect(p.fd, (struct sockaddr *)&at, sizeof at) == 0, "connect");
    setsockopt(p.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return p;
}

static void end(struct peer p)
{
    close(p.fd);
    kill(p.pid, SIGKILL);
    waitpid(p.pid, NULL, 0);
}

static int64_t cpu_ns(struct peer p)
{
    clockid_t clock;
    struct timespec t;
    bench_must(clock_getcpuclockid(p.pid, &clock) == 0 && clock_gettime(clock, &t) == 0,
               "the CPU time of the server");
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        bench_must(n > 0, "send");
        data += n;
        len -= (size_t)n;
    }
}

static void receive_all(int fd, size_t len)
{
    static char buffer[WINDOW];
    while (len > 0) {
        ssize_t n = recv(fd, buffer, len < sizeof buffer ? len : sizeof buffer, 0);
        bench_must(n > 0, "recv");
        len -= (size_t)n;
    }
}

static void measure_ping(const char *id, void (*serve)(int listening))
{
    static const char message[MESSAGE];
    if (!bench_wants(id))
        return;
    struct peer p = start(serve);
    size_t count = bench_count(200000);
    int64_t before = 0;
    for (size_t i = 0; i < count + 100; i++) {
        if (i == 100)
            before = cpu_ns(p);
        send_all(p.fd, message, MESSAGE);
        receive_all(p.fd, MESSAGE);
    }
    double each = (double)(cpu_ns(p) - before) / (double)count;
    bench_report(id, each, "ns", each, "memory");
    end(p);
}

struct sender {
    int fd;
    size_t windows;
};

static void *send_windows(void *arg)
{
    static const char window[WINDOW];
    struct sender *s = arg;
    for (size_t i = 0; i < s->windows; i++)
        send_all(s->fd, window, WINDOW);
    return NULL;
}

static void measure_pipelined(const char *id, void (*serve)(int listening))
{
    pthread_t thread;
    if (!bench_wants(id))
        return;
    struct peer p = start(serve);
    struct sender s = {p.fd, bench_count(40000)};
    size_t count = s.windows * WINDOW / MESSAGE;
    int64_t cpu = cpu_ns(p), wall = bench_now_ns();
    bench_must(pthread_create(&thread, NULL, send_windows, &s) == 0, "pthread_create");
    receive_all(p.fd, s.windows * WINDOW);
    wall = bench_now_ns() - wall;
    cpu = cpu_ns(p) - cpu;
    pthread_join(thread, NULL);
    bench_report(id, (double)count * 1e9 / (double)wall, "messages/s", (double)cpu / (double)count,
                 "memory");
    end(p);
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    measure_ping("net.ping", serve_beck);
    measure_ping("epoll.ping", serve_bare);
    measure_pipelined("net.pipelined", serve_beck);
    measure_pipelined("epoll.pipelined", serve_bare);
    return 0;
}
