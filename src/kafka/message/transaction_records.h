/*
 * Records of __transaction_state: keys begin with their id, values with their version, an int16
 * each.
 */
#if !defined(BECK_KAFKA_MESSAGE_TRANSACTION_RECORDS_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_TRANSACTION_RECORDS_H

#include "kafka/message/table.h"

/* clang-format off */

MESSAGE(kafka_transaction_log_key, 0, 0, 0, NEVER)
    FIELD(STRING, transactional_id, 0, LAST)
END

STRUCT(kafka_transaction_log_value_transaction_partition)
    FIELD(STRING, topic,         0, LAST)
    FIELD(INT32S, partition_ids, 0, LAST)
END

MESSAGE(kafka_transaction_log_value, 0, 0, 1, 1)
    FIELD(INT64, producer_id,                          0, LAST)
    FIELD(INT16, producer_epoch,                       0, LAST)
    FIELD(INT32, transaction_timeout_ms,               0, LAST)
    FIELD(INT8,  transaction_status,                   0, LAST)
    ARRAY(kafka_transaction_log_value_transaction_partition,
          transaction_partitions, 0, LAST, NULLABLE(0))
    FIELD(INT64, transaction_last_update_timestamp_ms, 0, LAST)
    FIELD(INT64, transaction_start_timestamp_ms,       0, LAST)
    FIELD(INT64, previous_producer_id,                 1, LAST, DEFAULT(-1), TAG(0))
    FIELD(INT64, next_producer_id,                     1, LAST, DEFAULT(-1), TAG(1))
    FIELD(INT16, client_transaction_version,           1, LAST, TAG(2))
    FIELD(INT16, next_producer_epoch,                  1, LAST, DEFAULT(-1), TAG(3))
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
