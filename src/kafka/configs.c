/* What resources have set: kept, looked up, described and changed. See configs.h. */
#include "kafka/config_impl.h"
#include "kafka/kafka_impl.h"
#include "kafka/topics.h"

#include "base/rng.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define BUCKETS 1024
#define refuse(text, code, ...) (snprintf(text, KAFKA_TEXT, __VA_ARGS__), (code))

struct resource {
    struct resource *next;
    enum config_resource of;
    uint8_t id[TOPIC_ID]; /* of the topic; zeros */
    struct config_set *set;
    size_t name_len;
    char name[];
};

struct configs {
    struct mutex lock;
    uint64_t seed;
    size_t groups;
    struct resource *buckets[BUCKETS];
};

static const uint8_t no_id[TOPIC_ID];

static const char *kind_of(enum config_resource of)
{
    return of == CONFIG_TOPIC    ? "config.topic"
           : of == CONFIG_BROKER ? "config.broker"
                                 : "config.group";
}

/* ---- resources, with configs.lock ---- */

static struct resource **place_of(struct configs *c, enum config_resource of, beck_bytes name)
{
    struct resource **at =
        &c->buckets[(bytes_hash(name.data, name.len, c->seed) + (unsigned)of) % BUCKETS];
    while (*at && ((*at)->of != of || !bytes_equal(bytes_of((*at)->name, (*at)->name_len), name)))
        at = &(*at)->next;
    return at;
}

static const struct config_set *set_of(struct configs *c, enum config_resource of, beck_bytes name)
{
    const struct resource *r = *place_of(c, of, name);
    return r ? r->set : NULL;
}

static void drop(struct configs *c, struct resource **at)
{
    struct resource *r = *at;
    *at = r->next;
    c->groups -= r->of == CONFIG_GROUP;
    config_set_free(r->set);
    free(r);
}

static struct resource *new_resource(enum config_resource of, beck_bytes name, const uint8_t *id,
                                     struct config_set *set)
{
    struct resource *r = calloc(1, sizeof *r + name.len + 1);
    if (!r)
        return NULL;
    r->of = of;
    r->set = set;
    memcpy(r->id, id, TOPIC_ID);
    r->name_len = name.len;
    if (name.len > 0)
        memcpy(r->name, name.data, name.len);
    return r;
}

/* r NULL: the resource has nothing any more. */
static void put(struct configs *c, enum config_resource of, beck_bytes name, struct resource *r)
{
    mutex_lock(&c->lock);
    struct resource **at = place_of(c, of, name);
    if (*at)
        drop(c, at);
    if (r) {
        r->set = config_set_trim(r->set);
        at = place_of(c, of, name);
        r->next = *at;
        *at = r;
        c->groups += of == CONFIG_GROUP;
    }
    mutex_unlock(&c->lock);
}

/* ---- as records ---- */

static beck_status write_set(const struct config_set *s, const uint8_t *id, struct buf *out)
{
    beck_status status = buf_append(out, id, TOPIC_ID);
    for (size_t i = 0; i < s->count && !status; i++) {
        const struct config_value *v = &s->values[i];
        status = buf_append(out, v->key->name, strlen(v->key->name) + 1);
        if (!status)
            status = buf_append(out, v->text, strlen(v->text) + 1);
    }
    return status;
}

/* Names that this version does not know, and what can be changed no more, are passed over. */
static bool read_set(struct config_set *s, enum config_resource of, const char *at, const char *end)
{
    while (at < end) {
        const char *name_end = memchr(at, 0, (size_t)(end - at));
        const char *value = name_end ? name_end + 1 : end;
        const char *value_end = value < end ? memchr(value, 0, (size_t)(end - value)) : NULL;
        if (!value_end)
            return true;
        const struct config_key *key = config_key_find(of, beck_str(at));
        if (key && !key->fixed && !config_set_put(s, key, beck_str(value)))
            return false;
        at = value_end + 1;
    }
    return true;
}

struct loading {
    struct configs *configs;
    enum config_resource of;
};

static beck_status load_one(void *ctx, beck_bytes name, beck_bytes data, beck_error *err)
{
    struct loading *l = ctx;
    struct resource *r = NULL;
    if (data.data && data.len < TOPIC_ID)
        return error_set(err, BECK_ECORRUPT, "a record of __kafka about configurations is cut off");
    if (data.data) {
        const char *at = data.data;
        struct config_set *s = config_set_copy(NULL);
        r = s ? new_resource(l->of, name, data.data, s) : NULL;
        if (!r || !read_set(s, l->of, at + TOPIC_ID, at + data.len)) {
            config_set_free(s);
            free(r);
            return error_set(err, BECK_ENOMEM, "no memory for configurations");
        }
    }
    put(l->configs, l->of, name, r);
    return BECK_OK;
}

/* set: taken over, also when it fails; NULL or empty: nothing is set. With change_lock. */
static beck_status keep(struct kafka *k, enum config_resource of, beck_bytes name,
                        const uint8_t *id, struct config_set *set, beck_error *err)
{
    struct buf data;
    struct resource *r = NULL;
    struct store_record record = {.kind = kind_of(of), .key = name};
    beck_status status = BECK_OK;
    buf_init(&data, STORE_DATA_MAX);
    if (config_set_count(set) > 0) {
        r = new_resource(of, name, id, set);
        if (!r || write_set(set, id, &data))
            status = error_set(err, BECK_ENOMEM, "memory is short, or values are too long");
        record.data = buf_bytes(&data);
    }
    mutex_lock(&k->configs->lock);
    bool known = *place_of(k->configs, of, name) != NULL;
    mutex_unlock(&k->configs->lock);
    if (!status && (known || r))
        status = store_put(k->store, &record, err);
    if (!status)
        put(k->configs, of, name, r);
    if (status || !r)
        config_set_free(set);
    if (status)
        free(r);
    buf_release(&data);
    return status;
}

/* ---- opening ---- */

beck_status configs_open(struct kafka *k, beck_error *err)
{
    static const enum config_resource kinds[] = {CONFIG_TOPIC, CONFIG_BROKER, CONFIG_GROUP};
    struct rng rng;
    struct configs *c = calloc(1, sizeof *c);
    beck_status status = BECK_OK;
    if (!c)
        return error_set(err, BECK_ENOMEM, "no memory for configurations");
    rng_seed_system(&rng);
    c->seed = rng_next(&rng);
    mutex_init(&c->lock);
    k->configs = c;
    for (int i = 0; i < 3 && !status; i++) {
        struct loading l = {c, kinds[i]};
        status = store_each(k->store, kind_of(kinds[i]), load_one, &l, err);
    }
    return status;
}

void configs_close(struct kafka *k)
{
    struct configs *c = k->configs;
    if (!c)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while (c->buckets[i])
            drop(c, &c->buckets[i]);
    mutex_release(&c->lock);
    free(c);
    k->configs = NULL;
}

/* ---- of topics ---- */

/* Only those of this topic, not of an earlier one of its name. With configs.lock. */
static const struct config_set *set_of_topic(struct configs *c, const struct topic *t)
{
    const struct resource *r = *place_of(c, CONFIG_TOPIC, t->name);
    return r && memcmp(r->id, t->id, TOPIC_ID) == 0 ? r->set : NULL;
}

beck_status configs_put_topic(struct kafka *k, struct topic *t, struct config_set *s,
                              beck_error *err)
{
    beck_status status = keep(k, CONFIG_TOPIC, t->name, t->id, s, err);
    configs_apply_rules(k, t);
    return status;
}

bool configs_put_defaults(struct kafka *k, struct config_set *s)
{
    char own[16];
    snprintf(own, sizeof own, "%d", k->settings.node_id);
    const beck_bytes names[] = {beck_str(own), beck_str("")};
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];
        const struct config_key *broker =
            key->of == CONFIG_TOPIC && key->broker && !config_set_get(s, key)
                ? config_key_find(CONFIG_BROKER, beck_str(key->broker))
                : NULL;
        const char *text = NULL;
        for (int n = 0; n < 2 && broker && !broker->fixed && !text; n++)
            text = config_set_get(set_of(k->configs, CONFIG_BROKER, names[n]), broker);
        if (text && !config_set_put(s, key, beck_str(text)))
            return false;
    }
    return true;
}

void configs_forget_topic(struct kafka *k, struct topic *t)
{
    beck_error err;
    /* What stays of it has the id of a topic that is gone. */
    if (keep(k, CONFIG_TOPIC, t->name, no_id, NULL, &err))
        put(k->configs, CONFIG_TOPIC, t->name, NULL);
}

static int64_t topic_number(const struct config_set *s, const char *name)
{
    return config_set_number(s, config_key_find(CONFIG_TOPIC, beck_str(name)));
}

void configs_apply_rules(struct kafka *k, struct topic *t)
{
    struct configs *c = k->configs;
    beck_bus_options o;
    struct partition_rules rules;
    const struct config_key *type =
        config_key_find(CONFIG_TOPIC, beck_str("message.timestamp.type"));
    mutex_lock(&c->lock);
    const struct config_set *s = set_of_topic(c, t);
    const char *time = config_set_get(s, type);
    atomic_store(&t->append_time, time && strcmp(time, "LogAppendTime") == 0);
    atomic_store(&t->codec, config_set_codec(s));
    atomic_store(&t->flush, topic_number(s, "flush.messages") < INT64_MAX);
    atomic_store(&t->before_max_ms, topic_number(s, "message.timestamp.before.max.ms"));
    atomic_store(&t->after_max_ms, topic_number(s, "message.timestamp.after.max.ms"));
    config_set_rules(s, &rules);
    mutex_unlock(&c->lock);
    for (uint32_t i = 0, count = t->bus->partition_count; i < count; i++)
        partition_set_rules(bus_partition(t->bus, i), &rules);
    bus_options_get(t->bus, &o);
    atomic_store(&t->compact, o.compact);
    atomic_store(&t->batch_bytes_max, o.event_bytes_max);
}

/* ---- looking ---- */

/* What of the broker comes from its settings; NULL: nothing. */
static const char *setting_of(const struct kafka *k, const struct config_key *key, char *out,
                              size_t size)
{
    if (strcmp(key->name, "node.id") == 0 || strcmp(key->name, "broker.id") == 0)
        snprintf(out, size, "%d", k->settings.node_id);
    else if (strcmp(key->name, "num.partitions") == 0)
        snprintf(out, size, "%u", k->settings.partitions);
    else if (strcmp(key->name, "auto.create.topics.enable") == 0)
        snprintf(out, size, "%s", k->settings.auto_create_topics ? "true" : "false");
    else if (strcmp(key->name, "log.retention.check.interval.ms") == 0)
        snprintf(out, size, "%u", atomic_load(&k->engine->maintain_ms));
    else if (strcmp(key->name, "log.dirs") == 0 || strcmp(key->name, "log.dir") == 0)
        snprintf(out, size, "%s", k->engine->data_dir ? k->engine->data_dir : "");
    else
        return NULL;
    return out;
}

static const struct config_key *needed(enum config_resource of, const char *key)
{
    const struct config_key *found = config_key_find(of, beck_str(key));
    assert(found);
    return found;
}

void configs_text(struct kafka *k, enum config_resource of, beck_bytes name, const char *key_name,
                  char *out, size_t size)
{
    const struct config_key *key = needed(of, key_name);
    mutex_lock(&k->configs->lock);
    const char *text = config_set_get(set_of(k->configs, of, name), key);
    if (!text && of == CONFIG_BROKER)
        text = config_set_get(set_of(k->configs, of, (beck_bytes){0}), key);
    snprintf(out, size, "%s", text ? text : key->standard ? key->standard : "");
    mutex_unlock(&k->configs->lock);
}

int64_t configs_number(struct kafka *k, enum config_resource of, beck_bytes name,
                       const char *key_name)
{
    const struct config_key *key = needed(of, key_name);
    mutex_lock(&k->configs->lock);
    const struct config_set *s = set_of(k->configs, of, name);
    if (of == CONFIG_BROKER && !config_set_get(s, key))
        s = set_of(k->configs, of, (beck_bytes){0});
    int64_t n = config_set_number(s, key);
    mutex_unlock(&k->configs->lock);
    return n;
}

/* ---- describing ---- */

static int by_key(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

beck_status configs_list(struct kafka *k, enum config_resource of,
                         void (*each)(void *ctx, beck_bytes name), void *ctx, beck_error *err)
{
    struct configs *c = k->configs;
    size_t count = 0, cap = 0;
    const char **names = NULL;
    bool good = true;
    topics_lock_changes(k); /* so that names stay */
    for (size_t i = 0; i < BUCKETS && good; i++) {
        for (struct resource *r = c->buckets[i]; r && good; r = r->next) {
            if (r->of != of)
                continue;
            if (count == cap) {
                const char **grown = realloc(names, (2 * cap + 16) * sizeof *names);
                good = grown != NULL;
                names = good ? grown : names;
                cap = 2 * cap + 16;
            }
            if (good)
                names[count++] = r->name;
        }
    }
    if (count > 0)
        qsort(names, count, sizeof *names, by_key);
    for (size_t i = 0; i < count && good; i++)
        each(ctx, beck_str(names[i]));
    topics_unlock_changes(k);
    free(names);
    return good ? BECK_OK : error_set(err, BECK_ENOMEM, "no memory for the list");
}

static void add_synonym(struct config_entry *e, const char *name, const char *value,
                        enum config_source source)
{
    if (!value || !name)
        return;
    if (e->synonym_count == 0) {
        e->value = value;
        e->source = source;
    }
    e->synonyms[e->synonym_count++] = (struct config_synonym){name, value, source};
}

void config_set_describe(const struct config_set *s, config_each_fn each, void *ctx)
{
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];
        struct config_entry e = {.key = key, .value = key->standard, .source = CONFIG_FROM_DEFAULT};
        if (key->of != CONFIG_TOPIC)
            continue;
        add_synonym(&e, key->name, config_set_get(s, key), CONFIG_FROM_TOPIC);
        add_synonym(&e, key->broker, key->standard, CONFIG_FROM_DEFAULT);
        each(ctx, &e);
    }
}

static void describe_group(const struct config_set *s, config_each_fn each, void *ctx)
{
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];
        struct config_entry e = {.key = key, .value = key->standard, .source = CONFIG_FROM_DEFAULT};
        if (key->of != CONFIG_GROUP)
            continue;
        add_synonym(&e, key->name, config_set_get(s, key), CONFIG_FROM_GROUP);
        add_synonym(&e, key->broker, key->standard, CONFIG_FROM_DEFAULT);
        each(ctx, &e);
    }
}

/* own NULL with `all` false: what is set for all brokers. */
static void describe_broker(struct kafka *k, bool all, const struct config_set *own,
                            const struct config_set *any, config_each_fn each, void *ctx)
{
    char setting[4200];
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];
        struct config_entry e = {.key = key, .value = key->standard, .source = CONFIG_FROM_DEFAULT};
        if (key->of != CONFIG_BROKER || (!all && !config_set_get(any, key)))
            continue;
        add_synonym(&e, key->name, config_set_get(own, key), CONFIG_FROM_DYNAMIC_BROKER);
        add_synonym(&e, key->name, config_set_get(any, key), CONFIG_FROM_DYNAMIC_DEFAULT);
        if (all) {
            add_synonym(&e, key->name, setting_of(k, key, setting, sizeof setting),
                        CONFIG_FROM_STATIC);
            add_synonym(&e, key->name, key->standard, CONFIG_FROM_DEFAULT);
        }
        each(ctx, &e);
    }
}

static int check_broker(const struct kafka *k, beck_bytes name, bool any, char *text)
{
    char own[16];
    snprintf(own, sizeof own, "%d", k->settings.node_id);
    if (bytes_equal_text(name, own) || (any && name.len == 0))
        return KAFKA_NONE;
    return refuse(text, KAFKA_INVALID_REQUEST,
                  "Unexpected broker id, expected %s, but received %.*s", own, TEXT_OF(name, 64));
}

static int describe_topic(struct kafka *k, beck_bytes name, config_each_fn each, void *ctx,
                          char *text)
{
    struct topic *t = topics_find(k, name);
    if (!t && topic_name_refuse(name, text))
        return KAFKA_INVALID_TOPIC_EXCEPTION;
    if (!t)
        return refuse(text, KAFKA_UNKNOWN_TOPIC_OR_PARTITION,
                      "This server does not host this topic-partition.");
    beck_bus_options o;
    bus_options_get(t->bus, &o);
    struct config_set *s = config_set_copy(set_of_topic(k->configs, t));
    if (!s || !config_set_adopt(s, &o)) {
        config_set_free(s);
        return refuse(text, KAFKA_UNKNOWN_SERVER_ERROR, "memory is short");
    }
    config_set_describe(s, each, ctx);
    config_set_free(s);
    return KAFKA_NONE;
}

static int describe(struct kafka *k, int8_t of, beck_bytes name, config_each_fn each, void *ctx,
                    char *text)
{
    int code;
    struct configs *c = k->configs;
    switch (of) {
    case CONFIG_TOPIC:
        return describe_topic(k, name, each, ctx, text);
    case CONFIG_BROKER:
        code = check_broker(k, name, true, text);
        if (!code)
            describe_broker(k, name.len > 0, name.len > 0 ? set_of(c, CONFIG_BROKER, name) : NULL,
                            set_of(c, CONFIG_BROKER, (beck_bytes){0}), each, ctx);
        return code;
    case CONFIG_BROKER_LOGGER:
        return check_broker(k, name, false, text);
    case CONFIG_CLIENT_METRICS:
        return KAFKA_NONE;
    case CONFIG_GROUP:
        if (name.len == 0)
            return refuse(text, KAFKA_INVALID_REQUEST, "Group name must not be empty");
        describe_group(set_of(c, CONFIG_GROUP, name), each, ctx);
        return KAFKA_NONE;
    default:
        return refuse(text, KAFKA_INVALID_REQUEST, "Unsupported resource type: %d", of);
    }
}

/* Sets are changed with change_lock only. */
int configs_describe(struct kafka *k, int8_t of, beck_bytes name, config_each_fn each, void *ctx,
                     char *text)
{
    topics_lock_changes(k);
    int code = describe(k, of, name, each, ctx, text);
    topics_unlock_changes(k);
    return code;
}

/* ---- changing ---- */

static int make_set(const struct config_set *old, bool replace, enum config_resource of,
                    const struct config_change *changes, size_t count, const beck_bus_options *bus,
                    struct config_set **out, char *text)
{
    struct config_set *s = config_set_copy(replace ? NULL : old);
    if (!s || (!replace && bus && !config_set_adopt(s, bus))) {
        config_set_free(s);
        return refuse(text, KAFKA_UNKNOWN_SERVER_ERROR, "memory is short");
    }
    int code = config_set_change(s, of, changes, count, text);
    if (code)
        config_set_free(s);
    else
        *out = s;
    return code;
}

static int alter_topic(struct kafka *k, beck_bytes name, const struct config_change *changes,
                       size_t count, bool replace, bool validate_only, char *text)
{
    beck_error err = {0};
    struct config_set *s;
    struct topic *t = topics_find(k, name);
    if (!t)
        return refuse(text, KAFKA_UNKNOWN_TOPIC_OR_PARTITION,
                      "This server does not host this topic-partition.");
    if (t->internal)
        return refuse(text, KAFKA_INVALID_REQUEST, "Topic '%.*s' is beck's own.",
                      TEXT_OF(name, 64));
    beck_bus_options o, old;
    bus_options_get(t->bus, &old);
    o = old;
    int code = make_set(set_of_topic(k->configs, t), replace, CONFIG_TOPIC, changes, count, &old,
                        &s, text);
    if (code || validate_only) {
        if (!code)
            config_set_free(s);
        return code;
    }
    config_set_options(s, &o);
    beck_status status = BECK_OK;
    if (!bus_options_equal(&o, &old))
        status = handle_alter_bus(k->engine, t->bus, &o, &err);
    if (status)
        config_set_free(s);
    else
        status = configs_put_topic(k, t, s, &err);
    return status ? refuse(text, kafka_error_of(status), "%s", err.text) : KAFKA_NONE;
}

static int alter_other(struct kafka *k, enum config_resource of, beck_bytes name,
                       const struct config_change *changes, size_t count, bool replace,
                       bool validate_only, char *text)
{
    beck_error err = {0};
    struct config_set *s;
    const struct config_set *old = set_of(k->configs, of, name);
    int code = make_set(old, replace, of, changes, count, NULL, &s, text);
    if (code)
        return code;
    if (!old && of == CONFIG_GROUP && k->configs->groups >= CONFIG_RESOURCES_MAX)
        code = refuse(text, KAFKA_POLICY_VIOLATION, "At most %d groups have configurations.",
                      CONFIG_RESOURCES_MAX);
    if (code || validate_only) {
        config_set_free(s);
        return code;
    }
    beck_status status = keep(k, of, name, no_id, s, &err);
    return status ? refuse(text, kafka_error_of(status), "%s", err.text) : KAFKA_NONE;
}

static int alter(struct kafka *k, int8_t of, beck_bytes name, const struct config_change *changes,
                 size_t count, bool replace, bool validate_only, char *text)
{
    int code;
    switch (of) {
    case CONFIG_TOPIC:
        return alter_topic(k, name, changes, count, replace, validate_only, text);
    case CONFIG_BROKER:
        code = check_broker(k, name, true, text);
        break;
    case CONFIG_GROUP:
        code = name.len == 0
                   ? refuse(text, KAFKA_INVALID_REQUEST, "Default group resources are not allowed.")
                   : KAFKA_NONE;
        break;
    default:
        return refuse(text, KAFKA_INVALID_REQUEST, "Unsupported resource type: %d", of);
    }
    if (code)
        return code;
    return alter_other(k, (enum config_resource)of, name, changes, count, replace, validate_only,
                       text);
}

int configs_alter(struct kafka *k, int8_t of, beck_bytes name, const struct config_change *changes,
                  size_t count, bool replace, bool validate_only, char *text)
{
    topics_lock_changes(k);
    int code = alter(k, of, name, changes, count, replace, validate_only, text);
    topics_unlock_changes(k);
    return code;
}
