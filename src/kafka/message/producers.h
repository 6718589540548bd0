/* InitProducerId (22), WriteTxnMarkers (27), DescribeProducers (61). */
#if !defined(BECK_KAFKA_MESSAGE_PRODUCERS_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_PRODUCERS_H

#include "kafka/message/table.h"

/* clang-format off */

MESSAGE(kafka_init_producer_id_request, 22, 0, 5, 2)
    FIELD(STRING, transactional_id,       0, LAST, NULLABLE(0))
    FIELD(INT32,  transaction_timeout_ms, 0, LAST)
    FIELD(INT64,  producer_id,            3, LAST, DEFAULT(-1))
    FIELD(INT16,  producer_epoch,         3, LAST, DEFAULT(-1))
END

MESSAGE(kafka_init_producer_id_response, 22, 0, 5, 2)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    FIELD(INT16, error_code,       0, LAST)
    FIELD(INT64, producer_id,      0, LAST, DEFAULT(-1))
    FIELD(INT16, producer_epoch,   0, LAST)
END

STRUCT(kafka_write_txn_markers_request_topic)
    FIELD(STRING, name,              0, LAST)
    FIELD(INT32S, partition_indexes, 0, LAST)
END

STRUCT(kafka_write_txn_markers_request_marker)
    FIELD(INT64, producer_id,        0, LAST)
    FIELD(INT16, producer_epoch,     0, LAST)
    FIELD(BOOL,  transaction_result, 0, LAST)
    ARRAY(kafka_write_txn_markers_request_topic, topics, 0, LAST)
    FIELD(INT32, coordinator_epoch,   0, LAST)
    FIELD(INT8,  transaction_version, 2, LAST)
END

MESSAGE(kafka_write_txn_markers_request, 27, 1, 2, 1)
    ARRAY(kafka_write_txn_markers_request_marker, markers, 0, LAST)
END

STRUCT(kafka_write_txn_markers_response_partition)
    FIELD(INT32, partition_index, 0, LAST)
    FIELD(INT16, error_code,      0, LAST)
END

STRUCT(kafka_write_txn_markers_response_topic)
    FIELD(STRING, name, 0, LAST)
    ARRAY(kafka_write_txn_markers_response_partition, partitions, 0, LAST)
END

STRUCT(kafka_write_txn_markers_response_marker)
    FIELD(INT64, producer_id, 0, LAST)
    ARRAY(kafka_write_txn_markers_response_topic, topics, 0, LAST)
END

MESSAGE(kafka_write_txn_markers_response, 27, 1, 2, 1)
    ARRAY(kafka_write_txn_markers_response_marker, markers, 0, LAST)
END

STRUCT(kafka_describe_producers_request_topic)
    FIELD(STRING, name,              0, LAST)
    FIELD(INT32S, partition_indexes, 0, LAST)
END

MESSAGE(kafka_describe_producers_request, 61, 0, 0, 0)
    ARRAY(kafka_describe_producers_request_topic, topics, 0, LAST)
END

STRUCT(kafka_describe_producers_response_active_producer)
    FIELD(INT64, producer_id,              0, LAST)
    FIELD(INT32, producer_epoch,           0, LAST)
    FIELD(INT32, last_sequence,            0, LAST, DEFAULT(-1))
    FIELD(INT64, last_timestamp,           0, LAST, DEFAULT(-1))
    FIELD(INT32, coordinator_epoch,        0, LAST)
    FIELD(INT64, current_txn_start_offset, 0, LAST, DEFAULT(-1))
END

STRUCT(kafka_describe_producers_response_partition)
    FIELD(INT32,  partition_index, 0, LAST)
    FIELD(INT16,  error_code,      0, LAST)
    FIELD(STRING, error_message,   0, LAST, NULLABLE(0))
    ARRAY(kafka_describe_producers_response_active_producer, active_producers, 0, LAST)
END

STRUCT(kafka_describe_producers_response_topic)
    FIELD(STRING, name, 0, LAST)
    ARRAY(kafka_describe_producers_response_partition, partitions, 0, LAST)
END

MESSAGE(kafka_describe_producers_response, 61, 0, 0, 0)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    ARRAY(kafka_describe_producers_response_topic, topics, 0, LAST)
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
