/* ConsumerGroupHeartbeat (68), ConsumerGroupDescribe (69). */
#if !defined(BECK_KAFKA_MESSAGE_CONSUMER_GROUPS_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_CONSUMER_GROUPS_H

#include "kafka/message/table.h"

/* clang-format off */

STRUCT(kafka_consumer_group_heartbeat_request_topic_partition)
    FIELD(UUID,   topic_id,   0, LAST)
    FIELD(INT32S, partitions, 0, LAST)
END

MESSAGE(kafka_consumer_group_heartbeat_request, 68, 0, 1, 0)
    FIELD(STRING,  group_id,               0, LAST)
    FIELD(STRING,  member_id,              0, LAST)
    FIELD(INT32,   member_epoch,           0, LAST)
    FIELD(STRING,  instance_id,            0, LAST, NULLABLE(0))
    FIELD(STRING,  rack_id,                0, LAST, NULLABLE(0))
    FIELD(INT32,   rebalance_timeout_ms,   0, LAST, DEFAULT(-1))
    FIELD(STRINGS, subscribed_topic_names, 0, LAST, NULLABLE(0), NULL_IF_ABSENT)
    FIELD(STRING,  subscribed_topic_regex, 1, LAST, NULLABLE(1))
    FIELD(STRING,  server_assignor,        0, LAST, NULLABLE(0))
    ARRAY(kafka_consumer_group_heartbeat_request_topic_partition,
          topic_partitions, 0, LAST, NULLABLE(0), NULL_IF_ABSENT)
END

STRUCT(kafka_consumer_group_heartbeat_response_topic_partition)
    FIELD(UUID,   topic_id,   0, LAST)
    FIELD(INT32S, partitions, 0, LAST)
END

STRUCT(kafka_consumer_group_heartbeat_response_assignment)
    ARRAY(kafka_consumer_group_heartbeat_response_topic_partition, topic_partitions, 0, LAST)
END

MESSAGE(kafka_consumer_group_heartbeat_response, 68, 0, 1, 0)
    FIELD(INT32,  throttle_time_ms,      0, LAST)
    FIELD(INT16,  error_code,            0, LAST)
    FIELD(STRING, error_message,         0, LAST, NULLABLE(0))
    FIELD(STRING, member_id,             0, LAST, NULLABLE(0))
    FIELD(INT32,  member_epoch,          0, LAST)
    FIELD(INT32,  heartbeat_interval_ms, 0, LAST)
    OPTIONAL(kafka_consumer_group_heartbeat_response_assignment, assignment, 0, LAST)
END

MESSAGE(kafka_consumer_group_describe_request, 69, 0, 1, 0)
    FIELD(STRINGS, group_ids,                     0, LAST)
    FIELD(BOOL,    include_authorized_operations, 0, LAST)
END

STRUCT(kafka_consumer_group_describe_response_topic_partition)
    FIELD(UUID,   topic_id,   0, LAST)
    FIELD(STRING, topic_name, 0, LAST)
    FIELD(INT32S, partitions, 0, LAST)
END

STRUCT(kafka_consumer_group_describe_response_assignment)
    ARRAY(kafka_consumer_group_describe_response_topic_partition, topic_partitions, 0, LAST)
END

STRUCT(kafka_consumer_group_describe_response_member)
    FIELD(STRING,  member_id,              0, LAST)
    FIELD(STRING,  instance_id,            0, LAST, NULLABLE(0))
    FIELD(STRING,  rack_id,                0, LAST, NULLABLE(0))
    FIELD(INT32,   member_epoch,           0, LAST)
    FIELD(STRING,  client_id,              0, LAST)
    FIELD(STRING,  client_host,            0, LAST)
    FIELD(STRINGS, subscribed_topic_names, 0, LAST)
    FIELD(STRING,  subscribed_topic_regex, 0, LAST, NULLABLE(0))
    NESTED(kafka_consumer_group_describe_response_assignment, assignment, 0, LAST)
    NESTED(kafka_consumer_group_describe_response_assignment, target_assignment, 0, LAST)
    FIELD(INT8,    member_type,            1, LAST, DEFAULT(-1))
END

STRUCT(kafka_consumer_group_describe_response_group)
    FIELD(INT16,  error_code,            0, LAST)
    FIELD(STRING, error_message,         0, LAST, NULLABLE(0))
    FIELD(STRING, group_id,              0, LAST)
    FIELD(STRING, group_state,           0, LAST)
    FIELD(INT32,  group_epoch,           0, LAST)
    FIELD(INT32,  assignment_epoch,      0, LAST)
    FIELD(STRING, assignor_name,         0, LAST)
    ARRAY(kafka_consumer_group_describe_response_member, members, 0, LAST)
    FIELD(INT32,  authorized_operations, 0, LAST, DEFAULT(INT32_MIN))
END

MESSAGE(kafka_consumer_group_describe_response, 69, 0, 1, 0)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    ARRAY(kafka_consumer_group_describe_response_group, groups, 0, LAST)
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
