/*
 * AddPartitionsToTxn (24), AddOffsetsToTxn (25), EndTxn (26), DescribeTransactions (65) and
 * ListTransactions (66). What changes a transaction runs on the pool.
 */
#include "kafka/message/transactions.h"

#include "base/clock.h"
#include "broker/regex.h"
#include "bus/own_bus.h"
#include "kafka/topics.h"
#include "kafka/transactions.h"
#include "wire/kafka/handlers.h"
#include "wire/kafka/topic_names.h"

/* Producers that are older than PRODUCER_FENCED know another code. */
static int16_t code(int error, bool fenced_known)
{
    if (error == KAFKA_PRODUCER_FENCED && !fenced_known)
        return KAFKA_INVALID_PRODUCER_EPOCH;
    return (int16_t)error;
}

static bool may_write(const struct kafka_request *r, beck_bytes id)
{
    return request_may(r, KAFKA_RESOURCE_TRANSACTIONAL_ID, KAFKA_OP_WRITE, id);
}

/* ---- AddPartitionsToTxn ---- */

#define ADD_FENCED 2 /* versions */
#define ADD_MANY 4

struct adding {
    struct kafka_request *r;
    struct transaction_producer producer;
    bool verify_only;
    const struct kafka_add_partitions_to_txn_request_topic *topics;
    size_t topic_count;
    struct kafka_add_partitions_to_txn_response_topic *out; /* as many */
};

static int judge_topic(const struct adding *a, beck_bytes name, int32_t number)
{
    struct topic *t = topics_find(request_kafka(a->r), name);
    if (!a->verify_only &&
        (!request_may(a->r, KAFKA_RESOURCE_TOPIC, KAFKA_OP_WRITE, name) || (t && t->internal)))
        return KAFKA_TOPIC_AUTHORIZATION_FAILED;
    return t && topic_partition(t, number) ? KAFKA_NONE : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
}

/* Makes the answer's lists; the partitions that may be added into `list`. False: no memory. */
static bool judge_topics(struct adding *a, struct transaction_partition *list, size_t *refused)
{
    size_t n = 0;
    *refused = 0;
    for (size_t i = 0; i < a->topic_count; i++) {
        const struct kafka_add_partitions_to_txn_request_topic *topic = &a->topics[i];
        a->out[i].name = topic->name;
        if (!kafka_array(request_arena(a->r), &a->out[i].results_by_partition,
                         topic->partitions.count))
            return false;
        for (size_t k = 0; k < topic->partitions.count; k++) {
            int32_t number = topic->partitions.at[k];
            int error = judge_topic(a, topic->name, number);
            a->out[i].results_by_partition.at[k].partition_index = number;
            a->out[i].results_by_partition.at[k].partition_error_code = (int16_t)error;
            *refused += error != KAFKA_NONE;
            list[n++] = (struct transaction_partition){topic->name, number};
        }
    }
    return true;
}

/* Where nothing is wrong with a partition itself. */
static void set_all(struct adding *a, int16_t error)
{
    for (size_t i = 0; i < a->topic_count; i++)
        for (size_t k = 0; k < a->out[i].results_by_partition.count; k++)
            if (!a->out[i].results_by_partition.at[k].partition_error_code)
                a->out[i].results_by_partition.at[k].partition_error_code = error;
}

/* One transaction. False: no memory. */
static bool add(struct adding *a)
{
    size_t count = 0, refused;
    for (size_t i = 0; i < a->topic_count; i++)
        count += a->topics[i].partitions.count;
    struct transaction_partition *list = kafka_alloc_many(request_arena(a->r), count, sizeof *list);
    if (!list || !judge_topics(a, list, &refused))
        return false;
    int error = KAFKA_NONE;
    if (!may_write(a->r, a->producer.id))
        error = KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    else if (refused)
        error = KAFKA_OPERATION_NOT_ATTEMPTED;
    else if (a->verify_only)
        error = transactions_verify(request_kafka(a->r), &a->producer, list, count);
    else
        error = transactions_add(request_kafka(a->r), &a->producer, list, count);
    set_all(a, code(error, request_version(a->r) >= ADD_FENCED));
    return true;
}

static bool add_one(struct kafka_request *r, struct kafka_add_partitions_to_txn_response *out)
{
    const struct kafka_add_partitions_to_txn_request *q = request_body(r);
    struct adding a = {.r = r,
                       .producer = {q->v3_and_below_transactional_id, q->v3_and_below_producer_id,
                                    q->v3_and_below_producer_epoch, request_gone(r)},
                       .topics = q->v3_and_below_topics.at,
                       .topic_count = q->v3_and_below_topics.count};
    if (!kafka_array(request_arena(r), &out->results_by_topic_v3_and_below, a.topic_count))
        return false;
    a.out = out->results_by_topic_v3_and_below.at;
    return add(&a);
}

static bool add_many(struct kafka_request *r, struct kafka_add_partitions_to_txn_response *out)
{
    const struct kafka_add_partitions_to_txn_request *q = request_body(r);
    if (!kafka_array(request_arena(r), &out->results_by_transaction, q->transactions.count))
        return false;
    for (size_t i = 0; i < q->transactions.count; i++) {
        const struct kafka_add_partitions_to_txn_request_transaction *t = &q->transactions.at[i];
        struct kafka_add_partitions_to_txn_response_transaction *o =
            &out->results_by_transaction.at[i];
        struct adding a = {
            .r = r,
            .producer = {t->transactional_id, t->producer_id, t->producer_epoch, request_gone(r)},
            .verify_only = t->verify_only,
            .topics = t->topics.at,
            .topic_count = t->topics.count};
        o->transactional_id = t->transactional_id;
        if (!kafka_array(request_arena(r), &o->topic_results, a.topic_count))
            return false;
        a.out = o->topic_results.at;
        if (!add(&a))
            return false;
    }
    return true;
}

static void add_partitions(struct kafka_request *r)
{
    struct kafka_add_partitions_to_txn_response out;
    kafka_add_partitions_to_txn_response_init(&out);
    bool good = request_version(r) >= ADD_MANY ? add_many(r, &out) : add_one(r, &out);
    if (good)
        request_answer(r, &out);
    else
        request_fail(r, "memory is short");
}

void handle_add_partitions_to_txn(struct kafka_request *r)
{
    request_defer(r, add_partitions);
}

/* ---- AddOffsetsToTxn ---- */

#define ADD_OFFSETS_FENCED 2

static void add_offsets(struct kafka_request *r)
{
    const struct kafka_add_offsets_to_txn_request *q = request_body(r);
    struct kafka_add_offsets_to_txn_response out;
    struct transaction_producer producer = {q->transactional_id, q->producer_id, q->producer_epoch,
                                            request_gone(r)};
    struct transaction_partition offsets = {beck_str(OWN_CONSUMER_OFFSETS), 0};
    int error;
    kafka_add_offsets_to_txn_response_init(&out);
    if (!may_write(r, q->transactional_id))
        error = KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    else if (!request_may(r, KAFKA_RESOURCE_GROUP, KAFKA_OP_READ, q->group_id))
        error = KAFKA_GROUP_AUTHORIZATION_FAILED;
    else
        error = transactions_add(request_kafka(r), &producer, &offsets, 1);
    out.error_code = code(error, request_version(r) >= ADD_OFFSETS_FENCED);
    request_answer(r, &out);
}

void handle_add_offsets_to_txn(struct kafka_request *r)
{
    request_defer(r, add_offsets);
}

/* ---- EndTxn ---- */

#define END_FENCED 2
#define END_EPOCH 5 /* version 2 of transactions */

static void end(struct kafka_request *r)
{
    const struct kafka_end_txn_request *q = request_body(r);
    struct kafka_end_txn_response out;
    struct transaction_producer producer = {q->transactional_id, q->producer_id, q->producer_epoch,
                                            request_gone(r)};
    bool version_2 = request_version(r) >= END_EPOCH;
    kafka_end_txn_response_init(&out);
    int error = may_write(r, q->transactional_id)
                    ? transactions_end(request_kafka(r), &producer, q->committed, version_2)
                    : KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    out.error_code = code(error, request_version(r) >= END_FENCED);
    if (!error && version_2) {
        out.producer_id = producer.producer_id;
        out.producer_epoch = producer.epoch;
    }
    request_answer(r, &out);
}

void handle_end_txn(struct kafka_request *r)
{
    request_defer(r, end);
}

/* ---- DescribeTransactions ---- */

struct describing {
    struct kafka_request *r;
    struct kafka_describe_transactions_response_transaction *out;
    bool failed;
};

/* Partitions by topic; those whose topic the caller may not see are left out. */
static bool describe_topics(struct kafka_request *r, const struct transaction_info *info,
                            struct kafka_describe_transactions_response_transaction *out)
{
    struct kafka_arena *arena = request_arena(r);
    if (!kafka_array(arena, &out->topics, info->partition_count))
        return false;
    out->topics.count = 0;
    for (size_t i = 0; i < info->partition_count; i++) {
        const struct transaction_partition *p = &info->partitions[i];
        struct kafka_describe_transactions_response_topic *topic = NULL;
        if (!request_may(r, KAFKA_RESOURCE_TOPIC, KAFKA_OP_DESCRIBE, p->topic))
            continue;
        for (size_t n = 0; n < out->topics.count && !topic; n++)
            if (bytes_equal(out->topics.at[n].topic, p->topic))
                topic = &out->topics.at[n];
        if (!topic) {
            topic = &out->topics.at[out->topics.count++];
            topic->topic = kafka_copy(arena, p->topic);
            if (!topic->topic.data ||
                !kafka_array(arena, &topic->partitions, info->partition_count - i))
                return false;
            topic->partitions.count = 0;
        }
        topic->partitions.at[topic->partitions.count++] = p->number;
    }
    return true;
}

static void describe_one(void *ctx, const struct transaction_info *info)
{
    struct describing *d = ctx;
    d->out->transaction_state = beck_str(transaction_state_name(info->state));
    d->out->transaction_timeout_ms = info->timeout_ms;
    d->out->transaction_start_time_ms = info->started_ms;
    d->out->producer_id = info->producer_id;
    d->out->producer_epoch = info->epoch;
    d->failed |= !describe_topics(d->r, info, d->out);
}

void handle_describe_transactions(struct kafka_request *r)
{
    const struct kafka_describe_transactions_request *q = request_body(r);
    struct kafka_describe_transactions_response out;
    struct describing d = {.r = r};
    kafka_describe_transactions_response_init(&out);
    if (!kafka_array(request_arena(r), &out.transaction_states, q->transactional_ids.count)) {
        request_fail(r, "memory is short");
        return;
    }
    for (size_t i = 0; i < q->transactional_ids.count; i++) {
        beck_bytes id = q->transactional_ids.at[i];
        d.out = &out.transaction_states.at[i];
        d.out->transactional_id = id;
        d.out->transaction_state = beck_str("");
        if (!request_may(r, KAFKA_RESOURCE_TRANSACTIONAL_ID, KAFKA_OP_DESCRIBE, id))
            d.out->error_code = KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
        else if (!transactions_find(request_kafka(r), id, describe_one, &d))
            d.out->error_code = KAFKA_TRANSACTIONAL_ID_NOT_FOUND;
    }
    if (d.failed)
        request_fail(r, "memory is short");
    else
        request_answer(r, &out);
}

/* ---- ListTransactions ---- */

struct listing {
    struct kafka_request *r;
    const struct kafka_list_transactions_request *q;
    const struct regex *pattern; /* NULL: none */
    int64_t now_ms;
    struct kafka_list_transactions_response_transaction *at;
    size_t count, cap;
    bool failed;
};

static bool in_states(const struct kafka_strings *states, enum transaction_state state)
{
    for (size_t i = 0; i < states->count; i++)
        if (bytes_equal_text(states->at[i], transaction_state_name(state)))
            return true;
    return states->count == 0;
}

static bool in_ids(const struct kafka_int64s *ids, int64_t id)
{
    for (size_t i = 0; i < ids->count; i++)
        if (ids->at[i] == id)
            return true;
    return ids->count == 0;
}

static void list_one(void *ctx, const struct transaction_info *info)
{
    struct listing *l = ctx;
    if (!in_states(&l->q->state_filters, info->state) ||
        !in_ids(&l->q->producer_id_filters, info->producer_id) ||
        (l->pattern && !regex_find(l->pattern, info->id)) ||
        (l->q->duration_filter >= 0 &&
         (info->started_ms < 0 || l->now_ms - info->started_ms < l->q->duration_filter)) ||
        !request_may(l->r, KAFKA_RESOURCE_TRANSACTIONAL_ID, KAFKA_OP_DESCRIBE, info->id))
        return;
    if (l->count == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        void *grown = kafka_alloc_many(request_arena(l->r), cap, sizeof *l->at);
        if (grown && l->count)
            memcpy(grown, l->at, l->count * sizeof *l->at);
        l->failed |= !grown;
        if (!grown)
            return;
        l->at = grown;
        l->cap = cap;
    }
    beck_bytes id = kafka_copy(request_arena(l->r), info->id);
    l->failed |= !id.data;
    l->at[l->count++] = (struct kafka_list_transactions_response_transaction){
        .transactional_id = id,
        .producer_id = info->producer_id,
        .transaction_state = beck_str(transaction_state_name(info->state))};
}

static bool is_state(beck_bytes name)
{
    for (int s = TRANSACTION_EMPTY; s <= TRANSACTION_COMPLETE_ABORT; s++)
        if (bytes_equal_text(name, transaction_state_name((enum transaction_state)s)))
            return true;
    return bytes_equal_text(name, "Dead") || bytes_equal_text(name, "PrepareEpochFence");
}

static bool put_unknown(struct kafka_request *r, const struct kafka_strings *states,
                        struct kafka_strings *out)
{
    size_t n = 0;
    if (!kafka_array(request_arena(r), out, states->count))
        return false;
    for (size_t i = 0; i < states->count; i++)
        if (!is_state(states->at[i]))
            out->at[n++] = states->at[i];
    out->count = n;
    return true;
}

/* Kafka has all of an id fit. NULL: it is no expression, or memory is short. */
static struct regex *whole(beck_bytes pattern)
{
    struct buf text;
    struct regex *out = NULL;
    buf_init(&text, pattern.len + 8);
    if (!buf_append(&text, "\\A(?:", 5) && !buf_append(&text, pattern.data, pattern.len) &&
        !buf_append(&text, ")\\z", 3))
        out = regex_new(buf_bytes(&text), NULL);
    buf_release(&text);
    return out;
}

static void list(struct kafka_request *r)
{
    const struct kafka_list_transactions_request *q = request_body(r);
    struct kafka_list_transactions_response out;
    struct listing l = {.r = r, .q = q, .now_ms = clock_wall_ms(request_engine(r)->env.clock)};
    struct regex *pattern = NULL;
    kafka_list_transactions_response_init(&out);
    if (q->transactional_id_pattern.len > 0 && !(pattern = whole(q->transactional_id_pattern)))
        out.error_code = KAFKA_INVALID_REGULAR_EXPRESSION;
    l.pattern = pattern;
    if (!out.error_code)
        transactions_each(request_kafka(r), list_one, &l);
    regex_free(pattern);
    out.transaction_states.at = l.at;
    out.transaction_states.count = l.count;
    if (l.failed || !put_unknown(r, &q->state_filters, &out.unknown_state_filters))
        request_fail(r, "memory is short");
    else
        request_answer(r, &out);
}

void handle_list_transactions(struct kafka_request *r)
{
    const struct kafka_list_transactions_request *q = request_body(r);
    /* Each transaction is compared with all of them, while nobody produces in one. */
    if (q->state_filters.count > NAMES_MAX || q->producer_id_filters.count > NAMES_MAX)
        request_fail(r, too_many_names);
    else
        request_defer(r, list);
}
