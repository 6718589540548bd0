/*
 * The composition: what is opened in which order, what a reload changes, and how it ends. Whatever
 * was opened is closed in the opposite order, from wherever it came to.
 */
#include "server/server.h"
#include "api/handle.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"
#include "bus/own_bus.h"
#include "server/amqp_service.h"
#include "server/declared.h"
#include "server/indexer.h"
#include "server/kafka_service.h"
#include "server/listen.h"
#include "server/log.h"
#include "server/management_service.h"
#include "server/notify.h"
#include "server/reloader.h"
#include "server/runners.h"
#include "wire/http/hooks.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SOCKET_NAME "beck.sock"
#define BUSY_STEP_MS 50
#define DRAIN_STEP_MS 100 /* how soon a second signal is seen */
#define FILES_OF_ENGINE 1024

enum state { STARTING, READY, STOPPING };

#define ROOM_BYTES (16u << 20) /* so much is free: the disk is not full any more */

struct server {
    const struct config_sources *sources;
    struct settings *started; /* what was in force at the start */
    struct settings *applied; /* the last reload's; NULL: none */
    struct log *log;
    beck *b;
    struct access *access;
    struct hooks *hooks;
    struct listen_sockets sockets;
    bool has_socket; /* in the data directory */
    struct http *http;
    struct amqp_service amqp;
    struct kafka_service kafka;
    struct management_service management;
    bool serves_amqp, serves_kafka;
    const char *damage; /* of a bus of beck's own: the server is not ready; NULL: none */
    struct runners *runners;
    struct indexer *indexer; /* NULL: trace.interval is 0 */
    int signal_fd;
    int stop_fd; /* an eventfd: a request asked for the end */
    _Atomic(int) state;
    _Atomic(bool) access_log;
    _Atomic(bool) full; /* the disk was, when something was written last */
    _Atomic(uint32_t) drain_timeout_ms;
    struct reloader *reloader;
};

/* ---- what other layers call ---- */

static void report(void *ctx, const beck_error *error)
{
    struct server *s = ctx;
    bool grave = error->code == BECK_ECORRUPT || error->code == BECK_EIO ||
                 error->code == BECK_EPOISONED || error->code == BECK_ENOMEM ||
                 error->code == BECK_EFULL;
    if (error->code == BECK_EFULL) {
        atomic_store(&s->full, true);
    }
    LOG(s->log, grave ? LEVEL_ERROR : LEVEL_WARN, "engine",
        LOG_TEXT("code", beck_status_name(error->code)), LOG_TEXT("error", error->text));
}

/* A query is shown of the API only: that of a webhook may hold the sender's token, and there is more than
 * one way to write a webhook's path. */
static const char *shown_target(const struct http_request *r, char *copy, size_t size)
{
    const char *target = http_target(r);
    if (strncmp(target, "/v1/", 4) == 0 || !strchr(target, '?')) {
        return target;
    }
    snprintf(copy, size, "%.*s", (int)strcspn(target, "?"), target);
    return copy;
}

static void log_request(void *ctx, const struct http_request *r, int status, size_t bytes,
                        int64_t ns)
{
    struct server *s = ctx;
    enum log_level level =
        atomic_load_explicit(&s->access_log, memory_order_relaxed) ? LEVEL_INFO : LEVEL_DEBUG;
    if (!log_wants(s->log, level)) {
        return;
    }
    const struct identity *who = http_identity(r);
    char target[256];
    LOG(s->log, level, "request", LOG_TEXT("method", http_method(r)),
        LOG_TEXT("target", shown_target(r, target, sizeof target)), LOG_NUMBER("status", status),
        LOG_NUMBER("bytes", (int64_t)bytes), LOG_NUMBER("us", ns / 1000),
        LOG_TEXT("peer", http_peer(r)->address), LOG_TEXT("user", who ? identity_name(who) : ""));
}

/* Until there is room again. */
static bool is_full(struct server *s)
{
    struct statvfs disk;
    if (atomic_load(&s->full) && statvfs(s->started->data, &disk) == 0 &&
        (uint64_t)disk.f_bavail * disk.f_frsize > ROOM_BYTES) {
        atomic_store(&s->full, false);
    }
    return atomic_load(&s->full);
}

static bool is_ready(void *ctx, char *why, size_t size)
{
    struct server *s = ctx;
    int state = atomic_load(&s->state);
    bool full = state == READY && is_full(s);
    snprintf(why, size, "%s",
             state == STARTING   ? "starting"
             : state == STOPPING ? "stopping"
             : full              ? "the disk is full"
             : s->damage         ? s->damage
                                 : "");
    return state == READY && !full && !s->damage;
}

static beck_status control(void *ctx, const char *what, beck_error *err)
{
    struct server *s = ctx;
    uint64_t one = 1;
    if (strcmp(what, "reload") == 0) {
        return atomic_load(&s->state) == READY
                   ? reloader_run(s->reloader, err)
                   : error_set(err, BECK_EBUSY, "the server is starting or stopping");
    }
    if (strcmp(what, "stop") != 0) {
        return error_set(err, BECK_EINVAL, "'%.60s' is nothing that a server does", what);
    }
    (void)!write(s->stop_fd, &one, sizeof one); /* full: asked often enough */
    return BECK_OK;
}

/* ---- the parts, in order ---- */

static beck_status open_signals(struct server *s, beck_error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    s->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return s->signal_fd < 0 || s->stop_fd < 0
               ? error_errno(err, errno, "signals cannot be received")
               : BECK_OK;
}

/* As many files as are allowed at all: each connection and each segment is one. */
static void raise_file_limit(const struct server *s)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    const struct settings *set = s->started;
    const bool amqp = set->amqp_listen.count + set->amqp_tls_listen.count > 0;
    const bool kafka = kafka_service_is_wanted(set);
    rlim_t connections = set->http.connections_max;
    connections += amqp ? set->amqp_connections_max : 0;
    connections += kafka ? set->kafka_connections_max : 0;
    if (limit.rlim_max < connections + FILES_OF_ENGINE) {
        char settings[96];
        snprintf(settings, sizeof settings, "http.connections_max%s%s",
                 amqp ? ", amqp.connections_max" : "", kafka ? ", kafka.connections_max" : "");
        LOG(s->log, LEVEL_WARN,
            "fewer files may be open than connections need: raise the limit (LimitNOFILE=, ulimit "
            "-n), or lower the settings",
            LOG_TEXT("settings", settings), LOG_NUMBER("limit", (int64_t)limit.rlim_max),
            LOG_NUMBER("connections_max", (int64_t)connections));
    }
}

/* A signal that came while something else was waited for; 0: none. */
static int next_signal(const struct server *s)
{
    struct signalfd_siginfo info;
    return read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

static beck_status open_data(struct server *s, int64_t wait_ms, beck_error *err)
{
    beck_options options = {.data_dir = s->started->data,
                            .sync_interval_ms = s->started->sync_interval_ms,
                            .checkpoint_ms = s->started->checkpoint_ms,
                            .trace_bytes = s->started->trace_bytes ? s->started->trace_bytes : -1,
                            .on_error = report,
                            .on_error_ctx = s};
    int64_t until = clock_mono_ns(clock_system()) + wait_ms * 1000000;
    for (;;) {
        beck_status status = beck_open(&s->b, &options, err);
        if (!status) {
            atomic_store(&s->b->maintain_ms, s->started->retention_check_ms);
        }
        if (status != BECK_EBUSY || clock_mono_ns(clock_system()) >= until) {
            return status;
        }
        struct pollfd fd = {.fd = s->signal_fd, .events = POLLIN};
        if (poll(&fd, 1, BUSY_STEP_MS) > 0 && next_signal(s) != SIGHUP) {
            return status;
        }
    }
}

static beck_status set_hooks(struct server *s, const struct settings *settings, beck_error *err)
{
    const struct hook_setting *from = settings->hooks.at;
    struct hook_source *sources = calloc(settings->hooks.count + 1, sizeof *sources);
    if (!sources) {
        return error_set(err, BECK_ENOMEM, "no memory for webhooks");
    }
    for (size_t i = 0; i < settings->hooks.count; i++) {
        sources[i] = from[i].source;
    }
    beck_status status = hooks_set(s->hooks, sources, settings->hooks.count, err);
    free(sources);
    return status;
}

/* Nothing is made when something cannot be. */
static beck_status make_declared(struct server *s, struct settings *settings, beck_error *err)
{
    beck_status status = declared_check(settings, s->b, s->log, err);
    status = status ? status : declared_buses(settings, s->b, s->log, err);
    status = status ? status : set_hooks(s, settings, err);
    return status || queues_damage(&s->b->home) ? status
                                                : declared_queues(settings, s->b, s->log, err);
}

static beck_status listen_all(struct server *s, const char *row, const struct texts *addresses,
                              bool tls, beck_error *err)
{
    /* A machine without IPv6 has no [::1]: that is no fault of who configured nothing. */
    bool lenient = settings_source(s->started, row)->origin == ORIGIN_DEFAULT;
    beck_status status = BECK_OK;
    for (size_t i = 0; i < addresses->count && !status; i++) {
        status = listen_tcp(&s->sockets, addresses->at[i], tls, lenient, err);
    }
    return status;
}

/* Sockets of who started the process are instead of those that the settings name. */
static beck_status open_sockets(struct server *s, beck_error *err)
{
    const struct settings *settings = s->started;
    beck_status status = listen_inherited(&s->sockets, err);
    if (!status && s->sockets.count == 0) {
        status = listen_all(s, "http.listen", &settings->http_listen, false, err);
        if (!status) {
            status = listen_all(s, "http.tls_listen", &settings->http_tls_listen, true, err);
        }
    }
    for (size_t i = 0; i < s->sockets.count && !status; i++) {
        if (s->sockets.at[i].tls && !settings->http.tls_certificate) {
            status = error_set(err, BECK_EINVAL,
                               "socket '%s' is for HTTPS: give http.tls_certificate and "
                               "http.tls_key",
                               s->sockets.at[i].text);
        }
    }
    if (!status && settings->http_socket) {
        status = listen_unix(&s->sockets, settings->data, SOCKET_NAME, err);
        s->has_socket = !status;
    }
    return status;
}

/* Whoever listens for the world and lets everybody do everything must have said so. */
static beck_status check_exposure(const struct server *s, beck_error *err)
{
    const struct listen_socket *which;
    if (s->started->access.anonymous_remote || access_user_count(s->access) > 0 ||
        (!listen_is_remote(&s->sockets, &which) && !listen_is_remote(&s->amqp.sockets, &which) &&
         !listen_is_remote(&s->kafka.sockets, &which) &&
         !listen_is_remote(&s->management.sockets, &which))) {
        return BECK_OK;
    }
    return error_set(err, BECK_EDENIED,
                     "%s can be reached from other machines, and there is no user: make one (beck "
                     "user add, or users in the configuration), listen on 127.0.0.1 only, or set "
                     "access.anonymous_remote to true if everybody may do everything",
                     which->text);
}

static void warn_of_plain(const struct server *s, const struct listen_sockets *sockets,
                          const char *setting)
{
    for (size_t i = 0; i < sockets->count; i++) {
        const struct listen_socket *at = &sockets->at[i];
        if (!at->tls && listen_socket_is_remote(at) && access_user_count(s->access) > 0) {
            LOG(s->log, LEVEL_WARN,
                "passwords and tokens of users can be read on their way: use TLS, or let a proxy "
                "on "
                "this machine do so",
                LOG_TEXT("address", at->text), LOG_TEXT("instead", setting));
        }
    }
}

static void warn_of_plain_text(const struct server *s)
{
    warn_of_plain(s, &s->sockets, "http.tls_listen");
    warn_of_plain(s, &s->amqp.sockets, "amqp.tls_listen");
    warn_of_plain(s, &s->management.sockets, "management.tls_listen");
    warn_of_plain(s, &s->kafka.sockets, "kafka.tls_listen");
}

static beck_status open_http(struct server *s, beck_error *err)
{
    struct http_listener listeners[2 * LISTEN_ADDRESSES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < s->sockets.count; i++) {
        const struct listen_socket *at = &s->sockets.at[i];
        listeners[count++] = (struct http_listener){
            .fd = at->fd, .tls = at->tls, .unix_socket = at->unix_socket, .trusted = at->trusted};
    }
    management_service_add(&s->management, listeners, &count);
    struct http_context context = {.b = s->b,
                                   .access = s->access,
                                   .hooks = s->hooks,
                                   .server_version = BECK_VERSION,
                                   .control = control,
                                   .control_ctx = s,
                                   .ready = is_ready,
                                   .ready_ctx = s,
                                   .log = log_request,
                                   .log_ctx = s};
    return http_start(&s->started->http, &context, listeners, count, &s->http, err);
}

/* Whoever reads that it listens may ask for anything. */
static void announce(struct server *s, int64_t began_ns)
{
    char status[LISTEN_TEXT_MAX + 64] = "READY=1\nSTATUS=serving";
    atomic_store(&s->state, READY);
    for (size_t i = 0; i < s->sockets.count; i++) {
        const struct listen_socket *at = &s->sockets.at[i];
        LOG(s->log, LEVEL_INFO, "listening",
            LOG_TEXT(at->unix_socket ? "socket" : "address", at->text),
            LOG_TEXT("protocol", at->tls ? "https" : "http"));
    }
    for (size_t i = 0; i < s->amqp.sockets.count; i++) {
        const struct listen_socket *at = &s->amqp.sockets.at[i];
        LOG(s->log, LEVEL_INFO, "listening", LOG_TEXT("address", at->text),
            LOG_TEXT("protocol", at->tls ? "amqps" : "amqp"));
    }
    for (size_t i = 0; i < s->kafka.sockets.count; i++) {
        const struct listen_socket *at = &s->kafka.sockets.at[i];
        LOG(s->log, LEVEL_INFO, "listening", LOG_TEXT("address", at->text),
            LOG_TEXT("protocol", at->tls ? "kafka over tls" : "kafka"));
    }
    for (size_t i = 0; i < s->management.sockets.count; i++) {
        LOG(s->log, LEVEL_INFO, "listening", LOG_TEXT("address", s->management.sockets.at[i].text),
            LOG_TEXT("protocol", "management"));
    }
    if (s->sockets.count == 0) {
        LOG(s->log, LEVEL_WARN, "listening nowhere: http.listen is empty and http.socket is false");
    } else {
        snprintf(status, sizeof status, "READY=1\nSTATUS=serving on %s", s->sockets.at[0].text);
    }
    LOG(s->log, LEVEL_INFO, "ready", LOG_TEXT("version", BECK_VERSION),
        LOG_TEXT("data", s->started->data), LOG_NUMBER("pid", getpid()),
        LOG_NUMBER("us", (clock_mono_ns(clock_system()) - began_ns) / 1000));
    notify_send(status);
}

static void warn(void *ctx, const char *text)
{
    struct server *s = ctx;
    LOG(s->log, LEVEL_WARN, text);
}

/* ---- reloading ---- */

static void tell_fault(void *ctx, const char *text)
{
    struct server *s = ctx;
    LOG(s->log, LEVEL_ERROR, "configuration", LOG_TEXT("error", text));
}

/* What changed and stays as it was until the next start. */
static void tell_kept(struct server *s, const struct settings *fresh)
{
    for (const struct setting *row = settings_rows; row->name; row++) {
        if (row->reloadable || setting_same(row, s->started, fresh)) {
            continue;
        }
        struct buf is, wanted;
        buf_init(&is, 4096);
        buf_init(&wanted, 4096);
        if (!setting_print(row, s->started, &is) && !buf_terminate(&is) &&
            !setting_print(row, fresh, &wanted) && !buf_terminate(&wanted)) {
            LOG(s->log, LEVEL_WARN, "a changed setting needs a restart",
                LOG_TEXT("setting", row->name), LOG_TEXT("in_force", (char *)is.data),
                LOG_TEXT("configured", (char *)wanted.data));
        }
        buf_release(&is);
        buf_release(&wanted);
    }
}

/* Keeps the first failure; all are logged. */
static void note(struct server *s, beck_status failed, const beck_error *why, const char *what,
                 beck_status *status, beck_error *err)
{
    if (failed) {
        LOG(s->log, LEVEL_ERROR, what, LOG_TEXT("error", why->text));
        *status = *status ? *status : error_set(err, failed, "%s", why->text);
    }
}

/* Each part is put in force by itself. */
static beck_status put_in_force(struct server *s, struct settings *fresh, beck_error *err)
{
    beck_status status = BECK_OK;
    beck_error why;
    beck_status failed = log_reopen(s->log, fresh->log_file, (enum log_level)fresh->log_level,
                                    (enum log_format)fresh->log_format, &why);
    note(s, failed, &why, "the log goes on as before", &status, err);
    tell_kept(s, fresh);
    atomic_store(&s->access_log, fresh->http_access_log);
    atomic_store(&s->drain_timeout_ms, fresh->drain_timeout_ms);
    failed = http_reload(s->http, &why);
    note(s, failed, &why, "the certificate goes on as before", &status, err);
    failed = amqp_service_reload(&s->amqp, &why);
    note(s, failed, &why, "the certificate of AMQP goes on as before", &status, err);
    failed = kafka_service_reload(&s->kafka, &why);
    note(s, failed, &why, "the certificate of Kafka goes on as before", &status, err);
    failed = make_declared(s, fresh, &why);
    note(s, failed, &why, "not everything that is declared is there", &status, err);
    failed = runners_apply(s->runners, fresh, &why);
    note(s, failed, &why, "not every program runs", &status, err);
    return status;
}

/* Takes over `fresh`. Users come first and always: a right that was taken away does not wait for a bus
 * that cannot be. *outcome: what became of it, if that failed. */
static beck_status apply(struct server *s, struct settings *fresh, const char **outcome,
                         beck_error *err)
{
    beck_error why;
    beck_status status = BECK_OK;
    beck_status failed =
        declared_users(fresh, s->applied ? s->applied : s->started, s->access, s->log, &why);
    note(s, failed, &why, "not every user is as declared", &status, err);
    failed = declared_check(fresh, s->b, s->log, &why);
    if (failed) {
        *outcome = "not reloaded: everything but users stays as it was";
        settings_free(fresh);
    } else {
        *outcome = "reloaded with errors: what is wrong stays as it was";
        failed = put_in_force(s, fresh, &why);
        settings_free(s->applied);
        s->applied = fresh;
    }
    if (failed && !status) {
        status = error_set(err, failed, "%s", why.text);
    }
    return status;
}

static beck_status reload(void *ctx, beck_error *err)
{
    struct server *s = ctx;
    struct settings *fresh;
    beck_error why = {0};
    const char *outcome = "not reloaded: everything stays as it was";
    notify_reloading();
    beck_status status = config_load(s->sources, tell_fault, s, &fresh, &why);
    if (status) {
        LOG(s->log, LEVEL_ERROR, "the configuration cannot be read", LOG_TEXT("error", why.text));
    } else {
        status = apply(s, fresh, &outcome, &why);
    }
    if (status) {
        LOG(s->log, LEVEL_WARN, outcome);
        error_set(err, status, "%s", why.text);
    } else {
        LOG(s->log, LEVEL_INFO, "reloaded");
    }
    if (atomic_load(&s->state) == READY) {
        notify_send("READY=1");
    }
    return status;
}

/* ---- running and ending ---- */

/* The log, and the data directory with what the configuration declares in it. */
static beck_status open_inside(struct server *s, int64_t wait_ms, beck_error *err)
{
    const struct settings *settings = s->started;
    struct access_settings access = settings->access;
    access.keep_admin = true;
    beck_status status = open_signals(s, err);
    if (!status)
        status = log_open(settings->log_file, (enum log_level)settings->log_level,
                          (enum log_format)settings->log_format, &s->log, err);
    if (status)
        return status;
    config_warn(s->sources, warn, s);
    raise_file_limit(s);
    status = open_data(s, wait_ms, err);
    if (!status)
        status = log_start(s->log, err);
    if (!status)
        status = access_open(s->b, &access, &s->access, err);
    if (!status)
        status = hooks_new(s->b, NULL, &s->hooks, err);
    if (!status)
        status = make_declared(s, s->started, err);
    return status ? status : declared_users(settings, NULL, s->access, s->log, err);
}

/* Why one of the buses that these cannot do without takes and gives nothing; NULL: all are well. */
static const char *find_damage(struct server *s, enum own_bus_need need)
{
    const char *damage = NULL;
    mutex_lock(&s->b->admin_lock);
    for (const struct own_bus *own = own_buses; own->name && !damage; own++) {
        const beck_bus *bus = own->needs & need ? handle_find_bus(s->b, own->name) : NULL;
        for (uint32_t i = 0; bus && i < bus->partition_count && !damage; i++)
            damage = partition_damage(bus_partition(bus, i));
    }
    mutex_unlock(&s->b->admin_lock);
    if (damage && !s->damage)
        s->damage = damage;
    return damage;
}

/* A protocol is served only when all that it keeps can be read; the others are. */
static bool is_served(struct server *s, bool wanted, const char *protocol, enum own_bus_need need)
{
    const char *damage = wanted ? find_damage(s, need) : NULL;
    if (damage) {
        LOG(s->log, LEVEL_ERROR, "not served until what it keeps is put right",
            LOG_TEXT("protocol", protocol), LOG_TEXT("error", damage));
    }
    return wanted && !damage;
}

static void choose_protocols(struct server *s)
{
    find_damage(s, OWN_FOR_SERVER);
    s->serves_amqp = is_served(s, amqp_service_is_wanted(s->started), "amqp", OWN_FOR_AMQP);
    s->serves_kafka = is_served(s, kafka_service_is_wanted(s->started), "kafka", OWN_FOR_KAFKA);
}

/* All addresses are taken before anybody is served. */
static beck_status listen_to_all(struct server *s, beck_error *err)
{
    const struct settings *settings = s->started;
    choose_protocols(s);
    bool amqp = s->serves_amqp, kafka = s->serves_kafka;
    beck_status status = BECK_OK;
    if (amqp)
        status = amqp_service_open(&s->amqp, settings, s->b, s->access, s->log, err);
    if (!status && kafka)
        status = kafka_service_open(&s->kafka, settings, s->b, s->access, s->log, err);
    if (!status)
        status = open_sockets(s, err);
    if (!status && amqp)
        status = amqp_service_listen(&s->amqp, settings, err);
    if (!status && kafka)
        status = kafka_service_listen(&s->kafka, settings, err);
    if (!status && amqp && management_service_is_wanted(settings))
        status = management_service_open(&s->management, settings, s->b, s->access, &s->amqp,
                                         s->log, err);
    if (!status)
        status = check_exposure(s, err);
    if (!status)
        warn_of_plain_text(s);
    return status;
}

static beck_status start(struct server *s, int64_t wait_ms, beck_error *err)
{
    const struct settings *settings = s->started;
    int64_t began_ns = clock_mono_ns(clock_system());
    beck_status status = open_inside(s, wait_ms, err);
    if (!status)
        status = listen_to_all(s, err);
    if (!status)
        status = open_http(s, err);
    if (!status && s->serves_amqp)
        status = amqp_service_start(&s->amqp, settings, err);
    if (!status && s->serves_kafka)
        status = kafka_service_start(&s->kafka, settings, err);
    if (!status)
        status = runners_new(s->b, s->log, &s->runners, err);
    if (!status && !queues_damage(&s->b->home))
        status = runners_apply(s->runners, settings, err);
    if (!status && settings->trace_interval_ms > 0)
        status = indexer_start(s->b, s->log, settings->trace_interval_ms, &s->indexer, err);
    if (!status)
        status = reloader_start(reload, s, &s->reloader, err);
    if (!status)
        announce(s, began_ns);
    return status;
}

static const char *wait_for_end(struct server *s)
{
    for (;;) {
        struct pollfd fds[] = {{.fd = s->signal_fd, .events = POLLIN},
                               {.fd = s->stop_fd, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0) {
            continue;
        }
        if (fds[1].revents) {
            return "request";
        }
        for (int number = next_signal(s); number; number = next_signal(s)) {
            if (number != SIGHUP) {
                return number == SIGINT ? "SIGINT" : "SIGTERM";
            }
            reloader_ask(s->reloader);
        }
    }
}

/* Waits in small steps, so that a second signal is noticed. Programs go on with what they handle
 * while requests are answered. */
static void drain(struct server *s)
{
    int64_t now = clock_mono_ns(clock_system());
    int64_t until = now + (int64_t)atomic_load(&s->drain_timeout_ms) * 1000000;
    int number = 0;
    runners_end(s->runners);
    while (number == 0 || number == SIGHUP) {
        int64_t step = now + DRAIN_STEP_MS * 1000000;
        step = step < until ? step : until;
        bool gone = amqp_service_drain(&s->amqp, step);
        gone = kafka_service_drain(&s->kafka, step) && gone;
        bool answered = http_drain(s->http, step) && gone;
        if (answered && runners_working(s->runners) == 0) {
            return;
        }
        if (answered) {
            struct pollfd fd = {.fd = s->signal_fd, .events = POLLIN};
            poll(&fd, 1, DRAIN_STEP_MS);
        }
        now = clock_mono_ns(clock_system());
        if (now >= until) {
            break;
        }
        number = next_signal(s);
    }
    LOG(s->log, LEVEL_WARN, "what was still being handled was cut off",
        LOG_TEXT("cause", now >= until ? "server.drain_timeout" : "a second signal"));
}

static void close_all(struct server *s)
{
    char path[4096];
    reloader_end(s->reloader);
    kafka_service_stop(&s->kafka);
    amqp_service_stop(&s->amqp);
    if (s->http) {
        http_stop(s->http);
    }
    reloader_free(s->reloader);
    runners_stop(s->runners);
    indexer_stop(s->indexer);
    if (s->has_socket &&
        (size_t)snprintf(path, sizeof path, "%s/" SOCKET_NAME, s->started->data) < sizeof path) {
        unlink(path); /* while the directory is still locked: nobody else's */
    }
    listen_close(&s->sockets);
    hooks_free(s->hooks);
    management_service_close(&s->management);
    kafka_service_close(&s->kafka);
    amqp_service_close(&s->amqp);
    access_close(s->access);
    beck_close(s->b);
    LOG(s->log, LEVEL_INFO, "stopped");
    log_close(s->log);
    if (s->signal_fd >= 0) {
        close(s->signal_fd);
    }
    if (s->stop_fd >= 0) {
        close(s->stop_fd);
    }
    settings_free(s->applied);
    settings_free(s->started);
}

beck_status server_run(const struct config_sources *sources, struct settings *settings,
                       int64_t wait_ms, beck_error *err)
{
    struct server s = {.sources = sources, .started = settings, .signal_fd = -1, .stop_fd = -1};
    atomic_init(&s.state, STARTING);
    atomic_init(&s.access_log, settings->http_access_log);
    atomic_init(&s.drain_timeout_ms, settings->drain_timeout_ms);
    beck_status status = start(&s, wait_ms, err);
    if (!status) {
        const char *cause = wait_for_end(&s);
        atomic_store(&s.state, STOPPING);
        notify_send("STOPPING=1\nSTATUS=stopping");
        LOG(s.log, LEVEL_INFO, "stopping", LOG_TEXT("cause", cause));
        drain(&s);
    }
    close_all(&s);
    return status;
}
