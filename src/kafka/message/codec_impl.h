/* What both directions of the codec share. */
#ifndef BECK_KAFKA_MESSAGE_CODEC_IMPL_H
#define BECK_KAFKA_MESSAGE_CODEC_IMPL_H

#include "kafka/message/codec.h"

#define STRING_BYTES_MAX INT16_MAX /* of Kafka's strings, also of compact ones */

/* All types with `at` look like this one; copied in and out, as they are not the same type. */
struct kafka_any_array {
    void *at;
    size_t count;
    bool is_null;
};

static inline bool field_is_there(const struct kafka_field *f, int16_t version)
{
    return version >= f->since && version <= f->until;
}

static inline bool field_may_be_null(const struct kafka_field *f, int16_t version)
{
    return f->nullable && version >= f->nullable_since;
}

/* Bytes of an element of an array; the one of its structures, else of its numbers and so on. */
static inline size_t element_size(const struct kafka_field *f)
{
    switch (f->kind) {
    case KAFKA_INT8S:
        return 1;
    case KAFKA_INT16S:
        return 2;
    case KAFKA_INT32S:
        return 4;
    case KAFKA_INT64S:
        return 8;
    case KAFKA_STRINGS:
        return sizeof(beck_bytes);
    case KAFKA_UUIDS:
        return 16;
    default:
        return f->of()->size;
    }
}

/* The field, in memory that is zero, as where it is absent. */
void field_init(const struct kafka_field *f, void *at);

#endif
