/* Making, growing and deleting topics, with Kafka's checks and texts: see topics.h. */
#include "kafka/kafka_impl.h"
#include "bus/own_bus.h"
#include "kafka/topics_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT(b) (int)(b).len, (const char *)(b).data

#define refuse(text, code, ...) (snprintf(text, KAFKA_TEXT, __VA_ARGS__), (code))

int kafka_error_of(beck_status status)
{
    switch (status) {
    case BECK_OK:
        return KAFKA_NONE;
    case BECK_EINVAL:
        return KAFKA_INVALID_REQUEST;
    case BECK_ENOENT:
    case BECK_ECLOSED:
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    case BECK_ERANGE:
        return KAFKA_OFFSET_OUT_OF_RANGE;
    case BECK_ECORRUPT:
        return KAFKA_CORRUPT_MESSAGE;
    case BECK_EIO:
    case BECK_EFULL:
    case BECK_EPOISONED:
        return KAFKA_KAFKA_STORAGE_ERROR;
    case BECK_ESEQUENCE:
        return KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER;
    case BECK_EFENCED:
        return KAFKA_INVALID_PRODUCER_EPOCH;
    case BECK_EDENIED:
        return KAFKA_TOPIC_AUTHORIZATION_FAILED;
    default:
        return KAFKA_UNKNOWN_SERVER_ERROR;
    }
}

/* ---- names ---- */

static bool is_legal(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

const char *topic_name_refuse(beck_bytes name, char *text)
{
    static const char invalid[] = "Topic name is invalid";
    const char *at = name.data;
    if (name.len == 0) {
        snprintf(text, KAFKA_TEXT, "%s: the empty string is not allowed", invalid);
        return text;
    }
    if (bytes_equal_text(name, ".") || bytes_equal_text(name, "..")) {
        snprintf(text, KAFKA_TEXT, "%s: '%.*s' is not allowed", invalid, TEXT(name));
        return text;
    }
    if (name.len > TOPIC_NAME_MAX) {
        snprintf(text, KAFKA_TEXT,
                 "%s: the length of '%.*s' is longer than the max allowed length %d", invalid,
                 TOPIC_NAME_MAX, at, TOPIC_NAME_MAX);
        return text;
    }
    for (size_t i = 0; i < name.len; i++) {
        if (is_legal(at[i]))
            continue;
        snprintf(text, KAFKA_TEXT,
                 "%s: '%.*s' contains one or more characters other than ASCII alphanumerics, '.', "
                 "'_' and '-'",
                 invalid, TEXT(name));
        return text;
    }
    return NULL;
}

static bool collides(beck_bytes a, beck_bytes b)
{
    const char *x = a.data, *y = b.data;
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if ((x[i] == '.' ? '_' : x[i]) != (y[i] == '.' ? '_' : y[i]))
            return false;
    return true;
}

static int check_name(struct kafka *k, beck_bytes name, char *text)
{
    struct topics *t = k->topics;
    struct topic *other = NULL;
    if (topic_name_refuse(name, text))
        return KAFKA_INVALID_TOPIC_EXCEPTION;
    if (topics_find(k, name))
        return refuse(text, KAFKA_TOPIC_ALREADY_EXISTS, "Topic '%.*s' already exists.", TEXT(name));
    char copy[TOPIC_NAME_MAX + 1] = {0};
    memcpy(copy, name.data, name.len);
    if (own_bus_is_name(copy))
        return refuse(text, KAFKA_INVALID_TOPIC_EXCEPTION,
                      "Topic name \"%s\" is illegal here: it is kept for beck itself", copy);
    if (!memchr(name.data, '.', name.len) && !memchr(name.data, '_', name.len))
        return KAFKA_NONE;
    pthread_rwlock_rdlock(&t->lock);
    for (struct topic *at = t->all; at && !other; at = at->next)
        if (!topic_is_gone(at) && collides(at->name, name))
            other = at;
    pthread_rwlock_unlock(&t->lock);
    if (other)
        return refuse(text, KAFKA_INVALID_TOPIC_EXCEPTION,
                      "Topic '%.*s' collides with existing topic: %.*s", TEXT(name),
                      TEXT(other->name));
    return KAFKA_NONE;
}

/* ---- partitions ---- */

static int check_assignment(const struct kafka *k, const struct topic_assignment *a, char *text)
{
    if (a->broker_count == 0)
        return refuse(text, KAFKA_INVALID_REPLICA_ASSIGNMENT,
                      "The manual partition assignment includes an empty replica list.");
    for (size_t i = 0; i < a->broker_count; i++) {
        if (a->brokers[i] != k->settings.node_id)
            return refuse(text, KAFKA_INVALID_REPLICA_ASSIGNMENT,
                          "The manual partition assignment includes broker %d, but no such broker "
                          "is registered.",
                          a->brokers[i]);
        if (i > 0)
            return refuse(text, KAFKA_INVALID_REPLICA_ASSIGNMENT,
                          "The manual partition assignment includes the broker %d more than once.",
                          a->brokers[i]);
    }
    return KAFKA_NONE;
}

/* Each of the partitions `first` and following once. */
static int check_assignments(const struct kafka *k, const struct topic_assignment *list,
                             size_t count, char *text)
{
    uint8_t *seen = calloc(1, count / 8 + 1);
    int code = seen ? KAFKA_NONE : KAFKA_UNKNOWN_SERVER_ERROR;
    for (size_t i = 0; i < count && !code; i++) {
        size_t n = (size_t)list[i].partition;
        if (list[i].partition < 0 || n >= count || seen[n / 8] & 1 << n % 8)
            code = refuse(text, KAFKA_INVALID_REPLICA_ASSIGNMENT,
                          "partitions should be a consecutive 0-based integer sequence.");
        else
            code = check_assignment(k, &list[i], text);
        if (!code)
            seen[n / 8] = (uint8_t)(seen[n / 8] | 1 << n % 8);
    }
    free(seen);
    return code;
}

static int check_partitions(const struct kafka *k, const struct topic_new *what, uint32_t *count,
                            char *text)
{
    if (what->assignment_count > 0) {
        *count = (uint32_t)what->assignment_count;
        if (what->replication_factor != -1)
            return refuse(text, KAFKA_INVALID_REQUEST,
                          "A manual partition assignment was specified, but replication factor was "
                          "not set to -1.");
        if (what->partitions != -1)
            return refuse(text, KAFKA_INVALID_REQUEST,
                          "A manual partition assignment was specified, but numPartitions was not "
                          "set to -1.");
        return check_assignments(k, what->assignments, what->assignment_count, text);
    }
    /* Any larger factor is taken as a wish: there is one copy. */
    *count = what->partitions == -1 ? k->settings.partitions : (uint32_t)what->partitions;
    if (what->replication_factor < -1 || what->replication_factor == 0)
        return refuse(text, KAFKA_INVALID_REPLICATION_FACTOR,
                      "Replication factor must be larger than 0, or -1 to use the default value.");
    if (what->partitions < -1 || what->partitions == 0)
        return refuse(text, KAFKA_INVALID_PARTITIONS,
                      "Number of partitions was set to an invalid non-positive value.");
    return KAFKA_NONE;
}

static int check_count(uint32_t count, char *text)
{
    if (count > BUS_PARTITIONS_MAX)
        return refuse(text, KAFKA_POLICY_VIOLATION, "A topic has at most %d partitions, not %u.",
                      BUS_PARTITIONS_MAX, count);
    return KAFKA_NONE;
}

/* ---- making ---- */

static int make(struct kafka *k, const struct topic_new *what, struct config_set *configs,
                const beck_bus_options *o, struct topic_made *out, char *text)
{
    char name[TOPIC_NAME_MAX + 1];
    beck_error err = {0};
    memcpy(name, what->name.data, what->name.len);
    name[what->name.len] = 0;
    beck_status status = beck_bus_create(k->engine, name, o, NULL, &err);
    struct topic *t = status ? NULL : topics_find(k, what->name);
    if (t) {
        out->topic = t;
        out->partitions = topic_partitions(t);
        status = configs_put_topic(k, t, configs, &err);
    } else {
        config_set_free(configs);
        beck_bus *there;
        if (status == BECK_EEXIST && !beck_bus_get(k->engine, name, &there, NULL))
            return refuse(text, KAFKA_TOPIC_ALREADY_EXISTS, "Topic '%s' already exists.", name);
        if (!status)
            return refuse(text, KAFKA_UNKNOWN_SERVER_ERROR, "Topic '%s' was deleted at once.",
                          name);
    }
    return status ? refuse(text, kafka_error_of(status), "%s", err.text) : KAFKA_NONE;
}

static int create(struct kafka *k, const struct topic_new *what, struct topic_made *out, char *text)
{
    struct config_set *configs = NULL;
    beck_bus_options o = {.storage = BECK_STORAGE_DISK};
    uint32_t count = 0;
    int code = check_name(k, what->name, text);
    if (!code)
        code = check_partitions(k, what, &count, text);
    if (!code)
        code = check_count(count, text);
    if (!code)
        code = config_set_new(what->configs, what->config_count, &configs, text);
    if (code)
        return code;
    if (!configs_put_defaults(k, configs)) {
        config_set_free(configs);
        return refuse(text, KAFKA_UNKNOWN_SERVER_ERROR, "memory is short");
    }
    config_set_options(configs, &o);
    o.partitions = count;
    out->partitions = count;
    if (out->config)
        config_set_describe(configs, out->config, out->config_ctx);
    if (!what->validate_only)
        return make(k, what, configs, &o, out, text);
    config_set_free(configs);
    return KAFKA_NONE;
}

int topics_create(struct kafka *k, const struct topic_new *what, struct topic_made *out, char *text)
{
    out->topic = NULL;
    topics_lock_changes(k);
    int code = create(k, what, out, text);
    topics_unlock_changes(k);
    return code;
}

int topics_auto_create(struct kafka *k, beck_bytes name, char *text)
{
    struct topic_new what = {.name = name, .partitions = -1, .replication_factor = -1};
    struct topic_made made = {0};
    int code = topics_create(k, &what, &made, text);
    return code == KAFKA_TOPIC_ALREADY_EXISTS ? KAFKA_NONE : code;
}

/* ---- deleting ---- */

static int refuse_internal(const struct topic *t, char *text)
{
    if (!t->internal)
        return KAFKA_NONE;
    return refuse(text, KAFKA_INVALID_TOPIC_EXCEPTION,
                  "Topic '%.*s' is beck's own and cannot be changed.", TEXT(t->name));
}

static int delete_topic(struct kafka *k, struct topic *t, char *text)
{
    beck_error err = {0};
    for (struct topics_watch *w = k->topics->watches; w; w = w->next)
        if (w->deleting)
            w->deleting(w->ctx, t);
    beck_status status = beck_bus_delete(k->engine, t->bus->name, &err);
    if (status == BECK_EBUSY)
        return refuse(text, KAFKA_POLICY_VIOLATION, "%s", err.text);
    if (status)
        return refuse(text, kafka_error_of(status), "%s", err.text);
    configs_forget_topic(k, t);
    return KAFKA_NONE;
}

int topics_delete(struct kafka *k, struct topic *t, char *text)
{
    int code = refuse_internal(t, text);
    if (code)
        return code;
    topics_lock_changes(k);
    if (topic_is_gone(t))
        code = refuse(text, KAFKA_UNKNOWN_TOPIC_OR_PARTITION,
                      "This server does not host this topic-partition.");
    else
        code = delete_topic(k, t, text);
    topics_unlock_changes(k);
    return code;
}

/* ---- growing ---- */

static int check_growth(struct kafka *k, struct topic *t, int32_t count,
                        const struct topic_assignment *list, size_t list_count, char *text)
{
    int64_t now = topic_partitions(t), more = count - now;
    int code = refuse_internal(t, text);
    if (code)
        return code;
    if (topic_is_gone(t))
        return refuse(text, KAFKA_UNKNOWN_TOPIC_OR_PARTITION,
                      "This server does not host this topic-partition.");
    if (more == 0)
        return refuse(text, KAFKA_INVALID_PARTITIONS, "Topic already has %lld partition(s).",
                      (long long)now);
    if (more < 0)
        return refuse(
            text, KAFKA_INVALID_PARTITIONS,
            "The topic %.*s currently has %lld partition(s); %d would not be an increase.",
            TEXT(t->name), (long long)now, count);
    if (list && (int64_t)list_count != more)
        return refuse(text, KAFKA_INVALID_REPLICA_ASSIGNMENT,
                      "Attempted to add %lld additional partition(s), but only %zu assignment(s) "
                      "were specified.",
                      (long long)more, list_count);
    for (size_t i = 0; list && i < list_count && !code; i++)
        code = check_assignment(k, &list[i], text);
    return code ? code : check_count((uint32_t)count, text);
}

int topics_grow(struct kafka *k, struct topic *t, int32_t count,
                const struct topic_assignment *assignments, size_t assignment_count,
                bool validate_only, char *text)
{
    beck_error err = {0};
    topics_lock_changes(k);
    int code = check_growth(k, t, count, assignments, assignment_count, text);
    if (!code && !validate_only) {
        beck_bus_options o;
        bus_options_get(t->bus, &o);
        o.partitions = (uint32_t)count;
        beck_status status = handle_alter_bus(k->engine, t->bus, &o, &err);
        if (status)
            code = refuse(text, kafka_error_of(status), "%s", err.text);
    }
    topics_unlock_changes(k);
    return code;
}

/* ---- deleting records ---- */

int topics_delete_records(struct topic *t, int32_t number, int64_t offset, int64_t *low, char *text)
{
    beck_error err = {0};
    beck_bus_options o;
    struct partition *p = topic_partition(t, number);
    if (!p || topic_is_gone(t))
        return refuse(text, KAFKA_UNKNOWN_TOPIC_OR_PARTITION,
                      "This server does not host this topic-partition.");
    int code = refuse_internal(t, text);
    if (code)
        return code;
    bus_options_get(t->bus, &o);
    if (o.compact && o.retention_ms == 0 && o.retention_bytes == 0)
        return refuse(text, KAFKA_POLICY_VIOLATION,
                      "Records of partition %.*s-%d can not be deleted due to the configured "
                      "policy",
                      TEXT(t->name), number);
    if (partition_check_damage(p, &err))
        return refuse(text, KAFKA_KAFKA_STORAGE_ERROR, "%s", err.text);
    int64_t high = partition_high(p);
    if (offset == -1)
        offset = high;
    if (offset < 0 || offset > high)
        return refuse(text, KAFKA_OFFSET_OUT_OF_RANGE,
                      "The specified offset %lld is higher than the high watermark %lld of the "
                      "partition %.*s-%d",
                      (long long)offset, (long long)high, TEXT(t->name), number);
    beck_status status = BECK_OK;
    if (offset > partition_first(p))
        status = partition_truncate_before(p, offset, &err);
    *low = partition_first(p);
    return status ? refuse(text, kafka_error_of(status), "%s", err.text) : KAFKA_NONE;
}
