/*
 * Metadata (3), DescribeCluster (60), DescribeTopicPartitions (75): this server is the only broker, the
 * controller, and leader and replica of every partition. Topics that are to be made are made on the pool.
 */
#include "kafka/message/metadata.h"

#include "base/uuid.h"
#include "kafka/topics.h"
#include "wire/kafka/handlers.h"
#include "wire/kafka/topic_names.h"

#include <stdlib.h>

#define LEADER_EPOCH 0
#define DESCRIBED_MAX 2000 /* partitions in one answer, as Kafka has it */
#define BROKER_ENDPOINTS 1
#define NO_OPERATIONS INT32_MIN

static const char no_memory[] = "there is no memory for an answer";

static beck_bytes cluster_id(struct kafka_request *r)
{
    char *text = request_alloc(r, 23);
    if (text)
        uuid_base64(kafka_cluster_id(request_kafka(r)), text);
    return beck_str(text);
}

static int32_t cluster_operations(struct kafka_request *r, bool wanted)
{
    return wanted ? request_operations(r, KAFKA_RESOURCE_CLUSTER, beck_str("kafka-cluster"))
                  : NO_OPERATIONS;
}

static bool may_describe(struct kafka_request *r, beck_bytes topic)
{
    return request_may(r, KAFKA_RESOURCE_TOPIC, KAFKA_OP_DESCRIBE, topic);
}

/* This node, in an array of one that all partitions share. */
static struct kafka_int32s this_node(struct kafka_request *r)
{
    struct kafka_int32s nodes = {.at = request_alloc(r, sizeof(int32_t)), .count = 1};
    if (nodes.at)
        nodes.at[0] = kafka_node_id(request_kafka(r));
    return nodes;
}

/* ---- Metadata ---- */

static bool put_topic(struct kafka_request *r, struct kafka_metadata_response_topic *out,
                      const struct topic *t)
{
    const struct kafka_metadata_request *q = request_body(r);
    uint32_t count = topic_partitions(t);
    struct kafka_int32s nodes = this_node(r), none = {.at = nodes.at};
    if (!nodes.at || !kafka_array(request_arena(r), &out->partitions, count))
        return false;
    out->name = t->name;
    memcpy(out->topic_id, t->id, TOPIC_ID);
    out->is_internal = t->internal;
    if (q->include_topic_authorized_operations)
        out->topic_authorized_operations = request_operations(r, KAFKA_RESOURCE_TOPIC, t->name);
    for (uint32_t i = 0; i < count; i++)
        out->partitions.at[i] =
            (struct kafka_metadata_response_partition){.partition_index = (int32_t)i,
                                                       .leader_id = nodes.at[0],
                                                       .leader_epoch = LEADER_EPOCH,
                                                       .replica_nodes = nodes,
                                                       .isr_nodes = nodes,
                                                       .offline_replicas = none};
    return true;
}

static bool may_create(struct kafka_request *r, beck_bytes name)
{
    return request_may(r, KAFKA_RESOURCE_CLUSTER, KAFKA_OP_CREATE, (beck_bytes){0}) ||
           request_may(r, KAFKA_RESOURCE_TOPIC, KAFKA_OP_CREATE, name);
}

/* What is said of a name that no topic has; *create: it would be made. */
static int refuse_name(struct kafka_request *r, beck_bytes name, bool *create)
{
    const struct kafka_metadata_request *q = request_body(r);
    char text[KAFKA_TEXT];
    *create = false;
    if (topic_name_refuse(name, text))
        return KAFKA_INVALID_TOPIC_EXCEPTION;
    if (!q->allow_auto_topic_creation || !kafka_creates_topics(request_kafka(r)))
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    *create = may_create(r, name);
    return *create ? KAFKA_NONE : KAFKA_TOPIC_AUTHORIZATION_FAILED;
}

/* Finds what is asked for. An error code; *create: there is none, but it may be made. */
static int find_wanted(struct kafka_request *r, const struct kafka_metadata_request_topic *want,
                       struct topic **out, bool *create)
{
    struct kafka *k = request_kafka(r);
    *create = false;
    *out = NULL;
    if (!topic_id_is_zero(want->topic_id)) {
        struct topic *t = topics_find_id(k, want->topic_id);
        if (!t)
            return KAFKA_UNKNOWN_TOPIC_ID;
        if (!may_describe(r, t->name))
            return KAFKA_TOPIC_AUTHORIZATION_FAILED;
        *out = t;
        return KAFKA_NONE;
    }
    if (!want->name.data)
        return KAFKA_UNKNOWN_TOPIC_ID;
    if (!may_describe(r, want->name))
        return KAFKA_TOPIC_AUTHORIZATION_FAILED;
    *out = topics_find(k, want->name);
    return *out ? KAFKA_NONE : refuse_name(r, want->name, create);
}

static bool put_wanted(struct kafka_request *r, const struct kafka_metadata_request_topic *want,
                       struct kafka_metadata_response_topic *out)
{
    char text[KAFKA_TEXT];
    struct topic *t;
    bool create;
    int code = find_wanted(r, want, &t, &create);
    if (create) {
        code = topics_auto_create(request_kafka(r), want->name, text);
        t = code ? NULL : topics_find(request_kafka(r), want->name);
        if (!code && !t)
            code = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    }
    out->error_code = (int16_t)code;
    out->name = want->name;
    memcpy(out->topic_id, want->topic_id, TOPIC_ID);
    return t ? put_topic(r, out, t) : true;
}

static bool put_all(struct kafka_request *r, struct kafka_metadata_response *a)
{
    struct topic **list;
    size_t count, n = 0;
    if (topics_list(request_kafka(r), &list, &count, NULL))
        return false;
    bool good = kafka_array(request_arena(r), &a->topics, count);
    for (size_t i = 0; i < count && good; i++) {
        if (!may_describe(r, list[i]->name))
            continue;
        kafka_metadata_response_topic_init(&a->topics.at[n]);
        good = put_topic(r, &a->topics.at[n++], list[i]);
    }
    a->topics.count = n;
    free(list);
    return good;
}

static bool wants_all(struct kafka_request *r)
{
    const struct kafka_metadata_request *q = request_body(r);
    return q->topics.is_null || !q->topics.at || (request_version(r) == 0 && q->topics.count == 0);
}

static bool put_topics(struct kafka_request *r, struct kafka_metadata_response *a)
{
    const struct kafka_metadata_request *q = request_body(r);
    if (wants_all(r))
        return put_all(r, a);
    bool good = kafka_array(request_arena(r), &a->topics, q->topics.count);
    for (size_t i = 0; i < q->topics.count && good; i++) {
        kafka_metadata_response_topic_init(&a->topics.at[i]);
        good = put_wanted(r, &q->topics.at[i], &a->topics.at[i]);
    }
    return good;
}

static void answer_metadata(struct kafka_request *r)
{
    const struct kafka_metadata_request *q = request_body(r);
    const struct kafka_endpoint *e = request_endpoint(r);
    struct kafka_metadata_response a;
    kafka_metadata_response_init(&a);
    if (!put_topics(r, &a) || !kafka_array(request_arena(r), &a.brokers, 1)) {
        request_fail(r, no_memory);
        return;
    }
    a.controller_id = kafka_node_id(request_kafka(r));
    a.brokers.at[0] = (struct kafka_metadata_response_broker){
        .node_id = a.controller_id, .host = beck_str(e->host), .port = e->port};
    a.cluster_id = cluster_id(r);
    a.cluster_authorized_operations =
        cluster_operations(r, q->include_cluster_authorized_operations);
    request_answer(r, &a);
}

void handle_metadata(struct kafka_request *r)
{
    const struct kafka_metadata_request *q = request_body(r);
    struct topic *t;
    bool create = false;
    for (size_t i = 0; !wants_all(r) && i < q->topics.count && !create; i++)
        find_wanted(r, &q->topics.at[i], &t, &create);
    if (create)
        request_defer(r, answer_metadata);
    else
        answer_metadata(r);
}

/* ---- DescribeCluster ---- */

void handle_describe_cluster(struct kafka_request *r)
{
    const struct kafka_describe_cluster_request *q = request_body(r);
    const struct kafka_endpoint *e = request_endpoint(r);
    struct kafka_describe_cluster_response a;
    kafka_describe_cluster_response_init(&a);
    a.endpoint_type = q->endpoint_type;
    a.cluster_id = beck_str("");
    if (q->endpoint_type != BROKER_ENDPOINTS) {
        a.error_code = q->endpoint_type == 2 ? KAFKA_MISMATCHED_ENDPOINT_TYPE
                                             : KAFKA_UNSUPPORTED_ENDPOINT_TYPE;
        a.error_message = beck_str("The request was sent to an endpoint of type BROKER");
        request_answer(r, &a);
        return;
    }
    if (!kafka_array(request_arena(r), &a.brokers, 1)) {
        request_fail(r, no_memory);
        return;
    }
    a.cluster_id = cluster_id(r);
    a.controller_id = kafka_node_id(request_kafka(r));
    a.brokers.at[0] = (struct kafka_describe_cluster_response_broker){
        .broker_id = a.controller_id, .host = beck_str(e->host), .port = e->port};
    a.cluster_authorized_operations =
        cluster_operations(r, q->include_cluster_authorized_operations);
    request_answer(r, &a);
}

/* ---- DescribeTopicPartitions ---- */

struct described {
    struct kafka_describe_topic_partitions_response a;
    beck_bytes *names; /* in order */
    size_t count;
    int32_t left; /* partitions that may still be put */
};

static int by_name(const void *a, const void *b)
{
    const beck_bytes *x = a, *y = b;
    return bytes_compare(*x, *y);
}

static bool collect_names(struct kafka_request *r, struct described *d)
{
    const struct kafka_describe_topic_partitions_request *q = request_body(r);
    struct topic **list = NULL;
    size_t count = q->topics.count;
    bool all = count == 0;
    if (all && topics_list(request_kafka(r), &list, &count, NULL))
        return false;
    d->names = kafka_alloc_many(request_arena(r), count, sizeof *d->names);
    for (size_t i = 0; i < count && d->names; i++) {
        beck_bytes name = all ? list[i]->name : q->topics.at[i].name;
        if (all && !may_describe(r, name))
            continue;
        if (!q->cursor || bytes_compare(name, q->cursor->topic_name) >= 0)
            d->names[d->count++] = name;
    }
    free(list);
    if (d->names && d->count > 0)
        qsort(d->names, d->count, sizeof *d->names, by_name);
    return d->names != NULL;
}

/* The topic's partitions from `first` on, as many as may be put; what is left of them begins at
 * *next, -1: nothing. */
static bool put_described(struct kafka_request *r, struct described *d, const struct topic *t,
                          int32_t first, int32_t *next,
                          struct kafka_describe_topic_partitions_response_topic *out)
{
    int32_t end = (int32_t)topic_partitions(t);
    struct kafka_int32s nodes = this_node(r), none = {.at = nodes.at};
    int32_t count = first < end ? end - first : 0;
    *next = count > d->left ? first + d->left : -1;
    if (count > d->left)
        count = d->left;
    d->left -= count;
    if (!nodes.at || !kafka_array(request_arena(r), &out->partitions, (size_t)count))
        return false;
    memcpy(out->topic_id, t->id, TOPIC_ID);
    out->is_internal = t->internal;
    out->topic_authorized_operations = request_operations(r, KAFKA_RESOURCE_TOPIC, t->name);
    for (int32_t i = 0; i < count; i++) {
        struct kafka_describe_topic_partitions_response_partition *p = &out->partitions.at[i];
        kafka_describe_topic_partitions_response_partition_init(p);
        p->partition_index = first + i;
        p->leader_id = nodes.at[0];
        p->leader_epoch = LEADER_EPOCH;
        p->replica_nodes = p->isr_nodes = nodes;
        p->offline_replicas = p->eligible_leader_replicas = p->last_known_elr = none;
    }
    return true;
}

static bool put_next(struct kafka_request *r, struct described *d, beck_bytes name, int32_t next)
{
    d->a.next_cursor = request_alloc(r, sizeof *d->a.next_cursor);
    if (d->a.next_cursor)
        *d->a.next_cursor = (struct kafka_describe_topic_partitions_response_next_cursor){
            .topic_name = name, .partition_index = next};
    return d->a.next_cursor != NULL;
}

static bool put_descriptions(struct kafka_request *r, struct described *d)
{
    const struct kafka_describe_topic_partitions_request *q = request_body(r);
    if (!kafka_array(request_arena(r), &d->a.topics, d->count))
        return false;
    d->a.topics.count = 0;
    for (size_t i = 0; i < d->count; i++) {
        char text[KAFKA_TEXT];
        beck_bytes name = d->names[i];
        int32_t next = -1, first = 0;
        if (d->left == 0)
            return put_next(r, d, name, 0);
        if (q->cursor && bytes_equal(name, q->cursor->topic_name))
            first = q->cursor->partition_index > 0 ? q->cursor->partition_index : 0;
        struct kafka_describe_topic_partitions_response_topic *out =
            &d->a.topics.at[d->a.topics.count++];
        kafka_describe_topic_partitions_response_topic_init(out);
        out->name = name;
        struct topic *t = may_describe(r, name) ? topics_find(request_kafka(r), name) : NULL;
        if (!t)
            out->error_code = !may_describe(r, name)          ? KAFKA_TOPIC_AUTHORIZATION_FAILED
                              : topic_name_refuse(name, text) ? KAFKA_INVALID_TOPIC_EXCEPTION
                                                              : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
        if (t && !put_described(r, d, t, first, &next, out))
            return false;
        if (next >= 0)
            return put_next(r, d, name, next);
    }
    return true;
}

void handle_describe_topic_partitions(struct kafka_request *r)
{
    const struct kafka_describe_topic_partitions_request *q = request_body(r);
    struct described d = {.left = q->response_partition_limit};
    kafka_describe_topic_partitions_response_init(&d.a);
    if (d.left < 1 || d.left > DESCRIBED_MAX)
        d.left = DESCRIBED_MAX;
    if (collect_names(r, &d) && put_descriptions(r, &d))
        request_answer(r, &d.a);
    else
        request_fail(r, no_memory);
}
