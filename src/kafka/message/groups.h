/*
 * FindCoordinator (10), JoinGroup (11), Heartbeat (12), LeaveGroup (13), SyncGroup (14),
 * DescribeGroups (15), ListGroups (16), DeleteGroups (42).
 */
#if !defined(BECK_KAFKA_MESSAGE_GROUPS_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_GROUPS_H

#include "kafka/message/table.h"

/* clang-format off */

MESSAGE(kafka_find_coordinator_request, 10, 0, 6, 3)
    FIELD(STRING,  key,              0, 3)
    FIELD(INT8,    key_type,         1, LAST)
    FIELD(STRINGS, coordinator_keys, 4, LAST)
END

STRUCT(kafka_find_coordinator_response_coordinator)
    FIELD(STRING, key,           4, LAST)
    FIELD(INT32,  node_id,       4, LAST)
    FIELD(STRING, host,          4, LAST)
    FIELD(INT32,  port,          4, LAST)
    FIELD(INT16,  error_code,    4, LAST)
    FIELD(STRING, error_message, 4, LAST, NULLABLE(4))
END

MESSAGE(kafka_find_coordinator_response, 10, 0, 6, 3)
    FIELD(INT32,  throttle_time_ms, 1, LAST)
    FIELD(INT16,  error_code,       0, 3)
    FIELD(STRING, error_message,    1, 3, NULLABLE(1))
    FIELD(INT32,  node_id,          0, 3)
    FIELD(STRING, host,             0, 3)
    FIELD(INT32,  port,             0, 3)
    ARRAY(kafka_find_coordinator_response_coordinator, coordinators, 4, LAST)
END

STRUCT(kafka_join_group_request_protocol)
    FIELD(STRING, name,     0, LAST)
    FIELD(BYTES,  metadata, 0, LAST)
END

MESSAGE(kafka_join_group_request, 11, 0, 9, 6)
    FIELD(STRING, group_id,             0, LAST)
    FIELD(INT32,  session_timeout_ms,   0, LAST)
    FIELD(INT32,  rebalance_timeout_ms, 1, LAST, DEFAULT(-1))
    FIELD(STRING, member_id,            0, LAST)
    FIELD(STRING, group_instance_id,    5, LAST, NULLABLE(5))
    FIELD(STRING, protocol_type,        0, LAST)
    ARRAY(kafka_join_group_request_protocol, protocols, 0, LAST)
    FIELD(STRING, reason,               8, LAST, NULLABLE(8))
END

STRUCT(kafka_join_group_response_member)
    FIELD(STRING, member_id,         0, LAST)
    FIELD(STRING, group_instance_id, 5, LAST, NULLABLE(5))
    FIELD(BYTES,  metadata,          0, LAST)
END

MESSAGE(kafka_join_group_response, 11, 0, 9, 6)
    FIELD(INT32,  throttle_time_ms, 2, LAST)
    FIELD(INT16,  error_code,       0, LAST)
    FIELD(INT32,  generation_id,    0, LAST, DEFAULT(-1))
    FIELD(STRING, protocol_type,    7, LAST, NULLABLE(7))
    FIELD(STRING, protocol_name,    0, LAST, NULLABLE(7))
    FIELD(STRING, leader,           0, LAST)
    FIELD(BOOL,   skip_assignment,  9, LAST)
    FIELD(STRING, member_id,        0, LAST)
    ARRAY(kafka_join_group_response_member, members, 0, LAST)
END

MESSAGE(kafka_heartbeat_request, 12, 0, 4, 4)
    FIELD(STRING, group_id,          0, LAST)
    FIELD(INT32,  generation_id,     0, LAST)
    FIELD(STRING, member_id,         0, LAST)
    FIELD(STRING, group_instance_id, 3, LAST, NULLABLE(3))
END

MESSAGE(kafka_heartbeat_response, 12, 0, 4, 4)
    FIELD(INT32, throttle_time_ms, 1, LAST)
    FIELD(INT16, error_code,       0, LAST)
END

STRUCT(kafka_leave_group_request_member)
    FIELD(STRING, member_id,         3, LAST)
    FIELD(STRING, group_instance_id, 3, LAST, NULLABLE(3))
    FIELD(STRING, reason,            5, LAST, NULLABLE(5))
END

MESSAGE(kafka_leave_group_request, 13, 0, 5, 4)
    FIELD(STRING, group_id,  0, LAST)
    FIELD(STRING, member_id, 0, 2)
    ARRAY(kafka_leave_group_request_member, members, 3, LAST)
END

STRUCT(kafka_leave_group_response_member)
    FIELD(STRING, member_id,         3, LAST)
    FIELD(STRING, group_instance_id, 3, LAST, NULLABLE(3))
    FIELD(INT16,  error_code,        3, LAST)
END

MESSAGE(kafka_leave_group_response, 13, 0, 5, 4)
    FIELD(INT32, throttle_time_ms, 1, LAST)
    FIELD(INT16, error_code,       0, LAST)
    ARRAY(kafka_leave_group_response_member, members, 3, LAST)
END

STRUCT(kafka_sync_group_request_assignment)
    FIELD(STRING, member_id,  0, LAST)
    FIELD(BYTES,  assignment, 0, LAST)
END

MESSAGE(kafka_sync_group_request, 14, 0, 5, 4)
    FIELD(STRING, group_id,          0, LAST)
    FIELD(INT32,  generation_id,     0, LAST)
    FIELD(STRING, member_id,         0, LAST)
    FIELD(STRING, group_instance_id, 3, LAST, NULLABLE(3))
    FIELD(STRING, protocol_type,     5, LAST, NULLABLE(5))
    FIELD(STRING, protocol_name,     5, LAST, NULLABLE(5))
    ARRAY(kafka_sync_group_request_assignment, assignments, 0, LAST)
END

MESSAGE(kafka_sync_group_response, 14, 0, 5, 4)
    FIELD(INT32,  throttle_time_ms, 1, LAST)
    FIELD(INT16,  error_code,       0, LAST)
    FIELD(STRING, protocol_type,    5, LAST, NULLABLE(5))
    FIELD(STRING, protocol_name,    5, LAST, NULLABLE(5))
    FIELD(BYTES,  assignment,       0, LAST)
END

MESSAGE(kafka_describe_groups_request, 15, 0, 6, 5)
    FIELD(STRINGS, groups,                        0, LAST)
    FIELD(BOOL,    include_authorized_operations, 3, LAST)
END

STRUCT(kafka_describe_groups_response_member)
    FIELD(STRING, member_id,         0, LAST)
    FIELD(STRING, group_instance_id, 4, LAST, NULLABLE(4))
    FIELD(STRING, client_id,         0, LAST)
    FIELD(STRING, client_host,       0, LAST)
    FIELD(BYTES,  member_metadata,   0, LAST)
    FIELD(BYTES,  member_assignment, 0, LAST)
END

STRUCT(kafka_describe_groups_response_group)
    FIELD(INT16,  error_code,            0, LAST)
    FIELD(STRING, error_message,         6, LAST, NULLABLE(6))
    FIELD(STRING, group_id,              0, LAST)
    FIELD(STRING, group_state,           0, LAST)
    FIELD(STRING, protocol_type,         0, LAST)
    FIELD(STRING, protocol_data,         0, LAST)
    ARRAY(kafka_describe_groups_response_member, members, 0, LAST)
    FIELD(INT32,  authorized_operations, 3, LAST, DEFAULT(INT32_MIN))
END

MESSAGE(kafka_describe_groups_response, 15, 0, 6, 5)
    FIELD(INT32, throttle_time_ms, 1, LAST)
    ARRAY(kafka_describe_groups_response_group, groups, 0, LAST)
END

MESSAGE(kafka_list_groups_request, 16, 0, 5, 3)
    FIELD(STRINGS, states_filter, 4, LAST)
    FIELD(STRINGS, types_filter,  5, LAST)
END

STRUCT(kafka_list_groups_response_group)
    FIELD(STRING, group_id,      0, LAST)
    FIELD(STRING, protocol_type, 0, LAST)
    FIELD(STRING, group_state,   4, LAST)
    FIELD(STRING, group_type,    5, LAST)
END

MESSAGE(kafka_list_groups_response, 16, 0, 5, 3)
    FIELD(INT32, throttle_time_ms, 1, LAST)
    FIELD(INT16, error_code,       0, LAST)
    ARRAY(kafka_list_groups_response_group, groups, 0, LAST)
END

MESSAGE(kafka_delete_groups_request, 42, 0, 2, 2)
    FIELD(STRINGS, groups_names, 0, LAST)
END

STRUCT(kafka_delete_groups_response_result)
    FIELD(STRING, group_id,   0, LAST)
    FIELD(INT16,  error_code, 0, LAST)
END

MESSAGE(kafka_delete_groups_response, 42, 0, 2, 2)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    ARRAY(kafka_delete_groups_response_result, results, 0, LAST)
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
