/* Metadata (3), DescribeCluster (60), DescribeTopicPartitions (75). */
#if !defined(BECK_KAFKA_MESSAGE_METADATA_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_METADATA_H

#include "kafka/message/table.h"

/* clang-format off */

STRUCT(kafka_metadata_request_topic)
    FIELD(UUID,   topic_id, 10, LAST)
    FIELD(STRING, name,     0, LAST, NULLABLE(10))
END

MESSAGE(kafka_metadata_request, 3, 0, 13, 9)
    ARRAY(kafka_metadata_request_topic, topics, 0, LAST, NULLABLE(1))
    FIELD(BOOL, allow_auto_topic_creation,             4, LAST, DEFAULT(1))
    FIELD(BOOL, include_cluster_authorized_operations, 8, 10)
    FIELD(BOOL, include_topic_authorized_operations,   8, LAST)
END

STRUCT(kafka_metadata_response_broker)
    FIELD(INT32,  node_id, 0, LAST)
    FIELD(STRING, host,    0, LAST)
    FIELD(INT32,  port,    0, LAST)
    FIELD(STRING, rack,    1, LAST, NULLABLE(1))
END

STRUCT(kafka_metadata_response_partition)
    FIELD(INT16,  error_code,       0, LAST)
    FIELD(INT32,  partition_index,  0, LAST)
    FIELD(INT32,  leader_id,        0, LAST)
    FIELD(INT32,  leader_epoch,     7, LAST, DEFAULT(-1))
    FIELD(INT32S, replica_nodes,    0, LAST)
    FIELD(INT32S, isr_nodes,        0, LAST)
    FIELD(INT32S, offline_replicas, 5, LAST)
END

STRUCT(kafka_metadata_response_topic)
    FIELD(INT16,  error_code,                  0, LAST)
    FIELD(STRING, name,                        0, LAST, NULLABLE(12))
    FIELD(UUID,   topic_id,                    10, LAST)
    FIELD(BOOL,   is_internal,                 1, LAST)
    ARRAY(kafka_metadata_response_partition, partitions, 0, LAST)
    FIELD(INT32,  topic_authorized_operations, 8, LAST, DEFAULT(INT32_MIN))
END

MESSAGE(kafka_metadata_response, 3, 0, 13, 9)
    FIELD(INT32,  throttle_time_ms,              3, LAST)
    ARRAY(kafka_metadata_response_broker, brokers, 0, LAST)
    FIELD(STRING, cluster_id,                    2, LAST, NULLABLE(2))
    FIELD(INT32,  controller_id,                 1, LAST, DEFAULT(-1))
    ARRAY(kafka_metadata_response_topic, topics, 0, LAST)
    FIELD(INT32,  cluster_authorized_operations, 8, 10, DEFAULT(INT32_MIN))
    FIELD(INT16,  error_code,                    13, LAST)
END

MESSAGE(kafka_describe_cluster_request, 60, 0, 2, 0)
    FIELD(BOOL, include_cluster_authorized_operations, 0, LAST)
    FIELD(INT8, endpoint_type,                         1, LAST, DEFAULT(1))
    FIELD(BOOL, include_fenced_brokers,                2, LAST)
END

STRUCT(kafka_describe_cluster_response_broker)
    FIELD(INT32,  broker_id, 0, LAST)
    FIELD(STRING, host,      0, LAST)
    FIELD(INT32,  port,      0, LAST)
    FIELD(STRING, rack,      0, LAST, NULLABLE(0))
    FIELD(BOOL,   is_fenced, 2, LAST)
END

MESSAGE(kafka_describe_cluster_response, 60, 0, 2, 0)
    FIELD(INT32,  throttle_time_ms,              0, LAST)
    FIELD(INT16,  error_code,                    0, LAST)
    FIELD(STRING, error_message,                 0, LAST, NULLABLE(0))
    FIELD(INT8,   endpoint_type,                 1, LAST, DEFAULT(1))
    FIELD(STRING, cluster_id,                    0, LAST)
    FIELD(INT32,  controller_id,                 0, LAST, DEFAULT(-1))
    ARRAY(kafka_describe_cluster_response_broker, brokers, 0, LAST)
    FIELD(INT32,  cluster_authorized_operations, 0, LAST, DEFAULT(INT32_MIN))
END

STRUCT(kafka_describe_topic_partitions_request_topic)
    FIELD(STRING, name, 0, LAST)
END

STRUCT(kafka_describe_topic_partitions_request_cursor)
    FIELD(STRING, topic_name,      0, LAST)
    FIELD(INT32,  partition_index, 0, LAST)
END

MESSAGE(kafka_describe_topic_partitions_request, 75, 0, 0, 0)
    ARRAY(kafka_describe_topic_partitions_request_topic, topics, 0, LAST)
    FIELD(INT32, response_partition_limit, 0, LAST, DEFAULT(2000))
    OPTIONAL(kafka_describe_topic_partitions_request_cursor, cursor, 0, LAST)
END

STRUCT(kafka_describe_topic_partitions_response_partition)
    FIELD(INT16,  error_code,               0, LAST)
    FIELD(INT32,  partition_index,          0, LAST)
    FIELD(INT32,  leader_id,                0, LAST)
    FIELD(INT32,  leader_epoch,             0, LAST, DEFAULT(-1))
    FIELD(INT32S, replica_nodes,            0, LAST)
    FIELD(INT32S, isr_nodes,                0, LAST)
    FIELD(INT32S, eligible_leader_replicas, 0, LAST, NULLABLE(0), NULL_IF_ABSENT)
    FIELD(INT32S, last_known_elr,           0, LAST, NULLABLE(0), NULL_IF_ABSENT)
    FIELD(INT32S, offline_replicas,         0, LAST)
END

STRUCT(kafka_describe_topic_partitions_response_topic)
    FIELD(INT16,  error_code,                  0, LAST)
    FIELD(STRING, name,                        0, LAST, NULLABLE(0))
    FIELD(UUID,   topic_id,                    0, LAST)
    FIELD(BOOL,   is_internal,                 0, LAST)
    ARRAY(kafka_describe_topic_partitions_response_partition, partitions, 0, LAST)
    FIELD(INT32,  topic_authorized_operations, 0, LAST, DEFAULT(INT32_MIN))
END

STRUCT(kafka_describe_topic_partitions_response_next_cursor)
    FIELD(STRING, topic_name,      0, LAST)
    FIELD(INT32,  partition_index, 0, LAST)
END

MESSAGE(kafka_describe_topic_partitions_response, 75, 0, 0, 0)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    ARRAY(kafka_describe_topic_partitions_response_topic, topics, 0, LAST)
    OPTIONAL(kafka_describe_topic_partitions_response_next_cursor, next_cursor, 0, LAST)
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
