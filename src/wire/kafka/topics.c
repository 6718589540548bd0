/* CreateTopics (19), DeleteTopics (20), DeleteRecords (21), CreatePartitions (37): all on the pool, in turns. */
#include "kafka/message/topics.h"

#include "wire/kafka/handlers.h"
#include "wire/kafka/topic_names.h"

#define REPLICATION_FACTOR 1
#define CONFIGS_VERSION 5 /* from here on CreateTopics answers with configurations */

static const char no_memory[] = "there is no memory for an answer";
static const char duplicate[] = "Duplicate topic name.";

static beck_bytes text_of(struct kafka_request *r, int code, const char *text)
{
    return code && *text ? kafka_text(request_arena(r), text) : (beck_bytes){0};
}

static bool may(struct kafka_request *r, enum kafka_operation operation, beck_bytes topic)
{
    return request_may(r, KAFKA_RESOURCE_TOPIC, operation, topic);
}

/* ---- CreateTopics ---- */

/* What the engine is to make, in memory of the request. False: no memory. */
static bool read_new(struct kafka_request *r, const struct kafka_create_topics_request_topic *q,
                     struct topic_new *out)
{
    struct kafka_arena *arena = request_arena(r);
    struct topic_assignment *assignments =
        kafka_alloc_many(arena, q->assignments.count, sizeof *assignments);
    struct config_change *configs = kafka_alloc_many(arena, q->configs.count, sizeof *configs);
    if (!assignments || !configs)
        return false;
    for (size_t i = 0; i < q->assignments.count; i++)
        assignments[i] = (struct topic_assignment){q->assignments.at[i].partition_index,
                                                   q->assignments.at[i].broker_ids.at,
                                                   q->assignments.at[i].broker_ids.count};
    for (size_t i = 0; i < q->configs.count; i++)
        configs[i] = (struct config_change){.name = q->configs.at[i].name,
                                            .operation = CONFIG_SET,
                                            .value = q->configs.at[i].value};
    *out = (struct topic_new){.name = q->name,
                              .partitions = q->num_partitions,
                              .replication_factor = q->replication_factor,
                              .configs = configs,
                              .config_count = q->configs.count,
                              .assignments = assignments,
                              .assignment_count = q->assignments.count};
    return true;
}

struct creation {
    struct kafka_request *r;
    struct kafka_create_topics_response_topic *out;
    struct kafka_create_topics_response answer;
    size_t at;   /* the next */
    bool failed; /* for memory */
};

static void put_config(void *ctx, const struct config_entry *e)
{
    struct creation *c = ctx;
    struct kafka_arena *arena = request_arena(c->r);
    if (!c->out->configs.at) {
        c->failed = !kafka_array(arena, &c->out->configs, config_key_count);
        c->out->configs.count = 0;
    }
    if (c->failed)
        return;
    c->out->configs.at[c->out->configs.count++] = (struct kafka_create_topics_response_config){
        .name = beck_str(e->key->name),
        .value = e->value ? kafka_text(arena, e->value) : (beck_bytes){0},
        .read_only = e->key->fixed,
        .config_source = (int8_t)e->source};
}

static bool is_repeated(const struct kafka_create_topics_request *q, size_t i)
{
    for (size_t j = 0; j < q->topics.count; j++)
        if (j != i && bytes_equal(q->topics.at[j].name, q->topics.at[i].name))
            return true;
    return false;
}

static int create(struct creation *c, const struct kafka_create_topics_request_topic *q, char *text)
{
    const struct kafka_create_topics_request *all = request_body(c->r);
    struct topic_new what;
    struct topic_made made = {0};
    if (!request_may(c->r, KAFKA_RESOURCE_CLUSTER, KAFKA_OP_CREATE, (beck_bytes){0}) &&
        !may(c->r, KAFKA_OP_CREATE, q->name))
        return KAFKA_TOPIC_AUTHORIZATION_FAILED;
    if (!read_new(c->r, q, &what)) {
        c->failed = true;
        return KAFKA_UNKNOWN_SERVER_ERROR;
    }
    what.validate_only = all->validate_only;
    bool tells =
        request_version(c->r) >= CONFIGS_VERSION && may(c->r, KAFKA_OP_DESCRIBE_CONFIGS, q->name);
    if (tells) {
        made.config = put_config;
        made.config_ctx = c;
    }
    int code = topics_create(request_kafka(c->r), &what, &made, text);
    if (code)
        return code;
    if (made.topic)
        memcpy(c->out->topic_id, made.topic->id, TOPIC_ID);
    if (!tells) {
        c->out->topic_config_error_code = KAFKA_TOPIC_AUTHORIZATION_FAILED;
        return KAFKA_NONE;
    }
    c->out->num_partitions = (int32_t)made.partitions;
    c->out->replication_factor = REPLICATION_FACTOR;
    return KAFKA_NONE;
}

static void create_topics(struct kafka_request *r)
{
    const struct kafka_create_topics_request *q = request_body(r);
    struct creation *c = request_state(r);
    for (; c->at < q->topics.count && !c->failed; c->at++) {
        char text[KAFKA_TEXT] = "";
        if (request_gives_way(r)) {
            request_defer(r, create_topics);
            return;
        }
        c->out = &c->answer.topics.at[c->at];
        kafka_create_topics_response_topic_init(c->out);
        c->out->name = q->topics.at[c->at].name;
        int code = KAFKA_INVALID_REQUEST;
        if (is_repeated(q, c->at))
            memcpy(text, duplicate, sizeof duplicate);
        else
            code = create(c, &q->topics.at[c->at], text);
        c->out->error_code = (int16_t)code;
        c->out->error_message = text_of(r, code, text);
        if (code) {
            c->out->configs.at = NULL;
            c->out->configs.count = 0;
            c->out->configs.is_null = true;
        }
    }
    if (c->failed)
        request_fail(r, no_memory);
    else
        request_answer(r, &c->answer);
}

void handle_create_topics(struct kafka_request *r)
{
    const struct kafka_create_topics_request *q = request_body(r);
    struct creation *c = request_alloc(r, sizeof *c);
    if (c) {
        c->r = r;
        kafka_create_topics_response_init(&c->answer);
    }
    request_set_state(r, c);
    if (q->topics.count > NAMES_MAX)
        request_fail(r, too_many_names);
    else if (!c || !kafka_array(request_arena(r), &c->answer.topics, q->topics.count))
        request_fail(r, no_memory);
    else
        request_defer(r, create_topics);
}

/* ---- DeleteTopics ---- */

static int find_to_delete(struct kafka_request *r, beck_bytes name, const uint8_t *id,
                          struct topic **out)
{
    bool by_id = !topic_id_is_zero(id);
    *out = NULL;
    if (by_id == (name.data != NULL))
        return KAFKA_INVALID_REQUEST;
    struct topic *t =
        by_id ? topics_find_id(request_kafka(r), id) : topics_find(request_kafka(r), name);
    if (by_id && !t)
        return KAFKA_UNKNOWN_TOPIC_ID;
    if (!may(r, KAFKA_OP_DESCRIBE, t ? t->name : name))
        return KAFKA_TOPIC_AUTHORIZATION_FAILED;
    if (!t)
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    *out = t;
    return may(r, KAFKA_OP_DELETE, t->name) ? KAFKA_NONE : KAFKA_TOPIC_AUTHORIZATION_FAILED;
}

static void delete_one(struct kafka_request *r, beck_bytes name, const uint8_t *id, bool repeated,
                       struct kafka_delete_topics_response_topic *out)
{
    char text[KAFKA_TEXT] = "";
    struct topic *t = NULL;
    int code = repeated ? KAFKA_INVALID_REQUEST : find_to_delete(r, name, id, &t);
    if (repeated)
        memcpy(text, duplicate, sizeof duplicate);
    if (!code)
        code = topics_delete(request_kafka(r), t, text);
    /* The name of a topic that the caller may not see is not told. */
    out->name = t && may(r, KAFKA_OP_DESCRIBE, t->name) ? t->name : name;
    memcpy(out->topic_id, t ? t->id : id, TOPIC_ID);
    out->error_code = (int16_t)code;
    out->error_message = text_of(r, code, text);
}

struct deletion {
    struct kafka_delete_topics_response answer;
    size_t at; /* the next */
};

static void delete_topics(struct kafka_request *r)
{
    static const uint8_t no_id[TOPIC_ID];
    const struct kafka_delete_topics_request *q = request_body(r);
    struct deletion *d = request_state(r);
    bool named = request_version(r) < 6;
    size_t count = d->answer.responses.count;
    for (; d->at < count; d->at++) {
        size_t i = d->at;
        if (request_gives_way(r)) {
            request_defer(r, delete_topics);
            return;
        }
        beck_bytes name = named ? q->topic_names.at[i] : q->topics.at[i].name;
        const uint8_t *id = named ? no_id : q->topics.at[i].topic_id;
        bool repeated = false;
        for (size_t j = 0; j < count && !repeated; j++) {
            beck_bytes other = named ? q->topic_names.at[j] : q->topics.at[j].name;
            repeated = j != i && name.data && other.data && bytes_equal(name, other);
        }
        delete_one(r, name, id, repeated, &d->answer.responses.at[i]);
    }
    request_answer(r, &d->answer);
}

void handle_delete_topics(struct kafka_request *r)
{
    const struct kafka_delete_topics_request *q = request_body(r);
    struct deletion *d = request_alloc(r, sizeof *d);
    size_t count = request_version(r) < 6 ? q->topic_names.count : q->topics.count;
    if (d)
        kafka_delete_topics_response_init(&d->answer);
    request_set_state(r, d);
    if (count > NAMES_MAX)
        request_fail(r, too_many_names);
    else if (!d || !kafka_array(request_arena(r), &d->answer.responses, count))
        request_fail(r, no_memory);
    else
        request_defer(r, delete_topics);
}

/* ---- DeleteRecords ---- */

/* How far it is. */
struct truncation {
    struct kafka_delete_records_response answer;
    size_t topic, partition; /* the next */
    bool failed;             /* for memory */
};

/* False: others are first. */
static bool delete_records_of(struct kafka_request *r, struct truncation *d,
                              const struct kafka_delete_records_request_topic *q,
                              struct kafka_delete_records_response_topic *out)
{
    char text[KAFKA_TEXT];
    struct topic *t = topics_find(request_kafka(r), q->name);
    int refused = !may(r, KAFKA_OP_DELETE, q->name) ? KAFKA_TOPIC_AUTHORIZATION_FAILED
                  : !t                              ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION
                                                    : KAFKA_NONE;
    out->name = q->name;
    if (!out->partitions.at)
        d->failed = !kafka_array(request_arena(r), &out->partitions, q->partitions.count);
    for (; d->partition < q->partitions.count && !d->failed; d->partition++) {
        size_t i = d->partition;
        struct kafka_delete_records_response_partition *p = &out->partitions.at[i];
        int code = refused;
        if (request_gives_way(r))
            return false;
        p->partition_index = q->partitions.at[i].partition_index;
        p->low_watermark = -1;
        if (!code)
            code = topics_delete_records(t, p->partition_index, q->partitions.at[i].offset,
                                         &p->low_watermark, text);
        p->error_code = (int16_t)code;
    }
    return true;
}

static void delete_records(struct kafka_request *r)
{
    const struct kafka_delete_records_request *q = request_body(r);
    struct truncation *d = request_state(r);
    for (; d->topic < q->topics.count && !d->failed; d->topic++, d->partition = 0)
        if (!delete_records_of(r, d, &q->topics.at[d->topic], &d->answer.topics.at[d->topic])) {
            request_defer(r, delete_records);
            return;
        }
    if (d->failed)
        request_fail(r, no_memory);
    else
        request_answer(r, &d->answer);
}

void handle_delete_records(struct kafka_request *r)
{
    const struct kafka_delete_records_request *q = request_body(r);
    struct truncation *d = request_alloc(r, sizeof *d);
    if (d)
        kafka_delete_records_response_init(&d->answer);
    request_set_state(r, d);
    if (!d || !kafka_array(request_arena(r), &d->answer.topics, q->topics.count))
        request_fail(r, no_memory);
    else
        request_defer(r, delete_records);
}

/* ---- CreatePartitions ---- */

static int grow(struct kafka_request *r, const struct kafka_create_partitions_request_topic *q,
                char *text)
{
    const struct kafka_create_partitions_request *all = request_body(r);
    struct topic *t = topics_find(request_kafka(r), q->name);
    struct topic_assignment *assignments = NULL;
    if (!may(r, KAFKA_OP_ALTER, q->name))
        return KAFKA_TOPIC_AUTHORIZATION_FAILED;
    if (!t)
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    if (q->assignments.at && !q->assignments.is_null) {
        assignments = kafka_alloc_many(request_arena(r), q->assignments.count, sizeof *assignments);
        if (!assignments)
            return KAFKA_UNKNOWN_SERVER_ERROR;
        for (size_t i = 0; i < q->assignments.count; i++)
            assignments[i] = (struct topic_assignment){-1, q->assignments.at[i].broker_ids.at,
                                                       q->assignments.at[i].broker_ids.count};
    }
    return topics_grow(request_kafka(r), t, q->count, assignments, q->assignments.count,
                       all->validate_only, text);
}

static void create_partitions(struct kafka_request *r)
{
    const struct kafka_create_partitions_request *q = request_body(r);
    struct kafka_create_partitions_response a;
    kafka_create_partitions_response_init(&a);
    if (!kafka_array(request_arena(r), &a.results, q->topics.count)) {
        request_fail(r, no_memory);
        return;
    }
    for (size_t i = 0; i < q->topics.count; i++) {
        char text[KAFKA_TEXT] = "";
        bool repeated = false;
        for (size_t j = 0; j < q->topics.count && !repeated; j++)
            repeated = j != i && bytes_equal(q->topics.at[i].name, q->topics.at[j].name);
        int code = repeated ? KAFKA_INVALID_REQUEST : grow(r, &q->topics.at[i], text);
        if (repeated)
            memcpy(text, duplicate, sizeof duplicate);
        a.results.at[i] = (struct kafka_create_partitions_response_result){
            .name = q->topics.at[i].name,
            .error_code = (int16_t)code,
            .error_message = text_of(r, code, text)};
    }
    request_answer(r, &a);
}

void handle_create_partitions(struct kafka_request *r)
{
    const struct kafka_create_partitions_request *q = request_body(r);
    if (q->topics.count > NAMES_MAX)
        request_fail(r, too_many_names);
    else
        request_defer(r, create_partitions);
}
