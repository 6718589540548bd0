/* OffsetCommit (8), OffsetFetch (9), TxnOffsetCommit (28), OffsetDelete (47). */
#include "kafka/offsets.h"

#include "wire/kafka/groups.h"
#include "wire/kafka/handlers.h"

#include "kafka/topics.h"

#define NO_MEMORY "there is no memory for an answer"

static bool may_group(const struct kafka_request *r, enum kafka_operation operation, beck_bytes id)
{
    return request_may(r, KAFKA_RESOURCE_GROUP, operation, id);
}

static bool may_topic(const struct kafka_request *r, enum kafka_operation operation,
                      beck_bytes name)
{
    return request_may(r, KAFKA_RESOURCE_TOPIC, operation, name);
}

/* ---- OffsetCommit ---- */

/* A request of which only what the caller may commit is asked. `place` says where its topics stand in
 * the answer. */
struct committing {
    struct kafka_request *r;
    const struct kafka_offset_commit_request *q;
    struct kafka_offset_commit_request asked;
    int *errors; /* of each topic of the request; 0: it is asked */
};

static bool put_refused(struct kafka_request *r,
                        const struct kafka_offset_commit_request_topic *from, int error,
                        struct kafka_offset_commit_response_topic *to)
{
    to->name = from->name;
    memcpy(to->topic_id, from->topic_id, sizeof to->topic_id);
    if (!kafka_array(request_arena(r), &to->partitions, from->partitions.count))
        return false;
    for (size_t p = 0; p < from->partitions.count; p++) {
        to->partitions.at[p].partition_index = from->partitions.at[p].partition_index;
        to->partitions.at[p].error_code = (int16_t)error;
    }
    return true;
}

static void committed(void *ctx, const void *body)
{
    struct committing *c = ctx;
    const struct kafka_offset_commit_response *from = body;
    struct kafka_offset_commit_response a;
    size_t n = 0;
    kafka_offset_commit_response_init(&a);
    bool good = from && kafka_array(request_arena(c->r), &a.topics, c->q->topics.count);
    for (size_t i = 0; good && i < a.topics.count; i++) {
        if (c->errors[i])
            good = put_refused(c->r, &c->q->topics.at[i], c->errors[i], &a.topics.at[i]);
        else
            a.topics.at[i] = from->topics.at[n++];
    }
    if (good)
        request_answer(c->r, &a);
    else
        request_fail(c->r, NO_MEMORY);
}

static int check_commit(const struct kafka_request *r,
                        const struct kafka_offset_commit_request_topic *t)
{
    beck_bytes name = t->name;
    if (request_version(r) >= 10) {
        const struct topic *known = topics_find_id(request_kafka(r), t->topic_id);
        if (!known)
            return KAFKA_UNKNOWN_TOPIC_ID;
        name = known->name;
    }
    return may_topic(r, KAFKA_OP_READ, name) ? KAFKA_NONE : KAFKA_TOPIC_AUTHORIZATION_FAILED;
}

void handle_offset_commit(struct kafka_request *r)
{
    const struct kafka_offset_commit_request *q = request_body(r);
    size_t count = q->topics.count, n = 0;
    struct committing *c = request_alloc(r, sizeof *c);
    if (c)
        *c = (struct committing){.r = r, .q = q, .asked = *q};
    if (!c || !kafka_array(request_arena(r), &c->asked.topics, count) ||
        !(c->errors = kafka_alloc_many(request_arena(r), count, sizeof *c->errors))) {
        request_fail(r, NO_MEMORY);
        return;
    }
    bool allowed = may_group(r, KAFKA_OP_READ, q->group_id);
    for (size_t i = 0; i < count; i++) {
        c->errors[i] =
            allowed ? check_commit(r, &q->topics.at[i]) : KAFKA_GROUP_AUTHORIZATION_FAILED;
        if (!c->errors[i])
            c->asked.topics.at[n++] = q->topics.at[i];
    }
    c->asked.topics.count = n;
    if (n == 0) {
        committed(c, &(struct kafka_offset_commit_response){0});
        return;
    }
    offsets_commit(kafka_groups(request_kafka(r)), &c->asked, request_version(r), committed, c);
}

/* ---- OffsetFetch ---- */

typedef struct kafka_offset_fetch_response_group fetched_group;
typedef struct kafka_offset_fetch_response_group_topic fetched_topic;

/* What the caller may not see: said so where it was asked for, left out where all was. */
static void hide(const struct kafka_request *r, bool all, fetched_group *g)
{
    size_t n = 0;
    for (size_t i = 0; i < g->topics.count; i++) {
        fetched_topic *t = &g->topics.at[i];
        bool known = t->name.len > 0;
        bool seen = !known || may_topic(r, KAFKA_OP_DESCRIBE, t->name);
        for (size_t p = 0; !seen && p < t->partitions.count; p++)
            t->partitions.at[p] = (struct kafka_offset_fetch_response_group_topic_partition){
                .partition_index = t->partitions.at[p].partition_index,
                .committed_offset = -1,
                .committed_leader_epoch = -1,
                .metadata = beck_str(""),
                .error_code = KAFKA_TOPIC_AUTHORIZATION_FAILED};
        if (seen || !all)
            g->topics.at[n++] = *t;
    }
    g->topics.count = n;
}

static bool fetch_group(struct kafka_request *r, const struct kafka_offset_fetch_request_group *q,
                        bool stable, fetched_group *out)
{
    kafka_offset_fetch_response_group_init(out);
    out->group_id = q->group_id;
    if (!may_group(r, KAFKA_OP_DESCRIBE, q->group_id)) {
        out->error_code = KAFKA_GROUP_AUTHORIZATION_FAILED;
        return true;
    }
    if (offsets_fetch(kafka_groups(request_kafka(r)), q, request_version(r), stable,
                      request_arena(r), out))
        return false;
    hide(r, q->topics.is_null, out);
    return true;
}

/* Versions before 8: one group, and its topics in the answer itself. */
static bool ask_one(struct kafka_request *r, const struct kafka_offset_fetch_request *q,
                    struct kafka_offset_fetch_request_group *out)
{
    kafka_offset_fetch_request_group_init(out);
    out->group_id = q->group_id;
    out->topics.is_null = q->topics.is_null;
    if (q->topics.is_null)
        return true;
    if (!kafka_array(request_arena(r), &out->topics, q->topics.count))
        return false;
    for (size_t i = 0; i < q->topics.count; i++) {
        out->topics.at[i].name = q->topics.at[i].name;
        out->topics.at[i].partition_indexes = q->topics.at[i].partition_indexes;
    }
    return true;
}

static bool answer_one(struct kafka_request *r, const fetched_group *from,
                       struct kafka_offset_fetch_response *a)
{
    a->error_code = from->error_code;
    if (!kafka_array(request_arena(r), &a->topics, from->topics.count))
        return false;
    for (size_t i = 0; i < from->topics.count; i++) {
        struct kafka_offset_fetch_response_topic *to = &a->topics.at[i];
        const fetched_topic *t = &from->topics.at[i];
        to->name = t->name;
        if (!kafka_array(request_arena(r), &to->partitions, t->partitions.count))
            return false;
        for (size_t p = 0; p < t->partitions.count; p++)
            to->partitions.at[p] = (struct kafka_offset_fetch_response_partition){
                .partition_index = t->partitions.at[p].partition_index,
                .committed_offset = t->partitions.at[p].committed_offset,
                .committed_leader_epoch = t->partitions.at[p].committed_leader_epoch,
                .metadata = t->partitions.at[p].metadata,
                .error_code = t->partitions.at[p].error_code};
    }
    return true;
}

/* Version 1 has no error of the whole. */
static bool refuse_each(struct kafka_request *r, const struct kafka_offset_fetch_request *q,
                        fetched_group *g)
{
    if (!kafka_array(request_arena(r), &g->topics, q->topics.count))
        return false;
    for (size_t i = 0; i < q->topics.count; i++) {
        g->topics.at[i].name = q->topics.at[i].name;
        size_t count = q->topics.at[i].partition_indexes.count;
        if (!kafka_array(request_arena(r), &g->topics.at[i].partitions, count))
            return false;
        for (size_t p = 0; p < count; p++)
            g->topics.at[i].partitions.at[p] =
                (struct kafka_offset_fetch_response_group_topic_partition){
                    .partition_index = q->topics.at[i].partition_indexes.at[p],
                    .committed_offset = -1,
                    .metadata = beck_str(""),
                    .error_code = g->error_code};
    }
    return true;
}

void handle_offset_fetch(struct kafka_request *r)
{
    const struct kafka_offset_fetch_request *q = request_body(r);
    struct kafka_offset_fetch_response a;
    struct kafka_offset_fetch_request_group one;
    fetched_group group;
    bool good;
    kafka_offset_fetch_response_init(&a);
    if (request_version(r) < 8) {
        good = ask_one(r, q, &one) && fetch_group(r, &one, q->require_stable, &group);
        if (good && group.error_code && request_version(r) < 2)
            good = refuse_each(r, q, &group);
        good = good && answer_one(r, &group, &a);
    } else {
        good = kafka_array(request_arena(r), &a.groups, q->groups.count);
        for (size_t i = 0; good && i < q->groups.count; i++)
            good = fetch_group(r, &q->groups.at[i], q->require_stable, &a.groups.at[i]);
    }
    if (good)
        request_answer(r, &a);
    else
        request_fail(r, NO_MEMORY);
}

/* ---- TxnOffsetCommit ---- */

static void refuse_pending(struct kafka_request *r, int error)
{
    const struct kafka_txn_offset_commit_request *q = request_body(r);
    struct kafka_txn_offset_commit_response a;
    kafka_txn_offset_commit_response_init(&a);
    bool good = kafka_array(request_arena(r), &a.topics, q->topics.count);
    for (size_t i = 0; good && i < q->topics.count; i++) {
        size_t count = q->topics.at[i].partitions.count;
        a.topics.at[i].name = q->topics.at[i].name;
        good = kafka_array(request_arena(r), &a.topics.at[i].partitions, count);
        for (size_t p = 0; good && p < count; p++) {
            a.topics.at[i].partitions.at[p].partition_index =
                q->topics.at[i].partitions.at[p].partition_index;
            a.topics.at[i].partitions.at[p].error_code = (int16_t)error;
        }
    }
    if (good)
        request_answer(r, &a);
    else
        request_fail(r, NO_MEMORY);
}

static int check_pending(struct kafka_request *r, const struct kafka_txn_offset_commit_request *q)
{
    if (!request_may(r, KAFKA_RESOURCE_TRANSACTIONAL_ID, KAFKA_OP_WRITE, q->transactional_id))
        return KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    if (!may_group(r, KAFKA_OP_READ, q->group_id))
        return KAFKA_GROUP_AUTHORIZATION_FAILED;
    for (size_t i = 0; i < q->topics.count; i++)
        if (!may_topic(r, KAFKA_OP_READ, q->topics.at[i].name))
            return KAFKA_TOPIC_AUTHORIZATION_FAILED;
    return KAFKA_NONE;
}

void handle_txn_offset_commit(struct kafka_request *r)
{
    const struct kafka_txn_offset_commit_request *q = request_body(r);
    int error = check_pending(r, q);
    if (error)
        refuse_pending(r, error);
    else
        offsets_commit_pending(kafka_groups(request_kafka(r)), q, request_version(r), answer_later,
                               r);
}

/* ---- OffsetDelete ---- */

void handle_offset_delete(struct kafka_request *r)
{
    const struct kafka_offset_delete_request *q = request_body(r);
    struct kafka_offset_delete_response a;
    bool allowed = may_group(r, KAFKA_OP_DELETE, q->group_id);
    bool topics = true;
    for (size_t i = 0; i < q->topics.count; i++)
        topics = topics && may_topic(r, KAFKA_OP_READ, q->topics.at[i].name);
    if (allowed && topics) {
        offsets_delete(kafka_groups(request_kafka(r)), q, answer_later, r);
        return;
    }
    kafka_offset_delete_response_init(&a);
    a.error_code = allowed ? KAFKA_TOPIC_AUTHORIZATION_FAILED : KAFKA_GROUP_AUTHORIZATION_FAILED;
    request_answer(r, &a);
}
