/*
 * Redis streams with appendonly yes and appendfsync always: XADD of 128 B by one client, and by 64
 * clients of which each waits for its own answer. Redis answers all commands of one turn of its
 * loop after one sync, so this is its group commit. The server listens at the path in
 * $REDIS_SOCKET (bench/run starts it); the clients here are 64 connections served by one thread,
 * which costs the server less of the machine than 64 threads would.
 */
#include "bench.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENTS 64

static char command[256];
static size_t command_len;

static void make_command(void)
{
    char payload[129];
    memset(payload, 'x', 128);
    payload[128] = 0;
    command_len = (size_t)snprintf(
        command, sizeof command,
        "*5\r\n$4\r\nXADD\r\n$5\r\nbench\r\n$1\r\n*\r\n$1\r\nd\r\n$128\r\n%s\r\n", payload);
}

static int connect_client(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("REDIS_SOCKET");
    bench_must(path != NULL && strlen(path) < sizeof address.sun_path, "REDIS_SOCKET");
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    bench_must(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0, path);
    return fd;
}

static void ask(int fd)
{
    bench_must(write(fd, command, command_len) == (ssize_t)command_len, "write to redis");
}

/* The answer to XADD is short ("$15\r\n1700000000000-0\r\n"): it comes in one piece. */
static void hear(int fd)
{
    char answer[256];
    ssize_t len = read(fd, answer, sizeof answer);
    if (len <= 0 || answer[0] != '$' || answer[len - 1] != '\n') {
        fprintf(stderr, "redis: %.*s\n", len > 0 ? (int)len : 0, answer);
        exit(1);
    }
}

static void measure_latency(const char *id)
{
    if (!bench_wants(id))
        return;
    int fd = connect_client();
    size_t count = bench_count(4000);
    int64_t *times = calloc(count, sizeof *times);
    bench_must(times != NULL, "calloc");
    for (size_t i = 0; i < count; i++) {
        int64_t began = bench_now_ns();
        ask(fd);
        hear(fd);
        times[i] = bench_now_ns() - began;
    }
    bench_report_p50(id, times, count, -1, "synced");
    free(times);
    close(fd);
}

static void measure_clients(const char *id)
{
    if (!bench_wants(id))
        return;
    struct pollfd clients[CLIENTS];
    size_t count = 0;
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = (struct pollfd){.fd = connect_client(), .events = POLLIN};
    struct stopwatch start = stopwatch_start();
    int64_t until_ns = start.wall_ns + (int64_t)bench_count(2000) * 1000000;
    for (int i = 0; i < CLIENTS; i++)
        ask(clients[i].fd);
    while (bench_now_ns() < until_ns) {
        bench_must(poll(clients, CLIENTS, -1) > 0, "poll");
        for (int i = 0; i < CLIENTS; i++) {
            if (clients[i].revents != 0) {
                hear(clients[i].fd);
                ask(clients[i].fd);
                count++;
            }
        }
    }
    struct stopwatch took = stopwatch_since(start);
    bench_report(id, (double)count * 1e9 / (double)took.wall_ns, "events/s", -1, "synced");
    for (int i = 0; i < CLIENTS; i++)
        close(clients[i].fd);
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    make_command();
    measure_latency("redis.xadd_p50");
    measure_clients("redis.xadd_64");
    return 0;
}
