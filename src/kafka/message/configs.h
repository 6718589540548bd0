/* DescribeConfigs (32), AlterConfigs (33), IncrementalAlterConfigs (44), ListConfigResources (74). */
#if !defined(BECK_KAFKA_MESSAGE_CONFIGS_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_CONFIGS_H

#include "kafka/message/table.h"

/* clang-format off */

STRUCT(kafka_describe_configs_request_resource)
    FIELD(INT8,    resource_type,      0, LAST)
    FIELD(STRING,  resource_name,      0, LAST)
    FIELD(STRINGS, configuration_keys, 0, LAST, NULLABLE(0))
END

MESSAGE(kafka_describe_configs_request, 32, 0, 4, 4)
    ARRAY(kafka_describe_configs_request_resource, resources, 0, LAST)
    FIELD(BOOL, include_synonyms,      1, LAST)
    FIELD(BOOL, include_documentation, 3, LAST)
END

STRUCT(kafka_describe_configs_response_synonym)
    FIELD(STRING, name,   1, LAST)
    FIELD(STRING, value,  1, LAST, NULLABLE(0))
    FIELD(INT8,   source, 1, LAST)
END

STRUCT(kafka_describe_configs_response_config)
    FIELD(STRING, name,          0, LAST)
    FIELD(STRING, value,         0, LAST, NULLABLE(0))
    FIELD(BOOL,   read_only,     0, LAST)
    FIELD(BOOL,   is_default,    0, 0)
    FIELD(INT8,   config_source, 1, LAST, DEFAULT(-1))
    FIELD(BOOL,   is_sensitive,  0, LAST)
    ARRAY(kafka_describe_configs_response_synonym, synonyms, 1, LAST)
    FIELD(INT8,   config_type,   3, LAST)
    FIELD(STRING, documentation, 3, LAST, NULLABLE(0))
END

STRUCT(kafka_describe_configs_response_result)
    FIELD(INT16,  error_code,    0, LAST)
    FIELD(STRING, error_message, 0, LAST, NULLABLE(0))
    FIELD(INT8,   resource_type, 0, LAST)
    FIELD(STRING, resource_name, 0, LAST)
    ARRAY(kafka_describe_configs_response_config, configs, 0, LAST)
END

MESSAGE(kafka_describe_configs_response, 32, 0, 4, 4)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    ARRAY(kafka_describe_configs_response_result, results, 0, LAST)
END

STRUCT(kafka_alter_configs_request_config)
    FIELD(STRING, name,  0, LAST)
    FIELD(STRING, value, 0, LAST, NULLABLE(0))
END

STRUCT(kafka_alter_configs_request_resource)
    FIELD(INT8,   resource_type, 0, LAST)
    FIELD(STRING, resource_name, 0, LAST)
    ARRAY(kafka_alter_configs_request_config, configs, 0, LAST)
END

MESSAGE(kafka_alter_configs_request, 33, 0, 2, 2)
    ARRAY(kafka_alter_configs_request_resource, resources, 0, LAST)
    FIELD(BOOL, validate_only, 0, LAST)
END

STRUCT(kafka_alter_configs_response_resource)
    FIELD(INT16,  error_code,    0, LAST)
    FIELD(STRING, error_message, 0, LAST, NULLABLE(0))
    FIELD(INT8,   resource_type, 0, LAST)
    FIELD(STRING, resource_name, 0, LAST)
END

MESSAGE(kafka_alter_configs_response, 33, 0, 2, 2)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    ARRAY(kafka_alter_configs_response_resource, responses, 0, LAST)
END

STRUCT(kafka_incremental_alter_configs_request_config)
    FIELD(STRING, name,             0, LAST)
    FIELD(INT8,   config_operation, 0, LAST)
    FIELD(STRING, value,            0, LAST, NULLABLE(0))
END

STRUCT(kafka_incremental_alter_configs_request_resource)
    FIELD(INT8,   resource_type, 0, LAST)
    FIELD(STRING, resource_name, 0, LAST)
    ARRAY(kafka_incremental_alter_configs_request_config, configs, 0, LAST)
END

MESSAGE(kafka_incremental_alter_configs_request, 44, 0, 1, 1)
    ARRAY(kafka_incremental_alter_configs_request_resource, resources, 0, LAST)
    FIELD(BOOL, validate_only, 0, LAST)
END

STRUCT(kafka_incremental_alter_configs_response_resource)
    FIELD(INT16,  error_code,    0, LAST)
    FIELD(STRING, error_message, 0, LAST, NULLABLE(0))
    FIELD(INT8,   resource_type, 0, LAST)
    FIELD(STRING, resource_name, 0, LAST)
END

MESSAGE(kafka_incremental_alter_configs_response, 44, 0, 1, 1)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    ARRAY(kafka_incremental_alter_configs_response_resource, responses, 0, LAST)
END

MESSAGE(kafka_list_config_resources_request, 74, 0, 1, 0)
    FIELD(INT8S, resource_types, 1, LAST)
END

STRUCT(kafka_list_config_resources_response_config_resource)
    FIELD(STRING, resource_name, 0, LAST)
    FIELD(INT8,   resource_type, 1, LAST, DEFAULT(16))
END

MESSAGE(kafka_list_config_resources_response, 74, 0, 1, 0)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    FIELD(INT16, error_code,       0, LAST)
    ARRAY(kafka_list_config_resources_response_config_resource, config_resources, 0, LAST)
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
