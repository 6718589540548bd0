/* ElectLeaders (43), AlterPartitionReassignments (45), ListPartitionReassignments (46), DescribeQuorum (55), UnregisterBroker
 * (64). */
#if !defined(BECK_KAFKA_MESSAGE_CLUSTER_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_CLUSTER_H

#include "kafka/message/table.h"

/* clang-format off */

STRUCT(kafka_elect_leaders_request_topic)
    FIELD(STRING, topic,      0, LAST)
    FIELD(INT32S, partitions, 0, LAST)
END

MESSAGE(kafka_elect_leaders_request, 43, 0, 2, 2)
    FIELD(INT8,  election_type, 1, LAST)
    ARRAY(kafka_elect_leaders_request_topic, topic_partitions, 0, LAST, NULLABLE(0))
    FIELD(INT32, timeout_ms,    0, LAST, DEFAULT(60000))
END

STRUCT(kafka_elect_leaders_response_partition)
    FIELD(INT32,  partition_id,  0, LAST)
    FIELD(INT16,  error_code,    0, LAST)
    FIELD(STRING, error_message, 0, LAST, NULLABLE(0))
END

STRUCT(kafka_elect_leaders_response_topic)
    FIELD(STRING, topic, 0, LAST)
    ARRAY(kafka_elect_leaders_response_partition, partition_result, 0, LAST)
END

MESSAGE(kafka_elect_leaders_response, 43, 0, 2, 2)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    FIELD(INT16, error_code,       1, LAST)
    ARRAY(kafka_elect_leaders_response_topic, replica_election_results, 0, LAST)
END

STRUCT(kafka_alter_partition_reassignments_request_partition)
    FIELD(INT32,  partition_index, 0, LAST)
    FIELD(INT32S, replicas,        0, LAST, NULLABLE(0), NULL_IF_ABSENT)
END

STRUCT(kafka_alter_partition_reassignments_request_topic)
    FIELD(STRING, name, 0, LAST)
    ARRAY(kafka_alter_partition_reassignments_request_partition, partitions, 0, LAST)
END

MESSAGE(kafka_alter_partition_reassignments_request, 45, 0, 1, 0)
    FIELD(INT32, timeout_ms,                      0, LAST, DEFAULT(60000))
    FIELD(BOOL,  allow_replication_factor_change, 1, LAST, DEFAULT(1))
    ARRAY(kafka_alter_partition_reassignments_request_topic, topics, 0, LAST)
END

STRUCT(kafka_alter_partition_reassignments_response_partition)
    FIELD(INT32,  partition_index, 0, LAST)
    FIELD(INT16,  error_code,      0, LAST)
    FIELD(STRING, error_message,   0, LAST, NULLABLE(0))
END

STRUCT(kafka_alter_partition_reassignments_response_topic)
    FIELD(STRING, name, 0, LAST)
    ARRAY(kafka_alter_partition_reassignments_response_partition, partitions, 0, LAST)
END

MESSAGE(kafka_alter_partition_reassignments_response, 45, 0, 1, 0)
    FIELD(INT32,  throttle_time_ms,                0, LAST)
    FIELD(BOOL,   allow_replication_factor_change, 1, LAST, DEFAULT(1))
    FIELD(INT16,  error_code,                      0, LAST)
    FIELD(STRING, error_message,                   0, LAST, NULLABLE(0))
    ARRAY(kafka_alter_partition_reassignments_response_topic, responses, 0, LAST)
END

STRUCT(kafka_list_partition_reassignments_request_topic)
    FIELD(STRING, name,              0, LAST)
    FIELD(INT32S, partition_indexes, 0, LAST)
END

MESSAGE(kafka_list_partition_reassignments_request, 46, 0, 0, 0)
    FIELD(INT32, timeout_ms, 0, LAST, DEFAULT(60000))
    ARRAY(kafka_list_partition_reassignments_request_topic, topics, 0, LAST, NULLABLE(0), NULL_IF_ABSENT)
END

STRUCT(kafka_list_partition_reassignments_response_partition)
    FIELD(INT32,  partition_index,   0, LAST)
    FIELD(INT32S, replicas,          0, LAST)
    FIELD(INT32S, adding_replicas,   0, LAST)
    FIELD(INT32S, removing_replicas, 0, LAST)
END

STRUCT(kafka_list_partition_reassignments_response_topic)
    FIELD(STRING, name, 0, LAST)
    ARRAY(kafka_list_partition_reassignments_response_partition, partitions, 0, LAST)
END

MESSAGE(kafka_list_partition_reassignments_response, 46, 0, 0, 0)
    FIELD(INT32,  throttle_time_ms, 0, LAST)
    FIELD(INT16,  error_code,       0, LAST)
    FIELD(STRING, error_message,    0, LAST, NULLABLE(0))
    ARRAY(kafka_list_partition_reassignments_response_topic, topics, 0, LAST)
END

STRUCT(kafka_describe_quorum_request_partition)
    FIELD(INT32, partition_index, 0, LAST)
END

STRUCT(kafka_describe_quorum_request_topic)
    FIELD(STRING, topic_name, 0, LAST)
    ARRAY(kafka_describe_quorum_request_partition, partitions, 0, LAST)
END

MESSAGE(kafka_describe_quorum_request, 55, 0, 2, 0)
    ARRAY(kafka_describe_quorum_request_topic, topics, 0, LAST)
END

STRUCT(kafka_describe_quorum_response_replica)
    FIELD(INT32, replica_id,               0, LAST)
    FIELD(UUID,  replica_directory_id,     2, LAST)
    FIELD(INT64, log_end_offset,           0, LAST)
    FIELD(INT64, last_fetch_timestamp,     1, LAST, DEFAULT(-1))
    FIELD(INT64, last_caught_up_timestamp, 1, LAST, DEFAULT(-1))
END

STRUCT(kafka_describe_quorum_response_partition)
    FIELD(INT32,  partition_index, 0, LAST)
    FIELD(INT16,  error_code,      0, LAST)
    FIELD(STRING, error_message,   2, LAST, NULLABLE(2))
    FIELD(INT32,  leader_id,       0, LAST)
    FIELD(INT32,  leader_epoch,    0, LAST)
    FIELD(INT64,  high_watermark,  0, LAST)
    ARRAY(kafka_describe_quorum_response_replica, current_voters, 0, LAST)
    ARRAY(kafka_describe_quorum_response_replica, observers, 0, LAST)
END

STRUCT(kafka_describe_quorum_response_topic)
    FIELD(STRING, topic_name, 0, LAST)
    ARRAY(kafka_describe_quorum_response_partition, partitions, 0, LAST)
END

STRUCT(kafka_describe_quorum_response_listener)
    FIELD(STRING, name, 2, LAST)
    FIELD(STRING, host, 2, LAST)
    FIELD(UINT16, port, 2, LAST)
END

STRUCT(kafka_describe_quorum_response_node)
    FIELD(INT32, node_id, 2, LAST)
    ARRAY(kafka_describe_quorum_response_listener, listeners, 2, LAST)
END

MESSAGE(kafka_describe_quorum_response, 55, 0, 2, 0)
    FIELD(INT16,  error_code,    0, LAST)
    FIELD(STRING, error_message, 2, LAST, NULLABLE(2))
    ARRAY(kafka_describe_quorum_response_topic, topics, 0, LAST)
    ARRAY(kafka_describe_quorum_response_node, nodes, 2, LAST)
END

MESSAGE(kafka_unregister_broker_request, 64, 0, 0, 0)
    FIELD(INT32, broker_id, 0, LAST)
END

MESSAGE(kafka_unregister_broker_response, 64, 0, 0, 0)
    FIELD(INT32,  throttle_time_ms, 0, LAST)
    FIELD(INT16,  error_code,       0, LAST)
    FIELD(STRING, error_message,    0, LAST, NULLABLE(0))
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
