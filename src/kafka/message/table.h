/*
 * The words in which Kafka's messages are described, one line for a field. A file of descriptions
 * includes this before and table_end.h after them. Read by itself it declares, for each message and
 * each structure in it:
 *
 *     struct <name>                                      to fill or to read
 *     const struct kafka_table *<name>_table(void)       for kafka_encode and kafka_decode (codec.h)
 *     void <name>_init(struct <name> *m)                 every field has its default
 *
 * and tables.c, with KAFKA_MESSAGE_TABLES defined, makes the tables of the same lines.
 *
 * MESSAGE(name, id, first, last, flexible)   id: API key, or kind of record (-1: none); versions that
 *                                            are known; from which on the encoding is the compact one
 * STRUCT(name)                               a part of messages
 * FIELD(kind, name, since, until, ...)       in which versions it is there; LAST: all further ones
 * ARRAY(struct, name, since, until, ...)     { struct *at; size_t count; bool is_null; }
 * NESTED(struct, name, since, until, ...)    the structure itself
 * OPTIONAL(struct, name, since, until, ...)  a pointer, NULL where Kafka has null
 *
 * then, when they apply:
 *
 * NULLABLE(version)   may be null from that version on: `data` or `at` is NULL
 * DEFAULT(number)     where it is absent; else 0, false, null, or empty where it cannot be null
 * NULL_IF_ABSENT      an array that is null where it is absent; else it is empty
 * TAG(number)         a tagged field: left out where it has its default
 *
 * Kinds: BOOL, INT8, INT16, UINT16, INT32, UINT32, INT64, FLOAT64, STRING and BYTES (beck_bytes), UUID
 * (uint8_t[16]), RECORDS (struct kafka_records); INT8S, INT16S, INT32S, INT64S, STRINGS, UUIDS are
 * arrays of them. Names are those of Kafka's schemas.
 */
#include "kafka/message/codec.h"

#define LAST INT16_MAX
#define NEVER INT16_MAX

#ifndef KAFKA_MESSAGE_TABLES

#define KAFKA_AS_BOOL(name) bool name
#define KAFKA_AS_INT8(name) int8_t name
#define KAFKA_AS_INT16(name) int16_t name
#define KAFKA_AS_UINT16(name) uint16_t name
#define KAFKA_AS_INT32(name) int32_t name
#define KAFKA_AS_UINT32(name) uint32_t name
#define KAFKA_AS_INT64(name) int64_t name
#define KAFKA_AS_FLOAT64(name) double name
#define KAFKA_AS_STRING(name) beck_bytes name
#define KAFKA_AS_BYTES(name) beck_bytes name
#define KAFKA_AS_UUID(name) uint8_t name[16]
#define KAFKA_AS_RECORDS(name) struct kafka_records name
#define KAFKA_AS_INT8S(name) struct kafka_int8s name
#define KAFKA_AS_INT16S(name) struct kafka_int16s name
#define KAFKA_AS_INT32S(name) struct kafka_int32s name
#define KAFKA_AS_INT64S(name) struct kafka_int64s name
#define KAFKA_AS_STRINGS(name) struct kafka_strings name
#define KAFKA_AS_UUIDS(name) struct kafka_uuids name

#define MESSAGE(name, id, first, last, flexible) STRUCT(name)
#define STRUCT(name)                                                                               \
    struct name;                                                                                   \
    const struct kafka_table *name##_table(void);                                                  \
    void name##_init(struct name *m);                                                              \
    struct name {
#define FIELD(kind, name, since, until, ...) KAFKA_AS_##kind(name);
#define ARRAY(type, name, since, until, ...)                                                       \
    struct {                                                                                       \
        struct type *at;                                                                           \
        size_t count;                                                                              \
        bool is_null;                                                                              \
    } name;
#define NESTED(type, name, since, until, ...) struct type name;
#define OPTIONAL(type, name, since, until, ...) struct type *name;
#define END                                                                                        \
    }                                                                                              \
    ;

#else

#define NULLABLE(version) .nullable = true, .nullable_since = version
#define DEFAULT(number) .preset = number
#define NULL_IF_ABSENT .preset = 1
#define TAG(number) .tagged = true, .tag = number

/* NOLINTBEGIN(bugprone-macro-parentheses): each stands alone between commas */
#define MESSAGE(name_, id_, first_, last_, flexible_)                                              \
    void name_##_init(struct name_ *m)                                                             \
    {                                                                                              \
        kafka_init(name_##_table(), m);                                                            \
    }                                                                                              \
    const struct kafka_table *name_##_table(void)                                                  \
    {                                                                                              \
        typedef struct name_ self;                                                                 \
        static const char self_name[] = #name_;                                                    \
        enum { self_id = id_, self_first = first_, self_last = last_, self_flexible = flexible_ }; \
        static const struct kafka_field fields[] = {
#define STRUCT(name) MESSAGE(name, -1, 0, LAST, NEVER)
#define ENTRY(kind_, name_, since_, until_)                                                        \
    .name = #name_, .kind = kind_, .offset = offsetof(self, name_), .since = since_, .until = until_
/* NOLINTEND(bugprone-macro-parentheses) */
#define FIELD(kind, name, since, until, ...) {ENTRY(KAFKA_##kind, name, since, until), __VA_ARGS__},
#define ARRAY(type, name, since, until, ...)                                                       \
    {ENTRY(KAFKA_ARRAY, name, since, until), .of = type##_table, __VA_ARGS__},
#define NESTED(type, name, since, until, ...)                                                      \
    {ENTRY(KAFKA_NESTED, name, since, until), .of = type##_table, __VA_ARGS__},
#define OPTIONAL(type, name, since, until, ...)                                                    \
    {ENTRY(KAFKA_OPTIONAL, name, since, until), .of = type##_table, __VA_ARGS__},
#define END                                                                                        \
    }                                                                                              \
    ;                                                                                              \
    static const struct kafka_table table = {self_name,                                            \
                                             self_id,                                              \
                                             self_first,                                           \
                                             self_last,                                            \
                                             self_flexible,                                        \
                                             fields,                                               \
                                             sizeof fields / sizeof *fields,                       \
                                             sizeof(self)};                                        \
    return &table;                                                                                 \
    }

#endif
