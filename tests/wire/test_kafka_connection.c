/* Frames on real sockets: requests are started in order and answered in order, whoever answers them. */
#include "wire/kafka/wire_impl.h"

#include "base/clock.h"
#include "kafka/message/api_versions.h"
#include "kafka/message/fetch.h"
#include "kafka/message/groups.h"
#include "kafka/message/produce.h"

#include <arpa/inet.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define HELD_MAX 512

/* ---- what answers: a table of the test's own ---- */

static struct {
    struct mutex lock;
    struct cond changed;
    struct kafka_request *at[HELD_MAX]; /* NULL: answered */
    size_t count;
    uint32_t closed, released, in_place_bytes;
} held;

static void hold(struct kafka_request *r)
{
    mutex_lock(&held.lock);
    assert_true(held.count < HELD_MAX);
    held.at[held.count++] = r;
    mutex_unlock(&held.lock);
    cond_broadcast(&held.changed);
}

static struct kafka_request *take_held(size_t i)
{
    mutex_lock(&held.lock);
    while (held.count <= i)
        cond_wait(&held.changed, &held.lock);
    struct kafka_request *r = held.at[i];
    held.at[i] = NULL;
    mutex_unlock(&held.lock);
    return r;
}

static void give_up(struct kafka_request *r)
{
    struct kafka_heartbeat_response a = {.error_code = KAFKA_REBALANCE_IN_PROGRESS};
    bool mine = false;
    mutex_lock(&held.lock);
    held.closed++;
    for (size_t i = 0; i < held.count && !mine; i++)
        if (held.at[i] == r) {
            held.at[i] = NULL;
            mine = true;
        }
    mutex_unlock(&held.lock);
    cond_broadcast(&held.changed);
    if (mine)
        request_answer(r, &a);
}

static void take_heartbeat(struct kafka_request *r)
{
    request_on_close(r, give_up);
    request_on_short(r, give_up);
    hold(r);
}

static void answer_heartbeat(struct kafka_request *r, int code)
{
    struct kafka_heartbeat_response a = {.error_code = (int16_t)code};
    request_answer(r, &a);
}

static void answer_produce(struct kafka_request *r)
{
    struct kafka_produce_response a;
    kafka_produce_response_init(&a);
    request_answer(r, request_state(r) ? &a : NULL);
}

static void give_up_produce(struct kafka_request *r)
{
    bool mine = false;
    mutex_lock(&held.lock);
    for (size_t i = 0; i < held.count && !mine; i++)
        if (held.at[i] == r) {
            held.at[i] = NULL;
            mine = true;
        }
    mutex_unlock(&held.lock);
    if (mine)
        answer_produce(r);
}

static void take_produce(struct kafka_request *r)
{
    const struct kafka_produce_request *q = request_body(r);
    static int marker;
    request_set_state(r, q->acks ? &marker : NULL);
    request_on_close(r, give_up_produce);
    for (size_t i = 0; i < q->topic_data.count; i++)
        held.in_place_bytes += (uint32_t)q->topic_data.at[i].partition_data.at[0].records.bytes.len;
    if (q->acks)
        hold(r);
    else
        request_answer(r, NULL);
}

static void on_the_pool(struct kafka_request *r)
{
    const struct kafka_find_coordinator_request *q = request_body(r);
    struct kafka_find_coordinator_response a;
    if (bytes_equal_text(q->key, "until others wait") && !request_state(r)) {
        static int seen;
        hold(r);
        while (!request_gives_way(r))
            sched_yield();
        request_set_state(r, &seen);
        request_defer(r, on_the_pool);
        return;
    }
    kafka_find_coordinator_response_init(&a);
    a.host = beck_str(request_endpoint(r)->host);
    a.port = request_endpoint(r)->port;
    request_answer(r, &a);
}

static void take_find_coordinator(struct kafka_request *r)
{
    request_defer(r, on_the_pool);
}

static void count_release(void *ctx)
{
    (void)ctx;
    mutex_lock(&held.lock);
    held.released++;
    mutex_unlock(&held.lock);
    cond_broadcast(&held.changed);
}

static int pattern_fd = -1; /* "0123456789" again and again */
static char in_memory[100000];
static struct block *in_block;

/* Partition 0: a range of a file; 1: memory; 2: a block; 3: bytes that are copied. */
static void take_fetch(struct kafka_request *r)
{
    const struct kafka_fetch_request *q = request_body(r);
    struct kafka_fetch_response a;
    struct kafka_arena *arena = request_arena(r);
    kafka_fetch_response_init(&a);
    assert_non_null(request_alloc(r, (size_t)q->min_bytes)); /* what it holds until it is sent */
    assert_true(kafka_array(arena, &a.responses, 1));
    assert_true(kafka_array(arena, &a.responses.at[0].partitions, 4));
    a.responses.at[0].topic = q->topics.count ? q->topics.at[0].topic : beck_str("t");
    for (int i = 0; i < 4; i++)
        kafka_fetch_response_partition_init(&a.responses.at[0].partitions.at[i]);
    a.responses.at[0].partitions.at[0].records =
        (struct kafka_records){.fd = pattern_fd,
                               .position = 5,
                               .file_size = (size_t)q->max_bytes,
                               .release = count_release};
    a.responses.at[0].partitions.at[1].records = (struct kafka_records){
        .bytes = bytes_of(in_memory, sizeof in_memory), .release = count_release};
    a.responses.at[0].partitions.at[2].records =
        (struct kafka_records){.bytes = bytes_of(in_block->data, 1000), .block = in_block};
    a.responses.at[0].partitions.at[3].records.bytes = beck_str("copied");
    request_answer(r, &a);
}

#define TABLES(name) kafka_##name##_request_table, kafka_##name##_response_table

const struct api kafka_apis[] = {
    {0, 0, 13, "Produce", TABLES(produce), .handler = take_produce, .pipelined = true,
     .in_place = true},
    {1, 4, 18, "Fetch", TABLES(fetch), .handler = take_fetch},
    {10, 0, 6, "FindCoordinator", TABLES(find_coordinator), .handler = take_find_coordinator},
    {12, 0, 4, "Heartbeat", TABLES(heartbeat), .handler = take_heartbeat},
    {18, 0, 4, "ApiVersions", TABLES(api_versions), .handler = handle_api_versions, .open = true,
     .short_header = true, .refuse = true},
};
const size_t kafka_api_count = sizeof kafka_apis / sizeof *kafka_apis;

/* ---- the server ---- */

struct world {
    beck *b;
    struct access *access;
    struct metrics *metrics;
    struct kafka_wire *wire;
    struct net *net;
    uint16_t port;
    struct kafka_wire_settings settings;
};

static int listen_on(uint16_t *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 4096), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

static void open_files(void)
{
    char pattern[100000];
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (char)('0' + i % 10);
    memset(in_memory, 'm', sizeof in_memory);
    pattern_fd = memfd_create("pattern", MFD_CLOEXEC);
    for (int i = 0; i < 30; i++)
        assert_int_equal(write(pattern_fd, pattern, sizeof pattern), sizeof pattern);
    in_block = block_new(1000);
    memset(in_block->data, 'b', 1000);
}

#define HOUR_MS 3600000

static int open_world_with(void **state, struct kafka_wire_settings settings)
{
    struct world *w = calloc(1, sizeof *w);
    beck_error err;
    struct net_listener listener;
    memset(&held, 0, sizeof held);
    mutex_init(&held.lock);
    cond_init(&held.changed);
    open_files();
    w->metrics = metrics_new();
    assert_int_equal(beck_open(&w->b, &(beck_options){0}, &err), BECK_OK);
    assert_int_equal(
        access_open(w->b, &(struct access_settings){.anonymous_loopback = true, .scrypt_log_n = 10},
                    &w->access, &err),
        BECK_OK);
    w->settings = settings;
    w->settings.request_max = 4 << 20;
    w->settings.handshake_timeout_ms = HOUR_MS; /* the machine may be slow */
    if (!w->settings.receive_timeout_ms)
        w->settings.receive_timeout_ms = HOUR_MS;
    struct kafka_wire_context context = {
        .engine = w->b, .access = w->access, .metrics = w->metrics};
    assert_int_equal(kafka_wire_new(&w->settings, &context, &w->wire, &err), BECK_OK);
    int fd = listen_on(&w->port);
    struct kafka_endpoint advertised = {"", w->port};
    assert_int_equal(
        kafka_wire_listener(w->wire, fd, "127.0.0.1:9092", NULL, &advertised, &listener, &err),
        BECK_OK);
    assert_int_equal(
        net_start(&(struct net_settings){.metrics = w->metrics}, &listener, 1, &w->net, &err),
        BECK_OK);
    *state = w;
    return 0;
}

static int open_world(void **state)
{
    return open_world_with(state, (struct kafka_wire_settings){0});
}

#define LARGE (3u << 20) /* a request for which there is memory once */

static int open_tight_world(void **state)
{
    return open_world_with(state, (struct kafka_wire_settings){.requests_max = 4 << 20});
}

static int open_lonely_world(void **state)
{
    return open_world_with(state, (struct kafka_wire_settings){.pool_threads = 1});
}

static int open_impatient_world(void **state)
{
    return open_world_with(
        state, (struct kafka_wire_settings){.requests_max = 4 << 20, .receive_timeout_ms = 30});
}

static int close_world(void **state)
{
    struct world *w = *state;
    net_stop(w->net);
    kafka_wire_free(w->wire);
    access_close(w->access);
    beck_close(w->b);
    metrics_free(w->metrics);
    mutex_release(&held.lock);
    cond_release(&held.changed);
    close(pattern_fd);
    block_release(in_block);
    free(w);
    return 0;
}

/* ---- a client ---- */

struct peer {
    int fd;
    uint8_t *frame; /* the last answer, behind its size */
    size_t len;
};

static void dial(struct world *w, struct peer *c)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(w->port)};
    *c = (struct peer){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_int_equal(connect(c->fd, (struct sockaddr *)&at, sizeof at), 0);
}

static void hang_up(struct peer *c)
{
    close(c->fd);
    free(c->frame);
}

static void send_bytes(struct peer *c, const void *data, size_t len)
{
    for (const uint8_t *at = data; len > 0;) {
        ssize_t n = send(c->fd, at, len, MSG_NOSIGNAL);
        assert_true(n > 0);
        at += n;
        len -= (size_t)n;
    }
}

static bool receive(struct peer *c, void *into, size_t len)
{
    for (uint8_t *at = into; len > 0;) {
        ssize_t n = recv(c->fd, at, len, 0);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static void put_request(struct buf *b, const struct kafka_table *t, int16_t version,
                        int32_t correlation, const void *message)
{
    static const char client[] = "tester";
    size_t start = b->len;
    uint8_t head[12] = {0};
    put_u16(head + 4, (uint16_t)t->id);
    put_u16(head + 6, (uint16_t)version);
    put_u32(head + 8, (uint32_t)correlation);
    buf_append(b, head, sizeof head);
    buf_append(b, "\0\6", 2);
    buf_append(b, client, 6);
    if (version >= t->flexible)
        buf_append(b, "\1\7\2xx", 5); /* a tag that nobody knows */
    assert_int_equal(kafka_encode_bytes(t, version, message, b), BECK_OK);
    put_u32(b->data + start, (uint32_t)(b->len - start - 4));
}

static void send_request(struct peer *c, const struct kafka_table *t, int16_t version,
                         int32_t correlation, const void *message)
{
    struct buf b;
    buf_init(&b, 16 << 20);
    put_request(&b, t, version, correlation, message);
    send_bytes(c, b.data, b.len);
    buf_release(&b);
}

/* The correlation id; -1: the connection ended. */
static int32_t hear(struct peer *c)
{
    uint8_t size[4];
    if (!receive(c, size, 4))
        return -1;
    free(c->frame);
    c->len = get_u32(size);
    c->frame = malloc(c->len);
    assert_true(receive(c, c->frame, c->len));
    return (int32_t)get_u32(c->frame);
}

static void read_answer(struct peer *c, const struct kafka_table *t, int16_t version,
                        struct kafka_arena *a, void *out)
{
    size_t head = version >= t->flexible && t->id != 18 ? 5 : 4, used;
    beck_error err;
    if (kafka_decode(t, version, bytes_of(c->frame + head, c->len - head), a, out, &used, &err))
        fail_msg("%s", err.text);
    assert_int_equal(used, c->len - head);
}

static void send_heartbeat(struct peer *c, int16_t version, int32_t correlation)
{
    struct kafka_heartbeat_request q = {.group_id = beck_str("g"), .member_id = beck_str("m")};
    send_request(c, kafka_heartbeat_request_table(), version, correlation, &q);
}

static void send_produce(struct peer *c, int16_t acks, int32_t correlation, size_t size)
{
    char *records = calloc(1, size);
    struct kafka_produce_request_partition p = {.records.bytes = bytes_of(records, size)};
    struct kafka_produce_request_topic topic = {.name = beck_str("t"),
                                                .partition_data = {.at = &p, .count = 1}};
    struct kafka_produce_request q = {.acks = acks, .topic_data = {.at = &topic, .count = 1}};
    send_request(c, kafka_produce_request_table(), 7, correlation, &q);
    free(records);
}

/* ---- the tests ---- */

static void test_api_versions_are_answered_in_every_version(void **state)
{
    struct peer c;
    struct kafka_arena a;
    kafka_arena_init(&a, 1 << 20);
    dial(*state, &c);
    for (int16_t version = 0; version <= 4; version++) {
        struct kafka_api_versions_request q = {.client_software_name = beck_str("a-client"),
                                               .client_software_version = beck_str("1.0")};
        struct kafka_api_versions_response r;
        send_request(&c, kafka_api_versions_request_table(), version, version, &q);
        assert_int_equal(hear(&c), version);
        read_answer(&c, kafka_api_versions_response_table(), version, &a, &r);
        assert_int_equal(r.error_code, 0);
        assert_int_equal(r.api_keys.count, kafka_api_count);
        assert_int_equal(r.api_keys.at[1].api_key, 1);
        assert_int_equal(r.api_keys.at[1].min_version, 4);
        assert_int_equal(r.api_keys.at[1].max_version, 18);
        if (version >= 3) {
            assert_true(r.finalized_features_epoch >= 0);
            for (size_t i = 0; i < r.supported_features.count; i++)
                assert_true(version >= 4 || r.supported_features.at[i].min_version > 0);
        }
    }
    kafka_arena_release(&a);
    hang_up(&c);
}

static void test_features_are_those_of_a_broker_and_at_level_0_are_not_finalized(void **state)
{
    static const struct {
        const char *name;
        int16_t least, most, level;
    } wanted[] = {{"eligible.leader.replicas.version", 0, 1, 1},
                  {"group.version", 0, 1, 1},
                  {"kraft.version", 0, 1, 0},
                  {"metadata.version", 7, 30, 30},
                  {"share.version", 0, 1, 1},
                  {"transaction.version", 0, 2, 2}};
    struct peer c;
    struct kafka_arena a;
    kafka_arena_init(&a, 1 << 20);
    dial(*state, &c);
    struct kafka_api_versions_request q = {.client_software_name = beck_str("a-client"),
                                           .client_software_version = beck_str("1.0")};
    struct kafka_api_versions_response r;
    send_request(&c, kafka_api_versions_request_table(), 4, 4, &q);
    assert_int_equal(hear(&c), 4);
    read_answer(&c, kafka_api_versions_response_table(), 4, &a, &r);
    assert_int_equal(r.supported_features.count, sizeof wanted / sizeof *wanted);
    size_t finalized = 0;
    for (size_t i = 0; i < r.supported_features.count; i++) {
        assert_true(bytes_equal_text(r.supported_features.at[i].name, wanted[i].name));
        assert_int_equal(r.supported_features.at[i].min_version, wanted[i].least);
        assert_int_equal(r.supported_features.at[i].max_version, wanted[i].most);
        if (!wanted[i].level)
            continue;
        assert_true(finalized < r.finalized_features.count);
        assert_true(bytes_equal_text(r.finalized_features.at[finalized].name, wanted[i].name));
        assert_int_equal(r.finalized_features.at[finalized].min_version_level, wanted[i].level);
        assert_int_equal(r.finalized_features.at[finalized++].max_version_level, wanted[i].level);
    }
    assert_int_equal(r.finalized_features.count, finalized);
    kafka_arena_release(&a);
    hang_up(&c);
}

static void test_api_versions_of_a_future_version_are_answered_as_version_0(void **state)
{
    static const char request[] = "\0\0\0\x0f\0\x12\0\x63\0\0\0\x2a\xff\xff\0\1\2\3\4";
    static const char answer[] = "\0\0\0\x2a\0\x23\0\0\0\1\0\x12\0\0\0\4";
    struct peer c;
    dial(*state, &c);
    send_bytes(&c, request, sizeof request - 1);
    assert_int_equal(hear(&c), 42);
    assert_int_equal(c.len, sizeof answer - 1);
    assert_memory_equal(c.frame, answer, c.len);
    hang_up(&c);
}

static void test_a_client_without_a_proper_name_is_told_so(void **state)
{
    struct peer c;
    struct kafka_arena a;
    struct kafka_api_versions_request q = {.client_software_name = beck_str("-bad"),
                                           .client_software_version = beck_str("1.0")};
    struct kafka_api_versions_response r;
    kafka_arena_init(&a, 1 << 20);
    dial(*state, &c);
    send_request(&c, kafka_api_versions_request_table(), 3, 1, &q);
    hear(&c);
    read_answer(&c, kafka_api_versions_response_table(), 3, &a, &r);
    assert_int_equal(r.error_code, KAFKA_INVALID_REQUEST);
    kafka_arena_release(&a);
    hang_up(&c);
}

static void test_answers_leave_in_the_order_of_their_requests(void **state)
{
    struct peer c;
    dial(*state, &c);
    for (int i = 0; i < 10; i++)
        send_produce(&c, 1, i, 100);
    for (size_t i = 10; i-- > 0;)
        answer_produce(take_held(i));
    for (int i = 0; i < 10; i++)
        assert_int_equal(hear(&c), i);
    hang_up(&c);
}

static void test_a_request_starts_when_the_one_before_is_answered(void **state)
{
    struct peer c;
    dial(*state, &c);
    send_heartbeat(&c, 4, 1);
    send_heartbeat(&c, 0, 2);
    struct kafka_request *r = take_held(0);
    mutex_lock(&held.lock);
    assert_int_equal(held.count, 1);
    mutex_unlock(&held.lock);
    answer_heartbeat(r, 0);
    assert_int_equal(hear(&c), 1);
    assert_int_equal(c.len, 4 + 1 + 4 + 2 + 1);
    answer_heartbeat(take_held(1), 27);
    assert_int_equal(hear(&c), 2);
    assert_int_equal(c.len, 4 + 2);
    assert_int_equal(get_u16(c.frame + 4), 27);
    hang_up(&c);
}

static void test_nothing_answers_acks_0(void **state)
{
    struct peer c;
    dial(*state, &c);
    send_produce(&c, 0, 1, 10);
    send_produce(&c, 1, 2, 10);
    send_produce(&c, 0, 3, 10);
    send_produce(&c, 1, 4, 10);
    answer_produce(take_held(1));
    answer_produce(take_held(0));
    assert_int_equal(hear(&c), 2);
    assert_int_equal(hear(&c), 4);
    assert_int_equal(held.in_place_bytes, 40);
    hang_up(&c);
}

static void test_the_pool_answers_and_clients_are_told_how_they_came(void **state)
{
    struct peer c;
    struct kafka_arena a;
    struct world *w = *state;
    kafka_arena_init(&a, 1 << 20);
    dial(w, &c);
    for (int16_t version = 0; version <= 3; version++) {
        struct kafka_find_coordinator_request q = {.key = beck_str("g")};
        struct kafka_find_coordinator_response r;
        send_request(&c, kafka_find_coordinator_request_table(), version, version, &q);
        assert_int_equal(hear(&c), version);
        read_answer(&c, kafka_find_coordinator_response_table(), version, &a, &r);
        assert_true(bytes_equal_text(r.host, "127.0.0.1"));
        assert_int_equal(r.port, w->port);
    }
    kafka_arena_release(&a);
    hang_up(&c);
}

static void test_a_long_request_gives_way_on_the_pool(void **state)
{
    struct kafka_find_coordinator_request q = {.key = beck_str("until others wait")};
    struct peer c, other;
    dial(*state, &c);
    dial(*state, &other);
    send_request(&c, kafka_find_coordinator_request_table(), 0, 1, &q);
    take_held(0);
    q.key = beck_str("g");
    send_request(&other, kafka_find_coordinator_request_table(), 0, 2, &q);
    assert_int_equal(hear(&other), 2);
    assert_int_equal(hear(&c), 1);
    hang_up(&c);
    hang_up(&other);
}

static void check_fetched(struct peer *c, size_t size)
{
    struct kafka_arena a;
    struct kafka_fetch_response r;
    kafka_arena_init(&a, 1 << 20);
    read_answer(c, kafka_fetch_response_table(), 12, &a, &r);
    const struct kafka_fetch_response_partition *p = r.responses.at[0].partitions.at;
    assert_int_equal(p[0].records.bytes.len, size);
    const char *at = p[0].records.bytes.data;
    for (size_t i = 0; i < size; i++)
        if (at[i] != (char)('0' + (i + 5) % 10))
            fail_msg("byte %zu is wrong", i);
    assert_int_equal(p[1].records.bytes.len, sizeof in_memory);
    assert_memory_equal(p[1].records.bytes.data, in_memory, sizeof in_memory);
    assert_int_equal(p[2].records.bytes.len, 1000);
    assert_memory_equal(p[2].records.bytes.data, in_block->data, 1000);
    assert_true(bytes_equal_text(p[3].records.bytes, "copied"));
    kafka_arena_release(&a);
}

static void test_files_and_memory_are_part_of_answers(void **state)
{
    static const int32_t sizes[] = {1, 70000, 2900000};
    struct peer c;
    struct kafka_fetch_request q;
    kafka_fetch_request_init(&q);
    dial(*state, &c);
    for (int i = 0; i < 3; i++) {
        q.max_bytes = sizes[i];
        send_request(&c, kafka_fetch_request_table(), 12, i, &q);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(hear(&c), i);
        check_fetched(&c, (size_t)sizes[i]);
    }
    mutex_lock(&held.lock);
    while (held.released < 6)
        cond_wait(&held.changed, &held.lock);
    mutex_unlock(&held.lock);
    hang_up(&c);
}

static void test_what_nobody_reads_is_released_when_the_client_goes(void **state)
{
    struct peer c;
    struct kafka_fetch_request q;
    kafka_fetch_request_init(&q);
    q.max_bytes = 2900000;
    dial(*state, &c);
    for (int i = 0; i < 3; i++)
        send_request(&c, kafka_fetch_request_table(), 12, i, &q);
    uint8_t some[1000];
    assert_true(receive(&c, some, sizeof some));
    hang_up(&c);
    mutex_lock(&held.lock);
    while (held.released == 0 || held.released % 2)
        cond_wait(&held.changed, &held.lock);
    mutex_unlock(&held.lock);
}

static void test_who_waits_hears_that_the_client_is_gone(void **state)
{
    struct peer c;
    dial(*state, &c);
    send_heartbeat(&c, 0, 1);
    mutex_lock(&held.lock);
    while (held.count < 1)
        cond_wait(&held.changed, &held.lock);
    mutex_unlock(&held.lock);
    hang_up(&c);
    mutex_lock(&held.lock);
    while (held.closed < 1)
        cond_wait(&held.changed, &held.lock);
    mutex_unlock(&held.lock);
}

static void test_a_server_that_stops_answers_what_waits(void **state)
{
    struct world *w = *state;
    struct peer c, idle;
    dial(w, &c);
    dial(w, &idle);
    send_heartbeat(&c, 0, 1);
    mutex_lock(&held.lock);
    while (held.count < 1)
        cond_wait(&held.changed, &held.lock);
    mutex_unlock(&held.lock);
    net_drain(w->net, 0);
    assert_int_equal(hear(&c), 1);
    assert_int_equal(get_u16(c.frame + 4), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(hear(&c), -1);
    assert_int_equal(hear(&idle), -1);
    hang_up(&c);
    hang_up(&idle);
}

static void test_a_request_comes_in_pieces(void **state)
{
    struct peer c;
    struct buf b;
    struct kafka_heartbeat_request q = {.group_id = beck_str("g"), .member_id = beck_str("m")};
    buf_init(&b, 1 << 20);
    put_request(&b, kafka_heartbeat_request_table(), 4, 9, &q);
    dial(*state, &c);
    for (size_t i = 0; i < b.len; i++)
        send_bytes(&c, b.data + i, 1);
    answer_heartbeat(take_held(0), 0);
    assert_int_equal(hear(&c), 9);
    buf_release(&b);
    hang_up(&c);
}

static void test_a_large_request_is_taken_whole(void **state)
{
    struct peer c;
    dial(*state, &c);
    send_produce(&c, 1, 1, 3 << 20);
    send_produce(&c, 1, 2, 3 << 20);
    answer_produce(take_held(0));
    answer_produce(take_held(1));
    assert_int_equal(hear(&c), 1);
    assert_int_equal(hear(&c), 2);
    assert_int_equal(held.in_place_bytes, 6 << 20);
    hang_up(&c);
}

static void test_what_is_no_request_ends_the_connection(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } wrong[] = {
#define WRONG(text) {text, sizeof(text) - 1}
        WRONG("GET / HTTP/1.1\r\n\r\n"),
        WRONG("\x7f\xff\xff\xff"),
        WRONG("\xff\xff\xff\xff"),
        WRONG("\0\0\0\0"),
        WRONG("\0\0\0\7\0\x12\0\0\0\0\0"),
        WRONG("\0\0\0\x0a\1\0\0\0\0\0\0\1\xff\xff"),       /* no such key */
        WRONG("\0\0\0\x0a\0\x0c\0\7\0\0\0\1\xff\xff"),     /* no such version */
        WRONG("\0\0\0\x0a\0\x0c\0\0\0\0\0\1\xff\xff"),     /* no body */
        WRONG("\0\0\0\x0a\0\x0c\0\0\0\0\0\1\xff\xfe"),     /* a client's name of -2 bytes */
        WRONG("\0\0\0\x0a\0\x0c\0\4\0\0\0\1\xff\xff"),     /* no tags */
        WRONG("\0\0\0\x0c\0\x0c\0\4\0\0\0\1\xff\xff\1\5"), /* no end of tags */
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct peer c;
        dial(*state, &c);
        send_bytes(&c, wrong[i].bytes, wrong[i].len);
        assert_int_equal(hear(&c), -1);
        hang_up(&c);
    }
}

static void test_a_connection_with_too_much_waiting_is_not_read(void **state)
{
    struct peer c;
    dial(*state, &c);
    for (int i = 0; i < WAITING_MAX + 50; i++)
        send_produce(&c, 1, i, 10);
    struct kafka_request *last = take_held(WAITING_MAX - 1);
    mutex_lock(&held.lock);
    assert_int_equal(held.count, WAITING_MAX);
    mutex_unlock(&held.lock);
    for (size_t i = 0; i < WAITING_MAX - 1; i++)
        answer_produce(take_held(i));
    answer_produce(last);
    for (size_t i = WAITING_MAX; i < WAITING_MAX + 50; i++)
        answer_produce(take_held(i));
    for (int i = 0; i < WAITING_MAX + 50; i++)
        assert_int_equal(hear(&c), i);
    hang_up(&c);
}

static void test_a_stranger_is_not_served_once_there_are_users(void **state)
{
    struct world *w = *state;
    struct peer c;
    dial(w, &c);
    send_heartbeat(&c, 0, 1);
    answer_heartbeat(take_held(0), 0);
    assert_int_equal(hear(&c), 1);
    assert_int_equal(access_put_user(w->access, "ann", beck_str("secret"), NULL, 0, NULL), BECK_OK);
    send_heartbeat(&c, 0, 2);
    assert_int_equal(hear(&c), -1);
    hang_up(&c);
    dial(w, &c);
    struct kafka_api_versions_request q = {0};
    send_request(&c, kafka_api_versions_request_table(), 0, 3, &q);
    assert_int_equal(hear(&c), 3);
    send_heartbeat(&c, 0, 4);
    assert_int_equal(hear(&c), -1);
    hang_up(&c);
}

/* ---- memory ---- */

/* Says what it waits for, and what is behind that is not looked at. */
static void send_large_heartbeat(struct peer *c, int32_t correlation)
{
    struct kafka_heartbeat_request q = {.group_id = beck_str("g"), .member_id = beck_str("m")};
    struct buf b;
    buf_init(&b, 16 << 20);
    put_request(&b, kafka_heartbeat_request_table(), 4, correlation, &q);
    assert_int_equal(buf_reserve(&b, LARGE), BECK_OK);
    memset(b.data + b.len, 0, LARGE);
    b.len += LARGE;
    put_u32(b.data, (uint32_t)(b.len - 4));
    send_bytes(c, b.data, b.len);
    buf_release(&b);
}

/* A peer with a large Produce. */
struct sender {
    struct peer c;
    struct buf request;
};

/* Its first bytes. */
static void send_beginning(struct world *w, struct sender *s, int32_t correlation)
{
    char *records = calloc(1, LARGE);
    struct kafka_produce_request_partition p = {.records.bytes = bytes_of(records, LARGE)};
    struct kafka_produce_request_topic topic = {.name = beck_str("t"),
                                                .partition_data = {.at = &p, .count = 1}};
    struct kafka_produce_request q = {.acks = 1, .topic_data = {.at = &topic, .count = 1}};
    dial(w, &s->c);
    buf_init(&s->request, 16 << 20);
    put_request(&s->request, kafka_produce_request_table(), 7, correlation, &q);
    send_bytes(&s->c, s->request.data, 1000);
    free(records);
}

/* The same, until memory is taken for it, or it waits with so many others. */
static void begin_large(struct world *w, struct sender *s, int32_t correlation, uint32_t waiting)
{
    const struct memory_share *share = &w->wire->memory.shares[MEMORY_LARGE];
    send_beginning(w, s, correlation);
    while (atomic_load(&share->bytes) == 0 || atomic_load(&share->waiting) != waiting)
        sched_yield();
}

static void end_large(struct sender *s)
{
    send_bytes(&s->c, s->request.data + 1000, s->request.len - 1000);
}

static void sender_release(struct sender *s)
{
    hang_up(&s->c);
    buf_release(&s->request);
}

/* The first is answered when the second comes, the second when the third does. */
static void test_who_waits_with_a_large_request_makes_room(void **state)
{
    struct peer c[3], small;
    for (int i = 0; i < 3; i++) {
        dial(*state, &c[i]);
        send_large_heartbeat(&c[i], i);
        mutex_lock(&held.lock);
        while (held.count <= (size_t)i)
            cond_wait(&held.changed, &held.lock);
        mutex_unlock(&held.lock);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(hear(&c[i]), i);
    dial(*state, &small);
    send_heartbeat(&small, 4, 3);
    answer_heartbeat(take_held(3), 0);
    assert_int_equal(hear(&small), 3);
    answer_heartbeat(take_held(2), 0);
    assert_int_equal(hear(&c[2]), 2);
    for (int i = 0; i < 3; i++)
        hang_up(&c[i]);
    hang_up(&small);
}

static void test_small_requests_do_not_wait_for_large_ones(void **state)
{
    struct world *w = *state;
    struct sender s[3];
    struct peer small;
    for (int i = 0; i < 3; i++)
        begin_large(w, &s[i], i, (uint32_t)i);
    dial(w, &small);
    send_produce(&small, 1, 3, 1 << 19);
    answer_produce(take_held(0));
    assert_int_equal(hear(&small), 3);
    send_heartbeat(&small, 4, 4);
    answer_heartbeat(take_held(1), 0);
    assert_int_equal(hear(&small), 4);
    for (int i = 0; i < 3; i++) { /* in order of arrival */
        end_large(&s[i]);
        answer_produce(take_held(2 + (size_t)i));
        assert_int_equal(hear(&s[i].c), i);
        sender_release(&s[i]);
    }
    hang_up(&small);
}

static void test_whoever_hangs_up_waits_for_no_memory(void **state)
{
    struct world *w = *state;
    struct sender s[3];
    for (int i = 0; i < 3; i++)
        begin_large(w, &s[i], i, (uint32_t)i);
    sender_release(&s[1]);
    end_large(&s[0]);
    answer_produce(take_held(0));
    assert_int_equal(hear(&s[0].c), 0);
    end_large(&s[2]);
    answer_produce(take_held(1));
    assert_int_equal(hear(&s[2].c), 2);
    sender_release(&s[0]);
    sender_release(&s[2]);
    while (atomic_load(&w->wire->memory.shares[MEMORY_LARGE].bytes) > 0)
        sched_yield();
}

static void test_a_large_request_that_does_not_come_makes_room(void **state)
{
    struct world *w = *state;
    struct sender slow, s;
    begin_large(w, &slow, 0, 0);
    send_beginning(w, &s, 1); /* how long it waits is not for this thread to see */
    assert_int_equal(hear(&slow.c), -1);
    end_large(&s);
    answer_produce(take_held(0));
    assert_int_equal(hear(&s.c), 1);
    sender_release(&slow);
    sender_release(&s);
}

static void test_a_small_request_that_does_not_come_whole_ends_its_connection(void **state)
{
    struct peer c;
    uint8_t byte;
    dial(*state, &c);
    send_bytes(&c, "\0\0\x10\0and then nothing", 20);
    assert_false(receive(&c, &byte, 1));
    hang_up(&c);
}

static void test_an_answer_that_is_not_read_makes_room(void **state)
{
    struct world *w = *state;
    struct peer greedy, c;
    struct kafka_fetch_request q;
    kafka_fetch_request_init(&q);
    q.max_bytes = 2900000;
    q.min_bytes = 2 << 20; /* more than there is for small requests */
    dial(w, &greedy);
    for (int i = 0; i < 3; i++)
        send_request(&greedy, kafka_fetch_request_table(), 12, i, &q);
    uint8_t some[1000];
    assert_true(receive(&greedy, some, sizeof some));
    dial(w, &c);
    send_heartbeat(&c, 4, 1);
    answer_heartbeat(take_held(0), 0);
    assert_int_equal(hear(&c), 1);
    hang_up(&greedy);
    hang_up(&c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)
#define TIGHT_TEST(name) cmocka_unit_test_setup_teardown(name, open_tight_world, close_world)
#define IMPATIENT_TEST(name)                                                                       \
    cmocka_unit_test_setup_teardown(name, open_impatient_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_api_versions_are_answered_in_every_version),
        TEST(test_features_are_those_of_a_broker_and_at_level_0_are_not_finalized),
        TEST(test_api_versions_of_a_future_version_are_answered_as_version_0),
        TEST(test_a_client_without_a_proper_name_is_told_so),
        TEST(test_answers_leave_in_the_order_of_their_requests),
        TEST(test_a_request_starts_when_the_one_before_is_answered),
        TEST(test_nothing_answers_acks_0),
        TEST(test_the_pool_answers_and_clients_are_told_how_they_came),
        TEST(test_files_and_memory_are_part_of_answers),
        TEST(test_what_nobody_reads_is_released_when_the_client_goes),
        TEST(test_who_waits_hears_that_the_client_is_gone),
        TEST(test_a_server_that_stops_answers_what_waits),
        TEST(test_a_request_comes_in_pieces),
        TEST(test_a_large_request_is_taken_whole),
        TEST(test_what_is_no_request_ends_the_connection),
        TEST(test_a_connection_with_too_much_waiting_is_not_read),
        TEST(test_a_stranger_is_not_served_once_there_are_users),
        cmocka_unit_test_setup_teardown(test_a_long_request_gives_way_on_the_pool,
                                        open_lonely_world, close_world),
        TIGHT_TEST(test_who_waits_with_a_large_request_makes_room),
        TIGHT_TEST(test_small_requests_do_not_wait_for_large_ones),
        TIGHT_TEST(test_whoever_hangs_up_waits_for_no_memory),
        IMPATIENT_TEST(test_a_large_request_that_does_not_come_makes_room),
        IMPATIENT_TEST(test_a_small_request_that_does_not_come_whole_ends_its_connection),
        IMPATIENT_TEST(test_an_answer_that_is_not_read_makes_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
