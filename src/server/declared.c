/*
 * Making what the configuration declares, and changing what exists to it.
 *
 * A declared record is laid over the options in force, row by row as far as it names them; so
 * comparing, checking and changing are about whole options.
 */
#include "server/declared.h"
#include "api/handle.h"
#include "base/error.h"
#include "bus/bus.h"
#include "queue/queue.h"
#include <stdio.h>

#define CHANGES_MAX 16384

struct apply {
    const struct settings *s;
    beck *b;
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

/* As they are read: what means the same is the same. */
static beck_status is_same(const struct setting *row, const void *is, const void *wanted,
                           bool *same)
{
    struct buf a, b;
    buf_init(&a, CHANGES_MAX);
    buf_init(&b, CHANGES_MAX);
    beck_status status = setting_print(row, is, &a);
    status = status ? status : setting_print(row, wanted, &b);
    *same = !status && bytes_equal(buf_bytes(&a), buf_bytes(&b));
    buf_release(&a);
    buf_release(&b);
    return status;
}

static beck_status say_change(const struct setting *row, const void *is, const void *wanted,
                              struct buf *out)
{
    beck_status status = buf_printf(out, "%s%s from ", out->len ? ", " : "", row->name);
    status = status ? status : setting_print(row, is, out);
    status = status ? status : buf_append_text(out, " to ");
    return status ? status : setting_print(row, wanted, out);
}

/* Lays over `is` what the record names, and says what changes by that: "partitions from 1 to 4". Both
 * are records of the table with the engine's defaults filled in. */
static beck_status lay_over(const struct setting *rows, const struct record *record, void *is,
                            const void *wanted, struct buf *changes, beck_error *err)
{
    beck_status status = BECK_OK;
    for (size_t i = 0; rows[i].name && !status; i++) {
        bool same = !(record->given >> i & 1) || rows[i].kind == SETTING_RECORDS;
        if (!same) {
            status = is_same(&rows[i], is, wanted, &same);
        }
        if (!same && !status) {
            status = say_change(&rows[i], is, wanted, changes);
            memcpy((char *)is + rows[i].offset, (const char *)wanted + rows[i].offset,
                   rows[i].size);
        }
    }
    status = status ? status : buf_append_byte(changes, 0);
    return status ? error_set(err, status, "no memory to compare options") : BECK_OK;
}

static beck_status refuse(const struct setting *row, const void *is, beck_error *err)
{
    struct buf text;
    buf_init(&text, CHANGES_MAX);
    beck_status status = setting_print(row, is, &text);
    status = status ? status : buf_append_byte(&text, 0);
    status = status ? error_set(err, status, "no memory to compare options")
                    : error_set(err, BECK_EEXIST,
                                "it exists, and %s stays %s: say so in the configuration, or take "
                                "the line out",
                                row->name, (const char *)text.data);
    buf_release(&text);
    return status;
}

/* ---- buses ---- */

static const struct setting *bus_row(const char *name)
{
    return setting_find(setting_group_table("buses")->rows, name);
}

/* *found NULL: there is none. Else *is has the options that it is to have. */
static beck_status look_at_bus(const struct apply *a, const struct bus_setting *bus,
                               beck_bus **found, struct bus_setting *is, struct buf *changes,
                               beck_error *err)
{
    beck_bus_info info;
    struct bus_setting wanted = *bus;
    beck_status status = beck_bus_get(a->b, bus->record.name, found, err);
    if (status == BECK_ENOENT) {
        *found = NULL;
        return BECK_OK;
    }
    status = status ? status : beck_bus_info_get(*found, &info, err);
    status = status ? status : bus_options_check(&wanted.options, true, err);
    if (status) {
        return status;
    }
    *is = (struct bus_setting){.record = bus->record, .options = info.options};
    status = lay_over(setting_group_table("buses")->rows, &bus->record, is, &wanted, changes, err);
    if (status) {
        return status;
    }
    const struct bus_setting now = {.options = info.options};
    if (is->options.storage != info.options.storage) {
        return refuse(bus_row("storage"), &now, err);
    }
    if (is->options.read_synced != info.options.read_synced) {
        return refuse(bus_row("read_synced"), &now, err);
    }
    if (is->options.partitions < info.options.partitions) {
        return error_set(err, BECK_EEXIST,
                         "it exists and has %u partitions, which can become more, not fewer: say "
                         "so in the configuration, or take the line out",
                         info.options.partitions);
    }
    return BECK_OK;
}

static beck_status apply_bus(const struct apply *a, const struct bus_setting *bus,
                             struct buf *changes, beck_error *err)
{
    beck_bus *found;
    struct bus_setting is;
    beck_status status = look_at_bus(a, bus, &found, &is, changes, err);
    if (status) {
        return status;
    }
    if (!found) {
        status = beck_bus_create(a->b, bus->record.name, &bus->options, &found, err);
        if (!status) {
            LOG(a->log, LEVEL_INFO, "bus made", LOG_TEXT("bus", bus->record.name));
        }
        return status;
    }
    if (changes->len > 1) {
        status = beck_bus_alter(found, &is.options, err);
        if (!status) {
            LOG(a->log, LEVEL_INFO, "bus changed", LOG_TEXT("bus", bus->record.name),
                LOG_TEXT("what", (const char *)changes->data));
        }
    }
    return status;
}

/* ---- queues ---- */

/* *exists: then *is has the options that it is to have. */
static beck_status look_at_queue(const struct apply *a, const struct queue_setting *queue,
                                 bool *exists, struct queue_setting *is, struct buf *changes,
                                 beck_error *err)
{
    struct queue_setting wanted = *queue;
    beck_queue_info info;
    beck_status status = beck_queue_info_get(a->b, queue->record.name, &info, err);
    *exists = status != BECK_ENOENT;
    *is = *queue;
    if (status) {
        return *exists ? status : BECK_OK;
    }
    status = queue_options_check(&wanted.options, true, err);
    if (status) {
        return status;
    }
    is->options = info.options;
    const struct setting *rows = setting_group_table("queues")->rows;
    status = lay_over(rows, &queue->record, is, &wanted, changes, err);
    if (status) {
        return status;
    }
    const struct queue_setting now = {.options = info.options};
    if (is->options.storage != info.options.storage) {
        return refuse(setting_find(rows, "storage"), &now, err);
    }
    if (is->options.priority_max != info.options.priority_max) {
        return refuse(setting_find(rows, "priorities"), &now, err);
    }
    struct queue *q;
    status = handle_get_queue(a->b, queue->record.name, &q, err);
    if (status) {
        return status;
    }
    status = queue_check_alter(q, &is->options, err);
    queue_release(q);
    return status;
}

/* The storage of a bus that is there, or will be. One that is there may be otherwise than what the file
 * does not name is by default. */
static beck_status storage_of(const struct apply *a, const char *name, beck_storage *out,
                              beck_error *err)
{
    const struct bus_setting *buses = a->s->buses.at;
    const struct hook_setting *hooks = a->s->hooks.at;
    beck_bus *found;
    beck_bus_info info;
    beck_status status = beck_bus_get(a->b, name, &found, err);
    status = status ? status : beck_bus_info_get(found, &info, err);
    if (!status) {
        *out = info.options.storage;
        return BECK_OK;
    }
    for (size_t i = 0; i < a->s->buses.count && status == BECK_ENOENT; i++) {
        if (strcmp(buses[i].record.name, name) == 0) {
            *out = buses[i].options.storage;
            return BECK_OK;
        }
    }
    for (size_t i = 0; i < a->s->hooks.count && status == BECK_ENOENT; i++) {
        if (strcmp(hooks[i].source.bus, name) == 0) {
            *out = BECK_STORAGE_DISK;
            return BECK_OK;
        }
    }
    return status;
}

static beck_status check_queue(const struct apply *a, const struct queue_setting *queue,
                               struct buf *changes, beck_error *err)
{
    bool exists;
    struct queue_setting is;
    const struct binding_setting *bindings = queue->bindings.at;
    beck_status status = look_at_queue(a, queue, &exists, &is, changes, err);
    for (size_t i = 0; i < queue->bindings.count && !status; i++) {
        beck_storage storage;
        status = storage_of(a, bindings[i].bus, &storage, err);
        if (!status && storage == BECK_STORAGE_MEMORY &&
            is.options.storage != BECK_STORAGE_MEMORY) {
            status = error_set(err, BECK_EINVAL,
                               "it is on disk and cannot be bound to bus '%.200s', which is in "
                               "memory: make it 'storage: memory' as well",
                               bindings[i].bus);
        }
    }
    return status;
}

static beck_status bind(const struct apply *a, const struct queue_setting *queue, beck_error *err)
{
    const struct binding_setting *bindings = queue->bindings.at;
    beck_status status = BECK_OK;
    for (size_t i = 0; i < queue->bindings.count && !status; i++) {
        beck_binding binding = {bindings[i].bus, bindings[i].pattern, bindings[i].from};
        status = beck_queue_bind(a->b, queue->record.name, &binding, err);
    }
    return status;
}

struct strangers {
    const struct apply *a;
    const struct queue_setting *queue;
};

/* Made by hand, or declared once: only its owner knows which. */
static int tell_stranger(void *ctx, const beck_binding *is)
{
    const struct strangers *x = ctx;
    const struct binding_setting *bindings = x->queue->bindings.at;
    for (size_t i = 0; i < x->queue->bindings.count; i++) {
        if (strcmp(bindings[i].bus, is->bus) == 0 &&
            strcmp(bindings[i].pattern, is->pattern ? is->pattern : "#") == 0) {
            return 0;
        }
    }
    LOG(x->a->log, LEVEL_WARN,
        "a queue has a binding that is not declared, which stays: beck queue unbind ends it",
        LOG_TEXT("queue", x->queue->record.name), LOG_TEXT("bus", is->bus),
        LOG_TEXT("pattern", is->pattern ? is->pattern : "#"));
    return 0;
}

static beck_status apply_queue(const struct apply *a, struct queue_setting *queue,
                               struct buf *changes, beck_error *err)
{
    const char *name = queue->record.name;
    bool exists;
    struct queue_setting is;
    beck_status status = look_at_queue(a, queue, &exists, &is, changes, err);
    if (!status && !exists) {
        status = beck_queue_create(a->b, name, &queue->options, err);
        queue->made = !status;
        if (!status) {
            LOG(a->log, LEVEL_INFO, "queue made", LOG_TEXT("queue", name));
        }
    } else if (!status && changes->len > 1) {
        status = beck_queue_alter(a->b, name, &is.options, err);
        if (!status) {
            LOG(a->log, LEVEL_INFO, "queue changed", LOG_TEXT("queue", name),
                LOG_TEXT("what", (const char *)changes->data));
        }
    }
    status = status ? status : bind(a, queue, err);
    if (!status && queue->bindings.count > 0) {
        struct strangers x = {a, queue};
        status = beck_queue_bindings(a->b, name, tell_stranger, &x, err);
    }
    return status;
}

/* ---- all ---- */

beck_status declared_check(const struct settings *s, beck *b, struct log *log, beck_error *err)
{
    struct apply a = {.s = s, .b = b, .log = log, .err = err};
    struct buf changes;
    beck_error why;
    beck_status status;
    buf_init(&changes, CHANGES_MAX);
    const struct bus_setting *buses = s->buses.at;
    for (size_t i = 0; i < s->buses.count; i++) {
        beck_bus *found;
        struct bus_setting is;
        buf_clear(&changes);
        if ((status = look_at_bus(&a, &buses[i], &found, &is, &changes, &why))) {
            failed(&a, "bus", &buses[i].record, status, &why);
        }
    }
    const struct queue_setting *queues = s->queues.at;
    for (size_t i = 0; i < s->queues.count; i++) {
        buf_clear(&changes);
        if ((status = check_queue(&a, &queues[i], &changes, &why))) {
            failed(&a, "queue", &queues[i].record, status, &why);
        }
    }
    buf_release(&changes);
    return a.status;
}

beck_status declared_buses(const struct settings *s, beck *b, struct log *log, beck_error *err)
{
    struct apply a = {.s = s, .b = b, .log = log, .err = err};
    const struct bus_setting *buses = s->buses.at;
    struct buf changes;
    buf_init(&changes, CHANGES_MAX);
    for (size_t i = 0; i < s->buses.count; i++) {
        beck_error why;
        buf_clear(&changes);
        beck_status status = apply_bus(&a, &buses[i], &changes, &why);
        if (status) {
            failed(&a, "bus", &buses[i].record, status, &why);
        }
    }
    buf_release(&changes);
    return a.status;
}

beck_status declared_queues(struct settings *s, beck *b, struct log *log, beck_error *err)
{
    struct apply a = {.s = s, .b = b, .log = log, .err = err};
    struct queue_setting *queues = s->queues.at;
    struct buf changes;
    buf_init(&changes, CHANGES_MAX);
    for (size_t i = 0; i < s->queues.count; i++) {
        beck_error why;
        buf_clear(&changes);
        beck_status status = apply_queue(&a, &queues[i], &changes, &why);
        if (status) {
            failed(&a, "queue", &queues[i].record, status, &why);
        }
    }
    buf_release(&changes);
    return a.status;
}
