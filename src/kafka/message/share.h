/* ShareGroupHeartbeat (76), ShareGroupDescribe (77), ShareFetch (78), ShareAcknowledge (79). */
#if !defined(BECK_KAFKA_MESSAGE_SHARE_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_SHARE_H

#include "kafka/message/table.h"

/* clang-format off */

MESSAGE(kafka_share_group_heartbeat_request, 76, 1, 1, 0)
    FIELD(STRING,  group_id,               0, LAST)
    FIELD(STRING,  member_id,              0, LAST)
    FIELD(INT32,   member_epoch,           0, LAST)
    FIELD(STRING,  rack_id,                0, LAST, NULLABLE(0))
    FIELD(STRINGS, subscribed_topic_names, 0, LAST, NULLABLE(0), NULL_IF_ABSENT)
END

STRUCT(kafka_share_group_heartbeat_response_topic_partition)
    FIELD(UUID,   topic_id,   0, LAST)
    FIELD(INT32S, partitions, 0, LAST)
END

STRUCT(kafka_share_group_heartbeat_response_assignment)
    ARRAY(kafka_share_group_heartbeat_response_topic_partition, topic_partitions, 0, LAST)
END

MESSAGE(kafka_share_group_heartbeat_response, 76, 1, 1, 0)
    FIELD(INT32,  throttle_time_ms,      0, LAST)
    FIELD(INT16,  error_code,            0, LAST)
    FIELD(STRING, error_message,         0, LAST, NULLABLE(0))
    FIELD(STRING, member_id,             0, LAST, NULLABLE(0))
    FIELD(INT32,  member_epoch,          0, LAST)
    FIELD(INT32,  heartbeat_interval_ms, 0, LAST)
    OPTIONAL(kafka_share_group_heartbeat_response_assignment, assignment, 0, LAST)
END

MESSAGE(kafka_share_group_describe_request, 77, 1, 1, 0)
    FIELD(STRINGS, group_ids,                     0, LAST)
    FIELD(BOOL,    include_authorized_operations, 0, LAST)
END

STRUCT(kafka_share_group_describe_response_topic_partition)
    FIELD(UUID,   topic_id,   0, LAST)
    FIELD(STRING, topic_name, 0, LAST)
    FIELD(INT32S, partitions, 0, LAST)
END

STRUCT(kafka_share_group_describe_response_assignment)
    ARRAY(kafka_share_group_describe_response_topic_partition, topic_partitions, 0, LAST)
END

STRUCT(kafka_share_group_describe_response_member)
    FIELD(STRING,  member_id,              0, LAST)
    FIELD(STRING,  rack_id,                0, LAST, NULLABLE(0))
    FIELD(INT32,   member_epoch,           0, LAST)
    FIELD(STRING,  client_id,              0, LAST)
    FIELD(STRING,  client_host,            0, LAST)
    FIELD(STRINGS, subscribed_topic_names, 0, LAST)
    NESTED(kafka_share_group_describe_response_assignment, assignment, 0, LAST)
END

STRUCT(kafka_share_group_describe_response_group)
    FIELD(INT16,  error_code,            0, LAST)
    FIELD(STRING, error_message,         0, LAST, NULLABLE(0))
    FIELD(STRING, group_id,              0, LAST)
    FIELD(STRING, group_state,           0, LAST)
    FIELD(INT32,  group_epoch,           0, LAST)
    FIELD(INT32,  assignment_epoch,      0, LAST)
    FIELD(STRING, assignor_name,         0, LAST)
    ARRAY(kafka_share_group_describe_response_member, members, 0, LAST)
    FIELD(INT32,  authorized_operations, 0, LAST, DEFAULT(INT32_MIN))
END

MESSAGE(kafka_share_group_describe_response, 77, 1, 1, 0)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    ARRAY(kafka_share_group_describe_response_group, groups, 0, LAST)
END

STRUCT(kafka_share_fetch_request_acknowledgement_batche)
    FIELD(INT64, first_offset,      0, LAST)
    FIELD(INT64, last_offset,       0, LAST)
    FIELD(INT8S, acknowledge_types, 0, LAST)
END

STRUCT(kafka_share_fetch_request_partition)
    FIELD(INT32, partition_index, 0, LAST)
    ARRAY(kafka_share_fetch_request_acknowledgement_batche, acknowledgement_batches, 0, LAST)
END

STRUCT(kafka_share_fetch_request_topic)
    FIELD(UUID, topic_id, 0, LAST)
    ARRAY(kafka_share_fetch_request_partition, partitions, 0, LAST)
END

STRUCT(kafka_share_fetch_request_forgotten_topic)
    FIELD(UUID,   topic_id,   0, LAST)
    FIELD(INT32S, partitions, 0, LAST)
END

MESSAGE(kafka_share_fetch_request, 78, 1, 2, 0)
    FIELD(STRING, group_id,            0, LAST, NULLABLE(0))
    FIELD(STRING, member_id,           0, LAST, NULLABLE(0))
    FIELD(INT32,  share_session_epoch, 0, LAST)
    FIELD(INT32,  max_wait_ms,         0, LAST)
    FIELD(INT32,  min_bytes,           0, LAST)
    FIELD(INT32,  max_bytes,           0, LAST, DEFAULT(INT32_MAX))
    FIELD(INT32,  max_records,         1, LAST)
    FIELD(INT32,  batch_size,          1, LAST)
    FIELD(INT8,   share_acquire_mode,  2, LAST)
    FIELD(BOOL,   is_renew_ack,        2, LAST)
    ARRAY(kafka_share_fetch_request_topic, topics, 0, LAST)
    ARRAY(kafka_share_fetch_request_forgotten_topic, forgotten_topics_data, 0, LAST)
END

STRUCT(kafka_share_fetch_response_current_leader)
    FIELD(INT32, leader_id,    0, LAST)
    FIELD(INT32, leader_epoch, 0, LAST)
END

STRUCT(kafka_share_fetch_response_acquired)
    FIELD(INT64, first_offset,   0, LAST)
    FIELD(INT64, last_offset,    0, LAST)
    FIELD(INT16, delivery_count, 0, LAST)
END

STRUCT(kafka_share_fetch_response_partition)
    FIELD(INT32,   partition_index,           0, LAST)
    FIELD(INT16,   error_code,                0, LAST)
    FIELD(STRING,  error_message,             0, LAST, NULLABLE(0))
    FIELD(INT16,   acknowledge_error_code,    0, LAST)
    FIELD(STRING,  acknowledge_error_message, 0, LAST, NULLABLE(0))
    NESTED(kafka_share_fetch_response_current_leader, current_leader, 0, LAST)
    FIELD(RECORDS, records,                   0, LAST)
    ARRAY(kafka_share_fetch_response_acquired, acquired_records, 0, LAST)
END

STRUCT(kafka_share_fetch_response_topic)
    FIELD(UUID, topic_id, 0, LAST)
    ARRAY(kafka_share_fetch_response_partition, partitions, 0, LAST)
END

STRUCT(kafka_share_fetch_response_node_endpoint)
    FIELD(INT32,  node_id, 0, LAST)
    FIELD(STRING, host,    0, LAST)
    FIELD(INT32,  port,    0, LAST)
    FIELD(STRING, rack,    0, LAST, NULLABLE(0))
END

MESSAGE(kafka_share_fetch_response, 78, 1, 2, 0)
    FIELD(INT32,  throttle_time_ms,            0, LAST)
    FIELD(INT16,  error_code,                  0, LAST)
    FIELD(STRING, error_message,               0, LAST, NULLABLE(0))
    FIELD(INT32,  acquisition_lock_timeout_ms, 1, LAST)
    ARRAY(kafka_share_fetch_response_topic, responses, 0, LAST)
    ARRAY(kafka_share_fetch_response_node_endpoint, node_endpoints, 0, LAST)
END

STRUCT(kafka_share_acknowledge_request_acknowledgement_batche)
    FIELD(INT64, first_offset,      0, LAST)
    FIELD(INT64, last_offset,       0, LAST)
    FIELD(INT8S, acknowledge_types, 0, LAST)
END

STRUCT(kafka_share_acknowledge_request_partition)
    FIELD(INT32, partition_index, 0, LAST)
    ARRAY(kafka_share_acknowledge_request_acknowledgement_batche, acknowledgement_batches, 0, LAST)
END

STRUCT(kafka_share_acknowledge_request_topic)
    FIELD(UUID, topic_id, 0, LAST)
    ARRAY(kafka_share_acknowledge_request_partition, partitions, 0, LAST)
END

MESSAGE(kafka_share_acknowledge_request, 79, 1, 2, 0)
    FIELD(STRING, group_id,            0, LAST, NULLABLE(0))
    FIELD(STRING, member_id,           0, LAST, NULLABLE(0))
    FIELD(INT32,  share_session_epoch, 0, LAST)
    FIELD(BOOL,   is_renew_ack,        2, LAST)
    ARRAY(kafka_share_acknowledge_request_topic, topics, 0, LAST)
END

STRUCT(kafka_share_acknowledge_response_current_leader)
    FIELD(INT32, leader_id,    0, LAST)
    FIELD(INT32, leader_epoch, 0, LAST)
END

STRUCT(kafka_share_acknowledge_response_partition)
    FIELD(INT32,  partition_index, 0, LAST)
    FIELD(INT16,  error_code,      0, LAST)
    FIELD(STRING, error_message,   0, LAST, NULLABLE(0))
    NESTED(kafka_share_acknowledge_response_current_leader, current_leader, 0, LAST)
END

STRUCT(kafka_share_acknowledge_response_topic)
    FIELD(UUID, topic_id, 0, LAST)
    ARRAY(kafka_share_acknowledge_response_partition, partitions, 0, LAST)
END

STRUCT(kafka_share_acknowledge_response_node_endpoint)
    FIELD(INT32,  node_id, 0, LAST)
    FIELD(STRING, host,    0, LAST)
    FIELD(INT32,  port,    0, LAST)
    FIELD(STRING, rack,    0, LAST, NULLABLE(0))
END

MESSAGE(kafka_share_acknowledge_response, 79, 1, 2, 0)
    FIELD(INT32,  throttle_time_ms,            0, LAST)
    FIELD(INT16,  error_code,                  0, LAST)
    FIELD(STRING, error_message,               0, LAST, NULLABLE(0))
    FIELD(INT32,  acquisition_lock_timeout_ms, 2, LAST)
    ARRAY(kafka_share_acknowledge_response_topic, responses, 0, LAST)
    ARRAY(kafka_share_acknowledge_response_node_endpoint, node_endpoints, 0, LAST)
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
