/* Records of share groups: keys begin with their id, values with their version, an int16 each. */
#if !defined(BECK_KAFKA_MESSAGE_SHARE_RECORDS_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_SHARE_RECORDS_H

#include "kafka/message/table.h"

/* clang-format off */

MESSAGE(kafka_share_group_metadata_key, 11, 0, 0, NEVER)
    FIELD(STRING, group_id, 0, LAST)
END

MESSAGE(kafka_share_group_metadata_value, 11, 0, 0, 0)
    FIELD(INT32, epoch,         0, LAST)
    FIELD(INT64, metadata_hash, 0, LAST)
END

MESSAGE(kafka_share_group_member_metadata_key, 10, 0, 0, NEVER)
    FIELD(STRING, group_id,  0, LAST)
    FIELD(STRING, member_id, 0, LAST)
END

MESSAGE(kafka_share_group_member_metadata_value, 10, 0, 0, 0)
    FIELD(STRING,  rack_id,                0, LAST, NULLABLE(0))
    FIELD(STRING,  client_id,              0, LAST)
    FIELD(STRING,  client_host,            0, LAST)
    FIELD(STRINGS, subscribed_topic_names, 0, LAST)
END

MESSAGE(kafka_share_group_target_assignment_metadata_key, 12, 0, 0, NEVER)
    FIELD(STRING, group_id, 0, LAST)
END

MESSAGE(kafka_share_group_target_assignment_metadata_value, 12, 0, 0, 0)
    FIELD(INT32, assignment_epoch,     0, LAST)
    FIELD(INT64, assignment_timestamp, 0, LAST, TAG(0))
END

MESSAGE(kafka_share_group_target_assignment_member_key, 13, 0, 0, NEVER)
    FIELD(STRING, group_id,  0, LAST)
    FIELD(STRING, member_id, 0, LAST)
END

STRUCT(kafka_share_group_target_assignment_member_value_topic_partition)
    FIELD(UUID,   topic_id,   0, LAST)
    FIELD(INT32S, partitions, 0, LAST)
END

MESSAGE(kafka_share_group_target_assignment_member_value, 13, 0, 0, 0)
    ARRAY(kafka_share_group_target_assignment_member_value_topic_partition,
          topic_partitions, 0, LAST)
END

MESSAGE(kafka_share_group_current_member_assignment_key, 14, 0, 0, NEVER)
    FIELD(STRING, group_id,  0, LAST)
    FIELD(STRING, member_id, 0, LAST)
END

STRUCT(kafka_share_group_current_member_assignment_value_topic_partition)
    FIELD(UUID,   topic_id,   0, LAST)
    FIELD(INT32S, partitions, 0, LAST)
END

MESSAGE(kafka_share_group_current_member_assignment_value, 14, 0, 0, 0)
    FIELD(INT32, member_epoch,          0, LAST)
    FIELD(INT32, previous_member_epoch, 0, LAST)
    FIELD(INT8,  state,                 0, LAST)
    ARRAY(kafka_share_group_current_member_assignment_value_topic_partition,
          assigned_partitions, 0, LAST)
END

MESSAGE(kafka_share_group_state_partition_metadata_key, 15, 0, 0, NEVER)
    FIELD(STRING, group_id, 0, LAST)
END

STRUCT(kafka_share_group_state_partition_metadata_value_topic_partitions_info)
    FIELD(UUID,   topic_id,   0, LAST)
    FIELD(STRING, topic_name, 0, LAST)
    FIELD(INT32S, partitions, 0, LAST)
END

STRUCT(kafka_share_group_state_partition_metadata_value_topic_info)
    FIELD(UUID,   topic_id,   0, LAST)
    FIELD(STRING, topic_name, 0, LAST)
END

MESSAGE(kafka_share_group_state_partition_metadata_value, 15, 0, 0, 0)
    ARRAY(kafka_share_group_state_partition_metadata_value_topic_partitions_info,
          initializing_topics, 0, LAST)
    ARRAY(kafka_share_group_state_partition_metadata_value_topic_partitions_info,
          initialized_topics, 0, LAST)
    ARRAY(kafka_share_group_state_partition_metadata_value_topic_info, deleting_topics, 0, LAST)
END

MESSAGE(kafka_share_snapshot_key, 0, 0, 0, NEVER)
    FIELD(STRING, group_id,  0, LAST)
    FIELD(UUID,   topic_id,  0, LAST)
    FIELD(INT32,  partition, 0, LAST)
END

STRUCT(kafka_share_snapshot_value_state_batche)
    FIELD(INT64, first_offset,   0, LAST)
    FIELD(INT64, last_offset,    0, LAST)
    FIELD(INT8,  delivery_state, 0, LAST)
    FIELD(INT16, delivery_count, 0, LAST)
END

MESSAGE(kafka_share_snapshot_value, 0, 0, 0, 0)
    FIELD(INT32, snapshot_epoch,          0, LAST)
    FIELD(INT32, state_epoch,             0, LAST)
    FIELD(INT32, leader_epoch,            0, LAST)
    FIELD(INT64, start_offset,            0, LAST)
    FIELD(INT64, create_timestamp,        0, LAST)
    FIELD(INT64, write_timestamp,         0, LAST)
    ARRAY(kafka_share_snapshot_value_state_batche, state_batches, 0, LAST)
    FIELD(INT32, delivery_complete_count, 0, LAST, DEFAULT(-1), TAG(0))
END

MESSAGE(kafka_share_update_key, 1, 0, 0, NEVER)
    FIELD(STRING, group_id,  0, LAST)
    FIELD(UUID,   topic_id,  0, LAST)
    FIELD(INT32,  partition, 0, LAST)
END

STRUCT(kafka_share_update_value_state_batche)
    FIELD(INT64, first_offset,   0, LAST)
    FIELD(INT64, last_offset,    0, LAST)
    FIELD(INT8,  delivery_state, 0, LAST)
    FIELD(INT16, delivery_count, 0, LAST)
END

MESSAGE(kafka_share_update_value, 1, 0, 0, 0)
    FIELD(INT32, snapshot_epoch,          0, LAST)
    FIELD(INT32, leader_epoch,            0, LAST)
    FIELD(INT64, start_offset,            0, LAST)
    ARRAY(kafka_share_update_value_state_batche, state_batches, 0, LAST)
    FIELD(INT32, delivery_complete_count, 0, LAST, DEFAULT(-1), TAG(0))
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
