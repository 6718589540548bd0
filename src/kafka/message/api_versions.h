/* ApiVersions (18), UpdateFeatures (57). */
#if !defined(BECK_KAFKA_MESSAGE_API_VERSIONS_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_API_VERSIONS_H

#include "kafka/message/table.h"

/* clang-format off */

MESSAGE(kafka_api_versions_request, 18, 0, 4, 3)
    FIELD(STRING, client_software_name,    3, LAST)
    FIELD(STRING, client_software_version, 3, LAST)
END

STRUCT(kafka_api_versions_response_api_key)
    FIELD(INT16, api_key,     0, LAST)
    FIELD(INT16, min_version, 0, LAST)
    FIELD(INT16, max_version, 0, LAST)
END

STRUCT(kafka_api_versions_response_supported_feature)
    FIELD(STRING, name,        3, LAST)
    FIELD(INT16,  min_version, 3, LAST)
    FIELD(INT16,  max_version, 3, LAST)
END

STRUCT(kafka_api_versions_response_finalized_feature)
    FIELD(STRING, name,              3, LAST)
    FIELD(INT16,  max_version_level, 3, LAST)
    FIELD(INT16,  min_version_level, 3, LAST)
END

MESSAGE(kafka_api_versions_response, 18, 0, 4, 3)
    FIELD(INT16, error_code,               0, LAST)
    ARRAY(kafka_api_versions_response_api_key, api_keys, 0, LAST)
    FIELD(INT32, throttle_time_ms,         1, LAST)
    ARRAY(kafka_api_versions_response_supported_feature, supported_features, 3, LAST, TAG(0))
    FIELD(INT64, finalized_features_epoch, 3, LAST, DEFAULT(-1), TAG(1))
    ARRAY(kafka_api_versions_response_finalized_feature, finalized_features, 3, LAST, TAG(2))
    FIELD(BOOL,  zk_migration_ready,       3, LAST, TAG(3))
END

STRUCT(kafka_update_features_request_update)
    FIELD(STRING, feature,           0, LAST)
    FIELD(INT16,  max_version_level, 0, LAST)
    FIELD(BOOL,   allow_downgrade,   0, 0)
    FIELD(INT8,   upgrade_type,      1, LAST, DEFAULT(1))
END

MESSAGE(kafka_update_features_request, 57, 0, 2, 0)
    FIELD(INT32, timeout_ms, 0, LAST, DEFAULT(60000))
    ARRAY(kafka_update_features_request_update, feature_updates, 0, LAST)
    FIELD(BOOL,  validate_only, 1, LAST)
END

STRUCT(kafka_update_features_response_result)
    FIELD(STRING, feature,       0, LAST)
    FIELD(INT16,  error_code,    0, LAST)
    FIELD(STRING, error_message, 0, LAST, NULLABLE(0))
END

MESSAGE(kafka_update_features_response, 57, 0, 2, 0)
    FIELD(INT32,  throttle_time_ms, 0, LAST)
    FIELD(INT16,  error_code,       0, LAST)
    FIELD(STRING, error_message,    0, LAST, NULLABLE(0))
    ARRAY(kafka_update_features_response_result, results, 0, 1)
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
