/* SaslHandshake (17), SaslAuthenticate (36). */
#if !defined(BECK_KAFKA_MESSAGE_SASL_H) || defined(KAFKA_MESSAGE_TABLES)
#define BECK_KAFKA_MESSAGE_SASL_H

#include "kafka/message/table.h"

/* clang-format off */

MESSAGE(kafka_sasl_handshake_request, 17, 0, 1, NEVER)
    FIELD(STRING, mechanism, 0, LAST)
END

MESSAGE(kafka_sasl_handshake_response, 17, 0, 1, NEVER)
    FIELD(INT16,   error_code, 0, LAST)
    FIELD(STRINGS, mechanisms, 0, LAST)
END

MESSAGE(kafka_sasl_authenticate_request, 36, 0, 2, 2)
    FIELD(BYTES, auth_bytes, 0, LAST)
END

MESSAGE(kafka_sasl_authenticate_response, 36, 0, 2, 2)
    FIELD(INT16,  error_code,          0, LAST)
    FIELD(STRING, error_message,       0, LAST, NULLABLE(0))
    FIELD(BYTES,  auth_bytes,          0, LAST)
    FIELD(INT64,  session_lifetime_ms, 1, LAST)
END

/* clang-format on */

#include "kafka/message/table_end.h"

#endif
