/*
 * AddPartitionsToTxn (24), AddOffsetsToTxn (25), EndTxn (26), TxnOffsetCommit (28),
 * DescribeTransactions (65), ListTransactions (66).
 */
#if !defined(BECK_KAFKA_MESSAGE_TRANSACTIONS_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_TRANSACTIONS_H

#include "kafka/message/table.h"

/* clang-format off */

STRUCT(kafka_add_partitions_to_txn_request_topic)
    FIELD(STRING, name,       0, LAST)
    FIELD(INT32S, partitions, 0, LAST)
END

STRUCT(kafka_add_partitions_to_txn_request_transaction)
    FIELD(STRING, transactional_id, 4, LAST)
    FIELD(INT64,  producer_id,      4, LAST)
    FIELD(INT16,  producer_epoch,   4, LAST)
    FIELD(BOOL,   verify_only,      4, LAST)
    ARRAY(kafka_add_partitions_to_txn_request_topic, topics, 4, LAST)
END

MESSAGE(kafka_add_partitions_to_txn_request, 24, 0, 5, 3)
    ARRAY(kafka_add_partitions_to_txn_request_transaction, transactions, 4, LAST)
    FIELD(STRING, v3_and_below_transactional_id, 0, 3)
    FIELD(INT64,  v3_and_below_producer_id,      0, 3)
    FIELD(INT16,  v3_and_below_producer_epoch,   0, 3)
    ARRAY(kafka_add_partitions_to_txn_request_topic, v3_and_below_topics, 0, 3)
END

STRUCT(kafka_add_partitions_to_txn_response_partition)
    FIELD(INT32, partition_index,      0, LAST)
    FIELD(INT16, partition_error_code, 0, LAST)
END

STRUCT(kafka_add_partitions_to_txn_response_topic)
    FIELD(STRING, name, 0, LAST)
    ARRAY(kafka_add_partitions_to_txn_response_partition, results_by_partition, 0, LAST)
END

STRUCT(kafka_add_partitions_to_txn_response_transaction)
    FIELD(STRING, transactional_id, 4, LAST)
    ARRAY(kafka_add_partitions_to_txn_response_topic, topic_results, 4, LAST)
END

MESSAGE(kafka_add_partitions_to_txn_response, 24, 0, 5, 3)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    FIELD(INT16, error_code,       4, LAST)
    ARRAY(kafka_add_partitions_to_txn_response_transaction, results_by_transaction, 4, LAST)
    ARRAY(kafka_add_partitions_to_txn_response_topic, results_by_topic_v3_and_below, 0, 3)
END

MESSAGE(kafka_add_offsets_to_txn_request, 25, 0, 4, 3)
    FIELD(STRING, transactional_id, 0, LAST)
    FIELD(INT64,  producer_id,      0, LAST)
    FIELD(INT16,  producer_epoch,   0, LAST)
    FIELD(STRING, group_id,         0, LAST)
END

MESSAGE(kafka_add_offsets_to_txn_response, 25, 0, 4, 3)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    FIELD(INT16, error_code,       0, LAST)
END

MESSAGE(kafka_end_txn_request, 26, 0, 5, 3)
    FIELD(STRING, transactional_id, 0, LAST)
    FIELD(INT64,  producer_id,      0, LAST)
    FIELD(INT16,  producer_epoch,   0, LAST)
    FIELD(BOOL,   committed,        0, LAST)
END

MESSAGE(kafka_end_txn_response, 26, 0, 5, 3)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    FIELD(INT16, error_code,       0, LAST)
    FIELD(INT64, producer_id,      5, LAST, DEFAULT(-1))
    FIELD(INT16, producer_epoch,   5, LAST, DEFAULT(-1))
END

STRUCT(kafka_txn_offset_commit_request_partition)
    FIELD(INT32,  partition_index,        0, LAST)
    FIELD(INT64,  committed_offset,       0, LAST)
    FIELD(INT32,  committed_leader_epoch, 2, LAST, DEFAULT(-1))
    FIELD(STRING, committed_metadata,     0, LAST, NULLABLE(0))
END

STRUCT(kafka_txn_offset_commit_request_topic)
    FIELD(STRING, name, 0, LAST)
    ARRAY(kafka_txn_offset_commit_request_partition, partitions, 0, LAST)
END

MESSAGE(kafka_txn_offset_commit_request, 28, 0, 5, 3)
    FIELD(STRING, transactional_id,  0, LAST)
    FIELD(STRING, group_id,          0, LAST)
    FIELD(INT64,  producer_id,       0, LAST)
    FIELD(INT16,  producer_epoch,    0, LAST)
    FIELD(INT32,  generation_id,     3, LAST, DEFAULT(-1))
    FIELD(STRING, member_id,         3, LAST)
    FIELD(STRING, group_instance_id, 3, LAST, NULLABLE(3))
    ARRAY(kafka_txn_offset_commit_request_topic, topics, 0, LAST)
END

STRUCT(kafka_txn_offset_commit_response_partition)
    FIELD(INT32, partition_index, 0, LAST)
    FIELD(INT16, error_code,      0, LAST)
END

STRUCT(kafka_txn_offset_commit_response_topic)
    FIELD(STRING, name, 0, LAST)
    ARRAY(kafka_txn_offset_commit_response_partition, partitions, 0, LAST)
END

MESSAGE(kafka_txn_offset_commit_response, 28, 0, 5, 3)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    ARRAY(kafka_txn_offset_commit_response_topic, topics, 0, LAST)
END

MESSAGE(kafka_describe_transactions_request, 65, 0, 0, 0)
    FIELD(STRINGS, transactional_ids, 0, LAST)
END

STRUCT(kafka_describe_transactions_response_topic)
    FIELD(STRING, topic,      0, LAST)
    FIELD(INT32S, partitions, 0, LAST)
END

STRUCT(kafka_describe_transactions_response_transaction)
    FIELD(INT16,  error_code,                0, LAST)
    FIELD(STRING, transactional_id,          0, LAST)
    FIELD(STRING, transaction_state,         0, LAST)
    FIELD(INT32,  transaction_timeout_ms,    0, LAST)
    FIELD(INT64,  transaction_start_time_ms, 0, LAST)
    FIELD(INT64,  producer_id,               0, LAST)
    FIELD(INT16,  producer_epoch,            0, LAST)
    ARRAY(kafka_describe_transactions_response_topic, topics, 0, LAST)
END

MESSAGE(kafka_describe_transactions_response, 65, 0, 0, 0)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    ARRAY(kafka_describe_transactions_response_transaction, transaction_states, 0, LAST)
END

MESSAGE(kafka_list_transactions_request, 66, 0, 2, 0)
    FIELD(STRINGS, state_filters,            0, LAST)
    FIELD(INT64S,  producer_id_filters,      0, LAST)
    FIELD(INT64,   duration_filter,          1, LAST, DEFAULT(-1))
    FIELD(STRING,  transactional_id_pattern, 2, LAST, NULLABLE(2))
END

STRUCT(kafka_list_transactions_response_transaction)
    FIELD(STRING, transactional_id,  0, LAST)
    FIELD(INT64,  producer_id,       0, LAST)
    FIELD(STRING, transaction_state, 0, LAST)
END

MESSAGE(kafka_list_transactions_response, 66, 0, 2, 0)
    FIELD(INT32,   throttle_time_ms,      0, LAST)
    FIELD(INT16,   error_code,            0, LAST)
    FIELD(STRINGS, unknown_state_filters, 0, LAST)
    ARRAY(kafka_list_transactions_response_transaction, transaction_states, 0, LAST)
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
