/*
 * A client of AMQP 0-9-1 that takes as little as it can for itself: frames are encoded once and written many at a time, and what comes
 * back is only counted. It is the same program for every broker, over plain sockets, so that what is measured is the broker.
 *
 * usage: amqp_load MODE --port N --pid PID [option ...]
 *
 *   flow         publishes --count messages of --size bytes to --queues queues (one: directly; more: over a fanout exchange) and consumes
 *                them as they come. --persistent: durable and delivery-mode 2. --window N: confirms, at most N unconfirmed.
 *                --ack: each delivery is acknowledged (prefetch 1,000); else auto-ack.
 *   latency      publishes --rate messages a second, --count in all, and tells how long each took from the write to the read
 *   backlog      publishes --count messages, waits until the queue has all, then drains it
 *   connections  opens --count connections, with a channel each, and leaves them idle
 *   queues       declares --count durable queues
 *
 * Prints one JSON object. cpu_ns and write_bytes are the broker's (of process PID), per message, rss_mib and grown_kib its memory.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    FRAME_METHOD = 1,
    FRAME_HEADER = 2,
    FRAME_BODY = 3,
    FRAME_OVERHEAD = 8,
    FRAME_END = 0xCE,
    FRAME_MAX = 131072,
    BATCH_BYTES = 65536,
    BUFFER_BYTES = 4 * FRAME_MAX,
    PREFETCH = 1000,
    QUEUES_MAX = 100,
    WINDOW_MAX = 1 << 16,
};

static struct {
    uint16_t port;
    int pid;
    size_t count, size, queues, window, rate;
    bool persistent, ack;
} options = {.port = 5672, .count = 100000, .size = 128, .queues = 1, .rate = 2000};

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "amqp_load: %s: %s\n", what, errno ? strerror(errno) : "failed");
        exit(1);
    }
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- what the broker uses ---- */

struct usage {
    int64_t cpu_ns, write_bytes, rss_kib;
};

static int64_t number_after(const char *path, const char *key)
{
    char text[4096];
    FILE *file = fopen(path, "r");
    size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file)
        fclose(file);
    text[size] = 0;
    const char *found = strstr(text, key);
    return found ? strtoll(found + strlen(key), NULL, 10) : 0;
}

static int64_t cpu_of(int pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    must(file, path);
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    long long user = 0, system = 0;
    const char *behind = strrchr(text, ')'); /* the program's name may hold anything */
    must(behind && sscanf(behind, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lld %lld", &user,
                          &system) == 2,
         path);
    return (user + system) * (1000000000 / sysconf(_SC_CLK_TCK));
}

static struct usage usage_now(void)
{
    struct usage u = {0};
    if (options.pid) {
        char path[64];
        u.cpu_ns = cpu_of(options.pid);
        snprintf(path, sizeof path, "/proc/%d/io", options.pid);
        u.write_bytes = number_after(path, "\nwrite_bytes: ");
        snprintf(path, sizeof path, "/proc/%d/status", options.pid);
        u.rss_kib = number_after(path, "VmRSS:");
    }
    return u;
}

/* ---- frames ---- */

struct out {
    uint8_t *data;
    size_t len, room;
};

static uint8_t *out_add(struct out *o, size_t len)
{
    if (o->len + len > o->room) {
        o->room = 2 * (o->len + len);
        o->data = realloc(o->data, o->room);
        must(o->data, "memory");
    }
    o->len += len;
    return o->data + o->len - len;
}

static void put8(struct out *o, unsigned value)
{
    *out_add(o, 1) = (uint8_t)value;
}

static void put16(struct out *o, unsigned value)
{
    uint16_t big = htobe16((uint16_t)value);
    memcpy(out_add(o, 2), &big, 2);
}

static void put32(struct out *o, size_t value)
{
    uint32_t big = htobe32((uint32_t)value);
    memcpy(out_add(o, 4), &big, 4);
}

static void put64(struct out *o, uint64_t value)
{
    uint64_t big = htobe64(value);
    memcpy(out_add(o, 8), &big, 8);
}

static void put_short(struct out *o, const char *text)
{
    put8(o, (unsigned)strlen(text));
    memcpy(out_add(o, strlen(text)), text, strlen(text));
}

static void put_long(struct out *o, const void *data, size_t len)
{
    put32(o, len);
    memcpy(out_add(o, len), data, len);
}

/* Where the frame starts, for frame_end. */
static size_t frame_begin(struct out *o, unsigned kind, unsigned channel)
{
    size_t at = o->len;
    put8(o, kind);
    put16(o, channel);
    put32(o, 0);
    return at;
}

static void frame_end(struct out *o, size_t at)
{
    uint32_t size = htobe32((uint32_t)(o->len - at - 7));
    memcpy(o->data + at + 3, &size, 4);
    put8(o, FRAME_END);
}

static size_t method_begin(struct out *o, unsigned channel, unsigned class_id, unsigned method_id)
{
    size_t at = frame_begin(o, FRAME_METHOD, channel);
    put16(o, class_id);
    put16(o, method_id);
    return at;
}

/* ---- connections ---- */

struct peer {
    int fd;
    uint8_t *in; /* BUFFER_BYTES */
    size_t begin, end;
    struct out out;
};

struct frame {
    unsigned kind;
    const uint8_t *payload; /* until the next read */
    size_t len;
};

static void write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t wrote = send(fd, data, len, MSG_NOSIGNAL);
        must(wrote > 0 || errno == EINTR, "write");
        data += wrote > 0 ? wrote : 0;
        len -= wrote > 0 ? (size_t)wrote : 0;
    }
}

static void peer_send(struct peer *p)
{
    write_all(p->fd, p->out.data, p->out.len);
    p->out.len = 0;
}

/* Reads what there is; waits for something unless flags say MSG_DONTWAIT. False: there was nothing. */
static bool peer_read(struct peer *p, int flags)
{
    if (p->begin > 0) {
        memmove(p->in, p->in + p->begin, p->end - p->begin);
        p->end -= p->begin;
        p->begin = 0;
    }
    ssize_t got = recv(p->fd, p->in + p->end, BUFFER_BYTES - p->end, flags);
    if (got < 0 && errno == EAGAIN)
        return false;
    errno = got == 0 ? ECONNRESET : errno;
    must(got > 0, "read");
    p->end += (size_t)got;
    return true;
}

/* The next frame that is there whole. A close of the connection or a channel ends the program with its text. */
static bool peer_frame(struct peer *p, struct frame *f)
{
    uint32_t size;
    if (p->end - p->begin < 7)
        return false;
    memcpy(&size, p->in + p->begin + 3, 4);
    size = be32toh(size);
    if (p->end - p->begin < size + FRAME_OVERHEAD)
        return false;
    *f = (struct frame){.kind = p->in[p->begin], .payload = p->in + p->begin + 7, .len = size};
    p->begin += size + FRAME_OVERHEAD;
    return true;
}

static unsigned method_of(const struct frame *f)
{
    return f->kind == FRAME_METHOD ? (unsigned)(f->payload[0] << 24 | f->payload[1] << 16 |
                                                f->payload[2] << 8 | f->payload[3])
                                   : 0;
}

#define METHOD(class_id, method_id) ((unsigned)(class_id) << 16 | (unsigned)(method_id))

static void check_close(const struct frame *f)
{
    unsigned method = method_of(f);
    if (method == METHOD(10, 50) || method == METHOD(20, 40)) {
        fprintf(stderr, "amqp_load: the broker says: %.*s\n", (int)f->payload[6],
                (const char *)f->payload + 7);
        exit(1);
    }
}

/* Sends what is in p->out and waits for that method; payload is valid until the next read. */
static struct frame peer_call(struct peer *p, unsigned method)
{
    struct frame f;
    if (p->out.len > 0)
        peer_send(p);
    for (;;) {
        while (peer_frame(p, &f)) {
            check_close(&f);
            if (method_of(&f) == method)
                return f;
        }
        peer_read(p, 0);
    }
}

static int dial(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(options.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0, "socket");
    must(!connect(fd, (struct sockaddr *)&address, sizeof address), "connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void login(struct peer *p)
{
    struct out *o = &p->out;
    memcpy(out_add(o, 8), "AMQP\0\0\x09\x01", 8);
    peer_call(p, METHOD(10, 10));
    size_t at = method_begin(o, 0, 10, 11);
    put32(o, 0);
    put_short(o, "PLAIN");
    put_long(o, "\0guest\0guest", 12);
    put_short(o, "en_US");
    frame_end(o, at);
    peer_call(p, METHOD(10, 30));
    at = method_begin(o, 0, 10, 31);
    put16(o, 2047);
    put32(o, FRAME_MAX);
    put16(o, 0);
    frame_end(o, at);
    at = method_begin(o, 0, 10, 40);
    put_short(o, "/");
    put_short(o, "");
    put8(o, 0);
    frame_end(o, at);
    peer_call(p, METHOD(10, 41));
    at = method_begin(o, 1, 20, 10);
    put_short(o, "");
    frame_end(o, at);
    peer_call(p, METHOD(20, 11));
}

static struct peer peer_open(void)
{
    struct peer p = {.fd = dial(), .in = malloc(BUFFER_BYTES)};
    must(p.in, "memory");
    login(&p);
    return p;
}

static void peer_close(struct peer *p)
{
    close(p->fd);
    free(p->in);
    free(p->out.data);
}

/* ---- what is declared ---- */

static const char *queue_name(size_t i)
{
    static __thread char name[32];
    snprintf(name, sizeof name, "load.%zu", i);
    return name;
}

static void put_queue_declare(struct peer *p, const char *name, bool durable, bool passive)
{
    size_t at = method_begin(&p->out, 1, 50, 10);
    put16(&p->out, 0);
    put_short(&p->out, name);
    put8(&p->out, (unsigned)(passive ? 1 : 0) | (durable ? 2 : 0));
    put32(&p->out, 0);
    frame_end(&p->out, at);
}

static void queue_declare(struct peer *p, const char *name)
{
    put_queue_declare(p, name, options.persistent, false);
    peer_call(p, METHOD(50, 11));
}

static void queue_delete(struct peer *p, const char *name)
{
    size_t at = method_begin(&p->out, 1, 50, 40);
    put16(&p->out, 0);
    put_short(&p->out, name);
    put8(&p->out, 0);
    frame_end(&p->out, at);
    peer_call(p, METHOD(50, 41));
}

static uint32_t queue_messages(struct peer *p, const char *name)
{
    put_queue_declare(p, name, options.persistent, true);
    struct frame f = peer_call(p, METHOD(50, 11));
    uint32_t count;
    memcpy(&count, f.payload + 5 + f.payload[4], 4);
    return be32toh(count);
}

static void exchange_declare(struct peer *p)
{
    size_t at = method_begin(&p->out, 1, 40, 10);
    put16(&p->out, 0);
    put_short(&p->out, "load");
    put_short(&p->out, "fanout");
    put8(&p->out, options.persistent ? 2 : 0);
    put32(&p->out, 0);
    frame_end(&p->out, at);
    peer_call(p, METHOD(40, 11));
}

static void exchange_delete(struct peer *p)
{
    size_t at = method_begin(&p->out, 1, 40, 20);
    put16(&p->out, 0);
    put_short(&p->out, "load");
    put8(&p->out, 0);
    frame_end(&p->out, at);
    peer_call(p, METHOD(40, 21));
}

static void queue_bind(struct peer *p, const char *queue)
{
    size_t at = method_begin(&p->out, 1, 50, 20);
    put16(&p->out, 0);
    put_short(&p->out, queue);
    put_short(&p->out, "load");
    put_short(&p->out, "");
    put8(&p->out, 0);
    put32(&p->out, 0);
    frame_end(&p->out, at);
    peer_call(p, METHOD(50, 21));
}

static void topology_make(struct peer *p)
{
    if (options.queues > 1)
        exchange_declare(p);
    for (size_t i = 0; i < options.queues; i++) {
        queue_declare(p, queue_name(i));
        if (options.queues > 1)
            queue_bind(p, queue_name(i));
    }
}

static void topology_drop(struct peer *p)
{
    for (size_t i = 0; i < options.queues; i++)
        queue_delete(p, queue_name(i));
    if (options.queues > 1)
        exchange_delete(p);
}

static void consume(struct peer *p, const char *queue)
{
    size_t at = method_begin(&p->out, 1, 60, 20);
    put16(&p->out, 0);
    put_short(&p->out, queue);
    put_short(&p->out, queue);
    put8(&p->out, options.ack ? 0 : 2);
    put32(&p->out, 0);
    frame_end(&p->out, at);
    peer_call(p, METHOD(60, 21));
}

static void consume_all(struct peer *p)
{
    if (options.ack) {
        size_t at = method_begin(&p->out, 1, 60, 10);
        put32(&p->out, 0);
        put16(&p->out, PREFETCH);
        put8(&p->out, 0);
        frame_end(&p->out, at);
        peer_call(p, METHOD(60, 11));
    }
    for (size_t i = 0; i < options.queues; i++)
        consume(p, queue_name(i));
}

/* ---- publishing ---- */

/* What no compression makes smaller. */
static void put_noise(struct out *o, size_t len)
{
    static uint64_t state = 88172645463325252;
    uint8_t *data = out_add(o, len);
    for (size_t i = 0; i < len; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data[i] = (uint8_t)state;
    }
}

/* One message with its three frames. Returns where its body is. */
static size_t put_message(struct out *o)
{
    size_t at = method_begin(o, 1, 60, 40);
    put16(o, 0);
    put_short(o, options.queues > 1 ? "load" : "");
    put_short(o, queue_name(0));
    put8(o, 0);
    frame_end(o, at);
    at = frame_begin(o, FRAME_HEADER, 1);
    put16(o, 60);
    put16(o, 0);
    put64(o, options.size);
    put16(o, 0x1000);
    put8(o, options.persistent ? 2 : 1);
    frame_end(o, at);
    at = frame_begin(o, FRAME_BODY, 1);
    put_noise(o, options.size);
    frame_end(o, at);
    return o->len - 1 - options.size;
}

/* Publishes that wait for their confirm: a ring of what was confirmed above the lowest that was not. */
struct confirms {
    uint64_t lowest, next; /* tags; next is what the next publish will be */
    bool done[WINDOW_MAX];
};

static void confirms_take(struct confirms *c, const struct frame *f)
{
    uint64_t tag;
    check_close(f);
    must(method_of(f) != METHOD(60, 120), "a publish was refused");
    if (method_of(f) != METHOD(60, 80))
        return;
    memcpy(&tag, f->payload + 4, 8);
    tag = be64toh(tag);
    for (uint64_t t = f->payload[12] & 1 ? c->lowest : tag; t <= tag; t++)
        c->done[t % WINDOW_MAX] = true;
    while (c->lowest < c->next && c->done[c->lowest % WINDOW_MAX])
        c->done[c->lowest++ % WINDOW_MAX] = false;
}

static void confirms_read(struct confirms *c, struct peer *p, bool wait)
{
    struct frame f;
    if (!peer_read(p, wait ? 0 : MSG_DONTWAIT))
        return;
    while (peer_frame(p, &f))
        confirms_take(c, &f);
}

static void confirm_select(struct peer *p)
{
    size_t at = method_begin(&p->out, 1, 85, 10);
    put8(&p->out, 0);
    frame_end(&p->out, at);
    peer_call(p, METHOD(85, 11));
}

static void publish_confirmed(struct peer *p, const struct out *batch, size_t message_bytes)
{
    struct confirms *c = calloc(1, sizeof *c);
    must(c, "memory");
    c->lowest = c->next = 1;
    size_t batch_count = batch->len / message_bytes;
    while (c->lowest <= options.count) {
        size_t room = options.window - (size_t)(c->next - c->lowest),
               left = options.count - (size_t)(c->next - 1);
        size_t count = room < left ? room : left;
        count = count < batch_count ? count : batch_count;
        if (count > 0) {
            write_all(p->fd, batch->data, count * message_bytes);
            c->next += count;
        }
        confirms_read(c, p, count == 0);
    }
    free(c);
}

static void publish_plain(struct peer *p, const struct out *batch, size_t message_bytes)
{
    size_t batch_count = batch->len / message_bytes;
    for (size_t left = options.count; left > 0;) {
        size_t count = left < batch_count ? left : batch_count;
        write_all(p->fd, batch->data, count * message_bytes);
        left -= count;
    }
}

static void publish_all(struct peer *p)
{
    struct out batch = {0};
    put_message(&batch);
    size_t message_bytes = batch.len;
    while (batch.len + message_bytes <= BATCH_BYTES)
        put_message(&batch);
    if (options.window) {
        confirm_select(p);
        publish_confirmed(p, &batch, message_bytes);
    } else {
        publish_plain(p, &batch, message_bytes);
    }
    free(batch.data);
}

/* ---- consuming ---- */

typedef void (*body_fn)(const uint8_t *body, size_t len);

/* The delivery's tag stands behind the consumer's. */
static void put_ack(struct out *o, const struct frame *deliver)
{
    size_t at = method_begin(o, 1, 60, 80);
    memcpy(out_add(o, 8), deliver->payload + 5 + deliver->payload[4], 8);
    put8(o, 0);
    frame_end(o, at);
}

/* Reads `count` deliveries. */
static void consume_count(struct peer *p, size_t count, body_fn body)
{
    struct frame f;
    while (count > 0) {
        while (count > 0 && peer_frame(p, &f)) {
            if (f.kind == FRAME_METHOD) {
                check_close(&f);
                if (options.ack && method_of(&f) == METHOD(60, 60))
                    put_ack(&p->out, &f);
            } else if (f.kind == FRAME_BODY) {
                count--;
                if (body)
                    body(f.payload, f.len);
            }
        }
        if (p->out.len > 0)
            peer_send(p);
        if (count > 0)
            peer_read(p, 0);
    }
}

/* ---- modes ---- */

static void report(const char *rest, size_t messages, int64_t took_ns, struct usage before)
{
    struct usage after = usage_now();
    printf("{\"messages\": %zu, \"seconds\": %.3f, \"rate\": %.0f, \"cpu_ns\": %.0f, "
           "\"write_bytes\": %.1f, \"rss_mib\": %.1f%s}\n",
           messages, (double)took_ns / 1e9, (double)messages * 1e9 / (double)took_ns,
           (double)(after.cpu_ns - before.cpu_ns) / (double)messages,
           (double)(after.write_bytes - before.write_bytes) / (double)messages,
           (double)after.rss_kib / 1024, rest);
}

static void *publisher(void *arg)
{
    publish_all(arg);
    return NULL;
}

static void flow(void)
{
    struct peer from = peer_open(), to = peer_open();
    topology_make(&from);
    consume_all(&to);
    pthread_t thread;
    struct usage before = usage_now();
    int64_t began = now_ns();
    must(!pthread_create(&thread, NULL, publisher, &from), "thread");
    consume_count(&to, options.count * options.queues, NULL);
    pthread_join(thread, NULL);
    report("", options.count * options.queues, now_ns() - began, before);
    topology_drop(&from);
    peer_close(&from);
    peer_close(&to);
}

static int64_t *latencies_ns;
static size_t latency_count;

static void latency_take(const uint8_t *body, size_t len)
{
    int64_t sent;
    must(len >= sizeof sent, "a body is too short");
    memcpy(&sent, body, sizeof sent);
    latencies_ns[latency_count++] = now_ns() - sent;
}

static void *pacer(void *arg)
{
    struct peer *p = arg;
    struct out message = {0};
    size_t body = put_message(&message);
    int64_t step_ns = 1000000000 / (int64_t)options.rate, due = now_ns();
    for (size_t i = 0; i < options.count; i++, due += step_ns) {
        struct timespec until = {.tv_sec = due / 1000000000, .tv_nsec = due % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        int64_t now = now_ns();
        memcpy(message.data + body, &now, sizeof now);
        write_all(p->fd, message.data, message.len);
    }
    free(message.data);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void latency(void)
{
    struct peer from = peer_open(), to = peer_open();
    latencies_ns = calloc(options.count, sizeof *latencies_ns);
    must(latencies_ns && options.size >= sizeof *latencies_ns, "--size");
    topology_make(&from);
    consume_all(&to);
    pthread_t thread;
    struct usage before = usage_now();
    int64_t began = now_ns();
    must(!pthread_create(&thread, NULL, pacer, &from), "thread");
    consume_count(&to, options.count, latency_take);
    pthread_join(thread, NULL);
    int64_t took = now_ns() - began;
    qsort(latencies_ns, latency_count, sizeof *latencies_ns, by_value);
    char rest[128];
    snprintf(rest, sizeof rest, ", \"p50_us\": %.1f, \"p99_us\": %.1f",
             (double)latencies_ns[latency_count / 2] / 1e3,
             (double)latencies_ns[latency_count * 99 / 100] / 1e3);
    report(rest, options.count, took, before);
    topology_drop(&from);
    peer_close(&from);
    peer_close(&to);
}

static void backlog(void)
{
    struct peer from = peer_open();
    topology_make(&from);
    struct usage idle = usage_now();
    int64_t began = now_ns();
    publish_all(&from);
    while (queue_messages(&from, queue_name(0)) < options.count)
        usleep(10000);
    int64_t filled = now_ns();
    struct usage full = usage_now();
    struct peer to = peer_open();
    consume_all(&to);
    struct usage before = usage_now();
    int64_t drain = now_ns();
    consume_count(&to, options.count, NULL);
    int64_t took = now_ns() - drain;
    char rest[256];
    snprintf(rest, sizeof rest, ", \"fill_rate\": %.0f, \"fill_cpu_ns\": %.0f, \"grown_mib\": %.1f",
             (double)options.count * 1e9 / (double)(filled - began),
             (double)(full.cpu_ns - idle.cpu_ns) / (double)options.count,
             (double)(full.rss_kib - idle.rss_kib) / 1024);
    report(rest, options.count, took, before);
    topology_drop(&from);
    peer_close(&from);
    peer_close(&to);
}

static void raise_limit(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void connections(void)
{
    raise_limit();
    uint8_t *in = malloc(BUFFER_BYTES);
    must(in, "memory");
    struct usage before = usage_now();
    int64_t began = now_ns();
    for (size_t i = 0; i < options.count; i++) {
        struct peer p = {.fd = dial(), .in = in};
        login(&p);
        free(p.out.data); /* its socket stays open */
    }
    int64_t took = now_ns() - began;
    char rest[64];
    snprintf(rest, sizeof rest, ", \"grown_kib\": %.2f",
             (double)(usage_now().rss_kib - before.rss_kib) / (double)options.count);
    report(rest, options.count, took, before);
    free(in);
}

static void queues(void)
{
    struct peer p = peer_open();
    char name[32];
    struct usage before = usage_now();
    int64_t began = now_ns();
    for (size_t i = 0; i < options.count; i++) {
        snprintf(name, sizeof name, "many.%zu", i);
        put_queue_declare(&p, name, true, false);
        if (i % 100 == 99 || i + 1 == options.count)
            peer_send(&p);
    }
    for (size_t i = 0; i < options.count; i++)
        peer_call(&p, METHOD(50, 11));
    int64_t took = now_ns() - began;
    char rest[64];
    snprintf(rest, sizeof rest, ", \"grown_kib\": %.2f",
             (double)(usage_now().rss_kib - before.rss_kib) / (double)options.count);
    report(rest, options.count, took, before);
    for (size_t i = 0; i < options.count; i++) {
        snprintf(name, sizeof name, "many.%zu", i);
        queue_delete(&p, name);
    }
    peer_close(&p);
}

static void parse(int argc, char **argv)
{
    static const struct option known[] = {
        {"port", 1, 0, 'p'},       {"pid", 1, 0, 'i'},
        {"count", 1, 0, 'c'},      {"size", 1, 0, 's'},
        {"queues", 1, 0, 'q'},     {"window", 1, 0, 'w'},
        {"rate", 1, 0, 'r'},       {"ack", 0, 0, 'a'},
        {"persistent", 0, 0, 'd'}, {0},
    };
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        size_t value = optarg ? strtoull(optarg, NULL, 10) : 0;
        switch (c) {
        case 'p':
            options.port = (uint16_t)value;
            break;
        case 'i':
            options.pid = (int)value;
            break;
        case 'c':
            options.count = value;
            break;
        case 's':
            options.size = value;
            break;
        case 'q':
            options.queues = value;
            break;
        case 'w':
            options.window = value;
            break;
        case 'r':
            options.rate = value;
            break;
        case 'a':
            options.ack = true;
            break;
        case 'd':
            options.persistent = true;
            break;
        default:
            exit(2);
        }
    }
    must(options.count > 0 && options.queues >= 1 && options.queues <= QUEUES_MAX &&
             options.window < WINDOW_MAX && options.rate > 0 &&
             options.size <= FRAME_MAX - FRAME_OVERHEAD,
         "an option is out of its range");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } modes[] = {{"flow", flow},
                 {"latency", latency},
                 {"backlog", backlog},
                 {"connections", connections},
                 {"queues", queues}};
    must(argc > 1, "usage: amqp_load flow|latency|backlog|connections|queues [option ...]");
    parse(argc - 1, argv + 1);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(argv[1], modes[i].name)) {
            modes[i].run();
            return 0;
        }
    fprintf(stderr, "amqp_load: no mode '%s'\n", argv[1]);
    return 2;
}
