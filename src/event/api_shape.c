/* The tables behind api_shape.h. */
#include "event/api_shape.h"
#include "base/error.h"
#include "event/cloudevents.h"
#include "event/event.h"
#include <stddef.h>
#include <stdlib.h>

#define NAME_MAX_BYTES 249
#define LIST_MAX 1000000
#define END                                                                                        \
    {                                                                                              \
        0                                                                                          \
    }

/* Fields by the name that they have in the structure. */
#define FIELD(type, member, kind_, ...)                                                            \
    {                                                                                              \
        .name = #member, .kind = kind_, .at = offsetof(type, member), __VA_ARGS__                  \
    }
#define INPUT(type, member, kind_, ...) FIELD(type, member, kind_, __VA_ARGS__)
/* Those that an answer always has. */
#define ALWAYS(type, member, kind_, ...) FIELD(type, member, kind_, .required = true, __VA_ARGS__)
#define COUNTER(type, member, ...) ALWAYS(type, member, SHAPE_I64, .max = INT64_MAX, __VA_ARGS__)
#define MS_OR_NONE(type, member, ...)                                                              \
    ALWAYS(type, member, SHAPE_I64, .min = -1, .max = INT64_MAX, __VA_ARGS__)

static const char *const storages[] = {"", "memory", "disk", NULL};
static const char *const levels[] = {"", "none", "written", "synced", NULL};
static const char *const codecs[] = {"none", "gzip", "snappy", "lz4", "zstd", NULL};
static const char *const backoffs[] = {"", "none", "fixed", "exponential", "list", NULL};
static const char *const overflows[] = {"drop-oldest", "refuse", NULL};
static const char *const rights[] = {"publish", "read",     "work", "admin",
                                     "create",  "describe", NULL};

/* ---- problems, events ---- */

static const struct shape_field problem_fields[] = {
    ALWAYS(struct api_problem, type, SHAPE_TEXT, .max = 1024),
    ALWAYS(struct api_problem, title, SHAPE_TEXT, .max = 1024),
    ALWAYS(struct api_problem, status, SHAPE_U32, .min = 100, .max = 599),
    ALWAYS(struct api_problem, detail, SHAPE_TEXT, .max = 4096,
           .help = "what went wrong, and what to do about it"),
    INPUT(struct api_problem, code, SHAPE_TEXT, .max = 64, .help = "name of the error in beck.h"),
    END};
const struct shape shape_problem = {"Problem", "An error (RFC 9457).", problem_fields,
                                    sizeof(struct api_problem), NULL};

const struct shape shape_event = {
    "Event", "An event: a CloudEvent 1.0 in the JSON format.", NULL, sizeof(beck_bytes),
    "{\"type\":\"object\",\"description\":\"An event: a CloudEvent 1.0 in the JSON format. Other "
    "members are extensions.\",\"required\":[\"specversion\",\"id\",\"source\",\"type\"],"
    "\"properties\":{"
    "\"specversion\":{\"const\":\"1.0\"},"
    "\"id\":{\"type\":\"string\",\"minLength\":1},"
    "\"source\":{\"type\":\"string\",\"minLength\":1},"
    "\"type\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":255},"
    "\"subject\":{\"type\":\"string\",\"minLength\":1},"
    "\"time\":{\"type\":\"string\",\"format\":\"date-time\"},"
    "\"datacontenttype\":{\"type\":\"string\",\"minLength\":1},"
    "\"dataschema\":{\"type\":\"string\",\"minLength\":1},"
    "\"data\":{},"
    "\"data_base64\":{\"type\":\"string\",\"contentEncoding\":\"base64\"},"
    "\"correlationid\":{\"type\":\"string\",\"minLength\":1},"
    "\"causationid\":{\"type\":\"string\",\"minLength\":1},"
    "\"deliverytime\":{\"type\":\"string\",\"format\":\"date-time\"},"
    "\"expirytime\":{\"type\":\"string\",\"format\":\"date-time\"},"
    "\"priority\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":255},"
    "\"beckbus\":{\"type\":\"string\",\"description\":\"the bus that it is stored in\"},"
    "\"beckpartition\":{\"type\":\"integer\",\"minimum\":0},"
    "\"beckoffset\":{\"type\":\"string\",\"pattern\":\"^[0-9]+$\"}},"
    "\"propertyNames\":{\"pattern\":\"^([a-z0-9]{1,64}|data_base64)$\"},"
    "\"additionalProperties\":{\"type\":[\"string\",\"integer\",\"boolean\"]}}"};
const struct shape shape_events = {
    "Events", "Events in an array.", NULL, sizeof(beck_bytes),
    "{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/Event\"}}"};

/* ---- buses ---- */

#define BUS(member, kind_, ...) INPUT(beck_bus_options, member, kind_, __VA_ARGS__)

static const struct shape_field bus_options_fields[] = {
    BUS(storage, SHAPE_CHOICE, .choices = storages, .help = "disk unless the server has none"),
    BUS(partitions, SHAPE_U32, .max = 10000,
        .help = "logs side by side, else 1; events of one subject share one"),
    BUS(level, SHAPE_CHOICE, .choices = levels, .help = "what a publish waits for, else synced"),
    BUS(read_synced, SHAPE_BOOL, .help = "readers see events only once they are on the device"),
    BUS(codec, SHAPE_CHOICE, .choices = codecs, .help = "compression of batches"),
    BUS(retention_ms, SHAPE_I64, .max = INT64_MAX, .help = "older events are removed; 0: never"),
    BUS(retention_bytes, SHAPE_I64, .max = INT64_MAX, .help = "of a partition; 0: no limit"),
    BUS(compact, SHAPE_BOOL, .help = "keep only the newest event of each subject"),
    BUS(delete_retention_ms, SHAPE_I64, .max = INT64_MAX,
        .help = "how long compaction keeps events without data, which delete their subject, else 1 "
                "day"),
    BUS(segment_bytes, SHAPE_I64, .max = INT32_MAX, .help = "of the files, else 1 GiB"),
    BUS(segment_ms, SHAPE_I64, .max = INT64_MAX, .help = "a new file after this, else 7 days"),
    BUS(dedup_window_ms, SHAPE_I64, .max = INT64_MAX,
        .help = "what had the same source and id within this time is not stored again; 0: off"),
    BUS(event_bytes_max, SHAPE_U32, .max = 64 << 20,
        .help = "larger events are refused, else 1,048,588"),
    END};
const struct shape shape_bus_options = {"BusOptions", "Options of a bus; absent or zero: default.",
                                        bus_options_fields, sizeof(beck_bus_options), NULL};

static const struct shape_field bus_fields[] = {
    {.name = "name",
     .kind = SHAPE_TEXT,
     .required = true,
     .at = offsetof(struct api_bus, info.name),
     .max = NAME_MAX_BYTES},
    {.name = "options",
     .kind = SHAPE_OBJECT,
     .required = true,
     .at = offsetof(struct api_bus, info.options),
     .of = &shape_bus_options},
    {.name = "events",
     .kind = SHAPE_I64,
     .required = true,
     .at = offsetof(struct api_bus, info.events),
     .max = INT64_MAX,
     .help = "stored now"},
    {.name = "bytes",
     .kind = SHAPE_I64,
     .required = true,
     .at = offsetof(struct api_bus, info.bytes),
     .max = INT64_MAX},
    {.name = "listeners",
     .kind = SHAPE_U32,
     .required = true,
     .at = offsetof(struct api_bus, info.listeners),
     .max = UINT32_MAX},
    {.name = "damaged",
     .kind = SHAPE_U32,
     .at = offsetof(struct api_bus, info.damaged),
     .max = 10000,
     .help = "partitions that take and give nothing, because stored bytes are damaged"},
    ALWAYS(struct api_bus, internal, SHAPE_BOOL, .help = "one of beck's own: it can only be read"),
    END};
const struct shape shape_bus = {"Bus", "A bus.", bus_fields, sizeof(struct api_bus), NULL};

/* A list as the only member of a document. */
#define ONE_LIST(variable, type, member, shape_)                                                   \
    static const struct shape_field variable##_item = {.kind = SHAPE_OBJECT, .of = &(shape_)};     \
    static const struct shape_field variable[] = {{.name = (member),                               \
                                                   .kind = SHAPE_LIST,                             \
                                                   .required = true,                               \
                                                   .at = offsetof(type, list),                     \
                                                   .count_at = offsetof(type, count),              \
                                                   .item = &variable##_item,                       \
                                                   .item_size = sizeof *((type *)0)->list,         \
                                                   .max = LIST_MAX},                               \
                                                  END}

ONE_LIST(buses_fields, struct api_buses, "buses", shape_bus);
const struct shape shape_buses = {"Buses", "Buses in order of name, beck's own last.", buses_fields,
                                  sizeof(struct api_buses), NULL};

#define PARTITION(member, kind_, min_, ...)                                                        \
    {                                                                                              \
        .name = #member, .kind = (kind_), .required = true,                                        \
        .at = offsetof(struct api_partition, info.member), .min = min_, .max = INT64_MAX,          \
        __VA_ARGS__                                                                                \
    }
static const struct shape_field partition_fields[] = {
    ALWAYS(struct api_partition, partition, SHAPE_U32, .max = 10000),
    PARTITION(first_offset, SHAPE_I64, 0, .help = "of the oldest event kept"),
    PARTITION(next_offset, SHAPE_I64, 0, .help = "that the next event gets"),
    PARTITION(written_offset, SHAPE_I64, 0, .help = "events below are in the operating system"),
    PARTITION(synced_offset, SHAPE_I64, 0, .help = "events below are on the device"),
    PARTITION(bytes, SHAPE_I64, 0),
    {.name = "segments",
     .kind = SHAPE_U32,
     .required = true,
     .at = offsetof(struct api_partition, info.segments),
     .max = UINT32_MAX},
    PARTITION(oldest_ms, SHAPE_I64, INT64_MIN, .help = "-1: empty"),
    PARTITION(newest_ms, SHAPE_I64, INT64_MIN, .help = "-1: empty"),
    {.name = "damaged",
     .kind = SHAPE_BOOL,
     .at = offsetof(struct api_partition, info.damaged),
     .help = "stored bytes are: it takes and gives nothing until beck verify --repair"},
    END};
const struct shape shape_partition = {"Partition", "A partition of a bus.", partition_fields,
                                      sizeof(struct api_partition), NULL};
ONE_LIST(partitions_fields, struct api_partitions, "partitions", shape_partition);
const struct shape shape_partitions = {"Partitions", "The partitions of a bus.", partitions_fields,
                                       sizeof(struct api_partitions), NULL};

#define PUBLISHED_FIELDS                                                                           \
    {.name = "partition",                                                                          \
     .kind = SHAPE_U32,                                                                            \
     .required = true,                                                                             \
     .at = offsetof(struct api_published, published.position.partition),                           \
     .max = 10000},                                                                                \
        {.name = "offset",                                                                         \
         .kind = SHAPE_I64,                                                                        \
         .required = true,                                                                         \
         .at = offsetof(struct api_published, published.position.offset),                          \
         .min = -1,                                                                                \
         .max = INT64_MAX,                                                                         \
         .help = "of the first event; -1: not stored"},                                            \
        ALWAYS(struct api_published, count, SHAPE_U32, .max = UINT32_MAX,                          \
               .help = "of the events sent"),                                                      \
        {.name = "duplicates",                                                                     \
         .kind = SHAPE_U32,                                                                        \
         .required = true,                                                                         \
         .at = offsetof(struct api_published, published.duplicates),                               \
         .max = UINT32_MAX,                                                                        \
         .help = "of them were stored before"},                                                    \
    {                                                                                              \
        .name = "listeners_failed", .kind = SHAPE_U32, .required = true,                           \
        .at = offsetof(struct api_published, published.listeners_failed), .max = UINT32_MAX        \
    }
static const struct shape_field published_fields[] = {PUBLISHED_FIELDS, END};
const struct shape shape_published = {"Published", "What was published, and where it is.",
                                      published_fields, sizeof(struct api_published), NULL};

static const struct shape_field publish_fields[] = {
    ALWAYS(struct api_publish, events, SHAPE_RAW, .of = &shape_events), END};
const struct shape shape_publish = {"Publish", "One of several publishes.", publish_fields,
                                    sizeof(struct api_publish), NULL};
ONE_LIST(publishes_fields, struct api_publishes, "publishes", shape_publish);
const struct shape shape_publishes = {"Publishes", "Several publishes, in order.", publishes_fields,
                                      sizeof(struct api_publishes), NULL};

static const struct shape_field outcome_fields[] = {
    PUBLISHED_FIELDS, /* `was` comes first */
    INPUT(struct api_outcome, code, SHAPE_TEXT, .max = 64,
          .help = "name of the error in beck.h; not there: it was published"),
    END};
const struct shape shape_outcome = {"PublishOutcome", "What became of one of several publishes.",
                                    outcome_fields, sizeof(struct api_outcome), NULL};
ONE_LIST(outcomes_fields, struct api_outcomes, "publishes", shape_outcome);
const struct shape shape_outcomes = {"PublishOutcomes", "One for each publish, in order.",
                                     outcomes_fields, sizeof(struct api_outcomes), NULL};

/* ---- queues ---- */

static const struct shape_field delay_item = {.kind = SHAPE_I64, .max = INT64_MAX};
static const struct shape_field backoff_fields[] = {
    INPUT(beck_backoff, kind, SHAPE_CHOICE, .choices = backoffs, .help = "else exponential"),
    INPUT(beck_backoff, first_ms, SHAPE_I64, .max = INT64_MAX, .help = "else 1,000"),
    INPUT(beck_backoff, max_ms, SHAPE_I64, .max = INT64_MAX, .help = "else an hour"),
    INPUT(beck_backoff, jitter_percent, SHAPE_U32, .max = 101,
          .help = "added or taken at random; 0: the default, 20 for exponential; 101: none"),
    INPUT(beck_backoff, list_ms, SHAPE_ARRAY, .max = 16, .item = &delay_item,
          .item_size = sizeof(int64_t), .count_at = offsetof(beck_backoff, list_count),
          .help = "one an attempt, the last one repeated"),
    END};
static const struct shape shape_backoff = {"Backoff", "The wait before another attempt.",
                                           backoff_fields, sizeof(beck_backoff), NULL};

#define QUEUE(member, kind_, ...) INPUT(beck_queue_options, member, kind_, __VA_ARGS__)
/* Also the first fields of what makes a queue, whose options are its first member. */
#define QUEUE_OPTIONS                                                                              \
    QUEUE(storage, SHAPE_CHOICE, .choices = storages, .help = "disk unless the server has none"),  \
        QUEUE(attempts_max, SHAPE_U32, .max = 65535,                                               \
              .help = "deliveries before an event becomes a dead letter, else 10"),                \
        QUEUE(backoff, SHAPE_OBJECT, .of = &shape_backoff),                                        \
        QUEUE(deadline_ms, SHAPE_I64, .min = -1, .max = INT64_MAX,                                 \
              .help = "a delivery not settled by then counts as failed, else 30,000; -1: never"),  \
        QUEUE(ttl_ms, SHAPE_I64, .max = INT64_MAX,                                                 \
              .help = "an event not delivered by then becomes a dead letter; 0: never"),           \
        QUEUE(length_max, SHAPE_I64, .max = INT64_MAX, .help = "ready events; 0: no limit"),       \
        QUEUE(overflow, SHAPE_CHOICE, .choices = overflows, .help = "what a full queue does"),     \
        QUEUE(priority_max, SHAPE_U32, .max = 255,                                                 \
              .help = "highest priority that counts; 0: no priorities"),                           \
        QUEUE(no_dead_letters, SHAPE_BOOL, .help = "drop instead of keeping dead letters")

static const struct shape_field queue_options_fields[] = {QUEUE_OPTIONS, END};
const struct shape shape_queue_options = {"QueueOptions",
                                          "Options of a queue; absent or zero: default.",
                                          queue_options_fields, sizeof(beck_queue_options), NULL};

static const struct shape_field binding_fields[] = {
    ALWAYS(beck_binding, bus, SHAPE_TEXT, .min = 1, .max = NAME_MAX_BYTES),
    INPUT(beck_binding, pattern, SHAPE_TEXT, .min = 1, .max = EVENT_TYPE_MAX,
          .help = "of types: * is one word, # any number; else #"),
    INPUT(beck_binding, from, SHAPE_FROM, .help = "the first event: now, unless said otherwise"),
    END};
const struct shape shape_binding = {"Binding", "What feeds a queue.", binding_fields,
                                    sizeof(beck_binding), NULL};
ONE_LIST(bindings_fields, struct api_bindings, "bindings", shape_binding);
const struct shape shape_bindings = {"Bindings", "What feeds a queue.", bindings_fields,
                                     sizeof(struct api_bindings), NULL};

_Static_assert(offsetof(struct api_queue_spec, options) == 0, "the fields of options are shared");
static const struct shape_field queue_spec_fields[] = {
    QUEUE_OPTIONS,
    {.name = "bindings",
     .kind = SHAPE_LIST,
     .at = offsetof(struct api_queue_spec, bindings.list),
     .count_at = offsetof(struct api_queue_spec, bindings.count),
     .item = &bindings_fields_item,
     .item_size = sizeof(beck_binding),
     .max = 1000,
     .help = "what feeds it from the start"},
    END};
const struct shape shape_queue_spec = {"QueueSpec",
                                       "What makes a queue: its options, absent or zero meaning "
                                       "the default, and bindings.",
                                       queue_spec_fields, sizeof(struct api_queue_spec), NULL};

static const struct shape_field queue_fields[] = {
    ALWAYS(beck_queue_info, name, SHAPE_TEXT, .max = NAME_MAX_BYTES),
    ALWAYS(beck_queue_info, options, SHAPE_OBJECT, .of = &shape_queue_options),
    COUNTER(beck_queue_info, ready, .help = "deliverable now"),
    COUNTER(beck_queue_info, in_flight, .help = "delivered and not yet settled"),
    COUNTER(beck_queue_info, delayed, .help = "waiting for their time"),
    COUNTER(beck_queue_info, dead, .help = "dead letters kept"),
    ALWAYS(beck_queue_info, consumers, SHAPE_U32, .max = UINT32_MAX),
    ALWAYS(beck_queue_info, paused, SHAPE_BOOL, .help = "nothing is delivered"),
    FIELD(beck_queue_info, damaged, SHAPE_BOOL,
          .help = "not known what it holds, stored bytes of its state are damaged"),
    ALWAYS(beck_queue_info, bindings, SHAPE_U32, .max = UINT32_MAX),
    MS_OR_NONE(beck_queue_info, oldest_ms, .help = "time of the oldest ready event; -1: none"),
    MS_OR_NONE(beck_queue_info, next_due_ms,
               .help = "when the first delayed event is due; -1: none"),
    COUNTER(beck_queue_info, delivered, .help = "since the server started, as those below"),
    COUNTER(beck_queue_info, settled),
    COUNTER(beck_queue_info, retried),
    COUNTER(beck_queue_info, rejected),
    COUNTER(beck_queue_info, expired),
    COUNTER(beck_queue_info, dropped),
    END};
const struct shape shape_queue = {"Queue", "A queue.", queue_fields, sizeof(beck_queue_info), NULL};
ONE_LIST(queues_fields, struct api_queues, "queues", shape_queue);
const struct shape shape_queues = {"Queues", "Queues in order of name.", queues_fields,
                                   sizeof(struct api_queues), NULL};

static const struct shape_field rewind_fields[] = {
    ALWAYS(struct api_rewind, from, SHAPE_FROM, .help = "where the queue begins again"), END};
const struct shape shape_rewind = {"Rewind", "Where a queue begins again.", rewind_fields,
                                   sizeof(struct api_rewind), NULL};

#define ONE_COUNT(variable, name_)                                                                 \
    static const struct shape_field variable[] = {{.name = (name_),                                \
                                                   .kind = SHAPE_I64,                              \
                                                   .required = true,                               \
                                                   .at = offsetof(struct api_count, count),        \
                                                   .max = INT64_MAX},                              \
                                                  END}
ONE_COUNT(purged_fields, "purged");
const struct shape shape_purged = {"Purged", "How many were removed.", purged_fields,
                                   sizeof(struct api_count), NULL};
ONE_COUNT(redriven_fields, "redriven");
const struct shape shape_redriven = {"Redriven", "How many were put back into the queue.",
                                     redriven_fields, sizeof(struct api_count), NULL};

/* ---- deliveries ---- */

static const struct shape_field delivery_fields[] = {
    ALWAYS(struct api_delivery, tag, SHAPE_U64, .help = "names the delivery when it is settled"),
    ALWAYS(struct api_delivery, attempt, SHAPE_U32, .min = 1, .max = UINT32_MAX),
    ALWAYS(struct api_delivery, redelivered, SHAPE_BOOL,
           .help = "it may have been delivered before"),
    MS_OR_NONE(struct api_delivery, deadline_ms,
               .help = "to be settled or extended within; -1: never"),
    ALWAYS(struct api_delivery, event, SHAPE_RAW, .of = &shape_event),
    END};
const struct shape shape_delivery = {"Delivery", "An event to be handled.", delivery_fields,
                                     sizeof(struct api_delivery), NULL};
static const struct shape_field deliveries_item = {.kind = SHAPE_OBJECT, .of = &shape_delivery};
static const struct shape_field deliveries_fields[] = {
    {.name = "deliveries",
     .kind = SHAPE_LIST,
     .required = true,
     .at = offsetof(struct api_deliveries, list),
     .count_at = offsetof(struct api_deliveries, count),
     .item = &deliveries_item,
     .item_size = sizeof(struct api_delivery),
     .max = API_TAKE_MAX},
    END};
const struct shape shape_deliveries = {"Deliveries", "Events to be handled.", deliveries_fields,
                                       sizeof(struct api_deliveries), NULL};

static const struct shape_field tag_item = {.kind = SHAPE_U64};
#define TAGS                                                                                       \
    ALWAYS(struct api_tags, tags, SHAPE_LIST, .max = API_TAGS_MAX, .item = &tag_item,              \
           .item_size = sizeof(uint64_t), .count_at = offsetof(struct api_tags, count),            \
           .help = "of the deliveries")
#define WHY                                                                                        \
    INPUT(struct api_tags, why, SHAPE_TEXT, .max = API_WHY_MAX,                                    \
          .help = "kept in the history of the event")
static const struct shape_field tags_fields[] = {TAGS, END};
static const struct shape_field tags_retry_fields[] = {
    TAGS,
    INPUT(struct api_tags, delay_ms, SHAPE_I64, .min = -1, .max = INT64_MAX, .preset = -1,
          .help = "until the next attempt; -1: the queue's back-off"),
    WHY, END};
static const struct shape_field tags_reject_fields[] = {TAGS, WHY, END};
const struct shape shape_tags = {"Tags", "Deliveries.", tags_fields, sizeof(struct api_tags), NULL};
const struct shape shape_tags_retry = {"Retry", "Deliveries that failed for now.",
                                       tags_retry_fields, sizeof(struct api_tags), NULL};
const struct shape shape_tags_reject = {"Reject", "Deliveries that failed for good.",
                                        tags_reject_fields, sizeof(struct api_tags), NULL};

#define DONE(variable, name_)                                                                      \
    static const struct shape_field variable[] = {                                                 \
        {.name = (name_),                                                                          \
         .kind = SHAPE_U32,                                                                        \
         .required = true,                                                                         \
         .at = offsetof(struct api_done, count),                                                   \
         .max = API_TAGS_MAX},                                                                     \
        ALWAYS(struct api_done, stale, SHAPE_LIST, .max = API_TAGS_MAX, .item = &tag_item,         \
               .item_size = sizeof(uint64_t), .count_at = offsetof(struct api_done, stale_count),  \
               .help = "not held any more: settled before, or late"),                              \
        END}
DONE(settled_fields, "settled");
DONE(retried_fields, "retried");
DONE(rejected_fields, "rejected");
DONE(returned_fields, "returned");
DONE(extended_fields, "extended");
const struct shape shape_settled = {"Settled", "How many were settled.", settled_fields,
                                    sizeof(struct api_done), NULL};
const struct shape shape_retried = {"Retried", "How many are tried again.", retried_fields,
                                    sizeof(struct api_done), NULL};
const struct shape shape_rejected = {"Rejected", "How many were rejected.", rejected_fields,
                                     sizeof(struct api_done), NULL};
const struct shape shape_returned = {"Returned", "How many are ready again.", returned_fields,
                                     sizeof(struct api_done), NULL};
const struct shape shape_extended = {"Extended", "How many have their deadline begin anew.",
                                     extended_fields, sizeof(struct api_done), NULL};

/* ---- dead letters ---- */

#define ORIGIN(member, kind_, max_)                                                                \
    {                                                                                              \
        .name = #member, .kind = (kind_), .required = true,                                        \
        .at = offsetof(struct api_dead, origin.member) - offsetof(struct api_dead, origin),        \
        .max = (max_)                                                                              \
    }
static const struct shape_field origin_fields[] = {ORIGIN(bus, SHAPE_TEXT, NAME_MAX_BYTES),
                                                   ORIGIN(partition, SHAPE_U32, 10000),
                                                   ORIGIN(offset, SHAPE_I64, INT64_MAX), END};
static const struct shape shape_origin = {"Origin", "Where an event is stored.", origin_fields,
                                          sizeof((struct api_dead){0}.origin), NULL};

static const struct shape shape_history = {
    "History", "The last failures of an event.", NULL, sizeof(beck_bytes),
    "{\"type\":\"array\",\"maxItems\":16,\"items\":{\"type\":\"object\",\"properties\":{"
    "\"attempt\":{\"type\":\"integer\"},\"time\":{\"type\":\"string\",\"format\":\"date-time\"},"
    "\"why\":{\"type\":\"string\"}},\"required\":[\"attempt\",\"time\",\"why\"],"
    "\"additionalProperties\":false}}"};

static const struct shape_field dead_fields[] = {
    ALWAYS(struct api_dead, offset, SHAPE_I64, .max = INT64_MAX, .help = "names the dead letter"),
    ALWAYS(struct api_dead, reason, SHAPE_TEXT, .min = 1, .max = 64,
           .help = "rejected, attempts, expired or maxlen"),
    ALWAYS(struct api_dead, attempts, SHAPE_U32, .max = UINT32_MAX),
    ALWAYS(struct api_dead, died_ms, SHAPE_I64, .max = INT64_MAX),
    ALWAYS(struct api_dead, origin, SHAPE_OBJECT, .of = &shape_origin),
    ALWAYS(struct api_dead, history, SHAPE_RAW, .of = &shape_history),
    ALWAYS(struct api_dead, event, SHAPE_RAW, .of = &shape_event),
    END};
const struct shape shape_dead = {"DeadLetter", "An event that a queue gave up.", dead_fields,
                                 sizeof(struct api_dead), NULL};
static const struct shape_field dead_letters_item = {.kind = SHAPE_OBJECT, .of = &shape_dead};
static const struct shape_field dead_letters_fields[] = {
    {.name = "dead",
     .kind = SHAPE_LIST,
     .required = true,
     .at = offsetof(struct api_dead_letters, list),
     .count_at = offsetof(struct api_dead_letters, count),
     .item = &dead_letters_item,
     .item_size = sizeof(struct api_dead),
     .max = LIST_MAX},
    MS_OR_NONE(struct api_dead_letters, next_offset,
               .help = "where the next page begins (query from); -1: these were the last"),
    END};
const struct shape shape_dead_letters = {"DeadLetters", "Dead letters of a queue, oldest first.",
                                         dead_letters_fields, sizeof(struct api_dead_letters),
                                         NULL};

/* ---- what waits in a queue ---- */

static const struct shape_field waiting_fields[] = {
    ALWAYS(struct api_waiting, origin, SHAPE_OBJECT, .of = &shape_origin),
    ALWAYS(struct api_waiting, attempt, SHAPE_U32, .max = UINT32_MAX,
           .help = "which delivery this is, or will be; 1 is the first"),
    MS_OR_NONE(struct api_waiting, since_ms, .help = "in flight: since when; else -1"),
    MS_OR_NONE(struct api_waiting, due_ms,
               .help = "when it is ready, or its deadline passes; -1: it has none"),
    FIELD(struct api_waiting, event, SHAPE_RAW, .of = &shape_event,
          .help = "missing when it cannot be read now"),
    END};
const struct shape shape_waiting = {"Waiting", "An event that waits for its time, or is in flight.",
                                    waiting_fields, sizeof(struct api_waiting), NULL};
static const struct shape_field waiting_list_item = {.kind = SHAPE_OBJECT, .of = &shape_waiting};
static const struct shape_field waiting_list_fields[] = {
    {.name = "waiting",
     .kind = SHAPE_LIST,
     .required = true,
     .at = offsetof(struct api_waiting_list, list),
     .count_at = offsetof(struct api_waiting_list, count),
     .item = &waiting_list_item,
     .item_size = sizeof(struct api_waiting),
     .max = LIST_MAX},
    MS_OR_NONE(struct api_waiting_list, next_from,
               .help = "where the next page begins (query from); -1: these were the last"),
    END};
const struct shape shape_waiting_list = {
    "WaitingList", "What waits in a queue, the first due first.", waiting_list_fields,
    sizeof(struct api_waiting_list), NULL};

/* ---- traces ---- */

static const struct shape_field trace_delivery_fields[] = {
    ALWAYS(struct api_trace_delivery, queue, SHAPE_TEXT, .min = 1, .max = NAME_MAX_BYTES),
    ALWAYS(struct api_trace_delivery, state, SHAPE_TEXT, .min = 1, .max = 16,
           .help = "ready, delayed, in_flight, settled, dead, or finished: it left the queue, and "
                   "how is not recorded any more"),
    ALWAYS(struct api_trace_delivery, reason, SHAPE_TEXT, .max = 64, .help = "of a dead letter"),
    ALWAYS(struct api_trace_delivery, attempts, SHAPE_U32, .max = UINT32_MAX),
    ALWAYS(struct api_trace_delivery, at_ms, SHAPE_I64, .max = INT64_MAX,
           .help = "since when; delayed: until when; 0: not known"),
    ALWAYS(struct api_trace_delivery, history, SHAPE_RAW, .of = &shape_history),
    END};
static const struct shape shape_trace_delivery = {
    "TraceDelivery", "What became of an event in a queue.", trace_delivery_fields,
    sizeof(struct api_trace_delivery), NULL};
static const struct shape_field trace_delivery_item = {.kind = SHAPE_OBJECT,
                                                       .of = &shape_trace_delivery};

static const struct shape_field trace_step_fields[] = {
    ALWAYS(struct api_trace_step, depth, SHAPE_U32, .max = UINT32_MAX,
           .help = "0: nothing that is stored caused it; each event stands behind its cause"),
    ALWAYS(struct api_trace_step, event, SHAPE_RAW, .of = &shape_event),
    {.name = "deliveries",
     .kind = SHAPE_LIST,
     .required = true,
     .at = offsetof(struct api_trace_step, deliveries),
     .count_at = offsetof(struct api_trace_step, delivery_count),
     .item = &trace_delivery_item,
     .item_size = sizeof(struct api_trace_delivery),
     .max = LIST_MAX},
    END};
const struct shape shape_trace_step = {"TraceStep", "An event of a trace.", trace_step_fields,
                                       sizeof(struct api_trace_step), NULL};
static const struct shape_field trace_item = {.kind = SHAPE_OBJECT, .of = &shape_trace_step};
static const struct shape_field trace_fields[] = {{.name = "events",
                                                   .kind = SHAPE_LIST,
                                                   .required = true,
                                                   .at = offsetof(struct api_trace, list),
                                                   .count_at = offsetof(struct api_trace, count),
                                                   .item = &trace_item,
                                                   .item_size = sizeof(struct api_trace_step),
                                                   .max = LIST_MAX},
                                                  END};
const struct shape shape_trace = {"Trace", "Events that belong together, as a tree.", trace_fields,
                                  sizeof(struct api_trace), NULL};

beck_status api_trace_step_write(const beck_trace_step *step, struct buf *out, beck_error *err)
{
    struct buf event;
    buf_init(&event, out->max);
    size_t count = step->delivery_count, start = out->len;
    struct api_trace_delivery *list = malloc((count + 1) * sizeof *list);
    beck_status status = list ? cloudevents_write_exact(step->event, &event, err)
                              : error_set(err, BECK_ENOMEM, "no memory for a trace");
    for (size_t i = 0; i < count && !status; i++) {
        const beck_trace_delivery *d = &step->deliveries[i];
        list[i] = (struct api_trace_delivery){d->queue,    d->state, d->reason,
                                              d->attempts, d->at_ms, beck_str(d->history)};
    }
    if (!status) {
        const struct api_trace_step s = {step->depth, buf_bytes(&event), list, count};
        status = shape_write(&shape_trace_step, &s, out);
        if (status) {
            out->len = start;
            error_set(err, status, "a trace does not fit in memory");
        }
    }
    buf_release(&event);
    free(list);
    return status;
}

/* ---- users ---- */

static const struct shape_field rule_fields[] = {
    INPUT(struct api_rule, bus, SHAPE_TEXT, .min = 1, .max = NAME_MAX_BYTES,
          .help = "buses of this name; * stands for any characters"),
    INPUT(struct api_rule, queue, SHAPE_TEXT, .min = 1, .max = NAME_MAX_BYTES,
          .help = "queues of this name; * stands for any characters"),
    INPUT(struct api_rule, server, SHAPE_BOOL, .help = "everything"),
    ALWAYS(struct api_rule, rights, SHAPE_SET, .choices = rights), END};
const struct shape shape_rule = {"Rule", "What is allowed: of a bus, a queue, or everything.",
                                 rule_fields, sizeof(struct api_rule), NULL};

static const struct shape_field rule_item = {.kind = SHAPE_OBJECT, .of = &shape_rule};
#define RULES(type, required_)                                                                     \
    {                                                                                              \
        .name = "rules", .kind = SHAPE_LIST, .required = (required_), .at = offsetof(type, rules), \
        .count_at = offsetof(type, rule_count), .item = &rule_item,                                \
        .item_size = sizeof(struct api_rule), .max = API_RULES_MAX                                 \
    }
static const struct shape_field token_name_item = {.kind = SHAPE_TEXT, .min = 1, .max = 255};
static const struct shape_field user_fields[] = {
    ALWAYS(struct api_user, name, SHAPE_TEXT, .min = 1, .max = 255),
    ALWAYS(struct api_user, has_password, SHAPE_BOOL), RULES(struct api_user, true),
    ALWAYS(struct api_user, tokens, SHAPE_LIST, .max = LIST_MAX, .item = &token_name_item,
           .item_size = sizeof(char *), .count_at = offsetof(struct api_user, token_count),
           .help = "their names"),
    END};
const struct shape shape_user = {"User", "A user.", user_fields, sizeof(struct api_user), NULL};
ONE_LIST(users_fields, struct api_users, "users", shape_user);
const struct shape shape_users = {"Users", "All users.", users_fields, sizeof(struct api_users),
                                  NULL};

static const struct shape_field user_spec_fields[] = {
    INPUT(struct api_user_spec, password, SHAPE_TEXT, .min = 1, .max = 1024),
    RULES(struct api_user_spec, false), END};
const struct shape shape_user_spec = {"UserSpec",
                                      "What makes or changes a user; what is absent stays.",
                                      user_spec_fields, sizeof(struct api_user_spec), NULL};

static const struct shape_field token_spec_fields[] = {
    ALWAYS(struct api_token_spec, name, SHAPE_TEXT, .min = 1, .max = 255), END};
const struct shape shape_token_spec = {"TokenSpec", "What makes a token.", token_spec_fields,
                                       sizeof(struct api_token_spec), NULL};
static const struct shape_field token_fields[] = {
    ALWAYS(struct api_token, token, SHAPE_TEXT, .min = 1, .max = 255,
           .help = "to be kept: it is shown only this once"),
    END};
const struct shape shape_token = {"Token", "A token, which logs in as its user.", token_fields,
                                  sizeof(struct api_token), NULL};

static const struct shape_field caller_fields[] = {
    ALWAYS(struct api_caller, user, SHAPE_TEXT, .max = 255, .help = "empty: without a name"),
    ALWAYS(struct api_caller, admin, SHAPE_BOOL, .help = "may do everything"), END};
const struct shape shape_caller = {"Caller", "Who asks.", caller_fields, sizeof(struct api_caller),
                                   NULL};

/* ---- the server ---- */

static const struct shape_field server_fields[] = {
    ALWAYS(struct api_server, version, SHAPE_TEXT, .max = 64),
    COUNTER(struct api_server, pid),
    COUNTER(struct api_server, started_ms),
    INPUT(struct api_server, data, SHAPE_TEXT, .max = 4096, .help = "the data directory"),
    ALWAYS(struct api_server, connections, SHAPE_U32, .max = UINT32_MAX),
    ALWAYS(struct api_server, requests, SHAPE_U32, .max = UINT32_MAX, .help = "that run now"),
    COUNTER(struct api_server, body_bytes, .help = "held by all requests that are being read"),
    END};
const struct shape shape_server = {"Server", "The server.", server_fields,
                                   sizeof(struct api_server), NULL};

/* ---- webhooks ---- */

static const struct shape_field hook_fields[] = {
    ALWAYS(struct api_hook, name, SHAPE_TEXT, .min = 1, .max = 64),
    ALWAYS(struct api_hook, provider, SHAPE_TEXT, .max = 64),
    ALWAYS(struct api_hook, bus, SHAPE_TEXT, .min = 1, .max = NAME_MAX_BYTES),
    ALWAYS(struct api_hook, level, SHAPE_CHOICE, .choices = levels),
    ALWAYS(struct api_hook, secrets, SHAPE_U32, .max = 64, .help = "how many there are"),
    MS_OR_NONE(struct api_hook, tolerance_ms, .help = "-1: any age"),
    COUNTER(struct api_hook, body_max),
    MS_OR_NONE(struct api_hook, dedup_window_ms, .help = "-1: none"),
    ALWAYS(struct api_hook, requests, SHAPE_RAW,
           .help = "numbers by outcome: stored, duplicate, handshake, failed, limited, or why they "
                   "were refused"),
    COUNTER(struct api_hook, failed_ms, .help = "when an event could not be stored last; 0: never"),
    INPUT(struct api_hook, failure, SHAPE_TEXT, .max = 512, .help = "why it could not"),
    END};
const struct shape shape_hook = {"Hook", "A source of webhooks.", hook_fields,
                                 sizeof(struct api_hook), NULL};
ONE_LIST(hooks_fields, struct api_hooks, "hooks", shape_hook);
const struct shape shape_hooks = {"Hooks", "All sources of webhooks.", hooks_fields,
                                  sizeof(struct api_hooks), NULL};

static const struct shape_field refused_fields[] = {
    ALWAYS(struct api_refused, hook, SHAPE_TEXT, .min = 1, .max = 64),
    ALWAYS(struct api_refused, reason, SHAPE_TEXT, .max = 64),
    ALWAYS(struct api_refused, address, SHAPE_TEXT, .max = 255),
    ALWAYS(struct api_refused, received, SHAPE_TEXT, .max = 64, .help = "RFC 3339"),
    ALWAYS(struct api_refused, method, SHAPE_TEXT, .max = 64),
    ALWAYS(struct api_refused, headers, SHAPE_RAW,
           .help = "an array of {name, value}; credentials are left out"),
    INPUT(struct api_refused, body, SHAPE_TEXT, .max = INT64_MAX, .help = "its first bytes"),
    INPUT(struct api_refused, body_base64, SHAPE_TEXT, .max = INT64_MAX,
          .help = "the same when they are no text"),
    COUNTER(struct api_refused, body_bytes, .help = "of the whole"),
    END};
const struct shape shape_refused = {"RefusedRequest", "A request that was refused.", refused_fields,
                                    sizeof(struct api_refused), NULL};
ONE_LIST(refused_requests_fields, struct api_refused_requests, "refused", shape_refused);
const struct shape shape_refused_requests = {"RefusedRequests", "Requests that were refused.",
                                             refused_requests_fields,
                                             sizeof(struct api_refused_requests), NULL};

const struct shape *const api_shapes[] = {&shape_problem,
                                          &shape_event,
                                          &shape_events,
                                          &shape_bus_options,
                                          &shape_bus,
                                          &shape_buses,
                                          &shape_partition,
                                          &shape_partitions,
                                          &shape_published,
                                          &shape_publish,
                                          &shape_publishes,
                                          &shape_outcome,
                                          &shape_outcomes,
                                          &shape_backoff,
                                          &shape_queue_options,
                                          &shape_binding,
                                          &shape_bindings,
                                          &shape_queue_spec,
                                          &shape_queue,
                                          &shape_queues,
                                          &shape_rewind,
                                          &shape_purged,
                                          &shape_redriven,
                                          &shape_delivery,
                                          &shape_deliveries,
                                          &shape_tags,
                                          &shape_tags_retry,
                                          &shape_tags_reject,
                                          &shape_settled,
                                          &shape_retried,
                                          &shape_rejected,
                                          &shape_returned,
                                          &shape_extended,
                                          &shape_origin,
                                          &shape_history,
                                          &shape_dead,
                                          &shape_dead_letters,
                                          &shape_waiting,
                                          &shape_waiting_list,
                                          &shape_trace_delivery,
                                          &shape_trace_step,
                                          &shape_trace,
                                          &shape_rule,
                                          &shape_user,
                                          &shape_users,
                                          &shape_user_spec,
                                          &shape_token_spec,
                                          &shape_token,
                                          &shape_caller,
                                          &shape_server,
                                          &shape_hook,
                                          &shape_hooks,
                                          &shape_refused,
                                          &shape_refused_requests,
                                          NULL};
