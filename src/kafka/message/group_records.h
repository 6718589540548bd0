/*
 * Records of __consumer_offsets: keys begin with their id, values with their version, an int16
 * each.
 */
#if !defined(BECK_KAFKA_MESSAGE_GROUP_RECORDS_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_GROUP_RECORDS_H

#include "kafka/message/table.h"

/* clang-format off */

MESSAGE(kafka_offset_commit_key, 1, 0, 0, NEVER)
    FIELD(STRING, group,     0, LAST)
    FIELD(STRING, topic,     0, LAST)
    FIELD(INT32,  partition, 0, LAST)
END

MESSAGE(kafka_offset_commit_value, 1, 0, 4, 4)
    FIELD(INT64,  offset,           0, LAST)
    FIELD(INT32,  leader_epoch,     3, LAST, DEFAULT(-1))
    FIELD(STRING, metadata,         0, LAST)
    FIELD(INT64,  commit_timestamp, 0, LAST)
    FIELD(INT64,  expire_timestamp, 1, 1, DEFAULT(-1))
    FIELD(UUID,   topic_id,         4, LAST, TAG(0))
END

MESSAGE(kafka_group_metadata_key, 2, 0, 0, NEVER)
    FIELD(STRING, group, 0, LAST)
END

STRUCT(kafka_group_metadata_value_member_metadata)
    FIELD(STRING, member_id,         0, LAST)
    FIELD(STRING, group_instance_id, 3, LAST, NULLABLE(3))
    FIELD(STRING, client_id,         0, LAST)
    FIELD(STRING, client_host,       0, LAST)
    FIELD(INT32,  rebalance_timeout, 1, LAST, DEFAULT(-1))
    FIELD(INT32,  session_timeout,   0, LAST)
    FIELD(BYTES,  subscription,      0, LAST)
    FIELD(BYTES,  assignment,        0, LAST)
END

MESSAGE(kafka_group_metadata_value, 2, 0, 4, 4)
    FIELD(STRING, protocol_type,           0, LAST)
    FIELD(INT32,  generation,              0, LAST)
    FIELD(STRING, protocol,                0, LAST, NULLABLE(0))
    FIELD(STRING, leader,                  0, LAST, NULLABLE(0))
    FIELD(INT64,  current_state_timestamp, 2, LAST, DEFAULT(-1))
    ARRAY(kafka_group_metadata_value_member_metadata, members, 0, LAST)
END

MESSAGE(kafka_consumer_group_metadata_key, 3, 0, 0, NEVER)
    FIELD(STRING, group_id, 0, LAST)
END

MESSAGE(kafka_consumer_group_metadata_value, 3, 0, 0, 0)
    FIELD(INT32, epoch,         0, LAST)
    FIELD(INT64, metadata_hash, 0, LAST, TAG(0))
END

MESSAGE(kafka_consumer_group_member_metadata_key, 5, 0, 0, NEVER)
    FIELD(STRING, group_id,  0, LAST)
    FIELD(STRING, member_id, 0, LAST)
END

STRUCT(kafka_consumer_group_member_metadata_value_supported_protocol)
    FIELD(STRING, name,     0, LAST)
    FIELD(BYTES,  metadata, 0, LAST)
END

STRUCT(kafka_consumer_group_member_metadata_value_classic_member_metadata)
    FIELD(INT32, session_timeout_ms, 0, LAST)
    ARRAY(kafka_consumer_group_member_metadata_value_supported_protocol,
          supported_protocols, 0, LAST)
END

MESSAGE(kafka_consumer_group_member_metadata_value, 5, 0, 0, 0)
    FIELD(STRING,  instance_id,            0, LAST, NULLABLE(0))
    FIELD(STRING,  rack_id,                0, LAST, NULLABLE(0))
    FIELD(STRING,  client_id,              0, LAST)
    FIELD(STRING,  client_host,            0, LAST)
    FIELD(STRINGS, subscribed_topic_names, 0, LAST)
    FIELD(STRING,  subscribed_topic_regex, 0, LAST, NULLABLE(0))
    FIELD(INT32,   rebalance_timeout_ms,   0, LAST, DEFAULT(-1))
    FIELD(STRING,  server_assignor,        0, LAST, NULLABLE(0))
    OPTIONAL(kafka_consumer_group_member_metadata_value_classic_member_metadata,
             classic_member_metadata, 0, LAST, TAG(0))
END

MESSAGE(kafka_consumer_group_target_assignment_metadata_key, 6, 0, 0, NEVER)
    FIELD(STRING, group_id, 0, LAST)
END

MESSAGE(kafka_consumer_group_target_assignment_metadata_value, 6, 0, 0, 0)
    FIELD(INT32, assignment_epoch,     0, LAST)
    FIELD(INT64, assignment_timestamp, 0, LAST, TAG(0))
END

MESSAGE(kafka_consumer_group_target_assignment_member_key, 7, 0, 0, NEVER)
    FIELD(STRING, group_id,  0, LAST)
    FIELD(STRING, member_id, 0, LAST)
END

STRUCT(kafka_consumer_group_target_assignment_member_value_topic_partition)
    FIELD(UUID,   topic_id,   0, LAST)
    FIELD(INT32S, partitions, 0, LAST)
END

MESSAGE(kafka_consumer_group_target_assignment_member_value, 7, 0, 0, 0)
    ARRAY(kafka_consumer_group_target_assignment_member_value_topic_partition,
          topic_partitions, 0, LAST)
END

MESSAGE(kafka_consumer_group_current_member_assignment_key, 8, 0, 0, NEVER)
    FIELD(STRING, group_id,  0, LAST)
    FIELD(STRING, member_id, 0, LAST)
END

STRUCT(kafka_consumer_group_current_member_assignment_value_topic_partition)
    FIELD(UUID,   topic_id,          0, LAST)
    FIELD(INT32S, partitions,        0, LAST)
    FIELD(INT32S, assignment_epochs, 0, LAST, NULLABLE(0), TAG(0))
END

MESSAGE(kafka_consumer_group_current_member_assignment_value, 8, 0, 0, 0)
    FIELD(INT32, member_epoch,          0, LAST)
    FIELD(INT32, previous_member_epoch, 0, LAST)
    FIELD(INT8,  state,                 0, LAST)
    ARRAY(kafka_consumer_group_current_member_assignment_value_topic_partition,
          assigned_partitions, 0, LAST)
    ARRAY(kafka_consumer_group_current_member_assignment_value_topic_partition,
          partitions_pending_revocation, 0, LAST)
END

MESSAGE(kafka_consumer_group_regular_expression_key, 16, 0, 0, NEVER)
    FIELD(STRING, group_id,           0, LAST)
    FIELD(STRING, regular_expression, 0, LAST)
END

MESSAGE(kafka_consumer_group_regular_expression_value, 16, 0, 0, 0)
    FIELD(STRINGS, topics,    0, LAST)
    FIELD(INT64,   version,   0, LAST)
    FIELD(INT64,   timestamp, 0, LAST)
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
