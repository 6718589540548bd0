/* DescribeAcls (29), CreateAcls (30), DeleteAcls (31). */
#if !defined(BECK_KAFKA_MESSAGE_ACLS_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_ACLS_H

#include "kafka/message/table.h"

/* clang-format off */

MESSAGE(kafka_describe_acls_request, 29, 1, 3, 2)
    FIELD(INT8,   resource_type_filter, 0, LAST)
    FIELD(STRING, resource_name_filter, 0, LAST, NULLABLE(0))
    FIELD(INT8,   pattern_type_filter,  1, LAST, DEFAULT(3))
    FIELD(STRING, principal_filter,     0, LAST, NULLABLE(0))
    FIELD(STRING, host_filter,          0, LAST, NULLABLE(0))
    FIELD(INT8,   operation,            0, LAST)
    FIELD(INT8,   permission_type,      0, LAST)
END

STRUCT(kafka_describe_acls_response_acl)
    FIELD(STRING, principal,       0, LAST)
    FIELD(STRING, host,            0, LAST)
    FIELD(INT8,   operation,       0, LAST)
    FIELD(INT8,   permission_type, 0, LAST)
END

STRUCT(kafka_describe_acls_response_resource)
    FIELD(INT8,   resource_type, 0, LAST)
    FIELD(STRING, resource_name, 0, LAST)
    FIELD(INT8,   pattern_type,  1, LAST, DEFAULT(3))
    ARRAY(kafka_describe_acls_response_acl, acls, 0, LAST)
END

MESSAGE(kafka_describe_acls_response, 29, 1, 3, 2)
    FIELD(INT32,  throttle_time_ms, 0, LAST)
    FIELD(INT16,  error_code,       0, LAST)
    FIELD(STRING, error_message,    0, LAST, NULLABLE(0))
    ARRAY(kafka_describe_acls_response_resource, resources, 0, LAST)
END

STRUCT(kafka_create_acls_request_creation)
    FIELD(INT8,   resource_type,         0, LAST)
    FIELD(STRING, resource_name,         0, LAST)
    FIELD(INT8,   resource_pattern_type, 1, LAST, DEFAULT(3))
    FIELD(STRING, principal,             0, LAST)
    FIELD(STRING, host,                  0, LAST)
    FIELD(INT8,   operation,             0, LAST)
    FIELD(INT8,   permission_type,       0, LAST)
END

MESSAGE(kafka_create_acls_request, 30, 1, 3, 2)
    ARRAY(kafka_create_acls_request_creation, creations, 0, LAST)
END

STRUCT(kafka_create_acls_response_result)
    FIELD(INT16,  error_code,    0, LAST)
    FIELD(STRING, error_message, 0, LAST, NULLABLE(0))
END

MESSAGE(kafka_create_acls_response, 30, 1, 3, 2)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    ARRAY(kafka_create_acls_response_result, results, 0, LAST)
END

STRUCT(kafka_delete_acls_request_filter)
    FIELD(INT8,   resource_type_filter, 0, LAST)
    FIELD(STRING, resource_name_filter, 0, LAST, NULLABLE(0))
    FIELD(INT8,   pattern_type_filter,  1, LAST, DEFAULT(3))
    FIELD(STRING, principal_filter,     0, LAST, NULLABLE(0))
    FIELD(STRING, host_filter,          0, LAST, NULLABLE(0))
    FIELD(INT8,   operation,            0, LAST)
    FIELD(INT8,   permission_type,      0, LAST)
END

MESSAGE(kafka_delete_acls_request, 31, 1, 3, 2)
    ARRAY(kafka_delete_acls_request_filter, filters, 0, LAST)
END

STRUCT(kafka_delete_acls_response_matching_acl)
    FIELD(INT16,  error_code,      0, LAST)
    FIELD(STRING, error_message,   0, LAST, NULLABLE(0))
    FIELD(INT8,   resource_type,   0, LAST)
    FIELD(STRING, resource_name,   0, LAST)
    FIELD(INT8,   pattern_type,    1, LAST, DEFAULT(3))
    FIELD(STRING, principal,       0, LAST)
    FIELD(STRING, host,            0, LAST)
    FIELD(INT8,   operation,       0, LAST)
    FIELD(INT8,   permission_type, 0, LAST)
END

STRUCT(kafka_delete_acls_response_filter)
    FIELD(INT16,  error_code,    0, LAST)
    FIELD(STRING, error_message, 0, LAST, NULLABLE(0))
    ARRAY(kafka_delete_acls_response_matching_acl, matching_acls, 0, LAST)
END

MESSAGE(kafka_delete_acls_response, 31, 1, 3, 2)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    ARRAY(kafka_delete_acls_response_filter, filter_results, 0, LAST)
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
