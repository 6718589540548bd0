/*
 * What exists, as records of the log __topology. The subject names the thing, the data are its
 * options as JSON; the last record counts, one without data means that it is gone.
 *
 *   bus/<name>                          options of the bus, "id":[its 16 bytes as 4 numbers], and "whole": 1 when
 *                                       offsets that are missing are a fault, 0 when they are not, 2 or
 *                                       nothing when that is not known (whole.c)
 *   queue/<name>                        options of the queue, "paused", "number" (not of queues that
 *                                       are older and have joined no bus), and "lifetime_ms" (queue_lifetime)
 *   binding/<queue>/<bus>/<pattern>     {"first":[offset per partition]}; without a pattern: the queue has
 *                                       joined the bus (handle_join)
 */
#include "api/handle.h"

#include "event/json.h"
#include "log/cursor.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- options <-> JSON, by tables ---- */

enum field_kind { FIELD_U32, FIELD_I64, FIELD_BOOL };

struct field {
    const char *name;
    size_t offset;
    enum field_kind kind;
};

#define U32(type, member)                                                                          \
    {                                                                                              \
#member, offsetof(type, member), FIELD_U32                                                 \
    }
#define I64(type, member)                                                                          \
    {                                                                                              \
#member, offsetof(type, member), FIELD_I64                                                 \
    }
#define FLAG(type, member)                                                                         \
    {                                                                                              \
#member, offsetof(type, member), FIELD_BOOL                                                \
    }

/* As the record says; the table is of both. */
struct bus_fields {
    beck_bus_options options; /* first */
    uint32_t whole;           /* enum bus_whole; older versions do not write it */
};

static const struct field bus_fields[] = {
    U32(beck_bus_options, partitions),      U32(beck_bus_options, level),
    FLAG(beck_bus_options, read_synced),    U32(beck_bus_options, codec),
    I64(beck_bus_options, retention_ms),    I64(beck_bus_options, retention_bytes),
    FLAG(beck_bus_options, compact),        I64(beck_bus_options, segment_bytes),
    I64(beck_bus_options, segment_ms),      I64(beck_bus_options, dedup_window_ms),
    U32(beck_bus_options, event_bytes_max), I64(beck_bus_options, delete_retention_ms),
    U32(struct bus_fields, whole),
};

struct queue_fields {
    beck_queue_options options;
    bool paused;
    int64_t number;
    int64_t lifetime_ms;
};

static const struct field queue_fields[] = {
    U32(struct queue_fields, options.attempts_max),
    I64(struct queue_fields, options.deadline_ms),
    I64(struct queue_fields, options.ttl_ms),
    I64(struct queue_fields, options.length_max),
    U32(struct queue_fields, options.overflow),
    U32(struct queue_fields, options.priority_max),
    FLAG(struct queue_fields, options.no_dead_letters),
    U32(struct queue_fields, options.backoff.kind),
    I64(struct queue_fields, options.backoff.first_ms),
    I64(struct queue_fields, options.backoff.max_ms),
    U32(struct queue_fields, options.backoff.jitter_percent),
    U32(struct queue_fields, options.backoff.list_count),
    FLAG(struct queue_fields, paused),
    I64(struct queue_fields, number),
    I64(struct queue_fields, lifetime_ms),
};

#define OPTIONS_JSON_MAX 4096
#define COUNT(table) (sizeof(table) / sizeof *(table))

static void write_fields(struct buf *out, const struct field *fields, size_t count,
                         const void *object)
{
    for (size_t i = 0; i < count; i++) {
        const char *at = (const char *)object + fields[i].offset;
        uint32_t u = 0;
        int64_t n = 0;
        if (fields[i].kind == FIELD_I64)
            memcpy(&n, at, sizeof n);
        else if (fields[i].kind == FIELD_U32)
            memcpy(&u, at, sizeof u);
        else
            u = *(const bool *)at;
        n += u;
        buf_printf(out, "%s\"%s\":%lld", i ? "," : "{", fields[i].name, (long long)n);
    }
}

static bool token_number(const struct json_token *t, int64_t *out)
{
    uint64_t u;
    bool negative = t->raw.len > 0 && *(const char *)t->raw.data == '-';
    if (t->kind != JSON_NUMBER ||
        !bytes_to_u64(bytes_of((const char *)t->raw.data + negative, t->raw.len - negative), &u) ||
        u > INT64_MAX)
        return false;
    *out = negative ? -(int64_t)u : (int64_t)u;
    return true;
}

static void set_field(const struct field *fields, size_t count, void *object, beck_bytes name,
                      int64_t n)
{
    for (size_t i = 0; i < count; i++) {
        char *at = (char *)object + fields[i].offset;
        if (!bytes_equal_text(name, fields[i].name))
            continue;
        uint32_t u = (uint32_t)n;
        if (fields[i].kind == FIELD_I64)
            memcpy(at, &n, sizeof n);
        else if (fields[i].kind == FIELD_U32)
            memcpy(at, &u, sizeof u);
        else
            *(bool *)at = n != 0;
    }
}

/* Reads an object of numbers; one member may be an array of them. */
static beck_status read_fields(beck_bytes json, const struct field *fields, size_t count,
                               void *object, int64_t *array, uint32_t array_max,
                               uint32_t *array_count, beck_error *err)
{
    struct json_reader r;
    struct json_token t, name = {0};
    bool in_array = false;
    json_reader_init(&r, json);
    *array_count = 0;
    for (;;) {
        beck_status status = json_next(&r, &t, err);
        if (status || t.kind == JSON_END)
            return status;
        int64_t n = 0;
        if (t.kind == JSON_NAME)
            name = t;
        else if (t.kind == JSON_ARRAY || t.kind == JSON_ARRAY_END)
            in_array = t.kind == JSON_ARRAY;
        else if (token_number(&t, &n) && in_array && *array_count < array_max)
            array[(*array_count)++] = n;
        else if (t.kind == JSON_NUMBER && !in_array)
            set_field(fields, count, object, name.raw, n);
    }
}

/* ---- writing ---- */

#define BINDING_SUBJECT 1024 /* the longest, with room to spare */

static beck_status put_at(beck *b, const char *subject, struct buf *json, beck_level level,
                          beck_error *err)
{
    beck_event e = {.type = beck_str("__topology"), .subject = beck_str(subject)};
    if (json)
        e.data = buf_bytes(json);
    if (!b->topology)
        return BECK_OK;
    beck_publish_options o = {.level = level, .no_context = true};
    return bus_publish(b->topology, &e, 1, &o, NULL, err);
}

static beck_status put(beck *b, const char *subject, struct buf *json, beck_error *err)
{
    return put_at(b, subject, json, BECK_LEVEL_SYNCED, err);
}

/* With room for all options: what is written then cannot fail. */
static beck_status begin_json(struct buf *json, beck_error *err)
{
    buf_init(json, OPTIONS_JSON_MAX);
    beck_status status = buf_reserve(json, OPTIONS_JSON_MAX);
    return status ? error_set(err, status, "no memory to write down options") : BECK_OK;
}

beck_status topology_put_bus(beck *b, const char *name, const beck_bus_options *options,
                             const uint8_t *id, enum bus_whole whole, beck_error *err)
{
    char subject[300];
    snprintf(subject, sizeof subject, "bus/%s", name);
    if (!options)
        return put(b, subject, NULL, err);
    struct bus_fields f = {*options, whole};
    struct buf json;
    beck_status status = begin_json(&json, err);
    if (!status) {
        write_fields(&json, bus_fields, COUNT(bus_fields), &f);
        buf_printf(&json, ",\"id\":[%u,%u,%u,%u]}", get_u32(id), get_u32(id + 4), get_u32(id + 8),
                   get_u32(id + 12));
        status = put(b, subject, &json, err);
    }
    buf_release(&json);
    return status;
}

static beck_status put_queue(beck *b, const char *name, const beck_queue_options *options,
                             bool paused, uint64_t number, int64_t lifetime_ms, beck_level level,
                             beck_error *err)
{
    char subject[300];
    snprintf(subject, sizeof subject, "queue/%s", name);
    if (!options)
        return put(b, subject, NULL, err);
    struct queue_fields f = {*options, paused, (int64_t)number, lifetime_ms};
    struct buf json;
    beck_status status = begin_json(&json, err);
    if (!status) {
        write_fields(&json, queue_fields, COUNT(queue_fields), &f);
        buf_append_text(&json, ",\"list_ms\":[");
        for (uint32_t i = 0; i < options->backoff.list_count; i++)
            buf_printf(&json, "%s%lld", i ? "," : "", (long long)options->backoff.list_ms[i]);
        buf_append_text(&json, "]}");
        status = put_at(b, subject, &json, level, err);
    }
    buf_release(&json);
    return status;
}

beck_status topology_put_queue(beck *b, const char *name, const beck_queue_options *options,
                               bool paused, uint64_t number, int64_t lifetime_ms, beck_error *err)
{
    return put_queue(b, name, options, paused, number, lifetime_ms, BECK_LEVEL_SYNCED, err);
}

beck_status topology_note_queue(beck *b, const char *name, const beck_queue_options *options,
                                bool paused, uint64_t number, int64_t lifetime_ms, beck_error *err)
{
    return put_queue(b, name, options, paused, number, lifetime_ms, BECK_LEVEL_WRITTEN, err);
}

beck_status topology_delete_queue(beck *b, const char *name, char *const *bindings, size_t count,
                                  beck_error *err)
{
    beck_event *events = calloc(count + 1, sizeof *events);
    char(*subjects)[BINDING_SUBJECT] = calloc(count + 1, sizeof *subjects);
    beck_status status = BECK_OK;
    if (!events || !subjects)
        status = error_set(err, BECK_ENOMEM, "no memory to delete a queue");
    for (size_t i = 0; i <= count && !status; i++) {
        if (i == 0)
            snprintf(subjects[i], sizeof *subjects, "queue/%s", name);
        else
            snprintf(subjects[i], sizeof *subjects, "binding/%s/%s/%s", name, bindings[2 * (i - 1)],
                     bindings[2 * (i - 1) + 1]);
        events[i] = (beck_event){.type = beck_str("__topology"), .subject = beck_str(subjects[i])};
    }
    beck_publish_options o = {.level = BECK_LEVEL_SYNCED, .no_context = true};
    if (!status)
        status = bus_publish(b->topology, events, count + 1, &o, NULL, err);
    free(events);
    free(subjects);
    return status;
}

beck_status topology_put_binding(beck *b, const char *queue, const char *bus, const char *pattern,
                                 const int64_t *first, uint32_t count, beck_error *err)
{
    char subject[BINDING_SUBJECT];
    snprintf(subject, sizeof subject, "binding/%s/%s/%s", queue, bus, pattern);
    if (!first)
        return put(b, subject, NULL, err);
    struct buf json;
    buf_init(&json, 1u << 20);
    beck_status status = buf_append_text(&json, "{\"first\":[");
    for (uint32_t i = 0; i < count && !status; i++)
        status = buf_printf(&json, "%s%lld", i ? "," : "", (long long)first[i]);
    if (!status)
        status = buf_append_text(&json, "]}");
    if (status)
        error_set(err, status, "no memory to write down a binding");
    else
        status = put(b, subject, &json, err);
    buf_release(&json);
    return status;
}

/* ---- reading ---- */

/* The last record of each subject, in order of first appearance. */
struct item {
    char *subject;
    char *json;
    size_t json_len;
    bool gone;
};
struct items {
    struct item *list;
    size_t count, cap;
    uint32_t *table;   /* by subject: places in the list from 1, 0: free */
    size_t table_size; /* more than twice the list's */
};

/* Where in the table the subject is, or would be. */
static uint32_t *item_place(const struct items *items, beck_bytes subject)
{
    size_t at = bytes_hash(subject.data, subject.len, 0) & (items->table_size - 1);
    while (items->table[at] &&
           !bytes_equal_text(subject, items->list[items->table[at] - 1].subject))
        at = (at + 1) & (items->table_size - 1);
    return &items->table[at];
}

static beck_status more_items(struct items *items)
{
    size_t cap = items->cap ? items->cap * 2 : 64;
    struct item *grown = realloc(items->list, cap * sizeof *grown);
    if (!grown)
        return BECK_ENOMEM;
    items->list = grown;
    uint32_t *table = calloc(cap * 4, sizeof *table);
    if (!table)
        return BECK_ENOMEM;
    free(items->table);
    items->table = table;
    items->table_size = cap * 4;
    items->cap = cap;
    for (size_t i = 0; i < items->count; i++)
        *item_place(items, beck_str(items->list[i].subject)) = (uint32_t)i + 1;
    return BECK_OK;
}

static beck_status note_item(struct items *items, const struct record_view *v)
{
    if (items->count == items->cap && more_items(items))
        return BECK_ENOMEM;
    uint32_t *place = item_place(items, v->key);
    size_t number = *place;
    if (number == 0) {
        char *subject = strndup(v->key.data, v->key.len);
        if (!subject)
            return BECK_ENOMEM;
        items->list[items->count++] = (struct item){.subject = subject};
        number = items->count;
        *place = (uint32_t)number;
    }
    assert(number <= items->count);
    struct item *found = &items->list[number - 1];
    free(found->json);
    found->json = NULL;
    found->gone = v->event.data.data == NULL;
    if (found->gone)
        return BECK_OK;
    found->json_len = v->event.data.len;
    found->json = strndup(v->event.data.data, v->event.data.len);
    return found->json ? BECK_OK : BECK_ENOMEM;
}

static beck_status read_items(struct partition *topology, struct items *items, beck_error *err)
{
    struct cursor *c;
    beck_status status = cursor_open(topology, &c, err);
    if (status)
        return status;
    for (int64_t offset = 0; !status;) {
        const struct record_view *v;
        status = cursor_read(c, offset, false, &v, NULL, err);
        if (status)
            break;
        offset = v->offset + 1;
        if (note_item(items, v))
            status = error_set(err, BECK_ENOMEM, "no memory to read what exists");
    }
    cursor_close(c);
    return status == BECK_END ? BECK_OK : status;
}

/* Of a bus that is older than ids of buses: the first partition's is that of all. */
static beck_status give_id(beck *b, beck_bus *bus, const beck_bus_options *options, beck_error *err)
{
    beck_status status = BECK_OK;
    for (uint32_t i = 0; i < bus->partition_count && !status; i++)
        status = partition_write_id(bus_partition(bus, i), bus_id(bus), err);
    return status ? status
                  : topology_put_bus(b, bus->name, options, bus_id(bus), handle_whole(bus), err);
}

static beck_status read_bus(const struct item *item, struct bus_fields *f, int64_t words[4],
                            uint32_t *count, beck_error *err)
{
    *f = (struct bus_fields){.options.storage = BECK_STORAGE_DISK, .whole = BUS_UNSURE};
    beck_status status = read_fields(bytes_of(item->json, item->json_len), bus_fields,
                                     COUNT(bus_fields), f, words, 4, count, err);
    return status ? status : bus_options_check(&f->options, true, err);
}

static beck_status load_bus(beck *b, const struct item *item, beck_error *err)
{
    struct bus_fields f;
    int64_t words[4];
    uint32_t count;
    uint8_t id[16];
    beck_bus *bus;
    const char *name = item->subject + 4;
    beck_status status = read_bus(item, &f, words, &count, err);
    for (uint32_t i = 0; i < 4 && count == 4 && !status; i++)
        put_u32(id + 4 * (size_t)i, (uint32_t)words[i]);
    if (!status)
        status = handle_add_bus(b, name, &f.options, count == 4 ? id : NULL, f.whole != BUS_WHOLE,
                                &bus, err);
    if (status || b->read_only)
        return status;
    bus->unsure = f.whole == BUS_UNSURE;
    return count == 4 ? BECK_OK : give_id(b, bus, &f.options, err);
}

static beck_status load_queue(beck *b, const struct item *item, beck_error *err)
{
    struct queue_fields f = {.options.storage = BECK_STORAGE_DISK, .lifetime_ms = -1};
    uint32_t count;
    struct queue *q;
    beck_status status =
        read_fields(bytes_of(item->json, item->json_len), queue_fields, COUNT(queue_fields), &f,
                    f.options.backoff.list_ms, 16, &count, err);
    if (!status)
        status = queue_options_check(&f.options, true, err);
    if (!status)
        status = handle_add_queue(b, item->subject + 6, &f.options, &q, err);
    if (!status && f.number > 0)
        queue_set_number(q, (uint64_t)f.number);
    if (!status) {
        queue_set_lifetime(q, f.lifetime_ms);
        queue_pause(q, f.paused);
    }
    return status;
}

static beck_status load_binding(beck *b, const struct item *item, beck_error *err)
{
    char *queue = item->subject + 8, *bus = strchr(queue, '/');
    char *pattern = bus ? strchr(bus + 1, '/') : NULL;
    if (!pattern)
        return error_set(err, BECK_ECORRUPT, "\"%s\" in __topology names no binding",
                         item->subject);
    *bus++ = *pattern++ = 0;
    struct queue *q = handle_find_queue(b, queue);
    beck_bus *from = handle_find_bus(b, bus);
    /* A queue that was deleted took its bindings with it. */
    if (!q || !from)
        return BECK_OK;
    int64_t *first = calloc(from->partition_count, sizeof *first);
    uint32_t count;
    if (!first)
        return error_set(err, BECK_ENOMEM, "no memory for a binding");
    beck_status status = read_fields(bytes_of(item->json, item->json_len), NULL, 0, NULL, first,
                                     from->partition_count, &count, err);
    if (!status)
        status = queue_bind(q, from, pattern, first, true, err);
    free(first);
    /* Who addresses events to a queue has rules for it that the engine does not know, and says them
     * once it is open. */
    if (!status && !*pattern)
        queue_hold(q, true);
    return status;
}

static void release_items(struct items *items)
{
    for (size_t i = 0; i < items->count; i++) {
        free(items->list[i].subject);
        free(items->list[i].json);
    }
    free(items->list);
    free(items->table);
}

/* NULL: there is none. */
static const struct item *find_item(const struct items *items, const char *kind, const char *name)
{
    char subject[300];
    snprintf(subject, sizeof subject, "%s/%s", kind, name);
    uint32_t place = items->count > 0 ? *item_place(items, beck_str(subject)) : 0;
    return place ? &items->list[place - 1] : NULL;
}

beck_status topology_find(beck *b, const char *kind, const char *name, enum topology_last *out,
                          beck_error *err)
{
    struct items items = {0};
    beck_status status = read_items(bus_partition(b->topology, 0), &items, err);
    const struct item *last = find_item(&items, kind, name);
    *out = !last ? TOPOLOGY_NOTHING : last->gone ? TOPOLOGY_GONE : TOPOLOGY_THERE;
    release_items(&items);
    return status;
}

beck_status topology_each_bus(struct partition *topology,
                              beck_status (*each)(void *ctx, const char *name,
                                                  const beck_bus_options *options, bool gaps),
                              void *ctx, beck_error *err)
{
    struct items items = {0};
    beck_status status = read_items(topology, &items, err);
    for (size_t i = 0; i < items.count && !status; i++) {
        struct bus_fields f;
        int64_t words[4];
        uint32_t count;
        if (items.list[i].gone || strncmp(items.list[i].subject, "bus/", 4) != 0)
            continue;
        status = read_bus(&items.list[i], &f, words, &count, err);
        if (!status &&
            (status = each(ctx, items.list[i].subject + 4, &f.options, f.whole != BUS_WHOLE)))
            error_set(err, status, "no memory for a list of buses");
    }
    release_items(&items);
    return status;
}

static enum leftover is_left(void *ctx, const char *bus)
{
    const struct item *item = find_item(ctx, "bus", bus);
    if (item)
        return item->gone ? LEFTOVER_GONE : LEFTOVER_NONE;
    return bus_name_check("bus", bus, false, NULL) ? LEFTOVER_NONE : LEFTOVER_UNKNOWN;
}

beck_status topology_load(beck *b, beck_error *err)
{
    static const char *const prefixes[] = {"bus/", "queue/", "binding/"};
    struct items items = {0};
    beck_status status = read_items(bus_partition(b->topology, 0), &items, err);
    for (int kind = 0; kind < (b->read_only ? 1 : 3) && !status; kind++) {
        for (size_t i = 0; i < items.count && !status; i++) {
            struct item *item = &items.list[i];
            if (item->gone || strncmp(item->subject, prefixes[kind], strlen(prefixes[kind])) != 0)
                continue;
            status = kind == 0   ? load_bus(b, item, err)
                     : kind == 1 ? load_queue(b, item, err)
                                 : load_binding(b, item, err);
        }
    }
    beck_error why = {0};
    if (!status && !b->read_only && leftovers_remove(b, is_left, &items, &why))
        env_report(&b->env, why.code, "files of a deleted bus are left: %s", why.text);
    if (!status && !b->read_only)
        leftovers_remove_queues(b);
    release_items(&items);
    return status;
}
