/* Topics in requests: by name, or by id in newer versions. */
#ifndef BECK_WIRE_KAFKA_TOPIC_NAMES_H
#define BECK_WIRE_KAFKA_TOPIC_NAMES_H

#include "kafka/topics.h"
#include "wire/kafka/request.h"

/* In requests that change something: they are compared with each other. */
#define NAMES_MAX 10000
static const char too_many_names[] = "a request names too many topics or resources at once";

static inline bool topic_id_is_zero(const uint8_t id[TOPIC_ID])
{
    static const uint8_t zero[TOPIC_ID];
    return memcmp(id, zero, TOPIC_ID) == 0;
}

#endif
