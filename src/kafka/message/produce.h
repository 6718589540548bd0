/* Produce (0). */
#if !defined(BECK_KAFKA_MESSAGE_PRODUCE_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_PRODUCE_H

#include "kafka/message/table.h"

/* clang-format off */

STRUCT(kafka_produce_request_partition)
    FIELD(INT32,   index,   0, LAST)
    FIELD(RECORDS, records, 0, LAST, NULLABLE(0))
END

STRUCT(kafka_produce_request_topic)
    FIELD(STRING, name,     0, 12)
    FIELD(UUID,   topic_id, 13, LAST)
    ARRAY(kafka_produce_request_partition, partition_data, 0, LAST)
END

MESSAGE(kafka_produce_request, 0, 0, 13, 9)
    FIELD(STRING, transactional_id, 3, LAST, NULLABLE(3))
    FIELD(INT16,  acks,             0, LAST)
    FIELD(INT32,  timeout_ms,       0, LAST)
    ARRAY(kafka_produce_request_topic, topic_data, 0, LAST)
END

STRUCT(kafka_produce_response_record_error)
    FIELD(INT32,  batch_index,               8, LAST)
    FIELD(STRING, batch_index_error_message, 8, LAST, NULLABLE(8))
END

STRUCT(kafka_produce_response_current_leader)
    FIELD(INT32, leader_id,    10, LAST, DEFAULT(-1))
    FIELD(INT32, leader_epoch, 10, LAST, DEFAULT(-1))
END

STRUCT(kafka_produce_response_partition)
    FIELD(INT32,  index,              0, LAST)
    FIELD(INT16,  error_code,         0, LAST)
    FIELD(INT64,  base_offset,        0, LAST)
    FIELD(INT64,  log_append_time_ms, 2, LAST, DEFAULT(-1))
    FIELD(INT64,  log_start_offset,   5, LAST, DEFAULT(-1))
    ARRAY(kafka_produce_response_record_error, record_errors, 8, LAST)
    FIELD(STRING, error_message,      8, LAST, NULLABLE(8))
    NESTED(kafka_produce_response_current_leader, current_leader, 10, LAST, TAG(0))
END

STRUCT(kafka_produce_response_topic)
    FIELD(STRING, name,     0, 12)
    FIELD(UUID,   topic_id, 13, LAST)
    ARRAY(kafka_produce_response_partition, partition_responses, 0, LAST)
END

STRUCT(kafka_produce_response_node_endpoint)
    FIELD(INT32,  node_id, 10, LAST)
    FIELD(STRING, host,    10, LAST)
    FIELD(INT32,  port,    10, LAST)
    FIELD(STRING, rack,    10, LAST, NULLABLE(10))
END

MESSAGE(kafka_produce_response, 0, 0, 13, 9)
    ARRAY(kafka_produce_response_topic, responses, 0, LAST)
    FIELD(INT32, throttle_time_ms, 1, LAST)
    ARRAY(kafka_produce_response_node_endpoint, node_endpoints, 10, LAST, TAG(0))
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
