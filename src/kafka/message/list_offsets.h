/* ListOffsets (2), OffsetForLeaderEpoch (23). */
#if !defined(BECK_KAFKA_MESSAGE_LIST_OFFSETS_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_LIST_OFFSETS_H

#include "kafka/message/table.h"

/* clang-format off */

STRUCT(kafka_list_offsets_request_partition)
    FIELD(INT32, partition_index,      0, LAST)
    FIELD(INT32, current_leader_epoch, 4, LAST, DEFAULT(-1))
    FIELD(INT64, timestamp,            0, LAST)
    FIELD(INT32, max_num_offsets,      0, 0, DEFAULT(1))
END

STRUCT(kafka_list_offsets_request_topic)
    FIELD(STRING, name, 0, LAST)
    ARRAY(kafka_list_offsets_request_partition, partitions, 0, LAST)
END

MESSAGE(kafka_list_offsets_request, 2, 0, 11, 6)
    FIELD(INT32, replica_id,      0, LAST)
    FIELD(INT8,  isolation_level, 2, LAST)
    ARRAY(kafka_list_offsets_request_topic, topics, 0, LAST)
    FIELD(INT32, timeout_ms,      10, LAST)
END

STRUCT(kafka_list_offsets_response_partition)
    FIELD(INT32,  partition_index,   0, LAST)
    FIELD(INT16,  error_code,        0, LAST)
    FIELD(INT64S, old_style_offsets, 0, 0)
    FIELD(INT64,  timestamp,         1, LAST, DEFAULT(-1))
    FIELD(INT64,  offset,            1, LAST, DEFAULT(-1))
    FIELD(INT32,  leader_epoch,      4, LAST, DEFAULT(-1))
END

STRUCT(kafka_list_offsets_response_topic)
    FIELD(STRING, name, 0, LAST)
    ARRAY(kafka_list_offsets_response_partition, partitions, 0, LAST)
END

MESSAGE(kafka_list_offsets_response, 2, 0, 11, 6)
    FIELD(INT32, throttle_time_ms, 2, LAST)
    ARRAY(kafka_list_offsets_response_topic, topics, 0, LAST)
END

STRUCT(kafka_offset_for_leader_epoch_request_partition)
    FIELD(INT32, partition,            0, LAST)
    FIELD(INT32, current_leader_epoch, 2, LAST, DEFAULT(-1))
    FIELD(INT32, leader_epoch,         0, LAST)
END

STRUCT(kafka_offset_for_leader_epoch_request_topic)
    FIELD(STRING, topic, 0, LAST)
    ARRAY(kafka_offset_for_leader_epoch_request_partition, partitions, 0, LAST)
END

MESSAGE(kafka_offset_for_leader_epoch_request, 23, 0, 4, 4)
    FIELD(INT32, replica_id, 3, LAST, DEFAULT(-2))
    ARRAY(kafka_offset_for_leader_epoch_request_topic, topics, 0, LAST)
END

STRUCT(kafka_offset_for_leader_epoch_response_partition)
    FIELD(INT16, error_code,   0, LAST)
    FIELD(INT32, partition,    0, LAST)
    FIELD(INT32, leader_epoch, 1, LAST, DEFAULT(-1))
    FIELD(INT64, end_offset,   0, LAST, DEFAULT(-1))
END

STRUCT(kafka_offset_for_leader_epoch_response_topic)
    FIELD(STRING, topic, 0, LAST)
    ARRAY(kafka_offset_for_leader_epoch_response_partition, partitions, 0, LAST)
END

MESSAGE(kafka_offset_for_leader_epoch_response, 23, 0, 4, 4)
    FIELD(INT32, throttle_time_ms, 2, LAST)
    ARRAY(kafka_offset_for_leader_epoch_response_topic, topics, 0, LAST)
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
