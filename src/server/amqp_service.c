/* AMQP as a part of the server: see amqp_service.h. */
#include "server/amqp_service.h"

#include "api/handle.h"
#include "base/clock.h"
#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define LOOK_NS INT64_C(1000000000)
#define DISK_FREE_LIMIT 50000000
#define FULL_NS (5 * LOOK_NS) /* how long a disk counts as full after it refused something */

static void log_connection(void *ctx, enum amqp_log level, const char *what, const char *connection,
                           const char *user, const char *detail)
{
    struct amqp_service *a = ctx;
    LOG(a->log, level == AMQP_LOG_WARN ? LEVEL_WARN : LEVEL_INFO, what,
        LOG_TEXT("connection", connection), LOG_TEXT("user", user), LOG_TEXT("detail", detail));
}

/* ---- alarms: what they go by is looked at once a second ---- */

struct amqp_alarms {
    struct amqp *amqp;
    const struct broker *broker;
    struct log *log;
    const char *data_dir; /* NULL: in memory only */
    int64_t memory_limit, disk_free_limit;
    pthread_t thread;
    struct mutex lock;
    struct cond wake;
    bool stopping;
};

/* The first number of a file; 0: there is none. */
static int64_t number_in(const char *path)
{
    long long number = 0;
    FILE *f = fopen(path, "re");
    if (!f) {
        return 0;
    }
    if (fscanf(f, "%lld", &number) != 1) {
        number = 0;
    }
    fclose(f);
    return number;
}

/* 60 % of what the machine, or the control group, has. */
static int64_t default_memory_limit(void)
{
    struct sysinfo machine = {0};
    sysinfo(&machine);
    int64_t has = (int64_t)(machine.totalram * (uint64_t)machine.mem_unit);
    int64_t group = number_in("/sys/fs/cgroup/memory.max");
    return (group > 0 && group < has ? group : has) / 10 * 6;
}

/* Of its own: files that are mapped are the system's to drop. */
static int64_t memory_used(void)
{
    long long size, resident, shared;
    int64_t used = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f) {
        return 0;
    }
    if (fscanf(f, "%lld %lld %lld", &size, &resident, &shared) == 3) {
        used = (resident - shared) * sysconf(_SC_PAGESIZE);
    }
    fclose(f);
    return used;
}

static bool disk_is_low(const struct amqp_alarms *a, int64_t now_ns)
{
    struct statvfs s;
    int64_t full_ns = broker_full_ns(a->broker);
    if (full_ns != INT64_MIN && now_ns - full_ns < FULL_NS) {
        return true;
    }
    return a->data_dir && statvfs(a->data_dir, &s) == 0 &&
           (int64_t)s.f_bavail * (int64_t)s.f_frsize < a->disk_free_limit;
}

static void tell(const struct amqp_alarms *a, uint32_t before, uint32_t now, uint32_t alarm,
                 const char *resource)
{
    if ((before & alarm) == (now & alarm)) {
        return;
    }
    if (now & alarm) {
        LOG(a->log, LEVEL_WARN, "an alarm: AMQP clients that publish wait",
            LOG_TEXT("low", resource));
    } else {
        LOG(a->log, LEVEL_INFO, "an alarm is over", LOG_TEXT("low", resource));
    }
}

static void look(const struct amqp_alarms *a)
{
    uint32_t before = amqp_alarms(a->amqp), now = 0;
    if (memory_used() > a->memory_limit) {
        now |= AMQP_ALARM_MEMORY;
    }
    if (disk_is_low(a, clock_mono_ns(clock_system()))) {
        now |= AMQP_ALARM_DISK;
    }
    amqp_set_alarms(a->amqp, now);
    tell(a, before, now, AMQP_ALARM_MEMORY, "memory");
    tell(a, before, now, AMQP_ALARM_DISK, "disk");
}

static void *alarms_main(void *arg)
{
    struct amqp_alarms *a = arg;
    mutex_lock(&a->lock);
    while (!a->stopping) {
        int64_t until = clock_mono_ns(clock_system()) + LOOK_NS;
        mutex_unlock(&a->lock);
        look(a);
        mutex_lock(&a->lock);
        while (!a->stopping && cond_wait_until(&a->wake, &a->lock, clock_system(), until)) {
        }
    }
    mutex_unlock(&a->lock);
    return NULL;
}

static beck_status start_alarms(struct amqp_service *s, beck_error *err)
{
    struct amqp_alarms *a = calloc(1, sizeof *a);
    if (!a) {
        return error_set(err, BECK_ENOMEM, "no memory for the alarms of AMQP");
    }
    *a = (struct amqp_alarms){.amqp = s->amqp,
                              .broker = s->broker,
                              .log = s->log,
                              .data_dir = s->data_dir,
                              .memory_limit = s->memory_limit,
                              .disk_free_limit = s->disk_free_limit};
    mutex_init(&a->lock);
    cond_init(&a->wake);
    int rc = pthread_create(&a->thread, NULL, alarms_main, a);
    if (rc) {
        mutex_release(&a->lock);
        cond_release(&a->wake);
        free(a);
        return error_errno(err, rc, "cannot start the thread of the alarms of AMQP");
    }
    s->alarms = a;
    return BECK_OK;
}

static void stop_alarms(struct amqp_alarms *a)
{
    if (!a) {
        return;
    }
    mutex_lock(&a->lock);
    a->stopping = true;
    cond_signal(&a->wake);
    mutex_unlock(&a->lock);
    pthread_join(a->thread, NULL);
    mutex_release(&a->lock);
    cond_release(&a->wake);
    free(a);
}

/* ---- the service ---- */

bool amqp_service_is_wanted(const struct settings *s)
{
    return s->amqp_listen.count > 0 || s->amqp_tls_listen.count > 0 ||
           s->management_listen.count > 0 || s->management_tls_listen.count > 0;
}

beck_status amqp_service_open(struct amqp_service *a, const struct settings *s, beck *b,
                              struct access *access, struct log *log, beck_error *err)
{
    struct amqp_settings settings = s->amqp;
    settings.heartbeat_s = s->amqp_heartbeat_ms / 1000;
    settings.heartbeat_s = settings.heartbeat_s ? settings.heartbeat_s : UINT32_MAX;
    settings.consumer_timeout_ms = s->amqp_consumer_timeout_ms;
    settings.consumer_timeout_ms =
        settings.consumer_timeout_ms ? settings.consumer_timeout_ms : UINT32_MAX;
    settings.message_max = s->broker.message_max;
    a->log = log;
    a->metrics = b->env.metrics;
    a->data_dir = b->data_dir;
    a->memory_limit =
        settings.memory_high_watermark ? settings.memory_high_watermark : default_memory_limit();
    a->disk_free_limit = settings.disk_free_limit ? settings.disk_free_limit : DISK_FREE_LIMIT;
    beck_status status = broker_open(b, &s->broker, &a->broker, err);
    if (status) {
        return status;
    }
    struct amqp_context context = {.broker = a->broker,
                                   .access = access,
                                   .metrics = a->metrics,
                                   .log = log_connection,
                                   .log_ctx = a};
    return amqp_new(&settings, &context, &a->amqp, err);
}

static beck_status listen_on(struct amqp_service *a, const struct settings *s, const char *row,
                             const struct texts *addresses, bool tls, beck_error *err)
{
    bool lenient = settings_source(s, row)->origin == ORIGIN_DEFAULT;
    for (size_t i = 0; i < addresses->count; i++) {
        beck_error why;
        beck_status status = listen_tcp(&a->sockets, addresses->at[i], tls, lenient, &why);
        if (status) {
            return error_set(err, status, "%s (%s; empty: no AMQP there)", why.text, row);
        }
    }
    return BECK_OK;
}

beck_status amqp_service_listen(struct amqp_service *a, const struct settings *s, beck_error *err)
{
    beck_status status = listen_on(a, s, "amqp.listen", &s->amqp_listen, false, err);
    return status ? status : listen_on(a, s, "amqp.tls_listen", &s->amqp_tls_listen, true, err);
}

beck_status amqp_service_start(struct amqp_service *a, const struct settings *s, beck_error *err)
{
    struct net_listener listeners[LISTEN_ADDRESSES_MAX];
    struct net_settings settings = {.loops = s->amqp_threads,
                                    .connections_max = s->amqp_connections_max,
                                    .connections_per_address_max =
                                        s->amqp_connections_per_address_max,
                                    .metrics = a->metrics};
    beck_status status = start_alarms(a, err);
    if (status || a->sockets.count == 0) {
        return status;
    }
    if (s->amqp_tls_listen.count > 0) {
        status = net_tls_new(s->amqp_tls_certificate, s->amqp_tls_key, &a->tls, err);
    }
    if (!status && a->tls && s->amqp.tls_authorities && *s->amqp.tls_authorities) {
        status = net_tls_ask_clients(a->tls, s->amqp.tls_authorities, s->amqp.tls_required, err);
    }
    for (size_t i = 0; i < a->sockets.count && !status; i++) {
        const struct listen_socket *at = &a->sockets.at[i];
        status =
            amqp_listener(a->amqp, at->fd, at->text, at->tls ? a->tls : NULL, &listeners[i], err);
    }
    if (status) {
        return status;
    }
    a->listening = true;
    return net_start(&settings, listeners, a->sockets.count, &a->net, err);
}

beck_status amqp_service_reload(struct amqp_service *a, beck_error *err)
{
    return a->tls ? net_tls_reload(a->tls, err) : BECK_OK;
}

bool amqp_service_drain(struct amqp_service *a, int64_t until_ns)
{
    return !a->net || net_drain(a->net, until_ns);
}

void amqp_service_stop(struct amqp_service *a)
{
    net_stop(a->net);
    a->net = NULL;
}

void amqp_service_close(struct amqp_service *a)
{
    amqp_service_stop(a);
    stop_alarms(a->alarms);
    amqp_free(a->amqp);
    net_tls_free(a->tls);
    if (!a->listening) {
        listen_close(&a->sockets);
    }
    broker_close(a->broker);
}
