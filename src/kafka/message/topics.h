/* CreateTopics (19), DeleteTopics (20), DeleteRecords (21), CreatePartitions (37). */
#if !defined(BECK_KAFKA_MESSAGE_TOPICS_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_TOPICS_H

#include "kafka/message/table.h"

/* clang-format off */

STRUCT(kafka_create_topics_request_assignment)
    FIELD(INT32,  partition_index, 0, LAST)
    FIELD(INT32S, broker_ids,      0, LAST)
END

STRUCT(kafka_create_topics_request_config)
    FIELD(STRING, name,  0, LAST)
    FIELD(STRING, value, 0, LAST, NULLABLE(0))
END

STRUCT(kafka_create_topics_request_topic)
    FIELD(STRING, name,               0, LAST)
    FIELD(INT32,  num_partitions,     0, LAST)
    FIELD(INT16,  replication_factor, 0, LAST)
    ARRAY(kafka_create_topics_request_assignment, assignments, 0, LAST)
    ARRAY(kafka_create_topics_request_config, configs, 0, LAST)
END

MESSAGE(kafka_create_topics_request, 19, 0, 7, 5)
    ARRAY(kafka_create_topics_request_topic, topics, 0, LAST)
    FIELD(INT32, timeout_ms,    0, LAST, DEFAULT(60000))
    FIELD(BOOL,  validate_only, 1, LAST)
END

STRUCT(kafka_create_topics_response_config)
    FIELD(STRING, name,          5, LAST)
    FIELD(STRING, value,         5, LAST, NULLABLE(5))
    FIELD(BOOL,   read_only,     5, LAST)
    FIELD(INT8,   config_source, 5, LAST, DEFAULT(-1))
    FIELD(BOOL,   is_sensitive,  5, LAST)
END

STRUCT(kafka_create_topics_response_topic)
    FIELD(STRING, name,                    0, LAST)
    FIELD(UUID,   topic_id,                7, LAST)
    FIELD(INT16,  error_code,              0, LAST)
    FIELD(STRING, error_message,           1, LAST, NULLABLE(0))
    FIELD(INT32,  num_partitions,          5, LAST, DEFAULT(-1))
    FIELD(INT16,  replication_factor,      5, LAST, DEFAULT(-1))
    ARRAY(kafka_create_topics_response_config, configs, 5, LAST, NULLABLE(5))
    FIELD(INT16,  topic_config_error_code, 5, LAST, TAG(0))
END

MESSAGE(kafka_create_topics_response, 19, 0, 7, 5)
    FIELD(INT32, throttle_time_ms, 2, LAST)
    ARRAY(kafka_create_topics_response_topic, topics, 0, LAST)
END

STRUCT(kafka_delete_topics_request_topic)
    FIELD(STRING, name,     6, LAST, NULLABLE(6))
    FIELD(UUID,   topic_id, 6, LAST)
END

MESSAGE(kafka_delete_topics_request, 20, 0, 6, 4)
    ARRAY(kafka_delete_topics_request_topic, topics, 6, LAST)
    FIELD(STRINGS, topic_names, 0, 5)
    FIELD(INT32,   timeout_ms,  0, LAST)
END

STRUCT(kafka_delete_topics_response_topic)
    FIELD(STRING, name,          0, LAST, NULLABLE(6))
    FIELD(UUID,   topic_id,      6, LAST)
    FIELD(INT16,  error_code,    0, LAST)
    FIELD(STRING, error_message, 5, LAST, NULLABLE(5))
END

MESSAGE(kafka_delete_topics_response, 20, 0, 6, 4)
    FIELD(INT32, throttle_time_ms, 1, LAST)
    ARRAY(kafka_delete_topics_response_topic, responses, 0, LAST)
END

STRUCT(kafka_delete_records_request_partition)
    FIELD(INT32, partition_index, 0, LAST)
    FIELD(INT64, offset,          0, LAST)
END

STRUCT(kafka_delete_records_request_topic)
    FIELD(STRING, name, 0, LAST)
    ARRAY(kafka_delete_records_request_partition, partitions, 0, LAST)
END

MESSAGE(kafka_delete_records_request, 21, 0, 2, 2)
    ARRAY(kafka_delete_records_request_topic, topics, 0, LAST)
    FIELD(INT32, timeout_ms, 0, LAST)
END

STRUCT(kafka_delete_records_response_partition)
    FIELD(INT32, partition_index, 0, LAST)
    FIELD(INT64, low_watermark,   0, LAST)
    FIELD(INT16, error_code,      0, LAST)
END

STRUCT(kafka_delete_records_response_topic)
    FIELD(STRING, name, 0, LAST)
    ARRAY(kafka_delete_records_response_partition, partitions, 0, LAST)
END

MESSAGE(kafka_delete_records_response, 21, 0, 2, 2)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    ARRAY(kafka_delete_records_response_topic, topics, 0, LAST)
END

STRUCT(kafka_create_partitions_request_assignment)
    FIELD(INT32S, broker_ids, 0, LAST)
END

STRUCT(kafka_create_partitions_request_topic)
    FIELD(STRING, name,  0, LAST)
    FIELD(INT32,  count, 0, LAST)
    ARRAY(kafka_create_partitions_request_assignment, assignments, 0, LAST, NULLABLE(0))
END

MESSAGE(kafka_create_partitions_request, 37, 0, 3, 2)
    ARRAY(kafka_create_partitions_request_topic, topics, 0, LAST)
    FIELD(INT32, timeout_ms,    0, LAST)
    FIELD(BOOL,  validate_only, 0, LAST)
END

STRUCT(kafka_create_partitions_response_result)
    FIELD(STRING, name,          0, LAST)
    FIELD(INT16,  error_code,    0, LAST)
    FIELD(STRING, error_message, 0, LAST, NULLABLE(0))
END

MESSAGE(kafka_create_partitions_response, 37, 0, 3, 2)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    ARRAY(kafka_create_partitions_response_result, results, 0, LAST)
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
