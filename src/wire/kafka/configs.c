/*
 * DescribeConfigs (32), AlterConfigs (33), IncrementalAlterConfigs (44), ListConfigResources (74): all on
 * the pool, those with many resources in turns.
 */
#include "kafka/message/configs.h"

#include "wire/kafka/handlers.h"
#include "wire/kafka/topic_names.h"

#include <stdio.h>
#include <stdlib.h>

static const char no_memory[] = "there is no memory for an answer";

/* The code for who may not do it. */
static int check_right(struct kafka_request *r, enum kafka_operation operation, int8_t type,
                       beck_bytes name)
{
    switch (type) {
    case CONFIG_TOPIC:
        return request_may(r, KAFKA_RESOURCE_TOPIC, operation, name)
                   ? KAFKA_NONE
                   : KAFKA_TOPIC_AUTHORIZATION_FAILED;
    case CONFIG_GROUP:
        return request_may(r, KAFKA_RESOURCE_GROUP, operation, name)
                   ? KAFKA_NONE
                   : KAFKA_GROUP_AUTHORIZATION_FAILED;
    default:
        return request_may(r, KAFKA_RESOURCE_CLUSTER, operation, (beck_bytes){0})
                   ? KAFKA_NONE
                   : KAFKA_CLUSTER_AUTHORIZATION_FAILED;
    }
}

static beck_bytes text_of(struct kafka_request *r, int code, const char *text)
{
    return code && *text ? kafka_text(request_arena(r), text) : (beck_bytes){0};
}

/* ---- DescribeConfigs ---- */

struct describing {
    struct kafka_request *r;
    const struct kafka_describe_configs_request_resource *q;
    struct kafka_describe_configs_response_result *out;
    struct kafka_describe_configs_response answer;
    size_t at;   /* the next */
    bool failed; /* for memory */
};

static bool is_wanted(const struct describing *d, const char *name)
{
    const struct kafka_strings *keys = &d->q->configuration_keys;
    if (keys->is_null || !keys->at || keys->count == 0)
        return true;
    for (size_t i = 0; i < keys->count; i++)
        if (bytes_equal_text(keys->at[i], name))
            return true;
    return false;
}

static beck_bytes copy(struct kafka_arena *arena, const char *text)
{
    return text ? kafka_text(arena, text) : (beck_bytes){0};
}

static void put_synonyms(struct describing *d, const struct config_entry *e,
                         struct kafka_describe_configs_response_config *c)
{
    struct kafka_arena *arena = request_arena(d->r);
    if (!kafka_array(arena, &c->synonyms, e->synonym_count)) {
        d->failed = true;
        return;
    }
    for (size_t i = 0; i < e->synonym_count; i++)
        c->synonyms.at[i] = (struct kafka_describe_configs_response_synonym){
            .name = beck_str(e->synonyms[i].name),
            .value = copy(arena, e->synonyms[i].value),
            .source = (int8_t)e->synonyms[i].source};
}

/* The one by which the client came; the broker's configuration does not know them. */
static beck_bytes listener_of(struct kafka_request *r)
{
    const struct kafka_endpoint *e = request_endpoint(r);
    char text[300];
    snprintf(text, sizeof text, strchr(e->host, ':') ? "KAFKA://[%s]:%u" : "KAFKA://%s:%u", e->host,
             e->port);
    return kafka_text(request_arena(r), text);
}

static void put_config(void *ctx, const struct config_entry *e)
{
    struct describing *d = ctx;
    const struct kafka_describe_configs_request *all = request_body(d->r);
    if (d->failed || !is_wanted(d, e->key->name))
        return;
    struct kafka_describe_configs_response_config *c = &d->out->configs.at[d->out->configs.count++];
    kafka_describe_configs_response_config_init(c);
    c->name = beck_str(e->key->name);
    c->value = copy(request_arena(d->r), e->value);
    c->read_only = e->key->fixed;
    c->is_default = e->source == CONFIG_FROM_DEFAULT;
    c->config_source = (int8_t)e->source;
    if (strcmp(e->key->name, "advertised.listeners") == 0) {
        c->value = listener_of(d->r);
        c->is_default = false;
        c->config_source = CONFIG_FROM_STATIC;
    }
    c->config_type = (int8_t)e->key->type;
    if (all->include_synonyms)
        put_synonyms(d, e, c);
    if (all->include_documentation)
        c->documentation = beck_str(e->key->about);
}

static void describe_configs(struct kafka_request *r)
{
    const struct kafka_describe_configs_request *q = request_body(r);
    struct describing *d = request_state(r);
    for (; d->at < q->resources.count && !d->failed; d->at++) {
        char text[KAFKA_TEXT] = "";
        if (request_gives_way(r)) {
            request_defer(r, describe_configs);
            return;
        }
        d->q = &q->resources.at[d->at];
        d->out = &d->answer.results.at[d->at];
        d->out->resource_type = d->q->resource_type;
        d->out->resource_name = d->q->resource_name;
        d->failed = !kafka_array(request_arena(r), &d->out->configs, config_key_count);
        d->out->configs.count = 0;
        int code =
            check_right(r, KAFKA_OP_DESCRIBE_CONFIGS, d->q->resource_type, d->q->resource_name);
        if (!code && !d->failed)
            code = configs_describe(request_kafka(r), d->q->resource_type, d->q->resource_name,
                                    put_config, d, text);
        d->out->error_code = (int16_t)code;
        d->out->error_message = text_of(r, code, text);
    }
    if (d->failed)
        request_fail(r, no_memory);
    else
        request_answer(r, &d->answer);
}

void handle_describe_configs(struct kafka_request *r)
{
    const struct kafka_describe_configs_request *q = request_body(r);
    struct describing *d = request_alloc(r, sizeof *d);
    if (d) {
        d->r = r;
        kafka_describe_configs_response_init(&d->answer);
    }
    if (!d || !kafka_array(request_arena(r), &d->answer.results, q->resources.count)) {
        request_fail(r, no_memory);
        return;
    }
    request_set_state(r, d);
    request_defer(r, describe_configs);
}

/* ---- changing ---- */

struct altered {
    int8_t type;
    beck_bytes name;
    const struct config_change *changes;
    size_t count;
};

/* text: KAFKA_TEXT bytes. */
static int alter(struct kafka_request *r, const struct altered *a, bool repeated, bool replace,
                 bool validate_only, char *text)
{
    int code = check_right(r, KAFKA_OP_ALTER_CONFIGS, a->type, a->name);
    *text = 0;
    if (repeated) {
        snprintf(text, KAFKA_TEXT, "Each resource must appear at most once.");
        return KAFKA_INVALID_REQUEST;
    }
    return code ? code
                : configs_alter(request_kafka(r), a->type, a->name, a->changes, a->count, replace,
                                validate_only, text);
}

struct altering {
    struct kafka_alter_configs_response answer;
    size_t at; /* the next */
};

static void alter_configs(struct kafka_request *r)
{
    const struct kafka_alter_configs_request *q = request_body(r);
    struct altering *s = request_state(r);
    bool good = true;
    for (; s->at < q->resources.count && good; s->at++) {
        size_t i = s->at;
        if (request_gives_way(r)) {
            request_defer(r, alter_configs);
            return;
        }
        const struct kafka_alter_configs_request_resource *from = &q->resources.at[i];
        struct config_change *changes =
            kafka_alloc_many(request_arena(r), from->configs.count, sizeof *changes);
        char text[KAFKA_TEXT];
        bool repeated = false;
        good = changes != NULL;
        for (size_t j = 0; j < from->configs.count && good; j++)
            changes[j] = (struct config_change){.name = from->configs.at[j].name,
                                                .operation = CONFIG_SET,
                                                .value = from->configs.at[j].value};
        for (size_t j = 0; j < q->resources.count && !repeated; j++)
            repeated = j != i && q->resources.at[j].resource_type == from->resource_type &&
                       bytes_equal(q->resources.at[j].resource_name, from->resource_name);
        if (!good)
            break;
        struct altered what = {from->resource_type, from->resource_name, changes,
                               from->configs.count};
        int code = alter(r, &what, repeated, true, q->validate_only, text);
        s->answer.responses.at[i] =
            (struct kafka_alter_configs_response_resource){.error_code = (int16_t)code,
                                                           .error_message = text_of(r, code, text),
                                                           .resource_type = from->resource_type,
                                                           .resource_name = from->resource_name};
    }
    if (good)
        request_answer(r, &s->answer);
    else
        request_fail(r, no_memory);
}

struct altering_some {
    struct kafka_incremental_alter_configs_response answer;
    size_t at; /* the next */
};

static void incremental_alter_configs(struct kafka_request *r)
{
    const struct kafka_incremental_alter_configs_request *q = request_body(r);
    struct altering_some *s = request_state(r);
    bool good = true;
    for (; s->at < q->resources.count && good; s->at++) {
        size_t i = s->at;
        if (request_gives_way(r)) {
            request_defer(r, incremental_alter_configs);
            return;
        }
        const struct kafka_incremental_alter_configs_request_resource *from = &q->resources.at[i];
        struct config_change *changes =
            kafka_alloc_many(request_arena(r), from->configs.count, sizeof *changes);
        char text[KAFKA_TEXT];
        bool repeated = false;
        good = changes != NULL;
        for (size_t j = 0; j < from->configs.count && good; j++)
            changes[j] = (struct config_change){.name = from->configs.at[j].name,
                                                .operation = from->configs.at[j].config_operation,
                                                .value = from->configs.at[j].value};
        for (size_t j = 0; j < q->resources.count && !repeated; j++)
            repeated = j != i && q->resources.at[j].resource_type == from->resource_type &&
                       bytes_equal(q->resources.at[j].resource_name, from->resource_name);
        if (!good)
            break;
        struct altered what = {from->resource_type, from->resource_name, changes,
                               from->configs.count};
        int code = alter(r, &what, repeated, false, q->validate_only, text);
        s->answer.responses.at[i] = (struct kafka_incremental_alter_configs_response_resource){
            .error_code = (int16_t)code,
            .error_message = text_of(r, code, text),
            .resource_type = from->resource_type,
            .resource_name = from->resource_name};
    }
    if (good)
        request_answer(r, &s->answer);
    else
        request_fail(r, no_memory);
}

void handle_alter_configs(struct kafka_request *r)
{
    const struct kafka_alter_configs_request *q = request_body(r);
    struct altering *s = request_alloc(r, sizeof *s);
    if (s)
        kafka_alter_configs_response_init(&s->answer);
    request_set_state(r, s);
    if (q->resources.count > NAMES_MAX)
        request_fail(r, too_many_names);
    else if (!s || !kafka_array(request_arena(r), &s->answer.responses, q->resources.count))
        request_fail(r, no_memory);
    else
        request_defer(r, alter_configs);
}

void handle_incremental_alter_configs(struct kafka_request *r)
{
    const struct kafka_incremental_alter_configs_request *q = request_body(r);
    struct altering_some *s = request_alloc(r, sizeof *s);
    if (s)
        kafka_incremental_alter_configs_response_init(&s->answer);
    request_set_state(r, s);
    if (q->resources.count > NAMES_MAX)
        request_fail(r, too_many_names);
    else if (!s || !kafka_array(request_arena(r), &s->answer.responses, q->resources.count))
        request_fail(r, no_memory);
    else
        request_defer(r, incremental_alter_configs);
}

/* ---- ListConfigResources ---- */

struct listing {
    struct kafka_request *r;
    struct kafka_list_config_resources_response a;
    size_t cap;
    int8_t type;
    bool failed; /* for memory */
};

static void put_resource(void *ctx, beck_bytes name)
{
    struct listing *l = ctx;
    struct kafka_arena *arena = request_arena(l->r);
    if (l->a.config_resources.count == l->cap) {
        size_t count = l->cap, cap = 2 * count + 16;
        struct kafka_list_config_resources_response_config_resource *old = l->a.config_resources.at;
        if (!kafka_array(arena, &l->a.config_resources, cap)) {
            l->failed = true;
            l->a.config_resources.count = l->cap = 0;
            return;
        }
        if (count > 0)
            memcpy(l->a.config_resources.at, old, count * sizeof *old);
        l->a.config_resources.count = count;
        l->cap = cap;
    }
    l->a.config_resources.at[l->a.config_resources.count++] =
        (struct kafka_list_config_resources_response_config_resource){
            .resource_name = kafka_copy(arena, name), .resource_type = l->type};
}

static void put_topics(struct listing *l)
{
    struct topic **list;
    size_t count;
    if (topics_list(request_kafka(l->r), &list, &count, NULL)) {
        l->failed = true;
        return;
    }
    for (size_t i = 0; i < count && !l->failed; i++)
        put_resource(l, list[i]->name);
    free(list);
}

static void put_type(struct listing *l, int8_t type)
{
    char node[16];
    l->type = type;
    switch (type) {
    case CONFIG_TOPIC:
        put_topics(l);
        break;
    case CONFIG_BROKER:
    case CONFIG_BROKER_LOGGER:
        snprintf(node, sizeof node, "%d", kafka_node_id(request_kafka(l->r)));
        put_resource(l, beck_str(node));
        break;
    case CONFIG_GROUP:
        if (configs_list(request_kafka(l->r), CONFIG_GROUP, put_resource, l, NULL))
            l->failed = true;
        break;
    case CONFIG_CLIENT_METRICS:
        break;
    default:
        l->a.error_code = KAFKA_UNSUPPORTED_VERSION;
        break;
    }
}

static void list_config_resources(struct kafka_request *r)
{
    static const int8_t all[] = {CONFIG_TOPIC, CONFIG_BROKER, CONFIG_BROKER_LOGGER,
                                 CONFIG_CLIENT_METRICS, CONFIG_GROUP};
    const struct kafka_list_config_resources_request *q = request_body(r);
    struct listing l = {.r = r};
    const int8_t *types = q->resource_types.at;
    size_t count = q->resource_types.count;
    kafka_list_config_resources_response_init(&l.a);
    if (request_version(r) == 0) {
        types = NULL;
        count = 0;
    } else if (count == 0) {
        types = all;
        count = sizeof all;
    }
    if (!request_may(r, KAFKA_RESOURCE_CLUSTER, KAFKA_OP_DESCRIBE_CONFIGS, (beck_bytes){0})) {
        l.a.error_code = KAFKA_CLUSTER_AUTHORIZATION_FAILED;
        count = 0;
    }
    for (size_t i = 0; i < count && !l.failed && !l.a.error_code; i++)
        put_type(&l, types[i]);
    if (l.a.error_code)
        l.a.config_resources.count = 0;
    if (l.failed)
        request_fail(r, no_memory);
    else
        request_answer(r, &l.a);
}

void handle_list_config_resources(struct kafka_request *r)
{
    const struct kafka_list_config_resources_request *q = request_body(r);
    if (q->resource_types.count > NAMES_MAX)
        request_fail(r, too_many_names);
    else
        request_defer(r, list_config_resources);
}
