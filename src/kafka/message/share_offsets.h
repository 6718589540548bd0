/* DescribeShareGroupOffsets (90), AlterShareGroupOffsets (91), DeleteShareGroupOffsets (92). */
#if !defined(BECK_KAFKA_MESSAGE_SHARE_OFFSETS_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_SHARE_OFFSETS_H

#include "kafka/message/table.h"

/* clang-format off */

STRUCT(kafka_describe_share_group_offsets_request_topic)
    FIELD(STRING, topic_name, 0, LAST)
    FIELD(INT32S, partitions, 0, LAST)
END

STRUCT(kafka_describe_share_group_offsets_request_group)
    FIELD(STRING, group_id, 0, LAST)
    ARRAY(kafka_describe_share_group_offsets_request_topic, topics, 0, LAST, NULLABLE(0))
END

MESSAGE(kafka_describe_share_group_offsets_request, 90, 0, 1, 0)
    ARRAY(kafka_describe_share_group_offsets_request_group, groups, 0, LAST)
END

STRUCT(kafka_describe_share_group_offsets_response_partition)
    FIELD(INT32,  partition_index, 0, LAST)
    FIELD(INT64,  start_offset,    0, LAST)
    FIELD(INT32,  leader_epoch,    0, LAST)
    FIELD(INT64,  lag,             1, LAST, DEFAULT(-1))
    FIELD(INT16,  error_code,      0, LAST)
    FIELD(STRING, error_message,   0, LAST, NULLABLE(0))
END

STRUCT(kafka_describe_share_group_offsets_response_topic)
    FIELD(STRING, topic_name, 0, LAST)
    FIELD(UUID,   topic_id,   0, LAST)
    ARRAY(kafka_describe_share_group_offsets_response_partition, partitions, 0, LAST)
END

STRUCT(kafka_describe_share_group_offsets_response_group)
    FIELD(STRING, group_id,      0, LAST)
    ARRAY(kafka_describe_share_group_offsets_response_topic, topics, 0, LAST)
    FIELD(INT16,  error_code,    0, LAST)
    FIELD(STRING, error_message, 0, LAST, NULLABLE(0))
END

MESSAGE(kafka_describe_share_group_offsets_response, 90, 0, 1, 0)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    ARRAY(kafka_describe_share_group_offsets_response_group, groups, 0, LAST)
END

STRUCT(kafka_alter_share_group_offsets_request_partition)
    FIELD(INT32, partition_index, 0, LAST)
    FIELD(INT64, start_offset,    0, LAST)
END

STRUCT(kafka_alter_share_group_offsets_request_topic)
    FIELD(STRING, topic_name, 0, LAST)
    ARRAY(kafka_alter_share_group_offsets_request_partition, partitions, 0, LAST)
END

MESSAGE(kafka_alter_share_group_offsets_request, 91, 0, 0, 0)
    FIELD(STRING, group_id, 0, LAST)
    ARRAY(kafka_alter_share_group_offsets_request_topic, topics, 0, LAST)
END

STRUCT(kafka_alter_share_group_offsets_response_partition)
    FIELD(INT32,  partition_index, 0, LAST)
    FIELD(INT16,  error_code,      0, LAST)
    FIELD(STRING, error_message,   0, LAST, NULLABLE(0))
END

STRUCT(kafka_alter_share_group_offsets_response_topic)
    FIELD(STRING, topic_name, 0, LAST)
    FIELD(UUID,   topic_id,   0, LAST)
    ARRAY(kafka_alter_share_group_offsets_response_partition, partitions, 0, LAST)
END

MESSAGE(kafka_alter_share_group_offsets_response, 91, 0, 0, 0)
    FIELD(INT32,  throttle_time_ms, 0, LAST)
    FIELD(INT16,  error_code,       0, LAST)
    FIELD(STRING, error_message,    0, LAST, NULLABLE(0))
    ARRAY(kafka_alter_share_group_offsets_response_topic, responses, 0, LAST)
END

STRUCT(kafka_delete_share_group_offsets_request_topic)
    FIELD(STRING, topic_name, 0, LAST)
END

MESSAGE(kafka_delete_share_group_offsets_request, 92, 0, 0, 0)
    FIELD(STRING, group_id, 0, LAST)
    ARRAY(kafka_delete_share_group_offsets_request_topic, topics, 0, LAST)
END

STRUCT(kafka_delete_share_group_offsets_response_topic)
    FIELD(STRING, topic_name,    0, LAST)
    FIELD(UUID,   topic_id,      0, LAST)
    FIELD(INT16,  error_code,    0, LAST)
    FIELD(STRING, error_message, 0, LAST, NULLABLE(0))
END

MESSAGE(kafka_delete_share_group_offsets_response, 92, 0, 0, 0)
    FIELD(INT32,  throttle_time_ms, 0, LAST)
    FIELD(INT16,  error_code,       0, LAST)
    FIELD(STRING, error_message,    0, LAST, NULLABLE(0))
    ARRAY(kafka_delete_share_group_offsets_response_topic, responses, 0, LAST)
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
