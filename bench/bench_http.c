/*
 * The HTTP server: a process of its own, with wrk as its client, and nginx that answers 200 to the
 * same requests; and 1,000 followers of server-sent events, who are this program.
 *
 * What a request costs is the CPU time of the server's process; what wrk needs is not counted.
 */
#include "bench.h"

#include "wire/http/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define FOLLOWERS 1000
#define EVENTS_PER_S 1000
#define CONNECTIONS 64

static int listen_anywhere(uint16_t *port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bench_must(fd >= 0 && bind(fd, (struct sockaddr *)&in, sizeof in) == 0 &&
                   listen(fd, 4096) == 0 && getsockname(fd, (struct sockaddr *)&in, &len) == 0,
               "listening");
    *port = ntohs(in.sin_port);
    return fd;
}

/* ---- processes ---- */

struct server {
    pid_t pid;
    uint16_t port;
};

static void serve(const char *dir, int fd, int ready)
{
    beck *b;
    beck_bus *bus;
    struct access *access;
    struct http *h;
    beck_error err = {0};
    beck_options options = {.data_dir = dir};
    beck_bus_options bus_options = {
        .level = BECK_LEVEL_WRITTEN, .segment_bytes = 64 << 20, .retention_bytes = 128 << 20};
    struct access_settings access_settings = {.anonymous_loopback = true};
    bench_ok(beck_open(&b, &options, &err), &err);
    bench_ok(beck_bus_create(b, "orders", &bus_options, &bus, &err), &err);
    bench_ok(access_open(b, &access_settings, &access, &err), &err);
    struct http_context context = {.b = b, .access = access, .server_version = BECK_VERSION};
    struct http_settings settings = {0};
    struct http_listener listener = {.fd = fd};
    bench_ok(http_start(&settings, &context, &listener, 1, &h, &err), &err);
    bench_must(write(ready, "x", 1) == 1, "telling that the server is ready");
    for (;;)
        pause();
}

static struct server start_beck(const char *dir)
{
    struct server s;
    int ready[2];
    char byte;
    int fd = listen_anywhere(&s.port);
    bench_must(pipe(ready) == 0, "pipe");
    s.pid = fork();
    bench_must(s.pid >= 0, "fork");
    if (s.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ready[0]);
        serve(dir, fd, ready[1]);
    }
    close(fd);
    close(ready[1]);
    bench_must(read(ready[0], &byte, 1) == 1, "starting the server");
    close(ready[0]);
    return s;
}

/* One worker, so that all of its CPU time is that of one process. */
static bool start_nginx(const char *dir, struct server *out)
{
    char path[256];
    int fd = listen_anywhere(&out->port);
    snprintf(path, sizeof path, "%s/nginx.conf", dir);
    FILE *f = fopen(path, "w");
    bench_must(f != NULL, path);
    fprintf(f,
            "daemon off; master_process off; pid %s/nginx.pid; error_log %s/nginx.err;\n"
            "events { worker_connections 4096; }\n"
            "http { access_log off; keepalive_requests 1000000000; client_body_temp_path %s/1;\n"
            "proxy_temp_path %s/2; fastcgi_temp_path %s/3; uwsgi_temp_path %s/4; scgi_temp_path "
            "%s/5;\n"
            "server { listen 127.0.0.1:%u; location / { return 200 "
            "'{\"partition\":0,\"offset\":123456,\"count\":1,\"duplicates\":0}'; } } }\n",
            dir, dir, dir, dir, dir, dir, dir, out->port);
    fclose(f);
    close(fd);
    out->pid = fork();
    bench_must(out->pid >= 0, "fork");
    if (out->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (!freopen("/dev/null", "w", stderr))
            _exit(127);
        execlp("nginx", "nginx", "-c", path, (char *)NULL);
        _exit(127);
    }
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons(out->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (;;) {
        int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool up = connect(probe, (struct sockaddr *)&in, sizeof in) == 0;
        close(probe);
        if (up)
            return true;
        if (waitpid(out->pid, NULL, WNOHANG) == out->pid)
            return false;
        usleep(1000);
    }
}

static void stop(struct server s)
{
    kill(s.pid, SIGKILL);
    waitpid(s.pid, NULL, 0);
}

static double cpu_s(pid_t pid)
{
    char path[64], text[1024];
    unsigned long user = 0, kernel = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    bench_must(f && fgets(text, sizeof text, f), path);
    fclose(f);
    const char *rest = strrchr(text, ')');
    bench_must(rest && sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                              &kernel) == 2,
               path);
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

/* ---- wrk ---- */

struct load {
    double requests, per_s, cpu_us; /* cpu_us: the server's, a request */
};

static void write_script(const char *path, const char *type, const char *body)
{
    FILE *f = fopen(path, "w");
    bench_must(f != NULL, path);
    fprintf(f, "wrk.method = 'POST'\nwrk.headers['Content-Type'] = '%s'\nwrk.body = [==[%s]==]\n",
            type, body);
    fclose(f);
}

static struct load run_wrk(const char *dir, struct server s, const char *target, const char *type,
                           const char *body)
{
    char script[256], command[512], line[512];
    struct load load = {0};
    double bad = 0;
    snprintf(script, sizeof script, "%s/post.lua", dir);
    write_script(script, type, body);
    snprintf(command, sizeof command, "wrk -t1 -c%d -d%ds -s %s 'http://127.0.0.1:%u%s'",
             CONNECTIONS, bench_count(50) > 5 ? 5 : 1, script, s.port, target);
    double before = cpu_s(s.pid);
    FILE *f = popen(command, "r");
    bench_must(f != NULL, "running wrk");
    while (fgets(line, sizeof line, f)) {
        sscanf(line, " %lf requests in", &load.requests);
        sscanf(line, "Requests/sec: %lf", &load.per_s);
        sscanf(line, " Non-2xx or 3xx responses: %lf", &bad);
    }
    bench_must(pclose(f) == 0 && load.requests > 0, "wrk: is it installed?");
    bench_must(bad == 0, "every request is answered with 2xx");
    load.cpu_us = (cpu_s(s.pid) - before) * 1e6 / load.requests;
    return load;
}

static char *webhook(void)
{
    static char body[1100];
    int head =
        snprintf(body, sizeof body,
                 "{\"eventType\":\"order.created\",\"source\":\"/shop\",\"subject\":\"ORD-1\","
                 "\"data\":{\"text\":\"");
    memset(body + head, 'x', (size_t)(1024 - 3 - head));
    memcpy(body + 1024 - 3, "\"}}", 4);
    return body;
}

static char *batch_of_100(void)
{
    static char body[32768];
    size_t len = 0;
    for (int i = 0; i < 100; i++)
        len += (size_t)snprintf(body + len, sizeof body - len,
                                "%s{\"specversion\":\"1.0\",\"id\":\"%d\",\"source\":\"/shop\","
                                "\"type\":\"order.created\",\"subject\":\"ORD-%d\","
                                "\"data\":{\"order\":%d,\"total\":19.99}}",
                                i ? "," : "[", i, i, i);
    memcpy(body + len, "]", 2);
    return body;
}

static void measure_posts(const char *dir)
{
    static const char type[] = "application/json",
                      batch_type[] = "application/cloudevents-batch+json";
    struct server nginx, s = start_beck(dir);
    if (bench_wants("http.post") && start_nginx(dir, &nginx)) {
        struct load load = run_wrk(dir, nginx, "/", type, webhook());
        stop(nginx);
        bench_report("nginx.post_cpu", load.cpu_us, "us", load.cpu_us * 1000, "none");
    }
    if (bench_wants("http.post_cpu")) {
        struct load load =
            run_wrk(dir, s, "/v1/buses/orders/events?level=written", type, webhook());
        bench_report("http.post_cpu", load.cpu_us, "us", load.cpu_us * 1000, "written");
    }
    if (bench_wants("http.post_synced_64")) {
        struct load load = run_wrk(dir, s, "/v1/buses/orders/events?level=synced", type, webhook());
        bench_report("http.post_synced_64", load.per_s, "events/s", load.cpu_us * 1000, "synced");
    }
    if (bench_wants("http.batch_100")) {
        struct load load =
            run_wrk(dir, s, "/v1/buses/orders/events?level=written", batch_type, batch_of_100());
        bench_report("http.batch_100", load.per_s * 100, "events/s", load.cpu_us * 10, "written");
    }
    stop(s);
}

/* ---- followers ---- */

static int dial(uint16_t port)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bench_must(fd >= 0 && connect(fd, (struct sockaddr *)&in, sizeof in) == 0, "connecting");
    return fd;
}

struct publisher {
    uint16_t port;
    size_t count;
};

/* One event a millisecond, with the time in it. */
static void *publish(void *arg)
{
    const struct publisher *p = arg;
    int fd = dial(p->port);
    int64_t begin = bench_now_ns();
    for (size_t i = 0; i < p->count; i++) {
        char request[512], body[256], answer[1024];
        int64_t due = begin + (int64_t)i * (1000000000 / EVENTS_PER_S);
        while (bench_now_ns() < due)
            usleep(100);
        int len = snprintf(body, sizeof body,
                           "{\"eventType\":\"order.created\",\"subject\":\"ORD-1\",\"data\":%lld}",
                           (long long)bench_now_ns());
        len = snprintf(request, sizeof request,
                       "POST /v1/buses/orders/events HTTP/1.1\r\nHost: localhost\r\n"
                       "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                       len, body);
        bench_must(send(fd, request, (size_t)len, 0) == len, "publishing");
        bench_must(recv(fd, answer, sizeof answer, 0) > 0, "the answer to a publish");
    }
    close(fd);
    return NULL;
}

struct follower {
    int fd;
    size_t events;
    char tail[64]; /* of what was read, where a number may have been cut in two */
    size_t tail_len;
};

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Notes how old each event in what was read is. */
static void note(struct follower *f, const char *text, size_t len, int64_t *ages, size_t *count)
{
    static const char mark[] = "\"data\":";
    int64_t now = bench_now_ns();
    const char *at = text, *end = text + len;
    size_t used = 0;
    while ((at = memmem(at, (size_t)(end - at), mark, sizeof mark - 1))) {
        const char *digits = at + sizeof mark - 1;
        const char *stop = memchr(digits, '}', (size_t)(end - digits));
        if (!stop)
            break;
        ages[(*count)++] = now - atoll(digits);
        f->events++;
        at = stop;
        used = (size_t)(stop - text);
    }
    size_t rest = len - used;
    f->tail_len = rest < sizeof f->tail ? rest : sizeof f->tail;
    memcpy(f->tail, end - f->tail_len, f->tail_len);
}

static void read_some(struct follower *f, int64_t *ages, size_t *count)
{
    static char text[262144];
    memcpy(text, f->tail, f->tail_len);
    ssize_t got = recv(f->fd, text + f->tail_len, sizeof text - f->tail_len - 1, 0);
    bench_must(got > 0, "a follower is cut off");
    note(f, text, f->tail_len + (size_t)got, ages, count);
}

static void open_followers(struct follower *all, int epoll, uint16_t port)
{
    static const char request[] = "GET /v1/buses/orders/events HTTP/1.1\r\nHost: localhost\r\n"
                                  "Accept: text/event-stream\r\n\r\n";
    for (int i = 0; i < FOLLOWERS; i++) {
        char text[4096];
        size_t len = 0;
        all[i] = (struct follower){.fd = dial(port)};
        bench_must(send(all[i].fd, request, sizeof request - 1, 0) > 0, "following");
        while (!memmem(text, len, "id: ", 4)) { /* then it is one */
            ssize_t got = recv(all[i].fd, text + len, sizeof text - len, 0);
            bench_must(got > 0, "following");
            len += (size_t)got;
        }
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &all[i]};
        bench_must(epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &e) == 0, "epoll");
    }
}

static void measure_followers(const char *dir)
{
    if (!bench_wants("http.follow_p99"))
        return;
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct server s = start_beck(dir);
    struct publisher p = {s.port, bench_count(10 * EVENTS_PER_S)};
    static struct follower all[FOLLOWERS];
    size_t wanted = p.count * FOLLOWERS, count = 0;
    int64_t *ages = malloc(wanted * sizeof *ages);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    bench_must(ages && epoll >= 0, "memory for the followers");
    open_followers(all, epoll, s.port);
    double before = cpu_s(s.pid);
    pthread_t thread;
    bench_must(pthread_create(&thread, NULL, publish, &p) == 0, "starting a thread");
    while (count < wanted) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < n; i++)
            read_some(events[i].data.ptr, ages, &count);
    }
    pthread_join(thread, NULL);
    double cpu = cpu_s(s.pid) - before;
    qsort(ages, wanted, sizeof *ages, by_value);
    bench_report("http.follow_p99", (double)ages[wanted / 100 * 99] / 1e6, "ms",
                 cpu * 1e9 / (double)wanted, "written");
    for (int i = 0; i < FOLLOWERS; i++)
        close(all[i].fd);
    close(epoll);
    free(ages);
    stop(s);
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    const char *dir = bench_dir();
    measure_posts(dir);
    bench_clean();
    measure_followers(bench_dir());
    bench_clean();
    return 0;
}
