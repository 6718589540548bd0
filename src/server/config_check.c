/*
 * What no row can see of a configuration: settings that need one another, names, and options that
 * the engine would refuse. Also puts values into the form that the other layers expect: -1 for
 * "never" where 0 means the default there, NULL for texts that are empty.
 */
#include "access/user.h"
#include "base/error.h"
#include "bus/bus.h"
#include "bus/own_bus.h"
#include "event/pattern.h"
#include "queue/queue.h"
#include "server/config.h"
#include "server/kafka_service.h"
#include "server/listen.h"
#include "server/runners.h"
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *source_of(const struct config *c, const char *row)
{
    return settings_source(c->settings, row)->name;
}

static bool given(const struct record *record, const struct setting_table *table, const char *name)
{
    const struct setting *row = setting_find(table->rows, name);
    return record->given >> (row - table->rows) & 1;
}

/* ---- http ---- */

static void check_addresses(struct config *c, const char *row, const struct texts *list)
{
    for (size_t i = 0; i < list->count; i++) {
        beck_error err;
        if (listen_check(list->at[i], &err)) {
            config_fault(c, source_of(c, row), "%s: %s", row, err.text);
        }
    }
}

static void check_readable(struct config *c, const char *row, const char *path)
{
    if (path && access(path, R_OK) != 0) {
        config_fault(c, source_of(c, row), "%s: the file '%.300s' cannot be read", row, path);
    }
}

static void check_http(struct config *c)
{
    struct settings *s = c->settings;
    struct http_settings *h = &s->http;
    h->tls_certificate = h->tls_certificate[0] ? h->tls_certificate : NULL;
    h->tls_key = h->tls_key[0] ? h->tls_key : NULL;
    check_addresses(c, "http.listen", &s->http_listen);
    check_addresses(c, "http.tls_listen", &s->http_tls_listen);
    if (s->http_tls_listen.count > 0 && (!h->tls_certificate || !h->tls_key)) {
        config_fault(c, source_of(c, "http.tls_listen"),
                     "http.tls_listen needs http.tls_certificate and http.tls_key");
    }
    if (!h->tls_certificate != !h->tls_key) {
        config_fault(c, source_of(c, h->tls_key ? "http.tls_key" : "http.tls_certificate"),
                     "http.tls_certificate and http.tls_key need each other: give both");
    }
    check_readable(c, "http.tls_certificate", h->tls_certificate);
    check_readable(c, "http.tls_key", h->tls_key);
    if (h->bodies_max < h->body_max) {
        config_fault(
            c, source_of(c, "http.bodies_max"),
            "http.bodies_max is less than http.body_max: the largest body would never fit");
    }
}

/* ---- amqp ---- */

static void check_amqp(struct config *c)
{
    struct settings *s = c->settings;
    bool own = s->amqp_tls_certificate[0] || s->amqp_tls_key[0];
    if (own) {
        check_readable(c, "amqp.tls_certificate", s->amqp_tls_certificate);
        check_readable(c, "amqp.tls_key", s->amqp_tls_key);
    } else {
        s->amqp_tls_certificate = s->http.tls_certificate;
        s->amqp_tls_key = s->http.tls_key;
    }
    check_addresses(c, "amqp.listen", &s->amqp_listen);
    check_addresses(c, "amqp.tls_listen", &s->amqp_tls_listen);
    if (s->amqp_tls_listen.count > 0 && (!s->amqp_tls_certificate || !s->amqp_tls_key)) {
        config_fault(c, source_of(c, "amqp.tls_listen"),
                     "amqp.tls_listen needs amqp.tls_certificate and amqp.tls_key");
    }
    if (s->amqp.bodies_max < s->broker.message_max) {
        config_fault(c, source_of(c, "amqp.bodies_max"),
                     "amqp.bodies_max is less than amqp.message_max: the largest message would "
                     "never fit");
    }
}

static void check_kafka(struct config *c)
{
    struct settings *s = c->settings;
    bool own = s->kafka_tls_certificate[0] || s->kafka_tls_key[0];
    if (own) {
        check_readable(c, "kafka.tls_certificate", s->kafka_tls_certificate);
        check_readable(c, "kafka.tls_key", s->kafka_tls_key);
    } else {
        s->kafka_tls_certificate = s->http.tls_certificate;
        s->kafka_tls_key = s->http.tls_key;
    }
    check_addresses(c, "kafka.listen", &s->kafka_listen);
    check_addresses(c, "kafka.tls_listen", &s->kafka_tls_listen);
    if (s->kafka_tls_listen.count > 0 && (!s->kafka_tls_certificate || !s->kafka_tls_key)) {
        config_fault(c, source_of(c, "kafka.tls_listen"),
                     "kafka.tls_listen needs kafka.tls_certificate and kafka.tls_key");
    }
    if (s->kafka_advertised.count > s->kafka_listen.count + s->kafka_tls_listen.count) {
        config_fault(c, source_of(c, "kafka.advertised"),
                     "kafka.advertised has more addresses than kafka.listen and kafka.tls_listen");
    }
    for (size_t i = 0; i < s->kafka_advertised.count; i++) {
        char host[KAFKA_HOST_MAX];
        uint16_t port;
        beck_error err;
        if (kafka_service_endpoint(s->kafka_advertised.at[i], host, &port, &err)) {
            config_fault(c, source_of(c, "kafka.advertised"), "kafka.advertised: %s", err.text);
        }
    }
    if (s->kafka_wire.requests_max < s->kafka_wire.request_max) {
        config_fault(c, source_of(c, "kafka.requests_max"),
                     "kafka.requests_max is less than kafka.request_max: the largest request would "
                     "never fit");
    }
}

static void check_management(struct config *c)
{
    const struct settings *s = c->settings;
    check_addresses(c, "management.listen", &s->management_listen);
    check_addresses(c, "management.tls_listen", &s->management_tls_listen);
    if (s->management_tls_listen.count > 0 && (!s->http.tls_certificate || !s->http.tls_key)) {
        config_fault(c, source_of(c, "management.tls_listen"),
                     "management.tls_listen needs http.tls_certificate and http.tls_key");
    }
}

/* ---- buses and queues ---- */

static void check_bus(struct config *c, const struct bus_setting *bus)
{
    beck_error err;
    beck_bus_options o = bus->options;
    if (bus_name_check("bus", bus->record.name, false, &err) || bus_options_check(&o, true, &err)) {
        config_fault(c, bus->record.source, "buses.%.250s: %s", bus->record.name, err.text);
    }
    const char *vain = o.codec                        ? "codec"
                       : o.compact                    ? "compact"
                       : o.level == BECK_LEVEL_SYNCED ? "level: synced"
                                                      : NULL;
    if (o.storage == BECK_STORAGE_MEMORY && vain) {
        config_fault(
            c, bus->record.source,
            "buses.%.250s: a bus in memory is not written anywhere: take '%s' out, or make "
            "it 'storage: disk'",
            bus->record.name, vain);
    }
}

static const struct bus_setting *declared_bus(const struct settings *s, const char *name)
{
    const struct bus_setting *buses = s->buses.at;
    for (size_t i = 0; i < s->buses.count; i++) {
        if (strcmp(buses[i].record.name, name) == 0) {
            return &buses[i];
        }
    }
    return NULL;
}

static bool is_split(const struct settings *s, const struct queue_setting *queue,
                     const struct binding_setting *binding)
{
    const struct bus_setting *bus = declared_bus(s, binding->bus);
    return bus && bus->options.storage == BECK_STORAGE_MEMORY &&
           queue->options.storage != BECK_STORAGE_MEMORY;
}

static void fault_split(struct config *c, const struct queue_setting *queue, size_t n)
{
    const struct binding_setting *binding = (const struct binding_setting *)queue->bindings.at + n;
    config_fault(c, binding->record.source,
                 "queues.%.200s.bindings[%zu]: the queue is on disk and bus '%.200s' in "
                 "memory: make the queue 'storage: memory' as well",
                 queue->record.name, n, binding->bus);
}

/* A queue that exists may be in memory although the file does not say so: declared_check knows. */
static void check_bindings(struct config *c, const struct queue_setting *queue)
{
    bool known = given(&queue->record, setting_group_table("queues"), "storage");
    const char *name = queue->record.name;
    const struct binding_setting *bindings = queue->bindings.at;
    for (size_t i = 0; i < queue->bindings.count; i++) {
        beck_error err;
        if (bus_name_check("bus", bindings[i].bus, false, &err) ||
            pattern_check(beck_str(bindings[i].pattern), &err)) {
            config_fault(c, bindings[i].record.source, "queues.%.200s.bindings[%zu]: %s", name, i,
                         err.text);
            continue;
        }
        if (known && is_split(c->settings, queue, &bindings[i])) {
            fault_split(c, queue, i);
        }
    }
}

static void check_queue(struct config *c, struct queue_setting *queue)
{
    beck_error err;
    const char *name = queue->record.name;
    if (given(&queue->record, setting_group_table("queues"), "deadline") &&
        queue->options.deadline_ms == 0) {
        queue->options.deadline_ms = -1;
    }
    beck_queue_options o = queue->options;
    if (bus_name_check("queue", name, false, &err) || queue_options_check(&o, true, &err)) {
        config_fault(c, queue->record.source, "queues.%.250s: %s", name, err.text);
    }
    check_bindings(c, queue);
    const struct runner_options run = runners_options(queue);
    if (run.program_count > 0 && runner_check(&run, &err)) {
        config_fault(c, queue->record.source, "%s", err.text);
    }
}

/* ---- webhooks ---- */

static void check_hook(struct config *c, struct hook_setting *hook)
{
    struct hook_source *s = &hook->source;
    s->name = hook->record.name;
    s->secrets = hook->secrets.at;
    s->secret_count = hook->secrets.count;
    s->allow_origins = hook->allow_origins.at;
    s->allow_origin_count = hook->allow_origins.count;
    s->topics = hook->topics.at;
    s->topic_count = hook->topics.count;
    s->tolerance_ms = s->tolerance_ms ? s->tolerance_ms : -1;
    s->dedup_window_ms = s->dedup_window_ms ? s->dedup_window_ms : -1;
    beck_error err;
    struct hook *checked;
    beck_status status = bus_name_check("bus", s->bus, false, &err);
    if (!status && s->svix && s->provider != HOOK_STANDARD) {
        status = error_set(&err, BECK_EINVAL, "svix is for provider: standard; take it out");
    }
    status = status ? status : hook_new(s, NULL, &checked, &err);
    if (status) {
        config_fault(c, hook->record.source, "hooks.%.100s: %s", s->name, err.text);
    } else {
        hook_free(checked);
    }
}

/* ---- users ---- */

static uint32_t right_of(const char *name)
{
    uint32_t right = 0;
    for (int i = 0; i < USER_RIGHTS; i++) {
        right |= strcmp(user_right_names[i], name) == 0 ? 1u << i : 0;
    }
    return right;
}

size_t config_rules(const struct user_setting *user, struct access_rule out[ACCESS_RULES_MAX])
{
    const struct rule_setting *from = user->rules.at;
    for (size_t i = 0; i < user->rules.count; i++) {
        out[i] = (struct access_rule){.kind = from[i].bus     ? ACCESS_BUS
                                              : from[i].queue ? ACCESS_QUEUE
                                                              : ACCESS_SERVER,
                                      .pattern = from[i].bus ? from[i].bus : from[i].queue};
        for (size_t n = 0; n < from[i].rights.count; n++) {
            out[i].rights |= right_of(from[i].rights.at[n]);
        }
    }
    return user->rules.count;
}

static void check_rule(struct config *c, const struct user_setting *user, size_t i)
{
    const struct rule_setting *rule = (const struct rule_setting *)user->rules.at + i;
    const char *name = user->record.name;
    if ((rule->bus != NULL) + (rule->queue != NULL) + rule->server != 1) {
        config_fault(c, rule->record.source,
                     "users.%.200s.rules[%zu]: give one of bus, queue and server", name, i);
    }
    for (size_t n = 0; n < rule->rights.count; n++) {
        if (right_of(rule->rights.at[n]) == 0) {
            config_fault(
                c, rule->record.source,
                "users.%.200s.rules[%zu]: there is no right '%.60s': give some of publish, "
                "read, work, admin, create and describe",
                name, i, rule->rights.at[n]);
        }
    }
}

static void check_user(struct config *c, const struct user_setting *user)
{
    if (!user->password[0]) {
        config_fault(c, user->record.source, "users.%.200s: the password is empty",
                     user->record.name);
    }
    beck_error err;
    struct access_rule rules[ACCESS_RULES_MAX];
    size_t faults = c->faults;
    if (user_name_check("user", user->record.name, &err)) {
        config_fault(c, user->record.source, "users: %s", err.text);
    }
    if (strlen(user->password) > ACCESS_PASSWORD_MAX) {
        config_fault(c, user->record.source, "users.%.200s: a password has at most %d bytes",
                     user->record.name, ACCESS_PASSWORD_MAX);
    }
    for (size_t i = 0; i < user->rules.count; i++) {
        check_rule(c, user, i);
    }
    if (user->rules.count > ACCESS_RULES_MAX) {
        config_fault(c, user->record.source, "users.%.200s: too many rules: give at most %d",
                     user->record.name, ACCESS_RULES_MAX);
    } else if (c->faults == faults && user_rules_check(rules, config_rules(user, rules), &err)) {
        config_fault(c, user->record.source, "users.%.200s: %s", user->record.name, err.text);
    }
}

/* ---- the log ---- */

static void check_log(struct config *c)
{
    const char *file = c->settings->log_file, *slash = strrchr(file, '/');
    struct stat st;
    char dir[4096] = ".";
    if (slash) {
        snprintf(dir, sizeof dir, "%.*s", slash == file ? 1 : (int)(slash - file), file);
    }
    if (file[0] && (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))) {
        config_fault(c, source_of(c, "log.file"), "log.file: there is no directory '%.300s'", dir);
    } else if (file[0] && stat(file, &st) == 0 && S_ISDIR(st.st_mode)) {
        config_fault(c, source_of(c, "log.file"), "log.file: '%.300s' is a directory", file);
    }
}

/* ---- where there is nothing yet ---- */

static bool is_missing(const struct settings *s, const char *bus)
{
    char path[4096];
    struct stat st;
    int len = snprintf(path, sizeof path, "%s/%s-0", s->data, bus);
    return len < (int)sizeof path && stat(path, &st) != 0 && errno == ENOENT;
}

static bool will_be_made(const struct settings *s, const char *bus)
{
    const struct hook_setting *hooks = s->hooks.at;
    bool found = declared_bus(s, bus) != NULL;
    for (size_t i = 0; i < s->hooks.count && !found; i++) {
        found = strcmp(hooks[i].source.bus, bus) == 0;
    }
    return found;
}

static void check_new_bindings(struct config *c)
{
    const struct queue_setting *queues = c->settings->queues.at;
    for (size_t i = 0; i < c->settings->queues.count; i++) {
        const struct binding_setting *bindings = queues[i].bindings.at;
        for (size_t n = 0; n < queues[i].bindings.count; n++) {
            if (!will_be_made(c->settings, bindings[n].bus)) {
                config_fault(c, bindings[n].record.source,
                             "queues.%.200s.bindings[%zu]: there is no bus '%.200s': declare it "
                             "under buses",
                             queues[i].record.name, n, bindings[n].bus);
            } else if (is_split(c->settings, &queues[i], &bindings[n])) {
                fault_split(c, &queues[i], n);
            }
        }
    }
}

static void check_new_exposure(struct config *c)
{
    struct settings *s = c->settings;
    const struct {
        const char *row;
        const struct texts *list;
    } rows[] = {{"http.listen", &s->http_listen},
                {"http.tls_listen", &s->http_tls_listen},
                {"amqp.listen", &s->amqp_listen},
                {"amqp.tls_listen", &s->amqp_tls_listen},
                {"management.listen", &s->management_listen},
                {"management.tls_listen", &s->management_tls_listen},
                {"kafka.listen", &s->kafka_listen},
                {"kafka.tls_listen", &s->kafka_tls_listen}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t n = 0; n < rows[i].list->count; n++) {
            if (listen_address_is_remote(rows[i].list->at[n])) {
                config_fault(c, source_of(c, rows[i].row),
                             "%s: '%.100s' can be reached from other machines, and there is no "
                             "user: declare one, listen on 127.0.0.1 only, or set "
                             "access.anonymous_remote to true if everybody may do everything",
                             rows[i].row, rows[i].list->at[n]);
                return;
            }
        }
    }
}

size_t config_check_new(struct settings *s, config_fault_fn fault, void *ctx)
{
    struct config c = {.settings = s, .fault = fault, .ctx = ctx};
    if (is_missing(s, OWN_TOPOLOGY)) {
        check_new_bindings(&c);
    }
    if (is_missing(s, OWN_USERS) && s->users.count == 0 && !s->access.anonymous_remote) {
        check_new_exposure(&c);
    }
    return c.faults;
}

/* ---- all ---- */

void config_check(struct config *c)
{
    struct settings *s = c->settings;
    if (!s->data[0]) {
        config_fault(c, source_of(c, "data"),
                     "data is empty: give the path of the data directory, \".\" for this one");
    }
    check_http(c);
    check_amqp(c);
    check_kafka(c);
    check_management(c);
    check_log(c);
    struct bus_setting *buses = s->buses.at;
    for (size_t i = 0; i < s->buses.count; i++) {
        check_bus(c, &buses[i]);
    }
    struct queue_setting *queues = s->queues.at;
    for (size_t i = 0; i < s->queues.count; i++) {
        check_queue(c, &queues[i]);
    }
    struct hook_setting *hooks = s->hooks.at;
    for (size_t i = 0; i < s->hooks.count; i++) {
        check_hook(c, &hooks[i]);
    }
    struct user_setting *users = s->users.at;
    for (size_t i = 0; i < s->users.count; i++) {
        check_user(c, &users[i]);
    }
}
