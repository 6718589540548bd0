/* DescribeUserScramCredentials (50), AlterUserScramCredentials (51). */
#if !defined(BECK_KAFKA_MESSAGE_SCRAM_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_SCRAM_H

#include "kafka/message/table.h"

/* clang-format off */

STRUCT(kafka_describe_user_scram_credentials_request_user)
    FIELD(STRING, name, 0, LAST)
END

MESSAGE(kafka_describe_user_scram_credentials_request, 50, 0, 0, 0)
    ARRAY(kafka_describe_user_scram_credentials_request_user, users, 0, LAST, NULLABLE(0))
END

STRUCT(kafka_describe_user_scram_credentials_response_credential_info)
    FIELD(INT8,  mechanism,  0, LAST)
    FIELD(INT32, iterations, 0, LAST)
END

STRUCT(kafka_describe_user_scram_credentials_response_result)
    FIELD(STRING, user,          0, LAST)
    FIELD(INT16,  error_code,    0, LAST)
    FIELD(STRING, error_message, 0, LAST, NULLABLE(0))
    ARRAY(kafka_describe_user_scram_credentials_response_credential_info, credential_infos, 0, LAST)
END

MESSAGE(kafka_describe_user_scram_credentials_response, 50, 0, 0, 0)
    FIELD(INT32,  throttle_time_ms, 0, LAST)
    FIELD(INT16,  error_code,       0, LAST)
    FIELD(STRING, error_message,    0, LAST, NULLABLE(0))
    ARRAY(kafka_describe_user_scram_credentials_response_result, results, 0, LAST)
END

STRUCT(kafka_alter_user_scram_credentials_request_deletion)
    FIELD(STRING, name,      0, LAST)
    FIELD(INT8,   mechanism, 0, LAST)
END

STRUCT(kafka_alter_user_scram_credentials_request_upsertion)
    FIELD(STRING, name,            0, LAST)
    FIELD(INT8,   mechanism,       0, LAST)
    FIELD(INT32,  iterations,      0, LAST)
    FIELD(BYTES,  salt,            0, LAST)
    FIELD(BYTES,  salted_password, 0, LAST)
END

MESSAGE(kafka_alter_user_scram_credentials_request, 51, 0, 0, 0)
    ARRAY(kafka_alter_user_scram_credentials_request_deletion, deletions, 0, LAST)
    ARRAY(kafka_alter_user_scram_credentials_request_upsertion, upsertions, 0, LAST)
END

STRUCT(kafka_alter_user_scram_credentials_response_result)
    FIELD(STRING, user,          0, LAST)
    FIELD(INT16,  error_code,    0, LAST)
    FIELD(STRING, error_message, 0, LAST, NULLABLE(0))
END

MESSAGE(kafka_alter_user_scram_credentials_response, 51, 0, 0, 0)
    FIELD(INT32, throttle_time_ms, 0, LAST)
    ARRAY(kafka_alter_user_scram_credentials_response_result, results, 0, LAST)
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
