/*
 * A load of Kafka clients for bench_kafka.py, where librdkafka's own rdkafka_performance has no such mode. Links Debian's librdkafka.
 *
 * usage: kafka_load topic BROKER NAME PARTITIONS [CONFIG VALUE]...
 *        kafka_load alone BROKER TOPIC PRODUCERS COUNT    each producer waits for its record before it sends the next
 *        kafka_load latency BROKER TOPIC RATE COUNT       from a producer's call until a consumer has it
 *        kafka_load relay RATE COUNT                      the same way without Kafka, see there
 *
 * Prints one JSON object.
 */
#include <librdkafka/rdkafka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 60000, SIZE = 100, TEXT_MAX = 512 };

static void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t number_of(const char *text)
{
    char *end = NULL;
    uint64_t number = strtoull(text, &end, 10);
    if (end == text || *end) {
        fail("'%s' is no number", text);
    }
    return number;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char text[TEXT_MAX];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof text) != RD_KAFKA_CONF_OK) {
        fail("%s", text);
    }
}

static rd_kafka_t *client(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
    char text[TEXT_MAX];
    rd_kafka_t *rk = rd_kafka_new(type, conf, text, sizeof text);
    if (!rk) {
        fail("%s", text);
    }
    return rk;
}

static rd_kafka_conf_t *conf_for(const char *broker)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", broker);
    return conf;
}

/* --- topic: made, and there */

static int make_topic(const char *broker, char **args, int count)
{
    char text[TEXT_MAX];
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, conf_for(broker));
    rd_kafka_NewTopic_t *topic =
        rd_kafka_NewTopic_new(args[0], (int)number_of(args[1]), 1, text, sizeof text);
    if (!topic) {
        fail("%s", text);
    }
    for (int i = 2; i + 1 < count; i += 2) {
        rd_kafka_NewTopic_set_config(topic, args[i], args[i + 1]);
    }
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_AdminOptions_set_operation_timeout(options, 10 * WAIT_MS, text, sizeof text);
    rd_kafka_AdminOptions_set_request_timeout(options, 10 * WAIT_MS, text, sizeof text);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    int64_t begin = now_ns();
    rd_kafka_CreateTopics(rk, &topic, 1, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 10 * WAIT_MS);
    const rd_kafka_CreateTopics_result_t *result =
        event ? rd_kafka_event_CreateTopics_result(event) : NULL;
    size_t n = 0;
    const rd_kafka_topic_result_t **topics =
        result ? rd_kafka_CreateTopics_result_topics(result, &n) : NULL;
    if (n != 1 || rd_kafka_topic_result_error(topics[0])) {
        fail("'%s' is not made: %s", args[0],
             n == 1 ? rd_kafka_topic_result_error_string(topics[0]) : "no answer");
    }
    printf("{\"ms\": %.3f}\n", (double)(now_ns() - begin) / 1e6);
    rd_kafka_event_destroy(event);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_NewTopic_destroy(topic);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
    return 0;
}

/* --- alone: a record at a time */

struct lone {
    const char *broker, *topic;
    uint64_t count;
    pthread_barrier_t *begin;
    pthread_t thread;
};

static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    (void)rk;
    (void)opaque;
    if (message->err) {
        fail("a record is lost: %s", rd_kafka_err2str(message->err));
    }
    *(bool *)message->_private = true;
}

static void produce(rd_kafka_t *rk, const char *topic, const void *data, size_t size, void *opaque)
{
    rd_kafka_resp_err_t error = rd_kafka_producev(
        rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)data, size), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_OPAQUE(opaque), RD_KAFKA_V_END);
    if (error) {
        fail("%s", rd_kafka_err2str(error));
    }
}

static void produce_and_wait(rd_kafka_t *rk, const char *topic)
{
    char value[SIZE];
    memset(value, 'x', sizeof value);
    bool done = false;
    produce(rk, topic, value, sizeof value, &done);
    while (!done) {
        rd_kafka_poll(rk, WAIT_MS);
    }
}

static void *produce_alone(void *arg)
{
    struct lone *l = arg;
    rd_kafka_conf_t *conf = conf_for(l->broker);
    set(conf, "acks", "all");
    set(conf, "linger.ms", "0");
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, conf);
    produce_and_wait(rk, l->topic); /* it is connected and knows the topic */
    pthread_barrier_wait(l->begin);
    for (uint64_t i = 0; i < l->count; i++) {
        produce_and_wait(rk, l->topic);
    }
    pthread_barrier_wait(l->begin);
    rd_kafka_destroy(rk);
    return NULL;
}

static int alone(const char *broker, const char *topic, unsigned producers, uint64_t count)
{
    struct lone *all = calloc(producers, sizeof *all);
    pthread_barrier_t begin;
    pthread_barrier_init(&begin, NULL, producers + 1);
    for (unsigned i = 0; i < producers; i++) {
        all[i] = (struct lone){
            .broker = broker, .topic = topic, .count = count / producers, .begin = &begin};
        pthread_create(&all[i].thread, NULL, produce_alone, &all[i]);
    }
    pthread_barrier_wait(&begin);
    int64_t start = now_ns();
    pthread_barrier_wait(&begin);
    double seconds = (double)(now_ns() - start) / 1e9;
    printf("{\"rate\": %.1f}\n", (double)(count / producers * producers) / seconds);
    for (unsigned i = 0; i < producers; i++) {
        pthread_join(all[i].thread, NULL);
    }
    pthread_barrier_destroy(&begin);
    free(all);
    return 0;
}

/* --- latency: the record carries when it was sent */

struct flow {
    const char *broker, *topic;
    uint64_t count;
    double *us;
    atomic_bool ready;
};

static void *receive(void *arg)
{
    struct flow *f = arg;
    rd_kafka_conf_t *conf = conf_for(f->broker);
    set(conf, "group.id", "latency");
    set(conf, "enable.auto.commit", "false");
    set(conf, "auto.offset.reset", "earliest");
    set(conf, "fetch.wait.max.ms", "500");
    rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, conf);
    rd_kafka_poll_set_consumer(rk);
    rd_kafka_topic_partition_list_t *places = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(places, f->topic, 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(rk, places);
    rd_kafka_topic_partition_list_destroy(places);
    for (uint64_t got = 0; got < f->count;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(rk, WAIT_MS);
        if (!message) {
            fail("nothing comes");
        }
        int64_t sent = 0;
        if (!message->err && message->len == SIZE) {
            memcpy(&sent, message->payload, sizeof sent);
            if (sent) {
                f->us[got++] = (double)(now_ns() - sent) / 1e3;
            }
            atomic_store(&f->ready,
                         true); /* the first, which carries no time, says that all is connected */
        }
        rd_kafka_message_destroy(message);
    }
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void wait_until(int64_t when)
{
    struct timespec t = {when / 1000000000, when % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static void print_latency(double *us, uint64_t count)
{
    qsort(us, count, sizeof *us, by_value);
    printf("{\"p50_us\": %.1f, \"p99_us\": %.1f}\n", us[count / 2], us[count * 99 / 100]);
}

static int latency(const char *broker, const char *topic, uint64_t rate, uint64_t count)
{
    struct flow f = {
        .broker = broker, .topic = topic, .count = count, .us = calloc(count, sizeof(double))};
    rd_kafka_conf_t *conf = conf_for(broker);
    set(conf, "acks", "1");
    set(conf, "linger.ms", "0");
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, conf);
    pthread_t consumer;
    pthread_create(&consumer, NULL, receive, &f);
    char value[SIZE] = {0};
    produce(rk, topic, value, sizeof value, NULL);
    while (!atomic_load(&f.ready)) {
        rd_kafka_poll(rk, 1);
    }
    int64_t begin = now_ns(), step = 1000000000 / (int64_t)rate;
    for (uint64_t i = 0; i < count; i++) {
        wait_until(begin + (int64_t)i * step);
        int64_t sent = now_ns();
        memcpy(value, &sent, sizeof sent);
        produce(rk, topic, value, sizeof value, NULL);
        rd_kafka_poll(rk, 0);
    }
    pthread_join(consumer, NULL);
    print_latency(f.us, count);
    free(f.us);
    rd_kafka_flush(rk, WAIT_MS);
    rd_kafka_destroy(rk);
    return 0;
}

/*
 * --- relay: what the machine takes for the way alone
 *
 * A record goes through as many threads as with librdkafka: the caller's wakes one that sends, a process of its own passes on, a thread that
 * receives wakes the one that reads.
 */

struct relay {
    int wakes[2], out, in;
    uint64_t count, received; /* the latter with lock */
    _Atomic(uint64_t) sent;
    int64_t *when;
    double *us;
    pthread_mutex_t lock;
    pthread_cond_t came;
};

static void must(bool good, const char *what)
{
    if (!good) {
        fail("relay: %s fails", what);
    }
}

static void *relay_send(void *arg)
{
    struct relay *r = arg;
    char value[SIZE] = {0}, woken[TEXT_MAX];
    for (uint64_t sent = 0; sent < r->count;) {
        must(read(r->wakes[0], woken, sizeof woken) > 0, "read");
        for (; sent < atomic_load(&r->sent); sent++) {
            must(send(r->out, value, sizeof value, MSG_NOSIGNAL) == sizeof value, "send");
        }
    }
    return NULL;
}

static void *relay_receive(void *arg)
{
    struct relay *r = arg;
    char values[SIZE * 64];
    for (uint64_t bytes = 0; bytes < r->count * SIZE;) {
        ssize_t n = recv(r->in, values, sizeof values, 0);
        must(n > 0, "recv");
        bytes += (uint64_t)n;
        pthread_mutex_lock(&r->lock);
        r->received = bytes / SIZE;
        pthread_cond_signal(&r->came);
        pthread_mutex_unlock(&r->lock);
    }
    return NULL;
}

static void *relay_read(void *arg)
{
    struct relay *r = arg;
    for (uint64_t got = 0; got < r->count; got++) {
        pthread_mutex_lock(&r->lock);
        while (r->received <= got) {
            pthread_cond_wait(&r->came, &r->lock);
        }
        pthread_mutex_unlock(&r->lock);
        r->us[got] = (double)(now_ns() - r->when[got]) / 1e3;
    }
    return NULL;
}

static void pass_on(int from, int to)
{
    char bytes[SIZE * 64];
    int epoll = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN};
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, from, &e) == 0, "epoll_ctl");
    for (ssize_t n = 1; n > 0;) {
        epoll_wait(epoll, &e, 1, -1);
        n = recv(from, bytes, sizeof bytes, 0);
        must(n <= 0 || send(to, bytes, (size_t)n, MSG_NOSIGNAL) == n, "send");
    }
    _exit(0);
}

/* Two ends of a connection over the loopback. */
static void connect_both(int ends[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    must(bind(listener, (struct sockaddr *)&at, size) == 0 && listen(listener, 1) == 0, "listen");
    getsockname(listener, (struct sockaddr *)&at, &size);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    must(connect(ends[0], (struct sockaddr *)&at, size) == 0, "connect");
    ends[1] = accept(listener, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    close(listener);
}

static int relay(uint64_t rate, uint64_t count)
{
    struct relay r = {.count = count,
                      .when = calloc(count, sizeof *r.when),
                      .us = calloc(count, sizeof *r.us),
                      .lock = PTHREAD_MUTEX_INITIALIZER,
                      .came = PTHREAD_COND_INITIALIZER};
    int there[2], back[2];
    void *(*const parts[])(void *) = {relay_send, relay_receive, relay_read};
    pthread_t threads[3];
    connect_both(there);
    connect_both(back);
    pid_t process = fork();
    if (process == 0) {
        close(there[0]);
        pass_on(there[1], back[0]);
    }
    r.out = there[0];
    r.in = back[1];
    must(pipe(r.wakes) == 0, "pipe");
    for (int i = 0; i < 3; i++) {
        pthread_create(&threads[i], NULL, parts[i], &r);
    }
    int64_t begin = now_ns(), step = 1000000000 / (int64_t)rate;
    for (uint64_t i = 0; i < count; i++) {
        wait_until(begin + (int64_t)i * step);
        r.when[i] = now_ns();
        atomic_store(&r.sent, i + 1);
        must(write(r.wakes[1], "", 1) == 1, "write");
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    print_latency(r.us, count);
    shutdown(r.out, SHUT_RDWR);
    waitpid(process, NULL, 0);
    return 0;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 3 ? argv[1] : "";
    if (strcmp(mode, "topic") == 0 && argc > 4) {
        return make_topic(argv[2], argv + 3, argc - 3);
    }
    if (strcmp(mode, "alone") == 0 && argc == 6) {
        return alone(argv[2], argv[3], (unsigned)number_of(argv[4]), number_of(argv[5]));
    }
    if (strcmp(mode, "latency") == 0 && argc == 6) {
        return latency(argv[2], argv[3], number_of(argv[4]), number_of(argv[5]));
    }
    if (strcmp(mode, "relay") == 0 && argc == 4) {
        return relay(number_of(argv[2]), number_of(argv[3]));
    }
    fail("usage: see the head of kafka_load.c");
}
