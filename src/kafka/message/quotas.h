/* DescribeClientQuotas (48), AlterClientQuotas (49). */
#if !defined(BECK_KAFKA_MESSAGE_QUOTAS_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_QUOTAS_H

#include "kafka/message/table.h"

/* clang-format off */

STRUCT(kafka_describe_client_quotas_request_component)
    FIELD(STRING, entity_type, 0, LAST)
    FIELD(INT8,   match_type,  0, LAST)
    FIELD(STRING, match,       0, LAST, NULLABLE(0))
END

MESSAGE(kafka_describe_client_quotas_request, 48, 0, 1, 1)
    ARRAY(kafka_describe_client_quotas_request_component, components, 0, LAST)
    FIELD(BOOL, strict, 0, LAST)
END

STRUCT(kafka_describe_client_quotas_response_entity)
    FIELD(STRING, entity_type, 0, LAST)
    FIELD(STRING, entity_name, 0, LAST, NULLABLE(0))
END

STRUCT(kafka_describe_client_quotas_response_value)
    FIELD(STRING,  key,   0, LAST)
    FIELD(FLOAT64, value, 0, LAST)
END

STRUCT(kafka_describe_client_quotas_response_entry)
    ARRAY(kafka_describe_client_quotas_response_entity, entity, 0, LAST)
    ARRAY(kafka_describe_client_quotas_response_value, values, 0, LAST)
END

MESSAGE(kafka_describe_client_quotas_response, 48, 0, 1, 1)
    FIELD(INT32,  throttle_time_ms, 0, LAST)
    FIELD(INT16,  error_code,       0, LAST)
    FIELD(STRING, error_message,    0, LAST, NULLABLE(0))
    ARRAY(kafka_describe_client_quotas_response_entry, entries, 0, LAST, NULLABLE(0))
END

STRUCT(kafka_alter_client_quotas_request_entity)
    FIELD(STRING, entity_type, 0, LAST)
    FIELD(STRING, entity_name, 0, LAST, NULLABLE(0))
END

STRUCT(kafka_alter_client_quotas_request_op)
    FIELD(STRING,  key,    0, LAST)
    FIELD(FLOAT64, value,  0, LAST)
    FIELD(BOOL,    remove, 0, LAST)
END

STRUCT(kafka_alter_client_quotas_request_entry)
    ARRAY(kafka_alter_client_quotas_request_entity, entity, 0, LAST)
    ARRAY(kafka_alter_client_quotas_request_op, ops, 0, LAST)
END

MESSAGE(kafka_alter_client_quotas_request, 49, 0, 1, 1)
    ARRAY(kafka_alter_client_quotas_request_entry, entries, 0, LAST)
    FIELD(BOOL, validate_only, 0, LAST)
END

STRUCT(kafka_alter_client_quotas_response_entity)
    FIELD(STRING, entity_type, 0, LAST)
    FIELD(STRING, entity_name, 0, LAST, NULLABLE(0))
END

STRUCT(kafka_alter_client_quotas_response_entry)
    FIELD(INT16,  error_code,    0, LAST)
    FIELD(STRING, error_message, 0, LAST, NULLABLE(0))
    ARRAY(kafka_alter_client_quotas_response_entity, entity, 0, LAST)
END

MESSAGE(kafka_alter_client_quotas_response, 49, 0, 1, 1)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    ARRAY(kafka_alter_client_quotas_response_entry, entries, 0, LAST)
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
