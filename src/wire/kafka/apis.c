/* The table of what is answered. */
#include "wire/kafka/wire_impl.h"

#include "kafka/message/api_versions.h"

/* clang-format off */
#define TABLES(name) kafka_##name##_request_table, kafka_##name##_response_table

/* In order of their keys. The versions are those that clients are told. */
const struct api kafka_apis[] = {
    {18, 0, 4, "ApiVersions", TABLES(api_versions), handle_api_versions,
     .open = true, .short_header = true, .refuse = true},
};
/* clang-format on */

const size_t kafka_api_count = sizeof kafka_apis / sizeof *kafka_apis;

_Static_assert(sizeof kafka_apis / sizeof *kafka_apis <= API_KEYS_MAX, "a counter for each");
