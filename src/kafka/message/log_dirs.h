/* AlterReplicaLogDirs (34), DescribeLogDirs (35). */
#if !defined(BECK_KAFKA_MESSAGE_LOG_DIRS_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_LOG_DIRS_H

#include "kafka/message/table.h"

/* clang-format off */

STRUCT(kafka_alter_replica_log_dirs_request_topic)
    FIELD(STRING, name,       0, LAST)
    FIELD(INT32S, partitions, 0, LAST)
END

STRUCT(kafka_alter_replica_log_dirs_request_dir)
    FIELD(STRING, path, 0, LAST)
    ARRAY(kafka_alter_replica_log_dirs_request_topic, topics, 0, LAST)
END

MESSAGE(kafka_alter_replica_log_dirs_request, 34, 1, 2, 2)
    ARRAY(kafka_alter_replica_log_dirs_request_dir, dirs, 0, LAST)
END

STRUCT(kafka_alter_replica_log_dirs_response_partition)
    FIELD(INT32, partition_index, 0, LAST)
    FIELD(INT16, error_code,      0, LAST)
END

STRUCT(kafka_alter_replica_log_dirs_response_result)
    FIELD(STRING, topic_name, 0, LAST)
    ARRAY(kafka_alter_replica_log_dirs_response_partition, partitions, 0, LAST)
END

MESSAGE(kafka_alter_replica_log_dirs_response, 34, 1, 2, 2)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    ARRAY(kafka_alter_replica_log_dirs_response_result, results, 0, LAST)
END

STRUCT(kafka_describe_log_dirs_request_topic)
    FIELD(STRING, topic,      0, LAST)
    FIELD(INT32S, partitions, 0, LAST)
END

MESSAGE(kafka_describe_log_dirs_request, 35, 1, 5, 2)
    ARRAY(kafka_describe_log_dirs_request_topic, topics, 0, LAST, NULLABLE(0))
END

STRUCT(kafka_describe_log_dirs_response_partition)
    FIELD(INT32, partition_index, 0, LAST)
    FIELD(INT64, partition_size,  0, LAST)
    FIELD(INT64, offset_lag,      0, LAST)
    FIELD(BOOL,  is_future_key,   0, LAST)
END

STRUCT(kafka_describe_log_dirs_response_topic)
    FIELD(STRING, name, 0, LAST)
    ARRAY(kafka_describe_log_dirs_response_partition, partitions, 0, LAST)
END

STRUCT(kafka_describe_log_dirs_response_result)
    FIELD(INT16,  error_code,   0, LAST)
    FIELD(STRING, log_dir,      0, LAST)
    ARRAY(kafka_describe_log_dirs_response_topic, topics, 0, LAST)
    FIELD(INT64,  total_bytes,  4, LAST, DEFAULT(-1))
    FIELD(INT64,  usable_bytes, 4, LAST, DEFAULT(-1))
    FIELD(BOOL,   is_cordoned,  5, LAST)
END

MESSAGE(kafka_describe_log_dirs_response, 35, 1, 5, 2)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    FIELD(INT16, error_code,       3, LAST)
    ARRAY(kafka_describe_log_dirs_response_result, results, 0, LAST)
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
