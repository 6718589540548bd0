/*
 * What classic consumers put into JoinGroup and SyncGroup; the bytes begin with the version, an
 * int16.
 */
#if !defined(BECK_KAFKA_MESSAGE_CONSUMER_PROTOCOL_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_CONSUMER_PROTOCOL_H

#include "kafka/message/table.h"

/* clang-format off */

STRUCT(kafka_consumer_protocol_subscription_owned_partition)
    FIELD(STRING, topic,      1, LAST)
    FIELD(INT32S, partitions, 1, LAST)
END

MESSAGE(kafka_consumer_protocol_subscription, -1, 0, 3, NEVER)
    FIELD(STRINGS, topics,        0, LAST)
    FIELD(BYTES,   user_data,     0, LAST, NULLABLE(0))
    ARRAY(kafka_consumer_protocol_subscription_owned_partition, owned_partitions, 1, LAST)
    FIELD(INT32,   generation_id, 2, LAST, DEFAULT(-1))
    FIELD(STRING,  rack_id,       3, LAST, NULLABLE(3))
END

STRUCT(kafka_consumer_protocol_assignment_assigned_partition)
    FIELD(STRING, topic,      0, LAST)
    FIELD(INT32S, partitions, 0, LAST)
END

MESSAGE(kafka_consumer_protocol_assignment, -1, 0, 3, NEVER)
    ARRAY(kafka_consumer_protocol_assignment_assigned_partition, assigned_partitions, 0, LAST)
    FIELD(BYTES, user_data, 0, LAST, NULLABLE(0))
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
