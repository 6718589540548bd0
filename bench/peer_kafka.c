/*
 * A peer of bench_kafka.py: what a Kafka broker cannot do without when a producer sends to it with acks=1, and when a consumer fetches that
 * again, and nothing else. What comes is received, the batch is written to the end of one file with its offset set, the offset is answered.
 * Where batches lie is kept in memory; whole ones go to the consumer from the file. Nothing is checked or synced.
 *
 * usage: peer_kafka PORT FILE
 *
 * Speaks just enough for librdkafka: ApiVersions 0, Metadata 1 (each topic has one partition, and all have the same one), Produce 3 to 7 of one
 * batch, Fetch 4 of one partition. A Fetch for which there is nothing is never answered. Its input is trusted.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

enum { INPUT_MAX = 2 << 20, AT_ONCE = 65536, ANSWER_MAX = 1024, DESCRIPTORS_MAX = 1024 };
enum { PRODUCE = 0, FETCH = 1, METADATA = 3, API_VERSIONS = 18, UNSUPPORTED_VERSION = 35 };
enum { COUNT_AT = 57 }; /* in a batch: how many records it has */

struct peer {
    int fd;
    size_t have;
    uint8_t input[INPUT_MAX];
};

struct answer {
    size_t len;
    uint8_t bytes[ANSWER_MAX];
};

static struct peer *peers[DESCRIPTORS_MAX];
static uint16_t port;
static int file;
static int64_t file_end, next_offset;

/* Where each batch begins, and behind the last one where the next will. */
struct place {
    int64_t offset, position;
};
static struct place *places;
static size_t batch_count, places_max;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- what goes out ---- */

static void put(struct answer *a, const void *bytes, size_t len)
{
    if (a->len + len > sizeof a->bytes)
        abort();
    memcpy(a->bytes + a->len, bytes, len);
    a->len += len;
}

static void put_16(struct answer *a, uint16_t value)
{
    value = htobe16(value);
    put(a, &value, sizeof value);
}

static void put_32(struct answer *a, uint32_t value)
{
    value = htobe32(value);
    put(a, &value, sizeof value);
}

static void put_64(struct answer *a, uint64_t value)
{
    value = htobe64(value);
    put(a, &value, sizeof value);
}

static void put_text(struct answer *a, const void *text, size_t len)
{
    put_16(a, (uint16_t)len);
    put(a, text, len);
}

/* ---- what comes in ---- */

static uint16_t get_16(const uint8_t **at)
{
    uint16_t value;
    memcpy(&value, *at, sizeof value);
    *at += sizeof value;
    return be16toh(value);
}

static uint64_t get_64(const uint8_t **at)
{
    uint64_t value;
    memcpy(&value, *at, sizeof value);
    *at += sizeof value;
    return be64toh(value);
}

static uint32_t get_32(const uint8_t **at)
{
    uint32_t value;
    memcpy(&value, *at, sizeof value);
    *at += sizeof value;
    return be32toh(value);
}

static const uint8_t *get_text(const uint8_t **at, uint16_t *len)
{
    *len = get_16(at);
    if (*len == UINT16_MAX) /* null */
        *len = 0;
    const uint8_t *text = *at;
    *at += *len;
    return text;
}

/* ---- requests ---- */

static void api_versions(struct answer *a, uint16_t version)
{
    static const uint16_t known[][3] = {
        {PRODUCE, 3, 7}, {FETCH, 4, 4}, {METADATA, 0, 1}, {API_VERSIONS, 0, 0}};
    put_16(a, version > 0 ? UNSUPPORTED_VERSION : 0);
    put_32(a, sizeof known / sizeof *known);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        for (size_t j = 0; j < 3; j++)
            put_16(a, known[i][j]);
}

static void metadata(struct answer *a, const uint8_t *at)
{
    uint32_t topics = get_32(&at);
    put_32(a, 1);
    put_32(a, 0); /* the number of this broker */
    put_text(a, "127.0.0.1", 9);
    put_32(a, port);
    put_16(a, UINT16_MAX);
    put_32(a, 0);
    put_32(a, topics == UINT32_MAX ? 0 : topics);
    for (uint32_t i = 0; topics != UINT32_MAX && i < topics; i++) {
        uint16_t len;
        const uint8_t *name = get_text(&at, &len);
        put_16(a, 0);
        put_text(a, name, len);
        put(a, "", 1);
        /* One partition, with this broker as its leader, and nothing more. */
        static const uint32_t partition[] = {0, 0, 1, 0, 1, 0};
        put_32(a, 1);
        put_16(a, 0);
        for (size_t j = 0; j < sizeof partition / sizeof *partition; j++)
            put_32(a, partition[j]);
    }
}

static void store(const uint8_t *batch, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = pwrite(file, batch + done, size - done, file_end);
        if (n <= 0)
            fail("pwrite");
        done += (size_t)n;
        file_end += n;
    }
}

static void note_end(void)
{
    if (batch_count + 1 >= places_max) {
        places_max = places_max ? places_max * 2 : 1024;
        places = realloc(places, places_max * sizeof *places);
        if (!places)
            fail("realloc");
    }
    places[batch_count] = (struct place){next_offset, file_end};
}

/* Of one topic the one partition, without an error, and where its log ends. */
static void put_partition(struct answer *a, const uint8_t *name, uint16_t len, uint32_t partition)
{
    put_32(a, 1);
    put_text(a, name, len);
    put_32(a, 1);
    put_32(a, partition);
    put_16(a, 0);
    put_64(a, (uint64_t)next_offset);
}

static void produce(struct answer *a, uint16_t version, uint8_t *request)
{
    const uint8_t *at = request;
    uint16_t len;
    get_text(&at, &len);
    at += 2 + 4 + 4; /* acks, timeout, one topic */
    const uint8_t *name = get_text(&at, &len);
    at += 4; /* one partition */
    uint32_t partition = get_32(&at), size = get_32(&at);
    const uint8_t *count = at + COUNT_AT;
    uint64_t offset = htobe64((uint64_t)next_offset);
    memcpy(request + (at - request), &offset, sizeof offset);
    store(at, size);
    put_partition(a, name, len, partition);
    put_64(a, UINT64_MAX);
    if (version >= 5)
        put_64(a, 0);
    put_32(a, 0);
    next_offset += get_32(&count);
    batch_count++;
    note_end();
}

/* The batch that holds the offset, which is there. */
static size_t find_batch(int64_t offset)
{
    size_t low = 0, high = batch_count;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (places[middle].offset <= offset)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* The size of the records that go behind the answer, from *position on; 0: there is no answer. */
static size_t fetch(struct answer *a, const uint8_t *at, off_t *position)
{
    uint16_t len;
    at += 4 + 4 + 4 + 4 + 1 + 4; /* replica, wait, bytes, isolation, one topic */
    const uint8_t *name = get_text(&at, &len);
    at += 4; /* one partition */
    uint32_t partition = get_32(&at);
    int64_t offset = (int64_t)get_64(&at), most = get_32(&at);
    if (offset >= next_offset)
        return 0;
    size_t first = find_batch(offset), end = first + 1;
    *position = places[first].position;
    while (end < batch_count && places[end + 1].position - *position <= most)
        end++;
    size_t size = (size_t)(places[end].position - *position);
    put_32(a, 0);
    put_partition(a, name, len, partition);
    put_64(a, (uint64_t)next_offset);
    put_32(a, UINT32_MAX); /* nothing was aborted */
    put_32(a, (uint32_t)size);
    return size;
}

static void send_records(const struct peer *p, off_t position, size_t left)
{
    for (ssize_t n; left > 0; left -= (size_t)n)
        if ((n = sendfile(p->fd, file, &position, left)) <= 0)
            fail("sendfile");
}

static void answer_frame(const struct peer *p, uint8_t *frame)
{
    const uint8_t *at = frame;
    struct answer a = {.len = 4};
    off_t position = 0;
    size_t records = 0;
    uint16_t key = get_16(&at), version = get_16(&at), len;
    put_32(&a, get_32(&at));
    get_text(&at, &len);
    if (key == API_VERSIONS)
        api_versions(&a, version);
    else if (key == METADATA)
        metadata(&a, at);
    else if (key == PRODUCE)
        produce(&a, version, frame + (at - frame));
    else if (key == FETCH && (records = fetch(&a, at, &position)) == 0)
        return;
    else if (key != FETCH)
        exit(1);
    uint32_t size = htobe32((uint32_t)(a.len - 4 + records));
    memcpy(a.bytes, &size, sizeof size);
    int more = records > 0 ? MSG_MORE : 0;
    if (send(p->fd, a.bytes, a.len, MSG_NOSIGNAL | more) != (ssize_t)a.len)
        fail("send");
    send_records(p, position, records);
}

/* ---- connections ---- */

/* Of the frame at the front, with its head; 0: that is not known yet. */
static size_t frame_size(const struct peer *p)
{
    const uint8_t *at = p->input;
    size_t size = p->have < 4 ? 0 : get_32(&at) + (size_t)4;
    if (size > sizeof p->input)
        exit(1);
    return size;
}

static void hang_up(struct peer *p)
{
    peers[p->fd] = NULL;
    close(p->fd);
    free(p);
}

/* A large frame is received to its end, and so never moved. */
static void receive(struct peer *p)
{
    size_t size = frame_size(p), room = size > p->have ? size - p->have : AT_ONCE;
    if (room > sizeof p->input - p->have)
        room = sizeof p->input - p->have;
    ssize_t n = recv(p->fd, p->input + p->have, room, MSG_DONTWAIT);
    if (n <= 0) {
        hang_up(p);
        return;
    }
    p->have += (size_t)n;
    while ((size = frame_size(p)) > 0 && p->have >= size) {
        answer_frame(p, p->input + 4);
        p->have -= size;
        memmove(p->input, p->input + size, p->have);
    }
}

static void welcome(int listener, int epoll)
{
    int fd = accept(listener, NULL, NULL), on = 1;
    if (fd < 0 || fd >= DESCRIPTORS_MAX)
        fail("accept");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    peers[fd] = calloc(1, sizeof *peers[fd]);
    if (!peers[fd])
        fail("calloc");
    peers[fd]->fd = fd;
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.fd = fd});
}

static int listen_on(uint16_t number)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons(number),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 16))
        fail("listen");
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: peer_kafka PORT FILE\n", stderr);
        return 2;
    }
    port = (uint16_t)atoi(argv[1]);
    file = open(argv[2], O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0)
        fail("open");
    note_end();
    int listener = listen_on(port), epoll = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
    while (epoll_wait(epoll, &e, 1, -1) >= 0) {
        if (e.data.fd == listener)
            welcome(listener, epoll);
        else if (peers[e.data.fd])
            receive(peers[e.data.fd]);
    }
    fail("epoll_wait");
}
