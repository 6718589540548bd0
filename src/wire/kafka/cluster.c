/*
 * What is asked of clusters, as one that has one node answers it: ElectLeaders (43),
 * AlterPartitionReassignments (45), ListPartitionReassignments (46), DescribeQuorum (55).
 */
#include "kafka/message/cluster.h"

#include "wire/kafka/handlers.h"
#include "wire/kafka/topic_names.h"

#include <stdio.h>

#define QUORUM_TOPIC "__cluster_metadata"
#define QUORUM_EPOCH 1

static const char no_memory[] = "there is no memory for an answer";

static int may_cluster(struct kafka_request *r, enum kafka_operation operation)
{
    return request_may(r, KAFKA_RESOURCE_CLUSTER, operation, (beck_bytes){0})
               ? KAFKA_NONE
               : KAFKA_CLUSTER_AUTHORIZATION_FAILED;
}

static bool is_there(struct kafka_request *r, beck_bytes topic, int32_t partition)
{
    struct topic *t = topics_find(request_kafka(r), topic);
    return t && topic_partition(t, partition);
}

/* ---- ElectLeaders ---- */

static bool put_elections(struct kafka_request *r,
                          const struct kafka_elect_leaders_request_topic *q,
                          struct kafka_elect_leaders_response_topic *out)
{
    out->topic = q->topic;
    if (!kafka_array(request_arena(r), &out->partition_result, q->partitions.count))
        return false;
    for (size_t i = 0; i < q->partitions.count; i++) {
        int32_t n = q->partitions.at[i];
        bool known = is_there(r, q->topic, n);
        out->partition_result.at[i] = (struct kafka_elect_leaders_response_partition){
            .partition_id = n,
            .error_code = known ? KAFKA_ELECTION_NOT_NEEDED : KAFKA_UNKNOWN_TOPIC_OR_PARTITION,
            .error_message = known ? beck_str("Leader election not needed for topic partition.")
                                   : beck_str("The partition does not exist.")};
    }
    return true;
}

void handle_elect_leaders(struct kafka_request *r)
{
    const struct kafka_elect_leaders_request *q = request_body(r);
    struct kafka_elect_leaders_response a;
    kafka_elect_leaders_response_init(&a);
    a.error_code = (int16_t)may_cluster(r, KAFKA_OP_ALTER);
    size_t count = a.error_code ? 0 : q->topic_partitions.count;
    bool good = kafka_array(request_arena(r), &a.replica_election_results, count);
    for (size_t i = 0; i < count && good; i++)
        good = put_elections(r, &q->topic_partitions.at[i], &a.replica_election_results.at[i]);
    if (good)
        request_answer(r, &a);
    else
        request_fail(r, no_memory);
}

/* ---- reassignments ---- */

static int reassign(struct kafka_request *r, beck_bytes topic,
                    const struct kafka_alter_partition_reassignments_request_partition *q,
                    const char **why)
{
    *why = "This server does not host this topic-partition.";
    if (!is_there(r, topic, q->partition_index))
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    *why = "No partition reassignment is in progress.";
    if (q->replicas.is_null || !q->replicas.at)
        return KAFKA_NO_REASSIGNMENT_IN_PROGRESS;
    *why = "There is one broker, and every partition is on it.";
    if (q->replicas.count != 1 || q->replicas.at[0] != kafka_node_id(request_kafka(r)))
        return KAFKA_INVALID_REPLICA_ASSIGNMENT;
    *why = NULL;
    return KAFKA_NONE;
}

static bool put_reassignments(struct kafka_request *r,
                              const struct kafka_alter_partition_reassignments_request_topic *q,
                              struct kafka_alter_partition_reassignments_response_topic *out)
{
    out->name = q->name;
    if (!kafka_array(request_arena(r), &out->partitions, q->partitions.count))
        return false;
    for (size_t i = 0; i < q->partitions.count; i++) {
        const char *why;
        int code = reassign(r, q->name, &q->partitions.at[i], &why);
        out->partitions.at[i] = (struct kafka_alter_partition_reassignments_response_partition){
            .partition_index = q->partitions.at[i].partition_index,
            .error_code = (int16_t)code,
            .error_message = beck_str(why)};
    }
    return true;
}

void handle_alter_partition_reassignments(struct kafka_request *r)
{
    const struct kafka_alter_partition_reassignments_request *q = request_body(r);
    struct kafka_alter_partition_reassignments_response a;
    kafka_alter_partition_reassignments_response_init(&a);
    a.allow_replication_factor_change = q->allow_replication_factor_change;
    a.error_code = (int16_t)may_cluster(r, KAFKA_OP_ALTER);
    size_t count = a.error_code ? 0 : q->topics.count;
    bool good = kafka_array(request_arena(r), &a.responses, count);
    for (size_t i = 0; i < count && good; i++)
        good = put_reassignments(r, &q->topics.at[i], &a.responses.at[i]);
    if (good)
        request_answer(r, &a);
    else
        request_fail(r, no_memory);
}

void handle_list_partition_reassignments(struct kafka_request *r)
{
    struct kafka_list_partition_reassignments_response a;
    kafka_list_partition_reassignments_response_init(&a);
    a.error_code = (int16_t)may_cluster(r, KAFKA_OP_DESCRIBE);
    if (kafka_array(request_arena(r), &a.topics, 0))
        request_answer(r, &a);
    else
        request_fail(r, no_memory);
}

/* ---- DescribeQuorum ---- */

static bool put_quorum(struct kafka_request *r, const struct kafka_describe_quorum_request_topic *q,
                       struct kafka_describe_quorum_response_topic *out)
{
    struct kafka_arena *arena = request_arena(r);
    bool known = bytes_equal_text(q->topic_name, QUORUM_TOPIC);
    int64_t end = partition_high(bus_partition(request_engine(r)->topology, 0));
    out->topic_name = q->topic_name;
    bool good = kafka_array(arena, &out->partitions, q->partitions.count);
    for (size_t i = 0; i < q->partitions.count && good; i++) {
        struct kafka_describe_quorum_response_partition *p = &out->partitions.at[i];
        p->partition_index = q->partitions.at[i].partition_index;
        bool here = known && p->partition_index == 0;
        good = kafka_array(arena, &p->current_voters, here) && kafka_array(arena, &p->observers, 0);
        p->error_code = here ? KAFKA_NONE : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
        if (!good || !here)
            continue;
        kafka_describe_quorum_response_replica_init(&p->current_voters.at[0]);
        p->leader_id = p->current_voters.at[0].replica_id = kafka_node_id(request_kafka(r));
        p->leader_epoch = QUORUM_EPOCH;
        p->high_watermark = p->current_voters.at[0].log_end_offset = end;
        p->current_voters.at[0].last_fetch_timestamp =
            p->current_voters.at[0].last_caught_up_timestamp =
                clock_wall_ms(request_engine(r)->env.clock);
    }
    return good;
}

static bool put_node(struct kafka_request *r, struct kafka_describe_quorum_response *a)
{
    const struct kafka_endpoint *e = request_endpoint(r);
    if (!kafka_array(request_arena(r), &a->nodes, 1) ||
        !kafka_array(request_arena(r), &a->nodes.at[0].listeners, 1))
        return false;
    a->nodes.at[0].node_id = kafka_node_id(request_kafka(r));
    a->nodes.at[0].listeners.at[0] = (struct kafka_describe_quorum_response_listener){
        .name = beck_str("CONTROLLER"), .host = beck_str(e->host), .port = e->port};
    return true;
}

void handle_describe_quorum(struct kafka_request *r)
{
    const struct kafka_describe_quorum_request *q = request_body(r);
    struct kafka_describe_quorum_response a;
    kafka_describe_quorum_response_init(&a);
    a.error_code = (int16_t)may_cluster(r, KAFKA_OP_DESCRIBE);
    size_t count = a.error_code ? 0 : q->topics.count;
    bool good = kafka_array(request_arena(r), &a.topics, count) && put_node(r, &a);
    for (size_t i = 0; i < count && good; i++)
        good = put_quorum(r, &q->topics.at[i], &a.topics.at[i]);
    if (good)
        request_answer(r, &a);
    else
        request_fail(r, no_memory);
}

/* ---- UnregisterBroker ---- */

void handle_unregister_broker(struct kafka_request *r)
{
    const struct kafka_unregister_broker_request *q = request_body(r);
    struct kafka_unregister_broker_response a;
    char text[64];
    kafka_unregister_broker_response_init(&a);
    if (!request_may(r, KAFKA_RESOURCE_CLUSTER, KAFKA_OP_ALTER, (beck_bytes){0})) {
        a.error_code = KAFKA_CLUSTER_AUTHORIZATION_FAILED;
    } else if (q->broker_id == kafka_node_id(request_kafka(r))) {
        a.error_code = KAFKA_INVALID_REQUEST;
        a.error_message = beck_str("this is the only broker");
    } else {
        snprintf(text, sizeof text, "Broker ID %d is not currently registered", q->broker_id);
        a.error_code = KAFKA_BROKER_ID_NOT_REGISTERED;
        a.error_message = kafka_text(request_arena(r), text);
    }
    request_answer(r, &a);
}
