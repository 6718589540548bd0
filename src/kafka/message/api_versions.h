/* ApiVersions (18). */
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

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
