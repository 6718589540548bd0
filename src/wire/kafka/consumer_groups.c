/* ConsumerGroupHeartbeat (68), ConsumerGroupDescribe (69). */
#include "wire/kafka/groups.h"
#include "kafka/share.h"
#include "wire/kafka/handlers.h"

static void refuse(struct kafka_request *r, int error)
{
    struct kafka_consumer_group_heartbeat_response a;
    kafka_consumer_group_heartbeat_response_init(&a);
    a.error_code = (int16_t)error;
    request_answer(r, &a);
}

void handle_consumer_group_heartbeat(struct kafka_request *r)
{
    const struct kafka_consumer_group_heartbeat_request *q = request_body(r);
    struct group_client client;
    if (!request_may(r, KAFKA_RESOURCE_GROUP, KAFKA_OP_READ, q->group_id)) {
        refuse(r, KAFKA_GROUP_AUTHORIZATION_FAILED);
        return;
    }
    if (share_exists(request_kafka(r), q->group_id)) {
        refuse(r, KAFKA_GROUP_ID_NOT_FOUND);
        return;
    }
    for (size_t i = 0; i < q->subscribed_topic_names.count; i++) {
        if (!request_may(r, KAFKA_RESOURCE_TOPIC, KAFKA_OP_DESCRIBE,
                         q->subscribed_topic_names.at[i])) {
            refuse(r, KAFKA_TOPIC_AUTHORIZATION_FAILED);
            return;
        }
    }
    if (fill_group_client(r, &client))
        groups_consumer_heartbeat(kafka_groups(request_kafka(r)), q, &client, answer_later, r);
}

/* A group with topics that the caller may not see is not shown. */
static bool may_see(const struct kafka_request *r,
                    const struct kafka_consumer_group_describe_response_group *g)
{
    for (size_t m = 0; m < g->members.count; m++) {
        const struct kafka_consumer_group_describe_response_member *member = &g->members.at[m];
        for (size_t t = 0; t < member->assignment.topic_partitions.count; t++)
            if (!request_may(r, KAFKA_RESOURCE_TOPIC, KAFKA_OP_DESCRIBE,
                             member->assignment.topic_partitions.at[t].topic_name))
                return false;
        for (size_t t = 0; t < member->target_assignment.topic_partitions.count; t++)
            if (!request_may(r, KAFKA_RESOURCE_TOPIC, KAFKA_OP_DESCRIBE,
                             member->target_assignment.topic_partitions.at[t].topic_name))
                return false;
    }
    return true;
}

static bool describe(struct kafka_request *r, beck_bytes id,
                     struct kafka_consumer_group_describe_response_group *to)
{
    int error = KAFKA_NONE;
    if (!request_may(r, KAFKA_RESOURCE_GROUP, KAFKA_OP_DESCRIBE, id))
        error = KAFKA_GROUP_AUTHORIZATION_FAILED;
    else if (groups_consumer_describe(kafka_groups(request_kafka(r)), id, request_arena(r), to))
        return false;
    else if (!may_see(r, to))
        error = KAFKA_TOPIC_AUTHORIZATION_FAILED;
    if (error) {
        kafka_consumer_group_describe_response_group_init(to);
        to->group_id = id;
        to->error_code = (int16_t)error;
    }
    return true;
}

void handle_consumer_group_describe(struct kafka_request *r)
{
    const struct kafka_consumer_group_describe_request *q = request_body(r);
    struct kafka_consumer_group_describe_response a;
    kafka_consumer_group_describe_response_init(&a);
    bool good = kafka_array(request_arena(r), &a.groups, q->group_ids.count);
    for (size_t i = 0; good && i < a.groups.count; i++) {
        good = describe(r, q->group_ids.at[i], &a.groups.at[i]);
        if (good && q->include_authorized_operations && !a.groups.at[i].error_code)
            a.groups.at[i].authorized_operations =
                request_operations(r, KAFKA_RESOURCE_GROUP, q->group_ids.at[i]);
    }
    if (good)
        request_answer(r, &a);
    else
        request_fail(r, "there is no memory for an answer");
}
