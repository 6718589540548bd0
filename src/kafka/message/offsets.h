/* OffsetCommit (8), OffsetFetch (9), OffsetDelete (47). */
#if !defined(BECK_KAFKA_MESSAGE_OFFSETS_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_OFFSETS_H

#include "kafka/message/table.h"

/* clang-format off */

STRUCT(kafka_offset_commit_request_partition)
    FIELD(INT32,  partition_index,        0, LAST)
    FIELD(INT64,  committed_offset,       0, LAST)
    FIELD(INT32,  committed_leader_epoch, 6, LAST, DEFAULT(-1))
    FIELD(INT64,  commit_timestamp,       1, 1, DEFAULT(-1))
    FIELD(STRING, committed_metadata,     0, LAST, NULLABLE(0))
END

STRUCT(kafka_offset_commit_request_topic)
    FIELD(STRING, name,     0, 9)
    FIELD(UUID,   topic_id, 10, LAST)
    ARRAY(kafka_offset_commit_request_partition, partitions, 0, LAST)
END

MESSAGE(kafka_offset_commit_request, 8, 1, 10, 8)
    FIELD(STRING, group_id,                      0, LAST)
    FIELD(INT32,  generation_id_or_member_epoch, 1, LAST, DEFAULT(-1))
    FIELD(STRING, member_id,                     1, LAST)
    FIELD(STRING, group_instance_id,             7, LAST, NULLABLE(7))
    FIELD(INT64,  retention_time_ms,             2, 4, DEFAULT(-1))
    ARRAY(kafka_offset_commit_request_topic, topics, 0, LAST)
END

STRUCT(kafka_offset_commit_response_partition)
    FIELD(INT32, partition_index, 0, LAST)
    FIELD(INT16, error_code,      0, LAST)
END

STRUCT(kafka_offset_commit_response_topic)
    FIELD(STRING, name,     0, 9)
    FIELD(UUID,   topic_id, 10, LAST)
    ARRAY(kafka_offset_commit_response_partition, partitions, 0, LAST)
END

MESSAGE(kafka_offset_commit_response, 8, 1, 10, 8)
    FIELD(INT32, throttle_time_ms, 3, LAST)
    ARRAY(kafka_offset_commit_response_topic, topics, 0, LAST)
END

STRUCT(kafka_offset_fetch_request_topic)
    FIELD(STRING, name,              0, 7)
    FIELD(INT32S, partition_indexes, 0, 7)
END

STRUCT(kafka_offset_fetch_request_group_topic)
    FIELD(STRING, name,              8, 9)
    FIELD(UUID,   topic_id,          10, LAST)
    FIELD(INT32S, partition_indexes, 8, LAST)
END

STRUCT(kafka_offset_fetch_request_group)
    FIELD(STRING, group_id,     8, LAST)
    FIELD(STRING, member_id,    9, LAST, NULLABLE(9))
    FIELD(INT32,  member_epoch, 9, LAST, DEFAULT(-1))
    ARRAY(kafka_offset_fetch_request_group_topic, topics, 8, LAST, NULLABLE(8))
END

MESSAGE(kafka_offset_fetch_request, 9, 1, 10, 6)
    FIELD(STRING, group_id,       0, 7)
    ARRAY(kafka_offset_fetch_request_topic, topics, 0, 7, NULLABLE(2))
    ARRAY(kafka_offset_fetch_request_group, groups, 8, LAST)
    FIELD(BOOL,   require_stable, 7, LAST)
END

STRUCT(kafka_offset_fetch_response_partition)
    FIELD(INT32,  partition_index,        0, 7)
    FIELD(INT64,  committed_offset,       0, 7)
    FIELD(INT32,  committed_leader_epoch, 5, 7, DEFAULT(-1))
    FIELD(STRING, metadata,               0, 7, NULLABLE(0))
    FIELD(INT16,  error_code,             0, 7)
END

STRUCT(kafka_offset_fetch_response_topic)
    FIELD(STRING, name, 0, 7)
    ARRAY(kafka_offset_fetch_response_partition, partitions, 0, 7)
END

STRUCT(kafka_offset_fetch_response_group_topic_partition)
    FIELD(INT32,  partition_index,        8, LAST)
    FIELD(INT64,  committed_offset,       8, LAST)
    FIELD(INT32,  committed_leader_epoch, 8, LAST, DEFAULT(-1))
    FIELD(STRING, metadata,               8, LAST, NULLABLE(8))
    FIELD(INT16,  error_code,             8, LAST)
END

STRUCT(kafka_offset_fetch_response_group_topic)
    FIELD(STRING, name,     8, 9)
    FIELD(UUID,   topic_id, 10, LAST)
    ARRAY(kafka_offset_fetch_response_group_topic_partition, partitions, 8, LAST)
END

STRUCT(kafka_offset_fetch_response_group)
    FIELD(STRING, group_id,   8, LAST)
    ARRAY(kafka_offset_fetch_response_group_topic, topics, 8, LAST)
    FIELD(INT16,  error_code, 8, LAST)
END

MESSAGE(kafka_offset_fetch_response, 9, 1, 10, 6)
    FIELD(INT32, throttle_time_ms, 3, LAST)
    ARRAY(kafka_offset_fetch_response_topic, topics, 0, 7)
    FIELD(INT16, error_code,       2, 7)
    ARRAY(kafka_offset_fetch_response_group, groups, 8, LAST)
END

STRUCT(kafka_offset_delete_request_partition)
    FIELD(INT32, partition_index, 0, LAST)
END

STRUCT(kafka_offset_delete_request_topic)
    FIELD(STRING, name, 0, LAST)
    ARRAY(kafka_offset_delete_request_partition, partitions, 0, LAST)
END

MESSAGE(kafka_offset_delete_request, 47, 0, 0, NEVER)
    FIELD(STRING, group_id, 0, LAST)
    ARRAY(kafka_offset_delete_request_topic, topics, 0, LAST)
END

STRUCT(kafka_offset_delete_response_partition)
    FIELD(INT32, partition_index, 0, LAST)
    FIELD(INT16, error_code,      0, LAST)
END

STRUCT(kafka_offset_delete_response_topic)
    FIELD(STRING, name, 0, LAST)
    ARRAY(kafka_offset_delete_response_partition, partitions, 0, LAST)
END

MESSAGE(kafka_offset_delete_response, 47, 0, 0, NEVER)
    FIELD(INT16, error_code,       0, LAST)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    ARRAY(kafka_offset_delete_response_topic, topics, 0, LAST)
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
