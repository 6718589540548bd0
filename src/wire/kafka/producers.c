/* InitProducerId (22) and WriteTxnMarkers (27), on the pool, and DescribeProducers (61). */
#include "kafka/message/producers.h"

#include "kafka/topics.h"
#include "kafka/transactions.h"
#include "log/committer.h"
#include "wire/kafka/handlers.h"

#include <stdlib.h>

#define INIT_FENCED 4 /* from this version on producers know PRODUCER_FENCED */

static void init(struct kafka_request *r)
{
    const struct kafka_init_producer_id_request *q = request_body(r);
    struct kafka_init_producer_id_response out;
    struct transaction_producer producer = {q->transactional_id, q->producer_id, q->producer_epoch,
                                            request_gone(r)};
    int error;
    kafka_init_producer_id_response_init(&out);
    if (q->transactional_id.data &&
        !request_may(r, KAFKA_RESOURCE_TRANSACTIONAL_ID, KAFKA_OP_WRITE, q->transactional_id))
        error = KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    else if (!q->transactional_id.data &&
             !request_may(r, KAFKA_RESOURCE_CLUSTER, KAFKA_OP_IDEMPOTENT_WRITE, (beck_bytes){0}))
        error = KAFKA_CLUSTER_AUTHORIZATION_FAILED;
    else
        error = transactions_init(request_kafka(r), &producer, q->transaction_timeout_ms);
    if (error == KAFKA_PRODUCER_FENCED && request_version(r) < INIT_FENCED)
        error = KAFKA_INVALID_PRODUCER_EPOCH;
    out.error_code = (int16_t)error;
    out.producer_id = error ? -1 : producer.producer_id;
    out.producer_epoch = error ? -1 : producer.epoch;
    request_answer(r, &out);
}

void handle_init_producer_id(struct kafka_request *r)
{
    request_defer(r, init);
}

/* ---- DescribeProducers ---- */

static bool put_producers(struct kafka_request *r, struct partition *p,
                          struct kafka_describe_producers_response_partition *out)
{
    struct producer_state *list;
    size_t count;
    if (partition_each_producer(p, &list, &count, NULL))
        return false;
    bool good = kafka_array(request_arena(r), &out->active_producers, count);
    for (size_t i = 0; i < count && good; i++)
        out->active_producers.at[i] = (struct kafka_describe_producers_response_active_producer){
            .producer_id = list[i].id,
            .producer_epoch = list[i].epoch,
            .last_sequence = list[i].last_sequence,
            .last_timestamp = list[i].seen_ms,
            .coordinator_epoch = list[i].coordinator_epoch,
            .current_txn_start_offset = list[i].txn_first_offset};
    free(list);
    return good;
}

static bool put_topic(struct kafka_request *r,
                      const struct kafka_describe_producers_request_topic *q,
                      struct kafka_describe_producers_response_topic *out)
{
    struct topic *t = topics_find(request_kafka(r), q->name);
    bool may = request_may(r, KAFKA_RESOURCE_TOPIC, KAFKA_OP_READ, q->name);
    out->name = q->name;
    if (!kafka_array(request_arena(r), &out->partitions, q->partition_indexes.count))
        return false;
    for (size_t i = 0; i < q->partition_indexes.count; i++) {
        struct kafka_describe_producers_response_partition *o = &out->partitions.at[i];
        struct partition *p = t && may ? topic_partition(t, q->partition_indexes.at[i]) : NULL;
        o->partition_index = q->partition_indexes.at[i];
        if (!may)
            o->error_code = KAFKA_TOPIC_AUTHORIZATION_FAILED;
        else if (!p)
            o->error_code = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
        else if (!put_producers(r, p, o))
            return false;
    }
    return true;
}

static void describe(struct kafka_request *r)
{
    const struct kafka_describe_producers_request *q = request_body(r);
    struct kafka_describe_producers_response out;
    kafka_describe_producers_response_init(&out);
    bool good = kafka_array(request_arena(r), &out.topics, q->topics.count);
    for (size_t i = 0; i < q->topics.count && good; i++)
        good = put_topic(r, &q->topics.at[i], &out.topics.at[i]);
    if (good)
        request_answer(r, &out);
    else
        request_fail(r, "memory is short");
}

void handle_describe_producers(struct kafka_request *r)
{
    request_defer(r, describe);
}

/* ---- WriteTxnMarkers: what an administrator ends by hand (kafka-transactions abort) ---- */

/* The offsets of groups have a transaction of their own to end with, and are not ended here. */
static int end_one(struct kafka_request *r, const struct kafka_write_txn_markers_request_marker *m,
                   const struct topic *t, int32_t number)
{
    struct partition *p = t && !t->internal ? topic_partition(t, number) : NULL;
    struct transaction_end e = {.producer_id = m->producer_id,
                                .epoch = m->producer_epoch,
                                .coordinator_epoch = m->coordinator_epoch,
                                .commit = m->transaction_result,
                                .bumped = m->transaction_version >= 2,
                                .level = committer_by_interval(request_engine(r)->env.committer)
                                             ? BECK_LEVEL_WRITTEN
                                             : BECK_LEVEL_SYNCED};
    if (!p)
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    beck_status status = partition_end_transaction(p, &e, NULL);
    if (!status)
        bus_call_committed(t->bus, (uint32_t)number, &e);
    return status == BECK_EFENCED ? KAFKA_INVALID_PRODUCER_EPOCH : kafka_error_of(status);
}

static bool end_marked(struct kafka_request *r,
                       const struct kafka_write_txn_markers_request_marker *m, bool may,
                       struct kafka_write_txn_markers_response_marker *out)
{
    struct kafka_arena *arena = request_arena(r);
    out->producer_id = m->producer_id;
    bool good = kafka_array(arena, &out->topics, m->topics.count);
    for (size_t i = 0; i < m->topics.count && good; i++) {
        const struct kafka_write_txn_markers_request_topic *from = &m->topics.at[i];
        struct kafka_write_txn_markers_response_topic *to = &out->topics.at[i];
        struct topic *t = topics_find(request_kafka(r), from->name);
        to->name = from->name;
        good = kafka_array(arena, &to->partitions, from->partition_indexes.count);
        for (size_t n = 0; n < from->partition_indexes.count && good; n++) {
            int32_t number = from->partition_indexes.at[n];
            int code = may ? end_one(r, m, t, number) : KAFKA_CLUSTER_AUTHORIZATION_FAILED;
            to->partitions.at[n] = (struct kafka_write_txn_markers_response_partition){
                .partition_index = number, .error_code = (int16_t)code};
        }
    }
    return good;
}

static void write_markers(struct kafka_request *r)
{
    const struct kafka_write_txn_markers_request *q = request_body(r);
    struct kafka_write_txn_markers_response out;
    bool may = request_may(r, KAFKA_RESOURCE_CLUSTER, KAFKA_OP_CLUSTER_ACTION, (beck_bytes){0});
    kafka_write_txn_markers_response_init(&out);
    bool good = kafka_array(request_arena(r), &out.markers, q->markers.count);
    for (size_t i = 0; i < q->markers.count && good; i++)
        good = end_marked(r, &q->markers.at[i], may, &out.markers.at[i]);
    if (good)
        request_answer(r, &out);
    else
        request_fail(r, "memory is short");
}

void handle_write_txn_markers(struct kafka_request *r)
{
    request_defer(r, write_markers);
}
