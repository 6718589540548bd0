/*
 * The server's settings: what they are, and the one table of them.
 *
 * SERVER_SETTINGS is that table. From its rows come the reader of the configuration file, the names
 * of environment variables (http.listen: BECK_HTTP_LISTEN), the flags of `beck serve`, its help and
 * the manual. The named sections (buses.NAME ...) have tables of their own and are for the file.
 */
#ifndef BECK_SERVER_SETTINGS_H
#define BECK_SERVER_SETTINGS_H

#include "hook/hook.h"
#include "process/runner.h"
#include "server/setting.h"
#include "wire/amqp/amqp.h"
#include "wire/kafka/kafka_wire.h"
#include "wire/http/http.h"

/* ---- named sections ---- */

struct bus_setting {
    struct record record;
    beck_bus_options options;
};

struct binding_setting {
    struct record record;
    const char *bus, *pattern;
    beck_from from;
};

/* The program that works a queue: none without `program`. As struct runner_options. */
struct run_setting {
    struct texts program, environment;
    uint32_t workers;
    bool persistent;
    uint32_t retry_exit;
    int failure; /* beck_verdict */
    const char *user, *group, *directory;
    int64_t memory_max, cpu_max_ms, files_max, processes_max;
};

struct queue_setting {
    struct record record;
    beck_queue_options options;
    struct records bindings; /* struct binding_setting */
    struct run_setting run;
    bool made; /* it was not there, or not any more, and has been made from this */
};

struct hook_setting {
    struct record record;
    struct hook_source source;
    struct texts secrets, allow_origins, topics;
};

struct rule_setting {
    struct record record;
    const char *bus, *queue;
    bool server;
    struct texts rights;
};

struct user_setting {
    struct record record;
    const char *password;
    struct records rules; /* struct rule_setting */
};

/* A kind of named section. The table of them ends with a NULL name. */
struct setting_group {
    const char *name;
    uint32_t offset; /* of a struct records in struct settings */
    const struct setting_table *table;
    const char *help; /* a sentence or two, for the manual */
};

extern const struct setting_group setting_groups[];
const struct setting_table *setting_group_table(const char *name); /* that there is */

/* ---- everything ---- */

struct settings {
    const char *data;
    uint32_t sync_interval_ms, checkpoint_ms, retention_check_ms, trace_interval_ms;
    int64_t trace_bytes;
    uint32_t drain_timeout_ms;
    struct texts http_listen, http_tls_listen;
    bool http_socket, http_access_log;
    struct http_settings http;
    struct texts amqp_listen, amqp_tls_listen;
    const char *amqp_tls_certificate, *amqp_tls_key;
    uint32_t amqp_threads, amqp_connections_max, amqp_connections_per_address_max;
    uint32_t amqp_heartbeat_ms, amqp_consumer_timeout_ms; /* 0: none */
    struct amqp_settings amqp;
    struct broker_settings broker;
    struct texts management_listen, management_tls_listen;
    struct texts kafka_listen, kafka_tls_listen, kafka_advertised;
    const char *kafka_tls_certificate, *kafka_tls_key;
    uint32_t kafka_threads, kafka_connections_max, kafka_connections_per_address_max, kafka_node_id;
    uint32_t kafka_rebalance_delay_ms;
    int kafka_acks_one, kafka_acks_all; /* BECK_LEVEL_WRITTEN + this */
    struct kafka_settings kafka;
    struct kafka_wire_settings kafka_wire;
    int log_level, log_format; /* enum log_level, enum log_format */
    const char *log_file;      /* "": standard error */
    struct access_settings access;
    struct records buses, queues, hooks, users;

    struct setting_source *sources; /* one a row of settings_rows */
    struct arena arena;             /* holds the above */
};

/* Where the value of a row of settings_rows came from. */
struct setting_source {
    enum setting_origin { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_ENVIRONMENT, ORIGIN_FLAG } origin;
    const char *name; /* "beck.yaml:3:9", "BECK_HTTP_LISTEN", "--http.listen"; NULL: default */
};

/* The fixed rows, `data` first; the table ends with a NULL name. */
extern const struct setting settings_rows[];
extern const size_t settings_row_count;
struct setting_source *settings_source(const struct settings *s, const char *name);

extern const char *const setting_log_levels[], *const setting_log_formats[],
                                                   *const setting_booleans[], *const setting_acks[];

/* ROW(name, KIND, member, min, max, default, value's name, choices, reloadable, help). `data` stands
 * in settings.c: the command line has it for every command. */
/* clang-format off */
#define SERVER_SETTINGS(ROW) \
    ROW("sync_interval", DURATION, sync_interval_ms, 0, 3600000, "0", NULL, NULL, false, \
        "0: a publish at level synced waits for its sync; else syncs run this often and nobody waits") \
    ROW("checkpoint", DURATION, checkpoint_ms, 100, 3600000, "5s", NULL, NULL, false, \
        "how often recovery points are written") \
    ROW("retention_check", DURATION, retention_check_ms, 1000, 86400000, "10s", NULL, NULL, false, \
        "how often retention and compaction look at what is to go (Kafka: log.retention.check.interval.ms, 5 min)") \
    ROW("trace.interval", DURATION, trace_interval_ms, 0, 86400000, "5s", NULL, NULL, false, \
        "how often the index of traces is brought up to date; 0: when a trace is asked for") \
    ROW("trace.size", SIZE, trace_bytes, 0, 0, "64m", NULL, NULL, false, \
        "how much of what happened to deliveries is kept for traces") \
    ROW("http.listen", LIST, http_listen, 0, 0, "127.0.0.1:2325,[::1]:2325", "ADDRESS:PORT", NULL, false, \
        "where HTTP is served; empty: nowhere") \
    ROW("http.tls_listen", LIST, http_tls_listen, 0, 0, "", "ADDRESS:PORT", NULL, false, \
        "where HTTPS is served") \
    ROW("http.tls_certificate", TEXT, http.tls_certificate, 0, 0, "", "FILE", NULL, false, \
        "certificate chain in PEM; its content is read again on SIGHUP") \
    ROW("http.tls_key", TEXT, http.tls_key, 0, 0, "", "FILE", NULL, false, \
        "private key in PEM; its content is read again on SIGHUP") \
    ROW("http.socket", BOOL, http_socket, 0, 0, "true", NULL, setting_booleans, false, \
        "serve HTTP on the Unix socket beck.sock in the data directory, for its owner") \
    ROW("http.threads", NUMBER, http.threads, 1, 256, "2", NULL, NULL, false, \
        "threads that serve connections") \
    ROW("http.pool_threads", NUMBER, http.pool_threads, 1, 256, "4", NULL, NULL, false, \
        "threads for requests that read the disk, wait or hash a password") \
    ROW("http.connections_max", NUMBER, http.connections_max, 1, 1000000, "20000", NULL, NULL, false, \
        "connections at a time") \
    ROW("http.connections_per_address_max", NUMBER, http.connections_per_address_max, 0, 1000000, "0", NULL, NULL, false, \
        "connections of one address at a time; 0: no limit") \
    ROW("http.body_max", SIZE, http.body_max, 1024, 1073741824, "25m", NULL, NULL, false, \
        "largest body of a request") \
    ROW("http.bodies_max", SIZE, http.bodies_max, 1048576, 0, "256m", NULL, NULL, false, \
        "memory of all bodies that are being received; webhooks take at most half") \
    ROW("http.header_max", SIZE, http.header_max, 4096, 1048576, "16k", NULL, NULL, false, \
        "largest head of a request") \
    ROW("http.idle_timeout", DURATION, http.idle_timeout_ms, 1000, 86400000, "75s", NULL, NULL, false, \
        "a connection without a request is closed after this") \
    ROW("http.request_timeout", DURATION, http.request_timeout_ms, 1000, 86400000, "30s", NULL, NULL, false, \
        "a request that has not arrived within this is answered with 408 and its connection closed") \
    ROW("http.wait_max", DURATION, http.wait_max_ms, 1000, 86400000, "1m", NULL, NULL, false, \
        "longest time that a request may wait for events") \
    ROW("http.stream_buffer_max", SIZE, http.stream_buffer_max, 65536, 1073741824, "1m", NULL, NULL, false, \
        "memory that followers of one bus share") \
    ROW("http.heartbeat", DURATION, http.heartbeat_ms, 1000, 86400000, "10s", NULL, NULL, false, \
        "a stream of events that has had none for so long is sent a comment") \
    ROW("http.access_log", BOOL, http_access_log, 0, 0, "false", NULL, setting_booleans, true, \
        "log every request at level info; else they are logged at level debug") \
    ROW("amqp.listen", LIST, amqp_listen, 0, 0, "127.0.0.1:5672,[::1]:5672", "ADDRESS:PORT", NULL, false, \
        "where AMQP 0-9-1 is served; empty: nowhere") \
    ROW("amqp.tls_listen", LIST, amqp_tls_listen, 0, 0, "", "ADDRESS:PORT", NULL, false, \
        "where AMQP over TLS is served, usually port 5671") \
    ROW("amqp.tls_certificate", TEXT, amqp_tls_certificate, 0, 0, "", "FILE", NULL, false, \
        "certificate chain in PEM, else http.tls_certificate; its content is read again on SIGHUP") \
    ROW("amqp.tls_key", TEXT, amqp_tls_key, 0, 0, "", "FILE", NULL, false, \
        "private key in PEM, else http.tls_key; its content is read again on SIGHUP") \
    ROW("amqp.tls_ca", TEXT, amqp.tls_authorities, 0, 0, "", "FILE", NULL, false, \
        "certificates in PEM of those who sign clients' certificates, whose common names log in by EXTERNAL; read again on SIGHUP") \
    ROW("amqp.tls_certificate_required", BOOL, amqp.tls_required, 0, 0, "false", NULL, setting_booleans, false, \
        "with amqp.tls_ca: clients without such a certificate are refused") \
    ROW("amqp.threads", NUMBER, amqp_threads, 1, 64, "2", NULL, NULL, false, \
        "threads that serve AMQP connections") \
    ROW("amqp.pool_threads", NUMBER, amqp.pool_threads, 1, 64, "4", NULL, NULL, false, \
        "threads for what may wait: declaring, consuming, closing") \
    ROW("amqp.connections_max", NUMBER, amqp_connections_max, 1, 1000000, "20000", NULL, NULL, false, \
        "AMQP connections at a time") \
    ROW("amqp.connections_per_address_max", NUMBER, amqp_connections_per_address_max, 0, 1000000, "0", NULL, NULL, false, \
        "AMQP connections of one address at a time; 0: no limit") \
    ROW("amqp.channel_max", NUMBER, amqp.channel_max, 1, 65535, "2047", NULL, NULL, false, \
        "channels of a connection") \
    ROW("amqp.frame_max", SIZE, amqp.frame_max, 4096, 16777216, "128k", NULL, NULL, false, \
        "largest frame that clients may agree to") \
    ROW("amqp.heartbeat", DURATION, amqp_heartbeat_ms, 0, 65535000, "1m", NULL, NULL, false, \
        "heartbeats that clients are asked for, in whole seconds; 0: none") \
    ROW("amqp.message_max", SIZE, broker.message_max, 1024, 66060288, "16m", NULL, NULL, false, \
        "largest body of a message") \
    ROW("amqp.bodies_max", SIZE, amqp.bodies_max, 1048576, 0, "256m", NULL, NULL, false, \
        "memory of all messages that are being received, of transactions and of the arguments of consumers") \
    ROW("amqp.consumer_timeout", DURATION, amqp_consumer_timeout_ms, 0, 2000000000, "30m", NULL, NULL, false, \
        "a channel that does not answer a delivery for so long is closed; 0: never") \
    ROW("amqp.memory_high_watermark", SIZE, amqp.memory_high_watermark, 0, 0, "0", NULL, NULL, false, \
        "memory of the process beyond which AMQP clients that publish have to wait; 0: 60 % of what the machine has") \
    ROW("amqp.disk_free_limit", SIZE, amqp.disk_free_limit, 0, 0, "50m", NULL, NULL, false, \
        "space on the disk below which they have to wait") \
    ROW("amqp.product", TEXT, amqp.product, 0, 0, "RabbitMQ", NULL, NULL, false, \
        "what clients are told that this is: some decide by it how they behave") \
    ROW("amqp.version", TEXT, amqp.version, 0, 0, "4.1.0", NULL, NULL, false, \
        "the version of RabbitMQ whose behaviour clients are told to expect") \
    ROW("amqp.retention", DURATION, broker.retention_ms, 1000, 0, "7d", NULL, NULL, false, \
        "how long the buses of exchanges keep messages, for replay; never less than queues need") \
    ROW("amqp.retention_size", SIZE, broker.retention_bytes, 1048576, 0, "1g", NULL, NULL, false, \
        "how much they keep") \
    ROW("amqp.queues_max", NUMBER, broker.queues_max, 1, 10000000, "100000", NULL, NULL, false, \
        "queues that AMQP clients may declare") \
    ROW("amqp.exchanges_max", NUMBER, broker.exchanges_max, 1, 10000000, "10000", NULL, NULL, false, \
        "exchanges that AMQP clients may declare") \
    ROW("management.listen", LIST, management_listen, 0, 0, "127.0.0.1:15672,[::1]:15672", "ADDRESS:PORT", NULL, false, \
        "where RabbitMQ's management API is served; empty: nowhere") \
    ROW("management.tls_listen", LIST, management_tls_listen, 0, 0, "", "ADDRESS:PORT", NULL, false, \
        "where it is served over TLS, with http.tls_certificate, usually port 15671") \
    ROW("kafka.listen", LIST, kafka_listen, 0, 0, "127.0.0.1:9092,[::1]:9092", "ADDRESS:PORT", NULL, false, \
        "where Kafka's protocol is served; empty: nowhere") \
    ROW("kafka.tls_listen", LIST, kafka_tls_listen, 0, 0, "", "ADDRESS:PORT", NULL, false, \
        "where it is served over TLS, usually port 9093") \
    ROW("kafka.tls_certificate", TEXT, kafka_tls_certificate, 0, 0, "", "FILE", NULL, false, \
        "certificate chain in PEM, else http.tls_certificate; its content is read again on SIGHUP") \
    ROW("kafka.tls_key", TEXT, kafka_tls_key, 0, 0, "", "FILE", NULL, false, \
        "private key in PEM, else http.tls_key; its content is read again on SIGHUP") \
    ROW("kafka.advertised", LIST, kafka_advertised, 0, 0, "", "HOST:PORT", NULL, false, \
        "what clients are told to connect to, one for each address of listen, then of tls_listen; empty: as they came") \
    ROW("kafka.threads", NUMBER, kafka_threads, 1, 64, "2", NULL, NULL, false, \
        "threads that serve Kafka connections") \
    ROW("kafka.pool_threads", NUMBER, kafka_wire.pool_threads, 1, 64, "4", NULL, NULL, false, \
        "threads for requests that read the disk or wait") \
    ROW("kafka.connections_max", NUMBER, kafka_connections_max, 1, 1000000, "20000", NULL, NULL, false, \
        "Kafka connections at a time") \
    ROW("kafka.connections_per_address_max", NUMBER, kafka_connections_per_address_max, 0, 1000000, "0", NULL, NULL, false, \
        "Kafka connections of one address at a time; 0: no limit") \
    ROW("kafka.idle_timeout", DURATION, kafka_wire.idle_timeout_ms, 1000, 86400000, "10m", NULL, NULL, false, \
        "a connection without a request is closed after this (connections.max.idle.ms)") \
    ROW("kafka.request_max", SIZE, kafka_wire.request_max, 65536, 1073741824, "100m", NULL, NULL, false, \
        "largest request (socket.request.max.bytes)") \
    ROW("kafka.requests_max", SIZE, kafka_wire.requests_max, 1048576, 0, "256m", NULL, NULL, false, \
        "memory of all requests, a quarter of it for those up to 64 KiB and one for those up to 2 MiB; then others wait (queued.max.request.bytes)") \
    ROW("kafka.node_id", NUMBER, kafka_node_id, 0, 2147483647, "1", NULL, NULL, false, \
        "the number of this server, the only one of its cluster (node.id)") \
    ROW("kafka.auto_create_topics", BOOL, kafka.auto_create_topics, 0, 0, "true", NULL, setting_booleans, false, \
        "topics that clients name are made (auto.create.topics.enable)") \
    ROW("kafka.partitions", NUMBER, kafka.partitions, 1, 10000, "1", NULL, NULL, false, \
        "of topics that are made without a number (num.partitions)") \
    ROW("kafka.group_initial_rebalance_delay", DURATION, kafka_rebalance_delay_ms, 0, 3600000, "0", NULL, NULL, false, \
        "how long a new group waits for more members (group.initial.rebalance.delay.ms)") \
    ROW("kafka.acks_one", CHOICE, kafka_acks_one, 0, 0, "written", NULL, setting_acks, false, \
        "what acks=1 promises: it survives the end of the process, or loss of power") \
    ROW("kafka.acks_all", CHOICE, kafka_acks_all, 0, 0, "synced", NULL, setting_acks, false, \
        "what acks=all promises") \
    ROW("access.anonymous_loopback", BOOL, access.anonymous_loopback, 0, 0, "true", NULL, setting_booleans, false, \
        "while there is no user, everybody on this machine may do everything") \
    ROW("access.anonymous_remote", BOOL, access.anonymous_remote, 0, 0, "false", NULL, setting_booleans, false, \
        "while there is no user, everybody who reaches the server may do everything") \
    ROW("access.failures_max", NUMBER, access.failures_max, 1, 1000000, "10", NULL, NULL, false, \
        "failed logins of one address within failures_window, then it has to wait") \
    ROW("access.failures_window", DURATION, access.failures_window_ms, 1000, 86400000, "1m", NULL, NULL, false, \
        "the time in which failed logins are counted") \
    ROW("access.scrypt_log_n", NUMBER, access.scrypt_log_n, 10, 20, "15", NULL, NULL, false, \
        "what a password costs to check: 2^n KiB; of passwords set from now on") \
    ROW("server.drain_timeout", DURATION, drain_timeout_ms, 0, 3600000, "10s", NULL, NULL, true, \
        "how long requests may go on when the server stops") \
    ROW("log.level", CHOICE, log_level, 0, 0, "info", NULL, setting_log_levels, true, \
        "what is logged: this and what is graver") \
    ROW("log.format", CHOICE, log_format, 0, 0, "text", NULL, setting_log_formats, true, \
        "lines for people, or JSON objects") \
    ROW("log.file", TEXT, log_file, 0, 0, "", "FILE", NULL, true, \
        "where the log goes instead of standard error; opened anew on SIGHUP")
/* clang-format on */

#endif
