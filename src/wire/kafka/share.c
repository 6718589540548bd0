/*
 * ShareGroupHeartbeat (76), ShareGroupDescribe (77), ShareFetch (78), ShareAcknowledge (79),
 * DescribeShareGroupOffsets (90), AlterShareGroupOffsets (91), DeleteShareGroupOffsets (92).
 *
 * All of them run on the pool: queues are made, deliveries are settled, batches are read. A fetch that
 * waits is no job and costs nothing; whatever wakes it makes it one again.
 */
#include "kafka/share.h"
#include "kafka/errors.h"
#include "wire/kafka/handlers.h"

#include <stdio.h>

#define NO_MEMORY "there is no memory for an answer"

static bool may_group(const struct kafka_request *r, enum kafka_operation operation,
                      beck_bytes group)
{
    return request_may(r, KAFKA_RESOURCE_GROUP, operation, group);
}

static bool may_topic(const struct kafka_request *r, enum kafka_operation operation,
                      beck_bytes topic)
{
    return request_may(r, KAFKA_RESOURCE_TOPIC, operation, topic);
}

/* ---- members ---- */

static int check_heartbeat(const struct kafka_request *r,
                           const struct kafka_share_group_heartbeat_request *q)
{
    if (!may_group(r, KAFKA_OP_READ, q->group_id))
        return KAFKA_GROUP_AUTHORIZATION_FAILED;
    for (size_t i = 0; i < q->subscribed_topic_names.count; i++)
        if (!may_topic(r, KAFKA_OP_DESCRIBE, q->subscribed_topic_names.at[i]))
            return KAFKA_TOPIC_AUTHORIZATION_FAILED;
    return KAFKA_NONE;
}

static void heartbeat(struct kafka_request *r)
{
    struct kafka_share_group_heartbeat_response a;
    char host[NET_ADDRESS_MAX + 1];
    snprintf(host, sizeof host, "/%s", request_peer(r)->address);
    struct share_client client = {request_client_id(r), beck_str(host)};
    kafka_share_group_heartbeat_response_init(&a);
    share_heartbeat(request_kafka(r), request_body(r), &client, request_arena(r), &a);
    request_answer(r, &a);
}

void handle_share_group_heartbeat(struct kafka_request *r)
{
    int code = check_heartbeat(r, request_body(r));
    if (!code) {
        request_defer(r, heartbeat);
        return;
    }
    struct kafka_share_group_heartbeat_response a;
    kafka_share_group_heartbeat_response_init(&a);
    a.error_code = (int16_t)code;
    request_answer(r, &a);
}

/* Members whose subscriptions the caller may not all see are not shown. */
static void check_described(const struct kafka_request *r,
                            struct kafka_share_group_describe_response_group *g)
{
    bool good = true;
    for (size_t i = 0; i < g->members.count; i++)
        for (size_t n = 0; n < g->members.at[i].subscribed_topic_names.count; n++)
            good &= may_topic(r, KAFKA_OP_DESCRIBE, g->members.at[i].subscribed_topic_names.at[n]);
    if (good)
        return;
    g->error_code = KAFKA_TOPIC_AUTHORIZATION_FAILED;
    g->error_message = beck_str("The group has members that subscribe to topics which the client "
                                "may not describe.");
    g->members.count = 0;
}

void handle_share_group_describe(struct kafka_request *r)
{
    const struct kafka_share_group_describe_request *q = request_body(r);
    struct kafka_share_group_describe_response a;
    kafka_share_group_describe_response_init(&a);
    bool good = kafka_array(request_arena(r), &a.groups, q->group_ids.count);
    for (size_t i = 0; i < q->group_ids.count && good; i++) {
        struct kafka_share_group_describe_response_group *g = &a.groups.at[i];
        kafka_share_group_describe_response_group_init(g);
        if (!may_group(r, KAFKA_OP_DESCRIBE, q->group_ids.at[i])) {
            g->group_id = q->group_ids.at[i];
            g->error_code = KAFKA_GROUP_AUTHORIZATION_FAILED;
            continue;
        }
        good = share_describe(request_kafka(r), q->group_ids.at[i], request_arena(r), g);
        if (q->include_authorized_operations)
            g->authorized_operations =
                request_operations(r, KAFKA_RESOURCE_GROUP, q->group_ids.at[i]);
        check_described(r, g);
    }
    if (good)
        request_answer(r, &a);
    else
        request_fail(r, NO_MEMORY);
}

/* ---- records ---- */

struct fetching {
    struct share_fetch fetch;
    struct share_sync sync;
    struct kafka_request *r;
    struct kafka_share_fetch_response answer;
};

static bool fetch_may(struct share_fetch *f, const struct topic *t)
{
    const struct fetching *g = (const struct fetching *)(const void *)f;
    return may_topic(g->r, KAFKA_OP_READ, t->name);
}

#define NOT_SYNCED "The acknowledgements were written down, but may not survive a loss of power."

static void fetch_synced(struct share_sync *s, bool good)
{
    struct fetching *f = (struct fetching *)(void *)((char *)s - offsetof(struct fetching, sync));
    if (!good) {
        f->answer.error_code = KAFKA_KAFKA_STORAGE_ERROR;
        f->answer.error_message = beck_str(NOT_SYNCED);
    }
    request_answer(f->r, &f->answer);
}

static void run_fetch(struct kafka_request *r)
{
    struct fetching *f = request_state(r);
    if (!share_fetch_run(&f->fetch))
        return;
    f->sync.done = fetch_synced;
    if (f->fetch.settled)
        share_sync(request_kafka(r), &f->sync);
    else
        request_answer(r, &f->answer);
}

static void fetch_again(struct share_fetch *f)
{
    request_defer(((struct fetching *)(void *)f)->r, run_fetch);
}

static void cancel_fetch(struct kafka_request *r)
{
    struct fetching *f = request_state(r);
    share_fetch_cancel(&f->fetch);
}

static void hurry_fetch(struct kafka_request *r)
{
    struct fetching *f = request_state(r);
    share_fetch_hurry(&f->fetch);
}

void handle_share_fetch(struct kafka_request *r)
{
    const struct kafka_share_fetch_request *q = request_body(r);
    struct fetching *f = request_alloc(r, sizeof *f);
    if (!f) {
        request_fail(r, NO_MEMORY);
        return;
    }
    kafka_share_fetch_response_init(&f->answer);
    if (!may_group(r, KAFKA_OP_READ, q->group_id)) {
        f->answer.error_code = KAFKA_GROUP_AUTHORIZATION_FAILED;
        request_answer(r, &f->answer);
        return;
    }
    f->r = r;
    request_at_end(r, share_disconnected);
    f->fetch = (struct share_fetch){.k = request_kafka(r),
                                    .request = q,
                                    .connection = request_connection(r),
                                    .version = request_version(r),
                                    .arena = request_arena(r),
                                    .response = &f->answer,
                                    .may = fetch_may,
                                    .again = fetch_again};
    request_set_state(r, f);
    request_on_close(r, cancel_fetch);
    request_on_short(r, hurry_fetch);
    request_defer(r, run_fetch);
}

static bool acknowledge_may(void *ctx, const struct topic *t)
{
    return may_topic(ctx, KAFKA_OP_READ, t->name);
}

struct acknowledging {
    struct share_sync sync;
    struct kafka_request *r;
    struct kafka_share_acknowledge_response answer;
};

static void acknowledge_synced(struct share_sync *s, bool good)
{
    struct acknowledging *a = (struct acknowledging *)(void *)s; /* its first member */
    if (!good) {
        a->answer.error_code = KAFKA_KAFKA_STORAGE_ERROR;
        a->answer.error_message = beck_str(NOT_SYNCED);
    }
    request_answer(a->r, &a->answer);
}

static void acknowledge(struct kafka_request *r)
{
    bool settled = false;
    struct acknowledging *a = request_alloc(r, sizeof *a);
    if (!a) {
        request_fail(r, NO_MEMORY);
        return;
    }
    a->r = r;
    a->sync.done = acknowledge_synced;
    kafka_share_acknowledge_response_init(&a->answer);
    share_acknowledge(request_kafka(r), request_body(r), acknowledge_may, r, request_arena(r),
                      &a->answer, &settled);
    if (settled)
        share_sync(request_kafka(r), &a->sync);
    else
        request_answer(r, &a->answer);
}

void handle_share_acknowledge(struct kafka_request *r)
{
    const struct kafka_share_acknowledge_request *q = request_body(r);
    if (may_group(r, KAFKA_OP_READ, q->group_id)) {
        request_defer(r, acknowledge);
        return;
    }
    struct kafka_share_acknowledge_response a;
    kafka_share_acknowledge_response_init(&a);
    a.error_code = KAFKA_GROUP_AUTHORIZATION_FAILED;
    request_answer(r, &a);
}

/* ---- positions ---- */

static void put_position(const struct share_position *p,
                         struct kafka_describe_share_group_offsets_response_partition *out)
{
    kafka_describe_share_group_offsets_response_partition_init(out);
    out->partition_index = p->partition;
    out->start_offset = p->error ? -1 : p->offset;
    out->lag = p->error ? -1 : p->lag;
    out->error_code = (int16_t)p->error;
}

/* names: the partitions that are asked for; NULL: all. */
static bool describe_topic(struct kafka_request *r, beck_bytes group, beck_bytes name,
                           const struct kafka_int32s *partitions,
                           struct kafka_describe_share_group_offsets_response_topic *out)
{
    struct topic *t = topics_find(request_kafka(r), name);
    size_t count = partitions ? partitions->count : t ? topic_partitions(t) : 0;
    int code = !may_topic(r, KAFKA_OP_DESCRIBE, name) ? KAFKA_TOPIC_AUTHORIZATION_FAILED
               : !t                                   ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION
                                                      : KAFKA_NONE;
    struct share_position *list =
        kafka_alloc_many(request_arena(r), count, sizeof(struct share_position));
    kafka_describe_share_group_offsets_response_topic_init(out);
    out->topic_name = name;
    if (!list || !kafka_array(request_arena(r), &out->partitions, count))
        return false;
    for (size_t i = 0; i < count; i++)
        list[i] = (struct share_position){.partition = partitions ? partitions->at[i] : (int32_t)i,
                                          .error = code};
    if (!code) {
        memcpy(out->topic_id, t->id, TOPIC_ID);
        share_positions(request_kafka(r), group, t, list, count);
    }
    for (size_t i = 0; i < count; i++)
        put_position(&list[i], &out->partitions.at[i]);
    return true;
}

static bool describe_group(struct kafka_request *r,
                           const struct kafka_describe_share_group_offsets_request_group *q,
                           struct kafka_describe_share_group_offsets_response_group *out)
{
    struct kafka_arena *arena = request_arena(r);
    kafka_describe_share_group_offsets_response_group_init(out);
    out->group_id = q->group_id;
    if (!may_group(r, KAFKA_OP_DESCRIBE, q->group_id)) {
        out->error_code = KAFKA_GROUP_AUTHORIZATION_FAILED;
        return true;
    }
    if (!share_exists(request_kafka(r), q->group_id)) {
        out->error_code = KAFKA_GROUP_ID_NOT_FOUND;
        out->error_message = beck_str("There is no such share group.");
        return true;
    }
    if (!q->topics.is_null) {
        bool good = kafka_array(arena, &out->topics, q->topics.count);
        for (size_t i = 0; i < q->topics.count && good; i++)
            good = describe_topic(r, q->group_id, q->topics.at[i].topic_name,
                                  &q->topics.at[i].partitions, &out->topics.at[i]);
        return good;
    }
    struct topic **topics;
    size_t count, kept = 0;
    bool good = share_topics(request_kafka(r), q->group_id, arena, &topics, &count) &&
                kafka_array(arena, &out->topics, count);
    for (size_t i = 0; i < count && good; i++)
        if (may_topic(r, KAFKA_OP_DESCRIBE, topics[i]->name))
            good = describe_topic(r, q->group_id, topics[i]->name, NULL, &out->topics.at[kept++]);
    out->topics.count = good ? kept : 0;
    return good;
}

static void describe_offsets(struct kafka_request *r)
{
    const struct kafka_describe_share_group_offsets_request *q = request_body(r);
    struct kafka_describe_share_group_offsets_response a;
    kafka_describe_share_group_offsets_response_init(&a);
    bool good = kafka_array(request_arena(r), &a.groups, q->groups.count);
    for (size_t i = 0; i < q->groups.count && good; i++)
        good = describe_group(r, &q->groups.at[i], &a.groups.at[i]);
    if (good)
        request_answer(r, &a);
    else
        request_fail(r, NO_MEMORY);
}

void handle_describe_share_group_offsets(struct kafka_request *r)
{
    request_defer(r, describe_offsets);
}

/* *whole: an error of the group. False: no memory. */
static bool alter_topic(struct kafka_request *r, beck_bytes group,
                        const struct kafka_alter_share_group_offsets_request_topic *q,
                        struct kafka_alter_share_group_offsets_response_topic *out, int *whole)
{
    struct topic *t = topics_find(request_kafka(r), q->topic_name);
    size_t count = q->partitions.count;
    int code = !may_topic(r, KAFKA_OP_READ, q->topic_name) ? KAFKA_TOPIC_AUTHORIZATION_FAILED
               : !t                                        ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION
                                                           : KAFKA_NONE;
    struct share_position *list =
        kafka_alloc_many(request_arena(r), count, sizeof(struct share_position));
    kafka_alter_share_group_offsets_response_topic_init(out);
    out->topic_name = q->topic_name;
    if (!list || !kafka_array(request_arena(r), &out->partitions, count))
        return false;
    for (size_t i = 0; i < count; i++)
        list[i] = (struct share_position){.partition = q->partitions.at[i].partition_index,
                                          .offset = q->partitions.at[i].start_offset,
                                          .error = code};
    if (!code) {
        memcpy(out->topic_id, t->id, TOPIC_ID);
        code = share_move(request_kafka(r), group, t, list, count);
        if (code == KAFKA_NON_EMPTY_GROUP || code == KAFKA_GROUP_ID_NOT_FOUND)
            *whole = code;
    }
    for (size_t i = 0; i < count; i++) {
        kafka_alter_share_group_offsets_response_partition_init(&out->partitions.at[i]);
        out->partitions.at[i].partition_index = list[i].partition;
        out->partitions.at[i].error_code = (int16_t)(code ? code : list[i].error);
    }
    return true;
}

static const char *text_of(int code)
{
    return code == KAFKA_NON_EMPTY_GROUP      ? "The share group has members."
           : code == KAFKA_GROUP_ID_NOT_FOUND ? "There is no such share group."
                                              : kafka_error_name(code);
}

static void alter_offsets(struct kafka_request *r)
{
    const struct kafka_alter_share_group_offsets_request *q = request_body(r);
    struct kafka_alter_share_group_offsets_response a;
    kafka_alter_share_group_offsets_response_init(&a);
    int code =
        may_group(r, KAFKA_OP_READ, q->group_id) ? KAFKA_NONE : KAFKA_GROUP_AUTHORIZATION_FAILED;
    bool good = code || kafka_array(request_arena(r), &a.responses, q->topics.count);
    for (size_t i = 0; i < q->topics.count && good && !code; i++)
        good = alter_topic(r, q->group_id, &q->topics.at[i], &a.responses.at[i], &code);
    if (!good) {
        request_fail(r, NO_MEMORY);
        return;
    }
    if (code) {
        a.responses.count = 0;
        a.error_code = (int16_t)code;
        a.error_message = beck_str(text_of(code));
    }
    request_answer(r, &a);
}

void handle_alter_share_group_offsets(struct kafka_request *r)
{
    request_defer(r, alter_offsets);
}

static void delete_offsets(struct kafka_request *r)
{
    const struct kafka_delete_share_group_offsets_request *q = request_body(r);
    struct kafka_delete_share_group_offsets_response a;
    kafka_delete_share_group_offsets_response_init(&a);
    int code =
        may_group(r, KAFKA_OP_DELETE, q->group_id) ? KAFKA_NONE : KAFKA_GROUP_AUTHORIZATION_FAILED;
    if (!code && !kafka_array(request_arena(r), &a.responses, q->topics.count)) {
        request_fail(r, NO_MEMORY);
        return;
    }
    for (size_t i = 0; i < q->topics.count && !code; i++) {
        struct kafka_delete_share_group_offsets_response_topic *out = &a.responses.at[i];
        beck_bytes name = q->topics.at[i].topic_name;
        struct topic *t = topics_find(request_kafka(r), name);
        kafka_delete_share_group_offsets_response_topic_init(out);
        out->topic_name = name;
        int own = !may_topic(r, KAFKA_OP_READ, name) ? KAFKA_TOPIC_AUTHORIZATION_FAILED
                  : !t                               ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION
                       : share_forget(request_kafka(r), q->group_id, t);
        if (own == KAFKA_NON_EMPTY_GROUP || own == KAFKA_GROUP_ID_NOT_FOUND)
            code = own;
        if (t)
            memcpy(out->topic_id, t->id, TOPIC_ID);
        out->error_code = (int16_t)own;
    }
    if (code) {
        a.responses.count = 0;
        a.error_code = (int16_t)code;
        a.error_message = beck_str(text_of(code));
    }
    request_answer(r, &a);
}

void handle_delete_share_group_offsets(struct kafka_request *r)
{
    request_defer(r, delete_offsets);
}
