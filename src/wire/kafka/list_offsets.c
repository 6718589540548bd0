/* ListOffsets (2) and OffsetForLeaderEpoch (23). What has to search by time, or has many partitions, does so
 * on the pool, in turns. */
#include "kafka/message/list_offsets.h"

#include "wire/kafka/handlers.h"
#include "wire/kafka/topic_names.h"

#define LEADER_EPOCH 0
#define READ_COMMITTED 1
#define AT_ONCE_MAX 1000 /* partitions that are looked up on the loop */

enum special { /* in the place of a timestamp */
               LATEST = -1,
               EARLIEST = -2,
               MAX_TIMESTAMP = -3,
               EARLIEST_LOCAL = -4,
               LATEST_TIERED = -5,
               EARLIEST_PENDING = -6
};

static const char no_memory[] = "there is no memory for an answer";

static int check_epoch(int32_t current)
{
    return current > LEADER_EPOCH ? KAFKA_UNKNOWN_LEADER_EPOCH : KAFKA_NONE;
}

static int find_partition(struct topic *t, int32_t number, struct partition **out)
{
    *out = t && !topic_is_gone(t) ? topic_partition(t, number) : NULL;
    if (*out && partition_damage(*out))
        return KAFKA_KAFKA_STORAGE_ERROR;
    return *out ? KAFKA_NONE : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
}

static int find_topic(struct kafka_request *r, beck_bytes name, struct topic **out)
{
    *out = topics_find(request_kafka(r), name);
    if (!request_may(r, KAFKA_RESOURCE_TOPIC, KAFKA_OP_DESCRIBE, name))
        return KAFKA_TOPIC_AUTHORIZATION_FAILED;
    return *out ? KAFKA_NONE : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
}

/* ---- ListOffsets ---- */

static bool is_known(int64_t timestamp, int16_t version)
{
    static const int16_t since[] = {0, 0, 0, 7, 8, 9, 11};
    return timestamp >= 0 || (timestamp >= EARLIEST_PENDING && version >= since[-timestamp]);
}

/* An error code; offset -1: there is none. */
static int look_up(struct partition *p, int64_t timestamp, bool committed, int64_t *offset,
                   int64_t *found_ms)
{
    int64_t end = committed ? partition_stable(p) : partition_high(p);
    beck_status status = BECK_OK;
    switch (timestamp) {
    case LATEST:
        *offset = end;
        break;
    case EARLIEST:
    case EARLIEST_LOCAL:
        *offset = partition_first(p);
        break;
    case LATEST_TIERED:
    case EARLIEST_PENDING:
        break;
    case MAX_TIMESTAMP:
        status = partition_max_time(p, offset, found_ms, NULL);
        break;
    default:
        status = partition_find_time(p, timestamp, offset, found_ms, NULL);
        if (!status && *offset >= end)
            *offset = *found_ms = -1;
        break;
    }
    return kafka_error_of(status);
}

static bool put_old_style(struct kafka_request *r,
                          struct kafka_list_offsets_response_partition *out)
{
    if (request_version(r) > 0)
        return true;
    if (!kafka_array(request_arena(r), &out->old_style_offsets, 1))
        return false;
    out->old_style_offsets.at[0] = out->offset;
    out->old_style_offsets.count = out->offset >= 0;
    return true;
}

static bool put_partition(struct kafka_request *r, struct topic *t,
                          const struct kafka_list_offsets_request_partition *q, int code,
                          struct kafka_list_offsets_response_partition *out)
{
    const struct kafka_list_offsets_request *all = request_body(r);
    struct partition *p;
    kafka_list_offsets_response_partition_init(out);
    out->partition_index = q->partition_index;
    if (!code)
        code = find_partition(t, q->partition_index, &p);
    if (!code)
        code = check_epoch(q->current_leader_epoch);
    if (!code && !is_known(q->timestamp, request_version(r)))
        code = KAFKA_UNSUPPORTED_VERSION;
    if (!code)
        code = look_up(p, q->timestamp, all->isolation_level == READ_COMMITTED, &out->offset,
                       &out->timestamp);
    out->error_code = (int16_t)code;
    if (out->offset >= 0)
        out->leader_epoch = LEADER_EPOCH;
    return put_old_style(r, out);
}

/* How far it is. */
struct listing {
    struct kafka_list_offsets_response answer;
    size_t topic, partition; /* the next */
};

/* False: no memory. */
static bool begin_topic(struct kafka_request *r, struct listing *l)
{
    const struct kafka_list_offsets_request *q = request_body(r);
    struct kafka_list_offsets_response_topic *out = &l->answer.topics.at[l->topic];
    out->name = q->topics.at[l->topic].name;
    return kafka_array(request_arena(r), &out->partitions, q->topics.at[l->topic].partitions.count);
}

static void answer_offsets(struct kafka_request *r)
{
    const struct kafka_list_offsets_request *q = request_body(r);
    struct listing *l = request_state(r);
    bool good = true;
    for (; l->topic < q->topics.count && good; l->topic++, l->partition = 0) {
        const struct kafka_list_offsets_request_topic *from = &q->topics.at[l->topic];
        struct kafka_list_offsets_response_topic *out = &l->answer.topics.at[l->topic];
        struct topic *t;
        int code = find_topic(r, from->name, &t);
        if (!out->partitions.at)
            good = begin_topic(r, l);
        for (; l->partition < from->partitions.count && good; l->partition++) {
            if (request_gives_way(r)) {
                request_defer(r, answer_offsets);
                return;
            }
            good = put_partition(r, t, &from->partitions.at[l->partition], code,
                                 &out->partitions.at[l->partition]);
        }
    }
    if (good)
        request_answer(r, &l->answer);
    else
        request_fail(r, no_memory);
}

void handle_list_offsets(struct kafka_request *r)
{
    const struct kafka_list_offsets_request *q = request_body(r);
    struct listing *l = request_alloc(r, sizeof *l);
    bool searches = false;
    size_t count = q->topics.count;
    for (size_t i = 0; i < q->topics.count && !searches; i++) {
        count += q->topics.at[i].partitions.count;
        for (size_t j = 0; j < q->topics.at[i].partitions.count && !searches; j++) {
            int64_t timestamp = q->topics.at[i].partitions.at[j].timestamp;
            searches = timestamp >= 0 || timestamp == MAX_TIMESTAMP;
        }
    }
    if (l)
        kafka_list_offsets_response_init(&l->answer);
    if (!l || !kafka_array(request_arena(r), &l->answer.topics, q->topics.count)) {
        request_fail(r, no_memory);
        return;
    }
    request_set_state(r, l);
    if (searches || count > AT_ONCE_MAX)
        request_defer(r, answer_offsets);
    else
        answer_offsets(r);
}

/* ---- OffsetForLeaderEpoch: there has been one epoch only ---- */

static void put_end(struct topic *t,
                    const struct kafka_offset_for_leader_epoch_request_partition *q, int code,
                    struct kafka_offset_for_leader_epoch_response_partition *out)
{
    struct partition *p;
    kafka_offset_for_leader_epoch_response_partition_init(out);
    out->partition = q->partition;
    if (!code)
        code = find_partition(t, q->partition, &p);
    if (!code)
        code = check_epoch(q->current_leader_epoch);
    out->error_code = (int16_t)code;
    if (code || q->leader_epoch != LEADER_EPOCH)
        return;
    out->leader_epoch = LEADER_EPOCH;
    out->end_offset = partition_high(p);
}

void handle_offset_for_leader_epoch(struct kafka_request *r)
{
    const struct kafka_offset_for_leader_epoch_request *q = request_body(r);
    struct kafka_offset_for_leader_epoch_response a;
    kafka_offset_for_leader_epoch_response_init(&a);
    bool good = kafka_array(request_arena(r), &a.topics, q->topics.count);
    for (size_t i = 0; i < q->topics.count && good; i++) {
        const struct kafka_offset_for_leader_epoch_request_topic *from = &q->topics.at[i];
        struct topic *t;
        int code = find_topic(r, from->topic, &t);
        a.topics.at[i].topic = from->topic;
        good = kafka_array(request_arena(r), &a.topics.at[i].partitions, from->partitions.count);
        for (size_t j = 0; j < from->partitions.count && good; j++)
            put_end(t, &from->partitions.at[j], code, &a.topics.at[i].partitions.at[j]);
    }
    if (good)
        request_answer(r, &a);
    else
        request_fail(r, no_memory);
}
