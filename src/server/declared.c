/* Making what the configuration declares, and comparing it with what exists. */
#include "server/declared.h"
#include "base/error.h"
#include "bus/bus.h"
#include "queue/queue.h"
#include "server/config.h"
#include <stdio.h>

struct apply {
    beck *b;
    struct access *access;
    struct log *log;
    beck_status status; /* the first failure */
    beck_error *err;
};

static void failed(struct apply *a, const char *kind, const struct record *record,
                   beck_status status, const beck_error *why)
{
    LOG(a->log, LEVEL_ERROR, "what the configuration declares cannot be had",
        LOG_TEXT(kind, record->name), LOG_TEXT("at", record->source), LOG_TEXT("error", why->text));
    if (!a->status) {
        a->status = error_set(a->err, status, "%s: %s '%.200s': %s", record->source, kind,
                              record->name, why->text);
    }
}

/* ---- comparing ---- */

/* What the configuration names and differs, as text: "partitions is 1, the configuration says 4".
 * Both are records of the table; `is` as in force, `wanted` with the engine's defaults filled in. */
static beck_status compare(const struct setting *rows, const struct record *record, const void *is,
                           const void *wanted, const char *kind, beck_error *err)
{
    struct buf a, b, text;
    buf_init(&a, 4096);
    buf_init(&b, 4096);
    buf_init(&text, 300);
    beck_status status = BECK_OK;
    for (size_t i = 0; rows[i].name && !status; i++) {
        if (!(record->given >> i & 1) || rows[i].kind == SETTING_RECORDS) {
            continue;
        }
        buf_clear(&a);
        buf_clear(&b);
        status = setting_print(&rows[i], is, &a);
        status = status ? status : setting_print(&rows[i], wanted, &b);
        if (!status && !bytes_equal(buf_bytes(&a), buf_bytes(&b))) {
            /* Of a long list the first differences say enough. */
            (void)buf_printf(&text, "%s%s is %.*s and not %.*s", text.len ? ", " : "", rows[i].name,
                             (int)a.len, (const char *)a.data, (int)b.len, (const char *)b.data);
        }
    }
    if (!status && text.len > 0) {
        status = error_set(err, BECK_EEXIST,
                           "it exists and differs: %.*s. Correct the configuration, or change the "
                           "%s: beck %s alter",
                           (int)text.len, (const char *)text.data, kind, kind);
    }
    buf_release(&a);
    buf_release(&b);
    buf_release(&text);
    return status;
}

/* ---- buses ---- */

static beck_status apply_bus(struct apply *a, const struct bus_setting *bus, beck_error *err)
{
    beck_bus *found;
    struct bus_setting is = {.record = bus->record}, wanted = *bus;
    beck_bus_info info;
    beck_status status = beck_bus_get(a->b, bus->record.name, &found, err);
    if (status == BECK_ENOENT) {
        status = beck_bus_create(a->b, bus->record.name, &bus->options, &found, err);
        if (!status) {
            LOG(a->log, LEVEL_INFO, "bus made", LOG_TEXT("bus", bus->record.name));
        }
        return status;
    }
    status = status ? status : beck_bus_info_get(found, &info, err);
    status = status ? status : bus_options_check(&wanted.options, true, err);
    if (!status) {
        is.options = info.options;
        status =
            compare(setting_group_table("buses")->rows, &bus->record, &is, &wanted, "bus", err);
    }
    return status;
}

/* ---- queues ---- */

static beck_status bind(struct apply *a, const struct queue_setting *queue, beck_error *err)
{
    const struct binding_setting *bindings = queue->bindings.at;
    beck_status status = BECK_OK;
    for (size_t i = 0; i < queue->bindings.count && !status; i++) {
        beck_binding binding = {bindings[i].bus, bindings[i].pattern, bindings[i].from};
        status = beck_queue_bind(a->b, queue->record.name, &binding, err);
    }
    return status;
}

static beck_status apply_queue(struct apply *a, struct queue_setting *queue, beck_error *err)
{
    const char *name = queue->record.name;
    struct queue_setting is = *queue, wanted = *queue;
    beck_queue_info info;
    beck_status status = beck_queue_info_get(a->b, name, &info, err);
    if (status == BECK_ENOENT) {
        status = beck_queue_create(a->b, name, &queue->options, err);
        if (!status) {
            LOG(a->log, LEVEL_INFO, "queue made", LOG_TEXT("queue", name));
            queue->made = true;
        }
    } else if (!status) {
        status = queue_options_check(&wanted.options, true, err);
        is.options = info.options;
        status = status ? status
                        : compare(setting_group_table("queues")->rows, &queue->record, &is, &wanted,
                                  "queue", err);
    }
    return status ? status : bind(a, queue, err);
}

/* ---- users ---- */

struct find_user {
    const char *name;
    bool found;
};

static int is_user(void *ctx, const struct access_user *user)
{
    struct find_user *find = ctx;
    find->found = strcmp(find->name, user->name) == 0;
    return find->found;
}

static beck_status apply_user(struct apply *a, const struct user_setting *user, beck_error *err)
{
    struct find_user find = {.name = user->record.name};
    struct access_rule rules[ACCESS_RULES_MAX];
    const struct rule_setting *from = user->rules.at;
    beck_status status = access_list_users(a->access, is_user, &find, err);
    if (status || find.found) {
        return status;
    }
    if (user->rules.count > ACCESS_RULES_MAX) {
        return error_set(err, BECK_ELIMIT, "too many rules: give at most %d", ACCESS_RULES_MAX);
    }
    for (size_t i = 0; i < user->rules.count; i++) {
        rules[i] = (struct access_rule){.kind = from[i].bus     ? ACCESS_BUS
                                                : from[i].queue ? ACCESS_QUEUE
                                                                : ACCESS_SERVER,
                                        .pattern = from[i].bus ? from[i].bus : from[i].queue};
        for (size_t n = 0; n < from[i].rights.count; n++) {
            rules[i].rights |= config_right(from[i].rights.at[n]);
        }
    }
    status = access_put_user(a->access, find.name, beck_str(user->password), rules,
                             user->rules.count, err);
    if (!status) {
        LOG(a->log, LEVEL_INFO, "user made", LOG_TEXT("user", find.name));
    }
    return status;
}

/* ---- all ---- */

beck_status declared_apply(const struct settings *s, beck *b, struct access *access,
                           struct log *log, beck_error *err)
{
    struct apply a = {.b = b, .access = access, .log = log, .err = err};
    beck_error why;
    beck_status status;
    const struct bus_setting *buses = s->buses.at;
    for (size_t i = 0; i < s->buses.count; i++) {
        if ((status = apply_bus(&a, &buses[i], &why))) {
            failed(&a, "bus", &buses[i].record, status, &why);
        }
    }
    struct queue_setting *queues = s->queues.at;
    for (size_t i = 0; i < s->queues.count; i++) {
        if ((status = apply_queue(&a, &queues[i], &why))) {
            failed(&a, "queue", &queues[i].record, status, &why);
        }
    }
    const struct user_setting *users = s->users.at;
    for (size_t i = 0; i < s->users.count; i++) {
        if ((status = apply_user(&a, &users[i], &why))) {
            failed(&a, "user", &users[i].record, status, &why);
        }
    }
    return a.status;
}
