/* Fetch (1). */
#if !defined(BECK_KAFKA_MESSAGE_FETCH_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_FETCH_H

#include "kafka/message/table.h"

/* clang-format off */

STRUCT(kafka_fetch_request_partition)
    FIELD(INT32, partition,            0, LAST)
    FIELD(INT32, current_leader_epoch, 9, LAST, DEFAULT(-1))
    FIELD(INT64, fetch_offset,         0, LAST)
    FIELD(INT32, last_fetched_epoch,   12, LAST, DEFAULT(-1))
    FIELD(INT64, log_start_offset,     5, LAST, DEFAULT(-1))
    FIELD(INT32, partition_max_bytes,  0, LAST)
    FIELD(UUID,  replica_directory_id, 17, LAST, TAG(0))
    FIELD(INT64, high_watermark,       18, LAST, DEFAULT(INT64_MAX), TAG(1))
END

STRUCT(kafka_fetch_request_topic)
    FIELD(STRING, topic,    0, 12)
    FIELD(UUID,   topic_id, 13, LAST)
    ARRAY(kafka_fetch_request_partition, partitions, 0, LAST)
END

STRUCT(kafka_fetch_request_forgotten_topic)
    FIELD(STRING, topic,      7, 12)
    FIELD(UUID,   topic_id,   13, LAST)
    FIELD(INT32S, partitions, 7, LAST)
END

STRUCT(kafka_fetch_request_replica_state)
    FIELD(INT32, replica_id,    15, LAST, DEFAULT(-1))
    FIELD(INT64, replica_epoch, 15, LAST, DEFAULT(-1))
END

MESSAGE(kafka_fetch_request, 1, 4, 18, 12)
    FIELD(INT32,  replica_id,      0, 14, DEFAULT(-1))
    FIELD(INT32,  max_wait_ms,     0, LAST)
    FIELD(INT32,  min_bytes,       0, LAST)
    FIELD(INT32,  max_bytes,       3, LAST, DEFAULT(INT32_MAX))
    FIELD(INT8,   isolation_level, 4, LAST)
    FIELD(INT32,  session_id,      7, LAST)
    FIELD(INT32,  session_epoch,   7, LAST, DEFAULT(-1))
    ARRAY(kafka_fetch_request_topic, topics, 0, LAST)
    ARRAY(kafka_fetch_request_forgotten_topic, forgotten_topics_data, 7, LAST)
    FIELD(STRING, rack_id,         11, LAST)
    FIELD(STRING, cluster_id,      12, LAST, NULLABLE(12), TAG(0))
    NESTED(kafka_fetch_request_replica_state, replica_state, 15, LAST, TAG(1))
END

STRUCT(kafka_fetch_response_aborted_transaction)
    FIELD(INT64, producer_id,  4, LAST)
    FIELD(INT64, first_offset, 4, LAST)
END

STRUCT(kafka_fetch_response_diverging_epoch)
    FIELD(INT32, epoch,      12, LAST, DEFAULT(-1))
    FIELD(INT64, end_offset, 12, LAST, DEFAULT(-1))
END

STRUCT(kafka_fetch_response_current_leader)
    FIELD(INT32, leader_id,    12, LAST, DEFAULT(-1))
    FIELD(INT32, leader_epoch, 12, LAST, DEFAULT(-1))
END

STRUCT(kafka_fetch_response_snapshot_id)
    FIELD(INT64, end_offset, 0, LAST, DEFAULT(-1))
    FIELD(INT32, epoch,      0, LAST, DEFAULT(-1))
END

STRUCT(kafka_fetch_response_partition)
    FIELD(INT32,   partition_index,        0, LAST)
    FIELD(INT16,   error_code,             0, LAST)
    FIELD(INT64,   high_watermark,         0, LAST)
    FIELD(INT64,   last_stable_offset,     4, LAST, DEFAULT(-1))
    FIELD(INT64,   log_start_offset,       5, LAST, DEFAULT(-1))
    ARRAY(kafka_fetch_response_aborted_transaction, aborted_transactions, 4, LAST, NULLABLE(4))
    FIELD(INT32,   preferred_read_replica, 11, LAST, DEFAULT(-1))
    FIELD(RECORDS, records,                0, LAST, NULLABLE(0))
    NESTED(kafka_fetch_response_diverging_epoch, diverging_epoch, 12, LAST, TAG(0))
    NESTED(kafka_fetch_response_current_leader, current_leader, 12, LAST, TAG(1))
    NESTED(kafka_fetch_response_snapshot_id, snapshot_id, 12, LAST, TAG(2))
END

STRUCT(kafka_fetch_response_topic)
    FIELD(STRING, topic,    0, 12)
    FIELD(UUID,   topic_id, 13, LAST)
    ARRAY(kafka_fetch_response_partition, partitions, 0, LAST)
END

STRUCT(kafka_fetch_response_node_endpoint)
    FIELD(INT32,  node_id, 16, LAST)
    FIELD(STRING, host,    16, LAST)
    FIELD(INT32,  port,    16, LAST)
    FIELD(STRING, rack,    16, LAST, NULLABLE(16))
END

MESSAGE(kafka_fetch_response, 1, 4, 18, 12)
    FIELD(INT32, throttle_time_ms, 1, LAST)
    FIELD(INT16, error_code,       7, LAST)
    FIELD(INT32, session_id,       7, LAST)
    ARRAY(kafka_fetch_response_topic, responses, 0, LAST)
    ARRAY(kafka_fetch_response_node_endpoint, node_endpoints, 16, LAST, TAG(0))
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
